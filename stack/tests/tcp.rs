//! TCP between two nodes, through whole stacks: addresses resolved, segments built and judged, sockets called.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Route, RouteMetrics, Target};
use flumen_stack::sim::node::{Node, rib};
use flumen_stack::socket::{Error, Handle, Owner, Ready};
use flumen_stack::tcp::signature::{Algorithm, AoKey, Md5Key, Prefix};
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions, PeerKey};
use flumen_stack::tcp::user::{Shutdown, SocketOption};
use flumen_stack::{DropReason, Instant, Interface, MacAddr, PortId, checksum};
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
    delay: Duration,
}

/// A key of each kind of signature.
fn keys() -> [PeerKey; 2] {
    let md5 = Md5Key::new(b"secret").unwrap();
    let ao = AoKey::new(7, 7, Algorithm::HmacSha1, b"secret").unwrap();
    [PeerKey::Md5(md5), PeerKey::Ao(ao)]
}

fn node(number: u8) -> Node {
    node_whose_routes_say(number, RouteMetrics::NONE)
}

/// A node with something to say about the way to its link.
fn node_whose_routes_say(number: u8, metrics: RouteMetrics) -> Node {
    let mut interface = Interface::new(PortId::FIRST, "eth", MacAddr([2, 0, 0, 0, 0, number]), 1500);
    interface.ipv4.push(format!("10.0.0.{number}/24").parse().unwrap());
    interface.ipv6.push(format!("fe80::{number}/64").parse().unwrap());
    interface.ipv6.push(format!("fd00::{number}/64").parse().unwrap());
    let interfaces = vec![interface];
    let mut rib = rib(&interfaces, &[]).unwrap();
    for prefix in ["10.0.0.0/24", "fd00::/64"] {
        let route = Route::new(prefix.parse().unwrap(), Target::Connected { port: PortId::FIRST });
        rib.replace(&Route { metrics, ..route }).unwrap();
    }
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
            delay: DELAY,
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
                        self.on_the_wire.push((self.now + self.delay, 1 - node, frame));
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

    /// A listener of node 1 that wants what node 0 says signed with this key, and a connection of node 0 that does so, which
    /// has not left yet.
    fn signed(&mut self, key: PeerKey) -> (Handle, Handle) {
        let listener = self.listen("10.0.0.2:179");
        let (now, peer) = (self.now, Prefix::new("10.0.0.1".parse().unwrap(), 32).unwrap());
        self.nodes[1].sockets(now).tcp_listen_key(listener, peer, Some(key.clone())).unwrap();
        let options = ConnectOptions { keys: vec![key], ..ConnectOptions::default() };
        let at = "10.0.0.2:179".parse().unwrap();
        (listener, self.nodes[0].sockets(now).tcp_connect(Owner(1), at, &options).unwrap())
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
fn must_47_nobody_listens_and_the_connection_is_refused() {
    for at in ["10.0.0.2:81", "[fd00::2]:81"] {
        let mut pair = Pair::new();
        let client = pair.connect(at);
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        let mut sockets = pair.nodes[0].sockets(now);
        assert!(sockets.tcp_ready(client).contains(Ready::ERROR));
        assert_eq!(sockets.tcp_recv(client, &mut [0; 9]), Err(Error::ConnectionRefused));
        sockets.tcp_close(client);
        pair.run(Duration::from_millis(10));
        pair.assert_nothing_is_left();
    }
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

#[test]
fn fast_open_asks_for_a_cookie_and_then_sends_data_with_the_syn() {
    use flumen_stack::tcp::listen::ListenSettings;
    let mut pair = Pair::new();
    let now = pair.now;
    let settings = ListenSettings { fast_open: 16, ..ListenSettings::default() };
    let options = ListenOptions { settings, ..ListenOptions::default() };
    let at = "10.0.0.2:80".parse().unwrap();
    let listener = pair.nodes[1].sockets(now).tcp_listen(Owner(9), at, &options).unwrap();
    for round in 0..2 {
        let now = pair.now;
        let mut sockets = pair.nodes[0].sockets(now);
        let options = ConnectOptions { fast_open: true, ..ConnectOptions::default() };
        let client = sockets.tcp_connect(Owner(1), at, &options).unwrap();
        assert_eq!(sockets.tcp_send(client, b"question"), Ok(8));
        // One way and a little more: only what came with the SYN can be there.
        pair.run(DELAY * 3 / 2);
        let now = pair.now;
        let accepted = pair.nodes[1].sockets(now).tcp_accept(listener, Owner(2));
        let mut buffer = [0; 16];
        match round {
            0 => assert_eq!(accepted.map(|_| ()), Err(Error::WouldBlock), "the first asks for the cookie"),
            _ => {
                let (server, _) = accepted.unwrap();
                assert_eq!(pair.nodes[1].sockets(now).tcp_recv(server, &mut buffer), Ok(8));
                assert_eq!(&buffer[..8], b"question");
                pair.transfer((1, server), (0, client), 10_000);
            }
        }
        pair.run(Duration::from_millis(50));
        if round == 0 {
            let now = pair.now;
            let (server, _) = pair.nodes[1].sockets(now).tcp_accept(listener, Owner(2)).unwrap();
            assert_eq!(pair.nodes[1].sockets(now).tcp_recv(server, &mut buffer), Ok(8));
        }
    }
}

#[test]
fn signed_connections_carry_bytes_and_the_unsigned_are_not_heard() {
    for key in keys() {
        let mut pair = Pair::new();
        let (listener, signed) = pair.signed(key);
        let unsigned = pair.connect("10.0.0.2:179");
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        let mut sockets = pair.nodes[1].sockets(now);
        let (server, _) = sockets.tcp_accept(listener, Owner(2)).unwrap();
        assert_eq!(sockets.tcp_accept(listener, Owner(2)).map(|_| ()), Err(Error::WouldBlock));
        pair.transfer((0, signed), (1, server), 50_000);
        pair.transfer((1, server), (0, signed), 50_000);
        let now = pair.now;
        assert_eq!(pair.nodes[0].sockets(now).tcp_state(unsigned).unwrap().name(), "syn-sent");
        assert!(pair.nodes[1].stack.counters.dropped(DropReason::TcpBadSignature) > 0);
        // RFC 2385 section 3, RFC 5925 section 7.1: a reset is believed only when it is signed, and so it is.
        pair.nodes[0].sockets(now).tcp_abort(signed);
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        assert_eq!(pair.nodes[1].sockets(now).tcp_recv(server, &mut [0; 9]), Err(Error::ConnectionReset));
    }
}

#[test]
fn a_signed_session_in_time_wait_answers_with_its_signature_and_wants_one() {
    for key in keys() {
        let mut pair = Pair::new();
        let (listener, signed) = pair.signed(key);
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        let (server, _) = pair.nodes[1].sockets(now).tcp_accept(listener, Owner(2)).unwrap();
        pair.transfer((0, signed), (1, server), 5_000);
        let now = pair.now;
        pair.nodes[0].sockets(now).tcp_close(signed);
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        pair.nodes[1].sockets(now).tcp_close(server);
        pair.nodes[1].output(now);
        let fin: Vec<_> = pair.nodes[1].sent().into_iter().map(|(_, frame)| frame).collect();
        assert_eq!(fin.len(), 1);
        pair.on_the_wire.push((now, 0, fin[0].clone()));
        // The record acknowledges the FIN, and is believed: else the server would repeat it.
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.nodes[0].stack.tcp.time_waits(), 1);
        pair.assert_nothing_is_left();
        assert_eq!(pair.nodes[1].stack.counters.dropped(DropReason::TcpBadSignature), 0);
        // The FIN again is answered; not so with two words of its signature exchanged, which no checksum notices.
        let mut forged = fin[0].clone();
        let end = forged.len();
        forged[end - 4..].rotate_left(2);
        for (frame, refused, answers) in [(&forged, 1, 0), (&fin[0], 1, 1)] {
            let now = pair.now;
            pair.nodes[0].input(PortId::FIRST, frame, now);
            pair.nodes[0].output(now);
            assert_eq!(pair.nodes[0].sent().len(), answers);
            assert_eq!(pair.nodes[0].stack.counters.dropped(DropReason::TcpBadSignature), refused);
        }
    }
}

#[test]
fn must_46_an_open_to_a_group_or_a_broadcast_address_is_refused() {
    let mut pair = Pair::new();
    let now = pair.now;
    for to in ["224.0.0.9:80", "[ff02::1]:80", "10.0.0.255:80", "255.255.255.255:80"] {
        let opened =
            pair.nodes[0].sockets(now).tcp_connect(Owner(1), to.parse().unwrap(), &ConnectOptions::default());
        assert!(opened.is_err(), "{to}");
    }
    pair.assert_nothing_is_left();
}

#[test]
fn must_43_must_44_must_45_the_local_address_is_the_owners_or_follows_the_route() {
    let mut pair = Pair::new();
    pair.listen("[::]:80");
    let now = pair.now;
    let mut sockets = pair.nodes[0].sockets(now);
    let to = "10.0.0.2:80".parse().unwrap();
    let chosen = sockets.tcp_connect(Owner(1), to, &ConnectOptions::default()).unwrap();
    assert_eq!(sockets.tcp_local(chosen).unwrap().ip(), "10.0.0.1".parse::<std::net::IpAddr>().unwrap());
    let from = Some("10.0.0.1:4000".parse().unwrap());
    let named =
        sockets.tcp_connect(Owner(1), to, &ConnectOptions { from, ..ConnectOptions::default() }).unwrap();
    assert_eq!(sockets.tcp_local(named).ok(), from);
    let from = Some("10.0.0.77:4001".parse().unwrap());
    let foreign = sockets.tcp_connect(Owner(1), to, &ConnectOptions { from, ..ConnectOptions::default() });
    assert!(foreign.is_err(), "not our address");
}

#[test]
fn must_41_must_42_a_listener_leaves_connections_of_its_port_alone() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    let now = pair.now;
    let from = Some("10.0.0.1:80".parse().unwrap());
    let to = "10.0.0.2:80".parse().unwrap();
    let mut sockets = pair.nodes[0].sockets(now);
    let opening =
        sockets.tcp_connect(Owner(1), to, &ConnectOptions { from, ..ConnectOptions::default() }).unwrap();
    let at = "10.0.0.1:80".parse().unwrap();
    sockets.tcp_listen(Owner(9), at, &ListenOptions::default()).unwrap();
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    assert!(pair.nodes[0].sockets(now).tcp_ready(opening).contains(Ready::CONNECTED));
    pair.transfer((0, client), (1, server), 5_000);
}

/// A SYN in a frame, from and to these addresses and stations.
fn syn(from: [u8; 4], to: [u8; 4], station: [u8; 6]) -> Vec<u8> {
    let mut tcp = vec![0x13, 0x88, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    let sum = flumen_stack::checksum::pseudo_ipv4(from.into(), to.into(), 6, 20)
        .plus(flumen_stack::checksum::sum(&tcp))
        .checksum();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    ip.extend(from.iter().chain(&to));
    let sum = flumen_stack::checksum::sum(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&station[..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip, &tcp].concat()
}

#[test]
fn must_57_must_63_a_syn_to_or_from_a_group_or_broadcast_address_is_discarded_in_silence() {
    let mut pair = Pair::new();
    pair.listen("[::]:80");
    let now = pair.now;
    let (ours, all) = ([2, 0, 0, 0, 0, 2], [0xff; 6]);
    for (from, to, station) in [
        ([10, 0, 0, 1], [10, 0, 0, 255], all),
        ([10, 0, 0, 1], [255; 4], all),
        ([10, 0, 0, 1], [10, 0, 0, 2], all),
        ([224, 0, 0, 1], [10, 0, 0, 2], ours),
        ([255; 4], [10, 0, 0, 2], ours),
        ([127, 0, 0, 1], [10, 0, 0, 2], ours),
    ] {
        pair.nodes[1].input(PortId::FIRST, &syn(from, to, station), now);
        pair.nodes[1].output(now);
        assert_eq!(pair.nodes[1].sent(), [], "{from:?} to {to:?}");
        assert_eq!(pair.nodes[1].stack.tcp.usage().requests, 0, "{from:?} to {to:?}");
    }
    pair.nodes[1].input(PortId::FIRST, &syn([10, 0, 0, 1], [10, 0, 0, 2], ours), now);
    assert_eq!(pair.nodes[1].stack.tcp.usage().requests, 1, "and a proper one is heard");
}

#[test]
fn must_2_must_67_what_is_sent_has_a_right_checksum_and_a_syn_the_mss_that_we_can_receive() {
    let mut pair = Pair::new();
    pair.listen("[::]:80");
    pair.connect("10.0.0.2:80");
    let now = pair.now;
    pair.nodes[0].output(now);
    let question = pair.nodes[0].sent();
    assert_eq!(question.len(), 1, "the neighbour is asked for first");
    pair.nodes[1].input(PortId::FIRST, &question[0].1, now);
    let answer = pair.nodes[1].sent();
    pair.nodes[0].input(PortId::FIRST, &answer[0].1, now);
    let sent = pair.nodes[0].sent();
    let segment = &sent[0].1[34..];
    let pseudo = flumen_stack::checksum::pseudo_ipv4(
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
        6,
        segment.len() as u16,
    );
    assert!(pseudo.plus(flumen_stack::checksum::sum(segment)).is_valid());
    assert_eq!(segment[20..24], [2, 4, 5, 180], "1500 less the headers");
}

#[test]
fn an_urgent_byte_overtakes_what_waits_and_leaves_its_mark() {
    for at in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut pair = Pair::new();
        let (client, server) = pair.connected(at);
        let now = pair.now;
        let mut sockets = pair.nodes[0].sockets(now);
        assert_eq!(sockets.tcp_send(client, b"before"), Ok(6));
        assert_eq!(sockets.tcp_send_urgent(client, b"!"), Ok(1));
        assert_eq!(sockets.tcp_send(client, b"behind"), Ok(6));
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        let mut sockets = pair.nodes[1].sockets(now);
        assert!(sockets.tcp_ready(server).contains(Ready::PRIORITY));
        assert_eq!(sockets.tcp_recv_urgent(server, false), Ok(b'!'));
        let mut buffer = [0; 16];
        assert_eq!(sockets.tcp_peek(server, 2, &mut buffer), Ok(4), "up to the mark");
        assert_eq!(&buffer[..4], b"fore");
        assert_eq!(sockets.tcp_recv(server, &mut buffer), Ok(6), "reading stops at the mark");
        assert!(sockets.tcp_at_mark(server));
        assert_eq!(sockets.tcp_recv(server, &mut buffer), Ok(6));
        assert_eq!(&buffer[..6], b"behind");
        assert_eq!(sockets.tcp_recv_urgent(server, false), Err(Error::InvalidArgument), "it was read");
    }
}

#[test]
fn a_listener_refuses_an_option_that_its_connections_would_not_take() {
    use flumen_stack::tcp::user::SocketOption;
    let mut pair = Pair::new();
    let now = pair.now;
    let at = "10.0.0.2:80".parse().unwrap();
    let mut listen = |option| {
        let options = ListenOptions { options: vec![option], ..ListenOptions::default() };
        pair.nodes[1].sockets(now).tcp_listen(Owner(9), at, &options).map(|_| ())
    };
    assert_eq!(listen(SocketOption::MaxSegment(1000)), Err(Error::InvalidArgument));
    assert_eq!(listen(SocketOption::KeepCount(0)), Err(Error::InvalidArgument));
    assert_eq!(listen(SocketOption::NoDelay(true)), Ok(()));
    assert_eq!(pair.nodes[1].stack.tcp.stats, Default::default(), "the trial leaves no trace");
}

#[test]
fn a_connection_without_a_route_counts_what_it_cannot_send() {
    let mut pair = Pair::new();
    let now = pair.now;
    let nowhere = "192.0.2.1:80".parse().unwrap();
    let mut sockets = pair.nodes[0].sockets(now);
    let refused = sockets.tcp_connect(Owner(1), nowhere, &ConnectOptions::default());
    assert_eq!(refused, Err(Error::NetworkUnreachable));
    assert_eq!(pair.nodes[0].stack.tcp.connections(), 0);
}

/// TTL of the first IPv4 packet of TCP in frames.
fn ttl_of(frames: Vec<(PortId, Vec<u8>)>) -> u8 {
    let (_, frame) = frames.into_iter().find(|(_, frame)| frame[12..14] == [8, 0] && frame[23] == 6).unwrap();
    frame[22]
}

#[test]
fn a_connection_sends_the_ttl_it_was_told_and_counts_what_it_sends() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    let now = pair.now;
    let mut sockets = pair.nodes[0].sockets(now);
    sockets.tcp_set_option(client, SocketOption::Ttl(Some(9))).unwrap();
    sockets.tcp_send(client, &[7; 3000]).unwrap();
    pair.nodes[0].output(now);
    assert_eq!(ttl_of(pair.nodes[0].sent()), 9);
    pair.run(Duration::from_secs(2));
    let info = pair.nodes[0].sockets(pair.now).tcp_info(client).unwrap();
    // The SYN counts as acknowledged, and the first flight was lost and sent again.
    assert_eq!((info.bytes_acked, info.sender.total_timeouts), (3001, 1));
    assert!(info.bytes_sent > 3000 && info.data_segs_out >= 4 && info.segs_out > info.data_segs_out);
    assert_eq!(info.sender.timeout_recoveries, 1);
    let info = pair.nodes[1].sockets(pair.now).tcp_info(server).unwrap();
    assert_eq!(info.bytes_received, 3000);
    assert!(info.data_segs_in >= 3 && info.segs_in >= info.data_segs_in);
}

#[test]
fn rfc_5082_a_segment_from_farther_away_than_allowed_is_dropped() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    pair.nodes[1].sockets(pair.now).tcp_set_option(server, SocketOption::MinTtl(64)).unwrap();
    pair.transfer((0, client), (1, server), 1000);
    pair.nodes[1].sockets(pair.now).tcp_set_option(server, SocketOption::MinTtl(65)).unwrap();
    pair.nodes[0].sockets(pair.now).tcp_send(client, b"from too far").unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.nodes[1].sockets(pair.now).tcp_recv(server, &mut [0; 20]), Err(Error::WouldBlock));
    assert!(pair.nodes[1].stack.counters.dropped(DropReason::TcpMinTtl) > 0);
}

