//! The name of a neighbour that a route cache may keep: place and generation in one word.
//!
//! ```text
//!   31          16 15           0
//!   | generation  |    place     |     generation is never 0, so that the word is never 0
//! ```
//! When a place is given to another neighbour its generation moves on, and the old word matches nothing any
//! more. Before a generation could come round again the table starts a new epoch (see `NeighbourTable::epoch`).

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

/// A neighbour of one worker's table. Small, `Copy`, and safe to keep: one that went stale is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourId(NonZeroU32);

impl NeighbourId {
    pub(super) const fn new(place: u16, generation: NonZeroU16) -> NeighbourId {
        // Widening a non-zero u16 and shifting it by 16 loses no bit, so the sum is not zero.
        let high = NonZeroU32::MIN.saturating_mul(match NonZeroU32::new((generation.get() as u32) << 16) {
            Some(high) => high,
            None => NonZeroU32::MIN,
        });
        match NonZeroU32::new(high.get() | place as u32) {
            Some(word) => NeighbourId(word),
            None => NeighbourId(high),
        }
    }

    /// The place in the table.
    #[inline]
    pub(super) const fn place(self) -> usize {
        (self.0.get() & 0xffff) as usize
    }

    /// The word: never 0.
    #[inline]
    pub(super) const fn word(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Debug for NeighbourId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "neighbour {}.{}", self.place(), self.word() >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_id_is_one_word_and_the_ends_of_both_halves_are_kept() {
        assert_eq!(size_of::<Option<NeighbourId>>(), 4);
        for (place, generation) in [(0, 1), (0xffff, 1), (0, 0xffff), (0xffff, 0xffff)] {
            let id = NeighbourId::new(place, NonZeroU16::new(generation).unwrap());
            assert_eq!((id.place(), id.word() >> 16), (place as usize, generation as u32));
        }
    }
}
