//! `flumen-pktgen`: sends packets as a scenario says, receives them, and says what became of them.
//!
//! Standard output has the report, standard error what is seen meanwhile and what went wrong. Ctrl-C ends a run with its
//! report; a second one ends the program at once, and then too nothing is left attached, because everything hangs
//! on descriptors of this process.
#![forbid(unsafe_code)]

use clap::Parser;
use flumen_bench::pktgen::engine::Engine;
use flumen_bench::pktgen::flags::{Flags, HELP};
use flumen_bench::pktgen::kernel;
use flumen_bench::pktgen::live::View;
use flumen_bench::pktgen::plan::{Plan, plan};
use flumen_bench::pktgen::report::Report;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends packets, receives them, and says what became of them.
#[derive(Debug, Parser)]
#[command(name = "flumen-pktgen", version, after_help = HELP)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    /// One JSON document at the end
    #[arg(long)]
    json: bool,
    /// A line a second in place of the live view
    #[arg(long)]
    plain: bool,
    /// Nothing but the report
    #[arg(long)]
    quiet: bool,
    /// Send nothing; print what the kernel's pktgen is to be told for the same (scripts/pktgen-kernel does it)
    #[arg(long)]
    kernel: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // The first line says it all; the rest is how to ask for help.
            eprintln!("{}", error.to_string().lines().next().unwrap_or_default());
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    let stop = signals().map_err(|error| format!("cannot watch for signals: {error}"))?;
    let Cli { flags, json, plain, quiet, kernel } = cli;
    let scenario = flags.scenario()?;
    let plan = plan(&scenario)?;
    if kernel {
        return print_kernel(plan, &stop);
    }
    let mut load = plan.load.clone();
    let mut engine = Engine::start(&plan)?;
    engine.resolve(&mut load, &stop)?;
    let sockets: Vec<String> = engine.grants.iter().map(ToString::to_string).collect();
    if !quiet && !json {
        for socket in &sockets {
            eprintln!("{socket}");
        }
    }
    let mut view = match () {
        () if quiet => View::Silent,
        () if !plain && std::io::stdout().is_terminal() => {
            View::terminal(title(&plan)).map_err(|error| format!("the terminal: {error}"))?
        }
        () => View::Lines,
    };
    let run = engine.run(&load, &stop, |live| {
        if view.show(live) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    drop(view); // the terminal is given back before anything is written to it
    let run = run?;
    drop(engine);
    let report = Report::new(&plan, &load, &run, sockets);
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print!("{report}");
    }
    if run.tally.tx_frames == 0 && plan.tx.is_some() && !run.interrupted {
        return Err("nothing was sent: the port took no frame".to_owned());
    }
    Ok(())
}

/// The words for the kernel's generator. It asks nobody: the next hop is found here, and the port is free again.
fn print_kernel(mut plan: Plan, stop: &AtomicBool) -> Result<(), String> {
    if plan.load.next_hop.is_some() {
        let mut load = plan.load.clone();
        Engine::start(&plan)?.resolve(&mut load, stop)?;
        plan.load = load;
    }
    for word in kernel::words(&plan)? {
        println!("{} {}", word.file, word.text);
    }
    Ok(())
}

/// What becomes true at the first SIGINT or SIGTERM; the second one ends the process.
fn signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered in this order, the second signal finds the flag set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn title(plan: &Plan) -> String {
    let name = |side: &Option<_>| {
        let side: Option<&flumen_bench::pktgen::plan::Side> = side.as_ref();
        side.map_or("nobody".to_owned(), |side| side.port.to_string())
    };
    format!("{} -> {}, {}", name(&plan.tx), name(&plan.rx), plan.load.rate)
}
