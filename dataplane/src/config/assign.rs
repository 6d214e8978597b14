//! Who polls which queue, as far as the file alone can say: every queue of every port on exactly one core.
//!
//! ```text
//!   "lan"     all queues of lan      one core only: nobody else may name one of them
//!   "lan:1"   queue 1 of lan         the cores together must name each queue once
//! ```
//! How many queues an interface has when `queues = "all"` only the machine can say: `layout`.

use super::model::{Config, Port, PortKind, Queues};
use super::problem::{At, Problem, Problems};
use super::vlans;
use flumen_stack::PortId;
use std::collections::{BTreeMap, HashMap};

/// Queue lists of the one queue that ports other than `af_xdp` have.
const ONE: &[u16] = &[0];

/// The queues of `port`, when the file says which.
pub fn known_queues(port: &Port) -> Option<&[u16]> {
    match &port.kind {
        PortKind::AfXdp(af_xdp) => match &af_xdp.queues {
            Queues::All => None,
            Queues::These(queues) => Some(queues),
        },
        PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Tap(_) => Some(ONE),
        PortKind::Vlan(_) => Some(&[]),
    }
}

/// Checks what the file alone can tell.
pub fn check(config: &Config, problems: &mut Problems) {
    for (id, port) in config.ports_with_ids() {
        // A VLAN has no queues: `vlans` looks after it.
        if !matches!(port.kind, PortKind::Vlan(_)) {
            check_port(config, id, port, problems);
        }
    }
    vlans::check(config, problems);
    check_peers(config, problems);
}

/// Checks that no two workers share a processor.
pub fn check_cpus(config: &Config, problems: &mut Problems) {
    let mut seen: HashMap<usize, At> = HashMap::new();
    for core in &config.cores {
        if let Some(first) = seen.get(&core.cpu) {
            problems.push(
                Problem::error(core.at, format!("two workers on cpu {}", core.cpu))
                    .related(*first, "the first")
                    .help("give each [[core]] a cpu of its own, or make them one"),
            );
        } else {
            seen.insert(core.cpu, core.at);
        }
    }
}

fn check_port(config: &Config, id: PortId, port: &Port, problems: &mut Problems) {
    let mut whole: Option<(usize, At)> = None;
    let mut single: BTreeMap<u16, (usize, At)> = BTreeMap::new();
    let twice = |what: String, (cpu, at): (usize, At), (other_cpu, other_at): (usize, At)| {
        let who = if cpu == other_cpu { "twice by one core" } else { "by two cores" };
        Problem::error(at, format!("{what} of port `{}` is polled {who}", port.name))
            .label(format!("cpu {cpu} polls it"))
            .related(other_at, format!("cpu {other_cpu} polls it"))
            .help("a queue has one owner: take it away from one of them")
    };
    for (core, serves) in
        config.cores.iter().flat_map(|core| core.serves.iter().map(move |serves| (core, serves)))
    {
        if serves.port != id {
            continue;
        }
        let here = (core.cpu, serves.at);
        match &serves.queues {
            Queues::All => {
                if let Some(other) = whole.or(single.values().next().copied()) {
                    problems.push(twice("every queue".to_owned(), here, other));
                }
                whole = whole.or(Some(here));
            }
            Queues::These(queues) => {
                for queue in queues {
                    if let Some(known) = known_queues(port)
                        && !known.contains(queue)
                    {
                        problems.push(
                            Problem::error(serves.at, format!("port `{}` has no queue {queue}", port.name))
                                .related(port.at, format!("its queues: {}", show_queues(known)))
                                .help("name one of its queues, or add this one to `queues` of the port"),
                        );
                    } else if let Some(other) = whole.or(single.get(queue).copied()) {
                        problems.push(twice(format!("queue {queue}"), here, other));
                    } else {
                        single.insert(*queue, here);
                    }
                }
            }
        }
    }
    if whole.is_none() && single.is_empty() {
        problems.push(
            Problem::error(port.at, format!("no core polls port `{}`", port.name))
                .label("its packets would never be looked at")
                .help(format!("add \"{}\" to `ports` of a [[core]]", port.name)),
        );
    } else if let (None, Some(known)) = (whole, known_queues(port)) {
        let left: Vec<u16> = known.iter().copied().filter(|queue| !single.contains_key(queue)).collect();
        report_left(port, &left, problems);
    }
}

/// Queues that no core polls.
pub fn report_left(port: &Port, left: &[u16], problems: &mut Problems) {
    let Some(first) = left.first() else { return };
    let (noun, which) = if left.len() == 1 { ("queue", "this queue") } else { ("queues", "these queues") };
    let at = match &port.kind {
        PortKind::AfXdp(af_xdp) => af_xdp.queues_at,
        PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Tap(_) | PortKind::Vlan(_) => port.at,
    };
    problems.push(
        Problem::error(at, format!("no core polls {noun} {} of port `{}`", show_queues(left), port.name))
            .label(format!("packets on {which} would never be looked at"))
            .help(format!(
                "add \"{}:{first}\" to `ports` of a [[core]], or leave the queue out of `queues` and out of the card's RSS",
                port.name
            )),
    );
}

fn check_peers(config: &Config, problems: &mut Problems) {
    for (id, port) in config.ports_with_ids() {
        let PortKind::Memory(memory) = &port.kind else { continue };
        let Some(peer) = config.port(memory.peer) else { continue };
        match &peer.kind {
            PortKind::Memory(other) if other.peer == id => {}
            PortKind::Memory(_) => problems.push(
                Problem::error(
                    port.at,
                    format!("`{}` says its peer is `{}`, which has another", port.name, peer.name),
                )
                .related(peer.at, "this one has another peer")
                .help(format!("say `peer = \"{}\"` there", port.name)),
            ),
            kind => problems.push(
                Problem::error(port.at, format!("the peer of `{}` is of kind {}", port.name, kind.name()))
                    .related(peer.at, "this one")
                    .help("both ends of a wire in memory are of kind memory"),
            ),
        }
    }
}

/// `0, 1, 2`.
pub fn show_queues(queues: &[u16]) -> String {
    queues.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
