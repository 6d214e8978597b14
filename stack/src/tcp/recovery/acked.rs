//! An ACK's way through the engine, and what it takes from the flight.

use super::ack::{Ack, AckOutcome};
use super::rate::Sample;
use super::run::{RunPool, mark};
use super::{CaState, MtuProbe, Sender};
use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::congestion::{Growth, Model};
use crate::tcp::rtt::{micros, ticks};

/// What is known of an ACK while it is processed.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) prior_una: Seq,
    /// End of what was selectively acknowledged highest, before it.
    prior_high: Seq,
    /// The lowest segment that was sent once and arrived after a higher one.
    pub(super) reordered: Seq,
    /// Timestamp tick at which the echoed segment was sent.
    echoed: Option<u32>,
    /// It acknowledges something new in sequence; whole segments of it.
    pub(super) advanced: bool,
    pub(super) acked: bool,
    /// Data or a window update: no duplicate.
    carries: bool,
    pub(super) ece: bool,
    pub(super) new_data: bool,
    pub(super) sacked: bool,
    pub(super) dsack: bool,
    pub(super) dsack_of_probe: bool,
    /// Something that was sent once only and before the loss was delivered: the timeout was spurious.
    pub(super) original: bool,
    /// Something was acknowledged that had been sent again: no round trip can be measured (Karn).
    repeated: bool,
    /// A retransmission was found lost.
    pub(super) lost_again: bool,
    /// The timer is to be set anew.
    pub(super) rearm: bool,
    /// Sending times of what is delivered, sent once: selectively and in sequence.
    pub(super) sacked_first: Option<Instant>,
    pub(super) sacked_last: Option<Instant>,
    pub(super) sample: Sample,
    /// The round trip that it measures in microseconds, and whether the receiver may have delayed it.
    rtt: Option<u32>,
    maybe_delayed: bool,
}

impl Progress {
    /// A duplicate ACK in the sense of RFC 5681 section 2, and nothing else.
    pub(super) fn is_duplicate(&self) -> bool {
        !(self.advanced || self.acked || self.carries || self.dsack)
    }

    /// It says nothing at all but that a segment arrived.
    pub(super) fn is_bare_duplicate(&self) -> bool {
        !(self.advanced || self.acked || self.carries || self.sacked)
    }

    /// True when the echoed timestamp is older than `sent`: that sending did not cause this ACK (RFC 3522).
    #[inline]
    pub(super) fn echoes_before(&self, sent: Instant) -> bool {
        sent != Instant::NEVER && self.echoed.is_some_and(|tick| (tick.wrapping_sub(ticks(sent)) as i32) < 0)
    }
}

impl Sender {
    /// An acknowledgement came.
    #[inline]
    pub fn on_ack(&mut self, pool: &mut RunPool, now: Instant, ack: &Ack<'_>) -> AckOutcome {
        match self.on_last_ack(pool, now, ack) {
            Some(outcome) => outcome,
            None => self.on_any_ack(pool, now, ack),
        }
    }

    /// The acknowledgement of everything that is outstanding, which left together and once, with nothing in doubt: an
    /// answer to a question. It comes to what [`Sender::on_any_ack`] comes to, in fewer steps. `None`: it is something
    /// else, and nothing has changed.
    #[inline]
    fn on_last_ack(&mut self, pool: &mut RunPool, now: Instant, ack: &Ack<'_>) -> Option<AckOutcome> {
        let calm = ack.ack == self.flight.nxt
            && self.flight.head == self.flight.tail
            && ack.sacks.is_empty()
            && ack.dsack.is_none()
            && !ack.ece
            && self.episode.state == CaState::Open
            && self.agreed.sack
            && self.timeouts == 0
            && self.probe.high().is_none()
            && !self.rack.dsack_seen
            && !matches!(self.mtu_probe, MtuProbe::Sent { .. })
            && !self.is_paced();
        if !calm {
            return None;
        }
        let run = *pool.get(self.flight.head)?;
        if run.is(!(mark::APP_LIMITED | mark::SHORT)) {
            return None;
        }
        let (acked, count) = (self.flight.nxt.since(self.flight.una), self.flight.outstanding);
        self.probe.due = false;
        self.episode.hold = false;
        self.flight.una = ack.ack;
        self.flight.take_only(pool);
        self.count_delivered(count, false);
        // One time for all that are measured: the run's.
        let rtt = micros(now, run.sent);
        self.rack.delivered(run.sent, run.end(), rtt);
        if self.rack.persist == 0 {
            self.rack.forget_steps();
        }
        let maybe_delayed = count == 1 && acked < u32::from(self.mss);
        if !maybe_delayed || self.rtt.smallest().is_none_or(|smallest| rtt <= smallest) {
            self.rtt.remember_smallest(now, rtt);
        }
        self.rtt.measured(rtt, ack.ack, ack.ack);
        self.backoff = 0;
        self.timer.disarm();
        self.sample_only(now, &run, rtt);
        self.grow(now, count, Some(rtt));
        Some(AckOutcome { acked, delivered: count, send: true, measured: true, ..AckOutcome::default() })
    }

