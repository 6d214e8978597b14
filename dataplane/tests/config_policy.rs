//! Tables, rules and what routes say about their ways: what is right, and each thing that can be wrong.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // other tests take the rest
mod common;

use common::{BASE, parse, plus, problems_of, right, wrong};
use flumen::config::model::RouteAction;
use flumen_stack::limits::{MAX_RULE_TRAITS, MAX_RULES, MAX_TABLES};
use flumen_stack::route::{RouteMetrics, RuleAction, TableId};

const TABLE: &str = "[[table]]\nname = \"second\"\n";

fn rule(lines: &str) -> String {
    plus(&format!("{TABLE}[[rule]]\n{lines}"))
}

fn route(lines: &str) -> String {
    plus(&format!("{TABLE}[[route]]\nto = \"198.51.100.0/24\"\n{lines}"))
}

#[test]
fn rules_are_read_in_the_order_of_their_priorities() {
    let text = rule(
        "priority = 20\naction = \"prohibit\"\n[[rule]]\npriority = 10\nfrom = \"10.0.0.0/8\"\nto = \"10.9.0.0/16\"\nin = \"lan\"\n\
         protocol = \"udp\"\nports = \"53-54\"\nsource_ports = 1000\ntos = 16\ntable = \"second\"",
    );
    let config = right(&text);
    let rules: Vec<_> = config.rules.iter().collect();
    assert_eq!((rules[0].priority, rules[0].action), (10, RuleAction::Table(TableId::policy(0).unwrap())));
    let wanted = rules[0].wanted;
    assert_eq!((wanted.protocol, wanted.tos), (Some(17), Some(16)));
    assert_eq!((wanted.ports, wanted.source_ports), (Some((53, 54)), Some((1000, 1000))));
    assert_eq!((rules[1].priority, rules[1].action), (20, RuleAction::Prohibit));
}

#[test]
fn what_makes_no_sense_in_a_rule_is_found() {
    let table = "table = \"second\"\n";
    let with = |line: &str| rule(&format!("priority = 1\n{table}{line}"));
    wrong(
        &rule("priority = 1\ntable = \"secnd\""),
        "\"secnd\"",
        "no table `secnd`",
        "did you mean `second`?",
    );
    wrong(&plus("[[rule]]\npriority = 1\ntable = \"x\""), "\"x\"", "no table `x`", "[[table]]");
    wrong(&rule("priority = 1"), "1", "leads nowhere", "`table`");
    wrong(&rule(table), "[[rule]]", "needs `priority`", "");
    wrong(&rule(&format!("priority = 32766\n{table}")), "32766", "out of range", "32765");
    wrong(&with("action = \"blackhole\"\n"), "\"second\"", "asks no table", "take");
    wrong(&with("from = \"10.0.0.1/8\""), "\"10.0.0.1/8\"", "bits set", "10.0.0.0/8");
    wrong(&with("from = \"10.0.0.0/8\"\nto = \"::/0\""), "1", "no packet goes from", "one family");
    wrong(&with("in = \"lam\""), "\"lam\"", "no port `lam`", "`lan`");
    wrong(&with("tos = 17"), "17", "congestion", "write 16");
    wrong(&with("ports = \"9-1\""), "\"9-1\"", "no range", "5000-5999");
    wrong(&with("ports = 65536"), "65536", "out of range", "65535");
    wrong(&with("protocol = \"icmp\"\nports = 5"), "5", "no ports", "TCP");
    wrong(
        &rule(&format!("priority = 7\n{table}[[rule]]\npriority = 7\n{table}")),
        "7",
        "a second rule",
        "its own",
    );
}

#[test]
fn tables_rules_and_their_traits_have_bounds() {
    let tables =
        |count: usize| plus(&(0..count).map(|n| format!("[[table]]\nname = \"t{n}\"\n")).collect::<String>());
    right(&tables(MAX_TABLES));
    assert_eq!(parse(&tables(MAX_TABLES + 1)).problems.errors(), 1);
    let rules = |count: usize| {
        rule("priority = 1\naction = \"prohibit\"\n")
            + &(2..=count)
                .map(|n| format!("[[rule]]\npriority = {n}\naction = \"prohibit\"\n"))
                .collect::<String>()
    };
    right(&rules(MAX_RULES));
    assert_eq!(parse(&rules(MAX_RULES + 1)).problems.errors(), 1);
    let traits = |count: usize| {
        let rule = |n| format!("[[rule]]\npriority = {n}\naction = \"prohibit\"\nports = {n}\n");
        plus(&(1..=count).map(rule).collect::<String>())
    };
    right(&traits(MAX_RULE_TRAITS));
    let loaded = parse(&traits(MAX_RULE_TRAITS + 1));
    assert!(problems_of(&loaded).iter().any(|(_, _, message, _)| message.contains("different sets")));
}

