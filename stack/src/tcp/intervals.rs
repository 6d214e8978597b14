//! What a connection received out of order: ranges of sequence numbers beyond the next one expected. The bytes
//! themselves are in the ring already.
//!
//! ```text
//!        rcv_nxt                                             nodes, in order of sequence:
//!   ─────────┤ hole ├── 1 ──┤ hole ├──── 2 ────┤             first ─> 1 ─> 2
//!                                      ^ recent: the last that changed; a segment behind another one of the same
//!                                        flight finds its place there at once
//! ```
//!
//! Each change stamps the range with a counter, so SACK blocks can be reported with the latest first (RFC 2018
//! section 4). What came twice is reported once as D-SACK (RFC 2883); the caller passes it on with the next
//! acknowledgement.
//!
//! Ranges are nodes of a pool that all connections of a worker share; a connection without holes holds none
//! and costs 16 bytes.
//!
//! Invariants
//! 1. Ranges are not empty, stand in order, and neither overlap nor touch; there are at most
//!    [`MAX_INTERVALS`].
//! 2. All lie within 2^31 of each other (the window is at most 2^30), so that `before` is an order.
//! 3. As with buffers: whoever ends a connection calls [`Intervals::clear`].

use super::seq::Seq;
use crate::limits::MAX_INTERVALS;
use crate::socket::zeroed::Zeroed;
use zerocopy::FromZeros;

/// The ranges of one worker's connections: nodes of 16 bytes.
#[derive(Debug)]
pub struct IntervalPool {
    nodes: Zeroed<Node>,
    /// The first free one of those that were used, as id; 0 when there is none.
    free: u32,
    touched: u32,
    in_use: u32,
}

/// One range, or a free place.
#[derive(Debug, Clone, Copy, FromZeros)]
struct Node {
    start: u32,
    end: u32,
    stamp: u32,
    /// The id (place + 1) of the next one; 0 when it is the last.
    next: u32,
}

impl Node {
    const fn start(self) -> Seq {
        Seq(self.start)
    }

    const fn end(self) -> Seq {
        Seq(self.end)
    }
}

impl IntervalPool {
    /// A pool of so many ranges.
    pub fn new(ranges: usize) -> Self {
        IntervalPool { nodes: Zeroed::new(ranges.min(u32::MAX as usize - 1)), free: 0, touched: 0, in_use: 0 }
    }

    /// Ranges that can be had.
    pub fn available(&self) -> usize {
        self.capacity() - self.in_use as usize
    }

    /// All ranges.
    pub fn capacity(&self) -> usize {
        self.nodes.get().len()
    }

    fn get(&self, id: u32) -> Option<Node> {
        self.nodes.get().get(id.wrapping_sub(1) as usize).copied()
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Node> {
        self.nodes.get_mut().get_mut(id.wrapping_sub(1) as usize)
    }

    fn take(&mut self, node: Node) -> Option<u32> {
        let id = match self.get(self.free) {
            Some(free) => core::mem::replace(&mut self.free, free.next),
            None if (self.touched as usize) < self.capacity() => {
                self.touched += 1;
                self.touched
            }
            None => return None,
        };
        self.in_use += 1;
        *self.get_mut(id)? = node;
        Some(id)
    }

    /// Frees a node; returns the one behind it.
    fn give(&mut self, id: u32) -> u32 {
        let free = self.free;
        let Some(node) = self.get_mut(id) else {
            return 0;
        };
        let next = core::mem::replace(&mut node.next, free);
        self.free = id;
        self.in_use -= 1;
        next
    }
}

/// The ranges of one connection.
#[derive(Debug, Default)]
pub struct Intervals {
    first: u32,
    recent: u32,
    stamp: u32,
    count: u8,
}

/// What became of a range that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is remembered, as part of `whole`. `duplicate` is the first piece of it that was there before, for D-SACK.
    Kept {
        /// The range that now contains it.
        whole: (Seq, Seq),
        /// What had been received before.
        duplicate: Option<(Seq, Seq)>,
    },
    /// No room for one more range, in this connection or in the pool: the segment counts as not received.
    Full,
}

impl Intervals {
    /// No ranges.
    pub const fn new() -> Self {
        Intervals { first: 0, recent: 0, stamp: 0, count: 0 }
    }

