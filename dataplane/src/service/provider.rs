//! What the control socket shows and changes: the running service in the words of [`crate::control`].
//!
//! Most answers come from published numbers and from the route table, which the control thread owns. What
//! only the workers know (neighbours, socket statistics) is asked of them and answered when they have: see
//! [`Asked`].

use super::links::{Link, Links};
use super::sockets;
use super::{Service, WorkerHandle};
use super::{multicast, policy, reassembly};
use crate::config::layout::PortLayout;
use crate::config::model::{self, PortKind};
use crate::config::read::show_duration;
use crate::control::cpu_time;
use crate::control::protocol::{
    Answer, MAX_PAGE, NeighbourQuery, PortQuery, Refusal, RouteQuery, SocketQuery,
};
use crate::control::provider::{self, Provider, Reply, RouteChange, Ticket};
use crate::control::server::ControlServer;
use crate::control::snapshot::{
    self, Core, CoreRuntime, Cores, Count, Fill, Frames, Grant, Neighbours, NextHop, PartialChecksums, Ports,
    Queue, RefusedMode, RouteKind, Routes, Status, Tallies, Tally, Traffic, XdpStatistics,
};
use crate::report::Report;
use crate::worker::Command;
use flumen_stack::interface::ChecksumPolicy;
use flumen_stack::route::{Route, RouteError, RouteView, Source, Target};
use flumen_stack::{Counter, DropReason, PortId, Stage};
use std::time::{Duration, Instant};

/// How long the workers may take to answer. They do their housekeeping every few milliseconds when busy and
/// are woken when asleep.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question to the workers that somebody at the control socket waits for.
#[derive(Debug)]
pub struct Asked {
    ticket: Ticket,
    question: Question,
    deadline: Instant,
}

#[derive(Debug)]
enum Question {
    Ports(PortQuery),
    Neighbours(NeighbourQuery),
    Sockets(SocketQuery),
    Programs,
    Groups,
    Reassembly,
}

/// The reports of one round of questions: every worker is asked once, however many wait for the answer.
#[derive(Debug, Default)]
pub struct Round {
    asked: Vec<Asked>,
    reports: Vec<Option<Box<Report>>>,
}

impl Round {
    /// True while somebody waits.
    pub fn is_open(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes what the workers answered, and completes the round when all have or the time is up.
    pub fn collect(&mut self, service: &mut Service, links: &Links, server: &mut ControlServer) {
        if self.asked.is_empty() {
            return;
        }
        for (worker, report) in service.workers.iter_mut().zip(&mut self.reports) {
            while let Some(answer) = worker.answer() {
                *report = Some(answer);
            }
        }
        let now = Instant::now();
        let overdue = self.asked.iter().any(|asked| now >= asked.deadline);
        if !overdue && self.reports.iter().any(Option::is_none) {
            return;
        }
        let reports = core::mem::take(&mut self.reports);
        for Asked { ticket, question, .. } in self.asked.drain(..) {
            let answer = match &question {
                _ if reports.iter().any(Option::is_none) => {
                    Answer::Error(Refusal::new("a worker did not answer within a second".to_owned()))
                }
                Question::Ports(query) => Answer::Ports(ports(service, links, &reports, query)),
                Question::Groups => Answer::Groups(multicast::groups(service, &reports)),
                Question::Reassembly => Answer::Reassembly(reassembly::reassembly(service, &reports)),
                Question::Neighbours(query) => Answer::Neighbours(neighbours(service, &reports, query)),
                Question::Sockets(query) => Answer::Sockets(sockets::sockets(service, &reports, query)),
                Question::Programs => Answer::Programs(sockets::programs(service, &reports)),
            };
            server.complete(ticket, &answer, now);
        }
    }

    fn ask(&mut self, service: &mut Service, ticket: Ticket, question: Question) -> Reply {
        if self.asked.is_empty() {
            let queues = service.layout.ports.iter().map(|port| port.queues.len()).sum();
            self.reports = service.workers.iter().map(|_| None).collect();
            for worker in &mut service.workers {
                while worker.answer().is_some() {} // an answer that came too late for who asked
                if !worker.ask(Command::Report(Report::new(queues, MAX_PAGE, MAX_PAGE))) {
                    return Reply::refuse(Refusal::new("a worker does not take questions".to_owned()));
                }
            }
        }
        self.asked.push(Asked { ticket, question, deadline: Instant::now() + PATIENCE });
        Reply::Later
    }
}

/// The provider for one event of the control socket.
#[derive(Debug)]
pub struct View<'a> {
    /// The service.
    pub service: &'a mut Service,
    /// The links of its ports.
    pub links: &'a Links,
    /// Who waits for the workers.
    pub round: &'a mut Round,
    /// The configuration file, as it was named.
    pub config: &'a str,
}

