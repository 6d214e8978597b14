//! The table under pressure, and against a model that keeps everything.

use super::datagram::Place;
use super::table::{Fragment, Key, Lost, Outcome};
use super::{Reassembly, ReassemblyConfig};
use crate::ethernet::LinkCast;
use crate::frame::heap::HeapPool;
use crate::limits::{MIN_REASSEMBLY_MEMORY, REASSEMBLY_BLOCK, REASSEMBLY_SOURCE_SHARE};
use crate::port::PortId;
use crate::time::Instant;
use crate::verdict::DropReason;
use core::time::Duration;
use proptest::prelude::*;

fn table(memory: usize) -> Reassembly {
    Reassembly::new(&ReassemblyConfig { memory, ..ReassemblyConfig::default() }, [5, 6])
}

/// A fragment of IPv4 datagram `id` of host `source`, with a header of 20 bytes.
fn fragment(source: u32, id: u64, offset: usize, len: usize, more: bool) -> Fragment {
    Fragment {
        key: Key { addresses: [u64::from(source) << 32 | 1, 0, 0, 0], identity: id, ipv6: false },
        place: Place { offset, len, more },
        header_len: 20,
        mark: 0,
        port: PortId::new(0).unwrap(),
        cast: LinkCast::Unicast,
    }
}

fn packet(bytes: &[u8]) -> Vec<u8> {
    [&[0x45; 20], bytes].concat()
}

fn give(table: &mut Reassembly, now: u64, fragment: &Fragment, byte: u8) -> Outcome {
    let mut pool = HeapPool::new(64, 2048);
    let frame = pool.frame(&packet(&vec![byte; fragment.place.len])).unwrap();
    let outcome = table.take(Instant::from_millis(now), fragment, &frame);
    table.check();
    outcome
}

#[test]
fn one_source_gets_its_share_and_then_loses_its_own_oldest() {
    let mut table = table(MIN_REASSEMBLY_MEMORY);
    let share = MIN_REASSEMBLY_MEMORY / REASSEMBLY_SOURCE_SHARE;
    assert_eq!(give(&mut table, 0, &fragment(1, 0, 0, 8, true), 1), Outcome::Waits);
    for id in 0..2 * share as u64 / 4096 {
        assert_eq!(give(&mut table, 1, &fragment(7, id, 0, 1480, true), 1), Outcome::Waits);
        assert!(table.memory() <= share + REASSEMBLY_BLOCK);
    }
    assert_eq!(table.take_evicted(), 64, "128 datagrams of one source where 64 may be");
    assert_eq!(
        give(&mut table, 1, &fragment(1, 0, 8, 8, false), 2),
        Outcome::Whole(0),
        "others lost nothing"
    );
}

#[test]
fn many_sources_share_the_memory_and_the_oldest_makes_room() {
    let mut table = table(MIN_REASSEMBLY_MEMORY);
    for source in 0..600u32 {
        let first = fragment(source, 9, 0, 4000, true);
        assert_eq!(give(&mut table, u64::from(source), &first, 3), Outcome::Waits);
        assert!(table.memory() <= MIN_REASSEMBLY_MEMORY && table.len() <= 256);
    }
    assert!(table.take_evicted() > 0);
    let rest = |source| fragment(source, 9, 4000, 8, false);
    assert!(matches!(give(&mut table, 600, &rest(599), 3), Outcome::Whole(_)), "the youngest is whole");
    assert_eq!(give(&mut table, 600, &rest(0), 3), Outcome::Waits, "the oldest began again");
}

