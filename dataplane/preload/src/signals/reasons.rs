//! Why an owner gets a signal: what Linux's protocols tell (sk_wake_async), found out by comparing a socket with what it was
//! when it was looked at last. Reasons that come together are told once.
//!
//! | Linux | reason |
//! |---|---|
//! | sock_def_readable: data, urgent data, datagrams, connections to accept, the end of what the peer sends | In |
//! | tcp_fin when writing was shut down before | HangUp, then In |
//! | a connection came to stand; room after a write that found none (sk_stream_write_space) | Out |
//! | sk_error_report: errors, a reset, the error queue | Error |
//! | tcp_check_urg: urgent data were announced | SIGURG, and Priority for who has a signal of its own choice |

use crate::epoll::source::{Now, Source};
use crate::epoll::watch::Watch;
use crate::socket::{Part, Socket};
use core::ffi::c_int;
use core::sync::atomic::Ordering::Acquire;
use flumen_ipc::Flags;

/// A reason; its number is the si_code of the signal (POLL_IN …).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Reason {
    /// Something can be read or accepted.
    In = 1,
    /// Something can be written.
    Out = 2,
    /// An error waits.
    Error = 4,
    /// Urgent data were announced: SIGURG.
    Priority = 5,
    /// Both directions are over.
    HangUp = 6,
}

impl Reason {
    /// si_code.
    pub fn code(self) -> c_int {
        self as c_int
    }

    /// si_band, poll's bits (band_table in Linux's fs/fcntl.c).
    pub fn band(self) -> i64 {
        let bits = match self {
            Reason::In => libc::POLLIN | libc::POLLRDNORM,
            Reason::Out => libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND,
            Reason::Error => libc::POLLERR,
            Reason::Priority => libc::POLLPRI | libc::POLLRDBAND,
            Reason::HangUp => libc::POLLHUP | libc::POLLERR,
        };
        bits.into()
    }
}

/// A socket as it was at a moment. The default is one that nothing happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    now: Now,
    /// [`Flags`].
    flags: u32,
    /// How often urgent data were announced.
    urgent: u32,
}

impl Seen {
    /// As it is now.
    pub fn of(socket: &'static Socket, part: &Part<'_>) -> Seen {
        let urgent = part.cell.worker.announced.load(Acquire);
        Seen { now: Watch(socket).now(), flags: part.cell.flags().0, urgent }
    }

    fn has(&self, flags: Flags) -> bool {
        Flags(self.flags).intersects(flags)
    }

    /// True for room that nobody was told of yet after a write that found none.
    fn has_new_room(&self, before: &Seen) -> bool {
        self.now.refusals != before.now.refusals && self.now.events & libc::EPOLLOUT as u32 != 0
    }

    /// What came to hold, or came again, since `before`.
    pub fn reasons(&self, before: &Seen) -> Vec<Reason> {
        let came = |flags| self.has(flags) && !before.has(flags);
        let mut reasons = Vec::new();
        if self.urgent != before.urgent {
            reasons.push(Reason::Priority);
        }
        let urgent = self.has(Flags::PRIORITY) && (came(Flags::PRIORITY) || self.urgent != before.urgent);
        let arrived = self.now.arrivals != before.now.arrivals
            && (!self.has(Flags::LISTENING) || self.has(Flags::ACCEPTABLE))
            || urgent;
        let error = libc::EPOLLERR as u32;
        let failed = self.now.events & !before.now.events & error != 0
            || self.now.notices != before.now.notices && self.now.events & error != 0;
        // A reset tells of the error alone.
        let ended = came(Flags::READ_END) && !failed;
        if ended && self.has(Flags::WRITE_END | Flags::HANG_UP) {
            reasons.push(Reason::HangUp);
        }
        if arrived || ended {
            reasons.push(Reason::In);
        }
        if came(Flags::CONNECTED) && !failed || self.has_new_room(before) {
            reasons.push(Reason::Out);
        }
        if failed {
            reasons.push(Reason::Error);
        }
        reasons
    }

