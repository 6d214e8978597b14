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

mod common;

use common::*;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use flumen_stack::ethernet::vlan::{Priority, TagProtocol, Vlan};
use flumen_stack::frame::heap::HEADROOM;
use flumen_stack::interface::{ChecksumPolicy, ReversePathFilter};
use flumen_stack::neighbour::{Fact, FactKind, NeighbourConfig};
use flumen_stack::route::{Rib, Source, Target};
use flumen_stack::{Counter, Counters, DropReason, FramePool, Instant, Interface, MacAddr, checksum};
use std::cell::RefCell;
use std::collections::HashMap;

/// The script: each answer of it is taken off the front; at the end all answers are zero.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        number % bound
    }

    /// True once in `odds`.
    fn once_in(&mut self, odds: u8) -> bool {
        self.byte().is_multiple_of(odds)
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        let mut bytes = now.to_vec();
        bytes.resize(count, 0x5a);
        bytes
    }
}

/// VLAN 100 of lan: 10.0.100.1/24, fd00:100::1/64.
const OFFICE: usize = 3;
/// Service VLAN 200 of wan, without addresses.
const SERVICE: usize = 4;
/// VLAN 7 inside of it: 10.0.7.1/24.
const INNER: usize = 5;

const OFFICE_TAG: [u8; 4] = [0x81, 0, 0, 100];
const SERVICE_TAG: [u8; 4] = [0x88, 0xa8, 0, 200];
const INNER_TAG: [u8; 4] = [0x81, 0, 0, 7];

/// The port with the wire, and the VLANs on it.
fn with_vlans(index: usize) -> &'static [usize] {
    match index {
        LAN => &[LAN, OFFICE],
        WAN => &[WAN, SERVICE, INNER],
        _ => &[DMZ],
    }
}

fn add_vlans(interfaces: &mut Vec<Interface>) {
    let priority = Priority::Fixed(0);
    for (index, parent, protocol, id) in [
        (OFFICE, LAN, TagProtocol::Customer, 100),
        (SERVICE, WAN, TagProtocol::Service, 200),
        (INNER, SERVICE, TagProtocol::Customer, 7),
    ] {
        let wire = if parent == SERVICE { WAN } else { parent };
        let mut one = interfaces[wire].clone();
        one.id = port(index);
        one.vlan = Some(Vlan { parent: port(parent), protocol, id, priority });
        let addresses = match index {
            OFFICE => (vec!["10.0.100.1/24"], vec!["fd00:100::1/64", "fe80::4/64"]),
            INNER => (vec!["10.0.7.1/24"], vec![]),
            _ => (vec![], vec![]),
        };
        one.ipv4 = addresses.0.iter().map(|net| net.parse().unwrap()).collect();
        one.ipv6 = addresses.1.iter().map(|net| net.parse().unwrap()).collect();
        interfaces.push(one);
    }
}

fn rib_with_vlans() -> Rib {
    let mut rib = rib();
    for (index, net, host) in [
        (OFFICE, "10.0.100.0/24", "10.0.100.1/32"),
        (OFFICE, "fd00:100::/64", "fd00:100::1/128"),
        (INNER, "10.0.7.0/24", "10.0.7.1/32"),
    ] {
        rib.add(&route(net, Target::Connected { port: port(index) })).unwrap();
        rib.add(&route(host, Target::Local)).unwrap();
    }
    rib
}

/// The tags of a frame, and the frame without them.
fn untagged(frame: &[u8]) -> (Vec<[u8; 4]>, Vec<u8>) {
    let (mut tags, mut frame) = (Vec::new(), frame.to_vec());
    while let Some(&[a, b, c, d]) = frame.get(12..16)
        && matches!([a, b], [0x81, 0] | [0x88, 0xa8])
    {
        tags.push([a, b, c, d]);
        frame.drain(12..16);
    }
    (tags, frame)
}

fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

thread_local! {
    /// Tables are expensive to make; every script leaves them as they were. One that fails loses them.
    static RIB: RefCell<Option<Rib>> = const { RefCell::new(None) };
}

/// What identifies a packet in transit: all that forwarding does not change.
type Identity = (Vec<u8>, Vec<u8>);

