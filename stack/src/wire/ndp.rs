//! Neighbour discovery (RFC 4861): the five messages, their options, and the checks of sections 6.1, 7.1 and 8.1.
//!
//! ```text
//!   | type 133..137 | code = 0 | checksum | 4 bytes | body: 0, 8, 16 or 32 bytes | options ... |
//!   option: | type | length in 8-byte units, never 0 | data ... |
//! ```
//!
//! A message that fails any check is dropped silently. [`receive`] makes them all and is the only door; the hop
//! limit of 255 is what proves that the sender is on the link. Nonces are RFC 3971's, used as in RFC 7527.

use super::address::{ipv6_is_link_local, ipv6_is_multicast, is_solicited_node};
use super::icmpv6::{fill_checksum, kind, pseudo_header};
use super::{BufferTooSmall, ipv6};
use crate::checksum::sum;
use crate::{DropReason, MacAddr};
use core::net::Ipv6Addr;

/// The hop limit of every message.
pub const HOP_LIMIT: u8 = 255;
/// The longest message that this file emits: a target, a link-layer address and a nonce.
pub const MAX_EMITTED: usize = 24 + 8 + 8;

/// Types of options.
pub mod option {
    /// The sender's link-layer address.
    pub const SOURCE_LINK_ADDRESS: u8 = 1;
    /// The target's link-layer address.
    pub const TARGET_LINK_ADDRESS: u8 = 2;
    /// A prefix of the link.
    pub const PREFIX_INFORMATION: u8 = 3;
    /// The beginning of the packet that was redirected.
    pub const REDIRECTED_HEADER: u8 = 4;
    /// The MTU of the link.
    pub const MTU: u8 = 5;
    /// Recursive DNS servers (RFC 8106).
    pub const RDNSS: u8 = 25;
    /// Tells one's own solicitations from others' (RFC 3971).
    pub const NONCE: u8 = 14;
}

/// What is wrong with a message. All of it is the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Shorter than its type requires.
    Truncated,
    /// The hop limit is not 255: it came through a router.
    BadHopLimit,
    /// The checksum is wrong.
    BadChecksum,
    /// The code is not 0.
    BadCode,
    /// Not one of the five types.
    UnknownType,
    /// The IP source may not send this.
    BadSource,
    /// The IP destination may not get this.
    BadDestination,
    /// The target (or redirected destination) is multicast, or a redirect's target is no router's address.
    BadTarget,
    /// An option has length 0, reaches beyond the message, or may not be in it.
    BadOption,
    /// A multicast advertisement claims to be solicited.
    BadFlags,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> DropReason {
        match error {
            Error::BadChecksum => DropReason::IcmpBadChecksum,
            Error::UnknownType => DropReason::IcmpDiscarded,
            _ => DropReason::NdMalformed,
        }
    }
}

/// A message that passed all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Are there routers? (section 4.1)
    RouterSolicitation {
        /// May hold the sender's link-layer address.
        options: Options<'a>,
    },
    /// I am a router (section 4.2).
    RouterAdvertisement {
        /// Its fields.
        fields: RouterFields,
        /// May hold its link-layer address, the MTU and prefixes.
        options: Options<'a>,
    },
    /// Who has `target`? (section 4.3)
    NeighbourSolicitation {
        /// A unicast address.
        target: Ipv6Addr,
        /// May hold the sender's link-layer address and a nonce.
        options: Options<'a>,
    },
    /// I have `target` (section 4.4).
    NeighbourAdvertisement {
        /// The sender forwards packets.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// The link-layer address replaces the one that is known.
        override_: bool,
        /// A unicast address.
        target: Ipv6Addr,
        /// May hold the target's link-layer address.
        options: Options<'a>,
    },
    /// To reach `destination`, send to `target` (section 4.5).
    Redirect {
        /// A router's link-local address, or the destination itself when it is a neighbour.
        target: Ipv6Addr,
        /// Whose packets are meant.
        destination: Ipv6Addr,
        /// May hold the target's link-layer address and the beginning of the packet.
        options: Options<'a>,
    },
}

