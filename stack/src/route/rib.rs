//! The routing information base: every route there is, and what the forwarding tables make of them.
//!
//! For each prefix there may be several routes. Those whose way out is alive compete: the lowest distance of the
//! source wins, then the lowest metric. The winner is in the forwarding table; when all ways out of a prefix are
//! down it is withdrawn, and the next shorter prefix serves its addresses.
//!
//! ```text
//!   change ──▶ check ──▶ next hop (shared, counted) ──▶ forwarding table ──▶ RIB ──▶ commit
//!                refused: nothing happened   ◀──────────  full                        │
//!                                                              epoch + 1, readers' caches are void
//! ```
//!
//! The store is compact, for there are a million of them: 16 bytes for an IPv4 prefix, 32 for an IPv6 prefix, in
//! B-trees; alternatives that wait stand in a second map that is nearly always empty.

use crate::PortId;
use crate::limits;
use crate::route::entry::{Route, RouteError, Source, check_prefix};
use crate::route::fib4::{Fib4, Fib4Writer, Full};
use crate::route::fib6::{Fib6, Fib6Writer};
use crate::route::next_hop::{HopPool, NextHopId, NextHops};
use crate::route::prefix_map::{Prefix, Prefix4, Prefix6, cover};
use crate::route::publish::{Dead, Epochs, Graveyard, RouteReader, Shared};
use crate::route::words::{Words, WordsError};
use core::sync::atomic::{AtomicU32, AtomicU64};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The sizes of a route table. [`RibConfig::default`] has those of [`crate::limits`].
#[derive(Debug)]
pub struct RibConfig {
    /// Most IPv4 routes.
    pub max_routes4: usize,
    /// Most IPv6 routes.
    pub max_routes6: usize,
    /// Groups of the IPv4 table, 1 KiB each: /24s that have longer prefixes inside.
    pub groups4: usize,
    /// Nodes of the IPv6 trie, 32 bytes each.
    pub nodes6: u32,
    /// Leaves and tails of the IPv6 trie, 8 bytes each.
    pub leaves6: u32,
    /// Next hops, 32 bytes each; below 2^24.
    pub next_hops: usize,
    /// Multipath groups, 1 KiB each.
    pub multipath: usize,
    /// Memory for the IPv4 table's top ([`crate::route::fib4::TOP`] words), to have it on huge pages; `None`
    /// allocates it.
    pub top4: Option<Words<AtomicU32>>,
    /// Memory for the IPv6 trie's nodes (4 words for each of `nodes6`), likewise.
    pub nodes6_memory: Option<Words<AtomicU64>>,
    /// Memory for the IPv6 trie's leaves and tails (one word for each of `leaves6`), likewise.
    pub leaves6_memory: Option<Words<AtomicU64>>,
}

impl Default for RibConfig {
    fn default() -> Self {
        RibConfig {
            max_routes4: limits::MAX_ROUTES_IPV4,
            max_routes6: limits::MAX_ROUTES_IPV6,
            groups4: limits::FIB4_GROUPS,
            nodes6: limits::FIB6_NODES as u32,
            leaves6: limits::FIB6_LEAVES as u32,
            next_hops: limits::MAX_NEXT_HOPS,
            multipath: limits::MAX_MULTIPATH,
            top4: None,
            nodes6_memory: None,
            leaves6_memory: None,
        }
    }
}

/// One change in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// As [`Rib::add`].
    Add(Route),
    /// As [`Rib::replace`].
    Replace(Route),
    /// As [`Rib::remove`].
    Remove {
        /// The route's prefix.
        prefix: IpNet,
        /// Its source.
        source: Source,
        /// Its metric.
        metric: u32,
    },
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// How many changes were made.
    pub done: usize,
    /// Those that were refused, by place in the batch.
    pub refused: Vec<(usize, RouteError)>,
}

/// What a port's going down or coming up did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortChange {
    /// Prefixes that left the forwarding table.
    pub withdrawn: usize,
    /// Prefixes that entered it.
    pub restored: usize,
    /// Prefixes that should have, but found no room: see [`Rib::reinstall`].
    pub failed: usize,
}

