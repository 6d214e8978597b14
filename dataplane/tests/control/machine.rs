//! A service made of numbers, and a thread that runs its control socket.

use flumen::config::model;
use flumen::control::protocol::{Answer, NeighbourQuery, PortQuery, Refusal, RouteQuery, SocketQuery};
use flumen::control::provider::{self, Provider, Reply, RouteChange, Ticket};
use flumen::control::server::ControlServer;
use flumen::control::snapshot::*;
use ipnet::IpNet;
use mio::{Events, Poll, Token, Waker};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The order of the table, then the metric.
type Key = ((bool, u128, u8), u32);

/// The service.
#[derive(Debug)]
pub struct Machine {
    /// Its ports.
    pub ports: Vec<model::Port>,
    /// Its tables.
    pub tables: Vec<model::Table>,
    /// Its routes.
    pub table: BTreeMap<Key, Route>,
    /// Changes that it was told.
    pub made: Vec<RouteChange>,
    /// Who waits for the workers.
    pub waiting: Vec<Ticket>,
    /// The workers do not answer.
    pub hung: bool,
    /// Each snapshot of the runtime is later than the one before by a second and so many packets.
    pub seconds: u64,
}

impl Default for Machine {
    fn default() -> Machine {
        let text = "[[port]]\nname = \"lan\"\naddresses = [\"192.0.2.1/24\"]\n[[port]]\nname = \"wan\"\n\
                    addresses = [\"198.51.100.1/24\", \"2001:db8::1/64\"]\n[[core]]\ncpu = 0\nports = [\"lan\", \"wan\"]\n[[table]]\nname = \"uplink2\"\n";
        let loaded = flumen::config::parse("test", text.to_owned(), Path::new("/"), &mut |_| unreachable!());
        let config = loaded.config.unwrap();
        let (ports, tables) = (config.ports, config.tables);
        let (table, made, waiting) = Default::default();
        Machine { ports, tables, table, made, waiting, hung: false, seconds: 0 }
    }
}

impl Machine {
    /// A machine with these static routes, which say `blackhole`.
    pub fn with_routes(prefixes: impl IntoIterator<Item = IpNet>) -> Machine {
        let mut machine = Machine::default();
        for prefix in prefixes {
            machine.put(route(prefix, RouteKind::Blackhole, 0));
        }
        machine
    }

    fn put(&mut self, route: Route) {
        self.table.insert((provider::order(route.prefix), route.metric), route);
    }

    fn own(&self, change: &model::Route) -> Route {
        let mut own = route(change.to, provider::kind_of(&change.action), change.metric);
        let flumen_stack::route::RouteMetrics { mtu, advmss, window, initcwnd } = change.metrics;
        own.metrics = Metrics { mtu, advmss, window, initcwnd };
        if let model::RouteAction::Unicast(hops) = &change.action {
            own.next_hops = hops
                .iter()
                .map(|hop| NextHop {
                    via: hop.via,
                    port: self.ports[hop.port.index()].name.clone(),
                    weight: hop.weight,
                })
                .collect();
        }
        own
    }
}

pub fn route(prefix: IpNet, kind: RouteKind, metric: u32) -> Route {
    let metrics = Default::default();
    Route { prefix, kind, next_hops: Vec::new(), source: "static".into(), metric, active: true, metrics }
}

impl Provider for Machine {
    fn status(&mut self) -> Status {
        Status {
            version: "0.1.0".into(),
            pid: 4711,
            uptime_ms: 93_784_000,
            config: "router.toml".into(),
            cpus: vec![0, 1],
            ports: self.ports.iter().map(|port| port.name.clone()).collect(),
        }
    }

    fn config_ports(&self) -> &[model::Port] {
        &self.ports
    }

    fn config_tables(&self) -> &[model::Table] {
        &self.tables
    }

    fn tables(&mut self) -> Tables {
        let main =
            RouteTable { name: "main".into(), ipv4: (self.table.len() as u64, 1_000_000), ipv6: (0, 9) };
        let others = self.tables.iter().map(|table| RouteTable {
            name: table.name.clone(),
            ipv4: (0, table.routes_ipv4 as u64),
            ipv6: (0, table.routes_ipv6 as u64),
        });
        Tables { tables: std::iter::once(main).chain(others).collect() }
    }

