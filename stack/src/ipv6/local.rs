//! IPv6 local delivery (twins of rows P5, P6): packets for this node, handed to the protocol that their
//! chain of extension headers ends in.

use super::extension::{self, Examined, Upper};
use super::input::Arrival;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::FramePool;
use crate::icmp::v6::{self, Error, ICMPV6};
use crate::ip::reassembly;
use crate::raw;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use core::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_LITE: u8 = 136;

/// "No next header" (RFC 8200 section 4.7): nothing to deliver, and nothing wrong.
const NO_NEXT_HEADER: u8 = 59;

/// Delivers a packet to a group, if the port listens to it.
pub fn deliver_group<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, arrival: Arrival<P::Frame>)
where
    P: FramePool,
    M: Probe,
{
    let mut arrival = arrival;
    if stack.multicast.is_on() {
        match crate::multicast::forward::input6(stack, turn, arrival) {
            Some(ours) => arrival = ours,
            None => return,
        }
        // Reports of version 1 go to the group itself, those of version 2 to ff02::16.
        if stack.multicast.is_downstream(arrival.port) && crate::mld::is_message(&arrival.frame) {
            return deliver(stack, turn, Arrival { cast: LinkCast::Group, ..arrival });
        }
    }
    let joined = stack.hears_group(arrival.port, IpAddr::V6(arrival.destination), IpAddr::V6(arrival.source))
        || crate::multicast::forward::is_elsewhere6(stack, &arrival.frame);
    if joined {
        deliver(stack, turn, Arrival { cast: LinkCast::Group, ..arrival });
    } else {
        stack.drop_received(arrival.port, DropReason::NotJoined);
    }
}

/// Delivers a packet for this node.
pub fn deliver<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, arrival: Arrival<P::Frame>)
where
    P: FramePool,
    M: Probe,
{
    if stack.is_unusable(IpAddr::V6(arrival.destination)) {
        return stack.drop_received(arrival.port, DropReason::AddressTentative);
    }
    let upper = match extension::examine_chain(stack, turn, &arrival) {
        Some(Examined::Whole(upper)) => upper,
        Some(Examined::Piece(piece)) => {
            if let Some(whole) = reassembly::take6(stack, turn, &arrival, &piece) {
                deliver(stack, turn, whole);
            }
            return;
        }
        None => return,
    };
    stack.counters.count(Counter::Ipv6Delivered);
    let copied = stack.raw.is_anywhere() && raw::copies6(stack, turn, &arrival, upper.protocol, upper.offset);
    pass_on(stack, turn, arrival, &upper, copied);
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
    let Some((protocol, offset)) = extension::upper_layer(&arrival.frame) else {
        return stack.drop_received(arrival.port, DropReason::Ipv6BadExtension);
    };
    if raw_only {
        raw::copies6(stack, turn, &arrival, protocol, offset);
        return stack.drop_received(arrival.port, DropReason::Consumed);
    }
    // Only what somebody here speaks is handed over: no parameter problem is owed.
    pass_on(stack, turn, arrival, &Upper { protocol, offset, named_at: 0 }, false);
}

/// Hands a packet to its protocol; `copied`: a raw socket took it, too.
#[inline]
fn pass_on<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    upper: &Upper,
    copied: bool,
) where
    P: FramePool,
    M: Probe,
{
    match upper.protocol {
        ICMPV6 => v6::input(stack, turn, arrival, upper.offset),
        UDP => crate::udp::input6(stack, turn, arrival, upper.offset),
        UDP_LITE => crate::udp::lite_input6(stack, turn, arrival, upper.offset),
        TCP => crate::tcp::sockets::deliver6(stack, turn, arrival, upper.offset),
        NO_NEXT_HEADER => stack.drop_received(arrival.port, DropReason::Consumed),
        _ if copied => stack.drop_received(arrival.port, DropReason::Consumed),
        _ => {
            stack.drop_received(arrival.port, DropReason::ProtocolUnreachable);
            let error = Error::unknown_next_header(upper.named_at as u32);
            v6::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
        }
    }
}
