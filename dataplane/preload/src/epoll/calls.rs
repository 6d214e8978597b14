//! The exported calls of epoll.

use super::wait::{self, Out};
use super::{control, descriptors};
use crate::errno::{self, Errno, Result};
use crate::real::waits;
use crate::watcher::duration;
use core::ffi::c_int;
use core::time::Duration;
use libc::{epoll_event, sigset_t, timespec};
use std::time::Instant;

fn begun(fd: c_int) -> c_int {
    if fd >= 0 {
        descriptors::begin(fd, false);
    }
    fd
}

/// Makes a set.
///
/// # Safety
/// As epoll_create(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_create(size: c_int) -> c_int {
    // SAFETY: as the caller called us.
    begun(unsafe { waits::epoll_create(size) })
}

/// Makes a set, with flags.
///
/// # Safety
/// As epoll_create1(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: as the caller called us.
    begun(unsafe { waits::epoll_create1(flags) })
}

/// Changes a set.
///
/// # Safety
/// As epoll_ctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    let before = errno::get();
    let given = if event.is_null() {
        None
    } else {
        // SAFETY: the caller's event, which need not be aligned.
        Some(unsafe { event.read_unaligned() })
    };
    match control::control(epfd, op, fd, given) {
        // SAFETY: as the caller called us.
        None => unsafe { waits::epoll_ctl(epfd, op, fd, event) },
        Some(result) => errno::to_c(before, result.map(|()| 0)),
    }
}

/// Waits, with a timeout in milliseconds.
///
/// # Safety
/// As epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: as the caller called us.
    let native = || errno::from_libc(unsafe { waits::epoll_wait(epfd, events, room, timeout) });
    let time = u64::try_from(timeout).ok().map(Duration::from_millis);
    // SAFETY: as the caller called us.
    unsafe { waited(epfd, events, room, Ok(time), core::ptr::null(), native) }
}

/// Waits with another signal mask.
///
/// # Safety
/// As epoll_pwait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    let time = u64::try_from(timeout).ok().map(Duration::from_millis);
    // SAFETY: as the caller called us.
    let native = || errno::from_libc(unsafe { waits::epoll_pwait(epfd, events, room, timeout, mask) });
    // SAFETY: as the caller called us.
    unsafe { waited(epfd, events, room, Ok(time), mask, native) }
}

/// Waits with another signal mask, and a timeout in nanoseconds.
///
/// # Safety
/// As epoll_pwait2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait2(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's time, if there is one.
    let time = unsafe { timeout.as_ref() }.map(|time| duration(*time)).transpose();
    // SAFETY: as the caller called us.
    let native = || errno::from_libc(unsafe { waits::epoll_pwait2(epfd, events, room, timeout, mask) });
    // SAFETY: as the caller called us.
    unsafe { waited(epfd, events, room, time, mask, native) }
}

/// # Safety
/// As epoll_pwait(2).
unsafe fn waited(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: Result<Option<Duration>>,
    mask: *const sigset_t,
    native: impl FnOnce() -> Result<c_int>,
) -> c_int {
    let before = errno::get();
    // SAFETY: the caller's mask, if there is one.
    let mask = unsafe { mask.as_ref() };
    let result = timeout.and_then(|timeout| {
        let Some(set) = descriptors::get(epfd) else { return native() };
        let begin = timeout.map(|_| Instant::now());
        let room = usize::try_from(room).ok().filter(|room| (1..=MAX_EVENTS).contains(room));
        let mut left = timeout;
        if wait::go_as_stranger(set) {
            let result = native();
            // SAFETY: the caller's array, which the kernel accepted if it gave events.
            if let Some(result) = unsafe { wait::come_back(epfd, set, result, events, room.unwrap_or(0)) } {
                return result;
            }
            left = timeout.map(|time| begin.map_or(time, |begin| time.saturating_sub(begin.elapsed())));
        }
        let room = room.ok_or(Errno(libc::EINVAL))?;
        if events.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: the caller's array.
        wait::wait(epfd, set, unsafe { Out::new(events, room) }, left, mask)
    });
    errno::to_c(before, result.map(i64::from))
}

/// The kernel's bound on the array (EP_MAX_EVENTS).
const MAX_EVENTS: usize = i32::MAX as usize / size_of::<epoll_event>();
