//! One deadline an entry, and the earliest of them all: a binary heap that knows where each entry is in it.
//!
//! A heap rather than a wheel: the earliest deadline is exact, so that an idle worker can sleep until it; the
//! size is that of the table; to set or clear costs at most log2(entries) moves (13 at the default size), and
//! neither happens for a packet of the fast path.

use crate::Instant;

const ABSENT: u32 = u32::MAX;

pub(super) struct Deadlines {
    /// (deadline, entry), a parent never later than its children. Never longer than `places`.
    heap: Vec<(Instant, u32)>,
    /// Where each entry is in the heap.
    places: Box<[u32]>,
}

impl Deadlines {
    pub(super) fn new(entries: usize) -> Self {
        Deadlines { heap: Vec::with_capacity(entries), places: vec![ABSENT; entries].into_boxed_slice() }
    }

    /// The earliest deadline and its entry.
    pub(super) fn first(&self) -> Option<(Instant, usize)> {
        self.heap.first().map(|&(deadline, entry)| (deadline, entry as usize))
    }

    /// Gives the entry this deadline in place of any it has.
    pub(super) fn set(&mut self, entry: usize, deadline: Instant) {
        let place = match self.places[entry] {
            ABSENT => {
                self.heap.push((deadline, entry as u32));
                self.heap.len() - 1
            }
            place => {
                self.heap[place as usize].0 = deadline;
                place as usize
            }
        };
        let place = self.rise(place);
        self.sink(place);
    }

    /// Takes the entry's deadline away, if it has one.
    pub(super) fn clear(&mut self, entry: usize) {
        let place = core::mem::replace(&mut self.places[entry], ABSENT);
        if place == ABSENT {
            return;
        }
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    /// Moves a node up to where it belongs; records and returns the place.
    fn rise(&mut self, mut place: usize) -> usize {
        let node = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= node.0 {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, node);
        place
    }

    /// Moves a node down to where it belongs and records the place.
    fn sink(&mut self, mut place: usize) {
        let node = self.heap[place];
        loop {
            let mut child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].0 < self.heap[child].0 {
                child += 1;
            }
            if node.0 <= self.heap[child].0 {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, node);
    }

    fn put(&mut self, place: usize, node: (Instant, u32)) {
        self.heap[place] = node;
        self.places[node.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_the_earliest_of_what_is_set(steps in prop::collection::vec((0usize..16, prop::option::of(0u64..50)), 0..300)) {
            let mut heap = Deadlines::new(16);
            let mut model = [None; 16];
            for (entry, deadline) in steps {
                match deadline {
                    Some(at) => heap.set(entry, Instant::from_nanos(at)),
                    None => heap.clear(entry),
                }
                model[entry] = deadline;
                let earliest = model.iter().flatten().min().copied();
                prop_assert_eq!(heap.first().map(|(at, _)| at.nanos()), earliest);
                if let Some((at, entry)) = heap.first() {
                    prop_assert_eq!(model[entry], Some(at.nanos()));
                }
            }
        }
    }
}
