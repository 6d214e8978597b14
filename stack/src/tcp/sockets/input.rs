//! A TCP segment arrives (rows T4, T12, T13): whose is it, and what comes of it.

use super::Entry;
use super::build::{Fields, sum_header};
use super::names::Seat;
use super::output::{Signing, flush, send_bare};
use super::passive::{self, Came};
use crate::checksum::{self, Sum};
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::interface::ChecksumPolicy;
use crate::ipv4::input::Arrival as Arrival4;
use crate::ipv6::input::Arrival as Arrival6;
use crate::port::PortId;
use crate::socket::Handle;
use crate::socket::errors::Quoted;
use crate::stack::Stack;
use crate::tcp::Seq;
use crate::tcp::input::Unreachable;
use crate::tcp::options::Emitted;
use crate::tcp::segment::{Check, Disposition, Output, Refusal, Reset, Segment};
use crate::tcp::signature::{AO_LEN, ConnectionKeys, MD5_LEN, SignatureOption};
use crate::tcp::state::State;
use crate::tcp::time_wait::{TimeWaitAck, TimeWaitVerdict};
use crate::tcp::tuple::Tuple;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::tcp::{HEADER_LEN, Header, flag};
use arrayvec::ArrayVec;
use core::net::IpAddr;

/// Chunks of a chained frame that a segment may lie in; a packet of 64 KiB in chunks of 2 KiB has 33.
pub(super) const MAX_PIECES: usize = 40;

/// The congestion mark in the type of service (RFC 3168 section 5: CE).
const CONGESTION_EXPERIENCED: u8 = 3;

/// What is known of a segment before its TCP header is looked at.
struct Arrived<F> {
    frame: F,
    /// Where the TCP header begins.
    offset: usize,
    local: IpAddr,
    remote: IpAddr,
    port: PortId,
    tos: u8,
    /// TTL or hop limit.
    ttl: u8,
    /// Of the pseudo-header.
    pseudo: Sum,
}

/// A TCP segment over IPv4 for this node.
pub(crate) fn deliver4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    if arrival.cast == LinkCast::Group {
        return stack.drop_received(arrival.port, DropReason::TcpToGroup); // RFC 9293 MUST-57
    }
    let Arrival4 { frame, source, destination, port, .. } = arrival;
    let len = frame.packet_len() - header_len;
    let pseudo = checksum::pseudo_ipv4(source, destination, super::build::TCP, len as u16);
    let tos = frame.get(1).copied().unwrap_or(0);
    let ttl = frame.get(8).copied().unwrap_or(0);
    let (local, remote) = (IpAddr::V4(destination), IpAddr::V4(source));
    deliver(stack, turn, Arrived { frame, offset: header_len, local, remote, port, tos, ttl, pseudo });
}

/// A TCP segment over IPv6 for this node; `offset` is that of the TCP header.
pub(crate) fn deliver6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival6<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    if arrival.cast == LinkCast::Group {
        return stack.drop_received(arrival.port, DropReason::TcpToGroup);
    }
    // RFC 4291 section 2.5.2: nobody can be answered there.
    if arrival.source.is_unspecified() {
        return stack.drop_received(arrival.port, DropReason::Ipv6MartianSource);
    }
    let Arrival6 { frame, source, destination, port, .. } = arrival;
    let len = frame.packet_len() - offset;
    let pseudo = checksum::pseudo_ipv6(&source, &destination, super::build::TCP, len as u32);
    let tos = frame.first_chunk::<2>().map_or(0, |[high, low]| high << 4 | low >> 4);
    let ttl = frame.get(7).copied().unwrap_or(0);
    let (local, remote) = (IpAddr::V6(destination), IpAddr::V6(source));
    deliver(stack, turn, Arrived { frame, offset, local, remote, port, tos, ttl, pseudo });
}

#[inline]
fn deliver<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, arrived: Arrived<P::Frame>)
where
    P: FramePool,
    M: Probe,
{
    let mut elsewhere = None;
    take(stack, turn, &arrived, &mut elsewhere);
    if let Some(worker) = elsewhere {
        stack.hand_over(worker, arrived.port, LinkCast::Unicast, arrived.frame);
    }
}

