//! Frames are conserved: every packet has its end on record.

use crate::lab::*;
use core::net::Ipv6Addr;
use flumen_stack::{Counter, DropReason, FramePool, MacAddr, checksum};

#[test]
fn a_question_that_is_answered_has_its_end_on_record() {
    let mut router = Router::acquainted();
    let question = arp(1, (CLIENT, "10.0.1.2"), (MacAddr::ZERO, "10.0.1.1"));
    router.receive(LAN, &[ethernet(MacAddr::BROADCAST, CLIENT, 0x0806, &question)]);
    assert_eq!(router.dropped(DropReason::Consumed), 1);
    assert_books_balance(&router, 1);
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend("fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    for source in ["fd00:1::2", "::"] {
        let question =
            V6 { hop_limit: 255, ..V6::with(source, "ff02::1:ff00:1", 58, solicitation.clone(), 2) };
        let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
        assert_eq!(router.receive(LAN, &[ethernet(group, CLIENT, 0x86dd, &question.bytes())]).len(), 1);
    }
    assert_eq!(router.dropped(DropReason::Consumed), 3);
    assert_books_balance(&router, 3);
}

#[test]
fn a_packet_that_is_cut_has_its_end_on_record() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 600, 64);
    router.introduce();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 1400).sent_by_client()]).len(), 3);
    assert_eq!(router.stack.counters.get(Counter::Ipv4Fragmented), 1);
    assert_books_balance(&router, 1);
}

#[test]
fn on_a_link_with_a_larger_mtu_than_a_chunk_fragments_are_as_long_as_a_chunk_allows() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 4000, 64);
    router.introduce();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 8000);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let payload: Vec<u8> = sent.iter().flat_map(|(_, frame)| frame[34..].to_vec()).collect();
    assert_eq!(payload, packet.payload);
    assert_eq!(sent[0].1.len(), 14 + 20 + (2048 - 128 - 20) / 8 * 8);
    assert_books_balance(&router, 1);
    router.assert_conserved();
}

#[test]
fn an_empty_pool_ends_a_packet_that_must_be_cut_with_a_reason_of_its_own() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 600, 64);
    router.introduce();
    let taken: Vec<_> = (0..POOL - 2).map(|_| router.pool.alloc().unwrap()).collect();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 1400).sent_by_client()]).len(), 1);
    assert_eq!(router.dropped(DropReason::FragmentationFailed), 1);
    assert_books_balance(&router, 1);
    drop(taken);
    router.assert_conserved();
}

#[test]
fn a_fragment_that_reaches_beyond_the_longest_datagram_is_not_cut_further() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 600, 64);
    router.introduce();
    let fragment = |offset: u16| {
        let mut bytes = V4::udp("10.0.1.2", "10.0.2.2", 1400).bytes();
        bytes[6..8].copy_from_slice(&offset.to_be_bytes());
        bytes[10..12].fill(0);
        let sum = checksum::sum(&bytes[..20]).checksum();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(ROUTER[LAN], CLIENT, 0x0800, &bytes)
    };
    // 1408 bytes at 64,120 end at 65,528; eight further on they would end at 65,536.
    let sent = router.receive(LAN, &[fragment(64_120 / 8)]);
    assert_eq!(sent.len(), 3);
    assert_eq!(&sent[2].1[20..22], ((64_120 + 1152) / 8u16).to_be_bytes());
    assert_eq!(router.receive(LAN, &[fragment(64_128 / 8)]), []);
    assert_eq!(router.dropped(DropReason::Ipv4BadHeader), 1);
    assert_books_balance(&router, 2);
}
