//! Raw and ping input (rows R3, R4; `raw_local_deliver`, `ip_call_ra_chain`, `ping_rcv` of Linux).

use super::{ICMP, ICMPV6, Kind, Socket, ping_hash, raw_hash};
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::v4::sum_behind;
use crate::ipv4::HEADER_LEN;
use crate::ipv4::input::Arrival as Arrival4;
use crate::ipv6::input::Arrival as Arrival6;
use crate::socket::endpoint::{Envelope, Family};
use crate::socket::errors::{Fault, Quoted};
use crate::socket::{Handle, Ready, SocketId};
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use core::net::IpAddr;

/// What raw sockets look at.
struct Packet<'a, F> {
    frame: &'a F,
    /// Where what the socket gets begins.
    offset: usize,
    /// Where the upper layer begins.
    upper: usize,
    envelope: Envelope,
}

impl<F: Frame> Packet<'_, F> {
    /// What the socket gets, segment by segment.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let (mut index, mut skip) = (0, self.offset);
        core::iter::from_fn(move || {
            let segment = self.frame.segment(index)?;
            let bytes = segment.get(skip..).unwrap_or_default();
            (index, skip) = (index + 1, skip.saturating_sub(segment.len()));
            Some(bytes)
        })
    }
}

/// What the IPv4 header says of a packet's way, as raw, UDP and UDP-Lite sockets get it told; the source port is still
/// to come.
#[inline]
pub(crate) fn envelope4<F: Frame>(arrival: &Arrival4<F>, now: Instant) -> Envelope {
    Envelope {
        source: IpAddr::V4(arrival.source),
        source_port: 0,
        destination: IpAddr::V4(arrival.destination),
        port: arrival.port,
        cast: arrival.cast,
        ttl: arrival.frame.get(8).copied().unwrap_or(0),
        tos: arrival.frame.get(1).copied().unwrap_or(0),
        now,
    }
}

/// The same for IPv6.
#[inline]
pub(crate) fn envelope6<F: Frame>(arrival: &Arrival6<F>, now: Instant) -> Envelope {
    let (first, second) = (arrival.frame.first().copied(), arrival.frame.get(1).copied());
    Envelope {
        source: IpAddr::V6(arrival.source),
        source_port: 0,
        destination: IpAddr::V6(arrival.destination),
        port: arrival.port,
        cast: arrival.cast,
        ttl: arrival.frame.get(7).copied().unwrap_or(0),
        tos: first.unwrap_or(0) << 4 | second.unwrap_or(0) >> 4,
        now,
    }
}

/// The options of an IPv4 header that is followed by what begins at `upper`; `None` when it has none, and over IPv6.
#[inline]
pub(crate) fn options_of<'a>(packet: &'a [u8], envelope: &Envelope, upper: usize) -> Option<&'a [u8]> {
    if upper <= HEADER_LEN || envelope.source.is_ipv6() {
        return None;
    }
    packet.get(HEADER_LEN..upper)
}

/// Gives a copy of an IPv4 packet to every raw socket that wants it, here or on another worker; true when somebody took
/// one, or may.
pub(crate) fn copies4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival4<P::Frame>,
    protocol: u8,
    header_len: usize,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    if stack.raw.is_raw_elsewhere(protocol) {
        stack.hand_over_raw_copy(turn, arrival.port, arrival.cast, &arrival.frame);
        return true;
    }
    let envelope = envelope4(arrival, turn.now);
    let packet = Packet { frame: &arrival.frame, offset: 0, upper: header_len, envelope };
    copies(stack, Family::Ipv4, protocol, &packet)
}

/// The same for IPv6; the upper layer begins at `offset`.
pub(crate) fn copies6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival6<P::Frame>,
    protocol: u8,
    offset: usize,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    if stack.raw.is_raw_elsewhere(protocol) {
        stack.hand_over_raw_copy(turn, arrival.port, arrival.cast, &arrival.frame);
        return true;
    }
    let envelope = envelope6(arrival, turn.now);
    let packet = Packet { frame: &arrival.frame, offset, upper: offset, envelope };
    copies(stack, Family::Ipv6, protocol, &packet)
}

/// The other worker whose ping socket an echo reply is for; its ICMP header begins at `offset`.
pub(crate) fn ping_elsewhere<F: Frame>(stack: &Stack<F>, frame: &F, offset: usize) -> Option<usize> {
    let identifier = frame.get(offset..)?.get(4..6)?.first_chunk()?;
    stack.raw.ping_elsewhere(u16::from_be_bytes(*identifier))
}

