//! The wire between two interfaces of this namespace: AF_XDP at both, one thread.

use super::line::{Direction, Line};
use crate::pktgen::open::{LINK_OVERHEAD, OPTIONS};
use crate::pktgen::plan::link_is_up;
use af_xdp::nic::Interface;
use af_xdp::{AttachOptions, Attachment, ChunkSize, Claims, Mode, Pool, PoolConfig, Rules, Socket};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use flumen::mempool::{PoolFrame, WorkerPool};
use flumen::port::{AfXdpQueue, Port, PortQueue};
use flumen::worker::Clock;
use flumen_stack::limits::BURST;
use flumen_stack::sim::Misbehaviour;
use flumen_stack::{Burst, Counters, Egress, Frame, FramePool, Instant, PortId};
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use std::sync::Arc;

/// Frames that wait for a port whose ring is full; the rest stay on the wire.
const WAITING: usize = 4 * BURST;

/// A sleep is no longer than this, so that a signal that came just before it is not overslept.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// What the wire is like, and between what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The two interfaces.
    pub ends: [String; 2],
    /// How AF_XDP is to run at both.
    pub mode: Mode,
    /// What happens to frames.
    pub misbehaviour: Misbehaviour,
    /// For chance.
    pub seed: u64,
    /// How long; for ever without.
    pub duration: Option<Duration>,
}

/// What one end saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// The interface.
    pub interface: String,
    /// What its socket got.
    pub socket: String,
    /// What became of the frames that came in here.
    #[serde(flatten)]
    pub direction: Direction,
    /// Frames that the kernel dropped in front of us: we were too slow, and the losses are not those that were asked for.
    pub overrun: u64,
    /// Frames that came out here and that the interface did not take.
    pub unsent: u64,
}

/// Lets frames through until `stop`, or until the time is over. `ready` is called when both ends are open.
///
/// # Errors
/// One line: an interface that cannot be opened, or that went away.
pub fn run(
    settings: &Settings,
    stop: &AtomicBool,
    ready: impl FnOnce(&[End; 2]),
) -> Result<[End; 2], String> {
    let [left, right] = &settings.ends;
    if left == right {
        return Err(format!("a wire has two ends: `--left` and `--right` are both {left}"));
    }
    let attached = [attach(left, settings.mode)?, attach(right, settings.mode)?];
    let rings = OPTIONS.rx_ring + OPTIONS.fill_ring + OPTIONS.tx_ring + OPTIONS.completion_ring;
    let queues: u32 = attached.iter().map(|end| end.queues).sum();
    let longest = attached.iter().map(|end| end.max_packet).max().unwrap_or_default();
    let config = PoolConfig { chunk_size: ChunkSize::B2048, ..PoolConfig::default() };
    let chain = longest.div_ceil(room(&config)) as u32;
    let config = PoolConfig {
        chunks: queues * rings + 2 * WAITING as u32 * chain + af_xdp::MAX_CHAIN as u32,
        ..config
    };
    let mut pool = WorkerPool(Pool::new(&config).map_err(|error| error.to_string())?);
    let mut places = Vec::new();
    let mut ends = [left, right].map(|interface| End {
        interface: interface.clone(),
        socket: String::new(),
        direction: Direction::default(),
        overrun: 0,
        unsent: 0,
    });
    for (end, attached) in attached.iter().enumerate() {
        for queue in 0..attached.queues {
            let port = PortId::new(end).ok_or("no such port")?;
            let mut socket = Socket::open(&pool.0, &attached.attachment, queue, &OPTIONS)
                .map_err(|error| format!("{}: {error}", settings.ends[end]))?;
            socket.set_max_packet(attached.max_packet);
            ends[end].socket = socket.grant().to_string();
            let queue_of_port = AfXdpQueue { socket, busy_poll: false, kick_again: false, gone: false };
            let mut queue = PortQueue { port, queue, carrier: Port::AfXdp(Box::new(queue_of_port)) };
            queue.recycle();
            places.push((end, queue));
        }
    }
    ready(&ends);
    let mut wire = Running {
        line: Line::new(settings.misbehaviour, settings.seed),
        places,
        egress: Egress::new([WAITING; 2]),
        counters: Counters::default(),
    };
    let clock = Clock(std::time::Instant::now());
    let until = settings.duration.map_or(Instant::NEVER, |duration| clock.now() + duration);
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        if now >= until {
            break;
        }
        if !wire.turn(now, &mut pool) {
            wire.sleep(wire.line.next().min(until).since(clock.now()).min(LONGEST_SLEEP));
        }
        if let Some((end, _)) = wire.places.iter().find(|(_, queue)| is_gone(queue)) {
            return Err(format!("the interface {} is gone", settings.ends[*end]));
        }
    }
    for (index, end) in ends.iter_mut().enumerate() {
        end.direction = wire.line.directions[index];
        end.unsent = PortId::new(index).map_or(0, |port| wire.counters.port(port).tx_drops);
    }
    for (end, queue) in &wire.places {
        if let Port::AfXdp(queue) = &queue.carrier
            && let Ok(statistics) = queue.socket.statistics()
        {
            ends[*end].overrun += statistics.rx_dropped + statistics.rx_ring_full;
        }
    }
    Ok(ends)
}

