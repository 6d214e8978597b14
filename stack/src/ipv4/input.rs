//! IPv4 input (rows P1, P4): the header checks, then the route, then the one match that acts on it.
//!
//! Works on a burst in three stages, so that the table lookups of independent packets overlap: check every
//! header, look every route up, then act.
//!
//! Reads: the header. Sets: the frame ends where the total length says (Ethernet pads). Sends to: `forward`,
//! `local`, or the end with a reason and, where RFC 1812 wants one, an ICMP error.

use super::HEADER_LEN;
use super::forward::Transit;
use crate::burst::{self, Burst};
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::{LinkCast, ethertype};
use crate::frame::{Frame, FramePool};
use crate::ip;
use crate::ip::path::{Path, Refusal};
use crate::limits::BURST;
use crate::port::PortId;
use crate::route::{CacheKey, Flow4};
use crate::stack::Stack;
use crate::turn::{Probe, Stage, Turn};
use crate::verdict::DropReason;
use crate::wire::address;
use core::net::Ipv4Addr;

/// A packet whose header passed the checks.
#[derive(Debug)]
pub struct Arrival<F> {
    /// The packet, from the first byte of the IP header, without link-layer padding.
    pub frame: F,
    /// Its source.
    pub source: Ipv4Addr,
    /// Its destination.
    pub destination: Ipv4Addr,
    /// The port it came in on.
    pub port: PortId,
    /// How it was addressed on the link.
    pub cast: LinkCast,
}

/// Takes a burst of IPv4 packets that came in on `port`.
pub fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    cast: LinkCast,
    burst: &mut Burst<P::Frame>,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.add(Counter::Ipv4Received, burst.len() as u64);
    // The frames stay where they are: most bursts lose none of them.
    let mut keys = [Flow4::NULL; BURST];
    let mut refused = 0u64;
    for (place, (frame, key)) in burst.iter_mut().zip(&mut keys).enumerate() {
        match check(frame, frame.packet_len()) {
            Ok(Checked { source, destination, total_len }) => {
                frame.truncate(usize::from(total_len));
                *key = Flow4 { destination, source, port: port.index() as u16, class: 0 };
            }
            Err(reason) => {
                stack.note_martian(turn.now, port, frame, reason);
                stack.drop_received(port, reason);
                refused |= 1 << place;
            }
        }
    }
    if refused != 0 {
        burst::remove(burst, &mut keys, refused);
    }
    if stack.routing.rules.ask_for_traits() {
        stack.classify_burst4(burst, &mut keys);
    }
    turn.probe.mark(Stage::IpInput);
    let mut paths = [Path::default(); BURST];
    stack.route_burst4(turn.now, &keys[..burst.len()], &mut paths);
    turn.probe.mark(Stage::Route);
    if stack.tcp.is_cold() {
        stack.tcp.warm4(burst, &keys, &paths);
    }
    // What decides over all of the burst is asked once.
    let transit = Transit { port, open: cast == LinkCast::Unicast && stack.forwards(port) };
    let mut passed = 0;
    for ((mut frame, key), path) in burst.drain(..).zip(&keys).zip(&paths) {
        match path {
            Path::Hop(hop) if transit.lets_pass(&mut frame, hop) => {
                passed += 1;
                ip::output::transmit(stack, turn, frame, *hop, ethertype::IPV4);
            }
            path => {
                let Flow4 { source, destination, .. } = *key;
                act(stack, turn, Arrival { frame, source, destination, port, cast }, *path);
            }
        }
    }
    stack.counters.add(Counter::Ipv4Forwarded, passed);
    turn.probe.mark(Stage::Forward);
}

/// What the checks found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    total_len: u16,
}

/// The checks of RFC 1812 section 5.2.2 and the martian filter of section 5.3.7, in the order of the RFC.
/// `len` is the length of the packet with whatever padding the link added.
#[inline]
fn check(packet: &[u8], len: usize) -> Result<Checked, DropReason> {
    let Some(header) = packet.first_chunk::<HEADER_LEN>() else {
        return Err(DropReason::Ipv4Truncated);
    };
    let total_len = u16::from_be_bytes([header[2], header[3]]);
    if header[0] == 0x45 {
        if !checksum::ipv4_header_is_valid(header) {
            return Err(DropReason::Ipv4BadChecksum);
        }
        if usize::from(total_len) < HEADER_LEN {
            return Err(DropReason::Ipv4BadHeader);
        }
    } else {
        check_with_options(packet, header[0], usize::from(total_len))?;
    }
    if usize::from(total_len) > len {
        return Err(DropReason::Ipv4Truncated);
    }
    // By words: taken byte by byte, an address costs eight instructions.
    let ([.., source, destination], _) = header.as_chunks::<4>() else {
        return Err(DropReason::Ipv4Truncated);
    };
    let (source, destination) = (Ipv4Addr::from_octets(*source), Ipv4Addr::from_octets(*destination));
    if address::ipv4_source_is_martian(source) {
        return Err(DropReason::Ipv4MartianSource);
    }
    if address::ipv4_destination_is_martian(destination) {
        return Err(DropReason::Ipv4MartianDestination);
    }
    Ok(Checked { source, destination, total_len })
}

