//! Data, urgent data and the FIN in a segment (RFC 9293 section 3.10.7.4, sixth to eighth check; rows T6, T17).
//!
//! Data are placed in the ring where they belong, in order or not. What came out of order stands in the interval
//! set until the gap in front of it closes; there is no list of packets. A FIN that came early is remembered by
//! its place.

use crate::socket::Ready;
use crate::tcp::Seq;
use crate::tcp::connection::{Connection, Context, UrgentIn};
use crate::tcp::error::SocketError;
use crate::tcp::intervals::Inserted;
use crate::tcp::segment::{Disposition, Output, Refusal, Reset, Segment};
use crate::tcp::state::State;
use crate::wire::tcp::flag;

impl Connection {
    /// Takes data and FIN. `Ok`: the connection goes on.
    pub(super) fn on_data(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        echo_age: Option<u32>,
    ) -> Result<Output, Disposition> {
        let fin = segment.has(flag::FIN);
        // A SYN that is accepted here (a crossing SYN-ACK) takes one number in front of the data.
        let start = segment.seq + u32::from(segment.has(flag::SYN));
        let len = segment.len();
        if len == 0 && !fin {
            return Ok(Output::None);
        }
        if !self.state.receives() {
            // CLOSE-WAIT and behind: the peer said that nothing more comes. Old data are acknowledged again.
            self.acks.want_now();
            return Ok(Output::Now);
        }
        let end = start + len;
        if self.orphan && len > 0 && end.after(self.rx.nxt) {
            // Nobody can read it, and the peer must know (RFC 9293 section 3.6.1 and MAY-1; RFC 2525 section 2.17).
            cx.stats.abort_on_data += 1;
            return Err(self.end(cx, Some(SocketError::Reset), Reset::answer_to(segment)));
        }
        let edge = self.rx.edge();
        if end.at_or_before(self.rx.nxt) && !(fin && end == self.rx.nxt) {
            return Ok(self.on_duplicate(cx, start, end + u32::from(fin)));
        }
        if start.at_or_after(edge) && len > 0 {
            self.acks.quicken(self.rx.full_segments());
            self.acks.want_now();
            return Ok(Output::Now);
        }
        // Trim what came before, and what was never offered.
        let skip = self.rx.nxt.since(start).min(len);
        if skip > 0 && len > 0 {
            self.report_duplicate(cx, start, self.rx.nxt);
            self.acks.quicken(self.rx.full_segments());
            self.acks.want_now();
        }
        let kept_end = end.min(edge);
        let from = start + skip;
        let fin = fin && kept_end == end;
        if from == self.rx.nxt {
            self.in_order(cx, segment, skip, kept_end, fin, echo_age)
        } else {
            Ok(self.out_of_order(cx, segment, from, kept_end, fin))
        }
    }

    /// The next bytes, and whatever they join with.
    fn in_order(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        skip: u32,
        end: Seq,
        fin: bool,
        echo_age: Option<u32>,
    ) -> Result<Output, Disposition> {
        let wanted = end.since(self.rx.nxt);
        let stored = self.place(cx, segment, skip, wanted, 0);
        let had_gap = !self.ahead.is_empty();
        if stored > 0 {
            self.rx.nxt += stored;
            self.rx.ring.advance(stored as usize);
            self.received(cx, stored, segment.has(flag::PSH), echo_age);
        }
        if fin && stored == wanted {
            self.rx.set_fin(Some(self.rx.nxt));
        }
        if had_gap {
            let joined = self.join(cx);
            // RFC 5681 section 4.2: a segment that fills a gap is acknowledged at once.
            self.acks.want_now();
            if joined > 0 {
                self.rx.ring.advance(joined as usize);
            }
        }
        if segment.congested && self.ecn.on {
            self.ecn.echo = true;
            self.acks.want_now();
        }
        self.take_urgent_byte(cx);
        if stored > 0 && self.rx.ring.len() as u32 >= self.read_low() {
            self.news |= Ready::READABLE;
        }
        if stored < wanted {
            // No memory: it is as if the rest had been lost, and the window says so.
            cx.stats.no_memory += 1;
            self.rx.on_pressure();
            self.acks.want_now();
            if stored == 0 {
                return Err(Disposition::Refused(Refusal::NoMemory, Output::Later, None));
            }
        }
        if self.rx.fin() == Some(self.rx.nxt) {
            return self.on_fin(cx);
        }
        self.decide_ack(cx);
        Ok(if had_gap { Output::Now } else { Output::None })
    }

