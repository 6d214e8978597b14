//! Conversations: connections that talk in virtual time, segment by segment.
//!
//! [`Host`] is one connection with pools of its own; [`Script`] plays the peer of one by hand; [`Pair`] joins two by
//! a wire that delays, and on demand loses, doubles, reorders and corrupts.

mod closing;
mod defence;
mod fast_open;
mod habits;
mod handshake;
mod lossy;
mod probing;
mod receiving;
mod requirements;
mod sending;
mod short_ways;
mod timing;

use super::challenge::ChallengeLimiter;
use super::connection::{ConnectArgs, Connection, Context};
use super::error::SocketError;
use super::intervals::IntervalPool;
use super::options::{self, Emitted, SynOptions};
use super::recovery::RunPool;
use super::secret::Secret;
use super::segment::{Check, Disposition, Outgoing, Output, Segment};
use super::settings::TcpSettings;
use super::state::State;
use super::stats::TcpStats;
use super::{Accepted, Arrived, Negotiated, Scales, Seq};
use crate::checksum;
use crate::socket::blocks::BlockPool;
use crate::time::Instant;
use crate::wire::tcp::flag;
use core::time::Duration;

const MSS: u16 = 1460;
const ACK: u16 = flag::ACK;
const PSH: u16 = flag::PSH;
const FIN: u16 = flag::FIN;
const SYN: u16 = flag::SYN;
const RST: u16 = flag::RST;
const URG: u16 = flag::URG;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A segment on its way.
#[derive(Debug, Clone)]
struct Wire {
    out: Outgoing,
    data: Vec<u8>,
    /// Added to the checksum: not zero means that it is corrupt.
    damage: u16,
}

impl Wire {
    fn is(&self, flags: u16, seq: u32, ack: u32, len: usize) -> bool {
        let got = (self.out.flags, self.out.seq.0, self.out.ack.0, self.data.len());
        let same = got == (flags, seq, ack, len);
        assert!(
            same,
            "got flags {:#x} seq {} ack {} len {}; wanted {:?}",
            got.0,
            got.1,
            got.2,
            got.3,
            (flags, seq, ack, len)
        );
        same
    }

    fn options(&self) -> options::Parsed {
        options::parse(self.out.options.as_bytes(), self.out.flags & SYN != 0)
    }
}

/// Pools, defaults and counters of one worker.
struct Pools {
    now: Instant,
    blocks: BlockPool,
    runs: RunPool,
    ranges: IntervalPool,
    settings: TcpSettings,
    stats: TcpStats,
    challenge: ChallengeLimiter,
}

impl Pools {
    fn new(settings: TcpSettings) -> Pools {
        Pools {
            now: Instant::from_millis(1000),
            blocks: BlockPool::new(8192),
            runs: RunPool::new(4096),
            ranges: IntervalPool::new(1024),
            settings,
            stats: TcpStats::default(),
            challenge: ChallengeLimiter::new(Secret::new([1, 2]), None),
        }
    }

    fn cx(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            blocks: &mut self.blocks,
            ranges: &mut self.ranges,
            runs: &mut self.runs,
            settings: &self.settings,
            stats: &mut self.stats,
            challenge: &mut self.challenge,
        }
    }

    fn assert_nothing_leaked(&self) {
        assert_eq!(self.blocks.available(), self.blocks.capacity(), "blocks");
        assert_eq!(self.runs.available(), self.runs.capacity(), "runs");
        assert_eq!(self.ranges.available(), self.ranges.capacity(), "ranges");
    }
}

/// One connection with pools of its own.
struct Host {
    pools: Pools,
    tcp: Connection,
    /// How the connection ended, once it did.
    ended: Option<Disposition>,
}

fn connect_args(iss: u32) -> ConnectArgs {
    ConnectArgs {
        iss: Seq(iss),
        ts_offset: 0,
        path_mss: MSS,
        default_mss: 536,
        fast_open: None,
        no_cookie: false,
        defer: false,
    }
}

impl Host {
    fn connect(settings: TcpSettings, iss: u32) -> Host {
        let mut pools = Pools::new(settings);
        let tcp = Connection::connect(&mut pools.cx(), &connect_args(iss));
        Host { pools, tcp, ended: None }
    }

    fn accept(settings: TcpSettings, accepted: &Accepted) -> Host {
        let mut pools = Pools::new(settings);
        let tcp = Connection::accepted(&mut pools.cx(), accepted, None);
        Host { pools, tcp, ended: None }
    }

