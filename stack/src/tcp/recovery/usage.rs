//! A window that is not used is not known to be good (RFC 2861, RFC 7661): growth needs that the window was the
//! limit; a window that the application left half empty for a timeout decays; after an idle time it starts anew.

use super::Sender;
use super::info::CaState;
use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::rtt::micros;

#[derive(Debug)]
pub(super) struct Usage {
    /// The measure of `most` starts anew when this is acknowledged.
    round: Seq,
    /// Most segments outstanding in this round.
    most: u32,
    /// Most segments outstanding since the window was last full.
    used: u32,
    /// When the window was last full or validated.
    full_at: Instant,
    /// When something was last sent.
    pub(super) sent_at: Instant,
}

impl Usage {
    pub(super) fn new(first: Seq) -> Usage {
        Usage { round: first, most: 0, used: 0, full_at: Instant::ZERO, sent_at: Instant::ZERO }
    }

    pub(super) fn stamp(&mut self, now: Instant) {
        self.full_at = now;
    }

    pub(super) fn restart(&mut self, now: Instant) {
        self.full_at = now;
        self.used = 0;
    }
}

impl Sender {
    /// The window was the limit, or slow start is under way and half of it was used (RFC 7661 section 4.1).
    #[inline]
    pub(in crate::tcp) fn is_cwnd_limited(&self) -> bool {
        self.filled_window || self.window.in_slow_start() && self.window.cwnd < 2 * self.usage.most
    }

    /// A segment was added to the flight.
    #[inline]
    pub(super) fn note_usage(&mut self, now: Instant) {
        let outstanding = self.flight.outstanding;
        let limited = self.flight.in_flight() >= self.window.cwnd;
        let usage = &mut self.usage;
        let new_round = self.flight.una.at_or_after(usage.round);
        if new_round || limited || !self.filled_window && outstanding > usage.most {
            self.filled_window = limited;
            usage.most = outstanding;
            usage.round = self.flight.nxt;
        }
        if self.is_cwnd_limited() {
            self.usage.restart(now);
            return;
        }
        let usage = &mut self.usage;
        usage.used = usage.used.max(outstanding);
        if self.idle_restart
            && now.nanos_since(usage.full_at) >= u64::from(self.rtt.rto()) * 1000
            && !self.congestion.rules_itself()
        {
            self.decay(now);
        }
    }

    /// The application used less than the window for a timeout (RFC 2861 section 3.2).
    fn decay(&mut self, now: Instant) {
        if self.episode.state == CaState::Open {
            let used = self.usage.used.max(u32::from(self.initial_window));
            if used < self.window.cwnd {
                self.window.ssthresh = self.current_ssthresh();
                self.window.cwnd = (self.window.cwnd + used) / 2;
            }
        }
        self.usage.restart(now);
    }

    /// The threshold that remembers the window as it is (RFC 2861 section 3.2: three quarters of it).
    pub(super) fn current_ssthresh(&self) -> u32 {
        if self.is_reducing() {
            return self.window.ssthresh;
        }
        self.window.ssthresh.max(self.window.cwnd / 2 + self.window.cwnd / 4)
    }

    /// Call before new data is queued: a window that was not used for longer than the timeout is halved for
    /// each timeout that passed, down to the initial window (RFC 2861, RFC 5681 section 4.1).
    pub fn on_idle_restart(&mut self, now: Instant) {
        if !self.idle_restart || self.flight.outstanding > 0 || self.congestion.rules_itself() {
            return;
        }
        let rto = self.rtt.rto().max(1);
        // Asked before each segment that leaves alone, so without a division.
        let lately = now.nanos_since(self.usage.sent_at) < (u64::from(rto) + 1) * 1000;
        if self.usage.sent_at == Instant::ZERO || lately {
            return;
        }
        let mut idle = micros(now, self.usage.sent_at);
        self.window.ssthresh = self.current_ssthresh();
        let floor = u32::from(self.initial_window).min(self.window.cwnd);
        while idle > rto && self.window.cwnd > floor {
            idle -= rto;
            self.window.cwnd /= 2;
        }
        self.window.cwnd = self.window.cwnd.max(floor).max(1);
        self.usage.restart(now);
    }
}