impl View<'_> {
    fn uptime(&self) -> Duration {
        self.service.clock.0.elapsed()
    }

    fn tallies<T: Copy>(
        &self,
        all: &[T],
        name: impl Fn(T) -> (&'static str, &'static str),
        count: impl Fn(&WorkerHandle, T) -> u64,
    ) -> Tallies {
        let workers = &self.service.workers;
        Tallies {
            cpus: workers.iter().map(|worker| worker.cpu).collect(),
            tallies: all
                .iter()
                .map(|&one| {
                    let (name, description) = name(one);
                    Tally {
                        name: name.to_owned(),
                        description: description.trim().to_owned(),
                        per_core: workers.iter().map(|worker| count(worker, one)).collect(),
                    }
                })
                .collect(),
        }
    }
}

impl Provider for View<'_> {
    fn status(&mut self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: self.uptime().as_millis() as u64,
            config: self.config.to_owned(),
            cpus: self.service.workers.iter().map(|worker| worker.cpu).collect(),
            ports: self.service.config.ports.iter().map(|port| port.name.clone()).collect(),
        }
    }

    fn config_ports(&self) -> &[model::Port] {
        &self.service.config.ports
    }

    fn config_tables(&self) -> &[model::Table] {
        &self.service.config.tables
    }

    fn tables(&mut self) -> snapshot::Tables {
        policy::tables(self.service)
    }

    fn rules(&mut self) -> snapshot::Rules {
        policy::rules(self.service)
    }

    fn ports(&mut self, ticket: Ticket, query: &PortQuery) -> Reply {
        if let Some(name) = &query.name
            && self.service.config.port_named(name).is_none()
        {
            return Reply::refuse(Refusal::new(format!("there is no port `{name}`")));
        }
        self.round.ask(self.service, ticket, Question::Ports(query.clone()))
    }

    fn cores(&mut self) -> Cores {
        let cores = self.service.workers.iter().enumerate().map(|(number, worker)| {
            let runtime = worker.metrics.runtime();
            let plan = self.service.layout.cores.get(number);
            let queues = plan.map_or(&[][..], |plan| &plan.queues);
            Core {
                cpu: worker.cpu,
                queues: queues
                    .iter()
                    .map(|queue| format!("{}:{}", port_name(self.service, queue.port), queue.queue))
                    .collect(),
                idle: match self.service.config.cores.get(number).map(|core| core.idle) {
                    Some(model::Idle::Adaptive { max_latency }) => {
                        format!("adaptive {}", show_duration(max_latency))
                    }
                    _ => "spin".to_owned(),
                },
                frames: Frames {
                    size: runtime.frames,
                    free: runtime.frames_free,
                    in_rings: runtime.frames_in_rings,
                    held: runtime.frames_held,
                    quarantined: runtime.frames_quarantined,
                    balanced: runtime.frames_unbalanced == 0,
                },
                sleeps: runtime.sleeps,
                handed_over: runtime.handed_over,
                taken_over: runtime.taken_over,
                neighbours: runtime.neighbours,
                connections: runtime.connections,
                program_sockets: runtime.program_sockets,
                socket_memory: runtime.socket_memory,
                cpu_time_ns: worker.thread_id.and_then(cpu_time::of_thread),
            }
        });
        Cores { uptime_ns: self.uptime().as_nanos() as u64, cores: cores.collect() }
    }

    fn routes(&mut self, query: &RouteQuery) -> Result<Routes, Refusal> {
        let service = &*self.service;
        let show = |view: RouteView| show_route(service, view);
        let table = policy::table_named(service, query.table.as_deref())?;
        if let Some(address) = query.lookup {
            let of = |prefix| service.rib.routes_of(table, prefix).map(show).collect();
            return Ok(Routes { routes: provider::lookup(address, of), ..Routes::default() });
        }
        let mut page = match query.after {
            None => provider::page(query, service.rib.routes_in(table), prefix_of, source_of, show),
            Some(after) => {
                provider::page(query, service.rib.routes_after(table, after), prefix_of, source_of, show)
            }
        };
        if query.after.is_none() {
            page.tables = fill(service);
        }
        Ok(page)
    }

    fn groups(&mut self, ticket: Ticket) -> Reply {
        self.round.ask(self.service, ticket, Question::Groups)
    }

    fn reassembly(&mut self, ticket: Ticket) -> Reply {
        self.round.ask(self.service, ticket, Question::Reassembly)
    }

    fn neighbours(&mut self, ticket: Ticket, query: &NeighbourQuery) -> Reply {
        if let Some(name) = &query.port
            && self.service.config.port_named(name).is_none()
        {
            return Reply::refuse(Refusal::new(format!("there is no port `{name}`")));
        }
        self.round.ask(self.service, ticket, Question::Neighbours(query.clone()))
    }

    fn sockets(&mut self, ticket: Ticket, query: &SocketQuery) -> Reply {
        self.round.ask(self.service, ticket, Question::Sockets(query.clone()))
    }

    fn programs(&mut self, ticket: Ticket) -> Reply {
        self.round.ask(self.service, ticket, Question::Programs)
    }

    fn drops(&mut self) -> Tallies {
        let name = |reason: DropReason| (reason.name(), reason.describe());
        self.tallies(DropReason::ALL, name, |worker, reason| worker.metrics.dropped(reason))
    }

    fn counters(&mut self) -> Tallies {
        let name = |counter: Counter| (counter.name(), counter.describe());
        self.tallies(Counter::ALL, name, |worker, counter| worker.metrics.event(counter))
    }

    fn runtime(&mut self) -> snapshot::Runtime {
        let cores = self.service.workers.iter().map(|worker| {
            let runtime = worker.metrics.runtime();
            CoreRuntime {
                cpu: worker.cpu,
                turns: runtime.turns,
                busy_turns: runtime.busy_turns,
                bursts: runtime.bursts,
                packets: runtime.packets,
                transmitted: runtime.transmitted,
                handed_over: runtime.handed_over,
                taken_over: runtime.taken_over,
                sleeps: runtime.sleeps,
                busy_cycles: runtime.busy_cycles,
                cpu_time_ns: worker.thread_id.and_then(cpu_time::of_thread),
                stages: Stage::ALL
                    .iter()
                    .map(|&stage| Count::new(stage.name(), worker.metrics.stage(stage)))
                    .collect(),
            }
        });
        snapshot::Runtime {
            uptime_ns: self.uptime().as_nanos() as u64,
            cycles_per_second: self.service.cycles_per_second(),
            cores: cores.collect(),
        }
    }

    fn change_routes(&mut self, changes: &[RouteChange]) -> Vec<Result<(), Refusal>> {
        let rib = &mut self.service.rib;
        use super::routes::own;
        changes
            .iter()
            .map(|change| {
                let made = match change {
                    RouteChange::Add(route) => rib.add(&own(route)),
                    RouteChange::Replace(route) => rib.replace(&own(route)),
                    RouteChange::Remove { prefix, metric, table } => {
                        rib.remove_from(*table, *prefix, Source::Static, *metric)
                    }
                };
                made.map_err(|error: RouteError| Refusal::new(error.to_string()))
            })
            .collect()
    }
}

