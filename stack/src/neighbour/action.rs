//! What the table decided and the caller has to do: the table sends nothing itself.

use super::{Fact, NeighbourId};
use crate::{DropReason, MacAddr, PortId};
use core::net::IpAddr;

/// What becomes of a packet that `output` was given. Every variant gives the frame back or says that it waits.
#[derive(Debug)]
#[must_use]
pub enum Output<F> {
    /// Send it now behind this link header.
    Send {
        /// The packet.
        frame: F,
        /// Destination, source, EtherType, in the order of the wire.
        header: [u8; 14],
    },
    /// The packet waits for the neighbour's answer. `gave_way`: the packet that waited longest (for this
    /// neighbour, or for any when all places are taken), to be dropped as [`DropReason::NeighbourQueueFull`].
    Queued {
        /// The packet that lost its place.
        gave_way: Option<F>,
    },
    /// The packet ends here.
    Drop {
        /// The packet.
        frame: F,
        /// Why.
        reason: DropReason,
    },
    /// The id is stale: `bind` again, and call `output` with the new one.
    Rebind(F),
}

/// To whom a solicitation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SolicitTo {
    /// To everybody who might be it: ARP's broadcast, or the solicited-node group of the target.
    Group,
    /// To the station that was it until now: a probe.
    Station,
}

/// A solicitation to send: an ARP request, or a neighbour solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicit {
    /// The port to send it on.
    pub port: PortId,
    /// The address that is asked about; its family says which protocol asks.
    pub target: IpAddr,
    /// The destination of the link header.
    pub link_destination: MacAddr,
    /// Group or station; for IPv6 it decides the IP destination (solicited-node group or the target itself).
    pub to: SolicitTo,
    /// The source of the packet that caused it, as the caller gave it to `output`: prefer it as the sender's
    /// address when it is ours (RFC 4861 section 7.2.2).
    pub source_hint: Option<IpAddr>,
}

/// Something the caller has to do, from `next_action`.
#[derive(Debug)]
#[must_use]
pub enum Action<F> {
    /// Build and send a solicitation.
    Solicit(Solicit),
    /// Send a packet that waited; its neighbour answered. Packets of one neighbour come in the order they were
    /// queued in.
    Release {
        /// The packet, as it was given to `output`.
        frame: F,
        /// Destination, source, EtherType, in the order of the wire.
        header: [u8; 14],
        /// The neighbour's port.
        port: PortId,
        /// The neighbour.
        id: NeighbourId,
    },
    /// Resolution failed: tell the packet's source (ICMP host unreachable, ICMPv6 address unreachable, RFC 4861
    /// section 7.2.2) and drop it as [`DropReason::NeighbourUnreachable`].
    Unreachable {
        /// The packet, as it was given to `output`.
        frame: F,
        /// The neighbour's port.
        port: PortId,
    },
    /// Drop a packet that waited, silently.
    Drop {
        /// The packet, as it was given to `output`.
        frame: F,
        /// Why.
        reason: DropReason,
    },
    /// Tell the other workers.
    Learned(Fact),
}

/// What a packet (or another worker's fact) taught the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: it is about nobody we know or want to know, or the rules forbid believing it.
    Ignored,
    /// Nothing new about this neighbour.
    Unchanged(NeighbourId),
    /// A new neighbour, in STALE.
    Created(NeighbourId),
    /// Its state, address or router flag changed.
    Changed {
        /// The neighbour.
        id: NeighbourId,
        /// It was a router and says that it is none any more: take it off the list of default routers (RFC
        /// 4861 section 7.2.5).
        ceased_to_be_router: bool,
    },
}
