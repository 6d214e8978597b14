//! What the router says about packets, and to whom.

use crate::lab::*;
use core::net::Ipv4Addr;
use core::time::Duration;
use flumen_stack::{Counter, DropReason, checksum};

#[test]
fn a_ping_is_answered_in_both_families_with_its_payload() {
    let mut router = Router::acquainted();
    let ping = V4::ping("10.0.1.2", "10.0.1.1", 56);
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    let [(LAN, reply)] = sent.as_slice() else { panic!("{sent:?}") };
    let (kind, code, word, payload) = icmp(reply);
    assert_eq!((kind, code, word), (0, 0, 0x1234_0001));
    assert_eq!(payload, &ping.payload[8..]);
    assert!(checksum::sum(&reply[14..34]).is_valid());
    assert_eq!((reply[22], &reply[26..30], &reply[30..34]), (64, &[10, 0, 1, 1][..], &[10, 0, 1, 2][..]));

    let sent = router.receive(LAN, &[V6::ping("fd00:1::2", "fd00:1::1", 56).sent_by_client()]);
    let [(LAN, reply)] = sent.as_slice() else { panic!("{sent:?}") };
    let (kind, code, word, _) = icmpv6(reply);
    assert_eq!((kind, code, word), (129, 0, 0x1234_0001));
}

#[test]
fn the_far_address_of_the_router_answers_too() {
    let mut router = Router::acquainted();
    let sent = router.receive(LAN, &[V4::ping("10.0.1.2", "10.0.2.1", 8).sent_by_client()]);
    assert_eq!(&sent[0].1[26..30], [10, 0, 2, 1]);
}

#[test]
fn closed_ports_and_unknown_protocols_say_so() {
    let mut router = Router::acquainted();
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.1.1", 8).sent_by_client()]);
    assert_eq!((icmp(&sent[0].1).0, icmp(&sent[0].1).1), (3, 3));
    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:1::1", 8).sent_by_client()]);
    assert_eq!((icmpv6(&sent[0].1).0, icmpv6(&sent[0].1).1), (1, 4));
    let unknown = V4 { protocol: 253, ..V4::udp("10.0.1.2", "10.0.1.1", 8) };
    let sent = router.receive(LAN, &[unknown.sent_by_client()]);
    assert_eq!((icmp(&sent[0].1).0, icmp(&sent[0].1).1), (3, 2));
    let unknown = V6 { next_header: 253, ..V6::udp("fd00:1::2", "fd00:1::1", 8) };
    let sent = router.receive(LAN, &[unknown.sent_by_client()]);
    let (kind, code, pointer, _) = icmpv6(&sent[0].1);
    assert_eq!((kind, code, pointer), (4, 1, 6));
    router.assert_conserved();
}

#[test]
fn a_broken_datagram_for_a_closed_port_is_dropped_without_a_word() {
    let mut router = Router::acquainted();
    let mut packet = V4::udp("10.0.1.2", "10.0.1.1", 8);
    packet.payload[9] ^= 1;
    assert_eq!(router.receive(LAN, &[packet.sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::TransportBadChecksum), 1);
}

#[test]
fn a_connection_to_a_closed_port_is_reset() {
    let mut router = Router::acquainted();
    let mut segment = vec![0x30, 0x39, 0, 80, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    let (client, us) = (Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 1, 1));
    let pseudo = checksum::pseudo_ipv4(client, us, 6, 20);
    let sum = pseudo.plus(checksum::sum(&segment)).checksum();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let syn = V4 { protocol: 6, payload: segment, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    let sent = router.receive(LAN, &[syn.sent_by_client()]);
    let reset = &sent[0].1[34..];
    assert_eq!(&reset[..14], [0, 80, 0x30, 0x39, 0, 0, 0, 0, 0, 0, 0, 101, 0x50, 0x14]);
    let pseudo = checksum::pseudo_ipv4(us, client, 6, 20);
    assert!(pseudo.plus(checksum::sum(reset)).is_valid());
}

#[test]
fn errors_to_one_peer_are_limited_and_counted() {
    let mut router = Router::acquainted();
    let packets = vec![V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 8) }.sent_by_client(); 50];
    assert_eq!(router.receive(LAN, &packets).len(), 6);
    assert_eq!(router.stack.counters.get(Counter::IcmpErrorsLimited), 44);
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 50);
}

