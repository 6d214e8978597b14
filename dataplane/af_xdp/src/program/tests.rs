//! The programs are run by the kernel (BPF_PROG_TEST_RUN) on packets made here, with an AF_XDP socket in slot 0 of the
//! map: what we take ends as XDP_REDIRECT, what the kernel gets as XDP_PASS.

use super::*;
use crate::attach::XskMap;
use crate::bpf;
use crate::sys;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

const REDIRECTED: u32 = 4;

/// A loaded program.
struct Loaded {
    program: OwnedFd,
    _map: XskMap,
    _socket: OwnedFd,
}

impl Loaded {
    fn takes(&self, packet: &[u8]) -> bool {
        match bpf::test_run(&self.program, packet).unwrap() {
            REDIRECTED => true,
            2 => false,
            other => panic!("verdict {other}"),
        }
    }
}

/// `None` without the right to load programs, saying so.
fn loaded(rules: &Rules) -> Option<Loaded> {
    let map = match XskMap::new() {
        Ok(map) => map,
        Err(error) => {
            eprintln!("skipped: loading programs needs root ({error})");
            return None;
        }
    };
    let socket = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).unwrap();
    map.insert(0, socket.as_raw_fd()).unwrap();
    let program =
        bpf::load(&assemble(rules, map.as_raw_fd()).unwrap(), bpf::Kind::Xdp { multi_buffer: false })
            .unwrap();
    Some(Loaded { program, _map: map, _socket: socket })
}

fn prefix(text: &str) -> Prefix {
    match text.split_once('/') {
        Some((address, len)) => Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap(),
        None => Prefix::host(text.parse().unwrap()),
    }
}

fn claim(text: &str) -> Claim {
    Claim { destination: prefix(text), protocol: None, ports: None, ownership: Ownership::Sole }
}

fn claim_port(text: &str, protocol: u8, ports: RangeInclusive<u16>, ownership: Ownership) -> Claim {
    Claim { destination: prefix(text), protocol: Some(protocol), ports: Some(ports), ownership }
}

fn only(claims: Vec<Claim>) -> Rules {
    Rules { claims: Claims::Only(claims), exclusions: Vec::new() }
}

fn ssh(address: Option<&str>, ownership: Ownership) -> Exclusion {
    Exclusion { address: address.map(prefix), protocol: Some(6), ports: Some(22..=22), ownership }
}

fn ethernet(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend(ethertype.to_be_bytes());
    packet.extend(rest);
    packet
}

/// An IPv4 packet; `fragment` is the 16 bits of flags and offset, `options` the bytes of options (a multiple of 4).
fn ipv4(to: &str, protocol: u8, port: u16, fragment: u16, options: usize) -> Vec<u8> {
    let to: Ipv4Addr = to.parse().unwrap();
    let mut ip = vec![0x45 + (options / 4) as u8, 0, 0, 60, 0, 0];
    ip.extend(fragment.to_be_bytes());
    ip.extend([64, protocol, 0, 0, 192, 0, 2, 99]);
    ip.extend(to.octets());
    ip.extend(vec![1; options]);
    ip.extend(4000u16.to_be_bytes());
    ip.extend(port.to_be_bytes());
    ip.extend([0; 16]);
    ethernet(0x0800, &ip)
}

/// An IPv6 packet with the extension headers `before` (number, bytes of 8) in front of `upper`.
fn ipv6(to: &str, before: &[(u8, usize)], protocol: u8, upper: &[u8]) -> Vec<u8> {
    let to: Ipv6Addr = to.parse().unwrap();
    let mut numbers: Vec<u8> = before.iter().map(|(number, _)| *number).collect();
    numbers.push(protocol);
    let mut ip = vec![0x60, 0, 0, 0, 0, 0, numbers[0], 64];
    ip.extend([0xfe; 16]);
    ip.extend(to.octets());
    for (index, (number, units)) in before.iter().enumerate() {
        let mut header = vec![0; units * 8];
        header[0] = numbers[index + 1];
        header[1] = if *number == 44 { 0 } else { (*units - 1) as u8 };
        ip.extend(header);
    }
    ip.extend(upper);
    ethernet(0x86dd, &ip)
}

