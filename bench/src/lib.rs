//! # flumen-bench: what the data plane costs
//!
//! ```text
//!   random ──> table: a full routing table ──> router: a worker on it ──> measure: cycles a packet
//!          └─> traffic: frames for its destinations ──┘                    └─ machine: where that was
//! ```
//! `pktgen` sends and receives packets by the ports of the data plane (the binary `flumen-pktgen`), and `rfc2544`
//! measures with it what a device between two ports can do; `iperf` collects what other people's programs say.
//! `wire` is a path with delay, rate and losses between two interfaces.
//!
//! The binary `flumen-bench` measures the product's own [`flumen::worker::Worker`] with no card in the way;
//! `benches/` holds one micro benchmark for each idea of the packet path, by time and by instructions.
//!
//! Absolute figures from a shared machine say little: compare what was measured in the same run, by medians,
//! and look at the ranges beside them.
#![forbid(unsafe_code)]

pub mod iperf;
pub mod machine;
pub mod measure;
pub mod parts;
pub mod pktgen;
pub mod random;
pub mod rfc2544;
pub mod router;
pub mod table;
pub mod tcp;
pub mod traffic;
pub mod verdict;
pub mod wire;
