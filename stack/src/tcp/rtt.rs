//! Round trip times and the retransmission timeout (RFC 6298).

use core::time::Duration;

use crate::Instant;

/// One tick of the timestamp clock (RFC 7323 section 5.4 allows 1 ms to 1 s; Linux ticks in milliseconds).
pub const TICK: Duration = Duration::from_millis(1);

/// The timestamp clock at `now`, before the connection's own offset is added.
pub const fn ticks(now: Instant) -> u32 {
    (now.nanos() / 1_000_000) as u32
}
