//! The same packets into Linux and into Flumen: what comes out at either side, and what is said back, is compared field
//! by field.
//!
//! ```text
//!   played hosts 10.77.0.N, fd00:77::N ── .77 ── lan [ Linux; Flumen ] wan ── .77 ── played hosts 10.78.0.1, fd00:78::1
//! ```
//! No kernel has the played addresses, so nobody but the router answers; each case has a source of its own, so that limits
//! for each peer leave it alone. Not compared are: identification, flow label and the times in a timestamp reply of
//! what the router sends itself. What differs for a reason is in [`DIFFERENCES`], and in docs/exceptions.md.

mod packets;
mod corpus;
mod ipv4;
mod ipv6;
mod words;

use packets::*;
use corpus::*;
use words::*;
use super::harness::{Action, LAN_MAC, Lab, Role, RouterKind, WAN_MAC, Wire};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A case is over when nothing came for so long.
const QUIET: Duration = Duration::from_millis(60);

/// And for so long where the first look found a difference: on a busy machine an answer may have come late.
const PATIENT: Duration = Duration::from_millis(500);

/// Cases in which Flumen means to do otherwise, and why. A case that is listed and does not differ fails the test.
const DIFFERENCES: &[(&str, &str)] = &[
    ("long, with options that are and are not copied", "options that are not copied take no room in later fragments; Linux leaves no-operations"),
    ("to class E", "a martian (RFC 1812 section 5.3.7): Linux says that the network is unreachable"),
    ("from 0.0.0.1", "a martian (RFC 1122 section 3.2.1.3)"),
    ("from class E", "a martian (RFC 1812 section 5.3.7)"),
    ("from the link's broadcast address", "a martian (RFC 1812 section 5.3.7)"),
    ("to a neighbour of the sender", "a redirect quotes the packet as it came; Linux has taken one off the TTL"),
    ("bytes behind the end of options, in transit", "they are nobody's; Linux makes them zero"),
    ("a record of the route with pointer 5, to us", "a free place is a free place; Linux says nothing"),
    ("a timestamp option that is full, to us", "counted on the way in and on the way out, as times are written; Linux counts once"),
    ("a timestamp request that is too short", "there is nothing to answer; Linux answers with what lies behind it"),
    ("UDP that is shorter than its packet", "an error quotes the packet as it came; Linux cuts it first"),
    ("protocol 103 to us", "PIM, which Linux hears"),
    ("IPv6 to ::", "a martian (RFC 4291 section 2.5.2)"),
    ("to an IPv4-mapped address", "a martian (RFC 4291 section 2.5.5.2: never on a wire)"),
    ("from an IPv4-mapped address", "a martian (RFC 4291 section 2.5.5.2: never on a wire)"),
    ("IPv6 from the router itself", "a martian, as with IPv4"),
    ("a hop-by-hop option beyond its header", "told of (RFC 4443 section 3.4)"),
    ("a jumbo option in a small packet", "jumbograms are an option that nobody knows here"),
    ("IPv6 fragments without the upper header", "a fragment of no bytes ends without a word"),
    ("a solicitation for us alone", "the answer has the link-layer address all the same (RFC 4861 section 7.2.4)"),
    ("an ARP request for our other address", "that of another port (arp_ignore = 1 in Linux's terms)"),
    ("an ARP request for our other address, to us alone", "that of another port (arp_ignore = 1 in Linux's terms)"),
];

/// What comes out of the router on both sides until it is quiet.
fn hear(client: &Wire, server: &Wire, quiet: Duration) -> Vec<String> {
    let mut heard = Vec::new();
    let sides = [("lan", client, &[HOST_MAC, OTHER_MAC][..]), ("wan", server, &[FAR_MAC][..])];
    let mut buffer = vec![0; 1 << 16];
    let mut deadline = Instant::now() + quiet;
    while let Some(left) = deadline.checked_duration_since(Instant::now())
        && let Some(at) = Wire::wait(&sides.map(|(_, wire, _)| wire), left)
    {
        let (side, wire, played) = sides[at];
        let Some(len) = wire.next(&mut buffer) else { continue };
        let frame = &buffer[..len];
        let to_played = played.iter().any(|mac| frame[..6] == mac[..]);
        let from_router = [LAN_MAC, WAN_MAC].iter().any(|mac| frame[6..12] == mac[..]);
        if to_played && from_router {
            heard.push(format!("{side} {}", describe(frame)));
            deadline = Instant::now() + quiet;
        }
    }
    heard.sort_by_key(|said| said.starts_with("wan"));
    heard
}

