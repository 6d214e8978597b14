//! A wire between two stations, and what it does to frames.
//!
//! ```text
//!   frame ─> too long? ─> lost, alone or in a row? ─> queue of the rate ─> a bit flipped? cut short? ─> twice? ─> when?
//!               └─> ICMP to its sender                   └─> full: lost
//! ```

use super::Random;
use super::report::{self, Report};
use crate::time::Instant;
use core::time::Duration;

/// Bytes of the link header, which no MTU counts.
const LINK_HEADER: usize = 14;

/// What a wire does to frames, each in so many of a thousand. The default does nothing to any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Misbehaviour {
    /// The frame never arrives.
    pub loss: u16,
    /// A time begins in which every frame of this direction is lost …
    pub burst: u16,
    /// … and with each frame may end (Gilbert's model: 1000 / this is the mean length in frames). With 0 it never
    /// ends.
    pub burst_end: u16,
    /// The frame arrives twice.
    pub duplicate: u16,
    /// The frame is held back for up to [`Misbehaviour::held_back`], so that later ones overtake it.
    pub reorder: u16,
    /// One bit of the frame is flipped.
    pub corrupt: u16,
    /// The frame ends early.
    pub truncate: u16,
    /// Time on the way: at least this, …
    pub delay: Duration,
    /// … and at most so much more.
    pub jitter: Duration,
    /// How long a frame that is overtaken is held back at most.
    pub held_back: Duration,
    /// Bytes a second of each direction; 0: as many as come.
    pub rate: u64,
    /// Bytes that may wait for their turn; what comes beyond is lost.
    pub queue: u32,
    /// The longest IP packet that gets through; 0: any. What is longer is answered by "too big", if it must not be
    /// cut, and is lost.
    pub mtu: u16,
    /// The wire loses what is too long without a word (a black hole).
    pub silent: bool,
    /// The frame's sender hears an ICMP error about it, which arrives nevertheless.
    pub report: u16,
    /// That error.
    pub reported: Option<Report>,
}

/// One direction of a wire.
#[derive(Debug, Clone, Copy, Default)]
struct Direction {
    in_burst: bool,
    /// When the last frame will have been sent.
    busy_until: Instant,
}

/// Why a frame does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It is longer than the wire's MTU.
    TooLong,
    /// By chance, alone or in a row.
    Chance,
    /// It found the queue of the rate full.
    Queue,
}

/// What becomes of a frame.
#[derive(Debug, Default)]
pub struct Carried {
    /// What arrives at the other end, and when.
    pub arrivals: Vec<(Instant, Vec<u8>)>,
    /// Why nothing does.
    pub lost: Option<Lost>,
    /// What comes back to the sender.
    pub answer: Option<(Instant, Vec<u8>)>,
}

/// A wire.
#[derive(Debug)]
pub struct Wire {
    /// What it does; may be changed at any time.
    pub misbehaviour: Misbehaviour,
    random: Random,
    directions: [Direction; 2],
}

impl Wire {
    /// A wire whose chances follow from `seed`.
    pub fn new(misbehaviour: Misbehaviour, seed: u64) -> Wire {
        Wire { misbehaviour, random: Random::new(seed), directions: [Direction::default(); 2] }
    }

