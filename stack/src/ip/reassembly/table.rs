//! The datagrams that are being put together, all bounded: by memory, by source, and by time.
//!
//! ```text
//!   key ──hash──> bucket ──> datagram ──> datagram      at most 16 in a bucket
//!   age     oldest <─> ... <─> newest                   one list for each family: its times are its own
//!   source  oldest <─> ... <─> newest                   one list for each place of a keyed hash of sources
//! ```
//!
//! Who finds no memory takes it from the oldest datagram of all, and who has used up the share of its source from
//! the oldest of that source. The oldest, because whole datagrams take milliseconds to arrive: what has waited
//! longest is what will never be whole.
//!
//! A datagram that was given up (an overlap, say) stays as a mark without memory until its time is over, so
//! that what is left of it ends too (RFC 5722 section 3).
//!
//! Invariants
//! 1. A slot is free, or in one bucket, one age list and one source list.
//! 2. A datagram that is given up holds no blocks.

use super::ReassemblyConfig;
use super::datagram::{Judgement, Pieces, Place, Units};
use super::store::{Blocks, HEAD, MAX_BLOCKS, NONE, Store};
use crate::ethernet::LinkCast;
use crate::frame::Frame;
use crate::hash::{hash2, hash4};
use crate::limits::{
    MAX_REASSEMBLY_CHAIN, MAX_REASSEMBLY_MEMORY, MIN_REASSEMBLY_MEMORY, REASSEMBLY_BLOCK,
    REASSEMBLY_SOURCE_SHARE,
};
use crate::port::PortId;
use crate::time::Instant;
use crate::verdict::DropReason;

/// Places that sources share by hash: a power of two.
const SOURCES: usize = 1024;

/// What makes fragments one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Source and destination; an IPv4 pair in the first word.
    pub(super) addresses: [u64; 4],
    /// Identification; for IPv4 the protocol; for link-local addresses the port: each link has the same ones.
    pub(super) identity: u64,
    pub(super) ipv6: bool,
}

impl Key {
    fn hash(&self, key: [u64; 2]) -> u64 {
        let [a, b, c, d] = self.addresses;
        hash4([a ^ self.identity.rotate_left(23), b, c ^ self.identity, d ^ u64::from(self.ipv6)], key)
    }

    /// The place of its source: an IPv4 address, or the /64 of an IPv6 address, which one host can have whole.
    fn source(&self, key: [u64; 2]) -> usize {
        let source = if self.ipv6 { self.addresses[0] } else { self.addresses[0] >> 32 };
        hash2(source, u64::from(self.ipv6), key) as usize % SOURCES
    }
}

/// A fragment, as its header describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment {
    pub(super) key: Key,
    pub(super) place: Place,
    /// Bytes in front of the payload: what is kept of fragment zero.
    pub(super) header_len: usize,
    /// Congestion field, 0 to 3.
    pub(super) mark: u8,
    pub(super) port: PortId,
    pub(super) cast: LinkCast,
}

/// What is remembered of fragment zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    pub(super) header_len: usize,
    /// Bytes of its payload.
    pub(super) len: usize,
    pub(super) port: PortId,
    pub(super) cast: LinkCast,
}

/// What became of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It waits for the others.
    Waits,
    /// It was the last one missing: the datagram in this slot is whole. To be read, then released.
    Whole(u32),
    /// It ended, and perhaps its datagram with it.
    Ended(DropReason, Lost),
}

/// Whether a datagram was lost with a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Nothing,
    Datagram,
}

/// Neighbours in a list.
#[derive(Debug, Clone, Copy)]
struct Links {
    older: u32,
    newer: u32,
}

const APART: Links = Links { older: NONE, newer: NONE };

/// The ends of a list.
#[derive(Debug, Clone, Copy)]
struct Ends {
    oldest: u32,
    newest: u32,
}

const EMPTY: Ends = Ends { oldest: NONE, newest: NONE };

