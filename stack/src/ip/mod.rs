//! What IPv4 and IPv6 share: where a packet goes on ([`path`], [`resolve`]), how it gets to its neighbour
//! ([`output`], [`resolution`]), how flows are told apart ([`flow`]), and how what sockets send gets its way
//! ([`select`]) and its header ([`originate`]).

pub(crate) mod adjacency;
pub mod flow;
pub mod originate;
pub mod output;
pub mod path;
pub mod resolution;
pub mod resolve;
pub mod select;
