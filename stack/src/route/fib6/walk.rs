//! What a reader does: down the trie, alone or with the rest of a burst.
//!
//! ```text
//!   top ─▶ level 0 ─▶ level 1 ─▶ …      all addresses of the burst take a level before any takes the next
//!   last[i]    the node in which the way of address i ends, and its slot there: has it a tail?
//!   leaf[i]    the last node on the way that had a leaf for it, and its slot there
//!   then       the tail, when its bits are the address's; else the leaf; else the top table's; else the short
//! ```
//!
//! Whatever comes from far memory is loaded by a loop that does nothing else. So small, the loop runs far ahead of
//! its misses, and as many are under way as the processor can have. With the work on each in the same loop they
//! were a handful, and finding routes for random destinations cost a fifth more.
//!
//! Which of tail and leaf it is, is computed rather than branched upon: no predictor could guess it. Nothing but
//! the place of a leaf is kept on the way down; it is worked out once, at the end, from a node that is in the
//! nearest cache by then. Within a burst a node that was reached stays what it was, so it may be read again.

use super::Fib6;
use super::node::{Entry, LEVELS, NODE_WORDS, NodeWords, STRIDE, TOP_BITS, UNIFORM, slot_of, top_index};
use crate::route::next_hop::NextHopId;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Addresses that are looked up together: a burst.
pub(super) const CHUNK: usize = 64;

/// Fewer than these go down one by one: the processor overlaps a few by itself, and a race has to be set up. It is
/// the common case with a route cache, which leaves one or two of a burst to be looked up.
pub(super) const FEW: usize = 8;

/// The first level of which a full table has more nodes than the nearest cache holds.
const FAR: usize = 1;

/// Levels whose six bits all lie in the upper half of an address.
const LEVELS_IN_HIGH_HALF: usize = (64 - TOP_BITS as usize) / STRIDE as usize;

impl Fib6 {
    #[inline]
    pub(super) fn walk(&self, address: u128) -> NextHopId {
        let tables = Tables::of(self);
        let top = tables.top[top_index(address)].load(Ordering::Acquire);
        let (mut node, mut last, mut leaf) = ((top >> 32) as u32, Place::NONE, Place::NONE);
        for level in 0..LEVELS {
            if node == 0 {
                break;
            }
            let slot = slot_of(address, level);
            node = tables.step(node, tables.children(node), slot, &mut last, &mut leaf);
        }
        self.choose(tables, (address >> 64) as u64, tables.entry(last, leaf), leaf, top as u32)
    }

    /// For up to [`CHUNK`] destinations.
    #[inline]
    pub(super) fn walk_together(&self, destinations: &[Ipv6Addr], out: &mut [NextHopId]) {
        let tables = Tables::of(self);
        let (mut high, mut top_leaf) = ([0u64; CHUNK], [0u32; CHUNK]);
        let (mut race, mut count) = (Race::default(), 0);
        for (at, destination) in destinations.iter().enumerate().take(CHUNK) {
            let address = destination.to_bits();
            high[at] = (address >> 64) as u64;
            let entry = tables.top[top_index(address)].load(Ordering::Acquire);
            top_leaf[at] = entry as u32;
            race.node[count] = (entry >> 32) as u32;
            race.runner[count] = at as u8;
            count += usize::from(entry >> 32 != 0);
        }
        for level in 0..LEVELS {
            if count == 0 {
                break;
            }
            count = if level < LEVELS_IN_HIGH_HALF {
                // Nearly all of the race: shifts of one word instead of two.
                let shift = 64 - TOP_BITS as usize - STRIDE as usize * (level + 1);
                race.run(count, tables, level >= FAR, |at| (high[at] >> shift) as u32 & 63)
            } else {
                race.run(count, tables, true, |at| slot_of(destinations[at].to_bits(), level))
            };
        }
        let (mut place, mut entries) = ([0u32; CHUNK], [Entry::NONE; CHUNK]);
        for (at, place) in place.iter_mut().enumerate().take(destinations.len()) {
            *place = tables.place(race.last[at], race.leaf[at]);
        }
        for (entry, place) in entries.iter_mut().zip(place).take(destinations.len()) {
            *entry = tables.load(place);
        }
        for (at, out) in out.iter_mut().enumerate().take(destinations.len().min(CHUNK)) {
            *out = self.choose(tables, high[at], entries[at], race.leaf[at], top_leaf[at]);
        }
    }

    /// From the entry at the end of the way to the next hop for an address with the upper half `high`: another
    /// prefix's tail is not for us.
    #[inline(always)]
    fn choose(&self, tables: Tables, high: u64, mut entry: Entry, leaf: Place, top_leaf: u32) -> NextHopId {
        if !entry.covers(high) {
            entry = tables.entry(Place::NONE, leaf);
        }
        if !entry.next_hop().is_none() {
            return entry.next_hop();
        }
        let mut short = top_leaf;
        if short == 0 {
            short = self.short[(high >> 56) as usize].load(Ordering::Acquire);
        }
        Entry(u64::from(short)).next_hop()
    }
}

