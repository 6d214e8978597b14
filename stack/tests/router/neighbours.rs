//! How the router finds its neighbours, and lets itself be found.

use crate::lab::*;
use core::net::Ipv6Addr;
use core::time::Duration;
use flumen_stack::{DropReason, MacAddr};

#[test]
fn a_packet_for_an_unknown_neighbour_waits_until_arp_is_answered() {
    let mut router = Router::new();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 18);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let question = arp(1, (ROUTER[WAN], "10.0.2.1"), (MacAddr::ZERO, "10.0.2.2"));
    assert_eq!(sent, [(WAN, ethernet(MacAddr::BROADCAST, ROUTER[WAN], 0x0806, &question))]);
    assert_eq!(router.stack.neighbours.frames_held(), 1);
    let answer = arp(2, (SERVER, "10.0.2.2"), (ROUTER[WAN], "10.0.2.1"));
    let sent = router.receive(WAN, &[ethernet(ROUTER[WAN], SERVER, 0x0806, &answer)]);
    let expected = V4 { ttl: 63, ..packet };
    assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x0800, &expected.bytes()))]);
    router.assert_conserved();
}

#[test]
fn a_neighbour_that_never_answers_makes_its_packets_host_unreachable() {
    let mut router = Router::new();
    router.stack.neighbours.add_static(port(LAN), "10.0.1.2".parse().unwrap(), CLIENT, router.now).unwrap();
    let packet = V4::udp("10.0.1.2", "10.0.2.9", 18);
    router.receive(LAN, &[packet.sent_by_client()]);
    let mut questions = 0;
    let error = loop {
        let sent = router.wait(Duration::from_millis(250));
        match sent.as_slice() {
            [] => {}
            [(WAN, question)] => {
                assert_eq!(&question[12..14], [8, 6]);
                questions += 1;
            }
            [(LAN, error)] => break error.clone(),
            other => panic!("{other:?}"),
        }
        assert!(questions <= 2, "three questions in all");
    };
    let (kind, code, _, quoted) = icmp(&error);
    assert_eq!((kind, code), (3, 1));
    assert_eq!(&error[26..30], [10, 0, 1, 1], "from the address on the way back");
    let expected = V4 { ttl: 63, ..packet };
    assert_eq!(quoted, expected.bytes());
    assert_eq!(router.dropped(DropReason::NeighbourUnreachable), 1);
    router.assert_conserved();
}

#[test]
fn an_ipv6_neighbour_is_asked_for_by_its_solicited_node_group() {
    let mut router = Router::new();
    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:2::2", 18).sent_by_client()]);
    let [(WAN, question)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(&question[..6], [0x33, 0x33, 0xff, 0, 0, 2]);
    let (kind, _, _, body) = icmpv6(question);
    assert_eq!(kind, 135);
    assert_eq!(&body[..16], "fd00:2::2".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(&body[16..24], [1, 1, 2, 0, 0, 0, 2, 1]);
    // The server answers, solicited and with its address.
    let mut advertisement = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    advertisement.extend("fd00:2::2".parse::<Ipv6Addr>().unwrap().octets());
    advertisement.extend([2, 1]);
    advertisement.extend(SERVER.0);
    let answer = V6 { hop_limit: 255, ..V6::with("fd00:2::2", "fd00:2::1", 58, advertisement, 2) };
    let sent = router.receive(WAN, &[ethernet(ROUTER[WAN], SERVER, 0x86dd, &answer.bytes())]);
    let expected = V6 { hop_limit: 63, ..V6::udp("fd00:1::2", "fd00:2::2", 18) };
    assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x86dd, &expected.bytes()))]);
    router.assert_conserved();
}

