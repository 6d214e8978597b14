//! Paths that drop what is too large without a word (RFC 4821).

use super::lossy::talk;
use super::*;
use crate::tcp::settings::MtuProbing;

/// A megabyte over a path that carries segments with so much data; what a segment has in the end.
fn carried(probing: MtuProbing, carries: usize) -> (Pair, u16) {
    let settings = TcpSettings { mtu_probing: probing, ..plain() };
    let mut pair = Pair::connected([settings, plain()], ms(10));
    pair.carries = carries;
    let [_, (received, error)] = talk(&mut pair, [1 << 20, 0]);
    assert_eq!((received, error), (1 << 20, None));
    let mss = pair.hosts[0].tcp.tx.mss;
    (pair, mss)
}

#[test]
fn rfc4821_7_3_segments_begin_small_and_grow_to_what_the_path_carries() {
    for carries in [1200, 1240, 1400, 1459, 1460] {
        let (pair, mss) = carried(MtuProbing::On, carries);
        assert!((carries - 8..=carries).contains(&mss.into()), "{mss} of {carries}");
        let first = pair.log.iter().find(|(who, wire)| *who == 0 && !wire.data.is_empty()).unwrap();
        assert_eq!(first.1.data.len(), 1024);
        let stats = &pair.hosts[0].pools.stats;
        assert!(stats.mtu_probes_arrived > 0, "{stats:?}");
        assert_eq!(stats.mtu_probes, stats.mtu_probes_arrived + stats.mtu_probes_lost, "{stats:?}");
    }
}

#[test]
fn rfc4821_7_6_a_lost_probe_is_sent_again_in_pieces_and_costs_no_window() {
    let (pair, _) = carried(MtuProbing::On, 1100);
    let host = &pair.hosts[0];
    let stats = &host.pools.stats;
    assert!(stats.mtu_probes_lost > 0 && stats.timeouts == 0, "{stats:?}");
    assert_eq!(host.tcp.sender.metrics().ssthresh, 0, "slow start was never left");
    // Of what was too large nothing went twice as it was.
    let large: Vec<_> = pair.log.iter().filter(|(_, wire)| wire.data.len() > 1100).collect();
    assert_eq!(large.len() as u64, stats.mtu_probes_lost);
}

#[test]
fn rfc4821_7_7_a_black_hole_leads_to_small_segments_and_from_there_up_again() {
    let (pair, mss) = carried(MtuProbing::BlackHole, 1240);
    assert!((1232..=1240).contains(&mss), "{mss}");
    let stats = &pair.hosts[0].pools.stats;
    assert_eq!(stats.mtu_probe_black_holes, 1);
    assert!(stats.mtu_probes_arrived > 0, "{stats:?}");
    // Below what is tried first the size is halved until something comes through.
    let (pair, mss) = carried(MtuProbing::BlackHole, 600);
    assert!((592..=600).contains(&mss), "{mss}");
    assert_eq!(pair.hosts[0].pools.stats.mtu_probe_black_holes, 2);
}

#[test]
fn without_probing_every_segment_is_as_large_as_path_and_peer_allow() {
    let (pair, mss) = carried(MtuProbing::BlackHole, 1460);
    assert_eq!((mss, pair.hosts[0].pools.stats.mtu_probes), (1460, 0));
}
