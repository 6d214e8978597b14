//! The service: a configuration made into ports, tables and workers, and taken down again.
//!
//! ```text
//!   start:  attach XDP programs ─> routes ─> one thread for each core: pool, sockets, stack ─> go
//!   run:    signals, links, the control socket; the workers need none of it to forward
//!   stop:   workers finish ─> sockets out of the map, closed ─> programs detached ─> NIC settings restored
//! ```
//!
//! Either everything of a start succeeds or nothing of it stays: whatever was made is owned, and undone when
//! it is dropped.

pub mod autoconf;
pub mod build;
mod descriptors;
pub mod links;
mod multicast;
mod policy;
pub mod ports;
pub mod programs;
pub mod provider;
mod reassembly;
pub mod routes;
pub mod sockets;
pub mod transport;

use crate::builtin;
use crate::config::{Config, Layout};
use crate::doctor::undo;
use crate::handoff::{self, Doorbell, Receiver, Sender};
use crate::metrics::Metrics;
use crate::report::Report;
use crate::worker::{Clock, Command, Sharing};
use build::{Ready, Seat};
use core::sync::atomic::{AtomicBool, Ordering};
use flumen_stack::ip::martian::Martian;
use flumen_stack::ipv6::autoconf::{Autoconf, Notice};
use flumen_stack::limits::{BURST, MARTIAN_NOTES, NOTICES};
use flumen_stack::route::{Rib, RouteError};
use flumen_stack::socket::homes::{Home, PortHomes};
use flumen_stack::{Interface, PortId};
use ports::Attached;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a worker may take to build its pool and sockets before the start is given up.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a worker's stack. A worker is a value of some 300 KiB (caches and counters lie in it), which a build without
/// optimisation copies several times before it lies still: 2 MiB, the usual size, were not enough. Pages that are
/// not used are not there.
const WORKER_STACK: usize = 8 << 20;

