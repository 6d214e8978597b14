//! The TCP sockets of one worker: which connection a segment belongs to, and what happens around the machine in
//! [`super::connection`] (rows T3, T4, T10, T12).
//!
//! ```text
//!   packet ─> input ─> demux ─┬─ connection ──> on_segment ──> settle ─┬─ news for the owner
//!                             ├─ request, listener ──> passive         ├─ deadline to the wheel
//!                             ├─ TIME-WAIT record                      └─ ready: something to send
//!                             └─ nobody ──> reset
//!   turn ends ─> output: each ready connection ──> poll_transmit ──> build ──> ip::output
//!   wheel ────> timers ──> on_timer ──> settle
//! ```
//!
//! Invariants
//! 1. A connection stands in the demultiplexer from its SYN until it is CLOSED, and its place in the table until
//!    its owner let go of it as well.
//! 2. A connection stands in `ready` at most once, so the queue never outgrows the table.
//! 3. The wheel's deadline of a connection is never later than the connection's own.
//! 4. What a connection holds of the shared pools it gives back before its place is free.

mod bind;
mod build;
mod calls;
mod input;
mod names;
mod news;
mod output;
mod passive;
mod timers;
mod warm;

pub use bind::BindOptions;
pub use calls::{ConnectOptions, TcpRow};
pub(crate) use input::{deliver4, deliver6, on_icmp};
pub(crate) use output::output;
pub use passive::{ListenOptions, PeerKey};
pub(crate) use timers::timers;

use super::challenge::ChallengeLimiter;
use super::connection::{Connection, Context};
use super::cookie::SynCookies;
use super::fast_open::{Cookie, FastOpenCache, FastOpenKeys};
use super::intervals::IntervalPool;
use super::isn::IsnGenerator;
use super::listen::Passive;
use super::metrics::MetricsCache;
use super::negotiated::TimeWaitContent;
use super::ports::{EphemeralPorts, PortRange};
use super::recovery::RunPool;
use super::secret::Secret;
use super::settings::TcpSettings;
use super::signature::ConnectionKeys;
use super::state::State;
use super::stats::TcpStats;
use super::time_wait::{TimeWaitSettings, TimeWaits};
use super::tuple::Tuple;
use crate::frame::Frame;
use crate::ip::path::Hop;
use crate::limits::MAX_CONNECTION_BYTES;
use crate::port::PortId;
use crate::socket::blocks::BlockPool;
use crate::socket::bound::{BindId, Bound, Rules};
use crate::socket::error::Error;
use crate::socket::listeners::Listeners;
use crate::socket::{EventQueue, Handle, Owner, Pending, Ready, Slab, SocketId};
use crate::stack::Stack;
use crate::time::Instant;
use crate::timer::TimerWheel;
use core::net::SocketAddr;
use names::{Names, Seat};
use passive::Listening;
use std::collections::VecDeque;

/// Hops are looked up again after this time even when no route changed, so that what was learnt of the path's MTU
/// can age.
const PATH_LASTS: core::time::Duration = core::time::Duration::from_secs(10);

/// How a connection's packets leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// The neighbour; `None` when the peer is this node itself.
    pub(super) hop: Option<Hop>,
    /// The generation of routes and neighbours that this is an answer of, its lower half: until `until` there are not so
    /// many.
    pub(super) generation: u32,
    /// To be asked again then.
    pub(super) until: Instant,
}