#[test]
fn a_listener_that_is_told_otherwise_treats_the_next_connections_otherwise() {
    let mut pair = Pair::new();
    let listener = pair.listen("10.0.0.2:80");
    let now = pair.now;
    let mut sockets = pair.nodes[1].sockets(now);
    let changed = sockets.tcp_listen_change(listener, vec![SocketOption::Ttl(Some(3))], |settings| {
        settings.max_segment = Some(500);
    });
    assert_eq!(changed, Ok(()));
    assert_eq!(
        sockets.tcp_listen_change(listener, vec![SocketOption::MaxSegment(500)], |_| {}),
        Err(Error::InvalidArgument)
    );
    assert_eq!(sockets.tcp_backlog(listener).map(|(waiting, _)| waiting), Ok(0));
    let client = pair.connect("10.0.0.2:80");
    pair.run(Duration::from_millis(100));
    let (server, _) = pair.nodes[1].sockets(pair.now).tcp_accept(listener, Owner(9)).unwrap();
    assert_eq!(pair.nodes[1].sockets(pair.now).tcp_look(server).unwrap().ttl(), 3);
    assert!(pair.nodes[0].sockets(pair.now).tcp_info(client).unwrap().snd_mss <= 500);
}

#[test]
fn must_20_silence_makes_the_neighbour_doubtful() {
    use flumen_stack::neighbour::State;
    let mut pair = Pair::new();
    let (client, _) = pair.connected("10.0.0.2:80");
    let known = |pair: &Pair| pair.nodes[0].stack.neighbours.iter().map(|one| one.state).collect::<Vec<_>>();
    assert_eq!(known(&pair), [State::Reachable]);
    pair.lose = Box::new(|_| true);
    let now = pair.now;
    pair.nodes[0].sockets(now).tcp_send(client, b"anybody?").unwrap();
    pair.run(Duration::from_millis(700));
    assert_eq!(known(&pair), [State::Reachable], "two timeouts are nothing");
    pair.run(Duration::from_millis(2300));
    assert_ne!(known(&pair), [State::Reachable], "the third says that the path may be bad");
}

