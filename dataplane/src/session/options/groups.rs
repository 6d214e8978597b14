//! Groups: the structures by which programs join and leave them, and name the interface to send to them by (RFC 3678).
//!
//! | structure | bytes |
//! |---|---|
//! | `ip_mreq`, `ip_mreqn` | group, interface's address (8), its number (12) |
//! | `ip_mreq_source` | group, interface's address, source (12) |
//! | `ip_msfilter` | group, interface's address, mode, count, sources (16 + 4 each) |
//! | `ipv6_mreq` | group, interface's number (20) |
//! | `group_req` | interface's number, group as `sockaddr_storage` (136) |
//! | `group_source_req` | the same, source as `sockaddr_storage` (264) |
//! | `group_filter` | the same as `group_req`, mode, count, sources as `sockaddr_storage` (144 + 128 each) |

use super::asked::{Answer, Asked, int};
use super::effect::Effect;
use super::limits::{MAX_FILTER_IPV4, MAX_FILTER_IPV6};
use super::state::Field;
use super::table::IP;
use crate::session::Errno;
use flumen_stack::PortId;
use flumen_stack::groups::{Filter, Mode, SourceChange};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const BLOCK: SourceChange = SourceChange::Block;
pub(super) const UNBLOCK: SourceChange = SourceChange::Unblock;
pub(super) const JOIN: SourceChange = SourceChange::Join;
pub(super) const LEAVE: SourceChange = SourceChange::Leave;

/// What is said of TCP.
pub(super) const TCP: &str = "EINVAL for TCP, which has no groups (Linux joins them for nothing)";

/// Bytes of `group_filter` before the sources.
pub(super) const FILTER_HEAD: usize = 144;
/// Bytes of `sockaddr_storage`.
pub(super) const STORAGE: usize = 128;
/// Bytes of `ip_msfilter` before the sources.
pub(super) const FILTER4_HEAD: usize = 16;

/// Which interface is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that the routes lead to.
    Any,
    /// This one.
    Port(PortId),
    /// The one with this address.
    Address(Ipv4Addr),
}

/// What is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Join, or leave.
    Member {
        /// On which interface.
        place: Place,
        /// The group.
        group: IpAddr,
        /// Join.
        join: bool,
    },
    /// A source of it.
    Source {
        /// On which interface.
        place: Place,
        /// The group.
        group: IpAddr,
        /// Who.
        source: IpAddr,
        /// What about it.
        change: SourceChange,
    },
    /// The whole filter.
    Filter {
        /// On which interface.
        place: Place,
        /// The group.
        group: IpAddr,
        /// It.
        filter: Filter,
    },
}

pub(super) fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// The address in a `sockaddr_storage`, if it is of the family of `level`.
pub(super) fn storage(bytes: &[u8], level: i32) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    match (family, level == IP) {
        (2, true) => ipv4(bytes.get(4..8)?).map(IpAddr::V4),
        (10, false) => {
            bytes.get(8..24)?.first_chunk::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)))
        }
        _ => None,
    }
}

/// The interface with a number; 0: any.
pub(super) fn by_number(asked: &Asked<'_>, index: i32) -> Result<Place, Errno> {
    match index {
        0 => Ok(Place::Any),
        _ => asked.links.by_number(index as u32).map(Place::Port).ok_or(Errno::NODEV),
    }
}

/// The interface of an `ip_mreq` or `ip_mreqn`, behind the group.
fn mreq_place(asked: &Asked<'_>, value: &[u8]) -> Result<Place, Errno> {
    match value.get(8..).and_then(int) {
        Some(index) if index != 0 => by_number(asked, index),
        _ => Ok(by_address(value.get(4..).and_then(ipv4))),
    }
}

pub(super) fn by_address(address: Option<Ipv4Addr>) -> Place {
    address.filter(|address| !address.is_unspecified()).map_or(Place::Any, Place::Address)
}

