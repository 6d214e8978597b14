//! TCP (RFC 9293).

pub mod negotiated;
pub mod seq;

pub use negotiated::{Accepted, Arrived, Negotiated, Scales, TimeWaitContent};
pub use seq::Seq;
