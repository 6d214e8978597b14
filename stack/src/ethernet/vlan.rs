//! VLANs (IEEE 802.1Q, 802.1ad): a tag says which of several networks on one wire a frame belongs to (row L2).
//!
//! ```text
//!   | destination 6 | source 6 | TPID 2 | priority 3, DEI 1, VLAN number 12 | EtherType 2 | ...
//!                              '------- the tag: 4 bytes, put in and taken out in place ---'
//! ```
//!
//! A VLAN of a port is a port of its own for everything above: addresses, routes, neighbours, policies. It has the station
//! address of its port, no queue, and no memory. Tags come off one by one from the outside (a service tag, then a
//! customer tag), each names a port of the one that the frame is at, and at the last the packet is input of that port. On
//! the way out [`crate::egress`] puts them on again, and the frame waits in the queue of the port with the wire.
//!
//! VLAN number 0 is no VLAN: such a tag carries a priority alone, and the frame belongs to the port itself.

use crate::burst::Burst;
use crate::frame::{Frame, FramePool};
use crate::limits::MAX_VLAN_TAGS;
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;

/// The TPID of a customer tag (802.1Q).
const CUSTOMER: [u8; 2] = [0x81, 0x00];

/// The TPID of a service tag (802.1ad).
const SERVICE: [u8; 2] = [0x88, 0xa8];

/// Bytes of a tag.
pub const TAG_LEN: usize = 4;

/// Which kind of tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagProtocol {
    /// A customer tag (802.1Q).
    Customer,
    /// A service tag (802.1ad).
    Service,
}

impl TagProtocol {
    const fn of(tpid: [u8; 2]) -> Option<TagProtocol> {
        match tpid {
            CUSTOMER => Some(TagProtocol::Customer),
            SERVICE => Some(TagProtocol::Service),
            _ => None,
        }
    }

    const fn tpid(self) -> [u8; 2] {
        match self {
            TagProtocol::Customer => CUSTOMER,
            TagProtocol::Service => SERVICE,
        }
    }
}

/// The priority of the frames that leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Always this one, 0 to 7.
    Fixed(u8),
    /// The upper three bits of the packet's DSCP (the class selectors of RFC 2474 section 4.2.2); 0 for what is not IP.
    FromDscp,
}

/// Of which port an interface is a VLAN, and of which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vlan {
    /// The port with the wire, or another VLAN.
    pub parent: PortId,
    /// Its kind of tag.
    pub protocol: TagProtocol,
    /// Its number, 1 to [`crate::limits::MAX_VLAN`].
    pub id: u16,
    /// What its frames leave with.
    pub priority: Priority,
}

impl Vlan {
    /// Puts the tag into a frame, byte 0 of which is the first of its link header. False when there is no headroom.
    #[must_use]
    pub(crate) fn put_tag<F: Frame>(&self, frame: &mut F) -> bool {
        let priority = match self.priority {
            Priority::Fixed(priority) => priority,
            Priority::FromDscp => priority_of(frame),
        };
        if !frame.prepend(TAG_LEN) || frame.len() < 16 {
            return false;
        }
        frame.copy_within(TAG_LEN..TAG_LEN + 12, 0);
        let [high, low] = (u16::from(priority & 7) << 13 | self.id & 0x0fff).to_be_bytes();
        let [t0, t1] = self.protocol.tpid();
        frame[12..16].copy_from_slice(&[t0, t1, high, low]);
        true
    }
}

/// The class selector of the packet in an untagged or tagged frame.
fn priority_of(frame: &[u8]) -> u8 {
    let mut at = 12;
    while is_tagged(frame.get(at - 12..).unwrap_or_default()) {
        at += TAG_LEN;
    }
    match frame.get(at..at + 4) {
        Some([0x08, 0x00, _, tos]) => tos >> 5,
        Some([0x86, 0xdd, first, _]) => first >> 1 & 7,
        _ => 0,
    }
}

/// True for the TPID of a tag, which stands where an untagged frame has its EtherType.
#[inline]
pub(super) fn is_tag(ethertype: [u8; 2]) -> bool {
    ethertype == CUSTOMER || ethertype == SERVICE
}

/// True for a frame with a tag.
#[inline]
pub(crate) fn is_tagged(frame: &[u8]) -> bool {
    frame.get(12..).and_then(<[u8]>::first_chunk).is_some_and(|ethertype| is_tag(*ethertype))
}

