//! Ports that nobody listens on: what TCP and UDP say then (row T13 for resets; RFC 1122 section 4.1.3.1).
//!
//! UDP: port unreachable. TCP: a reset, computed from the segment alone (RFC 9293 section 3.10.7.1).
//! Only intact segments are answered, and never a group address.

use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::v4::{self, sum_behind, sum_of};
use crate::icmp::v6;
use crate::interface::ChecksumPolicy;
use crate::ipv4;
use crate::ipv4::input::Arrival as Arrival4;
use crate::ipv6;
use crate::ipv6::input::Arrival as Arrival6;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use core::net::IpAddr;

/// Bytes of a UDP header.
const UDP_HEADER_LEN: usize = 8;
/// Bytes of a TCP header without options.
const TCP_HEADER_LEN: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// TCP flags in byte 13 of the header (RFC 9293 section 3.1).
mod flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;
}

/// A UDP datagram over IPv4 for a port that nobody listens on.
pub fn udp4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    let trusted = trusts(stack, arrival.port);
    let len = arrival.frame.packet_len() - header_len;
    let reason = match transport_header::<UDP_HEADER_LEN>(&arrival.frame, header_len) {
        None => DropReason::TransportMalformed,
        Some(header) => {
            let stated = u16::from_be_bytes([header[4], header[5]]);
            let pseudo = checksum::pseudo_ipv4(arrival.source, arrival.destination, UDP, stated);
            // RFC 768: a checksum of zero means that the sender made none.
            let unchecked = trusted || header[6..8] == [0, 0];
            if usize::from(stated) < UDP_HEADER_LEN || usize::from(stated) > len {
                DropReason::TransportMalformed
            } else if !unchecked
                && !pseudo.plus(sum_of(&arrival.frame, header_len, usize::from(stated))).is_valid()
            {
                DropReason::TransportBadChecksum
            } else {
                DropReason::PortUnreachable
            }
        }
    };
    stack.drop_received(arrival.port, reason);
    if reason == DropReason::PortUnreachable && arrival.cast == LinkCast::Unicast {
        v4::send_error(
            stack,
            turn,
            &arrival.frame,
            (arrival.port, arrival.cast),
            v4::Error::PORT_UNREACHABLE,
        );
    }
}

/// A UDP datagram over IPv6 for a port that nobody listens on; `offset` is that of the UDP header.
pub fn udp6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival6<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    let trusted = trusts(stack, arrival.port);
    let len = arrival.frame.packet_len() - offset;
    let reason = match transport_header::<UDP_HEADER_LEN>(&arrival.frame, offset) {
        None => DropReason::TransportMalformed,
        Some(header) => {
            let stated = u16::from_be_bytes([header[4], header[5]]);
            let pseudo = checksum::pseudo_ipv6(&arrival.source, &arrival.destination, UDP, u32::from(stated));
            if usize::from(stated) < UDP_HEADER_LEN || usize::from(stated) > len {
                DropReason::TransportMalformed
            } else if !trusted
                && (header[6..8] == [0, 0] // RFC 8200 section 8.1: over IPv6 the checksum is mandatory
                    || !pseudo.plus(sum_of(&arrival.frame, offset, usize::from(stated))).is_valid())
            {
                DropReason::TransportBadChecksum
            } else {
                DropReason::PortUnreachable
            }
        }
    };
    stack.drop_received(arrival.port, reason);
    if reason == DropReason::PortUnreachable && arrival.cast == LinkCast::Unicast {
        v6::send_error(
            stack,
            turn,
            &arrival.frame,
            (arrival.port, arrival.cast),
            v6::Error::PORT_UNREACHABLE,
        );
    }
}

