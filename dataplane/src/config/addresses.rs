//! IP addresses and prefixes: what a port may call its own, what a route may lead to.
//!
//! RFC 1122 section 3.2.1.3 and RFC 4291 section 2 say which addresses a node can have; RFC 3021 (/31) and
//! RFC 6164 (/127) make both addresses of a two-address subnet usable.

use super::problem::{At, Problem};
use super::read::{Reader, Value};
use flumen_stack::limits::MAX_ADDRESSES;
use ipnet::IpNet;
use std::net::IpAddr;

/// Reads `addresses` of a port. Each is one that a node can have; none is there twice.
pub fn read(value: &Value<'_>) -> Vec<IpNet> {
    let Some(elements) = value.list(2 * MAX_ADDRESSES, "[\"192.0.2.1/24\"]") else { return Vec::new() };
    let mut addresses: Vec<(IpNet, At)> = Vec::new();
    for element in &elements {
        let Some(net) = read_interface_address(element) else { continue };
        if let Some((_, first)) = addresses.iter().find(|(other, _)| other.addr() == net.addr()) {
            element.reader().report(
                Problem::error(element.at(), format!("{} is in the list twice", net.addr()))
                    .related(*first, "the first")
                    .help("take one out"),
            );
            continue;
        }
        addresses.push((net, element.at()));
    }
    for (family, count) in [
        ("IPv4", addresses.iter().filter(|(net, _)| matches!(net, IpNet::V4(_))).count()),
        ("IPv6", addresses.iter().filter(|(net, _)| matches!(net, IpNet::V6(_))).count()),
    ] {
        if count > MAX_ADDRESSES {
            value.wrong(
                format!("{count} {family} addresses on one port"),
                format!("{MAX_ADDRESSES} are the most"),
            );
        }
    }
    addresses.into_iter().map(|(net, _)| net).collect()
}

/// An address with the length of its prefix, that a node can have.
fn read_interface_address(value: &Value<'_>) -> Option<IpNet> {
    let text = value.string("192.0.2.1/24")?;
    if let Ok(address) = text.parse::<IpAddr>() {
        let usual = if address.is_ipv4() { 24 } else { 64 };
        value.wrong(
            format!("\"{text}\" lacks the length of its prefix"),
            format!("write \"{address}/{usual}\" if {usual} bits of it name the subnet"),
        );
        return None;
    }
    let net: IpNet = value.parse("an address with the length of its prefix", "192.0.2.1/24")?;
    if let Some(why) = not_a_node(net.addr()) {
        value.wrong(format!("{} is {why}", net.addr()), "give the port an address that a node can have");
        return None;
    }
    if let Some((what, help)) = reserved_in_subnet(&net, net.addr()) {
        value.wrong(format!("{} is the {what} of {}", net.addr(), net.trunc()), help);
        return None;
    }
    if net.prefix_len() == 0 {
        value.wrong(
            "a subnet with everybody in it",
            "a prefix length of 0 would put the whole world on this link",
        );
        return None;
    }
    Some(net)
}

/// Why `address` cannot be that of one node on a network; `None` when it can.
pub fn not_a_node(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("\"this network\" (0.0.0.0/8), which no node has"),
            [127, ..] => Some("a loopback address, which no wire carries"),
            [224..=239, ..] => Some("a multicast address, which names a group"),
            [240..=255, ..] => Some("reserved (240.0.0.0/4)"),
            _ => None,
        },
        IpAddr::V6(v6) => {
            if v6.is_unspecified() {
                Some("the unspecified address, which no node has")
            } else if v6.is_loopback() {
                Some("the loopback address, which no wire carries")
            } else if v6.is_multicast() {
                Some("a multicast address, which names a group")
            } else if v6.to_ipv4_mapped().is_some() {
                Some("an IPv4-mapped address, which no wire carries")
            } else {
                None
            }
        }
    }
}

