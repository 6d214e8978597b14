//! Whose an address is, and who gives it: duplicates, announcements, proxies, autoconfiguration, with Linux as the neighbour.

use nix::sys::signal::Signal;

use super::harness::{Lab, Role, RouterKind, ipv6_of, wait_until};

pub fn an_address_that_a_host_has_already_is_not_used_and_its_other_addresses_are() {
    let mut lab = Lab::plan()
        .offloads_off()
        .port_keys("lan", "addresses = [\"10.0.1.1/24\", \"fd00:1::2/64\", \"fd00:1::1/64\"]\ndad = \"strict\"")
        .up();
    wait_until("the duplicate is noticed", 10, || lab.flumen().tally("counters", "duplicate-addresses") == 1);
    wait_until("the other address answers", 10, || lab.client("ping -n -c 1 -W 1 fd00:1::1").ok);
    assert!(lab.flumen().log().contains("another station has this address"), "{}", lab.flumen().log());
}

pub fn an_ipv4_address_that_a_host_has_already_is_not_used() {
    let mut lab = Lab::plan()
        .offloads_off()
        .port_keys("lan", "addresses = [\"10.0.1.2/24\", \"10.0.1.1/24\"]\narp_probe = true")
        .up();
    wait_until("the duplicate is noticed", 10, || lab.flumen().tally("counters", "duplicate-addresses") == 1);
    wait_until("the other address answers", 20, || lab.client("ping -n -c 1 -W 1 10.0.1.1").ok);
}

pub fn a_proxy_answers_for_a_host_behind_it() {
    let lab = Lab::plan()
        .offloads_off()
        .port_keys("lan", "proxy_arp = true\nproxy_nd = [\"fd00:2::2\"]")
        .up();
    if RouterKind::chosen() == RouterKind::Linux {
        lab.router("sysctl -qw net.ipv4.conf.lan.proxy_arp=1 net.ipv4.neigh.lan.proxy_delay=0").must();
        lab.router("sysctl -qw net.ipv6.conf.lan.proxy_ndp=1 net.ipv6.neigh.lan.proxy_delay=0").must();
        lab.router("ip -6 neighbour add proxy fd00:2::2 dev lan").must();
    }
    // For the client the server is on its own link.
    lab.client("ip route add 10.0.2.2/32 dev lan0").must();
    lab.client("ip -6 route add fd00:2::2/128 dev lan0").must();
    for to in ["10.0.2.2", "fd00:2::2"] {
        lab.client(&format!("ping -n -c 2 -i 0.2 -W 3 {to}")).says("2 received");
        lab.client(&format!("ip neighbour show {to}")).says("02:00:00:00:01:01");
    }
}

pub fn a_linux_host_makes_an_address_and_a_default_route_of_our_advertisement() {
    let mut lab = Lab::plan()
        .offloads_off()
        .port_keys(
            "lan",
            "addresses = [\"10.0.1.1/24\", \"fd00:1::1/64\"]\n\
             advertise = { interval = \"4s\", prefixes = [\"2001:db8:77::/64\"], mtu = 1400, dns = [\"fd00:1::1\"] }",
        )
        .up();
    for key in ["accept_ra=2", "autoconf=1", "accept_ra_defrtr=1", "accept_ra_pinfo=1", "accept_ra_mtu=1"] {
        lab.client(&format!("sysctl -qw net.ipv6.conf.lan0.{key}")).must();
    }
    wait_until("the host has an address", 20, || {
        lab.client("ip -6 address show dev lan0").text.contains("2001:db8:77:")
    });
    lab.client("ip -6 route show default").says("proto ra");
    lab.client("sysctl -n net.ipv6.conf.lan0.mtu").says("1400");
    let wire = lab.wire(Role::Client);
    wire.expect("an advertisement with the name server", |frame| {
        let packet = ipv6_of(frame)?;
        (packet[6] == 58 && packet.get(40) == Some(&134) && packet.windows(2).any(|pair| pair == [25, 3]))
            .then_some(())
    });
    // The end is said (RFC 4861 section 6.2.5): the host takes another way at once.
    let mut flumen = lab.take_flumen();
    flumen.signal(Signal::SIGTERM);
    flumen.ended();
    wait_until("the default route is gone", 10, || {
        !lab.client("ip -6 route show default").text.contains("proto ra")
    });
}

pub fn a_host_port_configures_itself_by_the_advertisements_of_a_router() {
    let mut lab = Lab::plan()
        .offloads_off()
        .port_keys("lan", "addresses = [\"10.0.1.1/24\"]\nforwarding = false\nautoconf = true\ndad = \"strict\"")
        .up();
    // radvd plays the router, in the client namespace.
    let config = lab.folder().join("radvd.conf");
    let text = "interface lan0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 60;\n\
                AdvLinkMTU 1400; prefix 2001:db8:66::/64 { AdvValidLifetime 7200; AdvPreferredLifetime 3600; }; };\n";
    std::fs::write(&config, text).unwrap();
    lab.client("ip -6 address add 2001:db8:66::99/64 dev lan0 nodad").must();
    let pid = lab.folder().join("radvd.pid");
    let command = format!("radvd -n -m stderr -C {} -p {}", config.display(), pid.display());
    let radvd = lab.background(Role::Client, &command);
    let mut ours = String::new();
    wait_until("Flumen has an address of the prefix", 20, || {
        let ports = lab.flumen().show("port lan").text;
        let found = ports.split_whitespace().find(|word| word.starts_with("2001:db8:66:"));
        ours = found.unwrap_or_default().trim_end_matches("/64").to_owned();
        !ours.is_empty()
    });
    wait_until("it answers when it is checked", 10, || lab.client(&format!("ping -n -c 1 -W 1 {ours}")).ok);
    assert!(!ours.contains("ff:fe"), "nothing of the card is in it: {ours}");
    // What is beyond the router goes by it: an answer to a source that only the default route covers.
    lab.client("ip -6 address add 2001:db8:99::1/128 dev lan0 nodad").must();
    lab.client(&format!("ping -n -c 2 -i 0.2 -W 2 -I 2001:db8:99::1 {ours}")).says("2 received");
    drop(radvd);
}