fn port_name(service: &Service, port: PortId) -> &str {
    service.config.port(port).map_or("?", |port| port.name.as_str())
}

fn prefix_of(view: &RouteView) -> ipnet::IpNet {
    view.route.prefix
}

fn source_of(view: &RouteView) -> &str {
    source_name(view.route.source)
}

const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Connected => "connected",
        Source::Static => "static",
        Source::Redirect => "redirect",
        Source::Kernel => "kernel",
    }
}

fn show_route(service: &Service, view: RouteView) -> snapshot::Route {
    let RouteView { route: Route { prefix, target, source, metric, table: _, metrics }, active } = view;
    let hop = |port, via, weight| NextHop { via, port: port_name(service, port).to_owned(), weight };
    let (kind, next_hops) = match target {
        Target::Local => (RouteKind::Local, Vec::new()),
        Target::Broadcast { port } => (RouteKind::Broadcast, vec![hop(port, None, 1)]),
        Target::Connected { port } => (RouteKind::Unicast, vec![hop(port, None, 1)]),
        Target::Gateway { port, via } => (RouteKind::Unicast, vec![hop(port, Some(via), 1)]),
        Target::Multipath(paths) => {
            (RouteKind::Unicast, paths.iter().map(|path| hop(path.port, path.via, path.weight)).collect())
        }
        Target::Blackhole => (RouteKind::Blackhole, Vec::new()),
        Target::Unreachable => (RouteKind::Unreachable, Vec::new()),
        Target::Prohibit => (RouteKind::Prohibit, Vec::new()),
    };
    let flumen_stack::route::RouteMetrics { mtu, advmss, window, initcwnd } = metrics;
    let metrics = snapshot::Metrics { mtu, advmss, window, initcwnd };
    snapshot::Route {
        prefix,
        kind,
        next_hops,
        source: source_name(source).to_owned(),
        metric,
        active,
        metrics,
    }
}

