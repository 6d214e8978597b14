//! Fuzz targets for the whole stack: bursts of anything, at any time, between changes of everything.
//!
//! The random bytes are a script: what comes in, on which port, how broken it is, when time passes, which link
//! goes down, which route changes, who answers. After every step the books must balance (see
//! `flumen_stack::counters`), every frame must be somewhere, and whatever left must be a packet that a router
//! may send. Run longer by `BOLERO_RANDOM_TEST_TIME_MS`, as `fuzz_wire.rs` says:
//!
//! ```text
//!   BOLERO_RANDOM_TEST_TIME_MS=600000 cargo test -p flumen-stack --test fuzz_stack
//! ```
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

#[path = "../common/mod.rs"]
mod common;
mod packets;
mod script;
mod subject;
mod vlans;

use common::*;
use core::net::IpAddr;
use core::time::Duration;
use flumen_stack::neighbour::{Fact, FactKind};
use flumen_stack::route::{Source, Target};
use flumen_stack::{Counter, Counters, DropReason, Instant};
use packets::*;
use script::*;
use std::collections::HashMap;
use subject::*;
use vlans::*;

fn change_route(subject: &mut Subject, script: &mut Script<'_>) {
    let prefix = script.pick(&[
        "192.0.2.0/25",
        "192.0.0.0/16",
        "10.0.2.2/32",
        "10.0.3.0/25",
        "198.51.100.1/32",
        "2001:db8:1::/64",
        "2001:db8::/32",
        "fd00:2::2/128",
    ]);
    if script.once_in(3) {
        let _ = subject.rib.remove(prefix.parse().unwrap(), Source::Static, 1);
        return;
    }
    let v6 = prefix.contains("::");
    let target = match script.byte() & 7 {
        0 => Target::Blackhole,
        1 => Target::Unreachable,
        2 => Target::Prohibit,
        3 => Target::Connected { port: port(script.below(PORTS)) },
        4 if v6 => multipath(&[(WAN, "fd00:2::7"), (DMZ, "fd00:3::2"), (LAN, "fe80::99")]),
        4 => multipath(&[(WAN, "10.0.2.7"), (DMZ, "10.0.3.2"), (LAN, "10.0.1.2")]),
        5 if v6 => gateway(DMZ, "fe80::99"),
        _ if v6 => gateway(DMZ, "fd00:3::2"),
        5 => gateway(DMZ, "fd00:3::2"),
        6 => gateway(LAN, "10.0.1.2"),
        _ => gateway(DMZ, "10.0.3.2"),
    };
    let mut route = route(prefix, target);
    route.metric = 1;
    if subject.rib.replace(&route).is_ok() {
        subject.added.push(prefix.to_owned());
    }
}

fn fact(script: &mut Script<'_>) -> Fact {
    let (one, two, three) = (script.once_in(2), script.once_in(2), script.once_in(2));
    let v4 = script.once_in(2);
    let addr = if v4 { IpAddr::V4(address4(script)) } else { IpAddr::V6(address6(script)) };
    let kind = match (v4, one) {
        (true, true) => FactKind::ArpRequest { for_us: two, gratuitous: three },
        (true, false) => FactKind::ArpReply { to_us: two, gratuitous: three },
        (false, true) => FactKind::LinkAddressOption { router: two.then_some(three) },
        (false, false) => FactKind::Advertisement { solicited: two, overrides: three, router: false },
    };
    let index = script.below(PORTS);
    let mac = (!script.once_in(4)).then(|| station(index, script.byte()));
    Fact { port: port(index), addr, mac, kind }
}

fn step(subject: &mut Subject, script: &mut Script<'_>) {
    match script.byte() & 15 {
        0..=8 => {
            let index = script.below(PORTS);
            let count = script.pick(&[1, 1, 2, 3, 8, 20]);
            let frames: Vec<Vec<u8>> = (0..count).map(|_| frame(script, index)).collect();
            let copies = if script.once_in(12) { 64 / count } else { 1 };
            let burst: Vec<Vec<u8>> = frames.iter().cycle().take(count * copies).cloned().collect();
            subject.input(index, &burst);
        }
        9 => {
            let wait = script.pick(&[1, 250, 1000, 1000, 5000, 70_000]);
            subject.router.now = subject.router.now + Duration::from_millis(wait);
            for _ in 0..4 {
                subject.router.turn(|stack, turn| stack.timers(turn));
                subject.router.turn(|stack, turn| stack.output(turn));
                subject.check();
            }
            if subject.router.stack.next_deadline() <= subject.router.now {
                assert!(subject.router.stack.neighbours.len() > 4, "a deadline that is over and stays");
            }
        }
        10 => {
            let index = script.below(PORTS);
            let up = subject.up[index];
            subject.set_port_up(index, !up);
        }
        11 => change_route(subject, script),
        12 => {
            let fact = subject.router.stack.next_fact().filter(|_| script.once_in(2)).unwrap_or(fact(script));
            subject.router.turn(|stack, turn| stack.learn(turn, fact));
            subject.check();
        }
        13 => {
            subject.router.stack.going_to_sleep();
            subject.router.stack.awake();
        }
        _ => {
            // Somebody answers what was asked.
            for (index, question) in core::mem::take(&mut subject.questions) {
                let host = script.pick(&[2, 2, 3]);
                let (tags, question) = untagged(&question);
                if let Some(reply) = answer(&question, station(index, host)) {
                    subject.input(index, &[tagged(&reply, &tags)]);
                }
            }
        }
    }
}

#[test]
fn scripts_of_packets_time_and_changes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut script = Script(bytes);
        let mut subject = Subject::new(&mut script);
        while !script.0.is_empty() {
            step(&mut subject, &mut script);
        }
        subject.finish();
    });
}