#[test]
fn bytes_are_shown_from_an_offset_and_written_piece_by_piece() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    let sent: Vec<u8> = (0..10_000u32).map(|index| (index % 251) as u8).collect();
    let now = pair.now;
    let mut sockets = pair.nodes[0].sockets(now);
    let filled = sockets
        .tcp_send_with(client, sent.len(), false, |to, at| to.copy_from_slice(&sent[at..at + to.len()]));
    assert_eq!(filled, Ok(sent.len()));
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    let mut sockets = pair.nodes[1].sockets(now);
    let mut shown = Vec::new();
    assert_eq!(sockets.tcp_peek_with(server, 100, 6000, |piece| shown.extend_from_slice(piece)), Ok(6000));
    assert!(shown == sent[100..6100]);
    assert_eq!(sockets.tcp_readable(server), sent.len(), "what is shown stays");
    assert_eq!(sockets.tcp_peek_with(server, sent.len(), 10, |_| panic!("there is no more")), Ok(0));
    sockets.tcp_consume(server, 9_999).unwrap();
    assert_eq!(sockets.tcp_recv(server, &mut [0; 9]), Ok(1));
    // Who fills the buffer hears when a third of it is free again.
    let mut sockets = pair.nodes[0].sockets(now);
    let room = sockets.tcp_room(client);
    assert_eq!(sockets.tcp_send_with(client, room, false, |to, _| to.fill(7)), Ok(room));
    assert_eq!(sockets.tcp_send_with(client, 1, false, |_, _| panic!("there is no room")), Ok(0));
    assert!(!sockets.tcp_ready(client).contains(Ready::WRITABLE));
    while sockets.next_news().is_some() {}
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    let news = pair.nodes[0].sockets(now).next_news().map(|(_, _, news)| news);
    assert!(news.is_some_and(|news| news.contains(Ready::WRITABLE)), "{news:?}");
}