fn ports(port: u16) -> Vec<u8> {
    let mut upper = 4000u16.to_be_bytes().to_vec();
    upper.extend(port.to_be_bytes());
    upper.extend([0; 16]);
    upper
}

fn arp(operation: u16, sender: &str, target: &str) -> Vec<u8> {
    let (sender, target): (Ipv4Addr, Ipv4Addr) = (sender.parse().unwrap(), target.parse().unwrap());
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    body.extend([2; 6]);
    body.extend(sender.octets());
    body.extend([3; 6]);
    body.extend(target.octets());
    ethernet(0x0806, &body)
}

/// A neighbour solicitation (135) or advertisement (136).
fn nd(kind: u8, to: &str, target: &str) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    ipv6(to, &[], 58, &message)
}

#[test]
fn the_whole_port_takes_everything_in_six_instructions() {
    assert_eq!(assemble(&Rules::whole_port(), 3).unwrap().len(), 7, "six, one of which fills two slots");
    let Some(program) = loaded(&Rules::whole_port()) else { return };
    for packet in [
        ipv4("192.0.2.1", 6, 22, 0, 0),
        arp(1, "192.0.2.9", "192.0.2.1"),
        ethernet(0x8100, &[0; 40]),
        vec![0; 14],
    ] {
        assert!(program.takes(&packet));
    }
}

#[test]
fn no_claims_take_nothing() {
    let Some(program) = loaded(&only(vec![])) else { return };
    assert!(!program.takes(&ipv4("192.0.2.1", 6, 22, 0, 0)));
}

#[test]
fn a_claim_on_all_addresses_of_a_family_takes_that_family() {
    let Some(program) = loaded(&only(vec![claim("0.0.0.0/0"), claim("192.0.2.1")])) else { return };
    assert!(program.takes(&ipv4("203.0.113.1", 17, 53, 0, 0)));
    assert!(program.takes(&arp(1, "192.0.2.9", "203.0.113.1")));
    assert!(!program.takes(&ipv6("2001:db8::1", &[], 17, &ports(53))));
}

#[test]
fn a_claimed_prefix_takes_its_addresses_and_their_arp_and_no_others() {
    let Some(program) = loaded(&only(vec![claim("192.0.2.64/26")])) else { return };
    for (address, taken) in
        [("192.0.2.64", true), ("192.0.2.127", true), ("192.0.2.63", false), ("192.0.2.128", false)]
    {
        assert_eq!(program.takes(&ipv4(address, 17, 53, 0, 0)), taken, "{address}");
        assert_eq!(
            program.takes(&ipv4(address, 17, 53, 0x2000, 40)),
            taken,
            "{address}, first fragment, options"
        );
        assert_eq!(program.takes(&arp(1, "192.0.2.1", address)), taken, "who has {address}?");
        assert_eq!(program.takes(&arp(2, "192.0.2.1", address)), taken, "a reply to {address}");
    }
    assert!(!program.takes(&arp(1, "192.0.2.64", "192.0.2.1")), "decided by the target, not the sender");
    assert!(!program.takes(&ethernet(0x8100, &ipv4("192.0.2.64", 17, 53, 0, 0)[12..])), "tagged");
    assert!(!program.takes(&ethernet(0x88cc, &[0; 46])), "LLDP");
}

#[test]
fn a_claim_on_ports_looks_behind_options_and_takes_no_other_port_or_protocol() {
    let rules = only(vec![claim_port("192.0.2.1", 17, 5000..=5010, Ownership::Shared)]);
    let Some(program) = loaded(&rules) else { return };
    for options in (0..=40).step_by(4) {
        for (port, taken) in [(4999, false), (5000, true), (5010, true), (5011, false)] {
            assert_eq!(
                program.takes(&ipv4("192.0.2.1", 17, port, 0, options)),
                taken,
                "{port}, {options} of options"
            );
        }
    }
    assert!(!program.takes(&ipv4("192.0.2.1", 6, 5000, 0, 0)));
    assert!(!program.takes(&ipv4("192.0.2.2", 17, 5000, 0, 0)));
    assert!(!program.takes(&arp(1, "192.0.2.9", "192.0.2.1")), "a shared address: the kernel answers");
}

