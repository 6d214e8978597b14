//! ICMP (RFC 792) and ICMPv6 (RFC 4443): what this node says about packets, and what it is told.

pub mod limit;
pub(crate) mod questions;
pub(crate) mod redirect;
pub mod v4;
pub mod v6;
