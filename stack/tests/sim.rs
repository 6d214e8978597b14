//! A client and a server, a router between them, and wires that misbehave in every way at once.
//!
//! ```text
//!   client 10.0.1.2 ─── wire ─── 10.0.1.1 router 10.0.2.1 ─── wire ─── 10.0.2.2 server
//!          fd00:1::2                                                   fd00:2::2
//! ```
//! Thousands of seeds, each another network in virtual time. Of each it must be true that
//! 1. nobody gets a reply, or an error, but to what was asked;
//! 2. there are no storms: the packets on the wires are bounded by those that were sent;
//! 3. frames are conserved on every node, looked at after each passing of time;
//! 4. when the wires are good again, it heals: what they broke in the tables is found out and asked anew.
//!
//! A seed that fails is printed; `FLUMEN_SIM_SEED=n` runs that one alone, `FLUMEN_SIM_SEEDS=n` so many.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::Rib;
use flumen_stack::sim::{self, Arrival, Misbehaviour, Node, Random, Wire, World};
use flumen_stack::{Instant, Interface, MacAddr, PortId, checksum};
use std::collections::HashSet;

const CLIENT: usize = 0;
const ROUTER: usize = 1;
const SERVER: usize = 2;
const SEEDS: u64 = 2000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(index: usize) -> PortId {
    PortId::new(index).unwrap()
}

/// An interface on link `net` with host number `host`.
fn interface(index: usize, net: u8, host: u8) -> Interface {
    let mut one = Interface::new(port(index), "link", MacAddr([2, 0, 0, 0, net, host]), 1500);
    one.ipv4.push(format!("10.0.{net}.{host}/24").parse().unwrap());
    one.ipv6.push(format!("fd00:{net}::{host}/64").parse().unwrap());
    one.ipv6.push(format!("fe80::{net}:{host}/64").parse().unwrap());
    one
}

/// The interfaces of each node.
fn interfaces(node: usize) -> Vec<Interface> {
    let host = |net| {
        let mut one = interface(0, net, 2);
        one.forwarding = false;
        vec![one]
    };
    match node {
        CLIENT => host(1),
        SERVER => host(2),
        _ => vec![interface(0, 1, 1), interface(1, 2, 1)],
    }
}

/// The routes of each node: the same in every life, so they are made once.
fn ribs() -> Vec<Rib> {
    let by_router = |net: u8| {
        let other = 3 - net;
        [
            (format!("10.0.{other}.0/24").parse().unwrap(), port(0), ip(&format!("10.0.{net}.1"))),
            (format!("fd00:{other}::/64").parse().unwrap(), port(0), ip(&format!("fd00:{net}::1"))),
        ]
    };
    let routes = [by_router(1).to_vec(), Vec::new(), by_router(2).to_vec()];
    routes.iter().enumerate().map(|(node, routes)| sim::rib(&interfaces(node), routes).unwrap()).collect()
}

/// The network, with wires that do what the seed says.
fn world(ribs: &[Rib], seed: u64) -> World {
    let mut random = Random::new(seed);
    let mut world = World::new(Instant::from_millis(1000));
    for (node, rib) in ribs.iter().enumerate() {
        let neighbours = NeighbourConfig { max_entries: 32, ..NeighbourConfig::default() };
        let seed = random.number();
        world.nodes.push(Node::new(interfaces(node), rib.reader().unwrap(), neighbours, seed).unwrap());
    }
    // One wire of the two flips bits, so that two flips in one packet cannot cancel out in its checksum.
    let flips = random.below(3);
    for (number, ends) in [[(CLIENT, port(0)), (ROUTER, port(0))], [(ROUTER, port(1)), (SERVER, port(0))]]
        .into_iter()
        .enumerate()
    {
        let mut up_to = |most: u64| random.below(most) as u16;
        let mut misbehaviour = Misbehaviour {
            loss: up_to(400),
            duplicate: up_to(200),
            reorder: up_to(300),
            truncate: up_to(100),
            corrupt: up_to(200),
            delay: Duration::from_micros(up_to(20_000).into()),
            jitter: Duration::from_micros(up_to(5_000).into()),
            held_back: Duration::from_millis(up_to(400).into()),
            ..Misbehaviour::default()
        };
        if flips != number as u64 {
            misbehaviour.corrupt = 0;
        }
        world.wires.push((Wire::new(misbehaviour, random.number()), ends));
    }
    world
}

