//! SOL_RAW (raw(7)) and IPPROTO_ICMPV6 (RFC 3542 section 3.2).

use super::{Get, ICMPV6, IPV6, Kinds, RAW, Row, Set, row};
use crate::session::Errno;
use crate::session::options::asked::{Answer, Asked};
use crate::session::options::effect::{self, Effect};
use crate::session::options::kind;
use crate::session::options::state::Field;

pub(super) const ROWS: &[Row] = &[
    row(RAW, 1, "ICMP_FILTER", Kinds::RAW4)
        .value("struct icmp_filter")
        .least(0)
        .set(Set::Bytes(set_icmp_filter))
        .get(Get::Bytes(get_icmp_filter))
        .note("for sockets of IPPROTO_ICMP; EOPNOTSUPP for others"),
    row(RAW, 7, "IPV6_CHECKSUM", Kinds::RAW6).set(Set::Int(set_checksum)).get(Get::Value(checksum)).differs("ICMPv6 keeps its checksum at 2, where RFC 4443 has it: EINVAL for other places, which Linux takes at this level"),
    row(RAW, 36, "IPV6_HDRINCL", Kinds::RAW6).flag(Field::HeaderIncluded).get(Get::Value(header_included)).note("as at IPPROTO_IPV6"),
    row(ICMPV6, 1, "ICMPV6_FILTER", Kinds::RAW6)
        .value("struct icmp6_filter")
        .least(0)
        .set(Set::Bytes(set_icmp6_filter))
        .get(Get::Bytes(get_icmp6_filter))
        .note("for sockets of IPPROTO_ICMPV6; EOPNOTSUPP for others"),
];

/// The same two at IPPROTO_IPV6.
pub(super) const CHECKSUM: Row = row(IPV6, 7, "IPV6_CHECKSUM", Kinds::RAW6)
    .set(Set::Int(|asked, at| {
        // Linux: not at this level for ICMPv6, whose checksum is where it is (RFC 3542 section 3.1).
        if asked.facts.protocol == kind::ICMPV6 { Err(Errno::INVAL) } else { set_checksum(asked, at) }
    }))
    .get(Get::Value(checksum))
    .note("an even place, or -1 for none; EINVAL for ICMPv6");

fn set_icmp_filter(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    if asked.facts.protocol != kind::ICMP {
        return Err(Errno::OPNOTSUPP);
    }
    let mut word = asked.value(Field::IcmpFilter).to_ne_bytes();
    let len = value.len().min(4);
    word[..len].copy_from_slice(&value[..len]);
    Ok(asked.store(Field::IcmpFilter, i32::from_ne_bytes(word)))
}

fn get_icmp_filter(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    if asked.facts.protocol != kind::ICMP {
        return Err(Errno::OPNOTSUPP);
    }
    answer.bytes(&asked.value(Field::IcmpFilter).to_ne_bytes());
    Ok(())
}

fn set_checksum(asked: &mut Asked<'_>, at: i32) -> Result<Effect, Errno> {
    // RFC 3542 section 3.1: an odd place is no place. Linux takes every negative number for "none".
    if at > 0 && at % 2 == 1 {
        return Err(Errno::INVAL);
    }
    if asked.facts.protocol == kind::ICMPV6 && at != 2 {
        return Err(Errno::INVAL);
    }
    Ok(asked.store(Field::Checksum, at.max(-1)))
}

fn checksum(asked: &Asked<'_>) -> Result<i32, Errno> {
    let untouched = !asked.state.is_touched(Field::Checksum);
    Ok(if untouched && asked.facts.protocol == kind::ICMPV6 { 2 } else { asked.value(Field::Checksum) })
}

/// IP_HDRINCL and IPV6_HDRINCL: sockets of IPPROTO_RAW begin with it.
pub(super) fn header_included(asked: &Asked<'_>) -> Result<i32, Errno> {
    let untouched = !asked.state.is_touched(Field::HeaderIncluded);
    Ok(if untouched {
        i32::from(asked.facts.protocol == kind::RAW)
    } else {
        asked.value(Field::HeaderIncluded)
    })
}

fn set_icmp6_filter(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    if asked.facts.protocol != kind::ICMPV6 {
        return Err(Errno::OPNOTSUPP);
    }
    let mut words = asked.state.more().and_then(|more| more.icmp6_filter).unwrap_or_default();
    for (place, byte) in value.iter().take(32).enumerate() {
        let mut bytes = words[place / 4].to_ne_bytes();
        bytes[place % 4] = *byte;
        words[place / 4] = u32::from_ne_bytes(bytes);
    }
    asked.state.more_mut().icmp6_filter = Some(words);
    Ok(effect::icmp6_filter(words))
}

fn get_icmp6_filter(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    if asked.facts.protocol != kind::ICMPV6 {
        return Err(Errno::OPNOTSUPP);
    }
    let words = asked.state.more().and_then(|more| more.icmp6_filter).unwrap_or_default();
    answer.bytes(words.map(u32::to_ne_bytes).as_flattened());
    Ok(())
}
