//! What route lookups cost: a full table, hot and random destinations, the cache, changes, memory.
//!
//! `cargo run --release -p flumen-stack --example route_bench [GHz of the cycle counter, default 2.6]`
//! Each figure is the median of several runs; cycles are nanoseconds times that frequency.

use core::net::{Ipv4Addr, Ipv6Addr};
use flumen_stack::PortId;
use flumen_stack::route::ecmp::HashKey;
use flumen_stack::route::{
    Change, Flow4, Flow6, NextHopId, Rib, RibConfig, Route, RouteCache, RouteReader, Source, Target,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const BURST: usize = 64;
const ROUNDS: usize = 9;

/// A small generator of random numbers (xorshift64*), so that runs repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// An index into `weights` as often as they say.
    fn choose(&mut self, weights: &[(u8, u32)]) -> u8 {
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = (self.next() % u64::from(total)) as u32;
        for &(value, weight) in weights {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return value,
            }
        }
        weights[0].0
    }
}

/// Prefix lengths of the Internet's IPv4 table, in thousandths.
const LENS4: &[(u8, u32)] = &[
    (8, 1),
    (11, 1),
    (12, 1),
    (13, 1),
    (14, 2),
    (15, 2),
    (16, 14),
    (17, 8),
    (18, 14),
    (19, 25),
    (20, 44),
    (21, 52),
    (22, 112),
    (23, 101),
    (24, 620),
    (28, 1),
    (32, 1),
];

/// Prefix lengths of the Internet's IPv6 table, in thousandths.
const LENS6: &[(u8, u32)] = &[
    (20, 1),
    (24, 2),
    (28, 4),
    (29, 25),
    (30, 5),
    (31, 2),
    (32, 110),
    (33, 8),
    (34, 7),
    (35, 6),
    (36, 45),
    (38, 10),
    (40, 70),
    (42, 15),
    (44, 90),
    (45, 10),
    (46, 20),
    (47, 20),
    (48, 540),
    (56, 5),
    (64, 5),
];

fn gateway(random: &mut Random) -> Target {
    let number = random.next() % 256;
    let port = PortId::new(number as usize % 4).expect("below the limit");
    Target::Gateway { port, via: Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(number + 1)).into() }
}

fn routes4(count: usize, random: &mut Random) -> Vec<Ipv4Net> {
    let mut all = std::collections::BTreeSet::new();
    while all.len() < count {
        let len = random.choose(LENS4);
        let address = Ipv4Addr::from_bits((random.next() as u32 % 0xdf00_0000) + 0x0100_0000);
        all.insert(Ipv4Net::new(address, len).expect("a length").trunc());
    }
    all.into_iter().collect()
}

/// Sites of /32 to /48 within about 30,000 allocations, as registries give them out.
fn routes6(count: usize, random: &mut Random) -> Vec<Ipv6Net> {
    let blocks = [0x2001u128, 0x2400, 0x2404, 0x2600, 0x2604, 0x2800, 0x2a00, 0x2a02, 0x2a0a, 0x2c0f];
    let allocations: Vec<u128> = (0..30_000)
        .map(|_| {
            blocks[random.next() as usize % blocks.len()] << 112 | u128::from(random.next() as u16) << 96
        })
        .collect();
    let mut all = std::collections::BTreeSet::new();
    while all.len() < count {
        let within = u128::from(random.next()) << 32;
        let address = allocations[random.next() as usize % allocations.len()] | within;
        let net = Ipv6Net::new(Ipv6Addr::from_bits(address), random.choose(LENS6)).expect("a length").trunc();
        all.insert(net);
    }
    all.into_iter().collect()
}

