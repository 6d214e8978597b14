//! `[[port]]`: from its table to a [`Port`].

use super::addresses;
use super::bounds;
use super::manners;
use super::model::{
    AfXdp, BusyPoll, ChecksumPolicy, Claim, Distribute, Kick, Memory, MultiBuffer, NapiDefer, Never,
    PacketRule, Pcap, Port, PortKind, PortRange, Protocol, Queues, Rings, RpFilter, Tap, Transmit,
    TxChecksum, XdpMode,
};
use super::names::Names;
use super::problem::{At, Problem};
use super::read::{Section, Value};
use super::schema;
use super::vlans;
use flumen_stack::{MacAddr, PortId, limits};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads one `[[port]]`, whose name is `name`. Relative file names in it are relative to `folder`.
pub fn read_port(section: &Section<'_>, id: PortId, name: &str, names: &Names<'_>, folder: &Path) -> Port {
    let at = section.place("name", section.at);
    let kinds = ["af_xdp", "pcap", "memory", "tap", "vlan"].map(|kind| (kind, kind));
    let kind = section.word("kind", &kinds, "af_xdp");
    refuse_keys_of_other_kinds(section, name, kind);
    let kind = match kind {
        "pcap" => PortKind::Pcap(read_pcap(section, at, folder)),
        "memory" => PortKind::Memory(read_memory(section, id, names)),
        "tap" => PortKind::Tap(Tap {
            interface: read_interface(section, name).to_owned(),
            mtu_at: section.place("mtu", at),
        }),
        "vlan" => PortKind::Vlan(vlans::read(section, id, names)),
        _ => PortKind::AfXdp(read_af_xdp(section, name, at)),
    };
    let forwarding = section.boolean("forwarding", false);
    let port = Port {
        name: name.to_owned(),
        kind,
        mtu: section
            .value("mtu")
            .and_then(|value| value.integer(i64::from(limits::MIN_MTU_IPV4)..=i64::from(limits::MAX_MTU)))
            .and_then(|mtu| u16::try_from(mtu).ok()),
        mac: section.value("mac").and_then(|value| read_station(&value)),
        addresses: section.value("addresses").map(|value| addresses::read(&value)).unwrap_or_default(),
        forwarding,
        manners: manners::read(section, forwarding),
        rp_filter: section.word(
            "rp_filter",
            &[("off", RpFilter::Off), ("strict", RpFilter::Strict), ("loose", RpFilter::Loose)],
            RpFilter::Off,
        ),
        checksum: section.word(
            "checksum",
            &[
                ("auto", ChecksumPolicy::Auto),
                ("verify", ChecksumPolicy::Verify),
                ("repair", ChecksumPolicy::Repair),
                ("trust", ChecksumPolicy::Trust),
            ],
            ChecksumPolicy::Auto,
        ),
        tx_queue: size(section.integer("tx_queue", bounds::TX_QUEUE, 256)),
        distribute: section.word(
            "distribute",
            &[("rss", Distribute::Rss), ("flow", Distribute::Flow)],
            Distribute::Rss,
        ),
        at,
    };
    if let Some(value) = section.value("mtu")
        && let Some(mtu) = port.mtu
        && mtu < limits::MIN_MTU_IPV6
        && port.has_ipv6()
    {
        value.wrong(
            format!("an MTU of {mtu} is too small for the IPv6 addresses of port `{name}`"),
            format!("IPv6 needs at least {} (RFC 8200 section 5)", limits::MIN_MTU_IPV6),
        );
    }
    port
}

/// A number that a range has bounded already.
pub fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// As [`size`], for 32 bits.
pub fn size32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// A link-layer address that one station can have.
pub fn read_station(value: &Value<'_>) -> Option<MacAddr> {
    let mac: MacAddr = value.parse("an Ethernet address", "02:00:00:00:00:01")?;
    if !mac.is_station() {
        value.wrong(
            format!("{mac} is not the address of one station"),
            "a group address (lowest bit of the first octet) or all zeros cannot be anybody's own",
        );
        return None;
    }
    Some(mac)
}

