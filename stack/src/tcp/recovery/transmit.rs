//! What leaves: new segments, retransmissions, and the two questions that the output asks before each.

use super::flight::Snapshot;
use super::run::{NONE, PoolEmpty, RunPool, mark};
use super::{CaState, Sender};
use crate::Instant;
use crate::limits::MAX_SACK_WALK;
use crate::tcp::Seq;

impl Sender {
    /// One new segment is sent: `len` bytes of sequence space (SYN and FIN count one) at `seq`, which is `nxt()`.
    /// `app_limited`: nothing more waits behind it. Call it before the segment leaves; on an error do not send.
    #[inline]
    pub fn on_sent(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        seq: Seq,
        len: u32,
        app_limited: bool,
    ) -> Result<(), PoolEmpty> {
        debug_assert_eq!(seq, self.flight.nxt, "new segments are sent in order");
        if len == 0 {
            return Ok(());
        }
        let first = self.flight.outstanding == 0;
        let (start, at) = match first {
            true => (now, now),
            false => (self.rate.flight_start, self.rate.delivered_at),
        };
        let snapshot = Snapshot {
            now,
            delivered: self.rate.delivered,
            delivered_at: at,
            flight_start: start,
            app_limited: self.rate.app_limited != 0,
        };
        let in_flight = self.flight.in_flight();
        self.flight.append(pool, len, &snapshot)?;
        if in_flight == 0 {
            let idle = now.since(self.usage.sent_at);
            self.congestion.resume(now, idle, self.rate.app_limited != 0);
        }
        (self.rate.flight_start, self.rate.delivered_at) = (start, at);
        // Within a burst the timer stands as the burst's second segment set it.
        let settled = self.usage.sent_at == now && self.flight.outstanding > 2 && !self.probe.due;
        self.usage.sent_at = now;
        if self.is_reducing() {
            pool.write_history(&mut self.history).prr_out += 1;
        }
        let in_flight = self.flight.in_flight();
        if app_limited && in_flight < self.window.cwnd && self.flight.lost <= self.flight.retransmitted {
            self.rate.app_limited = self.rate.delivered.wrapping_add(in_flight).max(1);
        }
        self.note_usage(now);
        self.pace(now, len);
        if !settled {
            self.sent_timer(pool, now, first);
        }
        Ok(())
    }

    /// One segment of what is outstanding is sent again. `len` may be less than asked for.
    pub fn on_retransmitted(&mut self, pool: &mut RunPool, now: Instant, seq: Seq, len: u32) {
        let mut budget = MAX_SACK_WALK;
        let first = self.flight.waiting.first;
        let place = match pool.get(first) {
            Some(run) if seq.is_in(run.start, run.end()) => Some(first),
            _ => self.flight.find(pool, seq, &mut budget),
        };
        let Some(place) = place else { return };
        let Some(mut run) = pool.get(place).copied() else { return };
        if run.is(mark::SACKED) || len == 0 {
            return;
        }
        let mut place = place;
        // When the pool has no run to cut with, the whole run counts as sent again: too much is then believed
        // in flight, never too little, and the timer finds out.
        if let Some(second) = self.flight.split(pool, place, seq.since(run.start)) {
            place = second;
            run = pool.get(second).copied().unwrap_or(run);
        }
        self.flight.split(pool, place, len);
        let (delivered, at, start) = (self.rate.delivered, self.rate.delivered_at, self.rate.flight_start);
        let mut count = 1;
        if let Some(run) = pool.get_mut(place) {
            // A segment that is cut shorter than it was is a segment of that size from now on.
            if len < u32::from(run.unit) && run.len == len {
                run.unit = len as u16;
                run.mark_short();
            }
            run.sent = now;
            run.delivered = delivered;
            run.delivered_at = at;
            run.flight_start = start;
            run.retransmissions = run.retransmissions.saturating_add(1);
            run.marks &= !mark::APP_LIMITED;
            run.marks |= if self.rate.app_limited != 0 { mark::APP_LIMITED } else { 0 };
            count = run.segments();
        }
        self.flight.mark(pool, place, mark::RETRANSMITTED | mark::EVER_RETRANSMITTED, 0, true);
        self.flight.join_retransmitted(pool, place);
        self.usage.sent_at = now;
        self.note_retransmission(pool, now, count, len);
        self.pace(now, len);
        self.retransmitted_timer(pool, now, run.start == self.flight.una);
    }

    /// The next segment to send again, if one is due and the window allows it now. Ask until None, reporting
    /// each by `on_retransmitted`; ask before sending new data.
    #[inline]
    pub fn next_retransmission(&self, pool: &RunPool, now: Instant) -> Option<(Seq, u32)> {
        let run = pool.get(self.flight.waiting.first)?;
        if self.episode.hold || self.flight.in_flight() >= self.window.cwnd || self.paced_segments(now) == 0 {
            return None;
        }
        Some((run.start, run.len.min(u32::from(run.unit)).min(self.segment_limit())))
    }

    /// True when something is known to be lost and was not sent again, whether the window allows it or not.
    #[inline]
    pub fn has_lost(&self) -> bool {
        self.flight.waiting.first != NONE
    }

    /// Largest piece of sequence space that is sent again in one segment: the SYN may be outstanding before the
    /// segment size is known, and a FIN takes a number that no byte needs.
    fn segment_limit(&self) -> u32 {
        u32::from(self.mss) + 1
    }

    /// How many segments of new data may be sent now, as far as congestion and pacing are concerned. Limited
    /// transmit (RFC 3042) needs nothing of its own: a duplicate or a SACK takes a segment out of the flight.
    #[inline]
    pub fn may_send(&self, now: Instant) -> u32 {
        let room = self.window.cwnd.saturating_sub(self.flight.in_flight());
        if self.probe.due {
            return room.max(1); // RFC 8985 section 7.3: the probe goes out whatever the window says
        }
        room.min(self.paced_segments(now))
    }

    /// True when a segment of new data may leave at once, and it is plain that it may: nothing waits to be sent again, no
    /// probe is due, and no rate holds anything back.
    #[inline]
    pub fn may_send_one(&self) -> bool {
        self.flight.in_flight() < self.window.cwnd
            && !self.has_lost()
            && !self.probe.due
            && !self.cwr_due
            && !self.is_paced()
    }

    /// True when fast recovery or recovery from a timeout is under way.
    pub fn is_recovering(&self) -> bool {
        self.episode.state >= CaState::Recovery
    }
}
