//! The tests of the whole: the table against the obvious model of it, and under concurrent readers.
//!
//! The model is a list of routes; a lookup walks all of it. Everything that the forwarding tables do must look
//! the same from a reader.

use crate::PortId;
use crate::limits::MULTIPATH_BUCKETS;
use crate::route::{
    Change, NextHop, Path, Rib, RibConfig, Route, RouteError, RouteMetrics, RouteReader, Source, TableId,
    TableSize, Target,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A table that is cheap to make.
pub(crate) fn small_rib() -> Rib {
    Rib::new(small_config()).unwrap()
}

fn small_config() -> RibConfig {
    RibConfig {
        max_routes4: 1000,
        max_routes6: 1000,
        groups4: 64,
        nodes6: 8192,
        leaves6: 8192,
        next_hops: 64,
        multipath: 16,
        tables: vec![TableSize { routes4: 1000, routes6: 1000 }; 2],
        top4: None,
        nodes6_memory: None,
        leaves6_memory: None,
    }
}

fn port(index: usize) -> PortId {
    PortId::new(index).unwrap()
}

fn gateway(number: u8) -> Target {
    let port = port(usize::from(number) % 4);
    Target::Gateway { port, via: Ipv4Addr::new(192, 0, 2, number.max(1)).into() }
}

fn gateway6(number: u8) -> Target {
    let via = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(number) + 1).into();
    Target::Gateway { port: port(usize::from(number) % 4), via }
}

fn route(prefix: &str, target: Target) -> Route {
    Route::new(prefix.parse().unwrap(), target)
}

/// What tells routes apart.
type Key = (TableId, IpNet, Source, u32);

fn key_of(route: &Route) -> Key {
    (route.table, route.prefix, route.source, route.metric)
}

/// The tables of [`small_config`].
const TABLES: [fn() -> TableId; 3] =
    [|| TableId::MAIN, || TableId::policy(0).unwrap(), || TableId::policy(1).unwrap()];

fn tables() -> impl Strategy<Value = TableId> {
    prop::sample::select(vec![0usize, 0, 0, 1, 2]).prop_map(|index| TABLES[index]())
}

/// The routes, and which ports are up.
#[derive(Default)]
struct Model {
    routes: Vec<Route>,
    down: BTreeSet<PortId>,
}

impl Model {
    fn same(route: &Route, key: Key) -> bool {
        key_of(route) == key
    }

    fn apply(&mut self, change: &Change) -> Result<(), RouteError> {
        match change {
            Change::Add(new) | Change::Replace(new) => {
                new.check()?;
                let twin = self.routes.iter_mut().find(|old| Self::same(old, key_of(new)));
                match (twin, change) {
                    (Some(_), Change::Add(_)) => return Err(RouteError::Duplicate(new.prefix)),
                    (Some(twin), _) => *twin = new.clone(),
                    (None, _) => self.routes.push(new.clone()),
                }
            }
            Change::Remove { prefix, source, metric, table } => {
                let key = (*table, *prefix, *source, *metric);
                let at = self.routes.iter().position(|old| Self::same(old, key));
                self.routes.remove(at.ok_or(RouteError::NotFound(*prefix))?);
            }
        }
        Ok(())
    }

    /// All that a packet to `address` may meet: one next hop, or the living members of a group.
    fn lookup(&self, table: TableId, address: IpAddr) -> BTreeSet<String> {
        let listed = self.routes.iter().filter(|route| route.table == table);
        let covering = listed.filter(|route| route.prefix.contains(&address));
        let alive = covering.filter(|route| !self.ways(&route.target).is_empty());
        let best = alive.min_by_key(|route| {
            (core::cmp::Reverse(route.prefix.prefix_len()), route.source.distance(), route.metric)
        });
        let Some(best) = best else { return BTreeSet::new() };
        self.ways(&best.target).into_iter().map(|way| format!("{way} {:?}", best.metrics)).collect()
    }

    fn ways(&self, target: &Target) -> BTreeSet<String> {
        let singles = match target {
            Target::Local => vec![NextHop::Local],
            Target::Broadcast { port } => vec![NextHop::Broadcast { port: *port }],
            Target::Connected { port } => vec![NextHop::Connected { port: *port }],
            Target::Gateway { port, via } => vec![NextHop::Gateway { port: *port, via: *via }],
            Target::Blackhole => vec![NextHop::Blackhole],
            Target::Unreachable => vec![NextHop::Unreachable],
            Target::Prohibit => vec![NextHop::Prohibit],
            Target::Multipath(paths) => paths.iter().map(way).collect(),
        };
        let up = singles.into_iter().filter(|hop| hop.port().is_none_or(|port| !self.down.contains(&port)));
        up.map(|hop| format!("{hop:?}")).collect()
    }
}

