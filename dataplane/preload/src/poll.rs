//! poll and ppoll over sockets of Flumen and descriptors of the kernel. (select is made of it: [`crate::select`].)
//!
//! What none of ours is in goes to the kernel as it is. Otherwise: look at ours, look at the kernel's if there are any, and
//! sleep in the kernel's ppoll, with those that are the kernel's and a [`Watcher`] that becomes readable with the bell.

use crate::calls::fortified::check;
use crate::epoll::{descriptors, source::Source, state, watch::Watch};
use crate::errno::{self, Errno, Result};
use crate::lock::{Guard, Lock};
use crate::real::{self, waits};
use crate::socket::State;
use crate::watcher::{self, Watcher, duration, timespec};
use crate::{attach, sandbox, table};
use core::ffi::{c_int, c_short, c_ulong};
use core::ptr::null;
use core::time::Duration;
use libc::{pollfd, sigset_t};
use std::os::fd::AsRawFd;
use std::time::Instant;

/// Descriptors that a call looks at without asking for memory.
const FEW: usize = 128;

/// Conditions that are always reported.
const ALWAYS: c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

/// Watchers that nobody sleeps in, and the numbers of those that somebody sleeps in.
#[derive(Debug)]
struct Watchers {
    free: Vec<Watcher>,
    taken: Vec<Place>,
}

/// A watcher that somebody sleeps in. (It belongs to the thread; others may only knock.)
#[derive(Debug)]
struct Place(*const Watcher);

// SAFETY: the pointer is only followed with the lock held, and what it points to leaves the list before it moves.
unsafe impl Send for Place {}

static WATCHERS: Lock<Watchers> = Lock::new(Watchers { free: Vec::new(), taken: Vec::new() });

/// Wakes all that sleep in poll and select: a socket was decided, and they wait for the wrong one of its halves.
pub fn disturb() {
    for Place(watcher) in &WATCHERS.lock().taken {
        // SAFETY: see `Place`.
        unsafe { (**watcher).knock() };
    }
}

