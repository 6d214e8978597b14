//! The `flumen` command: see [`flumen::cli`].
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

/// Tables of routes and connections are large, and read at random.
#[global_allocator]
static ALLOCATOR: af_xdp::Allocator = af_xdp::Allocator;

fn main() -> ExitCode {
    flumen::cli::execute(&flumen::cli::Cli::parse())
}
