//! What one ARP or neighbour discovery packet says about its sender, in a form that another worker can use.
//!
//! The receive queue of an answer is chosen by the NIC, so the worker that hears it is often not the one that
//! asked. Every worker has its own table and no lock; they tell each other facts, and each applies the same
//! rules (`rules.rs`) to its own table.

use crate::{MacAddr, PortId};
use core::net::IpAddr;

/// Something heard on a link. Small and `Copy`: it goes through a ring between workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Where it was heard.
    pub port: PortId,
    /// Whom it is about.
    pub addr: IpAddr,
    /// The Ethernet address that goes with it; `None` in an advertisement without the option.
    pub mac: Option<MacAddr>,
    /// How it was said.
    pub kind: FactKind,
}

/// How it was said: what the rules of learning depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// An ARP request from `addr`.
    ArpRequest {
        /// The target is an address of ours (on this port), so we shall talk to the sender.
        for_us: bool,
        /// Sender and target are the same address: an announcement.
        gratuitous: bool,
    },
    /// An ARP reply from `addr`.
    ArpReply {
        /// It came to our own Ethernet address, not to a group: it answers us.
        to_us: bool,
        /// Sender and target are the same address: an announcement.
        gratuitous: bool,
    },
    /// A neighbour advertisement about `addr` (RFC 4861 section 7.2.5).
    Advertisement {
        /// The S flag.
        solicited: bool,
        /// The O flag.
        overrides: bool,
        /// The R flag.
        router: bool,
    },
    /// `addr` is an address of ours that another station has or wants: see [`crate::address`]. No neighbour is meant.
    Duplicate,
    /// A source (or, in a redirect, target) link-layer address option: neighbour or router solicitation, router
    /// advertisement, redirect (RFC 4861 sections 6.2.6, 6.3.4, 7.2.3, 8.3).
    LinkAddressOption {
        /// What the message says about being a router; `None`: nothing, the flag stays.
        router: Option<bool>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_at_most_32_bytes() {
        assert!(size_of::<Fact>() <= 32, "{}", size_of::<Fact>());
    }
}
