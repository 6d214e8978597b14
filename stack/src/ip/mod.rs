//! What IPv4 and IPv6 share: where a packet goes on ([`path`], [`resolve`]), how it gets to its neighbour
//! ([`output`], [`resolution`]), and how flows are told apart ([`flow`]).

pub(crate) mod adjacency;
pub mod flow;
pub mod output;
pub mod path;
pub mod resolution;
pub mod resolve;
