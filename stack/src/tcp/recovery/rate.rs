//! Delivery rate samples (draft-cheng-iccrg-delivery-rate-estimation, as Linux): how fast was delivered what was
//! delivered between the sending of a segment and its acknowledgement.
//!
//! ```text
//!   rate = segments delivered meanwhile / max(time of sending them, time of their ACKs)
//! ```
//! The longer of the two times, because ACKs that were held up and come at once would feign a high rate. A
//! sample of a time in which the application did not fill the window is marked: it says too little.

use super::Sender;
use super::run::{Run, mark};
use crate::Instant;
use crate::tcp::Seq;
use crate::tcp::rtt::micros;

/// The connection's part.
#[derive(Debug)]
pub(super) struct Rate {
    /// Segments delivered since the beginning; wraps.
    pub(super) delivered: u32,
    /// Of those, acknowledged with an ECN echo.
    pub(super) delivered_ce: u32,
    /// When the last of them was.
    pub(super) delivered_at: Instant,
    /// When the first segment of the flight that is being sampled was sent.
    pub(super) flight_start: Instant,
    /// Samples are limited by the application until more than this is delivered; 0: they are not.
    pub(super) app_limited: u32,
    /// The last sample: segments, microseconds.
    pub(super) sample: (u32, u32),
}

/// A sample in the making, during one ACK.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// The most recently sent segment that this ACK delivers: when it was sent, and its end.
    newest: Option<(Instant, Seq)>,
    pub(super) prior_delivered: u32,
    prior_at: Instant,
    send_micros: u32,
    pub(super) app_limited: bool,
}

impl Sample {
    /// Something was delivered that a sample can be taken of.
    pub(super) fn is_some(&self) -> bool {
        self.newest.is_some()
    }
}

impl Rate {
    pub(super) fn new() -> Rate {
        Rate {
            delivered: 0,
            delivered_ce: 0,
            delivered_at: Instant::ZERO,
            flight_start: Instant::ZERO,
            app_limited: 0,
            sample: (0, 0),
        }
    }
}

impl Sender {
    #[inline]
    pub(super) fn count_delivered(&mut self, segments: u32, ece: bool) {
        self.rate.delivered = self.rate.delivered.wrapping_add(segments);
        if ece {
            self.rate.delivered_ce = self.rate.delivered_ce.wrapping_add(segments);
        }
    }

    /// A run is delivered, acknowledged or selectively: the most recently sent one makes the sample.
    #[inline]
    pub(super) fn sample_run(&mut self, sample: &mut Sample, run: &Run, end: Seq) {
        let later = |(sent, last): (Instant, Seq)| run.sent > sent || run.sent == sent && end.after(last);
        if sample.newest.is_none_or(later) {
            sample.newest = Some((run.sent, end));
            sample.prior_delivered = run.delivered;
            sample.prior_at = run.delivered_at;
            sample.app_limited = run.is(mark::APP_LIMITED);
            sample.send_micros = micros(run.sent, run.flight_start);
            self.rate.flight_start = run.sent;
        }
    }

    /// The ACK is processed: makes the sample, `(segments, microseconds)`, when it says something.
    #[inline]
    pub(super) fn finish_sample(
        &mut self,
        now: Instant,
        sample: &Sample,
        delivered: u32,
    ) -> Option<(u32, u32)> {
        let rate = &mut self.rate;
        if rate.app_limited != 0 && (rate.delivered.wrapping_sub(rate.app_limited) as i32) > 0 {
            rate.app_limited = 0;
        }
        if delivered > 0 {
            rate.delivered_at = now;
        }
        sample.newest?;
        let count = rate.delivered.wrapping_sub(sample.prior_delivered);
        let interval = micros(now, sample.prior_at).max(sample.send_micros);
        self.keep_sample(count, interval, sample.app_limited)
    }

    /// What [`Sender::sample_run`] and [`Sender::finish_sample`] come to when an ACK delivers one run, `rtt` microseconds
    /// after it was sent. A run that left alone has no other times than its own, which need not be divided again.
    #[inline]
    pub(super) fn sample_only(&mut self, now: Instant, run: &Run, rtt: u32) {
        let rate = &mut self.rate;
        rate.flight_start = run.sent;
        rate.delivered_at = now;
        if rate.app_limited != 0 && (rate.delivered.wrapping_sub(rate.app_limited) as i32) > 0 {
            rate.app_limited = 0;
        }
        let count = rate.delivered.wrapping_sub(run.delivered);
        let acked = if run.delivered_at == run.sent { rtt } else { micros(now, run.delivered_at) };
        let sent = if run.flight_start == run.sent { 0 } else { micros(run.sent, run.flight_start) };
        self.keep_sample(count, acked.max(sent), run.is(mark::APP_LIMITED));
    }

    /// A sample: `count` segments in `interval` microseconds. Given back when it says something.
    #[inline]
    fn keep_sample(&mut self, count: u32, interval: u32, app_limited: bool) -> Option<(u32, u32)> {
        if interval < self.rtt.smallest().unwrap_or(1).max(1) {
            return None; // a retransmission was taken for delivered when it was the original
        }
        let rate = &mut self.rate;
        let better =
            u64::from(count) * u64::from(rate.sample.1) >= u64::from(rate.sample.0) * u64::from(interval);
        if !app_limited || better {
            rate.sample = (count, interval);
            self.sample_app_limited = app_limited;
        }
        Some((count, interval))
    }
}
