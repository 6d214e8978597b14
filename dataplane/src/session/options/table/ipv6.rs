//! IPPROTO_IPV6 (ipv6(7), RFC 3493, RFC 3542, RFC 5014).

use super::ip::default_hops;
use super::raw::{CHECKSUM, header_included};
use super::{Get, IPV6, Kinds, Live, Row, Set, Standing, row};
use crate::session::Errno;
use crate::session::options::asked::{Answer, Asked, int};
use crate::session::options::effect::{self, Effect};
use crate::session::options::groups;
use crate::session::options::kind::{self, Stage};
use crate::session::options::state::Field;

const fn v6(number: i32, name: &'static str, kinds: Kinds) -> Row {
    row(IPV6, number, name, kinds)
}

const ALL: Kinds = Kinds::V6;
const TCP: Kinds = Kinds::TCP6;
const DATAGRAM: Kinds = Kinds::V6_DATAGRAM;
const PORTS: Kinds = Kinds::V6.without(Kinds::RAW_AND_PING);
const RAW: Kinds = Kinds::RAW6;

const FILTER: &str = "netfilter's: ENOPROTOOPT, as a kernel without it";
const XFRM: &str = "ENOPROTOOPT, as a kernel without CONFIG_XFRM; policies are the operator's";
const HEADERS: &str =
    "ENOPROTOOPT to switch on: extension headers of datagrams are dealt with below and not kept";
const STICKY: &str = "ENOPROTOOPT for a header to send; raw sockets with IPV6_HDRINCL can send it";
const LABELS: &str = "ENOPROTOOPT to switch on: flow labels are not the program's";

/// One that can be switched off, which it is.
const fn never(number: i32, name: &'static str, differs: &'static str) -> Row {
    v6(number, name, ALL)
        .value("bool")
        .set(Set::Int(off_alone))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs(differs)
}

/// An extension header to send with every datagram.
const fn header(number: i32, name: &'static str) -> Row {
    v6(number, name, ALL)
        .value("bytes")
        .least(0)
        .set(Set::Bytes(|_, value| match value.len() {
            0 => Ok(Effect::None),
            1..8 => Err(Errno::INVAL),
            len if len % 8 != 0 || len > 2040 => Err(Errno::INVAL),
            _ => Err(Errno::NOPROTOOPT),
        }))
        .get(Get::Bytes(nothing))
        .stands(Standing::Refused)
        .differs(STICKY)
}

