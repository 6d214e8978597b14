//! Addresses: `sockaddr` of the program there, [`Address`] of the contract here.

use crate::errno::{Errno, Result};
use core::ffi::{c_int, c_void};
use flumen_ipc::message::Address;
use libc::{sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

/// Bytes of the longest address that we know.
pub const LONGEST: usize = size_of::<sockaddr_in6>();

/// What a program passed as an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// AF_UNSPEC.
    Unspecified,
    /// Of a family that the socket does not have.
    Foreign,
    /// An address of the socket's family (or IPv4, which IPv6 sockets are asked to refuse by themselves).
    Is(Address),
}

/// Reads an address for a socket of this domain.
///
/// # Errors
/// EINVAL for one that is too short, EFAULT for none.
///
/// # Safety
/// `len` bytes at `at` can be read.
pub unsafe fn read(domain: c_int, at: *const sockaddr, len: socklen_t) -> Result<Passed> {
    // SAFETY: by the caller.
    let bytes = unsafe { crate::memory::bytes(at.cast(), len as usize) }?;
    parse(domain, bytes)
}

fn parse(domain: c_int, bytes: &[u8]) -> Result<Passed> {
    let Some(family) = bytes.first_chunk() else { return Err(Errno(libc::EINVAL)) };
    match c_int::from(sa_family_t::from_ne_bytes(*family)) {
        libc::AF_UNSPEC => Ok(Passed::Unspecified),
        libc::AF_INET if domain == libc::AF_INET => {
            let Some(bytes) = bytes.first_chunk::<16>() else { return Err(Errno(libc::EINVAL)) };
            let [_, _, p0, p1, a, b, c, d, ..] = *bytes;
            let mut ip = [0; 16];
            ip[..4].copy_from_slice(&[a, b, c, d]);
            Ok(Passed::Is(Address { family: 4, port: u16::from_be_bytes([p0, p1]), ip, ..Address::NONE }))
        }
        libc::AF_INET6 if domain == libc::AF_INET6 => {
            // The scope was added later: 24 bytes are enough.
            let Some(head) = bytes.first_chunk::<24>() else { return Err(Errno(libc::EINVAL)) };
            let scope = bytes.get(24..28).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or_default();
            let [_, _, p0, p1, f0, f1, f2, f3, ip @ ..] = *head;
            Ok(Passed::Is(Address {
                family: 6,
                reserved: 0,
                port: u16::from_be_bytes([p0, p1]),
                scope: u32::from_ne_bytes(scope),
                ip,
                flow: u32::from_be_bytes([f0, f1, f2, f3]),
            }))
        }
        _ => Ok(Passed::Foreign),
    }
}

/// An address as a `sockaddr` for a socket of this domain, and its length; IPv4 becomes a mapped address for IPv6 sockets.
/// No address is length 0.
pub fn encode(domain: c_int, address: &Address) -> ([u8; LONGEST], usize) {
    let mut out = [0; LONGEST];
    match (domain, address.family) {
        (libc::AF_INET, 4) => {
            out[..2].copy_from_slice(&(libc::AF_INET as sa_family_t).to_ne_bytes());
            out[2..4].copy_from_slice(&address.port.to_be_bytes());
            out[4..8].copy_from_slice(&address.ip[..4]);
            (out, size_of::<sockaddr_in>())
        }
        (libc::AF_INET6, 4 | 6) => {
            out[..2].copy_from_slice(&(libc::AF_INET6 as sa_family_t).to_ne_bytes());
            out[2..4].copy_from_slice(&address.port.to_be_bytes());
            out[4..8].copy_from_slice(&address.flow.to_be_bytes());
            if address.family == 4 {
                out[18..20].fill(0xff);
                out[20..24].copy_from_slice(&address.ip[..4]);
            } else {
                out[8..24].copy_from_slice(&address.ip);
            }
            out[24..28].copy_from_slice(&address.scope.to_ne_bytes());
            (out, LONGEST)
        }
        _ => (out, 0),
    }
}

/// Writes an address where a program wants it: as much as there is room for, and how long it is.
///
/// # Errors
/// EFAULT for a length that is nowhere, EINVAL for a negative one.
///
/// # Safety
/// `len` can be read and written, and as many bytes as it says can be written at `at`; `at` may be null: then nothing is.
pub unsafe fn write(domain: c_int, address: &Address, at: *mut sockaddr, len: *mut socklen_t) -> Result<()> {
    if at.is_null() {
        return Ok(());
    }
    // SAFETY: by the caller.
    let Some(room) = (unsafe { len.as_mut() }) else { return Err(Errno(libc::EFAULT)) };
    if *room > i32::MAX as u32 {
        return Err(Errno(libc::EINVAL));
    }
    let (bytes, length) = encode(domain, address);
    let copied = length.min(*room as usize);
    // SAFETY: by the caller.
    unsafe { crate::memory::bytes_mut(at.cast::<c_void>(), copied) }?.copy_from_slice(&bytes[..copied]);
    *room = length as socklen_t;
    Ok(())
}

/// True for 0.0.0.0, ::, and ::ffff:0.0.0.0.
pub fn is_unspecified(address: &Address) -> bool {
    address.to_std().is_some_and(|address| address.ip().to_canonical().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for (domain, text) in [(libc::AF_INET, "10.0.0.1:80"), (libc::AF_INET6, "[fe80::1%7]:9")] {
            let address = Address::from(text.parse::<core::net::SocketAddr>().unwrap());
            let (bytes, len) = encode(domain, &address);
            assert_eq!(parse(domain, &bytes[..len]).unwrap(), Passed::Is(address));
        }
        let v4 = Address::from("10.0.0.1:80".parse::<core::net::SocketAddr>().unwrap());
        let (bytes, len) = encode(libc::AF_INET6, &v4);
        let Passed::Is(mapped) = parse(libc::AF_INET6, &bytes[..len]).unwrap() else { panic!("no address") };
        assert_eq!(mapped.to_std().unwrap().to_string(), "[::ffff:10.0.0.1]:80");
    }

    #[test]
    fn short_and_foreign_ones_are_told_apart() {
        let (bytes, _) = encode(libc::AF_INET, &Address { family: 4, ..Address::NONE });
        assert_eq!(parse(libc::AF_INET, &bytes[..15]), Err(Errno(libc::EINVAL)));
        assert_eq!(parse(libc::AF_INET, &bytes[..1]), Err(Errno(libc::EINVAL)));
        assert_eq!(parse(libc::AF_INET6, &bytes), Ok(Passed::Foreign));
        assert_eq!(parse(libc::AF_INET, &[0; 2]), Ok(Passed::Unspecified));
    }
}
