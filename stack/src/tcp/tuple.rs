//! The four names of a connection (RFC 9293 section 3.3.1), seen from here: our address and port, the peer's
//! address and port. IPv4 addresses are kept mapped into IPv6 (RFC 4291 section 2.5.5.2), so that one type of
//! 36 bytes serves both families; no mapped address is ever on a wire.

use crate::port::PortId;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Our end and the peer's. Ports are plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Our address.
    pub local: Ipv6Addr,
    /// The peer's address.
    pub remote: Ipv6Addr,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
}

/// What stands in front of the 32 bits of a mapped IPv4 address (RFC 4291 section 2.5.5.2).
const MAPPED: u128 = 0xffff;

/// An address as it is kept in tables.
#[inline]
pub const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// fe80::/10, told by the two bytes that say it: each segment asks.
#[inline]
const fn is_link_local(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 0xfe && second & 0xc0 == 0x80
}

/// Where a link-local address carries its link: bytes 2 and 3, as the number of the port and one.
const LINK: u128 = 0xffff << 96;

#[inline]
const fn scoped(address: Ipv6Addr, port: PortId) -> Ipv6Addr {
    if !is_link_local(address) {
        return address;
    }
    Ipv6Addr::from_bits(address.to_bits() & !LINK | (port.index() as u128 + 1) << 96)
}

#[inline]
const fn unscoped(address: Ipv6Addr) -> Ipv6Addr {
    if !is_link_local(address) {
        return address;
    }
    Ipv6Addr::from_bits(address.to_bits() & !LINK)
}

impl Tuple {
    /// The connection between (address, port) here and there.
    #[inline]
    pub const fn new(local: (IpAddr, u16), remote: (IpAddr, u16)) -> Tuple {
        Tuple { local: mapped(local.0), remote: mapped(remote.0), local_port: local.1, remote_port: remote.1 }
    }

    /// The same on the link of `port`: link-local addresses (RFC 4291 section 2.5.6), which mean something on one
    /// link only, carry it from here on in bytes that are zero on the wire, so that no two links share a name.
    #[must_use]
    #[inline]
    pub const fn scoped(mut self, port: PortId) -> Tuple {
        self.local = scoped(self.local, port);
        self.remote = scoped(self.remote, port);
        self
    }

    /// Our address in its own family.
    #[inline]
    pub const fn local_ip(&self) -> IpAddr {
        unscoped(self.local).to_canonical()
    }

    /// The peer's address in its own family.
    #[inline]
    pub const fn remote_ip(&self) -> IpAddr {
        unscoped(self.remote).to_canonical()
    }

    /// True for a connection over IPv4.
    #[inline]
    pub const fn is_ipv4(&self) -> bool {
        self.remote.to_bits() >> 32 == MAPPED
    }

    /// Both addresses, ours first, of a connection over IPv4.
    #[inline]
    pub(crate) const fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let (local, remote) = (self.local.to_bits(), self.remote.to_bits());
        if local >> 32 != MAPPED || remote >> 32 != MAPPED {
            return None;
        }
        Some((Ipv4Addr::from_bits(local as u32), Ipv4Addr::from_bits(remote as u32)))
    }

    /// Everything in words, for keyed functions.
    #[inline]
    pub(crate) const fn words(&self) -> [u64; 5] {
        let (local, remote) = (self.local.to_bits(), self.remote.to_bits());
        let ports = (self.local_port as u64) << 16 | self.remote_port as u64;
        [(local >> 64) as u64, local as u64, (remote >> 64) as u64, remote as u64, ports]
    }

    /// The addresses alone in words.
    #[inline]
    pub(crate) const fn address_words(&self) -> [u64; 4] {
        let [a, b, c, d, _] = self.words();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_fit_in_36_bytes_and_come_back_as_they_were() {
        assert_eq!(size_of::<Tuple>(), 36);
        for (local, remote, ipv4) in [("192.0.2.1", "10.0.0.9", true), ("2001:db8::1", "fe80::2", false)] {
            let (local, remote): (IpAddr, IpAddr) = (local.parse().unwrap(), remote.parse().unwrap());
            let tuple = Tuple::new((local, 80), (remote, 50000));
            assert_eq!((tuple.local_ip(), tuple.remote_ip(), tuple.is_ipv4()), (local, remote, ipv4));
            assert_ne!(tuple.words(), Tuple::new((local, 81), (remote, 50000)).words());
            assert_ne!(tuple.words(), Tuple::new((local, 80), (remote, 50001)).words());
        }
    }
}
