//! Lives of TCP connections between two hosts, on a wire that a seed makes bad: whole stacks, virtual time.
//!
//! ```text
//!   seed ─> settings, options, sizes, pieces, pauses, close orders, wire
//!           host 0: applications ─ sockets ─ stack ══ wire ══ stack ─ sockets ─ applications :host 1
//! ```
//! Applications act on news alone (and on the pauses that they make), so news that get lost stop them for ever.
//!
//! What must hold for every seed:
//! 1. Each byte arrives once and in order, and then the end; or the connection reports an error, which only a wire
//!    that is bad enough, or an application that aborts, may cause.
//! 2. Both ends reach CLOSED, and then nothing is left: connections, names, requests, TIME-WAIT records, blocks, runs,
//!    ranges, frames.
//! 3. The books balance at the end: every packet has one beginning and one end.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::sim::{self, Misbehaviour, Node, NodeSettings, Random, Report, Wire, World};
use flumen_stack::socket::{Error, Handle, Owner, SocketId};
use flumen_stack::stack::SocketLimits;
use flumen_stack::tcp::congestion::Algorithm;
use flumen_stack::tcp::listen::{CookiePolicy, ListenSettings};
use flumen_stack::tcp::settings::{EcnPolicy, MtuProbing, TcpSettings};
use flumen_stack::tcp::sockets::{ConnectOptions, ListenOptions, TcpConfig, TcpUsage};
use flumen_stack::tcp::user::{Shutdown, SocketOption};
use flumen_stack::{DropReason, Instant, Interface, MacAddr, PortId};
use std::net::SocketAddr;
use std::time::Duration;

/// Lives of one run; `FLUMEN_SIM_SEEDS` sets another number.
const SEEDS: u64 = 10_000;

/// Tests that share them, so that they can run side by side.
const SHARES: u64 = 2;

const PORT: u16 = 80;

/// After so long without a frame nothing will come: the longest timeout is 120 s.
const HOPELESS: Duration = Duration::from_secs(600);

/// What an application says that was told of the end before all bytes came.
const TOO_EARLY: Error = Error::ProtocolError;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn interface(number: usize) -> Interface {
    let number = number + 1;
    let mut interface = Interface::new(PortId::FIRST, "eth", MacAddr([2, 0, 0, 0, 0, number as u8]), 1500);
    interface.forwarding = false;
    interface.ipv4.push(format!("10.0.0.{number}/24").parse().unwrap());
    interface.ipv6.push(format!("fe80::{number}/64").parse().unwrap());
    interface.ipv6.push(format!("fd00::{number}/64").parse().unwrap());
    interface
}

fn address(number: usize, v6: bool, port: u16) -> SocketAddr {
    let number = number + 1;
    if v6 { format!("[fd00::{number}]:{port}") } else { format!("10.0.0.{number}:{port}") }.parse().unwrap()
}

/// How an application ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It closes its direction as soon as everything is written, and lets go when the peer's end came.
    HalfClose,
    /// It lets go when it wrote everything and read what it expects.
    Close,
    /// It waits for the peer's end, then writes and lets go.
    After,
    /// It aborts after so many bytes were read or written.
    Abort(usize),
}

/// What one application does.
#[derive(Debug, Clone)]
struct Plan {
    sends: usize,
    write_piece: usize,
    read_piece: usize,
    pause: Duration,
    ending: Ending,
    options: Vec<SocketOption>,
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    plan: Plan,
    handle: Option<Handle>,
    written: usize,
    read: usize,
    shut: bool,
    peer_ended: bool,
    /// It reads again then.
    wakes: Instant,
    /// `Some`: it let go; how it went.
    outcome: Option<Result<(), Error>>,
}

impl End {
    fn new(plan: Plan) -> End {
        let wakes = Instant::ZERO;
        End { plan, handle: None, written: 0, read: 0, shut: false, peer_ended: false, wakes, outcome: None }
    }
}

/// A connection: the end that opens it and the other.
#[derive(Debug)]
struct Conversation {
    v6: bool,
    opens_at: Instant,
    opener: usize,
    /// Both ends open at once, with these ports.
    crossing: bool,
    local: Option<SocketAddr>,
    ends: [End; 2],
    opened: bool,
}

