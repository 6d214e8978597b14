//! Which connection a segment belongs to: a hash table from the four-tuple to a word of the caller's.
//!
//! ```text
//!   IPv4, a bucket = one cache line:   │ key │ key │ key │ key │ v v v v │      key: 12 bytes; v 0: empty
//!   IPv6, a bucket = two lines:        │  key  │  key  │  key  │ v v v │ - │   key: 36 bytes
//!
//!   home = keyed hash ── full? ──> next bucket ── full? ──> …        at most MAX_PROBE buckets
//! ```
//!
//! Open addressing with whole keys in the table: a lookup that hits or misses costs one cache line and, at the
//! load allowed (half), seldom a second. A bucket with an empty slot ends the search; so that this stays true,
//! removing moves entries back over the hole. The size is fixed by the capacity: there is no pause for growing, and
//! memory is touched only where entries stand. With a million entries the line comes from main memory;
//! [`Table::lookup_burst`] asks for all lines of a burst before it looks at the first.
//!
//! The hash is keyed ([`crate::hash`]), so peers cannot aim at a bucket; if they could, a full run of buckets
//! refuses the entry instead of getting slow.
//!
//! Invariants
//! 1. All buckets between an entry's home and the bucket where it stands are full.
//! 2. An entry stands less than [`MAX_DEMUX_PROBE`] buckets from home.
//! 3. No key stands in the table twice.

use crate::hash::{hash2, hash4};
use crate::limits::{BURST, MAX_DEMUX_PROBE};
use crate::socket::zeroed::Zeroed;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A four-tuple of IPv4: local address, remote address, ports.
pub type KeyV4 = [u32; 3];
/// A four-tuple of IPv6.
pub type KeyV6 = [u32; 9];

/// The table for IPv4: four entries in a cache line.
pub type TableV4 = Table<3, 4, 16>;
/// The table for IPv6: three entries in two cache lines.
pub type TableV6 = Table<9, 3, 32>;

/// The key of an IPv4 connection.
#[inline]
pub const fn key_v4(local: Ipv4Addr, local_port: u16, remote: Ipv4Addr, remote_port: u16) -> KeyV4 {
    [local.to_bits(), remote.to_bits(), (local_port as u32) << 16 | remote_port as u32]
}

/// The key of an IPv6 connection. `zone` tells the links of link-local addresses apart: the port's number.
#[inline]
pub const fn key_v6(
    local: Ipv6Addr,
    local_port: u16,
    remote: Ipv6Addr,
    remote_port: u16,
    zone: u16,
) -> KeyV6 {
    let [l0, l1, l2, l3] = words(local, zone);
    let [r0, r1, r2, r3] = words(remote, zone);
    [l0, l1, l2, l3, r0, r1, r2, r3, (local_port as u32) << 16 | remote_port as u32]
}

/// An address in words. A link-local one (RFC 4291 section 2.5.6: fe80::/64) carries its zone in place of its
/// prefix, under the first byte of multicast addresses, which no connection has; so it is like no other.
#[inline]
const fn words(address: Ipv6Addr, zone: u16) -> [u32; 4] {
    let bits = address.to_bits();
    let rest = [(bits >> 32) as u32, bits as u32];
    if (bits >> 64) as u64 == 0xfe80 << 48 {
        return [0xff00_0000 | zone as u32, 0, rest[0], rest[1]];
    }
    [(bits >> 96) as u32, (bits >> 64) as u32, rest[0], rest[1]]
}

/// Why an entry was not inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The key stands in the table, with this value.
    Taken(u32),
    /// The table has as many entries as it may, or the run of full buckets is too long.
    Full,
}

/// A hash table from keys of `K` words to words, `N` entries in a bucket of `B` words.
#[derive(Debug)]
pub struct Table<const K: usize, const N: usize, const B: usize> {
    words: Zeroed<u32>,
    /// Buckets - 1; their number is a power of two.
    mask: usize,
    len: usize,
    capacity: usize,
    key: [u64; 2],
}

impl<const K: usize, const N: usize, const B: usize> Table<K, N, B> {
    const FITS: () = assert!(N * (K + 1) <= B && K >= 3);

