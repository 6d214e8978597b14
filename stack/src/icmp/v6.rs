//! ICMPv6 (IPv6 twins of rows I1, I2, I3, I5, I8; RFC 4443).
//!
//! The rules for errors are those of RFC 4443 section 2.4: never about an ICMPv6 error or a redirect, never
//! about a packet to a group (but for packet too big, and parameter problem for an unknown option), never to
//! a source that is not one node; as much of the packet as fits in 1280 bytes; rate limited.

use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::limit::Class;
use crate::icmp::v4::{DEFAULT_TTL, sum_behind};
use crate::ip::policy::Outgoing;
use crate::ipv6::input::Arrival;
use crate::ipv6::{HEADER_LEN, nd};
use crate::limits::MIN_MTU_IPV6;
use crate::route::Traits;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::{mld, raw};
use core::net::{IpAddr, Ipv6Addr};

/// Bytes of an ICMPv6 header.
const ICMP_HEADER_LEN: usize = 8;

/// The protocol number of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;

/// ICMPv6 types (IANA).
pub(crate) mod kind {
    pub(crate) const UNREACHABLE: u8 = 1;
    pub(crate) const PACKET_TOO_BIG: u8 = 2;
    pub(crate) const TIME_EXCEEDED: u8 = 3;
    pub(crate) const PARAMETER_PROBLEM: u8 = 4;
    pub(crate) const ECHO_REQUEST: u8 = 128;
    pub(crate) const ECHO_REPLY: u8 = 129;
    pub(crate) const ROUTER_SOLICITATION: u8 = 133;
    pub(crate) const REDIRECT: u8 = 137;
}

/// An ICMPv6 error: type, code, and the word behind the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    kind: u8,
    code: u8,
    rest: u32,
}

impl Error {
    /// No route to the destination.
    pub const NO_ROUTE: Error = Error { kind: kind::UNREACHABLE, code: 0, rest: 0 };
    /// A prohibit route.
    pub const ADMIN_PROHIBITED: Error = Error { kind: kind::UNREACHABLE, code: 1, rest: 0 };
    /// The source's scope ends here.
    pub const BEYOND_SCOPE: Error = Error { kind: kind::UNREACHABLE, code: 2, rest: 0 };
    /// The neighbour does not answer.
    pub const ADDRESS_UNREACHABLE: Error = Error { kind: kind::UNREACHABLE, code: 3, rest: 0 };
    /// Nobody listens on the port.
    pub const PORT_UNREACHABLE: Error = Error { kind: kind::UNREACHABLE, code: 4, rest: 0 };
    /// The hop limit ran out in transit.
    pub const HOP_LIMIT_EXCEEDED: Error = Error { kind: kind::TIME_EXCEEDED, code: 0, rest: 0 };

    /// Fragments of a packet did not come in time.
    pub const REASSEMBLY_TIMEOUT: Error = Error { kind: kind::TIME_EXCEEDED, code: 1, rest: 0 };
    /// The first fragment lacks a part of the header chain (RFC 7112 section 5).
    pub const INCOMPLETE_HEADER_CHAIN: Error = Error { kind: kind::PARAMETER_PROBLEM, code: 3, rest: 0 };

    /// Too long for the next link, whose MTU is `mtu` bytes.
    pub const fn packet_too_big(mtu: u32) -> Error {
        Error { kind: kind::PACKET_TOO_BIG, code: 0, rest: mtu }
    }

    /// An erroneous header field at `pointer` (bytes from the start of the IPv6 header).
    pub const fn erroneous_field(pointer: u32) -> Error {
        Error { kind: kind::PARAMETER_PROBLEM, code: 0, rest: pointer }
    }

    /// An unknown next header, named at `pointer`.
    pub const fn unknown_next_header(pointer: u32) -> Error {
        Error { kind: kind::PARAMETER_PROBLEM, code: 1, rest: pointer }
    }

    /// An unknown option at `pointer`.
    pub const fn unknown_option(pointer: u32) -> Error {
        Error { kind: kind::PARAMETER_PROBLEM, code: 2, rest: pointer }
    }

    /// Whose tokens it takes.
    const fn class(self) -> Class {
        match self.kind {
            kind::PACKET_TOO_BIG => Class::TooBig,
            kind::TIME_EXCEEDED => Class::TimeExceeded,
            kind::PARAMETER_PROBLEM => Class::ParameterProblem,
            _ => Class::Unreachable,
        }
    }

    /// True for the two errors that may be about a packet to a group (RFC 4443 section 2.4 (e.3)).
    const fn may_be_about_group(self) -> bool {
        matches!((self.kind, self.code), (kind::PACKET_TOO_BIG, _) | (kind::PARAMETER_PROBLEM, 2))
    }
}