/// Finds whose the segment is, and what comes of it; `elsewhere` is set when it belongs to another worker.
#[inline]
fn take<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrived: &Arrived<P::Frame>,
    elsewhere: &mut Option<usize>,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::TcpIn);
    let &Arrived { ref frame, offset, local, remote, port, tos, ttl, pseudo } = arrived;
    let Some(bytes) = frame.get(offset..) else {
        return stack.drop_received(port, DropReason::TransportMalformed);
    };
    let header = match Header::receive(bytes) {
        Ok(header) => header,
        Err(error) => return stack.drop_received(port, error.into()),
    };
    let header_len = header.header_len();
    let (local_port, remote_port) = (header.destination_port.get(), header.source_port.get());
    let trusted = stack.interfaces.get(port).is_some_and(|one| one.checksum == ChecksumPolicy::Trust);
    let check =
        if trusted { Check::Verified } else { Check::Pending(pseudo.plus(sum_header(&bytes[..header_len]))) };
    let mut more: ArrayVec<&[u8], MAX_PIECES> = ArrayVec::new();
    if frame.is_chain() {
        let mut index = 1;
        while let Some(piece) = frame.segment(index) {
            if more.try_push(piece).is_err() {
                return stack.drop_received(port, DropReason::TransportMalformed);
            }
            index += 1;
        }
    }
    let segment = Segment {
        seq: Seq(header.sequence.get()),
        ack: Seq(header.acknowledgment.get()),
        flags: header.flags(),
        window: header.window.get(),
        urgent: header.urgent_pointer.get(),
        options: &bytes[HEADER_LEN..header_len],
        data: &bytes[header_len..],
        more: &more,
        check,
        congested: tos & CONGESTION_EXPERIENCED == CONGESTION_EXPERIENCED,
        ttl,
    };
    // Whole tuples are for whom no connection was found: making one takes longer than finding one.
    let tuple = || Tuple::new((local, local_port), (remote, remote_port)).scoped(port);
    let seat = match (local, remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            stack.tcp.names.get_v4((local, local_port), (remote, remote_port))
        }
        _ => stack.tcp.names.get(&tuple()),
    };
    if let Some(Seat::Connection(place)) = seat {
        let Stack { tcp, blocks, events, counters, .. } = &mut *stack;
        let (entries, mut cx, mut desk) = tcp.split_with_desk(turn.now, blocks);
        if let Some((handle, entry)) = entries.at_mut(place as usize) {
            if let Err(reason) = entry.admits(ttl, &bytes[..header_len], &segment) {
                return stack.drop_received(port, reason);
            }
            let disposition = entry.connection.on_segment(&mut cx, &segment);
            if let Disposition::Keep(output @ (Output::None | Output::Later)) = disposition
                && entry.settle(&mut desk, events, handle, output == Output::Later)
            {
                return counters.drop(DropReason::Consumed);
            }
            return conclude(stack, turn, handle, port, disposition);
        }
    }
    let found = Found { tuple: tuple(), seat, header: &bytes[..header_len], port, tos };
    take_unconnected(stack, turn, &found, segment, elsewhere);
}

/// What is known of a segment that no connection takes.
struct Found<'a> {
    tuple: Tuple,
    seat: Option<Seat>,
    header: &'a [u8],
    port: PortId,
    tos: u8,
}

/// A segment for a request, a record of TIME-WAIT, a listener, another worker, or nobody.
#[inline(never)]
fn take_unconnected<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    found: &Found<'_>,
    mut segment: Segment<'_>,
    elsewhere: &mut Option<usize>,
) where
    P: FramePool,
    M: Probe,
{
    let &Found { ref tuple, seat, header, port, tos } = found;
    if seat.is_none() && stack.is_for_another_worker(tuple, port, elsewhere) {
        return;
    }
    // Whatever is decided from here on needs a segment that is whole.
    if !segment.is_intact() {
        return stack.drop_received(port, DropReason::TransportBadChecksum);
    }
    segment.check = Check::Verified;
    let came = Came { tuple, header, port, tos, segment: &segment };
    match seat {
        Some(Seat::Request(place)) => {
            return passive::on_request(stack, turn, place, &came);
        }
        Some(Seat::TimeWait(place)) => {
            if on_time_wait(stack, turn, place, &came) {
                return;
            }
        }
        Some(Seat::Connection(_)) | None => {
            if passive::on_listener(stack, turn, &came, None) {
                return;
            }
        }
    }
    nobody(stack, turn, tuple, port, &segment);
}

impl Entry {
    /// Whether a segment came from as near as its connection wants it (RFC 5082 section 3), and is signed as it wants it:
    /// not at all, for nearly all of them. What is shorter than a signature has none.
    #[inline]
    fn admits(&mut self, ttl: u8, header: &[u8], segment: &Segment<'_>) -> Result<(), DropReason> {
        if ttl < self.connection.min_ttl() {
            return Err(DropReason::TcpMinTtl);
        }
        let is_signed_right = match self.keys.as_deref_mut() {
            None if segment.options.len() < usize::from(MD5_LEN.min(AO_LEN)) => true,
            None => SignatureOption::find(segment.options) == Ok(SignatureOption::None),
            Some(keys) => {
                if segment.has(flag::SYN) && self.connection.state() == State::SynSent {
                    keys.peer_isn(segment.seq);
                }
                is_signed_by(keys, header, segment)
            }
        };
        if is_signed_right { Ok(()) } else { Err(DropReason::TcpBadSignature) }
    }
}

