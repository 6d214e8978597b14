//! Conversations about whose an address is: probes, duplicates, announcements, defence, proxies.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

mod common;

use common::*;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::interface::Detection;
use flumen_stack::{Counter, DropReason, Interface, MacAddr};

/// The lan of a router whose addresses begin now.
fn begin(change: impl Fn(&mut Interface)) -> Router {
    let mut interfaces = interfaces();
    change(&mut interfaces[LAN]);
    let rib = Box::leak(Box::new(rib()));
    let mut router = Router::new(rib, Sizes::default(), interfaces);
    router.introduce();
    router.turn(|stack, turn| stack.check_addresses(turn.now));
    router
}

/// What leaves by the lan after `wait`.
fn wait(router: &mut Router, wait: Duration) -> Vec<Vec<u8>> {
    router.now = router.now + wait;
    router.turn(|stack, turn| stack.timers(turn));
    router.sent().into_iter().map(|(index, frame)| (index == LAN).then_some(frame).unwrap()).collect()
}

/// Sender and target of an ARP packet in a frame.
fn arp_names(frame: &[u8]) -> (Ipv4Addr, Ipv4Addr) {
    assert_eq!(frame[12..14], [8, 6], "{frame:02x?}");
    let address = |at: usize| Ipv4Addr::from(*frame[at..].first_chunk::<4>().unwrap());
    (address(28), address(38))
}

fn target_of(frame: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(*frame[62..].first_chunk::<16>().unwrap())
}

fn ping6(destination: &str) -> Vec<u8> {
    let (from, to) = ("fd00:1::2", destination);
    let payload = upper(58, ip(from), ip(to), [128, 0], b"who are you");
    let (source, destination) = (from.parse().unwrap(), to.parse().unwrap());
    let packet = V6 { word: 6 << 28, next_header: 58, hop_limit: 64, source, destination, payload };
    ethernet(our_mac(LAN), station(LAN, 2), 0x86dd, &packet.bytes())
}

fn solicit(source: &str, target: &str, options: &[u8]) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    let [.., x, y, z] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]);
    let source: Ipv6Addr = source.parse().unwrap();
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend(options);
    let payload = with_sum6(message, source, group);
    let packet = V6 { word: 6 << 28, next_header: 58, hop_limit: 255, source, destination: group, payload };
    ethernet(MacAddr([0x33, 0x33, 0xff, x, y, z]), station(LAN, 7), 0x86dd, &packet.bytes())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_ipv6_address_is_silent_until_nobody_answered_for_a_second_and_then_announced() {
    let mut router = begin(|lan| {
        lan.detection = Detection::Strict;
        lan.announce = true;
    });
    let sent = wait(&mut router, Duration::ZERO);
    let probes: Vec<_> = sent.iter().filter(|frame| frame[12..14] == [0x86, 0xdd]).collect();
    assert_eq!(probes.len(), 2, "one for each address");
    for probe in probes {
        assert_eq!(probe[22..38], [0; 16], "from nobody");
        assert_eq!(probe[..3], [0x33, 0x33, 0xff]);
        assert_eq!(probe[78..80], [14, 1], "with a nonce, and without a link address");
    }
    router.input(LAN, &[ping6("fd00:1::1")]);
    assert!(router.sent().is_empty());
    assert_eq!(router.stack.counters.dropped(DropReason::AddressTentative), 1);
    router.input(LAN, &[solicit("fd00:1::2", "fd00:1::1", &[])]);
    assert!(router.sent().is_empty(), "nor for neighbours");

    let announced = wait(&mut router, SECOND);
    let targets: Vec<_> = announced.iter().map(|frame| target_of(frame).to_string()).collect();
    assert_eq!(targets, ["fd00:1::1", "fe80::1"]);
    for frame in &announced {
        assert_eq!((frame[54], frame[58]), (136, 0xa0), "an advertisement: router, override, unsolicited");
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    }
    router.input(LAN, &[ping6("fd00:1::1")]);
    assert_eq!(router.sent().len(), 1);
}

