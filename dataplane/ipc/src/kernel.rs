//! The kernel's own socket calls, byte for byte: what the service's answers are held against.

use core::ffi::c_ulong;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// setsockopt(2).
///
/// # Errors
/// The kernel's.
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value is live and as long as said. Options whose value holds pointers are the kernel's to refuse: it
    // copies from them, and never writes.
    let set =
        unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    if set < 0 { Err(last()) } else { Ok(()) }
}

/// getsockopt(2) into `value`, which holds what the kernel is to find there: bytes of the answer.
///
/// # Errors
/// The kernel's. EINVAL for TCP_ZEROCOPY_RECEIVE, whose value holds addresses that the kernel would write to.
pub fn get_option(socket: impl AsFd, level: i32, name: i32, value: &mut [u8]) -> Result<usize, Errno> {
    const TCP_ZEROCOPY_RECEIVE: i32 = 35;
    if (level, name) == (libc::IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE) {
        return Err(Errno::INVAL);
    }
    let mut len = value.len() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes to the value; no other option writes to addresses in it.
    let got = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut len) };
    if got < 0 { Err(last()) } else { Ok(len as usize) }
}

/// An ioctl whose argument is a number that it writes.
///
/// # Errors
/// The kernel's. EINVAL for other requests than FIONREAD, TIOCOUTQ, SIOCATMARK and SIOCOUTQNSD.
pub fn number(socket: impl AsFd, request: u32) -> Result<i32, Errno> {
    const NUMBERS: [u32; 4] = [0x541b, 0x5411, 0x8905, 0x894b];
    if !NUMBERS.contains(&request) {
        return Err(Errno::INVAL);
    }
    let mut number: libc::c_int = 0;
    // SAFETY: each of these requests writes one int.
    let done =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), c_ulong::from(request) as _, &raw mut number) };
    if done < 0 { Err(last()) } else { Ok(number) }
}

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, socket};

    #[test]
    fn options_of_a_socket_are_set_and_read_back() {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_option(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &7u32.to_ne_bytes()).unwrap();
        let mut value = [0; 16];
        assert_eq!(get_option(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &mut value), Ok(4));
        assert_eq!(value[..4], 1u32.to_ne_bytes());
        assert_eq!(set_option(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[]), Err(Errno::INVAL));
        assert_eq!((number(&socket, 0x541b), number(&socket, 0x8912)), (Ok(0), Err(Errno::INVAL)));
    }
}