    /// What is to be compared with next: a write that found no room is remembered until there is some.
    pub fn after(self, before: &Seen) -> Seen {
        let told = self.now.events & libc::EPOLLOUT as u32 != 0;
        let refusals = if told { self.now.refusals } else { before.now.refusals };
        Seen { now: Now { refusals, ..self.now }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(events: c_int, flags: Flags) -> Seen {
        let now = Now { events: events as u32, ..Now::default() };
        Seen { now, flags: flags.0, urgent: 0 }
    }

    #[test]
    fn what_comes_again_is_told_again_and_what_stays_is_not() {
        let open = seen(libc::EPOLLOUT, Flags::CONNECTED);
        assert_eq!(open.reasons(&Seen::default()), [Reason::Out], "the connection stands");
        assert_eq!(open.reasons(&open), []);
        let arrived = Seen { now: Now { arrivals: 5, ..open.now }, ..open };
        assert_eq!(arrived.reasons(&open), [Reason::In], "also when they were read meanwhile");
        assert_eq!(arrived.reasons(&arrived), []);
        let ended = seen(libc::EPOLLOUT | libc::EPOLLIN, Flags::CONNECTED | Flags::READ_END);
        assert_eq!(ended.reasons(&open), [Reason::In], "half of it is over");
        let over = Flags::CONNECTED | Flags::READ_END | Flags::WRITE_END | Flags::HANG_UP;
        assert_eq!(seen(libc::EPOLLHUP, over).reasons(&open), [Reason::HangUp, Reason::In]);
        assert_eq!(seen(libc::EPOLLHUP, over).reasons(&ended), [], "we closed the other half ourselves");
    }

    #[test]
    fn a_reset_is_an_error_and_nothing_else() {
        let open = seen(libc::EPOLLOUT, Flags::CONNECTED);
        let over = Flags::CONNECTED | Flags::READ_END | Flags::WRITE_END | Flags::HANG_UP | Flags::ERROR;
        let reset = seen(libc::EPOLLERR | libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLHUP, over);
        assert_eq!(reset.reasons(&open), [Reason::Error]);
        let refused = seen(libc::EPOLLERR | libc::EPOLLHUP, Flags::READ_END | Flags::HANG_UP | Flags::ERROR);
        assert_eq!(refused.reasons(&Seen::default()), [Reason::Error]);
        let notice = Seen { now: Now { notices: 2, ..reset.now }, ..reset };
        assert_eq!(notice.reasons(&reset), [Reason::Error], "the error queue has more");
    }

    #[test]
    fn room_is_told_after_a_write_that_found_none() {
        let open = seen(libc::EPOLLOUT, Flags::CONNECTED);
        let full = seen(0, Flags::CONNECTED);
        assert_eq!(open.reasons(&full), [], "nobody wanted to write");
        let refused = Seen { now: Now { refusals: 1, ..full.now }, ..full };
        assert_eq!(refused.reasons(&open), []);
        let seen = refused.after(&open);
        let room = Seen { now: Now { refusals: 1, ..open.now }, ..open };
        assert_eq!(room.reasons(&seen), [Reason::Out]);
        assert_eq!(room.reasons(&room.after(&seen)), []);
    }

    #[test]
    fn urgent_data_are_told_when_they_are_announced() {
        let open = seen(libc::EPOLLOUT, Flags::CONNECTED);
        let announced = Seen { urgent: 1, ..open };
        assert_eq!(announced.reasons(&open), [Reason::Priority]);
        let here = Seen { flags: (Flags::CONNECTED | Flags::PRIORITY).0, ..announced };
        assert_eq!(here.reasons(&announced), [Reason::In], "the byte came");
        let again = Seen { urgent: 2, ..here };
        assert_eq!(again.reasons(&here), [Reason::Priority, Reason::In], "before the last was read");
        assert_eq!(Seen { flags: open.flags, ..again }.reasons(&again), [], "it was read");
    }

    #[test]
    fn a_listener_tells_of_connections_and_not_of_their_going() {
        let listens = seen(0, Flags::LISTENING);
        let now = Now { arrivals: 7, ..Now::default() };
        let came = Seen { now, flags: (Flags::LISTENING | Flags::ACCEPTABLE).0, urgent: 0 };
        assert_eq!(came.reasons(&listens), [Reason::In]);
        let went = Seen { now: Now { arrivals: 8, ..now }, ..listens };
        assert_eq!(went.reasons(&came), []);
    }

    #[test]
    fn codes_and_bands_are_linuxs() {
        assert_eq!((Reason::Priority.code(), Reason::HangUp.code()), (5, 6));
        assert_eq!([Reason::In, Reason::Out, Reason::Error].map(Reason::band), [0x41, 0x304, 8]);
        assert_eq!([Reason::Priority, Reason::HangUp].map(Reason::band), [0x82, 0x18]);
    }
}
