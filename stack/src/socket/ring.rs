//! The buffer of a socket: bytes in order, over blocks of a shared pool.
//!
//! Writing appends and reading consumes, as in any ring. TCP needs more: to place what came out of order ahead of
//! what is readable, and to read anywhere for retransmissions. Both cost the same small work wherever they reach.
//!
//! ```text
//!     consumed │ readable │ hole │ placed ahead │ hole │ placed ahead │
//!              ^head      ^head + len                                 ^head + extent
//!
//!   height 0                 height 1: up to 4 MiB            height 2: up to 64 MiB
//!   4 blocks, named here      index ──> 1024 blocks            root ──> indexes ──> blocks
//! ```
//!
//! `head` is a position that wraps at 2^32. The block of position `p` has the number `p / BLOCK`, and stands in slot
//! `number mod slots` of its table, so a table is circular and nothing moves as the ring runs on. Holes hold no
//! blocks. A short ring (16 KiB) needs no index, and an empty one no block at all: the ring that empties gives
//! all back and starts at the beginning of a block. Indexes are blocks of the same pool.
//!
//! Invariants
//! 1. `len <= extent <= MAX_RING`; blocks with positions outside `head..head + extent` are not held.
//! 2. `blocks` counts what the ring holds of the pool, indexes included; it is 0 when `extent` is 0.
//! 3. The block numbers of `head..head + extent` fit in one turn of the table of this height.
//! 4. Bytes in holes are whatever was in the memory before, other users' too: only what is readable can be read, and
//!    it is the caller of [`ByteRing::advance`] who knows that there is no hole.

use super::blocks::{BLOCK, BLOCK_BITS, Block, BlockId, BlockPool};
use crate::checksum::{self, Checksum, Sum};
use crate::limits::MAX_RING;

/// Blocks that are named in the ring itself.
const INLINE: u32 = 4;

/// Names of blocks in an index.
const FANOUT: u32 = (BLOCK / size_of::<BlockId>()) as u32;

/// The largest height that [`MAX_RING`] needs: two.
const _: () = assert!(MAX_RING as u64 + (BLOCK as u64) <= (FANOUT as u64) * (FANOUT as u64) * BLOCK as u64);

/// The buffer of a socket.
#[derive(Debug, Default)]
pub struct ByteRing {
    head: u32,
    len: u32,
    extent: u32,
    blocks: u16,
    height: u8,
    slots: [BlockId; INLINE as usize],
}

/// Blocks fit in `blocks`: all of the data, one more because the head may stand inside one, and all indexes.
const _: () = assert!(MAX_RING / BLOCK + 1 + MAX_RING / BLOCK / FANOUT as usize + 3 <= u16::MAX as usize);

impl ByteRing {
    /// An empty ring; it holds nothing.
    pub const fn new() -> Self {
        ByteRing { head: 0, len: 0, extent: 0, blocks: 0, height: 0, slots: [0; INLINE as usize] }
    }

    /// Bytes that can be read.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// True when nothing can be read (something may be placed ahead).
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes from the first readable one to the end of the furthest placed one; at least [`ByteRing::len`].
    #[inline]
    pub const fn extent(&self) -> usize {
        self.extent as usize
    }

    /// Blocks of the pool that this ring holds.
    #[inline]
    pub const fn blocks(&self) -> usize {
        self.blocks as usize
    }

    /// Appends bytes; returns how many, which is fewer than asked when the pool is empty or the ring is as long
    /// as a ring can be.
    #[inline]
    pub fn write(&mut self, pool: &mut BlockPool, bytes: &[u8]) -> usize {
        let written = self.write_at(pool, 0, bytes);
        self.advance(written);
        written
    }

