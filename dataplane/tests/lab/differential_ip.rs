//! The same packets into Linux and into Flumen: what comes out at either side, and what is said back, is compared field
//! by field.
//!
//! ```text
//!   played hosts 10.77.0.N, fd00:77::N ── .77 ── lan [ Linux; Flumen ] wan ── .77 ── played hosts 10.78.0.1, fd00:78::1
//! ```
//! No kernel has the played addresses, so nobody but the router answers; each case has a source of its own, so that limits
//! for each peer leave it alone. Not compared are: identification, flow label and the times in a timestamp reply of
//! what the router sends itself. What differs for a reason is in [`DIFFERENCES`], and in docs/exceptions.md.

use super::harness::{Action, LAN_MAC, Lab, Role, RouterKind, WAN_MAC, Wire};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0x77];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0x78];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0x77];

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

/// The fields of an IPv4 packet.
struct V4 {
    first: u8,
    tos: u8,
    len: Option<u16>,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    sum: Option<u16>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl V4 {
    fn packet(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = (20 + options.len()) / 4;
        let first = if self.first == 0 { 0x40 | words as u8 } else { self.first };
        let len = self.len.unwrap_or((words * 4 + self.payload.len()) as u16);
        let mut header = vec![first, self.tos];
        [len, self.id, self.fragment].iter().for_each(|half| header.extend(half.to_be_bytes()));
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(options);
        let sum = self.sum.unwrap_or(!sum(&[&header]));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, self.payload.clone()].concat()
    }
}

/// The fields of an IPv6 packet; `payload` begins with the first extension header, if there is one.
struct V6 {
    word: u32,
    len: Option<u16>,
    next: u8,
    hops: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    payload: Vec<u8>,
}

impl V6 {
    fn packet(&self) -> Vec<u8> {
        let len = self.len.unwrap_or(self.payload.len() as u16);
        let mut packet = [&self.word.to_be_bytes()[..], &len.to_be_bytes(), &[self.next, self.hops]].concat();
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.payload);
        packet
    }
}

/// The ones' complement sum of parts, all but the last of even length (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let halves = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = halves.map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn pseudo6(source: &[u8], destination: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    [source, destination, &(len as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

fn pseudo4(source: &[u8], destination: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    [source, destination, &[0, protocol], &(len as u16).to_be_bytes()].concat()
}

/// Puts the sum of a message over its pseudo header where it belongs.
fn finish(mut message: Vec<u8>, at: usize, pseudo: &[u8]) -> Vec<u8> {
    let made = !sum(&[pseudo, &message]);
    message[at..at + 2].copy_from_slice(&if made == 0 { 0xffff } else { made }.to_be_bytes());
    message
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| index as u8).collect()
}

fn udp_header(source: u16, destination: u16, len: usize) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes(), (len as u16 + 8).to_be_bytes(), [0; 2]].concat()
}

/// UDP-Lite whose coverage field says `coverage`; its sum is right for that, and for all of it where that cannot be.
fn lite(coverage: u16, len: usize, pseudo: &[u8]) -> Vec<u8> {
    let mut message = [udp_header(4000, 9, len), bytes(len)].concat();
    message[4..6].copy_from_slice(&coverage.to_be_bytes());
    let covered = match usize::from(coverage) {
        covered @ 8.. if covered <= message.len() => covered,
        _ => message.len(),
    };
    let rest = message.split_off(covered);
    [finish(message, 6, pseudo), rest].concat()
}

/// A place, and the bits that are turned there.
type Damage = (usize, u8);

/// Coverages of 28 bytes of UDP-Lite, and what is changed then.
const LITE: [(&str, u16, Option<Damage>); 11] = [
    ("all of it covered by 0", 0, None),
    ("all of it covered", 28, None),
    ("a part covered", 20, None),
    ("the header covered", 8, None),
    ("the header covered, and other data", 8, Some((12, 1))),
    ("damage in what is covered", 20, Some((19, 1))),
    ("damage behind what is covered", 20, Some((20, 1))),
    ("damage, and all of it covered by 0", 0, Some((27, 1))),
    ("a coverage of 7", 7, None),
    ("a coverage beyond its end", 29, None),
    ("a coverage of 1", 1, None),
];

fn tcp_header(flags: u8) -> Vec<u8> {
    let mut header = [&40_000u16.to_be_bytes()[..], &9u16.to_be_bytes(), &[0, 0, 4, 0, 0, 0, 8, 0]].concat();
    header.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    header
}

fn frame(ethernet: ([u8; 6], [u8; 6]), kind: u16, packet: &[u8]) -> Vec<u8> {
    [&ethernet.0[..], &ethernet.1, &kind.to_be_bytes(), packet].concat()
}

const TO_LAN: ([u8; 6], [u8; 6]) = (LAN_MAC, HOST_MAC);

fn host4(number: usize) -> Ipv4Addr {
    Ipv4Addr::from([10, 77, (number >> 8) as u8, number as u8])
}

fn host6(number: usize) -> Ipv6Addr {
    Ipv6Addr::from([0xfd00, 0x77, 0, 0, 0, 0, 0, number as u16])
}

