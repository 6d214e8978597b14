//! Flumen's forwarding against a naive model of it: RFC 1812 section 5.2 and RFC 8200 sections 3 and 4.5 written
//! down as one list of questions, with a route table that is a list searched from end to end.
//!
//! All neighbours are known, so that each valid packet has its end at once: out of one port, to one neighbour,
//! with one TTL less and nothing else changed; or dropped for one reason; or delivered here.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use flumen_stack::DropReason;
use flumen_stack::route::{Rib, Target};
use ipnet::IpNet;
use proptest::prelude::*;
use std::cell::RefCell;

const MTU: [usize; PORTS] = [1500, 1400, 1300];

/// What the model says becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// It leaves by one of these (port, host number of the neighbour), whole.
    Leaves(Vec<(usize, u8)>),
    /// It leaves so in fragments.
    Fragments(Vec<(usize, u8)>),
    Here,
    Dropped(DropReason),
}

/// The routes, as anybody would write them down.
fn routes() -> Vec<(IpNet, Way)> {
    let mut routes = Vec::new();
    for index in 0..PORTS {
        let net = index + 1;
        let mut add = |prefix: String, way| routes.push((prefix.parse().unwrap(), way));
        add(format!("10.0.{net}.0/24"), Way::OnLink(index));
        add(format!("fd00:{net}::/64"), Way::OnLink(index));
        add(format!("10.0.{net}.1/32"), Way::Ours);
        add(format!("fd00:{net}::1/128"), Way::Ours);
        add(format!("10.0.{net}.0/32"), Way::Broadcast(index));
        add(format!("10.0.{net}.255/32"), Way::Broadcast(index));
    }
    for (prefix, way) in [
        ("192.0.2.0/24", Way::Via(vec![(WAN, 2)])),
        ("198.51.100.0/24", Way::Via(vec![(WAN, 2), (DMZ, 2)])),
        ("203.0.113.0/24", Way::Refused(DropReason::RouteBlackhole)),
        ("203.0.112.0/24", Way::Refused(DropReason::RouteUnreachable)),
        ("203.0.111.0/24", Way::Refused(DropReason::RouteProhibit)),
        ("100.64.0.0/16", Way::Via(vec![(WAN, 2)])),
        ("2001:db8:1::/48", Way::Via(vec![(WAN, 2)])),
        ("2001:db8:2::/48", Way::Via(vec![(WAN, 2), (DMZ, 2)])),
        ("2001:db8:3::/48", Way::Refused(DropReason::RouteBlackhole)),
        ("2001:db8:4::/48", Way::Refused(DropReason::RouteUnreachable)),
        ("2001:db8:5::/48", Way::Refused(DropReason::RouteProhibit)),
        ("2001:db8:6::/48", Way::Via(vec![(WAN, 2)])),
        ("192.0.2.64/26", Way::Via(vec![(DMZ, 2)])),
        ("192.0.2.80/32", Way::Refused(DropReason::RouteBlackhole)),
        ("2001:db8:1:8000::/49", Way::Via(vec![(DMZ, 2)])),
    ] {
        routes.push((prefix.parse().unwrap(), way));
    }
    routes
}

#[derive(Debug, Clone)]
enum Way {
    Ours,
    Broadcast(usize),
    OnLink(usize),
    Via(Vec<(usize, u8)>),
    Refused(DropReason),
}

/// The longest prefix that holds the address.
fn lookup(address: IpAddr) -> Option<Way> {
    let all = routes().into_iter().filter(|(net, _)| net.contains(&address));
    all.max_by_key(|(net, _)| net.prefix_len()).map(|(_, way)| way)
}

