//! A full routing table: a million IPv4 and a quarter of a million IPv6 prefixes, with lengths as often as
//! the Internet's tables have them, spread at random (which is harder on caches than the real thing, where
//! neighbouring prefixes are announced together).

use crate::random::Random;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use flumen_stack::PortId;
use flumen_stack::route::{Change, Rib, Route, Target};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeSet;

/// IPv4 prefixes of the full table.
pub const ROUTES_IPV4: usize = 1_000_000;
/// IPv6 prefixes of the full table.
pub const ROUTES_IPV6: usize = 250_000;
/// Routers of each family that the prefixes lead to, all on one link.
pub const GATEWAYS: u8 = 64;

/// Prefix lengths of the Internet's IPv4 table, in thousandths.
const LENS4: &[(u8, u32)] = &[
    (8, 1),
    (11, 1),
    (12, 1),
    (13, 1),
    (14, 2),
    (15, 2),
    (16, 14),
    (17, 8),
    (18, 14),
    (19, 25),
    (20, 44),
    (21, 52),
    (22, 112),
    (23, 101),
    (24, 620),
    (28, 1),
    (32, 1),
];

/// Prefix lengths of the Internet's IPv6 table, in thousandths.
const LENS6: &[(u8, u32)] = &[
    (20, 1),
    (24, 2),
    (28, 4),
    (29, 25),
    (30, 5),
    (31, 2),
    (32, 110),
    (33, 8),
    (34, 7),
    (35, 6),
    (36, 45),
    (38, 10),
    (40, 70),
    (42, 15),
    (44, 90),
    (45, 10),
    (46, 20),
    (47, 20),
    (48, 540),
    (56, 5),
    (64, 5),
];

/// The prefixes, each family in ascending order.
#[derive(Debug)]
pub struct Prefixes {
    /// IPv4.
    pub v4: Vec<Ipv4Net>,
    /// IPv6.
    pub v6: Vec<Ipv6Net>,
}

impl Prefixes {
    /// So many of each family, the same for every call.
    pub fn new(v4: usize, v6: usize) -> Prefixes {
        let mut random = Random::new(0x1234_5678_9abc_def1);
        Prefixes { v4: prefixes4(v4, &mut random), v6: prefixes6(v6, &mut random) }
    }

    /// The full table.
    pub fn full() -> Prefixes {
        Prefixes::new(ROUTES_IPV4, ROUTES_IPV6)
    }

    /// An address in some IPv4 prefix.
    pub fn destination4(&self, random: &mut Random) -> Ipv4Addr {
        let net = self.v4[random.below(self.v4.len())];
        Ipv4Addr::from_bits(net.network().to_bits() | random.draw() as u32 & u32::from(net.hostmask()))
    }

    /// An address in some IPv6 prefix.
    pub fn destination6(&self, random: &mut Random) -> Ipv6Addr {
        let net = self.v6[random.below(self.v6.len())];
        Ipv6Addr::from_bits(net.network().to_bits() | random.wide() & u128::from(net.hostmask()))
    }

    /// Each prefix with the gateway that it leads to.
    pub fn routes(&self) -> impl Iterator<Item = (IpNet, IpAddr)> + '_ {
        let mut random = Random::new(0x0fed_cba9_8765_4321);
        let all4 = self.v4.iter().map(|net| IpNet::V4(*net));
        let all6 = self.v6.iter().map(|net| IpNet::V6(*net));
        all4.chain(all6).map(move |net| {
            let number = random.below(usize::from(GATEWAYS)) as u8;
            (net, if net.addr().is_ipv4() { gateway4(number).into() } else { gateway6(number).into() })
        })
    }

    /// Puts all of them into a table, with gateways on the link of `port`.
    pub fn install(&self, rib: &mut Rib, port: PortId) {
        let mut changes = self.routes().map(|(prefix, via)| {
            let target = Target::Gateway { port, via };
            Change::Add(Route::new(prefix, target))
        });
        // In batches, as a routing daemon would: each batch is one new generation.
        loop {
            let batch: Vec<Change> = changes.by_ref().take(1024).collect();
            if batch.is_empty() {
                return;
            }
            let applied = rib.apply(batch);
            assert_eq!(applied.refused, [], "the table has room for all of them");
        }
    }
}

/// A router on the link 10.0.2.0/24.
pub const fn gateway4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 2 + number)
}

/// A router on the link fd00:2::/64.
pub const fn gateway6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2 + number as u16)
}

/// Unicast space without what no router forwards: 10/8 (the links here) and 127/8.
fn prefixes4(count: usize, random: &mut Random) -> Vec<Ipv4Net> {
    let mut all = BTreeSet::new();
    while all.len() < count {
        let bits = 0x0b00_0000 + random.draw() as u32 % (0xdf00_0000 - 0x0b00_0000);
        if let Ok(net) = Ipv4Net::new(Ipv4Addr::from_bits(bits), random.weighted(LENS4))
            && net.network().octets()[0] != 127
            && net.network().octets()[0] > 10
        {
            all.insert(net.trunc());
        }
    }
    all.into_iter().collect()
}

/// Sites within some 30,000 allocations, as registries give them out.
fn prefixes6(count: usize, random: &mut Random) -> Vec<Ipv6Net> {
    const BLOCKS: [u128; 10] =
        [0x2001, 0x2400, 0x2404, 0x2600, 0x2604, 0x2800, 0x2a00, 0x2a02, 0x2a0a, 0x2c0f];
    let allocations: Vec<u128> = (0..30_000)
        .map(|_| BLOCKS[random.below(BLOCKS.len())] << 112 | u128::from(random.draw() as u16) << 96)
        .collect();
    let mut all = BTreeSet::new();
    while all.len() < count {
        let address = allocations[random.below(allocations.len())] | u128::from(random.draw()) << 32;
        if let Ok(net) = Ipv6Net::new(Ipv6Addr::from_bits(address), random.weighted(LENS6)) {
            all.insert(net.trunc());
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_lies_in_a_prefix_of_the_table() {
        let prefixes = Prefixes::new(2000, 2000);
        assert_eq!((prefixes.v4.len(), prefixes.v6.len()), (2000, 2000));
        let mut random = Random::new(7);
        for _ in 0..500 {
            let four = prefixes.destination4(&mut random);
            assert!(prefixes.v4.iter().any(|net| net.contains(&four)), "{four}");
            let six = prefixes.destination6(&mut random);
            assert!(prefixes.v6.iter().any(|net| net.contains(&six)), "{six}");
        }
    }

    #[test]
    fn the_same_table_comes_again() {
        let (one, two) = (Prefixes::new(500, 500), Prefixes::new(500, 500));
        assert!(one.routes().eq(two.routes()));
    }
}
