//! SIGIO and SIGURG (fcntl(2): F_SETOWN, F_SETSIG, O_ASYNC). The kernel sends them for its own sockets; for Flumen's, a thread of
//! this library does, from within the program, with the program's rights.
//!
//! ```text
//!   F_SETOWN, F_SETSIG, O_ASYNC … ──> the kernel's socket behind the descriptor keeps them, with its own rules and errors, for
//!                                     all processes that have the file, also after exec
//!   news of a socket with an owner ──> set ──> thread: what came to hold ([`reasons`])? ──> owner, signal and flags, asked of the
//!                                     kernel's socket ──> the signal ([`send`])
//! ```
//!
//! The set is one of [`crate::epoll`], without a descriptor. The thread is made with the first socket of Flumen's that has an owner,
//! so programs that never ask have none; no signal is delivered to it. Of several processes that have a socket one sends: the
//! number of its thread stands in the cell, and another takes its place when it is gone. A child after fork makes a thread of
//! its own, for its parent may end first.

pub mod reasons;
pub mod send;

use crate::epoll::set::{Set, Watched};
use crate::epoll::source::Source;
use crate::epoll::{state, wait, watch::Watch};
use crate::errno::{Errno, Result, from_libc};
use crate::lock::{self, Lock};
use crate::socket::{Socket, SocketRef};
use crate::table;
use crate::watcher::Watcher;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering::*};
use reasons::Seen;

/// What a program asked for about a socket.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The descriptor that signals tell (si_fd): the one that O_ASYNC was set by.
    fd: c_int,
    /// The socket as it was when it was looked at last.
    seen: Seen,
}

/// The set of the sockets that have owners, and one more; 0: there is none yet.
static SET: AtomicU32 = AtomicU32::new(0);
/// The thread; 0: there is none.
static THREAD: AtomicU32 = AtomicU32::new(0);
static MAKING: Lock<()> = Lock::new(());

/// Sets what an owner is: `set` asks the kernel, for its socket.
///
/// # Errors
/// Those of fcntl(2) with F_SETOWN; EAGAIN: there can be no thread.
pub fn own(fd: c_int, socket: &SocketRef, set: impl FnOnce() -> Result<c_int>) -> Result<c_int> {
    // What stands behind it keeps the owner: it is no spare for the next connection.
    socket.spend();
    let result = set()?;
    if send::has_owner(fd) {
        begin(fd, socket, false)?;
    }
    Ok(result)
}

/// O_ASYNC was set by this descriptor, where it was not before.
///
/// # Errors
/// EAGAIN: there can be no thread.
pub fn notify(fd: c_int, socket: &SocketRef) -> Result<()> {
    begin(fd, socket, true)
}

/// A socket came from another process, perhaps with an owner.
pub fn adopted(fd: c_int, socket: &SocketRef) {
    if send::has_owner(fd)
        && let Err(error) = begin(fd, socket, false)
    {
        complain(error);
    }
}

fn begin(fd: c_int, socket: &SocketRef, by_this: bool) -> Result<()> {
    let seen = socket.part().map_or_else(Seen::default, |part| Seen::of(socket.0, &part));
    {
        let mut slow = socket.slow.lock();
        socket.signals.store(true, Release);
        let asked = slow.signals.get_or_insert(Asked { fd, seen });
        if by_this {
            asked.fd = fd;
        }
    }
    if socket.part().is_some() { watch(socket.0) } else { Ok(()) }
}

/// A socket with an owner became Flumen's. All that happened since is news.
#[cold]
pub fn decided(socket: &'static Socket) {
    if let Err(error) = watch(socket) {
        complain(error);
    }
}

fn complain(error: Errno) {
    crate::complaints::complain_of("a socket sends no signals", error);
}

/// Puts a socket into the set.
fn watch(socket: &'static Socket) -> Result<()> {
    let set = start()?;
    let watch = Watch(socket);
    let mut registry = state::hold().ok_or(Errno(libc::EAGAIN))?;
    let name = (-1, watch.identity());
    if registry.sets.get(set).is_some_and(|set| set.find(name).is_none()) {
        socket.watched.store(true, Relaxed);
        registry.add(set, name.0, Watched::Socket(watch), 0, 0, false);
    }
    wait::knock(registry);
    Ok(())
}