/// Which of the two lists of a datagram.
#[derive(Debug, Clone, Copy)]
enum By {
    Age,
    Source,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram {
    pub(super) key: Key,
    next_in_bucket: u32,
    by: [Links; 2],
    source: u32,
    pub(super) deadline: Instant,
    blocks: Blocks,
    held: u32,
    pub(super) pieces: Pieces,
    first: Option<First>,
    /// A fragment of it came by link-layer broadcast or multicast.
    group: bool,
    pub(super) given_up: bool,
}

/// What one source has.
#[derive(Debug, Clone, Copy)]
struct Source {
    ends: Ends,
    blocks: u32,
    datagrams: u32,
}

/// A datagram whose time is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expired {
    pub(super) slot: u32,
    pub(super) ipv6: bool,
    /// It was given up before, and counted then.
    pub(super) given_up: bool,
    pub(super) first: Option<First>,
}

/// The table of one worker.
#[derive(Debug)]
pub struct Reassembly {
    store: Store,
    slots: Vec<Datagram>,
    units: Vec<Units>,
    free: Vec<u32>,
    buckets: Vec<u32>,
    ages: [Ends; 2],
    sources: Vec<Source>,
    lifetimes: [core::time::Duration; 2],
    key: [u64; 2],
    deadline: Instant,
    evicted: u64,
}

impl Reassembly {
    /// An empty table. Memory beyond what [`crate::limits`] allows is taken for the bound. `key` is random and secret.
    pub(crate) fn new(config: &ReassemblyConfig, key: [u64; 2]) -> Reassembly {
        let memory = config.memory.clamp(MIN_REASSEMBLY_MEMORY, MAX_REASSEMBLY_MEMORY);
        let blocks = memory / REASSEMBLY_BLOCK;
        // Two blocks for the common datagram (a full fragment and a rest).
        let datagrams = blocks / 2;
        Reassembly {
            store: Store::new(blocks),
            slots: Vec::with_capacity(datagrams),
            units: vec![[0; 128]; datagrams],
            free: (0..datagrams as u32).rev().collect(),
            buckets: vec![NONE; (datagrams * 2).next_power_of_two()],
            ages: [EMPTY; 2],
            sources: vec![Source { ends: EMPTY, blocks: 0, datagrams: 0 }; SOURCES],
            lifetimes: [config.lifetime_ipv4, config.lifetime_ipv6],
            key,
            deadline: Instant::NEVER,
            evicted: 0,
        }
    }

    /// Datagrams that wait for the rest of them, those that were given up among them.
    pub fn len(&self) -> usize {
        self.units.len() - self.free.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that they hold, in whole blocks.
    pub fn memory(&self) -> usize {
        (self.store.size() - self.store.free()) * REASSEMBLY_BLOCK
    }

    /// Bytes of memory that there are for them.
    pub fn size(&self) -> usize {
        self.store.size() * REASSEMBLY_BLOCK
    }

    /// The datagrams that wait, the oldest of each family first.
    pub(super) fn by_age(&self) -> impl Iterator<Item = &Datagram> {
        let get = |slot: u32| self.slots.get(slot as usize).filter(|_| slot != NONE);
        self.ages.into_iter().flat_map(move |ends| {
            core::iter::successors(get(ends.oldest), move |one| get(one.by[By::Age as usize].newer))
        })
    }

    /// When the next datagram's time is over.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Instant {
        self.deadline
    }

    /// Datagrams that had to make room since this was last asked.
    pub(super) fn take_evicted(&mut self) -> u64 {
        core::mem::take(&mut self.evicted)
    }

