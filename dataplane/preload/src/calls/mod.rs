//! The functions that are exported in front of libc's. Each looks the descriptor up; what is none of ours goes to libc
//! with all its arguments as they came.

#[cfg(target_env = "gnu")]
pub mod aliases;
pub mod descriptors;
pub mod fortified;
pub mod memory;
pub mod naming;
pub mod options;
pub mod receiving;
pub mod sending;
pub mod stdio;
#[cfg(target_arch = "x86_64")]
pub mod syscall;
pub mod transfers;

#[cfg(test)]
mod tests;

use crate::errno::{self, Result};

/// Runs what answers a call, and turns the result into what C expects.
#[inline]
pub(crate) fn answer<T: TryFrom<i64>, V: Into<i64>>(call: impl FnOnce() -> Result<V>) -> T {
    let before = errno::get();
    errno::to_c(before, call().map(Into::into))
}

/// A length as a result; it never is beyond what fits.
#[inline]
pub(crate) fn length(len: usize) -> i64 {
    len as i64
}
