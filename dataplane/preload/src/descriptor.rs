//! Descriptors: closing them, making other numbers for the same socket, and their flags.

use crate::epoll::descriptors as epoll;
use crate::errno::{Errno, Result, from_libc};
use crate::socket::{Part, SocketRef, open};
use crate::{attach, own, real, signals, spare, table};
use core::ffi::{c_int, c_uint};
use flumen_ipc::Op;
use std::time::{Duration, Instant};

/// close(2).
///
/// # Errors
/// EBADF, also for descriptors of our own.
pub fn close(fd: c_int) -> Result<()> {
    if own::is_own(fd) {
        return Err(Errno(libc::EBADF));
    }
    // The entry goes first: once the kernel has closed the number, another thread may have it again.
    let socket = table::remove(fd);
    epoll::closed(fd);
    if let Some(socket) = &socket {
        linger(socket);
        spare::keep(fd, socket);
    }
    // SAFETY: the program closes what is its own.
    let closed = from_libc(unsafe { real::close(fd) }).map(drop);
    drop(socket);
    attach::give_up();
    closed
}

/// The last close of a connection with SO_LINGER waits until all was sent and acknowledged, or the time is over.
fn linger(socket: &SocketRef) {
    let Some(part) = socket.part().filter(|_| socket.is_stream() && socket.is_last()) else { return };
    let Some(seconds) = part.linger().filter(|seconds| *seconds > 0) else { return };
    let Some(end) = Instant::now().checked_add(Duration::from_secs(seconds.into())) else { return };
    // Nothing more is sent: what is left goes with a FIN behind it.
    let _closed_already = part.call(Op::Shutdown, [libc::SHUT_WR as u64, 0, 0, 0], &[]);
    while is_closing(&part) && !part.is_over() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let _looked_again = flumen_ipc::wake::futex_wait(
            &part.cell.worker.seq,
            part.cell.worker.seq.load(core::sync::atomic::Ordering::SeqCst),
            left.min(Duration::from_millis(20)),
        );
    }
}

/// FIN-WAIT-1, LAST-ACK, CLOSING, by Linux's numbers: our FIN was not acknowledged yet (sk_stream_closing).
fn is_closing(part: &Part<'_>) -> bool {
    matches!(part.cell.worker.state.load(core::sync::atomic::Ordering::Acquire), 4 | 9 | 11)
}

/// close_range(2): ours stay.
///
/// # Errors
/// Those of close_range(2).
pub fn close_range(first: c_uint, last: c_uint, flags: c_int) -> Result<()> {
    const UNSHARE: c_int = 1 << 1;
    // To be closed by exec ours are already; and what the kernel refuses closes nothing.
    if flags & !UNSHARE != 0 || first > last {
        // SAFETY: by the program.
        return from_libc(unsafe { real::close_range(first, last, flags) }).map(drop);
    }
    let mut sockets = Vec::new();
    table::each(first, last, |fd, _| sockets.extend(table::remove(fd)));
    epoll::closed_range(first, last);
    sockets.iter().for_each(linger);
    let mut from = first;
    let mut closed = Ok(());
    for fd in own::within(first, last).chain(core::iter::once(u32::MAX)) {
        let to = if fd == u32::MAX { last } else { fd.wrapping_sub(1) };
        if from <= to && fd != 0 {
            // SAFETY: by the program; ours are left out.
            closed = closed.and(from_libc(unsafe { real::close_range(from, to, flags) }).map(drop));
        }
        from = fd.saturating_add(1);
        if from > last {
            break;
        }
    }
    drop(sockets);
    attach::give_up();
    closed
}

/// dup(2), and fcntl's ways to do it: `make` makes the number.
///
/// # Errors
/// Those of dup(2).
pub fn duplicate(fd: c_int, make: impl FnOnce() -> c_int) -> Result<c_int> {
    if own::is_own(fd) {
        return Err(Errno(libc::EBADF));
    }
    let socket = table::get(fd);
    let new = from_libc(make())?;
    name(new, socket.as_ref());
    epoll::copied(fd, new);
    Ok(new)
}

/// dup2(2) and dup3(2): `make` puts it in the place of `to`.
///
/// # Errors
/// Those of dup2(2).
pub fn duplicate_to(fd: c_int, to: c_int, make: impl FnOnce() -> c_int) -> Result<c_int> {
    if own::is_own(fd) {
        return Err(Errno(libc::EBADF));
    }
    let socket = table::get(fd);
    own::make_way(to)?;
    let new = from_libc(make())?;
    if fd != to {
        let before = table::remove(to);
        name(new, socket.as_ref());
        epoll::copied(fd, new);
        drop(before);
    }
    Ok(new)
}

/// A new number: it names this socket, or none of ours.
fn name(fd: c_int, socket: Option<&SocketRef>) {
    match socket {
        Some(socket) => {
            table::set(fd, socket);
        }
        None => drop(table::remove(fd)),
    }
}

/// fcntl(2) on a socket of ours; `None`: the kernel is to be asked.
pub fn control(fd: c_int, socket: &SocketRef, command: c_int, arg: usize) -> Option<Result<c_int>> {
    // SAFETY: the program's arguments.
    let ask = || from_libc(unsafe { real::fcntl(fd, command, arg) });
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => Some(ask().inspect(|new| name(*new, Some(socket)))),
        libc::F_GETFL => {
            let part = socket.part()?;
            let on = part.open_flags() & open::NONBLOCK != 0;
            Some(ask().map(|flags| if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK }))
        }
        libc::F_SETFL => {
            let flags = arg as c_int;
            let notify = flags & libc::O_ASYNC != 0 && !is_asynchronous(fd);
            let set = match socket.part() {
                Some(part) => set_flags(fd, &part, flags)
                    .inspect(|_| part.set_open(open::NONBLOCK, flags & libc::O_NONBLOCK != 0)),
                None if notify => ask(),
                None => return None,
            };
            Some(set.and_then(
                |result| if notify { signals::notify(fd, socket).map(|()| result) } else { Ok(result) },
            ))
        }
        libc::F_SETOWN | F_SETOWN_EX => Some(signals::own(fd, socket, ask)),
        F_SETSIG => {
            socket.spend();
            None
        }
        _ => None,
    }
}

const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;

/// O_ASYNC is on.
pub fn is_asynchronous(fd: c_int) -> bool {
    signals::flags(fd).is_ok_and(|flags| flags & libc::O_ASYNC != 0)
}

/// The kernel's socket of one that both serve never blocks, whatever the program says.
fn set_flags(fd: c_int, part: &Part<'_>, flags: c_int) -> Result<c_int> {
    let both = part.socket.state() == crate::socket::State::Both;
    let flags = if both { flags | libc::O_NONBLOCK } else { flags };
    if flags & !(libc::O_NONBLOCK | libc::O_ACCMODE) != 0 {
        part.socket.spend();
    }
    // SAFETY: sets flags.
    from_libc(unsafe { real::fcntl(fd, libc::F_SETFL, flags as usize) })
}