/// The fields of a router advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterFields {
    /// The hop limit to use; 0 when not said.
    pub hop_limit: u8,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had by DHCPv6.
    pub other: bool,
    /// Seconds as a default router; 0 for none.
    pub lifetime: u16,
    /// Milliseconds that a neighbour is reachable after a confirmation; 0 when not said.
    pub reachable_time: u32,
    /// Milliseconds between solicitations; 0 when not said.
    pub retransmit_timer: u32,
}

/// Checks a message and reads it. `ip` is the packet's header, `message` the whole ICMPv6 message in one piece,
/// which ends where the packet ends.
pub fn receive<'a>(ip: &ipv6::Header, message: &'a [u8]) -> Result<Message<'a>, Error> {
    let (source, destination) = (ip.source(), ip.destination());
    if ip.hop_limit != HOP_LIMIT {
        return Err(Error::BadHopLimit);
    }
    let Some((&[kind, code, _, _, a, b, c, d], body)) = message.split_first_chunk() else {
        return Err(Error::Truncated);
    };
    if !pseudo_header(&source, &destination, message.len()).plus(sum(message)).is_valid() {
        return Err(Error::BadChecksum);
    }
    if code != 0 {
        return Err(Error::BadCode);
    }
    match kind {
        kind::ROUTER_SOLICITATION => {
            let options = Options::check(body)?;
            // Section 6.1.1: who has no address yet cannot be answered by unicast, so nothing may be learnt.
            if source.is_unspecified() && options.source_link_address().is_some() {
                return Err(Error::BadOption);
            }
            Ok(Message::RouterSolicitation { options })
        }
        kind::ROUTER_ADVERTISEMENT => {
            let (times, options) = body.split_first_chunk().ok_or(Error::Truncated)?;
            let &[r0, r1, r2, r3, t0, t1, t2, t3] = times;
            // Section 6.1.2: routers are known by their link-local addresses.
            if !ipv6_is_link_local(&source) {
                return Err(Error::BadSource);
            }
            let fields = RouterFields {
                hop_limit: a,
                managed: b & 0x80 != 0,
                other: b & 0x40 != 0,
                lifetime: u16::from_be_bytes([c, d]),
                reachable_time: u32::from_be_bytes([r0, r1, r2, r3]),
                retransmit_timer: u32::from_be_bytes([t0, t1, t2, t3]),
            };
            Ok(Message::RouterAdvertisement { fields, options: Options::check(options)? })
        }
        kind::NEIGHBOUR_SOLICITATION => {
            let (target, options) = split_unicast(body)?;
            let options = Options::check(options)?;
            // Section 7.1.1: duplicate address detection.
            if source.is_unspecified() {
                if !is_solicited_node(&destination) {
                    return Err(Error::BadDestination);
                }
                if options.source_link_address().is_some() {
                    return Err(Error::BadOption);
                }
            }
            Ok(Message::NeighbourSolicitation { target, options })
        }
        kind::NEIGHBOUR_ADVERTISEMENT => {
            let (target, options) = split_unicast(body)?;
            let (router, solicited, override_) = (a & 0x80 != 0, a & 0x40 != 0, a & 0x20 != 0);
            // Section 7.1.2.
            if solicited && ipv6_is_multicast(&destination) {
                return Err(Error::BadFlags);
            }
            let options = Options::check(options)?;
            Ok(Message::NeighbourAdvertisement { router, solicited, override_, target, options })
        }
        kind::REDIRECT => {
            // Section 8.1.
            if !ipv6_is_link_local(&source) {
                return Err(Error::BadSource);
            }
            let (target, rest) = split_unicast(body)?;
            let (redirected, options) = split_unicast(rest)?;
            if !ipv6_is_link_local(&target) && target != redirected {
                return Err(Error::BadTarget);
            }
            Ok(Message::Redirect { target, destination: redirected, options: Options::check(options)? })
        }
        _ => Err(Error::UnknownType),
    }
}

