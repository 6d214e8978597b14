//! What sockets of every protocol share: handles, the news for their owners, the memory of their buffers, and what
//! datagram sockets are made of.

pub mod api;
pub mod blocks;
pub mod bound;
pub mod chains;
pub mod control;
pub mod endpoint;
pub mod error;
pub mod errors;
pub mod event;
pub mod homes;
pub mod ip_options;
pub mod listeners;
pub mod messages;
pub mod options;
pub mod ring;
pub mod slab;
pub mod stamps;
pub mod zeroed;

pub use blocks::BlockPool;
pub use bound::{Address, Bind, BindError, BindId, Bound};
pub use control::{ErrorReport, Origin, Received, SendArgs, SendControl, Waiting};
pub use endpoint::Family;
pub use error::Error;
pub use event::{EventQueue, Owner, Pending, Ready, SocketId};
pub use ip_options::IpOptions;
pub use listeners::Listeners;
pub use options::{MtuDiscovery, Opt, Options};
pub use ring::ByteRing;
pub use slab::{Handle, Slab};
pub use stamps::{Stamp, StampKind, StampKinds, StampOptions};
