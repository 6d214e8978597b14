//! IGMP for hosts (row I9; RFC 1112 appendix I, RFC 2236, RFC 9776), and the writing of reports for it and MLD.
//!
//! ```text
//!    0               1               2               3
//!   | type          | max resp code | checksum                      |  0
//!   | group                                                         |  4
//!   | S, QRV        | QQIC          | number of sources             |  8     queries of version 3 only
//!
//!   | 0x22          | 0             | checksum                      |  0     report of version 3
//!   | reserved                      | number of records             |  4
//!   | kind, 0, number of sources, group, sources … (each record)    |  8
//! ```
//!
//! The machine behind it is [`crate::groups`]. Messages go with TTL 1 and the router alert option (RFC 9776
//! section 4).

use crate::counters::Counter;
use crate::frame::{Frame, FramePool};
use crate::groups::{Query, RecordKind};
use crate::icmp::v4::sum_behind;
use crate::ip::originate::{Body, Check, Datagram, Way, originate};
use crate::ipv4::input::Arrival;
use crate::multicast::membership::Heard;
use crate::multicast::report::records;
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::{ipv4, ipv6, mld};
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

/// The protocol number.
pub(crate) const IGMP: u8 = 2;

pub(crate) const QUERY: u8 = 0x11;
const REPORT_V1: u8 = 0x12;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;

/// Where reports of version 3 go, and where leave messages go.
const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);

/// The router alert option (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];

/// Bytes in front of the records of a report, in both families.
const REPORT_HEADER: usize = 8;

/// The longest report; longer links carry several.
const MAX_REPORT: usize = 1440;

/// A time code: a number, or from 128 on a number with an exponent (RFC 9776 section 4.1.1). In the code's unit.
pub(crate) const fn decode(code: u8) -> u32 {
    if code < 128 { code as u32 } else { ((code as u32 & 0x0f) | 0x10) << (((code as u32 >> 4) & 0x07) + 3) }
}

/// Reads a query (RFC 9776 sections 4.1 and 7.1); `None` for one that is of no version.
fn parse_query(message: &[u8]) -> Option<Query<'_>> {
    let (&[_, code, _, _, a, b, c, d], rest) = message.split_first_chunk::<8>()?;
    let group = Ipv4Addr::new(a, b, c, d);
    let group = (!group.is_unspecified()).then_some(IpAddr::V4(group));
    let tenths = |tenths: u32| Duration::from_millis(u64::from(tenths) * 100);
    if rest.is_empty() {
        let version = if code == 0 { 1 } else { 2 };
        let group = group.filter(|_| version == 2); // version 1 asks about all
        let within = tenths(u32::from(code));
        return Some(Query { version, group, within, ..Query::OLD });
    }
    let (&[flags, interval, high, low], rest) = rest.split_first_chunk::<4>()?;
    let sources = rest.get(..usize::from(u16::from_be_bytes([high, low])) * 4)?;
    // Sources without a group are nonsense.
    if group.is_none() && !sources.is_empty() {
        return None;
    }
    // A response time of zero is a hurry, not a version (section 7.2.1): at least a tick.
    let within = tenths(decode(code).max(1));
    let interval = Duration::from_secs(u64::from(decode(interval)));
    let (robustness, suppress) = (flags & 7, flags & 8 != 0);
    Some(Query { version: 3, group, within, robustness, interval, suppress, sources })
}