fn host(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

/// The path of a packet whose addresses may be on a wire.
fn path(source: IpAddr, destination: IpAddr, from: usize) -> Result<Vec<(usize, u8)>, End> {
    if matches!(lookup(source), Some(Way::Ours | Way::Broadcast(_))) {
        let reason =
            if source.is_ipv4() { DropReason::Ipv4MartianSource } else { DropReason::Ipv6MartianSource };
        return Err(End::Dropped(reason));
    }
    match lookup(destination) {
        None => Err(End::Dropped(DropReason::NoRoute)),
        Some(Way::Ours) => Err(End::Here),
        Some(Way::Broadcast(link)) if link == from => Err(End::Here),
        Some(Way::Broadcast(_)) => Err(End::Dropped(DropReason::NotForwardable)),
        Some(Way::Refused(reason)) => Err(End::Dropped(reason)),
        Some(Way::OnLink(link)) => Ok(vec![(link, host(destination))]),
        Some(Way::Via(members)) => Ok(members),
    }
}

fn model4(packet: &V4, from: usize) -> End {
    let (source, destination) = (packet.source, packet.destination);
    let first = |address: Ipv4Addr| address.octets()[0];
    if matches!(first(source), 0 | 127 | 224..) {
        return End::Dropped(DropReason::Ipv4MartianSource);
    }
    if destination == Ipv4Addr::BROADCAST || destination == Ipv4Addr::new(224, 0, 0, 1) {
        return End::Here;
    }
    if matches!(first(destination), 0 | 127 | 240..) {
        return End::Dropped(DropReason::Ipv4MartianDestination);
    }
    if destination.is_multicast() {
        return End::Dropped(DropReason::NotJoined);
    }
    let members = match path(source.into(), destination.into(), from) {
        Ok(members) => members,
        Err(end) => return end,
    };
    if packet.ttl <= 1 {
        return End::Dropped(DropReason::HopLimitExceeded);
    }
    // The model has no multipath over links of different MTU: both are cut for, or neither.
    let len = packet.bytes().len();
    let fits = members.iter().all(|(link, _)| len <= MTU[*link]);
    match (fits, packet.fragment & 0x4000 != 0) {
        (true, _) => End::Leaves(members),
        (false, true) => End::Dropped(DropReason::PacketTooBig),
        (false, false) => End::Fragments(members),
    }
}

fn model6(packet: &V6, from: usize) -> End {
    let (source, destination) = (packet.source, packet.destination);
    let mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
    if source.is_multicast() || source.is_loopback() || mapped(source) {
        return End::Dropped(DropReason::Ipv6MartianSource);
    }
    if destination.is_unspecified() || destination.is_loopback() || mapped(destination) {
        return End::Dropped(DropReason::Ipv6MartianDestination);
    }
    let ours = format!("fe80::{}", from + 1).parse::<Ipv6Addr>().unwrap();
    if destination.is_multicast() && destination.octets()[1] & 15 < 2 {
        return End::Dropped(DropReason::Ipv6MartianDestination);
    }
    if source == ours {
        return End::Dropped(DropReason::Ipv6MartianSource);
    }
    if destination.is_multicast() {
        return match destination.octets()[1] & 15 {
            _ if destination == "ff02::1".parse::<Ipv6Addr>().unwrap() => End::Here,
            _ => End::Dropped(DropReason::NotJoined),
        };
    }
    if destination.is_unicast_link_local() {
        return if destination == ours { End::Here } else { End::Dropped(DropReason::LinkLocalScope) };
    }
    let stays = source.is_unicast_link_local() || source.is_unspecified();
    let judged: IpAddr = if stays { ip("2001:db8:99::1") } else { source.into() };
    let members = match path(judged, destination.into(), from) {
        Ok(members) => members,
        Err(end) => return end,
    };
    if source.is_unicast_link_local() {
        return End::Dropped(DropReason::LinkLocalScope);
    }
    if source.is_unspecified() {
        return End::Dropped(DropReason::Ipv6MartianSource);
    }
    if packet.hop_limit <= 1 {
        return End::Dropped(DropReason::HopLimitExceeded);
    }
    let len = packet.bytes().len();
    if members.iter().any(|(link, _)| len > MTU[*link]) {
        return End::Dropped(DropReason::PacketTooBig);
    }
    End::Leaves(members)
}

thread_local! {
    static RIB: RefCell<Option<Rib>> = const { RefCell::new(None) };
}

/// A router that knows every station that the packets can go to, and both ends of the model's routes.
fn with_router<T>(work: impl FnOnce(&mut Router) -> T) -> T {
    RIB.with_borrow_mut(|kept| {
        let rib = kept.get_or_insert_with(|| {
            let mut rib = rib();
            rib.add(&route("192.0.2.64/26", gateway(DMZ, "10.0.3.2"))).unwrap();
            rib.add(&route("192.0.2.80/32", Target::Blackhole)).unwrap();
            rib.add(&route("2001:db8:1:8000::/49", gateway(DMZ, "fd00:3::2"))).unwrap();
            rib
        });
        let mut interfaces = interfaces();
        for (one, mtu) in interfaces.iter_mut().zip(MTU) {
            one.mtu = mtu as u16;
        }
        let mut router = Router::new(rib, Sizes::default(), interfaces);
        router.introduce();
        for index in 0..PORTS {
            let net = index + 1;
            for address in [format!("10.0.{net}.9"), format!("fd00:{net}::9")] {
                let mac = station(index, 9);
                router.stack.neighbours.add_static(port(index), ip(&address), mac, router.now).unwrap();
            }
        }
        work(&mut router)
    })
}

/// Compares what happens to a packet, three times (the second and third hit the cache), with what should.
fn compare(frame: &[u8], packet: &[u8], from: usize, expected: &End) {
    with_router(|router| {
        for round in 0..3 {
            let before = router.stack.counters.clone();
            router.input(from, &[frame.to_vec()]);
            let counters = &router.stack.counters;
            let new = |reason: DropReason| counters.dropped(reason) - before.dropped(reason);
            let reasons: Vec<DropReason> =
                DropReason::ALL.iter().copied().filter(|&reason| new(reason) > 0).collect();
            let sent = router.sent();
            // What is not ours is the packet itself; the rest is what we say about it.
            let same_source = |frame: &[u8]| match packet[0] >> 4 {
                4 => frame.get(26..30) == packet.get(12..16),
                _ => frame.get(22..38) == packet.get(8..24),
            };
            let through: Vec<_> = sent.iter().filter(|(_, frame)| same_source(frame)).collect();
            match expected {
                End::Leaves(members) => {
                    assert_eq!((sent.len(), reasons.len()), (1, 0), "round {round}: {sent:02x?} {reasons:?}");
                    let (out, frame) = through.first().unwrap();
                    let to = members
                        .iter()
                        .find(|(link, host)| link == out && frame[..6] == station(*link, *host).0);
                    assert!(to.is_some(), "round {round}: {members:?}, not {out} {frame:02x?}");
                    assert_eq!(frame[14..], lowered(packet), "nothing but the TTL changes");
                }
                End::Fragments(members) => {
                    assert!(
                        through.len() > 1 && reasons.is_empty(),
                        "round {round}: {sent:02x?} {reasons:?}"
                    );
                    let out = through[0].0;
                    assert!(members.iter().any(|(link, _)| *link == out));
                    assert!(through.iter().all(|(link, frame)| *link == out && frame.len() <= MTU[out] + 14));
                    let header = usize::from(packet[0] & 15) * 4;
                    let payload: Vec<u8> = through
                        .iter()
                        .flat_map(|(_, frame)| frame[14 + usize::from(frame[14] & 15) * 4..].to_vec())
                        .collect();
                    assert_eq!(payload, packet[header..], "the pieces are the whole");
                }
                End::Here => assert!(through.is_empty(), "round {round}: {sent:02x?}"),
                End::Dropped(reason) => {
                    assert_eq!((reasons, through), (vec![*reason], vec![]), "round {round}");
                }
            }
        }
    });
}

/// The packet with one TTL less.
fn lowered(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        packet[10..12].fill(0);
        let header = usize::from(packet[0] & 15) * 4;
        let sum = flumen_stack::checksum::sum(&packet[..header]).checksum();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet[7] -= 1;
    }
    packet
}