#[test]
fn an_overlap_gives_the_datagram_up_and_what_comes_later_of_it_too_until_its_time_is_over() {
    let mut table = table(MIN_REASSEMBLY_MEMORY);
    assert_eq!(give(&mut table, 0, &fragment(1, 1, 0, 16, true), 1), Outcome::Waits);
    let overlap = Outcome::Ended(DropReason::FragmentOverlap, Lost::Datagram);
    assert_eq!(give(&mut table, 0, &fragment(1, 1, 8, 16, true), 1), overlap);
    assert_eq!(table.memory(), 0);
    let rest = fragment(1, 1, 16, 16, false);
    assert_eq!(give(&mut table, 1, &rest, 1), Outcome::Ended(DropReason::FragmentDropped, Lost::Nothing));
    assert_eq!(table.next_deadline(), Instant::from_millis(30_000));
    assert!(table.expired(Instant::from_millis(29_999)).is_none());
    let expired = table.expired(Instant::from_millis(30_000)).unwrap();
    assert!(expired.given_up && expired.first.is_none());
    table.release(expired.slot);
    table.check();
    assert_eq!((table.next_deadline(), table.is_empty()), (Instant::NEVER, true));
    assert_eq!(give(&mut table, 30_001, &rest, 1), Outcome::Waits, "a new datagram may have the number");
}

#[test]
fn a_repetition_is_passed_over_and_one_with_other_bytes_is_an_overlap() {
    let mut table = table(MIN_REASSEMBLY_MEMORY);
    let piece = fragment(1, 1, 8, 3000, true);
    assert_eq!(give(&mut table, 0, &piece, 1), Outcome::Waits);
    let duplicate = Outcome::Ended(DropReason::FragmentDuplicate, Lost::Nothing);
    assert_eq!(give(&mut table, 0, &piece, 1), duplicate);
    assert_eq!(give(&mut table, 0, &fragment(1, 1, 80, 80, true), 1), duplicate, "a part of it, cut again");
    assert_eq!(give(&mut table, 0, &piece, 2), Outcome::Ended(DropReason::FragmentOverlap, Lost::Datagram));
}

#[test]
fn each_family_has_its_time_and_the_earliest_is_the_deadline() {
    let lifetime = Duration::from_secs(60);
    let mut table = table(MIN_REASSEMBLY_MEMORY);
    let mut ipv6 = fragment(1, 1, 0, 8, true);
    ipv6.key.ipv6 = true;
    give(&mut table, 0, &ipv6, 1);
    assert_eq!(table.next_deadline(), Instant::ZERO + lifetime);
    give(&mut table, 1000, &fragment(1, 1, 0, 8, true), 1);
    assert_eq!(table.next_deadline(), Instant::from_millis(31_000));
}

proptest! {
    /// Whole datagrams cut at random, in random order, with repetitions, several at once.
    #[test]
    fn whatever_the_order_the_bytes_come_out_as_they_were(
        datagrams in prop::collection::vec((1usize..9000, prop::collection::vec(1usize..1200, 0..12)), 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 200),
        repeat in any::<u8>(),
    ) {
        let mut table = table(MIN_REASSEMBLY_MEMORY);
        let mut pool = HeapPool::new(64, 2048);
        let mut waiting = Vec::new();
        let mut contents = Vec::new();
        for (id, (len, cuts)) in datagrams.iter().enumerate() {
            let bytes: Vec<u8> = (0..*len).map(|at| (at * 7 + at / 256 + id) as u8).collect();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut * 8).filter(|cut| cut < len).chain([*len]).collect();
            ends.sort_unstable();
            ends.dedup();
            let mut from = 0;
            for end in ends {
                waiting.push((id, from, end));
                from = end;
            }
            contents.push(bytes);
        }
        let mut order = order.into_iter();
        let mut whole = 0;
        while !waiting.is_empty() {
            let at = order.next().map_or(0, |index| index.index(waiting.len()));
            let (id, from, end) = waiting.swap_remove(at);
            let bytes = &contents[id];
            let one = fragment(3, id as u64, from, end - from, end < bytes.len());
            let frame = pool.frame(&packet(&bytes[from..end])).unwrap();
            let last = !waiting.iter().any(|other| other.0 == id);
            match table.take(Instant::ZERO, &one, &frame) {
                Outcome::Whole(slot) => {
                    prop_assert!(last);
                    prop_assert_eq!(table.whole(slot), Some((bytes.len(), false, false)));
                    let mut read = vec![0; 20 + bytes.len()];
                    prop_assert_eq!(table.copy_out(slot, 20, &mut read), read.len());
                    prop_assert_eq!(&read, &packet(bytes));
                    let mut pool = HeapPool::new(64, 300);
                    let frame = super::deliver::build(&table, slot, &[9; 24], bytes.len(), &mut pool).unwrap();
                    prop_assert_eq!(frame.to_vec(), [&[9; 24], &bytes[..]].concat());
                    table.release(slot);
                    whole += 1;
                }
                Outcome::Waits => {
                    prop_assert!(!last);
                    if from % 3 == usize::from(repeat % 3) {
                        let again = table.take(Instant::ZERO, &one, &frame);
                        prop_assert_eq!(again, Outcome::Ended(DropReason::FragmentDuplicate, Lost::Nothing));
                    }
                }
                ended => prop_assert!(false, "{:?}", ended),
            }
            table.check();
        }
        prop_assert_eq!((whole, table.len(), table.memory()), (contents.len(), 0, 0));
    }

    /// Anything at all: the table stays within its bounds and consistent.
    #[test]
    fn whatever_comes_the_bounds_hold(
        pieces in prop::collection::vec((0u32..3, 0u64..4, 0usize..6, 1usize..400, any::<bool>(), 0u64..90), 1..200),
    ) {
        let mut table = table(MIN_REASSEMBLY_MEMORY);
        let mut pool = HeapPool::new(64, 4096);
        let mut now = 0;
        for (source, id, unit, len, more, pause) in pieces {
            now += pause * 100;
            let len = if more { len * 8 } else { len };
            let mut one = fragment(source, id, unit * 800, len, more);
            one.key.ipv6 = source == 2;
            let frame = pool.frame(&packet(&vec![id as u8; len])).unwrap();
            if let Outcome::Whole(slot) = table.take(Instant::from_millis(now), &one, &frame) {
                table.release(slot);
            }
            while let Some(expired) = table.expired(Instant::from_millis(now)) {
                table.release(expired.slot);
            }
            table.check();
            prop_assert!(table.next_deadline() > Instant::from_millis(now));
        }
    }
}