/// Takes an IGMP message for this node; the IP header is `header_len` bytes long. `delivered`: a raw socket has a
/// copy.
pub(crate) fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::IgmpIn);
    let port = arrival.port;
    let message = arrival.frame.get(header_len..).unwrap_or_default();
    if message.len() < 8 {
        return stack.drop_received(port, DropReason::IgmpMalformed);
    }
    if !sum_behind(&arrival.frame, header_len).is_valid() {
        return stack.drop_received(port, DropReason::IgmpMalformed);
    }
    let reason = match message[0] {
        QUERY => match parse_query(message) {
            Some(query) => {
                stack.groups.on_query(turn.now, port, false, &query);
                stack.hear_group_query(turn.now, port, (false, IpAddr::V4(arrival.source)), &query);
                DropReason::Consumed
            }
            None => DropReason::IgmpMalformed,
        },
        REPORT_V1 | REPORT_V2 => {
            let group = Ipv4Addr::new(message[4], message[5], message[6], message[7]);
            stack.groups.on_report(turn.now, port, IpAddr::V4(group));
            let version = if message[0] == REPORT_V1 { 1 } else { 2 };
            let heard = Heard { version, kind: RecordKind::ModeIsExclude, group: IpAddr::V4(group) };
            stack.hear_group_report(turn.now, port, &heard, &[]);
            DropReason::Consumed
        }
        // Those are for routers of groups.
        LEAVE if stack.multicast.is_downstream(port) => {
            let group = Ipv4Addr::new(message[4], message[5], message[6], message[7]);
            let heard = Heard { version: 2, kind: RecordKind::ToInclude, group: IpAddr::V4(group) };
            stack.hear_group_report(turn.now, port, &heard, &[]);
            DropReason::Consumed
        }
        REPORT_V3 if stack.multicast.is_downstream(port) => {
            for record in records(message, false) {
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

/// A report of the newest version in the making.
pub(crate) struct Report {
    bytes: [u8; MAX_REPORT],
    len: usize,
    records: u16,
}

impl Report {
    pub(crate) fn new() -> Self {
        Report { bytes: [0; MAX_REPORT], len: REPORT_HEADER, records: 0 }
    }

    /// Adds a record; `send` takes what is full. `room` is how long a report may be.
    pub(crate) fn add(
        &mut self,
        room: usize,
        kind: RecordKind,
        group: IpAddr,
        sources: &[IpAddr],
        mut send: impl FnMut(&mut [u8], u16),
    ) {
        let room = room.min(MAX_REPORT);
        let size = if group.is_ipv4() { 4 } else { 16 };
        let fixed = 4 + size;
        let mut rest = sources;
        loop {
            let left = room.saturating_sub(self.len + fixed) / size;
            if self.len + fixed > room || (left < rest.len() && self.records > 0) {
                self.flush(&mut send);
                if REPORT_HEADER + fixed + size > room {
                    return; // a link on which nothing can be said
                }
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(left));
            self.write(kind, group, now);
            rest = later;
            // RFC 9776 section 4.2.16: of EXCLUDE what does not fit one record is left out.
            if rest.is_empty() || matches!(kind, RecordKind::ModeIsExclude | RecordKind::ToExclude) {
                return;
            }
        }
    }

    fn write(&mut self, kind: RecordKind, group: IpAddr, sources: &[IpAddr]) {
        let count = (sources.len() as u16).to_be_bytes();
        self.put(&[kind as u8, 0, count[0], count[1]]);
        for address in core::iter::once(&group).chain(sources) {
            match address {
                IpAddr::V4(address) => self.put(&address.octets()),
                IpAddr::V6(address) => self.put(&address.octets()),
            }
        }
        self.records += 1;
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Hands over what is there.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(&mut [u8], u16)) {
        if self.records > 0 {
            send(&mut self.bytes[..self.len], self.records);
        }
        (self.len, self.records) = (REPORT_HEADER, 0);
    }
}

/// How long a report may be on a link.
pub(crate) fn room<F: Frame>(stack: &Stack<F>, port: PortId, v6: bool) -> usize {
    let header = if v6 { ipv6::HEADER_LEN + 8 } else { ipv4::HEADER_LEN + ROUTER_ALERT.len() };
    stack.interfaces.get(port).map_or(0, |port| usize::from(port.mtu)).saturating_sub(header)
}

/// Sends a report of the newest version.
pub(crate) fn send_report<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    v6: bool,
    bytes: &mut [u8],
    records: u16,
) where
    P: FramePool,
    M: Probe,
{
    let kind = if v6 { mld::REPORT_V2 } else { REPORT_V3 };
    let [high, low] = records.to_be_bytes();
    if let Some(header) = bytes.first_chunk_mut::<REPORT_HEADER>() {
        *header = [kind, 0, 0, 0, 0, 0, high, low];
    }
    if v6 {
        mld::send(stack, turn, port, mld::ALL_V2_ROUTERS, bytes);
    } else {
        send(stack, turn, port, ALL_V3_ROUTERS, bytes);
    }
}

/// Sends a report of an older version, to the group itself.
pub(crate) fn send_old<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    version: u8,
    group: IpAddr,
) where
    P: FramePool,
    M: Probe,
{
    match group {
        IpAddr::V4(group) => {
            let [a, b, c, d] = group.octets();
            let kind = if version == 1 { REPORT_V1 } else { REPORT_V2 };
            send(stack, turn, port, group, &[kind, 0, 0, 0, a, b, c, d]);
        }
        IpAddr::V6(group) => mld::send_old(stack, turn, port, mld::REPORT_V1, group, group),
    }
}

/// Says that nobody here wants a group any more.
pub(crate) fn send_leave<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    group: IpAddr,
) where
    P: FramePool,
    M: Probe,
{
    match group {
        IpAddr::V4(group) => {
            let [a, b, c, d] = group.octets();
            send(stack, turn, port, ALL_ROUTERS, &[LEAVE, 0, 0, 0, a, b, c, d]);
        }
        IpAddr::V6(group) => mld::send_old(stack, turn, port, mld::DONE, group, mld::ALL_ROUTERS),
    }
}