#[test]
fn tables_are_named_once_and_hold_what_they_say() {
    wrong(&plus(&TABLE.repeat(2)), "\"second\"", "two tables are named `second`", "another name");
    wrong(&plus("[[table]]\nname = \"main\""), "\"main\"", "without being named", "another name");
    wrong(&plus("[[table]]\nname = \"a b\""), "\"a b\"", "cannot be the name of a table", "letters");
    let fill = |count: usize| {
        let route = |n| format!("[[route]]\nto = \"198.51.{n}.0/24\"\ntype = \"blackhole\"\ntable = \"t\"\n");
        plus(&format!(
            "[[table]]\nname = \"t\"\nroutes_ipv4 = 16\n{}",
            (0..count).map(route).collect::<String>()
        ))
    };
    assert_eq!(right(&fill(16)).routes.len(), 16);
    let loaded = parse(&fill(17));
    assert!(problems_of(&loaded).iter().any(|(_, _, message, help)| {
        message.contains("17 routes of this family in table `t`, which holds 16")
            && help.contains("routes_ipv4")
    }));
}

#[test]
fn a_route_says_its_table_and_what_it_knows_of_its_way() {
    let text = route(
        "via = \"192.0.2.254\"\ntable = \"second\"\nmtu = 1400\nadvmss = 1200\nwindow = 65535\ninitcwnd = 4",
    );
    let config = right(&text);
    assert_eq!(config.routes[0].table, TableId::policy(0).unwrap());
    let metrics = RouteMetrics { mtu: 1400, advmss: 1200, window: 65_535, initcwnd: 4 };
    assert_eq!(config.routes[0].metrics, metrics);
    // The same line in a routes file, which is also what `flumen route` understands.
    let text = format!("routes_file = \"r\"\n{}", plus(TABLE));
    let line = "198.51.100.0/24 via 192.0.2.254 table second mtu 1400 advmss 1200 window 65535 initcwnd 4\n";
    let loaded =
        flumen::config::parse("test.toml", text, std::path::Path::new(""), &mut |_| Ok(line.to_owned()));
    let other =
        loaded.config.unwrap_or_else(|| panic!("{}", loaded.sources.render_all(&loaded.problems, false)));
    assert_eq!((other.routes[0].table, other.routes[0].metrics), (config.routes[0].table, metrics));
    assert_eq!(other.routes[0].action, config.routes[0].action);

    let twice = "type = \"blackhole\"\n[[route]]\nto = \"198.51.100.0/24\"\ntype = \"blackhole\"\n";
    right(&route(&format!("{twice}table = \"second\"")));
    wrong(&route(twice), "\"198.51.100.0/24\"", "a second route", "another metric");
    for (line, place) in
        [("mtu = 67", "67"), ("advmss = 87", "87"), ("window = 535", "535"), ("initcwnd = 256", "256")]
    {
        wrong(&route(&format!("type = \"blackhole\"\n{line}")), place, "out of range", "");
    }
}

#[test]
fn an_address_may_be_ours_or_a_links_without_being_a_ports() {
    let action = |lines: &str| right(&route(lines)).routes[0].action.clone();
    assert_eq!(action("type = \"local\""), RouteAction::Local);
    assert_eq!(action("type = \"anycast\""), RouteAction::Local);
    let broadcast = "[[route]]\nto = \"192.0.2.77/32\"\ntype = \"broadcast\"\n";
    let config = right(&plus(&format!("{broadcast}port = \"lan\"")));
    assert!(matches!(config.routes[0].action, RouteAction::Broadcast(port) if port.index() == 0));
    wrong(&plus(broadcast), "[[route]]", "of which link", "`port`");
    wrong(&route("type = \"broadcast\"\nport = \"lan\""), "\"198.51.100.0/24\"", "one IPv4 address", "32");
    assert!(BASE.contains("lan"));
}