#[test]
fn an_address_that_somebody_has_or_checks_too_is_not_used() {
    for whose in ["has", "checks"] {
        let mut router = begin(|lan| lan.detection = Detection::Strict);
        let probes = wait(&mut router, Duration::ZERO);
        let probe =
            probes.iter().find(|frame| target_of(frame) == "fd00:1::1".parse::<Ipv6Addr>().unwrap()).unwrap();
        // Our own probe, sent back by the link, is nobody else's.
        router.input(LAN, std::slice::from_ref(probe));
        assert_eq!(router.stack.counters.get(Counter::ProbesLoopedBack), 1);
        let theirs = match whose {
            "checks" => solicit("::", "fd00:1::1", &[14, 1, 9, 9, 9, 9, 9, 9]),
            _ => {
                let (target, group): (Ipv6Addr, Ipv6Addr) =
                    ("fd00:1::1".parse().unwrap(), "ff02::1".parse().unwrap());
                let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
                message.extend(target.octets());
                let payload = with_sum6(message, target, group);
                let packet = V6 {
                    word: 6 << 28,
                    next_header: 58,
                    hop_limit: 255,
                    source: target,
                    destination: group,
                    payload,
                };
                ethernet(MacAddr([0x33, 0x33, 0, 0, 0, 1]), station(LAN, 7), 0x86dd, &packet.bytes())
            }
        };
        router.input(LAN, &[theirs]);
        assert_eq!(router.stack.counters.get(Counter::DuplicateAddresses), 1, "{whose}");
        assert_eq!(router.stack.counters.dropped(DropReason::NdConflict), 1);
        let fact = router.stack.next_fact().unwrap();
        assert_eq!(fact.addr, ip("fd00:1::1"), "the other workers are told");
        wait(&mut router, SECOND);
        router.input(LAN, &[ping6("fd00:1::1")]);
        assert!(router.sent().is_empty());
        let lan = router.stack.interfaces.get(port(LAN)).unwrap();
        assert!(lan.is_put_aside(ip("fd00:1::1")) && lan.owns(ip("fe80::1")));
    }
}

#[test]
fn a_duplicate_that_another_worker_heard_of_is_one_here_too() {
    let mut first = begin(|lan| lan.detection = Detection::Strict);
    let mut second = begin(|lan| {
        lan.detection = Detection::Strict;
        lan.speaks = false;
    });
    assert!(wait(&mut second, Duration::ZERO).is_empty(), "one worker speaks");
    wait(&mut first, Duration::ZERO);
    first.input(LAN, &[solicit("::", "fd00:1::1", &[])]);
    let fact = first.stack.next_fact().unwrap();
    second.turn(|stack, turn| stack.learn(turn, fact));
    wait(&mut second, SECOND);
    assert!(second.stack.interfaces.get(port(LAN)).unwrap().is_put_aside(ip("fd00:1::1")));
}

#[test]
fn an_optimistic_address_answers_at_once_and_yields_to_who_has_it() {
    let mut router = begin(|lan| lan.detection = Detection::Optimistic);
    wait(&mut router, Duration::ZERO);
    router.input(LAN, &[ping6("fd00:1::1")]);
    assert_eq!(router.sent().len(), 1);
    router.input(LAN, &[solicit("fd00:1::2", "fd00:1::1", &[])]);
    assert_eq!(router.sent()[0].1[58], 0xc0, "router, solicited, and no override");
    router.input(LAN, &[solicit("::", "fd00:1::1", &[])]);
    router.input(LAN, &[ping6("fd00:1::1")]);
    assert!(router.sent().is_empty());
}

#[test]
fn an_ipv4_address_is_probed_then_announced_twice_and_then_it_is_ours() {
    let mut router = begin(|lan| {
        lan.arp_probe = true;
        lan.announce = true;
    });
    let (us, nobody) = (Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::UNSPECIFIED);
    let ask = arp(1, (station(LAN, 2), Ipv4Addr::new(10, 0, 1, 2)), (MacAddr::ZERO, us));
    let ask = ethernet(MacAddr::BROADCAST, station(LAN, 2), 0x0806, &ask);
    let mut said = Vec::new();
    for _ in 0..120 {
        let sent = wait(&mut router, Duration::from_millis(100));
        said.extend(sent.iter().filter(|frame| frame[12..14] == [8, 6]).map(|frame| arp_names(frame)));
        if said.len() < 4 {
            router.input(LAN, std::slice::from_ref(&ask));
            assert!(router.sent().is_empty(), "not ours yet");
        }
    }
    assert_eq!(said, [(nobody, us), (nobody, us), (nobody, us), (us, us), (us, us)]);
    router.input(LAN, &[ask]);
    assert_eq!(router.sent().len(), 1);
}

