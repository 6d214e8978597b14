//! Multicast routing (row P10): groups are forwarded to where somebody listens, and nowhere else.
//!
//! Read RFC 1112, RFC 9776 and RFC 9777 (the router's side of IGMP and MLD), RFC 4605 (proxying).
//!
//! ```text
//!   packet to a group ──> static route for (source, group)? ── no ──> did it come in where the way back to its
//!                              │ yes                                  source leads (RPF)?
//!                              │ by the port that it names?              │
//!                              ▼                                         ▼
//!                    the route's ports, with TTL thresholds     downstream ports with listeners; the upstream port,
//!                                                               if it did not come in there
//!   reports of hosts on downstream ports ──> membership ──> who listens
//!                                               └──> upstream: we report for all of them, as a host (proxy)
//! ```
//!
//! A port is *downstream* when the configuration makes us a router of groups there: we ask ([`querier`]) and remember
//! who answers ([`membership`]). To a downstream port a group goes only when it is wanted there, by whatever route; to
//! another port that a static route names it always goes.
//!
//! Every worker hears every IGMP and MLD message (`dataplane` copies them) and so knows the same of who listens; one of
//! them speaks. Each copy of a packet is a frame from the pool. What is local to a link (224.0.0.0/24, ff02::/16) stays
//! there.

pub mod forward;
pub mod membership;
pub mod querier;
pub mod report;
mod say;

use crate::groups::{Filter, Mode};
use crate::limits::{MAX_PORTS, MULTICAST_ROUTES};
use crate::port::PortId;
use crate::time::Instant;
use crate::verdict::DropReason;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use ipnet::IpNet;
use membership::Memberships;
use querier::{Querier, QuerierConfig};

/// A way out of a static route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// The port.
    pub port: PortId,
    /// Only packets with a larger TTL or hop limit leave; at least 1.
    pub threshold: u8,
}

/// A static route of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MulticastRoute {
    /// The sources that it is for.
    pub source: IpNet,
    /// The groups that it is for; of the same family.
    pub group: IpNet,
    /// The port that their packets come in by; by others they are refused (RPF).
    pub in_port: PortId,
    /// Where they go.
    pub out: Vec<Out>,
}

/// What multicast routing is made with.
#[derive(Debug, Clone, Default)]
pub struct MulticastConfig {
    /// Ports on which we are a router of groups.
    pub downstream: Vec<PortId>,
    /// The port on which we report for the others as a host.
    pub upstream: Option<PortId>,
    /// Static routes.
    pub routes: Vec<MulticastRoute>,
    /// How is asked.
    pub querier: QuerierConfig,
    /// This worker sends the queries and reports of the node.
    pub speaks: bool,
}

/// Why multicast routes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// There are too many.
    #[error("there may be {MULTICAST_ROUTES} multicast routes, not {0}")]
    TooMany(usize),
}

/// The ports that a packet leaves by.
pub type Exits = ArrayVec<PortId, MAX_PORTS>;

/// The state of one worker.
#[derive(Debug, Default)]
pub struct Multicast {
    on: bool,
    /// A bit for each downstream port.
    downstream: u64,
    upstream: Option<PortId>,
    /// The most specific first: longer group, then longer source.
    routes: Vec<MulticastRoute>,
    /// Packets that each route forwarded.
    used: Vec<u64>,
    /// Who listens.
    pub memberships: Memberships,
    /// By port and family; only those of downstream ports do anything.
    queriers: Vec<[Querier; 2]>,
    speaks: bool,
    deadline: Instant,
}

/// What is known of a link, for an operator.
#[derive(Debug, Clone, Copy)]
pub struct LinkInfo {
    /// The port.
    pub port: PortId,
    /// IPv6.
    pub v6: bool,
    /// Who asks there.
    pub role: querier::Role,
}

impl Multicast {
    /// What the configuration asks for, on `ports` ports. Routes beyond [`MULTICAST_ROUTES`] were refused before
    /// ([`check_routes`]).
    pub fn new(config: MulticastConfig, ports: usize) -> Multicast {
        let MulticastConfig { downstream, upstream, routes, querier, speaks } = config;
        let mut routes = sorted(routes);
        routes.truncate(MULTICAST_ROUTES);
        let on = !downstream.is_empty() || !routes.is_empty();
        Multicast {
            on,
            downstream: downstream.iter().fold(0, |bits, port| bits | 1 << port.index()),
            upstream,
            used: vec![0; routes.len()],
            routes,
            memberships: Memberships::new(!downstream.is_empty()),
            queriers: vec![[Querier::new(querier); 2]; if on { ports } else { 0 }],
            speaks,
            deadline: if downstream.is_empty() { Instant::NEVER } else { Instant::ZERO },
        }
    }

    /// True when groups are routed at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// True when we are a router of groups on this port.
    #[inline]
    pub fn is_downstream(&self, port: PortId) -> bool {
        self.downstream & 1 << port.index() != 0
    }

    /// When something is to be said or forgotten.
    #[inline]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The static routes, most specific first, with the packets that each forwarded.
    pub fn routes(&self) -> impl Iterator<Item = (&MulticastRoute, u64)> {
        self.routes.iter().zip(self.used.iter().copied())
    }