fn refuse_keys_of_other_kinds(section: &Section<'_>, name: &str, kind: &str) {
    for (key, _) in section.keys() {
        let owners = schema::kinds_of_key(key);
        let Some(value) = section.value(key) else { continue };
        if let Some(owner) = owners.first()
            && !owners.contains(&kind)
        {
            value.reader().report(
                Problem::error(value.key_at, format!("port `{name}` has no `{key}`: it is of kind {kind}"))
                    .label(format!("only ports of kind {} have this", owners.join(" and ")))
                    .help(format!("take the line out, or say `kind = \"{owner}\"`")),
            );
        }
        if kind == "vlan" && vlans::OF_THE_WIRE.contains(&key) {
            value.reader().report(
                Problem::error(value.key_at, format!("port `{name}` has no `{key}`: it is a VLAN"))
                    .label("this belongs to the port with the wire")
                    .help("say it there, and take the line out here"),
            );
        }
    }
}

/// The interface of a port: the one with its name unless it says otherwise.
fn read_interface<'a>(section: &Section<'a>, name: &'a str) -> &'a str {
    let interface = section.value("interface").and_then(|value| value.name("eth1").map(|text| (value, text)));
    if let Some((value, text)) = interface
        && (text.len() > bounds::MAX_INTERFACE || text.contains(['/', ' ', ':']))
    {
        value.wrong(
            format!("\"{text}\" cannot be the name of an interface"),
            format!("Linux allows {} bytes, without `/`, `:` and spaces", bounds::MAX_INTERFACE),
        );
    } else if interface.is_none()
        && section.value("interface").is_none()
        && name.len() > bounds::MAX_INTERFACE
        && let Some(value) = section.value("name")
    {
        value.wrong(
            format!("\"{name}\" is too long for the name of an interface"),
            "the interface of a port is the one with its name, unless `interface` says otherwise: add that",
        );
    }
    interface.map_or(name, |(_, text)| text)
}

