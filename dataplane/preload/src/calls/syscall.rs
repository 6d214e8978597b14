//! syscall(2): some programs make socket calls by number (libuv its sendmmsg and recvmmsg, for one). Those go to the functions
//! of their names; all others to the kernel as they are.

use super::{descriptors, naming, options, receiving, sending, transfers};
use crate::epoll::calls as epoll;
use crate::{poll, real, select};
use core::ffi::{c_int, c_long};
use core::mem::zeroed;
use core::ptr::null;
use libc::sigset_t;

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
            libc::SYS_read => receiving::read(fd, b as *mut _, c) as c_long,
            libc::SYS_readv => receiving::readv(fd, b as *const _, c as c_int) as c_long,
            libc::SYS_write => sending::write(fd, b as *const _, c) as c_long,
            libc::SYS_writev => sending::writev(fd, b as *const _, c as c_int) as c_long,
            libc::SYS_sendfile => transfers::sendfile(fd, b as c_int, c as *mut _, d) as c_long,
            libc::SYS_splice => {
                transfers::splice(fd, b as *mut _, c as c_int, d as *mut _, e, f as u32) as c_long
            }
            libc::SYS_accept => naming::accept(fd, b as *mut _, c as *mut _).into(),
            libc::SYS_poll => poll::poll(a as *mut _, b as u64, c as c_int).into(),
            libc::SYS_ppoll => match Mask::of(d, e) {
                Some(mask) => poll::ppoll(a as *mut _, b as u64, c as *const _, mask.at()).into(),
                None => real::system_call(number, [a, b, c, d, e, f]),
            },
            libc::SYS_select => select::select(fd, b as *mut _, c as *mut _, d as *mut _, e as *mut _).into(),
            libc::SYS_pselect6 => {
                // The sixth argument is where the mask is, and how long.
                let [at, len] = (f as *const [usize; 2]).as_ref().copied().unwrap_or_default();
                match Mask::of(at, len) {
                    Some(mask) => {
                        select::pselect(fd, b as *mut _, c as *mut _, d as *mut _, e as *const _, mask.at())
                            .into()
                    }
                    None => real::system_call(number, [a, b, c, d, e, f]),
                }
            }
            libc::SYS_epoll_create => epoll::epoll_create(fd).into(),
            libc::SYS_epoll_create1 => epoll::epoll_create1(fd).into(),
            libc::SYS_epoll_ctl => epoll::epoll_ctl(fd, b as c_int, c as c_int, d as *mut _).into(),
            libc::SYS_epoll_wait => epoll::epoll_wait(fd, b as *mut _, c as c_int, d as c_int).into(),
            libc::SYS_epoll_pwait => match Mask::of(e, f) {
                Some(mask) => epoll::epoll_pwait(fd, b as *mut _, c as c_int, d as c_int, mask.at()).into(),
                None => real::system_call(number, [a, b, c, d, e, f]),
            },
            libc::SYS_epoll_pwait2 => match Mask::of(e, f) {
                Some(mask) => {
                    epoll::epoll_pwait2(fd, b as *mut _, c as c_int, d as *const _, mask.at()).into()
                }
                None => real::system_call(number, [a, b, c, d, e, f]),
            },
            libc::SYS_fcntl => descriptors::fcntl(fd, b as c_int, c).into(),
            libc::SYS_ioctl => options::ioctl(fd, b as u64, c).into(),
            libc::SYS_dup => descriptors::dup(fd).into(),
            libc::SYS_dup2 => descriptors::dup2(fd, b as c_int).into(),
            libc::SYS_close => descriptors::close(fd).into(),
            libc::SYS_close_range => descriptors::close_range(a as u32, b as u32, c as c_int).into(),
            libc::SYS_dup3 => descriptors::dup3(fd, b as c_int, c as c_int).into(),
            _ => real::system_call(number, [a, b, c, d, e, f]),
        }
    }
}

/// A mask of signals as the system call has it, which is shorter than libc's.
struct Mask(Option<sigset_t>);

impl Mask {
    /// `None`: the kernel would refuse its length.
    ///
    /// # Safety
    /// `at` is 0, or where as many bytes can be read.
    unsafe fn of(at: usize, len: usize) -> Option<Mask> {
        const KERNELS: usize = 8;
        if at == 0 {
            return Some(Mask(None));
        }
        if len != KERNELS {
            return None;
        }
        // SAFETY: zeros are a mask without signals, which begins as the kernel's; the bytes can be read.
        unsafe {
            let mut mask: sigset_t = zeroed();
            core::ptr::copy_nonoverlapping(at as *const u8, (&raw mut mask).cast(), KERNELS);
            Some(Mask(Some(mask)))
        }
    }

    fn at(&self) -> *const sigset_t {
        self.0.as_ref().map_or(null(), core::ptr::from_ref)
    }
}
