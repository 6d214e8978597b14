//! `[[route]]` and `[[neighbour]]`: from their tables to [`Route`] and [`StaticNeighbour`].
//!
//! A gateway must be on-link: inside a subnet of one of our ports (RFC 1812 section 5.2.4.3 has no other way
//! to find its link-layer address). That subnet names the port, so `port` may be left out; a link-local
//! gateway is on every link, so there `port` must be said.

use super::addresses::{is_link_local, not_a_node, read_neighbour_address, read_prefix, reserved_in_subnet};
use super::bounds;
use super::model::{Limits, NextHop, Port, Route, RouteAction, StaticNeighbour};
use super::names::Names;
use super::ports::{read_station, size32};
use super::problem::{At, Problem, Problems};
use super::read::{Reader, Section, Value};
use super::schema;
use flumen_stack::PortId;
use flumen_stack::route::{RouteMetrics, TableId};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What is wrong with a next hop: message and help. `None`: it follows from an error in a port that is
/// reported already.
pub type Complaint = Option<(String, String)>;

/// Which addresses are on which link.
#[derive(Debug)]
pub struct Links<'a> {
    ports: &'a [Port],
    /// False when a port has errors: then an address that seems to be on no link is nobody's fault here.
    complete: bool,
}

impl<'a> Links<'a> {
    /// The links of `ports`.
    pub fn new(ports: &'a [Port], complete: bool) -> Links<'a> {
        Links { ports, complete }
    }

    /// The port that has `address` in one of its subnets. Link-local addresses are everywhere: `None`.
    pub fn on_link(&self, address: IpAddr) -> Option<PortId> {
        if is_link_local(address) {
            return None;
        }
        let index =
            self.ports.iter().position(|port| port.addresses.iter().any(|net| net.contains(&address)))?;
        PortId::new(index)
    }

    /// The next hop at `via`, by `port` if that is said.
    pub fn next_hop(
        &self,
        to: IpNet,
        via: IpAddr,
        port: Option<PortId>,
        weight: u16,
    ) -> Result<NextHop, Complaint> {
        let complain = |message: String, help: String| Err(Some((message, help)));
        if matches!(to, IpNet::V4(_)) != via.is_ipv4() {
            return complain(
                format!("{to} and the gateway {via} are of different families"),
                "give a gateway of the family of `to`".to_owned(),
            );
        }
        if let Some(why) = not_a_node(via) {
            return complain(
                format!("the gateway {via} is {why}"),
                "name the address of one router".to_owned(),
            );
        }
        let id = match (port, self.on_link(via)) {
            (Some(port), _) => port,
            (None, Some(port)) => port,
            (None, None) if is_link_local(via) => {
                return complain(
                    format!("the link-local gateway {via} is on every link"),
                    "say which one is meant with `port`".to_owned(),
                );
            }
            (None, None) => return if self.complete { self.off_link(via, None) } else { Err(None) },
        };
        let Some(named) = self.ports.get(id.index()) else { return Err(None) };
        if named.addresses.iter().any(|net| net.addr() == via) {
            return complain(
                format!("the gateway {via} is our own address on port `{}`", named.name),
                "name the other router's address".to_owned(),
            );
        }
        if is_link_local(via) {
            if !named.has_ipv6() && self.complete {
                return complain(
                    format!("port `{}` has no IPv6 address, so it has no link-local neighbours", named.name),
                    "give the port an IPv6 address".to_owned(),
                );
            }
        } else {
            let Some(net) = named.addresses.iter().find(|net| net.contains(&via)) else {
                return if self.complete { self.off_link(via, Some(named)) } else { Err(None) };
            };
            if let Some((what, _)) = reserved_in_subnet(net, via) {
                return complain(
                    format!("the gateway {via} is the {what} of {}", net.trunc()),
                    "name the address of one router".to_owned(),
                );
            }
        }
        Ok(NextHop { via: Some(via), port: id, weight })
    }

    fn off_link(&self, via: IpAddr, port: Option<&Port>) -> Result<NextHop, Complaint> {
        let same_family = |net: &&IpNet| matches!(net, IpNet::V4(_)) == via.is_ipv4();
        let subnets: Vec<String> = self
            .ports
            .iter()
            .filter(|candidate| port.is_none_or(|port| port.name == candidate.name))
            .flat_map(|port| {
                port.addresses
                    .iter()
                    .filter(same_family)
                    .map(|net| format!("{} on `{}`", net.trunc(), port.name))
            })
            .take(8)
            .collect();
        let where_ = port.map_or_else(|| "any port".to_owned(), |port| format!("port `{}`", port.name));
        let family = if via.is_ipv4() { "IPv4" } else { "IPv6" };
        Err(Some((
            format!("the gateway {via} is not on-link at {where_}"),
            match subnets.as_slice() {
                [] => format!(
                    "{where_} has no {family} subnet: add an address that shares a subnet with the gateway"
                ),
                list => format!("a gateway must be in a subnet of a port: {}", list.join(", ")),
            },
        )))
    }

    /// The next hop of destinations that are themselves on the link of `port`.
    pub fn direct(&self, to: IpNet, port: PortId, weight: u16) -> Result<NextHop, Complaint> {
        let Some(named) = self.ports.get(port.index()) else { return Err(None) };
        let (speaks, family) =
            if matches!(to, IpNet::V4(_)) { (named.has_ipv4(), "IPv4") } else { (named.has_ipv6(), "IPv6") };
        if !speaks && self.complete {
            return Err(Some((
                format!("port `{}` has no {family} address to ask for neighbours from", named.name),
                format!("give the port an {family} address, or the route a gateway with `via`"),
            )));
        }
        Ok(NextHop { via: None, port, weight })
    }
}

/// A destination that packets can be sent to.
pub fn check_destination(to: IpNet) -> Complaint {
    if to.prefix_len() > 0 && to.addr().is_multicast() {
        return Some((
            format!("{to} is multicast"),
            "only unicast destinations are routed; take the route out".to_owned(),
        ));
    }
    if to.addr().is_loopback() {
        return Some((format!("{to} is loopback, which no wire carries"), "take the route out".to_owned()));
    }
    None
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Local,
    Broadcast,
}

/// Reads one `[[route]]`.
pub fn read_route(section: &Section<'_>, names: &Names<'_>, links: &Links<'_>) -> Option<Route> {
    let to_value = section.required("to", "\"0.0.0.0/0\"");
    let to = to_value.and_then(|value| read_prefix(&value));
    let kind = section.word(
        "type",
        &[
            ("unicast", Type::Unicast),
            ("blackhole", Type::Blackhole),
            ("unreachable", Type::Unreachable),
            ("prohibit", Type::Prohibit),
            ("local", Type::Local),
            ("anycast", Type::Local),
            ("broadcast", Type::Broadcast),
        ],
        Type::Unicast,
    );
    let metric = size32(section.integer("metric", 0..=i64::from(u32::MAX), 0));
    let (via, port) = (section.value("via"), section.value("port"));
    let port_id = port.and_then(|value| names.resolve(&value));
    if let (Some(value), Some(to)) = (to_value, to)
        && let Some((message, help)) = check_destination(to)
    {
        value.wrong(message, help);
    }
    let action = match kind {
        Type::Unicast => {
            let next_hops = read_next_hops(section, to, (via, port), port_id, names, links);
            RouteAction::Unicast(next_hops.into())
        }
        Type::Broadcast => {
            if let Some(value) = via {
                value.wrong("a broadcast address has no gateway", "name its link with `port`");
            }
            if let (Some(value), Some(to)) = (to_value, to)
                && !(to.addr().is_ipv4() && to.prefix_len() == 32)
            {
                value.wrong("a broadcast address is one IPv4 address", "write it as a prefix of 32 bits");
            }
            match (port, port_id) {
                (None, _) => {
                    section.reader().report(
                        Problem::error(section.at, "a broadcast address of which link?")
                            .help("name the link with `port`"),
                    );
                    return None;
                }
                (_, port) => RouteAction::Broadcast(port?),
            }
        }
        other => {
            for value in [via, port].into_iter().flatten() {
                value.wrong(
                    "a route of this type leads nowhere",
                    "take `via` and `port` out, or say `type = \"unicast\"`",
                );
            }
            match other {
                Type::Blackhole => RouteAction::Blackhole,
                Type::Unreachable => RouteAction::Unreachable,
                Type::Local => RouteAction::Local,
                _ => RouteAction::Prohibit,
            }
        }
    };
    let table = match section.value("table") {
        None => TableId::MAIN,
        Some(value) => names.resolve_table(&value)?,
    };
    let metrics = read_metrics(section);
    Some(Route {
        to: to?,
        metric,
        action,
        table,
        metrics,
        at: to_value.map_or(section.at, |value| value.at()),
    })
}

/// What the route says about its way; 0, nothing, where a key is not there.
fn read_metrics(section: &Section<'_>) -> RouteMetrics {
    let number = |key, range| section.value(key).and_then(|value| value.integer(range)).unwrap_or(0);
    RouteMetrics {
        mtu: number("mtu", bounds::ROUTE_MTU) as u16,
        advmss: number("advmss", bounds::ROUTE_ADVMSS) as u16,
        window: number("window", bounds::ROUTE_WINDOW) as u32,
        initcwnd: number("initcwnd", bounds::ROUTE_INITCWND) as u8,
    }
}

fn read_next_hops(
    section: &Section<'_>,
    to: Option<IpNet>,
    (via, port): (Option<Value<'_>>, Option<Value<'_>>),
    port_id: Option<PortId>,
    names: &Names<'_>,
    links: &Links<'_>,
) -> Vec<NextHop> {
    let mut next_hops = Vec::new();
    let mut add = |value: &Value<'_>, next_hop: Result<NextHop, Complaint>| match next_hop {
        Ok(next_hop) if next_hops.iter().any(|other: &NextHop| same_way(other, &next_hop)) => {
            value.wrong(
                "this next hop is in the list twice",
                "take one out; `weight` gives it a larger share",
            );
        }
        Ok(next_hop) => next_hops.push(next_hop),
        Err(Some((message, help))) => value.wrong(message, help),
        Err(None) => {}
    };
    match (via, port) {
        (None, None) => section.reader().report(
            Problem::error(section.at, "the route leads nowhere")
                .label("here")
                .help("add `via` (a gateway) or `port` (a link), or say `type = \"blackhole\"`"),
        ),
        (None, Some(value)) => {
            if let (Some(to), Some(id)) = (to, port_id) {
                add(&value, links.direct(to, id, 1));
            }
        }
        (Some(value), _) if value.is_list() => {
            let Some(elements) = value.list(bounds::MAX_NEXT_HOPS, "[\"192.0.2.1\", \"192.0.2.2\"]") else {
                return next_hops;
            };
            if elements.is_empty() {
                value.wrong("an empty list of gateways", "name one");
            }
            for element in &elements {
                let (gateway, port, weight) = if element.is_table() {
                    let Some(hop) = element.table(&schema::NEXT_HOP, "{ via = \"192.0.2.1\", weight = 2 }")
                    else {
                        continue;
                    };
                    let own = hop.value("port");
                    let weight = hop.integer("weight", bounds::WEIGHT, 1);
                    let gateway = hop.required("via", "\"192.0.2.1\"");
                    (
                        gateway,
                        own.map_or(Some(port_id), |value| names.resolve(&value).map(Some)),
                        u16::try_from(weight).unwrap_or(1),
                    )
                } else {
                    (Some(*element), Some(port_id), 1)
                };
                let gateway = gateway.and_then(|value| Some((value, read_gateway(&value)?)));
                if let (Some(to), Some((value, via)), Some(port)) = (to, gateway, port) {
                    add(&value, links.next_hop(to, via, port, weight));
                }
            }
        }
        (Some(value), port) => {
            if let (Some(to), Some(via)) = (to, read_gateway(&value))
                && port.is_some() == port_id.is_some()
            {
                add(&value, links.next_hop(to, via, port_id, 1));
            }
        }
    }
    next_hops
}

