//! What is heard of groups and what is said: queries of other routers, reports of hosts, our own queries, and what is
//! reported upstream.

use super::is_routable;
use super::membership::{Ask, Full, Heard, Record, Times};
use super::querier::Role;
use crate::counters::Counter;
use crate::frame::{Frame, FramePool};
use crate::groups::Query;
use crate::limits::LISTENED_SOURCES;
use crate::port::PortId;
use crate::route::NextHop;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::{igmp, mld};
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

/// The longest query: the header of MLD's, and as many sources as a record has.
const MAX_QUERY: usize = 28 + LISTENED_SOURCES * 16;

/// A message in the making.
type Message = ArrayVec<u8, MAX_QUERY>;

impl<F: Frame> Stack<F> {
    /// The address that we speak to a link of groups from: IPv4, or link-local IPv6. Without one we do not.
    fn speaks_from(&self, port: PortId, v6: bool) -> Option<IpAddr> {
        let interface = self.interfaces.get(port).filter(|interface| interface.up)?;
        match v6 {
            false => interface.ipv4.first().map(|net| IpAddr::V4(net.addr())),
            true => interface.link_local().map(IpAddr::V6),
        }
    }

    /// True when the way back to a source leads through a port.
    pub(super) fn way_back_leads_through(&self, source: IpAddr, port: PortId) -> bool {
        let back = match source {
            IpAddr::V4(source) => self.routes.lookup4(source),
            IpAddr::V6(source) => self.routes.lookup6(source),
        };
        self.routes.next_hop(back).is_some_and(|back: NextHop| self.leads_through(back, port))
    }

    /// A query came in by a port on which we may be a router of groups.
    pub(crate) fn hear_group_query(
        &mut self,
        now: Instant,
        port: PortId,
        (v6, source): (bool, IpAddr),
        query: &Query<'_>,
    ) {
        let Some(ours) = self.speaks_from(port, v6).filter(|_| self.multicast.is_downstream(port)) else {
            return;
        };
        let Some(querier) = self.multicast.querier_mut(port, v6) else { return };
        querier.on_query(now, source, ours, query.robustness, query.interval);
        let (times, robustness) = (querier.times(), querier.robustness());
        // RFC 9776 section 6.6.1: who does not ask lowers its timers with the one who does.
        let is_other = matches!(querier.role, Role::Other { address, .. } if address == source);
        if let Some(group) = query.group.filter(|_| is_other && !query.suppress) {
            let within =
                if query.version < 3 { times.last_member } else { query.within * u32::from(robustness) };
            let named = super::report::addresses(query.sources, v6);
            self.multicast.memberships.on_query(port, group, named, now + within);
        }
        self.plan_multicast(now);
    }

    /// A host on the link of a port said what it wants of a group.
    pub(crate) fn hear_group_report(&mut self, now: Instant, port: PortId, heard: &Heard, sources: &[u8]) {
        let v6 = heard.group.is_ipv6();
        if !self.multicast.is_downstream(port) || !is_routable(heard.group) {
            return;
        }
        let Some(querier) = self.multicast.querier(port, v6) else { return };
        let (times, robustness) = (querier.times(), querier.robustness());
        let times = Times { asks: querier.role == Role::Querier, ..times };
        let named = super::report::addresses(sources, v6);
        match self.multicast.memberships.hear(now, port, heard, named, &times) {
            Ok(Ask::Nothing) => {}
            Ok(_) => {
                if let Some(record) = self.multicast.memberships.get_mut(port, heard.group) {
                    (record.questions, record.question_at) = (robustness, now);
                }
            }
            Err(Full) => self.counters.count(Counter::MulticastGroupsRefused),
        }
        self.report_upstream(now, heard.group);
        self.plan_multicast(now);
    }

    /// Tells the groups what hosts behind us want of one, so that it is reported upstream.
    fn report_upstream(&mut self, now: Instant, group: IpAddr) {
        if let Some(upstream) = self.multicast.upstream.filter(|_| self.multicast.speaks) {
            let filter = self.multicast.wanted_behind(now, group);
            if !self.groups.update_behind(now, upstream, group, filter) {
                self.counters.count(Counter::MulticastGroupsRefused);
            }
        }
    }

    fn plan_multicast(&mut self, now: Instant) {
        let multicast = &mut self.multicast;
        let asking = multicast.queriers.iter().enumerate().flat_map(|(index, both)| {
            let downstream =
                PortId::new(index).is_some_and(|port| multicast.downstream & 1 << port.index() != 0);
            both.iter().filter(move |_| downstream).map(|querier| querier.deadline())
        });
        let next = asking.chain([multicast.memberships.deadline()]).min().unwrap_or(Instant::NEVER);
        // What is due already is done in the next turn, and a link that cannot be spoken to is not asked in each.
        multicast.deadline = next.max(now + Duration::from_millis(1));
    }

