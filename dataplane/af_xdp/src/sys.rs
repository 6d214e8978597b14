//! The system calls that no crate wraps, behind safe functions. Nothing here decides anything.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Turns a system call's result into one of ours.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Opens a socket that is closed when a child process executes something.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option to a plain value.
pub(crate) fn set_option<T: Copy>(fd: &impl AsRawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) })?;
    Ok(())
}

/// Reads a socket option that is plain integers. The kernel may fill less than all of `T` (an older one knows
/// fewer counters): the rest is zero. Returns the value and how many bytes of it were filled.
pub(crate) fn get_option<T: Integers>(fd: &impl AsRawFd, level: i32, name: i32) -> io::Result<(T, usize)> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &mut len) })?;
    // SAFETY: all zero bits, and whatever integers the kernel wrote, are a value of `T`.
    Ok((unsafe { value.assume_init() }, len as usize))
}

/// A type of which any bit pattern is a value.
///
/// # Safety
/// Only integers and `repr(C)` structures of integers.
pub(crate) unsafe trait Integers: Copy {}
// SAFETY: an integer.
unsafe impl Integers for i32 {}
// SAFETY: an integer.
unsafe impl Integers for u64 {}

/// Wakes the kernel's transmit side: a send of nothing.
#[inline]
pub(crate) fn send_nothing(fd: RawFd) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let sent = unsafe { libc::sendto(fd, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Wakes the kernel's receive side: a receive of nothing.
#[inline]
pub(crate) fn receive_nothing(fd: RawFd) -> io::Result<()> {
    let (nothing, no_address) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: no buffer and no address are passed.
    let got = unsafe { libc::recvfrom(fd, nothing, 0, libc::MSG_DONTWAIT, no_address, std::ptr::null_mut()) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Index of a network interface in this thread's network namespace.
pub(crate) fn interface_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: a nul-terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Major and minor number of the running kernel's version.
pub(crate) fn kernel_version() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
