//! The layout: who polls what, with how many frames: a [`Config`] laid over the facts of one machine.

use super::model::{ChecksumPolicy, PacketRule};
use flumen_stack::{MacAddr, PortId};

/// A configuration that fits the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// What is known of each port of the configuration, in its order.
    pub ports: Vec<PortLayout>,
    /// What each core of the configuration does, in its order.
    pub cores: Vec<CoreLayout>,
}

/// What is known of a port once its interface is.
#[derive(Debug, Clone, PartialEq)]
pub struct PortLayout {
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Our link-layer address.
    pub mac: MacAddr,
    /// Queues that we poll, ascending. Ports of other kinds than `af_xdp` have queue 0.
    pub queues: Vec<u16>,
    /// True when packets may come and go as chains.
    pub multi_buffer: bool,
    /// What to do about checksums: never `Auto`.
    pub checksum: ChecksumPolicy,
    /// Packets that are never ours (`never`, with the kernel's addresses put in).
    pub never: Vec<PacketRule>,
    /// False when the interface is not there, so that the above is assumed (only in a check).
    pub present: bool,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreLayout {
    /// The processor.
    pub cpu: usize,
    /// What it polls, in the order of the file. Each queue stands in the list of exactly one core.
    pub queues: Vec<QueueRef>,
    /// Frames of its pool: at least as many as `uses` add up to.
    pub frames: usize,
    /// Bytes of a frame.
    pub chunk: usize,
    /// What the frames are for.
    pub uses: Vec<FrameUse>,
}

/// One queue of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueRef {
    /// The port.
    pub port: PortId,
    /// The queue.
    pub queue: u16,
}

/// Why a pool has some of its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameUse {
    /// What they are for, for a person: `fill ring of lan:0`.
    pub what: String,
    /// How many, in frames (chunks).
    pub frames: usize,
}
