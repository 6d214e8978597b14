//! A connection: what it knows, how it begins, and what it shares with others.
//!
//! The parts lie in files of their own: [`super::receiver`] (what comes in), [`Transmitter`] (what waits to go
//! out), [`super::recovery`] (what is on its way), [`super::acks`], [`super::timers`]. The rules that join them are
//! in [`super::input`], [`super::output`], [`super::expiry`] and [`super::user`].

use super::acks::Acks;
use super::challenge::ChallengeLimiter;
use super::error::SocketError;
use super::intervals::{IntervalPool, Intervals};
use super::metrics::{Phase, Seen};
use super::negotiated::{Accepted, Arrived, Negotiated};
use super::options::Parsed;
use super::receiver::Receiver;
use super::recovery::{Agreed, CaState, PathMetrics, RunPool, Sender};
use super::rtt;
use super::segment::{Disposition, Output, Reset};
use super::settings::{EcnPolicy, MtuProbing, TcpSettings};
use super::state::{State, SynReceived};
use super::stats::TcpStats;
use super::timers::{Purpose, Timers};
use super::{Seq, TimeWaitContent};
use crate::socket::Ready;
use crate::socket::blocks::BlockPool;
use crate::socket::ring::ByteRing;
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::VecDeque;

/// What every call on a connection works with: the time, and the worker's pools, defaults and counters.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Instant,
    /// Memory of the rings.
    pub blocks: &'a mut BlockPool,
    /// Memory for what came out of order.
    pub ranges: &'a mut IntervalPool,
    /// Memory of the senders.
    pub runs: &'a mut RunPool,
    /// The host's defaults.
    pub settings: &'a TcpSettings,
    /// Counters.
    pub stats: &'a mut TcpStats,
    /// How many challenge ACKs the worker may still send.
    pub challenge: &'a mut ChallengeLimiter,
}

/// How an active open begins.
#[derive(Debug, Clone)]
pub struct ConnectArgs {
    /// Our initial sequence number (RFC 6528).
    pub iss: Seq,
    /// What is added to the clock for our timestamps, so that they say nothing about other connections.
    pub ts_offset: u32,
    /// Largest segment of the path: MTU - IP header - 20.
    pub path_mss: u16,
    /// The MSS that a peer means which sends none: 536 for IPv4, 1220 for IPv6 (RFC 9293 MUST-15, section 3.7.1).
    pub default_mss: u16,
    /// Fast open: the cookie for this destination; empty asks for one.
    pub fast_open: Option<ArrayVec<u8, 16>>,
    /// Fast open without a cookie, where both ends know of it by other means: data go with the SYN, and no option.
    pub no_cookie: bool,
    /// The SYN waits for the first bytes that are written, if it can carry any.
    pub defer: bool,
}

/// What the owner chose with options. See [`super::user`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Knobs {
    pub(super) nodelay: bool,
    pub(super) cork: bool,
    /// What waits now goes, whatever Nagle's rule and the cork say: TCP_NODELAY was set (as Linux's NAGLE_PUSH).
    pub(super) push: bool,
    /// The last write said that more comes (MSG_MORE): it ends without a push.
    pub(super) more: bool,
    /// And so the rest of it waits, until the next acknowledgment asks again (as Linux).
    pub(super) hold: bool,
    pub(super) keepalive: bool,
    pub(super) oob_inline: bool,
    pub(super) tos: u8,
    /// SO_LINGER with zero seconds: close resets.
    pub(super) linger_zero: bool,
    pub(super) pmtud: bool,
    pub(super) mtu_probing: MtuProbing,
    /// What the path carries is being found out ([`super::probing`]).
    pub(super) searching: bool,
    /// TTL or hop limit of what is sent.
    pub(super) ttl: u8,
    /// The least TTL or hop limit of what is taken.
    pub(super) min_ttl: u8,
}

