//! Copies of a packet to a group, one for each port that it leaves by.
//!
//! The last one is the packet itself, unless it is heard here too. Every other copy is a frame from the pool; when
//! there is none the copy is dropped and counted, and the others go on. The TTL goes down by one as in unicast; what is
//! too long for a port is cut there (IPv4), or refused with packet too big (IPv6: RFC 4443 section 2.4 e.3 wants that
//! even for groups).

use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::v6::{self, Error};
use crate::ip::originate::put_on_wire;
use crate::ipv4::fragment::{self, copy_out};
use crate::ipv4::{forward as forward4, options};
use crate::multicast::{Exits, is_routable};
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::{ipv4, ipv6};
use core::net::IpAddr;

/// The protocol number of IGMP, whose messages are for us whatever group they are sent to.
const IGMP: u8 = crate::igmp::IGMP;

/// Takes an IPv4 packet to a group that is routed.
pub(crate) fn input4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut arrival: ipv4::input::Arrival<P::Frame>,
) where
    P: FramePool,
    M: Probe,
{
    arrival.cast = LinkCast::Group;
    let Some(&[first, _, _, _, _, _, _, _, ttl, protocol, ..]) =
        arrival.frame.first_chunk::<{ ipv4::HEADER_LEN }>()
    else {
        return stack.drop_received(arrival.port, DropReason::Ipv4Truncated);
    };
    if protocol == IGMP {
        return ipv4::local::deliver(stack, turn, arrival);
    }
    let flow = (IpAddr::V4(arrival.source), IpAddr::V4(arrival.destination));
    let heard = stack.hears_group(arrival.port, flow.1, flow.0)
        || stack.is_group_elsewhere(protocol, usize::from(first & 0x0f) * 4, &arrival.frame);
    let exits = match ways_out(stack, turn.now, arrival.port, flow, ttl) {
        Ok(exits) => exits,
        Err(_) if heard => return ipv4::local::deliver(stack, turn, arrival),
        Err(reason) => return stack.drop_received(arrival.port, reason),
    };
    if first != forward4::PLAIN && !options::pass(stack, turn, &arrival) {
        return;
    }
    stack.counters.count(Counter::MulticastForwarded);
    let (last, others) = match (heard, exits.split_last()) {
        (false, Some((last, others))) => (Some(*last), others),
        _ => (None, &exits[..]),
    };
    for port in others {
        if let Some(copy) = copy(stack, turn, &arrival.frame) {
            send4(stack, turn, copy, *port, flow.1);
        }
    }
    match last {
        Some(port) => send4(stack, turn, arrival.frame, port, flow.1),
        None => ipv4::local::deliver(stack, turn, arrival),
    }
}

/// Takes an IPv6 packet to a group; gives it back when it is to be delivered here.
pub(crate) fn input6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: ipv6::input::Arrival<P::Frame>,
) -> Option<ipv6::input::Arrival<P::Frame>>
where
    P: FramePool,
    M: Probe,
{
    let flow = (IpAddr::V6(arrival.source), IpAddr::V6(arrival.destination));
    // RFC 4291 section 2.5.6: a link-local source stays on its link; and so does who has no address yet.
    let stays = arrival.source.is_unicast_link_local() || arrival.source.is_unspecified();
    if stays || !is_routable(flow.1) || crate::mld::is_message(&arrival.frame) {
        return Some(arrival);
    }
    let hop_limit = arrival.frame.get(7).copied().unwrap_or(0);
    let heard = stack.hears_group(arrival.port, flow.1, flow.0) || is_elsewhere6(stack, &arrival.frame);
    let exits = match ways_out(stack, turn.now, arrival.port, flow, hop_limit) {
        Ok(exits) => exits,
        Err(_) if heard => return Some(arrival),
        Err(reason) => {
            stack.drop_received(arrival.port, reason);
            return None;
        }
    };
    // Hop-by-hop options are for every node on the way (RFC 8200 section 4.3).
    if arrival.frame.get(6) == Some(&0) && !ipv6::extension::examine_hop_by_hop(stack, turn, &arrival) {
        return None;
    }
    stack.counters.count(Counter::MulticastForwarded);
    let too_long = |port: &PortId| {
        let mtu = stack.interfaces.get(*port).map_or(0, |port| port.mtu);
        (arrival.frame.packet_len() > usize::from(mtu)).then_some(mtu)
    };
    if let Some(mtu) = exits.iter().filter_map(too_long).min() {
        let error = Error::packet_too_big(u32::from(mtu));
        v6::send_error(stack, turn, &arrival.frame, (arrival.port, LinkCast::Group), error);
    }
    let (last, others) = match (heard, exits.split_last()) {
        (false, Some((last, others))) => (Some(*last), others),
        _ => (None, &exits[..]),
    };
    for port in others {
        if let Some(copy) = copy(stack, turn, &arrival.frame) {
            send6(stack, turn, copy, *port, flow.1);
        }
    }
    match last {
        Some(port) => {
            send6(stack, turn, arrival.frame, port, flow.1);
            None
        }
        None => Some(arrival),
    }
}

