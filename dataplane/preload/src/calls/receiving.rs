//! read, recv, and their kin.

use super::{answer, length};
use crate::address;
use crate::control::{self, Writer};
use crate::datagram::{self, Head, Incoming};
use crate::errno::{Errno, Result, from_libc};
use crate::memory::{self, Vectors};
use crate::socket::{Part, SocketRef, State, open};
use crate::stream::{self, Received};
use crate::wait::{self, Patience};
use crate::zero_copy;
use crate::{real, rights, table};
use core::ffi::{c_int, c_uint, c_void};
use core::ptr::null_mut;
use flumen_ipc::Flags;
use flumen_ipc::message::Address;
use libc::{iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t, timespec};
use std::time::{Duration, Instant};

/// What was received.
enum Got {
    Stream(Received),
    Datagram(Incoming),
    /// By the kernel's socket, which filled in everything.
    Kernel(usize),
}

impl Got {
    /// What the call returns: bytes that were copied, or with MSG_TRUNC the length of the datagram.
    fn len(&self, flags: c_int) -> usize {
        match self {
            Got::Stream(received) => received.len,
            Got::Datagram(Incoming { head: Head::Datagram(_), len, .. }) if flags & libc::MSG_TRUNC != 0 => {
                *len
            }
            Got::Datagram(incoming) => incoming.copied,
            Got::Kernel(len) => *len,
        }
    }
}

/// A descriptor of ours that Flumen has a part in.
fn ours(fd: c_int) -> Option<SocketRef> {
    table::get(fd).filter(|socket| socket.part().is_some())
}

/// Receives; of a socket of both kinds, from either. `kernel` does the kernel's part, never waiting.
fn receive(
    fd: c_int,
    socket: &SocketRef,
    to: &Vectors<'_>,
    flags: c_int,
    kernel: impl Fn() -> ssize_t,
) -> Result<Got> {
    let part = socket.part().ok_or(Errno(libc::EBADF))?;
    if flags & libc::MSG_ERRQUEUE != 0 {
        if let Some(record) = zero_copy::take(&part) {
            return Ok(Got::Datagram(Incoming::bare(Head::Error(record))));
        }
        if socket.is_stream() {
            return match part.cell.flags().intersects(Flags::ERROR_QUEUE) {
                true => datagram::receive(&part, fd, to, flags).map(Got::Datagram),
                false => Err(Errno(libc::EAGAIN)),
            };
        }
    }
    if socket.is_stream() {
        return stream::receive(&part, fd, to, flags).map(Got::Stream);
    }
    if socket.state() != State::Both {
        return datagram::receive(&part, fd, to, flags).map(Got::Datagram);
    }
    let patience = Patience::to_receive(&part, flags);
    let patience = if flags & libc::MSG_ERRQUEUE != 0 { Patience::None } else { patience };
    loop {
        let now = if flags & libc::MSG_ERRQUEUE != 0 {
            match datagram::receive(&part, fd, to, flags) {
                Err(Errno(libc::EAGAIN)) => None,
                other => Some(other?),
            }
        } else {
            datagram::receive_now(&part, to, flags)?
        };
        if let Some(incoming) = now {
            return Ok(Got::Datagram(incoming));
        }
        match from_libc(kernel()) {
            Ok(len) => return Ok(Got::Kernel(len as usize)),
            Err(Errno(libc::EAGAIN)) => {}
            Err(error) => return Err(error),
        }
        if flags & libc::MSG_PEEK != 0 && part.peek_offset() >= 0 {
            // What was peeked at makes both parts readable: there is nothing to sleep on.
            wait::a_moment(patience)?;
            continue;
        }
        wait::until(&part, fd, libc::EPOLLIN as u32, patience, || {
            part.cell.readable() > 0 || part.cell.flags().intersects(Flags::READ_END) || part.has_error()
        })?;
    }
}

