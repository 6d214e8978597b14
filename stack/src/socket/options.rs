//! Options of datagram, raw and ping sockets: what can be set, what it is when nobody set it, and what is refused.
//!
//! [`Opt`] is one thing to set; [`Options`] is how all of them stand. Both use the words of Linux's manual pages
//! (socket(7), ip(7), ipv6(7), udp(7), raw(7)). An option that a kind of socket does not have is refused with
//! [`Error::NoSuchOption`] by that kind of socket. Options that only say what a program wants to hear of a
//! received datagram are not here: see [`super::control`].

use super::error::Error;
use super::ip_options::IpOptions;
use super::stamps::StampOptions;
use crate::icmp::v4::DEFAULT_TTL;
use crate::port::PortId;
use core::net::IpAddr;

/// What may happen to a datagram that is longer than the path (IP_MTU_DISCOVER).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MtuDiscovery {
    /// Never say "don't fragment" (IP_PMTUDISC_DONT).
    Dont,
    /// Say it when the datagram fits; cut it here when it does not (IP_PMTUDISC_WANT).
    #[default]
    Want,
    /// Always say it; refuse what is longer than the path (IP_PMTUDISC_DO).
    Do,
    /// Always say it; refuse only what is longer than the link (IP_PMTUDISC_PROBE).
    Probe,
    /// Never say it, believe no report about the path, and refuse what is longer than the link
    /// (IP_PMTUDISC_INTERFACE).
    Interface,
    /// As [`MtuDiscovery::Interface`], but cut what is longer (IP_PMTUDISC_OMIT).
    Omit,
}

/// One option to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opt {
    /// SO_REUSEADDR.
    ReuseAddress(bool),
    /// SO_REUSEPORT.
    ReusePort(bool),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// SO_RCVBUF in bytes; doubled, and kept within bounds, as Linux does.
    ReceiveBuffer(usize),
    /// SO_BINDTODEVICE: only this port, in both directions.
    Device(Option<PortId>),
    /// IP_TTL and IPV6_UNICAST_HOPS; `None` for the default of 64.
    Ttl(Option<u8>),
    /// IP_TOS and IPV6_TCLASS.
    Tos(u8),
    /// IP_MULTICAST_TTL and IPV6_MULTICAST_HOPS.
    MulticastTtl(u8),
    /// IP_MULTICAST_LOOP and IPV6_MULTICAST_LOOP.
    MulticastLoop(bool),
    /// IP_MULTICAST_IF and IPV6_MULTICAST_IF: the port, and for IPv4 perhaps the source address.
    MulticastInterface(Option<PortId>, Option<IpAddr>),
    /// IP_MULTICAST_ALL and IPV6_MULTICAST_ALL: hear groups that other sockets joined.
    MulticastAll(bool),
    /// IP_RECVERR and IPV6_RECVERR.
    ReceiveErrors(bool),
    /// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER.
    MtuDiscover(MtuDiscovery),
    /// IPV6_DONTFRAG.
    DontFragment(bool),
    /// IP_UNICAST_IF and IPV6_UNICAST_IF: by this port, where nothing else says by which.
    UnicastInterface(Option<PortId>),
    /// IPV6_PKTINFO: from this address and by this port, where the datagram's own control message says nothing.
    Sticky(Option<IpAddr>, Option<PortId>),
    /// IP_FREEBIND and IPV6_FREEBIND: bind to an address that is not ours (yet).
    FreeBind(bool),
    /// IPV6_V6ONLY; before the socket is bound.
    V6Only(bool),
    /// UDP_CORK.
    Cork(bool),
    /// UDP_SEGMENT in bytes; 0 for none.
    Segment(u16),
    /// UDP_GRO.
    Gro(bool),
    /// SO_NO_CHECK: send without a checksum over IPv4.
    NoChecksum(bool),
    /// UDP_NO_CHECK6_TX: send without a checksum over IPv6 (RFC 6935).
    NoChecksum6Tx(bool),
    /// UDP_NO_CHECK6_RX: take datagrams without a checksum over IPv6 (RFC 6936).
    NoChecksum6Rx(bool),
    /// UDPLITE_SEND_CSCOV: bytes that the checksum covers, from the start of the header; 0 for all.
    SendCoverage(u16),
    /// UDPLITE_RECV_CSCOV: take nothing whose checksum covers less; 0 for nothing that is not covered as a whole.
    ReceiveCoverage(u16),
    /// IP_HDRINCL and IPV6_HDRINCL.
    HeaderIncluded(bool),
    /// ICMP_FILTER: a set bit is a type from 0 to 31 that is not wanted.
    IcmpFilter(u32),
    /// ICMPV6_FILTER: a set bit is a type that is not wanted; type 0 is bit 0 of the first word.
    Icmp6Filter([u32; 8]),
    /// IPV6_CHECKSUM: where in the payload the checksum is, in bytes, an even number; `None` for no checksum.
    Checksum(Option<u16>),
    /// IP_ROUTER_ALERT and IPV6_ROUTER_ALERT: transit packets that carry the router alert option come here; for
    /// IPv6 those with this value. `None` for none.
    RouterAlert(Option<u16>),
    /// SO_TIMESTAMPING, as far as it is about what is sent.
    Stamps(StampOptions),
    /// IP_OPTIONS: what [`crate::Stack::options_to_send`] made.
    IpOptions(IpOptions),
}

