//! Pacing: segments leave at a rate instead of in bursts.
//!
//! The rate follows window and round trip (as Linux: 200 % of it in slow start, 120 % otherwise), or is what BBR
//! says; it holds output back only when BBR rules or the owner set a bound (SO_MAX_PACING_RATE). A millisecond's
//! worth, two segments at least, may leave at a time, so that one timer event serves many segments at high rates.

use core::time::Duration;

use super::settings::SenderSettings;
use super::{CaState, Sender};
use crate::Instant;

/// Segments that leave together at least and at most (64 KiB at the usual segment size, as Linux's bursts).
const MIN_BURST: u64 = 2;
const MAX_BURST: u64 = 44;
const MAX_BURST_BYTES: u64 = 65_536;

/// What BBR begins with (2/ln 2), until its first ACK says more.
const BBR_FIRST_PERCENT: u16 = 289;

#[derive(Debug)]
pub(super) struct Pacing {
    /// What few connections have: made when the owner sets a bound or chooses BBR.
    held: Option<Box<Held>>,
    slow_start_percent: u16,
    percent: u16,
}

/// Output that a rate holds back.
#[derive(Debug)]
pub(super) struct Held {
    /// When what was sent has left at the rate.
    until: Instant,
    /// Bytes a second; 0 before it is known.
    rate: u64,
    max: u64,
}

impl Pacing {
    pub(super) fn new(settings: &SenderSettings) -> Pacing {
        Pacing {
            held: None,
            slow_start_percent: settings.pacing_slow_start_percent.max(1),
            percent: settings.pacing_percent.max(1),
        }
    }

    /// The rate that output is held back to, if it is.
    fn rate(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.rate)
    }

    /// The owner's bound; `u64::MAX` is none.
    pub(super) fn max(&self) -> u64 {
        self.held.as_ref().map_or(u64::MAX, |held| held.max)
    }
}

impl Held {
    /// The rate that holds output back; `u64::MAX` is none.
    fn effective(&self) -> u64 {
        match self.rate {
            0 => self.max, // before the first round trip only the owner's bound counts
            rate => rate.min(self.max),
        }
        .max(1)
    }

    fn nanos(&self, bytes: u64) -> u64 {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.effective());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many segments of `mss` bytes it lets go now.
    fn segments(&self, now: Instant, mss: u64) -> u32 {
        let burst = (self.effective() / 1000 / mss).clamp(MIN_BURST, MAX_BURST);
        let allowed = self.nanos(burst * mss);
        let used = self.until.nanos().saturating_sub(now.nanos());
        if used >= allowed {
            return u32::from(used == 0); // a rate beyond a burst a nanosecond
        }
        let left = u128::from(allowed - used) * u128::from(burst);
        u32::try_from(left.div_ceil(u128::from(allowed))).unwrap_or(1)
    }
}

impl Sender {
    /// Bound of the pacing rate in bytes a second (SO_MAX_PACING_RATE); `u64::MAX` takes it away.
    pub fn set_max_pacing_rate(&mut self, bytes_per_second: u64) {
        self.hold(bytes_per_second.max(1));
        self.update_pacing_rate();
    }

    /// Output is held back from now on if the algorithm says so or the owner's bound does.
    pub(super) fn hold(&mut self, max: u64) {
        if !self.congestion.rules_itself() && max == u64::MAX {
            self.pacing.held = None;
        } else {
            let new = || Box::new(Held { until: Instant::ZERO, rate: 0, max });
            self.pacing.held.get_or_insert_with(new).max = max;
        }
    }

    /// Another algorithm: what was known of the rate is forgotten.
    pub(super) fn pace_anew(&mut self) {
        self.hold(self.pacing.max());
        self.set_pacing_rate(0);
    }

    /// The algorithm says the rate.
    pub(super) fn set_pacing_rate(&mut self, rate: u64) {
        if let Some(held) = &mut self.pacing.held {
            held.rate = rate;
        }
    }

    /// True when the rate holds output back.
    #[inline]
    pub(super) fn is_paced(&self) -> bool {
        self.pacing.held.is_some()
    }

    /// The rate that output is held back to, or that window and round trip make; 0 before it is known.
    pub(super) fn pacing_rate(&self) -> u64 {
        self.pacing.rate().unwrap_or_else(|| self.rate_of_window())
    }

    /// When pacing lets the next burst go; `Instant::ZERO` when it holds nothing back.
    #[inline]
    pub fn pacing_deadline(&self) -> Instant {
        self.pacing.held.as_ref().map_or(Instant::ZERO, |held| held.until)
    }

    /// How many segments the rate lets go now.
    #[inline]
    pub(super) fn paced_segments(&self, now: Instant) -> u32 {
        match &self.pacing.held {
            Some(held) if held.effective() != u64::MAX => held.segments(now, u64::from(self.mss)),
            _ => u32::MAX,
        }
    }

    /// How many segments leave as one train: a millisecond's worth of the rate and more on a short path, but not more
    /// than half the window, so that two trains are on their way (as Linux sizes its bursts).
    pub(in crate::tcp) fn burst(&self) -> u32 {
        let rate = self.pacing.held.as_ref().map_or_else(|| self.rate_of_window(), |held| held.effective());
        let mss = u64::from(self.mss);
        let paced = if rate == 0 { MAX_BURST_BYTES } else { rate >> 10 };
        let near = match self.rtt.smallest().map(|smallest| smallest >> 9) {
            Some(distance @ 0..32) => MAX_BURST_BYTES >> distance,
            _ => 0,
        };
        let segments = ((paced + near).min(MAX_BURST_BYTES) / mss).max(MIN_BURST) as u32;
        segments.min((self.window.cwnd / 2).max(1))
    }

    /// A timeout: what it sends again does not wait for the rate.
    pub(super) fn forget_pace(&mut self, now: Instant) {
        if let Some(held) = &mut self.pacing.held {
            held.until = held.until.min(now);
        }
    }

    /// A segment of `len` bytes leaves.
    #[inline]
    pub(super) fn pace(&mut self, now: Instant, len: u32) {
        if let Some(held) = &mut self.pacing.held {
            let time = Duration::from_nanos(held.nanos(u64::from(len)));
            held.until = held.until.max(now) + time;
        }
    }

    /// The rate after an ACK, unless the algorithm says it itself. When nothing is paced it is not needed, and
    /// its division is spared: [`Sender::info`] asks for it.
    #[inline]
    pub(super) fn update_pacing_rate(&mut self) {
        if let Some(rate) = self.pacing.rate()
            && !(self.congestion.rules_itself() && rate != 0)
        {
            self.set_pacing_rate(self.rate_of_window());
        }
    }

    /// Bytes a second that window and round trip make; 0 before the first round trip.
    pub(super) fn rate_of_window(&self) -> u64 {
        let window = self.window.cwnd.max(self.flight.outstanding);
        // Half of the threshold, not all of it: the last doubling of slow start would burst too much.
        let percent = match self.window.cwnd < self.window.ssthresh / 2 {
            _ if self.congestion.rules_itself() => BBR_FIRST_PERCENT,
            true => self.pacing.slow_start_percent,
            false => self.pacing.percent,
        };
        let bytes = u64::from(window) * u64::from(self.mss) * u64::from(percent);
        bytes.saturating_mul(10_000).checked_div(u64::from(self.rtt.srtt())).unwrap_or(0)
    }

    /// True in fast recovery or while the window is being reduced (RFC 6937 then says what may be sent).
    #[inline]
    pub(super) fn is_reducing(&self) -> bool {
        matches!(self.episode.state, CaState::Cwr | CaState::Recovery)
    }
}