pub(crate) fn send<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    destination: Ipv4Addr,
    message: &[u8],
) where
    P: FramePool,
    M: Probe,
{
    let Some(interface) = stack.interfaces.get(port) else { return };
    let source = interface.source_ipv4(destination).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let Some(exit) = stack.exit_to_group(port, IpAddr::V4(destination)) else { return };
    let datagram = Datagram {
        source: IpAddr::V4(source),
        destination: IpAddr::V4(destination),
        protocol: IGMP,
        tos: 0xc0,
        ttl: 1,
        dont_fragment: true,
        may_cut: false,
        options: &ROUTER_ALERT,
        head: &[],
        body: Body::Bytes(message),
        check: Some(Check { at: 2, pseudo: false, nonzero: false, covered: None }),
        counter: Counter::IgmpOut,
    };
    // Lost like any packet when there is no frame: it is counted, and changes are told more than once.
    let _sent_or_counted = originate(stack, turn, Way::Link(exit), &datagram);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_have_an_exponent() {
        assert_eq!(decode(127), 127);
        assert_eq!(decode(0x80), 128);
        assert_eq!(decode(0xff), 31_744);
    }

    #[test]
    fn the_length_and_the_code_of_a_query_tell_its_version() {
        let query = |bytes: &[u8]| parse_query(bytes).map(|query| (query.version, query.group.is_some()));
        assert_eq!(query(&[0x11, 0, 0, 0, 0, 0, 0, 0]), Some((1, false)));
        assert_eq!(query(&[0x11, 100, 0, 0, 239, 1, 1, 1]), Some((2, true)));
        assert_eq!(query(&[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]), Some((3, false)));
        assert_eq!(query(&[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0]), None);
        assert_eq!(query(&[0x11, 100, 0, 0, 239, 1, 1, 1, 2, 125, 0, 1]), None, "a source is missing");
        assert_eq!(query(&[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 1, 1, 1, 1, 1]), None);
    }

    #[test]
    fn a_report_that_is_full_is_sent_and_another_begun() {
        let mut report = Report::new();
        let sources: Vec<IpAddr> = (0..100u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let mut sent = Vec::new();
        let group = IpAddr::from([239, 1, 1, 1]);
        // Room for 20 sources in a report of one record.
        for kind in [RecordKind::Allow, RecordKind::ToExclude] {
            report.add(8 + 8 + 80, kind, group, &sources, |bytes, records| sent.push((bytes.len(), records)));
            report.flush(|bytes, records| sent.push((bytes.len(), records)));
        }
        assert_eq!(sent, [(96, 1), (96, 1), (96, 1), (96, 1), (96, 1), (96, 1)]);
    }
}
