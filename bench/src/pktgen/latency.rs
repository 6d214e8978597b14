//! How long frames took: a histogram with three digits, and the jitter between one and the next.

use super::limits::MAX_LATENCY;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Quantiles that are shown, in per cent.
pub const QUANTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// A histogram of nanoseconds that never grows: all of its memory is there from the start.
pub fn histogram() -> Histogram<u64> {
    let most = MAX_LATENCY.as_nanos() as u64;
    // Bounds and digits are constants that the crate accepts.
    Histogram::new_with_bounds(1, most, 3).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Latencies of one receiver.
#[derive(Debug)]
pub struct Latency {
    all: Histogram<u64>,
    /// Since somebody last took them away.
    interval: Box<Histogram<u64>>,
    last: Option<u64>,
    /// Sum and number of the differences between successive latencies.
    variation: (u64, u64),
    /// Marks from the future: made by a machine with another clock.
    foreign: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            all: histogram(),
            interval: Box::new(histogram()),
            last: None,
            variation: (0, 0),
            foreign: 0,
        }
    }
}

impl Latency {
    /// A frame that was sent at `sent` arrived at `now`.
    #[inline]
    pub fn enter(&mut self, sent: u64, now: u64) {
        let Some(nanos) = now.checked_sub(sent) else {
            self.foreign += 1;
            return;
        };
        self.all.saturating_record(nanos.max(1));
        self.interval.saturating_record(nanos.max(1));
        if let Some(last) = self.last.replace(nanos) {
            self.variation.0 = self.variation.0.saturating_add(nanos.abs_diff(last));
            self.variation.1 += 1;
        }
    }

    /// Latencies that were entered.
    pub fn count(&self) -> u64 {
        self.all.len()
    }

    /// Gives what came since the last time, in exchange for an empty histogram.
    pub fn exchange(&mut self, empty: Box<Histogram<u64>>) -> Box<Histogram<u64>> {
        core::mem::replace(&mut self.interval, empty)
    }

    /// What several receivers saw, as one.
    pub fn summary<'a>(all: impl IntoIterator<Item = &'a Latency>) -> Option<Summary> {
        let (mut sum, mut variation, mut foreign) = (histogram(), (0u64, 0u64), 0);
        for one in all {
            sum.add(&one.all).ok()?;
            variation.0 = variation.0.saturating_add(one.variation.0);
            variation.1 += one.variation.1;
            foreign += one.foreign;
        }
        // Clocks of two machines: the differences that look possible are as wrong as the others.
        if sum.is_empty() || foreign > 0 {
            return None;
        }
        let jitter = variation.0 as f64 / variation.1.max(1) as f64;
        Some(Summary::of(&sum, jitter))
    }
}

/// What is shown of latencies, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Frames.
    pub count: u64,
    /// The least.
    pub least: u64,
    /// The mean.
    pub mean: f64,
    /// [`QUANTILES`] and their values.
    pub quantiles: Vec<(f64, u64)>,
    /// The mean difference between one and the next (RFC 3393, selected by arrival).
    pub jitter: f64,
}

impl Summary {
    /// Of a histogram.
    pub fn of(histogram: &Histogram<u64>, jitter: f64) -> Summary {
        Summary {
            count: histogram.len(),
            least: histogram.min(),
            mean: histogram.mean(),
            quantiles: QUANTILES.map(|at| (at, histogram.value_at_quantile(at / 100.0))).into(),
            jitter,
        }
    }

    /// One of [`QUANTILES`].
    pub fn quantile(&self, percent: f64) -> u64 {
        let found = self.quantiles.iter().find(|(at, _)| *at == percent);
        found.map_or(0, |(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_jitter_are_those_of_what_was_entered() {
        let mut latency = Latency::default();
        for nanos in 1..=1000u64 {
            latency.enter(5, 5 + nanos * 100);
        }
        let summary = Latency::summary([&latency]).unwrap();
        assert_eq!((summary.count, summary.least), (1000, 100));
        assert!(summary.quantile(50.0).abs_diff(50_000) <= 50, "{summary:?}");
        assert!(summary.quantile(99.0).abs_diff(99_000) <= 100, "{summary:?}");
        assert!((summary.jitter - 100.0).abs() < 1e-9);
        assert!((summary.mean - 50_050.0).abs() < 50.0);
    }

    #[test]
    fn a_longer_one_than_the_limit_counts_as_the_limit() {
        let mut latency = Latency::default();
        latency.enter(0, MAX_LATENCY.as_nanos() as u64 * 3);
        let most = Latency::summary([&latency]).unwrap().quantile(100.0);
        assert!(most.abs_diff(MAX_LATENCY.as_nanos() as u64) < 100_000_000, "{most}");
    }

    #[test]
    fn marks_from_the_future_say_that_the_clock_is_another_and_nothing_is_shown() {
        let mut latency = Latency::default();
        latency.enter(10, 20);
        latency.enter(30, 25);
        assert_eq!(Latency::summary([&latency]), None);
        assert_eq!(Latency::summary([]), None);
    }

    #[test]
    fn an_interval_begins_anew_when_it_is_taken() {
        let mut latency = Latency::default();
        latency.enter(0, 10);
        assert_eq!(latency.exchange(Box::new(histogram())).len(), 1);
        latency.enter(0, 10);
        latency.enter(0, 10);
        assert_eq!(latency.exchange(Box::new(histogram())).len(), 2);
        assert_eq!(latency.count(), 3);
    }
}
