//! Round trip times and the retransmission timeout (RFC 6298).
//!
//! ```text
//!   SRTT   ◀─ 7/8 SRTT + 1/8 R            R: a round trip that was measured, never of a segment that was
//!   RTTVAR ◀─ 3/4 RTTVAR + 1/4 |SRTT - R|    sent twice (Karn's rule), unless timestamps tell the sendings apart
//!   RTO    ◀─ SRTT + max(rto_min, 4 RTTVAR), doubled at each timeout, at most rto_max
//! ```
//! Two departures that Linux made long ago. The variation grows at once and shrinks once a round trip, because
//! there are many measurements in one; and a round trip that became *shorter* hardly raises it. And `rto_min`
//! bounds the variation's share, not the sum, so a timeout is never closer than `rto_min` to the round trip.
//!
//! Reads: RFC 6298; RFC 7323 sections 4 and 5.4 (timestamps).

use core::time::Duration;

use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::congestion::filter::Extreme;

/// One tick of the timestamp clock (RFC 7323 section 5.4 allows 1 ms to 1 s; Linux ticks in milliseconds).
pub const TICK: Duration = Duration::from_millis(1);

/// The timestamp clock at `now`, before the connection's own offset is added. It wraps after 49 days.
#[inline]
pub const fn ticks(now: Instant) -> u32 {
    (now.nanos() / 1_000_000) as u32
}

/// Microseconds from `earlier` to `later`: 0 when it is not later, at most `u32::MAX`.
#[inline]
pub(crate) fn micros(later: Instant, earlier: Instant) -> u32 {
    u32::try_from(later.nanos().saturating_sub(earlier.nanos()) / 1000).unwrap_or(u32::MAX)
}

/// A duration in microseconds, at most `u32::MAX`.
#[inline]
pub(crate) fn duration_micros(duration: Duration) -> u32 {
    let micros =
        duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()));
    u32::try_from(micros).unwrap_or(u32::MAX)
}

/// How long the smallest round trip is remembered (Linux's `tcp_min_rtt_wlen`), in timestamp ticks.
const MIN_RTT_WINDOW: u32 = 300_000;

/// After a handshake without a measurement because the SYN was sent again (RFC 6298 section 5.7).
const FALLBACK_MICROS: u32 = 3_000_000;

/// The estimator. All times are in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct RoundTrip {
    /// Eight times the smoothed round trip time; 0 before the first measurement.
    srtt8: u32,
    /// Four times the mean deviation.
    deviation4: u32,
    /// The largest of it in this round trip.
    deviation4_max: u32,
    /// What goes into the timeout: four times the variation, `rto_min` at least.
    variation4: u32,
    /// When this is acknowledged, the round trip is over.
    round: Seq,
    rto: u32,
    rto_min: u32,
    rto_max: u32,
    smallest: Extreme,
}

impl RoundTrip {
    pub(crate) fn new(first: Seq, initial: Duration, min: Duration, max: Duration) -> RoundTrip {
        let rto_max = duration_micros(max).max(1);
        RoundTrip {
            srtt8: 0,
            deviation4: 0,
            deviation4_max: 0,
            variation4: 0,
            round: first,
            rto: duration_micros(initial).clamp(1, rto_max),
            rto_min: duration_micros(min).clamp(1, rto_max),
            rto_max,
            smallest: Extreme::default(),
        }
    }

    /// A measurement (RFC 6298 sections 2.2 and 2.3). The timeout is recomputed, which takes back-off away.
    pub(crate) fn measured(&mut self, rtt: u32, una: Seq, nxt: Seq) {
        let rtt = rtt.clamp(1, u32::MAX >> 4);
        if self.srtt8 == 0 {
            self.srtt8 = rtt << 3;
            self.deviation4 = rtt << 1;
            self.variation4 = self.deviation4.max(self.rto_min);
            self.deviation4_max = self.variation4;
            self.round = nxt;
        } else {
            let error = rtt as i32 - (self.srtt8 >> 3) as i32;
            self.srtt8 = self.srtt8.saturating_add_signed(error);
            let mut change = error.abs() - (self.deviation4 >> 2) as i32;
            if error < 0 && change > 0 {
                change >>= 3; // a shorter round trip is no reason to wait longer
            }
            self.deviation4 = self.deviation4.saturating_add_signed(change);
            if self.deviation4 > self.deviation4_max {
                self.deviation4_max = self.deviation4;
                self.variation4 = self.variation4.max(self.deviation4_max);
            }
            if una.after(self.round) {
                self.variation4 -= self.variation4.saturating_sub(self.deviation4_max) >> 2;
                self.round = nxt;
                self.deviation4_max = self.rto_min;
            }
        }
        self.recompute();
    }

    /// Remembers a round trip for the minimum.
    pub(crate) fn remember_smallest(&mut self, now: Instant, rtt: u32) {
        self.smallest.lower(MIN_RTT_WINDOW, ticks(now), rtt.max(1));
    }

    /// What another connection learned of the path is the first timeout, if it is longer than what our handshake says: a SYN is
    /// short, and data may take longer. The estimator keeps to our own measurements, and the next one ends this (as Linux's
    /// `tcp_init_metrics`).
    pub(crate) fn remembered(&mut self, srtt: u32) {
        if srtt > self.srtt8 >> 3 {
            self.rto = srtt.saturating_add(srtt.saturating_mul(2).max(self.rto_min)).min(self.rto_max);
        }
    }

