//! `flumen-bench rfc2544`: what a device between two ports can do, for the standard frame sizes.

use flumen_bench::machine::Machine;
use flumen_bench::pktgen::flags::Flags;
use flumen_bench::pktgen::plan::plan;
use flumen_bench::pktgen::scenario::Span;
use flumen_bench::pktgen::size::Sizes;
use flumen_bench::rfc2544::SIZES;
use flumen_bench::rfc2544::bench::Bench;
use flumen_bench::rfc2544::procedures::Settings;
use flumen_bench::rfc2544::report::Report;
use flumen_bench::router::Error;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Options of `flumen-bench rfc2544`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ports, addresses and fields, as for `flumen-pktgen`
    #[command(flatten)]
    flags: Flags,
    /// Frame sizes
    #[arg(long, value_delimiter = ',', default_values_t = SIZES)]
    sizes: Vec<u16>,
    /// Of each trial; RFC 2544 says 60s
    #[arg(long, default_value = "10s")]
    trial: Span,
    /// Per cent that the partial drop rate may lose
    #[arg(long, default_value_t = 0.5)]
    partial: f64,
    /// Per cent of the highest rate by which pass and fail may differ at the end of a search
    #[arg(long, default_value_t = 1.0)]
    resolution: f64,
    /// Bursts of each length in the back-to-back test; RFC 2544 says 50
    #[arg(long, default_value_t = 3)]
    bursts: u32,
    /// What the device is, for the title of the report
    #[arg(long, default_value = "a device")]
    device: String,
    /// Folder for report.md, report.json, loss.svg and latency.svg
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn execute(args: Args, machine: &Machine, json: bool) -> Result<(), Error> {
    let Args { flags, sizes, trial: Span(trial), partial, resolution, bursts, device, out } = args;
    let settings =
        Settings { sizes, trial, partial: partial / 100.0, resolution: resolution / 100.0, bursts };
    check(&settings)?;
    let mut scenario = flags.scenario()?;
    let traffic = &mut scenario.traffic;
    let chosen = [
        ("size", traffic.size.is_some()),
        ("rate", traffic.rate.is_some()),
        ("count", traffic.count.is_some()),
        ("duration", traffic.duration.is_some()),
        ("replay", traffic.replay.is_some()),
    ];
    if let Some((name, _)) = chosen.iter().find(|(_, said)| *said) {
        return Err(format!("`{name}` is what RFC 2544 chooses: leave it out").into());
    }
    if !traffic.mark {
        return Err("losses are known by marks: they cannot be left out".into());
    }
    if scenario.tx.is_none() || scenario.rx.is_none() {
        return Err("a device stands between two ports: `--tx` and `--rx`".into());
    }
    // Whether they all fit is known before the first is sent.
    let list = settings.sizes.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    scenario.traffic.size = Some(list.parse::<Sizes>()?);
    let plan = plan(&scenario)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut bench = Bench::open(&plan, stop)?;
    let mut results = Vec::new();
    for size in &settings.sizes {
        let mut tell = |what: &str| eprintln!("{size} bytes: {what}");
        results.push(settings.measure(&mut bench, *size, &mut tell)?);
    }
    let name = |side: Option<&flumen_bench::pktgen::plan::Side>| {
        side.map_or(String::new(), |side| side.port.to_string())
    };
    let report = Report {
        machine: machine.clone(),
        ports: [name(plan.tx.as_ref()), name(plan.rx.as_ref())],
        sockets: bench.sockets(),
        device,
        settings,
        results,
    };
    if let Some(folder) = &out {
        report.write(folder)?;
        eprintln!("written: {0}/report.md, {0}/report.json, {0}/loss.svg, {0}/latency.svg", folder.display());
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.markdown());
    }
    Ok(())
}

fn check(settings: &Settings) -> Result<(), Error> {
    let Settings { sizes, trial, partial, resolution, bursts } = settings;
    if sizes.is_empty() {
        return Err("`--sizes` names at least one".into());
    }
    if *trial < Duration::from_millis(100) || *trial > Duration::from_secs(3600) {
        return Err("`--trial` is from 100ms to 1h".into());
    }
    if !(0.0..0.5).contains(partial) {
        return Err("`--partial` is a share from 0 to less than 50 %".into());
    }
    if !(0.0001..=0.1).contains(resolution) {
        return Err("`--resolution` is from 0.01 to 10 %".into());
    }
    if !(1..=1000).contains(bursts) {
        return Err("`--bursts` is a number from 1 to 1000".into());
    }
    Ok(())
}
