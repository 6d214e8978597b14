//! The product's worker with no card in the way: two ports made of files, where the first replays packets
//! from memory without end and the second discards what it is given. Everything between is the router that
//! `flumen run` starts: [`Worker::turn`], the stack, the pool, the stop-watch, housekeeping.
//!
//! ```text
//!   packets in memory ─copy─> frame ─> stack: full router ─> transmit queue ─> frame back to the pool
//! ```
//! The copy stands for the DMA or the copy that a card or the kernel makes. It is counted as ours, and so is
//! what it costs to fetch the packets of a long replay from memory.

use crate::table::{GATEWAYS, gateway4, gateway6};
use crate::traffic::{FRAME, ROUTER_IN, ROUTER_OUT};
use core::net::IpAddr;
use core::sync::atomic::AtomicBool;
use flumen::handoff::Doorbell;
use flumen::mempool::{PoolFrame, WorkerPool};
use flumen::metrics::{Metrics, Runtime, StageClock};
use flumen::port::pcap::{PcapPort, Replay, Sink};
use flumen::port::{Port, PortQueue};
use flumen::service::routes::connected;
use flumen::worker::{Clock, Idle, Sharing, TURNS_PER_HOUSEKEEPING, Way, Worker};
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::limits::BURST;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Rib, RouteReader};
use flumen_stack::{
    Burst, Counter, Egress, Instant, Interface, Interfaces, MacAddr, PortId, Stack, StackConfig,
};
use ipnet::IpNet;
use std::sync::Arc;

/// Whatever keeps a measurement from being made; it is shown, and that is the end.
pub type Error = Box<dyn std::error::Error>;

/// Frames of the worker's pool, as the issue's memory target has them.
pub const FRAMES: u32 = 16 * 1024;

/// Entries of each route cache, the product's default.
pub const ROUTE_CACHE: usize = 8192;

/// The port that packets come in by.
pub fn port_in() -> PortId {
    port(0)
}

/// The port that they leave by.
pub fn port_out() -> PortId {
    port(1)
}

fn port(index: usize) -> PortId {
    PortId::new(index).expect("the stack has more than two ports")
}

/// The two interfaces, with the addresses of `config/bench.toml`.
pub fn interfaces() -> Vec<Interface> {
    let make = |id: PortId, name: &str, mac: MacAddr, number: u8| {
        let mut interface = Interface::new(id, name, mac, 1500);
        let v4 = IpNet::new([10, 0, number, 1].into(), 24);
        let v6 = IpNet::new([0xfd00, u16::from(number), 0, 0, 0, 0, 0, 1].into(), 64);
        for net in [v4, v6] {
            match net.expect("a prefix length of its family") {
                IpNet::V4(net) => interface.ipv4.push(net),
                IpNet::V6(net) => interface.ipv6.push(net),
            }
        }
        interface
    };
    vec![make(port_in(), "in", ROUTER_IN, 1), make(port_out(), "out", ROUTER_OUT, 2)]
}

/// Puts the routes that follow from the interfaces' addresses into a table.
pub fn install_connected(rib: &mut Rib) -> Result<(), Error> {
    for interface in interfaces() {
        for route in connected(&interface) {
            rib.replace(&route)?;
        }
    }
    Ok(())
}

/// A stack with both interfaces and a static neighbour for every gateway.
pub fn stack<F: flumen_stack::Frame>(routes: RouteReader, route_cache: usize) -> Result<Stack<F>, Error> {
    let config = StackConfig {
        interfaces: Interfaces::new(interfaces()).ok_or("too many ports")?,
        neighbours: NeighbourConfig::default(),
        route_cache,
        icmp: IcmpLimits::default(),
        echo: (1000, 1000),
        sockets: flumen_stack::SocketLimits::default(),
        tcp: flumen_stack::tcp::sockets::TcpConfig::default(),
        frame_room: 1664,
        reassembly: flumen_stack::ip::reassembly::ReassemblyConfig::default(),
        multicast: Default::default(),
        routing: Default::default(),
        seed: [1, 2, 3, 4],
    };
    let mut stack = Stack::new(config, routes)?;
    for number in 0..GATEWAYS {
        let mac = MacAddr([2, 0, 0, 0, 1, number]);
        for address in [IpAddr::from(gateway4(number)), IpAddr::from(gateway6(number))] {
            stack
                .neighbours
                .add_static(port_out(), address, mac, Instant::ZERO)
                .map_err(|reason| reason.describe())?;
        }
    }
    Ok(stack)
}

