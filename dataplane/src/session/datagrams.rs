//! The datagrams of UDP, raw and ping sockets: between the stack's queues and the records in the rings of a cell.
//!
//! A received datagram is in the ring or in the stack's queue, never in both; so a socket may hold what its ring holds beside what
//! its receive buffer allows. A record to be sent is copied out as a whole before it is looked at.

use super::links::Links;
use super::options::limits::stamping;
use super::options::{Field, figures, kind::Kinds};
use super::policy::Policy;
use super::socket::{Kind, Socket};
use super::stream::{Lie, Moved};
use super::{errno, limits};
use crate::builtin::host::Host;
use core::sync::atomic::Ordering::{Acquire, Release};
use flumen_ipc::limits::{MAX_DATAGRAM, MAX_IP_OPTIONS};
use flumen_ipc::message::{Address, ErrorRecord, RECEIVED_HEAD, Received, TO_SEND_HEAD, ToSend};
use flumen_ipc::{Arena, Ring};
use flumen_stack::socket::{Error, Family, Handle, IpOptions, Origin, SendArgs, SendControl, StampKinds};
use flumen_stack::{Frame, FramePool, Instant, Probe, Stack};
use zerocopy::{FromBytes, IntoBytes};

/// What the pumps need beside socket and stack.
#[derive(Debug)]
pub struct Help<'a> {
    /// The ports, as programs know them.
    pub links: &'a Links,
    /// Where what is sent goes.
    pub policy: &'a Policy,
    /// Nanoseconds between 1970 and the origin of the clock.
    pub wall: u64,
    /// Nanoseconds of CLOCK_MONOTONIC at the origin of the clock.
    pub monotonic: u64,
    /// Room for the longest datagram.
    pub scratch: &'a mut [u8],
}

/// Bytes of scratch memory.
pub const SCRATCH: usize = MAX_DATAGRAM;

/// Moves what there is to move.
pub fn pump<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &mut Socket,
    arena: &Arena,
    help: &mut Help<'_>,
) -> Result<Moved, Lie> {
    let mut moved = Moved::default();
    send(host, socket, arena, help, &mut moved)?;
    receive(host, socket, arena, help, &mut moved)?;
    Ok(moved)
}

fn receive<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &mut Socket,
    arena: &Arena,
    help: &mut Help<'_>,
    moved: &mut Moved,
) -> Result<(), Lie> {
    let cell = arena.cell(socket.home.slot);
    let ring = arena.rx(socket.home.slot);
    let head = cell.program.rx_head.load(Acquire);
    if head.wrapping_sub(socket.cursors.rx_head) > socket.cursors.rx_tail - socket.cursors.rx_head {
        return Err(Lie);
    }
    socket.cursors.rx_head = head;
    for left in (0..limits::DATAGRAMS_A_TURN).rev() {
        moved.again |= left == 0;
        let stack = &mut *host.stack;
        let waiting = match socket.kind {
            Kind::Udp(handle) => stack.udp_waiting(handle),
            Kind::Raw(handle) | Kind::Ping(handle) => stack.raw_waiting(handle),
            _ => None,
        };
        let Some(oldest) = waiting else { break };
        let room = ring.size() as u64 - (socket.cursors.rx_tail - head);
        let beside = match oldest.options {
            0 => None,
            _ => Some(options_of(stack, socket.kind)),
        };
        let len = oldest.len;
        if (RECEIVED_HEAD + len + beside.as_ref().map_or(0, Beside::len)) as u64 > room {
            break;
        }
        let received = match socket.kind {
            Kind::Udp(handle) => stack.udp_recv(handle, &mut help.scratch[..]),
            Kind::Raw(handle) | Kind::Ping(handle) => stack.raw_recv(handle, &mut help.scratch[..]),
            _ => Err(Error::BadHandle),
        };
        let received = match received {
            Ok(received) => received,
            // The error that waits; the datagram is still there.
            Err(Error::WouldBlock | Error::BadHandle) => break,
            Err(error) => {
                moved.error = Some(error);
                continue;
            }
        };
        let number = help.links.number(received.port);
        let port = socket.local_port(host);
        let record = Received {
            len: received.len.min(len) as u16,
            options: beside.as_ref().map_or(0, |beside| beside.options.len() as u8),
            returned: beside.as_ref().map_or(0, Beside::returned),
            interface: number,
            from: Address::from(socket.shown(received.from, number)),
            to: Address::from(socket.shown(core::net::SocketAddr::new(received.to, port), number)),
            timestamp: help.wall.wrapping_add(received.timestamp.nanos()),
            drops: received.drops,
            segment: received.segment,
            ttl: received.ttl,
            tos: received.tos,
        };
        let bytes = usize::from(record.len);
        let mut end = socket.cursors.rx_tail;
        end += ring.copy_in(end, record.as_bytes()) as u64;
        end += ring.copy_in(end, &help.scratch[..bytes]) as u64;
        if let Some(beside) = &beside {
            end += ring.copy_in(end, &beside.options) as u64;
            end += ring.copy_in(end, beside.to_return.as_deref().unwrap_or_default()) as u64;
        }
        socket.cursors.rx_tail = end;
        cell.worker.drops.store(received.drops, Release);
        cell.worker.rx_tail.store(end, Release);
        moved.bytes += bytes;
        (moved.readable, moved.any) = (true, true);
    }
    Ok(())
}

