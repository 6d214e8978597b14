//! The IPv4 forwarding table: DIR-24-8, two loads at most for nearly every destination.
//!
//! ```text
//!   destination  a.b.c.d
//!   top[a.b.c]  ──▶ next hop                        (no prefix longer than /24 lies in a.b.c.0/24)
//!               ──▶ group g ──▶ groups[g][d] ──▶ next hop
//!               ──▶ nothing ──▶ short[a] ──▶ next hop or no route     (so for a group's entry)
//!
//!   entry   31      30   29..24           23..0
//!          ┌───────┬────┬────────────────┬──────────────────────────┐
//!          │ group │ 0  │ prefix length  │ next hop, or group number│
//!          └───────┴────┴────────────────┴──────────────────────────┘
//! ```
//!
//! Prefixes of up to /8 are kept apart in `short`: a default route would otherwise be written into 16 million
//! places, make 64 MiB resident on a router with three routes, and take milliseconds to change. A /9, the
//! worst that is left, is 32,768 stores. The price is a third load, from a table of 1 KiB, for what only a short
//! prefix covers.
//!
//! The length in each entry lets a shorter prefix pass under a longer one without asking the RIB; when a prefix
//! goes, the RIB names the next shorter one that takes its entries over.

use crate::route::next_hop::NextHopId;
use crate::route::publish::{Dead, Graveyard};
use crate::route::words::{Words, WordsError};
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Entries of the top table: one for each /24. Its memory is 4 bytes times this, 64 MiB.
pub const TOP: usize = 1 << 24;
/// Entries of a group: one for each address of a /24.
pub const GROUP: usize = 256;
/// Prefixes up to this length live in the table of short prefixes.
const SHORT: u8 = 8;

const IS_GROUP: u32 = 1 << 31;
const NUMBER: u32 = (1 << 24) - 1;

/// Entries that are looked up together.
const CHUNK: usize = 64;

/// What readers read.
#[derive(Debug)]
pub struct Fib4 {
    top: Words<AtomicU32>,
    groups: Words<AtomicU32>,
    short: [AtomicU32; 1 << SHORT],
}

impl Fib4 {
    /// An empty table with room for `groups` groups; `top` is memory for [`TOP`] words from outside, if given.
    pub fn new(groups: usize, top: Option<Words<AtomicU32>>) -> Result<Self, WordsError> {
        let top = match top {
            Some(words) if words.len() < TOP => {
                return Err(WordsError::Unfit { have: words.len() * 4, need: TOP * 4 });
            }
            Some(words) => words,
            None => Words::zeroed(TOP)?,
        };
        let groups = Words::zeroed(groups.saturating_mul(GROUP))?;
        Ok(Fib4 { top, groups, short: core::array::from_fn(|_| AtomicU32::new(0)) })
    }

    /// The next hop of the longest prefix that covers `destination`.
    #[inline]
    pub fn lookup(&self, destination: Ipv4Addr) -> NextHopId {
        let mut out = [NextHopId::NONE];
        self.lookup_burst(&[destination], &mut out);
        out[0]
    }

    /// [`Fib4::lookup`] for many. Level by level: all loads from the top table are under way together, then
    /// those from the groups. Loads are Acquire; partner: `store`.
    #[inline]
    pub fn lookup_burst(&self, destinations: &[Ipv4Addr], out: &mut [NextHopId]) {
        let Some(top) = self.top.get().first_chunk::<TOP>() else { return };
        let groups = self.groups.get();
        for (destinations, out) in destinations.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
            let mut more = false;
            for (destination, out) in destinations.iter().zip(out.iter_mut()) {
                let word = top[(destination.to_bits() >> 8) as usize].load(Ordering::Acquire);
                // Most bursts end here: neither a group nor a short prefix.
                more |= word & IS_GROUP != 0 || word == 0;
                *out = NextHopId::from_index(word & (IS_GROUP | NUMBER));
            }
            if !more {
                continue;
            }
            for (destination, out) in destinations.iter().zip(out.iter_mut()) {
                let mut word = out.index();
                if word & IS_GROUP != 0 {
                    let at = (word & NUMBER) as usize * GROUP + (destination.to_bits() & 0xff) as usize;
                    word = groups.get(at).map_or(0, |entry| entry.load(Ordering::Acquire));
                }
                if word & NUMBER == 0 {
                    word = self.short[(destination.to_bits() >> 24) as usize].load(Ordering::Acquire);
                }
                *out = NextHopId::from_index(word & NUMBER);
            }
        }
    }
}

/// No group is left, or is left only after a grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The writer's side: which groups are free.
#[derive(Debug)]
pub(crate) struct Fib4Writer {
    free: Vec<u32>,
    fresh: u32,
    capacity: u32,
}

/// Puts `word` where readers see it. Release: the group or next hop that it names is complete before. Partner:
/// the Acquire loads of [`Fib4::lookup_burst`].
fn store(entry: &AtomicU32, word: u32) {
    entry.store(word, Ordering::Release);
}

