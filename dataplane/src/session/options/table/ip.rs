//! IPPROTO_IP (ip(7)). Sockets of AF_INET6 have these options too, for what they exchange over IPv4; raw ones do not.

use super::raw::header_included;
use super::{Get, IP, Kinds, Live, Row, Set, Standing, row};
use crate::session::Errno;
use crate::session::options::asked::Asked;
use crate::session::options::effect::Effect;
use crate::session::options::groups;
use crate::session::options::kind;
use crate::session::options::state::Field;

const fn ip(number: i32, name: &'static str, kinds: Kinds) -> Row {
    row(IP, number, name, kinds)
}

const ALL: Kinds = Kinds::IP;
const TCP: Kinds = Kinds::TCP;
const DATAGRAM: Kinds = Kinds::IP_DATAGRAM;
const RAW: Kinds = Kinds::RAW4;
const NOT_RAW: Kinds = Kinds::IP.without(Kinds::RAW4);

const FILTER: &str = "netfilter's: ENOPROTOOPT, as a kernel without it";
const PORTS: &str =
    "ENOPROTOOPT, as a kernel before it: bind takes ports from `sockets.local_ports`, at once";
const XFRM: &str = "ENOPROTOOPT, as a kernel without CONFIG_XFRM; policies are the operator's";

