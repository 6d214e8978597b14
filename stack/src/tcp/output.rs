//! What leaves a connection, decided when the caller asks (RFC 9293 sections 3.8.6 and 3.7.4; RFC 1122 section
//! 4.2.3.4; rows T2, T3).
//!
//! ```text
//!   poll_transmit ─┬─ SYN, SYN-ACK            (handshake)
//!                  ├─ what was lost           (sender: next_retransmission)
//!                  ├─ new data and FIN        window ∧ congestion window ∧ pacing ∧ Nagle
//!                  ├─ a probe                 (zero window, keepalive)
//!                  └─ an ACK that cannot wait
//! ```
//! New data go as a train: as many full segments as everything allows, so that one decision serves a burst.
//!
//! Invariants
//! 1. Nothing is sent beyond the window, except probes; nothing new beyond the congestion window, except a tail
//!    loss probe.
//! 2. A segment smaller than the MSS leaves only at the end of what was written, and only when Nagle's rule, the
//!    cork and the owner's hint that more comes allow it.

use super::Seq;
use super::acks::Wanted;
use super::connection::{Connection, Context};
use super::options::{Emitted, MAX_SACKS, SynOptions};
use super::probing::Probing;
use super::recovery::Limit;
use super::segment::Outgoing;
use super::state::{State, SynReceived};
use super::timers::Purpose;
use crate::wire::tcp::flag;
use core::num::NonZeroU32;
use core::time::Duration;

impl Connection {
    /// The next segment or train of at most `budget` segments; `None` when nothing may leave now. Call it until
    /// then: the timers are set by the last call.
    #[inline]
    pub fn poll_transmit(&mut self, cx: &mut Context<'_>, budget: u32) -> Option<Outgoing> {
        let out = match self.whole_message(cx) {
            None => self.next_output(cx, budget.max(1)),
            out => out,
        };
        self.after_poll(cx, out.as_ref());
        out
    }

    /// As [`Connection::poll_transmit`], without its short way: what that is measured by.
    #[cfg(test)]
    pub(super) fn poll_transmit_the_long_way(
        &mut self,
        cx: &mut Context<'_>,
        budget: u32,
    ) -> Option<Outgoing> {
        let out = self.next_output(cx, budget.max(1));
        self.after_poll(cx, out.as_ref());
        out
    }

    #[inline]
    fn after_poll(&mut self, cx: &mut Context<'_>, out: Option<&Outgoing>) {
        match out {
            Some(train) => {
                self.counts.sent(cx.now, train.count(), train.len);
                self.stamp_sent(cx, train.seq, train.len, u32::from(train.mss));
            }
            None => self.settle(cx),
        }
    }

    /// After a poll that gave something: true when the next one would give nothing, as nearly always. The timers are
    /// then set, and that poll need not be made.
    #[inline]
    pub fn is_all(&mut self, cx: &mut Context<'_>) -> bool {
        let nothing_waits = matches!(self.state, State::Established)
            && self.sender.nxt() == self.write_end()
            && !self.tx.fin
            && !self.tx.probe
            && self.tx.repeat.is_none()
            && self.acks.wanted() != Wanted::Now
            && !self.sender.has_lost();
        if nothing_waits {
            self.settle(cx);
        }
        nothing_waits
    }

