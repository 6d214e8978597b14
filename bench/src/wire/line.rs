//! Both directions of the wire: what is on its way, and the books.

use super::limits::MAX_FLYING;
use core::cmp::{Ordering, Reverse};
use flumen_stack::Instant;
use flumen_stack::sim::{Lost, Misbehaviour, Wire};
use serde::Serialize;
use std::collections::BinaryHeap;

/// What became of the frames that came in at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Direction {
    /// Frames that came in.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that came out at the other end: second copies among them.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the queue of the rate was full.
    pub overflowed: u64,
    /// Lost because they were longer than the path's MTU.
    pub too_long: u64,
    /// Lost because too many frames were on their way.
    pub crowded: u64,
}

/// A frame on its way.
#[derive(Debug, PartialEq, Eq)]
struct Flying {
    at: Instant,
    /// Frames that arrive at one moment arrive in the order in which they came.
    number: u64,
    to: usize,
    frame: Vec<u8>,
}

impl Ord for Flying {
    fn cmp(&self, other: &Flying) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Flying) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A wire with two ends, 0 and 1.
#[derive(Debug)]
pub struct Line {
    wires: [Wire; 2],
    flying: BinaryHeap<Reverse<Flying>>,
    number: u64,
    /// The books, by the end where frames come in.
    pub directions: [Direction; 2],
}

impl Line {
    /// A wire whose chances follow from `seed`.
    pub fn new(misbehaviour: Misbehaviour, seed: u64) -> Line {
        // Far apart, so that no direction repeats what the other one does.
        let wire = |direction: u64| Wire::new(misbehaviour, seed ^ (direction << 63));
        Line {
            wires: [wire(0), wire(1)],
            flying: BinaryHeap::new(),
            number: 0,
            directions: [Direction::default(); 2],
        }
    }

    /// A frame comes in at the end `from` at `now`.
    pub fn carry(&mut self, frame: Vec<u8>, from: usize, now: Instant) {
        let (from, to) = (from % 2, (from + 1) % 2);
        let books = &mut self.directions[from];
        books.frames += 1;
        books.bytes += frame.len() as u64;
        if self.flying.len() >= MAX_FLYING {
            books.crowded += 1;
            return;
        }
        let carried = self.wires[from].carry(frame, from, now);
        match carried.lost {
            None => {}
            Some(Lost::Chance) => books.lost += 1,
            Some(Lost::Queue) => books.overflowed += 1,
            Some(Lost::TooLong) => books.too_long += 1,
        }
        let arrivals = carried.arrivals.into_iter().map(|(at, frame)| (at, to, frame));
        for (at, to, frame) in arrivals.chain(carried.answer.map(|(at, frame)| (at, from, frame))) {
            self.flying.push(Reverse(Flying { at, number: self.number, to, frame }));
            self.number += 1;
        }
    }

    /// When the next frame arrives.
    pub fn next(&self) -> Instant {
        self.flying.peek().map_or(Instant::NEVER, |Reverse(flying)| flying.at)
    }

    /// A frame that has arrived by `now`, and the end where it comes out.
    pub fn arrive(&mut self, now: Instant) -> Option<(usize, Vec<u8>)> {
        if self.next() > now {
            return None;
        }
        let Reverse(Flying { to, frame, .. }) = self.flying.pop()?;
        self.directions[1 - to].delivered += 1;
        Some((to, frame))
    }

    /// Frames on their way.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn frames_come_out_at_the_other_end_after_the_delay_and_in_order() {
        let delay = Duration::from_millis(25);
        let mut line = Line::new(Misbehaviour { delay, ..Misbehaviour::default() }, 1);
        for number in 0..10u8 {
            line.carry(vec![number; 60], usize::from(number % 2), ms(1));
        }
        assert_eq!((line.next(), line.flying()), (ms(26), 10));
        assert_eq!(line.arrive(ms(25)), None, "not yet");
        for number in 0..10u8 {
            assert_eq!(line.arrive(ms(26)), Some((1 - usize::from(number % 2), vec![number; 60])));
        }
        assert_eq!((line.arrive(ms(100)), line.next()), (None, Instant::NEVER));
        let books = Direction { frames: 5, bytes: 300, delivered: 5, ..Direction::default() };
        assert_eq!(line.directions, [books, books]);
    }

    /// Numbers of the frames of end 0 that arrive, when so many frames come in at end 1 between two of them.
    fn survivors(seed: u64, between: usize) -> Vec<u8> {
        let mut line = Line::new(Misbehaviour { loss: 300, ..Misbehaviour::default() }, seed);
        for number in 0..200u8 {
            line.carry(vec![number; 60], 0, ms(1));
            for _ in 0..between {
                line.carry(vec![0; 60], 1, ms(1));
            }
        }
        let mut arrived = Vec::new();
        while let Some((to, frame)) = line.arrive(ms(1)) {
            if to == 1 {
                arrived.push(frame[0]);
            }
        }
        assert_eq!(line.directions[0].lost as usize + arrived.len(), 200, "each is lost or arrives");
        arrived
    }

    #[test]
    fn the_fate_of_a_direction_follows_from_the_seed_whatever_the_other_one_does() {
        assert_eq!(survivors(1, 0), survivors(1, 3));
        assert_ne!(survivors(1, 0), survivors(2, 0));
        assert!((110..170).contains(&survivors(1, 0).len()), "{}", survivors(1, 0).len());
    }

    #[test]
    fn a_full_queue_and_a_short_mtu_have_counters_of_their_own() {
        let misbehaviour =
            Misbehaviour { rate: 1_000_000, queue: 3000, mtu: 1280, silent: true, ..Misbehaviour::default() };
        let mut line = Line::new(misbehaviour, 1);
        for _ in 0..10 {
            line.carry(vec![0; 1000], 0, ms(1));
        }
        line.carry(vec![0; 1500], 0, ms(1));
        let Direction { frames, overflowed, too_long, lost, .. } = line.directions[0];
        assert_eq!((frames, overflowed, too_long, lost, line.flying()), (11, 6, 1, 0, 4));
        assert_eq!(line.directions[1], Direction::default());
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let mut line = Line::new(Misbehaviour::default(), 1);
        for _ in 0..=MAX_FLYING {
            line.carry(vec![0; 14], 1, ms(1));
        }
        assert_eq!((line.flying(), line.directions[1].crowded), (MAX_FLYING, 1));
        let _ = line.arrive(ms(1));
        line.carry(vec![0; 14], 1, ms(1));
        assert_eq!(line.directions[1].crowded, 1, "there is room again");
    }
}
