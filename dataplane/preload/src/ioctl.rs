//! ioctl(2) on sockets: those that are about the socket; those about interfaces are the kernel's.

use crate::attach::Answer;
use crate::errno::{Errno, Result, from_libc};
use crate::socket::{Part, SocketRef, State, open};
use crate::{datagram, descriptor, real, signals, stream};
use core::ffi::{c_int, c_ulong, c_void};
use core::sync::atomic::Ordering::Relaxed;
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::{Flags, Op};

const FIONREAD: c_ulong = 0x541b;
const FIONBIO: c_ulong = 0x5421;
const TIOCOUTQ: c_ulong = 0x5411;
const FIOASYNC: c_ulong = 0x5452;
const FIOSETOWN: c_ulong = 0x8901;
const SIOCSPGRP: c_ulong = 0x8902;
/// Asks whether the next byte is the urgent one.
pub const SIOCATMARK: c_ulong = 0x8905;
const SIOCOUTQNSD: c_ulong = 0x894b;
const SIOCGSTAMP: c_ulong = 0x8906;
const SIOCGSTAMPNS: c_ulong = 0x8907;
/// With 64-bit times, as the others have here.
const SIOCGSTAMP_NEW: c_ulong = 0x8010_8906;
const SIOCGSTAMPNS_NEW: c_ulong = 0x8010_8907;

/// ioctl(2); `None`: the kernel is to be asked.
///
/// # Safety
/// `arg` is what the request asks for.
pub unsafe fn control(fd: c_int, socket: &SocketRef, request: c_ulong, arg: usize) -> Option<Result<c_int>> {
    // SAFETY: by the caller.
    let kernel = || from_libc(unsafe { real::ioctl(fd, request, arg) });
    match request {
        FIOASYNC => {
            socket.spend();
            let was = descriptor::is_asynchronous(fd);
            let began = || !was && descriptor::is_asynchronous(fd);
            let notify =
                |result| if began() { signals::notify(fd, socket).map(|()| result) } else { Ok(result) };
            return Some(kernel().and_then(notify));
        }
        FIOSETOWN | SIOCSPGRP => return Some(signals::own(fd, socket, kernel)),
        _ => {}
    }
    let part = socket.part()?;
    // The kernel looks at no more (sign extension of an int does no harm).
    let request = request & 0xffff_ffff;
    let pointer = core::ptr::with_exposed_provenance_mut::<c_void>(arg);
    Some(match request {
        // SAFETY: the argument is an integer.
        FIONBIO => {
            // SAFETY: by the caller.
            unsafe { crate::memory::bytes(pointer, 4) }.and_then(|bytes| non_blocking(fd, &part, bytes))
        }
        // SAFETY: the argument is an integer to be written.
        FIONREAD => unsafe { crate::memory::bytes_mut(pointer, 4) }.and_then(|out| waiting(&part, out)),
        // SAFETY: as above.
        SIOCATMARK if socket.is_stream() => {
            // SAFETY: by the caller.
            let out = unsafe { crate::memory::bytes_mut(pointer, 4) };
            out.map(|out| out.copy_from_slice(&c_int::from(stream::is_at_mark(&part)).to_ne_bytes()))
                .map(|()| 0)
        }
        // SAFETY: as above.
        TIOCOUTQ | SIOCOUTQNSD | SIOCATMARK => {
            // SAFETY: by the caller.
            unsafe { crate::memory::bytes_mut(pointer, 4) }.and_then(|out| ask(&part, request, out))
        }
        // SAFETY: the argument is a timeval or a timespec to be written.
        SIOCGSTAMP | SIOCGSTAMPNS | SIOCGSTAMP_NEW | SIOCGSTAMPNS_NEW => {
            let nanos = part.cell.stamp.load(Relaxed);
            if nanos == 0 && socket.state() == State::Both {
                return None;
            }
            let divisor = if matches!(request, SIOCGSTAMP | SIOCGSTAMP_NEW) { 1000 } else { 1 };
            // SAFETY: by the caller.
            unsafe { crate::memory::bytes_mut(pointer, 16) }.and_then(|out| stamp(nanos, divisor, out))
        }
        _ => return None,
    })
}

/// When the last datagram came (sock_gettstamp of Linux).
fn stamp(nanos: u64, divisor: u64, out: &mut [u8]) -> Result<c_int> {
    if nanos == 0 {
        return Err(Errno(libc::ENOENT));
    }
    out[..8].copy_from_slice(&(nanos / 1_000_000_000).to_ne_bytes());
    out[8..].copy_from_slice(&(nanos % 1_000_000_000 / divisor).to_ne_bytes());
    Ok(0)
}

fn non_blocking(fd: c_int, part: &Part<'_>, on: &[u8]) -> Result<c_int> {
    let on = on.iter().any(|byte| *byte != 0);
    if part.socket.state() != State::Both {
        let value = c_int::from(on);
        // SAFETY: the argument is live.
        from_libc(unsafe { real::ioctl(fd, FIONBIO, (&raw const value).expose_provenance()) })?;
    }
    part.set_open(open::NONBLOCK, on);
    Ok(0)
}

/// Bytes that can be read, or the length of the next datagram.
fn waiting(part: &Part<'_>, out: &mut [u8]) -> Result<c_int> {
    if part.socket.is_stream() {
        if part.cell.flags().intersects(Flags::LISTENING) {
            return Err(Errno(libc::EINVAL));
        }
        return ask(part, FIONREAD, out);
    }
    let len = datagram::next_len(part).min(c_int::MAX as usize) as c_int;
    out.copy_from_slice(&len.to_ne_bytes());
    Ok(0)
}

fn ask(part: &Part<'_>, request: c_ulong, out: &mut [u8]) -> Result<c_int> {
    let mut answer: Answer = [0; CALL_DATA];
    let (result, bytes) = part.call_for(Op::Ioctl, [request, 0, 0, 0], &[], &mut answer)?;
    let len = bytes.len().min(out.len());
    out[..len].copy_from_slice(&bytes[..len]);
    Ok(result as c_int)
}
