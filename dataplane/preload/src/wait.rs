//! Blocked calls: sleeping until a socket's cell changes, a time is over, or a signal comes.
//!
//! What a signal does depends on the timeout (socket(7), signal(7)): a call without one goes on after a handler with
//! SA_RESTART, a call with one always ends with EINTR.

use crate::errno::{Errno, Result};
use crate::lock;
use crate::socket::{Part, State, open};
use core::ffi::c_int;
use core::sync::atomic::Ordering::*;
use core::time::Duration;
use flumen_ipc::wake::{self, Slept};
use std::time::Instant;

/// How often a sleeper looks whether the service still lives.
const LOOK: Duration = Duration::from_secs(1);

/// How long a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// Until something happens.
    Endless,
    /// Until then.
    Until(Instant),
}

impl Patience {
    /// That of a call that receives (SO_RCVTIMEO).
    pub fn to_receive(part: &Part<'_>, flags: c_int) -> Patience {
        Self::of(part, flags, part.cell.program.receive_timeout.load(Relaxed))
    }

    /// That of a call that sends (SO_SNDTIMEO).
    pub fn to_send(part: &Part<'_>, flags: c_int) -> Patience {
        Self::of(part, flags, part.cell.program.send_timeout.load(Relaxed))
    }

    #[inline]
    fn of(part: &Part<'_>, flags: c_int, micros: u64) -> Patience {
        if flags & libc::MSG_DONTWAIT != 0 || part.open_flags() & open::NONBLOCK != 0 {
            Patience::None
        } else if micros == 0 {
            Patience::Endless
        } else {
            // A time beyond what the clock can say is endless.
            Instant::now()
                .checked_add(Duration::from_micros(micros))
                .map_or(Patience::Endless, Patience::Until)
        }
    }

    /// A call that waits (MSG_WAITFORONE afterwards must not).
    pub fn is_none(self) -> bool {
        self == Patience::None
    }
}

/// Sleeps until `ready` says so, or something is wrong with the socket that the caller will find when it looks again.
///
/// # Errors
/// EAGAIN when patience is at its end, EINTR for a signal.
pub fn until(
    part: &Part<'_>,
    fd: c_int,
    events: u32,
    patience: Patience,
    ready: impl Fn() -> bool,
) -> Result<()> {
    if ready() {
        return Ok(());
    }
    if patience.is_none() {
        if events & libc::EPOLLOUT as u32 != 0 {
            // Whoever waits for room now is told of it, even if it comes just now.
            part.refuse();
            if ready() {
                return Ok(());
            }
        }
        // Who asks again and again without waiting must hear of a dead service, too: the caller finds it when it looks.
        let was_over = part.is_over();
        part.attachment().look_now_and_then();
        return if part.is_over() && !was_over { Ok(()) } else { Err(Errno(libc::EAGAIN)) };
    }
    if part.socket.state() == State::Both {
        return for_either(fd, events, patience);
    }
    let word = &part.cell.worker.seq;
    let program = &part.cell.program;
    let waiters = if events & libc::EPOLLOUT as u32 != 0 { &program.writers } else { &program.readers };
    let generation = lock::generation();
    waiters.fetch_add(1, SeqCst);
    let slept = loop {
        let seen = word.load(SeqCst);
        if ready() || part.is_over() {
            break Ok(());
        }
        let slept = match patience {
            Patience::None => break Err(Errno(libc::EAGAIN)),
            Patience::Endless => wake::futex_wait_restarting(word, seen, LOOK),
            Patience::Until(end) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break Err(Errno(libc::EAGAIN));
                }
                wake::futex_wait(word, seen, left.min(LOOK))
            }
        };
        match slept {
            Slept::Woken => {}
            Slept::Interrupted => break Err(Errno(libc::EINTR)),
            Slept::TimedOut => {
                part.attachment().look();
            }
        }
    };
    // A child that was forked in a signal handler meanwhile was never counted.
    if lock::generation() == generation {
        waiters.fetch_sub(1, SeqCst);
    }
    slept
}

/// How often is looked for what nothing tells of.
const MOMENT: Duration = Duration::from_millis(5);

/// Waits for a moment.
///
/// # Errors
/// EAGAIN when patience is at its end, EINTR for a signal.
pub fn a_moment(patience: Patience) -> Result<()> {
    let time = match patience {
        Patience::None => Duration::ZERO,
        Patience::Endless => MOMENT,
        Patience::Until(end) => end.saturating_duration_since(Instant::now()).min(MOMENT),
    };
    if time.is_zero() {
        return Err(Errno(libc::EAGAIN));
    }
    match crate::poll::wait(&mut [], Some(time), None) {
        Err(Errno(libc::EINTR)) if patience == Patience::Endless && all_handlers_restart() => Ok(()),
        waited => waited.map(drop),
    }
}

/// Waits for the kernel's part of a socket of both kinds, or Flumen's.
fn for_either(fd: c_int, events: u32, patience: Patience) -> Result<()> {
    loop {
        let timeout = match patience {
            Patience::None => Some(Duration::ZERO),
            Patience::Endless => None,
            Patience::Until(end) => Some(end.saturating_duration_since(Instant::now())),
        };
        let mut fds = [libc::pollfd { fd, events: events as i16, revents: 0 }];
        match crate::poll::wait(&mut fds, timeout, None) {
            Ok(0) => return Err(Errno(libc::EAGAIN)),
            Ok(_) => return Ok(()),
            // ppoll ends with any signal; the call that waits here may go on.
            Err(Errno(libc::EINTR)) if patience == Patience::Endless && all_handlers_restart() => {}
            Err(error) => return Err(error),
        }
    }
}

/// True when every handler that the program has is one with SA_RESTART: which one ran nobody says.
fn all_handlers_restart() -> bool {
    (1..=libc::SIGRTMAX()).all(|signal| {
        let mut action = core::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: asks for the action, which zeros are a valid value of.
        let action = unsafe {
            libc::sigaction(signal, core::ptr::null(), action.as_mut_ptr());
            action.assume_init()
        };
        matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
            || action.sa_flags & libc::SA_RESTART != 0
    })
}

/// Takes the turn to read.
///
/// # Errors
/// EAGAIN in a signal handler that interrupted this thread in its turn.
#[inline]
pub fn turn_to_read<'a>(part: &'a Part<'_>) -> Result<lock::Turn<'a>> {
    lock::turn(&part.cell.program.rx_lock).ok_or(Errno(libc::EAGAIN))
}

/// Takes the turn to write.
///
/// # Errors
/// As [`turn_to_read`].
#[inline]
pub fn turn_to_write<'a>(part: &'a Part<'_>) -> Result<lock::Turn<'a>> {
    lock::turn(&part.cell.program.tx_lock).ok_or(Errno(libc::EAGAIN))
}
