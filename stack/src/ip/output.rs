//! The last step of every packet, ours or in transit (rows O6, O7, O9, O10): the link header, and the queue
//! of the port.

use crate::ethernet::{self, ethertype};
use crate::frame::{Frame, FramePool};
use crate::ip::flow;
use crate::ip::path::Hop;
use crate::neighbour::Output;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use core::net::IpAddr;

/// Sends a packet (byte 0 is the first of its IP header) to the neighbour of `hop`: with the ready link
/// header when the neighbour is known, else by way of the neighbour's queue. `ethertype` is the packet's: the
/// neighbour may be known by an address of the other family (RFC 8950: an IPv6 router for IPv4 prefixes).
#[inline(always)] // a frame is three words: passed through memory at every call otherwise
pub fn transmit<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut frame: P::Frame,
    hop: Hop,
    ethertype: [u8; 2],
) where
    P: FramePool,
    M: Probe,
{
    match stack.neighbours.link_header(hop.neighbour) {
        Some(header) => {
            if ethernet::push_header_for(&mut frame, header, ethertype) {
                turn.egress.send(hop.port, frame, &mut stack.counters);
            } else {
                stack.counters.drop(DropReason::NoHeadroom);
            }
        }
        None => ask(stack, turn, frame, hop),
    }
}

/// The slow way: the neighbour must be asked for, or checked, first. What that asks for in turn (a
/// solicitation, say) is done at the end of the burst.
#[cold]
fn ask<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, frame: P::Frame, hop: Hop)
where
    P: FramePool,
    M: Probe,
{
    let source = source_of(&frame).filter(|source| stack.is_local(*source));
    let mut hop = hop;
    let mut output = stack.neighbours.output(hop.neighbour, frame, source, turn.now);
    if let Output::Rebind(frame) = output {
        // The neighbour is gone from the table, so paths that name it must go from the caches.
        stack.cache_epoch += 1;
        let Some(destination) = destination_of(&frame) else {
            return stack.counters.drop(DropReason::NoRoute);
        };
        match stack.route_output(turn.now, destination, hop.port) {
            Ok(again) => hop = again,
            Err(refusal) => {
                return stack.counters.drop(refusal.reason(destination.is_ipv6()));
            }
        }
        output = stack.neighbours.output(hop.neighbour, frame, source, turn.now);
    }
    match output {
        Output::Send { mut frame, header } => {
            let ethertype = ethertype_of(&frame);
            if ethernet::push_header_for(&mut frame, &header, ethertype) {
                turn.egress.send(hop.port, frame, &mut stack.counters);
            } else {
                stack.counters.drop(DropReason::NoHeadroom);
            }
        }
        Output::Queued { gave_way: None } => {}
        Output::Queued { gave_way: Some(_) } => stack.counters.drop(DropReason::NeighbourQueueFull),
        Output::Drop { reason, .. } => stack.counters.drop(reason),
        Output::Rebind(_) => stack.counters.drop(DropReason::NeighbourTableFull),
    }
}

/// The EtherType of a packet, by its version.
pub(super) fn ethertype_of(packet: &[u8]) -> [u8; 2] {
    if packet.first().is_some_and(|first| first >> 4 == 4) { ethertype::IPV4 } else { ethertype::IPV6 }
}

/// The source of a packet of either family.
fn source_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::V4(flow::source4(packet))),
        6 => Some(IpAddr::V6(flow::source6(packet))),
        _ => None,
    }
}

fn destination_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::V4(flow::destination4(packet))),
        6 => Some(IpAddr::V6(flow::destination6(packet))),
        _ => None,
    }
}

impl<F: Frame> Stack<F> {
    /// True when an address is ours, on whatever port.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| interface.owns(address))
    }
}
