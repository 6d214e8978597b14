//! The sides of a plan, opened: XDP programs here, sockets on the threads that use them.
//!
//! ```text
//!   side ──> XDP program (one an interface) ──> seats: a queue each ──> workers, by processor
//! ```
//! Everything that is opened hangs on values that close it: when the process ends, however it ends, the interfaces are as
//! they were.

use super::limits::MAX_SIZE;
use super::neighbour::Identity;
use super::plan::{Plan, Side};
use super::scenario::PortName;
use af_xdp::{
    AttachOptions, Attachment, ChunkSize, Claims, Grant, Pool, PoolConfig, Rules, Socket, SocketOptions,
    Transmit,
};
use flumen::mempool::WorkerPool;
use flumen::packet_ring::packet_ring;
use flumen::port::memory::MemoryPort;
use flumen::port::pcap::{Capture, PcapPort, Replay, Sink};
use flumen::port::{AfXdpQueue, Port, PortQueue};
use flumen_stack::PortId;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Link header and two VLAN tags beside the MTU, in bytes.
pub(crate) const LINK_OVERHEAD: usize = 22;

/// Frames that the wire in memory holds.
const WIRE: usize = 4096;

/// Rings: a receiver that is not scheduled for 4 ms at a million packets a second loses nothing.
pub(crate) const OPTIONS: SocketOptions = SocketOptions {
    rx_ring: 4096,
    tx_ring: 2048,
    fill_ring: 4096,
    completion_ring: 2048,
    need_wakeup: true,
    tx_budget: Some(2048),
    busy_poll: None,
    transmit: Transmit::Auto,
};

/// Frames that are in no ring: bursts, and what waits for the ring.
const BESIDE_RINGS: u32 = 512;

/// What a queue is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It sends: its number among the senders.
    pub sender: Option<usize>,
    /// What arrives is counted.
    pub receives: bool,
}

/// One queue, ready to cross to its worker's thread.
#[derive(Debug)]
pub struct Seat {
    /// The name of its port.
    pub name: String,
    /// What it does.
    pub roles: Roles,
    /// Who it answers as.
    pub identity: Identity,
    /// The queue of the port.
    pub queue: u32,
    carrier: Carrier,
}

#[derive(Debug)]
enum Carrier {
    AfXdp { attachment: Arc<Attachment>, max_packet: usize },
    Pcap(Box<PcapPort>),
    Memory(Box<MemoryPort>),
}

/// What one worker gets.
#[derive(Debug, Default)]
pub struct Desk {
    /// The processor that it is pinned to.
    pub cpu: Option<usize>,
    /// Its queues.
    pub seats: Vec<Seat>,
}

/// Attaches the programs, opens files, and deals the queues out to workers. The programs stay as long as one of the
/// seats, or what is made of it, stands.
///
/// # Errors
/// One line.
pub fn open(plan: &Plan) -> Result<Vec<Desk>, String> {
    let mut desks: Vec<Desk> = Vec::new();
    let (to_rx, from_tx) = packet_ring(WIRE);
    let (to_tx, from_rx) = packet_ring(WIRE);
    let mut ends = [
        Some(MemoryPort { from_peer: from_rx, to_peer: to_rx, peer_bell: None }),
        Some(MemoryPort { from_peer: from_tx, to_peer: to_tx, peer_bell: None }),
    ];
    let vlan = plan
        .load
        .fields
        .vlan
        .as_ref()
        .and_then(|(vlan, priority)| vlan.fixed().map(|vlan| vlan as u16 | u16::from(*priority) << 13));
    let sides = [plan.tx.as_ref(), plan.rx.as_ref()];
    let [tx, rx] = sides;
    let same = matches!((tx, rx), (Some(tx), Some(rx)) if tx.port == rx.port && matches!(tx.port, PortName::Interface(_)));
    for (index, side) in sides.into_iter().enumerate() {
        let Some(side) = side else { continue };
        let sends = index == 0;
        if !sends && same {
            continue; // the sender's queues receive
        }
        let mut identity = Identity { mac: side.mac, addresses: side.addresses.clone(), vlan };
        if same && let Some(rx) = rx {
            identity.addresses.extend(rx.addresses.iter().copied());
        }
        let attachment = attach(side)?;
        // Receivers without processors of their own sit with the senders.
        let cpus = match (&side.cpus[..], tx) {
            ([], Some(tx)) => &tx.cpus,
            _ => &side.cpus,
        };
        for queue in 0..side.queues {
            let carrier = match (&side.port, &attachment) {
                (PortName::Interface(_), Some(attachment)) => Carrier::AfXdp {
                    attachment: Arc::clone(attachment),
                    max_packet: side.mtu as usize + LINK_OVERHEAD,
                },
                (PortName::Memory, _) => match ends[index].take() {
                    Some(end) => Carrier::Memory(Box::new(end)),
                    None => continue,
                },
                (PortName::Pcap(path), _) => Carrier::Pcap(Box::new(file(path, sends)?)),
                (PortName::Null, _) | (PortName::Interface(_), None) => {
                    Carrier::Pcap(Box::new(PcapPort { replay: None, sink: Sink::Discard }))
                }
            };
            let cpu = match cpus.len() {
                0 => None,
                count => cpus.get(usize::from(queue) % count).copied(),
            };
            let roles = Roles { sender: sends.then_some(usize::from(queue)), receives: !sends || same };
            let seat = Seat {
                name: side.port.to_string(),
                roles,
                identity: identity.clone(),
                queue: queue.into(),
                carrier,
            };
            match desks.iter_mut().find(|desk| desk.cpu == cpu) {
                Some(desk) => desk.seats.push(seat),
                None => desks.push(Desk { cpu, seats: vec![seat] }),
            }
        }
    }
    Ok(desks)
}