/// The router under test, and what a strict observer remembers.
struct Subject {
    router: Router,
    rib: Rib,
    /// Chunks of the pool; with `single`, every packet takes one.
    frames: usize,
    single: bool,
    received: u64,
    /// TTLs with which each packet came in.
    seen: HashMap<Identity, Vec<u8>>,
    /// The last questions that were asked, with the port.
    questions: Vec<(usize, Vec<u8>)>,
    /// Routes that the script added.
    added: Vec<String>,
    up: [bool; PORTS],
}

impl Subject {
    fn new(script: &mut Script<'_>) -> Subject {
        let rib = RIB.with_borrow_mut(Option::take).unwrap_or_else(rib_with_vlans);
        let mut interfaces = interfaces();
        for one in &mut interfaces {
            one.mtu = script.pick(&[1500, 1280, 1500, 9000, 576, 2500]);
            one.forwarding = !script.once_in(8);
            use ReversePathFilter::{Loose, Off, Strict};
            one.rp_filter = script.pick(&[Off, Off, Off, Off, Loose, Strict]);
            one.checksum =
                script.pick(&[ChecksumPolicy::Verify, ChecksumPolicy::Repair, ChecksumPolicy::Trust]);
            one.tx_checksum = script.once_in(3);
        }
        add_vlans(&mut interfaces);
        let room = script.pick(&[9300, 9300, 2048, 700, 64, 57, 1]);
        let sizes = Sizes {
            frames: script.pick(&[512, 100, 17]),
            chunk: HEADROOM + room,
            tx_queue: script.pick(&[256, 7]),
            route_cache: script.pick(&[64, 0]),
            echo: script.pick(&[(1000, 100), (1000, 100), (1, 1)]),
            neighbours: NeighbourConfig {
                max_entries: script.pick(&[64, 4]),
                max_pending_per_entry: script.pick(&[64, 3]),
                max_pending_total: script.pick(&[256, 5]),
                solicit_burst: script.pick(&[512, 512, 2]),
                ..NeighbourConfig::default()
            },
        };
        let (frames, roomy) = (sizes.frames, sizes.neighbours.max_entries > 16);
        let mut router = Router::new(&rib, sizes, interfaces);
        match script.byte() & 3 {
            // A table of four entries has no room for nine that never go.
            0 | 1 if roomy => {
                router.introduce();
                for (index, address, wire) in
                    [(OFFICE, "10.0.100.2", LAN), (OFFICE, "fd00:100::2", LAN), (INNER, "10.0.7.2", WAN)]
                {
                    let (mac, now) = (station(wire, 2), router.now);
                    router.stack.neighbours.add_static(port(index), ip(address), mac, now).unwrap();
                }
            }
            2 => {
                let mac = station(WAN, 2);
                router.stack.neighbours.add_static(port(WAN), ip("10.0.2.2"), mac, router.now).unwrap();
            }
            _ => {}
        }
        Subject {
            router,
            rib,
            frames,
            single: room == 9300,
            received: 0,
            seen: HashMap::new(),
            questions: Vec::new(),
            added: Vec::new(),
            up: [true; PORTS],
        }
    }

    fn input(&mut self, index: usize, frames: &[Vec<u8>]) {
        for frame in frames {
            if let Some((identity, ttl)) = untagged(frame).1.get(14..).and_then(identity) {
                self.seen.entry(identity).or_default().push(ttl);
            }
        }
        self.received += self.router.input(index, frames) as u64;
        self.check();
    }

    /// Everything that has to be true between two steps.
    fn check(&mut self) {
        let counters = &self.router.stack.counters;
        let stack = &self.router.stack;
        let held = stack.neighbours.frames_held() + stack.frames_looped();
        let waiting = self.router.egress.len();
        let sent: u64 = (0..PORTS).map(|index| counters.port(port(index)).tx_packets).sum();
        let begun = self.received + counters.originated() + counters.dropped(DropReason::NoFrame);
        let ended = sent + counters.dropped_in_all() + counters.fragmented() + held as u64;
        assert_eq!(begun, ended, "the books: {sent} sent, {held} held, {counters:?}");
        let available = self.router.pool.available();
        if self.single {
            assert_eq!(available + held + waiting, self.frames, "frames");
        } else {
            assert!(available + held + waiting <= self.frames, "frames");
        }
        for (index, frame) in self.router.sent() {
            self.judge(index, &frame);
            if self.questions.len() < 8 && answer(&untagged(&frame).1, MacAddr::BROADCAST).is_some() {
                self.questions.push((index, frame));
            }
        }
    }

