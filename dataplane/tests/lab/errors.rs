//! ICMP and ICMPv6 errors, field by field: type, code, the word behind them, who sends them, what they
//! quote. The codes are Linux's, which are those of RFC 1812 section 5.2.7 and RFC 4443 section 3.

use super::harness::{Action, IcmpError, Lab, Packet, Role, icmp_error};

/// A lab whose checksums are finished when they are on the wire: they are looked at here.
fn lab() -> Lab {
    Lab::plan().offloads_off().up()
}

/// What the router says to the client about a packet.
fn answer(lab: &Lab, packet: &Packet) -> IcmpError {
    let wire = lab.wire(Role::Client);
    let frame = packet.frame();
    wire.send(&frame);
    wire.expect(&format!("an error about {packet:?}"), |seen| icmp_error(seen, &frame))
}

/// Checks what the router says about a packet: from its address on the client's side, and of this kind.
#[track_caller]
fn answers(lab: &Lab, packet: &Packet, kind: (u8, u8), word: u32) {
    let said = answer(lab, packet);
    let near = if said.from.is_ipv4() { "10.0.1.1" } else { "fd00:1::1" };
    assert_eq!(said, IcmpError { from: near.parse().unwrap(), kind, word });
}

/// Checks that none of the packets gets an error: of two kinds of packets sent one behind the other, only
/// the last, which is owed one, is answered.
#[track_caller]
fn stays_silent(lab: &Lab, packets: &[Packet], owed: &Packet) {
    let wire = lab.wire(Role::Client);
    let last = owed.frame();
    for packet in packets {
        wire.send(&packet.frame());
    }
    wire.send(&last);
    wire.expect("the error that is owed", |seen| {
        for packet in packets {
            assert_eq!(icmp_error(seen, &packet.frame()), None, "about {packet:?}");
        }
        icmp_error(seen, &last)
    });
}

fn client_udp(to: &str) -> Packet {
    Packet::udp(Role::Client, to)
}

pub fn a_ttl_that_runs_out_is_answered_with_time_exceeded() {
    let lab = lab();
    for length in [28, 60, 576, 1500] {
        answers(&lab, &client_udp("10.0.2.2").ttl(1).ip_length(length), (11, 0), 0);
    }
}

pub fn a_hop_limit_that_runs_out_is_answered_with_time_exceeded() {
    let lab = lab();
    for length in [48, 80, 1280, 1500] {
        answers(&lab, &client_udp("fd00:2::2").ttl(1).ip_length(length), (3, 0), 0);
    }
}

pub fn no_route_is_answered_with_net_unreachable() {
    answers(&lab(), &client_udp("203.0.113.9"), (3, 0), 0);
}

pub fn no_ipv6_route_is_answered_with_no_route() {
    answers(&lab(), &client_udp("2001:db8::9"), (1, 0), 0);
}

pub fn an_unreachable_route_is_answered_with_host_unreachable() {
    let lab = Lab::plan().offloads_off().route("203.0.113.0/24", Action::Unreachable).up();
    answers(&lab, &client_udp("203.0.113.9"), (3, 1), 0);
}

pub fn an_unreachable_ipv6_route_is_answered_with_no_route() {
    let lab = Lab::plan().offloads_off().route("2001:db8::/32", Action::Unreachable).up();
    answers(&lab, &client_udp("2001:db8::9"), (1, 0), 0);
}

pub fn a_prohibit_route_is_answered_with_administratively_prohibited() {
    let lab = Lab::plan().offloads_off().route("203.0.113.0/24", Action::Prohibit).up();
    answers(&lab, &client_udp("203.0.113.9"), (3, 13), 0);
}

pub fn a_prohibit_ipv6_route_is_answered_with_administratively_prohibited() {
    let lab = Lab::plan().offloads_off().route("2001:db8::/32", Action::Prohibit).up();
    answers(&lab, &client_udp("2001:db8::9"), (1, 1), 0);
}

pub fn a_blackhole_route_is_silent() {
    let lab = Lab::plan().offloads_off()
        .route("203.0.113.0/24", Action::Blackhole)
        .route("2001:db8::/32", Action::Blackhole)
        .up();
    stays_silent(&lab, &[client_udp("203.0.113.9")], &client_udp("10.0.2.2").ttl(1));
    stays_silent(&lab, &[client_udp("2001:db8::9")], &client_udp("fd00:2::2").ttl(1));
}

pub fn a_neighbour_that_stays_silent_is_host_unreachable() {
    answers(&lab(), &client_udp("10.0.2.77"), (3, 1), 0);
}

pub fn an_ipv6_neighbour_that_stays_silent_is_address_unreachable() {
    answers(&lab(), &client_udp("fd00:2::77"), (1, 3), 0);
}

