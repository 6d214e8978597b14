//! Conversations with datagram, raw and ping sockets: frames in, frames out, at a time. The node is the one of
//! `common`: 10.0.1.1 and fd00:1::1 on `lan`; the client is 10.0.1.2, fd00:1::2.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod asking;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod errors;
mod groups;
mod lengths;
mod places;
mod raw;
mod stamps;
mod udplite;
