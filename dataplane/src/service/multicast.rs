//! What the service says of its multicast routing: every worker knows who listens; the first one is asked.

use super::Service;
use crate::control::snapshot::{GroupLink, GroupRecord, GroupRoute, Groups};
use crate::report::Report;
use flumen_stack::PortId;
use flumen_stack::multicast::querier::Role;

/// `show multicast`.
pub(super) fn groups(service: &Service, reports: &[Option<Box<Report>>]) -> Groups {
    let name = |port: PortId| service.config.port(port).map_or_else(String::new, |port| port.name.clone());
    let now = service.clock.now();
    let mut shown = Groups::default();
    let Some(first) = reports.iter().flatten().next() else { return shown };
    shown.cut_short = first.cut_short;
    shown.links = first
        .links
        .iter()
        .map(|link| GroupLink {
            port: name(link.port),
            family: if link.v6 { "IPv6" } else { "IPv4" }.to_owned(),
            querier: match link.role {
                Role::Querier => "us".to_owned(),
                Role::Other { address, .. } => address.to_string(),
            },
        })
        .collect();
    shown.groups = first
        .groups
        .iter()
        .map(|record| {
            let everybody = record.wants_everybody(now);
            let named = record.sources.iter().filter(|source| (source.until > now) != everybody);
            GroupRecord {
                port: name(record.port),
                group: record.group,
                mode: if everybody { "exclude" } else { "include" }.to_owned(),
                sources: named.map(|source| source.address).collect(),
                expires_ms: everybody.then(|| record.everybody_until.since(now).as_millis() as u64),
            }
        })
        .collect();
    let used = |place: usize| reports.iter().flatten().filter_map(|report| report.routes.get(place)).sum();
    shown.routes = flumen_stack::multicast::sorted(service.config.multicast.routes.clone())
        .iter()
        .enumerate()
        .map(|(place, route)| GroupRoute {
            group: route.group,
            source: route.source,
            in_port: name(route.in_port),
            out: route.out.iter().map(|out| (name(out.port), out.threshold)).collect(),
            packets: used(place),
        })
        .collect();
    shown
}
