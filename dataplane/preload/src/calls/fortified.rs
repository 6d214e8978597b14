//! The variants that a compiler calls when it knows how large the buffer is (_FORTIFY_SOURCE): one that is too small ends
//! the program.

use core::ffi::{c_int, c_void};
use libc::{size_t, sockaddr, socklen_t, ssize_t};

unsafe extern "C" {
    fn __chk_fail() -> !;
}

/// Ends the program when `room` is too small.
pub(crate) fn check(len: size_t, room: size_t) {
    if len > room {
        // SAFETY: libc's way to end the program.
        unsafe { __chk_fail() }
    }
}

/// read(2), checked.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(fd: c_int, bytes: *mut c_void, len: size_t, room: size_t) -> ssize_t {
    check(len, room);
    // SAFETY: by the caller.
    unsafe { super::receiving::read(fd, bytes, len) }
}

/// recv(2), checked.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    bytes: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    check(len, room);
    // SAFETY: by the caller.
    unsafe { super::receiving::recv(fd, bytes, len, flags) }
}

/// recvfrom(2), checked.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    bytes: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    from: *mut sockaddr,
    size: *mut socklen_t,
) -> ssize_t {
    check(len, room);
    // SAFETY: by the caller.
    unsafe { super::receiving::recvfrom(fd, bytes, len, flags, from, size) }
}
