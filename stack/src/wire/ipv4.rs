//! IPv4 (RFC 791): the header, its checks and its options.
//!
//! ```text
//!    0               1               2               3
//!   |version| IHL   | DSCP    |ECN  | total length                  |  0
//!   | identification                |0 D M| fragment offset / 8     |  4
//!   | TTL           | protocol      | header checksum               |  8
//!   | source                                                        | 12
//!   | destination                                                   | 16
//!   | options, to 4 × IHL bytes (at most 40) ...                    | 20
//! ```
//!
//! Also RFC 2474 and 3168 (the byte that was type of service), RFC 6864 (identification), RFC 1122 section
//! 3.2.1 and RFC 1812 section 5.2.2 (what must be checked before anything is believed): [`Header::receive`]
//! does those checks in the order of RFC 1812, and is the only door for received packets.

use super::{BufferTooSmall, IpProtocol};
use crate::{DropReason, checksum};
use core::net::Ipv4Addr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header (IHL 15).
pub const MAX_HEADER_LEN: usize = 60;
/// Version 4 and header length 20 in the first byte.
pub const VERSION_IHL: u8 = 0x45;

/// Flag: do not fragment. In [`Header::flags_fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Flag: more fragments follow. In [`Header::flags_fragment`].
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset, in units of 8 bytes. In [`Header::flags_fragment`].
pub const FRAGMENT_OFFSET: u16 = 0x1fff;

/// What is wrong with an IPv4 header. Always the sender's fault, or the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header, or than its total length says.
    Truncated,
    /// The version is not 4.
    BadVersion,
    /// The header length is below 20 bytes.
    BadHeaderLength,
    /// The total length is below the header length.
    BadTotalLength,
    /// The header checksum is wrong.
    BadChecksum,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::Truncated => DropReason::Ipv4Truncated,
            Error::BadVersion | Error::BadHeaderLength | Error::BadTotalLength => DropReason::Ipv4BadHeader,
            Error::BadChecksum => DropReason::Ipv4BadChecksum,
        }
    }
}

/// The IPv4 header without its options, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version in the high four bits, header length in 4-byte words in the low four.
    pub version_ihl: u8,
    /// Differentiated services code point in the high six bits, congestion notification in the low two.
    pub dscp_ecn: u8,
    /// Bytes of header and payload.
    pub total_length: U16,
    /// Names the datagram that a fragment belongs to.
    pub identification: U16,
    /// [`DONT_FRAGMENT`], [`MORE_FRAGMENTS`] and [`FRAGMENT_OFFSET`].
    pub flags_fragment: U16,
    /// Hops that it may still take.
    pub ttl: u8,
    /// What it carries; see [`Header::protocol`].
    pub protocol: u8,
    /// Makes the one's complement sum of the header 0xffff.
    pub header_checksum: U16,
    /// See [`Header::source`].
    pub source: [u8; 4],
    /// See [`Header::destination`].
    pub destination: [u8; 4],
}

