//! AF_XDP sockets and the XDP program that feeds them.

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

pub use attach::{AttachError, AttachOptions, Attachment};
pub use frame::Frame;
pub use mode::{Grant, Mode};
pub use pool::{Account, ChunkSize, HugePages, Pool, PoolConfig, PoolError};
pub use program::{Claim, Claims, Exclusion, Ownership, Prefix, Rules};
pub use socket::Socket;
pub use socket::options::{
    BusyPoll, Counters, Kick, LinkState, Refusal, SocketError, SocketOptions, Statistics,
};
pub use umem::MAX_SEGMENTS;
