//! The control socket over real Unix sockets, against a service made of numbers: the server alone, the client,
//! and `flumen show` and `flumen route` as programs.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod commands;
mod machine;
mod pages;
mod server;
