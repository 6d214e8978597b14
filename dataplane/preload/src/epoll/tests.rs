//! The calls, against the data plane for tests: what is sent comes back.

use crate::testing::{of, start};
use core::ffi::c_int;
use core::ptr::null;
use libc::epoll_event;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const EDGE: u32 = libc::EPOLLET as u32;

fn set() -> OwnedFd {
    // SAFETY: makes a set.
    unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

fn tcp() -> OwnedFd {
    start();
    // SAFETY: makes a socket.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)) }
}

fn connect(socket: &OwnedFd, port: u16) -> Result<c_int, c_int> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([10, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    // SAFETY: the address is live.
    let call = || of(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), 16) });
    // Who does not wait hears first that it goes on, and asking again what became of it; at port 2 nothing ever does.
    match call() {
        Err(libc::EINPROGRESS) if port != 2 => call(),
        other => other,
    }
}

fn connected() -> OwnedFd {
    let socket = tcp();
    assert_eq!(connect(&socket, 80), Ok(0));
    socket
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: room for two.
    unsafe {
        libc::pipe(ends.as_mut_ptr());
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

fn write(fd: &OwnedFd, bytes: &[u8]) {
    // SAFETY: the bytes are live.
    let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    assert_eq!(count, bytes.len() as isize);
}

fn read(fd: &OwnedFd) -> usize {
    let mut room = [0u8; 64];
    // SAFETY: the room is live.
    unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) }.max(0) as usize
}

fn control(set: &OwnedFd, op: c_int, fd: c_int, events: u32) -> Result<c_int, c_int> {
    let mut event = epoll_event { events, u64: fd as u64 };
    // SAFETY: the event is live.
    of(unsafe { libc::epoll_ctl(set.as_raw_fd(), op, fd, &raw mut event) })
}

fn add(set: &OwnedFd, fd: &OwnedFd, events: u32) {
    assert_eq!(control(set, libc::EPOLL_CTL_ADD, fd.as_raw_fd(), events), Ok(0));
}

/// What a wait reports: descriptor and events, in order of descriptors.
fn wait(set: &OwnedFd, timeout: c_int) -> Vec<(c_int, u32)> {
    let mut events = [epoll_event { events: 0, u64: 0 }; 16];
    // SAFETY: room for 16.
    let count = of(unsafe { libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr(), 16, timeout) }).unwrap();
    let mut got: Vec<_> =
        events[..count as usize].iter().map(|event| (event.u64 as c_int, event.events)).collect();
    got.sort_unstable();
    got
}

fn of_fd(fd: &OwnedFd, events: u32) -> (c_int, u32) {
    (fd.as_raw_fd(), events)
}

const FOREVER: c_int = -1;

#[test]
fn sockets_of_both_worlds_are_in_one_set() {
    let (set, socket, (reader, writer)) = (set(), connected(), pipe());
    add(&set, &socket, IN);
    add(&set, &reader, IN);
    assert_eq!(wait(&set, 0), []);
    write(&socket, b"there");
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, IN)], "sleeps until it comes back");
    write(&writer, b"x");
    // Ours is always ready; the kernel's gets its turn.
    let mut seen = false;
    for _ in 0..16 {
        seen |= wait(&set, FOREVER).contains(&of_fd(&reader, IN));
    }
    assert!(seen);
    assert_eq!(read(&socket), 5);
    assert_eq!(wait(&set, FOREVER), [of_fd(&reader, IN)]);
    assert_eq!(read(&reader), 1);
    assert_eq!(wait(&set, 1), []);
}

#[test]
fn a_socket_that_is_not_connected_yet_hangs_up_and_one_that_is_does_not() {
    let (set, socket) = (set(), tcp());
    add(&set, &socket, IN | OUT);
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, OUT | HUP)]);
    assert_eq!(connect(&socket, 80), Ok(0));
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, OUT)]);
    assert_eq!(control(&set, libc::EPOLL_CTL_MOD, socket.as_raw_fd(), IN), Ok(0));
    assert_eq!(wait(&set, 0), []);
    write(&socket, b"there");
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, IN)]);
}