    /// The order is the one at the top of [`super`].
    #[inline(never)]
    fn on_any_ack(&mut self, pool: &mut RunPool, now: Instant, ack: &Ack<'_>) -> AckOutcome {
        if ack.ack.after(self.flight.nxt) {
            return AckOutcome::default(); // not judged acceptable: acknowledges what was never sent
        }
        let before = (self.rate.delivered, self.lost, self.flight.in_flight(), self.flight.outstanding);
        let state = self.episode.state;
        let undone = self.episode.undone;
        self.probe.due = false;
        self.episode.hold = false;
        let mut progress = self.begin(now, ack);
        let prior = self.flight.una;
        if progress.advanced {
            self.flight.una = ack.ack;
            self.see_mtu_probe();
            if self.timeouts != 0 {
                self.timeouts = 0;
                self.timeouts_over(pool, now);
            }
        }
        if self.agreed.sack && (!ack.sacks.is_empty() || ack.dsack.is_some()) {
            self.sacked(pool, now, ack, &mut progress);
        }
        let mut outcome = AckOutcome { acked: self.flight.una.since(prior), ..AckOutcome::default() };
        let old = ack.ack.before(prior);
        if before.3 > 0 && !old {
            outcome.is_duplicate = progress.is_duplicate();
            outcome.measured = self.clean(pool, now, &mut progress);
            self.adapt_reordering(&progress);
            self.judge_probe(pool, now, ack.ack, &progress);
        }
        let doubtful = self.episode.state != CaState::Open
            || progress.sacked
            || progress.dsack
            || progress.ece
            || !(progress.acked || progress.carries);
        if doubtful && (before.3 > 0 || progress.dsack) {
            self.judge(pool, now, &mut progress, outcome.is_duplicate);
        }
        if self.flight.outstanding == 0 {
            self.timer.disarm();
        } else if progress.rearm {
            self.set_timer_after_ack(pool, now);
        }
        let delivered = self.rate.delivered.wrapping_sub(before.0);
        let lost = self.lost.wrapping_sub(before.1);
        let sample = self.finish_sample(now, &progress.sample, delivered);
        if before.3 > 0 && !old {
            self.control(pool, now, &progress, (delivered, lost), sample, before.2);
        }
        outcome.delivered = delivered;
        outcome.spurious = self.episode.undone != undone;
        outcome.entered_recovery = state < CaState::Recovery && self.episode.state == CaState::Recovery;
        outcome.recovered = state > CaState::Open && self.episode.state == CaState::Open;
        outcome.send = self.next_retransmission(pool, now).is_some() || self.may_send(now) > 0;
        outcome
    }

    fn begin(&self, now: Instant, ack: &Ack<'_>) -> Progress {
        let echoed = ack.echo_age.filter(|age| self.agreed.timestamps && *age < 1 << 31);
        Progress {
            prior_una: self.flight.una,
            prior_high: self.highest_sacked(),
            reordered: self.flight.nxt,
            echoed: echoed.map(|age| ticks(now).wrapping_sub(age)),
            advanced: ack.ack.after(self.flight.una),
            acked: false,
            carries: ack.carries_data || ack.window_changed,
            ece: ack.ece && self.agreed.ecn,
            new_data: ack.new_data,
            sacked: false,
            dsack: false,
            dsack_of_probe: false,
            original: false,
            repeated: false,
            lost_again: false,
            rearm: false,
            sacked_first: None,
            sacked_last: None,
            sample: Sample::default(),
            rtt: None,
            maybe_delayed: false,
        }
    }

