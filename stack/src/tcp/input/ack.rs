//! The acknowledgment in a segment (RFC 9293 section 3.10.7.4, fifth check; rows T8, T9): what it frees, what window
//! it opens, and which state it leads to.

use crate::Instant;
use crate::socket::Ready;
use crate::tcp::Seq;
use crate::tcp::connection::{Connection, Context};
use crate::tcp::options::Parsed;
use crate::tcp::recovery::Ack;
use crate::tcp::segment::{Disposition, Output, Refusal, Reset, Segment};
use crate::tcp::state::{FinWait2, State};
use crate::tcp::timers::Purpose;
use crate::wire::tcp::flag;

impl Connection {
    /// Takes the acknowledgment. `Ok`: go on with the segment; true when something may be sent because of it.
    pub(super) fn on_ack(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        parsed: &Parsed,
    ) -> Result<bool, Disposition> {
        let (una, nxt) = (self.sender.una(), self.sender.nxt());
        let handshake = matches!(self.state, State::SynReceived(_));
        if segment.ack.after(nxt) {
            cx.stats.acks_of_unsent += 1;
            if handshake {
                return Err(self.refuse_handshake_ack(segment));
            }
            // RFC 9293 section 3.10.7.4: what was never sent cannot be acknowledged; say so, within limits.
            return Err(self.challenge(cx, Refusal::BadAck));
        }
        if segment.ack.before(una) && una.since(segment.ack) > self.tx.wnd_max.max(1) {
            // RFC 5961 section 5: older than any window that ever was.
            return Err(self.challenge(cx, Refusal::BadAck));
        }
        if handshake && segment.ack.at_or_before(self.iss) {
            // A fast open's data come with an acknowledgment of nothing: they are taken all the same.
            if !self.state.receives() {
                return Err(self.refuse_handshake_ack(segment));
            }
            return Ok(false);
        }
        if handshake {
            self.complete_handshake(cx, segment);
        }
        let window_changed = self.take_window(segment);
        let echo_age = parsed.timestamps.and_then(|(_, echo)| self.stamps.age(cx.now, echo));
        if self.ecn.on && segment.has(flag::CWR) && !segment.is_empty() {
            self.ecn.echo = false;
        }
        let mut send = self.take_ack(cx, segment, &parsed.sacks, echo_age, window_changed);
        send |= window_changed && self.sender.nxt().before(self.write_end());
        self.after_ack(cx).map_or(Ok(send), Err)
    }

    /// RFC 9293 section 3.10.7.4: in SYN-RECEIVED an unacceptable acknowledgment is answered with a reset.
    fn refuse_handshake_ack(&mut self, segment: &Segment<'_>) -> Disposition {
        Disposition::Refused(Refusal::BadAck, Output::None, Some(Reset::bare(segment.ack, None)))
    }

    /// SND.WND, by the rule of RFC 9293 section 3.10.7.4: a window counts unless an older segment brings it. True
    /// when it changed.
    fn take_window(&mut self, segment: &Segment<'_>) -> bool {
        let window = u32::from(segment.window) << self.tx.scale;
        let newer = segment.ack.after(self.sender.una())
            || segment.seq.after(self.tx.wl1)
            || (segment.seq == self.tx.wl1 && (window > self.tx.wnd || window == 0));
        if !newer || segment.ack.before(self.sender.una()) {
            return false;
        }
        self.tx.wl1 = segment.seq;
        if window == self.tx.wnd {
            return false;
        }
        self.tx.wnd = window;
        self.tx.wnd_max = self.tx.wnd_max.max(window);
        if window > 0 {
            // An open window ends probing; the next closed one begins with short intervals again.
            self.timers.clear(Purpose::Persist);
            self.tx.backoff = 0;
        }
        true
    }

