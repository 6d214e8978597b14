//! The highest rate at which no more than a share of the frames is lost: throughput (RFC 2544 section 26.1) for a share
//! of nothing, the partial drop rate for a little.
//!
//! Binary search between a rate that is known to pass and one that is known to fail. The first trial is at full speed:
//! what passes there is not the device's limit but the generator's, and the answer says so.

use super::{Offer, Trial, Trials};
use serde::Serialize;
use std::time::Duration;

/// Trials of one search at most: 30 halvings are finer than any clock.
const MAX_TRIALS: usize = 30;

/// An offered rate that is less than this share of what was asked for is another rate.
const KEPT: f64 = 0.98;

/// How to search.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The share of frames that may be lost.
    pub acceptable: f64,
    /// It ends when pass and fail are this share of the highest rate apart.
    pub resolution: f64,
    /// Of each trial.
    pub time: Duration,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Frames a second that pass.
    pub rate: f64,
    /// The share that was lost at that rate.
    pub loss: f64,
    /// The generator sent as fast as it could, and all passed: the device can do this or more.
    pub limited_by_generator: bool,
    /// Trials that were made.
    pub trials: Vec<Trial>,
}

impl Search {
    /// Searches with frames of a size. `below`: a rate that is known to pass.
    ///
    /// # Errors
    /// Whatever keeps a trial from being made; or nothing is sent at all.
    pub fn run(&self, on: &mut dyn Trials, size: u16) -> Result<Found, String> {
        let first = on.trial(size, Offer::Full(self.time))?;
        if first.sent == 0 {
            return Err(format!("nothing is sent with frames of {size} bytes"));
        }
        let most = first.offered;
        let mut found =
            Found { rate: 0.0, loss: 0.0, limited_by_generator: false, trials: vec![first.clone()] };
        if first.loss() <= self.acceptable {
            return Ok(Found { rate: most, loss: first.loss(), limited_by_generator: true, ..found });
        }
        // What came of the first trial is a good guess at what can.
        let guess = most * (1.0 - first.loss());
        let (mut pass, mut fail) = (0.0, most);
        let mut next = guess.clamp(most * self.resolution, most * (1.0 - self.resolution));
        while found.trials.len() < MAX_TRIALS && fail - pass > most * self.resolution {
            let trial = on.trial(size, Offer::Rate(next, self.time))?;
            // A generator that does not keep a rate has tried another one.
            let tried = if trial.offered < next * KEPT { trial.offered } else { next };
            if trial.loss() <= self.acceptable {
                if tried <= pass {
                    found.trials.push(trial);
                    break; // no progress: the generator cannot be made to send between
                }
                (pass, found.rate, found.loss) = (tried, tried, trial.loss());
            } else {
                fail = fail.min(next);
            }
            found.trials.push(trial);
            next = (pass + fail) / 2.0;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;

    const NDR: Search = Search { acceptable: 0.0, resolution: 0.001, time: Duration::from_secs(10) };

    fn model(capacity: f64, generator: f64) -> Model {
        Model { capacity, buffer: 0, generator, trials: Vec::new() }
    }

    #[test]
    fn the_capacity_of_a_device_is_found_to_the_resolution_wherever_it_is() {
        for capacity in [1_234.0, 50_000.0, 333_333.0, 999_000.0] {
            let found = NDR.run(&mut model(capacity, 1_000_000.0), 64).unwrap();
            assert!(
                found.rate < capacity + 0.01 && found.rate > capacity - 1_001.0,
                "{capacity}: {}",
                found.rate
            );
            assert!(found.trials.len() <= 14 && !found.limited_by_generator, "{}", found.trials.len());
            assert_eq!(found.loss, 0.0);
        }
    }

    #[test]
    fn a_device_that_is_faster_than_the_generator_is_found_to_be_so_by_one_trial() {
        let found = NDR.run(&mut model(2e6, 1e6), 64).unwrap();
        assert_eq!((found.rate, found.limited_by_generator, found.trials.len()), (1e6, true, 1));
    }

    #[test]
    fn a_partial_drop_rate_is_higher_by_what_may_be_lost() {
        let half = Search { acceptable: 0.005, ..NDR };
        let found = half.run(&mut model(100_000.0, 1e6), 64).unwrap();
        assert!(found.rate > 99_900.0 && found.rate <= 100_000.0 / 0.995 + 1.0, "{}", found.rate);
        assert!(found.loss <= 0.005);
    }

    #[test]
    fn a_device_that_always_loses_passes_nothing_and_a_dead_generator_is_an_error() {
        let found = NDR.run(&mut model(0.0, 1e6), 64).unwrap();
        assert_eq!(found.rate, 0.0);
        let dead = Model { capacity: 1.0, buffer: 0, generator: 0.0, trials: Vec::new() };
        struct Silent(Model);
        impl Trials for Silent {
            fn trial(&mut self, size: u16, _: Offer) -> Result<Trial, String> {
                let _ = (size, &self.0);
                Ok(Trial { asked: None, offered: 0.0, sent: 0, received: 0, overrun: 0, latency: None })
            }
        }
        assert!(NDR.run(&mut Silent(dead), 64).unwrap_err().contains("nothing is sent"));
    }

    #[test]
    fn no_search_takes_more_trials_than_its_limit() {
        let fine = Search { resolution: 1e-15, ..NDR };
        let mut model = model(123_456.7, 1e6);
        fine.run(&mut model, 64).unwrap();
        assert!(model.trials.len() <= MAX_TRIALS);
    }
}