/// The IP options of a datagram, for its reader.
struct Beside {
    /// As they came.
    options: IpOptions,
    /// For its answer; `None`: none can be made of them.
    to_return: Option<IpOptions>,
}

impl Beside {
    fn len(&self) -> usize {
        self.options.len() + self.to_return.as_deref().map_or(0, <[u8]>::len)
    }

    fn returned(&self) -> u8 {
        self.to_return.as_deref().map_or(Received::NOTHING_TO_RETURN, |options| options.len() as u8)
    }
}

/// The options of the datagram that waits.
#[cold]
fn options_of<F: Frame>(stack: &Stack<F>, kind: Kind) -> Beside {
    let options = match kind {
        Kind::Udp(handle) => stack.udp_options(handle),
        Kind::Raw(handle) | Kind::Ping(handle) => stack.raw_options(handle),
        _ => IpOptions::NONE,
    };
    Beside { options, to_return: stack.options_to_return(&options) }
}

fn send<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &mut Socket,
    arena: &Arena,
    help: &mut Help<'_>,
    moved: &mut Moved,
) -> Result<(), Lie> {
    let cell = arena.cell(socket.home.slot);
    let ring = arena.tx(socket.home.slot);
    let tail = cell.program.tx_tail.load(Acquire);
    let before = tail.wrapping_sub(socket.cursors.tx_head);
    if before > ring.size() as u64 {
        return Err(Lie);
    }
    for left in (0..limits::DATAGRAMS_A_TURN).rev() {
        moved.again |= left == 0;
        if socket.cursors.tx_head == tail {
            break;
        }
        let (record, options) = take(&ring, &mut socket.cursors.tx_head, tail, help.scratch)?;
        let len = record.len as usize;
        moved.bytes += len + limits::DATAGRAM_COST;
        moved.any = true;
        let heard = host.stack.frames_heard();
        let sent = arguments(&record, help).and_then(|mut args| {
            let data = &help.scratch[..len];
            if record.flags & ToSend::HAS_OPTIONS != 0 {
                let options = &options[..record.options as usize];
                let is_privileged = socket.user.is_privileged();
                args.control.options = Some(host.stack.options_to_send(options, is_privileged)?);
            }
            match socket.kind {
                Kind::Udp(handle) => host.stack.udp_send(host.turn, handle, &args, data),
                Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_send(host.turn, handle, &args, data),
                _ => Err(Error::BadHandle),
            }
        });
        let failed = sent.err();
        socket.near = host.stack.frames_heard() != heard;
        if record.flags & ToSend::WAITED_FOR != 0 {
            socket.sent = Some((socket.cursors.tx_head, failed));
        } else if failed != Some(Error::NoBuffers) {
            // Without memory for it, it is lost, as on a full queue.
            moved.error = failed.or(moved.error);
        }
    }
    cell.worker.tx_head.store(socket.cursors.tx_head, Release);
    let limit = socket.cursors.tx_head + ring.size() as u64;
    socket.cursors.tx_limit = limit;
    cell.worker.tx_limit.store(limit, Release);
    Ok(())
}

/// Takes one record and its payload out of the ring, and the IP options behind it.
fn take(
    ring: &Ring<'_>,
    head: &mut u64,
    tail: u64,
    scratch: &mut [u8],
) -> Result<(ToSend, [u8; MAX_IP_OPTIONS]), Lie> {
    let mut bytes = [0; TO_SEND_HEAD];
    let waiting = tail - *head;
    if waiting < TO_SEND_HEAD as u64 {
        return Err(Lie);
    }
    ring.copy_out(*head, &mut bytes);
    let record = ToSend::read_from_bytes(&bytes).map_err(|_size| Lie)?;
    let whole = TO_SEND_HEAD as u64 + u64::from(record.len);
    let payload = scratch.get_mut(..record.len as usize).ok_or(Lie)?;
    let mut options = [0; MAX_IP_OPTIONS];
    let behind = options.get_mut(..record.options as usize).ok_or(Lie)?;
    if whole + behind.len() as u64 > waiting {
        return Err(Lie);
    }
    ring.copy_out(*head + TO_SEND_HEAD as u64, payload);
    if !behind.is_empty() {
        ring.copy_out(*head + whole, behind);
    }
    *head += whole + behind.len() as u64;
    Ok((record, options))
}

