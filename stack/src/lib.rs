//! # flumen-stack: the protocol library of the Flumen data plane
//!
//! Sans-I/O: bytes, the time and randomness come in as arguments; frames, in bursts, go out. The stack never
//! sees a clock, a socket, a file or a thread, and contains no unsafe code. One [`stack::Stack`] belongs to
//! one worker; what workers share (the forwarding table) is read without locks.
//!
//! ## The walk of a packet
//! See `ARCHITECTURE.md` for the whole; the modules here are its stations.
//!
//! ## Glossary
//! *frame*: a chunk of packet memory. *packet*: the bytes in process. *fragment*: IP's. *segment*: TCP's (or
//! one chunk of a chained frame). *datagram*: UDP's. *burst*: a group of packets. *port*: an interface.
//! *queue*: one receive/transmit pair of a port. *worker*: the thread on a core.
#![forbid(unsafe_code)]

pub mod burst;
pub mod checksum;
pub mod frame;
pub mod limits;
pub mod mac;
pub mod neighbour;
pub mod port;
pub mod route;
pub mod time;
pub mod verdict;
pub mod wire;

pub use burst::Burst;
pub use frame::{Frame, FramePool};
pub use mac::MacAddr;
pub use port::PortId;
pub use time::Instant;
pub use verdict::DropReason;