/// What few connections have.
#[derive(Debug, Clone, Default)]
pub(super) struct Rare {
    pub(super) keepalive_time: Option<Duration>,
    pub(super) keepalive_interval: Option<Duration>,
    pub(super) keepalive_probes: Option<u8>,
    pub(super) user_timeout: Option<Duration>,
    /// TCP_LINGER2; `Some(None)`: do not wait in FIN-WAIT-2 at all.
    pub(super) linger2: Option<Option<Duration>>,
    pub(super) syn_retries: Option<u8>,
    /// Fast open of our own: the cookie that we sent (empty: asked for), then the one that came.
    pub(super) fast_open: Option<ArrayVec<u8, 16>>,
    /// What is written goes with the SYN though there is no cookie.
    pub(super) no_cookie: bool,
    /// The SYN waits for what is written first.
    pub(super) deferred: bool,
    pub(super) fast_open_news: Option<ArrayVec<u8, 16>>,
    /// Kind and bytes of the signature that each segment carries.
    pub(super) signature: Option<(u8, u8)>,
    /// The search for what the path carries.
    pub(super) search: Option<super::probing::Search>,
    /// Where records end (MSG_EOR) that are not acknowledged, in their order: no segment spans one.
    pub(super) records: VecDeque<Seq>,
    /// SND.UP: behind the last urgent byte.
    pub(super) urgent: Option<Seq>,
    /// Bytes that must have come before the owner hears that it may read (SO_RCVLOWAT).
    pub(super) read_low: Option<u32>,
    /// A reset that is sent at the end of the turn: the last word, after a call of the owner.
    pub(super) farewell: Option<Reset>,
    /// Stamps of what is sent.
    pub(super) tx_stamps: super::tx_stamps::TxStamps,
}

impl Rare {
    /// The SYN carries what is written before it leaves.
    pub(super) fn opens_fast(&self) -> bool {
        self.no_cookie || self.fast_open.as_ref().is_some_and(|cookie| !cookie.is_empty())
    }
}

/// The timestamps option of a connection (RFC 7323).
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamps {
    /// Agreed (before that: offered).
    pub(super) on: bool,
    pub(super) offset: u32,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When it was taken, in ticks of our clock; for the 24 days of RFC 7323 section 5.5.
    pub(super) recent_at: u32,
}

impl Stamps {
    /// Our timestamp for `now`.
    #[inline]
    pub(super) fn clock(&self, now: Instant) -> u32 {
        rtt::ticks(now).wrapping_add(self.offset)
    }

    /// How long ago the echo left, in ticks.
    #[inline]
    pub(super) fn age(&self, now: Instant, echo: u32) -> Option<u32> {
        (self.on && echo != 0).then(|| self.clock(now).wrapping_sub(echo))
    }
}

/// ECN of a connection (RFC 3168 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ecn {
    /// Agreed (before that: asked for).
    pub(super) on: bool,
    /// Echo congestion until the peer says that it reduced its window.
    pub(super) echo: bool,
}

/// What waits to go out, and what the peer has room for.
#[derive(Debug)]
pub(super) struct Transmitter {
    /// Bytes from `start`: sent and not acknowledged, then not sent.
    pub(super) ring: ByteRing,
    /// Sequence number of the ring's first byte.
    pub(super) start: Seq,
    /// SND.WND in bytes.
    pub(super) wnd: u32,
    /// SND.WL1: the segment that `wnd` came with.
    pub(super) wl1: Seq,
    /// Largest window that the peer ever offered.
    pub(super) wnd_max: u32,
    /// Most bytes that the ring may hold.
    pub(super) limit: u32,
    /// Bytes that may wait unsent before the owner hears that it may write (TCP_NOTSENT_LOWAT).
    pub(super) low: u32,
    /// End of the last segment that was sent less than full (Minshall's variant of Nagle's rule).
    pub(super) small_end: Seq,
    /// When something was last acknowledged, or the first thing sent after all was.
    pub(super) progress: Instant,
    /// Data of one segment, options of every segment taken off.
    pub(super) mss: u16,
    /// What the peer's SYN said.
    pub(super) peer_mss: u16,
    /// What the path allows.
    pub(super) path_mss: u16,
    /// TCP_MAXSEG; 0: not set.
    pub(super) user_mss: u16,
    /// Shift of the windows that the peer sends.
    pub(super) scale: u8,
    /// Zero-window or keepalive probes without an answer.
    pub(super) probes: u8,
    /// Doublings of the probe interval.
    pub(super) backoff: u8,
    /// The owner closed this direction: a FIN comes behind the data.
    pub(super) fin: bool,
    /// A probe is due: say where we stand with a byte that the peer has already.
    pub(super) probe: bool,
    /// Send what the window takes, even less than a segment.
    pub(super) force: bool,
    /// One segment beyond the congestion window: a tail loss probe with new data.
    pub(super) tail_probe: bool,
    /// A range that is to be sent again whatever the sender's scoreboard says: a tail loss probe, or fast open data
    /// that the SYN-ACK left out.
    pub(super) repeat: Option<(Seq, NonZeroU32)>,
    /// A write found no room.
    pub(super) starved: bool,
    /// The owner chose the buffer's size: no autotuning.
    pub(super) locked: bool,
    /// The peer is this node.
    pub(super) near: bool,
    /// The SYN is to be sent (or sent again).
    pub(super) syn: bool,
    /// The path may be bad: the layer below is to look at it anew (RFC 9293 section 3.8.3).
    pub(super) doubt: bool,
}

