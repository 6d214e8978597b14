//! Conversations about groups: hosts join and leave, routers ask, streams flow to where they are wanted. The router is
//! the one of `common`; `lan` and `dmz` are downstream, `wan` is upstream where a test says so.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::multicast::querier::{QuerierConfig, Role};
use flumen_stack::multicast::{MulticastConfig, MulticastRoute, Out};
use flumen_stack::{Counter, DropReason, FramePool, MacAddr, checksum};
use proptest::prelude::*;

const GROUP: &str = "239.1.2.3";
const GROUP6: &str = "ff05::4:5";

fn router(upstream: Option<usize>, routes: Vec<MulticastRoute>) -> Router {
    let config = MulticastConfig {
        downstream: vec![port(LAN), port(DMZ)],
        upstream: upstream.map(port),
        routes,
        querier: QuerierConfig::default(),
        speaks: true,
    };
    let mut router = Router::routing_groups(&rib(), Sizes::default(), interfaces(), config);
    router.introduce();
    router
}

fn group_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            MacAddr([0x33, 0x33, a, b, c, d])
        }
    }
}

/// A packet of either family to a group, in a frame from the station .2 of a link.
fn to_group(
    from: usize,
    source: &str,
    group: &str,
    ttl: u8,
    protocol: u8,
    payload: Vec<u8>,
    alert: bool,
) -> Vec<u8> {
    let (source, group) = (ip(source), ip(group));
    let (mac, station) = (group_mac(group), station(from, 2));
    match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let options = if alert { vec![148, 4, 0, 0] } else { vec![] };
            let packet =
                V4 { tos: 0, id: 7, fragment: 0, ttl, protocol, source, destination, options, payload };
            ethernet(mac, station, 0x0800, &packet.bytes())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (next_header, payload) = if alert {
                (0, [vec![protocol, 0, 5, 2, 0, 0, 1, 0], payload].concat())
            } else {
                (protocol, payload)
            };
            let packet = V6 { word: 6 << 28, next_header, hop_limit: ttl, source, destination, payload };
            ethernet(mac, station, 0x86dd, &packet.bytes())
        }
        _ => panic!("one family"),
    }
}

/// A datagram of a stream.
fn stream(from: usize, source: &str, group: &str, ttl: u8) -> Vec<u8> {
    let payload = upper(17, ip(source), ip(group), 5004u16.to_be_bytes(), b"picture");
    to_group(from, source, group, ttl, 17, payload, false)
}

fn igmp(from: usize, source: &str, to: &str, mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    to_group(from, source, to, 1, 2, message, true)
}

fn octets(group: &str) -> Vec<u8> {
    match ip(group) {
        IpAddr::V4(group) => group.octets().to_vec(),
        IpAddr::V6(group) => group.octets().to_vec(),
    }
}

/// A report of the newest version with one record.
fn report(from: usize, kind: u8, group: &str, sources: &[&str]) -> Vec<u8> {
    let mut record = vec![kind, 0, 0, sources.len() as u8];
    record.extend(octets(group));
    sources.iter().for_each(|source| record.extend(octets(source)));
    if ip(group).is_ipv4() {
        let host = format!("10.0.{}.2", from + 1);
        igmp(from, &host, "224.0.0.22", [vec![0x22, 0, 0, 0, 0, 0, 0, 1], record].concat())
    } else {
        let (source, to): (Ipv6Addr, Ipv6Addr) = ("fe80::99".parse().unwrap(), "ff02::16".parse().unwrap());
        let message = with_sum6([vec![143, 0, 0, 0, 0, 0, 0, 1], record].concat(), source, to);
        to_group(from, "fe80::99", "ff02::16", 1, 58, message, true)
    }
}

fn join(from: usize, group: &str) -> Vec<u8> {
    report(from, 4, group, &[])
}

fn leave(from: usize, group: &str) -> Vec<u8> {
    report(from, 3, group, &[])
}

