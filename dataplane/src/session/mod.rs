//! Sockets of programs: what attached processes ask for over shared memory ([`flumen_ipc`]), done on the stack of the worker.
//!
//! ```text
//!   program                 worker, each turn                                          stack
//!   call slot ── Op ──────> calls ──> socket: TCP, UDP, raw ──────────────────────────> bind, listen, connect …
//!   kick ─────────────────> kicks ──> bytes between rings and buffers ────────────────> send, peek, consume
//!   cell, rings, news <──── events ── what changed <─────────────────────────────────── news
//! ```
//!
//! The control thread admits processes and makes all tables; the worker only fills them. The program is not trusted: its
//! memory is read through [`flumen_ipc`] alone, and what it says names nothing but its own sockets.

pub mod links;
pub mod options;
pub mod socket;

/// What a call fails with.
pub use rustix::io::Errno;

/// The number that the stack's error has in Linux.
pub fn errno(error: flumen_stack::socket::Error) -> Errno {
    Errno::from_raw_os_error(error.errno())
}
