//! What a segment does to a connection (RFC 9293 section 3.10.7; rows T5 to T9, T11).
//!
//! ```text
//!   on_segment ─┬─ fast: ESTABLISHED, the segment that was expected ──> ring, ack         (this file)
//!               └─ slow ─┬─ SYN-SENT                                  ──> handshake
//!                        └─ acceptable? reset? SYN? ──> ack ──> data, urgent, FIN
//!                           (check)                     (ack)   (data)
//! ```
//! The fast path sums the checksum while it copies, and commits only when the sum is good: until then nothing but
//! unreadable places in the ring has changed. The slow path sums first.

mod ack;
mod check;
mod data;
mod handshake;
mod icmp;

pub use icmp::Unreachable;

use super::acks::Wanted;
use super::connection::{Connection, Context, UrgentIn};
use super::options;
use super::segment::{Check, Disposition, Output, Refusal, Reset, Segment};
use super::state::State;
use super::timers::Purpose;
use crate::checksum::Checksum;
use crate::socket::Ready;
use crate::wire::tcp::flag;

impl Connection {
    /// A segment came for this connection.
    #[inline]
    pub fn on_segment(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>) -> Disposition {
        cx.stats.in_segs += 1;
        self.counts.segs_in = self.counts.segs_in.wrapping_add(1);
        if !segment.is_empty() {
            self.counts.data_segs_in = self.counts.data_segs_in.wrapping_add(1);
        }
        match self.fast(cx, segment) {
            Some(disposition) => disposition,
            None => self.slow(cx, segment),
        }
    }

    /// Header prediction: in a steady transfer the next segment is the expected one, and either brings data or
    /// acknowledges. `None`: it is something else, and nothing has changed.
    #[inline]
    fn fast(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>) -> Option<Disposition> {
        let expected = segment.flags & !flag::PSH == flag::ACK
            && segment.seq == self.rx.nxt
            && matches!(self.state, State::Established)
            && u32::from(segment.window) << self.tx.scale == self.tx.wnd
            && self.tx.wnd > 0
            && self.ahead.is_empty()
            && matches!(self.urgent_in, UrgentIn::None)
            && !segment.congested
            && !self.orphan;
        if !expected {
            return None;
        }
        let una = self.sender.una();
        if segment.ack.before(una) || segment.ack.after(self.sender.nxt()) {
            return None;
        }
        let mut stamps = None;
        if self.stamps.on {
            let (value, echo) = options::timestamps_only(segment.options)?;
            if (value.wrapping_sub(self.stamps.recent) as i32) < 0 {
                return None; // older: the slow path knows the exceptions
            }
            stamps = Some((value, echo));
        } else if !segment.options.is_empty() {
            return None;
        }
        let len = segment.len();
        if len == 0 {
            if segment.ack == una || !segment.is_intact() {
                return None;
            }
            cx.stats.hp_acks += 1;
        } else {
            if len > self.rx.offered() || !self.take_in_order(cx, segment, len) {
                return None;
            }
            cx.stats.hp_hits += 1;
        }
        self.heard = cx.now;
        self.tx.probes = 0;
        if let Some((value, _)) = stamps
            && segment.seq.at_or_before(self.rx.wup)
        {
            self.stamps.recent = value;
            self.stamps.recent_at = super::rtt::ticks(cx.now);
        }
        let echo_age = stamps.and_then(|(_, echo)| self.stamps.age(cx.now, echo));
        if len > 0 {
            self.rx.nxt += len;
            self.received(cx, len, segment.has(flag::PSH), echo_age);
            if self.rx.ring.len() as u32 >= self.read_low() {
                self.news |= Ready::READABLE;
            }
        }
        let mut send = false;
        if segment.ack != una {
            send = self.take_ack(cx, segment, &[], echo_age, false);
        }
        if len > 0 {
            self.decide_ack(cx);
        }
        Some(Disposition::Keep(self.output_wanted(send)))
    }

