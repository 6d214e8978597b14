//! UDP input (rows U3 to U6): a datagram for this node finds its socket, or its sockets.
//!
//! The payload is copied once, from the frame to the socket's queue, and summed on the way; it is committed to
//! the queue only when the checksum is right.

use super::{Flow, Joining, Protocol, Socket, UDP};
use crate::checksum::{self, Sum};
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::v4::sum_of;
use crate::interface::ChecksumPolicy;
use crate::ipv4::input::Arrival as Arrival4;
use crate::ipv6::input::Arrival as Arrival6;
use crate::raw::{envelope4, envelope6, options_of};
use crate::socket::blocks::BlockPool;
use crate::socket::endpoint::{Envelope, is_group};
use crate::socket::messages::Full;
use crate::socket::{Handle, Ready, SocketId};
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::udp::{HEADER_LEN, Header};

/// The most that datagrams are joined to (UDP_GRO): one that IPv4 could have carried.
const MAX_JOINED: usize = 65_507;

/// A UDP datagram over IPv4; its header begins at `offset`.
pub(crate) fn input4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    let envelope = envelope4(&arrival, turn.now);
    let pseudo = |len| checksum::pseudo_ipv4(arrival.source, arrival.destination, UDP, len);
    if !deliver(stack, &arrival.frame, offset, envelope, pseudo) {
        super::closed::udp4(stack, turn, arrival, offset);
    }
}

/// A UDP datagram over IPv6; its header begins at `offset`.
pub(crate) fn input6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival6<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    let envelope = envelope6(&arrival, turn.now);
    let pseudo = |len| checksum::pseudo_ipv6(&arrival.source, &arrival.destination, UDP, u32::from(len));
    if !deliver(stack, &arrival.frame, offset, envelope, pseudo) {
        super::closed::udp6(stack, turn, arrival, offset);
    }
}

/// What a socket must have agreed to before it is given a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Nothing,
    /// No checksum over IPv6.
    NoChecksum,
    /// UDP-Lite whose checksum covers so many bytes, and not all.
    Partial(u16),
}

impl Socket {
    /// Why a socket does not take a datagram that asks for something.
    fn refusal(&self, asks: Asks) -> Option<DropReason> {
        match asks {
            Asks::NoChecksum if !self.no_checksum6_rx => Some(DropReason::TransportBadChecksum),
            // RFC 3828 section 3.1: a receiver says the least that it wants covered. Linux: 0 wants all.
            Asks::Partial(covered)
                if self.receive_coverage.is_some_and(|least| least == 0 || covered < least) =>
            {
                Some(DropReason::UdpLiteCoverage)
            }
            Asks::Nothing | Asks::NoChecksum | Asks::Partial(_) => None,
        }
    }
}

/// A datagram whose header was read.
pub(super) struct Datagram<'a, F> {
    pub(super) frame: &'a F,
    /// Where its header begins.
    pub(super) offset: usize,
    /// Bytes of header and payload.
    pub(super) len: usize,
    pub(super) envelope: Envelope,
    /// The sum that payload and its own header must complete; `None` when nothing is checked (any more).
    pub(super) sum: Option<Sum>,
    pub(super) asks: Asks,
    /// What is counted when a socket takes it.
    pub(super) counter: Counter,
}

impl<F: Frame> Datagram<'_, F> {
    fn payload_len(&self) -> usize {
        self.len - HEADER_LEN
    }

    fn sum_of_payload(&self) -> Sum {
        sum_of(self.frame, self.offset + HEADER_LEN, self.payload_len())
    }

    /// The IP options that it came with.
    #[inline]
    fn options(&self) -> Option<&[u8]> {
        options_of(self.frame, &self.envelope, self.offset)
    }

    /// The payload, segment by segment of the frame.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let (mut index, mut skip, mut left) = (0, self.offset + HEADER_LEN, self.payload_len());
        core::iter::from_fn(move || {
            let segment = self.frame.segment(index).filter(|_| left > 0)?;
            let bytes = segment.get(skip..).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min(left)];
            skip = skip.saturating_sub(segment.len());
            left -= bytes.len();
            index += 1;
            Some(bytes)
        })
    }
}

