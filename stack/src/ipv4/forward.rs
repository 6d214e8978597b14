//! IPv4 forwarding (rows P7, P8): what a packet in transit must pass, and what changes in it.
//!
//! RFC 1812 section 5.3: the TTL goes down by one and the checksum follows incrementally (RFC 1624); a
//! packet whose TTL runs out, or that is too long for the next link and may not be fragmented, is answered
//! with an ICMP error; what came by link-layer broadcast is not forwarded at all.

use super::input::Arrival;
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::{LinkCast, ethertype};
use crate::frame::{Frame, FramePool};
use crate::icmp::v4::{self, Error};
use crate::ip::path::Hop;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ipv4::{Header, option};

/// The flag "don't fragment" in byte 6 of the header.
const DONT_FRAGMENT: u8 = 0x40;

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

/// Forwards a packet by `hop`.
#[inline(always)] // a frame is three words: passed through memory at every call otherwise
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
    if header[0] != 0x45 && stack.raw.wants_alerts() && goes_to_alerted(stack, turn.now, &arrival) {
        return stack.drop_received(arrival.port, DropReason::Consumed);
    }
    let Some(header) = arrival.frame.first_chunk_mut::<{ super::HEADER_LEN }>() else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    match decide(header, len, hop.mtu) {
        Decision::Pass => {
            lower_ttl(header);
            stack.counters.count(Counter::Ipv4Forwarded);
            crate::ip::output::transmit(stack, turn, arrival.frame, hop, ethertype::IPV4);
        }
        Decision::Fragment => {
            lower_ttl(header);
            stack.counters.count(Counter::Ipv4Forwarded);
            super::fragment::transmit(stack, turn, arrival.frame, hop);
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

/// Lowers the TTL, which is above 1, and brings the checksum along.
#[inline]
fn lower_ttl(header: &mut [u8; super::HEADER_LEN]) {
    header[8] -= 1;
    let sum = checksum::after_ttl_decrement(u16::from_be_bytes([header[10], header[11]]));
    [header[10], header[11]] = sum.to_be_bytes();
}

/// Checks the options of a header (RFC 791 section 3.1). Source routes are refused (RFC 7126 section 4.3
/// advises so); the others pass through as they came.
pub(super) fn check_options(options: &[u8]) -> Result<(), DropReason> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        rest = match *kind {
            END => return Ok(()),
            NO_OPERATION => tail,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(DropReason::Ipv4OptionRefused),
            _ => match tail.first() {
                Some(&len) if len >= 2 => rest.get(usize::from(len)..).ok_or(DropReason::Ipv4BadOption)?,
                _ => return Err(DropReason::Ipv4BadOption),
            },
        };
    }
    Ok(())
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

    #[test]
    fn malformed_options_and_source_routes_are_told_apart_from_good_ones() {
        assert_eq!(check_options(&[1, 1, 1, 0]), Ok(()));
        assert_eq!(check_options(&[7, 7, 4, 0, 0, 0, 0, 0]), Ok(()), "record route passes");
        assert_eq!(check_options(&[7, 9, 4, 0]), Err(DropReason::Ipv4BadOption));
        assert_eq!(check_options(&[7, 1, 4, 0]), Err(DropReason::Ipv4BadOption));
        assert_eq!(check_options(&[1, 1, 1, 7]), Err(DropReason::Ipv4BadOption));
        assert_eq!(check_options(&[131, 7, 4, 0, 0, 0, 0, 0]), Err(DropReason::Ipv4OptionRefused));
    }
}
