//! Groups on a real wire: the listeners are sockets of the client's kernel, which says what they want in IGMP and MLD and
//! answers our questions by itself; the streams are put on the wire by hand; tcpdump reads what we say upstream.

use super::harness::{Lab, Packet, Plan, Role, Wire, ipv4_of, ipv6_of, wait_until};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const GROUPS: &str = r#"
[multicast]
downstream = ["lan"]
upstream = "wan"
query_interval = "2s"
response_interval = "500ms"
last_member_interval = "200ms"
"#;

const GROUP: &str = "239.1.2.3";
const GROUP6: &str = "ff05::4:5";
const PORT: u16 = 5004;

fn groups() -> Plan {
    Lab::plan().tables(GROUPS)
}

/// A datagram of a stream from the server's side, with a number of its own.
fn datagram(group: &str, source: &str, ttl: u8) -> (Vec<u8>, [u8; 4]) {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mac = match group.parse().expect("a group") {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    };
    let packet = Packet::udp(Role::Server, group).source(source).mac(mac).ports(PORT, PORT).ttl(ttl);
    (packet.payload(number.to_vec()).frame(), number)
}

fn source_of(group: &str) -> &'static str {
    if group.contains(':') { "fd00:2::2" } else { "10.0.2.2" }
}

/// True when a datagram to the group gets to the client's link; with its TTL less one.
fn flows_from(from: &Wire, to: &Wire, group: &str, source: &str, ttl: u8) -> bool {
    let (frame, number) = datagram(group, source, ttl);
    from.send(&frame);
    let left = to.find(Duration::from_millis(300), |seen| {
        let (packet, ttl) = match (ipv4_of(seen), ipv6_of(seen)) {
            (Some(packet), _) => (packet, packet[8]),
            (_, Some(packet)) => (packet, packet[7]),
            _ => return None,
        };
        (packet.ends_with(&number) && seen[..6] == frame[..6]).then_some(ttl)
    });
    assert!(left.is_none_or(|left| left == ttl - 1), "{left:?} is left of {ttl}");
    left.is_some()
}

fn flows(from: &Wire, to: &Wire, group: &str) -> bool {
    flows_from(from, to, group, source_of(group), 9)
}

/// A socket of the client that wants a group.
fn listener(lab: &Lab, group: &str) -> UdpSocket {
    let group: IpAddr = group.parse().expect("a group");
    let made = lab.within(Role::Client, move || {
        let any = if group.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((any, PORT)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        match group {
            IpAddr::V4(group) => {
                socket.join_multicast_v4(&group, &Ipv4Addr::new(10, 0, 1, 2)).expect("a member");
            }
            IpAddr::V6(group) => {
                let index = nix::net::if_::if_nametoindex("lan0").expect("the interface");
                socket.join_multicast_v6(&group, index).expect("a member");
            }
        }
        socket
    });
    made.join().expect("a listener")
}

/// The whole life of a stream: nobody wants it, somebody does, nobody does.
fn live(lab: &mut Lab, group: &str) {
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    assert!(!flows(&server, &client, group), "nobody asked for {group}");
    let socket = listener(lab, group);
    wait_until("the stream flows", 10, || flows(&server, &client, group));
    let mut buffer = [0; 64];
    let (len, from) = socket.recv_from(&mut buffer).expect("the listener hears it");
    assert_eq!((len, from.ip().to_string().as_str(), from.port()), (4, source_of(group), PORT));
    let shown = lab.flumen().show("multicast").says(group);
    assert!(shown.contains("from all"), "{shown}");
    assert!(flows(&server, &client, group), "and goes on");
    drop(socket);
    wait_until("the stream stops", 10, || !flows(&server, &client, group));
    wait_until("nobody is listed", 10, || !lab.flumen().show("multicast").must().contains(group));
    assert!(lab.flumen().tally("drops", "not-joined") > 0);
}

pub fn a_stream_flows_to_who_joins_and_stops_after_the_leave() {
    let mut lab = groups().up();
    live(&mut lab, GROUP);
    live(&mut lab, GROUP6);
}

pub fn hosts_of_older_versions_are_understood() {
    let mut lab = groups().up();
    for version in ["net.ipv4.conf.lan0.force_igmp_version=2", "net.ipv6.conf.lan0.force_mld_version=1"] {
        lab.client(&format!("sysctl -qw {version}")).must();
    }
    live(&mut lab, GROUP);
    live(&mut lab, GROUP6);
}

pub fn only_the_sources_that_a_listener_names_flow() {
    let mut lab = groups().up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    let made = lab.within(Role::Client, || {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).expect("a socket");
        let [group, here, source] = ["239.1.2.3", "10.0.1.2", "10.0.2.2"].map(|one| one.parse().expect("an address"));
        rustix::net::sockopt::set_ip_add_source_membership(&socket, &group, &here, &source).expect("a member");
        socket
    });
    let socket = made.join().expect("a listener");
    wait_until("the stream flows", 10, || flows(&server, &client, GROUP));
    for _ in 0..3 {
        assert!(!flows_from(&server, &client, GROUP, "10.0.2.9", 9), "another source");
    }
    lab.flumen().show("multicast").says("from 10.0.2.2");
    assert!(flows(&server, &client, GROUP));
    drop(socket);
    wait_until("the stream stops", 10, || !flows(&server, &client, GROUP));
}