/// A TCP segment over IPv4 for a port that nobody listens on.
pub fn tcp4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    let len = arrival.frame.packet_len() - header_len;
    let pseudo = checksum::pseudo_ipv4(arrival.source, arrival.destination, TCP, len as u16);
    let intact =
        trusts(stack, arrival.port) || pseudo.plus(sum_behind(&arrival.frame, header_len)).is_valid();
    let reset = match judge_tcp(&arrival.frame, header_len, len, intact, arrival.cast) {
        Ok(reset) => reset,
        Err(reason) => return stack.drop_received(arrival.port, reason),
    };
    stack.drop_received(arrival.port, DropReason::PortUnreachable);
    let Some(reset) = reset else { return };
    let Ok(hop) = stack.route_output(turn.now, IpAddr::V4(arrival.source), arrival.port) else { return };
    let pseudo = checksum::pseudo_ipv4(arrival.destination, arrival.source, TCP, TCP_HEADER_LEN as u16);
    let id = stack.next_ipv4_id();
    let Some(mut frame) = reset_frame(turn, ipv4::HEADER_LEN, &reset, pseudo) else {
        return stack.counters.drop(DropReason::NoFrame);
    };
    let total_len = (ipv4::HEADER_LEN + TCP_HEADER_LEN) as u16;
    let fields = v4::Fields {
        tos: 0,
        id,
        protocol: TCP,
        source: arrival.destination,
        destination: arrival.source,
        total_len,
    };
    v4::write_header(&mut frame, &fields);
    stack.counters.count(Counter::TcpResetsOut);
    ipv4::output::send(stack, turn, frame, hop);
}

/// A TCP segment over IPv6 for a port that nobody listens on; `offset` is that of the TCP header.
pub fn tcp6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival6<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    // RFC 4291 section 2.5.2: nobody can be answered there.
    if arrival.source.is_unspecified() {
        return stack.drop_received(arrival.port, DropReason::Ipv6MartianSource);
    }
    let len = arrival.frame.packet_len() - offset;
    let pseudo = checksum::pseudo_ipv6(&arrival.source, &arrival.destination, TCP, len as u32);
    let intact = trusts(stack, arrival.port) || pseudo.plus(sum_behind(&arrival.frame, offset)).is_valid();
    let reset = match judge_tcp(&arrival.frame, offset, len, intact, arrival.cast) {
        Ok(reset) => reset,
        Err(reason) => return stack.drop_received(arrival.port, reason),
    };
    stack.drop_received(arrival.port, DropReason::PortUnreachable);
    let Some(reset) = reset else { return };
    let Ok(hop) = stack.route_output(turn.now, IpAddr::V6(arrival.source), arrival.port) else { return };
    let pseudo = checksum::pseudo_ipv6(&arrival.destination, &arrival.source, TCP, TCP_HEADER_LEN as u32);
    let Some(mut frame) = reset_frame(turn, ipv6::HEADER_LEN, &reset, pseudo) else {
        return stack.counters.drop(DropReason::NoFrame);
    };
    let fields = v6::Fields {
        class: 0,
        next_header: TCP,
        hop_limit: v4::DEFAULT_TTL,
        source: arrival.destination,
        destination: arrival.source,
        payload_len: TCP_HEADER_LEN as u16,
    };
    v6::write_header(&mut frame, &fields);
    stack.counters.count(Counter::TcpResetsOut);
    ipv6::output::send(stack, turn, frame, hop);
}

fn trusts<F: Frame>(stack: &Stack<F>, port: crate::PortId) -> bool {
    stack.interfaces.get(port).is_some_and(|one| one.checksum == ChecksumPolicy::Trust)
}

fn transport_header<const N: usize>(packet: &[u8], offset: usize) -> Option<&[u8; N]> {
    packet.get(offset..)?.first_chunk()
}

/// A reset to be sent: the ports and numbers of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reset {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    sequence: u32,
    acknowledgement: Option<u32>,
}

/// Judges a segment of `len` bytes at `offset`: the reset that it deserves, `None` for one that is a reset
/// itself, or why it is dropped without a word.
fn judge_tcp(
    packet: &[u8],
    offset: usize,
    len: usize,
    intact: bool,
    cast: LinkCast,
) -> Result<Option<Reset>, DropReason> {
    let header = transport_header::<TCP_HEADER_LEN>(packet, offset).ok_or(DropReason::TransportMalformed)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < TCP_HEADER_LEN || header_len > len {
        return Err(DropReason::TransportMalformed);
    }
    if !intact {
        return Err(DropReason::TransportBadChecksum);
    }
    if cast == LinkCast::Group {
        return Ok(None);
    }
    Ok(reset_for(header, len - header_len))
}

