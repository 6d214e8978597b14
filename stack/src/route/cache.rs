//! The route cache: per worker, fixed size, two-way set-associative.
//!
//! What a flow needs to be forwarded (next hop, neighbour, MTU, the member of a multipath group) is found once
//! and remembered under the flow's key. This is what Linux 2.6's routing cache gave, without what made it fall:
//! there is nothing to collect and nothing that grows; the hash is keyed; a flood of new keys costs each packet
//! one probe of one or two cache lines, the lookup that it would have needed anyway, and one store.
//!
//! ```text
//!   key ── keyed hash ──▶ set [ way 0: keys that were hit │ way 1: the newcomer ]
//!   hit in way 1: now and then the two change places;  miss: the newcomer is replaced
//! ```
//!
//! A newcomer can only displace a newcomer, so one-off keys leave in place what is used again and again.
//! An entry is valid in the generation in which it was made, and void in all others: nobody has to sweep.

use crate::route::ecmp::HashKey;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A key of a [`RouteCache`].
pub trait CacheKey: Copy + PartialEq {
    /// A key for entries that are void.
    const NULL: Self;
    /// Its keyed hash.
    fn hash(&self, key: HashKey) -> u64;
}

/// What decides an IPv4 packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow4 {
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Source address.
    pub source: Ipv4Addr,
    /// The port it came in on ([`crate::PortId::index`]), or any number that the caller uses for "from us".
    pub port: u16,
    /// Type of service, as far as policy looks at it; and anything else that the caller's choice depends on
    /// (bits of the flow hash, when routes are multipath).
    pub class: u16,
}

impl CacheKey for Flow4 {
    const NULL: Self =
        Flow4 { destination: Ipv4Addr::UNSPECIFIED, source: Ipv4Addr::UNSPECIFIED, port: 0, class: 0 };

    #[inline]
    fn hash(&self, key: HashKey) -> u64 {
        let addresses = u64::from(self.destination.to_bits()) << 32 | u64::from(self.source.to_bits());
        key.mix(addresses, u64::from(self.port) << 16 | u64::from(self.class), 0)
    }
}

/// What decides an IPv6 packet's way; as [`Flow4`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow6 {
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Source address.
    pub source: Ipv6Addr,
    /// The port it came in on.
    pub port: u16,
    /// Traffic class and whatever else the choice depends on.
    pub class: u16,
}

impl CacheKey for Flow6 {
    const NULL: Self =
        Flow6 { destination: Ipv6Addr::UNSPECIFIED, source: Ipv6Addr::UNSPECIFIED, port: 0, class: 0 };

    #[inline]
    fn hash(&self, key: HashKey) -> u64 {
        let (destination, source) = (self.destination.to_bits(), self.source.to_bits());
        let rest = u64::from(self.port) << 16 | u64::from(self.class);
        let first = key.mix(destination as u64, (destination >> 64) as u64, rest);
        key.mix(source as u64, (source >> 64) as u64, first)
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// The cache's stamp when it was made, or [`VOID`].
    stamp: u32,
}

/// The stamp of an entry that holds nothing.
const VOID: u32 = 0;

/// Two ways; with [`Flow4`] and a value of up to 16 bytes this is one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Set<K, V> {
    ways: [Entry<K, V>; 2],
}

/// A bounded memory of `V` by `K`. `V` should be small (up to 16 bytes).
#[derive(Debug)]
pub struct RouteCache<K, V> {
    sets: Box<[Set<K, V>]>,
    mask: usize,
    key: HashKey,
    /// The caller's generation, and how many of them there have been (never [`VOID`]).
    generation: u64,
    stamp: u32,
    turn: u32,
}

/// Keys that [`RouteCache::probe_burst`] takes at once, the bits of its answer.
pub const PROBES: usize = 64;

impl<K: CacheKey, V: Copy + Default> RouteCache<K, V> {
    /// Room for `entries`, rounded up to a power of two of at least 2. `key` is random.
    pub fn new(entries: usize, key: HashKey) -> Self {
        let sets = entries.div_ceil(2).max(1).next_power_of_two();
        let none = Entry { key: K::NULL, value: V::default(), stamp: VOID };
        RouteCache {
            sets: vec![Set { ways: [none; 2] }; sets].into_boxed_slice(),
            mask: sets - 1,
            key,
            generation: 0,
            stamp: VOID + 1,
            turn: 0,
        }
    }

    /// How many entries it can hold.
    pub fn capacity(&self) -> usize {
        self.sets.len() * 2
    }

    /// From now on only what is inserted from now on is found, unless `generation` is still the same. It must
    /// never come back to an earlier value: a sum of counters that only grow (routes, neighbours) will do.
    pub fn begin_burst(&mut self, generation: u64) {
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == VOID {
            // Entries of 2^32 generations ago would look valid: forget them the hard way.
            for set in &mut self.sets {
                set.ways.iter_mut().for_each(|way| way.stamp = VOID);
            }
            self.stamp = VOID + 1;
        }
    }

    /// What is remembered for `key`.
    #[inline]
    pub fn probe(&mut self, key: &K) -> Option<V> {
        self.probe_set(self.set_of(key), key).copied()
    }