fn attach(side: &Side) -> Result<Option<Arc<Attachment>>, String> {
    let PortName::Interface(interface) = &side.port else { return Ok(None) };
    let rules = Rules { claims: Claims::WholePort, exclusions: Vec::new() };
    let options = AttachOptions {
        mode: side.mode,
        rules,
        multi_buffer: side.mtu as usize + LINK_OVERHEAD > chunk_room(),
    };
    let attachment =
        Attachment::attach(interface, &options).map_err(|error| format!("{interface}: {error}"))?;
    Ok(Some(Arc::new(attachment)))
}

/// Bytes of a packet that fit one chunk.
fn chunk_room() -> usize {
    let PoolConfig { chunk_size, headroom, .. } = PoolConfig::default();
    chunk_size.bytes() - 256 - usize::from(headroom)
}

fn file(path: &std::path::Path, write: bool) -> Result<PcapPort, String> {
    let error = |error: flumen::port::pcap::PcapError| error.to_string();
    Ok(if write {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        PcapPort { replay: None, sink: Sink::File(Box::new(Capture::create(path, epoch).map_err(error)?)) }
    } else {
        PcapPort { replay: Some(Replay::open(path, false).map_err(error)?), sink: Sink::Discard }
    })
}

/// Memory for all the rings of these seats, and the longest frame beside them.
///
/// # Errors
/// No memory.
pub fn pool(seats: &[Seat]) -> Result<WorkerPool, String> {
    let rings = OPTIONS.rx_ring + OPTIONS.fill_ring + OPTIONS.tx_ring + OPTIONS.completion_ring;
    let sockets = seats.iter().filter(|seat| matches!(seat.carrier, Carrier::AfXdp { .. })).count() as u32;
    // A chain of the longest frame takes so many chunks.
    let chain = (usize::from(MAX_SIZE) / chunk_room() + 1) as u32;
    let config = PoolConfig {
        chunks: sockets * rings + BESIDE_RINGS * chain * seats.len() as u32,
        chunk_size: ChunkSize::B2048,
        ..PoolConfig::default()
    };
    Pool::new(&config).map(WorkerPool).map_err(|error| error.to_string())
}

/// A queue that is open, and what must stand as long as it is.
#[derive(Debug)]
pub struct Opened {
    /// The queue.
    pub queue: PortQueue,
    /// What its socket got.
    pub grant: Option<Grant>,
    /// The program that feeds it; the last owner takes it off the interface.
    pub attachment: Option<Arc<Attachment>>,
}

/// Opens a seat on the thread that will use it, as port `index` of that thread.
///
/// # Errors
/// One line.
pub fn sit(seat: Seat, index: usize, pool: &WorkerPool) -> Result<Opened, String> {
    let Some(port) = PortId::new(index) else {
        return Err(format!(
            "one worker polls at most {} queues: give more `cpus`",
            flumen_stack::limits::MAX_PORTS
        ));
    };
    let (carrier, grant, attachment) = match seat.carrier {
        Carrier::Pcap(port) => (Port::Pcap(port), None, None),
        Carrier::Memory(port) => (Port::Memory(port), None, None),
        Carrier::AfXdp { attachment, max_packet } => {
            let mut socket = Socket::open(&pool.0, &attachment, seat.queue, &OPTIONS)
                .map_err(|error| format!("{}: {error}", seat.name))?;
            socket.set_max_packet(max_packet);
            let grant = socket.grant().clone();
            let queue = AfXdpQueue { socket, busy_poll: false, kick_again: false, gone: false };
            (Port::AfXdp(Box::new(queue)), Some(grant), Some(attachment))
        }
    };
    Ok(Opened { queue: PortQueue { port, queue: seat.queue, carrier }, grant, attachment })
}