/// Delivers a datagram; false when nobody here wants it, or it is broken: then it is as for a closed port.
fn deliver<F: Frame>(
    stack: &mut Stack<F>,
    frame: &F,
    offset: usize,
    envelope: Envelope,
    pseudo: impl Fn(u16) -> Sum,
) -> bool {
    if stack.udp.is_empty() {
        return false;
    }
    let available = frame.packet_len().saturating_sub(offset);
    let bytes = frame.get(offset..).unwrap_or_default();
    let Ok(header) = Header::receive(bytes, available) else { return false };
    let flow = Flow {
        protocol: Protocol::Udp,
        source: envelope.source,
        source_port: header.source_port.get(),
        destination: envelope.destination,
        destination_port: header.destination_port.get(),
        port: envelope.port,
    };
    let trusted = stack.interfaces.get(envelope.port).is_some_and(|p| p.checksum == ChecksumPolicy::Trust);
    let len = usize::from(header.length.get());
    let sum = (header.has_checksum() && !trusted)
        .then(|| pseudo(len as u16).plus(checksum::sum(&bytes[..HEADER_LEN])));
    let without_checksum = !header.has_checksum() && !trusted && envelope.source.is_ipv6();
    let datagram = Datagram {
        frame,
        offset,
        len,
        envelope: Envelope { source_port: flow.source_port, ..envelope },
        sum,
        asks: if without_checksum { Asks::NoChecksum } else { Asks::Nothing },
        counter: Counter::UdpIn,
    };
    if to_many(&envelope) {
        return deliver_to_group(stack, &flow, &datagram);
    }
    let Some(handle) = stack.udp.lookup(&flow) else { return false };
    let reason = take(stack, handle, &datagram);
    stack.drop_received(envelope.port, reason);
    true
}

/// True for a datagram that all sockets hear whose names fit.
#[inline]
pub(super) fn to_many(envelope: &Envelope) -> bool {
    envelope.cast == LinkCast::Group || is_group(envelope.destination)
}

/// Gives a datagram to one socket.
#[inline]
pub(super) fn take<F: Frame>(stack: &mut Stack<F>, handle: Handle, datagram: &Datagram<'_, F>) -> DropReason {
    let Stack { udp, blocks, events, counters, .. } = stack;
    let Some(socket) = udp.slab.get_mut(handle) else { return DropReason::PortUnreachable };
    if socket.end.no_reading {
        return DropReason::Consumed;
    }
    if datagram.asks != Asks::Nothing
        && let Some(reason) = socket.refusal(datagram.asks)
    {
        return reason;
    }
    let taken = match datagram.options() {
        Some(options) => push_with_options(socket, blocks, datagram, options),
        None if socket.gro => join(socket, blocks, datagram),
        None => copy_in(socket, blocks, datagram),
    };
    match taken {
        Ok(()) => {
            counters.count(datagram.counter);
            socket.end.pending.add(events, SocketId::Udp(handle), Ready::READABLE);
            DropReason::Consumed
        }
        Err(reason) => reason,
    }
}

const fn reason_of(full: Full) -> DropReason {
    match full {
        Full::Limit => DropReason::SocketQueueFull,
        Full::Pool => DropReason::SocketNoMemory,
    }
}

/// Copies a datagram into the queue, summing it on the way (row U6).
fn copy_in<F: Frame>(
    socket: &mut Socket,
    blocks: &mut BlockPool,
    datagram: &Datagram<'_, F>,
) -> Result<(), DropReason> {
    let queue = &mut socket.end.received;
    queue.admit(datagram.payload_len()).map_err(reason_of)?;
    let mut placed = queue.begin();
    let mut sum = datagram.sum.unwrap_or_default();
    for piece in datagram.pieces() {
        match queue.place(blocks, &mut placed, piece) {
            Ok(part) => sum = sum.plus(part),
            Err(full) => {
                queue.forget(blocks, 0);
                queue.count_drop();
                return Err(reason_of(full));
            }
        }
    }
    if datagram.sum.is_some() && !sum.is_valid() {
        queue.forget(blocks, 0);
        return Err(DropReason::TransportBadChecksum);
    }
    let head = datagram.envelope.head(0, queue.drops());
    queue.commit(blocks, placed, &head).map_err(reason_of)
}

/// The same for a datagram with IP options, which go into the queue behind it and keep it from being joined to others (as in
/// Linux).
#[cold]
#[inline(never)]
fn push_with_options<F: Frame>(
    socket: &mut Socket,
    blocks: &mut BlockPool,
    datagram: &Datagram<'_, F>,
    options: &[u8],
) -> Result<(), DropReason> {
    settle(socket, blocks);
    if let Some(sum) = datagram.sum
        && !sum.plus(datagram.sum_of_payload()).is_valid()
    {
        return Err(DropReason::TransportBadChecksum);
    }
    let queue = &mut socket.end.received;
    let head = datagram.envelope.head(0, queue.drops()).with_options(options.len());
    queue.push(blocks, &head, datagram.pieces().chain([options])).map_err(reason_of)
}

