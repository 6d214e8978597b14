//! The memory of socket buffers: one arena for each worker, cut into equal blocks.
//!
//! ```text
//!   arena  │ block 1 │ block 2 │ block 3 │ …            ids begin at 1: a zero in a table means "none"
//!             used      free      used     never used yet
//!   free   [ 2 ]  the last one freed is the next one used, because it is still in the cache
//! ```
//!
//! A [`ByteRing`](super::ring::ByteRing) takes blocks when bytes come and gives them back when they are gone, so
//! what limits a worker is the bytes that wait, not the number of its sockets. Nothing is allocated after
//! [`BlockPool::new`], and memory is touched only when it is used.
//!
//! Invariants
//! 1. in use + available = capacity.
//! 2. A block has one owner from `take` to `give`. Owners cannot give back by themselves when they are dropped
//!    (they do not hold the pool), so a socket that ends clears its rings.

use super::zeroed::Zeroed;

/// The binary logarithm of [`BLOCK`].
pub const BLOCK_BITS: u32 = 12;

/// Bytes in a block. A connection with one byte in a buffer holds a block, so small is cheap; a segment that
/// crosses from one block to the next costs two copies, so large is fast. 4 KiB crosses for a third of full
/// segments.
pub const BLOCK: usize = 1 << BLOCK_BITS;

/// The bytes of a block.
pub type Block = [u8; BLOCK];

/// The name of a block; 0 is none.
pub(crate) type BlockId = u32;

/// A worker's blocks.
#[derive(Debug)]
pub struct BlockPool {
    arena: Zeroed<u8>,
    /// Blocks that were used and are free again; the last is the next.
    free: Vec<BlockId>,
    /// Blocks that were ever used: their ids are the first ones.
    touched: u32,
    capacity: u32,
}

impl BlockPool {
    /// A pool of so many blocks (below 2^32).
    pub fn new(blocks: usize) -> Self {
        let capacity = u32::try_from(blocks).unwrap_or(u32::MAX).min(u32::MAX - 1);
        BlockPool {
            arena: Zeroed::new(capacity as usize * BLOCK),
            free: Vec::with_capacity(capacity as usize),
            touched: 0,
            capacity,
        }
    }

    /// Blocks that can be had.
    #[inline]
    pub fn available(&self) -> usize {
        self.free.len() + (self.capacity - self.touched) as usize
    }

    /// All blocks.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Blocks that rings hold.
    #[inline]
    pub fn in_use(&self) -> usize {
        self.capacity() - self.available()
    }

    /// The most blocks that were ever in use at once.
    pub fn peak(&self) -> usize {
        // A block is touched for the first time only when none is free: exactly when the peak grows.
        self.touched as usize
    }

    /// A block, with whatever its last owner left in it.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<BlockId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.touched == self.capacity {
            return None;
        }
        self.touched += 1;
        Some(self.touched)
    }

    /// Gives back a block.
    #[inline]
    pub(crate) fn give(&mut self, id: BlockId) {
        debug_assert!(id != 0 && id <= self.touched && self.free.len() < self.touched as usize);
        self.free.push(id);
    }

    /// What is in a block.
    #[inline]
    pub(crate) fn block(&self, id: BlockId) -> &Block {
        let (blocks, _) = self.arena.get().as_chunks::<BLOCK>();
        &blocks[(id as usize).wrapping_sub(1)]
    }

    /// What is in a block, to change.
    #[inline]
    pub(crate) fn block_mut(&mut self, id: BlockId) -> &mut Block {
        let (blocks, _) = self.arena.get_mut().as_chunks_mut::<BLOCK>();
        &mut blocks[(id as usize).wrapping_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_gives_each_block_once_and_says_what_is_left() {
        let mut pool = BlockPool::new(2);
        assert_eq!((pool.available(), pool.capacity(), pool.peak()), (2, 2, 0));
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert_ne!(first, second);
        assert_eq!((pool.take(), pool.available(), pool.in_use()), (None, 0, 2));
        pool.block_mut(first).fill(1);
        pool.block_mut(second).fill(2);
        assert_eq!((pool.block(first)[BLOCK - 1], pool.block(second)[0]), (1, 2));
        pool.give(first);
        assert_eq!((pool.available(), pool.peak()), (1, 2));
        assert_eq!(pool.take(), Some(first));
    }

    #[test]
    fn a_pool_of_none_gives_none() {
        assert_eq!(BlockPool::new(0).take(), None);
    }
}
