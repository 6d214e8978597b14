//! UDP and UDP-Lite ports that nobody listens on (RFC 1122 section 4.1.3.1): port unreachable, for intact datagrams only, and
//! never for a group address. What TCP says then is in [`crate::tcp::sockets`].

use crate::checksum::{self, Sum};
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::v4::{self, sum_of};
use crate::icmp::v6;
use crate::interface::ChecksumPolicy;
use crate::ipv4::input::Arrival as Arrival4;
use crate::ipv6::input::Arrival as Arrival6;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::udp::Protocol;
use crate::verdict::DropReason;

/// Bytes of a UDP header.
const UDP_HEADER_LEN: usize = 8;
const UDP: u8 = 17;

/// A UDP datagram over IPv4 for a port that nobody listens on.
pub fn udp4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    end4(stack, turn, arrival, (Protocol::Udp, offset), |stack, arrival| {
        let pseudo = |len| checksum::pseudo_ipv4(arrival.source, arrival.destination, UDP, len);
        // RFC 768: a checksum of zero means that the sender made none.
        udp_reason(&arrival.frame, offset, pseudo, true, trusts(stack, arrival.port))
    });
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
    end6(stack, turn, arrival, (Protocol::Udp, offset), |stack, arrival| {
        let pseudo = |len| checksum::pseudo_ipv6(&arrival.source, &arrival.destination, UDP, u32::from(len));
        // RFC 8200 section 8.1: over IPv6 the checksum is mandatory.
        udp_reason(&arrival.frame, offset, pseudo, false, trusts(stack, arrival.port))
    });
}

/// The end of a datagram that no socket took: what is wrong with it, or that nobody listens.
fn udp_reason<F: Frame>(
    frame: &F,
    offset: usize,
    pseudo: impl FnOnce(u16) -> Sum,
    may_lack_checksum: bool,
    trusted: bool,
) -> DropReason {
    let Some(header) = transport_header::<UDP_HEADER_LEN>(frame, offset) else {
        return DropReason::TransportMalformed;
    };
    let stated = u16::from_be_bytes([header[4], header[5]]);
    let len = usize::from(stated);
    if len < UDP_HEADER_LEN || len > frame.packet_len() - offset {
        return DropReason::TransportMalformed;
    }
    let is_intact = trusted
        || match header[6..8] {
            [0, 0] => may_lack_checksum,
            _ => pseudo(stated).plus(sum_of(frame, offset, len)).is_valid(),
        };
    if is_intact { DropReason::PortUnreachable } else { DropReason::TransportBadChecksum }
}

/// The end of a datagram over IPv4 that no socket here took; its header begins at `offset`. When its port is another worker's, that
/// one looks at all the rest. Else it is counted under its `reason`, and its sender hears of it when nothing but a socket is missing.
pub(super) fn end4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    (protocol, offset): (Protocol, usize),
    reason: impl FnOnce(&Stack<P::Frame>, &Arrival4<P::Frame>) -> DropReason,
) where
    P: FramePool,
    M: Probe,
{
    if let Some(worker) = elsewhere(stack, protocol, &arrival.frame, offset) {
        return stack.hand_over(worker, arrival.port, arrival.cast, arrival.frame);
    }
    let reason = reason(stack, &arrival);
    stack.drop_received(arrival.port, reason);
    if reason == DropReason::PortUnreachable && arrival.cast == LinkCast::Unicast {
        let at = (arrival.port, arrival.cast);
        v4::send_error(stack, turn, &arrival.frame, at, v4::Error::PORT_UNREACHABLE);
    }
}

/// The same over IPv6.
pub(super) fn end6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival6<P::Frame>,
    (protocol, offset): (Protocol, usize),
    reason: impl FnOnce(&Stack<P::Frame>, &Arrival6<P::Frame>) -> DropReason,
) where
    P: FramePool,
    M: Probe,
{
    if let Some(worker) = elsewhere(stack, protocol, &arrival.frame, offset) {
        return stack.hand_over(worker, arrival.port, arrival.cast, arrival.frame);
    }
    let reason = reason(stack, &arrival);
    stack.drop_received(arrival.port, reason);
    if reason == DropReason::PortUnreachable && arrival.cast == LinkCast::Unicast {
        let at = (arrival.port, arrival.cast);
        v6::send_error(stack, turn, &arrival.frame, at, v6::Error::PORT_UNREACHABLE);
    }
}

/// The other worker whose socket a datagram is for; its header stands at `offset`.
fn elsewhere<F: Frame>(stack: &Stack<F>, protocol: Protocol, packet: &[u8], offset: usize) -> Option<usize> {
    let [_, _, high, low] = *transport_header::<4>(packet, offset)?;
    stack.udp.elsewhere(protocol, u16::from_be_bytes([high, low]))
}

fn trusts<F: Frame>(stack: &Stack<F>, port: crate::PortId) -> bool {
    stack.interfaces.get(port).is_some_and(|one| one.checksum == ChecksumPolicy::Trust)
}

fn transport_header<const N: usize>(packet: &[u8], offset: usize) -> Option<&[u8; N]> {
    packet.get(offset..)?.first_chunk()
}