fn main() {
    let ghz: f64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.6);
    let mut random = Random(0x1234_5678_9abc_def1);
    let empty = resident();
    let mut rib = Rib::new(RibConfig::default()).expect("memory");
    println!("resident at start {empty} MiB, with an empty table {} MiB", resident());

    let (nets4, nets6) = (routes4(1_000_000, &mut random), routes6(250_000, &mut random));
    let mut shuffled4: Vec<IpNet> = nets4.iter().map(|&net| net.into()).collect();
    for at in (1..shuffled4.len()).rev() {
        shuffled4.swap(at, random.next() as usize % (at + 1));
    }
    let before = resident();
    insert("insert 1M IPv4, random order, batches of 256", &mut rib, &shuffled4, &mut random);
    let with4 = resident();
    println!("  resident +{} MiB", with4 - before);
    let all6: Vec<IpNet> = nets6.iter().map(|&net| net.into()).collect();
    insert("insert 250k IPv6, sorted, batches of 256", &mut rib, &all6, &mut random);
    println!("  resident +{} MiB", resident() - with4);
    println!("  {:?}", rib.stats());

    let mut reader = rib.reader().expect("a place");
    reader.begin_burst();
    let in4 = |net: &Ipv4Net, random: &mut Random| {
        let host = random.next() as u32 & u32::from(net.hostmask());
        Ipv4Addr::from_bits(net.network().to_bits() | host)
    };
    let in6 = |net: &Ipv6Net, random: &mut Random| {
        let host = (u128::from(random.next()) << 64 | u128::from(random.next())) & u128::from(net.hostmask());
        Ipv6Addr::from_bits(net.network().to_bits() | host)
    };
    let pick = |count: usize, random: &mut Random| random.next() as usize % count;
    let hot4: Vec<_> = (0..1000).map(|_| in4(&nets4[pick(nets4.len(), &mut random)], &mut random)).collect();
    let hot6: Vec<_> = (0..1000).map(|_| in6(&nets6[pick(nets6.len(), &mut random)], &mut random)).collect();
    let stream = 1 << 20;
    let order: Vec<usize> = (0..stream).map(|_| pick(1000, &mut random)).collect();
    let hot4: Vec<_> = order.iter().map(|&at| hot4[at]).collect();
    let hot6: Vec<_> = order.iter().map(|&at| hot6[at]).collect();
    let far4: Vec<_> =
        (0..stream).map(|_| in4(&nets4[pick(nets4.len(), &mut random)], &mut random)).collect();
    let far6: Vec<_> =
        (0..stream).map(|_| in6(&nets6[pick(nets6.len(), &mut random)], &mut random)).collect();

    lookups4("fib4, 1000 destinations", ghz, &mut reader, &hot4);
    lookups4("fib4, random over the table", ghz, &mut reader, &far4);
    single4("fib4, random, one by one", ghz, &mut reader, &far4);
    resolve4("fib4 and next hop, 1000 destinations", ghz, &mut reader, &hot4);
    lookups6("fib6, 1000 destinations", ghz, &mut reader, &hot6);
    lookups6("fib6, random over the table", ghz, &mut reader, &far6);
    single6("fib6, random, one by one", ghz, &mut reader, &far6);

    let key = HashKey::new([random.next(), random.next()]);
    let source = Ipv4Addr::new(10, 0, 0, 1);
    let flow4 = |&destination: &Ipv4Addr| Flow4 { destination, source, port: 1, class: 0 };
    let flow6 =
        |&destination: &Ipv6Addr| Flow6 { destination, source: Ipv6Addr::LOCALHOST, port: 1, class: 0 };
    let (keys4, keys6): (Vec<_>, Vec<_>) =
        (hot4.iter().map(flow4).collect(), hot6.iter().map(flow6).collect());
    cached("cache4 of 8192, 1000 flows", ghz, key, &keys4);
    cached("cache6 of 8192, 1000 flows", ghz, key, &keys6);
    let flood: Vec<_> = far4.iter().map(flow4).collect();
    flooded("flood: probe, fib4, insert", ghz, key, &mut reader, &flood, true);
    flooded("flood: probe, fib4", ghz, key, &mut reader, &flood, false);
    mixed(key, &keys4, &flood);

    reader.offline(); // it must not hold up the changes
    changes(&mut rib, &shuffled4, (&far4, &far6), &mut random);
    changes(&mut rib, &all6, (&far4, &far6), &mut random);
    let start = Instant::now();
    let change = rib.set_port_up(PortId::new(1).expect("a port"), false);
    println!("port down: {change:?} in {:?}", start.elapsed());
    let start = Instant::now();
    let change = rib.set_port_up(PortId::new(1).expect("a port"), true);
    println!("port up:   {change:?} in {:?}", start.elapsed());
}

fn route(prefix: IpNet, random: &mut Random) -> Route {
    Route { prefix, target: gateway(random), source: Source::Kernel, metric: 20 }
}

