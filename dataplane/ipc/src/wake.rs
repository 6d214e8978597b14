//! Waking the other side: futex words in shared memory for threads that wait for one socket or one answer, an eventfd for
//! those that wait for many things at once.
//!
//! What a signal does to a blocked recv depends on whether the socket has a timeout: without one the call goes on after a
//! handler with SA_RESTART, with one it always ends with EINTR (socket(7), signal(7)). The two futex calls here do just
//! that: `futex_waitv` restarts though it has a deadline, the old `FUTEX_WAIT` with a timeout never does.

use core::sync::atomic::AtomicU32;
use core::time::Duration;
use rustix::event::EventfdFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slept {
    /// Woken, or the word had changed already; look again.
    Woken,
    /// A signal handler ran (EINTR).
    Interrupted,
    /// The time is over.
    TimedOut,
}

fn timespec(time: Duration) -> libc::timespec {
    let tv_sec = time.as_secs().try_into().unwrap_or(libc::time_t::MAX);
    libc::timespec { tv_sec, tv_nsec: time.subsec_nanos().into() }
}

/// Sleeps until somebody wakes `word`, if it is still `expected`, for at most `timeout`. Any signal handler ends it.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Slept {
    let timeout = timespec(timeout);
    // SAFETY: the word is a live, aligned atomic, and the timeout a live value. (Not FUTEX_PRIVATE: the word is shared
    // between processes.)
    let result = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const timeout)
    };
    outcome(result)
}

/// As [`futex_wait`], but goes on after handlers with SA_RESTART; for waits that end only when there is something: whoever
/// calls looks every `interval` whether the other side still lives, and waits on.
pub fn futex_wait_restarting(word: &AtomicU32, expected: u32, interval: Duration) -> Slept {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live value to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let until = timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32).saturating_add(interval));
    // struct futex_waitv: value, address, flags (FUTEX_32), reserved.
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const FUTEX_32: u32 = 2;
    let waiter =
        Waiter { value: expected.into(), address: word.as_ptr() as u64, flags: FUTEX_32, reserved: 0 };
    // SAFETY: one waiter, a live value that names a live, aligned atomic; the deadline is a live value.
    let result = unsafe {
        libc::syscall(libc::SYS_futex_waitv, &raw const waiter, 1, 0, &raw const until, libc::CLOCK_MONOTONIC)
    };
    if result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        // Valgrind does not know the call. There a signal handler ends the sleep.
        return futex_wait(word, expected, interval);
    }
    outcome(result)
}

fn outcome(result: libc::c_long) -> Slept {
    if result >= 0 {
        return Slept::Woken;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EINTR) => Slept::Interrupted,
        Some(libc::ETIMEDOUT) => Slept::TimedOut,
        _ => Slept::Woken,
    }
}

/// Wakes as many as `most` threads that sleep on `word`.
pub fn futex_wake(word: &AtomicU32, most: u32) {
    let most = most.min(i32::MAX as u32);
    // SAFETY: the word is a live, aligned atomic; waking reads nothing.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
}

/// An eventfd: readable once it was rung.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Bell> {
        Ok(Bell(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// One that came through a socket.
    pub fn from_fd(fd: OwnedFd) -> Bell {
        Bell(fd)
    }

    /// Rings. One that rings already (EAGAIN) rings on. Not for a bell whose other owner is not trusted: see
    /// [`crate::bells::Ringer`].
    pub fn ring(&self) {
        let _rings_already = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it silent again. True when it rang.
    pub fn silence(&self) -> bool {
        rustix::io::read(&self.0, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::SeqCst;

    #[test]
    fn a_word_that_changed_is_not_slept_on_and_a_sleep_ends_with_its_time() {
        let word = AtomicU32::new(7);
        let moment = Duration::from_millis(1);
        assert_eq!(futex_wait(&word, 6, Duration::MAX), Slept::Woken);
        assert_eq!(futex_wait(&word, 7, moment), Slept::TimedOut);
        assert_eq!(futex_wait_restarting(&word, 6, Duration::MAX), Slept::Woken);
        assert_eq!(futex_wait_restarting(&word, 7, moment), Slept::TimedOut);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(SeqCst) == 0 {
                    futex_wait_restarting(&word, 0, Duration::from_secs(60));
                }
            });
            word.store(1, SeqCst);
            futex_wake(&word, 1);
        });
    }
}
