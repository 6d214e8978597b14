//! Equal-cost multipath: flows spread over the next hops, and the packets of one flow never do.

use super::harness::{Action, Lab, Packet, Role, ipv4_of, ipv6_of};
use std::collections::HashMap;

/// Flows that are tried; each sends three packets.
const FLOWS: u16 = 200;

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x12];

fn spread(lab: &Lab, destination: &str, port_field: usize) {
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    let mut hop_of = HashMap::new();
    for _ in 0..3 {
        for flow in 0..FLOWS {
            client.send(&Packet::udp(Role::Client, destination).ports(10_000 + flow, 4242).frame());
        }
        for _ in 0..FLOWS {
            let (flow, hop) = server.expect("every packet of every flow", |frame| {
                let packet = ipv4_of(frame).or(ipv6_of(frame))?;
                let ours = packet.get(port_field + 2..port_field + 4)? == 4242u16.to_be_bytes();
                let mac: [u8; 6] = frame[0..6].try_into().ok()?;
                ours.then(|| (packet[port_field..port_field + 2].to_vec(), mac))
            });
            assert!(hop == MAC_A || hop == MAC_B, "{hop:02x?} is no next hop");
            assert_eq!(*hop_of.entry(flow).or_insert(hop), hop, "a flow changed its way");
        }
    }
    assert_eq!(hop_of.len(), usize::from(FLOWS));
    let first = hop_of.values().filter(|hop| **hop == MAC_A).count();
    // Fair coins give 100 ± 7; below 60 or above 140 is no accident.
    assert!((60..=140).contains(&first), "{first} of {FLOWS} flows took the first way");
}

pub fn flows_spread_over_two_next_hops_and_each_keeps_to_one() {
    let lab = Lab::plan()
        .neighbour("wan", "10.0.2.11", "02:00:00:00:00:11")
        .neighbour("wan", "10.0.2.12", "02:00:00:00:00:12")
        .route("198.51.100.0/24", Action::Via(&["10.0.2.11", "10.0.2.12"]))
        .up();
    spread(&lab, "198.51.100.7", 20);
}

pub fn ipv6_flows_spread_over_two_next_hops_and_each_keeps_to_one() {
    let lab = Lab::plan()
        .neighbour("wan", "fd00:2::11", "02:00:00:00:00:11")
        .neighbour("wan", "fd00:2::12", "02:00:00:00:00:12")
        .route("2001:db8::/32", Action::Via(&["fd00:2::11", "fd00:2::12"]))
        .up();
    spread(&lab, "2001:db8::7", 40);
}
