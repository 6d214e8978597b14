//! Conversations with a router: frames in, frames out, at a time. Two ports, `lan` (0) and `wan` (1).

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::frame::heap::{HeapFrame, HeapPool};
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Path, Rib, RibConfig, Route, Source, Target};
use flumen_stack::{
    Burst, Counter, DropReason, Egress, FramePool, Instant, Interface, Interfaces, MacAddr, NoProbe, PortId,
    Stack, StackConfig, Turn, checksum,
};

const POOL: usize = 1024;
const LAN: usize = 0;
const WAN: usize = 1;
const ROUTER: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 1, 1]), MacAddr([2, 0, 0, 0, 2, 1])];
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 2, 2]);

struct Router {
    stack: Stack<HeapFrame>,
    rib: Rib,
    pool: HeapPool,
    egress: Egress<HeapFrame>,
    now: Instant,
}

fn port(index: usize) -> PortId {
    PortId::new(index).unwrap()
}

fn route(prefix: &str, target: Target) -> Route {
    Route::new(prefix.parse().unwrap(), target)
}

impl Router {
    fn new() -> Router {
        Router::with(|_| {}, 64)
    }

    fn with(change: impl FnOnce(&mut Vec<Interface>), route_cache: usize) -> Router {
        let mut interfaces: Vec<Interface> = (0..2)
            .map(|index| {
                let net = index + 1;
                let mut one = Interface::new(port(index), ["lan", "wan"][index], ROUTER[index], 1500);
                one.ipv4.push(format!("10.0.{net}.1/24").parse().unwrap());
                one.ipv6.push(format!("fd00:{net}::1/64").parse().unwrap());
                one.ipv6.push(format!("fe80::{net}/64").parse().unwrap());
                one
            })
            .collect();
        change(&mut interfaces);
        let mut rib = Rib::new(RibConfig::default()).unwrap();
        for (index, net) in [(0, 1), (1, 2)] {
            let connected = Target::Connected { port: port(index) };
            rib.add(&route(&format!("10.0.{net}.0/24"), connected.clone())).unwrap();
            rib.add(&route(&format!("fd00:{net}::/64"), connected)).unwrap();
            rib.add(&route(&format!("10.0.{net}.1/32"), Target::Local)).unwrap();
            rib.add(&route(&format!("fd00:{net}::1/128"), Target::Local)).unwrap();
            // The subnet-router anycast address.
            rib.add(&route(&format!("fd00:{net}::/128"), Target::Local)).unwrap();
            let broadcast = Target::Broadcast { port: port(index) };
            rib.add(&route(&format!("10.0.{net}.255/32"), broadcast)).unwrap();
        }
        let config = StackConfig {
            interfaces: Interfaces::new(interfaces).unwrap(),
            neighbours: NeighbourConfig { max_entries: 64, ..NeighbourConfig::default() },
            route_cache,
            icmp: IcmpLimits::default(),
            echo: (1000, 100),
            sockets: flumen_stack::SocketLimits::default(),
            tcp: flumen_stack::tcp::sockets::TcpConfig::default(),
            frame_room: 1664,
            reassembly: flumen_stack::ip::reassembly::ReassemblyConfig::default(),
            multicast: Default::default(),
            routing: Default::default(),
            seed: [1, 2, 3, 4],
        };
        let stack = Stack::new(config, rib.reader().unwrap()).unwrap();
        let egress = Egress::new([256; 2]);
        Router { stack, rib, pool: HeapPool::new(POOL, 2048), egress, now: Instant::from_millis(10_000) }
    }

    /// The router with both neighbours known, so that conversations can be about something else.
    fn acquainted() -> Router {
        let mut router = Router::new();
        router.introduce();
        router
    }

    fn introduce(&mut self) {
        for (index, mac, v4, v6) in
            [(LAN, CLIENT, "10.0.1.2", "fd00:1::2"), (WAN, SERVER, "10.0.2.2", "fd00:2::2")]
        {
            for address in [v4, v6] {
                let address: IpAddr = address.parse().unwrap();
                self.stack.neighbours.add_static(port(index), address, mac, self.now).unwrap();
            }
        }
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut Stack<HeapFrame>, &mut Turn<'_, HeapPool>) -> T) -> T {
        let mut turn =
            Turn { now: self.now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut NoProbe };
        work(&mut self.stack, &mut turn)
    }

    /// Frames that leave because of `frames`, with their ports.
    fn receive(&mut self, index: usize, frames: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
        let mut burst: Burst<HeapFrame> =
            frames.iter().map(|frame| self.pool.frame(frame).unwrap()).collect();
        self.turn(|stack, turn| stack.input(turn, port(index), &mut burst));
        assert!(burst.is_empty());
        self.sent()
    }

    /// The frames that leave after `wait`.
    fn wait(&mut self, wait: Duration) -> Vec<(usize, Vec<u8>)> {
        self.now = self.now + wait;
        self.turn(|stack, turn| stack.timers(turn));
        self.sent()
    }

    fn sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut sent = Vec::new();
        for index in [LAN, WAN] {
            while let Some(frame) = self.egress.queue(port(index)).unwrap().pop() {
                sent.push((index, frame.to_vec()));
            }
        }
        sent
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.stack.counters.dropped(reason)
    }

    #[track_caller]
    fn assert_conserved(&self) {
        assert_eq!(self.pool.available() + self.stack.neighbours.frames_held(), POOL, "frames are conserved");
    }
}

fn ethernet(destination: MacAddr, source: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ethertype.to_be_bytes(), payload].concat()
}

struct V4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    flags: u8,
    protocol: u8,
    payload: Vec<u8>,
}

