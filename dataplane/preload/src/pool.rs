//! The memory of sockets. It is never given back and never becomes anything else: so a look-up may touch a socket that
//! another thread has just let go of, and finds out by its count that it is nobody's.

use crate::lock::Lock;
use crate::socket::{Socket, SocketRef};
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::*};
use memmap2::MmapOptions;

/// Sockets that are made at a time.
const GROUP: usize = 64;

#[derive(Debug)]
struct Free(AtomicPtr<Socket>);

static FREE: Lock<Free> = Lock::new(Free(AtomicPtr::new(null_mut())));

/// A new socket, undecided; `None` when there is no memory.
pub fn take(domain: c_int, kind: c_int, protocol: c_int) -> Option<SocketRef> {
    let socket = take_free()?;
    socket.begin(domain, kind, protocol);
    socket.references.store(1, Release);
    Some(SocketRef(socket))
}

fn take_free() -> Option<&'static Socket> {
    let free = FREE.lock();
    if free.0.load(Relaxed).is_null() {
        make(&free.0)?;
    }
    // SAFETY: sockets live for ever.
    let first = unsafe { free.0.load(Relaxed).as_ref() }?;
    free.0.store(first.next_free.load(Relaxed), Relaxed);
    Some(first)
}

/// Makes a group of free sockets. (Not by the program's allocator: it may be what called us.)
fn make(free: &AtomicPtr<Socket>) -> Option<()> {
    let mut map = MmapOptions::new().len(GROUP * size_of::<Socket>()).map_anon().ok()?;
    let base = map.as_mut_ptr().cast::<Socket>();
    core::mem::forget(map);
    for number in 0..GROUP {
        // SAFETY: the mapping is page-aligned, long enough, never unmapped, and known to nobody else.
        let socket = unsafe {
            let place = base.add(number);
            place.write(Socket::free());
            &*place
        };
        socket.next_free.store(free.load(Relaxed), Relaxed);
        free.store(core::ptr::from_ref(socket).cast_mut(), Relaxed);
    }
    Some(())
}

/// The last reference is gone: this process lets go of the socket.
#[cold]
pub(crate) fn finish(socket: &'static Socket) {
    if !socket.watched.load(Relaxed) || crate::epoll::state::closed(socket) {
        finish_unwatched(socket);
    }
}

/// As [`finish`], for a socket that is in no epoll set any more.
pub(crate) fn finish_unwatched(socket: &'static Socket) {
    if let Some(part) = socket.part() {
        part.attachment.let_go(part.worker, part.slot);
    }
    socket.decide(crate::socket::State::Kernel);
    let free = FREE.lock();
    socket.next_free.store(free.0.load(Relaxed), Relaxed);
    free.0.store(core::ptr::from_ref(socket).cast_mut(), Relaxed);
}

/// In a child after fork.
pub fn free_lock_after_fork() {
    FREE.free_after_fork();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::State;

    #[test]
    fn sockets_are_used_again() {
        let first = take(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP).unwrap();
        let address = core::ptr::from_ref(&*first);
        let other = first.clone();
        drop(first);
        assert_eq!(other.state(), State::Undecided, "held by the other reference");
        drop(other);
        let again: Vec<_> =
            (0..2 * GROUP).map(|_| take(libc::AF_INET6, libc::SOCK_DGRAM, 17).unwrap()).collect();
        assert!(again.iter().any(|socket| core::ptr::eq(&raw const **socket, address)));
        assert!(again.iter().all(|socket| socket.domain() == libc::AF_INET6 && !socket.is_stream()));
    }
}