#[test]
fn names_are_held_before_and_behind_a_connection() {
    use flumen_stack::tcp::sockets::BindOptions;
    let mut pair = Pair::new();
    let now = pair.now;
    let plain = BindOptions::default();
    let at = "10.0.0.1:5000".parse().unwrap();
    let mut sockets = pair.nodes[0].sockets(now);
    let (name, bind) = sockets.tcp_bind(at, &plain).unwrap();
    assert_eq!((name, sockets.tcp_bind(at, &plain).map(|_| ())), (at, Err(Error::AddressInUse)));
    assert_eq!(
        sockets.tcp_bind("10.0.0.9:1".parse().unwrap(), &plain).map(|_| ()),
        Err(Error::AddressNotAvailable)
    );
    let (chosen, free) = sockets.tcp_bind("0.0.0.0:0".parse().unwrap(), &plain).unwrap();
    assert!(chosen.port() >= 32_768);
    sockets.tcp_unbind(free);
    // A connection takes the hold over, and gives it back with its end.
    let options = ConnectOptions { from: Some(at), ..ConnectOptions::default() };
    let to = "10.0.0.2:80".parse().unwrap();
    let mut hold = Some(bind);
    let client = sockets.tcp_connect_bound(Owner(1), to, &options, &mut hold).unwrap();
    assert!(hold.is_none());
    assert_eq!(sockets.tcp_local(client), Ok(at));
    assert_eq!(sockets.tcp_bind(at, &plain).map(|_| ()), Err(Error::AddressInUse));
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    pair.nodes[0].sockets(now).tcp_close(client); // it was refused
    pair.run(Duration::from_millis(10));
    let now = pair.now;
    let mut sockets = pair.nodes[0].sockets(now);
    let (_, bind) = sockets.tcp_bind(at, &plain).unwrap();
    // So does a listener; when it stops, the name can be kept.
    let listener = sockets.tcp_listen_bound(Owner(1), at, bind, &ListenOptions::default()).unwrap();
    assert_eq!(sockets.tcp_bind(at, &plain).map(|_| ()), Err(Error::AddressInUse));
    let bind = sockets.tcp_stop_listening(listener).unwrap();
    assert_eq!(sockets.tcp_bind(at, &plain).map(|_| ()), Err(Error::AddressInUse));
    sockets.tcp_unbind(bind);
    assert!(sockets.tcp_bind(at, &plain).is_ok());
}

