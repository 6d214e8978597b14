//! The command line: what `flumen` is asked to do.
//!
//! Exit codes: 0 done; 1 it could not be done, and standard error says why; 2 the command line itself is
//! wrong.

use crate::config::model::LogLevel;
use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

pub mod check;
pub mod doctor;
pub mod exec;
pub mod route;
pub mod run;
pub mod service;
pub mod show;
pub mod table;

/// A user-space IP data plane for Linux.
#[derive(Debug, Parser)]
#[command(name = "flumen", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration: 0 when the data plane could start with it, 1 when not
    Check(check::Args),
    /// Run the data plane until SIGINT or SIGTERM
    Run(run::Args),
    /// Run a program with the sockets of the data plane
    Exec(exec::Args),
    /// Show what a running service does
    Show(show::Args),
    /// Change the routes of a running service
    Route(route::Args),
    /// Say what this machine allows for a configuration, and what to change
    Doctor(doctor::Args),
    /// Print the version
    Version,
}

/// Does what is asked.
pub fn execute(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Check(args) => check::execute(args),
        Command::Run(args) => run::execute(args),
        Command::Exec(args) => exec::execute(args),
        Command::Show(args) => show::execute(args),
        Command::Route(args) => route::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Version => {
            println!("flumen {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

/// True when what goes to standard error may be coloured (<https://no-color.org>).
pub fn colour_on_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Starts the log, on standard error. `RUST_LOG` says more precisely what the configuration says roughly.
pub fn start_log(level: LogLevel) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level.name()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour_on_stderr())
        .with_target(false)
        .init();
}

/// The configuration file of a command.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration, in TOML
    #[arg(value_name = "CONFIG")]
    pub path: PathBuf,
}
