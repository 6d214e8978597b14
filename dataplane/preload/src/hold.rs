//! What calls of the program's threads hold: sockets and attachments, which must stay what they are meanwhile.
//!
//! ```text
//!   thread:   begin ── since = epoch ──> looks a pointer up, uses it … ──> end ── since = 0
//!   who gives something up:   nobody can find it any more ── epoch + 1 ──> every thread holds nothing, or since then?  ──> it goes
//! ```
//!
//! A thread writes to a record of its own, with plain stores: calls must cost no more for this. That such a store is seen before what
//! the thread looks up afterwards, the one sees to who gives up: membarrier(2) makes all threads of the process pass a barrier.
//! Where there is no such call, or a thread has no record, nothing is given up.
//!
//! A signal handler may interrupt all of it: it begins and ends in turn, and leaves everything as it was, or its thread holding since
//! an earlier epoch than it does.

use crate::lock;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*, compiler_fence, fence};
use memmap2::MmapOptions;

/// Records that are made at a time.
const GROUP: usize = 64;

/// Since when a thread holds something.
#[derive(Debug)]
#[repr(align(64))]
struct Record {
    /// The epoch in which it began; 0: it holds nothing.
    since: AtomicU64,
}

struct Group {
    /// A bit for each record that is a thread's.
    taken: AtomicU64,
    next: AtomicPtr<Group>,
    records: [Record; GROUP],
}

impl Group {
    const fn new() -> Group {
        Group {
            taken: AtomicU64::new(0),
            next: AtomicPtr::new(null_mut()),
            records: [const { Record { since: AtomicU64::new(0) } }; GROUP],
        }
    }

    /// The first record that is no thread's.
    fn take(&self) -> Option<&Record> {
        let lowest = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
        let before = self.taken.fetch_update(AcqRel, Relaxed, lowest).ok()?;
        self.records.get(before.trailing_ones() as usize)
    }

    fn number_of(&self, record: *const Record) -> Option<usize> {
        self.records.iter().position(|one| core::ptr::eq(one, record))
    }
}

static FIRST: Group = Group::new();
static EPOCH: AtomicU64 = AtomicU64::new(1);
/// A thread has no record: what it holds nobody knows.
static IS_BLIND: AtomicBool = AtomicBool::new(false);
/// The key whose destructor runs when a thread ends, and one more; 0: there is none.
static KEY: AtomicU32 = AtomicU32::new(0);

struct Mine {
    /// Sockets and attachments that calls of this thread hold.
    held: Cell<u32>,
    record: Cell<*const Record>,
}

thread_local! {
    static MINE: Mine = const { Mine { held: Cell::new(0), record: Cell::new(null()) } };
}

fn groups() -> impl Iterator<Item = &'static Group> {
    // SAFETY: groups live for ever.
    core::iter::successors(Some(&FIRST), |group| unsafe { group.next.load(Acquire).as_ref() })
}

/// At load: threads that end give their records back.
pub fn begin() {
    let mut key = 0;
    // SAFETY: the key is live; a preloaded library is never unloaded.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(leave)) } == 0 {
        KEY.store(key + 1, Release);
    }
}

/// This thread begins to hold a socket or an attachment. (To be said before it does.)
#[inline]
pub fn begin_to_hold() {
    MINE.with(|mine| {
        mine.held.set(mine.held.get().wrapping_add(1));
        // SAFETY: records live for ever.
        match unsafe { mine.record.get().as_ref() } {
            Some(record) => record.begin(),
            None => mine.enlist(),
        }
    });
}

/// It lets go of it. (To be said afterwards.)
#[inline]
pub fn end_to_hold() {
    MINE.with(|mine| {
        let held = mine.held.get().wrapping_sub(1);
        mine.held.set(held);
        if held == 0 {
            // SAFETY: records live for ever.
            let record = unsafe { mine.record.get().as_ref() };
            record.into_iter().for_each(|record| record.since.store(0, Release));
        }
    });
}

/// True when this thread holds something. Whoever forks and does, does so in a signal handler that interrupted a call of this
/// library, which goes on afterwards, in the child as well.
pub fn is_holding() -> bool {
    MINE.with(|mine| mine.held.get() != 0)
}

impl Record {
    #[inline]
    fn begin(&self) {
        // (Not whether the thread held something before: a handler may have come between the count and this.)
        if self.since.load(Relaxed) == 0 {
            self.since.store(EPOCH.load(Acquire), Relaxed);
        }
        compiler_fence(SeqCst);
    }
}

impl Mine {
    #[cold]
    #[inline(never)]
    fn enlist(&self) {
        let mask = lock::block_signals();
        if self.record.get().is_null() {
            match groups().find_map(Group::take).or_else(make) {
                Some(record) => {
                    self.record.set(record);
                    if let Some(key) = KEY.load(Acquire).checked_sub(1) {
                        // One that cannot be remembered stays taken when the thread ends.
                        let _remembered =
                            // SAFETY: the key is ours.
                            unsafe { libc::pthread_setspecific(key, core::ptr::from_ref(record).cast()) };
                    }
                }
                None => IS_BLIND.store(true, SeqCst),
            }
        }
        // SAFETY: records live for ever.
        if let Some(record) = unsafe { self.record.get().as_ref() } {
            record.begin();
        }
        lock::restore_signals(&mask);
    }
}

