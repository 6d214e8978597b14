//! The receiving side: the ring, the window that is offered for it, and how both grow.
//!
//! ```text
//!            ring (readable)          out of order, placed ahead
//!        |-------- len() --------|          |======|
//!        read here               nxt                          edge = wup + wnd
//!                                |<--------- offered() --------->|
//! ```
//! The window follows Linux: it starts at `threshold`, which grows with each segment that comes until it reaches
//! `clamp`; it never shrinks what was offered (RFC 9293 SHLD-14), and small openings are not told (RFC 9293
//! section 3.8.6.2.2, receiver's silly window avoidance: MUST-39). The buffer's limit itself grows with what the
//! owner reads in a round trip (dynamic right-sizing).
//!
//! Invariants
//! 1. `ring.len()` never exceeds what was offered.
//! 2. The right edge `wup + wnd` never moves to the left.

use super::Seq;
use super::settings::TcpSettings;
use crate::socket::ring::ByteRing;
use crate::time::Instant;

/// Largest window without a scale.
pub const MAX_UNSCALED: u32 = 65_535;

/// The receive sequence space and its buffer.
#[derive(Debug)]
pub struct Receiver {
    /// Readable bytes, and out-of-order ones placed behind them.
    pub ring: ByteRing,
    /// RCV.NXT: the next byte that is waited for.
    pub nxt: Seq,
    /// RCV.NXT as it was in the last segment that we sent: Last.ACK.sent (RFC 7323 section 4.3).
    pub wup: Seq,
    /// The window in that segment, in bytes.
    pub wnd: u32,
    /// Most bytes that the buffer may hold.
    pub limit: u32,
    /// Most that the window may be (TCP_WINDOW_CLAMP, and the buffer's limit).
    pub clamp: u32,
    /// The largest window that the route lets us offer; `clamp` stays below it.
    pub bound: u32,
    /// Most that the window may be now; grows with arrivals.
    pub threshold: u32,
    /// Where the peer's FIN stands, once it came out of order: true of `has_fin`.
    fin: Seq,
    has_fin: bool,
    /// Size of the segments that the peer sends, estimated.
    pub mss: u16,
    /// The MSS that we told the peer.
    pub advertised_mss: u16,
    /// Shift of the windows that we send.
    pub scale: u8,
    /// The owner chose the buffer's size: no autotuning.
    pub locked: bool,
    /// The last window that left was zero.
    pub shut: bool,
    rate: ReadRate,
    trip: Trip,
}

/// How much the owner reads in a round trip.
#[derive(Debug, Clone, Copy)]
struct ReadRate {
    space: u32,
    read: u32,
    since: Instant,
}

/// The round trip time, as a receiver can see it.
#[derive(Debug, Clone, Copy)]
struct Trip {
    /// Smoothed, in 1/8 microseconds; 0 before the first.
    eighths: u32,
    /// Without timestamps: when this is reached, a window has passed since `since`.
    until: Seq,
    since: Instant,
}

impl Receiver {
    /// A receiver that offers `limit` bytes in segments of `mss`. `scale`: the shift that our SYN offers.
    pub fn new(limit: u32, mss: u16, scale: u8, locked: bool) -> Self {
        // Whole segments, as Linux does it; the window of a SYN is never scaled (RFC 7323 section 2.2).
        let whole = match u32::from(mss) {
            0 => limit,
            mss if limit > mss => limit / mss * mss,
            _ => limit,
        };
        // More than the field of a SYN can say is meant all the same: the peer learns of it from the next segment.
        let wnd = whole;
        Receiver {
            ring: ByteRing::new(),
            nxt: Seq(0),
            wup: Seq(0),
            wnd,
            limit,
            clamp: limit,
            bound: u32::MAX,
            threshold: wnd,
            fin: Seq(0),
            has_fin: false,
            mss: mss.clamp(1, 536),
            advertised_mss: mss,
            scale,
            locked,
            shut: false,
            rate: ReadRate { space: wnd.min(10 * u32::from(mss)).max(1), read: 0, since: Instant::ZERO },
            trip: Trip { eighths: 0, until: Seq(0), since: Instant::ZERO },
        }
    }

    /// No window that is offered from now on is larger.
    pub fn set_bound(&mut self, bytes: u32) {
        self.bound = bytes.max(1);
        self.clamp = self.clamp.min(self.bound);
        self.threshold = self.threshold.min(self.bound);
        if self.nxt == self.wup {
            // Nothing was received yet. What a SYN-ACK offered was bounded already.
            self.wnd = self.wnd.min(self.bound);
        }
    }

    /// Where the peer's FIN stands, once it came out of order.
    #[inline]
    pub fn fin(&self) -> Option<Seq> {
        self.has_fin.then_some(self.fin)
    }

