//! Path MTU exceptions: destinations to which packets must be smaller than the route's port allows.
//!
//! RFC 1191 (IPv4) and RFC 8201 (IPv6): a router on the way says how much it can pass on; we believe it for ten
//! minutes, then try the full size again. The table is bounded, four-way set-associative and keyed like the
//! route cache: a flood of forged reports displaces exceptions, which then are learned again, and nothing else.
//!
//! Reports must be checked by the caller against what was really sent (RFC 8201 section 4 and RFC 5927); here
//! only sizes and times are judged.

use crate::Instant;
use crate::limits::{MIN_MTU_IPV6, MIN_PATH_MTU_IPV4};
use crate::route::ecmp::HashKey;
use core::net::IpAddr;
use core::time::Duration;

/// How long a report is believed: RFC 1191 section 6.3 and RFC 8201 section 4 suggest ten minutes.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// What is known about the path to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// The largest packet that gets through, in bytes.
    pub mtu: u16,
    /// The report was below what we believe ([`MIN_PATH_MTU_IPV4`]): packets must allow fragmentation on their
    /// way. Never for IPv6.
    pub fragment: bool,
}

const WAYS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Exception {
    destination: u128,
    path: PathMtu,
    /// [`Instant::ZERO`] for none.
    expires: Instant,
}

/// The exceptions of one worker.
#[derive(Debug)]
pub struct PathMtus {
    sets: Box<[[Exception; WAYS]]>,
    key: HashKey,
    held: usize,
    changes: u64,
}

impl PathMtus {
    /// Room for `entries`, rounded up to four times a power of two. `key` is random.
    pub fn new(entries: usize, key: HashKey) -> Self {
        let sets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        let none =
            Exception { destination: 0, path: PathMtu { mtu: 0, fragment: false }, expires: Instant::ZERO };
        PathMtus { sets: vec![[none; WAYS]; sets].into_boxed_slice(), key, held: 0, changes: 0 }
    }

    /// A router reported `mtu` (bytes) on the way to `destination`. False when the report changes nothing: an
    /// IPv6 report below 1280, which RFC 8201 section 4 has us discard, or a larger MTU than known (RFC 1191
    /// section 6.3: a report never raises the estimate; only time does).
    pub fn learn(&mut self, destination: IpAddr, mtu: u16, now: Instant) -> bool {
        let path = match destination {
            IpAddr::V4(_) => PathMtu { mtu: mtu.max(MIN_PATH_MTU_IPV4), fragment: mtu < MIN_PATH_MTU_IPV4 },
            IpAddr::V6(_) if mtu < MIN_MTU_IPV6 => return false,
            IpAddr::V6(_) => PathMtu { mtu, fragment: false },
        };
        let (destination, set) = self.locate(destination);
        let Some(set) = self.sets.get_mut(set) else { return false };
        let known = set.iter().position(|way| way.destination == destination && way.expires > now);
        if known.is_some_and(|way| path.mtu > set[way].path.mtu) {
            return false;
        }
        // Else the one that goes first: void ones have the earliest time of all.
        let oldest = || (0..WAYS).min_by_key(|&way| set[way].expires).unwrap_or(0);
        let way = known.unwrap_or_else(oldest);
        self.held += usize::from(set[way].expires == Instant::ZERO);
        let fragment = path.fragment || known.is_some_and(|way| set[way].path.fragment);
        set[way] = Exception { destination, path: PathMtu { fragment, ..path }, expires: now + LIFETIME };
        self.changes += 1;
        true
    }

    /// How often something was learnt: who remembers what follows from this table compares it.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What is known about the path to `destination`; `None` leaves it to the route's port.
    #[inline]
    pub fn mtu(&self, destination: IpAddr, now: Instant) -> Option<PathMtu> {
        if self.held == 0 {
            return None; // the usual case costs one compare
        }
        let (destination, set) = self.locate(destination);
        let found =
            self.sets.get(set)?.iter().find(|way| way.destination == destination && way.expires > now)?;
        Some(found.path)
    }

    /// Drops what has expired, a housekeeping job; how many are left. (An expired entry is never used even if
    /// this is not called.)
    pub fn age(&mut self, now: Instant) -> usize {
        for way in self.sets.iter_mut().flatten() {
            if way.expires != Instant::ZERO && way.expires <= now {
                way.expires = Instant::ZERO;
                self.held -= 1;
            }
        }
        self.held
    }

    fn locate(&self, destination: IpAddr) -> (u128, usize) {
        let bits = match destination {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let hash = self.key.mix(bits as u64, (bits >> 64) as u64, 1);
        (bits, hash as usize & (self.sets.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const KEY: HashKey = HashKey::new([1, 2]);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn clear(mtu: u16) -> Option<PathMtu> {
        Some(PathMtu { mtu, fragment: false })
    }

    #[test]
    fn a_report_is_believed_for_ten_minutes() {
        let mut mtus = PathMtus::new(64, KEY);
        let host: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(mtus.mtu(host, at(0)), None);
        assert!(mtus.learn(host, 1400, at(0)));
        assert_eq!(mtus.mtu(host, at(599)), clear(1400));
        assert_eq!(mtus.mtu("192.0.2.2".parse().unwrap(), at(1)), None);
        assert_eq!(mtus.mtu(host, at(600)), None);
        assert_eq!(mtus.age(at(599)), 1);
        assert_eq!(mtus.age(at(600)), 0);
    }

    #[test]
    fn a_later_report_lowers_but_never_raises() {
        let mut mtus = PathMtus::new(64, KEY);
        let host: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(mtus.learn(host, 1400, at(0)));
        assert!(!mtus.learn(host, 1450, at(1)));
        assert!(mtus.learn(host, 1300, at(2)));
        assert_eq!(mtus.mtu(host, at(3)), clear(1300));
        assert!(mtus.learn(host, 1300, at(300))); // the same again keeps it alive
        assert_eq!(mtus.mtu(host, at(899)), clear(1300));
        assert!(mtus.learn(host, 1450, at(900))); // after expiry anything goes
    }

    #[test]
    fn reports_below_the_floors_do_not_shrink_packets_further() {
        let mut mtus = PathMtus::new(64, KEY);
        let (four, six): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert!(mtus.learn(four, 552, at(0)));
        assert_eq!(mtus.mtu(four, at(1)), clear(552));
        assert!(mtus.learn(four, 551, at(1)));
        assert_eq!(mtus.mtu(four, at(2)), Some(PathMtu { mtu: 552, fragment: true }));
        assert!(!mtus.learn(six, 1279, at(0)));
        assert_eq!(mtus.mtu(six, at(1)), None);
        assert!(mtus.learn(six, 1280, at(0)));
        assert_eq!(mtus.mtu(six, at(1)), clear(1280));
    }

    #[test]
    fn a_flood_of_reports_stays_within_the_table_and_the_latest_is_known() {
        let mut mtus = PathMtus::new(64, KEY);
        for number in 0..10_000 {
            let host = IpAddr::V4(Ipv4Addr::from_bits(number));
            assert!(mtus.learn(host, 1000, at(u64::from(number))));
            assert_eq!(mtus.mtu(host, at(u64::from(number))), clear(1000));
            assert!(mtus.held <= 64);
        }
        assert_eq!(mtus.age(at(100_000)), 0);
    }
}
