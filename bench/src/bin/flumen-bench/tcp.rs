//! TCP by itself: both ends, the segments between them, and what owners do with the bytes, on one core.

use crate::memory::resident;
use flumen_bench::machine::Machine;
use flumen_bench::measure::Spread;
use flumen_bench::router::Error;
use flumen_bench::tcp::idle::{Crowd, lookup_and_timer};
use flumen_bench::tcp::loads::{self, Done, Load};
use flumen_bench::tcp::{Time, smol};
use flumen_stack::socket::Handle;
use serde::Serialize;

/// Options of `flumen-bench tcp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs of each case, in turn with those of the others.
    #[arg(long, default_value_t = 11)]
    runs: usize,
    /// Of the usual work of a run, this many parts in a hundred.
    #[arg(long, default_value_t = 100, value_name = "PERCENT")]
    work: u64,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

/// Options of `flumen-bench idle`.
#[derive(Debug, clap::Args)]
pub struct IdleArgs {
    /// Connections, besides the thousand that they are compared with.
    #[arg(long, default_value_t = 1_000_000)]
    connections: usize,
}

/// What units are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Exchanges,
}

struct Case {
    name: &'static str,
    unit: Unit,
    /// In Gbit/s or thousands a second, where the project set itself one.
    target: Option<f64>,
    /// Units of a run.
    work: u64,
    load: Box<dyn Load>,
    runs: Vec<Done>,
}

/// What is printed of a case.
#[derive(Debug, Serialize)]
struct Figures {
    case: &'static str,
    unit: &'static str,
    target: Option<f64>,
    rate: Spread,
    cycles_a_segment: Spread,
    segments_a_unit: f64,
}

/// Bytes of a stream and exchanges of a run: about a tenth of a second's worth.
const BYTES: u64 = 256 << 20;
const QUESTIONS: u64 = 200_000;
const VISITS: u64 = 20_000;