fn four(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn six(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// The corpus: each case's name and the frames that go in by lan.
#[derive(Default)]
struct Corpus(Vec<(String, Vec<Vec<u8>>)>);

impl Corpus {
    fn host(&self) -> usize {
        self.0.len() + 1
    }

    fn raw(&mut self, name: &str, frames: Vec<Vec<u8>>) {
        assert!(self.0.iter().all(|(other, _)| other != name), "{name} is there twice");
        self.0.push((name.to_owned(), frames));
    }

    /// A UDP datagram of IPv4 through the router, changed.
    fn v4(&mut self, name: &str, change: impl FnOnce(&mut V4)) {
        let packet = self.packet4("10.78.0.1", change);
        self.raw(name, vec![frame(TO_LAN, 0x0800, &packet)]);
    }

    fn packet4(&self, to: &str, change: impl FnOnce(&mut V4)) -> Vec<u8> {
        let (source, destination) = (host4(self.host()), four(to));
        let udp = [udp_header(4000, 9, 32), bytes(32)].concat();
        let udp = finish(udp, 6, &pseudo4(&source.octets(), &destination.octets(), 17, 40));
        let (first, len, sum) = (0, None, None);
        let (tos, id, fragment, ttl, protocol, options) = (0, 0x1234, 0, 64, 17, Vec::new());
        let mut packet = V4 {
            first, tos, len, id, fragment, ttl, protocol, sum, source, destination, options, payload: udp,
        };
        change(&mut packet);
        packet.packet()
    }

    /// An ICMP message to the router, of this type and code, its word and body, changed.
    fn icmp4(&mut self, name: &str, kind: [u8; 2], word: [u8; 4], body: &[u8], change: impl FnOnce(&mut V4)) {
        let message = [&kind[..], &[0; 2], &word, body].concat();
        let packet = self.packet4("10.0.1.1", |packet| {
            packet.protocol = 1;
            packet.payload = finish(message, 2, &[]);
            change(packet);
        });
        self.raw(name, vec![frame(TO_LAN, 0x0800, &packet)]);
    }

    /// TCP, UDP or UDP-Lite to the router; `message` gets its sum.
    fn ask_us4(&mut self, name: &str, protocol: u8, message: Vec<u8>, change: impl FnOnce(&mut V4)) {
        let packet = self.packet4("10.0.1.1", |packet| {
            let pseudo = pseudo4(&packet.source.octets(), &packet.destination.octets(), protocol, message.len());
            packet.protocol = protocol;
            packet.payload = finish(message, if protocol == 6 { 16 } else { 6 }, &pseudo);
            change(packet);
        });
        self.raw(name, vec![frame(TO_LAN, 0x0800, &packet)]);
    }

    fn packet6(&self, to: &str, change: impl FnOnce(&mut V6)) -> Vec<u8> {
        let (source, destination) = (host6(self.host()), six(to));
        let udp = [udp_header(4000, 9, 32), bytes(32)].concat();
        let udp = finish(udp, 6, &pseudo6(&source.octets(), &destination.octets(), 17, 40));
        let mut packet =
            V6 { word: 0x6000_0000, len: None, next: 17, hops: 64, source, destination, payload: udp };
        change(&mut packet);
        packet.packet()
    }

    /// A UDP datagram of IPv6 through the router, changed.
    fn v6(&mut self, name: &str, change: impl FnOnce(&mut V6)) {
        let packet = self.packet6("fd00:78::1", change);
        self.raw(name, vec![frame(TO_LAN, 0x86dd, &packet)]);
    }

    /// A UDP datagram through the router behind extension headers, of which the first is `next` and the last says 17.
    fn through6(&mut self, name: &str, next: u8, extensions: &[u8]) {
        self.v6(name, |packet| {
            packet.next = next;
            packet.payload = [extensions, &packet.payload].concat();
        });
    }

    /// An echo request to the router behind extension headers, of which the first is `next` and the last says 58.
    fn ask_us6(&mut self, name: &str, next: u8, extensions: &[u8]) {
        self.icmp6(name, [128, 0], [0, 7, 0, 1], &bytes(24), |packet| {
            packet.next = next;
            packet.payload = [extensions, &packet.payload].concat();
        });
    }

    fn icmp6(&mut self, name: &str, kind: [u8; 2], word: [u8; 4], body: &[u8], change: impl FnOnce(&mut V6)) {
        self.icmp6_to("fd00:1::1", name, kind, word, body, change);
    }

    fn icmp6_to(
        &mut self,
        to: &str,
        name: &str,
        kind: [u8; 2],
        word: [u8; 4],
        body: &[u8],
        change: impl FnOnce(&mut V6),
    ) {
        let message = [&kind[..], &[0; 2], &word, body].concat();
        let packet = self.packet6(to, |packet| {
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), 58, message.len());
            packet.next = 58;
            packet.payload = finish(message, 2, &pseudo);
            change(packet);
        });
        let mac = match six(to).octets() {
            [0xff, .., a, b, c, d] => [0x33, 0x33, a, b, c, d],
            _ => LAN_MAC,
        };
        self.raw(name, vec![frame((mac, HOST_MAC), 0x86dd, &packet)]);
    }
}