/// Whether a segment carries the signature that it must.
fn is_signed_by(keys: &mut ConnectionKeys, header: &[u8], segment: &Segment<'_>) -> bool {
    let mut data: ArrayVec<&[u8], { MAX_PIECES + 1 }> = ArrayVec::new();
    data.push(segment.data);
    data.extend(segment.more.iter().copied().take(MAX_PIECES));
    keys.verify(header, &data).is_ok()
}

impl<F: Frame> Stack<F> {
    /// True when a segment without a connection here belongs to another worker, which `elsewhere` then says: its port lives
    /// there, and no listener here (of a service that every worker has) takes it. That worker looks at all the rest.
    #[inline]
    fn is_for_another_worker(&self, tuple: &Tuple, port: PortId, elsewhere: &mut Option<usize>) -> bool {
        *elsewhere = self.tcp.elsewhere(tuple.local_port);
        if elsewhere.is_some() && self.listener_for(tuple, port).is_some() {
            *elsewhere = None;
        }
        elsewhere.is_some()
    }
}

/// A segment for a connection that it made.
pub(super) fn on_connection<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    port: PortId,
    segment: &Segment<'_>,
) where
    P: FramePool,
    M: Probe,
{
    let Stack { tcp, blocks, .. } = &mut *stack;
    let (entries, mut cx) = tcp.split(turn.now, blocks);
    let Some(entry) = entries.get_mut(handle) else { return };
    let disposition = entry.connection.on_segment(&mut cx, segment);
    conclude(stack, turn, handle, port, disposition);
}

/// The end of a segment that a connection took, or refused, and what it decided.
#[inline(never)]
fn conclude<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    port: PortId,
    disposition: Disposition,
) where
    P: FramePool,
    M: Probe,
{
    if !matches!(disposition, Disposition::Refused(..)) {
        stack.counters.drop(DropReason::Consumed);
    }
    act(stack, turn, handle, port, disposition);
}

/// Does what a connection decided.
pub(super) fn act<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    port: PortId,
    disposition: Disposition,
) where
    P: FramePool,
    M: Probe,
{
    let output = match disposition {
        Disposition::Keep(output) => output,
        Disposition::Refused(refusal, output, reset) => {
            stack.drop_received(port, reason_of(refusal));
            if let Some(reset) = reset {
                reset_peer(stack, turn, handle, port, reset);
            }
            output
        }
        Disposition::Closed(reset) => {
            if let Some(reset) = reset {
                reset_peer(stack, turn, handle, port, reset);
            }
            Output::None
        }
        Disposition::TimeWait(content) => {
            let Some(entry) = stack.tcp.entries.get(handle) else { return };
            let (tuple, port) = (entry.tuple, entry.port);
            if let Some(place) = stack.tcp.wait(handle, &content, turn.now)
                && let Some(ack) = stack.tcp.time_waits.final_ack(place, turn.now)
            {
                send_ack(stack, turn, &tuple, port, place, &ack);
            }
            Output::None
        }
    };
    match output {
        Output::None => stack.settle_tcp(turn.now, handle, false),
        Output::Later => stack.settle_tcp(turn.now, handle, true),
        Output::Now => flush(stack, turn, handle),
    }
}

/// A segment for a TIME-WAIT record. False: nobody takes it.
#[cold]
fn on_time_wait<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    place: u32,
    came: &Came<'_>,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let Came { tuple, header, port, segment, .. } = *came;
    // A SYN is the next session's, whose keys are the listener's to judge by.
    let is_syn = segment.has(flag::SYN) && !segment.has(flag::ACK);
    if !is_syn
        && let Some(keys) = stack.tcp.time_waits.keys(place)
        && !is_signed_by(keys, header, segment)
    {
        stack.drop_received(port, DropReason::TcpBadSignature);
        return true;
    }
    match stack.tcp.time_waits.on_segment(place, segment, turn.now) {
        TimeWaitVerdict::Drop => stack.drop_received(port, DropReason::TcpOutOfWindow),
        TimeWaitVerdict::Ended => {
            stack.tcp.names.free(tuple);
            stack.drop_received(port, DropReason::TcpClosed);
        }
        TimeWaitVerdict::Ack(ack) => {
            stack.drop_received(port, DropReason::TcpOutOfWindow);
            send_ack(stack, turn, tuple, port, place, &ack);
        }
        TimeWaitVerdict::New(reused) => {
            if stack.listener_for(tuple, port).is_none() {
                return false;
            }
            stack.tcp.time_waits.remove(place);
            stack.tcp.names.free(tuple);
            return passive::on_listener(stack, turn, came, Some(reused));
        }
    }
    true
}

