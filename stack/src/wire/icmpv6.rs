//! ICMPv6 (RFC 4443): echo, and the errors about packets. Neighbour discovery is in [`super::ndp`].
//!
//! ```text
//!    0               1               2               3
//!   | type (errors < 128) | code    | checksum                      |  0
//!   | MTU | pointer | identifier, sequence | unused                 |  4
//!   | data, or the packet that caused the error ...                 |  8
//! ```
//!
//! The checksum covers the IPv6 pseudo-header too (section 2.3). RFC 4884 extensions: the length of the quote
//! is in byte 4, in 8-byte words, of destination unreachable and time exceeded.

use super::icmpv4::{Echo, split_quote};
use super::{BufferTooSmall, IpProtocol};
use crate::DropReason;
use crate::checksum::{Sum, pseudo_ipv6, sum};
use core::net::Ipv6Addr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in front of the data or the quoted packet.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field is, in bytes from the start of the message.
pub const CHECKSUM_OFFSET: usize = 2;
/// The longest packet with an error in it: the smallest IPv6 MTU (RFC 4443 section 3.1).
pub const MAX_ERROR_PACKET: usize = crate::limits::MIN_MTU_IPV6 as usize;
/// The most that an error quotes.
pub const MAX_QUOTE: usize = MAX_ERROR_PACKET - super::ipv6::HEADER_LEN - HEADER_LEN;

/// Values of the type field.
pub mod kind {
    /// See [`super::UnreachableCode`].
    pub const DESTINATION_UNREACHABLE: u8 = 1;
    /// Longer than the next link's MTU.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Hop limit or reassembly time ran out.
    pub const TIME_EXCEEDED: u8 = 3;
    /// A header field is wrong.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Asks for an echo.
    pub const ECHO_REQUEST: u8 = 128;
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation (RFC 4861).
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement (RFC 4861).
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect (RFC 4861).
    pub const REDIRECT: u8 = 137;
}

/// Codes of destination unreachable (section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UnreachableCode {
    /// No route to the destination.
    NoRoute = 0,
    /// A filter forbids it.
    Prohibited = 1,
    /// Beyond the scope of the source address.
    BeyondScope = 2,
    /// The neighbour does not answer.
    Address = 3,
    /// Nobody there listens on the port.
    Port = 4,
    /// The source address failed an ingress or egress policy.
    SourcePolicy = 5,
    /// A route rejects the destination.
    RejectRoute = 6,
}

impl UnreachableCode {
    /// All of them: each at the place of its number.
    pub const ALL: [UnreachableCode; 7] = {
        use UnreachableCode::*;
        [NoRoute, Prohibited, BeyondScope, Address, Port, SourcePolicy, RejectRoute]
    };
}

/// Codes of parameter problem (section 3.4, RFC 7112).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ParameterCode {
    /// A field is wrong.
    HeaderField = 0,
    /// A next header is not known.
    NextHeader = 1,
    /// An option is not known.
    Option = 2,
    /// The first fragment does not hold the whole header chain.
    IncompleteChain = 3,
}

impl ParameterCode {
    /// All of them: each at the place of its number.
    pub const ALL: [ParameterCode; 4] = {
        use ParameterCode::*;
        [HeaderField, NextHeader, Option, IncompleteChain]
    };
}

/// What an error message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Destination unreachable.
    Unreachable(UnreachableCode),
    /// Packet too big.
    PacketTooBig {
        /// MTU of the next hop in bytes.
        mtu: u32,
    },
    /// The hop limit ran out in transit (code 0).
    HopLimitExceeded,
    /// The reassembly time ran out (code 1).
    ReassemblyTimeExceeded,
    /// Parameter problem.
    Parameter {
        /// What kind.
        code: ParameterCode,
        /// Which byte of the packet; may lie beyond what is quoted.
        pointer: u32,
    },
}

/// A message, its fixed part read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Answer this with the same identifier, sequence and data.
    EchoRequest(Echo<'a>),
    /// The answer to one of ours.
    EchoReply(Echo<'a>),
    /// An error about a packet that we (or somebody in our name) sent.
    Error {
        /// What it says.
        problem: Problem,
        /// The beginning of that packet, from its IPv6 header on.
        quoted: &'a [u8],
        /// RFC 4884 extensions, from their header on; often empty.
        extensions: &'a [u8],
    },
    /// Neighbour discovery: give the message to [`super::ndp::receive`].
    NeighbourDiscovery,
    /// A type or code that this file does not know: unknown errors go to the upper layer, unknown information
    /// is discarded silently (section 2.4).
    Unknown {
        /// The type field.
        kind: u8,
        /// The code field.
        code: u8,
    },
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer than eight bytes.
    Truncated,
    /// The checksum is wrong.
    BadChecksum,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::Truncated => DropReason::IcmpTruncated,
            Error::BadChecksum => DropReason::IcmpBadChecksum,
        }
    }
}

/// The first eight bytes of a message, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// See [`kind`].
    pub kind: u8,
    /// Subdivides the type.
    pub code: u8,
    /// Over pseudo-header and message.
    pub checksum: U16,
    /// Identifier and sequence, pointer, or MTU.
    pub rest: [u8; 4],
}