/// A route as `show route` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The route.
    pub route: Route,
    /// Whether packets follow it (or a better one, or none while its port is down, took its place).
    pub active: bool,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RibStats {
    /// IPv4 routes, alternatives included.
    pub routes4: usize,
    /// IPv6 routes, alternatives included.
    pub routes6: usize,
    /// Groups of the IPv4 table in use, and how many there are.
    pub groups4: (u32, u32),
    /// Nodes of the IPv6 trie in use, and how many there are.
    pub nodes6: (u32, u32),
    /// Leaves and tails of the IPv6 trie in use, and how many there are.
    pub leaves6: (u32, u32),
    /// Next hops in use, groups included.
    pub next_hops: usize,
    /// Things unlinked that wait for the readers.
    pub waiting: usize,
    /// Prefixes for which the forwarding table lacks room since a port changed: see [`Rib::reinstall`].
    pub missing: usize,
}

/// The one writer of a route table. See the module's top.
#[derive(Debug)]
pub struct Rib {
    shared: Arc<Shared>,
    v4: Table<Prefix4, Fib4Writer>,
    v6: Table<Prefix6, Fib6Writer>,
    hops: HopPool,
    dead: Graveyard,
}

impl Rib {
    /// An empty table with all ports up.
    pub fn new(config: RibConfig) -> Result<Self, RouteError> {
        let error = WordsError::Allocation { bytes: usize::MAX };
        if config.next_hops >= 1 << 24 || config.groups4 >= 1 << 24 {
            return Err(error.into()); // beyond the fields of a leaf
        }
        let shared = Arc::new(Shared {
            fib4: Fib4::new(config.groups4, config.top4)?,
            fib6: Fib6::new(config.nodes6, config.leaves6, (config.nodes6_memory, config.leaves6_memory))?,
            hops: NextHops::new(config.next_hops, config.multipath)?,
            epochs: Epochs::new(),
        });
        Ok(Rib {
            v4: Table::new(Fib4Writer::new(&shared.fib4), config.max_routes4),
            v6: Table::new(Fib6Writer::new(&shared.fib6), config.max_routes6),
            hops: HopPool::new(config.next_hops, config.multipath),
            dead: Graveyard::new(&shared.epochs),
            shared,
        })
    }

    /// A view for one more worker, online.
    pub fn reader(&self) -> Result<RouteReader, RouteError> {
        RouteReader::new(self.shared.clone())
    }

    /// Adds `route`; refused as a duplicate when its source has one with that prefix and metric.
    pub fn add(&mut self, route: &Route) -> Result<(), RouteError> {
        let result = self.insert(route, false);
        self.commit();
        result
    }

    /// Adds `route` in place of the one with its prefix, source and metric, if there is one. Packets follow the
    /// old one or the new one at each moment.
    pub fn replace(&mut self, route: &Route) -> Result<(), RouteError> {
        let result = self.insert(route, true);
        self.commit();
        result
    }

    /// Removes the route with this prefix, source and metric.
    pub fn remove(&mut self, prefix: IpNet, source: Source, metric: u32) -> Result<(), RouteError> {
        let result = self.take_out(prefix, source, metric);
        self.commit();
        result
    }

