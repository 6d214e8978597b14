//! Conversations about policy routing: tables and rules, route metrics, the martian log. The router is the one of
//! `common`; a second uplink (`dmz`, 10.0.3.2 and fd00:3::2) has a table of its own.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::net::IpAddr;
use flumen_stack::interface::ReversePathFilter;
use flumen_stack::ip::policy::{HashPolicy, Routing};
use flumen_stack::route::rules::Wanted;
use flumen_stack::route::{
    Rib, RibConfig, Route, RouteMetrics, Rule, RuleAction, Rules, TableId, TableSize, Target,
};
use flumen_stack::{Counter, DropReason};

const CLIENT: &str = "10.0.1.2";
const CLIENT6: &str = "fd00:1::2";

fn second() -> TableId {
    TableId::policy(0).unwrap()
}

/// The routes of `common`, a default route by `wan`, and in the second table one by `dmz`.
fn two_tables() -> Rib {
    let size = TableSize { routes4: 64, routes6: 64 };
    let config = RibConfig { tables: vec![size, size], ..small() };
    let mut rib = fill(Rib::new(config).unwrap());
    for (prefix, target) in [("0.0.0.0/0", gateway(WAN, "10.0.2.2")), ("::/0", gateway(WAN, "fd00:2::2"))] {
        rib.add(&route(prefix, target)).unwrap();
    }
    for (prefix, target) in [
        ("0.0.0.0/0", gateway(DMZ, "10.0.3.2")),
        ("203.0.113.0/24", Target::Prohibit),
        ("::/0", gateway(DMZ, "fd00:3::2")),
    ] {
        rib.add(&Route { table: second(), ..route(prefix, target) }).unwrap();
    }
    rib
}

fn rule(priority: u32, action: RuleAction) -> Rule {
    Rule { priority, from: None, to: None, in_port: None, wanted: Wanted::default(), action }
}

fn router(rib: &Rib, rules: Vec<Rule>) -> Router {
    let routing = Routing { rules: Rules::new(rules).unwrap(), ..Routing::default() };
    let mut router = Router::routing_by(rib, Sizes::default(), interfaces(), routing);
    router.introduce();
    router
}

/// A datagram in a frame to the router at `index`, from `source` to port `number` of `destination`.
fn datagram(index: usize, source: &str, destination: &str, number: u16, tos: u8) -> Vec<u8> {
    let (source, destination) = (ip(source), ip(destination));
    let payload = upper(17, source, destination, number.to_be_bytes(), b"hello");
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (id, fragment, ttl, protocol) = (1, 0, 64, 17);
            let packet =
                V4 { tos, id, fragment, ttl, protocol, source, destination, options: vec![], payload };
            ethernet(our_mac(index), station(index, 2), 0x0800, &packet.bytes())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let word = 6 << 28 | u32::from(tos) << 20;
            let packet = V6 { word, next_header: 17, hop_limit: 64, source, destination, payload };
            ethernet(our_mac(index), station(index, 2), 0x86dd, &packet.bytes())
        }
        _ => panic!("one family"),
    }
}

/// Where a frame that came in at `index` leaves; an ICMP error leaves where it came in.
fn way(router: &mut Router, index: usize, frame: Vec<u8>) -> Option<usize> {
    router.input(index, &[frame]);
    let sent = router.sent();
    assert!(sent.len() <= 1);
    sent.first().map(|(port, _)| *port)
}

fn to_second(priority: u32) -> Rule {
    rule(priority, RuleAction::Table(second()))
}