    /// Carries a frame that was put on the wire at `now`, at the end 0 or 1.
    pub fn carry(&mut self, mut frame: Vec<u8>, from: usize, now: Instant) -> Carried {
        let Misbehaviour { loss, duplicate, corrupt, truncate, mtu, silent, report, reported, .. } =
            self.misbehaviour;
        let mut carried = Carried::default();
        if mtu != 0 && frame.len() > LINK_HEADER + usize::from(mtu) {
            if !silent && report::must_not_be_cut(&frame) {
                carried.answer =
                    report::about(&frame, Report::TooBig(mtu)).map(|frame| (self.arrival(now), frame));
            }
            carried.lost = Some(Lost::TooLong);
            return carried;
        }
        if report != 0
            && self.random.chance(report)
            && let Some(reported) = reported
        {
            carried.answer = report::about(&frame, reported).map(|frame| (self.arrival(now), frame));
        }
        if self.random.chance(loss) || self.in_burst(from) {
            carried.lost = Some(Lost::Chance);
            return carried;
        }
        let Some(sent) = self.transmit(&frame, from, now) else {
            carried.lost = Some(Lost::Queue);
            return carried;
        };
        if self.random.chance(corrupt) {
            let bit = self.random.below(frame.len() as u64 * 8) as usize;
            if let Some(byte) = frame.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        if self.random.chance(truncate) {
            frame.truncate(self.random.below(frame.len() as u64) as usize);
        }
        if self.random.chance(duplicate) {
            carried.arrivals.push((self.arrival(sent), frame.clone()));
        }
        carried.arrivals.push((self.arrival(sent), frame));
        carried
    }

    /// Whether this direction loses everything now.
    fn in_burst(&mut self, from: usize) -> bool {
        let Misbehaviour { burst, burst_end, .. } = self.misbehaviour;
        let was = self.directions[from % 2].in_burst;
        let is = if was { !self.random.chance(burst_end) } else { burst != 0 && self.random.chance(burst) };
        self.directions[from % 2].in_burst = is && (burst != 0);
        self.directions[from % 2].in_burst
    }

    /// When the last bit of the frame is sent; `None`: the queue was full.
    fn transmit(&mut self, frame: &[u8], from: usize, now: Instant) -> Option<Instant> {
        let Misbehaviour { rate, queue, .. } = self.misbehaviour;
        let nanos = |bytes: u64| (bytes * 1_000_000_000).checked_div(rate).map(Duration::from_nanos);
        let (Some(takes), Some(most)) = (nanos(frame.len() as u64), nanos(queue.into())) else {
            return Some(now);
        };
        let busy_until = &mut self.directions[from % 2].busy_until;
        let begins = now.max(*busy_until);
        if begins > now + most {
            return None;
        }
        *busy_until = begins + takes;
        Some(*busy_until)
    }

    fn arrival(&mut self, now: Instant) -> Instant {
        let Misbehaviour { reorder, delay, jitter, held_back, .. } = self.misbehaviour;
        let mut within = |most: Duration| Duration::from_nanos(self.random.below(most.as_nanos() as u64 + 1));
        let mut at = now + delay + within(jitter);
        let held = within(held_back);
        if self.random.chance(reorder) {
            at = at + held;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(misbehaviour: Misbehaviour) -> Vec<Vec<(Instant, Vec<u8>)>> {
        let mut wire = Wire::new(misbehaviour, 1);
        (0..100u8)
            .map(|number| wire.carry(vec![number; 60], 0, Instant::from_millis(number.into())).arrivals)
            .collect()
    }

    #[test]
    fn a_good_wire_delivers_each_frame_once_and_whole_after_its_delay() {
        let delay = Duration::from_millis(5);
        for (number, arrivals) in
            carried(Misbehaviour { delay, ..Misbehaviour::default() }).iter().enumerate()
        {
            assert_eq!(*arrivals, [(Instant::from_millis(number as u64 + 5), vec![number as u8; 60])]);
        }
    }

    #[test]
    fn each_misbehaviour_does_what_its_name_says() {
        let always = |change: fn(&mut Misbehaviour)| {
            let mut misbehaviour = Misbehaviour::default();
            change(&mut misbehaviour);
            carried(misbehaviour)
        };
        assert!(always(|m| m.loss = 1000).iter().all(Vec::is_empty));
        let mut wire = Wire::new(Misbehaviour { loss: 1000, ..Misbehaviour::default() }, 1);
        assert_eq!(wire.carry(vec![0; 60], 0, Instant::ZERO).lost, Some(Lost::Chance));
        assert!(always(|m| m.duplicate = 1000).iter().all(|arrivals| arrivals.len() == 2));
        for arrivals in always(|m| m.truncate = 1000) {
            assert!(arrivals[0].1.len() < 60);
        }
        for (number, arrivals) in always(|m| m.corrupt = 1000).iter().enumerate() {
            let flipped: u32 = arrivals[0].1.iter().map(|byte| (byte ^ number as u8).count_ones()).sum();
            assert_eq!(flipped, 1);
        }
        let held_back = always(|m| (m.reorder, m.held_back) = (500, Duration::from_millis(50)));
        let times: Vec<Instant> = held_back.iter().map(|arrivals| arrivals[0].0).collect();
        assert!(!times.is_sorted(), "some overtake others");
    }

    #[test]
    fn bursts_lose_frames_in_a_row_and_only_those_of_their_direction() {
        let mut wire = Wire::new(Misbehaviour { burst: 50, burst_end: 100, ..Misbehaviour::default() }, 7);
        let lost: Vec<bool> = (0..10_000)
            .map(|number| wire.carry(vec![0; 60], 0, Instant::from_millis(number)).arrivals.is_empty())
            .collect();
        let count = lost.iter().filter(|lost| **lost).count();
        let rows = lost.windows(2).filter(|two| !two[0] && two[1]).count();
        assert!((2500..4200).contains(&count), "{count} lost: a third");
        assert!((8..13).contains(&(count / rows)), "{count} in {rows} rows: ten in each");
        wire.misbehaviour.burst_end = 0;
        while !wire.in_burst(0) {}
        assert!(wire.carry(vec![0; 60], 0, Instant::ZERO).arrivals.is_empty());
        wire.misbehaviour.burst = 0;
        assert_eq!(wire.carry(vec![0; 60], 0, Instant::ZERO).arrivals.len(), 1, "no more bursts");
    }

    #[test]
    fn a_rate_spaces_frames_and_a_full_queue_loses_them() {
        let misbehaviour = Misbehaviour { rate: 1_000_000, queue: 3000, ..Misbehaviour::default() };
        let mut wire = Wire::new(misbehaviour, 1);
        let start = Instant::from_millis(1);
        let mut at = |from, now| {
            let carried = wire.carry(vec![0; 1000], from, now);
            assert_eq!(carried.lost, carried.arrivals.is_empty().then_some(Lost::Queue));
            carried.arrivals.first().map(|one| one.0)
        };
        let ms = |millis| Some(Instant::from_millis(millis));
        assert_eq!([at(0, start), at(0, start), at(0, start), at(0, start)], [ms(2), ms(3), ms(4), ms(5)]);
        assert_eq!(at(0, start), None, "four wait or are being sent");
        assert_eq!(at(1, start), ms(2), "the other direction is free");
        assert_eq!(at(0, Instant::from_millis(9)), ms(10));
    }

    #[test]
    fn what_is_too_long_is_lost_and_its_sender_hears_of_it_unless_the_wire_is_silent() {
        let mut wire = Wire::new(Misbehaviour { mtu: 1280, ..Misbehaviour::default() }, 1);
        let mut packet = vec![0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.resize(1500, 0);
        let frame = [vec![2; 12], vec![8, 0], packet].concat();
        let carried = wire.carry(frame.clone(), 0, Instant::ZERO);
        assert!(carried.arrivals.is_empty() && carried.answer.is_some());
        assert_eq!(carried.lost, Some(Lost::TooLong));
        assert_eq!(wire.carry(frame[..14 + 1280].to_vec(), 0, Instant::ZERO).arrivals.len(), 1);
        wire.misbehaviour.silent = true;
        let carried = wire.carry(frame.clone(), 0, Instant::ZERO);
        assert!(carried.arrivals.is_empty() && carried.answer.is_none());
        let reported = Some(Report::TimeExceeded);
        wire.misbehaviour = Misbehaviour { report: 1000, reported, ..Misbehaviour::default() };
        let carried = wire.carry(frame, 0, Instant::ZERO);
        assert!(carried.arrivals.len() == 1 && carried.answer.is_some());
    }
}
