//! What sockets of every protocol share: handles, the news for their owners, and the memory of their buffers.

pub mod blocks;
pub mod bound;
pub mod event;
pub mod listeners;
pub mod ring;
pub mod slab;
pub mod zeroed;

pub use blocks::BlockPool;
pub use bound::{Address, Bind, BindError, BindId, Bound};
pub use event::{EventQueue, Owner, Pending, Ready, SocketId};
pub use listeners::Listeners;
pub use ring::ByteRing;
pub use slab::{Handle, Slab};