/// One life.
struct Life {
    seed: u64,
    world: World,
    conversations: Vec<Conversation>,
    /// Errors are no fault of ours on this wire.
    harsh: bool,
    /// The wire answers with ICMP errors.
    reports: bool,
    ghosts: usize,
    listeners: Vec<Handle>,
    listen: ListenOptions,
    /// The wire becomes another one then.
    changes: Option<(Instant, Misbehaviour)>,
    talk: bool,
}

/// The byte at a place of a stream.
fn byte(conversation: usize, node: usize, at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (conversation * 2 + node) as u8
}

fn settings(random: &mut Random) -> TcpSettings {
    let mut settings = TcpSettings {
        timestamps: random.chance(700),
        sack: random.chance(800),
        dsack: random.chance(800),
        window_scaling: random.chance(800),
        autotune: random.chance(800),
        ecn: [EcnPolicy::Off, EcnPolicy::On, EcnPolicy::Passive][random.below(3) as usize],
        // What is drawn next says it too, so that it is no draw of its own and seeds of before stay what they were.
        mtu_probing: [MtuProbing::BlackHole, MtuProbing::On][random.clone().below(2) as usize],
        ..TcpSettings::default()
    };
    settings.sender.algorithm = algorithm(random);
    settings.sender.frto = random.chance(800);
    settings.sender.tail_loss_probe = random.chance(800);
    settings.sender.initial_window = [1, 2, 4, 10][random.below(4) as usize];
    settings
}

fn algorithm(random: &mut Random) -> Algorithm {
    [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr][random.below(3) as usize]
}

fn misbehaviour(random: &mut Random, harsh: bool) -> Misbehaviour {
    let mut wire =
        Misbehaviour { delay: Duration::from_micros(random.below(40_000)), ..Misbehaviour::default() };
    // Each seed has a few of the faults, not a bit of all.
    if random.chance(500) {
        wire.loss = random.below(if harsh { 400 } else { 80 }) as u16;
    }
    if random.chance(200) {
        wire.burst = 1 + random.below(if harsh { 30 } else { 10 }) as u16;
        // An orphan gives up after eight losses in a row, so bursts on fair wires are short.
        wire.burst_end = if harsh { 200 } else { 700 } + random.below(300) as u16;
    }
    if random.chance(300) {
        wire.duplicate = random.below(200) as u16;
    }
    if random.chance(300) {
        wire.reorder = random.below(300) as u16;
        wire.held_back = Duration::from_micros(random.below(60_000));
    }
    if random.chance(200) {
        wire.corrupt = random.below(if harsh { 200 } else { 40 }) as u16;
    }
    if random.chance(100) {
        wire.truncate = random.below(40) as u16;
    }
    if random.chance(400) {
        wire.jitter = Duration::from_micros(random.below(10_000));
    }
    if random.chance(300) {
        wire.rate = 20_000 + random.below(2_000_000);
        wire.queue = 5_000 + random.below(100_000) as u32;
    }
    if random.chance(100) {
        wire.mtu = 1280 + random.below(220) as u16;
        wire.silent = harsh && random.chance(300);
    }
    if random.chance(100) {
        let all =
            [Report::HostUnreachable, Report::PortUnreachable, Report::TimeExceeded, Report::TooBig(600)];
        wire.report = random.below(300) as u16;
        wire.reported = Some(all[random.below(4) as usize]);
    }
    wire
}

fn size(random: &mut Random) -> usize {
    match random.below(10) {
        0 => 0,
        1 => 1,
        2..=4 => random.below(2_000) as usize,
        5..=8 => random.below(20_000) as usize,
        _ => random.below(150_000) as usize,
    }
}

