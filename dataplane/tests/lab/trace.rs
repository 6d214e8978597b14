//! traceroute and mtr show the router as the first hop and the destination as the second.

use super::harness::Lab;

/// The second column of the lines that begin with a hop number.
fn hops(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next()?.parse::<u8>().ok()?;
            words.next().map(str::to_owned)
        })
        .collect()
}

fn traceroute(options: &str, to: &str) -> Vec<String> {
    let lab = Lab::up();
    // One probe at a time: Linux and Flumen alike limit how fast they send errors.
    let text = lab.client(&format!("traceroute -n -q 1 -N 1 -w 3 -m 5 {options} {to}")).must();
    hops(&text)
}

pub fn traceroute_by_udp_shows_the_router_then_the_server_over_ipv4() {
    assert_eq!(traceroute("", "10.0.2.2"), ["10.0.1.1", "10.0.2.2"]);
}

pub fn traceroute_by_udp_shows_the_router_then_the_server_over_ipv6() {
    assert_eq!(traceroute("-6", "fd00:2::2"), ["fd00:1::1", "fd00:2::2"]);
}

pub fn traceroute_by_icmp_shows_the_router_then_the_server() {
    let lab = Lab::up();
    for (family, to, expected) in
        [("-4", "10.0.2.2", ["10.0.1.1", "10.0.2.2"]), ("-6", "fd00:2::2", ["fd00:1::1", "fd00:2::2"])]
    {
        let text = lab.client(&format!("traceroute -n -I -q 1 -N 1 -w 3 -m 5 {family} {to}")).must();
        assert_eq!(hops(&text), expected);
    }
}

pub fn traceroute_to_the_router_ends_there() {
    let lab = Lab::up();
    for (family, to) in [("-4", "10.0.1.1"), ("-4", "10.0.2.1"), ("-6", "fd00:1::1"), ("-6", "fd00:2::1")] {
        for method in ["", "-I"] {
            let text = lab.client(&format!("traceroute -n -q 1 -N 1 -w 3 -m 5 {method} {family} {to}")).must();
            assert_eq!(hops(&text), [to], "{method}");
        }
    }
}

fn mtr(to: &str, expected: [&str; 2]) {
    let lab = Lab::up();
    let text = lab.client(&format!("mtr -n -r -c 5 -i 0.2 {to}")).must();
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| line.contains(".|--"))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((words.next()?, words.next()?))
        })
        .collect();
    assert_eq!(rows, expected.map(|hop| (hop, "0.0%")), "{text}");
}

pub fn mtr_reports_both_hops_without_loss_over_ipv4() {
    mtr("10.0.2.2", ["10.0.1.1", "10.0.2.2"]);
}

pub fn mtr_reports_both_hops_without_loss_over_ipv6() {
    mtr("fd00:2::2", ["fd00:1::1", "fd00:2::2"]);
}
