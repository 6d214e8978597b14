//! Interfaces: what the stack knows of a port: its address on the link, its IP addresses and its policies.

use crate::ethernet::vlan::Vlan;
use crate::ip::source;
use crate::ipv6::advertise::Advertise;
use crate::limits::{MAX_ADDRESSES, MAX_PORTS, MAX_VLAN_TAGS};
use crate::mac::MacAddr;
use crate::port::PortId;
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::sync::Arc;

/// Whether a packet's source must be reachable by the port it came in on (RFC 3704).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReversePathFilter {
    /// Any source that is not martian is taken.
    #[default]
    Off,
    /// The way back to the source must use this port (RFC 3704 section 2.2).
    Strict,
    /// There must be a way back to the source, by whatever port (RFC 3704 section 2.4).
    Loose,
}

/// What is done about transport checksums that a local kernel peer left partial (only the pseudo-header
/// summed), because it trusts the virtual link: veth, virtio and TAP peers do so by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChecksumPolicy {
    /// Checksums are what they should be; what arrives for us is verified, what goes through is not touched.
    #[default]
    Verify,
    /// Partial checksums are recognised and completed on arrival; then as `Verify`.
    Repair,
    /// The link is trusted: TCP and UDP checksums of what arrives for us are not looked at.
    Trust,
}

/// How an IPv6 address is checked for duplicates before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detection {
    /// Not at all.
    #[default]
    Off,
    /// While it is used already (RFC 4429): for addresses that are unique by the way they were made.
    Optimistic,
    /// First (RFC 4862 section 5.4).
    Strict,
}

/// One port, as the stack sees it.
#[derive(Debug, Clone)]
pub struct Interface {
    /// The port.
    pub id: PortId,
    /// The operator's name for it.
    pub name: String,
    /// Its station address.
    pub mac: MacAddr,
    /// Largest IP packet that its link carries, in bytes.
    pub mtu: u16,
    /// True while the link is up.
    pub up: bool,
    /// Its IPv4 addresses, each with the prefix of its subnet; the first is preferred as a source.
    pub ipv4: ArrayVec<Ipv4Net, MAX_ADDRESSES>,
    /// Its IPv6 addresses, each with the prefix of its subnet; the link-local one among them.
    pub ipv6: ArrayVec<Ipv6Net, MAX_ADDRESSES>,
    /// Addresses that are not to be used: those that are being checked, and duplicates of others'.
    pub tentative: Vec<IpNet>,
    /// Those of `ipv6` that should not begin conversations any more; none but with autoconfiguration.
    pub deprecated: Vec<Ipv6Addr>,
    /// Whether packets that arrive here may be forwarded.
    pub forwarding: bool,
    /// Reverse-path filter.
    pub rp_filter: ReversePathFilter,
    /// Checksum policy.
    pub checksum: ChecksumPolicy,
    /// The port can finish Internet checksums on transmit.
    pub tx_checksum: bool,
    /// Redirects of the router that we use are followed: for hosts (RFC 1812 section 5.2.7.2: a router that runs a
    /// routing protocol must not).
    pub accept_redirects: bool,
    /// Neighbours that send by us what they could send elsewhere are told so: for routers.
    pub send_redirects: bool,
    /// What we advertise as a router; `None`: nothing.
    pub advertise: Option<Arc<Advertise>>,
    /// Routers' advertisements make addresses and routes: for hosts.
    pub autoconf: bool,
    /// Requests for the address mask are answered (RFC 950).
    pub mask_replies: bool,
    /// It is a VLAN of another port.
    pub vlan: Option<Vlan>,
    /// How its IPv6 addresses are checked for duplicates.
    pub detection: Detection,
    /// Its IPv4 addresses are checked for duplicates before they are used (RFC 5227).
    pub arp_probe: bool,
    /// Its addresses are announced when they begin, and defended.
    pub announce: bool,
    /// This worker is the one that probes, announces and advertises here.
    pub speaks: bool,
    /// ARP requests for addresses that routes lead to by another port are answered (RFC 1027).
    pub proxy_arp: bool,
    /// Neighbour solicitations for these addresses, to which routes lead by another port, are answered (RFC 4861
    /// section 7.2.8).
    pub proxy_nd: Vec<Ipv6Addr>,
}

