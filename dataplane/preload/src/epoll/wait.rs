//! epoll_wait: what is ready, and sleeping until something is.

use super::control::{self, About};
use super::set::Set;
use super::state::{self, Held};
use crate::errno::{self, Errno, Result};
use crate::watcher::{self, Watcher};
use crate::{attach, real};
use core::ffi::c_int;
use core::time::Duration;
use libc::epoll_event;
use std::time::Instant;

pub use crate::watcher::knocker;

/// While sockets of ours are ready, the kernel's set is asked every so many waits: a busy socket must not keep other
/// descriptors waiting, and asking costs a system call.
const WAITS_BETWEEN: u32 = 8;

/// Where events go: the program's array.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    first: *mut epoll_event,
    room: usize,
}

impl Out {
    /// # Safety
    /// `first` is the start of `room` events that may be written as long as this value lives.
    pub unsafe fn new(first: *mut epoll_event, room: usize) -> Out {
        Out { first, room }
    }

    fn put(&self, place: usize, event: epoll_event) {
        if place < self.room {
            // SAFETY: within the array (see `new`); the program's array need not be aligned.
            unsafe { self.first.add(place).write_unaligned(event) };
        }
    }

    fn get(&self, place: usize) -> epoll_event {
        // SAFETY: as above; the kernel wrote this event. All callers stay below what it wrote.
        unsafe { self.first.add(place).read_unaligned() }
    }
}

/// Makes sure that threads can sleep in a set.
///
/// # Errors
/// ENOSPC: no descriptor is left for that.
pub fn ensure_watcher(registry: &mut Held, number: u32, epfd: c_int) -> Result<()> {
    let Some(set) = registry.sets.get_mut(number).filter(|set| set.watcher.is_none()) else { return Ok(()) };
    let watcher = Watcher::new(true).map_err(|_| Errno(libc::ENOSPC))?;
    watcher.watch(epfd)?;
    set.watcher = Some(watcher);
    Ok(())
}

/// Wakes those who sleep in sets that got something.
pub fn knock(mut registry: Held) {
    while let Some(number) = registry.take_knock() {
        if let Some(watcher) = registry.sets.get(number).and_then(|set| set.watcher.as_ref()) {
            watcher.knock();
        }
    }
}

/// Waits for events of a set of ours; `timeout` `None`: for ever.
///
/// # Errors
/// As epoll_wait.
pub fn wait(
    epfd: c_int,
    number: u32,
    out: Out,
    timeout: Option<Duration>,
    mask: Option<&libc::sigset_t>,
) -> Result<c_int> {
    let at_once = timeout == Some(Duration::ZERO);
    let mut ask = at_once;
    let mut deadline = None;
    loop {
        let count = look(epfd, number, out, ask)?;
        if count > 0 {
            return Ok(count as c_int);
        }
        if at_once {
            // Of a dead service the next call tells.
            attach::current().into_iter().for_each(|attachment| attachment.look_now_and_then());
            return Ok(0);
        }
        let left = match (timeout, deadline) {
            (None, _) => None,
            (Some(timeout), None) => {
                deadline = Instant::now().checked_add(timeout);
                Some(timeout)
            }
            (_, Some(until)) => Some(until.saturating_duration_since(Instant::now())),
        };
        let woken = match sleep(epfd, number, left, mask) {
            Ok(woken) => woken,
            Err(error) => {
                // The ring that came with the signal is nobody else's.
                let count = look(epfd, number, out, false)?;
                return if count > 0 { Ok(count as c_int) } else { Err(error) };
            }
        };
        if woken.timed_out {
            return look(epfd, number, out, true).map(|count| count as c_int);
        }
        ask = woken.watched;
    }
}

/// Reports what is ready now. `ask`: the kernel's set, too; when something of ours is ready it is asked now and then anyway.
fn look(epfd: c_int, number: u32, out: Out, ask: bool) -> Result<usize> {
    let mut registry = state::hold().ok_or(Errno(libc::EINTR))?;
    state::take_news(&mut registry);
    let set = registry.sets.get_mut(number).ok_or(Errno(libc::EBADF))?;
    let in_kernel = set.has_strangers || set.kernel_parts > 0;
    if set.has_queue() {
        set.waits += 1;
    }
    let mut count = 0;
    if in_kernel && (ask || set.waits >= WAITS_BETWEEN) {
        set.waits = 0;
        // Half of the room for each, when both want it.
        let room = if set.has_queue() { out.room.div_ceil(2) } else { out.room };
        count = ask_kernel(epfd, set, out, room)?;
    }
    let mut place = count;
    registry.gather(number, out.room - count, |event| {
        out.put(place, event);
        place += 1;
    });
    knock(registry);
    Ok(place)
}

