//! ICMP for IPv4 (rows I1, I2, I3, I8; RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3).
//!
//! What is asked of us is answered in [`crate::icmp::questions`]; redirects are in [`crate::icmp::redirect`].
//!
//! Three rules bound what we say: never an error about an ICMP error, a group or broadcast packet, a later
//! fragment, or a source that is not one host (RFC 1122 section 3.2.2); never more than the rate limits
//! allow; never more of the packet than fits in 576 bytes (RFC 1812 section 4.3.2.3).

use crate::checksum::{self, Checksum};
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::limit::Class;
use crate::icmp::{questions, redirect};
use crate::ip::policy::Outgoing;
use crate::ipv4::HEADER_LEN;
use crate::ipv4::input::Arrival;
use crate::port::PortId;
use crate::raw;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::address;
use core::net::{IpAddr, Ipv4Addr};

/// The longest error in bytes, IP header included (RFC 1812 section 4.3.2.3).
const MAX_ERROR_LEN: usize = 576;

/// Bytes of an ICMP header.
const ICMP_HEADER_LEN: usize = 8;

/// TTL of what we originate (RFC 1700; Linux's default too).
pub(crate) const DEFAULT_TTL: u8 = 64;

/// ICMP types (IANA).
pub(super) mod kind {
    pub(crate) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const SOURCE_QUENCH: u8 = 4;
    pub(crate) const REDIRECT: u8 = 5;
    pub(crate) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
    pub(crate) const TIMESTAMP: u8 = 13;
    pub(crate) const TIMESTAMP_REPLY: u8 = 14;
    pub(crate) const MASK_REQUEST: u8 = 17;
    pub(crate) const MASK_REPLY: u8 = 18;
}

/// Code of "fragmentation needed" under destination unreachable.
const FRAGMENTATION_NEEDED: u8 = 4;

/// An ICMP error: type, code, and the word behind the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    kind: u8,
    code: u8,
    rest: u32,
}

impl Error {
    /// No route to the network.
    pub const NET_UNREACHABLE: Error = Error::unreachable(0);
    /// The host does not answer, or an unreachable route.
    pub const HOST_UNREACHABLE: Error = Error::unreachable(1);
    /// No such protocol here.
    pub const PROTOCOL_UNREACHABLE: Error = Error::unreachable(2);
    /// Nobody listens on the port.
    pub const PORT_UNREACHABLE: Error = Error::unreachable(3);
    /// A prohibit route.
    pub const ADMIN_PROHIBITED: Error = Error::unreachable(13);
    /// The TTL ran out in transit.
    pub const TTL_EXCEEDED: Error = Error { kind: kind::TIME_EXCEEDED, code: 0, rest: 0 };

    /// Fragments of a datagram did not come in time.
    pub const REASSEMBLY_TIMEOUT: Error = Error { kind: kind::TIME_EXCEEDED, code: 1, rest: 0 };

    /// Too long for the next link and not to be fragmented; `mtu` is the next link's, in bytes (RFC 1191).
    pub const fn fragmentation_needed(mtu: u16) -> Error {
        Error { kind: kind::UNREACHABLE, code: FRAGMENTATION_NEEDED, rest: mtu as u32 }
    }

    /// A header field cannot be processed; `pointer` is its offset in bytes.
    pub const fn parameter_problem(pointer: u8) -> Error {
        Error { kind: kind::PARAMETER_PROBLEM, code: 0, rest: (pointer as u32) << 24 }
    }

    /// Hosts on the link reach the packet's destination by `gateway` rather than by us (RFC 792): for this host alone,
    /// because nobody knows how long a prefix the sender believes in (RFC 1812 section 5.2.7.2).
    pub const fn redirect(gateway: Ipv4Addr) -> Error {
        Error { kind: kind::REDIRECT, code: 1, rest: gateway.to_bits() }
    }

    const fn unreachable(code: u8) -> Error {
        Error { kind: kind::UNREACHABLE, code, rest: 0 }
    }