/// Bytes of tags behind the addresses of a frame, up to what a frame may have.
pub(crate) fn tags_len(frame: &[u8]) -> usize {
    let tagged = |tags: &usize| is_tagged(frame.get(tags * TAG_LEN..).unwrap_or_default());
    (0..MAX_VLAN_TAGS + 1).take_while(tagged).count() * TAG_LEN
}

/// Takes the tag off a frame: its kind and VLAN number. `None`: there is no whole one, and nothing has changed.
fn take_tag<F: Frame>(frame: &mut F) -> Option<(TagProtocol, u16)> {
    let &[t0, t1, high, low] = frame.get(12..)?.first_chunk::<TAG_LEN>()?;
    let protocol = TagProtocol::of([t0, t1])?;
    frame.copy_within(..12, TAG_LEN);
    frame.trim_front(TAG_LEN).then_some((protocol, u16::from_be_bytes([high, low]) & 0x0fff))
}

/// Takes tagged frames that came in on `port`, and hands them on as input of the ports that their tags name.
#[cold]
pub(crate) fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    burst: &mut Burst<P::Frame>,
) where
    P: FramePool,
    M: Probe,
{
    let mut run: Burst<P::Frame> = Burst::new();
    let mut at = port;
    for mut frame in burst.drain(..) {
        match find(stack, port, &mut frame) {
            Some(found) => {
                if found != at && !run.is_empty() {
                    stack.take(turn, at, &mut run);
                }
                at = found;
                run.push(frame);
            }
            None => stack.drop_received(port, DropReason::EthernetUnknownVlan),
        }
    }
    if !run.is_empty() {
        stack.take(turn, at, &mut run);
    }
}

/// Takes all tags off a frame: the port that it belongs to. Each VLAN on the way counts it as received.
fn find<F: Frame>(stack: &mut Stack<F>, port: PortId, frame: &mut F) -> Option<PortId> {
    let mut at = port;
    for _ in 0..MAX_VLAN_TAGS {
        let (protocol, id) = take_tag(frame)?;
        if id != 0 {
            let is_it = |vlan: &Vlan| vlan.parent == at && vlan.id == id && vlan.protocol == protocol;
            at = stack.interfaces.iter().find(|one| one.vlan.as_ref().is_some_and(is_it))?.id;
            let received = stack.counters.port_mut(at);
            received.rx_packets += 1;
            received.rx_bytes += frame.packet_len() as u64;
        }
        if !is_tagged(frame) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::heap::HeapPool;

    const PLAIN: [u8; 18] = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16, 8, 0, 0x45, 0xb8, 0, 20];

    fn vlan(protocol: TagProtocol, id: u16, priority: Priority) -> Vlan {
        Vlan { parent: PortId::FIRST, protocol, id, priority }
    }

    #[test]
    fn a_tag_is_put_in_and_taken_out_in_place_and_two_stand_in_their_order() {
        let mut pool = HeapPool::new(1, 256);
        let mut frame = pool.frame(&PLAIN).unwrap();
        assert!(vlan(TagProtocol::Customer, 100, Priority::FromDscp).put_tag(&mut frame));
        assert_eq!(frame[..12], PLAIN[..12]);
        assert_eq!(frame[12..], [0x81, 0, 0xa0, 100, 8, 0, 0x45, 0xb8, 0, 20]);
        assert!(vlan(TagProtocol::Service, 4094, Priority::FromDscp).put_tag(&mut frame));
        assert_eq!(frame[12..20], [0x88, 0xa8, 0xaf, 0xfe, 0x81, 0, 0xa0, 100]);
        assert_eq!(tags_len(&frame), 8);
        assert_eq!(take_tag(&mut frame), Some((TagProtocol::Service, 4094)));
        assert_eq!(take_tag(&mut frame), Some((TagProtocol::Customer, 100)));
        assert_eq!(take_tag(&mut frame), None);
        assert_eq!(frame[..], PLAIN);
    }

    #[test]
    fn a_tag_that_is_cut_short_is_none() {
        let mut pool = HeapPool::new(1, 256);
        let mut tagged = PLAIN;
        tagged[12..14].copy_from_slice(&[0x81, 0]);
        for len in 0..16 {
            let mut frame = pool.frame(&tagged[..len]).unwrap();
            assert_eq!((take_tag(&mut frame), frame.len()), (None, len));
        }
    }
}
