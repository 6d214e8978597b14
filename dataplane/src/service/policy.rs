//! What the service says of its route tables and policy rules.

use super::Service;
use crate::config::model::policy::MAIN;
use crate::control::protocol::Refusal;
use crate::control::snapshot::{RouteTable, Rule, Rules, Tables};
use flumen_stack::PortId;
use flumen_stack::route::{self, RuleAction, TableId};

/// The table with a name; `None` names the main one.
pub(super) fn table_named(service: &Service, name: Option<&str>) -> Result<TableId, Refusal> {
    let Some(name) = name.filter(|name| *name != MAIN) else { return Ok(TableId::MAIN) };
    let place = service.config.tables.iter().position(|table| table.name == name);
    place
        .and_then(TableId::policy)
        .ok_or_else(|| Refusal::new(format!("there is no table `{name}`")).help("`show tables` lists them"))
}

fn name_of(service: &Service, table: TableId) -> &str {
    let table = table.index().and_then(|index| service.config.tables.get(index));
    table.map_or(MAIN, |table| &table.name)
}

/// `show tables`.
pub(super) fn tables(service: &Service) -> Tables {
    let line = |name: &str, (used4, used6): (usize, usize), (size4, size6): (usize, usize)| RouteTable {
        name: name.to_owned(),
        ipv4: (used4 as u64, size4 as u64),
        ipv6: (used6 as u64, size6 as u64),
    };
    let (stats, limits) = (service.rib.stats(), &service.config.limits);
    let main = line(MAIN, (stats.routes4, stats.routes6), (limits.routes_ipv4, limits.routes_ipv6));
    let others = service.config.tables.iter().zip(service.rib.policy_routes());
    let others = others.map(|(table, used)| line(&table.name, used, (table.routes_ipv4, table.routes_ipv6)));
    Tables { tables: core::iter::once(main).chain(others).collect() }
}

/// `show rules`.
pub(super) fn rules(service: &Service) -> Rules {
    let port = |id: PortId| service.config.port(id).map(|port| port.name.clone());
    let show = |rule: &route::Rule| {
        let (action, table) = match rule.action {
            RuleAction::Table(table) => ("table", Some(name_of(service, table).to_owned())),
            RuleAction::Blackhole => ("blackhole", None),
            RuleAction::Unreachable => ("unreachable", None),
            RuleAction::Prohibit => ("prohibit", None),
        };
        Rule {
            priority: rule.priority,
            from: rule.from,
            to: rule.to,
            in_port: rule.in_port.and_then(port),
            tos: rule.wanted.tos,
            protocol: rule.wanted.protocol,
            source_ports: rule.wanted.source_ports,
            ports: rule.wanted.ports,
            action: action.to_owned(),
            table,
        }
    };
    Rules { rules: service.config.rules.iter().map(show).collect() }
}
