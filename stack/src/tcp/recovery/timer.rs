//! One timer for three purposes, because only one of them is of use at a time: the retransmission timeout (RFC
//! 6298), the tail loss probe that comes before it (RFC 8985 section 7), and the end of RACK's wait for what
//! may be reordered (RFC 8985 section 6.2 step 5).

use super::ack::TimerOutcome;
use super::run::{RunPool, mark};
use super::{CaState, Sender};
use crate::Instant;
use crate::tcp::rtt::micros;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Nothing,
    Timeout,
    Probe,
    Reordering,
}

#[derive(Debug)]
pub(super) struct Timer {
    pub(super) deadline: Instant,
    pub(super) purpose: Purpose,
}

impl Timer {
    pub(super) fn new() -> Timer {
        Timer { deadline: Instant::NEVER, purpose: Purpose::Nothing }
    }

    pub(super) fn disarm(&mut self) {
        *self = Timer::new();
    }

    pub(super) fn arm(&mut self, purpose: Purpose, now: Instant, micros: u32) {
        self.purpose = purpose;
        self.deadline = now.later(u64::from(micros) * 1000);
    }
}

impl Sender {
    /// When `on_timer` wants to be called; `Instant::NEVER` when nothing is outstanding.
    #[inline]
    pub fn deadline(&self) -> Instant {
        self.timer.deadline
    }

    /// Time passed. Harmless when nothing is due.
    pub fn on_timer(&mut self, pool: &mut RunPool, now: Instant) -> TimerOutcome {
        if now < self.timer.deadline {
            return TimerOutcome::Nothing;
        }
        self.probe.due = false;
        self.episode.hold = false;
        match self.timer.purpose {
            Purpose::Nothing => {
                self.timer.disarm();
                TimerOutcome::Nothing
            }
            Purpose::Probe => self.probe_due(pool, now),
            Purpose::Reordering => self.reordering_over(pool, now),
            Purpose::Timeout => self.timed_out(pool, now),
        }
    }

    /// RFC 6298 section 5.4 to 5.6.
    fn timed_out(&mut self, pool: &mut RunPool, now: Instant) -> TimerOutcome {
        if self.flight.outstanding == 0 {
            self.timer.disarm();
            return TimerOutcome::Nothing;
        }
        self.enter_loss(pool, now);
        self.forget_pace(now);
        let tally = &mut pool.write_history(&mut self.history).tally;
        if self.timeouts == 0 {
            tally.timeout_recoveries = tally.timeout_recoveries.saturating_add(1);
            tally.timeouts_begin(now);
        }
        tally.timeouts = tally.timeouts.saturating_add(1);
        self.timeouts = self.timeouts.saturating_add(1);
        if self.established || self.timeouts > self.syn_linear_timeouts {
            self.backoff = self.backoff.saturating_add(1);
            self.rtt.double();
        }
        self.timer.arm(Purpose::Timeout, now, self.rtt.rto());
        TimerOutcome::TimedOut { count: self.timeouts }
    }

    /// What had timed out was acknowledged after all.
    pub(super) fn timeouts_over(&mut self, pool: &mut RunPool, now: Instant) {
        if let Some(history) = pool.known_history(&self.history) {
            history.tally.timeouts_over(now);
        }
    }

    /// RFC 8985 section 6.2 step 5: what was waited for did not come.
    fn reordering_over(&mut self, pool: &mut RunPool, now: Instant) -> TimerOutcome {
        let lost = self.lost;
        let wait = self.detect_losses(pool, now);
        self.timer.purpose = Purpose::Timeout;
        if self.lost == lost {
            match wait {
                Some(wait) => self.timer.arm(Purpose::Reordering, now, wait),
                None => self.rearm_timeout_from_head(pool, now),
            }
            return TimerOutcome::Nothing;
        }
        if self.episode.state < CaState::Recovery && !self.is_mtu_probe_lost(pool) {
            self.enter_recovery(pool, false);
            if !self.congestion.rules_itself() {
                self.reduce(pool, 1, 0, false);
            }
        }
        match wait {
            Some(wait) => self.timer.arm(Purpose::Reordering, now, wait),
            None => self.timer.arm(Purpose::Timeout, now, self.rtt.rto()),
        }
        TimerOutcome::Retransmit
    }

    /// When the first segment's timeout is over, counted from its last sending, in microseconds from now.
    pub(super) fn left_of_timeout(&self, pool: &RunPool, now: Instant) -> u32 {
        let sent = pool.get(self.flight.head).map_or(now, |run| run.sent);
        self.rtt.rto().saturating_sub(micros(now, sent))
    }

    fn rearm_timeout_from_head(&mut self, pool: &RunPool, now: Instant) {
        let left = self.left_of_timeout(pool, now).max(1);
        self.timer.arm(Purpose::Timeout, now, left);
    }

    /// RFC 6298 sections 5.2 and 5.3. After a probe or a wait the timeout counts from the first segment's
    /// sending, as if neither had been.
    pub(super) fn rearm_timeout(&mut self, pool: &RunPool, now: Instant) {
        if self.flight.outstanding == 0 {
            return self.timer.disarm();
        }
        match self.timer.purpose {
            Purpose::Probe | Purpose::Reordering => self.rearm_timeout_from_head(pool, now),
            _ => self.timer.arm(Purpose::Timeout, now, self.rtt.rto()),
        }
    }

    /// New data was acknowledged or the queue changed: probe if that may help, else timeout.
    pub(super) fn set_timer_after_ack(&mut self, pool: &RunPool, now: Instant) {
        if !self.arm_probe(pool, now, true) {
            self.rearm_timeout(pool, now);
        }
    }

    /// New data leaves (RFC 6298 section 5.1; RFC 8985 section 7.2).
    #[inline]
    pub(super) fn sent_timer(&mut self, pool: &RunPool, now: Instant, first: bool) {
        if self.probe.due {
            self.probe.sent(self.flight.nxt, false);
            return self.rearm_timeout(pool, now);
        }
        if first {
            self.timer.disarm();
        }
        if first || self.timer.purpose == Purpose::Probe {
            if !self.arm_probe(pool, now, first) {
                self.rearm_timeout(pool, now);
            }
        } else if self.timer.purpose == Purpose::Timeout {
            self.arm_probe(pool, now, false);
        }
    }

    /// Something is sent again.
    pub(super) fn retransmitted_timer(&mut self, pool: &RunPool, now: Instant, head: bool) {
        if self.probe.due {
            self.probe.sent(self.flight.nxt, true);
            return self.rearm_timeout(pool, now);
        }
        if head && self.timer.purpose != Purpose::Reordering {
            self.timer.arm(Purpose::Timeout, now, self.rtt.rto());
        }
    }

    /// The receiver took back what it had selectively acknowledged (RFC 2018 section 8): it is given half a
    /// round trip to explain itself, then the timer treats it as a timeout.
    pub(super) fn reneged(&mut self, pool: &RunPool, now: Instant) -> bool {
        if !pool.get(self.flight.head).is_some_and(|run| run.is(mark::SACKED)) {
            return false;
        }
        self.timer.arm(Purpose::Timeout, now, (self.rtt.srtt() / 2).max(10_000));
        true
    }
}
