//! Without SACK (RFC 5681, RFC 6582): each duplicate ACK says that one segment, which one is unknown, has left
//! the network. They are counted as if they were selectively acknowledged, so that the sums of RFC 6675 and the
//! limited transmit of RFC 3042 hold with and without SACK.

use super::Sender;
use super::info::CaState;
use super::run::{RunPool, mark};

impl Sender {
    /// A duplicate ACK.
    pub(super) fn add_duplicate(&mut self, ece: bool) {
        self.flight.sacked += 1;
        if !self.bound_duplicates() {
            self.count_delivered(1, ece);
        } else {
            self.reordered_by_segments(self.flight.outstanding);
        }
    }

    /// No more duplicates than segments that are not lost: true when there were more (the network duplicates,
    /// or reorders).
    fn bound_duplicates(&mut self) -> bool {
        let holes = self.flight.lost.max(1).min(self.flight.outstanding);
        let most = self.flight.outstanding - holes;
        let beyond = self.flight.sacked > most;
        self.flight.sacked = self.flight.sacked.min(most);
        beyond
    }

    /// `acked` segments are acknowledged: one was missing, the others had been counted as duplicates.
    pub(super) fn remove_duplicates(&mut self, acked: u32, ece: bool) {
        if acked > 0 {
            self.count_delivered(acked.saturating_sub(self.flight.sacked).max(1), ece);
            self.flight.sacked = self.flight.sacked.saturating_sub(acked - 1);
        }
        if self.bound_duplicates() {
            self.reordered_by_segments(self.flight.outstanding + acked);
        }
    }

    /// Marks the first segment lost at the third duplicate (RFC 5681 section 3.2) and at each partial
    /// acknowledgement in recovery (RFC 6582 section 3.2 step 3).
    pub(super) fn mark_first_lost(&mut self, pool: &mut RunPool, advanced: bool) {
        let state = self.episode.state;
        let third = state < CaState::Recovery && self.flight.sacked >= u32::from(self.reordering);
        let partial = state == CaState::Recovery && advanced;
        if !(third || partial) {
            return;
        }
        let place = self.flight.head;
        let Some(&run) = pool.get(place) else { return };
        if run.is(mark::LOST) {
            return;
        }
        if run.segments() > 1 && self.flight.split(pool, place, u32::from(run.unit)).is_none() {
            return; // no run to spare: the timer repairs it
        }
        self.mark_lost(pool, place);
        self.bound_duplicates();
    }
}
