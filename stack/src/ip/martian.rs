//! The martian log (RFC 1812 section 5.3.7 and 5.3.8: a router should be able to log what it refused; Linux's
//! `log_martians`): which packets had a source or destination that cannot be, or a source that the reverse-path filter
//! did not believe.
//!
//! The packet path only notes them, a few and not too often; whoever writes logs takes the notes later. What was not
//! noted is counted, and the counters of the reasons count all of them in any case.

use crate::frame::Frame;
use crate::ip::flow;
use crate::limits::{MARTIAN_NOTES, MARTIANS_A_SECOND};
use crate::port::PortId;
use crate::stack::Stack;
use crate::time::Instant;
use crate::verdict::DropReason;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;

/// A packet that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Martian {
    /// The port that it came in by.
    pub port: PortId,
    /// Where it says that it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Why it was refused.
    pub reason: DropReason,
    /// How many there were since the one before that nobody took a note of.
    pub unnoted: u64,
}

/// The notes.
#[derive(Debug, Default)]
pub struct Martians {
    on: bool,
    notes: VecDeque<Martian>,
    second: u64,
    in_this_second: u32,
    unnoted: u64,
}

/// True for the reasons that make a packet a martian.
const fn is_martian(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Ipv4MartianSource
            | DropReason::Ipv4MartianDestination
            | DropReason::Ipv6MartianSource
            | DropReason::Ipv6MartianDestination
            | DropReason::ReversePath
    )
}

impl Martians {
    /// No notes yet; `on`: they are taken.
    pub fn new(on: bool) -> Martians {
        let notes = VecDeque::with_capacity(if on { MARTIAN_NOTES } else { 0 });
        Martians { on, notes, ..Martians::default() }
    }

    /// The oldest note.
    pub fn take(&mut self) -> Option<Martian> {
        self.notes.pop_front()
    }

    fn note(&mut self, now: Instant, martian: Martian) {
        let second = now.nanos() / Duration::from_secs(1).as_nanos() as u64;
        if second != self.second {
            (self.second, self.in_this_second) = (second, 0);
        }
        if self.in_this_second >= MARTIANS_A_SECOND || self.notes.len() >= MARTIAN_NOTES {
            self.unnoted += 1;
            return;
        }
        self.in_this_second += 1;
        let unnoted = core::mem::take(&mut self.unnoted);
        self.notes.push_back(Martian { unnoted, ..martian });
    }
}

impl<F: Frame> Stack<F> {
    /// Takes a note when `reason` makes a packet (from its IP header on) a martian.
    #[inline]
    pub(crate) fn note_martian(&mut self, now: Instant, port: PortId, packet: &[u8], reason: DropReason) {
        if self.martians.on && is_martian(reason) {
            self.note(now, port, packet, reason);
        }
    }

    #[cold]
    fn note(&mut self, now: Instant, port: PortId, packet: &[u8], reason: DropReason) {
        let (source, destination): (IpAddr, IpAddr) = match packet.first().map(|first| first >> 4) {
            Some(4) => (flow::source4(packet).into(), flow::destination4(packet).into()),
            _ => (flow::source6(packet).into(), flow::destination6(packet).into()),
        };
        self.martians.note(now, Martian { port, source, destination, reason, unnoted: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn martian(number: u8) -> Martian {
        let source = IpAddr::from([127, 0, 0, number]);
        let (destination, reason) = (IpAddr::from([10, 0, 0, 1]), DropReason::Ipv4MartianSource);
        Martian { port: PortId::FIRST, source, destination, reason, unnoted: 0 }
    }

    #[test]
    fn a_flood_gives_a_few_notes_a_second_and_says_how_many_there_were() {
        let mut martians = Martians::new(true);
        let at = Instant::from_millis;
        (0..100).for_each(|number| martians.note(at(500), martian(number)));
        let noted: Vec<_> = core::iter::from_fn(|| martians.take()).collect();
        assert_eq!(noted.len(), MARTIANS_A_SECOND as usize);
        martians.note(at(999), martian(1));
        assert_eq!(martians.take(), None, "the same second");
        martians.note(at(1000), martian(7));
        let next = martians.take().unwrap();
        assert_eq!((next.source, next.unnoted), (martian(7).source, 101 - u64::from(MARTIANS_A_SECOND)));
    }

    #[test]
    fn notes_that_nobody_takes_are_bounded() {
        let mut martians = Martians::new(true);
        for second in 0..1000 {
            martians.note(Instant::from_millis(second * 1000), martian(0));
        }
        assert_eq!(core::iter::from_fn(|| martians.take()).count(), MARTIAN_NOTES);
    }
}