/// A unicast address at the front of `bytes`, and the bytes behind it.
fn split_unicast(bytes: &[u8]) -> Result<(Ipv6Addr, &[u8]), Error> {
    let (address, rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
    let address = Ipv6Addr::from_octets(*address);
    if ipv6_is_multicast(&address) { Err(Error::BadTarget) } else { Ok((address, rest)) }
}

/// The options of a message, checked: every length is above 0 and within the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    bytes: &'a [u8],
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NdOption<'a> {
    /// See [`option`]; unknown ones are to be passed over.
    pub kind: u8,
    /// What follows type and length: 6 bytes, or 8 more for each further unit.
    pub data: &'a [u8],
}

/// A prefix information option (section 4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix; bits behind its length are to be ignored.
    pub prefix: Ipv6Addr,
    /// Bits of it that count; a value above 128 makes the option void, and it is not returned.
    pub length: u8,
    /// Addresses in it are on the link.
    pub on_link: bool,
    /// Hosts may make addresses in it.
    pub autonomous: bool,
    /// Seconds that it is on the link; all ones for ever.
    pub valid_lifetime: u32,
    /// Seconds that addresses in it are preferred; all ones for ever.
    pub preferred_lifetime: u32,
}

impl<'a> Options<'a> {
    /// Sections 6.1 and 7.1: "all included options have a length that is greater than zero".
    fn check(bytes: &'a [u8]) -> Result<Options<'a>, Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = split_option(rest).ok_or(Error::BadOption)?;
        }
        Ok(Options { bytes })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = NdOption<'a>> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (option, behind) = split_option(rest)?;
            rest = behind;
            Some(option)
        })
    }

    /// The sender's Ethernet address, of the first option that has one.
    pub fn source_link_address(&self) -> Option<MacAddr> {
        self.link_address(option::SOURCE_LINK_ADDRESS)
    }

    /// The target's Ethernet address, of the first option that has one.
    pub fn target_link_address(&self) -> Option<MacAddr> {
        self.link_address(option::TARGET_LINK_ADDRESS)
    }

    fn link_address(&self, kind: u8) -> Option<MacAddr> {
        // RFC 2464 section 6: on Ethernet the option is one unit long.
        self.iter().find(|o| o.kind == kind).and_then(|o| o.data.try_into().ok()).map(MacAddr)
    }

    /// The MTU of the link in bytes, as advertised: not checked against any bound.
    pub fn mtu(&self) -> Option<u32> {
        self.iter().filter(|o| o.kind == option::MTU).find_map(|o| match *o.data {
            [_, _, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        })
    }

    /// The nonce, 6 bytes or more.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.iter().find(|o| o.kind == option::NONCE).map(|o| o.data)
    }

    /// The beginning of the packet that was redirected, from its IPv6 header on.
    pub fn redirected_packet(&self) -> Option<&'a [u8]> {
        self.iter().find(|o| o.kind == option::REDIRECTED_HEADER).and_then(|o| o.data.get(6..))
    }

    /// The prefixes of the link.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + use<'a> {
        self.iter().filter(|o| o.kind == option::PREFIX_INFORMATION).filter_map(|o| {
            let (&[length, flags, v0, v1, v2, v3, p0, p1, p2, p3, ..], prefix) =
                o.data.split_first_chunk::<14>()?;
            let prefix = Ipv6Addr::from_octets(prefix.try_into().ok()?);
            (length <= 128).then_some(Prefix {
                prefix,
                length,
                on_link: flags & 0x80 != 0,
                autonomous: flags & 0x40 != 0,
                valid_lifetime: u32::from_be_bytes([v0, v1, v2, v3]),
                preferred_lifetime: u32::from_be_bytes([p0, p1, p2, p3]),
            })
        })
    }
}

/// The option at the front of `bytes`, and the bytes behind it; `None` when its length is 0 or too large.
fn split_option(bytes: &[u8]) -> Option<(NdOption<'_>, &[u8])> {
    let &[kind, units, ..] = bytes else { return None };
    let (this, rest) = bytes.split_at_checked(usize::from(units) * 8)?;
    Some((NdOption { kind, data: this.get(2..)? }, rest))
}