fn read_af_xdp(section: &Section<'_>, name: &str, at: At) -> AfXdp {
    let interface = read_interface(section, name);
    let rings =
        section.value("rings").and_then(|value| value.table(&schema::RINGS, "{ rx = 2048, tx = 2048 }"));
    let ring = |key: &str| {
        size32(rings.map_or(2048, |section: Section<'_>| section.power_of_two(key, bounds::RING, 2048)))
    };
    let kick = section.word("kick", &[("syscall", Kick::Syscall), ("sqpoll", Kick::Sqpoll)], Kick::Syscall);
    let transmit = section.word(
        "transmit",
        &[("auto", Transmit::Auto), ("ring", Transmit::Ring), ("bulk", Transmit::Bulk)],
        Transmit::Auto,
    );
    if let (Kick::Sqpoll, Transmit::Bulk, Some(value)) = (kick, transmit, section.value("transmit")) {
        value.reader().report(
            Problem::error(value.at(), "`transmit = \"bulk\"` and `kick = \"sqpoll\"` exclude each other")
                .label("this takes a system call for each burst")
                .related(section.place("kick", at), "this is to make none")
                .help("leave one of the two out"),
        );
    }
    AfXdp {
        interface: interface.to_owned(),
        mode: section.word(
            "mode",
            &[
                ("auto", XdpMode::Auto),
                ("zero-copy", XdpMode::ZeroCopy),
                ("native", XdpMode::Native),
                ("generic", XdpMode::Generic),
            ],
            XdpMode::Auto,
        ),
        queues: section.value("queues").and_then(|value| read_queues(&value)).unwrap_or(Queues::All),
        rings: Rings { rx: ring("rx"), tx: ring("tx"), fill: ring("fill"), completion: ring("completion") },
        multi_buffer: section.word(
            "multi_buffer",
            &[("auto", MultiBuffer::Auto), ("on", MultiBuffer::On), ("off", MultiBuffer::Off)],
            MultiBuffer::Auto,
        ),
        need_wakeup: section.boolean("need_wakeup", true),
        tx_checksum: section.word(
            "tx_checksum",
            &[("auto", TxChecksum::Auto), ("on", TxChecksum::On), ("off", TxChecksum::Off)],
            TxChecksum::Auto,
        ),
        busy_poll: section.value("busy_poll").and_then(|value| read_busy_poll(&value)),
        napi_defer: section.value("napi_defer").and_then(|value| read_napi_defer(&value)),
        kick,
        transmit,
        claim: section.value("claim").and_then(|value| read_claim(&value)).unwrap_or(Claim::Port),
        never: section.value("never").and_then(|value| read_never(&value)).unwrap_or(Never::KernelSsh),
        interface_at: section.place("interface", at),
        queues_at: section.place("queues", at),
        mtu_at: section.place("mtu", at),
    }
}

/// `"all"`, a count, or a list of numbers.
pub fn read_queues(value: &Value<'_>) -> Option<Queues> {
    let highest = i64::from(bounds::MAX_QUEUES);
    if value.is_integer() {
        let count = u16::try_from(value.integer(1..=highest)?).ok()?;
        return Some(Queues::These((0..count).collect()));
    }
    if value.is_list() {
        let mut queues = BTreeSet::new();
        let elements = value.list(usize::from(bounds::MAX_QUEUES), "[0, 1]")?;
        if elements.is_empty() {
            value.wrong("an empty list of queues", "name at least one queue, or say \"all\"");
        }
        for element in elements {
            let Some(queue) = element.integer(0..=highest - 1).and_then(|queue| u16::try_from(queue).ok())
            else {
                continue;
            };
            if !queues.insert(queue) {
                element.wrong(format!("queue {queue} is in the list twice"), "take one out");
            }
        }
        return Some(Queues::These(queues.into_iter().collect()));
    }
    if value.text() == Some("all") {
        return Some(Queues::All);
    }
    match value.text() {
        Some(text) => value.wrong(
            format!("\"{text}\" does not name queues"),
            "write \"all\", a count as in 2, or a list as in [0, 1]",
        ),
        None => value.wrong_type("\"all\", a count or a list", "write \"all\", 2, or [0, 1]"),
    }
    None
}

fn read_busy_poll(value: &Value<'_>) -> Option<BusyPoll> {
    let example = "{ prefer = true, budget = 64, duration = \"20us\" }";
    let section = value.table(&schema::BUSY_POLL, example)?;
    let duration = section.value("duration").and_then(|value| {
        let duration = value.duration(bounds::BUSY_POLL)?;
        if !duration.as_nanos().is_multiple_of(1000) {
            value.wrong(
                "the kernel counts busy polls in whole microseconds",
                "write a whole number of \"us\"",
            );
        }
        Some(duration)
    });
    Some(BusyPoll {
        prefer: section.boolean("prefer", true),
        budget: u16::try_from(section.integer("budget", bounds::BUSY_BUDGET, 64)).unwrap_or(64),
        duration: duration.unwrap_or(Duration::from_micros(20)),
    })
}

fn read_napi_defer(value: &Value<'_>) -> Option<NapiDefer> {
    let section = value.table(&schema::NAPI_DEFER, "{ hard_irqs = 2, gro_flush_timeout = \"50us\" }")?;
    Some(NapiDefer {
        hard_irqs: size32(section.integer("hard_irqs", bounds::HARD_IRQS, 2)),
        gro_flush_timeout: section
            .value("gro_flush_timeout")
            .and_then(|value| value.duration(bounds::GRO_FLUSH))
            .unwrap_or(Duration::from_micros(50)),
    })
}

fn read_claim(value: &Value<'_>) -> Option<Claim> {
    if value.text().is_some() {
        return value.word(&[("port", ())]).map(|()| Claim::Port);
    }
    let rules = read_rules(value)?;
    if rules.is_empty() {
        value.wrong("a port that claims nothing has nothing to do", "say \"port\" for all, or name packets");
    }
    for (element, rule) in value.list(bounds::MAX_RULES, RULES_EXAMPLE)?.iter().zip(&rules) {
        if rule.destination.is_none() {
            element.wrong(
                "what a port claims needs an address",
                "add `address`: ARP and neighbour discovery are claimed for the addresses that are named",
            );
        }
    }
    Some(Claim::Rules(rules))
}

fn read_never(value: &Value<'_>) -> Option<Never> {
    if value.text().is_some() {
        return value.word(&[("kernel-ssh", ())]).map(|()| Never::KernelSsh);
    }
    Some(Never::Rules(read_rules(value)?))
}

const RULES_EXAMPLE: &str = "[{ address = \"192.0.2.1\", protocol = \"tcp\", ports = [80] }]";

/// A list of rules.
pub fn read_rules(value: &Value<'_>) -> Option<Vec<PacketRule>> {
    let elements = value.list(bounds::MAX_RULES, RULES_EXAMPLE)?;
    Some(elements.iter().filter_map(read_rule).collect())
}

fn read_rule(value: &Value<'_>) -> Option<PacketRule> {
    let section = value.table(&schema::RULE, RULES_EXAMPLE)?;
    read_rule_of(value, &section)
}

/// What a table says of addresses, protocol and ports: one of them at least.
pub fn read_rule_of(value: &Value<'_>, section: &Section<'_>) -> Option<PacketRule> {
    let destination = section.value("address").and_then(|value| addresses::read_prefix_or_address(&value));
    let protocol = section.value("protocol").and_then(|value| read_protocol(&value));
    let ports = section.value("ports").and_then(|value| {
        let elements = value.list(bounds::MAX_PORT_RANGES, "[80, \"8000-8100\"]")?;
        if elements.is_empty() {
            value.wrong("an empty list of ports", "name a port, or leave `ports` out for all");
        }
        if section.value("protocol").is_none() || protocol.is_some_and(|protocol| !protocol.has_ports()) {
            value.wrong(
                "`ports` needs a protocol that has ports",
                "say `protocol = \"tcp\"`, \"udp\", \"udplite\" or \"sctp\"",
            );
        }
        Some(elements.iter().filter_map(read_port_range).collect())
    });
    if !["address", "protocol", "ports"].iter().any(|key| section.value(key).is_some()) {
        value.wrong("an empty rule", "name an address, a protocol or ports");
    }
    Some(PacketRule { destination, protocol, ports: ports.unwrap_or_default() })
}

/// A protocol by name or number.
pub fn read_protocol(value: &Value<'_>) -> Option<Protocol> {
    if value.is_integer() {
        return u8::try_from(value.integer(0..=255)?).ok().map(Protocol);
    }
    value.word(&[
        ("tcp", Protocol::TCP),
        ("udp", Protocol::UDP),
        ("icmp", Protocol::ICMP),
        ("icmpv6", Protocol::ICMPV6),
        ("sctp", Protocol::SCTP),
        ("udplite", Protocol::UDP_LITE),
    ])
}

fn read_port_range(value: &Value<'_>) -> Option<PortRange> {
    if value.is_integer() {
        let port = u16::try_from(value.integer(0..=65_535)?).ok()?;
        return Some(PortRange { first: port, last: port });
    }
    let text = value.string("8000-8100")?;
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let range = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    match range {
        Some((first, last)) if first <= last => Some(PortRange { first, last }),
        _ => {
            value.wrong(format!("\"{text}\" is not a range of ports"), "write it as in \"8000-8100\"");
            None
        }
    }
}

fn read_pcap(section: &Section<'_>, at: At, folder: &Path) -> Pcap {
    let path =
        |key: &str| -> Option<PathBuf> { Some(folder.join(section.value(key)?.name("traffic.pcap")?)) };
    let pcap = Pcap {
        read: path("read"),
        repeat: section.boolean("repeat", false),
        write: path("write"),
        read_at: section.place("read", at),
    };
    if pcap.repeat
        && let Some(value) = section.value("repeat")
        && section.value("read").is_none()
    {
        value.wrong("`repeat` without `read`", "name the file to replay with `read`, or take `repeat` out");
    }
    if pcap.read.is_some()
        && pcap.read == pcap.write
        && let Some(value) = section.value("write")
    {
        value.wrong("the port would overwrite the file that it reads", "write to another file");
    }
    pcap
}

fn read_memory(section: &Section<'_>, id: PortId, names: &Names<'_>) -> Memory {
    let peer = section.required("peer", "\"other\"").and_then(|value| {
        let peer = names.resolve(&value)?;
        if peer == id {
            value.wrong("the port is its own peer", "a wire has two ends: name the other one");
        }
        Some(peer)
    });
    let ring = size32(section.power_of_two("ring", bounds::RING, 1024));
    Memory { peer: peer.unwrap_or(id), ring }
}
