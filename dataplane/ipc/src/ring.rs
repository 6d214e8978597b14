//! The bytes of a ring: copies in and out at free-running positions. Cursors are not here; they stand in the
//! [`crate::Cell`].
//!
//! A position counts all bytes ever written, and is masked to the ring; so no position is out of bounds, and a copy
//! longer than the ring is cut. The other process may write the same bytes at the same time. That is why nothing here
//! makes a reference to them: bytes are copied by raw pointers, and whoever copies gets some bytes, of the right number.

use core::marker::PhantomData;
use core::ptr::NonNull;

/// The memory of one ring; its size is a power of two.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'a> {
    base: NonNull<u8>,
    size: usize,
    arena: PhantomData<&'a crate::Arena>,
}

/// A contiguous piece of a ring, for calls that read or write memory directly (sendfile, splice).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: *mut u8,
    /// Its bytes.
    pub len: usize,
}

impl<'a> Ring<'a> {
    /// # Safety
    /// `base` is the start of `size` bytes, a power of two, that are mapped for as long as `'a`, and which nobody holds
    /// references to.
    pub(crate) unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        debug_assert!(size.is_power_of_two());
        Ring { base, size, arena: PhantomData }
    }

    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The pieces of `len` bytes (at most the ring's size) from `position` on: one, or two where the ring ends.
    pub fn spans(&self, position: u64, len: usize) -> [Span; 2] {
        let len = len.min(self.size);
        let at = position as usize & (self.size - 1);
        let first = len.min(self.size - at);
        // SAFETY: `at` is below the size of the ring, which is mapped (see `new`).
        let start = unsafe { self.base.as_ptr().add(at) };
        [Span { start, len: first }, Span { start: self.base.as_ptr(), len: len - first }]
    }

    /// Copies `bytes` to `position`, as many as the ring holds; says how many.
    pub fn copy_in(&self, position: u64, bytes: &[u8]) -> usize {
        let [first, second] = self.spans(position, bytes.len());
        // SAFETY: both spans lie in the ring, which is mapped and to which no references exist; `bytes` is private memory
        // and so does not overlap; the lengths of the spans add up to no more than `bytes.len()`.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), first.start, first.len);
            core::ptr::copy_nonoverlapping(bytes.as_ptr().add(first.len), second.start, second.len);
        }
        first.len + second.len
    }

    /// Copies the bytes from `position` on into `out`, as many as the ring holds; says how many.
    pub fn copy_out(&self, position: u64, out: &mut [u8]) -> usize {
        let [first, second] = self.spans(position, out.len());
        // SAFETY: as in `copy_in`, the other way round.
        unsafe {
            core::ptr::copy_nonoverlapping(first.start, out.as_mut_ptr(), first.len);
            core::ptr::copy_nonoverlapping(second.start, out.as_mut_ptr().add(first.len), second.len);
        }
        first.len + second.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_wherever_the_ring_ends(position in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut memory = vec![0u8; 128];
            let base = NonNull::new(memory.as_mut_ptr()).unwrap();
            // SAFETY: the vector lives as long as the ring, and is not used otherwise.
            let ring = unsafe { Ring::new(base, 128) };
            let copied = ring.copy_in(position, &bytes);
            prop_assert_eq!(copied, bytes.len().min(128));
            let mut out = vec![0; bytes.len()];
            prop_assert_eq!(ring.copy_out(position, &mut out), copied);
            prop_assert_eq!(&out[..copied], &bytes[..copied]);
        }
    }
}