impl Interface {
    /// An interface that is up, forwards, and has no addresses yet.
    pub fn new(id: PortId, name: &str, mac: MacAddr, mtu: u16) -> Self {
        Interface {
            id,
            name: name.to_owned(),
            mac,
            mtu,
            up: true,
            ipv4: ArrayVec::new(),
            ipv6: ArrayVec::new(),
            tentative: Vec::new(),
            deprecated: Vec::new(),
            forwarding: true,
            rp_filter: ReversePathFilter::Off,
            checksum: ChecksumPolicy::Verify,
            tx_checksum: false,
            accept_redirects: false,
            send_redirects: false,
            advertise: None,
            autoconf: false,
            mask_replies: false,
            vlan: None,
            detection: Detection::Off,
            arp_probe: false,
            announce: false,
            speaks: true,
            proxy_arp: false,
            proxy_nd: Vec::new(),
        }
    }

    /// Takes an address among those that are used. False when there are as many as there can be.
    pub(crate) fn adopt(&mut self, net: IpNet) -> bool {
        match net {
            IpNet::V4(net) => self.ipv4.try_push(net).is_ok(),
            IpNet::V6(net) => self.ipv6.try_push(net).is_ok(),
        }
    }

    /// Puts an address aside until it is known to be ours alone.
    pub(crate) fn put_aside(&mut self, net: IpNet) {
        self.drop_address(net.addr());
        self.tentative.push(net);
    }

    /// Puts an address aside that may be among the used ones.
    pub(crate) fn put_aside_address(&mut self, addr: IpAddr) {
        let four = self.ipv4.iter().find(|net| IpAddr::V4(net.addr()) == addr).map(|net| IpNet::V4(*net));
        let six = self.ipv6.iter().find(|net| IpAddr::V6(net.addr()) == addr).map(|net| IpNet::V6(*net));
        if let Some(net) = four.or(six) {
            self.put_aside(net);
        }
    }

    /// An address that was put aside is used from now on.
    pub(crate) fn use_again(&mut self, net: IpNet) {
        if self.is_put_aside(net.addr()) {
            self.tentative.retain(|one| one.addr() != net.addr());
            // It was among them, so there is room.
            let _had_room = self.adopt(net);
        }
    }

    /// All that was put aside is used again.
    pub(crate) fn take_back(&mut self) {
        while let Some(net) = self.tentative.pop() {
            let _had_room = self.adopt(net);
        }
    }

    /// Forgets an address, used or not.
    pub(crate) fn drop_address(&mut self, addr: IpAddr) {
        self.ipv4.retain(|net| IpAddr::V4(net.addr()) != addr);
        self.ipv6.retain(|net| IpAddr::V6(net.addr()) != addr);
        self.tentative.retain(|net| net.addr() != addr);
        self.deprecated.retain(|one| IpAddr::V6(*one) != addr);
    }

    /// True when an address is being checked, or a duplicate.
    pub fn is_put_aside(&self, addr: IpAddr) -> bool {
        self.tentative.iter().any(|net| net.addr() == addr)
    }

