//! syscall(2): some programs make socket calls by number (libuv its sendmmsg and recvmmsg, for one). Those go to the functions
//! of their names; all others to the kernel as they are.

use super::{descriptors, naming, options, receiving, sending};
use crate::real;
use core::ffi::{c_int, c_long};

/// syscall(2). (Variadic in C: on this ABI six more arguments are passed the same way, and those that were not passed are
/// looked at by nobody.)
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let fd = a as c_int;
    // SAFETY: by the caller: arguments are what the system call of this number takes, which are those of the function.
    unsafe {
        match number {
            libc::SYS_socket => naming::socket(fd, b as c_int, c as c_int).into(),
            libc::SYS_bind => naming::bind(fd, b as *const _, c as u32).into(),
            libc::SYS_connect => naming::connect(fd, b as *const _, c as u32).into(),
            libc::SYS_listen => naming::listen(fd, b as c_int).into(),
            libc::SYS_accept4 => naming::accept4(fd, b as *mut _, c as *mut _, d as c_int).into(),
            libc::SYS_shutdown => naming::shutdown(fd, b as c_int).into(),
            libc::SYS_getsockname => naming::getsockname(fd, b as *mut _, c as *mut _).into(),
            libc::SYS_getpeername => naming::getpeername(fd, b as *mut _, c as *mut _).into(),
            libc::SYS_getsockopt => {
                options::getsockopt(fd, b as c_int, c as c_int, d as *mut _, e as *mut _).into()
            }
            libc::SYS_setsockopt => {
                options::setsockopt(fd, b as c_int, c as c_int, d as *const _, e as u32).into()
            }
            libc::SYS_sendto => {
                sending::sendto(fd, b as *const _, c, d as c_int, e as *const _, f as u32) as c_long
            }
            libc::SYS_sendmsg => sending::sendmsg(fd, b as *const _, c as c_int) as c_long,
            libc::SYS_sendmmsg => sending::sendmmsg(fd, b as *mut _, c as u32, d as c_int).into(),
            libc::SYS_recvfrom => {
                receiving::recvfrom(fd, b as *mut _, c, d as c_int, e as *mut _, f as *mut _) as c_long
            }
            libc::SYS_recvmsg => receiving::recvmsg(fd, b as *mut _, c as c_int) as c_long,
            libc::SYS_recvmmsg => {
                receiving::recvmmsg(fd, b as *mut _, c as u32, d as c_int, e as *mut _).into()
            }
            libc::SYS_close => descriptors::close(fd).into(),
            libc::SYS_close_range => descriptors::close_range(a as u32, b as u32, c as c_int).into(),
            libc::SYS_dup3 => descriptors::dup3(fd, b as c_int, c as c_int).into(),
            _ => real::system_call(number, [a, b, c, d, e, f]),
        }
    }
}
