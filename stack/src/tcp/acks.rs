//! When to acknowledge (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2), as Linux decides it.
//!
//! ```text
//!   data ──> in doubt, or a second full segment came, or quick mode ──> now
//!       └──> otherwise: with the next data that we send, or when the timer fires
//! ```
//! *Quick mode*: the first segments of a connection (and those after a loss or a long pause) are acknowledged
//! one by one, because a peer in slow start needs the ACKs more than we need to save them. *Ping-pong*: the
//! owner answers what comes, so ACKs ride on its answers and quick mode is off. The delay, `ato`, follows the
//! time between arrivals from 40 ms up to 200 ms.

use crate::time::Instant;
use core::time::Duration;

/// Shortest delay of an ACK.
pub const DELAY_MIN: Duration = Duration::from_millis(40);
/// Longest (RFC 9293 MUST-58 allows 500 ms).
pub const DELAY_MAX: Duration = Duration::from_millis(200);
/// The same in nanoseconds: each segment counts with them, and a [`Duration`] takes a division to make.
const SHORTEST: u64 = DELAY_MIN.as_nanos() as u64;
const LONGEST: u64 = DELAY_MAX.as_nanos() as u64;
/// While the peer does not push, the round trip may make it longer than that, before [`LONGEST`] bounds it.
const LONGEST_UNPUSHED: u64 = 500_000_000;

const fn nanos(micros: u32) -> u64 {
    micros as u64 * 1000
}

/// Most ACKs that quick mode sends in a row.
pub const QUICK_MAX: u8 = 16;

/// What wants an acknowledgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// It may wait for the timer or for data.
    Sometime,
    /// At once.
    Now,
}

/// The acknowledgment side of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Acks {
    wanted: Wanted,
    /// The owner answers: ACKs ride on its data.
    pingpong: bool,
    /// ACKs that are still to be sent at once.
    quick: u8,
    /// Never wait at all (TCP_QUICKACK set).
    pub always_quick: bool,
    /// A segment that ends a message (small, or full with PSH) came since the last ACK.
    pushed: bool,
    /// Two of them did.
    pushed_twice: bool,
    /// The delay in nanoseconds; zero before the first data.
    delay: u64,
    last_data: Instant,
}

impl Acks {
    /// Before the first data.
    pub const fn new() -> Self {
        Acks {
            wanted: Wanted::Nothing,
            pingpong: false,
            quick: 0,
            always_quick: false,
            pushed: false,
            pushed_twice: false,
            delay: 0,
            last_data: Instant::ZERO,
        }
    }

    /// The connection stands: what "since data last came" counts from until they do.
    pub fn begin(&mut self, now: Instant) {
        self.last_data = now;
    }

    /// What is wanted.
    #[inline]
    pub const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// An ACK must go at once.
    #[inline]
    pub fn want_now(&mut self) {
        self.wanted = Wanted::Now;
    }

    /// Data arrived. `full_segments`: how many full segments the window holds; `rto`: ours, in microseconds; `push`: the
    /// segment ends a message.
    #[inline]
    pub fn on_data(&mut self, now: Instant, full_segments: impl Fn() -> u32, rto: u32, push: bool) {
        if self.wanted == Wanted::Nothing {
            self.wanted = Wanted::Sometime;
        }
        self.pushed_twice |= self.pushed && push;
        self.pushed |= push;
        if self.delay == 0 {
            self.enter_quick(full_segments());
            self.delay = SHORTEST;
        } else {
            let gap = now.nanos_since(self.last_data);
            let rto = nanos(rto);
            if gap <= SHORTEST / 2 {
                self.delay = self.delay / 2 + SHORTEST / 2;
            } else if gap < self.delay {
                self.delay = (self.delay / 2 + gap).min(rto);
            } else if gap > rto {
                // The peer was silent for long enough to restart from slow start: help it.
                self.enter_quick(full_segments());
            }
        }
        self.last_data = now;
    }

    /// Acknowledge the next segments at once, and leave ping-pong.
    pub fn quicken(&mut self, full_segments: u32) {
        self.enter_quick(full_segments);
        self.pingpong = false;
        self.delay = SHORTEST;
    }

    /// The window grew: the peer hears of it with the next acknowledgment, at once.
    #[inline]
    pub fn window_grew(&mut self) {
        self.quick |= 1;
    }

    /// The buffer is half full: no haste.
    #[inline]
    pub fn end_quick(&mut self) {
        self.quick = 0;
    }

    fn enter_quick(&mut self, full_segments: u32) {
        let quick = (full_segments / 2).max(2).min(u32::from(QUICK_MAX)) as u8;
        self.quick = self.quick.max(quick);
    }

