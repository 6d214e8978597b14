//! Whose is a socket? The first bind, connect or sendto shows, for it names an address; the service is asked whose that is.
//!
//! A socket that becomes Flumen's gets a slot, is opened there, and is told the options that were set until now. If the
//! call that decided then fails, nothing was decided: the next one may name another address.

use crate::address::{self, Passed};
use crate::attach::{self, Attachment};
use crate::errno::{Errno, Result, from_libc};
use crate::memory::Vectors;
use crate::options;
use crate::socket::{Part, Socket, SocketRef, State, open};
use crate::wait::{self, Patience};
use crate::{real, table};
use core::ffi::c_int;
use core::sync::atomic::Ordering::*;
use flumen_ipc::call::Whose;
use flumen_ipc::message::Address;
use flumen_ipc::{Flags, Op};
use zerocopy::IntoBytes;

/// What an address is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// As our name.
    Bind = 0,
    /// As the peer's.
    Reach = 1,
}

/// Whose an address is. Without the service it is the kernel's, or nobody's.
///
/// # Errors
/// ENETDOWN when the service is not there and must be.
pub fn whose(protocol: c_int, address: &Address, purpose: Purpose) -> Result<Whose> {
    let args = [protocol as u64, purpose as u64, 0, 0];
    loop {
        let attachment = match attach::ensure() {
            Ok(attachment) => attachment,
            Err(error) => {
                crate::complaints::complain(error);
                return if crate::complaints::falls_back() {
                    Ok(Whose::Kernel)
                } else {
                    Err(Errno(libc::ENETDOWN))
                };
            }
        };
        match attachment.call(0, Op::Whose, 0, args, address.as_bytes()) {
            0 => return Ok(Whose::Kernel),
            1 => return Ok(Whose::Flumen),
            2 => return Ok(Whose::Both),
            // It died since it was used last, which nobody had noticed. The socket is new: another service may be there.
            _ if attachment.is_dead() => {}
            error => return Err(Errno(error.unsigned_abs().min(4095) as c_int)),
        }
    }
}

/// The socket is the kernel's from now on; what Flumen has of it is let go.
pub fn to_kernel(fd: c_int, socket: &Socket) {
    if let Some(part) = socket.part() {
        part.attachment().let_go(part.worker, part.slot);
    }
    socket.decide(State::Kernel);
    table::remove(fd);
}

/// A peer is the kernel's, and so is the socket; but a datagram socket may name another peer next time, who is ours.
///
/// # Errors
/// Those of fcntl(2).
fn leave_to_kernel(fd: c_int, socket: &Socket) -> Result<()> {
    if socket.kind() != libc::SOCK_DGRAM || attach::current().is_none_or(|attachment| attachment.is_dead()) {
        to_kernel(fd, socket);
    } else if let Some(part) = socket.part() {
        // Of both: Flumen's part would hear others than the peer.
        if part.open_flags() & open::NONBLOCK == 0 {
            set_kernels_flags(fd, |flags| flags & !libc::O_NONBLOCK)?;
        }
        part.attachment().let_go(part.worker, part.slot);
        socket.decide(State::Undecided);
    }
    Ok(())
}

/// connect(2) with AF_UNSPEC for a datagram socket whose peer was the kernel's: one with a name of its own on all addresses is
/// of both again.
fn forget_kernels_peer(fd: c_int, socket: &Socket, kernel: impl Fn() -> Result<()>) -> Result<()> {
    kernel()?;
    let port = kernels_port(fd, socket)?;
    if port != 0
        && attach::current().is_some_and(|attachment| !attachment.is_dead())
        && whose(socket.protocol(), &any(socket), Purpose::Bind)? == Whose::Both
    {
        bind_in_flumen(fd, socket, &Address { port, ..any(socket) }, State::Both)?;
    }
    Ok(())
}

fn set_kernels_flags(fd: c_int, change: impl Fn(c_int) -> c_int) -> Result<()> {
    // SAFETY: asks for the flags, and sets them.
    unsafe {
        let flags = from_libc(real::fcntl(fd, libc::F_GETFL, 0))?;
        from_libc(real::fcntl(fd, libc::F_SETFL, change(flags) as usize)).map(drop)
    }
}