#[test]
fn a_refused_connection_hangs_up() {
    let (set, socket) = (set(), tcp());
    assert_eq!(connect(&socket, 1), Err(libc::ECONNREFUSED));
    add(&set, &socket, IN | OUT);
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, OUT | HUP)]);
}

#[test]
fn a_connection_that_is_being_opened_is_ready_for_nothing() {
    let (set, socket) = (set(), tcp());
    assert_eq!(connect(&socket, 2), Err(libc::EINPROGRESS));
    add(&set, &socket, IN | OUT);
    assert_eq!(wait(&set, 1), []);
}

#[test]
fn edges_are_told_once() {
    let (set, socket) = (set(), connected());
    add(&set, &socket, IN | OUT | EDGE);
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, OUT)]);
    assert_eq!(wait(&set, 1), []);
    write(&socket, b"there");
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, IN | OUT)]);
    assert_eq!(wait(&set, 1), []);
    write(&socket, b"again");
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, IN | OUT)]);
}

#[test]
fn room_after_a_write_that_found_none_is_an_edge() {
    let (set, socket) = (set(), tcp());
    assert_eq!(connect(&socket, 3), Ok(0)); // room for three bytes, and nothing is taken
    add(&set, &socket, OUT | EDGE);
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, OUT)]);
    write(&socket, b"abc");
    // SAFETY: the byte is live.
    assert_eq!(of(unsafe { libc::write(socket.as_raw_fd(), b"d".as_ptr().cast(), 1) }), Err(libc::EAGAIN));
    assert_eq!(wait(&set, 1), []);
}

#[test]
fn what_linux_refuses_is_refused() {
    let (set, socket, other) = (set(), connected(), pipe().0);
    let number = socket.as_raw_fd();
    let ctl = |op, events| control(&set, op, number, events);
    assert_eq!(ctl(libc::EPOLL_CTL_MOD, IN), Err(libc::ENOENT));
    assert_eq!(ctl(libc::EPOLL_CTL_DEL, IN), Err(libc::ENOENT));
    assert_eq!(ctl(99, IN), Err(libc::EINVAL));
    assert_eq!(
        ctl(libc::EPOLL_CTL_ADD, IN | libc::EPOLLEXCLUSIVE as u32 | libc::EPOLLRDHUP as u32),
        Err(libc::EINVAL)
    );
    assert_eq!(ctl(libc::EPOLL_CTL_ADD, IN | libc::EPOLLEXCLUSIVE as u32), Ok(0));
    assert_eq!(ctl(libc::EPOLL_CTL_MOD, IN), Err(libc::EINVAL), "exclusive interest cannot be changed");
    assert_eq!(ctl(libc::EPOLL_CTL_ADD, IN), Err(libc::EEXIST));
    assert_eq!(control(&other, libc::EPOLL_CTL_ADD, number, IN), Err(libc::EINVAL), "no set");
    assert_eq!(control(&socket, libc::EPOLL_CTL_ADD, number, IN), Err(libc::EINVAL), "into itself");
    // SAFETY: nothing is read.
    let nowhere =
        unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, number, core::ptr::null_mut()) };
    assert_eq!(of(nowhere), Err(libc::EFAULT));
    let mut events = [epoll_event { events: 0, u64: 0 }; 1];
    // SAFETY: room for one.
    let none = unsafe { libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr(), 0, 0) };
    assert_eq!(of(none), Err(libc::EINVAL));
    assert_eq!(ctl(libc::EPOLL_CTL_DEL, 0), Ok(0));
}

#[test]
fn the_last_close_takes_a_socket_out_and_a_copy_keeps_it_in() {
    let (set, socket) = (set(), connected());
    let number = socket.as_raw_fd();
    add(&set, &socket, OUT);
    let copy = socket.try_clone().unwrap();
    drop(socket);
    assert_eq!(wait(&set, FOREVER), [(number, OUT)]);
    drop(copy);
    assert_eq!(wait(&set, 1), []);
}

