//! Which programs a worker looks at in a turn.
//!
//! Most of several hundred programs say nothing for a long time, and to see that costs a line of memory that another
//! processor may have touched. So a program that was looked at often and found silent is *quiet*: of those a turn looks at a few,
//! in a circle, and one that has said something is awake again. Each is seen after a bounded number of turns, and before
//! the worker sleeps all of them are.
//!
//! ```text
//!   awake: each turn ──── nothing in LOOKS_BEFORE_QUIET looks ───> quiet: QUIET_A_TURN a turn, in a circle
//!          <─────────────────────── marks something ──────────────
//! ```

use super::limits::{LOOKS_BEFORE_QUIET, QUIET_A_TURN};
use flumen_ipc::Watch;
use std::collections::VecDeque;

/// A program that is looked at.
#[derive(Debug)]
struct Entry {
    place: u16,
    watch: Watch,
    life: Life,
    /// How often it was found silent since it said something.
    silent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It says what it wants.
    Attached,
    /// It is gone, and its sockets are being closed: there is something to do, whatever it had marked.
    Leaving,
    /// It is gone, and others use its memory: nothing is to be done for it.
    Gone,
}

impl Entry {
    #[inline]
    fn wants_something(&self) -> bool {
        match self.life {
            Life::Attached => self.watch.has_marks(),
            Life::Leaving => true,
            Life::Gone => false,
        }
    }
}

/// The programs of a worker.
#[derive(Debug)]
pub struct Watched {
    awake: Vec<Entry>,
    /// The next one that is looked at stands in front.
    quiet: VecDeque<Entry>,
}

impl Watched {
    /// Room for so many; no memory is taken later.
    pub fn with_capacity(programs: usize) -> Watched {
        Watched { awake: Vec::with_capacity(programs), quiet: VecDeque::with_capacity(programs) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.awake.len() + self.quiet.len()
    }

    /// One more.
    pub fn insert(&mut self, place: u16, watch: Watch) {
        self.awake.push(Entry { place, watch, life: Life::Attached, silent: 0 });
    }

    /// One less.
    pub fn remove(&mut self, place: u16) {
        self.awake.retain(|entry| entry.place != place);
        self.quiet.retain(|entry| entry.place != place);
    }

    /// The process is gone: its sockets are to be closed.
    pub fn leaves(&mut self, place: u16) {
        self.quiet.iter_mut().chain(&mut self.awake).filter(|entry| entry.place == place).for_each(|entry| {
            entry.life = Life::Leaving;
        });
    }

    /// All its sockets are closed.
    pub fn is_gone(&mut self, place: u16) {
        self.quiet.iter_mut().chain(&mut self.awake).filter(|entry| entry.place == place).for_each(|entry| {
            entry.life = Life::Gone;
        });
    }

    /// Those that each turn looks at: how many.
    #[inline]
    pub fn awake(&self) -> usize {
        self.awake.len()
    }

    /// The program that stands `index`-th among those, if it wants something. To be asked from the last to the first: what is
    /// done for one may end it and others, and who falls quiet makes way for one that was asked.
    #[inline]
    pub fn look(&mut self, index: usize) -> Option<u16> {
        let entry = self.awake.get_mut(index)?;
        if entry.wants_something() {
            entry.silent = 0;
            return Some(entry.place);
        }
        entry.silent += 1;
        if entry.silent >= LOOKS_BEFORE_QUIET {
            let entry = self.awake.swap_remove(index);
            self.quiet.push_back(entry);
        }
        None
    }

    /// How many quiet ones this turn looks at.
    #[inline]
    pub fn quiet_in_a_turn(&self) -> usize {
        self.quiet.len().min(QUIET_A_TURN)
    }

    /// The next quiet program, if it wants something: it is awake from now on.
    #[inline]
    pub fn look_at_a_quiet_one(&mut self) -> Option<u16> {
        let mut entry = self.quiet.pop_front()?;
        if !entry.wants_something() {
            self.quiet.push_back(entry);
            return None;
        }
        entry.silent = 0;
        let place = entry.place;
        self.awake.push(entry);
        Some(place)
    }

    #[inline]
    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.awake.iter().chain(&self.quiet)
    }

    /// Whether any wants something.
    pub fn want_something(&self) -> bool {
        self.all().any(Entry::wants_something)
    }

    /// Whether one of those that each turn looks at waits for an answer.
    #[inline]
    pub fn have_calls(&self) -> bool {
        self.awake.iter().any(|entry| entry.life == Life::Attached && entry.watch.has_calls())
    }