fn any4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        4 => (1u8..4, prop_oneof![Just(1u8), Just(2), Just(9), Just(255), Just(0)])
            .prop_map(|(net, host)| Ipv4Addr::new(10, 0, net, host)),
        4 => any::<u8>().prop_map(|host| Ipv4Addr::new(192, 0, 2, host)),
        3 => (111u8..114, any::<u8>()).prop_map(|(net, host)| Ipv4Addr::new(203, 0, net, host)),
        2 => any::<u16>().prop_map(|low| Ipv4Addr::from_bits(0x6440_0000 | u32::from(low))),
        1 => any::<u8>().prop_map(|host| Ipv4Addr::new(198, 51, 100, host)),
        2 => any::<u32>().prop_map(Ipv4Addr::from_bits),
        1 => prop_oneof![Just(Ipv4Addr::BROADCAST), Just(Ipv4Addr::new(224, 0, 0, 1))],
    ]
    // Others on a link would have to be asked for first.
    .prop_filter("a station that is known", |address| {
        let [a, b, net, host] = address.octets();
        (a, b) != (10, 0) || !(1..4).contains(&net) || matches!(host, 0 | 1 | 2 | 9 | 255)
    })
}

fn any6() -> impl Strategy<Value = Ipv6Addr> {
    let site = |net: u16, low: u16| Ipv6Addr::new(0x2001, 0xdb8, net, low, 0, 0, 0, 1);
    prop_oneof![
        4 => (1u16..4, prop_oneof![Just(1u16), Just(2), Just(9)])
            .prop_map(|(net, host)| Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host)),
        6 => (1u16..8, any::<u16>()).prop_map(move |(net, low)| site(net, low)),
        2 => (1u16..5).prop_map(|host| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host)),
        1 => (0u16..16, 1u16..4).prop_map(|(scope, group)| Ipv6Addr::new(0xff00 | scope, 0, 0, 0, 0, 0, 0, 0x100 | group)),
        1 => any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits >> 3 | 1 << 125)),
        1 => prop_oneof![
            Just("::".parse().unwrap()), Just("::1".parse().unwrap()),
            Just("::ffff:10.0.1.2".parse().unwrap()), Just("ff02::1".parse().unwrap()),
        ],
    ]
}

