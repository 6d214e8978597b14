//! Two workers of one host: what comes to the one for a socket of the other is handed over, and ports do not collide. Even
//! ports live on worker 0, odd ones on worker 1.
//!
//! ```text
//!   worker 0 (opens, sends) ──> peer
//!   worker 1 <─────────────────┘   all packets come in here; ARP comes in at worker 0
//!       └── strays ──> worker 0
//! ```
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use flumen_stack::ip::handover::Stray;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::sim::node::{Node, rib};
use flumen_stack::socket::homes::{Home, PortHomes};
use flumen_stack::socket::{Error, Family, Handle, Owner, SocketId};
use flumen_stack::tcp::sockets::{BindOptions, ConnectOptions, ListenOptions};
use flumen_stack::tcp::state::State;
use flumen_stack::{DropReason, Instant, Interface, MacAddr, NoProbe, PortId, Turn};
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
                while let Some(fact) = self.workers[number].stack.next_fact() {
                    let Node { stack, pool, egress, .. } = &mut self.workers[1 - number];
                    stack.learn(&mut Turn { now: self.now, pool, egress, probe: &mut NoProbe }, fact);
                }
                while let Some(Stray { worker, port, delivery, frame }) =
                    self.workers[number].stack.next_stray()
                {
                    quiet = false;
                    self.handed_over += 1;
                    let bytes = frame.to_vec();
                    self.workers[number].stack.counters.drop(DropReason::HandedOver);
                    drop(frame);
                    let Node { stack, pool, egress, .. } = &mut self.workers[worker];
                    let frame = pool.frame(&bytes).unwrap();
                    let mut turn = Turn { now: self.now, pool, egress, probe: &mut NoProbe };
                    stack.take_over(&mut turn, [(port, delivery, frame)].into_iter());
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
    let at = "10.0.0.1:5354".parse().unwrap();
    let socket = house.workers[0].stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    house.workers[0].stack.udp_bind(socket, at).unwrap();
    for port in [5354, 5356] {
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
fn a_udp_lite_socket_of_the_other_worker_sends_hears_and_is_refused() {
    let mut house = House::new();
    let now = house.now;
    let at = |text: &str| text.parse().unwrap();
    let stack = &mut house.workers[0].stack;
    let socket = stack.udplite_open(Family::Ipv4, Owner(1)).unwrap();
    stack.udp_bind(socket, at("10.0.0.1:5354")).unwrap();
    let peer = house.peer.stack.udplite_open(Family::Ipv4, Owner(1)).unwrap();
    house.peer.stack.udp_bind(peer, at("10.0.0.2:9")).unwrap();
    let send = |node: &mut Node, socket, to: &str| {
        let Node { stack, pool, egress, .. } = node;
        let mut turn = Turn { now, pool, egress, probe: &mut NoProbe };
        let args = flumen_stack::socket::SendArgs::to(to.parse().unwrap());
        stack.udp_send(&mut turn, socket, &args, b"a question").unwrap();
    };
    send(&mut house.peer, peer, "10.0.0.1:5354");
    house.run();
    assert_eq!(house.workers[0].stack.udp_recv(socket, &mut [0; 20]).unwrap().len, 10);
    assert_eq!(house.handed_over, 1);
    house.workers[0].stack.udp_connect(house.now, socket, Some(at("10.0.0.2:10"))).unwrap();
    send(&mut house.workers[0], socket, "10.0.0.2:10");
    house.run();
    assert_eq!(house.workers[0].stack.udp_take_error(socket), Some(Error::ConnectionRefused));
    assert_eq!(house.handed_over, 2, "the error came in at the other worker, too");
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
    for (own, peer) in [("10.0.0.1:5354", "10.0.0.2:9"), ("[fd00::1]:5354", "[fd00::2]:9")] {
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

/// A listener, and a connection to it from another worker or host, with data both ways.
fn converse(house: &mut House, listener: Handle, client: (usize, Handle)) {
    house.run();
    let (server, peer) = house.workers[0].sockets(house.now).tcp_accept(listener, Owner(2)).unwrap();
    let now = house.now;
    let (who, socket) = client;
    let node = |house: &mut House, say: &mut dyn FnMut(&mut Node)| match who {
        2 => say(&mut house.peer),
        worker => say(&mut house.workers[worker]),
    };
    node(house, &mut |node| {
        assert_eq!(node.sockets(now).tcp_local(socket), Ok(peer));
        assert_eq!(node.sockets(now).tcp_send(socket, b"a question"), Ok(10));
    });
    house.run();
    let mut out = [0; 20];
    assert_eq!(house.workers[0].sockets(house.now).tcp_recv(server, &mut out), Ok(10));
    assert_eq!(house.workers[0].sockets(house.now).tcp_send(server, b"an answer"), Ok(9));
    house.run();
    let now = house.now;
    node(house, &mut |node| assert_eq!(node.sockets(now).tcp_recv(socket, &mut out), Ok(9)));
    assert!(house.workers.iter().chain([&house.peer]).all(Node::books_balance));
}

#[test]
fn a_listener_accepts_whatever_worker_the_handshake_comes_in_at() {
    for at in ["10.0.0.1:8080", "[fd00::1]:8080"] {
        let mut house = House::new();
        let now = house.now;
        let at: std::net::SocketAddr = at.parse().unwrap();
        let listener =
            house.workers[0].sockets(now).tcp_listen(Owner(0), at, &ListenOptions::default()).unwrap();
        let client = house.peer.sockets(now).tcp_connect(Owner(1), at, &ConnectOptions::default()).unwrap();
        converse(&mut house, listener, (2, client));
        assert!(house.handed_over >= 3, "all of it came in at worker 1");
    }
}

#[test]
fn a_socket_of_one_worker_connects_to_a_listener_of_the_other_at_an_address_of_both() {
    for at in ["10.0.0.1:8080", "[fd00::1]:8080", "127.0.0.1:8080", "[::1]:8080"] {
        let mut house = House::new();
        house.workers.iter_mut().for_each(|worker| worker.stack.set_loopback(true));
        let (now, to) = (house.now, at.parse().unwrap());
        let listener =
            house.workers[0].sockets(now).tcp_listen(Owner(0), to, &ListenOptions::default()).unwrap();
        let client = house.connect(1, at);
        converse(&mut house, listener, (1, client));
        let rx: u64 = house.workers.iter().map(|one| one.stack.counters.port(PortId::FIRST).rx_packets).sum();
        assert_eq!(rx, 0, "nothing of it was received by a port");
    }
}

#[test]
fn a_port_is_bound_where_it_lives_and_nowhere_else() {
    let mut house = House::new();
    let now = house.now;
    let at = |port: u16| std::net::SocketAddr::from(([10, 0, 0, 1], port));
    for (worker, port, expected) in [
        (0, 80, Ok(80)),
        (1, 80, Err(Error::AddressNotAvailable)),
        (0, 80, Err(Error::AddressInUse)),
        (1, 81, Ok(81)),
        (0, 81, Err(Error::AddressNotAvailable)),
    ] {
        let bound = house.workers[worker].sockets(now).tcp_bind(at(port), &BindOptions::default());
        assert_eq!(bound.map(|(name, _held)| name.port()), expected, "worker {worker}, port {port}");
        let stack = &mut house.workers[worker].stack;
        let socket = stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
        let bound = stack.udp_bind(socket, at(port)).map(|()| port);
        assert_eq!(bound, expected, "UDP, worker {worker}, port {port}");
        let ping = stack.ping_open(Family::Ipv4, Owner(1)).unwrap();
        assert_eq!(stack.raw_bind(ping, at(port)).map(|()| port), expected, "ping");
    }
    let from = ConnectOptions { from: Some(at(83)), ..ConnectOptions::default() };
    let connected =
        house.workers[0].sockets(now).tcp_connect(Owner(1), "10.0.0.2:80".parse().unwrap(), &from);
    assert_eq!(connected, Err(Error::AddressNotAvailable));
}

#[test]
fn services_that_every_worker_has_stay_where_they_are() {
    let mut workers = [node(1, 3), node(1, 5)];
    let now = Instant::from_millis(1000);
    let at = "10.0.0.1:81".parse().unwrap();
    let table = Arc::new(PortHomes::default());
    let mut listeners = Vec::new();
    for (number, worker) in workers.iter_mut().enumerate() {
        listeners.push(worker.sockets(now).tcp_listen(Owner(0), at, &ListenOptions::default()).unwrap());
        worker.stack.set_home(&Home::new(Arc::clone(&table), number, 2).unwrap());
    }
    let mut house = House { now, workers, peer: node(2, 7), handed_over: 0 };
    // Somebody else is at the port, at another address: of the two workers only its home has that.
    let other = "10.0.0.9:81".parse().unwrap();
    let free = BindOptions { free_bind: true, ..BindOptions::default() };
    let _held = house.workers[1].sockets(now).tcp_bind(other, &free).unwrap();
    let client = house.peer.sockets(now).tcp_connect(Owner(1), at, &ConnectOptions::default()).unwrap();
    house.run();
    assert_eq!(house.peer.sockets(house.now).tcp_state(client), Some(State::Established));
    assert!(
        house.workers[1].sockets(house.now).tcp_accept(listeners[1], Owner(2)).is_ok(),
        "it came in there"
    );
    assert_eq!(house.handed_over, 0);
}

/// An IPv4 packet from the peer in a frame to a station.
fn frame(mac: [u8; 6], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + payload.len() as u16).to_be_bytes();
    let mut header = vec![0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 2];
    header.extend(to);
    let sum = flumen_stack::checksum::sum(&header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&mac[..], &[2, 0, 0, 0, 0, 2], &[8, 0], &header, payload].concat()
}

#[test]
fn a_group_that_a_socket_of_the_other_worker_joined_is_heard() {
    let mut house = House::new();
    let now = house.now;
    let Node { stack, pool, egress, .. } = &mut house.workers[0];
    let mut turn = Turn { now, pool, egress, probe: &mut NoProbe };
    let socket = stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    stack.udp_bind(socket, "0.0.0.0:5354".parse().unwrap()).unwrap();
    let group = "224.1.1.1".parse().unwrap();
    stack.group_join(&mut turn, SocketId::Udp(socket), Some(PortId::FIRST), group).unwrap();
    let datagram = |port: u16| {
        [&9u16.to_be_bytes()[..], &port.to_be_bytes(), &12u16.to_be_bytes(), &[0, 0], b"news"].concat()
    };
    let mac = [1, 0, 0x5e, 1, 1, 1];
    for (to, port) in [([224, 1, 1, 1], 5354), ([224, 1, 1, 1], 5356), ([224, 1, 1, 2], 5354)] {
        house.workers[1].input(PortId::FIRST, &frame(mac, to, 17, &datagram(port)), now);
    }
    house.workers[1].input(PortId::FIRST, &frame([0xff; 6], [10, 0, 0, 255], 17, &datagram(5354)), now);
    house.run();
    assert_eq!(house.handed_over, 3, "nothing ever was at port 5356");
    let mut out = [0; 20];
    let stack = &mut house.workers[0].stack;
    let received: Vec<_> =
        core::iter::from_fn(|| stack.udp_recv(socket, &mut out).ok()).map(|one| one.to).collect();
    let hears = |to: [u8; 4]| received.contains(&std::net::IpAddr::from(to));
    assert!(hears([224, 1, 1, 1]) && hears([10, 0, 0, 255]), "{received:?}");
    assert!(house.workers.iter().all(Node::books_balance));
}

#[test]
fn pings_and_raw_sockets_hear_what_comes_in_at_the_other_worker() {
    let mut house = House::new();
    let now = house.now;
    let stack = &mut house.workers[0].stack;
    let ping = stack.ping_open(Family::Ipv4, Owner(1)).unwrap();
    stack.raw_bind(ping, "0.0.0.0:4".parse().unwrap()).unwrap();
    let raw = stack.raw_open(Family::Ipv4, 1, Owner(2)).unwrap();
    assert_eq!(house.workers[1].stack.raw_open(Family::Ipv4, 1, Owner(2)), Err(Error::InvalidArgument));
    let mut reply = vec![0, 0, 0, 0, 0, 4, 0, 1, 7, 7];
    let sum = flumen_stack::checksum::sum(&reply).checksum();
    reply[2..4].copy_from_slice(&sum.to_be_bytes());
    house.workers[1].input(PortId::FIRST, &frame([2, 0, 0, 0, 0, 1], [10, 0, 0, 1], 1, &reply), now);
    house.run();
    assert_eq!(house.handed_over, 2, "the packet, and a copy for raw sockets");
    let mut out = [0; 60];
    let stack = &mut house.workers[0].stack;
    assert_eq!(stack.raw_recv(ping, &mut out).unwrap().len, reply.len());
    assert_eq!(stack.raw_recv(raw, &mut out).unwrap().len, 20 + reply.len());
    assert!(stack.raw_recv(raw, &mut out).is_err(), "once");
    let Node { stack, pool, egress, .. } = &mut house.workers[0];
    stack.raw_close(&mut Turn { now, pool, egress, probe: &mut NoProbe }, raw);
    house.workers[1].input(PortId::FIRST, &frame([2, 0, 0, 0, 0, 1], [10, 0, 0, 1], 1, &reply), now);
    house.run();
    assert_eq!(house.handed_over, 3, "no copy any more");
    assert!(house.workers.iter().all(Node::books_balance));
}
