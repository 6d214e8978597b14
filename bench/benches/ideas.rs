//! One measurement for each idea of the packet path, by time: `cargo bench -p flumen-bench`. Where an idea
//! works on bursts, a burst of 64 is one iteration and criterion's throughput counts packets.
#![allow(missing_docs)] // criterion's macro makes an undocumented function

use af_xdp::ring::{Descriptor, Loopback};
use core::hint::black_box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flumen::builtin::http::conversation::Conversation;
use flumen::builtin::http::heads::Heads;
use flumen::builtin::http::site::Site;
use flumen::builtin::pattern::Pattern;
use flumen::config::model::HttpService;
use flumen::handoff::{Doorbell, Errand, channel};
use flumen::mempool::WorkerPool;
use flumen_bench::random::Random;
use flumen_bench::table::{Prefixes, gateway4};
use flumen_bench::tcp::Time;
use flumen_bench::tcp::loads::{self, Load};
use flumen_bench::traffic::{SOURCE4, udp4};
use flumen_bench::{parts, router};
use flumen_stack::checksum;
use flumen_stack::frame::heap::HeapFrame;
use flumen_stack::limits::BURST;
use flumen_stack::route::ecmp::HashKey;
use flumen_stack::route::{Flow4, NextHopId, RouteCache};
use flumen_stack::wire::ipv4;

/// What the web server adds to what TCP costs for a request: reading it, and finding the bytes of the reply.
fn http(c: &mut Criterion) {
    let mut site = Site::new(&HttpService::default(), &[]);
    let (mut heads, pattern) = (Heads::new(1), Pattern::default());
    let mut talk = Conversation::default();
    let mut group = c.benchmark_group("http");
    for (name, request) in [
        ("wrk", "GET / HTTP/1.1\r\nHost: 10.0.1.1\r\n\r\n"),
        ("curl", "GET / HTTP/1.1\r\nHost: 10.0.1.1\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"),
    ] {
        group.bench_function(format!("request as {name} sends it"), |b| {
            b.iter(|| {
                talk.take(&site, &mut heads, 1, black_box(request.as_bytes()));
                let count = black_box(talk.next(&mut site, &pattern)).len();
                talk.sent(&mut site, count);
            });
        });
    }
    group.finish();
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20usize, 64, 576, 1500, 9000] {
        let bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("sum-{len}"), |b| b.iter(|| checksum::sum(black_box(&bytes))));
    }
    group.finish();
}

fn header_check(c: &mut Criterion) {
    let frame = udp4(Ipv4Addr::new(198, 51, 100, 7));
    let packet = &frame[flumen_stack::ethernet::HEADER_LEN..];
    c.bench_function("ipv4 header check", |b| {
        b.iter(|| ipv4::Header::receive(black_box(packet), packet.len()).is_ok());
    });
}

fn routes(c: &mut Criterion) {
    let prefixes = Prefixes::full();
    let mut rib = flumen::service::routes::table(1_100_000, 260_000).expect("memory for the tables");
    prefixes.install(&mut rib, router::port_out());
    let mut reader = rib.reader().expect("a place for a reader");
    reader.begin_burst();
    let mut random = Random::new(99);
    let mut group = c.benchmark_group("routes");
    group.throughput(Throughput::Elements(BURST as u64));
    for (name, count) in [("1000 destinations", 1024), ("random destinations", 1 << 20)] {
        let to4: Vec<Ipv4Addr> = (0..count).map(|_| prefixes.destination4(&mut random)).collect();
        let to6: Vec<Ipv6Addr> = (0..count).map(|_| prefixes.destination6(&mut random)).collect();
        let mut out = [NextHopId::NONE; BURST];
        let mut bursts = to4.chunks_exact(BURST).cycle();
        group.bench_function(format!("fib4, {name}"), |b| {
            b.iter(|| reader.lookup4_burst(bursts.next().unwrap_or_default(), black_box(&mut out)));
        });
        let mut bursts = to6.chunks_exact(BURST).cycle();
        group.bench_function(format!("fib6, {name}"), |b| {
            b.iter(|| reader.lookup6_burst(bursts.next().unwrap_or_default(), black_box(&mut out)));
        });
    }
    let flow = |destination| Flow4 { destination, source: SOURCE4, port: 0, class: 0 };
    let keys: Vec<Flow4> = (0..1024).map(|_| flow(prefixes.destination4(&mut random))).collect();
    let mut cache = RouteCache::<Flow4, [u32; 3]>::new(router::ROUTE_CACHE, HashKey::new([1, 2]));
    keys.iter().for_each(|key| cache.insert(*key, [1; 3]));
    let (mut values, mut bursts) = ([[0; 3]; BURST], keys.chunks_exact(BURST).cycle());
    group.bench_function("cache hit, 1000 flows", |b| {
        b.iter(|| cache.probe_burst(bursts.next().unwrap_or_default(), black_box(&mut values)));
    });
    group.finish();
}

