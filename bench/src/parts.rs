//! Works of single parts, each a burst at a time: measured by time in `benches/ideas.rs`, counted in instructions by
//! `hot-paths`.

use af_xdp::ring::{Descriptor, LoopbackConsumer, LoopbackProducer};
use core::time::Duration;
use flumen_stack::Instant;
use flumen_stack::limits::BURST;
use flumen_stack::timer::TimerWheel;

/// A burst of descriptors through a ring: pushed, published, taken, given back. Returns the sum of their lengths.
pub fn through_ring(
    producer: &mut LoopbackProducer<'_, Descriptor>,
    consumer: &mut LoopbackConsumer<'_, Descriptor>,
) -> u64 {
    for number in 0..BURST as u32 {
        let pushed = producer.push(Descriptor { address: u64::from(number) << 11, len: number, options: 0 });
        debug_assert!(pushed, "the ring holds a burst");
    }
    producer.submit();
    let ready = consumer.ready(BURST as u32);
    let sum = (0..ready).map(|_| u64::from(consumer.take().len)).sum();
    consumer.release();
    sum
}

/// The timers of many connections as acknowledgements move them: each deadline goes later, now and then one comes.
#[derive(Debug)]
pub struct Timers {
    wheel: TimerWheel,
    now: Instant,
    place: u32,
    places: u32,
}

/// How far away the deadline of each connection is: Linux's least retransmission timeout.
const AHEAD: Duration = Duration::from_millis(200);

/// Time from one burst to the next: a million segments a second.
const STEP: Duration = Duration::from_micros(BURST as u64);

impl Timers {
    /// Of so many connections.
    pub fn new(places: u32) -> Timers {
        let mut wheel = TimerWheel::new(places as usize, Instant::ZERO);
        (0..places).for_each(|place| wheel.schedule(place, Instant::ZERO + AHEAD));
        Timers { wheel, now: Instant::ZERO, place: 0, places }
    }

    /// A burst of acknowledgements, each for another connection; returns how many timers ran out meanwhile.
    pub fn turn(&mut self) -> u32 {
        for _ in 0..BURST {
            self.wheel.schedule(self.place, self.now + AHEAD);
            self.place = (self.place + 1) % self.places;
        }
        self.now = self.now + STEP;
        let mut fired = 0;
        self.wheel.expire(self.now, BURST, |_place| fired += 1);
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use af_xdp::ring::Loopback;

    #[test]
    fn a_burst_goes_through_the_ring_whole_again_and_again() {
        let mut ring = Loopback::new(2 * BURST as u32, u32::MAX - 100, Descriptor::default());
        let (mut producer, mut consumer) = ring.sides();
        for _ in 0..5 {
            assert_eq!(through_ring(&mut producer, &mut consumer), (0..BURST as u64).sum::<u64>());
        }
    }

    #[test]
    fn timers_that_are_moved_in_time_never_fire_and_others_do() {
        let mut busy = Timers::new(1024);
        assert_eq!((0..10_000).map(|_| busy.turn()).sum::<u32>(), 0);
        let mut fired = 0;
        let later = busy.now + 2 * AHEAD;
        while busy.wheel.expire(later, BURST, |_place| fired += 1) {}
        assert_eq!(fired, 1024, "each once, when nothing moves it any more");
    }
}