    /// Places bytes `offset` bytes behind the last readable one, over what may be there. They cannot be read
    /// before [`ByteRing::advance`]. Returns how many, from the first on, as [`ByteRing::write`]. Bytes more than
    /// 4 MiB ahead can need four blocks, three of them indexes; with fewer left in the pool none is placed.
    #[inline]
    pub fn write_at(&mut self, pool: &mut BlockPool, offset: usize, bytes: &[u8]) -> usize {
        if let Some(to) = self.spot(pool, offset, bytes.len()) {
            to.copy_from_slice(bytes);
            return bytes.len();
        }
        self.place(pool, offset, bytes.len(), |to, at| to.copy_from_slice(&bytes[at..at + to.len()]))
    }

    /// Appends `len` bytes that `fill` writes, piece by piece, for bytes that are not in one slice; it is told where among
    /// them each piece begins. Returns how many, as [`ByteRing::write`].
    #[inline]
    pub fn write_with(
        &mut self,
        pool: &mut BlockPool,
        len: usize,
        fill: impl FnMut(&mut [u8], usize),
    ) -> usize {
        let written = self.place(pool, 0, len, fill);
        self.advance(written);
        written
    }

    /// As [`ByteRing::write_at`], and returns the sum of the bytes that were placed.
    ///
    /// Nothing undoes this when the sum turns out wrong, so do not place over good bytes before the sum is known;
    /// then [`ByteRing::trim`] forgets them.
    #[inline]
    pub fn write_at_summed(&mut self, pool: &mut BlockPool, offset: usize, bytes: &[u8]) -> (usize, Sum) {
        if let Some(to) = self.spot(pool, offset, bytes.len()) {
            return (bytes.len(), checksum::copy_and_sum(to, bytes));
        }
        let mut sum = Checksum::default();
        let placed = self.place(pool, offset, bytes.len(), |to, at| {
            sum.add_summed(checksum::copy_and_sum(to, &bytes[at..at + to.len()]), to.len());
        });
        (placed, sum.sum())
    }

