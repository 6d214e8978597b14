//! IPv6 input (twins of rows P1 and P4): the checks of RFC 8200 and RFC 4291, then the route, then the one
//! match that acts on it. Three stages over a burst, as for IPv4.
//!
//! Link-local destinations are not in the forwarding table, because every link has the same ones: they are
//! compared with the addresses of the port that the packet came in on. Group destinations go to local
//! delivery, which knows what the port listens to.

use super::HEADER_LEN;
use super::forward::Transit;
use crate::burst::Burst;
use crate::counters::Counter;
use crate::ethernet::{LinkCast, ethertype};
use crate::frame::{Frame, FramePool};
use crate::icmp::v6::{self, Error};
use crate::ip;
use crate::ip::path::{Path, Refusal};
use crate::limits::BURST;
use crate::port::PortId;
use crate::route::{CacheKey, Flow6};
use crate::stack::Stack;
use crate::turn::{Probe, Stage, Turn};
use crate::verdict::DropReason;
use crate::wire::address;
use core::net::Ipv6Addr;

/// A packet whose header passed the checks.
#[derive(Debug)]
pub struct Arrival<F> {
    /// The packet, from the first byte of the IP header, without link-layer padding.
    pub frame: F,
    /// Its source.
    pub source: Ipv6Addr,
    /// Its destination.
    pub destination: Ipv6Addr,
    /// The port it came in on.
    pub port: PortId,
    /// How it was addressed on the link.
    pub cast: LinkCast,
}

/// Takes a burst of IPv6 packets that came in on `port`.
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
    stack.counters.add(Counter::Ipv6Received, burst.len() as u64);
    let mut keys = [Flow6::NULL; BURST];
    let (mut refused, mut nearby) = (0u64, 0u64);
    for (place, (frame, key)) in burst.iter_mut().zip(&mut keys).enumerate() {
        match check(frame, frame.packet_len()) {
            // Every link has the same link-local addresses, so the forwarding table does not know ours.
            Ok(Checked { source, .. }) if is_our_link_local(stack, source, port) => {
                stack.drop_received(port, DropReason::Ipv6MartianSource);
                refused |= 1 << place;
            }
            Ok(Checked { source, destination, total_len, scope }) => {
                frame.truncate(total_len);
                *key = Flow6 { destination, source, port: port.index() as u16, class: 0 };
                nearby |= u64::from(scope != Scope::Global) << place;
            }
            Err(reason) => {
                stack.note_martian(turn.now, port, frame, reason);
                stack.drop_received(port, reason);
                refused |= 1 << place;
            }
        }
    }
    if refused | nearby != 0 {
        take_nearby(stack, turn, (port, cast), burst, &mut keys, (refused, nearby));
    }
    if stack.routing.rules.ask_for_traits() {
        stack.classify_burst6(burst, &mut keys);
    }
    turn.probe.mark(Stage::IpInput);
    let mut paths = [Path::default(); BURST];
    stack.route_burst6(turn.now, &keys[..burst.len()], &mut paths);
    turn.probe.mark(Stage::Route);
    if stack.tcp.is_cold() {
        stack.tcp.warm6(burst, &keys, &paths);
    }
    // What decides over all of the burst is asked once.
    let open = cast == LinkCast::Unicast && stack.forwards(port) && !stack.raw.wants_alerts();
    let transit = Transit { port, open };
    let mut passed = 0;
    for ((mut frame, key), path) in burst.drain(..).zip(&keys).zip(&paths) {
        match path {
            Path::Hop(hop) if transit.lets_pass(&mut frame, hop) => {
                passed += 1;
                ip::output::transmit(stack, turn, frame, *hop, ethertype::IPV6);
            }
            path => {
                let Flow6 { source, destination, .. } = *key;
                act(stack, turn, Arrival { frame, source, destination, port, cast }, *path);
            }
        }
    }
    stack.counters.add(Counter::Ipv6Forwarded, passed);
    turn.probe.mark(Stage::Forward);
}

/// Where a destination has its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Anywhere: the forwarding table knows.
    Global,
    /// On the link that the packet came from.
    Link,
    /// A group.
    Group,
}

/// What the checks found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checked {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    total_len: usize,
    scope: Scope,
}

/// The checks of RFC 8200 section 3 and the address rules of RFC 4291 sections 2.5 and 2.7. `len` is the
/// length of the packet with whatever padding the link added.
#[inline]
fn check(packet: &[u8], len: usize) -> Result<Checked, DropReason> {
    let Some(header) = packet.first_chunk::<HEADER_LEN>() else {
        return Err(DropReason::Ipv6Truncated);
    };
    if header[0] >> 4 != 6 {
        return Err(DropReason::Ipv6BadHeader);
    }
    // A jumbogram (RFC 2675) says 0 here and needs an MTU beyond 64 KiB: no port of ours has one.
    let total_len = HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if total_len > len {
        return Err(DropReason::Ipv6Truncated);
    }
    let source = address_at(header, 8);
    let destination = address_at(header, 24);
    if address::ipv6_source_is_martian(&source) {
        return Err(DropReason::Ipv6MartianSource);
    }
    if address::ipv6_destination_is_martian(&destination) {
        return Err(DropReason::Ipv6MartianDestination);
    }
    let scope = if address::ipv6_is_multicast(&destination) {
        Scope::Group
    } else if address::ipv6_is_link_local(&destination) {
        Scope::Link
    } else {
        Scope::Global
    };
    Ok(Checked { source, destination, total_len, scope })
}

