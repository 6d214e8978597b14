//! Two workers of one host: what comes to the one for a socket of the other is handed over, and ports do not collide.
//!
//! ```text
//!   worker 0 (opens, sends) ──> peer
//!   worker 1 <─────────────────┘   all packets come in here; ARP comes in at worker 0
//!       └── strays ──> worker 0
//! ```
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::sim::node::{Node, rib};
use flumen_stack::socket::homes::{Home, PortHomes};
use flumen_stack::socket::{Family, Handle, Owner};
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions};
use flumen_stack::tcp::state::State;
use flumen_stack::{DropReason, Instant, Interface, MacAddr, PortId};
use std::sync::Arc;
use std::time::Duration;

fn node(number: u8, seed: u64) -> Node {
    let mut interface = Interface::new(PortId::FIRST, "eth", MacAddr([2, 0, 0, 0, 0, number]), 1500);
    interface.ipv4.push(format!("10.0.0.{number}/24").parse().unwrap());
    interface.ipv6.push(format!("fd00::{number}/64").parse().unwrap());
    let interfaces = vec![interface];
    let rib = rib(&interfaces, &[]).unwrap();
    let reader = rib.reader().unwrap();
    Node::new(interfaces, reader, NeighbourConfig::default(), seed).unwrap()
}

struct House {
    now: Instant,
    workers: [Node; 2],
    peer: Node,
    handed_over: usize,
}

impl House {
    fn new() -> House {
        let mut workers = [node(1, 3), node(1, 5)];
        let table = Arc::new(PortHomes::default());
        for (number, worker) in workers.iter_mut().enumerate() {
            worker.stack.set_home(&Home::new(Arc::clone(&table), number, 2).unwrap());
        }
        House { now: Instant::from_millis(1000), workers, peer: node(2, 7), handed_over: 0 }
    }

    /// Lets packets go to and fro until nothing moves.
    fn run(&mut self) {
        let mut silent = 0;
        for _ in 0..500 {
            self.now = self.now + Duration::from_micros(100);
            let mut quiet = true;
            for number in 0..2 {
                self.workers[number].timers(self.now);
                self.workers[number].output(self.now);
                for (port, frame) in self.workers[number].sent() {
                    quiet = false;
                    self.peer.input(port, &frame, self.now);
                }
            }
            self.peer.timers(self.now);
            self.peer.output(self.now);
            for (port, frame) in self.peer.sent() {
                quiet = false;
                let control = frame[12..14] == [8, 6] || frame[12..14] == [0x86, 0xdd] && frame[20] == 58;
                self.workers[usize::from(!control)].input(port, &frame, self.now);
            }
            for number in 0..2 {
                while let Some(stray) = self.workers[number].stack.next_stray() {
                    self.handed_over += 1;
                    let bytes = stray.frame.to_vec();
                    self.workers[number].stack.counters.drop(DropReason::HandedOver);
                    drop(stray.frame);
                    self.workers[stray.worker].input(stray.port, &bytes, self.now);
                }
            }
            silent = if quiet { silent + 1 } else { 0 };
            if silent > 20 {
                return;
            }
        }
        panic!("packets go to and fro for ever");
    }

    fn connect(&mut self, worker: usize, to: &str) -> Handle {
        let options = ConnectOptions::default();
        self.workers[worker].sockets(self.now).tcp_connect(Owner(1), to.parse().unwrap(), &options).unwrap()
    }
}

#[test]
fn a_connection_that_one_worker_opened_lives_although_all_of_it_comes_in_at_the_other() {
    for peer in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut house = House::new();
        let now = house.now;
        let listener = house
            .peer
            .sockets(now)
            .tcp_listen(Owner(0), peer.parse().unwrap(), &ListenOptions::default())
            .unwrap();
        let socket = house.connect(0, peer);
        house.run();
        assert_eq!(house.workers[0].sockets(house.now).tcp_state(socket), Some(State::Established), "{peer}");
        let (server, _) = house.peer.sockets(house.now).tcp_accept(listener, Owner(0)).unwrap();
        house.peer.sockets(house.now).tcp_send(server, b"an answer").unwrap();
        house.run();
        let mut out = [0; 20];
        assert_eq!(house.workers[0].sockets(house.now).tcp_recv(socket, &mut out), Ok(9));
        assert!(house.handed_over >= 2);
        assert!(house.workers.iter().chain([&house.peer]).all(Node::books_balance));
    }
}

#[test]
fn two_workers_never_choose_the_same_port() {
    let mut house = House::new();
    for number in 0..2 {
        for _ in 0..20 {
            let socket = house.connect(number, "10.0.0.2:80");
            let local = house.workers[number].sockets(house.now).tcp_local(socket).unwrap();
            assert_eq!(usize::from(local.port()) % 2, number);
        }
    }
}

#[test]
fn a_datagram_for_a_socket_of_the_other_worker_reaches_it_and_one_for_nobody_is_unreachable() {
    let mut house = House::new();
    let at = "10.0.0.1:5353".parse().unwrap();
    let socket = house.workers[0].stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    house.workers[0].stack.udp_bind(socket, at).unwrap();
    for port in [5353, 5354] {
        assert!(house.peer.udp("10.0.0.1".parse().unwrap(), [9, port], b"a question", house.now));
    }
    house.run();
    let mut out = [0; 20];
    assert_eq!(house.workers[0].stack.udp_recv(socket, &mut out).unwrap().len, 10);
    assert_eq!(house.handed_over, 1);
    assert_eq!(house.workers[1].stack.counters.dropped(DropReason::PortUnreachable), 1);
    assert!(house.workers.iter().all(Node::books_balance));
}

#[test]
fn a_refusal_reaches_the_worker_that_asked() {
    let mut house = House::new();
    let socket = house.connect(0, "10.0.0.2:80");
    house.run(); // nobody listens there
    let error = house.workers[0].sockets(house.now).tcp_take_error(socket);
    assert_eq!(error, Some(flumen_stack::socket::Error::ConnectionRefused));
    assert_eq!(house.handed_over, 1);
}

#[test]
fn an_icmp_error_about_a_socket_of_the_other_worker_reaches_it() {
    for (own, peer) in [("10.0.0.1:5353", "10.0.0.2:9"), ("[fd00::1]:5353", "[fd00::2]:9")] {
        let mut house = House::new();
        let now = house.now;
        let own: std::net::SocketAddr = own.parse().unwrap();
        let family = if own.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let stack = &mut house.workers[0].stack;
        let socket = stack.udp_open(family, Owner(1)).unwrap();
        stack.udp_bind(socket, own).unwrap();
        stack.udp_connect(now, socket, Some(peer.parse().unwrap())).unwrap();
        let Node { stack, pool, egress, .. } = &mut house.workers[0];
        let mut turn = flumen_stack::Turn { now, pool, egress, probe: &mut flumen_stack::NoProbe };
        stack.udp_send(&mut turn, socket, &flumen_stack::socket::SendArgs::default(), b"anybody?").unwrap();
        house.run();
        let error = house.workers[0].stack.udp_take_error(socket);
        assert_eq!(error, Some(flumen_stack::socket::Error::ConnectionRefused), "{own}");
        assert_eq!(house.handed_over, usize::from(own.is_ipv4()), "ICMPv6 comes in at worker 0 here");
    }
}
