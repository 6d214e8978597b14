//! What sockets of every protocol share: handles, and the news for their owners.

pub mod event;
pub mod slab;

pub use event::{EventQueue, Owner, Pending, Ready, SocketId};
pub use slab::{Handle, Slab};
