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
//! may be let go of in a signal handler, so that waits for no lock and gives nothing to the program's allocator: records of homes live
//! for ever and serve again; there are as many as ever were mapped at a time.
//!
//! A fork finds each record free, used, or used by nobody: who unmaps is waited for. A child counts users anew, for those that were in
//! calls of its parent's other threads are not in it ([`count_anew`]).

use crate::errno::Result;
use crate::lock::{Chore, Guard, Lock, Undone};
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use flumen_ipc::{Arena, Geometry};
use std::os::fd::OwnedFd;

/// [`Home::users`] of a record without a mapping.
const FREE: u32 = u32::MAX;

/// A place for a mapped arena.
#[derive(Debug)]
pub struct Home {
    /// Sockets and attachments that have it. At 0 the mapping is to be taken away; then it is [`FREE`].
    users: AtomicU32,
    body: UnsafeCell<Option<Body>>,
    /// The record that was made before.
    next: Option<&'static Home>,
}

#[derive(Debug)]
struct Body {
    /// The token of the program whose arena it is.
    name: [u8; 16],
    arena: Arena,
}

// SAFETY: the body is read by who counts as a user, and changed only while there is none: by who is at the chore of taking mappings
// away, or, in a record that is free, by who has the lock for it.
unsafe impl Sync for Home {}

/// All records, the newest first.
static NEWEST: AtomicPtr<Home> = AtomicPtr::new(null_mut());
/// Whoever looks for a home, or makes one.
static FINDING: Lock<()> = Lock::new(());
/// Taking away what nobody uses.
static CLEARING: Chore = Chore::new();

fn all() -> impl Iterator<Item = &'static Home> {
    // SAFETY: records live for ever.
    core::iter::successors(unsafe { NEWEST.load(Acquire).as_ref() }, |home| home.next)
}

/// Takes the mappings away that nobody uses.
#[cold]
fn clear() {
    let nobodys = || all().filter(|home| home.users.load(Acquire) == 0);
    let work = || {
        for home in nobodys() {
            // SAFETY: nobody holds it, and nobody can any more; there is one thread at a time here.
            unsafe { *home.body.get() = None };
            home.users.store(FREE, Release);
        }
    };
    CLEARING.run(work, || nobodys().next().is_some());
}

/// While it is held no home is looked for, and none taken away: for a fork.
pub struct Quiet {
    _finding: Guard<'static, ()>,
    clearing: Option<Undone<'static>>,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.clearing = None;
        clear();
    }
}

/// Before a fork.
pub fn hold_for_fork() -> Quiet {
    let finding = FINDING.lock();
    Quiet { _finding: finding, clearing: Some(CLEARING.hold_for_fork()) }
}

/// In a child after fork in which no call is on its way: `users` tells each user that is here.
pub fn count_anew(users: impl FnOnce(&mut dyn FnMut(&Home))) {
    let undone = CLEARING.hold_for_fork();
    all().filter(|home| home.users.load(Relaxed) != FREE).for_each(|home| home.users.store(0, Relaxed));
    users(&mut |home| {
        home.users.fetch_add(1, Relaxed);
    });
    drop(undone);
    clear();
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
        let _finding = FINDING.lock();
        let known = all().filter_map(Home::hold).find(|home| home.0.body().name == name);
        if let Some(home) = known {
            return Ok(home);
        }
        let body = Some(Body { name, arena: Arena::open(memory, geometry)? });
        if let Some(free) = all().find(|home| home.users.load(Acquire) == FREE) {
            // SAFETY: a free record, with the lock for it held.
            unsafe { *free.body.get() = body };
            free.users.store(1, Release);
            return Ok(HomeRef(free));
        }
        let new = Box::leak(Box::new(Home {
            users: AtomicU32::new(1),
            body: UnsafeCell::new(body),
            next: all().next(),
        }));
        NEWEST.store(new, Release);
        Ok(HomeRef(new))
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

    /// What it counts in.
    pub fn record(&self) -> &'static Home {
        self.0
    }

    /// True when a word is of the same home.
    pub fn is(&self, word: *mut Home) -> bool {
        core::ptr::eq(self.0, word)
    }
}

impl Home {
    /// One more user, unless the last one is gone.
    fn hold(&'static self) -> Option<HomeRef> {
        let more = |users: u32| (users != 0 && users != FREE).then(|| users + 1);
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
            clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

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
        assert!(all().count() < 20);
    }

