//! Ethernet II: the first station of a received frame and the last of a transmitted one (rows L2, L4).
//!
//! Input says what is in the frames of a burst. The port may be promiscuous (a veth always is), so the destination
//! filter is here. Frames with a group destination are kept apart from the others for the rest of their
//! way: they are never forwarded and never answered with an error (RFC 1122 section 3.2.2, RFC 1812
//! section 5.3.4).
//!
//! Reads: the first 14 bytes. Sets: byte 0 of the frame becomes the first byte behind the link header.
//! Sends to: `ipv4::input`, `ipv6::input`, `ipv4::arp`, [`vlan`], or the end with a reason.

pub mod vlan;

use crate::burst::{self, Burst};
use crate::frame::Frame;
use crate::limits::BURST;
use crate::mac::MacAddr;
use crate::verdict::DropReason;

/// Bytes of an Ethernet II header.
pub const HEADER_LEN: usize = 14;

/// EtherTypes that this stack speaks, as in the header.
pub mod ethertype {
    /// IPv4 (RFC 894).
    pub const IPV4: [u8; 2] = [0x08, 0x00];
    /// ARP (RFC 826).
    pub const ARP: [u8; 2] = [0x08, 0x06];
    /// IPv6 (RFC 2464).
    pub const IPV6: [u8; 2] = [0x86, 0xdd];
}

/// How a packet was addressed on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkCast {
    /// To this station alone.
    Unicast,
    /// To a group of stations or all of them.
    Group,
}

/// What is in a frame, and whom it is for. The order is the one in which the packets of a mixed burst are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// IPv4 to this station.
    Ipv4,
    /// IPv6 to this station.
    Ipv6,
    /// IPv4 to a group.
    Ipv4Group,
    /// IPv6 to a group.
    Ipv6Group,
    /// ARP.
    Arp,
    /// A frame with a VLAN tag; its link header is still there.
    Tagged,
}

impl Kind {
    /// All of them, in their order.
    pub const ALL: [Kind; 6] =
        [Kind::Ipv4, Kind::Ipv6, Kind::Ipv4Group, Kind::Ipv6Group, Kind::Arp, Kind::Tagged];
}

/// What [`input`] found in a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The same in all frames.
    All(Kind),
    /// Different things, place by place.
    Mixed([Kind; BURST]),
}

/// Decides what a frame is and whether this station takes it.
#[inline]
fn classify(frame: &[u8], station: MacAddr) -> Result<Kind, DropReason> {
    // By fields: taken byte by byte, an address costs a dozen instructions.
    let Some(header) = frame.first_chunk::<HEADER_LEN>() else { return Err(DropReason::EthernetTooShort) };
    let (Some((destination, rest)), Some(ethertype)) =
        (header.split_first_chunk::<6>(), header.last_chunk::<2>())
    else {
        return Err(DropReason::EthernetTooShort);
    };
    let Some(source) = rest.first_chunk::<6>() else { return Err(DropReason::EthernetTooShort) };
    let (destination, source) = (MacAddr(*destination), MacAddr(*source));
    let group = destination.words() != station.words();
    if group && !destination.is_group() {
        return Err(DropReason::EthernetOtherStation);
    }
    if !source.is_station() {
        return Err(DropReason::EthernetBadSource);
    }
    // Compared rather than matched, which would be done byte by byte.
    if *ethertype == ethertype::IPV4 {
        Ok(if group { Kind::Ipv4Group } else { Kind::Ipv4 })
    } else if *ethertype == ethertype::IPV6 {
        Ok(if group { Kind::Ipv6Group } else { Kind::Ipv6 })
    } else if *ethertype == ethertype::ARP {
        Ok(Kind::Arp)
    } else if vlan::is_tag(*ethertype) {
        Ok(Kind::Tagged)
    } else {
        Err(DropReason::EthernetUnknownType)
    }
}

/// Looks at the burst of a port whose address is `station`, and takes the link header off each frame. What this
/// station does not take goes out of the burst, its reason to `drop`. The others stay where they are: nearly always
/// they are all of one kind.
#[inline]
pub fn input<F: Frame>(burst: &mut Burst<F>, station: MacAddr, mut drop: impl FnMut(DropReason)) -> Found {
    let mut kinds = [Kind::Tagged; BURST];
    // A bit for each kind that there is, and for each place that goes.
    let (mut seen, mut refused) = (0u8, 0u64);
    for (place, (frame, kind)) in burst.iter_mut().zip(&mut kinds).enumerate() {
        match classify(frame, station) {
            Ok(found) => {
                *kind = found;
                seen |= 1 << found as u8;
                // Cannot fail: there was a header to classify.
                let _there = found == Kind::Tagged || frame.trim_front(HEADER_LEN);
            }
            Err(reason) => {
                drop(reason);
                refused |= 1 << place;
            }
        }
    }
    if refused != 0 {
        burst::remove(burst, &mut kinds, refused);
    }
    match Kind::ALL.get(seen.trailing_zeros() as usize) {
        Some(kind) if seen.is_power_of_two() => Found::All(*kind),
        _ => Found::Mixed(kinds),
    }
}