/// What `address` is reserved for in the subnet of `net`, and what to do; `None` when a node can have it.
pub fn reserved_in_subnet(net: &IpNet, address: IpAddr) -> Option<(&'static str, &'static str)> {
    if net.max_prefix_len() - net.prefix_len() < 2 {
        return None; // RFC 3021, RFC 6164: two-address links use both; and a host route has no subnet
    }
    match net {
        IpNet::V4(_) if address == net.network() => {
            Some(("network address", "use an address inside the subnet, such as the next one"))
        }
        IpNet::V4(_) if address == net.broadcast() => {
            Some(("broadcast address", "use an address inside the subnet, such as the one before"))
        }
        // RFC 4291 section 2.6.1
        IpNet::V6(_) if address == net.network() => {
            Some(("subnet-router anycast address", "use an address inside the subnet, such as the next one"))
        }
        _ => None,
    }
}

/// A prefix whose host bits are zero.
pub fn read_prefix(value: &Value<'_>) -> Option<IpNet> {
    let text = value.string("198.51.100.0/24")?;
    match text {
        "default" => {
            value.wrong("\"default\" does not say which family", "write \"0.0.0.0/0\" or \"::/0\"");
            None
        }
        _ => no_host_bits(value, value.parse("a prefix", "198.51.100.0/24")?),
    }
}

/// A prefix whose host bits are zero, or one address.
pub fn read_prefix_or_address(value: &Value<'_>) -> Option<IpNet> {
    let text = value.string("192.0.2.1")?;
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => no_host_bits(value, value.parse("an address or a prefix", "192.0.2.0/24")?),
    }
}

fn no_host_bits(value: &Value<'_>, net: IpNet) -> Option<IpNet> {
    if net.addr() != net.network() {
        value.wrong(
            format!("{net} has bits set behind its prefix"),
            format!(
                "write \"{}\", or \"{}/{}\" for that one address",
                net.trunc(),
                net.addr(),
                net.max_prefix_len()
            ),
        );
        return None;
    }
    Some(net)
}

/// The address of one neighbour.
pub fn read_neighbour_address(value: &Value<'_>) -> Option<IpAddr> {
    let address: IpAddr = value.parse("an IP address", "192.0.2.254")?;
    if let Some(why) = not_a_node(address) {
        value.wrong(format!("{address} is {why}"), "name one node");
        return None;
    }
    Some(address)
}

/// True for an IPv6 address that means something on its own link only.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Addresses of different ports must not be the same, and their subnets must not overlap: else nobody could
/// say on which link a neighbour is. Link-local addresses are each link's own.
pub fn check_overlaps(reader: &Reader, ports: &[(&str, At, &[IpNet])]) {
    let all: Vec<(usize, &IpNet)> = ports
        .iter()
        .enumerate()
        .flat_map(|(index, (_, _, nets))| nets.iter().map(move |net| (index, net)))
        .filter(|(_, net)| !is_link_local(net.addr()))
        .collect();
    for (index, (port, net)) in all.iter().enumerate() {
        for (other_port, other) in &all[..index] {
            let ((name, at, _), (other_name, other_at, _)) = (ports[*port], ports[*other_port]);
            if port == other_port {
                continue;
            }
            if net.addr() == other.addr() {
                reader.report(
                    Problem::error(
                        at,
                        format!("{} is on two ports: `{other_name}` and `{name}`", net.addr()),
                    )
                    .related(other_at, "here as well")
                    .help("give one of them another address"),
                );
            } else if is_subnet(net) && is_subnet(other) && (net.contains(*other) || other.contains(*net)) {
                reader.report(
                    Problem::error(
                        at,
                        format!(
                            "the subnets of `{other_name}` ({}) and `{name}` ({}) overlap",
                            other.trunc(),
                            net.trunc()
                        ),
                    )
                    .related(other_at, "the other one")
                    .help(
                        "nobody could say on which link a neighbour is: renumber one, or shorten its range",
                    ),
                );
            }
        }
    }
}

/// True when there can be neighbours in it.
fn is_subnet(net: &IpNet) -> bool {
    net.prefix_len() < net.max_prefix_len()
}