#[test]
fn a_node_tells_itself_that_nobody_listens_over_loopback_too() {
    let mut pair = Pair::new();
    for (at, loopback) in
        [("10.0.0.1:9", false), ("127.0.0.1:9", true), ("[fd00::1]:9", false), ("[::1]:9", true)]
    {
        pair.nodes[0].stack.set_loopback(loopback);
        let now = pair.now;
        let mut sockets = pair.nodes[0].sockets(now);
        let client = sockets.tcp_connect(Owner(1), at.parse().unwrap(), &ConnectOptions::default()).unwrap();
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        let mut sockets = pair.nodes[0].sockets(now);
        assert_eq!(sockets.tcp_take_error(client), Some(Error::ConnectionRefused), "{at}");
        sockets.tcp_close(client);
    }
    pair.nodes[0].stack.set_loopback(false);
    let now = pair.now;
    let refused = pair.nodes[0].sockets(now).tcp_connect(
        Owner(1),
        "127.0.0.1:9".parse().unwrap(),
        &ConnectOptions::default(),
    );
    assert!(refused.is_err());
}

/// When a lost segment is sent again for the second time (the first is the tail loss probe's), in milliseconds.
fn second_repetition(pair: &mut Pair, client: Handle) -> u64 {
    pair.lose = Box::new(|_| true);
    let (now, before) = (pair.now, pair.segments);
    pair.nodes[0].sockets(now).tcp_send(client, b"lost").unwrap();
    (0..20_000)
        .find(|_| {
            pair.run(Duration::from_millis(1));
            pair.segments >= before + 3
        })
        .unwrap()
}

