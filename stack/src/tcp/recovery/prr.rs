//! Proportional rate reduction (RFC 6937): in recovery the window goes down to the threshold smoothly, a share
//! of a segment for each one delivered, instead of a pause of half a round trip and then a burst.
//!
//! ```text
//!   in flight > ssthresh:  sent may be  delivered × ssthresh / window before       (proportional)
//!   in flight ≤ ssthresh:  sent may be  what was delivered, one more when no further loss shows (slow start)
//! ```

use super::Sender;
use super::info::CaState;
use super::run::RunPool;
use crate::tcp::congestion::window::NO_THRESHOLD;

impl Sender {
    /// A reduction begins: by loss, an ECN echo or a repaired tail loss.
    pub(super) fn begin_reduction(&mut self, pool: &mut RunPool) {
        self.episode.high = self.flight.nxt;
        self.probe.forget();
        self.window.counted = 0;
        let history = pool.write_history(&mut self.history);
        history.prior_cwnd = self.window.cwnd;
        (history.prr_delivered, history.prr_out) = (0, 0);
        let recovering = self.episode.state >= CaState::Recovery;
        self.window.ssthresh = self.congestion.ssthresh(&self.window, recovering);
        self.queue_cwr();
    }

    /// An ACK within it (RFC 6937 section 3, with the bound that RFC 9937 made of the two).
    pub(super) fn reduce(&mut self, pool: &mut RunPool, delivered: u32, lost: u32, advanced: bool) {
        let Some(history) = pool.known_history(&self.history) else { return };
        if delivered == 0 || history.prior_cwnd == 0 {
            return;
        }
        let in_flight = self.flight.in_flight();
        history.prr_delivered = history.prr_delivered.saturating_add(delivered);
        let send = if in_flight > self.window.ssthresh {
            let share = u64::from(self.window.ssthresh) * u64::from(history.prr_delivered);
            let share = share.div_ceil(u64::from(history.prior_cwnd));
            u32::try_from(share).unwrap_or(u32::MAX).saturating_sub(history.prr_out)
        } else {
            let owed = history.prr_delivered.saturating_sub(history.prr_out).max(delivered);
            let extra = u32::from(advanced && lost == 0);
            (owed + extra).min(self.window.ssthresh - in_flight)
        };
        // The first loss is repaired at once (RFC 6937 section 3.1: fast retransmit).
        let send = send.max(u32::from(history.prr_out == 0));
        self.window.cwnd = in_flight.saturating_add(send).min(self.window.clamp).max(1);
    }

    /// The reduction is over: the window is the threshold (RFC 6937 section 3).
    pub(super) fn end_reduction(&mut self, pool: &RunPool, now: crate::Instant) {
        if self.congestion.rules_itself() {
            return;
        }
        let due = self.episode.state == CaState::Cwr || pool.history(&self.history).undo_marker.is_some();
        if self.window.ssthresh != NO_THRESHOLD && due {
            self.window.cwnd = self.window.ssthresh.max(1);
            self.usage.stamp(now);
        }
    }
}
