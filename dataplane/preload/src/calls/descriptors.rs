//! close, dup, fcntl and their kin.

use super::answer;
use crate::errno::from_libc;
use crate::{descriptor, real, table};
use core::ffi::{c_int, c_uint};

/// close(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    answer(|| descriptor::close(fd).map(|()| 0))
}

/// close_range(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    answer(|| descriptor::close_range(first, last, flags).map(|()| 0))
}

/// closefrom(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    // It reports nothing.
    let _result: c_int =
        answer(|| descriptor::close_range(first.max(0) as c_uint, c_uint::MAX, 0).map(|()| 0));
}

/// dup(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: by the caller.
    answer(|| descriptor::duplicate(fd, || unsafe { real::dup(fd) }))
}

/// dup2(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(fd: c_int, to: c_int) -> c_int {
    // SAFETY: by the caller.
    answer(|| descriptor::duplicate_to(fd, to, || unsafe { real::dup2(fd, to) }))
}

/// dup3(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: by the caller.
    answer(|| descriptor::duplicate_to(fd, to, || unsafe { real::dup3(fd, to, flags) }))
}

fn control(fd: c_int, command: c_int, arg: usize) -> c_int {
    // SAFETY: by the caller of fcntl.
    let kernel = || unsafe { real::fcntl(fd, command, arg) };
    let Some(socket) = table::get(fd) else {
        return match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => answer(|| descriptor::duplicate(fd, kernel)),
            _ => kernel(),
        };
    };
    answer(|| descriptor::control(fd, &socket, command, arg).unwrap_or_else(|| from_libc(kernel())))
}

/// fcntl(2). (Variadic in C: on this ABI one more argument is passed the same way.)
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, command: c_int, arg: usize) -> c_int {
    control(fd, command, arg)
}

/// fcntl(2) with large files.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, arg: usize) -> c_int {
    control(fd, command, arg)
}