/// read(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::read(fd, bytes, len) };
    let Some(socket) = ours(fd) else { return kernel() };
    answer(|| {
        let list = memory::one(bytes, len);
        let to = Vectors::of(&list)?;
        // sock_read_iter of Linux: nothing is asked for, nothing is given.
        if to.is_empty() {
            return Ok(0);
        }
        receive(fd, &socket, &to, 0, kernel).map(|got| length(got.len(0)))
    })
}

/// readv(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::readv(fd, vectors, count) };
    let Some(socket) = ours(fd) else { return kernel() };
    answer(|| {
        // SAFETY: by the caller.
        let to = unsafe { Vectors::new(vectors, memory::count(count)?) }?;
        if to.is_empty() {
            return Ok(0);
        }
        receive(fd, &socket, &to, 0, kernel).map(|got| length(got.len(0)))
    })
}

/// preadv2(2): at the offset -1 it is a readv.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv2(
    fd: c_int,
    vectors: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: by the caller.
    match ours(fd).filter(|_| offset == -1 && flags == 0) {
        // SAFETY: by the caller.
        Some(_) => unsafe { readv(fd, vectors, count) },
        // SAFETY: by the caller.
        None => unsafe { real::preadv2(fd, vectors, count, offset, flags) },
    }
}

/// preadv2(2) with large files.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv64v2(
    fd: c_int,
    vectors: *const iovec,
    count: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { preadv2(fd, vectors, count, offset, flags) }
}

/// recv(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, bytes: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: by the caller.
    unsafe { recvfrom(fd, bytes, len, flags, null_mut(), null_mut()) }
}

/// recvfrom(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    bytes: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    size: *mut socklen_t,
) -> ssize_t {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::recvfrom(fd, bytes, len, flags, from, size) };
    let Some(socket) = ours(fd) else { return kernel() };
    answer(|| {
        let list = memory::one(bytes, len);
        // A stream's bytes that are thrown away need no place.
        let thrown_away = flags & libc::MSG_TRUNC != 0 && socket.is_stream();
        let to = if thrown_away { Vectors::of_lengths(&list) } else { Vectors::of(&list) }?;
        let got = receive(fd, &socket, &to, flags, kernel)?;
        let name = match &got {
            Got::Kernel(_) => return Ok(length(got.len(flags))),
            Got::Stream(_) => Address::NONE,
            Got::Datagram(incoming) => sender(incoming),
        };
        // SAFETY: by the caller.
        unsafe { address::write(socket.domain(), &name, from, size) }?;
        Ok(length(got.len(flags)))
    })
}

/// The address that a datagram goes by.
fn sender(incoming: &Incoming) -> Address {
    match incoming.head {
        Head::Datagram(head) => head.from,
        // Linux names nobody in a stamp.
        Head::Error(record) if record.origin == control::ORIGIN_STAMP => Address::NONE,
        Head::Error(record) => record.to,
        Head::End => Address::NONE,
    }
}

/// recvmsg(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: by the caller.
    let kernel = || unsafe { real::recvmsg(fd, message, flags) };
    let Some(socket) = ours(fd) else {
        let got = kernel();
        if got >= 0 {
            // SAFETY: the kernel filled it in.
            unsafe { rights::take(message) };
        }
        return got;
    };
    // SAFETY: by the caller.
    let Some(header) = (unsafe { message.as_mut() }) else { return kernel() };
    answer(|| {
        // SAFETY: by the caller.
        unsafe { receive_message(fd, &socket, header, flags) }.map(length)
    })
}

