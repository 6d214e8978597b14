//! TCP (RFC 9293).

pub mod seq;

pub use seq::Seq;
