//! Descriptors of our own: the connection to the service and the bells. They live high up, out of the way of programs that
//! expect theirs to be numbered from 3, are closed by exec, and must survive what the program does to descriptors that
//! it did not open: closing all there might be, or putting another one in their place.

use crate::limits::{MAX_OWN, OWN_DESCRIPTORS_FROM};
use crate::real;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::*};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor of our own, -1: none.
static OWN: [AtomicI32; MAX_OWN] = [const { AtomicI32::new(-1) }; MAX_OWN];
/// The least number that ever was ours: nearly always the only word to look at.
static LEAST: AtomicI32 = AtomicI32::new(c_int::MAX);
/// Places that were ever used.
static USED: AtomicU32 = AtomicU32::new(0);

fn places() -> impl Iterator<Item = &'static AtomicI32> {
    OWN.iter().take(USED.load(Acquire) as usize)
}

/// A descriptor that the program cannot close.
#[derive(Debug)]
pub struct Own {
    place: &'static AtomicI32,
    /// The place is another's by now.
    is_closed: AtomicBool,
}

/// A number beyond those that there can be.
const CLOSED: c_int = c_int::MAX;

impl Own {
    /// Moves a descriptor up and makes it ours.
    ///
    /// # Errors
    /// No descriptor, or no place, is left.
    pub fn new(fd: OwnedFd) -> io::Result<Own> {
        Own::copy_of(fd.as_raw_fd())
    }

    /// Another number for a descriptor of the program's, which it may close.
    ///
    /// # Errors
    /// As [`Own::new`].
    pub fn copy_of(fd: c_int) -> io::Result<Own> {
        let high = lift(fd)?;
        let free = |place: &AtomicI32| place.compare_exchange(-1, high, AcqRel, Relaxed).is_ok();
        let Some((index, place)) = OWN.iter().enumerate().find(|(_, place)| free(place)) else {
            close(high);
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        };
        USED.fetch_max(index as u32 + 1, AcqRel);
        LEAST.fetch_min(high, AcqRel);
        Ok(Own { place, is_closed: AtomicBool::new(false) })
    }

    /// The number; it changes when the program wants it for something else.
    pub fn number(&self) -> c_int {
        if self.is_closed.load(Acquire) { CLOSED } else { self.place.load(Acquire) }
    }

    /// Closes it, though others may hold this: in a child after fork, which has no use for it. Its number is one that nobody has from
    /// then on.
    pub fn close(&self) {
        if !self.is_closed.swap(true, AcqRel) {
            close(self.place.swap(-1, AcqRel));
        }
    }

    /// The descriptor, for one call.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as `self` lives; or it is closed, and the number nobody's.
        unsafe { BorrowedFd::borrow_raw(self.number()) }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.close();
    }
}

fn close(fd: c_int) {
    // SAFETY: the descriptor is ours to close.
    unsafe { real::close(fd) };
}

/// Another number for it, out of the way.
fn lift(fd: c_int) -> io::Result<c_int> {
    let limit = limit();
    let from = OWN_DESCRIPTORS_FROM.min(limit.saturating_sub(limit / 4));
    // SAFETY: both descriptors are ours.
    let high = unsafe { real::fcntl(fd, libc::F_DUPFD_CLOEXEC, from as usize) };
    if high < 0 { Err(io::Error::last_os_error()) } else { Ok(high) }
}

/// How many descriptors the program may have (RLIMIT_NOFILE).
pub fn limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// True when the descriptor is ours: the program must find it closed.
#[inline]
pub fn is_own(fd: c_int) -> bool {
    fd >= LEAST.load(Acquire) && places().any(|place| place.load(Relaxed) == fd)
}

/// The program wants this number for something of its own (dup2): ours moves elsewhere.
///
/// # Errors
/// No descriptor is left.
pub fn make_way(fd: c_int) -> io::Result<()> {
    if !is_own(fd) {
        return Ok(());
    }
    for place in places().filter(|place| place.load(Relaxed) == fd) {
        // Not closed: dup2 puts the program's own into its place.
        let high = lift(fd)?;
        place.store(high, Release);
        LEAST.fetch_min(high, AcqRel);
    }
    Ok(())
}

/// The numbers of ours in `first..=last`, in order.
pub fn within(first: u32, last: u32) -> impl Iterator<Item = u32> {
    let mut next = i64::from(first);
    core::iter::from_fn(move || {
        let numbers = places().map(|place| i64::from(place.load(Acquire)));
        let least = numbers.filter(|fd| *fd >= next && *fd <= i64::from(last)).min()?;
        next = least + 1;
        u32::try_from(least).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_ipc::wake::Bell;
    use std::os::fd::AsFd;

    #[test]
    fn they_live_high_and_make_way() {
        let fd = Bell::new().unwrap().as_fd().try_clone_to_owned().unwrap();
        let low = fd.as_raw_fd();
        let own = Own::new(fd).unwrap();
        let high = own.number();
        assert!(is_own(high) && !is_own(low) && !is_own(-1) && high > low);
        assert!(within(0, u32::MAX).any(|fd| fd == high as u32));
        make_way(high).unwrap();
        assert!(!is_own(high) && is_own(own.number()));
        // SAFETY: what made way is ours to close.
        unsafe { real::close(high) };
        let moved = own.number();
        drop(own);
        assert!(!is_own(moved));
    }
}