#[test]
fn a_connection_over_a_slow_path_makes_the_next_one_to_that_host_patient() {
    for at in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut fresh = Pair::new();
        let (client, _) = fresh.connected(at);
        let impatient = second_repetition(&mut fresh, client);
        assert!(impatient < 600, "{impatient} ms without memory");

        let mut pair = Pair::new();
        pair.delay = Duration::from_millis(300);
        let listener = pair.listen(at);
        let client = pair.connect(at);
        pair.run(Duration::from_secs(2));
        let now = pair.now;
        let (server, _) = pair.nodes[1].sockets(now).tcp_accept(listener, Owner(2)).unwrap();
        pair.transfer((0, client), (1, server), 50_000);
        let now = pair.now;
        pair.nodes[0].sockets(now).tcp_close(client);
        pair.nodes[1].sockets(now).tcp_close(server);
        pair.run(Duration::from_secs(70));
        pair.assert_nothing_is_left();

        // The path is quick now; what was learnt says three of its slow round trips.
        pair.delay = DELAY;
        let client = pair.connect(at);
        pair.run(Duration::from_millis(10));
        let patient = second_repetition(&mut pair, client);
        assert!(patient > 1500, "{patient} ms with the memory of a round trip of 600 ms");
    }
}

/// The MSS option and the window of a SYN in a frame.
fn syn_of(frame: &[u8], v6: bool) -> (u16, u16) {
    let tcp = &frame[14 + if v6 { 40 } else { 20 }..];
    assert_eq!(tcp[20..22], [2, 4], "the first option of a SYN is its segment size");
    (u16::from_be_bytes([tcp[22], tcp[23]]), u16::from_be_bytes([tcp[14], tcp[15]]))
}

