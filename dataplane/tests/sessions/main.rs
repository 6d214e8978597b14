//! Sockets of programs, from the program's side of the shared memory, without a preload library.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod allocation;
mod attach;
mod bounds;
mod calls;
mod churn;
mod client;
mod datagrams;
mod fast_open;
mod hostile;
mod loopback;
mod pair;
mod policy;
mod race;
#[path = "../common/scribbler.rs"]
mod scribbler;
mod sharing;
mod stamps;
mod streams;
mod waking;
#[path = "../workers/mod.rs"]
mod workers;