    fn heed(&mut self, disposition: Disposition) {
        if matches!(disposition, Disposition::Closed(_) | Disposition::TimeWait(_)) {
            self.ended = Some(disposition);
        }
    }

    fn input(&mut self, wire: &Wire) -> Disposition {
        // The header's part of the checksum is what makes the whole sum valid, as a true sender would have it.
        let field = checksum::sum(&wire.data).checksum();
        let header = checksum::Sum::default().plus_u16(field).plus_u16(wire.damage);
        let cut = wire.data.len().min((wire.data.len() / 2) | 1);
        let (first, rest) =
            wire.data.split_at(if wire.out.seq.0.is_multiple_of(3) { cut } else { wire.data.len() });
        let rest = [rest];
        let segment = Segment {
            seq: wire.out.seq,
            ack: wire.out.ack,
            flags: wire.out.flags,
            window: wire.out.window,
            urgent: wire.out.urgent,
            options: wire.out.options.as_bytes(),
            data: first,
            more: if rest[0].is_empty() { &[] } else { &rest },
            check: Check::Pending(header),
            congested: false,
            ttl: 64,
        };
        let disposition = self.tcp.on_segment(&mut self.pools.cx(), &segment);
        self.heed(disposition);
        disposition
    }

    /// Everything that may leave now, each segment by itself.
    fn output(&mut self) -> Vec<Wire> {
        let mut all = Vec::new();
        while let Some(train) = self.tcp.poll_transmit(&mut self.pools.cx(), 64) {
            for out in train.segments() {
                let mut data = vec![0; out.len as usize];
                self.tcp.copy_out(&self.pools.cx(), out.offset, &mut data);
                all.push(Wire { out, data, damage: 0 });
            }
            assert!(all.len() < 10_000, "output without end");
        }
        all
    }

    fn expire(&mut self) -> Disposition {
        let disposition = self.tcp.on_timer(&mut self.pools.cx());
        self.heed(disposition);
        disposition
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        self.tcp.send(&mut self.pools.cx(), bytes, false)
    }

    fn recv(&mut self) -> Result<Vec<u8>, SocketError> {
        let mut out = vec![0; self.tcp.readable().max(1)];
        let count = self.tcp.recv(&mut self.pools.cx(), &mut out)?;
        out.truncate(count);
        Ok(out)
    }

    fn close(&mut self) -> Disposition {
        let disposition = self.tcp.close(&mut self.pools.cx());
        self.heed(disposition);
        disposition
    }
}

/// Defaults without timestamps: option bytes then stand still, which makes scripts short.
fn plain() -> TcpSettings {
    TcpSettings { timestamps: false, ..TcpSettings::default() }
}

/// What a listener would hand over: the peer's ISS is 1000, ours is `iss`.
fn accepted(iss: u32, settings: &TcpSettings) -> Accepted {
    Accepted {
        arrived: Arrived::Established,
        irs: Seq(1000),
        iss: Seq(iss),
        negotiated: Negotiated {
            mss: MSS,
            scales: Some(Scales { theirs: 7, ours: 7 }),
            sack: settings.sack,
            timestamps: settings.timestamps,
            ecn: false,
        },
        path_mss: MSS,
        advertised_mss: MSS,
        window: 64_128,
        offered: 64_240,
        rtt: Some(Duration::from_millis(20)),
        retransmissions: 0,
        ts_recent: 0,
        ts_offset: 0,
    }
}

/// One connection, whose peer is played by hand. Our ISS is 5000, the peer's 1000.
struct Script {
    host: Host,
    /// The window field of what is injected.
    window: u16,
}

impl Script {
    /// ESTABLISHED, window scale 7 both ways; nothing was sent yet: we are at 5001, the peer at 1001.
    fn established(settings: TcpSettings) -> Script {
        let accepted = accepted(5000, &settings);
        Script { host: Host::accept(settings, &accepted), window: 501 }
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        let at = Instant::from_millis(1000 + millis);
        assert!(at >= self.host.pools.now);
        self.host.pools.now = at;
        self
    }

    fn wire(&self, flags: u16, seq: u32, ack: u32, data: &[u8]) -> Wire {
        Wire {
            out: Outgoing {
                seq: Seq(seq),
                ack: Seq(ack),
                flags,
                window: self.window,
                urgent: 0,
                options: Emitted::NONE,
                offset: 0,
                len: data.len() as u32,
                mss: MSS,
                ect: false,
                signature: None,
                dont_fragment: true,
            },
            data: data.to_vec(),
            damage: 0,
        }
    }

