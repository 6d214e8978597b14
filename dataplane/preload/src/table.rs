//! Which socket is behind a descriptor: two levels, read without a lock. A descriptor that is none of ours costs one load.
//!
//! An entry holds one reference to its socket. A reader takes another one, and then looks whether the entry still names
//! the same socket; sockets are never anything else ([`crate::pool`]), so the count that it touched was a count.

use crate::hold;
use crate::limits::MAX_DESCRIPTORS;
use crate::socket::{Socket, SocketRef, State};
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use memmap2::MmapOptions;

const ENTRIES: usize = 1024;
const CHUNKS: usize = MAX_DESCRIPTORS / ENTRIES;

type Chunk = [AtomicPtr<Socket>; ENTRIES];

/// The descriptors that nearly all programs stay below: no need to follow a pointer.
static FIRST: Chunk = [const { AtomicPtr::new(null_mut()) }; ENTRIES];
static CHUNK: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(null_mut()) }; CHUNKS];
/// Entries in use, as far as [`each`] must look: one more than the highest chunk.
static HIGHEST: AtomicU32 = AtomicU32::new(1);

/// True once there was a socket of ours.
static EVER: AtomicBool = AtomicBool::new(false);

/// True when there never was a socket of ours.
pub fn was_never_used() -> bool {
    !EVER.load(Relaxed)
}

#[inline]
fn entry(fd: c_int) -> Option<&'static AtomicPtr<Socket>> {
    let fd = usize::try_from(fd).ok()?;
    match FIRST.get(fd) {
        Some(entry) => Some(entry),
        None => far_entry(fd),
    }
}

fn far_entry(fd: usize) -> Option<&'static AtomicPtr<Socket>> {
    let chunk = CHUNK.get(fd / ENTRIES)?.load(Acquire);
    // SAFETY: chunks live for ever.
    let chunk = unsafe { chunk.as_ref() }?;
    chunk.get(fd % ENTRIES)
}

/// The socket behind a descriptor; `None` when it is none of ours: not known, or the kernel's.
#[inline]
pub fn get(fd: c_int) -> Option<SocketRef> {
    let entry = entry(fd)?;
    let socket = entry.load(Acquire);
    if socket.is_null() { None } else { hold(entry, socket) }
}

#[inline(always)] // it grew beyond what the compiler puts inline by itself, and every call on a socket is here
pub(crate) fn hold(entry: &AtomicPtr<Socket>, mut found: *mut Socket) -> Option<SocketRef> {
    loop {
        // SAFETY: sockets live for ever.
        let socket = unsafe { found.as_ref() }?;
        let held = SocketRef::hold(socket);
        let now = entry.load(Acquire);
        if now == found {
            // (One that is held by nobody is being let go of.)
            return held.filter(|socket| socket.state() != State::Kernel);
        }
        found = now;
    }
}

/// Names a socket by a descriptor; whatever stood there is let go. False when the number is beyond the table.
pub fn set(fd: c_int, socket: &SocketRef) -> bool {
    let Some(entry) = make_entry(fd) else { return false };
    EVER.store(true, Relaxed);
    let before = entry.swap(socket.clone().into_raw(), AcqRel);
    forget(before);
    true
}

/// The descriptor is no socket of ours any more: gives what the entry held.
pub fn remove(fd: c_int) -> Option<SocketRef> {
    let entry = entry(fd)?;
    if entry.load(Acquire).is_null() {
        return None;
    }
    owned(entry.swap(null_mut(), AcqRel))
}

fn owned(pointer: *mut Socket) -> Option<SocketRef> {
    // SAFETY: the entry's reference was counted and is now the caller's.
    unsafe { SocketRef::from_raw(pointer) }
}

fn forget(pointer: *mut Socket) {
    drop(owned(pointer));
}