#[test]
fn a_thread_that_sleeps_in_the_set_hears_of_a_socket_that_is_put_in() {
    for strangers in [true, false] {
        let (set, socket, first) = (set(), connected(), connected());
        if !strangers {
            add(&set, &first, IN);
        }
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| wait(&set, FOREVER));
            std::thread::sleep(std::time::Duration::from_millis(20)); // so that it sleeps, most of the time
            add(&set, &socket, OUT);
            assert_eq!(sleeper.join().unwrap(), [of_fd(&socket, OUT)]);
        });
    }
}

#[test]
fn two_threads_in_one_set_both_hear_of_what_one_leaves() {
    let (set, one, other) = (set(), connected(), connected());
    add(&set, &one, IN | EDGE);
    add(&set, &other, IN | EDGE);
    let one_event = || {
        let mut event = epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one.
        of(unsafe { libc::epoll_wait(set.as_raw_fd(), &raw mut event, 1, FOREVER) })
            .map(|_| event.u64 as c_int)
    };
    std::thread::scope(|scope| {
        let sleepers = [scope.spawn(one_event), scope.spawn(one_event)];
        write(&one, b"x");
        write(&other, b"x");
        let mut woken = sleepers.map(|sleeper| sleeper.join().unwrap().unwrap());
        woken.sort_unstable();
        let mut all = [one.as_raw_fd(), other.as_raw_fd()];
        all.sort_unstable();
        assert_eq!(woken, all);
    });
}

#[test]
fn sets_are_in_sets_and_in_poll() {
    let (inner, outer, socket) = (set(), set(), connected());
    add(&inner, &socket, IN);
    add(&outer, &inner, IN);
    assert_eq!(control(&inner, libc::EPOLL_CTL_ADD, outer.as_raw_fd(), IN), Err(libc::ELOOP));
    assert_eq!(wait(&outer, 0), []);
    write(&socket, b"x");
    assert_eq!(wait(&outer, FOREVER), [of_fd(&inner, IN)]);
    let mut fds = [libc::pollfd { fd: outer.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    // SAFETY: one descriptor.
    assert_eq!(unsafe { libc::poll(fds.as_mut_ptr(), 1, FOREVER) }, 1);
    assert_eq!(wait(&inner, FOREVER), [of_fd(&socket, IN)]);
    read(&socket);
    assert_eq!(wait(&outer, 1), []);
    // SAFETY: one descriptor.
    assert_eq!(unsafe { libc::poll(fds.as_mut_ptr(), 1, 1) }, 0);
    // A copy is the same set.
    let copy = inner.try_clone().unwrap();
    drop(inner);
    write(&socket, b"x");
    assert_eq!(wait(&copy, FOREVER), [of_fd(&socket, IN)]);
}

#[test]
fn a_copy_that_was_made_of_an_empty_set_is_the_same_set() {
    let (set, socket) = (set(), connected());
    let copy = set.try_clone().unwrap();
    add(&copy, &socket, OUT);
    assert_eq!(wait(&set, FOREVER), [of_fd(&socket, OUT)]);
}

#[test]
fn calls_by_number_reach_the_socket() {
    let socket = connected();
    let mut bytes = *b"x";
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: zeros are a message without anything; all is live.
    unsafe {
        let mut one: libc::mmsghdr = core::mem::zeroed();
        (one.msg_hdr.msg_iov, one.msg_hdr.msg_iovlen) = (&raw mut vector, 1);
        assert_eq!(libc::syscall(libc::SYS_sendmmsg, socket.as_raw_fd(), &raw mut one, 1, 0), 1);
        while libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), &raw mut one.msg_hdr, 0) != 1 {}
        assert_eq!(libc::syscall(libc::SYS_getppid), i64::from(libc::getppid()), "others go to the kernel");
        assert_eq!(of(libc::syscall(libc::SYS_kill, 0, 99)), Err(libc::EINVAL));
    }
}