#[test]
fn fragments_of_a_datagram_all_go_one_way() {
    for (ownership, taken) in [(Ownership::Sole, true), (Ownership::Shared, false)] {
        let Some(program) = loaded(&only(vec![claim_port("192.0.2.1", 17, 53..=53, ownership)])) else {
            return;
        };
        for fragment in [0x2000, 0x2010, 0x0010] {
            // The first has the claimed port, another one, or no port at all: it does not matter.
            for port in [53, 54] {
                assert_eq!(
                    program.takes(&ipv4("192.0.2.1", 17, port, fragment, 0)),
                    taken,
                    "{ownership:?} {fragment:x}"
                );
            }
        }
        assert!(program.takes(&ipv4("192.0.2.1", 17, 53, 0x4000, 0)), "don't-fragment is no fragment");
        assert!(!program.takes(&ipv4("192.0.2.1", 6, 53, 0x2000, 0)), "another protocol's");
    }
}

#[test]
fn exclusions_win_over_claims_and_over_the_whole_port() {
    for claims in [Claims::WholePort, Claims::Only(vec![claim("192.0.2.0/24"), claim("2001:db8::/32")])] {
        let rules = Rules { claims, exclusions: vec![ssh(None, Ownership::Shared)] };
        let Some(program) = loaded(&rules) else { return };
        assert!(!program.takes(&ipv4("192.0.2.1", 6, 22, 0, 0)));
        assert!(!program.takes(&ipv4("192.0.2.1", 6, 22, 0, 12)));
        assert!(!program.takes(&ipv6("2001:db8::1", &[], 6, &ports(22))));
        assert!(!program.takes(&ipv6("2001:db8::1", &[(60, 2)], 6, &ports(22))));
        assert!(program.takes(&ipv4("192.0.2.1", 6, 23, 0, 0)));
        assert!(program.takes(&ipv4("192.0.2.1", 17, 22, 0, 0)));
        assert!(program.takes(&ipv4("192.0.2.1", 6, 22, 0x2000, 0)), "a router forwards fragments of TCP");
        assert!(program.takes(&arp(1, "192.0.2.9", "192.0.2.1")));
    }
}

#[test]
fn an_excluded_address_of_the_kernel_keeps_its_arp_nd_and_fragments() {
    let exclusions = vec![ssh(Some("192.0.2.1"), Ownership::Sole), ssh(Some("2001:db8::1"), Ownership::Sole)];
    let Some(program) = loaded(&Rules { claims: Claims::WholePort, exclusions }) else { return };
    assert!(!program.takes(&arp(2, "192.0.2.9", "192.0.2.1")));
    assert!(program.takes(&arp(2, "192.0.2.9", "192.0.2.2")));
    assert!(!program.takes(&nd(135, "ff02::1:ff00:1", "2001:db8::1")));
    assert!(program.takes(&nd(135, "ff02::1:ff00:2", "2001:db8::2")));
    assert!(!program.takes(&nd(136, "2001:db8::1", "2001:db8::9")));
    assert!(!program.takes(&ipv4("192.0.2.1", 6, 9, 0x0010, 0)));
    assert!(!program.takes(&ipv4("192.0.2.1", 6, 22, 0, 0)));
    assert!(program.takes(&ipv4("192.0.2.2", 6, 22, 0, 0)), "ssh through the router");
    assert!(program.takes(&ipv4("192.0.2.1", 6, 23, 0, 0)));
}