    /// RFC 6298 section 5.7: nothing was measured in the handshake, so be patient.
    pub(crate) fn unmeasured(&mut self) {
        if self.srtt8 == 0 {
            self.variation4 = FALLBACK_MICROS;
            self.deviation4 = FALLBACK_MICROS;
            self.deviation4_max = FALLBACK_MICROS;
            self.rto = FALLBACK_MICROS.min(self.rto_max);
        }
    }

    fn recompute(&mut self) {
        self.rto = (self.srtt8 >> 3).saturating_add(self.variation4).min(self.rto_max);
    }

    /// RFC 6298 section 5.5: back off.
    pub(crate) fn double(&mut self) {
        self.rto = self.rto.saturating_mul(2).min(self.rto_max);
    }

    /// The timeout in microseconds, back-off included.
    #[inline]
    pub(crate) fn rto(&self) -> u32 {
        self.rto
    }

    /// The smallest timeout that may be in microseconds.
    #[inline]
    pub(crate) fn rto_min(&self) -> u32 {
        self.rto_min
    }

    /// Smoothed round trip time in microseconds; 0 before the first measurement.
    #[inline]
    pub(crate) fn srtt(&self) -> u32 {
        self.srtt8 >> 3
    }

    /// The mean deviation in microseconds.
    pub(crate) fn deviation(&self) -> u32 {
        self.deviation4 >> 2
    }

    /// The smallest round trip of the last minutes in microseconds; None before the first.
    #[inline]
    pub(crate) fn smallest(&self) -> Option<u32> {
        match self.smallest.value() {
            0 => None,
            rtt => Some(rtt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> RoundTrip {
        RoundTrip::new(Seq(0), Duration::from_secs(1), Duration::from_millis(200), Duration::from_secs(120))
    }

    #[test]
    fn rfc6298_2_1_before_a_measurement_the_timeout_is_a_second() {
        assert_eq!((new().rto(), new().srtt(), new().smallest()), (1_000_000, 0, None));
    }

    #[test]
    fn rfc6298_2_2_the_first_measurement_sets_srtt_and_half_of_it_as_variation() {
        let mut long = new();
        long.measured(400_000, Seq(1), Seq(1));
        assert_eq!((long.srtt(), long.rto()), (400_000, 400_000 + 4 * 200_000));
        let mut short = new();
        short.measured(1_000, Seq(1), Seq(1));
        assert_eq!(short.rto(), 201_000, "the variation's share is 200 ms at least");
    }

    #[test]
    fn rfc6298_2_3_a_steady_round_trip_brings_the_timeout_down_once_a_round() {
        let mut rtt = new();
        rtt.measured(400_000, Seq(1), Seq(1));
        for round in 1..100u32 {
            rtt.measured(400_000, Seq(round + 1), Seq(round + 1));
        }
        assert_eq!(rtt.srtt(), 400_000);
        assert!((600_000..602_000).contains(&rtt.rto()), "{}", rtt.rto());
    }

    #[test]
    fn rfc6298_5_5_back_off_doubles_to_the_bound_and_a_measurement_ends_it() {
        let mut rtt = new();
        rtt.measured(100_000, Seq(1), Seq(1));
        let before = rtt.rto();
        (0..20).for_each(|_| rtt.double());
        assert_eq!(rtt.rto(), 120_000_000);
        rtt.measured(100_000, Seq(1), Seq(1));
        assert!(rtt.rto() <= before);
    }

    #[test]
    fn rfc6298_5_7_no_measurement_in_the_handshake_makes_it_three_seconds() {
        let mut rtt = new();
        rtt.unmeasured();
        assert_eq!(rtt.rto(), 3_000_000);
        rtt.measured(10_000, Seq(1), Seq(1));
        assert_eq!(rtt.rto(), 210_000);
    }

    #[test]
    fn what_is_remembered_of_a_path_is_the_first_timeout_and_no_measurement() {
        let mut rtt = new();
        rtt.measured(10_000, Seq(1), Seq(1));
        rtt.remembered(150_000);
        assert_eq!((rtt.srtt(), rtt.rto()), (10_000, 150_000 + 300_000));
        rtt.measured(10_000, Seq(2), Seq(2));
        assert_eq!((rtt.srtt(), rtt.rto()), (10_000, 210_000));
        rtt.remembered(9_999);
        assert_eq!(rtt.rto(), 210_000, "it is no shorter than what the handshake says");
        let mut blind = new();
        blind.unmeasured();
        blind.remembered(20_000);
        assert_eq!((blind.srtt(), blind.rto()), (0, 220_000), "better than to know nothing");
    }

    #[test]
    fn a_round_trip_that_shrank_hardly_raises_the_timeout() {
        let mut rtt = new();
        (0..50).for_each(|round| rtt.measured(800_000, Seq(round + 1), Seq(round + 1)));
        let before = rtt.rto();
        rtt.measured(100_000, Seq(60), Seq(60));
        assert!(rtt.rto() < before, "{} {before}", rtt.rto());
    }

    #[test]
    fn timestamps_wrap_and_the_estimate_survives_extremes() {
        assert_eq!(ticks(Instant::from_millis((1 << 32) + 5)), 5);
        let mut rtt = new();
        for sample in [u32::MAX, 0, u32::MAX, 1, 0] {
            rtt.measured(sample, Seq(1), Seq(1));
            assert!((200_001..=120_000_000).contains(&rtt.rto()));
        }
        rtt.remembered(u32::MAX);
        assert!(rtt.rto() <= 120_000_000);
    }
}
