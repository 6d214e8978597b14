//! A wire between two interfaces that has what real ones have: length, a rate, a queue, and losses. Kernels without netem
//! (and ends that are not the kernel's) have a path with it all the same.
//!
//! ```text
//!   far end A ═══ left ──> queue of the rate ─> lost? twice? ─> delay ──> right ═══ far end B
//!                      <──                      (the same back)        <──
//! ```
//! What happens to a frame is the simulator's ([`flumen_stack::sim::Wire`]), so a path in virtual time and one between
//! namespaces are the same path. Each direction has chances of its own: what becomes of its n-th frame follows from the
//! seed alone, however the two directions fall together in time.
//!
//! Frames are not looked into. Whoever sends into the wire must have finished its checksums and cut its packets to the
//! MTU, as for a real one: behind veth that is `ethtool -K … tx off`, or the far end sees broken sums.
//!
//! [`line`] is the wire without interfaces, in whatever time it is told; [`run`] puts it between two.

pub mod limits;
pub mod line;
pub mod run;

pub use line::{Direction, Line};
pub use run::{Settings, run};
