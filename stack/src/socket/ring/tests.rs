//! The ring against a `VecDeque` of bytes that may be missing, and its edges.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(31) ^ (n >> 8) as u8 ^ seed).collect()
}

/// An empty ring whose first byte has this position.
fn ring_at(head: u32) -> ByteRing {
    ByteRing { head, ..ByteRing::new() }
}

/// What a ring should be: the readable bytes, then what was placed ahead, holes as `None`.
#[derive(Default)]
struct Model {
    len: usize,
    bytes: VecDeque<Option<u8>>,
}

impl Model {
    fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let at = self.len + offset;
        if !bytes.is_empty() && self.bytes.len() < at + bytes.len() {
            self.bytes.resize(at + bytes.len(), None);
        }
        for (n, byte) in bytes.iter().enumerate() {
            self.bytes[at + n] = Some(*byte);
        }
    }

    /// Bytes behind the readable ones up to the first hole.
    fn placed(&self) -> usize {
        self.bytes.iter().skip(self.len).take_while(|byte| byte.is_some()).count()
    }

    fn readable(&self, offset: usize, count: usize) -> Vec<u8> {
        self.bytes.iter().take(self.len).skip(offset).take(count).map(|byte| byte.unwrap()).collect()
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.drain(..count);
        self.len -= count;
    }

    fn trim(&mut self, ahead: usize) {
        self.bytes.truncate(self.len + ahead);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    WriteAt(usize, usize),
    WriteAtSummed(usize, usize),
    Advance,
    Read(usize),
    Peek(usize, usize),
    CopyOut(usize, usize),
    Consume(usize),
    Trim(usize),
    Clear,
}

/// Mostly small numbers, some at the edges of blocks, some far ahead.
fn distance() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0usize..3000,
        2 => (0usize..20).prop_map(|blocks| blocks * BLOCK),
        1 => 0usize..6 << 20,
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..3000, 1 => Just(BLOCK), 1 => 0usize..40_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => size().prop_map(Step::Write),
        3 => (distance(), size()).prop_map(|(offset, len)| Step::WriteAt(offset, len)),
        3 => (distance(), size()).prop_map(|(offset, len)| Step::WriteAtSummed(offset, len)),
        3 => Just(Step::Advance),
        3 => size().prop_map(Step::Read),
        2 => (distance(), size()).prop_map(|(offset, len)| Step::Peek(offset, len)),
        2 => (distance(), size()).prop_map(|(offset, len)| Step::CopyOut(offset, len)),
        3 => distance().prop_map(Step::Consume),
        1 => distance().prop_map(Step::Trim),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_does_what_a_deque_does(
        steps in proptest::collection::vec(step(), 1..60),
        head in prop_oneof![Just(0u32), Just(u32::MAX - 5000), Just((4 << 20) - 5000), any::<u32>()],
        blocks in prop_oneof![3 => Just(4000usize), 1 => 0usize..12],
    ) {
        let mut pool = BlockPool::new(blocks);
        let mut ring = ring_at(head);
        let mut model = Model::default();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(len) => {
                    let bytes = pattern(len, n as u8);
                    // An append over what was placed ahead would read as one of the two; make it none.
                    ring.trim(&mut pool, 0);
                    model.trim(0);
                    let written = ring.write(&mut pool, &bytes);
                    model.write_at(0, &bytes[..written]);
                    model.len += written;
                    // A last block can be too few, where an index and a block are needed.
                    prop_assert!(written == len || pool.available() <= 1, "{written} of {len}");
                }
                Step::WriteAt(offset, len) => {
                    let bytes = pattern(len, n as u8);
                    let written = ring.write_at(&mut pool, offset, &bytes);
                    model.write_at(offset, &bytes[..written]);
                    prop_assert!(written == len || pool.available() <= 3, "{written} of {len}");
                }
                Step::WriteAtSummed(offset, len) => {
                    let bytes = pattern(len, n as u8);
                    let (written, sum) = ring.write_at_summed(&mut pool, offset, &bytes);
                    model.write_at(offset, &bytes[..written]);
                    prop_assert_eq!(sum.fold(), checksum::sum(&bytes[..written]).fold());
                    prop_assert!(written == len || pool.available() <= 3, "{written} of {len}");
                }
                Step::Advance => {
                    let count = model.placed();
                    ring.advance(count);
                    model.len += count;
                }
                Step::Read(len) => {
                    let mut out = vec![0; len];
                    let count = ring.read(&mut pool, &mut out);
                    prop_assert_eq!(&out[..count], &model.readable(0, len)[..]);
                    model.consume(count);
                }
                Step::Peek(offset, len) => {
                    let mut out = vec![0; len];
                    let count = ring.peek(&pool, offset, &mut out);
                    let expected = model.readable(offset, len);
                    prop_assert_eq!(&out[..count], &expected[..]);
                    let slice = ring.slice(&pool, offset);
                    prop_assert_eq!(slice.is_empty(), offset >= model.len);
                    prop_assert_eq!(slice, &model.readable(offset, slice.len())[..]);
                }
                Step::CopyOut(offset, len) => {
                    let mut out = vec![0; len];
                    let sum = ring.copy_out_summed(&pool, offset, &mut out);
                    let expected = model.readable(offset, len);
                    prop_assert_eq!(sum.fold(), checksum::sum(&expected).fold());
                    prop_assert_eq!(&out[..expected.len()], &expected[..]);
                    prop_assert!(out[expected.len()..].iter().all(|byte| *byte == 0));
                }
                Step::Consume(count) => {
                    ring.consume(&mut pool, count);
                    model.consume(count);
                }
                Step::Trim(ahead) => {
                    ring.trim(&mut pool, ahead);
                    model.trim(ahead);
                }
                Step::Clear => {
                    ring.clear(&mut pool);
                    model = Model::default();
                }
            }
            prop_assert_eq!((ring.len(), ring.extent()), (model.len, model.bytes.len()));
            prop_assert_eq!(ring.blocks(), pool.in_use());
            // Every block that is held has at least one placed byte in it, but for the indexes: one for each
            // block of them begun, and the root.
            let reach = ring.extent().div_ceil(BLOCK) + 1;
            prop_assert!(ring.blocks() <= reach + reach.div_ceil(FANOUT as usize) + 2);
            prop_assert!(ring.extent() != 0 || ring.blocks() == 0);
        }
        let everything = model.readable(0, model.len);
        let mut out = vec![0; everything.len() + 1];
        prop_assert_eq!(ring.read(&mut pool, &mut out), everything.len());
        prop_assert_eq!(&out[..everything.len()], &everything[..]);
        ring.clear(&mut pool);
        prop_assert_eq!(pool.available(), pool.capacity());
    }
}

