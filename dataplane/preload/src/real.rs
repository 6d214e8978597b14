//! libc's own functions, past ours: found by `dlsym(RTLD_NEXT)` when they are called for the first time.
//!
//! Looking one up may call back into this library (an allocator that opens a file, for one), and libc may call us before it
//! is ready. A function that is being looked up at the moment is therefore replaced by the bare system call, which does
//! the same but is no cancellation point.

use core::ffi::{CStr, c_int, c_long, c_uint, c_ulong, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::{iovec, loff_t, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t, timespec};

pub mod processes;
pub mod waits;

/// The address of one function: 0 not looked up, 1 being looked up, 2 not there.
#[derive(Debug)]
pub struct Function(AtomicUsize);

const UNKNOWN: usize = 0;
const LOOKING: usize = 1;
const ABSENT: usize = 2;

impl Function {
    /// One that was not looked up.
    pub const fn new() -> Function {
        Function(AtomicUsize::new(UNKNOWN))
    }

    /// Its address; `None` when there is none, or none yet.
    #[inline]
    pub fn address(&self, name: &'static CStr) -> Option<usize> {
        let address = self.0.load(Acquire);
        if address > ABSENT { Some(address) } else { self.look_up(address, name) }
    }

    #[cold]
    fn look_up(&self, state: usize, name: &'static CStr) -> Option<usize> {
        if state != UNKNOWN || self.0.compare_exchange(UNKNOWN, LOOKING, AcqRel, Acquire).is_err() {
            return None;
        }
        // SAFETY: the name is a C string.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
        self.0.store(if address > ABSENT { address } else { ABSENT }, Release);
        (address > ABSENT).then_some(address)
    }
}

impl Default for Function {
    fn default() -> Self {
        Self::new()
    }
}

/// Defines functions that call libc's of the same name; the number is that of the system call that does the same, -1 where
/// there is none (ENOSYS is the answer then).
#[macro_export]
macro_rules! real {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty = $number:expr;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As libc's function of this name.
            #[inline]
            #[allow(clippy::too_many_arguments)]
            pub unsafe fn $name($($arg: $type),*) -> $ret {
                static FUNCTION: $crate::real::Function = $crate::real::Function::new();
                const NAME: &core::ffi::CStr = $crate::real::c_name(concat!(stringify!($name), "\0"));
                const NUMBER: core::ffi::c_long = $number;
                match FUNCTION.address(NAME) {
                    Some(address) => {
                        // SAFETY: libc's function of this name has this type; the caller keeps its rules.
                        unsafe {
                            let function = core::mem::transmute::<usize, unsafe extern "C" fn($($type),*) -> $ret>(address);
                            function($($arg),*)
                        }
                    }
                    // SAFETY: the system call takes the same arguments; the caller keeps their rules.
                    None => unsafe {
                        $crate::real::system_call(NUMBER, $crate::real::six([$($arg as usize),*])) as $ret
                    },
                }
            }
        )*
    };
}

/// A name with its zero, as a C string.
pub const fn c_name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"",
    }
}

/// Arguments of a system call, filled up with zeros.
pub fn six<const N: usize>(given: [usize; N]) -> [usize; 6] {
    core::array::from_fn(|place| given.get(place).copied().unwrap_or(0))
}

/// A bare system call, whatever stands in front of libc's syscall: -1 and errno, or its result.
///
/// # Safety
/// As the system call of this number.
#[cfg(target_arch = "x86_64")]
pub unsafe fn system_call(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    let result: isize;
    // SAFETY: by the caller; the instruction changes no other registers than these.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if (-4095..0).contains(&result) {
        crate::errno::set(-result as c_int);
        return -1;
    }
    result as c_long
}

/// A system call: -1 and errno, or its result.
///
/// # Safety
/// As the system call of this number.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn system_call(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    // SAFETY: by the caller.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

/// No system call does the same.
pub const NONE: c_long = -1;

real! {
    /// Makes a socket.
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int = libc::SYS_socket;
    /// Names a socket.
    fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int = libc::SYS_bind;
    /// Listens.
    fn listen(fd: c_int, backlog: c_int) -> c_int = libc::SYS_listen;
    /// Takes a connection.
    fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int = libc::SYS_accept;
    /// Takes a connection, with flags.
    fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int = libc::SYS_accept4;
    /// Opens a connection.
    fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int = libc::SYS_connect;
    /// Sends to an address.
    fn sendto(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int, address: *const sockaddr, size: socklen_t) -> ssize_t = libc::SYS_sendto;
    /// Sends with control messages.
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t = libc::SYS_sendmsg;
    /// Sends many.
    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int = libc::SYS_sendmmsg;
    /// Receives, and says from whom.
    fn recvfrom(fd: c_int, bytes: *mut c_void, len: size_t, flags: c_int, address: *mut sockaddr, size: *mut socklen_t) -> ssize_t = libc::SYS_recvfrom;
    /// Receives with control messages.
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t = libc::SYS_recvmsg;
    /// Receives many.
    fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int = libc::SYS_recvmmsg;
    /// Reads.
    fn read(fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t = libc::SYS_read;
    /// Reads into many buffers.
    fn readv(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t = libc::SYS_readv;
    /// Writes.
    fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t = libc::SYS_write;
    /// Writes from many buffers.
    fn writev(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t = libc::SYS_writev;
    /// Reads at a position.
    fn preadv2(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = NONE;
    /// Writes at a position.
    fn pwritev2(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t = NONE;
    /// Copies from a file.
    fn sendfile(out: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t = libc::SYS_sendfile;
    /// Moves between a pipe and something else.
    fn splice(from: c_int, from_offset: *mut loff_t, to: c_int, to_offset: *mut loff_t, len: size_t, flags: c_uint) -> ssize_t = libc::SYS_splice;
    /// Closes.
    fn close(fd: c_int) -> c_int = libc::SYS_close;
    /// Closes a range.
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int = libc::SYS_close_range;
    /// Closes directions.
    fn shutdown(fd: c_int, how: c_int) -> c_int = libc::SYS_shutdown;
    /// Another number for the same.
    fn dup(fd: c_int) -> c_int = libc::SYS_dup;
    /// This number for the same.
    fn dup2(fd: c_int, to: c_int) -> c_int = NONE;
    /// This number for the same, with flags.
    fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int = libc::SYS_dup3;
    /// Controls a descriptor. (Variadic in C: on this ABI one more argument is passed the same way.)
    fn fcntl(fd: c_int, command: c_int, arg: usize) -> c_int = libc::SYS_fcntl;
    /// Controls a device.
    fn ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int = libc::SYS_ioctl;
    /// Our name.
    fn getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int = libc::SYS_getsockname;
    /// The peer's name.
    fn getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int = libc::SYS_getpeername;
    /// Gets an option.
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int = libc::SYS_getsockopt;
    /// Sets an option.
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int = libc::SYS_setsockopt;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_and_one_that_is_looked_up_just_now_is_replaced_by_the_system_call() {
        let function = Function::new();
        assert!(function.address(c"close").is_some());
        let looking = Function(AtomicUsize::new(LOOKING));
        assert_eq!(looking.address(c"close"), None);
        let absent = Function::new();
        assert_eq!(absent.address(c"no_such_function_anywhere"), None);
        assert_eq!(absent.0.load(SeqCst), ABSENT);
        // SAFETY: closing what cannot be open.
        assert_eq!(unsafe { close(-1) }, -1);
    }
}
