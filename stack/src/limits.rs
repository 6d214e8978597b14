//! Every bound of the stack, named, with its reason. What the configuration may change says so; what is
//! beyond a bound is refused or dropped with a reason, never a panic. Each bound is tested at its edge.

/// Frames in a burst. 64 is what one need-wakeup cycle of a copy-mode AF_XDP socket brings under load, and
/// what keeps a burst's headers (64 × 64 B) within a tenth of the L1 data cache.
pub const BURST: usize = 64;

/// Ports (interfaces) of one data plane. A [`crate::PortId`] is below this.
pub const MAX_PORTS: usize = 64;

/// Workers (cores) of one data plane.
pub const MAX_WORKERS: usize = 64;

/// Addresses of one family on one port.
pub const MAX_ADDRESSES: usize = 64;

/// IPv6 extension headers that are walked to find the upper-layer protocol (RFC 8200 section 4 allows any
/// number; RFC 8504 section 5.3 lets a node bound it). A chain that is longer is dropped with a reason.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Bytes of extension headers that are walked (RFC 8504 section 5.3).
pub const MAX_EXTENSION_BYTES: usize = 512;

/// Smallest MTU of an IPv4 port in bytes (RFC 791: 68; below it a fragment could carry no data).
pub const MIN_MTU_IPV4: u16 = 68;

/// Smallest MTU of an IPv6 port in bytes (RFC 8200 section 5).
pub const MIN_MTU_IPV6: u16 = 1280;

/// Largest MTU of a port in bytes.
pub const MAX_MTU: u16 = 9216;

/// Neighbours of one worker, both families together. A [`crate::neighbour::NeighbourId`] has 16 bits for the
/// place and 16 for the generation, so that one word holds it and one compare finds a stale one.
pub const MAX_NEIGHBOURS: usize = 1 << 16;

/// Entries of the neighbour table in one hash bucket. With at least two buckets an entry and a keyed hash, 16
/// in one bucket is rarer than a broken machine; a 17th is refused, so that a lookup is at most 16 compares.
pub const MAX_NEIGHBOUR_CHAIN: usize = 16;

/// Packets that wait for neighbours at one worker: one byte's worth of bursts, far more than any pool spares.
pub const MAX_NEIGHBOUR_PENDING: usize = 1 << 16;

/// Solicitations that wait to be sent at the end of a worker's turn. Four bursts: a turn cannot cause more
/// than one a packet and one an expired timer; one that finds no room is made up for by the next retransmission.
pub const NEIGHBOUR_SOLICITS: usize = 256;

/// Facts for other workers that wait for the end of a turn. One that finds no room is counted and lost: the
/// other workers then ask by themselves.
pub const NEIGHBOUR_FACTS: usize = 256;
