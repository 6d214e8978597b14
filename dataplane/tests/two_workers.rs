//! Two workers share the work: flows go to the worker that their hash names, ports are reached through the
//! worker that has them, and what one hears of a neighbour the other knows.
//!
//! ```text
//!   client ── lan ─▶ worker 0 ═══ receive, transmit, facts ═══▶ worker 1 ── wan ─▶ server
//! ```
//! Most tests turn the workers by hand, one after the other, so that every step is known; the last runs the
//! service with its threads.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod workers;

use flumen::config::{self, Host, Missing, Problems};
use flumen::handoff::{Doorbell, channel};
use flumen::port::Port;
use flumen::port::pcap::Replay;
use flumen::service::Service;
use flumen::worker::Way;
use flumen_stack::ip::flow::symmetric_hash_of_frame;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::{Counter, DropReason};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use workers::*;

/// Worker 0 has the lan, worker 1 the wan; both share out by flow. Rings between them for `handoff` packets.
fn pair(handoff: usize) -> (Rig, Rig, Peer, Peer) {
    let ((lan, client), (wan, server)) = (wire(LAN, 1024), wire(WAN, 1024));
    let bells = [Doorbell::new().unwrap(), Doorbell::new().unwrap()];
    let (to_one, from_zero) = channel(handoff, bells[1].clone());
    let (to_zero, from_one) = channel(handoff, bells[0].clone());
    let rib = rib();
    let zero = Parts {
        number: 0,
        queues: vec![lan],
        ways: vec![Way::Own(0), Way::Other(1)],
        to_others: vec![None, Some(to_one)],
        from_others: vec![from_one],
        bell: bells[0].clone(),
        by_flow: 0b11,
        fragments: 0,
        groups: false,
        neighbours: NeighbourConfig::default(),
    };
    let one = Parts {
        number: 1,
        queues: vec![wan],
        ways: vec![Way::Other(0), Way::Own(0)],
        to_others: vec![Some(to_zero), None],
        from_others: vec![from_zero],
        bell: bells[1].clone(),
        by_flow: 0b11,
        fragments: 0,
        groups: false,
        neighbours: NeighbourConfig::default(),
    };
    (zero.build(&rib), one.build(&rib), client, server)
}

fn turn(zero: &mut Rig, one: &mut Rig, times: usize) {
    for _ in 0..times {
        zero.worker.turn();
        one.worker.turn();
    }
}

fn owner(frame: &[u8]) -> u64 {
    symmetric_hash_of_frame(frame, KEY).unwrap() % 2
}

/// One packet of each of `flows` flows, the number in the payload.
fn traffic(flows: u16, destination: &str) -> Vec<Vec<u8>> {
    (0..flows)
        .map(|flow| {
            udp("10.0.1.2", destination, [1000 + flow, 9], 64, &[&flow.to_be_bytes()[..], &[7; 30]].concat())
        })
        .collect()
}

/// The number in a frame's payload.
fn number(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[42], frame[43]])
}

#[test]
fn each_flow_is_worked_on_by_its_owner_and_leaves_by_the_port_of_the_other() {
    let (mut zero, mut one, mut client, mut server) = pair(1024);
    for rig in [&mut zero, &mut one] {
        rig.introduce(WAN, "10.0.2.2", 2);
    }
    let packets = traffic(200, "192.0.2.1");
    let strays = packets.iter().filter(|packet| owner(packet) == 1).count() as u64;
    assert!((60..140).contains(&strays), "{strays}");
    // Each packet twice: a flow stays in order.
    for packet in packets.iter().chain(&packets) {
        assert!(client.send(packet));
    }
    turn(&mut zero, &mut one, 20);
    let arrived = server.receive();
    assert_eq!(arrived.len(), 400);
    let mut seen: HashMap<u16, u32> = HashMap::new();
    for frame in &arrived {
        assert_eq!(
            (&frame[..6], &frame[6..12], frame[22]),
            (&station(WAN, 2).0[..], &our_mac(WAN).0[..], 63)
        );
        *seen.entry(number(frame)).or_default() += 1;
    }
    assert!(seen.len() == 200 && seen.values().all(|&times| times == 2));
    let forwarded = |rig: &Rig| rig.worker.stack.counters.get(Counter::Ipv4Forwarded);
    assert_eq!((forwarded(&zero), forwarded(&one)), (400 - 2 * strays, 2 * strays), "each its own flows");
    // Strays as received packets, the others as packets to transmit: all of them cross, once.
    assert_eq!((zero.worker.runtime.handed_over, one.worker.runtime.taken_over), (400, 400));
    for rig in [&zero, &one] {
        assert_eq!(rig.worker.stack.counters.dropped_in_all(), 0);
        rig.assert_all_frames_are_free();
    }
}