    /// Whose tokens it takes.
    const fn class(self) -> Class {
        match (self.kind, self.code) {
            (kind::UNREACHABLE, FRAGMENTATION_NEEDED) => Class::TooBig,
            (kind::TIME_EXCEEDED, _) => Class::TimeExceeded,
            (kind::PARAMETER_PROBLEM, _) => Class::ParameterProblem,
            (kind::REDIRECT, _) => Class::Redirect,
            _ => Class::Unreachable,
        }
    }
}

/// True when an error may be sent about this packet, whose first byte is that of its IP header.
fn may_be_about(packet: &[u8], cast: LinkCast, loopback: bool) -> bool {
    let Some(header) = packet.first_chunk::<HEADER_LEN>() else { return false };
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let group = cast == LinkCast::Group || destination.is_multicast() || destination.is_broadcast();
    let ourselves = loopback && source.is_loopback(); // only in memory: from the wire they are martians
    let one_host = ourselves || !address::ipv4_source_is_martian(source) && !source.is_unspecified();
    if later_fragment || group || !one_host {
        return false;
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    // An ICMP message whose type cannot be read might be an error: silence.
    header[9] != 1 || packet.get(header_len).is_some_and(|&kind| !is_error(kind))
}

/// Types that are errors; unknown ones are taken for errors, to be safe.
const fn is_error(message: u8) -> bool {
    !matches!(message, kind::ECHO_REPLY | kind::ECHO_REQUEST | 9 | 10 | 13..=18)
}

/// Tells the source of `about` (byte 0 is the first of its IP header) what went wrong with it. It
/// came in on `port`.
pub fn send_error<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    about: &[u8],
    (port, cast): (PortId, LinkCast),
    error: Error,
) where
    P: FramePool,
    M: Probe,
{
    if !may_be_about(about, cast, stack.loopback) {
        return;
    }
    let Some(header) = about.first_chunk::<HEADER_LEN>() else { return };
    let peer = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let asked = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    // What we say to ourselves burdens nobody else, and Linux does not limit it either (icmpv4_xrlim_allow).
    if !stack.is_local4(peer) && !stack.icmp_limit_v4.allow(error.class(), IpAddr::V4(peer), turn.now) {
        return stack.counters.count(Counter::IcmpErrorsLimited);
    }
    // From the address that the packet was sent to, when that is ours: rules may ask.
    let about_us = stack.is_local4(asked).then_some(IpAddr::V4(asked));
    let answer = Outgoing { source: about_us, ..Outgoing::to(IpAddr::V4(peer)) };
    let Ok(back) = stack.way_back(turn.now, &answer, port) else { return };
    let Some(out) = stack.interfaces.get(back.port) else { return };
    let offload = out.tx_checksum && back.hop.is_some();
    let mtu = usize::from(back.mtu);
    // The address that the packet was sent to, when that is ours; else the one we would speak from.
    let source = if stack.is_local4(asked) { Some(asked) } else { stack.source4(out.id, peer) };
    // A router without any IPv4 address stays silent (RFC 1812 section 4.3.2.4 knows no name for it).
    let Some(source) = source else { return };
    let quoted = about.len().min(MAX_ERROR_LEN - HEADER_LEN - ICMP_HEADER_LEN);
    let tos = 0xc0 | header[1] & 0x1e; // internetwork control (RFC 1812 section 4.3.2.5), as Linux sends it
    let id = stack.next_ipv4_id();
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
    write_header(
        &mut frame,
        &Fields { tos, id, protocol: 1, source, destination: peer, total_len: len as u16 },
    );
    // What is cut into fragments must be finished before.
    if !(offload && len <= mtu && frame.request_tx_checksum(HEADER_LEN as u16, 2)) {
        let sum = checksum::sum(&frame[HEADER_LEN..]).checksum();
        frame[HEADER_LEN + 2..HEADER_LEN + 4].copy_from_slice(&sum.to_be_bytes());
    }
    stack.counters.count(Counter::IcmpErrorsOut);
    stack.send_back(turn, frame, back);
}