fn way(path: &Path) -> NextHop {
    match path.via {
        Some(via) => NextHop::Gateway { port: path.port, via },
        None => NextHop::Connected { port: path.port },
    }
}

/// What a packet to `address` may meet, as a reader sees it.
fn seen(reader: &RouteReader, table: TableId, address: IpAddr) -> BTreeSet<String> {
    let id = match address {
        IpAddr::V4(address) => reader.lookup4_in(table, address),
        IpAddr::V6(address) => reader.lookup6_in(table, address),
    };
    let hashes = match reader.next_hop(id) {
        Some(NextHop::Multipath(_)) => MULTIPATH_BUCKETS as u32,
        _ => 1,
    };
    let hops: std::collections::HashSet<_> =
        (0..hashes).filter_map(|hash| reader.resolve(id, hash)).collect();
    hops.into_iter().map(|hop| format!("{hop:?} {:?}", reader.metrics(id))).collect()
}

/// Addresses at and just beyond both ends of a prefix.
fn edges(prefix: IpNet) -> Vec<IpAddr> {
    match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            all.map(|bits| Ipv4Addr::from_bits(bits).into()).to_vec()
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            all.map(|bits| Ipv6Addr::from_bits(bits).into()).to_vec()
        }
    }
}

/// Prefixes that nest and neighbour each other often, with the lengths at which the tables change hands.
fn prefixes4() -> impl Strategy<Value = IpNet> {
    let lens = prop::sample::select(vec![0u8, 1, 7, 8, 9, 12, 16, 20, 23, 24, 25, 26, 28, 31, 32]);
    let byte = || prop::sample::select(vec![0u8, 1, 127, 128, 255]);
    (lens, byte(), byte(), byte(), byte()).prop_map(|(len, _, b, c, d)| {
        let net = Ipv4Net::new(Ipv4Addr::new(10 + (b & 1), b, c, d), len).unwrap();
        net.trunc().into()
    })
}

fn prefixes6() -> impl Strategy<Value = IpNet> {
    let lens = vec![0u8, 3, 8, 9, 16, 20, 21, 25, 26, 27, 32, 38, 39, 44, 48, 56, 62, 64, 65, 122, 127, 128];
    let word = || prop::sample::select(vec![0u16, 1, 0x0400, 0x8000, 0xffff]);
    (prop::sample::select(lens), word(), word(), word()).prop_map(|(len, a, b, c)| {
        let address = Ipv6Addr::new(0x2001 | a & 0x400, a, b, c, c, b, a, c);
        Ipv6Net::new(address, len).unwrap().trunc().into()
    })
}