    fn rules(&mut self) -> Rules {
        let rule = |priority, action: &str| Rule { priority, action: action.into(), ..Rule::default() };
        Rules {
            rules: vec![
                Rule {
                    from: Some("10.0.1.0/24".parse().unwrap()),
                    in_port: Some("lan".into()),
                    protocol: Some(17),
                    ports: Some((53, 53)),
                    source_ports: Some((1000, 1999)),
                    tos: Some(0x10),
                    table: Some("uplink2".into()),
                    ..rule(100, "table")
                },
                rule(200, "prohibit"),
            ],
        }
    }

    fn ports(&mut self, ticket: Ticket, query: &PortQuery) -> Reply {
        if let Some(name) = query.name.as_ref().filter(|name| self.ports.iter().all(|p| p.name != **name)) {
            return Reply::refuse(Refusal::new(format!("there is no port `{name}`")));
        }
        self.waiting.push(ticket);
        Reply::Later
    }

    fn cores(&mut self) -> Cores {
        let frames = Frames { size: 100, free: 60, in_rings: 30, held: 9, quarantined: 1, balanced: true };
        let core = |cpu: usize| Core {
            cpu,
            queues: vec![format!("lan:{cpu}"), format!("wan:{cpu}")],
            idle: "adaptive 500us".into(),
            frames: Frames { balanced: cpu == 0, ..frames },
            sleeps: 12,
            handed_over: 3,
            taken_over: 4,
            neighbours: 2,
            connections: 3,
            program_sockets: 5,
            socket_memory: 8192,
            cpu_time_ns: Some(250_000_000),
        };
        Cores { uptime_ns: 1_000_000_000, cores: vec![core(0), core(1)] }
    }

    fn routes(&mut self, query: &RouteQuery) -> Result<Routes, Refusal> {
        if let Some(name) =
            query.table.as_ref().filter(|name| self.tables.iter().all(|one| one.name != **name))
        {
            return Err(Refusal::new(format!("there is no table `{name}`")));
        }
        if let Some(address) = query.lookup {
            let of = |prefix| {
                let at = provider::order(prefix);
                self.table.range((at, 0)..=(at, u32::MAX)).map(|(_, route)| route.clone()).collect()
            };
            return Ok(Routes { routes: provider::lookup(address, of), ..Routes::default() });
        }
        let behind =
            query.after.map_or(Bound::Unbounded, |after| Bound::Excluded((provider::order(after), u32::MAX)));
        let mut page = provider::page(
            query,
            self.table.range((behind, Bound::Unbounded)).map(|(_, route)| route),
            |route| route.prefix,
            |route| &route.source,
            Route::clone,
        );
        if query.after.is_none() {
            page.tables = vec![
                Fill { name: "routes".into(), used: self.table.len() as u64, size: Some(1_000_000) },
                Fill { name: "next-hops".into(), used: 1, size: None },
            ];
        }
        Ok(page)
    }

    fn groups(&mut self, _: Ticket) -> Reply {
        let link = |family: &str, querier: &str| GroupLink {
            port: "lan".into(),
            family: family.into(),
            querier: querier.into(),
        };
        let record = |group: &str, mode: &str, sources: &[&str]| GroupRecord {
            port: "lan".into(),
            group: group.parse().unwrap(),
            mode: mode.into(),
            sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
            expires_ms: (mode == "exclude").then_some(4_200),
        };
        let route = GroupRoute {
            group: "239.0.0.0/8".parse().unwrap(),
            source: "0.0.0.0/0".parse().unwrap(),
            in_port: "wan".into(),
            out: vec![("lan".into(), 1), ("dmz".into(), 16)],
            packets: 7,
        };
        Reply::Now(Answer::Groups(Groups {
            links: vec![link("IPv4", "us"), link("IPv6", "fe80::9")],
            groups: vec![
                record("239.1.1.1", "exclude", &[]),
                record("239.1.1.2", "exclude", &["10.0.0.9"]),
                record("239.1.1.3", "include", &["10.0.0.9", "10.0.0.8"]),
            ],
            routes: vec![route],
            cut_short: false,
        }))
    }