    /// Copies the expected data into the ring and sums them on the way. False: nothing was taken, because the sum
    /// is wrong or memory is short.
    #[inline]
    fn take_in_order(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>, len: u32) -> bool {
        let placed = match segment.check {
            Check::Pending(header) if segment.more.is_empty() => {
                let (placed, sum) = self.rx.ring.write_at_summed(cx.blocks, 0, segment.data);
                placed == segment.data.len() && header.plus(sum).is_valid()
            }
            Check::Pending(header) => self.take_chain(cx, segment, header),
            Check::Verified => {
                let mut at = self.rx.ring.write_at(cx.blocks, 0, segment.data);
                for piece in segment.more {
                    at += self.rx.ring.write_at(cx.blocks, at, piece);
                }
                at as u32 == len
            }
        };
        if placed {
            self.rx.ring.advance(len as usize);
        }
        placed
    }

    /// The same for a frame of several chunks, any of which may have an odd length.
    fn take_chain(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        header: crate::checksum::Sum,
    ) -> bool {
        let mut total = Checksum::new(header);
        let mut at = 0;
        for piece in core::iter::once(&segment.data).chain(segment.more) {
            total.add(piece);
            let placed = self.rx.ring.write_at(cx.blocks, at, piece);
            if placed < piece.len() {
                return false;
            }
            at += placed;
        }
        total.sum().is_valid()
    }

    /// Everything that is not the expected segment of an established connection.
    #[cold]
    #[inline(never)]
    fn slow(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>) -> Disposition {
        if !segment.is_intact() {
            cx.stats.in_csum_errors += 1;
            return Disposition::Refused(Refusal::Checksum, Output::None, None);
        }
        let parsed = options::parse(segment.options, segment.has(flag::SYN));
        match self.state {
            State::Closed => Disposition::Refused(Refusal::Closed, Output::None, Reset::answer_to(segment)),
            State::SynSent => self.in_syn_sent(cx, segment, &parsed),
            _ => self.in_synchronized(cx, segment, &parsed),
        }
    }

    /// The steps of RFC 9293 section 3.10.7.4, in its order.
    fn in_synchronized(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        parsed: &options::Parsed,
    ) -> Disposition {
        if let Some(refused) = self.check(cx, segment, parsed) {
            return refused;
        }
        if !segment.has(flag::ACK) {
            return Disposition::Refused(Refusal::NoFlags, Output::None, None);
        }
        let step = match self.on_ack(cx, segment, parsed) {
            Ok(step) => step,
            Err(disposition) => return disposition,
        };
        self.heard = cx.now;
        self.take_timestamp(cx, segment, parsed);
        if segment.has(flag::URG) {
            self.on_urgent_pointer(segment);
        }
        let echo_age = parsed.timestamps.and_then(|(_, echo)| self.stamps.age(cx.now, echo));
        match self.on_data(cx, segment, echo_age) {
            Ok(output) => Disposition::Keep(output.max(self.output_wanted(step))),
            Err(disposition) => disposition,
        }
    }

    /// In-order data were taken: windows, delays and estimates follow.
    #[inline]
    pub(super) fn received(&mut self, cx: &mut Context<'_>, len: u32, push: bool, echo_age: Option<u32>) {
        self.counts.bytes_in += u64::from(len);
        if len >= u32::from(self.rx.mss)
            && let Some(age) = echo_age
        {
            self.rx.on_echo(age);
        }
        let ends_message = len < u32::from(self.rx.mss) || push && len == u32::from(self.rx.mss);
        let grew = self.rx.on_data(len, cx.now);
        let rx = &self.rx;
        self.acks.on_data(cx.now, || rx.full_segments(), self.sender.rto_micros(), ends_message);
        if grew {
            self.acks.window_grew();
        }
    }

    /// Acknowledge at once, or later (RFC 9293 MUST-58, SHLD-19: at least every second full segment).
    #[inline]
    pub(super) fn decide_ack(&mut self, cx: &mut Context<'_>) {
        if self.acks.wanted() != Wanted::Sometime {
            return;
        }
        let unacknowledged = self.rx.nxt.since(self.rx.wup);
        let second = unacknowledged > u32::from(self.rx.mss)
            && ((self.rx.ring.len() as u32) < self.read_low() || self.rx.window() >= self.rx.wnd);
        if second || self.acks.is_quick() {
            self.acks.want_now();
        } else {
            self.timers.set_earlier(Purpose::DelayedAck, self.acks.due(cx.now, self.sender.srtt_micros()));
        }
    }
}
