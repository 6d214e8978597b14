//! What addresses mean: classes that the checks of every packet need, as integer code, and the mappings from IP
//! to Ethernet addresses.
//!
//! Read RFC 1122 section 3.2.1.3, RFC 1812 sections 4.2.2.11 and 5.3.7, RFC 6890 (special IPv4 addresses); RFC
//! 4291 (IPv6 addresses), RFC 4007 (scopes); RFC 1112 section 6.4 and RFC 2464 section 7 (multicast on
//! Ethernet).
//!
//! A *martian* is an address that no packet on a wire may have there, whatever the configuration. What depends
//! on configuration (our own addresses, directed broadcasts) is not decided here.

use crate::MacAddr;
use core::net::{Ipv4Addr, Ipv6Addr};

/// True when no packet may come from here: this network (0/8), loopback (127/8), multicast (224/4), and class E
/// with the limited broadcast (240/4). RFC 1812 section 5.3.7, RFC 1122 section 3.2.1.3.
///
/// 0.0.0.0 is among them: a DHCP client sends from it (RFC 1122 section 3.2.1.3 a), but only to servers on its
/// link, so a caller that serves those asks before it asks this.
#[inline]
pub const fn ipv4_source_is_martian(address: Ipv4Addr) -> bool {
    let net = address.to_bits() >> 24;
    // 0 wraps around to the top: one comparison for both ends.
    (net.wrapping_sub(1) >= 223) | (net == 127)
}

/// True when no packet may go there: this network, loopback, and class E without the limited broadcast.
/// Multicast groups and 255.255.255.255 are fine (though not to be forwarded as unicast).
#[inline]
pub const fn ipv4_destination_is_martian(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    let net = bits >> 24;
    ((net.wrapping_sub(1) >= 239) & (bits != u32::MAX)) | (net == 127)
}

/// True for 224/4 and 255.255.255.255: what goes to more than one host.
#[inline]
pub const fn ipv4_is_group(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    (bits >> 28 == 0xe) | (bits == u32::MAX)
}

/// True for 169.254/16, which routers must not forward from or to (RFC 3927 section 2.7).
#[inline]
pub const fn ipv4_is_link_local(address: Ipv4Addr) -> bool {
    address.to_bits() >> 16 == 0xa9fe
}

/// True for 224.0.0/24, which never leaves its link whatever its TTL (RFC 5771 section 4).
#[inline]
pub const fn ipv4_is_local_multicast(address: Ipv4Addr) -> bool {
    address.to_bits() >> 8 == 0xe0_0000
}

/// The Ethernet group of an IPv4 group: 01:00:5e and the low 23 bits (RFC 1112 section 6.4). Also
/// ff:ff:ff:ff:ff:ff for the limited broadcast; `None` for an address that is no group.
#[inline]
pub const fn ipv4_group_mac(address: Ipv4Addr) -> Option<MacAddr> {
    let [first, b, c, d] = address.octets();
    if address.to_bits() == u32::MAX {
        Some(MacAddr::BROADCAST)
    } else if first >> 4 == 0xe {
        Some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
    } else {
        None
    }
}

/// Upper and lower half of an IPv6 address.
#[inline]
const fn halves(address: &Ipv6Addr) -> (u64, u64) {
    let bits = address.to_bits();
    ((bits >> 64) as u64, bits as u64)
}

/// True when no packet may come from here: multicast (RFC 4291 section 2.7), loopback (2.5.3), IPv4-mapped
/// (2.5.5.2: not for the wire). The unspecified address is not among them: duplicate address detection sends
/// from it; but it must not be forwarded ([`ipv6_is_forwardable_source`]).
#[inline]
pub const fn ipv6_source_is_martian(address: &Ipv6Addr) -> bool {
    let (high, low) = halves(address);
    (high >> 56 == 0xff) | ((high == 0) & ((low == 1) | (low >> 32 == 0xffff)))
}

/// True when no packet may go there: unspecified (RFC 4291 section 2.5.2), loopback, IPv4-mapped, and groups
/// of scope 0 (reserved) and 1 (interface-local), which never reach a wire (section 2.7).
#[inline]
pub const fn ipv6_destination_is_martian(address: &Ipv6Addr) -> bool {
    let (high, low) = halves(address);
    let unsuitable_group = (high >> 56 == 0xff) & (((high >> 48) & 0xf) < 2);
    unsuitable_group | ((high == 0) & ((low <= 1) | (low >> 32 == 0xffff)))
}

