//! IPv4 output (rows O1, O7, O8): packets that we originate.

use super::fragment;
use crate::counters::Counter;
use crate::ethernet::ethertype;
use crate::frame::{Frame, FramePool};
use crate::ip::output::transmit;
use crate::ip::path::Hop;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};

/// Sends a complete packet that we originated by `hop`, cut into fragments when the link wants that.
pub fn send<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, frame: P::Frame, hop: Hop)
where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::Ipv4Originated);
    if frame.packet_len() <= usize::from(hop.mtu) {
        transmit(stack, turn, frame, hop, ethertype::IPV4);
    } else {
        fragment::transmit(stack, turn, frame, crate::ip::originate::Exit::Neighbour(hop));
    }
}
