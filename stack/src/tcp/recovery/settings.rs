//! What a sender is told once: the host's defaults (sysctls on Linux), what the handshake agreed, and what is
//! remembered of the path.

use core::time::Duration;

use crate::tcp::congestion::Algorithm;

/// The host's defaults for a sender. [`SenderSettings::default`] is what Linux ships with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderSettings {
    /// The congestion control that a new connection starts with.
    pub algorithm: Algorithm,
    /// Initial congestion window in segments (RFC 6928: 10).
    pub initial_window: u16,
    /// Smallest retransmission timeout. RFC 6298 section 2.4 asks for 1 s; Linux takes 200 ms (`tcp_rto_min_us`).
    pub rto_min: Duration,
    /// Largest retransmission timeout (RFC 6298 section 2.5 wants at least 60 s; Linux takes 120 s).
    pub rto_max: Duration,
    /// Timeout before the first measurement (RFC 6298 section 2.1: 1 s).
    pub rto_initial: Duration,
    /// How many timeouts of a SYN do not double the timeout (`tcp_syn_linear_timeouts`).
    pub syn_linear_timeouts: u8,
    /// Shrink the window of a connection that was idle (RFC 2861, `tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// Detect spurious timeouts by what the next ACKs say (RFC 5682, `tcp_frto`).
    pub frto: bool,
    /// Send a probe when the tail of a flight may be lost (RFC 8985 section 7, `tcp_early_retrans`).
    pub tail_loss_probe: bool,
    /// Segments of reordering that are expected before any was seen (`tcp_reordering`: 3).
    pub reordering: u16,
    /// Most segments of reordering that are believed (`tcp_max_reordering`: 300).
    pub max_reordering: u16,
    /// Pacing rate in slow start, in percent of cwnd/srtt (`tcp_pacing_ss_ratio`: 200).
    pub pacing_slow_start_percent: u16,
    /// Pacing rate otherwise (`tcp_pacing_ca_ratio`: 120).
    pub pacing_percent: u16,
}

impl Default for SenderSettings {
    fn default() -> Self {
        SenderSettings {
            algorithm: Algorithm::Cubic,
            initial_window: 10,
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            rto_initial: Duration::from_secs(1),
            syn_linear_timeouts: 4,
            slow_start_after_idle: true,
            frto: true,
            tail_loss_probe: true,
            reordering: 3,
            max_reordering: 300,
            pacing_slow_start_percent: 200,
            pacing_percent: 120,
        }
    }
}

/// What the handshake agreed, as far as the sender needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreed {
    /// Both ends permit SACK (RFC 2018).
    pub sack: bool,
    /// Timestamps go both ways (RFC 7323).
    pub timestamps: bool,
    /// ECN was negotiated (RFC 3168).
    pub ecn: bool,
}

/// What is remembered of a destination from connections before (as Linux's `tcp_metrics`). Zero: not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathMetrics {
    /// Smoothed round trip time.
    pub srtt: Duration,
    /// Its variation.
    pub rttvar: Duration,
    /// Slow start threshold in segments.
    pub ssthresh: u32,
    /// Congestion window in segments: the initial window is at most this when it is locked by the route;
    /// kept for writing back.
    pub cwnd: u32,
    /// Reordering in segments.
    pub reordering: u32,
}