    fn inject(&mut self, flags: u16, seq: u32, ack: u32, data: &[u8]) -> Disposition {
        let wire = self.wire(flags, seq, ack, data);
        self.host.input(&wire)
    }

    fn expect(&mut self, wanted: &[(u16, u32, u32, usize)]) -> Vec<Wire> {
        let got = self.host.output();
        let seen: Vec<_> =
            got.iter().map(|one| (one.out.flags, one.out.seq.0, one.out.ack.0, one.data.len())).collect();
        assert_eq!(seen, wanted, "at {:?}", self.host.pools.now);
        got
    }

    fn tcp(&mut self) -> &mut Connection {
        &mut self.host.tcp
    }

    /// Lets the next timer fire, and says when that was, in ms after the start.
    fn next_timer(&mut self) -> u64 {
        let at = self.host.tcp.next_deadline();
        assert!(at != Instant::NEVER, "no timer is armed");
        self.host.pools.now = at.max(self.host.pools.now);
        let _ = self.host.expire();
        self.host.pools.now.nanos() / 1_000_000 - 1000
    }

    /// Uses up quick acknowledgments: the first segments are acknowledged at once. Leaves the peer at 1001 + 20 and
    /// everything read.
    fn past_quick_acks(&mut self) {
        for n in 0..40 {
            let _ = self.inject(ACK, 1001 + n, 5001, b"q");
            self.host.output();
        }
        assert_eq!(self.host.recv().unwrap().len(), 40);
        while self.host.tcp.next_deadline() != Instant::NEVER {
            self.next_timer();
            self.host.output();
        }
    }
}

/// A small generator of numbers (SplitMix64), so that every conversation can be had again from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn percent(&mut self, chance: u32) -> bool {
        self.next() % 100 < u64::from(chance)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// What a wire does to segments, in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    lose: u32,
    double: u32,
    reorder: u32,
    corrupt: u32,
}

/// Two hosts and the wire between them.
struct Pair {
    hosts: [Host; 2],
    now: Instant,
    wire: Vec<(Instant, u64, usize, Wire)>,
    serial: u64,
    delay: Duration,
    faults: Faults,
    /// Data of the largest segment that gets through.
    carries: usize,
    random: Random,
    /// Every segment that was sent: who, and the segment.
    log: Vec<(usize, Wire)>,
    keep_log: bool,
}

impl Pair {
    /// A client in SYN-SENT; the passive side begins when the SYN comes.
    fn new(settings: [TcpSettings; 2], delay: Duration) -> Pair {
        let [a, b] = settings;
        let client = Host::connect(a, 5000);
        let server = Host::connect(b, 1000);
        Pair {
            hosts: [client, server],
            now: Instant::from_millis(1000),
            wire: Vec::new(),
            serial: 0,
            delay,
            faults: Faults::default(),
            carries: usize::MAX,
            random: Random(1),
            log: Vec::new(),
            keep_log: true,
        }
    }

    /// Two that are connected: 0 opened, 1 accepted as a listener would let it.
    fn connected(settings: [TcpSettings; 2], delay: Duration) -> Pair {
        let mut pair = Pair::new(settings, delay);
        let syn = pair.hosts[0].output().remove(0);
        let parsed = syn.options();
        let server = &pair.hosts[1].pools.settings;
        let scale = server.window_scale();
        let scales =
            parsed.scale.map(|theirs| Scales { theirs, ours: scale }).filter(|_| server.window_scaling);
        let timestamps = parsed.timestamps.filter(|_| server.timestamps);
        let negotiated = Negotiated {
            mss: parsed.mss.unwrap(),
            scales,
            sack: parsed.sack_permitted && server.sack,
            timestamps: timestamps.is_some(),
            ecn: false,
        };
        let accepted = Accepted {
            irs: syn.out.seq,
            iss: Seq(1000),
            negotiated,
            window: u32::from(syn.out.window),
            ts_recent: timestamps.map_or(0, |(value, _)| value),
            rtt: Some(delay * 2),
            ..accepted(1000, server)
        };
        let mut options = Emitted::NONE;
        SynOptions {
            mss: MSS,
            sack: negotiated.sack,
            timestamps: timestamps.map(|(value, _)| (1000, value)),
            scale: scales.map(|scales| scales.ours),
            fast_open: None,
            experimental: false,
        }
        .emit(&mut options);
        let settings = server.clone();
        pair.hosts[1] = Host::accept(settings, &accepted);
        let syn_ack = Wire {
            out: Outgoing {
                seq: Seq(1000),
                ack: syn.out.seq + 1,
                flags: SYN | ACK,
                window: 64_240,
                options,
                ..syn.out
            },
            data: Vec::new(),
            damage: 0,
        };
        assert_eq!(pair.hosts[0].input(&syn_ack), Disposition::Keep(Output::Later));
        assert_eq!(pair.hosts[0].tcp.state(), State::Established);
        pair
    }

