//! The one registry of the process, and its lock.
//!
//! The lock is held for short pieces of pure computation. A signal handler that interrupts its own thread there cannot
//! have it; POSIX lets handlers close sockets, though, so what is closed in that moment waits for the lock's release.

use super::registry::Registry;
use super::watch::Watch;
use crate::attach;
use crate::lock::{self, Turn};
use crate::socket::Socket;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};

struct Shared(UnsafeCell<Registry<Watch>>);

// SAFETY: the registry is only reached by who has the turn of `WORD`, one thread at a time.
unsafe impl Sync for Shared {}

static WORD: AtomicU32 = AtomicU32::new(0);
static REGISTRY: Shared = Shared(UnsafeCell::new(Registry::new()));
/// Sockets that a signal handler closed while its own thread had the registry, linked by `next_free`.
static LEFT: AtomicPtr<Socket> = AtomicPtr::new(null_mut());

/// The registry, held.
pub struct Held {
    turn: Option<Turn<'static>>,
}

impl core::ops::Deref for Held {
    type Target = Registry<Watch>;
    fn deref(&self) -> &Registry<Watch> {
        // SAFETY: the turn is held.
        unsafe { &*REGISTRY.0.get() }
    }
}

impl core::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Registry<Watch> {
        // SAFETY: the turn is held, and there is one `Held` for it.
        unsafe { &mut *REGISTRY.0.get() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        loop {
            let first = LEFT.swap(null_mut(), AcqRel);
            let mut next = first;
            // SAFETY: sockets live for ever.
            while let Some(socket) = unsafe { next.as_ref() } {
                next = socket.next_free.load(Acquire);
                self.closed(&Watch(socket));
                crate::pool::finish_unwatched(socket);
            }
            if first.is_null() {
                break;
            }
        }
        self.turn = None;
    }
}

/// Takes the registry; `None` in a signal handler that interrupted its own thread here.
#[inline]
pub fn hold() -> Option<Held> {
    lock::turn(&WORD).map(|turn| Held { turn: Some(turn) })
}

/// The last descriptor of a socket that is watched was closed. False when it has to wait: it is taken care of later.
pub fn closed(socket: &'static Socket) -> bool {
    if let Some(mut held) = hold() {
        held.closed(&Watch(socket));
        return true;
    }
    let mut first = LEFT.load(Acquire);
    loop {
        socket.next_free.store(first, Release);
        match LEFT.compare_exchange(first, core::ptr::from_ref(socket).cast_mut(), AcqRel, Acquire) {
            Ok(_) => return false,
            Err(now) => first = now,
        }
    }
}

/// Tells the sets what the worker told this process.
#[inline]
pub fn take_news(registry: &mut Registry<Watch>) {
    if let Some(attachment) = attach::current() {
        attachment.take_news(|slot| registry.hear(slot));
        registry.tell_heard();
        if attachment.is_first_to_mourn() {
            registry.news_of_all();
        }
    }
}

/// Sockets of a dead service are in sets, and another service's bell rings from now on: they are told while it is known.
#[cold]
pub fn mourn() {
    if let Some(mut registry) = hold() {
        registry.news_of_all();
        super::wait::knock(registry);
    }
}

/// In the child: the one thread has the turn under a number that is not its own any more.
pub fn free_after_fork(held: Option<Held>) {
    core::mem::forget(held);
    WORD.store(0, Release);
}
