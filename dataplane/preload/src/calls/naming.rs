//! socket, bind, listen, accept, connect, shutdown, and names.

use super::answer;
use crate::accept::{self, Accepted};
use crate::address::{self, Passed};
use crate::attach::{self, Answer};
use crate::errno::{Errno, Result, from_libc};
use crate::socket::{Part, Socket, State};
use crate::{decide, pool, real, table};
use core::ffi::c_int;
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::message::Address;
use flumen_ipc::{Flags, Op};
use libc::{sockaddr, socklen_t};
use zerocopy::FromBytes;

/// What a socket of this domain and type speaks, when it may become ours.
fn protocol(domain: c_int, kind: c_int, protocol: c_int) -> Option<c_int> {
    let v6 = match domain {
        libc::AF_INET => false,
        libc::AF_INET6 => true,
        _ => return None,
    };
    match (kind, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Some(libc::IPPROTO_TCP),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Some(libc::IPPROTO_UDP),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => Some(protocol),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP) if !v6 => Some(protocol),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) if v6 => Some(protocol),
        (libc::SOCK_RAW, _) => Some(protocol),
        _ => None,
    }
}

/// socket(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, proto: c_int) -> c_int {
    // SAFETY: by the caller.
    let fd = unsafe { real::socket(domain, kind, proto) };
    if fd < 0 {
        return fd;
    }
    // Whatever had this number before is gone, if the program closed it behind our back.
    table::remove(fd);
    attach::give_up();
    let plain = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    if let Some(protocol) = protocol(domain, plain, proto)
        && let Some(socket) = pool::take(domain, plain, protocol)
    {
        table::set(fd, &socket);
    }
    fd
}

/// bind(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, at: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: by the caller.
    let kernel = || from_libc(unsafe { real::bind(fd, at, len) }).map(drop);
    let Some(socket) = table::get(fd) else { return answer(|| kernel().map(|()| 0)) };
    answer(|| {
        // SAFETY: by the caller.
        let passed = unsafe { address::read(socket.domain(), at, len) }?;
        // AF_UNSPEC with 0.0.0.0 is 0.0.0.0 (__inet_bind of Linux).
        let passed = match passed {
            // SAFETY: by the caller.
            Passed::Unspecified if len >= 16 => unsafe { unspecified(socket.domain(), at, len) },
            other => other,
        };
        decide::bind(fd, &socket, passed, kernel).unwrap_or_else(kernel).map(|()| 0)
    })
}

/// AF_UNSPEC as it is read by bind.
///
/// # Safety
/// `len` bytes, at least 16, can be read at `at`.
unsafe fn unspecified(domain: c_int, at: *const sockaddr, len: socklen_t) -> Passed {
    // SAFETY: by the caller.
    match unsafe { crate::memory::bytes(at.cast(), len as usize) } {
        Ok([_, _, p0, p1, 0, 0, 0, 0, ..]) if domain == libc::AF_INET => {
            Passed::Is(Address { family: 4, port: u16::from_be_bytes([*p0, *p1]), ..Address::NONE })
        }
        _ => Passed::Unspecified,
    }
}

/// listen(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: by the caller.
    let kernel = || from_libc(unsafe { real::listen(fd, backlog) }).map(drop);
    let Some(socket) = table::get(fd) else { return answer(|| kernel().map(|()| 0)) };
    answer(|| decide::listen(fd, &socket, backlog, kernel).unwrap_or_else(kernel).map(|()| 0))
}

/// accept(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, at: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: by the caller.
    match table::get(fd).filter(|socket| socket.part().is_some()) {
        // SAFETY: by the caller.
        Some(_) => unsafe { accept4(fd, at, len, 0) },
        // SAFETY: by the caller.
        None => unsafe { real::accept(fd, at, len) },
    }
}

/// accept4(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(fd: c_int, at: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    let Some(socket) = table::get(fd).filter(|socket| socket.part().is_some()) else {
        // SAFETY: by the caller.
        return unsafe { real::accept4(fd, at, len, flags) };
    };
    answer(|| {
        // SAFETY: by the caller.
        let kernel = || from_libc(unsafe { real::accept4(fd, at, len, flags) });
        match accept::accept(fd, &socket, flags, kernel)? {
            Accepted::Kernel(new) => {
                table::remove(new);
                Ok(new)
            }
            Accepted::Flumen(new, peer) => {
                // SAFETY: by the caller.
                unsafe { address::write(socket.domain(), &peer, at, len) }?;
                Ok(new)
            }
        }
    })
}

/// connect(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, at: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: by the caller.
    let kernel = || from_libc(unsafe { real::connect(fd, at, len) }).map(drop);
    let Some(socket) = table::get(fd) else { return answer(|| kernel().map(|()| 0)) };
    answer(|| {
        // SAFETY: by the caller.
        let passed = unsafe { address::read(socket.domain(), at, len) }?;
        decide::connect(fd, &socket, passed, kernel).unwrap_or_else(kernel).map(|()| 0)
    })
}

/// shutdown(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    let Some(socket) = table::get(fd).filter(|socket| socket.part().is_some()) else {
        // SAFETY: by the caller.
        return unsafe { real::shutdown(fd, how) };
    };
    answer(|| {
        let part = socket.part().ok_or(Errno(libc::EBADF))?;
        socket.set_sent_to(0);
        let both = socket.state() == State::Both;
        let done = part.call(Op::Shutdown, [how as u64, 0, 0, 0], &[]);
        part.be_heard();
        if both {
            // SAFETY: by the caller. Flumen's answer is the one that counts.
            unsafe { real::shutdown(fd, how) };
        }
        done
    })
}

/// Our name or the peer's, from the service.
fn name_of(part: &Part<'_>, peer: bool) -> Result<Address> {
    let mut answer: Answer = [0; CALL_DATA];
    let (_, bytes) = part.call_for(Op::Name, [peer.into(), 0, 0, 0], &[], &mut answer)?;
    Address::read_from_prefix(bytes).map(|(address, _)| address).map_err(|_size| Errno(libc::EINVAL))
}

fn flumens(socket: &Socket) -> Option<Part<'_>> {
    socket.part().filter(|_| socket.state() == State::Flumen)
}

/// getsockname(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockname(fd: c_int, at: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: by the caller.
    let Some(socket) = table::get(fd) else { return unsafe { real::getsockname(fd, at, len) } };
    match flumens(&socket) {
        // SAFETY: by the caller.
        None => unsafe { real::getsockname(fd, at, len) },
        Some(part) => answer(|| {
            let name = name_of(&part, false)?;
            not_null(at)?;
            // SAFETY: by the caller.
            unsafe { address::write(socket.domain(), &name, at, len) }.map(|()| 0)
        }),
    }
}

/// getpeername(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpeername(fd: c_int, at: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: by the caller.
    let Some(socket) = table::get(fd) else { return unsafe { real::getpeername(fd, at, len) } };
    match flumens(&socket) {
        // SAFETY: by the caller.
        None => unsafe { real::getpeername(fd, at, len) },
        Some(part) => answer(|| {
            if socket.is_stream() && part.cell.flags().intersects(Flags::LISTENING) {
                return Err(Errno(libc::ENOTCONN));
            }
            let name = name_of(&part, true)?;
            not_null(at)?;
            // SAFETY: by the caller.
            unsafe { address::write(socket.domain(), &name, at, len) }.map(|()| 0)
        }),
    }
}

fn not_null(at: *mut sockaddr) -> Result<()> {
    if at.is_null() { Err(Errno(libc::EFAULT)) } else { Ok(()) }
}
