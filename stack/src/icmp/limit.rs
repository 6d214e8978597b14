//! Rate limits for ICMP errors (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)).
//!
//! Two token buckets must both have a token: one for all errors of this worker, so that a scan cannot turn
//! us into a source of noise, and one for the peer the error goes to, so that one peer's errors do not use
//! up those of the others. Peers share a fixed array of buckets by a keyed hash: constant work, constant
//! memory, and nobody can choose a bucket to starve.

use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;

/// Buckets for peers; a power of two. 1024 × 16 B stays within a quarter of the L1 data cache.
const PEER_BUCKETS: usize = 1024;

/// How many errors may be sent. The defaults are those of Linux: 1000 a second with a burst of 50 in all
/// (`icmp_msgs_per_sec`, `icmp_msgs_burst`), and for a peer one a second after a burst of 6 (`icmp_ratelimit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpLimits {
    /// Errors a second, all peers together; 0 sends none.
    pub per_second: u32,
    /// Errors that may go at once after a quiet time.
    pub burst: u32,
    /// Errors a second to one peer; 0 sends none.
    pub peer_per_second: u32,
    /// Errors to one peer that may go at once after a quiet time.
    pub peer_burst: u32,
}

impl Default for IcmpLimits {
    fn default() -> Self {
        IcmpLimits { per_second: 1000, burst: 50, peer_per_second: 1, peer_burst: 6 }
    }
}

/// A token bucket kept as one moment: the time at which it would be full again (the "virtual scheduling"
/// form of the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn has_token(self, now: Instant, interval: Duration, burst: u32) -> bool {
        self.full_at.since(now) + interval <= interval.saturating_mul(burst)
    }

    fn take(&mut self, now: Instant, interval: Duration) {
        self.full_at = self.full_at.max(now) + interval;
    }
}

/// The limiter of one family on one worker.
#[derive(Debug)]
pub struct IcmpLimiter {
    limits: IcmpLimits,
    all: Bucket,
    peers: Box<[Bucket; PEER_BUCKETS]>,
    key: [u64; 2],
}

impl IcmpLimiter {
    /// A limiter with full buckets. `key` is random and secret.
    pub fn new(limits: IcmpLimits, key: [u64; 2]) -> Self {
        IcmpLimiter {
            limits,
            all: Bucket::default(),
            peers: Box::new([Bucket::default(); PEER_BUCKETS]),
            key,
        }
    }

    /// True when an error may be sent to `peer` now; takes the tokens then, and only then.
    pub fn allow(&mut self, peer: IpAddr, now: Instant) -> bool {
        let IcmpLimits { per_second, burst, peer_per_second, peer_burst } = self.limits;
        let (Some(interval), Some(peer_interval)) = (interval(per_second), interval(peer_per_second)) else {
            return false;
        };
        let bucket = &mut self.peers[bucket_of(peer, self.key)];
        let allowed =
            self.all.has_token(now, interval, burst) && bucket.has_token(now, peer_interval, peer_burst);
        if allowed {
            self.all.take(now, interval);
            bucket.take(now, peer_interval);
        }
        allowed
    }
}

/// The limiter of echo replies: one bucket for all, so that a flood of pings costs a bounded share of the
/// worker and of the link.
#[derive(Debug)]
pub struct EchoLimiter {
    per_second: u32,
    burst: u32,
    bucket: Bucket,
}

impl EchoLimiter {
    /// A limiter with a full bucket; a rate of 0 answers nothing.
    pub fn new(per_second: u32, burst: u32) -> Self {
        EchoLimiter { per_second, burst, bucket: Bucket::default() }
    }

    /// True when an echo request may be answered now; takes a token then.
    pub fn allow(&mut self, now: Instant) -> bool {
        let Some(interval) = interval(self.per_second) else { return false };
        let allowed = self.bucket.has_token(now, interval, self.burst);
        if allowed {
            self.bucket.take(now, interval);
        }
        allowed
    }
}

fn interval(per_second: u32) -> Option<Duration> {
    Duration::from_secs(1).checked_div(per_second)
}

fn bucket_of(peer: IpAddr, key: [u64; 2]) -> usize {
    let (high, low) = match peer {
        IpAddr::V4(addr) => (0, u64::from(addr.to_bits())),
        IpAddr::V6(addr) => ((addr.to_bits() >> 64) as u64, addr.to_bits() as u64),
    };
    crate::hash::hash2(high, low, key) as usize % PEER_BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

    fn sent(limiter: &mut IcmpLimiter, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| limiter.allow(PEER, now)).count()
    }

    #[test]
    fn one_peer_gets_its_burst_and_then_one_a_second() {
        let mut limiter = IcmpLimiter::new(IcmpLimits::default(), [1, 2]);
        let start = Instant::from_millis(5_000);
        assert_eq!(sent(&mut limiter, 100, start), 6);
        assert_eq!(sent(&mut limiter, 100, start + Duration::from_millis(999)), 0);
        assert_eq!(sent(&mut limiter, 100, start + Duration::from_secs(1)), 1);
        assert_eq!(sent(&mut limiter, 100, start + Duration::from_secs(60)), 6, "never more than a burst");
    }

    #[test]
    fn many_peers_share_the_limit_of_all() {
        let mut limiter = IcmpLimiter::new(IcmpLimits::default(), [1, 2]);
        let now = Instant::from_millis(1);
        let peers = (0..500u32).map(|n| IpAddr::V4(core::net::Ipv4Addr::from_bits(0x0a00_0000 + n)));
        assert_eq!(peers.filter(|peer| limiter.allow(*peer, now)).count(), 50);
    }

    #[test]
    fn echo_replies_go_at_their_rate_after_a_burst() {
        let mut limiter = EchoLimiter::new(10, 3);
        let start = Instant::from_millis(5_000);
        assert_eq!((0..10).filter(|_| limiter.allow(start)).count(), 3);
        assert!(limiter.allow(start + Duration::from_millis(100)));
        assert!(!limiter.allow(start + Duration::from_millis(100)));
        assert!(!EchoLimiter::new(0, 3).allow(start));
    }

    #[test]
    fn a_rate_of_zero_sends_nothing() {
        let mut limiter = IcmpLimiter::new(IcmpLimits { per_second: 0, ..IcmpLimits::default() }, [1, 2]);
        assert!(!limiter.allow(PEER, Instant::from_millis(1)));
    }
}
