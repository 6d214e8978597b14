//! The IPv6 forwarding table: a trie of 64-way nodes with compressed arrays, below a direct table of 2^20.
//!
//! ```text
//!   destination   bits 0..20       20..26     26..32     32..38    …   (18 levels reach bit 128)
//!   top[bits] ──▶ leaf, node ──▶ node ────▶ node ────▶ node
//!
//!   node (32 bytes, never across a cache line)
//!     word 0   which of the 64 slots have a child
//!     word 1   which of the 64 slots have a leaf: a prefix that ends in this node covers them
//!     word 2   where the children begin (high half), where the leaves begin (low half; 0: see word 3)
//!     word 3   the leaf of all slots that have one, when it is one and the same: no array then
//!   The child of slot s is at children + the number of set bits below s in word 0; so for leaves.
//!
//!   leaf (4 bytes)   31..24 prefix length, 23..0 next hop
//! ```
//!
//! A leaf stands only in the node in which its prefix ends, spread over the slots that it covers there. A lookup
//! remembers the last leaf on its way down; nothing is pushed into children, so a change touches one node
//! whatever lies below. Prefixes of up to /8 are kept apart, as in `fib4`.
//!
//! **How a reader never sees half a change.** Words 0 and 1 of a node that readers can reach never change. When
//! bits change, the array of siblings that holds the node is written anew elsewhere, and one store of word 2 of
//! the parent (or of the top entry) swaps it in. When a bit appears in the parent's word 0 too, the same is done
//! one level up. When no bits change (another next hop for a known prefix), leaves are stored in place: word 3
//! as long as it is in force, then, once word 2 has named an array, that array, and word 3 never again. The old
//! arrays wait for their grace period.

use crate::route::buddy::{Buddy, order_of};
use crate::route::fib4::Full;
use crate::route::next_hop::NextHopId;
use crate::route::publish::{Dead, Graveyard};
use crate::route::words::{Words, WordsError};
use arrayvec::ArrayVec;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Address bits that the top table resolves.
const TOP_BITS: u8 = 20;
/// Address bits that a node resolves.
const STRIDE: u8 = 6;
/// Levels of nodes below the top table.
const LEVELS: usize = (128 - TOP_BITS as usize) / STRIDE as usize;
/// Prefixes up to this length live in the table of short prefixes.
const SHORT: u8 = 8;
const NUMBER: u32 = (1 << 24) - 1;
/// Words of a node in memory.
pub const NODE_WORDS: usize = 4;
/// Addresses that are looked up together.
const CHUNK: usize = 64;
/// Blocks of 64 nodes and of 64 leaves that additions leave untouched, so that a removal, which writes arrays
/// anew before it gives the old ones back, finds room in a full table.
const RESERVE: u32 = 8;

const _: () = assert!(TOP_BITS as usize + LEVELS * STRIDE as usize == 128);

/// What readers read.
#[derive(Debug)]
pub struct Fib6 {
    short: [AtomicU32; 1 << SHORT],
    /// Node number in the high half (0: none), leaf in the low half.
    top: Words<AtomicU64>,
    nodes: Words<AtomicU64>,
    leaves: Words<AtomicU32>,
}

impl Fib6 {
    /// An empty table with room for `nodes` nodes and `leaves` leaves (both rounded down to multiples of 64).
    /// `memory` is for the nodes (4 words each) and the leaves, from outside, if given.
    pub fn new(
        nodes: u32,
        leaves: u32,
        memory: (Option<Words<AtomicU64>>, Option<Words<AtomicU32>>),
    ) -> Result<Self, WordsError> {
        let words = (nodes as usize & !63) * NODE_WORDS;
        let nodes = match memory.0 {
            Some(memory) if memory.len() < words => {
                return Err(WordsError::Unfit { have: memory.len() * 8, need: words * 8 });
            }
            Some(memory) => memory,
            None => Words::zeroed(words)?,
        };
        let words = leaves as usize & !63;
        let leaves = match memory.1 {
            Some(memory) if memory.len() < words => {
                return Err(WordsError::Unfit { have: memory.len() * 4, need: words * 4 });
            }
            Some(memory) => memory,
            None => Words::zeroed(words)?,
        };
        Ok(Fib6 {
            short: core::array::from_fn(|_| AtomicU32::new(0)),
            top: Words::zeroed(1 << TOP_BITS)?,
            nodes,
            leaves,
        })
    }

