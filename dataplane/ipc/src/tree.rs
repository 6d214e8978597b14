//! A set of dirty numbers that one side marks and the other takes: three levels of bits, so that an empty set costs the taker
//! one load, and a set of a quarter of a million costs three.
//!
//! ```text
//!   top    1 word     bit m: some bit in middle word m
//!   middle 64 words   bit l of word m: some bit in leaf word 64 m + l
//!   leaf   4096 words bit b of word w: number 64 w + b is dirty
//! ```
//!
//! Many may mark and many may take at the same time. A number that is marked while it is taken is taken again, or was
//! seen; none is lost: who marks writes leaf, middle, top in this order; who takes clears top and middle before it
//! looks at what is below, and restores the top bit when the middle filled up meanwhile. All of it is sequentially
//! consistent; on x86 that costs nothing beyond the atomic operations themselves.

use crate::limits::TREE_ROUNDS;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A view of a dirty tree.
#[derive(Debug, Clone, Copy)]
pub struct DirtyTree<'a> {
    top: &'a AtomicU64,
    middle: &'a [AtomicU64],
    leaves: &'a [AtomicU64],
}

impl<'a> DirtyTree<'a> {
    /// Words that a tree for the numbers below `numbers` takes.
    pub const fn words(numbers: u32) -> usize {
        let leaves = (numbers as usize).div_ceil(64);
        1 + leaves.div_ceil(64) + leaves
    }

    /// Those of them that are not its top.
    pub(crate) const fn branches(numbers: u32) -> usize {
        Self::words(numbers) - 1
    }

    /// The tree of a top and `branches`, as many as [`DirtyTree::branches`] says.
    pub(crate) fn new(top: &'a AtomicU64, branches: &'a [AtomicU64], numbers: u32) -> Self {
        let leaves = (numbers as usize).div_ceil(64);
        let (middle, leaves) = branches.split_at(branches.len() - leaves);
        DirtyTree { top, middle, leaves }
    }

    /// Marks a number; true when its group of 64 was clean. Numbers beyond the tree are marked modulo its size.
    #[inline]
    pub fn mark(&self, number: u32) -> bool {
        let leaf = (number as usize / 64) % self.leaves.len();
        if self.leaves[leaf].fetch_or(1 << (number % 64), SeqCst) != 0 {
            return false;
        }
        let middle = leaf / 64;
        self.middle[middle].fetch_or(1 << (leaf % 64), SeqCst);
        if self.top.load(SeqCst) & 1 << middle == 0 {
            self.top.fetch_or(1 << middle, SeqCst);
        }
        true
    }

    /// True when a number is marked, and was not taken yet.
    #[inline]
    pub fn is_marked(&self, number: u32) -> bool {
        let leaf = (number as usize / 64) % self.leaves.len();
        self.leaves[leaf].load(SeqCst) & 1 << (number % 64) != 0
    }

    /// True when nothing is marked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.top.load(SeqCst) == 0
    }

    /// Takes a group: its first number and a bit for each that is marked. Nobody else gets them.
    #[inline]
    pub fn take(&self) -> Option<(u32, u64)> {
        if self.is_empty() { None } else { self.take_some() }
    }

    fn take_some(&self) -> Option<(u32, u64)> {
        for _ in 0..TREE_ROUNDS {
            let top = self.top.load(SeqCst);
            if top == 0 {
                return None;
            }
            let place = top.trailing_zeros() as usize;
            let Some(middle) = self.middle.get(place) else {
                self.top.fetch_and(!(1 << place), SeqCst);
                continue;
            };
            let word = middle.load(SeqCst);
            if word == 0 {
                self.top.fetch_and(!(1 << place), SeqCst);
                if middle.load(SeqCst) != 0 {
                    self.top.fetch_or(1 << place, SeqCst);
                }
                continue;
            }
            let bit = word.trailing_zeros();
            middle.fetch_and(!(1 << bit), SeqCst);
            let leaf = place * 64 + bit as usize;
            let Some(bits) = self.leaves.get(leaf).map(|word| word.swap(0, SeqCst)) else { continue };
            if bits != 0 {
                return Some((leaf as u32 * 64, bits));
            }
        }
        None
    }
}

