//! sendfile and splice.

use super::{answer, length};
use crate::{real, table, transfer};
use core::ffi::{c_int, c_uint};
use libc::{loff_t, off_t, size_t, ssize_t};

/// sendfile(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    let Some(socket) = table::get(out).filter(|socket| socket.part().is_some()) else {
        // SAFETY: by the caller.
        return unsafe { real::sendfile(out, from, offset, count) };
    };
    super::sending::with_signal(0, || {
        // SAFETY: by the caller.
        let offset = unsafe { offset.as_mut() };
        transfer::send_file(out, &socket, from, offset, count).map(length)
    })
}

/// sendfile(2) with large files: here all are.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { sendfile(out, from, offset, count) }
}

/// splice(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut loff_t,
    to: c_int,
    to_offset: *mut loff_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let ours = |fd| table::get(fd).filter(|socket| socket.part().is_some());
    // With an offset the kernel's socket gives the right error (ESPIPE).
    if from_offset.is_null() && to_offset.is_null() {
        if let Some(socket) = ours(to) {
            return super::sending::with_signal(0, || {
                transfer::splice_in(to, &socket, from, len, flags).map(length)
            });
        }
        if let Some(socket) = ours(from) {
            return answer(|| transfer::splice_out(from, &socket, to, len, flags).map(length));
        }
    }
    // SAFETY: by the caller.
    unsafe { real::splice(from, from_offset, to, to_offset, len, flags) }
}
