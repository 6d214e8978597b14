//! Stateless address autoconfiguration (RFC 4862, RFC 7217): what a host makes of what routers say.
//!
//! ```text
//!   worker: advertisement ── Notice ──> control thread: Autoconf ── Change ──> routes, and every worker's interfaces
//! ```
//!
//! Addresses and routes belong to all workers, so this machine is the control thread's: it is told what was heard and what time it
//! is, and says what changes. An address is made of the prefix and of a hash of the prefix, the port's name and a secret
//! of this machine (RFC 7217): the same whenever we are here, another one elsewhere, and nothing of the card in it. It is
//! checked for duplicates like any other; a duplicate is followed by the next one of its series.
//!
//! Bounds: routers, prefixes and addresses of a port ([`crate::limits`]); what comes beyond them is passed over, so that a
//! flood of advertisements costs its own packets only.

use crate::limits::{AUTOCONFIGURED_ADDRESSES, AUTOCONFIGURED_ROUTERS, MAX_ADVERTISED, MIN_MTU_IPV6};
use crate::port::PortId;
use crate::time::Instant;
use crate::wire::ndp::{Options, Prefix, RouterFields};
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use hmac::{Hmac, KeyInit, Mac};
use ipnet::Ipv6Net;
use sha1::Sha1;

/// RFC 4862 section 5.5.3 (e): what nobody authenticated may not shorten a lifetime below this.
const TWO_HOURS: Duration = Duration::from_secs(7200);

/// RFC 7217 section 6: IDGEN_RETRIES.
const RETRIES: u8 = 3;

/// An advertisement, as far as a host cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Where.
    pub port: PortId,
    /// Who said it.
    pub router: Ipv6Addr,
    /// Seconds as a default router.
    pub lifetime: u16,
    /// The MTU of the link.
    pub mtu: Option<u32>,
    /// The first of its prefixes.
    pub prefixes: ArrayVec<Prefix, MAX_ADVERTISED>,
}

impl Heard {
    pub(crate) fn new(port: PortId, router: Ipv6Addr, fields: RouterFields, options: &Options<'_>) -> Heard {
        let prefixes = options.prefixes().take(MAX_ADVERTISED).collect();
        Heard { port, router, lifetime: fields.lifetime, mtu: options.mtu(), prefixes }
    }
}

/// What a worker tells the control thread.
#[allow(clippy::large_enum_variant)] // few of them, in place: a worker allocates nothing
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A router spoke.
    Router(Heard),
    /// An address of ours is somebody else's.
    Duplicate(PortId, IpAddr),
    /// An address was checked, and is ours.
    Adopted(PortId, IpAddr),
}

/// What is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The port has this address from now on.
    Add(PortId, Ipv6Net),
    /// It has it no longer.
    Remove(PortId, Ipv6Net),
    /// It should, or should not, begin conversations.
    Deprecate(PortId, Ipv6Addr, bool),
    /// The prefix is on the link of the port, or no longer.
    OnLink(PortId, Ipv6Net, bool),
    /// The way out: by this router, or by none that we heard of.
    Default(Option<(PortId, Ipv6Addr)>),
    /// The MTU of the port's link.
    Mtu(PortId, u16),
}

#[derive(Debug)]
struct Router {
    port: PortId,
    address: Ipv6Addr,
    until: Instant,
}

#[derive(Debug)]
struct OnLink {
    port: PortId,
    net: Ipv6Net,
    until: Instant,
}

#[derive(Debug)]
struct Address {
    port: PortId,
    net: Ipv6Net,
    tries: u8,
    preferred: Instant,
    valid: Instant,
    deprecated: bool,
}

/// A port that is configured so.
#[derive(Debug)]
struct Port {
    id: PortId,
    name: String,
    /// Its own MTU, which an advertisement cannot exceed.
    mtu: u16,
    said: u16,
}

/// The machine, for all ports that are configured so.
#[derive(Debug)]
pub struct Autoconf {
    secret: [u8; 32],
    ports: Vec<Port>,
    routers: Vec<Router>,
    on_link: Vec<OnLink>,
    addresses: Vec<Address>,
    default: Option<(PortId, Ipv6Addr)>,
}

/// The end of a lifetime; all ones for ever.
fn until(now: Instant, seconds: u32) -> Instant {
    if seconds == u32::MAX { Instant::NEVER } else { now + Duration::from_secs(seconds.into()) }
}