fn options(random: &mut Random) -> Vec<SocketOption> {
    let mut options = Vec::new();
    for _ in 0..random.below(4) {
        let on = random.chance(500);
        options.push(match random.below(14) {
            0 => SocketOption::NoDelay(on),
            1 => SocketOption::Cork(on),
            2 => SocketOption::QuickAck(on),
            3 => SocketOption::Congestion(algorithm(random)),
            4 => SocketOption::MaxPacingRate(10_000 + random.below(10_000_000)),
            5 => SocketOption::KeepAlive(true),
            6 => SocketOption::KeepIdle(Duration::from_secs(1 + random.below(20))),
            7 => SocketOption::ReceiveBuffer(random.below(60_000) as u32),
            8 => SocketOption::SendBuffer(random.below(60_000) as u32),
            9 => SocketOption::WindowClamp(random.below(20_000) as u32),
            10 => SocketOption::OobInline(on),
            11 => SocketOption::Tos(random.below(256) as u8),
            12 => SocketOption::NotSentLow(random.below(20_000) as u32),
            _ => SocketOption::UserTimeout(Duration::from_secs(1000)),
        });
    }
    options
}

fn plan(random: &mut Random) -> Plan {
    let piece = |random: &mut Random| {
        [1 + random.below(300), 1460, 10_000, 100_000][random.below(4) as usize] as usize
    };
    let ending = match random.below(10) {
        0..=4 => Ending::HalfClose,
        5..=7 => Ending::Close,
        8 => Ending::After,
        _ => Ending::Abort(random.below(5_000) as usize),
    };
    let sends = size(random);
    let mut plan = Plan {
        sends,
        write_piece: piece(random),
        read_piece: piece(random),
        pause: Duration::ZERO,
        ending,
        options: options(random),
    };
    if random.chance(200) {
        // Slow readers, but not so slow that the peer waits for a minute.
        plan.pause = Duration::from_millis(random.below(200));
        plan.read_piece = plan.read_piece.max(5_000);
    }
    plan
}

impl Life {
    fn new(ribs: &[flumen_stack::route::Rib], seed: u64) -> Life {
        let mut random = Random::new(seed);
        let random = &mut random;
        let harsh = random.chance(150);
        let mut world = World::new(Instant::from_millis(1000 + random.below(1000)));
        for (number, rib) in ribs.iter().enumerate() {
            let settings = NodeSettings {
                neighbours: NeighbourConfig { max_entries: 32, ..NeighbourConfig::default() },
                sockets: SocketLimits { udp: 1, raw: 1, blocks: 1024, ..SocketLimits::default() },
                tcp: TcpConfig {
                    connections: 16,
                    listeners: 2,
                    requests: 16,
                    time_waits: 16,
                    runs: 2048,
                    ranges: 512,
                    metrics: 16,
                    settings: settings(random),
                    ..TcpConfig::default()
                },
                seed: random.number(),
            };
            world.nodes.push(Node::with(settings, vec![interface(number)], rib.reader().unwrap()).unwrap());
        }
        let wire = misbehaviour(random, harsh);
        let ends = [(0, PortId::FIRST), (1, PortId::FIRST)];
        world.wires.push((Wire::new(wire, random.number()), ends));
        let changes =
            random.chance(100).then(|| (world.now + ms(random.below(1000)), misbehaviour(random, harsh)));
        let reports = wire.report > 0 || changes.as_ref().is_some_and(|(_, wire)| wire.report > 0);
        let cookies = [CookiePolicy::UnderPressure, CookiePolicy::Always, CookiePolicy::Never];
        let listen = ListenOptions {
            settings: ListenSettings {
                cookies: cookies[if random.chance(100) { 1 } else { random.below(2) as usize * 2 }],
                timestamps: random.chance(800),
                sack: random.chance(800),
                window_scaling: random.chance(800),
                defer_accept: Duration::from_secs(if random.chance(100) { 1 + random.below(5) } else { 0 }),
                ..ListenSettings::default()
            },
            options: options(random),
            ..ListenOptions::default()
        };
        let conversations = (0..1 + random.below(3))
            .map(|_| {
                let crossing = random.chance(50);
                let mut ends = [End::new(plan(random)), End::new(plan(random))];
                let opener = random.below(2) as usize;
                let [first, second] = &mut ends;
                if first.plan.ending == Ending::After && second.plan.ending == Ending::After {
                    first.plan.ending = Ending::HalfClose;
                }
                // A cookie, or deferred accepting, waits for what the opener says.
                let opening = &mut ends[opener].plan;
                opening.sends = opening.sends.max(1);
                if opening.ending == Ending::After {
                    opening.ending = Ending::HalfClose;
                }
                if ends[1 - opener].plan.ending == Ending::After {
                    ends[opener].plan.ending = Ending::HalfClose;
                }
                let opens_at = world.now + ms(random.below(100));
                let (v6, local, opened) = (random.chance(500), None, false);
                Conversation { v6, opens_at, opener, crossing, local, ends, opened }
            })
            .collect();
        let talk = std::env::var("FLUMEN_SIM_TALK").is_ok();
        Life {
            seed,
            world,
            conversations,
            harsh,
            reports,
            ghosts: 0,
            listeners: Vec::new(),
            listen,
            changes,
            talk,
        }
    }

