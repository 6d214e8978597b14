//! `flumen show reassembly` for people.

use crate::cli::table::{Table, time};
use crate::control::snapshot::Reassembly;

/// How much waits at each worker, and what for.
pub fn text(reassembly: &Reassembly) -> String {
    let mut cores = Table::new(["cpu", "datagrams", "memory", "of"]);
    for core in &reassembly.cores {
        cores.row([core.cpu as u64, core.datagrams, core.memory, core.memory_limit].map(|n| n.to_string()));
    }
    let mut table = Table::new([
        "cpu",
        "source",
        "destination",
        "port",
        "protocol",
        "id",
        "fragments",
        "bytes",
        "of",
        "expires",
        "state",
    ]);
    for one in &reassembly.datagrams {
        table.row([
            one.cpu.to_string(),
            one.source.to_string(),
            one.destination.to_string(),
            one.port.clone().unwrap_or_default(),
            one.protocol.map(|protocol| protocol.to_string()).unwrap_or_default(),
            one.id.to_string(),
            one.fragments.to_string(),
            one.bytes.to_string(),
            one.total.map(|total| total.to_string()).unwrap_or_default(),
            time(one.expires_ms),
            if one.given_up { "given up" } else { "waits" }.to_owned(),
        ]);
    }
    let mut text = cores.take_text();
    if table.has_rows() {
        text += "\n";
        text += &table.take_text();
    }
    text + if reassembly.cut_short { "… and more\n" } else { "" }
}
