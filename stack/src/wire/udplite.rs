//! UDP-Lite (RFC 3828): ports, how much of the datagram the checksum covers, and that checksum.
//!
//! ```text
//!    0               1               2               3
//!   | source port                   | destination port              |  0
//!   | checksum coverage             | checksum                      |  4
//! ```
//!
//! Coverage is counted in bytes from the start of this header; 0 stands for all of the datagram, which ends where the
//! IP packet does. The checksum is made over the pseudo-header, whose length is that of header and data as IP tells it
//! (section 3.2), and over what is covered. There is always one: 0 is never sent.

use super::BufferTooSmall;
use crate::DropReason;
use crate::checksum::{Sum, sum};
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field is, in bytes from the start of the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// What is wrong with a UDP-Lite header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header.
    Truncated,
    /// The coverage ends within the header (1 to 7), or beyond the datagram.
    BadCoverage,
    /// The checksum is 0: none was made.
    NoChecksum,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::Truncated | Error::BadCoverage => DropReason::TransportMalformed,
            Error::NoChecksum => DropReason::TransportBadChecksum,
        }
    }
}

/// The UDP-Lite header, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Where answers go.
    pub source_port: U16,
    /// Which program shall have it.
    pub destination_port: U16,
    /// Bytes that the checksum covers, from the start of this header; 0 for all.
    pub coverage: U16,
    /// Never 0.
    pub checksum: U16,
}

impl Header {
    /// Checks a received datagram. `bytes` begin at the header; `available` is how many bytes the IP packet has from there
    /// on, over all segments: that is the datagram's length. Gives how many of them the checksum covers: 8 or more.
    ///
    /// # Errors
    /// What RFC 3828 section 3.1 has a receiver discard.
    #[inline]
    pub fn receive(bytes: &[u8], available: usize) -> Result<(&Header, usize), Error> {
        let (header, _) = Header::parse(bytes)?;
        let covered = match usize::from(header.coverage.get()) {
            _ if available < HEADER_LEN => return Err(Error::Truncated),
            0 => available,
            covered if covered < HEADER_LEN || covered > available => return Err(Error::BadCoverage),
            covered => covered,
        };
        if header.checksum.get() == 0 {
            return Err(Error::NoChecksum);
        }
        Ok((header, covered))
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

    /// A header without a checksum yet. `coverage` in bytes as the field has it: 0, or 8 and more.
    pub const fn new(source_port: u16, destination_port: u16, coverage: u16) -> Header {
        Header {
            source_port: U16::new(source_port),
            destination_port: U16::new(destination_port),
            coverage: U16::new(coverage),
            checksum: U16::ZERO,
        }
    }

    /// Writes the header at the front of `bytes` and gives the bytes behind it.
    #[inline]
    pub fn emit(self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        let (header, rest) = Header::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *header = self;
        Ok(rest)
    }
}

/// Sets the checksum of a datagram that lies in one piece: `datagram` is header and data, `pseudo` the sum of the
/// pseudo-header with the length of both. Does nothing to fewer bytes than a header, or than its coverage says.
pub fn fill_checksum(datagram: &mut [u8], pseudo: Sum) {
    let len = datagram.len();
    let Ok((header, _)) = Header::parse_mut(datagram) else { return };
    let covered = match usize::from(header.coverage.get()) {
        0 => len,
        covered => covered,
    };
    header.checksum = U16::ZERO;
    let Some(part) = datagram.get(..covered) else { return };
    let checksum = pseudo.plus(sum(part)).checksum_nonzero();
    if let Ok((header, _)) = Header::parse_mut(datagram) {
        header.checksum.set(checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::pseudo_ipv4;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    const UDPLITE: u8 = 136;

    /// What Linux 6.18 sent from 127.0.0.1 to itself: "abcdef" with a coverage of 10.
    const CAPTURE: [u8; 14] =
        [0xc0, 0x00, 0x03, 0xe8, 0x00, 0x0a, 0xdc, 0x11, b'a', b'b', b'c', b'd', b'e', b'f'];

    #[test]
    fn a_captured_header_is_read_field_by_field() {
        let (header, covered) = Header::receive(&CAPTURE, CAPTURE.len()).unwrap();
        assert_eq!((header.source_port.get(), header.destination_port.get()), (49152, 1000));
        assert_eq!((header.coverage.get(), header.checksum.get(), covered), (10, 0xdc11, 10));
    }

    #[test]
    fn checksums_are_those_that_linux_makes() {
        let pseudo = pseudo_ipv4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, UDPLITE, 14);
        for (coverage, checksum) in [(0, 0x1351), (8, 0x3d76), (10, 0xdc11), (14, 0x1343)] {
            let mut datagram = CAPTURE;
            Header::new(49152, 1000, coverage).emit(&mut datagram).unwrap();
            fill_checksum(&mut datagram, pseudo);
            assert_eq!(Header::parse(&datagram).unwrap().0.checksum.get(), checksum, "{coverage}");
        }
    }

    #[test]
    fn coverage_is_all_or_the_header_at_least_and_the_datagram_at_most() {
        let covered = |coverage: u16| {
            let mut bytes = CAPTURE;
            bytes[4..6].copy_from_slice(&coverage.to_be_bytes());
            Header::receive(&bytes, bytes.len()).map(|(_, covered)| covered)
        };
        assert_eq!((covered(0), covered(8), covered(14)), (Ok(14), Ok(8), Ok(14)));
        for coverage in (1..8).chain([15, 16, 0xffff]) {
            assert_eq!(covered(coverage), Err(Error::BadCoverage), "{coverage}");
        }
    }

    #[test]
    fn short_headers_and_zero_checksums_are_found() {
        for length in 0..8 {
            assert_eq!(Header::receive(&CAPTURE[..length], length), Err(Error::Truncated));
        }
        assert!(Header::receive(&CAPTURE[..8], 14).is_ok(), "the data may be in another segment");
        let mut bytes = CAPTURE;
        bytes[6..8].fill(0);
        assert_eq!(Header::receive(&bytes, 14), Err(Error::NoChecksum));
    }

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let mut datagram = [0u8; 12];
        Header::new(0, 0, 10).emit(&mut datagram).unwrap();
        let pseudo = pseudo_ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, UDPLITE, 12);
        let rest = 0xffff - pseudo.plus(sum(&datagram[..10])).fold();
        datagram[8..10].copy_from_slice(&rest.to_be_bytes());
        fill_checksum(&mut datagram, pseudo);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn what_is_not_covered_may_change_and_what_is_covered_may_not(
            data in prop::collection::vec(any::<u8>(), 1..100), coverage in 8usize..120, at in 0usize..108, bit in 0u8..8,
            s in any::<u32>(), d in any::<u32>(),
        ) {
            let len = HEADER_LEN + data.len();
            let coverage = if coverage > len { 0 } else { coverage };
            let mut bytes = vec![0; len];
            Header::new(7, 9, coverage as u16).emit(&mut bytes).unwrap().copy_from_slice(&data);
            let pseudo = pseudo_ipv4(Ipv4Addr::from_bits(s), Ipv4Addr::from_bits(d), UDPLITE, len as u16);
            fill_checksum(&mut bytes, pseudo);
            let (_, covered) = Header::receive(&bytes, len).unwrap();
            prop_assert!(pseudo.plus(sum(&bytes[..covered])).is_valid());
            let at = at % len;
            bytes[at] ^= 1 << bit;
            // A coverage that changed covers other bytes: not asked here.
            prop_assume!(!(4..6).contains(&at));
            prop_assert_eq!(pseudo.plus(sum(&bytes[..covered])).is_valid(), at >= covered);
        }
    }
}