fn targets() -> impl Strategy<Value = Target> {
    let path = |number: u8| match gateway6(number) {
        Target::Gateway { port, via } if number != 7 => {
            Path { port, via: Some(via), weight: u16::from(number) + 1 }
        }
        _ => Path { port: port(3), via: None, weight: 256 },
    };
    prop_oneof![
        6 => (0u8..12).prop_map(gateway6),
        1 => (0usize..4).prop_map(|index| Target::Connected { port: port(index) }),
        1 => prop::sample::select(vec![Target::Local, Target::Blackhole, Target::Unreachable, Target::Prohibit]),
        // Groups out of six members, so that the same group comes back.
        1 => (0u8..3, 2u8..5).prop_map(move |(from, count)| {
            Target::Multipath((from..from + count).map(|n| path(n + 1)).collect())
        }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    /// Remove the route at this place of the model.
    Drop(prop::sample::Index),
    Port(usize, bool),
}

fn steps(prefixes: impl Strategy<Value = IpNet> + 'static) -> impl Strategy<Value = Vec<Step>> {
    let source =
        prop::sample::select(vec![Source::Static, Source::Static, Source::Kernel, Source::Connected]);
    let route = (prefixes, targets(), source, 0u32..2, tables(), 0u16..2)
        .prop_map(|(prefix, target, source, metric, table, narrow)| {
            let metrics = RouteMetrics { mtu: narrow * 1400, initcwnd: 7, ..RouteMetrics::NONE };
            Route { prefix, target, source, metric, table, metrics }
        })
        .boxed();
    let step = prop_oneof![
        5 => route.clone().prop_map(|route| Step::Change(Change::Add(route))),
        2 => route.clone().prop_map(|route| Step::Change(Change::Replace(route))),
        1 => route.prop_map(|route| Step::Change(Change::Remove {
            prefix: route.prefix, source: route.source, metric: route.metric, table: route.table
        })),
        4 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => (0usize..4, any::<bool>()).prop_map(|(port, up)| Step::Port(port, up)),
    ];
    proptest::collection::vec(step, 1..70)
}

/// Runs `steps` on a table and on the model; after each, and for all edges of all prefixes, both agree.
fn agree(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut rib, mut model) = (small_rib(), Model::default());
    let mut reader = rib.reader().unwrap();
    let mut probes: BTreeSet<IpAddr> = BTreeSet::new();
    for step in steps {
        let before = reader.generation();
        match step {
            Step::Port(index, up) => {
                rib.set_port_up(port(index), up);
                if up {
                    model.down.remove(&port(index))
                } else {
                    model.down.insert(port(index))
                };
            }
            Step::Change(change) => {
                if let Change::Add(route) | Change::Replace(route) = &change {
                    probes.extend(edges(route.prefix));
                }
                let expected = model.apply(&change);
                let applied = rib.apply([change]);
                prop_assert_eq!(applied.done, usize::from(expected.is_ok()));
                prop_assert_eq!(applied.refused.into_iter().next().map(|(_, error)| error), expected.err());
                reader.begin_burst();
                prop_assert!(reader.generation() > before);
            }
            Step::Drop(_) if model.routes.is_empty() => {}
            Step::Drop(index) => {
                let route = model.routes.swap_remove(index.index(model.routes.len()));
                prop_assert_eq!(
                    rib.remove_from(route.table, route.prefix, route.source, route.metric),
                    Ok(())
                );
            }
        }
        reader.begin_burst();
        for (&address, table) in probes.iter().flat_map(|address| TABLES.map(|table| (address, table()))) {
            let expected = model.lookup(table, address);
            prop_assert_eq!(seen(&reader, table, address), expected, "{} in {:?}", address, table);
        }
    }
    let bursts = burst_ids(&reader, &probes);
    for (address, (one, many)) in bursts {
        prop_assert_eq!(one, many, "burst of {}", address);
    }
    let mut listed: Vec<Route> =
        TABLES.iter().flat_map(|table| rib.routes_in(table())).map(|view| view.route).collect();
    let sorted = listed.windows(2).all(|two| two[0].table < two[1].table || two[0].prefix <= two[1].prefix);
    prop_assert!(sorted);
    listed.sort_by_key(key_of);
    let mut expected = model.routes.clone();
    for route in &mut expected {
        if let Target::Multipath(paths) = &mut route.target {
            paths.sort_unstable();
        }
    }
    expected.sort_by_key(key_of);
    prop_assert_eq!(listed, expected);

    // Take all out: everything comes back.
    for route in model.routes {
        prop_assert_eq!(rib.remove_from(route.table, route.prefix, route.source, route.metric), Ok(()));
        reader.begin_burst();
    }
    rib.reinstall(); // looks at what is free
    reader.begin_burst();
    rib.reinstall();
    let stats = rib.stats();
    prop_assert_eq!((stats.routes4, stats.routes6, stats.next_hops, stats.waiting), (0, 0, 0, 0));
    prop_assert!(rib.policy_routes().all(|held| held == (0, 0)));
    prop_assert_eq!((stats.groups4.0, stats.nodes6.0, stats.leaves6.0, stats.missing), (0, 1, 1, 0));
    Ok(())
}

/// Each address looked up alone and in a burst.
fn burst_ids(
    reader: &RouteReader,
    probes: &BTreeSet<IpAddr>,
) -> Vec<(IpAddr, (crate::route::NextHopId, crate::route::NextHopId))> {
    let four: Vec<Ipv4Addr> =
        probes.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None }).collect();
    let six: Vec<Ipv6Addr> =
        probes.iter().filter_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None }).collect();
    let (mut out4, mut out6) = (vec![Default::default(); four.len()], vec![Default::default(); six.len()]);
    reader.lookup4_burst(&four, &mut out4);
    reader.lookup6_burst(&six, &mut out6);
    let four = four.into_iter().zip(out4).map(|(a, id)| (a.into(), (reader.lookup4(a), id)));
    let six = six.into_iter().zip(out6).map(|(a, id)| (a.into(), (reader.lookup6(a), id)));
    four.chain(six).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ipv4_lookups_agree_with_a_list_of_routes(steps in steps(prefixes4())) {
        agree(steps)?;
    }

    #[test]
    fn ipv6_lookups_agree_with_a_list_of_routes(steps in steps(prefixes6())) {
        agree(steps)?;
    }

    #[test]
    fn the_ipv6_trie_has_the_same_nodes_whatever_came_and_went(steps in steps(prefixes6())) {
        let mut rib = small_rib();
        let mut held = Model::default();
        for step in steps {
            // Tables beside this one have tries of their own.
            match step {
                Step::Change(Change::Add(ref route) | Change::Replace(ref route)) if route.table != TableId::MAIN => {}
                Step::Change(Change::Remove { table, .. }) if table != TableId::MAIN => {}
                Step::Change(change) => {
                    let expected = held.apply(&change);
                    prop_assert_eq!(rib.apply([change]).done, usize::from(expected.is_ok()));
                }
                Step::Drop(index) if !held.routes.is_empty() => {
                    let route = held.routes.swap_remove(index.index(held.routes.len()));
                    prop_assert_eq!(rib.remove_from(route.table, route.prefix, route.source, route.metric), Ok(()));
                }
                Step::Drop(_) | Step::Port(..) => {}
            }
        }
        let nodes = |rib: &mut Rib| {
            rib.reinstall(); // takes back what nobody can be inside of
            rib.stats().nodes6.0
        };
        held.routes.sort_by_key(|route| route.prefix);
        let mut fresh = small_rib();
        for route in &held.routes {
            prop_assert_eq!(fresh.add(route), Ok(()));
        }
        prop_assert_eq!(nodes(&mut rib), nodes(&mut fresh));
        for route in held.routes {
            prop_assert_eq!(rib.remove(route.prefix, route.source, route.metric), Ok(()));
        }
        prop_assert_eq!(nodes(&mut rib), nodes(&mut small_rib()));
    }
}