    /// A table for `capacity` entries. `key` is random, and nobody else's.
    pub fn new(capacity: usize, key: [u64; 2]) -> Self {
        let () = Self::FITS;
        let buckets = (capacity * 2).div_ceil(N).next_power_of_two();
        Table { words: Zeroed::new(buckets * B), mask: buckets - 1, len: 0, capacity, key }
    }

    /// Entries in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when it has none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries that fit.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The value of a key.
    #[inline]
    pub fn lookup(&self, key: &[u32; K]) -> Option<u32> {
        self.lookup_from(self.home(key), key)
    }

    /// The values of as many keys as there are (and `out` has room), asking memory for all of them at once.
    #[inline]
    pub fn lookup_burst(&self, keys: &[[u32; K]], out: &mut [Option<u32>]) {
        let mut homes = [0; BURST];
        for (keys, out) in keys.chunks(BURST).zip(out.chunks_mut(BURST)) {
            // A load that is waited for only behind the loop; the processor goes on to the next key meanwhile.
            let mut touched = 0;
            for (home, key) in homes.iter_mut().zip(keys) {
                *home = self.home(key);
                touched ^= self.bucket(*home)[B - 1];
            }
            core::hint::black_box(touched);
            for ((out, key), home) in out.iter_mut().zip(keys).zip(homes) {
                *out = self.lookup_from(home, key);
            }
        }
    }

    /// Puts a key in, with a value below 2^32 - 1.
    pub fn insert(&mut self, key: &[u32; K], value: u32) -> Result<(), Refused> {
        let home = self.home(key);
        for ahead in 0..MAX_DEMUX_PROBE {
            let at = (home + ahead) & self.mask;
            let bucket = self.bucket(at);
            if let Some(slot) = find(bucket, key) {
                return Err(Refused::Taken(bucket[N * K + slot] - 1));
            }
            if let Some(slot) = (0..N).find(|slot| bucket[N * K + slot] == 0) {
                if self.len == self.capacity || value == u32::MAX {
                    return Err(Refused::Full);
                }
                self.set(at, slot, key, value + 1);
                self.len += 1;
                return Ok(());
            }
        }
        Err(Refused::Full)
    }

    /// Gives another value to a key; false when the key is not there.
    pub fn replace(&mut self, key: &[u32; K], value: u32) -> bool {
        match self.find(key) {
            Some((at, slot)) if value != u32::MAX => {
                self.set(at, slot, key, value + 1);
                true
            }
            _ => false,
        }
    }

    /// Takes a key out; returns its value.
    pub fn remove(&mut self, key: &[u32; K]) -> Option<u32> {
        let (mut hole, mut slot) = self.find(key)?;
        let value = self.bucket(hole)[N * K + slot] - 1;
        let mut was_full = is_full::<K, N, B>(self.bucket(hole));
        self.set(hole, slot, &[0; K], 0);
        self.len -= 1;
        // Behind a bucket that was full may stand what passed over it: the hole goes to where that stood, until it
        // comes to a bucket that nothing passed.
        let mut from_hole = 1;
        while was_full && from_hole < MAX_DEMUX_PROBE {
            let at = (hole + from_hole) & self.mask;
            was_full = is_full::<K, N, B>(self.bucket(at));
            let passed = (0..N).find_map(|slot| {
                let key = self.entry(at, slot)?;
                let from_home = at.wrapping_sub(self.home(&key)) & self.mask;
                (from_home >= from_hole).then_some((slot, key))
            });
            match passed {
                Some((from, key)) => {
                    let value = self.bucket(at)[N * K + from];
                    self.set(hole, slot, &key, value);
                    self.set(at, from, &[0; K], 0);
                    (hole, slot, from_hole) = (at, from, 1);
                }
                None => from_hole += 1,
            }
        }
        Some(value)
    }

    /// Where a key's search begins.
    #[inline]
    fn home(&self, key: &[u32; K]) -> usize {
        let two = |at: usize| u64::from(key[at]) << 32 | u64::from(key[at + 1]);
        let last = u64::from(key[K - 1]);
        let addresses =
            if K == 3 { two(0) } else { hash4([two(0), two(2 % K), two(4 % K), two(6 % K)], self.key) };
        // The low bits of one product lack what its factors lack: when an address and the key agree in many, all
        // ports of that peer meet in few buckets. A second product, of what the whole first one came to, has no
        // such peers.
        let first = hash2(addresses, last, self.key);
        let hash = hash2(first, 0, [self.key[1], 0x9e37_79b9_7f4a_7c15]);
        hash as usize & self.mask
    }

