//! IPv6 extension headers (RFC 8200 section 4): the walk from the fixed header to the upper layer.
//!
//! ```text
//!   | IPv6 | hop-by-hop? | destination? | routing? | fragment? | destination? | upper layer ...
//!      next ──^   next ────^    next ─────^   ...                  next ───────^
//! ```
//!
//! Each header names the next. The order above is the recommended one, but any order must be accepted (section
//! 4.1), except that hop-by-hop options stand first or nowhere. A sender could make the walk long, so it is
//! bounded in headers and bytes ([`crate::limits`]; RFC 8504 section 5.3 allows that).
//!
//! The walk reports what it met and where. It stops at the first header that it does not know how to pass:
//! that is the *upper* protocol, also when it is ESP, AH or a number nobody knows; whether anybody here speaks
//! it is the caller's question. It also stops behind the fragment header of a later fragment, because what
//! follows there is the middle of something, and in front of a second fragment header, which no sender makes.
//!
//! All offsets are in bytes from the start of the fixed header, as ICMPv6 parameter problems want them.

use super::IpProtocol;
use super::ipv6::{HEADER_LEN, Header, NEXT_HEADER_OFFSET};
use crate::DropReason;
use crate::limits::{MAX_EXTENSION_BYTES, MAX_EXTENSION_HEADERS};

/// What a walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The upper layer, or the first header that the walk does not pass.
    pub upper: IpProtocol,
    /// Where it begins; at most the end of the packet. When [`Chain::fragment`] has an offset that is not 0,
    /// what stands there is not its header.
    pub upper_offset: usize,
    /// Where the field is that names it: the pointer of a parameter problem with code 1 (unrecognised).
    pub upper_named_at: usize,
    /// The hop-by-hop options header, which every router may look at.
    pub hop_by_hop: Option<Extent>,
    /// The last destination options header.
    pub destination_options: Option<Extent>,
    /// The destination options header in front of the routing header, where there are two.
    pub first_destination_options: Option<Extent>,
    /// The last routing header.
    pub routing: Option<Routing>,
    /// The fragment header.
    pub fragment: Option<Fragment>,
}

/// Where an options header lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: usize,
    /// Its bytes: a multiple of 8.
    pub length: usize,
}

/// A routing header (RFC 8200 section 4.4). One of a type that is not understood is passed over when no
/// segments are left, and is a parameter problem (code 0, pointer [`Routing::type_offset`]) when some are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// Where it begins.
    pub offset: usize,
    /// Its bytes: a multiple of 8.
    pub length: usize,
    /// Routing type: 0 is forbidden (RFC 5095), 2 mobile IPv6, 3 RPL, 4 segment routing.
    pub kind: u8,
    /// Nodes still to be visited.
    pub segments_left: u8,
}

impl Routing {
    /// Where the routing type field is.
    pub const fn type_offset(&self) -> usize {
        self.offset + 2
    }
}

/// A fragment header (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Where the fragment header begins: the end of the per-fragment headers.
    pub header_offset: usize,
    /// What the fragmentable part begins with.
    pub next_header: IpProtocol,
    /// Where in the fragmentable part this one's bytes belong, in bytes: a multiple of 8, at most 65,528.
    pub offset: usize,
    /// True when more follow behind it.
    pub more: bool,
    /// Names the packet that it belongs to, together with both addresses.
    pub identification: u32,
}

impl Fragment {
    /// Bytes of the fragment header.
    pub const HEADER_LEN: usize = 8;

    /// True when it is the whole packet: to be handled alone (RFC 6946).
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// The header's eight bytes.
    pub const fn to_bytes(&self) -> [u8; Fragment::HEADER_LEN] {
        let [a, b] = ((self.offset as u16 & 0xfff8) | self.more as u16).to_be_bytes();
        let [c, d, e, f] = self.identification.to_be_bytes();
        [self.next_header.0, 0, a, b, c, d, e, f]
    }
}

/// Why the walk did not reach an upper layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A header reaches beyond the packet (or the bytes given): parameter problem, code 3 (RFC 7112).
    Truncated {
        /// Where that header begins.
        offset: usize,
        /// It is cut off in a first fragment, which must hold the whole chain.
        first_fragment: bool,
    },
    /// Hop-by-hop options stand elsewhere than first: parameter problem, code 1, pointer here.
    HopByHopNotFirst {
        /// Where the field is that names them.
        named_at: usize,
    },
    /// More headers, or more bytes of them, than [`crate::limits`] allows.
    TooLong {
        /// Where the first header beyond the bound begins.
        offset: usize,
    },
}