impl Autoconf {
    /// `secret`: of this machine, and the same whenever it starts. `ports`: number, name and MTU.
    pub fn new(secret: [u8; 32], ports: impl IntoIterator<Item = (PortId, String, u16)>) -> Autoconf {
        let ports = ports.into_iter().map(|(id, name, mtu)| Port { id, name, mtu, said: mtu }).collect();
        let (routers, on_link, addresses) = (Vec::new(), Vec::new(), Vec::new());
        Autoconf { secret, ports, routers, on_link, addresses, default: None }
    }

    /// True when no port is configured so: nothing will ever change.
    pub fn is_idle(&self) -> bool {
        self.ports.is_empty()
    }

    /// A worker said something.
    pub fn hear(&mut self, notice: &Notice, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        match notice {
            Notice::Router(heard) => self.hear_router(heard, now, &mut changes),
            Notice::Duplicate(port, IpAddr::V6(address)) => self.replace(*port, *address, &mut changes),
            Notice::Duplicate(_, IpAddr::V4(_)) | Notice::Adopted(..) => {}
        }
        changes
    }

    fn hear_router(&mut self, heard: &Heard, now: Instant, changes: &mut Vec<Change>) {
        let Heard { port, router, lifetime, mtu, prefixes } = heard;
        let Some(known) = self.ports.iter_mut().find(|one| one.id == *port) else { return };
        // RFC 4861 section 6.3.4: between 1280 and what the link has.
        let mtu = mtu
            .and_then(|mtu| u16::try_from(mtu).ok())
            .filter(|mtu| (MIN_MTU_IPV6..=known.mtu).contains(mtu));
        if let Some(mtu) = mtu.filter(|mtu| *mtu != known.said) {
            known.said = mtu;
            changes.push(Change::Mtu(*port, mtu));
        }
        let lasts = now + Duration::from_secs(u64::from(*lifetime));
        let is_it = |one: &Router| one.port == *port && one.address == *router;
        let room = self.routers.len() < self.ports.len() * AUTOCONFIGURED_ROUTERS;
        match self.routers.iter_mut().find(|one| is_it(one)) {
            Some(one) => one.until = lasts,
            None if *lifetime > 0 && room => {
                self.routers.push(Router { port: *port, address: *router, until: lasts });
            }
            None => {}
        }
        for prefix in prefixes {
            self.hear_prefix(*port, prefix, now, changes);
        }
        self.settle(now, changes);
    }

    fn hear_prefix(&mut self, port: PortId, prefix: &Prefix, now: Instant, changes: &mut Vec<Change>) {
        let Ok(net) = Ipv6Net::new(prefix.prefix, prefix.length).map(|net| net.trunc()) else { return };
        if net.addr().is_unicast_link_local() || net.addr().is_multicast() || net.prefix_len() == 0 {
            return;
        }
        let valid = until(now, prefix.valid_lifetime);
        let most = self.ports.len() * AUTOCONFIGURED_ADDRESSES;
        if prefix.on_link {
            let room = self.on_link.len() < most;
            let known = self.on_link.iter_mut().find(|one| one.port == port && one.net == net);
            match known {
                Some(one) => one.until = valid,
                None if prefix.valid_lifetime > 0 && room => {
                    self.on_link.push(OnLink { port, net, until: valid });
                    changes.push(Change::OnLink(port, net, true));
                }
                None => {}
            }
        }
        // RFC 4862 section 5.5.3 (c) and (d): identifiers have 64 bits (RFC 2464 section 4).
        if !prefix.autonomous || prefix.preferred_lifetime > prefix.valid_lifetime || net.prefix_len() != 64 {
            return;
        }
        let preferred = until(now, prefix.preferred_lifetime);
        let room = self.addresses.len() < most;
        match self.addresses.iter_mut().find(|one| one.port == port && one.net.trunc() == net) {
            Some(one) => {
                one.preferred = preferred;
                // (e): longer, or long enough, or not shorter than two hours.
                if valid > now + TWO_HOURS || valid > one.valid {
                    one.valid = valid;
                } else if one.valid > now + TWO_HOURS {
                    one.valid = now + TWO_HOURS;
                }
            }
            None if prefix.valid_lifetime > 0 && room => {
                let net = self.make(port, net, 0);
                self.addresses.push(Address { port, net, tries: 0, preferred, valid, deprecated: false });
                changes.push(Change::Add(port, net));
            }
            None => {}
        }
    }

