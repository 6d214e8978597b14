//! How often a suspicious segment is answered with an ACK (RFC 5961 section 7; RFC 9293 section 3.10.7.4).
//!
//! A reset or SYN that only nearly fits is answered, so that a peer who really means it may say so again with
//! the right number. Two limits keep such answers from becoming a weapon:
//!
//! 1. One connection answers at most twice a second. That stops the endless exchange of two ends which both
//!    think that the other's segments are out of window.
//! 2. One worker sends a limited number in each second. The number must not be a constant: then somebody
//!    could use up the budget with a connection of his own, watch how much of it was left, and so find out
//!    whether
//!    his forged segments hit another connection (CVE-2016-5696). So each second's budget is drawn anew, by a
//!    key
//!    that he does not know, between half of the limit and one and a half.

use super::secret::{Purpose, Secret};
use crate::Instant;
use core::time::Duration;

/// The least time between two answers of one connection, unless configured: Linux's `tcp_invalid_ratelimit`.
pub const CONNECTION_INTERVAL: Duration = Duration::from_millis(500);

/// True when a connection that answered at `last` may answer again; remembers it then. `last` begins as
/// [`Instant::ZERO`], which means never.
#[inline]
pub fn connection_may_answer(last: &mut Instant, now: Instant, interval: Duration) -> bool {
    if *last != Instant::ZERO && now.since(*last) < interval {
        return false;
    }
    *last = now.max(Instant::from_nanos(1));
    true
}

/// The budget of one worker.
#[derive(Debug)]
pub struct ChallengeLimiter {
    secret: Secret,
    /// Answers a second on average; `None` sets no limit (Linux's default).
    per_second: Option<u32>,
    /// Least time between two answers of one connection.
    interval: Duration,
    second: u64,
    left: u32,
}

impl ChallengeLimiter {
    /// `per_second`: answers that one second may bring on average, 0 for none, `None` without limit (of the
    /// worker; each connection has its own).
    pub fn new(secret: Secret, per_second: Option<u32>) -> ChallengeLimiter {
        let mut limiter =
            ChallengeLimiter { secret, per_second, interval: CONNECTION_INTERVAL, second: 0, left: 0 };
        limiter.left = limiter.budget(0);
        limiter
    }

    /// With another least time between two answers of one connection.
    #[must_use]
    pub fn every(self, interval: Duration) -> ChallengeLimiter {
        ChallengeLimiter { interval, ..self }
    }

    /// True when a challenge ACK may go out now; counts it then. `last` is the connection's own memory, as in
    /// [`connection_may_answer`].
    pub fn allow(&mut self, last: &mut Instant, now: Instant) -> bool {
        if *last != Instant::ZERO && now.since(*last) < self.interval {
            return false;
        }
        // The connection's clock starts only with an answer that was sent; else who used up the
        // budget would also have silenced the connection for the next second.
        if !self.take(now) {
            return false;
        }
        self.allow_unbudgeted(last, now)
    }

    /// As [`ChallengeLimiter::allow`], for answers that cannot tell anybody about other connections: only the
    /// connection's own limit counts.
    #[inline]
    pub fn allow_unbudgeted(&self, last: &mut Instant, now: Instant) -> bool {
        connection_may_answer(last, now, self.interval)
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.per_second.is_none() {
            return true;
        }
        let second = now.nanos() / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.left = self.budget(second);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    /// Half of the limit, rounded up, and a random number below the limit.
    fn budget(&self, second: u64) -> u32 {
        match self.per_second {
            None => u32::MAX,
            Some(0) => 0,
            Some(limit) => {
                let random = self.secret.mix(Purpose::ChallengeBudget, &[second]);
                limit.div_ceil(2).saturating_add((random % u64::from(limit)) as u32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn limiter(per_second: Option<u32>) -> ChallengeLimiter {
        ChallengeLimiter::new(Secret::new([5, 6]), per_second)
    }

    fn burst(limiter: &mut ChallengeLimiter, now: Instant) -> u32 {
        let mut fresh = [Instant::ZERO; 1000];
        fresh.iter_mut().map(|last| u32::from(limiter.allow(last, now))).sum()
    }

    #[test]
    fn a_connection_answers_twice_a_second() {
        let (mut limiter, mut last) = (limiter(None), Instant::ZERO);
        let sent: Vec<u64> =
            (1000..3000).step_by(100).filter(|&millis| limiter.allow(&mut last, at(millis))).collect();
        assert_eq!(sent, [1000, 1500, 2000, 2500]);
    }

    #[test]
    fn the_budget_of_a_second_is_near_the_limit_and_differs_from_second_to_second() {
        let mut limiter = limiter(Some(100));
        let counts: Vec<u32> = (0..40).map(|second| burst(&mut limiter, at(second * 1000))).collect();
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
        let distinct: std::collections::HashSet<_> = counts.iter().collect();
        assert!(distinct.len() > 20, "{counts:?}");
        let mean = counts.iter().sum::<u32>() / 40;
        assert!((85..115).contains(&mean), "{mean}");
        assert_eq!(burst(&mut limiter, at(39_999)), 0, "the same second has no more");
    }

    #[test]
    fn a_limit_of_one_or_none_is_kept_exactly() {
        let mut one = limiter(Some(1));
        assert_eq!([burst(&mut one, at(0)), burst(&mut one, at(1000))], [1, 1]);
        assert_eq!(burst(&mut limiter(Some(0)), at(0)), 0);
        assert_eq!(burst(&mut limiter(None), at(0)), 1000);
    }

    #[test]
    fn a_used_up_budget_does_not_silence_a_connection_beyond_it() {
        let (mut limiter, mut last) = (limiter(Some(10)), Instant::ZERO);
        burst(&mut limiter, at(900));
        assert!(!limiter.allow(&mut last, at(950)));
        assert!(limiter.allow(&mut last, at(1000)));
    }
}
