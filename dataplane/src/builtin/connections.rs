//! The connections of one service on one worker: a bounded table, and who was idle the longest.
//!
//! ```text
//!   table   [0]  [1]  [2]  [3] …        the place is in the owner's word of each socket
//!   idle    oldest ⇄ … ⇄ newest         all wait equally long: the order of the list is that of the deadlines
//! ```
//!
//! A connection is moved to the end of the list when something happens, but not within an eighth of the idle time
//! since it was moved there: moving touches its neighbours in the list, which are cold memory when there are
//! many. So a connection is idle for between seven eighths of the idle time and all of it.
//!
//! Invariant: the list holds exactly the places that are taken.

use core::time::Duration;
use flumen_stack::Instant;
use flumen_stack::socket::{Handle, Slab};

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    socket: Option<Handle>,
    placed: Instant,
    before: u32,
    after: u32,
    state: T,
}

/// Connections with a state each.
#[derive(Debug)]
pub struct Connections<T> {
    table: Slab<Entry<T>>,
    oldest: u32,
    newest: u32,
    idle: Duration,
}

impl<T> Connections<T> {
    /// Room for `capacity` connections that may each be idle for `idle`.
    pub fn new(capacity: usize, idle: Duration) -> Self {
        Connections { table: Slab::new(capacity), oldest: NONE, newest: NONE, idle }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// True when no more fit.
    pub fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// Takes a place, before there is a socket for it. `None`: full.
    pub fn insert(&mut self, now: Instant, state: T) -> Option<u32> {
        let entry = Entry { socket: None, placed: now, before: NONE, after: NONE, state };
        let place = self.table.insert(entry).ok()?.index() as u32;
        self.link(place, now);
        Some(place)
    }

    /// The socket of a place that was just taken.
    pub fn set_socket(&mut self, place: u32, socket: Handle) {
        if let Some(entry) = self.entry(place) {
            entry.socket = Some(socket);
        }
    }

    /// The state at a place, if that place is still the socket's. Something happened to it now.
    #[inline]
    pub fn active(&mut self, place: u32, socket: Handle, now: Instant) -> Option<&mut T> {
        let idle = self.idle;
        let entry = self.entry(place).filter(|entry| entry.socket == Some(socket))?;
        if now.since(entry.placed) > idle / 8 {
            self.unlink(place);
            self.link(place, now);
        }
        self.entry(place).map(|entry| &mut entry.state)
    }

    /// Gives a place back, with what stood there.
    pub fn remove(&mut self, place: u32) -> Option<T> {
        self.table.at(place as usize)?;
        self.unlink(place);
        let handle = self.table.at(place as usize)?;
        self.table.remove(handle).map(|entry| entry.state)
    }

    /// The connection that has been idle for too long, and for longest. It counts as active now.
    pub fn expire(&mut self, now: Instant) -> Option<(u32, Option<Handle>, &mut T)> {
        let place = self.oldest;
        let entry = self.entry(place)?;
        let socket = entry.socket;
        if now < entry.placed + self.idle {
            return None;
        }
        self.unlink(place);
        self.link(place, now);
        self.entry(place).map(|entry| (place, socket, &mut entry.state))
    }

    /// When [`Connections::expire`] has something to say.
    pub fn next_deadline(&self) -> Instant {
        let oldest = self.table.at(self.oldest as usize).and_then(|handle| self.table.get(handle));
        oldest.map_or(Instant::NEVER, |entry| entry.placed + self.idle)
    }

    #[inline]
    fn entry(&mut self, place: u32) -> Option<&mut Entry<T>> {
        let handle = self.table.at(place as usize)?;
        self.table.get_mut(handle)
    }

    fn link(&mut self, place: u32, now: Instant) {
        let newest = core::mem::replace(&mut self.newest, place);
        if let Some(entry) = self.entry(place) {
            (entry.placed, entry.before, entry.after) = (now, newest, NONE);
        }
        match self.entry(newest) {
            Some(before) => before.after = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(entry) = self.entry(place) else { return };
        let (before, after) = (entry.before, entry.after);
        match self.entry(before) {
            Some(entry) => entry.after = after,
            None => self.oldest = after,
        }
        match self.entry(after) {
            Some(entry) => entry.before = before,
            None => self.newest = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: Duration = Duration::from_millis(800);

    fn socket(number: u64) -> Handle {
        Handle::from_bits(number)
    }

    #[test]
    fn a_place_is_found_by_its_own_socket_only() {
        let mut connections = Connections::new(1, IDLE);
        let place = connections.insert(Instant::ZERO, 'a').unwrap();
        assert!(connections.is_full() && connections.insert(Instant::ZERO, 'b').is_none());
        assert_eq!(connections.active(place, socket(7), Instant::ZERO), None, "no socket yet");
        connections.set_socket(place, socket(7));
        assert_eq!(connections.active(place, socket(7), Instant::ZERO), Some(&mut 'a'));
        assert_eq!(connections.active(place, socket(8), Instant::ZERO), None);
        assert_eq!(connections.active(9, socket(7), Instant::ZERO), None);
        assert_eq!((connections.remove(place), connections.remove(place)), (Some('a'), None));
        assert!(connections.is_empty());
        assert_eq!(connections.next_deadline(), Instant::NEVER);
    }

    #[test]
    fn who_did_nothing_for_the_idle_time_is_named_at_its_end_and_once() {
        let mut connections = Connections::new(2, IDLE);
        for (number, start) in [(1, 0), (2, 50)] {
            let place = connections.insert(Instant::from_millis(start), number).unwrap();
            connections.set_socket(place, socket(number));
        }
        assert!(connections.active(0, socket(1), Instant::from_millis(500)).is_some());
        assert_eq!(connections.next_deadline(), Instant::from_millis(850));
        assert!(connections.expire(Instant::from_millis(849)).is_none());
        let expired =
            connections.expire(Instant::from_millis(850)).map(|(_, socket, state)| (socket, *state));
        assert_eq!(expired, Some((Some(socket(2)), 2)));
        assert!(connections.expire(Instant::from_millis(850)).is_none());
        assert_eq!(connections.next_deadline(), Instant::from_millis(1300));
    }

    proptest! {
        #[test]
        fn nobody_expires_who_was_active_and_everybody_else_does(
            steps in proptest::collection::vec((0u8..4, 0u8..8, 0u64..300), 1..200),
        ) {
            let mut connections = Connections::new(8, IDLE);
            let mut model: Vec<(u32, u64, Instant)> = Vec::new();
            let (mut now, mut number) = (Instant::ZERO, 0);
            for (action, which, later) in steps {
                now = now + Duration::from_millis(later);
                let chosen = usize::from(which) % model.len().max(1);
                match action {
                    0 => match connections.insert(now, number) {
                        Some(place) => {
                            connections.set_socket(place, socket(number));
                            model.push((place, number, now));
                            number += 1;
                        }
                        None => prop_assert_eq!(model.len(), 8),
                    },
                    1 if !model.is_empty() => {
                        let (place, number, last) = &mut model[chosen];
                        prop_assert_eq!(connections.active(*place, socket(*number), now).copied(), Some(*number));
                        *last = now;
                    }
                    2 if !model.is_empty() => {
                        let (place, number, _) = model.swap_remove(chosen);
                        prop_assert_eq!(connections.remove(place), Some(number));
                    }
                    _ => {
                        while let Some((place, handle, state)) = connections.expire(now) {
                            let state = *state;
                            let at = model.iter().position(|one| one.0 == place).unwrap();
                            prop_assert_eq!((socket(state), model[at].1), (handle.unwrap(), state));
                            prop_assert!(now.since(model[at].2) >= IDLE * 7 / 8);
                            model[at].2 = now;
                        }
                        prop_assert!(model.iter().all(|(_, _, last)| now.since(*last) < IDLE));
                    }
                }
                prop_assert_eq!(connections.len(), model.len());
                prop_assert_eq!(connections.next_deadline() == Instant::NEVER, model.is_empty());
            }
        }
    }
}
