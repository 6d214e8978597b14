//! IPv6 forwarding (twins of rows P7 and P8): hop limit, scope, MTU. Routers do not fragment (RFC 8200
//! section 4.5): what is too long is answered with packet too big.

use super::HEADER_LEN;
use super::input::Arrival;
use crate::counters::Counter;
use crate::ethernet::{LinkCast, ethertype};
use crate::frame::{Frame, FramePool};
use crate::icmp::redirect;
use crate::icmp::v6::{self, Error};
use crate::ip::output::transmit;
use crate::ip::path::Hop;
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;

/// What forwarding decides about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// On its way, with the hop limit lowered.
    Pass,
    /// It ends here without a word.
    Drop(DropReason),
    /// It ends here, and the sender is told.
    Refuse(DropReason, Error),
}

/// Decides without looking anything up. `len` is the length of the packet.
#[inline]
fn decide(header: &[u8; HEADER_LEN], len: usize, mtu: u16) -> Decision {
    // fe80::/10 must not leave its link (RFC 4291 section 2.5.6); :: must not be forwarded (section 2.5.2).
    if header[8] == 0xfe && header[9] & 0xc0 == 0x80 {
        return Decision::Refuse(DropReason::LinkLocalScope, Error::BEYOND_SCOPE);
    }
    if header[8] == 0 && header[8..24] == [0; 16] {
        return Decision::Drop(DropReason::Ipv6MartianSource);
    }
    if header[7] <= 1 {
        return Decision::Refuse(DropReason::HopLimitExceeded, Error::HOP_LIMIT_EXCEEDED);
    }
    if len > usize::from(mtu) {
        return Decision::Refuse(DropReason::PacketTooBig, Error::packet_too_big(u32::from(mtu)));
    }
    Decision::Pass
}

/// The next header field of a packet with hop-by-hop options (RFC 8200 section 4.3).
const HOP_BY_HOP: u8 = 0;

/// What all packets of a burst have in common on their way through; as its IPv4 twin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transit {
    /// The port that they came in on.
    pub(super) port: PortId,
    /// They were sent to us alone, by a port whose packets may go on, and no socket waits for alerts among them.
    pub(super) open: bool,
}

impl Transit {
    /// Lowers the hop limit of a packet that can leave by `hop` as it is: nearly all of them can. False for one of
    /// which anything is out of the ordinary, which is for [`forward`] then, unchanged.
    #[inline(always)] // in the loop over the burst: a frame is three words, and they stay in registers
    pub(super) fn lets_pass<F: Frame>(self, frame: &mut F, hop: &Hop) -> bool {
        let len = frame.packet_len();
        let Some(header) = frame.first_chunk_mut::<HEADER_LEN>() else { return false };
        let ordinary = header[6] != HOP_BY_HOP && decide(header, len, hop.mtu) == Decision::Pass;
        // By the port that it came in on: the sender may be told of a better way.
        if !(ordinary & self.open & (hop.port != self.port)) {
            return false;
        }
        header[7] -= 1;
        true
    }
}

/// Forwards a packet by `hop`, whatever it is.
pub fn forward<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut arrival: Arrival<P::Frame>,
    hop: Hop,
) where
    P: FramePool,
    M: Probe,
{
    if arrival.cast == LinkCast::Group {
        return stack.drop_received(arrival.port, DropReason::NotForwardable);
    }
    if !stack.forwards(arrival.port) {
        return stack.drop_received(arrival.port, DropReason::ForwardingOff);
    }
    let len = arrival.frame.packet_len();
    let Some(header) = arrival.frame.first_chunk_mut::<HEADER_LEN>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv6Truncated);
    };
    // Hop-by-hop options are for every node on the way.
    if header[6] == HOP_BY_HOP && !super::extension::examine_hop_by_hop(stack, turn, &arrival) {
        return;
    }
    if stack.raw.wants_alerts()
        && let Some(value) = super::extension::router_alert(&arrival.frame)
        && crate::raw::on_router_alert6(stack, turn.now, &arrival, value)
    {
        return stack.drop_received(arrival.port, DropReason::Consumed);
    }
    let Some(header) = arrival.frame.first_chunk_mut::<HEADER_LEN>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv6Truncated);
    };
    let decision = decide(header, len, hop.mtu);
    if hop.port == arrival.port && decision == Decision::Pass {
        redirect::send6(stack, turn, &arrival, hop);
    }
    let Some(header) = arrival.frame.first_chunk_mut::<HEADER_LEN>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv6Truncated);
    };
    match decision {
        Decision::Pass => {
            header[7] -= 1;
            stack.counters.count(Counter::Ipv6Forwarded);
            transmit(stack, turn, arrival.frame, hop, ethertype::IPV6);
        }
        Decision::Drop(reason) => stack.drop_received(arrival.port, reason),
        Decision::Refuse(reason, error) => {
            stack.drop_received(arrival.port, reason);
            v6::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(source_top: [u8; 2], hop_limit: u8) -> [u8; HEADER_LEN] {
        let mut header = [0u8; HEADER_LEN];
        header[7] = hop_limit;
        header[8..10].copy_from_slice(&source_top);
        header[24] = 0x20;
        header
    }

    #[test]
    fn hop_limit_length_and_scope_decide() {
        let global = header([0x20, 1], 64);
        assert_eq!(decide(&global, 1500, 1500), Decision::Pass);
        let too_big = Decision::Refuse(DropReason::PacketTooBig, Error::packet_too_big(1500));
        assert_eq!(decide(&global, 1501, 1500), too_big);
        let exceeded = Decision::Refuse(DropReason::HopLimitExceeded, Error::HOP_LIMIT_EXCEEDED);
        assert_eq!(decide(&header([0x20, 1], 1), 100, 1500), exceeded);
        assert_eq!(decide(&header([0x20, 1], 2), 100, 1500), Decision::Pass);
        let scope = Decision::Refuse(DropReason::LinkLocalScope, Error::BEYOND_SCOPE);
        assert_eq!(decide(&header([0xfe, 0x80], 64), 100, 1500), scope);
        let unspecified = Decision::Drop(DropReason::Ipv6MartianSource);
        assert_eq!(decide(&header([0, 0], 64), 100, 1500), unspecified);
    }
}