    /// Takes what is acknowledged in sequence from the flight and measures the round trip. True when it did.
    #[inline]
    fn clean(&mut self, pool: &mut RunPool, now: Instant, progress: &mut Progress) -> bool {
        let (mut first, mut last) = (None, None);
        let (mut count, mut reordered, mut whole) = (0, self.flight.nxt, true);
        let had_sacked = self.flight.sacked > 0;
        let ack = self.flight.una;
        while let Some(taken) = self.flight.take_acked(pool, ack) {
            let run = &taken.run;
            whole = taken.end == run.end();
            count += taken.segments;
            if run.is(mark::EVER_RETRANSMITTED) {
                progress.repeated = true;
            } else if !run.is(mark::SACKED) {
                first = first.or(Some(run.sent));
                last = Some(run.sent);
                reordered = reordered.min(run.start);
                progress.original |= taken.end.at_or_before(self.episode.high);
            }
            if run.is(mark::SACKED) || taken.segments == 0 {
                continue; // delivered long ago, or not yet whole
            }
            self.sample_run(&mut progress.sample, run, taken.end);
            if self.agreed.sack {
                self.count_delivered(taken.segments, progress.ece);
                let spurious = run.is(mark::EVER_RETRANSMITTED) && progress.echoes_before(run.sent);
                if !spurious {
                    self.rack_delivered(now, run.sent, taken.end, run.is(mark::EVER_RETRANSMITTED));
                }
            }
        }
        progress.acked = count > 0;
        let measured = self.measure(now, progress, first, last, count == 1 && whole && !had_sacked);
        if count > 0 {
            progress.rearm = true;
            if !self.agreed.sack {
                self.remove_duplicates(count, progress.ece);
            } else if reordered.before(progress.prior_high) {
                self.reordered_from(reordered);
            }
        } else if measured.is_some() && self.round_trip_shrank(pool, now, progress) {
            progress.rearm = true;
        }
        self.flight.sacked = self.flight.sacked.min(self.flight.outstanding);
        progress.rtt = measured;
        measured.is_some()
    }

    /// Karn's rule (RFC 6298 section 3): only what was sent once; else what was selectively acknowledged;
    /// else timestamps. Gives the most recent round trip.
    #[inline]
    fn measure(
        &mut self,
        now: Instant,
        progress: &mut Progress,
        first: Option<Instant>,
        last: Option<Instant>,
        single: bool,
    ) -> Option<u32> {
        let (mut long, mut short) = (None, None);
        if !progress.repeated {
            long = first.map(|sent| micros(now, sent));
            short = last.map(|sent| micros(now, sent));
        }
        if let Some(sent) = progress.sacked_first {
            long = long.or(Some(micros(now, sent)));
            short = progress.sacked_last.map(|sent| micros(now, sent));
        }
        if long.is_none() && progress.advanced {
            // A timestamp's tick is a millisecond: less than one counts as one.
            long = progress.echoed.map(|tick| ticks(now).wrapping_sub(tick).max(1).saturating_mul(1000));
            short = long;
        }
        let (long, short) = (long?, short?);
        // One small segment alone may have waited for the receiver's delayed ACK: its time is no minimum.
        let maybe_delayed = single && self.flight.una.since(progress.prior_una) < u32::from(self.mss);
        progress.maybe_delayed = maybe_delayed;
        if !maybe_delayed || self.rtt.smallest().is_none_or(|smallest| short <= smallest) {
            self.rtt.remember_smallest(now, short);
        }
        self.rtt.measured(long, self.flight.una, self.flight.nxt);
        self.backoff = 0;
        Some(short)
    }

    /// A selectively acknowledged segment took less than the first one takes already: the timeout shrank.
    fn round_trip_shrank(&self, pool: &RunPool, now: Instant, progress: &Progress) -> bool {
        let head = pool.get(self.flight.head).map(|run| micros(now, run.sent));
        match (progress.sacked_first, head) {
            (Some(sent), Some(age)) => micros(now, sent) > age,
            _ => false,
        }
    }

    /// The window after an ACK that so many segments were delivered and lost with: BBR's, the reduction's, or growth.
    #[inline]
    fn control(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        progress: &Progress,
        (delivered, lost): (u32, u32),
        sample: Option<(u32, u32)>,
        prior_in_flight: u32,
    ) {
        let rtt = progress.rtt;
        if self.congestion.rules_itself() {
            let model = Model {
                now,
                sample,
                sample_app_limited: progress.sample.app_limited,
                prior_delivered: progress.sample.prior_delivered,
                delivered: self.rate.delivered,
                acked: delivered,
                lost,
                rtt,
                maybe_delayed: progress.maybe_delayed,
                in_flight: self.flight.in_flight(),
                prior_in_flight,
                srtt: self.rtt.srtt(),
                mss: self.mss,
                ca_state: self.episode.state,
            };
            if let Some(rate) = self.congestion.rule(&mut self.window, &model) {
                self.set_pacing_rate(rate);
            }
            return;
        }
        if self.is_reducing() {
            self.reduce(pool, delivered, lost, progress.advanced);
        } else if progress.acked
            || self.reordering > self.first_reordering && (progress.sacked || progress.carries)
        {
            // With much reordering SACKs count as progress, too (as Linux).
            self.grow(now, delivered, rtt);
        }
        self.update_pacing_rate();
    }

