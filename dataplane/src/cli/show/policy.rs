//! `flumen show tables` and `flumen show rules` for people.

use crate::cli::table::Table;
use crate::control::snapshot::{Rule, Rules, Tables};

/// One line for each table.
pub fn tables(tables: &Tables) -> String {
    let mut text = Table::new(["table", "IPv4 routes", "of", "IPv6 routes", "of"]);
    for one in &tables.tables {
        let numbers = [one.ipv4.0, one.ipv4.1, one.ipv6.0, one.ipv6.1];
        text.row([one.name.clone()].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    text.take_text()
}

/// One line for each rule, in the words of the configuration.
pub fn rules(rules: &Rules) -> String {
    let mut text = Table::new(["priority", "packets", "what"]);
    for rule in &rules.rules {
        let what = rule.table.as_ref().map_or_else(|| rule.action.clone(), |table| format!("table {table}"));
        text.row([rule.priority.to_string(), selector(rule), what]);
    }
    text.row(["32766".to_owned(), "all".to_owned(), "table main".to_owned()]);
    text.take_text()
}

fn selector(rule: &Rule) -> String {
    let range = |(first, last): (u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let words = [
        rule.from.map(|from| format!("from {from}")),
        rule.to.map(|to| format!("to {to}")),
        rule.in_port.as_ref().map(|port| format!("in {port}")),
        rule.protocol.map(|protocol| format!("protocol {protocol}")),
        rule.source_ports.map(|ports| format!("source ports {}", range(ports))),
        rule.ports.map(|ports| format!("ports {}", range(ports))),
        rule.tos.map(|tos| format!("tos {tos:#04x}")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "all".to_owned() } else { words.join(" ") }
}
