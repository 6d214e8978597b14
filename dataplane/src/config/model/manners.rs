//! What a port tells its neighbours and what it believes of them.

use ipnet::Ipv6Net;
use std::net::Ipv6Addr;
use std::time::Duration;

pub use flumen_stack::interface::Detection;

/// What a port tells its neighbours, and what it believes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manners {
    /// Redirects of the router that we use are followed.
    pub accept_redirects: bool,
    /// Neighbours are told of better ways.
    pub send_redirects: bool,
    /// Requests for the address mask are answered.
    pub address_mask_replies: bool,
    /// How IPv6 addresses are checked for duplicates.
    pub dad: Detection,
    /// IPv4 addresses are checked for duplicates before they are used.
    pub arp_probe: bool,
    /// Addresses are announced and defended.
    pub announce: bool,
    /// ARP requests for hosts behind other ports are answered.
    pub proxy_arp: bool,
    /// Neighbour solicitations for these hosts behind other ports are answered.
    pub proxy_nd: Vec<Ipv6Addr>,
    /// Addresses and routes are made of what routers advertise.
    pub autoconf: bool,
    /// What is advertised to hosts.
    pub advertise: Option<RouterAdvertisement>,
}

/// `advertise` of a port. Prefixes are the port's own /64s unless others are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// The longest time between two; the shortest is a third of it.
    pub interval: Duration,
    /// How long we may be the default router; 0: not at all.
    pub lifetime: Duration,
    /// The prefixes; `None`: those of the port's addresses.
    pub prefixes: Option<Vec<Ipv6Net>>,
    /// How long addresses hold, and are preferred.
    pub valid: Duration,
    /// See above.
    pub preferred: Duration,
    /// The MTU of the link, if it is to be said.
    pub mtu: Option<u16>,
    /// DNS servers.
    pub dns: Vec<Ipv6Addr>,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had by DHCPv6.
    pub other: bool,
}