    fn reassembly(&mut self, _: Ticket) -> Reply {
        let core = ReassemblyCore { cpu: 1, datagrams: 2, memory: 4096, memory_limit: 4_194_304 };
        let one = WaitingDatagram {
            cpu: 1,
            source: "10.0.0.9".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            port: None,
            protocol: Some(17),
            id: 4711,
            fragments: 2,
            bytes: 2960,
            total: Some(3008),
            given_up: false,
            expires_ms: 28_500,
        };
        let other = WaitingDatagram {
            source: "fe80::9".parse().unwrap(),
            destination: "fe80::1".parse().unwrap(),
            port: Some("lan".into()),
            protocol: None,
            total: None,
            given_up: true,
            ..one.clone()
        };
        Reply::Now(Answer::Reassembly(Reassembly {
            cores: vec![core],
            datagrams: vec![one, other],
            cut_short: true,
        }))
    }

    fn neighbours(&mut self, _: Ticket, query: &NeighbourQuery) -> Reply {
        let all = [
            ("lan", "192.0.2.254", Some("02:00:00:00:00:fe"), "REACHABLE"),
            ("wan", "fe80::9", None, "FAILED"),
        ];
        let neighbours = all
            .iter()
            .filter(|(port, address, _, _)| {
                query.port.as_ref().is_none_or(|wanted| wanted == port)
                    && query
                        .within
                        .is_none_or(|net| net.contains(&address.parse::<std::net::IpAddr>().unwrap()))
            })
            .take(query.limit.unwrap_or(100))
            .map(|(port, address, mac, state)| Neighbour {
                port: (*port).into(),
                cpu: 0,
                address: address.parse().unwrap(),
                mac: mac.map(|mac| mac.parse().unwrap()),
                state: (*state).into(),
                router: false,
                probes: 0,
                waiting: 0,
                age_ms: 4_200,
                confirmed_ms: mac.map(|_| 1_500),
            })
            .collect();
        Reply::Now(Answer::Neighbours(Neighbours { neighbours, cut_short: query.limit == Some(1) }))
    }

    fn sockets(&mut self, _: Ticket, query: &SocketQuery) -> Reply {
        let socket = |protocol: &str, state: &str, remote: Option<&str>, pid| Socket {
            protocol: protocol.into(),
            state: state.into(),
            local: "192.0.2.1:80".parse().unwrap(),
            remote: remote.map(|remote| remote.parse().unwrap()),
            receive_queue: 1,
            send_queue: 128,
            pid,
            uid: pid.map(|_| 33),
            cpu: 0,
        };
        let all = [
            socket("tcp", "listen", None, None),
            socket("tcp", "established", Some("192.0.2.9:40000"), Some(4711)),
            socket("udp", "", None, Some(4711)),
        ];
        let wanted =
            |socket: &Socket| query.protocol.as_ref().is_none_or(|wanted| *wanted == socket.protocol);
        let sockets = all.into_iter().filter(wanted).take(query.limit.unwrap_or(100)).collect();
        Reply::Now(Answer::Sockets(Sockets { sockets, cut_short: query.limit == Some(1) }))
    }

    fn programs(&mut self, _: Ticket) -> Reply {
        let program = Program {
            pid: 4711,
            uid: 33,
            sockets: 2,
            homes: 3,
            gone: false,
            woken_aside: true,
            cpus: vec![0, 1],
        };
        Reply::Now(Answer::Programs(Programs { programs: vec![program] }))
    }

    fn drops(&mut self) -> Tallies {
        let tally = |name: &str, description: &str, per_core| Tally {
            name: name.into(),
            description: description.into(),
            per_core,
        };
        Tallies {
            cpus: vec![0, 1],
            tallies: vec![
                tally("no-route", "No route leads to the destination.", vec![2, 40]),
                tally("port-down", "The port is down.", vec![0, 0]),
            ],
        }
    }

    fn counters(&mut self) -> Tallies {
        let per_core = vec![7, 0];
        let tally = Tally { name: "ipv4-received".into(), description: String::new(), per_core };
        Tallies { cpus: vec![0, 1], tallies: vec![tally] }
    }

