//! Multicast routing: what is right, and each thing that can be wrong, at its place.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // other tests take the rest
mod common;

use common::{parse, plus, right, wrong};
use flumen_stack::limits::MULTICAST_ROUTES;
use flumen_stack::multicast::Out;
use std::time::Duration;

fn multicast(lines: &str) -> String {
    plus(&format!("[multicast]\n{lines}"))
}

fn route(lines: &str) -> String {
    plus(&format!("[[multicast_route]]\n{lines}"))
}

#[test]
fn what_is_said_is_read_and_what_is_not_said_is_as_the_rfcs_have_it() {
    let config = right(&multicast(
        "downstream = [\"lan\"]\nupstream = \"wan\"\nrobustness = 3\nquery_interval = \"60s\"\nresponse_interval = \"5s\"\n\
         last_member_interval = \"500ms\"\nigmp = 2\nmld = 1",
    ));
    let multicast_ = &config.multicast;
    assert_eq!(multicast_.downstream.iter().map(|port| port.index()).collect::<Vec<_>>(), [0]);
    assert_eq!(multicast_.upstream.map(|port| port.index()), Some(1));
    let querier = multicast_.querier;
    assert_eq!((querier.robustness, querier.igmp, querier.mld), (3, 2, 1));
    let times = [querier.interval, querier.response, querier.last_member];
    assert_eq!(times, [60_000, 5_000, 500].map(Duration::from_millis));

    // RFC 9776 and RFC 9777 section 8 and 9: 2, 125 s, 10 s, 1 s.
    let querier = right(&multicast("downstream = [\"lan\"]")).multicast.querier;
    assert_eq!((querier.robustness, querier.igmp, querier.mld), (2, 3, 2));
    assert_eq!(
        [querier.interval, querier.response, querier.last_member],
        [125, 10, 1].map(Duration::from_secs)
    );
    assert!(!right(&plus("")).multicast.is_on());

    let config = right(&route(
        "group = \"239.1.0.0/16\"\nsource = \"10.0.0.0/8\"\nin = \"wan\"\nout = [\"lan\"]\n\
         [[multicast_route]]\ngroup = \"ff05::/16\"\nin = \"lan\"\nout = [{ port = \"wan\", threshold = 32 }]",
    ));
    let [one, other] = &config.multicast.routes[..] else { panic!("two routes") };
    assert_eq!((one.source.to_string(), one.in_port.index()), ("10.0.0.0/8".to_owned(), 1));
    assert_eq!(other.source.to_string(), "::/0", "all sources of the group's family");
    let ways = |out: &[Out]| out.iter().map(|way| (way.port.index(), way.threshold)).collect::<Vec<_>>();
    assert_eq!((ways(&one.out), ways(&other.out)), (vec![(0, 1)], vec![(1, 32)]));
}

#[test]
fn what_makes_no_sense_among_queriers_is_found_at_its_place() {
    let with = |line: &str| multicast(&format!("downstream = [\"lan\"]\n{line}"));
    wrong(&multicast("downstream = [\"lam\"]"), "\"lam\"", "no port `lam`", "`lan`");
    wrong(&multicast("downstream = [\"lan\", \"lan\"]"), "\"lan\"", "twice", "take one out");
    wrong(&multicast("downstream = \"lan\""), "\"lan\"", "", "[\"lan\"]");
    wrong(&with("upstream = \"lan\""), "\"lan\"", "a host and a router", "`downstream`");
    wrong(&with("upstream = \"wam\""), "\"wam\"", "no port `wam`", "`wan`");
    wrong(&multicast("upstream = \"wan\""), "\"wan\"", "nobody is there to report for", "`downstream`");
    wrong(&with("upstreem = \"wan\""), "upstreem", "", "`upstream`");
    for (line, place, range) in [
        ("robustness = 0", "0", "1 to 7"),
        ("robustness = 8", "8", "1 to 7"),
        ("igmp = 1", "1", "2 to 3"),
        ("igmp = 4", "4", "2 to 3"),
        ("mld = 3", "3", "1 to 2"),
        ("query_interval = \"1s\"", "\"1s\"", "2s"),
        ("query_interval = \"31745s\"", "\"31745s\"", "31744s"),
        ("response_interval = \"99ms\"", "\"99ms\"", "100ms"),
        ("last_member_interval = \"99ms\"", "\"99ms\"", "100ms"),
    ] {
        wrong(&with(line), place, "out of range", range);
    }
    wrong(
        &with("query_interval = \"5s\"\nresponse_interval = \"5s\""),
        "\"5s\"",
        "still answer one question",
        "shorter than `query_interval`",
    );
}

