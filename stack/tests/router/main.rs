//! Conversations with a router: frames in, frames out, at a time. Two ports, `lan` (0) and `wan` (1).

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

mod answers;
mod books;
mod lab;
mod neighbours;
mod transit;