/// While it is held, nobody goes to sleep or gets up.
pub struct Asleep(Guard<'static, Watchers>);

/// Before a fork.
pub fn hold_for_fork() -> Asleep {
    Asleep(WATCHERS.lock())
}

/// In a child after fork: those who slept are in the parent, and the bell is another one.
pub fn begin_anew_after_fork(Asleep(mut watchers): Asleep) {
    for Place(watcher) in watchers.taken.drain(..) {
        // SAFETY: see `Place`; its thread is in the parent, its memory a copy here.
        unsafe { (*watcher).close() };
    }
    watchers.free.clear();
}

/// A watcher to sleep in, for as long as this lives.
struct Bed(Box<Watcher>);

impl Bed {
    fn find() -> Result<Bed> {
        let free = WATCHERS.lock().free.pop();
        let mut watcher = Box::new(match free {
            Some(watcher) => watcher,
            None => Watcher::new(false)?,
        });
        watcher.follow();
        // What it saw since it was used last is old.
        while !watcher::sleep(watcher.number(), Some(Duration::ZERO), None)?.timed_out {}
        WATCHERS.lock().taken.push(Place(&raw const *watcher));
        Ok(Bed(watcher))
    }

    fn leave(self) {
        let mut watchers = WATCHERS.lock();
        watchers.taken.retain(|place| !core::ptr::eq(place.0, &raw const *self.0));
        watchers.free.push(*self.0);
    }
}

/// True when one of them is ours, or a set with sockets of ours.
#[inline]
pub fn concerns_us(fds: &[pollfd]) -> bool {
    fds.iter().any(|one| one.fd >= 0 && (table::get(one.fd).is_some() || descriptors::get(one.fd).is_some()))
}

/// What ours are ready for: how many have something to report. What the kernel says of the same descriptors is added later.
fn look(fds: &mut [pollfd]) -> usize {
    let mut ready = 0;
    for one in fds {
        one.revents = 0;
        if one.fd < 0 {
            continue;
        }
        let events = match (table::get(one.fd), descriptors::get(one.fd)) {
            (Some(socket), _) => Watch(socket.0).now().events,
            (None, Some(set)) => match state::hold() {
                Some(mut registry) => {
                    state::take_news(&mut registry);
                    let ready = registry.has_ready(set);
                    crate::epoll::wait::knock(registry);
                    if ready { (libc::EPOLLIN | libc::EPOLLRDNORM) as u32 } else { 0 }
                }
                None => 0,
            },
            (None, None) => continue,
        };
        one.revents = events as c_short & (one.events | ALWAYS);
        ready += usize::from(one.revents != 0);
    }
    ready
}

/// True when the kernel has a say about a descriptor.
fn is_kernels(fd: c_int) -> bool {
    table::get(fd).is_none_or(|socket| matches!(socket.state(), State::Undecided | State::Both))
}

/// The kernel's part: the same descriptors in the same places, without those that are ours alone, and a place for the watcher
/// at the end.
struct Kernels {
    few: [pollfd; FEW + 1],
    many: Vec<pollfd>,
    len: usize,
}

impl Kernels {
    fn of(fds: &[pollfd]) -> Kernels {
        let nothing = pollfd { fd: -1, events: 0, revents: 0 };
        let mut kernels = Kernels { few: [nothing; FEW + 1], many: Vec::new(), len: fds.len() };
        if fds.len() > FEW {
            kernels.many = vec![nothing; fds.len() + 1];
        }
        for (to, from) in kernels.all().iter_mut().zip(fds) {
            let fd = if from.fd >= 0 && is_kernels(from.fd) { from.fd } else { -1 };
            *to = pollfd { fd, events: from.events, revents: 0 };
        }
        kernels
    }

    fn all(&mut self) -> &mut [pollfd] {
        let len = self.len + 1;
        let all = if self.many.is_empty() { &mut self.few[..] } else { &mut self.many[..] };
        all.get_mut(..len).unwrap_or_default()
    }

    fn is_empty(&mut self) -> bool {
        self.all().iter().all(|one| one.fd < 0)
    }

    /// Asks the kernel, which sleeps as long as `timeout` says, or until `watcher` is readable.
    fn ask(&mut self, watcher: c_int, timeout: Option<Duration>, mask: Option<&sigset_t>) -> Result<()> {
        let all = self.all();
        if let Some(last) = all.last_mut() {
            *last = pollfd { fd: watcher, events: libc::POLLIN, revents: 0 };
        }
        ask(all, timeout, mask)
    }

    /// True when the watcher was readable.
    fn is_woken(&mut self) -> bool {
        self.all().last().is_some_and(|watcher| watcher.revents != 0)
    }

    /// Adds what the kernel said to what we know; how many have something to report.
    fn add_to(&mut self, fds: &mut [pollfd]) -> usize {
        let mut ready = 0;
        for (one, said) in fds.iter_mut().zip(self.all().iter()) {
            one.revents |= said.revents;
            ready += usize::from(one.revents != 0);
        }
        ready
    }
}

/// Waits until one of them is ready, at least one of which concerns us; how many are.
///
/// # Errors
/// As poll.
pub fn wait(fds: &mut [pollfd], timeout: Option<Duration>, mask: Option<&sigset_t>) -> Result<usize> {
    let deadline = timeout.filter(|time| !time.is_zero()).map(|time| (time, Instant::now()));
    loop {
        let mut ready = look(fds);
        let mut kernels = Kernels::of(fds);
        if !kernels.is_empty() {
            kernels.ask(-1, Some(Duration::ZERO), None)?;
            ready = kernels.add_to(fds);
        }
        if ready > 0 {
            return Ok(ready);
        }
        if timeout == Some(Duration::ZERO) {
            // Of a dead service the next call tells.
            attach::current().into_iter().for_each(|attachment| attachment.look_now_and_then());
            return Ok(0);
        }
        let left = deadline.map(|(time, begin)| time.saturating_sub(begin.elapsed()));
        if sandbox::is_on() {
            match sleep_in_sandbox(fds, &mut kernels, left, mask)? {
                0 if left.is_none_or(|left| !left.is_zero()) => continue,
                ready => return Ok(ready),
            }
        }
        let bed = Bed::find()?;
        let sleeping = attach::sleep();
        ready = look(fds);
        let mut slept = Ok(());
        if ready == 0
            && Kernels::of(fds).all().iter().map(|one| one.fd).eq(kernels.all().iter().map(|one| one.fd))
        {
            slept = kernels.ask(bed.0.number(), left, mask);
            ready = look(fds);
            if slept.is_ok() {
                ready = ready.max(kernels.add_to(fds));
                if kernels.is_woken() {
                    // Hears of the service's death, too.
                    let _seen = watcher::sleep(bed.0.number(), Some(Duration::ZERO), None);
                }
            }
        }
        drop(sleeping);
        bed.leave();
        match slept {
            _ if ready > 0 => return Ok(ready),
            Err(error) => return Err(error),
            Ok(()) if left.is_some_and(|left| left.is_zero()) => return Ok(0),
            Ok(()) => {}
        }
    }
}

/// One round of sleeping where no watcher can be made; how many are ready. No descriptor is asked for beside the kernel's own
/// and the bell: the kernel refuses longer lists than the process may have descriptors, and sshd's child may have one.
fn sleep_in_sandbox(
    fds: &mut [pollfd],
    kernels: &mut Kernels,
    left: Option<Duration>,
    mask: Option<&sigset_t>,
) -> Result<usize> {
    let attachment = attach::current();
    let sleeping = attach::sleep();
    let mut ready = look(fds);
    if ready == 0 {
        let round = left.map_or(sandbox::ROUND, |left| left.min(sandbox::ROUND));
        let bell = attachment.as_ref().map(|attachment| attachment.bell().as_raw_fd());
        let bell = bell.map(|fd| pollfd { fd, events: libc::POLLIN, revents: 0 });
        let asked = kernels.all().iter().filter(|one| one.fd >= 0);
        let mut list: Vec<pollfd> = asked.copied().chain(bell).collect();
        let slept = ask(&mut list, Some(round), mask);
        let rang = bell.is_some() && list.last().is_some_and(|bell| bell.revents != 0);
        if let Some(attachment) = &attachment {
            if rang {
                attachment.silence();
            } else {
                attachment.look();
            }
        }
        ready = look(fds);
        if let (Err(error), 0) = (slept, ready) {
            return Err(error);
        }
        let mut said = list.iter();
        let places = fds.iter_mut().zip(kernels.all().iter()).filter(|(_, kernel)| kernel.fd >= 0);
        places.zip(&mut said).for_each(|((one, _), said)| one.revents |= said.revents);
        ready = fds.iter().filter(|one| one.revents != 0).count();
    }
    drop(sleeping);
    Ok(ready)
}

/// ppoll, of the kernel alone.
fn ask(all: &mut [pollfd], timeout: Option<Duration>, mask: Option<&sigset_t>) -> Result<()> {
    let mut time = timeout.map(timespec);
    let mask = mask.map_or(null(), core::ptr::from_ref);
    let time = time.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
    let arguments =
        [all.as_mut_ptr() as usize, all.len(), time as usize, mask as usize, watcher::KERNEL_SIGSET, 0];
    // SAFETY: array and time are live; the mask is at least as long as the kernel's.
    errno::from_libc(unsafe { real::system_call(libc::SYS_ppoll, arguments) }).map(|_| ())
}

/// poll and ppoll over an array in the program's memory. `None`: it is the kernel's alone.
///
/// # Safety
/// `fds` is the start of `count` descriptors, or what the kernel shall refuse.
unsafe fn polled(
    fds: *mut pollfd,
    count: c_ulong,
    timeout: Result<Option<Duration>>,
    mask: Option<&sigset_t>,
) -> Option<Result<usize>> {
    let count = usize::try_from(count).ok().filter(|count| *count <= crate::limits::MAX_DESCRIPTORS)?;
    if fds.is_null() || !fds.is_aligned() || count == 0 {
        return None;
    }
    // SAFETY: the caller's array.
    let fds = unsafe { core::slice::from_raw_parts_mut(fds, count) };
    if !concerns_us(fds) {
        return None;
    }
    Some(timeout.and_then(|timeout| wait(fds, timeout, mask)))
}

/// Waits for descriptors.
///
/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(fds: *mut pollfd, count: c_ulong, timeout: c_int) -> c_int {
    let before = errno::get();
    let time = u64::try_from(timeout).ok().map(Duration::from_millis);
    // SAFETY: as the caller called us.
    match unsafe { polled(fds, count, Ok(time), None) } {
        // SAFETY: as the caller called us.
        None => unsafe { waits::poll(fds, count, timeout) },
        Some(result) => errno::to_c(before, result.map(|ready| ready as i64)),
    }
}

/// Waits for descriptors with another signal mask.
///
/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: c_ulong,
    timeout: *const libc::timespec,
    mask: *const sigset_t,
) -> c_int {
    let before = errno::get();
    // SAFETY: the caller's time, if there is one.
    let time = unsafe { timeout.as_ref() }.map(|time| duration(*time)).transpose();
    // SAFETY: as the caller called us.
    match unsafe { polled(fds, count, time, mask.as_ref()) } {
        // SAFETY: as the caller called us.
        None => unsafe { waits::ppoll(fds, count, timeout, mask) },
        Some(result) => errno::to_c(before, result.map(|ready| ready as i64)),
    }
}

/// poll of programs compiled with _FORTIFY_SOURCE.
///
/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(fds: *mut pollfd, count: c_ulong, timeout: c_int, bytes: usize) -> c_int {
    check((count as usize).saturating_mul(size_of::<pollfd>()), bytes);
    // SAFETY: as the caller called us.
    unsafe { poll(fds, count, timeout) }
}

/// ppoll of programs compiled with _FORTIFY_SOURCE.
///
/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: c_ulong,
    timeout: *const libc::timespec,
    mask: *const sigset_t,
    bytes: usize,
) -> c_int {
    check((count as usize).saturating_mul(size_of::<pollfd>()), bytes);
    // SAFETY: as the caller called us.
    unsafe { ppoll(fds, count, timeout, mask) }
}

/// Shows what the kernel would have said of a bad descriptor. (For select, which makes an error of it.)
pub fn has_bad(fds: &[pollfd]) -> Result<()> {
    if fds.iter().any(|one| one.revents & libc::POLLNVAL != 0) { Err(Errno(libc::EBADF)) } else { Ok(()) }
}