#[test]
fn both_directions_of_a_flow_are_worked_on_by_one_worker() {
    let (mut zero, mut one, mut client, mut server) = pair(1024);
    for rig in [&mut zero, &mut one] {
        rig.introduce(WAN, "10.0.2.2", 2);
        rig.introduce(LAN, "10.0.1.2", 2);
    }
    let packets = traffic(50, "10.0.2.2");
    for packet in &packets {
        assert!(client.send(packet));
    }
    turn(&mut zero, &mut one, 10);
    let forwarded = |rig: &Rig| rig.worker.stack.counters.get(Counter::Ipv4Forwarded);
    let there = (forwarded(&zero), forwarded(&one));
    for frame in server.receive() {
        let from = number(&frame) + 1000;
        let mut back = udp("10.0.2.2", "10.0.1.2", [9, from], 64, &frame[42..]);
        back[..6].copy_from_slice(&our_mac(WAN).0);
        back[6..12].copy_from_slice(&station(WAN, 2).0);
        assert!(server.send(&back));
    }
    turn(&mut zero, &mut one, 10);
    assert_eq!(client.receive().len(), 50);
    assert_eq!((forwarded(&zero), forwarded(&one)), (2 * there.0, 2 * there.1));
}

#[test]
fn both_workers_resolve_a_neighbour_from_one_answer() {
    let (mut zero, mut one, mut client, mut server) = pair(1024);
    let packets = traffic(40, "192.0.2.1");
    for packet in &packets {
        assert!(client.send(packet));
    }
    turn(&mut zero, &mut one, 4);
    let held = |rig: &Rig| rig.worker.stack.neighbours.frames_held();
    assert!(held(&zero) > 0 && held(&one) > 0 && held(&zero) + held(&one) == 40);
    let questions = server.receive();
    assert_eq!(questions.len(), 2, "each of the two asks");
    let answer = arp_answer(&questions[0], station(WAN, 2)).unwrap();
    assert!(server.send(&answer), "one answer, which only worker 1 hears");
    turn(&mut zero, &mut one, 4);
    let mut numbers: Vec<u16> = server.receive().iter().map(|frame| number(frame)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    assert_eq!((held(&zero), held(&one)), (0, 0));
    for rig in [&zero, &one] {
        rig.assert_all_frames_are_free();
    }
}

#[test]
fn a_full_ring_drops_with_its_reason_and_loses_nothing_else() {
    let (mut zero, mut one, mut client, mut server) = pair(4);
    for rig in [&mut zero, &mut one] {
        rig.introduce(WAN, "10.0.2.2", 2);
    }
    for flow in 0..64u16 {
        let payload = [&flow.to_be_bytes()[..], &[7; 1400]].concat();
        assert!(client.send(&udp("10.0.1.2", "192.0.2.1", [1000 + flow, 9], 64, &payload)));
    }
    turn(&mut zero, &mut one, 10);
    let arrived = server.receive().len() as u64;
    let counters = &zero.worker.stack.counters;
    let refused = counters.dropped(DropReason::HandoffFull);
    assert!(refused > 0 && arrived >= 4, "{refused} {arrived}");
    assert_eq!(arrived + refused, 64);
    assert_eq!((counters.dropped_in_all(), one.worker.stack.counters.dropped_in_all()), (refused, 0));
    for rig in [&zero, &one] {
        rig.assert_all_frames_are_free();
    }
    // There is room again for a few.
    assert!(client.send(&traffic(1, "192.0.2.1")[0]));
    turn(&mut zero, &mut one, 2);
    assert_eq!(server.receive().len(), 1);
}

#[test]
fn a_worker_that_sleeps_is_rung_for_and_one_that_is_awake_is_not() {
    let bell = Doorbell::new().unwrap();
    let (mut sender, receiver) = channel(16, bell.clone());
    let fact = flumen_stack::neighbour::Fact {
        port: port(LAN),
        addr: "10.0.1.2".parse().unwrap(),
        mac: Some(station(LAN, 2)),
        kind: flumen_stack::neighbour::FactKind::ArpReply { to_us: true, gratuitous: false },
    };
    assert!(sender.tell(fact));
    sender.flush();
    assert!(!rings(&bell, 0), "awake: it will look by itself");
    bell.going_to_sleep();
    assert!(!receiver.is_empty(), "the second look finds what came before");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(sender.tell(fact));
            sender.flush();
        });
        assert!(rings(&bell, 30_000), "asleep: the bell wakes it");
    });
    bell.awake();
    assert!(!rings(&bell, 0), "what rang is forgotten");
}

