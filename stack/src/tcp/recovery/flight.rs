//! The flight: what is sent and not acknowledged, as runs, with the counts that congestion control lives on.
//!
//! ```text
//!   una                                                              nxt
//!    ▼                                                                ▼
//!    [ lost ][ sacked ][ lost, sent again ][ sacked ][ in flight ……… ]
//!       │                     │                           │
//!     lost queue           time queue ◀───────────────────┘   (oldest sending first)
//! ```
//! Invariants
//! 1. The runs lie end to end from `una` to `nxt`.
//! 2. A run is in the lost queue when it is lost and not sent again, in no queue when it is selectively
//!    acknowledged, and otherwise in the queue by time. Its marks alone say which.
//! 3. The four counts are the sums over the runs (`sacked` without SACK is counted from duplicates instead).
//! 4. in flight = outstanding - selectively acknowledged - lost + sent again (RFC 6675's pipe, as Linux has it).

use super::run::{NONE, PoolEmpty, Run, RunPool, mark};
use crate::Instant;
use crate::limits::MAX_LOST_QUEUE_WALK;
use crate::tcp::Seq;

/// A queue through the links `ahead` and `behind`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    pub(super) first: u32,
    last: u32,
}

impl Queue {
    const EMPTY: Queue = Queue { first: NONE, last: NONE };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Timed,
    Lost,
    Neither,
}

/// Invariant 2.
#[inline]
const fn which(marks: u8) -> Which {
    match marks & (mark::SACKED | mark::LOST | mark::RETRANSMITTED) {
        mark::LOST => Which::Lost,
        marks if marks & mark::SACKED != 0 => Which::Neither,
        _ => Which::Timed,
    }
}

/// See the top of the file. Counts are in segments.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    pub(super) head: u32,
    pub(super) tail: u32,
    /// The run where the last SACK block was found: the next one is near.
    pub(super) cursor: u32,
    pub(super) timed: Queue,
    pub(super) waiting: Queue,
    pub(super) outstanding: u32,
    pub(super) sacked: u32,
    pub(super) lost: u32,
    pub(super) retransmitted: u32,
}

/// What a run remembers of the moment of its sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) now: Instant,
    pub(super) delivered: u32,
    pub(super) delivered_at: Instant,
    pub(super) flight_start: Instant,
    pub(super) app_limited: bool,
}

/// What an acknowledgement took from the head of the flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// The run as it was.
    pub(super) run: Run,
    /// Segments that were acknowledged with their last byte.
    pub(super) segments: u32,
    /// One beyond the last acknowledged byte of it.
    pub(super) end: Seq,
}

impl Flight {
    pub(super) const fn new(first: Seq) -> Flight {
        Flight {
            una: first,
            nxt: first,
            head: NONE,
            tail: NONE,
            cursor: NONE,
            timed: Queue::EMPTY,
            waiting: Queue::EMPTY,
            outstanding: 0,
            sacked: 0,
            lost: 0,
            retransmitted: 0,
        }
    }

