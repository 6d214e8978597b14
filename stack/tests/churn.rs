//! Routes change under the feet of the forwarders: one writer, two stacks that forward, no locks.
//!
//! The writer makes at least 100,000 changes: it adds, replaces and removes prefixes, among them ones that cover
//! the stable destinations and ones that lie beside them, next hops and multipath groups. The forwarders send
//! bursts to stable destinations, of which not one packet may be lost or misrouted, and to changing ones, whose
//! packets go to a next hop that the writer has named for them, or nowhere when there is none.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use flumen_stack::route::{Rib, Source, Target};
use flumen_stack::{Counter, DropReason};
use ipnet::IpNet;
use std::time::Instant;

const CHANGES: usize = 120_000;
const FORWARDERS: usize = 2;

/// Stable destinations, each with the port and host that it goes to for ever.
const STABLE: [(&str, usize, u8); 4] =
    [("192.0.2.1", WAN, 2), ("192.0.2.200", WAN, 2), ("2001:db8:1::1", WAN, 2), ("10.0.3.2", DMZ, 2)];

/// Changing ones, and whom the writer may name for each.
const CHANGING: [(&str, &[(usize, u8)]); 4] = [
    ("172.16.1.1", &[(WAN, 2), (WAN, 9), (DMZ, 2), (DMZ, 9)]),
    ("172.16.200.1", &[(WAN, 2), (WAN, 9), (DMZ, 2), (DMZ, 9)]),
    ("2001:db8:77::1", &[(WAN, 2), (WAN, 9), (DMZ, 2), (DMZ, 9)]),
    ("2001:db8:77:8::1", &[(WAN, 2), (WAN, 9), (DMZ, 2), (DMZ, 9)]),
];

/// Prefixes that come, change and go. Those that hold a stable destination are shorter than its own.
const PREFIXES: [&str; 12] = [
    "172.16.0.0/12",
    "172.16.0.0/16",
    "172.16.1.0/24",
    "172.16.1.0/30",
    "172.16.200.1/32",
    "192.0.0.0/16",  // covers 192.0.2.0/24
    "192.0.3.0/24",  // lies beside it
    "192.0.2.64/26", // lies in it, around none of the stable
    "2001:db8:77::/48",
    "2001:db8:77::/64",
    "2001:db8::/32", // covers 2001:db8:1::/48
    "2001:db8:1:1::/64",
];

fn target(v6: bool, choice: usize) -> Target {
    let via = |index: usize, host: u8| match v6 {
        true => format!("fd00:{}::{host}", index + 1),
        false => format!("10.0.{}.{host}", index + 1),
    };
    let single = |index, host| gateway(index, &via(index, host));
    match choice % 7 {
        0 => single(WAN, 2),
        1 => single(WAN, 9),
        2 => single(DMZ, 2),
        3 => single(DMZ, 9),
        4 => multipath(&[(WAN, &via(WAN, 2)), (DMZ, &via(DMZ, 9))]),
        5 => multipath(&[(WAN, &via(WAN, 9)), (DMZ, &via(DMZ, 2)), (DMZ, &via(DMZ, 9))]),
        _ => Target::Blackhole,
    }
}

