//! The router, and the packets that the conversations are held with.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::frame::heap::{HeapFrame, HeapPool};
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Rib, RibConfig, Route, Target};
use flumen_stack::{
    Burst, DropReason, Egress, FramePool, Instant, Interface, Interfaces, MacAddr, NoProbe, PortId, Stack,
    StackConfig, Turn, checksum,
};

pub const POOL: usize = 1024;
pub const LAN: usize = 0;
pub const WAN: usize = 1;
pub const ROUTER: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 1, 1]), MacAddr([2, 0, 0, 0, 2, 1])];
pub const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
pub const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 2, 2]);

pub struct Router {
    pub stack: Stack<HeapFrame>,
    pub rib: Rib,
    pub pool: HeapPool,
    pub egress: Egress<HeapFrame>,
    pub now: Instant,
}

pub fn port(index: usize) -> PortId {
    PortId::new(index).unwrap()
}

pub fn route(prefix: &str, target: Target) -> Route {
    Route::new(prefix.parse().unwrap(), target)
}

impl Router {
    pub fn new() -> Router {
        Router::with(|_| {}, 64)
    }

    pub fn with(change: impl FnOnce(&mut Vec<Interface>), route_cache: usize) -> Router {
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
    pub fn acquainted() -> Router {
        let mut router = Router::new();
        router.introduce();
        router
    }

    pub fn introduce(&mut self) {
        for (index, mac, v4, v6) in
            [(LAN, CLIENT, "10.0.1.2", "fd00:1::2"), (WAN, SERVER, "10.0.2.2", "fd00:2::2")]
        {
            for address in [v4, v6] {
                let address: IpAddr = address.parse().unwrap();
                self.stack.neighbours.add_static(port(index), address, mac, self.now).unwrap();
            }
        }
    }

    pub fn turn<T>(&mut self, work: impl FnOnce(&mut Stack<HeapFrame>, &mut Turn<'_, HeapPool>) -> T) -> T {
        let mut turn =
            Turn { now: self.now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut NoProbe };
        work(&mut self.stack, &mut turn)
    }

    /// Frames that leave because of `frames`, with their ports.
    pub fn receive(&mut self, index: usize, frames: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
        let mut burst: Burst<HeapFrame> =
            frames.iter().map(|frame| self.pool.frame(frame).unwrap()).collect();
        self.turn(|stack, turn| stack.input(turn, port(index), &mut burst));
        assert!(burst.is_empty());
        self.sent()
    }

    /// The frames that leave after `wait`.
    pub fn wait(&mut self, wait: Duration) -> Vec<(usize, Vec<u8>)> {
        self.now = self.now + wait;
        self.turn(|stack, turn| {
            stack.timers(turn);
            let _heard = stack.output(turn);
        });
        self.sent()
    }

    pub fn sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut sent = Vec::new();
        for index in [LAN, WAN] {
            while let Some(frame) = self.egress.queue(port(index)).unwrap().pop() {
                sent.push((index, frame.to_vec()));
            }
        }
        sent
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.stack.counters.dropped(reason)
    }

    #[track_caller]
    pub fn assert_conserved(&self) {
        assert_eq!(self.pool.available() + self.stack.neighbours.frames_held(), POOL, "frames are conserved");
    }
}

pub fn ethernet(destination: MacAddr, source: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ethertype.to_be_bytes(), payload].concat()
}

pub struct V4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub flags: u8,
    pub protocol: u8,
    pub payload: Vec<u8>,
}