#[test]
fn packets_from_one_subnet_take_the_second_uplink_and_others_the_first() {
    let rib = two_tables();
    let rules = vec![
        Rule { from: Some("10.0.1.0/25".parse().unwrap()), ..to_second(100) },
        Rule { from: Some("fd00:1::/96".parse().unwrap()), ..to_second(101) },
    ];
    let mut router = router(&rib, rules);
    // Each asked twice: of the tables, and of the cache.
    for _ in 0..2 {
        assert_eq!(way(&mut router, LAN, datagram(LAN, CLIENT, "8.8.8.8", 9, 0)), Some(DMZ));
        assert_eq!(way(&mut router, LAN, datagram(LAN, "10.0.1.130", "8.8.8.8", 9, 0)), Some(WAN));
        assert_eq!(way(&mut router, LAN, datagram(LAN, CLIENT6, "2001:db8::8", 9, 0)), Some(DMZ));
        assert_eq!(way(&mut router, LAN, datagram(LAN, "fd00:1:0:0:7::2", "2001:db8::8", 9, 0)), Some(WAN));
    }
    assert!(router.stack.counters.get(Counter::RouteCacheHits) >= 4, "the cache was asked too");
}

#[test]
fn ports_protocol_and_type_of_service_have_a_say_and_the_cache_keeps_them_apart() {
    let rib = two_tables();
    let dns = Wanted { protocol: Some(17), ports: Some((53, 53)), ..Wanted::default() };
    let quick = Wanted { tos: Some(0x10), ..Wanted::default() };
    let mut router =
        router(&rib, vec![Rule { wanted: dns, ..to_second(100) }, Rule { wanted: quick, ..to_second(200) }]);
    for _ in 0..2 {
        for (number, tos, wanted) in [(53, 0, DMZ), (54, 0, WAN), (54, 0x10, DMZ), (54, 0x20, WAN)] {
            for (source, destination) in [(CLIENT, "8.8.8.8"), (CLIENT6, "2001:db8::8")] {
                let frame = datagram(LAN, source, destination, number, tos);
                assert_eq!(way(&mut router, LAN, frame), Some(wanted), "{destination} {number} {tos}");
            }
        }
    }
}

#[test]
fn a_table_without_a_route_lets_the_next_rule_try_and_the_main_table_is_last() {
    let rib = two_tables();
    let empty = RuleAction::Table(TableId::policy(1).unwrap());
    let mut router = router(&rib, vec![rule(1, empty)]);
    assert_eq!(way(&mut router, LAN, datagram(LAN, CLIENT, "8.8.8.8", 9, 0)), Some(WAN));
    let mut router = self::router(&rib, vec![rule(1, empty), to_second(2)]);
    assert_eq!(way(&mut router, LAN, datagram(LAN, CLIENT, "8.8.8.8", 9, 0)), Some(DMZ));
}

#[test]
fn what_is_ours_is_ours_whatever_rules_say_and_what_is_on_a_link_is_not() {
    let rib = two_tables();
    let mut router = router(&rib, vec![to_second(100)]);
    router.input(LAN, &[datagram(LAN, CLIENT, "10.0.1.1", 9, 0)]);
    assert_eq!(router.stack.counters.get(Counter::Ipv4Delivered), 1);
    router.sent();
    // A neighbour on the link of `wan` is in the main table; the rule leads to another one, as in Linux.
    assert_eq!(way(&mut router, LAN, datagram(LAN, CLIENT, "10.0.2.77", 9, 0)), Some(DMZ));
}

#[test]
fn rules_and_routes_of_their_tables_refuse_as_those_of_the_main_table_do() {
    let rib = two_tables();
    let to = |net: &str| Some(net.parse().unwrap());
    let rules = vec![
        Rule { to: to("198.18.0.0/24"), ..rule(1, RuleAction::Blackhole) },
        Rule { to: to("198.18.1.0/24"), ..rule(2, RuleAction::Unreachable) },
        Rule { to: to("198.18.2.0/24"), ..rule(3, RuleAction::Prohibit) },
        to_second(4),
    ];
    let mut router = router(&rib, rules);
    for (destination, answer, reason) in [
        ("198.18.0.1", None, DropReason::RouteBlackhole),
        ("198.18.1.1", Some([3, 1]), DropReason::RouteUnreachable),
        ("198.18.2.1", Some([3, 13]), DropReason::RouteProhibit),
        ("203.0.113.1", Some([3, 13]), DropReason::RouteProhibit),
    ] {
        let before = router.stack.counters.dropped(reason);
        router.input(LAN, &[datagram(LAN, CLIENT, destination, 9, 0)]);
        assert_eq!(router.stack.counters.dropped(reason), before + 1, "{destination}");
        let answered = router.sent().first().map(|(_, frame)| [frame[34], frame[35]]);
        assert_eq!(answered, answer, "{destination}");
    }
}

