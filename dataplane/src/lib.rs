//! # flumen: the data plane as a service
//!
//! The library behind the command `flumen`: ports, workers, configuration and control around
//! [`flumen_stack`]. `ARCHITECTURE.md` walks through it.
//!
//! ```text
//!   config ──> service ──> worker (one for each core) ──> port ──> stack ──> port
//!                │            ▲  commands, reports          mempool: one pool a worker
//!                └─ control ──┘  metrics                    handoff: between workers
//! ```
#![forbid(unsafe_code)]

pub mod builtin;
pub mod cli;
pub mod config;
pub mod control;
pub mod doctor;
pub mod handoff;
pub mod mempool;
pub mod metrics;
pub mod packet_ring;
pub mod port;
pub mod report;
pub mod service;
pub mod session;
pub mod worker;
