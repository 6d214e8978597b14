//! How fast TCP is: loss by delay by congestion control, over one bottleneck, in virtual time, kept as a snapshot.
//!
//! Virtual time makes the figures exact, so the table is compared letter by letter: whatever changes how fast TCP is,
//! on purpose or not, shows in the review. `FLUMEN_REWRITE=1 cargo test -p flumen-stack --test tcp_throughput` writes
//! the table anew.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use flumen_stack::sim::{self, Misbehaviour, Node, NodeSettings, Wire, World};
use flumen_stack::socket::{Error, Handle, Owner, SocketId};
use flumen_stack::tcp::congestion::Algorithm;
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions};
use flumen_stack::tcp::user::SocketOption;
use flumen_stack::{Instant, Interface, MacAddr, PortId};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Bytes a second of the bottleneck: 20 Mbit/s.
const RATE: u64 = 2_500_000;

/// What may wait for it: 50 ms.
const QUEUE: u32 = 125_000;

/// How long each transfer lasts.
const TIME: Duration = Duration::from_secs(10);

/// Round trips, in milliseconds.
const TRIPS: [u64; 4] = [2, 20, 50, 150];

/// Losses, in a thousand.
const LOSSES: [u16; 5] = [0, 1, 10, 30, 100];

const ALGORITHMS: [Algorithm; 3] = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];

fn world(trip: u64, loss: u16) -> World {
    let mut world = World::new(Instant::from_millis(1000));
    for number in 1..3u8 {
        let mut interface = Interface::new(PortId::FIRST, "eth", MacAddr([2, 0, 0, 0, 0, number]), 1500);
        interface.forwarding = false;
        interface.ipv4.push(format!("10.0.0.{number}/24").parse().unwrap());
        let rib = sim::rib(std::slice::from_ref(&interface), &[]).unwrap();
        let settings = NodeSettings { seed: number.into(), ..NodeSettings::default() };
        world.nodes.push(Node::with(settings, vec![interface], rib.reader().unwrap()).unwrap());
    }
    let misbehaviour = Misbehaviour {
        loss,
        delay: Duration::from_micros(trip * 500),
        rate: RATE,
        queue: QUEUE,
        ..Misbehaviour::default()
    };
    world.wires.push((Wire::new(misbehaviour, 7), [(0, PortId::FIRST), (1, PortId::FIRST)]));
    world
}

/// Bytes that one connection carries in [`TIME`].
fn carried(algorithm: Algorithm, trip: u64, loss: u16) -> u64 {
    let mut world = world(trip, loss);
    let at = "10.0.0.2:9".parse().unwrap();
    let now = world.now;
    world.nodes[1].sockets(now).tcp_listen(Owner(0), at, &ListenOptions::default()).unwrap();
    let options =
        ConnectOptions { options: vec![SocketOption::Congestion(algorithm)], ..ConnectOptions::default() };
    let client = world.nodes[0].sockets(now).tcp_connect(Owner(0), at, &options).unwrap();
    let (end, mut received) = (now + TIME, 0);
    loop {
        let now = world.now;
        while let Some((socket, ..)) = world.nodes[0].sockets(now).next_news() {
            if socket == SocketId::Tcp(client) {
                fill(&mut world, client);
            }
        }
        while let Some((socket, ..)) = world.nodes[1].sockets(now).next_news() {
            let mut sockets = world.nodes[1].sockets(now);
            match socket {
                SocketId::Listener(listener) => while sockets.tcp_accept(listener, Owner(0)).is_ok() {},
                SocketId::Tcp(server) => {
                    while let Ok(count) = sockets.tcp_recv_with(server, <[u8]>::len) {
                        assert_ne!(count, 0, "nobody closes");
                        received += count as u64;
                    }
                }
                _ => {}
            }
        }
        if !world.step(end, |_| {}) {
            return received;
        }
    }
}

fn fill(world: &mut World, client: Handle) {
    let now = world.now;
    loop {
        match world.nodes[0].sockets(now).tcp_send(client, &[0x5a; 16_384]) {
            Ok(_) => {}
            Err(Error::WouldBlock) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn table() -> String {
    let mut text = String::from(
        "Mbit/s of data in 10 s over a bottleneck of 20 Mbit/s with a queue of 50 ms, by loss and round trip\n",
    );
    for algorithm in ALGORITHMS {
        write!(text, "\n{:8}", algorithm.name()).unwrap();
        for trip in TRIPS {
            write!(text, "{trip:>6} ms").unwrap();
        }
        for loss in LOSSES {
            write!(text, "\n{:>6} %", f64::from(loss) / 10.0).unwrap();
            for trip in TRIPS {
                let bits = carried(algorithm, trip, loss) * 8;
                write!(text, "{:>9.2}", bits as f64 / TIME.as_secs_f64() / 1e6).unwrap();
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn throughput_by_loss_delay_and_congestion_control_is_as_in_the_snapshot() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/tcp_throughput.txt");
    let now = table();
    if std::env::var("FLUMEN_REWRITE").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == now, "the snapshot says\n{kept}\nand now it is\n{now}\nFLUMEN_REWRITE=1 writes it anew");
}
