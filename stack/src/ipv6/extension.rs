//! What this node does about extension headers (RFC 8200 section 4): the wire module walks the chain, this
//! one decides.
//!
//! In transit only hop-by-hop options are looked at. For us: options of both kinds are obeyed or refused as
//! their two high bits ask; a routing header with segments left is refused, whatever its type, because no
//! type is enabled (type 0 never will be: RFC 5095); an atomic fragment is a whole packet (RFC 6946).

use super::HEADER_LEN;
use super::input::Arrival;
use crate::ethernet::LinkCast;
use crate::frame::FramePool;
use crate::icmp::v6::{self, Error};
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ipv6::Header;
use crate::wire::ipv6_extension::{self, Chain, Extent, Options, UnknownAction, option};

/// Where the upper layer of a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// Its protocol number.
    pub protocol: u8,
    /// The offset of its header in bytes from the start of the packet.
    pub offset: usize,
    /// The offset of the field that names it.
    pub named_at: usize,
}

/// Why a packet's headers end its way: the reason, and the error that its source is owed.
type Refused = (DropReason, Option<Error>);

/// The upper layer of a packet, for those who only want to know what it is. `None` when the chain cannot be
/// walked, or leads into the middle of a fragmented packet.
pub fn upper_layer(packet: &[u8]) -> Option<(u8, usize)> {
    let (header, _) = Header::parse(packet).ok()?;
    let chain = Chain::walk(header, packet).ok()?;
    let later_fragment = chain.fragment.is_some_and(|fragment| fragment.offset != 0);
    (!later_fragment).then_some((chain.upper.0, chain.upper_offset))
}

/// The value of the router alert option of a packet (RFC 2711), if it has one.
pub(crate) fn router_alert(packet: &[u8]) -> Option<u16> {
    let (header, _) = Header::parse(packet).ok()?;
    let extent = Chain::walk(header, packet).ok()?.hop_by_hop?;
    let mut options = Options::new(packet, extent).flatten();
    let found = options.find(|found| found.kind == option::ROUTER_ALERT)?;
    Some(u16::from_be_bytes(*found.data.first_chunk::<2>()?))
}

/// Looks at the hop-by-hop options of a packet in transit. False: it ended here, counted and answered.
pub fn examine_hop_by_hop<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let packet = &arrival.frame;
    let extent = match packet.get(HEADER_LEN..HEADER_LEN + 2) {
        Some(&[_, length]) => Extent { offset: HEADER_LEN, length: 8 + usize::from(length) * 8 },
        _ => {
            stack.drop_received(arrival.port, DropReason::Ipv6BadExtension);
            return false;
        }
    };
    let verdict = if packet.len() < extent.offset + extent.length {
        Err((DropReason::Ipv6BadExtension, None))
    } else {
        judge_options(packet, extent, arrival.destination.is_multicast())
    };
    settle(stack, turn, arrival, verdict).is_some()
}

/// Walks the chain of a packet for us. `None`: it ended here, counted and answered.
pub fn examine_chain<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
) -> Option<Upper>
where
    P: FramePool,
    M: Probe,
{
    let verdict = judge_chain(&arrival.frame, arrival.destination.is_multicast());
    settle(stack, turn, arrival, verdict)
}

fn settle<T, P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
    verdict: Result<T, Refused>,
) -> Option<T>
where
    P: FramePool,
    M: Probe,
{
    match verdict {
        Ok(found) => Some(found),
        Err((reason, error)) => {
            stack.drop_received(arrival.port, reason);
            if let Some(error) = error {
                let cast = if arrival.destination.is_multicast() { LinkCast::Group } else { arrival.cast };
                v6::send_error(stack, turn, &arrival.frame, (arrival.port, cast), error);
            }
            None
        }
    }
}

fn judge_chain(packet: &[u8], group: bool) -> Result<Upper, Refused> {
    let Ok((header, _)) = Header::parse(packet) else { return Err((DropReason::Ipv6Truncated, None)) };
    let chain = Chain::walk(header, packet).map_err(|error| (DropReason::Ipv6BadExtension, owed(error)))?;
    for extent in [chain.hop_by_hop, chain.first_destination_options].into_iter().flatten() {
        judge_options(packet, extent, group)?;
    }
    if let Some(routing) = chain.routing.filter(|routing| routing.segments_left > 0) {
        let error = Error::erroneous_field(routing.type_offset() as u32);
        return Err((DropReason::Ipv6UnknownOption, Some(error)));
    }
    if chain.fragment.is_some_and(|fragment| !fragment.is_atomic()) {
        return Err((DropReason::FragmentDropped, None));
    }
    if let Some(extent) = chain.destination_options {
        judge_options(packet, extent, group)?;
    }
    Ok(Upper { protocol: chain.upper.0, offset: chain.upper_offset, named_at: chain.upper_named_at })
}

