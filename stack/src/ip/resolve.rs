//! From addresses to paths: cache, then forwarding table, then neighbour (rows O3, O5, O6, P4).
//!
//! In transit the source is judged together with the destination (RFC 1812 section 5.3.7 and 5.3.8), and the
//! judgement is part of the path that the cache remembers: that is why the cache's key has the source and
//! the port in it.

use crate::burst::Burst;
use crate::counters::Counter;
use crate::frame::Frame;
use crate::interface::ReversePathFilter;
use crate::ip::flow;
use crate::ip::path::{Hop, Path, Refusal};
use crate::ip::policy::Outgoing;
use crate::limits::{BURST, MULTIPATH_BUCKETS};
use crate::port::PortId;
use crate::route::{CacheKey, Flow4, Flow6, NextHop, NextHopId, RouteCache};
use crate::stack::Stack;
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// 224.0.0.1, all systems on the link: the one IPv4 group that every host is in (RFC 1112 section 4).
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Paths of a burst, place by place with its keys.
pub type Paths = [Path; BURST];

/// Bursts that go straight to the forwarding table after one that the cache mostly did not know. Probing and
/// filling the cache costs more than it saves then; every 16th burst still tries, so that a cache that would
/// help again fills within milliseconds.
const BURSTS_WITHOUT_CACHE: u8 = 15;

/// Which of a burst's keys the cache answered (a bit for each), and whether the others are worth remembering.
fn probe<K: CacheKey>(
    cache: &mut Option<RouteCache<K, Path>>,
    rest: &mut u8,
    keys: &[K],
    paths: &mut Paths,
) -> (u64, bool) {
    let Some(cache) = cache else { return (0, false) };
    if *rest > 0 {
        *rest -= 1;
        return (0, false);
    }
    let hits = cache.probe_burst(keys, paths);
    // A burst of a few packets says little, and costs little.
    if keys.len() >= BURST / 4 && (hits.count_ones() as usize) * 2 < keys.len() {
        *rest = BURSTS_WITHOUT_CACHE;
    }
    (hits, true)
}

/// The bits of the first `count` keys that are not in `hits`.
fn misses_of(hits: u64, count: usize) -> u64 {
    let all = if count < u64::BITS as usize { (1 << count) - 1 } else { u64::MAX };
    all & !hits
}

/// The places of the bits that are set, lowest first.
fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        place
    })
}

/// Values of a burst without immediate repetitions (packets often come in trains from one source), and for
/// each packet of the burst the place of its value.
#[derive(Debug)]
struct Distinct<A> {
    values: Burst<A>,
    places: Burst<u8>,
}

impl<A> Default for Distinct<A> {
    fn default() -> Self {
        Distinct { values: Burst::new(), places: Burst::new() }
    }
}

impl<A: PartialEq> Distinct<A> {
    #[inline]
    fn push(&mut self, value: A) {
        if self.values.last() != Some(&value) {
            self.values.push(value);
        }
        self.places.push(self.values.len() as u8 - 1);
    }
}

/// The last judgement over a source: what the table says of most sources of a burst is the same.
#[derive(Debug, Default)]
struct Judge {
    last: Option<(NextHopId, Option<Refusal>)>,
}

impl Judge {
    /// Whether packets are refused whose way back is `back`; `port` is the same for the whole burst.
    #[inline]
    fn refusal<F: Frame>(&mut self, stack: &Stack<F>, back: NextHopId, port: u16) -> Option<Refusal> {
        match self.last {
            Some((last, refusal)) if last == back => refusal,
            _ => {
                let refusal = stack.judge_source(back, port);
                self.last = Some((back, refusal));
                refusal
            }
        }
    }
}

impl<F: Frame> Stack<F> {
    /// Paths for a burst of IPv4 packets that came in by one port.
    pub(crate) fn route_burst4(&mut self, now: Instant, keys: &[Flow4], paths: &mut Paths) {
        let (hits, remember) = probe(&mut self.cache4, &mut self.cache4_rest, keys, paths);
        let misses = misses_of(hits, keys.len());
        self.count_probes(keys.len(), misses);
        if misses == 0 {
            return;
        }
        if self.routing.rules.is_empty() {
            self.look_up_burst4(now, keys, misses, paths);
        } else {
            self.ask_rules4(now, keys, misses, paths);
        }
        let Some(cache) = self.cache4.as_mut().filter(|_| remember) else { return };
        for place in places(misses).filter(|place| paths[*place].is_lasting()) {
            cache.insert(keys[place], paths[place]);
        }
    }

