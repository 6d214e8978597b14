//! `flumen show multicast` for people.

use crate::cli::table::{Table, time};
use crate::control::snapshot::Groups;

/// Who asks, who listens, and the static routes.
pub fn text(groups: &Groups) -> String {
    let mut text = String::new();
    let mut links = Table::new(["port", "family", "querier"]);
    for link in &groups.links {
        links.row([link.port.clone(), link.family.clone(), link.querier.clone()]);
    }
    if links.has_rows() {
        text += &links.take_text();
        let mut records = Table::new(["port", "group", "wanted", "expires"]);
        for record in &groups.groups {
            let sources: Vec<String> = record.sources.iter().map(ToString::to_string).collect();
            let wanted = match (record.mode.as_str(), sources.is_empty()) {
                ("exclude", true) => "from all".to_owned(),
                ("exclude", false) => format!("not from {}", sources.join(" ")),
                _ => format!("from {}", sources.join(" ")),
            };
            let expires = record.expires_ms.map(time).unwrap_or_default();
            records.row([record.port.clone(), record.group.to_string(), wanted, expires]);
        }
        text += "\n";
        text += &if records.has_rows() { records.take_text() } else { "nobody listens\n".to_owned() };
    }
    let mut routes = Table::new(["group", "source", "in", "out", "packets"]);
    for route in &groups.routes {
        let out: Vec<String> = route
            .out
            .iter()
            .map(
                |(port, threshold)| {
                    if *threshold > 1 { format!("{port} above {threshold}") } else { port.clone() }
                },
            )
            .collect();
        let cells =
            [route.group.to_string(), route.source.to_string(), route.in_port.clone(), out.join(", ")];
        routes.row(cells.into_iter().chain([route.packets.to_string()]));
    }
    if routes.has_rows() {
        if !text.is_empty() {
            text += "\n";
        }
        text += &routes.take_text();
    }
    if text.is_empty() {
        return "groups are not routed\n".to_owned();
    }
    text + if groups.cut_short { "… and more groups\n" } else { "" }
}
