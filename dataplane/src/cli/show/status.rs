//! `flumen show status` for people.

use crate::cli::table::{Table, time};
use crate::control::snapshot::Status;

/// One line for each fact.
pub fn text(status: &Status) -> String {
    let cpus: Vec<String> = status.cpus.iter().map(usize::to_string).collect();
    let mut table = Table::new(["version", status.version.as_str()]);
    // The pid as text, so that it stands where the other values do.
    table.row(["process", &format!("pid {}", status.pid)]);
    table.row(["running for", &time(status.uptime_ms)]);
    table.row(["configuration", &status.config]);
    table.row(["cpus", &format!("{} ", cpus.join(" "))]);
    table.row(["ports", &status.ports.join(" ")]);
    table.take_text()
}