    /// What leaves is a packet that a router may send.
    fn judge(&self, index: usize, frame: &[u8]) {
        let (tags, frame) = untagged(frame);
        match index {
            _ if tags.is_empty() => {}
            LAN => assert_eq!(tags, [OFFICE_TAG]),
            WAN => assert_eq!(tags, [SERVICE_TAG, INNER_TAG]),
            _ => panic!("tags {tags:02x?} without a VLAN"),
        }
        let frame = &frame[..];
        assert!(self.up[index], "nothing leaves by a port that is down: {frame:02x?}");
        assert!(frame.len() >= 34, "{frame:02x?}");
        assert_eq!(&frame[6..12], &our_mac(index).0, "the source is the port's: {frame:02x?}");
        assert_ne!(&frame[..6], &[0; 6], "{frame:02x?}");
        let mtu = usize::from(self.router.stack.interfaces.get(port(index)).unwrap().mtu);
        assert!(frame.len() - 14 <= mtu, "no longer than the link: {} of {mtu}", frame.len() - 14);
        let packet = &frame[14..];
        match frame[12..14] {
            [8, 0] => self.judge4(frame, packet),
            [0x86, 0xdd] => self.judge6(frame, packet),
            [8, 6] => {
                let parsed = etherparse::ArpPacketSlice::from_slice(packet).unwrap();
                assert_eq!((packet.len(), parsed.hw_addr_size(), parsed.proto_addr_size()), (28, 6, 4));
                assert_eq!(parsed.sender_hw_addr(), our_mac(index).0);
            }
            _ => panic!("EtherType of {frame:02x?}"),
        }
    }

    fn judge4(&self, frame: &[u8], packet: &[u8]) {
        let header = etherparse::Ipv4HeaderSlice::from_slice(packet).unwrap();
        assert_eq!(usize::from(header.total_len()), packet.len(), "{frame:02x?}");
        // Not by the parsed fields: a reserved bit that came in goes out.
        let words =
            header.slice().chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        assert_eq!(words.sum::<u32>() % 0xffff, 0, "the header's checksum: {frame:02x?}");
        let ours = self.owns(IpAddr::V4(header.source_addr()));
        if ours {
            assert_eq!(header.ttl(), 64);
            if !header.more_fragments() && header.fragments_offset().value() == 0 {
                self.judge_ours(frame);
            }
        } else {
            let ttl = self.ttl_of(packet);
            assert!(ttl.contains(&(u16::from(header.ttl()) + 1)), "TTL of {frame:02x?}; came with {ttl:?}");
        }
    }

    fn judge6(&self, frame: &[u8], packet: &[u8]) {
        let header = etherparse::Ipv6HeaderSlice::from_slice(packet).unwrap();
        assert_eq!(usize::from(header.payload_length()) + 40, packet.len(), "{frame:02x?}");
        let source = header.source_addr();
        if self.owns(IpAddr::V6(source)) {
            assert!(matches!(header.hop_limit(), 64 | 255));
            // Of a fragment no sum can be made.
            if packet[6] != 44 {
                self.judge_ours(frame);
            }
        } else {
            assert!(!source.is_unspecified() && !source.is_unicast_link_local(), "{frame:02x?}");
            let ttl = self.ttl_of(packet);
            let left = u16::from(header.hop_limit()) + 1;
            assert!(ttl.contains(&left), "hop limit of {frame:02x?}; came with {ttl:?}");
        }
    }

    fn ttl_of(&self, packet: &[u8]) -> Vec<u16> {
        let (identity, _) = identity(packet).unwrap();
        self.seen.get(&identity).into_iter().flatten().map(|&ttl| u16::from(ttl)).collect()
    }

    /// A whole packet of our own has every checksum right.
    fn judge_ours(&self, frame: &[u8]) {
        use etherparse::{NetSlice, SlicedPacket, TransportSlice};
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        match (sliced.net.as_ref().unwrap(), sliced.transport.as_ref().unwrap()) {
            (NetSlice::Ipv4(_), TransportSlice::Icmpv4(icmp)) => {
                assert!(checksum::sum(icmp.slice()).is_valid(), "{frame:02x?}");
            }
            (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
                let (from, to) = (ip.header().source(), ip.header().destination());
                assert!(icmp.is_checksum_valid(from, to), "{frame:02x?}");
            }
            (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
                let sum = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap();
                assert_eq!(sum, tcp.checksum(), "{frame:02x?}");
                assert!(tcp.rst());
            }
            (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
                let sum = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap();
                assert_eq!(sum, tcp.checksum(), "{frame:02x?}");
                assert!(tcp.rst());
            }
            _ => panic!("we do not send {frame:02x?}"),
        }
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.router.stack.interfaces.iter().any(|one| one.owns(address))
    }