#[test]
fn an_ipv6_claim_takes_its_neighbour_discovery_and_leaves_the_kernels() {
    let mut shared = claim("2001:db8:2::1");
    shared.ownership = Ownership::Shared;
    let Some(program) = loaded(&only(vec![claim("2001:db8::/33"), shared])) else { return };
    assert!(program.takes(&ipv6("2001:db8:7fff::1", &[], 17, &ports(1))));
    assert!(!program.takes(&ipv6("2001:db8:8000::1", &[], 17, &ports(1))));
    assert!(program.takes(&nd(135, "ff02::1:ff00:5", "2001:db8::5")));
    assert!(!program.takes(&nd(135, "ff02::1:ff00:5", "fe80::5")));
    assert!(program.takes(&nd(136, "2001:db8::5", "2001:db8::9")), "an answer to a question of ours");
    assert!(!program.takes(&nd(136, "ff02::1", "2001:db8::9")), "unsolicited: the kernel's");
    assert!(!program.takes(&nd(136, "fe80::1", "2001:db8::9")), "an answer to the kernel");
}

#[test]
fn extension_headers_are_walked_up_to_the_bound_and_no_further() {
    let Some(program) = loaded(&only(vec![claim_port("2001:db8::1", 17, 53..=53, Ownership::Sole)])) else {
        return;
    };
    let options = [(0u8, 1usize), (60, 3), (43, 256), (60, 2), (60, 1)];
    for count in 0..=MAX_EXTENSIONS + 1 {
        let taken = count <= MAX_EXTENSIONS;
        let packet = ipv6("2001:db8::1", &options[..count], 17, &ports(53));
        assert_eq!(program.takes(&packet), taken, "{count} headers");
        assert!(!program.takes(&ipv6("2001:db8::1", &options[..count], 17, &ports(54))));
    }
    let mut fragment = ipv6("2001:db8::1", &[(60, 1), (44, 1)], 17, &ports(54));
    assert!(!program.takes(&fragment), "one that is all of its datagram has a port, and it is another");
    fragment[14 + 40 + 8 + 3] = 1; // more fragments
    assert!(program.takes(&fragment));
}

#[test]
fn a_packet_cut_at_any_length_never_matches_what_it_does_not_hold() {
    let rules = only(vec![
        claim_port("192.0.2.1", 17, 53..=53, Ownership::Sole),
        claim_port("2001:db8::1", 17, 53..=53, Ownership::Sole),
        claim("192.0.2.7"),
        claim("2001:db8::7"),
    ]);
    let Some(program) = loaded(&rules) else { return };
    // (packet, bytes that must be there for it to be ours)
    let cases = [
        (ipv4("192.0.2.1", 17, 53, 0, 0), 38),
        (ipv4("192.0.2.1", 17, 53, 0, 40), 78),
        (ipv4("192.0.2.7", 17, 53, 0, 0), 34),
        (arp(1, "192.0.2.9", "192.0.2.1"), 42),
        (ipv6("2001:db8::1", &[], 17, &ports(53)), 58),
        (ipv6("2001:db8::1", &[(0, 1), (60, 2)], 17, &ports(53)), 82),
        (ipv6("2001:db8::7", &[], 17, &ports(53)), 54),
        (nd(135, "ff02::1:ff00:7", "2001:db8::7"), 78),
    ];
    for (packet, needed) in cases {
        for len in 14..=packet.len() {
            assert_eq!(program.takes(&packet[..len]), len >= needed, "{len} of {} bytes", packet.len());
        }
    }
}

#[test]
fn the_largest_rule_set_loads_and_one_rule_more_is_refused() {
    let rules = |count: usize| {
        let worst = |index: usize| {
            let address = format!("2001:db8:{:x}:{:x}:8000:1:2:1/127", index, index + 7);
            claim_port(&address, 17, 1000..=2000, Ownership::Sole)
        };
        Rules {
            claims: Claims::Only((0..count - 100).map(worst).collect()),
            exclusions: vec![ssh(Some("2001:db8::1"), Ownership::Sole); 100],
        }
    };
    assert_eq!(assemble(&rules(MAX_RULES + 1), 3), Err(RuleError::TooMany(MAX_RULES + 1)));
    let Some(program) = loaded(&rules(MAX_RULES)) else { return };
    let last = MAX_RULES - 101;
    let address = format!("2001:db8:{:x}:{:x}:8000:1:2:1", last, last + 7);
    assert!(program.takes(&ipv6(&address, &[(0, 1)], 17, &ports(2000))));
    assert!(!program.takes(&ipv6(&address, &[(0, 1)], 17, &ports(2001))));
}