    /// Paths for those of a burst that the cache does not know.
    fn look_up_burst4(&mut self, now: Instant, keys: &[Flow4], misses: u64, paths: &mut Paths) {
        let mut destinations: Burst<Ipv4Addr> = Burst::new();
        let mut sources = Distinct::default();
        for place in places(misses) {
            destinations.push(keys[place].destination);
            sources.push(keys[place].source);
        }
        let (mut found, mut back) = ([NextHopId::NONE; BURST], [NextHopId::NONE; BURST]);
        self.routes.lookup4_burst(&destinations, &mut found);
        self.routes.lookup4_burst(&sources.values, &mut back);
        let mut judge = Judge::default();
        for ((place, next_hop), source) in places(misses).zip(found).zip(sources.places) {
            let key = keys[place];
            let refusal = judge.refusal(self, back[usize::from(source) % BURST], key.port);
            paths[place] = self.path4(now, &key, next_hop, refusal);
        }
    }

    /// The same, by policy rules.
    #[cold]
    fn ask_rules4(&mut self, now: Instant, keys: &[Flow4], misses: u64, paths: &mut Paths) {
        for place in places(misses) {
            let key = keys[place];
            let both = (IpAddr::V4(key.source), IpAddr::V4(key.destination));
            let (next_hop, back) = self.ruled_both_ways(both, key.port, key.class);
            let refusal = self.judge_source(back, key.port);
            paths[place] = match next_hop {
                Ok(next_hop) => self.path4(now, &key, next_hop, refusal),
                Err(ruled) => self.path4(now, &key, NextHopId::NONE, refusal.or(Some(ruled))),
            };
        }
    }

    /// Paths for a burst of IPv6 packets that came in by one port.
    pub(crate) fn route_burst6(&mut self, now: Instant, keys: &[Flow6], paths: &mut Paths) {
        let (hits, remember) = probe(&mut self.cache6, &mut self.cache6_rest, keys, paths);
        let misses = misses_of(hits, keys.len());
        self.count_probes(keys.len(), misses);
        if misses == 0 {
            return;
        }
        if self.routing.rules.is_empty() {
            self.look_up_burst6(now, keys, misses, paths);
        } else {
            self.ask_rules6(now, keys, misses, paths);
        }
        let Some(cache) = self.cache6.as_mut().filter(|_| remember) else { return };
        for place in places(misses).filter(|place| paths[*place].is_lasting()) {
            cache.insert(keys[place], paths[place]);
        }
    }

    /// Paths for those of a burst that the cache does not know.
    fn look_up_burst6(&mut self, now: Instant, keys: &[Flow6], misses: u64, paths: &mut Paths) {
        let mut destinations: Burst<Ipv6Addr> = Burst::new();
        let mut sources = Distinct::default();
        for place in places(misses) {
            destinations.push(keys[place].destination);
            sources.push(keys[place].source);
        }
        let (mut found, mut back) = ([NextHopId::NONE; BURST], [NextHopId::NONE; BURST]);
        self.routes.lookup6_burst(&destinations, &mut found);
        self.routes.lookup6_burst(&sources.values, &mut back);
        let mut judge = Judge::default();
        for ((place, next_hop), source) in places(misses).zip(found).zip(sources.places) {
            let key = keys[place];
            let refusal = judge.refusal(self, back[usize::from(source) % BURST], key.port);
            paths[place] = self.path6(now, &key, next_hop, refusal);
        }
    }

    /// The same, by policy rules.
    #[cold]
    fn ask_rules6(&mut self, now: Instant, keys: &[Flow6], misses: u64, paths: &mut Paths) {
        for place in places(misses) {
            let key = keys[place];
            let both = (IpAddr::V6(key.source), IpAddr::V6(key.destination));
            let (next_hop, back) = self.ruled_both_ways(both, key.port, key.class);
            let refusal = self.judge_source(back, key.port);
            paths[place] = match next_hop {
                Ok(next_hop) => self.path6(now, &key, next_hop, refusal),
                Err(ruled) => self.path6(now, &key, NextHopId::NONE, refusal.or(Some(ruled))),
            };
        }
    }

