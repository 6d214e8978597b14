//! Publication and grace: how one writer changes what many readers read, with plain loads and stores.
//!
//! This is quiescent-state reclamation. The writer counts *epochs*: one passes after each change (or batch).
//! Each reader repeats the epoch it sees, at the start of each burst, on a cache line of its own.
//!
//! ```text
//!   writer   unlink A ── epoch = 8 ─────────────────────── sees 8 ≤ all ── A is free again
//!   reader   ── burst, may be inside A ──┤ begin_burst: sees 8, says 8 ├── cannot reach A ──▶
//! ```
//!
//! What was unlinked before epoch 8 began cannot be reached by a reader that has said 8, for it says so between
//! bursts and keeps nothing from one burst to the next but what its cache checks by generation.
//! A reader that sleeps says so ("offline") and holds up nobody.

use crate::limits::MAX_ROUTE_READERS;
use crate::route::entry::RouteError;
use crate::route::fib4::Fib4;
use crate::route::fib6::Fib6;
use crate::route::metrics::RouteMetrics;
use crate::route::next_hop::{Multipath, NextHop, NextHopId, NextHops};
use crate::route::rib::widened;
use crate::route::table_id::TableId;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the writer and the readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fib4: Fib4,
    pub(crate) fib6: Fib6,
    /// Of the tables that policy rules lead to: IPv4 and IPv6 in turn.
    pub(crate) tries: Box<[Fib6]>,
    pub(crate) hops: NextHops,
    pub(crate) epochs: Epochs,
}

/// The view of one worker: lookups, next hops and the generation. Between two calls of
/// [`RouteReader::begin_burst`] every id that a lookup gave keeps its meaning.
#[derive(Debug)]
pub struct RouteReader {
    shared: Arc<Shared>,
    place: usize,
    seen: u64,
}

