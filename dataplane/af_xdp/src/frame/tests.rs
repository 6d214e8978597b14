//! Frames and pools against an obvious model, without any socket.

use crate::{ChunkSize, Frame, HugePages, MAX_CHAIN, Pool, PoolConfig, PoolError};
use proptest::prelude::*;

fn pool(chunks: u32) -> Pool {
    let config = PoolConfig { chunks, huge_pages: HugePages::Never, ..PoolConfig::default() };
    Pool::new(&config).unwrap()
}

fn bytes(frame: &Frame) -> Vec<u8> {
    (0..frame.segments()).flat_map(|index| frame.segment(index).unwrap().to_vec()).collect()
}

#[test]
fn a_handle_is_three_words() {
    assert_eq!(size_of::<Frame>(), 24);
    assert_eq!(size_of::<Option<Frame>>(), 24);
}

#[test]
fn a_dropped_frame_is_the_next_one_allocated() {
    let pool = pool(4);
    let (first, second) = (pool.alloc().unwrap(), pool.alloc().unwrap());
    let chunk = first.chunk();
    drop(first);
    assert_eq!(pool.alloc().unwrap().chunk(), chunk);
    assert_eq!((pool.available(), pool.outstanding()), (3, 1));
    drop(second);
    assert_eq!(pool.conservation([]).unwrap().free, 4);
}

#[test]
fn an_empty_pool_gives_nothing_until_a_frame_comes_back() {
    let pool = pool(2);
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(held.len(), 2);
    assert!(pool.frame(b"x").is_none());
    drop(held);
    assert!(pool.alloc().is_some());
}

#[test]
fn a_frame_that_outlives_its_pool_keeps_its_memory() {
    let pool = pool(2);
    let mut frame = pool.frame(b"still here").unwrap();
    drop(pool);
    assert_eq!(&frame[..], b"still here");
    frame[0] = b'S';
    drop(frame);
}

#[test]
fn the_packet_grows_into_headroom_and_tailroom_and_no_further() {
    let pool = pool(1);
    let mut frame = pool.frame(b"abc").unwrap();
    assert_eq!((frame.headroom(), frame.tailroom()), (256 + 128 - 16, 2048 - 384 - 3));
    let headroom = frame.headroom();
    assert!(frame.prepend(headroom) && !frame.prepend(1));
    assert!(frame.trim_front(headroom) && &frame[..] == b"abc");
    assert!(!frame.trim_front(4));
    let tailroom = frame.tailroom();
    assert!(frame.append(tailroom) && !frame.append(1));
}

#[test]
fn a_packet_trimmed_to_nothing_at_the_end_of_its_chunk_stays_in_its_chunk() {
    let pool = pool(2);
    let mut frame = pool.frame(&vec![1; pool.room()]).unwrap();
    assert!(frame.trim_front(pool.room()));
    assert_eq!((frame.len(), frame.tailroom(), frame.headroom()), (0, 0, 2048 - 16));
    assert!(!frame.append(1));
    assert!(frame.prepend(pool.room()));
    assert!(frame.iter().all(|byte| *byte == 1));
}

#[test]
fn a_packet_of_the_most_segments_is_made_and_one_byte_more_is_refused() {
    let pool = pool(80);
    let most = pool.room() * MAX_CHAIN;
    let mut jumbo = pool.frame(&vec![7; most]).unwrap();
    assert_eq!((jumbo.segments(), jumbo.packet_len()), (MAX_CHAIN, most));
    assert!(pool.frame(&vec![7; most + 1]).is_none());
    let tail = jumbo.chain(pool.frame(b"tail").unwrap()).unwrap_err();
    assert_eq!(&tail[..], b"tail");
    drop((jumbo, tail));
    assert_eq!(pool.available(), 80);
}

#[test]
fn chaining_frames_of_two_pools_is_refused() {
    let (one, other) = (pool(2), pool(2));
    let mut head = one.frame(b"head").unwrap();
    assert!(head.chain(other.frame(b"tail").unwrap()).is_err());
    assert_eq!((other.available(), head.is_chain()), (2, false));
}

#[test]
fn a_checksum_request_is_refused_where_it_cannot_be_carried() {
    let pool = pool(8);
    let mut frame = pool.frame(&[0; 40]).unwrap();
    assert!(
        frame.request_tx_checksum(20, 18) && !frame.request_tx_checksum(20, 19),
        "the field ends with the packet"
    );
    assert!(!pool.frame(&[0; 4000]).unwrap().request_tx_checksum(20, 6), "a chain");
    let config = PoolConfig { chunks: 1, tx_metadata: false, ..PoolConfig::default() };
    assert!(!Pool::new(&config).unwrap().frame(&[0; 40]).unwrap().request_tx_checksum(20, 6));
}

