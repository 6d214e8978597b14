//! Conversations on VLANs: tags in, tags out, and a network of its own behind each.
//!
//! Beside the router of `common` there are: port 3, VLAN 100 of lan (10.0.100.1/24); port 4, service VLAN 200 of wan
//! (no addresses); port 5, VLAN 7 inside of it (10.0.7.1/24).

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

mod common;

use common::*;
use flumen_stack::ethernet::vlan::{Priority, TagProtocol, Vlan};
use flumen_stack::route::Target;
use flumen_stack::{DropReason, Interface};

const OFFICE: usize = 3;
const SERVICE: usize = 4;
const INNER: usize = 5;

fn router(priority: Priority) -> Router {
    let mut interfaces = interfaces();
    for (index, parent, protocol, id, net) in [
        (OFFICE, LAN, TagProtocol::Customer, 100, Some("10.0.100.1/24")),
        (SERVICE, WAN, TagProtocol::Service, 200, None),
        (INNER, SERVICE, TagProtocol::Customer, 7, Some("10.0.7.1/24")),
    ] {
        let physical = if parent == SERVICE { WAN } else { parent };
        let mut one =
            Interface::new(port(index), ["office", "service", "inner"][index - 3], our_mac(physical), 1500);
        one.vlan = Some(Vlan { parent: port(parent), protocol, id, priority });
        one.ipv4.extend(net.map(|net| net.parse().unwrap()));
        interfaces.push(one);
    }
    let mut rib = rib();
    for (index, net) in [(OFFICE, 100), (INNER, 7)] {
        rib.add(&route(&format!("10.0.{net}.0/24"), Target::Connected { port: port(index) })).unwrap();
        rib.add(&route(&format!("10.0.{net}.1/32"), Target::Local)).unwrap();
    }
    let rib = Box::leak(Box::new(rib));
    let mut router = Router::new(rib, Sizes::default(), interfaces);
    router.introduce();
    for (index, address, mac) in
        [(OFFICE, "10.0.100.2", station(LAN, 2)), (INNER, "10.0.7.2", station(WAN, 2))]
    {
        router.stack.neighbours.add_static(port(index), ip(address), mac, router.now).unwrap();
    }
    router
}

/// A frame with tags behind its addresses.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

const OFFICE_TAG: [u8; 4] = [0x81, 0, 0, 100];
const INNER_TAGS: [[u8; 4]; 2] = [[0x88, 0xa8, 0, 200], [0x81, 0, 0, 7]];

fn ping(index: usize, source: &str, destination: &str, tos: u8) -> Vec<u8> {
    let (from, to) = (source.parse().unwrap(), destination.parse().unwrap());
    let payload = upper(1, ip(source), ip(destination), [8, 0], b"tagged");
    let packet = V4 {
        tos,
        id: 1,
        fragment: 0,
        ttl: 64,
        protocol: 1,
        source: from,
        destination: to,
        options: vec![],
        payload,
    };
    ethernet(our_mac(index), station(index, 2), 0x0800, &packet.bytes())
}

