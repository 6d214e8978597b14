//! A node's leaves and tails while they are being changed: one for each slot, to be written down again.

use super::Fib6;
use super::node::{Bits, Entry, Node};
use core::sync::atomic::Ordering;

/// Leaves and tails, slot by slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) leaf: [Entry; 64],
    pub(super) tail: [Entry; 64],
}

impl Default for Draft {
    fn default() -> Self {
        Draft { leaf: [Entry::NONE; 64], tail: [Entry::NONE; 64] }
    }
}

impl Draft {
    /// What `node` has.
    pub(super) fn of(fib: &Fib6, node: &Node) -> Draft {
        let entries = fib.leaves.get();
        let mut draft = Draft::default();
        // Relaxed: the writer reads its own stores.
        for slot in Bits(node.leaves) {
            draft.leaf[slot as usize] = Entry(entries[node.leaf_at(slot) as usize].load(Ordering::Relaxed));
        }
        for slot in Bits(node.tails) {
            draft.tail[slot as usize] = Entry(entries[node.tail_at(slot) as usize].load(Ordering::Relaxed));
        }
        draft
    }

    /// `node` with the bits of this draft; its array is still to be found and written.
    pub(super) fn outline(&self, node: Node) -> Node {
        let bits = |entries: &[Entry; 64]| {
            (0..64).fold(0u64, |bits, slot| bits | u64::from(!entries[slot].is_none()) << slot)
        };
        let mut leaves = self.leaf.iter().filter(|leaf| !leaf.is_none());
        let first = leaves.next();
        let uniform = leaves.all(|leaf| Some(leaf) == first);
        Node { leaves: bits(&self.leaf), tails: bits(&self.tail), uniform, ..node }
    }

    /// The only prefix in a node of these bits, if there is only one. Two prefixes of one level differ in the
    /// bits that an entry keeps, for those of the levels where this is asked do.
    pub(super) fn sole(&self, outline: &Node) -> Option<Entry> {
        if outline.children != 0 || !outline.uniform || outline.entries() != 1 {
            return None;
        }
        let entries = if outline.tails != 0 { &self.tail } else { &self.leaf };
        entries.iter().copied().find(|entry| !entry.is_none())
    }

    /// Writes all of it to the array of `node`, whose bits are the draft's. The order decides what readers see
    /// when the array is in use: Release for them, partner: the Acquire loads in `walk`.
    pub(super) fn write(&self, fib: &Fib6, node: &Node) {
        let entries = fib.leaves.get();
        let put = |at: u32, entry: Entry| {
            let place = &entries[at as usize];
            if place.load(Ordering::Relaxed) != entry.0 {
                place.store(entry.0, Ordering::Release);
            }
        };
        for slot in Bits(node.leaves) {
            put(node.leaf_at(slot), self.leaf[slot as usize]);
        }
        for slot in Bits(node.tails) {
            put(node.tail_at(slot), self.tail[slot as usize]);
        }
    }
}
