//! The memory of sockets. It is never given back and never becomes anything else: so a look-up may touch a socket that
//! another thread has just let go of, and finds out by its count that it is nobody's.

use crate::socket::{Socket, SocketRef};
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};
use memmap2::MmapOptions;

/// Sockets that are made at a time.
const GROUP: usize = 64;

/// Sockets that were made together.
struct Group {
    sockets: [Socket; GROUP],
    /// The group that was made before.
    next: AtomicPtr<Group>,
}

/// All groups, the newest first.
static GROUPS: AtomicPtr<Group> = AtomicPtr::new(null_mut());

/// Calls `look` with every socket that there is, free ones as well.
pub(crate) fn each(mut look: impl FnMut(&'static Socket)) {
    // SAFETY: groups live for ever.
    let group = |pointer: *mut Group| unsafe { pointer.as_ref() };
    let mut next = group(GROUPS.load(Acquire));
    while let Some(this) = next {
        this.sockets.iter().for_each(&mut look);
        next = group(this.next.load(Relaxed));
    }
}

/// Sockets that are free, linked by `next_free`: the address of the first one in the low bits, and above it a count of changes,
/// so that a thread that was stopped between looking and changing finds out that the list is another one by now. Without
/// a lock, for signal handlers open and close sockets, too.
#[derive(Debug)]
struct Free(AtomicU64);

/// Bits of an address of user space.
const ADDRESS: u64 = (1 << 48) - 1;
const ONE_CHANGE: u64 = 1 << 48;

static FREE: Free = Free(AtomicU64::new(0));

impl Free {
    fn change(&self, to: impl Fn(*mut Socket) -> Option<*mut Socket>) -> Option<*mut Socket> {
        let mut word = self.0.load(Acquire);
        loop {
            let first = core::ptr::with_exposed_provenance_mut::<Socket>((word & ADDRESS) as usize);
            let next = to(first)?.expose_provenance() as u64;
            let changed = (word & !ADDRESS).wrapping_add(ONE_CHANGE) | next;
            match self.0.compare_exchange_weak(word, changed, AcqRel, Acquire) {
                Ok(_) => return Some(first),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the first one.
    fn pop(&self) -> Option<&'static Socket> {
        // SAFETY: sockets live for ever; the next of one that another thread takes meanwhile may be anything, and is thrown away.
        let next = |first: *mut Socket| unsafe { first.as_ref() }.map(|first| first.next_free.load(Relaxed));
        // SAFETY: sockets live for ever.
        self.change(next).and_then(|first| unsafe { first.as_ref() })
    }

    /// Puts one in front.
    fn push(&self, socket: &'static Socket) {
        let one = core::ptr::from_ref(socket).cast_mut();
        self.change(|first| {
            socket.next_free.store(first, Relaxed);
            Some(one)
        });
    }
}

/// A new socket, undecided; `None` when there is no memory.
pub fn take(domain: c_int, kind: c_int, protocol: c_int) -> Option<SocketRef> {
    let socket = take_free()?;
    socket.begin(domain, kind, protocol);
    socket.references.store(1, Release);
    // SAFETY: the one reference.
    unsafe { SocketRef::from_raw(core::ptr::from_ref(socket).cast_mut()) }
}

fn take_free() -> Option<&'static Socket> {
    FREE.pop().or_else(make)
}

/// Makes a group of free sockets, and gives one of them. (Not by the program's allocator: it may be what called us.)
fn make() -> Option<&'static Socket> {
    let mut map = MmapOptions::new().len(size_of::<Group>()).map_anon().ok()?;
    let place = map.as_mut_ptr().cast::<Group>();
    core::mem::forget(map);
    // SAFETY: the mapping is page-aligned, long enough, never unmapped, and known to nobody else.
    let group = unsafe {
        place.write(Group { sockets: [const { Socket::free() }; GROUP], next: AtomicPtr::new(null_mut()) });
        &*place
    };
    let mut before = GROUPS.load(Acquire);
    loop {
        group.next.store(before, Relaxed);
        match GROUPS.compare_exchange_weak(before, place, AcqRel, Acquire) {
            Ok(_) => break,
            Err(now) => before = now,
        }
    }
    let (first, others) = group.sockets.split_first()?;
    others.iter().for_each(|socket| FREE.push(socket));
    Some(first)
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
        if socket.signals.load(Relaxed) {
            crate::signals::let_go(&part.cell.signaller);
        }
        let near = part.is_near();
        part.attachment().let_go(part.worker, part.slot);
        if near {
            part.attachment().page().await_turn(part.worker as usize);
        }
    }
    socket.decide(crate::socket::State::Kernel);
    socket.leave();
    FREE.push(socket);
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

    #[test]
    fn a_socket_is_given_to_one_thread_at_a_time() {
        std::thread::scope(|scope| {
            for kind in 0..4 {
                scope.spawn(move || {
                    for _ in 0..5_000 {
                        let mine: Vec<_> =
                            (0..3).map(|_| take(libc::AF_INET, 100 + kind, 6).unwrap()).collect();
                        assert!(mine.iter().all(|socket| socket.kind() == 100 + kind));
                    }
                });
            }
        });
    }
}
