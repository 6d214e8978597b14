//! Packets of any kind, field by field, right or wrong.

use crate::harness::LAN_MAC;
use std::net::{Ipv4Addr, Ipv6Addr};

pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0x77];
pub const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0x78];
pub const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0x77];

/// The fields of an IPv4 packet.
pub struct V4 {
    pub first: u8,
    pub tos: u8,
    pub len: Option<u16>,
    pub id: u16,
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub sum: Option<u16>,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl V4 {
    pub fn packet(&self) -> Vec<u8> {
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
pub struct V6 {
    pub word: u32,
    pub len: Option<u16>,
    pub next: u8,
    pub hops: u8,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub payload: Vec<u8>,
}

impl V6 {
    pub fn packet(&self) -> Vec<u8> {
        let len = self.len.unwrap_or(self.payload.len() as u16);
        let mut packet = [&self.word.to_be_bytes()[..], &len.to_be_bytes(), &[self.next, self.hops]].concat();
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.payload);
        packet
    }
}

/// The ones' complement sum of parts, all but the last of even length (RFC 1071).
pub fn sum(parts: &[&[u8]]) -> u16 {
    let halves = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = halves.map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub fn pseudo6(source: &[u8], destination: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    [source, destination, &(len as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

pub fn pseudo4(source: &[u8], destination: &[u8], protocol: u8, len: usize) -> Vec<u8> {
    [source, destination, &[0, protocol], &(len as u16).to_be_bytes()].concat()
}

/// Puts the sum of a message over its pseudo header where it belongs.
pub fn finish(mut message: Vec<u8>, at: usize, pseudo: &[u8]) -> Vec<u8> {
    let made = !sum(&[pseudo, &message]);
    message[at..at + 2].copy_from_slice(&if made == 0 { 0xffff } else { made }.to_be_bytes());
    message
}

pub fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| index as u8).collect()
}

pub fn udp_header(source: u16, destination: u16, len: usize) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes(), (len as u16 + 8).to_be_bytes(), [0; 2]].concat()
}

/// UDP-Lite whose coverage field says `coverage`; its sum is right for that, and for all of it where that cannot be.
pub fn lite(coverage: u16, len: usize, pseudo: &[u8]) -> Vec<u8> {
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
pub type Damage = (usize, u8);

/// Coverages of 28 bytes of UDP-Lite, and what is changed then.
pub const LITE: [(&str, u16, Option<Damage>); 11] = [
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

pub fn tcp_header(flags: u8) -> Vec<u8> {
    let mut header = [&40_000u16.to_be_bytes()[..], &9u16.to_be_bytes(), &[0, 0, 4, 0, 0, 0, 8, 0]].concat();
    header.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    header
}

pub fn frame(ethernet: ([u8; 6], [u8; 6]), kind: u16, packet: &[u8]) -> Vec<u8> {
    [&ethernet.0[..], &ethernet.1, &kind.to_be_bytes(), packet].concat()
}

pub const TO_LAN: ([u8; 6], [u8; 6]) = (LAN_MAC, HOST_MAC);

pub fn host4(number: usize) -> Ipv4Addr {
    Ipv4Addr::from([10, 77, (number >> 8) as u8, number as u8])
}

pub fn host6(number: usize) -> Ipv6Addr {
    Ipv6Addr::from([0xfd00, 0x77, 0, 0, 0, 0, 0, number as u16])
}

pub fn four(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

pub fn six(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}
