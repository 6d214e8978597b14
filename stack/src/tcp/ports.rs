//! Which local port a connection is made from: RFC 6056 algorithm 4, "double-hash port selection".
//!
//! ```text
//!   port = low + (F(local, remote, remote port) + counter[G(the same)]) mod range,  counter + 1 for each try
//! ```
//!
//! F is a keyed hash, so somebody who sees our connections to himself cannot tell the ports of those to others;
//! the counter makes the ports to one destination follow each other, so one comes again as late as it can. (Linux
//! does the same; see its `tcp_tw_reuse` for why "late" matters.) Both hashes come from SipHash, as in RFC 6528's
//! sequence numbers: what a peer can observe must not reveal the key.

use core::hash::Hasher;
use core::net::IpAddr;

/// Counters; RFC 6056 section 3.3.4 proposes ten and more. Destinations that share one spoil each other's order a
/// little, not their secrecy.
const COUNTERS: usize = 256;

/// A range of port numbers that is not empty and does not hold 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// The ports `low..=high`; `None` when there are none, or when the range begins at 0, which is no port.
    pub const fn new(low: u16, high: u16) -> Option<PortRange> {
        if low == 0 || high < low { None } else { Some(PortRange { low, high }) }
    }
}

impl PortRange {
    /// The first.
    pub const fn low(self) -> u16 {
        self.low
    }

    /// How many there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u32 {
        (self.high - self.low) as u32 + 1
    }

    /// True when it holds this port.
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

impl Default for PortRange {
    /// Linux's: 32768 to 60999. (RFC 6056 proposes 1024 to 65535.)
    fn default() -> Self {
        PortRange { low: 32_768, high: 60_999 }
    }
}

/// The chooser of local ports of one worker.
#[derive(Clone)]
pub struct EphemeralPorts {
    low: u16,
    count: u32,
    secret: [u64; 2],
    counters: [u32; COUNTERS],
}

impl EphemeralPorts {
    /// Chooses in a range. `secret` is random.
    pub fn new(range: PortRange, secret: [u64; 2]) -> Self {
        EphemeralPorts { low: range.low(), count: range.len(), secret, counters: [0; COUNTERS] }
    }

    /// The next port for a connection from `local` to `remote` that `accept` accepts: one that is free, and whose
    /// packets come to this worker. Each port of the range is tried once; `None` when none is accepted.
    pub fn choose(
        &mut self,
        local: IpAddr,
        remote: IpAddr,
        remote_port: u16,
        mut accept: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let hash = self.hash(local, remote, remote_port);
        let (offset, counter) = (hash as u32 >> 1, &mut self.counters[(hash >> 56) as usize % COUNTERS]);
        for _ in 0..self.count {
            let place = (offset + *counter) % self.count; // both below 2^31
            // Counted modulo the range, so that the order has no break where 32 bits end.
            *counter = (*counter + 1) % (self.count * (u32::MAX / self.count / 2));
            let port = self.low + place as u16;
            if accept(port) {
                return Some(port);
            }
        }
        None
    }

    /// F in the lower half, G in the upper.
    fn hash(&self, local: IpAddr, remote: IpAddr, remote_port: u16) -> u64 {
        let [k0, k1] = self.secret;
        #[expect(deprecated, reason = "the standard library's SipHash-2-4 with a key; nothing replaced it")]
        let mut hasher = core::hash::SipHasher::new_with_keys(k0, k1);
        for address in [local, remote] {
            match address {
                IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
                IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
            }
        }
        hasher.write_u16(remote_port);
        hasher.finish()
    }
}

impl core::fmt::Debug for EphemeralPorts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "EphemeralPorts({}, {} ports, secret)", self.low, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn remote(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + n))
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        assert!(PortRange::new(0, 10).is_none());
        assert!(PortRange::new(11, 10).is_none());
        let mut one = EphemeralPorts::new(PortRange::new(u16::MAX, u16::MAX).unwrap(), [1, 2]);
        assert_eq!(one.choose(LOCAL, remote(0), 80, |_| true), Some(u16::MAX));
    }

    #[test]
    fn ports_to_one_destination_follow_each_other_and_other_destinations_begin_elsewhere() {
        let mut ports = EphemeralPorts::new(PortRange::new(32768, 60999).unwrap(), [3, 4]);
        let mut choose = |n, secret: Option<[u64; 2]>| {
            ports.secret = secret.unwrap_or([3, 4]);
            ports.choose(LOCAL, remote(n), 443, |_| true).unwrap()
        };
        let (first, second) = (choose(0, None), choose(0, None));
        assert_eq!((u32::from(second) - 32768), (u32::from(first) - 32768 + 1) % 28232);
        let starts: BTreeSet<u16> = (0..200).map(|n| choose(n, None)).collect();
        assert!(starts.len() > 180, "{}", starts.len());
        let others: BTreeSet<u16> = (0..200).map(|n| choose(n, Some([5, 6]))).collect();
        assert!(starts.intersection(&others).count() < 20, "another secret, other ports");
    }

    proptest! {
        #[test]
        fn every_port_of_the_range_is_tried_once_and_refusal_is_the_callers(
            low in 1u16..=u16::MAX, len in 0u16..300, counter in any::<u32>(), wanted in any::<u16>(),
        ) {
            let high = low.saturating_add(len);
            let mut ports = EphemeralPorts::new(PortRange::new(low, high).unwrap(), [7, 8]);
            ports.counters = [counter % (ports.count * (u32::MAX / ports.count / 2)); COUNTERS];
            let mut tried = Vec::new();
            prop_assert_eq!(ports.choose(LOCAL, remote(9), 1, |port| { tried.push(port); false }), None);
            prop_assert_eq!(tried.len(), usize::from(high - low) + 1);
            tried.sort_unstable();
            prop_assert!(tried.iter().copied().eq(low..=high));
            let wanted = low + wanted % (high - low + 1).max(1);
            prop_assert_eq!(ports.choose(LOCAL, remote(9), 1, |port| port == wanted), Some(wanted));
        }
    }
}