    /// The address of a series in a prefix.
    fn make(&self, port: PortId, net: Ipv6Net, tries: u8) -> Ipv6Net {
        let name = self.ports.iter().find(|one| one.id == port).map_or("", |one| one.name.as_str());
        let identifier = identifier(&self.secret, net.addr(), name, tries);
        let address = Ipv6Addr::from_bits(net.addr().to_bits() >> 64 << 64 | u128::from(identifier));
        Ipv6Net::new(address, 64).unwrap_or(net)
    }

    /// An address turned out to be a duplicate: the next of its series, if there are more tries.
    fn replace(&mut self, port: PortId, address: Ipv6Addr, changes: &mut Vec<Change>) {
        let place = self.addresses.iter().position(|one| one.port == port && one.net.addr() == address);
        let Some(place) = place else { return };
        let old = self.addresses.swap_remove(place);
        changes.push(Change::Remove(port, old.net));
        if old.tries < RETRIES {
            let net = self.make(port, old.net.trunc(), old.tries + 1);
            self.addresses.push(Address { net, tries: old.tries + 1, ..old });
            changes.push(Change::Add(port, net));
        }
    }

    /// Time has passed.
    pub fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        self.settle(now, &mut changes);
        changes
    }

    fn settle(&mut self, now: Instant, changes: &mut Vec<Change>) {
        for one in &mut self.addresses {
            let deprecated = one.preferred <= now;
            if deprecated != one.deprecated {
                one.deprecated = deprecated;
                changes.push(Change::Deprecate(one.port, one.net.addr(), deprecated));
            }
        }
        for one in self.addresses.extract_if(.., |one| one.valid <= now) {
            changes.push(Change::Remove(one.port, one.net));
        }
        for one in self.on_link.extract_if(.., |one| one.until <= now) {
            changes.push(Change::OnLink(one.port, one.net, false));
        }
        self.routers.retain(|one| one.until > now);
        // The one that is used stays as long as it lasts; RFC 4861 section 6.3.6 leaves the choice to us.
        let stays = |(port, address): &(PortId, Ipv6Addr)| {
            self.routers.iter().any(|one| (one.port, one.address) == (*port, *address))
        };
        let best = self.default.filter(stays).or(self.routers.first().map(|one| (one.port, one.address)));
        if best != self.default {
            self.default = best;
            changes.push(Change::Default(best));
        }
    }
}

