//! Sending the signals: to whom and which, the kernel's socket knows (fs/fcntl.c of Linux: send_sigio, send_sigurg).
//!
//! A process may make up what the kernel says in a signal only for itself; what goes to other processes, and to single threads,
//! says that it was sent as the kernel's would be (SI_SIGIO in place of the reason, which si_band still tells), and without
//! F_SETSIG it is a plain kill.

use super::reasons::Reason;
use crate::errno::{Errno, Result, from_libc};
use crate::{lock, real};
use core::ffi::{c_int, c_long};
use libc::pid_t;

const F_GETSIG: c_int = 11;
const F_GETOWN_EX: c_int = 16;
const F_OWNER_TID: c_int = 0;
const F_OWNER_PGRP: c_int = 2;

/// si_code of what was sent in the manner of SIGIO, by whoever.
const SI_SIGIO: c_int = -5;
/// si_code of what the kernel sent for no other reason.
const SI_KERNEL: c_int = 0x80;

/// Who owns a socket: struct f_owner_ex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
struct Owner {
    kind: c_int,
    id: pid_t,
}

fn owner(fd: c_int) -> Option<Owner> {
    let mut owner = Owner::default();
    // SAFETY: the owner is live, and as fcntl(2) says.
    let asked = from_libc(unsafe { real::fcntl(fd, F_GETOWN_EX, (&raw mut owner).expose_provenance()) });
    asked.ok().map(|_| owner).filter(|owner| owner.id != 0)
}

/// True when signals go to somebody.
pub fn has_owner(fd: c_int) -> bool {
    owner(fd).is_some()
}

/// Sends what follows from these reasons, for the socket behind `by`, in the name of `fd`.
pub fn send(by: c_int, fd: c_int, reasons: &[Reason]) {
    let Some(owner) = owner(by) else { return };
    // SAFETY: asks for a number.
    let signal = from_libc(unsafe { real::fcntl(by, F_GETSIG, 0) }).unwrap_or(0);
    let asynchronous = super::flags(by).is_ok_and(|flags| flags & libc::O_ASYNC != 0);
    for reason in reasons {
        if *reason == Reason::Priority {
            owner.plain(libc::SIGURG);
        }
        // (SIGURG takes the place of SIGIO, and not that of a signal that was chosen.)
        if asynchronous && (signal != 0 || *reason != Reason::Priority) {
            owner.tell(signal, fd, *reason);
        }
    }
}

/// siginfo_t, as far as it is filled in.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
struct Info {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    band: c_long,
    fd: c_int,
    rest: [u8; 100],
}

const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

impl Info {
    fn new(signal: c_int, code: c_int) -> Info {
        Info { signal, errno: 0, code, padding: 0, band: 0, fd: 0, rest: [0; 100] }
    }
}

/// True for signals whose si_code means something of its own (sig_specific_sicodes in Linux).
fn has_codes(signal: c_int) -> bool {
    let list =
        [libc::SIGILL, libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS, libc::SIGTRAP, libc::SIGCHLD, libc::SIGSYS];
    list.contains(&signal)
}

impl Owner {
    /// SIGIO, or what F_SETSIG named. Nobody waits to hear that the owner is gone.
    fn tell(self, signal: c_int, fd: c_int, reason: Reason) {
        if signal != 0 {
            let code = if has_codes(signal) { SI_SIGIO } else { reason.code() };
            let info = Info { band: reason.band(), fd, ..Info::new(signal, code) };
            // As in Linux: when the queue of signals is full, SIGIO says that some are missing.
            if self.queue(info) != Err(Errno(libc::EAGAIN)) {
                return;
            }
        }
        self.plain(libc::SIGIO);
    }

    /// A signal that says nothing more.
    fn plain(self, signal: c_int) {
        let _gone = match self.kind {
            F_OWNER_TID => system_call(libc::SYS_tkill, [self.id as usize, signal as usize, 0, 0]),
            F_OWNER_PGRP => system_call(libc::SYS_kill, [-self.id as usize, signal as usize, 0, 0]),
            _ if self.is_this_process() => self.queue(Info::new(signal, SI_KERNEL)),
            _ => system_call(libc::SYS_kill, [self.id as usize, signal as usize, 0, 0]),
        };
    }

    fn is_this_process(self) -> bool {
        self.id.unsigned_abs() == std::process::id()
    }

    /// A signal with what it says.
    fn queue(self, info: Info) -> Result<()> {
        let signal = info.signal as usize;
        let queued = |info: Info, to: pid_t| {
            let info = (&raw const info).expose_provenance();
            system_call(libc::SYS_rt_sigqueueinfo, [to as usize, signal, info, 0])
        };
        match self.kind {
            F_OWNER_TID => {
                let info = Info { code: SI_SIGIO, ..info };
                let info = (&raw const info).expose_provenance();
                let process = std::process::id() as usize;
                let arguments = [process, self.id as usize, signal, info];
                match system_call(libc::SYS_rt_tgsigqueueinfo, arguments) {
                    // A thread of another process.
                    Err(Errno(libc::ESRCH)) => system_call(libc::SYS_tkill, [self.id as usize, signal, 0, 0]),
                    other => other,
                }
            }
            F_OWNER_PGRP => system_call(libc::SYS_kill, [-self.id as usize, signal, 0, 0]),
            // Named by this very thread, the process may be told anything.
            _ if self.is_this_process() => queued(info, lock::thread() as pid_t),
            _ => queued(Info { code: SI_SIGIO, ..info }, self.id),
        }
    }
}

fn system_call(number: c_long, [a, b, c, d]: [usize; 4]) -> Result<()> {
    // SAFETY: these calls read a siginfo_t at most, which is live.
    from_libc(unsafe { real::system_call(number, [a, b, c, d, 0, 0]) }).map(drop)
}
