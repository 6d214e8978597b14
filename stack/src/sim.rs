//! A small network in one thread and in virtual time: stacks, wires that misbehave, and a clock that jumps.
//!
//! ```text
//!   node ─ egress ─▶ wire: lost? cut short? a bit flipped? twice? when? ─▶ queue of arrivals ─▶ node
//!                                                                            │
//!                                   the clock jumps to whatever comes first: an arrival or a timer
//! ```
//! Everything follows from the seed: the same seed gives the same run, packet by packet, so a run that breaks
//! an invariant is kept as one number. Every misbehaviour is a named option ([`Misbehaviour`]).
//!
//! Invariant: no step depends on anything but the seed and what was done to the world: no clock, no thread, no
//! order of a hash map.

pub mod node;
pub mod random;
pub mod report;
pub mod wire;
pub mod world;

pub use node::{Node, NodeSettings, rib};
pub use random::Random;
pub use report::Report;
pub use wire::{Lost, Misbehaviour, Wire};
pub use world::{Arrival, World};