/// The same for a socket that wants datagrams of one flow joined (UDP_GRO): as long as they have one length,
/// they become one; a shorter one is the last.
fn join<F: Frame>(
    socket: &mut Socket,
    blocks: &mut BlockPool,
    datagram: &Datagram<'_, F>,
) -> Result<(), DropReason> {
    let len = datagram.payload_len();
    let fits = socket.joining.as_ref().is_some_and(|joining| {
        let same = Envelope { now: joining.envelope.now, ..datagram.envelope } == joining.envelope;
        same && len > 0 && len <= usize::from(joining.segment) && joining.placed.len() + len <= MAX_JOINED
    });
    if !fits {
        settle(socket, blocks);
    }
    let queue = &mut socket.end.received;
    let before = socket.joining.as_ref().map_or(0, |joining| joining.placed.len());
    queue.admit(before + len).map_err(reason_of)?;
    let mut joining = socket.joining.take().unwrap_or_else(|| Joining {
        envelope: datagram.envelope,
        placed: queue.begin(),
        segment: len as u16,
    });
    let mut sum = datagram.sum.unwrap_or_default();
    let mut verdict = Ok(());
    // Its own words begin at an even byte, whatever stands in front of it in the queue.
    let turned = before % 2 == 1;
    for piece in datagram.pieces() {
        match queue.place(blocks, &mut joining.placed, piece) {
            Ok(part) => sum = sum.plus(if turned { part.swapped() } else { part }),
            Err(full) => {
                queue.count_drop();
                verdict = Err(reason_of(full));
                break;
            }
        }
    }
    if verdict.is_ok() && datagram.sum.is_some() && !sum.is_valid() {
        verdict = Err(DropReason::TransportBadChecksum);
    }
    if verdict.is_err() {
        joining.placed.cut(before);
        queue.forget(blocks, before);
        if before > 0 {
            socket.joining = Some(joining);
        }
        return verdict;
    }
    let last = len < usize::from(joining.segment) || len == 0;
    socket.joining = Some(joining);
    if last {
        settle(socket, blocks);
    }
    Ok(())
}

/// What was joined is complete: the reader may have it.
pub(super) fn settle(socket: &mut Socket, blocks: &mut BlockPool) {
    let Some(Joining { envelope, placed, segment }) = socket.joining.take() else { return };
    let queue = &mut socket.end.received;
    // One datagram alone was not joined to anything.
    let segment = if placed.len() > usize::from(segment) { segment } else { 0 };
    let head = envelope.head(segment, queue.drops());
    // The head's room is reserved in front of the payload; when the pool cannot give it, it is counted there.
    let _in_or_counted = queue.commit(blocks, placed, &head);
}

/// Gives a copy to every socket that should hear it (row U4): RFC 1122 section 4.1.3.5 leaves it to the host, and
/// Linux gives broadcasts and groups to all sockets whose names fit and whose source filters let it pass.
pub(super) fn deliver_to_group<F: Frame>(
    stack: &mut Stack<F>,
    flow: &Flow,
    datagram: &Datagram<'_, F>,
) -> bool {
    // Several will have it: it must be known to be good before the first does.
    if let Some(sum) = datagram.sum
        && !sum.plus(datagram.sum_of_payload()).is_valid()
    {
        stack.drop_received(flow.port, DropReason::TransportBadChecksum);
        return true;
    }
    let Stack { udp, blocks, events, groups, counters, .. } = stack;
    let mut reason = None;
    let hash = udp.hash_port(flow.destination_port);
    let super::Sockets { slab, spaces, .. } = udp;
    for place in spaces[flow.protocol as usize].ports.walk(hash) {
        if let Some(handle) = slab.at(place)
            && let Some(socket) = slab.get_mut(handle)
            && hears(&socket.end, flow)
            && (!flow.destination.is_multicast()
                || groups.admits(
                    SocketId::Udp(handle),
                    flow.port,
                    flow.destination,
                    flow.source,
                    socket.end.options_for(flow.destination).multicast_all,
                ))
            && !socket.end.no_reading
        {
            match socket.refusal(datagram.asks) {
                // As if it did not listen: who sends without a checksum over IPv6 hears nothing (RFC 8200 section 8.1).
                Some(DropReason::TransportBadChecksum) => continue,
                Some(refused) => {
                    reason = reason.or(Some(refused));
                    continue;
                }
                None => {}
            }
            settle(socket, blocks);
            let queue = &mut socket.end.received;
            let options = datagram.options();
            let head = datagram.envelope.head(0, queue.drops());
            let head = head.with_options(options.map_or(0, <[u8]>::len));
            match queue.push(blocks, &head, datagram.pieces().chain(options)) {
                Ok(()) => {
                    counters.count(datagram.counter);
                    socket.end.pending.add(events, SocketId::Udp(handle), Ready::READABLE);
                    reason = Some(DropReason::Consumed);
                }
                Err(full) => reason = reason.or(Some(reason_of(full))),
            }
        }
    }
    // A group's datagram that nobody wants ends without an error, whoever sent it.
    let Some(reason) = reason else { return false };
    stack.drop_received(flow.port, reason);
    true
}

/// Whether a socket's names fit a datagram to a group.
fn hears(end: &crate::socket::endpoint::Endpoint, flow: &Flow) -> bool {
    end.local_port == flow.destination_port
        && end.local.is_none_or(|local| local == flow.destination)
        && end.peer.is_none_or(|peer| peer == (flow.source, flow.source_port))
        && end.speaks(flow.destination)
        && end.options.device.is_none_or(|device| device == flow.port)
}