#[test]
fn a_ping_on_a_vlan_is_answered_there_with_the_tag_in_place() {
    let mut router = router(Priority::Fixed(0));
    let request = ping(LAN, "10.0.100.2", "10.0.100.1", 0);
    router.input(LAN, &[tagged(&request, &[OFFICE_TAG])]);
    let sent = router.sent();
    let [(LAN, reply)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!(reply[..6], station(LAN, 2).0);
    assert_eq!(reply[12..20], [0x81, 0, 0, 100, 0x08, 0, 0x45, 0]);
    assert_eq!(reply[38], 0, "an echo reply");
    let counters = &router.stack.counters;
    for index in [LAN, OFFICE] {
        assert_eq!((counters.port(port(index)).rx_packets, counters.port(port(index)).tx_packets), (1, 1));
    }
}

#[test]
fn between_vlans_and_the_untagged_network_tags_change_and_the_packet_stays() {
    let mut router = router(Priority::Fixed(5));
    let request = ping(LAN, "10.0.100.2", "10.0.7.2", 0);
    router.input(LAN, &[tagged(&request, &[OFFICE_TAG])]);
    let sent = router.sent();
    let [(WAN, forwarded)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!(forwarded[12..22], [0x88, 0xa8, 0xa0, 200, 0x81, 0, 0xa0, 7, 0x08, 0], "priority 5 on both");
    assert_eq!(forwarded[22 + 12..], request[14 + 12..], "from the addresses on as it came");

    let back = ping(WAN, "10.0.7.2", "10.0.1.2", 0);
    router.input(WAN, &[tagged(&back, &INNER_TAGS)]);
    let sent = router.sent();
    let [(LAN, untagged)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!(untagged[12..14], [0x08, 0]);
    assert_eq!(router.stack.counters.port(port(SERVICE)).rx_packets, 1, "each tag on the way is counted");
}

#[test]
fn the_priority_may_follow_the_class_of_the_packet() {
    let mut router = router(Priority::FromDscp);
    router.input(LAN, &[tagged(&ping(LAN, "10.0.100.2", "10.0.7.2", 0xb8), &[OFFICE_TAG])]);
    let sent = router.sent();
    assert_eq!((sent[0].1[14] >> 5, sent[0].1[18] >> 5), (5, 5), "expedited forwarding");
}

#[test]
fn arp_on_a_vlan_is_answered_on_it_for_its_addresses_alone() {
    let mut router = router(Priority::Fixed(0));
    let who_has = |target: &str| {
        let question = arp(
            1,
            (station(LAN, 2), "10.0.100.2".parse().unwrap()),
            (flumen_stack::MacAddr::ZERO, target.parse().unwrap()),
        );
        tagged(&ethernet(flumen_stack::MacAddr::BROADCAST, station(LAN, 2), 0x0806, &question), &[OFFICE_TAG])
    };
    router.input(LAN, &[who_has("10.0.100.1"), who_has("10.0.1.1")]);
    let sent = router.sent();
    let [(LAN, reply)] = &sent[..] else { panic!("{sent:02x?}") };
    assert_eq!(reply[12..18], [0x81, 0, 0, 100, 0x08, 0x06]);
}

#[test]
fn a_priority_tag_is_no_vlan_and_other_tags_end_here() {
    let mut router = router(Priority::Fixed(0));
    let request = ping(LAN, "10.0.1.2", "10.0.1.1", 0);
    router.input(LAN, &[tagged(&request, &[[0x81, 0, 0xe0, 0]])]);
    let sent = router.sent();
    assert_eq!(sent[0].1[12..14], [0x08, 0], "the port itself answers, untagged");
    assert_eq!(router.stack.counters.port(port(LAN)).rx_packets, 1);
    for strange in [
        vec![[0x81, 0, 0, 101]],
        vec![[0x88, 0xa8, 0, 100]],
        vec![OFFICE_TAG, OFFICE_TAG],
        vec![[0x81, 0, 0, 0]; 3],
        vec![[0x81, 0, 0, 0]; 300],
    ] {
        router.input(LAN, &[tagged(&request, &strange)]);
    }
    let short = &tagged(&request, &[OFFICE_TAG])[..15];
    router.input(LAN, &[short.to_vec()]);
    assert!(router.sent().is_empty());
    assert_eq!(router.stack.counters.dropped(DropReason::EthernetUnknownVlan), 6);
}

#[test]
fn a_vlan_goes_down_and_comes_back_with_its_port() {
    let mut router = router(Priority::Fixed(0));
    let request = tagged(&ping(LAN, "10.0.100.2", "10.0.100.1", 0), &[OFFICE_TAG]);
    router.turn(|stack, turn| stack.set_port_up(turn, port(LAN), false));
    router.input(LAN, std::slice::from_ref(&request));
    assert!(router.sent().is_empty());
    router.turn(|stack, turn| stack.set_port_up(turn, port(LAN), true));
    router.input(LAN, &[request]);
    assert_eq!(router.sent().len(), 1);
}

#[test]
fn a_full_queue_of_the_wire_drops_what_a_vlan_sends_and_counts_it_once() {
    let mut interfaces = interfaces();
    let mut one = Interface::new(port(OFFICE), "office", our_mac(LAN), 1500);
    one.vlan = Some(Vlan {
        parent: port(LAN),
        protocol: TagProtocol::Customer,
        id: 100,
        priority: Priority::Fixed(0),
    });
    one.ipv4.push("10.0.100.1/24".parse().unwrap());
    interfaces.push(one);
    let mut rib = rib();
    rib.add(&route("10.0.100.0/24", Target::Connected { port: port(OFFICE) })).unwrap();
    rib.add(&route("10.0.100.1/32", Target::Local)).unwrap();
    let sizes = Sizes { tx_queue: 2, ..Sizes::default() };
    let mut router = Router::new(&rib, sizes, interfaces);
    router.stack.neighbours.add_static(port(OFFICE), ip("10.0.100.2"), station(LAN, 2), router.now).unwrap();
    let request = tagged(&ping(LAN, "10.0.100.2", "10.0.100.1", 0), &[OFFICE_TAG]);
    router.input(LAN, &vec![request; 3]);
    assert_eq!(router.stack.counters.dropped(DropReason::TxQueueFull), 1);
    assert_eq!(router.stack.counters.port(port(OFFICE)).tx_packets, 2);
    assert_eq!(router.sent().len(), 2);
}