/// True when a router may pass on packets from here: not unspecified (RFC 4291 section 2.5.2) and not
/// link-local (2.5.6). Martians are asked about separately.
#[inline]
pub const fn ipv6_is_forwardable_source(address: &Ipv6Addr) -> bool {
    !(ipv6_is_link_local(address) | (address.to_bits() == 0))
}

/// True for unicast in fe80::/10.
#[inline]
pub const fn ipv6_is_link_local(address: &Ipv6Addr) -> bool {
    halves(address).0 >> 54 == 0xfe80 >> 6
}

/// True for ff00::/8.
#[inline]
pub const fn ipv6_is_multicast(address: &Ipv6Addr) -> bool {
    halves(address).0 >> 56 == 0xff
}

/// Scopes of IPv6 multicast that matter to a router (RFC 4291 section 2.7, RFC 7346): the field's value.
pub mod scope {
    /// Never leaves the interface.
    pub const INTERFACE_LOCAL: u8 = 1;
    /// Never leaves the link.
    pub const LINK_LOCAL: u8 = 2;
    /// Defined by the prefix realm (RFC 7346).
    pub const REALM_LOCAL: u8 = 3;
    /// The smallest that administrators configure.
    pub const ADMIN_LOCAL: u8 = 4;
    /// Never leaves the site.
    pub const SITE_LOCAL: u8 = 5;
    /// Never leaves the organisation.
    pub const ORGANIZATION_LOCAL: u8 = 8;
    /// Unbounded.
    pub const GLOBAL: u8 = 14;
}

/// The scope field of a group (see [`scope`]); `None` for an address that is no group.
#[inline]
pub const fn ipv6_multicast_scope(address: &Ipv6Addr) -> Option<u8> {
    if ipv6_is_multicast(address) { Some((halves(address).0 >> 48) as u8 & 0xf) } else { None }
}

/// ff02::1, all nodes of the link.
pub const IPV6_ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// ff02::2, all routers of the link.
pub const IPV6_ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The solicited-node group of an address: ff02::1:ff00:0/104 and its low 24 bits (RFC 4291 section 2.7.1).
#[inline]
pub const fn solicited_node(address: &Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | address.to_bits() & 0xff_ffff)
}

/// True for ff02::1:ff00:0/104.
#[inline]
pub const fn is_solicited_node(address: &Ipv6Addr) -> bool {
    address.to_bits() & !0xff_ffff == solicited_node(&Ipv6Addr::UNSPECIFIED).to_bits()
}

/// The Ethernet group of an IPv6 group: 33:33 and the low 32 bits (RFC 2464 section 7). `None` for an address
/// that is no group.
#[inline]
pub const fn ipv6_group_mac(address: &Ipv6Addr) -> Option<MacAddr> {
    if !ipv6_is_multicast(address) {
        return None;
    }
    let [.., a, b, c, d] = address.octets();
    Some(MacAddr([0x33, 0x33, a, b, c, d]))
}

