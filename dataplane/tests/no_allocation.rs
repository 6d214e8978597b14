//! After start a worker's turn allocates nothing, whatever the packets are: `worker.rs` says so, and here it is
//! counted, on the allocator itself. Each test warms up, so that what is made once is made, and then counts.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod workers;

use flumen::port::pcap::{Capture, Replay, Sink};
use flumen::report::Report;
use flumen::worker::{Command, Worker};
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::{Counter, DropReason};
use std::sync::atomic::Ordering;
use std::time::Duration;
use workers::*;

/// Allocations of `turns` turns.
fn allocations(worker: &mut Worker, turns: usize) -> u64 {
    let counted = allocation_counter::measure(|| {
        for _ in 0..turns {
            worker.turn();
        }
    });
    counted.count_total
}

/// Traffic in transit, of both families, over one way and over several.
fn transit() -> Vec<Vec<u8>> {
    (0..500u16)
        .flat_map(|flow| {
            let last = flow as u8;
            [
                udp("10.0.1.2", &format!("192.0.2.{last}"), [flow, 9], 64, &[7; 18]),
                udp("10.0.1.2", &format!("198.51.100.{last}"), [flow, 9], 64, &[7; 18]),
                udp("fd00:1::2", &format!("2001:db8::{flow:x}"), [flow, 9], 64, &[7; 18]),
            ]
        })
        .collect()
}

fn replay(packets: &[Vec<u8>]) -> Replay {
    Replay::of_packets(packets.iter().map(Vec::as_slice), true)
}

fn router(packets: &[Vec<u8>], sink: Sink) -> Rig {
    let queues = vec![files(LAN, Some(replay(packets)), Sink::Discard), files(WAN, None, sink)];
    let mut parts = Parts::alone(queues);
    // Timers that run out while the test runs.
    parts.neighbours = NeighbourConfig {
        retrans_time: Duration::from_millis(1),
        gc_stale_time: Duration::from_millis(5),
        solicit_rate: 100_000,
        max_entries: 256,
        ..NeighbourConfig::default()
    };
    let mut rig = parts.build(&rib());
    for (index, address, host) in [
        (LAN, "10.0.1.2", 2),
        (LAN, "fd00:1::2", 2),
        (WAN, "10.0.2.2", 2),
        (WAN, "10.0.2.3", 3),
        (WAN, "fd00:2::2", 2),
    ] {
        rig.introduce(index, address, host);
    }
    rig
}

#[test]
fn the_measure_sees_an_allocation() {
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8]))).count_total, 1);
}

#[test]
fn forwarding_allocates_nothing() {
    let mut rig = router(&transit(), Sink::Discard);
    allocations(&mut rig.worker, 100);
    assert_eq!(allocations(&mut rig.worker, 2000), 0);
    let counters = &rig.worker.stack.counters;
    assert!(counters.get(Counter::Ipv4Forwarded) > 50_000 && counters.get(Counter::Ipv6Forwarded) > 25_000);
    assert_eq!(counters.dropped_in_all(), 0);
    rig.assert_all_frames_are_free();
}

#[test]
fn errors_replies_and_resolution_allocate_nothing() {
    let mut packets = Vec::new();
    for flow in 0..200u16 {
        let last = flow as u8;
        packets.push(udp("10.0.1.2", "192.0.2.1", [flow, 9], 1, &[7; 18]));
        packets.push(udp("fd00:1::2", "2001:db8::1", [flow, 9], 1, &[7; 18]));
        packets.push(udp("10.0.1.2", "8.8.8.8", [flow, 9], 64, &[7; 18]));
        packets.push(udp("10.0.1.2", "10.0.1.1", [flow, 9], 64, &[7; 18]));
        packets.push(ping("10.0.1.2".parse().unwrap(), "10.0.1.1".parse().unwrap()));
        // Nobody is there: questions, packets that wait, and errors when nobody answered.
        packets.push(udp("10.0.1.2", &format!("10.0.2.{}", last.clamp(10, 200)), [flow, 9], 64, &[7; 18]));
        packets.push(udp("fd00:1::2", &format!("fd00:2::1:{flow:x}"), [flow, 9], 64, &[7; 18]));
        // Sources that are learnt, and forgotten again.
        packets.push(ping(
            format!("10.0.1.{}", last.clamp(10, 200)).parse().unwrap(),
            "10.0.1.1".parse().unwrap(),
        ));
    }
    let mut rig = router(&packets, Sink::Discard);
    allocations(&mut rig.worker, 200);
    let mut counted = 0;
    for _ in 0..60 {
        counted += allocations(&mut rig.worker, 20);
        std::thread::sleep(Duration::from_millis(1)); // timers become due
    }
    assert_eq!(counted, 0);
    let counters = &rig.worker.stack.counters;
    for event in [
        Counter::IcmpErrorsOut,
        Counter::Icmpv6ErrorsOut,
        Counter::IcmpEchoReplies,
        Counter::ArpRequestsOut,
        Counter::NdSolicitationsOut,
    ] {
        assert!(counters.get(event) > 0, "{}", event.name());
    }
    for reason in [DropReason::NeighbourUnreachable, DropReason::NoRoute, DropReason::HopLimitExceeded] {
        assert!(counters.dropped(reason) > 0, "{}", reason.name());
    }
}

#[test]
fn capturing_to_a_file_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::create(&folder.path().join("out.pcap"), Duration::ZERO).unwrap();
    let mut rig = router(&transit(), Sink::File(Box::new(capture)));
    allocations(&mut rig.worker, 100);
    assert_eq!(allocations(&mut rig.worker, 500), 0);
}

#[test]
fn wires_in_memory_and_answers_to_questions_allocate_nothing() {
    let ((lan, mut client), (wan, mut server)) = (wire(LAN, 256), wire(WAN, 256));
    let mut rig = Parts::alone(vec![lan, wan]).build(&rib());
    rig.introduce(LAN, "10.0.1.2", 2);
    let mut counted = 0;
    let mut arrived = 0;
    for round in 0..100u16 {
        // A new neighbour in each round; a burst waits for it.
        for flow in 0..32 {
            let to = format!("10.0.2.{}", 10 + round);
            assert!(client.send(&udp("10.0.1.2", &to, [flow, 9], 64, &[round as u8; 400])));
        }
        let before = allocations(&mut rig.worker, 2);
        for frame in server.receive() {
            if let Some(answer) = arp_answer(&frame, station(WAN, 9)) {
                assert!(server.send(&answer));
            }
        }
        let after = allocations(&mut rig.worker, 2);
        arrived += server.receive().len();
        client.receive();
        if round > 0 {
            counted += before + after;
        }
    }
    assert_eq!((counted, arrived), (0, 3200));
    rig.assert_all_frames_are_free();
}

#[test]
fn housekeeping_and_a_report_allocate_nothing() {
    let mut rig = router(&transit(), Sink::Discard);
    allocations(&mut rig.worker, 100);
    rig.commands.push(Command::PortUp(port(WAN), false)).unwrap();
    rig.commands.push(Command::PortUp(port(WAN), true)).unwrap();
    rig.commands.push(Command::Report(Report::new(4, 64, 64))).unwrap();
    // Told to stop before it begins, a run is one round of housekeeping.
    rig.worker.stop.store(true, Ordering::Release);
    let counted = allocation_counter::measure(|| rig.worker.run());
    assert_eq!(counted.count_total, 0);
    let report = rig.reports.pop().unwrap();
    assert_eq!((report.neighbours.len(), report.cut_short), (5, false));
    assert_eq!(rig.worker.metrics.runtime().frames_unbalanced, 0);
}
