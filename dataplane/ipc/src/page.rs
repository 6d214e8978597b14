//! The service's page: what every program may read and none may write (the memfd is sealed against it). Which workers
//! sleep, so that nobody rings those that are awake; how many turns they made; and whether the service goes.

use crate::limits::MAX_WORKERS;
use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, SeqCst},
};
use core::time::Duration;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// The words of the page.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PageWords {
    /// For each worker: 0 while it is awake; when it sleeps or is about to, the number of this sleep.
    pub asleep: [AtomicU32; MAX_WORKERS],
    /// For each worker: the processor that it runs on, plus one; 0: nobody said.
    pub cpu: [AtomicU32; MAX_WORKERS],
    /// For each worker: how many sockets live on it.
    pub sockets: [AtomicU32; MAX_WORKERS],
    /// Changes whenever the answer of [`crate::Op::Whose`] may have changed.
    pub generation: AtomicU32,
    /// Not 0: the service stops.
    pub stopping: AtomicU32,
    /// Nanoseconds between 1970 and the origin of the service's clock.
    pub wall: AtomicU64,
    /// For each worker: its turns, modulo 2^32. Each in a line of its own, for it is written all the time and seldom read.
    pub turns: [Turns; MAX_WORKERS],
}

/// A worker's turns, counted when one ends.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Turns(pub AtomicU32);

/// How long [`ServicePage::await_turn`] waits at most.
const LONGEST_TURN: Duration = Duration::from_millis(1);

/// A mapping of the page.
#[derive(Debug)]
pub struct ServicePage {
    map: MmapRaw,
}

impl ServicePage {
    /// Makes it; the descriptor is for programs, which can map it for reading only.
    ///
    /// # Errors
    /// The system's.
    pub fn create() -> io::Result<(ServicePage, OwnedFd)> {
        let fd = rustix::fs::memfd_create("flumen-page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let len = size_of::<PageWords>();
        rustix::fs::ftruncate(&fd, len as u64)?;
        let map = MmapOptions::new().len(len).map_raw(&fd)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok((ServicePage { map }, fd))
    }

    /// Maps it in a program.
    ///
    /// # Errors
    /// The system's; something that is no page.
    pub fn open(fd: impl AsFd) -> io::Result<ServicePage> {
        let len = size_of::<PageWords>();
        if rustix::fs::fstat(&fd)?.st_size < len as i64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the service's page is too short"));
        }
        let map = MmapOptions::new().len(len).map_raw_read_only(&fd.as_fd())?;
        Ok(ServicePage { map })
    }

    /// The words. A program that writes to them is ended by the kernel.
    pub fn words(&self) -> &PageWords {
        // SAFETY: the mapping is page-aligned, long enough, sealed against shrinking, and lives as long as `self`; all words are
        // atomics, for which any bits are valid.
        unsafe { &*self.map.as_ptr().cast::<PageWords>() }
    }

    /// True when the worker runs on the processor that the caller runs on: waiting for it without letting it run is in vain.
    #[inline]
    pub fn is_beside(&self, worker: usize) -> bool {
        // SAFETY: takes no arguments.
        let cpu = unsafe { libc::sched_getcpu() };
        self.words().cpu.get(worker).is_some_and(|word| i64::from(word.load(Relaxed)) == i64::from(cpu) + 1)
    }

    /// Waits until the worker has made a whole turn that began after this call, and so has taken what was marked before and
    /// told who hears of it; or for a millisecond. No system call, but that it lets a worker on this processor run.
    pub fn await_turn(&self, worker: usize) {
        let Some(Turns(turns)) = self.words().turns.get(worker) else { return };
        // One may be on its way, which did not see what was marked: that ends, then the next one.
        let (seen, begin) = (turns.load(SeqCst), Instant::now());
        while turns.load(Acquire).wrapping_sub(seen) < 2 && begin.elapsed() < LONGEST_TURN {
            if self.is_beside(worker) {
                rustix::thread::sched_yield();
            } else {
                core::hint::spin_loop();
            }
        }
    }

    /// The worker, of the first `workers`, with the fewest sockets: for a socket that names no port.
    pub fn least_busy(&self, workers: u32) -> u32 {
        let sockets = self.words().sockets.iter().zip(0..workers);
        sockets.min_by_key(|(count, _)| count.load(Relaxed)).map_or(0, |(_, worker)| worker)
    }

    /// The number of the sleep that the worker is in, or about to begin; 0: it is awake. To be asked after what it should see
    /// was written. Who has rung for a sleep need not ring again for the same one: the worker looks at everything when it
    /// wakes.
    #[inline]
    pub fn sleep(&self, worker: usize) -> u32 {
        self.words().asleep.get(worker).map_or(0, |word| word.load(SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_writes_a_program_reads_and_cannot_map_for_writing() {
        let (page, fd) = ServicePage::create().unwrap();
        let reader = ServicePage::open(&fd).unwrap();
        page.words().asleep[3].store(7, SeqCst);
        assert_eq!([3, 2, MAX_WORKERS].map(|worker| reader.sleep(worker)), [7, 0, 0]);
        for (word, count) in page.words().sockets.iter().zip([5, 2, 2, 0]) {
            word.store(count, SeqCst);
        }
        assert_eq!([1, 3, 4].map(|workers| reader.least_busy(workers)), [0, 1, 3]);
        // A turn that ends, and then a whole one; nobody turns: a millisecond. Neither is told apart from the other by time.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (0..100).for_each(|_| reader.await_turn(3)));
            while !waiting.is_finished() {
                page.words().turns[3].0.fetch_add(1, SeqCst);
            }
        });
        reader.await_turn(2);
        reader.await_turn(MAX_WORKERS);
        assert!(MmapOptions::new().len(64).map_raw(&fd).is_err());
        assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    }
}
