//! Errors as C has them: -1 and `errno`.

use core::ffi::c_int;

/// An error number, positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub c_int);

/// What a call comes to.
pub type Result<T> = core::result::Result<T, Errno>;

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Errno {
        Errno(error.raw_os_error())
    }
}

/// `errno` of this thread.
pub fn get() -> c_int {
    // SAFETY: libc gives the address of a live variable of this thread.
    unsafe { *libc::__errno_location() }
}

/// Sets it.
pub fn set(number: c_int) {
    // SAFETY: as in `get`.
    unsafe { *libc::__errno_location() = number }
}

/// The error that libc's function just reported.
pub fn last() -> Errno {
    Errno(get())
}

/// The kernel's way to answer: negative numbers are errors.
pub fn from_raw(result: i64) -> Result<i64> {
    if result < 0 { Err(Errno(result.unsigned_abs().min(4095) as c_int)) } else { Ok(result) }
}

/// libc's way to answer: -1 and errno.
pub fn from_libc<T: TryInto<i64> + Copy>(result: T) -> Result<T> {
    if matches!(result.try_into(), Ok(-1)) { Err(last()) } else { Ok(result) }
}

/// Turns a result into what a C function returns. `errno` is left alone when all is well, whatever happened on the way.
pub fn to_c<T: TryFrom<i64>>(before: c_int, result: Result<i64>) -> T {
    let value = match result {
        Ok(value) => {
            set(before);
            value
        }
        Err(Errno(number)) => {
            set(number);
            -1
        }
    };
    match T::try_from(value) {
        Ok(value) => value,
        Err(_) => unreachable_value(),
    }
}

/// A result always fits: lengths are bounded by the lengths that the caller passed. If one did not, zero is the answer
/// that does least harm.
fn unreachable_value<T: TryFrom<i64>>() -> T {
    match T::try_from(0) {
        Ok(zero) => zero,
        Err(_) => std::process::abort(),
    }
}