    /// The next `count` placed bytes can be read from now on (no more than were placed).
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.len = (self.extent - self.len).min(u32::try_from(count).unwrap_or(u32::MAX)) + self.len;
    }

    /// Reads and consumes; returns how many bytes.
    #[inline]
    pub fn read(&mut self, pool: &mut BlockPool, out: &mut [u8]) -> usize {
        let count = self.peek(pool, 0, out);
        self.consume(pool, count);
        count
    }

    /// Reads without consuming, from `offset` bytes behind the first readable one; returns how many bytes.
    #[inline]
    pub fn peek(&self, pool: &BlockPool, offset: usize, out: &mut [u8]) -> usize {
        self.copy_out(pool, offset, out, |to, from| to.copy_from_slice(from))
    }

    /// As [`ByteRing::peek`] for a whole `out`, and returns the sum of the bytes; the part of `out` that lies
    /// beyond what is readable stays as it is and is not summed.
    #[inline]
    pub fn copy_out_summed(&self, pool: &BlockPool, offset: usize, out: &mut [u8]) -> Sum {
        // Nearly always in one block.
        if let Some(from) = self.slice(pool, offset).get(..out.len()) {
            return checksum::copy_and_sum(out, from);
        }
        let mut sum = Checksum::default();
        self.copy_out(pool, offset, out, |to, from| {
            sum.add_summed(checksum::copy_and_sum(to, from), from.len());
        });
        sum.sum()
    }

    /// The longest piece of readable bytes from `offset` on that lies together; empty at the end.
    #[inline]
    pub fn slice<'a>(&self, pool: &'a BlockPool, offset: usize) -> &'a [u8] {
        let Some(left) = self.len().checked_sub(offset).filter(|left| *left > 0) else {
            return &[];
        };
        let (number, within) = self.locate(offset as u32);
        match self.slot(pool, number) {
            0 => &[],
            id => &pool.block(id)[within..BLOCK.min(within + left)],
        }
    }

    /// Forgets the first `count` readable bytes (or all of them, when there are fewer).
    #[inline]
    pub fn consume(&mut self, pool: &mut BlockPool, count: usize) {
        let count = count.min(self.len()) as u32;
        let (first, _) = self.locate(0);
        let (next, _) = self.locate(count);
        self.len -= count;
        self.extent -= count;
        self.head = self.head.wrapping_add(count);
        if self.extent == 0 && self.height == 0 && self.blocks <= 1 {
            // What a short message held: one block, so one slot that is not 0.
            let [a, b, c, d] = self.slots;
            give(pool, a | b | c | d);
            *self = ByteRing::new();
        } else if self.extent == 0 {
            self.clear_blocks(pool, first, next);
        } else if next != first {
            self.give_back(pool, first, numbers_from(first, next));
        }
    }

    /// Forgets what was placed further than `ahead` bytes behind the last readable one; 0 forgets everything but what
    /// can be read.
    pub fn trim(&mut self, pool: &mut BlockPool, ahead: usize) {
        let extent = self.len.saturating_add(u32::try_from(ahead).unwrap_or(u32::MAX));
        if extent >= self.extent {
            return;
        }
        let (last, _) = self.locate(self.extent - 1);
        self.extent = extent;
        let (first, _) = self.locate(0);
        if extent == 0 {
            self.clear_blocks(pool, first, last);
            return;
        }
        let (kept, _) = self.locate(extent - 1);
        if kept != last {
            self.give_back(pool, number_plus(kept, 1), numbers_from(kept, last));
        }
    }

    /// Forgets everything and gives all blocks back.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        let (first, _) = self.locate(0);
        let (last, _) = self.locate(self.extent.saturating_sub(1));
        self.extent = 0;
        self.clear_blocks(pool, first, last);
    }

    /// Where `len` bytes go that lie in one block, which a ring without an index names itself: what a message takes.
    /// `None`: they do not, or the pool is empty, and nothing has changed.
    #[inline]
    fn spot<'a>(&mut self, pool: &'a mut BlockPool, offset: usize, len: usize) -> Option<&'a mut [u8]> {
        let at = self.len().saturating_add(offset);
        if self.height != 0 || at >= self.span() || len == 0 {
            return None;
        }
        let from_block = self.head as usize % BLOCK + at;
        let within = from_block % BLOCK;
        if from_block >= self.span() || within + len > BLOCK {
            return None;
        }
        let (number, _) = self.locate(at as u32);
        let slot = &mut self.slots[(number % INLINE) as usize];
        if *slot == 0 {
            *slot = pool.take()?;
            self.blocks += 1;
        }
        let id = *slot;
        self.extent = self.extent.max((at + len) as u32);
        Some(&mut pool.block_mut(id)[within..within + len])
    }

    // The walk over blocks.

    #[inline]
    fn place(
        &mut self,
        pool: &mut BlockPool,
        offset: usize,
        len: usize,
        mut fill: impl FnMut(&mut [u8], usize),
    ) -> usize {
        let at = self.len().saturating_add(offset);
        let room = MAX_RING.saturating_sub(at);
        let wanted = len.min(room);
        if wanted == 0 {
            return 0;
        }
        let mut done = 0;
        let mut at = at as u32;
        while done < wanted {
            // Only when a byte needs it: the last block of the pool is better full of bytes than an index.
            if !self.reach(pool, at) {
                break;
            }
            let (number, within) = self.locate(at);
            let Some(id) = self.slot_or_take(pool, number) else {
                break;
            };
            let block: &mut Block = pool.block_mut(id);
            let piece = (wanted - done).min(BLOCK - within);
            fill(&mut block[within..within + piece], done);
            at += piece as u32;
            done += piece;
            // At once, so that the block is within the extent, and is found when it is given back.
            self.extent = self.extent.max(at);
        }
        if self.extent == 0 {
            // The pool had a block for an index, and none for bytes.
            self.clear(pool);
        }
        done
    }

    #[inline]
    fn copy_out(
        &self,
        pool: &BlockPool,
        offset: usize,
        out: &mut [u8],
        mut copy: impl FnMut(&mut [u8], &[u8]),
    ) -> usize {
        let mut done = 0;
        while done < out.len() {
            let piece = self.slice(pool, offset.saturating_add(done));
            let to = &mut out[done..];
            let count = piece.len().min(to.len());
            if count == 0 {
                break;
            }
            copy(&mut to[..count], &piece[..count]);
            done += count;
        }
        done
    }

    /// The number of the block `offset` bytes behind the head, and the place in it.
    #[inline]
    const fn locate(&self, offset: u32) -> (u32, usize) {
        let position = self.head.wrapping_add(offset);
        (position >> BLOCK_BITS, position as usize % BLOCK)
    }

    // The tables.

    /// The block of this number; 0 when there is none.
    #[inline]
    fn slot(&self, pool: &BlockPool, number: u32) -> BlockId {
        match self.height {
            0 => self.slots[(number % INLINE) as usize],
            1 => entry(pool, self.slots[0], number),
            _ => match entry(pool, self.slots[0], number / FANOUT) {
                0 => 0,
                index => entry(pool, index, number),
            },
        }
    }

    /// The block of this number, taken from the pool when there is none.
    #[inline]
    fn slot_or_take(&mut self, pool: &mut BlockPool, number: u32) -> Option<BlockId> {
        let id = self.slot(pool, number);
        if id != 0 { Some(id) } else { self.take(pool, number) }
    }

    /// Takes a block for this number, which has none.
    #[inline(never)]
    fn take(&mut self, pool: &mut BlockPool, number: u32) -> Option<BlockId> {
        if self.height == 0 {
            let id = pool.take()?;
            self.blocks += 1;
            self.slots[(number % INLINE) as usize] = id;
            return Some(id);
        }
        let mut index = self.slots[0];
        let root = index;
        if self.height == 2 {
            index = entry(pool, root, number / FANOUT);
        }
        // Both or none: an index that holds nothing would not be found again.
        let id = pool.take()?;
        if index == 0 {
            let Some(fresh) = take_index(pool) else {
                pool.give(id);
                return None;
            };
            set_entry(pool, root, number / FANOUT, fresh);
            self.blocks += 1;
            index = fresh;
        }
        set_entry(pool, index, number, id);
        self.blocks += 1;
        Some(id)
    }

    /// Makes the table high enough for the byte `at` behind the head; false when the pool has no block for an
    /// index.
    #[inline]
    fn reach(&mut self, pool: &mut BlockPool, at: u32) -> bool {
        let within = self.head as usize % BLOCK;
        while within + at as usize >= self.span() {
            if !self.grow(pool) {
                return false;
            }
        }
        true
    }

    /// Bytes in one turn of the table.
    #[inline]
    const fn span(&self) -> usize {
        match self.height {
            0 => INLINE as usize * BLOCK,
            1 => FANOUT as usize * BLOCK,
            _ => MAX_RING + BLOCK,
        }
    }

    /// Puts one more level on top.
    #[inline(never)]
    fn grow(&mut self, pool: &mut BlockPool) -> bool {
        let (first, _) = self.locate(0);
        let Some(root) = take_index(pool) else {
            return false;
        };
        if self.height == 0 {
            for ahead in 0..INLINE {
                let number = number_plus(first, ahead);
                set_entry(pool, root, number, self.slots[(number % INLINE) as usize]);
            }
        } else {
            // One turn of the old index covers the end of one part of the new numbering and the beginning of
            // the next: its slots before the head's belong to the next one.
            let old = self.slots[0];
            let split = first % FANOUT;
            if (0..split).any(|slot| entry(pool, old, slot) != 0) {
                let Some(next) = take_index(pool) else {
                    pool.give(root);
                    return false;
                };
                for slot in 0..split {
                    let id = entry(pool, old, slot);
                    set_entry(pool, next, slot, id);
                    set_entry(pool, old, slot, 0);
                }
                set_entry(pool, root, first / FANOUT + 1, next);
                self.blocks += 1;
            }
            set_entry(pool, root, first / FANOUT, old);
        }
        self.slots = [root, 0, 0, 0];
        self.blocks += 1;
        self.height += 1;
        true
    }

    /// Gives back `count` blocks from number `from` on, which lie at an end of the ring and outside of what is
    /// left of it, and the indexes that nothing needs any more.
    #[inline]
    fn give_back(&mut self, pool: &mut BlockPool, from: u32, count: u32) {
        let mut given = 0;
        match self.height {
            0 => {
                for ahead in 0..count {
                    let slot = &mut self.slots[(number_plus(from, ahead) % INLINE) as usize];
                    given += give(pool, core::mem::take(slot));
                }
            }
            1 => {
                for ahead in 0..count {
                    given += give_entry(pool, self.slots[0], number_plus(from, ahead));
                }
            }
            _ => given = self.give_back_parts(pool, from, count),
        }
        self.blocks -= given;
    }

    /// [`ByteRing::give_back`] where there are many indexes: one after the other, and holes as long as one in
    /// one step. Returns how many blocks went back.
    #[inline(never)]
    fn give_back_parts(&self, pool: &mut BlockPool, from: u32, count: u32) -> u16 {
        let (first, _) = self.locate(0);
        let (last, _) = self.locate(self.extent.saturating_sub(1));
        let root = self.slots[0];
        let (mut given, mut ahead) = (0, 0);
        while ahead < count {
            let number = number_plus(from, ahead);
            let (part, slot) = (number / FANOUT, number % FANOUT);
            let here = (FANOUT - slot).min(count - ahead);
            ahead += here;
            let index = entry(pool, root, part);
            if index == 0 {
                continue;
            }
            for slot in slot..slot + here {
                given += give_entry(pool, index, slot);
            }
            let needed = self.extent != 0 && (part == first / FANOUT || part == last / FANOUT);
            if !needed {
                given += give_entry(pool, root, part);
            }
        }
        given
    }

    /// Gives back everything that the ring holds, in blocks `first..=last`, and begins anew.
    #[inline]
    fn clear_blocks(&mut self, pool: &mut BlockPool, first: u32, last: u32) {
        if self.blocks != 0 {
            self.give_back(pool, first, numbers_from(first, last) + 1);
            if self.height != 0 {
                self.blocks -= give(pool, self.slots[0]);
            }
        }
        debug_assert_eq!(self.blocks, 0);
        *self = ByteRing::new();
    }
}