fn forwarded4(all: &mut Corpus) {
    all.v4("a datagram", |_| {});
    for ttl in [0, 1, 2, 255] {
        all.v4(&format!("TTL {ttl}"), |packet| packet.ttl = ttl);
    }
    for tos in [0xb8, 1, 2, 3] {
        all.v4(&format!("TOS {tos:#04x}"), |packet| packet.tos = tos);
    }
    for (name, flags) in [("DF", 0x4000), ("the reserved flag", 0x8000), ("all flags", 0xe000)] {
        all.v4(name, |packet| packet.fragment = flags);
    }
    for (name, flags) in [("a first", 0x2000), ("a middle", 0x2003), ("a last", 0x0004)] {
        all.v4(&format!("{name} fragment in transit"), |packet| packet.fragment = flags);
    }
    for (name, flags, size) in [
        ("long, with DF", 0x4000, 1401),
        ("long", 0, 1401),
        ("very long", 0, 1500),
        ("long, a first fragment", 0x2000, 1500),
        ("long, a later fragment", 0x0010, 1480),
        ("exactly as long as the link", 0x4000, 1400),
    ] {
        all.v4(name, |packet| {
            packet.fragment = flags;
            packet.payload = bytes(size - 20);
        });
    }
    all.v4("long, with options that are and are not copied", |packet| {
        packet.options = vec![130, 4, 1, 2, 7, 7, 4, 0, 0, 0, 0, 1];
        packet.payload = bytes(1440);
    });
    all.v4("a protocol that nobody knows", |packet| packet.protocol = 253);
    all.v4("protocol 0", |packet| packet.protocol = 0);
    all.v4("no payload", |packet| packet.payload.clear());
    all.v4("a wrong UDP sum in transit", |packet| packet.payload[6] ^= 1);
    for (name, to) in [
        ("nowhere", "198.51.100.1"),
        ("into a black hole", "203.0.113.1"),
        ("to what is unreachable", "203.0.112.1"),
        ("to what is prohibited", "203.0.111.1"),
        ("to the broadcast address of another link", "10.0.2.255"),
        ("to class E", "240.0.0.1"),
        ("to 0.0.0.0", "0.0.0.0"),
        ("to loopback", "127.0.0.1"),
        ("to link-local", "169.254.1.1"),
    ] {
        all.v4(name, |packet| packet.destination = four(to));
    }
    for (name, from) in [
        ("from loopback", "127.0.0.1"),
        ("from 0.0.0.0", "0.0.0.0"),
        ("from 0.0.0.1", "0.0.0.1"),
        ("from a group", "224.0.0.5"),
        ("from class E", "240.0.0.1"),
        ("from everybody", "255.255.255.255"),
        ("from the router itself", "10.0.1.1"),
        ("from the router's other address", "10.0.2.1"),
        ("from the link's broadcast address", "10.0.1.255"),
        ("from the other side", "10.0.2.77"),
        ("from nowhere that is routed", "198.51.100.9"),
        ("from link-local", "169.254.1.1"),
    ] {
        all.v4(name, |packet| packet.source = four(from));
    }
    for (name, link) in [("broadcast", [0xff; 6]), ("multicast", [1, 0, 0x5e, 0, 0, 1])] {
        let packet = all.packet4("10.78.0.1", |_| {});
        all.raw(&format!("a unicast packet in a {name} frame"), vec![frame((link, HOST_MAC), 0x0800, &packet)]);
        let packet = all.packet4("10.0.1.1", |packet| packet.protocol = 253);
        all.raw(&format!("a unicast packet for us in a {name} frame"), vec![frame((link, HOST_MAC), 0x0800, &packet)]);
    }
    let packet = all.packet4("10.78.0.1", |packet| packet.payload.truncate(9));
    all.raw("padding behind the packet", vec![[frame(TO_LAN, 0x0800, &packet), vec![0xee; 30]].concat()]);
    let redirected = |all: &Corpus, tos| {
        let packet = all.packet4("10.0.1.78", |packet| (packet.source, packet.tos) = (four("10.0.1.77"), tos));
        frame(TO_LAN, 0x0800, &packet)
    };
    let frames = vec![redirected(all, 0)];
    all.raw("to a neighbour of the sender", frames);
}

