//! Ethernet II: the first station of a received frame and the last of a transmitted one (rows L2, L4).
//!
//! Input sorts a burst by what is in it. The port may be promiscuous (a veth always is), so the destination
//! filter is here. Frames with a group destination are kept apart from the others for the rest of their
//! way: they are never forwarded and never answered with an error (RFC 1122 section 3.2.2, RFC 1812
//! section 5.3.4).
//!
//! Reads: the first 14 bytes. Sets: byte 0 of the frame becomes the first byte behind the link header.
//! Sends to: `ipv4::input`, `ipv6::input`, `ipv4::arp`, [`vlan`], or the end with a reason.

pub mod vlan;

use crate::burst::Burst;
use crate::frame::Frame;
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

/// A received burst, sorted.
#[derive(Debug)]
pub struct Sorted<F> {
    /// IPv4 to this station.
    pub ipv4: Burst<F>,
    /// IPv6 to this station.
    pub ipv6: Burst<F>,
    /// IPv4 to a group.
    pub ipv4_group: Burst<F>,
    /// IPv6 to a group.
    pub ipv6_group: Burst<F>,
    /// ARP.
    pub arp: Burst<F>,
    /// Frames with a VLAN tag, as they came.
    pub tagged: Burst<F>,
}

impl<F> Default for Sorted<F> {
    fn default() -> Self {
        Sorted {
            ipv4: Burst::new(),
            ipv6: Burst::new(),
            ipv4_group: Burst::new(),
            ipv6_group: Burst::new(),
            arp: Burst::new(),
            tagged: Burst::new(),
        }
    }
}

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ipv4(LinkCast),
    Ipv6(LinkCast),
    Arp,
}

/// Decides what a frame is and whether this station takes it.
#[inline]
fn classify(frame: &[u8], station: MacAddr) -> Result<Kind, DropReason> {
    // By fields: taken byte by byte, an address costs a dozen instructions.
    let Some((destination, rest)) = frame.split_first_chunk::<6>() else {
        return Err(DropReason::EthernetTooShort);
    };
    let Some((source, rest)) = rest.split_first_chunk::<6>() else {
        return Err(DropReason::EthernetTooShort);
    };
    let Some(ethertype) = rest.first_chunk::<2>() else {
        return Err(DropReason::EthernetTooShort);
    };
    let (destination, source) = (MacAddr(*destination), MacAddr(*source));
    let cast = if destination == station {
        LinkCast::Unicast
    } else if destination.is_group() {
        LinkCast::Group
    } else {
        return Err(DropReason::EthernetOtherStation);
    };
    if !source.is_station() {
        return Err(DropReason::EthernetBadSource);
    }
    match *ethertype {
        ethertype::IPV4 => Ok(Kind::Ipv4(cast)),
        ethertype::IPV6 => Ok(Kind::Ipv6(cast)),
        ethertype::ARP => Ok(Kind::Arp),
        _ => Err(DropReason::EthernetUnknownType),
    }
}

/// Sorts the burst of a port whose address is `station`, taking the link header off each frame. What this
/// station does not take goes to `drop` with the reason.
#[inline]
pub fn input<F: Frame>(
    burst: &mut Burst<F>,
    station: MacAddr,
    sorted: &mut Sorted<F>,
    mut drop: impl FnMut(DropReason),
) {
    for mut frame in burst.drain(..) {
        let kind = match classify(&frame, station) {
            Ok(kind) => kind,
            // Tags are looked for among what is otherwise unknown, so that untagged frames pay nothing for them.
            Err(DropReason::EthernetUnknownType) if vlan::is_tagged(&frame) => {
                sorted.tagged.push(frame);
                continue;
            }
            Err(reason) => {
                drop(reason);
                continue;
            }
        };
        if !frame.trim_front(HEADER_LEN) {
            drop(DropReason::EthernetTooShort);
            continue;
        }
        match kind {
            Kind::Ipv4(LinkCast::Unicast) => sorted.ipv4.push(frame),
            Kind::Ipv6(LinkCast::Unicast) => sorted.ipv6.push(frame),
            Kind::Ipv4(LinkCast::Group) => sorted.ipv4_group.push(frame),
            Kind::Ipv6(LinkCast::Group) => sorted.ipv6_group.push(frame),
            Kind::Arp => sorted.arp.push(frame),
        }
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
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *header;
    let [t0, t1] = ethertype;
    push_header(frame, &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1])
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
        assert_eq!(kind(US, PEER, ethertype::IPV4), Ok(Kind::Ipv4(LinkCast::Unicast)));
        assert_eq!(kind(US, PEER, ethertype::ARP), Ok(Kind::Arp));
        for group in groups {
            assert_eq!(kind(group, PEER, ethertype::IPV6), Ok(Kind::Ipv6(LinkCast::Group)));
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
        let mut sorted = Sorted::default();
        input(&mut burst, US, &mut sorted, |reason| panic!("{reason:?}"));
        let mut frame = sorted.ipv4.pop().unwrap();
        assert_eq!(&frame[..], b"payload");
        assert!(push_header(&mut frame, &header(PEER, US, ethertype::IPV4)));
        assert_eq!(&frame[..6], PEER.0);
        assert_eq!(&frame[14..], b"payload");
    }
}
