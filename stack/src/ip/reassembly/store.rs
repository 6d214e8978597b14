//! The memory that fragments wait in: blocks of 2048 bytes, allocated once, taken and given back by number.
//!
//! ```text
//!   position   0          HEAD           HEAD + offset
//!   datagram   |  header >|  fragment 0  |  hole  |  fragment at offset ...
//!   blocks     |     0        |      1       |   (none)   |   3 ...
//! ```
//!
//! The header of fragment zero stands right in front of its payload, so the first fragment can be read as it came:
//! that is what an ICMP error quotes. A block exists only where something was written.
//!
//! Invariant: free + held by datagrams = all blocks.

use super::datagram::Place;
use crate::limits::{MAX_EXTENSION_BYTES, REASSEMBLY_BLOCK};

/// Room for the header of fragment zero: 40 bytes and as many extension headers as are walked; an IPv4 header has
/// at most 60. With 1480 bytes of payload behind it a first fragment fits one block.
pub(super) const HEAD: usize = 40 + MAX_EXTENSION_BYTES;

/// Blocks of the longest datagram.
pub(super) const MAX_BLOCKS: usize = (HEAD + 65_535).div_ceil(REASSEMBLY_BLOCK);

/// No block.
pub(super) const NONE: u32 = u32::MAX;

/// The blocks of one datagram, by position.
pub(super) type Blocks = [u32; MAX_BLOCKS];

/// All blocks.
#[derive(Debug)]
pub(super) struct Store {
    memory: Vec<u8>,
    free: Vec<u32>,
}

impl Store {
    /// `blocks` blocks. Pages that were never written cost nothing.
    pub(super) fn new(blocks: usize) -> Store {
        // The lowest numbers first, so that a quiet worker touches few pages.
        Store { memory: vec![0; blocks * REASSEMBLY_BLOCK], free: (0..blocks as u32).rev().collect() }
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn size(&self) -> usize {
        self.memory.len() / REASSEMBLY_BLOCK
    }

    /// Blocks that `place` needs and `blocks` has not.
    pub(super) fn missing(blocks: &Blocks, place: &Place) -> usize {
        blocks[touched(place)].iter().filter(|block| **block == NONE).count()
    }

    /// Takes the blocks that `place` needs; false, and some may have been taken, when there are not enough.
    pub(super) fn take(&mut self, blocks: &mut Blocks, place: &Place) -> bool {
        for block in &mut blocks[touched(place)] {
            if *block == NONE {
                match self.free.pop() {
                    Some(free) => *block = free,
                    None => return false,
                }
            }
        }
        true
    }

    /// Gives all blocks back; returns how many there were.
    pub(super) fn give_back(&mut self, blocks: &mut Blocks) -> usize {
        let before = self.free.len();
        self.free.extend(blocks.iter().filter(|block| **block != NONE));
        *blocks = [NONE; MAX_BLOCKS];
        self.free.len() - before
    }

    /// Writes at a position for which blocks were taken.
    pub(super) fn write(&mut self, blocks: &Blocks, position: usize, mut bytes: &[u8]) {
        let mut at = position;
        while !bytes.is_empty() {
            let within = at % REASSEMBLY_BLOCK;
            let (now, later) = bytes.split_at(bytes.len().min(REASSEMBLY_BLOCK - within));
            if let Some(start) = self.start(blocks, at)
                && let Some(room) = self.memory.get_mut(start + within..start + within + now.len())
            {
                room.copy_from_slice(now);
            }
            at += now.len();
            bytes = later;
        }
    }

    /// The bytes at `position`, up to the end of their block and at most `len` of them; nothing where no block is.
    pub(super) fn read(&self, blocks: &Blocks, position: usize, len: usize) -> &[u8] {
        let within = position % REASSEMBLY_BLOCK;
        let take = len.min(REASSEMBLY_BLOCK - within);
        let bytes = self.start(blocks, position).and_then(|start| {
            let from = start + within;
            self.memory.get(from..from + take)
        });
        bytes.unwrap_or_default()
    }

    /// Copies from `position` on; returns how many bytes there were before the first hole.
    pub(super) fn copy_out(&self, blocks: &Blocks, position: usize, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let bytes = self.read(blocks, position + done, into.len() - done);
            if bytes.is_empty() {
                break;
            }
            into[done..done + bytes.len()].copy_from_slice(bytes);
            done += bytes.len();
        }
        done
    }

    /// True when what stands at `position` is `bytes`.
    pub(super) fn holds(&self, blocks: &Blocks, position: usize, bytes: &[u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let stored = self.read(blocks, position + done, bytes.len() - done);
            if stored.is_empty() || stored != &bytes[done..done + stored.len()] {
                return false;
            }
            done += stored.len();
        }
        true
    }

    fn start(&self, blocks: &Blocks, position: usize) -> Option<usize> {
        let block = *blocks.get(position / REASSEMBLY_BLOCK)?;
        (block != NONE).then_some(block as usize * REASSEMBLY_BLOCK)
    }
}

/// The block places that a fragment touches: with its header, when it is fragment zero.
fn touched(place: &Place) -> core::ops::Range<usize> {
    let from = if place.offset == 0 { 0 } else { HEAD + place.offset };
    let end = HEAD + place.offset + place.len;
    from / REASSEMBLY_BLOCK..end.div_ceil(REASSEMBLY_BLOCK).min(MAX_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_across_blocks_is_read_back_and_every_block_comes_back() {
        let mut store = Store::new(4);
        let mut blocks = [NONE; MAX_BLOCKS];
        let bytes: Vec<u8> = (0..5000u32).map(|n| (n % 251) as u8).collect();
        let place = Place { offset: 0, len: bytes.len(), more: true };
        assert_eq!(Store::missing(&blocks, &place), 3);
        assert!(store.take(&mut blocks, &place));
        assert_eq!((store.free(), Store::missing(&blocks, &place)), (1, 0));
        store.write(&blocks, HEAD, &bytes);
        let mut read = vec![0; 5000];
        assert_eq!(store.copy_out(&blocks, HEAD, &mut read), 5000);
        assert_eq!(read, bytes);
        assert!(store.holds(&blocks, HEAD, &bytes));
        read[4321] ^= 1;
        assert!(!store.holds(&blocks, HEAD, &read));
        let beyond = Place { offset: 6000, len: 4096, more: true };
        assert!(!store.take(&mut blocks, &beyond), "two more blocks, and one is left");
        store.give_back(&mut blocks);
        assert_eq!(store.free(), 4);
    }

    #[test]
    fn the_longest_datagram_and_the_longest_header_have_their_places() {
        let last = Place { offset: 65_528, len: 7, more: false };
        assert_eq!(touched(&last), MAX_BLOCKS - 1..MAX_BLOCKS);
        assert_eq!(touched(&Place { offset: 0, len: 1480, more: true }), 0..1, "the common first fragment");
    }
}
