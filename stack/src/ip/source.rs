//! Which of our addresses speaks to a peer (row O3; RFC 1122 section 3.3.4.3, RFC 6724 section 5).
//!
//! The rules of RFC 6724 that can tell addresses apart here, in their order: the peer's own address (rule 1), its scope
//! (2), one that is not deprecated (3), one of the port that the packet leaves by (5), one with the peer's label (6), the
//! longest common prefix (8). Rules 4 (mobility) and 7 (temporary addresses) have nothing to choose between. A port
//! without an address of its own borrows one from another, as Linux does: an unnumbered link is no reason to be silent.

use crate::frame::Frame;
use crate::interface::{Interface, is_link_scoped};
use crate::port::PortId;
use crate::stack::Stack;
use core::net::{Ipv4Addr, Ipv6Addr};
use ipnet::Ipv6Net;

/// The labels of RFC 6724 section 2.1, longest prefix first.
const LABELS: [(Ipv6Addr, u32, u8); 8] = [
    (Ipv6Addr::LOCALHOST, 128, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 13),
];

/// The label of an address: of what kind its network is.
fn label(address: Ipv6Addr) -> u8 {
    let common = |prefix: Ipv6Addr| (prefix.to_bits() ^ address.to_bits()).leading_zeros();
    LABELS.iter().find(|(prefix, length, _)| common(*prefix) >= *length).map_or(1, |(_, _, label)| *label)
}

/// How well an address of ours suits a peer: the larger the better.
pub(crate) fn suits(net: &Ipv6Net, peer: Ipv6Addr, deprecated: bool, own_port: bool) -> impl Ord + use<> {
    let address = net.addr();
    let same_scope = address.is_unicast_link_local() == is_link_scoped(peer);
    let common = (address.to_bits() ^ peer.to_bits()).leading_zeros().min(u32::from(net.prefix_len()));
    (address == peer, same_scope, !deprecated, own_port, label(address) == label(peer), common)
}

impl<F: Frame> Stack<F> {
    /// The IPv4 address that speaks to `peer` by `port`.
    pub(crate) fn source4(&self, port: PortId, peer: Ipv4Addr) -> Option<Ipv4Addr> {
        let own = self.interfaces.get(port).and_then(|one| one.source_ipv4(peer));
        own.or_else(|| self.interfaces.iter().find_map(|one| one.ipv4.first()).map(ipnet::Ipv4Net::addr))
    }

    /// The IPv6 address that speaks to `peer` by `port`.
    pub(crate) fn source6(&self, port: PortId, peer: Ipv6Addr) -> Option<Ipv6Addr> {
        let own = self.interfaces.get(port).and_then(|one| one.source_ipv6(peer));
        if own.is_some() || is_link_scoped(peer) {
            return own;
        }
        let candidates = self
            .interfaces
            .iter()
            .flat_map(|one: &Interface| one.ipv6.iter().map(|net| (net, one.is_deprecated(net.addr()))));
        let reach = candidates.filter(|(net, _)| !net.addr().is_unicast_link_local());
        let best = reach.rev().max_by_key(|(net, deprecated)| suits(net, peer, *deprecated, false));
        best.map(|(net, _)| net.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_network_has_its_label() {
        let label_of = |text: &str| label(text.parse().unwrap());
        assert_eq!(
            [
                "::1",
                "::ffff:10.0.0.1",
                "::10.0.0.1",
                "2001::1",
                "2001:db8::1",
                "2002::1",
                "fd00::1",
                "fec0::1"
            ]
            .map(label_of),
            [0, 4, 3, 5, 1, 2, 13, 11]
        );
    }

    #[test]
    fn the_examples_of_rfc_6724_choose_as_it_says() {
        // Section 10.1, as far as addresses of one host can tell.
        let best = |ours: &[&str], peer: &str| {
            let peer: Ipv6Addr = peer.parse().unwrap();
            let nets: Vec<Ipv6Net> = ours.iter().map(|text| format!("{text}/64").parse().unwrap()).collect();
            nets.iter().rev().max_by_key(|net| suits(net, peer, false, true)).unwrap().addr().to_string()
        };
        assert_eq!(best(&["2001:db8:3::1", "fe80::1"], "2001:db8:1::1"), "2001:db8:3::1");
        assert_eq!(best(&["2001:db8:1::2", "2001:db8:3::2"], "2001:db8:1::1"), "2001:db8:1::2");
        assert_eq!(best(&["2001:db8:1::2", "2001:db8:3::2"], "2001:db8:3::1"), "2001:db8:3::2");
        assert_eq!(best(&["2002:c633:6401::21", "2001:db8:1::2"], "2002:c633:6401::7"), "2002:c633:6401::21");
        assert_eq!(best(&["fd00:1::1", "2001:db8::1"], "fd00:2::9"), "fd00:1::1", "the label of ULAs");
        assert_eq!(
            best(&["2001:db8::1", "2001:db8::2"], "2001:db8:9::1"),
            "2001:db8::1",
            "the first of equals"
        );
    }

    #[test]
    fn a_deprecated_address_gives_way_to_one_that_is_not() {
        let [old, new] = ["2001:db8:1::2/64", "2001:db8:2::2/64"].map(|net| net.parse::<Ipv6Net>().unwrap());
        let peer = "2001:db8:1::1".parse().unwrap();
        assert!(suits(&old, peer, true, true) < suits(&new, peer, false, true));
        assert!(suits(&old, peer, false, true) > suits(&new, peer, false, true));
    }
}
