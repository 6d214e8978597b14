//! # flumen-ipc: memory that the data plane shares with programs
//!
//! A program's sockets live in the data plane; what both sides touch lies in memory that both have mapped. This crate
//! is that memory: where everything stands in it, how bytes go through it, and how one side wakes the other. It knows
//! neither the protocol stack nor the POSIX calls.
//!
//! ```text
//!   program                              arena (one memfd for each attached program)           worker
//!   ───────                              ───────────────────────────────────────────           ──────
//!   send ── copy ─────────────────────>  send ring of the socket ── copy ───────────────────>  TCP, UDP, raw
//!        ── kicks: bit of the socket ─>  dirty tree of the worker ── looked at each turn ───>
//!   recv <─ copy ──────────────────────  receive ring <── copy ──────────────────────────────
//!        <─ news: bit of the socket ───  dirty tree of the program <─────────────────────────
//!   other calls ── call slot ─────────>  request, answer ── looked at each turn ────────────>
//!   sleeps on the cell's futex word or on the program's eventfd; rung only when somebody sleeps
//! ```
//!
//! ## Who trusts whom
//! The program trusts the data plane. The data plane trusts nothing that it reads here: geometry is kept privately and
//! never read back; every index is masked to its table; every length is bounded by the ring's size, whatever the
//! cursors say; requests are copied out before they are looked at. A program that scribbles over its arena
//! loses its own connections, and nothing else. The memfd is sealed against shrinking, so that no access can fault. A descriptor
//! that both have can be made blocking by either: the data plane neither reads nor writes such a one ([`bells`]).
//!
//! ## Memory order
//! Each cursor and word has one writing side, named at its field. Data are written before the cursor that announces
//! them (Release), and read after it (Acquire). Sleeping is decided by Dekker's pattern in sequentially consistent order:
//! the sleeper says that it sleeps, then looks once more; the waker writes, then looks whether anybody sleeps.
//!
//! ## Glossary
//! *arena*: the memory shared with one program. *slot*: the number of a socket in a program's arena. *cell*: the words of
//! one socket. *attachment*: a process that is connected to the data plane. *news*: what the worker tells. *kick*: what the
//! program tells.

pub mod arena;
pub mod attach;
pub mod bells;
pub mod call;
pub mod cell;
pub mod kernel;
pub mod limits;
pub mod message;
pub mod page;
pub mod ring;
pub mod tree;
pub mod wake;

pub use arena::{Arena, Geometry, Watch};
pub use call::{CallSlot, Op, Request};
pub use cell::{Cell, Flags};
pub use page::ServicePage;
pub use ring::Ring;
pub use tree::DirtyTree;
