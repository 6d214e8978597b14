//! Three kinds of locks.
//!
//! [`Lock`] is for the slow paths. While it is held no signal handler runs in the thread, for a handler that calls in again
//! would wait for what it interrupted.
//!
//! [`turn`] takes a socket's turn to read or to write: a word in the cell, shared by all processes that have the socket,
//! holding the thread that has it. It is held while bytes are copied, never while somebody sleeps. A thread that died with
//! it loses it; a signal handler that finds its own thread there gets nothing.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use core::time::Duration;
use flumen_ipc::wake;
use std::cell::Cell;

/// A lock of the slow paths.
#[derive(Debug, Default)]
pub struct Lock<T> {
    /// 0 free, 1 taken.
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through a guard, and there is one guard at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

/// What is held while a [`Lock`] is.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    mask: libc::sigset_t,
}

impl<T> Lock<T> {
    /// A free one.
    pub const fn new(value: T) -> Lock<T> {
        Lock { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Takes it.
    pub fn lock(&self) -> Guard<'_, T> {
        let mask = block_signals();
        while self.word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            std::thread::yield_now();
        }
        Guard { lock: self, mask }
    }

    /// In a child after fork, where no other thread is: whoever held the lock is in the parent.
    pub fn free_after_fork(&self) {
        self.word.store(0, Release);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this is the one guard of the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.word.store(0, Release);
        restore_signals(&self.mask);
    }
}

/// A lock that is taken or done without: by who can do otherwise. It keeps no signals out, for nobody ever waits for it.
#[derive(Debug, Default)]
pub struct TryLock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: as of `Lock`.
unsafe impl<T: Send> Sync for TryLock<T> {}

/// What is held while a [`TryLock`] is.
pub struct TryGuard<'a, T>(&'a TryLock<T>);

impl<T> TryLock<T> {
    /// A free one.
    pub const fn new(value: T) -> TryLock<T> {
        TryLock { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes it; `None` when somebody has it, who may be the very thread that a signal handler interrupted.
    pub fn try_lock(&self) -> Option<TryGuard<'_, T>> {
        self.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok().then_some(TryGuard(self))
    }

    /// In a child after fork, where no other thread is.
    pub fn free_after_fork(&self) {
        self.taken.store(false, Release);
    }
}

impl<T> Deref for TryGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this is the one guard of the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for TryGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for TryGuard<'_, T> {
    fn drop(&mut self) {
        self.0.taken.store(false, Release);
    }
}

fn block_signals() -> libc::sigset_t {
    let mut all = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both are live; sigfillset and pthread_sigmask write them whole.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(before.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the mask is live.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, core::ptr::null_mut()) };
}

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// The number of this thread.
#[inline]
pub fn thread() -> u32 {
    THREAD.with(|number| {
        if number.get() == 0 {
            number.set(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        }
        number.get()
    })
}

/// In a child after fork: the thread has another number.
pub fn forget_thread() {
    THREAD.with(|number| number.set(0));
}

/// A turn that was taken.
#[derive(Debug)]
pub struct Turn<'a>(&'a AtomicU32);

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

/// Rounds of waiting for a turn after which it is looked whether its owner lives.
const PATIENCE: u32 = 1000;

/// Takes a turn; `None` when a signal handler interrupted this very thread in its turn.
#[inline]
pub fn turn(word: &AtomicU32) -> Option<Turn<'_>> {
    let me = thread();
    if word.compare_exchange(0, me, Acquire, Relaxed).is_ok() {
        Some(Turn(word))
    } else {
        wait_for_turn(word, me)
    }
}

#[cold]
fn wait_for_turn(word: &AtomicU32, me: u32) -> Option<Turn<'_>> {
    let mut rounds = 0u32;
    loop {
        match word.compare_exchange(0, me, Acquire, Relaxed) {
            Ok(_) => return Some(Turn(word)),
            Err(owner) if owner == me => return None,
            Err(owner) => {
                rounds = rounds.wrapping_add(1);
                if rounds.is_multiple_of(PATIENCE) {
                    if is_gone(owner) && word.compare_exchange(owner, me, Acquire, Relaxed).is_ok() {
                        return Some(Turn(word));
                    }
                    wake::futex_wait(word, owner, Duration::from_millis(1));
                } else {
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// True when no thread with this number is left on the machine.
pub fn is_gone(thread: u32) -> bool {
    // SAFETY: signal 0 is sent to nobody.
    let sent = unsafe { libc::syscall(libc::SYS_tkill, thread, 0) };
    sent < 0 && crate::errno::get() == libc::ESRCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes() {
        let lock = Lock::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 4000);
    }

    #[test]
    fn a_turn_is_not_given_to_the_thread_that_has_it_and_is_taken_from_the_dead() {
        let word = AtomicU32::new(0);
        let mine = turn(&word).unwrap();
        assert!(turn(&word).is_none(), "a signal handler");
        drop(mine);
        let dead = std::thread::spawn(thread).join().unwrap();
        word.store(dead, SeqCst);
        assert!(turn(&word).is_some());
    }
}