/// Writes a neighbour solicitation for `target` at the front of `bytes`, checksum filled for these addresses.
/// `mac` is the sender's (none in duplicate address detection, when `source` is unspecified); `nonce` goes with
/// detection (RFC 7527). Gives the length of the message in bytes.
pub fn emit_neighbour_solicitation(
    bytes: &mut [u8],
    source: &Ipv6Addr,
    destination: &Ipv6Addr,
    target: &Ipv6Addr,
    mac: Option<MacAddr>,
    nonce: Option<[u8; 6]>,
) -> Result<usize, BufferTooSmall> {
    let options =
        [mac.map(|mac| (option::SOURCE_LINK_ADDRESS, mac.0)), nonce.map(|nonce| (option::NONCE, nonce))];
    emit(bytes, (source, destination), kind::NEIGHBOUR_SOLICITATION, 0, Some(target), options)
}

/// Flags of a neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdvertisementFlags {
    /// The sender forwards packets.
    pub router: bool,
    /// It answers a solicitation; not to be set towards a multicast destination.
    pub solicited: bool,
    /// The link-layer address replaces the one that is known.
    pub override_: bool,
}

/// Writes a neighbour advertisement of `target`, with `mac` as its link-layer address, at the front of `bytes`,
/// checksum filled for these addresses. Gives the length of the message in bytes.
pub fn emit_neighbour_advertisement(
    bytes: &mut [u8],
    source: &Ipv6Addr,
    destination: &Ipv6Addr,
    target: &Ipv6Addr,
    flags: AdvertisementFlags,
    mac: MacAddr,
) -> Result<usize, BufferTooSmall> {
    let AdvertisementFlags { router, solicited, override_ } = flags;
    let flags = u8::from(router) << 7 | u8::from(solicited) << 6 | u8::from(override_) << 5;
    let options = [Some((option::TARGET_LINK_ADDRESS, mac.0)), None];
    emit(bytes, (source, destination), kind::NEIGHBOUR_ADVERTISEMENT, flags, Some(target), options)
}

/// Writes a router solicitation at the front of `bytes`, checksum filled for these addresses. Gives the length
/// of the message in bytes.
pub fn emit_router_solicitation(
    bytes: &mut [u8],
    source: &Ipv6Addr,
    destination: &Ipv6Addr,
    mac: Option<MacAddr>,
) -> Result<usize, BufferTooSmall> {
    let options = [mac.map(|mac| (option::SOURCE_LINK_ADDRESS, mac.0)), None];
    emit(bytes, (source, destination), kind::ROUTER_SOLICITATION, 0, None, options)
}

/// Writes a redirect to `target` for packets to `redirected` at the front of `bytes`, checksum filled for these
/// addresses, with the target's link-layer address when it is known and as much of the packet `about` as there is
/// room for in `bytes` (RFC 4861 section 4.5). Gives the length of the message in bytes.
pub fn emit_redirect(
    bytes: &mut [u8],
    source: &Ipv6Addr,
    destination: &Ipv6Addr,
    target: &Ipv6Addr,
    redirected: &Ipv6Addr,
    mac: Option<MacAddr>,
    about: &[u8],
) -> Result<usize, BufferTooSmall> {
    let mut length = 40;
    let (head, rest) = bytes.split_at_mut_checked(length).ok_or(BufferTooSmall)?;
    head[..8].copy_from_slice(&[kind::REDIRECT, 0, 0, 0, 0, 0, 0, 0]);
    head[8..24].copy_from_slice(&target.octets());
    head[24..40].copy_from_slice(&redirected.octets());
    let mut rest = rest;
    if let Some(MacAddr([a, b, c, d, e, f])) = mac {
        let (place, behind) = rest.split_first_chunk_mut().ok_or(BufferTooSmall)?;
        *place = [option::TARGET_LINK_ADDRESS, 1, a, b, c, d, e, f];
        (rest, length) = (behind, length + 8);
    }
    // The option's length counts units of 8 bytes, at most 255 of them, and its head is one.
    let quoted = about.len().min(rest.len().saturating_sub(8)).min(254 * 8) / 8 * 8;
    if let (Some(quote), Some((place, behind))) = (about.get(..quoted), rest.split_first_chunk_mut::<8>())
        && quoted > 0
    {
        *place = [option::REDIRECTED_HEADER, (quoted / 8 + 1) as u8, 0, 0, 0, 0, 0, 0];
        behind[..quoted].copy_from_slice(quote);
        length += 8 + quoted;
    }
    fill_checksum(&mut bytes[..length], pseudo_header(source, destination, length));
    Ok(length)
}

