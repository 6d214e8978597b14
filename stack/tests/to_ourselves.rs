//! TCP of a node with itself: what happens within a turn, and how much of it.
#![allow(clippy::unwrap_used)] // helpers are outside #[test] functions

use flumen_stack::limits::LOOPBACK;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::sim::node::{Node, rib};
use flumen_stack::socket::{Error, Handle, Owner, Ready};
use flumen_stack::tcp::sockets::{BindOptions, ConnectOptions, ListenOptions};
use flumen_stack::{Counter, Instant, Interface, MacAddr, PortId};
use std::net::SocketAddr;
use std::time::Duration;

const NOW: Instant = Instant::from_millis(1000);

fn node() -> Node {
    let mut interface = Interface::new(PortId::FIRST, "eth", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
    interface.ipv4.push("10.0.0.1/24".parse().unwrap());
    interface.ipv6.push("fd00::1/64".parse().unwrap());
    let interfaces = vec![interface];
    let reader = rib(&interfaces, &[]).unwrap().reader().unwrap();
    let mut node = Node::new(interfaces, reader, NeighbourConfig::default(), 77).unwrap();
    node.stack.set_loopback(true);
    node
}

fn listen_and_connect(node: &mut Node, at: &str) -> (Handle, Handle) {
    let mut sockets = node.sockets(NOW);
    let listener = sockets.tcp_listen(Owner(1), at.parse().unwrap(), &ListenOptions::default()).unwrap();
    (listener, sockets.tcp_connect(Owner(1), at.parse().unwrap(), &ConnectOptions::default()).unwrap())
}

#[test]
fn who_connects_to_itself_finds_the_connection_to_accept_at_the_end_of_the_turn() {
    let mut node = node();
    for at in ["10.0.0.1:80", "127.0.0.1:81", "[fd00::1]:82", "[::1]:83"] {
        let (listener, client) = listen_and_connect(&mut node, at);
        assert_eq!(node.sockets(NOW).tcp_accept(listener, Owner(2)).map(drop), Err(Error::WouldBlock));
        node.output(NOW);
        assert!(node.sockets(NOW).tcp_ready(client).contains(Ready::WRITABLE), "{at}");
        let (server, from) = node.sockets(NOW).tcp_accept(listener, Owner(2)).unwrap();
        assert_eq!(node.sockets(NOW).tcp_local(client), Ok(from));
        // So it is with what it says, and with the end.
        node.sockets(NOW).tcp_send(client, b"to ourselves").unwrap();
        node.output(NOW);
        let mut bytes = [0; 20];
        assert_eq!(node.sockets(NOW).tcp_recv(server, &mut bytes), Ok(12));
        node.sockets(NOW).tcp_close(client);
        node.output(NOW);
        assert_eq!(node.sockets(NOW).tcp_recv(server, &mut bytes), Ok(0), "the end is there, {at}");
        node.sockets(NOW).tcp_close(server);
    }
}

#[test]
fn the_port_of_a_connection_that_was_refused_or_reset_is_free_when_it_was_closed() {
    let mut node = node();
    for (at, to) in [("[::]:4000", "[fd00::1]:9"), ("0.0.0.0:4001", "10.0.0.1:9")] {
        let at: SocketAddr = at.parse().unwrap();
        let mut sockets = node.sockets(NOW);
        let (_, bind) = sockets.tcp_bind(at, &BindOptions::default()).unwrap();
        let options = ConnectOptions { from: Some(at), ..ConnectOptions::default() };
        let client =
            sockets.tcp_connect_bound(Owner(1), to.parse().unwrap(), &options, &mut Some(bind)).unwrap();
        node.output(NOW);
        // Closed and bound again in one turn, before anything else happens.
        let mut sockets = node.sockets(NOW);
        assert_eq!(sockets.tcp_take_error(client), Some(Error::ConnectionRefused));
        sockets.tcp_close(client);
        let (_, bind) = sockets.tcp_bind(at, &BindOptions::default()).unwrap();
        sockets.tcp_unbind(bind);
        node.output(NOW);
    }
    // And one whose reset leaves at the end of the turn only.
    let (listener, client) = listen_and_connect(&mut node, "10.0.0.1:80");
    node.output(NOW);
    let (server, _) = node.sockets(NOW).tcp_accept(listener, Owner(2)).unwrap();
    let mut sockets = node.sockets(NOW);
    let name = sockets.tcp_local(client).unwrap();
    sockets.tcp_abort(client);
    let (_, bind) = sockets.tcp_bind(name, &BindOptions::default()).unwrap();
    sockets.tcp_unbind(bind);
    node.output(NOW);
    assert_eq!(node.sockets(NOW).tcp_take_error(server), Some(Error::ConnectionReset));
}

#[test]
fn a_stream_to_ourselves_leaves_the_turn_to_others_after_so_many_packets() {
    let mut node = node();
    let (listener, client) = listen_and_connect(&mut node, "10.0.0.1:80");
    node.output(NOW);
    let (server, _) = node.sockets(NOW).tcp_accept(listener, Owner(2)).unwrap();
    let mut bytes = vec![7; 1 << 20];
    let mut most = 0;
    for turn in 0..1_000u64 {
        let now = NOW + Duration::from_millis(turn);
        let _ = node.sockets(now).tcp_send(client, &bytes);
        let before = node.stack.counters.get(Counter::TcpIn);
        node.timers(now);
        node.output(now);
        most = most.max(node.stack.counters.get(Counter::TcpIn) - before);
        let _ = node.sockets(now).tcp_recv(server, &mut bytes);
    }
    // As many rounds as make up the bound, the last of which may begin with one left.
    assert!((LOOPBACK as u64 / 2..3 * LOOPBACK as u64).contains(&most), "{most} packets in a turn");
}

/// As on Linux: the error that a router would send comes from ourselves, before the last SYN is given up.
#[test]
fn who_connects_to_a_host_that_is_not_there_hears_so_when_nobody_answered() {
    for to in ["10.0.0.9:80", "[fd00::9]:80"] {
        let mut node = node();
        let mut sockets = node.sockets(NOW);
        let client = sockets.tcp_connect(Owner(1), to.parse().unwrap(), &ConnectOptions::default()).unwrap();
        let mut now = NOW;
        let error = loop {
            node.output(now);
            if let Some(error) = node.sockets(now).tcp_take_error(client) {
                break error;
            }
            assert!(now < NOW + Duration::from_secs(10), "{to}: still waits");
            now = now + Duration::from_millis(100);
            node.timers(now);
        };
        assert_eq!(error, Error::HostUnreachable, "{to}");
        assert!(now > NOW + Duration::from_secs(2), "{to}: asked more than once");
        node.sockets(now).tcp_close(client);
        node.output(now);
        assert!(node.books_balance() && node.is_conserved(), "{to}");
    }
}