    /// What leaves most often where it is not a stream: all that the owner wrote, less than a segment, with nothing in
    /// doubt. It comes to what [`Connection::next_output`] comes to, in fewer steps. `None`: it is something else, and
    /// nothing has changed.
    #[inline]
    fn whole_message(&mut self, cx: &mut Context<'_>) -> Option<Outgoing> {
        let (una, nxt) = (self.sender.una(), self.sender.nxt());
        let len = self.write_end().since(nxt);
        let mss = self.bound_by_window(self.tx.mss);
        let usual = matches!(self.state, State::Established)
            && len > 0
            && len < u32::from(mss)
            && len <= (una + self.tx.wnd).since(nxt)
            && !(self.tx.fin || self.tx.force || self.tx.tail_probe || self.knobs.searching || self.ecn.on)
            && self.tx.repeat.is_none()
            && self.dsack.is_none()
            && self.ahead.is_empty()
            && self.rare.is_none()
            && self.sender.may_send_one()
            && self.small_may_leave();
        if !usual {
            return None;
        }
        let was_idle = self.sender.outstanding() == 0;
        if was_idle {
            self.sender.on_idle_restart(cx.now);
        }
        if self.sender.on_sent(cx.runs, cx.now, nxt, len, true).is_err() {
            return None; // tried again there, and what is to be done then is done
        }
        if was_idle {
            self.tx.progress = cx.now;
        }
        self.tx.small_end = nxt + len;
        let mut options = Emitted::NONE;
        if self.stamps.on {
            options.push_timestamps((self.stamps.clock(cx.now), self.stamps.recent));
        }
        let flags = if self.knobs.more { flag::ACK } else { flag::ACK | flag::PSH };
        let mut out = self.header(cx, nxt, flags, options, 1);
        out.offset = nxt.since(self.tx.start);
        out.len = len;
        out.mss = mss;
        self.acks.on_data_sent(cx.now);
        cx.stats.out_segs += 1;
        Some(out)
    }

    fn next_output(&mut self, cx: &mut Context<'_>, budget: u32) -> Option<Outgoing> {
        match self.state {
            State::Closed => return None,
            State::SynSent => return self.syn(cx, flag::SYN),
            State::SynReceived(how) => {
                let lost = self.sender.next_retransmission(cx.runs, cx.now);
                if self.tx.syn || how.answer || lost.is_some_and(|(seq, _)| seq == self.iss) {
                    return self.syn(cx, flag::SYN | flag::ACK);
                }
            }
            _ => {}
        }
        if self.state.sends() {
            if self.sender.outstanding() > 0
                && let Some((seq, len)) = self.sender.next_retransmission(cx.runs, cx.now)
                && let Some(out) = self.retransmit(cx, seq, len)
            {
                return Some(out);
            }
            if let Some((seq, len)) = self.tx.repeat.take()
                && seq.at_or_after(self.sender.una())
                && let Some(out) = self.retransmit(cx, seq, len.get())
            {
                let done = out.len + u32::from(out.flags & flag::FIN != 0);
                self.tx.repeat =
                    NonZeroU32::new(len.get().saturating_sub(done)).map(|left| (seq + done, left));
                return Some(out);
            }
            if let Some(out) = self.new_data(cx, budget) {
                return Some(out);
            }
        }
        if self.tx.probe {
            self.tx.probe = false;
            return Some(self.probe_segment(cx));
        }
        if self.acks.wanted() == Wanted::Now {
            return Some(self.bare(cx, self.sender.nxt(), flag::ACK));
        }
        None
    }