/// A connection with what surrounds it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) connection: Connection,
    pub(super) tuple: Tuple,
    pub(super) way: Way,
    pub(super) pending: Pending,
    /// The port that its packets come in by: the link of link-local addresses.
    pub(super) port: PortId,
    /// Stands in `ready`.
    pub(super) is_ready: bool,
    /// Stands in the demultiplexer.
    pub(super) is_bound: bool,
    /// Its owner has it: false for a child that waits to be accepted.
    pub(super) is_accepted: bool,
    /// A listener counts it among its fast opens: that one.
    pub(super) is_fast_open: bool,
    pub(super) listener: Handle,
    /// The identification of the next IPv4 packet.
    pub(super) ip_id: u16,
    /// Its SYN carries the fast open option, and what the peer answers is to be remembered.
    pub(super) asked_fast_open: bool,
    /// Its handshake is not over, so it does not know yet what is remembered of the path.
    pub(super) is_opening: bool,
    /// What its segments are signed with.
    pub(super) keys: Option<Box<ConnectionKeys>>,
    /// The deadline that the wheel has of it; never later than the connection's own.
    pub(super) filed: Instant,
    /// Its hold on its local port, when that was named or is a listener's.
    pub(super) bind: Option<BindId>,
}

/// What grows with the number of connections stays within its bound.
const _: () = assert!(size_of::<Entry>() <= MAX_CONNECTION_BYTES);

/// Bounds and secrets of the TCP sockets of one worker.
#[derive(Debug, Clone)]
pub struct TcpConfig {
    /// Connections, whatever their state but TIME-WAIT.
    pub connections: usize,
    /// Listening sockets.
    pub listeners: usize,
    /// Half-open connections of all listeners together.
    pub requests: usize,
    /// TIME-WAIT records.
    pub time_waits: usize,
    /// Ranges of sent data that are remembered, over all connections.
    pub runs: usize,
    /// Ranges received out of order, over all connections.
    pub ranges: usize,
    /// Destinations that are remembered.
    pub metrics: usize,
    /// Their slow start thresholds are remembered, too.
    pub keep_ssthresh: bool,
    /// Challenge ACKs a second; `None`: any number, besides the bound of each connection.
    pub challenge_acks: Option<u32>,
    /// First and last port of active opens.
    pub ephemeral: PortRange,
    /// TIME-WAIT behaviour.
    pub time_wait: TimeWaitSettings,
    /// The defaults of connections.
    pub settings: TcpSettings,
    /// The key of fast open cookies; `None`: one of our own.
    pub fast_open_key: Option<Secret>,
}

impl Default for TcpConfig {
    /// Sizes for a small host: some MiB.
    fn default() -> Self {
        TcpConfig {
            connections: 4096,
            listeners: 64,
            requests: 1024,
            time_waits: 4096,
            runs: 16_384,
            ranges: 16_384,
            metrics: 1024,
            keep_ssthresh: false,
            challenge_acks: None,
            ephemeral: PortRange::default(),
            time_wait: TimeWaitSettings::default(),
            settings: TcpSettings::default(),
            fast_open_key: None,
        }
    }
}

/// What TCP holds of its tables and pools: all zero when there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpUsage {
    /// Connections, whatever their state but TIME-WAIT.
    pub connections: usize,
    /// Half-open connections.
    pub requests: usize,
    /// TIME-WAIT records.
    pub time_waits: usize,
    /// Names in the demultiplexer: one for each of the above that is not CLOSED.
    pub names: usize,
    /// Ranges of sent data.
    pub runs: usize,
    /// Connections that lost something, or were taken to have.
    pub histories: usize,
    /// Ranges received out of order.
    pub ranges: usize,
    /// Connections that wait to send at the end of the turn.
    pub ready: usize,
}

/// The TCP sockets of one worker.
#[derive(Debug)]
pub struct TcpSockets {
    /// The defaults of connections.
    pub settings: TcpSettings,
    /// Counters of the protocol.
    pub stats: TcpStats,
    entries: Slab<Entry>,
    listeners: Slab<Listening>,
    hearing: Listeners,
    bound: Bound,
    passive: Passive,
    request_wheel: TimerWheel,
    /// The port that each request came in by.
    request_ports: Vec<PortId>,
    ranges: IntervalPool,
    names: Names,
    ports: EphemeralPorts,
    wheel: TimerWheel,
    runs: RunPool,
    time_waits: TimeWaits,
    /// When the next TIME-WAIT record may end.
    waits_until: Instant,
    /// Places of connections; none is free while it stands here.
    ready: VecDeque<u32>,
    isn: IsnGenerator,
    challenge: ChallengeLimiter,
    metrics: MetricsCache,
    fast_opens: FastOpenCache,
}

