//! getsockopt, setsockopt, ioctl.

use super::{answer, length};
use crate::errno::{Errno, from_libc};
use crate::socket::State;
use crate::{ioctl as control, memory, options, real, table};
use core::ffi::{c_int, c_ulong, c_void};
use libc::socklen_t;

/// setsockopt(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    let Some(socket) = table::get(fd) else {
        // SAFETY: by the caller.
        return unsafe { real::setsockopt(fd, level, name, value, len) };
    };
    answer(|| {
        let len = usize::try_from(len as c_int).map_err(|_negative| Errno(libc::EINVAL))?;
        // SAFETY: by the caller.
        let value = unsafe { memory::bytes(value, len) }?;
        options::set(fd, &socket, level, name, value).map(|()| 0)
    })
}

/// getsockopt(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let Some(socket) = table::get(fd).filter(|socket| socket.state() != State::Undecided) else {
        // SAFETY: by the caller.
        return unsafe { real::getsockopt(fd, level, name, value, len) };
    };
    answer(|| {
        // SAFETY: by the caller.
        let Some(room) = (unsafe { len.as_mut() }) else { return Err(Errno(libc::EFAULT)) };
        let longest = usize::try_from(*room as c_int).map_err(|_negative| Errno(libc::EINVAL))?;
        // SAFETY: by the caller.
        let out = unsafe { memory::bytes_mut(value, longest) }?;
        *room = options::get(fd, &socket, level, name, out)? as socklen_t;
        Ok(length(0))
    })
}

/// sockatmark(3): libc makes the ioctl past ours.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sockatmark(fd: c_int) -> c_int {
    let mut at: c_int = 0;
    // SAFETY: the number is live.
    match unsafe { ioctl(fd, control::SIOCATMARK, (&raw mut at).expose_provenance()) } {
        0 => at,
        failed => failed,
    }
}

/// ioctl(2). (Variadic in C: on this ABI one more argument is passed the same way.)
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::ioctl(fd, request, arg) };
    let Some(socket) = table::get(fd) else { return kernel() };
    answer(|| {
        // SAFETY: by the caller.
        unsafe { control::control(fd, &socket, request, arg) }.unwrap_or_else(|| from_libc(kernel()))
    })
}
