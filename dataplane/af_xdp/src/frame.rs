//! A frame: one packet in UMEM chunks, owned.
//!
//! ```text
//!   chunk   | reserve | headroom ...    | packet bytes        | tailroom |
//!           0         16                ^ data, len bytes               2048 or 4096
//! ```
//!
//! The handle is 24 bytes: where the packet starts, which pool, which chunk, how long. It is not `Copy` or
//! `Clone`, so a packet cannot be transmitted twice or read after it was transmitted; and dropping it puts the
//! chunk on the pool's free list: one store and one addition, no lock, no count. It cannot leave its thread.
//!
//! A packet longer than a chunk is a *chain*. The handle describes its first segment; the pool's side arrays
//! describe the others, so that packets of one chunk (nearly all of them) pay one flag test for it.
//!
//! Invariants
//! 1. A `Frame` owns its chunk, and the chunks behind it when it is a chain: nobody else reads or writes them.
//! 2. `data .. data + len` lies inside the chunk and behind the reserve.
//! 3. The chain flag is set if and only if the link of the first chunk names a next one; a chain ends with
//!    `NONE` and has at most [`MAX_CHAIN`] segments.

use crate::umem::{ChecksumRequest, Core, Link, MAX_CHAIN, NONE, Place};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Set when the packet spans more than one chunk.
const CHAIN: u16 = 1;
/// Set when a transmit checksum was asked for.
const CHECKSUM: u16 = 2;

/// An owned packet buffer in UMEM. `Deref` gives the bytes in the first chunk.
pub struct Frame {
    data: NonNull<u8>,
    core: NonNull<Core>,
    chunk: u32,
    len: u16,
    flags: u16,
}

impl Frame {
    /// A frame over `chunk`, whose packet has `len` bytes from `offset` on.
    ///
    /// # Safety
    /// The caller owns the chunk (invariant 1 of `umem`) and gives it to the frame. `core` stays alive as long as
    /// any of its chunks is not on the free list. `offset + len` is at most the chunk size.
    #[inline]
    pub(crate) unsafe fn own(core: *const Core, chunk: u32, offset: usize, len: usize) -> Frame {
        // SAFETY: as the caller promised.
        unsafe {
            debug_assert!(offset + len <= (*core).chunk_size());
            Frame::own_at(core, chunk, (*core).at(chunk, offset), len)
        }
    }

    /// The same for a caller that has the address of the packet already.
    ///
    /// # Safety
    /// As [`Frame::own`]; `data` is the address of a byte of the chunk.
    #[inline]
    pub(crate) unsafe fn own_at(core: *const Core, chunk: u32, data: *mut u8, len: usize) -> Frame {
        // SAFETY: `core` came from an `Rc`, and `data` points into its region: neither is null.
        unsafe {
            Frame {
                data: NonNull::new_unchecked(data),
                core: NonNull::new_unchecked(core.cast_mut()),
                chunk,
                len: len as u16,
                flags: 0,
            }
        }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: the region stays alive while this frame's chunk is not on the free list (`Handle::drop`), and it
        // is only ever shared (`Core` changes through cells, on this one thread).
        unsafe { self.core.as_ref() }
    }

