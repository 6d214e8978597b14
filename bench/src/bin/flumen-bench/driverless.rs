//! The driverless router: cycles a packet, all included, and the stage that each of them went to.
//!
//! Every case runs for a short while in turn, many times, so that what else the machine does falls on all
//! cases alike. A run is cut into windows of less than a scheduler's slice, and its figure is the median
//! window, so that a run that was interrupted now and then still says what the work costs.

use flumen::worker::Worker;
use flumen_bench::machine::Machine;
use flumen_bench::measure::Spread;
use flumen_bench::random::Random;
use flumen_bench::router::{self, Error};
use flumen_bench::table::Prefixes;
use flumen_bench::traffic::{FRAME, udp4, udp6};
use flumen_stack::Stage;
use serde::Serialize;

/// Options of `flumen-bench driverless`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs of each case.
    #[arg(long, default_value_t = 21)]
    runs: usize,
    /// Packets of each run.
    #[arg(long, default_value_t = 1 << 20)]
    packets: u64,
    /// Packets of each window of a run.
    #[arg(long, default_value_t = 1 << 13)]
    window: u64,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Routes of each family; the published figures are with a million and a quarter of one.
    #[arg(long, num_args = 2, default_values_t = [1_000_000, 250_000], value_names = ["IPV4", "IPV6"])]
    routes: Vec<usize>,
}

/// What is done with the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Drop,
    Pass,
    Route,
}

struct Case {
    name: String,
    /// Cycles a packet at most, where the project set itself a target.
    target: Option<u32>,
    work: Work,
    worker: Worker,
    runs: Vec<Run>,
}

/// Cycles a packet.
struct Run {
    total: f64,
    stages: Vec<f64>,
}

/// What is printed of a case.
#[derive(Debug, Serialize)]
struct Figures {
    case: String,
    target: Option<u32>,
    cycles: Spread,
    stages: Vec<(&'static str, f64)>,
}

/// Distinct packets of a case with few destinations, and of one with random ones. A million packets of 64
/// bytes are 64 MiB: twice the last-level cache here, so each of them comes from memory, as it does not from
/// a card, which writes into the cache. The floor beside them tells what of that is the replay's.
const FEW: usize = 1_000;
const MANY: usize = 1_000_000;

pub fn execute(args: &Args, machine: &Machine, json: bool) -> Result<(), Error> {
    let [routes4, routes6] = args.routes[..] else { return Err("--routes takes two numbers".into()) };
    let prefixes = Prefixes::new(routes4, routes6);
    let mut rib = flumen::service::routes::table(routes4 + 1000, routes6 + 1000)?;
    router::install_connected(&mut rib)?;
    prefixes.install(&mut rib, router::port_out());

    let mut cases = Vec::new();
    let mut random = Random::new(99);
    for (destinations, count) in [("1000 destinations", FEW), ("random destinations", MANY)] {
        let v4: Vec<[u8; FRAME]> = (0..count).map(|_| udp4(prefixes.destination4(&mut random))).collect();
        let v6: Vec<[u8; FRAME]> = (0..count).map(|_| udp6(prefixes.destination6(&mut random))).collect();
        let few = count == FEW;
        let mut add = |name: &str, packets: &[_], cache, work, target| -> Result<(), Error> {
            let name = format!("{name}, {destinations}");
            if args.only.as_ref().is_none_or(|word| name.contains(word.as_str())) {
                let worker = router::worker(&rib, packets, cache)?;
                cases.push(Case { name, target, work, worker, runs: Vec::new() });
            }
            Ok(())
        };
        let cache = router::ROUTE_CACHE;
        add("floor: receive, drop", &v4, cache, Work::Drop, None)?;
        add("floor: receive, transmit", &v4, cache, Work::Pass, None)?;
        add("IPv4 router", &v4, cache, Work::Route, Some(if few { 110 } else { 220 }))?;
        add("IPv4 router without cache", &v4, 0, Work::Route, None)?;
        add("IPv6 router", &v6, cache, Work::Route, Some(if few { 150 } else { 300 }))?;
        add("IPv6 router without cache", &v6, 0, Work::Route, None)?;
    }

    for round in 0..=args.runs {
        for case in &mut cases {
            let run = run(case, args.packets, args.window)?;
            // The first round warms up: caches, page tables, branch predictors.
            if round > 0 {
                case.runs.push(run);
            }
        }
    }
    report(&cases, machine, args, json)
}

/// The median window of a run, for the whole and for each stage.
fn run(case: &mut Case, packets: u64, window: u64) -> Result<Run, Error> {
    let windows = (packets / window.max(1)).max(1);
    let windows = (0..windows).map(|_| measure(case, window.min(packets))).collect::<Result<Vec<_>, _>>()?;
    let median =
        |of: &dyn Fn(&Run) -> f64| Spread::of(windows.iter().map(of)).map_or(0.0, |runs| runs.median);
    let stages = (0..Stage::ALL.len()).map(|stage| median(&|run| run.stages[stage])).collect();
    Ok(Run { total: median(&|run| run.total), stages })
}

fn measure(case: &mut Case, packets: u64) -> Result<Run, Error> {
    let worker = &mut case.worker;
    let stages_before = worker.probe.cycles;
    let start = af_xdp::cycles::now();
    let done = match case.work {
        Work::Drop => router::receive_and_drop(worker, packets),
        Work::Pass => router::pass_through(worker, packets),
        Work::Route => router::route(worker, packets)?,
    } as f64;
    let total = af_xdp::cycles::now().wrapping_sub(start) as f64 / done;
    let spent = worker.probe.cycles.iter().zip(stages_before).map(|(now, before)| now.wrapping_sub(before));
    Ok(Run { total, stages: spent.map(|cycles| cycles as f64 / done).collect() })
}

fn figures(case: &Case) -> Option<Figures> {
    let cycles = Spread::of(case.runs.iter().map(|run| run.total))?;
    let stages = Stage::ALL.iter().enumerate().filter_map(|(index, stage)| {
        let of_stage = Spread::of(case.runs.iter().map(|run| run.stages[index]))?;
        Some((stage.name(), of_stage.median))
    });
    Some(Figures {
        case: case.name.clone(),
        target: case.target,
        cycles,
        stages: if case.work == Work::Route { stages.collect() } else { Vec::new() },
    })
}

fn report(cases: &[Case], machine: &Machine, args: &Args, json: bool) -> Result<(), Error> {
    let all: Vec<Figures> = cases.iter().filter_map(figures).collect();
    if json {
        let document = serde_json::json!({
            "machine": machine, "routes": args.routes, "runs": args.runs, "packets": args.packets, "cases": all,
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    println!("{machine}");
    println!(
        "{} IPv4 and {} IPv6 routes; {} runs of {} packets of {FRAME} bytes, in turn; TSC cycles a packet",
        args.routes[0], args.routes[1], args.runs, args.packets
    );
    println!("{:48} {:>7} {:>7} {:>7} {:>7}", "", "median", "least", "most", "target");
    for one in &all {
        let target = one.target.map_or(String::new(), |target| target.to_string());
        let Spread { least, median, most } = one.cycles;
        println!("{:48} {median:7.1} {least:7.1} {most:7.1} {target:>7}", one.case);
        if !one.stages.is_empty() {
            let stages: Vec<String> = one
                .stages
                .iter()
                .filter(|(_, cost)| *cost >= 0.05)
                .map(|(name, cost)| format!("{name} {cost:.1}"))
                .collect();
            println!("    {}", stages.join("  "));
        }
    }
    Ok(())
}