/// A slot of a node: the node's number above six bits of slot. Node 0 is no place.
#[derive(Debug, Clone, Copy)]
struct Place(u64);

impl Place {
    const NONE: Place = Place(0);
}

/// The tables as slices, found once for a burst.
#[derive(Clone, Copy)]
struct Tables<'fib> {
    top: &'fib [AtomicU64],
    nodes: &'fib [NodeWords],
    entries: &'fib [AtomicU64],
}

impl<'fib> Tables<'fib> {
    #[inline(always)]
    fn of(fib: &'fib Fib6) -> Self {
        let (nodes, _) = fib.nodes.get().as_chunks::<NODE_WORDS>();
        Tables { top: fib.top.get(), nodes, entries: fib.leaves.get() }
    }

    /// Which slots of a node have children; the rest of the node comes into the cache with that.
    #[inline(always)]
    fn children(self, node: u32) -> u64 {
        self.nodes[node as usize][0].load(Ordering::Relaxed)
    }

    /// One node with these children: the number of the child for `slot`, 0 for none; `last` becomes this place,
    /// and `leaf` too, if the node has one for `slot`. Words 0, 1 and 3 never change while we can reach the node, hence Relaxed;
    /// word 2 is Acquire, partner: `writer::publish`.
    #[inline(always)]
    fn step(self, node: u32, children: u64, slot: u32, last: &mut Place, leaf: &mut Place) -> u32 {
        let words = &self.nodes[node as usize];
        let leaves = words[1].load(Ordering::Relaxed);
        let bases = words[2].load(Ordering::Acquire);
        let here = Place(u64::from(node) << 6 | u64::from(slot));
        *last = here;
        *leaf = if leaves >> slot & 1 != 0 { here } else { *leaf };
        let below = (1u64 << slot) - 1;
        let child = (bases >> 32) as u32 + (children & below).count_ones();
        if children >> slot & 1 != 0 { child } else { 0 }
    }

    /// Where the tail at `last` stands, if there is one, or else the leaf at `leaf`, or else 0.
    #[inline(always)]
    fn place(self, last: Place, leaf: Place) -> u32 {
        let tails = self.nodes[(last.0 >> 6) as usize][3].load(Ordering::Relaxed);
        let is_tail = tails >> (last.0 & 63) & 1 != 0;
        let place = if is_tail { last } else { leaf };
        let words = &self.nodes[(place.0 >> 6) as usize];
        let bases = words[2].load(Ordering::Acquire) as u32;
        let below = (1u64 << (place.0 & 63)) - 1;
        let tails = words[3].load(Ordering::Relaxed) & if is_tail { below } else { u64::MAX };
        let counted = if is_tail || bases & UNIFORM != 0 { 0 } else { below };
        let leaves = words[1].load(Ordering::Relaxed) & counted;
        (bases & !UNIFORM) + tails.count_ones() + leaves.count_ones()
    }

    /// Acquire: the next hop that the entry names is complete.
    #[inline(always)]
    fn load(self, place: u32) -> Entry {
        Entry(self.entries[place as usize].load(Ordering::Acquire))
    }

    /// The tail at `last` or the leaf at `leaf`.
    #[inline(always)]
    fn entry(self, last: Place, leaf: Place) -> Entry {
        self.load(self.place(last, leaf))
    }
}

/// The state of a burst on its way down: who still runs, each with the node that it has come to, and for all
/// addresses their places.
struct Race {
    runner: [u8; CHUNK],
    node: [u32; CHUNK],
    last: [Place; CHUNK],
    leaf: [Place; CHUNK],
}

impl Default for Race {
    fn default() -> Self {
        let (last, leaf) = ([Place::NONE; CHUNK], [Place::NONE; CHUNK]);
        Race { runner: [0; CHUNK], node: [0; CHUNK], last, leaf }
    }
}

impl Race {
    /// One level for the first `count` runners; how many run on. The nodes of a level that is `far` are fetched
    /// first.
    #[inline(always)]
    fn run(&mut self, count: usize, tables: Tables, far: bool, slot: impl Fn(usize) -> u32) -> usize {
        let mut children = [0u64; CHUNK];
        if far {
            for (children, node) in children.iter_mut().zip(self.node).take(count) {
                *children = tables.children(node);
            }
        }
        let mut left = 0;
        for place in 0..count.min(CHUNK) {
            let (at, node) = (self.runner[place] as usize % CHUNK, self.node[place]);
            let children = if far { children[place] } else { tables.children(node) };
            let next = tables.step(node, children, slot(at), &mut self.last[at], &mut self.leaf[at]);
            (self.runner[left], self.node[left]) = (at as u8, next);
            left += usize::from(next != 0);
        }
        left
    }
}
