//! libc's calls that wait for many descriptors.

use super::NONE;
use core::ffi::{c_int, c_ulong};
use libc::{epoll_event, fd_set, pollfd, sigset_t, timespec, timeval};

crate::real! {
    /// Makes a set.
    fn epoll_create(size: c_int) -> c_int = libc::SYS_epoll_create;
    /// Makes a set, with flags.
    fn epoll_create1(flags: c_int) -> c_int = libc::SYS_epoll_create1;
    /// Changes a set.
    fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int = libc::SYS_epoll_ctl;
    /// Waits.
    fn epoll_wait(epfd: c_int, events: *mut epoll_event, room: c_int, timeout: c_int) -> c_int = libc::SYS_epoll_wait;
    /// Waits with another signal mask.
    fn epoll_pwait(epfd: c_int, events: *mut epoll_event, room: c_int, timeout: c_int, mask: *const sigset_t) -> c_int = NONE;
    /// Waits with another signal mask and a fine timeout.
    fn epoll_pwait2(epfd: c_int, events: *mut epoll_event, room: c_int, timeout: *const timespec, mask: *const sigset_t) -> c_int = NONE;
    /// Waits for descriptors.
    fn poll(fds: *mut pollfd, count: c_ulong, timeout: c_int) -> c_int = libc::SYS_poll;
    /// Waits for descriptors, with another signal mask.
    fn ppoll(fds: *mut pollfd, count: c_ulong, timeout: *const timespec, mask: *const sigset_t) -> c_int = NONE;
    /// Waits for descriptors in sets of bits.
    fn select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *mut timeval) -> c_int = libc::SYS_select;
    /// Waits for descriptors in sets of bits, with another signal mask.
    fn pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int = NONE;
}