impl V4 {
    fn udp(source: &str, destination: &str, len: usize) -> V4 {
        let (source, destination): (Ipv4Addr, Ipv4Addr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let mut payload = vec![0x30, 0x39, 0, 9, ((8 + len) >> 8) as u8, (8 + len) as u8, 0, 0];
        payload.extend((0..len).map(|n| n as u8));
        let pseudo = checksum::pseudo_ipv4(source, destination, 17, payload.len() as u16);
        let sum = pseudo.plus(checksum::sum(&payload)).checksum_nonzero();
        payload[6..8].copy_from_slice(&sum.to_be_bytes());
        V4 { source, destination, ttl: 64, flags: 0, protocol: 17, payload }
    }

    fn ping(source: &str, destination: &str, len: usize) -> V4 {
        let mut payload = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
        payload.extend((0..len).map(|n| n as u8));
        let sum = checksum::sum(&payload).checksum();
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
        V4 { protocol: 1, payload, ..V4::udp(source, destination, 0) }
    }

    fn bytes(&self) -> Vec<u8> {
        let len = (20 + self.payload.len()) as u16;
        let mut header =
            vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 1, self.flags, 0, self.ttl, self.protocol, 0, 0];
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        let sum = checksum::sum(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, self.payload.clone()].concat()
    }

    fn sent_by_client(&self) -> Vec<u8> {
        ethernet(ROUTER[LAN], CLIENT, 0x0800, &self.bytes())
    }
}

struct V6 {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    next_header: u8,
    payload: Vec<u8>,
}

impl V6 {
    fn udp(source: &str, destination: &str, len: usize) -> V6 {
        let mut payload = vec![0x30, 0x39, 0, 9, ((8 + len) >> 8) as u8, (8 + len) as u8, 0, 0];
        payload.extend((0..len).map(|n| n as u8));
        V6::with(source, destination, 17, payload, 6)
    }

    fn ping(source: &str, destination: &str, len: usize) -> V6 {
        let mut payload = vec![128, 0, 0, 0, 0x12, 0x34, 0, 1];
        payload.extend((0..len).map(|n| n as u8));
        V6::with(source, destination, 58, payload, 2)
    }

    fn with(source: &str, destination: &str, next_header: u8, mut payload: Vec<u8>, field: usize) -> V6 {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let pseudo = checksum::pseudo_ipv6(&source, &destination, next_header, payload.len() as u32);
        let sum = pseudo.plus(checksum::sum(&payload)).checksum_nonzero();
        payload[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        V6 { source, destination, hop_limit: 64, next_header, payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let len = self.payload.len() as u16;
        let mut header = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, self.next_header, self.hop_limit];
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        [header, self.payload.clone()].concat()
    }

    fn sent_by_client(&self) -> Vec<u8> {
        ethernet(ROUTER[LAN], CLIENT, 0x86dd, &self.bytes())
    }
}

fn arp(operation: u8, sender: (MacAddr, &str), target: (MacAddr, &str)) -> Vec<u8> {
    let octets = |address: &str| address.parse::<Ipv4Addr>().unwrap().octets();
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &sender.0.0, &octets(sender.1), &target.0.0, &octets(target.1)]
        .concat()
}

/// What an ICMP error in a frame says: (type, code, word), and what it quotes.
fn icmp(frame: &[u8]) -> (u8, u8, u32, &[u8]) {
    let message = &frame[34..];
    assert!(checksum::sum(message).is_valid(), "ICMP checksum");
    let word = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    (message[0], message[1], word, &message[8..])
}

/// The same for ICMPv6.
fn icmpv6(frame: &[u8]) -> (u8, u8, u32, &[u8]) {
    let (source, destination): ([u8; 16], [u8; 16]) =
        (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
    let message = &frame[54..];
    let pseudo = checksum::pseudo_ipv6(&source.into(), &destination.into(), 58, message.len() as u32);
    assert!(pseudo.plus(checksum::sum(message)).is_valid(), "ICMPv6 checksum");
    let word = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    (message[0], message[1], word, &message[8..])
}

#[test]
fn a_packet_in_transit_gets_a_new_link_header_a_lower_ttl_and_a_right_checksum() {
    let mut router = Router::acquainted();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 18);
    for hit in [0, 1] {
        let sent = router.receive(LAN, &[packet.sent_by_client()]);
        let expected = V4 { ttl: 63, ..V4::udp("10.0.1.2", "10.0.2.2", 18) };
        assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x0800, &expected.bytes()))]);
        assert_eq!(router.stack.counters.get(Counter::RouteCacheHits), hit);
    }
    assert_eq!(router.stack.counters.get(Counter::Ipv4Forwarded), 2);
    router.assert_conserved();
}

#[test]
fn an_ipv6_packet_in_transit_gets_a_new_link_header_and_a_lower_hop_limit() {
    let mut router = Router::acquainted();
    for _ in 0..2 {
        let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:2::2", 18).sent_by_client()]);
        let expected = V6 { hop_limit: 63, ..V6::udp("fd00:1::2", "fd00:2::2", 18) };
        assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x86dd, &expected.bytes()))]);
    }
    router.assert_conserved();
}

#[test]
fn without_a_route_cache_packets_find_their_way_all_the_same() {
    let mut router = Router::with(|_| {}, 0);
    router.introduce();
    let packets = vec![V4::udp("10.0.1.2", "10.0.2.2", 18).sent_by_client(); 64];
    assert_eq!(router.receive(LAN, &packets).len(), 64);
    assert_eq!(router.stack.counters.get(Counter::RouteCacheHits), 0);
}

#[test]
fn link_padding_is_cut_off() {
    let mut router = Router::acquainted();
    let mut frame = V4::udp("10.0.1.2", "10.0.2.2", 2).sent_by_client();
    let len = frame.len();
    frame.resize(60, 0xee);
    assert_eq!(router.receive(LAN, &[frame])[0].1.len(), len);
}

#[test]
fn a_packet_for_an_unknown_neighbour_waits_until_arp_is_answered() {
    let mut router = Router::new();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 18);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let question = arp(1, (ROUTER[WAN], "10.0.2.1"), (MacAddr::ZERO, "10.0.2.2"));
    assert_eq!(sent, [(WAN, ethernet(MacAddr::BROADCAST, ROUTER[WAN], 0x0806, &question))]);
    assert_eq!(router.stack.neighbours.frames_held(), 1);
    let answer = arp(2, (SERVER, "10.0.2.2"), (ROUTER[WAN], "10.0.2.1"));
    let sent = router.receive(WAN, &[ethernet(ROUTER[WAN], SERVER, 0x0806, &answer)]);
    let expected = V4 { ttl: 63, ..packet };
    assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x0800, &expected.bytes()))]);
    router.assert_conserved();
}