    /// Makes many changes, in order, with one generation for all. A change that is refused does not stop those
    /// that follow.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Applied {
        let mut applied = Applied::default();
        for (at, change) in changes.into_iter().enumerate() {
            let result = match change {
                Change::Add(route) => self.insert(&route, false),
                Change::Replace(route) => self.insert(&route, true),
                Change::Remove { prefix, source, metric } => self.take_out(prefix, source, metric),
            };
            match result {
                Ok(()) => applied.done += 1,
                Err(error) => applied.refused.push((at, error)),
            }
        }
        self.commit();
        applied
    }

    /// Withdraws what leaves by `port` when it goes down, restores it when it comes up. Multipath groups go on
    /// with the members that are left. Nothing happens when it is in that state already.
    pub fn set_port_up(&mut self, port: PortId, up: bool) -> PortChange {
        let mut change = PortChange::default();
        if let Some(changed) = self.hops.set_port_up(&self.shared.hops, port, up) {
            let hit = |candidate: &Candidate| changed.get(candidate.hop() as usize).is_some_and(|&hit| hit);
            self.reconsider(|best, more| hit(best) || more.iter().any(hit), &mut change);
            self.commit();
        }
        change
    }

    /// Tries again to install what found no room when its port came up.
    pub fn reinstall(&mut self) -> PortChange {
        let mut change = PortChange::default();
        self.reconsider(|best, _| best.word & MISSING != 0, &mut change);
        self.commit();
        change
    }

    /// All routes: IPv4 before IPv6, by network, shorter prefixes first, the preferred route of a prefix first.
    pub fn routes(&self) -> impl Iterator<Item = RouteView> {
        self.view(Some((Bound::Unbounded, Bound::Unbounded)), Some((Bound::Unbounded, Bound::Unbounded)))
    }

    /// The routes behind `prefix` in the order of [`Rib::routes`]: the next page of a listing.
    pub fn routes_after(&self, prefix: IpNet) -> impl Iterator<Item = RouteView> {
        match prefix {
            IpNet::V4(net) => self.view(
                Some((Bound::Excluded(Prefix4::of(net)), Bound::Unbounded)),
                Some((Bound::Unbounded, Bound::Unbounded)),
            ),
            IpNet::V6(net) => self.view(None, Some((Bound::Excluded(Prefix6::of(net)), Bound::Unbounded))),
        }
    }

    /// The routes of exactly this prefix, the preferred one first.
    pub fn routes_of(&self, prefix: IpNet) -> impl Iterator<Item = RouteView> {
        match prefix {
            IpNet::V4(net) => {
                let key = Prefix4::of(net);
                self.view(Some((Bound::Included(key), Bound::Included(key))), None)
            }
            IpNet::V6(net) => {
                let key = Prefix6::of(net);
                self.view(None, Some((Bound::Included(key), Bound::Included(key))))
            }
        }
    }

    fn view(
        &self,
        v4: Option<(Bound<Prefix4>, Bound<Prefix4>)>,
        v6: Option<(Bound<Prefix6>, Bound<Prefix6>)>,
    ) -> impl Iterator<Item = RouteView> {
        let v4 = v4.into_iter().flat_map(|range| self.v4.list(range, &self.hops));
        let v6 = v6.into_iter().flat_map(|range| self.v6.list(range, &self.hops));
        let v4 = v4.map(|(key, candidate, active)| (key.ip_net(), candidate, active));
        let v6 = v6.map(|(key, candidate, active)| (key.ip_net(), candidate, active));
        v4.chain(v6).filter_map(|(prefix, candidate, active)| {
            let target = self.hops.target(candidate.hop())?;
            let (source, metric) = (candidate.source(), candidate.metric);
            Some(RouteView { route: Route { prefix, target, source, metric }, active })
        })
    }

    /// How full the table is.
    pub fn stats(&self) -> RibStats {
        RibStats {
            routes4: self.v4.count,
            routes6: self.v6.count,
            groups4: (self.v4.fib.groups_used(), self.v4.fib.groups()),
            nodes6: self.v6.fib.nodes(),
            leaves6: self.v6.fib.leaves(),
            next_hops: self.hops.in_use(),
            waiting: self.dead.len(),
            missing: self.v4.missing + self.v6.missing,
        }
    }

    /// As [`RouteReader::generation`] will be for readers that begin a burst now.
    pub fn generation(&self) -> u64 {
        self.shared.epochs.current()
    }

    fn insert(&mut self, route: &Route, replace: bool) -> Result<(), RouteError> {
        route.check()?;
        self.retrying(route.prefix, |rib| {
            let hop = rib.hops.acquire(&rib.shared.hops, &route.target)?;
            let candidate = Candidate::new(hop, route.source, route.metric);
            let (shared, hops, dead) = (&rib.shared, &rib.hops, &mut rib.dead);
            let done = match route.prefix {
                IpNet::V4(net) => rib.v4.insert(Prefix4::of(net), candidate, replace, shared, hops, dead),
                IpNet::V6(net) => rib.v6.insert(Prefix6::of(net), candidate, replace, shared, hops, dead),
            };
            match &done {
                Ok(Some(old)) => rib.hops.release(old.hop_id(), &mut rib.dead),
                Ok(None) => {}
                Err(_) => rib.hops.abandon(hop),
            }
            done.map(|_| ())
        })
    }

    fn take_out(&mut self, prefix: IpNet, source: Source, metric: u32) -> Result<(), RouteError> {
        check_prefix(prefix)?;
        let which = Candidate::new(NextHopId::NONE, source, metric);
        self.retrying(prefix, |rib| {
            let (shared, hops, dead) = (&rib.shared, &rib.hops, &mut rib.dead);
            let old = match prefix {
                IpNet::V4(net) => rib.v4.remove(Prefix4::of(net), which, shared, hops, dead)?,
                IpNet::V6(net) => rib.v6.remove(Prefix6::of(net), which, shared, hops, dead)?,
            };
            rib.hops.release(old.hop_id(), &mut rib.dead);
            Ok(())
        })
    }

    /// Runs `change`; when room is lacking, frees what the readers have left behind, and runs it once more.
    fn retrying(
        &mut self,
        prefix: IpNet,
        mut change: impl FnMut(&mut Rib) -> Result<(), RouteError>,
    ) -> Result<(), RouteError> {
        let no_room = |error: &RouteError| {
            use RouteError::{TableFull, TooManyMultipath, TooManyNextHops};
            matches!(error, TableFull(_) | TooManyNextHops(_) | TooManyMultipath(_))
        };
        match change(self) {
            Err(error) if no_room(&error) && self.dead.len() > 0 => {
                self.dead.commit(&self.shared.epochs);
                self.reclaim();
                let again = change(self);
                if again.as_ref().is_err_and(no_room) && self.dead.len() > 0 {
                    return Err(RouteError::GracePending(prefix));
                }
                again
            }
            result => result,
        }
    }

    /// A new generation, and a look at what is free by now (not after each change: that would have the readers'
    /// cache lines travel all the time).
    fn commit(&mut self) {
        const ENOUGH_TO_LOOK: usize = 128;
        self.dead.commit(&self.shared.epochs);
        if self.dead.len() >= ENOUGH_TO_LOOK {
            self.reclaim();
        }
    }

    fn reclaim(&mut self) {
        let (v4, v6, hops) = (&mut self.v4.fib, &mut self.v6.fib, &mut self.hops);
        self.dead.reclaim(&self.shared.epochs, |dead| match dead {
            Dead::Group4(group) => v4.reuse(group),
            Dead::Nodes6(at, count) => v6.reuse_nodes(at, count),
            Dead::Leaves6(at, count) => v6.reuse_leaves(at, count),
            Dead::Hop(id) => hops.reuse(id),
            Dead::Buckets(group) => hops.reuse_buckets(group),
        });
    }

    fn reconsider(&mut self, which: impl Fn(&Candidate, &[Candidate]) -> bool, change: &mut PortChange) {
        let (mut next4, mut next6) = (Some(Bound::Unbounded), Some(Bound::Unbounded));
        // In slices, so that what becomes free can be used again on the way.
        while next4.is_some() || next6.is_some() {
            let (shared, hops, dead) = (&self.shared, &self.hops, &mut self.dead);
            next4 = next4.and_then(|from| self.v4.reconsider(from, &which, shared, hops, dead, change));
            next6 = next6.and_then(|from| self.v6.reconsider(from, &which, shared, hops, dead, change));
            self.dead.commit(&self.shared.epochs);
            self.reclaim();
        }
    }
}