impl From<Error> for DropReason {
    fn from(_: Error) -> DropReason {
        DropReason::Ipv6BadExtension
    }
}

impl Chain {
    /// Walks the packet in `bytes`, which begin with its fixed header (`header`, checked) and should hold the
    /// whole chain. Without extension headers this is one test of the next header: inlined always, because then
    /// the caller's compiler keeps only the fields that are used and the [`Chain`] is never built in memory.
    #[inline(always)]
    pub fn walk(header: &Header, bytes: &[u8]) -> Result<Chain, Error> {
        let first = header.next_header();
        if is_passable(first) {
            let bytes = bytes.get(..header.packet_len()).unwrap_or(bytes);
            Chain::walk_extensions(first, bytes)
        } else {
            Ok(Chain::without_extensions(first))
        }
    }

    /// The chain of a packet whose fixed header names the upper layer.
    #[inline(always)]
    const fn without_extensions(upper: IpProtocol) -> Chain {
        Chain {
            upper,
            upper_offset: HEADER_LEN,
            upper_named_at: NEXT_HEADER_OFFSET,
            hop_by_hop: None,
            destination_options: None,
            first_destination_options: None,
            routing: None,
            fragment: None,
        }
    }

    /// True when extension headers stand between the fixed header and the upper layer.
    #[inline]
    pub const fn has_extensions(&self) -> bool {
        self.upper_offset != HEADER_LEN
    }

    /// The part of [`Chain::walk`] that is rarely needed.
    #[cold]
    #[inline(never)]
    fn walk_extensions(first: IpProtocol, bytes: &[u8]) -> Result<Chain, Error> {
        let mut chain = Chain::without_extensions(first);
        let mut headers = 0;
        while is_passable(chain.upper) {
            let (kind, offset) = (chain.upper, chain.upper_offset);
            if kind == IpProtocol::FRAGMENT && chain.fragment.is_some() {
                return Ok(chain);
            }
            // Section 4.3: restricted to stand immediately behind the fixed header.
            if kind == IpProtocol::HOP_BY_HOP && offset != HEADER_LEN {
                return Err(Error::HopByHopNotFirst { named_at: chain.upper_named_at });
            }
            let truncated =
                Error::Truncated { offset, first_fragment: chain.fragment.is_some_and(|one| one.more) };
            let Some(&[next, second, third, fourth, a, b, c, d]) =
                bytes.get(offset..).and_then(<[u8]>::first_chunk)
            else {
                return Err(truncated);
            };
            // The fragment header's second byte is reserved: its length is fixed.
            let length = if kind == IpProtocol::FRAGMENT { 8 } else { 8 + usize::from(second) * 8 };
            headers += 1;
            if headers > MAX_EXTENSION_HEADERS || offset + length - HEADER_LEN > MAX_EXTENSION_BYTES {
                return Err(Error::TooLong { offset });
            }
            if offset + length > bytes.len() {
                return Err(truncated);
            }
            let extent = Extent { offset, length };
            match kind {
                IpProtocol::HOP_BY_HOP => chain.hop_by_hop = Some(extent),
                IpProtocol::DESTINATION_OPTIONS => chain.destination_options = Some(extent),
                IpProtocol::ROUTING => {
                    chain.first_destination_options = chain.destination_options.take();
                    chain.routing = Some(Routing { offset, length, kind: third, segments_left: fourth });
                }
                _ => {
                    let offset_and_flag = u16::from_be_bytes([third, fourth]);
                    chain.fragment = Some(Fragment {
                        header_offset: offset,
                        next_header: IpProtocol(next),
                        offset: usize::from(offset_and_flag & 0xfff8),
                        more: offset_and_flag & 1 != 0,
                        identification: u32::from_be_bytes([a, b, c, d]),
                    });
                }
            }
            chain.upper = IpProtocol(next);
            chain.upper_named_at = offset;
            chain.upper_offset = offset + length;
            if chain.fragment.is_some_and(|fragment| fragment.offset != 0) {
                return Ok(chain);
            }
        }
        Ok(chain)
    }
}

