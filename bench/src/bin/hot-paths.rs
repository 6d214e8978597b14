//! The hot paths, one at a time, for counting instructions: `scripts/check-instructions` runs this under
//! callgrind, which counts what happens inside [`measured`] and nothing else.
//!
//! Instructions are the same in every run, on a busy machine too: they show a path that grew by three
//! instructions, where cycles show weather.
#![forbid(unsafe_code)]

use af_xdp::ring::{Descriptor, Loopback};
use core::hint::black_box;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_bench::parts;
use flumen_bench::random::Random;
use flumen_bench::router::{self, Error};
use flumen_bench::table::Prefixes;
use flumen_bench::tcp::Time;
use flumen_bench::tcp::loads::{self, Load};
use flumen_bench::traffic::{FRAME, udp4, udp6};
use flumen_stack::limits::BURST;
use flumen_stack::route::NextHopId;
use std::process::ExitCode;

/// Repetitions that are counted, each of one burst of 64 packets.
const REPETITIONS: usize = 100;

/// Packets or destinations of each case.
const COUNT: usize = 1024;

/// A turn of the works of TCP takes about this long.
const STEPS: Time = Time::Steps(Duration::from_micros(50));

/// What is counted. Never inlined, so that callgrind finds it by name.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    for _ in 0..REPETITIONS {
        work();
    }
}

fn run(case: &str) -> Result<(), Error> {
    let prefixes = Prefixes::new(20_000, 5_000);
    let mut rib = flumen::service::routes::table(30_000, 10_000)?;
    router::install_connected(&mut rib)?;
    prefixes.install(&mut rib, router::port_out());
    let mut random = Random::new(99);
    let to4: Vec<Ipv4Addr> = (0..COUNT).map(|_| prefixes.destination4(&mut random)).collect();
    let to6: Vec<Ipv6Addr> = (0..COUNT).map(|_| prefixes.destination6(&mut random)).collect();
    let frames4: Vec<[u8; FRAME]> = to4.iter().map(|to| udp4(*to)).collect();
    let frames6: Vec<[u8; FRAME]> = to6.iter().map(|to| udp6(*to)).collect();
    let turns = |frames: &[[u8; FRAME]], cache| -> Result<(), Error> {
        let mut worker = router::worker(&rib, frames, cache)?;
        router::route(&mut worker, 64 * COUNT as u64)?; // until the caches know all of them
        measured(&mut || {
            worker.turn();
        });
        Ok(())
    };
    match case {
        "forward-ipv4" => turns(&frames4, router::ROUTE_CACHE),
        "forward-ipv4-no-cache" => turns(&frames4, 0),
        "forward-ipv6" => turns(&frames6, router::ROUTE_CACHE),
        "forward-ipv6-no-cache" => turns(&frames6, 0),
        "fib-ipv4" => {
            let reader = rib.reader()?;
            let (mut out, mut bursts) = ([NextHopId::NONE; BURST], to4.chunks_exact(BURST).cycle());
            measured(&mut || {
                reader.lookup4_burst(black_box(bursts.next().unwrap_or_default()), &mut out);
                black_box(&out);
            });
            Ok(())
        }
        "fib-ipv6" => {
            let reader = rib.reader()?;
            let (mut out, mut bursts) = ([NextHopId::NONE; BURST], to6.chunks_exact(BURST).cycle());
            measured(&mut || {
                reader.lookup6_burst(black_box(bursts.next().unwrap_or_default()), &mut out);
                black_box(&out);
            });
            Ok(())
        }
        // Divided by 64 like the others, so: for a sixty-fourth of the bytes.
        "checksum-1500" => {
            let bytes = [0x5au8; 1500];
            measured(&mut || {
                black_box(flumen_stack::checksum::sum(black_box(&bytes)));
            });
            Ok(())
        }
        "ring" => {
            let mut ring = Loopback::new(2 * BURST as u32, 0, Descriptor::default());
            let (mut producer, mut consumer) = ring.sides();
            measured(&mut || {
                black_box(parts::through_ring(&mut producer, &mut consumer));
            });
            Ok(())
        }
        "timer-wheel" => {
            let mut timers = parts::Timers::new(COUNT as u32);
            measured(&mut || {
                black_box(timers.turn());
            });
            Ok(())
        }
        // Both ends together, for each segment with 1448 bytes, each question and answer, each visit.
        "tcp-stream" => repeat(loads::Bulk::new(STEPS)?, 64 * 1448),
        "tcp-questions" => repeat(loads::Questions::new(BURST, STEPS)?, BURST as u64),
        "tcp-visits" => repeat(loads::Visits::new(STEPS)?, BURST as u64),
        _ => Err(format!("there is no case {case}").into()),
    }
}

/// Lets a work of TCP go on by `units`, again and again.
fn repeat(mut load: impl Load, units: u64) -> Result<(), Error> {
    for _ in 0..10 * REPETITIONS {
        load.work(units)?; // until windows are open and tables warm
    }
    let mut failed = None;
    measured(&mut || {
        if let Err(error) = load.work(units) {
            failed = Some(error);
        }
    });
    failed.map_or(Ok(()), Err)
}

fn main() -> ExitCode {
    let Some(case) = std::env::args().nth(1) else {
        eprintln!("usage: hot-paths CASE (see scripts/check-instructions)");
        return ExitCode::FAILURE;
    };
    match run(&case) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
