//! Datagrams of UDP, raw and ping sockets: records in the rings of the cell, one for each.

use crate::attach::Answer;
use crate::errno::{Errno, Result};
use crate::lock::Turn;
use crate::memory::Vectors;
use crate::socket::{Part, open};
use crate::wait::{self, Patience};
use crate::zero_copy;
use core::ffi::c_int;
use core::hash::{Hash, Hasher};
use core::sync::atomic::Ordering::*;
use flumen_ipc::call::SEND_MORE;
use flumen_ipc::limits::{CALL_DATA, MAX_DATAGRAM, MAX_IP_OPTIONS};
use flumen_ipc::message::{Address, ErrorRecord, RECEIVED_HEAD, Received, TO_SEND_HEAD, ToSend};
use flumen_ipc::{Flags, Op, Ring};
use zerocopy::{FromBytes, IntoBytes};

/// What a datagram brought with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// It is a datagram.
    Datagram(Received),
    /// It is an entry of the error queue.
    Error(ErrorRecord),
    /// There was none: reading is over.
    End,
}

/// The IP options of a datagram, for a program that asked for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpOptions {
    received: [u8; MAX_IP_OPTIONS],
    returned: [u8; MAX_IP_OPTIONS],
    lengths: [usize; 2],
}

impl IpOptions {
    /// As they came (IP_RECVOPTS).
    pub fn received(&self) -> &[u8] {
        &self.received[..self.lengths[0]]
    }

    /// For the answer (IP_RETOPTS).
    pub fn returned(&self) -> &[u8] {
        &self.returned[..self.lengths[1]]
    }
}

/// What stands beside a datagram, or an entry of the error queue: hardly ever anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// IP options, when the socket asks for them.
    Options(Box<IpOptions>),
    /// Figures of a connection (SCM_TIMESTAMPING_OPT_STATS).
    Figures(Box<[u8]>),
}

/// A datagram that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// What it brought with it.
    pub head: Head,
    /// What stands beside it.
    pub beside: Beside,
    /// Bytes of it, whether there was room for them or not.
    pub len: usize,
    /// Bytes that were copied.
    pub copied: usize,
    /// There were more than there was room for (MSG_TRUNC).
    pub cut: bool,
}

impl Incoming {
    /// Nothing but its head.
    pub fn bare(head: Head) -> Incoming {
        Incoming { head, beside: Beside::Nothing, len: 0, copied: 0, cut: false }
    }
}

