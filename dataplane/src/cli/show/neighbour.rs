//! `flumen show neighbour` for people.

use crate::cli::table::{Table, time, yes};
use crate::control::snapshot::Neighbours;

/// One line for each entry of each worker.
pub fn text(neighbours: &Neighbours) -> String {
    let mut table = Table::new([
        "port",
        "address",
        "mac",
        "state",
        "age",
        "confirmed",
        "router",
        "probes",
        "waiting",
        "cpu",
    ]);
    for entry in &neighbours.neighbours {
        table.row([
            entry.port.clone(),
            entry.address.to_string(),
            entry.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            entry.state.clone(),
            time(entry.age_ms),
            entry.confirmed_ms.map(time).unwrap_or_default(),
            yes(entry.router).to_owned(),
            entry.probes.to_string(),
            entry.waiting.to_string(),
            entry.cpu.to_string(),
        ]);
    }
    if !table.has_rows() {
        return "no neighbours\n".to_owned();
    }
    let more = "… and more: narrow it down with a prefix or `--port`, or raise `--limit`\n";
    table.take_text() + if neighbours.cut_short { more } else { "" }
}
