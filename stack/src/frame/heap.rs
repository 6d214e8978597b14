//! Frames on the heap, for tests, the simulator and fuzzers: the same rules as UMEM frames, plain memory.

use super::{Frame, FramePool};
use core::ops::{Deref, DerefMut};
use std::cell::Cell;
use std::rc::Rc;

/// Headroom of a fresh heap frame, in bytes; the same as a UMEM frame of the product has.
pub const HEADROOM: usize = 128;

/// One chunk of a heap frame.
#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// A packet on the heap: one chunk, or several when it is a chain.
#[derive(Debug)]
pub struct HeapFrame {
    chunks: Vec<Chunk>,
    /// Where to sum from and where to store it, as places in the chunk: headers in front do not move it.
    tx_checksum: Option<(usize, usize)>,
    free: Rc<Cell<usize>>,
}

impl HeapFrame {
    /// The transmit checksum that was asked for: where to sum from and where to store it, in bytes from the
    /// first of the packet.
    pub fn tx_checksum(&self) -> Option<(usize, usize)> {
        let start = self.chunks[0].start;
        self.tx_checksum.map(|(from, field)| (from.saturating_sub(start), field.saturating_sub(start)))
    }

    /// All bytes of the packet, joined: what a peer on the wire would see, with the transmit checksum finished.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self.chunks.iter().flat_map(|c| &c.bytes[c.start..c.end]).copied().collect();
        if let Some((from, field)) = self.tx_checksum() {
            let sum = crate::checksum::sum(&all[from..]).checksum();
            all[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        all
    }
}

impl Drop for HeapFrame {
    fn drop(&mut self) {
        self.free.set(self.free.get() + self.chunks.len());
    }
}

impl Deref for HeapFrame {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let chunk = &self.chunks[0];
        &chunk.bytes[chunk.start..chunk.end]
    }
}

impl DerefMut for HeapFrame {
    fn deref_mut(&mut self) -> &mut [u8] {
        let chunk = &mut self.chunks[0];
        &mut chunk.bytes[chunk.start..chunk.end]
    }
}

impl Frame for HeapFrame {
    fn packet_len(&self) -> usize {
        self.chunks.iter().map(|c| c.end - c.start).sum()
    }

    fn headroom(&self) -> usize {
        self.chunks[0].start
    }

    fn tailroom(&self) -> usize {
        if self.is_chain() { 0 } else { self.chunks[0].bytes.len() - self.chunks[0].end }
    }

    fn prepend(&mut self, count: usize) -> bool {
        match self.chunks[0].start.checked_sub(count) {
            Some(start) => {
                self.chunks[0].start = start;
                true
            }
            None => false,
        }
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.len();
        if fits {
            self.chunks[0].start += count;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        let mut left = len;
        let mut keep = 0;
        for chunk in &mut self.chunks {
            if left == 0 && keep > 0 {
                break;
            }
            let take = left.min(chunk.end - chunk.start);
            chunk.end = chunk.start + take;
            left -= take;
            keep += 1;
        }
        let given_back = self.chunks.len() - keep;
        self.chunks.truncate(keep);
        self.free.set(self.free.get() + given_back);
    }

    fn append(&mut self, count: usize) -> bool {
        let fits = !self.is_chain() && count <= self.tailroom();
        if fits {
            self.chunks[0].end += count;
        }
        fits
    }

    fn is_chain(&self) -> bool {
        self.chunks.len() > 1
    }

    fn chain(&mut self, mut tail: Self) -> Result<(), Self> {
        if !Rc::ptr_eq(&self.free, &tail.free) {
            return Err(tail);
        }
        // Dropped without chunks, the handle gives none back: they are this packet's now.
        self.chunks.append(&mut tail.chunks);
        Ok(())
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        self.chunks.get(index).map(|c| &c.bytes[c.start..c.end])
    }

    fn segment_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        self.chunks.get_mut(index).map(|c| &mut c.bytes[c.start..c.end])
    }