    /// Tells the sender, and frees what is acknowledged. True when something may be sent because of it.
    #[inline]
    pub(super) fn take_ack(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        sacks: &[(Seq, Seq)],
        echo_age: Option<u32>,
        window_changed: bool,
    ) -> bool {
        let (dsack, sacks) = if sacks.is_empty() { (None, sacks) } else { split_dsack(segment.ack, sacks) };
        let nxt = self.sender.nxt();
        let room = (self.sender.una() + self.tx.wnd).after(nxt);
        let ack = Ack {
            ack: segment.ack,
            sacks: if self.sack { sacks } else { &[] },
            dsack,
            echo_age,
            ece: self.ecn.on && segment.has(flag::ECE),
            window_changed,
            carries_data: !segment.is_empty() || segment.flags & (flag::SYN | flag::FIN) != 0,
            new_data: room && self.write_end().after(nxt),
        };
        let outcome = self.sender.on_ack(cx.runs, cx.now, &ack);
        if self.knobs.searching {
            self.judge_path(cx);
        }
        self.tx.probes = 0;
        self.knobs.hold = false;
        if outcome.acked > 0 {
            self.counts.acknowledged += u64::from(outcome.acked);
            self.stamp_acknowledged(cx, segment.ttl);
            self.tx.progress = cx.now;
            self.tx.backoff = 0;
            self.soft_error = None;
            let freed = (self.sender.una().since(self.tx.start) as usize).min(self.tx.ring.len());
            if freed > 0 {
                self.tx.ring.consume(cx.blocks, freed);
                self.tx.start += freed as u32;
                if self.tx.starved {
                    self.grow_send_buffer(cx.settings);
                    self.tell_room();
                }
            }
        }
        self.arm_recovery();
        let waits = self.write_end().after(self.sender.nxt()) || (self.tx.fin && !self.fin_sent());
        outcome.send && (waits || self.sender.outstanding() > 0)
    }

    /// The owner that found no room hears when a third of the buffer is free.
    pub(in crate::tcp) fn tell_room(&mut self) {
        if self.has_room() {
            self.tx.starved = false;
            self.news |= Ready::WRITABLE;
        }
    }

    /// Where the acknowledgment of our FIN leads.
    fn after_ack(&mut self, cx: &mut Context<'_>) -> Option<Disposition> {
        if !self.tx.fin || !self.fin_acked() {
            return None;
        }
        match self.state {
            State::FinWait1 => {
                self.enter_fin_wait_2(cx);
                if let State::FinWait2(FinWait2 { until }) = self.state
                    && until <= cx.now
                {
                    // TCP_LINGER2 below zero: do not wait for the peer's FIN at all.
                    let reset = self.reset(cx.now);
                    return Some(self.end(cx, None, Some(reset)));
                }
                None
            }
            State::Closing => Some(self.time_wait(cx)),
            State::LastAck => Some(self.end(cx, None, None)),
            _ => None,
        }
    }

    /// FIN-WAIT-2: with an owner it may last (half close), without one it ends after a time (Linux's
    /// `tcp_fin_timeout`; RFC 9293 section 3.6.1 leaves it open).
    pub(in crate::tcp) fn enter_fin_wait_2(&mut self, cx: &mut Context<'_>) {
        let until = if self.orphan {
            let configured = self.rare.as_ref().and_then(|rare| rare.linger2);
            match configured {
                Some(None) => cx.now,
                Some(Some(time)) => cx.now + time,
                None => cx.now + cx.settings.fin_timeout,
            }
        } else {
            Instant::NEVER
        };
        self.state = State::FinWait2(FinWait2 { until });
        if until != Instant::NEVER {
            self.timers.set(Purpose::Keepalive, until);
        }
    }
}

/// A range that the peer has: from the first to before the second.
type Block = (Seq, Seq);

/// Tells a duplicate report from the blocks behind it (RFC 2883 section 4): the first block lies below the
/// acknowledgment, or within the second.
fn split_dsack(ack: Seq, sacks: &[Block]) -> (Option<Block>, &[Block]) {
    match sacks {
        [first, rest @ ..] if first.0.before(ack) && first.1.at_or_before(ack) => (Some(*first), rest),
        [first, second, ..] if first.0.at_or_after(second.0) && first.1.at_or_before(second.1) => {
            (Some(*first), &sacks[1..])
        }
        _ => (None, sacks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_report_is_below_the_ack_or_within_the_second_block() {
        let ack = Seq(100);
        let block = |start, end| (Seq(start), Seq(end));
        assert_eq!(
            split_dsack(ack, &[block(50, 60), block(200, 300)]),
            (Some(block(50, 60)), &[block(200, 300)][..])
        );
        assert_eq!(
            split_dsack(ack, &[block(220, 240), block(200, 300)]),
            (Some(block(220, 240)), &[block(200, 300)][..])
        );
        assert_eq!(
            split_dsack(ack, &[block(400, 500), block(200, 300)]),
            (None, &[block(400, 500), block(200, 300)][..])
        );
        assert_eq!(split_dsack(ack, &[block(200, 300)]), (None, &[block(200, 300)][..]));
    }
}