    fn live(mut self) {
        if self.talk {
            println!("\nseed {}: harsh {} {:?}", self.seed, self.harsh, self.world.wires[0].0.misbehaviour);
            println!("then {:?}; {:?}", self.changes, self.listen);
            for conversation in &self.conversations {
                println!("{conversation:?}");
            }
        }
        self.listen();
        let started = self.world.now;
        let mut last_heard = started;
        let mut steps = 0;
        while !self.is_over() {
            steps += 1;
            let lasted = self.world.now.since(started);
            assert!(steps < 300_000, "no end after {lasted:?}: {:#?}", self.conversations);
            self.applications();
            let wakes = self.next_wake();
            let now = self.world.now;
            let until = wakes.max(now).min(now + Duration::from_secs(3600));
            let (talk, mut heard) = (self.talk, false);
            let happened = self.world.step(until, |arrival| {
                heard = true;
                if talk {
                    println!("{:?} to {}: {}", arrival.at, arrival.node, describe(&arrival.frame));
                }
            });
            if heard {
                last_heard = self.world.now;
            }
            if !happened {
                self.world.now = until;
            }
            if wakes == Instant::NEVER && self.world.now.since(last_heard) > HOPELESS {
                // An ICMP error makes an application's orphan give up at its next timeout, as in Linux.
                // And a reset that answered data in front of a cookie may end the opener's orphan alone.
                let cookies = self.listen.settings.cookies == CookiePolicy::Always;
                let excused = self.harsh || self.heard_errors() || cookies;
                assert!(excused, "everything is quiet after {lasted:?}, but: {:#?}", self.conversations);
                self.give_up();
            }
        }
        for conversation in 0..self.conversations.len() {
            self.judge(conversation);
        }
        self.assert_nothing_is_left();
    }

    /// A peer that gave up may not have been heard: nobody but the application can know that nothing will come.
    fn give_up(&mut self) {
        let now = self.world.now;
        for one in &mut self.conversations {
            for (node, end) in one.ends.iter_mut().enumerate().filter(|(_, end)| end.outcome.is_none()) {
                if let Some(handle) = end.handle.take() {
                    self.world.nodes[node].sockets(now).tcp_abort(handle);
                }
                end.outcome = Some(Err(Error::TimedOut));
            }
        }
    }

