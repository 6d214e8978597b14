//! Routes that change under a worker that forwards: how many changes a second one control thread makes, and
//! whether a packet is lost by them.
//!
//! ```text
//!   control thread:  add, replace, remove a prefix ─> forwarding tables    one publication for each change
//!   worker thread:   endless packets ─> the product's loop ─> discarded    reads the same tables
//! ```
//! The prefixes that change hold the destinations of the traffic, so that each change moves packets that are
//! under way: host routes, and prefixes between them and the route of the full table that covers both. Beneath
//! them that route stays, so at every moment there is a way for every packet, and one that ends otherwise
//! than on the way out is lost. That packets go the right way, too, is what `stack/tests/churn.rs` is about.

use core::net::IpAddr;
use core::sync::atomic::Ordering;
use flumen_bench::machine::Machine;
use flumen_bench::random::Random;
use flumen_bench::router::{self, Error};
use flumen_bench::table::{GATEWAYS, Prefixes, ROUTES_IPV4, ROUTES_IPV6, gateway4, gateway6};
use flumen_bench::traffic::{FRAME, udp4, udp6};
use flumen_stack::route::{Rib, Route, RouteError, Source, Target};
use flumen_stack::{Counter, DropReason};
use ipnet::IpNet;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Changes a second that the project set itself as a target.
const TARGET: f64 = 100_000.0;

/// Options of `flumen-bench churn`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds of changes.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Destinations of the traffic, half of each family; two prefixes change for each.
    #[arg(long, default_value_t = 2_000)]
    destinations: usize,
    /// The worker's processor.
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    worker_cpu: usize,
    /// The control thread's processor.
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    control_cpu: usize,
    /// Routes of each family beneath those that change.
    #[arg(long, num_args = 2, default_values_t = [ROUTES_IPV4, ROUTES_IPV6], value_names = ["IPV4", "IPV6"])]
    routes: Vec<usize>,
}

/// A prefix that comes and goes.
struct Changing {
    prefix: IpNet,
    present: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Figures {
    seconds: f64,
    changes: u64,
    changes_per_second: f64,
    /// Changes that had to be tried again because the worker had not let go of what an earlier one freed.
    retried: u64,
    packets_in: u64,
    packets_out: u64,
    lost: u64,
    packets_per_second: f64,
    drops: Vec<(&'static str, u64)>,
}

pub fn execute(args: &Args, machine: &Machine, json: bool) -> Result<(), Error> {
    let [routes4, routes6] = args.routes[..] else { return Err("--routes takes two numbers".into()) };
    if args.worker_cpu == args.control_cpu {
        return Err("the worker and the control thread need a processor each".into());
    }
    let prefixes = Prefixes::new(routes4, routes6);
    let half = args.destinations.div_ceil(2);
    let mut rib = flumen::service::routes::table(routes4 + 2 * half + 1000, routes6 + 2 * half + 1000)?;
    router::install_connected(&mut rib)?;
    prefixes.install(&mut rib, router::port_out());
    let mut random = Random::new(2024);
    let to: Vec<IpAddr> = (0..2 * half)
        .map(|index| match index % 2 {
            0 => prefixes.destination4(&mut random).into(),
            _ => prefixes.destination6(&mut random).into(),
        })
        .collect();
    let packets: Vec<[u8; FRAME]> = to
        .iter()
        .map(|to| match to {
            IpAddr::V4(to) => udp4(*to),
            IpAddr::V6(to) => udp6(*to),
        })
        .collect();
    let mut changing = changing(&prefixes, &to);
    let figures = run(args, &mut rib, &packets, &mut changing, &mut random)?;
    report(&figures, machine, args, json)?;
    if figures.lost != 0 || !figures.drops.is_empty() {
        return Err(format!("{} packets were lost: {:?}", figures.lost, figures.drops).into());
    }
    Ok(())
}

/// For each destination its host route, and a prefix half way between that and the route that covers it.
/// None of them is in the table itself.
fn changing(prefixes: &Prefixes, to: &[IpAddr]) -> Vec<Changing> {
    let table: HashSet<IpNet> = prefixes.routes().map(|(prefix, _)| prefix).collect();
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for &to in to {
        let bits: u8 = if to.is_ipv4() { 32 } else { 128 };
        let of = |len| IpNet::new(to, len).ok().map(|net| net.trunc());
        let covering = (0..=bits).rev().find(|len| of(*len).is_some_and(|net| table.contains(&net)));
        let between = covering.unwrap_or(0).midpoint(bits);
        for prefix in [of(bits), of(between)].into_iter().flatten() {
            if !table.contains(&prefix) && seen.insert(prefix) {
                all.push(Changing { prefix, present: false });
            }
        }
    }
    all
}

/// Lets the worker forward, and makes changes beside it until the time is over.
fn run(
    args: &Args,
    rib: &mut Rib,
    packets: &[[u8; FRAME]],
    changing: &mut [Changing],
    random: &mut Random,
) -> Result<Figures, Error> {
    let pin = |id: usize| {
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id });
        pinned.then_some(()).ok_or_else(|| format!("cannot pin to cpu {id}; is it online and allowed?"))
    };
    let reader = rib.reader()?;
    std::thread::scope(|scope| {
        let (ready_in, ready_out) = mpsc::sync_channel(1);
        let worker_cpu = args.worker_cpu;
        let worker = scope.spawn(move || {
            // The worker is built where it runs: its pool belongs to its thread.
            let built = pin(worker_cpu).and_then(|()| {
                router::worker_of(reader, packets, router::ROUTE_CACHE).map_err(|e| e.to_string())
            });
            let mut worker = match built {
                Ok(worker) => worker,
                Err(error) => {
                    let _ = ready_in.send(Err(error));
                    return None;
                }
            };
            let _ = ready_in.send(Ok((Arc::clone(&worker.stop), Arc::clone(&worker.metrics))));
            worker.run();
            Some((worker.stack.counters.clone(), worker.runtime))
        });
        let (stop, metrics) = ready_out.recv()??;
        // From here on the worker is told to stop, whatever happens.
        let changed = pin(args.control_cpu).map_err(Error::from).and_then(|()| {
            let forwards = Instant::now() + Duration::from_secs(10);
            while metrics.runtime().packets == 0 {
                if Instant::now() > forwards {
                    return Err("the worker does not forward".into());
                }
                std::thread::yield_now();
            }
            change(rib, changing, random, Duration::from_secs(args.seconds))
        });
        stop.store(true, Ordering::Release);
        let ended = worker.join().map_err(|_| "the worker panicked")?;
        let (counters, runtime) = ended.ok_or("the worker was not built")?;
        let (changes, retried, seconds) = changed?;

        let out = counters.port(router::port_out());
        let packets_out = (out.tx_packets - out.tx_drops).min(runtime.transmitted);
        let forwarded = counters.get(Counter::Ipv4Forwarded) + counters.get(Counter::Ipv6Forwarded);
        if forwarded != packets_out {
            return Err(format!("{forwarded} packets were forwarded and {packets_out} left").into());
        }
        let drops = DropReason::ALL.iter().map(|reason| (reason.name(), counters.dropped(*reason)));
        Ok(Figures {
            seconds,
            changes,
            changes_per_second: changes as f64 / seconds,
            retried,
            packets_in: runtime.packets,
            packets_out,
            lost: runtime.packets - packets_out,
            packets_per_second: runtime.packets as f64 / seconds,
            drops: drops.filter(|(_, count)| *count > 0).collect(),
        })
    })
}