/// The ports that a datagram of a stream leaves by, in order; its frames are looked at.
fn flows(router: &mut Router, from: usize, source: &str, group: &str, ttl: u8) -> Vec<usize> {
    router.sent();
    let frame = stream(from, source, group, ttl);
    router.input(from, std::slice::from_ref(&frame));
    let mut ways = Vec::new();
    for (way, sent) in router.sent() {
        assert_eq!(sent[..6], group_mac(ip(group)).0);
        assert_eq!(sent[6..12], our_mac(way).0);
        if ip(group).is_ipv4() {
            assert_eq!(sent[22], ttl - 1);
            assert!(checksum::sum(&sent[14..34]).is_valid());
            assert_eq!(sent[26..], frame[26..], "all but TTL and checksum is as it came");
        } else {
            assert_eq!((sent[21], &sent[22..]), (ttl - 1, &frame[22..]));
        }
        ways.push(way);
    }
    ways
}

fn run(router: &mut Router, time: Duration) -> Vec<(usize, Vec<u8>)> {
    let end = router.now + time;
    let mut sent = router.sent();
    loop {
        let next = router.stack.next_deadline().max(router.now);
        if next > end {
            router.now = end;
            return sent;
        }
        router.now = next;
        router.turn(|stack, turn| {
            stack.timers(turn);
            stack.output(turn);
        });
        sent.extend(router.sent());
    }
}

/// The IGMP or MLD messages among frames: port, destination, message.
fn messages(frames: &[(usize, Vec<u8>)]) -> Vec<(usize, IpAddr, Vec<u8>)> {
    let of = |(port, frame): &(usize, Vec<u8>)| match frame[12..14] {
        [8, 0] if frame[23] == 2 => {
            let to: [u8; 4] = frame[30..34].try_into().unwrap();
            assert_eq!((frame[14], frame[22], &frame[34..38]), (0x46, 1, &[148, 4, 0, 0][..]));
            assert!(checksum::sum(&frame[38..]).is_valid());
            Some((*port, IpAddr::from(to), frame[38..].to_vec()))
        }
        [0x86, 0xdd] if frame[20] == 0 && frame[54] == 58 => {
            let to: [u8; 16] = frame[38..54].try_into().unwrap();
            assert_eq!(frame[21], 1);
            Some((*port, IpAddr::from(to), frame[62..].to_vec()))
        }
        _ => None,
    };
    frames.iter().filter_map(of).collect()
}

#[test]
fn a_stream_flows_while_somebody_listens_and_stops_after_the_leave() {
    for (group, source) in [(GROUP, "10.0.2.2"), (GROUP6, "fd00:2::2")] {
        let mut router = router(Some(WAN), vec![]);
        assert_eq!(flows(&mut router, WAN, source, group, 9), []);
        assert_eq!(router.stack.counters.dropped(DropReason::NotJoined), 1);
        router.input(LAN, &[join(LAN, group)]);
        assert_eq!(flows(&mut router, WAN, source, group, 9), [LAN]);
        router.input(DMZ, &[join(DMZ, group)]);
        assert_eq!(flows(&mut router, WAN, source, group, 9), [LAN, DMZ]);
        assert_eq!(
            router.stack.counters.get(Counter::MulticastCopies),
            1,
            "the last one is the packet itself"
        );
        router.input(LAN, &[leave(LAN, group)]);
        assert_eq!(flows(&mut router, WAN, source, group, 9), [LAN, DMZ], "others are asked first");
        let asked = messages(&run(&mut router, Duration::from_secs(3)));
        let about: Vec<_> = asked.iter().filter(|(port, to, _)| *port == LAN && *to == ip(group)).collect();
        assert_eq!(about.len(), 2, "asked twice: {asked:?}");
        assert_eq!(flows(&mut router, WAN, source, group, 9), [DMZ]);
        assert_eq!(router.pool.available(), 512, "every frame came back");
    }
}

