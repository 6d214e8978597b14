//! The handshake of an active open, and simultaneous open (RFC 9293 sections 3.5 and 3.10.7.3; row T11).
//!
//! ```text
//!   SYN-SENT ── SYN,ACK of ours ──> ESTABLISHED        ── SYN ──> SYN-RECEIVED ── ACK of ours ──> ESTABLISHED
//!            ── RST,ACK of ours ──> CLOSED (refused)
//! ```

use crate::socket::Ready;
use crate::tcp::connection::{Connection, Context};
use crate::tcp::error::SocketError;
use crate::tcp::options::Parsed;
use crate::tcp::recovery::Ack;
use crate::tcp::rtt;
use crate::tcp::segment::{Disposition, Output, Refusal, Reset, Segment};
use crate::tcp::state::{State, SynReceived};
use crate::wire::tcp::flag;
use core::num::NonZeroU32;

impl Connection {
    /// A segment in SYN-SENT: the four steps of RFC 9293 section 3.10.7.3.
    pub(super) fn in_syn_sent(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        parsed: &Parsed,
    ) -> Disposition {
        let ack = segment.has(flag::ACK);
        if ack {
            let good = segment.ack.after(self.iss) && segment.ack.at_or_before(self.sender.nxt());
            if !good {
                return Disposition::Refused(Refusal::BadAck, Output::None, Reset::answer_to(segment));
            }
            // An echo of what we never sent comes from an older connection (RFC 7323 section 5.2, as Linux).
            if let Some((_, echo)) = parsed.timestamps
                && self.stamps.on
                && echo != 0
                && self.stamps.clock(cx.now).wrapping_sub(echo) > SYN_ECHO_TICKS
            {
                cx.stats.paws_active_rejected += 1;
                return Disposition::Refused(Refusal::OldTimestamp, Output::None, Reset::answer_to(segment));
            }
        }
        if segment.has(flag::RST) {
            if !ack {
                return Disposition::Refused(Refusal::NoFlags, Output::None, None);
            }
            return self.end(cx, Some(SocketError::Refused), None);
        }
        if !segment.has(flag::SYN) {
            return Disposition::Refused(Refusal::NoFlags, Output::None, None);
        }
        self.learn(cx, segment, parsed);
        if ack { self.syn_answered(cx, segment, parsed) } else { self.syn_crossed() }
    }

    /// What a SYN says about the connection.
    fn learn(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>, parsed: &Parsed) {
        // RFC 3168 section 6.1.1.1: a SYN asks with ECE and CWR, a SYN-ACK grants with ECE alone; both bits in a
        // SYN-ACK are an echo of somebody who does not know them.
        let bits = segment.flags & (flag::ECE | flag::CWR);
        let ecn = if segment.has(flag::ACK) { bits == flag::ECE } else { bits == flag::ECE | flag::CWR };
        let negotiated = self.negotiate(parsed, ecn);
        let negotiated =
            crate::tcp::Negotiated { mss: negotiated.mss.max(cx.settings.min_snd_mss), ..negotiated };
        self.agree(&negotiated);
        self.rx.start(segment.seq, cx.now);
        if let (true, Some((value, _))) = (self.stamps.on, parsed.timestamps) {
            self.stamps.recent = value;
            self.stamps.recent_at = rtt::ticks(cx.now);
        }
        self.tx.wnd = u32::from(segment.window); // never scaled in a SYN (RFC 7323 section 2.2)
        self.tx.wnd_max = self.tx.wnd;
        self.tx.wl1 = segment.seq;
        self.heard = cx.now;
    }

    /// SYN-ACK: ESTABLISHED.
    fn syn_answered(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>, parsed: &Parsed) -> Disposition {
        self.acknowledge_syn(cx, segment, parsed);
        self.become_established(cx);
        self.fast_open_answered(cx, parsed);
        self.acks.want_now();
        // Data and a FIN may come with it (RFC 9293 section 3.10.7.3, last step).
        if !segment.is_empty() || segment.has(flag::FIN) {
            if segment.has(flag::URG) {
                self.on_urgent_pointer(segment);
            }
            let echo_age = parsed.timestamps.and_then(|(_, echo)| self.stamps.age(cx.now, echo));
            return match self.on_data(cx, segment, echo_age) {
                Ok(_) => Disposition::Keep(Output::Later),
                Err(disposition) => disposition,
            };
        }
        Disposition::Keep(Output::Later)
    }

    /// SYN without ACK: both opened at once (RFC 9293 figure 8, MUST-10).
    fn syn_crossed(&mut self) -> Disposition {
        self.state = State::SynReceived(SynReceived { fast_open: false, answer: true });
        self.arm_recovery();
        Disposition::Keep(Output::Later)
    }

    fn acknowledge_syn(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>, parsed: &Parsed) {
        let echo_age = parsed.timestamps.and_then(|(_, echo)| self.stamps.age(cx.now, echo));
        let ack = Ack { echo_age, carries_data: true, window_changed: true, ..Ack::plain(segment.ack) };
        let outcome = self.sender.on_ack(cx.runs, cx.now, &ack);
        self.counts.acknowledged += u64::from(outcome.acked);
        let freed = (self.sender.una().since(self.tx.start) as usize).min(self.tx.ring.len());
        if freed > 0 {
            self.tx.ring.consume(cx.blocks, freed);
            self.tx.start += freed as u32;
        }
    }

    /// From either handshake state to ESTABLISHED; with the FIN that the owner may have asked for meanwhile.
    fn become_established(&mut self, cx: &mut Context<'_>) {
        self.establish(cx, None);
        if self.tx.fin {
            self.state = State::FinWait1;
        }
    }

    /// The acknowledgment of our SYN came in SYN-RECEIVED (simultaneous or fast open).
    pub(super) fn complete_handshake(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>) {
        // The window of this segment is the first that is scaled.
        let window = u32::from(segment.window);
        let shift = if segment.has(flag::SYN) { 0 } else { self.tx.scale };
        self.tx.wnd = window << shift;
        self.tx.wnd_max = self.tx.wnd_max.max(self.tx.wnd);
        self.tx.wl1 = segment.seq;
        self.acknowledge_syn(cx, segment, &Parsed::default());
        self.become_established(cx);
    }

    /// What the SYN-ACK says about our fast open (RFC 7413 sections 4.1.2 and 4.2.2).
    fn fast_open_answered(&mut self, cx: &mut Context<'_>, parsed: &Parsed) {
        let (una, nxt) = (self.sender.una(), self.sender.nxt());
        let Some(rare) = self.rare.as_mut() else { return };
        let had_data = rare.opens_fast();
        let asked = rare.fast_open.take();
        if asked.is_none() && !had_data {
            return;
        }
        if let Some(cookie) = &parsed.fast_open
            && !cookie.is_empty()
        {
            rare.fast_open_news = Some(cookie.clone());
        }
        if !had_data {
            return;
        }
        if una.after(self.iss + 1) {
            self.syn_data_acked = true;
            cx.stats.fast_open_active += 1;
        } else if nxt.after(self.iss + 1) {
            cx.stats.fast_open_active_fail += 1;
        }
        // Data that were not taken go again at once, by themselves (RFC 7413 section 4.2.2).
        if nxt.after(una) {
            self.tx.repeat = NonZeroU32::new(nxt.since(una)).map(|len| (una, len));
        }
        self.news |= Ready::WRITABLE;
    }
}

/// Our SYN cannot have left longer ago than this: all its retransmissions end before.
const SYN_ECHO_TICKS: u32 = 10 * 60 * 1000;