fn neighbours(c: &mut Criterion) {
    let rib = flumen::service::routes::table(1000, 1000).expect("memory for the tables");
    let stack = router::stack::<HeapFrame>(rib.reader().expect("a place"), 0).expect("a stack");
    let gateway = IpAddr::from(gateway4(7));
    let id = stack.neighbours.lookup(router::port_out(), gateway).expect("it is static");
    c.bench_function("neighbour link header", |b| {
        b.iter(|| stack.neighbours.link_header(black_box(id)).copied());
    });
}

fn handoff(c: &mut Criterion) {
    let pool = af_xdp::Pool::new(&af_xdp::PoolConfig { chunks: 256, ..af_xdp::PoolConfig::default() });
    let mut pool = WorkerPool(pool.expect("memory for a pool"));
    let frame = pool.frame(&udp4(Ipv4Addr::new(198, 51, 100, 7))).expect("the pool is fresh");
    let (mut sender, mut receiver) = channel(256, Doorbell::new().expect("an eventfd"));
    let mut group = c.benchmark_group("handoff");
    group.throughput(Throughput::Elements(BURST as u64));
    // Both ends on one core: the copies and the cursors, without the other core's cache.
    group.bench_function("send and receive", |b| {
        b.iter(|| {
            for _ in 0..BURST {
                let _full = sender.send(Errand::Receive, router::port_in(), &frame);
            }
            sender.flush();
            while let Some(received) = receiver.receive(&mut pool) {
                black_box(received.is_ok());
            }
        });
    });
    group.finish();
}

fn rings(c: &mut Criterion) {
    let mut ring = Loopback::new(2 * BURST as u32, 0, Descriptor::default());
    let (mut producer, mut consumer) = ring.sides();
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(BURST as u64));
    // Both ends on one core, as for the handoff.
    group.bench_function("a burst of descriptors", |b| {
        b.iter(|| black_box(parts::through_ring(&mut producer, &mut consumer)));
    });
    group.finish();
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timer wheel");
    group.throughput(Throughput::Elements(BURST as u64));
    for places in [1024, 1 << 20] {
        let mut timers = parts::Timers::new(places);
        group.bench_function(format!("deadlines of {places} connections"), |b| {
            b.iter(|| black_box(timers.turn()));
        });
    }
    group.finish();
}

/// Both ends together: what a segment with 1448 bytes costs, and a question of 64 bytes with its answer.
fn tcp(c: &mut Criterion) {
    let mut group = c.benchmark_group("tcp");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut bulk = loads::Bulk::new(Time::real()).expect("two stacks");
    group.bench_function("64 segments of a stream", |b| b.iter(|| bulk.work(BURST as u64 * 1448).is_ok()));
    let mut questions = loads::Questions::new(BURST, Time::real()).expect("two stacks");
    group.bench_function("64 questions", |b| b.iter(|| questions.work(BURST as u64).is_ok()));
    group.finish();
}

criterion_group!(benches, http, checksums, header_check, routes, neighbours, handoff, rings, timers, tcp);
criterion_main!(benches);
