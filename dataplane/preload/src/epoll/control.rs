//! epoll_ctl: what goes into our set, what into the kernel's, and what Linux says when it cannot be.

use super::registry::KernelChange;
use super::set::{WITH_EXCLUSIVE, Watched};
use super::source::Source;
use super::watch::Watch;
use super::{descriptors, state, wait};
use crate::errno::{self, Errno, Result};
use crate::socket::{Socket, SocketRef};
use crate::{real, table};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use libc::epoll_event;

const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// Marks items in the kernel's sets that are ours: the upper half of their data. Random, so that no program's own data
/// look like it; the same in children, which inherit sets.
fn tag() -> u64 {
    static TAG: AtomicU64 = AtomicU64::new(0);
    let tag = TAG.load(Relaxed);
    if tag != 0 {
        return tag;
    }
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is live. (Without randomness, the clock and an address must do.)
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    let noise =
        if got == 8 { u64::from_ne_bytes(bytes) } else { (&raw const bytes) as u64 ^ 0x5bd1_e995_9e37_79b9 };
    let new = (noise | 1 << 63) & !u64::from(u32::MAX);
    match TAG.compare_exchange(0, new, Relaxed, Relaxed) {
        Ok(_) => new,
        Err(there) => there,
    }
}

/// No item: the descriptor that disturbs who waits in the kernel's set.
const DISTURBER: u32 = u32::MAX;

/// What an event of the kernel's set is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A descriptor that is none of ours.
    Stranger,
    /// This item of ours.
    Item(u32),
    /// Nothing: whoever waits shall come to our set.
    Nothing,
}

/// Reads an event's data.
pub fn about(data: u64) -> About {
    match data ^ tag() {
        number if number == u64::from(DISTURBER) => About::Nothing,
        number if number < u64::from(DISTURBER) => About::Item(number as u32),
        _ => About::Stranger,
    }
}

/// epoll_ctl with the kernel's set.
pub fn kernel(epfd: c_int, op: c_int, fd: c_int, events: u32, data: u64) -> Result<()> {
    let mut event = epoll_event { events, u64: data };
    // SAFETY: the event is live.
    errno::from_libc(unsafe { real::waits::epoll_ctl(epfd, op, fd, &raw mut event) }).map(|_| ())
}

/// Wakes all that wait in the kernel's set, or lets that be again.
pub fn disturb(epfd: c_int, on: bool) {
    let Some(knock) = wait::knocker() else { return };
    let op = if on { libc::EPOLL_CTL_ADD } else { libc::EPOLL_CTL_DEL };
    // One that is there already, or gone already, is as it should be.
    let _as_it_should_be = kernel(epfd, op, knock, libc::EPOLLIN as u32, tag() | u64::from(DISTURBER));
}

/// epoll_ctl for a socket of ours, or for a set that holds some. `None`: it is the kernel's alone.
pub fn control(epfd: c_int, op: c_int, fd: c_int, event: Option<epoll_event>) -> Option<Result<()>> {
    let socket = table::get(fd);
    let inner = if socket.is_none() { descriptors::get(fd) } else { None };
    if socket.is_none() && inner.is_none() {
        if op == libc::EPOLL_CTL_ADD
            && let Some(set) = descriptors::get(epfd)
            && let Some(mut registry) = state::hold()
            && let Some(set) = registry.sets.get_mut(set)
        {
            set.has_strangers = true;
        }
        return None;
    }
    if epfd == fd {
        return Some(Err(Errno(libc::EINVAL)));
    }
    Some(ours(epfd, op, fd, event, socket, inner))
}