/// The headers that the walk goes through. AH is not among them: to pass it unverified would be to trust it.
#[inline]
pub const fn is_passable(protocol: IpProtocol) -> bool {
    matches!(
        protocol,
        IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::FRAGMENT | IpProtocol::DESTINATION_OPTIONS
    )
}

/// Kinds of hop-by-hop and destination options.
pub mod option {
    /// One byte of padding.
    pub const PAD1: u8 = 0;
    /// Padding of two or more bytes.
    pub const PADN: u8 = 1;
    /// Router alert (RFC 2711).
    pub const ROUTER_ALERT: u8 = 5;
    /// Jumbo payload (RFC 2675), which is not spoken here.
    pub const JUMBO_PAYLOAD: u8 = 0xc2;
}

/// What to do with a packet that has an option which is not known: the two highest bits of its kind (section
/// 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAction {
    /// 00: pass over it.
    Skip,
    /// 01: discard the packet.
    Discard,
    /// 10: discard, and send a parameter problem with code 2 that points at the option.
    DiscardAndReport,
    /// 11: the same, unless the destination is multicast.
    DiscardAndReportUnlessMulticast,
}

/// One option, other than padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Option<'a> {
    /// See [`option`].
    pub kind: u8,
    /// What follows kind and length.
    pub data: &'a [u8],
    /// Where the option begins: the pointer of a parameter problem.
    pub offset: usize,
}

impl Ipv6Option<'_> {
    /// What to do when the kind is not known.
    pub const fn unknown_action(&self) -> UnknownAction {
        match self.kind >> 6 {
            0 => UnknownAction::Skip,
            1 => UnknownAction::Discard,
            2 => UnknownAction::DiscardAndReport,
            _ => UnknownAction::DiscardAndReportUnlessMulticast,
        }
    }
}

/// An option reaches beyond its header: parameter problem, code 0, pointer here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOption {
    /// Where the option begins.
    pub offset: usize,
}

impl From<BadOption> for DropReason {
    fn from(_: BadOption) -> DropReason {
        DropReason::Ipv6BadExtension
    }
}