#[test]
fn impossible_rules_are_refused() {
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = only(vec![claim_port("192.0.2.1", 17, 9..=8, Ownership::Sole)]);
    assert_eq!(assemble(&backwards, 3), Err(RuleError::EmptyRange(9, 8)));
    assert!(Prefix::new("192.0.2.1".parse().unwrap(), 33).is_none());
    assert!(Prefix::new("::".parse().unwrap(), 129).is_none());
}

/// What the program should say of an unfragmented IPv4 packet, written the slow and obvious way.
fn model(rules: &Rules, to: u32, protocol: u8, port: u16) -> bool {
    let port = [6, 17].contains(&protocol).then_some(port);
    let within = |prefix: &Prefix| match prefix.address {
        IpAddr::V4(address) => (0..prefix.len).all(|bit| (u32::from(address) ^ to) >> (31 - bit) & 1 == 0),
        IpAddr::V6(_) => false,
    };
    let excluded = rules.exclusions.iter().any(|rule| {
        rule.address.as_ref().is_none_or(within)
            && rule.protocol.is_none_or(|wanted| wanted == protocol)
            && rule.ports.as_ref().is_none_or(|ports| port.is_some_and(|port| ports.contains(&port)))
    });
    let Claims::Only(claims) = &rules.claims else { return !excluded };
    !excluded
        && claims.iter().any(|rule| {
            let port_fits =
                rule.ports.as_ref().is_none_or(|ports| port.is_some_and(|port| ports.contains(&port)));
            within(&rule.destination) && rule.protocol.is_none_or(|wanted| wanted == protocol) && port_fits
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_rules_decide_as_the_obvious_model_does(
        claims in prop::collection::vec((0u32..16, 26u8..=32, prop::option::of(prop::sample::select(vec![1u8, 6, 17])),
            prop::option::of((0u16..8, 0u16..8))), 0..6),
        exclusions in prop::collection::vec((prop::option::of((0u32..16, 28u8..=32)),
            prop::option::of(prop::sample::select(vec![1u8, 6, 17])), prop::option::of((0u16..8, 0u16..3))), 0..4),
        whole: bool,
        packets in prop::collection::vec((0u32..24, prop::sample::select(vec![1u8, 6, 17]), 0u16..10), 40),
    ) {
        let base = u32::from(Ipv4Addr::new(192, 0, 2, 0));
        let at = |offset: u32, len| Prefix::new(Ipv4Addr::from(base + offset).into(), len).unwrap();
        let claims = claims.into_iter().map(|(offset, len, protocol, ports)| Claim {
            destination: at(offset, len),
            protocol,
            ports: ports.map(|(from, more)| from..=from + more),
            ownership: Ownership::Sole,
        }).collect();
        let exclusions = exclusions.into_iter().map(|(address, protocol, ports)| Exclusion {
            address: address.map(|(offset, len)| at(offset, len)),
            protocol,
            ports: ports.map(|(from, more)| from..=from + more),
            ownership: Ownership::Shared,
        }).collect();
        let rules = Rules { claims: if whole { Claims::WholePort } else { Claims::Only(claims) }, exclusions };
        if let Some(program) = loaded(&rules) {
            for (offset, protocol, port) in packets {
                let to = Ipv4Addr::from(base + offset);
                let packet = ipv4(&to.to_string(), protocol, port, 0, 0);
                prop_assert_eq!(program.takes(&packet), model(&rules, to.into(), protocol, port), "{} {} {}", to, protocol, port);
            }
        }
    }
}