pub(super) fn membership4(asked: &mut Asked<'_>, value: &[u8], join: bool) -> Result<Effect, Errno> {
    if value.len() < 8 {
        return Err(Errno::INVAL);
    }
    let group = ipv4(value).ok_or(Errno::INVAL)?;
    // Linux: what is left and was never joined is not there, whatever address it is.
    if join && !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    if !group.is_multicast() {
        return Err(Errno::ADDRNOTAVAIL);
    }
    Ok(Effect::Group(Change::Member { place: mreq_place(asked, value)?, group: group.into(), join }))
}

pub(super) fn membership6(asked: &mut Asked<'_>, value: &[u8], join: bool) -> Result<Effect, Errno> {
    let (Some(group), Some(index)) = (value.first_chunk::<16>(), value.get(16..).and_then(int)) else {
        return Err(Errno::INVAL);
    };
    let group = Ipv6Addr::from(*group);
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    Ok(Effect::Group(Change::Member { place: by_number(asked, index)?, group: group.into(), join }))
}

pub(super) fn source4(_: &mut Asked<'_>, value: &[u8], change: SourceChange) -> Result<Effect, Errno> {
    let (12, Some(group), Some(source)) = (value.len(), ipv4(value), value.get(8..).and_then(ipv4)) else {
        return Err(Errno::INVAL);
    };
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let place = by_address(value.get(4..).and_then(ipv4));
    Ok(Effect::Group(Change::Source { place, group: group.into(), source: source.into(), change }))
}

pub(super) fn request(asked: &mut Asked<'_>, value: &[u8], level: i32, join: bool) -> Result<Effect, Errno> {
    if value.len() < 8 + STORAGE {
        return Err(Errno::INVAL);
    }
    let place = by_number(asked, int(value).unwrap_or(0));
    let group =
        storage(&value[8..], level).ok_or(if level == IP { Errno::INVAL } else { Errno::ADDRNOTAVAIL })?;
    Ok(Effect::Group(Change::Member { place: place?, group, join }))
}

pub(super) fn source(
    asked: &mut Asked<'_>,
    value: &[u8],
    level: i32,
    change: SourceChange,
) -> Result<Effect, Errno> {
    if value.len() < 8 + 2 * STORAGE {
        return Err(Errno::INVAL);
    }
    let place = by_number(asked, int(value).unwrap_or(0));
    let (Some(group), Some(source)) = (storage(&value[8..], level), storage(&value[8 + STORAGE..], level))
    else {
        return Err(Errno::ADDRNOTAVAIL);
    };
    Ok(Effect::Group(Change::Source { place: place?, group, source, change }))
}

fn mode(number: i32) -> Result<Mode, Errno> {
    match number {
        0 => Ok(Mode::Exclude),
        1 => Ok(Mode::Include),
        _ => Err(Errno::INVAL),
    }
}

/// The number of a mode (MCAST_EXCLUDE, MCAST_INCLUDE).
pub(super) fn mode_number(mode: Mode) -> u32 {
    match mode {
        Mode::Exclude => 0,
        Mode::Include => 1,
    }
}

pub(super) fn filter4(_: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    let (Some(group), Some(kind), Some(count)) =
        (ipv4(value), value.get(8..).and_then(int), value.get(12..).and_then(int))
    else {
        return Err(Errno::INVAL);
    };
    let count = usize::try_from(count).map_err(|_| Errno::NOBUFS)?;
    if count > MAX_FILTER_IPV4 {
        return Err(Errno::NOBUFS);
    }
    let sources = value.get(FILTER4_HEAD..FILTER4_HEAD + 4 * count).ok_or(Errno::INVAL)?;
    let sources = sources.chunks_exact(4).filter_map(ipv4).map(IpAddr::V4).collect();
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let place = by_address(value.get(4..).and_then(ipv4));
    Ok(Effect::Group(Change::Filter {
        place,
        group: group.into(),
        filter: Filter::new(mode(kind)?, sources),
    }))
}

