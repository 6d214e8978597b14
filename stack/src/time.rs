//! Time, as the stack sees it: an argument. The stack never reads a clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on a monotonic clock, in nanoseconds since an origin that the caller chose once. Aligned to 4 bytes: a connection
/// keeps twenty of them among words of that size, and would be longer by what fills the gaps.
#[repr(Rust, packed(4))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);
    /// Later than every moment that matters: "no deadline".
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// The moment `millis` milliseconds after the origin.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Instant(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// How much later `self` is than `earlier`; zero when it is not later.
    #[inline]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds, for the packet path: a [`Duration`] is made by a division.
    #[inline]
    pub const fn nanos_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment so many nanoseconds later; [`Instant::NEVER`] beyond the end of time.
    #[inline]
    #[must_use]
    pub const fn later(self, nanos: u64) -> Instant {
        Instant(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    #[inline]
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos_of(duration)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    #[inline]
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos_of(duration)))
    }
}

/// A duration in nanoseconds, `u64::MAX` when they are more: in 64 bits all the way, because each timer that is set
/// comes by here.
#[inline]
const fn nanos_of(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_the_end_are_never_and_before_the_origin_the_origin() {
        let at = Instant::from_millis(1500);
        assert_eq!(at + Duration::from_millis(500), Instant::from_millis(2000));
        assert_eq!(at - Duration::from_nanos(1_500_000_000), Instant::ZERO);
        assert_eq!((at + Duration::MAX, at - Duration::MAX), (Instant::NEVER, Instant::ZERO));
        // The last whole second that 64 bits of nanoseconds hold, and one nanosecond more than they do.
        let last = Duration::from_nanos(u64::MAX);
        assert_eq!(Instant::ZERO + last, Instant::NEVER);
        assert_eq!(Instant::ZERO + (last + Duration::from_nanos(1)), Instant::NEVER);
        assert_eq!(Instant::ZERO + (last - Duration::from_nanos(1)), Instant::from_nanos(u64::MAX - 1));
    }
}
