//! The routes of one family in one table: every candidate for each prefix, and which of them the forwarding table
//! has.

use super::PortChange;
use crate::route::entry::{RouteError, Source};
use crate::route::fib4::{Fib4Writer, Full};
use crate::route::fib6::Fib6Writer;
use crate::route::next_hop::{HopPool, NextHopId};
use crate::route::prefix_map::{Prefix, Prefix4, Prefix6, cover};
use crate::route::publish::{Graveyard, Shared};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::ops::Bound;

/// One route to a prefix, without the prefix: next hop (24 bits), source (4), flags of the prefix in the first
/// one's word, metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) metric: u32,
    pub(super) word: u32,
}

/// The prefix is in the forwarding table (with its best living candidate).
const INSTALLED: u32 = 1 << 30;
/// The forwarding table had no room to say what it should about the prefix.
pub(super) const MISSING: u32 = 1 << 29;
/// The prefix has more candidates, in [`Table::more`].
const MORE: u32 = 1 << 31;

impl Candidate {
    pub(super) fn new(hop: NextHopId, source: Source, metric: u32) -> Self {
        Candidate { metric, word: (source as u32) << 24 | hop.index() }
    }

    pub(super) fn hop(&self) -> u32 {
        self.word & 0xff_ffff
    }

    pub(super) fn hop_id(self) -> NextHopId {
        NextHopId::from_index(self.hop())
    }

    pub(super) fn source(&self) -> Source {
        Source::from_number((self.word >> 24 & 0xf) as u8)
    }

    fn preference(&self) -> (u8, u32) {
        (self.source().distance(), self.metric)
    }
}

/// The forwarding table of one family, as its routes need it.
pub(super) trait Fib<K> {
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
pub(super) trait Network: Prefix {
    fn ip_net(self) -> IpNet;
}

impl Prefix4 {
    pub(super) fn of(net: Ipv4Net) -> Self {
        Prefix4::new(net.network().to_bits(), net.prefix_len())
    }
}

impl Network for Prefix4 {
    fn ip_net(self) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(core::net::Ipv4Addr::from_bits(self.net()), self.len()))
    }
}

impl Prefix6 {
    pub(super) fn of(net: Ipv6Net) -> Self {
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
pub(super) struct Table<K, F> {
    /// The preferred route of each prefix, alive or not, with the prefix's flags.
    best: BTreeMap<K, Candidate>,
    /// The others, in order of preference.
    more: BTreeMap<K, Vec<Candidate>>,
    pub(super) fib: F,
    pub(super) count: usize,
    pub(super) missing: usize,
    limit: usize,
}

impl<K: Network, F: Fib<K>> Table<K, F> {
    pub(super) fn new(fib: F, limit: usize) -> Self {
        Table { best: BTreeMap::new(), more: BTreeMap::new(), fib, count: 0, missing: 0, limit }
    }

    pub(super) fn insert(
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

    pub(super) fn remove(
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
    pub(super) fn reconsider(
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
    pub(super) fn list(
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