/// Makes changes for so long; returns how many, how many tries more they took, and the seconds.
fn change(
    rib: &mut Rib,
    changing: &mut [Changing],
    random: &mut Random,
    time: Duration,
) -> Result<(u64, u64, f64), Error> {
    let started = Instant::now();
    let (mut changes, mut retried) = (0u64, 0u64);
    // The clock is looked at between rounds of some, not for each.
    while started.elapsed() < time {
        for _ in 0..256 {
            let index = random.below(changing.len());
            let one = &mut changing[index];
            // Away twice in three, else to another gateway.
            let remove = one.present && random.below(3) > 0;
            loop {
                let result = if remove {
                    rib.remove(one.prefix, Source::Static, 0)
                } else {
                    let number = random.below(usize::from(GATEWAYS)) as u8;
                    let via = match one.prefix {
                        IpNet::V4(_) => gateway4(number).into(),
                        IpNet::V6(_) => gateway6(number).into(),
                    };
                    let target = Target::Gateway { port: router::port_out(), via };
                    rib.replace(&Route::new(one.prefix, target))
                };
                match result {
                    Ok(()) => break,
                    Err(RouteError::GracePending(_)) => {
                        retried += 1;
                        core::hint::spin_loop();
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            one.present = !remove;
            changes += 1;
        }
    }
    Ok((changes, retried, started.elapsed().as_secs_f64()))
}

fn report(figures: &Figures, machine: &Machine, args: &Args, json: bool) -> Result<(), Error> {
    if json {
        let document = serde_json::json!({
            "machine": machine, "routes": args.routes, "destinations": args.destinations,
            "target": TARGET, "figures": figures,
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    let Figures { seconds, changes, changes_per_second, retried, packets_in, packets_out, lost, .. } =
        figures;
    println!("{machine}");
    println!(
        "{} IPv4 and {} IPv6 routes; worker on cpu {}, control on cpu {}; {seconds:.1} s",
        args.routes[0], args.routes[1], args.worker_cpu, args.control_cpu
    );
    println!(
        "  route changes       {changes:12}   {changes_per_second:12.0} a second (target: at least {TARGET:.0})"
    );
    println!("  tried again         {retried:12}");
    println!("  packets in          {packets_in:12}   {:12.0} a second", figures.packets_per_second);
    println!("  packets out         {packets_out:12}");
    println!("  packets lost        {lost:12}");
    for (name, count) in &figures.drops {
        println!("    {name}: {count}");
    }
    Ok(())
}
