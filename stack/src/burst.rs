//! Bursts: the unit of work. A burst is a bounded array of frames that a port handed over in one poll.

use crate::limits::BURST;
use arrayvec::ArrayVec;

/// Up to [`BURST`] frames (or things found out about them) that are worked on together, so that lookups of
/// one packet overlap with those of the next and the instruction cache stays warm.
pub type Burst<T> = ArrayVec<T, BURST>;