/// One message.
///
/// # Safety
/// As recvmsg(2).
unsafe fn receive_message(
    fd: c_int,
    socket: &SocketRef,
    message: &mut msghdr,
    flags: c_int,
) -> Result<usize> {
    if message.msg_iovlen > memory::MAX_VECTORS {
        return Err(Errno(libc::EMSGSIZE));
    }
    // SAFETY: by the caller.
    let to = unsafe { Vectors::new(message.msg_iov, message.msg_iovlen) }?;
    let place = core::ptr::from_mut(message);
    // SAFETY: by the caller.
    let got = receive(fd, socket, &to, flags, || unsafe { real::recvmsg(fd, place, flags) })?;
    if let Got::Kernel(len) = got {
        return Ok(len);
    }
    // SAFETY: by the caller.
    let mut out = unsafe { Writer::new(message) };
    let part = socket.part().ok_or(Errno(libc::EBADF))?;
    let (name, found) = beside(&part, &got, &mut out);
    message.msg_flags = found | flags & libc::MSG_CMSG_CLOEXEC | if out.cut { libc::MSG_CTRUNC } else { 0 };
    message.msg_controllen = out.used();
    // SAFETY: by the caller.
    unsafe { address::write(socket.domain(), &name, message.msg_name.cast(), &raw mut message.msg_namelen) }?;
    Ok(got.len(flags))
}

/// What goes beside the bytes: name, flags, control messages.
fn beside(part: &Part<'_>, got: &Got, out: &mut Writer<'_>) -> (Address, c_int) {
    match got {
        Got::Kernel(_) => (Address::NONE, 0),
        Got::Stream(received) => {
            if received.len > 0 {
                control::of_stream(part, out);
            }
            if part.open_flags() & open::INQ != 0 {
                let waiting = part.cell.readable().min(c_int::MAX as u64) as c_int;
                out.push(libc::SOL_TCP, 36, &waiting.to_ne_bytes()); // TCP_CM_INQ
            }
            (Address::NONE, received.flags)
        }
        Got::Datagram(incoming) => {
            let cut = if incoming.cut { libc::MSG_TRUNC } else { 0 };
            let kind = match &incoming.head {
                Head::Datagram(head) => {
                    control::of_datagram(part, head, &incoming.beside, out);
                    0
                }
                Head::Error(record) => {
                    control::of_error(part, record, &incoming.beside, out);
                    libc::MSG_ERRQUEUE
                }
                Head::End => 0,
            };
            (sender(incoming), cut | kind)
        }
    }
}

/// recvmmsg(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let Some(socket) = ours(fd) else {
        // SAFETY: by the caller.
        let got = unsafe { real::recvmmsg(fd, messages, count, flags, timeout) };
        // SAFETY: the kernel filled in as many.
        (0..got.max(0) as usize)
            .for_each(|number| unsafe { rights::take(&raw const (*messages.add(number)).msg_hdr) });
        return got;
    };
    answer(|| {
        // SAFETY: by the caller.
        let end = unsafe { timeout.as_ref() }.map(deadline).transpose()?;
        let for_one = flags & libc::MSG_WAITFORONE != 0;
        let mut flags = flags & !libc::MSG_WAITFORONE;
        let count = (count as usize).min(memory::MAX_VECTORS);
        for number in 0..count {
            // SAFETY: by the caller, there are as many.
            let one = unsafe { &mut *messages.add(number) };
            // SAFETY: by the caller.
            match unsafe { receive_message(fd, &socket, &mut one.msg_hdr, flags) } {
                Ok(len) => one.msg_len = len as c_uint,
                Err(error) if number == 0 => return Err(error),
                Err(_) => return Ok(number as c_int),
            }
            if for_one {
                flags |= libc::MSG_DONTWAIT;
            }
            // The time is looked at when a datagram came, as Linux does it.
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(number as c_int + 1);
            }
        }
        Ok(count as c_int)
    })
}

fn deadline(time: &timespec) -> Result<Instant> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_negative| Errno(libc::EINVAL))?;
    let nanos =
        u32::try_from(time.tv_nsec).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or(Errno(libc::EINVAL))?;
    Instant::now().checked_add(Duration::new(seconds, nanos)).ok_or(Errno(libc::EINVAL))
}
