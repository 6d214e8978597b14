//! UDP (RFC 768): ports, a length and a checksum.
//!
//! ```text
//!    0               1               2               3
//!   | source port                   | destination port              |  0
//!   | length (header and data)      | checksum                      |  4
//! ```
//!
//! The checksum covers the pseudo-header. Over IPv4 a field of 0 says that none was made; over IPv6 that is not
//! allowed (RFC 8200 section 8.1).

use super::BufferTooSmall;
use crate::DropReason;
use crate::checksum::{Sum, sum};
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field is, in bytes from the start of the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// What is wrong with a UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header, or than its length says.
    Truncated,
    /// The length is below the header's. (0 would be a jumbogram's, RFC 2675, not spoken here.)
    BadLength,
}

impl From<Error> for DropReason {
    fn from(_: Error) -> DropReason {
        DropReason::TransportMalformed
    }
}

/// The UDP header, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Where answers go; 0 when none are wanted.
    pub source_port: U16,
    /// Which program shall have it.
    pub destination_port: U16,
    /// Bytes of header and data.
    pub length: U16,
    /// 0 when none was made.
    pub checksum: U16,
}

impl Header {
    /// Checks a received datagram. `bytes` begin at the header; `available` is how many bytes the IP packet has
    /// from there on, over all segments. RFC 1122 section 4.1 allows IP to bring more than the length says.
    #[inline]
    pub fn receive(bytes: &[u8], available: usize) -> Result<&Header, Error> {
        let (header, _) = Header::parse(bytes)?;
        let length = usize::from(header.length.get());
        if length < HEADER_LEN {
            return Err(Error::BadLength);
        }
        if length > available {
            return Err(Error::Truncated);
        }
        Ok(header)
    }

    /// The header at the front of `bytes`, and the bytes behind it. Only the length of `bytes` is checked.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Header, &[u8]), Error> {
        Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// As [`Header::parse`], for changing it in place.
    #[inline]
    pub fn parse_mut(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), Error> {
        Header::mut_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// A header without a checksum; `None` when the length does not fit 16 bits.
    pub const fn new(source_port: u16, destination_port: u16, payload_len: usize) -> Option<Header> {
        if payload_len > u16::MAX as usize - HEADER_LEN {
            return None;
        }
        Some(Header {
            source_port: U16::new(source_port),
            destination_port: U16::new(destination_port),
            length: U16::new((HEADER_LEN + payload_len) as u16),
            checksum: U16::ZERO,
        })
    }

    /// Writes the header at the front of `bytes` and gives the bytes behind it.
    #[inline]
    pub fn emit(self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        let (header, rest) = Header::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *header = self;
        Ok(rest)
    }

    /// True when the sender made a checksum.
    #[inline]
    pub const fn has_checksum(&self) -> bool {
        self.checksum.get() != 0
    }
}

/// Sets the checksum of a datagram that lies in one piece: `datagram` is header and data, `pseudo` the sum of
/// the pseudo-header. Does nothing to fewer bytes than a header.
pub fn fill_checksum(datagram: &mut [u8], pseudo: Sum) {
    if let Ok((header, _)) = Header::parse_mut(datagram) {
        header.checksum = U16::ZERO;
        let checksum = pseudo.plus(sum(datagram)).checksum_nonzero();
        if let Ok((header, _)) = Header::parse_mut(datagram) {
            header.checksum.set(checksum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::pseudo_ipv4;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    const CAPTURE: [u8; 12] = [0x9c, 0x40, 0x00, 0x35, 0x00, 0x0b, 0x12, 0x34, b'a', b'b', b'c', 0];

    #[test]
    fn a_captured_header_is_read_field_by_field() {
        let header = Header::receive(&CAPTURE, CAPTURE.len()).unwrap();
        assert_eq!((header.source_port.get(), header.destination_port.get()), (40000, 53));
        assert_eq!(header.length.get(), 11);
        assert_eq!(header.checksum.get(), 0x1234);
        assert!(header.has_checksum());
    }

    #[test]
    fn truncations_and_bad_lengths_are_found() {
        for length in 0..11 {
            assert_eq!(Header::receive(&CAPTURE[..length], length), Err(Error::Truncated));
        }
        assert!(Header::receive(&CAPTURE[..8], 11).is_ok(), "the data may be in another segment");
        let mut bytes = CAPTURE;
        bytes[5] = 7;
        assert_eq!(Header::receive(&bytes, 12), Err(Error::BadLength));
        bytes[5] = 0;
        assert_eq!(Header::receive(&bytes, 12), Err(Error::BadLength));
        assert_eq!(Header::new(1, 2, 65527).unwrap().length.get(), 65535);
        assert_eq!(Header::new(1, 2, 65528), None);
    }

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let mut datagram = [0u8; 10];
        Header::new(0, 0, 2).unwrap().emit(&mut datagram).unwrap();
        let pseudo = pseudo_ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, 17, 10);
        let rest = 0xffff - pseudo.plus(sum(&datagram)).fold();
        datagram[8..].copy_from_slice(&rest.to_be_bytes());
        fill_checksum(&mut datagram, pseudo);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
        assert!(pseudo.plus(sum(&datagram)).is_valid());
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_received_and_valid(
            source in any::<u16>(), destination in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..100),
            s in any::<u32>(), d in any::<u32>(),
        ) {
            let header = Header::new(source, destination, data.len()).unwrap();
            let mut bytes = vec![0; 8 + data.len()];
            header.emit(&mut bytes).unwrap().copy_from_slice(&data);
            let pseudo = pseudo_ipv4(Ipv4Addr::from_bits(s), Ipv4Addr::from_bits(d), 17, bytes.len() as u16);
            fill_checksum(&mut bytes, pseudo);
            prop_assert!(pseudo.plus(sum(&bytes)).is_valid());
            let received = Header::receive(&bytes, bytes.len()).unwrap();
            prop_assert!(received.has_checksum());
            prop_assert_eq!(Header { checksum: U16::ZERO, ..*received }, header);
        }
    }
}