    /// Ends all that waits, which must give every frame back.
    fn finish(mut self) {
        for index in 0..PORTS {
            self.set_port_up(index, false);
        }
        self.router.turn(|stack, turn| stack.output(turn));
        self.check();
        assert_eq!(self.router.stack.neighbours.frames_held(), 0);
        assert_eq!(self.router.pool.available(), self.frames, "every frame came back");
        for prefix in &self.added {
            // Two may be the same.
            let _ = self.rib.remove(prefix.parse().unwrap(), Source::Static, 1);
        }
        for index in 0..=INNER {
            self.rib.set_port_up(port(index), true);
        }
        drop(self.router);
        RIB.set(Some(self.rib));
    }

    fn set_port_up(&mut self, index: usize, up: bool) {
        for one in with_vlans(index) {
            self.rib.set_port_up(port(*one), up);
        }
        self.router.turn(|stack, turn| stack.set_port_up(turn, port(index), up));
        self.check(); // what waited may be answered with errors, which leave by other ports
        self.up[index] = up;
    }
}

/// Of a packet: what forwarding keeps, and the TTL. Fragments are known by their datagram.
fn identity(packet: &[u8]) -> Option<(Identity, u8)> {
    match packet.first()? >> 4 {
        4 => {
            let keep = [packet.get(4..6)?, packet.get(9..10)?].concat();
            Some(((packet.get(12..20)?.to_vec(), keep), packet[8]))
        }
        6 => {
            let keep = packet.get(..7)?.to_vec();
            Some(((packet.get(8..40)?.to_vec(), keep), packet[7]))
        }
        _ => None,
    }
}

fn address4(script: &mut Script<'_>) -> Ipv4Addr {
    let octets = script.pick(&[
        [10, 0, 1, 2],
        [10, 0, 1, 1],
        [10, 0, 2, 2],
        [10, 0, 2, 1],
        [10, 0, 3, 2],
        [10, 0, 3, 9],
        [10, 0, 100, 1],
        [10, 0, 100, 2],
        [10, 0, 7, 1],
        [10, 0, 7, 2],
        [10, 0, 1, 255],
        [10, 0, 2, 255],
        [192, 0, 2, 1],
        [198, 51, 100, 1],
        [203, 0, 113, 1],
        [203, 0, 112, 1],
        [203, 0, 111, 1],
        [100, 64, 0, 1],
        [8, 8, 8, 8],
        [255, 255, 255, 255],
        [224, 0, 0, 1],
        [239, 1, 2, 3],
        [127, 0, 0, 1],
        [0, 0, 0, 0],
        [240, 0, 0, 1],
        [169, 254, 0, 1],
    ]);
    if script.once_in(16) {
        Ipv4Addr::from([10, 0, 1 + script.byte() % 3, script.byte()])
    } else {
        octets.into()
    }
}

fn address6(script: &mut Script<'_>) -> Ipv6Addr {
    let text = script.pick(&[
        "fd00:1::2",
        "fd00:1::1",
        "fd00:2::2",
        "fd00:2::1",
        "fd00:3::2",
        "fd00:3::9",
        "fd00:100::1",
        "fd00:100::2",
        "fe80::1",
        "fe80::2",
        "fe80::99",
        "2001:db8:1::1",
        "2001:db8:2::1",
        "2001:db8:3::1",
        "2001:db8:4::1",
        "2001:db8:5::1",
        "2001:db8:6::1",
        "2001:db8:99::1",
        "::",
        "::1",
        "::ffff:10.0.1.2",
        "ff02::1",
        "ff02::2",
        "ff02::1:ff00:1",
        "ff05::2",
        "ff01::1",
        "ff0e::1",
    ]);
    text.parse().unwrap()
}

/// True when a packet shall have nothing wrong with it, so that it gets far.
fn good(script: &mut Script<'_>) -> bool {
    !script.once_in(3)
}