pub fn a_closed_udp_port_of_the_router_is_port_unreachable() {
    answers(&lab(), &client_udp("10.0.1.1").ports(40_000, 33_434), (3, 3), 0);
}

pub fn a_closed_udp_port_of_the_router_is_port_unreachable_over_ipv6() {
    answers(&lab(), &client_udp("fd00:1::1").ports(40_000, 33_434), (1, 4), 0);
}

pub fn an_unknown_protocol_at_the_router_is_protocol_unreachable() {
    answers(&lab(), &client_udp("10.0.1.1").protocol(253), (3, 2), 0);
}

pub fn an_unknown_next_header_at_the_router_is_a_parameter_problem() {
    // RFC 8200 section 4: code 1, and the pointer shows the field that named it: byte 6 of the header.
    answers(&lab(), &client_udp("fd00:1::1").protocol(253), (4, 1), 6);
}

pub fn no_error_is_sent_about_errors_later_fragments_or_broadcasts() {
    let lab = lab();
    let owed = client_udp("10.0.2.2").ttl(1);
    // An ICMP error (host unreachable, with a correct sum) that runs out of TTL; RFC 1122 section 3.2.2.
    let mut error = vec![3, 1, 0xfc, 0xfe, 0, 0, 0, 0];
    error.extend([0; 28]);
    let packets = [
        client_udp("10.0.2.2").ttl(1).protocol(1).payload(error),
        client_udp("10.0.2.2").ttl(1).fragment(100),
        client_udp("10.0.1.255").ports(40_000, 33_434).mac([0xff; 6]),
        client_udp("255.255.255.255").ports(40_000, 33_434).mac([0xff; 6]),
        client_udp("203.0.113.9").mac([0xff; 6]),
    ];
    stays_silent(&lab, &packets, &owed);
}

pub fn no_error_is_sent_about_ipv6_errors_or_multicast() {
    let lab = lab();
    let owed = client_udp("fd00:2::2").ttl(1);
    // Destination unreachable; its checksum does not matter to a router that only passes it on.
    let mut error = vec![1, 0, 0, 0, 0, 0, 0, 0];
    error.extend([0; 40]);
    let packets = [
        client_udp("fd00:2::2").ttl(1).protocol(58).payload(error),
        client_udp("ff02::1").ports(40_000, 33_434).mac([0x33, 0x33, 0, 0, 0, 1]),
    ];
    stays_silent(&lab, &packets, &owed);
}

pub fn martian_packets_vanish_without_an_answer() {
    let lab = lab();
    let packets = [
        client_udp("203.0.113.9").source("127.0.0.1"),
        client_udp("203.0.113.9").source("224.0.0.5"),
        client_udp("203.0.113.9").source("255.255.255.255"),
        client_udp("203.0.113.9").source("10.0.1.1"),
        client_udp("127.0.0.1"),
        client_udp("0.0.0.0"),
    ];
    stays_silent(&lab, &packets, &client_udp("10.0.2.2").ttl(1));
    let packets = [
        client_udp("2001:db8::9").source("::1"),
        client_udp("2001:db8::9").source("ff02::1"),
        client_udp("::1"),
    ];
    stays_silent(&lab, &packets, &client_udp("fd00:2::2").ttl(1));
}

pub fn damaged_headers_vanish_without_an_answer() {
    let lab = lab();
    let wire = lab.wire(Role::Client);
    let good = client_udp("203.0.113.9").ip_length(40).frame(); // no route: an undamaged one is answered
    let owed = client_udp("203.0.113.10").frame();
    let damage: [fn(&mut Vec<u8>); 6] = [
        |frame| frame[24] ^= 1,                                           // the header checksum
        |frame| frame[14] = 0x55,                                         // the version
        |frame| frame[14] = 0x44,                                         // a header length below 20 bytes
        |frame| frame[14] = 0x4f,                                         // one beyond the packet
        |frame| frame[16..18].copy_from_slice(&1400u16.to_be_bytes()),    // a total length beyond the frame
        |frame| frame[16..18].copy_from_slice(&19u16.to_be_bytes()),      // one below the header's
    ];
    for (index, change) in damage.iter().enumerate() {
        let mut frame = good.clone();
        change(&mut frame);
        if index > 0 {
            mend_checksum(&mut frame);
        }
        wire.send(&frame);
    }
    wire.send(&owed);
    wire.expect("the error that is owed", |seen| {
        assert_eq!(icmp_error(seen, &good), None);
        icmp_error(seen, &owed)
    });
}

/// Makes the IPv4 header checksum right again, over as many bytes as the header says it has, so that
/// nothing but the damage speaks against the packet.
fn mend_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let header = (usize::from(frame[14] & 15) * 4).max(20).min(frame.len() - 14);
    let mut sum: u32 =
        frame[14..14 + header].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
