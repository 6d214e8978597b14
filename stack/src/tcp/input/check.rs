//! May this segment be believed? (RFC 9293 section 3.10.7.4, first to fourth check; RFC 7323 section 5; RFC 5961.)
//!
//! | segment | belongs to the window | does not |
//! |---|---|---|
//! | older timestamp | refused, acknowledged | refused, acknowledged |
//! | RST | exactly at RCV.NXT: believed; elsewhere in the window: challenged | refused without a word |
//! | SYN | challenged | challenged |
//! | other | goes on | refused, acknowledged |
//!
//! A *challenge* is an ACK that says where we stand: the true peer then proves itself by the right number. All
//! such ACKs are limited, for each connection and for the worker.

use crate::tcp::connection::{Connection, Context};
use crate::tcp::error::SocketError;
use crate::tcp::options::Parsed;
use crate::tcp::rtt;
use crate::tcp::segment::{Disposition, Output, Refusal, Segment};
use crate::tcp::state::State;
use crate::wire::tcp::flag;

/// Ticks after which a timestamp is too old to compare with: 24 days (RFC 7323 section 5.5).
const STALE_TICKS: u32 = 24 * 24 * 3600 * 1000;

impl Connection {
    /// `None`: the segment may be processed. RST is handled here to its end.
    pub(super) fn check(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        parsed: &Parsed,
    ) -> Option<Disposition> {
        let (rst, syn) = (segment.has(flag::RST), segment.has(flag::SYN));
        if self.stamps.on && !rst && self.is_old(cx, segment, parsed) {
            cx.stats.paws_estab_rejected += 1;
            if syn {
                return Some(self.challenge(cx, Refusal::OldTimestamp));
            }
            return Some(self.answer_out_of_window(cx, segment, Refusal::OldTimestamp));
        }
        if !self.in_window(segment) {
            cx.stats.out_of_window += 1;
            if rst {
                return Some(Disposition::Refused(Refusal::OutOfWindow, Output::None, None));
            }
            if syn && !self.is_crossing_syn_ack(segment) {
                cx.stats.syn_challenges += 1;
                return Some(self.challenge(cx, Refusal::OutOfWindow));
            }
            if !syn {
                return Some(self.answer_out_of_window(cx, segment, Refusal::OutOfWindow));
            }
        }
        if rst {
            return Some(self.on_reset(cx, segment));
        }
        if syn && !self.is_crossing_syn_ack(segment) {
            // RFC 5961 section 4: whatever its number (RFC 9293 section 3.10.7.4, fourth).
            cx.stats.syn_challenges += 1;
            return Some(self.challenge(cx, Refusal::Challenged));
        }
        None
    }

    /// The acceptability test of RFC 9293 section 3.4, in the form of Linux: it may begin before what we wait for
    /// if it does not end before what we last acknowledged, so that a peer that missed ACKs is understood.
    fn in_window(&self, segment: &Segment<'_>) -> bool {
        let end = segment.seq + segment.span();
        end.at_or_after(self.rx.wup) && segment.seq.at_or_before(self.rx.nxt + self.rx.offered())
    }

    /// The peer's SYN-ACK of a simultaneous open (RFC 9293 figure 8): its SYN is the one that we know.
    fn is_crossing_syn_ack(&self, segment: &Segment<'_>) -> bool {
        matches!(self.state, State::SynReceived(_))
            && segment.has(flag::SYN | flag::ACK)
            && !segment.has(flag::RST)
            && segment.seq + 1 == self.rx.nxt
            && segment.ack == self.sender.nxt()
    }

    /// PAWS (RFC 7323 section 5.3, R1).
    fn is_old(&self, cx: &Context<'_>, segment: &Segment<'_>, parsed: &Parsed) -> bool {
        let Some((value, _)) = parsed.timestamps else { return false };
        if (value.wrapping_sub(self.stamps.recent) as i32) >= 0 {
            return false;
        }
        let age = rtt::ticks(cx.now).wrapping_sub(self.stamps.recent_at);
        if age > STALE_TICKS {
            return false;
        }
        // A pure ACK that was overtaken: nothing in it can do harm, and refusing it would lose SACK blocks.
        let window = u32::from(segment.window) << self.tx.scale;
        let overtaken = segment.flags & (flag::SYN | flag::FIN) == 0
            && segment.has(flag::ACK)
            && segment.is_empty()
            && segment.seq == self.rx.nxt
            && segment.ack == self.sender.una()
            && window == self.tx.wnd
            && (self.stamps.recent.wrapping_sub(value)) as u128 <= self.sender.rto().as_millis();
        !overtaken
    }

    /// TS.Recent follows segments that hold the edge of what was acknowledged (RFC 7323 section 4.3).
    pub(super) fn take_timestamp(&mut self, cx: &Context<'_>, segment: &Segment<'_>, parsed: &Parsed) {
        if self.stamps.on
            && let Some((value, _)) = parsed.timestamps
            && segment.seq.at_or_before(self.rx.wup)
            && (value.wrapping_sub(self.stamps.recent) as i32 >= 0
                || rtt::ticks(cx.now).wrapping_sub(self.stamps.recent_at) > STALE_TICKS)
        {
            self.stamps.recent = value;
            self.stamps.recent_at = rtt::ticks(cx.now);
        }
    }

    /// A reset within the window (RFC 5961 section 3).
    fn on_reset(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>) -> Disposition {
        // Besides RCV.NXT, the end of what came out of order counts: a peer that saw our SACK may stand there.
        let expected =
            segment.seq == self.rx.nxt || (self.sack && self.ahead.end(cx.ranges) == Some(segment.seq));
        if !expected {
            return self.challenge(cx, Refusal::Challenged);
        }
        let error = match self.state {
            State::SynReceived(_) => SocketError::Refused,
            // RFC 9293 section 3.10.7.4, second: in these states the owner has closed, or is told by the error.
            State::CloseWait => SocketError::BrokenPipe,
            _ => SocketError::Reset,
        };
        self.end(cx, Some(error), None)
    }

    /// Says where we stand, if the limits allow it (RFC 5961 section 7).
    pub(super) fn challenge(&mut self, cx: &mut Context<'_>, refusal: Refusal) -> Disposition {
        if !cx.challenge.allow(&mut self.answered, cx.now) {
            return Disposition::Refused(refusal, Output::None, None);
        }
        cx.stats.challenge_acks += 1;
        self.acks.want_now();
        Disposition::Refused(refusal, Output::Now, None)
    }

    /// An out-of-window segment is acknowledged (RFC 9293 section 3.10.7.4, first): data always, because they come
    /// from somebody who lost our ACKs, anything else seldom, because two confused ends could otherwise answer
    /// each other for ever.
    fn answer_out_of_window(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        refusal: Refusal,
    ) -> Disposition {
        let carries_data = !segment.is_empty() && !segment.has(flag::SYN);
        if !carries_data && !cx.challenge.allow_unbudgeted(&mut self.answered, cx.now) {
            return Disposition::Refused(refusal, Output::None, None);
        }
        let end = segment.seq + segment.span();
        if end != segment.seq && segment.seq.before(self.rx.nxt) {
            cx.stats.delayed_acks_lost += 1;
            self.acks.quicken(self.rx.full_segments());
            if cx.settings.dsack && self.sack {
                self.dsack = Some((segment.seq, end.min(self.rx.nxt)));
            }
        }
        self.acks.want_now();
        Disposition::Refused(refusal, Output::Now, None)
    }
}
