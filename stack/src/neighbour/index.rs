//! From (port, address) to entry: a hash table with chains, under a secret key, with a bound on every chain.
//!
//! The key is drawn when the table is made, and the hash is SipHash-1-3 (Aumasson and Bernstein, 2012), so
//! nobody outside can aim addresses at one bucket. Should a chain reach its bound all the same, the next entry
//! is refused: a lookup never costs more than `MAX_NEIGHBOUR_CHAIN` compares. A node holds all that a hit needs
//! in half a cache line: key, link and id.

use super::NeighbourId;
use crate::PortId;
use crate::limits::MAX_NEIGHBOUR_CHAIN;
use core::net::IpAddr;

const END: u32 = u32::MAX;

/// Port and address as three words.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Key {
    high: u64,
    low: u64,
    /// Port × 2, plus 1 for IPv6.
    port: u32,
}

impl Key {
    fn new(port: PortId, addr: IpAddr) -> Key {
        let port = port.index() as u32 * 2;
        match addr {
            IpAddr::V4(v4) => Key { high: 0, low: u64::from(v4.to_bits()), port },
            IpAddr::V6(v6) => {
                Key { high: (v6.to_bits() >> 64) as u64, low: v6.to_bits() as u64, port: port + 1 }
            }
        }
    }
}

#[derive(Clone, Copy)]
#[repr(align(32))]
struct Node {
    key: Key,
    next: u32,
    id: Option<NeighbourId>,
}

pub(super) struct Index {
    heads: Box<[u32]>,
    nodes: Box<[Node]>,
    secret: [u64; 2],
}

impl Index {
    /// For `entries` entries in `buckets` (rounded up to a power of two) chains.
    pub(super) fn new(entries: usize, buckets: usize, secret: [u64; 2]) -> Self {
        let empty = Node { key: Key::default(), next: END, id: None };
        Index {
            heads: vec![END; buckets.next_power_of_two()].into_boxed_slice(),
            nodes: vec![empty; entries].into_boxed_slice(),
            secret,
        }
    }

    #[inline]
    pub(super) fn find(&self, port: PortId, addr: IpAddr) -> Option<NeighbourId> {
        let key = Key::new(port, addr);
        let mut at = self.heads[self.bucket(key)];
        while let Some(node) = self.nodes.get(at as usize) {
            if node.key == key {
                return node.id;
            }
            at = node.next;
        }
        None
    }

    /// Adds an entry that is not in the table. Returns false, changing nothing, when its chain is at its bound.
    #[must_use]
    pub(super) fn insert(&mut self, port: PortId, addr: IpAddr, id: NeighbourId) -> bool {
        let key = Key::new(port, addr);
        let bucket = self.bucket(key);
        let head = self.heads[bucket];
        let (mut at, mut length) = (head, 0);
        while let Some(node) = self.nodes.get(at as usize) {
            at = node.next;
            length += 1;
        }
        if length >= MAX_NEIGHBOUR_CHAIN {
            return false;
        }
        self.nodes[id.place()] = Node { key, next: head, id: Some(id) };
        self.heads[bucket] = id.place() as u32;
        true
    }

    /// Takes an entry out of its chain.
    pub(super) fn remove(&mut self, id: NeighbourId) {
        let Node { key, next, .. } = self.nodes[id.place()];
        let bucket = self.bucket(key);
        let place = id.place() as u32;
        if self.heads[bucket] == place {
            self.heads[bucket] = next;
        } else {
            let mut at = self.heads[bucket];
            while let Some(node) = self.nodes.get_mut(at as usize) {
                if node.next == place {
                    node.next = next;
                    break;
                }
                at = node.next;
            }
        }
        self.nodes[id.place()].id = None;
    }

    fn bucket(&self, key: Key) -> usize {
        let hash = siphash13(self.secret, [key.high, key.low, u64::from(key.port)]);
        hash as usize & (self.heads.len() - 1)
    }
}

/// SipHash-1-3 of three words, taken as 24 bytes in little-endian order.
fn siphash13(key: [u64; 2], words: [u64; 3]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    // The last block holds the length, modulo 256, in its top byte.
    for block in [words[0], words[1], words[2], 24 << 56] {
        v[3] ^= block;
        sip_round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..3 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32).wrapping_add(v[3]);
    v[2] = v[2].wrapping_add(v[1]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU16;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::hash::Hasher;

    fn id(place: usize) -> NeighbourId {
        NeighbourId::new(place as u16, NonZeroU16::MIN)
    }

    fn addr(n: usize) -> IpAddr {
        IpAddr::from([10, 0, (n >> 8) as u8, n as u8])
    }

    #[test]
    #[allow(deprecated)] // the keyed hasher of core is SipHash-2-4; the default one is 1-3 with a key of zero
    fn the_hash_is_siphash_1_3() {
        let words = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908, 0x1716_1514_1312_1110];
        let mut reference = std::collections::hash_map::DefaultHasher::new();
        for word in words {
            reference.write_u64(word);
        }
        assert_eq!(siphash13([0, 0], words), reference.finish());
        assert_ne!(siphash13([1, 0], words), siphash13([0, 0], words));
        assert_ne!(siphash13([0, 1], words), siphash13([0, 0], words));
    }

    #[test]
    fn a_chain_at_its_bound_refuses_one_more_and_takes_it_after_a_removal() {
        let port = PortId::new(0).unwrap();
        let mut index = Index::new(MAX_NEIGHBOUR_CHAIN + 1, 1, [7, 9]);
        for place in 0..MAX_NEIGHBOUR_CHAIN {
            assert!(index.insert(port, addr(place), id(place)));
        }
        let one_more = MAX_NEIGHBOUR_CHAIN;
        assert!(!index.insert(port, addr(one_more), id(one_more)));
        assert_eq!(index.find(port, addr(one_more)), None);
        index.remove(id(3));
        assert!(index.insert(port, addr(one_more), id(one_more)));
        for place in 0..=MAX_NEIGHBOUR_CHAIN {
            let expected = if place == 3 { None } else { Some(id(place)) };
            assert_eq!(index.find(port, addr(place)), expected);
        }
    }

    #[test]
    fn the_same_number_in_another_family_or_on_another_port_is_another_neighbour() {
        let [zero, one] = [0, 1].map(|n| PortId::new(n).unwrap());
        let v4: IpAddr = "0.0.0.9".parse().unwrap();
        let v6: IpAddr = "::9".parse().unwrap();
        let mut index = Index::new(4, 1, [0, 0]);
        assert!(index.insert(zero, v4, id(0)));
        assert_eq!((index.find(zero, v6), index.find(one, v4)), (None, None));
        assert_eq!(index.find(zero, v4), Some(id(0)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0usize..12), 0..200)) {
            let port = PortId::new(5).unwrap();
            let mut index = Index::new(12, 2, [1, 2]);
            let mut model = HashMap::new();
            for (insert, n) in steps {
                match (insert, model.contains_key(&n)) {
                    (true, false) => {
                        prop_assert!(index.insert(port, addr(n), id(n)));
                        model.insert(n, id(n));
                    }
                    (false, true) => {
                        index.remove(id(n));
                        model.remove(&n);
                    }
                    _ => {}
                }
                for n in 0..12 {
                    prop_assert_eq!(index.find(port, addr(n)), model.get(&n).copied());
                }
            }
        }
    }
}