    #[inline]
    fn count_probes(&mut self, keys: usize, misses: u64) {
        let misses = u64::from(misses.count_ones());
        self.counters.add(Counter::RouteCacheHits, keys as u64 - misses);
        self.counters.add(Counter::RouteCacheMisses, misses);
    }

    /// The path of an IPv4 packet in transit, whose source is refused or not.
    #[inline]
    fn path4(&mut self, now: Instant, key: &Flow4, next_hop: NextHopId, source: Option<Refusal>) -> Path {
        if key.destination.is_broadcast() || key.destination == ALL_SYSTEMS {
            return Path::Broadcast;
        }
        if key.destination.is_multicast() {
            return self.path_of_group(key);
        }
        match source {
            Some(refusal) => Path::Refuse(refusal),
            None => self.path_in_transit(now, next_hop, IpAddr::V4(key.destination), key.port),
        }
    }

    /// A group that sockets joined on the port is ours to hear; joins and leaves void the caches.
    #[cold]
    fn path_of_group(&self, key: &Flow4) -> Path {
        let port = PortId::new(usize::from(key.port));
        if self.multicast.is_on() {
            if crate::multicast::is_routable(IpAddr::V4(key.destination)) {
                return Path::Multicast;
            }
            // 224.0.0.2 and 224.0.0.22, where hosts speak to routers of groups.
            if port.is_some_and(|port| self.multicast.is_downstream(port)) {
                return Path::Broadcast;
            }
        }
        let heard = port
            .is_some_and(|port| self.hears_group(port, IpAddr::V4(key.destination), IpAddr::V4(key.source)));
        if heard { Path::Broadcast } else { Path::Refuse(Refusal::NotJoined) }
    }

    /// The path of an IPv6 packet in transit, whose source is refused or not. A link-local or unspecified
    /// source is judged by forwarding instead.
    #[inline]
    fn path6(&mut self, now: Instant, key: &Flow6, next_hop: NextHopId, source: Option<Refusal>) -> Path {
        match source {
            Some(refusal) if !key.source.is_unicast_link_local() && !key.source.is_unspecified() => {
                Path::Refuse(refusal)
            }
            _ => self.path_in_transit(now, next_hop, IpAddr::V6(key.destination), key.port),
        }
    }

    /// What a next hop means for packets that came in by `port`: as it was, or worked out anew.
    #[inline]
    fn path_in_transit(&mut self, now: Instant, id: NextHopId, destination: IpAddr, port: u16) -> Path {
        match self.adjacencies.get(id) {
            Some(path) => path,
            None => self.work_out(now, id, destination, port),
        }
    }

    fn work_out(&mut self, now: Instant, id: NextHopId, destination: IpAddr, port: u16) -> Path {
        let path = self.path_by(now, id, destination, Some(port));
        // The neighbour on a connected link is the destination itself, and a broadcast is one on its own link.
        let depends_on_packet =
            matches!(self.routes.next_hop(id), Some(NextHop::Connected { .. } | NextHop::Broadcast { .. }));
        if !depends_on_packet && path.is_lasting() {
            self.adjacencies.keep(id, path);
        }
        path
    }

    /// Martian sources that only the table knows (ours, a broadcast address), and the reverse-path filter
    /// (RFC 3704).
    fn judge_source(&self, back: NextHopId, port: u16) -> Option<Refusal> {
        let back = self.routes.next_hop(back);
        if matches!(back, Some(NextHop::Local | NextHop::Broadcast { .. })) {
            return Some(Refusal::MartianSource);
        }
        let port = PortId::new(usize::from(port))?;
        let passes = match self.interfaces.get(port)?.rp_filter {
            ReversePathFilter::Off => true,
            ReversePathFilter::Loose => back.is_some_and(leads_somewhere),
            ReversePathFilter::Strict => back.is_some_and(|back| self.leads_through(back, port)),
        };
        if passes { None } else { Some(Refusal::ReversePath) }
    }