impl Header {
    /// Checks a received packet as RFC 1812 section 5.2.2 says. `bytes` begin at the header and must hold all of
    /// it; `packet_len` is the length of the packet from there on, over all segments of a chained frame.
    ///
    /// Link padding is allowed: the packet may be longer than its total length. That a header without options
    /// is the common case is known to the branch order and to the checksum.
    #[inline]
    pub fn receive(bytes: &[u8], packet_len: usize) -> Result<&Header, Error> {
        let Some((fixed, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(Error::Truncated);
        };
        let header: &Header = zerocopy::transmute_ref!(fixed);
        if header.version_ihl == VERSION_IHL {
            if !checksum::ipv4_header_is_valid(fixed) {
                return Err(Error::BadChecksum);
            }
        } else {
            // RFC 1812 asks for the checksum before the version; only the version says where the header ends.
            header.check_version()?;
            let Some(whole) = bytes.get(..header.header_len()) else {
                return Err(Error::Truncated);
            };
            if !checksum::sum(whole).is_valid() {
                return Err(Error::BadChecksum);
            }
        }
        header.check_total_length(packet_len)?;
        Ok(header)
    }

    /// The fixed header at the front of `bytes`, and the bytes behind it (options first). Only the length is
    /// checked: for packets of our own, and for the quoted packet in an ICMP error, which may be cut short.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Header, &[u8]), Error> {
        Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// As [`Header::parse`], for changing it in place.
    #[inline]
    pub fn parse_mut(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), Error> {
        Header::mut_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// Version and header length.
    #[inline]
    pub const fn check_version(&self) -> Result<(), Error> {
        if self.version_ihl >> 4 != 4 {
            return Err(Error::BadVersion);
        }
        if self.header_len() < HEADER_LEN {
            return Err(Error::BadHeaderLength);
        }
        Ok(())
    }

    /// The total length must hold the header, and the packet must hold the total length.
    #[inline]
    pub const fn check_total_length(&self, packet_len: usize) -> Result<(), Error> {
        let total = self.total_length.get() as usize;
        if total < self.header_len() {
            return Err(Error::BadTotalLength);
        }
        if total > packet_len {
            return Err(Error::Truncated);
        }
        Ok(())
    }

    /// A header without options, with its checksum. `payload_len` in bytes; `None` when it does not fit the
    /// 16-bit total length. Identification 0, DSCP 0 and no flags: change fields, then call
    /// [`Header::fill_checksum`] again.
    pub const fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: IpProtocol,
        ttl: u8,
        payload_len: usize,
    ) -> Option<Header> {
        if payload_len > u16::MAX as usize - HEADER_LEN {
            return None;
        }
        Some(Header {
            version_ihl: VERSION_IHL,
            dscp_ecn: 0,
            total_length: U16::new((HEADER_LEN + payload_len) as u16),
            identification: U16::ZERO,
            flags_fragment: U16::ZERO,
            ttl,
            protocol: protocol.0,
            header_checksum: U16::ZERO,
            source: source.octets(),
            destination: destination.octets(),
        })
    }

    /// Writes the header at the front of `bytes`, its checksum filled, and gives the bytes behind it.
    /// The header must have no options.
    #[inline]
    pub fn emit(mut self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        self.fill_checksum();
        let (header, rest) = Header::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *header = self;
        Ok(rest)
    }

    /// Sets the checksum of a header without options.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.header_checksum = U16::ZERO;
        let bytes: &[u8; HEADER_LEN] = zerocopy::transmute_ref!(&*self);
        let checksum = checksum::sum_ipv4_header(bytes).checksum();
        self.header_checksum.set(checksum);
    }

    /// Takes one hop off the TTL and corrects the checksum (RFC 1624), options or not. The caller has made
    /// sure that the TTL is not 0.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        self.ttl = self.ttl.wrapping_sub(1);
        self.header_checksum.set(checksum::after_ttl_decrement(self.header_checksum.get()));
    }

    /// Bytes of the header with its options: 20 to 60 once checked.
    #[inline]
    pub const fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }

    /// True when options follow the fixed header.
    #[inline]
    pub const fn has_options(&self) -> bool {
        self.version_ihl != VERSION_IHL
    }

    /// Bytes behind the header: the total length less the header's, 0 when that would be negative.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        (self.total_length.get() as usize).saturating_sub(self.header_len())
    }

    /// The source address.
    #[inline]
    pub const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.source)
    }

    /// The destination address.
    #[inline]
    pub const fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.destination)
    }

    /// What the packet carries.
    #[inline]
    pub const fn protocol(&self) -> IpProtocol {
        IpProtocol(self.protocol)
    }

    /// Differentiated services code point, 0 to 63 (RFC 2474).
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.dscp_ecn >> 2
    }

    /// Explicit congestion notification, 0 to 3 (RFC 3168).
    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.dscp_ecn & 3
    }

    /// True when routers must not fragment it.
    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        self.flags_fragment.get() & DONT_FRAGMENT != 0
    }

    /// True when more fragments of its datagram follow behind it.
    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.flags_fragment.get() & MORE_FRAGMENTS != 0
    }

    /// Where in its datagram the payload belongs, in bytes: a multiple of 8, at most 65,528.
    #[inline]
    pub const fn fragment_offset(&self) -> usize {
        (self.flags_fragment.get() & FRAGMENT_OFFSET) as usize * 8
    }

    /// True when it is not a whole datagram.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// The sum of the pseudo-header of UDP or TCP for a whole datagram.
    #[inline]
    pub const fn pseudo_header(&self) -> checksum::Sum {
        checksum::pseudo_ipv4(self.source(), self.destination(), self.protocol, self.payload_len() as u16)
    }

    /// The options of the packet that begins with this header in `bytes`; none when it is cut short.
    #[inline]
    pub fn options<'a>(&self, bytes: &'a [u8]) -> Options<'a> {
        Options { bytes: bytes.get(HEADER_LEN..self.header_len()).unwrap_or(&[]), offset: HEADER_LEN }
    }
}