/// Requests that may wait for a worker; the control thread asks one thing at a time.
const COMMANDS: usize = 256;

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The XDP program of a port.
    #[error("port {port}: {source}")]
    Attach {
        /// The port's name.
        port: String,
        /// What is wrong.
        source: af_xdp::AttachError,
    },
    /// A setting of a port's interface.
    #[error("port {port}: {source}")]
    Nic {
        /// The port's name.
        port: String,
        /// What is wrong.
        source: af_xdp::nic::NicError,
    },
    /// The socket on a queue.
    #[error("port {port} queue {queue}: {source}")]
    Socket {
        /// The port's name.
        port: String,
        /// The queue.
        queue: u32,
        /// What is wrong.
        source: af_xdp::SocketError,
    },
    /// A capture file.
    #[error("port {port}: {source}")]
    Pcap {
        /// The port's name.
        port: String,
        /// What is wrong.
        source: crate::port::pcap::PcapError,
    },
    /// A TAP.
    #[error("port {port}: {source}")]
    Tap {
        /// The port's name.
        port: String,
        /// What is wrong.
        source: crate::port::tap::TapError,
    },
    /// A pool.
    #[error("the pool of cpu {cpu}: {source}")]
    Pool {
        /// The processor.
        cpu: usize,
        /// What is wrong.
        source: af_xdp::PoolError,
    },
    /// A route of the configuration.
    #[error("route {prefix}: {source}")]
    Route {
        /// The route's prefix.
        prefix: String,
        /// What is wrong.
        source: RouteError,
    },
    /// The route tables themselves.
    #[error("the route tables: {0}")]
    Tables(#[from] RouteError),
    /// A static neighbour.
    #[error("neighbour {address}: {reason}")]
    Neighbour {
        /// Its address.
        address: std::net::IpAddr,
        /// What is wrong.
        reason: &'static str,
    },
    /// The directory of a service.
    #[error("service {kind}: {source}")]
    Directory {
        /// What kind of service.
        kind: &'static str,
        /// What is wrong.
        source: crate::builtin::http::files::FilesError,
    },
    /// A socket of a service.
    #[error("service {0}")]
    Listen(#[from] crate::builtin::StartError),
    /// A worker cannot be pinned.
    #[error("cpu {cpu}: the worker cannot be pinned to it; is it online and allowed (taskset, cgroup)?")]
    Pin {
        /// The processor.
        cpu: usize,
    },
    /// What is about to be changed on an interface cannot be written down, so it is not changed.
    #[error("cannot record NIC settings for undo: {0}")]
    Undo(#[from] undo::UndoError),
    /// Something that a working system has.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A thread ended without a word.
    #[error("the worker of cpu {cpu} did not get ready")]
    Lost {
        /// The processor.
        cpu: usize,
    },
    /// The configuration asks for what cannot be done.
    #[error("{0}")]
    Unsupported(String),
}

/// A worker, from outside.
#[derive(Debug)]
pub struct WorkerHandle {
    /// The processor.
    pub cpu: usize,
    /// Its published numbers.
    pub metrics: Arc<Metrics>,
    /// What its sockets were asked for and got.
    pub grants: Vec<(PortId, af_xdp::Grant)>,
    /// Its thread, as the kernel counts them.
    pub thread_id: Option<i32>,
    commands: rtrb::Producer<Command>,
    reports: rtrb::Consumer<Box<Report>>,
    notices: rtrb::Consumer<Notice>,
    martians: rtrb::Consumer<Martian>,
    bell: Arc<Doorbell>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Asks the worker for something; false when too much waits for it already.
    pub fn ask(&mut self, command: Command) -> bool {
        let taken = self.commands.push(command).is_ok();
        self.bell.ring();
        taken
    }

    /// An answer, if one is there.
    pub fn answer(&mut self) -> Option<Box<Report>> {
        self.reports.pop().ok()
    }

    /// The next packet that cannot be, as the worker noted it.
    pub fn martian(&mut self) -> Option<Martian> {
        self.martians.pop().ok()
    }
}

/// A running data plane.
#[derive(Debug)]
pub struct Service {
    /// What it was made from.
    pub config: Config,
    /// How it lies on the machine.
    pub layout: Layout,
    /// The interfaces, as the stacks know them.
    pub interfaces: Vec<Interface>,
    /// The routes.
    pub rib: Rib,
    /// The workers, in the order of the configuration.
    pub workers: Vec<WorkerHandle>,
    /// The XDP programs, by port.
    pub attached: Vec<Option<Attached>>,
    /// What routers advertise, and what became of it.
    pub autoconf: Autoconf,
    /// Addresses of the configuration that are somebody else's.
    pub withdrawn: Vec<(PortId, std::net::IpAddr)>,
    /// When it started.
    pub clock: Clock,
    cycles_at_start: u64,
    stop: Arc<AtomicBool>,
    /// The door for programs, until it is opened.
    pub door: Option<programs::Door>,
}

impl Service {
    /// Starts everything, or nothing.
    pub fn start(config: Config, layout: Layout) -> Result<Service, StartError> {
        let clock = Clock(std::time::Instant::now());
        let cycles_at_start = af_xdp::cycles::now();
        let undo = undo::path_for(&config.control.socket);
        ports::restore_after_a_crash(&undo);
        let mut attached = ports::attach_all(&config, &layout, &undo)?;
        let interfaces = ports::interfaces(&config, &layout);
        let rib = routes::build(&config, &interfaces)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (seats, door) = seats(&config, &layout, &interfaces, &mut attached, &rib, &stop, clock)?;
        let autoconf = autoconf::machine(&config, &layout, random_words()?);
        let mut service = Service {
            config,
            layout,
            interfaces,
            rib,
            autoconf,
            withdrawn: Vec::new(),
            workers: Vec::new(),
            attached,
            clock,
            cycles_at_start,
            stop,
            door,
        };
        let mut waiting = Vec::new();
        for (seat, ends) in seats {
            let (cpu, metrics, bell) = (seat.cpu, Arc::clone(&seat.metrics), Arc::clone(&seat.bell));
            let (ready_in, ready_out) = mpsc::sync_channel::<Result<Ready, StartError>>(1);
            let thread = std::thread::Builder::new()
                .name(format!("flumen-cpu{cpu}"))
                .stack_size(WORKER_STACK)
                .spawn(move || seat.serve(&ready_in))
                .map_err(|source| StartError::System { doing: "start a worker thread", source })?;
            let Ends { commands, reports, notices, martians } = ends;
            service.workers.push(WorkerHandle {
                cpu,
                metrics,
                grants: Vec::new(),
                thread_id: None,
                commands,
                reports,
                notices,
                martians,
                bell,
                thread: Some(thread),
            });
            waiting.push(ready_out);
        }
        for (worker, ready) in service.workers.iter_mut().zip(waiting) {
            let lost = StartError::Lost { cpu: worker.cpu };
            let ready = ready.recv_timeout(START_TIMEOUT).map_err(|_| lost)??;
            worker.grants = ready.grants;
            worker.thread_id = ready.thread_id;
        }
        Ok(service)
    }

    /// Sends a command to every worker; false when one did not take it.
    pub fn tell_all(&mut self, mut command: impl FnMut() -> Command) -> bool {
        self.workers.iter_mut().map(|worker| worker.ask(command())).fold(true, |all, one| all & one)
    }

    /// How fast the cycle counter runs, measured since the start; `None` in the first moments.
    pub fn cycles_per_second(&self) -> Option<u64> {
        let elapsed = self.clock.0.elapsed();
        let cycles = af_xdp::cycles::now().wrapping_sub(self.cycles_at_start);
        (elapsed > Duration::from_millis(10)).then(|| (cycles as f64 / elapsed.as_secs_f64()) as u64)
    }

    /// Stops the workers and waits for them; what they held is given back.
    pub fn stop(&mut self) {
        // Release: partner of the Acquire load at the head of the worker's loop.
        self.stop.store(true, Ordering::Release);
        // All first: each waits for the others' last packets before it ends.
        for worker in &self.workers {
            worker.bell.ring();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!(cpu = worker.cpu, "the worker ended by a panic: this is a bug");
            }
        }
    }

    /// True while every worker runs.
    pub fn is_healthy(&self) -> bool {
        self.workers.iter().all(|worker| worker.thread.as_ref().is_some_and(|thread| !thread.is_finished()))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
        let changed = self.attached.iter().flatten().any(|one| one.deferral.is_some());
        // Detached and put back here; only then is there nothing left to undo.
        self.attached.clear();
        if changed && let Err(error) = undo::forget(&undo::path_for(&self.config.control.socket)) {
            tracing::warn!(%error, "the record of NIC settings could not be removed");
        }
    }
}

/// The control side's ends of a worker's rings.
struct Ends {
    commands: rtrb::Producer<Command>,
    reports: rtrb::Consumer<Box<Report>>,
    notices: rtrb::Consumer<Notice>,
    martians: rtrb::Consumer<Martian>,
}

/// What each worker starts with and the ends that stay here; the door for programs.
type Seats = (Vec<(Seat, Ends)>, Option<programs::Door>);

/// What each worker starts with, and the ends that stay here.
fn seats(
    config: &Config,
    layout: &Layout,
    interfaces: &[Interface],
    attached: &mut [Option<Attached>],
    rib: &Rib,
    stop: &Arc<AtomicBool>,
    clock: Clock,
) -> Result<Seats, StartError> {
    let count = config.cores.len();
    let system = |source| StartError::System { doing: "make an eventfd", source };
    let bells = (0..count).map(|_| Doorbell::new().map_err(system)).collect::<Result<Vec<_>, _>>()?;
    let (mut senders, mut receivers) = mesh(count, config.limits.handoff, &bells);
    let mut wires = ports::wires(config, layout, &bells);
    let seed = random_words::<6>()?;
    let sharing = Sharing {
        by_flow: ports::shared_by_flow(config),
        fragments: ports::shared_by_queues(config, layout),
        // Programs' sockets, too, are told of groups by whoever hears of them.
        groups: config.multicast.is_on() || config.programs.is_some() && count > 1,
        key: [seed[4], seed[5]],
    };
    let services: Arc<[builtin::Plan]> = builtin::prepare(&config.services, &config.tcp, &config.udp)
        .map_err(|(number, source)| StartError::Directory {
            kind: config.services.get(number).map_or("", |service| service.kind.name()),
            source,
        })?
        .into();
    let (door, sessions) = programs::prepare(config, interfaces)?.unzip();
    let mut sessions = sessions.into_iter().flatten();
    let homes = Arc::new(PortHomes::default());
    let mut seats = Vec::with_capacity(count);
    for number in 0..count {
        let (commands_in, commands_out) = rtrb::RingBuffer::new(COMMANDS);
        let (reports_in, reports_out) = rtrb::RingBuffer::new(COMMANDS);
        let (notices_in, notices_out) = rtrb::RingBuffer::new(NOTICES);
        let (martians_in, martians) = rtrb::RingBuffer::new(MARTIAN_NOTES);
        let (Some(core), Some(plan)) = (config.cores.get(number), layout.cores.get(number)) else { continue };
        let seat = Seat {
            number,
            cpu: core.cpu,
            plan: plan.clone(),
            hugepages: core.hugepages,
            idle: core.idle.into(),
            burst: core.burst.min(BURST),
            ports: ports::for_worker(config, layout, attached, &mut wires, &plan.queues)?,
            ways: ports::ways(config, layout, number),
            interfaces: interfaces.to_vec(),
            tx_queues: config.ports.iter().map(|port| port.tx_queue).collect(),
            stack: build::stack_settings(config, &seed, number),
            services: Arc::clone(&services),
            sessions: sessions.next(),
            neighbours: config.neighbours.clone(),
            routes: rib.reader()?,
            to_others: core::mem::take(&mut senders[number]),
            from_others: core::mem::take(&mut receivers[number]),
            bell: Arc::clone(&bells[number]),
            commands: commands_out,
            reports: reports_in,
            notices: notices_in,
            martians: martians_in,
            metrics: Arc::new(Metrics::default()),
            stop: Arc::clone(stop),
            clock,
            sharing,
            home: if count > 1 { Home::new(Arc::clone(&homes), number, count) } else { None },
            speaks_for: ports::speaks_for(config, layout, number),
        };
        let ends = Ends { commands: commands_in, reports: reports_out, notices: notices_out, martians };
        seats.push((seat, ends));
    }
    Ok((seats, door))
}

/// Rings between every two workers: `senders[from][to]` (none to oneself) and `receivers[to]`.
fn mesh(
    count: usize,
    packets: usize,
    bells: &[Arc<Doorbell>],
) -> (Vec<Vec<Option<Sender>>>, Vec<Vec<Receiver>>) {
    let mut senders: Vec<Vec<Option<Sender>>> = Vec::new();
    let mut receivers: Vec<Vec<Receiver>> = (0..count).map(|_| Vec::new()).collect();
    for from in 0..count {
        let row = bells.iter().zip(&mut receivers).enumerate().map(|(to, (bell, inbox))| {
            (from != to).then(|| {
                let (sender, receiver) = handoff::channel(packets, Arc::clone(bell));
                inbox.push(receiver);
                sender
            })
        });
        senders.push(row.collect());
    }
    (senders, receivers)
}

/// Random words from the kernel.
fn random_words<const N: usize>() -> Result<[u64; N], StartError> {
    let mut words = [0u64; N];
    for word in &mut words {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).map_err(|error| StartError::System {
            doing: "get random numbers",
            source: std::io::Error::other(error.to_string()),
        })?;
        *word = u64::from_ne_bytes(bytes);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Host, Missing, Problems};

    /// Two workers on the first two processors, with a wire between them and files at its ends.
    const CONFIG: &str = r#"
[[port]]
name = "in"
kind = "pcap"
write = "in.pcap"
mac = "02:00:00:00:00:01"
addresses = ["10.0.1.1/24"]
tx_queue = 64
[[port]]
name = "left"
kind = "memory"
peer = "right"
mac = "02:00:00:00:00:02"
addresses = ["10.0.2.1/24"]
tx_queue = 1024
[[port]]
name = "right"
kind = "memory"
peer = "left"
mac = "02:00:00:00:00:03"
addresses = ["10.0.3.1/24"]
[[port]]
name = "out"
kind = "pcap"
write = "out.pcap"
mac = "02:00:00:00:00:04"
addresses = ["10.0.4.1/24"]
"#;

    /// What the workers of `CONFIG` start with when its ports are shared out so.
    fn seats_of(cores: &[&[&str]]) -> (tempfile::TempDir, Vec<Seat>) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = CONFIG.to_owned();
        for (cpu, ports) in cores.iter().enumerate() {
            text += &format!("[[core]]\ncpu = {cpu}\nports = {ports:?}\n");
        }
        text += "[limits]\nroutes_ipv4 = 1000\nroutes_ipv6 = 1000\n";
        let loaded = config::parse("test.toml", text, folder.path(), &mut |path| {
            Err(config::LoadError::NotText { path: path.to_owned(), offset: 0 })
        });
        assert!(loaded.problems.is_empty(), "{}", loaded.sources.render_all(&loaded.problems, false));
        let (config, host) = (loaded.config.unwrap(), Host { cpus: vec![0, 1], ..Host::here().unwrap() });
        let layout = config::plan(&config, &host, Missing::Refuse, &mut Problems::default()).unwrap();
        let mut attached: Vec<Option<Attached>> = config.ports.iter().map(|_| None).collect();
        let interfaces = ports::interfaces(&config, &layout);
        let rib = routes::build(&config, &interfaces).unwrap();
        let clock = Clock(std::time::Instant::now());
        let (seats, _) =
            seats(&config, &layout, &interfaces, &mut attached, &rib, &Arc::default(), clock).unwrap();
        (folder, seats.into_iter().map(|(seat, _)| seat).collect())
    }

    /// Whose bell each memory port of a worker rings.
    fn rung(seat: &Seat, bells: &[Arc<Doorbell>]) -> Vec<(String, Option<usize>)> {
        let memory = seat.ports.iter().filter_map(|port| match &port.carrier {
            ports::Carrier::Memory(end) => Some((port.name.clone(), end.peer_bell.as_ref())),
            _ => None,
        });
        memory
            .map(|(name, bell)| {
                (name, bell.and_then(|bell| bells.iter().position(|one| Arc::ptr_eq(one, bell))))
            })
            .collect()
    }

    #[test]
    fn each_end_of_a_wire_between_two_workers_rings_the_other_worker() {
        let (_folder, seats) = seats_of(&[&["in", "left"], &["right", "out"]]);
        let bells: Vec<_> = seats.iter().map(|seat| Arc::clone(&seat.bell)).collect();
        assert_eq!(rung(&seats[0], &bells), [("left".to_owned(), Some(1))]);
        assert_eq!(rung(&seats[1], &bells), [("right".to_owned(), Some(0))]);
    }

    #[test]
    fn a_wire_from_a_worker_to_itself_rings_nobody() {
        let (_folder, seats) = seats_of(&[&["left", "right"], &["in", "out"]]);
        let bells: Vec<_> = seats.iter().map(|seat| Arc::clone(&seat.bell)).collect();
        assert_eq!(rung(&seats[0], &bells), [("left".to_owned(), None), ("right".to_owned(), None)]);
    }

    #[test]
    fn what_may_wait_for_a_port_is_what_the_configuration_says_of_that_port() {
        let (_folder, seats) = seats_of(&[&["in", "left", "right", "out"]]);
        let [seat] = <[Seat; 1]>::try_from(seats).unwrap();
        let in_a_turn = seat.burst * 4;
        let (mut worker, _) = seat.build().unwrap();
        let room = [0, 1, 2, 3]
            .map(|index| worker.egress.queue(PortId::new(index).unwrap()).unwrap().capacity() - in_a_turn);
        assert_eq!(room, [64, 1024, 256, 256]);
    }
}
