//! What the control socket needs from the service. The socket knows the protocol, the service knows the answers.

use super::protocol::{
    Answer, MAX_PAGE, MAX_SCAN, NeighbourQuery, PortQuery, Refusal, RouteQuery, SocketQuery,
};
use super::snapshot::{Cores, Route, RouteKind, Routes, Rules, Runtime, Status, Tables, Tallies};
use crate::config::model;
use flumen_stack::route::TableId;
use ipnet::IpNet;

/// A client that waits for an answer: see [`Reply::Later`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) slot: usize,
    pub(super) generation: u64,
}

/// The answer, or the promise of one.
#[derive(Debug)]
pub enum Reply {
    /// Here it is.
    Now(Answer),
    /// The workers are being asked: [`super::server::ControlServer::complete`] will be called with the ticket. A
    /// client that waits for longer than [`super::protocol::REPORT_TIME`] is told so, and its ticket is void.
    Later,
}

impl Reply {
    /// It cannot be done.
    pub fn refuse(refusal: Refusal) -> Reply {
        Reply::Now(Answer::Error(refusal))
    }
}

/// A change of the routes that was read and makes sense for the ports of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// Add it; to be refused when there is a static route with its prefix and metric.
    Add(model::Route),
    /// Put it in the place of the static route with its prefix and metric, if there is one.
    Replace(model::Route),
    /// Take out the static route with this prefix and metric.
    Remove {
        /// Its prefix.
        prefix: IpNet,
        /// Its metric.
        metric: u32,
        /// Its table.
        table: TableId,
    },
}

/// The service, as the control socket sees it. No call may wait: what takes time is answered later.
pub trait Provider {
    /// Who it is.
    fn status(&mut self) -> Status;
    /// The ports of its configuration: route changes are read against their names and subnets.
    fn config_ports(&self) -> &[model::Port];
    /// The tables of its configuration beside the main one, which route changes may name.
    fn config_tables(&self) -> &[model::Table];
    /// `show tables`.
    fn tables(&mut self) -> Tables;
    /// `show rules`.
    fn rules(&mut self) -> Rules;
    /// `show port`. Its queues' statistics are known to the workers only.
    fn ports(&mut self, ticket: Ticket, query: &PortQuery) -> Reply;
    /// `show core`.
    fn cores(&mut self) -> Cores;
    /// `show route`, one page; [`page`] does the filtering.
    fn routes(&mut self, query: &RouteQuery) -> Result<Routes, Refusal>;
    /// `show multicast`; the workers know who listens.
    fn groups(&mut self, ticket: Ticket) -> Reply;
    /// `show reassembly`; the workers have the fragments.
    fn reassembly(&mut self, ticket: Ticket) -> Reply;
    /// `show neighbour`; the workers have them.
    fn neighbours(&mut self, ticket: Ticket, query: &NeighbourQuery) -> Reply;
    /// The sockets that `query` asks for.
    fn sockets(&mut self, ticket: Ticket, query: &SocketQuery) -> Reply;
    /// Programs with sockets here.
    fn programs(&mut self, ticket: Ticket) -> Reply;
    /// `show drops`.
    fn drops(&mut self) -> Tallies;
    /// `show counters`.
    fn counters(&mut self) -> Tallies;
    /// `show runtime`.
    fn runtime(&mut self) -> Runtime;
    /// Makes changes in order; one result for each. A change that is refused does not stop those after it.
    fn change_routes(&mut self, changes: &[RouteChange]) -> Vec<Result<(), Refusal>>;
}

/// One page of a table: the routes that `query` asks for out of `all`, which begins behind
/// `query.after` (earlier ones are skipped, at the cost of looking at each) and is in the order of the table.
/// Looks at [`MAX_SCAN`] routes at most. `query.lookup` is not looked at: [`lookup`] is for that.
pub fn page<R>(
    query: &RouteQuery,
    all: impl Iterator<Item = R>,
    prefix: impl Fn(&R) -> IpNet,
    source: impl Fn(&R) -> &str,
    to_route: impl Fn(R) -> Route,
) -> Routes {
    let limit = query.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let mut page = Routes::default();
    let mut last: Option<IpNet> = None;
    let behind =
        all.skip_while(|route| query.after.is_some_and(|after| order(prefix(route)) <= order(after)));
    for (looked_at, route) in behind.enumerate() {
        let here = prefix(&route);
        // All routes of one prefix go into one page, because the next one begins behind a prefix.
        if let Some(last) = last.filter(|last| *last != here)
            && (page.routes.len() >= limit || looked_at >= MAX_SCAN)
        {
            page.next = Some(last);
            break;
        }
        last = Some(here);
        let is_inside = query.within.is_none_or(|within| within.contains(&here));
        if is_inside && query.source.as_deref().is_none_or(|wanted| wanted == source(&route)) {
            page.routes.push(to_route(route));
        }
    }
    page
}

/// The order of the table: IPv4 before IPv6, by network, shorter prefixes first.
pub fn order(net: IpNet) -> (bool, u128, u8) {
    match net {
        IpNet::V4(net) => (false, u128::from(net.network().to_bits()), net.prefix_len()),
        IpNet::V6(net) => (true, net.network().to_bits(), net.prefix_len()),
    }
}

/// The routes of the longest prefix that covers `address` and has an active route. `routes_of` lists the routes
/// of exactly one prefix.
pub fn lookup(address: std::net::IpAddr, mut routes_of: impl FnMut(IpNet) -> Vec<Route>) -> Vec<Route> {
    let host = IpNet::from(address);
    let lengths = (0..=host.prefix_len()).rev();
    let prefixes = lengths.filter_map(|length| IpNet::new(address, length).ok()).map(|net| net.trunc());
    prefixes.map(&mut routes_of).find(|routes| routes.iter().any(|route| route.active)).unwrap_or_default()
}

/// The kind of a route of a configuration.
pub const fn kind_of(action: &model::RouteAction) -> RouteKind {
    match action {
        model::RouteAction::Unicast(_) => RouteKind::Unicast,
        model::RouteAction::Blackhole => RouteKind::Blackhole,
        model::RouteAction::Unreachable => RouteKind::Unreachable,
        model::RouteAction::Prohibit => RouteKind::Prohibit,
        model::RouteAction::Local => RouteKind::Local,
        model::RouteAction::Broadcast(_) => RouteKind::Broadcast,
    }
}