    /// An arena that nothing has mapped, and its inode.
    fn unmapped() -> (OwnedFd, String) {
        let memory = memory();
        let inode = rustix::fs::fstat(&memory).unwrap().st_ino;
        (memory, format!(" {inode} "))
    }

    fn is_anywhere(inode: &str) -> bool {
        std::fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| line.contains(inode))
    }

    fn ended_well(child: libc::pid_t) -> bool {
        let mut status = 0;
        // SAFETY: our child.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    #[test]
    fn a_child_keeps_no_arena_of_calls_that_other_threads_of_its_parent_are_in() {
        let (memory, inode) = unmapped();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in 30..33 {
                let (memory, done) = (&memory, &done);
                scope.spawn(move || {
                    while !done.load(Relaxed) {
                        drop(HomeRef::open([name; 16], memory.try_clone().unwrap(), SMALL).unwrap());
                    }
                });
            }
            let children_are_well = (0..100).all(|_| {
                // SAFETY: the child looks at itself, and ends.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let is_left = is_anywhere(&inode) || all().any(|home| home.users.load(Relaxed) == 0);
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(is_left.into()) };
                }
                ended_well(child)
            });
            done.store(true, Relaxed);
            assert!(children_are_well);
        });
    }

    static FORKS: AtomicU32 = AtomicU32::new(0);
    static CHILD: AtomicU32 = AtomicU32::new(0);

    extern "C" fn fork_in_a_handler(_signal: libc::c_int) {
        // SAFETY: the child goes on with what was interrupted.
        let child = unsafe { libc::fork() };
        if child == 0 {
            CHILD.store(u32::MAX, Relaxed);
        } else {
            CHILD.store(child as u32, Relaxed);
            FORKS.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_child_that_is_forked_in_a_handler_ends_what_was_interrupted_and_keeps_no_arena() {
        const WANTED: u32 = 100;
        let (memory, inode) = unmapped();
        // SAFETY: zeros are a valid action.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = fork_in_a_handler as *const () as usize;
        // SAFETY: the handler lives as long as the program.
        let (mine, _) =
            unsafe { (libc::pthread_self(), libc::sigaction(libc::SIGUSR1, &raw const action, null_mut())) };
        let seen = &AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for fork in 1..=WANTED {
                    // SAFETY: that thread lives as long as this scope.
                    unsafe { libc::pthread_kill(mine, libc::SIGUSR1) };
                    while seen.load(Relaxed) < fork {
                        std::thread::yield_now();
                    }
                }
            });
            while seen.load(Relaxed) < WANTED {
                crate::hold::begin_to_hold();
                drop(HomeRef::open([40; 16], memory.try_clone().unwrap(), SMALL).unwrap());
                crate::hold::end_to_hold();
                match CHILD.swap(0, Relaxed) {
                    0 => {}
                    // SAFETY: ends the child.
                    u32::MAX => unsafe { libc::_exit(is_anywhere(&inode).into()) },
                    child => {
                        assert!(ended_well(child as libc::pid_t));
                        seen.store(FORKS.load(Relaxed), Relaxed);
                    }
                }
            }
        });
    }

    #[test]
    fn a_child_lets_go_of_former_homes_though_another_thread_was_at_the_socket() {
        crate::testing::start();
        let attachment = crate::attach::current().unwrap();
        let (former, inode) = unmapped();
        let socket = crate::pool::take(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP).unwrap();
        for (name, memory) in [(50, former), (51, memory())] {
            let home = HomeRef::open([name; 16], memory, SMALL).unwrap();
            socket.place(&attachment, 250, 0, home, 5);
        }
        drop(attachment);
        crate::table::set(700, &socket);
        // From here on the table alone has it: this thread is in no call.
        let socket = {
            let live: &'static crate::socket::Socket = socket.0;
            drop(socket);
            live
        };
        let (held, holds) = std::sync::mpsc::channel();
        let (forked, has_forked) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _slow = socket.slow.lock();
                held.send(()).unwrap();
                has_forked.recv().unwrap();
            });
            holds.recv().unwrap();
            // SAFETY: the child looks at itself, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let before = is_anywhere(&inode);
                drop(crate::table::remove(700));
                // SAFETY: ends the child.
                unsafe { libc::_exit((!before || is_anywhere(&inode)).into()) };
            }
            forked.send(()).unwrap();
            assert!(ended_well(child));
        });
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
