//! `flumen-bench iperf`: iperf3, iperf and wrk, through the data plane or to it, in one report.

use flumen_bench::iperf::cases::{IPERF_PORT, Kind, Wishes};
use flumen_bench::iperf::{report, run};
use flumen_bench::machine::Machine;
use flumen_bench::router::Error;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Options of `flumen-bench iperf`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The other end; several for both families
    #[arg(long, value_name = "ADDRESS", required_unless_present = "url")]
    server: Vec<IpAddr>,
    /// Run clients in this network namespace
    #[arg(long, value_name = "NETNS")]
    client_netns: Option<String>,
    /// Start servers in this network namespace; without, they run already
    #[arg(long, value_name = "NETNS")]
    server_netns: Option<String>,
    /// Programs to run
    #[arg(long, value_delimiter = ',', default_values = ["iperf3", "iperf"])]
    programs: Vec<Program>,
    /// A web server for wrk, which then runs too
    #[arg(long)]
    url: Option<String>,
    /// Streams of the cases with several
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// Rate of UDP, as iperf3 writes it
    #[arg(long, default_value = "200M")]
    udp_rate: String,
    /// iperf's port at the other end: of a service that discards, for instance
    #[arg(long, default_value_t = IPERF_PORT)]
    iperf_port: u16,
    /// Seconds of each run
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds, in which the cases take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Folder whose report.md and report.json it joins
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Program {
    Iperf3,
    Iperf,
}

pub fn execute(args: &Args, machine: &Machine, json: bool) -> Result<(), Error> {
    for (name, value, most) in [
        ("streams", args.streams, 128),
        ("seconds", args.seconds, 3600),
        ("rounds", args.rounds as u32, 1000),
    ] {
        if value == 0 || value > most {
            return Err(format!("`--{name}` is a number from 1 to {most}").into());
        }
    }
    let mut programs: Vec<Kind> = Vec::new();
    for program in &args.programs {
        programs.push(match program {
            Program::Iperf3 => Kind::Iperf3,
            Program::Iperf => Kind::Iperf2,
        });
    }
    programs.push(Kind::Wrk);
    let cases = Wishes {
        servers: args.server.clone(),
        client_namespace: args.client_netns.clone(),
        server_namespace: args.server_netns.clone(),
        streams: args.streams,
        udp_rate: args.udp_rate.clone(),
        seconds: args.seconds,
        programs,
        iperf_port: args.iperf_port,
        url: args.url.clone(),
    }
    .cases();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let all = run(&cases, args.rounds, &stop, &mut |what| eprintln!("{what}"))?;
    if let Some(folder) = &args.out {
        report::write(folder, machine, args.rounds, &all)?;
    }
    if json {
        let document = serde_json::json!({ "machine": machine, "rounds": args.rounds, "cases": all });
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", report::markdown(machine, args.rounds, &all));
    }
    Ok(())
}
