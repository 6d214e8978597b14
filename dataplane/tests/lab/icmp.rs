//! What ICMP asks, and what it advises: timestamps, redirects.

use super::harness::{Action, Lab, Packet, Role, RouterKind, ipv4_of, wait_until};

pub fn a_timestamp_request_is_answered_with_three_times() {
    let lab = Lab::plan().offloads_off().up();
    // Type 13, its checksum right: identifier 7, sequence 9, sent at 42 ms past midnight.
    let request = [13, 0, 0xf2, 0xc5, 0, 7, 0, 9, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0];
    let wire = lab.wire(Role::Client);
    wire.send(&Packet::udp(Role::Client, "10.0.1.1").protocol(1).payload(request.to_vec()).frame());
    let reply = wire.expect("a timestamp reply", |frame| {
        let message = ipv4_of(frame)?.get(20..)?;
        (message.len() == 20 && message[0] == 14).then(|| message.to_vec())
    });
    assert_eq!(reply[4..12], request[4..12]);
    let time = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
    assert!(time(12) < 86_400_000 && time(12) == time(16), "{reply:?}");
}

pub fn a_host_that_could_send_to_a_neighbour_is_redirected_to_it_over_ipv4() {
    let lab = Lab::plan()
        .offloads_off()
        .route("10.0.77.0/24", Action::Via(&["10.0.1.77"]))
        .neighbour("lan", "10.0.1.77", "02:00:00:00:00:77")
        .up();
    for scope in ["all", "default", "lan0"] {
        lab.client(&format!("sysctl -qw net.ipv4.conf.{scope}.accept_redirects=1")).must();
    }
    // Linux follows only to a neighbour that it knows.
    lab.client("ip neighbour replace 10.0.1.77 lladdr 02:00:00:00:00:77 dev lan0").must();
    wait_until("the client follows the redirect", 10, || {
        lab.client("ping -n -c 1 -W 1 10.0.77.1");
        lab.client("ip route get 10.0.77.1").text.contains("via 10.0.1.77")
    });
    lab.client("ip route get 10.0.77.2").says("via 10.0.1.1");
}

pub fn a_host_that_could_send_to_a_neighbour_is_redirected_to_it_over_ipv6() {
    let lab = Lab::plan()
        .offloads_off()
        .neighbour("lan", "fe80::77", "02:00:00:00:00:77")
        .tables("[[route]]\nto = \"2001:db8:77::/48\"\nvia = \"fe80::77\"\nport = \"lan\"\n")
        .up();
    if RouterKind::chosen() == RouterKind::Linux {
        lab.router("ip route add 2001:db8:77::/48 via fe80::77 dev lan").must();
    }
    for scope in ["all", "lan0"] {
        lab.client(&format!("sysctl -qw net.ipv6.conf.{scope}.accept_redirects=1")).must();
    }
    // Redirects come from the router's link-local address, so it must be the gateway for them to count.
    lab.client("ip -6 route add 2001:db8:77::/48 via fe80::ff:fe00:101 dev lan0").must();
    wait_until("the client follows the redirect", 10, || {
        lab.client("ping -n -c 1 -W 1 2001:db8:77::1");
        lab.client("ip -6 route get 2001:db8:77::1").text.contains("via fe80::77")
    });
    lab.client("ip -6 route get 2001:db8:77::2").says("via fe80::ff:fe00:101");
}
