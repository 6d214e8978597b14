//! The sender's engine: all that lies between "these bytes were sent", "these ACKs came" and "send this now".
//!
//! ```text
//!   on_sent ──────▶ flight (runs) ◀────── on_ack: sack ─▶ acked ─▶ rack ─▶ tlp ─▶ states ─▶ timer ─▶ window
//!   on_retransmitted ──▶ │                   which SACK   which    who is   probe  Open …    RTO,     PRR or
//!                        ▼                   marks        are gone lost     right? Loss      TLP, …   growth
//!   next_retransmission, may_send, deadline                                     │
//!                                                                               └─ undo: it was no loss
//! ```
//! Pure: times and sequence numbers come in, decisions go out. It counts in segments, as Linux does, and where
//! RFCs leave room it decides as Linux does.
//!
//! ```text
//!          duplicates, SACK               ECN echo                   lost (RACK, third duplicate)
//!   Open ───────────────────▶ Disorder ─────────────▶ CWR ─────────────────────────▶ Recovery
//!    ▲                           │                     │                                │
//!    └─ all that was outstanding at the entry is acknowledged, or the reduction is undone ◀── Loss ◀─ timeout
//! ```
//! Invariants
//! 1. `cwnd` is 1 at least, and in flight is what the recount of the runs says ([`flight`]).
//! 2. While something is outstanding the timer is armed; when nothing is, it is not, and no run is held.
//! 3. One reduction for one window of data: `high` is what was sent at the reduction.
//! 4. One ACK costs a bounded number of steps beyond what it newly acknowledges or shows lost
//!    ([`crate::limits::MAX_SACK_WALK`]).
//!
//! Reads: RFC 5681, 6298, 6675, 8985, 6937, 5682, 3522, 4015, 3708, 3042, 6582, 3168, 7661, 4821.

mod ack;
mod acked;
mod ecn;
mod flight;
mod history;
mod info;
mod mtu;
mod pacing;
mod prr;
mod rack;
mod rate;
mod reno;
mod run;
mod sack;
mod settings;
mod states;
mod timer;
mod tlp;
mod transmit;
mod undo;
mod usage;

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod simulation;

use core::time::Duration;

use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::congestion::window::NO_THRESHOLD;
use crate::tcp::congestion::{Algorithm, Congestion, Window};
use crate::tcp::rtt::{RoundTrip, duration_micros};

pub use ack::{Ack, AckOutcome, TimerOutcome};
pub use info::{CaState, SenderInfo};
pub use mtu::MtuProbe;
pub use run::{PoolEmpty, RunPool};
pub use settings::{Agreed, PathMetrics, SenderSettings};

use flight::Flight;
use history::HistoryId;
use info::Times;
use pacing::Pacing;
use rack::Rack;
use rate::Rate;
use states::Episode;
use timer::Timer;
use tlp::Probe;
use usage::Usage;

/// What holds the connection's output back (for the busy times of TCP_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// Nothing to send and nothing outstanding.
    #[default]
    Idle,
    /// Data is outstanding or waits; the network decides.
    Busy,
    /// The receiver's window holds it back.
    Window,
    /// The send buffer is full.
    Buffer,
}

/// The sender's half of a connection's reliability. See the top of the file.
#[derive(Debug)]
pub struct Sender {
    flight: Flight,
    window: Window,
    rtt: RoundTrip,
    timer: Timer,
    episode: Episode,
    rack: Rack,
    probe: Probe,
    rate: Rate,
    usage: Usage,
    pacing: Pacing,
    /// What happened to it, if anything did ([`history`]).
    history: HistoryId,
    /// Segments ever retransmitted, and ever marked lost; they wrap.
    retransmitted: u32,
    lost: u32,
    /// How often reordering was seen.
    reordering_seen: u32,
    times: Times,
    congestion: Congestion,
    mtu_probe: MtuProbe,
    mss: u16,
    initial_window: u16,
    reordering: u16,
    /// The host's bounds of `reordering`.
    first_reordering: u16,
    max_reordering: u16,
    timeouts: u8,
    backoff: u8,
    syn_linear_timeouts: u8,
    agreed: Agreed,
    established: bool,
    idle_restart: bool,
    frto: bool,
    tail_loss_probe: bool,
    cwr_due: bool,
    /// The window was the limit of what was sent last ([`usage`]).
    filled_window: bool,
    /// The application was the limit of the last rate sample ([`rate`]).
    sample_app_limited: bool,
}