/// Kinds of options (RFC 791 section 3.1, RFC 2113, RFC 7126). The highest bit is *copied*: the option goes
/// into every fragment.
pub mod option {
    /// Ends the list.
    pub const END: u8 = 0;
    /// One byte of padding.
    pub const NOP: u8 = 1;
    /// Record route.
    pub const RECORD_ROUTE: u8 = 7;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 68;
    /// Commercial IP security option (FIPS 188).
    pub const CIPSO: u8 = 134;
    /// Loose source and record route.
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source and record route.
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;
}

/// One option, other than padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// See [`option`].
    pub kind: u8,
    /// What follows kind and length.
    pub data: &'a [u8],
    /// Where the option begins, in bytes from the start of the header: the pointer of a parameter problem.
    pub offset: usize,
}

impl Ipv4Option<'_> {
    /// True when every fragment carries this option too.
    pub const fn is_copied(&self) -> bool {
        self.kind & 0x80 != 0
    }

    /// True for both kinds of source routing.
    pub const fn is_source_route(&self) -> bool {
        matches!(self.kind, option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE)
    }
}

/// The option list is malformed: a length is missing, below 2, or beyond the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOption {
    /// Where, in bytes from the start of the header: the pointer of a parameter problem.
    pub offset: usize,
}

impl From<BadOption> for DropReason {
    fn from(_: BadOption) -> DropReason {
        DropReason::Ipv4BadOption
    }
}

