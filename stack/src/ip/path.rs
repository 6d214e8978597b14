//! Paths: the answer of the route stage. A path says what becomes of packets to a destination, in a form
//! that needs no further lookup: it is what the route cache holds.
//!
//! ```text
//!   (source, destination, in port) ──> cache ──hit──────────────────────────────> Path
//!                                        └─miss─> FIB(destination) ──> next hop ──> adjacency ──> Path
//!                                                 FIB(source): martian? reverse path?
//! ```
//!
//! Invariant: a path that names a neighbour names it by a [`NeighbourId`] with a generation, so a cached
//! path never sends to whoever took the neighbour's place.

use crate::neighbour::NeighbourId;
use crate::port::PortId;
use crate::route::NextHopId;
use crate::verdict::DropReason;

/// The last step out of this node: the port, and the neighbour on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The port.
    pub port: PortId,
    /// Largest packet that the link carries, in bytes.
    pub mtu: u16,
    /// The neighbour.
    pub neighbour: NeighbourId,
}

/// What becomes of packets to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// They leave by this hop.
    Hop(Hop),
    /// They are ours: the destination is an address of this node.
    Local,
    /// They are for a group that is routed.
    Multicast,
    /// They are for all on the link that they came from, us included.
    Broadcast,
    /// One of several hops takes them, chosen by flow.
    Multipath(NextHopId),
    /// They end here.
    Refuse(Refusal),
}

impl Default for Path {
    fn default() -> Self {
        Path::Refuse(Refusal::NoRoute)
    }
}

impl Path {
    /// True when the answer holds until routes change. What a full neighbour table refused may work the next
    /// time.
    pub const fn is_lasting(self) -> bool {
        !matches!(self, Path::Refuse(Refusal::Neighbour(_)))
    }
}

/// Why the route stage sends a packet nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No route.
    NoRoute,
    /// A blackhole route: silence.
    Blackhole,
    /// An unreachable route.
    Unreachable,
    /// A prohibit route.
    Prohibit,
    /// The source is ours, or a broadcast address: nobody else may send from it.
    MartianSource,
    /// The reverse-path filter of the port says no.
    ReversePath,
    /// A broadcast of another link, which is not forwarded (RFC 2644).
    DirectedBroadcast,
    /// A group that nobody here joined.
    NotJoined,
    /// The table of neighbours does not take it, for this reason.
    Neighbour(DropReason),
}

impl Refusal {
    /// The reason that is counted.
    pub const fn reason(self, ipv6: bool) -> DropReason {
        match self {
            Refusal::NoRoute => DropReason::NoRoute,
            Refusal::Blackhole => DropReason::RouteBlackhole,
            Refusal::Unreachable => DropReason::RouteUnreachable,
            Refusal::Prohibit => DropReason::RouteProhibit,
            Refusal::MartianSource if ipv6 => DropReason::Ipv6MartianSource,
            Refusal::MartianSource => DropReason::Ipv4MartianSource,
            Refusal::ReversePath => DropReason::ReversePath,
            Refusal::DirectedBroadcast => DropReason::NotForwardable,
            Refusal::NotJoined => DropReason::NotJoined,
            Refusal::Neighbour(reason) => reason,
        }
    }
}
