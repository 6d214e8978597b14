//! Flows: what makes packets belong together. The hash covers the addresses, the protocol and, where they
//! can be read, the transport ports (row O4, multipath). Fragments of one datagram, of which only the first
//! carries ports, are hashed without them, so that they stay together. Between workers by addresses alone, in both
//! families: all fragments of two hosts meet where they are put together, whatever headers stand in front.

use crate::hash::{hash2, hash4};
use crate::ip::policy::HashPolicy;
use core::net::{Ipv4Addr, Ipv6Addr};

/// True for protocols whose first four bytes are the ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

fn word(packet: &[u8], at: usize) -> u32 {
    packet.get(at..).and_then(<[u8]>::first_chunk::<4>).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn long(packet: &[u8], at: usize) -> u64 {
    u64::from(word(packet, at)) << 32 | u64::from(word(packet, at + 4))
}

/// The destination of an IPv4 packet; the unspecified address when it is too short to have one.
pub fn destination4(packet: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from_bits(word(packet, 16))
}

/// The destination of an IPv6 packet; the unspecified address when it is too short to have one.
pub fn destination6(packet: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(long(packet, 24)) << 64 | u128::from(long(packet, 32)))
}

/// The source of an IPv4 packet; the unspecified address when it is too short to have one.
pub fn source4(packet: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from_bits(word(packet, 12))
}

/// The source of an IPv6 packet; the unspecified address when it is too short to have one.
pub fn source6(packet: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(long(packet, 8)) << 64 | u128::from(long(packet, 16)))
}

/// The flow hash of an IPv4 packet, whose first byte is that of its IP header, over what `policy` names.
pub fn hash4_of(packet: &[u8], key: [u64; 2], policy: HashPolicy) -> u64 {
    match policy {
        HashPolicy::L4 => l4_of4(packet, key),
        HashPolicy::L3 => hash2(long(packet, 12), 0, key),
        HashPolicy::Inner => inner_of(packet, key).unwrap_or_else(|| l4_of4(packet, key)),
    }
}

/// Addresses, protocol and ports of an IPv4 packet.
fn l4_of4(packet: &[u8], key: [u64; 2]) -> u64 {
    let addresses = long(packet, 12);
    let first = packet.first().copied().unwrap_or(0);
    let protocol = packet.get(9).copied().unwrap_or(0);
    let fragment = word(packet, 4) & 0x3fff != 0;
    let ports = if has_ports(protocol) && !fragment { word(packet, usize::from(first & 15) * 4) } else { 0 };
    hash2(addresses, u64::from(ports) | u64::from(protocol) << 32, key)
}

/// The flow hash of an IPv6 packet: by flow label when the sender set one (RFC 6437, RFC 6438), else by the
/// ports when they follow the fixed header.
pub fn hash6_of(packet: &[u8], key: [u64; 2], policy: HashPolicy) -> u64 {
    match policy {
        HashPolicy::L4 => l4_of6(packet, key),
        HashPolicy::L3 => hash4([long(packet, 8), long(packet, 16), long(packet, 24), long(packet, 32)], key),
        HashPolicy::Inner => inner_of(packet, key).unwrap_or_else(|| l4_of6(packet, key)),
    }
}

/// The packet inside an IP-in-IP or GRE tunnel (RFC 2003, RFC 2473, RFC 2784 with the fields of RFC 2890), hashed by
/// addresses, protocol and ports; `None` when there is none in there. One level deep. A fragment of the outer packet
/// has the outer packet's hash, so that it stays with the others.
fn inner_of(packet: &[u8], key: [u64; 2]) -> Option<u64> {
    let first = packet.first()?;
    let (protocol, at) = match first >> 4 {
        4 if word(packet, 4) & 0x3fff == 0 => (*packet.get(9)?, usize::from(first & 15) * 4),
        6 => (*packet.get(6)?, 40),
        _ => return None,
    };
    let inner = match protocol {
        4 | 41 => packet.get(at..)?,
        47 => {
            let flags = word(packet, at) >> 16;
            // Version 0 carries packets whose EtherType follows; checksum, key and sequence number are optional.
            if flags & 0x7 != 0 || !matches!(word(packet, at) & 0xffff, 0x0800 | 0x86dd) {
                return None;
            }
            let optional = [0x8000, 0x2000, 0x1000].iter().filter(|flag| flags & **flag != 0).count();
            packet.get(at + 4 + optional * 4..)?
        }
        _ => return None,
    };
    match inner.first()? >> 4 {
        4 if inner.len() >= 20 => Some(l4_of4(inner, key)),
        6 if inner.len() >= 40 => Some(l4_of6(inner, key)),
        _ => None,
    }
}

