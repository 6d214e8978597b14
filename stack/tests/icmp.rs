//! Conversations about what ICMP asks and advises: timestamps, masks, redirects in both directions.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

mod common;

use common::*;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::{Counter, DropReason, Interface, checksum};

const CLIENT: &str = "10.0.1.2";

fn v4(address: &str) -> Ipv4Addr {
    address.parse().unwrap()
}

fn v6(address: &str) -> Ipv6Addr {
    address.parse().unwrap()
}

fn router(change: impl Fn(&mut Interface)) -> Router {
    let mut interfaces = interfaces();
    interfaces.iter_mut().for_each(change);
    let rib = Box::leak(Box::new(rib()));
    let mut router = Router::new(rib, Sizes::default(), interfaces);
    router.introduce();
    router
}

/// An IPv4 packet from a station of the lan, in its frame.
fn packet(source: &str, destination: &str, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    let packet = V4 {
        tos: 0,
        id: 7,
        fragment: 0,
        ttl: 64,
        protocol,
        source: v4(source),
        destination: v4(destination),
        options: Vec::new(),
        payload,
    };
    ethernet(our_mac(LAN), station(LAN, 2), 0x0800, &packet.bytes())
}

fn icmp(kind: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind[0], kind[1], 0, 0];
    message.extend_from_slice(rest);
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The ICMP message in the only frame that left, which left by the lan with right checksums.
#[track_caller]
fn only_icmp(sent: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let [(LAN, frame)] = sent else { panic!("{sent:02x?}") };
    let header = usize::from(frame[14] & 15) * 4;
    assert!(checksum::sum(&frame[14..14 + header]).is_valid());
    let len = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let message = &frame[14 + header..14 + len];
    assert!(checksum::sum(message).is_valid());
    message.to_vec()
}

#[test]
fn a_timestamp_request_is_answered_with_the_time_of_day_or_a_marked_one() {
    let mut router = router(|_| {});
    let request = icmp([13, 0], &[0x12, 0x34, 0, 9, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0]);
    router.input(LAN, &[packet(CLIENT, "10.0.1.1", 1, request.clone())]);
    let reply = only_icmp(&router.sent());
    assert_eq!((reply[0], reply[1], reply.len()), (14, 0, 20));
    assert_eq!(reply[4..12], request[4..12], "identifier, sequence and the asker's time come back");
    assert_eq!(reply[12..16], (1u32 << 31 | 10_000).to_be_bytes(), "not since midnight, and it says so");
    assert_eq!(reply[12..16], reply[16..20]);

    router.turn(|stack, turn| stack.set_time_of_day(turn.now, 5_000));
    router.now = router.now + Duration::from_secs(1);
    // What is behind the three times is not part of the message.
    router.input(LAN, &[packet(CLIENT, "10.0.1.1", 1, icmp([13, 0], &[1; 60]))]);
    let reply = only_icmp(&router.sent());
    assert_eq!((reply.len(), &reply[12..16]), (20, &6_000u32.to_be_bytes()[..]));
    assert_eq!(router.stack.counters.get(Counter::IcmpAnswers), 2);
}

#[test]
fn a_short_timestamp_request_and_one_to_everybody_stay_unanswered() {
    let mut router = router(|_| {});
    router.input(LAN, &[packet(CLIENT, "10.0.1.1", 1, icmp([13, 0], &[0; 15]))]);
    let mut broadcast = packet(CLIENT, "10.0.1.255", 1, icmp([13, 0], &[0; 16]));
    broadcast[..6].fill(0xff);
    router.input(LAN, &[broadcast]);
    assert!(router.sent().is_empty());
    assert_eq!(router.stack.counters.dropped(DropReason::IcmpTruncated), 1);
    assert_eq!(router.stack.counters.dropped(DropReason::IcmpEchoIgnored), 1);
}

