//! What the robustness tests share: a router with three ports, its routes, and packets to throw at it.
//!
//! ```text
//!   lan (0)  10.0.1.1/24  fd00:1::1/64  fe80::1      wan (1)  10.0.2.1/24 …      dmz (2)  10.0.3.1/24 …
//!   192.0.2.0/24    via 10.0.2.2              2001:db8:1::/48  via fd00:2::2
//!   198.51.100.0/24 via 10.0.2.2, 10.0.3.2    2001:db8:2::/48  via fd00:2::2, fd00:3::2
//!   203.0.113.0/24  blackhole                 2001:db8:3::/48  blackhole
//!   203.0.112.0/24  unreachable               2001:db8:4::/48  unreachable
//!   203.0.111.0/24  prohibit                  2001:db8:5::/48  prohibit
//!   100.64.0.0/16   via fd00:2::2 (RFC 8950)  2001:db8:6::/48  via fe80::99 on wan
//! ```
#![allow(dead_code)] // each test takes what it needs
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use flumen_stack::frame::heap::{HeapFrame, HeapPool};
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::ip::policy::Routing;
use flumen_stack::multicast::MulticastConfig;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Path, Rib, RibConfig, Route, RouteReader, Target};
use flumen_stack::{
    Burst, Egress, Instant, Interface, Interfaces, MacAddr, NoProbe, PortId, Stack, StackConfig, Turn,
    checksum,
};

pub const PORTS: usize = 3;
pub const LAN: usize = 0;
pub const WAN: usize = 1;
pub const DMZ: usize = 2;

pub fn port(index: usize) -> PortId {
    PortId::new(index).unwrap()
}

/// The router's address on a link.
pub fn our_mac(index: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, index as u8 + 1, 1])
}

/// The station with host number `host` on a link.
pub fn station(index: usize, host: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, index as u8 + 1, host])
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn route(prefix: &str, target: Target) -> Route {
    Route::new(prefix.parse().unwrap(), target)
}

pub fn gateway(index: usize, via: &str) -> Target {
    Target::Gateway { port: port(index), via: ip(via) }
}

pub fn multipath(members: &[(usize, &str)]) -> Target {
    let member = |&(index, via): &(usize, &str)| Path { port: port(index), via: Some(ip(via)), weight: 1 };
    Target::Multipath(members.iter().map(member).collect())
}

pub fn interfaces() -> Vec<Interface> {
    (0..PORTS)
        .map(|index| {
            let net = index + 1;
            let mut one = Interface::new(port(index), ["lan", "wan", "dmz"][index], our_mac(index), 1500);
            one.ipv4.push(format!("10.0.{net}.1/24").parse().unwrap());
            one.ipv6.push(format!("fd00:{net}::1/64").parse().unwrap());
            one.ipv6.push(format!("fe80::{net}/64").parse().unwrap());
            one
        })
        .collect()
}

/// The table of the picture above, small enough to be made often.
pub fn rib() -> Rib {
    fill(Rib::new(small()).unwrap())
}

/// The sizes of such a table.
pub fn small() -> RibConfig {
    RibConfig {
        max_routes4: 4096,
        max_routes6: 4096,
        groups4: 512,
        nodes6: 1 << 13,
        leaves6: 1 << 15,
        next_hops: 1024,
        multipath: 64,
        ..RibConfig::default()
    }
}

/// An empty table with the routes of the picture in it.
pub fn fill(mut rib: Rib) -> Rib {
    for index in 0..PORTS {
        let (net, port) = (index + 1, port(index));
        let mut connected = |prefix: String, target| rib.add(&route(&prefix, target)).unwrap();
        connected(format!("10.0.{net}.0/24"), Target::Connected { port });
        connected(format!("fd00:{net}::/64"), Target::Connected { port });
        connected(format!("10.0.{net}.1/32"), Target::Local);
        connected(format!("fd00:{net}::1/128"), Target::Local);
        connected(format!("10.0.{net}.0/32"), Target::Broadcast { port });
        connected(format!("10.0.{net}.255/32"), Target::Broadcast { port });
    }
    for (prefix, target) in [
        ("192.0.2.0/24", gateway(WAN, "10.0.2.2")),
        ("198.51.100.0/24", multipath(&[(WAN, "10.0.2.2"), (DMZ, "10.0.3.2")])),
        ("203.0.113.0/24", Target::Blackhole),
        ("203.0.112.0/24", Target::Unreachable),
        ("203.0.111.0/24", Target::Prohibit),
        ("100.64.0.0/16", gateway(WAN, "fd00:2::2")),
        ("2001:db8:1::/48", gateway(WAN, "fd00:2::2")),
        ("2001:db8:2::/48", multipath(&[(WAN, "fd00:2::2"), (DMZ, "fd00:3::2")])),
        ("2001:db8:3::/48", Target::Blackhole),
        ("2001:db8:4::/48", Target::Unreachable),
        ("2001:db8:5::/48", Target::Prohibit),
        ("2001:db8:6::/48", gateway(WAN, "fe80::99")),
    ] {
        rib.add(&route(prefix, target)).unwrap();
    }
    rib
}

