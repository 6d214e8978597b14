//! Ethernet II: the 14 bytes in front of every packet (IEEE 802.3 clause 3, RFC 894, RFC 2464).
//!
//! ```text
//!   |0     destination     |6       source       |12 type|14 payload ...
//! ```
//!
//! Values of the type field below 1536 are lengths (802.3 with LLC), which IP never uses on Ethernet.

use super::BufferTooSmall;
use crate::{DropReason, MacAddr};
use core::fmt;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;

/// What an Ethernet frame carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// An 802.1Q tag follows.
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// An 802.1ad service tag follows.
    pub const SERVICE_VLAN: EtherType = EtherType(0x88a8);
    /// LLDP (IEEE 802.1AB).
    pub const LLDP: EtherType = EtherType(0x88cc);

    /// True when the field is the length of an 802.3 frame, not a type.
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why the bytes are no Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than a header.
    Truncated,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::Truncated => DropReason::EthernetTooShort,
        }
    }
}

/// The Ethernet header, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The station or group that shall hear it.
    pub destination: [u8; 6],
    /// The station that sent it.
    pub source: [u8; 6],
    /// What follows; see [`Header::ether_type`].
    pub ether_type: U16,
}

impl Header {
    /// A header.
    #[inline]
    pub const fn new(destination: MacAddr, source: MacAddr, ether_type: EtherType) -> Header {
        Header {
            destination: destination.0,
            source: source.0,
            ether_type: U16::from_bytes(ether_type.0.to_be_bytes()),
        }
    }

    /// The header at the front of `bytes`, and the bytes behind it.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Header, &[u8]), Error> {
        Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// As [`Header::parse`], for changing it in place.
    #[inline]
    pub fn parse_mut(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), Error> {
        Header::mut_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// Writes the header at the front of `bytes` and gives the bytes behind it.
    #[inline]
    pub fn emit(self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        let (header, rest) = Header::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *header = self;
        Ok(rest)
    }

    /// The header's bytes, ready to be kept and written in one store: the rewrite of an adjacency.
    #[inline]
    pub const fn to_bytes(self) -> [u8; HEADER_LEN] {
        zerocopy::transmute!(self)
    }

    /// The destination address.
    #[inline]
    pub const fn destination(&self) -> MacAddr {
        MacAddr(self.destination)
    }

    /// The source address.
    #[inline]
    pub const fn source(&self) -> MacAddr {
        MacAddr(self.source)
    }

    /// What follows the header.
    #[inline]
    pub const fn ether_type(&self) -> EtherType {
        EtherType(self.ether_type.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: [u8; 16] =
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0xac, 0x11, 0x00, 0x02, 0x08, 0x06, 0xaa, 0xbb];

    #[test]
    fn a_captured_header_is_read_field_by_field() {
        let (header, rest) = Header::parse(&CAPTURE).unwrap();
        assert_eq!(header.destination(), MacAddr::BROADCAST);
        assert_eq!(header.source(), MacAddr([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]));
        assert_eq!(header.ether_type(), EtherType::ARP);
        assert_eq!(rest, [0xaa, 0xbb]);
    }

    #[test]
    fn every_truncation_is_an_error_for_reading_and_writing() {
        let header = *Header::parse(&CAPTURE).unwrap().0;
        for length in 0..HEADER_LEN {
            assert_eq!(Header::parse(&CAPTURE[..length]).unwrap_err(), Error::Truncated);
            assert_eq!(header.emit(&mut vec![0; length]).unwrap_err(), BufferTooSmall);
        }
    }

    #[test]
    fn what_is_emitted_is_the_capture() {
        let header = Header::new(MacAddr::BROADCAST, MacAddr([2, 0x42, 0xac, 0x11, 0, 2]), EtherType::ARP);
        let mut bytes = [0; 16];
        header.emit(&mut bytes).unwrap().copy_from_slice(&[0xaa, 0xbb]);
        assert_eq!(bytes, CAPTURE);
        assert_eq!(header.to_bytes(), CAPTURE[..14]);
    }

    #[test]
    fn types_begin_at_1536() {
        assert!(EtherType(0x05ff).is_length());
        assert!(!EtherType(0x0600).is_length());
        assert_eq!(EtherType::IPV6.to_string(), "0x86dd");
    }
}
