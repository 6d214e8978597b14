//! Every bound of the wire, named, with its reason.

use core::time::Duration;

/// Frames on their way in both directions: a second of 1500-byte frames at 780 Mbit/s. What comes beyond is lost and
/// counted.
pub const MAX_FLYING: usize = 1 << 16;

/// The longest delay: longer than any path on this planet, by satellite or not.
pub const MAX_DELAY: Duration = Duration::from_secs(10);

/// The highest rate: beyond it this program, not the number, is the bottleneck.
pub const MAX_RATE: u64 = 100_000_000_000;
