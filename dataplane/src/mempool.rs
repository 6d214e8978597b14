//! The memory pool of a worker: UMEM frames as the stack sees them.
//!
//! `af_xdp` knows the kernel's rings and nothing of the stack; the stack knows [`Frame`] and nothing of
//! UMEMs. Here the two meet: [`PoolFrame`] is an `af_xdp::Frame` with the stack's trait on it, nothing more,
//! and every port of a worker, whatever its kind, deals in these. So a frame that came in at one port leaves
//! at another without a copy.

use core::ops::{Deref, DerefMut};
use flumen_stack::{Frame, FramePool};

/// A frame of a worker's pool. Dropping it gives it back.
#[derive(Debug)]
#[repr(transparent)]
pub struct PoolFrame(pub af_xdp::Frame);

impl Deref for PoolFrame {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for PoolFrame {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Frame for PoolFrame {
    #[inline]
    fn packet_len(&self) -> usize {
        self.0.packet_len()
    }
    #[inline]
    fn headroom(&self) -> usize {
        self.0.headroom()
    }
    #[inline]
    fn tailroom(&self) -> usize {
        self.0.tailroom()
    }
    #[inline]
    fn prepend(&mut self, count: usize) -> bool {
        self.0.prepend(count)
    }
    #[inline]
    fn trim_front(&mut self, count: usize) -> bool {
        self.0.trim_front(count)
    }
    #[inline]
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
    #[inline]
    fn append(&mut self, count: usize) -> bool {
        self.0.append(count)
    }
    #[inline]
    fn is_chain(&self) -> bool {
        self.0.is_chain()
    }
    fn chain(&mut self, tail: Self) -> Result<(), Self> {
        self.0.chain(tail.0).map_err(PoolFrame)
    }
    fn segment(&self, index: usize) -> Option<&[u8]> {
        self.0.segment(index)
    }
    fn segment_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        self.0.segment_mut(index)
    }
    fn request_tx_checksum(&mut self, start: u16, offset: u16) -> bool {
        self.0.request_tx_checksum(start, offset)
    }
}

/// The pool of one worker.
#[derive(Debug)]
pub struct WorkerPool(pub af_xdp::Pool);

impl FramePool for WorkerPool {
    type Frame = PoolFrame;

    #[inline]
    fn alloc(&mut self) -> Option<PoolFrame> {
        self.0.alloc().map(PoolFrame)
    }

    #[inline]
    fn available(&self) -> usize {
        self.0.available()
    }
}

impl WorkerPool {
    /// A frame, or a chain of them, that holds `packet`; `None` when the pool is short.
    #[inline]
    pub fn frame(&mut self, packet: &[u8]) -> Option<PoolFrame> {
        self.0.frame(packet).map(PoolFrame)
    }

    /// A frame that holds `packet` in one chunk; `None` when the pool is empty or the packet is longer than that.
    #[inline]
    pub fn short_frame(&mut self, packet: &[u8]) -> Option<PoolFrame> {
        self.0.short_frame(packet).map(PoolFrame)
    }
}