fn packet4(script: &mut Script<'_>, index: usize) -> Vec<u8> {
    let good = good(script);
    let source = if good { Ipv4Addr::new(10, 0, index as u8 + 1, 2) } else { address4(script) };
    let destination = address4(script);
    let protocol = script.pick(&[17, 17, 1, 1, 6, 253]);
    let length = script.pick(&[0, 8, 18, 200, 548, 1400, 1472, 3000, 8000]) + script.below(9);
    let body = script.bytes(length.min(40));
    let body: Vec<u8> = body.iter().copied().cycle().take(length).collect();
    let kind = [script.pick(&[8, 0, 3, 5, 11, 13, 2, 16]), script.pick(&[0, 4, 1, 9])];
    let mut payload = upper(protocol, source.into(), destination.into(), kind, &body);
    if protocol == 1 && script.once_in(3) {
        // A report about a packet of ours, as if it had been cut short or was too long.
        let about = V4 {
            tos: 0,
            id: 1,
            fragment: 0,
            ttl: 60,
            protocol: 1,
            source: destination,
            destination: source,
            options: Vec::new(),
            payload: vec![0; 8],
        };
        payload = upper(1, source.into(), destination.into(), [3, 4], &about.bytes());
        payload[7] = script.byte();
        payload[6] = script.pick(&[0, 2, 4]);
        payload[2..4].fill(0);
        let sum = checksum::sum(&payload).checksum();
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    if script.once_in(6) && payload.len() >= 8 {
        // What a local kernel leaves to hardware.
        let pseudo = checksum::pseudo_ipv4(source, destination, protocol, payload.len() as u16).fold();
        payload[6..8].copy_from_slice(&pseudo.to_be_bytes());
    }
    let options = if good {
        &[][..]
    } else {
        script.pick(&[&[][..], &[], &[7, 7, 4, 0, 0, 0, 0], &[148, 4, 0, 0], &[131, 3, 4], &[7, 9]])
    };
    V4 {
        tos: script.byte(),
        id: script.below(4) as u16,
        fragment: script.pick(&[0, 0, 0, 0x4000, 0x4000, 0x2000, 0x0005, 0x2005, 0x8000]),
        ttl: if good { 64 } else { script.pick(&[255, 2, 1, 0]) },
        protocol,
        source,
        destination,
        options: options.to_vec(),
        payload,
    }
    .bytes()
}

/// A message that passes the checks of RFC 4861, about an address that may be ours.
fn neighbour_discovery(script: &mut Script<'_>, index: usize) -> Vec<u8> {
    let net = index as u16 + 1;
    let ours = Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, 1);
    let station = Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, script.pick(&[2, 2, 3, 9]));
    let other = address6(script);
    let target = script.pick(&[ours, ours, station, station, other]);
    let kind = script.pick(&[135, 135, 136, 136, 133, 134]);
    let source = if script.once_in(6) { Ipv6Addr::UNSPECIFIED } else { station };
    let destination = match script.byte() & 3 {
        0 => "ff02::1".parse().unwrap(),
        1 => flumen_stack::wire::address::solicited_node(&target),
        _ => ours,
    };
    let mut message = vec![kind, 0, 0, 0, script.pick(&[0x60, 0x20, 0x40, 0xe0]), 0, 0, 0];
    match kind {
        133 => {}
        134 => message.extend([0; 8]),
        _ => message.extend(target.octets()),
    }
    if !source.is_unspecified() && !script.once_in(4) {
        message.extend([if kind == 136 { 2 } else { 1 }, 1]);
        message.extend(common::station(index, script.pick(&[2, 3, 9])).0);
    }
    let payload = with_sum6(message, source, destination);
    V6 { word: 6 << 28, next_header: 58, hop_limit: 255, source, destination, payload }.bytes()
}

