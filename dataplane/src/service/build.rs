//! A worker, built on its own thread: the pool and the sockets belong to the thread that uses them, and the
//! memory lies where that thread runs.

use super::{StartError, transport};
use crate::builtin::{Plan, Services};
use crate::config::layout::CoreLayout;
use crate::config::model::{self, Config, StaticNeighbour};
use crate::control::cpu_time;
use crate::handoff::{Doorbell, Receiver, Sender};
use crate::mempool::WorkerPool;
use crate::metrics::{Metrics, Runtime, StageClock};
use crate::port::{AfXdpQueue, Port, PortQueue};
use crate::report::Report;
use crate::service::ports::{Carrier, PortSeat};
use crate::service::programs::SessionSeat;
use crate::session::Sessions;
use crate::worker::{Clock, Command, Idle, Sharing, Way, Worker};
use af_xdp::{ChunkSize, Grant, HugePages, Pool, PoolConfig, Socket};
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use flumen_stack::icmp::limit::IcmpLimits;
use flumen_stack::ip::martian::Martian;
use flumen_stack::ip::policy::Routing;
use flumen_stack::ip::reassembly::ReassemblyConfig;
use flumen_stack::ipv6::autoconf::Notice;
use flumen_stack::limits::BURST;
use flumen_stack::multicast::MulticastConfig;
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::RouteReader;
use flumen_stack::socket::homes::Home;
use flumen_stack::{Egress, Instant, Interface, Interfaces, PortId, Stack, StackConfig};
use std::sync::{Arc, mpsc};

impl From<model::Idle> for Idle {
    fn from(idle: model::Idle) -> Idle {
        match idle {
            model::Idle::Spin => Idle::Spin,
            model::Idle::Adaptive { max_latency } => Idle::Adaptive(max_latency),
        }
    }
}

/// Bounds, rates and secrets of one worker's stack; its interfaces come later, when the sockets are known.
pub fn stack_settings(config: &Config, seed: &[u64; 6], number: usize) -> StackConfig {
    let workers = config.cores.len();
    let limits = &config.limits;
    let defaults = NeighbourConfig::default();
    StackConfig {
        interfaces: Interfaces::default(),
        neighbours: NeighbourConfig {
            max_entries: limits.neighbours,
            max_pending_per_entry: limits.pending_per_neighbour,
            max_pending_total: limits.pending,
            share_facts: workers > 1,
            // The rate is the port's, and every worker asks for itself.
            solicit_rate: (defaults.solicit_rate / workers.max(1) as u32).max(1),
            ..defaults
        },
        route_cache: limits.route_cache,
        icmp: IcmpLimits {
            per_second: config.icmp.error_rate,
            burst: config.icmp.error_burst,
            class_per_second: config.icmp.class_rate,
            class_burst: config.icmp.class_burst,
            ..IcmpLimits::default()
        },
        echo: (config.icmp.echo_rate, config.icmp.echo_burst),
        sockets: transport::socket_limits(config),
        tcp: transport::tcp_config(config),
        frame_room: 0, // known with the plan: see Seat::build
        reassembly: ReassemblyConfig {
            memory: limits.reassembly_memory,
            lifetime_ipv4: Duration::from_secs(limits.reassembly_seconds_ipv4),
            lifetime_ipv6: Duration::from_secs(limits.reassembly_seconds_ipv6),
        },
        routing: Routing {
            rules: config.rules.clone(),
            hash: config.routing.multipath_hash,
            log_martians: config.log.martians,
        },
        multicast: MulticastConfig {
            downstream: config.multicast.downstream.clone(),
            upstream: config.multicast.upstream,
            routes: config.multicast.routes.clone(),
            querier: config.multicast.querier,
            speaks: number == 0,
        },
        seed: [seed[0], seed[1], seed[2] ^ number as u64, seed[3] ^ number as u64],
    }
}

/// Bytes of a chunk in front of a packet that we originate: the kernel's 256 and the pool's own headroom.
const HEADROOM: u16 = 384;
/// Milliseconds since midnight UT, as IPv4 timestamps have them. Read once: they tell hops apart, not the time.
fn milliseconds_of_the_day() -> u32 {
    const DAY: u128 = 86_400_000;
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since_1970.as_millis() % DAY) as u32
}