#[test]
fn an_operator_sees_what_waits_and_what_is_missing() {
    let mut table = table(MIN_REASSEMBLY_MEMORY);
    assert_eq!(table.iter().count(), 0);
    let of = |protocol: u64, id: u64| protocol << 16 | id;
    give(&mut table, 0, &fragment(0x0a00_0001, of(17, 7), 0, 1480, true), 1);
    give(&mut table, 5, &fragment(0x0a00_0001, of(17, 7), 2960, 13, false), 1);
    give(&mut table, 9, &fragment(0x0a00_0002, of(1, 8), 8, 16, true), 1);
    give(&mut table, 9, &fragment(0x0a00_0002, of(1, 8), 16, 16, true), 2);
    let words = |address: &str| {
        let bits = address.parse::<core::net::Ipv6Addr>().unwrap().to_bits();
        [(bits >> 64) as u64, bits as u64]
    };
    let ([a, b], [c, d]) = (words("fe80::7"), words("fe80::1"));
    let mut six = fragment(0, 3 << 32 | 0xdead_beef, 0, 8, true);
    (six.key.addresses, six.key.ipv6) = ([a, b, c, d], true);
    give(&mut table, 10, &six, 1);
    let [one, two, three] = table.iter().collect::<Vec<_>>()[..] else { panic!("three wait") };
    assert_eq!(
        (one.source.to_string(), one.destination.to_string()),
        ("10.0.0.1".to_owned(), "0.0.0.1".to_owned())
    );
    assert_eq!((one.id, one.protocol, one.port), (7, Some(17), None));
    assert_eq!((one.fragments, one.bytes, one.total, one.given_up), (2, 1493, Some(2973), false));
    assert_eq!(one.until, Instant::from_millis(30_000));
    assert_eq!((two.protocol, two.id, two.given_up), (Some(1), 8, true), "an overlap");
    assert_eq!(
        (three.source.to_string(), three.destination.to_string()),
        ("fe80::7".to_owned(), "fe80::1".to_owned())
    );
    assert_eq!((three.id, three.protocol, three.port), (0xdead_beef, None, PortId::new(2)));
    assert_eq!((three.bytes, three.total), (8, None));
    assert_eq!(table.memory() / REASSEMBLY_BLOCK, 3, "two blocks of the first, none of what was given up");
    assert_eq!(table.size(), MIN_REASSEMBLY_MEMORY);
}