/// True for two next hops that differ in their weights at most.
pub fn same_way(a: &NextHop, b: &NextHop) -> bool {
    a.via == b.via && a.port == b.port
}

fn read_gateway(value: &Value<'_>) -> Option<IpAddr> {
    value.parse("an IP address", "192.0.2.1")
}

/// Two routes with the same prefix and metric: which one would be used?
pub fn check_doubles(routes: &[Route], problems: &mut Problems) {
    let mut order: Vec<&Route> = routes.iter().collect();
    order.sort_by_key(|route| (route.table, route.to, route.metric)); // stable: the earlier one stays first
    for pair in order.windows(2) {
        let [first, second] = pair else { continue };
        if (first.table, first.to, first.metric) == (second.table, second.to, second.metric) {
            problems.push(
                Problem::error(
                    second.at,
                    format!("a second route to {} with metric {}", second.to, second.metric),
                )
                .related(first.at, "the first")
                .help("take one out, give it another metric, or list both gateways in one `via`"),
            );
        }
    }
}

/// More routes than the tables hold. The ports' subnets and own addresses are routes, too.
pub fn check_count(routes: &[Route], ports: &[Port], limits: &Limits, problems: &mut Problems) {
    for (family, key, is_family, limit) in [
        (
            "IPv4",
            "routes_ipv4",
            (|net| matches!(net, IpNet::V4(_))) as fn(&IpNet) -> bool,
            limits.routes_ipv4,
        ),
        ("IPv6", "routes_ipv6", |net| matches!(net, IpNet::V6(_)), limits.routes_ipv6),
    ] {
        let of_ports = 2 * ports.iter().flat_map(|port| &port.addresses).filter(|net| is_family(net)).count();
        let mut of_file = routes.iter().filter(|route| route.table == TableId::MAIN && is_family(&route.to));
        let count = of_file.clone().count() + of_ports;
        if count > limit
            && let Some(at) = of_file.next_back().map(|route| route.at).or(ports.first().map(|port| port.at))
        {
            problems.push(
                Problem::error(at, format!("{count} {family} routes, and the table holds {limit}"))
                    .label("the last of them")
                    .help(format!("raise `{key}` in [limits]")),
            );
        }
    }
}

