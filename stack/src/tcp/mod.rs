//! TCP (RFC 9293).

pub mod congestion;
pub mod error;
pub mod negotiated;
pub mod options;
pub mod recovery;
pub mod rtt;
pub mod segment;
pub mod demux;
pub mod intervals;
pub mod ports;
pub mod seq;
pub mod settings;
pub mod state;
pub mod stats;

pub use negotiated::{Accepted, Arrived, Negotiated, Scales, TimeWaitContent};
pub use seq::Seq;