impl RouteReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, RouteError> {
        let place = shared.epochs.claim().ok_or(RouteError::TooManyReaders)?;
        let mut reader = RouteReader { shared, place, seen: 0 };
        reader.online();
        Ok(reader)
    }

    /// The quiescent point: ids and next hops from before are forgotten by now. Two loads; a store to our own
    /// cache line when something changed. Without it the writer runs out of memory to change things with.
    #[inline]
    pub fn begin_burst(&mut self) {
        let epochs = &self.shared.epochs;
        // Acquire: what was unlinked before this epoch is seen as unlinked. Partner: Epochs::advance.
        let now = epochs.current.load(Ordering::Acquire);
        if now != self.seen {
            self.seen = now;
            // Release: our reads of the last burst happen before the writer sees this. Partner: Epochs::oldest.
            epochs.readers[self.place].seen.store(now, Ordering::Release);
        }
    }

    /// The worker is about to sleep: it holds no ids and the writer need not wait for it. [`RouteReader::online`]
    /// must be called before the next lookup.
    pub fn offline(&mut self) {
        // Release: as in begin_burst.
        self.shared.epochs.readers[self.place].seen.store(OFFLINE, Ordering::Release);
    }

    /// The worker is awake again.
    pub fn online(&mut self) {
        let epochs = &self.shared.epochs;
        let seen = &epochs.readers[self.place].seen;
        seen.store(epochs.current.load(Ordering::Acquire), Ordering::Relaxed);
        // Either the writer sees that store, or our loads after this fence see all that it unlinked before its
        // own fence. Partner: Epochs::oldest.
        fence(Ordering::SeqCst);
        self.seen = epochs.current.load(Ordering::Acquire);
        seen.store(self.seen, Ordering::Release);
    }

    /// Changes with every change of a route, of a port's state or of a multipath group, never repeats; as
    /// of the last [`RouteReader::begin_burst`]. At least 1.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.seen
    }

    /// The next hop of the longest prefix that covers `destination`; [`NextHopId::NONE`] when none does.
    #[inline]
    pub fn lookup4(&self, destination: Ipv4Addr) -> NextHopId {
        self.shared.fib4.lookup(destination)
    }

    /// [`RouteReader::lookup4`] for a burst (`out[i]` for `destinations[i]`, as far as both reach), organised so
    /// that the cache misses of different packets overlap.
    #[inline]
    pub fn lookup4_burst(&self, destinations: &[Ipv4Addr], out: &mut [NextHopId]) {
        self.shared.fib4.lookup_burst(destinations, out);
    }

    /// The next hop of the longest prefix that covers `destination`; [`NextHopId::NONE`] when none does.
    #[inline]
    pub fn lookup6(&self, destination: Ipv6Addr) -> NextHopId {
        self.shared.fib6.lookup(destination)
    }

    /// [`RouteReader::lookup6`] for a burst, level by level of the trie.
    #[inline]
    pub fn lookup6_burst(&self, destinations: &[Ipv6Addr], out: &mut [NextHopId]) {
        self.shared.fib6.lookup_burst(destinations, out);
    }

    /// [`RouteReader::lookup4`] in one of the tables.
    pub fn lookup4_in(&self, table: TableId, destination: Ipv4Addr) -> NextHopId {
        match table.index() {
            None => self.lookup4(destination),
            Some(index) => {
                let key = Ipv6Addr::from_bits(widened(destination.to_bits()));
                self.shared.tries.get(index * 2).map_or(NextHopId::NONE, |trie| trie.lookup(key))
            }
        }
    }

    /// [`RouteReader::lookup6`] in one of the tables.
    pub fn lookup6_in(&self, table: TableId, destination: Ipv6Addr) -> NextHopId {
        match table.index() {
            None => self.lookup6(destination),
            Some(index) => {
                self.shared.tries.get(index * 2 + 1).map_or(NextHopId::NONE, |trie| trie.lookup(destination))
            }
        }
    }

    /// What the route behind `id`, from a lookup of this burst, says about its way.
    #[inline]
    pub fn metrics(&self, id: NextHopId) -> RouteMetrics {
        self.shared.hops.metrics(id)
    }

    /// What `id`, from a lookup of this burst, stands for; `None` for [`NextHopId::NONE`].
    #[inline]
    pub fn next_hop(&self, id: NextHopId) -> Option<NextHop> {
        self.shared.hops.get(id)
    }

    /// The member of `multipath` that a flow with this hash takes. `None` only when the group vanished, which
    /// cannot happen within a burst.
    #[inline]
    pub fn select(&self, multipath: Multipath, flow_hash: u32) -> Option<NextHop> {
        self.shared.hops.select(multipath, flow_hash).and_then(|id| self.next_hop(id))
    }

    /// [`RouteReader::next_hop`], and [`RouteReader::select`] when it is a multipath group.
    #[inline]
    pub fn resolve(&self, id: NextHopId, flow_hash: u32) -> Option<NextHop> {
        match self.next_hop(id) {
            Some(NextHop::Multipath(multipath)) => self.select(multipath, flow_hash),
            other => other,
        }
    }
}

impl Drop for RouteReader {
    fn drop(&mut self) {
        self.offline();
        // Release: the place goes to another reader after our last store. Partner: Epochs::claim.
        self.shared.epochs.readers[self.place].claimed.store(false, Ordering::Release);
    }
}

/// Said by a reader that reads nothing.
const OFFLINE: u64 = u64::MAX;

#[derive(Debug)]
struct Place {
    seen: CachePadded<AtomicU64>,
    claimed: AtomicBool,
}

/// The writer's epoch and the readers' answers.
#[derive(Debug)]
pub(crate) struct Epochs {
    current: CachePadded<AtomicU64>,
    readers: Box<[Place]>,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        let place =
            || Place { seen: CachePadded::new(AtomicU64::new(OFFLINE)), claimed: AtomicBool::new(false) };
        Epochs {
            current: CachePadded::new(AtomicU64::new(1)),
            readers: (0..MAX_ROUTE_READERS).map(|_| place()).collect(),
        }
    }

    fn claim(&self) -> Option<usize> {
        // Acquire: partner of the Release in RouteReader::drop.
        self.readers.iter().position(|place| !place.claimed.swap(true, Ordering::Acquire))
    }

    pub(crate) fn current(&self) -> u64 {
        // Relaxed: only the writer, who asks, ever stores it.
        self.current.load(Ordering::Relaxed)
    }

    /// The writer's: all changes so far belong to the past. Release: partner is begin_burst's Acquire.
    fn advance(&self) {
        self.current.store(self.current() + 1, Ordering::Release);
    }

    /// The epoch that every reader has reached.
    fn oldest(&self) -> u64 {
        fence(Ordering::SeqCst); // partner: RouteReader::online
        // Acquire: partner of the Release stores of begin_burst and offline.
        let oldest = self.readers.iter().map(|place| place.seen.load(Ordering::Acquire)).min();
        oldest.unwrap_or(OFFLINE).min(self.current())
    }
}