/// One route to a prefix, without the prefix: next hop (24 bits), source (4), flags of the prefix in the first
/// one's word, metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    metric: u32,
    word: u32,
}

/// The prefix is in the forwarding table (with its best living candidate).
const INSTALLED: u32 = 1 << 30;
/// The forwarding table had no room to say what it should about the prefix.
const MISSING: u32 = 1 << 29;
/// The prefix has more candidates, in [`Table::more`].
const MORE: u32 = 1 << 31;

impl Candidate {
    fn new(hop: NextHopId, source: Source, metric: u32) -> Self {
        Candidate { metric, word: (source as u32) << 24 | hop.index() }
    }

    fn hop(&self) -> u32 {
        self.word & 0xff_ffff
    }

    fn hop_id(self) -> NextHopId {
        NextHopId::from_index(self.hop())
    }

    fn source(&self) -> Source {
        Source::from_number((self.word >> 24 & 0xf) as u8)
    }

    fn preference(&self) -> (u8, u32) {
        (self.source().distance(), self.metric)
    }
}

/// The forwarding table of one family, as its routes need it.
trait Fib<K> {
    fn set(&mut self, shared: &Shared, key: K, id: NextHopId, dead: &mut Graveyard) -> Result<(), Full>;
    fn clear(
        &mut self,
        shared: &Shared,
        key: K,
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full>;
}

impl Fib<Prefix4> for Fib4Writer {
    fn set(&mut self, shared: &Shared, key: Prefix4, id: NextHopId, _: &mut Graveyard) -> Result<(), Full> {
        Fib4Writer::set(self, &shared.fib4, key.net(), key.len(), id)
    }

    fn clear(
        &mut self,
        shared: &Shared,
        key: Prefix4,
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        Fib4Writer::clear(self, &shared.fib4, (key.net(), key.len()), cover, dead);
        Ok(())
    }
}

impl Fib<Prefix6> for Fib6Writer {
    fn set(
        &mut self,
        shared: &Shared,
        key: Prefix6,
        id: NextHopId,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        Fib6Writer::set(self, &shared.fib6, (key.net(), key.len()), id, dead)
    }