#[test]
fn general_queries_are_sent_and_name_what_hosts_need_to_know() {
    let mut router = router(None, vec![]);
    let asked = messages(&run(&mut router, Duration::from_secs(1)));
    let igmp = vec![0x11, 100, 0xec, 0x1e, 0, 0, 0, 0, 2, 125, 0, 0];
    for at in [LAN, DMZ] {
        let (_, _, message) =
            asked.iter().find(|(port, to, _)| *port == at && *to == ip("224.0.0.1")).unwrap();
        assert_eq!((message[..2].to_vec(), &message[4..]), (igmp[..2].to_vec(), &igmp[4..]));
        let (_, _, message) = asked.iter().find(|(port, to, _)| *port == at && *to == ip("ff02::1")).unwrap();
        assert_eq!((message[0], &message[4..8], message.len()), (130, &[0x27, 0x10, 0, 0][..], 28));
    }
    assert!(asked.iter().all(|(port, ..)| *port != WAN), "nobody is asked there");
    let later = messages(&run(&mut router, Duration::from_secs(400)));
    assert_eq!(later.iter().filter(|(port, to, _)| *port == LAN && *to == ip("224.0.0.1")).count(), 3);
}

#[test]
fn a_router_with_a_lower_address_asks_instead_of_us_until_it_is_silent() {
    let mut router = router(None, vec![]);
    run(&mut router, Duration::from_secs(1));
    let query = vec![0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    let role = |router: &Router| {
        router.stack.multicast.links().find(|link| link.port == port(LAN) && !link.v6).unwrap().role
    };
    router.input(LAN, &[igmp(LAN, "10.0.1.9", "224.0.0.1", query.clone())]);
    assert_eq!(role(&router), Role::Querier, "9 is higher than 1");
    router.input(LAN, &[igmp(LAN, "10.0.1.0", "224.0.0.1", query)]);
    assert!(matches!(role(&router), Role::Other { address, .. } if address == ip("10.0.1.0")));
    let asks = |frames: &[(usize, Vec<u8>)]| {
        messages(frames).iter().any(|(at, to, _)| *at == LAN && *to == ip("224.0.0.1"))
    };
    assert!(!asks(&run(&mut router, Duration::from_secs(254))));
    // Who leaves is asked about by the other router, and its question counts here.
    router.input(LAN, &[join(LAN, GROUP), leave(LAN, GROUP)]);
    assert_eq!(flows(&mut router, DMZ, "10.0.3.2", GROUP, 9), [LAN]);
    let [a, b, c, d] = [239, 1, 2, 3];
    router.input(LAN, &[igmp(LAN, "10.0.1.0", GROUP, vec![0x11, 10, 0, 0, a, b, c, d, 2, 125, 0, 0])]);
    assert!(!asks(&run(&mut router, Duration::from_secs(3))));
    assert_eq!(flows(&mut router, DMZ, "10.0.3.2", GROUP, 9), []);
    assert!(!asks(&run(&mut router, Duration::from_secs(251))));
    assert!(asks(&run(&mut router, Duration::from_secs(2))), "255 seconds after its last question we ask");
}

#[test]
fn what_is_wanted_behind_us_is_reported_upstream_and_no_longer_when_it_is_not() {
    let mut router = router(Some(WAN), vec![]);
    run(&mut router, Duration::from_secs(1));
    router.input(LAN, &[report(LAN, 5, GROUP, &["10.0.2.7"])]);
    router.input(DMZ, &[report(DMZ, 5, GROUP, &["10.0.2.8"])]);
    let said = messages(&run(&mut router, Duration::from_secs(5)));
    let last = said.iter().rfind(|(at, to, _)| *at == WAN && *to == ip("224.0.0.22")).unwrap();
    assert_eq!(last.2[8..16], [5, 0, 0, 1, 239, 1, 2, 3], "ALLOW: {said:?}");
    router.input(LAN, &[join(LAN, GROUP)]);
    let said = messages(&run(&mut router, Duration::from_secs(5)));
    assert!(said.iter().any(|(at, _, message)| *at == WAN && message[8] == 4), "TO_EX: {said:?}");
    // The upstream router asks, and we answer as a host.
    router.input(WAN, &[igmp(WAN, "10.0.2.2", "224.0.0.1", vec![0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0])]);
    let said = messages(&run(&mut router, Duration::from_secs(2)));
    assert!(said.iter().any(|(at, _, message)| *at == WAN && message[8..16] == [2, 0, 0, 0, 239, 1, 2, 3]));
    router.input(LAN, &[leave(LAN, GROUP)]);
    router.input(DMZ, &[report(DMZ, 3, GROUP, &[])]);
    let said = messages(&run(&mut router, Duration::from_secs(10)));
    assert!(
        said.iter().any(|(at, _, message)| *at == WAN && message[8..16] == [3, 0, 0, 0, 239, 1, 2, 3]),
        "{said:?}"
    );
    assert_eq!(flows(&mut router, WAN, "10.0.2.8", GROUP, 9), []);
}

#[test]
fn a_stream_from_behind_us_goes_upstream_and_to_other_listeners() {
    let mut router = router(Some(WAN), vec![]);
    assert_eq!(flows(&mut router, LAN, "10.0.1.2", GROUP, 9), [WAN]);
    router.input(DMZ, &[join(DMZ, GROUP)]);
    assert_eq!(flows(&mut router, LAN, "10.0.1.2", GROUP, 9), [WAN, DMZ]);
    assert_eq!(flows(&mut router, LAN, "10.0.2.2", GROUP, 9), [], "its source is not behind lan");
    assert_eq!(router.stack.counters.dropped(DropReason::MulticastWrongPort), 1);
    assert_eq!(flows(&mut router, LAN, "10.0.1.2", GROUP, 1), []);
    assert_eq!(router.stack.counters.dropped(DropReason::MulticastScope), 1);
}

#[test]
fn what_belongs_to_a_link_stays_there_and_nobody_is_told() {
    let mut router = router(Some(WAN), vec![]);
    run(&mut router, Duration::from_secs(1));
    router.input(LAN, &[join(LAN, "224.0.0.251"), join(LAN, "ff02::fb")]);
    for (source, group) in [("10.0.2.2", "224.0.0.251"), ("fd00:2::2", "ff02::fb"), ("fe80::99", GROUP6)] {
        router.input(LAN, &[join(LAN, GROUP6)]);
        run(&mut router, Duration::from_millis(1));
        assert_eq!(flows(&mut router, WAN, source, group, 9), [], "{source} {group}");
    }
}

#[test]
fn a_static_route_sends_without_being_asked_where_nobody_asks_and_checks_the_ttl() {
    let route = MulticastRoute {
        source: "10.0.1.0/24".parse().unwrap(),
        group: "239.1.0.0/16".parse().unwrap(),
        in_port: port(LAN),
        out: vec![Out { port: port(WAN), threshold: 31 }, Out { port: port(DMZ), threshold: 1 }],
    };
    let mut router = router(None, vec![route]);
    assert_eq!(flows(&mut router, LAN, "10.0.1.2", GROUP, 32), [WAN]);
    assert_eq!(flows(&mut router, LAN, "10.0.1.2", GROUP, 31), []);
    router.input(DMZ, &[join(DMZ, GROUP)]);
    assert_eq!(flows(&mut router, LAN, "10.0.1.2", GROUP, 31), [DMZ]);
    assert_eq!(flows(&mut router, WAN, "10.0.1.2", GROUP, 64), []);
}

#[test]
fn a_packet_too_long_for_a_way_out_is_cut_or_refused_there() {
    let mut narrow = interfaces();
    narrow[DMZ].mtu = 1280;
    let config = MulticastConfig {
        downstream: vec![port(LAN), port(DMZ)],
        speaks: true,
        ..MulticastConfig::default()
    };
    let mut router = Router::routing_groups(&rib(), Sizes::default(), narrow, config);
    router.introduce();
    router.input(DMZ, &[join(DMZ, GROUP), join(DMZ, GROUP6)]);
    router.sent();
    router.input(LAN, &[to_group(LAN, "10.0.1.2", GROUP, 9, 99, vec![0; 1380], false)]);
    let lengths: Vec<usize> = router.sent().iter().map(|(_, frame)| frame.len() - 14).collect();
    assert_eq!(lengths, [1276, 144]);
    router.input(LAN, &[to_group(LAN, "fd00:1::2", GROUP6, 9, 99, vec![0; 1300], false)]);
    let sent = router.sent();
    assert_eq!((sent.len(), sent[0].0, sent[0].1[54]), (1, LAN, 2), "packet too big, to the source");
    assert_eq!(router.pool.available(), 512);
}

#[test]
fn with_an_empty_pool_copies_are_lost_and_counted_and_nothing_else() {
    let config = MulticastConfig {
        downstream: vec![port(LAN), port(DMZ)],
        upstream: Some(port(WAN)),
        speaks: true,
        ..MulticastConfig::default()
    };
    let mut router =
        Router::routing_groups(&rib(), Sizes { frames: 8, ..Sizes::default() }, interfaces(), config);
    router.introduce();
    router.input(LAN, &[join(LAN, GROUP)]);
    router.input(DMZ, &[join(DMZ, GROUP)]);
    run(&mut router, Duration::from_millis(10));
    let held: Vec<_> = core::iter::from_fn(|| router.pool.alloc()).collect();
    let kept = held.into_iter().take(7).collect::<Vec<_>>();
    let frame = stream(WAN, "10.0.2.2", GROUP, 9);
    router.input(WAN, &[frame]);
    assert_eq!(router.sent().len(), 1);
    assert_eq!(router.stack.counters.dropped(DropReason::NoFrame), 1);
    drop(kept);
    assert_eq!(router.pool.available(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever hosts and routers say, nothing breaks, every frame comes back and the books balance.
    #[test]
    fn any_message_about_groups_leaves_the_router_whole(
        messages in proptest::collection::vec(
            (0usize..3, 0u8..8, proptest::collection::vec(any::<u8>(), 0..120), 0u64..5000), 1..40)
    ) {
        let mut router = router(Some(WAN), vec![]);
        for (at, kind, mut body, wait) in messages {
            let kinds = [0x11, 0x12, 0x16, 0x17, 0x22, 130, 131, 143];
            body.resize(body.len().max(24), 0);
            body[0] = kinds[usize::from(kind)];
            if body.len() > 8 && kind == 4 {
                (body[6], body[7], body[8]) = (0, body[7] % 4, body[8] % 8);
                body[12] = 239;
            }
            let host = format!("10.0.{}.2", at + 1);
            let frame = if body[0] < 130 {
                igmp(at, &host, ["224.0.0.22", GROUP][usize::from(kind % 2)], body)
            } else {
                let (source, to): (Ipv6Addr, Ipv6Addr) = ("fe80::99".parse().unwrap(), "ff02::16".parse().unwrap());
                to_group(at, "fe80::99", "ff02::16", 1, 58, with_sum6(body, source, to), true)
            };
            router.input(at, &[frame, stream(at, &host, GROUP, 3)]);
            run(&mut router, Duration::from_millis(wait));
        }
        router.sent();
        prop_assert_eq!(router.pool.available(), 512);
        let counters = &router.stack.counters;
        let received: u64 = (0..PORTS).map(|index| counters.port(port(index)).rx_packets).sum();
        prop_assert!(received + counters.originated() >= counters.dropped_in_all());
    }
}
