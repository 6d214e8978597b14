//! IPv6 (RFC 8200): the fixed header and its checks. What may stand between it and the upper layer is in
//! [`super::ipv6_extension`].
//!
//! ```text
//!    0               1               2               3
//!   |version| traffic class | flow label                            |  0
//!   | payload length                | next header   | hop limit     |  4
//!   | source (16 bytes) ...                                         |  8
//!   | destination (16 bytes) ...                                    | 24
//! ```
//!
//! There is no checksum: the upper layers' covers the addresses (section 8.1). Jumbograms (RFC 2675) are not
//! spoken: a payload length of 0 means that nothing follows.

use super::{BufferTooSmall, IpProtocol};
use crate::{DropReason, checksum};
use core::net::Ipv6Addr;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Where the next-header field is, in bytes from the start of the header.
pub const NEXT_HEADER_OFFSET: usize = 6;

/// What is wrong with an IPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header, or than its payload length says.
    Truncated,
    /// The version is not 6.
    BadVersion,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::Truncated => DropReason::Ipv6Truncated,
            Error::BadVersion => DropReason::Ipv6BadHeader,
        }
    }
}

/// The IPv6 header, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Bytes behind this header, extension headers included.
    pub payload_length: U16,
    /// What follows this header; see [`Header::next_header`].
    pub next_header: u8,
    /// Hops that it may still take.
    pub hop_limit: u8,
    /// See [`Header::source`].
    pub source: [u8; 16],
    /// See [`Header::destination`].
    pub destination: [u8; 16],
}

impl Header {
    /// Checks a received packet. `bytes` begin at the header; `packet_len` is the length of the packet from
    /// there on, over all segments of a chained frame. Link padding is allowed.
    #[inline]
    pub fn receive(bytes: &[u8], packet_len: usize) -> Result<&Header, Error> {
        let (header, _) = Header::parse(bytes)?;
        if header.version() != 6 {
            return Err(Error::BadVersion);
        }
        if header.packet_len() > packet_len {
            return Err(Error::Truncated);
        }
        Ok(header)
    }

    /// The header at the front of `bytes`, and the bytes behind it. Only the length is checked: for packets
    /// of our own and for the quoted packet in an ICMPv6 error, which may be cut short.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Header, &[u8]), Error> {
        Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// As [`Header::parse`], for changing it in place.
    #[inline]
    pub fn parse_mut(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), Error> {
        Header::mut_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// A header with traffic class and flow label 0. `payload_len` in bytes; `None` when it does not fit 16 bits.
    pub const fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: IpProtocol,
        hop_limit: u8,
        payload_len: usize,
    ) -> Option<Header> {
        if payload_len > u16::MAX as usize {
            return None;
        }
        Some(Header {
            version_class_flow: U32::new(6 << 28),
            payload_length: U16::new(payload_len as u16),
            next_header: next_header.0,
            hop_limit,
            source: source.octets(),
            destination: destination.octets(),
        })
    }

    /// Writes the header at the front of `bytes` and gives the bytes behind it.
    #[inline]
    pub fn emit(self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        let (header, rest) = Header::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *header = self;
        Ok(rest)
    }

    /// 6, once checked.
    #[inline]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// Traffic class: code point (RFC 2474) in the high six bits, congestion notification (RFC 3168) in the
    /// low two.
    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// Flow label, 20 bits (RFC 6437).
    #[inline]
    pub const fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0xf_ffff
    }

    /// Sets traffic class and the low 20 bits of flow label.
    #[inline]
    pub fn set_class_and_flow(&mut self, traffic_class: u8, flow_label: u32) {
        self.version_class_flow.set(6 << 28 | u32::from(traffic_class) << 20 | flow_label & 0xf_ffff);
    }

    /// Takes one hop off. The caller has made sure that the hop limit is not 0.
    #[inline]
    pub fn decrement_hop_limit(&mut self) {
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn packet_len(&self) -> usize {
        HEADER_LEN + self.payload_length.get() as usize
    }

    /// What follows the fixed header: an extension header or the upper layer.
    #[inline]
    pub const fn next_header(&self) -> IpProtocol {
        IpProtocol(self.next_header)
    }

    /// The source address.
    #[inline]
    pub const fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.source)
    }

    /// The destination address.
    #[inline]
    pub const fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.destination)
    }

    /// The sum of the pseudo-header for an upper layer that begins `upper_offset` bytes from the start of this
    /// header, when no routing header has segments left (then the last of those is the destination).
    #[inline]
    pub const fn pseudo_header(&self, upper: IpProtocol, upper_offset: usize) -> checksum::Sum {
        let length = self.packet_len().saturating_sub(upper_offset) as u32;
        checksum::pseudo_ipv6(&self.source(), &self.destination(), upper.0, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[rustfmt::skip]
    const CAPTURE: [u8; 44] = [
        0x6b, 0x8a, 0xbc, 0xde, 0x00, 0x04, 0x3a, 0xff,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x17,
        1, 2, 3, 4,
    ];

    #[test]
    fn a_captured_header_is_read_field_by_field() {
        let header = Header::receive(&CAPTURE, CAPTURE.len()).unwrap();
        assert_eq!(header.version(), 6);
        assert_eq!(header.traffic_class(), 0xb8);
        assert_eq!(header.flow_label(), 0xabcde);
        assert_eq!(header.payload_length.get(), 4);
        assert_eq!(header.packet_len(), 44);
        assert_eq!(header.next_header(), IpProtocol::ICMPV6);
        assert_eq!(header.hop_limit, 255);
        assert_eq!(header.source(), "fe80::211:22ff:fe33:4455".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.destination(), "ff02::1:ff00:17".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn every_truncation_and_a_wrong_version_are_found() {
        for length in 0..CAPTURE.len() {
            assert_eq!(Header::receive(&CAPTURE[..length], length), Err(Error::Truncated));
        }
        assert!(
            Header::receive(&CAPTURE[..40], 44).is_ok(),
            "a chain's first segment need hold only the header"
        );
        let mut wrong = CAPTURE;
        wrong[0] = 0x4b;
        assert_eq!(Header::receive(&wrong, 44), Err(Error::BadVersion));
    }

    #[test]
    fn a_payload_too_long_for_the_field_is_refused() {
        let make = |len| Header::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, IpProtocol::UDP, 1, len);
        assert_eq!(make(65535).unwrap().payload_length.get(), 65535);
        assert_eq!(make(65536), None);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_received(
            s in any::<u128>(), d in any::<u128>(), next in any::<u8>(), hops in 1u8.., payload in 0usize..3000,
            class in any::<u8>(), flow in 0u32..1 << 20,
        ) {
            let (s, d) = (Ipv6Addr::from_bits(s), Ipv6Addr::from_bits(d));
            let mut header = Header::new(s, d, IpProtocol(next), hops, payload).unwrap();
            header.set_class_and_flow(class, flow);
            let mut bytes = [0; 42];
            prop_assert_eq!(header.emit(&mut bytes).unwrap().len(), 2);
            let received = Header::receive(&bytes, 40 + payload).unwrap();
            prop_assert_eq!(received, &header);
            prop_assert_eq!((received.source(), received.destination()), (s, d));
            prop_assert_eq!((received.traffic_class(), received.flow_label()), (class, flow));
            let (changed, _) = Header::parse_mut(&mut bytes).unwrap();
            changed.decrement_hop_limit();
            prop_assert_eq!(Header::receive(&bytes, 40 + payload).unwrap().hop_limit, hops - 1);
        }
    }
}
