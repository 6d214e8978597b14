//! IPv4 forwarding (rows P3, P7, P8): what a packet in transit must pass, and what changes in it.
//!
//! RFC 1812 section 5.3: the TTL goes down by one and the checksum follows incrementally (RFC 1624); a
//! packet whose TTL runs out, or that is too long for the next link and may not be fragmented, is answered
//! with an ICMP error; what came by link-layer broadcast is not forwarded at all.

use super::input::Arrival;
use super::options;
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::{LinkCast, ethertype};
use crate::frame::{Frame, FramePool};
use crate::icmp::redirect;
use crate::icmp::v4::{self, Error};
use crate::ip::originate::Exit;
use crate::ip::path::Hop;
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ipv4::{Header, option};

/// The flag "don't fragment" in byte 6 of the header.
pub(crate) const DONT_FRAGMENT: u8 = 0x40;

/// The first byte of a header without options.
pub(crate) const PLAIN: u8 = 0x45;

/// What forwarding decides about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// On its way, with the TTL lowered.
    Pass,
    /// It must be cut into fragments first.
    Fragment,
    /// It ends here, and the sender is told.
    Refuse(DropReason, Error),
}

/// Decides without looking anything up. `len` is the length of the packet.
#[inline]
fn decide(header: &[u8; super::HEADER_LEN], len: usize, mtu: u16) -> Decision {
    if header[8] <= 1 {
        return Decision::Refuse(DropReason::HopLimitExceeded, Error::TTL_EXCEEDED);
    }
    if len <= usize::from(mtu) {
        return Decision::Pass;
    }
    if header[6] & DONT_FRAGMENT != 0 {
        return Decision::Refuse(DropReason::PacketTooBig, Error::fragmentation_needed(mtu));
    }
    Decision::Fragment
}

/// What all packets of a burst have in common on their way through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transit {
    /// The port that they came in on.
    pub(super) port: PortId,
    /// They were sent to us alone, by a port whose packets may go on.
    pub(super) open: bool,
}