#[test]
fn the_port_of_arrival_has_a_say_and_our_own_packets_arrived_by_none() {
    let rib = two_tables();
    let mut router = router(&rib, vec![Rule { in_port: Some(port(LAN)), ..to_second(1) }]);
    assert_eq!(way(&mut router, LAN, datagram(LAN, CLIENT, "8.8.8.8", 9, 0)), Some(DMZ));
    assert_eq!(way(&mut router, DMZ, datagram(DMZ, "10.0.3.2", "8.8.8.8", 9, 0)), Some(WAN));
    // An echo reply of ours: from an address of `lan`, but not in by it.
    let echo = upper(1, ip("8.8.8.8"), ip("10.0.1.1"), [8, 0], b"ping");
    let (source, destination) = ("8.8.8.8".parse().unwrap(), "10.0.1.1".parse().unwrap());
    let packet = V4 {
        tos: 0,
        id: 1,
        fragment: 0,
        ttl: 9,
        protocol: 1,
        source,
        destination,
        options: vec![],
        payload: echo,
    };
    let frame = ethernet(our_mac(LAN), station(LAN, 2), 0x0800, &packet.bytes());
    assert_eq!(way(&mut router, LAN, frame.clone()), Some(WAN));
    // A rule about its source fits it.
    let from_us = Rule { from: Some("10.0.1.1/32".parse().unwrap()), ..to_second(1) };
    let mut router = self::router(&rib, vec![from_us]);
    assert_eq!(way(&mut router, LAN, frame), Some(DMZ));
}

#[test]
fn the_reverse_path_filter_asks_the_rules_for_the_way_back() {
    let rib = two_tables();
    let mut filtered = interfaces();
    filtered[DMZ].rp_filter = ReversePathFilter::Strict;
    let frame = || datagram(DMZ, "8.8.8.8", CLIENT, 9, 0);
    let routing = |rules| Routing { rules: Rules::new(rules).unwrap(), ..Routing::default() };
    // Without a rule the way back to 8.8.8.8 is `wan`.
    let mut router = Router::routing_by(&rib, Sizes::default(), filtered.clone(), routing(vec![]));
    router.introduce();
    assert_eq!(way(&mut router, DMZ, frame()), None);
    assert_eq!(router.stack.counters.dropped(DropReason::ReversePath), 1);
    // With one that sends the client's packets there it is `dmz`.
    let rules = vec![Rule { from: Some("10.0.1.0/24".parse().unwrap()), ..to_second(1) }];
    let mut router = Router::routing_by(&rib, Sizes::default(), filtered, routing(rules));
    router.introduce();
    assert_eq!(way(&mut router, DMZ, frame()), Some(LAN));
}

