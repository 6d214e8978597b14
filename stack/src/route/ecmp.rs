//! Multipath: which member of a group a flow takes.
//!
//! RFC 2992 and RFC 7424 ask that the packets of one flow stay on one way (or TCP sees reordering), and that
//! flows move as little as possible when members come and go. So:
//!
//! ```text
//!   flow ── keyed hash ──▶ bucket 0..256 ──▶ member
//!                          [ A A B C A B C C … ]   as many buckets each as the weights say
//!   B goes down:           [ A A · C A · C C … ]   only B's buckets are dealt out again
//! ```
//!
//! Which free bucket goes to which member is decided by a hash of both (rendezvous hashing), so that two groups
//! with nearly the same members agree on nearly all buckets. The flow hash is keyed per process, so that
//! routers in a row do not all choose alike (polarisation), and nobody outside can aim at one member.

use crate::limits::{MAX_PATHS, MULTIPATH_BUCKETS};
use arrayvec::ArrayVec;
use core::net::{Ipv4Addr, Ipv6Addr};

/// The key of all hashes of this data plane: random, chosen once at start by the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u64; 2]);

impl HashKey {
    /// A key of 128 random bits.
    pub const fn new(random: [u64; 2]) -> Self {
        HashKey(random)
    }

    /// The hash of three words; every bit of the result depends on every bit of them.
    #[inline]
    pub(crate) fn mix(self, a: u64, b: u64, c: u64) -> u64 {
        let [k0, k1] = self.0;
        fold(fold(a ^ k0, b ^ k1) ^ c, k0.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)
    }
}

impl core::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HashKey(secret)") // who knows it can aim at buckets
    }
}

/// Multiply to 128 bits and fold: two cycles' worth of good mixing.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    // A zero factor would forget the other one.
    let product = u128::from(a | 1) * u128::from(b | 1 << 63);
    product as u64 ^ (product >> 64) as u64 ^ a
}

/// The hash of an IPv4 flow. `ports` are source and destination port as the wire has them, one after the other;
/// 0 for protocols without ports and for fragments (all fragments of a datagram must go one way).
#[inline]
pub fn flow_hash4(key: HashKey, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, ports: u32) -> u32 {
    let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
    (key.mix(addresses, u64::from(ports) << 8 | u64::from(protocol), 4) >> 32) as u32
}

/// The hash of an IPv6 flow: addresses, next header, ports (as in [`flow_hash4`]) and flow label (RFC 6438: a
/// tunnel's flows differ in nothing else).
#[inline]
pub fn flow_hash6(
    key: HashKey,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    next_header: u8,
    ports: u32,
    flow_label: u32,
) -> u32 {
    let (source, destination) = (source.to_bits(), destination.to_bits());
    let first = key.mix(source as u64, (source >> 64) as u64, u64::from(next_header));
    let second = key.mix(destination as u64, (destination >> 64) as u64, first);
    (key.mix(second, u64::from(ports) << 32 | u64::from(flow_label), 6) >> 32) as u32
}

/// No member owns this bucket yet.
pub(crate) const NOBODY: u8 = u8::MAX;

/// Who owns which bucket, by place in the group.
pub(crate) type Owners = [u8; MULTIPATH_BUCKETS];

/// How many buckets each member gets: all of them in proportion to the weights (0 for a member that is down),
/// the remainders to the largest fractions, and at least one for each member that is up.
pub(crate) fn quotas(weights: &[u16]) -> ArrayVec<u16, MAX_PATHS> {
    let weights = &weights[..weights.len().min(MAX_PATHS)];
    let total: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
    if total == 0 {
        return weights.iter().map(|_| 0).collect();
    }
    let share = |weight: u16| u32::from(weight) * MULTIPATH_BUCKETS as u32;
    let mut quotas: ArrayVec<u16, MAX_PATHS> = weights.iter().map(|&w| (share(w) / total) as u16).collect();
    let left = MULTIPATH_BUCKETS - quotas.iter().map(|&quota| usize::from(quota)).sum::<usize>();
    let mut by_fraction: ArrayVec<usize, MAX_PATHS> = (0..weights.len()).collect();
    by_fraction.sort_by_key(|&member| core::cmp::Reverse(share(weights[member]) % total));
    by_fraction.iter().take(left).for_each(|&member| quotas[member] += 1);
    for member in 0..quotas.len() {
        if weights[member] != 0 && quotas[member] == 0 {
            let richest = (0..quotas.len()).max_by_key(|&other| quotas[other]).unwrap_or(member);
            quotas[richest] -= 1;
            quotas[member] = 1;
        }
    }
    quotas
}