    /// Takes a fragment, whose packet is `frame`. Its payload is copied: the frame is free again.
    pub(super) fn take(&mut self, now: Instant, fragment: &Fragment, frame: &impl Frame) -> Outcome {
        let bucket = fragment.key.hash(self.key) as usize % self.buckets.len();
        let (found, chain) = self.find(bucket, &fragment.key);
        let slot = match found {
            Some(slot) => slot,
            None if chain >= MAX_REASSEMBLY_CHAIN => {
                return Outcome::Ended(DropReason::ReassemblyFull, Lost::Datagram);
            }
            None => match self.begin(now, bucket, fragment.key) {
                Some(slot) => slot,
                None => return Outcome::Ended(DropReason::ReassemblyFull, Lost::Datagram),
            },
        };
        let one = &self.slots[slot as usize];
        if one.given_up {
            return Outcome::Ended(DropReason::FragmentDropped, Lost::Nothing);
        }
        match one.pieces.judge(&self.units[slot as usize], &fragment.place) {
            Judgement::Take => {}
            Judgement::Compare if self.is_here(slot, fragment, frame) => {
                return Outcome::Ended(DropReason::FragmentDuplicate, Lost::Nothing);
            }
            Judgement::Compare | Judgement::Contradicts => {
                self.give_up(slot);
                return Outcome::Ended(DropReason::FragmentOverlap, Lost::Datagram);
            }
            Judgement::TooMany => {
                self.give_up(slot);
                return Outcome::Ended(DropReason::ReassemblyFull, Lost::Datagram);
            }
        }
        if !self.make_room(slot, &fragment.place) {
            self.give_up(slot);
            return Outcome::Ended(DropReason::ReassemblyFull, Lost::Datagram);
        }
        self.write(slot, fragment, frame);
        if self.slots[slot as usize].pieces.complete().is_some() {
            Outcome::Whole(slot)
        } else {
            Outcome::Waits
        }
    }

    /// What is known of fragment zero, which came.
    pub(super) fn first(&self, slot: u32) -> Option<First> {
        self.slots[slot as usize].first
    }

    /// Of a datagram that is whole: the length of its payload; whether it must carry the mark of congestion; whether
    /// it came by link-layer broadcast or multicast. `None`: packets of senders that do and do not speak ECN were
    /// mixed (RFC 3168 section 5.3).
    pub(super) fn whole(&self, slot: u32) -> Option<(usize, bool, bool)> {
        let one = &self.slots[slot as usize];
        Some((one.pieces.complete()?, one.pieces.congestion().ok()?, one.group))
    }

    /// Copies what stands in front of the payload and `into.len() - before` bytes of it; returns how many there were.
    pub(super) fn copy_out(&self, slot: u32, before: usize, into: &mut [u8]) -> usize {
        self.store.copy_out(&self.slots[slot as usize].blocks, HEAD - before.min(HEAD), into)
    }

    /// Bytes of the payload from `offset` on, at most `len`, as many as lie together.
    pub(super) fn payload(&self, slot: u32, offset: usize, len: usize) -> &[u8] {
        self.store.read(&self.slots[slot as usize].blocks, HEAD + offset, len)
    }

