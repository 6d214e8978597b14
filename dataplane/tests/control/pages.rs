//! Tables in pages: all of it, once each, in order, whatever the page size.

use crate::machine::{Machine, Service, route};
use flumen::control::client;
use flumen::control::protocol::{MAX_PAGE, MAX_SCAN, RouteQuery};
use flumen::control::provider::{lookup, order, page};
use flumen::control::snapshot::{Route, RouteKind};
use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

fn net(n: u32) -> IpNet {
    Ipv4Net::new(std::net::Ipv4Addr::from(n << 8), 24).unwrap().into()
}

fn one_page(query: &RouteQuery, all: &[Route]) -> flumen::control::snapshot::Routes {
    page(query, all.iter(), |route| route.prefix, |route| &route.source, Route::clone)
}

/// All routes that `query` asks for, page by page.
fn in_pages(query: &RouteQuery, all: &[Route]) -> Vec<Route> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = one_page(&query, all);
        found.extend(page.routes);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0..=32u8)
        .prop_map(|(bits, length)| IpNet::new(std::net::Ipv4Addr::from(bits).into(), length));
    let v6 = (any::<u128>(), 0..=128u8)
        .prop_map(|(bits, length)| IpNet::new(std::net::Ipv6Addr::from(bits).into(), length));
    prop_oneof![v4, v6].prop_map(|net| net.unwrap().trunc())
}

proptest! {
    #[test]
    fn pages_put_together_are_the_filtered_table(
        nets in prop::collection::vec((any_net(), 0..3u32), 0..60),
        within in prop::option::of(any_net()),
        limit in 1..10usize,
    ) {
        let mut all: Vec<Route> = nets.iter().map(|(net, metric)| route(*net, RouteKind::Blackhole, *metric)).collect();
        all.sort_by_key(|route| (order(route.prefix), route.metric));
        let query = RouteQuery { within, limit: Some(limit), ..RouteQuery::default() };
        let wanted: Vec<Route> =
            all.iter().filter(|route| within.is_none_or(|within| within.contains(&route.prefix))).cloned().collect();
        prop_assert_eq!(in_pages(&query, &all), wanted);
    }

    #[test]
    fn a_lookup_is_the_longest_prefix_with_an_active_route(
        nets in prop::collection::vec((any_net(), any::<bool>()), 0..60),
        address in any_net(),
    ) {
        let address = address.addr();
        let mut all: Vec<Route> = nets.iter().map(|(net, _)| route(*net, RouteKind::Blackhole, 0)).collect();
        for (route, (_, active)) in all.iter_mut().zip(&nets) {
            route.active = *active;
        }
        let found = lookup(address, |prefix| all.iter().filter(|r| r.prefix == prefix).cloned().collect());
        let best = all.iter().filter(|r| r.active && r.prefix.contains(&address)).map(|r| r.prefix).max_by_key(IpNet::prefix_len);
        prop_assert_eq!(found.first().map(|route| route.prefix), best);
    }
}

#[test]
fn routes_of_one_prefix_are_never_in_two_pages() {
    let all: Vec<Route> =
        (0..5).flat_map(|n| (0..3).map(move |metric| route(net(n), RouteKind::Blackhole, metric))).collect();
    let query = RouteQuery { limit: Some(4), ..RouteQuery::default() };
    let first = one_page(&query, &all);
    assert_eq!((first.routes.len(), first.next), (6, Some(net(1))));
}

#[test]
fn a_page_is_bounded_in_what_it_holds_and_in_what_it_looks_at() {
    let all: Vec<Route> = (0..MAX_SCAN as u32 + 2).map(|n| route(net(n), RouteKind::Blackhole, 0)).collect();
    let query = RouteQuery { limit: Some(usize::MAX), ..RouteQuery::default() };
    let page = one_page(&query, &all);
    assert_eq!((page.routes.len(), page.next), (MAX_PAGE, Some(net(MAX_PAGE as u32 - 1))));
    let nowhere = RouteQuery { source: Some("kernel".into()), ..RouteQuery::default() };
    let page = one_page(&nowhere, &all);
    assert_eq!((page.routes.len(), page.next), (0, Some(net(MAX_SCAN as u32 - 1))));
    assert_eq!(one_page(&nowhere, &all[..MAX_SCAN]).next, None);
    assert!(in_pages(&nowhere, &all).is_empty());
}

#[test]
fn a_client_gets_a_table_of_many_pages_and_stops_at_its_limit() {
    let many = 3 * MAX_PAGE as u32 + 7;
    let service = Service::start(Machine::with_routes((0..many).map(net)));
    for (limit, wanted) in [(None, many as usize), (Some(MAX_PAGE + 1), MAX_PAGE + 1), (Some(0), 0)] {
        let mut seen = Vec::new();
        client::routes(&service.path, RouteQuery::default(), limit, |page| {
            seen.extend(page.routes);
            true
        })
        .unwrap();
        assert_eq!(seen.len(), wanted);
        assert!(seen.iter().zip(0..).all(|(route, n)| route.prefix == net(n)));
    }
}
