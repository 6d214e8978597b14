//! An attached process, as the worker has it: its memory, its bell, and which socket stands in which of its slots.
//!
//! Sockets that are shared (fork, exec, SCM_RIGHTS) stand in slots of several programs. The slots of one socket form a chain
//! through these tables, so that sharing needs no memory of its own.
//!
//! A slot has two sides: as a *name*, by which this program calls a socket, and as a *home*, whose cell and rings some
//! socket uses. A process may have closed its name for a socket whose home is here, while its child goes on with it: such a slot
//! is not free.

use super::socket::Credentials;
use flumen_ipc::Arena;
use flumen_ipc::wake::Bell;
use flumen_stack::socket::Handle;

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
    /// The slot's cell and rings are in use.
    pub is_home: bool,
}

/// An attached process.
#[derive(Debug)]
pub struct Program {
    /// Its place in the table of programs.
    pub place: u16,
    /// Its memory.
    pub arena: Arena,
    /// What wakes it.
    pub bell: Bell,
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
    /// News were marked, and the bell is to be looked at.
    pub has_news: bool,
    /// The sleep that the bell was rung for last ([`Arena::sleep`]).
    pub rung: Option<u32>,
}

impl Program {
    /// A process with nothing open.
    pub fn new(place: u16, arena: Arena, bell: Bell, user: Credentials) -> Program {
        let seats = vec![Seat::default(); arena.geometry().slots as usize].into_boxed_slice();
        Program {
            place,
            arena,
            bell,
            seats,
            user,
            names: 0,
            homes: 0,
            leaving: None,
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

    /// True for a slot that a new socket can have.
    pub fn is_free(&self, slot: u32) -> bool {
        self.seat(slot).is_some_and(|seat| seat.socket.is_none() && !seat.is_home)
    }
}