fn fill(service: &Service) -> Vec<Fill> {
    let stats = service.rib.stats();
    let limits = &service.config.limits;
    let one = |name: &str, used: usize, size: Option<usize>| Fill {
        name: name.to_owned(),
        used: used as u64,
        size: size.map(|size| size as u64),
    };
    let pair = |name: &str, (used, size): (u32, u32)| one(name, used as usize, Some(size as usize));
    vec![
        one("IPv4 routes", stats.routes4, Some(limits.routes_ipv4)),
        one("IPv6 routes", stats.routes6, Some(limits.routes_ipv6)),
        pair("IPv4 groups below /24", stats.groups4),
        pair("IPv6 trie nodes", stats.nodes6),
        pair("IPv6 trie leaves", stats.leaves6),
        one("next hops", stats.next_hops, None),
        one("waiting for readers", stats.waiting, None),
        one("alive without room", stats.missing, None),
    ]
}

fn ports(service: &Service, links: &Links, reports: &[Option<Box<Report>>], query: &PortQuery) -> Ports {
    let event = |counter| service.workers.iter().map(|worker| worker.metrics.event(counter)).sum();
    let wanted = |port: &model::Port| query.name.as_ref().is_none_or(|name| *name == port.name);
    let ports = service
        .config
        .ports_with_ids()
        .zip(&service.layout.ports)
        .filter(|((_, port), _)| wanted(port))
        .map(|((id, port), plan)| show_port(service, links, reports, (id, port), plan));
    Ports {
        ports: ports.collect(),
        partial_checksums: PartialChecksums {
            seen: event(Counter::PartialChecksumsSeen),
            repaired: event(Counter::PartialChecksumsRepaired),
        },
    }
}

fn show_port(
    service: &Service,
    links: &Links,
    reports: &[Option<Box<Report>>],
    (id, port): (PortId, &model::Port),
    plan: &PortLayout,
) -> snapshot::Port {
    let mut shown = snapshot::Port {
        name: port.name.clone(),
        kind: port.kind.name().to_owned(),
        mtu: u32::from(plan.mtu),
        mac: Some(plan.mac),
        ..snapshot::Port::default()
    };
    if let Some(interface) = service.interfaces.get(id.index()) {
        shown.addresses = interface.ipv4.iter().map(|net| (*net).into()).collect();
        shown.addresses.extend(interface.ipv6.iter().map(|net| ipnet::IpNet::from(*net)));
        shown.forwarding = interface.forwarding;
        shown.checksum = match interface.checksum {
            ChecksumPolicy::Verify => "verify",
            ChecksumPolicy::Repair => "repair",
            ChecksumPolicy::Trust => "trust",
        }
        .to_owned();
    }
    for worker in &service.workers {
        let one = worker.metrics.port(id);
        let sum = &mut shown.traffic;
        *sum = Traffic {
            rx_packets: sum.rx_packets + one.rx_packets,
            rx_bytes: sum.rx_bytes + one.rx_bytes,
            tx_packets: sum.tx_packets + one.tx_packets,
            tx_bytes: sum.tx_bytes + one.tx_bytes,
            drops: sum.drops + one.drops,
            tx_drops: sum.tx_drops + one.tx_drops,
        };
    }
    match &port.kind {
        PortKind::AfXdp(af_xdp) => {
            shown.interface = Some(af_xdp.interface.clone());
            shown.link = link_of(links.of(service, id));
            let attached = service.attached.get(id.index()).and_then(Option::as_ref);
            shown.driver = attached.map(|one| one.attachment.interface().driver.clone());
            shown.mode = attached.map(|one| one.attachment.requested().to_string());
        }
        PortKind::Tap(model::Tap { interface, .. }) => {
            shown.interface = Some(interface.clone());
            shown.driver = Some("tun".to_owned());
            shown.link = link_of(links.of(service, id));
        }
        PortKind::Vlan(vlan) => {
            let parent = service.config.port(vlan.parent).map_or("", |port| port.name.as_str());
            shown.interface = Some(format!("{parent}.{}", vlan.id));
            shown.link = link_of(links.of(service, id));
        }
        PortKind::Pcap(_) | PortKind::Memory(_) => shown.link = snapshot::Link::Up,
    }
    for (core, worker) in service.layout.cores.iter().zip(&service.workers) {
        for queue in core.queues.iter().filter(|queue| queue.port == id) {
            shown.queues.push(show_queue(worker, reports, id, u32::from(queue.queue)));
        }
    }
    shown
}

