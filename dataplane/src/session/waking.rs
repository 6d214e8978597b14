//! Waking a program, for which no worker waits long.
//!
//! Whoever waits for one socket sleeps on a word of its cell, and whoever waits for many at a bell; to wake them, the kernel walks
//! all that wait there. How many do, the program says: a hostile one may hang thousands of epoll sets at its bell, or requests of
//! io_uring at a word, and every call that wakes them keeps the worker, and all its packets, for as long as that walk takes.
//!
//! So a worker looks how long it takes to wake each program ([`Patience`]). One for which it took long several times is woken *aside*
//! from then on: the worker marks in memory what is to be woken, and a thread of the program's user does it
//! ([`super::wakers`]).
//!
//! ```text
//!   worker: marks ──> asked ──> unpark ──> thread of the user: takes asked, then the marks; rings, wakes
//! ```

use super::limits::{LONG_WAKE, LONG_WAKE_CYCLES, LONG_WAKES};
use super::socket::Credentials;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU64, fence};
use core::time::Duration;
use flumen_ipc::bells::Ringer;
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, tree};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// What wakes a program, as all workers have it.
#[derive(Debug)]
pub struct Waking {
    bell: Bell,
    arena: Arc<Arena>,
    user: Credentials,
    /// It is woken by a thread of its own user's.
    is_aside: AtomicBool,
    /// That thread is to look at what follows.
    asked: AtomicBool,
    /// The bell is to be rung.
    to_ring: AtomicBool,
    /// Cells whose sleepers are to be woken: a bit for each slot.
    cells: Box<[AtomicU64]>,
    /// The thread, once there is one.
    thread: OnceLock<Thread>,
}