    /// True when a way back leads, or may lead, through `port`.
    pub(crate) fn leads_through(&self, back: NextHop, port: PortId) -> bool {
        match back {
            NextHop::Connected { port: out } | NextHop::Gateway { port: out, .. } => out == port,
            NextHop::Multipath(group) => (0..MULTIPATH_BUCKETS as u32)
                .any(|bucket| self.routes.select(group, bucket).and_then(NextHop::port) == Some(port)),
            _ => false,
        }
    }

    /// What a next hop means for packets to `destination`; `port` is where they came in, if they did.
    pub(super) fn path_by(
        &mut self,
        now: Instant,
        id: NextHopId,
        destination: IpAddr,
        port: Option<u16>,
    ) -> Path {
        match self.routes.next_hop(id) {
            None => Path::Refuse(Refusal::NoRoute),
            Some(NextHop::Local) => Path::Local,
            Some(NextHop::Broadcast { port: on }) if port.map(usize::from) == Some(on.index()) => {
                Path::Broadcast
            }
            Some(NextHop::Broadcast { .. }) => Path::Refuse(Refusal::DirectedBroadcast),
            Some(NextHop::Blackhole) => Path::Refuse(Refusal::Blackhole),
            Some(NextHop::Unreachable) => Path::Refuse(Refusal::Unreachable),
            Some(NextHop::Prohibit) => Path::Refuse(Refusal::Prohibit),
            Some(NextHop::Multipath(_)) => Path::Multipath(id),
            Some(single) => match self.hop_by(now, single, destination) {
                Ok(hop) => Path::Hop(Hop { mtu: self.routes.metrics(id).bound_mtu(hop.mtu), ..hop }),
                Err(refusal) => Path::Refuse(refusal),
            },
        }
    }

    /// The hop of a single next hop.
    fn hop_by(&mut self, now: Instant, next_hop: NextHop, destination: IpAddr) -> Result<Hop, Refusal> {
        match next_hop {
            NextHop::Connected { port } => self.on_link_hop(now, port, destination),
            NextHop::Gateway { port, via } => self.on_link_hop(now, port, via),
            _ => Err(Refusal::NoRoute),
        }
    }

    /// The hop to a neighbour on the link of `port`.
    pub(crate) fn on_link_hop(
        &mut self,
        now: Instant,
        port: PortId,
        neighbour: IpAddr,
    ) -> Result<Hop, Refusal> {
        let mtu = self.interfaces.get(port).ok_or(Refusal::NoRoute)?.mtu;
        let neighbour = self.neighbours.bind(port, neighbour, now).map_err(Refusal::Neighbour)?;
        Ok(Hop { port, mtu, neighbour })
    }