/// A worker that routes `packets`, again and again, by the routes of `rib`.
pub fn worker(rib: &Rib, packets: &[[u8; FRAME]], route_cache: usize) -> Result<Worker, Error> {
    worker_of(rib.reader()?, packets, route_cache)
}

/// The same by routes that are read elsewhere: a worker belongs to the thread that made it, and the table to the
/// thread that changes it.
pub fn worker_of(routes: RouteReader, packets: &[[u8; FRAME]], route_cache: usize) -> Result<Worker, Error> {
    let pool = af_xdp::Pool::new(&af_xdp::PoolConfig { chunks: FRAMES, ..af_xdp::PoolConfig::default() })?;
    let replay = Replay::of_packets(packets.iter().map(|packet| &packet[..]), true);
    let queue = |port, replay| PortQueue {
        port,
        queue: 0,
        carrier: Port::Pcap(Box::new(PcapPort { replay, sink: Sink::Discard })),
    };
    Ok(Worker {
        number: 0,
        stack: stack(routes, route_cache)?,
        queues: vec![queue(port_in(), Some(replay)), queue(port_out(), None)],
        egress: Egress::new([1024; 2]),
        pool: WorkerPool(pool),
        ways: vec![Way::Own(0), Way::Own(1)],
        to_others: vec![None],
        from_others: Vec::new(),
        bell: Doorbell::new()?,
        commands: rtrb::RingBuffer::new(1).1,
        reports: rtrb::RingBuffer::new(1).0,
        notices: rtrb::RingBuffer::new(1).0,
        martians: rtrb::RingBuffer::new(1).0,
        metrics: Arc::new(Metrics::default()),
        stop: Arc::new(AtomicBool::new(false)),
        clock: Clock(std::time::Instant::now()),
        idle: Idle::Spin,
        burst: BURST,
        sharing: Sharing { by_flow: 0, fragments: 0, groups: false, key: [1, 2] },
        services: flumen::builtin::Services::default(),
        sessions: None,
        runtime: Runtime::default(),
        probe: StageClock::default(),
    })
}

/// Lets a worker route at least `packets` packets as [`Worker::run`] would; returns how many they were.
/// It fails when one of them was not forwarded.
pub fn route(worker: &mut Worker, packets: u64) -> Result<u64, Error> {
    let forwarded = |worker: &Worker| {
        let count = |counter| worker.stack.counters.get(counter);
        count(Counter::Ipv4Forwarded) + count(Counter::Ipv6Forwarded)
    };
    let (before, received_before) = (forwarded(worker), worker.runtime.packets);
    while worker.runtime.packets - received_before < packets {
        worker.turn();
        if worker.runtime.turns.is_multiple_of(TURNS_PER_HOUSEKEEPING) {
            worker.housekeeping();
        }
    }
    let received = worker.runtime.packets - received_before;
    let (passed, dropped) = (forwarded(worker) - before, worker.stack.counters.dropped_in_all());
    if passed != received || dropped != 0 {
        return Err(format!("of {received} packets only {passed} were forwarded; {dropped} dropped").into());
    }
    Ok(received)
}

/// What the ports cost alone: the same worker's queues, pool and transmit queue, without its stack.
pub fn pass_through(worker: &mut Worker, packets: u64) -> u64 {
    let mut burst: Burst<PoolFrame> = Burst::new();
    let mut passed = 0;
    let out = port_out();
    while passed < packets {
        let now = worker.clock.now();
        let [queue_in, queue_out] = worker.queues.as_mut_slice() else { return passed };
        let counters = &mut worker.stack.counters;
        queue_in.receive(&mut worker.pool, &mut burst, worker.burst, counters);
        for frame in burst.drain(..) {
            worker.egress.forward(out, frame, counters);
        }
        if let Some(waiting) = worker.egress.queue(out) {
            passed += queue_out.transmit(waiting, now, counters) as u64;
        }
    }
    passed
}

/// What receiving costs alone: each packet is dropped as soon as it is a frame.
pub fn receive_and_drop(worker: &mut Worker, packets: u64) -> u64 {
    let mut burst: Burst<PoolFrame> = Burst::new();
    let mut received = 0;
    while received < packets {
        let Some(queue) = worker.queues.first_mut() else { return received };
        queue.receive(&mut worker.pool, &mut burst, worker.burst, &mut worker.stack.counters);
        received += burst.len() as u64;
        burst.clear();
    }
    received
}