#[test]
fn an_address_mask_is_told_only_where_that_is_configured() {
    let request = icmp([17, 0], &[0, 1, 0, 2, 0, 0, 0, 0]);
    let mut silent = router(|_| {});
    silent.input(LAN, &[packet(CLIENT, "10.0.1.1", 1, request.clone())]);
    assert!(silent.sent().is_empty());
    assert_eq!(silent.stack.counters.dropped(DropReason::IcmpDiscarded), 1);

    let mut router = router(|one| one.mask_replies = true);
    router.input(LAN, &[packet(CLIENT, "10.0.1.1", 1, request)]);
    let reply = only_icmp(&router.sent());
    assert_eq!(reply[..2], [18, 0]);
    assert_eq!(reply[4..], [0, 1, 0, 2, 255, 255, 255, 0]);
}

#[test]
fn a_mask_that_is_not_ours_is_noticed() {
    let mut router = router(|_| {});
    for mask in [[255, 255, 255, 0], [255, 255, 0, 0]] {
        let reply = icmp([18, 0], &[&[0, 1, 0, 2][..], &mask].concat());
        router.input(LAN, &[packet(CLIENT, "10.0.1.1", 1, reply)]);
    }
    assert!(router.sent().is_empty());
    assert_eq!(router.stack.counters.dropped(DropReason::IcmpMaskWrong), 1);
    assert_eq!(router.stack.counters.dropped(DropReason::Consumed), 1);
}

/// A router whose routes to 198.18.0.0/16 and 2001:db8:9::/48 lead back to where the asker is.
fn redirecting(change: impl Fn(&mut Interface)) -> Router {
    let mut interfaces = interfaces();
    interfaces.iter_mut().for_each(change);
    let mut rib = rib();
    rib.add(&route("198.18.0.0/16", gateway(LAN, "10.0.1.9"))).unwrap();
    rib.add(&route("2001:db8:9::/48", gateway(LAN, "fe80::9"))).unwrap();
    let rib = Box::leak(Box::new(rib));
    let mut router = Router::new(rib, Sizes::default(), interfaces);
    router.introduce();
    for address in ["10.0.1.9", "fe80::9"] {
        router.stack.neighbours.add_static(port(LAN), ip(address), station(LAN, 9), router.now).unwrap();
    }
    router
}