/// Makes a group of records, and gives one of them. (Not by the program's allocator: it may be what called us.)
fn make() -> Option<&'static Record> {
    let mut map = MmapOptions::new().len(size_of::<Group>()).map_anon().ok()?;
    let place = map.as_mut_ptr().cast::<Group>();
    core::mem::forget(map);
    // SAFETY: the mapping is page-aligned, long enough, never unmapped, and known to nobody else.
    let group = unsafe {
        place.write(Group::new());
        &*place
    };
    let mine = group.take();
    let mut last = &FIRST;
    while last.next.compare_exchange(null_mut(), place, AcqRel, Acquire).is_err() {
        last = groups().last().unwrap_or(last);
    }
    mine
}

/// The thread ends. (Its other destructors may call in again: then it gets another record.)
unsafe extern "C" fn leave(record: *mut c_void) {
    let record = record.cast_const().cast::<Record>();
    let mask = lock::block_signals();
    MINE.with(|mine| {
        if core::ptr::eq(mine.record.get(), record) {
            mine.record.set(null());
        }
    });
    give_back(|group| group.number_of(record).map_or(0, |number| 1 << number));
    lock::restore_signals(&mask);
}

/// Gives records back: those whose bits are set.
fn give_back(which: impl Fn(&Group) -> u64) {
    for group in groups() {
        let given = which(group);
        let records = group.records.iter().enumerate().filter(|(number, _)| given >> number & 1 != 0);
        records.for_each(|(_, record)| record.since.store(0, Release));
        group.taken.fetch_and(!given, Release);
    }
}

/// In a child after fork: the other threads are in the parent.
pub fn begin_anew_after_fork() {
    let mine = MINE.with(|mine| mine.record.get());
    give_back(|group| !group.number_of(mine).map_or(0, |number| 1 << number));
    IS_BLIND.store(mine.is_null() && is_holding(), Relaxed);
}

/// A new epoch: who begins to hold something from now on cannot find what nobody could find before.
pub fn new_epoch() -> u64 {
    EPOCH.fetch_add(1, SeqCst) + 1
}

/// True when no thread holds anything since before this epoch.
pub fn is_nobody_left_from_before(epoch: u64) -> bool {
    let is_later = |record: &Record| {
        let since = record.since.load(Acquire);
        since == 0 || since >= epoch
    };
    let is_nobody_seen =
        || !IS_BLIND.load(Acquire) && groups().all(|group| group.records.iter().all(is_later));
    // The first look spares the call, and the threads their barriers.
    is_nobody_seen() && pass_barriers() && is_nobody_seen()
}

/// Every thread of the process passes a barrier. False where there is no such thing.
fn pass_barriers() -> bool {
    let call = |command: usize| {
        // SAFETY: the call has no effect but that of the barriers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    };
    const PRIVATE_EXPEDITED: usize = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;
    fence(SeqCst);
    let errno = crate::errno::get();
    let passed = call(PRIVATE_EXPEDITED) || call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED);
    crate::errno::set(errno);
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn who_holds_since_before_an_epoch_is_waited_for_and_who_began_in_it_is_not() {
        let (go, going) = mpsc::channel::<()>();
        let (did, done) = mpsc::channel();
        let other = std::thread::spawn(move || {
            let step = || {
                did.send(()).unwrap();
                going.recv().unwrap();
            };
            begin_to_hold();
            step();
            begin_to_hold();
            end_to_hold();
            step();
            end_to_hold();
            begin_to_hold();
            step();
            end_to_hold();
        });
        done.recv().unwrap();
        let epoch = new_epoch();
        assert!(!is_nobody_left_from_before(epoch), "it holds something");
        go.send(()).unwrap();
        done.recv().unwrap();
        assert!(!is_nobody_left_from_before(epoch), "of two things one is held still");
        go.send(()).unwrap();
        done.recv().unwrap();
        // Other tests of this process are no older than theirs.
        while !is_nobody_left_from_before(epoch) {
            std::thread::yield_now();
        }
        let next = new_epoch();
        assert!(!is_nobody_left_from_before(next));
        go.send(()).unwrap();
        other.join().unwrap();
        while !is_nobody_left_from_before(next) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn threads_that_end_leave_no_records_behind() {
        for _ in 0..4 {
            let threads: Vec<_> = (0..GROUP)
                .map(|_| {
                    std::thread::spawn(|| {
                        begin_to_hold();
                        end_to_hold();
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        // Four times as many threads as a group has records, and those of the test beside this one.
        assert!(groups().count() <= 3);
    }

    #[test]
    fn more_threads_than_a_group_has_records_have_one_each() {
        let barrier = std::sync::Barrier::new(GROUP + 2);
        let records = std::sync::Mutex::new(std::collections::BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..GROUP + 2 {
                scope.spawn(|| {
                    begin_to_hold();
                    records.lock().unwrap().insert(MINE.with(|mine| mine.record.get()) as usize);
                    barrier.wait();
                    end_to_hold();
                });
            }
        });
        assert_eq!(records.lock().unwrap().len(), GROUP + 2);
    }
}