/// True when the bell rings now, or within that time.
fn rings(bell: &Doorbell, milliseconds: i64) -> bool {
    let timeout =
        rustix::time::Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

#[test]
fn a_worker_that_sleeps_at_the_other_end_of_a_memory_wire_is_rung_for() {
    let ((mut lan, mut client), (wan, _server)) = (wire(LAN, 64), wire(WAN, 64));
    let bell = Doorbell::new().unwrap();
    let Port::Memory(end) = &mut lan.carrier else { panic!("a memory port") };
    end.peer_bell = Some(bell.clone());
    let mut rig = Parts::alone(vec![lan, wan]).build(&rib());
    rig.introduce(LAN, "10.0.1.2", 2);
    let question = ping("10.0.1.2".parse().unwrap(), "10.0.1.1".parse().unwrap());

    assert!(client.send(&question));
    rig.worker.turn();
    assert!(!rings(&bell, 0), "awake: it will look by itself");
    bell.going_to_sleep();
    assert_eq!(client.receive().len(), 1, "the second look finds what came before");
    rig.worker.turn();
    assert!(!rings(&bell, 0), "nothing was sent: nothing to wake for");
    assert!(client.send(&question));
    rig.worker.turn();
    assert!(rings(&bell, 0), "asleep: the bell wakes it with the packet on the wire");
    assert_eq!(client.receive().len(), 1);
}

/// What began and what ended in the books of both workers: see `flumen_stack::counters`.
fn books(rigs: [&Rig; 2]) -> (u64, u64) {
    let (mut begun, mut ended) = (0, 0);
    for counters in rigs.map(|rig| &rig.worker.stack.counters) {
        let ports = [LAN, WAN].map(|index| *counters.port(port(index)));
        begun += counters.originated() + counters.dropped(DropReason::NoFrame);
        begun += ports.iter().map(|one| one.rx_packets + one.tx_drops).sum::<u64>();
        ended += counters.dropped_in_all() + counters.fragmented();
        ended += ports.iter().map(|one| one.tx_packets).sum::<u64>();
    }
    (begun, ended + rigs.iter().map(|rig| rig.worker.stack.neighbours.frames_held() as u64).sum::<u64>())
}

#[test]
fn packets_that_wait_anywhere_at_the_end_are_counted_as_stopping_and_the_books_balance() {
    let (mut zero, mut one, mut client, mut server) = pair(64);
    for rig in [&mut zero, &mut one] {
        rig.introduce(WAN, "10.0.2.2", 2);
    }
    let long = |destination: &str| -> Vec<Vec<u8>> {
        let packet = |flow: u16| udp("10.0.1.2", destination, [1000 + flow, 9], 64, &[7; 1400]);
        (0..40).map(packet).collect()
    };
    // For a neighbour that nobody answers for: they wait for it.
    for packet in traffic(20, "10.0.2.77") {
        assert!(client.send(&packet));
    }
    turn(&mut zero, &mut one, 4);
    let held = |rig: &Rig| rig.worker.stack.neighbours.frames_held();
    assert!(held(&zero) > 0 && held(&one) > 0 && held(&zero) + held(&one) == 20);
    // Until the wire to the server, which does not read, is full: they wait for the port.
    let mut sent = 20;
    while one.worker.egress.is_empty() {
        for packet in long("192.0.2.1") {
            assert!(client.send(&packet));
            sent += 1;
        }
        turn(&mut zero, &mut one, 4);
    }
    // One more turn of worker 0 alone: they wait in the ring, some to be worked on, some to be transmitted.
    for packet in long("192.0.2.1") {
        assert!(client.send(&packet));
        sent += 1;
    }
    let before = zero.worker.runtime.handed_over;
    zero.worker.turn();
    assert_eq!(zero.worker.runtime.handed_over - before, 40);
    assert!(one.worker.stack.counters.dropped_in_all() == 0 && !one.worker.egress.is_empty());

    zero.worker.leave();
    one.worker.leave();
    zero.worker.finish();
    one.worker.finish();
    let (begun, ended) = books([&zero, &one]);
    assert_eq!(begun, ended);
    let counters = [&zero, &one].map(|rig| &rig.worker.stack.counters);
    let sum = |what: &dyn Fn(&flumen_stack::counters::Counters) -> u64| what(counters[0]) + what(counters[1]);
    assert_eq!(sum(&|one| one.port(port(LAN)).rx_packets), sent, "each packet was received once");
    let arrived = server.receive();
    let questions = arrived.iter().filter(|frame| frame[12..14] == [8, 6]).count() as u64;
    let wan = |one: &flumen_stack::counters::Counters| *one.port(port(WAN));
    let left = sum(&|one| wan(one).tx_packets) - sum(&|one| wan(one).tx_drops);
    assert_eq!(arrived.len() as u64, left, "what is counted as sent and not taken back has left");
    assert_eq!(sum(&|one| one.dropped(DropReason::Stopping)), sent + questions - left);
    assert_eq!(sum(&|one| one.dropped_in_all()), sum(&|one| one.dropped(DropReason::Stopping)));
    for rig in [&zero, &one] {
        assert_eq!((held(rig), rig.worker.egress.len()), (0, 0));
        assert_eq!(rig.worker.metrics.runtime().frames_held, 0);
        rig.assert_all_frames_are_free();
    }
}

fn write_pcap(path: &Path, packets: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 2 | 4 << 16, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        for word in [0, 0, packet.len() as u32, packet.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    std::fs::write(path, file).unwrap();
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap();
    let mut rest = &file[24..];
    let mut packets = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        packets.push(behind[..len].to_vec());
        rest = &behind[len..];
    }
    packets
}

#[test]
fn the_service_shares_flows_between_its_threads_and_stops_with_every_frame_in_its_place() {
    let host = Host::here().unwrap();
    let [first, second, ..] = host.cpus[..] else {
        eprintln!("one processor: two workers cannot be pinned");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let packets: Vec<Vec<u8>> = (0..6).flat_map(|_| traffic(100, "192.0.2.1")).collect();
    write_pcap(&folder.path().join("in.pcap"), &packets);
    assert_eq!(Replay::open(&folder.path().join("in.pcap"), false).unwrap().len(), 600);
    let text = format!(
        r#"
[[port]]
name = "lan"
kind = "pcap"
read = "in.pcap"
mac = "02:00:00:00:01:01"
addresses = ["10.0.1.1/24"]
dad = "off"
announce = false
forwarding = true
distribute = "flow"
[[port]]
name = "wan"
kind = "pcap"
write = "out.pcap"
mac = "02:00:00:00:02:01"
addresses = ["10.0.2.1/24"]
dad = "off"
announce = false
[[core]]
cpu = {first}
ports = ["lan"]
[[core]]
cpu = {second}
ports = ["wan"]
[[route]]
to = "192.0.2.0/24"
via = "10.0.2.2"
[[neighbour]]
port = "wan"
address = "10.0.2.2"
mac = "02:00:00:00:02:02"
[limits]
routes_ipv4 = 1000
routes_ipv6 = 1000
"#
    );
    let loaded = config::parse("test.toml", text, folder.path(), &mut |path| {
        Err(config::LoadError::NotText { path: path.to_owned(), offset: 0 })
    });
    assert!(loaded.problems.is_empty(), "{}", loaded.sources.render_all(&loaded.problems, false));
    let config = loaded.config.unwrap();
    let layout = config::plan(&config, &host, Missing::Refuse, &mut Problems::default()).unwrap();
    let mut service = Service::start(config, layout).unwrap();
    // Until all have left, or long after they should have.
    let deadline = Instant::now() + Duration::from_secs(60);
    let slept = |service: &Service| service.workers.iter().all(|one| one.metrics.runtime().sleeps > 2);
    while Instant::now() < deadline
        && !(service.workers[1].metrics.runtime().transmitted >= 600 && slept(&service))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(service.is_healthy() && slept(&service), "with nothing to do they sleep");
    service.stop();

    let arrived = read_pcap(&folder.path().join("out.pcap"));
    let dropped = |worker: usize| {
        DropReason::ALL.iter().map(|reason| service.workers[worker].metrics.dropped(*reason)).sum::<u64>()
    };
    assert_eq!((arrived.len(), dropped(0), dropped(1)), (600, 0, 0));
    let mut seen: HashMap<u16, u32> = HashMap::new();
    for frame in &arrived {
        assert_eq!((&frame[..6], frame[22]), (&station(WAN, 2).0[..], 63));
        *seen.entry(number(frame)).or_default() += 1;
    }
    assert!(seen.len() == 100 && seen.values().all(|&times| times == 6));
    let runtimes: Vec<_> = service.workers.iter().map(|worker| worker.metrics.runtime()).collect();
    assert_eq!((runtimes[0].handed_over, runtimes[1].taken_over), (600, 600));
    let forwarded = |worker: usize| service.workers[worker].metrics.event(Counter::Ipv4Forwarded);
    assert!(forwarded(0) > 0 && forwarded(1) > 0 && forwarded(0) + forwarded(1) == 600);
    for runtime in runtimes {
        assert_eq!((runtime.frames_free, runtime.frames_unbalanced), (runtime.frames, 0), "{runtime:?}");
    }
}