/// The worker that a socket is opened on which will have this port (0: none that is named): the port's own. Without one it is the
/// worker with the fewest sockets, which chooses a port of its own; raw sockets have none, and live on the first.
fn worker_for(attachment: &Attachment, socket: &Socket, port: u16) -> u32 {
    match (attachment.workers(), socket.kind(), port) {
        (..=1, _, _) | (_, libc::SOCK_RAW, _) => 0,
        (workers, _, 0) => attachment.page().least_busy(workers),
        (_, _, port) => attachment.arena().geometry().home_of_port(port),
    }
}

/// Opens the socket in Flumen, for this port of its own (0: none is named). It is undecided still.
fn open_part<'a>(fd: c_int, socket: &'a Socket, port: u16) -> Result<Part<'a>> {
    let attachment = attach::ensure()?;
    let worker = worker_for(&attachment, socket, port);
    let cookie = options::cookie(fd)?;
    let args = [socket.domain() as u64, socket.kind() as u64, socket.protocol() as u64, cookie];
    let slot = attachment.open_in_free_slot(|slot| attachment.call(worker, Op::Open, slot, args, &[]))?;
    socket.place(&attachment, slot, worker, attachment.home(), slot);
    attachment.set_socket(slot, socket);
    let part = socket.placed().ok_or(Errno(libc::EBADF))?;
    // SAFETY: asks for the flags.
    let flags = from_libc(unsafe { real::fcntl(fd, libc::F_GETFL, 0) })?;
    part.set_open(open::NONBLOCK, flags & libc::O_NONBLOCK != 0);
    options::replay(&part);
    Ok(part)
}

/// What was begun came to nothing: the socket is undecided, as before.
fn abandon(part: &Part<'_>) {
    part.attachment().let_go(part.worker, part.slot);
}

/// The kernel's socket of both kinds never blocks: whoever waits, waits for both.
fn become_both(fd: c_int, socket: &Socket) -> Result<()> {
    set_kernels_flags(fd, |flags| flags | libc::O_NONBLOCK)?;
    socket.decide(State::Both);
    Ok(())
}

/// bind(2). `None`: the kernel is to be asked.
///
/// # Errors
/// Those of bind(2).
pub fn bind(
    fd: c_int,
    socket: &SocketRef,
    passed: Passed,
    kernel: impl Fn() -> Result<()>,
) -> Option<Result<()>> {
    let address = match (socket.state(), passed) {
        (State::Both | State::Kernel, _) | (State::Undecided, Passed::Foreign | Passed::Unspecified) => {
            return None;
        }
        (State::Flumen, Passed::Foreign | Passed::Unspecified) => {
            return Some(Err(Errno(libc::EAFNOSUPPORT)));
        }
        (_, Passed::Is(address)) => address,
    };
    if let Some(part) = socket.part() {
        socket.set_sent_to(0);
        return Some(part.call(Op::Bind, [0; 4], address.as_bytes()).map(drop));
    }
    // It has a name already, and a peer of the kernel's.
    if socket.kind() == libc::SOCK_DGRAM && kernels_port(fd, socket).is_ok_and(|port| port != 0) {
        return Some(Err(Errno(libc::EINVAL)));
    }
    match whose(socket.protocol(), &address, Purpose::Bind) {
        Ok(Whose::Kernel) => {
            to_kernel(fd, socket);
            None
        }
        Ok(Whose::Flumen) => Some(bind_in_flumen(fd, socket, &address, State::Flumen)),
        Ok(Whose::Both) => Some(bind_in_both(fd, socket, &address, kernel)),
        Err(error) => Some(Err(error)),
    }
}

fn bind_in_flumen(fd: c_int, socket: &Socket, address: &Address, state: State) -> Result<()> {
    let part = open_part(fd, socket, address.port)?;
    match part.call(Op::Bind, [0; 4], address.as_bytes()) {
        Ok(_) if state == State::Both => become_both(fd, socket),
        Ok(_) => {
            socket.decide(State::Flumen);
            Ok(())
        }
        Err(error) => {
            abandon(&part);
            Err(error)
        }
    }
}