    /// New data, as much as everything allows, and the FIN behind them.
    fn new_data(&mut self, cx: &mut Context<'_>, budget: u32) -> Option<Outgoing> {
        let nxt = self.sender.nxt();
        let end = self.write_end();
        let stop = self.record_end(nxt, end);
        let record = stop != end;
        let waiting = stop.since(nxt);
        let fin = self.tx.fin && !record && !nxt.after(end);
        if waiting == 0 && !fin {
            return None;
        }
        let forced = core::mem::take(&mut self.tx.force);
        let mut segments = self.sender.may_send(cx.now);
        if core::mem::take(&mut self.tx.tail_probe) {
            segments = segments.max(1); // RFC 8985 section 7.3: one segment, whatever the window of congestion
        }
        let segments = segments.min(budget);
        if segments == 0 {
            return None;
        }
        let segments = if segments > 2 { segments.min(self.sender.burst()) } else { segments };
        if self.sender.outstanding() == 0 {
            self.sender.on_idle_restart(cx.now);
            self.tx.progress = cx.now;
        }
        let mut options = Emitted::NONE;
        self.common_options(cx, &mut options);
        let extra = (options.len() as u16).saturating_sub(self.fixed_options_len());
        let mss = u32::from(self.bound_by_window(self.tx.mss).saturating_sub(extra).max(1));
        let room = (self.sender.una() + self.tx.wnd).since(nxt);
        if self.knobs.searching && !forced {
            match self.probe_path(cx, waiting, room, mss) {
                Probing::No => {}
                Probing::Wait => return None,
                Probing::Send(probe) => return Some(probe),
            }
        }
        // What ends with a record is not less than a segment: nothing can join it (Nagle's rule is of the last one alone).
        let (len, carries_fin) = match record && waiting <= room.min(segments.saturating_mul(mss)) {
            true => (waiting, false),
            false => self.how_much(waiting, fin, room, mss, segments, forced)?,
        };
        let count = len.div_ceil(mss).max(1);
        let all = len == waiting;
        // Each segment is remembered before it leaves: without a place to remember it in, it does not.
        let mut sent = 0;
        for n in 0..count {
            let last = n + 1 == count;
            let this = (len - n * mss).min(mss) + u32::from(last && carries_fin);
            if self.sender.on_sent(cx.runs, cx.now, nxt + n * mss, this, all && last && !record).is_err() {
                cx.stats.run_pool_empty += 1;
                self.timers.set_earlier(Purpose::Memory, cx.now + MEMORY_RETRY);
                break;
            }
            sent += 1;
        }
        if sent == 0 {
            return None;
        }
        let whole = sent == count;
        let len = if whole { len } else { sent * mss };
        let mut flags = flag::ACK;
        if whole && carries_fin {
            flags |= flag::FIN;
        }
        // RFC 9293 MUST-61: at the latest at the end of what waits. And at the end of each train of more than one, so
        // that a receiver that gathers segments passes them on (as Linux); and when a timer forced it out.
        if len > 0 && (whole && all && (record || !self.knobs.more) || sent > 1 || forced) {
            flags |= flag::PSH;
        }
        if len > 0 && self.sender.cwr_due() && self.ecn.on {
            flags |= flag::CWR;
        }
        if whole && len % mss != 0 {
            self.tx.small_end = nxt + len;
        }
        let mut out = self.header(cx, nxt, flags, options, sent);
        out.offset = nxt.since(self.tx.start);
        out.len = len;
        out.mss = mss as u16;
        out.ect = self.ecn.on && len > 0;
        self.mark_urgent(&mut out);
        self.acks.on_data_sent(cx.now);
        cx.stats.out_segs += u64::from(sent);
        Some(out)
    }

    /// Where the segments that begin at `from` end at the latest: at the next end of a record, or at the end of all.
    #[inline]
    fn record_end(&mut self, from: Seq, end: Seq) -> Seq {
        let una = self.sender.una();
        let Some(rare) = self.rare.as_mut().filter(|rare| !rare.records.is_empty()) else { return end };
        while rare.records.front().is_some_and(|at| !at.after(una)) {
            rare.records.pop_front();
        }
        let next = rare.records.partition_point(|at| !at.after(from));
        rare.records.get(next).copied().filter(|at| at.before(end)).unwrap_or(end)
    }

    /// How many bytes of what waits may leave, and whether the FIN goes with them.
    #[inline]
    fn how_much(
        &self,
        waiting: u32,
        fin: bool,
        room: u32,
        mss: u32,
        segments: u32,
        forced: bool,
    ) -> Option<(u32, bool)> {
        let allowed = segments.saturating_mul(mss);
        if waiting <= room && waiting <= allowed {
            let fin = fin && waiting < room; // the FIN takes a byte of the window
            if waiting == 0 {
                return fin.then_some((0, true));
            }
            let tail = waiting % mss;
            if tail == 0 || fin || forced || self.small_may_leave() {
                return Some((waiting, fin));
            }
            let full = waiting - tail;
            return (full > 0).then_some((full, false));
        }
        if room >= mss {
            // A window that ends within a segment is used up, unless Nagle's rule holds the piece (as Linux): the
            // full segment in front of it satisfies RFC 9293 section 3.8.6.2.1.
            let len = room.min(allowed);
            let tail = len % mss;
            return Some(if tail == 0 || self.small_may_leave() {
                (len, false)
            } else {
                (len - tail, false)
            });
        }
        // RFC 9293 section 3.8.6.2.1: less than a segment leaves only when the timer says so (MUST-38).
        (forced && room > 0).then_some((room.min(waiting).min(mss), false))
    }