/// RFC 9293 section 3.10.7.1: what a segment for a closed port is answered with.
fn reset_for(header: &[u8; TCP_HEADER_LEN], payload: usize) -> Option<Reset> {
    let flags = header[13];
    if flags & flag::RST != 0 {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (sequence, acknowledgement) = if flags & flag::ACK != 0 {
        (word(8), None)
    } else {
        let controls = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
        (0, Some(word(4).wrapping_add(payload as u32).wrapping_add(controls)))
    };
    Some(Reset {
        source_port: [header[2], header[3]],
        destination_port: [header[0], header[1]],
        sequence,
        acknowledgement,
    })
}

/// A frame with the reset behind `skip` bytes for the IP header; `None` when there is no frame.
fn reset_frame<P: FramePool, M: Probe>(
    turn: &mut Turn<'_, P, M>,
    skip: usize,
    reset: &Reset,
    pseudo: checksum::Sum,
) -> Option<P::Frame> {
    let mut frame = turn.pool.alloc()?;
    if !frame.append(skip + TCP_HEADER_LEN) {
        return None;
    }
    let header = &mut frame[skip..];
    header.fill(0);
    header[0..2].copy_from_slice(&reset.source_port);
    header[2..4].copy_from_slice(&reset.destination_port);
    header[4..8].copy_from_slice(&reset.sequence.to_be_bytes());
    header[8..12].copy_from_slice(&reset.acknowledgement.unwrap_or(0).to_be_bytes());
    header[12] = (TCP_HEADER_LEN as u8 / 4) << 4;
    header[13] = flag::RST | if reset.acknowledgement.is_some() { flag::ACK } else { 0 };
    let sum = pseudo.plus(checksum::sum(header)).checksum();
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8) -> [u8; TCP_HEADER_LEN] {
        let mut header = [0u8; TCP_HEADER_LEN];
        header[..12].copy_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 100, 0, 0, 0, 200]);
        header[12] = 5 << 4;
        header[13] = flags;
        header
    }

    #[test]
    fn a_syn_is_acknowledged_by_the_reset_and_an_ack_lends_its_number() {
        let to_syn = reset_for(&segment(flag::SYN), 0).unwrap();
        assert_eq!((to_syn.sequence, to_syn.acknowledgement), (0, Some(101)));
        assert_eq!((to_syn.source_port, to_syn.destination_port), ([0, 80], [0x30, 0x39]));
        let to_data = reset_for(&segment(flag::FIN), 10).unwrap();
        assert_eq!(to_data.acknowledgement, Some(111));
        let to_ack = reset_for(&segment(flag::ACK), 10).unwrap();
        assert_eq!((to_ack.sequence, to_ack.acknowledgement), (200, None));
    }

    #[test]
    fn a_reset_is_never_answered_and_a_broken_segment_says_why() {
        assert_eq!(reset_for(&segment(flag::RST), 0), None);
        let judge = |packet: &[u8], intact, cast| judge_tcp(packet, 0, packet.len(), intact, cast);
        let good = segment(flag::SYN);
        assert!(judge(&good, true, LinkCast::Unicast).unwrap().is_some());
        assert_eq!(judge(&good, true, LinkCast::Group), Ok(None));
        assert_eq!(judge(&good, false, LinkCast::Unicast), Err(DropReason::TransportBadChecksum));
        assert_eq!(judge(&good[..19], true, LinkCast::Unicast), Err(DropReason::TransportMalformed));
        let mut long_header = good;
        long_header[12] = 15 << 4;
        assert_eq!(judge(&long_header, true, LinkCast::Unicast), Err(DropReason::TransportMalformed));
    }
}
