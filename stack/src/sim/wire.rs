//! A wire between two stations, and what it does to frames.

use super::Random;
use crate::time::Instant;
use core::time::Duration;

/// What a wire does to frames, each in so many of a thousand. The default does nothing to any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Misbehaviour {
    /// The frame never arrives.
    pub loss: u16,
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
}

/// A wire.
#[derive(Debug)]
pub struct Wire {
    /// What it does; may be changed at any time.
    pub misbehaviour: Misbehaviour,
    random: Random,
}

impl Wire {
    /// A wire whose chances follow from `seed`.
    pub const fn new(misbehaviour: Misbehaviour, seed: u64) -> Wire {
        Wire { misbehaviour, random: Random::new(seed) }
    }

    /// Carries a frame that was put on the wire at `now`: what arrives at the other end, and when.
    pub fn carry(&mut self, mut frame: Vec<u8>, now: Instant) -> Vec<(Instant, Vec<u8>)> {
        let Misbehaviour { loss, duplicate, corrupt, truncate, .. } = self.misbehaviour;
        if self.random.chance(loss) {
            return Vec::new();
        }
        if self.random.chance(corrupt) {
            let bit = self.random.below(frame.len() as u64 * 8) as usize;
            if let Some(byte) = frame.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        if self.random.chance(truncate) {
            frame.truncate(self.random.below(frame.len() as u64) as usize);
        }
        let mut arrivals = Vec::new();
        if self.random.chance(duplicate) {
            arrivals.push((self.arrival(now), frame.clone()));
        }
        arrivals.push((self.arrival(now), frame));
        arrivals
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
        (0..100u8).map(|number| wire.carry(vec![number; 60], Instant::from_millis(number.into()))).collect()
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
}