    fn runtime(&mut self) -> Runtime {
        self.seconds += 1;
        let n = self.seconds;
        let core = CoreRuntime {
            cpu: 0,
            turns: 1000 * n,
            busy_turns: 400 * n,
            bursts: 100 * n,
            packets: 5000 * n,
            transmitted: 4900 * n,
            busy_cycles: 600_000 * n,
            cpu_time_ns: Some(500_000_000 * n),
            stages: vec![Count::new("receive", 200_000 * n), Count::new("route", 400_000 * n)],
            ..CoreRuntime::default()
        };
        Runtime { uptime_ns: 1_000_000_000 * n, cycles_per_second: Some(2_000_000_000), cores: vec![core] }
    }

    fn change_routes(&mut self, changes: &[RouteChange]) -> Vec<Result<(), Refusal>> {
        self.made.extend_from_slice(changes);
        let mut change = |change: &RouteChange| match change {
            RouteChange::Add(new) => {
                let own = self.own(new);
                if self.table.contains_key(&(provider::order(own.prefix), own.metric)) {
                    return Err(Refusal::new("there is such a route already").help("use `replace`"));
                }
                self.put(own);
                Ok(())
            }
            RouteChange::Replace(new) => {
                self.put(self.own(new));
                Ok(())
            }
            RouteChange::Remove { prefix, metric, table: _ } => {
                let gone = self.table.remove(&(provider::order(*prefix), *metric));
                gone.map(|_| ()).ok_or_else(|| Refusal::new(format!("there is no route to {prefix}")))
            }
        };
        changes.iter().map(&mut change).collect()
    }
}

/// What the workers would say.
pub fn ports() -> Ports {
    let grant = Grant {
        mode: "native".into(),
        refused: vec![RefusedMode { mode: "zero-copy".into(), why: "the driver has none".into() }],
        multi_buffer: true,
        tx_checksum: true,
        tx_budget: Some(64),
        busy_poll_us: None,
        no_busy_poll: None,
        transmit: "bulk".into(),
        no_bulk: None,
    };
    let queue = Queue {
        queue: 0,
        cpu: 1,
        grant: Some(grant),
        kernel: Some(XdpStatistics { rx_ring_full: 17, ..XdpStatistics::default() }),
        socket: vec![Count::new("kicks", 99), Count::new("kick-errors", 0)],
    };
    let port = Port {
        name: "lan".into(),
        kind: "af_xdp".into(),
        interface: Some("veth0".into()),
        driver: Some("veth".into()),
        mode: Some("auto".into()),
        mtu: 1500,
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        addresses: vec!["192.0.2.1/24".parse().unwrap()],
        link: Link::Up,
        forwarding: true,
        checksum: "verify".into(),
        traffic: Traffic {
            rx_packets: 1000,
            rx_bytes: 64_000,
            tx_packets: 900,
            tx_bytes: 57_600,
            drops: 100,
            tx_drops: 2,
        },
        queues: vec![queue],
    };
    Ports { ports: vec![port], partial_checksums: PartialChecksums { seen: 5, repaired: 0 } }
}

/// A machine that serves a socket on a thread of its own.
pub struct Service {
    /// The socket.
    pub path: PathBuf,
    _folder: tempfile::TempDir,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Machine>>,
}

const FIRST: usize = 10;

impl Service {
    /// Starts it.
    pub fn start(machine: Machine) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut server = ControlServer::bind(&path, 0o600, poll.registry(), Token(FIRST)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut machine = machine;
            let mut events = Events::with_capacity(64);
            while !stopped.load(Ordering::Acquire) {
                let now = Instant::now();
                let left = server.deadline().map(|at| at.saturating_duration_since(now));
                poll.poll(&mut events, left.or(Some(Duration::from_secs(60)))).unwrap();
                let now = Instant::now();
                for event in &events {
                    if server.owns(event.token()) {
                        server.on_event(event.token(), now, &mut machine);
                    }
                }
                if !machine.hung {
                    for ticket in std::mem::take(&mut machine.waiting) {
                        server.complete(ticket, &Answer::Ports(ports()), now);
                    }
                }
                server.expire(now);
            }
            machine
        });
        Service { path, _folder: folder, waker, stop, thread: Some(thread) }
    }

    /// Ends it and gives the machine back.
    pub fn stop(mut self) -> Machine {
        self.end().unwrap()
    }

    fn end(&mut self) -> Option<Machine> {
        self.stop.store(true, Ordering::Release); // partner: the thread's Acquire load
        self.waker.wake().unwrap();
        Some(self.thread.take()?.join().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}