    fn request_tx_checksum(&mut self, start: u16, offset: u16) -> bool {
        let (start, offset) = (usize::from(start), usize::from(offset));
        if self.is_chain() || start + offset + 2 > self.len() {
            return false;
        }
        let from = self.chunks[0].start + start;
        self.tx_checksum = Some((from, from + offset));
        true
    }
}

/// A counted pool of heap frames; it hands out at most `size` chunks at a time.
#[derive(Debug, Clone)]
pub struct HeapPool {
    chunk_size: usize,
    free: Rc<Cell<usize>>,
}

impl HeapPool {
    /// A pool of `size` chunks of `chunk_size` bytes each, headroom included.
    pub fn new(size: usize, chunk_size: usize) -> Self {
        assert!(chunk_size > HEADROOM, "a chunk holds its headroom and at least one byte");
        HeapPool { chunk_size, free: Rc::new(Cell::new(size)) }
    }

    /// A frame that holds `packet`, as a chain when it is longer than a chunk; `None` when the pool is short.
    pub fn frame(&mut self, packet: &[u8]) -> Option<HeapFrame> {
        let room = self.chunk_size - HEADROOM;
        let needed = packet.len().div_ceil(room).max(1);
        self.free.set(self.free.get().checked_sub(needed)?);
        let mut pieces = packet.chunks(room);
        let chunks = (0..needed)
            .map(|_| {
                let piece = pieces.next().unwrap_or_default();
                let mut bytes = vec![0; self.chunk_size].into_boxed_slice();
                bytes[HEADROOM..HEADROOM + piece.len()].copy_from_slice(piece);
                Chunk { bytes, start: HEADROOM, end: HEADROOM + piece.len() }
            })
            .collect();
        Some(HeapFrame { chunks, tx_checksum: None, free: Rc::clone(&self.free) })
    }
}

impl FramePool for HeapPool {
    type Frame = HeapFrame;

    fn alloc(&mut self) -> Option<HeapFrame> {
        self.frame(&[])
    }

    fn available(&self) -> usize {
        self.free.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_chain_gives_every_chunk_back() {
        let mut pool = HeapPool::new(4, HEADROOM + 100);
        let chain = pool.frame(&[7; 250]).unwrap();
        assert!(chain.is_chain());
        assert_eq!((chain.packet_len(), pool.available()), (250, 1));
        assert!(pool.frame(&[7; 250]).is_none(), "three chunks asked for, one free");
        assert_eq!(pool.available(), 1, "a refused frame takes nothing");
        drop(chain);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn joined_packets_are_one_and_those_of_two_pools_stay_apart() {
        let (mut pool, mut other) = (HeapPool::new(4, HEADROOM + 100), HeapPool::new(1, HEADROOM + 100));
        let mut head = pool.frame(b"head").unwrap();
        head.chain(pool.frame(&[7; 150]).unwrap()).unwrap();
        assert_eq!((head.packet_len(), head.segment(2).map(<[u8]>::len)), (154, Some(50)));
        assert!(head.chain(other.frame(b"tail").unwrap()).is_err());
        assert_eq!((pool.available(), other.available()), (1, 1));
        drop(head);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn truncate_gives_back_the_chunks_behind_the_new_end() {
        let mut pool = HeapPool::new(4, HEADROOM + 100);
        let mut chain = pool.frame(&[7; 250]).unwrap();
        chain.truncate(120);
        assert_eq!((chain.packet_len(), pool.available()), (120, 2));
        chain.truncate(0);
        assert_eq!((chain.packet_len(), pool.available(), chain.is_chain()), (0, 3, false));
    }

    #[test]
    fn the_packet_grows_into_headroom_and_tailroom_and_no_further() {
        let mut pool = HeapPool::new(1, HEADROOM + 100);
        let mut frame = pool.frame(b"abc").unwrap();
        assert!(frame.prepend(HEADROOM) && !frame.prepend(1));
        assert!(frame.trim_front(HEADROOM) && &frame[..] == b"abc");
        assert!(!frame.trim_front(4));
        assert!(frame.append(97) && !frame.append(1));
    }
}