    /// How many ranges there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// True without holes.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Remembers that `start..end` was received; it is not empty, begins behind the next sequence number expected,
    /// and ends within the window.
    pub fn insert(&mut self, pool: &mut IntervalPool, start: Seq, end: Seq) -> Inserted {
        debug_assert!(start.before(end));
        // The last range that begins at or before the new one, and the first that begins behind it.
        let mut before = match pool.get(self.recent) {
            Some(recent) if recent.start().at_or_before(start) => self.recent,
            _ => 0,
        };
        let mut next = pool.get(before).map_or(self.first, |node| node.next);
        while let Some(node) = pool.get(next).filter(|node| node.start().at_or_before(start)) {
            before = next;
            next = node.next;
        }
        self.stamp = self.stamp.wrapping_add(1);
        let mut duplicate = None;
        let (id, mut whole) = match pool.get(before) {
            Some(node) if node.end().at_or_after(start) => {
                if node.end().after(start) {
                    duplicate = Some((start, node.end().min(end)));
                }
                (before, (node.start(), node.end().max(end)))
            }
            _ => match self.take_between(pool, before, next, (start, end)) {
                Some(id) => (id, (start, end)),
                None => return self.insert_in_full(pool, before, next, (start, end)),
            },
        };
        // Those that the new one reaches become part of it.
        while let Some(node) = pool.get(next).filter(|node| node.start().at_or_before(whole.1)) {
            if node.start().before(end) && duplicate.is_none() {
                duplicate = Some((node.start(), node.end().min(end)));
            }
            whole.1 = whole.1.max(node.end());
            next = pool.give(next);
            self.count -= 1;
        }
        self.set(pool, id, whole, next);
        Inserted::Kept { whole, duplicate }
    }

    /// A new node between two.
    fn take_between(
        &mut self,
        pool: &mut IntervalPool,
        before: u32,
        next: u32,
        (start, end): (Seq, Seq),
    ) -> Option<u32> {
        if self.len() == MAX_INTERVALS {
            return None;
        }
        let id = pool.take(Node { start: start.0, end: end.0, stamp: self.stamp, next })?;
        match pool.get_mut(before) {
            Some(before) => before.next = id,
            None => self.first = id,
        }
        self.count += 1;
        Some(id)
    }

    /// No node for a new range: it can still become part of the one behind it.
    fn insert_in_full(
        &mut self,
        pool: &mut IntervalPool,
        before: u32,
        next: u32,
        (start, end): (Seq, Seq),
    ) -> Inserted {
        let Some(node) = pool.get(next).filter(|node| node.start().at_or_before(end)) else {
            return Inserted::Full;
        };
        debug_assert!(pool.get(before).is_none_or(|before| before.end().before(start)));
        self.set(pool, next, (start, node.end()), node.next);
        // What is left is to extend a range that begins where the new one does, and that needs no node.
        match self.insert(pool, node.start(), end.max(node.end())) {
            Inserted::Kept { whole, .. } => {
                let duplicate = (node.start(), node.end().min(end));
                Inserted::Kept { whole, duplicate: duplicate.0.before(duplicate.1).then_some(duplicate) }
            }
            Inserted::Full => Inserted::Full,
        }
    }

    fn set(&mut self, pool: &mut IntervalPool, id: u32, (start, end): (Seq, Seq), next: u32) {
        if let Some(node) = pool.get_mut(id) {
            *node = Node { start: start.0, end: end.0, stamp: self.stamp, next };
        }
        self.recent = id;
    }

    /// Everything up to `next` was received in order: forgets the ranges that this reaches, and returns the end of
    /// the last of them, or `next` itself. That is the next sequence number expected.
    #[inline]
    pub fn advance(&mut self, pool: &mut IntervalPool, next: Seq) -> Seq {
        let mut expected = next;
        while let Some(node) = pool.get(self.first).filter(|node| node.start().at_or_before(expected)) {
            expected = expected.max(node.end());
            if self.recent == self.first {
                self.recent = 0;
            }
            self.first = pool.give(self.first);
            self.count -= 1;
        }
        expected
    }

    /// Up to `out.len()` ranges, the one that changed last first (RFC 2018 section 4); returns how many.
    pub fn latest(&self, pool: &IntervalPool, out: &mut [(Seq, Seq)]) -> usize {
        // Ages, beside `out`: how long ago each was stamped.
        let mut ages = [u32::MAX; 4];
        let room = out.len().min(ages.len());
        let mut count = 0;
        for node in self.nodes(pool) {
            let age = self.stamp.wrapping_sub(node.stamp);
            let place = ages[..count].iter().position(|&other| age < other).unwrap_or(count);
            if place >= room {
                continue;
            }
            count = (count + 1).min(room);
            ages[place..count].rotate_right(1);
            out[place..count].rotate_right(1);
            ages[place] = age;
            out[place] = (node.start(), node.end());
        }
        count
    }

    /// The ranges in the order of their sequence numbers.
    pub fn iter(&self, pool: &IntervalPool) -> impl Iterator<Item = (Seq, Seq)> {
        self.nodes(pool).map(|node| (node.start(), node.end()))
    }

