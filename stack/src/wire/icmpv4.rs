//! ICMP (RFC 792, RFC 1122 section 3.2.2, RFC 1812 sections 4.3 and 5.2.7): echo, and the errors about packets.
//!
//! ```text
//!    0               1               2               3
//!   | type          | code          | checksum (of the message)     |  0
//!   | identifier, sequence | pointer | gateway | unused, MTU ...     |  4
//!   | data, or the packet that caused the error ...                 |  8
//! ```
//!
//! RFC 4884 lets an error carry extensions behind the quoted packet; then byte 5 holds the length of the quote
//! in 4-byte words, padded to at least 128 bytes. Errors of ours carry none, but received ones are split.

use super::BufferTooSmall;
use crate::DropReason;
use crate::checksum::sum;
use core::net::Ipv4Addr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes in front of the data or the quoted packet.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field is, in bytes from the start of the message.
pub const CHECKSUM_OFFSET: usize = 2;
/// The longest packet with an error in it, IP header included (RFC 1812 section 4.3.2.3): 576 bytes.
pub const MAX_ERROR_PACKET: usize = 576;
/// The most that an error quotes when its IP header has no options.
pub const MAX_QUOTE: usize = MAX_ERROR_PACKET - super::ipv4::HEADER_LEN - HEADER_LEN;
/// The shortest quote in front of extensions (RFC 4884 section 3).
pub const MIN_EXTENDED_QUOTE: usize = 128;

/// Values of the type field.
pub mod kind {
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 0;
    /// See [`super::UnreachableCode`].
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    /// Deprecated (RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// A better first hop.
    pub const REDIRECT: u8 = 5;
    /// Asks for an echo.
    pub const ECHO_REQUEST: u8 = 8;
    /// TTL or reassembly time ran out.
    pub const TIME_EXCEEDED: u8 = 11;
    /// A header field is wrong.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Codes of destination unreachable (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UnreachableCode {
    /// No route to the network.
    Network = 0,
    /// The host does not answer.
    Host = 1,
    /// Nobody there speaks the protocol.
    Protocol = 2,
    /// Nobody there listens on the port.
    Port = 3,
    /// Too long, and must not be fragmented.
    FragmentationNeeded = 4,
    /// The source route cannot be followed.
    SourceRouteFailed = 5,
    /// The network is unknown.
    NetworkUnknown = 6,
    /// The host is unknown.
    HostUnknown = 7,
    /// Obsolete.
    SourceHostIsolated = 8,
    /// The network is administratively prohibited.
    NetworkProhibited = 9,
    /// The host is administratively prohibited.
    HostProhibited = 10,
    /// The network, for this type of service.
    NetworkForService = 11,
    /// The host, for this type of service.
    HostForService = 12,
    /// A filter forbids it (what a prohibit route sends).
    CommunicationProhibited = 13,
    /// The precedence is not permitted.
    HostPrecedenceViolation = 14,
    /// The precedence is below what the network asks for.
    PrecedenceCutoff = 15,
}

impl UnreachableCode {
    /// All of them: each at the place of its number.
    pub const ALL: [UnreachableCode; 16] = {
        use UnreachableCode::*;
        [
            Network,
            Host,
            Protocol,
            Port,
            FragmentationNeeded,
            SourceRouteFailed,
            NetworkUnknown,
            HostUnknown,
            SourceHostIsolated,
            NetworkProhibited,
            HostProhibited,
            NetworkForService,
            HostForService,
            CommunicationProhibited,
            HostPrecedenceViolation,
            PrecedenceCutoff,
        ]
    };
}

/// What an error message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Destination unreachable, other than for length.
    Unreachable(UnreachableCode),
    /// Destination unreachable, fragmentation needed.
    FragmentationNeeded {
        /// MTU of the next hop in bytes (RFC 1191); 0 from routers older than that.
        mtu: u16,
    },
    /// Redirect (type 5).
    Redirect {
        /// 0 network, 1 host, 2 and 3 the same for a type of service.
        code: u8,
        /// The better first hop.
        gateway: Ipv4Addr,
    },
    /// The TTL ran out in transit (code 0).
    TtlExceeded,
    /// The reassembly time ran out (code 1).
    ReassemblyTimeExceeded,
    /// A header field is wrong (code 0).
    ParameterProblem {
        /// Which byte of the packet.
        pointer: u8,
    },
    /// A required option is missing (code 1, RFC 1108).
    RequiredOptionMissing,
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
        /// The beginning of that packet, from its IPv4 header on.
        quoted: &'a [u8],
        /// RFC 4884 extensions, from their header on; often empty.
        extensions: &'a [u8],
    },
    /// A type or code that this file does not know: to be discarded silently (RFC 1122 section 3.2.2).
    Unknown {
        /// The type field.
        kind: u8,
        /// The code field.
        code: u8,
    },
}