    /// Nagle's rule as Minshall refined it: a small segment waits while another small one is unacknowledged
    /// (RFC 9293 SHLD-7, section 3.7.4); TCP_NODELAY turns it off (MUST-17), a cork always holds it.
    #[inline]
    fn small_may_leave(&self) -> bool {
        if self.tx.fin || self.knobs.push || self.urgent_end().is_some_and(|up| up.after(self.sender.nxt())) {
            return true;
        }
        if self.knobs.cork || self.knobs.hold {
            return false;
        }
        self.knobs.nodelay || self.sender.outstanding() == 0 || !self.tx.small_end.after(self.sender.una())
    }

    /// A peer whose whole window is small gets segments of half of it (RFC 9293 section 3.8.6.2.1), so that two
    /// can be on the way.
    #[inline]
    fn bound_by_window(&self, mss: u16) -> u16 {
        let largest = self.tx.wnd_max;
        let bound = if largest > 536 { largest / 2 } else { largest };
        if bound > 0 && u32::from(mss) > bound { bound.max(16) as u16 } else { mss }
    }

    /// A segment that was lost goes again, cut to what is a segment now (RFC 9293 section 3.8.1).
    fn retransmit(&mut self, cx: &mut Context<'_>, seq: Seq, len: u32) -> Option<Outgoing> {
        let end = self.write_end();
        let data = self.record_end(seq, end).since(seq).min(len);
        let data = data.min(u32::from(self.tx.mss));
        let fin = self.fin_sent() && seq + data == end && data < len;
        // A window that shrank below it lets one segment pass, as a probe.
        if !(seq + data).at_or_before(self.sender.una() + self.tx.wnd) && seq != self.sender.una() {
            return None;
        }
        if data == 0 && !fin {
            return None;
        }
        let mut options = Emitted::NONE;
        self.common_options(cx, &mut options);
        // SACK blocks take their room from the data, or the segment would be longer than the path allows.
        let extra = u32::from((options.len() as u16).saturating_sub(self.fixed_options_len()));
        let most = u32::from(self.tx.mss).saturating_sub(extra).max(1);
        let (data, fin) = if data > most { (most, false) } else { (data, fin) };
        if self.knobs.searching {
            self.forget_probe(cx);
        }
        self.sender.on_retransmitted(cx.runs, cx.now, seq, data + u32::from(fin));
        let mut flags = flag::ACK;
        if fin {
            flags |= flag::FIN;
        }
        if seq + data == end && data > 0 {
            flags |= flag::PSH;
        }
        let mut out = self.header(cx, seq, flags, options, 1);
        out.offset = seq.since(self.tx.start);
        out.len = data;
        out.mss = data.max(1) as u16;
        self.mark_urgent(&mut out);
        cx.stats.retrans_segs += 1;
        Some(out)
    }

