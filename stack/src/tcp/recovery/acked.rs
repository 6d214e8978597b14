//! An ACK's way through the engine, and what it takes from the flight.

use super::ack::{Ack, AckOutcome};
use super::rate::Sample;
use super::run::{RunPool, mark};
use super::{CaState, Sender};
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
    /// An acknowledgement came. The order is the one at the top of [`super`].
    pub fn on_ack(&mut self, pool: &mut RunPool, now: Instant, ack: &Ack<'_>) -> AckOutcome {
        if ack.ack.after(self.flight.nxt) {
            return AckOutcome::default(); // not judged acceptable: acknowledges what was never sent
        }
        let before = (self.rate.delivered, self.tally.lost, self.flight.in_flight(), self.flight.outstanding);
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
                self.tally.timeouts_over(now);
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
        let lost = self.tally.lost.wrapping_sub(before.1);
        let sample = self.finish_sample(now, &progress.sample, delivered);
        if before.3 > 0 && !old {
            self.control(now, &progress, delivered, lost, sample, before.2);
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

    /// The window after an ACK: BBR's, the reduction's, or growth.
    #[inline]
    fn control(
        &mut self,
        now: Instant,
        progress: &Progress,
        delivered: u32,
        lost: u32,
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
                self.pacing.rate = rate;
            }
            return;
        }
        if self.is_reducing() {
            self.reduce(delivered, lost, progress.advanced);
        } else if progress.acked
            || self.reordering > self.first_reordering && (progress.sacked || progress.carries)
        {
            // With much reordering SACKs count as progress, too (as Linux).
            let growth = Growth {
                now,
                acked: delivered,
                rtt,
                min_rtt: self.rtt.smallest(),
                una: self.flight.una,
                nxt: self.flight.nxt,
                cwnd_limited: self.is_cwnd_limited(),
            };
            self.congestion.grow(&mut self.window, &growth);
            if growth.cwnd_limited {
                self.usage.stamp(now);
            }
        }
        self.update_pacing_rate();
    }
}