    /// Probes for up to [`PROBES`] keys: bit i of the answer tells that `values[i]` is what is remembered for
    /// `keys[i]`. All hashes are computed, then all sets are read, so that the misses overlap.
    #[inline]
    pub fn probe_burst(&mut self, keys: &[K], values: &mut [V]) -> u64 {
        let mut places = [0u32; PROBES];
        for (place, key) in places.iter_mut().zip(keys) {
            *place = self.set_of(key) as u32;
        }
        let mut hits = 0;
        for (at, ((place, key), value)) in places.iter().zip(keys).zip(values).enumerate() {
            if let Some(found) = self.probe_set(*place as usize, key) {
                *value = *found; // from line to place: an `Option<V>` in between is put together in memory
                hits |= 1 << at;
            }
        }
        hits
    }

    /// Remembers `value` for `key` in this generation.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) {
        let stamp = self.stamp;
        let set = self.set_of(&key);
        let Some(set) = self.sets.get_mut(set) else { return };
        let [first, second] = &mut set.ways;
        let way = if first.stamp != stamp || first.key == key { first } else { second };
        *way = Entry { key, value, stamp };
    }

    #[inline]
    fn probe_set(&mut self, set: usize, key: &K) -> Option<&V> {
        let stamp = self.stamp;
        let set = self.sets.get_mut(set)?;
        let [first, second] = &mut set.ways;
        if first.key == *key && first.stamp == stamp {
            return Some(&first.value);
        }
        if second.key == *key && second.stamp == stamp {
            // It was wanted again: let it have the place that newcomers leave alone. Only each eighth time, so
            // that two busy keys in one set do not change places with every packet.
            self.turn = self.turn.wrapping_add(1);
            if self.turn.is_multiple_of(8) {
                core::mem::swap(first, second);
                return Some(&first.value);
            }
            return Some(&second.value);
        }
        None
    }

    #[inline]
    fn set_of(&self, key: &K) -> usize {
        key.hash(self.key) as usize & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const KEY: HashKey = HashKey::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    fn flow(number: u32) -> Flow4 {
        let destination = Ipv4Addr::from_bits(number);
        Flow4 { destination, source: Ipv4Addr::new(10, 0, 0, 1), port: 1, class: 0 }
    }

    fn flow6(number: u32) -> Flow6 {
        let destination = Ipv6Addr::from_bits(u128::from(number) << 64);
        Flow6 { destination, source: Ipv6Addr::LOCALHOST, port: 1, class: 0 }
    }

    #[test]
    fn an_ipv4_set_is_one_cache_line_and_an_ipv6_way_too() {
        assert_eq!(size_of::<Set<Flow4, [u32; 3]>>(), 64);
        assert_eq!(size_of::<Set<Flow6, [u32; 3]>>(), 128);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_inserted_last_in_this_generation(
            steps in proptest::collection::vec((0u32..40, any::<u32>(), 0u8..10), 1..400)
        ) {
            let mut four = RouteCache::new(16, KEY);
            let mut six = RouteCache::new(16, KEY);
            let (mut model, mut generation) = (HashMap::new(), 0);
            for (number, value, action) in steps {
                match action {
                    0 => {
                        generation += 1 + u64::from(value);
                        model.clear();
                        four.begin_burst(generation);
                        six.begin_burst(generation);
                    }
                    1..=4 => {
                        four.insert(flow(number), value);
                        six.insert(flow6(number), value);
                        model.insert(number, value);
                        // The newest is always there.
                        prop_assert_eq!(four.probe(&flow(number)), Some(value));
                        prop_assert_eq!(six.probe(&flow6(number)), Some(value));
                    }
                    _ => {
                        let keys: Vec<_> = (number..number + 20).map(flow).collect();
                        let mut values = [0; 20];
                        let hits = four.probe_burst(&keys, &mut values);
                        for (at, &value) in values.iter().enumerate() {
                            let known = model.get(&(number + at as u32)).copied();
                            if hits >> at & 1 != 0 {
                                prop_assert_eq!(Some(value), known);
                            }
                        }
                        prop_assert_eq!(hits >> 20, 0);
                        let found = six.probe(&flow6(number));
                        prop_assert!(found.is_none() || found == model.get(&number).copied());
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_of_all_zeros_is_not_found_in_an_empty_cache_not_even_after_the_stamp_wraps() {
        let mut cache = RouteCache::<Flow4, u32>::new(2, KEY);
        assert_eq!(cache.probe(&Flow4::NULL), None);
        cache.insert(flow(1), 7); // stamp 1
        cache.stamp = u32::MAX;
        cache.begin_burst(99);
        assert_eq!(cache.stamp, VOID + 1);
        assert_eq!(cache.probe(&Flow4::NULL), None);
        assert_eq!(cache.probe(&flow(1)), None); // of 2^32 generations ago, with the same stamp
    }

    #[test]
    fn a_flood_of_new_keys_leaves_what_is_used_again_and_again() {
        let mut cache = RouteCache::new(4096, KEY);
        let busy = 0..1000u32;
        let mut found = 0;
        for round in 0..40 {
            for number in busy.clone() {
                match cache.probe(&flow(number)) {
                    Some(value) => {
                        assert_eq!(value, number);
                        found += u32::from(round >= 20);
                    }
                    None => cache.insert(flow(number), number),
                }
            }
            for number in 0..4000 {
                let key = flow(1_000_000 + round * 4000 + number);
                assert_eq!(cache.probe(&key), None);
                cache.insert(key, 0);
            }
        }
        assert!(found > 20 * 700, "{found} of 20000 found under a flood of four times as many");
    }
}
