//! Each thing that can be wrong with a configuration is found, at its place, with advice.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{BASE, addresses, core, lan, parse, plus, problems_of, right, wrong};
use flumen::config::{self, Loaded, schema};
use std::path::Path;

#[test]
fn the_base_is_right() {
    right(BASE);
}

#[test]
fn an_error_shows_file_line_column_caret_and_advice() {
    let loaded = parse(&lan("mtu = 70000"));
    let shown = loaded.sources.render_all(&loaded.problems, false);
    for part in [
        "error: `mtu` is out of range: 70000",
        "test.toml:4:7",
        "4 | mtu = 70000",
        "^^^^^",
        "help: it goes from 68 to 9216",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let problem = loaded.problems.iter().next().unwrap();
    assert_eq!(loaded.sources.line_column(problem.at), Some((4, 7)));
}

#[test]
fn all_problems_of_a_file_are_shown_at_once_in_their_order() {
    let text = "[[port]]\nname = \"p\"\nadresses = []\nmtu = \"big\"\nforwarding = 1\n\
                [[core]]\ncpu = -1\nports = [\"q\"]\n[log]\nlevel = \"loud\"\n";
    let loaded = parse(text);
    let places: Vec<String> = problems_of(&loaded).into_iter().map(|(_, place, _, _)| place).collect();
    assert_eq!(places, ["adresses", "\"big\"", "1", "-1", "\"q\"", "\"loud\""]);
}

#[test]
fn text_that_is_not_toml_is_shown_where_it_stops_making_sense() {
    let loaded = parse("[[port]]\nname = \"p\nmtu = \n");
    assert!(loaded.config.is_none());
    assert!(loaded.problems.errors() >= 1);
    assert!(loaded.problems.iter().all(|problem| problem.message.starts_with("this is not TOML")));
}

#[test]
fn an_empty_file_says_what_is_needed() {
    let loaded = parse("");
    let messages: Vec<String> = problems_of(&loaded).into_iter().map(|(_, _, message, _)| message).collect();
    assert_eq!(messages, ["there is no [[port]]", "there is no [[core]]"]);
}

#[test]
fn unknown_keys_and_words_are_answered_with_the_nearest() {
    wrong(&lan("adress = 1"), "adress", "has no key `adress`", "did you mean `addresses`?");
    wrong(&lan("mode = \"zerocopy\""), "\"zerocopy\"", "cannot be", "did you mean `zero-copy`?");
    wrong(&lan("frobnicate = 1"), "frobnicate", "has no key", "its keys are `name`");
    wrong(&plus("[[neighbor]]"), "neighbor", "has no key `neighbor`", "did you mean `neighbour`?");
    wrong(&plus("[[route]]\nto = \"10.0.0.0/8\"\nport = \"lann\""), "\"lann\"", "no port `lann`", "`lan`");
}

#[test]
fn tables_with_the_wrong_number_of_brackets_are_explained() {
    let text = BASE.replace("[[core]]", "[core]");
    let loaded = parse(&text);
    assert!(
        problems_of(&loaded)
            .iter()
            .any(|(_, _, message, help)| message.contains("`core` must be a list")
                && help.contains("[[core]]"))
    );
    wrong(&plus("[[log]]"), "[[log]]", "`log` must be one table", "write [log]");
}

#[test]
fn ports_are_named_once_and_properly() {
    let text = BASE.replace("\"wan\"", "\"lan\"").replace("[\"lan\", \"lan\"]", "[\"lan\"]");
    wrong(&text, "\"lan\"", "two ports are named `lan`", "another name");
    let loaded = parse(&BASE.replacen("\"wan\"", "\"wan:0\"", 1));
    assert!(
        problems_of(&loaded).iter().any(|(_, place, _, help)| place == "\"wan:0\"" && help.contains("colon"))
    );
    let loaded = parse("[[port]]\nmtu = 1500\n[[core]]\ncpu = 0\nports = []\n");
    assert!(
        problems_of(&loaded)
            .iter()
            .any(|(_, place, message, _)| place == "[[port]]" && message.contains("needs `name`"))
    );
}

#[test]
fn keys_of_another_kind_of_port_are_refused() {
    wrong(
        &lan("repeat = true\n"),
        "repeat",
        "port `lan` has no `repeat`: it is of kind af_xdp",
        "kind = \"pcap\"",
    );
    wrong(
        &lan("kind = \"pcap\"\ninterface = \"eth0\""),
        "interface",
        "has no `interface`",
        "take the line out",
    );
    wrong(&lan("kind = \"pcap\"\nrepeat = true"), "true", "`repeat` without `read`", "name the file");
    wrong(&lan("kind = \"pcap\"\nread = \"a\"\nwrite = \"a\""), "\"a\"", "would overwrite", "another file");
}

#[test]
fn the_ends_of_a_memory_wire_name_each_other() {
    let pair = |first: &str, second: &str| {
        format!(
            "[[port]]\nname = \"a\"\nkind = \"memory\"\npeer = \"{first}\"\n[[port]]\nname = \"b\"\n{second}\n\
             [[core]]\ncpu = 0\nports = [\"a\", \"b\"]\n"
        )
    };
    right(&pair("b", "kind = \"memory\"\npeer = \"a\""));
    wrong(&pair("a", "kind = \"pcap\""), "\"a\"", "its own peer", "other one");
    wrong(&pair("b", "kind = \"pcap\""), "\"a\"", "peer of `a` is of kind pcap", "of kind memory");
    wrong(&pair("c", "kind = \"pcap\""), "\"c\"", "no port `c`", "`a`");
}

#[test]
fn an_address_of_ours_is_one_that_a_node_can_have() {
    for good in [
        "10.0.0.0/31",
        "10.0.0.1/31",
        "10.0.0.0/32",
        "fe80::1/64",
        "fd00::/127",
        "fd00::/128",
        "10.0.0.255/23",
    ] {
        right(&addresses(&format!("\"{good}\"")));
    }
    for (bad, message) in [
        ("192.0.2.0/24", "network address of 192.0.2.0/24"),
        ("192.0.2.255/24", "broadcast address of 192.0.2.0/24"),
        ("10.0.0.3/30", "broadcast address"),
        ("2001:db8::/64", "subnet-router anycast address"),
        ("224.0.0.1/24", "multicast"),
        ("ff02::1/64", "multicast"),
        ("127.0.0.1/8", "loopback"),
        ("::1/128", "loopback"),
        ("0.1.2.3/8", "this network"),
        ("255.255.255.255/32", "reserved"),
        ("::ffff:1.2.3.4/96", "IPv4-mapped"),
        ("192.0.2.1/0", "everybody"),
        ("192.0.2.1/33", "is not an address"),
        ("192.0.2.1", "lacks the length"),
        ("lan", "is not an address"),
    ] {
        wrong(&addresses(&format!("\"{bad}\"")), &format!("\"{bad}\""), message, "");
    }
    wrong(
        &addresses("\"10.0.0.1/24\", \"10.0.0.1/8\""),
        "\"10.0.0.1/8\"",
        "in the list twice",
        "take one out",
    );
}

#[test]
fn a_port_has_at_most_64_addresses_of_a_family() {
    let list =
        |count: usize| (1..=count).map(|n| format!("\"10.0.0.{n}/24\"")).collect::<Vec<_>>().join(", ");
    assert_eq!(right(&addresses(&list(64))).ports[0].addresses.len(), 64);
    let text = addresses(&list(65));
    wrong(&text, &format!("[{}]", list(65)), "65 IPv4 addresses", "64 are the most");
}

#[test]
fn addresses_and_subnets_of_two_ports_are_apart() {
    let two = |first: &str, second: &str| {
        format!(
            "[[port]]\nname = \"a\"\naddresses = [\"{first}\"]\n[[port]]\nname = \"b\"\naddresses = [\"{second}\"]\n\
             [[core]]\ncpu = 0\nports = [\"a\", \"b\"]\n"
        )
    };
    right(&two("10.0.0.1/24", "10.0.1.1/24"));
    right(&two("fe80::1/64", "fe80::1/64")); // each link has its own
    right(&two("10.0.0.1/24", "10.0.0.9/32")); // a host address makes no subnet
    wrong(
        &two("10.0.0.1/24", "10.0.0.1/32"),
        "\"b\"",
        "10.0.0.1 is on two ports: `a` and `b`",
        "another address",
    );
    wrong(
        &two("10.0.0.1/16", "10.0.1.1/24"),
        "\"b\"",
        "the subnets of `a` (10.0.0.0/16) and `b` (10.0.1.0/24) overlap",
        "renumber",
    );
    wrong(&two("fd00::1/64", "fd00::2/64"), "\"b\"", "overlap", "");
}

#[test]
fn ipv6_needs_an_mtu_of_1280() {
    right(&lan("mtu = 1280"));
    wrong(&lan("mtu = 1279"), "1279", "too small for the IPv6 addresses", "1280");
    right(&BASE.replace("name = \"wan\"", "name = \"wan\"\nmtu = 68")); // no IPv6 there
    wrong(&BASE.replace("name = \"wan\"", "name = \"wan\"\nmtu = 67"), "67", "out of range", "68");
}

#[test]
fn numbers_are_right_at_the_edge_and_wrong_beyond() {
    for (place, key, good, bad) in [
        ("port", "mtu", "9216", "9217"),
        ("port", "tx_queue", "0", "-1"),
        ("port", "tx_queue", "32768", "32769"),
        ("port", "queues", "256", "257"),
        ("port", "queues", "1", "0"),
        ("port", "rings", "{ rx = 64 }", "{ rx = 32 }"),
        ("port", "rings", "{ rx = 32768 }", "{ rx = 65536 }"),
        ("port", "rings", "{ tx = 128 }", "{ tx = 100 }"),
        ("port", "busy_poll", "{ budget = 64 }", "{ budget = 65 }"),
        ("port", "busy_poll", "{ duration = \"1us\" }", "{ duration = \"1500ns\" }"),
        ("port", "busy_poll", "{ duration = \"1ms\" }", "{ duration = \"2ms\" }"),
        ("port", "napi_defer", "{ hard_irqs = 1000 }", "{ hard_irqs = 1001 }"),
        ("port", "napi_defer", "{ gro_flush_timeout = \"10ms\" }", "{ gro_flush_timeout = \"10001us\" }"),
        ("port", "mac", "\"02:00:00:00:00:01\"", "\"01:00:00:00:00:01\""),
        ("port", "mac", "\"02:00:00:00:00:01\"", "\"00:00:00:00:00:00\""),
        ("core", "chunk", "4096", "3000"),
        ("core", "burst", "64", "65"),
        ("core", "burst", "1", "0"),
        ("core", "frames", "4194304", "4194305"),
        ("core", "frames", "\"auto\"", "\"many\""),
        ("core", "max_latency", "\"100ms\"", "\"101ms\""),
        ("core", "max_latency", "\"1us\"", "\"999ns\""),
        ("[limits]", "routes_ipv4", "4194304", "4194305"),
        ("[limits]", "routes_ipv6", "1048576", "1048577"),
        ("[limits]", "route_cache", "0", "1000"),
        ("[limits]", "route_cache", "1048576", "2097152"),
        ("[limits]", "neighbours", "16", "15"),
        ("[limits]", "neighbours", "65536", "65537"),
        ("[limits]", "pending_per_neighbour", "64", "65"),
        ("[limits]", "pending", "16384", "16385"),
        ("[limits]", "pending", "64", "63"), // below pending_per_neighbour
        ("[limits]", "handoff", "64", "96"),
        ("[icmp]", "error_rate", "0", "10000001"),
        ("[icmp]", "echo_burst", "1", "0"),
        ("[control]", "mode", "\"0777\"", "\"1777\""),
        ("[control]", "mode", "\"600\"", "\"0888\""),
        ("[control]", "socket", "\"/s\"", "\"s\""),
    ] {
        let text = |value: &str| match place {
            "port" => lan(&format!("{key} = {value}")),
            "core" => core(&format!("{key} = {value}")),
            table => plus(&format!("{table}\n{key} = {value}")),
        };
        let found = parse(&text(good));
        assert!(
            found.config.is_some(),
            "{key} = {good}: {}",
            found.sources.render_all(&found.problems, false)
        );
        let found = parse(&text(bad));
        assert_eq!(found.problems.errors(), 1, "{key} = {bad}");
    }
    let long = format!("\"/{}\"", "s".repeat(107));
    wrong(&plus(&format!("[control]\nsocket = {long}")), &long, "too long", "107");
}

#[test]
fn bulk_and_a_kernel_thread_that_kicks_exclude_each_other() {
    wrong(
        &lan("kick = \"sqpoll\"\ntransmit = \"bulk\""),
        "\"bulk\"",
        "`transmit = \"bulk\"` and `kick = \"sqpoll\"` exclude each other",
        "leave one of the two out",
    );
    right(&lan("kick = \"sqpoll\"\ntransmit = \"auto\""));
    right(&lan("transmit = \"bulk\""));
}

#[test]
fn what_is_reserved_is_named_and_so_are_those_for_whom() {
    let programs = |lines: &str| plus(&format!("[programs]\n{lines}\n"));
    right(&programs("reserve = []"));
    at_most(32, |count| {
        programs(&format!("reserve = [{}]", ["{ protocol = \"tcp\", users = [] }"].repeat(count).join(", ")))
    });
    at_most(64, |count| {
        programs(&format!("reserve = [{{ protocol = \"tcp\", users = [{}] }}]", vec!["33"; count].join(", ")))
    });
    right(&programs(
        "reserve = [{ address = \"192.0.2.1\", users = [] }, { protocol = \"tcp\", ports = [443], users = [33] }]",
    ));
    wrong(&programs("reserve = [{ users = [33] }]"), "{ users = [33] }", "an empty rule", "");
    wrong(
        &programs("reserve = [{ address = \"192.0.2.1\" }]"),
        "{ address = \"192.0.2.1\" }",
        "nobody is named",
        "root alone",
    );
    wrong(
        &programs("reserve = [{ ports = [22], users = [] }]"),
        "[22]",
        "needs a protocol that has ports",
        "tcp",
    );
    wrong(
        &programs("reserve = [{ address = \"192.0.2.1\", users = [-1] }]"),
        "-1",
        "out of range",
        "0 to 4294967294",
    );
}

#[test]
fn a_core_that_spins_has_no_latency() {
    wrong(&core("idle = \"spin\"\nmax_latency = \"1us\""), "\"1us\"", "never sleeps", "adaptive");
    wrong(&core("max_latency = 50"), "50", "length of time", "unit");
}

#[test]
fn claims_and_exceptions_are_rules_that_can_match() {
    right(&lan(
        "claim = [{ address = \"192.0.2.1\", protocol = \"tcp\", ports = [80, \"8000-8100\"] }]\nnever = []",
    ));
    wrong(&lan("claim = []"), "[]", "claims nothing", "");
    wrong(&lan("claim = [{ protocol = 89 }]"), "{ protocol = 89 }", "needs an address", "ARP");
    wrong(&lan("never = [{}]"), "{}", "an empty rule", "");
    wrong(&lan("never = [{ ports = [22] }]"), "[22]", "needs a protocol that has ports", "tcp");
    wrong(
        &lan("never = [{ protocol = \"icmp\", ports = [22] }]"),
        "[22]",
        "needs a protocol that has ports",
        "",
    );
    wrong(&lan("never = [{ protocol = \"tcp\", ports = [\"30-20\"] }]"), "\"30-20\"", "not a range", "");
    wrong(
        &lan("never = [{ address = \"192.0.2.1/24\" }]"),
        "\"192.0.2.1/24\"",
        "bits set behind",
        "192.0.2.0/24",
    );
}

#[test]
fn every_queue_has_exactly_one_core() {
    let two = |queues: &str, first: &str, second: &str| {
        format!(
            "[[port]]\nname = \"p\"\nqueues = {queues}\n[[core]]\ncpu = 0\nports = [{first}]\n\
             [[core]]\ncpu = 1\nports = [{second}]\n"
        )
    };
    right(&two("2", "\"p:0\"", "\"p:1\""));
    right(&two("[0, 5]", "\"p:5\"", "{ port = \"p\", queues = [0] }"));
    wrong(
        &two("2", "\"p\"", "\"p:1\""),
        "\"p:1\"",
        "queue 1 of port `p` is polled by two cores",
        "one owner",
    );
    wrong(&two("2", "\"p:1\"", "\"p\""), "\"p\"", "every queue of port `p` is polled by two cores", "");
    wrong(&two("\"all\"", "\"p:0\", \"p:1\"", "\"p:1\""), "\"p:1\"", "polled by two cores", "");
    wrong(&two("2", "\"p:0\", \"p:1\"", "\"p:2\""), "\"p:2\"", "port `p` has no queue 2", "queues");
    wrong(&two("3", "\"p:0\"", "\"p:1\""), "3", "no core polls queue 2 of port `p`", "p:2");
    wrong(&BASE.replace("[\"lan\", \"wan\"]", "[\"lan\"]"), "\"wan\"", "no core polls port `wan`", "\"wan\"");
    wrong(
        &core("").replace("[\"lan\", \"wan\"]", "[\"lan\", \"wan\", \"lan:x\"]"),
        "\"lan:x\"",
        "number of a queue",
        "lan:0",
    );
    wrong(&two("2", "\"p:0\"", "\"p:1\"").replace("cpu = 1", "cpu = 0"), "0", "two workers on cpu 0", "");
    let pcap =
        BASE.replace("name = \"wan\"", "name = \"wan\"\nkind = \"pcap\"").replace("\"wan\"]", "\"wan:1\"]");
    let loaded = parse(&pcap);
    assert!(problems_of(&loaded).iter().any(|(_, _, message, _)| message == "port `wan` has no queue 1"));
}

#[test]
fn a_gateway_is_on_link_and_somebody_else() {
    let route = |lines: &str| plus(&format!("[[route]]\nto = \"10.0.0.0/8\"\n{lines}"));
    let config = right(&route("via = \"198.51.100.7\""));
    assert!(format!("{:?}", config.routes[0].action).contains("PortId(1)"), "the subnet names the port");
    wrong(
        &route("via = \"203.0.113.1\""),
        "\"203.0.113.1\"",
        "not on-link at any port",
        "192.0.2.0/24 on `lan`",
    );
    wrong(
        &route("via = \"198.51.100.7\"\nport = \"lan\""),
        "\"198.51.100.7\"",
        "not on-link at port `lan`",
        "192.0.2.0/24",
    );
    wrong(&route("via = \"192.0.2.1\""), "\"192.0.2.1\"", "our own address", "");
    wrong(&route("via = \"192.0.2.255\""), "\"192.0.2.255\"", "broadcast address", "");
    wrong(&route("via = \"224.0.0.1\""), "\"224.0.0.1\"", "multicast", "");
    wrong(&route("via = \"2001:db8::2\""), "\"2001:db8::2\"", "different families", "");
    wrong(&route("via = \"router\""), "\"router\"", "not an IP address", "");
    wrong(&route("type = \"blackhole\"\nvia = \"192.0.2.2\""), "\"192.0.2.2\"", "leads nowhere", "");
    wrong(&plus("[[route]]\nto = \"10.0.0.0/8\""), "[[route]]", "leads nowhere", "via");
    let v6 = |lines: &str| plus(&format!("[[route]]\nto = \"::/0\"\n{lines}"));
    right(&v6("via = \"fe80::2\"\nport = \"lan\""));
    wrong(&v6("via = \"fe80::2\""), "\"fe80::2\"", "on every link", "port");
    wrong(&v6("via = \"fe80::2\"\nport = \"wan\""), "\"fe80::2\"", "no IPv6 address", "");
    wrong(&v6("port = \"wan\""), "\"wan\"", "no IPv6 address", "");
}

#[test]
fn next_hops_are_different_and_at_most_16() {
    let route = |count: u32| {
        let list = (2..2 + count).map(|n| format!("\"192.0.2.{n}\"")).collect::<Vec<_>>().join(", ");
        plus(&format!("[[route]]\nto = \"10.0.0.0/8\"\nvia = [{list}]"))
    };
    right(&route(16));
    assert_eq!(parse(&route(17)).problems.errors(), 1);
    let twice =
        "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"192.0.2.2\", { via = \"192.0.2.2\", weight = 256 }]";
    wrong(&plus(twice), "\"192.0.2.2\"", "twice", "weight");
    assert_eq!(parse(&plus(&twice.replace("256", "257"))).problems.errors(), 2);
}

#[test]
fn routes_are_to_unicast_prefixes_and_not_doubled() {
    let route = |to: &str| format!("[[route]]\nto = \"{to}\"\ntype = \"prohibit\"\n");
    wrong(&plus(&route("10.0.0.1/8")), "\"10.0.0.1/8\"", "bits set behind", "10.0.0.0/8");
    wrong(&plus(&route("224.0.0.0/4")), "\"224.0.0.0/4\"", "multicast", "");
    wrong(&plus(&route("127.0.0.0/8")), "\"127.0.0.0/8\"", "loopback", "");
    wrong(&plus(&route("default")), "\"default\"", "which family", "0.0.0.0/0");
    let twice = format!("{}{}", route("10.0.0.0/8"), route("10.0.0.0/8"));
    wrong(&plus(&twice), "\"10.0.0.0/8\"", "a second route to 10.0.0.0/8", "metric");
    right(&plus(&format!("{twice}metric = 1\n")));
}

#[test]
fn tables_that_the_file_fills_must_be_large_enough() {
    let route = "[[route]]\nto = \"10.0.0.0/8\"\ntype = \"blackhole\"\n";
    // Two IPv4 addresses, each with its subnet, are four routes already.
    right(&plus(&format!("[limits]\nroutes_ipv4 = 5\n{route}")));
    wrong(
        &plus(&format!("[limits]\nroutes_ipv4 = 4\n{route}")),
        "\"10.0.0.0/8\"",
        "5 IPv4 routes",
        "routes_ipv4",
    );
    let neighbours = |count: u32| {
        let list: String = (2..2 + count)
            .map(|n| {
                format!(
                    "[[neighbour]]\nport = \"lan\"\naddress = \"192.0.2.{n}\"\nmac = \"02:00:00:00:00:01\"\n"
                )
            })
            .collect();
        plus(&format!("[limits]\nneighbours = 16\n{list}"))
    };
    right(&neighbours(16));
    wrong(&neighbours(17), "\"192.0.2.18\"", "17 neighbours", "[limits]");
}

#[test]
fn a_neighbour_is_on_the_link_of_its_port_once() {
    let neighbour = |address: &str| {
        format!("[[neighbour]]\nport = \"lan\"\naddress = \"{address}\"\nmac = \"02:00:00:00:00:09\"\n")
    };
    right(&plus(&format!("{}{}", neighbour("192.0.2.9"), neighbour("fe80::9"))));
    wrong(
        &plus(&neighbour("198.51.100.9")),
        "\"198.51.100.9\"",
        "the neighbour 198.51.100.9 is not on-link",
        "`lan`",
    );
    wrong(&plus(&neighbour("192.0.2.1")), "\"192.0.2.1\"", "our own address", "");
    wrong(&plus(&format!("{0}{0}", neighbour("192.0.2.9"))), "\"192.0.2.9\"", "second entry", "");
    wrong(
        &plus(&neighbour("192.0.2.9").replace(":09", ":0g")),
        "\"02:00:00:00:00:0g\"",
        "Ethernet address",
        "",
    );
}

#[test]
fn a_routes_file_that_cannot_be_read_is_an_error_at_its_name() {
    wrong(&format!("routes_file = \"gone.txt\"{BASE}"), "\"gone.txt\"", "/nowhere/gone.txt", "folder");
}

/// Reads BASE with a routes file.
fn with_routes(routes: &str) -> Loaded {
    let text = format!("routes_file = \"r\"\n{BASE}");
    config::parse("test.toml", text, Path::new(""), &mut |_| Ok(routes.to_owned()))
}

#[test]
fn a_routes_file_gives_the_routes_of_its_lines() {
    let loaded = with_routes(
        "# a comment\n\n10.0.0.0/8 via 192.0.2.2 # another\r\n\t10.1.0.0/16 port wan metric 5\n\
         10.2.0.0/16 via 192.0.2.2 weight 3 via 198.51.100.2 port wan\n::/0 via fe80::9 port lan\n10.3.0.0/16 prohibit",
    );
    assert!(loaded.problems.is_empty(), "{}", loaded.sources.render_all(&loaded.problems, false));
    let routes = loaded.config.unwrap().routes;
    assert_eq!(routes.len(), 5);
    assert_eq!(routes[1].metric, 5);
    assert!(format!("{:?}", routes[2].action).contains("weight: 3"));
    assert_eq!(loaded.sources.line_column(routes[1].at), Some((4, 2)));
}

#[test]
fn a_wrong_line_of_a_routes_file_is_shown_in_that_file() {
    for (line, place, message) in [
        ("10.0.0.0 via 192.0.2.2", "10.0.0.0", "not a prefix"),
        ("10.0.0.1/8 via 192.0.2.2", "10.0.0.1/8", "bits set"),
        ("10.0.0.0/8", "10.0.0.0/8", "leads nowhere"),
        ("10.0.0.0/8 via", "via", "nothing behind"),
        ("10.0.0.0/8 via x", "x", "not an IP address"),
        ("10.0.0.0/8 via 203.0.113.1", "via", "not on-link"),
        ("10.0.0.0/8 via 192.0.2.2 port none", "none", "no port `none`"),
        ("10.0.0.0/8 via 192.0.2.2 port lan port lan", "port", "second `port`"),
        ("10.0.0.0/8 weight 2 via 192.0.2.2", "weight", "before its next hop"),
        ("10.0.0.0/8 via 192.0.2.2 weight 257", "257", "not a weight"),
        ("10.0.0.0/8 via 192.0.2.2 via 192.0.2.2", "via", "twice"),
        ("10.0.0.0/8 via 192.0.2.2 blackhole", "blackhole", "leads nowhere"),
        ("10.0.0.0/8 dev lan", "dev", "not understood"),
        ("224.0.0.0/8 blackhole", "224.0.0.0/8", "multicast"),
        ("10.9.0.0/16 blackhole", "10.9.0.0/16", "a second route"),
    ] {
        let loaded = with_routes(&format!("10.9.0.0/16 prohibit\n{line}\n"));
        let found = problems_of(&loaded);
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!(found[0].1, place, "{line}");
        assert!(found[0].2.contains(message), "{line}: {}", found[0].2);
        let problem = loaded.problems.iter().next().unwrap();
        assert_eq!((problem.at.file(), loaded.sources.line_column(problem.at).unwrap().0), (1, 2));
    }
}

#[test]
fn of_many_problems_the_first_fifty_are_shown_and_the_rest_counted() {
    let loaded = with_routes(&"bad\n".repeat(60));
    assert_eq!((loaded.problems.errors(), loaded.problems.iter().count()), (60, 50));
    assert!(loaded.sources.render_all(&loaded.problems, false).ends_with("and 10 more that are not shown"));
}

#[test]
fn every_key_is_read_a_value_of_the_wrong_type_is_noticed() {
    let float = "1.5";
    let wrap = |spec: &schema::Spec, key: &str| -> Option<String> {
        let line = format!("{key} = {float}");
        let port = |kind: &str| format!("[[port]]\nname = \"p\"\nkind = \"{kind}\"\n");
        Some(match spec.name {
            "the file" => line,
            "[[port]]" if key == "name" => format!("[[port]]\n{line}"),
            "[[port]]" if key == "kind" => format!("[[port]]\nname = \"p\"\n{line}"),
            "[[port]]" => format!("{}{line}", port(schema::kinds_of_key(key).first().unwrap_or(&"af_xdp"))),
            name @ ("rings" | "busy_poll" | "napi_defer" | "advertise") => {
                format!("{}{name} = {{ {line} }}", port("af_xdp"))
            }
            "a rule" => format!("{}never = [{{ {line} }}]", port("af_xdp")),
            "a reservation" => format!("[programs]\nreserve = [{{ {line} }}]"),
            "an entry of `ports`" if key == "port" => format!("[[core]]\ncpu = 0\nports = [{{ {line} }}]"),
            "an entry of `ports`" => {
                format!("{}[[core]]\ncpu = 0\nports = [{{ port = \"p\", {line} }}]", port("pcap"))
            }
            "[[service]]" if key == "kind" => format!("[[service]]\n{line}"),
            "[[service]]" => format!("[[service]]\nkind = \"http\"\n{line}"),
            "a response" => format!("[[service]]\nkind = \"http\"\nresponses = [{{ {line} }}]"),
            "a buffer" => format!("[tcp]\nsend_buffer = {{ {line} }}"),
            "a way out" => format!("[[multicast_route]]\nout = [{{ {line} }}]"),
            "a next hop" => format!("[[route]]\nto = \"10.0.0.0/8\"\nvia = [{{ {line} }}]"),
            header => format!("{header}\n{line}"),
        })
    };
    for spec in schema::ALL {
        for key in spec.keys {
            let text = wrap(spec, key).unwrap();
            let loaded = parse(&text);
            let noticed = problems_of(&loaded)
                .iter()
                .any(|(_, place, message, _)| place == float && message.contains("must be"));
            assert!(
                noticed,
                "{} {key} is not read:\n{text}\n{}",
                spec.name,
                loaded.sources.render_all(&loaded.problems, false)
            );
        }
    }
}

/// `list(most)` is right and `list(most + 1)` is one error.
#[track_caller]
fn at_most(most: usize, text: impl Fn(usize) -> String) {
    right(&text(most));
    let loaded = parse(&text(most + 1));
    let shown = loaded.sources.render_all(&loaded.problems, false);
    assert_eq!(loaded.problems.errors(), 1, "{shown}");
    assert!(shown.contains(&most.to_string()), "the bound is not named:\n{shown}");
}

#[test]
fn lists_and_names_have_bounds() {
    at_most(64, |count| {
        let ports: String =
            (0..count).map(|n| format!("[[port]]\nname = \"p{n}\"\nkind = \"pcap\"\n")).collect();
        let names = (0..count.min(64)).map(|n| format!("\"p{n}\"")).collect::<Vec<_>>().join(", ");
        format!("{ports}[[core]]\ncpu = 0\nports = [{names}]\n")
    });
    at_most(64, |count| {
        let cores: String =
            (0..count).map(|n| format!("[[core]]\ncpu = {n}\nports = [\"p:{n}\"]\n")).collect();
        format!("[[port]]\nname = \"p\"\n{cores}")
    });
    at_most(32, |count| lan(&format!("never = [{}]", "{ protocol = 47 }, ".repeat(count))));
    at_most(32, |count| lan(&format!("claim = [{}]", "{ address = \"192.0.2.1\" }, ".repeat(count))));
    at_most(8, |count| {
        lan(&format!("never = [{{ protocol = \"udp\", ports = [{}] }}]", "53, ".repeat(count)))
    });
    at_most(15, |length| lan(&format!("interface = \"{}\"", "e".repeat(length))));
    at_most(32, |length| {
        let name = format!("\"{}\"", "w".repeat(length));
        BASE.replace("\"wan\"", &name)
            .replace(&format!("{name}\n"), &format!("{name}\ninterface = \"eth0\"\n"))
    });
    let files = |count: usize| format!("routes_file = [{}]{BASE}", "\"r\", ".repeat(count));
    let read = |text: String| config::parse("t", text, Path::new(""), &mut |_| Ok(String::new()));
    assert!(read(files(16)).config.is_some());
    assert_eq!(read(files(17)).problems.errors(), 1);
}

/// The base with a service that has these lines.
fn service(lines: &str) -> String {
    plus(&format!("[[service]]\n{lines}"))
}

#[test]
fn services_listen_at_addresses_of_ours_and_not_where_another_does() {
    let echo = |listen: &str| service(&format!("kind = \"echo\"\nlisten = [{listen}]"));
    right(&echo("\"192.0.2.1:7\", \"[2001:db8::1]:7\", \"0.0.0.0:8\", \"[::]:8\""));
    wrong(
        &echo("\"192.0.2.9:7\""),
        "\"192.0.2.9:7\"",
        "192.0.2.9 is not an address of ours",
        "\"0.0.0.0:7\"".trim_matches('"'),
    );
    wrong(&echo("\"[2001:db8::9]:7\""), "\"[2001:db8::9]:7\"", "not an address of ours", "[::]:7");
    wrong(&echo("\"192.0.2.1\""), "\"192.0.2.1\"", "not an address with a port number", "192.0.2.1:80");
    wrong(&echo("\"192.0.2.1:0\""), "\"192.0.2.1:0\"", "nobody would find", "1 to 65535");
    wrong(&echo(""), "[]", "listens nowhere", "name an address");
    wrong(
        &echo("\"192.0.2.1:7\", \"0.0.0.0:7\""),
        "\"0.0.0.0:7\"",
        "somebody listens there already",
        "another port",
    );
    let two = |first: &str, second: &str| {
        let one = |kind: &str, protocols: &str| {
            format!(
                "[[service]]\nkind = \"{kind}\"\nprotocols = [\"{protocols}\"]\nlisten = [\"192.0.2.1:80\"]\n"
            )
        };
        plus(&(one("http", first) + &one("echo", second)))
    };
    right(&two("tcp", "udp"));
    wrong(&two("tcp", "tcp"), "\"192.0.2.1:80\"", "somebody listens there", "another port");
}

#[test]
fn services_have_the_keys_of_their_kind() {
    wrong(&service("listen = [\"0.0.0.0:7\"]"), "[[service]]", "needs `kind`", "kind = \"http\"");
    wrong(&service("kind = \"echo\""), "[[service]]", "needs `listen`", "listen = ");
    wrong(&service("kind = \"htp\"\nlisten = [\"0.0.0.0:7\"]"), "\"htp\"", "cannot be", "`http`");
    let of =
        |kind: &str, line: &str| service(&format!("kind = \"{kind}\"\nlisten = [\"0.0.0.0:7\"]\n{line}"));
    wrong(
        &of("echo", "upload = \"/up\""),
        "upload",
        "a service of kind `echo` has no `upload`",
        "kind = \"http\"",
    );
    wrong(&of("http", "protocols = [\"udp\"]"), "\"udp\"", "no `http` over UDP", "[\"tcp\"]");
    wrong(&of("echo", "protocols = []"), "[]", "without a protocol", "tcp");
    wrong(&of("http", "upload = \"up\""), "\"up\"", "is not a path", "slash");
    let twice = "responses = [{ path = \"/a\", bytes = 1 }, { path = \"/a\", bytes = 2 }]";
    wrong(&of("http", twice), "{ path = \"/a\", bytes = 2 }", "answered twice", "take one out");
    wrong(&of("http", "responses = [{ path = \"/a\" }]"), "{ path = \"/a\" }", "needs `bytes`", "1024");
    let config = right(&of("http", "directory = \"site\""));
    let flumen::config::model::ServiceKind::Http(http) = &config.services[0].kind else { panic!("not http") };
    assert_eq!(http.directory.as_deref(), Some(Path::new("/nowhere/site")));
}

#[test]
fn settings_of_sockets_that_contradict_each_other_are_found() {
    let tcp = |lines: &str| plus(&format!("[tcp]\n{lines}"));
    right(&tcp("rto_min = \"5ms\"\nrto_max = \"5ms\"\nrto_initial = \"5ms\""));
    wrong(
        &tcp("rto_min = \"2s\"\nrto_max = \"1s\""),
        "\"2s\"",
        "`rto_min` is more than `rto_max`",
        "raise `rto_max`",
    );
    wrong(&tcp("rto_max = \"999ms\""), "\"999ms\"", "`rto_initial` is more", "the default");
    wrong(&tcp("retries2 = 2"), "2", "`retries1` is more than `retries2`", "lower");
    wrong(&tcp("base_mss = 100\nmin_snd_mss = 101"), "101", "`min_snd_mss` is more", "raise `base_mss`");
    wrong(&tcp("reordering = 301"), "301", "`reordering` is more", "max_reordering");
    let buffer = "{ min = 4096, max = 4095 }";
    wrong(&tcp(&format!("send_buffer = {buffer}")), buffer, "are not in order", "default");
    let sockets = |line: &str| plus(&format!("[sockets]\n{line}"));
    right(&sockets("local_ports = [5000, 5000]"));
    wrong(&sockets("local_ports = [5001, 5000]"), "[5001, 5000]", "comes after", "lower one first");
    wrong(&sockets("local_ports = [5001]"), "[5001]", "needs two", "first and the last");
}

#[test]
fn services_have_bounds() {
    at_most(64, |count| {
        (1..=count).fold(BASE.to_owned(), |text, port| {
            format!("{text}[[service]]\nkind = \"echo\"\nlisten = [\"0.0.0.0:{port}\"]\n")
        })
    });
    at_most(128, |count| {
        let all: Vec<String> = (1..=count).map(|port| format!("\"0.0.0.0:{port}\"")).collect();
        service(&format!("kind = \"echo\"\nlisten = [{}]", all.join(", ")))
    });
    let http = |line: String| service(&format!("kind = \"http\"\nlisten = [\"0.0.0.0:80\"]\n{line}"));
    at_most(64, |count| {
        let all: String = (0..count).map(|n| format!("{{ path = \"/{n}\", bytes = 1 }}, ")).collect();
        http(format!("responses = [{all}]"))
    });
    at_most(1024, |len| http(format!("upload = \"/{}\"", "a".repeat(len - 1))));
}
