//! Initial sequence numbers (RFC 6528; RFC 9293 section 3.4.1, MUST-8 and SHLD-1).
//!
//! ```text
//!   ISN = clock + F(our address, our port, the peer's address, the peer's port, secret)
//! ```
//! Somebody who opens connections of his own sees how the clock goes, but not F of anybody else's connection,
//! so he cannot guess numbers to inject with. The same four names get numbers that only grow, so that a new
//! incarnation of a connection does not take old segments for its own. The clock steps every 64 ns as in
//! Linux (RFC 9293 wants 4 µs or so): it comes round in 274 s, which is longer than a segment lives (MSL, 120
//! s).
//!
//! The offset of the timestamp clock is made alike, but without the ports (RFC 7323 section 7.1 wants it
//! secret; RFC 6191 wants the timestamps of one pair of hosts to grow from connection to connection).

use super::Seq;
use super::secret::{Purpose, Secret};
use super::tuple::Tuple;
use crate::Instant;

/// Nanoseconds per step of the clock, as a shift.
const CLOCK_SHIFT: u32 = 6;

/// Makes the initial sequence numbers of one worker. All workers may share a key.
#[derive(Debug, Clone, Copy)]
pub struct IsnGenerator {
    secret: Secret,
}

impl IsnGenerator {
    /// With a secret key, which must not change while connections last.
    pub const fn new(secret: Secret) -> IsnGenerator {
        IsnGenerator { secret }
    }

    /// The initial sequence number of a connection that is opened now.
    pub fn isn(&self, tuple: &Tuple, now: Instant) -> Seq {
        let base = self.secret.mix(Purpose::SequenceNumber, &tuple.words()) as u32;
        Seq(base.wrapping_add((now.nanos() >> CLOCK_SHIFT) as u32))
    }

    /// What is added to the clock (ms) for the timestamps of connections with this peer.
    pub fn timestamp_offset(&self, tuple: &Tuple) -> u32 {
        self.secret.mix(Purpose::TimestampOffset, &tuple.address_words()) as u32
    }
}

/// The clock of timestamps: milliseconds, wrapping (RFC 7323 section 5.4 allows 1 ms to 1 s a step).
#[inline]
pub const fn timestamp_clock(now: Instant) -> u32 {
    (now.nanos() / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use core::time::Duration;
    use proptest::prelude::*;

    fn tuple(remote: u32, port: u16) -> Tuple {
        let local = Ipv4Addr::new(192, 0, 2, 1).into();
        Tuple::new((local, 80), (Ipv4Addr::from_bits(remote).into(), port))
    }

    proptest! {
        #[test]
        fn must_8_numbers_of_one_connection_follow_the_clock(
            remote: u32, port: u16, start in 0u64..1 << 50, later in 64u64..120_000_000_000,
        ) {
            let isns = IsnGenerator::new(Secret::new([3, 4]));
            let now = Instant::from_nanos(start);
            let (first, then) = (
                isns.isn(&tuple(remote, port), now),
                isns.isn(&tuple(remote, port), now + Duration::from_nanos(later)),
            );
            prop_assert!(then.after(first), "within 2 minutes a later number is behind an earlier one");
            prop_assert!(then.0.wrapping_sub(first.0).abs_diff((later >> 6) as u32) <= 1);
        }
    }

    #[test]
    fn must_9_shld_1_numbers_of_neighbouring_connections_tell_nothing_about_each_other() {
        let isns = IsnGenerator::new(Secret::new([3, 4]));
        let now = Instant::from_millis(5);
        let mut differences = std::collections::HashSet::new();
        let mut sectors = [0u32; 16];
        for port in 0..4096 {
            let (one, two) = (isns.isn(&tuple(1, port), now), isns.isn(&tuple(1, port + 1), now));
            differences.insert(two.0.wrapping_sub(one.0));
            sectors[(one.0 >> 28) as usize] += 1;
        }
        assert!(differences.len() > 4090, "{}", differences.len());
        assert!(sectors.iter().all(|&count| (180..340).contains(&count)), "{sectors:?}");
        let other = IsnGenerator::new(Secret::new([3, 5]));
        assert_ne!(isns.isn(&tuple(1, 1), now), other.isn(&tuple(1, 1), now));
    }

    #[test]
    fn timestamps_of_one_pair_of_hosts_share_an_offset_whatever_the_ports() {
        let isns = IsnGenerator::new(Secret::new([3, 4]));
        assert_eq!(isns.timestamp_offset(&tuple(1, 1)), isns.timestamp_offset(&tuple(1, 2)));
        assert_ne!(isns.timestamp_offset(&tuple(1, 1)), isns.timestamp_offset(&tuple(2, 1)));
    }
}
