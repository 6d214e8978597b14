//! What the sender tells about itself: its share of Linux's TCP_INFO.

use core::time::Duration;

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
}