/// One end, with its program.
struct Attached {
    attachment: Arc<Attachment>,
    queues: u32,
    max_packet: usize,
}

fn attach(interface: &str, mode: Mode) -> Result<Attached, String> {
    let nic = Interface::open(interface).map_err(|error| error.to_string())?;
    if !link_is_up(&nic)? {
        return Err(format!("{interface} is down, or has no carrier: `ip link set {interface} up`"));
    }
    let max_packet = nic.mtu as usize + LINK_OVERHEAD;
    let options = AttachOptions {
        mode,
        rules: Rules { claims: Claims::WholePort, exclusions: Vec::new() },
        multi_buffer: max_packet
            > room(&PoolConfig { chunk_size: ChunkSize::B2048, ..PoolConfig::default() }),
    };
    let attachment =
        Attachment::attach(interface, &options).map_err(|error| format!("{interface}: {error}"))?;
    let queues = nic.queues().map_err(|error| error.to_string())?;
    Ok(Attached { attachment: Arc::new(attachment), queues, max_packet })
}

/// Bytes of a packet that fit one chunk, behind the kernel's room and ours.
fn room(config: &PoolConfig) -> usize {
    config.chunk_size.bytes() - 256 - usize::from(config.headroom)
}

fn is_gone(queue: &PortQueue) -> bool {
    matches!(&queue.carrier, Port::AfXdp(queue) if queue.gone)
}

struct Running {
    line: Line,
    places: Vec<(usize, PortQueue)>,
    egress: Egress<PoolFrame>,
    counters: Counters,
}

impl Running {
    /// Takes what came in, lets out what has arrived; true when there was anything.
    fn turn(&mut self, now: Instant, pool: &mut WorkerPool) -> bool {
        let mut busy = false;
        let mut burst: Burst<PoolFrame> = Burst::new();
        for (end, queue) in &mut self.places {
            queue.receive(pool, &mut burst, BURST, &mut self.counters);
            busy |= !burst.is_empty();
            for frame in burst.drain(..) {
                self.line.carry(bytes(&frame), *end, now);
            }
        }
        while self.has_room(pool)
            && let Some((to, bytes)) = self.line.arrive(now)
        {
            busy = true;
            // The room was looked at: neither the pool nor the queue refuses.
            if let (Some(frame), Some(port)) = (pool.frame(&bytes), PortId::new(to)) {
                self.egress.send(port, frame, &mut self.counters);
            }
        }
        let mut done = [false; 2];
        for (end, queue) in &mut self.places {
            // All leaves by the first queue of an end: order is kept.
            if !core::mem::replace(&mut done[*end], true)
                && let Some(waiting) = self.egress.queue(queue.port)
                && (!waiting.is_empty() || queue.wants_kick())
            {
                busy |= queue.transmit(waiting, now, &mut self.counters) > 0;
            }
            queue.recycle();
        }
        busy
    }

    /// Room for one more frame of any length, at either end.
    fn has_room(&mut self, pool: &WorkerPool) -> bool {
        let queues = [0, 1].into_iter().filter_map(PortId::new);
        pool.available() >= af_xdp::MAX_CHAIN
            && queues
                .into_iter()
                .all(|port| self.egress.queue(port).is_some_and(|queue| queue.len() < queue.capacity()))
    }

    fn sleep(&self, longest: Duration) {
        let timeout = rustix::time::Timespec {
            tv_sec: longest.as_secs() as i64,
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let descriptors = self.places.iter().filter_map(|(_, queue)| queue.wait_on());
        let mut waits: Vec<PollFd<'_>> =
            descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).collect();
        // A signal ends the sleep early, which does no harm.
        let _ = rustix::event::poll(&mut waits, Some(&timeout));
    }
}

fn bytes(frame: &PoolFrame) -> Vec<u8> {
    let mut all = Vec::with_capacity(frame.packet_len());
    let mut index = 0;
    while let Some(segment) = frame.segment(index) {
        all.extend_from_slice(segment);
        index += 1;
    }
    all
}
