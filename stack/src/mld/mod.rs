//! Multicast listener discovery for hosts (row I9; RFC 2710, RFC 9777): what IGMP is for IPv4, in ICMPv6.
//!
//! ```text
//!    0               1               2               3
//!   | type          | code          | checksum                      |  0
//!   | maximum response code         | reserved                      |  4
//!   | group (16 bytes) ...                                          |  8
//!   | S, QRV        | QQIC          | number of sources             | 24     queries of version 2 only
//! ```
//!
//! Messages go from the link-local address with hop limit 1 and the router alert option, and only such are
//! believed (RFC 9777 section 5.1.14: whoever is off the link cannot speak here).

use crate::counters::Counter;
use crate::frame::FramePool;
use crate::groups::{Query, RecordKind};
use crate::icmp::v6::ICMPV6;
use crate::ip::originate::{Body, Check, Datagram, Way, originate};
use crate::ipv6::input::Arrival;
use crate::multicast::membership::Heard;
use crate::multicast::report::records;
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::IpProtocol;
use crate::wire::ipv6::Header;
use crate::wire::ipv6_extension::{Chain, Options, option};
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

/// Message types (RFC 2710 section 3.1, RFC 9777 section 5.2).
pub(crate) const QUERY: u8 = 130;
pub(crate) const REPORT_V1: u8 = 131;
pub(crate) const DONE: u8 = 132;
pub(crate) const REPORT_V2: u8 = 143;

/// ff02::16, where reports of version 2 go.
pub(crate) const ALL_V2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// ff02::2, where done messages go.
pub(crate) const ALL_ROUTERS: Ipv6Addr = crate::wire::address::IPV6_ALL_ROUTERS;

/// A hop-by-hop header with the router alert option, value 0 for MLD (RFC 2711), and padding; the first byte is
/// filled by the builder.
const ROUTER_ALERT: [u8; 8] = [0, 0, 5, 2, 0, 0, 1, 0];

/// The maximum response code in milliseconds (RFC 9777 section 5.1.3).
pub(crate) const fn decode(code: u16) -> u32 {
    if code < 0x8000 {
        code as u32
    } else {
        ((code as u32 & 0x0fff) | 0x1000) << (((code as u32 >> 12) & 0x07) + 3)
    }
}

/// Reads a query; versions are counted as IGMP's, one higher. `None` for one that is of no version.
fn parse_query(message: &[u8]) -> Option<Query<'_>> {
    let (&[_, _, _, _, high, low, _, _], rest) = message.split_first_chunk::<8>()?;
    let (group, rest) = rest.split_first_chunk::<16>()?;
    let group = Ipv6Addr::from(*group);
    let group = (!group.is_unspecified()).then_some(IpAddr::V6(group));
    let code = u16::from_be_bytes([high, low]);
    let millis = |millis: u32| Duration::from_millis(u64::from(millis));
    if rest.is_empty() {
        let within = millis(u32::from(code));
        return Some(Query { version: 2, group, within, ..Query::OLD });
    }
    let (&[flags, interval, high, low], rest) = rest.split_first_chunk::<4>()?;
    let sources = rest.get(..usize::from(u16::from_be_bytes([high, low])) * 16)?;
    if group.is_none() && !sources.is_empty() {
        return None;
    }
    let within = millis(decode(code).max(1));
    let interval = Duration::from_secs(u64::from(crate::igmp::decode(interval)));
    let (robustness, suppress) = (flags & 7, flags & 8 != 0);
    Some(Query { version: 3, group, within, robustness, interval, suppress, sources })
}

/// True when a message may be believed: from this link, and marked for routers.
fn is_from_link(packet: &[u8]) -> bool {
    let Ok((header, _)) = Header::parse(packet) else { return false };
    let alert = Chain::walk(header, packet).ok().and_then(|chain| chain.hop_by_hop).is_some_and(|extent| {
        Options::new(packet, extent)
            .any(|found| found.is_ok_and(|found| found.kind == option::ROUTER_ALERT && found.data == [0, 0]))
    });
    alert && header.hop_limit == 1 && header.source().is_unicast_link_local()
}

/// True for a packet that may be a message of this protocol: ICMPv6 behind hop-by-hop options, of one of its types.
pub(crate) fn is_message(packet: &[u8]) -> bool {
    if packet.get(6) != Some(&IpProtocol::HOP_BY_HOP.0) {
        return false;
    }
    let Ok((header, _)) = Header::parse(packet) else { return false };
    Chain::walk(header, packet).is_ok_and(|chain| {
        chain.upper.0 == ICMPV6
            && matches!(packet.get(chain.upper_offset), Some(&(QUERY | REPORT_V1 | DONE | REPORT_V2)))
    })
}

