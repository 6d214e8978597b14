//! Selective acknowledgements (RFC 2018, RFC 2883): which runs arrived. A SACK is advice from a stranger: it is
//! taken by whole segments, each ACK's blocks may walk a bounded number of runs, and what makes no sense is
//! ignored.

use super::Sender;
use super::ack::Ack;
use super::acked::Progress;
use super::flight::Flight;
use super::info::CaState;
use super::run::{Run, RunPool, mark};
use crate::Instant;
use crate::limits::MAX_SACK_WALK;
use crate::tcp::Seq;

/// Most blocks that fit into the options of one segment (RFC 2018 section 3).
const MAX_BLOCKS: usize = 4;

impl Sender {
    /// One beyond the highest selectively acknowledged byte; `una` when there is none.
    #[inline]
    pub(super) fn highest_sacked(&self) -> Seq {
        if self.agreed.sack && self.flight.sacked > 0 {
            self.episode.highest.max(self.flight.una)
        } else {
            self.flight.una
        }
    }

    /// Marks what the blocks of an ACK report.
    pub(super) fn sacked(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        ack: &Ack<'_>,
        progress: &mut Progress,
    ) {
        if let Some((start, end)) = ack.dsack {
            self.dsack_seen(pool, start, end, progress);
        }
        // Lowest first, so that what arrived out of order is seen against what is below it.
        let mut blocks = [(Seq(0), Seq(0)); MAX_BLOCKS];
        let mut count = 0;
        for &(start, end) in ack.sacks.iter().take(MAX_BLOCKS) {
            // A block at or below the acknowledgement contradicts it.
            if start.before(end) && start.after(self.flight.una) && end.at_or_before(self.flight.nxt) {
                blocks[count] = (start, end);
                count += 1;
            }
        }
        let blocks = &mut blocks[..count];
        blocks.sort_unstable_by_key(|block| block.0 - progress.prior_una);
        let mut budget = MAX_SACK_WALK;
        for &(start, end) in blocks.iter() {
            self.block(pool, now, start, end, progress, &mut budget);
        }
        if progress.sacked
            && (self.episode.state != CaState::Loss || pool.history(&self.history).undo_marker.is_some())
        {
            self.reordered_from(progress.reordered);
        }
    }

    /// One block.
    fn block(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        start: Seq,
        end: Seq,
        progress: &mut Progress,
        budget: &mut u32,
    ) {
        let Some(mut place) = self.flight.find(pool, start, budget) else { return };
        while let Some(&run) = pool.get(place) {
            if run.start.at_or_after(end) {
                return;
            }
            let next = run.next;
            if !run.is(mark::SACKED)
                && let Some(covered) = cut(&mut self.flight, pool, place, &run, start, end)
            {
                self.sack_run(pool, now, covered, progress);
                place = self.flight.join_sacked(pool, covered);
                self.flight.cursor = place;
                place = pool.get(place).map_or(next, |run| run.next);
            } else {
                place = next;
            }
            if *budget == 0 {
                return;
            }
            *budget -= 1;
        }
    }

    /// A whole run arrived.
    fn sack_run(&mut self, pool: &mut RunPool, now: Instant, place: u32, progress: &mut Progress) {
        let Some(&run) = pool.get(place) else { return };
        let again = run.is(mark::EVER_RETRANSMITTED);
        if !(again && progress.echoes_before(run.sent)) {
            self.rack_delivered(now, run.sent, run.end(), again);
        }
        if !again {
            if run.start.before(self.highest_sacked()) {
                progress.reordered = progress.reordered.min(run.start);
            }
            progress.original |= run.end().at_or_before(self.episode.high);
            progress.sacked_first = progress.sacked_first.or(Some(run.sent));
            progress.sacked_last = Some(run.sent);
        }
        self.sample_run(&mut progress.sample, &run, run.end());
        self.episode.highest = self.highest_sacked().max(run.end());
        self.count_delivered(run.segments(), progress.ece);
        self.flight.mark(pool, place, mark::SACKED, mark::LOST | mark::RETRANSMITTED, false);
        progress.sacked = true;
    }

    /// A duplicate arrived at the receiver (RFC 2883). Every retransmission that turns out to be one is
    /// subtracted from those that may have been needed (RFC 3708), and says that RACK waits too short a time.
    fn dsack_seen(&mut self, pool: &mut RunPool, start: Seq, end: Seq, progress: &mut Progress) {
        if !start.before(end) || end.after(self.flight.nxt) {
            return;
        }
        let segments = end.since(start).div_ceil(u32::from(self.mss));
        let Some(history) = pool.known_history(&self.history) else { return };
        if history.tally.dsack_duplicates.saturating_add(segments) > self.retransmitted {
            return; // more duplicates than retransmissions: the network, or a forger, made them
        }
        history.tally.dsack_duplicates += segments;
        progress.dsack = true;
        progress.dsack_of_probe = self.probe.high() == Some(end);
        if self.reordering_seen > 0 && !progress.dsack_of_probe {
            self.rack.dsack_seen = true;
        }
        if let (Some(marker), Some(doubted)) = (history.undo_marker, history.doubted)
            && end.after(marker)
        {
            history.doubted = Some(doubted.saturating_sub(segments));
        }
    }

    /// Something that was sent once arrived after what lies behind it: measures the reordering in segments
    /// (RFC 4737 extent, RFC 8985 section 6.2 step 3).
    pub(super) fn reordered_from(&mut self, low: Seq) {
        let high = self.highest_sacked();
        if !low.before(high) {
            return;
        }
        let segments = high.since(low).div_ceil(u32::from(self.mss));
        if segments > u32::from(self.reordering) {
            self.reordering = u16::try_from(segments).unwrap_or(u16::MAX).min(self.max_reordering);
        }
        self.reordering_seen = self.reordering_seen.saturating_add(1);
    }

    /// The same when it can only be counted in segments.
    pub(super) fn reordered_by_segments(&mut self, segments: u32) {
        self.reordering =
            u16::try_from(segments).unwrap_or(u16::MAX).clamp(self.reordering, self.max_reordering);
        self.reordering_seen = self.reordering_seen.saturating_add(1);
    }
}

/// Cuts the whole segments between `start` and `end` out of a run; gives their place. None when no whole
/// segment is covered (a receiver that splits segments must not split the scoreboard into bytes), or when the
/// pool has no run to cut with.
fn cut(flight: &mut Flight, pool: &mut RunPool, place: u32, run: &Run, start: Seq, end: Seq) -> Option<u32> {
    let unit = u32::from(run.unit.max(1));
    let from = start.since(run.start).div_ceil(unit) * unit;
    let to = match end.at_or_after(run.end()) {
        true => run.len,
        false => end.since(run.start) / unit * unit,
    };
    if from >= to {
        return None;
    }
    let mut covered = place;
    if from > 0 {
        covered = flight.split(pool, place, from)?;
    }
    if to < run.len {
        flight.split(pool, covered, to - from)?;
    }
    Some(covered)
}
