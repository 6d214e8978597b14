//! VLANs on the ports of the subject, and their tags.

use crate::common::*;
use flumen_stack::Interface;
use flumen_stack::ethernet::vlan::{Priority, TagProtocol, Vlan};
use flumen_stack::route::{Rib, Target};

/// VLAN 100 of lan: 10.0.100.1/24, fd00:100::1/64.
pub const OFFICE: usize = 3;
/// Service VLAN 200 of wan, without addresses.
pub const SERVICE: usize = 4;
/// VLAN 7 inside of it: 10.0.7.1/24.
pub const INNER: usize = 5;

pub const OFFICE_TAG: [u8; 4] = [0x81, 0, 0, 100];
pub const SERVICE_TAG: [u8; 4] = [0x88, 0xa8, 0, 200];
pub const INNER_TAG: [u8; 4] = [0x81, 0, 0, 7];

/// The port with the wire, and the VLANs on it.
pub fn with_vlans(index: usize) -> &'static [usize] {
    match index {
        LAN => &[LAN, OFFICE],
        WAN => &[WAN, SERVICE, INNER],
        _ => &[DMZ],
    }
}

pub fn add_vlans(interfaces: &mut Vec<Interface>) {
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

pub fn rib_with_vlans() -> Rib {
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
pub fn untagged(frame: &[u8]) -> (Vec<[u8; 4]>, Vec<u8>) {
    let (mut tags, mut frame) = (Vec::new(), frame.to_vec());
    while let Some(&[a, b, c, d]) = frame.get(12..16)
        && matches!([a, b], [0x81, 0] | [0x88, 0xa8])
    {
        tags.push([a, b, c, d]);
        frame.drain(12..16);
    }
    (tags, frame)
}

pub fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}