impl TcpSockets {
    /// What a call on one connection needs, beside the table that it stands in.
    #[inline]
    pub(super) fn split<'a>(
        &'a mut self,
        now: Instant,
        blocks: &'a mut BlockPool,
    ) -> (&'a mut Slab<Entry>, Context<'a>) {
        let (entries, cx, _) = self.split_with_desk(now, blocks);
        (entries, cx)
    }

    /// The same, and what [`Entry::settle`] needs.
    #[inline]
    pub(super) fn split_with_desk<'a>(
        &'a mut self,
        now: Instant,
        blocks: &'a mut BlockPool,
    ) -> (&'a mut Slab<Entry>, Context<'a>, Desk<'a>) {
        let TcpSockets { settings, stats, entries, runs, ranges, challenge, ready, wheel, .. } = self;
        let cx = Context { now, blocks, runs, ranges, settings, stats, challenge };
        (entries, cx, Desk { ready, wheel })
    }

    /// The connection has something to send at the end of the turn.
    #[inline]
    pub(super) fn mark_ready(&mut self, handle: Handle) {
        if let Some(entry) = self.entries.get_mut(handle)
            && !entry.is_ready
        {
            entry.is_ready = true;
            self.ready.push_back(handle.index() as u32);
        }
    }

    /// After a call of the owner: what it wrote, or made room for, may want to be sent.
    fn called(&mut self, now: Instant, events: &mut EventQueue, handle: Handle) {
        let more = self.entries.get(handle).is_some_and(|entry| entry.connection.wants_output());
        self.settle(now, events, handle, more);
    }

    /// Segments with the names of a connection reach it no more.
    pub(super) fn unbind(&mut self, handle: Handle) {
        let Some(entry) = self.entries.get_mut(handle) else { return };
        if core::mem::take(&mut entry.is_bound) {
            self.names.free(&entry.tuple);
        }
    }
}

impl TcpSockets {
    /// Sockets within these bounds. `key` makes keys from a secret, one for each purpose.
    pub(crate) fn new(config: TcpConfig, now: Instant, mut key: impl FnMut(u64) -> [u64; 2]) -> TcpSockets {
        let TcpConfig {
            connections,
            listeners,
            requests,
            time_waits,
            runs,
            ranges,
            metrics,
            keep_ssthresh,
            challenge_acks,
            ephemeral,
            time_wait,
            settings,
            fast_open_key,
        } = config;
        let secret = Secret::new(key(100));
        let isn = IsnGenerator::new(secret);
        let cookies = SynCookies::new(Secret::new(key(101)));
        let own = Secret::new(key(102));
        let fast_open = FastOpenKeys::new(fast_open_key.unwrap_or(own), None);
        let challenge =
            ChallengeLimiter::new(Secret::new(key(103)), challenge_acks).every(settings.invalid_ratelimit);
        TcpSockets {
            entries: Slab::new(connections),
            listeners: Slab::new(listeners),
            hearing: Listeners::new(listeners, key(107)),
            bound: Bound::new(Rules::Tcp, listeners * 4 + connections + time_waits),
            passive: Passive::new(requests, isn, cookies, fast_open),
            request_wheel: TimerWheel::new(requests, now),
            request_ports: Vec::with_capacity(requests),
            ranges: IntervalPool::new(ranges),
            isn,
            challenge,
            names: Names::new(connections + requests + time_waits, key(104)),
            wheel: TimerWheel::new(connections, now),
            runs: RunPool::for_senders(runs, connections),
            time_waits: TimeWaits::new(time_waits, time_wait),
            waits_until: Instant::NEVER,
            ready: VecDeque::with_capacity(connections),
            metrics: MetricsCache::new(metrics, key(105), keep_ssthresh),
            fast_opens: FastOpenCache::new(metrics, key(108)),
            ports: EphemeralPorts::new(ephemeral, key(106)),
            settings,
            stats: TcpStats::default(),
        }
    }

