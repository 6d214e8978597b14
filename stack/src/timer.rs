//! The timers of a worker: a hierarchical timing wheel over places.
//!
//! Each thing that has timers (a connection, say) keeps its own table of deadlines and gives the wheel only the
//! earliest, under the number of its place. The wheel knows one deadline for each place.
//!
//! ```text
//!   tick = 2^16 ns (65.5 µs); a moment has 48 bits of ticks: eight digits of six bits, a level for each
//!
//!            digit 7  …  digit 2   digit 1   digit 0
//!   now         0           3        17        60
//!   due         0           3        21         5      the highest digit that differs is 1, so it waits in
//!                                                      slot 21 of level 1; when that comes, in slot 5 of level 0
//! ```
//!
//! Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987). Filing, cancelling and firing cost the
//! same whatever the number of timers; a bitmap for each level finds the next slot that is not empty, so time
//! may pass in steps of any length.
//!
//! **Lazy.** TCP moves its retransmission deadline later with every acknowledgement. So a later deadline (or none)
//! is only written down: the place stays where it is filed, and when that slot comes it is filed anew. Only an
//! earlier deadline moves it at once.
//!
//! Invariants
//! 1. A place never fires before its deadline, and fires at the first [`TimerWheel::pop`] at or after the first
//!    tick that is not before it.
//! 2. A filed place stands in a slot whose first tick is not after its deadline's tick.
//! 3. All digits of a slot above its level are those of `elapsed`; its own digit is larger (level 0: not smaller),
//!    except for the slot that is being emptied, which begins at `elapsed`.
//! 4. Work is bounded: emptying a slot can stop after any entry and go on later.

use crate::socket::zeroed::Zeroed;
use crate::time::Instant;
use zerocopy::FromZeros;

/// Nanoseconds in a tick, as a power of two.
const TICK_BITS: u32 = 16;
/// Slots of a level, as a power of two.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// 48 bits of ticks are all that an [`Instant`] has.
const LEVELS: usize = 8;
const _: () = assert!(LEVELS as u32 * DIGIT_BITS + TICK_BITS == u64::BITS);

/// The due tick of a place without a deadline: beyond every one that is filed.
const NO_TICK: u64 = (1 << (u64::BITS - TICK_BITS)) - 1;

/// One deadline for each of many places.
#[derive(Debug)]
pub struct TimerWheel {
    entries: Zeroed<Entry>,
    /// First entry of each slot of each level, as its place + 1; 0 when empty.
    slots: [[u32; SLOTS]; LEVELS],
    /// Which slots of a level are not empty.
    occupied: [u64; LEVELS],
    /// The tick up to which everything was looked at.
    elapsed: u64,
    /// The slot that begins at `elapsed` and is being emptied.
    emptying: Option<u16>,
    filed: usize,
}

/// The timer of a place. All zeros: no deadline, and nowhere filed.
#[derive(Debug, Clone, Copy, FromZeros)]
struct Entry {
    /// The due tick + 1 in 48 bits (0: none), and in the lower 16 the slot + 1 (0: not filed). Together they are
    /// one word, so that a place is a quarter of a cache line.
    due_and_slot: u64,
    /// Neighbours in the slot's ring, as place + 1.
    next: u32,
    previous: u32,
}

impl Entry {
    #[inline]
    const fn due(self) -> u64 {
        // None (0) becomes the largest.
        (self.due_and_slot >> 16).wrapping_sub(1) & NO_TICK
    }

    #[inline]
    const fn set_due(&mut self, tick: u64) {
        self.due_and_slot = (tick.wrapping_add(1) & NO_TICK) << 16 | self.due_and_slot & 0xffff;
    }

    #[inline]
    const fn slot(self) -> Option<u16> {
        (self.due_and_slot as u16).checked_sub(1)
    }

    #[inline]
    const fn set_slot(&mut self, slot: Option<u16>) {
        let slot = match slot {
            Some(slot) => slot as u64 + 1,
            None => 0,
        };
        self.due_and_slot = self.due_and_slot & !0xffff | slot;
    }
}

