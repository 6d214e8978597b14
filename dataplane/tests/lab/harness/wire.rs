//! A raw link: frames as they are, out and in, by a packet socket in the namespace of the client or the
//! server. What comes in while nobody looks waits in the socket's buffer.

use super::{Lab, Role};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A frame that nobody answered for this long is not coming: replies take well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

/// Linux's mark of frames that this host itself sent (linux/if_packet.h).
const PACKET_OUTGOING: u8 = 4;

/// The raw link of one host.
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    pub(super) fn open(lab: &Lab, role: Role) -> Wire {
        let opened = lab.within(role, move || {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                    .expect("root may open packet sockets");
            bind(socket.as_raw_fd(), &link_address(role.interface())).expect("the interface is there");
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).expect("root may ask for buffers");
            // Short, so that a deadline is noticed; nothing is lost between two looks.
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000)).expect("a timeout");
            socket
        });
        Wire { socket: opened.join().expect("a packet socket") }
    }

    /// Puts a frame on the wire.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        while let Err(error) = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            // The queue of the device is full: it empties by itself.
            assert_eq!(error, nix::errno::Errno::ENOBUFS, "a frame of {} bytes", frame.len());
            std::thread::yield_now();
        }
    }

    /// The first frame from now on of which `wanted` makes something; the test fails when none comes.
    #[track_caller]
    pub fn expect<T>(&self, what: &str, wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        self.find(PATIENCE, wanted).unwrap_or_else(|| panic!("waited in vain for {what}"))
    }

    /// The first frame within `time` of which `wanted` makes something.
    pub fn find<T>(&self, time: Duration, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time;
        let mut buffer = vec![0; 1 << 16];
        while Instant::now() < deadline {
            if let Some(length) = self.next(&mut buffer)
                && let Some(found) = wanted(&buffer[..length])
            {
                return Some(found);
            }
        }
        None
    }

    /// Waits until something is there on one of several wires: its place among them; `None` when the time is over.
    pub fn wait(wires: &[&Wire], time: Duration) -> Option<usize> {
        let mut fds: Vec<_> = wires.iter().map(|wire| PollFd::new(&wire.socket, PollFlags::IN)).collect();
        let time = time.try_into().expect("a short time");
        match poll(&mut fds, Some(&time)) {
            Ok(_) => fds.iter().position(|fd| !fd.revents().is_empty()),
            Err(Errno::INTR) => None,
            Err(error) => panic!("poll: {error}"),
        }
    }

    /// One frame that somebody else sent, if there is one soon.
    pub fn next(&self, buffer: &mut [u8]) -> Option<usize> {
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
            Ok((_, Some(from))) if from.pkttype() == PACKET_OUTGOING => None,
            Ok((length, _)) => Some(length),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => None,
            Err(error) => panic!("packet socket: {error}"),
        }
    }
}

/// The packet-socket address of an interface of this thread's namespace.
fn link_address(interface: &str) -> LinkAddr {
    nix::ifaddrs::getifaddrs()
        .expect("the interfaces can be listed")
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .filter(|address| address.family() == Some(AddressFamily::Packet))
        .unwrap_or_else(|| panic!("no interface {interface}"))
}
