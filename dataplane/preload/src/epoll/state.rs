//! The one registry of the process, and its lock.
//!
//! The lock is held for short pieces of pure computation. A signal handler that interrupts its own thread there cannot
//! have it; POSIX lets handlers close sockets, though, so what is closed in that moment waits for the lock's release.

use super::registry::Registry;
use super::watch::Watch;
use crate::attach;
use crate::lock;
use crate::socket::Socket;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};

struct Shared(UnsafeCell<Registry<Watch>>);

// SAFETY: the registry is only reached by who has the turn of `WORD`, one thread at a time.
unsafe impl Sync for Shared {}

static WORD: AtomicU32 = AtomicU32::new(0);
static REGISTRY: Shared = Shared(UnsafeCell::new(Registry::new()));
/// In a child after fork: the sets are as the parent left them, and their watchers the parent's.
static IS_PARENTS: AtomicBool = AtomicBool::new(false);
/// Sockets that a signal handler closed while its own thread had the registry, linked by `next_free`.
static LEFT: AtomicPtr<Socket> = AtomicPtr::new(null_mut());

/// The registry, held.
pub struct Held {
    _turn: (),
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
        // (It may have been taken under another number, before a fork in a signal handler.)
        WORD.store(0, Release);
    }
}

/// Takes the registry; `None` in a signal handler that interrupted its own thread here.
#[inline]
pub fn hold() -> Option<Held> {
    if !lock::turn_within(&WORD) {
        return None;
    }
    let mut held = Held { _turn: () };
    if IS_PARENTS.load(Relaxed) {
        IS_PARENTS.store(false, Relaxed);
        held.begin_anew();
    }
    Some(held)
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

/// In the child: the one thread has the turn under a number that is not its own any more. What it interrupted there itself, if the
/// fork is in a signal handler (`None`), comes to its end first; the sets begin anew for who holds them next.
pub fn free_after_fork(held: Option<Held>) {
    IS_PARENTS.store(true, Relaxed);
    WORD.store(if held.is_some() { 0 } else { lock::thread() }, Release);
    core::mem::forget(held);
}