/// Deals the buckets out anew so that member `m` owns `quotas[m]` of them (all quotas are 0, or they add up to
/// the number of buckets), moving only those of members that own too many. `names` tell members apart.
pub(crate) fn rebalance(owners: &mut Owners, quotas: &[u16], names: &[u64]) {
    let score = |bucket: usize, member: usize| fold(names[member], (bucket as u64 + 1) << 32 | 0x5bd1_e995);
    let mut owned = [0u16; MAX_PATHS];
    owners.iter().filter(|&&owner| owner != NOBODY).for_each(|&owner| owned[usize::from(owner)] += 1);
    for member in 0..quotas.len() {
        while owned[member] > quotas[member] {
            let mine = (0..owners.len()).filter(|&bucket| usize::from(owners[bucket]) == member);
            if let Some(worst) = mine.min_by_key(|&bucket| score(bucket, member)) {
                owners[worst] = NOBODY;
            }
            owned[member] -= 1;
        }
    }
    for (bucket, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| **owner == NOBODY) {
        let poor = (0..quotas.len()).filter(|&member| owned[member] < quotas[member]);
        if let Some(best) = poor.max_by_key(|&member| score(bucket, member)) {
            *owner = best as u8;
            owned[best] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<u64> {
        (0..count as u64).map(|name| name.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0x1234_5678).collect()
    }

    fn count(owners: &Owners, member: usize) -> usize {
        owners.iter().filter(|&&owner| usize::from(owner) == member).count()
    }

    proptest! {
        #[test]
        fn shares_follow_weights_and_only_the_lost_members_flows_move(
            weights in proptest::collection::vec(1u16..=256, 2..=16), lost in any::<prop::sample::Index>()
        ) {
            let lost = lost.index(weights.len());
            let names = names(weights.len());
            let mut owners = [NOBODY; MULTIPATH_BUCKETS];
            let all = quotas(&weights);
            rebalance(&mut owners, &all, &names);
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            for (member, &weight) in weights.iter().enumerate() {
                let owned = count(&owners, member);
                prop_assert_eq!(owned, usize::from(all[member]));
                let ideal = f64::from(weight) / total * MULTIPATH_BUCKETS as f64;
                prop_assert!(owned >= 1 && (owned as f64 - ideal).abs() <= 16.0);
            }
            let before = owners;
            let mut fewer = weights.clone();
            fewer[lost] = 0;
            rebalance(&mut owners, &quotas(&fewer), &names);
            prop_assert_eq!(count(&owners, lost), 0);
            let moved = |a: &Owners, b: &Owners| a.iter().zip(b).filter(|(a, b)| a != b).count();
            // Rounding may take a bucket or two from the others when a weight is tiny.
            prop_assert!(moved(&before, &owners) <= usize::from(all[lost]) + weights.len());
            let during = owners;
            rebalance(&mut owners, &all, &names);
            prop_assert!(moved(&during, &owners) <= usize::from(all[lost]) + weights.len());
            prop_assert_eq!(count(&owners, lost), usize::from(all[lost]));
        }
    }

    #[test]
    fn a_group_made_without_one_of_four_members_agrees_on_most_buckets() {
        let (mut four, mut three) = ([NOBODY; MULTIPATH_BUCKETS], [NOBODY; MULTIPATH_BUCKETS]);
        let names = names(4);
        rebalance(&mut four, &quotas(&[1; 4]), &names);
        rebalance(&mut three, &quotas(&[1; 3]), &names[..3]);
        let kept = four.iter().zip(&three).filter(|(a, b)| a == b).count();
        assert!(kept >= 160, "{kept} of the 192 buckets that need not move"); // at random: 64
    }

    #[test]
    fn the_hash_spreads_flows_that_differ_in_one_port_and_depends_on_the_key() {
        let hash = |key, port: u32| {
            flow_hash4(key, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 9, 9, 9), 17, 0x1234_0000 | port)
        };
        let (one, two) = (HashKey::new([7, 11]), HashKey::new([7, 12]));
        let mut buckets = [0u32; 16];
        (0..16_000).for_each(|port| buckets[hash(one, port) as usize % 16] += 1);
        assert!(buckets.iter().all(|&count| (850..1150).contains(&count)), "{buckets:?}");
        let alike = (0..1000).filter(|&port| hash(one, port) % 16 == hash(two, port) % 16).count();
        assert!(alike < 150, "{alike}");
        let six = |label| {
            let ends = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
            flow_hash6(one, ends, 41, 0, label)
        };
        let mut buckets = [0u32; 16];
        (0..16_000).for_each(|label| buckets[six(label) as usize % 16] += 1);
        assert!(buckets.iter().all(|&count| (850..1150).contains(&count)), "{buckets:?}");
    }
}
