//! Times what sockets are made of: copies with and without sums, buffers, the connection table, the timer wheel.
//! `cargo run --release -p flumen-stack --example socket_bench`; nanoseconds, the best of several rounds.

use core::hint::black_box;
use flumen_stack::Instant;
use flumen_stack::checksum::{copy_and_sum, sum};
use flumen_stack::socket::{BlockPool, ByteRing};
use flumen_stack::tcp::demux::{TableV4, TableV6};
use flumen_stack::timer::TimerWheel;

/// The best of seven rounds of `run`, in nanoseconds for each of its `operations`.
fn best(operations: usize, mut run: impl FnMut()) -> f64 {
    let round = |_| {
        let start = std::time::Instant::now();
        run();
        start.elapsed().as_nanos() as f64 / operations as f64
    };
    (0..7).map(round).fold(f64::INFINITY, f64::min)
}

/// A cheap random number for each index.
fn scatter(n: usize) -> u64 {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

fn copies() {
    let from = vec![0x5a; 1 << 16];
    let mut to = vec![0; 1 << 16];
    for len in [64, 536, 1448, 8948] {
        let places = (1 << 16) - len;
        let at = |n: usize| n * 1500 % places;
        let copy = best(100_000, || {
            (0..100_000)
                .for_each(|n| black_box(&mut to[at(n)..][..len]).copy_from_slice(&from[at(n)..][..len]));
        });
        let summed = best(100_000, || {
            (0..100_000).for_each(|n| {
                black_box(copy_and_sum(&mut to[at(n)..][..len], &from[at(n)..][..len]));
            });
        });
        let alone = best(100_000, || (0..100_000).for_each(|n| _ = black_box(sum(&from[at(n)..][..len]))));
        println!("{len:5} bytes: copy {copy:6.1} ns, sum {alone:6.1} ns, copy and sum {summed:6.1} ns");
    }
}

fn rings() {
    let mut pool = BlockPool::new(2048);
    let segment = vec![0xa5; 1448];
    let mut out = vec![0; 1448];
    for kept in [0usize, 64 << 10, 1 << 20] {
        let mut ring = ByteRing::new();
        while ring.len() < kept {
            ring.write(&mut pool, &segment);
        }
        let cost = best(100_000, || {
            for _ in 0..100_000 {
                let (placed, sum) = ring.write_at_summed(&mut pool, 0, &segment);
                black_box(sum);
                ring.advance(placed);
                black_box(ring.read(&mut pool, &mut out));
            }
        });
        println!("ring holding {:4} KiB: place, sum and read 1448 bytes {cost:6.1} ns", kept >> 10);
        let cost = best(100_000, || {
            let reach = ring.len().saturating_sub(1448).max(1);
            ring.write(&mut pool, &segment);
            (0..100_000).for_each(|n| {
                black_box(ring.copy_out_summed(&pool, n * 1448 % reach, &mut out));
            });
            ring.consume(&mut pool, 1448);
        });
        println!("ring holding {:4} KiB: copy out for transmit 1448 bytes {cost:6.1} ns", kept >> 10);
        let cost = best(100_000, || {
            for _ in 0..100_000 {
                black_box(ring.write(&mut pool, &segment[..64]));
                black_box(ring.read(&mut pool, &mut out[..64]));
            }
        });
        println!("ring holding {:4} KiB: write and read 64 bytes {cost:6.1} ns", kept >> 10);
        ring.clear(&mut pool);
    }
}

fn demux() {
    for entries in [1000, 1 << 20] {
        let key = |n: usize| {
            [0x0a00_0001, 0x0a00_0000 + (n / 50_000) as u32, 80 << 16 | (1024 + n % 50_000) as u32]
        };
        let key6 =
            |n: usize| [1, 2, 3, 4, 5, 6, 7, (n / 50_000) as u32, 80 << 16 | (1024 + n % 50_000) as u32];
        let mut v4 = TableV4::new(entries, [11, 0x1357_9bdf_0246_8ace]);
        let mut v6 = TableV6::new(entries, [11, 0x1357_9bdf_0246_8ace]);
        for n in 0..entries {
            v4.insert(&key(n), n as u32).expect("half full");
            v6.insert(&key6(n), n as u32).expect("half full");
        }
        let order: Vec<usize> = (0..1 << 18).map(|n| scatter(n) as usize % entries).collect();
        let keys: Vec<_> = order.iter().map(|&n| key(n)).collect();
        let keys6: Vec<_> = order.iter().map(|&n| key6(n)).collect();
        let mut out = vec![None; keys.len()];
        let single = best(keys.len(), || keys.iter().for_each(|key| _ = black_box(v4.lookup(key))));
        let burst = best(keys.len(), || v4.lookup_burst(&keys, black_box(&mut out)));
        let burst6 = best(keys.len(), || v6.lookup_burst(&keys6, black_box(&mut out)));
        // Each lookup waits for the one before.
        let mut last = 0;
        let waiting = best(keys.len(), || {
            for n in 0..keys.len() {
                last = v4.lookup(&keys[(n + (last & 1) as usize) % keys.len()]).unwrap_or(0);
            }
        });
        let churn = best(keys.len(), || {
            for key in &keys {
                let value = v4.remove(key);
                black_box(v4.insert(key, value.unwrap_or(0))).ok();
            }
        });
        println!(
            "{entries:8} connections: lookup {single:5.1} ns, in a burst {burst:5.1} ns (IPv6 {burst6:5.1}), \
             each waiting for the last {waiting:5.1} ns, remove and insert {churn:5.1} ns"
        );
    }
}

fn wheel() {
    for places in [1000usize, 1 << 20] {
        let mut now = Instant::from_millis(1000);
        let mut wheel = TimerWheel::new(places, now);
        let after = |now: Instant, nanos: u64| Instant::from_nanos(now.nanos() + nanos);
        (0..places)
            .for_each(|n| wheel.schedule(n as u32, after(now, 200_000_000 + scatter(n) % 1_000_000_000)));
        let order: Vec<u32> = (0..1 << 18).map(|n| (scatter(n) as usize % places) as u32).collect();
        let later = best(order.len(), || {
            order
                .iter()
                .enumerate()
                .for_each(|(n, &place)| wheel.schedule(place, after(now, 2_000_000_000 + n as u64)));
        });
        let mut round = 0;
        let moved = best(order.len(), || {
            round += 1;
            let ahead = 200_000_000 - round * 10_000_000;
            order.iter().for_each(|&place| wheel.schedule(place, after(now, ahead)));
        });
        // Every timer fires and is set anew, a second's worth spread over each second.
        (0..places).for_each(|n| wheel.schedule(n as u32, after(now, scatter(n) % 1_000_000_000)));
        let mut fired = 0usize;
        let start = std::time::Instant::now();
        while fired < 3 * places.max(300_000) {
            now = after(now, 100_000);
            let mut budget = usize::MAX;
            while let Some(place) = wheel.pop(now, &mut budget) {
                wheel.schedule(place, after(now, 1_000_000_000));
                fired += 1;
            }
        }
        let fire = start.elapsed().as_nanos() as f64 / fired as f64;
        println!(
            "{places:8} timers: move later {later:5.1} ns, move earlier {moved:5.1} ns, fire and set anew {fire:5.1} ns"
        );
    }
}

fn main() {
    copies();
    rings();
    demux();
    wheel();
}
