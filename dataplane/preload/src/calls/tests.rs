//! Programs' calls, on a data plane that sends everything back.

use crate::testing::{of, start};
use core::ffi::c_int;
use core::mem::zeroed;
use core::ptr::null_mut;
use libc::*;
use std::time::{Duration, Instant};

const ECHO: u16 = 7;

fn address(ip: [u8; 4], port: u16) -> sockaddr_in {
    let sin_addr = in_addr { s_addr: u32::from_ne_bytes(ip) };
    sockaddr_in { sin_family: AF_INET as sa_family_t, sin_port: port.to_be(), sin_addr, sin_zero: [0; 8] }
}

fn at(address: &sockaddr_in) -> *const sockaddr {
    core::ptr::from_ref(address).cast()
}

const LEN: socklen_t = size_of::<sockaddr_in>() as socklen_t;

fn try_connect(fd: c_int, port: u16) -> Result<c_int, c_int> {
    // SAFETY: the address is live.
    of(unsafe { connect(fd, at(&address([10, 0, 0, 1], port)), LEN) })
}

fn make(kind: c_int) -> c_int {
    start();
    // SAFETY: makes a socket.
    of(unsafe { socket(AF_INET, kind, 0) }).unwrap()
}

fn connected(port: u16) -> c_int {
    let fd = make(SOCK_STREAM);
    try_connect(fd, port).unwrap();
    fd
}

