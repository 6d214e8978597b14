//! Blocks of 1 to 64 units out of a bounded pool: a buddy allocator.
//!
//! Block sizes are powers of two (`order` 0..=6). A freed block joins its buddy, when that is free too, into
//! the next larger one, so churn does not wear the pool down. The free blocks of an order are a set with a
//! fast "any member, lowest first" (a tree of 64-way bitmaps), which keeps what is used close together.

/// Largest order: blocks of 64 units, the children of one trie node.
pub(crate) const MAX_ORDER: u8 = 6;

/// The smallest order whose blocks hold `count` units; `count` is 1..=64.
pub(crate) fn order_of(count: u32) -> u8 {
    count.max(1).next_power_of_two().trailing_zeros() as u8
}

#[derive(Debug)]
pub(crate) struct Buddy {
    free: [BitSet; MAX_ORDER as usize + 1],
    units: u32,
    used: u32,
}

impl Buddy {
    /// A pool of `units`, rounded down to a multiple of 64. Unit 0 is never given out: it means "none".
    pub(crate) fn new(units: u32) -> Self {
        let units = units & !63;
        let mut free = core::array::from_fn(|order| BitSet::new((units >> order).max(1)));
        for block in 0..units >> MAX_ORDER {
            free[MAX_ORDER as usize].insert(block);
        }
        let mut buddy = Buddy { free, units, used: 0 };
        let none = buddy.alloc(0);
        debug_assert!(none == Some(0) || units == 0);
        buddy
    }

    /// The first unit of a block of 2^`order` units.
    pub(crate) fn alloc(&mut self, order: u8) -> Option<u32> {
        let from = (order..=MAX_ORDER).find(|&o| !self.free[o as usize].is_empty())?;
        let mut block = self.free[from as usize].first()?;
        self.free[from as usize].remove(block);
        for smaller in (order..from).rev() {
            block <<= 1;
            self.free[smaller as usize].insert(block | 1);
        }
        self.used += 1 << order;
        Some(block << order)
    }

    /// Gives back the block at `at` that [`Buddy::alloc`] gave for `order`.
    pub(crate) fn free(&mut self, at: u32, order: u8) {
        let (mut block, mut at_order) = (at >> order, order);
        self.used -= 1 << order;
        while at_order < MAX_ORDER && self.free[at_order as usize].contains(block ^ 1) {
            self.free[at_order as usize].remove(block ^ 1);
            block >>= 1;
            at_order += 1;
        }
        self.free[at_order as usize].insert(block);
    }

    /// Whether whole blocks of 64 are left, at least `count` of them.
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
        fn blocks_never_overlap_and_all_room_comes_back(
            steps in proptest::collection::vec((0u8..=6, any::<bool>(), any::<prop::sample::Index>()), 1..300)
        ) {
            let mut buddy = Buddy::new(1024);
            let mut held: Vec<(u32, u8)> = Vec::new();
            let mut taken = vec![false; 1024];
            taken[0] = true; // the unit that means none
            for (order, give_back, index) in steps {
                if give_back && !held.is_empty() {
                    let (at, order) = held.swap_remove(index.index(held.len()));
                    taken[at as usize..(at + (1 << order)) as usize].fill(false);
                    buddy.free(at, order);
                } else if let Some(at) = buddy.alloc(order) {
                    prop_assert_eq!(at % (1 << order), 0);
                    for unit in &mut taken[at as usize..(at + (1 << order)) as usize] {
                        prop_assert!(!*unit);
                        *unit = true;
                    }
                    held.push((at, order));
                } else {
                    let aligned_hole = taken.chunks(1 << order).any(|block| !block.contains(&true));
                    prop_assert!(!aligned_hole, "refused although a block of order {} was free", order);
                }
                prop_assert_eq!(buddy.used() as usize, taken.iter().filter(|unit| **unit).count());
            }
            for (at, order) in held {
                buddy.free(at, order);
            }
            prop_assert!(buddy.spare(15));
            prop_assert!(!buddy.spare(16));
        }
    }
}