#[test]
fn what_makes_no_sense_in_a_route_of_groups_is_found_at_its_place() {
    let base = "group = \"239.1.0.0/16\"\nin = \"wan\"\n";
    let with = |line: &str| route(&format!("{base}{line}"));
    let group = |group: &str| route(&format!("group = {group}\nin = \"wan\"\nout = [\"lan\"]"));
    right(&with("out = [\"lan\"]"));
    wrong(&group("\"10.0.0.0/8\""), "\"10.0.0.0/8\"", "no set of groups", "224.0.0.0/4");
    wrong(&group("\"192.0.0.0/2\""), "\"192.0.0.0/2\"", "no set of groups", "ff00::/8");
    wrong(&group("\"224.0.0.9\""), "\"224.0.0.9\"", "never leaves its link", "224.0.0.0/24");
    wrong(&group("\"ff02::9\""), "\"ff02::9\"", "never leaves its link", "ff02::/16");
    wrong(&group("\"239.1.0.0/8\""), "\"239.1.0.0/8\"", "bits set", "239.0.0.0/8");
    wrong(&route("in = \"wan\"\nout = [\"lan\"]"), "[[multicast_route]]", "needs `group`", "");
    wrong(&route("group = \"239.1.1.1\"\nout = [\"lan\"]"), "[[multicast_route]]", "needs `in`", "");
    wrong(&with(""), "[[multicast_route]]", "needs `out`", "");
    wrong(&with("out = []"), "[]", "leads nowhere", "name a port");
    wrong(&with("out = [\"wan\"]"), "[\"wan\"]", "by the port that it came in by", "take that port out");
    wrong(&with("out = [\"lan\", { port = \"lan\" }]"), "{ port = \"lan\" }", "twice", "take one out");
    wrong(&with("out = [{ threshold = 3 }]"), "{ threshold = 3 }", "needs `port`", "");
    wrong(&with("out = [\"lan\", { threshold = 3 }]"), "{ threshold = 3 }", "needs `port`", "");
    wrong(&with("out = [{ port = \"lan\", threshold = 0 }]"), "0", "out of range", "1 to 255");
    wrong(&with("out = [{ port = \"lan\", threshold = 256 }]"), "256", "out of range", "1 to 255");
    wrong(&with("out = [\"lan\"]\nsource = \"fd00::/8\""), "\"fd00::/8\"", "different families", "family");
}

#[test]
fn routes_of_groups_are_bounded() {
    let routes = |count: usize| {
        let route = |n| {
            format!(
                "[[multicast_route]]\ngroup = \"239.1.{}.{}\"\nin = \"wan\"\nout = [\"lan\"]\n",
                n / 250,
                n % 250
            )
        };
        plus(&(0..count).map(route).collect::<String>())
    };
    assert_eq!(right(&routes(MULTICAST_ROUTES)).multicast.routes.len(), MULTICAST_ROUTES);
    assert_eq!(parse(&routes(MULTICAST_ROUTES + 1)).problems.errors(), 1);
}

#[test]
fn a_problem_is_shown_with_file_line_and_column() {
    let text = multicast("downstream = [\"lan\"]\nupstream = \"lan\"");
    let loaded = parse(&text);
    let line = 1 + text[..text.find("upstream").unwrap()].matches('\n').count();
    let shown = loaded.sources.render_all(&loaded.problems, false);
    assert!(shown.contains(&format!("test.toml:{line}:12")), "{shown}");
    assert!(shown.contains("take the port out of `downstream`"), "{shown}");
}
