//! Closing a socket, and when its chunks may be used again.
//!
//! ```text
//!   out of the XSKMAP -> io_uring ended -> rings unmapped, descriptor closed -> seen to be over? -> chunks back
//!                                                                                    no, in time -> quarantine
//! ```
//!
//! `close` alone proves nothing. The kernel tears a socket down when the last reference goes, and a reference may
//! linger: in the mapping of a ring, in an io_uring, in a child process between fork and exec, in a packet on its
//! way. And the queue is taken away from a zero-copy driver by deferred work, until when the NIC may write into
//! chunks of the fill ring by DMA. A chunk that came back to the pool before that would be written under a
//! [`crate::Frame`].
//!
//! So we ask. The kernel lets one pool of buffers own a queue: binding another socket to it gives EBUSY until the
//! old one was disabled in the driver and is gone. A throw-away socket with a page of its own is bound to the queue; when
//! that works, or when the interface itself is gone (whose removal waits for its sockets), nobody writes any more.
//! If it keeps failing, because another process was quicker to take the queue or a reference stays somewhere, the chunks
//! are quarantined: never used again, counted, and the region is never unmapped.

use super::Socket;
use super::options::LinkState;
use super::setup::Probe;
use crate::sys;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// How often, and how long, the queue is asked for: 1 ms to 64 ms, a quarter of a second in all. The kernel's
/// deferred work takes some milliseconds; a driver that resets its queues takes longer.
const PAUSES: [u64; 9] = [0, 1, 2, 4, 8, 16, 32, 64, 128];

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            // An error means that the slot is empty already: the interface is gone.
            let _ = map.remove(self.grant.queue);
        }
        self.sqpoll = None;
        // Half a chain, and what was gathered, go back while their pool is there for certain.
        self.assembly = super::Assembly::Idle;
        self.bulk = None;
        let network = namespace(&*self.fd);
        // SAFETY: each is dropped once, here, and not used afterwards: `self` is being dropped.
        unsafe {
            ManuallyDrop::drop(&mut self.rx);
            ManuallyDrop::drop(&mut self.fill);
            ManuallyDrop::drop(&mut self.tx);
            ManuallyDrop::drop(&mut self.completion);
            ManuallyDrop::drop(&mut self.fd);
        }
        let done =
            network.is_ok_and(|network| queue_is_free(network, self.interface_index, self.grant.queue));
        self.core.close_rings(self.rings, done);
    }
}

/// Asks for the queue until it is free; false when it was not in time.
fn queue_is_free(network: u64, interface: u32, queue: u32) -> bool {
    for pause in PAUSES {
        std::thread::sleep(Duration::from_millis(pause));
        let Ok(probe) = Probe::new() else { return false };
        if namespace(&probe).ok() != Some(network) {
            return false; // this thread has moved to another namespace, where the index means another interface
        }
        match probe.bind(interface, queue) {
            Ok(()) => return true,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return error.raw_os_error() == Some(libc::ENODEV),
        }
    }
    false
}

/// The network namespace of a socket (SO_NETNS_COOKIE): a number that is never used twice while the machine runs.
fn namespace(fd: &impl AsRawFd) -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    sys::get_option::<u64>(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE).map(|(cookie, _)| cookie)
}

/// True when the socket is of the network namespace that this thread is in.
pub(super) fn is_at_home(fd: &OwnedFd) -> bool {
    let here = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).and_then(|probe| namespace(&probe));
    here.is_ok_and(|here| namespace(fd).is_ok_and(|its| its == here))
}

/// Looks at the socket's pending error and at the interface.
pub(super) fn link_state(fd: &OwnedFd, control: &OwnedFd, index: u32) -> LinkState {
    let pending = sys::get_option::<i32>(fd, libc::SOL_SOCKET, libc::SO_ERROR).map_or(0, |(error, _)| error);
    match crate::nic::flags_of(control, index) {
        Err(_) => LinkState::Gone,
        // The kernel leaves this error when it takes the interface away from the socket, also by a move to another
        // namespace; going down alone leaves none.
        Ok(_) if pending == libc::ENETDOWN => LinkState::Gone,
        Ok(flags) if flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0 => LinkState::Up,
        Ok(_) => LinkState::Down,
    }
}