    /// The next hop of the longest prefix that covers `destination`.
    #[inline]
    pub fn lookup(&self, destination: Ipv6Addr) -> NextHopId {
        let address = destination.to_bits();
        let (nodes, _) = self.nodes.get().as_chunks::<NODE_WORDS>();
        let entry = self.top.get()[top_index(address)].load(Ordering::Acquire);
        let (mut node, mut leaf) = ((entry >> 32) as u32, LeafPlace::default());
        for level in 0..LEVELS {
            if node == 0 {
                break;
            }
            node = step(&nodes[node as usize], slot_of(address, level), &mut leaf);
        }
        self.finish(address, entry as u32, leaf)
    }

    /// [`Fib6::lookup`] for many, level by level: the loads of one level are under way together, and an address
    /// leaves the race where its path ends.
    pub fn lookup_burst(&self, destinations: &[Ipv6Addr], out: &mut [NextHopId]) {
        let top = self.top.get();
        let (nodes, _) = self.nodes.get().as_chunks::<NODE_WORDS>();
        for (destinations, out) in destinations.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
            let (mut address, mut top_leaf) = ([0u128; CHUNK], [0u32; CHUNK]);
            let (mut race, mut count) = (Race::default(), 0);
            for (at, destination) in destinations.iter().enumerate() {
                address[at] = destination.to_bits();
                let entry = top[top_index(address[at])].load(Ordering::Acquire);
                top_leaf[at] = entry as u32;
                race.node[at] = (entry >> 32) as u32;
                race.runners[count] = at as u8;
                count += usize::from(race.node[at] != 0);
            }
            for level in 0..LEVELS {
                if count == 0 {
                    break;
                }
                count = if level < LEVELS_IN_HIGH_HALF {
                    // Nearly all of the race: shifts of one word instead of two.
                    let shift = 64 - TOP_BITS as usize - STRIDE as usize * (level + 1);
                    race.run(count, nodes, |at| ((address[at] >> 64) as u64 >> shift) as u32 & 63)
                } else {
                    race.run(count, nodes, |at| slot_of(address[at], level))
                };
            }
            for (at, out) in out.iter_mut().take(destinations.len()).enumerate() {
                *out = self.finish(address[at], top_leaf[at], race.leaf[at]);
            }
        }
    }

    /// From the leaf below the top table, if there was one, or the top table's, to the next hop.
    #[inline]
    fn finish(&self, address: u128, top_leaf: u32, place: LeafPlace) -> NextHopId {
        let mut leaf = top_leaf;
        if place.base != 0 {
            let at = place.base + place.below.count_ones();
            leaf = self.leaves.get()[at as usize].load(Ordering::Acquire);
        } else if place.only != 0 {
            leaf = place.only;
        }
        if leaf & NUMBER == 0 {
            leaf = self.short[(address >> 120) as usize].load(Ordering::Acquire);
        }
        NextHopId::from_index(leaf & NUMBER)
    }
}

/// Levels whose six bits all lie in the upper half of an address.
const LEVELS_IN_HIGH_HALF: usize = (64 - TOP_BITS as usize) / STRIDE as usize;

/// The last leaf on the way down: `only` itself if `base` is 0, else at `base` plus the number of bits in `below`,
/// which are counted once, at the end.
#[derive(Debug, Clone, Copy, Default)]
struct LeafPlace {
    below: u64,
    base: u32,
    only: u32,
}

/// The state of a burst on its way down: for each address its node and its last leaf, and who still runs.
struct Race {
    node: [u32; CHUNK],
    leaf: [LeafPlace; CHUNK],
    runners: [u8; CHUNK],
}

impl Default for Race {
    fn default() -> Self {
        Race { node: [0; CHUNK], leaf: [LeafPlace::default(); CHUNK], runners: [0; CHUNK] }
    }
}

impl Race {
    /// One level for the first `count` runners; how many run on.
    #[inline(always)]
    fn run(&mut self, count: usize, nodes: &[[AtomicU64; NODE_WORDS]], slot: impl Fn(usize) -> u32) -> usize {
        let mut left = 0;
        for place in 0..count {
            let at = self.runners[place] as usize % CHUNK;
            let next = step(&nodes[self.node[at] as usize], slot(at), &mut self.leaf[at]);
            self.node[at] = next;
            self.runners[left] = at as u8;
            left += usize::from(next != 0);
        }
        left
    }
}