/// Addresses and flow label of an IPv6 packet, or its ports when they follow the fixed header.
fn l4_of6(packet: &[u8], key: [u64; 2]) -> u64 {
    let label = word(packet, 0) & 0x000f_ffff;
    let protocol = packet.get(6).copied().unwrap_or(0);
    let ports = if has_ports(protocol) { word(packet, 40) } else { 0 };
    let flow = u64::from(ports) | u64::from(label) << 32;
    let addresses =
        [long(packet, 8), long(packet, 16) ^ flow.rotate_left(13), long(packet, 24), long(packet, 32)];
    hash4(addresses, key)
}

/// The flow hash of a received frame (byte 0 is the first of its Ethernet header), the same for both
/// directions of a flow, so that both meet on one worker. `None` for what is not IP: that has no flow. Fragments have
/// the hash of their addresses; an IPv6 packet too whose extension headers are not a fragment header alone, because
/// one may follow. VLAN tags are looked past: one flow on two VLANs is rare, and may meet on one worker.
pub fn symmetric_hash_of_frame(frame: &[u8], key: [u64; 2]) -> Option<u64> {
    let tags = crate::ethernet::vlan::tags_len(frame);
    let packet = frame.get(14 + tags..)?;
    match *frame.get(12 + tags..14 + tags)? {
        [0x08, 0x00] if packet.len() >= 20 => {
            let fragment = word(packet, 4) & 0x3fff != 0;
            let protocol = if fragment { 0 } else { packet[9] };
            let ports = if has_ports(protocol) { word(packet, usize::from(packet[0] & 15) * 4) } else { 0 };
            let (source, destination) = (word(packet, 12), word(packet, 16));
            let addresses = u64::from(source.min(destination)) << 32 | u64::from(source.max(destination));
            Some(hash2(addresses, u64::from(unordered(ports)) | u64::from(protocol) << 32, key))
        }
        [0x86, 0xdd] if packet.len() >= 40 => {
            let protocol = if may_hide_a_fragment(packet[6]) { 0 } else { packet[6] };
            let ports = if has_ports(protocol) { word(packet, 40) } else { 0 };
            let high = long(packet, 8) ^ long(packet, 24);
            let low = long(packet, 16) ^ long(packet, 32);
            Some(hash4([high, low, u64::from(unordered(ports)), u64::from(protocol)], key))
        }
        _ => None,
    }
}

/// True for a received frame that is a fragment of an IP packet, or, of IPv6, may be one behind its extension headers. VLAN
/// tags are looked past.
pub fn may_be_fragment(frame: &[u8]) -> bool {
    let at = 12 + crate::ethernet::vlan::tags_len(frame);
    match frame.get(at..at + 2) {
        Some([0x08, 0x00]) => word(frame, at + 6) & 0x3fff != 0 && frame.len() >= at + 22,
        Some([0x86, 0xdd]) => frame.get(at + 8).is_some_and(|next_header| may_hide_a_fragment(*next_header)),
        _ => false,
    }
}

