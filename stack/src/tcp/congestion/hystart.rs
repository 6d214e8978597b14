//! HyStart++ (RFC 9406): leave slow start when the round trip time grows, before the queue overflows.
//!
//! ```text
//!   slow start ──(round trips of this round ≥ those of the last + threshold)──▶ conservative slow start
//!       ▲                                                                         │ a quarter of the growth
//!       └──(they shrank again: it was jitter)─────────────────────────────────────┤
//!                                            congestion avoidance ◀──(five rounds)┘
//! ```

use super::Growth;
use super::window::Window;
use crate::tcp::Seq;

/// RFC 9406 section 4.3, the recommended constants; times in microseconds.
const MIN_THRESHOLD: u32 = 4_000;
const MAX_THRESHOLD: u32 = 16_000;
const THRESHOLD_DIVISOR: u32 = 8;
const SAMPLES: u8 = 8;
const GROWTH_DIVISOR: u32 = 4;
const CONSERVATIVE_ROUNDS: u8 = 5;

/// "No round trip yet".
const NEVER: u32 = u32::MAX;

/// The state of one slow start.
#[derive(Debug, Clone, Copy)]
pub(super) struct HyStart {
    /// The round is over when this is acknowledged.
    round_end: Seq,
    last_smallest: u32,
    smallest: u32,
    /// Below it conservative slow start was a mistake; [`NEVER`] in plain slow start.
    baseline: u32,
    samples: u8,
    rounds: u8,
    running: bool,
    /// Acknowledged segments that did not make one of growth yet.
    spare: u8,
}

impl HyStart {
    pub(super) const fn new() -> HyStart {
        HyStart {
            round_end: Seq(0),
            last_smallest: NEVER,
            smallest: NEVER,
            baseline: NEVER,
            samples: 0,
            rounds: 0,
            running: false,
            spare: 0,
        }
    }

    /// An ACK in slow start: gives how many segments of growth it is worth.
    pub(super) fn on_ack(&mut self, window: &mut Window, growth: &Growth) -> u32 {
        if !self.running || growth.una.after(self.round_end) {
            self.next_round(window, growth.nxt);
        }
        if let Some(rtt) = growth.rtt {
            self.smallest = self.smallest.min(rtt);
            self.samples = self.samples.saturating_add(1);
        }
        if self.baseline != NEVER {
            if self.samples >= SAMPLES && self.smallest < self.baseline {
                self.baseline = NEVER; // section 4.2: the delay went away by itself
            }
        } else if self.samples >= SAMPLES && self.smallest != NEVER && self.last_smallest != NEVER {
            let threshold = (self.last_smallest / THRESHOLD_DIVISOR).clamp(MIN_THRESHOLD, MAX_THRESHOLD);
            if self.smallest >= self.last_smallest.saturating_add(threshold) {
                self.baseline = self.smallest;
                self.rounds = 0;
            }
        }
        self.worth(growth.acked)
    }

    fn worth(&mut self, acked: u32) -> u32 {
        if self.baseline == NEVER {
            return acked;
        }
        let total = acked + u32::from(self.spare);
        self.spare = (total % GROWTH_DIVISOR) as u8;
        total / GROWTH_DIVISOR
    }

    fn next_round(&mut self, window: &mut Window, nxt: Seq) {
        if self.running && self.baseline != NEVER {
            self.rounds += 1;
            if self.rounds >= CONSERVATIVE_ROUNDS {
                window.ssthresh = window.cwnd; // section 4.2: congestion avoidance from here on
            }
        }
        self.running = true;
        self.round_end = nxt;
        self.last_smallest = self.smallest;
        self.smallest = NEVER;
        self.samples = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instant;

    fn round(hystart: &mut HyStart, window: &mut Window, number: u32, rtt: u32) -> u32 {
        let (una, nxt) = (Seq(number * 100 + 1), Seq(number * 100 + 100));
        (0..8)
            .map(|_| {
                let growth = Growth {
                    now: Instant::ZERO,
                    acked: 1,
                    rtt: Some(rtt),
                    min_rtt: None,
                    una,
                    nxt,
                    cwnd_limited: true,
                };
                hystart.on_ack(window, &growth)
            })
            .sum()
    }

    #[test]
    fn rfc9406_4_2_a_growing_round_trip_slows_the_growth_and_five_rounds_end_it() {
        let (mut hystart, mut window) = (HyStart::new(), Window::new(100));
        assert_eq!(round(&mut hystart, &mut window, 1, 40_000), 8);
        assert_eq!(round(&mut hystart, &mut window, 2, 44_999), 8, "less than an eighth more");
        assert_eq!(round(&mut hystart, &mut window, 3, 60_000), 7, "the eighth sample shows it");
        for number in 4..8 {
            assert_eq!(round(&mut hystart, &mut window, number, 60_000), 2);
            assert!(window.in_slow_start());
        }
        round(&mut hystart, &mut window, 8, 60_000);
        assert_eq!(window.ssthresh, 100);
    }

    #[test]
    fn rfc9406_4_2_a_round_trip_that_shrinks_again_resumes_slow_start() {
        let (mut hystart, mut window) = (HyStart::new(), Window::new(100));
        round(&mut hystart, &mut window, 1, 40_000);
        round(&mut hystart, &mut window, 2, 50_000);
        assert!(round(&mut hystart, &mut window, 3, 40_000) < 8);
        assert_eq!(round(&mut hystart, &mut window, 4, 40_000), 8);
        assert!(window.in_slow_start());
    }
}