#[test]
fn a_neighbour_that_never_answers_makes_its_packets_host_unreachable() {
    let mut router = Router::new();
    router.stack.neighbours.add_static(port(LAN), "10.0.1.2".parse().unwrap(), CLIENT, router.now).unwrap();
    let packet = V4::udp("10.0.1.2", "10.0.2.9", 18);
    router.receive(LAN, &[packet.sent_by_client()]);
    let mut questions = 0;
    let error = loop {
        let sent = router.wait(Duration::from_millis(250));
        match sent.as_slice() {
            [] => {}
            [(WAN, question)] => {
                assert_eq!(&question[12..14], [8, 6]);
                questions += 1;
            }
            [(LAN, error)] => break error.clone(),
            other => panic!("{other:?}"),
        }
        assert!(questions <= 2, "three questions in all");
    };
    let (kind, code, _, quoted) = icmp(&error);
    assert_eq!((kind, code), (3, 1));
    assert_eq!(&error[26..30], [10, 0, 1, 1], "from the address on the way back");
    let expected = V4 { ttl: 63, ..packet };
    assert_eq!(quoted, expected.bytes());
    assert_eq!(router.dropped(DropReason::NeighbourUnreachable), 1);
    router.assert_conserved();
}

#[test]
fn an_ipv6_neighbour_is_asked_for_by_its_solicited_node_group() {
    let mut router = Router::new();
    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:2::2", 18).sent_by_client()]);
    let [(WAN, question)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(&question[..6], [0x33, 0x33, 0xff, 0, 0, 2]);
    let (kind, _, _, body) = icmpv6(question);
    assert_eq!(kind, 135);
    assert_eq!(&body[..16], "fd00:2::2".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(&body[16..24], [1, 1, 2, 0, 0, 0, 2, 1]);
    // The server answers, solicited and with its address.
    let mut advertisement = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    advertisement.extend("fd00:2::2".parse::<Ipv6Addr>().unwrap().octets());
    advertisement.extend([2, 1]);
    advertisement.extend(SERVER.0);
    let answer = V6 { hop_limit: 255, ..V6::with("fd00:2::2", "fd00:2::1", 58, advertisement, 2) };
    let sent = router.receive(WAN, &[ethernet(ROUTER[WAN], SERVER, 0x86dd, &answer.bytes())]);
    let expected = V6 { hop_limit: 63, ..V6::udp("fd00:1::2", "fd00:2::2", 18) };
    assert_eq!(sent, [(WAN, ethernet(SERVER, ROUTER[WAN], 0x86dd, &expected.bytes()))]);
    router.assert_conserved();
}

#[test]
fn arp_and_neighbour_solicitations_for_us_are_answered_and_teach_us_who_asked() {
    let mut router = Router::new();
    let question = arp(1, (CLIENT, "10.0.1.2"), (MacAddr::ZERO, "10.0.1.1"));
    let sent = router.receive(LAN, &[ethernet(MacAddr::BROADCAST, CLIENT, 0x0806, &question)]);
    let answer = arp(2, (ROUTER[LAN], "10.0.1.1"), (CLIENT, "10.0.1.2"));
    assert_eq!(sent, [(LAN, ethernet(CLIENT, ROUTER[LAN], 0x0806, &answer))]);
    // Known now: a ping is answered at once.
    let sent = router.receive(LAN, &[V4::ping("10.0.1.2", "10.0.1.1", 56).sent_by_client()]);
    assert_eq!(sent.len(), 1);
    assert_eq!(&sent[0].1[..6], CLIENT.0);

    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend("fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    solicitation.extend([1, 1]);
    solicitation.extend(CLIENT.0);
    let question = V6 { hop_limit: 255, ..V6::with("fd00:1::2", "ff02::1:ff00:1", 58, solicitation, 2) };
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
    let sent = router.receive(LAN, &[ethernet(group, CLIENT, 0x86dd, &question.bytes())]);
    let [(LAN, answer)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(&answer[..6], CLIENT.0);
    let (kind, _, flags, _) = icmpv6(answer);
    assert_eq!((kind, flags), (136, 0xe000_0000), "router, solicited, override");
    router.assert_conserved();
}

/// A solicitation for `target` from the client, to the target's group, and what the router sends.
fn solicited_by_client(router: &mut Router, source: &str, target: &str) -> Vec<(usize, Vec<u8>)> {
    let target: Ipv6Addr = target.parse().unwrap();
    let [.., high, middle, low] = target.octets();
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(target.octets());
    // Who checks for duplicates does not say who it is (RFC 4861 section 7.1.1).
    if source != "::" {
        solicitation.extend([1, 1]);
        solicitation.extend(CLIENT.0);
    }
    let group = format!("ff02::1:ff{high:02x}:{middle:02x}{low:02x}");
    let question = V6 { hop_limit: 255, ..V6::with(source, &group, 58, solicitation, 2) };
    let group = MacAddr([0x33, 0x33, 0xff, high, middle, low]);
    router.receive(LAN, &[ethernet(group, CLIENT, 0x86dd, &question.bytes())])
}

/// RFC 4291 section 2.6.1, RFC 4861 section 7.2.7: one of several routers may answer, and none insists.
#[test]
fn the_subnet_router_anycast_address_is_answered_on_its_link_from_a_unicast_address() {
    let mut router = Router::new();
    for (source, target, own) in [("fd00:1::2", "fd00:1::", "fd00:1::1"), ("fe80::2", "fe80::", "fe80::1")] {
        let sent = solicited_by_client(&mut router, source, target);
        let [(LAN, answer)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(&answer[..6], CLIENT.0);
        assert_eq!(answer[22..38], own.parse::<Ipv6Addr>().unwrap().octets(), "from an address of its own");
        let (kind, _, flags, body) = icmpv6(answer);
        assert_eq!((kind, flags), (136, 0xc000_0000), "router, solicited, no override");
        assert_eq!(&body[..16], target.parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(&body[16..24], [&[2, 1][..], &ROUTER[LAN].0].concat());

        let ping = V6::ping(source, target, 56);
        let sent = router.receive(LAN, &[ping.sent_by_client()]);
        let [(LAN, reply)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(reply[22..38], own.parse::<Ipv6Addr>().unwrap().octets(), "from an address of its own");
        let (kind, code, word, payload) = icmpv6(reply); // which looks at the checksum
        assert_eq!((kind, code, word), (129, 0, 0x1234_0001));
        assert_eq!(payload, &ping.payload[8..]);
    }
    // An error about a packet to it comes from a unicast address as well (RFC 4443 section 2.2).
    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:1::", 18).sent_by_client()]);
    let [(LAN, error)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((icmpv6(error).0, icmpv6(error).1), (1, 4), "port unreachable");
    assert_eq!(error[22..38], "fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    router.assert_conserved();
}

#[test]
fn who_wants_the_subnet_router_anycast_address_for_itself_is_told_that_it_is_taken() {
    let mut router = Router::new();
    let sent = solicited_by_client(&mut router, "::", "fd00:1::");
    let [(LAN, answer)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(&answer[..6], [0x33, 0x33, 0, 0, 0, 1], "to all nodes");
    let (kind, _, flags, _) = icmpv6(answer);
    assert_eq!((kind, flags), (136, 0x8000_0000), "router, neither solicited nor override");
    router.assert_conserved();
}

#[test]
fn another_router_that_answers_for_the_anycast_address_is_no_conflict() {
    let mut router = Router::new();
    let mut advertisement = vec![136, 0, 0, 0, 0xc0, 0, 0, 0];
    advertisement.extend("fd00:1::".parse::<Ipv6Addr>().unwrap().octets());
    advertisement.extend([2, 1]);
    advertisement.extend(CLIENT.0);
    let answer = V6 { hop_limit: 255, ..V6::with("fd00:1::2", "fd00:1::1", 58, advertisement, 2) };
    assert_eq!(router.receive(LAN, &[answer.sent_by_client()]), []);
    assert_eq!((router.dropped(DropReason::NdConflict), router.dropped(DropReason::NdNotForUs)), (0, 1));
}

#[test]
fn a_host_does_not_answer_for_the_subnet_router_anycast_address() {
    let mut router = Router::new();
    router.stack.interfaces.get_mut(port(LAN)).unwrap().forwarding = false;
    assert_eq!(solicited_by_client(&mut router, "fd00:1::2", "fd00:1::"), []);
    // The group of ::0 is one that it does not hear.
    assert_eq!(router.dropped(DropReason::NotJoined), 1);
    assert_eq!(solicited_by_client(&mut router, "fd00:1::2", "fd00:1::1").len(), 1, "its own it does");
}

#[test]
fn a_ping_is_answered_in_both_families_with_its_payload() {
    let mut router = Router::acquainted();
    let ping = V4::ping("10.0.1.2", "10.0.1.1", 56);
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    let [(LAN, reply)] = sent.as_slice() else { panic!("{sent:?}") };
    let (kind, code, word, payload) = icmp(reply);
    assert_eq!((kind, code, word), (0, 0, 0x1234_0001));
    assert_eq!(payload, &ping.payload[8..]);
    assert!(checksum::sum(&reply[14..34]).is_valid());
    assert_eq!((reply[22], &reply[26..30], &reply[30..34]), (64, &[10, 0, 1, 1][..], &[10, 0, 1, 2][..]));

    let sent = router.receive(LAN, &[V6::ping("fd00:1::2", "fd00:1::1", 56).sent_by_client()]);
    let [(LAN, reply)] = sent.as_slice() else { panic!("{sent:?}") };
    let (kind, code, word, _) = icmpv6(reply);
    assert_eq!((kind, code, word), (129, 0, 0x1234_0001));
}

#[test]
fn the_far_address_of_the_router_answers_too() {
    let mut router = Router::acquainted();
    let sent = router.receive(LAN, &[V4::ping("10.0.1.2", "10.0.2.1", 8).sent_by_client()]);
    assert_eq!(&sent[0].1[26..30], [10, 0, 2, 1]);
}

#[test]
fn a_ttl_that_runs_out_is_answered_with_time_exceeded_by_the_near_address() {
    let mut router = Router::acquainted();
    let packet = V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 18) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let [(LAN, error)] = sent.as_slice() else { panic!("{sent:?}") };
    let (kind, code, word, quoted) = icmp(error);
    assert_eq!((kind, code, word), (11, 0, 0));
    assert_eq!(quoted, packet.bytes());
    assert_eq!((&error[26..30], error[15]), (&[10, 0, 1, 1][..], 0xc0));

    let packet = V6 { hop_limit: 1, ..V6::udp("fd00:1::2", "fd00:2::2", 18) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let (kind, code, _, quoted) = icmpv6(&sent[0].1);
    assert_eq!((kind, code), (3, 0));
    assert_eq!(quoted, packet.bytes());
    assert_eq!(&sent[0].1[22..38], "fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 2);
    router.assert_conserved();
}

#[test]
fn routes_that_lead_nowhere_have_each_their_own_answer() {
    let mut router = Router::acquainted();
    router.rib.add(&route("192.0.2.0/24", Target::Blackhole)).unwrap();
    router.rib.add(&route("198.51.100.0/24", Target::Unreachable)).unwrap();
    router.rib.add(&route("203.0.113.0/24", Target::Prohibit)).unwrap();
    let mut answer = |destination: &str| {
        let sent = router.receive(LAN, &[V4::udp("10.0.1.2", destination, 8).sent_by_client()]);
        router.now = router.now + Duration::from_secs(10);
        sent.first().map(|(_, frame)| (icmp(frame).0, icmp(frame).1))
    };
    assert_eq!(answer("192.0.2.1"), None);
    assert_eq!(answer("198.51.100.1"), Some((3, 1)));
    assert_eq!(answer("203.0.113.1"), Some((3, 13)));
    assert_eq!(answer("8.8.8.8"), Some((3, 0)));
    for (prefix, target) in [("2001:db8:1::/48", Target::Blackhole), ("2001:db8:2::/48", Target::Unreachable)]
    {
        router.rib.add(&route(prefix, target)).unwrap();
    }
    router.rib.add(&route("2001:db8:3::/48", Target::Prohibit)).unwrap();
    let mut answer = |destination: &str| {
        let sent = router.receive(LAN, &[V6::udp("fd00:1::2", destination, 8).sent_by_client()]);
        router.now = router.now + Duration::from_secs(10);
        sent.first().map(|(_, frame)| (icmpv6(frame).0, icmpv6(frame).1))
    };
    assert_eq!(answer("2001:db8:1::1"), None);
    assert_eq!(answer("2001:db8:2::1"), Some((1, 0)));
    assert_eq!(answer("2001:db8:3::1"), Some((1, 1)));
    assert_eq!(answer("2001:db8:4::1"), Some((1, 0)));
}

#[test]
fn a_packet_longer_than_the_next_link_is_refused_or_cut() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 1400, 64);
    router.introduce();
    let packet = V4 { flags: 0x40, ..V4::udp("10.0.1.2", "10.0.2.2", 1400) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let (kind, code, mtu, quoted) = icmp(&sent[0].1);
    assert_eq!((kind, code, mtu), (3, 4, 1400));
    assert_eq!(quoted.len(), 576 - 28, "as much as fits in 576 bytes");

    let packet = V4::udp("10.0.1.2", "10.0.2.2", 1400);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let [(WAN, first), (WAN, second)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((first.len(), &first[20..22]), (14 + 1396, &[0x20, 0][..]), "a multiple of eight");
    assert_eq!((second.len(), &second[20..22]), (14 + 20 + 1408 - 1376, &[0, 172][..]));
    assert_eq!([&first[34..], &second[34..]].concat(), packet.payload);
    for fragment in [first, second] {
        assert!(checksum::sum(&fragment[14..34]).is_valid());
    }

    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:2::2", 1400).sent_by_client()]);
    let (kind, code, mtu, quoted) = icmpv6(&sent[0].1);
    assert_eq!((kind, code, mtu), (2, 0, 1400));
    assert_eq!(quoted.len(), 1280 - 48);
    router.assert_conserved();
}

#[test]
fn closed_ports_and_unknown_protocols_say_so() {
    let mut router = Router::acquainted();
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.1.1", 8).sent_by_client()]);
    assert_eq!((icmp(&sent[0].1).0, icmp(&sent[0].1).1), (3, 3));
    let sent = router.receive(LAN, &[V6::udp("fd00:1::2", "fd00:1::1", 8).sent_by_client()]);
    assert_eq!((icmpv6(&sent[0].1).0, icmpv6(&sent[0].1).1), (1, 4));
    let unknown = V4 { protocol: 253, ..V4::udp("10.0.1.2", "10.0.1.1", 8) };
    let sent = router.receive(LAN, &[unknown.sent_by_client()]);
    assert_eq!((icmp(&sent[0].1).0, icmp(&sent[0].1).1), (3, 2));
    let unknown = V6 { next_header: 253, ..V6::udp("fd00:1::2", "fd00:1::1", 8) };
    let sent = router.receive(LAN, &[unknown.sent_by_client()]);
    let (kind, code, pointer, _) = icmpv6(&sent[0].1);
    assert_eq!((kind, code, pointer), (4, 1, 6));
    router.assert_conserved();
}

#[test]
fn a_broken_datagram_for_a_closed_port_is_dropped_without_a_word() {
    let mut router = Router::acquainted();
    let mut packet = V4::udp("10.0.1.2", "10.0.1.1", 8);
    packet.payload[9] ^= 1;
    assert_eq!(router.receive(LAN, &[packet.sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::TransportBadChecksum), 1);
}

#[test]
fn a_connection_to_a_closed_port_is_reset() {
    let mut router = Router::acquainted();
    let mut segment = vec![0x30, 0x39, 0, 80, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    let (client, us) = (Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 1, 1));
    let pseudo = checksum::pseudo_ipv4(client, us, 6, 20);
    let sum = pseudo.plus(checksum::sum(&segment)).checksum();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let syn = V4 { protocol: 6, payload: segment, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    let sent = router.receive(LAN, &[syn.sent_by_client()]);
    let reset = &sent[0].1[34..];
    assert_eq!(&reset[..14], [0, 80, 0x30, 0x39, 0, 0, 0, 0, 0, 0, 0, 101, 0x50, 0x14]);
    let pseudo = checksum::pseudo_ipv4(us, client, 6, 20);
    assert!(pseudo.plus(checksum::sum(reset)).is_valid());
}

#[test]
fn what_comes_by_link_broadcast_is_neither_forwarded_nor_answered() {
    let mut router = Router::acquainted();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 8);
    let frame = ethernet(MacAddr::BROADCAST, CLIENT, 0x0800, &packet.bytes());
    assert_eq!(router.receive(LAN, &[frame]), []);
    assert_eq!(router.dropped(DropReason::NotForwardable), 1);
    let to_us = V4::udp("10.0.1.2", "10.0.1.1", 8);
    let frame = ethernet(MacAddr::BROADCAST, CLIENT, 0x0800, &to_us.bytes());
    assert_eq!(router.receive(LAN, &[frame]), []);
    for destination in ["255.255.255.255", "10.0.1.255"] {
        let frame = V4::ping("10.0.1.2", destination, 8);
        let frame = ethernet(MacAddr::BROADCAST, CLIENT, 0x0800, &frame.bytes());
        assert_eq!(router.receive(LAN, &[frame]), [], "{destination}");
    }
    assert_eq!(router.dropped(DropReason::IcmpEchoIgnored), 2);
    let directed = V4::udp("10.0.1.2", "10.0.2.255", 8);
    assert_eq!(router.receive(LAN, &[directed.sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::NotForwardable), 2);
}

#[test]
fn a_source_that_is_ours_is_a_martian_and_strict_filtering_wants_the_way_back() {
    let mut router = Router::acquainted();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.1", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.2.255", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::Ipv4MartianSource), 2);
    assert_eq!(router.receive(LAN, &[V6::udp("fd00:2::1", "fd00:2::2", 8).sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::Ipv6MartianSource), 1);
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.2.7", "10.0.2.2", 8).sent_by_client()]).len(), 1);

    use flumen_stack::interface::ReversePathFilter::{Loose, Strict};
    let mut strict = Router::with(|interfaces| interfaces[LAN].rp_filter = Strict, 64);
    strict.introduce();
    assert_eq!(strict.receive(LAN, &[V4::udp("10.0.2.7", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(strict.receive(LAN, &[V4::udp("10.0.1.7", "10.0.2.2", 8).sent_by_client()]).len(), 1);
    let mut loose = Router::with(|interfaces| interfaces[LAN].rp_filter = Loose, 64);
    loose.introduce();
    assert_eq!(loose.receive(LAN, &[V4::udp("10.0.2.7", "10.0.2.2", 8).sent_by_client()]).len(), 1);
    assert_eq!(loose.receive(LAN, &[V4::udp("172.16.0.7", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(strict.dropped(DropReason::ReversePath) + loose.dropped(DropReason::ReversePath), 2);
}

#[test]
fn a_port_that_does_not_forward_drops_what_is_not_for_it_and_says_nothing() {
    let mut router = Router::with(|interfaces| interfaces[LAN].forwarding = false, 64);
    router.introduce();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]), []);
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "8.8.8.8", 8).sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::ForwardingOff), 1);
    assert_eq!(router.receive(LAN, &[V4::ping("10.0.1.2", "10.0.1.1", 8).sent_by_client()]).len(), 1);
}

#[test]
fn a_route_change_takes_effect_with_the_next_burst() {
    let mut router = Router::acquainted();
    router.stack.neighbours.add_static(port(WAN), "10.0.2.9".parse().unwrap(), SERVER, router.now).unwrap();
    let packet = V4::udp("10.0.1.2", "192.0.2.1", 8).sent_by_client();
    let sent = router.receive(LAN, std::slice::from_ref(&packet));
    assert_eq!(icmp(&sent[0].1).1, 0, "no route");
    let via = Target::Gateway { port: port(WAN), via: "10.0.2.9".parse().unwrap() };
    router.rib.add(&route("192.0.2.0/24", via)).unwrap();
    assert_eq!(router.receive(LAN, std::slice::from_ref(&packet))[0].0, WAN);
    router.rib.remove("192.0.2.0/24".parse().unwrap(), Source::Static, 0).unwrap();
    assert_eq!(router.receive(LAN, &[packet])[0].0, LAN, "an error again");
}

#[test]
fn flows_spread_over_equal_paths_and_each_stays_on_its_own() {
    let mut router = Router::acquainted();
    let gateways = [MacAddr([2, 0, 0, 0, 2, 8]), MacAddr([2, 0, 0, 0, 2, 9])];
    let mut paths = Vec::new();
    for (last, mac) in [(8, gateways[0]), (9, gateways[1])] {
        let via: IpAddr = Ipv4Addr::new(10, 0, 2, last).into();
        router.stack.neighbours.add_static(port(WAN), via, mac, router.now).unwrap();
        paths.push(Path { port: port(WAN), via: Some(via), weight: 1 });
    }
    router.rib.add(&route("192.0.2.0/24", Target::Multipath(paths))).unwrap();
    let mut count = [0; 2];
    for flow in 0..200u8 {
        let mut packet = V4::udp("10.0.1.2", "192.0.2.1", 8);
        packet.payload[1] = flow;
        let sent = router.receive(LAN, &[packet.sent_by_client(), packet.sent_by_client()]);
        assert_eq!(sent[0].1[..6], sent[1].1[..6], "one flow, one path");
        count[usize::from(sent[0].1[..6] == gateways[1].0)] += 1;
    }
    assert!(count.iter().all(|&flows| flows > 60), "{count:?}");
}

#[test]
fn errors_to_one_peer_are_limited_and_counted() {
    let mut router = Router::acquainted();
    let packets = vec![V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 8) }.sent_by_client(); 50];
    assert_eq!(router.receive(LAN, &packets).len(), 6);
    assert_eq!(router.stack.counters.get(Counter::IcmpErrorsLimited), 44);
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 50);
}

#[test]
fn a_port_that_goes_down_gives_up_what_waits_and_comes_back_empty() {
    let mut router = Router::new();
    router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]);
    assert_eq!(router.stack.neighbours.frames_held(), 1);
    router.turn(|stack, turn| stack.set_port_up(turn, port(WAN), false));
    assert_eq!(router.stack.neighbours.frames_held(), 0);
    assert_eq!(router.dropped(DropReason::PortDown), 1);
    router.rib.set_port_up(port(WAN), false);
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]);
    assert!(sent.iter().all(|(index, _)| *index == LAN), "nothing leaves by a port that is down");
    router.rib.set_port_up(port(WAN), true);
    router.turn(|stack, turn| stack.set_port_up(turn, port(WAN), true));
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 8).sent_by_client()]);
    assert_eq!(sent.iter().filter(|(index, _)| *index == WAN).count(), 1, "it asks anew");
}

#[test]
fn icmp_that_asks_for_nothing_is_discarded_and_counted() {
    let mut router = Router::acquainted();
    for kind in [0u8, 4, 6, 11, 12, 15, 17, 30, 255] {
        let mut packet = V4::ping("10.0.1.2", "10.0.1.1", 28);
        packet.payload[0] = kind;
        packet.payload[2..4].fill(0);
        let sum = checksum::sum(&packet.payload).checksum();
        packet.payload[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(router.receive(LAN, &[packet.sent_by_client()]), [], "type {kind}");
    }
    assert_eq!(router.dropped(DropReason::IcmpDiscarded), 9);
    for kind in [3u8, 4, 100, 140, 200] {
        let payload = vec![kind, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        let packet = V6::with("fd00:1::2", "fd00:1::1", 58, payload, 2);
        assert_eq!(router.receive(LAN, &[packet.sent_by_client()]), [], "ICMPv6 type {kind}");
    }
    assert_eq!(router.dropped(DropReason::IcmpDiscarded), 14);
}

#[test]
fn a_path_mtu_report_about_a_packet_of_ours_shortens_what_we_send() {
    let mut router = Router::acquainted();
    let ping = V4::ping("10.0.1.2", "10.0.1.1", 1400);
    assert_eq!(router.receive(LAN, &[ping.sent_by_client()]).len(), 1, "in one piece");
    let quoted = V4 { payload: vec![0; 8], ..V4::ping("10.0.1.1", "10.0.1.2", 0) };
    let mut report = vec![3, 4, 0, 0, 0, 0, (1000u16 >> 8) as u8, 1000u16 as u8];
    report.extend(quoted.bytes());
    let sum = checksum::sum(&report).checksum();
    report[2..4].copy_from_slice(&sum.to_be_bytes());
    let report = V4 { protocol: 1, payload: report, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    assert_eq!(router.receive(LAN, &[report.sent_by_client()]), []);
    assert_eq!(router.stack.counters.get(Counter::PathMtuLearned), 1);
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    assert_eq!(sent.len(), 2, "two fragments");
    assert!(sent.iter().all(|(_, frame)| frame.len() <= 14 + 1000));
    // A report about a packet that we cannot have sent is not believed.
    let foreign = V4 { payload: vec![0; 8], ..V4::ping("10.0.2.2", "10.0.1.2", 0) };
    let mut forged = vec![3, 4, 0, 0, 0, 0, 2, 88];
    forged.extend(foreign.bytes());
    let sum = checksum::sum(&forged).checksum();
    forged[2..4].copy_from_slice(&sum.to_be_bytes());
    let forged = V4 { protocol: 1, payload: forged, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    assert_eq!(router.receive(LAN, &[forged.sent_by_client()]), []);
    assert_eq!(router.stack.counters.get(Counter::PathMtuLearned), 1);
}

/// Received and begun here, against sent, dropped, cut and held: see `flumen_stack::counters`.
#[track_caller]
fn assert_books_balance(router: &Router, received: u64) {
    let counters = &router.stack.counters;
    let sent: u64 = [LAN, WAN].iter().map(|index| counters.port(port(*index)).tx_packets).sum();
    let begun = received + counters.originated() + counters.dropped(DropReason::NoFrame);
    let held = router.stack.neighbours.frames_held() as u64;
    assert_eq!(begun, sent + counters.dropped_in_all() + counters.fragmented() + held);
}

#[test]
fn a_question_that_is_answered_has_its_end_on_record() {
    let mut router = Router::acquainted();
    let question = arp(1, (CLIENT, "10.0.1.2"), (MacAddr::ZERO, "10.0.1.1"));
    router.receive(LAN, &[ethernet(MacAddr::BROADCAST, CLIENT, 0x0806, &question)]);
    assert_eq!(router.dropped(DropReason::Consumed), 1);
    assert_books_balance(&router, 1);
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend("fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
    for source in ["fd00:1::2", "::"] {
        let question =
            V6 { hop_limit: 255, ..V6::with(source, "ff02::1:ff00:1", 58, solicitation.clone(), 2) };
        let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
        assert_eq!(router.receive(LAN, &[ethernet(group, CLIENT, 0x86dd, &question.bytes())]).len(), 1);
    }
    assert_eq!(router.dropped(DropReason::Consumed), 3);
    assert_books_balance(&router, 3);
}

#[test]
fn a_packet_that_is_cut_has_its_end_on_record() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 600, 64);
    router.introduce();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 1400).sent_by_client()]).len(), 3);
    assert_eq!(router.stack.counters.get(Counter::Ipv4Fragmented), 1);
    assert_books_balance(&router, 1);
}

#[test]
fn on_a_link_with_a_larger_mtu_than_a_chunk_fragments_are_as_long_as_a_chunk_allows() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 4000, 64);
    router.introduce();
    let packet = V4::udp("10.0.1.2", "10.0.2.2", 8000);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let payload: Vec<u8> = sent.iter().flat_map(|(_, frame)| frame[34..].to_vec()).collect();
    assert_eq!(payload, packet.payload);
    assert_eq!(sent[0].1.len(), 14 + 20 + (2048 - 128 - 20) / 8 * 8);
    assert_books_balance(&router, 1);
    router.assert_conserved();
}

#[test]
fn an_empty_pool_ends_a_packet_that_must_be_cut_with_a_reason_of_its_own() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 600, 64);
    router.introduce();
    let taken: Vec<_> = (0..POOL - 2).map(|_| router.pool.alloc().unwrap()).collect();
    assert_eq!(router.receive(LAN, &[V4::udp("10.0.1.2", "10.0.2.2", 1400).sent_by_client()]).len(), 1);
    assert_eq!(router.dropped(DropReason::FragmentationFailed), 1);
    assert_books_balance(&router, 1);
    drop(taken);
    router.assert_conserved();
}

