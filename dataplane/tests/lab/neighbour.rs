//! ARP and neighbour discovery: from cold, static, late, changed. Silent neighbours are in `errors`.

use super::harness::{Lab, Packet, Role, ipv4_of, ipv6_of, wait_until};

pub fn the_first_ping_to_a_cold_neighbour_is_answered() {
    for to in ["10.0.2.2", "fd00:2::2"] {
        let lab = Lab::up(); // nobody has said a word yet
        lab.client(&format!("ping -n -c 1 -W 3 {to}")).says("1 received");
    }
}

pub fn packets_that_wait_for_a_neighbour_are_all_delivered_in_order() {
    for (to, udp) in [("10.0.2.2", 20), ("fd00:2::2", 40)] {
        let lab = Lab::up();
        let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
        let packet = Packet::udp(Role::Client, to).ports(7, 4242); // one flow: one queue all the way
        for number in 1..=3 {
            client.send(&packet.clone().payload(vec![number]).frame());
        }
        for expected in 1..=3 {
            let number = server.expect("a packet that waited", |frame| {
                let packet = ipv4_of(frame).or(ipv6_of(frame))?;
                let ours = packet.get(udp + 2..udp + 4)? == 4242u16.to_be_bytes();
                if ours { packet.get(udp + 8).copied() } else { None }
            });
            assert_eq!(number, expected, "to {to}");
        }
    }
}

pub fn arping_is_answered_for_our_address_and_no_other() {
    let lab = Lab::up();
    lab.client("arping -c 2 -w 5 -I lan0 10.0.1.1").says("[02:00:00:00:01:01]");
    let silent = lab.client("arping -c 2 -w 2 -I lan0 10.0.1.99");
    assert!(!silent.ok, "somebody answers for 10.0.1.99: {}", silent.text);
}

pub fn a_static_neighbour_is_used_without_asking() {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
    let lab = Lab::plan()
        .neighbour("wan", "10.0.2.77", "02:00:00:00:00:77")
        .neighbour("wan", "fd00:2::77", "02:00:00:00:00:77")
        .up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    for (to, ether_type) in [("10.0.2.77", [0x08, 0x00]), ("fd00:2::77", [0x86, 0xdd])] {
        client.send(&Packet::udp(Role::Client, to).frame());
        server.expect("the packet, and no question before it", |frame| {
            assert_ne!(frame[12..14], [0x08, 0x06], "an ARP request");
            let asks = ipv6_of(frame).is_some_and(|packet| packet[6] == 58 && packet[40] == 135);
            let about = frame.ends_with(&[0x77]) || frame.windows(2).any(|pair| pair == [0, 0x77]);
            assert!(!(asks && about), "a neighbour solicitation for {to}");
            (frame[0..6] == MAC && frame[12..14] == ether_type).then_some(())
        });
    }
}

pub fn a_neighbour_that_comes_late_is_found() {
    let lab = Lab::up();
    for (late, prefix) in [("10.0.2.50", 24), ("fd00:2::50", 64)] {
        // Nobody is there; whatever the router remembers about that must not last.
        lab.client(&format!("ping -n -c 1 -W 1 {late}"));
        let nodad = if prefix == 64 { "nodad" } else { "" };
        lab.server(&format!("ip address add {late}/{prefix} dev wan0 {nodad}")).must();
        wait_until("the late neighbour answers", 20, || lab.client(&format!("ping -n -c 1 -W 1 {late}")).ok);
    }
}

/// An address for the server that the router has not seen yet.
const MOVED: &str = "02:00:00:00:02:99";

pub fn a_neighbour_that_announces_a_new_ethernet_address_is_believed_at_once() {
    let lab = Lab::up();
    lab.client("ping -n -c 2 -i 0.1 -W 2 10.0.2.2").must();
    lab.server(&format!("ip link set wan0 address {MOVED}")).must();
    // A gratuitous ARP request changes the entries of those who have one (RFC 826, RFC 5227 section 1.1).
    lab.server("arping -U -c 1 -I wan0 10.0.2.2");
    lab.client("ping -n -c 3 -i 0.1 -W 2 10.0.2.2").says("3 received");
}

pub fn a_neighbour_that_changes_its_ethernet_address_unannounced_is_found_again() {
    let lab = Lab::up();
    let all = ["10.0.2.2", "fd00:2::2"];
    for to in all {
        lab.client(&format!("ping -n -c 2 -i 0.1 -W 2 {to}")).must();
    }
    // The router has to notice by itself that nobody confirms the old address any more (RFC 4861 section
    // 7.3): half a minute of ReachableTime, five seconds of delay, three probes.
    lab.server(&format!("ip link set wan0 address {MOVED}")).must();
    wait_until("the neighbour is found again", 70, || {
        all.iter().all(|to| lab.client(&format!("ping -n -c 1 -W 1 {to}")).ok)
    });
}
