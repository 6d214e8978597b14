//! The host's defaults for connections: what Linux keeps in `net.ipv4.tcp_*`, with its values.

use super::recovery::SenderSettings;
use core::time::Duration;

/// Bounds of a buffer in bytes of data: smallest, initial, and how far autotuning may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferLimits {
    /// Never below, also under memory pressure.
    pub min: u32,
    /// What a connection starts with.
    pub initial: u32,
    /// Autotuning's end.
    pub max: u32,
}

/// When ECN is used (`tcp_ecn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EcnPolicy {
    /// Never.
    Off,
    /// Asked for and granted.
    On,
    /// Granted, not asked for.
    #[default]
    Passive,
}

/// Packetization layer path MTU discovery (`tcp_mtu_probing`; RFC 4821).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MtuProbing {
    /// Off: only what ICMP says.
    #[default]
    Off,
    /// Once a black hole is suspected.
    BlackHole,
    /// On every connection from the start.
    On,
}

/// The host's defaults. [`TcpSettings::default`] is Linux's; buffers count data only, so the figures of
/// `tcp_rmem` appear halved (Linux gives half of that memory to its own overhead).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSettings {
    /// For the sender's engine.
    pub sender: SenderSettings,
    /// Receive buffer (half of `tcp_rmem` 4096 131072 6291456).
    pub receive: BufferLimits,
    /// Send buffer (`tcp_wmem` 4096 16384 4194304).
    pub send: BufferLimits,
    /// Largest window that is ever offered; the window shift is made for it (the larger of `tcp_rmem[2]` and
    /// `rmem_max`, whole, as Linux counts it).
    pub window_max: u32,
    /// Offer and accept window scaling (`tcp_window_scaling`).
    pub window_scaling: bool,
    /// Offer and accept timestamps (`tcp_timestamps`).
    pub timestamps: bool,
    /// Offer and accept SACK (`tcp_sack`).
    pub sack: bool,
    /// Report duplicates (`tcp_dsack`; RFC 2883).
    pub dsack: bool,
    /// ECN.
    pub ecn: EcnPolicy,
    /// Grow receive buffers by what the application reads (`tcp_moderate_rcvbuf`).
    pub autotune: bool,
    /// Retransmissions of a SYN (`tcp_syn_retries`).
    pub syn_retries: u8,
    /// Retransmissions of a SYN-ACK (`tcp_synack_retries`).
    pub synack_retries: u8,
    /// After so many timeouts the path is doubted (`tcp_retries1`; RFC 1122 R1).
    pub retries1: u8,
    /// After the time that so many timeouts take a connection is given up (`tcp_retries2`; RFC 1122 R2).
    pub retries2: u8,
    /// The same for a connection whose owner closed it (`tcp_orphan_retries` 0 means 8).
    pub orphan_retries: u8,
    /// How long a closed connection waits in FIN-WAIT-2 (`tcp_fin_timeout`).
    pub fin_timeout: Duration,
    /// Idle time before keepalive probes (`tcp_keepalive_time`).
    pub keepalive_time: Duration,
    /// Time between them (`tcp_keepalive_intvl`).
    pub keepalive_interval: Duration,
    /// Unanswered probes that end a connection (`tcp_keepalive_probes`).
    pub keepalive_probes: u8,
    /// Least time between two ACKs that the same connection sends to out-of-window segments
    /// (`tcp_invalid_ratelimit`).
    pub invalid_ratelimit: Duration,
    /// Find the MSS by trying: when large segments vanish, or always (RFC 4821).
    pub mtu_probing: MtuProbing,
    /// The MSS that the search begins with (`tcp_base_mss`).
    pub base_mss: u16,
    /// Never below this MSS, whatever the path says (`tcp_min_snd_mss`).
    pub min_snd_mss: u16,
    /// Bytes that may wait unsent before the owner hears that it may write (`tcp_notsent_lowat`).
    pub notsent_lowat: u32,
    /// Find the path MTU by DF (`ip_no_pmtu_disc` = 0).
    pub path_mtu_discovery: bool,
}

impl Default for TcpSettings {
    fn default() -> Self {
        TcpSettings {
            sender: SenderSettings::default(),
            receive: BufferLimits { min: 2048, initial: 65_536, max: 3_145_728 },
            send: BufferLimits { min: 4096, initial: 16_384, max: 4_194_304 },
            window_max: 6_291_456,
            window_scaling: true,
            timestamps: true,
            sack: true,
            dsack: true,
            ecn: EcnPolicy::Passive,
            autotune: true,
            syn_retries: 6,
            synack_retries: 5,
            retries1: 3,
            retries2: 15,
            orphan_retries: 8,
            fin_timeout: Duration::from_secs(60),
            keepalive_time: Duration::from_secs(7200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            invalid_ratelimit: super::challenge::CONNECTION_INTERVAL,
            mtu_probing: MtuProbing::Off,
            base_mss: 1024,
            min_snd_mss: 48,
            notsent_lowat: u32::MAX,
            path_mtu_discovery: true,
        }
    }
}

impl TcpSettings {
    /// The window shift that the largest window needs (RFC 7323 section 2.3), as Linux chooses it.
    pub const fn window_scale(&self) -> u8 {
        let bits = (self.window_max | 1).ilog2();
        if bits <= 15 {
            0
        } else if bits - 15 > 14 {
            14
        } else {
            (bits - 15) as u8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shift_follows_the_largest_window() {
        let shift = |window_max| TcpSettings { window_max, ..TcpSettings::default() }.window_scale();
        assert_eq!(TcpSettings::default().window_scale(), 7);
        assert_eq!((shift(0), shift(65_535), shift(65_536), shift(u32::MAX)), (0, 0, 1, 14));
    }
}