/// True when `error` may be sent about this packet, whose first byte is that of its IP header.
fn may_be_about(packet: &[u8], cast: LinkCast, error: Error, loopback: bool) -> bool {
    let Some(header) = packet.first_chunk::<HEADER_LEN>() else { return false };
    let (source, destination) = addresses(header);
    let group = cast == LinkCast::Group || destination.is_multicast();
    if group && !error.may_be_about_group() {
        return false;
    }
    if source.is_unspecified() || source.is_multicast() || source.is_loopback() && !loopback {
        return false;
    }
    match crate::ipv6::extension::upper_layer(packet) {
        Some((ICMPV6, offset)) => {
            packet.get(offset).is_some_and(|&kind| kind >= 128 && kind != kind::REDIRECT)
        }
        Some(_) => true,
        // A chain that cannot be walked may hide an error: silence, but for the problem itself.
        None => error.kind == kind::PARAMETER_PROBLEM,
    }
}

fn addresses(header: &[u8; HEADER_LEN]) -> (Ipv6Addr, Ipv6Addr) {
    let (mut source, mut destination) = ([0u8; 16], [0u8; 16]);
    source.copy_from_slice(&header[8..24]);
    destination.copy_from_slice(&header[24..40]);
    (source.into(), destination.into())
}

/// Tells the source of `about` (byte 0 is the first of its IP header) what went wrong with it. `port` is
/// where it came in: link-local sources are on its link.
pub fn send_error<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    about: &[u8],
    (port, cast): (crate::PortId, LinkCast),
    error: Error,
) where
    P: FramePool,
    M: Probe,
{
    if !may_be_about(about, cast, error, stack.loopback) {
        return;
    }
    let Some(header) = about.first_chunk::<HEADER_LEN>() else { return };
    let (peer, asked) = addresses(header);
    // What we say to ourselves burdens nobody else, and Linux does not limit it either (icmpv6_xrlim_allow).
    if !stack.is_local6(peer, port) && !stack.icmp_limit_v6.allow(error.class(), IpAddr::V6(peer), turn.now) {
        return stack.counters.count(Counter::Icmpv6ErrorsLimited);
    }
    // From the address that the packet was sent to, when that is ours: rules may ask.
    let about_us = stack.is_local6(asked, port).then_some(IpAddr::V6(asked));
    let answer = Outgoing { source: about_us, ..Outgoing::to(IpAddr::V6(peer)) };
    let Ok(back) = stack.way_back(turn.now, &answer, port) else { return };
    let Some(out) = stack.interfaces.get(back.port) else { return };
    let offload = out.tx_checksum && back.hop.is_some();
    let source = if stack.is_local6(asked, port) { Some(asked) } else { stack.source6(out.id, peer) };
    let Some(source) = source else { return };
    let quoted = about.len().min(usize::from(MIN_MTU_IPV6) - HEADER_LEN - ICMP_HEADER_LEN);
    let Some(mut frame) = turn.pool.alloc() else {
        return stack.counters.drop(DropReason::NoFrame);
    };
    let len = HEADER_LEN + ICMP_HEADER_LEN + quoted;
    if !frame.append(len) {
        return stack.counters.drop(DropReason::NoFrame);
    }
    let [q0, q1, q2, q3] = error.rest.to_be_bytes();
    frame[HEADER_LEN..HEADER_LEN + ICMP_HEADER_LEN]
        .copy_from_slice(&[error.kind, error.code, 0, 0, q0, q1, q2, q3]);
    frame[HEADER_LEN + ICMP_HEADER_LEN..].copy_from_slice(&about[..quoted]);
    finish(&mut frame, source, peer, DEFAULT_TTL, offload);
    stack.counters.count(Counter::Icmpv6ErrorsOut);
    stack.send_back(turn, frame, back);
}

/// Writes header and checksum around an ICMPv6 message that stands behind 40 bytes of room; the checksum
/// field holds zero.
pub(crate) fn finish<F: Frame>(
    frame: &mut F,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    offload: bool,
) {
    let payload_len = frame.packet_len() - HEADER_LEN;
    let fields = Fields {
        class: 0,
        next_header: ICMPV6,
        hop_limit,
        source,
        destination,
        payload_len: payload_len as u16,
    };
    write_header(frame, &fields);
    let pseudo = checksum::pseudo_ipv6(&source, &destination, ICMPV6, payload_len as u32);
    let sum = if offload && frame.request_tx_checksum(HEADER_LEN as u16, 2) {
        pseudo.fold()
    } else {
        pseudo.plus(sum_behind(frame, HEADER_LEN)).checksum()
    };
    frame[HEADER_LEN + 2..HEADER_LEN + 4].copy_from_slice(&sum.to_be_bytes());
}

