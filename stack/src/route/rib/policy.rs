//! A table beside the main one: what policy rules lead to.
//!
//! The main table's IPv4 half is made for a million routes and costs 64 MiB as soon as it holds a few. A policy
//! table mostly holds a default route and a handful of others, so both of its halves are tries; an IPv4 prefix
//! stands in the first 32 bits of an address of the trie. Next hops, grace periods and generations are those of the
//! main table.

use super::table::{Fib, Table};
use super::{Prefix4, Prefix6};
use crate::route::fib4::Full;
use crate::route::fib6::{Fib6, Fib6Writer};
use crate::route::next_hop::NextHopId;
use crate::route::prefix_map::Prefix;
use crate::route::publish::{Graveyard, Shared};
use crate::route::words::WordsError;

/// The sizes of a table beside the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// Most IPv4 routes.
    pub routes4: usize,
    /// Most IPv6 routes.
    pub routes6: usize,
}

/// Nodes and leaves of a trie for so many routes: as many as the main trie has for each of its, twice over, because
/// few routes share less.
fn trie(routes: usize) -> Result<Fib6, WordsError> {
    let units =
        |each: usize, least: usize| u32::try_from(routes.saturating_mul(each).max(least)).unwrap_or(u32::MAX);
    Fib6::new(units(8, 4096), units(32, 4096), (None, None))
}

/// The tries that readers read, two for each table: IPv4, IPv6.
pub(super) fn tries(sizes: &[TableSize]) -> Result<Box<[Fib6]>, WordsError> {
    sizes.iter().flat_map(|size| [trie(size.routes4), trie(size.routes6)]).collect()
}

/// An IPv4 address as the tries have it.
#[inline]
pub(crate) fn widened(address: u32) -> u128 {
    u128::from(address) << 96
}

/// The writer's side of one of [`tries`].
#[derive(Debug)]
pub(super) struct Trie {
    place: usize,
    pub(super) writer: Fib6Writer,
}

impl Trie {
    fn set_bits(
        &mut self,
        shared: &Shared,
        prefix: (u128, u8),
        id: NextHopId,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        let Some(fib) = shared.tries.get(self.place) else { return Err(Full) };
        self.writer.set(fib, prefix, id, dead)
    }

    fn clear_bits(
        &mut self,
        shared: &Shared,
        prefix: (u128, u8),
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        let Some(fib) = shared.tries.get(self.place) else { return Err(Full) };
        self.writer.clear(fib, prefix, cover, dead)
    }
}

impl Fib<Prefix4> for Trie {
    fn set(
        &mut self,
        shared: &Shared,
        key: Prefix4,
        id: NextHopId,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        self.set_bits(shared, (widened(key.net()), key.len()), id, dead)
    }

    fn clear(
        &mut self,
        shared: &Shared,
        key: Prefix4,
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        self.clear_bits(shared, (widened(key.net()), key.len()), cover, dead)
    }
}

impl Fib<Prefix6> for Trie {
    fn set(
        &mut self,
        shared: &Shared,
        key: Prefix6,
        id: NextHopId,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        self.set_bits(shared, (key.net(), key.len()), id, dead)
    }

    fn clear(
        &mut self,
        shared: &Shared,
        key: Prefix6,
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        self.clear_bits(shared, (key.net(), key.len()), cover, dead)
    }
}

/// One table, both families.
#[derive(Debug)]
pub(super) struct PolicyTable {
    pub(super) v4: Table<Prefix4, Trie>,
    pub(super) v6: Table<Prefix6, Trie>,
}

impl PolicyTable {
    /// The table at place `index`, whose tries are in `shared`.
    pub(super) fn new(index: usize, size: TableSize, shared: &Shared) -> Option<Self> {
        let trie = |half: usize| {
            let place = index * 2 + half;
            // The main table's trie is 0.
            let writer = Fib6Writer::new(shared.tries.get(place)?).numbered(place as u8 + 1);
            Some(Trie { place, writer })
        };
        Some(PolicyTable { v4: Table::new(trie(0)?, size.routes4), v6: Table::new(trie(1)?, size.routes6) })
    }

    /// The IPv4 trie (0) or the IPv6 trie (1).
    pub(super) fn trie(&mut self, half: usize) -> &mut Fib6Writer {
        if half == 0 { &mut self.v4.fib.writer } else { &mut self.v6.fib.writer }
    }

    pub(super) fn missing(&self) -> usize {
        self.v4.missing + self.v6.missing
    }

    pub(super) fn len(&self) -> (usize, usize) {
        (self.v4.count, self.v6.count)
    }
}