#[test]
fn two_halves_that_hid_their_cover_go_and_it_becomes_a_tail_again() {
    let nodes = |prefixes: &[&str], gone: &[&str]| {
        let mut rib = small_rib();
        for prefix in prefixes {
            rib.add(&route(prefix, gateway6(1))).unwrap();
        }
        for prefix in gone {
            rib.remove(prefix.parse().unwrap(), Source::Static, 0).unwrap();
        }
        rib.reinstall();
        rib.stats().nodes6.0
    };
    let (cover, halves) = ("2001:db8::/37", ["2001:db8::/38", "2001:db8:400::/38"]);
    assert_eq!(nodes(&[cover, halves[0], halves[1]], &halves), nodes(&[cover], &[]));
}

#[test]
fn a_route_that_needs_a_group_is_refused_when_all_are_taken_and_nothing_changes() {
    let mut rib = small_rib();
    let mut reader = rib.reader().unwrap();
    for c in 0..64 {
        rib.add(&route(&format!("10.0.{c}.0/25"), gateway(1))).unwrap();
    }
    let one_more = route("10.0.64.128/32", gateway(2));
    assert_eq!(rib.add(&one_more), Err(RouteError::TableFull(one_more.prefix)));
    assert_eq!(rib.stats().routes4, 64);
    assert_eq!(rib.stats().next_hops, 1);
    assert!(reader.lookup4(Ipv4Addr::new(10, 0, 64, 128)).is_none());
    // A group comes free, but a reader may still be inside of it.
    reader.begin_burst();
    rib.remove("10.0.0.0/25".parse().unwrap(), Source::Static, 0).unwrap();
    let refused = rib.add(&one_more);
    assert_eq!(refused, Err(RouteError::GracePending(one_more.prefix)));
    assert!(refused.unwrap_err().may_retry());
    reader.begin_burst();
    rib.add(&one_more).unwrap();
    assert!(!reader.lookup4(Ipv4Addr::new(10, 0, 64, 128)).is_none());
}

