//! ARP (RFC 826, RFC 1122 section 2.3.2, RFC 5227 section 2.4): the words in which IPv4 asks for neighbours.
//! The machine behind them is [`crate::neighbour`].
//!
//! We answer for the addresses of the port that the question came in on, and learn from whoever speaks to us
//! by the rules of the neighbour table. What we learn is news for the other workers too. Where the operator wants it we
//! answer for hosts behind other ports as well (proxy ARP, RFC 1027). When our own addresses are checked, announced and
//! defended [`crate::address`] says.

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
    /// Another station uses an address of ours: say whose it is.
    Defend(Ipv4Addr),
    /// Another station has, or checks, an address that we are checking, or may not use.
    GiveUp(Ipv4Addr),
    /// It asks for somebody whom we may answer for.
    AnswerForOther,
}

/// What an IPv4 address is to us on the port of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Ours.
    Us,
    /// Ours, if nobody else has it.
    Tentative,
    /// Behind another port: we may answer for it.
    Behind,
    /// Not ours.
    Other,
}

/// Decides by who sends, who is asked for, and which of these are ours.
fn decide(packet: &Packet, us: MacAddr, owner: impl Fn(Ipv4Addr) -> Owner) -> Decision {
    let (sender, target) = (packet.sender_ip(), packet.target_ip());
    match owner(sender) {
        // RFC 5227 section 2.4; what the link sends back to us is no conflict.
        Owner::Us if packet.sender_mac() != us => return Decision::Defend(sender),
        // RFC 5227 section 2.1.1: somebody has it,
        Owner::Tentative if packet.sender_mac() != us => return Decision::GiveUp(sender),
        _ => {}
    }
    match (packet.operation(), owner(target)) {
        // or checks it as well.
        (Operation::Request, Owner::Tentative) if packet.is_probe() && packet.sender_mac() != us => {
            Decision::GiveUp(target)
        }
        (Operation::Request, Owner::Us) => Decision::Answer,
        // Not to probes: nobody behind us could then ever be who he is here (RFC 1027).
        (Operation::Request, Owner::Behind) if !packet.is_probe() && sender != target => {
            Decision::AnswerForOther
        }
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
    let owner = |address| match interface {
        _ if interface.owns_ipv4(address) => Owner::Us,
        // A duplicate is its other owner's, who may well talk to us.
        _ if stack.checks.is_checked(port, IpAddr::V4(address)) => Owner::Tentative,
        _ if interface.proxy_arp && interface.forwarding && stack.is_behind(address, port) => Owner::Behind,
        _ => Owner::Other,
    };
    match decide(&packet, mac, owner) {
        Decision::Defend(address) => {
            stack.drop_received(port, DropReason::ArpConflict);
            stack.defend(turn, port, IpAddr::V4(address));
        }
        Decision::GiveUp(address) => {
            stack.drop_received(port, DropReason::ArpConflict);
            stack.give_up_if_checked(port, IpAddr::V4(address));
        }
        decision @ (Decision::Answer | Decision::AnswerForOther) => {
            learn(stack, turn, port, &packet, true);
            stack.drop_received(port, DropReason::Consumed);
            let reply = packet.reply(mac);
            if send(stack, turn, port, packet.sender_mac(), mac, reply) {
                stack.counters.count(Counter::ArpRepliesOut);
                if decision == Decision::AnswerForOther {
                    stack.counters.count(Counter::ProxyAnswers);
                }
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

/// Asks whether anybody has an address that is to be ours (RFC 5227 section 2.1.1).
pub(crate) fn probe<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    address: Ipv4Addr,
) where
    P: FramePool,
    M: Probe,
{
    broadcast(stack, turn, port, Ipv4Addr::UNSPECIFIED, address);
}

/// Tells everybody whose an address is: gratuitous ARP (RFC 5227 section 2.3).
pub(crate) fn announce<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    address: Ipv4Addr,
) where
    P: FramePool,
    M: Probe,
{
    broadcast(stack, turn, port, address, address);
}

fn broadcast<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) where
    P: FramePool,
    M: Probe,
{
    let Some(mac) = stack.interfaces.get(port).map(|one| one.mac) else { return };
    if send(stack, turn, port, MacAddr::BROADCAST, mac, Packet::request(mac, sender, target)) {
        stack.counters.count(Counter::ArpAnnouncementsOut);
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
    const NEW: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 4);
    const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn owner(address: Ipv4Addr) -> Owner {
        match address {
            US => Owner::Us,
            NEW => Owner::Tentative,
            FAR => Owner::Behind,
            _ => Owner::Other,
        }
    }

    #[test]
    fn a_question_for_us_is_answered_and_others_are_listened_to() {
        let decide = |packet: &Packet| decide(packet, OURS, owner);
        assert_eq!(decide(&Packet::request(MAC, PEER, US)), Decision::Answer);
        assert_eq!(decide(&Packet::request(MAC, PEER, OTHER)), Decision::Learn);
        assert_eq!(decide(&Packet::request(OURS, US, PEER).reply(MAC)), Decision::Learn);
        assert_eq!(decide(&Packet::request(MAC, PEER, FAR)), Decision::AnswerForOther);
        assert_eq!(decide(&Packet::request(MAC, Ipv4Addr::UNSPECIFIED, FAR)), Decision::Learn, "a probe");
    }

    #[test]
    fn who_claims_our_address_is_told_and_one_that_we_check_is_given_up() {
        let decide = |packet: &Packet| decide(packet, OURS, owner);
        assert_eq!(decide(&Packet::request(MAC, US, OTHER)), Decision::Defend(US));
        assert_eq!(decide(&Packet::request(MAC, NEW, OTHER)), Decision::GiveUp(NEW));
        assert_eq!(decide(&Packet::request(MAC, Ipv4Addr::UNSPECIFIED, NEW)), Decision::GiveUp(NEW));
        assert_eq!(
            decide(&Packet::request(MAC, PEER, NEW)),
            Decision::Learn,
            "who merely asks does not have it"
        );
        // What the link sends back to us.
        assert_eq!(decide(&Packet::request(OURS, Ipv4Addr::UNSPECIFIED, NEW)), Decision::Learn);
        assert_eq!(decide(&Packet::request(OURS, US, US)), Decision::Answer);
    }
}