pub(super) fn filter(asked: &mut Asked<'_>, value: &[u8], level: i32) -> Result<Effect, Errno> {
    if value.len() < FILTER_HEAD {
        return Err(Errno::INVAL);
    }
    let word = |at: usize| value.get(at..).and_then(int).unwrap_or(0);
    let most = if level == IP { MAX_FILTER_IPV4 } else { MAX_FILTER_IPV6 };
    let count = usize::try_from(word(140)).ok().filter(|count| *count <= most).ok_or(Errno::NOBUFS)?;
    let sources = value.get(FILTER_HEAD..FILTER_HEAD + STORAGE * count).ok_or(Errno::INVAL)?;
    let sources: Option<Vec<IpAddr>> = sources.chunks_exact(STORAGE).map(|one| storage(one, level)).collect();
    let wrong = if level == IP { Errno::ADDRNOTAVAIL } else { Errno::INVAL };
    let (Some(group), Some(sources)) = (storage(&value[8..], level), sources) else { return Err(wrong) };
    let place = by_number(asked, word(0))?;
    Ok(Effect::Group(Change::Filter { place, group, filter: Filter::new(mode(word(136))?, sources) }))
}

pub(super) fn set_multicast_if(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    // A bare address; or, behind a group that does not count, an address and perhaps a number.
    let (address, index) = match value.len() {
        4..8 => (ipv4(value), 0),
        8..12 => (value.get(4..).and_then(ipv4), 0),
        _ => (value.get(4..).and_then(ipv4), value.get(8..).and_then(int).unwrap_or(0)),
    };
    let device = asked.value(Field::Device);
    let address = address.filter(|address| !address.is_unspecified());
    if index == 0 && address.is_none() {
        asked.state.more_mut().multicast_source = None;
        return Ok(asked.store(Field::MulticastPort, 0));
    }
    if index == 0 {
        // Only the stack knows whose address it is.
        return Ok(Effect::MulticastAddress(address.unwrap_or(Ipv4Addr::UNSPECIFIED)));
    }
    asked.links.by_number(index as u32).ok_or(Errno::ADDRNOTAVAIL)?;
    if device != 0 && device != index {
        return Err(Errno::INVAL);
    }
    asked.state.more_mut().multicast_source = address.map(IpAddr::V4);
    Ok(asked.store(Field::MulticastPort, index))
}

pub(super) fn get_multicast_if(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    let address = match asked.state.more().and_then(|more| more.multicast_source) {
        Some(IpAddr::V4(address)) => address.octets(),
        _ => [0; 4],
    };
    answer.bytes(&address);
    Ok(())
}

pub(super) fn set_multicast_if6(asked: &mut Asked<'_>, index: i32) -> Result<Effect, Errno> {
    let device = asked.value(Field::Device);
    if index != 0 {
        asked.links.by_number(index as u32).ok_or(Errno::NODEV)?;
        if device != 0 && device != index {
            return Err(Errno::INVAL);
        }
    }
    Ok(asked.store(Field::MulticastPort6, index))
}

/// IP_UNICAST_IF and IPV6_UNICAST_IF: the interface that datagrams leave by, in network byte order.
pub(super) fn set_unicast_if(asked: &mut Asked<'_>, value: &[u8], field: Field) -> Result<Effect, Errno> {
    let Ok(word) = <[u8; 4]>::try_from(value) else { return Err(Errno::INVAL) };
    let index = i32::from_be_bytes(word);
    if index != 0 {
        asked.links.by_number(index as u32).ok_or(Errno::ADDRNOTAVAIL)?;
        if !matches!(asked.value(Field::Device), 0) && asked.value(Field::Device) != index {
            return Err(Errno::INVAL);
        }
    }
    Ok(asked.store(field, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::options::table::IPV6;

    #[test]
    fn addresses_are_read_from_what_programs_pass() {
        let mut bytes = [0; STORAGE];
        bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
        bytes[4..8].copy_from_slice(&[239, 1, 2, 3]);
        assert_eq!(storage(&bytes, IP), Some("239.1.2.3".parse().unwrap()));
        assert_eq!(storage(&bytes, IPV6), None, "the other family");
        bytes[..2].copy_from_slice(&10u16.to_ne_bytes());
        bytes[8] = 0xff;
        assert_eq!(storage(&bytes, IPV6), Some("ff00::".parse().unwrap()));
        assert_eq!(by_address(Some(Ipv4Addr::UNSPECIFIED)), Place::Any);
    }
}