/// What a record asks for, in the stack's words.
fn arguments(record: &ToSend, help: &Help<'_>) -> Result<SendArgs, Error> {
    let has = |flag| record.flags & flag != 0;
    let number = match (record.interface, record.to.scope) {
        (0, scope) => scope,
        (interface, _) => interface,
    };
    let port = match number {
        0 => None,
        number => Some(help.links.by_number(number).ok_or(Error::NoDevice)?),
    };
    let ttl = has(ToSend::HAS_TTL).then_some(record.ttl);
    if ttl == Some(0) {
        return Err(Error::InvalidArgument);
    }
    Ok(SendArgs {
        to: record.to.to_std().map(|to| plain(help.policy.destination(to.ip()), to.port())),
        more: has(ToSend::MORE),
        control: SendControl {
            ttl,
            tos: has(ToSend::HAS_TOS).then_some(record.tos),
            port,
            source: record.source.to_std().map(|from| from.ip()).filter(|from| !from.is_unspecified()),
            segment: has(ToSend::HAS_SEGMENT).then_some(record.segment),
            stamps: has(ToSend::HAS_STAMPS).then_some(StampKinds {
                scheduled: has(ToSend::STAMP_SCHEDULED),
                sent: has(ToSend::STAMP_SENT),
                acknowledged: false,
                figures: false,
            }),
            stamp_key: has(ToSend::HAS_STAMP_KEY).then_some(record.stamp_key),
            options: None,
        },
    })
}

/// An address without its scope: which link it is on, the port says.
pub fn plain(ip: core::net::IpAddr, port: u16) -> core::net::SocketAddr {
    core::net::SocketAddr::new(ip, port)
}

/// An entry of the error queue, with the payload that it quotes behind it, in `out`: its bytes.
///
/// # Errors
/// EAGAIN when there is none.
pub fn error_queue<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    help: &Help<'_>,
    out: &mut [u8],
) -> Result<usize, super::Errno> {
    const HEAD: usize = size_of::<ErrorRecord>();
    let (head, quoted) = out.split_at_mut_checked(HEAD).ok_or(super::Errno::INVAL)?;
    let report = match socket.kind {
        Kind::Udp(handle) => host.stack.udp_recv_error(handle, quoted),
        Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_recv_error(handle, quoted),
        Kind::Tcp(handle) => return stream_stamp(host, socket, handle, help, head, quoted),
        Kind::TcpClosed | Kind::Listener(_) => Err(Error::WouldBlock),
    }
    .map_err(errno)?;
    let flags = socket.options.get(Field::Timestamping, Kinds::ALL);
    let is_stamp = report.origin == Origin::Stamp;
    // Linux: over IPv4 a stamp tells of its packet when it is asked to, over IPv6 always.
    let tells = !is_stamp || socket.family == Family::Ipv6 || flags & stamping::OPT_CMSG != 0;
    let number = help.links.number(report.port);
    let offender =
        report.offender.filter(|_| tells).map(|from| Address::from(socket.shown(plain(from, 0), number)));
    let record = ErrorRecord {
        errno: report.error.errno() as u32,
        info: report.info,
        data: report.data,
        origin: report.origin as u8,
        kind: report.kind,
        code: report.code,
        figures: 0,
        offender: offender.unwrap_or(Address::NONE),
        to: Address::from(socket.shown(report.to, number)),
        interface: number,
        len: report.len as u32,
        timestamp: help.wall.wrapping_add(report.timestamp.nanos()),
    };
    head.copy_from_slice(record.as_bytes());
    Ok(HEAD + report.len)
}

/// A stamp of what a stream sent, as an entry of the error queue: its head, and the connection's figures where they were asked for.
fn stream_stamp<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    handle: Handle,
    help: &Help<'_>,
    head: &mut [u8],
    behind: &mut [u8],
) -> Result<usize, super::Errno> {
    let stamp = host.tcp().tcp_take_stamp(handle).map_err(errno)?;
    let times_only = socket.options.get(Field::Timestamping, Kinds::ALL) & stamping::OPT_TSONLY != 0;
    let told = match (&stamp.figures, behind.first_chunk_mut()) {
        (Some(figures), Some(room)) => figures::write(figures, help.monotonic, room),
        _ => 0,
    };
    let record = ErrorRecord {
        errno: Error::NoMessage.errno() as u32,
        info: stamp.kind as u32,
        data: stamp.key,
        origin: Origin::Stamp as u8,
        figures: u8::from(told > 0),
        len: if told > 0 || times_only { told as u32 } else { stamp.len },
        timestamp: help.wall.wrapping_add(stamp.at.nanos()),
        ..ErrorRecord::default()
    };
    head.copy_from_slice(record.as_bytes());
    Ok(head.len() + told)
}

/// Nanoseconds between 1970 and the origin of the clock, given a moment of both.
pub fn wall(now: Instant, unix: core::time::Duration) -> u64 {
    (unix.as_nanos() as u64).wrapping_sub(now.nanos())
}