    fn listen(&mut self) {
        let now = self.world.now;
        for node in 0..2 {
            let at = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), PORT);
            let listener =
                self.world.nodes[node].sockets(now).tcp_listen(Owner(9), at, &self.listen).unwrap();
            self.listeners.push(listener);
        }
    }

    fn next_wake(&self) -> Instant {
        let mut next = self.changes.as_ref().map_or(Instant::NEVER, |(at, _)| *at);
        for one in &self.conversations {
            if !one.opened {
                next = next.min(one.opens_at);
            }
            for end in &one.ends {
                if end.handle.is_some() && end.wakes > self.world.now {
                    next = next.min(end.wakes);
                }
            }
        }
        next
    }

    /// Applications do what is due, and what news make them do.
    fn applications(&mut self) {
        let now = self.world.now;
        if let Some((_, wire)) = self.changes.take_if(|(at, _)| *at <= now) {
            self.world.wires[0].0.misbehaviour = wire;
        }
        for number in 0..self.conversations.len() {
            if !self.conversations[number].opened && self.conversations[number].opens_at <= now {
                self.open(number);
            }
            for node in 0..2 {
                let end = &mut self.conversations[number].ends[node];
                if end.wakes != Instant::ZERO && end.wakes <= now {
                    end.wakes = Instant::ZERO;
                    self.act(number, node);
                }
            }
        }
        for node in 0..2 {
            while let Some((socket, owner, news)) = self.world.nodes[node].sockets(now).next_news() {
                if self.talk {
                    println!("{now:?} at {node}: {socket:?} of {owner:?} {news:?}");
                }
                match socket {
                    SocketId::Listener(listener) => self.accept(node, listener),
                    SocketId::Tcp(handle) => {
                        let whose = |one: &Conversation| one.ends[node].handle == Some(handle);
                        if let Some(number) = self.conversations.iter().position(whose) {
                            self.act(number, node);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn open(&mut self, number: usize) {
        let now = self.world.now;
        let one = &mut self.conversations[number];
        one.opened = true;
        let (crossing, v6, opener) = (one.crossing, one.v6, one.opener);
        let ports = |node: usize| if crossing { 5000 + (number * 2 + node) as u16 } else { PORT };
        for node in (0..2).filter(|node| crossing || *node == opener) {
            let options = ConnectOptions {
                from: crossing.then(|| address(node, v6, ports(node))),
                options: one.ends[node].plan.options.clone(),
                ..ConnectOptions::default()
            };
            let to = address(1 - node, v6, ports(1 - node));
            let mut sockets = self.world.nodes[node].sockets(now);
            let handle = sockets.tcp_connect(Owner(number as u64), to, &options).unwrap();
            one.local = Some(sockets.tcp_local(handle).unwrap());
            one.ends[node].handle = Some(handle);
        }
    }

    fn accept(&mut self, node: usize, listener: Handle) {
        let now = self.world.now;
        while let Ok((handle, peer)) = self.world.nodes[node].sockets(now).tcp_accept(listener, Owner(9)) {
            let found = self.conversations.iter().position(|one| {
                one.opener != node
                    && one.local == Some(peer)
                    && one.ends[node].handle.is_none()
                    && !one.crossing
            });
            match found {
                Some(number) if self.conversations[number].ends[node].outcome.is_none() => {
                    let end = &mut self.conversations[number].ends[node];
                    end.handle = Some(handle);
                    for option in end.plan.options.clone() {
                        self.world.nodes[node].sockets(now).tcp_set_option(handle, option).unwrap();
                    }
                    self.act(number, node);
                }
                _ => {
                    // A cookie that came twice is another connection, to which nobody is the peer.
                    self.ghosts += 1;
                    self.world.nodes[node].sockets(now).tcp_close(handle);
                }
            }
        }
    }

    /// One application goes on as far as it can.
    fn act(&mut self, number: usize, node: usize) {
        let now = self.world.now;
        let expects = self.conversations[number].ends[1 - node].plan.sends;
        let end = &mut self.conversations[number].ends[node];
        let Some(handle) = end.handle.filter(|_| end.outcome.is_none()) else { return };
        let mut sockets = self.world.nodes[node].sockets(now);
        let outcome = step(&mut sockets, end, handle, expects, number, node);
        if let Some(outcome) = outcome {
            if outcome.is_err() {
                sockets.tcp_close(handle);
            }
            end.outcome = Some(outcome);
            end.handle = None;
            if self.talk {
                println!("{now:?} {number}/{node}: {outcome:?}");
            }
        }
    }

    /// Everybody let go, and what TCP keeps for itself is over too.
    fn is_over(&mut self) -> bool {
        let now = self.world.now;
        let mut failed = Vec::new();
        for (number, one) in self.conversations.iter().enumerate() {
            let [first, second] = &one.ends;
            if !one.opened {
                return false;
            }
            match (&first.outcome, &second.outcome) {
                (Some(_), Some(_)) => {}
                (None, None) => return false,
                // The other end failed, or aborted: this one may never hear of it, or never have existed.
                (Some(Err(_)), None) => failed.push((number, 1)),
                (None, Some(Err(_))) => failed.push((number, 0)),
                _ => return false,
            }
        }
        let usage = [0, 1].map(|node| self.world.nodes[node].stack.tcp.usage());
        let waiting: usize = failed.len();
        if waiting > 0 {
            // Nothing is on its way that could tell it.
            let gone = self.world.is_empty() && (0..2).all(|node| self.world.nodes[node].is_quiet());
            for (number, node) in failed {
                let end = &mut self.conversations[number].ends[node];
                let orphaned = usage[1 - node].connections == 0;
                if gone && (orphaned || end.handle.is_none()) && usage[node].requests == 0 {
                    if let Some(handle) = end.handle.take() {
                        self.world.nodes[node].sockets(now).tcp_abort(handle);
                    }
                    end.outcome = Some(Err(Error::Aborted));
                }
            }
            return false;
        }
        usage == [TcpUsage::default(); 2] && self.world.is_empty()
    }

    /// How one conversation went.
    fn judge(&self, number: usize) {
        let one = &self.conversations[number];
        let excused = self.harsh
            || one.ends.iter().any(|end| matches!(end.plan.ending, Ending::Abort(_)))
            || self.heard_errors()
            // Data that overtake the handshake's last segment carry no cookie, and are answered with a reset (as Linux).
            || self.listen.settings.cookies == CookiePolicy::Always;
        for (node, end) in one.ends.iter().enumerate() {
            match end.outcome {
                Some(Ok(())) => {
                    assert_eq!(end.written, end.plan.sends, "{number}/{node} did not write everything");
                    assert_eq!(
                        end.read,
                        one.ends[1 - node].plan.sends,
                        "{number}/{node} did not read everything"
                    );
                }
                Some(Err(TOO_EARLY)) => {
                    // Only another connection with the same names can say so: the cookie came twice.
                    assert!(self.ghosts > 0, "{number}/{node} was told of the end too early: {one:#?}");
                }
                Some(Err(error)) => {
                    assert!(excused, "{number}/{node} failed on a fair wire: {error}: {one:#?}");
                }
                None => panic!("{number}/{node} has no outcome"),
            }
        }
    }

    /// ICMP errors came, which end handshakes: from the wire, or from ourselves when it lost every ARP or neighbour
    /// discovery exchange of a resolution.
    fn heard_errors(&self) -> bool {
        let unresolved = |node: &Node| node.stack.counters.dropped(DropReason::NeighbourUnreachable) > 0;
        self.reports || self.world.nodes.iter().any(unresolved)
    }

    fn assert_nothing_is_left(&mut self) {
        let now = self.world.now;
        for (number, node) in self.world.nodes.iter_mut().enumerate() {
            node.sockets(now).tcp_unlisten(self.listeners[number]);
            assert_eq!(node.stack.tcp.usage(), TcpUsage::default(), "node {number}");
            assert_eq!(node.stack.blocks.in_use(), 0, "blocks of node {number}");
            assert!(node.is_conserved(), "frames of node {number}");
            assert!(node.books_balance(), "the books of node {number}");
        }
    }
}

/// What an application does now; `Some`: it is done.
fn step(
    sockets: &mut flumen_stack::socket::api::Sockets<'_, flumen_stack::frame::heap::HeapFrame>,
    end: &mut End,
    handle: Handle,
    expects: usize,
    number: usize,
    node: usize,
) -> Option<Result<(), Error>> {
    let mut buffer = vec![0; end.plan.read_piece.max(end.plan.write_piece)];
    let aborts =
        |end: &End| matches!(end.plan.ending, Ending::Abort(after) if end.read + end.written >= after);
    let waits = end.plan.ending == Ending::After && !end.peer_ended;
    if !waits {
        while end.written < end.plan.sends {
            let len = end.plan.write_piece.min(end.plan.sends - end.written);
            for (ahead, place) in buffer[..len].iter_mut().enumerate() {
                *place = byte(number, node, end.written + ahead);
            }
            match sockets.tcp_send(handle, &buffer[..len]) {
                Ok(count) => end.written += count,
                Err(Error::WouldBlock) => break,
                Err(error) => return Some(Err(error)),
            }
            if aborts(end) {
                break;
            }
        }
    }
    if aborts(end) {
        sockets.tcp_abort(handle);
        return Some(Err(Error::Aborted));
    }
    let all_written = end.written == end.plan.sends;
    if all_written && !end.shut && matches!(end.plan.ending, Ending::HalfClose | Ending::Abort(_)) {
        end.shut = true;
        if let Err(error) = sockets.tcp_shutdown(handle, Shutdown::Write) {
            return Some(Err(sockets.tcp_take_error(handle).unwrap_or(error)));
        }
    }
    while !end.peer_ended && end.wakes == Instant::ZERO {
        let most = end.plan.read_piece;
        match sockets.tcp_recv(handle, &mut buffer[..most]) {
            Ok(0) => end.peer_ended = true,
            Ok(count) => {
                for (ahead, got) in buffer[..count].iter().enumerate() {
                    let at = end.read + ahead;
                    assert_eq!(*got, byte(number, 1 - node, at), "byte {at} for {number}/{node}");
                }
                end.read += count;
                assert!(end.read <= expects, "{number}/{node} got more than was sent");
                if !end.plan.pause.is_zero() {
                    end.wakes = sockets.now() + end.plan.pause;
                }
            }
            Err(Error::WouldBlock | Error::InProgress) => break,
            Err(error) => return Some(Err(error)),
        }
        if aborts(end) {
            sockets.tcp_abort(handle);
            return Some(Err(Error::Aborted));
        }
    }
    if end.peer_ended && end.read < expects {
        return Some(Err(sockets.tcp_take_error(handle).unwrap_or(TOO_EARLY)));
    }
    let done = match end.plan.ending {
        Ending::HalfClose | Ending::Abort(_) => end.shut && end.peer_ended,
        Ending::Close => all_written && end.read == expects,
        Ending::After if waits && end.peer_ended => {
            return step(sockets, end, handle, expects, number, node);
        }
        Ending::After => all_written && end.peer_ended,
    };
    if done {
        sockets.tcp_close(handle);
        return Some(Ok(()));
    }
    None
}

/// A frame in words, for replays.
fn describe(frame: &[u8]) -> String {
    let (offset, protocol) = match frame.get(12..14) {
        Some([8, 0]) if frame.len() >= 34 => (34, frame[23]),
        Some([0x86, 0xdd]) if frame.len() >= 54 => (54, frame[20]),
        _ => return format!("{:02x?}", &frame[..frame.len().min(42)]),
    };
    let Some(tcp) = frame.get(offset..).filter(|tcp| protocol == 6 && tcp.len() >= 20) else {
        return format!(
            "protocol {protocol}, {} bytes {:02x?}",
            frame.len(),
            &frame[offset..frame.len().min(offset + 8)]
        );
    };
    let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let flags: String =
        "FSRPAUEC".chars().enumerate().filter(|(bit, _)| tcp[13] >> bit & 1 == 1).map(|x| x.1).collect();
    let header = usize::from(tcp[12] >> 4) * 4;
    let data = tcp.len().saturating_sub(header);
    let options = &tcp[20..header.clamp(20, tcp.len())];
    format!(
        "{} > {} {flags} seq {} ack {} win {} len {data} {options:02x?}",
        half(0),
        half(2),
        word(4),
        word(8),
        half(14)
    )
}

/// Says which seed it was when it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the seed is {0}; replay, with every frame: FLUMEN_SIM_TALK=1 FLUMEN_SIM_SEED={0} cargo test -p \
                 flumen-stack --test tcp_sim -- --nocapture",
                self.0
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The lives of one share.
fn lives(share: u64) {
    let ribs: Vec<_> = (0..2).map(|node| sim::rib(&[interface(node)], &[]).unwrap()).collect();
    let all = match number("FLUMEN_SIM_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("FLUMEN_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in all.filter(|seed| seed % SHARES == share) {
        let _seed = Seed(seed);
        Life::new(&ribs, seed).live();
    }
}

#[test]
fn whatever_the_wire_does_bytes_arrive_once_or_an_error_is_told_and_nothing_is_left_even_seeds() {
    lives(0);
}

#[test]
fn whatever_the_wire_does_bytes_arrive_once_or_an_error_is_told_and_nothing_is_left_odd_seeds() {
    lives(1);
}
