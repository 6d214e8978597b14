//! What the sender tells about itself: its share of Linux's TCP_INFO.

use core::time::Duration;

use super::run::RunPool;
use super::{Limit, Sender};
use crate::Instant;
use crate::tcp::congestion::Algorithm;

/// Where congestion control stands (Linux's `tcpi_ca_state`; same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum CaState {
    /// Nothing is in doubt.
    #[default]
    Open = 0,
    /// Duplicates or SACKs arrived; loss is not sure yet.
    Disorder = 1,
    /// The window shrinks because of congestion marks (ECN) or a tail loss probe that repaired a loss.
    Cwr = 2,
    /// Fast recovery (RFC 6675, RFC 8985, PRR).
    Recovery = 3,
    /// The retransmission timer went off.
    Loss = 4,
}

/// The sender's part of TCP_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Where congestion control stands.
    pub ca_state: CaState,
    /// Which algorithm.
    pub algorithm: Algorithm,
    /// Timeouts in a row (`tcpi_retransmits`).
    pub timeouts: u8,
    /// How often the timeout was doubled (`tcpi_backoff`).
    pub backoff: u8,
    /// Retransmission timeout, back-off included.
    pub rto: Duration,
    /// Smoothed round trip time; zero before the first measurement.
    pub srtt: Duration,
    /// Its variation (as TCP_INFO has it: the mean deviation).
    pub rttvar: Duration,
    /// Smallest round trip time of the last five minutes; `Duration::MAX` before the first.
    pub min_rtt: Duration,
    /// Round trip time that RACK uses.
    pub rack_rtt: Duration,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Slow start threshold in segments; `u32::MAX` is none.
    pub ssthresh: u32,
    /// Segments outstanding (`tcpi_unacked`).
    pub unacked: u32,
    /// Segments selectively acknowledged, or duplicate ACKs without SACK (`tcpi_sacked`).
    pub sacked: u32,
    /// Segments believed lost (`tcpi_lost`).
    pub lost: u32,
    /// Retransmitted segments in flight (`tcpi_retrans`).
    pub retrans: u32,
    /// Segments retransmitted since the beginning (`tcpi_total_retrans`).
    pub total_retrans: u32,
    /// Bytes retransmitted since the beginning (`tcpi_bytes_retrans`).
    pub bytes_retrans: u64,
    /// Reordering that is allowed for, in segments.
    pub reordering: u32,
    /// How often reordering was seen (`tcpi_reord_seen`).
    pub reordering_seen: u32,
    /// D-SACK reports received (`tcpi_dsack_dups`).
    pub dsack_duplicates: u32,
    /// Segments delivered since the beginning.
    pub delivered: u32,
    /// Of those, with congestion marks.
    pub delivered_ce: u32,
    /// Most recent delivery rate in bytes a second (`tcpi_delivery_rate`).
    pub delivery_rate: u64,
    /// That rate was limited by the application.
    pub delivery_rate_app_limited: bool,
    /// Pacing rate in bytes a second; `u64::MAX` when unknown.
    pub pacing_rate: u64,
    /// Bound of the pacing rate; `u64::MAX` is none.
    pub max_pacing_rate: u64,
    /// Time with data outstanding or waiting (`tcpi_busy_time`).
    pub busy: Duration,
    /// Of that, time limited by the receiver's window.
    pub window_limited: Duration,
    /// Of that, time limited by the send buffer.
    pub buffer_limited: Duration,
    /// Timeouts since the beginning (`tcpi_total_rto`).
    pub total_timeouts: u16,
    /// Recoveries by timeout (`tcpi_total_rto_recoveries`).
    pub timeout_recoveries: u16,
    /// How long they took (`tcpi_total_rto_time`), the one that goes on included.
    pub timeout_time: Duration,
    /// BBR's model: bandwidth in bytes a second, and the gains of rate and window in 1/256 (`tcp_bbr_info`).
    pub model: Option<(u64, u32, u32)>,
}

/// What is counted of the troubles of a connection over its life.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) bytes_retransmitted: u64,
    pub(super) dsack_duplicates: u32,
    pub(super) timeouts: u16,
    pub(super) timeout_recoveries: u16,
    /// When the first of timeouts in a row was, by the clock in milliseconds (0: there is none), and how long such rows took
    /// before it.
    pub(super) timeout_since: u32,
    pub(super) timeout_millis: u32,
}

/// The clock in milliseconds.
fn millis(now: Instant) -> u32 {
    (now.nanos() / 1_000_000) as u32
}

