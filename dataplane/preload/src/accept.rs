//! accept(2): a connection of Flumen's gets a socket of the kernel's as its descriptor: a fresh one, or one as good as that
//! ([`crate::spare`]).

use crate::attach::Answer;
use crate::errno::{Errno, Result, from_libc};
use crate::socket::{Part, SocketRef, State, open};
use crate::spare::{self, Behind};
use crate::wait::{self, Patience};
use crate::{pool, real, table};
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::*;
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::message::Address;
use flumen_ipc::{Flags, Op};
use zerocopy::FromBytes;

/// What accept gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// A connection of Flumen's: descriptor, and the peer's name.
    Flumen(c_int, Address),
    /// One of the kernel's.
    Kernel(c_int),
}

/// Bits of the listener that a connection has from it.
const INHERITED: u32 = open::OOB_INLINE
    | open::TIMESTAMP
    | open::TIMESTAMP_NS
    | open::DROPS
    | open::INQ
    | open::LINGER
    | open::ZERO_COPY
    | open::TIMESTAMPING
    | open::TIMESTAMP_NEW
    | open::STAMPS_SENT
    | open::STAMP_TIMES
    | open::STAMP_KEYS
    | open::PACKET_INFO
    | open::PACKET_INFO6;

/// Takes a connection. `kernel` takes one of the kernel's.
///
/// # Errors
/// Those of accept(2).
pub fn accept(
    fd: c_int,
    socket: &SocketRef,
    flags: c_int,
    kernel: impl Fn() -> Result<c_int>,
) -> Result<Accepted> {
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(Errno(libc::EINVAL));
    }
    let Some(part) = socket.part() else { return kernel().map(Accepted::Kernel) };
    if !socket.is_stream() {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let patience = Patience::to_receive(&part, 0);
    loop {
        // A dead service leaves the flags as they were.
        if part.is_over() {
            return Err(Errno(libc::ECONNABORTED));
        }
        if !part.cell.flags().intersects(Flags::LISTENING) {
            return Err(Errno(libc::EINVAL));
        }
        if part.cell.flags().intersects(Flags::ACCEPTABLE) {
            match take(socket, &part, flags) {
                Err(Errno(libc::EAGAIN)) => {}
                other => return other,
            }
        }
        if socket.state() == State::Both {
            match kernel() {
                Err(Errno(libc::EAGAIN)) => {}
                other => return other.map(Accepted::Kernel),
            }
        }
        wait::until(&part, fd, libc::EPOLLIN as u32, patience, || {
            part.cell.flags().intersects(Flags::ACCEPTABLE) || !part.cell.flags().intersects(Flags::LISTENING)
        })?;
    }
}

/// Takes a connection of Flumen's.
fn take(listener: &SocketRef, part: &Part<'_>, flags: c_int) -> Result<Accepted> {
    let behind = spare::behind(listener.domain(), listener.kind() | flags, listener.protocol())?;
    let taken = take_for(listener, part, flags, &behind);
    if taken.is_err() {
        // SAFETY: a descriptor that nobody knows.
        unsafe { real::close(behind.fd) };
    }
    taken
}

fn take_for(listener: &SocketRef, part: &Part<'_>, flags: c_int, behind: &Behind) -> Result<Accepted> {
    let Behind { fd, cookie, .. } = *behind;
    let mut answer: Answer = [0; CALL_DATA];
    let attachment = part.attachment();
    let mut peer = Address::NONE;
    let slot = attachment.open_in_free_slot(|slot| {
        let args = [slot.into(), cookie, 0, 0];
        let (result, len) = attachment.call_for(part.worker, Op::Accept, part.slot, args, &[], &mut answer);
        if let Some(Ok((address, _))) = answer.get(..len).map(Address::read_from_prefix) {
            peer = address;
        }
        result
    })?;
    let lost = || attachment.let_go(part.worker, slot);
    let Some(socket) = pool::take(listener.domain(), listener.kind(), listener.protocol()) else {
        lost();
        return Err(Errno(libc::ENOMEM));
    };
    socket.place(attachment, slot, part.worker, attachment.home(), slot);
    attachment.set_socket(slot, &socket);
    let Some(new) = socket.placed() else { return Err(Errno(libc::EBADF)) };
    new.set_open(part.open_flags() & INHERITED, true);
    new.set_open(open::NONBLOCK, flags & libc::SOCK_NONBLOCK != 0);
    for (to, from) in [
        (&new.cell.program.receive_timeout, &part.cell.program.receive_timeout),
        (&new.cell.program.send_timeout, &part.cell.program.send_timeout),
        (&new.cell.program.spare, &part.cell.program.spare),
    ] {
        to.store(from.load(Relaxed), Relaxed);
    }
    new.set_peek_offset(part.peek_offset());
    socket.stands_on(behind);
    socket.decide(State::Flumen);
    if !table::set(fd, &socket) {
        return Err(Errno(libc::EMFILE));
    }
    Ok(Accepted::Flumen(fd, peer))
}

/// The kernel's socket takes one of its own connections.
///
/// # Errors
/// Those of accept(2).
///
/// # Safety
/// As accept4(2).
pub unsafe fn of_kernel(fd: c_int, flags: c_int) -> Result<c_int> {
    // SAFETY: by the caller; no address is wanted.
    from_libc(unsafe { real::accept4(fd, null_mut(), null_mut(), flags) })
}