/// An echo request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Which ping.
    pub identifier: u16,
    /// Which of its requests.
    pub sequence: u16,
    /// To come back as it is.
    pub data: &'a [u8],
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
    /// Over the whole message.
    pub checksum: U16,
    /// Identifier and sequence, pointer, gateway, or MTU.
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
            Problem::Unreachable(code) => (kind::DESTINATION_UNREACHABLE, code as u8, [0; 4]),
            Problem::FragmentationNeeded { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                (kind::DESTINATION_UNREACHABLE, UnreachableCode::FragmentationNeeded as u8, [0, 0, high, low])
            }
            Problem::Redirect { code, gateway } => (kind::REDIRECT, code, gateway.octets()),
            Problem::TtlExceeded => (kind::TIME_EXCEEDED, 0, [0; 4]),
            Problem::ReassemblyTimeExceeded => (kind::TIME_EXCEEDED, 1, [0; 4]),
            Problem::ParameterProblem { pointer } => (kind::PARAMETER_PROBLEM, 0, [pointer, 0, 0, 0]),
            Problem::RequiredOptionMissing => (kind::PARAMETER_PROBLEM, 1, [0; 4]),
        };
        Header { kind, code, checksum: U16::ZERO, rest }
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

    /// True for the types that report errors, which must never cause another (RFC 1122 section 3.2.2).
    pub const fn is_error(&self) -> bool {
        matches!(
            self.kind,
            kind::DESTINATION_UNREACHABLE
                | kind::SOURCE_QUENCH
                | kind::REDIRECT
                | kind::TIME_EXCEEDED
                | kind::PARAMETER_PROBLEM
        )
    }
}

/// Checks a message that lies in one piece (`bytes` end where it ends) and reads it.
pub fn receive(bytes: &[u8]) -> Result<Message<'_>, Error> {
    let message = parse(bytes)?;
    if sum(bytes).is_valid() { Ok(message) } else { Err(Error::BadChecksum) }
}

/// Reads a message whose checksum is known to be right (a chained one), or does not matter.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, Error> {
    let (header, data) = Header::parse(bytes)?;
    let [a, b, c, d] = header.rest;
    let echo = Echo { identifier: u16::from_be_bytes([a, b]), sequence: u16::from_be_bytes([c, d]), data };
    let problem = match (header.kind, header.code) {
        // RFC 792 gives echo only code 0; like other stacks, we do not insist.
        (kind::ECHO_REQUEST, _) => return Ok(Message::EchoRequest(echo)),
        (kind::ECHO_REPLY, _) => return Ok(Message::EchoReply(echo)),
        (kind::DESTINATION_UNREACHABLE, code) => match UnreachableCode::ALL.get(usize::from(code)) {
            Some(UnreachableCode::FragmentationNeeded) => {
                Problem::FragmentationNeeded { mtu: u16::from_be_bytes([c, d]) }
            }
            Some(code) => Problem::Unreachable(*code),
            None => return Ok(Message::Unknown { kind: header.kind, code }),
        },
        (kind::REDIRECT, code @ 0..=3) => {
            Problem::Redirect { code, gateway: Ipv4Addr::from_octets(header.rest) }
        }
        (kind::TIME_EXCEEDED, 0) => Problem::TtlExceeded,
        (kind::TIME_EXCEEDED, 1) => Problem::ReassemblyTimeExceeded,
        (kind::PARAMETER_PROBLEM, 0) => Problem::ParameterProblem { pointer: a },
        (kind::PARAMETER_PROBLEM, 1) => Problem::RequiredOptionMissing,
        (kind, code) => return Ok(Message::Unknown { kind, code }),
    };
    // RFC 4884 section 4: the length byte counts in these types, and not in a redirect.
    let length = if header.kind == kind::REDIRECT { 0 } else { usize::from(b) * 4 };
    let (quoted, extensions) = split_quote(data, length);
    Ok(Message::Error { problem, quoted, extensions })
}

/// The quoted packet and the extensions behind it. A length that is too small or too large is nobody's: then
/// all is quote, as before RFC 4884. Shared with ICMPv6.
pub(super) fn split_quote(data: &[u8], length: usize) -> (&[u8], &[u8]) {
    if length < MIN_EXTENDED_QUOTE {
        (data, &[])
    } else {
        data.split_at_checked(length).unwrap_or((data, &[]))
    }
}

/// Writes an error about `packet` (from its IPv4 header on) at the front of `bytes`: as much of it as a message
/// may quote (RFC 1812 section 4.3.2.3), checksum filled. Gives the length of the message in bytes.
pub fn emit_error(bytes: &mut [u8], problem: Problem, packet: &[u8]) -> Result<usize, BufferTooSmall> {
    let quoted = packet.get(..MAX_QUOTE).unwrap_or(packet);
    let length = HEADER_LEN + quoted.len();
    let message = bytes.get_mut(..length).ok_or(BufferTooSmall)?;
    Header::error(problem).emit(message)?.copy_from_slice(quoted);
    fill_checksum(message);
    Ok(length)
}