impl Header {
    /// The header at the front of `bytes`, and the bytes behind it.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Header, &[u8]), Error> {
        Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// As [`Header::parse`], for changing it in place: an echo request becomes the reply.
    #[inline]
    pub fn parse_mut(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), Error> {
        Header::mut_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// The header of an error, without checksum: for building it in front of the packet in place.
    pub const fn error(problem: Problem) -> Header {
        let (kind, code, rest) = match problem {
            Problem::Unreachable(code) => (kind::DESTINATION_UNREACHABLE, code as u8, 0),
            Problem::PacketTooBig { mtu } => (kind::PACKET_TOO_BIG, 0, mtu),
            Problem::HopLimitExceeded => (kind::TIME_EXCEEDED, 0, 0),
            Problem::ReassemblyTimeExceeded => (kind::TIME_EXCEEDED, 1, 0),
            Problem::Parameter { code, pointer } => (kind::PARAMETER_PROBLEM, code as u8, pointer),
        };
        Header { kind, code, checksum: U16::ZERO, rest: rest.to_be_bytes() }
    }

    /// The header of an echo request or reply, without checksum.
    pub const fn echo(is_reply: bool, identifier: u16, sequence: u16) -> Header {
        let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
        let kind = if is_reply { kind::ECHO_REPLY } else { kind::ECHO_REQUEST };
        Header { kind, code: 0, checksum: U16::ZERO, rest: [a, b, c, d] }
    }

    /// Writes the header at the front of `bytes` and gives the bytes behind it.
    pub fn emit(self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        let (header, rest) = Header::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *header = self;
        Ok(rest)
    }

    /// True for errors and redirects, which must never cause another error (section 2.4 e).
    pub const fn is_error(&self) -> bool {
        self.kind < 128 || self.kind == kind::REDIRECT
    }
}

/// The sum of the pseudo-header of a message of `length` bytes.
#[inline]
pub const fn pseudo_header(source: &Ipv6Addr, destination: &Ipv6Addr, length: usize) -> Sum {
    pseudo_ipv6(source, destination, IpProtocol::ICMPV6.0, length as u32)
}

/// Checks a message that lies in one piece (`bytes` end where it ends) and reads it.
pub fn receive<'a>(source: &Ipv6Addr, destination: &Ipv6Addr, bytes: &'a [u8]) -> Result<Message<'a>, Error> {
    let message = parse(bytes)?;
    let pseudo = pseudo_header(source, destination, bytes.len());
    if pseudo.plus(sum(bytes)).is_valid() { Ok(message) } else { Err(Error::BadChecksum) }
}

/// Reads a message whose checksum is known to be right (a chained one), or does not matter.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, Error> {
    let (header, data) = Header::parse(bytes)?;
    let [a, b, c, d] = header.rest;
    let echo = Echo { identifier: u16::from_be_bytes([a, b]), sequence: u16::from_be_bytes([c, d]), data };
    let word = u32::from_be_bytes(header.rest);
    let unknown = Message::Unknown { kind: header.kind, code: header.code };
    let problem = match (header.kind, header.code) {
        // Codes of echo and packet too big are to be ignored by receivers (sections 3.2, 4.1, 4.2).
        (kind::ECHO_REQUEST, _) => return Ok(Message::EchoRequest(echo)),
        (kind::ECHO_REPLY, _) => return Ok(Message::EchoReply(echo)),
        (kind::ROUTER_SOLICITATION..=kind::REDIRECT, _) => return Ok(Message::NeighbourDiscovery),
        (kind::PACKET_TOO_BIG, _) => Problem::PacketTooBig { mtu: word },
        (kind::DESTINATION_UNREACHABLE, code) => match UnreachableCode::ALL.get(usize::from(code)) {
            Some(code) => Problem::Unreachable(*code),
            None => return Ok(unknown),
        },
        (kind::TIME_EXCEEDED, 0) => Problem::HopLimitExceeded,
        (kind::TIME_EXCEEDED, 1) => Problem::ReassemblyTimeExceeded,
        (kind::PARAMETER_PROBLEM, code) => match ParameterCode::ALL.get(usize::from(code)) {
            Some(code) => Problem::Parameter { code: *code, pointer: word },
            None => return Ok(unknown),
        },
        _ => return Ok(unknown),
    };
    let length = match header.kind {
        kind::DESTINATION_UNREACHABLE | kind::TIME_EXCEEDED => usize::from(a) * 8,
        _ => 0,
    };
    let (quoted, extensions) = split_quote(data, length);
    Ok(Message::Error { problem, quoted, extensions })
}

/// Writes an error about `packet` (from its IPv6 header on) at the front of `bytes`: as much of it as fits the
/// smallest MTU, checksum filled for an IPv6 header with these addresses. Gives the length of the message.
pub fn emit_error(
    bytes: &mut [u8],
    source: &Ipv6Addr,
    destination: &Ipv6Addr,
    problem: Problem,
    packet: &[u8],
) -> Result<usize, BufferTooSmall> {
    let quoted = packet.get(..MAX_QUOTE).unwrap_or(packet);
    let length = HEADER_LEN + quoted.len();
    let message = bytes.get_mut(..length).ok_or(BufferTooSmall)?;
    Header::error(problem).emit(message)?.copy_from_slice(quoted);
    fill_checksum(message, pseudo_header(source, destination, length));
    Ok(length)
}