#[test]
fn the_mtu_of_a_route_bounds_what_is_forwarded_by_it() {
    let mut rib = two_tables();
    let narrow = RouteMetrics { mtu: 1000, ..RouteMetrics::NONE };
    for (prefix, target) in [
        ("192.0.2.0/25", gateway(WAN, "10.0.2.2")),
        ("198.51.100.0/25", multipath(&[(WAN, "10.0.2.2"), (DMZ, "10.0.3.2")])),
        ("2001:db8:1:1::/64", gateway(WAN, "fd00:2::2")),
    ] {
        rib.add(&Route { metrics: narrow, ..route(prefix, target) }).unwrap();
    }
    let mut router = router(&rib, vec![]);
    let long = |destination: &str, fragment: u16| {
        let (source, destination) = (CLIENT.parse().unwrap(), destination.parse().unwrap());
        let payload = vec![0; 1180];
        let packet = V4 {
            tos: 0,
            id: 1,
            fragment,
            ttl: 9,
            protocol: 99,
            source,
            destination,
            options: vec![],
            payload,
        };
        ethernet(our_mac(LAN), station(LAN, 2), 0x0800, &packet.bytes())
    };
    for destination in ["192.0.2.1", "198.51.100.1"] {
        router.input(LAN, &[long(destination, 0x4000)]);
        let sent = router.sent();
        let error = &sent[0].1;
        assert_eq!((sent[0].0, error[34], error[35]), (LAN, 3, 4), "fragmentation needed: {destination}");
        assert_eq!(u16::from_be_bytes([error[40], error[41]]), 1000);
        router.input(LAN, &[long(destination, 0)]);
        let lengths: Vec<usize> = router.sent().iter().map(|(_, frame)| frame.len() - 14).collect();
        assert_eq!(lengths, [996, 224], "cut to the route's MTU: {destination}");
    }
    router.input(LAN, &[long("192.0.2.200", 0x4000)]);
    assert_eq!(router.sent()[0].0, WAN, "its neighbour in the table is as wide as the link");
    // IPv6: packet too big. The prefix is longer than the one of the table without metrics.
    let (source, destination) = (CLIENT6.parse().unwrap(), "2001:db8:1:1::1".parse().unwrap());
    let packet =
        V6 { word: 6 << 28, next_header: 99, hop_limit: 9, source, destination, payload: vec![0; 1300] };
    router.input(LAN, &[ethernet(our_mac(LAN), station(LAN, 2), 0x86dd, &packet.bytes())]);
    let sent = router.sent();
    assert_eq!(
        (sent[0].0, sent[0].1[54], u16::from_be_bytes([sent[0].1[60], sent[0].1[61]])),
        (LAN, 2, 1000)
    );
}

#[test]
fn flows_between_two_hosts_stay_together_when_ports_are_not_asked() {
    let rib = two_tables();
    let ways = |hash| {
        let mut router =
            Router::routing_by(&rib, Sizes::default(), interfaces(), Routing { hash, ..Routing::default() });
        router.introduce();
        let mut ways: Vec<_> = (1000..1064)
            .map(|number| way(&mut router, LAN, datagram(LAN, CLIENT, "198.51.100.7", number, 0)))
            .collect();
        ways.sort_unstable();
        ways.dedup();
        ways
    };
    assert_eq!(ways(HashPolicy::L3).len(), 1);
    assert_eq!(ways(HashPolicy::L4), [Some(WAN), Some(DMZ)]);
}

#[test]
fn martians_are_noted_with_their_port_and_reason() {
    let rib = two_tables();
    let mut filtered = interfaces();
    filtered[WAN].rp_filter = ReversePathFilter::Strict;
    let routing = Routing { log_martians: true, ..Routing::default() };
    let mut router = Router::routing_by(&rib, Sizes::default(), filtered, routing);
    router.introduce();
    router.input(
        LAN,
        &[datagram(LAN, "127.0.0.1", "8.8.8.8", 9, 0), datagram(LAN, "10.0.1.1", "8.8.8.8", 9, 0)],
    );
    router.input(WAN, &[datagram(WAN, CLIENT, "10.0.3.2", 9, 0)]);
    router.input(WAN, &[datagram(WAN, "fd00:1::2", "fd00:3::2", 9, 0)]);
    router.input(WAN, &[datagram(WAN, "8.8.8.8", "10.0.3.2", 9, 0)]);
    let noted: Vec<_> = core::iter::from_fn(|| router.stack.martians.take())
        .map(|note| (note.port.index(), note.source.to_string(), note.reason))
        .collect();
    let expected = [
        (LAN, "127.0.0.1", DropReason::Ipv4MartianSource),
        (LAN, "10.0.1.1", DropReason::Ipv4MartianSource),
        (WAN, CLIENT, DropReason::ReversePath),
        (WAN, "fd00:1::2", DropReason::ReversePath),
    ];
    assert_eq!(noted, expected.map(|(port, source, reason)| (port, source.to_owned(), reason)));
}