#[test]
fn an_ipv4_packet_to_an_ipv6_router_is_still_an_ipv4_packet_on_the_link() {
    let mut router = Router::new();
    let via = Target::Gateway { port: port(WAN), via: "fd00:2::2".parse().unwrap() };
    router.rib.add(&route("192.0.2.0/24", via)).unwrap();
    let packet = V4::udp("10.0.1.2", "192.0.2.1", 8);
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    assert_eq!(icmpv6(&sent[0].1).0, 135, "the router is asked for by its IPv6 address");
    router.introduce();
    let expected = ethernet(SERVER, ROUTER[WAN], 0x0800, &V4 { ttl: 63, ..packet }.bytes());
    let waited = router.wait(Duration::ZERO);
    assert_eq!(waited, [(WAN, expected.clone())], "also the one that waited for it");
    let sent = router.receive(LAN, &[V4::udp("10.0.1.2", "192.0.2.1", 8).sent_by_client()]);
    assert_eq!(sent, [(WAN, expected)]);
}

#[test]
fn a_packet_from_our_own_link_local_address_is_a_martian() {
    let mut router = Router::acquainted();
    for destination in ["fd00:2::2", "fe80::1", "ff02::1", "2001:db8::1"] {
        let packet = V6::ping("fe80::1", destination, 8).sent_by_client();
        assert_eq!(router.receive(LAN, &[packet]), [], "{destination}");
    }
    assert_eq!(router.dropped(DropReason::Ipv6MartianSource), 4);
    let other = V6::ping("fe80::2", "fe80::1", 8).sent_by_client();
    assert_eq!(router.receive(LAN, &[other]).len(), 1, "the other port's is somebody else's here");
}

