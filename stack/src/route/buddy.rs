//! Runs of 1 to 128 units out of a bounded pool: a buddy allocator that gives back what was asked too much.
//!
//! ```text
//!   a run of 5     a block of 8 ─▶ | 4 units | 1 |  1  |  2   |     the last two are free blocks again
//! ```
//! Block sizes are powers of two (`order` 0..=7). A run takes the smallest block that holds it, and the rest of the
//! block stays free, in blocks. A freed block joins its buddy, when that is free too, into the next larger one, so
//! churn does not wear the pool down. The free blocks of an order are a set with a fast "any member, lowest
//! first" (a tree of 64-way bitmaps), which keeps what is used close together. Whole blocks for all would be
//! less work; then a quarter of what lookups run through, and of the caches, would be air.

/// Largest order: blocks of 128 units, a tail and a leaf for each slot of a trie node.
pub(crate) const MAX_ORDER: u8 = 7;

/// The smallest order whose blocks hold `count` units; `count` is 1..=128.
fn order_of(count: u32) -> u8 {
    count.max(1).next_power_of_two().trailing_zeros() as u8
}

#[derive(Debug)]
pub(crate) struct Buddy {
    free: [BitSet; MAX_ORDER as usize + 1],
    units: u32,
    used: u32,
}

impl Buddy {
    /// A pool of `units`, rounded down to a multiple of 128. Unit 0 is never given out: it means "none".
    pub(crate) fn new(units: u32) -> Self {
        let units = units >> MAX_ORDER << MAX_ORDER;
        let mut free = core::array::from_fn(|order| BitSet::new((units >> order).max(1)));
        for block in 0..units >> MAX_ORDER {
            free[MAX_ORDER as usize].insert(block);
        }
        let mut buddy = Buddy { free, units, used: 0 };
        let none = buddy.alloc(1);
        debug_assert!(none == Some(0) || units == 0);
        buddy
    }

    /// The first unit of a run of `count` (1 to 128).
    pub(crate) fn alloc(&mut self, count: u32) -> Option<u32> {
        let order = (order_of(count)..=MAX_ORDER).find(|&order| !self.free[order as usize].is_empty())?;
        let block = self.free[order as usize].first()?;
        self.free[order as usize].remove(block);
        let at = block << order;
        self.release(at + count, at + (1 << order));
        self.used += count;
        Some(at)
    }

    /// Gives back the run at `at` that [`Buddy::alloc`] gave for `count`.
    pub(crate) fn free(&mut self, at: u32, count: u32) {
        self.release(at, at + count);
        self.used -= count;
    }

    /// Units `from` up to `to` are free: the largest blocks that fit, from the left.
    fn release(&mut self, mut from: u32, to: u32) {
        while from < to {
            let order = from.trailing_zeros().min((to - from).ilog2());
            self.release_block(from >> order, order as usize);
            from += 1 << order;
        }
    }

    /// A block is free, and joins its buddy as long as that is free too.
    fn release_block(&mut self, mut block: u32, mut order: usize) {
        while order < MAX_ORDER as usize && self.free[order].contains(block ^ 1) {
            self.free[order].remove(block ^ 1);
            block >>= 1;
            order += 1;
        }
        self.free[order].insert(block);
    }

    /// Whether whole blocks of 128 are left, at least `count` of them.
    pub(crate) fn spare(&self, count: u32) -> bool {
        self.free[MAX_ORDER as usize].len >= count
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }
}

/// A set of numbers below a bound: bits, and above them bits that say which words are not zero.
#[derive(Debug)]
struct BitSet {
    levels: Vec<Vec<u64>>,
    len: u32,
}

impl BitSet {
    fn new(bound: u32) -> Self {
        let mut levels = Vec::new();
        let mut words = (bound as usize).div_ceil(64).max(1);
        loop {
            levels.push(vec![0u64; words]);
            if words == 1 {
                break;
            }
            words = words.div_ceil(64);
        }
        BitSet { levels, len: 0 }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn contains(&self, at: u32) -> bool {
        self.levels[0].get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 != 0)
    }

    fn insert(&mut self, at: u32) {
        self.len += 1;
        let mut at = at as usize;
        for level in &mut self.levels {
            level[at / 64] |= 1 << (at % 64);
            at /= 64;
        }
    }

    fn remove(&mut self, at: u32) {
        self.len -= 1;
        let mut at = at as usize;
        for level in &mut self.levels {
            level[at / 64] &= !(1 << (at % 64));
            if level[at / 64] != 0 {
                break;
            }
            at /= 64;
        }
    }

    fn first(&self) -> Option<u32> {
        let mut at = 0usize;
        for level in self.levels.iter().rev() {
            let word = level[at];
            if word == 0 {
                return None;
            }
            at = at * 64 + word.trailing_zeros() as usize;
        }
        Some(at as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_never_overlap_and_all_room_comes_back(
            steps in proptest::collection::vec((1u32..=128, any::<bool>(), any::<prop::sample::Index>()), 1..300)
        ) {
            let mut buddy = Buddy::new(1024);
            let mut held: Vec<(u32, u32)> = Vec::new();
            let mut taken = vec![false; 1024];
            taken[0] = true; // the unit that means none
            for (count, give_back, index) in steps {
                if give_back && !held.is_empty() {
                    let (at, count) = held.swap_remove(index.index(held.len()));
                    taken[at as usize..(at + count) as usize].fill(false);
                    buddy.free(at, count);
                } else if let Some(at) = buddy.alloc(count) {
                    for unit in &mut taken[at as usize..(at + count) as usize] {
                        prop_assert!(!*unit);
                        *unit = true;
                    }
                    held.push((at, count));
                } else {
                    let aligned_hole = taken.chunks(1 << order_of(count)).any(|block| !block.contains(&true));
                    prop_assert!(!aligned_hole, "refused although a block for {} was free", count);
                }
                prop_assert_eq!(buddy.used() as usize, taken.iter().filter(|unit| **unit).count());
            }
            for (at, count) in held {
                buddy.free(at, count);
            }
            prop_assert!(buddy.spare(7));
            prop_assert!(!buddy.spare(8));
        }
    }
}
