//! Arenas that sockets of this process live in: its own, and those of other programs that sockets came from. An arena is mapped
//! once, however many sockets of it are here, and unmapped when the last of them is gone.
//!
//! ```text
//!   attachment ──┐
//!   socket ──────┼── each counts as one user ──> Home: the mapping ── the last one goes: munmap ──> a free record for the next
//!   socket ──────┘
//! ```
//!
//! Who is in a call on a socket holds the socket, and the socket its home: so nobody touches a mapping that is gone. A socket
//! may be let go of in a signal handler, so that takes no lock and gives nothing to the program's allocator: records of homes live
//! for ever and serve again; there are as many as ever were mapped at a time.

use crate::errno::Result;
use crate::lock::{Guard, Lock};
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use flumen_ipc::{Arena, Geometry};
use std::os::fd::OwnedFd;

/// A place for a mapped arena.
#[derive(Debug)]
pub struct Home {
    /// Sockets and attachments that have it. At 0 whoever brought it there takes the mapping away.
    users: AtomicU32,
    /// Nothing is in it, and nobody is at it.
    is_free: AtomicBool,
    body: UnsafeCell<Option<Body>>,
}

#[derive(Debug)]
struct Body {
    /// The token of the program whose arena it is.
    name: [u8; 16],
    arena: Arena,
}

// SAFETY: the body is read by who counts as a user, and changed only while there is none: by the last user, or, in a record that is
// free, by who has the lock of all records.
unsafe impl Sync for Home {}

static HOMES: Lock<Vec<&'static Home>> = Lock::new(Vec::new());

/// While it is held no home is looked for: for a fork.
pub struct Quiet {
    _guard: Guard<'static, Vec<&'static Home>>,
}

/// Before a fork.
pub fn hold_for_fork() -> Quiet {
    Quiet { _guard: HOMES.lock() }
}

/// A home that is used.
#[derive(Debug)]
pub struct HomeRef(&'static Home);

impl HomeRef {
    /// The home of this name; mapped if it is not yet.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn open(name: [u8; 16], memory: OwnedFd, geometry: Geometry) -> Result<HomeRef> {
        let mut homes = HOMES.lock();
        let known = homes.iter().filter_map(|home| home.hold()).find(|home| home.0.body().name == name);
        if let Some(home) = known {
            return Ok(home);
        }
        let body = Body { name, arena: Arena::open(memory, geometry)? };
        let home = match homes.iter().find(|home| home.is_free.load(Acquire)) {
            Some(free) => free,
            None => {
                let new = Home {
                    users: AtomicU32::new(0),
                    is_free: AtomicBool::new(true),
                    body: UnsafeCell::new(None),
                };
                homes.push(Box::leak(Box::new(new)));
                homes[homes.len() - 1]
            }
        };
        home.is_free.store(false, Relaxed);
        // SAFETY: a free record, with the lock of all held.
        unsafe { *home.body.get() = Some(body) };
        home.users.store(1, Release);
        Ok(HomeRef(home))
    }

    /// As a word that counts as a user, for [`HomeRef::from_raw`].
    pub fn into_raw(self) -> *mut Home {
        core::ptr::from_ref(core::mem::ManuallyDrop::new(self).0).cast_mut()
    }

    /// The user that a word counts as; `None` for null.
    ///
    /// # Safety
    /// The word came from [`HomeRef::into_raw`], and no other user is made of it.
    pub unsafe fn from_raw(word: *mut Home) -> Option<HomeRef> {
        // SAFETY: records live for ever.
        unsafe { word.as_ref() }.map(HomeRef)
    }

    /// True when a word is of the same home.
    pub fn is(&self, word: *mut Home) -> bool {
        core::ptr::eq(self.0, word)
    }
}

impl Home {
    /// One more user, unless the last one is gone.
    fn hold(&'static self) -> Option<HomeRef> {
        let more = |users: u32| (users > 0).then(|| users + 1);
        self.users.fetch_update(AcqRel, Relaxed, more).is_ok().then(|| HomeRef(self))
    }

    /// The mapping. By users only.
    pub fn arena(&self) -> &Arena {
        &self.body().arena
    }

    fn body(&self) -> &Body {
        // SAFETY: a user's; so the body is there, and nobody changes it.
        unsafe { (*self.body.get()).as_ref().unwrap_unchecked() }
    }
}

impl Deref for HomeRef {
    type Target = Arena;
    #[inline]
    fn deref(&self) -> &Arena {
        self.0.arena()
    }
}

impl Clone for HomeRef {
    fn clone(&self) -> HomeRef {
        self.0.users.fetch_add(1, Relaxed);
        HomeRef(self.0)
    }
}

impl Drop for HomeRef {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: the last user's going: nobody holds it, and nobody can any more.
            unsafe { *self.0.body.get() = None };
            self.0.is_free.store(true, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Geometry = Geometry { slots: 64, calls: 64, rx_bytes: 4096, tx_bytes: 4096, workers: 1 };

    fn memory() -> OwnedFd {
        Arena::create(SMALL).unwrap().1
    }

    /// Where an arena is mapped.
    fn at(home: &HomeRef) -> usize {
        core::ptr::from_ref(home.head()).addr()
    }

    fn is_mapped(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| line.starts_with(&format!("{address:x}-")) && line.contains("flumen-arena"))
    }

    #[test]
    fn a_home_is_mapped_once_and_unmapped_when_its_last_user_goes() {
        let memory = memory();
        let open = || HomeRef::open([1; 16], memory.try_clone().unwrap(), SMALL).unwrap();
        let (first, second) = (open(), open());
        let address = at(&first);
        assert_eq!(at(&second), address);
        let word = second.clone().into_raw();
        drop((first, second));
        assert!(is_mapped(address), "the word counts");
        // SAFETY: of `into_raw`, once.
        let last = unsafe { HomeRef::from_raw(word) }.unwrap();
        assert_eq!(at(&last), address);
        drop(last);
        assert!(!is_mapped(address));
    }

    #[test]
    fn many_programs_come_and_go_and_leave_no_record_behind() {
        let come = |name: u8| HomeRef::open([name; 16], memory(), SMALL).unwrap();
        for _ in 0..50 {
            let homes: Vec<_> = (10..14).map(come).collect();
            assert!(homes.iter().all(|home| is_mapped(at(home))));
        }
        // Those of the other tests beside them.
        assert!(HOMES.lock().len() < 20);
    }

    #[test]
    fn who_looks_while_the_last_user_goes_finds_a_home_that_is_mapped() {
        let memory = memory();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let home = HomeRef::open([20; 16], memory.try_clone().unwrap(), SMALL).unwrap();
                        home.news().mark(3);
                        assert!(home.cell(3).flags() == flumen_ipc::Flags::NONE);
                    }
                });
            }
        });
    }
}
