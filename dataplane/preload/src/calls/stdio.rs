//! fdopen(3) on a socket: libc's streams read and write by functions that nobody can stand in front of, so the stream is one
//! whose functions are ours (fopencookie(3)). Such a stream has no descriptor; fileno(3) learns it from here.

use crate::lock::{Guard, Lock};
use crate::{errno, table};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::{FILE, off64_t, size_t, ssize_t};

/// `cookie_io_functions_t`.
#[repr(C)]
struct Functions {
    read: unsafe extern "C" fn(*mut c_void, *mut c_char, size_t) -> ssize_t,
    write: unsafe extern "C" fn(*mut c_void, *const c_char, size_t) -> ssize_t,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut off64_t, c_int) -> c_int>,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
}

/// Streams of ours: address and descriptor.
static STREAMS: Lock<Vec<(usize, c_int)>> = Lock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// While it is held no stream is made or closed: for a fork.
pub struct Quiet {
    _guard: Guard<'static, Vec<(usize, c_int)>>,
}

/// Before a fork.
pub fn hold_for_fork() -> Quiet {
    Quiet { _guard: STREAMS.lock() }
}

fn descriptor(cookie: *mut c_void) -> c_int {
    cookie.addr() as c_int
}

unsafe extern "C" fn read(cookie: *mut c_void, bytes: *mut c_char, len: size_t) -> ssize_t {
    // SAFETY: by the stream.
    unsafe { super::receiving::read(descriptor(cookie), bytes.cast(), len) }
}

unsafe extern "C" fn write(cookie: *mut c_void, bytes: *const c_char, len: size_t) -> ssize_t {
    // SAFETY: by the stream.
    let written = unsafe { super::sending::write(descriptor(cookie), bytes.cast(), len) };
    // A stream's write function says 0 for an error, never a negative number.
    written.max(0)
}

unsafe extern "C" fn close(cookie: *mut c_void) -> c_int {
    let fd = descriptor(cookie);
    let mut streams = STREAMS.lock();
    streams.retain(|(_, of)| *of != fd);
    COUNT.store(streams.len(), Release);
    drop(streams);
    // SAFETY: the stream owns the descriptor.
    unsafe { super::descriptors::close(fd) }
}

/// fdopen(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
    if table::get(fd).is_none() {
        // SAFETY: by the caller.
        return unsafe { self::real_functions::fdopen(fd, mode) };
    }
    // SAFETY: by the caller.
    let known =
        unsafe { CStr::from_ptr(mode) }.to_bytes().first().is_some_and(|first| b"rwa".contains(first));
    if !known {
        errno::set(libc::EINVAL);
        return null_mut();
    }
    let functions = Functions { read, write, seek: None, close };
    // SAFETY: the functions have the types that streams expect.
    let stream = unsafe { fopencookie(core::ptr::without_provenance_mut(fd as usize), mode, functions) };
    if !stream.is_null() {
        let mut streams = STREAMS.lock();
        streams.push((stream.addr(), fd));
        COUNT.store(streams.len(), Release);
    }
    stream
}

/// fileno(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fileno(stream: *mut FILE) -> c_int {
    if COUNT.load(Acquire) > 0
        && let Some((_, fd)) = STREAMS.lock().iter().find(|(one, _)| *one == stream.addr())
    {
        return *fd;
    }
    // SAFETY: by the caller.
    unsafe { self::real_functions::fileno(stream) }
}

/// fileno(3), without its lock.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fileno_unlocked(stream: *mut FILE) -> c_int {
    // SAFETY: by the caller.
    unsafe { fileno(stream) }
}

/// libc's own.
mod real_functions {
    use core::ffi::{c_char, c_int};
    use libc::FILE;

    crate::real! {
        /// Makes a stream of a descriptor.
        fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE = crate::real::NONE;
        /// The descriptor of a stream.
        fn fileno(stream: *mut FILE) -> c_int = crate::real::NONE;
    }
}
