//! Sockets of both kinds: a blocked call waits for the kernel's part and Flumen's at the same time.

use crate::errno::{Errno, Result};
use crate::socket::Part;
use crate::wait::Patience;
use core::ffi::c_int;
use rustix::event::{PollFd, PollFlags};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// How long one round of waiting lasts.
const ROUND: Duration = Duration::from_millis(10);

/// Waits until either part has one of `events`.
///
/// # Errors
/// EAGAIN when patience is at its end, EINTR for a signal.
pub fn wait_for(part: &Part<'_>, fd: c_int, events: u32, patience: Patience) -> Result<()> {
    // SAFETY: the program keeps the descriptor open while it waits.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let wanted = PollFlags::from_bits_truncate(events as u16);
    loop {
        if part.readiness() & (events | (libc::EPOLLERR | libc::EPOLLHUP) as u32) != 0 {
            return Ok(());
        }
        let round = match patience {
            Patience::None => return Err(Errno(libc::EAGAIN)),
            Patience::Endless => ROUND,
            Patience::Until(end) => end.saturating_duration_since(Instant::now()).min(ROUND),
        };
        let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
        let time = rustix::time::Timespec { tv_sec: 0, tv_nsec: round.subsec_nanos().into() };
        if rustix::event::poll(&mut fds, Some(&time))? > 0 {
            return Ok(());
        }
        if round.is_zero() {
            return Err(Errno(libc::EAGAIN));
        }
    }
}