/// A stack with all that it needs for a turn, but for its routes.
pub struct Router {
    pub stack: Stack<HeapFrame>,
    pub pool: HeapPool,
    pub egress: Egress<HeapFrame>,
    pub now: Instant,
}

pub struct Sizes {
    pub frames: usize,
    pub chunk: usize,
    pub tx_queue: usize,
    pub route_cache: usize,
    /// Echo replies: a second, and at once.
    pub echo: (u32, u32),
    pub neighbours: NeighbourConfig,
}

impl Default for Sizes {
    fn default() -> Sizes {
        let neighbours = NeighbourConfig { max_entries: 64, ..NeighbourConfig::default() };
        Sizes { frames: 512, chunk: 2048, tx_queue: 256, route_cache: 64, echo: (1000, 100), neighbours }
    }
}

impl Router {
    pub fn new(rib: &Rib, sizes: Sizes, interfaces: Vec<Interface>) -> Router {
        Router::with_reader(rib.reader().unwrap(), sizes, interfaces)
    }

    pub fn with_reader(routes: RouteReader, sizes: Sizes, interfaces: Vec<Interface>) -> Router {
        Router::made(routes, sizes, interfaces, (Routing::default(), MulticastConfig::default()))
    }

    pub fn routing_by(rib: &Rib, sizes: Sizes, interfaces: Vec<Interface>, routing: Routing) -> Router {
        Router::made(rib.reader().unwrap(), sizes, interfaces, (routing, MulticastConfig::default()))
    }

    pub fn routing_groups(
        rib: &Rib,
        sizes: Sizes,
        interfaces: Vec<Interface>,
        multicast: MulticastConfig,
    ) -> Router {
        Router::made(rib.reader().unwrap(), sizes, interfaces, (Routing::default(), multicast))
    }

    fn made(
        routes: RouteReader,
        sizes: Sizes,
        interfaces: Vec<Interface>,
        (routing, multicast): (Routing, MulticastConfig),
    ) -> Router {
        let config = StackConfig {
            interfaces: Interfaces::new(interfaces).unwrap(),
            neighbours: sizes.neighbours,
            route_cache: sizes.route_cache,
            icmp: IcmpLimits { per_second: 1000, burst: 50, ..IcmpLimits::default() },
            echo: sizes.echo,
            sockets: flumen_stack::SocketLimits::default(),
            tcp: flumen_stack::tcp::sockets::TcpConfig::default(),
            frame_room: 1664,
            reassembly: flumen_stack::ip::reassembly::ReassemblyConfig::default(),
            multicast,
            routing,
            seed: [1, 2, 3, 4],
        };
        let mut egress = Egress::new(vec![sizes.tx_queue; config.interfaces.len()]);
        for (port, vlan) in config.interfaces.iter().filter_map(|one| Some((one.id, one.vlan?))) {
            egress.set_vlan(port, vlan);
        }
        Router {
            stack: Stack::new(config, routes).unwrap(),
            pool: HeapPool::new(sizes.frames, sizes.chunk),
            egress,
            now: Instant::from_millis(10_000),
        }
    }

    pub fn turn<T>(&mut self, work: impl FnOnce(&mut Stack<HeapFrame>, &mut Turn<'_, HeapPool>) -> T) -> T {
        let mut turn =
            Turn { now: self.now, pool: &mut self.pool, egress: &mut self.egress, probe: &mut NoProbe };
        work(&mut self.stack, &mut turn)
    }

    /// Gives frames to a port; those that the pool has no room for are not received. Returns how many were.
    pub fn input(&mut self, index: usize, frames: &[Vec<u8>]) -> usize {
        let mut burst: Burst<HeapFrame> =
            frames.iter().filter_map(|bytes| self.pool.frame(bytes)).take(64).collect();
        let received = burst.len();
        self.turn(|stack, turn| stack.input(turn, port(index), &mut burst));
        assert!(burst.is_empty(), "the stack takes all of a burst");
        received
    }

    /// Everything that waits to leave, with its port.
    pub fn sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut sent = Vec::new();
        for index in 0..PORTS {
            while let Some(frame) = self.egress.queue(port(index)).unwrap().pop() {
                sent.push((index, frame.to_vec()));
            }
        }
        sent
    }

