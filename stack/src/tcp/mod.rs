//! TCP (RFC 9293).

pub mod congestion;
pub mod recovery;
pub mod rtt;
pub mod seq;

pub use seq::Seq;