    /// See [`crate::Stack::set_home`].
    pub(crate) fn set_home(&mut self, home: crate::socket::homes::Home) {
        self.bound.set_home(home);
    }

    /// The other worker that segments for this port belong to.
    pub(crate) fn elsewhere(&self, port: u16) -> Option<usize> {
        self.bound.elsewhere(port)
    }

    /// Puts a connection in, under its names.
    pub(super) fn add(&mut self, entry: Entry) -> Result<Handle, Error> {
        let tuple = entry.tuple;
        let handle = self.entries.insert(entry).map_err(|entry| {
            self.let_go(entry);
            Error::TooManySockets
        })?;
        let seat = Seat::Connection(handle.index() as u32);
        if self.names.occupy(&tuple, seat) {
            if let Some(entry) = self.entries.get_mut(handle) {
                entry.is_bound = true;
            }
            return Ok(handle);
        }
        if let Some(entry) = self.entries.remove(handle) {
            self.let_go(entry);
        }
        Err(Error::AddressInUse)
    }

    /// A connection that is gone holds its port no more.
    fn let_go(&mut self, entry: Entry) {
        if let Some(bind) = entry.bind {
            self.bound.release(bind);
        }
    }

    /// A TIME-WAIT record stands for the names of a connection from now on, and has its keys. `None`: there was no room for
    /// it.
    pub(super) fn wait(&mut self, handle: Handle, content: &TimeWaitContent, now: Instant) -> Option<u32> {
        let entry = self.entries.get_mut(handle)?;
        let (tuple, keys, hold) = (entry.tuple, entry.keys.take(), entry.bind.take());
        let is_bound = core::mem::take(&mut entry.is_bound);
        let (place, evicted) = self.time_waits.insert(tuple, content, now);
        if let Some(evicted) = evicted {
            self.names.free(&evicted.tuple);
        }
        if let Some(hold) = hold {
            self.time_waits.hold(place, self.bound.time_wait(hold));
        }
        self.free_ports();
        let seat = Seat::TimeWait(place);
        let named = if is_bound { self.names.hand_over(&tuple, seat) } else { self.names.take(&tuple, seat) };
        if !named {
            self.time_waits.remove(place);
            return None;
        }
        if let Some(keys) = keys
            && let Some(evicted) = self.time_waits.sign(place, keys)
        {
            self.names.free(&evicted.tuple);
        }
        self.waits_until = self.waits_until.min(self.time_waits.next_deadline(now));
        Some(place)
    }

    /// Gives back the ports of TIME-WAIT records that ended.
    pub(super) fn free_ports(&mut self) {
        while let Some(hold) = self.time_waits.take_freed() {
            self.bound.release(hold);
        }
    }

    /// After anything happened to a connection: its owner hears the news, the wheel its deadline; when it is over
    /// and its owner let go, its place is free. `more`: it has something to send at the end of the turn.
    #[inline]
    pub(super) fn settle(&mut self, now: Instant, events: &mut EventQueue, handle: Handle, more: bool) {
        let TcpSockets { entries, ready, wheel, .. } = self;
        let Some(entry) = entries.get_mut(handle) else { return };
        if !entry.settle(&mut Desk { ready, wheel }, events, handle, more) {
            self.settle_unusual(now, events, handle);
        }
    }