impl Sender {
    /// A sender whose first sequence number is `first`: the initial one for an active open (the SYN is then
    /// reported by `on_sent` with length 1), one beyond it when the handshake is over already.
    pub fn new(first: Seq, settings: &SenderSettings) -> Self {
        let mut sender = Sender {
            flight: Flight::new(first),
            window: Window::new(settings.initial_window),
            rtt: RoundTrip::new(first, settings.rto_initial, settings.rto_min, settings.rto_max),
            timer: Timer::new(),
            episode: Episode::new(first),
            rack: Rack::new(first),
            probe: Probe::new(),
            rate: Rate::new(),
            usage: Usage::new(first),
            pacing: Pacing::new(settings),
            history: HistoryId::NONE,
            retransmitted: 0,
            lost: 0,
            reordering_seen: 0,
            times: Times::default(),
            congestion: Congestion::new(settings.algorithm),
            mtu_probe: MtuProbe::None,
            mss: 536,
            initial_window: settings.initial_window.max(1),
            reordering: settings.reordering.max(1),
            first_reordering: settings.reordering.max(1),
            max_reordering: settings.max_reordering.max(settings.reordering).max(1),
            timeouts: 0,
            backoff: 0,
            syn_linear_timeouts: settings.syn_linear_timeouts,
            agreed: Agreed::default(),
            established: false,
            idle_restart: settings.slow_start_after_idle,
            frto: settings.frto,
            tail_loss_probe: settings.tail_loss_probe,
            cwr_due: false,
            filled_window: false,
            sample_app_limited: false,
        };
        sender.hold(u64::MAX);
        sender
    }

    /// The handshake is complete. Call it after `on_ack` of the SYN's acknowledgement (active open) or after
    /// `measured` (passive open). `mss` is what a segment may carry, options subtracted.
    pub fn established(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        mss: u16,
        agreed: Agreed,
        remembered: Option<&PathMetrics>,
    ) {
        self.established = true;
        self.agreed = agreed;
        self.mss = mss.max(1);
        self.window.cwnd = u32::from(self.initial_window);
        self.rtt.unmeasured();
        if let Some(path) = remembered {
            self.remember(path);
        }
        if self.retransmitted > 1 {
            self.window.cwnd = 1; // RFC 5681 section 3.1: a SYN that was lost leaves a window of one
        }
        self.usage.restart(now);
        self.episode.reopen(self.flight.nxt);
        if let Some(history) = pool.known_history(&self.history) {
            history.reopen();
        }
        self.update_pacing_rate();
    }

    /// What earlier connections learnt of the path. Before anything but the handshake was sent.
    pub fn remember(&mut self, path: &PathMetrics) {
        if path.ssthresh > 0 {
            self.window.ssthresh = path.ssthresh.min(self.window.clamp);
        }
        if path.reordering > 0 {
            let most = u32::from(self.max_reordering);
            self.reordering = path.reordering.clamp(u32::from(self.first_reordering), most) as u16;
        }
        self.rtt.remembered(duration_micros(path.srtt));
    }

    /// Begins with a window of so many segments instead of the host's (Linux's route metric `initcwnd`). A window that
    /// a lost SYN made smaller stays.
    pub fn begin_with(&mut self, segments: u16) {
        let untouched = self.window.cwnd == u32::from(self.initial_window);
        self.initial_window = segments.max(1);
        if untouched {
            self.window.cwnd = u32::from(self.initial_window);
            self.update_pacing_rate();
        }
    }

    /// A round trip time that was measured elsewhere: that of the SYN-ACK in a passive open.
    pub fn measured(&mut self, now: Instant, rtt: Duration) {
        let rtt = duration_micros(rtt);
        self.rtt.remember_smallest(now, rtt);
        self.rtt.measured(rtt, self.flight.una, self.flight.nxt);
    }

    /// The segment size changed (path MTU). What is outstanding is cut anew as it is sent again.
    pub fn set_mss(&mut self, mss: u16) {
        self.mss = mss.max(1);
    }