    fn poll(&mut self, who: usize) {
        self.hosts[who].pools.now = self.now;
        for wire in self.hosts[who].output() {
            if self.keep_log {
                self.log.push((who, wire.clone()));
            }
            if self.random.percent(self.faults.lose) || wire.data.len() > self.carries {
                continue;
            }
            let copies = if self.random.percent(self.faults.double) { 2 } else { 1 };
            for _ in 0..copies {
                let mut one = wire.clone();
                if self.random.percent(self.faults.corrupt) {
                    one.damage = 1 + self.random.below(0xfffe) as u16;
                }
                let late = if self.random.percent(self.faults.reorder) {
                    self.delay.mul_f64(self.random.below(100) as f64 / 50.0)
                } else {
                    Duration::ZERO
                };
                self.serial += 1;
                self.wire.push((self.now + self.delay + late, self.serial, 1 - who, one));
            }
        }
    }

    /// Does the next thing that happens. False: nothing ever will.
    fn step(&mut self, until: Instant) -> bool {
        self.poll(0);
        self.poll(1);
        let arrival = self.wire.iter().map(|(at, serial, ..)| (*at, *serial)).min();
        let timers = self.hosts.iter().map(|host| host.tcp.next_deadline()).min().unwrap();
        let next = arrival.map_or(Instant::NEVER, |(at, _)| at).min(timers);
        if next > until || next == Instant::NEVER {
            self.now = if until == Instant::NEVER { self.now } else { until };
            return false;
        }
        self.now = self.now.max(next);
        for host in &mut self.hosts {
            host.pools.now = self.now;
        }
        if let Some((at, serial)) = arrival
            && at <= timers
        {
            let place = self.wire.iter().position(|one| one.1 == serial).unwrap();
            let (_, _, to, wire) = self.wire.remove(place);
            let disposition = self.hosts[to].input(&wire);
            self.answer(to, &wire, disposition);
        } else {
            for host in &mut self.hosts {
                if host.tcp.next_deadline() <= self.now {
                    let _ = host.expire();
                }
            }
        }
        true
    }

    /// What the glue does with dispositions: output at once, resets, and TIME-WAIT's acknowledgment.
    fn answer(&mut self, who: usize, cause: &Wire, disposition: Disposition) {
        let bare = |flags, seq, ack| Wire {
            out: Outgoing { seq, ack, flags, window: 0, options: Emitted::NONE, len: 0, ..cause.out },
            data: Vec::new(),
            damage: 0,
        };
        let reply = match disposition {
            Disposition::Keep(Output::Now) | Disposition::Refused(_, Output::Now, None) => {
                self.poll(who);
                None
            }
            Disposition::TimeWait(content) => Some(bare(ACK, content.snd_nxt, content.rcv_nxt)),
            Disposition::Refused(_, _, Some(reset)) => match self.hosts[who].ended {
                // TIME-WAIT answers for the connection, not CLOSED.
                Some(Disposition::TimeWait(content)) => (cause.out.flags & FIN != 0
                    || !cause.data.is_empty())
                .then(|| bare(ACK, content.snd_nxt, content.rcv_nxt)),
                _ => Some(bare(
                    if reset.ack.is_some() { RST | ACK } else { RST },
                    reset.seq,
                    reset.ack.unwrap_or(Seq(0)),
                )),
            },
            Disposition::Closed(Some(reset)) => Some(bare(RST | ACK, reset.seq, reset.ack.unwrap_or(Seq(0)))),
            _ => None,
        };
        if let Some(wire) = reply
            && !self.random.percent(self.faults.lose)
        {
            self.serial += 1;
            self.wire.push((self.now + self.delay, self.serial, 1 - who, wire));
        }
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }
}
