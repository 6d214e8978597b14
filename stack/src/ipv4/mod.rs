//! IPv4 (RFC 791, RFC 1122 section 3, RFC 1812).
//!
//! ```text
//!   ethernet ─> input ─> route ─┬─ hop ───> forward ─> output::transmit ─> egress
//!                               ├─ local ─> local ──┬─> icmp::v4 ──┐
//!                               └─ refuse ─> error  └─> closed ────┴─> output::send
//!   arp ─> neighbour ─> released packets ─> egress
//! ```

pub mod arp;
pub mod forward;
pub mod fragment;
pub mod input;
pub mod local;
pub(crate) mod options;
pub mod output;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