#[test]
fn bursts_of_raw_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut script = Script(bytes);
        let mut subject = Subject::new(&mut script);
        while !script.0.is_empty() {
            let index = script.below(PORTS);
            let frames: Vec<Vec<u8>> = (0..script.pick(&[1, 4, 16]))
                .map(|_| {
                    let length = script.pick(&[0, 13, 14, 33, 34, 42, 60, 80]) + script.below(16);
                    let mut bytes = script.bytes(length);
                    // Half of them get through the door.
                    if let Some(header) = bytes.first_chunk_mut::<15>().filter(|_| script.once_in(2)) {
                        header[..6].copy_from_slice(&our_mac(index).0);
                        header[6] &= 0xfe;
                        let (kind, version) =
                            script.pick(&[([8, 0], 0x45), ([0x86, 0xdd], 0x60), ([8, 6], 0)]);
                        header[12..14].copy_from_slice(&kind);
                        header[14] = version;
                    }
                    bytes
                })
                .collect();
            subject.input(index, &frames);
        }
        subject.finish();
    });
}

/// What random scripts of a known start do: for tests about the fuzzer itself.
fn random_script(seed: u64) -> Vec<u8> {
    let mut random = flumen_stack::sim::Random::new(seed);
    (0..2000).map(|_| random.number() as u8).collect()
}

fn play(bytes: &[u8]) -> (Counters, Instant) {
    let mut script = Script(bytes);
    let mut subject = Subject::new(&mut script);
    while !script.0.is_empty() {
        step(&mut subject, &mut script);
    }
    subject.router.turn(|stack, turn| stack.stop_waiting(turn));
    subject.check();
    assert_eq!(subject.router.stack.neighbours.frames_held(), 0, "nothing waits after the end");
    let end = (subject.router.stack.counters.clone(), subject.router.now);
    subject.finish();
    end
}

/// The same script on the same router gives the same answers: nothing depends on what is not in the script.
#[test]
fn a_script_replays_exactly() {
    for seed in 0..50 {
        let bytes = random_script(seed);
        let ((one, at), (two, then)) = (play(&bytes), play(&bytes));
        assert_eq!(one.flat().collect::<Vec<_>>(), two.flat().collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(at, then);
    }
}

/// A fuzzer that never gets past the door finds nothing: together, scripts reach every event and nearly every end.
#[test]
fn scripts_reach_every_event_and_nearly_every_end() {
    let mut events = HashMap::new();
    let mut ends = HashMap::new();
    for seed in 0..1500 {
        let (counters, _) = play(&random_script(seed));
        for counter in Counter::ALL {
            *events.entry(counter.name()).or_insert(0) += counters.get(*counter);
        }
        for reason in DropReason::ALL {
            *ends.entry(reason.name()).or_insert(0) += counters.dropped(*reason);
        }
    }
    let missing = |counts: &HashMap<&'static str, u64>| {
        let mut names: Vec<_> =
            counts.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    };
    // What takes all pieces of a datagram, or more memory than a script fills: `fuzz_fragments` and the tests of
    // reassembly reach these.
    let by_reassembly =
        ["ipv4-reassembled", "ipv6-reassembled", "ipv6-reassembly-failed", "reassembly-evicted"];
    // No socket is open here: `datagrams`, `tcp` and their properties drive those.
    let by_sockets = [
        "icmp-errors-to-sockets",
        "igmp-in",
        "igmp-out",
        "mld-in",
        "mld-out",
        "raw-in",
        "raw-out",
        "udp-in",
        "udp-out",
        "udplite-in",
        "udplite-out",
    ];
    // There is one worker: `homes` drives what goes to another.
    let by_workers = ["raw-copies", "taken-over"];
    let mut elsewhere: Vec<_> = by_reassembly.into_iter().chain(by_sockets).chain(by_workers).collect();
    elsewhere.sort_unstable();
    // What needs policy, time or another worker: `addresses`, `icmp` and `multicast` drive those.
    let by_policy = [
        "arp-announcements-out",
        "duplicate-addresses",
        "group-messages-untold",
        "icmp-answers",
        "looped-back",
        "multicast-copies",
        "multicast-forwarded",
        "multicast-groups-refused",
        "multicast-scope",
        "multicast-wrong-port",
        "nd-redirects-out",
        "nd-router-advertisements-out",
        "nd-router-solicitations-out",
        "probes-looped-back",
        "proxy-answers",
        "redirects-learned",
        "address-tentative",
        "icmp-mask-wrong",
        "icmp-redirect-refused",
    ];
    let mut missing_events = missing(&events);
    missing_events.retain(|name| !by_policy.contains(name));
    assert_eq!(missing_events, elsewhere);
    // What ports and workers find (`homes` drives what is handed over); what needs a chunk without headroom; and what the checks of addresses, which
    // come first, leave nothing of.
    let never = ["handed-over", "handoff-full", "neighbour-not-unicast", "no-headroom", "tx-refused"];
    let by_reassembly = ["fragment-dropped", "fragment-overlap", "fragment-tiny", "reassembly-full"];
    let by_sockets =
        |name: &str| ["socket-", "tcp-", "udplite-"].iter().any(|prefix| name.starts_with(prefix));
    let mut missing = missing(&ends);
    missing.retain(|name| !by_policy.contains(name));
    missing.retain(|name| !by_sockets(name) && !["igmp-malformed", "loopback-full"].contains(name));
    let mut elsewhere: Vec<_> = never.into_iter().chain(by_reassembly).collect();
    elsewhere.sort_unstable();
    assert_eq!(missing, elsewhere);
    assert!(events["ipv4-forwarded"] > 1000 && events["ipv6-forwarded"] > 500, "{events:?}");
}
