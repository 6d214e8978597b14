//! Trials by the packet generator: the ports stay open from the first to the last.

use super::{Offer, Trial, Trials};
use crate::pktgen::engine::Engine;
use crate::pktgen::generator::Generator;
use crate::pktgen::plan::{Load, Plan};
use crate::pktgen::rate::Rate;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Before each trial, so that what the last one left in queues is gone (section 23 lets two seconds pass after it, the
/// engine less when everything has come).
const PAUSE: Duration = Duration::from_millis(200);

/// Frames of the trial that warms up neighbours, caches and routes, and is not counted.
const WARM_UP: u64 = 1000;

/// The generator, with its ports open.
pub struct Bench {
    engine: Engine,
    load: Load,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// Opens the ports of a plan, asks for the next hop, and sends a little.
    ///
    /// # Errors
    /// One line; also when nothing of the first frames comes through.
    pub fn open(plan: &Plan, stop: Arc<AtomicBool>) -> Result<Bench, String> {
        let mut engine = Engine::start(plan)?;
        let mut load = plan.load.clone();
        engine.resolve(&mut load, &stop)?;
        let mut bench = Bench { engine, load, stop };
        let size = bench.load.sizes.least() as u16;
        let trial = bench.run(size, Rate::Packets(10_000 * 1000), None, Some(WARM_UP))?;
        if trial.received == 0 {
            return Err(format!(
                "of {} frames none came through: does the device forward from one port to the other?",
                trial.sent
            ));
        }
        Ok(bench)
    }

    /// What each socket got, in words.
    pub fn sockets(&self) -> Vec<String> {
        self.engine.grants.iter().map(ToString::to_string).collect()
    }

    fn run(
        &mut self,
        size: u16,
        rate: Rate,
        duration: Option<Duration>,
        count: Option<u64>,
    ) -> Result<Trial, String> {
        std::thread::sleep(PAUSE);
        let sizes = Generator::Fixed(size.into());
        let load = Load { sizes, rate, duration, count, ..self.load.clone() };
        let run = self.engine.run(&load, &self.stop, |_| {})?;
        if self.stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        let seconds = run.tally.tx_time.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9);
        let sent = run.tally.tx_frames;
        Ok(Trial {
            asked: match rate {
                Rate::Packets(rate) => Some(rate as f64 / 1000.0),
                _ => None,
            },
            offered: if seconds > 0.0 { sent as f64 / seconds } else { 0.0 },
            sent,
            received: run.unique,
            overrun: run.tally.rx_overrun,
            latency: run.latency,
        })
    }
}

impl Trials for Bench {
    fn trial(&mut self, size: u16, offer: Offer) -> Result<Trial, String> {
        match offer {
            Offer::Full(time) => self.run(size, Rate::Full, Some(time), None),
            Offer::Rate(rate, time) => {
                let rate = Rate::Packets(((rate * 1000.0) as u64).max(1));
                self.run(size, rate, Some(time), None)
            }
            Offer::Burst(count) => self.run(size, Rate::Full, None, Some(count)),
        }
    }
}