#[test]
fn what_a_route_says_about_segments_and_windows_is_obeyed_at_both_ends() {
    let metrics = RouteMetrics { mtu: 0, advmss: 500, window: 4000, initcwnd: 3 };
    for (at, v6) in [("10.0.0.2:80", false), ("[fd00::2]:80", true)] {
        let mut pair = Pair::new();
        pair.nodes = [1, 2].map(|number| node_whose_routes_say(number, metrics));
        let (client, server) = pair.connected(at);
        let now = pair.now;
        // A SYN and a SYN-ACK of connections that come later: those of the first waited for ARP.
        pair.connect(at);
        pair.nodes[0].output(now);
        let syn = pair.nodes[0].sent().pop().unwrap().1;
        assert_eq!(syn_of(&syn, v6), (500, 4000));
        pair.nodes[1].input(PortId::FIRST, &syn, now);
        let syn_ack = pair.nodes[1].sent().pop().unwrap().1;
        assert_eq!(syn_of(&syn_ack, v6), (500, 4000));

        // The first flight of data, though the window and the buffer would take more.
        let now = pair.now;
        pair.nodes[1].sockets(now).tcp_send(server, &[7; 20_000]).unwrap();
        pair.nodes[1].output(now);
        let flight: Vec<usize> = pair.nodes[1].sent().iter().map(|(_, frame)| frame.len()).collect();
        let header = 14 + if v6 { 40 } else { 20 } + 20 + 12;
        assert_eq!(flight, [header + 488; 3], "three segments of 500 bytes, options among them");
        pair.transfer((0, client), (1, server), 100_000);
    }
}

#[test]
fn the_mtu_of_a_route_bounds_the_segments_that_we_send_and_ask_for() {
    let metrics = RouteMetrics { mtu: 1300, ..RouteMetrics::NONE };
    let mut pair = Pair::new();
    pair.nodes[0] = node_whose_routes_say(1, metrics);
    let (client, server) = pair.connected("10.0.0.2:80");
    let now = pair.now;
    pair.connect("10.0.0.2:80");
    pair.nodes[0].output(now);
    let syn = pair.nodes[0].sent().pop().unwrap().1;
    assert_eq!(syn_of(&syn, false).0, 1260);
    pair.nodes[0].sockets(now).tcp_send(client, &[7; 20_000]).unwrap();
    pair.nodes[0].output(now);
    let longest = pair.nodes[0].sent().iter().map(|(_, frame)| frame.len() - 14).max();
    assert_eq!(longest, Some(1300));
    let _ = server;
}

