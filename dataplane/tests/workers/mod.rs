//! Workers that a test turns by hand, with ports whose other ends the test holds.
//!
//! ```text
//!   lan (0)  10.0.1.1/24  fd00:1::1/64      192.0.2.0/24     via 10.0.2.2
//!   wan (1)  10.0.2.1/24  fd00:2::1/64      198.51.100.0/24  via 10.0.2.2 and 10.0.2.3
//! ```
#![allow(dead_code)] // each test takes what it needs
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use af_xdp::{Pool, PoolConfig};
use flumen::handoff::{Doorbell, Receiver, Sender};
use flumen::mempool::WorkerPool;
use flumen::metrics::{Metrics, Runtime, StageClock};
use flumen::packet_ring::{PacketReader, PacketWriter, packet_ring};
use flumen::port::memory::MemoryPort;
use flumen::port::pcap::{PcapPort, Replay, Sink};
use flumen::port::{Port, PortQueue};
use flumen::report::Report;
use flumen::worker::{Clock, Command, Idle, Sharing, Way, Worker};
use flumen_stack::frame::heap::HeapPool;
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Path, Rib, RibConfig, Route, Target};
use flumen_stack::{Egress, Frame, Interface, Interfaces, MacAddr, PortId, Stack, StackConfig, checksum};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

pub const LAN: usize = 0;
pub const WAN: usize = 1;
/// Keys of the hash that shares flows out.
pub const KEY: [u64; 2] = [0x1357_9bdf_0246_8ace, 0x0f1e_2d3c_4b5a_6978];

pub fn port(index: usize) -> PortId {
    PortId::new(index).unwrap()
}

pub fn our_mac(index: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, index as u8 + 1, 1])
}

pub fn station(index: usize, host: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, index as u8 + 1, host])
}

pub fn rib() -> Rib {
    let config = RibConfig {
        max_routes4: 1024,
        max_routes6: 1024,
        groups4: 64,
        nodes6: 1 << 12,
        leaves6: 1 << 14,
        next_hops: 256,
        multipath: 16,
        ..RibConfig::default()
    };
    let mut rib = Rib::new(config).unwrap();
    let member = |via: &str| Path { port: port(WAN), via: Some(via.parse().unwrap()), weight: 1 };
    let mut add = |prefix: String, target| {
        let route = Route::new(prefix.parse().unwrap(), target);
        rib.add(&route).unwrap();
    };
    for (index, net) in [(LAN, 1), (WAN, 2)] {
        add(format!("10.0.{net}.0/24"), Target::Connected { port: port(index) });
        add(format!("fd00:{net}::/64"), Target::Connected { port: port(index) });
        add(format!("10.0.{net}.1/32"), Target::Local);
        add(format!("fd00:{net}::1/128"), Target::Local);
    }
    let via = |via: &str| Target::Gateway { port: port(WAN), via: via.parse().unwrap() };
    add("192.0.2.0/24".to_owned(), via("10.0.2.2"));
    add("2001:db8::/32".to_owned(), via("fd00:2::2"));
    add("198.51.100.0/24".to_owned(), Target::Multipath(vec![member("10.0.2.2"), member("10.0.2.3")]));
    rib
}

pub fn stack(rib: &Rib, neighbours: NeighbourConfig) -> Stack<flumen::mempool::PoolFrame> {
    let interfaces = [(LAN, 1), (WAN, 2)]
        .map(|(index, net)| {
            let mut one = Interface::new(port(index), ["lan", "wan"][index], our_mac(index), 1500);
            one.ipv4.push(format!("10.0.{net}.1/24").parse().unwrap());
            one.ipv6.push(format!("fd00:{net}::1/64").parse().unwrap());
            one.ipv6.push(format!("fe80::{net}/64").parse().unwrap());
            one
        })
        .to_vec();
    let config = StackConfig {
        interfaces: Interfaces::new(interfaces).unwrap(),
        neighbours,
        route_cache: 256,
        icmp: IcmpLimits::default(),
        echo: (10_000, 1000),
        sockets: flumen_stack::SocketLimits::default(),
        tcp: flumen_stack::tcp::sockets::TcpConfig::default(),
        frame_room: 1664,
        reassembly: flumen_stack::ip::reassembly::ReassemblyConfig::default(),
        multicast: Default::default(),
        routing: Default::default(),
        seed: [1, 2, 3, 4],
    };
    Stack::new(config, rib.reader().unwrap()).unwrap()
}

/// The test's end of a wire.
pub struct Peer {
    pub to: PacketWriter,
    pub from: PacketReader,
    heap: HeapPool,
    pool: WorkerPool,
}

impl Peer {
    /// Puts a packet on the wire; false when it is full.
    pub fn send(&mut self, packet: &[u8]) -> bool {
        let frame = self.heap.frame(packet).unwrap();
        self.to.write(0, &frame).is_ok()
    }

    /// All that is on the wire.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(read) = self.from.read(&mut self.pool) {
            let (_, frame) = read.unwrap();
            let segments = (0..).map_while(|index| frame.segment(index));
            all.push(segments.flatten().copied().collect());
        }
        all
    }
}

fn pool(chunks: u32) -> WorkerPool {
    WorkerPool(Pool::new(&PoolConfig { chunks, ..PoolConfig::default() }).unwrap())
}

/// A wire with room for `packets`, as a queue of a port and the test's end.
pub fn wire(index: usize, packets: usize) -> (PortQueue, Peer) {
    let (to_peer, from) = packet_ring(packets);
    let (to, from_peer) = packet_ring(packets);
    let carrier = Port::Memory(Box::new(MemoryPort { from_peer, to_peer, peer_bell: None }));
    let peer = Peer { to, from, heap: HeapPool::new(64, 4096), pool: pool(64) };
    (PortQueue { port: port(index), queue: 0, carrier }, peer)
}