#[test]
fn poll_looks_at_both_worlds() {
    let (socket, (reader, writer)) = (connected(), pipe());
    let mut fds = [socket.as_raw_fd(), reader.as_raw_fd(), -1, 999_999].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 7,
    });
    let mut poll = |count: u64, timeout| {
        // SAFETY: there are as many.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), count, timeout) };
        (ready, fds.map(|one| one.revents))
    };
    assert_eq!(poll(3, 1), (0, [0, 0, 0, 7]));
    write(&writer, b"x");
    write(&socket, b"x");
    // What was sent comes back in its own time.
    while poll(3, FOREVER).0 < 2 {}
    assert_eq!(poll(3, FOREVER), (2, [libc::POLLIN, libc::POLLIN, 0, 7]));
    assert_eq!(poll(4, FOREVER).0, 3);
    assert_eq!(fds[3].revents, libc::POLLNVAL);
}

#[test]
fn select_looks_at_both_worlds() {
    let (socket, (reader, writer)) = (connected(), pipe());
    let count = socket.as_raw_fd().max(reader.as_raw_fd()) + 1;
    let select = |timeout: i64| {
        // SAFETY: zeros are empty sets; all is live.
        unsafe {
            let mut read: libc::fd_set = core::mem::zeroed();
            let mut write: libc::fd_set = core::mem::zeroed();
            libc::FD_SET(socket.as_raw_fd(), &raw mut read);
            libc::FD_SET(reader.as_raw_fd(), &raw mut read);
            libc::FD_SET(socket.as_raw_fd(), &raw mut write);
            let mut time = libc::timeval { tv_sec: timeout, tv_usec: 0 };
            let ready =
                libc::select(count, &raw mut read, &raw mut write, core::ptr::null_mut(), &raw mut time);
            let has = |fd: &OwnedFd, set: &libc::fd_set| libc::FD_ISSET(fd.as_raw_fd(), set);
            (ready, has(&socket, &read), has(&reader, &read), has(&socket, &write))
        }
    };
    assert_eq!(select(5), (1, false, false, true));
    write(&writer, b"x");
    assert_eq!(select(5), (2, false, true, true));
    write(&socket, b"x");
    while select(5).0 < 3 {}
    assert_eq!(select(5), (3, true, true, true));
    // SAFETY: zeros are an empty set.
    let mut bad: libc::fd_set = unsafe { core::mem::zeroed() };
    // SAFETY: within the set.
    unsafe {
        libc::FD_SET(socket.as_raw_fd(), &raw mut bad);
        libc::FD_SET(1000, &raw mut bad);
        let ready = libc::select(
            1001,
            &raw mut bad,
            core::ptr::null_mut(),
            core::ptr::null_mut(),
            core::ptr::null_mut(),
        );
        assert_eq!(of(ready), Err(libc::EBADF));
    }
}

extern "C" fn nothing(_signal: c_int) {}

#[test]
fn a_signal_ends_a_wait_only_when_the_mask_of_the_wait_lets_it_in() {
    let (set, socket) = (set(), connected());
    add(&set, &socket, IN);
    // SAFETY: all is live; the signal is this thread's own.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR2, &raw const action, core::ptr::null_mut());
        let mut block: libc::sigset_t = core::mem::zeroed();
        libc::sigaddset(&raw mut block, libc::SIGUSR2);
        let mut before: libc::sigset_t = core::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const block, &raw mut before);
        libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2);
        let mut event = epoll_event { events: 0, u64: 0 };
        let mut wait = |mask| of(libc::epoll_pwait(set.as_raw_fd(), &raw mut event, 1, 20, mask));
        assert_eq!(wait(null()), Ok(0), "it stays pending");
        assert_eq!(wait(&raw const before), Err(libc::EINTR));
        let mut fd = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2);
        assert_eq!(of(libc::ppoll(&raw mut fd, 1, null(), &raw const before)), Err(libc::EINTR));
        libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2);
        write(&socket, b"x");
        let time = libc::timespec { tv_sec: 60, tv_nsec: 0 };
        // Readiness comes before the signal, if it is there when the wait begins.
        while libc::poll(&raw mut fd, 1, FOREVER) == 0 {}
        assert_eq!(of(libc::ppoll(&raw mut fd, 1, &raw const time, &raw const before)), Ok(1));
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut());
    }
}