/// What the kernel's set has: strangers go to the program as they are; items of ours join the ready list.
fn ask_kernel(epfd: c_int, set: &mut Set<super::watch::Watch>, out: Out, room: usize) -> Result<usize> {
    let room = room.min(c_int::MAX as usize) as c_int;
    // SAFETY: the program's array has that much room.
    let got = errno::from_libc(unsafe { real::waits::epoll_wait(epfd, out.first, room, 0) })?;
    let mut count = 0;
    for place in 0..got as usize {
        let event = out.get(place);
        match control::about(event.u64) {
            About::Stranger => {
                out.put(count, event);
                count += 1;
            }
            About::Item(item) => {
                match set.items.get(item).map(|item| (item.is_spent(), item.fd)) {
                    // Reported already by our part: the kernel's is spent as well.
                    Some((true, fd)) => drop(control::kernel(epfd, libc::EPOLL_CTL_MOD, fd, 0, event.u64)),
                    _ => set.tell_from_kernel(item, event.events),
                }
            }
            About::Nothing => {}
        }
    }
    Ok(count)
}

/// Sleeps until there may be something to report.
///
/// # Errors
/// EINTR: a signal handler ran; no place to sleep can be made.
pub fn sleep(
    epfd: c_int,
    number: u32,
    timeout: Option<Duration>,
    mask: Option<&libc::sigset_t>,
) -> Result<watcher::Woken> {
    let place = {
        let mut registry = state::hold().ok_or(Errno(libc::EINTR))?;
        ensure_watcher(&mut registry, number, epfd)?;
        let set = registry.sets.get_mut(number).ok_or(Errno(libc::EBADF))?;
        set.sleepers += 1;
        set.watcher.as_mut().map(|watcher| {
            watcher.follow();
            watcher.number()
        })
    };
    let place = place.ok_or(Errno(libc::ENOMEM));
    let sleeping = attach::sleep();
    let nothing_yet = quiet(number);
    let slept = match place {
        Ok(place) if nothing_yet => watcher::sleep(place, timeout, mask),
        Ok(_) => Ok(watcher::Woken::default()),
        Err(error) => Err(error),
    };
    drop(sleeping);
    if let Some(mut registry) = state::hold() {
        if let Some(set) = registry.sets.get_mut(number) {
            set.sleepers = set.sleepers.saturating_sub(1);
        }
        state::take_news(&mut registry);
        knock(registry);
    }
    slept
}

/// True when nothing of ours is ready, with news taken.
fn quiet(number: u32) -> bool {
    let Some(mut registry) = state::hold() else { return true };
    state::take_news(&mut registry);
    let quiet = registry.sets.get(number).is_none_or(|set| !set.has_queue());
    knock(registry);
    quiet
}

/// True when there is nothing of ours in a set: then the caller may wait in the kernel's, and has to say when it is back
/// ([`come_back`]).
pub fn go_as_stranger(number: u32) -> bool {
    let Some(mut registry) = state::hold() else { return false };
    let Some(set) = registry.sets.get_mut(number).filter(|set| set.items.is_empty()) else { return false };
    set.strangers += 1;
    true
}

/// Back from the kernel's set, with events or an error. When ours came to be meanwhile, what called us away is left out;
/// `None`: go on in ours.
///
/// # Safety
/// `events` is an array of `room` events, if the kernel accepted it.
pub unsafe fn come_back(
    epfd: c_int,
    number: u32,
    result: Result<c_int>,
    events: *mut epoll_event,
    room: usize,
) -> Option<Result<c_int>> {
    {
        let mut registry = state::hold()?;
        let Some(set) = registry.sets.get_mut(number) else { return Some(result) };
        set.strangers = set.strangers.saturating_sub(1);
        if set.items.is_empty() {
            return Some(result);
        }
        if set.strangers == 0 {
            // (With the registry held: the next stranger may want to be disturbed again.)
            control::disturb(epfd, false);
        }
    }
    let Ok(got) = result else { return Some(result) };
    // SAFETY: by the caller: the kernel wrote events.
    let out = unsafe { Out::new(events, room) };
    let mut count = 0;
    for place in 0..got as usize {
        let event = out.get(place);
        if control::about(event.u64) == About::Stranger {
            out.put(count, event);
            count += 1;
        }
    }
    if got > 0 && count == 0 { None } else { Some(Ok(count as c_int)) }
}