    /// The next datagram whose time is over. To be read, then released.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Expired> {
        for ends in self.ages {
            if let Some(one) = self.slots.get(ends.oldest as usize).filter(|_| ends.oldest != NONE)
                && one.deadline <= now
            {
                let Datagram { key, given_up, first, .. } = *one;
                return Some(Expired { slot: ends.oldest, ipv6: key.ipv6, given_up, first });
            }
        }
        None
    }

    /// Forgets a datagram and gives its memory back.
    pub(super) fn release(&mut self, slot: u32) {
        self.drop_blocks(slot);
        let Datagram { key, source, .. } = self.slots[slot as usize];
        let bucket = key.hash(self.key) as usize % self.buckets.len();
        let next = self.slots[slot as usize].next_in_bucket;
        let mut at = self.buckets[bucket];
        if at == slot {
            self.buckets[bucket] = next;
        }
        while at != NONE {
            let one = &mut self.slots[at as usize];
            at = one.next_in_bucket;
            if at == slot {
                one.next_in_bucket = next;
            }
        }
        self.unlink(By::Age, slot);
        self.unlink(By::Source, slot);
        self.sources[source as usize].datagrams -= 1;
        self.free.push(slot);
        self.set_deadline();
    }

    fn find(&self, bucket: usize, key: &Key) -> (Option<u32>, usize) {
        let (mut at, mut count) = (self.buckets[bucket], 0);
        while at != NONE {
            let one = &self.slots[at as usize];
            if one.key == *key {
                return (Some(at), count);
            }
            count += 1;
            at = one.next_in_bucket;
        }
        (None, count)
    }

    /// A slot for a new datagram.
    fn begin(&mut self, now: Instant, bucket: usize, key: Key) -> Option<u32> {
        let source = key.source(self.key);
        if self.sources[source].datagrams as usize >= self.units.len() / REASSEMBLY_SOURCE_SHARE {
            self.evict(self.sources[source].ends.oldest);
        }
        if self.free.is_empty() {
            self.evict(self.oldest(NONE)?);
        }
        let slot = self.free.pop()?;
        let one = Datagram {
            key,
            next_in_bucket: self.buckets[bucket],
            by: [APART; 2],
            source: source as u32,
            deadline: now + self.lifetimes[usize::from(key.ipv6)],
            blocks: [NONE; MAX_BLOCKS],
            held: 0,
            pieces: Pieces::default(),
            first: None,
            group: false,
            given_up: false,
        };
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = one,
            // Slots are used from the lowest on, so a new one is the next; the room is reserved.
            None => self.slots.push(one),
        }
        self.units[slot as usize] = [0; 128];
        self.buckets[bucket] = slot;
        self.link(By::Age, slot);
        self.link(By::Source, slot);
        self.sources[source].datagrams += 1;
        self.set_deadline();
        Some(slot)
    }

    /// The blocks for a piece, if need be at the cost of older datagrams.
    fn make_room(&mut self, slot: u32, place: &Place) -> bool {
        let share = self.store.size() / REASSEMBLY_SOURCE_SHARE;
        let source = self.slots[slot as usize].source as usize;
        let missing = Store::missing(&self.slots[slot as usize].blocks, place);
        while self.sources[source].blocks as usize + missing > share {
            let oldest = self.first_but(By::Source, self.sources[source].ends.oldest, slot);
            if oldest == NONE {
                return false;
            }
            self.evict(oldest);
        }
        while self.store.free() < missing {
            match self.oldest(slot) {
                Some(oldest) => self.evict(oldest),
                None => return false,
            }
        }
        let one = &mut self.slots[slot as usize];
        let taken = self.store.take(&mut one.blocks, place);
        one.held += missing as u32;
        self.sources[source].blocks += missing as u32;
        taken
    }

    /// The oldest datagram of both families, other than this one.
    fn oldest(&self, but: u32) -> Option<u32> {
        let candidates = self.ages.map(|ends| self.first_but(By::Age, ends.oldest, but));
        // What has the same lifetime behind it as ahead of it is as old: deadlines are compared less lifetimes.
        candidates.into_iter().filter(|slot| *slot != NONE).min_by_key(|slot| {
            let one = &self.slots[*slot as usize];
            one.deadline - self.lifetimes[usize::from(one.key.ipv6)]
        })
    }

    /// The first of a list from `at` on that is not `but`. Those that were given up hold nothing, but make way too:
    /// each is looked at once, then gone.
    fn first_but(&self, by: By, at: u32, but: u32) -> u32 {
        if at == but && at != NONE { self.slots[at as usize].by[by as usize].newer } else { at }
    }

    fn evict(&mut self, slot: u32) {
        if slot != NONE {
            if !self.slots[slot as usize].given_up {
                self.evicted += 1;
            }
            self.release(slot);
        }
    }

    fn give_up(&mut self, slot: u32) {
        self.drop_blocks(slot);
        let one = &mut self.slots[slot as usize];
        one.given_up = true;
        one.first = None;
    }

    fn drop_blocks(&mut self, slot: u32) {
        let one = &mut self.slots[slot as usize];
        self.store.give_back(&mut one.blocks);
        self.sources[one.source as usize].blocks -= one.held;
        one.held = 0;
    }

    /// True when every byte of a fragment's payload is here already, as it is.
    fn is_here(&self, slot: u32, fragment: &Fragment, frame: &impl Frame) -> bool {
        let blocks = &self.slots[slot as usize].blocks;
        let mut at = HEAD + fragment.place.offset;
        payload_of(frame, fragment.header_len).all(|bytes| {
            let same = self.store.holds(blocks, at, bytes);
            at += bytes.len();
            same
        })
    }

    fn write(&mut self, slot: u32, fragment: &Fragment, frame: &impl Frame) {
        let Fragment { place, header_len, mark, port, cast, .. } = *fragment;
        let one = &mut self.slots[slot as usize];
        let mut at = HEAD + place.offset;
        for bytes in payload_of(frame, header_len) {
            self.store.write(&one.blocks, at, bytes);
            at += bytes.len();
        }
        one.group |= cast == LinkCast::Group;
        one.pieces.take(&mut self.units[slot as usize], &place, mark);
        if place.offset == 0 {
            let header = frame.get(..header_len).unwrap_or_default();
            self.store.write(&one.blocks, HEAD - header.len().min(HEAD), header);
            one.first = Some(First { header_len, len: place.len, port, cast });
        }
    }

    fn ends(&mut self, by: By, slot: u32) -> &mut Ends {
        let one = &self.slots[slot as usize];
        match by {
            By::Age => &mut self.ages[usize::from(one.key.ipv6)],
            By::Source => &mut self.sources[one.source as usize].ends,
        }
    }

    fn link(&mut self, by: By, slot: u32) {
        let ends = self.ends(by, slot);
        let newest = core::mem::replace(&mut ends.newest, slot);
        if newest == NONE {
            ends.oldest = slot;
        } else {
            self.slots[newest as usize].by[by as usize].newer = slot;
        }
        self.slots[slot as usize].by[by as usize] = Links { older: newest, newer: NONE };
    }

    fn unlink(&mut self, by: By, slot: u32) {
        let Links { older, newer } = self.slots[slot as usize].by[by as usize];
        if older == NONE {
            self.ends(by, slot).oldest = newer;
        } else {
            self.slots[older as usize].by[by as usize].newer = newer;
        }
        if newer == NONE {
            self.ends(by, slot).newest = older;
        } else {
            self.slots[newer as usize].by[by as usize].older = older;
        }
    }

    fn set_deadline(&mut self) {
        let deadline = |ends: Ends| match self.slots.get(ends.oldest as usize) {
            Some(one) if ends.oldest != NONE => one.deadline,
            _ => Instant::NEVER,
        };
        let [one, other] = self.ages.map(deadline);
        self.deadline = one.min(other);
    }

    /// Everything that must be true between calls; for tests and fuzzers. It panics when it is not.
    pub fn check(&self) {
        let mut blocks = 0;
        let mut listed = 0;
        for ends in self.ages {
            let (mut at, mut before) = (ends.oldest, NONE);
            while at != NONE {
                let one = &self.slots[at as usize];
                assert_eq!(one.by[By::Age as usize].older, before, "the list is linked both ways");
                let held = one.blocks.iter().filter(|block| **block != NONE).count();
                assert_eq!(held, one.held as usize);
                assert!(!one.given_up || held == 0, "invariant 2");
                let bucket = one.key.hash(self.key) as usize % self.buckets.len();
                assert_eq!(self.find(bucket, &one.key).0, Some(at), "invariant 1");
                blocks += held;
                listed += 1;
                (before, at) = (at, one.by[By::Age as usize].newer);
            }
            assert_eq!(ends.newest, before);
        }
        assert_eq!(listed, self.len(), "invariant 1");
        assert_eq!(blocks + self.store.free(), self.store.size(), "no block is lost");
        let share = self.store.size() / REASSEMBLY_SOURCE_SHARE;
        assert!(
            self.sources.iter().all(|source| source.blocks as usize <= share),
            "nobody has more than a share"
        );
        assert_eq!(self.sources.iter().map(|source| source.blocks as usize).sum::<usize>(), blocks);
        assert_eq!(self.sources.iter().map(|source| source.datagrams as usize).sum::<usize>(), listed);
    }
}

/// The payload of a packet behind `skip` bytes of its first segment.
fn payload_of<F: Frame>(frame: &F, skip: usize) -> impl Iterator<Item = &[u8]> {
    (0..).map_while(move |index| {
        let segment = frame.segment(index)?;
        Some(if index == 0 { segment.get(skip..).unwrap_or_default() } else { segment })
    })
}
