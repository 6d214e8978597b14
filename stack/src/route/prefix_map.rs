//! An ordered map of prefixes that finds the next shorter one: the RIB's store.
//!
//! Keys sort by network, then by length, so all that lies within a prefix follows it. The prefix that covers K
//! and is the longest to do so is found by stepping back: take the last key before K; if it does not cover K,
//! then whatever covers both is no longer than what they have in common; step back from there. Two or three
//! steps in practice, 16 to 32 bytes a prefix: a quarter of a tree of pointers.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A prefix as a sorted key.
pub(crate) trait Prefix: Copy + Ord + core::fmt::Debug {
    fn len(self) -> u8;
    /// The prefix of length `len` (at most its own) that covers it.
    fn truncate(self, len: u8) -> Self;
    /// How many leading bits both share, at most the shorter length.
    fn common(self, other: Self) -> u8;
}

/// An IPv4 prefix: network in bits 39..8, length in bits 7..0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix4(u64);

impl Prefix4 {
    pub(crate) fn new(net: u32, len: u8) -> Self {
        Prefix4(u64::from(net) << 8 | u64::from(len))
    }

    pub(crate) fn net(self) -> u32 {
        (self.0 >> 8) as u32
    }
}

impl Prefix for Prefix4 {
    fn len(self) -> u8 {
        self.0 as u8
    }

    fn truncate(self, len: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        Prefix4::new(self.net() & mask, len)
    }

    fn common(self, other: Self) -> u8 {
        let same = (self.net() ^ other.net()).leading_zeros() as u8;
        same.min(self.len()).min(other.len())
    }
}

/// An IPv6 prefix: network (two halves, so that the key needs no 16-byte alignment) and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix6(u64, u64, u8);

impl Prefix6 {
    pub(crate) fn new(net: u128, len: u8) -> Self {
        Prefix6((net >> 64) as u64, net as u64, len)
    }

    pub(crate) fn net(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

impl Prefix for Prefix6 {
    fn len(self) -> u8 {
        self.2
    }

    fn truncate(self, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        Prefix6::new(self.net() & mask, len)
    }

    fn common(self, other: Self) -> u8 {
        let same = (self.net() ^ other.net()).leading_zeros() as u8;
        same.min(self.len()).min(other.len())
    }
}

/// The longest key of `map` that is shorter than `key`, covers it, and is `wanted`.
pub(crate) fn cover<K: Prefix, V>(
    map: &BTreeMap<K, V>,
    key: K,
    wanted: impl Fn(&K, &V) -> bool,
) -> Option<(K, &V)> {
    let mut at = key.truncate(key.len().checked_sub(1)?);
    loop {
        let (&found, value) = map.range((Bound::Unbounded, Bound::Included(at))).next_back()?;
        if found.len() < key.len() && key.truncate(found.len()) == found {
            if wanted(&found, value) {
                return Some((found, value));
            }
            at = found.truncate(found.len().checked_sub(1)?);
        } else {
            // Strictly shorter than `at`: a key before `at` that shares all of its bits would cover it.
            at = key.truncate(found.common(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_cover_is_the_longest_shorter_prefix_that_contains_the_key(
            nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..60),
            probes in proptest::collection::vec((any::<u32>(), 0u8..=32), 1..20),
            spread in 0u32..28,
        ) {
            // Few distinct bits at the top, so that prefixes nest.
            let key = |(net, len): (u32, u8)| Prefix4::new(net << spread, 32).truncate(len);
            let six = |four: Prefix4| Prefix6::new(u128::from(four.net()) << 96, four.len());
            let map: BTreeMap<_, _> = nets.iter().map(|&net| (key(net), net.1 % 3 != 0)).collect();
            let map6: BTreeMap<_, _> = map.iter().map(|(&four, &wanted)| (six(four), wanted)).collect();
            for probe in probes.into_iter().chain(nets) {
                let probe = key(probe);
                let naive = map.iter()
                    .filter(|(found, wanted)| **wanted && found.len() < probe.len())
                    .filter(|(found, _)| probe.truncate(found.len()) == **found)
                    .max_by_key(|(found, _)| found.len());
                let naive = naive.map(|(found, _)| *found);
                prop_assert_eq!(cover(&map, probe, |_, wanted| *wanted).map(|(found, _)| found), naive);
                let found6 = cover(&map6, six(probe), |_, wanted| *wanted).map(|(found, _)| found);
                prop_assert_eq!(found6, naive.map(six));
            }
        }
    }
}