#[test]
fn nobody_is_told_about_a_reply_of_ours_that_could_not_be_delivered() {
    let mut router = Router::new();
    let ping = V6::ping("fe80::77", "fe80::2", 8).bytes();
    let sent = router.receive(WAN, &[ethernet(ROUTER[WAN], SERVER, 0x86dd, &ping)]);
    assert_eq!(icmpv6(&sent[0].1).0, 135, "who is fe80::77?");
    for _ in 0..20 {
        let sent = router.wait(Duration::from_millis(500));
        assert!(sent.iter().all(|(index, _)| *index == WAN), "nothing on the other link: {sent:02x?}");
    }
    assert_eq!(router.dropped(DropReason::NeighbourUnreachable), 1);
    assert_eq!(router.stack.counters.get(Counter::Icmpv6ErrorsOut), 0);
    assert_books_balance(&router, 1);
    router.assert_conserved();
}

#[test]
fn a_broken_datagram_that_is_shorter_than_its_packet_is_dropped_without_a_word() {
    let mut router = Router::acquainted();
    let mut whole = V4::udp("10.0.1.2", "10.0.1.1", 8);
    whole.payload.extend([0xee; 5]);
    let sent = router.receive(LAN, &[whole.sent_by_client()]);
    assert_eq!(
        (icmp(&sent[0].1).0, icmp(&sent[0].1).1),
        (3, 3),
        "what is behind the datagram does not matter"
    );
    whole.payload[9] ^= 1;
    assert_eq!(router.receive(LAN, &[whole.sent_by_client()]), []);
    let mut whole = V6::udp("fd00:1::2", "fd00:1::1", 8);
    whole.payload.extend([0xee; 5]);
    assert_eq!(router.receive(LAN, &[whole.sent_by_client()]).len(), 1);
    whole.payload[9] ^= 1;
    assert_eq!(router.receive(LAN, &[whole.sent_by_client()]), []);
    assert_eq!(router.dropped(DropReason::TransportBadChecksum), 2);
}

