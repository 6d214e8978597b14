//! TCP (RFC 9293).

pub mod acks;
pub mod challenge;
pub mod congestion;
pub mod connection;
#[cfg(test)]
mod conversations;
pub mod cookie;
pub mod error;
pub mod expiry;
pub mod fast_open;
pub mod input;
pub mod intervals;
pub mod isn;
pub mod listen;
pub mod metrics;
pub mod negotiated;
pub mod options;
pub mod output;
pub mod receiver;
pub mod recovery;
pub mod rtt;
pub mod secret;
pub mod segment;
pub mod seq;
pub mod settings;
pub mod signature;
pub mod state;
pub mod stats;
pub mod time_wait;
pub mod timers;
pub mod tuple;
pub mod user;

pub use connection::{ConnectArgs, Connection, Context};
pub use negotiated::{Accepted, Arrived, Negotiated, Scales, TimeWaitContent};
pub use seq::Seq;
pub use tuple::Tuple;
