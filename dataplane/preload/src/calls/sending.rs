//! write, send, and their kin.

use super::{answer, length};
use crate::address::{self, Passed};
use crate::datagram::{self, Outgoing};
use crate::errno::{Errno, Result, from_libc};
use crate::memory::{self, Vectors};
use crate::socket::{Part, SocketRef, State, open};
use crate::stream::Stamps;
use crate::{control, decide, real, rights, stream, table};
use core::ffi::{c_int, c_uint, c_void};
use core::ptr::null;
use flumen_ipc::message::Address;
use libc::{iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t};

/// Runs a call that sends: EPIPE comes with SIGPIPE, unless the flags say that it must not.
pub(crate) fn with_signal<T: TryFrom<i64>>(flags: c_int, call: impl FnOnce() -> Result<i64>) -> T {
    answer(|| {
        let sent = call();
        if sent == Err(Errno(libc::EPIPE)) && flags & libc::MSG_NOSIGNAL == 0 {
            // SAFETY: the signal that the kernel would send.
            unsafe { libc::raise(libc::SIGPIPE) };
        }
        sent
    })
}

/// Sends by Flumen's part; `None`: the kernel is to be asked.
fn transmit(
    fd: c_int,
    socket: &SocketRef,
    from: &Vectors<'_>,
    name: Option<Passed>,
    messages: &[(c_int, c_int, &[u8])],
    flags: c_int,
) -> Option<Result<usize>> {
    if socket.is_stream() {
        let send = |part: &Part<'_>| {
            let stamps = Stamps::asked(part, control::of_bytes_to_send(messages)?);
            stream::send(part, fd, from, flags, stamps)
        };
        return match (socket.part(), name) {
            (Some(part), None) => Some(send(&part)),
            (Some(part), Some(_)) if flags & libc::MSG_FASTOPEN == 0 => Some(send(&part)),
            (_, Some(Passed::Is(to))) if flags & libc::MSG_FASTOPEN != 0 => {
                decide::connect_with(fd, socket, &to, from, flags)
            }
            _ => None,
        };
    }
    let to = match name {
        None if socket.state() != State::Flumen => return None,
        None => Address::NONE,
        Some(Passed::Is(to)) => to,
        Some(_) if socket.state() == State::Undecided => return None,
        Some(Passed::Unspecified | Passed::Foreign) => return Some(Err(Errno(libc::EAFNOSUPPORT))),
    };
    let part = match name {
        None => socket.part(),
        Some(_) => match decide::send_to(fd, socket, &to) {
            Ok(part) => part,
            Err(error) => return Some(Err(error)),
        },
    }?;
    let mut outgoing = Outgoing::to(to);
    let has_stamp_keys = part.open_flags() & open::STAMP_KEYS != 0;
    let said = control::apply(socket.domain(), socket.kind(), has_stamp_keys, messages, &mut outgoing);
    Some(said.and_then(|()| datagram::send(&part, fd, from, &outgoing, flags)))
}

/// The socket behind a descriptor, and one buffer to send: what send, sendto and write share.
///
/// # Safety
/// As sendto(2).
unsafe fn send_one(
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    size: socklen_t,
    kernel: impl Fn() -> ssize_t,
) -> ssize_t {
    let Some(socket) = table::get(fd) else { return kernel() };
    let signal = if socket.is_stream() { flags } else { flags | libc::MSG_NOSIGNAL };
    let mut passed_on = false;
    let sent = with_signal(signal, || {
        let list = memory::one(bytes, len);
        let from = Vectors::of(&list)?;
        // SAFETY: by the caller.
        let name =
            // SAFETY: by the caller.
            if to.is_null() { None } else { Some(unsafe { address::read(socket.domain(), to, size) }?) };
        match transmit(fd, &socket, &from, name, &[], flags) {
            Some(sent) => sent.map(length),
            None => {
                passed_on = true;
                Ok(0)
            }
        }
    });
    if passed_on { kernel() } else { sent }
}

/// send(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { send_one(fd, bytes, len, flags, null(), 0, || real::sendto(fd, bytes, len, flags, null(), 0)) }
}

/// sendto(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    size: socklen_t,
) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { send_one(fd, bytes, len, flags, to, size, || real::sendto(fd, bytes, len, flags, to, size)) }
}

