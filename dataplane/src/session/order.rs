//! What the control thread asks of workers about programs, and what it hears back: every order is answered once by each of
//! them, so that what a process is told is true when it is told. A program may have sockets on any worker: all of them
//! know it, and hear of it in the same order.

use super::program::Program;
use core::ops::Deref;
use flumen_ipc::bells::Bells;
use flumen_ipc::wake::Bell;
use flumen_stack::socket::Family;
use std::io;
use std::sync::Arc;

/// What the control thread asks.
#[derive(Debug)]
pub enum Order {
    /// A process attached. Its tables come ready-made.
    Attach(Box<Program>),
    /// A process is about to be forked: it gets all sockets of the one at the place.
    Inherit(Box<Program>, u16),
    /// A process asks for the socket behind a kernel's socket.
    Adopt {
        /// The process.
        program: u16,
        /// The slot that it has free.
        slot: u32,
        /// Names the socket.
        cookie: u64,
        /// The user who made the kernel's socket.
        maker: u32,
    },
    /// A process is gone.
    Detach(u16),
}

/// What the worker answers.
#[derive(Debug)]
pub enum Done {
    /// To [`Order::Attach`] and [`Order::Inherit`]: this worker has it.
    Attached(u16),
    /// To [`Order::Inherit`]: there is no such parent.
    Refused(Box<Program>),
    /// To [`Order::Adopt`]; `None`: this worker does not have it. `Err`: the slot is taken.
    Adopted(u16, Result<Option<Found>, ()>),
    /// Waking a program takes a worker too long: a thread of its user's is to do that from now on ([`super::waking`]).
    Aside(u16),
    /// Nothing is left of a program on this worker: its tables go back to who made them.
    Gone(Box<Program>),
}

/// A socket that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The worker that it lives on.
    pub worker: u32,
    /// The program whose arena it lies in.
    pub home: u16,
    /// Its slot there.
    pub slot: u32,
    /// Its domain.
    pub family: Family,
    /// SOCK_STREAM and its kin.
    pub socket_type: i32,
    /// Its protocol.
    pub protocol: i32,
}

/// The worker's ends.
#[derive(Debug)]
pub struct WorkerEnds {
    /// What is asked.
    pub orders: rtrb::Consumer<Order>,
    /// Where the answers go.
    pub done: rtrb::Producer<Done>,
    /// Rung when there is one.
    pub bell: Arc<Bell>,
    /// What programs ring when they want something and the worker sleeps.
    pub rung: Arc<Bells>,
}

/// The control thread's ends of the rings to one worker.
#[derive(Debug)]
pub struct ControlEnds {
    /// What is asked.
    pub orders: rtrb::Producer<Order>,
    /// Where the answers come from.
    pub done: rtrb::Consumer<Done>,
    /// What programs ring.
    pub rung: Arc<Bells>,
}

/// Both ends. `bell` is the control thread's: the same for all workers.
///
/// # Errors
/// No descriptor is left.
pub fn channel(bell: &Arc<Bell>) -> io::Result<(ControlEnds, WorkerEnds)> {
    let rung = Arc::new(Bells::new()?);
    let (orders_in, orders) = rtrb::RingBuffer::new(super::limits::ORDERS);
    let (done, done_out) = rtrb::RingBuffer::new(super::limits::ORDERS);
    let control = ControlEnds { orders: orders_in, done: done_out, rung: Arc::clone(&rung) };
    Ok((control, WorkerEnds { orders, done, bell: Arc::clone(bell), rung }))
}

impl WorkerEnds {
    /// Answers. A full ring cannot be: the control thread has no more orders and programs than fit.
    pub fn answer(&mut self, done: Done) {
        if self.done.push(done).is_ok() {
            self.bell.deref().ring();
        }
    }
}