fn insert(what: &str, rib: &mut Rib, nets: &[IpNet], random: &mut Random) {
    let start = Instant::now();
    for batch in nets.chunks(256) {
        let applied = rib.apply(batch.iter().map(|&net| Change::Add(route(net, random))));
        assert_eq!(applied.refused, []);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {:.0} a second", nets.len() as f64 / seconds);
}

/// One change at a time, each its own generation (withdraw, announce, another next hop), while a reader looks up.
fn changes(rib: &mut Rib, nets: &[IpNet], (to4, to6): (&[Ipv4Addr], &[Ipv6Addr]), random: &mut Random) {
    let family = if nets[0].addr().is_ipv4() { "IPv4" } else { "IPv6" };
    let (done, looked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut reader = rib.reader().expect("a place");
    let (count, mut retries) = (100_000, 0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut out = [NextHopId::NONE; BURST];
            for (to4, to6) in to4.chunks_exact(BURST).zip(to6.chunks_exact(BURST)).cycle() {
                reader.begin_burst();
                reader.lookup4_burst(to4, &mut out);
                black_box(&out);
                reader.lookup6_burst(to6, &mut out);
                black_box(&out);
                looked.fetch_add(2 * BURST as u64, Ordering::Relaxed);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut make = |change: Change| {
            while let Some((_, error)) = rib.apply([change.clone()]).refused.pop() {
                assert!(error.may_retry(), "{error}");
                retries += 1;
                std::thread::yield_now();
            }
        };
        for _ in 0..count {
            let prefix = nets[random.next() as usize % nets.len()];
            make(Change::Remove { prefix, source: Source::Kernel, metric: 20 });
            make(Change::Add(route(prefix, random)));
            make(Change::Replace(route(prefix, random)));
        }
        done.store(true, Ordering::Relaxed);
    });
    let (seconds, looked) = (start.elapsed().as_secs_f64(), looked.load(Ordering::Relaxed) as f64);
    println!(
        "changes {family}: {:.0} a second ({retries} retries) beside {:.1} M lookups a second, half of each family",
        f64::from(count) * 3.0 / seconds,
        looked / seconds / 1e6
    );
}

/// Runs `work` over bursts of `items` and prints the median cost of one item.
fn measure<T>(what: &str, ghz: f64, items: &[T], mut work: impl FnMut(&[T])) {
    let mut runs: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            items.chunks_exact(BURST).for_each(&mut work);
            start.elapsed().as_secs_f64() * 1e9 / items.len() as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    let (median, best) = (runs[ROUNDS / 2], runs[0]);
    println!("{what:44} {median:6.2} ns {:6.1} cycles   (best {best:.2} ns)", median * ghz);
}

fn lookups4(what: &str, ghz: f64, reader: &mut RouteReader, to: &[Ipv4Addr]) {
    let mut out = [NextHopId::NONE; BURST];
    measure(what, ghz, to, |burst| {
        reader.begin_burst();
        reader.lookup4_burst(burst, &mut out);
        black_box(&out);
    });
}

fn single4(what: &str, ghz: f64, reader: &mut RouteReader, to: &[Ipv4Addr]) {
    measure(what, ghz, to, |burst| {
        burst.iter().for_each(|&to| {
            black_box(reader.lookup4(to));
        })
    });
}

fn resolve4(what: &str, ghz: f64, reader: &mut RouteReader, to: &[Ipv4Addr]) {
    let mut out = [NextHopId::NONE; BURST];
    measure(what, ghz, to, |burst| {
        reader.begin_burst();
        reader.lookup4_burst(burst, &mut out);
        for &id in &out {
            black_box(reader.resolve(id, 7));
        }
    });
}

fn lookups6(what: &str, ghz: f64, reader: &mut RouteReader, to: &[Ipv6Addr]) {
    let mut out = [NextHopId::NONE; BURST];
    measure(what, ghz, to, |burst| {
        reader.begin_burst();
        reader.lookup6_burst(burst, &mut out);
        black_box(&out);
    });
}

fn single6(what: &str, ghz: f64, reader: &mut RouteReader, to: &[Ipv6Addr]) {
    measure(what, ghz, to, |burst| {
        burst.iter().for_each(|&to| {
            black_box(reader.lookup6(to));
        })
    });
}

fn cached<K: flumen_stack::route::CacheKey>(what: &str, ghz: f64, key: HashKey, keys: &[K]) {
    let mut cache = RouteCache::<K, [u32; 3]>::new(8192, key);
    for key in keys {
        if cache.probe(key).is_none() {
            cache.insert(*key, [1; 3]);
        }
    }
    let mut values = [[0; 3]; BURST];
    let mut hits = 0;
    measure(what, ghz, keys, |burst| {
        let found = cache.probe_burst(burst, &mut values);
        hits += u64::from(found.count_ones());
        black_box(&values);
    });
    println!("  hits {:.2} %", hits as f64 * 100.0 / (keys.len() * ROUNDS) as f64);
}

fn flooded(what: &str, ghz: f64, key: HashKey, reader: &mut RouteReader, keys: &[Flow4], insert: bool) {
    let mut cache = RouteCache::<Flow4, [u32; 3]>::new(8192, key);
    let (mut values, mut out) = ([[0; 3]; BURST], [NextHopId::NONE; BURST]);
    let mut to = [Ipv4Addr::UNSPECIFIED; BURST];
    measure(what, ghz, keys, |burst| {
        black_box(cache.probe_burst(burst, &mut values));
        to.iter_mut().zip(burst).for_each(|(to, key)| *to = key.destination);
        reader.lookup4_burst(&to, &mut out);
        if insert {
            burst.iter().zip(&out).for_each(|(key, id)| cache.insert(*key, [id.index(); 3]));
        }
        black_box(&out);
    });
}

/// Hits of 1000 busy flows when as many packets again are of flows never seen before.
fn mixed(key: HashKey, busy: &[Flow4], flood: &[Flow4]) {
    let mut cache = RouteCache::<Flow4, [u32; 3]>::new(8192, key);
    let mut hits = 0;
    for (busy, new) in busy.iter().zip(flood) {
        match cache.probe(busy) {
            Some(_) => hits += 1,
            None => cache.insert(*busy, [1; 3]),
        }
        if cache.probe(new).is_none() {
            cache.insert(*new, [2; 3]);
        }
    }
    println!(
        "busy flows that hit under a flood of one to one: {:.1} %",
        f64::from(hits) * 100.0 / busy.len() as f64
    );
}

/// Resident memory of this process in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}
