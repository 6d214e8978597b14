//! `flumen-bench verdict`: tables, ratios and a verdict from the runs that `scripts/compare` took.

use flumen_bench::machine::Machine;
use flumen_bench::router::Error;
use flumen_bench::verdict::{markdown, read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `flumen-bench verdict`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs, a line each: work, peer, round, unit, value and noise, with tabs between
    runs: PathBuf,
    /// The peer that the others are compared with
    #[arg(long, default_value = "flumen")]
    base: String,
}

/// The end of a comparison that no verdict came of.
pub const NO_VERDICT: u8 = 4;

pub fn execute(args: &Args, machine: &Machine) -> Result<ExitCode, Error> {
    let name = args.runs.display();
    let text = std::fs::read_to_string(&args.runs).map_err(|error| format!("{name}: {error}"))?;
    let rows = read(&text).map_err(|error| format!("{name}: {error}"))?;
    let (text, quiet) = markdown(&rows, &args.base);
    println!("{machine}\n{text}");
    Ok(if quiet { ExitCode::SUCCESS } else { ExitCode::from(NO_VERDICT) })
}
