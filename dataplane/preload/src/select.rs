//! select and pselect, made of poll as the kernel makes them: which poll events stand for which of the three sets is Linux's
//! (fs/select.c).

use crate::errno::{self, Errno, Result};
use crate::poll;
use crate::real::waits;
use crate::watcher::duration;
use crate::{epoll::descriptors, table};
use core::ffi::{c_int, c_short};
use core::time::Duration;
use libc::{fd_set, pollfd, sigset_t, timespec, timeval};
use std::time::Instant;

const READ: c_short = libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLIN | libc::POLLHUP | libc::POLLERR;
const WRITE: c_short = libc::POLLWRBAND | libc::POLLWRNORM | libc::POLLOUT | libc::POLLERR;
const EXCEPT: c_short = libc::POLLPRI;

const BITS: usize = u64::BITS as usize;

/// A set of the caller's, of any length: `count` bits.
#[derive(Clone, Copy)]
struct Bits {
    words: *mut u64,
    count: usize,
}

impl Bits {
    fn has(&self, fd: usize) -> bool {
        // SAFETY: the caller's set has `count` bits, in words of 64.
        !self.words.is_null()
            && fd < self.count
            && unsafe { *self.words.add(fd / BITS) } >> (fd % BITS) & 1 == 1
    }

    fn clear(&self) {
        if !self.words.is_null() {
            for word in 0..self.count.div_ceil(BITS) {
                // SAFETY: as above.
                unsafe { *self.words.add(word) = 0 };
            }
        }
    }

    fn set(&self, fd: usize) {
        if !self.words.is_null() && fd < self.count {
            // SAFETY: as above.
            unsafe { *self.words.add(fd / BITS) |= 1 << (fd % BITS) };
        }
    }
}

/// `None`: none of ours is in the sets.
fn selected(
    [read, write, except]: [Bits; 3],
    timeout: Result<Option<Duration>>,
    mask: Option<&sigset_t>,
) -> Option<Result<usize>> {
    let asked = |fd: usize| [read.has(fd), write.has(fd), except.has(fd)];
    let mut fds = (0..read.count).filter(|fd| asked(*fd) != [false; 3]);
    let is_ours = |fd: usize| table::get(fd as c_int).is_some() || descriptors::get(fd as c_int).is_some();
    if !fds.any(is_ours) {
        return None;
    }
    let mut fds = Vec::new();
    for fd in 0..read.count {
        let [read, write, except] = asked(fd);
        let either = |on, events| if on { events } else { 0 };
        let events = either(read, READ) | either(write, WRITE) | either(except, EXCEPT);
        if events != 0 {
            fds.push(pollfd { fd: fd as c_int, events, revents: 0 });
        }
    }
    Some(timeout.and_then(|timeout| report(fds, [read, write, except], timeout, mask)))
}

fn report(
    mut fds: Vec<pollfd>,
    [read, write, except]: [Bits; 3],
    timeout: Option<Duration>,
    mask: Option<&sigset_t>,
) -> Result<usize> {
    let asked = |one: &pollfd| {
        let fd = one.fd as usize;
        [(read, READ), (write, WRITE), (except, EXCEPT)].map(|(set, events)| (set, set.has(fd), events))
    };
    let begin = Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(begin.elapsed()));
        poll::wait(&mut fds, left, mask)?;
        poll::has_bad(&fds)?;
        let hits = |one: &pollfd| {
            asked(one).into_iter().filter(|(_, on, events)| *on && one.revents & events != 0).count()
        };
        let count: usize = fds.iter().map(hits).sum();
        // A hang-up of what is only to be written to is no event of select; and it does not go away.
        if count == 0 && left.is_none_or(|left| !left.is_zero()) && fds.iter().any(|one| one.revents != 0) {
            for one in &mut fds {
                if one.revents != 0 {
                    // Not looked at again in this call: nothing that it would be asked for can become true of it but by a change
                    // that its error or hang-up excludes.
                    one.fd = !one.fd;
                }
            }
            continue;
        }
        let results: Vec<(usize, [bool; 3])> = fds
            .iter()
            .filter(|one| one.fd >= 0)
            .map(|one| (one.fd as usize, asked(one).map(|(_, on, events)| on && one.revents & events != 0)))
            .collect();
        [read, write, except].iter().for_each(Bits::clear);
        for (fd, hit) in results {
            for (set, hit) in [read, write, except].iter().zip(hit) {
                if hit {
                    set.set(fd);
                }
            }
        }
        return Ok(count);
    }
}

fn bits(count: c_int, set: *mut fd_set) -> Bits {
    Bits { words: set.cast(), count: usize::try_from(count).unwrap_or(0).min(crate::limits::MAX_DESCRIPTORS) }
}

/// Waits for descriptors in sets of bits. As in Linux, `timeout` is what was left of it afterwards.
///
/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let before = errno::get();
    // SAFETY: the caller's time, if there is one.
    let given = unsafe { timeout.as_ref() }.map(|time| {
        // Microseconds beyond a second are taken as they are meant, as the kernel does.
        let (Ok(seconds), Ok(micros)) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec)) else {
            return Err(Errno(libc::EINVAL));
        };
        Ok(Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)))
    });
    let begin = Instant::now();
    let time = given.transpose();
    match selected([read, write, except].map(|set| bits(count, set)), time, None) {
        // SAFETY: as the caller called us.
        None => unsafe { waits::select(count, read, write, except, timeout) },
        Some(result) => {
            if let Ok(Some(time)) = time {
                let left = time.saturating_sub(begin.elapsed());
                let left = timeval { tv_sec: left.as_secs() as i64, tv_usec: left.subsec_micros().into() };
                // SAFETY: the caller's time: there is one.
                unsafe { timeout.write(left) };
            }
            errno::to_c(before, result.map(|ready| ready as i64))
        }
    }
}

/// Waits for descriptors in sets of bits, with another signal mask.
///
/// # Safety
/// As pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let before = errno::get();
    // SAFETY: the caller's time, if there is one.
    let time = unsafe { timeout.as_ref() }.map(|time| duration(*time)).transpose();
    // SAFETY: the caller's mask, if there is one.
    let other = unsafe { mask.as_ref() };
    match selected([read, write, except].map(|set| bits(count, set)), time, other) {
        // SAFETY: as the caller called us.
        None => unsafe { waits::pselect(count, read, write, except, timeout, mask) },
        Some(result) => errno::to_c(before, result.map(|ready| ready as i64)),
    }
}