/// Receives a datagram.
///
/// # Errors
/// Those of recv(2).
pub fn receive(part: &Part<'_>, fd: c_int, to: &Vectors<'_>, flags: c_int) -> Result<Incoming> {
    if flags & libc::MSG_ERRQUEUE != 0 {
        return from_error_queue(part, to);
    }
    if flags & libc::MSG_OOB != 0 && part.socket.kind() == libc::SOCK_RAW {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let patience = Patience::to_receive(part, flags);
    loop {
        let more = more(part, flags);
        if let Some(incoming) = receive_now(part, to, flags)? {
            return Ok(incoming);
        }
        wait::until(part, fd, libc::EPOLLIN as u32, patience, || {
            more() || part.cell.flags().intersects(Flags::READ_END) || part.has_error()
        })?;
    }
}

/// Says from now on whether there may be a datagram for the call: what was peeked at already is none (SO_PEEK_OFF).
fn more<'a>(part: &'a Part<'_>, flags: c_int) -> impl Fn() -> bool + use<'a> {
    let cell = part.cell;
    let ahead = flags & libc::MSG_PEEK != 0 && part.peek_offset() >= 0;
    let seen = cell.worker.rx_tail.load(Acquire);
    move || if ahead { cell.worker.rx_tail.load(Acquire) != seen } else { cell.readable() > 0 }
}

/// Receives a datagram that is there already.
///
/// # Errors
/// The error that waits.
pub fn receive_now(part: &Part<'_>, to: &Vectors<'_>, flags: c_int) -> Result<Option<Incoming>> {
    let error = part.cell.take_error();
    if error != 0 {
        return Err(Errno(error as c_int));
    }
    let ended = part.cell.flags().intersects(Flags::READ_END);
    let turn = wait::turn_to_read(part)?;
    let waiting = part.cell.readable();
    let peeked = flags & libc::MSG_PEEK != 0;
    let Some((start, head, ahead)) = next(part, peeked, waiting)? else {
        if part.is_over() {
            return Err(Errno(libc::ENETDOWN));
        }
        return Ok(ended.then_some(Incoming::bare(Head::End)));
    };
    let [len, received, returned] = head.behind();
    let (left, room) = (len - ahead, to.len());
    let copied = left.min(room);
    to.from_ring(0, copied, part.rx(), start + (RECEIVED_HEAD + ahead) as u64);
    let asked = received > 0 && part.open_flags() & (open::OPTIONS | open::OPTIONS_TO_RETURN) != 0;
    let behind = start + (RECEIVED_HEAD + len) as u64;
    let beside = match asked {
        true => Beside::Options(read_options(part.rx(), behind, [received, returned])),
        false => Beside::Nothing,
    };
    if !turn.is_mine() {
        return Ok(None);
    }
    if !peeked {
        part.cell.program.rx_head.store(behind + (received + returned) as u64, Release);
        part.kick();
    }
    // As udp_recvmsg of Linux counts: the whole datagram for who asked how long it is.
    let passed = if flags & libc::MSG_TRUNC != 0 { len } else { copied } as i64;
    part.move_peek_offset(if peeked { passed } else { -passed });
    if part.open_flags() & open::STAMPS == 0 {
        part.cell.stamp.store(head.timestamp.max(1), Relaxed);
    }
    let cut = room <= left && room < len;
    Ok(Some(Incoming { head: Head::Datagram(head), beside, len, copied, cut }))
}

/// The datagram that a call is about: where its record begins, its head, and how many of its bytes were peeked at already
/// (SO_PEEK_OFF; `__skb_try_recv_from_queue` of Linux). `None`: there is none that was not. The turn to read is held.
fn next(part: &Part<'_>, peeked: bool, waiting: u64) -> Result<Option<(u64, Received, usize)>> {
    let (ring, cell) = (part.rx(), part.cell);
    let offset = if peeked { part.peek_offset() } else { -1 };
    let begin = cell.program.rx_head.load(Relaxed);
    let end = begin + waiting.min(ring.size() as u64);
    let (mut at, mut ahead) = (begin, offset.max(0) as usize);
    while at < end {
        let mut bytes = [0; RECEIVED_HEAD];
        ring.copy_out(at, &mut bytes);
        let head = Received::read_from_bytes(&bytes).map_err(|_size| Errno(libc::EIO))?;
        let [len, received, returned] = head.behind();
        let behind = at + (RECEIVED_HEAD + len + received + returned) as u64;
        if behind > end || received.max(returned) > MAX_IP_OPTIONS {
            return Err(Errno(libc::EIO));
        }
        // An empty one is peeked at once.
        let known = ahead > 0 || len == 0 && at < cell.peeked_empty.load(Relaxed);
        if offset < 0 || ahead < len || !known {
            if peeked && len == 0 {
                cell.peeked_empty.store(at + 1, Relaxed);
            }
            return Ok(Some((at, head, ahead)));
        }
        ahead -= len;
        at = behind;
    }
    Ok(None)
}

/// Copies the options behind a payload out of the ring; their lengths are looked at.
#[cold]
fn read_options(ring: Ring<'_>, at: u64, lengths: [usize; 2]) -> Box<IpOptions> {
    let mut options =
        Box::new(IpOptions { received: [0; MAX_IP_OPTIONS], returned: [0; MAX_IP_OPTIONS], lengths });
    ring.copy_out(at, &mut options.received[..lengths[0]]);
    ring.copy_out(at + lengths[0] as u64, &mut options.returned[..lengths[1]]);
    options
}

/// Bytes of the datagram that is the next to be received; 0 when there is none (FIONREAD).
pub fn next_len(part: &Part<'_>) -> usize {
    let Ok(_turn) = wait::turn_to_read(part) else { return 0 };
    if part.cell.readable() < RECEIVED_HEAD as u64 {
        return 0;
    }
    let mut bytes = [0; RECEIVED_HEAD];
    part.rx().copy_out(part.cell.program.rx_head.load(Relaxed), &mut bytes);
    Received::read_from_bytes(&bytes).map_or(0, |head| head.len.into())
}

fn from_error_queue(part: &Part<'_>, to: &Vectors<'_>) -> Result<Incoming> {
    let mut answer: Answer = [0; CALL_DATA];
    let (_, bytes) = part.call_for(Op::ErrorQueue, [0; 4], &[], &mut answer)?;
    let (record, quoted) = ErrorRecord::read_from_prefix(bytes).map_err(|_size| Errno(libc::EIO))?;
    let copied = to.fill(quoted);
    // A stream's stamp says how much its segment carried, and quotes none of it.
    let len = quoted.len().max(record.len as usize);
    // A connection's figures are what it quotes, and a control message as well (as Linux).
    let beside = if record.figures == 0 { Beside::Nothing } else { Beside::Figures(quoted.into()) };
    Ok(Incoming { head: Head::Error(record), beside, len, copied, cut: len > copied })
}

/// A datagram to be sent, as the call and its control messages say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The head of the record; its length is not filled in yet.
    pub head: ToSend,
    /// IP options (IP_RETOPTS), as many bytes as the head says.
    pub options: [u8; MAX_IP_OPTIONS],
}

