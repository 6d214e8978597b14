//! IPv6 output (twins of rows O1, O7): packets that we originate.

use crate::counters::Counter;
use crate::ethernet::ethertype;
use crate::frame::{Frame, FramePool};
use crate::ip::output::transmit;
use crate::ip::path::Hop;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;

/// Sends a complete packet that we originated by `hop`. What is too long for the path ends here: nothing
/// that we originate needs a fragment header yet.
pub fn send<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, frame: P::Frame, hop: Hop)
where
    P: FramePool,
    M: Probe,
{
    if frame.packet_len() > usize::from(hop.mtu) {
        return stack.counters.drop(DropReason::PacketTooBig);
    }
    stack.counters.count(Counter::Ipv6Originated);
    transmit(stack, turn, frame, hop, ethertype::IPV6);
}
