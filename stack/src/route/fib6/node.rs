//! What stands in memory: nodes, leaves and tails, and which bits of an address belong to which level.
//!
//! ```text
//!   node (32 bytes, never across a cache line)
//!     word 0   which of the 64 slots have a child
//!     word 1   which of the 64 slots have a leaf: a prefix that ends in this node covers them
//!     word 2   where the children begin (high half), where tails and leaves begin (low half); the top bit of
//!              the low half says that all leaves are the same, and stand there once
//!     word 3   which of the 64 slots have a tail; these have no child
//!   The child of slot s is at children + the number of set bits below s in word 0. The tail of slot s: so in
//!   word 3. The leaf of slot s: so in word 1, behind all tails.
//!
//!   entry, a leaf or a tail (8 bytes)
//!     63..32   bits 32 to 63 of the prefix
//!     31..24   length of the prefix
//!     23..0    next hop
//! ```
//!
//! Node 0 and entry 0 are never given out and stay zero: they mean "none", and reading them does no harm.

use super::Fib6;
use crate::route::next_hop::NextHopId;
use core::sync::atomic::{AtomicU64, Ordering};

/// Address bits that the top table resolves.
pub(super) const TOP_BITS: u8 = 20;
/// Address bits that a node resolves.
pub(super) const STRIDE: u8 = 6;
/// Levels of nodes below the top table.
pub(super) const LEVELS: usize = (128 - TOP_BITS as usize) / STRIDE as usize;
/// Prefixes up to this length live in the table of short prefixes.
pub(super) const SHORT: u8 = 8;
/// Words of a node in memory.
pub const NODE_WORDS: usize = 4;
/// All leaves of a node are one: the top bit of the low half of word 2.
pub(super) const UNIFORM: u32 = 1 << 31;

const _: () = assert!(TOP_BITS as usize + LEVELS * STRIDE as usize == 128);

pub(super) type NodeWords = [AtomicU64; NODE_WORDS];

pub(super) fn top_index(address: u128) -> usize {
    (address >> (128 - TOP_BITS)) as usize
}

/// The six bits of `address` that a node of `level` resolves.
#[inline]
pub(super) fn slot_of(address: u128, level: usize) -> u32 {
    (address >> (128 - TOP_BITS as usize - STRIDE as usize * (level + 1))) as u32 & 63
}

/// The level of the node in which a prefix of `len` (above [`TOP_BITS`]) ends.
pub(super) fn level_of(len: u8) -> usize {
    ((len - TOP_BITS - 1) / STRIDE) as usize
}

/// The slots that `net`/`len` covers in the node in which it ends.
pub(super) fn span(net: u128, len: u8) -> core::ops::Range<usize> {
    let level = level_of(len);
    let from = slot_of(net, level) as usize;
    from..from + (1 << (TOP_BITS as usize + STRIDE as usize * (level + 1) - len as usize))
}

/// Whether a node of `level` may have a prefix of `len`, which ends further down, as a tail: the way to the node
/// vouches for the first 32 bits, the tail for the next 32.
pub(super) fn may_be_tail(level: usize, len: u8) -> bool {
    TOP_BITS as usize + STRIDE as usize * (level + 1) >= 32 && len <= 64
}

/// The number of set bits below `slot`.
#[inline]
pub(super) fn rank(bits: u64, slot: u32) -> u32 {
    (bits & ((1u64 << slot) - 1)).count_ones()
}

/// A leaf or a tail: the next hop of a prefix, and what of the prefix is to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    /// No leaf, no tail.
    pub(super) const NONE: Entry = Entry(0);

    /// For the first `len` bits of `net`, whatever follows them.
    pub(super) fn new(net: u128, len: u8, id: NextHopId) -> Entry {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let bits = ((net & mask) >> 64) as u64;
        Entry(bits << 32 | u64::from(len) << 24 | u64::from(id.index()))
    }

    /// The low half alone, as the top table and the table of short prefixes keep it.
    pub(super) fn short(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn is_none(self) -> bool {
        self == Entry::NONE
    }

    pub(super) fn len(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Whether both are for one prefix, given that they stand in the same slot.
    pub(super) fn same_prefix(self, other: Entry) -> bool {
        self.0 >> 24 == other.0 >> 24
    }

    /// Its prefix, given an address that shares the first 32 bits with it. For tails.
    pub(super) fn net(self, near: u128) -> u128 {
        near >> 96 << 96 | u128::from(self.0 >> 32) << 64
    }

    /// The next hop, or [`NextHopId::NONE`] for [`Entry::NONE`].
    #[inline(always)]
    pub(super) fn next_hop(self) -> NextHopId {
        NextHopId::from_index(self.0 as u32 & 0xff_ffff)
    }

    /// Whether bits 32 to 63 of the prefix, as far as it is long, are those of the address whose upper half is
    /// `high`. Always so for a leaf that was found on the way of that address.
    #[inline(always)]
    pub(super) fn covers(self, high: u64) -> bool {
        let differ = (self.0 >> 32) ^ (high & 0xffff_ffff);
        differ >> 64u32.saturating_sub(u32::from(self.len())).min(32) == 0
    }
}

/// A node's contents, as the writer has them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    pub(super) children: u64,
    pub(super) leaves: u64,
    pub(super) tails: u64,
    pub(super) child_base: u32,
    pub(super) entry_base: u32,
    pub(super) uniform: bool,
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        self.children | self.leaves | self.tails == 0
    }

    /// Leaves and tails in its array.
    pub(super) fn entries(&self) -> u32 {
        let leaves = if self.uniform { u32::from(self.leaves != 0) } else { self.leaves.count_ones() };
        self.tails.count_ones() + leaves
    }

    /// The place of the leaf of `slot`, which has one.
    pub(super) fn leaf_at(&self, slot: u32) -> u32 {
        let rank = if self.uniform { 0 } else { rank(self.leaves, slot) };
        self.entry_base + self.tails.count_ones() + rank
    }

    /// The place of the tail of `slot`, which has one.
    pub(super) fn tail_at(&self, slot: u32) -> u32 {
        self.entry_base + rank(self.tails, slot)
    }

    /// Word 2.
    pub(super) fn bases(&self) -> u64 {
        let uniform = if self.uniform { UNIFORM } else { 0 };
        u64::from(self.child_base) << 32 | u64::from(uniform | self.entry_base)
    }
}

// Relaxed in these three: the writer reads its own stores, and writes what nobody can reach yet.

pub(super) fn read(fib: &Fib6, at: u32) -> Node {
    let words = words(fib, at);
    let [children, leaves, bases, tails] =
        [0, 1, 2, 3].map(|word: usize| words[word].load(Ordering::Relaxed));
    Node {
        children,
        leaves,
        tails,
        child_base: (bases >> 32) as u32,
        entry_base: bases as u32 & !UNIFORM,
        uniform: bases as u32 & UNIFORM != 0,
    }
}

pub(super) fn write(fib: &Fib6, at: u32, node: Node) {
    for (word, value) in words(fib, at).iter().zip([node.children, node.leaves, node.bases(), node.tails]) {
        word.store(value, Ordering::Relaxed);
    }
}

pub(super) fn copy(fib: &Fib6, from: u32, to: u32) {
    write(fib, to, read(fib, from));
}

/// The words of node `at`.
pub(super) fn words(fib: &Fib6, at: u32) -> &[AtomicU64] {
    &fib.nodes.get()[at as usize * NODE_WORDS..][..NODE_WORDS]
}

/// The numbers of the set bits, ascending.
pub(super) struct Bits(pub(super) u64);

impl Iterator for Bits {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