/// A segment that belongs to nobody here: a reset, unless it is one itself (RFC 9293 section 3.10.7.1).
#[cold]
fn nobody<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    tuple: &Tuple,
    port: PortId,
    segment: &Segment<'_>,
) where
    P: FramePool,
    M: Probe,
{
    stack.drop_received(port, DropReason::PortUnreachable);
    if let Some(reset) = Reset::answer_to(segment) {
        send_reset(stack, turn, tuple, port, reset);
    }
}

/// A reset from a connection, signed as its segments are.
pub(super) fn reset_peer<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    port: PortId,
    reset: Reset,
) where
    P: FramePool,
    M: Probe,
{
    let Some(entry) = stack.tcp.entries.get(handle) else { return };
    let (tuple, keys) = (entry.tuple, entry.keys.as_ref().map(|keys| keys.option()));
    let mut options = Emitted::NONE;
    let signing = match keys {
        Some((kind, len)) => Signing::Connection(handle, options.push_signature(kind, len)),
        None => Signing::Nobody,
    };
    send_reset_with(stack, turn, &tuple, port, reset, options, signing);
}

/// Sends a reset.
pub(super) fn send_reset<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    tuple: &Tuple,
    port: PortId,
    reset: Reset,
) where
    P: FramePool,
    M: Probe,
{
    send_reset_with(stack, turn, tuple, port, reset, Emitted::NONE, Signing::Nobody);
}

/// Sends a reset whose options begin with these.
fn send_reset_with<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    tuple: &Tuple,
    port: PortId,
    reset: Reset,
    mut options: Emitted,
    signing: Signing<'_>,
) where
    P: FramePool,
    M: Probe,
{
    let flags = if reset.ack.is_some() { flag::RST | flag::ACK } else { flag::RST };
    if let Some(stamps) = reset.stamps {
        options.push_timestamps(stamps);
    }
    let Reset { seq, ack, window, .. } = reset;
    let fields = Fields { seq, ack, flags, window, urgent: 0, options: &options };
    send_bare(stack, turn, tuple, port, 0, &fields, signing);
}

/// Sends an acknowledgment from the TIME-WAIT record at `place`.
fn send_ack<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    tuple: &Tuple,
    port: PortId,
    place: u32,
    ack: &TimeWaitAck,
) where
    P: FramePool,
    M: Probe,
{
    let TimeWaitAck { seq, ack, window, ref options, tos, signature } = *ack;
    let fields = Fields { seq, ack: Some(ack), flags: flag::ACK, window, urgent: 0, options };
    let signing = signature.map_or(Signing::Nobody, |at| Signing::TimeWait(place, at));
    send_bare(stack, turn, tuple, port, tos, &fields, signing);
}

/// The counter of a refused segment.
const fn reason_of(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Checksum => DropReason::TransportBadChecksum,
        Refusal::OutOfWindow => DropReason::TcpOutOfWindow,
        Refusal::OldTimestamp => DropReason::TcpOldTimestamp,
        Refusal::Challenged => DropReason::TcpChallenged,
        Refusal::BadAck => DropReason::TcpBadAck,
        Refusal::NoFlags => DropReason::TcpNoFlags,
        Refusal::NoMemory => DropReason::TcpNoMemory,
        Refusal::Closed => DropReason::TcpClosed,
    }
}

/// An ICMP error quotes a segment that we sent. True when a connection of ours sent it and the number that it quotes
/// is outstanding, so that whoever made the error saw the segment (RFC 5927 section 4.1).
pub(crate) fn on_icmp<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    quoted: &Quoted<'_>,
    what: Unreachable,
) -> bool {
    let Some(&[s0, s1, d0, d1, q0, q1, q2, q3]) = quoted.upper.first_chunk::<8>() else { return false };
    let local = (quoted.source, u16::from_be_bytes([s0, s1]));
    let remote = (quoted.destination, u16::from_be_bytes([d0, d1]));
    let tuple = Tuple::new(local, remote).scoped(quoted.port);
    let Some(Seat::Connection(place)) = stack.tcp.names.get(&tuple) else { return false };
    let Some(handle) = stack.tcp.entries.at(place as usize) else { return false };
    let seq = Seq(u32::from_be_bytes([q0, q1, q2, q3]));
    let Stack { tcp, blocks, .. } = &mut *stack;
    let (entries, mut cx) = tcp.split(now, blocks);
    let Some(entry) = entries.get_mut(handle) else { return false };
    if !entry.connection.is_outstanding(seq) {
        return false;
    }
    if matches!(what, Unreachable::TooBig(_)) {
        entry.way.until = Instant::ZERO; // the path's MTU is about to be learnt
    }
    let disposition = entry.connection.on_icmp(&mut cx, seq, what);
    stack.tcp_decided(now, handle, disposition);
    true
}
