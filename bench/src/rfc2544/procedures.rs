//! The tests of RFC 2544 section 26, one size of frames at a time: throughput, latency, frame loss rate, back-to-back.

use super::search::{Found, Search};
use super::{Offer, Trial, Trials};
use serde::Serialize;
use std::time::Duration;

/// Parts of the throughput at which latency is taken, in per cent.
pub const LOADS: [u32; 4] = [10, 50, 90, 100];

/// Steps of the loss curve, in per cent of the highest rate.
const STEP: u32 = 10;

/// What is measured, and how finely.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Frame sizes.
    pub sizes: Vec<u16>,
    /// Of each trial.
    pub trial: Duration,
    /// The share that a partial drop rate may lose.
    pub partial: f64,
    /// How far apart pass and fail may be at the end of a search, as a share of the highest rate.
    pub resolution: f64,
    /// Bursts of each length in the back-to-back test.
    pub bursts: u32,
}

/// Latencies at a part of the throughput.
#[derive(Debug, Clone, Serialize)]
pub struct AtLoad {
    /// Per cent of the throughput.
    pub percent: u32,
    /// What came of it.
    pub trial: Trial,
}

/// All results of a size.
#[derive(Debug, Clone, Serialize)]
pub struct OfSize {
    /// Bytes, check sequence included.
    pub size: u16,
    /// Throughput: no frame lost.
    pub ndr: Found,
    /// The partial drop rate.
    pub pdr: Found,
    /// Latency at parts of the throughput; empty when nothing passes.
    pub latency: Vec<AtLoad>,
    /// Loss at rates from the highest down.
    pub loss: Vec<Trial>,
    /// The longest burst at full speed of which nothing is lost, and the longest that was tried.
    pub back_to_back: BackToBack,
}

/// The back-to-back value (section 26.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BackToBack {
    /// Frames.
    pub frames: u64,
    /// Nothing was lost of the longest burst either.
    pub or_more: bool,
}

impl Settings {
    /// Measures with one size; `tell` hears what is begun.
    ///
    /// # Errors
    /// Whatever keeps a trial from being made.
    pub fn measure(
        &self,
        on: &mut dyn Trials,
        size: u16,
        tell: &mut dyn FnMut(&str),
    ) -> Result<OfSize, String> {
        let search = |acceptable| Search { acceptable, resolution: self.resolution, time: self.trial };
        tell("throughput");
        let ndr = search(0.0).run(on, size)?;
        let pdr = if ndr.limited_by_generator {
            Found { trials: Vec::new(), ..ndr.clone() } // what loses nothing loses no more than a little
        } else {
            tell("partial drop rate");
            search(self.partial).run(on, size)?
        };
        let mut latency = Vec::new();
        if ndr.rate > 0.0 {
            for percent in LOADS {
                tell(&format!("latency at {percent} %"));
                let rate = ndr.rate * f64::from(percent) / 100.0;
                latency.push(AtLoad { percent, trial: on.trial(size, Offer::Rate(rate, self.trial))? });
            }
        }
        let most = ndr.trials.first().map_or(ndr.rate, |first| first.offered);
        let loss = self.loss_curve(on, size, most, tell)?;
        tell("back-to-back");
        let longest = (most * self.trial.as_secs_f64()) as u64;
        let back_to_back = self.back_to_back(on, size, longest.max(1))?;
        Ok(OfSize { size, ndr, pdr, latency, loss, back_to_back })
    }

    /// Section 26.3: from the highest rate down by tenths, until two trials in a row lose nothing.
    fn loss_curve(
        &self,
        on: &mut dyn Trials,
        size: u16,
        most: f64,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Vec<Trial>, String> {
        let mut curve: Vec<Trial> = Vec::new();
        for percent in (1..=100 / STEP).rev().map(|step| step * STEP) {
            tell(&format!("loss at {percent} %"));
            let rate = most * f64::from(percent) / 100.0;
            let offer = if percent == 100 { Offer::Full(self.trial) } else { Offer::Rate(rate, self.trial) };
            curve.push(on.trial(size, offer)?);
            if let [.., one, two] = curve.as_slice()
                && one.loss() == 0.0
                && two.loss() == 0.0
            {
                break;
            }
        }
        Ok(curve)
    }

    /// The longest burst of which nothing is lost, in all of so many attempts, to 1 %.
    fn back_to_back(&self, on: &mut dyn Trials, size: u16, longest: u64) -> Result<BackToBack, String> {
        let mut passes = |count: u64| -> Result<bool, String> {
            for _ in 0..self.bursts.max(1) {
                if on.trial(size, Offer::Burst(count))?.loss() > 0.0 {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if passes(longest)? {
            return Ok(BackToBack { frames: longest, or_more: true });
        }
        let (mut pass, mut fail) = (0, longest);
        while fail - pass > (pass / 100).max(1) {
            let next = pass + (fail - pass) / 2;
            if passes(next)? {
                pass = next;
            } else {
                fail = next;
            }
        }
        Ok(BackToBack { frames: pass, or_more: false })
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;

    fn settings() -> Settings {
        Settings {
            sizes: vec![64],
            trial: Duration::from_secs(10),
            partial: 0.005,
            resolution: 0.001,
            bursts: 2,
        }
    }

    fn measured(mut model: Model) -> (OfSize, Model) {
        let result = settings().measure(&mut model, 64, &mut |_| {}).unwrap();
        (result, model)
    }

    #[test]
    fn a_device_with_a_buffer_takes_bursts_as_long_as_the_buffer_and_what_drains_meanwhile() {
        // At twice the capacity half of a burst drains while it comes: 2 x 1000.
        let model = Model { capacity: 500_000.0, buffer: 1000, generator: 1e6, trials: Vec::new() };
        let (result, _) = measured(model);
        assert!(result.back_to_back.frames.abs_diff(2000) <= 20, "{:?}", result.back_to_back);
        assert!(!result.back_to_back.or_more);
    }

    #[test]
    fn the_loss_curve_goes_down_by_tenths_and_ends_after_two_trials_without_loss() {
        let model = Model { capacity: 750_000.0, buffer: 0, generator: 1e6, trials: Vec::new() };
        let (result, _) = measured(model);
        let loss: Vec<u32> = result.loss.iter().map(|trial| (trial.loss() * 1000.0).round() as u32).collect();
        assert_eq!(loss, [250, 167, 63, 0, 0]);
    }

    #[test]
    fn latency_is_taken_at_the_parts_of_the_throughput() {
        let mut model = Model { capacity: 100_000.0, buffer: 0, generator: 1e6, trials: Vec::new() };
        let settings = Settings { partial: 0.05, ..settings() };
        let result = settings.measure(&mut model, 64, &mut |_| {}).unwrap();
        let asked: Vec<f64> = result.latency.iter().filter_map(|at| at.trial.asked).collect();
        let parts: Vec<u32> =
            asked.iter().map(|rate| (rate / result.ndr.rate * 100.0).round() as u32).collect();
        assert_eq!(parts, LOADS);
        assert!(result.pdr.rate > result.ndr.rate);
    }

    #[test]
    fn what_the_device_cannot_be_made_to_lose_is_said_to_be_so_or_more() {
        let model = Model { capacity: 2e6, buffer: 0, generator: 1e6, trials: Vec::new() };
        let (result, model) = measured(model);
        assert!(result.ndr.limited_by_generator && result.pdr.limited_by_generator);
        assert_eq!(result.back_to_back, BackToBack { frames: 10_000_000, or_more: true });
        assert!(model.trials.len() < 12, "{}", model.trials.len());
    }
}
