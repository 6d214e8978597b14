//! The IPv6 forwarding table: a trie of 64-way nodes with compressed arrays, below a direct table of 2^20.
//!
//! ```text
//!   destination   bits 0..20       20..26     26..32     32..38    …   (18 levels reach bit 128)
//!   top[bits] ──▶ leaf, node ──▶ node ────▶ node ────▶ node
//!                                             │          │
//!                                            tail       tail: the only prefix below its slot,
//!                                                       with the bits that it wants of an address
//! ```
//!
//! A **leaf** stands only in the node in which its prefix ends, spread over the slots that it covers there. A
//! lookup remembers the last leaf on its way down; nothing is pushed into children, so a change touches one node
//! whatever lies below.
//!
//! A **tail** stands for a child that would hold one prefix and nothing else. It has what is left of the prefix
//! with it, to be compared at the end of the way, and spares the nodes between and their cache misses: with as
//! many prefixes in as large a space as IPv6 has, most prefixes are alone soon after bit 32. When a second prefix
//! arrives below the slot, the tail becomes a child with both; when the second leaves, the child a tail again.
//! So the nodes depend on the prefixes alone, not on how they came. Prefixes of more than 64 bits, and slots
//! before bit 32, have no tails: that way 32 bits of prefix always do. Prefixes of up to /8 are kept apart, as
//! in `fib4`.
//!
//! The parts: `node` (what stands in memory), `walk` (what a reader does, a burst at a time), `writer`
//! (changes, and how a reader never sees half of one), `draft` (a node that is being changed).
//!
//! What was measured and lost: without tails (one node for each six bits of the way) a table of 250,000 prefixes
//! of the Internet's lengths had nine times as many nodes, 465,000, most of them with one child or one leaf.

mod draft;
mod node;
mod walk;
mod writer;

pub use node::NODE_WORDS;
pub(crate) use writer::Fib6Writer;

use crate::route::next_hop::NextHopId;
use crate::route::words::{Words, WordsError};
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU32, AtomicU64};
use node::{SHORT, TOP_BITS};
use walk::CHUNK;

/// The pools are whole blocks of as many units (see `buddy`).
const BLOCK: usize = 1 << crate::route::buddy::MAX_ORDER;

/// What readers read.
#[derive(Debug)]
pub struct Fib6 {
    short: [AtomicU32; 1 << SHORT],
    /// Node number in the high half (0: none), leaf (without its bits) in the low half.
    top: Words<AtomicU64>,
    nodes: Words<AtomicU64>,
    /// Leaves and tails.
    leaves: Words<AtomicU64>,
}

impl Fib6 {
    /// An empty table with room for `nodes` nodes and `leaves` leaves and tails (both rounded down to multiples
    /// of 128, and at least that). `memory` is for the nodes (4 words each) and the leaves, from outside, if given.
    pub fn new(
        nodes: u32,
        leaves: u32,
        memory: (Option<Words<AtomicU64>>, Option<Words<AtomicU64>>),
    ) -> Result<Self, WordsError> {
        let blocks = |units: u32| (units as usize / BLOCK).max(1) * BLOCK;
        let room = |memory: Option<Words<AtomicU64>>, words: usize| match memory {
            Some(memory) if memory.len() < words => {
                Err(WordsError::Unfit { have: memory.len() * 8, need: words * 8 })
            }
            Some(memory) => Ok(memory),
            None => Words::zeroed(words),
        };
        Ok(Fib6 {
            short: core::array::from_fn(|_| AtomicU32::new(0)),
            top: Words::zeroed(1 << TOP_BITS)?,
            nodes: room(memory.0, blocks(nodes) * NODE_WORDS)?,
            leaves: room(memory.1, blocks(leaves))?,
        })
    }

    /// The next hop of the longest prefix that covers `destination`.
    #[inline]
    pub fn lookup(&self, destination: Ipv6Addr) -> NextHopId {
        self.walk(destination.to_bits())
    }

    /// [`Fib6::lookup`] for many (`out[i]` for `destinations[i]`, as far as both reach), level by level: the
    /// loads of one level are under way together, and an address leaves the race where its path ends.
    pub fn lookup_burst(&self, destinations: &[Ipv6Addr], out: &mut [NextHopId]) {
        for (destinations, out) in destinations.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
            if destinations.len() < walk::FEW {
                for (destination, out) in destinations.iter().zip(out) {
                    *out = self.walk(destination.to_bits());
                }
            } else {
                self.walk_together(destinations, out);
            }
        }
    }
}