/// The numbers of a group that [`DirtyTree::take`] gave.
pub fn numbers((first, bits): (u32, u64)) -> impl Iterator<Item = u32> {
    let mut left = bits;
    core::iter::from_fn(move || {
        let bit = (left != 0).then(|| left.trailing_zeros())?;
        left &= left - 1;
        Some(first + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn words(numbers: u32) -> Vec<AtomicU64> {
        std::iter::repeat_with(|| AtomicU64::new(0)).take(DirtyTree::words(numbers)).collect()
    }

    #[test]
    fn who_says_that_much_is_marked_where_nothing_is_keeps_nobody_for_more_than_so_many_rounds() {
        const NUMBERS: u32 = 64 * 64 * 64;
        let words = words(NUMBERS);
        let tree = DirtyTree::new(&words[0], &words[1..], NUMBERS);
        // What an honest program may leave behind, a word for each of the branches, is passed in one look.
        tree.top.store(u64::MAX, SeqCst);
        assert_eq!((tree.take(), tree.is_empty()), (None, true));
        // A round for each bit of a branch, and one for the branch.
        const BRANCHES: usize = TREE_ROUNDS / 65;
        let lie = |branches: usize| {
            tree.middle.iter().take(branches).for_each(|branch| branch.store(u64::MAX, SeqCst));
            tree.top.store(u64::MAX >> (64 - branches), SeqCst);
        };
        lie(BRANCHES);
        assert_eq!((tree.take(), tree.is_empty()), (None, true), "as many as are looked at");
        lie(BRANCHES + 1);
        assert_eq!((tree.take(), tree.is_empty()), (None, false), "more wait for the next look");
        tree.mark(BRANCHES as u32 * 64 * 64);
        assert_eq!(tree.take(), Some((BRANCHES as u32 * 64 * 64, 1)));
    }

    proptest! {
        #[test]
        fn what_was_marked_is_taken_once(size in 1u32..9000, marks in prop::collection::vec(any::<u32>(), 0..200)) {
            let words = words(size.next_multiple_of(64));
            let tree = DirtyTree::new(&words[0], &words[1..], size.next_multiple_of(64));
            let marks: BTreeSet<u32> = marks.into_iter().map(|mark| mark % size).collect();
            marks.iter().for_each(|mark| { tree.mark(*mark); });
            prop_assert!(marks.iter().all(|mark| tree.is_marked(*mark)));
            let mut taken = BTreeSet::new();
            while let Some(group) = tree.take() {
                for number in numbers(group) {
                    prop_assert!(taken.insert(number));
                }
            }
            prop_assert!(!marks.iter().any(|mark| tree.is_marked(*mark)));
            prop_assert_eq!(marks, taken);
            prop_assert!(tree.is_empty());
        }

        #[test]
        fn whatever_stands_in_the_words_taking_ends_and_stays_in_bounds(size in 1u32..9000, noise in any::<u64>()) {
            let words = words(size);
            words.iter().for_each(|word| word.store(noise, SeqCst));
            let tree = DirtyTree::new(&words[0], &words[1..], size);
            for _ in 0..10_000 {
                let Some(group) = tree.take() else { break };
                prop_assert!(group.0 < size.next_multiple_of(64));
            }
        }
    }

    #[test]
    fn marks_of_many_threads_arrive_while_another_takes() {
        const EACH: u32 = 20_000;
        let words = words(4096);
        let tree = DirtyTree::new(&words[0], &words[1..], 4096);
        let produced: Vec<AtomicU64> = (0..4096).map(|_| AtomicU64::new(0)).collect();
        let seen: Vec<AtomicU64> = (0..4096).map(|_| AtomicU64::new(0)).collect();
        let running = AtomicU64::new(2);
        std::thread::scope(|scope| {
            for thread in 0..2u32 {
                let (produced, running) = (&produced, &running);
                scope.spawn(move || {
                    for round in 0..EACH {
                        let number = (round * 7 + thread * 13) % 4096;
                        produced[number as usize].fetch_add(1, SeqCst);
                        tree.mark(number);
                    }
                    running.fetch_sub(1, SeqCst);
                });
            }
            loop {
                let last = running.load(SeqCst) == 0;
                while let Some(group) = tree.take() {
                    for number in numbers(group) {
                        let now = produced[number as usize].load(SeqCst);
                        seen[number as usize].store(now, SeqCst);
                    }
                }
                if last {
                    break;
                }
            }
        });
        // The last value that was produced was announced after it was written, and so it was seen.
        for (number, produced) in produced.iter().enumerate() {
            assert_eq!(seen[number].load(SeqCst), produced.load(SeqCst), "number {number}");
        }
    }
}