pub(super) const ROWS: &[Row] = &[
    v6(1, "IPV6_ADDRFORM", PORTS)
        .set(Set::Int(|asked, family| match family {
            2 if asked.facts.stage != Stage::Connected => Err(Errno::NOTCONN),
            2 => Err(Errno::ADDRNOTAVAIL),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Value(|asked| if asked.facts.stage == Stage::Connected { Ok(10) } else { Err(Errno::NOTCONN) }))
        .stands(Standing::Refused)
        .differs("EADDRNOTAVAIL also for a connection over IPv4: a socket stays of the family that it was made for"),
    v6(1, "IPV6_ADDRFORM", ALL.without(PORTS))
        .set(Set::Int(|_, family| Err(if family == 2 { Errno::NOPROTOOPT } else { Errno::INVAL })))
        .note("not for raw and ping sockets"),
    v6(2, "IPV6_2292PKTINFO", ALL).flag(Field::OldPacketInfo6).stands(Standing::Library),
    never(3, "IPV6_2292HOPOPTS", HEADERS),
    never(4, "IPV6_2292DSTOPTS", HEADERS),
    never(5, "IPV6_2292RTHDR", HEADERS),
    v6(6, "IPV6_2292PKTOPTIONS", TCP).value("bytes").least(0).set(Set::Bytes(set_packet_options)).get(Get::Bytes(nothing)).stands(Standing::Refused).differs(STICKY),
    v6(6, "IPV6_2292PKTOPTIONS", DATAGRAM).value("bytes").least(0).set(Set::Bytes(set_packet_options)).stands(Standing::Refused).differs(STICKY),
    CHECKSUM,
    v6(8, "IPV6_2292HOPLIMIT", ALL).flag(Field::OldHopLimit).stands(Standing::Library),
    never(11, "IPV6_FLOWINFO", LABELS),
    v6(16, "IPV6_UNICAST_HOPS", ALL)
        .range(Field::UnicastHops, -1, 255)
        .get(Get::Value(|asked| Ok(default_hops(asked.value(Field::UnicastHops)))))
        .note("-1: the default, 64"),
    v6(17, "IPV6_MULTICAST_IF", DATAGRAM).int(Field::MulticastPort6, groups::set_multicast_if6).note("ENODEV for interfaces that are under no port"),
    v6(17, "IPV6_MULTICAST_IF", TCP).get(Get::Value(|_| Ok(0))).least(0).note("not for TCP"),
    v6(18, "IPV6_MULTICAST_HOPS", DATAGRAM)
        .range(Field::MulticastHops, -1, 255)
        .get(Get::Value(|asked| Ok(asked.value(Field::MulticastHops).max(-1)).map(|hops| if hops < 0 { 1 } else { hops })))
        .note("-1: the default, 1"),
    v6(18, "IPV6_MULTICAST_HOPS", TCP).get(Get::Value(|_| Ok(1))).least(0).note("not for TCP"),
    v6(19, "IPV6_MULTICAST_LOOP", ALL).range(Field::MulticastLoop6, 0, 1).value("bool"),
    v6(20, "IPV6_JOIN_GROUP", DATAGRAM).value("ipv6_mreq").least(20).set(Set::Bytes(|asked, value| groups::membership6(asked, value, true))),
    v6(20, "IPV6_JOIN_GROUP", TCP).least(20).set(Set::Refused(Errno::PROTO)).note("not for TCP"),
    v6(21, "IPV6_LEAVE_GROUP", DATAGRAM).value("ipv6_mreq").least(20).set(Set::Bytes(|asked, value| groups::membership6(asked, value, false))),
    v6(21, "IPV6_LEAVE_GROUP", TCP).least(20).set(Set::Refused(Errno::PROTO)).note("not for TCP"),
    v6(22, "IPV6_ROUTER_ALERT", RAW)
        .set(Set::Int(|asked, value| match value {
            _ if asked.facts.protocol != kind::RAW => Err(Errno::NOPROTOOPT),
            ..0 if asked.value(Field::RouterAlert6) < 0 => Err(Errno::NOBUFS),
            0.. if asked.value(Field::RouterAlert6) >= 0 => Err(Errno::ADDRINUSE),
            65_536.. => Err(Errno::INVAL),
            _ => Ok(asked.store(Field::RouterAlert6, value.max(-1))),
        }))
        .get(Get::Value(|asked| Ok(i32::from(asked.value(Field::RouterAlert6) >= 0))))
        .differs("EINVAL for values beyond 16 bits, which no packet carries"),
    v6(22, "IPV6_ROUTER_ALERT", ALL.without(RAW)).get(Get::Value(|_| Ok(0))).note("of sockets of IPPROTO_RAW"),
    v6(23, "IPV6_MTU_DISCOVER", ALL).range(Field::MtuDiscover6, 0, 5),
    v6(24, "IPV6_MTU", ALL)
        .set(Set::Int(|_, mtu| match mtu {
            0 => Ok(Effect::None),
            1280.. => Err(Errno::NOPROTOOPT),
            _ => Err(Errno::INVAL),
        }))
        .live(Live::Mtu)
        .differs("ENOPROTOOPT for an MTU of the program's own; reading works"),
    v6(25, "IPV6_RECVERR", ALL).flag(Field::ReceiveErrors6),
    v6(26, "IPV6_V6ONLY", ALL.without(RAW)).flag(Field::V6Only).set(Set::Int(|asked, on| {
        if asked.facts.bound { Err(Errno::INVAL) } else { Ok(asked.store(Field::V6Only, i32::from(on != 0))) }
    })).get(Get::Value(|asked| Ok(if asked.is(Kinds::RAW_AND_PING) && !asked.state.is_touched(Field::V6Only) { 1 } else { asked.value(Field::V6Only) }))).note("EINVAL once bound; an IPv6 address of its own switches it on"),
    v6(26, "IPV6_V6ONLY", RAW).set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(0))).least(0).note("not for raw sockets"),
    v6(27, "IPV6_JOIN_ANYCAST", ALL).value("ipv6_mreq").least(20).stands(Standing::Refused).differs("ENOPROTOOPT: anycast addresses are the operator's"),
    v6(28, "IPV6_LEAVE_ANYCAST", ALL).value("ipv6_mreq").least(20).stands(Standing::Refused).differs("ENOPROTOOPT: anycast addresses are the operator's"),
    v6(29, "IPV6_MULTICAST_ALL", ALL).flag(Field::MulticastAll6),
    v6(30, "IPV6_ROUTER_ALERT_ISOLATE", ALL).flag(Field::RouterAlertIsolate).stands(Standing::Kept).note("there is one network namespace to be isolated in"),
    v6(31, "IPV6_RECVERR_RFC4884", ALL)
        .value("bool")
        .set(Set::Int(|_, on| match on {
            0 => Ok(Effect::None),
            1 => Err(Errno::NOPROTOOPT),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on, as before Linux 5.9"),
    v6(32, "IPV6_FLOWLABEL_MGR", ALL).value("in6_flowlabel_req").least(32).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs("ENOPROTOOPT: flow labels are not the program's"),
    never(33, "IPV6_FLOWINFO_SEND", LABELS),
    v6(34, "IPV6_IPSEC_POLICY", ALL).value("bytes").least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(XFRM),
    v6(35, "IPV6_XFRM_POLICY", ALL).value("bytes").least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(XFRM),
    v6(36, "IPV6_HDRINCL", RAW).flag(Field::HeaderIncluded).get(Get::Value(header_included)),
    v6(42, "MCAST_JOIN_GROUP", DATAGRAM).value("group_req").set(Set::Bytes(|asked, value| groups::request(asked, value, IPV6, true))),
    v6(43, "MCAST_BLOCK_SOURCE", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IPV6, groups::BLOCK))),
    v6(44, "MCAST_UNBLOCK_SOURCE", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IPV6, groups::UNBLOCK))),
    v6(45, "MCAST_LEAVE_GROUP", DATAGRAM).value("group_req").set(Set::Bytes(|asked, value| groups::request(asked, value, IPV6, false))),
    v6(46, "MCAST_JOIN_SOURCE_GROUP", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IPV6, groups::JOIN))),
    v6(47, "MCAST_LEAVE_SOURCE_GROUP", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IPV6, groups::LEAVE))),
    v6(48, "MCAST_MSFILTER", DATAGRAM).value("group_filter").set(Set::Bytes(|asked, value| groups::filter(asked, value, IPV6))).live(Live::Filter(IPV6)),
    v6(42, "MCAST_JOIN_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    v6(43, "MCAST_BLOCK_SOURCE", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    v6(44, "MCAST_UNBLOCK_SOURCE", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    v6(45, "MCAST_LEAVE_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    v6(46, "MCAST_JOIN_SOURCE_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    v6(47, "MCAST_LEAVE_SOURCE_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    v6(48, "MCAST_MSFILTER", TCP).refused(Errno::INVAL, Errno::ADDRNOTAVAIL).differs(groups::TCP),
    v6(49, "IPV6_RECVPKTINFO", ALL).flag(Field::PacketInfo6).stands(Standing::Library),
    v6(50, "IPV6_PKTINFO", ALL).value("in6_pktinfo").least(20).set(Set::Bytes(set_sticky)).differs(
        "EINVAL for TCP, whose source bind chooses; Linux takes it before the connection is opened",
    ),
    v6(51, "IPV6_RECVHOPLIMIT", ALL).flag(Field::ReceiveHopLimit).stands(Standing::Library),
    never(53, "IPV6_RECVHOPOPTS", HEADERS),
    header(54, "IPV6_HOPOPTS"),
    header(55, "IPV6_RTHDRDSTOPTS"),
    never(56, "IPV6_RECVRTHDR", HEADERS),
    header(57, "IPV6_RTHDR"),
    never(58, "IPV6_RECVDSTOPTS", HEADERS),
    header(59, "IPV6_DSTOPTS"),
    never(60, "IPV6_RECVPATHMTU", "ENOPROTOOPT to switch on; IPV6_RECVERR and IPV6_PATHMTU tell"),
    v6(61, "IPV6_PATHMTU", ALL).value("ip6_mtuinfo").least(0).live(Live::PathMtu),
    v6(62, "IPV6_DONTFRAG", ALL).flag(Field::DontFragment).least(0),
    v6(64, "IP6T_SO_SET_REPLACE, IP6T_SO_GET_INFO", ALL).least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    v6(65, "IP6T_SO_SET_ADD_COUNTERS, IP6T_SO_GET_ENTRIES", ALL).least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    v6(66, "IPV6_RECVTCLASS", ALL).flag(Field::ReceiveTrafficClass).stands(Standing::Library),
    v6(67, "IPV6_TCLASS", ALL).int(Field::TrafficClass, set_traffic_class).note("TCP keeps the two bits of ECN to itself"),
    v6(68, "IP6T_SO_GET_REVISION_MATCH", ALL).least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    v6(69, "IP6T_SO_GET_REVISION_TARGET", ALL).least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    v6(70, "IPV6_AUTOFLOWLABEL", ALL).flag(Field::AutoFlowLabel).least(0).stands(Standing::Kept).note("of effect on flow labels that the host makes; the data plane sends none"),
    v6(72, "IPV6_ADDR_PREFERENCES", ALL).int(Field::AddressPreferences, set_preferences).stands(Standing::Kept).note(
        "there are no temporary and no care-of addresses to prefer",
    ),
    v6(73, "IPV6_MINHOPCOUNT", ALL).range(Field::MinHopCount, 0, 255).note("of effect for TCP (RFC 5082), as in Linux"),
    v6(74, "IPV6_RECVORIGDSTADDR", ALL).flag(Field::ReceiveOriginal6).stands(Standing::Library),
    v6(75, "IPV6_TRANSPARENT", ALL)
        .value("bool")
        .set(Set::Int(|_, on| if on == 0 { Ok(Effect::None) } else { Err(Errno::PERM) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("EPERM to switch on, also for root: the data plane does not hand over what is on its way to others"),
    v6(76, "IPV6_UNICAST_IF", ALL)
        .value("number, network byte order")
        .set(Set::Bytes(|asked, value| groups::set_unicast_if(asked, value, Field::UnicastPort6)))
        .get(Get::Value(|asked| Ok(asked.value(Field::UnicastPort6).to_be()))),
    never(77, "IPV6_RECVFRAGSIZE", "ENOPROTOOPT to switch on: sizes of fragments are not kept").least(0),
    v6(78, "IPV6_FREEBIND", ALL).flag(Field::FreeBind),
    v6(80, "IP6T_SO_ORIGINAL_DST", ALL).least(0).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
];

fn off_alone(_: &mut Asked<'_>, on: i32) -> Result<Effect, Errno> {
    if on == 0 { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }
}

fn nothing(_: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    answer.bytes(&[]);
    Ok(())
}

fn set_packet_options(_: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    if value.is_empty() { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }
}

fn set_traffic_class(asked: &mut Asked<'_>, class: i32) -> Result<Effect, Errno> {
    let mut class = match class {
        -1 => 0,
        0..=255 => class,
        _ => return Err(Errno::INVAL),
    };
    if asked.facts.is_tcp() {
        class = class & !3 | asked.value(Field::TrafficClass) & 3;
    }
    Ok(asked.store(Field::TrafficClass, class))
}

/// RFC 5014 section 3: of each pair of flags one at most.
fn set_preferences(asked: &mut Asked<'_>, flags: i32) -> Result<Effect, Errno> {
    const TEMPORARY: i32 = 1;
    const PUBLIC: i32 = 2;
    const CARE_OF: i32 = 4;
    const CRYPTOGRAPHIC: i32 = 8;
    const DEFAULT: i32 = 0x100;
    const HOME: i32 = 0x400;
    const NOT_CRYPTOGRAPHIC: i32 = 0x800;
    let had = asked.value(Field::AddressPreferences);
    let kind = match flags & (TEMPORARY | PUBLIC | DEFAULT) {
        0 => had & (TEMPORARY | PUBLIC | DEFAULT),
        one @ (TEMPORARY | PUBLIC | DEFAULT) => one,
        _ => return Err(Errno::INVAL),
    };
    let home = match flags & (HOME | CARE_OF) {
        0 => had & (HOME | CARE_OF),
        one @ (HOME | CARE_OF) => one,
        _ => return Err(Errno::INVAL),
    };
    if flags & (CRYPTOGRAPHIC | NOT_CRYPTOGRAPHIC) == CRYPTOGRAPHIC | NOT_CRYPTOGRAPHIC {
        return Err(Errno::INVAL);
    }
    Ok(asked.store(Field::AddressPreferences, kind | home))
}

fn set_sticky(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    let (Some(address), Some(index)) = (value.first_chunk::<16>(), value.get(16..).and_then(int)) else {
        return Err(Errno::INVAL);
    };
    let device = asked.value(Field::Device);
    if asked.facts.is_tcp() || (device != 0 && index != 0 && device != index) {
        return Err(Errno::INVAL);
    }
    if index != 0 && asked.links.by_number(index as u32).is_none() {
        return Err(Errno::NODEV);
    }
    let nothing = *address == [0; 16] && index == 0;
    asked.state.more_mut().sticky = (!nothing).then_some((*address, index as u32));
    Ok(effect::sticky(asked))
}