    /// A SYN or SYN-ACK, for the first time or again.
    fn syn(&mut self, cx: &mut Context<'_>, flags: u16) -> Option<Outgoing> {
        let first = self.tx.syn && self.sender.nxt() == self.iss;
        let again = !first && self.sender.next_retransmission(cx.runs, cx.now).is_some();
        let answer = matches!(self.state, State::SynReceived(how) if how.answer);
        if !first && !again && !answer {
            return None;
        }
        let is_syn_ack = flags & flag::ACK != 0;
        let opens_fast = self.rare.as_ref().is_some_and(|rare| rare.opens_fast());
        if first && self.is_deferred() {
            if self.tx.ring.is_empty() {
                return None;
            }
            self.go_on();
        }
        let cookie = self.rare.as_ref().and_then(|rare| rare.fast_open.clone());
        // Data go with the first SYN only (RFC 7413 section 4.1.3), and only with a cookie, or where none is asked for.
        let data = match first && !is_syn_ack && opens_fast {
            true => (self.tx.ring.len() as u32).min(self.syn_data_room()),
            false => 0,
        };
        if first {
            if self.sender.on_sent(cx.runs, cx.now, self.iss, 1, false).is_err() {
                self.timers.set_earlier(Purpose::Memory, cx.now + MEMORY_RETRY);
                return None;
            }
            if data > 0 && self.sender.on_sent(cx.runs, cx.now, self.iss + 1, data, true).is_err() {
                return None;
            }
            self.tx.progress = cx.now;
            cx.stats.out_segs += 1;
        } else if again {
            self.sender.on_retransmitted(cx.runs, cx.now, self.iss, 1);
            cx.stats.retrans_segs += 1;
        }
        if let State::SynReceived(how) = self.state {
            self.state = State::SynReceived(SynReceived { answer: false, ..how });
        }
        self.tx.syn = false;
        let mut flags = flags;
        if self.ecn.on {
            // RFC 3168 section 6.1.1: asked for with both, granted with one; not asked again after a loss.
            flags |= match (is_syn_ack, again) {
                (true, _) => flag::ECE,
                (false, false) => flag::ECE | flag::CWR,
                (false, true) => 0,
            };
        }
        let mut options = Emitted::NONE;
        let echo = if is_syn_ack { self.stamps.recent } else { 0 };
        if let Some((kind, len)) = self.rare.as_ref().and_then(|rare| rare.signature) {
            options.push_signature(kind, len);
        }
        SynOptions {
            mss: self.rx.advertised_mss,
            sack: self.sack,
            timestamps: self.stamps.on.then(|| (self.stamps.clock(cx.now), echo)),
            scale: self.offers_scale().then_some(self.rx.scale),
            // A SYN that is sent again may have been lost for the option's sake (as Linux).
            fast_open: if is_syn_ack || again { None } else { cookie.as_deref() },
            experimental: false,
        }
        .emit(&mut options);
        self.acks.on_sent(1);
        if is_syn_ack {
            self.rx.wup = self.rx.nxt;
        }
        Some(Outgoing {
            seq: self.iss,
            ack: if is_syn_ack { self.rx.nxt } else { Seq(0) },
            flags,
            window: self.rx.wnd.min(super::receiver::MAX_UNSCALED) as u16,
            urgent: 0,
            options,
            offset: 0,
            len: data,
            mss: data.max(1) as u16,
            ect: false,
            signature: self.signature_place(),
            dont_fragment: self.knobs.pmtud,
        })
    }

    /// Data that a SYN may carry: what the server's last SYN-ACK and the path allow, and room for all options.
    pub(super) fn syn_data_room(&self) -> u32 {
        let mss = self.tx.peer_mss.min(self.tx.path_mss);
        u32::from(mss).saturating_sub(super::options::MAX_LEN as u32)
    }

    /// A byte that the peer has already: it can only answer with where it stands (RFC 9293 sections 3.8.4 and
    /// 3.8.6.1).
    fn probe_segment(&mut self, cx: &mut Context<'_>) -> Outgoing {
        self.bare(cx, self.sender.una() - 1, flag::ACK)
    }

    /// A segment without data.
    fn bare(&mut self, cx: &mut Context<'_>, seq: Seq, flags: u16) -> Outgoing {
        let mut options = Emitted::NONE;
        self.common_options(cx, &mut options);
        cx.stats.out_segs += 1;
        self.header(cx, seq, flags, options, 1)
    }

    /// What all segments after the handshake share. `count`: segments that it stands for.
    #[inline]
    pub(super) fn header(
        &mut self,
        cx: &mut Context<'_>,
        seq: Seq,
        flags: u16,
        options: Emitted,
        count: u32,
    ) -> Outgoing {
        let was_shut = self.rx.shut;
        if self.rx.is_tight() {
            self.acks.end_quick();
        }
        let window = self.rx.offer();
        if self.rx.shut != was_shut {
            match was_shut {
                true => cx.stats.from_zero_window += 1,
                false => cx.stats.to_zero_window += 1,
            }
        }
        self.acks.on_sent(count);
        self.timers.clear(Purpose::DelayedAck);
        if self.dsack.take().is_some() {
            cx.stats.dsacks_sent += 1;
        }
        let ece = if self.ecn.echo { flag::ECE } else { 0 };
        Outgoing {
            seq,
            ack: self.rx.nxt,
            flags: flags | ece,
            window,
            urgent: 0,
            options,
            offset: 0,
            len: 0,
            mss: 1,
            ect: false,
            signature: self.signature_place(),
            dont_fragment: self.knobs.pmtud,
        }
    }