impl Waking {
    /// Of a program that workers wake themselves.
    pub fn new(arena: Arc<Arena>, bell: Bell, user: Credentials) -> Waking {
        let cells = (0..arena.geometry().slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Waking {
            bell,
            arena,
            user,
            is_aside: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            to_ring: AtomicBool::new(false),
            cells,
            thread: OnceLock::new(),
        }
    }

    /// Its bell.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Whose program it is.
    pub fn user(&self) -> Credentials {
        self.user
    }

    /// True when it is woken aside.
    #[inline]
    pub fn is_aside(&self) -> bool {
        self.is_aside.load(Relaxed)
    }

    /// It is woken aside from now on; true for who says so first.
    pub fn put_aside(&self) -> bool {
        !self.is_aside.swap(true, Relaxed)
    }

    /// Rings the bell. Root's programs are trusted not to make it block: they could end the service as well.
    fn ring(&self, ringer: Option<&Ringer>) {
        match ringer {
            Some(ringer) if !self.user.is_privileged() => {
                let _rings_or_never_did = ringer.ring(&self.bell);
            }
            _ => self.bell.ring(),
        }
    }

    /// Wakes who sleeps on a cell.
    fn wake(&self, slot: u32) {
        self.arena.cell(slot).wake();
    }

    /// Has the bell rung aside. Twice before that happens is once.
    fn ask_to_ring(&self) {
        // Release: partner of the Acquire of who rings, after what there is to be seen was written.
        self.to_ring.store(true, Release);
        self.ask();
    }

    /// Has who sleeps on a cell woken aside.
    fn ask_to_wake(&self, slot: u32) {
        if let Some(group) = self.cells.get(slot as usize / 64) {
            group.fetch_or(1 << (slot % 64), Release);
        }
        self.ask();
    }

    fn ask(&self) {
        if !self.asked.swap(true, SeqCst) {
            // Either the thread is seen here, or it sees what is asked when it begins ([`Waking::give_to`]).
            fence(SeqCst);
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    /// Who wakes it aside from now on, and is to look whether it was asked already.
    pub(super) fn give_to(&self, thread: Thread) {
        // It has one for as long as it lives.
        let _has_one = self.thread.set(thread);
        fence(SeqCst);
    }

    /// Wakes what is asked for. By that thread.
    pub(super) fn serve(&self, ringer: Option<&Ringer>) {
        if !self.asked.swap(false, SeqCst) {
            return;
        }
        if self.to_ring.swap(false, Acquire) {
            self.ring(ringer);
        }
        for (group, cells) in self.cells.iter().enumerate() {
            if cells.load(Relaxed) != 0 {
                let slots = cells.swap(0, AcqRel);
                tree::numbers((64 * group as u32, slots)).for_each(|slot| self.wake(slot));
            }
        }
    }
}

/// What one worker has of a program: how it wakes it, and for how long it still does so itself.
#[derive(Debug)]
pub struct Waker {
    waking: Arc<Waking>,
    patience: Patience,
}

impl Waker {
    /// The worker wakes it itself.
    pub fn new(waking: Arc<Waking>) -> Waker {
        Waker { waking, patience: Patience::default() }
    }

    /// What all workers have of it.
    pub fn waking(&self) -> &Arc<Waking> {
        &self.waking
    }

    /// Rings its bell. True when that was too long once too often, and the control thread is to find somebody for it.
    #[inline]
    pub fn ring(&mut self, ringer: Option<&Ringer>) -> bool {
        let Waker { waking, patience } = self;
        if waking.is_aside() {
            waking.ask_to_ring();
            return false;
        }
        patience.is_over(|| waking.ring(ringer)) && waking.put_aside()
    }

    /// Wakes who sleeps on a cell of its memory. True as for [`Waker::ring`].
    #[inline]
    pub fn wake(&mut self, slot: u32) -> bool {
        let Waker { waking, patience } = self;
        if waking.is_aside() {
            waking.ask_to_wake(slot);
            return false;
        }
        patience.is_over(|| waking.wake(slot)) && waking.put_aside()
    }
}

/// How long a worker was kept when it woke a program.
///
/// A look at the cycle counter is cheap, but tells only that time went by: whoever is woken may run at once, on this processor
/// and in the worker's place. So it is a suspicion, no more, and for the next [`u64::BITS`] times the worker also asks how long it
/// worked itself: one or two system calls, for programs that took long or share a processor with the worker.
#[derive(Debug, Default)]
struct Patience {
    /// How often it is still looked at more closely.
    suspected: u32,
    /// The last times, a bit for each: the worker itself worked long.
    long: u64,
}

impl Patience {
    /// Wakes; true when that took long too often.
    #[inline]
    fn is_over(&mut self, wake: impl FnOnce()) -> bool {
        let worked = (self.suspected > 0).then(worked);
        let began = af_xdp::cycles::now();
        wake();
        let was_long = af_xdp::cycles::now().wrapping_sub(began) > LONG_WAKE_CYCLES;
        if !was_long && self.suspected == 0 {
            return false;
        }
        let worked = worked.filter(|_| was_long).map(|before| self::worked().saturating_sub(before));
        self.note(was_long, worked)
    }

    /// A wake was long by the clock, and the worker worked so long for it, if that is known.
    fn note(&mut self, was_long: bool, worked: Option<Duration>) -> bool {
        self.suspected = if was_long { u64::BITS } else { self.suspected.saturating_sub(1) };
        let is_its_work = worked.is_some_and(|worked| worked > LONG_WAKE);
        self.long = self.long << 1 | u64::from(is_its_work);
        self.long.count_ones() >= LONG_WAKES
    }
}

/// How long this thread has had a processor.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Rings bells of programs that are not trusted; `None`: this kernel has no way to.
pub(super) fn ringer() -> Option<Ringer> {
    let made = Ringer::new();
    if let Err(error) = &made {
        tracing::warn!(%error, "a program of any user can make a worker wait: the kernel has no asynchronous input (io_setup) for us");
    }
    made.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_ipc::Geometry;

    const LONGER: Option<Duration> = Some(LONG_WAKE.saturating_add(Duration::from_nanos(1)));

    #[test]
    fn so_many_long_wakes_are_too_many_and_one_less_is_not() {
        let mut patience = Patience::default();
        for _ in 1..LONG_WAKES {
            assert!(!patience.note(true, LONGER));
        }
        assert!(!patience.note(true, Some(LONG_WAKE)), "no longer than may be");
        assert!(!patience.note(true, None), "nobody knows whose work it was");
        assert!(patience.note(true, LONGER));
    }

    #[test]
    fn what_was_long_ago_counts_no_more() {
        let mut patience = Patience::default();
        for _ in 0..100 {
            assert!(!patience.note(true, LONGER));
            for _ in 0..=u64::BITS / LONG_WAKES {
                assert!(!patience.note(false, None), "one of ten");
            }
        }
        patience.note(true, None);
        for _ in 0..u64::BITS {
            assert!(patience.suspected > 0);
            patience.note(false, None);
        }
        assert_eq!((patience.suspected, patience.long), (0, 0));
    }

    #[test]
    fn time_that_others_had_the_processor_for_is_not_the_programs() {
        // What the hypervisor takes may be counted as work: not each time, though.
        let waits = |patience: &mut Patience| {
            (0..2 * u64::BITS).all(|_| !patience.is_over(|| std::thread::sleep(Duration::from_millis(1))))
        };
        let mut patience = Patience::default();
        assert!((0..5).any(|_| {
            patience = Patience::default();
            waits(&mut patience)
        }));
        assert_eq!(patience.suspected, u64::BITS, "though it is looked at");
    }

    #[test]
    fn time_that_the_worker_works_for_it_is() {
        let mut patience = Patience::default();
        let work = || {
            let began = worked();
            while worked() - began < 2 * LONG_WAKE {}
        };
        // Twice as often, for a cycle of whatever counts them may be longer than is thought.
        assert!((0..2 * LONG_WAKES).any(|_| patience.is_over(work)));
    }

    #[test]
    fn whoever_is_put_aside_is_asked_for_in_memory_and_twice_is_once() {
        let geometry = Geometry { slots: 256, calls: 64, rx_bytes: 4096, tx_bytes: 4096, workers: 1 };
        let (arena, _) = Arena::create(geometry).unwrap();
        let bell = Bell::new().unwrap();
        let waking = Arc::new(Waking::new(Arc::new(arena), bell, Credentials::default()));
        let mut waker = Waker::new(Arc::clone(&waking));
        assert!(!waker.ring(None) && waking.bell().silence(), "the worker rings");
        assert!(waking.put_aside());
        for slot in [0, 63, 64, 255, 255] {
            assert!(!waker.wake(slot) && !waker.ring(None));
        }
        assert!(!waking.bell().silence(), "the worker does not");
        let marks = || waking.cells.iter().map(|group| group.load(Relaxed)).collect::<Vec<_>>();
        assert_eq!(marks(), [1 << 63 | 1, 1, 0, 1 << 63]);
        waking.serve(None);
        assert_eq!(marks(), [0; 4]);
        assert!(waking.bell().silence());
        waking.serve(None);
        assert!(!waking.bell().silence(), "once");
    }
}