    /// Chooses another algorithm; the window stays.
    pub fn set_algorithm(&mut self, now: Instant, algorithm: Algorithm) {
        if algorithm != self.congestion.algorithm() {
            self.congestion = Congestion::new(algorithm);
            self.pace_anew();
            self.usage.restart(now);
            self.update_pacing_rate();
        }
    }

    /// Bound of the window in segments (`tcp_snd_cwnd_clamp`).
    pub fn set_cwnd_clamp(&mut self, segments: u32) {
        self.window.clamp = segments.clamp(1, u32::MAX >> 1);
        self.window.cwnd = self.window.cwnd.min(self.window.clamp);
    }

    /// First sequence number that is not acknowledged.
    #[inline]
    pub fn una(&self) -> Seq {
        self.flight.una
    }

    /// First sequence number that was not sent.
    #[inline]
    pub fn nxt(&self) -> Seq {
        self.flight.nxt
    }

    /// Segments believed in the network.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.flight.in_flight()
    }

    /// Segments outstanding (sent and not acknowledged in sequence).
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.flight.outstanding
    }

    /// Congestion window in segments.
    #[inline]
    pub fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    /// The retransmission timeout as it stands, back-off included.
    pub fn rto(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt.rto()))
    }

    /// The same in microseconds.
    #[inline]
    pub fn rto_micros(&self) -> u32 {
        self.rtt.rto()
    }

    /// Smoothed round trip time in microseconds; 0 before the first measurement.
    #[inline]
    pub fn srtt_micros(&self) -> u32 {
        self.rtt.srtt()
    }

    /// Smoothed round trip time; zero before the first measurement.
    pub fn srtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt.srtt()))
    }

    /// Timeouts in a row without an acknowledgement between.
    pub fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// Doublings of the timeout that stand.
    pub fn backoff(&self) -> u8 {
        self.backoff
    }

    /// What the sender does about losses now.
    pub fn ca_state(&self) -> CaState {
        self.episode.state
    }

    /// True when segments were seen to overtake each other.
    pub fn has_seen_reordering(&self) -> bool {
        self.reordering_seen > 0
    }

    /// True when something had to be sent again.
    pub fn has_repeated(&self) -> bool {
        self.retransmitted > 0
    }

    /// When the oldest outstanding thing was first sent again, while the timer goes off without an answer:
    /// what the user timeout counts from (RFC 5482). None when there is an answer.
    pub fn stalled_since(&self) -> Option<Instant> {
        let since = self.episode.first_retransmission;
        (self.timeouts > 0 && since != Instant::NEVER).then_some(since)
    }

    /// What is worth remembering of the path when the connection ends.
    pub fn metrics(&self) -> PathMetrics {
        let micros = |value: u32| Duration::from_micros(u64::from(value));
        let ssthresh = self.window.ssthresh;
        PathMetrics {
            srtt: micros(self.rtt.srtt()),
            rttvar: micros(self.rtt.deviation()),
            ssthresh: if ssthresh == NO_THRESHOLD { 0 } else { ssthresh },
            cwnd: self.window.cwnd,
            reordering: u32::from(self.reordering),
        }
    }

    /// Reads a little of all parts that an ACK or a segment of data needs. What it returns means nothing.
    #[inline]
    pub(in crate::tcp) fn touch(&self) -> u64 {
        let Sender { flight, window, rtt, timer, episode, rack, rate, usage, congestion, mss, .. } = self;
        u64::from(flight.una.0)
            ^ u64::from(flight.head)
            ^ u64::from(window.cwnd)
            ^ u64::from(rtt.rto())
            ^ timer.deadline.nanos()
            ^ episode.first_retransmission.nanos()
            ^ rack.sent.nanos()
            ^ u64::from(rate.delivered)
            ^ usage.sent_at.nanos()
            ^ u64::from(congestion.rules_itself())
            ^ u64::from(*mss)
    }

    /// The connection ends: gives all runs back. What it can tell of itself stays.
    pub fn release(&mut self, pool: &mut RunPool) {
        self.flight.release(pool);
        self.timer.disarm();
    }

    /// Nobody asks for it any more: gives back everything else.
    pub fn forget(&mut self, pool: &mut RunPool) {
        self.release(pool);
        pool.give_history(&mut self.history);
    }
}