/// Walks the options; padding is passed over, and the walk ends at the end-of-list option or after an error.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Ipv4Option<'a>, BadOption>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.bytes {
                [] | [option::END, ..] => {
                    self.bytes = &[];
                    return None;
                }
                [option::NOP, ref rest @ ..] => {
                    self.bytes = rest;
                    self.offset += 1;
                }
                [kind, length, ..] if length >= 2 && usize::from(length) <= self.bytes.len() => {
                    let (this, rest) = self.bytes.split_at(usize::from(length));
                    let found = Ipv4Option { kind, data: &this[2..], offset: self.offset };
                    self.bytes = rest;
                    self.offset += this.len();
                    return Some(Ok(found));
                }
                // The length byte is at fault, or missing: RFC 1122 section 3.2.1.8 leaves the pointer to us,
                // and Linux points at the option too.
                _ => {
                    self.bytes = &[];
                    return Some(Err(BadOption { offset: self.offset }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPTURE: [u8; 28] = [
        0x45, 0x02, 0x00, 0x1c, 0x1c, 0x46, 0x60, 0x05, 0x40, 0x11, 0x32, 0x84, 0xac, 0x10, 0x0a, 0x63, 0xac,
        0x10, 0x0a, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8,
    ];

    fn with_options(options: &[u8]) -> Vec<u8> {
        assert_eq!(options.len() % 4, 0);
        let mut bytes = CAPTURE[..20].to_vec();
        bytes.extend(options);
        bytes[0] = 0x40 | (bytes.len() / 4) as u8;
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[10..12].fill(0);
        let checksum = checksum::sum(&bytes).checksum();
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn a_captured_header_is_read_field_by_field() {
        let mut capture = CAPTURE;
        let (header, _) = Header::parse_mut(&mut capture).unwrap();
        header.fill_checksum();
        let header = Header::receive(&capture, capture.len()).unwrap();
        assert_eq!(header.header_len(), 20);
        assert!(!header.has_options());
        assert_eq!((header.dscp(), header.ecn()), (0, 2));
        assert_eq!(header.total_length.get(), 28);
        assert_eq!(header.payload_len(), 8);
        assert_eq!(header.identification.get(), 0x1c46);
        assert!(header.dont_fragment() && header.more_fragments() && header.is_fragment());
        assert_eq!(header.fragment_offset(), 40);
        assert_eq!(header.ttl, 64);
        assert_eq!(header.protocol(), IpProtocol::UDP);
        assert_eq!(header.source(), Ipv4Addr::new(172, 16, 10, 99));
        assert_eq!(header.destination(), Ipv4Addr::new(172, 16, 10, 12));
        assert_eq!(header.options(&capture).next(), None);
    }

    #[test]
    fn each_check_of_rfc_1812_finds_its_fault() {
        let good = with_options(&[]);
        assert!(Header::receive(&good, 20).is_ok());
        for length in 0..20 {
            assert_eq!(Header::receive(&good[..length], length), Err(Error::Truncated));
        }
        let with = |at: usize, value: u8, fix: bool| {
            let mut bytes = good.clone();
            bytes[at] = value;
            if fix {
                bytes[10..12].fill(0);
                let checksum = checksum::sum(&bytes).checksum();
                bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            Header::receive(&bytes, 20).map(|_| ())
        };
        assert_eq!(with(0, 0x65, true), Err(Error::BadVersion));
        assert_eq!(with(0, 0x44, true), Err(Error::BadHeaderLength));
        assert_eq!(with(0, 0x46, true), Err(Error::Truncated));
        assert_eq!(with(3, 19, true), Err(Error::BadTotalLength));
        assert_eq!(with(3, 21, true), Err(Error::Truncated));
        assert_eq!(with(8, 63, false), Err(Error::BadChecksum));
        // A chained frame's first segment need hold only the header.
        let long = [0x45, 0, 5, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let mut long = *Header::parse(&long).unwrap().0;
        long.fill_checksum();
        assert!(Header::receive(long.as_bytes(), 1280).is_ok());
        assert_eq!(Header::receive(long.as_bytes(), 1279), Err(Error::Truncated));
    }

    #[test]
    fn options_are_walked_and_padding_is_passed_over() {
        let bytes = with_options(&[1, 148, 4, 0, 0, 131, 3, 9, 0, 99, 99, 99]);
        let header = Header::receive(&bytes, bytes.len()).unwrap();
        assert!(header.has_options());
        let found: Vec<_> = header.options(&bytes).map(|option| option.unwrap()).collect();
        assert_eq!(found.len(), 2, "what stands behind the end of the list is not read");
        assert_eq!(
            (found[0].kind, found[0].data, found[0].offset),
            (option::ROUTER_ALERT, &[0u8, 0][..], 21)
        );
        assert!(found[0].is_copied() && !found[0].is_source_route());
        assert_eq!((found[1].kind, found[1].data, found[1].offset), (131, &[9u8][..], 25));
        assert!(found[1].is_source_route());
    }

    #[test]
    fn malformed_options_are_found_where_they_begin() {
        for (options, offset) in [
            ([1, 7, 1, 0], 21), // length below 2
            ([1, 1, 7, 3], 22), // beyond the header
            ([1, 1, 1, 7], 23), // no length
            ([7, 0, 0, 0], 20), // length 0 would never end
            ([7, 255, 0, 0], 20),
        ] {
            let bytes = with_options(&options);
            let header = Header::receive(&bytes, bytes.len()).unwrap();
            let mut walk = header.options(&bytes);
            assert_eq!(walk.next(), Some(Err(BadOption { offset })), "{options:?}");
            assert_eq!(walk.next(), None);
        }
    }

    #[test]
    fn a_payload_too_long_for_the_total_length_is_refused() {
        let make = |len| Header::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, IpProtocol::UDP, 1, len);
        assert_eq!(make(65515).unwrap().total_length.get(), 65535);
        assert_eq!(make(65516), None);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_received(
            s in any::<u32>(), d in any::<u32>(), protocol in any::<u8>(), ttl in 1u8.., payload in 0usize..3000,
            id in any::<u16>(), fragment in any::<u16>(), dscp_ecn in any::<u8>(),
        ) {
            let mut header =
                Header::new(Ipv4Addr::from_bits(s), Ipv4Addr::from_bits(d), IpProtocol(protocol), ttl, payload).unwrap();
            header.identification.set(id);
            header.flags_fragment.set(fragment);
            header.dscp_ecn = dscp_ecn;
            let mut bytes = [0; 24];
            prop_assert_eq!(header.emit(&mut bytes).unwrap().len(), 4);
            let received = Header::receive(&bytes, 20 + payload).unwrap();
            header.fill_checksum();
            prop_assert_eq!(received, &header);
            prop_assert_eq!(received.source().to_bits(), s);
            prop_assert_eq!(received.payload_len(), payload);

            let (changed, _) = Header::parse_mut(&mut bytes).unwrap();
            changed.decrement_ttl();
            prop_assert_eq!(Header::receive(&bytes, 20 + payload).unwrap().ttl, ttl - 1);
        }

        #[test]
        fn options_end_whatever_the_bytes(options in prop::collection::vec(any::<u8>(), 40)) {
            let bytes = with_options(&options);
            let header = Header::receive(&bytes, bytes.len()).unwrap();
            let mut end = 20;
            for option in header.options(&bytes).flatten() {
                prop_assert!(option.offset >= end);
                end = option.offset + 2 + option.data.len();
                prop_assert!(end <= 60);
            }
        }
    }
}
