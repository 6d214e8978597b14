//! The cases: what each is called, and the frames that go in.

use super::packets::*;
use super::ipv4::*;
use super::ipv6::*;
use crate::harness::LAN_MAC;

/// The corpus: each case's name and the frames that go in by lan.
#[derive(Default)]
pub struct Corpus(pub Vec<(String, Vec<Vec<u8>>)>);

impl Corpus {
    pub fn host(&self) -> usize {
        self.0.len() + 1
    }

    pub fn raw(&mut self, name: &str, frames: Vec<Vec<u8>>) {
        assert!(self.0.iter().all(|(other, _)| other != name), "{name} is there twice");
        self.0.push((name.to_owned(), frames));
    }

    /// A UDP datagram of IPv4 through the router, changed.
    pub fn v4(&mut self, name: &str, change: impl FnOnce(&mut V4)) {
        let packet = self.packet4("10.78.0.1", change);
        self.raw(name, vec![frame(TO_LAN, 0x0800, &packet)]);
    }

    pub fn packet4(&self, to: &str, change: impl FnOnce(&mut V4)) -> Vec<u8> {
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
    pub fn icmp4(&mut self, name: &str, kind: [u8; 2], word: [u8; 4], body: &[u8], change: impl FnOnce(&mut V4)) {
        let message = [&kind[..], &[0; 2], &word, body].concat();
        let packet = self.packet4("10.0.1.1", |packet| {
            packet.protocol = 1;
            packet.payload = finish(message, 2, &[]);
            change(packet);
        });
        self.raw(name, vec![frame(TO_LAN, 0x0800, &packet)]);
    }

    /// TCP, UDP or UDP-Lite to the router; `message` gets its sum.
    pub fn ask_us4(&mut self, name: &str, protocol: u8, message: Vec<u8>, change: impl FnOnce(&mut V4)) {
        let packet = self.packet4("10.0.1.1", |packet| {
            let pseudo = pseudo4(&packet.source.octets(), &packet.destination.octets(), protocol, message.len());
            packet.protocol = protocol;
            packet.payload = finish(message, if protocol == 6 { 16 } else { 6 }, &pseudo);
            change(packet);
        });
        self.raw(name, vec![frame(TO_LAN, 0x0800, &packet)]);
    }

    pub fn packet6(&self, to: &str, change: impl FnOnce(&mut V6)) -> Vec<u8> {
        let (source, destination) = (host6(self.host()), six(to));
        let udp = [udp_header(4000, 9, 32), bytes(32)].concat();
        let udp = finish(udp, 6, &pseudo6(&source.octets(), &destination.octets(), 17, 40));
        let mut packet =
            V6 { word: 0x6000_0000, len: None, next: 17, hops: 64, source, destination, payload: udp };
        change(&mut packet);
        packet.packet()
    }

    /// A UDP datagram of IPv6 through the router, changed.
    pub fn v6(&mut self, name: &str, change: impl FnOnce(&mut V6)) {
        let packet = self.packet6("fd00:78::1", change);
        self.raw(name, vec![frame(TO_LAN, 0x86dd, &packet)]);
    }

    /// A UDP datagram through the router behind extension headers, of which the first is `next` and the last says 17.
    pub fn through6(&mut self, name: &str, next: u8, extensions: &[u8]) {
        self.v6(name, |packet| {
            packet.next = next;
            packet.payload = [extensions, &packet.payload].concat();
        });
    }

    /// An echo request to the router behind extension headers, of which the first is `next` and the last says 58.
    pub fn ask_us6(&mut self, name: &str, next: u8, extensions: &[u8]) {
        self.icmp6(name, [128, 0], [0, 7, 0, 1], &bytes(24), |packet| {
            packet.next = next;
            packet.payload = [extensions, &packet.payload].concat();
        });
    }

    pub fn icmp6(&mut self, name: &str, kind: [u8; 2], word: [u8; 4], body: &[u8], change: impl FnOnce(&mut V6)) {
        self.icmp6_to("fd00:1::1", name, kind, word, body, change);
    }

    pub fn icmp6_to(
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

pub fn corpus() -> Corpus {
    let mut all = Corpus::default();
    forwarded4(&mut all);
    headers4(&mut all);
    ask_us4(&mut all);
    forwarded6(&mut all);
    ask_us6(&mut all);
    all
}