/// The kernel chooses the port, if one is to be chosen; Flumen's is the same.
fn bind_in_both(
    fd: c_int,
    socket: &Socket,
    address: &Address,
    kernel: impl Fn() -> Result<()>,
) -> Result<()> {
    if address.port == 0 && socket.kind() != libc::SOCK_RAW {
        kernel()?;
        let port = kernels_port(fd, socket)?;
        return bind_in_flumen(fd, socket, &Address { port, ..*address }, State::Both);
    }
    // Flumen first: its part can be let go when the kernel refuses, which the kernel's cannot.
    let part = open_part(fd, socket, address.port)?;
    let bound = part.call(Op::Bind, [0; 4], address.as_bytes()).map(drop).and_then(|()| kernel());
    if bound.is_err() {
        abandon(&part);
        return bound;
    }
    become_both(fd, socket)
}

/// The port that the kernel's socket is bound to.
fn kernels_port(fd: c_int, socket: &Socket) -> Result<u16> {
    let mut room = [0u8; address::LONGEST];
    let mut len = room.len() as libc::socklen_t;
    // SAFETY: the room is live and as long as it says.
    from_libc(unsafe { real::getsockname(fd, room.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: as above.
    match unsafe { address::read(socket.domain(), room.as_ptr().cast(), len) }? {
        Passed::Is(address) => Ok(address.port),
        Passed::Unspecified | Passed::Foreign => Err(Errno(libc::EINVAL)),
    }
}

/// The unspecified address of the socket's family.
fn any(socket: &Socket) -> Address {
    Address { family: if socket.domain() == libc::AF_INET6 { 6 } else { 4 }, ..Address::NONE }
}

/// listen(2). `None`: the kernel is to be asked.
///
/// # Errors
/// Those of listen(2).
pub fn listen(
    fd: c_int,
    socket: &SocketRef,
    backlog: c_int,
    kernel: impl Fn() -> Result<()>,
) -> Option<Result<()>> {
    if !socket.is_stream() {
        return None;
    }
    let args = [backlog as u64, 0, 0, 0];
    match socket.state() {
        State::Kernel => None,
        State::Flumen => Some(socket.part()?.call(Op::Listen, args, &[]).map(drop)),
        State::Both => {
            let part = socket.part()?;
            Some(kernel().and_then(|()| part.call(Op::Listen, args, &[]).map(drop)))
        }
        // It has no name: it gets a port of the kernel's choice, on all addresses.
        State::Undecided => match whose(socket.protocol(), &any(socket), Purpose::Bind) {
            Ok(Whose::Kernel) => {
                to_kernel(fd, socket);
                None
            }
            Ok(Whose::Flumen | Whose::Both) => Some(
                kernel()
                    .and_then(|()| kernels_port(fd, socket))
                    .and_then(|port| {
                        bind_in_flumen(fd, socket, &Address { port, ..any(socket) }, State::Both)
                    })
                    .and_then(|()| {
                        socket.part().ok_or(Errno(libc::EINVAL))?.call(Op::Listen, args, &[]).map(drop)
                    }),
            ),
            Err(error) => Some(Err(error)),
        },
    }
}

/// connect(2). `None`: the kernel is to be asked.
///
/// # Errors
/// Those of connect(2).
pub fn connect(
    fd: c_int,
    socket: &SocketRef,
    passed: Passed,
    kernel: impl Fn() -> Result<()>,
) -> Option<Result<()>> {
    let address = match (socket.state(), passed) {
        (State::Undecided, Passed::Unspecified) if socket.kind() == libc::SOCK_DGRAM => {
            return Some(forget_kernels_peer(fd, socket, kernel));
        }
        (State::Kernel, _) | (State::Undecided | State::Both, Passed::Foreign | Passed::Unspecified) => {
            return None;
        }
        (State::Flumen, Passed::Foreign) => return Some(Err(Errno(libc::EAFNOSUPPORT))),
        (State::Flumen, Passed::Unspecified) => {
            let part = socket.part()?;
            part.set_open(open::OPENING, false);
            socket.set_sent_to(0);
            return Some(part.call(Op::Connect, [0; 4], &[]).map(drop));
        }
        (_, Passed::Is(address)) => address,
    };
    Some(match reach(fd, socket, &address) {
        Ok(None) => return None,
        Ok(Some(part)) => {
            let undecided = socket.state() == State::Undecided;
            if !undecided || socket.is_stream() {
                // Who waits must not wake for the kernel's part, which hangs up. Of both, it is Flumen's whatever comes of it. An
                // undecided one, too, is before the worker is asked: the peer may accept, and tell other threads, before this
                // one runs again.
                socket.decide(State::Flumen);
            }
            let connected = connect_part(&part, fd, &address);
            match connected {
                // A name that only Flumen knows, or a connection on its way, stays.
                Err(Errno(number)) if undecided && number != libc::EINPROGRESS && number != libc::EINTR => {
                    if socket.undecide() {
                        abandon(&part);
                    }
                }
                _ => socket.decide(State::Flumen),
            }
            connected
        }
        Err(error) => Err(error),
    })
}

/// Flumen's part of a socket that is to reach an address; `None` when that is the kernel's to do.
///
/// # Errors
/// There is no room for another socket; the service is not there and must be.
pub fn reach<'a>(fd: c_int, socket: &'a SocketRef, address: &Address) -> Result<Option<Part<'a>>> {
    if socket.state() == State::Flumen {
        return Ok(socket.part());
    }
    match whose(socket.protocol(), address, Purpose::Reach)? {
        Whose::Kernel => {
            leave_to_kernel(fd, socket)?;
            Ok(None)
        }
        Whose::Flumen | Whose::Both if socket.state() == State::Both => Ok(socket.part()),
        Whose::Flumen | Whose::Both => {
            // A name that the kernel's part has, of an earlier peer, stays the socket's.
            let port = if socket.kind() == libc::SOCK_DGRAM { kernels_port(fd, socket)? } else { 0 };
            let part = open_part(fd, socket, port)?;
            if port != 0 {
                let name = Address { port, ..any(socket) };
                part.call(Op::Bind, [0; 4], name.as_bytes()).inspect_err(|_| abandon(&part))?;
            }
            Ok(Some(part))
        }
    }
}

fn connect_part(part: &Part<'_>, fd: c_int, address: &Address) -> Result<()> {
    part.socket.set_sent_to(0);
    if !part.socket.is_stream() {
        return part.call(Op::Connect, [0; 4], address.as_bytes()).map(drop);
    }
    if part.open_flags() & open::OPENING == 0 {
        match part.call(Op::Connect, [0; 4], address.as_bytes()) {
            Err(Errno(libc::EINPROGRESS)) => part.set_open(open::OPENING, true),
            other => return other.map(drop),
        }
        // Linux: who does not wait hears that it goes on, also when it came through meanwhile.
        match Patience::to_send(part, 0) {
            patience if patience.is_none() => Err(Errno(libc::EINPROGRESS)),
            patience => await_connection_for(part, fd, libc::EINPROGRESS, patience),
        }
    } else {
        await_connection(part, fd, libc::EALREADY)
    }
}

/// Waits for what becomes of a connection; `unfinished` is what it is when nobody waits.
fn await_connection(part: &Part<'_>, fd: c_int, unfinished: c_int) -> Result<()> {
    await_connection_for(part, fd, unfinished, Patience::to_send(part, 0))
}

/// As [`await_connection`]; `unfinished` also when the patience of who waits is at its end.
pub(crate) fn await_connection_for(
    part: &Part<'_>,
    fd: c_int,
    unfinished: c_int,
    patience: Patience,
) -> Result<()> {
    let settled = || {
        let flags = part.cell.flags();
        !flags.intersects(Flags::CONNECTING) && flags.intersects(Flags::CONNECTED | Flags::HANG_UP)
            || part.has_error()
    };
    match wait::until(part, fd, libc::EPOLLOUT as u32, patience, settled) {
        Err(Errno(libc::EAGAIN)) => {
            let number = if patience.is_none() { unfinished } else { libc::EINPROGRESS };
            return Err(Errno(number));
        }
        other => other?,
    }
    part.set_open(open::OPENING, false);
    match part.cell.take_error() {
        0 if part.is_over() => Err(Errno(libc::ECONNRESET)),
        0 if part.cell.flags().intersects(Flags::CONNECTED) => Ok(()),
        0 => Err(Errno(libc::ECONNABORTED)),
        error => Err(Errno(error as c_int)),
    }
}

/// The part that sends a datagram to an address; `None` when the kernel's socket is to send it.
///
/// A socket without a name that sends gets one on all addresses: the kernel chooses the port, and both parts have it, so that
/// it can send to addresses of either.
///
/// # Errors
/// Those of [`reach`].
pub fn send_to<'a>(fd: c_int, socket: &'a SocketRef, address: &Address) -> Result<Option<Part<'a>>> {
    match socket.state() {
        State::Kernel => Ok(None),
        State::Flumen => Ok(socket.part()),
        State::Both => {
            let part = socket.part().ok_or(Errno(libc::EBADF))?;
            let mine = crate::routes::whose(part.attachment(), socket.protocol(), address)?;
            Ok((mine != Whose::Kernel).then_some(part))
        }
        State::Undecided => match whose_reached(socket, address)? {
            Whose::Kernel => {
                leave_to_kernel(fd, socket)?;
                Ok(None)
            }
            Whose::Flumen | Whose::Both => {
                bind_in_both(fd, socket, &any(socket), || bind_kernel(fd, socket))?;
                Ok(socket.part())
            }
        },
    }
}