/// Lengths around the MTUs of the links.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0usize..64, 1 => 1240usize..1290, 1 => 1340usize..1390, 1 => 1440usize..1490]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn ipv4_packets_end_as_rfc_1812_says(
        (from, source, destination) in (0..PORTS, any4(), any4()),
        (ttl, tos, id, dont) in (prop_oneof![Just(0u8), Just(1), Just(2), Just(64), Just(255)], any::<u8>(), any::<u16>(), any::<bool>()),
        (length, options) in (length(), prop_oneof![Just(0usize), Just(0), Just(4), Just(40)]),
    ) {
        let fragment = if dont { 0x4000 } else { 0 };
        let payload = upper(17, source.into(), destination.into(), [0, 9], &vec![7; length]);
        let packet = V4 { tos, id, fragment, ttl, protocol: 17, source, destination, options: vec![1; options], payload };
        let expected = model4(&packet, from);
        // Over two links of different MTU the answer depends on the flow.
        let len = packet.bytes().len();
        let split = matches!(&expected, End::Fragments(m) | End::Leaves(m) if m.len() > 1)
            || lookup(destination.into()).is_some_and(|way| matches!(way, Way::Via(m) if m.len() > 1));
        prop_assume!(!(split && len > MTU[DMZ] && len <= MTU[WAN]));
        let bytes = packet.bytes();
        compare(&ethernet(our_mac(from), station(from, 2), 0x0800, &bytes), &bytes, from, &expected);
    }

    #[test]
    fn ipv6_packets_end_as_rfc_8200_says(
        (from, source, destination) in (0..PORTS, any6(), any6()),
        (hop_limit, word) in (prop_oneof![Just(0u8), Just(1), Just(2), Just(64), Just(255)], 0u32..1 << 28),
        length in length(),
    ) {
        let payload = upper(17, source.into(), destination.into(), [0, 9], &vec![7; length]);
        let packet = V6 { word: 6 << 28 | word, next_header: 17, hop_limit, source, destination, payload };
        let expected = model6(&packet, from);
        let len = packet.bytes().len();
        let split = lookup(destination.into()).is_some_and(|way| matches!(way, Way::Via(m) if m.len() > 1));
        prop_assume!(!(split && len > MTU[DMZ] && len <= MTU[WAN]));
        let bytes = packet.bytes();
        compare(&ethernet(our_mac(from), station(from, 2), 0x86dd, &bytes), &bytes, from, &expected);
    }
}
