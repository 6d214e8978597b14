//! An attached process, as the worker has it: its memory, its bell, and which socket stands in which of its slots.
//!
//! Sockets that are shared (fork, exec, SCM_RIGHTS) stand in slots of several programs. The slots of one socket form a chain
//! through these tables, so that sharing needs no memory of its own.
//!
//! A slot has two sides: as a *name*, by which this program calls a socket, and as a *home*, whose cell and rings some
//! socket uses. A process may have closed its name for a socket whose home is here, while its child goes on with it: such a slot
//! is not free.
//!
//! Each worker has tables of its own for a program, with the sockets that live on that worker. Which slots are homes the workers
//! have together, for no two sockets may have one cell.

use super::socket::Credentials;
use super::waking::{Waker, Waking};
use flumen_ipc::Arena;
use flumen_ipc::wake::Bell;
use flumen_stack::socket::Handle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// A slot of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The program's place in the table of programs.
    pub program: u16,
    /// The slot.
    pub slot: u32,
}

/// What stands in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seat {
    /// The socket that the program calls by this slot.
    pub socket: Option<Handle>,
    /// The next slot that names the same socket.
    pub next: Option<Place>,
    /// The slot's cell and rings are in use, by a socket of this worker.
    pub is_home: bool,
}

/// What all workers have of a program.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Its memory.
    pub arena: Arc<Arena>,
    /// What wakes it.
    pub waking: Arc<Waking>,
    /// Which slots are homes.
    homes: Homes,
}

impl Shared {
    /// Of a process with nothing open.
    pub fn new(arena: Arena, bell: Bell, user: Credentials) -> Shared {
        let homes = (0..arena.geometry().slots.div_ceil(64)).map(|_| Group::default()).collect();
        let arena = Arc::new(arena);
        let waking = Arc::new(Waking::new(Arc::clone(&arena), bell, user));
        Shared { arena, waking, homes: Homes(homes) }
    }

    /// Which slots are homes.
    pub fn homes(&self) -> &Homes {
        &self.homes
    }
}

/// Which slots are homes, of a socket of any worker.
#[derive(Debug, Clone)]
pub struct Homes(Arc<[Group]>);

/// 64 slots, a bit for each.
#[derive(Debug, Default)]
struct Group {
    /// It is a home, or the control thread gives its memory back.
    taken: AtomicU64,
    /// It became a home since the control thread looked.
    used: AtomicU64,
}

impl Homes {
    fn of(&self, slot: u32) -> Option<(&Group, u64)> {
        Some((self.0.get(slot as usize / 64)?, 1 << (slot % 64)))
    }

    /// The slot is a home from now on; false when it is one already, or there is no such slot.
    fn take(&self, slot: u32) -> bool {
        // Acquire: partner of the Release of who gave it back, and touches its cell and rings no more.
        let taken = self.of(slot).filter(|(group, bit)| group.taken.fetch_or(*bit, Acquire) & bit == 0);
        // Relaxed: a mark that the control thread sees late means that the slot is looked at once more.
        taken.map(|(group, bit)| group.used.fetch_or(bit, Relaxed)).is_some()
    }

    /// It is one no more.
    fn give_back(&self, slot: u32) {
        if let Some((group, bit)) = self.of(slot) {
            group.taken.fetch_and(!bit, Release);
        }
    }

    /// How many groups of 64 slots there are.
    pub(super) fn groups(&self) -> usize {
        self.0.len()
    }

    /// Those of a group that are homes, and those that became homes since this was asked last. By the control thread.
    pub(super) fn look(&self, group: usize) -> (u64, u64) {
        self.0.get(group).map_or((0, 0), |group| {
            // In this order: one that is taken after the second look is used at the next one.
            let used = if group.used.load(Relaxed) == 0 { 0 } else { group.used.swap(0, AcqRel) };
            (group.taken.load(Acquire), used)
        })
    }

    /// Takes those of a group's slots that are free, so that no socket begins there; says which. By the control thread.
    pub(super) fn take_free(&self, group: usize, slots: u64) -> u64 {
        self.0.get(group).map_or(0, |group| slots & !group.taken.fetch_or(slots, Acquire))
    }

    /// Gives them back.
    pub(super) fn give_back_free(&self, group: usize, slots: u64) {
        if let Some(group) = self.0.get(group) {
            group.taken.fetch_and(!slots, Release);
        }
    }
}

/// An attached process, as one worker has it.
#[derive(Debug)]
pub struct Program {
    /// Its place in the table of programs.
    pub place: u16,
    /// Its memory.
    pub arena: Arc<Arena>,
    /// How it is woken.
    pub waker: Waker,
    taken: Homes,
    /// Its slots.
    pub seats: Box<[Seat]>,
    /// Who it is.
    pub user: Credentials,
    /// Slots that name a socket.
    pub names: u32,
    /// Slots that are a home.
    pub homes: u32,
    /// It is gone: this slot is the next to be closed.
    pub leaving: Option<u32>,
    /// A turn, and how many slots it was asked to close in which nothing was.
    pub empty_closes: (u64, usize),
    /// News were marked, and the bell is to be looked at.
    pub has_news: bool,
    /// The sleep that the bell was rung for last ([`Arena::sleep`]).
    pub rung: Option<u32>,
}

impl Program {
    /// A process with nothing open.
    pub fn new(place: u16, shared: &Shared) -> Program {
        let slots = shared.arena.geometry().slots as usize;
        let seats = vec![Seat::default(); slots].into_boxed_slice();
        Program {
            place,
            arena: Arc::clone(&shared.arena),
            waker: Waker::new(Arc::clone(&shared.waking)),
            taken: shared.homes.clone(),
            seats,
            user: shared.waking.user(),
            names: 0,
            homes: 0,
            leaving: None,
            empty_closes: (0, 0),
            has_news: false,
            rung: None,
        }
    }

    /// What stands in a slot, whatever number the program says.
    pub fn seat(&self, slot: u32) -> Option<&Seat> {
        self.seats.get(slot as usize)
    }

    /// The socket that the program calls by a slot.
    pub fn socket(&self, slot: u32) -> Option<Handle> {
        self.seat(slot)?.socket
    }

    /// A new socket is at home in a slot. False when it cannot: the slot is taken, or the home of a socket of any worker.
    pub fn settle(&mut self, slot: u32) -> bool {
        let Some(seat) = self.seats.get_mut(slot as usize).filter(|seat| seat.socket.is_none()) else {
            return false;
        };
        if !self.taken.take(slot) {
            return false;
        }
        seat.is_home = true;
        self.homes += 1;
        true
    }

    /// No socket is at home in a slot any more.
    pub fn leave(&mut self, slot: u32) {
        let home = self.seats.get_mut(slot as usize).map(|seat| core::mem::take(&mut seat.is_home));
        if home == Some(true) {
            self.homes -= 1;
            self.taken.give_back(slot);
        }
    }
}
