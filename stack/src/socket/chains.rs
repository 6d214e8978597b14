//! Hash chains over the places of a [`super::Slab`]: which sockets have the same key.
//!
//! ```text
//!   hash ─> heads[hash & mask] ─> place ─> place ─> …     (newest first)
//! ```
//!
//! A place is in one chain at most. Two arrays of indices, made once; putting in and walking cost no memory.
//! Several keys may share a head: who walks compares keys. With a keyed hash and as many heads as places,
//! a chain is as long as its busiest key.

const NONE: u32 = u32::MAX;

/// Chains of places.
#[derive(Debug)]
pub struct Chains {
    heads: Box<[u32]>,
    links: Box<[Link]>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    next: u32,
    head: u32,
}

impl Chains {
    /// Chains over `places` places.
    pub fn new(places: usize) -> Self {
        let heads = places.max(1).next_power_of_two();
        Chains {
            heads: vec![NONE; heads].into_boxed_slice(),
            links: vec![Link { next: NONE, head: NONE }; places].into_boxed_slice(),
        }
    }

    /// Puts a place, which is in no chain, into that of `hash`.
    pub fn insert(&mut self, hash: u64, place: usize) {
        let head = hash as usize & (self.heads.len() - 1);
        let Some(link) = self.links.get_mut(place) else { return };
        *link = Link { next: self.heads[head], head: head as u32 };
        self.heads[head] = place as u32;
    }

    /// Takes a place out of its chain, if it is in one.
    pub fn remove(&mut self, place: usize) {
        let Some(&Link { next, head }) = self.links.get(place) else { return };
        let Some(first) = self.heads.get_mut(head as usize) else { return };
        if *first == place as u32 {
            *first = next;
        } else {
            let mut at = *first;
            while let Some(link) = self.links.get_mut(at as usize) {
                if link.next == place as u32 {
                    link.next = next;
                    break;
                }
                at = link.next;
            }
        }
        self.links[place] = Link { next: NONE, head: NONE };
    }

    /// The places in the chain of `hash`, newest first.
    #[inline]
    pub fn walk(&self, hash: u64) -> Walk<'_> {
        Walk { chains: self, at: self.heads[hash as usize & (self.heads.len() - 1)] }
    }
}

/// A walk along a chain.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    chains: &'a Chains,
    at: u32,
}

impl Iterator for Walk<'_> {
    type Item = usize;
    #[inline]
    fn next(&mut self) -> Option<usize> {
        let link = self.chains.links.get(self.at as usize)?;
        let place = self.at as usize;
        self.at = link.next;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chains_hold_what_lists_would(steps in proptest::collection::vec((0usize..16, 0u64..5), 1..200)) {
            let mut chains = Chains::new(16);
            let mut model: Vec<Vec<usize>> = vec![Vec::new(); 5];
            for (place, hash) in steps {
                match model.iter_mut().find_map(|list| list.iter().position(|&p| p == place).map(|at| (list, at))) {
                    Some((list, at)) => {
                        list.remove(at);
                        chains.remove(place);
                        chains.remove(place);
                    }
                    None => {
                        model[hash as usize].insert(0, place);
                        chains.insert(hash, place);
                    }
                }
                for (hash, list) in model.iter().enumerate() {
                    prop_assert_eq!(&chains.walk(hash as u64).collect::<Vec<_>>(), list);
                }
            }
        }
    }
}