    /// Does what is due: forgets, asks, reports.
    pub(crate) fn multicast_timers<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let now = turn.now;
        if self.multicast.deadline > now {
            return;
        }
        self.multicast.memberships.tidy(now);
        if let Some(upstream) = self.multicast.upstream.filter(|_| self.multicast.speaks) {
            for group in self.groups.wanted_behind_on(upstream) {
                self.report_upstream(now, group);
            }
        }
        for index in 0..self.multicast.queriers.len() {
            let Some(port) = PortId::new(index).filter(|port| self.multicast.is_downstream(*port)) else {
                continue;
            };
            for v6 in [false, true] {
                let due = self.multicast.querier_mut(port, v6).is_some_and(|querier| querier.tick(now));
                if due {
                    self.ask_link(turn, port, v6, None);
                }
            }
        }
        self.ask_about_groups(turn);
        self.say_groups(turn);
        self.plan_multicast(now);
    }

    fn ask_about_groups<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let now = turn.now;
        // One after the other: the record stays where it is while its question is sent.
        loop {
            let Some(record) = self.multicast.memberships.due(now).next() else { return };
            let (port, group) = (record.port, record.group);
            record.questions -= 1;
            let question = record.clone();
            let pause = self.multicast.queriers.get(port.index());
            let pause =
                pause.map_or(Duration::from_secs(1), |both| both[usize::from(group.is_ipv6())].last_member());
            if let Some(record) = self.multicast.memberships.get_mut(port, group) {
                record.question_at = now + pause;
            }
            self.ask_link(turn, port, group.is_ipv6(), Some(&question));
        }
    }

    /// Asks a link about all groups, or about one.
    fn ask_link<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, v6: bool, about: Option<&Record>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        if !self.multicast.speaks || self.speaks_from(port, v6).is_none() {
            return;
        }
        let Some(querier) = self.multicast.querier(port, v6).copied() else { return };
        let now = turn.now;
        let lowered_until = now + querier.times().last_member;
        let (within, group, suppress) = match about {
            None => (querier.response(), None, false),
            Some(record) => {
                let raised = record.question == Ask::Group && record.everybody_until > lowered_until;
                (querier.last_member(), Some(record.group), raised)
            }
        };
        let mut sources: ArrayVec<IpAddr, LISTENED_SOURCES> = ArrayVec::new();
        if let Some(record) = about.filter(|record| record.question == Ask::Sources) {
            let asked = record.sources.iter().filter(|source| source.asked && source.until <= lowered_until);
            sources.extend(asked.map(|source| source.address));
            // Somebody answered for all of them; and old versions cannot ask for sources.
            if sources.is_empty() || querier.version(v6) < 3 {
                return;
            }
        }
        let flags = u8::from(suppress) << 3 | querier.robustness() & 7;
        let mut message = Message::new();
        let interval = querier.interval().as_secs();
        match v6 {
            false => {
                let tenths = u32::try_from(within.as_millis() / 100).unwrap_or(u32::MAX);
                let group = match group {
                    Some(IpAddr::V4(group)) => group,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                let code = if querier.version(v6) < 3 { tenths.clamp(1, 255) as u8 } else { encode8(tenths) };
                extend(&mut message, &[igmp::QUERY, code, 0, 0]);
                extend(&mut message, &group.octets());
            }
            true => {
                let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
                let code = if querier.version(v6) < 3 { millis.min(65_535) as u16 } else { encode16(millis) };
                let [high, low] = code.to_be_bytes();
                extend(&mut message, &[mld::QUERY, 0, 0, 0, high, low, 0, 0]);
                match group {
                    Some(IpAddr::V6(group)) => extend(&mut message, &group.octets()),
                    _ => extend(&mut message, &[0; 16]),
                }
            }
        }
        if querier.version(v6) >= 3 {
            let interval = encode8(u32::try_from(interval).unwrap_or(u32::MAX));
            let [high, low] = (sources.len() as u16).to_be_bytes();
            extend(&mut message, &[flags, interval, high, low]);
            for source in &sources {
                match source {
                    IpAddr::V4(source) => extend(&mut message, &source.octets()),
                    IpAddr::V6(source) => extend(&mut message, &source.octets()),
                }
            }
        }
        match group {
            Some(IpAddr::V6(group)) => mld::send(self, turn, port, group, &message),
            Some(IpAddr::V4(group)) => igmp::send(self, turn, port, group, &message),
            None if v6 => mld::send(self, turn, port, crate::wire::address::IPV6_ALL_NODES, &message),
            None => igmp::send(self, turn, port, Ipv4Addr::new(224, 0, 0, 1), &message),
        }
    }
}

/// A query has room for what it may hold ([`MAX_QUERY`]).
fn extend(message: &mut Message, bytes: &[u8]) {
    let _has_room = message.try_extend_from_slice(bytes);
}

/// A number as a code with an exponent (RFC 9776 section 4.1.1), rounded down to what one can say.
pub(super) const fn encode8(number: u32) -> u8 {
    if number < 128 {
        return number as u8;
    }
    let mut exponent = 0;
    while exponent < 7 && (number >> (exponent + 3)) > 0x1f {
        exponent += 1;
    }
    let mantissa = number >> (exponent + 3);
    let mantissa = if mantissa > 0x1f { 0x1f } else { mantissa };
    0x80 | (exponent as u8) << 4 | (mantissa & 0x0f) as u8
}

/// The same for MLD (RFC 9777 section 5.1.3).
pub(super) const fn encode16(number: u32) -> u16 {
    if number < 0x8000 {
        return number as u16;
    }
    let mut exponent = 0;
    while exponent < 7 && (number >> (exponent + 3)) > 0x1fff {
        exponent += 1;
    }
    let mantissa = number >> (exponent + 3);
    let mantissa = if mantissa > 0x1fff { 0x1fff } else { mantissa };
    0x8000 | (exponent as u16) << 12 | (mantissa & 0x0fff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_they_are_read_as_and_never_more_than_was_meant() {
        for number in (0..40_000u32).step_by(7) {
            let read = igmp::decode(encode8(number));
            assert!(
                read <= number && number.min(31_744) - read.min(31_744) <= number / 16,
                "{number} {read}"
            );
        }
        for number in (0..10_000_000u32).step_by(1013) {
            let read = mld::decode(encode16(number));
            assert!(
                read <= number && number.min(8_387_584) - read.min(8_387_584) <= number / 4096 + 1,
                "{number} {read}"
            );
        }
    }
}
