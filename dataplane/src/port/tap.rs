//! `tap` ports: the other end of a kernel interface that packets are written to and read from (/dev/net/tun).
//!
//! ```text
//!   the host's programs ── kernel ── tap0 ═══ this port ── worker
//! ```
//!
//! For trials without AF_XDP and without root: `ip tuntap add dev tap0 mode tap user ME` once, as root, and then everything
//! runs as ME. With CAP_NET_ADMIN the interface is made here, brought up, and gone with us. A packet costs a system call
//! and a copy each way, so this is the slow kind of port; in all else it is one like the others.
//!
//! Linux leaves checksums of its own packets to us (as behind veth): the policy `auto` repairs them.

use crate::mempool::{PoolFrame, WorkerPool};
use arrayvec::ArrayVec;
use flumen_stack::counters::Counters;
use flumen_stack::egress::TxQueue;
use flumen_stack::{Burst, DropReason, Frame, FramePool, PortId};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Segments of a packet that one call writes; a frame has no more (`af_xdp::MAX_CHAIN`).
const MAX_SEGMENTS: usize = 64;

/// Why a TAP cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// We may neither make it nor use one that is there.
    #[error(
        "may not use the TAP interface {interface}: run as root, or make it once with \
         `ip tuntap add dev {interface} mode tap user {user}` and `ip link set {interface} up`"
    )]
    Forbidden {
        /// Its name.
        interface: String,
        /// Who we are.
        user: u32,
    },
    /// We may not open the kernel's device, or there is none.
    #[error("cannot open {device}: {0}; {advice}", device = DEVICE, advice = advice(.0))]
    NoDevice(io::Error),
    /// Another process has it.
    #[error("the TAP interface {0} is in use by another process")]
    Busy(String),
    /// Something else.
    #[error("the TAP interface {interface}: {source}")]
    Io {
        /// Its name.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Where TAP interfaces come from.
pub const DEVICE: &str = "/dev/net/tun";

/// What to do where it cannot be opened.
fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("run as root, or let everybody: `chmod 0666 {DEVICE}`"),
        _ => "`modprobe tun` makes it, where the kernel has it".to_owned(),
    }
}

/// Whether this process may open it.
///
/// # Errors
/// The kernel's.
pub fn may_open_device() -> io::Result<()> {
    File::options().read(true).write(true).open(DEVICE).map(drop)
}

/// One end of a TAP.
pub struct TapPort {
    device: SyncDevice,
    /// Bytes of the longest frame that can come.
    room: usize,
    /// The interface is gone.
    pub gone: bool,
}

impl core::fmt::Debug for TapPort {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TapPort").field("room", &self.room).finish_non_exhaustive()
    }
}

impl TapPort {
    /// Opens the TAP of this name, and makes it where it is not there. `room`: bytes of the longest frame.
    ///
    /// # Errors
    /// What the kernel does not allow, in words that say what to do.
    pub fn open(interface: &str, room: usize) -> Result<TapPort, TapError> {
        may_open_device().map_err(TapError::NoDevice)?;
        let ours = !Path::new("/sys/class/net").join(interface).exists();
        let builder = DeviceBuilder::new().name(interface).layer(Layer::L2);
        // One that was there keeps the state that its owner gave it.
        let builder = if ours { builder.enable(true) } else { builder.inherit_enable_state() };
        let device = builder.build_sync().map_err(|source| explain(interface, source))?;
        device.set_nonblocking(true).map_err(|source| explain(interface, source))?;
        Ok(TapPort { device, room, gone: false })
    }

    /// Takes up to `max` packets that the kernel sent.
    pub fn receive(&mut self, pool: &mut WorkerPool, burst: &mut Burst<PoolFrame>, max: usize) {
        for _ in 0..max.min(burst.remaining_capacity()) {
            if self.gone {
                return;
            }
            // Without a frame the packet waits in the kernel's queue.
            let Some(mut frame) = pool.alloc() else { return };
            if !frame.append(self.room) {
                return;
            }
            match rustix::io::read(&self.device, &mut frame[..]) {
                Ok(len) => {
                    frame.truncate(len);
                    burst.push(frame);
                }
                Err(Errno::INTR) => {}
                // EIO: the interface is down, and may come back.
                Err(Errno::AGAIN | Errno::IO) => return,
                Err(_) => self.gone = true,
            }
        }
    }

    /// Sends what waits.
    pub fn transmit(
        &mut self,
        waiting: &mut TxQueue<PoolFrame>,
        port: PortId,
        counters: &mut Counters,
    ) -> usize {
        let mut sent = 0;
        while let Some(frame) = waiting.pop() {
            let result = write(&self.device, &frame);
            match result {
                Ok(()) => sent += 1,
                Err(Errno::AGAIN) => {
                    waiting.unpop(frame);
                    break;
                }
                Err(Errno::INTR) => waiting.unpop(frame),
                Err(Errno::IO | Errno::BADFD | Errno::NODEV) => {
                    counters.drop_unsent(port, DropReason::PortDown)
                }
                Err(_) => counters.drop_unsent(port, DropReason::TxRefused),
            }
        }
        sent
    }

    /// What a sleeping worker waits for.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Writes one packet, whatever it lies in.
fn write(device: &SyncDevice, frame: &PoolFrame) -> Result<(), Errno> {
    if !frame.is_chain() {
        return rustix::io::write(device, &frame[..]).map(|_| ());
    }
    let mut pieces = ArrayVec::<IoSlice<'_>, MAX_SEGMENTS>::new();
    let mut index = 0;
    while let Some(segment) = frame.segment(index) {
        if pieces.try_push(IoSlice::new(segment)).is_err() {
            return Err(Errno::MSGSIZE);
        }
        index += 1;
    }
    rustix::io::writev(device, &pieces).map(|_| ())
}

fn explain(interface: &str, source: io::Error) -> TapError {
    let interface = interface.to_owned();
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            TapError::Forbidden { interface, user: rustix::process::getuid().as_raw() }
        }
        Some(Errno::BUSY) => TapError::Busy(interface),
        _ => TapError::Io { interface, source },
    }
}