/// write(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { send_one(fd, bytes, len, 0, null(), 0, || real::write(fd, bytes, len)) }
}

/// writev(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::writev(fd, vectors, count) };
    let Some(socket) = table::get(fd).filter(|socket| socket.part().is_some()) else { return kernel() };
    let signal = if socket.is_stream() { 0 } else { libc::MSG_NOSIGNAL };
    with_signal(signal, || {
        // SAFETY: by the caller.
        let from = unsafe { Vectors::new(vectors, memory::count(count)?) }?;
        transmit(fd, &socket, &from, None, &[], 0)
            .unwrap_or_else(|| from_libc(kernel()).map(|n| n as usize))
            .map(length)
    })
}

/// pwritev2(2): at the offset -1 it is a writev.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev2(
    fd: c_int,
    vectors: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: by the caller.
    match table::get(fd).filter(|socket| socket.part().is_some() && offset == -1 && flags == 0) {
        // SAFETY: by the caller.
        Some(_) => unsafe { writev(fd, vectors, count) },
        // SAFETY: by the caller.
        None => unsafe { real::pwritev2(fd, vectors, count, offset, flags) },
    }
}

/// pwritev2(2) with large files.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64v2(
    fd: c_int,
    vectors: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { pwritev2(fd, vectors, count, offset, flags) }
}

/// One message; `None`: the kernel is to be asked.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send_message(
    fd: c_int,
    socket: &SocketRef,
    message: &msghdr,
    flags: c_int,
) -> Option<Result<usize>> {
    let parts = || -> Result<_> {
        if message.msg_iovlen > memory::MAX_VECTORS {
            return Err(Errno(libc::EMSGSIZE));
        }
        // SAFETY: by the caller.
        let from = unsafe { Vectors::new(message.msg_iov, message.msg_iovlen) }?;
        let name = if message.msg_name.is_null() || message.msg_namelen == 0 {
            None
        } else {
            // SAFETY: by the caller.
            Some(unsafe { address::read(socket.domain(), message.msg_name.cast(), message.msg_namelen) }?)
        };
        // SAFETY: by the caller.
        Ok((from, name, unsafe { control::passed(message) }?))
    };
    match parts() {
        Ok((from, name, messages)) => transmit(fd, socket, &from, name, &messages, flags),
        Err(error) => Some(Err(error)),
    }
}

/// sendmsg(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::sendmsg(fd, message, flags) };
    let Some(socket) = table::get(fd) else {
        // SAFETY: by the caller.
        unsafe { rights::give(message) };
        return kernel();
    };
    // SAFETY: by the caller.
    let Some(header) = (unsafe { message.as_ref() }) else { return kernel() };
    let signal = if socket.is_stream() { flags } else { flags | libc::MSG_NOSIGNAL };
    let mut passed_on = false;
    let sent = with_signal(signal, || {
        // SAFETY: by the caller.
        match unsafe { send_message(fd, &socket, header, flags) } {
            Some(sent) => sent.map(length),
            None => {
                passed_on = true;
                Ok(0)
            }
        }
    });
    if passed_on { kernel() } else { sent }
}

/// sendmmsg(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    let Some(_) = table::get(fd) else {
        // SAFETY: by the caller, there are as many.
        (0..count as usize)
            .for_each(|number| unsafe { rights::give(&raw const (*messages.add(number)).msg_hdr) });
        // SAFETY: by the caller.
        return unsafe { real::sendmmsg(fd, messages, count, flags) };
    };
    let before = crate::errno::get();
    let count = (count as usize).min(memory::MAX_VECTORS);
    for number in 0..count {
        // SAFETY: by the caller, there are as many.
        let one = unsafe { &mut *messages.add(number) };
        // The last of a batch ends it; those before say that more comes, as Linux does (MSG_BATCH), without an effect here.
        // SAFETY: by the caller.
        let sent = unsafe { sendmsg(fd, &raw const one.msg_hdr, flags) };
        if sent < 0 {
            if number > 0 {
                crate::errno::set(before);
                return number as c_int;
            }
            return -1;
        }
        one.msg_len = sent as c_uint;
    }
    count as c_int
}