fn say(fd: c_int, bytes: &[u8], flags: c_int) -> Result<isize, c_int> {
    // SAFETY: the bytes are live.
    of(unsafe { send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

fn hear(fd: c_int, room: usize, flags: c_int) -> Result<Vec<u8>, c_int> {
    let mut bytes = vec![0; room];
    // SAFETY: the room is live.
    let len = of(unsafe { recv(fd, bytes.as_mut_ptr().cast(), room, flags) })?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

fn option<T>(fd: c_int, level: c_int, name: c_int, value: &T) -> Result<c_int, c_int> {
    // SAFETY: the value is live.
    of(unsafe { setsockopt(fd, level, name, core::ptr::from_ref(value).cast(), size_of::<T>() as socklen_t) })
}

fn end(fd: c_int) {
    // SAFETY: the descriptor is the test's.
    of(unsafe { close(fd) }).unwrap();
}

fn end_of_patience(fd: c_int, name: c_int, millis: i64) {
    option(fd, SOL_SOCKET, name, &timeval { tv_sec: 0, tv_usec: millis * 1000 }).unwrap();
}

#[test]
fn bytes_come_back_whole_peeked_at_and_in_pieces() {
    let fd = connected(ECHO);
    assert_eq!(say(fd, b"hello, world", 0), Ok(12));
    assert_eq!(hear(fd, 5, MSG_PEEK | MSG_WAITALL).unwrap(), b"hello");
    assert_eq!(hear(fd, 12, MSG_WAITALL).unwrap(), b"hello, world");
    assert_eq!(hear(fd, 5, MSG_DONTWAIT), Err(EAGAIN));
    say(fd, b"thrown away", 0).unwrap();
    assert_eq!(hear(fd, 11, MSG_WAITALL | MSG_TRUNC).unwrap().len(), 11);
    assert_eq!(hear(fd, 0, MSG_DONTWAIT), Err(EAGAIN), "nothing to read is not the end");
    end(fd);
}

#[test]
fn a_call_waits_as_long_as_its_timeout_says() {
    let fd = connected(ECHO);
    end_of_patience(fd, SO_RCVTIMEO, 30);
    let begin = Instant::now();
    assert_eq!(hear(fd, 5, 0), Err(EAGAIN));
    assert!(begin.elapsed() >= Duration::from_millis(30));
    end(fd);
}

#[test]
fn a_blocking_send_gives_what_found_room_before_its_time_was_over() {
    let fd = connected(3);
    end_of_patience(fd, SO_SNDTIMEO, 20);
    assert_eq!(say(fd, b"12345", 0), Ok(3));
    assert_eq!(say(fd, b"45", 0), Err(EAGAIN));
    assert_eq!(say(fd, b"", 0), Ok(0));
    end(fd);
}

#[test]
fn a_connection_is_refused_or_in_progress_and_the_socket_can_be_used_again() {
    let fd = make(SOCK_STREAM);
    assert_eq!(try_connect(fd, 1), Err(ECONNREFUSED));
    try_connect(fd, ECHO).unwrap();
    end(fd);
    let fd = make(SOCK_STREAM | SOCK_NONBLOCK);
    assert_eq!(try_connect(fd, 2), Err(EINPROGRESS));
    assert_eq!(try_connect(fd, 2), Err(EALREADY));
    assert_eq!(say(fd, b"x", 0), Err(EAGAIN), "not yet");
    end(fd);
    let fd = make(SOCK_STREAM | SOCK_NONBLOCK);
    assert_eq!(try_connect(fd, ECHO), Err(EINPROGRESS), "though it stands already");
    assert_eq!(try_connect(fd, ECHO), Ok(0), "told once");
    end(fd);
}

#[test]
fn a_connection_that_one_thread_waits_for_is_seen_by_the_others() {
    let fd = make(SOCK_STREAM);
    // Nobody answers: it waits longer than this test.
    option(fd, SOL_SOCKET, SO_SNDTIMEO, &timeval { tv_sec: 60, tv_usec: 0 }).unwrap();
    let waits = std::thread::spawn(move || try_connect(fd, 2));
    // The kernel's socket behind it, which nobody connects, hangs up.
    let mut asked = pollfd { fd, events: POLLIN, revents: 0 };
    // SAFETY: one descriptor is asked about.
    while of(unsafe { poll(&raw mut asked, 1, 0) }).unwrap() != 0 {
        assert!(!waits.is_finished(), "the others saw the kernel's socket: {:#x}", asked.revents);
        std::thread::yield_now();
    }
    assert!(!waits.is_finished());
}

#[test]
fn nothing_is_sent_after_the_end() {
    let fd = connected(ECHO);
    // SAFETY: the descriptor is the test's.
    of(unsafe { shutdown(fd, SHUT_RDWR) }).unwrap();
    assert_eq!(hear(fd, 5, 0).unwrap(), b"");
    assert_eq!(say(fd, b"x", MSG_NOSIGNAL), Err(EPIPE));
    end(fd);
}

#[test]
fn non_blocking_mode_is_shared_by_duplicates() {
    let fd = connected(ECHO);
    // SAFETY: the descriptors are the test's.
    let other = of(unsafe { dup(fd) }).unwrap();
    // SAFETY: as above.
    unsafe {
        of(fcntl(other, F_SETFL, O_NONBLOCK)).unwrap();
        assert_eq!(of(fcntl(fd, F_GETFL)).unwrap() & O_NONBLOCK, O_NONBLOCK);
    }
    assert_eq!(hear(fd, 1, 0), Err(EAGAIN));
    end(fd);
    assert_eq!(say(other, b"still open", 0), Ok(10));
    end(other);
    assert_eq!(say(other, b"x", 0), Err(EBADF));
}

#[test]
fn datagrams_keep_their_bounds_and_bring_what_was_asked_for() {
    let fd = make(SOCK_DGRAM);
    option(fd, SOL_IP, IP_RECVTTL, &1).unwrap();
    try_connect(fd, 9).unwrap();
    for datagram in [&b"first"[..], b"", b"third"] {
        assert_eq!(say(fd, datagram, 0), Ok(datagram.len() as isize));
    }
    let (mut bytes, mut control) = ([0u8; 3], [0u8; 64]);
    let mut from = address([0; 4], 0);
    let mut list = [iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 3 }];
    // SAFETY: zeros are a valid header, and what it names is live.
    unsafe {
        let mut header: msghdr = zeroed();
        header.msg_iov = list.as_mut_ptr();
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = LEN;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        assert_eq!(of(recvmsg(fd, &raw mut header, MSG_TRUNC)), Ok(5));
        assert_eq!(header.msg_flags, MSG_TRUNC);
        let message = &*CMSG_FIRSTHDR(&raw const header);
        assert_eq!((message.cmsg_level, message.cmsg_type, *CMSG_DATA(message)), (SOL_IP, IP_TTL, 33));
        assert!(CMSG_NXTHDR(&raw const header, message).is_null());
    }
    assert_eq!((&bytes, from.sin_port), (b"fir", 9u16.to_be()));
    assert_eq!(hear(fd, 9, 0).unwrap(), b"");
    assert_eq!(hear(fd, 9, 0).unwrap(), b"third");
    assert_eq!(hear(fd, 9, MSG_ERRQUEUE), Err(EAGAIN));
    assert_eq!(say(fd, &[0; 9000], 0), Err(EMSGSIZE), "longer than the ring");
    end(fd);
}

/// A control message: its type, and its data.
type Told = (c_int, Vec<u8>);

/// Sends to port 4, and gives what recvmsg gives: its flags, and the control messages.
fn ip_options(asked: &[c_int], datagram: &[u8]) -> Result<(c_int, Vec<Told>), c_int> {
    let fd = make(SOCK_DGRAM);
    for name in asked {
        option(fd, SOL_IP, *name, &1).unwrap();
    }
    try_connect(fd, 4).unwrap();
    say(fd, datagram, 0).unwrap();
    let mut control = [0u64; 32];
    // SAFETY: everything named is live, and the kernel's macros walk what the call wrote.
    let heard = unsafe {
        let mut header: msghdr = zeroed();
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        of(recvmsg(fd, &raw mut header, 0)).map(|_| {
            let mut list = Vec::new();
            let mut message = CMSG_FIRSTHDR(&raw const header);
            while let Some(one) = message.as_ref() {
                let len = one.cmsg_len - CMSG_LEN(0) as usize;
                list.push((one.cmsg_type, core::slice::from_raw_parts(CMSG_DATA(one), len).to_vec()));
                message = CMSG_NXTHDR(&raw const header, one);
            }
            (header.msg_flags & !MSG_TRUNC, list)
        })
    };
    end(fd);
    heard
}

#[test]
fn ip_options_come_to_who_asks_and_lengths_that_cannot_be_are_an_error() {
    let (both, route) = ([IP_RECVOPTS, IP_RETOPTS], [3, 2, 7, 3, 4, 7, 3]);
    let (received, returned) = ((IP_RECVOPTS, vec![7, 3, 4]), (IP_RETOPTS, vec![7, 3]));
    assert_eq!(ip_options(&both, &route), Ok((0, vec![received.clone(), returned.clone()])));
    assert_eq!(ip_options(&both[..1], &route), Ok((0, vec![received.clone()])));
    assert_eq!(ip_options(&both[1..], &route), Ok((0, vec![returned])));
    assert_eq!(ip_options(&[], &route), Ok((0, vec![])));
    assert_eq!(ip_options(&both, &[0, 0]), Ok((0, vec![])));
    assert_eq!(ip_options(&both, &[3, 0xff, 7, 3, 4]), Ok((MSG_CTRUNC, vec![received])), "none to return");
    let long = |options, returned, behind| [vec![options, returned], vec![1; behind]].concat();
    let (kind, most) = (|(kind, data): &Told| (*kind, data.len()), ip_options(&both, &long(40, 40, 80)));
    assert_eq!(most.unwrap().1.iter().map(kind).collect::<Vec<_>>(), [(IP_RECVOPTS, 40), (IP_RETOPTS, 40)]);
    // More than a header holds, and more than there is.
    for wrong in [long(41, 0, 41), long(4, 41, 45), long(4, 254, 258), long(40, 40, 79), long(3, 0xff, 2)] {
        assert_eq!(ip_options(&both, &wrong), Err(EIO), "{wrong:?}");
    }
}

#[test]
fn a_signal_ends_a_call_unless_it_restarts() {
    extern "C" fn ignore(_: c_int) {}
    let fd = connected(ECHO);
    for (flags, restarts) in [(0, false), (SA_RESTART, true)] {
        // SAFETY: a handler that does nothing; a thread that is joined.
        unsafe {
            let mut action: sigaction = zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            action.sa_flags = flags;
            of(sigaction(SIGUSR1, &raw const action, null_mut())).unwrap();
            let me = pthread_self();
            let done = std::sync::atomic::AtomicBool::new(false);
            let heard = std::thread::scope(|scope| {
                let done = &done;
                scope.spawn(move || {
                    for _ in 0..20 {
                        std::thread::sleep(Duration::from_millis(5));
                        if done.load(std::sync::atomic::Ordering::SeqCst) {
                            return;
                        }
                        pthread_kill(me, SIGUSR1);
                    }
                    say(fd, b"at last", 0).unwrap();
                });
                let heard = hear(fd, 7, 0);
                done.store(true, std::sync::atomic::Ordering::SeqCst);
                heard
            });
            let expected = if restarts { Ok(b"at last".to_vec()) } else { Err(EINTR) };
            assert_eq!(heard, expected);
        }
    }
    end(fd);
}

#[test]
fn a_socket_of_both_hears_from_the_kernel_and_from_flumen() {
    let fd = make(SOCK_DGRAM);
    // SAFETY: addresses are live.
    unsafe {
        of(bind(fd, at(&address([0; 4], 0)), LEN)).unwrap();
        let (mut name, mut len) = (address([0; 4], 0), LEN);
        of(getsockname(fd, (&raw mut name).cast(), &raw mut len)).unwrap();
        assert_ne!(name.sin_port, 0);
        let kernel = address([127, 0, 0, 1], u16::from_be(name.sin_port));
        let flumen = address([10, 0, 0, 1], 99);
        for to in [&kernel, &flumen] {
            of(sendto(fd, b"to whom".as_ptr().cast(), 7, 0, at(to), LEN)).unwrap();
            assert_eq!(hear(fd, 9, 0).unwrap(), b"to whom");
        }
    }
    assert_eq!(hear(fd, 9, MSG_DONTWAIT), Err(EAGAIN));
    end(fd);
}

#[test]
fn what_is_the_kernels_is_left_alone_and_a_datagram_socket_may_come_back() {
    start();
    for (kind, stays) in [(SOCK_STREAM, false), (SOCK_DGRAM, true)] {
        let fd = make(kind);
        // SAFETY: the address is live. (Nobody listens there: TCP is refused.)
        let _refused = of(unsafe { connect(fd, at(&address([127, 0, 0, 1], 9)), LEN) });
        assert_eq!(crate::table::get(fd).is_some(), stays);
        end(fd);
    }
    let fd = make(SOCK_DGRAM);
    // SAFETY: the address is live.
    of(unsafe { bind(fd, at(&address([127, 0, 0, 1], 0)), LEN) }).unwrap();
    assert!(crate::table::get(fd).is_none(), "its name says whose it is");
    end(fd);
}

#[test]
fn our_own_descriptors_cannot_be_closed() {
    start();
    let attachment = crate::attach::current().unwrap();
    let own = std::os::fd::AsRawFd::as_raw_fd(&attachment.connection());
    // SAFETY: closes nothing.
    assert_eq!(of(unsafe { close(own) }), Err(EBADF));
    assert!(attachment.look());
}

#[test]
fn a_stream_reads_and_writes_a_socket_and_closes_it() {
    let fd = connected(ECHO);
    // SAFETY: the stream is live until it is closed, and the room is.
    unsafe {
        let stream = fdopen(fd, c"r+".as_ptr());
        assert!(!stream.is_null());
        assert_eq!(fileno(stream), fd);
        assert!(fputs(c"a line\n".as_ptr(), stream) >= 0 && fflush(stream) == 0);
        let mut line = [0; 32];
        assert!(!fgets(line.as_mut_ptr(), 32, stream).is_null());
        assert_eq!(core::ffi::CStr::from_ptr(line.as_ptr()), c"a line\n");
        assert_eq!(fclose(stream), 0);
    }
    assert_eq!(say(fd, b"x", 0), Err(EBADF));
}

#[test]
fn a_buffer_that_was_sent_without_a_copy_is_told_of_once() {
    let fd = connected(ECHO);
    assert_eq!(say(fd, b"no notice", MSG_ZEROCOPY), Ok(9), "nobody asked for any");
    assert_eq!(hear(fd, 9, MSG_ERRQUEUE), Err(EAGAIN));
    option(fd, SOL_SOCKET, SO_ZEROCOPY, &1).unwrap();
    for _ in 0..3 {
        say(fd, b"notice", MSG_ZEROCOPY).unwrap();
    }
    let mut control = [0u8; 64];
    // SAFETY: zeros are a valid header, and what it names is live.
    unsafe {
        let mut header: msghdr = zeroed();
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        assert_eq!(of(recvmsg(fd, &raw mut header, MSG_ERRQUEUE)), Ok(0));
        let said = CMSG_DATA(CMSG_FIRSTHDR(&raw const header)).cast::<sock_extended_err>().read_unaligned();
        assert_eq!((said.ee_origin, said.ee_code, said.ee_info, said.ee_data), (5, 1, 0, 2));
    }
    assert_eq!(hear(fd, 9, MSG_ERRQUEUE), Err(EAGAIN));
    end(fd);
}