#[test]
fn arp_and_neighbour_solicitations_for_us_are_answered_and_teach_us_who_asked() {
    let mut router = Router::new();
    let question = arp(1, (CLIENT, "10.0.1.2"), (MacAddr::ZERO, "10.0.1.1"));
    let sent = router.receive(LAN, &[ethernet(MacAddr::BROADCAST, CLIENT, 0x0806, &question)]);
    let answer = arp(2, (ROUTER[LAN], "10.0.1.1"), (CLIENT, "10.0.1.2"));
    assert_eq!(sent, [(LAN, ethernet(CLIENT, ROUTER[LAN], 0x0806, &answer))]);
    // Known now: a ping is answered at once.
    let sent = router.receive(LAN, &[V4::ping("10.0.1.2", "10.0.1.1", 56).sent_by_client()]);
    assert_eq!(sent.len(), 1);
    assert_eq!(&sent[0].1[..6], CLIENT.0);

    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend("fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    solicitation.extend([1, 1]);
    solicitation.extend(CLIENT.0);
    let question = V6 { hop_limit: 255, ..V6::with("fd00:1::2", "ff02::1:ff00:1", 58, solicitation, 2) };
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
    let sent = router.receive(LAN, &[ethernet(group, CLIENT, 0x86dd, &question.bytes())]);
    let [(LAN, answer)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(&answer[..6], CLIENT.0);
    let (kind, _, flags, _) = icmpv6(answer);
    assert_eq!((kind, flags), (136, 0xe000_0000), "router, solicited, override");
    router.assert_conserved();
}

/// A solicitation for `target` from the client, to the target's group, and what the router sends.
fn solicited_by_client(router: &mut Router, source: &str, target: &str) -> Vec<(usize, Vec<u8>)> {
    let target: Ipv6Addr = target.parse().unwrap();
    let [.., high, middle, low] = target.octets();
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(target.octets());
    // Who checks for duplicates does not say who it is (RFC 4861 section 7.1.1).
    if source != "::" {
        solicitation.extend([1, 1]);
        solicitation.extend(CLIENT.0);
    }
    let group = format!("ff02::1:ff{high:02x}:{middle:02x}{low:02x}");
    let question = V6 { hop_limit: 255, ..V6::with(source, &group, 58, solicitation, 2) };
    let group = MacAddr([0x33, 0x33, 0xff, high, middle, low]);
    router.receive(LAN, &[ethernet(group, CLIENT, 0x86dd, &question.bytes())])
}

/// RFC 4291 section 2.6.1, RFC 4861 section 7.2.7: one of several routers may answer, and none insists.
#[test]
fn the_subnet_router_anycast_address_is_answered_on_its_link_from_a_unicast_address() {
    let mut router = Router::new();
    for (source, target, own) in [("fd00:1::2", "fd00:1::", "fd00:1::1"), ("fe80::2", "fe80::", "fe80::1")] {
        let sent = solicited_by_client(&mut router, source, target);
        let [(LAN, answer)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(&answer[..6], CLIENT.0);
        assert_eq!(answer[22..38], own.parse::<Ipv6Addr>().unwrap().octets(), "from an address of its own");
        let (kind, _, flags, body) = icmpv6(answer);
        assert_eq!((kind, flags), (136, 0xc000_0000), "router, solicited, no override");
        assert_eq!(&body[..16], target.parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(&body[16..24], [&[2, 1][..], &ROUTER[LAN].0].concat());

        let ping = V6::ping(source, target, 56);
        let sent = router.receive(LAN, &[ping.sent_by_client()]);
        let [(LAN, reply)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(reply[22..38], own.parse::<Ipv6Addr>().unwrap().octets(), "from an address of its own");
        let (kind, code, word, payload) = icmpv6(reply); // which looks at the checksum
        assert_eq!((kind, code, word), (129, 0, 0x1234_0001));
        assert_eq!(payload, &ping.payload[8..]);
    }
    // An error about a packet to it comes from a unicast address as well (RFC 4443 section 2.2).
    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:1::", 18).sent_by_client()]);
    let [(LAN, error)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((icmpv6(error).0, icmpv6(error).1), (1, 4), "port unreachable");
    assert_eq!(error[22..38], "fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    router.assert_conserved();
}

#[test]
fn who_wants_the_subnet_router_anycast_address_for_itself_is_told_that_it_is_taken() {
    let mut router = Router::new();
    let sent = solicited_by_client(&mut router, "::", "fd00:1::");
    let [(LAN, answer)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(&answer[..6], [0x33, 0x33, 0, 0, 0, 1], "to all nodes");
    let (kind, _, flags, _) = icmpv6(answer);
    assert_eq!((kind, flags), (136, 0x8000_0000), "router, neither solicited nor override");
    router.assert_conserved();
}

#[test]
fn another_router_that_answers_for_the_anycast_address_is_no_conflict() {
    let mut router = Router::new();
    let mut advertisement = vec![136, 0, 0, 0, 0xc0, 0, 0, 0];
    advertisement.extend("fd00:1::".parse::<Ipv6Addr>().unwrap().octets());
    advertisement.extend([2, 1]);
    advertisement.extend(CLIENT.0);
    let answer = V6 { hop_limit: 255, ..V6::with("fd00:1::2", "fd00:1::1", 58, advertisement, 2) };
    assert_eq!(router.receive(LAN, &[answer.sent_by_client()]), []);
    assert_eq!((router.dropped(DropReason::NdConflict), router.dropped(DropReason::NdNotForUs)), (0, 1));
}

#[test]
fn a_host_does_not_answer_for_the_subnet_router_anycast_address() {
    let mut router = Router::new();
    router.stack.interfaces.get_mut(port(LAN)).unwrap().forwarding = false;
    assert_eq!(solicited_by_client(&mut router, "fd00:1::2", "fd00:1::"), []);
    // The group of ::0 is one that it does not hear.
    assert_eq!(router.dropped(DropReason::NotJoined), 1);
    assert_eq!(solicited_by_client(&mut router, "fd00:1::2", "fd00:1::1").len(), 1, "its own it does");
}

#[test]
fn a_port_that_goes_down_gives_up_what_waits_and_comes_back_empty() {
    let mut router = Router::new();
    router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]);
    assert_eq!(router.stack.neighbours.frames_held(), 1);
    router.turn(|stack, turn| stack.set_port_up(turn, port(WAN), false));
    assert_eq!(router.stack.neighbours.frames_held(), 0);
    assert_eq!(router.dropped(DropReason::PortDown), 1);
    router.rib.set_port_up(port(WAN), false);
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]);
    assert!(sent.iter().all(|(index, _)| *index == LAN), "nothing leaves by a port that is down");
    router.rib.set_port_up(port(WAN), true);
    router.turn(|stack, turn| stack.set_port_up(turn, port(WAN), true));
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]);
    assert_eq!(sent.iter().filter(|(index, _)| *index == WAN).count(), 1, "it asks anew");
}
