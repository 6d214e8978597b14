//! TCP (RFC 9293).

pub mod intervals;
pub mod seq;

pub use seq::Seq;
