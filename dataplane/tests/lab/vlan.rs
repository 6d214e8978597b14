//! VLANs on a real wire. This kernel has no 802.1Q devices, so the tags are in frames that the test makes, and tcpdump, which
//! knows nothing of Flumen, says what came back.

use super::harness::{CLIENT_MAC, LAN_MAC, Lab, Packet, Role, wait_until};

const TABLES: &str = r#"
[[port]]
name = "office"
kind = "vlan"
parent = "lan"
vlan = 100
priority = 3
addresses = ["10.0.100.1/24"]
forwarding = true
[[port]]
name = "provider"
kind = "vlan"
parent = "lan"
vlan = 300
protocol = "802.1ad"
[[port]]
name = "customer"
kind = "vlan"
parent = "provider"
vlan = 7
addresses = ["10.0.7.1/24"]
forwarding = true
[[neighbour]]
port = "office"
address = "10.0.100.2"
mac = "02:00:00:00:01:02"
[[neighbour]]
port = "customer"
address = "10.0.7.2"
mac = "02:00:00:00:01:02"
"#;

/// The frame with tags behind its addresses.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

/// An echo request (its checksum right) from `source` to `destination`, on its way to the router.
fn ping(source: &str, destination: &str) -> Vec<u8> {
    let echo = vec![8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    Packet::udp(Role::Client, destination).source(source).protocol(1).payload(echo).frame()
}

pub fn tagged_pings_are_answered_with_their_tags_and_routed_between_vlans() {
    let mut lab = Lab::plan().offloads_off().tables(TABLES).up();
    let said = lab.folder().join("tcpdump");
    let command = format!("tcpdump -e -n -l -U -i lan0 -w {}", said.display());
    let _tcpdump = lab.background(Role::Client, &command);
    wait_until("tcpdump listens", 10, || said.exists());
    let wire = lab.wire(Role::Client);
    let office = [[0x81, 0, 0, 100]];
    let customer = [[0x88, 0xa8, 1, 44], [0x81, 0, 0, 7]];
    let frames = [
        tagged(&ping("10.0.100.2", "10.0.100.1"), &office),
        tagged(&ping("10.0.7.2", "10.0.7.1"), &customer),
        tagged(&ping("10.0.7.2", "10.0.100.2"), &customer),
        tagged(&ping("10.0.100.2", "10.0.100.1"), &[[0x81, 0, 0, 101]]),
    ];
    assert_eq!((frames[0][..6].to_vec(), frames[0][6..12].to_vec()), (LAN_MAC.to_vec(), CLIENT_MAC.to_vec()));
    wait_until("all three answers are on the wire", 20, || {
        frames.iter().for_each(|frame| wire.send(frame));
        let text = lab.client(&format!("tcpdump -e -n -r {}", said.display())).text;
        [
            "vlan 100, p 3, ethertype IPv4 (0x0800), 10.0.100.1 > 10.0.100.2: ICMP echo reply",
            "vlan 300, p 0, ethertype 802.1Q (0x8100), vlan 7, p 0, ethertype IPv4 (0x0800), 10.0.7.1 > 10.0.7.2: ICMP echo reply",
            "vlan 100, p 3, ethertype IPv4 (0x0800), 10.0.7.2 > 10.0.100.2: ICMP echo request",
        ]
        .iter()
        .all(|answer| text.contains(answer))
    });
    assert!(lab.flumen().tally("drops", "ethernet-unknown-vlan") > 0, "VLAN 101 is nobody's");
    lab.flumen().show("port office").says("lan.100");
}