/// What a worker starts with; everything in it may cross to the worker's thread.
#[derive(Debug)]
pub struct Seat {
    /// The worker's number.
    pub number: usize,
    /// Its processor.
    pub cpu: usize,
    /// Its queues and frames.
    pub plan: CoreLayout,
    /// Its pool lies on 2 MiB pages.
    pub hugepages: bool,
    /// What to do with nothing to do.
    pub idle: Idle,
    /// Packets worked on together.
    pub burst: usize,
    /// Its ports, in the order of `plan.queues`.
    pub ports: Vec<PortSeat>,
    /// How each port is reached; `Own` counts in `ports`.
    pub ways: Vec<Way>,
    /// All interfaces.
    pub interfaces: Vec<Interface>,
    /// Frames that may wait for each port, by port.
    pub tx_queues: Vec<usize>,
    /// The stack's settings.
    pub stack: StackConfig,
    /// The services.
    pub services: Arc<[Plan]>,
    /// What the sockets of programs need.
    pub sessions: Option<SessionSeat>,
    /// Static neighbours.
    pub neighbours: Vec<StaticNeighbour>,
    /// Its view of the routes.
    pub routes: RouteReader,
    /// Rings to the other workers.
    pub to_others: Vec<Option<Sender>>,
    /// Rings from the other workers.
    pub from_others: Vec<Receiver>,
    /// Its doorbell.
    pub bell: Arc<Doorbell>,
    /// What it is asked.
    pub commands: rtrb::Consumer<Command>,
    /// What it answers.
    pub reports: rtrb::Producer<Box<Report>>,
    /// What it tells unasked.
    pub notices: rtrb::Producer<Notice>,
    /// Its notes of martian packets.
    pub martians: rtrb::Producer<Martian>,
    /// Where it publishes.
    pub metrics: Arc<Metrics>,
    /// The end, when set.
    pub stop: Arc<AtomicBool>,
    /// The clock.
    pub clock: Clock,
    /// How arriving packets are shared out.
    pub sharing: Sharing,
    /// Which local ports are its own, when there are other workers.
    pub home: Option<Home>,
    /// Ports for which this worker probes, announces and advertises; a bit for each.
    pub speaks_for: u64,
}

/// A worker is ready to run.
#[derive(Debug)]
pub struct Ready {
    /// What its sockets were asked for and got.
    pub grants: Vec<(PortId, Grant)>,
    /// The thread that it runs on.
    pub thread_id: Option<i32>,
}