pub fn execute(args: &Args, machine: &Machine, json: bool) -> Result<(), Error> {
    let mut cases = Vec::new();
    let mut add = |name: &'static str,
                   unit: Unit,
                   target: Option<f64>,
                   work: u64,
                   make: &dyn Fn() -> Result<Box<dyn Load>, Error>|
     -> Result<(), Error> {
        if args.only.as_ref().is_none_or(|word| name.contains(word.as_str())) {
            let work = (work * args.work / 100).max(1);
            cases.push(Case { name, unit, target, work, load: make()?, runs: Vec::new() });
        }
        Ok(())
    };
    use Unit::{Bytes, Exchanges};
    add("stream", Bytes, None, BYTES, &|| Ok(Box::new(loads::Bulk::new(Time::real())?)))?;
    add("stream, smoltcp", Bytes, None, BYTES, &|| Ok(Box::new(smol::Bulk::new()?)))?;
    add("questions on 100", Exchanges, Some(3000.0), QUESTIONS, &|| {
        Ok(Box::new(loads::Questions::new(100, Time::real())?))
    })?;
    add("questions on 100, smoltcp", Exchanges, None, QUESTIONS / 4, &|| {
        Ok(Box::new(smol::Questions::new(100)?))
    })?;
    add("questions on 1", Exchanges, None, QUESTIONS / 2, &|| {
        Ok(Box::new(loads::Questions::new(1, Time::real())?))
    })?;
    add("questions on 1, smoltcp", Exchanges, None, QUESTIONS / 2, &|| {
        Ok(Box::new(smol::Questions::new(1)?))
    })?;
    add("visits", Exchanges, Some(600.0), VISITS, &|| Ok(Box::new(loads::Visits::new(Time::real())?)))?;
    add("visits, smoltcp", Exchanges, None, VISITS / 4, &|| Ok(Box::new(smol::Visits::new()?)))?;
    for round in 0..=args.runs {
        for case in &mut cases {
            let done = run(case).map_err(|error| format!("{}: {error}", case.name))?;
            // The first round warms up: caches, windows, branch predictors.
            if round > 0 {
                case.runs.extend(done);
            }
        }
    }
    let figures: Vec<Figures> = cases.iter().filter_map(|case| figures(case, machine.tsc_mhz)).collect();
    if json {
        let document = serde_json::json!({ "machine": machine, "runs": args.runs, "cases": figures });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    println!("{machine}");
    println!(
        "two stacks back to back on one core, checksums made and verified, MTU 1500; medians of {} runs",
        args.runs
    );
    for figure in figures {
        let Figures { case, unit, target, rate, cycles_a_segment, segments_a_unit } = figure;
        let target = target.map(|target| format!("   (target: {target})")).unwrap_or_default();
        println!(
            "  {case:27} {:9.2} {unit:10} [{:9.2} - {:9.2}]  {:6.0} cycles a segment [{:.0} - {:.0}], {segments_a_unit:.2} segments{target}",
            rate.median,
            rate.least,
            rate.most,
            cycles_a_segment.median,
            cycles_a_segment.least,
            cycles_a_segment.most
        );
    }
    Ok(())
}

/// Windows that a run is cut into, each of less than a scheduler's slice: what a run says is its median window, so
/// that one that was interrupted now and then still says what the work costs.
const WINDOWS: u64 = 100;

fn run(case: &mut Case) -> Result<Option<Done>, Error> {
    let window = (case.work / WINDOWS).max(1);
    let mut windows = (0..WINDOWS).map(|_| case.load.work(window)).collect::<Result<Vec<_>, _>>()?;
    windows.sort_by_key(|done| done.cycles * 1000 / done.units.max(1));
    Ok(windows.get(windows.len() / 2).copied())
}

fn figures(case: &Case, mhz: f64) -> Option<Figures> {
    let Case { name, unit, target, ref runs, .. } = *case;
    // Units a second, in thousands or Gbit.
    let scale = if unit == Unit::Bytes { 8e-9 } else { 1e-3 };
    let rate = Spread::of(runs.iter().map(|run| run.units as f64 * mhz * 1e6 / run.cycles as f64 * scale))?;
    let cycles_a_segment = Spread::of(runs.iter().map(|run| run.cycles as f64 / run.segments as f64))?;
    let per = if unit == Unit::Bytes { 1448.0 } else { 1.0 };
    let segments_a_unit =
        Spread::of(runs.iter().map(|run| run.segments as f64 / run.units as f64 * per))?.median;
    let unit = if unit == Unit::Bytes { "Gbit/s" } else { "thousand/s" };
    Some(Figures { case: name, unit, target, rate, cycles_a_segment, segments_a_unit })
}

/// Connections that the many are compared with.
const FEW: usize = 1000;

pub fn idle(args: &IdleArgs, machine: &Machine, json: bool) -> Result<(), Error> {
    const ROUNDS: usize = 10_000;
    let few_alone = lookup_and_timer(FEW);
    let many_alone = lookup_and_timer(args.connections);
    let few = Crowd::new(FEW)?.questions(ROUNDS)?;
    let before = resident()?;
    let mut crowd = Crowd::new(args.connections)?;
    let after = resident()?;
    let many = crowd.questions(ROUNDS)?;
    let ends = 2 * args.connections;
    // The benchmark remembers a handle of each end, which is none of the stack's memory.
    let own = size_of::<Handle>() as f64;
    let bytes = (after - before) as f64 * f64::from(1 << 20) / ends as f64 - own;
    if json {
        let document = serde_json::json!({
            "machine": machine, "connections": [FEW, args.connections], "bytes_an_end": bytes,
            "mib_of_both_ends": after - before,
            "lookup_cycles": [few_alone.0, many_alone.0], "timer_cycles": [few_alone.1, many_alone.1],
            "question_cycles": [few, many],
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    println!("{machine}");
    println!(
        "{} connections established, both ends in this process: {} MiB",
        args.connections,
        after - before
    );
    println!("  bytes of an end, tables and timers included    {bytes:6.0}");
    println!("  cycles                            {FEW:>10} connections  {:>10}", args.connections);
    println!("  of a lookup by names                   {:14.0}  {:14.0}", few_alone.0, many_alone.0);
    println!("  of a deadline moved and kept           {:14.0}  {:14.0}", few_alone.1, many_alone.1);
    println!("  of a question to any and its answer    {few:14.0}  {many:14.0}");
    Ok(())
}
