//! What the owner of a connection may ask for (RFC 9293 section 3.9.1; rows T2, T14, T16, T17): send, receive,
//! close, abort, and the options. Calls never wait: they do what can be done now, and [`Connection::take_news`]
//! says later that more can.
//!
//! | call | states that it moves |
//! |---|---|
//! | `shutdown` of sending | SYN-RECEIVED, ESTABLISHED to FIN-WAIT-1; CLOSE-WAIT to LAST-ACK |
//! | `close` | the same, and the owner lets go; with unread data, or linger of zero: CLOSED with a reset |
//! | `abort` | any to CLOSED with a reset |

use super::Seq;
use super::congestion::Algorithm;
use super::connection::{Connection, Context, UrgentIn};
use super::error::SocketError;
use super::segment::{Disposition, Output, Reset};
use super::state::{FinWait2, State};
use super::timers::Purpose;
use super::tx_stamps::StampKeys;
use crate::Instant;
use crate::checksum::Sum;
use crate::icmp::v4::DEFAULT_TTL;
use crate::limits::MAX_RECORD_ENDS;
use crate::socket::Ready;
use core::time::Duration;

/// An option of a connection, with its value. Buffers count data; a POSIX face halves what Linux doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketOption {
    /// TCP_NODELAY.
    NoDelay(bool),
    /// TCP_CORK.
    Cork(bool),
    /// TCP_QUICKACK: acknowledge at once from now on, or wait.
    QuickAck(bool),
    /// TCP_MAXSEG, 88 to 32767: before the handshake.
    MaxSegment(u16),
    /// TCP_CONGESTION.
    Congestion(Algorithm),
    /// SO_MAX_PACING_RATE in bytes a second; `u64::MAX`: none.
    MaxPacingRate(u64),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE, 1 to 32767 s.
    KeepIdle(Duration),
    /// TCP_KEEPINTVL, 1 to 32767 s.
    KeepInterval(Duration),
    /// TCP_KEEPCNT, 1 to 127.
    KeepCount(u8),
    /// TCP_USER_TIMEOUT; zero: none.
    UserTimeout(Duration),
    /// SO_LINGER: `Some` of zero makes close reset; a longer time is how long a blocking face waits in close.
    Linger(Option<Duration>),
    /// TCP_LINGER2; `None`: do not wait in FIN-WAIT-2.
    Linger2(Option<Duration>),
    /// TCP_SYNCNT, 1 to 127.
    SynRetries(u8),
    /// TCP_NOTSENT_LOWAT.
    NotSentLow(u32),
    /// SO_RCVBUF.
    ReceiveBuffer(u32),
    /// SO_SNDBUF.
    SendBuffer(u32),
    /// SO_RCVLOWAT: at least this much before READABLE.
    ReceiveLow(u32),
    /// TCP_WINDOW_CLAMP.
    WindowClamp(u32),
    /// SO_OOBINLINE.
    OobInline(bool),
    /// IP_TOS or IPV6_TCLASS. The two low bits are ECN's and stay ours.
    Tos(u8),
    /// IP_TTL or IPV6_UNICAST_HOPS; `None`: the default.
    Ttl(Option<u8>),
    /// IP_MINTTL or IPV6_MINHOPCOUNT (RFC 5082): segments that come with less are dropped; 0: none are.
    MinTtl(u8),
    /// IP_MTU_DISCOVER: set DF and follow the path MTU.
    PathMtuDiscovery(bool),
    /// A signature on every segment: its option kind, and the bytes that the signer fills in. Before the handshake.
    Signature(Option<(u8, u8)>),
    /// SOF_TIMESTAMPING_OPT_ID: where the keys of stamps count from.
    StampKeys(StampKeys),
}

/// Which directions to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    Both,
}