#[test]
fn an_ipv6_table_that_is_full_refuses_additions_and_still_lets_go_of_everything() {
    let mut rib = Rib::new(RibConfig { nodes6: 1024, leaves6: 2048, ..small_config() }).unwrap();
    let mut reader = rib.reader().unwrap();
    let mut model = Model::default();
    let prefix = |number: u128| {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let address = Ipv6Addr::from_bits(0x2001_u128 << 112 | scattered >> 16);
        let len = [48, 64, 37, 128, 50][(number % 5) as usize];
        IpNet::from(Ipv6Net::new(address, len).unwrap().trunc())
    };
    let mut refused = 0;
    for number in 0..1000 {
        reader.begin_burst();
        let route = Route { prefix: prefix(number), ..route("::/0", gateway6((number % 9) as u8)) };
        match rib.add(&route) {
            Ok(()) => model.apply(&Change::Add(route)).unwrap(),
            Err(error) => {
                refused += 1;
                assert!(matches!(error, RouteError::TableFull(_) | RouteError::GracePending(_)), "{error}");
            }
        }
    }
    assert!(refused > 100 && model.routes.len() > 50, "{refused} refused, {} held", model.routes.len());
    reader.begin_burst();
    for number in 0..1000 {
        for address in edges(prefix(number)) {
            assert_eq!(
                seen(&reader, TableId::MAIN, address),
                model.lookup(TableId::MAIN, address),
                "{address}"
            );
        }
    }
    for route in model.routes {
        rib.remove_from(route.table, route.prefix, route.source, route.metric).unwrap();
        reader.begin_burst();
    }
    assert_eq!(rib.stats().routes6, 0);
}

#[test]
fn a_prefix_that_is_alone_below_an_allocation_needs_no_node_of_its_own() {
    let mut rib = small_rib();
    let mut reader = rib.reader().unwrap();
    rib.add(&route("2001:db8::/32", gateway6(1))).unwrap();
    let nodes = rib.stats().nodes6.0;
    // The first makes the node below bit 32 only when the second comes; that has room for 64.
    for (number, prefix) in
        ["2001:db8:4000::/48", "2001:db8:8000::/36", "2001:db8:c000:1::/64"].iter().enumerate()
    {
        rib.add(&route(prefix, gateway6(2 + number as u8))).unwrap();
        reader.begin_burst();
        rib.reinstall();
        assert_eq!(rib.stats().nodes6.0, nodes + u32::from(number > 0), "{prefix}");
    }
    let mut way = |address: &str| {
        reader.begin_burst();
        let hop = reader.next_hop(reader.lookup6(address.parse().unwrap()));
        if let Some(NextHop::Gateway { via: IpAddr::V6(via), .. }) = hop { via.octets()[15] - 1 } else { 0 }
    };
    let there = ["2001:db8:4000:ffff::1", "2001:db8:8fff::1", "2001:db8:c000:1::1"].map(&mut way);
    assert_eq!(there, [2, 3, 4]);
    // In the slot of a tail, but not within its prefix.
    let beside = ["2001:db8:4001::1", "2001:db8:9000::1", "2001:db8:c000:2::1"].map(&mut way);
    assert_eq!(beside, [1, 1, 1]);
}

#[test]
fn every_slot_of_a_node_may_have_a_leaf_and_a_tail() {
    let mut rib = small_rib();
    let mut reader = rib.reader().unwrap();
    let base = 0x2001_0db8_u128 << 96;
    let net = |bits: u128, len| IpNet::from(Ipv6Net::new(Ipv6Addr::from_bits(base | bits), len).unwrap());
    let prefixes = (0..64u128).flat_map(|slot| [net(slot << 90, 38), net(slot << 90 | 0x81 << 80, 48)]);
    let prefixes: Vec<IpNet> = prefixes.collect();
    let mut model = Model::default();
    for (number, prefix) in prefixes.iter().enumerate() {
        reader.begin_burst();
        let route = Route { prefix: *prefix, ..route("::/0", gateway6(number as u8 % 50)) };
        rib.add(&route).unwrap();
        model.routes.push(route);
    }
    while let Some(route) = model.routes.pop() {
        reader.begin_burst();
        for address in prefixes.iter().flat_map(|prefix| edges(*prefix)) {
            let seen = seen(&reader, TableId::MAIN, address);
            let covers = |held: &&Route| held.prefix.contains(&address);
            let best = model.routes.iter().chain([&route]).filter(covers);
            let best = best.max_by_key(|held| held.prefix.prefix_len());
            let way =
                |held: &Route| format!("{} {:?}", model.ways(&held.target).first().unwrap(), held.metrics);
            assert_eq!(seen, best.map(way).into_iter().collect(), "{address}");
        }
        rib.remove_from(route.table, route.prefix, route.source, route.metric).unwrap();
    }
}