    /// Signature, timestamps, and the ranges that came out of order.
    #[inline]
    pub(super) fn common_options(&self, cx: &Context<'_>, options: &mut Emitted) {
        if let Some(rare) = &self.rare
            && let Some((kind, len)) = rare.signature
        {
            options.push_signature(kind, len);
        }
        if self.stamps.on {
            options.push_timestamps((self.stamps.clock(cx.now), self.stamps.recent));
        }
        if self.sack && (self.dsack.is_some() || !self.ahead.is_empty()) {
            let mut blocks = [(Seq(0), Seq(0)); 1 + MAX_SACKS];
            let mut count = 0;
            if let Some(dsack) = self.dsack {
                blocks[0] = dsack; // RFC 2883 section 4: the first block
                count = 1;
            }
            count += self.ahead.latest(cx.ranges, &mut blocks[count..]);
            options.push_sacks(&blocks[..count]);
        }
    }

    fn signature_place(&self) -> Option<u8> {
        let (kind, _) = self.rare.as_ref()?.signature?;
        Some(if kind == super::options::MD5 { 4 } else { 2 })
    }

    /// Points at the end of urgent data while it lies ahead (RFC 9293 section 3.8.5).
    #[inline]
    pub(super) fn mark_urgent(&mut self, out: &mut Outgoing) {
        let Some(up) = self.urgent_end() else { return };
        let ahead = up - out.seq;
        if ahead > 0 {
            out.flags |= flag::URG;
            out.urgent = ahead.min(0xffff) as u16;
        }
        if self.sender.una().at_or_after(up) {
            self.rare().urgent = None;
        }
    }

    /// Nothing leaves now: sets the timers that will bring the next thing.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if self.state == State::Closed {
            return;
        }
        self.arm_recovery();
        if self.tx.starved {
            self.tell_room(); // what left may have made room for what may wait unsent
        }
        let nxt = self.sender.nxt();
        let end = self.write_end();
        let waits = self.state.sends() && (end.after(nxt) || (self.tx.fin && !self.fin_sent()));
        let outstanding = self.sender.outstanding() > 0;
        if !waits {
            self.timers.clear(Purpose::Persist);
            self.timers.clear(Purpose::Pacing);
            // Everything left, the window has room, and the owner waits for some in the buffer: the buffer is too small.
            let starved = self.tx.starved && !self.sender.is_cwnd_limited();
            // A SYN alone is no data that the network holds, and Linux counts no time for it.
            let only_syn = matches!(self.state, State::SynSent | State::SynReceived(_))
                && nxt.since(self.sender.una()) == 1;
            let limit = match outstanding && !only_syn {
                false => Limit::Idle,
                true if starved => Limit::Buffer,
                true => Limit::Busy,
            };
            self.sender.limited_by(cx.now, limit);
            return;
        }
        let paced = self.sender.pacing_deadline();
        if paced > cx.now && self.sender.may_send(cx.now) == 0 {
            self.timers.set(Purpose::Pacing, paced);
        }
        let room = (self.sender.una() + self.tx.wnd).since(nxt);
        let by_window = room < u32::from(self.tx.mss) && room < end.since(nxt).max(1);
        self.sender.limited_by(cx.now, if by_window { Limit::Window } else { Limit::Busy });
        if !outstanding && !self.timers.is_armed(Purpose::Pacing) {
            // Nothing else would ever wake this connection (RFC 9293 MUST-36: no reliance on a window update).
            if !self.timers.is_armed(Purpose::Persist) {
                self.timers.set(Purpose::Persist, cx.now + self.probe_interval(cx));
            }
        } else {
            self.timers.clear(Purpose::Persist);
        }
    }

    /// Time to the next zero-window probe: the RTO, doubled for each that went out (RFC 9293 SHLD-30), with the
    /// sender's largest RTO as its end.
    pub(super) fn probe_interval(&self, cx: &Context<'_>) -> Duration {
        let base = self.sender.rto().max(cx.settings.sender.rto_min);
        let doubled = base.saturating_mul(1 << self.tx.backoff.min(16));
        doubled.min(cx.settings.sender.rto_max)
    }
}

/// When a send that found no memory is tried again: long for a core, short for a person.
pub(super) const MEMORY_RETRY: Duration = Duration::from_millis(10);