    /// What [`Entry::settle`] left: handshakes, fast opens, and connections that are over.
    #[inline(never)]
    pub(super) fn settle_unusual(&mut self, now: Instant, events: &mut EventQueue, handle: Handle) {
        let Some(entry) = self.entries.get_mut(handle) else { return };
        if entry.is_opening && entry.connection.state().is_synchronized() {
            entry.is_opening = false;
            if let Some(path) = self.metrics.get(entry.tuple.remote_ip(), now) {
                entry.connection.remember(&path);
            }
        }
        if entry.is_accepted {
            let news = entry.connection.take_news();
            entry.pending.add(events, SocketId::Tcp(handle), news);
            if entry.asked_fast_open && news.contains(Ready::CONNECTED) {
                entry.asked_fast_open = false;
                let cookie = entry.connection.take_fast_open_cookie().and_then(|bytes| Cookie::new(&bytes));
                let (mss, repeated) = (entry.connection.peer_mss(), entry.connection.has_repeated());
                self.fast_opens.on_syn_ack(entry.tuple.remote_ip(), cookie, mss, repeated, now);
            }
        }
        if entry.is_fast_open {
            self.settle_fast_open(now, handle);
        }
        let Some(entry) = self.entries.get_mut(handle) else { return };
        if entry.connection.state() == State::Closed {
            return self.bury(now, handle);
        }
        entry.file(&mut self.wheel, handle);
    }

    /// A fast open whose handshake is complete, or that ended before, counts for its listener no more.
    #[cold]
    fn settle_fast_open(&mut self, now: Instant, handle: Handle) {
        let Some(entry) = self.entries.get_mut(handle) else { return };
        if entry.is_fast_open && !matches!(entry.connection.state(), State::SynReceived(_)) {
            entry.is_fast_open = false;
            let reset = entry.connection.state() == State::Closed;
            if let Some(listening) = self.listeners.get_mut(entry.listener) {
                listening.listener.fast_open_ended(reset, now);
            }
        }
    }

    /// A connection that is CLOSED leaves the tables, as far as nobody needs it any more.
    #[cold]
    fn bury(&mut self, now: Instant, handle: Handle) {
        self.unbind(handle);
        self.wheel.cancel(handle.index() as u32);
        let TcpSockets { entries, metrics, bound, runs, .. } = self;
        let Some(entry) = entries.get_mut(handle) else { return };
        if !entry.connection.is_released() {
            return;
        }
        // Its port is free at once, whatever is still to be said at the end of the turn: who closes may bind next.
        if let Some(bind) = entry.bind.take() {
            bound.release(bind);
        }
        if entry.connection.has_farewell() || entry.is_ready {
            return;
        }
        if let Some(seen) = entry.connection.seen() {
            metrics.learn(entry.tuple.remote_ip(), &seen, now);
        }
        entry.connection.forget(runs);
        entries.discard(handle);
    }

    /// Connections, whatever their state but TIME-WAIT.
    pub fn connections(&self) -> usize {
        self.entries.len()
    }

    /// TIME-WAIT records.
    pub fn time_waits(&self) -> usize {
        self.time_waits.len()
    }

    /// The owner of a connection or listener hears its news now.
    pub(crate) fn news(&mut self, socket: SocketId) -> Option<(Owner, Ready)> {
        let pending = match socket {
            SocketId::Tcp(handle) => &mut self.entries.get_mut(handle)?.pending,
            SocketId::Listener(handle) => &mut self.listeners.get_mut(handle)?.pending,
            SocketId::Udp(_) | SocketId::Raw(_) => return None,
        };
        Some((pending.owner, pending.take()))
    }

    /// What is taken of the tables and pools.
    pub fn usage(&self) -> TcpUsage {
        TcpUsage {
            connections: self.entries.len(),
            requests: self.passive.len(),
            time_waits: self.time_waits.len(),
            names: self.names.len(),
            runs: self.runs.capacity() - self.runs.available(),
            histories: self.runs.histories(),
            ranges: self.ranges.capacity() - self.ranges.available(),
            ready: self.ready.len(),
        }
    }

