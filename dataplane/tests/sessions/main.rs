//! Sockets of programs, from the program's side of the shared memory, without a preload library.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod client;
mod streams;
#[path = "../workers/mod.rs"]
mod workers;
