//! Raw and ping sockets (rows R1 to R5; raw(7), ipv6(7), RFC 3542 sections 3 and 2; ping sockets of icmp(7)).
//!
//! ```text
//!   local delivery ─┬─> a copy to every raw socket of the protocol ─┐   then the protocol itself as ever
//!                   │                                               └─ a copy was taken: no "protocol unreachable"
//!                   └─> echo reply ─> the ping socket with its identifier
//!   forward (router alert option) ─> sockets that registered: the packet ends there
//! ```
//!
//! A raw IPv4 socket gets packets with their IP header, a raw IPv6 socket from behind the headers, ping sockets
//! from the ICMP header on. What it sends gets a header from us, unless it brings its own (IP_HDRINCL).
//!
//! Invariant: a raw socket is in the chain of its family and protocol, a ping socket with an identifier in that
//! of its family and identifier; nothing else is in a chain.

mod calls;
mod input;
mod output;

pub(crate) use input::{
    copies4, copies6, envelope4, envelope6, on_error, on_router_alert4, on_router_alert6, options_of,
    ping_elsewhere, ping_reply,
};

use crate::socket::chains::Chains;
use crate::socket::endpoint::{Endpoint, Family};
use crate::socket::homes::{Home, Numbers};
use crate::socket::{Handle, Owner, Slab};

/// The protocol number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// The protocol number of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;
/// A protocol number that no packet has on the wire for us: such a socket only sends, with headers of its own.
pub(crate) const RAW: u8 = 255;

/// A raw or ping socket.
#[derive(Debug)]
pub struct Socket {
    /// What it shares with other kinds.
    pub end: Endpoint,
    /// What it is.
    pub kind: Kind,
}

/// What kind of socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_RAW.
    Raw {
        /// The protocol number that it hears and sends.
        protocol: u8,
        /// IP_HDRINCL, IPV6_HDRINCL.
        header_included: bool,
        /// ICMP_FILTER and ICMPV6_FILTER: a set bit is a type that is not wanted.
        filter: [u32; 8],
        /// IPV6_CHECKSUM: where the checksum is.
        checksum: Option<u16>,
        /// IP_ROUTER_ALERT, IPV6_ROUTER_ALERT.
        router_alert: Option<u16>,
    },
    /// SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6. Its identifier is the endpoint's port number.
    Ping,
}

/// The raw and ping sockets of a worker.
#[derive(Debug)]
pub struct Sockets {
    slab: Slab<Socket>,
    chains: Chains,
    /// Sockets that registered for the router alert option.
    alerts: usize,
    /// Where raw sockets and identifiers live, when there are other workers.
    home: Option<Home>,
}

fn family_number(family: Family) -> u64 {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

/// The chain of the raw sockets of a protocol. (Protocols and families are few: no secret key is needed.)
fn raw_hash(family: Family, protocol: u8) -> u64 {
    family_number(family) << 8 | u64::from(protocol)
}

/// The chain of the ping sockets with an identifier.
fn ping_hash(family: Family, identifier: u16) -> u64 {
    (family_number(family) << 16 | u64::from(identifier)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

impl Socket {
    /// The protocol that it sends.
    pub(crate) fn protocol(&self) -> u8 {
        match (&self.kind, self.end.family) {
            (Kind::Raw { protocol, .. }, _) => *protocol,
            (Kind::Ping, crate::socket::Family::Ipv4) => ICMP,
            (Kind::Ping, crate::socket::Family::Ipv6) => ICMPV6,
        }
    }
}

impl Sockets {
    /// Room for `sockets` sockets.
    pub fn new(sockets: usize) -> Self {
        Sockets { slab: Slab::new(sockets), chains: Chains::new(sockets), alerts: 0, home: None }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True when there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// True when there is one here or on another worker.
    #[inline]
    pub(crate) fn is_anywhere(&self) -> bool {
        !self.slab.is_empty() || self.home.as_ref().is_some_and(Home::has_raw_elsewhere)
    }

    /// See [`crate::Stack::set_home`].
    pub(crate) fn set_home(&mut self, home: Home) {
        self.home = Some(home);
    }

    /// True when another worker has raw sockets that speak this protocol.
    pub(crate) fn is_raw_elsewhere(&self, protocol: u8) -> bool {
        self.home.as_ref().is_some_and(|home| home.is_raw_elsewhere(protocol))
    }

    /// The other worker whose ping socket has this identifier.
    pub(crate) fn ping_elsewhere(&self, identifier: u16) -> Option<usize> {
        self.home.as_ref()?.elsewhere(Numbers::Ping, identifier)
    }

    /// True when a ping socket of this worker may have this identifier.
    fn is_here(&self, identifier: u16) -> bool {
        self.home.as_ref().is_none_or(|home| home.is_here(identifier))
    }

    /// A raw socket of this protocol is gone: perhaps it was the last one.
    fn unsettle(&self, protocol: u8) {
        let Some(home) = self.home.as_ref().filter(|home| home.is_raw_home()) else { return };
        let speaks =
            |socket: &Socket| matches!(socket.kind, Kind::Raw { protocol: its, .. } if its == protocol);
        home.settle_raw(protocol, self.iter().any(|(_, socket)| speaks(socket)));
    }

    /// True when raw sockets live on this worker.
    fn is_raw_home(&self) -> bool {
        self.home.as_ref().is_none_or(Home::is_raw_home)
    }

    /// A socket.
    pub fn get(&self, handle: Handle) -> Option<&Socket> {
        self.slab.get(handle)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &Socket)> {
        self.slab.iter()
    }

    /// True when transit packets with the router alert option are wanted by somebody.
    #[inline]
    pub(crate) fn wants_alerts(&self) -> bool {
        self.alerts > 0
    }

    fn new_raw(family: Family, protocol: u8, owner: Owner) -> Socket {
        // Linux: whoever asks for IPPROTO_RAW brings headers. ICMPv6 sockets have their checksum made and checked.
        let checksum = (family == Family::Ipv6 && protocol == ICMPV6).then_some(2);
        let kind = Kind::Raw {
            protocol,
            header_included: protocol == RAW,
            filter: [0; 8],
            checksum,
            router_alert: None,
        };
        Socket { end: Endpoint::new(family, owner), kind }
    }

    fn new_ping(family: Family, owner: Owner) -> Socket {
        Socket { end: Endpoint::new(family, owner), kind: Kind::Ping }
    }

    /// Puts a socket into its chain, if it belongs in one.
    fn rehash(&mut self, handle: Handle) {
        self.chains.remove(handle.index());
        let Some(socket) = self.slab.get(handle) else { return };
        let family = socket.end.family;
        match &socket.kind {
            Kind::Raw { protocol, .. } if *protocol != RAW => {
                self.chains.insert(raw_hash(family, *protocol), handle.index());
                if let Some(home) = &self.home {
                    home.settle_raw(*protocol, true);
                }
            }
            Kind::Ping if socket.end.local_port != 0 => {
                self.chains.insert(ping_hash(family, socket.end.local_port), handle.index());
                if let Some(home) = &self.home {
                    home.settle(Numbers::Ping, socket.end.local_port);
                }
            }
            _ => {}
        }
    }

    /// Whether another ping socket has this identifier.
    fn ping_is_free(&self, of: Handle, family: Family, identifier: u16) -> bool {
        let chain = self.chains.walk(ping_hash(family, identifier));
        chain.filter(|place| *place != of.index()).all(|place| {
            let other = self.slab.at(place).and_then(|handle| self.slab.get(handle));
            other.is_none_or(|other| {
                other.kind != Kind::Ping || other.end.family != family || other.end.local_port != identifier
            })
        })
    }
}