#[test]
fn each_limit_refuses_the_one_beyond_it_and_keeps_the_rest() {
    let mut rib =
        Rib::new(RibConfig { max_routes4: 3, max_routes6: 1, next_hops: 4, ..small_config() }).unwrap();
    let paths = |numbers: &[u8]| {
        let path = |&n: &u8| Path { port: port(0), via: Some(Ipv4Addr::new(192, 0, 2, n).into()), weight: 1 };
        Target::Multipath(numbers.iter().map(path).collect())
    };
    rib.add(&route("10.0.0.0/8", paths(&[1, 2]))).unwrap(); // two members and the group
    assert_eq!(rib.add(&route("10.1.0.0/16", paths(&[1, 3]))), Err(RouteError::TooManyNextHops(4)));
    assert_eq!(rib.stats().next_hops, 3);
    rib.add(&route("10.1.0.0/16", Target::Blackhole)).unwrap();
    rib.add(&route("10.2.0.0/16", Target::Blackhole)).unwrap();
    assert_eq!(rib.add(&route("10.3.0.0/16", Target::Blackhole)), Err(RouteError::TooManyRoutes(3)));
    rib.replace(&route("10.2.0.0/16", Target::Blackhole)).unwrap();
    rib.add(&route("2001:db8::/32", Target::Blackhole)).unwrap();
    assert_eq!(rib.add(&route("::/0", Target::Blackhole)), Err(RouteError::TooManyRoutes(1)));

    let mut rib = Rib::new(RibConfig { multipath: 1, ..small_config() }).unwrap();
    rib.add(&route("10.0.0.0/8", paths(&[1, 2]))).unwrap();
    rib.add(&route("11.0.0.0/8", paths(&[2, 1]))).unwrap(); // the same group
    assert_eq!(rib.add(&route("12.0.0.0/8", paths(&[1, 3]))), Err(RouteError::TooManyMultipath(1)));
    assert_eq!(rib.stats().next_hops, 3);
}

#[test]
fn unusable_routes_are_refused_with_the_reason() {
    let mut rib = small_rib();
    let mut refuse = |route: &Route| rib.add(route).unwrap_err();
    let bits = route("10.0.0.1/8", Target::Local);
    assert_eq!(refuse(&bits), RouteError::HostBits(bits.prefix));
    let wide = route("10.0.0.0/8", Target::Broadcast { port: port(0) });
    assert_eq!(refuse(&wide), RouteError::NotBroadcast(wide.prefix));
    for via in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1", "::", "ff02::1", "::1"] {
        let via = via.parse().unwrap();
        let bad = route("10.0.0.0/8", Target::Gateway { port: port(0), via });
        assert_eq!(refuse(&bad), RouteError::BadGateway { via, prefix: bad.prefix });
    }
    assert!(matches!(refuse(&route("2001:db8::/32", gateway(1))), RouteError::BadGateway { .. }));
    let path = |index, weight| Path { port: port(index), via: None, weight };
    let multi = |paths| route("10.0.0.0/8", Target::Multipath(paths));
    assert_eq!(refuse(&multi(vec![path(0, 1)])), RouteError::BadPathCount(1));
    assert_eq!(refuse(&multi((0..17).map(|n| path(n, 1)).collect())), RouteError::BadPathCount(17));
    assert_eq!(refuse(&multi(vec![path(0, 1), path(0, 2)])), RouteError::BadPathCount(2));
    assert_eq!(refuse(&multi(vec![path(0, 0), path(1, 1)])), RouteError::BadWeight(0));
    assert_eq!(refuse(&multi(vec![path(0, 257), path(1, 1)])), RouteError::BadWeight(257));
    assert!(rib.add(&multi((0..16).map(|n| path(n, 256)).collect())).is_ok());
    assert_eq!(rib.stats().routes4, 1);
}