/// See [`Stack::is_group_elsewhere`].
pub(crate) fn is_elsewhere6<F: Frame>(stack: &Stack<F>, packet: &[u8]) -> bool {
    let upper = ipv6::extension::upper_layer(packet);
    upper.is_some_and(|(protocol, offset)| stack.is_group_elsewhere(protocol, offset, packet))
}

/// Where the packet goes, if it may be forwarded at all.
fn ways_out<F: Frame>(
    stack: &mut Stack<F>,
    now: crate::Instant,
    port: PortId,
    flow: (IpAddr, IpAddr),
    ttl: u8,
) -> Result<Exits, DropReason> {
    if !stack.forwards(port) {
        return Err(DropReason::ForwardingOff);
    }
    // It leaves the stack while it asks: the way back is the stack's to know.
    let mut multicast = core::mem::take(&mut stack.multicast);
    let exits = multicast.exits(now, port, flow, ttl, || stack.way_back_leads_through(flow.0, port));
    stack.multicast = multicast;
    exits
}

/// A copy of a packet in frames of its own.
fn copy<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, packet: &P::Frame) -> Option<P::Frame>
where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::MulticastCopies);
    let made = copy_of(turn.pool, packet);
    if made.is_none() {
        stack.counters.drop(DropReason::NoFrame);
    }
    made
}

/// A copy in frames of the pool; `None` when it has not as many.
pub(crate) fn copy_of<P: FramePool>(pool: &mut P, packet: &P::Frame) -> Option<P::Frame> {
    let len = packet.packet_len();
    let mut whole: Option<P::Frame> = None;
    let mut done = 0;
    while done < len {
        let mut piece = pool.alloc()?;
        let room = piece.tailroom().min(len - done);
        if room == 0 || !piece.append(room) || !copy_out(packet, done, &mut piece) {
            return None;
        }
        done += room;
        match &mut whole {
            None => whole = Some(piece),
            Some(whole) => whole.chain(piece).ok()?,
        }
    }
    whole
}

fn send4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut frame: P::Frame,
    port: PortId,
    group: IpAddr,
) where
    P: FramePool,
    M: Probe,
{
    let Some(exit) = stack.exit_to_group(port, group) else {
        return stack.counters.drop(DropReason::PortDown);
    };
    let len = frame.packet_len();
    let Some(header) = frame.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else {
        return stack.counters.drop(DropReason::Ipv4Truncated);
    };
    forward4::lower_ttl(header);
    let may_be_cut = header[6] & forward4::DONT_FRAGMENT == 0;
    if len <= usize::from(exit.mtu()) {
        put_on_wire(stack, turn, exit, frame, true);
    } else if may_be_cut {
        fragment::transmit(stack, turn, frame, exit);
    } else {
        // Nobody is told: RFC 1112 section 7.2 has no ICMP errors about groups.
        stack.counters.drop(DropReason::PacketTooBig);
    }
}

fn send6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut frame: P::Frame,
    port: PortId,
    group: IpAddr,
) where
    P: FramePool,
    M: Probe,
{
    let Some(exit) = stack.exit_to_group(port, group) else {
        return stack.counters.drop(DropReason::PortDown);
    };
    if frame.packet_len() > usize::from(exit.mtu()) {
        return stack.counters.drop(DropReason::PacketTooBig);
    }
    if let Some(hop_limit) = frame.get_mut(7) {
        *hop_limit = hop_limit.saturating_sub(1);
    }
    put_on_wire(stack, turn, exit, frame, false);
}