/// The writer's own look. Relaxed: only the writer stores.
fn peek(entry: &AtomicU32) -> u32 {
    entry.load(Ordering::Relaxed)
}

fn word(id: NextHopId, len: u8) -> u32 {
    u32::from(len) << 24 | id.index()
}

fn len_of(word: u32) -> u8 {
    (word >> 24 & 0x3f) as u8
}

impl Fib4Writer {
    pub(crate) fn new(fib: &Fib4) -> Self {
        Fib4Writer { free: Vec::new(), fresh: 0, capacity: (fib.groups.len() / GROUP) as u32 }
    }

    pub(crate) fn groups_used(&self) -> u32 {
        self.fresh - self.free.len() as u32
    }

    pub(crate) fn groups(&self) -> u32 {
        self.capacity
    }

    /// A group whose grace period has passed.
    pub(crate) fn reuse(&mut self, group: u32) {
        self.free.push(group);
    }

    /// `net`/`len` leads to `id` from now on, whether or not it was there before. Fails, having changed nothing,
    /// when a group is needed and none is free.
    pub(crate) fn set(&mut self, fib: &Fib4, net: u32, len: u8, id: NextHopId) -> Result<(), Full> {
        let new = word(id, len);
        let cover = |entry: &AtomicU32| {
            if len_of(peek(entry)) <= len {
                store(entry, new);
            }
        };
        if len <= 24 {
            entries(fib, net, len).iter().for_each(|entry| match group_of(fib, entry) {
                Some((_, group)) => group.iter().for_each(cover),
                None => cover(entry),
            });
            return Ok(());
        }
        let [entry] = entries(fib, net, 24) else { return Ok(()) };
        if let Some((_, group)) = group_of(fib, entry) {
            group[span(net, len)].iter().for_each(cover);
            return Ok(());
        }
        let number = self.take()?;
        let group = &fib.groups.get()[number as usize * GROUP..][..GROUP];
        let under = peek(entry);
        // Nobody can reach the group yet, so Relaxed; the Release store of the top entry publishes it.
        group.iter().for_each(|entry| entry.store(under, Ordering::Relaxed));
        group[span(net, len)].iter().for_each(|entry| entry.store(new, Ordering::Relaxed));
        store(entry, IS_GROUP | number);
        Ok(())
    }

    /// `net`/`len` is gone; `cover`, the next shorter prefix and its next hop, takes over what it had.
    pub(crate) fn clear(
        &mut self,
        fib: &Fib4,
        (net, len): (u32, u8),
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) {
        let heir = match cover {
            // In the large tables, "nothing" is what makes a reader ask the table of short prefixes.
            Some((shorter, id)) if shorter > SHORT || len <= SHORT => word(id, shorter),
            _ => 0,
        };
        let uncover = |entry: &AtomicU32| {
            let old = peek(entry);
            if old != 0 && len_of(old) == len {
                store(entry, heir);
            }
        };
        if len <= 24 {
            entries(fib, net, len).iter().for_each(|entry| match group_of(fib, entry) {
                Some((_, group)) => group.iter().for_each(uncover),
                None => uncover(entry),
            });
            return;
        }
        let [entry] = entries(fib, net, 24) else { return };
        if let Some((number, group)) = group_of(fib, entry) {
            group[span(net, len)].iter().for_each(uncover);
            let first = peek(&group[0]);
            if len_of(first) <= 24 && group.iter().all(|entry| peek(entry) == first) {
                store(entry, first);
                dead.push(Dead::Group4(number));
            }
        }
    }

    fn take(&mut self) -> Result<u32, Full> {
        if let Some(number) = self.free.pop() {
            return Ok(number);
        }
        if self.fresh == self.capacity {
            return Err(Full);
        }
        self.fresh += 1;
        Ok(self.fresh - 1)
    }
}

/// The entries of the top table, or of the table of short prefixes, that `net`/`len` spans; `len` is at most 24.
fn entries(fib: &Fib4, net: u32, len: u8) -> &[AtomicU32] {
    let (table, bits) = if len <= SHORT { (&fib.short[..], SHORT) } else { (fib.top.get(), 24) };
    &table[(net >> (32 - bits)) as usize..][..1 << (bits - len)]
}

/// The entries within a group that `net`/`len` spans; `len` is 25 to 32.
fn span(net: u32, len: u8) -> core::ops::Range<usize> {
    let from = (net & 0xff) as usize;
    from..from + (1 << (32 - len))
}

fn group_of<'fib>(fib: &'fib Fib4, entry: &AtomicU32) -> Option<(u32, &'fib [AtomicU32])> {
    let word = peek(entry);
    let number = word & NUMBER;
    (word & IS_GROUP != 0).then(|| (number, &fib.groups.get()[number as usize * GROUP..][..GROUP]))
}
