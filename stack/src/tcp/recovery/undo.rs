//! It was no loss (RFC 3522, RFC 4015, RFC 3708): a reduction is taken back when the ACKs show that the
//! originals arrived.
//!
//! ```text
//!   timestamps:  the ACK echoes a time before the first retransmission       (Eifel, at once)
//!   D-SACK:      every retransmission is reported as a duplicate             (a round trip later)
//!   F-RTO:       after a timeout, what was sent once and before is acknowledged
//! ```

use super::Sender;
use super::acked::Progress;
use super::info::CaState;
use super::rack::PERSIST;
use super::run::{NONE, RunPool, mark};
use crate::Instant;

impl Sender {
    /// A recovery begins: from here on retransmissions are doubted.
    pub(super) fn begin_doubt(&mut self, pool: &mut RunPool) {
        let history = pool.write_history(&mut self.history);
        history.undo_marker = Some(self.flight.una);
        history.doubted = match self.flight.retransmitted {
            0 => None,
            some => Some(some),
        };
    }

    /// The threshold before a reduction is not to be restored.
    pub(super) fn keep_no_threshold(&mut self, pool: &mut RunPool) {
        if let Some(history) = pool.known_history(&self.history) {
            history.prior_ssthresh = 0;
        }
    }

    /// A segment of `bytes` was sent again, and so were `segments` as they were cut at first.
    pub(super) fn note_retransmission(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        segments: u32,
        bytes: u32,
    ) {
        if self.episode.first_retransmission == Instant::NEVER {
            self.episode.first_retransmission = now;
        }
        self.retransmitted = self.retransmitted.wrapping_add(1);
        let reducing = self.is_reducing();
        let history = pool.write_history(&mut self.history);
        history.doubted = Some(history.doubted.unwrap_or(0).saturating_add(segments));
        history.tally.bytes_retransmitted += u64::from(bytes);
        if reducing {
            history.prr_out += 1;
        }
    }

    /// Eifel: the ACK was caused by the original (RFC 3522 section 3.2).
    fn was_only_late(&self, progress: &Progress) -> bool {
        progress.echoes_before(self.episode.first_retransmission)
    }

    fn may_undo(&self, pool: &RunPool, progress: &Progress) -> bool {
        let history = pool.history(&self.history);
        history.undo_marker.is_some() && (history.doubted == Some(0) || self.was_only_late(progress))
    }

    /// RFC 4015 section 3.2, as Linux: the window and the threshold are what they were.
    fn undo(&mut self, pool: &mut RunPool, now: Instant, not_lost: bool) {
        if not_lost {
            self.forgive(pool);
        }
        let history = pool.write_history(&mut self.history);
        history.undo_marker = None;
        let (before, ssthresh) = (history.prior_cwnd, history.prior_ssthresh);
        if ssthresh > 0 {
            self.window.cwnd = self.congestion.undone(&self.window, before).min(self.window.clamp).max(1);
            if ssthresh > self.window.ssthresh {
                self.window.ssthresh = ssthresh;
                self.withdraw_cwr();
            }
        }
        self.usage.stamp(now);
        self.rack.advanced = true; // what was forgiven may be looked at anew
        self.episode.undone = self.episode.undone.wrapping_add(1);
    }

    /// Nothing is lost: what waited to be sent again is in flight as it was.
    fn forgive(&mut self, pool: &mut RunPool) {
        let mut place = self.flight.head;
        while place != NONE {
            let Some(&run) = pool.get(place) else { return };
            if run.is(mark::LOST) {
                self.flight.mark(pool, place, 0, mark::LOST, false);
            }
            place = run.next;
        }
    }

    /// Everything up to the entry is acknowledged. True: not yet safe to leave (without SACK, RFC 6582
    /// section 4: duplicates of what was sent twice may still come).
    pub(super) fn leave_recovery(&mut self, pool: &mut RunPool, now: Instant, progress: &Progress) -> bool {
        if self.may_undo(pool, progress) {
            self.undo(pool, now, false);
        } else {
            self.rack.persist = self.rack.persist.saturating_sub(1);
        }
        if self.must_stay(pool) {
            return true;
        }
        self.episode.state = CaState::Open;
        false
    }

    /// RFC 6582 section 4.1.
    fn must_stay(&mut self, pool: &RunPool) -> bool {
        if self.agreed.sack || self.flight.una != self.episode.high || self.flight.outstanding == 0 {
            return false;
        }
        if !self.any_retransmitted(pool) {
            self.episode.first_retransmission = Instant::NEVER;
        }
        true
    }

    /// Every retransmission was reported as a duplicate (RFC 3708).
    pub(super) fn undo_by_dsack(&mut self, pool: &mut RunPool, now: Instant) -> bool {
        let history = pool.history(&self.history);
        if history.undo_marker.is_some() && history.doubted == Some(0) {
            self.rack.persist = (self.rack.persist + 1).min(PERSIST);
            self.undo(pool, now, false);
            return true;
        }
        false
    }

    /// A partial acknowledgement in fast recovery that the original caused: it was reordering.
    pub(super) fn undo_partial(&mut self, pool: &mut RunPool, now: Instant, progress: &Progress) -> bool {
        if pool.history(&self.history).undo_marker.is_none() || !self.was_only_late(progress) {
            return false;
        }
        self.reordered_from(progress.prior_una);
        if self.flight.retransmitted > 0 {
            return true; // wait for what was sent again: undo when it is certain
        }
        if !self.any_retransmitted(pool) {
            self.episode.first_retransmission = Instant::NEVER;
        }
        self.undo(pool, now, true);
        self.keep_open(pool);
        true
    }

    /// After a timeout; `certain` says that F-RTO knows it was spurious.
    pub(super) fn undo_loss(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        progress: &Progress,
        certain: bool,
    ) -> bool {
        if !certain && !self.may_undo(pool, progress) {
            return false;
        }
        self.undo(pool, now, true);
        self.timeouts = 0;
        self.timeouts_over(pool, now);
        if self.must_stay(pool) {
            return true;
        }
        if certain || self.agreed.sack {
            self.episode.state = CaState::Open;
        }
        true
    }

    /// Something outstanding was sent again.
    pub(super) fn any_retransmitted(&self, pool: &RunPool) -> bool {
        self.flight.retransmitted > 0
            || pool.get(self.flight.head).is_some_and(|run| run.is(mark::EVER_RETRANSMITTED))
    }
}