    /// `acked` segments were delivered in a state in which the window may grow. One that was not used says nothing about
    /// the path (RFC 7661 section 4.2).
    #[inline]
    fn grow(&mut self, now: Instant, acked: u32, rtt: Option<u32>) {
        if self.is_cwnd_limited() {
            let growth = Growth {
                now,
                acked,
                rtt,
                min_rtt: self.rtt.smallest(),
                una: self.flight.una,
                nxt: self.flight.nxt,
                cwnd_limited: true,
            };
            self.congestion.grow(&mut self.window, &growth);
            self.usage.stamp(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Agreed, SenderSettings};
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    /// A sender whose acknowledgements may all take the long way.
    struct Side {
        sender: Sender,
        pool: RunPool,
        long: bool,
    }

    impl Side {
        fn new(agreed: Agreed, long: bool) -> Side {
            let mut pool = RunPool::new(64);
            let mut sender = Sender::new(Seq(1000), &SenderSettings::default());
            sender.on_sent(&mut pool, at(1000), Seq(1000), 1, false).unwrap();
            sender.on_ack(&mut pool, at(1200), &Ack { echo_age: Some(1), ..Ack::plain(Seq(1001)) });
            sender.established(&mut pool, at(1200), 1448, agreed, None);
            Side { sender, pool, long }
        }

        fn ack(&mut self, now: Instant, ack: &Ack<'_>) -> AckOutcome {
            match self.long {
                true => self.sender.on_any_ack(&mut self.pool, now, ack),
                false => self.sender.on_ack(&mut self.pool, now, ack),
            }
        }
    }

    fn at(micros: u64) -> Instant {
        Instant::from_millis(5000) + Duration::from_micros(micros)
    }

    proptest! {
        /// Messages and bursts, acknowledged whole or in part after this or that time, with timeouts between: the short
        /// way and the long one leave the same behind, to the last field.
        #[test]
        fn the_short_way_of_an_acknowledgement_comes_to_the_same_as_the_long_one(
            steps in prop::collection::vec((0u8..6, 1u32..4000, 0u64..400_000), 1..60),
            sack in any::<bool>(),
            carries_data in any::<bool>(),
        ) {
            let agreed = Agreed { sack, timestamps: true, ecn: false };
            let mut sides = [Side::new(agreed, false), Side::new(agreed, true)];
            let mut time = 2000;
            for (kind, len, pause) in steps {
                time += pause;
                let now = at(time);
                let outcomes = sides.each_mut().map(|side| {
                    let (una, nxt) = (side.sender.una(), side.sender.nxt());
                    let ack = |number| Ack { echo_age: Some(3), carries_data, ..Ack::plain(number) };
                    match kind {
                        0 | 1 => {
                            side.sender.on_idle_restart(now);
                            let mut at = nxt;
                            for piece in (0..len).step_by(1448) {
                                let this = (len - piece).min(1448);
                                let last = piece + this == len;
                                if side.sender.may_send(now) > 0 {
                                    side.sender.on_sent(&mut side.pool, now, at, this, last).unwrap();
                                    at += this;
                                }
                            }
                            None
                        }
                        2 | 3 => Some(side.ack(now, &ack(nxt))),
                        4 => Some(side.ack(now, &ack(una + nxt.since(una).min(len)))),
                        _ => {
                            side.sender.on_timer(&mut side.pool, now);
                            while let Some((seq, len)) = side.sender.next_retransmission(&side.pool, now) {
                                side.sender.on_retransmitted(&mut side.pool, now, seq, len);
                            }
                            None
                        }
                    }
                });
                prop_assert_eq!(outcomes[0], outcomes[1]);
                let [short, long] = sides.each_ref().map(|side| format!("{:?} {:?}", side.sender, side.pool));
                prop_assert_eq!(short, long);
            }
        }
    }
}
