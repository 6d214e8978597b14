//! Memory as a slice of atomic words, without unsafe code.
//!
//! Tables are large and mostly untouched, so they must come zeroed from the operating system and cost nothing
//! until used: `zerocopy` gives that for boxed atomics. They may also come from outside: the service maps
//! 64 MiB, advises transparent huge pages (one TLB entry instead of 16,384 behind random lookups) and hands
//! the mapping over as `&'static mut [u8]` (leaking a mapping that lives as long as the process is safe code).

use core::sync::atomic::{AtomicU32, AtomicU64};
use zerocopy::{FromBytes, FromZeros, IntoBytes, KnownLayout};

/// An atomic word: [`AtomicU32`] or [`AtomicU64`].
pub trait Word: FromBytes + FromZeros + IntoBytes + KnownLayout + Sized + Send + Sync + 'static {}
impl Word for AtomicU32 {}
impl Word for AtomicU64 {}

/// A fixed number of atomic words, starting on a cache line.
#[derive(Debug)]
pub struct Words<W: Word> {
    memory: Memory<W>,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Memory<W: Word> {
    Owned(Box<[W]>),
    Static(&'static [W]),
}

/// Why there is no memory for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// The allocator refused.
    #[error("no memory for {bytes} bytes of table")]
    Allocation {
        /// How much was asked for, in bytes.
        bytes: usize,
    },
    /// The memory handed over is too small or not aligned to its words.
    #[error("the memory handed over ({have} bytes) does not hold {need} aligned bytes")]
    Unfit {
        /// Its size in bytes.
        have: usize,
        /// The size needed in bytes.
        need: usize,
    },
}

const CACHE_LINE: usize = 64;

impl<W: Word> Words<W> {
    /// `len` zero words from the allocator; large ones cost memory only where they are written.
    pub fn zeroed(len: usize) -> Result<Self, WordsError> {
        let spare = CACHE_LINE / size_of::<W>();
        let bytes = len.saturating_mul(size_of::<W>());
        let error = WordsError::Allocation { bytes };
        let all = len.checked_add(spare).ok_or(error)?;
        let owned = <[W]>::new_box_zeroed_with_elems(all).map_err(|_| error)?;
        // A large allocation begins 16 bytes into a page; nodes of 32 bytes must not straddle cache lines.
        let start = (CACHE_LINE - owned.as_ptr().addr() % CACHE_LINE) % CACHE_LINE / size_of::<W>();
        Ok(Words { memory: Memory::Owned(owned), start, len })
    }

    /// The first `len` words of `bytes`, which must be all zeros, as a fresh anonymous mapping is. (They are
    /// not cleared here: that would make 64 MiB resident for a table of three routes.)
    pub fn from_zeroed_bytes(bytes: &'static mut [u8], len: usize) -> Result<Self, WordsError> {
        let need = len.saturating_mul(size_of::<W>());
        let error = WordsError::Unfit { have: bytes.len(), need };
        let exact = bytes.get_mut(..need).ok_or(error)?;
        let words: &'static [W] = <[W]>::mut_from_bytes(exact).map_err(|_| error)?;
        Ok(Words { memory: Memory::Static(words), start: 0, len })
    }

    /// The words. Call it once for a burst: it chooses between two kinds of memory.
    #[inline]
    pub fn get(&self) -> &[W] {
        match &self.memory {
            Memory::Owned(words) => &words[self.start..self.start + self.len],
            Memory::Static(words) => words,
        }
    }

    /// How many words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_words_start_on_a_cache_line() {
        for len in [1, 100, 5_000_000] {
            let words = Words::<AtomicU64>::zeroed(len).unwrap();
            assert_eq!(words.get().len(), len);
            assert_eq!(words.get().as_ptr().addr() % CACHE_LINE, 0);
        }
    }

    #[test]
    fn memory_from_outside_must_be_large_and_aligned() {
        let mut boxed = Box::leak(vec![0u64; 8].into_boxed_slice()).as_mut_bytes();
        let odd = &mut std::mem::take(&mut boxed)[1..];
        assert!(matches!(Words::<AtomicU32>::from_zeroed_bytes(odd, 4), Err(WordsError::Unfit { .. })));
        let fit = Box::leak(vec![0u64; 8].into_boxed_slice()).as_mut_bytes();
        assert_eq!(Words::<AtomicU32>::from_zeroed_bytes(fit, 16).unwrap().get().len(), 16);
        let small = Box::leak(vec![0u64; 8].into_boxed_slice()).as_mut_bytes();
        assert!(matches!(Words::<AtomicU32>::from_zeroed_bytes(small, 17), Err(WordsError::Unfit { .. })));
        assert!(matches!(Words::<AtomicU32>::zeroed(usize::MAX / 2), Err(WordsError::Allocation { .. })));
    }
}