    /// True when ACKs do not wait.
    #[inline]
    pub const fn is_quick(&self) -> bool {
        self.always_quick || (self.quick > 0 && !self.pingpong)
    }

    /// True when the owner answers what comes.
    pub const fn is_pingpong(&self) -> bool {
        self.pingpong
    }

    /// Chooses ping-pong mode (TCP_QUICKACK off) or leaves it.
    pub fn set_pingpong(&mut self, on: bool) {
        self.pingpong = on;
    }

    /// When an ACK that may wait is due. `srtt`: the smoothed round trip time in microseconds, 0 when none is known.
    #[inline]
    pub fn due(&self, now: Instant, srtt: u32) -> Instant {
        let mut delay = self.delay;
        if delay > SHORTEST {
            let mut most = LONGEST_UNPUSHED;
            if self.pingpong || self.pushed {
                most = LONGEST;
            }
            if srtt != 0 {
                most = most.min(nanos(srtt).max(SHORTEST));
            }
            delay = delay.min(most);
        }
        now.later(delay.clamp(SHORTEST, LONGEST))
    }

    /// The timer fired with an ACK still waiting. `rto`: ours, in microseconds.
    pub fn on_timer(&mut self, rto: u32) {
        if self.pingpong {
            // The owner did not answer in time: stop counting on it.
            self.pingpong = false;
            self.delay = SHORTEST;
        } else {
            self.delay = (self.delay * 2).min(nanos(rto));
        }
        self.wanted = Wanted::Now;
    }

    /// `count` segments with the ACK flag left.
    #[inline]
    pub fn on_sent(&mut self, count: u32) {
        self.wanted = Wanted::Nothing;
        self.pushed = false;
        self.pushed_twice = false;
        if self.quick > 0 {
            self.quick = self.quick.saturating_sub(count.min(255) as u8);
            if self.quick == 0 {
                self.delay = SHORTEST; // leaving quick mode, the delay starts small
            }
        }
    }

    /// New data left: if they follow what came within the delay, they answer it.
    #[inline]
    pub fn on_data_sent(&mut self, now: Instant) {
        if !self.pingpong && now.nanos_since(self.last_data) < self.delay {
            self.pingpong = true;
        }
    }

    /// True when the reader has emptied the buffer and the waiting ACK should go without the timer.
    pub const fn after_empty_read(&self) -> bool {
        matches!(self.wanted, Wanted::Sometime) && (self.pushed_twice || self.pushed && !self.pingpong)
    }

    /// When the last data came.
    pub const fn last_data(&self) -> Instant {
        self.last_data
    }

    /// The delay in use (`tcpi_ato`).
    pub const fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay)
    }
}

impl Default for Acks {
    fn default() -> Self {
        Acks::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTO: u32 = 200_000;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn the_first_segments_are_acknowledged_at_once_then_acks_wait() {
        let mut acks = Acks::new();
        for n in 0..16 {
            acks.on_data(at(1 + n), || 44, RTO, false);
            assert!(acks.is_quick(), "{n}");
            acks.on_sent(1);
        }
        acks.on_data(at(20), || 44, RTO, false);
        assert!(!acks.is_quick());
        assert_eq!((acks.wanted(), acks.due(at(20), 0)), (Wanted::Sometime, at(60)));
    }

    #[test]
    fn an_owner_that_answers_ends_quick_mode_and_one_that_does_not_restarts_it() {
        let mut acks = Acks::new();
        acks.on_data(at(1), || 44, RTO, true);
        acks.on_data_sent(at(2));
        assert!(acks.is_pingpong() && !acks.is_quick());
        acks.on_timer(RTO);
        assert!(!acks.is_pingpong() && acks.wanted() == Wanted::Now);
    }

    #[test]
    fn the_delay_follows_slow_arrivals_up_to_200_ms_and_the_round_trip() {
        let mut acks = Acks::new();
        acks.on_data(at(0), || 2, RTO, false);
        acks.on_sent(9);
        for n in 1..20u64 {
            acks.on_data(at(n * 39), || 2, RTO, false);
        }
        let due = acks.due(at(1000), 0);
        assert!(due > at(1040) && due <= at(1200), "{due:?}");
        assert_eq!(acks.due(at(1000), 1_000), at(1040));
    }

    #[test]
    fn a_pause_longer_than_the_timeout_brings_quick_mode_back() {
        let mut acks = Acks::new();
        acks.on_data(at(0), || 2, RTO, false);
        acks.on_sent(9);
        assert!(!acks.is_quick());
        acks.on_data(at(500), || 2, RTO, false);
        assert!(acks.is_quick());
    }
}
