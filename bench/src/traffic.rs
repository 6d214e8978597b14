//! Frames to be forwarded: UDP in 64 bytes of Ethernet (without the frame check sequence, which no software
//! sees), for chosen destinations, all from one source.

use core::net::{Ipv4Addr, Ipv6Addr};
use flumen_stack::ethernet::{self, ethertype};
use flumen_stack::{MacAddr, checksum};

/// The router's station address on the port where traffic comes in.
pub const ROUTER_IN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The router's station address on the port where traffic leaves.
pub const ROUTER_OUT: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// Who sends.
pub const SENDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
/// Its IPv4 address.
pub const SOURCE4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// Its IPv6 address.
pub const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);

/// Bytes of each frame.
pub const FRAME: usize = 64;

const UDP: u8 = 17;
const TTL: u8 = 64;

/// A UDP datagram to `destination`.
pub fn udp4(destination: Ipv4Addr) -> [u8; FRAME] {
    let mut frame = [0u8; FRAME];
    let (link, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
    link.copy_from_slice(&ethernet::header(ROUTER_IN, SENDER, ethertype::IPV4));
    let len = packet.len() as u16;
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[8] = TTL;
    packet[9] = UDP;
    packet[12..16].copy_from_slice(&SOURCE4.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    let sum = checksum::sum(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = checksum::pseudo_ipv4(SOURCE4, destination, UDP, len - 20);
    udp(&mut packet[20..], pseudo);
    frame
}

/// A UDP datagram to `destination`.
pub fn udp6(destination: Ipv6Addr) -> [u8; FRAME] {
    let mut frame = [0u8; FRAME];
    let (link, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
    link.copy_from_slice(&ethernet::header(ROUTER_IN, SENDER, ethertype::IPV6));
    let len = (packet.len() - 40) as u16;
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet[6] = UDP;
    packet[7] = TTL;
    packet[8..24].copy_from_slice(&SOURCE6.octets());
    packet[24..40].copy_from_slice(&destination.octets());
    let pseudo = checksum::pseudo_ipv6(&SOURCE6, &destination, UDP, u32::from(len));
    udp(&mut packet[40..], pseudo);
    frame
}

/// A UDP header and the checksum over it and what follows.
fn udp(segment: &mut [u8], pseudo: checksum::Sum) {
    segment[..4].copy_from_slice(&[0x30, 0x39, 0x00, 0x09]); // from 12345 to 9, discard
    let len = segment.len() as u16;
    segment[4..6].copy_from_slice(&len.to_be_bytes());
    let sum = pseudo.plus(checksum::sum(segment)).checksum();
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
}
