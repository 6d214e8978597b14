//! ARP (RFC 826, RFC 1122 section 2.3.2, RFC 5227 section 2.4): the words in which IPv4 asks for neighbours.
//! The machine behind them is [`crate::neighbour`].
//!
//! We answer for the addresses of the port that the question came in on, and learn from whoever speaks to us
//! by the rules of the neighbour table. What we learn is news for the other workers too.

use crate::counters::Counter;
use crate::ethernet::{self, ethertype};
use crate::frame::{Frame, FramePool};
use crate::mac::MacAddr;
use crate::neighbour::{Learned, Solicit};
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::arp::{self, Operation, Packet};
use core::net::{IpAddr, Ipv4Addr};

/// What to do with an ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It asks for an address of ours: learn the sender and answer.
    Answer,
    /// It answers us, or announces somebody: learn.
    Learn,
    /// It ends here.
    Drop(DropReason),
}

/// Decides by who sends, who is asked for, and which of these are ours.
fn decide(packet: &Packet, ours: impl Fn(Ipv4Addr) -> bool) -> Decision {
    if ours(packet.sender_ip()) {
        // Another station uses an address of ours (RFC 5227 section 2.4): counted, shown, not obeyed.
        return Decision::Drop(DropReason::ArpConflict);
    }
    match packet.operation() {
        Operation::Request if ours(packet.target_ip()) => Decision::Answer,
        _ => Decision::Learn,
    }
}

/// Takes one ARP packet that came in on `port`; byte 0 is the first behind the link header.
pub fn input<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, port: PortId, frame: &P::Frame)
where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::ArpIn);
    let packet = match Packet::parse(frame) {
        Ok((packet, _padding)) => *packet,
        Err(error) => return stack.drop_received(port, error.into()),
    };
    let Some(interface) = stack.interfaces.get(port) else {
        return stack.drop_received(port, DropReason::PortDown);
    };
    let mac = interface.mac;
    let decision = decide(&packet, |address| interface.owns_ipv4(address));
    match decision {
        Decision::Drop(reason) => stack.drop_received(port, reason),
        Decision::Answer => {
            learn(stack, turn, port, &packet, true);
            stack.drop_received(port, DropReason::Consumed);
            let reply = packet.reply(mac);
            if send(stack, turn, port, packet.sender_mac(), mac, reply) {
                stack.counters.count(Counter::ArpRepliesOut);
            }
        }
        Decision::Learn => {
            let learned = learn(stack, turn, port, &packet, packet.target_mac() == mac);
            let reason = match learned {
                Learned::Ignored => DropReason::ArpNotForUs,
                _ => DropReason::Consumed,
            };
            stack.drop_received(port, reason);
        }
    }
}

/// Tells the neighbour table. `to_us`: the packet was meant for this station.
fn learn<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &Turn<'_, P, M>,
    port: PortId,
    packet: &Packet,
    to_us: bool,
) -> Learned
where
    P: FramePool,
    M: Probe,
{
    if packet.is_probe() {
        return Learned::Ignored;
    }
    let (sender, mac, gratuitous) = (packet.sender_ip(), packet.sender_mac(), packet.is_announcement());
    match packet.operation() {
        Operation::Request => stack.neighbours.arp_request(port, sender, mac, to_us, gratuitous, turn.now),
        Operation::Reply => stack.neighbours.arp_reply(port, sender, mac, to_us, gratuitous, turn.now),
    }
}

/// Asks who has `target`, from the address of ours that fits it best.
pub fn solicit<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    solicit: &Solicit,
    target: Ipv4Addr,
) where
    P: FramePool,
    M: Probe,
{
    let Some(interface) = stack.interfaces.get(solicit.port) else { return };
    let hint = match solicit.source_hint {
        Some(IpAddr::V4(source)) if interface.owns_ipv4(source) => Some(source),
        _ => None,
    };
    // A port without an IPv4 address can still ask: from 0.0.0.0, as a probe does.
    let source = hint.or(interface.source_ipv4(target)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let mac = interface.mac;
    let request = Packet::request(mac, source, target);
    if send(stack, turn, solicit.port, solicit.link_destination, mac, request) {
        stack.counters.count(Counter::ArpRequestsOut);
    }
}

fn send<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    destination: MacAddr,
    source: MacAddr,
    packet: Packet,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let built = turn.pool.alloc().and_then(|mut frame| {
        let room = frame.append(ethernet::HEADER_LEN + arp::PACKET_LEN);
        let (header, body) = frame.split_at_mut_checked(ethernet::HEADER_LEN).filter(|_| room)?;
        header.copy_from_slice(&ethernet::header(destination, source, ethertype::ARP));
        packet.emit(body).ok()?;
        Some(frame)
    });
    match built {
        Some(frame) => {
            turn.egress.send(port, frame, &mut stack.counters);
            true
        }
        None => {
            stack.counters.drop(DropReason::NoFrame);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 3);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn a_question_for_us_is_answered_and_others_are_listened_to() {
        let ours = |address| address == US;
        assert_eq!(decide(&Packet::request(MAC, PEER, US), ours), Decision::Answer);
        assert_eq!(decide(&Packet::request(MAC, PEER, OTHER), ours), Decision::Learn);
        assert_eq!(decide(&Packet::request(MAC, PEER, US).reply(MAC), |_| false), Decision::Learn);
        let conflict = Decision::Drop(DropReason::ArpConflict);
        assert_eq!(decide(&Packet::request(MAC, US, OTHER), ours), conflict);
    }
}