/// A port that replays packets, and discards or writes what goes out.
pub fn files(index: usize, replay: Option<Replay>, sink: Sink) -> PortQueue {
    PortQueue { port: port(index), queue: 0, carrier: Port::Pcap(Box::new(PcapPort { replay, sink })) }
}

/// A worker and the control side's ends of its rings.
pub struct Rig {
    pub worker: Worker,
    pub commands: rtrb::Producer<Command>,
    pub reports: rtrb::Consumer<Box<Report>>,
}

/// What a worker is made of.
pub struct Parts {
    pub number: usize,
    pub queues: Vec<PortQueue>,
    pub ways: Vec<Way>,
    pub to_others: Vec<Option<Sender>>,
    pub from_others: Vec<Receiver>,
    pub bell: Arc<Doorbell>,
    /// Ports whose packets are shared out.
    pub by_flow: u64,
    pub fragments: u64,
    pub groups: bool,
    pub neighbours: NeighbourConfig,
}

impl Parts {
    /// A worker that is alone and has both ports.
    pub fn alone(queues: Vec<PortQueue>) -> Parts {
        Parts {
            number: 0,
            queues,
            ways: vec![Way::Own(0), Way::Own(1)],
            to_others: vec![None],
            from_others: Vec::new(),
            bell: Doorbell::new().unwrap(),
            by_flow: 0,
            fragments: 0,
            groups: false,
            neighbours: NeighbourConfig::default(),
        }
    }

    pub fn build(self, rib: &Rib) -> Rig {
        let (commands, commands_out) = rtrb::RingBuffer::new(16);
        let (reports_in, reports) = rtrb::RingBuffer::new(16);
        let worker = Worker {
            number: self.number,
            stack: stack(rib, self.neighbours),
            queues: self.queues,
            egress: Egress::new([256; 2]),
            pool: pool(2048),
            ways: self.ways,
            to_others: self.to_others,
            from_others: self.from_others,
            bell: self.bell,
            commands: commands_out,
            reports: reports_in,
            notices: rtrb::RingBuffer::new(16).0,
            martians: rtrb::RingBuffer::new(1).0,
            metrics: Arc::new(Metrics::default()),
            stop: Arc::default(),
            clock: Clock(std::time::Instant::now()),
            idle: Idle::Adaptive(Duration::from_millis(1)),
            burst: 64,
            sharing: Sharing {
                by_flow: self.by_flow,
                fragments: self.fragments,
                groups: self.groups,
                key: KEY,
            },
            services: flumen::builtin::Services::default(),
            sessions: None,
            runtime: Runtime::default(),
            probe: StageClock::default(),
        };
        Rig { worker, commands, reports }
    }
}

impl Rig {
    /// Makes a station known for ever.
    pub fn introduce(&mut self, index: usize, address: &str, host: u8) {
        let (address, now) = (address.parse().unwrap(), self.worker.clock.now());
        self.worker.stack.neighbours.add_static(port(index), address, station(index, host), now).unwrap();
    }

    #[track_caller]
    pub fn assert_all_frames_are_free(&self) {
        let account = self.worker.pool.0.account();
        assert_eq!((account.free, account.held), (account.size, 0), "{account:?}");
    }
}

/// A UDP packet in a frame from station .2 of the lan to the router.
pub fn udp(source: &str, destination: &str, ports: [u16; 2], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
    let len = (8 + payload.len()) as u16;
    let mut datagram = Vec::new();
    for half in [ports[0], ports[1], len, 0] {
        datagram.extend(half.to_be_bytes());
    }
    datagram.extend(payload);
    let pseudo = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => checksum::pseudo_ipv4(from, to, 17, len),
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_ipv6(&from, &to, 17, u32::from(len)),
        _ => panic!("one family"),
    };
    let sum = pseudo.plus(checksum::sum(&datagram)).checksum_nonzero();
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(source, destination, 17, ttl, &datagram)
}

/// A ping in a frame from station .2 of the lan to the router.
pub fn ping(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(source.into(), destination.into(), 1, 64, &message)
}

fn ip(source: IpAddr, destination: IpAddr, protocol: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ethertype = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (20 + payload.len() as u16).to_be_bytes();
            packet.extend([0x45, 0, high, low, 0, 1, 0, 0, ttl, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = checksum::sum(&packet).checksum();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            [8, 0]
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            packet.extend([0x60, 0, 0, 0, high, low, protocol, ttl]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            [0x86, 0xdd]
        }
        _ => panic!("one family"),
    };
    packet.extend(payload);
    [&our_mac(LAN).0[..], &station(LAN, 2).0, &ethertype, &packet].concat()
}

/// The answer of `mac` to an ARP request; `None` for anything else.
pub fn arp_answer(question: &[u8], mac: MacAddr) -> Option<Vec<u8>> {
    if question.get(12..14)? != [8, 6] || question.get(21) != Some(&1) {
        return None;
    }
    let mut answer = question.to_vec();
    answer[..6].copy_from_slice(&question[6..12]);
    answer[6..12].copy_from_slice(&mac.0);
    answer[21] = 2;
    answer[22..28].copy_from_slice(&mac.0);
    answer[28..32].copy_from_slice(&question[38..42]);
    answer[32..38].copy_from_slice(&question[22..28]);
    answer[38..42].copy_from_slice(&question[28..32]);
    Some(answer)
}