impl TimerWheel {
    /// A wheel for the places `0..places` (16 bytes each), at this moment.
    pub fn new(places: usize, now: Instant) -> Self {
        TimerWheel {
            entries: Zeroed::new(places.min(u32::MAX as usize - 1)),
            slots: [[0; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            elapsed: now.nanos() >> TICK_BITS,
            emptying: None,
            filed: 0,
        }
    }

    /// Sets the deadline of a place, instead of the one it had; [`Instant::NEVER`] is none. A place that the
    /// wheel does not have is ignored. A deadline that has passed fires at the next [`TimerWheel::pop`].
    #[inline]
    pub fn schedule(&mut self, place: u32, deadline: Instant) {
        // Rounded up: a timer must not fire early. The last ticks before the end of time are never.
        let tick = deadline.nanos().div_ceil(1 << TICK_BITS).min(NO_TICK);
        let elapsed = self.elapsed;
        let Some(entry) = self.entries.get_mut().get_mut(place as usize) else {
            return;
        };
        entry.set_due(tick);
        match entry.slot() {
            Some(slot) if first_tick(elapsed, self.emptying, slot) <= tick => {} // looked at in time
            Some(_) => {
                self.unlink(place);
                self.file(place, tick);
            }
            None if tick == NO_TICK => {}
            None => self.file(place, tick),
        }
    }

    /// The place has no deadline any more.
    #[inline]
    pub fn cancel(&mut self, place: u32) {
        if let Some(entry) = self.entries.get_mut().get_mut(place as usize) {
            entry.set_due(NO_TICK);
        }
    }

    /// The deadline of a place, rounded up to a tick; [`Instant::NEVER`] when it has none.
    pub fn deadline(&self, place: u32) -> Instant {
        match self.entries.get().get(place as usize).map_or(NO_TICK, |entry| entry.due()) {
            NO_TICK => Instant::NEVER,
            tick => Instant::from_nanos(tick << TICK_BITS),
        }
    }

    /// A place whose deadline has come; it has none any more. `budget` is lowered by one for each entry that was
    /// looked at, fired or not, and when it is 0 the rest waits for the next call.
    #[inline]
    pub fn pop(&mut self, now: Instant, budget: &mut usize) -> Option<u32> {
        let now = now.nanos() >> TICK_BITS;
        while *budget > 0 {
            let Some(slot) = self.emptying else {
                if !self.turn(now) {
                    return None;
                }
                continue;
            };
            let (level, digit) = level_and_digit(slot);
            let Some(place) = self.slots[level][digit].checked_sub(1) else {
                self.emptying = None;
                continue;
            };
            *budget -= 1;
            self.unlink(place);
            let entry = &mut self.entries.get_mut()[place as usize];
            let due = entry.due();
            if due <= self.elapsed {
                entry.set_due(NO_TICK);
                return Some(place);
            }
            if due != NO_TICK {
                self.file(place, due);
            }
        }
        None
    }

    /// Calls `fire` with each place whose deadline has come, after looking at no more than `max` entries. True when
    /// there may be more.
    #[inline]
    pub fn expire(&mut self, now: Instant, max: usize, mut fire: impl FnMut(u32)) -> bool {
        let mut budget = max;
        while let Some(place) = self.pop(now, &mut budget) {
            fire(place);
        }
        budget == 0
    }

    /// No place fires before this moment: when to look again. It can be earlier than the earliest deadline.
    #[inline]
    pub fn next(&self) -> Instant {
        // An idle worker asks at each look, and mostly has nothing filed.
        if self.filed == 0 {
            return Instant::NEVER;
        }
        match self.next_slot() {
            Some((tick, _)) => Instant::from_nanos(tick << TICK_BITS),
            None => Instant::NEVER,
        }
    }

    /// Places that are filed: at least those with deadlines.
    pub fn filed(&self) -> usize {
        self.filed
    }

    /// Lets time pass to the next slot that is not empty, if it comes by `now`, else to `now`. True when there is
    /// something to empty.
    #[inline]
    fn turn(&mut self, now: u64) -> bool {
        match self.next_slot() {
            Some((tick, slot)) if tick <= now => {
                self.elapsed = tick;
                self.emptying = Some(slot);
                true
            }
            _ => {
                self.elapsed = self.elapsed.max(now);
                false
            }
        }
    }

    /// The slot that comes next, and its first tick. Lower levels come first: what waits in a higher one differs
    /// from `elapsed` in a higher digit.
    #[inline]
    fn next_slot(&self) -> Option<(u64, u16)> {
        if let Some(slot) = self.emptying {
            return Some((self.elapsed, slot));
        }
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let slot = level as u16 * SLOTS as u16 + self.occupied[level].trailing_zeros() as u16;
        Some((first_tick(self.elapsed, None, slot), slot))
    }

    /// Puts a place that is nowhere into the slot of a tick.
    #[inline]
    fn file(&mut self, place: u32, tick: u64) {
        let tick = tick.max(self.elapsed);
        let differing = u64::BITS - (tick ^ self.elapsed | 1).leading_zeros() - 1;
        let level = (differing / DIGIT_BITS) as usize;
        let digit = (tick >> (level as u32 * DIGIT_BITS)) as usize % SLOTS;
        let entries = self.entries.get_mut();
        let first = &mut self.slots[level][digit];
        if let Some(behind) = entries.get_mut((*first).wrapping_sub(1) as usize) {
            behind.previous = place + 1;
        }
        let entry = &mut entries[place as usize];
        entry.next = *first;
        entry.previous = 0;
        entry.set_slot(Some((level * SLOTS + digit) as u16));
        *first = place + 1;
        self.occupied[level] |= 1 << digit;
        self.filed += 1;
    }

    /// Takes a filed place out of its slot.
    #[inline]
    fn unlink(&mut self, place: u32) {
        let entries = self.entries.get_mut();
        let Entry { next, previous, .. } = entries[place as usize];
        let Some(slot) = entries[place as usize].slot() else {
            return;
        };
        entries[place as usize].set_slot(None);
        if let Some(behind) = entries.get_mut(next.wrapping_sub(1) as usize) {
            behind.previous = previous;
        }
        match entries.get_mut(previous.wrapping_sub(1) as usize) {
            Some(before) => before.next = next,
            None => {
                let (level, digit) = level_and_digit(slot);
                self.slots[level][digit] = next;
                if next == 0 {
                    self.occupied[level] &= !(1 << digit);
                }
            }
        }
        self.filed -= 1;
    }
}

#[inline]
const fn level_and_digit(slot: u16) -> (usize, usize) {
    (slot as usize / SLOTS % LEVELS, slot as usize % SLOTS)
}

/// The first tick of a slot: the digits of `elapsed` above its level, its own, and zeros; `elapsed` itself while
/// it is being emptied.
#[inline]
fn first_tick(elapsed: u64, emptying: Option<u16>, slot: u16) -> u64 {
    if emptying == Some(slot) {
        return elapsed;
    }
    let (level, digit) = level_and_digit(slot);
    let shift = level as u32 * DIGIT_BITS;
    (elapsed >> shift >> DIGIT_BITS << DIGIT_BITS | digit as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const TICK: u64 = 1 << TICK_BITS;

    fn fired(wheel: &mut TimerWheel, now: Instant) -> Vec<u32> {
        let mut places = Vec::new();
        wheel.expire(now, usize::MAX, |place| places.push(place));
        places
    }

    #[test]
    fn an_entry_is_a_quarter_of_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn a_timer_fires_once_and_not_before_its_deadline() {
        let mut wheel = TimerWheel::new(4, Instant::ZERO);
        wheel.schedule(3, Instant::from_millis(200));
        assert!(wheel.next() <= wheel.deadline(3) && wheel.next() > Instant::ZERO);
        assert_eq!(fired(&mut wheel, Instant::from_nanos(199_999_999)), []);
        assert_eq!(fired(&mut wheel, Instant::from_nanos(200_000_000 + TICK)), [3]);
        assert_eq!(fired(&mut wheel, Instant::from_millis(10_000)), []);
        assert_eq!((wheel.next(), wheel.deadline(3), wheel.filed()), (Instant::NEVER, Instant::NEVER, 0));
    }

    #[test]
    fn a_deadline_moved_later_stays_filed_and_one_moved_earlier_does_not() {
        let mut wheel = TimerWheel::new(1, Instant::ZERO);
        wheel.schedule(0, Instant::from_millis(100));
        let look = wheel.next();
        wheel.schedule(0, Instant::from_millis(5000));
        assert_eq!(wheel.next(), look);
        assert_eq!(fired(&mut wheel, Instant::from_millis(4999)), []);
        wheel.schedule(0, Instant::from_millis(6000));
        wheel.schedule(0, Instant::from_millis(5500));
        assert_eq!(fired(&mut wheel, Instant::from_millis(5499)), []);
        assert_eq!(fired(&mut wheel, Instant::from_millis(5501)), [0]);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire_and_is_forgotten_when_its_slot_comes() {
        let mut wheel = TimerWheel::new(1, Instant::ZERO);
        wheel.schedule(0, Instant::from_millis(100));
        wheel.cancel(0);
        assert_eq!(wheel.deadline(0), Instant::NEVER);
        assert_eq!(fired(&mut wheel, Instant::from_millis(1000)), []);
        assert_eq!(wheel.filed(), 0);
        wheel.schedule(0, Instant::NEVER);
        assert_eq!(wheel.filed(), 0);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_look_even_while_its_slot_is_emptied() {
        let now = Instant::from_millis(77);
        let mut wheel = TimerWheel::new(2, now);
        wheel.schedule(0, Instant::ZERO);
        let mut budget = 2;
        assert_eq!(wheel.pop(now, &mut budget), Some(0));
        wheel.schedule(0, now - Duration::from_millis(1));
        assert_eq!(wheel.pop(now, &mut budget), Some(0));
        wheel.schedule(0, now - Duration::from_millis(1));
        assert_eq!((wheel.pop(now, &mut budget), budget), (None, 0), "the budget bounds even that");
    }

    #[test]
    fn the_work_of_one_call_is_bounded_and_the_rest_follows() {
        let mut wheel = TimerWheel::new(1000, Instant::ZERO);
        for place in 0..1000 {
            wheel.schedule(place, Instant::from_millis(3_600_000));
        }
        let (mut calls, mut places) = (0, BTreeSet::new());
        while wheel.expire(Instant::from_millis(3_600_001), 7, |place| assert!(places.insert(place))) {
            calls += 1;
            // What is scheduled in between is not lost.
            if !places.contains(&500) {
                wheel.schedule(500, Instant::from_millis(calls));
            }
        }
        assert!(calls >= 1000 / 7);
        assert_eq!(places.len(), 1000);
    }

    #[test]
    fn the_end_of_time_and_places_that_are_not_there() {
        let mut wheel = TimerWheel::new(1, Instant::ZERO);
        wheel.schedule(1, Instant::ZERO);
        wheel.cancel(1);
        assert_eq!((wheel.filed(), wheel.deadline(1)), (0, Instant::NEVER));
        wheel.schedule(0, Instant::from_nanos(u64::MAX - 3 * TICK));
        assert_eq!(fired(&mut wheel, Instant::from_nanos(u64::MAX - 5 * TICK)), []);
        assert_eq!(fired(&mut wheel, Instant::from_nanos(u64::MAX)), [0]);
        wheel.schedule(0, Instant::from_nanos(u64::MAX - 1));
        assert_eq!(fired(&mut wheel, Instant::from_nanos(u64::MAX)), [], "that is never");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Schedule(u32, u64),
        Cancel(u32),
        Pass(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let distance = (0u32..50, any::<u64>()).prop_map(|(bits, random)| random % (1 << bits));
        prop_oneof![
            6 => (0u32..40, distance.clone()).prop_map(|(place, ahead)| Step::Schedule(place, ahead)),
            1 => (0u32..40).prop_map(Step::Cancel),
            4 => (distance, prop_oneof![Just(usize::MAX), 0usize..6]).prop_map(|(by, max)| Step::Pass(by, max)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_does_what_a_sorted_set_of_deadlines_does(
            steps in proptest::collection::vec(step(), 1..100), start in 0u64..1 << 56,
        ) {
            let mut now = Instant::from_nanos(start);
            let mut wheel = TimerWheel::new(40, now);
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Schedule(place, ahead) => {
                        // Half of them from before now on.
                        let deadline = now + Duration::from_nanos(ahead) - Duration::from_nanos(ahead % 2 * TICK * 9);
                        wheel.schedule(place, deadline);
                        model.insert(place, deadline);
                    }
                    Step::Cancel(place) => {
                        wheel.cancel(place);
                        model.remove(&place);
                    }
                    Step::Pass(by, max) => {
                        now = now + Duration::from_nanos(by);
                        let mut early = Vec::new();
                        let more = wheel.expire(now, max, |place| {
                            early.extend(model.remove(&place).filter(|deadline| *deadline > now));
                        });
                        prop_assert_eq!(early, vec![]);
                        prop_assert!(more == (max == 0) || max < 6);
                        if !more {
                            // Nothing is left that was due a tick ago.
                            prop_assert!(model.values().all(|&deadline| deadline + Duration::from_nanos(TICK) > now));
                        }
                    }
                }
                for place in 0..40 {
                    let deadline = wheel.deadline(place);
                    match model.get(&place) {
                        Some(&exact) => prop_assert!(deadline >= exact && deadline.since(exact).as_nanos() < u128::from(TICK)),
                        None => prop_assert_eq!(deadline, Instant::NEVER),
                    }
                }
                let earliest = model.values().min().copied().unwrap_or(Instant::NEVER);
                prop_assert!(wheel.next() <= earliest.max(now) + Duration::from_nanos(TICK));
                prop_assert!(wheel.filed() >= model.len());
            }
        }
    }
}
