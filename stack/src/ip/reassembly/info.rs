//! What waits in reassembly, for an operator (`flumen show reassembly`).

use super::Reassembly;
use crate::port::PortId;
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A datagram of which something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramInfo {
    /// Who sent it.
    pub source: IpAddr,
    /// To which of our addresses.
    pub destination: IpAddr,
    /// Its identification; 16 bits of IPv4, 32 of IPv6.
    pub id: u32,
    /// Its protocol, which tells IPv4 datagrams apart; `None` for IPv6, where the first fragment alone says it.
    pub protocol: Option<u8>,
    /// The port that it comes in by, where that tells datagrams apart: link-local addresses.
    pub port: Option<PortId>,
    /// Fragments that are here.
    pub fragments: u32,
    /// Bytes of the payload that are here.
    pub bytes: u32,
    /// Bytes of the whole payload, once the last fragment is here.
    pub total: Option<u32>,
    /// It was given up (an overlap, say), and what is left of it ends too.
    pub given_up: bool,
    /// When it is forgotten.
    pub until: Instant,
}

impl Reassembly {
    /// Every datagram that waits, the oldest of each family first.
    pub fn iter(&self) -> impl Iterator<Item = DatagramInfo> + '_ {
        self.by_age().map(|one| {
            let (key, pieces) = (one.key, one.pieces);
            let [a, b, c, d] = key.addresses;
            let (source, destination): (IpAddr, IpAddr) = if key.ipv6 {
                let address =
                    |high: u64, low: u64| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
                (address(a, b).into(), address(c, d).into())
            } else {
                (Ipv4Addr::from_bits((a >> 32) as u32).into(), Ipv4Addr::from_bits(a as u32).into())
            };
            let link = (key.identity >> 32) as usize;
            DatagramInfo {
                source,
                destination,
                id: if key.ipv6 { key.identity as u32 } else { u32::from(key.identity as u16) },
                protocol: (!key.ipv6).then_some((key.identity >> 16) as u8),
                port: link.checked_sub(1).filter(|_| key.ipv6).and_then(PortId::new),
                fragments: pieces.fragments(),
                bytes: pieces.bytes(),
                total: pieces.total(),
                given_up: one.given_up,
                until: one.deadline,
            }
        })
    }
}