    /// The links on which we are a router of groups.
    pub fn links(&self) -> impl Iterator<Item = LinkInfo> + '_ {
        let ports = (0..self.queriers.len()).filter_map(PortId::new).filter(|port| self.is_downstream(*port));
        ports.flat_map(|port| {
            [false, true].map(|v6| LinkInfo {
                port,
                v6,
                role: self.querier(port, v6).map_or(querier::Role::Querier, |querier| querier.role),
            })
        })
    }

    fn querier(&self, port: PortId, v6: bool) -> Option<&Querier> {
        self.queriers.get(port.index()).map(|both| &both[usize::from(v6)])
    }

    fn querier_mut(&mut self, port: PortId, v6: bool) -> Option<&mut Querier> {
        self.queriers.get_mut(port.index()).map(|both| &mut both[usize::from(v6)])
    }

    /// Where a packet of this source to this group goes that came in by `port` with this TTL. `way_back`: the way back to
    /// the source leads through `port`.
    pub(crate) fn exits(
        &mut self,
        now: Instant,
        port: PortId,
        (source, group): (IpAddr, IpAddr),
        ttl: u8,
        way_back: impl FnOnce() -> bool,
    ) -> Result<Exits, DropReason> {
        let wanted = |memberships: &Memberships, out: PortId| {
            memberships.get(out, group).is_some_and(|record| record.wants(source, now))
        };
        let mut exits = Exits::new();
        let fits = |route: &MulticastRoute| route.group.contains(&group) && route.source.contains(&source);
        if let Some(place) = self.routes.iter().position(fits)
            && let Some(route) = self.routes.get(place)
        {
            if route.in_port != port {
                return Err(DropReason::MulticastWrongPort);
            }
            let mut held_back = false;
            for out in route.out.iter().filter(|out| out.port != port) {
                if self.is_downstream(out.port) && !wanted(&self.memberships, out.port) {
                    continue;
                }
                if ttl > out.threshold {
                    let _ports_are_as_many = exits.try_push(out.port);
                } else {
                    held_back = true;
                }
            }
            if exits.is_empty() {
                return Err(if held_back { DropReason::MulticastScope } else { DropReason::NotJoined });
            }
            if let Some(used) = self.used.get_mut(place) {
                *used += 1;
            }
            return Ok(exits);
        }
        if !self.is_downstream(port) && self.upstream != Some(port) {
            return Err(DropReason::NotJoined);
        }
        if !way_back() {
            return Err(DropReason::MulticastWrongPort);
        }
        let others = (0..self.queriers.len()).filter_map(PortId::new).filter(|out| *out != port);
        for out in others {
            let is_upstream = self.upstream == Some(out) && self.is_downstream(port);
            if is_upstream || (self.is_downstream(out) && wanted(&self.memberships, out)) {
                let _ports_are_as_many = exits.try_push(out);
            }
        }
        match exits.is_empty() {
            true => Err(DropReason::NotJoined),
            false if ttl <= 1 => Err(DropReason::MulticastScope),
            false => Ok(exits),
        }
    }

    /// What all downstream ports together want of a group: what is reported upstream.
    fn wanted_behind(&self, now: Instant, group: IpAddr) -> Filter {
        let records = || {
            let of_group = self.memberships.iter().filter(move |record| record.group == group);
            of_group.filter(|record| Some(record.port) != self.upstream)
        };
        let filters: Vec<Filter> = records()
            .map(|record| {
                let everybody = record.wants_everybody(now);
                let told_apart = record.sources.iter().filter(|source| (source.until > now) != everybody);
                let mode = if everybody { Mode::Exclude } else { Mode::Include };
                Filter::new(mode, told_apart.map(|source| source.address).collect())
            })
            .collect();
        Filter::union(filters.iter())
    }
}

/// Static routes in the order in which they are tried: the most specific first.
pub fn sorted(mut routes: Vec<MulticastRoute>) -> Vec<MulticastRoute> {
    let length = |route: &MulticastRoute| (route.group.prefix_len(), route.source.prefix_len());
    routes.sort_by_key(|route| core::cmp::Reverse(length(route)));
    routes
}

/// Whether so many static routes can be had.
///
/// # Errors
/// More than [`MULTICAST_ROUTES`].
pub const fn check_routes(routes: usize) -> Result<(), RoutesError> {
    if routes > MULTICAST_ROUTES { Err(RoutesError::TooMany(routes)) } else { Ok(()) }
}