/// Numbers of blocks wrap where positions do.
const NUMBERS: u32 = 1 << (u32::BITS - BLOCK_BITS);

#[inline]
const fn number_plus(number: u32, ahead: u32) -> u32 {
    (number + ahead) % NUMBERS
}

#[inline]
const fn numbers_from(first: u32, last: u32) -> u32 {
    last.wrapping_sub(first) % NUMBERS
}

// Indexes: blocks that hold names of blocks.

#[inline]
fn entry(pool: &BlockPool, index: BlockId, number: u32) -> BlockId {
    let (entries, _) = pool.block(index).as_chunks::<4>();
    u32::from_ne_bytes(entries[(number % FANOUT) as usize])
}

#[inline]
fn set_entry(pool: &mut BlockPool, index: BlockId, number: u32, id: BlockId) {
    let (entries, _) = pool.block_mut(index).as_chunks_mut::<4>();
    entries[(number % FANOUT) as usize] = id.to_ne_bytes();
}

/// A block that names nothing yet.
fn take_index(pool: &mut BlockPool) -> Option<BlockId> {
    let id = pool.take()?;
    pool.block_mut(id).fill(0);
    Some(id)
}

/// Gives back what an entry names, if anything; returns how many blocks that was.
#[inline]
fn give_entry(pool: &mut BlockPool, index: BlockId, number: u32) -> u16 {
    let id = entry(pool, index, number);
    set_entry(pool, index, number, 0);
    give(pool, id)
}

#[inline]
fn give(pool: &mut BlockPool, id: BlockId) -> u16 {
    if id != 0 {
        pool.give(id);
    }
    u16::from(id != 0)
}

#[cfg(test)]
mod tests;