/// Urgent data that came (RFC 9293 section 3.8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum UrgentIn {
    /// None.
    #[default]
    None,
    /// Announced: the byte at this place.
    Announced(Seq),
    /// It came, and waits out of band.
    Here(Seq, u8),
    /// It was read out of band; its place in the stream is still to be skipped.
    Taken(Seq),
}

impl UrgentIn {
    /// The urgent byte's place in the stream.
    pub(super) fn mark(self) -> Option<Seq> {
        match self {
            UrgentIn::None => None,
            UrgentIn::Announced(at) | UrgentIn::Here(at, _) | UrgentIn::Taken(at) => Some(at),
        }
    }
}

/// One TCP connection, from SYN to CLOSED.
#[derive(Debug)]
pub struct Connection {
    pub(super) state: State,
    pub(super) rx: Receiver,
    pub(super) tx: Transmitter,
    pub(super) sender: Sender,
    pub(super) acks: Acks,
    pub(super) timers: Timers,
    pub(super) stamps: Stamps,
    pub(super) knobs: Knobs,
    pub(super) ecn: Ecn,
    pub(super) sack: bool,
    /// Data of a SYN were acknowledged, ours or the peer's (TCP_INFO tells).
    pub(super) syn_data_acked: bool,
    /// The owner is gone: nobody reads or writes any more.
    pub(super) orphan: bool,
    /// The owner reads no more.
    pub(super) read_closed: bool,
    pub(super) urgent_in: UrgentIn,
    pub(super) news: Ready,
    pub(super) error: Option<SocketError>,
    /// What a router reported; counts if the connection times out (RFC 1122 section 4.2.3.9).
    pub(super) soft_error: Option<SocketError>,
    /// When anything acceptable last came.
    pub(super) heard: Instant,
    /// When an out-of-window segment was last acknowledged.
    pub(super) answered: Instant,
    pub(super) iss: Seq,
    /// A duplicate to report (RFC 2883).
    pub(super) dsack: Option<(Seq, Seq)>,
    /// What came out of order.
    pub(super) ahead: Intervals,
    /// What TCP_INFO counts.
    pub(super) counts: super::info::Counts,
    pub(super) rare: Option<Box<Rare>>,
}

/// Data of a segment on Linux's loopback interface (MTU 65536) over IPv4, with timestamps.
const LOOPBACK_SEGMENT: u32 = 65_483;

impl Connection {
    /// Begins an active open: CLOSED to SYN-SENT. `poll_transmit` gives the SYN. Options that must stand before
    /// the SYN leaves (buffers, TCP_MAXSEG) can be set in between.
    pub fn connect(cx: &mut Context<'_>, args: &ConnectArgs) -> Connection {
        cx.stats.active_opens += 1;
        let settings = cx.settings;
        let mut connection = Connection::new(cx, args.iss, args.iss, args.path_mss);
        connection.state = State::SynSent;
        connection.stamps =
            Stamps { on: settings.timestamps, offset: args.ts_offset, recent: 0, recent_at: 0 };
        connection.sack = settings.sack;
        connection.ecn.on = settings.ecn == EcnPolicy::On;
        connection.tx.peer_mss = args.default_mss;
        connection.tx.syn = true;
        connection.rx.scale = if settings.window_scaling { settings.window_scale() } else { 0 };
        if args.fast_open.is_some() || args.no_cookie {
            let rare = connection.rare();
            rare.fast_open.clone_from(&args.fast_open);
            rare.no_cookie = args.no_cookie;
            rare.deferred = args.defer && rare.opens_fast();
        }
        connection
    }

    /// True while the SYN waits for the first bytes that are written.
    pub fn is_deferred(&self) -> bool {
        self.state == State::SynSent && self.rare.as_ref().is_some_and(|rare| rare.deferred)
    }