#[test]
fn an_error_that_the_port_would_finish_is_finished_before_it_is_cut() {
    let mut router = Router::with(|interfaces| interfaces[LAN].tx_checksum = true, 64);
    router.introduce();
    // The client says that only 552 bytes get through to it.
    let ours = V4 { protocol: 1, ..V4::ping("10.0.1.1", "10.0.1.2", 8) };
    let mut report = vec![3, 4, 0, 0, 0, 0, 2, 40];
    report.extend(ours.bytes());
    let sum = checksum::sum(&report).checksum();
    report[2..4].copy_from_slice(&sum.to_be_bytes());
    let report = V4 { protocol: 1, payload: report, ..V4::udp("10.0.1.2", "10.0.1.1", 0) };
    router.receive(LAN, &[report.sent_by_client()]);
    assert_eq!(router.stack.counters.get(Counter::PathMtuLearned), 1);
    let packet = V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 1000) };
    let sent = router.receive(LAN, &[packet.sent_by_client()]);
    let [(LAN, first), (LAN, second)] = sent.as_slice() else { panic!("{sent:02x?}") };
    let message = [&first[34..], &second[34..]].concat();
    assert!(checksum::sum(&message).is_valid());
    // One that is not cut is left to the port.
    let short = V4 { ttl: 1, ..V4::udp("10.0.1.2", "10.0.2.2", 100) };
    assert!(checksum::sum(&router.receive(LAN, &[short.sent_by_client()])[0].1[34..]).is_valid());
}