    /// The program that stands `index`-th among all, if it let go of slots. To be asked from the last to the first.
    #[inline]
    pub fn with_closes(&self, index: usize) -> Option<u16> {
        let entry = match index.checked_sub(self.awake.len()) {
            None => self.awake.get(index)?,
            Some(behind) => self.quiet.get(behind)?,
        };
        (entry.life == Life::Attached && entry.watch.has_closes()).then_some(entry.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_ipc::{Arena, Geometry};
    use std::sync::Arc;

    const GEOMETRY: Geometry = Geometry { slots: 64, calls: 64, rx_bytes: 4096, tx_bytes: 4096, workers: 1 };

    /// As many programs, all of them silent, and their memory.
    fn watched(programs: u16) -> (Watched, Vec<Arc<Arena>>) {
        let mut watched = Watched::with_capacity(programs.into());
        let arenas: Vec<_> = (0..programs).map(|_| Arc::new(Arena::create(GEOMETRY).unwrap().0)).collect();
        for (place, arena) in arenas.iter().enumerate() {
            watched.insert(place as u16, Watch::new(arena, 0));
        }
        (watched, arenas)
    }

    /// A turn; who wanted something.
    fn turn(watched: &mut Watched) -> Vec<u16> {
        let mut wanted = Vec::new();
        for index in (0..watched.awake()).rev() {
            wanted.extend(watched.look(index));
        }
        for _ in 0..watched.quiet_in_a_turn() {
            wanted.extend(watched.look_at_a_quiet_one());
        }
        wanted
    }

    /// The program's kick is taken.
    fn take(arena: &Arena) {
        while arena.kicks(0).take().is_some() {}
    }

    #[test]
    fn who_is_silent_for_long_is_quiet_and_wakes_up_when_it_says_something() {
        let (mut watched, arenas) = watched(2);
        for _ in 1..LOOKS_BEFORE_QUIET {
            assert!(turn(&mut watched).is_empty());
        }
        assert_eq!(watched.awake(), 2);
        arenas[0].kicks(0).mark(7);
        assert_eq!((turn(&mut watched), watched.awake(), watched.len()), (vec![0], 1, 2));
        take(&arenas[0]);
        arenas[1].call_marks(0).mark(7);
        assert!(watched.want_something() && !watched.have_calls(), "a quiet one has called");
        assert_eq!((turn(&mut watched), watched.awake()), (vec![1], 2));
        assert!(watched.have_calls());
    }

    #[test]
    fn each_quiet_one_is_seen_after_a_bounded_number_of_turns_whatever_the_others_do() {
        const PROGRAMS: u16 = 100;
        let (mut watched, arenas) = watched(PROGRAMS);
        (0..LOOKS_BEFORE_QUIET).for_each(|_| assert!(turn(&mut watched).is_empty()));
        assert_eq!(watched.awake(), 0);
        let turns = usize::from(PROGRAMS).div_ceil(QUIET_A_TURN);
        for place in 0..PROGRAMS {
            arenas[usize::from(place)].kicks(0).mark(1);
            // Others wake up meanwhile, go, and come.
            let other = (place + 1) % PROGRAMS;
            arenas[usize::from(other)].kicks(0).mark(1);
            let mut seen: Vec<u16> = turn(&mut watched);
            watched.remove(other);
            watched.insert(other, Watch::new(&arenas[usize::from(other)], 0));
            (1..turns).for_each(|_| seen.extend(turn(&mut watched)));
            assert!(seen.contains(&place), "program {place}");
            take(&arenas[usize::from(place)]);
            take(&arenas[usize::from(other)]);
        }
        assert_eq!(watched.len(), usize::from(PROGRAMS));
    }

    #[test]
    fn what_one_that_is_gone_had_marked_is_nothing() {
        let (mut watched, arenas) = watched(1);
        arenas[0].call_marks(0).mark(1);
        arenas[0].closes(0).mark(1);
        assert_eq!(watched.with_closes(0), Some(0));
        watched.leaves(0);
        assert_eq!(
            (watched.with_closes(0), turn(&mut watched)),
            (None, vec![0]),
            "its sockets are to be closed"
        );
        watched.is_gone(0);
        assert!(turn(&mut watched).is_empty() && !watched.want_something() && !watched.have_calls());
        watched.remove(0);
        assert_eq!(watched.len(), 0);
    }
}