impl Seat {
    /// Builds the worker on this thread, says that it is ready, and runs it until it is told to stop.
    pub fn serve(self, ready: &mpsc::SyncSender<Result<Ready, StartError>>) {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: self.cpu }) {
            let _ = ready.send(Err(StartError::Pin { cpu: self.cpu }));
            return;
        }
        match self.build() {
            Ok((mut worker, grants)) => {
                // Nobody listens any more when another worker failed; the stop flag is set then, or will be.
                let _ = ready.send(Ok(Ready { grants, thread_id: cpu_time::this_thread() }));
                worker.run();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    }

    pub(super) fn build(self) -> Result<(Worker, Vec<(PortId, Grant)>), StartError> {
        let pool = Pool::new(&PoolConfig {
            chunks: u32::try_from(self.plan.frames).unwrap_or(u32::MAX),
            chunk_size: if self.plan.chunk == 2048 { ChunkSize::B2048 } else { ChunkSize::B4096 },
            huge_pages: if self.hugepages { HugePages::Hugetlb } else { HugePages::Transparent },
            ..PoolConfig::default()
        })
        .map_err(|source| StartError::Pool { cpu: self.cpu, source })?;
        let mut queues = Vec::with_capacity(self.ports.len());
        let mut grants = Vec::new();
        let mut interfaces = self.interfaces;
        for seat in self.ports {
            let tx_checksum = seat.tx_checksum;
            let (queue, grant) = open(seat, &pool)?;
            if let Some(grant) = grant {
                if let Some(interface) = interfaces.get_mut(queue.port.index()) {
                    interface.tx_checksum = grant.tx_checksum && tx_checksum.with_driver(&grant.driver);
                }
                grants.push((queue.port, grant));
            }
            queues.push(queue);
        }
        let too_many = || StartError::Unsupported("there are more ports than the stack knows".to_owned());
        let seed = self.stack.seed[2].rotate_left(32) ^ self.number as u64;
        let mut stack = StackConfig {
            interfaces: Interfaces::new(interfaces).ok_or_else(too_many)?,
            frame_room: (self.plan.chunk as u16).saturating_sub(HEADROOM),
            ..self.stack
        };
        stack.neighbours.max_entries = stack.neighbours.max_entries.max(self.neighbours.len() + 1);
        let mut stack = Stack::new(stack, self.routes)
            .map_err(|error| StartError::Unsupported(format!("[limits]: {error}")))?;
        stack.set_time_of_day(self.clock.now(), milliseconds_of_the_day());
        for neighbour in &self.neighbours {
            let StaticNeighbour { port, address, mac, .. } = neighbour;
            stack
                .neighbours
                .add_static(*port, *address, *mac, Instant::ZERO)
                .map_err(|reason| StartError::Neighbour { address: *address, reason: reason.describe() })?;
        }
        // A turn fills the queues before it drains them: what one turn can bring to one port fits on top of
        // what may wait for the port's ring.
        let in_a_turn = self.burst * queues.len().max(1) + BURST * self.from_others.len();
        // Of the workers that poll a port's queues, the first one speaks for it.
        for port in (0..stack.interfaces.len()).filter_map(PortId::new) {
            let wire = stack.interfaces.wire_of(port);
            let speaks = self.speaks_for & 1 << wire.index() != 0;
            if let Some(interface) = stack.interfaces.get_mut(port) {
                interface.speaks = speaks;
            }
        }
        let mut egress = Egress::new(self.tx_queues.into_iter().map(|waiting| waiting + in_a_turn));
        for (port, vlan) in stack.interfaces.iter().filter_map(|one| Some((one.id, one.vlan?))) {
            egress.set_vlan(port, vlan);
        }
        let mut worker = Worker {
            number: self.number,
            stack,
            queues,
            egress,
            pool: WorkerPool(pool),
            ways: self.ways,
            to_others: self.to_others,
            from_others: self.from_others,
            bell: self.bell,
            commands: self.commands,
            reports: self.reports,
            notices: self.notices,
            martians: self.martians,
            metrics: self.metrics,
            stop: self.stop,
            clock: self.clock,
            idle: self.idle,
            burst: self.burst,
            sharing: self.sharing,
            services: Services::default(),
            sessions: self
                .sessions
                .map(|(settings, page, ends)| Box::new(Sessions::new(settings, page, ends))),
            runtime: Runtime::default(),
            probe: StageClock::default(),
        };
        worker.stack.set_loopback(worker.sessions.as_ref().is_some_and(|sessions| sessions.has_loopback()));
        worker.start_services(&self.services, seed)?;
        // Services are on all workers alike; what is opened from now on is on one.
        if let Some(home) = &self.home {
            worker.stack.set_home(home);
        }
        // Services listen at addresses that are not usable yet; programs find out by themselves.
        worker.stack.check_addresses(worker.clock.now());
        Ok((worker, grants))
    }
}

/// Opens one queue of a port.
fn open(seat: PortSeat, pool: &Pool) -> Result<(PortQueue, Option<Grant>), StartError> {
    let PortSeat { port, name, queue, carrier, tx_checksum: _ } = seat;
    let (carrier, grant) = match carrier {
        Carrier::Pcap(port) => (Port::Pcap(port), None),
        Carrier::Memory(port) => (Port::Memory(port), None),
        Carrier::Tap(port) => (Port::Tap(port), None),
        Carrier::AfXdp { attachment, options, max_packet, kick } => {
            let failed = |source| StartError::Socket { port: name.clone(), queue, source };
            let mut socket = Socket::open(pool, &attachment, queue, &options).map_err(failed)?;
            socket.set_max_packet(max_packet);
            if let Some(sqpoll) = kick {
                socket.use_sqpoll(&sqpoll).map_err(|source| StartError::System {
                    doing: "start the io_uring kernel thread for kicks (kick = \"sqpoll\")",
                    source,
                })?;
            }
            let grant = socket.grant().clone();
            // Calls in which the kernel does nothing are not made.
            let busy_poll = options.busy_poll.is_some() && grant.no_busy_poll.is_none();
            let carrier = AfXdpQueue { socket, busy_poll, kick_again: false, gone: false };
            (Port::AfXdp(Box::new(carrier)), Some(grant))
        }
    };
    Ok((PortQueue { port, queue, carrier }, grant))
}