    /// Bytes of the first segment in front of which lies nothing: the packet's offset in its chunk.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.core().offset_in(self.chunk, self.data.as_ptr())
    }

    #[inline]
    pub(crate) fn chunk(&self) -> u32 {
        self.chunk
    }

    /// True when this is a plain packet: one chunk and no request. The fast path of transmit tests only this.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flags == 0
    }

    #[inline]
    pub(crate) fn belongs_to(&self, core: *const Core) -> bool {
        core::ptr::eq(self.core.as_ptr(), core)
    }

    /// The checksum request, if one was made.
    #[inline]
    pub(crate) fn checksum_request(&self) -> Option<ChecksumRequest> {
        (self.flags & CHECKSUM != 0).then(|| self.core().request(self.chunk))
    }

    pub(crate) fn clear_checksum_request(&mut self) {
        self.flags &= !CHECKSUM;
    }

    /// The chunk behind the first one, or [`NONE`].
    #[inline]
    pub(crate) fn next_chunk(&self) -> u32 {
        if self.is_chain() { self.core().link(self.chunk).next } else { NONE }
    }

    /// Gives up the frame without giving its chunks back: a ring has them now.
    #[inline]
    pub(crate) fn into_ring(self) {
        core::mem::forget(self);
    }

    /// Hangs `chunk` behind the last chunk, `tail`, of this packet.
    #[inline]
    pub(crate) fn push_segment(&mut self, tail: u32, chunk: u32, offset: usize, len: usize) {
        self.flags |= CHAIN;
        let core = self.core();
        core.set_link(chunk, Link { next: NONE, offset: offset as u16, len: len as u16 });
        core.set_next(tail, chunk);
    }

    /// Length of the packet in bytes, over all segments.
    #[inline]
    pub fn packet_len(&self) -> usize {
        let first = usize::from(self.len);
        if self.is_chain() {
            first + self.rest().map(|(_, link)| usize::from(link.len)).sum::<usize>()
        } else {
            first
        }
    }

    /// Free bytes in front of the packet.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.offset().saturating_sub(usize::from(self.core().reserve))
    }

    /// Free bytes behind the packet in its (only) chunk; 0 for a chain.
    #[inline]
    pub fn tailroom(&self) -> usize {
        if self.is_chain() { 0 } else { self.core().chunk_size() - self.offset() - usize::from(self.len) }
    }

    /// Moves the start of the packet `count` bytes forward into the headroom. The new bytes hold whatever was
    /// there. Returns false, changing nothing, when the headroom is too small.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, count: usize) -> bool {
        let fits = count <= self.headroom();
        if fits {
            // SAFETY: `count` bytes in front of the packet are inside the chunk, which this frame owns.
            self.data = unsafe { self.data.sub(count) };
            self.len += count as u16;
        }
        fits
    }

    /// Takes `count` bytes off the front of the first segment. Returns false, changing nothing, when that segment
    /// is shorter.
    #[inline]
    #[must_use]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= usize::from(self.len);
        if fits {
            // SAFETY: the packet has `count` bytes, so the new start is inside the chunk or at its end.
            self.data = unsafe { self.data.add(count) };
            self.len -= count as u16;
        }
        fits
    }

    /// Shortens the packet to `len` bytes over all segments, giving back the chunks that hold nothing any more.
    /// Does nothing when it is not longer.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if self.is_chain() {
            self.truncate_chain(len);
        } else if len < usize::from(self.len) {
            self.len = len as u16;
        }
    }

    /// Lengthens a packet of one segment by `count` bytes at its end; the new bytes hold whatever was there.
    /// Returns false, changing nothing, when the tailroom is too small or the packet is a chain.
    #[inline]
    #[must_use]
    pub fn append(&mut self, count: usize) -> bool {
        let fits = !self.is_chain() && count <= self.tailroom();
        if fits {
            self.len += count as u16;
        }
        fits
    }

    /// True when the packet spans more than one chunk.
    #[inline]
    pub fn is_chain(&self) -> bool {
        self.flags & CHAIN != 0
    }

    /// How many chunks the packet spans.
    pub fn segments(&self) -> usize {
        1 + self.rest().count()
    }

    /// The bytes of segment `index`: 0 is what `deref()` gives; `None` behind the last one.
    #[inline]
    pub fn segment(&self, index: usize) -> Option<&[u8]> {
        match index {
            0 => Some(self),
            _ => {
                let (data, len) = self.locate_segment(index)?;
                // SAFETY: the segment lies in a chunk that this frame owns, borrowed as long as the frame is.
                Some(unsafe { core::slice::from_raw_parts(data, len) })
            }
        }
    }

    /// As [`Frame::segment`], mutable.
    #[inline]
    pub fn segment_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        match index {
            0 => Some(self),
            _ => {
                let (data, len) = self.locate_segment(index)?;
                // SAFETY: the segment lies in a chunk that this frame owns, borrowed exclusively as the frame is.
                Some(unsafe { core::slice::from_raw_parts_mut(data, len) })
            }
        }
    }

    /// Asks the port to finish the Internet checksum on transmit: sum from `start` (offset in bytes from the first
    /// byte of the packet as it is now) to the end, stored at `start + offset`, which now holds the folded sum of
    /// the pseudo-header. The request holds on to the bytes, not to the numbers: headers that are put in front
    /// later do not disturb it.
    ///
    /// Returns false when this frame cannot carry the request (the pool has no room for metadata, the packet is a
    /// chain, or the field lies behind its end): then the caller sums.
    #[must_use]
    pub fn request_tx_checksum(&mut self, start: u16, offset: u16) -> bool {
        let end = usize::from(start) + usize::from(offset) + 2;
        if self.core().reserve == 0 || self.is_chain() || end > usize::from(self.len) {
            return false;
        }
        let start = self.offset() as u16 + start;
        self.core().set_request(self.chunk, ChecksumRequest { start, field: start + offset });
        self.flags |= CHECKSUM;
        true
    }

    /// Hangs the packet `tail` behind this one, without copying: how a packet longer than a chunk is made.
    ///
    /// # Errors
    /// Gives `tail` back when it comes from another pool, or when the two together have more than
    /// [`MAX_CHAIN`] segments.
    pub fn chain(&mut self, tail: Frame) -> Result<(), Frame> {
        if !tail.belongs_to(self.core.as_ptr()) || self.segments() + tail.segments() > MAX_CHAIN {
            return Err(tail);
        }
        let (last, first) = (self.last_chunk(), tail.chunk);
        let behind = tail.next_chunk();
        let (offset, len) = (tail.offset(), usize::from(tail.len));
        self.push_segment(last, first, offset, len);
        self.core().set_next(first, behind);
        tail.into_ring(); // its chunks are ours now
        Ok(())
    }

    /// Copies the packet's bytes, all segments, to the front of `to`; returns how many were copied.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let mut at = 0;
        for index in 0..self.segments() {
            let Some(bytes) = self.segment(index) else { break };
            let take = bytes.len().min(to.len() - at);
            to[at..at + take].copy_from_slice(&bytes[..take]);
            at += take;
        }
        at
    }

    /// The segments behind the first: (chunk, its link), in order.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (u32, Link)> + '_ {
        let mut chunk = self.next_chunk();
        core::iter::from_fn(move || {
            let here = chunk;
            (here != NONE).then(|| {
                let link = self.core().link(here);
                chunk = link.next;
                (here, link)
            })
        })
    }

    fn last_chunk(&self) -> u32 {
        self.rest().last().map_or(self.chunk, |(chunk, _)| chunk)
    }

    fn locate_segment(&self, index: usize) -> Option<(*mut u8, usize)> {
        let (chunk, link) = self.rest().nth(index.checked_sub(1)?)?;
        // SAFETY: links name chunks of this region, and offset + len at most the chunk size.
        Some((unsafe { self.core().at(chunk, usize::from(link.offset)) }, usize::from(link.len)))
    }

    #[cold]
    fn truncate_chain(&mut self, len: usize) {
        let first = len.min(usize::from(self.len));
        self.len = first as u16;
        let mut left = len - first;
        let mut last = self.chunk;
        let mut next = self.next_chunk();
        while next != NONE && left > 0 {
            let link = self.core().link(next);
            let take = left.min(usize::from(link.len));
            self.core().set_link(next, Link { len: take as u16, ..link });
            left -= take;
            last = next;
            next = link.next;
        }
        self.core().set_next(last, NONE);
        if last == self.chunk {
            self.flags &= !CHAIN;
        }
        self.core().give_back_chain(next);
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        if self.is_chain() {
            self.core().give_back_chain(self.next_chunk());
        }
        self.core().give_back(self.chunk, Place::HELD);
    }
}

impl Deref for Frame {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: invariants 1 and 2: the bytes are in the chunk, which only this frame reads or writes.
        unsafe { core::slice::from_raw_parts(self.data.as_ptr(), usize::from(self.len)) }
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: invariants 1 and 2, and the frame is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.data.as_ptr(), usize::from(self.len)) }
    }
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Frame")
            .field("chunk", &self.chunk)
            .field("offset", &self.offset())
            .field("len", &self.packet_len())
            .field("segments", &self.segments())
            .finish()
    }
}

#[cfg(test)]
mod tests;