/// Walks the options of a hop-by-hop or destination options header; padding is passed over.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Options<'a> {
    /// The options of the header at `extent` of `packet`, which begins with its fixed header.
    pub fn new(packet: &'a [u8], extent: Extent) -> Options<'a> {
        // The two bytes in front of the options are next header and length.
        let bytes = packet.get(extent.offset + 2..extent.offset + extent.length).unwrap_or(&[]);
        Options { bytes, offset: extent.offset + 2 }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Ipv6Option<'a>, BadOption>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.offset;
            let (kind, this, rest) = match *self.bytes {
                [] => return None,
                [option::PAD1, ref rest @ ..] => {
                    self.bytes = rest;
                    self.offset += 1;
                    continue;
                }
                [kind, length, ref rest @ ..] if usize::from(length) <= rest.len() => {
                    let (this, rest) = rest.split_at(usize::from(length));
                    (kind, this, rest)
                }
                _ => {
                    self.bytes = &[];
                    return Some(Err(BadOption { offset }));
                }
            };
            self.bytes = rest;
            self.offset += 2 + this.len();
            if kind != option::PADN {
                return Some(Ok(Ipv6Option { kind, data: this, offset }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;
    use proptest::prelude::*;

    /// A packet whose extension headers are `parts`: (its number, its bytes from the second on).
    fn packet(parts: &[(IpProtocol, &[u8])], upper: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let mut rest = Vec::new();
        for (index, (_, body)) in parts.iter().enumerate() {
            rest.push(parts.get(index + 1).map_or(upper, |part| part.0).0);
            rest.extend_from_slice(body);
        }
        rest.extend_from_slice(payload);
        let first = parts.first().map_or(upper, |part| part.0);
        let header = Header::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, first, 64, rest.len()).unwrap();
        let mut bytes = vec![0; HEADER_LEN + rest.len()];
        header.emit(&mut bytes).unwrap().copy_from_slice(&rest);
        bytes
    }

    fn walk(bytes: &[u8]) -> Result<Chain, Error> {
        Chain::walk(Header::parse(bytes).unwrap().0, bytes)
    }

    const PADDED: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

    #[test]
    fn without_extension_headers_the_upper_layer_is_at_40() {
        let chain = walk(&packet(&[], IpProtocol::UDP, &[0; 8])).unwrap();
        assert_eq!((chain.upper, chain.upper_offset, chain.upper_named_at), (IpProtocol::UDP, 40, 6));
        assert!(!chain.has_extensions());
    }

    #[test]
    fn the_recommended_order_is_walked_and_reported() {
        let bytes = packet(
            &[
                (IpProtocol::HOP_BY_HOP, PADDED),
                (IpProtocol::DESTINATION_OPTIONS, PADDED),
                (IpProtocol::ROUTING, &[0, 4, 2, 0, 0, 0, 0]),
                (IpProtocol::FRAGMENT, &[77, 0, 1, 1, 2, 3, 4]),
                (IpProtocol::DESTINATION_OPTIONS, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ],
            IpProtocol::TCP,
            &[9; 20],
        );
        let chain = walk(&bytes).unwrap();
        assert!(chain.has_extensions());
        assert_eq!((chain.upper, chain.upper_offset, chain.upper_named_at), (IpProtocol::TCP, 88, 72));
        assert_eq!(chain.hop_by_hop, Some(Extent { offset: 40, length: 8 }));
        assert_eq!(chain.first_destination_options, Some(Extent { offset: 48, length: 8 }));
        assert_eq!(chain.routing, Some(Routing { offset: 56, length: 8, kind: 4, segments_left: 2 }));
        assert_eq!(chain.routing.unwrap().type_offset(), 58);
        assert_eq!(chain.destination_options, Some(Extent { offset: 72, length: 16 }));
        let fragment = chain.fragment.unwrap();
        assert_eq!((fragment.offset, fragment.more, fragment.identification), (0, true, 0x01020304));
        assert_eq!((fragment.header_offset, fragment.next_header), (64, IpProtocol::DESTINATION_OPTIONS));
        assert!(!fragment.is_atomic());
        let mut expected = bytes[64..72].to_vec();
        expected[1] = 0; // reserved: not sent on
        assert_eq!(fragment.to_bytes()[..], expected);
    }

    #[test]
    fn a_later_fragment_ends_the_walk() {
        let bytes =
            packet(&[(IpProtocol::FRAGMENT, &[0, 0x05, 0xa8, 0, 0, 0, 9])], IpProtocol::ROUTING, &[255; 16]);
        let chain = walk(&bytes).unwrap();
        assert_eq!(chain.fragment.unwrap().offset, 1448);
        assert_eq!((chain.upper, chain.upper_offset), (IpProtocol::ROUTING, 48));
    }

    #[test]
    fn a_second_fragment_header_is_not_passed() {
        let atomic: &[u8] = &[0; 7];
        let chain = walk(&packet(
            &[(IpProtocol::FRAGMENT, atomic), (IpProtocol::FRAGMENT, atomic)],
            IpProtocol::UDP,
            &[],
        ))
        .unwrap();
        assert_eq!((chain.upper, chain.upper_offset, chain.upper_named_at), (IpProtocol::FRAGMENT, 48, 40));
        assert!(chain.fragment.unwrap().is_atomic());
    }

    #[test]
    fn unknown_and_security_headers_are_left_to_the_caller() {
        for upper in [IpProtocol::ESP, IpProtocol::AH, IpProtocol::NO_NEXT_HEADER, IpProtocol(253)] {
            let chain = walk(&packet(&[(IpProtocol::DESTINATION_OPTIONS, PADDED)], upper, &[])).unwrap();
            assert_eq!((chain.upper, chain.upper_offset, chain.upper_named_at), (upper, 48, 40));
        }
    }

    #[test]
    fn hop_by_hop_options_elsewhere_than_first_are_an_error_that_points_at_the_field() {
        let bytes = packet(
            &[(IpProtocol::DESTINATION_OPTIONS, PADDED), (IpProtocol::HOP_BY_HOP, PADDED)],
            IpProtocol::UDP,
            &[],
        );
        assert_eq!(walk(&bytes), Err(Error::HopByHopNotFirst { named_at: 40 }));
    }

    #[test]
    fn as_many_headers_as_allowed_pass_and_one_more_does_not() {
        let parts = vec![(IpProtocol::DESTINATION_OPTIONS, PADDED); MAX_EXTENSION_HEADERS + 1];
        let allowed = walk(&packet(&parts[1..], IpProtocol::UDP, &[])).unwrap();
        assert_eq!(allowed.upper_offset, 40 + 8 * MAX_EXTENSION_HEADERS);
        let offset = allowed.upper_offset;
        assert_eq!(walk(&packet(&parts, IpProtocol::UDP, &[])), Err(Error::TooLong { offset }));
    }

    #[test]
    fn as_many_bytes_as_allowed_pass_and_eight_more_do_not() {
        let body = |units: usize| {
            let mut body = vec![0u8; units * 8 - 1];
            body[0] = (units - 1) as u8;
            body
        };
        let most = MAX_EXTENSION_BYTES / 8;
        let good = body(most);
        let chain = walk(&packet(&[(IpProtocol::DESTINATION_OPTIONS, &good)], IpProtocol::UDP, &[])).unwrap();
        assert_eq!(chain.upper_offset, 40 + MAX_EXTENSION_BYTES);
        let long = body(most + 1);
        assert_eq!(
            walk(&packet(&[(IpProtocol::DESTINATION_OPTIONS, &long)], IpProtocol::UDP, &[])),
            Err(Error::TooLong { offset: 40 })
        );
    }

    #[test]
    fn a_header_beyond_the_payload_length_is_truncated_even_when_bytes_follow() {
        let mut bytes = packet(&[(IpProtocol::HOP_BY_HOP, PADDED)], IpProtocol::UDP, &[]);
        bytes[4..6].copy_from_slice(&7u16.to_be_bytes());
        assert_eq!(walk(&bytes), Err(Error::Truncated { offset: 40, first_fragment: false }));
    }

    #[test]
    fn options_are_walked_with_their_offsets_and_actions() {
        let body = [1, 0, 5, 2, 0, 0, 1, 1, 0, 0x3e, 0, 0x7e, 0, 0xbe, 0];
        let mut bytes = packet(&[(IpProtocol::HOP_BY_HOP, &body)], IpProtocol::UDP, &[]);
        let extent = walk(&bytes).unwrap().hop_by_hop.unwrap();
        let found: Vec<_> = Options::new(&bytes, extent).map(|option| option.unwrap()).collect();
        let seen: Vec<_> = found.iter().map(|o| (o.kind, o.offset, o.unknown_action())).collect();
        assert_eq!(
            seen,
            [
                (option::ROUTER_ALERT, 43, UnknownAction::Skip),
                (0x3e, 50, UnknownAction::Skip),
                (0x7e, 52, UnknownAction::Discard),
                (0xbe, 54, UnknownAction::DiscardAndReport),
            ]
        );
        assert_eq!(found[0].data, [0, 0]);
        let jumbo = Ipv6Option { kind: option::JUMBO_PAYLOAD, data: &[], offset: 0 };
        assert_eq!(jumbo.unknown_action(), UnknownAction::DiscardAndReportUnlessMulticast);
        bytes[55] = 1; // the last option now reaches beyond its header
        assert_eq!(Options::new(&bytes, extent).last(), Some(Err(BadOption { offset: 54 })));
    }

    proptest! {
        #[test]
        fn the_walk_ends_within_the_packet_whatever_the_bytes(
            first in prop::sample::select(vec![0u8, 43, 44, 60]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(vec![0u8, 1, 43, 44, 60])], 0..300),
            cut in 0usize..300,
        ) {
            let bytes = packet(&[], IpProtocol(first), &rest);
            for length in [bytes.len(), cut.clamp(40, bytes.len())] {
                match walk(&bytes[..length]) {
                    Ok(chain) => {
                        prop_assert!(chain.upper_offset <= length);
                        prop_assert!(chain.upper_offset - 40 <= MAX_EXTENSION_BYTES);
                        prop_assert_eq!(bytes[chain.upper_named_at], chain.upper.0);
                        for extent in [chain.hop_by_hop, chain.destination_options].into_iter().flatten() {
                            let mut end = extent.offset + 2;
                            for option in Options::new(&bytes, extent).flatten() {
                                prop_assert!(option.offset >= end);
                                end = option.offset + 2 + option.data.len();
                            }
                            prop_assert!(end <= extent.offset + extent.length);
                        }
                    }
                    Err(Error::Truncated { offset, .. } | Error::TooLong { offset }) => prop_assert!(offset <= length),
                    Err(Error::HopByHopNotFirst { named_at }) => prop_assert!(named_at < length),
                }
            }
        }
    }
}
