//! Ports of kind `vlan`: which tag, of which port.
//!
//! A VLAN is named like any other port, and everything that speaks of ports speaks of it. What belongs to the wire (queues,
//! cores, station address, checksum policy) is its port's: such a key on a VLAN is refused, not ignored.

use super::model::{Claim, Config, Port, PortKind, TagPriority, TagProtocol, Vlan};
use super::names::Names;
use super::problem::{Problem, Problems};
use super::read::Section;
use flumen_stack::limits::{MAX_VLAN, MAX_VLAN_TAGS};
use flumen_stack::{PortId, limits};

/// Reads what is said of the tag. `id` is the port's own number.
pub fn read(section: &Section<'_>, id: PortId, names: &Names<'_>) -> Vlan {
    let parent = section.required("parent", "\"lan\"").and_then(|value| {
        let parent = names.resolve(&value)?;
        if parent == id {
            value.wrong("the VLAN is one of itself", "name the port with the wire");
        }
        Some(parent)
    });
    let number = section.required("vlan", "100").and_then(|value| value.integer(1..=i64::from(MAX_VLAN)));
    let priority = section.value("priority").and_then(|value| match value.text() {
        Some(_) => value.word(&[("dscp", TagPriority::FromDscp)]),
        None => value.integer(0..=7).and_then(|number| u8::try_from(number).ok()).map(TagPriority::Fixed),
    });
    Vlan {
        parent: parent.unwrap_or(id),
        protocol: section.word(
            "protocol",
            &[("802.1q", TagProtocol::Customer), ("802.1ad", TagProtocol::Service)],
            TagProtocol::Customer,
        ),
        id: number.and_then(|number| u16::try_from(number).ok()).unwrap_or(1),
        priority: priority.unwrap_or(TagPriority::Fixed(0)),
    }
}

/// Keys that belong to the wire.
pub const OF_THE_WIRE: [&str; 4] = ["mac", "checksum", "tx_queue", "distribute"];

/// Checks what the file as a whole says of its VLANs.
pub fn check(config: &Config, problems: &mut Problems) {
    for (id, port) in config.ports_with_ids() {
        let PortKind::Vlan(vlan) = port.kind else { continue };
        if let Some(core) = config.cores.iter().find(|core| core.serves.iter().any(|one| one.port == id)) {
            problems.push(
                Problem::error(core.at, format!("a core polls `{}`, which is a VLAN", port.name))
                    .related(port.at, "it has no queues of its own")
                    .help("its packets come and go by the port that it is a VLAN of: name that one"),
            );
        }
        match wire_of(config, id) {
            None => problems.push(
                Problem::error(port.at, format!("`{}` needs more than {MAX_VLAN_TAGS} tags", port.name))
                    .help("a frame has a service tag and a customer tag at most: name a port nearer to the wire"),
            ),
            Some((_, wire)) => {
                if let PortKind::AfXdp(af_xdp) = &wire.kind
                    && af_xdp.claim != Claim::Port
                {
                    problems.push(
                        Problem::error(port.at, format!("`{}` never gets tagged frames for `{}`", wire.name, port.name))
                            .related(wire.at, "it claims only some packets, and leaves tagged ones to the kernel")
                            .help("a port with VLANs claims all: take `claim` out there"),
                    );
                }
            }
        }
        let same = config.ports_with_ids().find(|(other, port)| {
            *other < id
                && matches!(port.kind, PortKind::Vlan(one)
                    if (one.parent, one.protocol, one.id) == (vlan.parent, vlan.protocol, vlan.id))
        });
        if let Some((_, other)) = same {
            problems.push(
                Problem::error(port.at, format!("VLAN {} of that port is `{}` already", vlan.id, other.name))
                    .related(other.at, "here")
                    .help("give one of them another number, or another `protocol`"),
            );
        }
    }
}

/// The port with the wire under a port, which may be itself; `None` when it is further away than a frame has tags.
pub fn wire_of(config: &Config, id: PortId) -> Option<(PortId, &Port)> {
    let mut at = id;
    for _ in 0..=limits::MAX_VLAN_TAGS {
        let port = config.port(at)?;
        match port.kind {
            PortKind::Vlan(vlan) => at = vlan.parent,
            _ => return Some((at, port)),
        }
    }
    None
}