/// The fields of a header that we originate; no options, no fragment, TTL 64.
pub(crate) struct Fields {
    pub(crate) tos: u8,
    pub(crate) id: u16,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) total_len: u16,
}

/// Writes the one kind of header that we originate into the first 20 bytes, which exist.
pub(crate) fn write_header(packet: &mut [u8], fields: &Fields) {
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let Fields { tos, id, protocol, source, destination, total_len } = *fields;
    header[..2].copy_from_slice(&[0x45, tos]);
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..12].copy_from_slice(&[0, 0, DEFAULT_TTL, protocol, 0, 0]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum::sum(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Puts options, a multiple of 4 bytes, behind a header that was just written; there is room for them.
pub(super) fn write_options(packet: &mut [u8], options: &[u8]) {
    let Some(header) = packet.get_mut(..HEADER_LEN + options.len()) else { return };
    header[0] = 0x40 | (header.len() / 4) as u8;
    header[HEADER_LEN..].copy_from_slice(options);
    header[10..12].fill(0);
    let sum = checksum::sum(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Takes an ICMP message for this node (row I2); the IP header is `header_len` bytes long.
pub fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::IcmpIn);
    let Some(message) = arrival.frame.get(header_len..).and_then(<[u8]>::first_chunk::<ICMP_HEADER_LEN>)
    else {
        return stack.drop_received(arrival.port, DropReason::IcmpTruncated);
    };
    let &[message_kind, code, _, _, _, _, mtu_high, mtu_low] = message;
    if !sum_behind(&arrival.frame, header_len).is_valid() {
        return stack.drop_received(arrival.port, DropReason::IcmpBadChecksum);
    }
    match message_kind {
        kind::ECHO_REQUEST => questions::echo(stack, turn, arrival, header_len),
        kind::TIMESTAMP => questions::timestamp(stack, turn, arrival, header_len),
        kind::MASK_REQUEST => questions::mask(stack, turn, arrival, header_len),
        kind::MASK_REPLY => questions::mask_reply(stack, &arrival, header_len),
        kind::REDIRECT => {
            let heard = tell_socket(stack, turn.now, &arrival, header_len);
            let reason = redirect::input4(stack, turn.now, &arrival, header_len);
            stack.drop_received(arrival.port, if heard { DropReason::Consumed } else { reason });
        }
        kind::UNREACHABLE if code == FRAGMENTATION_NEEDED => {
            let mtu = u16::from_be_bytes([mtu_high, mtu_low]);
            let quoted = &arrival.frame[header_len + ICMP_HEADER_LEN..];
            let heard = tell_socket(stack, turn.now, &arrival, header_len);
            let reason = learn_path_mtu(stack, turn.now, quoted, mtu);
            if let Some(worker) = stranger(stack, heard, &arrival.frame, header_len) {
                return stack.hand_over(worker, arrival.port, arrival.cast, arrival.frame);
            }
            let reason = if heard { DropReason::Consumed } else { reason };
            stack.drop_received(arrival.port, reason);
        }
        kind::UNREACHABLE | kind::SOURCE_QUENCH | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM => {
            let heard = tell_socket(stack, turn.now, &arrival, header_len);
            if let Some(worker) = stranger(stack, heard, &arrival.frame, header_len) {
                return stack.hand_over(worker, arrival.port, arrival.cast, arrival.frame);
            }
            let reason = if heard { DropReason::Consumed } else { DropReason::IcmpDiscarded };
            stack.drop_received(arrival.port, reason);
        }
        kind::ECHO_REPLY => {
            if let Some(worker) = raw::ping_elsewhere(stack, &arrival.frame, header_len) {
                return stack.hand_over(worker, arrival.port, arrival.cast, arrival.frame);
            }
            let envelope = raw::envelope4(&arrival, turn.now);
            let reason = raw::ping_reply(stack, &arrival.frame, header_len, envelope);
            stack.drop_received(arrival.port, reason);
        }
        _ => stack.drop_received(arrival.port, DropReason::IcmpDiscarded),
    }
}

/// The other worker whose socket caused an error that nobody heard here.
fn stranger<F: Frame>(stack: &Stack<F>, heard: bool, packet: &[u8], offset: usize) -> Option<usize> {
    if heard { None } else { crate::socket::errors::elsewhere(stack, packet.get(offset..)?) }
}

/// Tells the socket that caused an error (row I3).
fn tell_socket<F: Frame>(
    stack: &mut Stack<F>,
    now: crate::Instant,
    arrival: &Arrival<F>,
    header_len: usize,
) -> bool {
    let message = arrival.frame.get(header_len..).unwrap_or_default();
    crate::socket::errors::icmp4(stack, now, arrival.port, IpAddr::V4(arrival.source), message)
}

/// The one's complement sum of everything behind `skip` bytes of the first segment.
pub(crate) fn sum_behind<F: Frame>(packet: &F, skip: usize) -> checksum::Sum {
    let mut sum = Checksum::default();
    let mut index = 0;
    while let Some(segment) = packet.segment(index) {
        sum.add(if index == 0 { segment.get(skip..).unwrap_or_default() } else { segment });
        index += 1;
    }
    sum.sum()
}

/// The one's complement sum of `len` bytes behind `skip` bytes of the first segment, or of what there is of them.
pub(crate) fn sum_of<F: Frame>(packet: &F, skip: usize, len: usize) -> checksum::Sum {
    let mut sum = Checksum::default();
    let mut left = len;
    let mut index = 0;
    while let Some(segment) = packet.segment(index).filter(|_| left > 0) {
        let bytes = if index == 0 { segment.get(skip..).unwrap_or_default() } else { segment };
        let piece = &bytes[..bytes.len().min(left)];
        sum.add(piece);
        left -= piece.len();
        index += 1;
    }
    sum.sum()
}

/// Believes a path MTU report about a packet of ours (row I3; RFC 1191). What it quotes must have come from
/// one of our addresses; without a socket to ask, only ICMP that we originated qualifies (RFC 5927).
fn learn_path_mtu<F: Frame>(
    stack: &mut Stack<F>,
    now: crate::Instant,
    quoted: &[u8],
    mtu: u16,
) -> DropReason {
    let Some(header) = quoted.first_chunk::<HEADER_LEN>() else {
        return DropReason::IcmpTruncated;
    };
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    if header[0] >> 4 != 4 || header[9] != 1 || !stack.is_local4(source) {
        return DropReason::IcmpDiscarded;
    }
    if stack.path_mtus.learn(IpAddr::V4(destination), mtu, now) {
        stack.counters.count(Counter::PathMtuLearned);
    }
    DropReason::Consumed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(change: impl FnOnce(&mut [u8; 28])) -> [u8; 28] {
        let mut packet = [0u8; 28];
        packet[..20].copy_from_slice(&[0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2]);
        change(&mut packet);
        packet
    }

    #[test]
    fn no_error_is_about_an_error_a_group_a_later_fragment_or_nobody() {
        let may = |change: fn(&mut [u8; 28])| may_be_about(&packet(change), LinkCast::Unicast, false);
        assert!(may(|_| {}));
        assert!(!may_be_about(&packet(|_| {}), LinkCast::Group, false));
        assert!(!may(|p| p[7] = 1), "later fragment");
        assert!(may(|p| p[6] = 0x20), "first fragment");
        assert!(!may(|p| p[16] = 224), "multicast destination");
        assert!(!may(|p| p[16..20].fill(255)), "broadcast destination");
        assert!(!may(|p| p[12..16].fill(0)), "no source");
        assert!(!may(|p| p[12] = 127), "loopback source");
        assert!(may(|p| (p[9], p[20]) = (1, kind::ECHO_REQUEST)), "ping");
        for error in [3, 4, 5, 11, 12, 200] {
            let about = packet(|p| (p[9], p[20]) = (1, error));
            assert!(!may_be_about(&about, LinkCast::Unicast, false), "ICMP type {error}");
        }
    }
}
