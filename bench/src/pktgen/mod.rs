//! # The packet generator
//!
//! ```text
//!   scenario (TOML, flags) ──> plan: defaults, and what must hold ──> engine ──> report
//!      values, size, rate          │                                    │          live: the terminal
//!                                  ▼                                    ▼
//!              template: headers, sums ──> source: what is due ──> worker: queues, turns
//!              pacing: when                                          account: loss, order; latency
//!                                                                    neighbour: ARP and ND
//! ```
//! Ports are the data plane's ([`flumen::port`]): AF_XDP, captures, a wire in memory. So the generator needs no driver of
//! its own, and leaves the interfaces to the host as the data plane does.
//!
//! *Frame sizes* count the check sequence of 4 bytes, as RFC 2544 and every card do. A *mark* in the payload
//! ([`mark`]) says of each frame which it is and when it was sent.

pub mod account;
pub mod clock;
pub mod engine;
pub mod flags;
pub mod generator;
pub mod kernel;
pub mod latency;
pub mod limits;
pub mod live;
pub mod mark;
pub mod neighbour;
pub mod open;
pub mod pacing;
pub mod plan;
pub mod rate;
pub mod report;
pub mod scenario;
pub mod size;
pub mod source;
pub mod template;
pub mod values;
pub mod worker;
