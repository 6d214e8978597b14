//! Policy routing (row O3): the same questions as in [`super::resolve`], asked of several tables in the order that
//! rules give.
//!
//! What is ours is ours whatever rules say: the main table's local and broadcast addresses come first, as Linux's
//! table `local` does at priority 0. What no rule's table has a route for, the main table answers.

use crate::burst::Burst;
use crate::frame::Frame;
use crate::hash::hash2;
use crate::ip::path::{Hop, Path, Refusal};
use crate::limits::BURST;
use crate::port::PortId;
use crate::route::rules::{Question, RuleAction, Rules, Traits};
use crate::route::{Flow4, Flow6, NextHop, NextHopId, RouteMetrics};
use crate::stack::Stack;
use crate::time::Instant;
use core::net::IpAddr;

/// What the flow hash covers, by which a multipath route shares flows out (Linux's `fib_multipath_hash_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashPolicy {
    /// Source and destination address (Linux's 0).
    L3,
    /// Those, protocol and ports (Linux's 1).
    #[default]
    L4,
    /// As [`HashPolicy::L4`], of the packet inside where the packet is a tunnel's: IP in IP, GRE (Linux's 2 looks at
    /// the inner addresses alone).
    Inner,
}

/// How routes are chosen among several.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// Policy rules.
    pub rules: Rules,
    /// What multipath routes share flows out by.
    pub hash: HashPolicy,
    /// Notes are taken of martian packets.
    pub log_martians: bool,
}

/// What a packet of our own is, as far as rules may ask before it is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing {
    /// Its source, when that is chosen already.
    pub(crate) source: Option<IpAddr>,
    /// Its destination.
    pub(crate) destination: IpAddr,
    /// The rest.
    pub(crate) traits: Traits,
}

impl Outgoing {
    /// A packet to `destination` that rules cannot ask more of.
    pub(crate) fn to(destination: IpAddr) -> Self {
        Outgoing { source: None, destination, traits: Traits::default() }
    }
}

impl<F: Frame> Stack<F> {
    /// The classes of a burst's packets, when rules look into packets.
    #[cold]
    pub(crate) fn classify_burst4(&self, frames: &Burst<F>, keys: &mut [Flow4; BURST]) {
        for (frame, key) in frames.iter().zip(keys) {
            key.class = self.routing.rules.classify(Traits::of4(frame));
        }
    }

    /// The same for IPv6.
    #[cold]
    pub(crate) fn classify_burst6(&self, frames: &Burst<F>, keys: &mut [Flow6; BURST]) {
        for (frame, key) in frames.iter().zip(keys) {
            key.class = self.routing.rules.classify(Traits::of6(frame));
        }
    }

    /// The next hop that the tables give, in the order of the rules.
    pub(crate) fn ruled(&self, question: Question) -> Result<NextHopId, Refusal> {
        let main = self.look_up(question.destination);
        if matches!(self.routes.next_hop(main), Some(NextHop::Local | NextHop::Broadcast { .. })) {
            return Ok(main);
        }
        for action in self.routing.rules.of(question) {
            match action {
                RuleAction::Table(table) => {
                    let found = match question.destination {
                        IpAddr::V4(to) => self.routes.lookup4_in(table, to),
                        IpAddr::V6(to) => self.routes.lookup6_in(table, to),
                    };
                    if !found.is_none() {
                        return Ok(found);
                    }
                }
                RuleAction::Blackhole => return Err(Refusal::Blackhole),
                RuleAction::Unreachable => return Err(Refusal::Unreachable),
                RuleAction::Prohibit => return Err(Refusal::Prohibit),
            }
        }
        Ok(main)
    }

    fn look_up(&self, destination: IpAddr) -> NextHopId {
        match destination {
            IpAddr::V4(to) => self.routes.lookup4(to),
            IpAddr::V6(to) => self.routes.lookup6(to),
        }
    }

    /// The way of a packet in transit and the way back to its source. The way back is asked for as by a packet of our
    /// own from the destination, so rules about ports of arrival and traits have no say in it.
    pub(super) fn ruled_both_ways(
        &self,
        (source, destination): (IpAddr, IpAddr),
        port: u16,
        class: u16,
    ) -> (Result<NextHopId, Refusal>, NextHopId) {
        let there = Question { source: Some(source), destination, port: Some(port), class };
        let back = Question { source: Some(destination), destination: source, port: None, class: 0 };
        (self.ruled(there), self.ruled(back).unwrap_or(NextHopId::NONE))
    }

    /// By which hop a packet of our own leaves, how long it may be, and what the route says to TCP. `port` is where
    /// what we answer came in: link-local destinations are on its link.
    pub(crate) fn route_own(
        &mut self,
        now: Instant,
        packet: &Outgoing,
        port: PortId,
    ) -> Result<(Hop, RouteMetrics), Refusal> {
        let (hop, metrics) = self.route_by_rules(now, packet, port)?;
        let hop = self.redirected(now, packet.destination, hop);
        let mtu = metrics.bound_mtu(hop.mtu);
        let mtu = self.path_mtus.mtu(packet.destination, now).map_or(mtu, |learnt| learnt.mtu.min(mtu));
        Ok((Hop { mtu, ..hop }, metrics))
    }

    /// The same by rules and routes alone: no redirect, no path MTU learnt.
    pub(super) fn route_by_rules(
        &mut self,
        now: Instant,
        packet: &Outgoing,
        port: PortId,
    ) -> Result<(Hop, RouteMetrics), Refusal> {
        let destination = packet.destination;
        let hash = match destination {
            IpAddr::V4(to) => hash2(0, u64::from(to.to_bits()), self.flow_key),
            IpAddr::V6(to) if to.is_unicast_link_local() => {
                return self.on_link_hop(now, port, destination).map(|hop| (hop, RouteMetrics::NONE));
            }
            IpAddr::V6(to) => {
                let bits = to.to_bits();
                hash2((bits >> 64) as u64, bits as u64, self.flow_key)
            }
        };
        let id = self.next_hop_to(packet)?;
        let hop = match self.path_by(now, id, destination, None) {
            Path::Hop(hop) => hop,
            Path::Multipath(group) => self.choose(now, group, destination, hash)?,
            Path::Refuse(refusal) => return Err(refusal),
            // We do not talk to ourselves by way of the wire.
            Path::Local | Path::Broadcast | Path::Multicast => return Err(Refusal::NoRoute),
        };
        Ok((hop, self.routes.metrics(id)))
    }

    /// What rules and tables give a packet of our own.
    pub(super) fn next_hop_to(&self, packet: &Outgoing) -> Result<NextHopId, Refusal> {
        let Outgoing { source, destination, traits } = *packet;
        if self.routing.rules.is_empty() {
            return Ok(self.look_up(destination));
        }
        let class = self.routing.rules.classify(traits);
        self.ruled(Question { source, destination, port: None, class })
    }
}
