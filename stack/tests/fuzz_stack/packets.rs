//! Packets of any kind, as good or as broken as the script wants them.

use crate::common::*;
use crate::script::*;
use crate::vlans::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use flumen_stack::{MacAddr, checksum};

pub fn address4(script: &mut Script<'_>) -> Ipv4Addr {
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

pub fn address6(script: &mut Script<'_>) -> Ipv6Addr {
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
pub fn good(script: &mut Script<'_>) -> bool {
    !script.once_in(3)
}

pub fn packet4(script: &mut Script<'_>, index: usize) -> Vec<u8> {
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
pub fn neighbour_discovery(script: &mut Script<'_>, index: usize) -> Vec<u8> {
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
        message.extend(crate::common::station(index, script.pick(&[2, 3, 9])).0);
    }
    let payload = with_sum6(message, source, destination);
    V6 { word: 6 << 28, next_header: 58, hop_limit: 255, source, destination, payload }.bytes()
}

pub fn packet6(script: &mut Script<'_>, index: usize) -> Vec<u8> {
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

pub fn arp_packet(script: &mut Script<'_>, index: usize) -> Vec<u8> {
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
pub fn frame(script: &mut Script<'_>, index: usize) -> Vec<u8> {
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
