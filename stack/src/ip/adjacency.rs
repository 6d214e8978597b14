//! Adjacencies: what a next hop means for packets, remembered under the next hop's number.
//!
//! A packet that the route cache does not know costs a lookup in the forwarding table, which gives the number
//! of a next hop. A full table has a million prefixes but few next hops, so what such a number means (the
//! port, the neighbour with its place in the neighbour table) is worked out once and kept here.
//!
//! ```text
//!   destination ─> FIB ─> number ─> [ number, generation, path ]  ─> Path
//!                                    └ other number or generation: resolve, and write it here
//! ```
//!
//! Invariant: an entry is believed only in the generation in which it was made, as in the route cache. Only
//! paths are kept that are the same for all destinations and ports.

use crate::ip::path::Path;
use crate::route::NextHopId;

/// Entries: a power of two, so that the place is a mask. 24 KiB, of which a router touches one line for every
/// two routers around it. Two next hops that share a place displace each other, which costs time only.
const ENTRIES: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Entry {
    generation: u64,
    id: NextHopId,
    path: Path,
}

/// A direct-mapped memory of paths by next hop.
#[derive(Debug)]
pub(crate) struct Adjacencies {
    entries: Box<[Entry; ENTRIES]>,
    generation: u64,
}

impl Adjacencies {
    pub(crate) fn new() -> Self {
        let void = Entry { generation: 0, id: NextHopId::NONE, path: Path::default() };
        Adjacencies { entries: Box::new([void; ENTRIES]), generation: 0 }
    }

    /// From now on only what is kept from now on is found, unless `generation` is still the same.
    #[inline]
    pub(crate) fn begin_burst(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// What was kept for a next hop in this generation.
    #[inline]
    pub(crate) fn get(&self, id: NextHopId) -> Option<Path> {
        let entry = &self.entries[id.index() as usize % ENTRIES];
        (entry.id == id && entry.generation == self.generation).then_some(entry.path)
    }

    /// Keeps what a next hop means.
    pub(crate) fn keep(&mut self, id: NextHopId, path: Path) {
        self.entries[id.index() as usize % ENTRIES] = Entry { generation: self.generation, id, path };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::path::Refusal;

    #[test]
    fn a_path_is_found_until_its_generation_ends_or_its_place_is_taken() {
        let mut adjacencies = Adjacencies::new();
        adjacencies.begin_burst(7);
        let (one, other) = (NextHopId::from_index(5), NextHopId::from_index(5 + ENTRIES as u32));
        assert_eq!(adjacencies.get(one), None);
        adjacencies.keep(one, Path::Local);
        adjacencies.begin_burst(7);
        assert_eq!(adjacencies.get(one), Some(Path::Local));
        assert_eq!(adjacencies.get(other), None);
        adjacencies.keep(other, Path::Refuse(Refusal::Prohibit));
        assert_eq!(
            (adjacencies.get(one), adjacencies.get(other)),
            (None, Some(Path::Refuse(Refusal::Prohibit)))
        );
        adjacencies.begin_burst(8);
        assert_eq!(adjacencies.get(other), None);
    }
}