/// Makes the changes; returns how many were made and how long it took.
fn write(rib: &mut Rib, stop: &AtomicBool, forwarded: &[AtomicU64; FORWARDERS]) -> (usize, f64) {
    let started = Instant::now();
    let mut random = 7u64;
    let mut done = 0;
    // At least so many changes, and until every forwarder has had its share beside them.
    while done < CHANGES || forwarded.iter().any(|count| count.load(Ordering::Relaxed) < 20_000) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (which, choice) = ((random >> 33) as usize % PREFIXES.len(), (random >> 45) as usize);
        let prefix: IpNet = PREFIXES[which].parse().unwrap();
        let result = if choice % 4 == 0 {
            rib.remove(prefix, Source::Static, 0)
        } else {
            rib.replace(&route(PREFIXES[which], target(PREFIXES[which].contains("::"), choice / 4)))
        };
        use flumen_stack::route::RouteError::{GracePending, NotFound};
        match result {
            Ok(()) => done += 1,
            // It was not there; or the forwarders have still to let go of what was freed.
            Err(NotFound(_)) => {}
            Err(GracePending(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Release);
    (done, seconds)
}

/// Forwards bursts until told to stop; every packet is looked at.
fn forward(mut router: Router, stop: &AtomicBool, forwarded: &AtomicU64) -> (u64, u64) {
    router.introduce();
    for index in [WAN, DMZ] {
        for address in [format!("10.0.{}.9", index + 1), format!("fd00:{}::9", index + 1)] {
            let mac = station(index, 9);
            router.stack.neighbours.add_static(port(index), ip(&address), mac, router.now).unwrap();
        }
    }
    let mut bursts = Vec::new();
    let destinations: Vec<&str> =
        STABLE.iter().map(|(text, ..)| *text).chain(CHANGING.iter().map(|(text, _)| *text)).collect();
    for round in 0..32u8 {
        // One packet to each destination, of another flow in each round; the destination is told by the number.
        let burst: Vec<Vec<u8>> = (0..destinations.len() as u8)
            .map(|number| {
                let destination = ip(destinations[usize::from(number)]);
                let source = if destination.is_ipv4() { ip("10.0.1.2") } else { ip("fd00:1::2") };
                let payload = upper(17, source, destination, [round, number], &[number]);
                match (source, destination) {
                    (core::net::IpAddr::V4(source), core::net::IpAddr::V4(destination)) => {
                        let packet = V4 {
                            tos: 0,
                            id: 1,
                            fragment: 0,
                            ttl: 64,
                            protocol: 17,
                            source,
                            destination,
                            options: Vec::new(),
                            payload,
                        };
                        ethernet(our_mac(LAN), station(LAN, 2), 0x0800, &packet.bytes())
                    }
                    (core::net::IpAddr::V6(source), core::net::IpAddr::V6(destination)) => {
                        let packet = V6 {
                            word: 6 << 28,
                            next_header: 17,
                            hop_limit: 64,
                            source,
                            destination,
                            payload,
                        };
                        ethernet(our_mac(LAN), station(LAN, 2), 0x86dd, &packet.bytes())
                    }
                    _ => panic!("one family"),
                }
            })
            .collect();
        bursts.push(burst);
    }
    let (mut stable, mut changing) = (0, 0);
    for burst in bursts.iter().cycle() {
        // Acquire: partner of the writer's Release.
        if stop.load(Ordering::Acquire) {
            break;
        }
        router.input(LAN, burst);
        let mut arrived = [0; STABLE.len()];
        for (out, frame) in router.sent() {
            if out == LAN {
                continue; // an error about a changing destination that has no route now
            }
            let number = usize::from(*frame.last().unwrap());
            let goes_to = |index: usize, host: u8| out == index && frame[..6] == station(index, host).0;
            if let Some((text, index, host)) = STABLE.get(number) {
                assert!(goes_to(*index, *host), "{text} went to {out} {:02x?}", &frame[..6]);
                arrived[number] += 1;
            } else {
                let (text, allowed) = CHANGING[number - STABLE.len()];
                assert!(allowed.iter().any(|(index, host)| goes_to(*index, *host)), "{text}: {frame:02x?}");
                changing += 1;
            }
        }
        assert_eq!(arrived, [1; STABLE.len()], "each stable destination gets its packet");
        stable += STABLE.len() as u64;
        // Relaxed: a number for the writer to look at, nothing else.
        forwarded.store(stable, Ordering::Relaxed);
    }
    let counters = &router.stack.counters;
    let total = counters.get(Counter::Ipv4Forwarded) + counters.get(Counter::Ipv6Forwarded);
    assert_eq!(total, stable + changing, "what was forwarded left");
    for reason in DropReason::ALL {
        if !matches!(reason, DropReason::NoRoute | DropReason::RouteBlackhole) {
            assert_eq!(counters.dropped(*reason), 0, "{}", reason.name());
        }
    }
    (stable, changing)
}

#[test]
fn a_hundred_thousand_changes_while_forwarding_lose_and_misroute_nothing() {
    let mut rib = rib();
    let stop = AtomicBool::new(false);
    let forwarded: [AtomicU64; FORWARDERS] = Default::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = forwarded
            .iter()
            .map(|count| {
                let reader = rib.reader().unwrap();
                let stop = &stop;
                scope.spawn(move || {
                    // A router that fails must not leave the writer waiting for it.
                    struct Ended<'a>(&'a AtomicU64);
                    impl Drop for Ended<'_> {
                        fn drop(&mut self) {
                            self.0.store(u64::MAX, Ordering::Relaxed);
                        }
                    }
                    let _ended = Ended(count);
                    let router = Router::with_reader(reader, Sizes::default(), interfaces());
                    forward(router, stop, count)
                })
            })
            .collect();
        let (done, seconds) = write(&mut rib, &stop, &forwarded);
        assert!(done >= CHANGES);
        let mut moved = (0, 0);
        for thread in threads {
            let (stable, changing) = thread.join().unwrap();
            assert!(stable >= 20_000 && changing > 0, "{stable} {changing}");
            moved = (moved.0 + stable, moved.1 + changing);
        }
        println!(
            "{done} changes in {seconds:.2} s ({:.0} a second); {} packets to stable and {} to changing destinations",
            done as f64 / seconds,
            moved.0,
            moved.1
        );
    });
    // What was freed is free again once nobody reads.
    rib.add(&route("198.18.0.0/24", Target::Blackhole)).unwrap();
    assert!(rib.stats().next_hops < 32, "{:?}", rib.stats());
}
