//! TCP between two nodes, through whole stacks: addresses resolved, segments built and judged, sockets called.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::sim::node::{Node, rib};
use flumen_stack::socket::{Error, Handle, Owner, Ready};
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions};
use flumen_stack::tcp::user::Shutdown;
use flumen_stack::{Instant, Interface, MacAddr, PortId};
use std::time::Duration;

const DELAY: Duration = Duration::from_micros(50);

/// Two nodes on one wire.
struct Pair {
    now: Instant,
    nodes: [Node; 2],
    on_the_wire: Vec<(Instant, usize, Vec<u8>)>,
    segments: u64,
    /// Frames that the wire loses, counted from now on.
    lose: Box<dyn FnMut(u64) -> bool>,
}

fn node(number: u8) -> Node {
    let mut interface = Interface::new(PortId::FIRST, "eth", MacAddr([2, 0, 0, 0, 0, number]), 1500);
    interface.ipv4.push(format!("10.0.0.{number}/24").parse().unwrap());
    interface.ipv6.push(format!("fe80::{number}/64").parse().unwrap());
    interface.ipv6.push(format!("fd00::{number}/64").parse().unwrap());
    let interfaces = vec![interface];
    let rib = rib(&interfaces, &[]).unwrap();
    let reader = rib.reader().unwrap();
    Node::new(interfaces, reader, NeighbourConfig::default(), u64::from(number) * 77).unwrap()
}

impl Pair {
    fn new() -> Pair {
        Pair {
            now: Instant::from_millis(1000),
            nodes: [node(1), node(2)],
            on_the_wire: Vec::new(),
            segments: 0,
            lose: Box::new(|_| false),
        }
    }

    /// Lets everything happen until `until`, a turn each time something does.
    fn run(&mut self, until: Duration) {
        let end = self.now + until;
        loop {
            for node in 0..2 {
                self.nodes[node].output(self.now);
                for (_, frame) in self.nodes[node].sent() {
                    self.segments += 1;
                    if !(self.lose)(self.segments) {
                        self.on_the_wire.push((self.now + DELAY, 1 - node, frame));
                    }
                }
            }
            let arrival = self.on_the_wire.iter().map(|(at, ..)| *at).min().unwrap_or(Instant::NEVER);
            let timer = self.nodes.iter().map(|node| node.stack.next_deadline()).min().unwrap();
            let next = arrival.min(timer).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            for node in &mut self.nodes {
                node.timers(next);
            }
            let mut index = 0;
            while index < self.on_the_wire.len() {
                if self.on_the_wire[index].0 <= next {
                    let (_, node, frame) = self.on_the_wire.remove(index);
                    self.nodes[node].input(PortId::FIRST, &frame, next);
                } else {
                    index += 1;
                }
            }
        }
    }

    fn listen(&mut self, at: &str) -> Handle {
        let now = self.now;
        self.nodes[1]
            .sockets(now)
            .tcp_listen(Owner(9), at.parse().unwrap(), &ListenOptions::default())
            .unwrap()
    }

    fn connect(&mut self, to: &str) -> Handle {
        let now = self.now;
        self.nodes[0]
            .sockets(now)
            .tcp_connect(Owner(1), to.parse().unwrap(), &ConnectOptions::default())
            .unwrap()
    }

    /// A connection from node 0 to a listener of node 1, both ends.
    fn connected(&mut self, at: &str) -> (Handle, Handle) {
        let listener = self.listen(at);
        let client = self.connect(at);
        self.run(Duration::from_millis(10));
        let now = self.now;
        let (server, _) = self.nodes[1].sockets(now).tcp_accept(listener, Owner(2)).unwrap();
        (client, server)
    }

