//! The timers of a connection: one table, purpose to deadline, and one `next` for the worker's wheel.
//!
//! | purpose | armed when | due |
//! |---|---|---|
//! | recovery | something is outstanding | retransmission timeout, tail loss probe, RACK's reordering window: the sender's one deadline |
//! | delayed ack | data came that need not be acknowledged at once | 40 to 200 ms |
//! | persist | data wait, nothing is outstanding, the window is too small | RTO, doubled each time |
//! | pacing | the pacing rate holds data back | the next release |
//! | keepalive | SO_KEEPALIVE, or an owner that left in FIN-WAIT-2 | idle time, then interval |
//! | memory | data or room were refused for want of memory | a moment later |
//!
//! Invariant: `next()` is never later than the earliest deadline of the table.

use crate::time::Instant;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Purpose {
    /// The sender's: retransmission, probe, reordering.
    Recovery,
    /// An acknowledgment that may wait.
    DelayedAck,
    /// The peer's window is too small for what waits (RFC 9293 section 3.8.6.1).
    Persist,
    /// The pacing rate.
    Pacing,
    /// Keepalive (RFC 9293 section 3.8.4), or the end of FIN-WAIT-2.
    Keepalive,
    /// Memory may be there again.
    Memory,
}

/// Every purpose, in the order in which those due at once are served: what ends a connection comes last.
pub const ALL: [Purpose; 6] = [
    Purpose::DelayedAck,
    Purpose::Memory,
    Purpose::Pacing,
    Purpose::Recovery,
    Purpose::Persist,
    Purpose::Keepalive,
];

/// The table.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    deadlines: [Instant; ALL.len()],
}

impl Timers {
    /// Nothing armed.
    pub const fn new() -> Self {
        Timers { deadlines: [Instant::NEVER; ALL.len()] }
    }

    /// Arms a purpose, whatever it was before.
    #[inline]
    pub fn set(&mut self, purpose: Purpose, deadline: Instant) {
        self.deadlines[purpose as usize] = deadline;
    }

    /// Arms it for what is earlier: the deadline that stands, or this one.
    #[inline]
    pub fn set_earlier(&mut self, purpose: Purpose, deadline: Instant) {
        let place = &mut self.deadlines[purpose as usize];
        *place = (*place).min(deadline);
    }

    /// Disarms it.
    #[inline]
    pub fn clear(&mut self, purpose: Purpose) {
        self.deadlines[purpose as usize] = Instant::NEVER;
    }

    /// Disarms all.
    pub fn clear_all(&mut self) {
        *self = Timers::new();
    }

    /// When it is due; [`Instant::NEVER`] when disarmed.
    #[inline]
    pub const fn get(&self, purpose: Purpose) -> Instant {
        self.deadlines[purpose as usize]
    }

    /// True when it is armed.
    #[inline]
    pub fn is_armed(&self, purpose: Purpose) -> bool {
        self.get(purpose) != Instant::NEVER
    }

    /// The earliest deadline.
    #[inline]
    pub fn next(&self) -> Instant {
        let mut next = Instant::NEVER;
        for deadline in self.deadlines {
            next = next.min(deadline);
        }
        next
    }

    /// Takes one that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Purpose> {
        let due = ALL.into_iter().find(|purpose| self.is_armed(*purpose) && self.get(*purpose) <= now)?;
        self.clear(due);
        Some(due)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_taken_once_and_next_is_the_earliest() {
        let mut timers = Timers::new();
        assert_eq!((timers.next(), timers.take_due(Instant::from_millis(9))), (Instant::NEVER, None));
        timers.set(Purpose::Keepalive, Instant::from_millis(5));
        timers.set(Purpose::DelayedAck, Instant::from_millis(7));
        timers.set_earlier(Purpose::DelayedAck, Instant::from_millis(6));
        timers.set_earlier(Purpose::DelayedAck, Instant::from_millis(8));
        assert_eq!(timers.next(), Instant::from_millis(5));
        assert_eq!(timers.take_due(Instant::from_millis(4)), None);
        assert_eq!(timers.take_due(Instant::from_millis(6)), Some(Purpose::DelayedAck));
        assert_eq!(timers.take_due(Instant::from_millis(6)), Some(Purpose::Keepalive));
        assert_eq!((timers.take_due(Instant::from_millis(6)), timers.next()), (None, Instant::NEVER));
    }
}