/// Whose the peer of an undecided socket is: remembered, for it may be asked for each datagram.
fn whose_reached(socket: &Socket, address: &Address) -> Result<Whose> {
    match attach::current().filter(|attachment| !attachment.is_dead()) {
        Some(attachment) => crate::routes::whose(&attachment, socket.protocol(), address),
        None => whose(socket.protocol(), address, Purpose::Reach),
    }
}

/// Gives the kernel's part a name, unless it has one: of a peer of the kernel's that was named before.
fn bind_kernel(fd: c_int, socket: &Socket) -> Result<()> {
    if socket.kind() == libc::SOCK_DGRAM && kernels_port(fd, socket)? != 0 {
        return Ok(());
    }
    let (bytes, len) = address::encode(socket.domain(), &any(socket));
    // SAFETY: the bytes are live.
    from_libc(unsafe { real::bind(fd, bytes.as_ptr().cast(), len as libc::socklen_t) }).map(drop)
}

/// sendto(2) with MSG_FASTOPEN: what finds room goes with the SYN. `None`: the kernel is to be asked.
pub fn connect_with(
    fd: c_int,
    socket: &SocketRef,
    address: &Address,
    from: &Vectors<'_>,
    flags: c_int,
) -> Option<Result<usize>> {
    Some(match reach(fd, socket, address) {
        Ok(None) => return None,
        Ok(Some(part)) => {
            let undecided = socket.state() == State::Undecided;
            // As in `connect`.
            socket.decide(State::Flumen);
            let sent = connect_part_with(&part, fd, address, from, flags);
            if undecided
                && sent.is_err_and(|Errno(number)| number != libc::EINPROGRESS && number != libc::EINTR)
                && socket.undecide()
            {
                abandon(&part);
            }
            sent
        }
        Err(error) => Err(error),
    })
}

