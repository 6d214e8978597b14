//! Rate limits for ICMP errors (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)).
//!
//! Three token buckets must all have a token: one for all errors of this worker, so that a scan cannot turn
//! us into a source of noise; one for the errors of a [`Class`], so that a flood of one kind (datagrams to
//! closed ports) does not silence the others (traceroute); and one for the peer the error goes to and the class,
//! so that one peer's errors do not use up those of the others. Peers share a fixed array of buckets by a keyed
//! hash: constant work, constant memory, and nobody can choose a bucket to starve.
//!
//! Path MTU discovery must work while others scan us: "fragmentation needed" and "packet too big" ask the bucket
//! of their class alone (Linux does not limit them at all).

use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;

/// Buckets for peers; a power of two. 1024 × 16 B stays within a quarter of the L1 data cache.
const PEER_BUCKETS: usize = 1024;

/// Kinds of errors that do not take each other's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Destination unreachable, for whatever reason but a narrow link.
    Unreachable,
    /// The link is too narrow.
    TooBig,
    /// TTL or hop limit, or the time of a reassembly, ran out.
    TimeExceeded,
    /// A header field makes no sense.
    ParameterProblem,
    /// There is a better way.
    Redirect,
}

impl Class {
    /// How many there are.
    const COUNT: usize = 5;
}

/// How many errors may be sent. The defaults are those of Linux: 1000 a second with a burst of 50 in all
/// (`icmp_msgs_per_sec`, `icmp_msgs_burst`), and for a peer one a second after a burst of 6 (`icmp_ratelimit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpLimits {
    /// Errors a second, all peers together; 0 sends none.
    pub per_second: u32,
    /// Errors that may go at once after a quiet time.
    pub burst: u32,
    /// Errors of one class a second, all peers together; 0 sends none.
    pub class_per_second: u32,
    /// Errors of one class that may go at once after a quiet time.
    pub class_burst: u32,
    /// Errors a second to one peer; 0 sends none.
    pub peer_per_second: u32,
    /// Errors to one peer that may go at once after a quiet time.
    pub peer_burst: u32,
}

impl Default for IcmpLimits {
    fn default() -> Self {
        IcmpLimits {
            per_second: 1000,
            burst: 50,
            class_per_second: 750,
            class_burst: 38,
            peer_per_second: 1,
            peer_burst: 6,
        }
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
    classes: [Bucket; Class::COUNT],
    peers: Box<[Bucket; PEER_BUCKETS]>,
    key: [u64; 2],
}

impl IcmpLimiter {
    /// A limiter with full buckets. `key` is random and secret.
    pub fn new(limits: IcmpLimits, key: [u64; 2]) -> Self {
        IcmpLimiter {
            limits,
            all: Bucket::default(),
            classes: [Bucket::default(); Class::COUNT],
            peers: Box::new([Bucket::default(); PEER_BUCKETS]),
            key,
        }
    }

    /// True when an error of this class may be sent to `peer` now; takes the tokens then, and only then.
    pub fn allow(&mut self, class: Class, peer: IpAddr, now: Instant) -> bool {
        let IcmpLimits { per_second, burst, class_per_second, class_burst, peer_per_second, peer_burst } =
            self.limits;
        let (Some(all), Some(of_class), Some(of_peer)) =
            (interval(per_second), interval(class_per_second), interval(peer_per_second))
        else {
            return false;
        };
        let kind = &mut self.classes[class as usize % Class::COUNT];
        if class == Class::TooBig {
            let allowed = kind.has_token(now, of_class, class_burst);
            if allowed {
                kind.take(now, of_class);
            }
            return allowed;
        }
        let bucket = &mut self.peers[bucket_of(class, peer, self.key)];
        let allowed = self.all.has_token(now, all, burst)
            && kind.has_token(now, of_class, class_burst)
            && bucket.has_token(now, of_peer, peer_burst);
        if allowed {
            self.all.take(now, all);
            kind.take(now, of_class);
            bucket.take(now, of_peer);
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

fn bucket_of(class: Class, peer: IpAddr, key: [u64; 2]) -> usize {
    let (high, low) = match peer {
        IpAddr::V4(addr) => (0, u64::from(addr.to_bits())),
        IpAddr::V6(addr) => ((addr.to_bits() >> 64) as u64, addr.to_bits() as u64),
    };
    crate::hash::hash2(high, low, [key[0] ^ class as u64, key[1]]) as usize % PEER_BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

    fn sent(limiter: &mut IcmpLimiter, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| limiter.allow(Class::Unreachable, PEER, now)).count()
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

    fn peers() -> impl Iterator<Item = IpAddr> {
        (0..500u32).map(|n| IpAddr::V4(core::net::Ipv4Addr::from_bits(0x0a00_0000 + n)))
    }

    #[test]
    fn a_flood_of_one_class_leaves_tokens_for_the_others_and_all_share_one_limit() {
        let mut limiter = IcmpLimiter::new(IcmpLimits::default(), [1, 2]);
        let now = Instant::from_millis(1);
        let mut sent = |class| peers().filter(|peer| limiter.allow(class, *peer, now)).count();
        assert_eq!(sent(Class::Unreachable), 38);
        assert_eq!(sent(Class::TimeExceeded), 12, "what is left of the 50 for all");
        assert_eq!(sent(Class::Redirect), 0);
        assert_eq!(sent(Class::TooBig), 38, "path MTU discovery works under a flood");
    }

    #[test]
    fn errors_about_narrow_links_are_not_counted_by_peer() {
        let mut limiter = IcmpLimiter::new(IcmpLimits::default(), [1, 2]);
        let now = Instant::from_millis(1);
        assert_eq!((0..50).filter(|_| limiter.allow(Class::TooBig, PEER, now)).count(), 38);
        assert!(limiter.allow(Class::Unreachable, PEER, now));
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
        assert!(!limiter.allow(Class::Unreachable, PEER, Instant::from_millis(1)));
    }
}
