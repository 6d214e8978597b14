//! RACK (RFC 8985 section 6): a segment is lost when one that was sent *later* has been delivered and enough
//! time for reordering has passed since. Time of sending, not sequence numbers, so lost retransmissions are
//! found as well.
//!
//! ```text
//!   sent:  a   b   c                 b is lost at: time b was sent + RTT + reordering window
//!   SACK:          ✓ ─▶ RACK = (time c was sent, RTT of c)
//! ```
//! The reordering window is nothing while no reordering was ever seen and the duplicates reach the threshold, a
//! quarter of the smallest round trip otherwise, and grows by as much with each D-SACK that shows a spurious
//! retransmission, up to the smoothed round trip.

use super::acked::Progress;
use super::run::{RunPool, mark};
use super::timer::Purpose;
use super::tlp::LEAST_MICROS;
use super::{CaState, Sender};
use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::rtt::micros;

/// Recoveries without a D-SACK after which the window is small again (RFC 8985 section 6.2 step 4).
pub(super) const PERSIST: u8 = 16;

/// The wait for what is reordered ends on a tick of 250 Hz: what is due at about the same time is found lost at once
/// (as Linux's timers have it at that rate).
const TICK_MICROS: u32 = 4_000;

#[derive(Debug)]
pub(super) struct Rack {
    /// The most recently sent segment that was delivered: when it was sent and where it ends.
    pub(super) sent: Instant,
    end: Seq,
    /// Its round trip in microseconds.
    pub(super) rtt: u32,
    /// `delivered` when the window was last adapted: at most once a round trip.
    adapted: u32,
    /// The window in quarters of the smallest round trip.
    steps: u8,
    pub(super) persist: u8,
    pub(super) dsack_seen: bool,
    /// Something newer was delivered since losses were last looked for.
    pub(super) advanced: bool,
}

impl Rack {
    pub(super) fn new(first: Seq) -> Rack {
        Rack {
            sent: Instant::ZERO,
            end: first,
            rtt: 0,
            adapted: 0,
            steps: 1,
            persist: 0,
            dsack_seen: false,
            advanced: false,
        }
    }

    /// A segment that ends at `end` was delivered `rtt` microseconds after it was sent.
    #[inline]
    pub(super) fn delivered(&mut self, sent: Instant, end: Seq, rtt: u32) {
        self.advanced = true;
        self.rtt = rtt;
        if sent > self.sent || sent == self.sent && end.after(self.end) {
            self.sent = sent;
            self.end = end;
        }
    }

    /// No D-SACK came for long: the window is small again.
    #[inline]
    pub(super) fn forget_steps(&mut self) {
        self.steps = 1;
    }

    /// RFC 8985 section 6.1: sent later, or at the same time and behind.
    #[inline]
    fn is_later_than(&self, sent: Instant, end: Seq) -> bool {
        self.sent > sent || self.sent == sent && self.end.after(end)
    }
}

impl Sender {
    /// RFC 8985 section 6.2 step 2: a segment was delivered.
    #[inline]
    pub(super) fn rack_delivered(&mut self, now: Instant, sent: Instant, end: Seq, retransmitted: bool) {
        let rtt = micros(now, sent);
        if retransmitted && self.rtt.smallest().is_some_and(|smallest| rtt < smallest) {
            return; // too soon for the retransmission: the original arrived
        }
        self.rack.delivered(sent, end, rtt);
    }

    /// RFC 8985 section 6.2 step 4: the reordering window in microseconds.
    fn reordering_window(&self) -> u32 {
        if self.reordering_seen == 0 {
            let enough = self.flight.sacked >= u32::from(self.reordering);
            if self.episode.state >= CaState::Recovery || enough {
                return 0;
            }
        }
        let step = self.rtt.smallest().unwrap_or(0) / 4;
        step.saturating_mul(u32::from(self.rack.steps)).min(self.rtt.srtt())
    }

    /// How long a segment sent at `sent` is still given, in microseconds; 0: it is lost.
    fn time_left(&self, now: Instant, sent: Instant, window: u32) -> u32 {
        self.rack.rtt.saturating_add(window).saturating_sub(micros(now, sent))
    }

    /// RFC 8985 section 6.2 step 5: marks what is lost, in the order of sending, and stops at the first that is
    /// given more time; gives how long, in microseconds.
    pub(super) fn detect_losses(&mut self, pool: &mut RunPool, now: Instant) -> Option<u32> {
        let window = self.reordering_window();
        while let Some(&run) = pool.get(self.flight.timed.first) {
            // A run that was sent together with the one delivered last may reach beyond it: its part before it.
            if !self.rack.is_later_than(run.sent, run.end()) {
                break;
            }
            let left = self.time_left(now, run.sent, window);
            if left > 0 {
                return Some((left.min(u32::MAX / 2) + LEAST_MICROS).next_multiple_of(TICK_MICROS));
            }
            self.mark_lost(pool, self.flight.timed.first);
        }
        None
    }

    /// Looks for losses if something newer was delivered; arms the timer when some are given more time. True
    /// when the timer was armed.
    pub(super) fn rack_mark_lost(&mut self, pool: &mut RunPool, now: Instant) -> bool {
        if !core::mem::take(&mut self.rack.advanced) {
            return false;
        }
        match self.detect_losses(pool, now) {
            Some(wait) => {
                self.timer.arm(Purpose::Reordering, now, wait);
                true
            }
            None => false,
        }
    }

    /// After a timeout, what was sent too recently to be lost keeps its chance (RFC 8985 section 6.3).
    pub(super) fn is_young(&self, now: Instant, sent: Instant) -> bool {
        self.time_left(now, sent, 0) > 0
    }

    /// RFC 8985 section 6.2 step 4: adapts the window to D-SACKs, once a round trip.
    pub(super) fn adapt_reordering(&mut self, progress: &Progress) {
        if !progress.sample.is_some() {
            return;
        }
        if (progress.sample.prior_delivered.wrapping_sub(self.rack.adapted) as i32) < 0 {
            self.rack.dsack_seen = false; // less than a round trip ago
        }
        if self.rack.dsack_seen {
            self.rack.steps = self.rack.steps.saturating_add(1);
            self.rack.dsack_seen = false;
            self.rack.adapted = self.rate.delivered;
            self.rack.persist = PERSIST;
        } else if self.rack.persist == 0 {
            self.rack.forget_steps();
        }
    }

    /// A run is lost: whichever of its sendings was in flight is so no longer.
    pub(super) fn mark_lost(&mut self, pool: &mut RunPool, place: u32) {
        let Some(&run) = pool.get(place) else { return };
        if run.is(mark::SACKED) || run.is(mark::LOST) && !run.is(mark::RETRANSMITTED) {
            return;
        }
        self.lost = self.lost.wrapping_add(run.segments());
        self.flight.mark(pool, place, mark::LOST, mark::RETRANSMITTED, false);
    }
}