    /// The stations .2 of every link are known for ever.
    pub fn introduce(&mut self) {
        for index in 0..PORTS {
            let net = index + 1;
            for address in [format!("10.0.{net}.2"), format!("fd00:{net}::2"), "fe80::99".to_owned()] {
                let mac = station(index, 2);
                self.stack.neighbours.add_static(port(index), ip(&address), mac, self.now).unwrap();
            }
        }
    }
}

pub fn ethernet(destination: MacAddr, source: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ethertype.to_be_bytes(), payload].concat()
}

/// The fields of an IPv4 packet that tests vary.
#[derive(Debug, Clone)]
pub struct V4 {
    pub tos: u8,
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl V4 {
    pub fn bytes(&self) -> Vec<u8> {
        let words = 5 + self.options.len().div_ceil(4).min(10);
        let len = (words * 4 + self.payload.len()) as u16;
        let mut header = vec![0x40 | words as u8, self.tos];
        for half in [len, self.id, self.fragment] {
            header.extend(half.to_be_bytes());
        }
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        header.resize(words * 4, 0);
        let sum = checksum::sum(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(&self.payload);
        header
    }
}

/// The fields of an IPv6 packet that tests vary; `payload` begins with the first extension header, if any.
#[derive(Debug, Clone)]
pub struct V6 {
    /// Version, class and flow label.
    pub word: u32,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub payload: Vec<u8>,
}

impl V6 {
    pub fn bytes(&self) -> Vec<u8> {
        let mut packet = self.word.to_be_bytes().to_vec();
        packet.extend((self.payload.len() as u16).to_be_bytes());
        packet.extend([self.next_header, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.payload);
        packet
    }
}

/// An upper-layer message of `protocol` with `body` behind its header and a right checksum.
pub fn upper(protocol: u8, source: IpAddr, destination: IpAddr, kind: [u8; 2], body: &[u8]) -> Vec<u8> {
    let (mut message, field) = match protocol {
        1 | 58 => (vec![kind[0], kind[1], 0, 0, 0x12, 0x34, 0, 1], 2),
        17 => (vec![0x30, 0x39, kind[0], kind[1], 0, 0, 0, 0], 6),
        6 => {
            let mut header = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, kind[0], 0xff, 0xff];
            header.extend([0; 4]);
            (header, 16)
        }
        _ => return body.to_vec(),
    };
    message.extend(body);
    if protocol == 17 {
        let len = message.len() as u16;
        message[4..6].copy_from_slice(&len.to_be_bytes());
    }
    let len = message.len();
    let pseudo = match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) if protocol == 1 => checksum::Sum::ZERO,
        (IpAddr::V4(from), IpAddr::V4(to)) => checksum::pseudo_ipv4(from, to, protocol, len as u16),
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_ipv6(&from, &to, protocol, len as u32),
        _ => panic!("one family"),
    };
    let sum = pseudo.plus(checksum::sum(&message));
    let sum = if protocol == 17 { sum.checksum_nonzero() } else { sum.checksum() };
    message[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    message
}

pub fn arp(operation: u8, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &sender.0.0, &sender.1.octets(), &target.0.0, &target.1.octets()].concat()
}

/// The answer of `mac` to a question (ARP request or neighbour solicitation) in a frame that the router sent.
pub fn answer(question: &[u8], mac: MacAddr) -> Option<Vec<u8>> {
    let asker = MacAddr(*question.get(6..)?.first_chunk()?);
    match question.get(12..14)? {
        [8, 6] if question.get(21) == Some(&1) => {
            let address = |at: usize| Some(Ipv4Addr::from(*question.get(at..)?.first_chunk::<4>()?));
            let reply = arp(2, (mac, address(38)?), (asker, address(28)?));
            Some(ethernet(asker, mac, 0x0806, &reply))
        }
        [0x86, 0xdd] if question.get(20) == Some(&58) && question.get(54) == Some(&135) => {
            let address = |at: usize| Some(Ipv6Addr::from(*question.get(at..)?.first_chunk::<16>()?));
            let (source, target) = (address(22)?, address(62)?);
            let mut body = target.octets().to_vec();
            body.extend([2, 1]);
            body.extend(mac.0);
            let mut message = upper(58, target.into(), source.into(), [136, 0], &body);
            message[4..8].copy_from_slice(&[0x60, 0, 0, 0]);
            let message = with_sum6(message, target, source);
            let packet = V6 {
                word: 6 << 28,
                next_header: 58,
                hop_limit: 255,
                source: target,
                destination: source,
                payload: message,
            };
            Some(ethernet(asker, mac, 0x86dd, &packet.bytes()))
        }
        _ => None,
    }
}

/// An ICMPv6 message with its checksum put right.
pub fn with_sum6(mut message: Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    if message.len() >= 4 {
        message[2..4].fill(0);
        let pseudo = checksum::pseudo_ipv6(&source, &destination, 58, message.len() as u32);
        let sum = pseudo.plus(checksum::sum(&message)).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}