    /// Bytes behind a gap: kept where they belong, and acknowledged at once (RFC 5681 section 4.2, RFC 9293
    /// SHLD-31).
    fn out_of_order(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        from: Seq,
        end: Seq,
        fin: bool,
    ) -> Output {
        self.acks.quicken(self.rx.full_segments());
        self.acks.want_now();
        let len = end.since(from);
        let offset = from.since(self.rx.nxt);
        let skip = from.since(segment.seq);
        let stored = self.place(cx, segment, skip, len, offset);
        if stored < len {
            cx.stats.no_memory += 1;
            self.rx.on_pressure();
        }
        if fin && stored == len {
            self.rx.set_fin(Some(end));
        }
        let mark = from + stored + u32::from(fin && stored == len);
        if mark != from {
            match self.ahead.insert(cx.ranges, from, mark) {
                Inserted::Kept { duplicate, .. } => {
                    cx.stats.ofo_queued += 1;
                    self.counts.out_of_order = self.counts.out_of_order.wrapping_add(1);
                    if let Some((start, end)) = duplicate {
                        self.report_duplicate(cx, start, end);
                    }
                }
                Inserted::Full => {
                    cx.stats.no_memory += 1;
                    if self.rx.fin() == Some(end) {
                        self.rx.set_fin(None);
                    }
                }
            }
        }
        Output::Now
    }

    /// The gap in front of the earliest range closed: takes all that follows. Gives the bytes that became
    /// readable.
    fn join(&mut self, cx: &mut Context<'_>) -> u32 {
        let before = self.rx.nxt;
        let reached = self.ahead.advance(cx.ranges, before);
        // The place of the FIN is a number of the range, and no byte of the ring.
        let fin = self.rx.fin().filter(|fin| fin.before(reached)).is_some();
        self.rx.nxt = if fin { reached - 1 } else { reached };
        let joined = self.rx.nxt.since(before);
        self.counts.bytes_in += u64::from(joined);
        joined
    }

    /// Copies `count` bytes of the segment's data from `skip` on to `offset` behind the readable ones. Gives how
    /// many found memory.
    fn place(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        skip: u32,
        count: u32,
        offset: u32,
    ) -> u32 {
        let mut stored = 0;
        let (ring, blocks) = (&mut self.rx.ring, &mut *cx.blocks);
        segment.pieces(skip as usize, count as usize, |at, piece| {
            if at == stored {
                stored += ring.write_at(blocks, offset as usize + at, piece);
            }
        });
        stored as u32
    }

    /// Everything in the segment was here before.
    fn on_duplicate(&mut self, cx: &mut Context<'_>, start: Seq, end: Seq) -> Output {
        cx.stats.delayed_acks_lost += 1;
        self.report_duplicate(cx, start, end.min(self.rx.nxt));
        self.acks.quicken(self.rx.full_segments());
        self.acks.want_now();
        Output::Now
    }

    fn report_duplicate(&mut self, cx: &Context<'_>, start: Seq, end: Seq) {
        if cx.settings.dsack && self.sack && start.before(end) {
            self.dsack = Some(match self.dsack {
                // Two that touch are one (RFC 2883 section 4 has room for one only).
                Some((old, until)) if old.at_or_before(end) && start.at_or_before(until) => {
                    (old.min(start), until.max(end))
                }
                _ => (start, end),
            });
        }
    }

    /// All data came, and the FIN stands next (RFC 9293 section 3.10.7.4, eighth; row T14).
    fn on_fin(&mut self, cx: &mut Context<'_>) -> Result<Output, Disposition> {
        self.rx.nxt += 1;
        self.ahead.clear(cx.ranges);
        // Who sends no more need not know what it sent twice (as Linux).
        self.dsack = None;
        self.acks.want_now();
        self.news |= Ready::READABLE | Ready::READ_CLOSED;
        match self.state {
            State::SynReceived(_) | State::Established => {
                self.state = State::CloseWait;
                self.acks.set_pingpong(true);
            }
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2(_) => return Err(self.time_wait(cx)),
            State::SynSent | State::CloseWait | State::Closing | State::LastAck | State::Closed => {}
        }
        // At the end of the turn: an owner that closes at once lets the ACK ride on our FIN.
        Ok(Output::Later)
    }

    /// The urgent pointer (RFC 9293 section 3.8.5). As Linux and everybody else, we take it to point behind the
    /// urgent byte (RFC 6093 section 2.1), and the last byte in front of it as the one that is urgent.
    pub(super) fn on_urgent_pointer(&mut self, segment: &Segment<'_>) {
        if !self.state.receives() || segment.urgent == 0 {
            return;
        }
        let at = segment.seq + (u32::from(segment.urgent) - 1);
        // What came already cannot become urgent, and an older announcement says nothing new.
        if at.before(self.rx.nxt) || self.urgent_in.mark().is_some_and(|known| !at.after(known)) {
            return;
        }
        self.urgent_in = UrgentIn::Announced(at);
        self.counts.urgent = self.counts.urgent.wrapping_add(1);
        self.news |= Ready::PRIORITY; // MUST-32: the owner hears of it even before it is here
    }

    /// Copies the announced byte out of the stream once it is there.
    fn take_urgent_byte(&mut self, cx: &mut Context<'_>) {
        let UrgentIn::Announced(at) = self.urgent_in else { return };
        let read = self.rx.nxt - self.rx.ring.len() as u32;
        if !at.before(self.rx.nxt) || at.before(read) {
            return;
        }
        let mut byte = [0];
        if self.rx.ring.peek(cx.blocks, at.since(read) as usize, &mut byte) == 1 {
            self.urgent_in = UrgentIn::Here(at, byte[0]);
            self.news |= Ready::PRIORITY;
        }
    }
}