fn headers4(all: &mut Corpus) {
    for first in [0x55, 0x44, 0x40, 0x65, 0x46, 0x4f] {
        all.v4(&format!("a first byte of {first:#04x}"), |packet| packet.first = first);
    }
    for len in [0, 19, 20, 59, 61, 65_535] {
        all.v4(&format!("a total length of {len}"), |packet| packet.len = Some(len));
    }
    all.v4("a wrong header sum", |packet| packet.sum = Some(1));
    all.v4("a header sum of 0", |packet| packet.sum = Some(0));
    // Options: in transit, and in an echo request to us.
    for (name, options) in [
        ("no operation", vec![1, 1, 1, 0]),
        ("bytes behind the end of options", vec![0, 7, 7, 7]),
        ("a record of the route", vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a record of the route that is full", vec![7, 7, 8, 9, 9, 9, 9, 0]),
        ("a record of the route with room for three bytes", vec![7, 10, 8, 9, 9, 9, 9, 0, 0, 0, 0, 0]),
        ("a record of the route with pointer 3", vec![7, 7, 3, 0, 0, 0, 0, 0]),
        ("a record of the route with pointer 5", vec![7, 11, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a record of the route of 2 bytes", vec![7, 2, 0, 0]),
        ("a timestamp option that is full", vec![68, 8, 9, 0, 1, 2, 3, 4]),
        ("a timestamp option that overflows", vec![68, 8, 9, 0xf0, 1, 2, 3, 4]),
        ("a timestamp option with pointer 4", vec![68, 8, 4, 0, 1, 2, 3, 4]),
        ("a timestamp option of 3 bytes", vec![68, 3, 5, 0]),
        ("a timestamp option for another's address", vec![68, 12, 5, 3, 10, 0, 1, 9, 0, 0, 0, 0]),
        ("a timestamp option with an unknown flag", vec![68, 8, 5, 7, 1, 2, 3, 4]),
        ("a loose source route that is over", vec![131, 7, 8, 9, 9, 9, 9, 0]),
        ("a strict source route that is over", vec![137, 7, 8, 9, 9, 9, 9, 0]),
        ("a loose source route with pointer 3", vec![131, 7, 3, 9, 9, 9, 9, 0]),
        ("a router alert", vec![148, 4, 0, 0]),
        ("a router alert of 3 bytes", vec![148, 3, 0, 0]),
        ("a router alert of value 1", vec![148, 4, 0, 1]),
        ("security", vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("an option that nobody knows", vec![0x9e, 4, 1, 2]),
        ("an unknown option of length 0", vec![0x9e, 0, 1, 2]),
        ("an unknown option of length 1", vec![0x9e, 1, 1, 2]),
        ("an option beyond the header", vec![7, 39, 4, 0]),
        ("an option without its length", vec![1, 1, 1, 7]),
    ] {
        all.v4(&format!("{name}, in transit"), |packet| packet.options.clone_from(&options));
        all.icmp4(&format!("{name}, to us"), [8, 0], [0, 7, 0, 1], &bytes(8), |packet| packet.options = options);
    }
}

fn ask_us4(all: &mut Corpus) {
    let echo = |all: &mut Corpus, name: &str, change: &dyn Fn(&mut V4)| {
        all.icmp4(name, [8, 0], [0, 7, 0, 1], &bytes(40), |packet| change(packet));
    };
    echo(all, "an echo request", &|_| {});
    echo(all, "an echo request with TTL 1", &|packet| packet.ttl = 1);
    echo(all, "an echo request with TOS", &|packet| packet.tos = 0xb9);
    echo(all, "an echo request with DF", &|packet| packet.fragment = 0x4000);
    echo(all, "an echo request with a wrong sum", &|packet| packet.payload[2] ^= 1);
    echo(all, "an echo request of three bytes", &|packet| packet.payload.truncate(3));
    echo(all, "an echo request of code 5", &|packet| {
        packet.payload[1..4].fill(0);
        packet.payload[1] = 5;
        packet.payload = finish(packet.payload.clone(), 2, &[]);
    });
    for (name, to) in [
        ("our other address", "10.0.2.1"),
        ("the link's broadcast address", "10.0.1.255"),
        ("everybody", "255.255.255.255"),
        ("all hosts", "224.0.0.1"),
    ] {
        echo(all, &format!("an echo request to {name}"), &|packet| packet.destination = four(to));
    }
    for (name, kind, len) in [
        ("an echo reply", [0, 0], 40),
        ("a timestamp request", [13, 0], 12),
        ("a timestamp request that is too short", [13, 0], 8),
        ("a timestamp reply", [14, 0], 12),
        ("an information request", [15, 0], 0),
        ("an address mask request", [17, 0], 4),
        ("an address mask reply", [18, 0], 4),
        ("a router solicitation", [10, 0], 0),
        ("a type that nobody knows", [41, 0], 8),
        ("an extended echo request", [42, 0], 8),
        ("a source quench about nothing", [4, 0], 28),
        ("a redirect about nothing", [5, 1], 28),
        ("an unreachable about nothing", [3, 3], 28),
        ("a need to fragment about nothing", [3, 4], 28),
        ("a time exceeded that is too short", [11, 0], 8),
    ] {
        all.icmp4(name, kind, [0, 7, 0, 1], &bytes(len), |_| {});
    }
    let datagram = || [udp_header(4000, 9, 20), bytes(20)].concat();
    all.ask_us4("UDP to a closed port", 17, datagram(), |_| {});
    all.ask_us4("UDP to a closed port with TOS and TTL 1", 17, datagram(), |packet| (packet.tos, packet.ttl) = (0x10, 1));
    all.ask_us4("UDP to a closed port, of many bytes", 17, [udp_header(4000, 9, 1200), bytes(1200)].concat(), |_| {});
    all.ask_us4("UDP to a closed port, with options", 17, datagram(), |packet| packet.options = vec![148, 4, 0, 0]);
    all.ask_us4("UDP without a sum to a closed port", 17, datagram(), |packet| packet.payload[6..8].fill(0));
    all.ask_us4("UDP with a wrong sum to a closed port", 17, datagram(), |packet| packet.payload[6] ^= 1);
    all.ask_us4("UDP of length 7", 17, datagram(), |packet| packet.payload[5] = 7);
    all.ask_us4("UDP that is longer than its packet", 17, datagram(), |packet| packet.payload[5] = 200);
    all.ask_us4("UDP that is shorter than its packet", 17, datagram(), |packet| packet.payload.extend([0; 9]));
    all.ask_us4("UDP of four bytes", 17, datagram(), |packet| packet.payload.truncate(4));
    all.ask_us4("UDP to everybody", 17, datagram(), |packet| packet.destination = four("255.255.255.255"));
    all.ask_us4("UDP to the link's broadcast address", 17, datagram(), |packet| packet.destination = four("10.0.1.255"));
    for (name, flags) in [("SYN", 2), ("ACK", 16), ("FIN", 1), ("RST", 4), ("SYN and ACK", 18), ("nothing", 0), ("all", 63)] {
        all.ask_us4(&format!("TCP with {name} to a closed port"), 6, tcp_header(flags), |_| {});
    }
    all.ask_us4("TCP with data to a closed port", 6, [tcp_header(24), bytes(10)].concat(), |_| {});
    all.ask_us4("TCP with a wrong sum", 6, tcp_header(2), |packet| packet.payload[16] ^= 1);
    all.ask_us4("TCP with an offset of 4", 6, tcp_header(2), |packet| packet.payload[12] = 0x40);
    all.ask_us4("TCP of ten bytes", 6, tcp_header(2), |packet| packet.payload.truncate(10));
    for (name, coverage, change) in LITE {
        all.v4(&format!("UDP-Lite to a closed port, {name}"), |packet| {
            packet.destination = four("10.0.1.1");
            let pseudo = pseudo4(&packet.source.octets(), &packet.destination.octets(), 136, 28);
            (packet.protocol, packet.payload) = (136, lite(coverage, 20, &pseudo));
            if let Some((at, turned)) = change {
                packet.payload[at] ^= turned;
            }
        });
    }
    all.ask_us4("UDP-Lite without a sum", 136, datagram(), |packet| packet.payload[6..8].fill(0));
    all.ask_us4("UDP-Lite of seven bytes", 136, datagram(), |packet| packet.payload.truncate(7));
    all.ask_us4("UDP-Lite to everybody", 136, datagram(), |packet| packet.destination = four("255.255.255.255"));
    for protocol in [0, 2, 4, 41, 47, 50, 51, 89, 103, 132, 136, 253, 255] {
        let payload = bytes(40);
        all.v4(&format!("protocol {protocol} to us"), |packet| {
            (packet.protocol, packet.destination, packet.payload) = (protocol, four("10.0.1.1"), payload);
        });
    }
    fragments4(all);
}

/// Orders of fragments of an echo request to us.
fn fragments4(all: &mut Corpus) {
    type Pieces = &'static [(usize, usize, bool)];
    let orders: [(&str, Pieces); 10] = [
        ("in order", &[(0, 24, true), (24, 24, true), (48, 16, false)]),
        ("in reverse", &[(48, 16, false), (24, 24, true), (0, 24, true)]),
        ("the middle last", &[(0, 24, true), (48, 16, false), (24, 24, true)]),
        ("one twice", &[(0, 24, true), (24, 24, true), (24, 24, true), (48, 16, false)]),
        ("overlapping in front", &[(0, 24, true), (16, 32, true), (48, 16, false)]),
        ("overlapping behind", &[(24, 40, false), (0, 32, true)]),
        ("one inside another", &[(0, 48, true), (8, 16, true), (48, 16, false)]),
        ("two ends", &[(0, 24, true), (24, 24, false), (24, 24, true), (48, 16, false)]),
        ("a piece behind the end", &[(48, 16, false), (64, 8, true), (0, 24, true), (24, 24, true)]),
        ("one of 8 bytes first", &[(0, 8, true), (8, 56, false)]),
    ];
    let message = finish([&[8, 0, 0, 0, 0, 7, 0, 1][..], &bytes(56)].concat(), 2, &[]);
    for (name, pieces) in orders {
        let frames = pieces.iter().map(|(offset, len, more)| {
            let packet = all.packet4("10.0.1.1", |packet| {
                packet.protocol = 1;
                packet.fragment = (*offset / 8) as u16 | u16::from(*more) << 13;
                let mut whole = message.clone();
                whole.resize(80, 0);
                packet.payload = whole[*offset..offset + len].to_vec();
            });
            frame(TO_LAN, 0x0800, &packet)
        });
        let frames = frames.collect();
        all.raw(&format!("IPv4 fragments {name}"), frames);
    }
    for (name, fragment, len) in [
        ("of 0 bytes", 0x2000, 0),
        ("of 7 bytes, with more to come", 0x2000, 7),
        ("beyond 65,535 bytes", 0x1fff, 100),
        ("alone, with DF", 0x6000, 16),
    ] {
        let payload = bytes(len);
        all.v4(&format!("an IPv4 fragment {name}"), |packet| {
            (packet.destination, packet.protocol) = (four("10.0.1.1"), 1);
            (packet.fragment, packet.payload) = (fragment, payload);
        });
    }
}

fn forwarded6(all: &mut Corpus) {
    all.v6("an IPv6 datagram", |_| {});
    for hops in [0, 1, 2, 255] {
        all.v6(&format!("hop limit {hops}"), |packet| packet.hops = hops);
    }
    all.v6("a traffic class and a flow label", |packet| packet.word = 0x6b8a_bcde);
    for size in [1400, 1401, 1500] {
        all.v6(&format!("IPv6 of {size} bytes"), |packet| packet.payload = bytes(size - 40));
    }
    for (name, to) in [
        ("IPv6 nowhere", "2001:db8:9::1"),
        ("IPv6 into a black hole", "2001:db8:3::1"),
        ("IPv6 to what is unreachable", "2001:db8:4::1"),
        ("IPv6 to what is prohibited", "2001:db8:5::1"),
        ("IPv6 to loopback", "::1"),
        ("IPv6 to ::", "::"),
        ("to an IPv4-mapped address", "::ffff:10.0.2.77"),
    ] {
        all.v6(name, |packet| packet.destination = six(to));
    }
    for (name, from) in [
        ("IPv6 from loopback", "::1"),
        ("IPv6 from ::", "::"),
        ("IPv6 from a group", "ff02::5"),
        ("from an IPv4-mapped address", "::ffff:10.0.1.77"),
        ("from a link-local address", "fe80::77"),
        ("IPv6 from the router itself", "fd00:1::1"),
        ("IPv6 from the other side", "fd00:2::77"),
        ("IPv6 from nowhere that is routed", "2001:db8:9::9"),
    ] {
        all.v6(name, |packet| packet.source = six(from));
    }
    for (name, next, extensions) in [
        ("no options that count", 0, &[17, 0, 1, 4, 0, 0, 0, 0][..]),
        ("a router alert option of IPv6", 0, &[17, 0, 5, 2, 0, 0, 1, 0]),
        ("a hop-by-hop option to skip", 0, &[17, 0, 0x1e, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to drop", 0, &[17, 0, 0x5e, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to report", 0, &[17, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to report to unicast senders", 0, &[17, 0, 0xde, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option beyond its header", 0, &[17, 0, 1, 9, 0, 0, 0, 0]),
        ("a hop-by-hop header beyond the packet", 0, &[17, 99, 1, 4, 0, 0, 0, 0]),
        ("a jumbo option in a small packet", 0, &[17, 0, 0xc2, 4, 0, 0, 0, 99]),
        ("a destination option to report, in transit", 60, &[17, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("a routing header of type 0 in transit", 43, &[17, 0, 0, 1, 0, 0, 0, 0]),
        ("a fragment header in transit", 44, &[17, 0, 0, 1, 0, 0, 0, 7]),
        ("hop-by-hop options behind destination options, in transit", 60, &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]),
        ("a header that nobody knows, in transit", 253, &[]),
        ("no next header, in transit", 59, &[]),
    ] {
        all.through6(name, next, extensions);
    }
    let packet = all.packet6("fd00:1::78", |packet| packet.source = six("fd00:1::77"));
    all.raw("IPv6 to a neighbour of the sender", vec![frame(TO_LAN, 0x86dd, &packet)]);
    for (name, link) in [("broadcast", [0xff; 6]), ("multicast", [0x33, 0x33, 0, 0, 0, 1])] {
        let packet = all.packet6("fd00:78::1", |_| {});
        all.raw(&format!("IPv6 unicast in a {name} frame"), vec![frame((link, HOST_MAC), 0x86dd, &packet)]);
    }
    for word in [0x4000_0000, 0x5000_0000] {
        all.v6(&format!("version {} in an IPv6 frame", word >> 28), |packet| packet.word = word);
    }
    for len in [0, 39, 41, 65_535] {
        all.v6(&format!("a payload length of {len}"), |packet| packet.len = Some(len));
    }
    let packet = all.packet6("fd00:78::1", |_| {});
    all.raw("an IPv6 header cut short", vec![frame(TO_LAN, 0x86dd, &packet[..39])]);
    all.raw("padding behind the IPv6 packet", vec![[frame(TO_LAN, 0x86dd, &packet), vec![0xee; 30]].concat()]);
}

fn ask_us6(all: &mut Corpus) {
    for (name, next, extensions) in [
        ("an IPv6 echo request", 58, &[][..]),
        ("padding of 7 bytes", 60, &[58, 1, 1, 5, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0]),
        ("padding that is not zero", 60, &[58, 0, 1, 4, 0, 9, 0, 0]),
        ("too much padding", 60, &[58, 1, 1, 6, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0]),
        ("a destination option to skip", 60, &[58, 0, 0x1e, 4, 0, 0, 0, 0]),
        ("a destination option to drop", 60, &[58, 0, 0x5e, 4, 0, 0, 0, 0]),
        ("a destination option to report", 60, &[58, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("a destination option to report to unicast senders", 60, &[58, 0, 0xde, 4, 0, 0, 0, 0]),
        ("a home address option", 60, &[58, 2, 0xc9, 16, 0xfd, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 0, 0]),
        ("hop-by-hop options to us", 0, &[58, 0, 1, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to report, to us", 0, &[58, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("hop-by-hop options behind destination options", 60, &[0, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0]),
        ("hop-by-hop options twice", 0, &[0, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0]),
        ("a routing header that is over", 43, &[58, 0, 0, 0, 0, 0, 0, 0]),
        ("a routing header of type 0 with one to go", 43, &[58, 2, 0, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a routing header of type 2 with one to go", 43, &[58, 2, 2, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a routing header of an unknown type with one to go", 43, &[58, 0, 99, 1, 0, 0, 0, 0]),
        ("a routing header of an unknown type that is over", 43, &[58, 0, 99, 0, 0, 0, 0, 0]),
        ("an atomic fragment", 44, &[58, 0, 0, 0, 0, 0, 0, 7]),
        ("an atomic fragment behind options", 60, &[44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 8]),
        ("no next header", 59, &[]),
        ("a header that nobody knows", 253, &[]),
        ("a header that nobody knows behind options", 60, &[253, 0, 1, 4, 0, 0, 0, 0]),
        ("an authentication header", 51, &[58, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ("encapsulated security", 50, &[0, 0, 0, 9, 0, 0, 0, 1]),
        ("a mobility header", 135, &[59, 0, 0, 0, 0, 0, 0, 0]),
        ("IPv6 inside IPv6", 41, &[]),
        ("a header that ends in the middle", 60, &[58]),
    ] {
        all.ask_us6(name, next, extensions);
    }
    let cut = all.packet6("fd00:1::1", |packet| (packet.next, packet.payload) = (60, vec![58, 0, 1]));
    all.raw("an extension header cut short", vec![frame(TO_LAN, 0x86dd, &cut)]);
    for (name, to) in [
        ("all nodes", "ff02::1"),
        ("all routers", "ff02::2"),
        ("all routers of the site", "ff05::2"),
        ("all nodes of the node", "ff01::1"),
        ("a group of nobody", "ff02::99"),
        ("our solicited-node group", "ff02::1:ff00:1"),
        ("our other address", "fd00:2::1"),
        ("the anycast address of the subnet", "fd00:1::"),
    ] {
        all.icmp6_to(to, &format!("an IPv6 echo request to {name}"), [128, 0], [0, 7, 0, 1], &bytes(24), |_| {});
    }
    for (name, kind, len) in [
        ("an IPv6 echo reply", [129, 0], 24),
        ("a node information query", [139, 0], 24),
        ("an ICMPv6 type that nobody knows", [200, 0], 24),
        ("an ICMPv6 error that nobody knows", [100, 0], 24),
        ("a packet too big about nothing", [2, 0], 48),
        ("an IPv6 unreachable about nothing", [1, 4], 48),
        ("a parameter problem about nothing", [4, 1], 48),
        ("a router renumbering", [138, 0], 24),
        ("an IPv6 redirect from afar", [137, 0], 32),
        ("a neighbour solicitation from afar", [135, 0], 16),
        ("a neighbour advertisement from afar", [136, 0], 16),
        ("a listener query from afar", [130, 0], 16),
    ] {
        all.icmp6(name, kind, [0, 7, 0, 1], &bytes(len), |_| {});
    }
    all.icmp6("an IPv6 echo request with a wrong sum", [128, 0], [0, 7, 0, 1], &bytes(24), |packet| packet.payload[2] ^= 1);
    all.icmp6("an IPv6 echo request of hop limit 1", [128, 0], [0, 7, 0, 1], &bytes(24), |packet| packet.hops = 1);
    all.icmp6("an IPv6 echo request with a class", [128, 0], [0, 7, 0, 1], &bytes(24), |packet| packet.word = 0x6b80_0000);
    all.icmp6("an IPv6 echo request of code 5", [128, 5], [0, 7, 0, 1], &bytes(24), |_| {});
    for (name, protocol, message, change) in [
        ("UDP to a closed IPv6 port", 17, [udp_header(4000, 9, 20), bytes(20)].concat(), None),
        ("UDP to a closed IPv6 port, of many bytes", 17, [udp_header(4000, 9, 1300), bytes(1300)].concat(), None),
        ("IPv6 UDP without a sum", 17, [udp_header(4000, 9, 20), bytes(20)].concat(), Some((6, 0))),
        ("TCP with SYN to a closed IPv6 port", 6, tcp_header(2), None),
        ("TCP with ACK to a closed IPv6 port", 6, tcp_header(16), None),
        ("IPv6 TCP with a wrong sum", 6, tcp_header(2), Some((16, 0x55))),
    ] {
        all.v6(name, |packet| {
            packet.destination = six("fd00:1::1");
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), protocol, message.len());
            packet.next = protocol;
            packet.payload = finish(message, if protocol == 6 { 16 } else { 6 }, &pseudo);
            if let Some((at, byte)) = change {
                packet.payload[at..at + 2].fill(byte);
            }
        });
    }
    for (name, coverage, change) in LITE {
        all.v6(&format!("UDP-Lite to a closed IPv6 port, {name}"), |packet| {
            packet.destination = six("fd00:1::1");
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), 136, 28);
            (packet.next, packet.payload) = (136, lite(coverage, 20, &pseudo));
            if let Some((at, turned)) = change {
                packet.payload[at] ^= turned;
            }
        });
    }
    fragments6(all);
    discovery(all);
}

/// Orders of fragments of an echo request to us over IPv6.
fn fragments6(all: &mut Corpus) {
    type Pieces = &'static [(usize, usize, bool)];
    let orders: [(&str, Pieces); 8] = [
        ("in order", &[(0, 24, true), (24, 24, true), (48, 16, false)]),
        ("in reverse", &[(48, 16, false), (24, 24, true), (0, 24, true)]),
        ("one twice", &[(0, 24, true), (24, 24, true), (24, 24, true), (48, 16, false)]),
        ("overlapping in front", &[(0, 24, true), (16, 32, true), (48, 16, false)]),
        ("overlapping behind", &[(24, 40, false), (0, 32, true)]),
        ("that are no multiple of 8", &[(0, 20, true)]),
        ("beyond 65,535 bytes", &[(65_528, 16, false)]),
        ("without the upper header", &[(0, 0, true)]),
    ];
    for (name, pieces) in orders {
        let source = host6(all.host());
        let message = [&[128, 0, 0, 0, 0, 7, 0, 1][..], &bytes(56)].concat();
        let pseudo = pseudo6(&source.octets(), &six("fd00:1::1").octets(), 58, message.len());
        let message = finish(message, 2, &pseudo);
        let frames = pieces.iter().map(|(offset, len, more)| {
            let packet = all.packet6("fd00:1::1", |packet| {
                let place = (*offset as u16 | u16::from(*more)).to_be_bytes();
                packet.next = 44;
                packet.payload = vec![58, 0, place[0], place[1], 0, 0, 0, 9];
                packet.payload.extend(message.iter().cycle().skip(*offset % 64).take(*len));
            });
            frame(TO_LAN, 0x86dd, &packet)
        });
        let frames = frames.collect();
        all.raw(&format!("IPv6 fragments {name}"), frames);
    }
}

/// Neighbour discovery and ARP, from a neighbour of the link.
fn discovery(all: &mut Corpus) {
    let ours = six("fd00:1::1").octets();
    let option = [&[1, 1][..], &HOST_MAC].concat();
    let solicit = |target: &[u8], option: &[u8]| [target, option].concat();
    type Change = Box<dyn FnOnce(&mut V6)>;
    let from = |source: &'static str, hops: u8| -> Change {
        Box::new(move |packet: &mut V6| {
            let message = packet.payload.clone();
            (packet.source, packet.hops) = (six(source), hops);
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), 58, message.len());
            let mut message = message;
            message[2..4].fill(0);
            packet.payload = finish(message, 2, &pseudo);
        })
    };
    let group = "ff02::1:ff00:1";
    for (name, to, target, option, change) in [
        ("a solicitation for us", group, ours, &option[..], from("fd00:1::77", 255)),
        ("a solicitation for us alone", "fd00:1::1", ours, &option, from("fd00:1::77", 255)),
        ("a solicitation without an address", group, ours, &[], from("fd00:1::77", 255)),
        ("a solicitation of hop limit 64", group, ours, &option, from("fd00:1::77", 64)),
        ("a solicitation with an option of length 0", group, ours, &[1, 0, 0, 0, 0, 0, 0, 0], from("fd00:1::77", 255)),
        ("a solicitation for somebody else", group, six("fd00:1::9").octets(), &option, from("fd00:1::77", 255)),
        ("a solicitation for a group", group, six("ff02::1").octets(), &option, from("fd00:1::77", 255)),
    ] {
        all.icmp6_to(to, name, [135, 0], [0; 4], &solicit(&target, option), change);
    }
    let arp = |operation: u8, sender: [u8; 4], target: [u8; 4]| {
        [&[0, 1, 8, 0, 6, 4, 0, operation][..], &HOST_MAC, &sender, &[0; 6], &target].concat()
    };
    let (us, host) = ([10, 0, 1, 1], [10, 0, 1, 77]);
    for (name, packet) in [
        ("an ARP request for us", arp(1, host, us)),
        ("an ARP request for our other address", arp(1, host, [10, 0, 2, 1])),
        ("an ARP request for somebody else", arp(1, host, [10, 0, 1, 9])),
        ("an ARP probe for our address", arp(1, [0; 4], us)),
        ("an ARP request of operation 3", arp(3, host, us)),
        ("an ARP request for another network", arp(1, [192, 0, 2, 9], us)),
        ("an ARP request cut short", arp(1, host, us)[..27].to_vec()),
        ("an ARP request for loopback", arp(1, host, [127, 0, 0, 1])),
    ] {
        all.raw(name, vec![frame(([0xff; 6], HOST_MAC), 0x0806, &packet)]);
        all.raw(&format!("{name}, to us alone"), vec![frame(TO_LAN, 0x0806, &packet)]);
    }
}

fn corpus() -> Corpus {
    let mut all = Corpus::default();
    forwarded4(&mut all);
    headers4(&mut all);
    ask_us4(&mut all);
    forwarded6(&mut all);
    ask_us6(&mut all);
    all
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").expect("text grows"));
    text
}

/// A frame in words, without what chance decides.
fn describe(frame: &[u8]) -> String {
    let packet = &frame[14..];
    let kind = u16::from_be_bytes([frame[12], frame[13]]);
    let mut text = format!("{} > {} ", hex(&frame[6..12]), hex(&frame[..6]));
    let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    match kind {
        0x0800 if packet.len() >= 20 && packet.len() >= usize::from(packet[0] & 15) * 4 => {
            let (header, rest) = packet.split_at(usize::from(packet[0] & 15) * 4);
            let rest = &rest[..rest.len().min(usize::from(half(2)).saturating_sub(header.len()))];
            let (source, destination) = (&packet[12..16], &packet[16..20]);
            let ours = matches!(source, [10, 0, 1 | 2, 1]);
            let id = if ours { "*".to_owned() } else { format!("{:04x}", half(4)) };
            let good = if sum(&[header]) == 0xffff { "" } else { " BAD SUM" };
            write!(
                text,
                "IPv4{good} {} > {} tos {:02x} len {} id {id} fragment {:04x} ttl {} protocol {} options {} ",
                Ipv4Addr::from([source[0], source[1], source[2], source[3]]),
                Ipv4Addr::from([destination[0], destination[1], destination[2], destination[3]]),
                packet[1], half(2), half(6), packet[8], packet[9], hex(&header[20..]),
            )
            .expect("text grows");
            let whole = half(6) & 0x3fff == 0;
            text += &upper(packet[9], rest, &pseudo4(source, destination, packet[9], rest.len()), whole && ours);
        }
        0x86dd if packet.len() >= 40 => {
            let rest = &packet[40..packet.len().min(40 + usize::from(half(4)))];
            let (source, destination) = (&packet[8..24], &packet[24..40]);
            let address = |octets: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(octets).expect("16 bytes"));
            let ours = [six("fd00:1::1"), six("fd00:2::1"), six("fe80::ff:fe00:101")].contains(&address(source));
            let first = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
            let label = if ours { "*".to_owned() } else { format!("{:05x}", first & 0xf_ffff) };
            write!(
                text,
                "IPv6 {} > {} class {:02x} label {label} len {} next {} hops {} ",
                address(source), address(destination), first >> 20 & 0xff, half(4), packet[6], packet[7],
            )
            .expect("text grows");
            text += &upper(packet[6], rest, &pseudo6(source, destination, packet[6], rest.len()), ours);
        }
        _ => write!(text, "{kind:04x} {}", hex(packet)).expect("text grows"),
    }
    text
}

/// What is behind an IP header; of what the router made, the sum is checked, and not shown.
fn upper(protocol: u8, message: &[u8], pseudo: &[u8], ours: bool) -> String {
    let (name, at, pseudo) = match protocol {
        1 => ("ICMP", 2, &[][..]),
        58 => ("ICMPv6", 2, pseudo),
        6 => ("TCP", 16, pseudo),
        _ => return hex(message),
    };
    if !ours || message.len() < at + 2 {
        return format!("{name} {}", hex(message));
    }
    let good = if sum(&[pseudo, message]) == 0xffff { "" } else { " BAD SUM" };
    let mut shown = message.to_vec();
    shown[at..at + 2].fill(0);
    // A timestamp reply: the times of receipt and reply.
    if name == "ICMP" && shown[0] == 14 && shown.len() >= 20 {
        shown[12..20].fill(0);
    }
    format!("{name}{good} {}", hex(&shown))
}

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