/// The set, with a thread that serves it.
fn start() -> Result<u32> {
    if THREAD.load(Acquire) != 0 {
        return Ok(SET.load(Acquire).wrapping_sub(1));
    }
    // No signal is let in while it is held, and the thread begins as its maker is.
    let _making = MAKING.lock();
    let watcher = || Watcher::new(true).map_err(|_| Errno(libc::EAGAIN));
    let set = match SET.load(Acquire) {
        0 => state::hold().ok_or(Errno(libc::EAGAIN))?.sets.insert(Set::that_hears_all()),
        there => there - 1,
    };
    SET.store(set + 1, Release);
    if THREAD.load(Acquire) == 0 {
        let watcher = watcher()?;
        if let Some(set) = state::hold().ok_or(Errno(libc::EAGAIN))?.sets.get_mut(set) {
            set.watcher = Some(watcher);
        }
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("flumen-signals".to_owned()).stack_size(STACK);
        let serve = move || {
            // Nobody waits any more: then there is nobody to serve either.
            let _heard = tell.send(lock::thread());
            serve(set)
        };
        thread.spawn(serve).map_err(|_| Errno(libc::EAGAIN))?;
        THREAD.store(told.recv().map_err(|_| Errno(libc::EAGAIN))?, Release);
    }
    Ok(set)
}

/// Bytes of the thread's stack: it calls nothing deep.
const STACK: usize = 128 << 10;

fn serve(set: u32) {
    loop {
        // However the sleep ended: what there is, is looked at.
        let _woken = wait::sleep(-1, set, None, None);
        while let Some(socket) = next(set) {
            look(&socket);
        }
    }
}

/// The next socket that something happened to.
fn next(set: u32) -> Option<SocketRef> {
    let mut registry = state::hold()?;
    while let Some(Watch(socket)) = registry.take_told(set) {
        let held = SocketRef::hold(socket);
        if held.is_some() {
            return held;
        }
    }
    None
}

/// Tells the owner what came to hold.
fn look(socket: &SocketRef) {
    let Some(part) = socket.part() else { return };
    let now = Seen::of(socket.0, &part);
    let (fd, reasons) = {
        let mut slow = socket.slow.lock();
        let Some(asked) = &mut slow.signals else { return };
        let reasons = now.reasons(&asked.seen);
        asked.seen = now.after(&asked.seen);
        (asked.fd, reasons)
    };
    if reasons.is_empty() || !is_mine(&part.cell.signaller) {
        return;
    }
    if let Some(by) = descriptor_of(socket, fd) {
        send::send(by, fd, &reasons);
    }
}

/// True when this process is the one, of those that have the socket, that sends.
fn is_mine(signaller: &AtomicU32) -> bool {
    let me = lock::thread();
    match signaller.compare_exchange(0, me, AcqRel, Acquire) {
        Ok(_) => true,
        Err(other) if other == me => true,
        Err(other) => lock::is_gone(other) && signaller.compare_exchange(other, me, AcqRel, Acquire).is_ok(),
    }
}

/// A descriptor of a socket: `likely`, as long as it is one.
fn descriptor_of(socket: &SocketRef, likely: c_int) -> Option<c_int> {
    let is_one = |fd| table::get(fd).is_some_and(|found| core::ptr::eq(found.0, socket.0));
    if is_one(likely) {
        return Some(likely);
    }
    let mut found = None;
    table::each(0, u32::MAX, |fd, other| {
        if core::ptr::eq(other.0, socket.0) {
            found = Some(fd);
        }
    });
    found
}

/// This process lets go of a socket: another that has it sends from now on.
#[cold]
pub fn let_go(signaller: &AtomicU32) {
    let thread = THREAD.load(Acquire);
    if thread != 0 {
        // It may be another process's, which goes on.
        let _others = signaller.compare_exchange(thread, 0, AcqRel, Acquire);
    }
}

/// In a child after fork, which has sockets and no thread.
pub fn begin_anew_after_fork() {
    MAKING.free_after_fork(|| ());
    THREAD.store(0, Release);
    let has_sockets = SET.load(Acquire).checked_sub(1).is_some_and(|set| {
        state::hold().is_some_and(|registry| registry.sets.get(set).is_some_and(|set| !set.items.is_empty()))
    });
    if has_sockets && let Err(error) = start() {
        complain(error);
    }
}

/// Asks for flags of a descriptor.
pub(crate) fn flags(fd: c_int) -> Result<c_int> {
    // SAFETY: asks for the flags.
    from_libc(unsafe { crate::real::fcntl(fd, libc::F_GETFL, 0) })
}

#[cfg(test)]
mod tests;
