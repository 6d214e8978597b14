//! Four kinds of locks.
//!
//! [`Lock`] is for the slow paths. While it is held no signal handler runs in the thread, for a handler that calls in again
//! would wait for what it interrupted.
//!
//! [`turn`] takes a socket's turn to read or to write: a word in the cell, shared by all processes that have the socket,
//! holding the thread that has it. It is held while bytes are copied, never while somebody sleeps. A thread that died with
//! it loses it; a signal handler that finds its own thread there gets nothing.
//!
//! [`TryLock`] and [`Chore`] are for what can be left to others, or done later.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*, fence};
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

    /// In a child after fork, where no other thread is: whoever held the lock is in the parent, and may have been in the midst of
    /// changing the value, which begins anew then. (What it was before stays as it is in memory: nobody can tell what it is.)
    pub fn free_after_fork(&self, anew: impl FnOnce() -> T) {
        if self.word.load(Acquire) != 0 {
            // SAFETY: no other thread is here, and this one does not hold it: that would have kept signals out, and with them the
            // handler that it may be in.
            unsafe { self.value.get().write(anew()) };
            self.word.store(0, Release);
        }
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

/// Work that is done by whoever finds that there is some, one thread at a time. Who comes while another is at it goes on: so a signal
/// handler never waits. Who is at it lets no signal in, and waits for nobody: so whoever forks may wait until it is done.
#[derive(Debug, Default)]
pub struct Chore(AtomicBool);

/// While it is held, the chore is nobody's.
pub struct Undone<'a>(&'a Chore);

impl Chore {
    /// One that nobody is at.
    pub const fn new() -> Chore {
        Chore(AtomicBool::new(false))
    }

    fn take(&self) -> bool {
        self.0.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    /// Does it as long as there is `more` to do, unless another is at it, who then looks once more.
    pub fn run(&self, mut work: impl FnMut(), more: impl Fn() -> bool) {
        loop {
            // What there is to do is said before it is looked whether another is at it; who is looks the other way round.
            fence(SeqCst);
            let mask = block_signals();
            let is_mine = self.take();
            if is_mine {
                work();
                self.0.store(false, Release);
            }
            restore_signals(&mask);
            fence(SeqCst);
            if !is_mine || !more() {
                return;
            }
        }
    }

    /// Before a fork, with signals kept out: waits for who is at it, and keeps others away.
    pub fn hold_for_fork(&self) -> Undone<'_> {
        while !self.take() {
            std::thread::yield_now();
        }
        Undone(self)
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Release);
    }
}

/// Keeps signals out of this thread; what was kept out before.
pub fn block_signals() -> libc::sigset_t {
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

/// Keeps out what was kept out before.
pub fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the mask is live.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, core::ptr::null_mut()) };
}

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
    /// Turns that it has, or is about to take.
    static TURNS: Cell<u32> = const { Cell::new(0) };
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

/// How many forks there are between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Changes with every fork, in the child.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// In a child after fork: the thread has another number, and the turns that it had are its parent's.
pub fn begin_anew_after_fork() {
    GENERATION.fetch_add(1, Relaxed);
    THREAD.with(|number| number.set(0));
    // Asked for now: a child that goes into a sandbox may not ask later.
    thread();
}

/// A turn that was taken.
#[derive(Debug)]
pub struct Turn<'a> {
    word: &'a AtomicU32,
    owner: u32,
    generation: u32,
}

impl Turn<'_> {
    /// False in a child after a fork in a signal handler that interrupted the turn: it is the parent's, which ends what it began.
    /// To be asked before anything is moved on; who has it no more begins again.
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.generation == generation()
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_mine() {
            // (Between the look and this there may be a fork, and the parent may have given it up: it is given up once.)
            let _given_up = self.word.compare_exchange(self.owner, 0, Release, Relaxed);
        }
        TURNS.with(|turns| turns.set(turns.get().wrapping_sub(1)));
    }
}

/// Rounds of waiting for a turn after which it is looked whether its owner lives.
const PATIENCE: u32 = 1000;

/// Takes a turn; `None` when a signal handler interrupted this very thread in its turn.
#[inline]
pub fn turn(word: &AtomicU32) -> Option<Turn<'_>> {
    let turns = TURNS.with(|turns| turns.replace(turns.get().wrapping_add(1)));
    let taken = match try_turn(word, turns) {
        Ok(turn) => Some(turn),
        Err(owner) => wait_for_turn(word, turns, owner),
    };
    if taken.is_none() {
        TURNS.with(|turns| turns.set(turns.get().wrapping_sub(1)));
    }
    taken
}

/// Takes it unless another has it, who is told. `turns`: how many the thread has that were interrupted.
#[inline]
fn try_turn(word: &AtomicU32, turns: u32) -> Result<Turn<'_>, u32> {
    let (generation, owner) = (self::generation(), thread());
    let taken = match word.compare_exchange(0, owner, Acquire, Relaxed) {
        // This thread has none: a child took it, in the moment after it was forked, under the number of this thread, and found out.
        Err(other) if other == owner && turns == 0 => Ok(owner),
        taken => taken,
    };
    match taken {
        // A child knows not whether its parent took it or itself: then it is the parent's.
        Ok(_) if generation != self::generation() => Err(owner),
        taken => taken.map(|_| Turn { word, owner, generation }),
    }
}

#[cold]
fn wait_for_turn(word: &AtomicU32, turns: u32, mut owner: u32) -> Option<Turn<'_>> {
    let mut rounds = 0u32;
    while owner != thread() {
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(PATIENCE) && is_gone(owner) {
            // Another may be faster.
            let _taken = word.compare_exchange(owner, 0, Acquire, Relaxed);
        } else {
            rest(word, owner, rounds);
        }
        owner = match try_turn(word, turns) {
            Ok(turn) => return Some(turn),
            Err(owner) => owner,
        };
    }
    None
}

/// As [`turn`], of a word that no other process has, and that is given up by setting it to 0. False: a signal handler interrupted
/// this very thread in its turn.
#[inline]
pub fn turn_within(word: &AtomicU32) -> bool {
    let mut rounds = 0u32;
    loop {
        match word.compare_exchange(0, thread(), Acquire, Relaxed) {
            Ok(_) => return true,
            Err(owner) if owner == thread() => return false,
            Err(owner) => {
                rounds = rounds.wrapping_add(1);
                rest(word, owner, rounds);
            }
        }
    }
}

/// Lets the owner run, for a while and then for longer.
fn rest(word: &AtomicU32, owner: u32, rounds: u32) {
    if rounds.is_multiple_of(PATIENCE) {
        wake::futex_wait(word, owner, Duration::from_millis(1));
    } else {
        std::thread::yield_now();
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

    #[test]
    fn a_child_gives_no_turn_up_that_its_parent_has() {
        let word = AtomicU32::new(0);
        let mine = turn(&word).unwrap();
        let parents = thread();
        begin_anew_after_fork();
        assert!(!mine.is_mine());
        drop(mine);
        assert_eq!(word.load(SeqCst), parents);
        word.store(0, SeqCst);
        let mine = turn(&word).unwrap();
        assert!(mine.is_mine());
        drop(mine);
        assert_eq!(word.load(SeqCst), 0);
    }
}