/// What the client learnt from a frame: a reply to a ping, or an error about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Heard {
    Reply { v6: bool, id: u16, sequence: u16 },
    Error { v6: bool, from_port: u16 },
}

/// Reads a frame as a careful client would: only what is for it and intact counts.
fn read(frame: &[u8]) -> Option<Heard> {
    if frame.get(..6)? != [2, 0, 0, 0, 1, 2] {
        return None;
    }
    let half = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let packet = frame.get(14..)?;
    let (v6, message, quoted_ports) = match frame.get(12..14)? {
        [8, 0] => {
            let header = packet.get(..20)?;
            let whole = packet.get(..usize::from(half(packet, 2)?))?;
            let intact = header[0] == 0x45 && checksum::sum(header).is_valid();
            if !intact || header[9] != 1 || header[16..20] != [10, 0, 1, 2] {
                return None;
            }
            let message = whole.get(20..)?;
            (false, checksum::sum(message).is_valid().then_some(message)?, 8 + 20)
        }
        [0x86, 0xdd] => {
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            let (from, to) = (address(8)?, address(24)?);
            let message = packet.get(40..40 + usize::from(half(packet, 4)?))?;
            if packet[0] >> 4 != 6 || packet[6] != 58 || IpAddr::V6(to) != ip("fd00:1::2") {
                return None;
            }
            let pseudo = checksum::pseudo_ipv6(&from, &to, 58, message.len() as u32);
            (true, pseudo.plus(checksum::sum(message)).is_valid().then_some(message)?, 8 + 40)
        }
        _ => return None,
    };
    match (v6, message.first()?) {
        (false, 0) | (true, 129) => {
            assert_eq!(message.get(8..)?, [0xf1; 4], "the payload comes back as it was");
            Some(Heard::Reply { v6, id: half(message, 4)?, sequence: half(message, 6)? })
        }
        (false, 3 | 11) | (true, 1..=3) => {
            // About a ping it says nothing of ports; only about datagrams is checked here.
            let protocol = *message.get(if v6 { 8 + 6 } else { 8 + 9 })?;
            (protocol == 17).then_some(Heard::Error { v6, from_port: half(message, quoted_ports)? })
        }
        _ => None,
    }
}

/// What was asked, what was heard, and a sum over everything that arrived anywhere.
#[derive(Debug, Default)]
struct Log {
    asked: HashSet<Heard>,
    heard: Vec<Heard>,
    trace: u64,
}