#[test]
fn an_ipv4_address_that_somebody_has_is_not_used_and_the_next_link_up_asks_again() {
    let mut router = begin(|lan| lan.arp_probe = true);
    wait(&mut router, Duration::ZERO);
    let us = Ipv4Addr::new(10, 0, 1, 1);
    let theirs = arp(2, (station(LAN, 7), us), (our_mac(LAN), Ipv4Addr::UNSPECIFIED));
    router.input(LAN, &[ethernet(our_mac(LAN), station(LAN, 7), 0x0806, &theirs)]);
    assert!(!router.stack.interfaces.get(port(LAN)).unwrap().owns(IpAddr::V4(us)));
    // Whoever has it is a neighbour like any other.
    let lan = router.stack.interfaces.get_mut(port(LAN)).unwrap();
    lan.ipv4.push("10.0.1.3/24".parse().unwrap());
    let ask = arp(1, (station(LAN, 7), us), (MacAddr::ZERO, Ipv4Addr::new(10, 0, 1, 3)));
    router.input(LAN, &[ethernet(MacAddr::BROADCAST, station(LAN, 7), 0x0806, &ask)]);
    assert_eq!(router.sent().len(), 1);
    router.turn(|stack, turn| stack.set_port_up(turn, port(LAN), false));
    router.turn(|stack, turn| stack.set_port_up(turn, port(LAN), true));
    wait(&mut router, 10 * SECOND);
    for _ in 0..100 {
        wait(&mut router, Duration::from_millis(100));
    }
    assert!(router.stack.interfaces.get(port(LAN)).unwrap().owns(IpAddr::V4(us)));
}

#[test]
fn who_claims_our_address_hears_us_once_in_ten_seconds() {
    let mut router = begin(|lan| lan.announce = true);
    for _ in 0..6 {
        wait(&mut router, SECOND);
    }
    let us = Ipv4Addr::new(10, 0, 1, 1);
    let claim = arp(1, (station(LAN, 7), us), (MacAddr::ZERO, us));
    let claim = ethernet(MacAddr::BROADCAST, station(LAN, 7), 0x0806, &claim);
    let mut defended = 0;
    for _ in 0..4 {
        router.input(LAN, std::slice::from_ref(&claim));
        let sent = router.sent();
        defended += sent.len();
        assert!(sent.iter().all(|(_, frame)| arp_names(frame) == (us, us) && frame[..6] == [0xff; 6]));
        router.now = router.now + 4 * SECOND;
    }
    assert_eq!(defended, 2);
    assert_eq!(router.stack.counters.dropped(DropReason::ArpConflict), 4);
}

#[test]
fn a_proxy_answers_for_who_is_behind_another_port_and_for_nobody_else() {
    let mut router = begin(|lan| lan.proxy_arp = true);
    let ask = |target: &str, sender: [u8; 4]| {
        let question = arp(1, (station(LAN, 2), sender.into()), (MacAddr::ZERO, target.parse().unwrap()));
        ethernet(MacAddr::BROADCAST, station(LAN, 2), 0x0806, &question)
    };
    router.input(LAN, &[ask("10.0.2.77", [10, 0, 1, 2]), ask("192.0.2.1", [10, 0, 1, 2])]);
    let answers = router.sent();
    assert_eq!(answers.len(), 2);
    assert_eq!(arp_names(&answers[0].1).0, Ipv4Addr::new(10, 0, 2, 77));
    assert_eq!(answers[0].1[22..28], our_mac(LAN).0);
    assert_eq!(router.stack.counters.get(Counter::ProxyAnswers), 2);
    // On the same link; nowhere; a probe of a host that wants that address itself.
    router.input(
        LAN,
        &[ask("10.0.1.77", [10, 0, 1, 2]), ask("8.8.8.8", [10, 0, 1, 2]), ask("10.0.2.77", [0; 4])],
    );
    assert!(router.sent().is_empty());
}

#[test]
fn an_ipv6_proxy_answers_for_the_addresses_that_it_was_given_without_override() {
    let mut router =
        begin(|lan| lan.proxy_nd = vec!["2001:db8:1::5".parse().unwrap(), "fd00:1::66".parse().unwrap()]);
    router.input(LAN, &[solicit("fd00:1::2", "2001:db8:1::5", &[])]);
    let sent = router.sent();
    let [(LAN, answer)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!((answer[54], answer[58], target_of(answer)), (136, 0xc0, "2001:db8:1::5".parse().unwrap()));
    router.input(LAN, &[solicit("fd00:1::2", "2001:db8:1::6", &[]), solicit("fd00:1::2", "fd00:1::66", &[])]);
    assert!(router.sent().is_empty(), "not given; and one that is on the link itself");
}