/// Takes an MLD message (checksum known to be right), which begins at `offset`.
pub(crate) fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::MldIn);
    let port = arrival.port;
    let message = arrival.frame.get(offset..).unwrap_or_default();
    let group = message.get(8..).and_then(<[u8]>::first_chunk::<16>).map(|bytes| Ipv6Addr::from(*bytes));
    let reason = match (message.first(), group) {
        _ if !is_from_link(&arrival.frame) => DropReason::IgmpMalformed,
        (Some(&QUERY), _) => match parse_query(message) {
            Some(query) => {
                stack.groups.on_query(turn.now, port, true, &query);
                stack.hear_group_query(turn.now, port, (true, IpAddr::V6(arrival.source)), &query);
                DropReason::Consumed
            }
            None => DropReason::IgmpMalformed,
        },
        (Some(&REPORT_V1), Some(group)) => {
            stack.groups.on_report(turn.now, port, IpAddr::V6(group));
            let heard = Heard { version: 2, kind: RecordKind::ModeIsExclude, group: IpAddr::V6(group) };
            stack.hear_group_report(turn.now, port, &heard, &[]);
            DropReason::Consumed
        }
        // Those are for routers of groups.
        (Some(&DONE), Some(group)) if stack.multicast.is_downstream(port) => {
            let heard = Heard { version: 2, kind: RecordKind::ToInclude, group: IpAddr::V6(group) };
            stack.hear_group_report(turn.now, port, &heard, &[]);
            DropReason::Consumed
        }
        (Some(&REPORT_V2), _) if stack.multicast.is_downstream(port) => {
            for record in records(message, true) {
                let heard = Heard { version: 3, kind: record.kind, group: record.group };
                stack.hear_group_report(turn.now, port, &heard, record.sources);
            }
            DropReason::Consumed
        }
        _ => DropReason::IcmpDiscarded,
    };
    stack.drop_received(port, reason);
    stack.say_groups(turn);
}

/// Sends a message of version 1 about a group.
pub(crate) fn send_old<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    kind: u8,
    group: Ipv6Addr,
    destination: Ipv6Addr,
) where
    P: FramePool,
    M: Probe,
{
    let mut message = [0; 24];
    message[0] = kind;
    message[8..].copy_from_slice(&group.octets());
    send(stack, turn, port, destination, &message);
}

/// Sends a message; its checksum is filled in.
pub(crate) fn send<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    destination: Ipv6Addr,
    message: &[u8],
) where
    P: FramePool,
    M: Probe,
{
    let Some(interface) = stack.interfaces.get(port) else { return };
    // RFC 3590: before there is a link-local address, from none.
    let source = interface.link_local().unwrap_or(Ipv6Addr::UNSPECIFIED);
    let Some(exit) = stack.exit_to_group(port, IpAddr::V6(destination)) else { return };
    let datagram = Datagram {
        source: IpAddr::V6(source),
        destination: IpAddr::V6(destination),
        protocol: ICMPV6,
        tos: 0,
        ttl: 1,
        dont_fragment: false,
        may_cut: false,
        options: &ROUTER_ALERT,
        head: &[],
        body: Body::Bytes(message),
        check: Some(Check { at: 2, pseudo: true, nonzero: false, covered: None }),
        counter: Counter::MldOut,
    };
    // Lost like any packet when there is no frame: it is counted, and changes are told more than once.
    let _sent_or_counted = originate(stack, turn, Way::Link(exit), &datagram);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv6::HEADER_LEN;

    #[test]
    fn long_times_have_an_exponent() {
        assert_eq!(decode(0x7fff), 32_767);
        assert_eq!(decode(0x8000), 32_768);
        assert_eq!(decode(0xffff), 8_387_584);
    }

    #[test]
    fn only_what_comes_from_the_link_with_a_router_alert_is_believed() {
        let mut packet = vec![0u8; HEADER_LEN + 8 + 24];
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 32, 0, 1]);
        packet[8..10].copy_from_slice(&[0xfe, 0x80]);
        packet[24..26].copy_from_slice(&[0xff, 0x02]);
        packet[40..48].copy_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
        assert!(is_from_link(&packet));
        let but = |at: usize, value| {
            let mut packet = packet.clone();
            packet[at] = value;
            is_from_link(&packet)
        };
        assert!(!but(7, 255), "hop limit");
        assert!(!but(8, 0x20), "source");
        assert!(!but(42, 1), "no router alert");
        assert!(!but(45, 1), "router alert for others");
    }
}
