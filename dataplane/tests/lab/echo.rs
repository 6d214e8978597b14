//! Ping to and through the router, and what forwarding does to a packet.

use super::harness::{LAN_MAC, Lab, Packet, Role, SERVER_MAC, WAN_MAC, ipv4_of, ipv6_of};

pub fn the_router_answers_ping_on_each_of_its_ipv4_addresses() {
    let lab = Lab::up();
    for address in ["10.0.1.1", "10.0.2.1"] {
        lab.client(&format!("ping -n -c 3 -i 0.05 -W 2 {address}")).must();
    }
    lab.server("ping -n -c 3 -i 0.05 -W 2 10.0.2.1").must();
}

pub fn the_router_answers_ping_on_each_of_its_ipv6_addresses() {
    let lab = Lab::up();
    for address in ["fd00:1::1", "fd00:2::1"] {
        lab.client(&format!("ping -n -c 3 -i 0.05 -W 2 {address}")).must();
    }
    lab.server("ping -n -c 3 -i 0.05 -W 2 fd00:2::1").must();
}

pub fn the_router_answers_ping_on_its_link_local_address() {
    let lab = Lab::up();
    // RFC 4291 appendix A: the interface identifier comes from the Ethernet address 02:00:00:00:01:01.
    lab.client("ping -n -c 3 -i 0.05 -W 2 fe80::ff:fe00:101%lan0").must();
}

fn ping_sizes(addresses: [&str; 2], largest: usize) {
    let lab = Lab::up();
    for address in addresses {
        for size in [0, 1, 2, 8, 17, 56, 128, 511, 1000, 1231, largest - 1, largest] {
            let ping = lab.client(&format!("ping -n -c 2 -i 0.02 -W 2 -M do -s {size} {address}"));
            ping.says("2 received");
        }
    }
}

/// RFC 4291 section 2.6.1: on the client's own link it must be asked for first, on the far one it is routed to.
pub fn the_router_answers_ping_on_the_anycast_address_of_each_subnet() {
    let lab = Lab::up();
    for address in ["fd00:1::", "fd00:2::"] {
        lab.client(&format!("ping -n -c 3 -i 0.1 -W 2 {address}")).says("3 received");
    }
    let neighbours = lab.client("ip -6 neighbour show fd00:1:: dev lan0").must();
    assert!(neighbours.contains("02:00:00:00:01:01"), "{neighbours}");
}

pub fn ping_of_every_size_reaches_the_router_and_the_server_over_ipv4() {
    ping_sizes(["10.0.1.1", "10.0.2.2"], 1500 - 28);
}

pub fn ping_of_every_size_reaches_the_router_and_the_server_over_ipv6() {
    ping_sizes(["fd00:1::1", "fd00:2::2"], 1500 - 48);
}

pub fn a_thousand_pings_in_a_row_are_all_answered() {
    let lab = Lab::up();
    for address in ["10.0.2.2", "fd00:2::2"] {
        lab.client(&format!("ping -n -q -c 1000 -i 0.001 -W 2 {address}")).says("1000 received");
    }
}

pub fn what_is_forwarded_differs_in_link_header_ttl_and_checksum_only_over_ipv4() {
    let lab = Lab::up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    for length in [28, 29, 46, 47, 60, 576, 1499, 1500] {
        let sent = Packet::udp(Role::Client, "10.0.2.2").ttl(17).ip_length(length).frame();
        let mut expected = sent.clone();
        expected[0..6].copy_from_slice(&SERVER_MAC);
        expected[6..12].copy_from_slice(&WAN_MAC);
        expected[14 + 8] = 16;
        // One less in the TTL, the upper byte of its word, is 0x0100 more in the sum (RFC 1141); the sum of
        // this header does not wrap there.
        let sum = u16::from_be_bytes([sent[24], sent[25]]);
        let (sum, carry) = sum.overflowing_add(0x0100);
        expected[24..26].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        client.send(&sent);
        let seen = server.expect("the forwarded packet", |frame| is_ours(frame, &sent));
        assert_eq!(seen, expected, "IP packet of {length} bytes");
    }
}

pub fn what_is_forwarded_differs_in_link_header_and_hop_limit_only_over_ipv6() {
    let lab = Lab::up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    for length in [48, 49, 60, 1280, 1499, 1500] {
        let sent = Packet::udp(Role::Client, "fd00:2::2").ttl(17).ip_length(length).frame();
        let mut expected = sent.clone();
        expected[0..6].copy_from_slice(&SERVER_MAC);
        expected[6..12].copy_from_slice(&WAN_MAC);
        expected[14 + 7] = 16;
        client.send(&sent);
        let seen = server.expect("the forwarded packet", |frame| is_ours(frame, &sent));
        assert_eq!(seen, expected, "IP packet of {length} bytes");
    }
}

/// The frame without link padding, when it carries the UDP ports of `sent` to the same place.
fn is_ours(frame: &[u8], sent: &[u8]) -> Option<Vec<u8>> {
    let (packet, ports) = match (ipv4_of(frame), ipv6_of(frame)) {
        (Some(packet), _) if packet[9] == 17 => (packet, 20..24),
        (_, Some(packet)) if packet[6] == 17 => (packet, 40..44),
        _ => return None,
    };
    (packet[ports.clone()] == sent[14..][ports]).then(|| frame[..14 + packet.len()].to_vec())
}

pub fn a_frame_for_another_station_is_not_forwarded() {
    let lab = Lab::up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    lab.client("ping -n -c 1 -W 2 10.0.2.2").must(); // neighbours are known on both sides
    let mut other = LAN_MAC;
    other[5] ^= 0x40;
    client.send(&Packet::udp(Role::Client, "10.0.2.2").ports(1, 1111).mac(other).frame());
    client.send(&Packet::udp(Role::Client, "10.0.2.2").ports(1, 2222).frame());
    let port = server.expect("the second packet", |frame| {
        ipv4_of(frame).filter(|packet| packet[9] == 17).map(|packet| u16::from_be_bytes([packet[22], packet[23]]))
    });
    assert_eq!(port, 2222, "the first packet was not the router's to forward");
}