#[test]
fn who_sends_by_us_what_a_neighbour_takes_is_told_so_and_the_packet_goes_on() {
    let mut router = redirecting(|one| one.send_redirects = true);
    let datagram = packet(CLIENT, "198.18.0.1", 17, vec![0; 8]);
    router.input(LAN, std::slice::from_ref(&datagram));
    let sent = router.sent();
    let redirect = only_icmp(&sent[..1]);
    assert_eq!(redirect[..2], [5, 1]);
    assert_eq!(redirect[4..8], v4("10.0.1.9").octets());
    assert_eq!(redirect[8..], datagram[14..], "the packet as it came");
    let [_, (LAN, forwarded)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!(forwarded[..6], station(LAN, 9).0);
    // Redirects have a rate: the seventh packet of a burst is forwarded in silence.
    for _ in 0..8 {
        router.input(LAN, std::slice::from_ref(&datagram));
    }
    assert_eq!(router.sent().len(), 8 + 5);
    assert_eq!(router.stack.counters.get(Counter::IcmpErrorsLimited), 3);
}

#[test]
fn no_redirect_is_sent_where_it_is_off_or_to_who_is_no_neighbour() {
    let datagram = |source: &str| packet(source, "198.18.0.1", 17, vec![0; 8]);
    let mut off = redirecting(|_| {});
    off.input(LAN, &[datagram(CLIENT)]);
    assert_eq!(off.sent().len(), 1);
    let mut on = redirecting(|one| one.send_redirects = true);
    on.input(LAN, &[datagram("192.0.2.7"), datagram("10.0.1.9")]);
    assert_eq!(on.sent().len(), 2, "from elsewhere, and from the better router itself");
}

fn packet6(source: &str, destination: &str, payload: Vec<u8>, next_header: u8, hop_limit: u8) -> Vec<u8> {
    let packet = V6 {
        word: 6 << 28,
        next_header,
        hop_limit,
        source: v6(source),
        destination: v6(destination),
        payload,
    };
    ethernet(our_mac(LAN), station(LAN, 2), 0x86dd, &packet.bytes())
}

#[test]
fn an_ipv6_redirect_names_the_router_with_its_link_address_and_quotes_the_packet() {
    let mut router = redirecting(|one| one.send_redirects = true);
    let datagram = packet6("fd00:1::2", "2001:db8:9::1", vec![1; 1300], 17, 64);
    router.input(LAN, std::slice::from_ref(&datagram));
    let sent = router.sent();
    let [(LAN, redirect), (LAN, forwarded)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!(forwarded[..6], station(LAN, 9).0);
    assert_eq!(redirect[22..38], v6("fe80::1").octets(), "from the link-local address");
    assert_eq!(redirect[38..54], v6("fd00:1::2").octets());
    assert_eq!((redirect[20], redirect[21]), (58, 255));
    let message = &redirect[54..];
    assert!(redirect.len() <= 14 + 1280);
    let sum = checksum::pseudo_ipv6(&v6("fe80::1"), &v6("fd00:1::2"), 58, message.len() as u32);
    assert!(sum.plus(checksum::sum(message)).is_valid());
    assert_eq!(message[0], 137);
    assert_eq!(message[8..24], v6("fe80::9").octets());
    assert_eq!(message[24..40], v6("2001:db8:9::1").octets());
    assert_eq!(message[40..48], [&[2, 1][..], &station(LAN, 9).0].concat());
    assert_eq!(message[48..50], [4, ((message.len() - 48) / 8) as u8]);
    assert_eq!(message[56..], datagram[14..14 + message.len() - 56]);
}

/// A host on the lan whose default router is 10.0.1.254 (fe80::254), beside a better one, .9.
fn host() -> Router {
    let mut interfaces = interfaces();
    for one in &mut interfaces {
        one.forwarding = false;
        one.accept_redirects = true;
    }
    let mut rib = rib();
    rib.add(&route("0.0.0.0/0", gateway(LAN, "10.0.1.254"))).unwrap();
    rib.add(&route("::/0", gateway(LAN, "fe80::254"))).unwrap();
    let rib = Box::leak(Box::new(rib));
    let mut host = Router::new(rib, Sizes::default(), interfaces);
    for (last, address4, address6) in [(9, "10.0.1.9", "fe80::9"), (254, "10.0.1.254", "fe80::254")] {
        for address in [address4, address6] {
            host.stack.neighbours.add_static(port(LAN), ip(address), station(LAN, last), host.now).unwrap();
        }
    }
    host
}

/// To whom the answer to a ping from far away goes.
fn answers_by(host: &mut Router, pinger: &str) -> u8 {
    let destination = if pinger.contains(':') { "fd00:1::1" } else { "10.0.1.1" };
    let (from, to): (IpAddr, IpAddr) = (ip(pinger), ip(destination));
    let frame = match from {
        IpAddr::V4(_) => packet(pinger, destination, 1, upper(1, from, to, [8, 0], b"ping")),
        IpAddr::V6(_) => packet6(pinger, destination, upper(58, from, to, [128, 0], b"ping"), 58, 64),
    };
    host.input(LAN, &[frame]);
    let sent = host.sent();
    let [(LAN, reply)] = &sent[..] else { panic!("{sent:02x?}") };
    reply[5]
}

fn redirect4(from: &str, gateway: &str, destination: &str) -> Vec<u8> {
    let quoted = packet("10.0.1.1", destination, 1, vec![0, 0, 0, 0, 0, 0, 0, 0]);
    packet(from, "10.0.1.1", 1, icmp([5, 1], &[&v4(gateway).octets()[..], &quoted[14..]].concat()))
}

#[test]
fn a_host_follows_a_redirect_of_the_router_that_it_uses_and_of_no_other() {
    let mut host = host();
    assert_eq!(answers_by(&mut host, "192.0.3.1"), 254);
    for refused in [
        redirect4("10.0.1.77", "10.0.1.9", "192.0.3.1"),
        redirect4("10.0.1.254", "10.0.2.9", "192.0.3.1"),
        redirect4("10.0.1.254", "10.0.1.1", "192.0.3.1"),
        redirect4("10.0.1.254", "10.0.1.255", "192.0.3.1"),
    ] {
        host.input(LAN, &[refused]);
        assert_eq!(answers_by(&mut host, "192.0.3.1"), 254);
    }
    assert_eq!(host.stack.counters.dropped(DropReason::IcmpRedirectRefused), 4);
    host.input(LAN, &[redirect4("10.0.1.254", "10.0.1.9", "192.0.3.1")]);
    assert_eq!(answers_by(&mut host, "192.0.3.1"), 9);
    assert_eq!(answers_by(&mut host, "192.0.3.2"), 254, "for that destination alone");
    // Now .9 is the router that we use: it may send us back.
    host.input(LAN, &[redirect4("10.0.1.9", "10.0.1.254", "192.0.3.1")]);
    assert_eq!(answers_by(&mut host, "192.0.3.1"), 254);
    host.input(LAN, &[redirect4("10.0.1.254", "10.0.1.9", "192.0.3.1")]);
    host.now = host.now + Duration::from_secs(600);
    assert_eq!(answers_by(&mut host, "192.0.3.1"), 254, "ten minutes later it has to be said again");
    assert_eq!(host.stack.counters.get(Counter::RedirectsLearned), 3);
}

#[test]
fn a_router_follows_no_redirect() {
    let mut host = host();
    host.stack.interfaces.get_mut(port(LAN)).unwrap().accept_redirects = false;
    host.input(LAN, &[redirect4("10.0.1.254", "10.0.1.9", "192.0.3.1")]);
    assert_eq!(answers_by(&mut host, "192.0.3.1"), 254);
}

#[test]
fn a_host_follows_an_ipv6_redirect_and_learns_the_link_address_with_it() {
    let mut host = host();
    let redirect = |from: &str, target: &str, last: u8| {
        let mut message = vec![137, 0, 0, 0, 0, 0, 0, 0];
        message.extend(v6(target).octets());
        message.extend(v6("2001:db8:9::1").octets());
        message.extend([2, 1]);
        message.extend(station(LAN, last).0);
        let message = with_sum6(message, v6(from), v6("fd00:1::1"));
        packet6(from, "fd00:1::1", message, 58, 255)
    };
    assert_eq!(answers_by(&mut host, "2001:db8:9::1"), 254);
    host.input(LAN, &[redirect("fe80::77", "fe80::8", 8)]);
    assert_eq!(answers_by(&mut host, "2001:db8:9::1"), 254, "not our router");
    host.input(LAN, &[redirect("fe80::254", "fe80::8", 8)]);
    assert_eq!(answers_by(&mut host, "2001:db8:9::1"), 8, "no question was needed");
    host.input(LAN, &[redirect("fe80::8", "2001:db8:9::1", 7)]);
    assert_eq!(answers_by(&mut host, "2001:db8:9::1"), 7, "the destination itself is on the link");
}

#[test]
fn a_redirect_to_who_does_not_answer_is_forgotten() {
    let mut host = host();
    host.input(LAN, &[redirect4("10.0.1.254", "10.0.1.66", "192.0.3.1")]);
    let (from, to) = (ip("192.0.3.1"), ip("10.0.1.1"));
    host.input(LAN, &[packet("192.0.3.1", "10.0.1.1", 1, upper(1, from, to, [8, 0], b"ping"))]);
    for _ in 0..4 {
        host.now = host.now + Duration::from_secs(1);
        host.turn(|stack, turn| stack.timers(turn));
    }
    host.sent();
    assert_eq!(answers_by(&mut host, "192.0.3.1"), 254);
}

#[test]
fn an_error_goes_out_from_another_ports_address_when_its_own_has_none() {
    let mut router = router(|one| {
        if one.id == port(LAN) {
            one.ipv4.clear();
        }
    });
    router.input(LAN, &[packet(CLIENT, "203.0.112.1", 17, vec![0; 8])]);
    let sent = router.sent();
    assert_eq!(only_icmp(&sent)[..2], [3, 1]);
    assert_eq!(sent[0].1[26..30], v4("10.0.2.1").octets());
}