    /// Where the furthest range ends.
    pub fn end(&self, pool: &IntervalPool) -> Option<Seq> {
        self.nodes(pool).last().map(Node::end)
    }

    /// True when some of `start..end` was received.
    pub fn overlaps(&self, pool: &IntervalPool, start: Seq, end: Seq) -> bool {
        self.nodes(pool).any(|node| node.start().before(end) && start.before(node.end()))
    }

    /// Forgets all ranges.
    pub fn clear(&mut self, pool: &mut IntervalPool) {
        while self.first != 0 {
            self.first = pool.give(self.first);
        }
        *self = Intervals::new();
    }

    fn nodes(&self, pool: &IntervalPool) -> impl Iterator<Item = Node> {
        core::iter::successors(pool.get(self.first), |node| pool.get(node.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn kept(inserted: Inserted) -> (Seq, Seq) {
        match inserted {
            Inserted::Kept { whole, .. } => whole,
            Inserted::Full => panic!("full"),
        }
    }

    fn range(start: u32, end: u32) -> (Seq, Seq) {
        (Seq(start), Seq(end))
    }

    #[test]
    fn a_connection_pays_sixteen_bytes_and_a_range_sixteen() {
        assert_eq!((size_of::<Intervals>(), size_of::<Node>()), (16, 16));
    }

    /// The example of RFC 2018 section 4: segments of 500 bytes, of which the first of eight, and then the second,
    /// fourth, sixth and eighth are lost.
    #[test]
    fn the_latest_range_is_reported_first() {
        let (mut pool, mut intervals) = (IntervalPool::new(8), Intervals::new());
        for start in [5500, 6500, 7500, 8500] {
            intervals.insert(&mut pool, Seq(start), Seq(start + 500));
        }
        let mut blocks = [range(0, 0); 3];
        assert_eq!(intervals.latest(&pool, &mut blocks), 3);
        assert_eq!(blocks, [range(8500, 9000), range(7500, 8000), range(6500, 7000)]);
        // The fourth packet is received at last: its range is the latest now, with its neighbours.
        assert_eq!(kept(intervals.insert(&mut pool, Seq(6000), Seq(6500))), range(5500, 7000));
        assert_eq!(intervals.latest(&pool, &mut blocks), 3);
        assert_eq!(blocks, [range(5500, 7000), range(8500, 9000), range(7500, 8000)]);
        // The second one: everything up to there is in order.
        assert_eq!(intervals.advance(&mut pool, Seq(5500)), Seq(7000));
        assert_eq!((intervals.latest(&pool, &mut blocks), pool.available()), (2, 6));
    }

    #[test]
    fn what_came_twice_is_reported_once_and_first() {
        let (mut pool, mut intervals) = (IntervalPool::new(8), Intervals::new());
        intervals.insert(&mut pool, Seq(100), Seq(200));
        intervals.insert(&mut pool, Seq(300), Seq(400));
        let again = intervals.insert(&mut pool, Seq(100), Seq(200));
        assert_eq!(again, Inserted::Kept { whole: range(100, 200), duplicate: Some(range(100, 200)) });
        let over = intervals.insert(&mut pool, Seq(150), Seq(350));
        assert_eq!(over, Inserted::Kept { whole: range(100, 400), duplicate: Some(range(150, 200)) });
        let before = intervals.insert(&mut pool, Seq(50), Seq(120));
        assert_eq!(before, Inserted::Kept { whole: range(50, 400), duplicate: Some(range(100, 120)) });
        let touching = intervals.insert(&mut pool, Seq(400), Seq(500));
        assert_eq!(touching, Inserted::Kept { whole: range(50, 500), duplicate: None });
    }

    #[test]
    fn one_range_too_many_is_refused_but_what_extends_another_is_not() {
        let (mut pool, mut intervals) = (IntervalPool::new(1000), Intervals::new());
        for n in 0..MAX_INTERVALS as u32 {
            kept(intervals.insert(&mut pool, Seq(1000 + n * 100), Seq(1050 + n * 100)));
        }
        assert_eq!(intervals.insert(&mut pool, Seq(100), Seq(150)), Inserted::Full);
        assert_eq!(kept(intervals.insert(&mut pool, Seq(1050), Seq(1060))), range(1000, 1060));
        assert_eq!(kept(intervals.insert(&mut pool, Seq(990), Seq(1000))), range(990, 1060));
        let across = intervals.insert(&mut pool, Seq(980), Seq(1220));
        assert_eq!(across, Inserted::Kept { whole: range(980, 1250), duplicate: Some(range(990, 1060)) });
        assert_eq!(intervals.len(), MAX_INTERVALS - 2);
        intervals.clear(&mut pool);
        assert_eq!(pool.available(), 1000);
    }

    #[test]
    fn an_empty_pool_refuses_one_connection_and_spares_the_other() {
        let mut pool = IntervalPool::new(1);
        let (mut first, mut second) = (Intervals::new(), Intervals::new());
        kept(first.insert(&mut pool, Seq(10), Seq(20)));
        assert_eq!(second.insert(&mut pool, Seq(10), Seq(20)), Inserted::Full);
        assert!(second.is_empty());
        assert_eq!(kept(first.insert(&mut pool, Seq(5), Seq(30))), range(5, 30));
        assert_eq!(first.advance(&mut pool, Seq(5)), Seq(30));
        kept(second.insert(&mut pool, Seq(10), Seq(20)));
        assert_eq!(second.end(&pool), Some(Seq(20)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The model is the set of all bytes received, each as its distance from where the stream began.
        #[test]
        fn it_does_what_a_set_of_bytes_does(
            steps in proptest::collection::vec((0u8..8, 1u32..400, 1u32..60), 1..150),
            origin in prop_oneof![any::<u32>(), Just(u32::MAX - 200)],
            room in prop_oneof![Just(1000usize), 0usize..12],
        ) {
            let (mut pool, mut intervals) = (IntervalPool::new(room), Intervals::new());
            let mut bytes: BTreeSet<u32> = BTreeSet::new();
            let mut order: Vec<u32> = Vec::new(); // a byte of each insertion, the latest last
            let mut expected = 0u32;
            for (kind, ahead, len) in steps {
                if kind == 0 {
                    let next = expected + len;
                    let mut model = next;
                    while bytes.contains(&model) {
                        model += 1;
                    }
                    prop_assert_eq!(intervals.advance(&mut pool, Seq(origin) + next), Seq(origin) + model);
                    expected = model;
                    bytes = bytes.split_off(&model);
                } else {
                    let (start, end) = (expected + ahead, expected + ahead + len);
                    let was = bytes.range(start..end).next().copied();
                    let touches = bytes.range(start - 1..=end).next().is_some();
                    prop_assert_eq!(intervals.overlaps(&pool, Seq(origin) + start, Seq(origin) + end), was.is_some());
                    match intervals.insert(&mut pool, Seq(origin) + start, Seq(origin) + end) {
                        Inserted::Full => {
                            prop_assert!(!touches);
                            prop_assert!(pool.available() == 0 || intervals.len() == MAX_INTERVALS);
                        }
                        Inserted::Kept { whole, duplicate } => {
                            let first = was.map(|first| {
                                let last = (first..end).take_while(|byte| bytes.contains(byte)).last().unwrap();
                                (Seq(origin) + first, Seq(origin) + last + 1)
                            });
                            prop_assert_eq!(duplicate, first);
                            bytes.extend(start..end);
                            order.push(start);
                            prop_assert!(bytes.contains(&(whole.0.since(Seq(origin)))));
                        }
                    }
                }
                // The ranges are the runs of the set.
                let mut runs: Vec<(u32, u32)> = Vec::new();
                for &byte in &bytes {
                    match runs.last_mut() {
                        Some(run) if run.1 == byte => run.1 += 1,
                        _ => runs.push((byte, byte + 1)),
                    }
                }
                let seqs: Vec<_> = runs.iter().map(|&(a, b)| (Seq(origin) + a, Seq(origin) + b)).collect();
                prop_assert_eq!(intervals.iter(&pool).collect::<Vec<_>>(), seqs.clone());
                prop_assert_eq!((intervals.len(), pool.available()), (runs.len(), room - runs.len()));
                prop_assert_eq!(intervals.end(&pool), seqs.last().map(|run| run.1));
                // The latest first, each once.
                let mut latest: Vec<(Seq, Seq)> = Vec::new();
                for byte in order.iter().rev() {
                    if let Some(n) = runs.iter().position(|run| (run.0..run.1).contains(byte))
                        && !latest.contains(&seqs[n])
                        && latest.len() < 4
                    {
                        latest.push(seqs[n]);
                    }
                }
                let mut out = [(Seq(0), Seq(0)); 4];
                let count = intervals.latest(&pool, &mut out);
                prop_assert_eq!(&out[..count], &latest[..]);
                let mut two = [(Seq(0), Seq(0)); 2];
                prop_assert_eq!(intervals.latest(&pool, &mut two), count.min(2));
                prop_assert_eq!(&two[..count.min(2)], &out[..count.min(2)]);
            }
        }
    }
}