impl Connection {
    /// Takes bytes to send; gives how many there was room for. `more`: more will follow soon (MSG_MORE).
    ///
    /// # Errors
    /// `WouldBlock`: no room now, WRITABLE will tell. `BrokenPipe`: the direction is closed. What ended the
    /// connection, once.
    pub fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8], more: bool) -> Result<usize, SocketError> {
        self.may_write()?;
        let wanted = bytes.len().min(self.room());
        let taken = if wanted == 0 { 0 } else { self.tx.ring.write(cx.blocks, &bytes[..wanted]) };
        self.knobs.more = more;
        self.knobs.hold = more;
        self.knobs.push &= taken == 0;
        if taken < bytes.len() {
            self.tx.starved = true;
            if taken < wanted {
                // The pool is empty, not our buffer: acknowledgments alone might never bring us room.
                self.timers.set_earlier(Purpose::Memory, cx.now + super::output::MEMORY_RETRY);
            }
        }
        if taken == 0 && !bytes.is_empty() { Err(SocketError::WouldBlock) } else { Ok(taken) }
    }

    /// As [`Connection::send`] for `len` bytes that `fill` writes piece by piece; it is told where among them each piece
    /// begins. An owner that is told how much room there is never asks for more: WRITABLE is news for it when it left
    /// less than the third of the buffer that makes a socket writable.
    ///
    /// # Errors
    /// As there.
    pub fn send_with(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        more: bool,
        fill: impl FnMut(&mut [u8], usize),
    ) -> Result<usize, SocketError> {
        self.may_write()?;
        let wanted = len.min(self.writable());
        let taken = if wanted == 0 { 0 } else { self.tx.ring.write_with(cx.blocks, wanted, fill) };
        self.knobs.more = more;
        self.knobs.hold = more;
        self.knobs.push &= taken == 0;
        self.tx.starved = taken < len || (self.writable() as u32) < self.tx.limit / 3;
        if taken < wanted {
            self.timers.set_earlier(Purpose::Memory, cx.now + super::output::MEMORY_RETRY);
        }
        Ok(taken)
    }

    /// Sends bytes of which the last is urgent (RFC 9293 section 3.8.5).
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_urgent(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<usize, SocketError> {
        let taken = self.send(cx, bytes, false)?;
        if taken == bytes.len() && taken > 0 {
            self.rare().urgent = Some(self.write_end());
        }
        Ok(taken)
    }

    /// The record that was written ends here (MSG_EOR), or `beyond` bytes behind what was written, or in front of its end: what
    /// follows begins another segment.
    pub fn end_record(&mut self, beyond: i32) {
        let (una, at) = (self.sender.una(), self.write_end() + beyond as u32);
        if !at.after(self.sender.nxt().max(self.tx.start)) {
            return; // it left, and what follows cannot join it
        }
        let records = &mut self.rare().records;
        while records.front().is_some_and(|at| !at.after(una)) {
            records.pop_front();
        }
        if records.len() < MAX_RECORD_ENDS && records.back().is_none_or(|last| at.after(*last)) {
            records.push_back(at);
        }
    }

    fn may_write(&mut self) -> Result<(), SocketError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.tx.fin || self.state == State::Closed {
            return Err(SocketError::BrokenPipe);
        }
        Ok(())
    }

    /// How much of a write is taken: what the buffer holds; with a bound of what may wait unsent (TCP_NOTSENT_LOWAT), what
    /// leaves at once and whole bursts up to the bound (as Linux, whose buffers are filled burst by burst); before a SYN
    /// that carries data, what it carries (RFC 7413 section 4.1.3).
    fn room(&self) -> usize {
        let room = (self.tx.limit as usize).saturating_sub(self.tx.ring.len());
        if self.tx.syn
            && self.state == State::SynSent
            && self.rare.as_ref().is_some_and(|rare| rare.opens_fast())
        {
            return room.min((self.syn_data_room() as usize).saturating_sub(self.tx.ring.len()));
        }
        self.bound_unsent(room)
    }

    fn bound_unsent(&self, room: usize) -> usize {
        let low = self.tx.low;
        if low == u32::MAX || !self.state.is_synchronized() {
            return room;
        }
        let mss = u32::from(self.tx.mss);
        let leaves = self.sender.cwnd().saturating_sub(self.sender.in_flight()).saturating_mul(mss);
        let leaves = leaves.min((self.sender.una() + self.tx.wnd).since(self.sender.nxt()));
        let burst = (self.tx.wnd_max / 2).clamp(mss, 65_535) / mss * mss;
        let bound = low.div_ceil(burst).saturating_mul(burst).saturating_add(leaves);
        room.min((bound as usize).saturating_sub(self.unsent()))
    }

    /// True when the owner may be told that it can write: a third of the buffer is free, and not half of what may wait
    /// unsent waits (as Linux).
    pub(super) fn has_room(&self) -> bool {
        let low = self.tx.low;
        (self.tx.ring.len() as u32) <= self.tx.limit / 3 * 2
            && (low == u32::MAX || (self.unsent() as u64) * 2 < u64::from(low))
    }

    /// Bytes that may be written now.
    pub fn writable(&self) -> usize {
        if self.tx.fin || self.state == State::Closed {
            return 0;
        }
        self.bound_unsent((self.tx.limit as usize).saturating_sub(self.tx.ring.len()))
    }

    /// Bytes that may be read now (SIOCINQ), an urgent byte that is out of band left out.
    pub fn readable(&self) -> usize {
        let len = self.rx.ring.len();
        let out_of_band = !self.knobs.oob_inline
            && self.urgent_in.mark().is_some_and(|at| at.is_in(self.read_at(), self.read_at() + len as u32));
        len - usize::from(out_of_band)
    }

    /// Bytes written and not acknowledged (SIOCOUTQ).
    pub fn unacknowledged(&self) -> usize {
        self.tx.ring.len()
    }

    /// Bytes written and not sent (SIOCOUTQNSD).
    pub fn unsent(&self) -> usize {
        self.write_end().since(self.sender.nxt().max(self.tx.start)) as usize
    }

    /// Reads what came; 0 is the end of what the peer sends. Reading stops at an urgent byte, so that the owner
    /// can see the mark (RFC 9293 MUST-31).
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. `NotConnected`: there was never a connection. What ended it, once.
    pub fn recv(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Result<usize, SocketError> {
        self.skip_urgent(cx);
        let most = out.len().min(self.before_mark());
        if most == 0 {
            return if out.is_empty() { Ok(0) } else { self.nothing_to_read() };
        }
        let count = self.rx.ring.read(cx.blocks, &mut out[..most]);
        self.was_read(cx, count);
        Ok(count)
    }

    /// Reads without taking, from `offset` on.
    ///
    /// # Errors
    /// As [`Connection::recv`].
    pub fn peek(
        &mut self,
        cx: &mut Context<'_>,
        offset: usize,
        out: &mut [u8],
    ) -> Result<usize, SocketError> {
        self.skip_urgent(cx);
        let most = out.len().min(self.before_mark().saturating_sub(offset));
        if most == 0 {
            return if out.is_empty() { Ok(0) } else { self.nothing_to_read() };
        }
        Ok(self.rx.ring.peek(cx.blocks, offset, &mut out[..most]))
    }

    /// Shows what can be read from `offset` on, at most `most` bytes, piece by piece, and leaves it there. Says how many
    /// bytes were shown: 0 when there are no more.
    pub fn peek_with(
        &mut self,
        cx: &mut Context<'_>,
        offset: usize,
        most: usize,
        mut show: impl FnMut(&[u8]),
    ) -> usize {
        self.skip_urgent(cx);
        let end = self.before_mark().min(offset.saturating_add(most));
        let mut at = offset;
        while at < end {
            let piece = self.rx.ring.slice(cx.blocks, at);
            let piece = &piece[..piece.len().min(end - at)];
            if piece.is_empty() {
                break;
            }
            show(piece);
            at += piece.len();
        }
        at - offset
    }

    /// How many bytes are to be read before the urgent byte, while there is one ahead or here.
    pub fn urgent_ahead(&self) -> Option<usize> {
        let at = self.urgent_in.mark()?;
        (!at.before(self.read_at())).then(|| at.since(self.read_at()) as usize)
    }

    /// How often the peer announced urgent data; wraps.
    pub fn urgent_announced(&self) -> u32 {
        self.counts.urgent
    }

    /// True when this end sends no more: it was shut down, or the connection is over.
    pub fn is_write_closed(&self) -> bool {
        self.tx.fin || self.state == State::Closed
    }

    /// The peer is this node: what is written waits in as large a buffer as on Linux's loopback interface.
    pub fn set_near(&mut self, cx: &mut Context<'_>) {
        self.tx.near = true;
        self.grow_send_buffer(cx.settings);
    }

    /// True when closing now would reset the connection: data are unread, or SO_LINGER is on with no time.
    pub fn resets_on_close(&self) -> bool {
        self.state != State::Closed && (self.readable() > 0 || self.knobs.linger_zero)
    }

    /// The bytes that can be read without copying them; [`Connection::consume`] takes them.
    pub fn read_slice<'b>(&mut self, cx: &'b mut Context<'_>) -> &'b [u8] {
        self.skip_urgent(cx);
        let most = self.before_mark();
        let slice = self.rx.ring.slice(cx.blocks, 0);
        &slice[..slice.len().min(most)]
    }

    /// Takes bytes that were read in place.
    pub fn consume(&mut self, cx: &mut Context<'_>, count: usize) {
        let count = count.min(self.before_mark());
        if count > 0 {
            self.rx.ring.consume(cx.blocks, count);
            self.was_read(cx, count);
        }
    }

    /// The urgent byte, out of band. `peek`: it can be read again.
    ///
    /// # Errors
    /// `Invalid`: there is none, it was taken, or it is in line. `WouldBlock`: announced, not here yet.
    pub fn recv_urgent(&mut self, peek: bool) -> Result<u8, SocketError> {
        match self.urgent_in {
            _ if self.knobs.oob_inline => Err(SocketError::Invalid),
            UrgentIn::None | UrgentIn::Taken(_) => Err(SocketError::Invalid),
            UrgentIn::Announced(_) => Err(SocketError::WouldBlock),
            UrgentIn::Here(at, byte) => {
                if !peek {
                    self.urgent_in = UrgentIn::Taken(at);
                }
                Ok(byte)
            }
        }
    }

    /// True when reading stands at the urgent mark (SIOCATMARK).
    pub fn at_mark(&self) -> bool {
        self.urgent_in.mark() == Some(self.read_at())
    }

    /// Sequence number of the next byte to read.
    fn read_at(&self) -> Seq {
        let fin = u32::from(self.rx.fin().is_some_and(|fin| fin.before(self.rx.nxt)));
        self.rx.nxt - (self.rx.ring.len() as u32 + fin)
    }

    /// Readable bytes in front of the urgent one; when reading stands at it in line, it and what follows.
    fn before_mark(&self) -> usize {
        let len = self.rx.ring.len();
        match self.urgent_in.mark() {
            Some(at) if at.after(self.read_at()) => len.min(at.since(self.read_at()) as usize),
            _ => len,
        }
    }

    /// An urgent byte that is out of band is no part of what is read.
    fn skip_urgent(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.urgent_in.mark() else { return };
        let here = self.read_at();
        if at == here && !self.knobs.oob_inline && !self.rx.ring.is_empty() {
            self.rx.ring.consume(cx.blocks, 1);
        }
        if self.read_at().after(at) {
            // Behind the mark; a byte that nobody took may still be taken until the next one comes.
            if !matches!(self.urgent_in, UrgentIn::Here(..)) || self.knobs.oob_inline {
                self.urgent_in = UrgentIn::None;
            }
        }
    }

    fn nothing_to_read(&mut self) -> Result<usize, SocketError> {
        // What the peer ended stays at its end: a reset that came behind the FIN is told to who writes or asks (as
        // Linux, SOCK_DONE).
        if self.has_peer_ended() {
            return Ok(0);
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match self.state {
            _ if self.read_closed => Ok(0),
            State::Closed => Ok(0),
            State::SynSent => Err(SocketError::InProgress),
            _ => Err(SocketError::WouldBlock),
        }
    }

    /// The owner took `count` bytes: the buffer may grow, and the peer may have to hear of the room.
    fn was_read(&mut self, cx: &mut Context<'_>, count: usize) {
        if self.state == State::Closed {
            return;
        }
        if self.rx.on_read(count as u32, cx.now, cx.settings) {
            cx.stats.receive_window_grown += 1;
        }
        let unacknowledged = self.rx.nxt.since(self.rx.wup) > u32::from(self.rx.mss);
        let waiting = self.acks.wanted() == super::acks::Wanted::Sometime;
        if (waiting && (unacknowledged || (self.acks.after_empty_read() && self.rx.ring.is_empty())))
            || (self.state.receives() && self.rx.opened())
        {
            self.acks.want_now();
        }
    }

    /// True when `poll_transmit` may have something after calls of the owner.
    pub fn wants_output(&self) -> bool {
        self.acks.wanted() == super::acks::Wanted::Now
            || self.tx.syn
            || self.tx.probe
            || (self.state.sends()
                && (self.write_end().after(self.sender.nxt()) || (self.tx.fin && !self.fin_sent())))
    }

    /// Copies bytes of the send ring into a frame, and sums them on the way. See [`super::segment::Outgoing`].
    #[inline]
    pub fn copy_out(&self, cx: &Context<'_>, offset: u32, out: &mut [u8]) -> Sum {
        self.tx.ring.copy_out_summed(cx.blocks, offset as usize, out)
    }

    /// Closes one or both directions; the owner keeps the connection.
    ///
    /// # Errors
    /// `NotConnected`: there is no connection.
    pub fn shutdown(&mut self, cx: &mut Context<'_>, how: Shutdown) -> Result<Disposition, SocketError> {
        if self.state == State::Closed {
            return Err(SocketError::NotConnected);
        }
        if how != Shutdown::Write {
            self.read_closed = true;
            self.news |= Ready::READABLE | Ready::READ_CLOSED;
        }
        if how != Shutdown::Read {
            if self.state == State::SynSent {
                // Nothing was ever exchanged (RFC 9293 section 3.10.4).
                return Ok(self.end(cx, None, None));
            }
            self.finish_sending();
        }
        Ok(Disposition::Keep(Output::Later))
    }

    fn finish_sending(&mut self) {
        if self.tx.fin {
            return;
        }
        self.tx.fin = true;
        self.knobs.more = false;
        self.knobs.hold = false;
        self.state = match self.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other, // SYN-RECEIVED: when the handshake is done
        };
    }

    /// The owner lets go: sends what waits, then a FIN, and ends by itself. With data unread the peer is told by a
    /// reset that they are lost (RFC 9293 section 3.6.1: SHLD-3), and so with linger of zero.
    pub fn close(&mut self, cx: &mut Context<'_>) -> Disposition {
        self.orphan = true;
        if self.state == State::Closed {
            self.rx.ring.clear(cx.blocks);
            return Disposition::Closed(None);
        }
        if self.state == State::SynSent {
            return self.end(cx, None, None);
        }
        let unread = self.readable() > 0;
        self.rx.ring.clear(cx.blocks);
        self.ahead.clear(cx.ranges);
        if unread {
            cx.stats.abort_on_close += 1;
            let reset = self.reset(cx.now);
            return self.end(cx, None, Some(reset));
        }
        if self.knobs.linger_zero {
            cx.stats.abort_on_linger += 1;
            let reset = self.reset(cx.now);
            return self.end(cx, None, Some(reset));
        }
        self.finish_sending();
        if let State::FinWait2(FinWait2 { until: Instant::NEVER }) = self.state {
            self.enter_fin_wait_2(cx);
            if let State::FinWait2(FinWait2 { until }) = self.state
                && until <= cx.now
            {
                let reset = self.reset(cx.now);
                return self.end(cx, None, Some(reset));
            }
        }
        Disposition::Keep(Output::Later)
    }

    /// The owner lets go, and it ends at once, with a reset if the peer knows of it (RFC 9293 section 3.10.5).
    pub fn abort(&mut self, cx: &mut Context<'_>) -> Disposition {
        self.orphan = true;
        let reset: Option<Reset> =
            (!matches!(self.state, State::SynSent | State::Closed)).then(|| self.reset(cx.now));
        self.end(cx, Some(SocketError::Aborted), reset)
    }

    /// Most bytes that may wait to be sent (SO_SNDBUF), and to be read (SO_RCVBUF).
    pub fn buffers(&self) -> (u32, u32) {
        (self.tx.limit, self.rx.limit)
    }

    /// TCP_WINDOW_CLAMP.
    pub fn window_clamp(&self) -> u32 {
        self.rx.clamp
    }

    /// TCP_QUICKACK: acknowledgments do not wait for data to go with.
    pub fn is_quick(&self) -> bool {
        !self.acks.is_pingpong()
    }

    /// What ended the connection, or a router reported (SO_ERROR). Once.
    pub fn take_error(&mut self) -> Option<SocketError> {
        self.error.take().or_else(|| self.soft_error.take())
    }

    /// True when the peer's FIN came, and all that is in front of it: reading ends there.
    pub fn has_peer_ended(&self) -> bool {
        self.rx.fin().is_some_and(|fin| fin.before(self.rx.nxt))
    }

    /// What holds now, for a poll: not edges.
    pub fn readiness(&self) -> Ready {
        let mut ready = Ready::NONE;
        let closed = self.state == State::Closed;
        let ended = self.read_closed || self.has_peer_ended() || closed;
        if self.readable() as u32 >= self.read_low() || ended {
            ready |= Ready::READABLE;
        }
        if ended {
            ready |= Ready::READ_CLOSED;
        }
        if matches!(self.urgent_in, UrgentIn::Here(..)) {
            ready |= Ready::PRIORITY;
        }
        let connected = !matches!(self.state, State::SynSent | State::Closed);
        if connected {
            ready |= Ready::CONNECTED;
        }
        if (connected && self.has_room()) || closed || self.tx.fin {
            ready |= Ready::WRITABLE;
        }
        if self.error.is_some() {
            ready |= Ready::ERROR;
        }
        if self.has_stamps() {
            ready |= Ready::STAMPS;
        }
        if closed {
            ready |= Ready::CLOSED;
        }
        ready
    }

    /// Sets an option.
    ///
    /// # Errors
    /// `Invalid`: out of range, or the handshake is too far for it.
    pub fn set_option(&mut self, cx: &mut Context<'_>, option: SocketOption) -> Result<(), SocketError> {
        let seconds = |time: Duration| (1..=32_767).contains(&time.as_secs());
        let unopened = self.state == State::SynSent && self.tx.syn;
        match option {
            SocketOption::NoDelay(on) => {
                self.knobs.nodelay = on;
                self.knobs.push |= on;
            }
            SocketOption::Cork(on) => {
                self.knobs.cork = on;
                self.knobs.push |= !on && self.knobs.nodelay;
            }
            SocketOption::QuickAck(on) => {
                self.acks.set_pingpong(!on);
                self.acks.always_quick = on;
                if on && self.acks.wanted() == super::acks::Wanted::Sometime {
                    self.acks.want_now();
                }
            }
            SocketOption::MaxSegment(mss) => {
                if !(88..=32_767).contains(&mss) || !unopened {
                    return Err(SocketError::Invalid);
                }
                self.tx.user_mss = mss;
                self.rx.advertised_mss = self.rx.advertised_mss.min(mss);
                self.tx.mss = self.effective_mss();
            }
            SocketOption::Congestion(algorithm) => self.sender.set_algorithm(cx.now, algorithm),
            SocketOption::MaxPacingRate(rate) => self.sender.set_max_pacing_rate(rate),
            SocketOption::KeepAlive(on) => {
                self.knobs.keepalive = on;
                if on && self.state.is_synchronized() {
                    let idle = self.keepalive_time(cx.settings);
                    self.timers.set_earlier(Purpose::Keepalive, cx.now + idle);
                }
            }
            SocketOption::KeepIdle(time) => {
                if !seconds(time) {
                    return Err(SocketError::Invalid);
                }
                self.rare().keepalive_time = Some(time);
                if self.knobs.keepalive && self.state.is_synchronized() {
                    self.timers.set_earlier(Purpose::Keepalive, (self.heard + time).max(cx.now));
                }
            }
            SocketOption::KeepInterval(time) if seconds(time) => self.rare().keepalive_interval = Some(time),
            SocketOption::KeepCount(count @ 1..=127) => self.rare().keepalive_probes = Some(count),
            SocketOption::SynRetries(count @ 1..=127) => self.rare().syn_retries = Some(count),
            SocketOption::KeepInterval(_) | SocketOption::KeepCount(_) | SocketOption::SynRetries(_) => {
                return Err(SocketError::Invalid);
            }
            SocketOption::UserTimeout(time) => {
                self.rare().user_timeout = (!time.is_zero()).then_some(time);
                self.arm_recovery();
            }
            SocketOption::Linger(time) => self.knobs.linger_zero = time == Some(Duration::ZERO),
            SocketOption::Linger2(time) => self.rare().linger2 = Some(time),
            // As Linux: 0 is the host's default.
            SocketOption::NotSentLow(0) => self.tx.low = cx.settings.notsent_lowat,
            SocketOption::NotSentLow(bytes) => self.tx.low = bytes,
            SocketOption::ReceiveBuffer(bytes) => {
                self.rx.set_limit(bytes.clamp(cx.settings.receive.min, cx.settings.receive.max));
                if unopened {
                    let (scale, bound) = (self.rx.scale, self.rx.bound);
                    self.rx =
                        super::receiver::Receiver::new(self.rx.limit, self.rx.advertised_mss, scale, true);
                    self.rx.set_bound(bound);
                }
            }
            SocketOption::SendBuffer(bytes) => {
                self.tx.limit = bytes.clamp(cx.settings.send.min, cx.settings.send.max);
                self.tx.locked = true;
            }
            SocketOption::ReceiveLow(bytes) => {
                self.rare().read_low = Some(bytes.clamp(1, (self.rx.limit / 2).max(1)));
            }
            SocketOption::WindowClamp(bytes) => {
                self.rx.clamp = bytes.max(cx.settings.receive.min / 2).min(self.rx.limit).min(self.rx.bound);
                self.rx.threshold = self.rx.threshold.min(self.rx.clamp);
            }
            SocketOption::OobInline(on) => self.knobs.oob_inline = on,
            SocketOption::Tos(tos) => self.knobs.tos = tos & !3,
            SocketOption::Ttl(ttl) => self.knobs.ttl = ttl.unwrap_or(DEFAULT_TTL),
            SocketOption::MinTtl(ttl) => self.knobs.min_ttl = ttl,
            SocketOption::PathMtuDiscovery(on) => self.knobs.pmtud = on,
            SocketOption::StampKeys(keys) => self.set_stamp_keys(keys),
            SocketOption::Signature(signature) => {
                let fits = signature.is_none_or(|(_, len)| len <= 20);
                if !unopened && self.state.is_synchronized() && self.sender.outstanding() > 0 || !fits {
                    return Err(SocketError::Invalid);
                }
                self.rare().signature = signature;
                if signature.is_some() && unopened {
                    // There is no room for both in a SYN (as Linux with MD5).
                    self.stamps.on = false;
                }
                self.tx.mss = self.effective_mss();
            }
        }
        Ok(())
    }
}