/// One node: the number of the child for `slot`, 0 for none; and `leaf` becomes this node's, if it has one for
/// `slot`. Words 0 and 1 never change while we can reach the node, hence Relaxed; words 2 and 3 are Acquire,
/// partner [`Fib6Writer::publish`].
#[inline(always)]
fn step(node: &[AtomicU64; NODE_WORDS], slot: u32, leaf: &mut LeafPlace) -> u32 {
    let children = node[0].load(Ordering::Relaxed);
    let leaves = node[1].load(Ordering::Relaxed);
    let bases = node[2].load(Ordering::Acquire);
    let only = node[3].load(Ordering::Acquire) as u32;
    let below = (1u64 << slot) - 1;
    let here = LeafPlace { below: leaves & below, base: bases as u32, only };
    *leaf = if leaves >> slot & 1 != 0 { here } else { *leaf };
    let child = (bases >> 32) as u32 + (children & below).count_ones();
    if children >> slot & 1 != 0 { child } else { 0 }
}

#[inline]
fn top_index(address: u128) -> usize {
    (address >> (128 - TOP_BITS)) as usize
}

/// The six bits of `address` that a node of `level` resolves.
#[inline]
fn slot_of(address: u128, level: usize) -> u32 {
    (address >> (128 - TOP_BITS as usize - STRIDE as usize * (level + 1))) as u32 & 63
}

/// A node's contents.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    children: u64,
    leaves: u64,
    child_base: u32,
    leaf_base: u32,
    /// The leaf of all slots that have one, in force while `leaf_base` is 0.
    only: u32,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children == 0 && self.leaves == 0
    }

    fn rank(bits: u64, slot: u32) -> u32 {
        (bits & ((1u64 << slot) - 1)).count_ones()
    }
}

/// One node on the way from the top entry to the node in which a prefix ends. `at` is 0 when it does not exist.
#[derive(Debug, Clone, Copy)]
struct Step {
    at: u32,
    node: Node,
    slot: u32,
}

/// The writer's side: which nodes and leaves are free.
#[derive(Debug)]
pub(crate) struct Fib6Writer {
    nodes: Buddy,
    leaves: Buddy,
    /// Blocks that the change in progress took, to be given back if it fails.
    taken: Vec<Dead>,
}

/// What becomes of a prefix: its leaf, or the one that takes its slots over (0: none in this table or node).
#[derive(Debug, Clone, Copy)]
enum Edit {
    Set(u32),
    Clear(u32),
}

impl Edit {
    /// The leaf at a slot that the prefix of `len` covers, after the edit.
    fn apply(self, old: u32, len: u8) -> u32 {
        match self {
            Edit::Set(new) if len_of(old) <= len => new,
            Edit::Clear(heir) if old != 0 && len_of(old) == len => heir,
            _ => old,
        }
    }
}

impl Fib6Writer {
    pub(crate) fn new(fib: &Fib6) -> Self {
        Fib6Writer {
            nodes: Buddy::new((fib.nodes.len() / NODE_WORDS) as u32),
            leaves: Buddy::new(fib.leaves.len() as u32),
            taken: Vec::new(),
        }
    }

    pub(crate) fn nodes(&self) -> (u32, u32) {
        (self.nodes.used(), self.nodes.units())
    }

    pub(crate) fn leaves(&self) -> (u32, u32) {
        (self.leaves.used(), self.leaves.units())
    }

    /// A block whose grace period has passed.
    pub(crate) fn reuse_nodes(&mut self, at: u32, order: u8) {
        self.nodes.free(at, order);
    }

    /// A block whose grace period has passed.
    pub(crate) fn reuse_leaves(&mut self, at: u32, order: u8) {
        self.leaves.free(at, order);
    }

    /// `net`/`len` leads to `id` from now on. Fails, having changed nothing, when nodes or leaves run out.
    pub(crate) fn set(
        &mut self,
        fib: &Fib6,
        (net, len): (u128, u8),
        id: NextHopId,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        self.edit(fib, net, len, Edit::Set(u32::from(len) << 24 | id.index()), dead)
    }

    /// `net`/`len` is gone; `cover`, the next shorter prefix and its next hop, takes over where it ends in the
    /// same node. (Where it ends further up, a reader remembers it from there.)
    pub(crate) fn clear(
        &mut self,
        fib: &Fib6,
        (net, len): (u128, u8),
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        let floor = match len {
            0..=SHORT => None, // any cover is in the same table
            9..=TOP_BITS => Some(SHORT),
            _ => Some(TOP_BITS + STRIDE * level_of(len) as u8),
        };
        let heir = match cover {
            Some((shorter, id)) if floor.is_none_or(|floor| shorter > floor) => {
                u32::from(shorter) << 24 | id.index()
            }
            _ => 0,
        };
        self.edit(fib, net, len, Edit::Clear(heir), dead)
    }