/// The fields of a header that we originate; flow label 0.
pub(crate) struct Fields {
    pub(crate) class: u8,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) payload_len: u16,
}

/// Writes a fixed header into the first 40 bytes, which exist.
pub(crate) fn write_header(packet: &mut [u8], fields: &Fields) {
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let Fields { class, next_header, hop_limit, source, destination, payload_len } = *fields;
    header[..4].copy_from_slice(&(6 << 28 | u32::from(class) << 20).to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6..8].copy_from_slice(&[next_header, hop_limit]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
}

/// Takes an ICMPv6 message for this node; it begins at `offset`.
pub fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::Icmpv6In);
    let port = arrival.port;
    let Some(&[message_kind, code, _, _]) = arrival.frame.get(offset..).and_then(<[u8]>::first_chunk::<4>)
    else {
        return stack.drop_received(port, DropReason::IcmpTruncated);
    };
    let len = (arrival.frame.packet_len() - offset) as u32;
    let pseudo = checksum::pseudo_ipv6(&arrival.source, &arrival.destination, ICMPV6, len);
    if !pseudo.plus(sum_behind(&arrival.frame, offset)).is_valid() {
        return stack.drop_received(port, DropReason::IcmpBadChecksum);
    }
    match message_kind {
        kind::ECHO_REQUEST => reply_to_echo(stack, turn, arrival, offset),
        kind::ROUTER_SOLICITATION..=kind::REDIRECT => nd::input(stack, turn, &arrival, offset),
        kind::PACKET_TOO_BIG if code == 0 => {
            let message = arrival.frame.get(offset..).unwrap_or_default();
            let offender = IpAddr::V6(arrival.source);
            let heard = crate::socket::errors::icmp6(stack, turn.now, port, offender, message);
            let elsewhere = crate::socket::errors::elsewhere(stack, message).filter(|_| !heard);
            let reason = learn_path_mtu(stack, turn.now, port, message);
            if let Some(worker) = elsewhere {
                return stack.hand_over(worker, port, arrival.cast, arrival.frame);
            }
            stack.drop_received(port, if heard { DropReason::Consumed } else { reason });
        }
        kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM => {
            let message = arrival.frame.get(offset..).unwrap_or_default();
            let offender = IpAddr::V6(arrival.source);
            let heard = crate::socket::errors::icmp6(stack, turn.now, port, offender, message);
            if let Some(worker) = crate::socket::errors::elsewhere(stack, message).filter(|_| !heard) {
                return stack.hand_over(worker, port, arrival.cast, arrival.frame);
            }
            let reason = if heard { DropReason::Consumed } else { DropReason::IcmpDiscarded };
            stack.drop_received(port, reason);
        }
        kind::ECHO_REPLY => {
            if let Some(worker) = raw::ping_elsewhere(stack, &arrival.frame, offset) {
                return stack.hand_over(worker, port, arrival.cast, arrival.frame);
            }
            let envelope = raw::envelope6(&arrival, turn.now);
            let reason = raw::ping_reply(stack, &arrival.frame, offset, envelope);
            stack.drop_received(port, reason);
        }
        mld::QUERY | mld::REPORT_V1 | mld::DONE | mld::REPORT_V2 => mld::input(stack, turn, &arrival, offset),
        _ => stack.drop_received(port, DropReason::IcmpDiscarded),
    }
}