/// How the options of a socket stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_BINDTODEVICE.
    pub device: Option<PortId>,
    /// IP_TTL.
    pub ttl: Option<u8>,
    /// IP_TOS.
    pub tos: u8,
    /// IP_MULTICAST_TTL.
    pub multicast_ttl: u8,
    /// IP_MULTICAST_LOOP.
    pub multicast_loop: bool,
    /// IP_MULTICAST_IF.
    pub multicast_port: Option<PortId>,
    /// The address of IP_MULTICAST_IF.
    pub multicast_source: Option<IpAddr>,
    /// IP_UNICAST_IF.
    pub unicast_port: Option<PortId>,
    /// The address and the port of IPV6_PKTINFO.
    pub sticky: (Option<IpAddr>, Option<PortId>),
    /// IP_MULTICAST_ALL.
    pub multicast_all: bool,
    /// IP_RECVERR.
    pub receive_errors: bool,
    /// IP_MTU_DISCOVER.
    pub mtu_discover: MtuDiscovery,
    /// IPV6_DONTFRAG.
    pub dont_fragment: bool,
    /// IP_FREEBIND.
    pub free_bind: bool,
    /// IPV6_V6ONLY.
    pub v6_only: bool,
    /// IP_OPTIONS.
    pub ip_options: IpOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            device: None,
            ttl: None,
            tos: 0,
            multicast_ttl: 1,
            multicast_loop: true,
            multicast_port: None,
            multicast_source: None,
            unicast_port: None,
            sticky: (None, None),
            multicast_all: true,
            receive_errors: false,
            mtu_discover: MtuDiscovery::Want,
            dont_fragment: false,
            free_bind: false,
            v6_only: false,
            ip_options: IpOptions::NONE,
        }
    }
}

impl Options {
    /// Sets one that datagram and raw sockets share. `port_exists` says which ports there are.
    ///
    /// # Errors
    /// [`Error::NoSuchOption`] for one that is not shared; others for a value that makes no sense.
    pub fn set(&mut self, option: Opt, port_exists: impl Fn(PortId) -> bool) -> Result<(), Error> {
        match option {
            Opt::ReuseAddress(on) => self.reuse_address = on,
            Opt::ReusePort(on) => self.reuse_port = on,
            Opt::Broadcast(on) => self.broadcast = on,
            Opt::Device(Some(port)) if !port_exists(port) => return Err(Error::NoDevice),
            Opt::Device(port) => self.device = port,
            Opt::Ttl(ttl) => self.ttl = ttl,
            Opt::Tos(tos) => self.tos = tos,
            Opt::MulticastTtl(ttl) => self.multicast_ttl = ttl,
            Opt::MulticastLoop(on) => self.multicast_loop = on,
            Opt::MulticastInterface(Some(port), _) if !port_exists(port) => {
                return Err(Error::AddressNotAvailable);
            }
            // A socket that is bound to a port cannot send to groups by another.
            Opt::MulticastInterface(Some(port), _) if self.device.is_some_and(|device| device != port) => {
                return Err(Error::InvalidArgument);
            }
            Opt::MulticastInterface(port, source) => {
                (self.multicast_port, self.multicast_source) = (port, source);
            }
            Opt::UnicastInterface(Some(port)) if !port_exists(port) => {
                return Err(Error::AddressNotAvailable);
            }
            Opt::Sticky(_, Some(port)) if !port_exists(port) => return Err(Error::NoDevice),
            Opt::Sticky(source, port) => self.sticky = (source, port),
            Opt::UnicastInterface(port) => self.unicast_port = port,
            Opt::MulticastAll(on) => self.multicast_all = on,
            Opt::ReceiveErrors(on) => self.receive_errors = on,
            Opt::MtuDiscover(how) => self.mtu_discover = how,
            Opt::DontFragment(on) => self.dont_fragment = on,
            Opt::FreeBind(on) => self.free_bind = on,
            Opt::IpOptions(options) => self.ip_options = options,
            _ => return Err(Error::NoSuchOption),
        }
        Ok(())
    }

    /// The TTL of a datagram: to a group, or to one host.
    pub fn ttl_for(&self, group: bool) -> u8 {
        if group { self.multicast_ttl } else { self.ttl.unwrap_or(DEFAULT_TTL) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_make_no_sense_are_refused_and_change_nothing() {
        let mut options = Options::default();
        let only = PortId::new(0).unwrap();
        let mut set = |option| options.set(option, |port| port == only);
        let other = PortId::new(1).unwrap();
        assert_eq!(set(Opt::Device(Some(other))), Err(Error::NoDevice));
        assert_eq!(set(Opt::MulticastInterface(Some(other), None)), Err(Error::AddressNotAvailable));
        assert_eq!(set(Opt::Cork(true)), Err(Error::NoSuchOption), "UDP's own");
        assert_eq!(options, Options::default());
    }

    #[test]
    fn the_hop_limits_of_groups_and_hosts_are_two() {
        let mut options = Options::default();
        assert_eq!((options.ttl_for(true), options.ttl_for(false)), (1, 64));
        options.set(Opt::Ttl(Some(9)), |_| true).unwrap();
        options.set(Opt::MulticastTtl(0), |_| true).unwrap();
        assert_eq!((options.ttl_for(true), options.ttl_for(false)), (0, 9));
        options.set(Opt::Ttl(None), |_| true).unwrap();
        assert_eq!(options.ttl_for(false), 64);
    }
}