impl Outgoing {
    /// To an address, with nothing special.
    pub fn to(to: Address) -> Outgoing {
        Outgoing { head: ToSend { to, ..ToSend::default() }, options: [0; MAX_IP_OPTIONS] }
    }

    /// Its IP options.
    pub fn options(&self) -> &[u8] {
        &self.options[..(self.head.options as usize).min(MAX_IP_OPTIONS)]
    }
}

/// Sends a datagram.
///
/// # Errors
/// Those of send(2).
pub fn send(
    part: &Part<'_>,
    fd: c_int,
    from: &Vectors<'_>,
    outgoing: &Outgoing,
    flags: c_int,
) -> Result<usize> {
    // UDP and UDP-Lite over IPv6 alone do not look at the flag (udpv6_sendmsg of Linux).
    let udp6 = part.socket.domain() == libc::AF_INET6
        && matches!(part.socket.protocol(), libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE);
    if flags & libc::MSG_OOB != 0 && !(udp6 && part.socket.kind() == libc::SOCK_DGRAM) {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if from.len() > MAX_DATAGRAM {
        return Err(Errno(libc::EMSGSIZE));
    }
    let whole = TO_SEND_HEAD + from.len() + outgoing.options().len();
    let ring = part.tx();
    if whole > ring.size() {
        return Err(Errno(libc::EMSGSIZE));
    }
    let patience = Patience::to_send(part, flags);
    loop {
        let error = part.cell.take_error();
        if error != 0 {
            return Err(Errno(error as c_int));
        }
        if part.is_over() {
            return Err(Errno(libc::ENETDOWN));
        }
        let turn = wait::turn_to_write(part)?;
        if part.cell.room(ring.size()) >= whole as u64 {
            let Some(sent) = put(part, from, outgoing, flags, &turn) else { continue };
            if sent.is_ok() {
                zero_copy::sent(part, flags);
            }
            return sent;
        }
        drop(turn);
        wait::until(part, fd, libc::EPOLLOUT as u32, patience, || {
            part.cell.room(ring.size()) >= whole as u64 || part.has_error()
        })?;
    }
}

/// Writes the record; the turn is held, and there is room. `None`: the turn was the parent's.
fn put(
    part: &Part<'_>,
    from: &Vectors<'_>,
    outgoing: &Outgoing,
    flags: c_int,
    turn: &Turn<'_>,
) -> Option<Result<usize>> {
    let more = flags & libc::MSG_MORE != 0;
    let mut head = ToSend { len: from.len() as u32, ..outgoing.head };
    let destination = simple(&head).map(|to| hash(&to));
    let corked = part.open_flags() & open::CORKED != 0;
    let may_be_known = !more && !corked && from.len() <= ALWAYS_FITS;
    let known = destination.filter(|to| *to == part.socket.sent_to() && may_be_known);
    head.flags |= if more { ToSend::MORE } else { 0 } | if known.is_none() { ToSend::WAITED_FOR } else { 0 };
    let start = part.cell.program.tx_tail.load(Relaxed);
    if !turn.is_mine() {
        return None;
    }
    part.tx().copy_in(start, head.as_bytes());
    from.into_ring(0, from.len(), part.tx(), start + TO_SEND_HEAD as u64);
    let behind = start + (TO_SEND_HEAD + from.len()) as u64;
    if !outgoing.options().is_empty() {
        part.tx().copy_in(behind, outgoing.options());
    }
    let end = behind + outgoing.options().len() as u64;
    if !turn.is_mine() {
        return None;
    }
    part.cell.program.tx_tail.store(end, SeqCst);
    if known.is_some() {
        part.kick();
        part.be_heard();
        return Some(Ok(from.len()));
    }
    if more {
        part.set_open(open::CORKED, true);
    }
    let sent = part.call(Op::Send, [end, if more { SEND_MORE } else { 0 }, 0, 0], &[]);
    if !more && corked {
        part.set_open(open::CORKED, false);
    }
    part.be_heard();
    part.socket.set_sent_to(destination.filter(|_| sent.is_ok()).unwrap_or(0));
    Some(sent.map(|_| from.len()))
}

/// Bytes that fit into a datagram whatever header it has: longer ones are waited for, because they may be too long.
const ALWAYS_FITS: usize = 65_535 - 60 - 8;

/// Where a datagram goes that asks for nothing special.
fn simple(head: &ToSend) -> Option<Address> {
    (*head == ToSend { len: head.len, to: head.to, ..ToSend::default() }).then_some(head.to)
}

/// Names a destination; never 0.
fn hash(address: &Address) -> u64 {
    #[allow(deprecated)]
    // SipHash with fixed keys: an address is no secret, and a collision costs one error that is not reported
    let mut hasher = core::hash::SipHasher::new();
    address.as_bytes().hash(&mut hasher);
    hasher.finish().max(1)
}