/// The link-local address that a station makes of its Ethernet address: fe80::/64 and the modified EUI-64, in
/// which the universal/local bit is turned over (RFC 4291 appendix A, RFC 2464 sections 4 and 5).
#[inline]
pub const fn link_local_from_mac(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_martians_end_exactly_at_their_networks_edges() {
        for (address, source, destination) in [
            ("0.0.0.0", true, true),
            ("0.255.255.255", true, true),
            ("1.0.0.0", false, false),
            ("126.255.255.255", false, false),
            ("127.0.0.0", true, true),
            ("127.255.255.255", true, true),
            ("128.0.0.0", false, false),
            ("223.255.255.255", false, false),
            ("224.0.0.0", true, false),
            ("239.255.255.255", true, false),
            ("240.0.0.0", true, true),
            ("255.255.255.254", true, true),
            ("255.255.255.255", true, false),
        ] {
            assert_eq!(ipv4_source_is_martian(v4(address)), source, "{address} as source");
            assert_eq!(ipv4_destination_is_martian(v4(address)), destination, "{address} as destination");
        }
    }

    #[test]
    fn ipv6_martians_by_kind() {
        for (address, source, destination) in [
            ("::", false, true),
            ("::1", true, true),
            ("::2", false, false),
            ("::ffff:1.2.3.4", true, true),
            ("::fffe:1.2.3.4", false, false),
            ("64:ff9b::1", false, false),
            ("2001:db8::1", false, false),
            ("fe80::1", false, false),
            ("ff00::1", true, true),
            ("ff01::1", true, true),
            ("ff02::1", true, false),
            ("ff0e::1", true, false),
            ("ff31::1", true, true),
        ] {
            assert_eq!(ipv6_source_is_martian(&v6(address)), source, "{address} as source");
            assert_eq!(ipv6_destination_is_martian(&v6(address)), destination, "{address} as destination");
        }
        assert!(!ipv6_is_forwardable_source(&v6("::")));
        assert!(!ipv6_is_forwardable_source(&v6("febf::1")));
        assert!(ipv6_is_forwardable_source(&v6("fec0::1")));
    }

    #[test]
    fn groups_map_to_ethernet_groups() {
        assert_eq!(ipv4_group_mac(v4("224.0.0.1")), Some("01:00:5e:00:00:01".parse().unwrap()));
        assert_eq!(ipv4_group_mac(v4("239.255.255.250")), Some("01:00:5e:7f:ff:fa".parse().unwrap()));
        assert_eq!(ipv4_group_mac(v4("255.255.255.255")), Some(MacAddr::BROADCAST));
        assert_eq!(ipv4_group_mac(v4("223.0.0.1")), None);
        assert_eq!(ipv4_group_mac(v4("240.0.0.1")), None);
        assert_eq!(ipv6_group_mac(&IPV6_ALL_ROUTERS), Some("33:33:00:00:00:02".parse().unwrap()));
        assert_eq!(ipv6_group_mac(&v6("ff02::1:ffab:cdef")), Some("33:33:ff:ab:cd:ef".parse().unwrap()));
        assert_eq!(ipv6_group_mac(&v6("fe80::1")), None);
    }

    #[test]
    fn solicited_node_groups_and_scopes() {
        let address = v6("4037::01:800:200e:8c6c");
        assert_eq!(solicited_node(&address), v6("ff02::1:ff0e:8c6c")); // the example of RFC 4291
        assert!(is_solicited_node(&solicited_node(&address)));
        assert!(!is_solicited_node(&v6("ff02::1:fe0e:8c6c")));
        assert_eq!(ipv6_multicast_scope(&IPV6_ALL_NODES), Some(scope::LINK_LOCAL));
        assert_eq!(ipv6_multicast_scope(&v6("ff3e::1")), Some(scope::GLOBAL));
        assert_eq!(ipv6_multicast_scope(&v6("fe80::1")), None);
    }

    #[test]
    fn a_station_makes_its_link_local_address() {
        let mac = "34:56:78:9a:bc:de".parse().unwrap();
        assert_eq!(link_local_from_mac(mac), v6("fe80::3656:78ff:fe9a:bcde"));
        let local = "02:00:00:00:00:01".parse().unwrap();
        assert_eq!(link_local_from_mac(local), v6("fe80::ff:fe00:1"));
    }

    proptest! {
        #[test]
        fn ipv4_classes_agree_with_the_standard_library(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let [first, ..] = address.octets();
            let martian = first == 0 || address.is_loopback() || first >= 240;
            prop_assert_eq!(ipv4_source_is_martian(address), martian || address.is_multicast());
            prop_assert_eq!(ipv4_destination_is_martian(address), martian && !address.is_broadcast());
            prop_assert_eq!(ipv4_is_group(address), address.is_multicast() || address.is_broadcast());
            prop_assert_eq!(ipv4_is_link_local(address), address.is_link_local());
            let local = Ipv4Addr::from_bits(0xe000_0000 | bits & 0xff);
            prop_assert!(ipv4_is_local_multicast(local));
            prop_assert_eq!(ipv4_is_local_multicast(address), address.octets()[..3] == [224, 0, 0]);
        }

        #[test]
        fn ipv6_classes_agree_with_the_standard_library(bits in any::<u128>(), top in 0xfe00u16..) {
            let address = Ipv6Addr::from_bits(bits & (u128::MAX >> 16) | u128::from(top) << 112);
            prop_assert_eq!(ipv6_is_link_local(&address), address.is_unicast_link_local());
            prop_assert_eq!(ipv6_is_multicast(&address), address.is_multicast());
            let mapped = Ipv4Addr::from_bits(bits as u32).to_ipv6_mapped();
            prop_assert!(ipv6_source_is_martian(&mapped) && ipv6_destination_is_martian(&mapped));
        }
    }
}