#[test]
fn a_ring_is_small_and_an_empty_one_holds_nothing() {
    assert_eq!(size_of::<ByteRing>(), 32);
    let mut pool = BlockPool::new(10);
    let mut ring = ByteRing::new();
    assert_eq!(ring.write(&mut pool, b"hello"), 5);
    assert_eq!((ring.len(), ring.blocks(), pool.available()), (5, 1, 9));
    assert_eq!(ring.slice(&pool, 1), b"ello");
    ring.consume(&mut pool, 99);
    assert_eq!((ring.len(), ring.blocks(), pool.available()), (0, 0, 10));
}

#[test]
fn the_longest_ring_and_one_byte_more() {
    let mut pool = BlockPool::new(100);
    let mut ring = ring_at(u32::MAX - 77);
    assert_eq!(ring.write_at(&mut pool, MAX_RING - 1, b"ab"), 1);
    assert_eq!(ring.write_at(&mut pool, MAX_RING, b"b"), 0);
    assert_eq!(ring.write_at(&mut pool, usize::MAX, b"b"), 0);
    assert_eq!(ring.extent(), MAX_RING);
    assert!(ring.blocks() <= 4, "a byte 64 MiB ahead costs its block, an index at each end, and the root");
    assert_eq!(ring.write_at(&mut pool, 0, b"c"), 1);
    ring.advance(1);
    ring.consume(&mut pool, 1);
    assert_eq!(ring.write_at(&mut pool, MAX_RING - 2, b"de"), 2);
    ring.trim(&mut pool, 0);
    assert_eq!((ring.extent(), pool.available()), (0, 100));
}

#[test]
fn sixty_four_mebibytes_pass_through_full_and_come_out_as_they_were() {
    let mut pool = BlockPool::new(MAX_RING / BLOCK + 20);
    let mut ring = ring_at(u32::MAX - 12_345_678);
    let chunk = pattern(65_521, 9);
    let mut written = 0;
    loop {
        let count = ring.write(&mut pool, &chunk);
        written += count;
        if count < chunk.len() {
            break;
        }
    }
    assert_eq!((written, ring.len()), (MAX_RING, MAX_RING));
    let mut out = vec![0; chunk.len()];
    let mut read = 0;
    while !ring.is_empty() {
        let count = ring.read(&mut pool, &mut out);
        assert_eq!(out[..count], chunk[..count]);
        read += count;
    }
    assert_eq!((read, pool.available()), (MAX_RING, pool.capacity()));
}

#[test]
fn an_empty_pool_leaves_the_ring_as_it_was() {
    let mut pool = BlockPool::new(1);
    let mut other = ByteRing::new();
    let mut ring = ByteRing::new();
    // Room for an index, and none for the bytes.
    assert_eq!(ring.write_at(&mut pool, 1 << 20, b"x"), 0);
    assert_eq!((ring.blocks(), ring.extent(), pool.available()), (0, 0, 1));
    // With the one block there is, as much is written as it holds.
    assert_eq!(ring.write(&mut pool, &[0; 9 * BLOCK]), BLOCK);
    ring.clear(&mut pool);
    assert_eq!(other.write(&mut pool, b"x"), 1);
    assert_eq!(ring.write(&mut pool, b"x"), 0);
    assert_eq!(other.write(&mut pool, &[0; 2 * BLOCK]), BLOCK - 1, "what fits in its own block");
    other.clear(&mut pool);
    assert_eq!(pool.available(), 1);
}

#[test]
fn advancing_further_than_what_was_placed_stops_there() {
    let mut pool = BlockPool::new(2);
    let mut ring = ByteRing::new();
    ring.write_at(&mut pool, 0, b"abc");
    ring.advance(usize::MAX);
    assert_eq!(ring.len(), 3);
}