    /// True when `addr` is one of this port's own addresses.
    pub fn owns(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.owns_ipv4(addr),
            IpAddr::V6(addr) => self.owns_ipv6(addr),
        }
    }

    /// True when `addr` is one of this port's own IPv4 addresses.
    pub fn owns_ipv4(&self, addr: Ipv4Addr) -> bool {
        self.ipv4.iter().any(|net| net.addr() == addr)
    }

    /// True when `addr` is one of this port's own IPv6 addresses.
    pub fn owns_ipv6(&self, addr: Ipv6Addr) -> bool {
        self.ipv6.iter().any(|net| net.addr() == addr)
    }

    /// True when `addr` is the subnet-router anycast address of one of this port's subnets (RFC 4291 section
    /// 2.6.1): the prefix with zeros behind it, which every router on the link answers to. A host does not; nor
    /// are there such addresses on a link of two routers (/127, RFC 6164 section 5) or in a prefix of one address.
    pub fn is_subnet_router_anycast(&self, addr: Ipv6Addr) -> bool {
        self.forwarding && self.ipv6.iter().any(|net| anycast_of(net) == Some(addr) && net.addr() != addr)
    }

    /// The IPv4 address to speak to `peer` from: the one whose subnet holds the peer, else the first.
    pub fn source_ipv4(&self, peer: Ipv4Addr) -> Option<Ipv4Addr> {
        let on_link = self.ipv4.iter().find(|net| net.contains(&peer));
        on_link.or(self.ipv4.first()).map(Ipv4Net::addr)
    }

    /// The IPv6 address of this port to speak to `peer` from, by the rules of RFC 6724 ([`crate::ip::source`]). A
    /// link-local address never speaks off the link.
    pub fn source_ipv6(&self, peer: Ipv6Addr) -> Option<Ipv6Addr> {
        let suits = |net: &&Ipv6Net| source::suits(net, peer, self.is_deprecated(net.addr()), true);
        // Of equals the first.
        let best = self.ipv6.iter().rev().max_by_key(suits).map(Ipv6Net::addr);
        best.filter(|addr| is_link_scoped(peer) || !addr.is_unicast_link_local())
    }

    /// True when an address of ours should not begin conversations any more (RFC 4862 section 5.5.4).
    pub fn is_deprecated(&self, addr: Ipv6Addr) -> bool {
        self.deprecated.contains(&addr)
    }

    /// The link-local IPv6 address.
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        self.ipv6.iter().map(Ipv6Net::addr).find(Ipv6Addr::is_unicast_link_local)
    }

    /// True when this port listens to the IPv6 group: all nodes, all routers (when it forwards), or the
    /// solicited-node group of one of its addresses, anycast ones among them (RFC 4291 section 2.8).
    pub fn listens_to_ipv6(&self, group: Ipv6Addr) -> bool {
        match group.segments() {
            [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1] => true,
            [0xff01 | 0xff02 | 0xff05, 0, 0, 0, 0, 0, 0, 2] => self.forwarding,
            [0xff02, 0, 0, 0, 0, 1, high, low] if high >> 8 == 0xff => {
                let ours = |address: &Ipv6Addr| {
                    let segments = address.segments();
                    segments[6] & 0xff == high & 0xff && segments[7] == low
                };
                let aside = self.tentative.iter().filter_map(|net| match net.addr() {
                    IpAddr::V6(address) => Some(address),
                    IpAddr::V4(_) => None,
                });
                self.ipv6.iter().any(|net| {
                    let anycast = anycast_of(net).filter(|_| self.forwarding);
                    [Some(net.addr()), anycast].iter().flatten().any(ours)
                }) || self.proxy_nd.iter().any(ours)
                    || aside.into_iter().any(|address| ours(&address))
            }
            _ => false,
        }
    }
}

/// The subnet-router anycast address of a subnet that has one.
fn anycast_of(net: &Ipv6Net) -> Option<Ipv6Addr> {
    (net.prefix_len() < 127).then(|| net.network())
}

/// True for addresses that mean something on one link only: link-local unicast and link-scoped groups.
pub(crate) fn is_link_scoped(addr: Ipv6Addr) -> bool {
    addr.is_unicast_link_local() || (addr.is_multicast() && addr.octets()[1] & 0x0f <= 2)
}

/// The interfaces of the data plane, by port.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    list: ArrayVec<Interface, MAX_PORTS>,
}

impl Interfaces {
    /// Interfaces in the order of their ports; `None` when an id is not its own place in the list, there
    /// are more than [`MAX_PORTS`], or one of them is a VLAN of none, or within more than [`MAX_VLAN_TAGS`].
    pub fn new(interfaces: Vec<Interface>) -> Option<Self> {
        let in_order = interfaces.iter().enumerate().all(|(index, one)| one.id.index() == index);
        let parent_of = |one: &Interface| match one.vlan {
            Some(vlan) => interfaces.get(vlan.parent.index()).map(Some),
            None => Some(None),
        };
        let ends = |one: &Interface| {
            let mut at = Some(one);
            for _ in 0..=MAX_VLAN_TAGS {
                match at.map(parent_of) {
                    None => return true,
                    Some(None) => return false,
                    Some(Some(parent)) => at = parent,
                }
            }
            at.is_none()
        };
        if !in_order || interfaces.len() > MAX_PORTS || !interfaces.iter().all(ends) {
            return None;
        }
        Some(Interfaces { list: interfaces.into_iter().collect() })
    }

    /// The interface of a port.
    #[inline]
    pub fn get(&self, port: PortId) -> Option<&Interface> {
        self.list.get(port.index())
    }

    /// The interface of a port, to change.
    pub fn get_mut(&mut self, port: PortId) -> Option<&mut Interface> {
        self.list.get_mut(port.index())
    }

    /// The port with the wire under a port, which may be itself.
    pub fn wire_of(&self, port: PortId) -> PortId {
        let mut at = port;
        for _ in 0..MAX_VLAN_TAGS {
            match self.get(at).and_then(|one| one.vlan) {
                Some(vlan) => at = vlan.parent,
                None => break,
            }
        }
        at
    }

