//! TCP (RFC 9293).

pub mod demux;
pub mod intervals;
pub mod ports;
pub mod seq;

pub use seq::Seq;