#[test]
fn a_fragment_that_reaches_beyond_the_longest_datagram_is_not_cut_further() {
    let mut router = Router::with(|interfaces| interfaces[WAN].mtu = 600, 64);
    router.introduce();
    let fragment = |offset: u16| {
        let mut bytes = V4::udp("10.0.1.2", "10.0.2.2", 1400).bytes();
        bytes[6..8].copy_from_slice(&offset.to_be_bytes());
        bytes[10..12].fill(0);
        let sum = checksum::sum(&bytes[..20]).checksum();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(ROUTER[LAN], CLIENT, 0x0800, &bytes)
    };
    // 1408 bytes at 64,120 end at 65,528; eight further on they would end at 65,536.
    let sent = router.receive(LAN, &[fragment(64_120 / 8)]);
    assert_eq!(sent.len(), 3);
    assert_eq!(&sent[2].1[20..22], ((64_120 + 1152) / 8u16).to_be_bytes());
    assert_eq!(router.receive(LAN, &[fragment(64_128 / 8)]), []);
    assert_eq!(router.dropped(DropReason::Ipv4BadHeader), 1);
    assert_books_balance(&router, 2);
}

#[test]
fn a_ping_of_nothing_but_zeros_is_answered_with_a_checksum_that_its_sender_accepts() {
    let mut router = Router::acquainted();
    let mut ping = V4::ping("10.0.1.2", "10.0.1.1", 0);
    ping.payload = [&[8, 0, 0xf7, 0xff, 0, 0, 0, 0][..], &[0; 16]].concat();
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    assert_eq!(sent[0].1[34..38], [0, 0, 0xff, 0xff]);
    // Words that add up to 0xffff by themselves have zero for a checksum.
    ping.payload = vec![8, 0, 0xf7, 0xff, 0xff, 0xff, 0, 0];
    let sent = router.receive(LAN, &[ping.sent_by_client()]);
    assert_eq!(sent[0].1[34..38], [0, 0, 0, 0]);
    assert!(checksum::sum(&sent[0].1[34..]).is_valid());
}