    /// Invariant 4.
    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        (self.outstanding + self.retransmitted).saturating_sub(self.sacked + self.lost)
    }

    /// One segment more at the end.
    #[inline]
    pub(super) fn append(&mut self, pool: &mut RunPool, len: u32, at: &Snapshot) -> Result<(), PoolEmpty> {
        if !self.joined(pool, len, at) {
            let run = Run {
                start: self.nxt,
                len,
                unit: u16::try_from(len).unwrap_or(u16::MAX),
                marks: if at.app_limited { mark::APP_LIMITED } else { 0 },
                retransmissions: 0,
                next: NONE,
                previous: self.tail,
                behind: NONE,
                ahead: NONE,
                delivered: at.delivered,
                sent: at.now,
                delivered_at: at.delivered_at,
                flight_start: at.flight_start,
            };
            let place = pool.take(run).ok_or(PoolEmpty)?;
            self.outstanding += run.segments();
            match pool.get_mut(self.tail) {
                Some(tail) => tail.next = place,
                None => self.head = place,
            }
            self.tail = place;
            self.push_timed(pool, place);
        }
        self.nxt += len;
        Ok(())
    }

    /// Joins a segment to the last run, when that was sent at the same time and ends with a full segment.
    #[inline]
    fn joined(&mut self, pool: &mut RunPool, len: u32, at: &Snapshot) -> bool {
        const BARE: u8 = !mark::APP_LIMITED;
        let Some(tail) = pool.get_mut(self.tail) else { return false };
        let unit = u32::from(tail.unit);
        if tail.marks & BARE != 0 || tail.sent != at.now || tail.delivered != at.delivered || len > unit {
            return false;
        }
        tail.len += len;
        tail.marks |= if len < unit { mark::SHORT } else { 0 };
        tail.marks |= if at.app_limited { mark::APP_LIMITED } else { 0 };
        self.outstanding += 1;
        true
    }

    /// Cuts a run in two at `offset` bytes (within it); gives the second part's place. None when the pool is
    /// empty: the run stays whole. A run that is selectively acknowledged is never cut.
    pub(super) fn split(&mut self, pool: &mut RunPool, place: u32, offset: u32) -> Option<u32> {
        let whole = *pool.get(place)?;
        if offset == 0 || offset >= whole.len || whole.is(mark::SACKED) {
            return None;
        }
        let mut second = whole;
        second.start = whole.start + offset;
        second.len = whole.len - offset;
        second.previous = place;
        second.ahead = place;
        second.mark_short();
        let after = pool.take(second)?;
        let first = pool.get_mut(place)?;
        first.len = offset;
        first.next = after;
        first.behind = after;
        first.mark_short();
        let more = first.segments() + second.segments() - whole.segments(); // an odd cut makes one more
        self.outstanding += more;
        self.lost += if whole.is(mark::LOST) { more } else { 0 };
        self.retransmitted += if whole.is(mark::RETRANSMITTED) { more } else { 0 };
        match pool.get_mut(whole.next) {
            Some(next) => next.previous = after,
            None => self.tail = after,
        }
        match pool.get_mut(whole.behind) {
            Some(behind) => behind.ahead = after,
            None => self.queue(which(whole.marks)).last = after,
        }
        Some(after)
    }

    #[inline]
    fn queue(&mut self, which: Which) -> &mut Queue {
        if which == Which::Lost { &mut self.waiting } else { &mut self.timed }
    }

    /// Changes a run's marks, and with them the counts and the queue it stands in. A run that is sent again
    /// goes to the end of the queue by time, `again`, even from there.
    #[inline]
    pub(super) fn mark(&mut self, pool: &mut RunPool, place: u32, set: u8, clear: u8, again: bool) {
        let Some(run) = pool.get_mut(place) else { return };
        let (old, count) = (run.marks, run.segments());
        let new = old & !clear | set;
        let (from, to) = (which(old), which(new));
        run.marks = new;
        if (old ^ new) & mark::SACKED != 0 {
            // From here on the count stands in the place of the rate sample, or no longer does.
            run.delivered = count;
        }
        for (bit, sum) in [
            (mark::SACKED, &mut self.sacked),
            (mark::LOST, &mut self.lost),
            (mark::RETRANSMITTED, &mut self.retransmitted),
        ] {
            if (old ^ new) & bit != 0 {
                *sum = if new & bit != 0 { *sum + count } else { sum.saturating_sub(count) };
            }
        }
        if from != to || again {
            self.unlink(pool, place, from);
            match to {
                Which::Timed if again => self.push_timed(pool, place),
                Which::Timed => self.put_back_timed(pool, place),
                Which::Lost => self.push_lost(pool, place),
                Which::Neither => {}
            }
        }
    }

    #[inline]
    fn unlink(&mut self, pool: &mut RunPool, place: u32, from: Which) {
        if from == Which::Neither {
            return;
        }
        let Some(&Run { ahead, behind, .. }) = pool.get(place) else { return };
        match pool.get_mut(ahead) {
            Some(run) => run.behind = behind,
            None => self.queue(from).first = behind,
        }
        match pool.get_mut(behind) {
            Some(run) => run.ahead = ahead,
            None => self.queue(from).last = ahead,
        }
    }

    /// Puts a run into a queue behind `ahead` ([`NONE`]: at the front).
    #[inline]
    fn link(&mut self, pool: &mut RunPool, place: u32, ahead: u32, to: Which) {
        let behind = match pool.get_mut(ahead) {
            Some(run) => core::mem::replace(&mut run.behind, place),
            None => core::mem::replace(&mut self.queue(to).first, place),
        };
        match pool.get_mut(behind) {
            Some(run) => run.ahead = place,
            None => self.queue(to).last = place,
        }
        if let Some(run) = pool.get_mut(place) {
            (run.ahead, run.behind) = (ahead, behind);
        }
    }

    /// It was sent now: nothing is younger.
    #[inline]
    fn push_timed(&mut self, pool: &mut RunPool, place: u32) {
        let last = self.timed.last;
        self.link(pool, place, last, Which::Timed);
    }

    /// It is taken for lost no longer: it goes to its place by the time of its sending. Such runs come in the
    /// order of the stream, which is almost that of time, so the search begins where the last one was put (its
    /// neighbour before in the stream, if that is in the queue). It is bounded: beyond that the order is only
    /// nearly that of time, and RACK looks at a run a little late.
    fn put_back_timed(&mut self, pool: &mut RunPool, place: u32) {
        let Some(&Run { sent, previous, .. }) = pool.get(place) else { return };
        let mut ahead = match pool.get(previous) {
            Some(before) if which(before.marks) == Which::Timed => previous,
            _ => NONE,
        };
        for _ in 0..MAX_LOST_QUEUE_WALK {
            match pool.get(ahead) {
                Some(run) if run.sent > sent => ahead = run.ahead,
                _ => break,
            }
        }
        for _ in 0..MAX_LOST_QUEUE_WALK {
            let next = pool.get(ahead).map_or(self.timed.first, |run| run.behind);
            match pool.get(next) {
                Some(run) if run.sent < sent => ahead = next,
                _ => break,
            }
        }
        self.link(pool, place, ahead, Which::Timed);
    }

    /// Lost runs are sent again in the order of the stream (RFC 6675 section 4, NextSeg rule 1). A neighbour in
    /// the stream that waits already shows the place; otherwise the search is bounded, and a run may be sent
    /// again a little late. [`Flight::order_waiting`] puts the queue in order after a timeout.
    fn push_lost(&mut self, pool: &mut RunPool, place: u32) {
        let Some(&Run { start, previous, next, .. }) = pool.get(place) else { return };
        if pool.get(self.waiting.first).is_none_or(|first| start.before(first.start)) {
            return self.link(pool, place, NONE, Which::Lost);
        }
        let waits = |at: u32| pool.get(at).filter(|run| which(run.marks) == Which::Lost);
        if waits(previous).is_some() {
            return self.link(pool, place, previous, Which::Lost);
        }
        if let Some(next) = waits(next) {
            let ahead = next.ahead;
            return self.link(pool, place, ahead, Which::Lost);
        }
        let mut ahead = self.waiting.last;
        for _ in 0..MAX_LOST_QUEUE_WALK {
            match pool.get(ahead) {
                Some(run) if start.before(run.start) => ahead = run.ahead,
                _ => break,
            }
        }
        self.link(pool, place, ahead, Which::Lost);
    }

    /// Puts the lost queue into the order of the stream, by a walk over the whole flight: the first segment
    /// must be the first that a timeout repairs, or nothing is ever acknowledged.
    pub(super) fn order_waiting(&mut self, pool: &mut RunPool) {
        self.waiting = Queue::EMPTY;
        let mut place = self.head;
        while let Some(&run) = pool.get(place) {
            if which(run.marks) == Which::Lost {
                let last = self.waiting.last;
                self.link(pool, place, last, Which::Lost);
            }
            place = run.next;
        }
    }

    /// Joins run `second` to `first`, which lies before it; both are selectively acknowledged.
    fn absorb(&mut self, pool: &mut RunPool, first: u32, second: u32) {
        let Some(&gone) = pool.get(second) else { return };
        if let Some(run) = pool.get_mut(first) {
            run.len += gone.len;
            run.delivered += gone.delivered;
            run.marks |= gone.marks;
            run.next = gone.next;
        }
        match pool.get_mut(gone.next) {
            Some(next) => next.previous = first,
            None => self.tail = first,
        }
        if self.cursor == second {
            self.cursor = first;
        }
        pool.give(second);
    }

    /// A run was just selectively acknowledged: joins it with its neighbours that are. Gives its place now.
    pub(super) fn join_sacked(&mut self, pool: &mut RunPool, place: u32) -> u32 {
        let Some(&Run { previous, next, .. }) = pool.get(place) else { return place };
        if pool.get(next).is_some_and(|run| run.is(mark::SACKED)) {
            self.absorb(pool, place, next);
        }
        if pool.get(previous).is_some_and(|run| run.is(mark::SACKED)) {
            self.absorb(pool, previous, place);
            return previous;
        }
        place
    }

    /// A retransmitted run joins the one before it when that was sent again at the same time.
    pub(super) fn join_retransmitted(&mut self, pool: &mut RunPool, place: u32) {
        let Some(&run) = pool.get(place) else { return };
        let Some(&before) = pool.get(run.previous) else { return };
        let same = mark::SACKED | mark::LOST | mark::RETRANSMITTED | mark::EVER_RETRANSMITTED;
        if before.sent == run.sent
            && before.unit == run.unit
            && before.delivered == run.delivered
            && before.retransmissions == run.retransmissions
            && before.marks & same == run.marks & same
            && !before.is(mark::SHORT | mark::SACKED)
        {
            self.unlink(pool, place, Which::Timed);
            let count = before.delivered;
            self.absorb(pool, run.previous, place);
            if let Some(joined) = pool.get_mut(run.previous) {
                joined.delivered = count;
            }
        }
    }

    /// Selectively acknowledged runs turn out not to be kept by the receiver: the run is in segments of `unit`
    /// bytes again, without a rate sample, in flight.
    pub(super) fn renege(&mut self, pool: &mut RunPool, place: u32, unit: u16, delivered: u32) {
        let Some(run) = pool.get_mut(place) else { return };
        if !run.is(mark::SACKED) {
            return;
        }
        let old = run.segments();
        run.unit = unit.max(1);
        run.marks &= !mark::SACKED;
        run.mark_short();
        run.delivered = delivered;
        let new = run.segments();
        self.sacked = self.sacked.saturating_sub(old);
        self.outstanding = self.outstanding.saturating_sub(old) + new;
        self.put_back_timed(pool, place);
    }

    /// Takes what `ack` acknowledges from the first run; None when that is not (or no longer) touched. Ask
    /// until None.
    #[inline]
    pub(super) fn take_acked(&mut self, pool: &mut RunPool, ack: Seq) -> Option<Taken> {
        let place = self.head;
        let mut run = *pool.get(place)?;
        if ack.at_or_before(run.start) {
            return None;
        }
        if run.end().at_or_before(ack) {
            let count = run.segments();
            self.forget(&run, count);
            self.unlink(pool, place, which(run.marks));
            self.head = run.next;
            match pool.get_mut(run.next) {
                Some(next) => next.previous = NONE,
                None => self.tail = NONE,
            }
            if self.cursor == place {
                self.cursor = run.next;
            }
            pool.give(place);
            return Some(Taken { run, segments: count, end: run.end() });
        }
        self.take_part(pool, place, &mut run, ack)
    }

    /// Gives back the only run: all of it is acknowledged, and it has no mark that says which queue it stands in but
    /// the one by time.
    #[inline]
    pub(super) fn take_only(&mut self, pool: &mut RunPool) {
        let place = self.head;
        (self.head, self.tail, self.timed) = (NONE, NONE, Queue::EMPTY);
        if self.cursor == place {
            self.cursor = NONE;
        }
        self.outstanding = 0;
        pool.give(place);
    }

    /// The ACK ends within the first run. What is left of a segment that it ends in stays a segment of its own,
    /// so that the ones behind it keep their borders.
    #[cold]
    fn take_part(&mut self, pool: &mut RunPool, place: u32, run: &mut Run, ack: Seq) -> Option<Taken> {
        let before = *run;
        let offset = ack.since(run.start);
        if !run.is(mark::SACKED) {
            let unit = u32::from(run.unit.max(1));
            let border = offset.next_multiple_of(unit);
            if border != offset && border < run.len && self.split(pool, place, border).is_some() {
                *run = *pool.get(place)?;
            }
        }
        let old = run.segments();
        run.start = ack;
        run.len -= offset;
        run.mark_short();
        let left = match run.is(mark::SACKED) {
            true => (old.saturating_sub(offset.div_ceil(u32::from(run.unit.max(1))))).max(1),
            false => run.segments(),
        };
        if run.is(mark::SACKED) {
            run.delivered = left;
        }
        let gone = old.saturating_sub(left);
        self.forget(run, gone);
        *pool.get_mut(place)? = *run;
        Some(Taken { run: before, segments: gone, end: ack })
    }

    /// Takes segments of a run out of the counts.
    #[inline]
    fn forget(&mut self, run: &Run, count: u32) {
        self.outstanding = self.outstanding.saturating_sub(count);
        if run.marks & (mark::SACKED | mark::LOST | mark::RETRANSMITTED) != 0 {
            self.sacked = self.sacked.saturating_sub(if run.is(mark::SACKED) { count } else { 0 });
            self.lost = self.lost.saturating_sub(if run.is(mark::LOST) { count } else { 0 });
            self.retransmitted =
                self.retransmitted.saturating_sub(if run.is(mark::RETRANSMITTED) { count } else { 0 });
        }
    }

    /// The run in which `seq` lies, searched from the nearest of head, cursor and tail, for as many steps as
    /// are left in `budget`. The cursor is left where the search ended, so the next one goes on there.
    pub(super) fn find(&mut self, pool: &RunPool, seq: Seq, budget: &mut u32) -> Option<u32> {
        if !seq.is_in(self.una, self.nxt) {
            return None;
        }
        let mut place = self.nearest(pool, seq);
        while *budget > 0 {
            let run = pool.get(place)?;
            *budget -= 1;
            self.cursor = place;
            place = if seq.before(run.start) {
                run.previous
            } else if seq.at_or_after(run.end()) {
                run.next
            } else {
                return Some(place);
            };
        }
        None
    }

    fn nearest(&self, pool: &RunPool, seq: Seq) -> u32 {
        let mut best = (u32::MAX, self.head);
        for place in [self.head, self.cursor, self.tail] {
            if let Some(run) = pool.get(place) {
                let distance = (seq - run.start).unsigned_abs();
                if distance < best.0 {
                    best = (distance, place);
                }
            }
        }
        best.1
    }

    /// Gives everything back.
    pub(super) fn release(&mut self, pool: &mut RunPool) {
        let mut place = self.head;
        while let Some(&Run { next, .. }) = pool.get(place) {
            pool.give(place);
            place = next;
        }
        *self = Flight { una: self.una, ..Flight::new(self.nxt) };
    }
}

