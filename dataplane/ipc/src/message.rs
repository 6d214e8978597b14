//! What stands in the rings of datagram and raw sockets: records, each a fixed head and the payload behind it, one after the
//! other without padding. And the words for addresses and for entries of the error queue.
//!
//! ```text
//!   received:   head | payload | IP options, as they came | IP options to return         the last two only when there are any
//!   to send:    head | payload | IP options                                              these only when there are any
//! ```
//!
//! Whoever reads a record checks that its length is that of a datagram and lies within what the cursors say; one that does
//! not ends the socket (by the worker) or is an error of the program's own.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An address and port number. All zero: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Address {
    /// 4, 6, or 0 for none.
    pub family: u8,
    /// Must be zero.
    pub reserved: u8,
    /// Port number, host byte order.
    pub port: u16,
    /// Scope of an IPv6 address: the kernel's number of the interface.
    pub scope: u32,
    /// The address, network byte order; of IPv4 the first four bytes.
    pub ip: [u8; 16],
    /// Flow label, host byte order.
    pub flow: u32,
}

impl Address {
    /// No address.
    pub const NONE: Address = Address { family: 0, reserved: 0, port: 0, scope: 0, ip: [0; 16], flow: 0 };

    /// As the standard library has it; `None` for none, or for a family that does not exist.
    pub fn to_std(self) -> Option<SocketAddr> {
        match self.family {
            4 => {
                let [a, b, c, d, ..] = self.ip;
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), self.port))
            }
            6 => {
                let ip = Ipv6Addr::from(self.ip);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, self.port, self.flow, self.scope)))
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        match address {
            SocketAddr::V4(v4) => {
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&v4.ip().octets());
                Address { family: 4, port: v4.port(), ip, ..Address::NONE }
            }
            SocketAddr::V6(v6) => Address {
                family: 6,
                port: v6.port(),
                scope: v6.scope_id(),
                ip: v6.ip().octets(),
                flow: v6.flowinfo(),
                ..Address::NONE
            },
        }
    }
}

/// The head of a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Received {
    /// Bytes of payload behind the head.
    pub len: u16,
    /// Bytes of IP options behind the payload (IP_RECVOPTS).
    pub options: u8,
    /// Bytes of IP options to return behind those (IP_RETOPTS), or [`Received::NOTHING_TO_RETURN`].
    pub returned: u8,
    /// Kernel's number of the interface that it came by.
    pub interface: u32,
    /// Who sent it.
    pub from: Address,
    /// Where it was sent to; the port number is ours.
    pub to: Address,
    /// When it arrived, nanoseconds since 1970.
    pub timestamp: u64,
    /// Datagrams that the socket had lost when this one was taken in (SO_RXQ_OVFL).
    pub drops: u32,
    /// Bytes of each datagram that was joined to this one (UDP_GRO); 0 when it came alone.
    pub segment: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
}

impl Received {
    /// [`Received::returned`]: the options are such that none can be made of them.
    pub const NOTHING_TO_RETURN: u8 = u8::MAX;

    /// Bytes of the record behind the head: payload, options, options to return.
    pub fn behind(&self) -> [usize; 3] {
        let returned = if self.returned == Self::NOTHING_TO_RETURN { 0 } else { self.returned };
        [self.len.into(), self.options.into(), returned.into()]
    }
}

/// The head of a datagram to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ToSend {
    /// Bytes of payload behind the head.
    pub len: u32,
    /// [`ToSend::HAS_TTL`] and its kin.
    pub flags: u32,
    /// Where to; none for the connected peer.
    pub to: Address,
    /// The address to send from (IP_PKTINFO); none for the one that the route gives.
    pub source: Address,
    /// Kernel's number of the interface to leave by (IP_PKTINFO); 0 for any.
    pub interface: u32,
    /// UDP_SEGMENT; 0 for none.
    pub segment: u16,
    /// TTL or hop limit, with [`ToSend::HAS_TTL`].
    pub ttl: u8,
    /// Type of service or traffic class, with [`ToSend::HAS_TOS`].
    pub tos: u8,
    /// The key of its stamps, with [`ToSend::HAS_STAMP_KEY`].
    pub stamp_key: u32,
    /// Bytes of IP options behind the payload (IP_RETOPTS), with [`ToSend::HAS_OPTIONS`]; at most
    /// [`crate::limits::MAX_IP_OPTIONS`].
    pub options: u32,
}

impl ToSend {
    /// `ttl` counts.
    pub const HAS_TTL: u32 = 1;
    /// `tos` counts.
    pub const HAS_TOS: u32 = 2;
    /// More of the same datagram follows (MSG_MORE).
    pub const MORE: u32 = 4;
    /// Somebody waits in [`crate::Op::Send`] for what becomes of it: errors go there and nowhere else.
    pub const WAITED_FOR: u32 = 8;
    /// `segment` counts, also when it is 0.
    pub const HAS_SEGMENT: u32 = 16;
    /// [`ToSend::STAMP_SCHEDULED`] and [`ToSend::STAMP_SENT`] count, instead of the socket's option (SO_TIMESTAMPING).
    pub const HAS_STAMPS: u32 = 32;
    /// Stamped when it is handed to its port.
    pub const STAMP_SCHEDULED: u32 = 64;
    /// Stamped when it leaves.
    pub const STAMP_SENT: u32 = 128;
    /// `stamp_key` counts (SCM_TS_OPT_ID).
    pub const HAS_STAMP_KEY: u32 = 256;
    /// The options behind the payload count, instead of the socket's, also when there are none.
    pub const HAS_OPTIONS: u32 = 512;
}

/// An entry of the error queue (`sock_extended_err`), in front of the quoted payload: an error, or a stamp of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ErrorRecord {
    /// `ee_errno`.
    pub errno: u32,
    /// `ee_info`.
    pub info: u32,
    /// `ee_data`.
    pub data: u32,
    /// `ee_origin`.
    pub origin: u8,
    /// `ee_type`.
    pub kind: u8,
    /// `ee_code`.
    pub code: u8,
    /// 1: what is behind this are the figures of a connection (SCM_TIMESTAMPING_OPT_STATS), not a quoted payload.
    pub figures: u8,
    /// Who sent the ICMP message (SO_EE_OFFENDER), or the packet that a stamp is of; none for our own.
    pub offender: Address,
    /// Where the datagram went.
    pub to: Address,
    /// Kernel's number of the interface.
    pub interface: u32,
    /// Bytes of quoted payload behind this; of a stream's stamp, whose packet is not quoted, those that its segment carried.
    pub len: u32,
    /// When, nanoseconds since 1970.
    pub timestamp: u64,
}

/// Bytes of the head of a received datagram.
pub const RECEIVED_HEAD: usize = size_of::<Received>();
/// Bytes of the head of a datagram to be sent.
pub const TO_SEND_HEAD: usize = size_of::<ToSend>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for text in ["10.0.0.1:80", "[fd00::1]:443", "[fe80::1%7]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(address).to_std(), Some(address));
        }
        assert_eq!(Address::NONE.to_std(), None);
        assert_eq!(Address { family: 9, ..Address::NONE }.to_std(), None);
    }
}