impl Tally {
    pub(super) const NONE: Tally = Tally {
        bytes_retransmitted: 0,
        dsack_duplicates: 0,
        timeouts: 0,
        timeout_recoveries: 0,
        timeout_since: 0,
        timeout_millis: 0,
    };

    /// The first of timeouts in a row.
    pub(super) fn timeouts_begin(&mut self, now: Instant) {
        self.timeout_since = millis(now).max(1);
    }

    /// What had timed out was acknowledged after all.
    pub(super) fn timeouts_over(&mut self, now: Instant) {
        self.timeout_millis = self.timeout_time(now);
        self.timeout_since = 0;
    }

    /// How long rows of timeouts took, in milliseconds, the one that goes on included.
    fn timeout_time(&self, now: Instant) -> u32 {
        match self.timeout_since {
            0 => self.timeout_millis,
            since => self.timeout_millis.saturating_add(millis(now).wrapping_sub(since)),
        }
    }
}

/// What the output was limited by, and for how long, in milliseconds of the clock (as Linux counts in ticks): what is longer
/// than 49 days is 49 days.
#[derive(Debug, Default)]
pub(super) struct Times {
    since: u32,
    spent: [u32; 3],
    limit: Limit,
}

impl Times {
    fn spent(&self, now: Instant, limit: Limit) -> u32 {
        let index = match limit {
            Limit::Idle => return 0,
            Limit::Busy => 0,
            Limit::Window => 1,
            Limit::Buffer => 2,
        };
        let running = if self.limit == limit { millis(now).wrapping_sub(self.since) } else { 0 };
        self.spent[index].saturating_add(running)
    }
}

impl Sender {
    /// What limits the output from now on, for the times in TCP_INFO.
    pub fn limited_by(&mut self, now: Instant, limit: Limit) {
        if limit == self.times.limit {
            return;
        }
        let spent = self.times.spent(now, self.times.limit);
        match self.times.limit {
            Limit::Idle => {}
            Limit::Busy => self.times.spent[0] = spent,
            Limit::Window => self.times.spent[1] = spent,
            Limit::Buffer => self.times.spent[2] = spent,
        }
        self.times.limit = limit;
        self.times.since = millis(now);
    }

    /// Everything TCP_INFO wants of a sender.
    pub fn info(&self, pool: &RunPool, now: Instant) -> SenderInfo {
        let tally = &pool.history(&self.history).tally;
        let micros = |value: u32| Duration::from_micros(u64::from(value));
        let (count, interval) = self.rate.sample;
        let bytes = u128::from(count) * u128::from(self.mss) * 1_000_000;
        let rate = self.pacing_rate();
        let time = |limit| Duration::from_millis(self.times.spent(now, limit).into());
        let (busy, window, buffer) = (time(Limit::Busy), time(Limit::Window), time(Limit::Buffer));
        SenderInfo {
            ca_state: self.episode.state,
            algorithm: self.congestion.algorithm(),
            timeouts: self.timeouts,
            backoff: self.backoff,
            rto: micros(self.rtt.rto()),
            srtt: micros(self.rtt.srtt()),
            rttvar: micros(self.rtt.deviation()),
            min_rtt: self.rtt.smallest().map_or(Duration::MAX, micros),
            rack_rtt: micros(self.rack.rtt),
            cwnd: self.window.cwnd,
            ssthresh: self.window.ssthresh,
            unacked: self.flight.outstanding,
            sacked: self.flight.sacked,
            lost: self.flight.lost,
            retrans: self.flight.retransmitted,
            total_retrans: self.retransmitted,
            bytes_retrans: tally.bytes_retransmitted,
            reordering: u32::from(self.reordering),
            reordering_seen: self.reordering_seen,
            dsack_duplicates: tally.dsack_duplicates,
            delivered: self.rate.delivered,
            delivered_ce: self.rate.delivered_ce,
            delivery_rate: u64::try_from(bytes.checked_div(u128::from(interval)).unwrap_or(0))
                .unwrap_or(u64::MAX),
            delivery_rate_app_limited: self.sample_app_limited,
            pacing_rate: if rate == 0 { u64::MAX } else { rate },
            max_pacing_rate: self.pacing.max(),
            busy: busy + window + buffer,
            window_limited: window,
            buffer_limited: buffer,
            total_timeouts: tally.timeouts,
            timeout_recoveries: tally.timeout_recoveries,
            timeout_time: Duration::from_millis(tally.timeout_time(now).into()),
            model: self.congestion.model(self.mss),
        }
    }
}