/// Turns an echo request around in its own frame (RFC 4443 section 4.2). A request to a group is answered
/// from one of the port's own addresses, as RFC 4443 allows and Linux does; one to an anycast address, too
/// (section 2.2 (b): the source of a message tells which node speaks).
fn reply_to_echo<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut arrival: Arrival<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    if arrival.source.is_unspecified() {
        return stack.drop_received(arrival.port, DropReason::Ipv6MartianSource);
    }
    if arrival.frame.get(offset..).is_none_or(|message| message.len() < ICMP_HEADER_LEN) {
        return stack.drop_received(arrival.port, DropReason::IcmpTruncated);
    }
    if !stack.echo_limit.allow(turn.now) {
        return stack.drop_received(arrival.port, DropReason::IcmpEchoLimited);
    }
    let echoed = Outgoing {
        source: Some(IpAddr::V6(arrival.destination)).filter(|source| !source.is_multicast()),
        destination: IpAddr::V6(arrival.source),
        traits: Traits { tos: 0, protocol: ICMPV6, ports: None },
    };
    let back = match stack.way_back(turn.now, &echoed, arrival.port) {
        Ok(back) => back,
        Err(refusal) => return stack.drop_received(arrival.port, refusal.reason(true)),
    };
    let shared = arrival.destination.is_multicast() || stack.is_anycast6(arrival.destination);
    let source = if shared { stack.source6(arrival.port, arrival.source) } else { Some(arrival.destination) };
    let Some(source) = source else {
        return stack.drop_received(arrival.port, DropReason::IcmpEchoIgnored);
    };
    let class = arrival.frame[0] << 4 | arrival.frame[1] >> 4;
    if !arrival.frame.trim_front(offset - HEADER_LEN) {
        return stack.drop_received(arrival.port, DropReason::Ipv6Truncated);
    }
    let frame = &mut arrival.frame;
    let payload_len = (frame.packet_len() - HEADER_LEN) as u16;
    let fields = Fields {
        class,
        next_header: ICMPV6,
        hop_limit: DEFAULT_TTL,
        source,
        destination: arrival.source,
        payload_len,
    };
    write_header(frame, &fields);
    let Some(message) = frame.get_mut(HEADER_LEN..HEADER_LEN + 4) else { return };
    let mut sum = u16::from_be_bytes([message[2], message[3]]);
    let request = u16::from_be_bytes([kind::ECHO_REQUEST, message[1]]);
    let reply = u16::from_be_bytes([kind::ECHO_REPLY, message[1]]);
    message[0] = kind::ECHO_REPLY;
    // Source and destination changed places, which the sum does not notice; only another source changes it.
    sum = checksum::update_u16(sum, request, reply);
    if shared {
        sum = checksum::update_u128(sum, arrival.destination.to_bits(), source.to_bits());
    }
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    stack.counters.count(Counter::Icmpv6EchoReplies);
    stack.send_back(turn, arrival.frame, back);
}

/// Believes a packet-too-big report about a packet of ours (RFC 8201). What it quotes must have come from one
/// of our addresses; without a socket to ask, only ICMPv6 that we originated qualifies.
fn learn_path_mtu<F: Frame>(
    stack: &mut Stack<F>,
    now: crate::Instant,
    port: crate::PortId,
    message: &[u8],
) -> DropReason {
    let Some((&[_, _, _, _, m0, m1, m2, m3], quoted)) = message.split_first_chunk::<ICMP_HEADER_LEN>() else {
        return DropReason::IcmpTruncated;
    };
    let Some(header) = quoted.first_chunk::<HEADER_LEN>() else {
        return DropReason::IcmpTruncated;
    };
    let (source, destination) = addresses(header);
    if header[0] >> 4 != 6
        || header[6] != ICMPV6
        || source.is_unicast_link_local()
        || !stack.is_local6(source, port)
    {
        return DropReason::IcmpDiscarded;
    }
    let mtu = u16::try_from(u32::from_be_bytes([m0, m1, m2, m3])).unwrap_or(u16::MAX);
    if stack.path_mtus.learn(IpAddr::V6(destination), mtu, now) {
        stack.counters.count(Counter::PathMtuLearned);
    }
    DropReason::Consumed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str, next_header: u8, first: u8) -> [u8; 48] {
        let mut packet = [0u8; 48];
        let fields = Fields {
            class: 0,
            next_header,
            hop_limit: 64,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            payload_len: 8,
        };
        write_header(&mut packet, &fields);
        packet[40] = first;
        packet
    }

    #[test]
    fn no_error_is_about_an_error_a_redirect_a_group_or_nobody() {
        let may = |source, destination, next_header, first, error| {
            may_be_about(&packet(source, destination, next_header, first), LinkCast::Unicast, error, false)
        };
        let (us, them, group) = ("fd00::1", "fd00::2", "ff02::1");
        assert!(may(them, us, 17, 0, Error::PORT_UNREACHABLE));
        assert!(may(them, us, ICMPV6, kind::ECHO_REQUEST, Error::HOP_LIMIT_EXCEEDED));
        assert!(!may(them, us, ICMPV6, kind::UNREACHABLE, Error::HOP_LIMIT_EXCEEDED));
        assert!(!may(them, us, ICMPV6, kind::REDIRECT, Error::HOP_LIMIT_EXCEEDED));
        assert!(!may(them, group, 17, 0, Error::PORT_UNREACHABLE));
        assert!(may(them, group, 17, 0, Error::packet_too_big(1280)), "path MTU discovery for groups");
        assert!(may(them, group, 17, 0, Error::unknown_option(42)));
        assert!(!may(them, group, 17, 0, Error::erroneous_field(42)));
        assert!(!may("::", us, 17, 0, Error::PORT_UNREACHABLE));
    }
}
