//! Policy routing: packets of one destination leave by the next hop that their source, port or protocol chooses.

use super::harness::{Action, IcmpError, Lab, Packet, Role, RouterKind, icmp_error, ipv4_of, ipv6_of};

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x12];

const TABLES: &str = r#"
[[table]]
name = "second"
[[route]]
to = "198.51.100.0/24"
via = "10.0.2.12"
table = "second"
[[route]]
to = "2001:db8::/32"
via = "fd00:2::12"
table = "second"
[[rule]]
priority = 5
to = "198.51.100.66/32"
action = "prohibit"
[[rule]]
priority = 6
to = "2001:db8::66/128"
action = "prohibit"
[[rule]]
priority = 10
from = "10.0.1.9/32"
table = "second"
[[rule]]
priority = 11
from = "fd00:1::9/128"
table = "second"
[[rule]]
priority = 20
protocol = "udp"
ports = 53
table = "second"
"#;

const LINUX: &[&str] = &[
    "ip route add 198.51.100.0/24 via 10.0.2.12 table 100",
    "ip route add 2001:db8::/32 via fd00:2::12 table 100",
    "ip rule add priority 5 to 198.51.100.66 prohibit",
    "ip -6 rule add priority 6 to 2001:db8::66 prohibit",
    "ip rule add priority 10 from 10.0.1.9 lookup 100",
    "ip -6 rule add priority 11 from fd00:1::9 lookup 100",
    "ip rule add priority 20 ipproto udp dport 53 lookup 100",
    "ip -6 rule add priority 20 ipproto udp dport 53 lookup 100",
];

fn lab() -> Lab {
    Lab::plan()
        .offloads_off() // checksums are looked at
        .neighbour("wan", "10.0.2.11", "02:00:00:00:00:11")
        .neighbour("wan", "10.0.2.12", "02:00:00:00:00:12")
        .neighbour("wan", "fd00:2::11", "02:00:00:00:00:11")
        .neighbour("wan", "fd00:2::12", "02:00:00:00:00:12")
        .route("198.51.100.0/24", Action::Via(&["10.0.2.11"]))
        .route("2001:db8::/32", Action::Via(&["fd00:2::11"]))
        .tables(TABLES)
        .linux(LINUX)
        .up()
}

/// The next hop that a packet takes.
fn hop(lab: &Lab, packet: Packet) -> [u8; 6] {
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    let frame = packet.frame();
    client.send(&frame);
    server.expect("the packet", |seen| {
        let same = match (ipv4_of(seen), ipv4_of(&frame), ipv6_of(seen), ipv6_of(&frame)) {
            (Some(seen), Some(sent), ..) => seen[12..] == sent[12..],
            (_, _, Some(seen), Some(sent)) => seen[8..] == sent[8..],
            _ => false,
        };
        same.then(|| [seen[0], seen[1], seen[2], seen[3], seen[4], seen[5]])
    })
}

pub fn source_and_port_choose_the_next_hop() {
    let mut lab = lab();
    for (to, other) in [("198.51.100.7", "10.0.1.9"), ("2001:db8::7", "fd00:1::9")] {
        let udp = || Packet::udp(Role::Client, to);
        assert_eq!(hop(&lab, udp()), MAC_A, "to {to}");
        assert_eq!(hop(&lab, udp().source(other)), MAC_B, "from {other}");
        assert_eq!(hop(&lab, udp().ports(4000, 53)), MAC_B, "port 53");
        assert_eq!(hop(&lab, udp().ports(53, 4000)), MAC_A, "from port 53");
        let tcp = [&[0x0f, 0xa0, 0, 53][..], &[0; 8], &[0x50, 2], &[0; 6]].concat();
        assert_eq!(hop(&lab, udp().protocol(6).payload(tcp)), MAC_A, "TCP to port 53");
        assert_eq!(hop(&lab, udp()), MAC_A, "what others did changes nothing");
    }
    if RouterKind::chosen() == RouterKind::Flumen {
        let rules = lab.flumen().show("rules").must();
        for line in ["from 10.0.1.9/32", "to 198.51.100.66/32", "protocol 17", "ports 53", "table second"] {
            assert!(rules.contains(line), "no {line}:\n{rules}");
        }
        let tables = lab.flumen().show("tables").says("second");
        assert!(tables.contains("main"), "{tables}");
        lab.flumen().show("route --table second").says("10.0.2.12");
    }
}

pub fn a_rule_that_prohibits_is_answered_as_a_route_that_does() {
    let lab = lab();
    for (to, from, kind) in [("198.51.100.66", "10.0.1.1", (3, 13)), ("2001:db8::66", "fd00:1::1", (1, 1))] {
        let wire = lab.wire(Role::Client);
        let frame = Packet::udp(Role::Client, to).frame();
        wire.send(&frame);
        let said = wire.expect("an error", |seen| icmp_error(seen, &frame));
        assert_eq!(said, IcmpError { from: from.parse().expect("an address"), kind, word: 0 });
    }
}
