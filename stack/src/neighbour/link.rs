//! Ready link headers: the part of an entry that the packet path reads, two to a cache line.
//!
//! ```text
//!   | destination 6 | source 6 | EtherType 2 | pad 2 | id 4 | pad 12 |      32 bytes, aligned
//! ```
//! `id` is the word of the entry's id while a packet may be sent without a side effect, and 0, which no id is,
//! at all other times: one compare checks bounds of time, state and generation.

use super::NeighbourId;
use crate::MacAddr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Line {
    header: [u8; 14],
    id: u32,
}

pub(super) struct LinkHeaders(Box<[Line]>);

impl LinkHeaders {
    pub(super) fn new(entries: usize) -> Self {
        LinkHeaders(vec![Line::default(); entries].into_boxed_slice())
    }

    #[inline]
    pub(super) fn get(&self, id: NeighbourId) -> Option<&[u8; 14]> {
        let line = self.0.get(id.place())?;
        if line.id == id.word() { Some(&line.header) } else { None }
    }

    pub(super) fn publish(&mut self, id: NeighbourId, header: [u8; 14]) {
        if let Some(line) = self.0.get_mut(id.place()) {
            *line = Line { header, id: id.word() };
        }
    }

    pub(super) fn withdraw(&mut self, id: NeighbourId) {
        if let Some(line) = self.0.get_mut(id.place()) {
            line.id = 0;
        }
    }
}

/// The link header for `addr` at `destination`: destination, source, EtherType (RFC 894, RFC 2464 section 3).
pub(super) fn header(destination: MacAddr, source: MacAddr, addr: IpAddr) -> [u8; 14] {
    let mut header = [0; 14];
    header[..6].copy_from_slice(&destination.0);
    header[6..12].copy_from_slice(&source.0);
    let ethertype: u16 = if addr.is_ipv4() { 0x0800 } else { 0x86dd };
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    header
}

/// True for addresses that one station on a link can have: not a group, not unspecified, not the limited
/// broadcast, not loopback. Broadcasts of subnets are the routing's to know.
pub fn is_neighbour_address(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            !(v4.octets()[0] == 0 || v4.is_loopback() || v4.octets()[0] >= 224 && !is_class_e(v4))
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast()),
    }
}

/// 240.0.0.0/4 without the limited broadcast: reserved, and in use as unicast in places (Linux resolves it).
fn is_class_e(v4: Ipv4Addr) -> bool {
    v4.octets()[0] >= 240 && !v4.is_broadcast()
}

/// The Ethernet address of a group: multicast (RFC 1112 section 6.4, RFC 2464 section 7) or the limited
/// broadcast; `None` for the address of a station.
pub fn group_mac(addr: IpAddr) -> Option<MacAddr> {
    match addr {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some(MacAddr([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// The solicited-node group of a target: ff02::1:ff and its last three octets (RFC 4291 section 2.7.1).
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., x, y, z] = target.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_crosses_a_cache_line() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (32, 32));
    }

    #[test]
    fn groups_map_to_their_ethernet_addresses() {
        let mac = |addr: &str| group_mac(addr.parse().unwrap()).map(|mac| mac.to_string());
        assert_eq!(mac("224.129.2.3").as_deref(), Some("01:00:5e:01:02:03"));
        assert_eq!(mac("255.255.255.255").as_deref(), Some("ff:ff:ff:ff:ff:ff"));
        assert_eq!(mac("ff02::1:ff00:17").as_deref(), Some("33:33:ff:00:00:17"));
        assert_eq!(mac("10.0.0.255"), None);
        let group = solicited_node("fe80::a:b:12:3456".parse().unwrap());
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn only_addresses_of_stations_are_neighbours() {
        for yes in ["10.0.0.1", "223.255.255.255", "240.0.0.1", "fe80::1", "2001:db8::"] {
            assert!(is_neighbour_address(yes.parse().unwrap()), "{yes}");
        }
        for no in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.9.9.9",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
        ] {
            assert!(!is_neighbour_address(no.parse().unwrap()), "{no}");
        }
    }
}