#[test]
fn icmp_that_asks_for_nothing_is_discarded_and_counted() {
    let mut router = Router::acquainted();
    for kind in [0u8, 4, 6, 11, 12, 15, 17, 30, 255] {
        let mut packet = V4::ping("10.0.1.2", "10.0.1.1", 28);
        packet.payload[0] = kind;
        packet.payload[2..4].fill(0);
        let sum = checksum::sum(&packet.payload).checksum();
        packet.payload[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(router.receive(LAN, &[packet.sent_by_client()]), [], "type {kind}");
    }
    assert_eq!(router.dropped(DropReason::IcmpDiscarded), 9);
    for kind in [3u8, 4, 100, 140, 200] {
        let payload = vec![kind, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        let packet = V6::with("fd00:1::2", "fd00:1::1", 58, payload, 2);
        assert_eq!(router.receive(LAN, &[packet.sent_by_client()]), [], "ICMPv6 type {kind}");
    }
    assert_eq!(router.dropped(DropReason::IcmpDiscarded), 14);
}

#[test]
fn a_path_mtu_report_about_a_packet_of_ours_shortens_what_we_send() {
    let mut router = Router::acquainted();
    let ping = V4::ping("10.0.1.2", "10.0.1.1", 1400);
    assert_eq!(router.receive(LAN, &[ping.sent_by_client()]).len(), 1, "in one piece");
    let quoted = V4 { payload: vec![0; 8], ..V4::ping("10.0.1.1", "10.0.1.2", 0) };
    let mut report = vec![3, 4, 0, 0, 0, 0, (1000u16 >> 8) as u8, 1000u16 as u8];
    report.extend(quoted.bytes());
    let sum = checksum::sum(&report).checksum();
    report[2..4].copy_from_slice(&sum.to_be_bytes());
    let report = V4 { protocol: 1, payload: report, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    assert_eq!(router.receive(LAN, &[report.sent_by_client()]), []);
    assert_eq!(router.stack.counters.get(Counter::PathMtuLearned), 1);
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    assert_eq!(sent.len(), 2, "two fragments");
    assert!(sent.iter().all(|(_, frame)| frame.len() <= 14 + 1000));
    // A report about a packet that we cannot have sent is not believed.
    let foreign = V4 { payload: vec![0; 8], ..V4::ping("10.0.2.2", "10.0.1.2", 0) };
    let mut forged = vec![3, 4, 0, 0, 0, 0, 2, 88];
    forged.extend(foreign.bytes());
    let sum = checksum::sum(&forged).checksum();
    forged[2..4].copy_from_slice(&sum.to_be_bytes());
    let forged = V4 { protocol: 1, payload: forged, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    assert_eq!(router.receive(LAN, &[forged.sent_by_client()]), []);
    assert_eq!(router.stack.counters.get(Counter::PathMtuLearned), 1);
}

#[test]
fn of_a_reply_of_ours_that_could_not_be_delivered_we_tell_ourselves_alone() {
    let mut router = Router::new();
    let ping = V6::ping("fe80::77", "fe80::2", 8).bytes();
    let sent = router.receive(WAN, &[ethernet(ROUTER[WAN], SERVER, 0x86dd, &ping)]);
    assert_eq!(icmpv6(&sent[0].1).0, 135, "who is fe80::77?");
    for _ in 0..20 {
        let sent = router.wait(Duration::from_millis(500));
        let asks = |frame: &[u8]| icmpv6(frame).0 == 135;
        assert!(
            sent.iter().all(|(index, frame)| *index == WAN && asks(frame)),
            "questions alone: {sent:02x?}"
        );
    }
    assert_eq!(router.dropped(DropReason::NeighbourUnreachable), 1);
    assert_eq!(router.stack.counters.get(Counter::Icmpv6ErrorsOut), 1);
    assert_eq!(router.stack.frames_looped(), 0, "and heard it");
    assert_books_balance(&router, 1);
    router.assert_conserved();
}

#[test]
fn a_broken_datagram_that_is_shorter_than_its_packet_is_dropped_without_a_word() {
    let mut router = Router::acquainted();
    let mut whole = V4::udp("10.0.1.2", "10.0.1.1", 8);
    whole.payload.extend([0xee; 5]);
    let sent = router.receive(LAN, &[whole.sent_by_client()]);
    assert_eq!(
        (icmp(&sent[0].1).0, icmp(&sent[0].1).1),
        (3, 3),
        "what is behind the datagram does not matter"
    );
    whole.payload[9] ^= 1;
    assert_eq!(router.receive(LAN, &[whole.sent_by_client()]), []);
    let mut whole = V6::udp("fd00:1::2", "fd00:1::1", 8);
    whole.payload.extend([0xee; 5]);
    assert_eq!(router.receive(LAN, &[whole.sent_by_client()]).len(), 1);
    whole.payload[9] ^= 1;
    assert_eq!(router.receive(LAN, &[whole.sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::TransportBadChecksum), 2);
}

#[test]
fn an_error_that_the_port_would_finish_is_finished_before_it_is_cut() {
    let mut router = Router::with(|interfaces| interfaces[LAN].tx_checksum = true, 64);
    router.introduce();
    // The client says that only 552 bytes get through to it.
    let ours = V4 { protocol: 1, ..V4::ping("10.0.1.1", "10.0.1.2", 8) };
    let mut report = vec![3, 4, 0, 0, 0, 0, 2, 40];
    report.extend(ours.bytes());
    let sum = checksum::sum(&report).checksum();
    report[2..4].copy_from_slice(&sum.to_be_bytes());
    let report = V4 { protocol: 1, payload: report, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    router.receive(LAN, &[report.sent_by_client()]);
    assert_eq!(router.stack.counters.get(Counter::PathMtuLearned), 1);
    let packet = V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 1000) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let [(LAN, first), (LAN, second)] = sent.as_slice() else { panic!("{sent:02x?}") };
    let message = [&first[34..], &second[34..]].concat();
    assert!(checksum::sum(&message).is_valid());
    // One that is not cut is left to the port.
    let short = V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 100) };
    assert!(checksum::sum(&router.receive(LAN, &[short.sent_by_client()])[0].1[34..]).is_valid());
}

#[test]
fn a_ping_of_nothing_but_zeros_is_answered_with_a_checksum_that_its_sender_accepts() {
    let mut router = Router::acquainted();
    let mut ping = V4::ping("10.0.1.2", "10.0.1.1", 0);
    ping.payload = [&[8, 0, 0xf7, 0xff, 0, 0, 0, 0][..], &[0; 16]].concat();
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    assert_eq!(sent[0].1[34..38], [0, 0, 0xff, 0xff]);
    // Words that add up to 0xffff by themselves have zero for a checksum.
    ping.payload = vec![8, 0, 0xf7, 0xff, 0xff, 0xff, 0, 0];
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    assert_eq!(sent[0].1[34..38], [0, 0, 0, 0]);
    assert!(checksum::sum(&sent[0].1[34..]).is_valid());
}
