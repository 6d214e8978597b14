//! What crosses between the passive side and the connection machine, as plain values: what two ends agreed in
//! the handshake, a handshake that is complete, and what a connection leaves behind for TIME-WAIT.
//!
//! ```text
//!   SYN ──> request ──ACK──> Accepted ──> Connection ──> TimeWaitContent ──> TIME-WAIT record
//!           (listener)                    (state machine)                    (60 s, answers for it)
//! ```
//!
//! Reads: RFC 9293 section 3.5; RFC 7323 sections 2.2 and 3.2; RFC 2018 section 2; RFC 3168 section 6.1.1.

use super::Seq;
use core::time::Duration;

/// What both ends said in their SYNs, after the rules of each option were applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's MSS option as it came: 536 (IPv4) or 1220 (IPv6) when it sent none (RFC 9293 section
    /// 3.7.1). Not yet reduced to our path, nor by the options that each segment carries.
    pub mss: u16,
    /// Shifts of the window field, when both ends sent the option.
    pub scales: Option<Scales>,
    /// Both ends sent SACK-permitted.
    pub sack: bool,
    /// Both ends sent timestamps.
    pub timestamps: bool,
    /// ECN was agreed (RFC 3168 section 6.1.1).
    pub ecn: bool,
}

/// Window shifts, 0 to 14 each (RFC 7323 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scales {
    /// Of the windows that the peer sends.
    pub theirs: u8,
    /// Of the windows that we send.
    pub ours: u8,
}

/// Where a connection that a listener made begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// The ACK of our SYN-ACK came: ESTABLISHED.
    Established,
    /// A SYN with a good fast open cookie (RFC 7413 section 4.2) came, and our SYN-ACK left: SYN-RECEIVED, and
    /// its owner may already read and write. The connection retransmits the SYN-ACK.
    FastOpen,
}

/// A handshake that a listener finished, or a fast open that it let through.
///
/// The segment that completed it is not part of it: after making the connection give that segment to
/// `Connection::on_segment`, with its data and its FIN. For a fast open, the data of the SYN are given as a segment
/// with the sequence number behind the SYN and only the ACK flag's meaning missing: see `Connection::accepted`.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// Established, or fast open.
    pub arrived: Arrived,
    /// The peer's initial sequence number.
    pub irs: Seq,
    /// Ours: the sequence number of our SYN-ACK.
    pub iss: Seq,
    /// What the SYNs agreed.
    pub negotiated: Negotiated,
    /// Largest segment that our path and TCP_MAXSEG let us send, without options: MTU - IP header - 20.
    pub path_mss: u16,
    /// The MSS option that our SYN-ACK carried.
    pub advertised_mss: u16,
    /// The peer's window in bytes: of the ACK scaled, for a fast open that of the SYN (never scaled).
    pub window: u32,
    /// The window in bytes that our SYN-ACK offered (never scaled).
    pub offered: u32,
    /// From our SYN-ACK to its acknowledgment; `None` when the SYN-ACK was sent more than once, or was a cookie.
    pub rtt: Option<Duration>,
    /// How often the SYN-ACK was retransmitted.
    pub retransmissions: u8,
    /// The peer's latest timestamp (TS.Recent; RFC 7323 section 4.3), when timestamps are agreed.
    pub ts_recent: u32,
    /// What is added to our clock (ms) to make the timestamps of this connection.
    pub ts_offset: u32,
}

/// What a connection knows when it enters TIME-WAIT: enough to answer old segments, and to judge a new SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWaitContent {
    /// The next sequence number that we would send: behind our FIN.
    pub snd_nxt: Seq,
    /// The next one that we wait for: behind the peer's FIN.
    pub rcv_nxt: Seq,
    /// Our window in bytes, as last offered.
    pub rcv_wnd: u32,
    /// Shift of the windows that we send.
    pub scale: u8,
    /// The peer's latest timestamp, when timestamps are agreed (RFC 7323 section 5.5, RFC 6191).
    pub ts_recent: Option<u32>,
    /// What is added to our clock (ms) for the timestamps that we send.
    pub ts_offset: u32,
    /// The type of service that the connection's packets carried.
    pub tos: u8,
}
