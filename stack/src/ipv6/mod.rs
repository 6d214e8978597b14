//! IPv6 (RFC 8200, RFC 4291, RFC 4443 and RFC 4861 for its company).
//!
//! ```text
//!   ethernet ─> input ─┬─ group ──────────────> local
//!                      └─> route ─┬─ hop ─────> forward ─> output::transmit ─> egress
//!                                 ├─ local ───> local ─┬─> icmp::v6 ─> nd
//!                                 └─ refuse ──> error  └─> closed
//! ```

pub mod advertise;
pub mod autoconf;
pub mod extension;
pub mod forward;
pub mod fragment;
pub mod input;
pub mod local;
pub mod nd;
pub mod output;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