impl Log {
    fn watch(&mut self, arrival: &Arrival) {
        for byte in arrival.at.nanos().to_be_bytes().iter().chain(&arrival.frame) {
            self.trace = (self.trace.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        if arrival.node == CLIENT
            && let Some(heard) = read(&arrival.frame)
        {
            assert!(self.asked.contains(&heard), "nobody asked for {heard:?}: {:02x?}", arrival.frame);
            self.heard.push(heard);
        }
    }
}

fn pass(world: &mut World, log: &mut Log, time: Duration) {
    let end = world.now + time;
    world.run_until(end, |arrival| log.watch(arrival));
    assert!(world.is_conserved(), "frames are conserved");
}

/// One life of a network; the sum over all that arrived.
fn live(ribs: &[Rib], seed: u64) -> u64 {
    let mut world = world(ribs, seed);
    let mut random = Random::new(seed ^ 0x5eed);
    let mut log = Log::default();
    let targets = [ip("10.0.2.2"), ip("fd00:2::2"), ip("10.0.1.1"), ip("fd00:2::1")];
    let mut sent = 0;
    for round in 0..20u16 {
        let to = targets[random.below(4) as usize];
        let now = world.now;
        let v6 = to.is_ipv6();
        if random.chance(600) {
            log.asked.insert(Heard::Reply { v6, id: 7, sequence: round });
            sent += u64::from(world.nodes[CLIENT].ping(to, 7, round, now));
        } else {
            log.asked.insert(Heard::Error { v6, from_port: 5000 + round });
            let data = vec![round as u8; random.below(1400) as usize];
            sent += u64::from(world.nodes[CLIENT].udp(to, [5000 + round, 9], &data, now));
        }
        pass(&mut world, &mut log, Duration::from_millis(random.below(800)));
    }
    pass(&mut world, &mut log, Duration::from_secs(30));
    // A packet goes over four wires there and back, twice at most on each, and so does what it causes; each of eight
    // neighbours is asked for and probed a few times.
    let bound = 40 * sent + 8 * 30;
    assert!(world.carried <= bound, "{} packets on the wires for {sent} that were sent", world.carried);

    // The wires are good again. The longest lie: REACHABLE (45 s at most), then DELAY and three probes at each
    // of the four hops, one behind the other.
    for (wire, _) in &mut world.wires {
        wire.misbehaviour = Misbehaviour { delay: Duration::from_millis(1), ..Misbehaviour::default() };
    }
    for second in 0..100u16 {
        for (v6, to) in [(false, ip("10.0.2.2")), (true, ip("fd00:2::2"))] {
            log.asked.insert(Heard::Reply { v6, id: 8, sequence: second });
            let now = world.now;
            world.nodes[CLIENT].ping(to, 8, second, now);
        }
        pass(&mut world, &mut log, Duration::from_secs(1));
    }
    for v6 in [false, true] {
        let healed = Heard::Reply { v6, id: 8, sequence: 99 };
        assert!(log.heard.contains(&healed), "it does not heal: {v6}");
    }
    log.trace
}

/// Says which seed it was when it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the seed is {0}; replay: FLUMEN_SIM_SEED={0} cargo test -p flumen-stack --test sim",
                self.0
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn networks_with_bad_wires_stay_honest_quiet_and_whole_and_heal() {
    let seeds = match number("FLUMEN_SIM_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("FLUMEN_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let ribs = ribs();
    for seed in seeds {
        let _seed = Seed(seed);
        live(&ribs, seed);
    }
}

#[test]
fn a_seed_replays_exactly() {
    let ribs = ribs();
    for seed in 0..20 {
        let _seed = Seed(seed);
        assert_eq!(live(&ribs, seed), live(&ribs, seed));
    }
    assert_ne!(live(&ribs, 1), live(&ribs, 2), "and another seed is another life");
}

#[test]
fn good_wires_answer_every_ping_and_refuse_every_datagram() {
    let mut world = world(&ribs(), 3);
    for (wire, _) in &mut world.wires {
        wire.misbehaviour = Misbehaviour { delay: Duration::from_millis(2), ..Misbehaviour::default() };
    }
    let mut log = Log::default();
    for round in 0..10u16 {
        for to in [ip("10.0.2.2"), ip("fd00:2::2")] {
            let v6 = to.is_ipv6();
            log.asked.insert(Heard::Reply { v6, id: 7, sequence: round });
            log.asked.insert(Heard::Error { v6, from_port: 5000 + round });
            let now = world.now;
            assert!(world.nodes[CLIENT].ping(to, 7, round, now));
            assert!(world.nodes[CLIENT].udp(to, [5000 + round, 9], &[1; 100], now));
        }
        pass(&mut world, &mut log, Duration::from_secs(1));
    }
    assert_eq!(log.heard.len(), 40);
    assert_eq!(log.heard.iter().copied().collect::<HashSet<_>>(), log.asked);
}