/// A router says that a packet of ours is too long for the link behind it (RFC 792, RFC 1191 section 4).
fn fragmentation_needed(about: &[u8], mtu: u16) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    let mut message = vec![3, 4, 0, 0, 0, 0, high, low];
    message.extend(&about[14..14 + 28]);
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x45, 0, 0, 20 + message.len() as u8, 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend([&about[30..34], &about[26..30]].concat());
    let sum = checksum::sum(&packet).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    [&about[6..12], &about[..6], &[8, 0], &packet, &message].concat()
}

#[test]
fn the_next_connection_obeys_what_changed_since_the_last_one() {
    let mut pair = Pair::new();
    pair.connected("10.0.0.2:80");
    let offered = |pair: &mut Pair| {
        let now = pair.now;
        pair.connect("10.0.0.2:80");
        pair.nodes[0].output(now);
        let syns: Vec<_> = pair.nodes[0].sent().into_iter().map(|(_, frame)| frame).collect();
        syns.last().map(|syn| syn_of(syn, false).0)
    };
    assert_eq!(offered(&mut pair), Some(1460));
    pair.nodes[0].stack.set_mtu(PortId::FIRST, 1400);
    assert_eq!(offered(&mut pair), Some(1360), "the link's MTU, at once");
    let now = pair.now;
    pair.connect("10.0.0.2:80");
    pair.nodes[0].output(now);
    let (_, syn) = pair.nodes[0].sent().pop().unwrap();
    pair.nodes[0].input(PortId::FIRST, &fragmentation_needed(&syn, 1300), now);
    assert_eq!(offered(&mut pair), Some(1260), "a report of the path's MTU, at once");
    pair.now = pair.now + Duration::from_secs(601);
    assert_eq!(offered(&mut pair), Some(1360), "what was learnt is forgotten after ten minutes");
    pair.nodes[0].stack.remove_address(PortId::FIRST, "10.0.0.1".parse().unwrap());
    let wish = ConnectOptions::default();
    let now = pair.now;
    let refused = pair.nodes[0].sockets(now).tcp_connect(Owner(0), "10.0.0.2:80".parse().unwrap(), &wish);
    assert_eq!(refused.err(), Some(Error::AddressNotAvailable), "no address is left to connect from");
}

/// The packets that a node sent, and what it says of each: TTL or hop limit.
fn ttls(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().map(|frame| if frame[12..14] == [8, 0] { frame[22] } else { frame[21] }).collect()
}

#[test]
fn must_49_the_owner_chooses_the_ttl_at_any_time() {
    for at in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut pair = Pair::new();
        let (client, _) = pair.connected(at);
        for (ttl, expected) in [(None, 64), (Some(255), 255), (Some(1), 1), (None, 64)] {
            let now = pair.now;
            let mut sockets = pair.nodes[0].sockets(now);
            sockets.tcp_set_option(client, SocketOption::Ttl(ttl)).unwrap();
            sockets.tcp_send(client, b"near or far").unwrap();
            pair.nodes[0].output(now);
            let frames: Vec<_> = pair.nodes[0].sent().into_iter().map(|(_, frame)| frame).collect();
            assert_eq!(ttls(&frames), [expected], "{at}");
            pair.on_the_wire.extend(frames.into_iter().map(|frame| (now, 1, frame)));
            pair.run(Duration::from_millis(50));
        }
    }
}

#[test]
fn must_50_ip_options_of_a_segment_change_nothing_for_it() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected("10.0.0.2:80");
    let now = pair.now;
    pair.nodes[0].sockets(now).tcp_send(client, b"with options").unwrap();
    pair.nodes[0].output(now);
    let mut frame = pair.nodes[0].sent().remove(0).1;
    // Four bytes of options: one that nobody knows (its number is free), and the end of the list.
    frame.splice(34..34, [0x9e, 3, 7, 0]);
    frame[14] = 0x46;
    let length = u16::from_be_bytes([frame[16], frame[17]]) + 4;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[24..26].fill(0);
    let sum = flumen_stack::checksum::sum(&frame[14..38]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    pair.on_the_wire.push((now, 1, frame));
    pair.run(Duration::from_millis(1));
    let now = pair.now;
    let mut buffer = [0; 99];
    assert_eq!(pair.nodes[1].sockets(now).tcp_recv(server, &mut buffer), Ok(12));
    assert_eq!(&buffer[..12], b"with options");
}