/// The slow and obvious recount, for tests: walks everything and compares it with what is kept.
#[cfg(test)]
pub(super) fn check(flight: &Flight, pool: &RunPool, sack: bool) {
    let (mut place, mut at, mut previous) = (flight.head, flight.una, NONE);
    let (mut outstanding, mut sacked, mut lost, mut retransmitted) = (0, 0, 0, 0);
    let (mut timed, mut waiting, mut runs) = (0, 0, 0);
    while let Some(run) = pool.get(place) {
        assert_eq!((run.start, run.previous), (at, previous), "runs lie end to end");
        assert!(run.len > 0 && run.segments() > 0, "{run:?}");
        let count = |bit| if run.is(bit) { run.segments() } else { 0 };
        outstanding += run.segments();
        sacked += count(mark::SACKED);
        lost += count(mark::LOST);
        retransmitted += count(mark::RETRANSMITTED);
        timed += usize::from(which(run.marks) == Which::Timed);
        waiting += usize::from(which(run.marks) == Which::Lost);
        assert!(!(run.is(mark::SACKED) && run.is(mark::LOST | mark::RETRANSMITTED)), "{run:?}");
        runs += 1;
        (at, previous, place) = (run.end(), place, run.next);
    }
    assert_eq!((at, previous), (flight.nxt, flight.tail));
    let sacked = if sack { sacked } else { flight.sacked };
    assert_eq!(
        (flight.outstanding, flight.sacked, flight.lost, flight.retransmitted),
        (outstanding, sacked, lost, retransmitted)
    );
    assert_eq!(flight.in_flight() + sacked + lost, outstanding + retransmitted);
    assert!(flight.cursor == NONE || runs > 0);
    for (queue, kind, expected) in
        [(&flight.timed, Which::Timed, timed), (&flight.waiting, Which::Lost, waiting)]
    {
        let (mut place, mut ahead, mut count, mut time) = (queue.first, NONE, 0, Instant::ZERO);
        while let Some(run) = pool.get(place) {
            assert_eq!((run.ahead, which(run.marks)), (ahead, kind), "{run:?}");
            let exact = kind == Which::Timed && timed <= MAX_LOST_QUEUE_WALK as usize;
            assert!(!exact || run.sent >= time, "the queue by time is in order");
            (ahead, place, time, count) = (place, run.behind, run.sent, count + 1);
        }
        assert_eq!((queue.last, count), (ahead, expected));
    }
}
