//! Frames: the memory that a packet lives in, from receive to transmit, never copied on the way.
//!
//! A *frame* is a fixed-size chunk with headroom in front of the packet. On the product's ports it is a chunk
//! of an AF_XDP UMEM; in tests it is a boxed array. The stack does not know which: it is generic over
//! [`Frame`] and [`FramePool`], and the compiler makes one copy of the packet path for each.
//!
//! ```text
//!   chunk  |<- headroom ->|<----- packet bytes ----->|<- tailroom ->|
//!                         ^ deref() starts here
//! ```
//!
//! A packet longer than one chunk is a *chain*: `deref()` gives the bytes in the first chunk, which always
//! holds the headers, and [`Frame::segment`] gives the others in order.
//!
//! Invariants
//! 1. A frame has one owner. The handle is not `Copy` or `Clone`, so it cannot be submitted twice.
//! 2. Dropping a frame gives its chunks back to the pool that they came from. Nothing can leak.
//! 3. pool + rings + held = size of the pool, at every moment (*conservation*).

use core::ops::{Deref, DerefMut};

/// An owned packet buffer. `Deref` gives the packet's bytes in the first chunk; byte 0 is the first byte of
/// the link header while a packet is in the receive and transmit paths.
pub trait Frame: Deref<Target = [u8]> + DerefMut + Sized {
    /// Length of the packet in bytes, over all segments.
    fn packet_len(&self) -> usize;

    /// Free bytes in front of the packet.
    fn headroom(&self) -> usize;

    /// Free bytes behind the packet in its (only) chunk; 0 for a chain.
    fn tailroom(&self) -> usize;

    /// Moves the start of the packet `count` bytes forward into the headroom. The new bytes hold whatever
    /// was there. Returns false, changing nothing, when the headroom is too small.
    #[must_use]
    fn prepend(&mut self, count: usize) -> bool;

    /// Takes `count` bytes off the front of the first segment. Returns false, changing nothing, when that
    /// segment is shorter.
    #[must_use]
    fn trim_front(&mut self, count: usize) -> bool;

    /// Shortens the packet to `len` bytes over all segments, giving back the chunks that hold nothing any
    /// more. Does nothing when it is not longer.
    fn truncate(&mut self, len: usize);

    /// Lengthens a packet of one segment by `count` bytes at its end; the new bytes hold whatever was
    /// there. Returns false, changing nothing, when the tailroom is too small or the packet is a chain.
    #[must_use]
    fn append(&mut self, count: usize) -> bool;

    /// True when the packet spans more than one chunk.
    fn is_chain(&self) -> bool;

    /// Hangs the packet `tail` behind this one, without copying. Gives it back when the two cannot be one: they come
    /// from different pools, or would be more segments than a frame can have. A chain may be longer than a port
    /// takes: what was put together here leaves in fragments of its own, or not at all.
    fn chain(&mut self, tail: Self) -> Result<(), Self>;

    /// The bytes of segment `index`: 0 is what `deref()` gives; `None` behind the last one.
    fn segment(&self, index: usize) -> Option<&[u8]>;

    /// As [`Frame::segment`], mutable.
    fn segment_mut(&mut self, index: usize) -> Option<&mut [u8]>;

    /// Asks the port to finish the Internet checksum on transmit: sum from `start` (offset in bytes from
    /// the first byte of the packet) to the end, stored at `start + offset`, which now holds the folded sum
    /// of the pseudo-header. Returns false when this frame cannot carry the request: then the caller sums.
    #[must_use]
    fn request_tx_checksum(&mut self, start: u16, offset: u16) -> bool;
}

/// Where frames come from. A pool belongs to one worker; frames find their own way back when dropped.
pub trait FramePool {
    /// The frames of this pool.
    type Frame: Frame;

    /// An empty packet (length 0) with the pool's standard headroom, or `None` when the pool is empty.
    fn alloc(&mut self) -> Option<Self::Frame>;

    /// Chunks that are free now.
    fn available(&self) -> usize;
}

pub mod heap;
