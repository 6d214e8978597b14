//! Path MTU discovery over a narrow second link, and packets of 8,000 bytes over wide ones.

use super::harness::{IcmpError, Lab, Packet, Role, icmp_error, ipv4_of, ipv6_of};
use super::transport;

fn narrow() -> Lab {
    Lab::plan().far_mtu(1400).up()
}

pub fn tracepath_finds_the_narrow_link_over_ipv4() {
    let text = narrow().client("tracepath -n -m 5 10.0.2.2").says("pmtu 1400");
    assert!(text.contains("10.0.1.1") && text.contains("hops 2"), "{text}");
}

pub fn tracepath_finds_the_narrow_link_over_ipv6() {
    let text = narrow().client("tracepath -6 -n -m 5 fd00:2::2").says("pmtu 1400");
    assert!(text.contains("fd00:1::1") && text.contains("hops 2"), "{text}");
}

fn answer(lab: &Lab, packet: &Packet) -> IcmpError {
    let wire = lab.wire(Role::Client);
    let frame = packet.frame();
    wire.send(&frame);
    wire.expect("an error about the long packet", |seen| icmp_error(seen, &frame))
}

pub fn a_long_packet_with_df_is_answered_with_the_mtu_of_the_narrow_link() {
    let lab = Lab::plan().far_mtu(1400).offloads_off().up(); // checksums are looked at
    for length in [1401, 1500] {
        let said = answer(&lab, &Packet::udp(Role::Client, "10.0.2.2").ip_length(length));
        // RFC 1191 section 4: the MTU in the lower half of the word.
        assert_eq!(said, IcmpError { from: "10.0.1.1".parse().unwrap(), kind: (3, 4), word: 1400 });
    }
}

pub fn a_long_ipv6_packet_is_answered_with_the_mtu_of_the_narrow_link() {
    let lab = Lab::plan().far_mtu(1400).offloads_off().up(); // checksums are looked at
    for length in [1401, 1500] {
        let said = answer(&lab, &Packet::udp(Role::Client, "fd00:2::2").ip_length(length));
        assert_eq!(said, IcmpError { from: "fd00:1::1".parse().unwrap(), kind: (2, 0), word: 1400 });
    }
}

pub fn a_packet_of_exactly_the_narrow_mtu_passes() {
    let lab = narrow();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    client.send(&Packet::udp(Role::Client, "10.0.2.2").ip_length(1400).frame());
    server.expect("1400 bytes of IPv4", |seen| ipv4_of(seen).filter(|packet| packet.len() == 1400).map(drop));
    client.send(&Packet::udp(Role::Client, "fd00:2::2").ip_length(1400).frame());
    server.expect("1400 bytes of IPv6", |seen| ipv6_of(seen).filter(|packet| packet.len() == 1400).map(drop));
}

pub fn tcp_finds_its_way_through_the_narrow_link() {
    let lab = narrow();
    transport::exchange(&lab, "10.0.2.2:7000");
    transport::exchange(&lab, "[fd00:2::2]:7000");
}

pub fn packets_of_8000_bytes_pass_with_mtu_9000() {
    let lab = Lab::plan().mtu(9000).up();
    for to in ["10.0.1.1", "10.0.2.2", "fd00:1::1", "fd00:2::2"] {
        for size in [8000, 9000 - 48] {
            lab.client(&format!("ping -n -c 3 -i 0.05 -W 2 -M do -s {size} {to}")).says("3 received");
        }
    }
}

pub fn tcp_and_udp_flow_with_mtu_9000() {
    let lab = Lab::plan().mtu(9000).up();
    transport::exchange(&lab, "10.0.2.2:7000");
    transport::exchange(&lab, "[fd00:2::2]:7000");
    for to in ["10.0.2.2", "fd00:2::2"] {
        transport::iperf3_tcp(&lab, to);
        transport::iperf3_udp(&lab, to, 8000);
    }
}