fn make_entry(fd: c_int) -> Option<&'static AtomicPtr<Socket>> {
    let number = usize::try_from(fd).ok().filter(|fd| *fd < MAX_DESCRIPTORS)?;
    if let Some(entry) = entry(fd) {
        return Some(entry);
    }
    let place = CHUNK.get(number / ENTRIES)?;
    let mut map = MmapOptions::new().len(size_of::<Chunk>()).map_anon().ok()?;
    let chunk = map.as_mut_ptr().cast::<Chunk>();
    // Zeros are null pointers. Another thread may have been faster; then ours is unmapped again.
    if place.compare_exchange(null_mut(), chunk, AcqRel, Acquire).is_ok() {
        core::mem::forget(map);
        HIGHEST.fetch_max((number / ENTRIES) as u32 + 1, AcqRel);
    }
    entry(fd)
}

/// Calls `look` with every descriptor in `first..=last` that names a socket of ours.
pub fn each(first: u32, last: u32, mut look: impl FnMut(c_int, SocketRef)) {
    let end = (HIGHEST.load(Acquire) * ENTRIES as u32).min(last.saturating_add(1));
    for fd in first..end {
        if let Some(socket) = get(fd as c_int) {
            look(fd as c_int, socket);
        }
    }
}

/// Calls `look` with every descriptor that names this socket, whatever became of it.
pub fn each_of(socket: &Socket, mut look: impl FnMut(c_int)) {
    for fd in 0..HIGHEST.load(Acquire) * ENTRIES as u32 {
        let names = |entry: &AtomicPtr<Socket>| core::ptr::eq(entry.load(Acquire), socket);
        if entry(fd as c_int).is_some_and(names) {
            look(fd as c_int);
        }
    }
}

/// In a child after fork: references that calls of other threads held are in the parent. Counts are those of the
/// table's entries again. When the fork was in a signal handler that interrupted a call, some are those of the one thread that goes
/// on here, and nobody can tell which: then the counts stay. A socket that another thread was at may then live longer here than
/// its descriptors.
pub fn count_anew() {
    if hold::is_holding() {
        return;
    }
    let entries = || {
        let chunks = HIGHEST.load(Acquire) as usize;
        (0..chunks * ENTRIES).filter_map(|fd| {
            let pointer = entry(fd as c_int)?.load(Acquire);
            // SAFETY: sockets live for ever.
            unsafe { pointer.as_ref() }
        })
    };
    crate::pool::each(|socket| socket.references.store(0, Relaxed));
    entries().for_each(|socket| {
        socket.references.fetch_add(1, Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;

    fn socket() -> SocketRef {
        pool::take(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP).unwrap()
    }

    #[test]
    fn descriptors_lead_to_sockets_near_and_far() {
        for fd in [700, 800_000] {
            assert!(get(fd).is_none());
            let mine = socket();
            assert!(set(fd, &mine));
            assert!(core::ptr::eq(get(fd).unwrap().0, mine.0));
            let mut seen = vec![];
            each(fd as u32 - 10, fd as u32 + 10, |fd, _| seen.push(fd));
            assert_eq!(seen, [fd]);
            assert!(remove(fd).is_some() && get(fd).is_none() && remove(fd).is_none());
            assert_eq!(mine.references.load(SeqCst), 1);
        }
        assert!(!set(MAX_DESCRIPTORS as c_int, &socket()) && get(-1).is_none() && get(c_int::MAX).is_none());
    }

    #[test]
    fn what_became_the_kernels_is_not_found() {
        let mine = socket();
        set(701, &mine);
        mine.decide(State::Kernel);
        assert!(get(701).is_none());
        remove(701);
    }

    #[test]
    fn look_ups_run_while_others_close_and_open() {
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        if let Some(held) = get(702) {
                            assert_eq!(held.domain(), libc::AF_INET);
                        }
                    }
                });
            }
            for _ in 0..20_000 {
                set(702, &socket());
                remove(702);
            }
            done.store(true, SeqCst);
        });
        assert!(get(702).is_none());
    }
}
