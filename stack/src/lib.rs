//! # flumen-stack: the protocol library of the Flumen data plane
//!
//! Sans-I/O: bytes, the time and randomness come in as arguments; frames, in bursts, go out. The stack never
//! sees a clock, a socket, a file or a thread, and contains no unsafe code. One [`Stack`] belongs to one
//! worker; what workers share (the forwarding table) is read without locks.
//!
//! ## The walk of a packet
//! ```text
//!   port ─> ethernet ─┬─> offload ─> ipv4::input ─> route ─┬─> forward ─> output ─> neighbour ─> egress ─> port
//!                     │              ipv6::input           ├─> local ─┬─> raw: copies to sockets
//!                     │                                    │          ├─> udp, tcp ──> sockets ──> their owners
//!                     │                                    │          └─> icmp, igmp, mld ──> output …
//!                     └─> arp, nd ─> neighbour             └─> refused: a reason, and perhaps an ICMP error
//! ```
//! Every end is a value: a frame in [`egress`], or a [`DropReason`] with its counter. `ARCHITECTURE.md`
//! walks the same way with the reasons.
//!
//! ## Glossary
//! *frame*: a chunk of packet memory. *packet*: the bytes in process. *fragment*: IP's. *segment*: TCP's (or
//! one chunk of a chained frame). *datagram*: UDP's. *burst*: a group of packets. *port*: an interface.
//! *queue*: one receive/transmit pair of a port. *worker*: the thread on a core.
#![forbid(unsafe_code)]

pub(crate) mod address;
pub mod burst;
pub mod checksum;
pub mod counters;
pub mod egress;
pub mod ethernet;
pub mod frame;
pub mod groups;
pub mod hash;
pub mod icmp;
pub mod igmp;
pub mod interface;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod limits;
pub mod mac;
pub mod mld;
pub mod multicast;
pub mod neighbour;
pub mod offload;
pub mod port;
pub mod raw;
pub mod route;
pub mod sim;
pub mod socket;
pub mod stack;
pub mod tcp;
pub mod time;
pub mod timer;
pub mod turn;
pub mod udp;
pub mod verdict;
pub mod wire;

pub use burst::Burst;
pub use counters::{Counter, Counters};
pub use egress::Egress;
pub use frame::{Frame, FramePool};
pub use interface::{Interface, Interfaces};
pub use mac::MacAddr;
pub use port::PortId;
pub use stack::{SocketLimits, Stack, StackConfig};
pub use time::Instant;
pub use turn::{NoProbe, Probe, Stage, Turn};
pub use verdict::DropReason;