const fn link_of(link: Link) -> snapshot::Link {
    match link {
        Link::Up => snapshot::Link::Up,
        Link::Down => snapshot::Link::Down,
        Link::Gone => snapshot::Link::Gone,
    }
}

fn show_queue(worker: &WorkerHandle, reports: &[Option<Box<Report>>], port: PortId, queue: u32) -> Queue {
    let grant = worker.grants.iter().find(|(id, grant)| *id == port && grant.queue == queue);
    let report = reports
        .iter()
        .flatten()
        .flat_map(|report| &report.queues)
        .find(|report| report.port == port && report.queue == queue);
    Queue {
        queue,
        cpu: worker.cpu,
        grant: grant.map(|(_, grant)| Grant {
            mode: grant.got.to_string(),
            refused: grant
                .refused
                .iter()
                .map(|(mode, why)| RefusedMode { mode: mode.to_string(), why: why.clone() })
                .collect(),
            multi_buffer: grant.multi_buffer,
            tx_checksum: grant.tx_checksum,
            tx_budget: grant.tx_budget,
            busy_poll_us: grant.busy_poll,
            no_busy_poll: grant.no_busy_poll.clone(),
            transmit: grant.transmit.name().to_owned(),
            no_bulk: grant.no_bulk.clone(),
        }),
        kernel: report.and_then(|report| report.kernel).map(|kernel| XdpStatistics {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full,
            rx_fill_ring_empty: kernel.rx_fill_ring_empty_descs,
            tx_ring_empty: kernel.tx_ring_empty_descs,
        }),
        socket: report.map(|report| socket_counts(&report.socket)).unwrap_or_default(),
    }
}

fn socket_counts(counters: &af_xdp::Counters) -> Vec<Count> {
    let af_xdp::Counters {
        rx_packets,
        tx_packets,
        kicks,
        rx_wakeups,
        busy,
        link_down,
        refill_short,
        rx_broken_chains,
        rx_bad_descriptors,
        tx_bad_completions,
        sqpoll_kicks,
        sqpoll_wakeups,
        bulk_sends,
        bulk_lost,
        bulk_given_up,
    } = *counters;
    [
        ("rx-packets", rx_packets),
        ("tx-packets", tx_packets),
        ("kicks", kicks),
        ("rx-wakeups", rx_wakeups),
        ("kicks-busy", busy),
        ("kicks-link-down", link_down),
        ("refill-short", refill_short),
        ("rx-broken-chains", rx_broken_chains),
        ("rx-bad-descriptors", rx_bad_descriptors),
        ("tx-bad-completions", tx_bad_completions),
        ("sqpoll-kicks", sqpoll_kicks),
        ("sqpoll-wakeups", sqpoll_wakeups),
        ("bulk-sends", bulk_sends),
        ("bulk-lost", bulk_lost),
        ("bulk-given-up", bulk_given_up),
    ]
    .into_iter()
    .map(|(name, value)| Count::new(name, value))
    .collect()
}

fn neighbours(service: &Service, reports: &[Option<Box<Report>>], query: &NeighbourQuery) -> Neighbours {
    let now = service.clock.now();
    let limit = query.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let mut found = Neighbours::default();
    for (worker, report) in service.workers.iter().zip(reports) {
        let Some(report) = report else { continue };
        found.cut_short |= report.cut_short;
        for one in &report.neighbours {
            let port = port_name(service, one.port);
            let wanted = query.port.as_ref().is_none_or(|name| name == port)
                && query.within.is_none_or(|net| net.contains(&one.addr));
            if !wanted {
                continue;
            }
            if found.neighbours.len() == limit {
                found.cut_short = true;
                break;
            }
            found.neighbours.push(snapshot::Neighbour {
                port: port.to_owned(),
                cpu: worker.cpu,
                address: one.addr,
                mac: one.mac,
                state: one.state.name().to_owned(),
                router: one.router,
                probes: u32::from(one.probes),
                waiting: one.waiting as u64,
                age_ms: now.since(one.updated).as_millis() as u64,
                confirmed_ms: one.confirmed.map(|at| now.since(at).as_millis() as u64),
            });
        }
    }
    found.neighbours.sort_by(|a, b| (&a.port, a.address, a.cpu).cmp(&(&b.port, b.address, b.cpu)));
    found
}
