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

mod policy;
mod table;

pub use policy::TableSize;
pub(crate) use policy::widened;

use crate::PortId;
use crate::limits;
use crate::route::entry::{Route, RouteError, Source, check_prefix};
use crate::route::fib4::{Fib4, Fib4Writer};
use crate::route::fib6::{Fib6, Fib6Writer};
use crate::route::next_hop::{HopPool, NextHopId, NextHops};
use crate::route::prefix_map::{Prefix4, Prefix6};
use crate::route::publish::{Dead, Epochs, Graveyard, RouteReader, Shared};
use crate::route::table_id::TableId;
use crate::route::words::{Words, WordsError};
use core::sync::atomic::{AtomicU32, AtomicU64};
use ipnet::IpNet;
use policy::PolicyTable;
use std::ops::Bound;
use std::sync::Arc;
use table::{Candidate, MISSING, Network, Table};

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
    /// Tables beside the main one, in the order of [`TableId::policy`].
    pub tables: Vec<TableSize>,
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
            tables: Vec::new(),
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
        /// The table that it is in.
        table: TableId,
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
    tables: Vec<PolicyTable>,
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
        if config.tables.len() > limits::MAX_TABLES {
            return Err(RouteError::NoTable);
        }
        let shared = Arc::new(Shared {
            fib4: Fib4::new(config.groups4, config.top4)?,
            fib6: Fib6::new(config.nodes6, config.leaves6, (config.nodes6_memory, config.leaves6_memory))?,
            tries: policy::tries(&config.tables)?,
            hops: NextHops::new(config.next_hops, config.multipath)?,
            epochs: Epochs::new(),
        });
        let numbered = config.tables.iter().enumerate();
        Ok(Rib {
            tables: numbered.filter_map(|(index, size)| PolicyTable::new(index, *size, &shared)).collect(),
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

    /// Removes the route of the main table with this prefix, source and metric.
    pub fn remove(&mut self, prefix: IpNet, source: Source, metric: u32) -> Result<(), RouteError> {
        self.remove_from(TableId::MAIN, prefix, source, metric)
    }

    /// Removes the route of a table with this prefix, source and metric.
    pub fn remove_from(
        &mut self,
        table: TableId,
        prefix: IpNet,
        source: Source,
        metric: u32,
    ) -> Result<(), RouteError> {
        let result = self.take_out(table, prefix, source, metric);
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
                Change::Remove { prefix, source, metric, table } => {
                    self.take_out(table, prefix, source, metric)
                }
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

    /// All routes of the main table: IPv4 before IPv6, by network, shorter prefixes first, the preferred route of a
    /// prefix first.
    pub fn routes(&self) -> impl Iterator<Item = RouteView> {
        self.routes_in(TableId::MAIN)
    }

    /// [`Rib::routes`] of one table; none when there is no such table.
    pub fn routes_in(&self, table: TableId) -> impl Iterator<Item = RouteView> {
        self.view(
            table,
            Some((Bound::Unbounded, Bound::Unbounded)),
            Some((Bound::Unbounded, Bound::Unbounded)),
        )
    }

    /// The routes of a table behind `prefix` in the order of [`Rib::routes`]: the next page of a listing.
    pub fn routes_after(&self, table: TableId, prefix: IpNet) -> impl Iterator<Item = RouteView> {
        match prefix {
            IpNet::V4(net) => self.view(
                table,
                Some((Bound::Excluded(Prefix4::of(net)), Bound::Unbounded)),
                Some((Bound::Unbounded, Bound::Unbounded)),
            ),
            IpNet::V6(net) => {
                self.view(table, None, Some((Bound::Excluded(Prefix6::of(net)), Bound::Unbounded)))
            }
        }
    }

    /// The routes of a table with exactly this prefix, the preferred one first.
    pub fn routes_of(&self, table: TableId, prefix: IpNet) -> impl Iterator<Item = RouteView> {
        match prefix {
            IpNet::V4(net) => {
                let key = Prefix4::of(net);
                self.view(table, Some((Bound::Included(key), Bound::Included(key))), None)
            }
            IpNet::V6(net) => {
                let key = Prefix6::of(net);
                self.view(table, None, Some((Bound::Included(key), Bound::Included(key))))
            }
        }
    }

    /// How many IPv4 and IPv6 routes each table beside the main one holds.
    pub fn policy_routes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.tables.iter().map(PolicyTable::len)
    }

    fn view(
        &self,
        table: TableId,
        v4: Option<(Bound<Prefix4>, Bound<Prefix4>)>,
        v6: Option<(Bound<Prefix6>, Bound<Prefix6>)>,
    ) -> impl Iterator<Item = RouteView> {
        type Lines<'a> = Box<dyn Iterator<Item = (IpNet, Candidate, bool)> + 'a>;
        fn lines<'a, K: Network + 'a, F: table::Fib<K>>(
            table: &'a Table<K, F>,
            range: Option<(Bound<K>, Bound<K>)>,
            hops: &'a HopPool,
        ) -> Lines<'a> {
            let all = range.into_iter().flat_map(move |range| table.list(range, hops));
            Box::new(all.map(|(key, candidate, active)| (key.ip_net(), candidate, active)))
        }
        let all: Lines<'_> = match table.index().map(|index| self.tables.get(index)) {
            None => Box::new(lines(&self.v4, v4, &self.hops).chain(lines(&self.v6, v6, &self.hops))),
            Some(Some(one)) => Box::new(lines(&one.v4, v4, &self.hops).chain(lines(&one.v6, v6, &self.hops))),
            Some(None) => Box::new(core::iter::empty()),
        };
        all.filter_map(move |(prefix, candidate, active)| {
            let (target, metrics) = self.hops.target(candidate.hop())?;
            let (source, metric) = (candidate.source(), candidate.metric);
            Some(RouteView { route: Route { prefix, target, source, metric, table, metrics }, active })
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
            missing: self.v4.missing
                + self.v6.missing
                + self.tables.iter().map(PolicyTable::missing).sum::<usize>(),
        }
    }

    /// As [`RouteReader::generation`] will be for readers that begin a burst now.
    pub fn generation(&self) -> u64 {
        self.shared.epochs.current()
    }

    fn insert(&mut self, route: &Route, replace: bool) -> Result<(), RouteError> {
        route.check()?;
        self.retrying(route.prefix, |rib| {
            let hop = rib.hops.acquire(&rib.shared.hops, &route.target, route.metrics)?;
            let candidate = Candidate::new(hop, route.source, route.metric);
            let (shared, hops, dead) = (&rib.shared, &rib.hops, &mut rib.dead);
            let done = match (route.table.index().map(|index| rib.tables.get_mut(index)), route.prefix) {
                (None, IpNet::V4(net)) => {
                    rib.v4.insert(Prefix4::of(net), candidate, replace, shared, hops, dead)
                }
                (None, IpNet::V6(net)) => {
                    rib.v6.insert(Prefix6::of(net), candidate, replace, shared, hops, dead)
                }
                (Some(Some(one)), IpNet::V4(net)) => {
                    one.v4.insert(Prefix4::of(net), candidate, replace, shared, hops, dead)
                }
                (Some(Some(one)), IpNet::V6(net)) => {
                    one.v6.insert(Prefix6::of(net), candidate, replace, shared, hops, dead)
                }
                (Some(None), _) => Err(RouteError::NoTable),
            };
            match &done {
                Ok(Some(old)) => rib.hops.release(old.hop_id(), &mut rib.dead),
                Ok(None) => {}
                Err(_) => rib.hops.abandon(hop),
            }
            done.map(|_| ())
        })
    }

    fn take_out(
        &mut self,
        table: TableId,
        prefix: IpNet,
        source: Source,
        metric: u32,
    ) -> Result<(), RouteError> {
        check_prefix(prefix)?;
        let which = Candidate::new(NextHopId::NONE, source, metric);
        self.retrying(prefix, |rib| {
            let (shared, hops, dead) = (&rib.shared, &rib.hops, &mut rib.dead);
            let old = match (table.index().map(|index| rib.tables.get_mut(index)), prefix) {
                (None, IpNet::V4(net)) => rib.v4.remove(Prefix4::of(net), which, shared, hops, dead)?,
                (None, IpNet::V6(net)) => rib.v6.remove(Prefix6::of(net), which, shared, hops, dead)?,
                (Some(Some(one)), IpNet::V4(net)) => {
                    one.v4.remove(Prefix4::of(net), which, shared, hops, dead)?
                }
                (Some(Some(one)), IpNet::V6(net)) => {
                    one.v6.remove(Prefix6::of(net), which, shared, hops, dead)?
                }
                (Some(None), _) => return Err(RouteError::NoTable),
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
        let tables = &mut self.tables;
        self.dead.reclaim(&self.shared.epochs, |dead| match dead {
            Dead::Group4(group) => v4.reuse(group),
            Dead::Nodes6(number, at, count) => {
                if let Some(trie) = trie_of(v6, tables, number) {
                    trie.reuse_nodes(at, count);
                }
            }
            Dead::Leaves6(number, at, count) => {
                if let Some(trie) = trie_of(v6, tables, number) {
                    trie.reuse_leaves(at, count);
                }
            }
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
        for index in 0..self.tables.len() {
            let (mut next4, mut next6) = (Some(Bound::Unbounded), Some(Bound::Unbounded));
            while next4.is_some() || next6.is_some() {
                let (shared, hops, dead) = (&self.shared, &self.hops, &mut self.dead);
                let Some(one) = self.tables.get_mut(index) else { break };
                next4 = next4.and_then(|from| one.v4.reconsider(from, &which, shared, hops, dead, change));
                next6 = next6.and_then(|from| one.v6.reconsider(from, &which, shared, hops, dead, change));
                self.dead.commit(&self.shared.epochs);
                self.reclaim();
            }
        }
    }
}

/// The trie with a number: see [`Fib6Writer::numbered`].
fn trie_of<'a>(
    main: &'a mut Fib6Writer,
    tables: &'a mut [PolicyTable],
    number: u8,
) -> Option<&'a mut Fib6Writer> {
    match usize::from(number).checked_sub(1) {
        None => Some(main),
        Some(place) => tables.get_mut(place / 2).map(|table| table.trie(place % 2)),
    }
}