    /// The SYN waits no longer.
    pub fn go_on(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.deferred = false;
        }
    }

    /// A connection that a listener made: ESTABLISHED, with what is known of the path, or SYN-RECEIVED for a fast open.
    ///
    /// Give the segment that completed the handshake to [`Connection::on_segment`] afterwards; for a fast open a
    /// segment made of the SYN's data, with the sequence number behind the SYN and the flags ACK and (if it was there)
    /// PSH, and `iss + 0` acknowledged: an acknowledgment that is old changes nothing.
    pub fn accepted(cx: &mut Context<'_>, accepted: &Accepted, metrics: Option<&PathMetrics>) -> Connection {
        cx.stats.passive_opens += 1;
        let Accepted { negotiated, .. } = *accepted;
        let fast_open = accepted.arrived == Arrived::FastOpen;
        let first = if fast_open { accepted.iss } else { accepted.iss + 1 };
        let mut connection = Connection::new(cx, accepted.iss, first, accepted.path_mss);
        connection.stamps = Stamps {
            on: negotiated.timestamps,
            offset: accepted.ts_offset,
            recent: accepted.ts_recent,
            recent_at: rtt::ticks(cx.now),
        };
        connection.rx.advertised_mss = accepted.advertised_mss;
        connection.rx.wnd = accepted.offered;
        connection.rx.threshold = accepted.offered.max(connection.rx.threshold).min(connection.rx.clamp);
        connection.rx.start(accepted.irs, cx.now);
        connection.tx.wnd = accepted.window;
        connection.tx.wnd_max = accepted.window;
        connection.tx.wl1 = accepted.irs;
        connection.agree(&negotiated);
        if fast_open {
            connection.state = State::SynReceived(SynReceived { fast_open: true, answer: false });
            // The SYN-ACK left already, by the listener: from here on it is ours to repeat.
            let sent = connection.sender.on_sent(cx.runs, cx.now, accepted.iss, 1, false);
            connection.tx.syn = sent.is_err();
            connection.arm_recovery();
        } else {
            if let Some(rtt) = accepted.rtt {
                connection.sender.measured(cx.now, rtt);
            }
            connection.establish(cx, metrics);
        }
        connection
    }

    fn new(cx: &Context<'_>, iss: Seq, first: Seq, path_mss: u16) -> Connection {
        let settings = cx.settings;
        let path_mss = path_mss.max(settings.min_snd_mss);
        Connection {
            state: State::Closed,
            rx: Receiver::new(settings.receive.initial, path_mss, 0, false),
            tx: Transmitter {
                ring: ByteRing::new(),
                start: iss + 1,
                wnd: 0,
                wl1: Seq(0),
                wnd_max: 0,
                limit: settings.send.initial,
                low: settings.notsent_lowat,
                small_end: iss,
                progress: cx.now,
                mss: path_mss,
                peer_mss: 536,
                path_mss,
                user_mss: 0,
                scale: 0,
                probes: 0,
                backoff: 0,
                fin: false,
                probe: false,
                force: false,
                tail_probe: false,
                repeat: None,
                starved: false,
                locked: false,
                near: false,
                syn: false,
                doubt: false,
            },
            sender: Sender::new(first, &settings.sender),
            acks: Acks::new(),
            timers: Timers::new(),
            stamps: Stamps { on: false, offset: 0, recent: 0, recent_at: 0 },
            knobs: Knobs {
                nodelay: false,
                cork: false,
                push: false,
                more: false,
                hold: false,
                keepalive: false,
                oob_inline: false,
                tos: 0,
                linger_zero: false,
                pmtud: settings.path_mtu_discovery,
                mtu_probing: settings.mtu_probing,
                searching: false,
                ttl: crate::icmp::v4::DEFAULT_TTL,
                min_ttl: 0,
            },
            ecn: Ecn { on: false, echo: false },
            sack: false,
            syn_data_acked: false,
            orphan: false,
            read_closed: false,
            urgent_in: UrgentIn::None,
            news: Ready::NONE,
            error: None,
            soft_error: None,
            heard: cx.now,
            answered: Instant::ZERO,
            iss,
            dsack: None,
            counts: super::info::Counts::default(),
            ahead: Intervals::new(),
            rare: None,
        }
    }

    /// The options of both SYNs are known.
    pub(super) fn agree(&mut self, negotiated: &Negotiated) {
        self.sack = negotiated.sack;
        self.stamps.on = negotiated.timestamps;
        self.ecn.on = negotiated.ecn;
        self.tx.peer_mss = negotiated.mss;
        match negotiated.scales {
            Some(scales) => (self.tx.scale, self.rx.scale) = (scales.theirs, scales.ours),
            None => {
                // RFC 7323 section 2.2: both or neither; the largest window is then 65,535.
                (self.tx.scale, self.rx.scale) = (0, 0);
                self.rx.clamp = self.rx.clamp.min(super::receiver::MAX_UNSCALED);
                self.rx.threshold = self.rx.threshold.min(self.rx.clamp);
            }
        }
        self.tx.mss = self.effective_mss();
    }

    /// To ESTABLISHED: the sender learns what was agreed, buffers get their first size, timers their purpose.
    pub(super) fn establish(&mut self, cx: &mut Context<'_>, metrics: Option<&PathMetrics>) {
        self.state = State::Established;
        self.search_from_the_start(cx);
        let agreed = Agreed { sack: self.sack, timestamps: self.stamps.on, ecn: self.ecn.on };
        self.sender.established(cx.runs, cx.now, self.tx.mss, agreed, metrics);
        self.rx.established();
        self.acks.begin(cx.now);
        self.heard = cx.now;
        self.tx.progress = cx.now;
        self.arm_recovery();
        self.grow_send_buffer(cx.settings);
        if self.knobs.keepalive {
            let idle = self.keepalive_time(cx.settings);
            self.timers.set(Purpose::Keepalive, cx.now + idle);
        }
        self.news |= Ready::CONNECTED | Ready::WRITABLE;
    }

    /// What is known of the path to the peer, for a connection that was not made with it: to be told when its handshake
    /// is complete, before it sends anything.
    pub fn remember(&mut self, path: &PathMetrics) {
        self.sender.remember(path);
        self.arm_recovery();
    }

    /// Negotiation from the peer's SYN, against what we offer (active open) or would.
    pub(super) fn negotiate(&self, options: &Parsed, ecn: bool) -> Negotiated {
        Negotiated {
            mss: options.mss.unwrap_or(self.tx.peer_mss),
            scales: options
                .scale
                .filter(|_| self.rx.scale > 0 || self.offers_scale())
                .map(|theirs| super::Scales { theirs, ours: self.rx.scale }),
            sack: self.sack && options.sack_permitted,
            timestamps: self.stamps.on && options.timestamps.is_some(),
            ecn: self.ecn.on && ecn,
        }
    }

    /// Data of one segment: what the peer, the path and the owner allow, less the options of every segment
    /// (RFC 9293 MUST-16, section 3.7.1).
    pub(super) fn effective_mss(&self) -> u16 {
        let mut mss = self.tx.peer_mss.min(self.tx.path_mss);
        if self.tx.user_mss > 0 {
            mss = mss.min(self.tx.user_mss);
        }
        if let Some(searched) = self.searched_mss() {
            mss = mss.min(searched);
        }
        mss.saturating_sub(self.fixed_options_len()).max(16)
    }

    /// Bytes of options that every segment carries.
    pub(super) fn fixed_options_len(&self) -> u16 {
        let stamps = if self.stamps.on { super::options::TIMESTAMPS_LEN as u16 } else { 0 };
        let signature = match self.rare.as_ref().and_then(|rare| rare.signature) {
            Some((super::options::MD5, _)) => 20,
            Some((_, len)) => (u16::from(len) + 2).next_multiple_of(4),
            None => 0,
        };
        stamps + signature
    }

    /// True when our SYN has the window scale option.
    pub(super) fn offers_scale(&self) -> bool {
        self.rx.scale > 0
    }

    /// Sets the segment size again after something it depends on changed.
    pub(super) fn sync_mss(&mut self) {
        self.tx.mss = self.effective_mss();
        self.sender.set_mss(self.tx.mss);
    }

    /// The send buffer follows the congestion window: twice what may be in flight (as Linux). To ourselves it is as large as
    /// for the segments of Linux's loopback interface, though ours are smaller: programs write as much at once there.
    pub(super) fn grow_send_buffer(&mut self, settings: &TcpSettings) {
        if self.tx.locked {
            return;
        }
        let segments = self.sender.cwnd().max(10);
        let segment = if self.tx.near { LOOPBACK_SEGMENT } else { u32::from(self.tx.mss) };
        let wanted = segments.saturating_mul(2).saturating_mul(segment);
        self.tx.limit = self.tx.limit.max(wanted.min(settings.send.max));
    }

    /// First sequence number behind the data that the owner wrote.
    #[inline]
    pub(super) fn write_end(&self) -> Seq {
        self.tx.start + self.tx.ring.len() as u32
    }

    /// True when our FIN left.
    #[inline]
    pub(super) fn fin_sent(&self) -> bool {
        self.tx.fin && self.sender.nxt().after(self.write_end())
    }

    /// True when our FIN is acknowledged.
    pub(super) fn fin_acked(&self) -> bool {
        self.fin_sent() && self.sender.una() == self.sender.nxt()
    }

    /// What few connections have, made when first needed: by a call of the owner, or once in a handshake.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(Box::default)
    }

    /// Bytes that must have come before the owner hears that it may read.
    #[inline]
    pub(super) fn read_low(&self) -> u32 {
        self.rare.as_ref().and_then(|rare| rare.read_low).unwrap_or(1)
    }

    /// SND.UP: behind the last urgent byte.
    #[inline]
    pub(super) fn urgent_end(&self) -> Option<Seq> {
        self.rare.as_ref().and_then(|rare| rare.urgent)
    }

    /// The reset that is to be sent at the end of the turn, once.
    #[inline]
    pub(super) fn take_farewell(&mut self) -> Option<Reset> {
        self.rare.as_mut().and_then(|rare| rare.farewell.take())
    }

    /// True while a reset waits for the end of the turn.
    pub(super) fn has_farewell(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.farewell.is_some())
    }

    pub(super) fn user_timeout(&self) -> Option<Duration> {
        self.rare.as_ref().and_then(|rare| rare.user_timeout)
    }

    pub(super) fn keepalive_time(&self, settings: &TcpSettings) -> Duration {
        self.rare.as_ref().and_then(|rare| rare.keepalive_time).unwrap_or(settings.keepalive_time)
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// True when nobody will ask for this connection again: it is CLOSED, and its owner let it go.
    pub fn is_released(&self) -> bool {
        self.state == State::Closed && self.orphan
    }

    /// What happened since the last call, for the owner.
    #[inline]
    pub fn take_news(&mut self) -> Ready {
        core::mem::replace(&mut self.news, Ready::NONE)
    }

    /// Type of service of the packets.
    pub fn tos(&self) -> u8 {
        self.knobs.tos
    }

    /// TTL or hop limit of its packets.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.knobs.ttl
    }

    /// The least TTL or hop limit that segments for it come with (RFC 5082).
    #[inline]
    pub fn min_ttl(&self) -> u8 {
        self.knobs.min_ttl
    }

    /// When [`Connection::on_timer`] is to be called.
    #[inline]
    pub fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    /// What is worth remembering of the path; take it before the connection goes.
    pub fn metrics(&self) -> PathMetrics {
        self.sender.metrics()
    }

    /// What it saw of the path, for the metrics of the destination; `None` when it measured nothing and lost nothing.
    pub fn seen(&self) -> Option<Seen> {
        let path = self.sender.metrics();
        let (lost, measured) = (path.ssthresh > 0, self.sender.srtt_micros() > 0);
        if !measured && !lost {
            return None;
        }
        let phase = match self.sender.ca_state() {
            CaState::Recovery | CaState::Loss => Phase::Recovering,
            _ if !lost => Phase::FirstSlowStart,
            _ if path.cwnd < path.ssthresh => Phase::Recovering,
            _ => Phase::Avoidance,
        };
        Some(Seen {
            round_trip: (measured && self.sender.backoff() == 0).then_some((path.srtt, path.rttvar)),
            cwnd: path.cwnd,
            ssthresh: path.ssthresh,
            phase,
            reordering: self.sender.has_seen_reordering().then_some(path.reordering),
        })
    }

    /// Reads a little of all parts that a segment needs, each of which may lie in another line of the cache. What it
    /// returns means nothing.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        let Connection { rx, tx, sender, acks, timers, stamps, counts, heard, .. } = self;
        u64::from(rx.nxt.0)
            ^ rx.ring.extent() as u64
            ^ u64::from(tx.wnd)
            ^ tx.ring.extent() as u64
            ^ sender.touch()
            ^ acks.last_data().nanos()
            ^ timers.get(Purpose::Keepalive).nanos()
            ^ u64::from(stamps.recent)
            ^ u64::from(counts.segs_in)
            ^ heard.nanos()
    }

    /// The MSS that the peer announced.
    pub fn peer_mss(&self) -> u16 {
        self.tx.peer_mss
    }

    /// True once after timeouts that make the path doubtful.
    pub fn take_doubt(&mut self) -> bool {
        core::mem::take(&mut self.tx.doubt)
    }

    /// True when something had to be sent again.
    pub fn has_repeated(&self) -> bool {
        self.sender.has_repeated()
    }

    /// Its place is to be free: gives back what it could still tell of itself.
    pub fn forget(&mut self, runs: &mut RunPool) {
        self.sender.forget(runs);
    }

    /// True when a segment that begins at `seq` is on its way.
    pub fn is_outstanding(&self, seq: Seq) -> bool {
        seq.is_in(self.sender.una(), self.sender.nxt())
    }

    /// The SYN-ACK of a fast open acknowledges what came with the SYN: no other acknowledgment is due. Gives its number
    /// (RCV.NXT).
    pub fn acknowledge_in_syn_ack(&mut self) -> Seq {
        self.acks.on_sent(1);
        self.timers.clear(Purpose::DelayedAck);
        self.syn_data_acked = self.rx.nxt != self.rx.wup;
        self.rx.wup = self.rx.nxt;
        self.rx.nxt
    }

    /// The fast open cookie that the peer gave, once.
    pub fn take_fast_open_cookie(&mut self) -> Option<ArrayVec<u8, 16>> {
        self.rare.as_mut().and_then(|rare| rare.fast_open_news.take())
    }

    /// To CLOSED, by `error` or in order. What was received stays readable after an orderly end; everything else
    /// goes back to the pools.
    pub(super) fn end(
        &mut self,
        cx: &mut Context<'_>,
        error: Option<SocketError>,
        reset: Option<Reset>,
    ) -> Disposition {
        self.finish(cx, error);
        Disposition::Closed(reset)
    }

    /// To TIME-WAIT: a record stands in for the connection, which is CLOSED for its owner.
    pub(super) fn time_wait(&mut self, cx: &mut Context<'_>) -> Disposition {
        let content = TimeWaitContent {
            snd_nxt: self.sender.nxt(),
            rcv_nxt: self.rx.nxt,
            rcv_wnd: self.rx.offered(),
            scale: self.rx.scale,
            ts_recent: self.stamps.on.then_some(self.stamps.recent),
            ts_offset: self.stamps.offset,
            tos: self.knobs.tos,
        };
        self.finish(cx, None);
        Disposition::TimeWait(content)
    }

    fn finish(&mut self, cx: &mut Context<'_>, error: Option<SocketError>) {
        match self.state {
            State::SynSent | State::SynReceived(_) => cx.stats.attempt_fails += 1,
            State::Established | State::CloseWait if error.is_some() => cx.stats.estab_resets += 1,
            _ => {}
        }
        self.state = State::Closed;
        self.sender.release(cx.runs);
        self.timers.clear_all();
        self.tx.ring.clear(cx.blocks);
        self.ahead.clear(cx.ranges);
        // What came in order can still be read, also after a reset (as on Linux); what came ahead of it cannot.
        if self.orphan {
            self.rx.ring.clear(cx.blocks);
        } else {
            self.rx.ring.trim(cx.blocks, 0);
        }
        self.news |= Ready::CLOSED | Ready::READ_CLOSED | Ready::READABLE | Ready::WRITABLE;
        if error.is_some() {
            self.error = error;
            self.news |= Ready::ERROR;
        }
    }

    /// The reset that ends a synchronised connection from our side.
    pub(super) fn reset(&mut self, now: Instant) -> Reset {
        Reset {
            seq: self.sender.nxt(),
            ack: Some(self.rx.nxt),
            window: self.rx.offer(),
            stamps: self.stamps.on.then(|| (self.stamps.clock(now), self.stamps.recent)),
        }
    }

    /// What the caller should do about output after a segment.
    #[inline]
    pub(super) fn output_wanted(&self, send: bool) -> Output {
        if send || self.acks.wanted() == super::acks::Wanted::Now { Output::Later } else { Output::None }
    }
}