#[inline]
fn address_at(header: &[u8; HEADER_LEN], at: usize) -> Ipv6Addr {
    let mut octets = [0u8; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    Ipv6Addr::from(octets)
}

#[inline]
fn is_our_link_local<F: Frame>(stack: &Stack<F>, source: Ipv6Addr, port: PortId) -> bool {
    address::ipv6_is_link_local(&source) && stack.is_local6(source, port)
}

/// Takes what goes no further than the link out of a burst: packets to groups and link-local addresses (the places of
/// `nearby`), and those of `refused`, which are counted already. `keys` move up with the rest.
#[inline(never)]
fn take_nearby<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    (port, cast): (PortId, LinkCast),
    burst: &mut Burst<P::Frame>,
    keys: &mut [Flow6; BURST],
    (refused, nearby): (u64, u64),
) where
    P: FramePool,
    M: Probe,
{
    for (place, frame) in core::mem::take(burst).into_iter().enumerate() {
        let Flow6 { source, destination, .. } = keys[place];
        if refused >> place & 1 != 0 {
            continue;
        }
        if nearby >> place & 1 == 0 {
            keys[burst.len()] = keys[place];
            burst.push(frame);
            continue;
        }
        let arrival = Arrival { frame, source, destination, port, cast };
        if destination.is_multicast() {
            super::local::deliver_group(stack, turn, arrival);
        } else {
            act_on_link(stack, turn, arrival);
        }
    }
}

/// A link-local destination: ours, or nobody's here.
fn act_on_link<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, arrival: Arrival<P::Frame>)
where
    P: FramePool,
    M: Probe,
{
    let Arrival { destination, .. } = arrival;
    let ours = stack
        .interfaces
        .get(arrival.port)
        .is_some_and(|port| port.owns_ipv6(destination) || port.is_subnet_router_anycast(destination));
    if ours {
        super::local::deliver(stack, turn, arrival);
    } else {
        stack.drop_received(arrival.port, DropReason::LinkLocalScope);
    }
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
        Path::Multipath(group) => match stack.choose_hop6(turn.now, group, &arrival.frame) {
            Ok(hop) => hop,
            Err(refusal) => return refuse(stack, turn, &arrival, refusal),
        },
        // IPv6 has no broadcast, and its groups are not looked up: the table has no such next hop for it.
        Path::Broadcast | Path::Multicast => {
            return refuse(stack, turn, &arrival, Refusal::DirectedBroadcast);
        }
        Path::Refuse(refusal) => return refuse(stack, turn, &arrival, refusal),
    };
    super::forward::forward(stack, turn, arrival, hop);
}

/// Ends a packet that has no way on, with the error of RFC 4443 section 3.1.
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
    let error = match refusal {
        Refusal::NoRoute | Refusal::Unreachable => Some(Error::NO_ROUTE),
        Refusal::Prohibit => Some(Error::ADMIN_PROHIBITED),
        Refusal::Blackhole
        | Refusal::MartianSource
        | Refusal::ReversePath
        | Refusal::DirectedBroadcast
        | Refusal::NotJoined
        | Refusal::Neighbour(_) => None,
    };
    stack.note_martian(turn.now, arrival.port, &arrival.frame, refusal.reason(true));
    stack.drop_received(arrival.port, refusal.reason(true));
    if let Some(error) = error.filter(|_| stack.forwards(arrival.port)) {
        v6::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str) -> [u8; 48] {
        let mut packet = [0u8; 48];
        packet[0] = 0x60;
        packet[5] = 8;
        packet[6] = 17;
        packet[7] = 64;
        packet[8..24].copy_from_slice(&source.parse::<Ipv6Addr>().unwrap().octets());
        packet[24..40].copy_from_slice(&destination.parse::<Ipv6Addr>().unwrap().octets());
        packet
    }

    fn scope(source: &str, destination: &str) -> Result<Scope, DropReason> {
        let packet = packet(source, destination);
        check(&packet, packet.len()).map(|checked| checked.scope)
    }

    #[test]
    fn each_destination_has_its_scope() {
        assert_eq!(scope("2001:db8::1", "2001:db8::2"), Ok(Scope::Global));
        assert_eq!(scope("fd00::1", "fd00::2"), Ok(Scope::Global));
        assert_eq!(scope("fe80::1", "fe80::2"), Ok(Scope::Link));
        assert_eq!(scope("::", "ff02::1:ff00:1"), Ok(Scope::Group));
        assert_eq!(scope("2001:db8::1", "64:ff9b::1"), Ok(Scope::Global));
    }

    #[test]
    fn martians_are_refused_on_both_sides() {
        for source in ["::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert_eq!(scope(source, "2001:db8::2"), Err(DropReason::Ipv6MartianSource), "{source}");
        }
        for destination in ["::", "::1", "::ffff:10.0.0.1", "ff01::1", "ff00::1"] {
            let got = scope("2001:db8::1", destination);
            assert_eq!(got, Err(DropReason::Ipv6MartianDestination), "{destination}");
        }
    }

    #[test]
    fn every_truncation_and_a_wrong_version_are_refused() {
        let mut packet = packet("2001:db8::1", "2001:db8::2");
        for len in 0..packet.len() {
            assert_eq!(check(&packet[..len], len), Err(DropReason::Ipv6Truncated), "{len} bytes");
        }
        packet[0] = 0x50;
        assert_eq!(check(&packet, 48), Err(DropReason::Ipv6BadHeader));
    }
}