    fn clear(
        &mut self,
        shared: &Shared,
        key: Prefix6,
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        Fib6Writer::clear(self, &shared.fib6, (key.net(), key.len()), cover, dead)
    }
}

/// Between our keys and `ipnet`.
trait Network: Prefix {
    fn ip_net(self) -> IpNet;
}

impl Prefix4 {
    fn of(net: Ipv4Net) -> Self {
        Prefix4::new(net.network().to_bits(), net.prefix_len())
    }
}

impl Network for Prefix4 {
    fn ip_net(self) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(core::net::Ipv4Addr::from_bits(self.net()), self.len()))
    }
}

impl Prefix6 {
    fn of(net: Ipv6Net) -> Self {
        Prefix6::new(net.network().to_bits(), net.prefix_len())
    }
}

impl Network for Prefix6 {
    fn ip_net(self) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(core::net::Ipv6Addr::from_bits(self.net()), self.len()))
    }
}

/// The routes of one family and its forwarding table.
#[derive(Debug)]
struct Table<K, F> {
    /// The preferred route of each prefix, alive or not, with the prefix's flags.
    best: BTreeMap<K, Candidate>,
    /// The others, in order of preference.
    more: BTreeMap<K, Vec<Candidate>>,
    fib: F,
    count: usize,
    missing: usize,
    limit: usize,
}

impl<K: Network, F: Fib<K>> Table<K, F> {
    fn new(fib: F, limit: usize) -> Self {
        Table { best: BTreeMap::new(), more: BTreeMap::new(), fib, count: 0, missing: 0, limit }
    }

    fn insert(
        &mut self,
        key: K,
        candidate: Candidate,
        replace: bool,
        shared: &Shared,
        hops: &HopPool,
        dead: &mut Graveyard,
    ) -> Result<Option<Candidate>, RouteError> {
        let mut list = self.candidates(key);
        let twin = list.iter().position(|other| same_route(other, &candidate));
        match twin {
            Some(_) if !replace => return Err(RouteError::Duplicate(key.ip_net())),
            None if self.count >= self.limit => return Err(RouteError::TooManyRoutes(self.limit)),
            _ => {}
        }
        let old = twin.map(|at| core::mem::replace(&mut list[at], candidate));
        if old.is_none() {
            let at = list.partition_point(|other| other.preference() <= candidate.preference());
            list.insert(at, candidate);
        }
        self.settle(key, list, shared, hops, dead)?;
        self.count += usize::from(old.is_none());
        Ok(old)
    }

    fn remove(
        &mut self,
        key: K,
        which: Candidate,
        shared: &Shared,
        hops: &HopPool,
        dead: &mut Graveyard,
    ) -> Result<Candidate, RouteError> {
        let mut list = self.candidates(key);
        let at = list.iter().position(|other| same_route(other, &which));
        let old = list.remove(at.ok_or_else(|| RouteError::NotFound(key.ip_net()))?);
        self.settle(key, list, shared, hops, dead)?;
        self.count -= 1;
        Ok(old)
    }

    /// All candidates of a prefix, without flags.
    fn candidates(&self, key: K) -> Vec<Candidate> {
        let Some(best) = self.best.get(&key) else { return Vec::new() };
        let mut list = vec![Candidate { word: best.word & !(INSTALLED | MISSING | MORE), ..*best }];
        if best.word & MORE != 0 {
            list.extend(self.more.get(&key).into_iter().flatten());
        }
        list
    }

    /// `list` is what there is for `key` from now on: the forwarding table first, which may refuse, then here.
    fn settle(
        &mut self,
        key: K,
        list: Vec<Candidate>,
        shared: &Shared,
        hops: &HopPool,
        dead: &mut Graveyard,
    ) -> Result<(), RouteError> {
        let full = |Full| RouteError::TableFull(key.ip_net());
        let had = self.best.get(&key).copied();
        let was_installed = had.is_some_and(|best| best.word & INSTALLED != 0);
        let was_missing = had.is_some_and(|best| best.word & MISSING != 0);
        let winner = list.iter().find(|candidate| hops.is_live(candidate.hop()));
        match winner {
            Some(winner) => self.fib.set(shared, key, winner.hop_id(), dead).map_err(full)?,
            None if was_installed => {
                let cover = self.cover(key, hops);
                self.fib.clear(shared, key, cover, dead).map_err(full)?;
            }
            None => {}
        }
        let flag = if winner.is_some() { INSTALLED } else { 0 };
        self.missing -= usize::from(was_missing);
        let mut list = list.into_iter();
        match list.next() {
            None => {
                self.best.remove(&key);
                self.more.remove(&key);
            }
            Some(best) if list.len() == 0 => {
                self.more.remove(&key);
                self.best.insert(key, Candidate { word: best.word | flag, ..best });
            }
            Some(best) => {
                self.more.insert(key, list.collect());
                self.best.insert(key, Candidate { word: best.word | flag | MORE, ..best });
            }
        }
        Ok(())
    }

