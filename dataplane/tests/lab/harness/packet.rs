//! Packets as a test says them, and the reading of what comes back. Built and read with `etherparse`, which
//! knows nothing of Flumen: an error of ours cannot hide behind the same error here.

use super::{CLIENT_MAC, LAN_MAC, Role, SERVER_MAC, WAN_MAC};
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

/// A packet from the client or the server, on its way to the router's Ethernet address.
#[derive(Debug, Clone)]
pub struct Packet {
    ethernet: ([u8; 6], [u8; 6]),
    identification: u16,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    dont_fragment: bool,
    fragment_offset: u16,
    protocol: Option<u8>,
    ports: (u16, u16),
    payload: Vec<u8>,
}

impl Packet {
    /// A UDP datagram of 32 payload bytes to `destination`, from the host's own address; TTL 64, DF set. Its
    /// identification (IPv4) and source port are its own, so that an error tells whom it is about.
    pub fn udp(from: Role, destination: &str) -> Packet {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed) % 10_000;
        let destination: IpAddr = destination.parse().expect("an address");
        let (ethernet, four, six) = match from {
            Role::Client => ((CLIENT_MAC, LAN_MAC), "10.0.1.2", "fd00:1::2"),
            Role::Server => ((SERVER_MAC, WAN_MAC), "10.0.2.2", "fd00:2::2"),
            Role::Router => panic!("the router sends its packets itself"),
        };
        let source = if destination.is_ipv4() { four } else { six }.parse().expect("an address");
        Packet {
            ethernet,
            identification: 0x1000 + count,
            source,
            destination,
            ttl: 64,
            dont_fragment: true,
            fragment_offset: 0,
            protocol: None,
            ports: (40_000 + count, 9),
            payload: (0..32).collect(),
        }
    }

    /// With this TTL or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Packet {
        self.ttl = ttl;
        self
    }

    /// From this address.
    pub fn source(mut self, source: &str) -> Packet {
        self.source = source.parse().expect("an address");
        self
    }

    /// To this Ethernet address.
    pub fn mac(mut self, destination: [u8; 6]) -> Packet {
        self.ethernet.1 = destination;
        self
    }

    /// From and to these UDP ports.
    pub fn ports(mut self, source: u16, destination: u16) -> Packet {
        self.ports = (source, destination);
        self
    }

    /// As a later IPv4 fragment, `offset` units of 8 bytes into its datagram.
    pub fn fragment(mut self, offset: u16) -> Packet {
        self.dont_fragment = false;
        self.fragment_offset = offset;
        self
    }

    /// With this protocol number, and the payload right behind the IP header.
    pub fn protocol(mut self, protocol: u8) -> Packet {
        self.protocol = Some(protocol);
        self
    }

    /// With this payload.
    pub fn payload(mut self, payload: Vec<u8>) -> Packet {
        self.payload = payload;
        self
    }

    /// With as much payload as makes the IP packet `length` bytes long.
    pub fn ip_length(self, length: usize) -> Packet {
        let headers = if self.destination.is_ipv4() { 28 } else { 48 };
        self.payload((0..length - headers).map(|index| index as u8).collect())
    }

    /// The bytes of the frame.
    pub fn frame(&self) -> Vec<u8> {
        let (source, destination) = self.ethernet;
        let ip = PacketBuilder::ethernet2(source, destination);
        let ip = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let protocol = IpNumber(self.protocol.unwrap_or(17));
                let header = Ipv4Header::new(0, self.ttl, protocol, source.octets(), destination.octets());
                let mut header = header.expect("an IPv4 header");
                header.dont_fragment = self.dont_fragment;
                header.identification = self.identification;
                header.fragment_offset = self.fragment_offset.try_into().expect("an offset below 8192");
                ip.ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 0,
                    next_header: IpNumber(self.protocol.unwrap_or(17)),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                ip.ip(etherparse::IpHeaders::Ipv6(header, Default::default()))
            }
            (source, destination) => panic!("{source} and {destination} are of different families"),
        };
        let mut frame = Vec::new();
        match self.protocol {
            None => ip.udp(self.ports.0, self.ports.1).write(&mut frame, &self.payload),
            // Experimental (RFC 3692): the builder must not look for headers of its own making.
            Some(_) if self.destination.is_ipv6() => ip.write(&mut frame, IpNumber(253), &self.payload),
            Some(protocol) => ip.write(&mut frame, IpNumber(protocol), &self.payload),
        }
        .expect("memory takes all bytes");
        if let (IpAddr::V6(_), Some(protocol)) = (self.destination, self.protocol) {
            frame[14 + 6] = protocol;
        }
        frame
    }
}

