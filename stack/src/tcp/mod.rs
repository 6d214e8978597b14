//! TCP (RFC 9293).

pub mod challenge;
pub mod congestion;
pub mod cookie;
pub mod error;
pub mod fast_open;
pub mod isn;
pub mod listen;
pub mod metrics;
pub mod negotiated;
pub mod options;
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
pub mod tuple;

pub use negotiated::{Accepted, Arrived, Negotiated, Scales, TimeWaitContent};
pub use seq::Seq;
pub use tuple::Tuple;
