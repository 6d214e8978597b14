//! IPv4 local delivery (rows P5, P6): packets for this node, handed to the protocol that they name.
//!
//! Raw sockets have their copies first. Sends to: `udp`, `icmp::v4`, `igmp`, `closed` for TCP that nobody listens
//! to, or the end with a reason.

use super::HEADER_LEN;
use super::input::Arrival;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::FramePool;
use crate::icmp::v4::{self, Error};
use crate::igmp::IGMP;
use crate::ip::reassembly;
use crate::raw;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;

/// Protocol numbers (IANA) that have a home here.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_LITE: u8 = 136;

/// "More fragments" and the offset, in bytes 6 and 7 of the header.
const FRAGMENT_BITS: u16 = 0x3fff;

/// Delivers a packet for this node.
pub fn deliver<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, mut arrival: Arrival<P::Frame>)
where
    P: FramePool,
    M: Probe,
{
    if stack.is_unusable(core::net::IpAddr::V4(arrival.destination)) {
        return stack.drop_received(arrival.port, DropReason::AddressTentative);
    }
    let Some(header) = arrival.frame.first_chunk::<HEADER_LEN>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let protocol = header[9];
    let fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_BITS != 0;
    if header_len != HEADER_LEN && !super::options::take(stack, turn, &mut arrival, !fragment) {
        return;
    }
    if fragment {
        if let Some(whole) = reassembly::take4(stack, turn, &arrival) {
            deliver(stack, turn, whole);
        }
        return;
    }
    stack.counters.count(Counter::Ipv4Delivered);
    let copied = stack.raw.is_anywhere() && raw::copies4(stack, turn, &arrival, protocol, header_len);
    pass_on(stack, turn, arrival, (protocol, header_len), copied);
}

/// Delivers a packet that another worker handed to this one, which did all the above but for raw sockets that are here;
/// for those alone when it is `raw_only`.
pub(crate) fn take_over<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    raw_only: bool,
) where
    P: FramePool,
    M: Probe,
{
    let (first, protocol) = arrival.frame.first_chunk::<HEADER_LEN>().map_or((0, 0), |ip| (ip[0], ip[9]));
    let header_len = usize::from(first & 0x0f) * 4;
    if raw_only {
        raw::copies4(stack, turn, &arrival, protocol, header_len);
        return stack.drop_received(arrival.port, DropReason::Consumed);
    }
    pass_on(stack, turn, arrival, (protocol, header_len), false);
}

/// Hands a packet to its protocol; `copied`: a raw socket took it, too.
#[inline]
fn pass_on<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    (protocol, header_len): (u8, usize),
    copied: bool,
) where
    P: FramePool,
    M: Probe,
{
    match protocol {
        ICMP => v4::input(stack, turn, arrival, header_len),
        UDP => crate::udp::input4(stack, turn, arrival, header_len),
        UDP_LITE => crate::udp::lite_input4(stack, turn, arrival, header_len),
        TCP => crate::tcp::sockets::deliver4(stack, turn, arrival, header_len),
        IGMP => crate::igmp::input(stack, turn, &arrival, header_len),
        _ if copied => stack.drop_received(arrival.port, DropReason::Consumed),
        _ => {
            stack.drop_received(arrival.port, DropReason::ProtocolUnreachable);
            if arrival.cast == LinkCast::Unicast {
                v4::send_error(
                    stack,
                    turn,
                    &arrival.frame,
                    (arrival.port, arrival.cast),
                    Error::PROTOCOL_UNREACHABLE,
                );
            }
        }
    }
}