/// An ICMP or ICMPv6 error as it came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// Type and code.
    pub kind: (u8, u8),
    /// The 32 bits behind the checksum: pointer, MTU, or zero.
    pub word: u32,
}

/// The error in `frame` about the packet in `about`, if it is one: sent to the sender of `about`, with right
/// checksums, and quoting it as far as its RFC wants. Errors about other packets are `None`; a wrong error
/// about this one fails the test.
pub fn icmp_error(frame: &[u8], about: &[u8]) -> Option<IcmpError> {
    match (ipv4_of(frame), ipv6_of(frame)) {
        (Some(packet), _) => icmpv4_error(packet, ipv4_of(about)?),
        (_, Some(packet)) => icmpv6_error(packet, ipv6_of(about)?),
        _ => None,
    }
}

fn icmpv4_error(packet: &[u8], about: &[u8]) -> Option<IcmpError> {
    let header = usize::from(packet[0] & 15) * 4;
    if packet[9] != 1 || !matches!(packet.get(header)?, 3 | 4 | 5 | 11 | 12) {
        return None;
    }
    let (icmp, quote) = (&packet[header..], packet.get(header + 8..)?);
    // Identification, addresses and the first 8 bytes of the payload tell whose packet is quoted.
    if quote.get(12..28)? != &about[12..28] || quote[4..6] != about[4..6] {
        return None;
    }
    assert!(sums(&[&packet[..header]]), "the header checksum of {packet:02x?}");
    assert!(sums(&[icmp]), "the ICMP checksum of {packet:02x?}");
    assert_eq!(packet[16..20], about[12..16], "an error goes to the sender of the packet");
    // RFC 1812 section 4.3.2.3: as much of the packet as fits into 576 bytes.
    assert_quotes(quote, about, (576 - header - 8).min(about.len()), &[8, 10, 11]);
    let from: [u8; 4] = packet[12..16].try_into().expect("4 bytes");
    Some(IcmpError { from: IpAddr::from(from), kind: (icmp[0], icmp[1]), word: word(icmp) })
}

fn icmpv6_error(packet: &[u8], about: &[u8]) -> Option<IcmpError> {
    let (icmp, quote) = (&packet[40..], packet.get(48..)?);
    if packet[6] != 58
        || icmp[0] >= 128
        || quote.get(6..7)? != &about[6..7]
        || quote.get(8..48)? != &about[8..48]
    {
        return None;
    }
    let pseudo = [&(icmp.len() as u32).to_be_bytes()[..], &58u32.to_be_bytes()].concat();
    assert!(sums(&[&packet[8..40], &pseudo, icmp]), "the ICMPv6 checksum of {packet:02x?}");
    assert_eq!(packet[24..40], about[8..24], "an error goes to the sender of the packet");
    // RFC 4443 section 3: as much of the packet as fits into the smallest MTU.
    assert_quotes(quote, about, (1280 - 48).min(about.len()), &[7]);
    let from: [u8; 16] = packet[8..24].try_into().expect("16 bytes");
    Some(IcmpError { from: IpAddr::from(from), kind: (icmp[0], icmp[1]), word: word(icmp) })
}

/// The quote is the packet as it came, `length` bytes of it at least, apart from the bytes at `may_differ`
/// (TTL and checksum: a router may have touched them already).
#[track_caller]
fn assert_quotes(quote: &[u8], about: &[u8], length: usize, may_differ: &[usize]) {
    assert!(quote.len() >= length, "only {} of {length} bytes are quoted", quote.len());
    for (index, (quoted, sent)) in quote.iter().zip(about).enumerate() {
        assert!(
            quoted == sent || may_differ.contains(&index),
            "byte {index} of the quote: {quoted} for {sent}"
        );
    }
}

fn word(icmp: &[u8]) -> u32 {
    u32::from_be_bytes(icmp[4..8].try_into().expect("4 bytes"))
}

/// The IPv4 packet in an untagged frame: from the version to the last byte that the header counts.
pub fn ipv4_of(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(14..).filter(|packet| frame[12..14] == [0x08, 0x00] && packet.len() >= 20)?;
    packet.get(..usize::from(u16::from_be_bytes([packet[2], packet[3]])))
}

/// The IPv6 packet in an untagged frame.
pub fn ipv6_of(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(14..).filter(|packet| frame[12..14] == [0x86, 0xdd] && packet.len() >= 40)?;
    packet.get(..40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])))
}

/// True when the ones' complement sum over the parts, all but the last of even length, is that of undamaged
/// data (RFC 1071).
fn sums(parts: &[&[u8]]) -> bool {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}