#[test]
fn a_port_goes_down_and_its_prefixes_fall_back_until_it_returns() {
    let mut rib = small_rib();
    let mut reader = rib.reader().unwrap();
    rib.add(&route("0.0.0.0/0", gateway(2))).unwrap();
    rib.add(&route("10.0.0.0/8", gateway(1))).unwrap();
    rib.add(&Route { metric: 9, ..route("10.1.0.0/16", gateway(3)) }).unwrap();
    rib.add(&route("10.1.0.0/16", gateway(1))).unwrap();
    let mut way = |rib: &Rib, address: [u8; 4]| {
        assert_eq!(rib.reader().unwrap().generation(), rib.generation());
        reader.begin_burst();
        reader.next_hop(reader.lookup4(address.into())).and_then(NextHop::port).map(PortId::index)
    };
    assert_eq!((way(&rib, [10, 9, 9, 9]), way(&rib, [10, 1, 9, 9])), (Some(1), Some(1)));
    let change = rib.set_port_up(port(1), false);
    assert_eq!((change.withdrawn, change.restored, change.failed), (1, 0, 0));
    assert_eq!((way(&rib, [10, 9, 9, 9]), way(&rib, [10, 1, 9, 9])), (Some(2), Some(3)));
    let active: Vec<bool> = rib.routes().map(|view| view.active).collect();
    assert_eq!(active, [true, false, false, true]);
    assert_eq!(rib.set_port_up(port(1), false), Default::default());
    // A route by a port that is down waits.
    rib.add(&route("10.2.0.0/16", gateway(5))).unwrap();
    assert_eq!(way(&rib, [10, 2, 0, 1]), Some(2));
    let change = rib.set_port_up(port(1), true);
    assert_eq!((change.withdrawn, change.restored, change.failed), (0, 2, 0));
    assert_eq!((way(&rib, [10, 9, 9, 9]), way(&rib, [10, 1, 9, 9])), (Some(1), Some(1)));
    assert_eq!(way(&rib, [10, 2, 0, 1]), Some(1));
}

#[test]
fn a_prefix_that_finds_no_room_when_its_port_returns_is_reported_and_comes_back_when_asked() {
    let mut rib = small_rib();
    rib.add(&route("10.0.0.0/25", gateway(1))).unwrap();
    rib.set_port_up(port(1), false);
    for c in 1..=64 {
        rib.add(&route(&format!("10.0.{c}.0/25"), gateway(2))).unwrap();
    }
    assert_eq!(rib.set_port_up(port(1), true).failed, 1);
    assert_eq!(rib.stats().missing, 1);
    rib.remove("10.0.1.0/25".parse().unwrap(), Source::Static, 0).unwrap();
    assert_eq!(rib.reinstall().failed, 1); // what was removed comes free by the end of this one
    assert_eq!(rib.reinstall().restored, 1);
    assert_eq!(rib.stats().missing, 0);
    assert!(!rib.reader().unwrap().lookup4(Ipv4Addr::new(10, 0, 0, 1)).is_none());
}