    /// Every listener.
    pub fn listener_rows(&self) -> impl Iterator<Item = TcpRow> {
        self.listeners.iter().map(|(handle, listening)| TcpRow {
            socket: SocketId::Listener(handle),
            local: listening.local,
            remote: None,
            state: "listen",
            receive_queue: listening.listener.waiting() as u32,
            send_queue: listening.listener.settings().backlog as u32,
            owner: listening.pending.owner,
        })
    }

    /// Every connection, from the place `from` on: those of at most `max` places, and the place where
    /// the next ones begin, or `None` behind the last.
    pub fn rows(&self, from: usize, max: usize, mut each: impl FnMut(TcpRow)) -> Option<usize> {
        let end = (from + max).min(self.entries.places());
        for place in from..end {
            let Some(entry) = self.entries.at(place).and_then(|handle| self.entries.get(handle)) else {
                continue;
            };
            let Some(handle) = self.entries.at(place) else { continue };
            let Tuple { local_port, remote_port, .. } = entry.tuple;
            each(TcpRow {
                socket: SocketId::Tcp(handle),
                local: SocketAddr::new(entry.tuple.local_ip(), local_port),
                remote: Some(SocketAddr::new(entry.tuple.remote_ip(), remote_port)),
                state: entry.connection.state().name(),
                receive_queue: entry.connection.readable() as u32,
                send_queue: entry.connection.unacknowledged() as u32,
                owner: entry.pending.owner,
            });
        }
        (end < self.entries.places()).then_some(end)
    }
}

/// What follows from anything that happens to a connection: it stands in the queue of those that have something to
/// send, and the wheel knows its deadline.
pub(super) struct Desk<'a> {
    ready: &'a mut VecDeque<u32>,
    wheel: &'a mut TimerWheel,
}

impl Entry {
    /// [`TcpSockets::settle`] for nearly all connections, by those who have found the entry already. False: it is one of
    /// the others, and [`TcpSockets::settle_unusual`] has to do the rest.
    #[inline]
    pub(super) fn settle(
        &mut self,
        desk: &mut Desk<'_>,
        events: &mut EventQueue,
        handle: Handle,
        more: bool,
    ) -> bool {
        if more && !self.is_ready {
            self.is_ready = true;
            desk.ready.push_back(handle.index() as u32);
        }
        let is_closed = self.connection.state() == State::Closed;
        if is_closed || self.is_opening || self.asked_fast_open || self.is_fast_open {
            return false;
        }
        if self.is_accepted {
            let news = self.connection.take_news();
            self.pending.add(events, SocketId::Tcp(handle), news);
        }
        self.file(desk.wheel, handle);
        true
    }

    /// The wheel learns of a deadline that moved earlier. One that moved later is left where it stands: the wheel asks
    /// then, once for many moves.
    #[inline]
    fn file(&mut self, wheel: &mut TimerWheel, handle: Handle) {
        let deadline = self.connection.next_deadline();
        if deadline < self.filed {
            self.filed = deadline;
            wheel.schedule(handle.index() as u32, deadline);
        }
    }

    pub(super) fn new(
        connection: Connection,
        tuple: Tuple,
        way: Way,
        port: PortId,
        owner: Owner,
        ip_id: u16,
    ) -> Entry {
        Entry {
            connection,
            tuple,
            way,
            pending: Pending::new(owner),
            port,
            is_ready: false,
            is_bound: false,
            is_accepted: true,
            is_fast_open: false,
            listener: Handle::from_bits(u64::MAX),
            ip_id,
            asked_fast_open: false,
            is_opening: false,
            keys: None,
            filed: Instant::NEVER,
            bind: None,
        }
    }
}

impl<F: Frame> Stack<F> {
    /// See [`TcpSockets::settle`].
    #[inline]
    pub(super) fn settle_tcp(&mut self, now: Instant, handle: Handle, more: bool) {
        let Stack { tcp, events, .. } = self;
        tcp.settle(now, events, handle, more);
    }
}
