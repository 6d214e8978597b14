//! The stack under test, its books, and what may leave it.

use crate::common::*;
use crate::script::*;
use crate::vlans::*;
use core::net::IpAddr;
use flumen_stack::frame::heap::HEADROOM;
use flumen_stack::interface::{ChecksumPolicy, ReversePathFilter};
use flumen_stack::neighbour::NeighbourConfig;
use flumen_stack::route::{Rib, Source};
use flumen_stack::{DropReason, FramePool, MacAddr, checksum};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Tables are expensive to make; every script leaves them as they were. One that fails loses them.
    static RIB: RefCell<Option<Rib>> = const { RefCell::new(None) };
}

/// What identifies a packet in transit: all that forwarding does not change.
pub type Identity = (Vec<u8>, Vec<u8>);

/// The router under test, and what a strict observer remembers.
pub struct Subject {
    pub router: Router,
    pub rib: Rib,
    /// Chunks of the pool; with `single`, every packet takes one.
    pub frames: usize,
    pub single: bool,
    pub received: u64,
    /// TTLs with which each packet came in.
    pub seen: HashMap<Identity, Vec<u8>>,
    /// The last questions that were asked, with the port.
    pub questions: Vec<(usize, Vec<u8>)>,
    /// Routes that the script added.
    pub added: Vec<String>,
    pub up: [bool; PORTS],
}

impl Subject {
    pub fn new(script: &mut Script<'_>) -> Subject {
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

    pub fn input(&mut self, index: usize, frames: &[Vec<u8>]) {
        for frame in frames {
            if let Some((identity, ttl)) = untagged(frame).1.get(14..).and_then(identity) {
                self.seen.entry(identity).or_default().push(ttl);
            }
        }
        self.received += self.router.input(index, frames) as u64;
        self.check();
    }

    /// Everything that has to be true between two steps.
    pub fn check(&mut self) {
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
    pub fn judge(&self, index: usize, frame: &[u8]) {
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

    pub fn judge4(&self, frame: &[u8], packet: &[u8]) {
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

    pub fn judge6(&self, frame: &[u8], packet: &[u8]) {
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

    pub fn ttl_of(&self, packet: &[u8]) -> Vec<u16> {
        let (identity, _) = identity(packet).unwrap();
        self.seen.get(&identity).into_iter().flatten().map(|&ttl| u16::from(ttl)).collect()
    }

    /// A whole packet of our own has every checksum right.
    pub fn judge_ours(&self, frame: &[u8]) {
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

    pub fn owns(&self, address: IpAddr) -> bool {
        self.router.stack.interfaces.iter().any(|one| one.owns(address))
    }

    /// Ends all that waits, which must give every frame back.
    pub fn finish(mut self) {
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

    pub fn set_port_up(&mut self, index: usize, up: bool) {
        for one in with_vlans(index) {
            self.rib.set_port_up(port(*one), up);
        }
        self.router.turn(|stack, turn| stack.set_port_up(turn, port(index), up));
        self.check(); // what waited may be answered with errors, which leave by other ports
        self.up[index] = up;
    }
}

/// Of a packet: what forwarding keeps, and the TTL. Fragments are known by their datagram.
pub fn identity(packet: &[u8]) -> Option<(Identity, u8)> {
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