/// Sets the checksum of a message that lies in one piece. Does nothing to fewer bytes than a header.
pub fn fill_checksum(message: &mut [u8]) {
    if let Ok((header, _)) = Header::parse_mut(message) {
        header.checksum = U16::ZERO;
        let checksum = sum(message).checksum();
        if let Ok((header, _)) = Header::parse_mut(message) {
            header.checksum.set(checksum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPTURE: [u8; 12] = [8, 0, 0xa4, 0xe8, 0x12, 0x34, 0x00, 0x01, b'p', b'i', b'n', b'g'];

    fn echo() -> [u8; 12] {
        let mut bytes = CAPTURE;
        fill_checksum(&mut bytes);
        bytes
    }

    #[test]
    fn an_echo_request_is_read_field_by_field() {
        let expected = Echo { identifier: 0x1234, sequence: 1, data: b"ping" };
        assert_eq!(receive(&echo()), Ok(Message::EchoRequest(expected)));
        let mut reply = echo();
        Header::echo(true, 0x1234, 1).emit(&mut reply).unwrap();
        assert_eq!(parse(&reply), Ok(Message::EchoReply(expected)));
    }

    #[test]
    fn truncated_and_damaged_messages_are_found() {
        for length in 0..HEADER_LEN {
            assert_eq!(receive(&echo()[..length]), Err(Error::Truncated));
        }
        for bit in 0..96 {
            let mut bytes = echo();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(receive(&bytes), Err(Error::BadChecksum), "bit {bit}");
        }
    }

    #[test]
    fn every_problem_is_emitted_and_read_back_with_its_quote() {
        let codes = UnreachableCode::ALL.iter().filter(|code| **code != UnreachableCode::FragmentationNeeded);
        let mut problems: Vec<_> = codes.map(|code| Problem::Unreachable(*code)).collect();
        problems.extend([
            Problem::FragmentationNeeded { mtu: 1400 },
            Problem::Redirect { code: 1, gateway: Ipv4Addr::new(10, 0, 0, 254) },
            Problem::TtlExceeded,
            Problem::ReassemblyTimeExceeded,
            Problem::ParameterProblem { pointer: 20 },
            Problem::RequiredOptionMissing,
        ]);
        for problem in problems {
            let mut bytes = [0xee; 100];
            let length = emit_error(&mut bytes, problem, &[0x45; 28]).unwrap();
            assert_eq!(length, 36);
            let expected = Message::Error { problem, quoted: &[0x45; 28], extensions: &[] };
            assert_eq!(receive(&bytes[..length]), Ok(expected));
            assert!(Header::parse(&bytes).unwrap().0.is_error());
        }
        for (place, code) in UnreachableCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place);
        }
        assert!(!Header::parse(&echo()).unwrap().0.is_error());
    }

    #[test]
    fn an_error_is_never_longer_than_576_bytes_with_its_ip_header() {
        let mut bytes = [0; 2000];
        let emit = |bytes: &mut [u8], length| emit_error(bytes, Problem::TtlExceeded, &vec![0x45; length]);
        assert_eq!(emit(&mut bytes, MAX_QUOTE), Ok(556));
        assert_eq!(emit(&mut bytes, MAX_QUOTE + 1), Ok(556));
        assert_eq!(emit(&mut bytes[..555], 1500), Err(BufferTooSmall));
    }

    #[test]
    fn extensions_are_split_from_the_quote_only_where_rfc_4884_says() {
        let mut bytes = vec![0u8; 8 + 128 + 12];
        Header::error(Problem::TtlExceeded).emit(&mut bytes).unwrap()[128..].fill(0x20);
        let split = |bytes: &[u8]| match parse(bytes).unwrap() {
            Message::Error { quoted, extensions, .. } => (quoted.len(), extensions.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(split(&bytes), (140, 0));
        for (length, expected) in [(32, (128, 12)), (31, (140, 0)), (35, (140, 0)), (36, (140, 0))] {
            bytes[5] = length;
            assert_eq!(split(&bytes), expected, "{length}");
        }
        bytes[0] = kind::REDIRECT;
        bytes[5] = 32;
        assert_eq!(split(&bytes), (140, 0));
    }

    #[test]
    fn unknown_types_and_codes_are_named() {
        for (kind, code) in [(3, 16), (4, 0), (5, 4), (11, 2), (12, 2), (13, 0), (255, 255)] {
            let bytes = [kind, code, 0, 0, 0, 0, 0, 0];
            assert_eq!(parse(&bytes), Ok(Message::Unknown { kind, code }));
        }
    }

    proptest! {
        #[test]
        fn reading_never_fails_beyond_eight_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse(&bytes).is_ok(), bytes.len() >= HEADER_LEN);
        }
    }
}