fn packet6(script: &mut Script<'_>, index: usize) -> Vec<u8> {
    let good = good(script);
    let neighbour = Ipv6Addr::new(0xfd00, index as u16 + 1, 0, 0, 0, 0, 0, 2);
    let source = if good { neighbour } else { address6(script) };
    let destination = address6(script);
    let protocol = script.pick(&[17, 17, 58, 58, 58, 6, 59, 253]);
    let length = script.pick(&[0, 8, 16, 24, 200, 1180, 1400, 3000]) + script.below(9);
    let mut body = script.bytes(length.min(40));
    if protocol == 58 && script.once_in(2) && body.len() >= 16 {
        // The target of a neighbour discovery message, and an option.
        body[..16].copy_from_slice(&address6(script).octets());
        if body.len() >= 24 {
            body[16..18].copy_from_slice(&[script.pick(&[1, 2, 5]), script.pick(&[1, 1, 1, 0, 2])]);
        }
    }
    let body: Vec<u8> = body.iter().copied().cycle().take(length).collect();
    let kind =
        [script.pick(&[128, 129, 1, 2, 3, 4, 133, 134, 135, 136, 137, 200]), script.pick(&[0, 0, 0, 1])];
    let mut payload = upper(protocol, source.into(), destination.into(), kind, &body);
    let mut next_header = protocol;
    for _ in 0..if good { 0 } else { script.pick(&[0, 1, 1, 2, 9]) } {
        let header = script.pick(&[0, 60, 43, 44]);
        let mut extension = vec![next_header, 0, 0, 0, 0, 0, 0, 0];
        match header {
            0 | 60 => {
                let option = [
                    script.pick(&[1, 5, 0x3e, 0x7e, 0xbe, 0xfe, 0xc2]),
                    script.pick(&[4, 4, 4, 9]),
                    0,
                    0,
                    0,
                    0,
                ];
                extension[2..].copy_from_slice(&option);
            }
            43 => extension[2..4].copy_from_slice(&[script.byte(), script.pick(&[0, 0, 1])]),
            _ => extension[2..4].copy_from_slice(&[script.pick(&[0, 0, 8]), script.pick(&[0, 0, 1])]),
        }
        extension.extend(payload);
        payload = extension;
        next_header = header;
    }
    let hop_limit = if good { 64 } else { script.pick(&[255, 255, 2, 1, 0]) };
    let word = 6 << 28 | script.below(4) as u32;
    V6 { word, next_header, hop_limit, source, destination, payload }.bytes()
}

fn arp_packet(script: &mut Script<'_>, index: usize) -> Vec<u8> {
    let mac = |script: &mut Script<'_>| match script.byte() & 7 {
        0 => MacAddr::BROADCAST,
        1 => our_mac(index),
        2 => MacAddr::ZERO,
        host => station(index, host),
    };
    let (from, to) = (mac(script), mac(script));
    let operation = script.pick(&[1, 1, 2, 2, 3]);
    arp(operation, (from, address4(script)), (to, address4(script)))
}

/// A frame as a station on the link of port `index` might send it, broken once in a while.
fn frame(script: &mut Script<'_>, index: usize) -> Vec<u8> {
    let (ethertype, packet) = match script.byte() & 7 {
        0..=2 => (0x0800, packet4(script, index)),
        3 | 4 => (0x86dd, packet6(script, index)),
        5 => (0x86dd, neighbour_discovery(script, index)),
        6 => (0x0806, arp_packet(script, index)),
        _ => {
            let length = script.below(80);
            (script.pick(&[0x0800, 0x86dd, 0x0806, 0x88cc]), script.bytes(length))
        }
    };
    let destination = match script.byte() & 15 {
        0 => MacAddr::BROADCAST,
        1 => MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        2 => MacAddr([1, 0, 0x5e, 0, 0, 1]),
        3 => station(index, 77),
        _ => our_mac(index),
    };
    let source = if script.once_in(32) { MacAddr::BROADCAST } else { station(index, 2) };
    let mut frame = ethernet(destination, source, ethertype, &packet);
    if script.once_in(6) {
        let tags = script.pick(&[
            &[OFFICE_TAG][..],
            &[OFFICE_TAG],
            &[SERVICE_TAG, INNER_TAG],
            &[SERVICE_TAG, INNER_TAG],
            &[SERVICE_TAG],
            &[[0x81, 0, 0xe0, 0]],
            &[[0x81, 0, 0, 101]],
            &[[0x88, 0xa8, 0, 100]],
            &[INNER_TAG, SERVICE_TAG],
            &[SERVICE_TAG, [0x81, 0, 0, 0], INNER_TAG],
        ]);
        frame = tagged(&frame, tags);
    }
    match script.byte() & 31 {
        0 => {
            let at = script.below(frame.len());
            frame[at] ^= 1 << (script.byte() & 7);
        }
        1 => {
            let at = script.below(frame.len().min(80));
            frame[at] = script.byte();
        }
        2 => frame.truncate(script.below(frame.len() + 1)),
        3 => frame.extend(vec![0xee; script.below(60)]),
        _ => {}
    }
    frame
}

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
