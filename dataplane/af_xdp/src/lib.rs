//! AF_XDP sockets, frames that cannot be submitted twice, and the XDP program that feeds them.
//!
//! # AF_XDP in a hundred lines
//!
//! An XDP program runs in the network driver, for each packet, before the kernel makes anything of it. It may pass the
//! packet on, drop it, or redirect it: here, into a socket of the family AF_XDP, by a map from queue number to
//! socket. Such a socket has no read or write. It shares memory with the process: a region of equal *chunks* that
//! hold packets ([`pool`]), and four *rings* of descriptors that say which chunk is whose ([`ring`]). The host keeps
//! the interface: what the program does not redirect goes its usual way.
//!
//! ## Receiving
//! ```text
//!    us                                      kernel and NIC
//!    pool --refill--> [ fill ring: empty chunks ] ------> takes a chunk
//!                                                         packet arrives, program redirects it,
//!                                                         bytes go into the chunk (by DMA in zero-copy
//!    Frame <-receive- [ rx ring: chunk, offset, len ] <-- mode, by a copy otherwise)
//! ```
//! A packet lands 256 bytes and the pool's headroom behind the start of its chunk, so that headers can be put in front
//! of it. With an empty fill ring, or a full rx ring, packets are lost, and [`Statistics`] says which it was.
//!
//! ## Transmitting
//! ```text
//!    us                                      kernel and NIC
//!    Frame --push, submit--> [ tx ring: chunk, offset, len ] --> reads the chunk when kicked
//!                   kick --> (a system call, only when asked for)
//!    pool <--complete------- [ completion ring: chunks ] <------ is done with it
//! ```
//! In copy mode the kernel transmits only inside our system call, so there is one kick for each burst; a zero-copy
//! driver polls the ring by itself and asks for a kick only when it has gone to sleep (*need wakeup*). To a veth a burst
//! is better sent in bulk ([`socket::bulk`]): by a BPF program that sends all of it in one call.
//!
//! ## Who owns a chunk, and when
//! | place | who may touch the bytes | leaves by |
//! |---|---|---|
//! | free list of the pool | nobody | [`Pool::alloc`], [`Socket::refill`] |
//! | fill ring, kernel, rx ring | the kernel | [`Socket::receive`] |
//! | [`Frame`] | its owner, alone | drop (to the free list), [`Socket::push`] |
//! | tx ring, kernel, completion ring | the kernel | [`Socket::complete`] |
//! | quarantine | perhaps the kernel | never |
//!
//! A [`Frame`] is owned, not `Copy`, and gone when it was pushed: that a packet is submitted twice, or written while
//! the NIC reads it, does not compile. Each chunk is in one place, so the sum over the places is always the size
//! of the pool ([`Pool::conservation`]). A frame received on one socket may be pushed into any other on the same pool:
//! that is how a router forwards without a copy, and why the ports of a worker share a pool.
//!
//! ## A worker's turn
//! ```text
//!    for each socket:   receive(64, |frame| ...)      frames in, by burst
//!                       push(frame) ... submit()      frames out
//!                       kick()                        one system call at most, where asked for
//!                       complete(), refill()          chunks home, chunks out again
//!                       wake_rx()                     for zero-copy drivers that ran out of chunks
//!    now and then:      state(), statistics()         is the interface still there?
//! ```
//!
//! ## Modes
//! | [`Mode`] | program runs | bytes go into the chunk by | needs |
//! |---|---|---|---|
//! | `ZeroCopy` | in the driver | DMA | support in the driver |
//! | `NativeCopy` | in the driver | a copy | an XDP hook in the driver |
//! | `Generic` | after the kernel made an skb | a copy | nothing |
//!
//! `Auto` tries them in this order and reports what it got and why not better ([`Grant`]); a mode that was demanded and
//! is not granted is an error.
//!
//! ## Long packets, checksums
//! A packet longer than a chunk is a chain of them (*multi-buffer*), in both directions. A packet that we originate may
//! ask the port to finish its checksum ([`Frame::request_tx_checksum`]); where the port does not offer that, `push`
//! does it.
//!
//! ## Coming and going
//! [`Attachment`] holds the program on the interface by a BPF link: when the process ends, however it ends, the kernel
//! takes program and map away, and the next start finds nothing in its way. A socket that is dropped leaves the map
//! first, is closed, and its chunks come back when the kernel is seen to be done with them (`socket::close`). An
//! interface that goes down or disappears is an answer ([`Kick`], [`LinkState`]), not a failure.
//!
//! ## Threads
//! A pool, its frames and its sockets belong to the thread that made them: no lock, no reference count, no atomic but the
//! rings' cursors. An attachment may be shared by the workers on the queues of its interface.
//!
//! ## The map of this crate
//! [`umem`] the region and where each chunk is · [`pool`], [`frame`] · [`ring`] · [`socket`] (`setup`, `close`,
//! `options`, `bulk`) · [`sqpoll`] · [`program`] what to redirect, assembled with [`bpf`] · [`attach`] · [`nic`] · [`mode`].
//!
//! Unsafe code lives here so that it need not elsewhere; every block says why it is sound.

pub mod allocator;
pub mod attach;
pub mod bpf;
pub mod cycles;
pub mod frame;
pub mod mode;
pub mod nic;
pub mod pool;
pub mod program;
pub mod ring;
pub mod socket;
pub mod sqpoll;
mod sys;
pub mod umem;

pub use allocator::Allocator;
pub use attach::{AttachError, AttachOptions, Attachment};
pub use frame::Frame;
pub use mode::{Grant, Mode};
pub use pool::{Account, ChunkSize, HugePages, Pool, PoolConfig, PoolError};
pub use program::{Claim, Claims, Exclusion, Ownership, Prefix, Rules};
pub use socket::Socket;
pub use socket::options::{
    BusyPoll, Counters, Kick, LinkState, Refusal, Sent, SocketError, SocketOptions, Statistics, Transmit,
};
pub use umem::{MAX_CHAIN, MAX_SEGMENTS};