/// The error that a broken chain is answered with.
const fn owed(error: ipv6_extension::Error) -> Option<Error> {
    match error {
        ipv6_extension::Error::HopByHopNotFirst { named_at } => {
            Some(Error::unknown_next_header(named_at as u32))
        }
        ipv6_extension::Error::Truncated { .. } | ipv6_extension::Error::TooLong { .. } => None,
    }
}

/// RFC 8200 section 4.2: what unknown options ask for.
fn judge_options(packet: &[u8], extent: Extent, group: bool) -> Result<(), Refused> {
    for found in Options::new(packet, extent) {
        let found = found
            .map_err(|bad| (DropReason::Ipv6BadExtension, Some(Error::erroneous_field(bad.offset as u32))))?;
        if found.kind == option::ROUTER_ALERT {
            continue; // known; who registered for it is asked when the packet is forwarded
        }
        let report = Some(Error::unknown_option(found.offset as u32));
        match found.unknown_action() {
            UnknownAction::Skip => {}
            UnknownAction::Discard => return Err((DropReason::Ipv6UnknownOption, None)),
            UnknownAction::DiscardAndReport => return Err((DropReason::Ipv6UnknownOption, report)),
            UnknownAction::DiscardAndReportUnlessMulticast => {
                return Err((DropReason::Ipv6UnknownOption, report.filter(|_| !group)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with one extension header of kind `next` and 8 bytes, in front of UDP.
    fn packet(next: u8, extension: [u8; 8]) -> Vec<u8> {
        let mut packet = vec![0u8; HEADER_LEN];
        packet[0] = 0x60;
        packet[5] = 16;
        packet[6] = next;
        packet.extend_from_slice(&extension);
        packet.extend_from_slice(&[0; 8]);
        packet
    }

    #[test]
    fn an_unknown_option_asks_for_its_own_treatment() {
        let verdict = |kind, group| judge_chain(&packet(60, [17, 0, kind, 4, 0, 0, 0, 0]), group);
        let report = Some(Error::unknown_option(42));
        assert_eq!(verdict(0x1e, false).map(|upper| (upper.protocol, upper.offset)), Ok((17, 48)));
        assert_eq!(verdict(0x5e, false), Err((DropReason::Ipv6UnknownOption, None)));
        assert_eq!(verdict(0x9e, true), Err((DropReason::Ipv6UnknownOption, report)));
        assert_eq!(verdict(0xde, false), Err((DropReason::Ipv6UnknownOption, report)));
        assert_eq!(verdict(0xde, true), Err((DropReason::Ipv6UnknownOption, None)));
    }

    #[test]
    fn a_routing_header_passes_only_when_nothing_is_left_of_it() {
        let verdict = |segments_left| judge_chain(&packet(43, [17, 0, 4, segments_left, 0, 0, 0, 0]), false);
        assert!(verdict(0).is_ok());
        let error = Error::erroneous_field(42);
        assert_eq!(verdict(1), Err((DropReason::Ipv6UnknownOption, Some(error))));
    }

    #[test]
    fn an_atomic_fragment_is_a_packet_and_a_real_one_waits_for_nobody() {
        assert!(judge_chain(&packet(44, [17, 0, 0, 0, 1, 2, 3, 4]), false).is_ok());
        let real = judge_chain(&packet(44, [17, 0, 0, 1, 1, 2, 3, 4]), false);
        assert_eq!(real, Err((DropReason::FragmentDropped, None)));
        assert_eq!(upper_layer(&packet(44, [17, 0, 0, 8, 1, 2, 3, 4])), None, "a later fragment");
    }

    #[test]
    fn hop_by_hop_options_behind_another_header_are_a_parameter_problem() {
        let packet = packet(60, [0, 0, 1, 4, 0, 0, 0, 0]);
        let error = Error::unknown_next_header(40);
        assert_eq!(judge_chain(&packet, false), Err((DropReason::Ipv6BadExtension, Some(error))));
    }
}