    fn edit(&mut self, fib: &Fib6, net: u128, len: u8, edit: Edit, dead: &mut Graveyard) -> Result<(), Full> {
        if len <= SHORT {
            let from = (net >> (128 - SHORT)) as usize;
            for entry in &fib.short[from..from + (1 << (SHORT - len))] {
                entry.store(edit.apply(entry.load(Ordering::Relaxed), len), Ordering::Release);
            }
            return Ok(());
        }
        if len <= TOP_BITS {
            for entry in &fib.top.get()[top_index(net)..][..1 << (TOP_BITS - len)] {
                let old = entry.load(Ordering::Relaxed);
                let leaf = edit.apply(old as u32, len);
                if leaf != old as u32 {
                    self.publish(entry, old >> 32 << 32 | u64::from(leaf));
                }
            }
            return Ok(());
        }
        self.taken.clear();
        let done = self.edit_deep(fib, net, len, edit, dead);
        if done.is_err() {
            // Nobody has seen what was taken.
            while let Some(block) = self.taken.pop() {
                match block {
                    Dead::Nodes6(at, order) => self.nodes.free(at, order),
                    Dead::Leaves6(at, order) => self.leaves.free(at, order),
                    _ => {}
                }
            }
        }
        done
    }

    /// A prefix longer than the top table resolves. Everything that can fail comes before the one store that
    /// publishes; what it replaces is listed in `stale` and laid down after.
    fn edit_deep(
        &mut self,
        fib: &Fib6,
        net: u128,
        len: u8,
        edit: Edit,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        let mut stale = ArrayVec::<Dead, { LEVELS + 2 }>::new();
        let entry = &fib.top.get()[top_index(net)];
        let mut path = descend(fib, entry, net, level_of(len));
        let Some(Step { at, node, slot }) = path.pop() else { return Ok(()) };

        // The leaves of the node in which the prefix ends, one for each slot.
        let leaves = fib.leaves.get();
        let mut values = [0u32; 64];
        for slot in Bits(node.leaves) {
            let place = node.leaf_base + Node::rank(node.leaves, slot);
            values[slot as usize] = match node.leaf_base {
                0 => node.only,
                _ => leaves[place as usize].load(Ordering::Relaxed),
            };
        }
        let old = values;
        let end = TOP_BITS + STRIDE * (level_of(len) as u8 + 1);
        for value in &mut values[slot as usize..][..1 << (end - len)] {
            *value = edit.apply(*value, len);
        }
        let bits = (0..64).fold(0u64, |bits, slot| bits | u64::from(values[slot] != 0) << slot);
        if values == old {
            return Ok(());
        }
        let adding = matches!(edit, Edit::Set(_));
        let only =
            values.iter().copied().filter(|&value| value != 0).reduce(|a, b| if a == b { a } else { 0 });
        if bits == node.leaves && node.leaf_base != 0 {
            for slot in Bits(bits) {
                let (old, new) = (old[slot as usize], values[slot as usize]);
                if old != new {
                    let place = node.leaf_base + Node::rank(bits, slot);
                    // Release: the next hop that it names is complete. Partner: Fib6::finish.
                    leaves[place as usize].store(new, Ordering::Release);
                }
            }
            return Ok(());
        }
        let words = &fib.nodes.get()[at as usize * NODE_WORDS..][..NODE_WORDS];
        if let Some(only @ 1..) = only
            && bits == node.leaves
        {
            self.publish(&words[3], u64::from(only));
            return Ok(());
        }
        let mut new = Node { leaves: bits, leaf_base: 0, only: only.unwrap_or(0), ..node };
        if only == Some(0) {
            new.leaf_base = self.take_leaves(bits.count_ones(), adding)?;
            for (rank, slot) in Bits(bits).enumerate() {
                // Relaxed: published by the store of a word 2 or of the top entry below.
                leaves[new.leaf_base as usize + rank].store(values[slot as usize], Ordering::Relaxed);
            }
            if bits == node.leaves {
                self.publish(&words[2], u64::from(node.child_base) << 32 | u64::from(new.leaf_base));
                return Ok(());
            }
        }
        if node.leaf_base != 0 {
            stale.push(Dead::Leaves6(node.leaf_base, order_of(node.leaves.count_ones())));
        }

        // Upwards: put the node into its array of siblings, until a parent's bits need not change.
        let mut existed = at != 0;
        while let Some(parent) = path.pop() {
            let count = parent.node.children.count_ones();
            let rank = Node::rank(parent.node.children, parent.slot);
            let (skip, insert) = (u32::from(existed), u32::from(!new.is_empty()));
            let after = count + insert - skip;
            let mut base = 0;
            if after != 0 {
                base = self.take_nodes(after, adding)?;
                for from in 0..rank {
                    copy(fib, parent.node.child_base + from, base + from);
                }
                if insert == 1 {
                    write(fib, base + rank, new);
                }
                for from in rank + skip..count {
                    copy(fib, parent.node.child_base + from, base + from + insert - skip);
                }
            }
            if count != 0 {
                stale.push(Dead::Nodes6(parent.node.child_base, order_of(count)));
            }
            if skip == insert {
                let word = u64::from(base) << 32 | u64::from(parent.node.leaf_base);
                self.publish(&fib.nodes.get()[parent.at as usize * NODE_WORDS + 2], word);
                stale.into_iter().for_each(|block| dead.push(block));
                return Ok(());
            }
            new = Node { children: parent.node.children ^ 1 << parent.slot, child_base: base, ..parent.node };
            existed = parent.at != 0;
        }

        let first = (entry.load(Ordering::Relaxed) >> 32) as u32;
        let mut number = 0;
        if !new.is_empty() {
            number = self.take_nodes(1, adding)?;
            write(fib, number, new);
        }
        if first != 0 {
            stale.push(Dead::Nodes6(first, 0));
        }
        self.publish(entry, u64::from(number) << 32 | entry.load(Ordering::Relaxed) & u64::from(u32::MAX));
        stale.into_iter().for_each(|block| dead.push(block));
        Ok(())
    }