pub(super) const ROWS: &[Row] = &[
    ip(1, "IP_TOS", ALL).int(Field::Tos, set_tos).note("TCP keeps the two bits of ECN to itself. It sets SO_PRIORITY too, as in Linux"),
    ip(2, "IP_TTL", ALL)
        .least(1)
        .set(Set::Int(|asked, ttl| match ttl {
            -1 | 1..=255 => Ok(asked.store(Field::Ttl, ttl)),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Value(|asked| Ok(default_hops(asked.value(Field::Ttl)))))
        .note("-1: the default, 64"),
    ip(3, "IP_HDRINCL", RAW).flag(Field::HeaderIncluded).get(Get::Value(header_included)),
    ip(3, "IP_HDRINCL", NOT_RAW).set(Set::Refused(Errno::NOPROTOOPT)).get(Get::Value(|_| Ok(0))).note("raw sockets'"),
    ip(4, "IP_OPTIONS", DATAGRAM)
        .value("bytes")
        .set(Set::Bytes(|_, value| value.try_into().map(Effect::IpOptions).map_err(|_too_long| Errno::INVAL)))
        .get(Get::Bytes(|asked, answer| {
            answer.bytes(asked.state.more().map_or(&[], |more| &more.ip_options));
            Ok(())
        }))
        .note("with IP_HDRINCL they make sending fail (EINVAL); EINVAL for source routes, which Linux takes and nobody obeys any more (RFC 7126 section 4.3)"),
    ip(4, "IP_OPTIONS", TCP)
        .value("bytes")
        .set(Set::Bytes(|_, value| match value.len() {
            0 => Ok(Effect::None),
            1..=40 => Err(Errno::NOPROTOOPT),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Bytes(|_, answer| {
            answer.bytes(&[]);
            Ok(())
        }))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT for options to send: segments have none"),
    ip(5, "IP_ROUTER_ALERT", RAW).int(Field::RouterAlert, |asked, on| {
        let (is, on) = (asked.value(Field::RouterAlert), i32::from(on != 0));
        match (is, on) {
            _ if asked.facts.protocol == kind::RAW => Err(Errno::INVAL),
            (1, 1) => Err(Errno::ADDRINUSE),
            (0, 0) => Err(Errno::NOBUFS),
            _ => Ok(asked.store(Field::RouterAlert, on)),
        }
    }),
    ip(5, "IP_ROUTER_ALERT", NOT_RAW).set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(0))).note("raw sockets'"),
    ip(6, "IP_RECVOPTS", ALL).flag(Field::ReceiveOptions).stands(Standing::Library).note(NOT_OF_STREAMS),
    ip(7, "IP_RETOPTS", ALL).flag(Field::ReturnOptions).stands(Standing::Library).note(NOT_OF_STREAMS),
    ip(8, "IP_PKTINFO", ALL).flag(Field::PacketInfo).stands(Standing::Library),
    ip(9, "IP_PKTOPTIONS", TCP).value("bytes").get(Get::Bytes(|_, answer| {
        answer.bytes(&[]);
        Ok(())
    })).note("of what was switched on by IP_PKTINFO and its kin; TCP has none of it here").stands(Standing::Kept),
    ip(10, "IP_MTU_DISCOVER", ALL).range(Field::MtuDiscover, 0, 5),
    ip(11, "IP_RECVERR", ALL).flag(Field::ReceiveErrors),
    ip(12, "IP_RECVTTL", ALL).flag(Field::ReceiveTtl).stands(Standing::Library),
    ip(13, "IP_RECVTOS", ALL).flag(Field::ReceiveTos).stands(Standing::Library),
    ip(14, "IP_MTU", ALL).live(Live::Mtu),
    ip(15, "IP_FREEBIND", ALL).flag(Field::FreeBind).least(1),
    ip(16, "IP_IPSEC_POLICY", ALL).value("bytes").refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(XFRM),
    ip(17, "IP_XFRM_POLICY", ALL).value("bytes").refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(XFRM),
    ip(18, "IP_PASSSEC", ALL)
        .value("bool")
        .set(Set::Int(off_alone))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on: there are no security contexts"),
    ip(19, "IP_TRANSPARENT", ALL)
        .value("bool")
        .least(1)
        .set(Set::Int(|_, on| if on == 0 { Ok(Effect::None) } else { Err(Errno::PERM) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("EPERM to switch on, also for root: the data plane does not hand over what is on its way to others"),
    ip(20, "IP_RECVORIGDSTADDR", ALL).flag(Field::ReceiveOriginal).stands(Standing::Library),
    ip(21, "IP_MINTTL", ALL).range(Field::MinTtl, 0, 255).least(1).note("of effect for TCP (RFC 5082), as in Linux"),
    ip(22, "IP_NODEFRAG", RAW)
        .value("bool")
        .set(Set::Int(off_alone))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on: fragments are always put together before they are delivered"),
    ip(22, "IP_NODEFRAG", NOT_RAW).set(Set::Refused(Errno::NOPROTOOPT)).get(Get::Value(|_| Ok(0))).note("raw sockets'"),
    ip(23, "IP_CHECKSUM", ALL)
        .value("bool")
        .set(Set::Int(off_alone))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on: sums of whole packets are not kept"),
    ip(24, "IP_BIND_ADDRESS_NO_PORT", ALL).value("bool").refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(PORTS),
    ip(25, "IP_RECVFRAGSIZE", DATAGRAM)
        .value("bool")
        .set(Set::Int(off_alone))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on: sizes of fragments are not kept"),
    ip(25, "IP_RECVFRAGSIZE", TCP).set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(0))).note("not for TCP"),
    ip(26, "IP_RECVERR_RFC4884", ALL)
        .value("bool")
        .set(Set::Int(|_, on| match on {
            0 => Ok(Effect::None),
            1 => Err(Errno::NOPROTOOPT),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on, as before Linux 5.9"),
    ip(32, "IP_MULTICAST_IF", DATAGRAM)
        .value("in_addr, ip_mreq or ip_mreqn")
        .least(4)
        .set(Set::Bytes(groups::set_multicast_if))
        .get(Get::Bytes(groups::get_multicast_if))
        .note("reading gives the address"),
    ip(32, "IP_MULTICAST_IF", TCP).set(Set::Refused(Errno::INVAL)).get(Get::Bytes(groups::get_multicast_if)).note("not for TCP"),
    ip(33, "IP_MULTICAST_TTL", DATAGRAM).least(1).int(Field::MulticastTtl, |asked, ttl| match ttl {
        -1 => Ok(asked.store(Field::MulticastTtl, 1)),
        0..=255 => Ok(asked.store(Field::MulticastTtl, ttl)),
        _ => Err(Errno::INVAL),
    }),
    ip(33, "IP_MULTICAST_TTL", TCP).set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(1))).note("not for TCP"),
    ip(34, "IP_MULTICAST_LOOP", ALL).flag(Field::MulticastLoop).least(1),
    ip(35, "IP_ADD_MEMBERSHIP", DATAGRAM).value("ip_mreq or ip_mreqn").set(Set::Bytes(|asked, value| groups::membership4(asked, value, true))),
    ip(35, "IP_ADD_MEMBERSHIP", TCP).set(Set::Refused(Errno::PROTO)).note("not for TCP"),
    ip(36, "IP_DROP_MEMBERSHIP", DATAGRAM).value("ip_mreq or ip_mreqn").set(Set::Bytes(|asked, value| groups::membership4(asked, value, false))),
    ip(36, "IP_DROP_MEMBERSHIP", TCP).set(Set::Refused(Errno::PROTO)).note("not for TCP"),
    ip(37, "IP_UNBLOCK_SOURCE", DATAGRAM).value("ip_mreq_source").set(Set::Bytes(|asked, value| groups::source4(asked, value, groups::UNBLOCK))),
    ip(38, "IP_BLOCK_SOURCE", DATAGRAM).value("ip_mreq_source").set(Set::Bytes(|asked, value| groups::source4(asked, value, groups::BLOCK))),
    ip(39, "IP_ADD_SOURCE_MEMBERSHIP", DATAGRAM).value("ip_mreq_source").set(Set::Bytes(|asked, value| groups::source4(asked, value, groups::JOIN))),
    ip(40, "IP_DROP_SOURCE_MEMBERSHIP", DATAGRAM).value("ip_mreq_source").set(Set::Bytes(|asked, value| groups::source4(asked, value, groups::LEAVE))),
    ip(41, "IP_MSFILTER", DATAGRAM).value("ip_msfilter").set(Set::Bytes(groups::filter4)).live(Live::Filter4),
    ip(42, "MCAST_JOIN_GROUP", DATAGRAM).value("group_req").set(Set::Bytes(|asked, value| groups::request(asked, value, IP, true))),
    ip(43, "MCAST_BLOCK_SOURCE", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IP, groups::BLOCK))),
    ip(44, "MCAST_UNBLOCK_SOURCE", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IP, groups::UNBLOCK))),
    ip(45, "MCAST_LEAVE_GROUP", DATAGRAM).value("group_req").set(Set::Bytes(|asked, value| groups::request(asked, value, IP, false))),
    ip(46, "MCAST_JOIN_SOURCE_GROUP", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IP, groups::JOIN))),
    ip(47, "MCAST_LEAVE_SOURCE_GROUP", DATAGRAM).value("group_source_req").set(Set::Bytes(|asked, value| groups::source(asked, value, IP, groups::LEAVE))),
    ip(48, "MCAST_MSFILTER", DATAGRAM).value("group_filter").set(Set::Bytes(|asked, value| groups::filter(asked, value, IP))).live(Live::Filter(IP)),
    ip(37, "IP_UNBLOCK_SOURCE", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(38, "IP_BLOCK_SOURCE", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(39, "IP_ADD_SOURCE_MEMBERSHIP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(40, "IP_DROP_SOURCE_MEMBERSHIP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(41, "IP_MSFILTER", TCP).refused(Errno::INVAL, Errno::NODEV).differs(groups::TCP),
    ip(42, "MCAST_JOIN_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(43, "MCAST_BLOCK_SOURCE", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(44, "MCAST_UNBLOCK_SOURCE", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(45, "MCAST_LEAVE_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(46, "MCAST_JOIN_SOURCE_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(47, "MCAST_LEAVE_SOURCE_GROUP", TCP).refused(Errno::INVAL, Errno::NOPROTOOPT).differs(groups::TCP),
    ip(48, "MCAST_MSFILTER", TCP).refused(Errno::INVAL, Errno::INVAL).differs(groups::TCP),
    ip(49, "IP_MULTICAST_ALL", ALL).range(Field::MulticastAll, 0, 1).value("bool").least(1).note("sockets of AF_INET6 begin without it"),
    ip(50, "IP_UNICAST_IF", ALL)
        .value("number, network byte order")
        .set(Set::Bytes(|asked, value| groups::set_unicast_if(asked, value, Field::UnicastPort)))
        .get(Get::Value(|asked| Ok(asked.value(Field::UnicastPort).to_be()))),
    ip(51, "IP_LOCAL_PORT_RANGE", ALL)
        .value("u32: lowest, highest << 16")
        .refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT)
        .differs(PORTS),
    ip(52, "IP_PROTOCOL", RAW).get(Get::Value(|asked| Ok(asked.facts.protocol))),
    ip(52, "IP_PROTOCOL", NOT_RAW).live(Live::LocalPort).note("the local port number, as in Linux"),
    ip(64, "IPT_SO_SET_REPLACE, IPT_SO_GET_INFO", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(65, "IPT_SO_SET_ADD_COUNTERS, IPT_SO_GET_ENTRIES", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(66, "IPT_SO_GET_REVISION_MATCH", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(67, "IPT_SO_GET_REVISION_TARGET", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(80, "SO_ORIGINAL_DST", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(83, "SO_IP_SET", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(96, "ARPT_SO_SET_REPLACE, ARPT_SO_GET_INFO", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(97, "ARPT_SO_SET_ADD_COUNTERS, ARPT_SO_GET_ENTRIES", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(98, "ARPT_SO_GET_REVISION_MATCH", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
    ip(99, "ARPT_SO_GET_REVISION_TARGET", ALL).refused(Errno::NOPROTOOPT, Errno::NOPROTOOPT).differs(FILTER),
];

const NOT_OF_STREAMS: &str = "of no effect for TCP, as in Linux";

fn off_alone(_: &mut Asked<'_>, on: i32) -> Result<Effect, Errno> {
    if on == 0 { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }
}

/// A TTL or hop limit as it is read.
pub(super) fn default_hops(hops: i32) -> i32 {
    if hops < 0 { 64 } else { hops }
}

/// Linux's `ip_tos2prio`, by the four bits of RFC 1349.
const PRIORITIES: [i32; 16] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];

fn set_tos(asked: &mut Asked<'_>, tos: i32) -> Result<Effect, Errno> {
    let mut tos = tos & 0xff;
    if asked.facts.is_tcp() {
        tos = tos & !3 | asked.value(Field::Tos) & 3;
    }
    if tos != asked.value(Field::Tos) {
        asked.state.set(Field::Priority, PRIORITIES[(tos & 0x1e) as usize >> 1]);
    }
    Ok(asked.store(Field::Tos, tos))
}
