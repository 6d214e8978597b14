//! Other names under which libc exports some of its functions to programs. (`__fork` needs none: what it calls at fork is ours.)

use super::{descriptors, naming, receiving, sending};
use crate::{poll, select};
use core::ffi::{c_int, c_ulong, c_void};
use libc::{fd_set, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval};

/// One name for each function.
macro_rules! aliases {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty = $function:path;)*) => {
        $(
            /// Another name.
            ///
            /// # Safety
            /// As libc's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
                // SAFETY: by the caller.
                unsafe { $function($($argument),*) }
            }
        )*
    };
}

aliases! {
    __read(fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t = receiving::read;
    __write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t = sending::write;
    __send(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int) -> ssize_t = sending::send;
    __connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int = naming::connect;
    __close(fd: c_int) -> c_int = descriptors::close;
    __dup2(fd: c_int, to: c_int) -> c_int = descriptors::dup2;
    __fcntl(fd: c_int, command: c_int, arg: usize) -> c_int = descriptors::fcntl;
    __poll(fds: *mut pollfd, count: c_ulong, timeout: c_int) -> c_int = poll::poll;
    __select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, timeout: *mut timeval) -> c_int = select::select;
}

/// vfork's other name: it returns twice on one stack, so nothing may stand between.
///
/// # Safety
/// As libc's.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn __vfork() -> libc::pid_t {
    core::arch::naked_asm!("jmp {target}", target = sym crate::fork::vfork)
}
