//! `flumen show port` for people.

use crate::cli::table::{Table, yes};
use crate::control::snapshot::{Port, Ports, Queue};
use std::collections::BTreeSet;

/// What the ports are, what went through them, what the kernel granted and counts for each queue; then what
/// needs a look.
pub fn text(ports: &Ports) -> String {
    let tables =
        [identities(ports), addresses(ports), traffic(ports), grants(ports), kernel(ports), sockets(ports)];
    let mut text = tables.into_iter().flatten().collect::<Vec<_>>().join("\n");
    for note in notes(ports) {
        text += &format!("\n{note}\n");
    }
    text
}

fn queues(ports: &Ports) -> impl Iterator<Item = (String, &Queue)> {
    ports.ports.iter().flat_map(|port| port.queues.iter().map(|q| (format!("{}:{}", port.name, q.queue), q)))
}

fn finish(mut table: Table) -> Option<String> {
    table.has_rows().then(|| table.take_text())
}

fn identities(ports: &Ports) -> Option<String> {
    let heads = [
        "port",
        "kind",
        "interface",
        "driver",
        "mode",
        "link",
        "mtu",
        "mac",
        "forwarding",
        "checksum",
        "queues",
    ];
    let mut table = Table::new(heads);
    for port in &ports.ports {
        let polled: Vec<String> = port.queues.iter().map(|q| format!("{}@cpu{}", q.queue, q.cpu)).collect();
        table.row([
            port.name.clone(),
            port.kind.clone(),
            port.interface.clone().unwrap_or_default(),
            port.driver.clone().unwrap_or_default(),
            mode(port),
            port.link.name().to_owned(),
            port.mtu.to_string(),
            port.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            yes(port.forwarding).to_owned(),
            port.checksum.clone(),
            polled.join(" "),
        ]);
    }
    finish(table)
}

/// What it got and, when that was not said by the configuration, what was asked for.
fn mode(port: &Port) -> String {
    let grants = port.queues.iter().filter_map(|queue| queue.grant.as_ref());
    let got: BTreeSet<&str> = grants.map(|grant| grant.mode.as_str()).collect();
    let got = got.into_iter().collect::<Vec<_>>().join("+");
    match &port.mode {
        Some(asked) if *asked != got => format!("{got} ({asked})"),
        _ => got,
    }
}

fn addresses(ports: &Ports) -> Option<String> {
    let mut table = Table::new(["port", "address"]);
    for port in &ports.ports {
        for address in &port.addresses {
            table.row([port.name.clone(), address.to_string()]);
        }
    }
    finish(table)
}

fn traffic(ports: &Ports) -> Option<String> {
    let mut table =
        Table::new(["port", "rx packets", "rx bytes", "tx packets", "tx bytes", "drops", "tx drops"]);
    for port in &ports.ports {
        let t = &port.traffic;
        let numbers = [t.rx_packets, t.rx_bytes, t.tx_packets, t.tx_bytes, t.drops, t.tx_drops];
        table.row([port.name.clone()].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    finish(table)
}

fn grants(ports: &Ports) -> Option<String> {
    let heads =
        ["queue", "cpu", "mode", "multi-buffer", "tx checksum offload", "tx budget", "busy poll", "transmit"];
    let mut table = Table::new(heads);
    for (name, queue) in queues(ports) {
        let Some(grant) = &queue.grant else { continue };
        table.row([
            name,
            queue.cpu.to_string(),
            grant.mode.clone(),
            yes(grant.multi_buffer).to_owned(),
            yes(grant.tx_checksum).to_owned(),
            grant.tx_budget.map_or_else(|| "kernel's".to_owned(), |budget| budget.to_string()),
            match grant.busy_poll_us {
                Some(us) if grant.no_busy_poll.is_none() => format!("{us}us"),
                Some(_) => "without effect".to_owned(),
                None => "no".to_owned(),
            },
            grant.transmit.clone(),
        ]);
    }
    finish(table)
}

fn kernel(ports: &Ports) -> Option<String> {
    let heads = [
        "queue",
        "rx_dropped",
        "rx_invalid_descs",
        "tx_invalid_descs",
        "rx_ring_full",
        "rx_fill_ring_empty",
        "tx_ring_empty",
    ];
    let mut table = Table::new(heads);
    for (name, queue) in queues(ports) {
        let Some(k) = &queue.kernel else { continue };
        let numbers = [
            k.rx_dropped,
            k.rx_invalid_descs,
            k.tx_invalid_descs,
            k.rx_ring_full,
            k.rx_fill_ring_empty,
            k.tx_ring_empty,
        ];
        table.row([name].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    finish(table)
}

fn sockets(ports: &Ports) -> Option<String> {
    let first = queues(ports).find(|(_, queue)| !queue.socket.is_empty())?.1;
    let names = first.socket.iter().map(|count| count.name.clone());
    let mut table = Table::new(["queue".to_owned()].into_iter().chain(names));
    for (name, queue) in queues(ports).filter(|(_, queue)| !queue.socket.is_empty()) {
        table.row([name].into_iter().chain(queue.socket.iter().map(|count| count.value.to_string())));
    }
    finish(table)
}

fn notes(ports: &Ports) -> Vec<String> {
    let mut notes = Vec::new();
    for port in &ports.ports {
        let mut said = BTreeSet::new();
        for why in port.queues.iter().filter_map(|queue| queue.grant.as_ref()?.no_bulk.as_ref()) {
            if said.insert(("bulk", why)) {
                notes.push(format!("{}: bursts go by the ring: {why}", port.name));
            }
        }
        for why in port.queues.iter().filter_map(|queue| queue.grant.as_ref()?.no_busy_poll.as_ref()) {
            if said.insert(("busy poll", why)) {
                notes.push(format!("{}: `busy_poll` has no effect: {why}", port.name));
            }
        }
        for refused in port.queues.iter().filter_map(|queue| queue.grant.as_ref()).flat_map(|g| &g.refused) {
            if said.insert((&refused.mode, &refused.why)) {
                notes.push(format!("{}: {} was refused: {}", port.name, refused.mode, refused.why));
            }
        }
    }
    let partial = ports.partial_checksums;
    if partial.repaired > 0 {
        notes.push(format!(
            "{} packets came with checksums that a local kernel had left unfinished, and were repaired; \
             `ethtool -K PEER tx off` on the interface at the other end saves that work",
            partial.repaired
        ));
    }
    if partial.seen > 0 {
        notes.push(format!(
            "warning: {} packets came with checksums that a local kernel had left unfinished, on a port that does not \
             repair them: who receives them drops them\n  = help: run `ethtool -K PEER tx off`, where PEER is the \
             interface at the other end of the link, or set `checksum = \"repair\"` at the port",
            partial.seen
        ));
    }
    for (name, queue) in queues(ports) {
        let Some(kernel) = &queue.kernel else { continue };
        if kernel.rx_invalid_descs > 0 || kernel.tx_invalid_descs > 0 {
            notes.push(format!("warning: the kernel refused descriptors of {name}: a bug worth reporting"));
        }
    }
    notes
}