pub fn what_is_wanted_behind_us_is_reported_upstream() {
    let lab = groups().offloads_off().up();
    let said = lab.folder().join("upstream");
    let command = format!("tcpdump -n -U -i wan0 -w {} igmp or ip6", said.display());
    let _tcpdump = lab.background(Role::Server, &command);
    wait_until("tcpdump listens", 10, || said.exists());
    let text = || {
        let text = lab.server(&format!("tcpdump -n -vv -r {}", said.display())).text;
        assert!(!text.contains("bad"), "a wrong checksum: {text}");
        text
    };
    for (group, from) in [(GROUP, "10.0.2.1 > 224.0.0.22: "), (GROUP6, "fe80::ff:fe00:201 > ff02::16: ")] {
        let socket = listener(&lab, group);
        wait_until("the join is reported", 10, || text().contains(&format!("[gaddr {group} to_ex {{ }}]")));
        assert!(text().contains(from), "{}", text());
        drop(socket);
        wait_until("the leave is reported", 10, || text().contains(&format!("[gaddr {group} to_in {{ }}]")));
    }
    // A router of groups upstream that asks gets the answer of a host.
    let _socket = listener(&lab, GROUP);
    let query = Packet::udp(Role::Server, "224.0.0.1").mac([1, 0, 0x5e, 0, 0, 1]).ttl(1).protocol(2);
    let query = query.payload(vec![0x11, 1, 0xee, 0xfc, 0, 0, 0, 0, 0, 2, 0, 0]).frame();
    let wire = lab.wire(Role::Server);
    wait_until("the answer is on the wire", 10, || {
        wire.send(&query);
        text().contains(&format!("[gaddr {GROUP} is_ex {{ }}]"))
    });
}

pub fn static_routes_of_groups_hold_to_their_port_and_thresholds() {
    const ROUTES: &str = r#"
[[multicast_route]]
group = "239.7.0.0/16"
in = "wan"
out = [{ port = "lan", threshold = 16 }]
[[multicast_route]]
group = "ff05::7:0/112"
in = "wan"
out = ["lan"]
[[multicast_route]]
group = "239.8.0.0/16"
in = "lan"
out = ["wan"]
"#;
    let mut lab = Lab::plan().tables(ROUTES).up();
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    let from = |group: &str, ttl| flows_from(&server, &client, group, source_of(group), ttl);
    assert!(from("239.7.1.1", 17) && !from("239.7.1.1", 16));
    assert!(from("ff05::7:1", 2) && !from("ff05::7:1", 1));
    assert!(!from("239.8.1.1", 64), "that one comes in by the other port");
    assert!(!from("239.9.1.1", 64), "no route");
    wait_until("each reason is counted", 10, || {
        let mut drops = |name| lab.flumen().tally("drops", name);
        drops("multicast-scope") >= 2 && drops("multicast-wrong-port") >= 1 && drops("not-joined") >= 1
    });
    lab.flumen().show("multicast").says("lan above 16");
}

pub fn every_worker_knows_who_listens() {
    let mut lab = groups().workers(2).up();
    live(&mut lab, GROUP);
    live(&mut lab, GROUP6);
    // By whichever queue a stream comes: many sources, which the server's kernel shares out between both.
    let (client, server) = (lab.wire(Role::Client), lab.wire(Role::Server));
    let _socket = listener(&lab, GROUP);
    for host in 2..30 {
        let source = format!("10.0.2.{host}");
        wait_until("the stream flows", 10, || flows_from(&server, &client, GROUP, &source, 9));
    }
    let runtime = lab.flumen().json("runtime");
    let cores = runtime["cores"].as_array().expect("a list of cores");
    assert!(cores.iter().all(|core| core["packets"].as_u64().expect("a count") > 0), "{runtime}");
}
