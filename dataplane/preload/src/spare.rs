//! Descriptors of connections that were closed, kept for the next ones.
//!
//! ```text
//!   accept:   spare? ──> another number for it, the spare's own is closed       else: socket()
//!   close:    untouched? ──> another number for it, out of the program's way ──> then closed as always
//! ```
//!
//! Behind each connection of Flumen's stands a socket of the kernel's, which does nothing but hold the descriptor. To make one
//! and to destroy it takes the kernel longer than all the rest of a short connection; to give it another number takes a
//! hundredth of that. So a few that were closed are kept.
//!
//! A spare is as a new socket would be: it was made by accept, never bound, connected or changed, and no other process can
//! know it. Whoever forks, hands a socket on, or sets flags that it would keep, uses it up ([`Socket::spend`]).
//!
//! [`Socket::spend`]: crate::socket::Socket::spend

use crate::errno::{Result, from_libc};
use crate::limits::{MAX_SPARES, SPARE_SHARE};
use crate::lock::TryLock;
use crate::own::Own;
use crate::real;
use crate::socket::{SocketRef, State, open};
use arrayvec::ArrayVec;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// A socket of the kernel's that waits for a connection.
struct Spare {
    fd: Own,
    cookie: u64,
    domain: c_int,
    non_blocking: bool,
    generation: u32,
}

/// The spares of a process.
struct Shelf {
    spares: TryLock<ArrayVec<Spare, MAX_SPARES>>,
    /// Changes with every fork: what was made before it, another process may have. Never 0.
    generation: AtomicU32,
}

static SHELF: Shelf = Shelf::new();

/// The descriptor that stands behind a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its number.
    pub fd: c_int,
    /// The kernel's name for it (SO_COOKIE).
    pub cookie: u64,
    /// What [`crate::socket::Socket::may_spare`] is to remember.
    pub generation: u32,
}

/// A descriptor for a connection: a spare one, or one of a new socket. `kind` has the flags of socket(2) in it.
///
/// # Errors
/// Those of socket(2).
pub fn behind(domain: c_int, kind: c_int, protocol: c_int) -> Result<Behind> {
    SHELF.behind(domain, kind, protocol)
}

/// The program closes a descriptor, the last of its socket: keeps another number for it, if it is as good as new.
pub fn keep(fd: c_int, socket: &SocketRef) {
    let Some((generation, cookie)) = socket.may_spare() else { return };
    if !socket.is_last() || socket.state() != State::Flumen {
        return;
    }
    let Some(part) = socket.part() else { return };
    let non_blocking = part.open_flags() & open::NONBLOCK != 0;
    SHELF.keep(Behind { fd, cookie, generation }, socket.domain(), non_blocking);
}

/// Before a fork: the child shall have none, and what is open now is both processes' from now on.
pub fn before_fork() {
    SHELF.before_fork();
}

/// In a child after fork: who was at it is in the parent. What was left there is of an older generation.
pub fn free_lock_after_fork() {
    SHELF.spares.free_after_fork();
}

/// How many are kept: a small part of the numbers that the program may have.
fn most() -> usize {
    (crate::own::limit() / SPARE_SHARE).min(MAX_SPARES as u64) as usize
}

impl Shelf {
    const fn new() -> Shelf {
        Shelf { spares: TryLock::new(ArrayVec::new_const()), generation: AtomicU32::new(1) }
    }

    fn behind(&self, domain: c_int, kind: c_int, protocol: c_int) -> Result<Behind> {
        let generation = self.generation.load(Acquire);
        if protocol == libc::IPPROTO_TCP
            && let Some(found) = self.take(domain, kind, generation)
        {
            return Ok(found);
        }
        // SAFETY: makes a socket.
        let make = || from_libc(unsafe { real::socket(domain, kind, protocol) });
        // The numbers that spares have may be the ones that are wanting.
        let fd = make().or_else(|error| if self.give_up() { make() } else { Err(error) })?;
        match crate::options::cookie(fd) {
            Ok(cookie) => Ok(Behind { fd, cookie, generation }),
            Err(error) => {
                // SAFETY: the socket that was just made, which nobody knows.
                unsafe { real::close(fd) };
                Err(error)
            }
        }
    }

    fn take(&self, domain: c_int, kind: c_int, generation: u32) -> Option<Behind> {
        // Another thread is at it, or this one was interrupted there: a new socket does as well.
        let mut spares = self.spares.try_lock()?;
        let at = spares.iter().position(|spare| spare.domain == domain)?;
        let spare = spares.swap_remove(at);
        drop(spares);
        if spare.generation != generation {
            return None;
        }
        let command = if kind & libc::SOCK_CLOEXEC != 0 { libc::F_DUPFD_CLOEXEC } else { libc::F_DUPFD };
        // SAFETY: another number for a descriptor of ours.
        let fd = from_libc(unsafe { real::fcntl(spare.fd.number(), command, 0) }).ok()?;
        let non_blocking = kind & libc::SOCK_NONBLOCK != 0;
        if non_blocking != spare.non_blocking {
            let flags = if non_blocking { libc::O_NONBLOCK } else { 0 };
            // SAFETY: sets flags of a descriptor that nobody knows yet.
            let set = from_libc(unsafe { real::fcntl(fd, libc::F_SETFL, flags as usize) });
            if set.is_err() {
                // SAFETY: as above.
                unsafe { real::close(fd) };
                return None;
            }
        }
        Some(Behind { fd, cookie: spare.cookie, generation })
    }

