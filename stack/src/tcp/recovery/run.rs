//! Runs: ranges of the stream that were sent together and share their fate, and the pool they come from.
//!
//! ```text
//!   stream   ───[ run ][ run        ][run][ run            ]───▶     all are in a list by place;
//!   in flight   oldest ─▶ … ─▶ newest                                 each is in one queue, or in none when it
//!   lost        first  ─▶ … ─▶ last                                   is selectively acknowledged
//! ```
//! A run is a number of segments of one size (`unit`), of which the last may be shorter. Segments that are sent
//! at the same time join one run, and a run is split when its segments fare differently, so bulk transfer costs
//! one run a burst.

use super::history::{Histories, History, HistoryId};
use crate::Instant;
use crate::tcp::Seq;

/// No run.
pub(super) const NONE: u32 = u32::MAX;

/// The scoreboard of a run (RFC 6675 section 3, as Linux keeps it).
pub(super) mod mark {
    /// Selectively acknowledged.
    pub(in crate::tcp) const SACKED: u8 = 1;
    /// Believed lost.
    pub(in crate::tcp) const LOST: u8 = 2;
    /// Retransmitted, and the retransmission is believed in flight.
    pub(in crate::tcp) const RETRANSMITTED: u8 = 4;
    /// Was ever retransmitted (Karn's rule).
    pub(in crate::tcp) const EVER_RETRANSMITTED: u8 = 8;
    /// The application had nothing more to send: its rate sample says less than the path can.
    pub(in crate::tcp) const APP_LIMITED: u8 = 16;
    /// Its last segment is shorter than the others: nothing can be joined behind it.
    pub(in crate::tcp) const SHORT: u8 = 32;
}

/// One run: 56 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) start: Seq,
    pub(super) len: u32,
    /// Bytes of each segment but the last.
    pub(super) unit: u16,
    pub(super) marks: u8,
    /// How often it was retransmitted, up to 255.
    pub(super) retransmissions: u8,
    pub(super) next: u32,
    pub(super) previous: u32,
    /// The links of the queue it stands in: by time when in flight, by place when it waits to be sent again.
    pub(super) behind: u32,
    pub(super) ahead: u32,
    /// Segments that were delivered when it was sent (rate sample); once it is selectively acknowledged, when
    /// no sample is left to take, the number of its segments.
    pub(super) delivered: u32,
    /// When it was last sent.
    pub(super) sent: Instant,
    /// When the last of those was delivered.
    pub(super) delivered_at: Instant,
    /// When the first segment of that flight was sent.
    pub(super) flight_start: Instant,
}

/// A bounded arena of runs, shared by the connections of a worker, and the records of those that lost something. Memory is
/// touched as it is used.
#[derive(Debug)]
pub struct RunPool {
    runs: Vec<Run>,
    capacity: usize,
    free: u32,
    available: usize,
    histories: Histories,
}

impl RunPool {
    /// A pool of `capacity` runs (below 2^32 - 1) for at most as many senders.
    pub fn new(capacity: usize) -> Self {
        RunPool::for_senders(capacity, capacity)
    }

    /// A pool of `capacity` runs for at most `senders` senders.
    pub fn for_senders(capacity: usize, senders: usize) -> Self {
        let capacity = capacity.min(NONE as usize - 1);
        RunPool {
            runs: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            available: capacity,
            histories: Histories::new(senders),
        }
    }

    /// Runs that are free.
    pub fn available(&self) -> usize {
        self.available
    }

    /// Senders to which something happened.
    pub fn histories(&self) -> usize {
        self.histories.taken()
    }

    /// Runs in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a run, with `run` in it; None when none is free.
    #[inline]
    pub(super) fn take(&mut self, run: Run) -> Option<u32> {
        let place = self.free;
        if let Some(free) = self.runs.get_mut(place as usize) {
            self.free = free.next;
            *free = run;
            self.available -= 1;
            return Some(place);
        }
        if self.runs.len() == self.capacity {
            return None;
        }
        self.runs.push(run);
        self.available -= 1;
        Some(self.runs.len() as u32 - 1)
    }

    /// Gives a run back.
    #[inline]
    pub(super) fn give(&mut self, place: u32) {
        if let Some(run) = self.runs.get_mut(place as usize) {
            run.next = self.free;
            self.free = place;
            self.available += 1;
        }
    }

    /// What happened to a sender.
    #[inline]
    pub(super) fn history(&self, id: &HistoryId) -> &History {
        self.histories.get(id)
    }

    /// The same, if anything did.
    #[inline]
    pub(super) fn known_history(&mut self, id: &HistoryId) -> Option<&mut History> {
        self.histories.get_mut(id)
    }

    /// The same, to write something down.
    #[inline]
    pub(super) fn write_history(&mut self, id: &mut HistoryId) -> &mut History {
        self.histories.write(id)
    }

    /// The sender is gone.
    pub(super) fn give_history(&mut self, id: &mut HistoryId) {
        self.histories.give(id);
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&Run> {
        self.runs.get(place as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Run> {
        self.runs.get_mut(place as usize)
    }
}

/// The pool has no run left: do not send now. It passes when acknowledgements come, for anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room to remember another sent range")]
pub struct PoolEmpty;

impl Run {
    /// Segments of it.
    #[inline]
    pub(super) fn segments(&self) -> u32 {
        if self.is(mark::SACKED) { self.delivered } else { segments(self.len, self.unit) }
    }

    /// One beyond its last byte.
    #[inline]
    pub(super) fn end(&self) -> Seq {
        self.start + self.len
    }

    /// Says by its mark whether the last segment is shorter than the others.
    pub(super) fn mark_short(&mut self) {
        self.marks &= !mark::SHORT;
        self.marks |= if self.len.is_multiple_of(u32::from(self.unit.max(1))) { 0 } else { mark::SHORT };
    }

    #[inline]
    pub(super) fn is(&self, marks: u8) -> bool {
        self.marks & marks != 0
    }
}

/// Segments of `unit` bytes that `len` bytes fill, the last one perhaps partly.
#[inline]
pub(super) fn segments(len: u32, unit: u16) -> u32 {
    if len <= u32::from(unit) { u32::from(len > 0) } else { len.div_ceil(u32::from(unit.max(1))) }
}
