//! Signals to this very thread, so that they meet nobody else in the process.

use super::*;
use crate::testing::{self, of};
use crate::{address, lock};
use flumen_ipc::message::Address;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const F_SETSIG: c_int = 10;
const F_GETSIG: c_int = 11;
const F_SETOWN_EX: c_int = 15;

fn tcp() -> OwnedFd {
    testing::start();
    // SAFETY: makes a socket.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(of(libc::socket(libc::AF_INET, kind, 0)).unwrap())
    }
}

fn connect(socket: &OwnedFd) {
    let to = Address {
        family: 4,
        port: 9,
        ip: [10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..Address::NONE
    };
    let (bytes, len) = address::encode(libc::AF_INET, &to);
    // SAFETY: the address is live.
    let connected =
        unsafe { libc::connect(socket.as_raw_fd(), bytes.as_ptr().cast(), len as libc::socklen_t) };
    assert_eq!(of(connected), Err(libc::EINPROGRESS));
}

fn control(socket: &OwnedFd, command: c_int, arg: c_int) -> c_int {
    // SAFETY: an integer for what takes one.
    of(unsafe { libc::fcntl(socket.as_raw_fd(), command, arg) }).unwrap()
}

/// This thread owns it, and is told by `signal`, which it does not let in.
fn own(socket: &OwnedFd, signal: c_int) {
    let owner: [c_int; 2] = [0, lock::thread() as c_int];
    // SAFETY: the owner and the set are live.
    unsafe {
        of(libc::fcntl(socket.as_raw_fd(), F_SETOWN_EX, owner.as_ptr())).unwrap();
        let mut set = core::mem::zeroed::<libc::sigset_t>();
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, core::ptr::null_mut());
    }
    control(socket, F_SETSIG, signal);
    control(socket, libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC);
}

/// Code, band and descriptor of the next signal.
fn wait(signal: c_int) -> (c_int, i64, c_int) {
    let time = libc::timespec { tv_sec: 60, tv_nsec: 0 };
    // SAFETY: set, time and place are live; zeros are a set and a siginfo.
    unsafe {
        let mut set = core::mem::zeroed::<libc::sigset_t>();
        libc::sigaddset(&raw mut set, signal);
        let mut info = core::mem::zeroed::<libc::siginfo_t>();
        assert_eq!(of(libc::sigtimedwait(&raw const set, &raw mut info, &raw const time)), Ok(signal));
        let band = (&raw const info).cast::<i64>().add(2).read();
        (info.si_code, band, (&raw const info).cast::<c_int>().add(6).read())
    }
}

const SI_SIGIO: c_int = -5;

#[test]
fn an_owner_hears_of_the_connection_and_of_what_comes() {
    let (socket, signal) = (tcp(), libc::SIGRTMIN() + 1);
    own(&socket, signal);
    connect(&socket);
    let fd = socket.as_raw_fd();
    assert_eq!(wait(signal), (SI_SIGIO, 0x304, fd), "it stands");
    // SAFETY: the bytes are live.
    unsafe { of(libc::write(fd, b"abc".as_ptr().cast(), 3)).unwrap() };
    assert_eq!(wait(signal), (SI_SIGIO, 0x41, fd), "it came back");
    let flags = control(&socket, libc::F_GETFL, 0);
    assert_eq!((flags & libc::O_ASYNC, control(&socket, F_GETSIG, 0)), (libc::O_ASYNC, signal));
}

#[test]
fn a_copy_goes_on_when_the_descriptor_is_closed_and_the_signal_names_what_it_was_set_by() {
    let (socket, signal) = (tcp(), libc::SIGRTMIN() + 2);
    connect(&socket);
    own(&socket, signal);
    let (copy, fd) = (socket.try_clone().unwrap(), socket.as_raw_fd());
    drop(socket);
    // SAFETY: the bytes are live.
    unsafe { of(libc::write(copy.as_raw_fd(), b"abc".as_ptr().cast(), 3)).unwrap() };
    assert_eq!(wait(signal), (SI_SIGIO, 0x41, fd));
}

#[test]
fn nobody_is_told_without_the_flag_and_the_kernel_judges_owners() {
    let (socket, signal) = (tcp(), libc::SIGRTMIN() + 3);
    connect(&socket);
    own(&socket, signal);
    control(&socket, libc::F_SETFL, libc::O_NONBLOCK);
    // SAFETY: the bytes and the number are live.
    unsafe {
        of(libc::write(socket.as_raw_fd(), b"abc".as_ptr().cast(), 3)).unwrap();
        let mut byte = [0u8; 3];
        while of(libc::read(socket.as_raw_fd(), byte.as_mut_ptr().cast(), 3)) != Ok(3) {}
        let on: c_int = 1;
        of(libc::ioctl(socket.as_raw_fd(), libc::FIOASYNC, &raw const on)).unwrap();
        of(libc::write(socket.as_raw_fd(), b"abc".as_ptr().cast(), 3)).unwrap();
    }
    assert_eq!(wait(signal).1, 0x41);
    // SAFETY: a number.
    assert_eq!(of(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, 0x3fff_ffff) }), Err(libc::ESRCH));
}