    /// Release: the arrays and next hops that `word` leads to are complete. Partner: the Acquire loads of word 2
    /// in [`step`] and of the top entry in the lookups.
    fn publish(&self, place: &AtomicU64, word: u64) {
        place.store(word, Ordering::Release);
    }

    fn take_nodes(&mut self, count: u32, adding: bool) -> Result<u32, Full> {
        if adding && !self.nodes.spare(RESERVE) {
            return Err(Full);
        }
        let at = self.nodes.alloc(order_of(count)).ok_or(Full)?;
        self.taken.push(Dead::Nodes6(at, order_of(count)));
        Ok(at)
    }

    fn take_leaves(&mut self, count: u32, adding: bool) -> Result<u32, Full> {
        if adding && !self.leaves.spare(RESERVE) {
            return Err(Full);
        }
        let at = self.leaves.alloc(order_of(count)).ok_or(Full)?;
        self.taken.push(Dead::Leaves6(at, order_of(count)));
        Ok(at)
    }
}

/// The level of the node in which a prefix of `len` (above [`TOP_BITS`]) ends.
fn level_of(len: u8) -> usize {
    ((len - TOP_BITS - 1) / STRIDE) as usize
}

/// The steps from level 0 to `target`, with empty nodes where the trie has none yet.
fn descend(fib: &Fib6, entry: &AtomicU64, net: u128, target: usize) -> ArrayVec<Step, LEVELS> {
    let mut path = ArrayVec::new();
    let mut at = (entry.load(Ordering::Relaxed) >> 32) as u32;
    for level in 0..=target {
        let slot = slot_of(net, level);
        let node = if at == 0 { Node::default() } else { read(fib, at) };
        path.push(Step { at, node, slot });
        let has_child = node.children >> slot & 1 != 0;
        at = if has_child { node.child_base + Node::rank(node.children, slot) } else { 0 };
    }
    path
}

// Relaxed in these three: the writer reads its own stores, and writes what nobody can reach yet.

fn read(fib: &Fib6, at: u32) -> Node {
    let words = &fib.nodes.get()[at as usize * NODE_WORDS..][..NODE_WORDS];
    let [children, leaves, bases, only] = [0, 1, 2, 3].map(|word: usize| words[word].load(Ordering::Relaxed));
    let (child_base, leaf_base) = ((bases >> 32) as u32, bases as u32);
    Node { children, leaves, child_base, leaf_base, only: only as u32 }
}

fn write(fib: &Fib6, at: u32, node: Node) {
    let words = &fib.nodes.get()[at as usize * NODE_WORDS..][..NODE_WORDS];
    let bases = u64::from(node.child_base) << 32 | u64::from(node.leaf_base);
    for (word, value) in words.iter().zip([node.children, node.leaves, bases, u64::from(node.only)]) {
        word.store(value, Ordering::Relaxed);
    }
}

fn copy(fib: &Fib6, from: u32, to: u32) {
    write(fib, to, read(fib, from));
}

fn len_of(leaf: u32) -> u8 {
    (leaf >> 24) as u8
}

/// The numbers of the set bits, ascending.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
