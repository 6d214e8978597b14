//! The routes of a configuration: those that follow from addresses, and those that are written down.

use super::StartError;
use crate::config::model::{self, Config, RouteAction};
use flumen_stack::Interface;
use flumen_stack::route::{
    Path, Rib, RibConfig, Route, RouteError, Source, TableSize, Target, Word, Words, fib4, fib6,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use memmap2::{Advice, MmapMut, MmapOptions};

/// Nodes and leaves of the IPv6 trie for each route: many times what prefixes of the Internet's lengths need, for
/// longer ones need more (see the stack's limits). Memory that is not used is not resident.
const NODES6_PER_ROUTE: usize = 4;
const LEAVES6_PER_ROUTE: usize = 16;

/// The table with all routes of the configuration in it.
pub fn build(config: &Config, interfaces: &[Interface]) -> Result<Rib, StartError> {
    let tables = config
        .tables
        .iter()
        .map(|table| TableSize { routes4: table.routes_ipv4, routes6: table.routes_ipv6 })
        .collect();
    let mut rib = table_and(config.limits.routes_ipv4, config.limits.routes_ipv6, tables)?;
    for interface in interfaces {
        for route in connected(interface) {
            // The same address or subnet on two ports is refused by the configuration's checks, but for
            // link-local ones, which are not in the table.
            rib.replace(&route)
                .map_err(|source| StartError::Route { prefix: route.prefix.to_string(), source })?;
        }
    }
    for route in &config.routes {
        let route = own(route);
        rib.add(&route).map_err(|source| StartError::Route { prefix: route.prefix.to_string(), source })?;
    }
    Ok(rib)
}

/// An empty table with room for so many routes of each family, where the data plane wants it in memory.
pub fn table(routes_ipv4: usize, routes_ipv6: usize) -> Result<Rib, RouteError> {
    table_and(routes_ipv4, routes_ipv6, Vec::new())
}

/// The same, with others beside it.
fn table_and(routes_ipv4: usize, routes_ipv6: usize, tables: Vec<TableSize>) -> Result<Rib, RouteError> {
    let nodes6 = u32::try_from((routes_ipv6 * NODES6_PER_ROUTE).max(1 << 12)).unwrap_or(u32::MAX);
    let leaves6 = u32::try_from((routes_ipv6 * LEAVES6_PER_ROUTE).max(1 << 14)).unwrap_or(u32::MAX);
    Rib::new(RibConfig {
        max_routes4: routes_ipv4,
        max_routes6: routes_ipv6,
        nodes6,
        leaves6,
        tables,
        top4: on_huge_pages(fib4::TOP),
        nodes6_memory: on_huge_pages(nodes6 as usize * fib6::NODE_WORDS),
        leaves6_memory: on_huge_pages(leaves6 as usize),
        ..RibConfig::default()
    })
}

/// Memory for tables that are read at random, on transparent huge pages: with small pages each read would
/// also miss the translation buffer. Where the kernel has none, small pages do.
fn on_huge_pages<W: Word>(words: usize) -> Option<Words<W>> {
    let map = MmapOptions::new().len(words * size_of::<W>()).map_anon().ok()?;
    if let Err(error) = map.advise(Advice::HugePage) {
        tracing::debug!(%error, "no transparent huge pages for the route tables");
    }
    // The tables live as long as the process: readers may be anywhere in them until the very end.
    let map: &'static mut MmapMut = Box::leak(Box::new(map));
    Words::from_zeroed_bytes(map, words).ok()
}

/// What the addresses of a port mean: each is ours, its subnet is on the link, and its broadcast addresses
/// are for everybody there (RFC 919, RFC 922). A /31 (RFC 3021) or /32 has none.
pub fn connected(interface: &Interface) -> Vec<Route> {
    let port = interface.id;
    let route = |prefix: IpNet, target| Route { source: Source::Connected, ..Route::new(prefix, target) };
    let mut routes = Vec::new();
    for net in &interface.ipv4 {
        if net.prefix_len() < 32 {
            routes.push(route(net.trunc().into(), Target::Connected { port }));
        }
        if net.prefix_len() < 31 {
            for address in [net.network(), net.broadcast()] {
                routes.push(route(Ipv4Net::from(address).into(), Target::Broadcast { port }));
            }
        }
        routes.push(route(Ipv4Net::from(net.addr()).into(), Target::Local));
    }
    for net in interface.ipv6.iter().filter(|net| !net.addr().is_unicast_link_local()) {
        if net.prefix_len() < 128 {
            routes.push(route(net.trunc().into(), Target::Connected { port }));
        }
        // The subnet-router anycast address (RFC 4291 section 2.6.1) is a router's own.
        if net.prefix_len() < 127 && interface.forwarding {
            routes.push(route(Ipv6Net::from(net.network()).into(), Target::Local));
        }
        routes.push(route(Ipv6Net::from(net.addr()).into(), Target::Local));
    }
    routes
}

/// A configured route, in the words of the table.
pub fn own(route: &model::Route) -> Route {
    Route {
        metric: route.metric,
        table: route.table,
        metrics: route.metrics,
        ..Route::new(route.to, target(&route.action))
    }
}

/// Where a configured route leads, in the words of the table.
pub fn target(action: &RouteAction) -> Target {
    match action {
        RouteAction::Blackhole => Target::Blackhole,
        RouteAction::Unreachable => Target::Unreachable,
        RouteAction::Prohibit => Target::Prohibit,
        RouteAction::Local => Target::Local,
        RouteAction::Broadcast(port) => Target::Broadcast { port: *port },
        RouteAction::Unicast(hops) => match hops.as_ref() {
            [one] => match one.via {
                Some(via) => Target::Gateway { port: one.port, via },
                None => Target::Connected { port: one.port },
            },
            many => Target::Multipath(
                many.iter().map(|hop| Path { port: hop.port, via: hop.via, weight: hop.weight }).collect(),
            ),
        },
    }
}
