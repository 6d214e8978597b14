//! The program's memory, as its calls describe it: buffers, lists of buffers, lengths that go in and come out.
//!
//! The kernel answers EFAULT for a pointer that leads nowhere; here such a pointer is what it is in every other library, and
//! only null is caught. What is made of pointers here lives for one call.

use crate::errno::{Errno, Result};
use core::ffi::{c_int, c_void};
use core::slice;
use flumen_ipc::Ring;
use libc::iovec;

/// Most buffers of one call (UIO_MAXIOV).
pub const MAX_VECTORS: usize = 1024;

/// Most bytes that one call moves (MAX_RW_COUNT of Linux).
pub const MAX_COUNT: usize = 0x7fff_f000;

/// Bytes that the program passes in.
///
/// # Safety
/// `len` bytes at `at` can be read, and nobody writes them, until the call is over.
pub unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if at.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: by the caller.
    Ok(unsafe { slice::from_raw_parts(at.cast(), len) })
}

/// Bytes that the program wants filled.
///
/// # Safety
/// `len` bytes at `at` can be written, and nobody else touches them, until the call is over.
pub unsafe fn bytes_mut<'a>(at: *mut c_void, len: usize) -> Result<&'a mut [u8]> {
    if len == 0 {
        return Ok(&mut []);
    }
    if at.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: by the caller.
    Ok(unsafe { slice::from_raw_parts_mut(at.cast(), len) })
}

/// A list of buffers.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    list: &'a [iovec],
    len: usize,
}

impl<'a> Vectors<'a> {
    /// The buffers of a call.
    ///
    /// # Safety
    /// The list and its buffers can be used as the call says, until it is over.
    pub unsafe fn new(list: *const iovec, count: usize) -> Result<Vectors<'a>> {
        let list: &[iovec] = match (list.is_null(), count) {
            (_, 0) => &[],
            (true, _) => return Err(Errno(libc::EFAULT)),
            // SAFETY: by the caller.
            (false, _) => unsafe { slice::from_raw_parts(list, count) },
        };
        Self::of(list)
    }

    /// The buffers in a list whose buffers can be used (see [`Vectors::new`]).
    pub fn of(list: &'a [iovec]) -> Result<Vectors<'a>> {
        if list.iter().any(|one| one.iov_base.is_null() && one.iov_len > 0) {
            return Err(Errno(libc::EFAULT));
        }
        Self::of_lengths(list)
    }

    /// Only the lengths count: nothing will be copied.
    pub fn of_lengths(list: &'a [iovec]) -> Result<Vectors<'a>> {
        let mut len = 0usize;
        for one in list {
            if one.iov_len > isize::MAX as usize {
                return Err(Errno(libc::EINVAL));
            }
            len = len.saturating_add(one.iov_len);
        }
        if len > isize::MAX as usize {
            return Err(Errno(libc::EINVAL));
        }
        Ok(Vectors { list, len: len.min(MAX_COUNT) })
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no room, or nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces of the `count` bytes from the `skip`-th on.
    fn pieces(&self, skip: usize, count: usize) -> impl Iterator<Item = (*mut u8, usize)> + use<'a> {
        let (mut skip, mut left) = (skip, count.min(self.len.saturating_sub(skip)));
        self.list.iter().filter_map(move |one| {
            let passed = skip.min(one.iov_len);
            skip -= passed;
            let len = (one.iov_len - passed).min(left);
            left -= len;
            (len > 0).then(|| (one.iov_base.cast::<u8>().wrapping_add(passed), len))
        })
    }

    /// Copies the `count` bytes from the `skip`-th on into a ring at `position`.
    pub fn into_ring(&self, skip: usize, count: usize, ring: Ring<'_>, mut position: u64) {
        for (start, len) in self.pieces(skip, count) {
            // SAFETY: a piece of a buffer of the call (`new`), not null.
            let bytes = unsafe { slice::from_raw_parts(start, len) };
            ring.copy_in(position, bytes);
            position += len as u64;
        }
    }

    /// Copies `count` bytes from a ring at `position` to the `skip`-th place.
    pub fn from_ring(&self, skip: usize, count: usize, ring: Ring<'_>, mut position: u64) {
        for (start, len) in self.pieces(skip, count) {
            // SAFETY: as in `into_ring`; the call lets us write there.
            let bytes = unsafe { slice::from_raw_parts_mut(start, len) };
            ring.copy_out(position, bytes);
            position += len as u64;
        }
    }

    /// Copies bytes to the first places; says how many.
    pub fn fill(&self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for (start, len) in self.pieces(0, bytes.len()) {
            // SAFETY: as in `from_ring`.
            let place = unsafe { slice::from_raw_parts_mut(start, len) };
            place.copy_from_slice(&bytes[done..done + len]);
            done += len;
        }
        done
    }

    /// Copies the first bytes out; says how many.
    pub fn drain(&self, out: &mut [u8]) -> usize {
        let mut done = 0;
        for (start, len) in self.pieces(0, out.len()) {
            // SAFETY: as in `into_ring`.
            out[done..done + len].copy_from_slice(unsafe { slice::from_raw_parts(start, len) });
            done += len;
        }
        done
    }

    /// The last byte.
    pub fn last(&self) -> Option<u8> {
        let (start, _) = self.pieces(self.len.checked_sub(1)?, 1).next()?;
        // SAFETY: as in `into_ring`.
        Some(unsafe { *start })
    }
}

/// One buffer as a list.
pub fn one(at: *const c_void, len: usize) -> [iovec; 1] {
    [iovec { iov_base: at.cast_mut(), iov_len: len.min(MAX_COUNT) }]
}

/// The number of buffers that a call of readv's kind gives.
pub fn count(count: c_int) -> Result<usize> {
    usize::try_from(count).ok().filter(|count| *count <= MAX_VECTORS).ok_or(Errno(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(parts: &mut [Vec<u8>]) -> Vec<iovec> {
        parts
            .iter_mut()
            .map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
            .collect()
    }

    #[test]
    fn bytes_are_scattered_and_gathered_over_the_buffers() {
        let mut parts = [vec![0; 3], vec![], vec![0; 4]];
        let list = list(&mut parts);
        let vectors = Vectors::of(&list).unwrap();
        assert_eq!((vectors.len(), vectors.fill(b"abcdefghij")), (7, 7));
        let mut out = [0; 16];
        assert_eq!((vectors.drain(&mut out), &out[..7]), (7, &b"abcdefg"[..]));
        assert_eq!(vectors.last(), Some(b'g'));
        assert_eq!(vectors.pieces(2, 3).map(|(_, len)| len).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        let null = [iovec { iov_base: core::ptr::null_mut(), iov_len: 1 }];
        assert_eq!(Vectors::of(&null).unwrap_err(), Errno(libc::EFAULT));
        let long = [iovec { iov_base: core::ptr::without_provenance_mut(1), iov_len: usize::MAX }];
        assert_eq!(Vectors::of(&long).unwrap_err(), Errno(libc::EINVAL));
        assert!(count(-1).is_err() && count(1025).is_err() && count(1024).is_ok());
    }
}
