//! The clock of marks and pacing: CLOCK_MONOTONIC, the same for all processes of a machine, read without a system call.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment before this machine's first process.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