/// True for a received frame that is a message of IGMP, or ICMPv6 behind hop-by-hop options, as MLD's are: what hosts
/// and routers say of groups, which every worker wants to hear. VLAN tags are looked past.
pub fn is_about_groups(frame: &[u8]) -> bool {
    const IGMP: u8 = 2;
    const ICMPV6: u8 = 58;
    let at = 12 + crate::ethernet::vlan::tags_len(frame);
    match frame.get(at..at + 2) {
        Some([0x08, 0x00]) => frame.get(at + 11) == Some(&IGMP),
        Some([0x86, 0xdd]) => frame.get(at + 8) == Some(&0) && frame.get(at + 42) == Some(&ICMPV6),
        _ => false,
    }
}

/// True for the IPv6 headers that are a fragment header, or may stand in front of one: hop-by-hop options, routing,
/// destination options.
const fn may_hide_a_fragment(next_header: u8) -> bool {
    matches!(next_header, 0 | 43 | 44 | 60)
}

/// Two ports in ascending order.
fn unordered(ports: u32) -> u32 {
    ports.min(ports.rotate_left(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321];

    fn packet(source: u8, destination: u8, ports: [u8; 4], fragment: u8) -> [u8; 24] {
        let mut packet = [0u8; 24];
        packet[0] = 0x45;
        packet[7] = fragment;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&[10, 0, 0, source]);
        packet[16..20].copy_from_slice(&[10, 0, 0, destination]);
        packet[20..].copy_from_slice(&ports);
        packet
    }

    #[test]
    fn ports_tell_flows_apart_but_fragments_stay_together() {
        let hash = |ports, fragment| hash4_of(&packet(1, 2, ports, fragment), KEY, HashPolicy::L4);
        assert_ne!(hash([0, 1, 0, 2], 0), hash([0, 1, 0, 3], 0));
        assert_eq!(hash([0, 1, 0, 2], 1), hash([9, 9, 9, 9], 1));
        let of_nothing = || hash4_of(&[], KEY, HashPolicy::Inner);
        assert_eq!(of_nothing(), of_nothing(), "nothing to read is no reason to panic");
    }

    #[test]
    fn the_policy_says_what_tells_flows_apart() {
        let plain = |ports| packet(1, 2, ports, 0).to_vec();
        let within = |protocol: u8, header: &[u8], inner: &[u8]| {
            let mut outer = packet(7, 8, [0; 4], 0)[..20].to_vec();
            outer[9] = protocol;
            [&outer[..], header, inner].concat()
        };
        let (one, other) = (plain([0, 1, 0, 2]), plain([0, 1, 0, 3]));
        let same = |policy, a: &[u8], b: &[u8]| hash4_of(a, KEY, policy) == hash4_of(b, KEY, policy);
        assert!(same(HashPolicy::L3, &one, &other) && !same(HashPolicy::L4, &one, &other));
        let gre = [0x20, 0, 8, 0, 0, 0, 0, 9]; // with a key
        for (protocol, header) in [(4, &[][..]), (47, &gre[..])] {
            let (a, b) = (within(protocol, header, &one), within(protocol, header, &other));
            assert!(same(HashPolicy::L4, &a, &b), "the outer packets are alike");
            assert!(!same(HashPolicy::Inner, &a, &b), "the inner ones are not: protocol {protocol}");
            for len in 0..a.len() {
                hash4_of(&a[..len], KEY, HashPolicy::Inner); // whatever is cut off
            }
        }
        let mut six = [0u8; 48];
        (six[0], six[6]) = (0x60, 41);
        let six = |inner: &[u8]| hash6_of(&[&six[..40], inner].concat(), KEY, HashPolicy::Inner);
        assert_ne!(six(&one), six(&other));
    }

    #[test]
    fn all_fragments_of_two_hosts_have_one_hash_whatever_they_carry() {
        let hash = |ethertype: [u8; 2], packet: &[u8]| {
            let mut frame = vec![0u8; 12];
            frame.extend_from_slice(&ethertype);
            frame.extend_from_slice(packet);
            symmetric_hash_of_frame(&frame, KEY)
        };
        let (mut first, later) = (packet(1, 2, [0, 7, 0, 9], 0), packet(1, 2, [9; 4], 9));
        first[6] = 0x20;
        let mut other_protocol = packet(2, 1, [1; 4], 9);
        other_protocol[9] = 1;
        assert_eq!(hash([8, 0], &first), hash([8, 0], &later));
        assert_eq!(hash([8, 0], &first), hash([8, 0], &other_protocol));
        assert_ne!(hash([8, 0], &first), hash([8, 0], &packet(1, 2, [0, 7, 0, 9], 0)), "a whole datagram");

        let v6 = |next_header: u8, rest: [u8; 8]| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 8, next_header, 64];
            packet.extend_from_slice(&[1; 16]);
            packet.extend_from_slice(&[2; 16]);
            packet.extend_from_slice(&rest);
            hash([0x86, 0xdd], &packet)
        };
        assert_eq!(v6(44, [17, 0, 0, 1, 0, 0, 0, 7]), v6(44, [17, 0, 5, 0, 0, 0, 0, 8]));
        assert_eq!(v6(44, [17, 0, 0, 1, 0, 0, 0, 7]), v6(60, [44, 0, 1, 4, 0, 0, 0, 0]));
        assert_ne!(v6(44, [0; 8]), v6(17, [0; 8]));
    }

    #[test]
    fn fragments_and_what_is_about_groups_are_told_from_the_frame() {
        let frame = |ethertype: [u8; 2], packet: &[u8]| [&[0u8; 12][..], &ethertype, packet].concat();
        let v4 = |fragment: u8, protocol: u8| {
            let mut packet = packet(1, 2, [0; 4], fragment);
            packet[9] = protocol;
            frame([8, 0], &packet)
        };
        assert!(may_be_fragment(&v4(1, 17)) && !may_be_fragment(&v4(0, 17)));
        assert!(is_about_groups(&v4(0, 2)) && !is_about_groups(&v4(0, 17)));
        let v6 = |next_header: u8, behind: u8| {
            let mut packet = [0u8; 48];
            (packet[0], packet[6], packet[40]) = (0x60, next_header, behind);
            frame([0x86, 0xdd], &packet)
        };
        assert!(may_be_fragment(&v6(44, 17)) && may_be_fragment(&v6(60, 44)) && !may_be_fragment(&v6(17, 0)));
        assert!(is_about_groups(&v6(0, 58)) && !is_about_groups(&v6(58, 0)));
        let tagged = |frame: &[u8], tags: &[u8]| [&frame[..12], tags, &frame[12..]].concat();
        for tags in [&[0x81, 0, 0, 7][..], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7]] {
            for frame in [v4(1, 17), v4(0, 17), v4(0, 2), v6(44, 17), v6(17, 0), v6(0, 58)] {
                let tagged = tagged(&frame, tags);
                assert_eq!(may_be_fragment(&tagged), may_be_fragment(&frame));
                assert_eq!(is_about_groups(&tagged), is_about_groups(&frame));
                let hash = |frame: &[u8]| symmetric_hash_of_frame(frame, KEY);
                assert_eq!(hash(&tagged), hash(&frame), "the same worker");
                for len in 0..tagged.len() {
                    let _no_panic = (may_be_fragment(&tagged[..len]), is_about_groups(&tagged[..len]));
                }
            }
        }
        for len in 0..62 {
            let _no_panic = (may_be_fragment(&v6(0, 58)[..len]), is_about_groups(&v4(9, 2)[..len.min(38)]));
        }
    }

    #[test]
    fn both_directions_of_a_flow_have_one_symmetric_hash() {
        let frame = |packet: &[u8]| {
            let mut frame = vec![0u8; 14];
            frame[12] = 8;
            frame.extend_from_slice(packet);
            symmetric_hash_of_frame(&frame, KEY)
        };
        let there = frame(&packet(1, 2, [0, 7, 0, 9], 0));
        assert!(there.is_some());
        assert_eq!(there, frame(&packet(2, 1, [0, 9, 0, 7], 0)));
        assert_ne!(there, frame(&packet(2, 1, [0, 9, 0, 8], 0)));
    }
}
