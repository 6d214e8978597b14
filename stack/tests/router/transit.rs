//! What passes through the router, and what becomes of packets that do not.

use crate::lab::*;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::route::{Path, Source, Target};
use flumen_stack::{Counter, DropReason, MacAddr, checksum};

#[test]
fn a_packet_in_transit_gets_a_new_link_header_a_lower_ttl_and_a_right_checksum() {
    let mut router = Router::acquainted();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 18);
    for hit in [0, 1] {
        let sent = router.receive(LAN, &[packet.sent_by_client()]);
        let expected = V4 { ttl: 63, ..V4::udp("10.0.1.2", "10.0.2.2", 18) };
        assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x0800, &expected.bytes()))]);
        assert_eq!(router.stack.counters.get(Counter::RouteCacheHits), hit);
    }
    assert_eq!(router.stack.counters.get(Counter::Ipv4Forwarded), 2);
    router.assert_conserved();
}

#[test]
fn an_ipv6_packet_in_transit_gets_a_new_link_header_and_a_lower_hop_limit() {
    let mut router = Router::acquainted();
    for _ in 0..2 {
        let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:2::2", 18).sent_by_client()]);
        let expected = V6 { hop_limit: 63, ..V6::udp("fd00:1::2", "fd00:2::2", 18) };
        assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x86dd, &expected.bytes()))]);
    }
    router.assert_conserved();
}

#[test]
fn without_a_route_cache_packets_find_their_way_all_the_same() {
    let mut router = Router::with(|_| {}, 0);
    router.introduce();
    let packets = vec![V4::udp("10.0.1.2", "10.0.2.2", 18).sent_by_client(); 64];
    assert_eq!(router.receive(LAN, &packets).len(), 64);
    assert_eq!(router.stack.counters.get(Counter::RouteCacheHits), 0);
}

#[test]
fn link_padding_is_cut_off() {
    let mut router = Router::acquainted();
    let mut frame = V4::udp("10.0.1.2", "10.0.2.2", 2).sent_by_client();
    let len = frame.len();
    frame.resize(60, 0xee);
    assert_eq!(router.receive(LAN, &[frame])[0].1.len(), len);
}

