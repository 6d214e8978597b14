//! `flumen-bench`: the figures of the data plane, taken on this machine.
//!
//! `driverless`: cycles that the full router takes for a packet, with no card in the way.
//! `churn`: route changes a second beside a worker that forwards, and what it loses by them.
//! `memory`: what a data plane with a full table takes of it.
//! `rfc2544`: throughput, latency, loss and back-to-back bursts of a device between two ports.
//! `iperf`: iperf3, iperf and wrk through or to the data plane, in one report.
//! `wire`: a path with delay, rate and losses between two interfaces, for whatever talks through it.
//! `tcp`: two TCP stacks back to back, with smoltcp's beside them; `idle`: what a million connections cost.
#![forbid(unsafe_code)]

use clap::Parser;
use flumen_bench::machine::Machine;
use std::process::ExitCode;

/// As in the product.
#[global_allocator]
static ALLOCATOR: af_xdp::Allocator = af_xdp::Allocator;

mod churn;
mod driverless;
mod iperf;
mod memory;
mod rfc2544;
mod tcp;
mod verdict;
mod wire;

#[derive(Debug, Parser)]
#[command(name = "flumen-bench", about = "Measures the Flumen data plane on this machine")]
struct Cli {
    /// One JSON document instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Pin the measuring thread to this processor.
    #[arg(long, global = true, value_name = "CPU")]
    cpu: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Cycles a packet of the whole router, endless 64-byte packets in, discarded where they would be sent.
    Driverless(driverless::Args),
    /// Route changes a second while a worker forwards, and packets lost by them.
    Churn(churn::Args),
    /// Resident memory of a data plane with two ports and a full table.
    Memory(memory::Args),
    /// RFC 2544: what a device between two ports can do.
    Rfc2544(Box<rfc2544::Args>),
    /// What iperf3, iperf and wrk say, by turns.
    Iperf(iperf::Args),
    /// Tables and a verdict from runs that scripts/compare took.
    Verdict(verdict::Args),
    /// A wire with delay, rate, queue and losses between two interfaces.
    Wire(wire::Args),
    /// Two TCP stacks back to back on this core: a stream, questions, visits; smoltcp's beside them.
    Tcp(tcp::Args),
    /// Memory of an idle connection, and what lookups, timers and questions cost among many connections.
    Idle(tcp::IdleArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(id) = cli.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        eprintln!("error: cannot pin to cpu {id}; is it online and allowed?");
        return ExitCode::FAILURE;
    }
    let machine = Machine::here(cli.cpu);
    let result = match cli.command {
        Command::Driverless(args) => driverless::execute(&args, &machine, cli.json),
        Command::Churn(args) => churn::execute(&args, &machine, cli.json),
        Command::Memory(args) => memory::execute(&args, &machine, cli.json),
        Command::Rfc2544(args) => rfc2544::execute(*args, &machine, cli.json),
        Command::Iperf(args) => iperf::execute(&args, &machine, cli.json),
        Command::Verdict(args) => match verdict::execute(&args, &machine) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Wire(args) => wire::execute(&args, cli.json),
        Command::Tcp(args) => tcp::execute(&args, &machine, cli.json),
        Command::Idle(args) => tcp::idle(&args, &machine, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