fn connect_part_with(
    part: &Part<'_>,
    fd: c_int,
    address: &Address,
    from: &Vectors<'_>,
    flags: c_int,
) -> Result<usize> {
    let count = from.len().min(part.tx().size());
    {
        let turn = wait::turn_to_write(part)?;
        let tail = part.cell.program.tx_tail.load(Relaxed);
        from.into_ring(0, count, part.tx(), tail);
        if !turn.is_mine() {
            return Err(Errno(libc::EINTR));
        }
        part.cell.program.tx_tail.store(tail + count as u64, SeqCst);
    }
    match part.call(Op::Connect, [1, 0, 0, 0], address.as_bytes()) {
        Err(Errno(libc::EINPROGRESS)) => {
            part.set_open(open::OPENING, true);
            let patience =
                if flags & libc::MSG_DONTWAIT != 0 { Patience::None } else { Patience::to_send(part, 0) };
            match await_connection_for(part, fd, libc::EINPROGRESS, patience) {
                Ok(()) => Ok(count),
                // It goes with the SYN, or later: it was taken.
                Err(Errno(libc::EINPROGRESS)) if part.cell.worker.tx_head.load(Acquire) > 0 => Ok(count),
                Err(error) => Err(error),
            }
        }
        other => other.map(|_| count),
    }
}