    fn keep(&self, behind: Behind, domain: c_int, non_blocking: bool) {
        let Behind { fd, cookie, generation } = behind;
        let Some(mut spares) = self.spares.try_lock() else { return };
        if generation != self.generation.load(Acquire) || spares.len() >= most() {
            return;
        }
        if let Ok(fd) = Own::copy_of(fd) {
            spares.push(Spare { fd, cookie, domain, non_blocking, generation });
        }
    }

    /// Closes all of them. True when there were any.
    fn give_up(&self) -> bool {
        let Some(mut spares) = self.spares.try_lock() else { return false };
        let given = core::mem::take(&mut *spares);
        drop(spares);
        !given.is_empty()
    }

    fn before_fork(&self) {
        if self.generation.fetch_add(1, AcqRel) == u32::MAX {
            self.generation.store(1, Release);
        }
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;

    const STREAM: c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;

    impl Shelf {
        fn stream(&self, domain: c_int, flags: c_int) -> Behind {
            self.behind(domain, STREAM | flags, libc::IPPROTO_TCP).unwrap()
        }

        /// As when the program closes it.
        fn close(&self, behind: Behind, domain: c_int, non_blocking: bool) {
            self.keep(behind, domain, non_blocking);
            close(behind.fd);
        }
    }

    fn is_non_blocking(fd: c_int) -> bool {
        // SAFETY: asks for flags.
        unsafe { real::fcntl(fd, libc::F_GETFL, 0) & libc::O_NONBLOCK != 0 }
    }

    fn close(fd: c_int) {
        // SAFETY: a descriptor of the test.
        unsafe { real::close(fd) };
    }

    #[test]
    fn a_spare_comes_back_as_a_new_socket_would() {
        let shelf = Shelf::new();
        let first = shelf.stream(libc::AF_INET, 0);
        shelf.close(first, libc::AF_INET, false);
        let other = shelf.stream(libc::AF_INET6, 0);
        assert_ne!(other.cookie, first.cookie, "of another family");
        close(other.fd);
        let again = shelf.stream(libc::AF_INET, libc::SOCK_NONBLOCK);
        assert_eq!((again.cookie, crate::options::cookie(again.fd)), (first.cookie, Ok(first.cookie)));
        assert!(is_non_blocking(again.fd));
        shelf.close(again, libc::AF_INET, true);
        let blocking = shelf.stream(libc::AF_INET, 0);
        assert_eq!((blocking.cookie, is_non_blocking(blocking.fd)), (first.cookie, false));
        close(blocking.fd);
        assert_eq!(shelf.spares.try_lock().unwrap().len(), 0);
    }

    #[test]
    fn a_fork_ends_all_that_was_made_before_it() {
        let shelf = Shelf::new();
        let (kept, open) = (shelf.stream(libc::AF_INET, 0), shelf.stream(libc::AF_INET, 0));
        shelf.close(kept, libc::AF_INET, false);
        shelf.before_fork();
        assert_eq!(shelf.spares.try_lock().unwrap().len(), 0);
        shelf.close(open, libc::AF_INET, false);
        assert_eq!(shelf.spares.try_lock().unwrap().len(), 0, "a child may have it, too");
        let newer = shelf.stream(libc::AF_INET, 0);
        shelf.close(newer, libc::AF_INET, false);
        let busy = shelf.spares.try_lock().unwrap();
        shelf.before_fork(); // finds the shelf locked
        drop(busy);
        let newest = shelf.stream(libc::AF_INET, 0);
        assert_ne!(newest.cookie, newer.cookie);
        close(newest.fd);
    }

    #[test]
    fn no_more_than_a_small_part_of_the_numbers_is_kept() {
        let shelf = Shelf::new();
        let open: Vec<_> = (0..MAX_SPARES + 3).map(|_| shelf.stream(libc::AF_INET, 0)).collect();
        for one in open {
            shelf.close(one, libc::AF_INET, false);
        }
        assert_eq!(shelf.spares.try_lock().unwrap().len(), most());
        assert!(most() as u64 <= crate::own::limit() / SPARE_SHARE && most() <= MAX_SPARES);
        assert!(shelf.give_up() && !shelf.give_up());
    }

    #[test]
    fn what_is_not_flumens_or_was_spent_is_not_kept() {
        let socket = pool::take(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP).unwrap();
        assert_eq!(socket.may_spare(), None, "the program's own socket");
        socket.stands_on(&Behind { fd: 3, cookie: 7, generation: 5 });
        assert_eq!(socket.may_spare(), Some((5, 7)));
        socket.spend();
        assert_eq!(socket.may_spare(), None);
    }
}