/// The same checks for a header that is not the common one: with options, or broken.
#[cold]
fn check_with_options(packet: &[u8], version_ihl: u8, total_len: usize) -> Result<(), DropReason> {
    let header_len = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_len < HEADER_LEN || total_len < header_len {
        return Err(DropReason::Ipv4BadHeader);
    }
    let Some(header) = packet.get(..header_len) else {
        return Err(DropReason::Ipv4Truncated);
    };
    if !checksum::sum(header).is_valid() {
        return Err(DropReason::Ipv4BadChecksum);
    }
    // The options themselves are looked at once it is known what becomes of the packet, as Linux does.
    Ok(())
}

/// Acts on a packet for us, or one in transit of which anything is out of the ordinary.
#[inline(never)]
fn act<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, arrival: Arrival<P::Frame>, path: Path)
where
    P: FramePool,
    M: Probe,
{
    let hop = match path {
        Path::Hop(hop) => hop,
        Path::Local => return super::local::deliver(stack, turn, arrival),
        Path::Broadcast => {
            return super::local::deliver(stack, turn, Arrival { cast: LinkCast::Group, ..arrival });
        }
        Path::Multicast => return crate::multicast::forward::input4(stack, turn, arrival),
        Path::Multipath(group) => match stack.choose_hop4(turn.now, group, &arrival.frame) {
            Ok(hop) => hop,
            Err(refusal) => return refuse(stack, turn, &arrival, refusal),
        },
        Path::Refuse(Refusal::NotJoined) if is_elsewhere(stack, &arrival.frame) => {
            return super::local::deliver(stack, turn, Arrival { cast: LinkCast::Group, ..arrival });
        }
        Path::Refuse(refusal) => return refuse(stack, turn, &arrival, refusal),
    };
    super::forward::forward(stack, turn, arrival, hop);
}

/// See [`Stack::is_group_elsewhere`].
#[cold]
fn is_elsewhere<F: Frame>(stack: &Stack<F>, packet: &[u8]) -> bool {
    let Some(&[first, _, _, _, _, _, _, _, _, protocol]) = packet.first_chunk() else { return false };
    stack.is_group_elsewhere(protocol, usize::from(first & 0x0f) * 4, packet)
}

/// Ends a packet that has no way on, with the error that RFC 1812 section 5.2.7.1 and Linux give for it.
#[cold]
fn refuse<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
    refusal: Refusal,
) where
    P: FramePool,
    M: Probe,
{
    use crate::icmp::v4::Error;
    let error = match refusal {
        Refusal::NoRoute => Some(Error::NET_UNREACHABLE),
        Refusal::Unreachable => Some(Error::HOST_UNREACHABLE),
        Refusal::Prohibit => Some(Error::ADMIN_PROHIBITED),
        Refusal::Blackhole
        | Refusal::MartianSource
        | Refusal::ReversePath
        | Refusal::DirectedBroadcast
        | Refusal::NotJoined
        | Refusal::Neighbour(_) => None,
    };
    stack.note_martian(turn.now, arrival.port, &arrival.frame, refusal.reason(false));
    stack.drop_received(arrival.port, refusal.reason(false));
    // A host that does not forward says nothing about packets that are not for it.
    let forwards = stack.interfaces.get(arrival.port).is_some_and(|port| port.forwarding);
    if let Some(error) = error.filter(|_| forwards) {
        crate::icmp::v4::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; 28] {
        let mut packet = [0u8; 28];
        packet[..20].copy_from_slice(&[0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2]);
        finish(&mut packet);
        packet
    }

    fn finish(packet: &mut [u8]) {
        packet[10..12].fill(0);
        let header_len = usize::from(packet[0] & 15) * 4;
        let sum = checksum::sum(&packet[..header_len.clamp(20, 28)]).checksum();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn verdict(change: impl FnOnce(&mut [u8; 28])) -> Result<Checked, DropReason> {
        let mut packet = header();
        change(&mut packet);
        check(&packet, packet.len())
    }

    #[test]
    fn a_good_header_passes_and_says_where_it_goes() {
        let checked = verdict(|_| {}).unwrap();
        assert_eq!((checked.destination, checked.total_len), (Ipv4Addr::new(10, 0, 2, 2), 28));
    }

    #[test]
    fn each_broken_field_has_its_own_reason() {
        assert_eq!(verdict(|p| p[8] = 63), Err(DropReason::Ipv4BadChecksum));
        let refinish = |change: fn(&mut [u8; 28])| {
            verdict(|p| {
                change(p);
                finish(p);
            })
        };
        assert_eq!(refinish(|p| p[0] = 0x65), Err(DropReason::Ipv4BadHeader));
        assert_eq!(refinish(|p| p[0] = 0x44), Err(DropReason::Ipv4BadHeader));
        assert_eq!(refinish(|p| p[3] = 19), Err(DropReason::Ipv4BadHeader));
        assert_eq!(refinish(|p| p[3] = 29), Err(DropReason::Ipv4Truncated));
        assert_eq!(refinish(|p| p[12] = 127), Err(DropReason::Ipv4MartianSource));
        assert_eq!(refinish(|p| p[12] = 224), Err(DropReason::Ipv4MartianSource));
        assert_eq!(refinish(|p| p[16] = 127), Err(DropReason::Ipv4MartianDestination));
        assert_eq!(refinish(|p| p[16] = 0), Err(DropReason::Ipv4MartianDestination));
    }

    #[test]
    fn every_truncation_is_refused() {
        let packet = header();
        for len in 0..packet.len() {
            assert_eq!(check(&packet[..len], len), Err(DropReason::Ipv4Truncated), "{len} bytes");
        }
    }
}