#[test]
fn a_ttl_that_runs_out_is_answered_with_time_exceeded_by_the_near_address() {
    let mut router = Router::acquainted();
    let packet = V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 18) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let [(LAN, error)] = sent.as_slice() else { panic!("{sent:?}") };
    let (kind, code, word, quoted) = icmp(error);
    assert_eq!((kind, code, word), (11, 0, 0));
    assert_eq!(quoted, packet.bytes());
    assert_eq!((&error[26..30], error[15]), (&[10, 0, 1, 1][..], 0xc0));

    let packet = V6 { hop_limit: 1, ..V6::udp("fd00:1::2", "fd00:2::2", 18) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let (kind, code, _, quoted) = icmpv6(&sent[0].1);
    assert_eq!((kind, code), (3, 0));
    assert_eq!(quoted, packet.bytes());
    assert_eq!(&sent[0].1[22..38], "fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 2);
    router.assert_conserved();
}

#[test]
fn routes_that_lead_nowhere_have_each_their_own_answer() {
    let mut router = Router::acquainted();
    router.rib.add(&route("192.0.2.0/24", Target::Blackhole)).unwrap();
    router.rib.add(&route("198.51.100.0/24", Target::Unreachable)).unwrap();
    router.rib.add(&route("203.0.113.0/24", Target::Prohibit)).unwrap();
    let mut answer = |destination: &str| {
        let sent = router.receive(LAN, &[V4::udp("10.0.1.2", destination, 8).sent_by_client()]);
        router.now = router.now + Duration::from_secs(10);
        sent.first().map(|(_, frame)| (icmp(frame).0, icmp(frame).1))
    };
    assert_eq!(answer("192.0.2.1"), None);
    assert_eq!(answer("198.51.100.1"), Some((3, 1)));
    assert_eq!(answer("203.0.113.1"), Some((3, 13)));
    assert_eq!(answer("8.8.8.8"), Some((3, 0)));
    for (prefix, target) in [("2001:db8:1::/48", Target::Blackhole), ("2001:db8:2::/48", Target::Unreachable)]
    {
        router.rib.add(&route(prefix, target)).unwrap();
    }
    router.rib.add(&route("2001:db8:3::/48", Target::Prohibit)).unwrap();
    let mut answer = |destination: &str| {
        let sent = router.receive(LAN, &[V6::udp("fd00:1::2", destination, 8).sent_by_client()]);
        router.now = router.now + Duration::from_secs(10);
        sent.first().map(|(_, frame)| (icmpv6(frame).0, icmpv6(frame).1))
    };
    assert_eq!(answer("2001:db8:1::1"), None);
    assert_eq!(answer("2001:db8:2::1"), Some((1, 0)));
    assert_eq!(answer("2001:db8:3::1"), Some((1, 1)));
    assert_eq!(answer("2001:db8:4::1"), Some((1, 0)));
}

#[test]
fn a_packet_longer_than_the_next_link_is_refused_or_cut() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 1400, 64);
    router.introduce();
    let packet = V4 { flags: 0x40, ..V4::udp("10.0.1.2", "10.0.2.2", 1400) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let (kind, code, mtu, quoted) = icmp(&sent[0].1);
    assert_eq!((kind, code, mtu), (3, 4, 1400));
    assert_eq!(quoted.len(), 576 - 28, "as much as fits in 576 bytes");

    let packet = V4::udp("10.0.1.2", "10.0.2.2", 1400);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let [(WAN, first), (WAN, second)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((first.len(), &first[20..22]), (14 + 1396, &[0x20, 0][..]), "a multiple of eight");
    assert_eq!((second.len(), &second[20..22]), (14 + 20 + 1408 - 1376, &[0, 172][..]));
    assert_eq!([&first[34..], &second[34..]].concat(), packet.payload);
    for fragment in [first, second] {
        assert!(checksum::sum(&fragment[14..34]).is_valid());
    }

    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:2::2", 1400).sent_by_client()]);
    let (kind, code, mtu, quoted) = icmpv6(&sent[0].1);
    assert_eq!((kind, code, mtu), (2, 0, 1400));
    assert_eq!(quoted.len(), 1280 - 48);
    router.assert_conserved();
}

#[test]
fn what_comes_by_link_broadcast_is_neither_forwarded_nor_answered() {
    let mut router = Router::acquainted();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 8);
    let frame = ethernet(MacAddr::BROADCAST, CLIENT, 0x0800, &packet.bytes());
    assert_eq!(router.receive(LAN, &[frame]), []);
    assert_eq!(router.dropped(DropReason::NotForwardable), 1);
    let to_us = V4::udp("10.0.1.2", "10.0.1.1", 8);
    let frame = ethernet(MacAddr::BROADCAST, CLIENT, 0x0800, &to_us.bytes());
    assert_eq!(router.receive(LAN, &[frame]), []);
    for destination in ["255.255.255.255", "10.0.1.255"] {
        let frame = V4::ping("10.0.1.2", destination, 8);
        let frame = ethernet(MacAddr::BROADCAST, CLIENT, 0x0800, &frame.bytes());
        assert_eq!(router.receive(LAN, &[frame]), [], "{destination}");
    }
    assert_eq!(router.dropped(DropReason::IcmpEchoIgnored), 2);
    let directed = V4::udp("10.0.1.2", "10.0.2.255", 8);
    assert_eq!(router.receive(LAN, &[directed.sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::NotForwardable), 2);
}

#[test]
fn a_source_that_is_ours_is_a_martian_and_strict_filtering_wants_the_way_back() {
    let mut router = Router::acquainted();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.1", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.2.255", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::Ipv4MartianSource), 2);
    assert_eq!(router.receive(LAN, &[V6::udp("fd00:2::1", "fd00:2::2", 8).sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::Ipv6MartianSource), 1);
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.2.7", "10.0.2.2", 8).sent_by_client()]).len(), 1);

    use flumen_stack::interface::ReversePathFilter::{Loose, Strict};
    let mut strict = Router::with(|interfaces| interfaces[LAN].rp_filter = Strict, 64);
    strict.introduce();
    assert_eq!(strict.receive(LAN, &[V4::udp("10.0.2.7", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(strict.receive(LAN, &[V4::udp("10.0.1.7", "10.0.2.2", 8).sent_by_client()]).len(), 1);
    let mut loose = Router::with(|interfaces| interfaces[LAN].rp_filter = Loose, 64);
    loose.introduce();
    assert_eq!(loose.receive(LAN, &[V4::udp("10.0.2.7", "10.0.2.2", 8).sent_by_client()]).len(), 1);
    assert_eq!(loose.receive(LAN, &[V4::udp("172.16.0.7", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(strict.dropped(DropReason::ReversePath) + loose.dropped(DropReason::ReversePath), 2);
}

#[test]
fn a_port_that_does_not_forward_drops_what_is_not_for_it_and_says_nothing() {
    let mut router = Router::with(|interfaces| interfaces[LAN].forwarding = false, 64);
    router.introduce();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "8.8.8.8", 8).sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::ForwardingOff), 1);
    assert_eq!(router.receive(LAN, &[V4::ping("10.0.1.2", "10.0.1.1", 8).sent_by_client()]).len(), 1);
}

#[test]
fn a_route_change_takes_effect_with_the_next_burst() {
    let mut router = Router::acquainted();
    router.stack.neighbours.add_static(port(WAN), "10.0.2.9".parse().unwrap(), SERVER, router.now).unwrap();
    let packet = V4::udp("10.0.1.2", "192.0.2.1", 8).sent_by_client();
    let sent = router.receive(LAN, std::slice::from_ref(&packet));
    assert_eq!(icmp(&sent[0].1).1, 0, "no route");
    let via = Target::Gateway { port: port(WAN), via: "10.0.2.9".parse().unwrap() };
    router.rib.add(&route("192.0.2.0/24", via)).unwrap();
    assert_eq!(router.receive(LAN, std::slice::from_ref(&packet))[0].0, WAN);
    router.rib.remove("192.0.2.0/24".parse().unwrap(), Source::Static, 0).unwrap();
    assert_eq!(router.receive(LAN, &[packet])[0].0, LAN, "an error again");
}

#[test]
fn flows_spread_over_equal_paths_and_each_stays_on_its_own() {
    let mut router = Router::acquainted();
    let gateways = [MacAddr([2, 0, 0, 0, 2, 8]), MacAddr([2, 0, 0, 0, 2, 9])];
    let mut paths = Vec::new();
    for (last, mac) in [(8, gateways[0]), (9, gateways[1])] {
        let via: IpAddr = Ipv4Addr::new(10, 0, 2, last).into();
        router.stack.neighbours.add_static(port(WAN), via, mac, router.now).unwrap();
        paths.push(Path { port: port(WAN), via: Some(via), weight: 1 });
    }
    router.rib.add(&route("192.0.2.0/24", Target::Multipath(paths))).unwrap();
    let mut count = [0; 2];
    for flow in 0..200u8 {
        let mut packet = V4::udp("10.0.1.2", "192.0.2.1", 8);
        packet.payload[1] = flow;
        let sent = router.receive(LAN, &[packet.sent_by_client(), packet.sent_by_client()]);
        assert_eq!(sent[0].1[..6], sent[1].1[..6], "one flow, one path");
        count[usize::from(sent[0].1[..6] == gateways[1].0)] += 1;
    }
    assert!(count.iter().all(|&flows| flows > 60), "{count:?}");
}

#[test]
fn an_ipv4_packet_to_an_ipv6_router_is_still_an_ipv4_packet_on_the_link() {
    let mut router = Router::new();
    let via = Target::Gateway { port: port(WAN), via: "fd00:2::2".parse().unwrap() };
    router.rib.add(&route("192.0.2.0/24", via)).unwrap();
    let packet = V4::udp("10.0.1.2", "192.0.2.1", 8);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    assert_eq!(icmpv6(&sent[0].1).0, 135, "the router is asked for by its IPv6 address");
    router.introduce();
    let expected = ethernet(SERVER, ROUTER[WAN], 0x0800, &V4 { ttl: 63, ..packet }.bytes());
    let waited = router.wait(Duration::ZERO);
    assert_eq!(waited, [(WAN, expected.clone())], "also the one that waited for it");
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "192.0.2.1", 8).sent_by_client()]);
    assert_eq!(sent, [(WAN, expected)]);
}

#[test]
fn a_packet_from_our_own_link_local_address_is_a_martian() {
    let mut router = Router::acquainted();
    for destination in ["fd00:2::2", "fe80::1", "ff02::1", "2001:db8::1"] {
        let packet = V6::ping("fe80::1", destination, 8).sent_by_client();
        assert_eq!(router.receive(LAN, &[packet]), [], "{destination}");
    }
    assert_eq!(router.dropped(DropReason::Ipv6MartianSource), 4);
    let other = V6::ping("fe80::2", "fe80::1", 8).sent_by_client();
    assert_eq!(router.receive(LAN, &[other]).len(), 1, "the other port's is somebody else's here");
}
