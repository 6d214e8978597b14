//! Kicks without system calls: an io_uring whose kernel thread (SQPOLL) sends nothing on the socket for us.
//!
//! ```text
//!   worker: one entry {send, socket, length 0, don't wait} --> submission ring --> kernel thread: sendto --> tx ring
//!           completion ring <---------------------------------------- result
//! ```
//!
//! One kick is under way at a time. As long as the kernel thread has a core of its own the worker makes no system call
//! at all; starved of one, throughput falls to a fraction of what plain kicks give. So it is an option.

use crate::socket::options::{Counters, Kick};
use io_uring::{IoUring, opcode, types};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// How the kernel thread runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqPollOptions {
    /// Milliseconds without work until the kernel thread sleeps; waking it costs a system call.
    pub idle_milliseconds: u32,
    /// Core for the kernel thread; anywhere when `None`.
    pub cpu: Option<u32>,
}

impl Default for SqPollOptions {
    fn default() -> Self {
        SqPollOptions { idle_milliseconds: 2000, cpu: None }
    }
}

/// The ring, with the socket registered as its file 0.
pub(crate) struct SqPoll {
    ring: IoUring,
    under_way: bool,
}

impl SqPoll {
    pub(crate) fn new(socket: &OwnedFd, options: &SqPollOptions) -> io::Result<SqPoll> {
        let mut builder = IoUring::builder();
        builder.setup_sqpoll(options.idle_milliseconds);
        if let Some(cpu) = options.cpu {
            builder.setup_sqpoll_cpu(cpu);
        }
        let ring = builder.build(4)?;
        ring.submitter().register_files(&[socket.as_raw_fd()])?;
        Ok(SqPoll { ring, under_way: false })
    }

    /// Asks the kernel thread for one send; says how the last one ended.
    pub(crate) fn kick(&mut self, counters: &mut Counters) -> Kick {
        let mut result = Kick::Sent;
        while let Some(entry) = self.ring.completion().next() {
            self.under_way = false;
            if entry.result() < 0 {
                result = Kick::of(&io::Error::from_raw_os_error(-entry.result()));
                match result {
                    Kick::LinkDown | Kick::Gone => counters.link_down += 1,
                    _ => counters.busy += 1,
                }
            }
        }
        if !self.under_way && result != Kick::Gone {
            let send =
                opcode::Send::new(types::Fixed(0), std::ptr::null(), 0).flags(libc::MSG_DONTWAIT).build();
            // SAFETY: the entry names no memory, and the file is registered as long as the ring lives.
            self.under_way = unsafe { self.ring.submission().push(&send) }.is_ok();
            counters.sqpoll_kicks += 1;
        }
        // The crate's fence stands between our store of the tail and this look at the flag.
        if self.ring.submission().need_wakeup() {
            counters.sqpoll_wakeups += 1;
            // Busy at most; the flag stays set and the next turn tries again.
            let _ = self.ring.submit();
        }
        // Not known to be over: the kernel thread may have looked before the last descriptors were there, or
        // stopped at its budget. Asked again next turn; with nothing pending the socket does not come here.
        if self.under_way && result == Kick::Sent { Kick::Busy } else { result }
    }
}
