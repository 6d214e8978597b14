//! What came out of a router, in words, without what chance decides.

use super::packets::*;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").expect("text grows"));
    text
}

/// A frame in words, without what chance decides.
pub fn describe(frame: &[u8]) -> String {
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
pub fn upper(protocol: u8, message: &[u8], pseudo: &[u8], ours: bool) -> String {
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