    /// Carries `len` bytes from node `from` to the other, and checks each of them.
    fn transfer(&mut self, from: (usize, Handle), to: (usize, Handle), len: usize) {
        let byte = |at: usize| (at * 7 + at / 251) as u8;
        let (mut written, mut read) = (0, 0);
        let mut idle = 0;
        while read < len {
            let now = self.now;
            let piece: Vec<u8> = (written..len.min(written + 10_000)).map(byte).collect();
            if !piece.is_empty() {
                match self.nodes[from.0].sockets(now).tcp_send(from.1, &piece) {
                    Ok(count) => written += count,
                    Err(error) => assert_eq!(error, Error::WouldBlock),
                }
            }
            self.run(Duration::from_millis(1));
            let mut buffer = [0; 4096];
            let before = read;
            let now = self.now;
            while let Ok(count) = self.nodes[to.0].sockets(now).tcp_recv(to.1, &mut buffer) {
                assert_ne!(count, 0, "the end came after {read} of {len} bytes");
                for (ahead, got) in buffer[..count].iter().enumerate() {
                    assert_eq!(*got, byte(read + ahead), "byte {}", read + ahead);
                }
                read += count;
            }
            idle = if read == before { idle + 1 } else { 0 };
            assert!(idle < 300_000, "stuck after {read} of {len} bytes");
        }
    }

    /// Nothing is held: no connection, no block, no frame.
    fn assert_nothing_is_left(&mut self) {
        for node in &self.nodes {
            assert_eq!(node.stack.tcp.connections(), 0, "connections");
            assert_eq!(node.stack.blocks.in_use(), 0, "blocks");
        }
    }
}

#[test]
fn a_connection_is_made_carries_bytes_both_ways_and_is_closed() {
    for at in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut pair = Pair::new();
        let (client, server) = pair.connected(at);
        pair.transfer((0, client), (1, server), 300_000);
        pair.transfer((1, server), (0, client), 300_000);
        let now = pair.now;
        pair.nodes[0].sockets(now).tcp_shutdown(client, Shutdown::Write).unwrap();
        pair.run(Duration::from_millis(5));
        let now = pair.now;
        assert_eq!(pair.nodes[1].sockets(now).tcp_recv(server, &mut [0; 9]), Ok(0), "the end of the stream");
        pair.transfer((1, server), (0, client), 5_000);
        let now = pair.now;
        pair.nodes[1].sockets(now).tcp_close(server);
        pair.run(Duration::from_millis(5));
        let now = pair.now;
        assert_eq!(pair.nodes[0].sockets(now).tcp_recv(client, &mut [0; 9]), Ok(0));
        pair.nodes[0].sockets(now).tcp_close(client);
        pair.run(Duration::from_secs(70));
        pair.assert_nothing_is_left();
    }
}

#[test]
fn nobody_listens_and_the_connection_is_refused() {
    let mut pair = Pair::new();
    let client = pair.connect("10.0.0.2:81");
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    let mut sockets = pair.nodes[0].sockets(now);
    assert!(sockets.tcp_ready(client).contains(Ready::ERROR));
    assert_eq!(sockets.tcp_recv(client, &mut [0; 9]), Err(Error::ConnectionRefused));
    sockets.tcp_close(client);
    pair.run(Duration::from_millis(10));
    pair.assert_nothing_is_left();
}

#[test]
fn every_byte_arrives_though_one_frame_in_twenty_is_lost() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    pair.lose = Box::new(|number| number % 20 == 0);
    pair.transfer((0, client), (1, server), 400_000);
    pair.transfer((1, server), (0, client), 400_000);
    let now = pair.now;
    pair.nodes[0].sockets(now).tcp_close(client);
    pair.nodes[1].sockets(now).tcp_close(server);
    pair.run(Duration::from_secs(200));
    pair.assert_nothing_is_left();
}

#[test]
fn a_connection_that_is_aborted_resets_the_peer() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    let now = pair.now;
    pair.nodes[0].sockets(now).tcp_abort(client);
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    let mut sockets = pair.nodes[1].sockets(now);
    assert_eq!(sockets.tcp_recv(server, &mut [0; 9]), Err(Error::ConnectionReset));
    sockets.tcp_close(server);
    pair.run(Duration::from_millis(10));
    pair.assert_nothing_is_left();
}

#[test]
fn a_node_talks_to_itself() {
    let mut pair = Pair::new();
    let now = pair.now;
    let mut sockets = pair.nodes[0].sockets(now);
    let at = "10.0.0.1:7".parse().unwrap();
    let listener = sockets.tcp_listen(Owner(1), at, &ListenOptions::default()).unwrap();
    let client = sockets.tcp_connect(Owner(2), at, &ConnectOptions::default()).unwrap();
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    let (server, _) = pair.nodes[0].sockets(now).tcp_accept(listener, Owner(3)).unwrap();
    pair.transfer((0, client), (0, server), 50_000);
}