/// True for groups that are forwarded at all: not those that are local to a link (RFC 5771 section 4; RFC 4291 section
/// 2.7), which every link has for itself.
#[inline]
pub fn is_routable(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.is_multicast() && group.octets()[..3] != [224, 0, 0],
        IpAddr::V6(group) => group.is_multicast() && group.octets()[1] & 0x0f > 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::RecordKind;
    use membership::{Heard, Times};

    fn port(index: usize) -> PortId {
        PortId::new(index).unwrap()
    }

    const NOW: Instant = Instant::from_millis(1000);

    fn multicast(config: MulticastConfig) -> Multicast {
        Multicast::new(config, 4)
    }

    fn join(multicast: &mut Multicast, at: usize, group: &str) {
        let times = Times {
            membership: core::time::Duration::from_secs(260),
            last_member: core::time::Duration::from_secs(2),
            older_host: core::time::Duration::from_secs(260),
            asks: true,
        };
        let heard = Heard { version: 3, kind: RecordKind::ToExclude, group: group.parse().unwrap() };
        multicast.memberships.hear(NOW, port(at), &heard, core::iter::empty(), &times).unwrap();
    }

    fn ways(
        multicast: &mut Multicast,
        from: usize,
        group: &str,
        ttl: u8,
        way_back: bool,
    ) -> Result<Vec<usize>, DropReason> {
        let flow = ("10.0.0.9".parse().unwrap(), group.parse().unwrap());
        let exits = multicast.exits(NOW, port(from), flow, ttl, || way_back)?;
        Ok(exits.iter().map(|port| port.index()).collect())
    }

    fn route(group: &str, source: &str, from: usize, out: &[(usize, u8)]) -> MulticastRoute {
        let (group, source) = (group.parse().unwrap(), source.parse().unwrap());
        let out = out.iter().map(|(to, threshold)| Out { port: port(*to), threshold: *threshold });
        MulticastRoute { source, group, in_port: port(from), out: out.collect() }
    }

    #[test]
    fn a_static_route_checks_the_port_of_arrival_and_the_ttl_of_each_way_out() {
        let mut multicast = multicast(MulticastConfig {
            routes: vec![
                route("239.0.0.0/8", "0.0.0.0/0", 0, &[(1, 1), (2, 64)]),
                route("239.1.0.0/16", "0.0.0.0/0", 0, &[(3, 1)]),
                route("239.1.0.0/16", "10.0.0.9/32", 1, &[(0, 1)]),
            ],
            ..MulticastConfig::default()
        });
        assert_eq!(ways(&mut multicast, 0, "239.9.9.9", 65, false), Ok(vec![1, 2]));
        assert_eq!(ways(&mut multicast, 0, "239.9.9.9", 64, false), Ok(vec![1]));
        assert_eq!(ways(&mut multicast, 0, "239.9.9.9", 1, false), Err(DropReason::MulticastScope));
        assert_eq!(ways(&mut multicast, 1, "239.9.9.9", 65, true), Err(DropReason::MulticastWrongPort));
        assert_eq!(
            ways(&mut multicast, 1, "239.1.9.9", 65, true),
            Ok(vec![0]),
            "the longest group and source"
        );
        assert_eq!(ways(&mut multicast, 0, "224.9.9.9", 65, true), Err(DropReason::NotJoined));
        assert_eq!(multicast.routes().map(|(_, used)| used).collect::<Vec<_>>(), [1, 0, 2]);
    }

    #[test]
    fn a_port_on_which_we_ask_gets_what_is_wanted_there_and_nothing_else() {
        let mut multicast = multicast(MulticastConfig {
            downstream: vec![port(1), port(2)],
            upstream: Some(port(0)),
            routes: vec![route("239.7.0.0/16", "0.0.0.0/0", 0, &[(1, 1), (3, 1)])],
            ..MulticastConfig::default()
        });
        assert_eq!(ways(&mut multicast, 0, "239.1.1.1", 9, true), Err(DropReason::NotJoined));
        join(&mut multicast, 2, "239.1.1.1");
        assert_eq!(ways(&mut multicast, 0, "239.1.1.1", 9, true), Ok(vec![2]));
        assert_eq!(ways(&mut multicast, 0, "239.1.1.1", 9, false), Err(DropReason::MulticastWrongPort));
        assert_eq!(ways(&mut multicast, 0, "239.1.1.1", 1, true), Err(DropReason::MulticastScope));
        assert_eq!(ways(&mut multicast, 1, "239.1.1.1", 9, true), Ok(vec![0, 2]), "upstream always");
        assert_eq!(ways(&mut multicast, 3, "239.1.1.1", 9, true), Err(DropReason::NotJoined), "neither");
        assert_eq!(ways(&mut multicast, 0, "239.7.1.1", 9, true), Ok(vec![3]));
        join(&mut multicast, 1, "239.7.1.1");
        assert_eq!(ways(&mut multicast, 0, "239.7.1.1", 9, true), Ok(vec![1, 3]));
    }

    #[test]
    fn routes_are_bounded_and_what_is_of_a_link_stays_there() {
        assert_eq!(check_routes(MULTICAST_ROUTES), Ok(()));
        assert_eq!(check_routes(MULTICAST_ROUTES + 1), Err(RoutesError::TooMany(MULTICAST_ROUTES + 1)));
        let routable = |group: &str| is_routable(group.parse().unwrap());
        for group in ["224.0.1.1", "239.255.255.250", "ff05::2", "ff3e::8000:1"] {
            assert!(routable(group), "{group}");
        }
        for group in ["224.0.0.22", "224.0.0.251", "ff02::fb", "ff01::1", "ff32::1", "10.0.0.1"] {
            assert!(!routable(group), "{group}");
        }
    }
}