/// Puts a ready link header in front of a packet (row O9). False when there is no headroom.
#[inline]
#[must_use]
pub fn push_header<F: Frame>(frame: &mut F, header: &[u8; HEADER_LEN]) -> bool {
    if !frame.prepend(HEADER_LEN) {
        return false;
    }
    match frame.first_chunk_mut::<HEADER_LEN>() {
        Some(place) => {
            *place = *header;
            true
        }
        None => false,
    }
}

/// As [`push_header`], with another EtherType than the header's.
#[inline]
#[must_use]
pub fn push_header_for<F: Frame>(frame: &mut F, header: &[u8; HEADER_LEN], ethertype: [u8; 2]) -> bool {
    if !frame.prepend(HEADER_LEN) {
        return false;
    }
    // In pieces of the size of words: a header that is put together first is waited for.
    let (addresses, rest) = (header.first_chunk::<12>(), frame.split_first_chunk_mut::<12>());
    match (addresses, rest) {
        (Some(addresses), Some((place, [t0, t1, ..]))) => {
            *place = *addresses;
            [*t0, *t1] = ethertype;
            true
        }
        _ => false,
    }
}

/// A link header from its fields.
pub const fn header(destination: MacAddr, source: MacAddr, ethertype: [u8; 2]) -> [u8; HEADER_LEN] {
    let ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]) = (destination.0, source.0);
    [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ethertype[0], ethertype[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::heap::HeapPool;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn kind(destination: MacAddr, source: MacAddr, ethertype: [u8; 2]) -> Result<Kind, DropReason> {
        classify(&header(destination, source, ethertype), US)
    }

    #[test]
    fn a_station_takes_what_is_for_it_and_for_groups_and_nothing_else() {
        let groups = [MacAddr::BROADCAST, MacAddr([0x33, 0x33, 0, 0, 0, 1])];
        assert_eq!(kind(US, PEER, ethertype::IPV4), Ok(Kind::Ipv4));
        assert_eq!(kind(US, PEER, ethertype::ARP), Ok(Kind::Arp));
        for group in groups {
            assert_eq!(kind(group, PEER, ethertype::IPV6), Ok(Kind::Ipv6Group));
        }
        let other = MacAddr([2, 0, 0, 0, 0, 3]);
        assert_eq!(kind(other, PEER, ethertype::IPV4), Err(DropReason::EthernetOtherStation));
    }

    #[test]
    fn a_group_or_zero_source_and_an_unknown_type_end_here() {
        assert_eq!(kind(US, MacAddr::BROADCAST, ethertype::IPV4), Err(DropReason::EthernetBadSource));
        assert_eq!(kind(US, MacAddr::ZERO, ethertype::IPV4), Err(DropReason::EthernetBadSource));
        assert_eq!(kind(US, PEER, [0x88, 0xcc]), Err(DropReason::EthernetUnknownType));
        assert_eq!(classify(&[0; 13], US), Err(DropReason::EthernetTooShort));
    }

    #[test]
    fn input_takes_the_header_off_and_output_puts_one_on() {
        let mut pool = HeapPool::new(2, 256);
        let mut bytes = header(US, PEER, ethertype::IPV4).to_vec();
        bytes.extend_from_slice(b"payload");
        let mut burst = Burst::new();
        burst.push(pool.frame(&bytes).unwrap());
        assert_eq!(input(&mut burst, US, |reason| panic!("{reason:?}")), Found::All(Kind::Ipv4));
        let mut frame = burst.pop().unwrap();
        assert_eq!(&frame[..], b"payload");
        assert!(push_header(&mut frame, &header(PEER, US, ethertype::IPV4)));
        assert_eq!(&frame[..6], PEER.0);
        assert_eq!(&frame[14..], b"payload");
    }

    #[test]
    fn a_mixed_burst_stays_in_order_without_what_this_station_does_not_take() {
        let mut pool = HeapPool::new(8, 256);
        let group = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        let mut burst = Burst::new();
        for (destination, ethertype) in [
            (US, ethertype::IPV6),
            (PEER, ethertype::IPV4),
            (US, ethertype::ARP),
            (US, [0x81, 0]),
            (group, ethertype::IPV6),
            (US, [0x88, 0xcc]),
        ] {
            burst.push(pool.frame(&header(destination, PEER, ethertype)).unwrap());
        }
        let mut reasons = Vec::new();
        let Found::Mixed(kinds) = input(&mut burst, US, |reason| reasons.push(reason)) else {
            panic!("not mixed")
        };
        assert_eq!(kinds[..burst.len()], [Kind::Ipv6, Kind::Arp, Kind::Tagged, Kind::Ipv6Group]);
        assert_eq!(burst.iter().map(|frame| frame.len()).collect::<Vec<_>>(), [0, 0, HEADER_LEN, 0]);
        assert_eq!(reasons, [DropReason::EthernetOtherStation, DropReason::EthernetUnknownType]);
    }
}
