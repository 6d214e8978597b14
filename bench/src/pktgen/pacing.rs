//! When the next frame is due. The pacer knows no clock: it is told the time, says how much may have been sent by
//! now, and so a test can let a day pass in a microsecond.
//!
//! ```text
//!   allowed(now) = rate x (now - start)        integer arithmetic: after a day it is right to the packet
//!   due          = allowed - sent              while it is not negative, frames go
//! ```
//! Who falls behind catches up, so that the average is what was asked for; but only for [`MAX_CATCH_UP`]: the rest is
//! forgotten and counted, because a sender that was stopped for a second must not make a burst of it.

use super::limits::MAX_CATCH_UP;
use super::rate::Budget;

const KILOSECOND: u128 = 1_000_000_000_000;

/// Says how much may go.
#[derive(Debug, Clone)]
pub struct Pacer {
    budget: Budget,
    /// Nanoseconds at which everything sent so far began.
    start: u64,
    /// Units sent since.
    sent: u64,
    /// Units that may have been sent by the last tick.
    allowed: u64,
    /// Units of [`MAX_CATCH_UP`].
    catch_up: u64,
    /// Nanoseconds that were forgotten.
    forgotten: u64,
}

impl Pacer {
    /// A pacer whose first frame is due at `start`.
    pub fn new(budget: Budget, start: u64) -> Pacer {
        let catch_up = units(budget, MAX_CATCH_UP.as_nanos() as u64);
        Pacer { budget, start, sent: 0, allowed: 0, catch_up, forgotten: 0 }
    }

    /// It is `now`: once a turn, because the arithmetic is wide.
    #[inline]
    pub fn tick(&mut self, now: u64) {
        self.allowed = units(self.budget, now.saturating_sub(self.start));
        if self.allowed > self.sent + self.catch_up {
            let behind = u128::from(self.allowed - self.sent - self.catch_up);
            let nanos = (behind * KILOSECOND / u128::from(self.budget.per_kilosecond)) as u64;
            self.start += nanos;
            self.forgotten += nanos;
            self.allowed = self.sent + self.catch_up;
        }
    }

    /// True when a frame may go now.
    #[inline]
    pub fn is_due(&self) -> bool {
        // `<=`: the first is due at once, and each following one a whole interval later.
        self.sent <= self.allowed
    }

    /// Notes that a frame of `size` bytes went.
    #[inline]
    pub fn sent(&mut self, size: u64) {
        self.sent += self.budget.cost.of(size);
    }

    /// Takes a frame back that did not go after all.
    pub fn unsent(&mut self, size: u64) {
        self.sent = self.sent.saturating_sub(self.budget.cost.of(size));
    }

    /// Nanoseconds of sending that were forgotten because the sender was too far behind.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// Units that a budget gives in so many nanoseconds.
#[inline]
fn units(budget: Budget, nanos: u64) -> u64 {
    (u128::from(nanos) * u128::from(budget.per_kilosecond) / KILOSECOND) as u64
}

#[cfg(test)]
mod tests {
    use super::super::rate::Cost;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn packets(per_second: u64) -> Pacer {
        Pacer::new(Budget { per_kilosecond: per_second * 1000, cost: Cost::Packet }, 0)
    }

    /// All that is due when the clock moves in `step`s from `from` up to `to`.
    fn run(pacer: &mut Pacer, from: u64, to: u64, step: u64, size: u64) -> u64 {
        let mut count = 0;
        let mut now = from;
        while now < to {
            pacer.tick(now);
            while pacer.is_due() {
                pacer.sent(size);
                count += 1;
            }
            now += step;
        }
        count
    }

    #[test]
    fn each_frame_is_due_one_interval_after_the_one_before() {
        let mut pacer = packets(1000);
        let mut due = Vec::new();
        for now in (0..4_000_000).step_by(1000) {
            pacer.tick(now);
            if pacer.is_due() {
                pacer.sent(64);
                due.push(now);
            }
        }
        assert_eq!(due, [0, 1_000_000, 2_000_000, 3_000_000]);
    }

    #[test]
    fn a_rate_that_divides_nothing_is_kept_to_the_packet_for_an_hour() {
        // 999,983 is prime; a turn of the worker takes 7 us.
        let mut pacer = packets(999_983);
        assert_eq!(run(&mut pacer, 0, 3600 * SECOND / 100, 7_000, 64), 999_983 * 36);
        assert_eq!(pacer.forgotten(), 0);
    }

    #[test]
    fn bits_are_paid_by_size_and_a_mix_of_sizes_keeps_the_rate() {
        let mut pacer = Pacer::new(Budget { per_kilosecond: 1_000_000_000 * 1000, cost: Cost::Bits }, 0);
        let (mut bits, mut sizes) = (0, [64, 1518, 594].into_iter().cycle());
        for now in (0..SECOND).step_by(1000) {
            pacer.tick(now);
            while pacer.is_due() {
                let size = sizes.next().unwrap();
                pacer.sent(size);
                bits += size * 8;
            }
        }
        assert!(bits.abs_diff(1_000_000_000) <= 2 * 1518 * 8, "{bits}");
    }

    #[test]
    fn a_short_pause_is_made_up_for_and_a_long_one_is_forgotten_beyond_the_limit() {
        let mut pacer = packets(100_000);
        run(&mut pacer, 0, SECOND, 1000, 64);
        let after_5_ms = run(&mut pacer, SECOND + 5_000_000, SECOND + 5_000_001, 1, 64);
        assert!((499..=501).contains(&after_5_ms), "{after_5_ms}");
        let after_a_second = run(&mut pacer, 2 * SECOND + 5_000_000, 2 * SECOND + 5_000_001, 1, 64);
        let most = 100_000 * MAX_CATCH_UP.as_millis() as u64 / 1000;
        assert!((most..=most + 1).contains(&after_a_second), "{after_a_second}");
        assert!(pacer.forgotten().abs_diff(990_000_000) < 100_000, "{}", pacer.forgotten());
    }

    #[test]
    fn one_packet_in_a_thousand_seconds_is_a_rate_too() {
        let mut pacer = Pacer::new(Budget { per_kilosecond: 1, cost: Cost::Packet }, 5);
        assert_eq!(run(&mut pacer, 5, 1001 * SECOND, SECOND, 64), 2);
    }

    #[test]
    fn what_did_not_go_is_due_again() {
        let mut pacer = packets(1);
        assert!(pacer.is_due());
        pacer.sent(64);
        assert!(!pacer.is_due());
        pacer.unsent(64);
        assert!(pacer.is_due());
    }
}