    #[inline]
    fn bucket(&self, at: usize) -> &[u32; B] {
        let (buckets, _) = self.words.get().as_chunks::<B>();
        &buckets[at]
    }

    #[inline]
    fn lookup_from(&self, home: usize, key: &[u32; K]) -> Option<u32> {
        for ahead in 0..MAX_DEMUX_PROBE {
            let bucket = self.bucket((home + ahead) & self.mask);
            if let Some(slot) = find(bucket, key) {
                return Some(bucket[N * K + slot] - 1);
            }
            if !is_full::<K, N, B>(bucket) {
                break;
            }
        }
        None
    }

    fn find(&self, key: &[u32; K]) -> Option<(usize, usize)> {
        let home = self.home(key);
        (0..MAX_DEMUX_PROBE).find_map(|ahead| {
            let at = (home + ahead) & self.mask;
            find(self.bucket(at), key).map(|slot| (at, slot))
        })
    }

    fn entry(&self, at: usize, slot: usize) -> Option<[u32; K]> {
        let bucket = self.bucket(at);
        (bucket[N * K + slot] != 0).then(|| core::array::from_fn(|word| bucket[slot * K + word]))
    }

    fn set(&mut self, at: usize, slot: usize, key: &[u32; K], stored: u32) {
        let (buckets, _) = self.words.get_mut().as_chunks_mut::<B>();
        let bucket = &mut buckets[at];
        bucket[slot * K..][..K].copy_from_slice(key);
        bucket[N * K + slot] = stored;
    }
}

/// The slot of a key. With at least three words a key, there are as many slots as keys fit before the values.
#[inline]
fn find<const K: usize, const B: usize>(bucket: &[u32; B], key: &[u32; K]) -> Option<usize> {
    let slots = B / (K + 1);
    (0..slots).find(|&slot| bucket[slot * K..][..K] == *key && bucket[slots * K + slot] != 0)
}

