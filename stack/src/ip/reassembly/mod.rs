//! Reassembly (row P5; RFC 791 section 3.2, RFC 815, RFC 1122 section 3.3.2, RFC 8200 section 4.5): fragments for
//! us become the datagram that they were.
//!
//! ```text
//!   local ── a fragment ──> v4 / v6: checks ──> table ──┬─ waits for the others
//!     ^                                                  ├─ repeats, overlaps, too many, no room: ends
//!     └────── the whole datagram, a chain of frames <────┴─ the last one missing
//!   timers ── its time is over ──> forgotten; time exceeded, code 1, when fragment zero came
//! ```
//!
//! Payloads are copied into memory that belongs to reassembly alone, and the frames go back at once. Frames kept
//! as the pieces would save that copy, and would let whoever sends one fragment of many datagrams and never the
//! rest hold a frame of 2048 bytes with eight bytes for half a minute; now the worst that such a sender does is to
//! lose fragments to each other. A whole datagram takes frames only while it is delivered.
//!
//! What is refused, in both families: overlaps (RFC 5722; a fragment that repeats bytes that are here is passed over
//! when they are the same), a length that is no multiple of 8 before the end, an end beyond 65,535 bytes, a first
//! fragment without the transport header (RFC 1858, RFC 7112), a mixture of ECN fields that no path makes (RFC 3168
//! section 5.3). Fragments in transit are none of our business: routers do not reassemble (RFC 1812 section 5.2.6).
//!
//! Reads: fragments for this node. Sends to: local delivery, ICMP errors.

mod datagram;
mod deliver;
mod expire;
mod info;
mod settle;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod v4;
mod v6;

use crate::limits::{REASSEMBLY_SECONDS_IPV4, REASSEMBLY_SECONDS_IPV6};
use core::time::Duration;

pub(crate) use expire::expire;
pub use info::DatagramInfo;
pub use table::Reassembly;
pub(crate) use v4::take as take4;
pub(crate) use v6::take as take6;

/// Bounds and times of one worker's reassembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReassemblyConfig {
    /// Bytes for fragments that wait, [`crate::limits::MIN_REASSEMBLY_MEMORY`] to
    /// [`crate::limits::MAX_REASSEMBLY_MEMORY`]. One source gets at most a quarter.
    pub memory: usize,
    /// How long the pieces of an IPv4 datagram wait for the rest.
    pub lifetime_ipv4: Duration,
    /// The same for IPv6.
    pub lifetime_ipv6: Duration,
}

impl Default for ReassemblyConfig {
    fn default() -> Self {
        ReassemblyConfig {
            // Linux's ipfrag_high_thresh.
            memory: 4 << 20,
            lifetime_ipv4: Duration::from_secs(REASSEMBLY_SECONDS_IPV4),
            lifetime_ipv6: Duration::from_secs(REASSEMBLY_SECONDS_IPV6),
        }
    }
}