    /// The next shorter prefix that is installed, and what it leads to.
    fn cover(&self, key: K, hops: &HopPool) -> Option<(u8, NextHopId)> {
        let usable = |key: &K, best: &Candidate| {
            best.word & INSTALLED != 0 && self.living_of(*key, best, hops).is_some()
        };
        let (found, best) = cover(&self.best, key, usable)?;
        Some((found.len(), self.living_of(found, best, hops)?))
    }

    /// The best candidate of `key` whose way out is alive.
    fn living_of(&self, key: K, best: &Candidate, hops: &HopPool) -> Option<NextHopId> {
        let more = || self.more_of(key, best).iter();
        let all = core::iter::once(best).chain(more());
        all.map(|candidate| candidate.hop_id()).find(|hop| hops.is_live(hop.index()))
    }

    fn more_of(&self, key: K, best: &Candidate) -> &[Candidate] {
        match best.word & MORE {
            0 => &[],
            _ => self.more.get(&key).map_or(&[], Vec::as_slice),
        }
    }

    /// Decides again about up to a slice of the prefixes from `from` on that `which` picks; where to go on.
    fn reconsider(
        &mut self,
        from: Bound<K>,
        which: &impl Fn(&Candidate, &[Candidate]) -> bool,
        shared: &Shared,
        hops: &HopPool,
        dead: &mut Graveyard,
        change: &mut PortChange,
    ) -> Option<Bound<K>> {
        const SLICE: usize = 4096;
        let picked = self.best.range((from, Bound::Unbounded));
        let picked = picked.filter(|(key, best)| which(best, self.more_of(**key, best)));
        let slice: Vec<K> = picked.map(|(key, _)| *key).take(SLICE).collect();
        for &key in &slice {
            self.decide(key, shared, hops, dead, change);
        }
        if slice.len() < SLICE { None } else { slice.last().map(|&last| Bound::Excluded(last)) }
    }

    fn decide(
        &mut self,
        key: K,
        shared: &Shared,
        hops: &HopPool,
        dead: &mut Graveyard,
        change: &mut PortChange,
    ) {
        let Some(best) = self.best.get(&key).copied() else { return };
        let was = best.word & INSTALLED != 0;
        let living = self.living_of(key, &best, hops);
        let is = match living {
            Some(id) => self.fib.set(shared, key, id, dead).is_ok(),
            None if was => {
                let cover = self.cover(key, hops);
                self.fib.clear(shared, key, cover, dead).is_err()
            }
            None => false,
        };
        change.withdrawn += usize::from(was && !is);
        change.restored += usize::from(is && !was);
        let missing = is != living.is_some();
        change.failed += usize::from(missing);
        self.missing += usize::from(missing);
        self.missing -= usize::from(best.word & MISSING != 0);
        if let Some(best) = self.best.get_mut(&key) {
            let flags = if is { INSTALLED } else { 0 } | if missing { MISSING } else { 0 };
            best.word = best.word & !(INSTALLED | MISSING) | flags;
        }
    }

    /// The routes of a range, in order, and whether packets follow them.
    fn list(
        &self,
        range: (Bound<K>, Bound<K>),
        hops: &HopPool,
    ) -> impl Iterator<Item = (K, Candidate, bool)> {
        self.best.range(range).flat_map(move |(&key, best)| {
            let installed = best.word & INSTALLED != 0;
            let active = if installed { self.living_of(key, best, hops) } else { None };
            let all = core::iter::once(*best).chain(self.more_of(key, best).iter().copied());
            // Two candidates may share a next hop: only the first one is active.
            let mut active = active;
            all.map(move |candidate| {
                let is = active.take_if(|hop| hop.index() == candidate.hop()).is_some();
                (key, candidate, is)
            })
        })
    }
}

fn same_route(a: &Candidate, b: &Candidate) -> bool {
    a.source() == b.source() && a.metric == b.metric
}