impl Transit {
    /// Lowers the TTL of a packet that can leave by `hop` as it is: nearly all of them can. False for one of which
    /// anything is out of the ordinary, which is for [`forward`] then, unchanged.
    #[inline(always)] // in the loop over the burst: a frame is three words, and they stay in registers
    pub(super) fn lets_pass<F: Frame>(self, frame: &mut F, hop: &Hop) -> bool {
        let len = frame.packet_len();
        let Some(header) = frame.first_chunk_mut::<{ super::HEADER_LEN }>() else { return false };
        let ordinary = header[0] == PLAIN && decide(header, len, hop.mtu) == Decision::Pass;
        // By the port that it came in on: the sender may be told of a better way.
        if !(ordinary & self.open & (hop.port != self.port)) {
            return false;
        }
        lower_ttl(header);
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
    let Some(header) = arrival.frame.first_chunk_mut::<{ super::HEADER_LEN }>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    if header[0] != PLAIN {
        return with_options(stack, turn, arrival, hop);
    }
    let decision = decide(header, len, hop.mtu);
    if hop.port == arrival.port && !matches!(decision, Decision::Refuse(..)) {
        redirect::send4(stack, turn, &arrival, hop);
    }
    let Some(header) = arrival.frame.first_chunk_mut::<{ super::HEADER_LEN }>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    match decision {
        Decision::Pass => {
            lower_ttl(header);
            stack.counters.count(Counter::Ipv4Forwarded);
            crate::ip::output::transmit(stack, turn, arrival.frame, hop, ethertype::IPV4);
        }
        Decision::Fragment => {
            lower_ttl(header);
            stack.counters.count(Counter::Ipv4Forwarded);
            super::fragment::transmit(stack, turn, arrival.frame, Exit::Neighbour(hop));
        }
        Decision::Refuse(reason, error) => {
            stack.drop_received(arrival.port, reason);
            v4::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
        }
    }
}

/// Gives a packet with the router alert option to the sockets that registered (row R4). True: they took it.
#[cold]
fn goes_to_alerted<F: Frame>(stack: &mut Stack<F>, now: crate::Instant, arrival: &Arrival<F>) -> bool {
    let Ok((header, _)) = Header::parse(&arrival.frame) else { return false };
    let alert = header.options(&arrival.frame).flatten().any(|found| found.kind == option::ROUTER_ALERT);
    // A fragment would have to be whole first.
    let (protocol, len) = (header.protocol().0, header.header_len());
    alert && !header.is_fragment() && crate::raw::on_router_alert4(stack, now, arrival, protocol, len)
}

/// Forwards a packet with options: the same, and the options are looked at before and written to after.
#[cold]
#[inline(never)]
fn with_options<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut arrival: Arrival<P::Frame>,
    hop: Hop,
) where
    P: FramePool,
    M: Probe,
{
    if !options::pass(stack, turn, &arrival) {
        return;
    }
    if stack.raw.wants_alerts() && goes_to_alerted(stack, turn.now, &arrival) {
        return stack.drop_received(arrival.port, DropReason::Consumed);
    }
    let len = arrival.frame.packet_len();
    let Some(header) = arrival.frame.first_chunk_mut::<{ super::HEADER_LEN }>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    let decision = decide(header, len, hop.mtu);
    if let Decision::Refuse(reason, error) = decision {
        stack.drop_received(arrival.port, reason);
        return v4::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
    }
    if hop.port == arrival.port {
        redirect::send4(stack, turn, &arrival, hop);
    }
    let Some(header) = arrival.frame.first_chunk_mut::<{ super::HEADER_LEN }>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    lower_ttl(header);
    // Our address on the port that leads on (RFC 1812 sections 5.3.13.4 and 5.3.13.5).
    let address = stack.address_to_record(hop.port, arrival.destination);
    options::record_in(stack, turn.now, &mut arrival.frame, address);
    stack.counters.count(Counter::Ipv4Forwarded);
    if decision == Decision::Fragment {
        super::fragment::transmit(stack, turn, arrival.frame, Exit::Neighbour(hop));
    } else {
        crate::ip::output::transmit(stack, turn, arrival.frame, hop, ethertype::IPV4);
    }
}

/// Lowers the TTL, which is above 1, and brings the checksum along.
#[inline]
pub(crate) fn lower_ttl(header: &mut [u8; super::HEADER_LEN]) {
    header[8] -= 1;
    let sum = checksum::after_ttl_decrement(u16::from_be_bytes([header[10], header[11]]));
    [header[10], header[11]] = sum.to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ttl_runs_out_at_one_and_the_checksum_follows_above() {
        let mut header = [0x45, 0, 0, 28, 0, 1, 0, 0, 2, 17, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2];
        let sum = checksum::sum(&header).checksum();
        [header[10], header[11]] = sum.to_be_bytes();
        assert_eq!(decide(&header, 28, 1500), Decision::Pass);
        lower_ttl(&mut header);
        assert_eq!(header[8], 1);
        assert!(checksum::ipv4_header_is_valid(&header));
        let refused = Decision::Refuse(DropReason::HopLimitExceeded, Error::TTL_EXCEEDED);
        assert_eq!(decide(&header, 28, 1500), refused);
    }

    #[test]
    fn a_packet_longer_than_the_link_is_cut_unless_it_forbids_it() {
        let mut header = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2];
        assert_eq!(decide(&header, 1500, 1500), Decision::Pass);
        assert_eq!(decide(&header, 1501, 1500), Decision::Fragment);
        header[6] = DONT_FRAGMENT;
        let refused = Decision::Refuse(DropReason::PacketTooBig, Error::fragmentation_needed(1500));
        assert_eq!(decide(&header, 1501, 1500), refused);
    }
}
