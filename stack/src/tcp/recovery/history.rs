//! What only a sender knows that something happened to: a loss, a reduction, a timeout.
//!
//! ```text
//!   Sender ── history: NONE ──▶ nothing ever happened            most connections of a host with many
//!                      place ─▶ [ history ]                      from the first trouble on, to its end
//! ```
//! A host with a million connections holds room for few of these records at a time, and an idle connection that never
//! lost anything is shorter by one. Memory is reserved for as many as there are connections and touched when first
//! used, so that a record can be had whenever one is needed: nothing is allocated when a segment is lost.
//!
//! Invariant: a sender has one record at most. So a pool with as many places as senders never runs out.

use super::info::Tally;
use super::run::NONE;
use crate::tcp::Seq;

/// See the top of the file.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// `una` at the entry of the present reduction, or the last one, while it may be taken back.
    pub(super) undo_marker: Option<Seq>,
    /// Retransmissions that may have been needed; None: none was made yet.
    pub(super) doubted: Option<u32>,
    /// Window and threshold before; 0: not to be restored.
    pub(super) prior_cwnd: u32,
    pub(super) prior_ssthresh: u32,
    /// Segments delivered and sent since the entry (RFC 6937).
    pub(super) prr_delivered: u32,
    pub(super) prr_out: u32,
    pub(super) tally: Tally,
}

/// Nothing happened.
static NOTHING: History = History {
    undo_marker: None,
    doubted: None,
    prior_cwnd: 0,
    prior_ssthresh: 0,
    prr_delivered: 0,
    prr_out: 0,
    tally: Tally::NONE,
};

impl History {
    /// The handshake is over, and with it what happened to the SYN; what was counted stays.
    pub(super) fn reopen(&mut self) {
        *self = History { tally: self.tally.clone(), ..NOTHING.clone() };
    }
}

/// Where a sender's record is.
#[derive(Debug)]
pub(super) struct HistoryId(u32);

impl HistoryId {
    /// Nothing happened yet.
    pub(super) const NONE: HistoryId = HistoryId(NONE);
}

/// The records of a worker's senders.
#[derive(Debug)]
pub(super) struct Histories {
    records: Vec<History>,
    capacity: usize,
    /// Places that were given back: a stack in which the free record's `prior_cwnd` names the next.
    free: u32,
    taken: usize,
    /// What is written by a sender that has no record because there are too few, which their number rules out.
    nowhere: History,
}

impl Histories {
    /// Room for `capacity` records.
    pub(super) fn new(capacity: usize) -> Histories {
        let capacity = capacity.min(NONE as usize - 1);
        Histories {
            records: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            taken: 0,
            nowhere: NOTHING.clone(),
        }
    }

    /// Records that senders have.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// What happened to a sender.
    #[inline]
    pub(super) fn get(&self, id: &HistoryId) -> &History {
        self.records.get(id.0 as usize).unwrap_or(&NOTHING)
    }

    /// The same, if anything did.
    #[inline]
    pub(super) fn get_mut(&mut self, id: &HistoryId) -> Option<&mut History> {
        self.records.get_mut(id.0 as usize)
    }

    /// The same to write something down: the sender gets a record if it has none.
    pub(super) fn write(&mut self, id: &mut HistoryId) -> &mut History {
        if id.0 == NONE {
            id.0 = self.take();
        }
        match self.records.get_mut(id.0 as usize) {
            Some(history) => history,
            None => {
                self.nowhere = NOTHING.clone();
                &mut self.nowhere
            }
        }
    }

    fn take(&mut self) -> u32 {
        let place = self.free;
        if let Some(free) = self.records.get_mut(place as usize) {
            self.free = free.prior_cwnd;
            *free = NOTHING.clone();
            self.taken += 1;
            return place;
        }
        if self.records.len() == self.capacity {
            return NONE;
        }
        self.records.push(NOTHING.clone());
        self.taken += 1;
        self.records.len() as u32 - 1
    }

    /// The sender is gone.
    pub(super) fn give(&mut self, id: &mut HistoryId) {
        if let Some(record) = self.records.get_mut(id.0 as usize) {
            record.prior_cwnd = self.free;
            self.free = id.0;
            self.taken -= 1;
        }
        *id = HistoryId::NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_had_when_something_happens_and_a_new_sender_finds_it_empty() {
        assert!(size_of::<History>() <= 64, "a cache line");
        let mut histories = Histories::new(2);
        let (mut first, mut second) = (HistoryId::NONE, HistoryId::NONE);
        assert!(histories.get_mut(&first).is_none());
        histories.write(&mut first).prr_out = 7;
        histories.write(&mut second).prr_out = 9;
        histories.write(&mut first).tally.timeouts = 1;
        assert_eq!((histories.get(&first).prr_out, histories.get(&second).prr_out), (7, 9));
        assert_eq!(histories.taken(), 2);
        histories.give(&mut first);
        assert_eq!((histories.get(&first).prr_out, histories.taken()), (0, 1));
        let mut third = HistoryId::NONE;
        assert_eq!(histories.write(&mut third).prr_out, 0, "nothing of the one before");
        histories.write(&mut third).reopen();
        assert_eq!(histories.taken(), 2);
    }

    #[test]
    fn with_too_few_records_nothing_is_kept_and_nobody_reads_anothers() {
        let mut histories = Histories::new(1);
        let (mut first, mut second) = (HistoryId::NONE, HistoryId::NONE);
        histories.write(&mut first).prr_out = 7;
        histories.write(&mut second).prr_out = 9;
        assert_eq!((histories.get(&first).prr_out, histories.get(&second).prr_out), (7, 0));
        assert_eq!(histories.write(&mut second).prr_out, 0);
        histories.give(&mut second);
        assert_eq!(histories.taken(), 1);
    }
}
