//! The `flumen` command: see [`flumen::cli`].
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    flumen::cli::execute(&flumen::cli::Cli::parse())
}