#[inline]
fn is_full<const K: usize, const N: usize, const B: usize>(bucket: &[u32; B]) -> bool {
    bucket[N * K..N * K + N].iter().all(|&value| value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];

    #[test]
    fn a_connection_is_found_by_its_four_tuple_alone() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut table = TableV4::new(4, KEY);
        table.insert(&key_v4(a, 80, b, 40_000), 7).unwrap();
        assert_eq!(table.lookup(&key_v4(a, 80, b, 40_000)), Some(7));
        assert_eq!(table.lookup(&key_v4(b, 80, a, 40_000)), None);
        assert_eq!(table.lookup(&key_v4(a, 40_000, b, 80)), None);
        assert_eq!(table.insert(&key_v4(a, 80, b, 40_000), 8), Err(Refused::Taken(7)));
        assert!(table.replace(&key_v4(a, 80, b, 40_000), 9) && !table.replace(&key_v4(a, 81, b, 1), 9));
        assert_eq!(table.remove(&key_v4(a, 80, b, 40_000)), Some(9));
        assert_eq!((table.remove(&key_v4(a, 80, b, 40_000)), table.len()), (None, 0));
        // The key of all zeros is a key like any other.
        assert_eq!(table.lookup(&[0; 3]), None);
        table.insert(&[0; 3], 0).unwrap();
        assert_eq!(table.lookup(&[0; 3]), Some(0));
    }

    #[test]
    fn the_same_link_local_addresses_on_two_links_are_two_connections() {
        let (a, b): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        assert_ne!(key_v6(a, 80, b, 1, 3), key_v6(a, 80, b, 1, 4));
        let (a, b) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(key_v6(a, 80, b, 1, 3), key_v6(a, 80, b, 1, 4));
    }

    #[test]
    fn one_entry_too_many_and_a_value_too_large_are_refused() {
        let mut table = TableV6::new(3, KEY);
        for n in 0..3 {
            assert_eq!(table.insert(&[n; 9], u32::MAX - 1), Ok(()));
        }
        assert_eq!(table.insert(&[3; 9], 0), Err(Refused::Full));
        assert_eq!(table.insert(&[2; 9], 0), Err(Refused::Taken(u32::MAX - 1)));
        table.remove(&[0; 9]);
        assert_eq!(table.insert(&[3; 9], u32::MAX), Err(Refused::Full));
        assert_eq!((table.insert(&[3; 9], 1), table.len()), (Ok(()), 3));
    }

    #[test]
    fn a_run_of_full_buckets_is_bounded() {
        // Every bucket full: as many entries as there are slots, which only a capacity made up here allows.
        let mut table = TableV4::new(512, KEY);
        table.capacity = usize::MAX;
        let mut key = 0;
        while table.insert(&[key, 1, 2], key).is_ok() {
            key += 1;
        }
        assert!(table.len() > 512, "{}", table.len());
        (0..key).for_each(|n| assert_eq!(table.lookup(&[n, 1, 2]), Some(n)));
        (0..key).for_each(|n| assert_eq!(table.remove(&[n, 1, 2]), Some(n)));
        assert!(table.words.get().iter().all(|&word| word == 0));
    }

    #[test]
    fn neighbouring_four_tuples_all_fit_under_several_keys() {
        // The second key agrees with the second peer's address.
        for key in [
            KEY,
            [0x7777_7777_0a00_0001, 0x1357_9bdf_0246_8ace],
            [0x4164_d839_9f76_7c45, 0x5bc8_fbbc_bde5_c099],
        ] {
            let (mut v4, mut v6) = (TableV4::new(1 << 17, key), TableV6::new(3 << 14, key));
            for n in 0..1 << 17 {
                let (remote, ports) = (0x0a00_0000 + n / 50_000, (80 << 16) | (1024 + n % 50_000));
                v4.insert(&[0x0a00_0001, remote, ports], n).unwrap();
                if n < 3 << 14 {
                    v6.insert(&[1, 2, 3, 4, 5, 6, 7, remote, ports], n).unwrap();
                }
            }
            assert_eq!(v4.lookup(&[0x0a00_0001, 0x0a00_0001, 80 << 16 | 1024]), Some(50_000));
        }
    }

    proptest! {
        /// A table so small and so full that runs of buckets, and holes in them, are the rule.
        #[test]
        fn it_does_what_a_map_does(steps in proptest::collection::vec((0u8..4, 0u32..90, 0u32..1000), 1..400)) {
            let mut v4 = TableV4::new(24, KEY);
            let mut v6 = TableV6::new(24, KEY);
            (v4.capacity, v6.capacity) = (usize::MAX, usize::MAX);
            let (mut model4, mut model6) = (HashMap::new(), HashMap::new());
            let keys: Vec<KeyV4> = (0..90).map(|n| [1, n, 3]).collect();
            for (kind, n, value) in steps {
                let (k4, k6) = (keys[n as usize], [1, 2, 3, 4, 5, 6, 7, n, 9]);
                if kind == 0 {
                    prop_assert_eq!(v4.remove(&k4), model4.remove(&k4));
                    prop_assert_eq!(v6.remove(&k6), model6.remove(&k6));
                } else {
                    match v4.insert(&k4, value) {
                        Ok(()) => prop_assert_eq!(model4.insert(k4, value), None),
                        Err(Refused::Taken(old)) => prop_assert_eq!(model4.get(&k4), Some(&old)),
                        Err(Refused::Full) => prop_assert!(!model4.contains_key(&k4) && model4.len() >= 32),
                    }
                    match v6.insert(&k6, value) {
                        Ok(()) => prop_assert_eq!(model6.insert(k6, value), None),
                        Err(Refused::Taken(old)) => prop_assert_eq!(model6.get(&k6), Some(&old)),
                        Err(Refused::Full) => prop_assert!(!model6.contains_key(&k6) && model6.len() >= 24),
                    }
                }
                prop_assert_eq!((v4.len(), v6.len()), (model4.len(), model6.len()));
                let mut out = [None; 90];
                v4.lookup_burst(&keys, &mut out);
                for (key, found) in keys.iter().zip(out) {
                    prop_assert_eq!(found, model4.get(key).copied());
                    prop_assert_eq!(v4.lookup(key), found);
                }
                for (key, value) in &model6 {
                    prop_assert_eq!(v6.lookup(key), Some(*value));
                }
            }
        }
    }
}