#[test]
fn next_hops_are_not_used_again_while_a_reader_may_hold_them() {
    let mut rib = small_rib();
    let mut reader = rib.reader().unwrap();
    rib.add(&route("10.0.0.0/8", gateway(1))).unwrap();
    reader.begin_burst();
    let id = reader.lookup4(Ipv4Addr::new(10, 0, 0, 1));
    let before = reader.next_hop(id);
    // More changes than there are places, none of which may become that one.
    let mut pending = 0;
    for number in 2..200 {
        match rib.replace(&route("10.0.0.0/8", gateway(number))) {
            Ok(()) => {}
            Err(RouteError::GracePending(_)) => pending += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(reader.next_hop(id), before);
    }
    assert!(pending > 100);
    reader.begin_burst();
    rib.replace(&route("10.0.0.0/8", gateway(250))).unwrap();
}

/// A writer changes routes as fast as it can; a reader looks at the same time.
#[test]
fn a_reader_never_sees_a_wrong_answer_while_the_writer_churns() {
    const CHANGES: u32 = 30_000;
    let mut rib = Rib::new(RibConfig { next_hops: 4096, ..small_config() }).unwrap();
    let numbered = |number: u32| {
        let via = Ipv6Addr::from_bits((0xfe80 << 112) | (u128::from(number) + 1)).into();
        Target::Gateway { port: port(0), via }
    };
    // Stable: these never change. Counting: replaced by ever higher gateway numbers.
    let stable = ["10.1.0.0/16", "10.1.2.0/24", "10.1.2.64/26", "2001:db8::/32", "2001:db8:0:1::/64"];
    let counting = ["10.1.2.3/32", "10.2.0.0/15", "2001:db8:7::/48", "2001:db8:0:1::9/128"];
    for (number, prefix) in stable.iter().enumerate() {
        rib.add(&route(prefix, numbered(1_000_000 + number as u32))).unwrap();
    }
    for prefix in counting {
        rib.add(&route(prefix, numbered(0))).unwrap();
    }
    let mut reader = rib.reader().unwrap();
    let (done, bursts) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let number = |reader: &RouteReader, address: &str| {
                let id = match address.parse().unwrap() {
                    IpAddr::V4(address) => reader.lookup4(address),
                    IpAddr::V6(address) => reader.lookup6(address),
                };
                match reader.next_hop(id) {
                    Some(NextHop::Gateway { via: IpAddr::V6(via), .. }) => via.to_bits() as u32 - 1,
                    other => panic!("{address} leads to {other:?}"),
                }
            };
            let mut last = [0; 4];
            while !done.load(Ordering::Acquire) {
                reader.begin_burst();
                for (expected, address) in
                    ["10.1.255.1", "10.1.2.1", "10.1.2.65", "2001:db8:ffff::1", "2001:db8:0:1::1"]
                        .into_iter()
                        .enumerate()
                {
                    let expected = 1_000_000 + expected as u32;
                    assert_eq!(number(&reader, address), expected, "{address}");
                }
                for (last, address) in
                    last.iter_mut().zip(["10.1.2.3", "10.3.0.1", "2001:db8:7::1", "2001:db8:0:1::9"])
                {
                    let now = number(&reader, address);
                    assert!(now >= *last, "{address}: {now} after {last}");
                    *last = now;
                }
                bursts.fetch_add(1, Ordering::Release);
            }
        });
        let until_ok = |rib: &mut Rib, change: &Change| {
            loop {
                let applied = rib.apply([change.clone()]);
                match applied.refused.into_iter().next() {
                    None => break,
                    Some((_, error)) if error.may_retry() => std::thread::yield_now(),
                    Some((_, error)) => panic!("{error}"),
                }
            }
        };
        for turn in 1..=CHANGES {
            let prefix = counting[turn as usize % 4];
            until_ok(&mut rib, &Change::Replace(route(prefix, numbered(turn))));
            // Neighbours and longer prefixes come and go beside the addresses that are looked up.
            let bit = turn / 4 % 8;
            let around = [
                format!("10.1.2.{}/32", 128 + bit),
                format!("10.1.{}.0/25", 3 + bit),
                format!("2001:db8:0:1::{:x}/128", 0x10 + bit),
                format!("2001:db8:{:x}::/{}", 0x100 + bit, 48 + bit),
            ];
            let prefix = &around[turn as usize % 4];
            let prefix = prefix.parse::<IpNet>().unwrap();
            let around = Route { prefix, ..route("::/0", numbered(turn)) };
            until_ok(&mut rib, &Change::Replace(around));
            if turn % 3 != 0 {
                until_ok(
                    &mut rib,
                    &Change::Remove { prefix, source: Source::Static, metric: 0, table: TableId::MAIN },
                );
            }
        }
        done.store(true, Ordering::Release);
    });
    assert!(bursts.load(Ordering::Acquire) > 0);
}

#[test]
fn the_ipv4_table_may_stand_in_memory_from_outside_if_that_is_large_enough() {
    use crate::route::{Words, fib4::TOP};
    use zerocopy::IntoBytes;
    let map =
        |words: usize| Words::from_zeroed_bytes(vec![0u32; words].leak().as_mut_bytes(), words).unwrap();
    let small = Rib::new(RibConfig { top4: Some(map(TOP - 1)), ..small_config() });
    assert!(matches!(small, Err(RouteError::Memory(_))));
    let mut rib = Rib::new(RibConfig { top4: Some(map(TOP)), ..small_config() }).unwrap();
    rib.add(&route("255.255.255.0/24", gateway(1))).unwrap();
    let reader = rib.reader().unwrap();
    assert!(!reader.lookup4(Ipv4Addr::BROADCAST).is_none());
    assert!(reader.lookup4(Ipv4Addr::UNSPECIFIED).is_none());
}