/// Sets the checksum of a message that lies in one piece. Does nothing to fewer than four bytes.
pub fn fill_checksum(message: &mut [u8], pseudo: Sum) {
    if let Some([_, _, high, low]) = message.first_chunk_mut() {
        (*high, *low) = (0, 0);
    }
    let [first, second] = pseudo.plus(sum(message)).checksum().to_be_bytes();
    if let Some([_, _, high, low]) = message.first_chunk_mut() {
        (*high, *low) = (first, second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    fn echo() -> Vec<u8> {
        let mut bytes = vec![0; 12];
        Header::echo(false, 0x1234, 7).emit(&mut bytes).unwrap().copy_from_slice(b"ping");
        fill_checksum(&mut bytes, pseudo_header(&A, &B, 12));
        bytes
    }

    #[test]
    fn an_echo_request_is_read_field_by_field_and_bound_to_its_addresses() {
        let expected = Echo { identifier: 0x1234, sequence: 7, data: b"ping" };
        assert_eq!(receive(&A, &B, &echo()), Ok(Message::EchoRequest(expected)));
        assert_eq!(echo()[..2], [128, 0]);
        let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
        assert_eq!(receive(&A, &other, &echo()), Err(Error::BadChecksum));
        for length in 0..HEADER_LEN {
            assert_eq!(receive(&A, &B, &echo()[..length]), Err(Error::Truncated));
        }
    }

    #[test]
    fn every_problem_is_emitted_and_read_back_with_its_quote() {
        let mut problems: Vec<_> = UnreachableCode::ALL.map(Problem::Unreachable).to_vec();
        problems.extend(ParameterCode::ALL.map(|code| Problem::Parameter { code, pointer: 0x01020304 }));
        problems.extend([
            Problem::PacketTooBig { mtu: 1400 },
            Problem::HopLimitExceeded,
            Problem::ReassemblyTimeExceeded,
        ]);
        for problem in problems {
            let mut bytes = [0xee; 100];
            let length = emit_error(&mut bytes, &A, &B, problem, &[0x60; 48]).unwrap();
            let expected = Message::Error { problem, quoted: &[0x60; 48], extensions: &[] };
            assert_eq!(receive(&A, &B, &bytes[..length]), Ok(expected));
            assert!(Header::parse(&bytes).unwrap().0.is_error());
        }
        assert!(UnreachableCode::ALL.iter().enumerate().all(|(place, code)| *code as usize == place));
        assert!(ParameterCode::ALL.iter().enumerate().all(|(place, code)| *code as usize == place));
    }

    #[test]
    fn an_error_fits_the_smallest_mtu() {
        let mut bytes = [0; 2000];
        let emit = |bytes: &mut [u8], length| {
            emit_error(bytes, &A, &B, Problem::HopLimitExceeded, &vec![0x60; length])
        };
        assert_eq!(emit(&mut bytes, MAX_QUOTE), Ok(1240));
        assert_eq!(emit(&mut bytes, MAX_QUOTE + 1), Ok(1240));
        assert_eq!(emit(&mut bytes[..1239], 1500), Err(BufferTooSmall));
    }

    #[test]
    fn extensions_are_split_from_the_quote_only_where_rfc_4884_says() {
        let mut bytes = [0u8; 8 + 128 + 16];
        let split = |bytes: &[u8]| match parse(bytes).unwrap() {
            Message::Error { quoted, extensions, .. } => (quoted.len(), extensions.len()),
            other => panic!("{other:?}"),
        };
        for (kind, length, expected) in [
            (1, 0, (144, 0)),
            (1, 16, (128, 16)),
            (3, 16, (128, 16)),
            (3, 15, (144, 0)),
            (1, 19, (144, 0)),
            (2, 16, (144, 0)),
            (4, 16, (144, 0)),
        ] {
            bytes[0] = kind;
            bytes[4] = length;
            assert_eq!(split(&bytes), expected, "type {kind}, length {length}");
        }
    }

    #[test]
    fn unknown_types_and_codes_are_named_and_discovery_is_handed_on() {
        for (kind, code) in [(1, 7), (3, 2), (4, 4), (0, 0), (127, 0), (138, 0), (255, 1)] {
            assert_eq!(parse(&[kind, code, 0, 0, 0, 0, 0, 0]), Ok(Message::Unknown { kind, code }));
        }
        for kind in 133..=137 {
            assert_eq!(parse(&[kind, 0, 0, 0, 0, 0, 0, 0]), Ok(Message::NeighbourDiscovery));
        }
    }

    proptest! {
        #[test]
        fn reading_never_fails_beyond_eight_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse(&bytes).is_ok(), bytes.len() >= HEADER_LEN);
        }
    }
}