    /// True when `port` is a VLAN of `other`, or of a VLAN of it.
    pub fn is_within(&self, port: PortId, other: PortId) -> bool {
        let mut at = port;
        for _ in 0..MAX_VLAN_TAGS {
            match self.get(at).and_then(|one| one.vlan) {
                Some(vlan) if vlan.parent == other => return true,
                Some(vlan) => at = vlan.parent,
                None => return false,
            }
        }
        false
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Interface> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_needs_a_port_and_at_most_two_tags() {
        use crate::ethernet::vlan::{Priority, TagProtocol};
        let list = |parents: &[Option<usize>]| {
            let one = |(index, parent): (usize, &Option<usize>)| {
                let mut one = Interface::new(PortId::new(index).unwrap(), "", MacAddr::ZERO, 1500);
                one.vlan = parent.map(|parent| Vlan {
                    parent: PortId::new(parent).unwrap(),
                    protocol: TagProtocol::Customer,
                    id: 7,
                    priority: Priority::Fixed(0),
                });
                one
            };
            Interfaces::new(parents.iter().enumerate().map(one).collect()).is_some()
        };
        assert!(list(&[None, Some(0), Some(1)]));
        assert!(!list(&[None, Some(0), Some(1), Some(2)]), "three tags");
        assert!(!list(&[Some(0)]) && !list(&[Some(1), Some(0)]) && !list(&[None, Some(2)]));
    }

    fn interface() -> Interface {
        let mut one = Interface::new(PortId::new(0).unwrap(), "lan", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
        one.ipv4.push("10.0.1.1/24".parse().unwrap());
        one.ipv4.push("192.0.2.1/24".parse().unwrap());
        one.ipv6.push("fe80::1/64".parse().unwrap());
        one.ipv6.push("fd00:1::1/64".parse().unwrap());
        one.ipv6.push("2001:db8::1/64".parse().unwrap());
        one
    }

    #[test]
    fn the_source_is_the_address_whose_subnet_holds_the_peer() {
        let one = interface();
        assert_eq!(one.source_ipv4("192.0.2.77".parse().unwrap()), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(one.source_ipv4("8.8.8.8".parse().unwrap()), Some("10.0.1.1".parse().unwrap()));
        assert_eq!(one.source_ipv6("fd00:1::9".parse().unwrap()), Some("fd00:1::1".parse().unwrap()));
        assert_eq!(one.source_ipv6("2001:db8:5::9".parse().unwrap()), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(one.source_ipv6("fe80::9".parse().unwrap()), Some("fe80::1".parse().unwrap()));
        assert_eq!(one.source_ipv6("ff02::1".parse().unwrap()), Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn a_link_local_address_never_speaks_off_the_link() {
        let mut one = interface();
        one.ipv6.truncate(1);
        assert_eq!(one.source_ipv6("2001:db8::9".parse().unwrap()), None);
    }

    #[test]
    fn a_router_shares_the_address_of_each_subnet_that_has_one() {
        let mut one = interface();
        one.ipv6.push("2001:db8:0:7::3/126".parse().unwrap());
        one.ipv6.push("2001:db8:0:8::3/127".parse().unwrap());
        one.ipv6.push("2001:db8:0:9::/64".parse().unwrap());
        let shares = |one: &Interface, address: &str| one.is_subnet_router_anycast(address.parse().unwrap());
        for address in ["fe80::", "fd00:1::", "2001:db8::", "2001:db8:0:7::"] {
            assert!(shares(&one, address), "{address}");
        }
        // Another address; one of two routers; the second half of such a link; one that is ours alone.
        for address in ["2001:db8::1", "2001:db8:0:8::2", "2001:db8:0:8::3", "2001:db8:0:9::"] {
            assert!(!shares(&one, address), "{address}");
        }
        assert!(one.listens_to_ipv6("ff02::1:ff00:0".parse().unwrap()));
        one.forwarding = false;
        assert!(!shares(&one, "fd00:1::"), "a host is no router");
    }

    #[test]
    fn a_port_hears_all_nodes_and_the_solicited_node_groups_of_its_addresses() {
        let mut one = interface();
        assert!(one.listens_to_ipv6("ff02::1".parse().unwrap()));
        assert!(one.listens_to_ipv6("ff02::2".parse().unwrap()));
        assert!(one.listens_to_ipv6("ff02::1:ff00:1".parse().unwrap()));
        assert!(!one.listens_to_ipv6("ff02::1:ff00:2".parse().unwrap()));
        one.forwarding = false;
        assert!(!one.listens_to_ipv6("ff02::2".parse().unwrap()), "a host is no router");
    }
}