fn copies<F: Frame>(stack: &mut Stack<F>, family: Family, protocol: u8, packet: &Packet<'_, F>) -> bool {
    let Stack { raw, blocks, events, groups, counters, .. } = stack;
    let super::Sockets { slab, chains, .. } = raw;
    let mut taken = false;
    for place in chains.walk(raw_hash(family, protocol)) {
        let Some(handle) = slab.at(place) else { continue };
        let Some(socket) = slab.get_mut(handle) else { continue };
        if !matches!(socket.kind, Kind::Raw { protocol: its, .. } if its == protocol)
            || socket.end.family != family
            || !names_match(socket, &packet.envelope)
        {
            continue;
        }
        let Envelope { destination, source, port, .. } = packet.envelope;
        let all = socket.end.options.multicast_all;
        if destination.is_multicast() && !groups.admits(SocketId::Raw(handle), port, destination, source, all)
        {
            continue;
        }
        // Somebody speaks the protocol, even when this packet does not interest it (as raw_v4_input counts it).
        taken = true;
        if is_wanted(socket, protocol, packet) && push(socket, blocks, packet) {
            counters.count(Counter::RawIn);
            socket.end.pending.add(events, SocketId::Raw(handle), Ready::READABLE);
        }
    }
    taken
}

fn names_match(socket: &Socket, envelope: &Envelope) -> bool {
    let end = &socket.end;
    end.local.is_none_or(|local| local == envelope.destination)
        && end.peer.is_none_or(|(peer, _)| peer == envelope.source)
        && end.options.device.is_none_or(|device| device == envelope.port)
        && !end.no_reading
}

/// The filters of ICMP, and the checksum of IPv6 sockets that want it checked (RFC 3542 sections 3.1 and 3.2).
fn is_wanted<F: Frame>(socket: &Socket, protocol: u8, packet: &Packet<'_, F>) -> bool {
    let Kind::Raw { filter, checksum, .. } = &socket.kind else { return false };
    let first = packet.frame.get(packet.upper).copied();
    let icmp = match socket.end.family {
        Family::Ipv4 => protocol == ICMP,
        Family::Ipv6 => protocol == ICMPV6,
    };
    if icmp {
        // One that has no type has none that is wanted.
        let Some(kind) = first else { return false };
        // ICMP_FILTER knows the types below 32.
        let known = socket.end.family == Family::Ipv6 || kind < 32;
        if known && filter[usize::from(kind) / 32] & 1 << (kind % 32) != 0 {
            return false;
        }
    }
    match (checksum, packet.envelope.source, packet.envelope.destination) {
        (Some(_), IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = packet.frame.packet_len().saturating_sub(packet.upper);
            let pseudo = checksum::pseudo_ipv6(&from, &to, protocol, len as u32);
            pseudo.plus(sum_behind(packet.frame, packet.upper)).is_valid()
        }
        _ => true,
    }
}

fn push<F: Frame>(
    socket: &mut Socket,
    blocks: &mut crate::socket::blocks::BlockPool,
    packet: &Packet<'_, F>,
) -> bool {
    let queue = &mut socket.end.received;
    let options = options_of(packet.frame, &packet.envelope, packet.upper);
    let head = packet.envelope.head(0, queue.drops()).with_options(options.map_or(0, <[u8]>::len));
    // One that finds no room is counted by the queue.
    queue.push(blocks, &head, packet.pieces().chain(options)).is_ok()
}

/// An echo reply (checksum known to be right) whose ICMP header begins at `offset` goes to the ping socket that
/// has its identifier.
pub(crate) fn ping_reply<F: Frame>(
    stack: &mut Stack<F>,
    frame: &F,
    offset: usize,
    envelope: Envelope,
) -> DropReason {
    let family = if envelope.source.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let Some(&[_, _, _, _, high, low, _, _]) = frame.get(offset..).and_then(<[u8]>::first_chunk::<8>) else {
        return DropReason::IcmpTruncated;
    };
    let identifier = u16::from_be_bytes([high, low]);
    let Some(handle) = find_ping(stack, family, identifier, |socket| names_match(socket, &envelope)) else {
        return DropReason::IcmpDiscarded;
    };
    let Stack { raw, blocks, events, counters, .. } = stack;
    let Some(socket) = raw.slab.get_mut(handle) else { return DropReason::IcmpDiscarded };
    let packet = Packet { frame, offset, upper: offset, envelope };
    if !push(socket, blocks, &packet) {
        return DropReason::SocketQueueFull;
    }
    counters.count(Counter::RawIn);
    socket.end.pending.add(events, SocketId::Raw(handle), Ready::READABLE);
    DropReason::Consumed
}