    /// The peer's FIN stands there.
    #[inline]
    pub fn set_fin(&mut self, at: Option<Seq>) {
        self.has_fin = at.is_some();
        self.fin = at.unwrap_or(Seq(0));
    }

    /// The peer's SYN came.
    pub fn start(&mut self, irs: Seq, now: Instant) {
        self.nxt = irs + 1;
        self.wup = self.nxt;
        self.rate.since = now;
        self.trip.until = self.nxt + self.wnd;
        self.trip.since = now;
    }

    /// The handshake is over: of the buffer one segment is kept in reserve, so that a full window still has room
    /// for what comes next (as Linux).
    pub fn established(&mut self) {
        let mss = u32::from(self.advertised_mss);
        self.clamp = self.clamp.min(self.limit);
        if self.clamp > 2 * mss && self.clamp + mss > self.limit {
            self.clamp = self.limit.saturating_sub(mss).max(2 * mss);
        }
        self.threshold = self.threshold.min(self.clamp);
        self.rate.space = self.threshold.min(self.wnd).min(10 * mss).max(1);
    }

    /// Less than half of the buffer is free: acknowledgments need not be quick any more.
    #[inline]
    pub fn is_tight(&self) -> bool {
        self.limit.saturating_sub(self.ring.len() as u32) < self.clamp.min(self.limit) / 2
    }

    /// RCV.WND: bytes from RCV.NXT that were offered.
    #[inline]
    pub fn offered(&self) -> u32 {
        (self.wup + self.wnd).since(self.nxt)
    }

    /// The right edge: what is at or beyond it was not offered.
    #[inline]
    pub fn edge(&self) -> Seq {
        self.wup + self.wnd
    }

    /// Full segments in half of the window, for quick acknowledgments.
    pub fn full_segments(&self) -> u32 {
        self.wnd / u32::from(self.mss.max(1))
    }

    /// The window that the next segment should offer, in bytes (before the rule that it never shrinks).
    #[inline]
    pub fn window(&self) -> u32 {
        let full = self.clamp.min(self.limit);
        let mss = u32::from(self.mss).min(full);
        if mss == 0 {
            return 0;
        }
        let mut free = self.limit.saturating_sub(self.ring.len() as u32);
        if free < full / 2 {
            free = free >> self.scale << self.scale;
            // Nothing is offered rather than a sliver (RFC 9293 MUST-39).
            if free < self.limit / 16 || free < mss {
                return 0;
            }
        }
        // Never less than a segment: without a scale that would be nothing, and the threshold could not grow again.
        free = free.min(self.threshold.max(mss));
        if self.scale > 0 {
            // Rounded up, so that a window of a few bytes does not become zero on the wire.
            return align_up(free, self.scale);
        }
        if self.wnd <= free.saturating_sub(mss) || self.wnd > free {
            free / mss * mss
        } else if mss == full && free > self.wnd + full / 2 {
            free
        } else {
            self.wnd
        }
    }

    /// A segment leaves: gives the window field for it, and remembers what it offers.
    #[inline]
    pub fn offer(&mut self) -> u16 {
        let (now, mut new) = (self.offered(), self.window());
        if new < now {
            new = align_up(now, self.scale);
        }
        self.wnd = new;
        self.wup = self.nxt;
        self.shut = new == 0;
        (new >> self.scale).min(MAX_UNSCALED) as u16
    }

    /// In-order data came: the window may grow, and the peer's segment size is learnt. True when the window grew.
    #[inline]
    pub fn on_data(&mut self, len: u32, now: Instant) -> bool {
        if len > u32::from(self.mss) && self.mss < self.advertised_mss {
            self.mss = len.min(u32::from(self.advertised_mss)) as u16;
        }
        let mut grew = false;
        if self.threshold < self.clamp && len >= 128 {
            let room = self.clamp.min(self.limit.saturating_sub(self.ring.len() as u32));
            let room = room.saturating_sub(self.threshold);
            self.threshold += room.min(2 * u32::from(self.advertised_mss).max(len));
            grew = room > 0;
        }
        if self.nxt.at_or_after(self.trip.until) {
            let micros = now.since(self.trip.since).as_micros() as u32;
            self.trip.until = self.nxt + self.wnd;
            self.trip.since = now;
            if self.trip.eighths == 0 || micros < self.trip.eighths / 8 {
                self.trip.eighths = micros.max(1).saturating_mul(8);
            }
        }
        grew
    }

    /// A timestamp of ours came back with a full segment, `millis` after it left.
    #[inline]
    pub fn on_echo(&mut self, millis: u32) {
        let micros = millis.clamp(1, 100_000) * 1000;
        self.trip.eighths = match self.trip.eighths {
            0 => micros * 8,
            old => old - old / 8 + micros,
        };
    }

    /// The round trip time that the receiver sees, in microseconds; 0 before it is known (`tcpi_rcv_rtt`).
    pub const fn rtt_micros(&self) -> u32 {
        self.trip.eighths / 8
    }