/// RFC 7217 section 5: F(Prefix, Net_Iface, DAD_Counter, secret_key), F being HMAC-SHA1, its first 64 bits; the next of the
/// series when they are reserved (RFC 5453).
fn identifier(secret: &[u8; 32], prefix: Ipv6Addr, name: &str, tries: u8) -> u64 {
    let mut counter = tries;
    loop {
        let mut identifier = 0;
        if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) {
            mac.update(&prefix.octets()[..8]);
            mac.update(name.as_bytes());
            mac.update(&[counter]);
            let hash = mac.finalize().into_bytes();
            identifier = hash.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first));
        }
        let reserved = identifier == 0
            || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
            || identifier >> 24 == 0x02_00_5e_ff_fe;
        if !reserved || counter == u8::MAX {
            return identifier.max(1);
        }
        counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: PortId = PortId::FIRST;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000_000 + seconds * 1000)
    }

    fn machine() -> Autoconf {
        Autoconf::new([7; 32], [(LAN, "lan".to_owned(), 1500)])
    }

    fn prefix(text: &str, valid: u32, preferred: u32) -> Prefix {
        let net: Ipv6Net = text.parse().unwrap();
        Prefix {
            prefix: net.addr(),
            length: net.prefix_len(),
            on_link: true,
            autonomous: true,
            valid_lifetime: valid,
            preferred_lifetime: preferred,
        }
    }

    fn says(router: &str, lifetime: u16, prefixes: &[Prefix]) -> Notice {
        let router = router.parse().unwrap();
        let prefixes = prefixes.iter().copied().collect();
        Notice::Router(Heard { port: LAN, router, lifetime, mtu: None, prefixes })
    }

    fn added(changes: &[Change]) -> Vec<Ipv6Net> {
        changes
            .iter()
            .filter_map(|one| if let Change::Add(_, net) = one { Some(*net) } else { None })
            .collect()
    }

    #[test]
    fn an_advertisement_gives_an_address_its_network_and_a_way_out() {
        let mut machine = machine();
        let changes = machine.hear(&says("fe80::1", 1800, &[prefix("2001:db8:1::/64", 7200, 3600)]), at(0));
        let [net] = added(&changes)[..] else { panic!("{changes:?}") };
        let network: Ipv6Net = "2001:db8:1::/64".parse().unwrap();
        assert!(network.contains(&net.addr()) && net.addr() != network.addr());
        assert!(changes.contains(&Change::OnLink(LAN, network, true)));
        assert!(changes.contains(&Change::Default(Some((LAN, "fe80::1".parse().unwrap())))));
        // Said again, nothing changes; and the next start has the same address.
        assert_eq!(machine.hear(&says("fe80::1", 1800, &[prefix("2001:db8:1::/64", 7200, 3600)]), at(1)), []);
        let again =
            self::machine().hear(&says("fe80::1", 0, &[prefix("2001:db8:1::/64", 7200, 3600)]), at(9));
        assert_eq!(added(&again), [net]);
        // Another network, another identifier (RFC 7217).
        let other =
            self::machine().hear(&says("fe80::1", 0, &[prefix("2001:db8:2::/64", 7200, 3600)]), at(9));
        assert_ne!(added(&other)[0].addr().to_bits() as u64, net.addr().to_bits() as u64);
    }

    #[test]
    fn lifetimes_end_and_may_not_be_cut_short_by_anybody() {
        let mut machine = machine();
        let first = machine.hear(&says("fe80::1", 100, &[prefix("2001:db8:1::/64", 86_400, 50)]), at(0));
        let net = added(&first)[0];
        assert_eq!(machine.expire(at(50)), [Change::Deprecate(LAN, net.addr(), true)]);
        assert_eq!(machine.expire(at(100)), [Change::Default(None)]);
        // One minute is less than two hours: two hours it is (RFC 4862 section 5.5.3).
        let cut = machine.hear(&says("fe80::1", 0, &[prefix("2001:db8:1::/64", 60, 60)]), at(200));
        assert_eq!(cut, [Change::Deprecate(LAN, net.addr(), false)]);
        assert_eq!(machine.expire(at(199 + 7200)).len(), 2, "deprecated, and no longer on the link");
        assert_eq!(machine.expire(at(200 + 7200)), [Change::Remove(LAN, net)]);
    }

    #[test]
    fn a_duplicate_is_followed_by_the_next_of_its_series_three_times() {
        let mut machine = machine();
        let mut net =
            added(&machine.hear(&says("fe80::1", 0, &[prefix("2001:db8:1::/64", 7200, 3600)]), at(0)))[0];
        for _ in 0..RETRIES {
            let changes = machine.hear(&Notice::Duplicate(LAN, net.addr().into()), at(1));
            assert_eq!(changes[0], Change::Remove(LAN, net));
            assert_ne!(added(&changes)[0], net);
            net = added(&changes)[0];
        }
        assert_eq!(
            machine.hear(&Notice::Duplicate(LAN, net.addr().into()), at(1)),
            [Change::Remove(LAN, net)]
        );
    }

    #[test]
    fn what_makes_no_sense_and_what_is_too_much_is_passed_over() {
        let mut machine = machine();
        let strange = [
            prefix("fe80::/64", 7200, 3600),
            prefix("2001:db8::/48", 7200, 3600),
            prefix("2001:db8:7::/64", 60, 61),
        ];
        assert_eq!(added(&machine.hear(&says("fe80::1", 0, &strange), at(0))), []);
        for number in 0..1000 {
            let prefix = prefix(&format!("2001:db8:{number:x}::/64"), 7200, 3600);
            machine.hear(&says(&format!("fe80::{number:x}"), 1800, &[prefix]), at(1));
        }
        assert_eq!(machine.addresses.len(), AUTOCONFIGURED_ADDRESSES);
        assert!(
            machine.on_link.len() <= AUTOCONFIGURED_ADDRESSES
                && machine.routers.len() == AUTOCONFIGURED_ROUTERS
        );
    }

    #[test]
    fn the_mtu_of_the_link_is_taken_within_bounds_and_the_next_router_takes_over() {
        let mut machine = machine();
        let mtu = |router: &str, mtu| {
            let Notice::Router(heard) = says(router, 100, &[]) else { unreachable!() };
            Notice::Router(Heard { mtu: Some(mtu), ..heard })
        };
        assert!(machine.hear(&mtu("fe80::1", 1400), at(0)).contains(&Change::Mtu(LAN, 1400)));
        for wrong in [1279, 1501, 70_000] {
            assert_eq!(machine.hear(&mtu("fe80::1", wrong), at(0)), []);
        }
        assert_eq!(
            machine.hear(&says("fe80::2", 1800, &[]), at(1)),
            [],
            "the first is used as long as it lasts"
        );
        assert_eq!(machine.expire(at(100)), [Change::Default(Some((LAN, "fe80::2".parse().unwrap())))]);
    }
}