fn find_ping<F: Frame>(
    stack: &Stack<F>,
    family: Family,
    identifier: u16,
    fits: impl Fn(&Socket) -> bool,
) -> Option<Handle> {
    let raw = &stack.raw;
    raw.chains.walk(ping_hash(family, identifier)).filter_map(|place| raw.slab.at(place)).find(|handle| {
        raw.slab.get(*handle).is_some_and(|socket| {
            socket.kind == Kind::Ping
                && socket.end.family == family
                && socket.end.local_port == identifier
                && fits(socket)
        })
    })
}

/// A transit packet with the router alert option (RFC 2113): every socket that registered for its protocol gets a
/// copy, and the packet ends here. False: nobody did.
pub(crate) fn on_router_alert4<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    arrival: &Arrival4<F>,
    protocol: u8,
    header_len: usize,
) -> bool {
    let envelope = envelope4(arrival, now);
    let packet = Packet { frame: &arrival.frame, offset: 0, upper: header_len, envelope };
    on_router_alert(stack, Family::Ipv4, &packet, |its, _| its == protocol)
}

/// The same for IPv6 (RFC 2711), where sockets register for a value of the option.
pub(crate) fn on_router_alert6<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    arrival: &Arrival6<F>,
    value: u16,
) -> bool {
    let envelope = envelope6(arrival, now);
    let packet = Packet { frame: &arrival.frame, offset: 0, upper: 0, envelope };
    on_router_alert(stack, Family::Ipv6, &packet, |_, wanted| wanted == value)
}

#[cold]
fn on_router_alert<F: Frame>(
    stack: &mut Stack<F>,
    family: Family,
    packet: &Packet<'_, F>,
    fits: impl Fn(u8, u16) -> bool,
) -> bool {
    let Stack { raw, blocks, events, counters, .. } = stack;
    let slab = &mut raw.slab;
    let mut taken = false;
    for place in 0..slab.places() {
        let Some(handle) = slab.at(place) else { continue };
        let Some(socket) = slab.get_mut(handle) else { continue };
        let registered = matches!(socket.kind, Kind::Raw { protocol, router_alert: Some(value), .. } if fits(protocol, value));
        let device = socket.end.options.device;
        if !registered
            || socket.end.family != family
            || device.is_some_and(|device| device != packet.envelope.port)
        {
            continue;
        }
        taken = true;
        if push(socket, blocks, packet) {
            counters.count(Counter::RawIn);
            socket.end.pending.add(events, SocketId::Raw(handle), Ready::READABLE);
        }
    }
    taken
}

/// Tells raw and ping sockets of an ICMP error about a packet that they may have sent. True: one may have.
pub(crate) fn on_error<F: Frame>(stack: &mut Stack<F>, quoted: &Quoted<'_>, fault: &Fault) -> bool {
    if stack.raw.is_empty() {
        return false;
    }
    let family = if quoted.source.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let as_answer = Envelope {
        source: quoted.destination,
        source_port: 0,
        destination: quoted.source,
        port: quoted.port,
        cast: LinkCast::Unicast,
        ttl: 0,
        tos: 0,
        now: Instant::ZERO,
    };
    let mut told = false;
    // A ping's request names its socket.
    let request = match (family, quoted.protocol) {
        (Family::Ipv4, ICMP) => Some(8),
        (Family::Ipv6, ICMPV6) => Some(128),
        _ => None,
    };
    if let (Some(&[kind, _, _, _, high, low]), Some(request)) = (quoted.upper.first_chunk::<6>(), request)
        && kind == request
    {
        let identifier = u16::from_be_bytes([high, low]);
        if let Some(handle) = find_ping(stack, family, identifier, |socket| names_match(socket, &as_answer)) {
            tell(stack, handle, quoted, fault);
            told = true;
        }
    }
    let mut at = stack.raw.chains.walk(raw_hash(family, quoted.protocol)).next();
    let mut index = 0;
    while let Some(place) = at {
        if let Some(handle) = stack.raw.slab.at(place)
            && let Some(socket) = stack.raw.slab.get(handle)
            && matches!(socket.kind, Kind::Raw { protocol, .. } if protocol == quoted.protocol)
            && socket.end.family == family
            && names_match(socket, &as_answer)
        {
            tell(stack, handle, quoted, fault);
            told = true;
        }
        index += 1;
        at = stack.raw.chains.walk(raw_hash(family, quoted.protocol)).nth(index);
    }
    told
}

fn tell<F: Frame>(stack: &mut Stack<F>, handle: Handle, quoted: &Quoted<'_>, fault: &Fault) {
    let Stack { raw, blocks, events, .. } = stack;
    let Some(socket) = raw.slab.get_mut(handle) else { return };
    if fault.tell(&mut socket.end, blocks, (quoted.destination, 0).into(), quoted.upper) {
        socket.end.pending.add(events, SocketId::Raw(handle), Ready::ERROR);
    }
}