    /// The space that autotuning works with (`tcpi_rcv_space`).
    pub const fn space(&self) -> u32 {
        self.rate.space
    }

    /// The owner took `count` bytes: at most once a round trip the buffer is made to hold twice what was read in
    /// that time, and more while the rate grows. True when it grew.
    pub fn on_read(&mut self, count: u32, now: Instant, settings: &TcpSettings) -> bool {
        self.rate.read = self.rate.read.saturating_add(count);
        let micros = now.since(self.rate.since).as_micros() as u64;
        if self.trip.eighths == 0 || micros < u64::from(self.trip.eighths / 8) {
            return false;
        }
        let (read, space) = (self.rate.read, self.rate.space);
        self.rate.read = 0;
        self.rate.since = now;
        if read <= space {
            return false;
        }
        self.rate.space = read;
        if !settings.autotune || self.locked {
            return false;
        }
        let (read, space) = (u64::from(read), u64::from(space.max(1)));
        let wanted = 2 * read + 16 * u64::from(self.advertised_mss);
        let wanted = wanted + wanted * (read - space) / space * 2;
        let wanted = wanted.min(u64::from(settings.receive.max)) as u32;
        if wanted <= self.limit {
            return false;
        }
        self.limit = wanted;
        self.clamp = wanted.min(self.bound);
        true
    }

    /// True when reading opened the window enough to tell the peer at once: twice what it knows of, once that is
    /// small.
    pub fn opened(&self) -> bool {
        let offered = self.offered();
        if offered > self.clamp / 2 {
            return false;
        }
        let window = self.window();
        window > 0 && window >= 2 * offered
    }

    /// No memory was left for data: the window stops growing and starts small again.
    pub fn on_pressure(&mut self) {
        self.threshold = self.threshold.min(4 * u32::from(self.advertised_mss)).max(u32::from(self.mss));
    }

    /// The owner chose the buffer's size.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.clamp = limit.min(self.bound);
        self.threshold = self.threshold.min(self.clamp);
        self.locked = true;
    }
}

#[inline]
fn align_up(bytes: u32, scale: u8) -> u32 {
    let unit = 1u32 << scale;
    bytes.saturating_add(unit - 1) >> scale << scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> Receiver {
        let mut receiver = Receiver::new(65_536, 1460, 7, false);
        receiver.start(Seq(999), Instant::ZERO);
        receiver
    }

    #[test]
    fn the_first_window_is_whole_segments_below_64_kib() {
        let receiver = receiver();
        assert_eq!((receiver.wnd, receiver.offered(), receiver.edge()), (64_240, 64_240, Seq(65_240)));
    }

    #[test]
    fn shld_14_the_right_edge_never_moves_left() {
        let mut receiver = receiver();
        assert_eq!(receiver.offer(), 502); // 64240 rounded up to 128
        let edge = receiver.edge();
        receiver.limit = 4096;
        receiver.nxt += 10_000;
        receiver.offer();
        assert!(receiver.edge().at_or_after(edge));
    }

    #[test]
    fn the_buffer_follows_what_is_read_in_a_round_trip_up_to_its_bound() {
        let settings = TcpSettings::default();
        let mut receiver = receiver();
        receiver.on_echo(10);
        let mut now = Instant::ZERO;
        let mut before = receiver.limit;
        for round in 1..40u32 {
            now = Instant::from_millis(u64::from(round) * 11);
            receiver.on_read(14_600 + round * 200_000, now, &settings);
            assert!(receiver.limit >= before);
            before = receiver.limit;
        }
        assert_eq!(receiver.limit, settings.receive.max);
        receiver.set_limit(10_000);
        receiver.on_read(1 << 30, Instant::from_millis(10_000 + now.nanos() / 1_000_000), &settings);
        assert_eq!(receiver.limit, 10_000, "chosen by the owner");
    }

    #[test]
    fn a_threshold_below_a_segment_still_lets_one_in() {
        let mut receiver = Receiver::new(65_536, 1460, 0, false);
        receiver.start(Seq(999), Instant::ZERO);
        receiver.on_data(1460, Instant::ZERO);
        // The owner clamps the window to less than a segment, and autotuning opens the clamp again later.
        receiver.threshold = 1024;
        receiver.wnd = 0;
        assert_eq!(receiver.window(), 1460);
    }

    #[test]
    fn the_window_grows_by_two_segments_for_each_that_comes() {
        let mut receiver = receiver();
        receiver.limit = 1 << 20;
        receiver.clamp = 1 << 20;
        receiver.on_data(1460, Instant::ZERO);
        assert_eq!(receiver.window(), align_up(64_240 + 2920, 7));
        receiver.on_data(10, Instant::ZERO);
        assert_eq!(receiver.window(), align_up(64_240 + 2920, 7), "tiny segments do not open it");
    }
}