    /// The hop of a multipath group that a packet's flow takes.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        group: NextHopId,
        destination: IpAddr,
        hash: u64,
    ) -> Result<Hop, Refusal> {
        let member = self.routes.resolve(group, (hash >> 32) as u32).ok_or(Refusal::NoRoute)?;
        let hop = self.hop_by(now, member, destination)?;
        Ok(Hop { mtu: self.routes.metrics(group).bound_mtu(hop.mtu), ..hop })
    }

    /// The member of a multipath group that an IPv4 packet's flow takes.
    pub(crate) fn choose_hop4(
        &mut self,
        now: Instant,
        group: NextHopId,
        packet: &[u8],
    ) -> Result<Hop, Refusal> {
        let hash = flow::hash4_of(packet, self.flow_key, self.routing.hash);
        self.choose(now, group, IpAddr::V4(flow::destination4(packet)), hash)
    }

    /// The member of a multipath group that an IPv6 packet's flow takes.
    pub(crate) fn choose_hop6(
        &mut self,
        now: Instant,
        group: NextHopId,
        packet: &[u8],
    ) -> Result<Hop, Refusal> {
        let hash = flow::hash6_of(packet, self.flow_key, self.routing.hash);
        self.choose(now, group, IpAddr::V6(flow::destination6(packet)), hash)
    }

    /// Where a packet that we originate leaves for `destination`, and how long it may be. `port` is where
    /// what we answer came in: link-local destinations are on its link.
    pub(crate) fn route_output(
        &mut self,
        now: Instant,
        destination: IpAddr,
        port: PortId,
    ) -> Result<Hop, Refusal> {
        self.route_own(now, &Outgoing::to(destination), port).map(|(hop, _)| hop)
    }

    /// Where the routes alone would have it leave: no redirect, no path MTU learnt.
    pub(crate) fn route_by_table(
        &mut self,
        now: Instant,
        destination: IpAddr,
        port: PortId,
    ) -> Result<Hop, Refusal> {
        self.route_by_rules(now, &Outgoing::to(destination), port).map(|(hop, _)| hop)
    }

    /// True when the routes lead to an address by another port than `port`.
    pub(crate) fn is_behind(&self, address: impl Into<IpAddr>, port: PortId) -> bool {
        let Ok(id) = self.next_hop_to(&Outgoing::to(address.into())) else { return false };
        match self.routes.next_hop(id) {
            Some(NextHop::Connected { port: out } | NextHop::Gateway { port: out, .. }) => out != port,
            Some(NextHop::Multipath(_)) => {
                self.routes.resolve(id, 0).and_then(NextHop::port).is_some_and(|out| out != port)
            }
            _ => false,
        }
    }

    /// True when an IPv4 address is ours.
    pub(crate) fn is_local4(&self, address: Ipv4Addr) -> bool {
        self.interfaces.iter().any(|interface| interface.owns_ipv4(address))
            || self.loopback && address.is_loopback()
    }

    /// True when an IPv6 address is ours: anywhere, or, for a link-local one, on `port`.
    pub(crate) fn is_local6(&self, address: Ipv6Addr, port: PortId) -> bool {
        if address.is_unicast_link_local() {
            return self.interfaces.get(port).is_some_and(|interface| interface.owns_ipv6(address));
        }
        self.interfaces.iter().any(|interface| interface.owns_ipv6(address))
            || self.loopback && address.is_loopback()
    }

    /// True when an IPv6 address is one that we share with the other routers of a subnet: see
    /// [`crate::Interface::is_subnet_router_anycast`].
    pub(crate) fn is_anycast6(&self, address: Ipv6Addr) -> bool {
        self.interfaces.iter().any(|interface| interface.is_subnet_router_anycast(address))
    }
}

/// True when a way back leads to the network at all.
fn leads_somewhere(back: NextHop) -> bool {
    matches!(back, NextHop::Connected { .. } | NextHop::Gateway { .. } | NextHop::Multipath(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_misses_are_those_without_a_hit() {
        assert_eq!(places(misses_of(0b0101, 4)).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(misses_of(0, 64), u64::MAX);
        assert_eq!(misses_of(0, 0), 0);
        assert_eq!(places(misses_of(u64::MAX >> 1, 64)).collect::<Vec<_>>(), [63]);
    }
    #[test]
    fn a_cache_that_does_not_know_a_burst_sits_out_the_next_fifteen() {
        use crate::route::ecmp::HashKey;
        let key = |number| Flow4 {
            destination: Ipv4Addr::from_bits(number),
            source: Ipv4Addr::LOCALHOST,
            port: 0,
            class: 0,
        };
        let keys: Vec<Flow4> = (0..32).map(key).collect();
        let mut cache = Some(RouteCache::new(1024, HashKey::new([1, 2])));
        let (mut rest, mut paths) = (0, [Path::default(); BURST]);
        assert_eq!(probe(&mut cache, &mut rest, &keys, &mut paths), (0, true), "asked, and to be filled");
        keys.iter().for_each(|key| cache.as_mut().unwrap().insert(*key, Path::Local));
        for _ in 0..BURSTS_WITHOUT_CACHE {
            assert_eq!(probe(&mut cache, &mut rest, &keys, &mut paths), (0, false), "sits out");
        }
        let (hits, _) = probe(&mut cache, &mut rest, &keys, &mut paths);
        assert!(hits.count_ones() > 24 && paths[0] == Path::Local, "it helps again");
        assert_eq!(rest, 0);
    }

    #[test]
    fn trains_of_one_source_are_looked_up_once() {
        let mut distinct = Distinct::default();
        for value in [7, 7, 8, 8, 7] {
            distinct.push(value);
        }
        assert_eq!(&distinct.values[..], [7, 8, 7]);
        assert_eq!(&distinct.places[..], [0, 0, 1, 1, 2]);
    }
}