fn ours(
    epfd: c_int,
    op: c_int,
    fd: c_int,
    event: Option<epoll_event>,
    socket: Option<SocketRef>,
    inner: Option<u32>,
) -> Result<()> {
    let given = || event.ok_or(Errno(libc::EFAULT));
    let number = match descriptors::get(epfd) {
        Some(set) => set,
        None => {
            // Is it a set at all? The kernel says ENOENT when it is one that does not hold a descriptor.
            let knock = wait::knocker().ok_or(Errno(libc::ENOMEM))?;
            match kernel(epfd, libc::EPOLL_CTL_DEL, knock, 0, 0) {
                Ok(()) | Err(Errno(libc::ENOENT)) => {}
                Err(error) => return Err(error),
            }
            if op != libc::EPOLL_CTL_ADD {
                return Err(Errno(if matches!(op, libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL) {
                    libc::ENOENT
                } else {
                    libc::EINVAL
                }));
            }
            descriptors::begin(epfd, true).ok_or(Errno(libc::ENOMEM))?
        }
    };
    let watched = match (&socket, inner) {
        (Some(socket), _) => Watched::Socket(Watch(socket.0)),
        (None, Some(inner)) => Watched::Set(inner),
        (None, None) => return Err(Errno(libc::EBADF)),
    };
    let name = (fd, super::registry::identity(&watched));
    let mut registry = state::hold().ok_or(Errno(libc::ENOMEM))?;
    if op == libc::EPOLL_CTL_ADD {
        wait::ensure_watcher(&mut registry, number, epfd)?;
    }
    let set = registry.sets.get_mut(number).ok_or(Errno(libc::EBADF))?;
    let there = set.find(name);
    match op {
        libc::EPOLL_CTL_ADD => {
            let event = given()?;
            let is_set = matches!(watched, Watched::Set(_));
            if event.events & EXCLUSIVE != 0 && (is_set || event.events & !WITH_EXCLUSIVE != 0) {
                return Err(Errno(libc::EINVAL));
            }
            if there.is_some() {
                return Err(Errno(libc::EEXIST));
            }
            let in_kernel = match &watched {
                Watched::Socket(watch) => watch.has_kernel_part(),
                Watched::Set(_) => true,
            };
            // The item's number is known once it is in; the kernel refuses what cannot be (a circle of sets) before that.
            if in_kernel {
                kernel(epfd, op, fd, 0, 0)?;
            }
            if let Some(socket) = &socket {
                socket.watched.store(true, Relaxed);
            }
            if registry.sets.get(number).is_some_and(|set| set.strangers > 0 && set.items.is_empty()) {
                disturb(epfd, true);
            }
            let item = registry.add(number, fd, watched, event.events, event.u64, in_kernel);
            let item = item.ok_or(Errno(libc::ENOMEM))?;
            if in_kernel {
                kernel(epfd, libc::EPOLL_CTL_MOD, fd, plain(event.events), tag() | u64::from(item))?;
            }
        }
        libc::EPOLL_CTL_MOD => {
            let event = given()?;
            let item = there.ok_or(Errno(libc::ENOENT))?;
            let before = set.items.get(item).map(|item| (item.interest, item.in_kernel));
            let (interest, in_kernel) = before.ok_or(Errno(libc::ENOENT))?;
            if (interest | event.events) & EXCLUSIVE != 0 {
                return Err(Errno(libc::EINVAL));
            }
            if in_kernel {
                kernel(epfd, op, fd, event.events, tag() | u64::from(item))?;
            }
            registry.modify(number, item, event.events, event.u64);
        }
        libc::EPOLL_CTL_DEL => {
            let item = there.ok_or(Errno(libc::ENOENT))?;
            if set.items.get(item).is_some_and(|item| item.in_kernel) {
                // It may have left by itself, if another process closed what is behind it.
                let _gone = kernel(epfd, op, fd, 0, 0);
            }
            registry.remove(number, name);
        }
        _ => return Err(Errno(libc::EINVAL)),
    }
    wait::knock(registry);
    Ok(())
}

/// EPOLLEXCLUSIVE cannot be changed into; who shares a socket of both is woken together.
fn plain(events: u32) -> u32 {
    events & !EXCLUSIVE
}

/// A socket that is watched was decided: [`crate::socket::Socket::decide`] was called.
pub fn decided(socket: &'static Socket, to_kernel: bool) {
    let Some(mut registry) = state::hold() else { return };
    let changes = registry.decided(&Watch(socket), to_kernel);
    for KernelChange { set, fd, to } in changes {
        let Some(epfd) = descriptors::any_of(set) else { continue };
        // What fails is not in the kernel's set any more, for its descriptor is another one now.
        let _gone = match to {
            Some((events, data)) => kernel(epfd, libc::EPOLL_CTL_MOD, fd, plain(events), data),
            None => kernel(epfd, libc::EPOLL_CTL_DEL, fd, 0, 0),
        };
    }
    wait::knock(registry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_programs_are_not_taken_for_ours() {
        for data in [0, 1, u64::from(u32::MAX), u64::MAX, 0x7fff_1234_5678_9abc] {
            assert_eq!(about(data), About::Stranger, "{data:x}");
        }
        assert_eq!(about(tag() | 7), About::Item(7));
        assert_eq!(about(tag() | u64::from(DISTURBER)), About::Nothing);
    }
}
