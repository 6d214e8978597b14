//! Sockets of the data plane's own host, as configured: how many there may be, and how they behave. The defaults
//! are Linux's; where Linux has a name for a key, that name without `tcp_` is the key's, so that people find it.

use core::time::Duration;
use flumen_stack::tcp::secret::Secret;

/// `[sockets]`: bounds of one worker. Tables are reserved at start; memory is touched when used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// TCP connections.
    pub connections: usize,
    /// TCP listeners.
    pub listeners: usize,
    /// Connections in the making, of all listeners.
    pub requests: usize,
    /// Connections in TIME-WAIT.
    pub time_wait: usize,
    /// UDP sockets.
    pub udp: usize,
    /// Raw and ping sockets.
    pub raw: usize,
    /// Memory for data in the buffers of all sockets, in bytes; whole MiB.
    pub memory: usize,
    /// Port numbers that sockets get which do not ask for one, both included.
    pub local_ports: (u16, u16),
}

impl Default for Sockets {
    fn default() -> Self {
        Sockets {
            connections: 65_536,
            listeners: 256,
            requests: 8192,
            time_wait: 65_536,
            udp: 4096,
            raw: 256,
            memory: 256 << 20,
            local_ports: (32_768, 60_999),
        }
    }
}

/// Bounds of a buffer, in bytes of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Never below, also under memory pressure.
    pub min: u32,
    /// What a connection starts with.
    pub initial: u32,
    /// How far it may grow.
    pub max: u32,
}

/// Which congestion control a connection starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Congestion {
    /// RFC 9438.
    Cubic,
    /// RFC 5681, RFC 6582.
    Reno,
    /// Bottleneck bandwidth and round-trip time.
    Bbr,
}

/// When ECN is used (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// Never.
    Off,
    /// Asked for and granted.
    On,
    /// Granted, not asked for.
    Passive,
}

/// When SYN cookies are sent (RFC 4987).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynCookies {
    /// Never.
    Off,
    /// While the queue of connections in the making is full.
    On,
    /// For every SYN.
    Always,
}

/// When path MTU discovery does without ICMP (RFC 4821).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtuProbing {
    /// Never.
    Off,
    /// When a black hole is suspected.
    BlackHole,
    /// On every connection.
    On,
}

/// `[tcp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Congestion control of new connections.
    pub congestion: Congestion,
    /// Initial congestion window, in segments.
    pub initial_window: u16,
    /// Retransmission timeout: smallest.
    pub rto_min: Duration,
    /// Largest.
    pub rto_max: Duration,
    /// Before the first measurement.
    pub rto_initial: Duration,
    /// Timeouts of a SYN that do not double the timeout.
    pub syn_linear_timeouts: u8,
    /// Shrink the window of a connection that was idle.
    pub slow_start_after_idle: bool,
    /// Detect spurious timeouts (RFC 5682).
    pub frto: bool,
    /// Tail loss probes (RFC 8985).
    pub tail_loss_probe: bool,
    /// Reordering that is expected before any was seen, in segments.
    pub reordering: u16,
    /// Reordering that is believed at most.
    pub max_reordering: u16,
    /// Pacing in slow start, per cent of window / round trip.
    pub pacing_ss_ratio: u16,
    /// Pacing otherwise.
    pub pacing_ca_ratio: u16,
    /// Receive buffers.
    pub receive_buffer: Buffer,
    /// Send buffers.
    pub send_buffer: Buffer,
    /// Largest window that is ever offered, in bytes.
    pub max_window: u32,
    /// RFC 7323 windows.
    pub window_scaling: bool,
    /// RFC 7323 timestamps.
    pub timestamps: bool,
    /// RFC 2018.
    pub sack: bool,
    /// RFC 2883.
    pub dsack: bool,
    /// RFC 3168.
    pub ecn: Ecn,
    /// Grow receive buffers by what is read.
    pub moderate_rcvbuf: bool,
    /// Retransmissions of a SYN.
    pub syn_retries: u8,
    /// Retransmissions of a SYN-ACK.
    pub synack_retries: u8,
    /// Timeouts after which the path is doubted.
    pub retries1: u8,
    /// Timeouts whose time a connection is given.
    pub retries2: u8,
    /// The same, when its owner has closed it.
    pub orphan_retries: u8,
    /// FIN-WAIT-2 without an owner.
    pub fin_timeout: Duration,
    /// Idle time before keepalive probes.
    pub keepalive_time: Duration,
    /// Time between them.
    pub keepalive_interval: Duration,
    /// How many.
    pub keepalive_probes: u8,
    /// Least time between two answers of a connection to what is out of its window.
    pub invalid_ratelimit: Duration,
    /// RFC 4821.
    pub mtu_probing: MtuProbing,
    /// The MSS that a black hole leads to.
    pub base_mss: u16,
    /// The least MSS, whatever the path says.
    pub min_snd_mss: u16,
    /// Bytes that may wait unsent before the owner hears that it may write; `None`: any number.
    pub notsent_lowat: Option<u32>,
    /// Find the path MTU.
    pub path_mtu_discovery: bool,
    /// RFC 4987.
    pub syncookies: SynCookies,
    /// Every listener opens fast, also one that did not ask for it.
    pub fast_open_all: bool,
    /// The key of fast open cookies; `None`: one of this start alone.
    pub fast_open_key: Option<Secret>,
    /// A full accept queue resets connections.
    pub abort_on_overflow: bool,
    /// TIME-WAIT ignores resets.
    pub rfc1337: bool,
    /// TIME-WAIT gives way to newer connections, by timestamps.
    pub tw_reuse: bool,
    /// Challenge ACKs a second, of one worker; `None`: any number.
    pub challenge_ack_limit: Option<u32>,
    /// Remember slow start thresholds of destinations.
    pub save_ssthresh: bool,
    /// Destinations that are remembered at all.
    pub metrics: usize,
}

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            congestion: Congestion::Cubic,
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
            pacing_ss_ratio: 200,
            pacing_ca_ratio: 120,
            receive_buffer: Buffer { min: 2048, initial: 65_536, max: 3_145_728 },
            send_buffer: Buffer { min: 4096, initial: 16_384, max: 4_194_304 },
            max_window: 6_291_456,
            window_scaling: true,
            timestamps: true,
            sack: true,
            dsack: true,
            ecn: Ecn::Passive,
            moderate_rcvbuf: true,
            syn_retries: 6,
            synack_retries: 5,
            retries1: 3,
            retries2: 15,
            orphan_retries: 8,
            fin_timeout: Duration::from_secs(60),
            keepalive_time: Duration::from_secs(7200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            invalid_ratelimit: Duration::from_millis(500),
            mtu_probing: MtuProbing::Off,
            base_mss: 1024,
            min_snd_mss: 48,
            notsent_lowat: None,
            path_mtu_discovery: true,
            syncookies: SynCookies::On,
            fast_open_all: false,
            fast_open_key: None,
            abort_on_overflow: false,
            rfc1337: false,
            tw_reuse: true,
            challenge_ack_limit: None,
            save_ssthresh: false,
            metrics: 4096,
        }
    }
}

/// `[udp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Udp {
    /// What a socket may hold of received data, overhead included, in bytes.
    pub receive_buffer: usize,
}

impl Default for Udp {
    fn default() -> Self {
        Udp { receive_buffer: 212_992 }
    }
}