impl V4 {
    pub fn udp(source: &str, destination: &str, len: usize) -> V4 {
        let (source, destination): (Ipv4Addr, Ipv4Addr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let mut payload = vec![0x30, 0x39, 0, 9, ((8 + len) >> 8) as u8, (8 + len) as u8, 0, 0];
        payload.extend((0..len).map(|n| n as u8));
        let pseudo = checksum::pseudo_ipv4(source, destination, 17, payload.len() as u16);
        let sum = pseudo.plus(checksum::sum(&payload)).checksum_nonzero();
        payload[6..8].copy_from_slice(&sum.to_be_bytes());
        V4 { source, destination, ttl: 64, flags: 0, protocol: 17, payload }
    }

    pub fn ping(source: &str, destination: &str, len: usize) -> V4 {
        let mut payload = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
        payload.extend((0..len).map(|n| n as u8));
        let sum = checksum::sum(&payload).checksum();
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
        V4 { protocol: 1, payload, ..V4::udp(source, destination, 0) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let len = (20 + self.payload.len()) as u16;
        let mut header =
            vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 1, self.flags, 0, self.ttl, self.protocol, 0, 0];
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        let sum = checksum::sum(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, self.payload.clone()].concat()
    }

    pub fn sent_by_client(&self) -> Vec<u8> {
        ethernet(ROUTER[LAN], CLIENT, 0x0800, &self.bytes())
    }
}

pub struct V6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    pub next_header: u8,
    pub payload: Vec<u8>,
}

impl V6 {
    pub fn udp(source: &str, destination: &str, len: usize) -> V6 {
        let mut payload = vec![0x30, 0x39, 0, 9, ((8 + len) >> 8) as u8, (8 + len) as u8, 0, 0];
        payload.extend((0..len).map(|n| n as u8));
        V6::with(source, destination, 17, payload, 6)
    }

    pub fn ping(source: &str, destination: &str, len: usize) -> V6 {
        let mut payload = vec![128, 0, 0, 0, 0x12, 0x34, 0, 1];
        payload.extend((0..len).map(|n| n as u8));
        V6::with(source, destination, 58, payload, 2)
    }

    pub fn with(source: &str, destination: &str, next_header: u8, mut payload: Vec<u8>, field: usize) -> V6 {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let pseudo = checksum::pseudo_ipv6(&source, &destination, next_header, payload.len() as u32);
        let sum = pseudo.plus(checksum::sum(&payload)).checksum_nonzero();
        payload[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        V6 { source, destination, hop_limit: 64, next_header, payload }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let len = self.payload.len() as u16;
        let mut header = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, self.next_header, self.hop_limit];
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        [header, self.payload.clone()].concat()
    }

    pub fn sent_by_client(&self) -> Vec<u8> {
        ethernet(ROUTER[LAN], CLIENT, 0x86dd, &self.bytes())
    }
}

pub fn arp(operation: u8, sender: (MacAddr, &str), target: (MacAddr, &str)) -> Vec<u8> {
    let octets = |address: &str| address.parse::<Ipv4Addr>().unwrap().octets();
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &sender.0.0, &octets(sender.1), &target.0.0, &octets(target.1)]
        .concat()
}

/// What an ICMP error in a frame says: (type, code, word), and what it quotes.
pub fn icmp(frame: &[u8]) -> (u8, u8, u32, &[u8]) {
    let message = &frame[34..];
    assert!(checksum::sum(message).is_valid(), "ICMP checksum");
    let word = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    (message[0], message[1], word, &message[8..])
}

/// The same for ICMPv6.
pub fn icmpv6(frame: &[u8]) -> (u8, u8, u32, &[u8]) {
    let (source, destination): ([u8; 16], [u8; 16]) =
        (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
    let message = &frame[54..];
    let pseudo = checksum::pseudo_ipv6(&source.into(), &destination.into(), 58, message.len() as u32);
    assert!(pseudo.plus(checksum::sum(message)).is_valid(), "ICMPv6 checksum");
    let word = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    (message[0], message[1], word, &message[8..])
}

/// Received and begun here, against sent, dropped, cut and held: see `flumen_stack::counters`.
#[track_caller]
pub fn assert_books_balance(router: &Router, received: u64) {
    let counters = &router.stack.counters;
    let sent: u64 = [LAN, WAN].iter().map(|index| counters.port(port(*index)).tx_packets).sum();
    let begun = received + counters.originated() + counters.dropped(DropReason::NoFrame);
    let held = router.stack.neighbours.frames_held() as u64;
    assert_eq!(begun, sent + counters.dropped_in_all() + counters.fragmented() + held);
}
