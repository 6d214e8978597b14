//! Which sockets of unmodified programs are Flumen's: `claim` and `never`, by address, protocol and port; and that those of both
//! kinds stand in one epoll set.

use super::harness::Lab;

const NAMES: &str = include_str!("programs/names.py");

/// Runs the program with these names; what it says is `wanted`, a line for each.
#[track_caller]
fn says(keys: &'static str, names: &[(&str, &str)], talkers: &[[&str; 2]]) {
    let lab = Lab::plan().programs(keys).up();
    // The kernel of that namespace speaks no IPv6 otherwise, and so has no loopback address of it.
    lab.router("sysctl -qw net.ipv6.conf.lo.disable_ipv6=0").must();
    let script = lab.file("names.py", NAMES);
    let asked: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    let said = lab.run_on_flumen(&format!("python3 {script} {}", asked.join(" ")));
    let wanted: String = names.iter().map(|(name, whose)| format!("{name} {whose}\n")).collect();
    assert_eq!(said.must(), wanted);
    for talkers in talkers {
        let said = lab.run_on_flumen(&format!("python3 {script} epoll {}", talkers.join(" ")));
        assert_eq!(said.must(), "talked\n", "{talkers:?}");
    }
}

// (The kernel of the router namespace has no address but loopback's: what is its own and names another one fails.)

pub fn without_a_rule_sockets_at_our_addresses_are_ours_and_loopback_is_the_kernels() {
    says(
        "",
        &[
            ("tcp:10.0.1.1:7000", "Flumen"),
            ("udp:10.0.2.1:7000", "Flumen"),
            ("tcp:127.0.0.1:7000", "kernel"),
            ("udp:127.0.0.1:7000", "kernel"),
            ("tcp:10.0.9.9:7000", "EADDRNOTAVAIL"),
            ("tcp:fd00:1::1:7000", "Flumen"),
            ("udp:fd00:2::1:7000", "Flumen"),
            ("tcp:::1:7000", "kernel"),
            ("udp:::1:7000", "kernel"),
            ("tcp:fd00:9::9:7000", "EADDRNOTAVAIL"),
        ],
        &[["10.0.1.1:7100", "127.0.0.1:7101"], ["fd00:1::1:7100", "::1:7101"]],
    );
}

pub fn rules_claim_by_address_protocol_and_ports_and_never_comes_first() {
    says(
        "claim = [{ address = \"10.0.1.0/24\", protocol = \"tcp\", ports = [\"7000-7010\", 7100] },\n\
                  { address = \"fd00:1::/64\", protocol = \"udp\", ports = [\"7000-7010\"] },\n\
                  { address = \"fd00:1::1\", protocol = \"tcp\", ports = [7100] }]\n\
         never = [{ address = \"10.0.1.1\", protocol = \"tcp\", ports = [7005] },\n\
                  { address = \"fd00:1::1\", protocol = \"udp\", ports = [7005] }]",
        &[
            ("tcp:10.0.1.1:6999", "EADDRNOTAVAIL"),
            ("tcp:10.0.1.1:7000", "Flumen"),
            ("tcp:10.0.1.1:7010", "Flumen"),
            ("tcp:10.0.1.1:7011", "EADDRNOTAVAIL"),
            ("tcp:10.0.1.1:7005", "EADDRNOTAVAIL"),
            ("udp:10.0.1.1:7000", "EADDRNOTAVAIL"),
            ("tcp:10.0.2.1:7000", "EADDRNOTAVAIL"),
            ("tcp:127.0.0.1:7000", "kernel"),
            ("udp:fd00:1::1:6999", "EADDRNOTAVAIL"),
            ("udp:fd00:1::1:7000", "Flumen"),
            ("udp:fd00:1::1:7010", "Flumen"),
            ("udp:fd00:1::1:7011", "EADDRNOTAVAIL"),
            ("udp:fd00:1::1:7005", "EADDRNOTAVAIL"),
            ("tcp:fd00:1::1:7000", "EADDRNOTAVAIL"),
            ("udp:fd00:2::1:7000", "EADDRNOTAVAIL"),
            ("tcp:::1:7000", "kernel"),
        ],
        &[["10.0.1.1:7100", "127.0.0.1:7101"], ["fd00:1::1:7100", "::1:7101"]],
    );
}

pub fn all_are_ours_when_all_are_claimed_but_those_that_never_are() {
    says(
        "claim = \"all\"\nnever = [{ protocol = \"tcp\", ports = [7101] }]",
        &[
            ("tcp:127.0.0.1:7000", "Flumen"),
            ("udp:127.0.0.1:7000", "Flumen"),
            ("udp:127.0.0.1:7101", "Flumen"),
            ("tcp:127.0.0.1:7101", "kernel"),
            ("tcp:0.0.0.0:7000", "Flumen"),
            ("tcp:10.0.1.1:7000", "Flumen"),
            ("tcp:10.0.9.9:7000", "EADDRNOTAVAIL"),
            ("tcp:::1:7000", "Flumen"),
            ("udp:::1:7000", "Flumen"),
            ("udp:::1:7101", "Flumen"),
            ("tcp:::1:7101", "kernel"),
            ("tcp::::7000", "Flumen"),
            ("tcp:fd00:1::1:7000", "Flumen"),
            ("tcp:fd00:9::9:7000", "EADDRNOTAVAIL"),
        ],
        &[["127.0.0.1:7100", "127.0.0.1:7101"], ["::1:7100", "::1:7101"]],
    );
}
