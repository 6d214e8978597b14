//! What a port tells its neighbours and what it believes of them: redirects, duplicates, proxies, advertisements.

use super::addresses;
use super::bounds;
use super::model::{Detection, Manners, RouterAdvertisement};
use super::read::{Section, Value};
use super::schema;
use flumen_stack::limits::{MAX_ADDRESSES, MAX_ADVERTISED, MAX_MTU, MIN_MTU_IPV6};
use ipnet::{IpNet, Ipv6Net};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Reads what a `[[port]]` says of it; `forwarding` tells routers from hosts.
pub fn read(section: &Section<'_>, forwarding: bool) -> Manners {
    let manners = Manners {
        accept_redirects: section.boolean("accept_redirects", !forwarding),
        send_redirects: section.boolean("send_redirects", forwarding),
        address_mask_replies: section.boolean("address_mask_replies", false),
        dad: section.word(
            "dad",
            &[("strict", Detection::Strict), ("optimistic", Detection::Optimistic), ("off", Detection::Off)],
            Detection::Strict,
        ),
        arp_probe: section.boolean("arp_probe", false),
        announce: section.boolean("announce", true),
        proxy_arp: section.boolean("proxy_arp", false),
        proxy_nd: section.value("proxy_nd").map(|value| read_ipv6(&value, MAX_ADDRESSES)).unwrap_or_default(),
        autoconf: section.boolean("autoconf", false),
        advertise: section.value("advertise").and_then(|value| read_advertise(&value)),
    };
    let needs = |key: &str, wanted: bool, why: &str, help: &str| {
        if wanted && let Some(value) = section.value(key) {
            value.wrong(why, help);
        }
    };
    let router = "say `forwarding = true`, or take this out";
    needs(
        "autoconf",
        manners.autoconf && forwarding,
        "a router is not configured by others",
        "RFC 4861 section 6.2.7: name its addresses, or say `forwarding = false`",
    );
    needs(
        "advertise",
        manners.advertise.is_some() && !forwarding,
        "a host does not advertise itself as a router",
        router,
    );
    needs(
        "proxy_arp",
        manners.proxy_arp && !forwarding,
        "who does not forward cannot answer for others",
        router,
    );
    needs(
        "proxy_nd",
        !manners.proxy_nd.is_empty() && !forwarding,
        "who does not forward cannot answer for others",
        router,
    );
    manners
}

fn read_ipv6(value: &Value<'_>, most: usize) -> Vec<Ipv6Addr> {
    let Some(elements) = value.list(most, "[\"2001:db8::53\"]") else { return Vec::new() };
    let address = |element: &Value<'_>| -> Option<Ipv6Addr> {
        let address: Ipv6Addr = element.parse("an IPv6 address", "2001:db8::53")?;
        if let Some(why) = addresses::not_a_node(address.into()) {
            element.wrong(format!("{address} is {why}"), "name one node");
            return None;
        }
        Some(address)
    };
    elements.iter().filter_map(address).collect()
}

fn read_advertise(value: &Value<'_>) -> Option<RouterAdvertisement> {
    let section = value.table(&schema::ADVERTISE, "{ interval = \"600s\" }")?;
    let time = |key: &str, range, default: u64| {
        section.value(key).and_then(|value| value.duration(range)).unwrap_or(Duration::from_secs(default))
    };
    let interval = time("interval", bounds::ADVERTISE_INTERVAL, 600);
    // RFC 4861 section 6.2.1: 0, or at least the interval; three of them by default.
    let lifetime = time("lifetime", bounds::ADVERTISE_LIFETIME, (3 * interval.as_secs()).min(9000));
    if !lifetime.is_zero()
        && lifetime < interval
        && let Some(value) = section.value("lifetime")
    {
        value.wrong(
            "hosts would forget the router before it speaks again",
            "make `lifetime` at least as long as `interval`, or \"0s\" for no default router",
        );
    }
    let prefixes = section.value("prefixes").and_then(|value| {
        let elements = value.list(MAX_ADVERTISED, "[\"2001:db8:1::/64\"]")?;
        Some(elements.iter().filter_map(read_prefix).collect())
    });
    let (valid, preferred) =
        (time("valid", bounds::PREFIX_LIFETIME, 86_400), time("preferred", bounds::PREFIX_LIFETIME, 14_400));
    if preferred > valid
        && let Some(value) = section.value("preferred").or_else(|| section.value("valid"))
    {
        value.wrong(
            "an address cannot be preferred for longer than it is valid",
            "make `preferred` at most `valid`",
        );
    }
    Some(RouterAdvertisement {
        interval,
        lifetime,
        prefixes,
        valid,
        preferred,
        mtu: section
            .value("mtu")
            .and_then(|value| value.integer(i64::from(MIN_MTU_IPV6)..=i64::from(MAX_MTU)))
            .and_then(|mtu| u16::try_from(mtu).ok()),
        dns: section.value("dns").map(|value| read_ipv6(&value, MAX_ADVERTISED)).unwrap_or_default(),
        managed: section.boolean("managed", false),
        other: section.boolean("other", false),
    })
}

fn read_prefix(value: &Value<'_>) -> Option<Ipv6Net> {
    match addresses::read_prefix(value)? {
        IpNet::V6(net) if !net.addr().is_unicast_link_local() && !net.addr().is_multicast() => Some(net),
        _ => {
            value.wrong("hosts cannot have addresses in it", "name a global or unique local IPv6 prefix");
            None
        }
    }
}
