//! TCP (RFC 9293).

pub mod acks;
pub mod challenge;
pub mod congestion;
pub mod connection;
#[cfg(test)]
mod conversations;
pub mod error;
pub mod expiry;
pub mod input;
pub mod intervals;
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
pub mod state;
pub mod stats;
pub mod timers;
pub mod user;

pub use connection::{ConnectArgs, Connection, Context};
pub use negotiated::{Accepted, Arrived, Negotiated, Scales, TimeWaitContent};
pub use seq::Seq;