/// Header, target where there is one, options of one unit each, checksum.
fn emit(
    bytes: &mut [u8],
    (source, destination): (&Ipv6Addr, &Ipv6Addr),
    kind: u8,
    flags: u8,
    target: Option<&Ipv6Addr>,
    options: [Option<(u8, [u8; 6])>; 2],
) -> Result<usize, BufferTooSmall> {
    let target = target.map(Ipv6Addr::octets);
    let target = target.as_ref().map_or(&[][..], |octets| octets);
    let length = 8 + target.len() + 8 * options.iter().flatten().count();
    let message = bytes.get_mut(..length).ok_or(BufferTooSmall)?;
    let (header, rest) = message.split_first_chunk_mut().ok_or(BufferTooSmall)?;
    *header = [kind, 0, 0, 0, flags, 0, 0, 0];
    let (body, mut rest) = rest.split_at_mut_checked(target.len()).ok_or(BufferTooSmall)?;
    body.copy_from_slice(target);
    for (kind, [a, b, c, d, e, f]) in options.into_iter().flatten() {
        let (option, behind) = rest.split_first_chunk_mut().ok_or(BufferTooSmall)?;
        *option = [kind, 1, a, b, c, d, e, f];
        rest = behind;
    }
    fill_checksum(message, pseudo_header(source, destination, length));
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::super::IpProtocol;
    use super::super::address::{IPV6_ALL_NODES, IPV6_ALL_ROUTERS, solicited_node};
    use super::*;
    use proptest::prelude::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
    const NONE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
    const GROUP: Ipv6Addr = IPV6_ALL_NODES;
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn receive_with(s: Ipv6Addr, d: Ipv6Addr, hops: u8, message: &[u8]) -> Result<Message<'_>, Error> {
        receive(&ipv6::Header::new(s, d, IpProtocol::ICMPV6, hops, message.len()).unwrap(), message)
    }

    /// A message of any bytes behind the checksum, which is filled.
    fn message(s: Ipv6Addr, d: Ipv6Addr, kind: u8, code: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![kind, code, 0, 0];
        bytes.extend(parts.concat());
        let pseudo = pseudo_header(&s, &d, bytes.len());
        fill_checksum(&mut bytes, pseudo);
        bytes
    }

    /// The fault that is found in such a message.
    fn fault(s: Ipv6Addr, d: Ipv6Addr, kind: u8, parts: &[&[u8]]) -> Option<Error> {
        receive_with(s, d, 255, &message(s, d, kind, 0, parts)).err()
    }

    #[test]
    fn a_solicitation_is_emitted_and_received_and_every_truncation_dropped() {
        let group = solicited_node(&HOST);
        let mut bytes = [0; MAX_EMITTED];
        let length = emit_neighbour_solicitation(
            &mut bytes,
            &ROUTER,
            &group,
            &HOST,
            Some(MAC),
            Some([1, 2, 3, 4, 5, 6]),
        )
        .unwrap();
        assert_eq!(length, MAX_EMITTED);
        match receive_with(ROUTER, group, 255, &bytes).unwrap() {
            Message::NeighbourSolicitation { target, options } => {
                assert_eq!(target, HOST);
                assert_eq!(options.source_link_address(), Some(MAC));
                assert_eq!(options.target_link_address(), None);
                assert_eq!(options.nonce(), Some(&[1, 2, 3, 4, 5, 6][..]));
            }
            other => panic!("{other:?}"),
        }
        for length in 0..MAX_EMITTED {
            assert!(receive_with(ROUTER, group, 255, &bytes[..length]).is_err(), "{length}");
            let mut short = vec![0; length];
            let nonce = Some([0; 6]);
            let result = emit_neighbour_solicitation(&mut short, &ROUTER, &group, &HOST, Some(MAC), nonce);
            assert_eq!(result, Err(BufferTooSmall));
        }
        assert_eq!(receive_with(ROUTER, group, 254, &bytes), Err(Error::BadHopLimit));
        bytes[20] ^= 1;
        assert_eq!(receive_with(ROUTER, group, 255, &bytes), Err(Error::BadChecksum));
    }

    #[test]
    fn an_advertisement_keeps_its_flags() {
        for bits in 0..8u8 {
            let flags = AdvertisementFlags {
                router: bits & 1 != 0,
                solicited: bits & 2 != 0,
                override_: bits & 4 != 0,
            };
            let mut bytes = [0; 32];
            emit_neighbour_advertisement(&mut bytes, &ROUTER, &HOST, &ROUTER, flags, MAC).unwrap();
            match receive_with(ROUTER, HOST, 255, &bytes).unwrap() {
                Message::NeighbourAdvertisement { router, solicited, override_, target, options } => {
                    assert_eq!(AdvertisementFlags { router, solicited, override_ }, flags);
                    assert_eq!((target, options.target_link_address()), (ROUTER, Some(MAC)));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_router_solicitation_is_emitted_and_received() {
        let mut bytes = [0; 16];
        assert_eq!(emit_router_solicitation(&mut bytes, &HOST, &IPV6_ALL_ROUTERS, Some(MAC)), Ok(16));
        match receive_with(HOST, IPV6_ALL_ROUTERS, 255, &bytes).unwrap() {
            Message::RouterSolicitation { options } => assert_eq!(options.source_link_address(), Some(MAC)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_router_advertisement_is_read_field_by_field() {
        let fixed = [64, 0xc0, 0x07, 0x08, 0, 0, 0x75, 0x30, 0, 0, 0x03, 0xe8];
        let mut prefix = vec![3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0];
        prefix.extend(HOST.octets());
        let options: &[&[u8]] =
            &[&fixed, &[1, 1, 2, 0, 0, 0, 0, 1], &[5, 1, 0, 0, 0, 0, 0x05, 0xdc], &prefix];
        let bytes = message(ROUTER, GROUP, 134, 0, options);
        let Ok(Message::RouterAdvertisement { fields, options }) = receive_with(ROUTER, GROUP, 255, &bytes)
        else {
            panic!("not accepted");
        };
        let expected = RouterFields {
            hop_limit: 64,
            managed: true,
            other: true,
            lifetime: 1800,
            reachable_time: 30_000,
            retransmit_timer: 1000,
        };
        assert_eq!(fields, expected);
        assert_eq!((options.source_link_address(), options.mtu()), (Some(MAC), Some(1500)));
        let expected = Prefix {
            prefix: HOST,
            length: 64,
            on_link: true,
            autonomous: true,
            valid_lifetime: 3600,
            preferred_lifetime: 1800,
        };
        assert_eq!(options.prefixes().collect::<Vec<_>>(), [expected]);
        assert_eq!(options.iter().count(), 3);
        assert_eq!(fault(HOST, GROUP, 134, &[&fixed]), Some(Error::BadSource));
    }

    #[test]
    fn a_redirect_is_read_and_its_addresses_are_checked() {
        let (router, host, other) = (ROUTER.octets(), HOST.octets(), GROUP.octets());
        let quoted: &[u8] = &[4, 2, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 0];
        let bytes = message(ROUTER, HOST, 137, 0, &[&[0; 4], &router, &host, quoted]);
        match receive_with(ROUTER, HOST, 255, &bytes).unwrap() {
            Message::Redirect { target, destination, options } => {
                assert_eq!((target, destination), (ROUTER, HOST));
                assert_eq!(options.redirected_packet(), Some(&quoted[8..]));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fault(ROUTER, HOST, 137, &[&[0; 4], &host, &host]), None);
        assert_eq!(fault(HOST, HOST, 137, &[&[0; 4], &router, &host]), Some(Error::BadSource));
        assert_eq!(fault(ROUTER, HOST, 137, &[&[0; 4], &router, &other]), Some(Error::BadTarget));
        assert_eq!(fault(ROUTER, HOST, 137, &[&[0; 4], &host, &router]), Some(Error::BadTarget));
    }

    #[test]
    fn each_check_of_sections_6_1_and_7_1_finds_its_fault() {
        let (four, target, group) = ([0u8; 4], HOST.octets(), GROUP.octets());
        let mac: &[u8] = &[1, 1, 2, 0, 0, 0, 0, 1];
        let detection = solicited_node(&HOST);
        let ns = kind::NEIGHBOUR_SOLICITATION;
        assert_eq!(fault(NONE, detection, ns, &[&four, &target]), None);
        assert_eq!(fault(NONE, HOST, ns, &[&four, &target]), Some(Error::BadDestination));
        assert_eq!(fault(NONE, detection, ns, &[&four, &target, mac]), Some(Error::BadOption));
        assert_eq!(fault(ROUTER, HOST, ns, &[&four, &group]), Some(Error::BadTarget));
        assert_eq!(fault(ROUTER, HOST, ns, &[&four, &target[..15]]), Some(Error::Truncated));
        assert_eq!(
            fault(ROUTER, HOST, ns, &[&four, &target, &[9, 0, 0, 0, 0, 0, 0, 0]]),
            Some(Error::BadOption)
        );
        assert_eq!(
            fault(ROUTER, HOST, ns, &[&four, &target, &[9, 2, 0, 0, 0, 0, 0, 0]]),
            Some(Error::BadOption)
        );
        assert_eq!(fault(ROUTER, HOST, ns, &[&four, &target, &[9]]), Some(Error::BadOption));
        assert_eq!(fault(ROUTER, HOST, ns, &[&four, &target, &[9, 1, 0, 0, 0, 0, 0, 0]]), None);
        let na = kind::NEIGHBOUR_ADVERTISEMENT;
        assert_eq!(fault(ROUTER, GROUP, na, &[&[0x40, 0, 0, 0], &target]), Some(Error::BadFlags));
        assert_eq!(fault(ROUTER, GROUP, na, &[&[0x20, 0, 0, 0], &target]), None);
        assert_eq!(fault(ROUTER, HOST, na, &[&four, &group]), Some(Error::BadTarget));
        assert_eq!(fault(NONE, IPV6_ALL_ROUTERS, 133, &[&four]), None);
        assert_eq!(fault(NONE, IPV6_ALL_ROUTERS, 133, &[&four, mac]), Some(Error::BadOption));
        assert_eq!(fault(ROUTER, GROUP, 134, &[&four, &[0; 7]]), Some(Error::Truncated));
        assert_eq!(fault(ROUTER, HOST, 138, &[&four, &target]), Some(Error::UnknownType));
        let coded = message(ROUTER, HOST, ns, 1, &[&four, &target]);
        assert_eq!(receive_with(ROUTER, HOST, 255, &coded), Err(Error::BadCode));
    }

    proptest! {
        #[test]
        fn whatever_the_body_options_end(kind in 133u8..138, body in prop::collection::vec(0u8..20, 4..120)) {
            let bytes = message(ROUTER, HOST, kind, 0, &[&body]);
            let options = match receive_with(ROUTER, HOST, 255, &bytes) {
                Ok(
                    Message::RouterSolicitation { options }
                    | Message::RouterAdvertisement { options, .. }
                    | Message::NeighbourSolicitation { options, .. }
                    | Message::NeighbourAdvertisement { options, .. }
                    | Message::Redirect { options, .. },
                ) => options,
                Err(_) => return Ok(()),
            };
            let total: usize = options.iter().map(|option| option.data.len() + 2).sum();
            prop_assert_eq!(total % 8, 0);
            prop_assert!(total < bytes.len());
        }
    }
}
