//! What IPv4 and IPv6 share: where a packet goes on ([`path`], [`resolve`]), how it gets to its neighbour
//! ([`output`], [`resolution`]), how flows are told apart ([`flow`]), how what sockets send gets its way
//! ([`select`], and what is remembered of it, `choices`), its source address (`source`) and its header ([`originate`]), how fragments become whole again ([`reassembly`]) and are named
//! ([`identification`]), and what another worker is handed ([`handover`]).

pub(crate) mod adjacency;
pub(crate) mod back;
pub(crate) mod choices;
pub mod flow;
pub mod handover;
pub mod identification;
pub mod martian;
pub mod originate;
pub mod output;
pub mod path;
pub mod policy;
pub mod reassembly;
pub mod resolution;
pub mod resolve;
pub mod select;
pub(crate) mod source;