/// Reads every `[[neighbour]]`.
pub fn read_neighbours(
    reader: &Reader,
    sections: &[Section<'_>],
    names: &Names<'_>,
    ports: &[Port],
    links: &Links<'_>,
) -> Vec<StaticNeighbour> {
    let mut seen: HashMap<(PortId, IpAddr), At> = HashMap::new();
    let mut neighbours = Vec::new();
    for section in sections {
        let port = section.required("port", "\"lan\"").and_then(|value| names.resolve(&value));
        let address_value = section.required("address", "\"192.0.2.254\"");
        let address = address_value.and_then(|value| read_neighbour_address(&value));
        let mac = section.required("mac", "\"02:00:00:00:00:01\"").and_then(|value| read_station(&value));
        let (Some(port), Some(value), Some(address)) = (port, address_value, address) else { continue };
        if let Some(first) = seen.insert((port, address), value.at()) {
            reader.report(
                Problem::error(value.at(), format!("a second entry for {address}"))
                    .related(first, "the first")
                    .help("take one out"),
            );
        }
        let to = IpNet::from(address);
        match links.next_hop(to, address, Some(port), 1) {
            Ok(_) | Err(None) => {}
            Err(Some((message, _))) => value.wrong(
                message
                    .replace("the gateway", "the neighbour")
                    .replace("link-local gateway", "link-local neighbour"),
                format!(
                    "a neighbour must be in a subnet of its port{}",
                    ports.get(port.index()).map(|port| format!(" `{}`", port.name)).unwrap_or_default()
                ),
            ),
        }
        if let Some(mac) = mac {
            neighbours.push(StaticNeighbour { port, address, mac, at: value.at() });
        }
    }
    neighbours
}

/// A set of lists of next hops, each kept once.
#[derive(Debug, Default)]
pub struct NextHops(std::collections::HashSet<Arc<[NextHop]>>);

impl NextHops {
    /// The one copy of `list`.
    pub fn share(&mut self, list: &[NextHop]) -> Arc<[NextHop]> {
        if let Some(known) = self.0.get(list) {
            return Arc::clone(known);
        }
        let new: Arc<[NextHop]> = list.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}