/// A thing that was unlinked and that readers may still be inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dead {
    /// A group of 256 in the IPv4 table.
    Group4(u32),
    /// A run of trie nodes: of which trie, where, and how many.
    Nodes6(u8, u32, u8),
    /// A run of leaves and tails, likewise.
    Leaves6(u8, u32, u8),
    /// A next hop's place.
    Hop(u32),
    /// A multipath group's buckets.
    Buckets(u32),
}

/// What waits for its grace period, oldest first. Bounded by the pools that its members came from.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    queue: VecDeque<(u64, Dead)>,
    next: u64,
}

impl Graveyard {
    /// Lay `dead` down: it is free once all readers have reached the epoch that the next commit begins.
    pub(crate) fn push(&mut self, dead: Dead) {
        self.queue.push_back((self.next, dead));
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// End of a change: the next epoch begins.
    pub(crate) fn commit(&mut self, epochs: &Epochs) {
        epochs.advance();
        self.next = epochs.current() + 1;
    }

    /// Hands all whose grace has passed to `free`.
    pub(crate) fn reclaim(&mut self, epochs: &Epochs, mut free: impl FnMut(Dead)) {
        let oldest = epochs.oldest();
        while let Some(&(epoch, dead)) = self.queue.front() {
            if epoch > oldest {
                break;
            }
            self.queue.pop_front();
            free(dead);
        }
    }

    /// For the shared state `epochs`, from its beginning.
    pub(crate) fn new(epochs: &Epochs) -> Self {
        Graveyard { queue: VecDeque::new(), next: epochs.current() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::model::small_rib;

    fn freed(yard: &mut Graveyard, epochs: &Epochs) -> Vec<Dead> {
        let mut all = Vec::new();
        yard.reclaim(epochs, |dead| all.push(dead));
        all
    }

    #[test]
    fn the_unlinked_waits_until_every_reader_began_a_burst_after_the_commit() {
        let rib = small_rib();
        let (mut one, mut two) = (rib.reader().unwrap(), rib.reader().unwrap());
        let epochs = &one.shared.clone().epochs;
        let mut yard = Graveyard::new(epochs);
        yard.push(Dead::Hop(7));
        assert_eq!(freed(&mut yard, epochs), []); // not even committed
        yard.commit(epochs);
        assert_eq!(freed(&mut yard, epochs), []);
        one.begin_burst();
        assert_eq!(freed(&mut yard, epochs), []);
        two.begin_burst();
        assert_eq!(freed(&mut yard, epochs), [Dead::Hop(7)]);
        assert_eq!(yard.len(), 0);
    }

    #[test]
    fn a_sleeping_reader_holds_up_nobody_and_a_woken_one_does() {
        let rib = small_rib();
        let (mut one, mut two) = (rib.reader().unwrap(), rib.reader().unwrap());
        let epochs = &one.shared.clone().epochs;
        let mut yard = Graveyard::new(epochs);
        two.offline();
        yard.push(Dead::Hop(1));
        yard.commit(epochs);
        one.begin_burst();
        assert_eq!(freed(&mut yard, epochs), [Dead::Hop(1)]);
        two.online();
        yard.push(Dead::Hop(2));
        yard.commit(epochs);
        one.begin_burst();
        assert_eq!(freed(&mut yard, epochs), []);
        drop(two);
        assert_eq!(freed(&mut yard, epochs), [Dead::Hop(2)]);
    }

    #[test]
    fn readers_are_bounded_and_their_places_come_back() {
        let rib = small_rib();
        let mut all: Vec<_> = (0..MAX_ROUTE_READERS).map(|_| rib.reader().unwrap()).collect();
        assert_eq!(rib.reader().err(), Some(RouteError::TooManyReaders));
        all.pop();
        assert!(rib.reader().is_ok());
    }
}
