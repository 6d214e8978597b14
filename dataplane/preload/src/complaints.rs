//! What a program is told on standard error: that there is no service, and what could not be done with sockets of Flumen.

use crate::attach::DEFAULT_PATH;
use crate::errno::Errno;
use crate::limits::MAX_TOLD;
use crate::lock::Lock;
use core::sync::atomic::{AtomicBool, Ordering::*};
use rustix::net::AddressFamily;
use std::io;
use std::os::fd::BorrowedFd;

/// Whether a program whose service is not there goes on with the kernel's sockets.
pub fn falls_back() -> bool {
    std::env::var_os("FLUMEN_FALLBACK").is_none_or(|value| value != "fail")
}

/// Says on standard error, once, that the service cannot be reached, and what becomes of sockets. Children after fork say it
/// no more; with FLUMEN_QUIET nobody does.
pub fn complain(error: Errno) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Relaxed) || std::env::var_os("FLUMEN_QUIET").is_some() {
        return;
    }
    let path = std::env::var_os("FLUMEN_SOCKET").unwrap_or_else(|| DEFAULT_PATH.into());
    let what = io::Error::from_raw_os_error(error.0);
    let then = if falls_back() {
        "the kernel's sockets are used (FLUMEN_FALLBACK=fail forbids that, FLUMEN_QUIET=1 says nothing)"
    } else {
        "sockets fail (FLUMEN_FALLBACK=kernel allows the kernel's)"
    };
    say(&format!("flumen: no data plane at {} (FLUMEN_SOCKET): {what}; {then}\n", path.display()));
}

/// Options that were told of: each is once for a program.
static TOLD: Lock<Vec<(i32, i32)>> = Lock::new(Vec::new());

/// True the first time that an option is told of, unless too many were.
fn is_news(told: &mut Vec<(i32, i32)>, option: (i32, i32)) -> bool {
    let news = told.len() < MAX_TOLD && !told.contains(&option);
    if news {
        told.push(option);
    }
    news
}

/// Says on standard error, once, that an option that the kernel had granted has no effect on a socket that became Flumen's.
pub fn tell_refused(level: i32, name: i32, error: Errno) {
    if !is_news(&mut TOLD.lock(), (level, name)) {
        return;
    }
    let of = match level {
        libc::SOL_SOCKET => "SOL_SOCKET",
        libc::SOL_IP => "IPPROTO_IP",
        libc::SOL_TCP => "IPPROTO_TCP",
        libc::SOL_UDP => "IPPROTO_UDP",
        libc::SOL_IPV6 => "IPPROTO_IPV6",
        _ => "another level",
    };
    let what = io::Error::from_raw_os_error(error.0);
    say(&format!(
        "flumen: option {name} of {of}, set before bind or connect, is without effect on Flumen's sockets: {what}\n"
    ));
}

/// Writes to standard error, unless that is a connection: a server that inetd starts has its peer there, and a daemon that closed its
/// standard error whatever it opened next. (journald listens at a socket of another family.)
fn say(text: &str) {
    // SAFETY: the descriptor is only asked what it is.
    let domain = rustix::net::sockopt::socket_domain(unsafe { BorrowedFd::borrow_raw(2) });
    if !matches!(domain, Ok(AddressFamily::INET | AddressFamily::INET6)) {
        // SAFETY: the text is live; the result does not matter.
        unsafe { crate::real::write(2, text.as_ptr().cast(), text.len()) };
    }
}

/// Says on standard error what could not be done with sockets of Flumen.
pub fn complain_of(what: &str, error: Errno) {
    say(&format!("flumen: {what}: {}\n", io::Error::from_raw_os_error(error.0)));
}

/// In a child after fork: another thread of the parent may have been at it.
pub fn free_lock_after_fork() {
    TOLD.free_after_fork(Vec::new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_told_of_once_and_only_so_many_are() {
        let mut told = Vec::new();
        for name in 0..MAX_TOLD as i32 {
            assert!(is_news(&mut told, (libc::SOL_IP, name)), "option {name}");
            assert!(!is_news(&mut told, (libc::SOL_IP, name)), "once");
        }
        assert!(!is_news(&mut told, (libc::SOL_TCP, 0)), "one too many");
    }
}