#[test]
fn impossible_pools_are_refused_with_the_reason() {
    let config = |chunks, headroom| PoolConfig { chunks, headroom, ..PoolConfig::default() };
    assert!(matches!(Pool::new(&config(0, 128)), Err(PoolError::Chunks(0))));
    assert!(matches!(Pool::new(&config(crate::umem::MAX_CHUNKS + 1, 128)), Err(PoolError::Chunks(_))));
    assert!(Pool::new(&config(1, 768)).is_ok());
    assert!(matches!(Pool::new(&config(1, 769)), Err(PoolError::Headroom { headroom: 769, chunk: 2048 })));
}

#[derive(Debug, Clone)]
enum Step {
    Prepend(usize),
    Trim(usize),
    Truncate(usize),
    Append(usize),
    Chain(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..200).prop_map(Step::Prepend),
        (0usize..200).prop_map(Step::Trim),
        (0usize..9000).prop_map(Step::Truncate),
        (0usize..2000).prop_map(Step::Append),
        (1usize..5000).prop_map(Step::Chain),
    ];
    prop::collection::vec(step, 0..24)
}

proptest! {
    /// A packet is a list of segments; every operation does to the chunks what it does to the list.
    #[test]
    fn a_frame_behaves_as_a_list_of_byte_strings(len in 0usize..8000, large: bool, steps in steps()) {
        let chunk_size = if large { ChunkSize::B4096 } else { ChunkSize::B2048 };
        let config = PoolConfig { chunks: 64, chunk_size, huge_pages: HugePages::Never, ..PoolConfig::default() };
        let pool = Pool::new(&config).unwrap();
        let content = |len: usize, seed: usize| (0..len).map(|at| (at * 7 + seed) as u8).collect::<Vec<_>>();
        let mut frame = pool.frame(&content(len, 1)).unwrap();
        let mut model: Vec<Vec<u8>> = content(len, 1).chunks(pool.room()).map(<[u8]>::to_vec).collect();
        if model.is_empty() { model.push(Vec::new()); }
        for (seed, step) in steps.into_iter().enumerate() {
            match step {
                Step::Prepend(count) => {
                    let fits = count <= frame.headroom();
                    prop_assert_eq!(frame.prepend(count), fits);
                    if fits {
                        frame[..count].fill(seed as u8);
                        model[0].splice(..0, vec![seed as u8; count]);
                    }
                }
                Step::Trim(count) => {
                    let fits = count <= model[0].len();
                    prop_assert_eq!(frame.trim_front(count), fits);
                    if fits { model[0].drain(..count); }
                }
                Step::Truncate(to) => {
                    frame.truncate(to);
                    let mut left = to;
                    let mut kept = Vec::new();
                    for (index, segment) in model.iter().enumerate() {
                        if index > 0 && left == 0 { break; }
                        let take = left.min(segment.len());
                        kept.push(segment[..take].to_vec());
                        left -= take;
                    }
                    model = kept;
                }
                Step::Append(count) => {
                    let fits = model.len() == 1 && count <= frame.tailroom();
                    prop_assert_eq!(frame.append(count), fits);
                    if fits {
                        let from = model[0].len();
                        frame[from..].fill(seed as u8);
                        model[0].resize(from + count, seed as u8);
                    }
                }
                Step::Chain(count) => {
                    let tail = pool.frame(&content(count, seed)).unwrap();
                    let fits = model.len() + tail.segments() <= MAX_CHAIN;
                    prop_assert_eq!(frame.chain(tail).is_ok(), fits);
                    if fits { model.extend(content(count, seed).chunks(pool.room()).map(<[u8]>::to_vec)); }
                }
            }
            prop_assert_eq!(bytes(&frame), model.concat());
            prop_assert_eq!(frame.packet_len(), model.concat().len());
            prop_assert_eq!((frame.segments(), frame.is_chain()), (model.len(), model.len() > 1));
            prop_assert_eq!(&frame[..], &model[0][..]);
            prop_assert_eq!(pool.available(), 64 - model.len());
            prop_assert_eq!(pool.conservation([]).unwrap().held as usize, model.len());
        }
        drop(frame);
        prop_assert_eq!(pool.available(), 64);
    }
}