fn play(router: RouterKind, corpus: &Corpus, quiet: Duration) -> BTreeMap<String, Vec<String>> {
    let lab = Lab::plan()
        .router(router)
        .offloads_off()
        .far_mtu(1400)
        .neighbour("lan", "10.0.1.77", "02:00:00:00:01:77")
        .neighbour("lan", "10.0.1.78", "02:00:00:00:01:78")
        .neighbour("lan", "fd00:1::77", "02:00:00:00:01:77")
        .neighbour("lan", "fd00:1::78", "02:00:00:00:01:78")
        .neighbour("lan", "fe80::77", "02:00:00:00:01:77")
        .neighbour("wan", "10.0.2.77", "02:00:00:00:02:77")
        .neighbour("wan", "fd00:2::77", "02:00:00:00:02:77")
        .route("10.77.0.0/16", Action::Via(&["10.0.1.77"]))
        .route("fd00:77::/32", Action::Via(&["fd00:1::77"]))
        .route("10.78.0.0/16", Action::Via(&["10.0.2.77"]))
        .route("fd00:78::/32", Action::Via(&["fd00:2::77"]))
        .route("203.0.113.0/24", Action::Blackhole)
        .route("203.0.112.0/24", Action::Unreachable)
        .route("203.0.111.0/24", Action::Prohibit)
        .route("2001:db8:3::/48", Action::Blackhole)
        .route("2001:db8:4::/48", Action::Unreachable)
        .route("2001:db8:5::/48", Action::Prohibit)
        .up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    let mut heard = BTreeMap::new();
    for (name, frames) in &corpus.0 {
        frames.iter().for_each(|frame| client.send(frame));
        heard.insert(name.clone(), hear(&client, &server, quiet));
    }
    heard
}

/// Plays the cases to both; what both said, by case.
fn compare(corpus: &Corpus, quiet: Duration) -> [BTreeMap<String, Vec<String>>; 2] {
    // Most of the time goes by in waiting for what does not come: in both labs at once.
    std::thread::scope(|scope| {
        let linux = scope.spawn(|| play(RouterKind::Linux, corpus, quiet));
        let flumen = play(RouterKind::Flumen, corpus, quiet);
        [linux.join().expect("Linux routes"), flumen]
    })
}

/// What is wrong with a case, if anything is.
fn judge(name: &str, [linux, flumen]: &[BTreeMap<String, Vec<String>>; 2]) -> Option<String> {
    let (there, here) = (&linux[name], &flumen[name]);
    let expected = DIFFERENCES.iter().find(|(case, _)| *case == name);
    match (there == here, expected) {
        (true, None) | (false, Some(_)) => None,
        (true, Some((_, reason))) => Some(format!("{name}: does not differ any more ({reason})\n")),
        (false, None) => Some(format!(
            "{name}:\n  Linux  {}\n  Flumen {}\n",
            there.join("\n         "),
            here.join("\n         ")
        )),
    }
}

pub fn the_same_packets_are_answered_and_forwarded_as_linux_does_it() {
    let corpus = corpus();
    for (case, _) in DIFFERENCES {
        assert!(corpus.0.iter().any(|(name, _)| name == case), "no case `{case}`");
    }
    let said = compare(&corpus, QUIET);
    let words: usize = said[0].values().map(Vec::len).sum();
    assert!(words > corpus.0.len() / 2, "Linux said {words} things about {} cases", corpus.0.len());
    let doubtful = corpus.0.into_iter().filter(|(name, _)| judge(name, &said).is_some());
    let doubtful = Corpus(doubtful.collect());
    if doubtful.0.is_empty() {
        return;
    }
    let said = compare(&doubtful, PATIENT);
    let wrong: String = doubtful.0.iter().filter_map(|(name, _)| judge(name, &said)).collect();
    assert!(wrong.is_empty(), "{wrong}");
}
