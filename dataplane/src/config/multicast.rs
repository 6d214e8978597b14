//! `[multicast]` and `[[multicast_route]]`: who is asked for groups, and where groups go.

use super::bounds;
use super::model::Multicast;
use super::names::Names;
use super::problem::Problem;
use super::read::{Reader, Section, Value};
use super::schema;
use flumen_stack::PortId;
use flumen_stack::limits::{MAX_PORTS, MULTICAST_ROUTES};
use flumen_stack::multicast::querier::QuerierConfig;
use flumen_stack::multicast::{MulticastRoute, Out, is_routable};
use ipnet::IpNet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads both.
pub fn read(
    reader: &Reader,
    section: Option<&Section<'_>>,
    routes: &[Section<'_>],
    names: &Names<'_>,
) -> Multicast {
    let mut multicast = section.map_or_else(Multicast::default, |section| read_section(section, names));
    if let Some(first_too_many) = routes.get(MULTICAST_ROUTES) {
        reader.report(
            Problem::error(first_too_many.at, format!("{} multicast routes", routes.len()))
                .help(format!("{MULTICAST_ROUTES} are the most")),
        );
    }
    multicast.routes =
        routes.iter().take(MULTICAST_ROUTES).filter_map(|section| read_route(section, names)).collect();
    multicast
}

fn read_section(section: &Section<'_>, names: &Names<'_>) -> Multicast {
    let default = QuerierConfig::default();
    let downstream = section.value("downstream").map(|value| (value, read_ports(&value, names)));
    let upstream_value = section.value("upstream");
    let upstream = upstream_value.and_then(|value| names.resolve(&value));
    if let (Some(value), Some(port)) = (upstream_value, upstream) {
        match &downstream {
            Some((_, ports)) if ports.contains(&port) => value.wrong(
                "we cannot be a host and a router of groups on one port",
                "take the port out of `downstream`, or leave `upstream` out",
            ),
            Some(_) => {}
            None => value
                .wrong("nobody is there to report for", "name the ports of the listeners in `downstream`"),
        }
    }
    let time = |key: &str, range: RangeInclusive<Duration>, default: Duration| {
        section.value(key).and_then(|value| value.duration(range)).unwrap_or(default)
    };
    let querier = QuerierConfig {
        robustness: section.integer("robustness", bounds::ROBUSTNESS, i64::from(default.robustness)) as u8,
        interval: time("query_interval", bounds::QUERY_INTERVAL, default.interval),
        response: time("response_interval", bounds::RESPONSE_INTERVAL, default.response),
        last_member: time("last_member_interval", bounds::LAST_MEMBER_INTERVAL, default.last_member),
        igmp: section.integer("igmp", 2..=3, i64::from(default.igmp)) as u8,
        mld: section.integer("mld", 1..=2, i64::from(default.mld)) as u8,
    };
    if querier.response >= querier.interval {
        // RFC 9776 section 8.3.
        section.reader().report(
            Problem::error(
                section.place("response_interval", section.place("query_interval", section.at)),
                "hosts would still answer one question when the next is asked",
            )
            .help("let `response_interval` be shorter than `query_interval`"),
        );
    }
    let downstream = downstream.map_or_else(Vec::new, |(_, ports)| ports);
    Multicast { downstream, upstream, querier, routes: Vec::new() }
}

fn read_ports(value: &Value<'_>, names: &Names<'_>) -> Vec<PortId> {
    let mut ports = Vec::new();
    for element in value.list(MAX_PORTS, "[\"lan\"]").unwrap_or_default() {
        match names.resolve(&element) {
            Some(port) if ports.contains(&port) => {
                element.wrong("this port is in the list twice", "take one out")
            }
            Some(port) => ports.push(port),
            None => {}
        }
    }
    ports
}

fn read_route(section: &Section<'_>, names: &Names<'_>) -> Option<MulticastRoute> {
    let group_value = section.required("group", "\"239.1.0.0/16\"");
    let group = group_value.and_then(|value| {
        let group = super::addresses::read_prefix_or_address(&value)?;
        let first_and_last_are_routed =
            is_routable(group.addr()) || group.prefix_len() < group.max_prefix_len();
        if !group.addr().is_multicast() || group.prefix_len() < 4 {
            value.wrong(format!("{group} is no set of groups"), "groups are in 224.0.0.0/4 and ff00::/8");
        } else if !first_and_last_are_routed {
            value.wrong(
                format!("{group} never leaves its link"),
                "224.0.0.0/24 and ff02::/16 are not forwarded",
            );
        }
        Some(group)
    });
    let source_value = section.value("source");
    let source = source_value.map(|value| super::addresses::read_prefix_or_address(&value));
    if let (Some(value), Some(Some(source)), Some(group)) = (source_value, source, group)
        && source.addr().is_ipv4() != group.addr().is_ipv4()
    {
        value.wrong(
            format!("{source} and {group} are of different families"),
            "name sources of the group's family",
        );
    }
    let in_port = section.required("in", "\"wan\"").and_then(|value| names.resolve(&value));
    let out_value = section.required("out", "[\"lan\"]");
    let out = out_value.map(|value| read_out(&value, names)).unwrap_or_default();
    if let (Some(value), Some(in_port)) = (out_value, in_port)
        && out.iter().any(|out| out.port == in_port)
    {
        value.wrong("a packet does not leave by the port that it came in by", "take that port out");
    }
    let group = group?;
    let everybody = || match group {
        IpNet::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpNet::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    Some(MulticastRoute {
        source: source.unwrap_or_else(|| Some(everybody()))?,
        group,
        in_port: in_port?,
        out,
    })
}

fn read_out(value: &Value<'_>, names: &Names<'_>) -> Vec<Out> {
    let mut ways: Vec<Out> = Vec::new();
    let Some(elements) = value.list(MAX_PORTS, "[\"lan\", { port = \"dmz\", threshold = 16 }]") else {
        return ways;
    };
    if elements.is_empty() {
        value.wrong("the route leads nowhere", "name a port");
    }
    for element in elements {
        let (port, threshold) = if element.is_table() {
            let Some(way) = element.table(&schema::MULTICAST_OUT, "{ port = \"dmz\", threshold = 16 }")
            else {
                continue;
            };
            let port = way.required("port", "\"dmz\"").and_then(|value| names.resolve(&value));
            (port, way.integer("threshold", bounds::TTL_THRESHOLD, 1) as u8)
        } else {
            (names.resolve(&element), 1)
        };
        match port {
            Some(port) if ways.iter().any(|way| way.port == port) => {
                element.wrong("this port is in the list twice", "take one out");
            }
            Some(port) => ways.push(Out { port, threshold }),
            None => {}
        }
    }
    ways
}
