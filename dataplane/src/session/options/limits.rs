//! Bounds of options: Linux's, with their names there.

/// The most that SO_SNDBUF and SO_RCVBUF take (net.core.wmem_max and rmem_max of Linux 6.18), before it is doubled.
pub const BUFFER_MAX: i32 = 4 << 20;

/// The least that SO_SNDBUF becomes (SOCK_MIN_SNDBUF).
pub const MIN_SEND_BUFFER: i32 = 4608;

/// The least that SO_RCVBUF becomes (SOCK_MIN_RCVBUF).
pub const MIN_RECEIVE_BUFFER: i32 = 2304;

/// A tick of a kernel that counts 250 in a second: what SO_RCVTIMEO is rounded up to.
pub const LINUX_TICK_MICROS: u64 = 4000;

/// What SO_LINGER reads as after a time of less than nothing: the longest that a kernel with such ticks counts, cut to a number.
pub const LINGER_FOREVER: i32 = (i64::MAX / (1_000_000 / LINUX_TICK_MICROS as i64)) as i32;

/// The most that a receive buffer of TCP grows to (net.ipv4.tcp_rmem of Linux 6.18): SO_RCVLOWAT is at most half of it.
pub const TCP_RECEIVE_MAX: i32 = 32 << 20;

/// A timeout that is over when it begins: SO_RCVTIMEO of less than nothing.
pub const TIMEOUT_AT_ONCE: u64 = u64::MAX;

/// SO_TIMESTAMPING's words, by linux/net_tstamp.h, as far as the data plane does something about them.
pub mod stamping {
    /// Stamps when it leaves.
    pub const TX_SOFTWARE: i32 = 1 << 1;
    /// Stamps of what is sent tell their key.
    pub const OPT_ID: i32 = 1 << 7;
    /// Stamps when it is handed to its port.
    pub const TX_SCHED: i32 = 1 << 8;
    /// Stamps when the peer has it.
    pub const TX_ACK: i32 = 1 << 9;
    /// Stamps of what was sent over IPv4 tell of their packets, too.
    pub const OPT_CMSG: i32 = 1 << 10;
    /// Stamps of what is sent come without their packets.
    pub const OPT_TSONLY: i32 = 1 << 11;
    /// And with the connection's figures in their place.
    pub const OPT_STATS: i32 = 1 << 12;
    /// Keys of streams count from what is written.
    pub const OPT_ID_TCP: i32 = 1 << 16;
}

/// What SO_TIMESTAMPING takes: stamps that the data plane makes (RX_SOFTWARE, TX_SOFTWARE, TX_SCHED, TX_ACK, SOFTWARE), those that
/// only hardware makes and that never come, here as there (TX_HARDWARE, RX_HARDWARE, SYS_HARDWARE, RAW_HARDWARE, OPT_TX_SWHW,
/// BIND_PHC; TX_COMPLETION, which is Bluetooth's), and words about them (OPT_ID, OPT_CMSG, OPT_TSONLY, OPT_STATS, OPT_PKTINFO,
/// OPT_ID_TCP, OPT_RX_FILTER).
pub const TIMESTAMPING_BOUNDS: i32 = (1 << 19) - 1;

/// Keys for signatures of one socket that does not stand yet: as many as a listener may have.
pub const MAX_KEYS: usize = flumen_stack::limits::MAX_SIGNATURE_KEYS;

/// The longest queue of a listener (net.core.somaxconn).
pub const LISTEN_MAX: i32 = 4096;

/// Sources of one filter over IPv4 (net.ipv4.igmp_max_msf).
pub const MAX_FILTER_IPV4: usize = 10;

/// Sources of one filter over IPv6: what goes with one call (Linux: net.ipv6.mld_max_msf, 64).
pub const MAX_FILTER_IPV6: usize = 14;

const _: () = assert!(
    super::groups::FILTER_HEAD + MAX_FILTER_IPV6 * super::groups::STORAGE <= flumen_ipc::limits::CALL_DATA
);
