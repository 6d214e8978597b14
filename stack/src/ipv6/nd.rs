//! Neighbour discovery (RFC 4861): the words in which IPv6 asks for neighbours. The machine behind them is
//! [`crate::neighbour`]; the validity checks of the RFC are in [`crate::wire::ndp`].
//!
//! We answer for the addresses of the port that the question came in on, also when somebody checks whether
//! one of them is free (RFC 4862 section 5.4.3), and learn by the rules of the neighbour table. A router answers
//! for the subnet-router anycast addresses of the port as well (RFC 4291 section 2.6.1), as one of several that
//! may: from an address of its own, without the override flag (RFC 4861 section 7.2.7), so that the asker stays
//! with whom it heard first. The random delay that section 7.2.7 advises is left out: the answer is on the
//! packet path, and an asker takes what comes first either way.

use super::HEADER_LEN;
use super::input::Arrival;
use crate::counters::Counter;
use crate::ethernet::{self, ethertype};
use crate::frame::{Frame, FramePool};
use crate::icmp::redirect;
use crate::icmp::v6::{Fields, ICMPV6, write_header};
use crate::ip::output::transmit;
use crate::mac::MacAddr;
use crate::neighbour::{Learned, Solicit, SolicitTo};
use crate::port::PortId;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::address::{IPV6_ALL_NODES, ipv6_group_mac, solicited_node};
use crate::wire::ipv6::Header;
use crate::wire::ndp::{self, AdvertisementFlags, Message};
use core::net::{IpAddr, Ipv6Addr};

/// What to do with a neighbour discovery message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It asks for an address of ours: learn the sender, if it says who it is, and answer.
    Answer { target: Ipv6Addr, mac: Option<MacAddr> },
    /// Somebody checks whether an address of ours is free: tell everybody that it is not.
    Defend { target: Ipv6Addr },
    /// An advertisement.
    Advertised { target: Ipv6Addr, mac: Option<MacAddr>, flags: AdvertisementFlags },
    /// A router or a host says its link-layer address.
    Introduced { mac: MacAddr, router: bool },
    /// It is about an address that we are checking: another station has it, or wants it.
    GiveUp { target: Ipv6Addr },
    /// Our own question, back from the link.
    LoopedBack,
    /// A router knows a better way.
    Redirected { target: Ipv6Addr, destination: Ipv6Addr, mac: Option<MacAddr> },
    /// It ends here.
    Drop(DropReason),
}

/// Decides by what is said, which addresses are ours, and which we share with other routers.
fn decide(
    message: Message<'_>,
    source: Ipv6Addr,
    ours: impl Fn(Ipv6Addr) -> bool,
    shared: impl Fn(Ipv6Addr) -> bool,
    checked: impl Fn(Ipv6Addr) -> Option<[u8; 6]>,
) -> Decision {
    match message {
        // RFC 4862 section 5.4.3 and RFC 7527 section 4.2: somebody else checks what we check, or the link sends our
        // own question back.
        Message::NeighbourSolicitation { target, options }
            if source.is_unspecified() && checked(target).is_some() =>
        {
            let own = options.nonce().is_some_and(|nonce| checked(target).is_some_and(|ours| nonce == ours));
            if own { Decision::LoopedBack } else { Decision::GiveUp { target } }
        }
        // RFC 4862 section 5.4.4: somebody has it.
        Message::NeighbourAdvertisement { target, .. } if checked(target).is_some() => {
            Decision::GiveUp { target }
        }
        Message::NeighbourSolicitation { target, .. } if !ours(target) && !shared(target) => {
            Decision::Drop(DropReason::NdNotForUs)
        }
        Message::NeighbourSolicitation { target, .. } if source.is_unspecified() => {
            Decision::Defend { target }
        }
        Message::NeighbourSolicitation { target, options } => {
            Decision::Answer { target, mac: options.source_link_address() }
        }
        // Another station says that it has an address of ours: counted, shown, not obeyed.
        Message::NeighbourAdvertisement { target, .. } if ours(target) => {
            Decision::Drop(DropReason::NdConflict)
        }
        Message::NeighbourAdvertisement { router, solicited, override_, target, options } => {
            let flags = AdvertisementFlags { router, solicited, override_ };
            Decision::Advertised { target, mac: options.target_link_address(), flags }
        }
        Message::RouterSolicitation { options } => introduced(options.source_link_address(), false),
        Message::RouterAdvertisement { options, .. } => introduced(options.source_link_address(), true),
        Message::Redirect { target, destination, options } => {
            Decision::Redirected { target, destination, mac: options.target_link_address() }
        }
    }
}

fn introduced(mac: Option<MacAddr>, router: bool) -> Decision {
    match mac {
        Some(mac) => Decision::Introduced { mac, router },
        None => Decision::Drop(DropReason::Consumed),
    }
}

/// Takes a neighbour discovery message, which begins at `offset`.
pub fn input<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::NdIn);
    let Arrival { frame, source, port, .. } = arrival;
    let (source, port) = (*source, *port);
    // RFC 6980 section 5: not behind a fragment header; and no node puts another header in front.
    if offset != HEADER_LEN {
        return stack.drop_received(port, DropReason::NdMalformed);
    }
    let (Ok((header, _)), Some(message)) = (Header::parse(frame), frame.get(offset..)) else {
        return stack.drop_received(port, DropReason::NdMalformed);
    };
    let message = match ndp::receive(header, message) {
        Ok(message) => message,
        Err(error) => return stack.drop_received(port, error.into()),
    };
    match message {
        Message::RouterSolicitation { .. } => stack.solicited_by_host(turn.now, port),
        Message::RouterAdvertisement { fields, options } => stack.hear_router(port, source, fields, &options),
        _ => {}
    }
    let Some(interface) = stack.interfaces.get(port) else {
        return stack.drop_received(port, DropReason::PortDown);
    };
    let ours = |address| interface.owns_ipv6(address);
    let shared = |address| {
        let proxied = || interface.proxy_nd.contains(&address) && stack.is_behind(address, port);
        interface.is_subnet_router_anycast(address) || proxied()
    };
    let checked = |address: Ipv6Addr| {
        let address = IpAddr::V6(address);
        stack.checks.is_checked(port, address).then(|| stack.checks.nonce(port, address))
    };
    let learned = match decide(message, source, ours, shared, checked) {
        Decision::Drop(reason) => return stack.drop_received(port, reason),
        Decision::GiveUp { target } => {
            stack.drop_received(port, DropReason::NdConflict);
            stack.give_up_if_checked(port, IpAddr::V6(target));
            return;
        }
        Decision::LoopedBack => {
            stack.counters.count(Counter::ProbesLoopedBack);
            return stack.drop_received(port, DropReason::Consumed);
        }
        Decision::Answer { target, mac } => {
            if let Some(mac) = mac {
                let _changed_or_not = stack.neighbours.ns(port, source, mac, turn.now);
            }
            return answer(stack, turn, port, target, source);
        }
        Decision::Defend { target } => {
            stack.drop_received(port, DropReason::Consumed);
            return defend(stack, turn, port, target);
        }
        Decision::Advertised { target, mac, flags } => {
            let AdvertisementFlags { router, solicited, override_ } = flags;
            stack.neighbours.na(port, target, mac, solicited, override_, router, turn.now)
        }
        Decision::Redirected { target, destination, mac } => {
            let reason = redirect::input6(stack, turn.now, (port, source), target, destination, mac);
            return stack.drop_received(port, reason);
        }
        Decision::Introduced { mac, router } => {
            stack.neighbours.router_message(port, source, mac, router, turn.now)
        }
    };
    let reason = if learned == Learned::Ignored { DropReason::NdNotForUs } else { DropReason::Consumed };
    stack.drop_received(port, reason);
}

/// Answers a solicitation (RFC 4861 section 7.2.4), by way of the neighbour table: who asked without saying
/// who it is gets asked first.
fn answer<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    target: Ipv6Addr,
    asker: Ipv6Addr,
) where
    P: FramePool,
    M: Probe,
{
    let hop = match stack.on_link_hop(turn.now, port, IpAddr::V6(asker)) {
        Ok(hop) => hop,
        Err(refusal) => return stack.drop_received(port, refusal.reason(true)),
    };
    stack.drop_received(port, DropReason::Consumed);
    let Some(Speaker { source, mac, router, override_ }) = speaker(stack, port, target, asker) else {
        return;
    };
    let flags = AdvertisementFlags { router, solicited: true, override_ };
    let built = build(turn.pool, source, asker, |message| {
        ndp::emit_neighbour_advertisement(message, &source, &asker, &target, flags, mac).ok()
    });
    let Some(frame) = built else { return stack.counters.drop(DropReason::NoFrame) };
    stack.counters.count(Counter::NdAdvertisementsOut);
    transmit(stack, turn, frame, hop, ethertype::IPV6);
}

/// Who speaks in an advertisement.
struct Speaker {
    source: Ipv6Addr,
    mac: MacAddr,
    router: bool,
    override_: bool,
}

/// For an address of our own that address itself; for an anycast one an address of the port, and whoever holds
/// another answer may keep it (RFC 4861 sections 7.2.4 and 7.2.7).
fn speaker<F: Frame>(stack: &Stack<F>, port: PortId, target: Ipv6Addr, asker: Ipv6Addr) -> Option<Speaker> {
    let interface = stack.interfaces.get(port)?;
    let own = interface.owns_ipv6(target);
    let source = if own { Some(target) } else { interface.source_ipv6(asker).or(interface.link_local()) };
    // While it is still being checked, whoever has another answer keeps it (RFC 4429 section 3.3).
    let override_ = own && !stack.checks.is_checked(port, IpAddr::V6(target));
    Some(Speaker { source: source?, mac: interface.mac, router: interface.forwarding, override_ })
}

/// Tells everybody on the link that an address is taken (RFC 4862 section 5.4.3, RFC 4861 section 7.2.4).
fn defend<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, port: PortId, target: Ipv6Addr)
where
    P: FramePool,
    M: Probe,
{
    let Some(speaker) = speaker(stack, port, target, IPV6_ALL_NODES) else { return };
    let Speaker { source, mac, router, override_ } = speaker;
    let flags = AdvertisementFlags { router, solicited: false, override_ };
    let built = build(turn.pool, source, IPV6_ALL_NODES, |message| {
        ndp::emit_neighbour_advertisement(message, &source, &IPV6_ALL_NODES, &target, flags, mac).ok()
    });
    if send_to_group(stack, turn, port, built, IPV6_ALL_NODES) {
        stack.counters.count(Counter::NdAdvertisementsOut);
    }
}

/// Asks whether anybody has an address that is to be ours (RFC 4862 section 5.4.2, with the nonce of RFC 7527).
pub(crate) fn probe<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    target: Ipv6Addr,
) where
    P: FramePool,
    M: Probe,
{
    let (source, destination) = (Ipv6Addr::UNSPECIFIED, solicited_node(&target));
    let nonce = stack.checks.nonce(port, IpAddr::V6(target));
    let built = build(turn.pool, source, destination, |message| {
        ndp::emit_neighbour_solicitation(message, &source, &destination, &target, None, Some(nonce)).ok()
    });
    if send_to_group(stack, turn, port, built, destination) {
        stack.counters.count(Counter::NdSolicitationsOut);
    }
}

/// Tells everybody whose an address is (RFC 4861 section 7.2.6).
pub(crate) fn announce<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    target: Ipv6Addr,
) where
    P: FramePool,
    M: Probe,
{
    defend(stack, turn, port, target);
}

/// Asks who has `target` (RFC 4861 section 7.2.2), from the address that the packet which wants to know came
/// from when that is ours, else from the one that fits best.
pub fn solicit<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    solicit: &Solicit,
    target: Ipv6Addr,
) where
    P: FramePool,
    M: Probe,
{
    let Some(interface) = stack.interfaces.get(solicit.port) else { return };
    let hint = match solicit.source_hint {
        Some(IpAddr::V6(source)) if interface.owns_ipv6(source) => Some(source),
        _ => None,
    };
    let Some(source) = hint.or(interface.source_ipv6(target)).or(interface.link_local()) else {
        // A port without an IPv6 address cannot ask; the packets that wait will time out and be counted.
        return;
    };
    let mac = interface.mac;
    let destination = match solicit.to {
        SolicitTo::Group => solicited_node(&target),
        SolicitTo::Station => target,
    };
    let built = build(turn.pool, source, destination, |message| {
        ndp::emit_neighbour_solicitation(message, &source, &destination, &target, Some(mac), None).ok()
    });
    if send_to(stack, turn, solicit.port, built, solicit.link_destination) {
        stack.counters.count(Counter::NdSolicitationsOut);
    }
}

/// A packet around a message that `emit` writes, whose length it returns. `None` when there is no frame.
fn build<P: FramePool>(
    pool: &mut P,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    emit: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<P::Frame> {
    let mut frame = pool.alloc()?;
    if !frame.append(HEADER_LEN + ndp::MAX_EMITTED) {
        return None;
    }
    let length = emit(frame.get_mut(HEADER_LEN..)?)?;
    frame.truncate(HEADER_LEN + length);
    let fields = Fields {
        class: 0,
        next_header: ICMPV6,
        hop_limit: ndp::HOP_LIMIT,
        source,
        destination,
        payload_len: length as u16,
    };
    write_header(&mut frame, &fields);
    Some(frame)
}

fn send_to_group<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    frame: Option<P::Frame>,
    group: Ipv6Addr,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let mac = ipv6_group_mac(&group).unwrap_or(MacAddr::BROADCAST);
    send_to(stack, turn, port, frame, mac)
}

/// Sends a message that needs no neighbour: its link destination is known.
fn send_to<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    port: PortId,
    frame: Option<P::Frame>,
    destination: MacAddr,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let Some(interface) = stack.interfaces.get(port) else { return false };
    let header = ethernet::header(destination, interface.mac, ethertype::IPV6);
    let Some(mut frame) = frame.filter(|frame| frame.headroom() >= ethernet::HEADER_LEN) else {
        stack.counters.drop(DropReason::NoFrame);
        return false;
    };
    let pushed = ethernet::push_header(&mut frame, &header);
    turn.egress.send(port, frame, &mut stack.counters);
    pushed
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
    const SHARED: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0);
    const NEW: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 5);
    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn solicitation(source: Ipv6Addr, target: Ipv6Addr, mac: Option<MacAddr>) -> Decision {
        solicitation_with(source, target, mac, None)
    }

    fn solicitation_with(
        source: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
        nonce: Option<[u8; 6]>,
    ) -> Decision {
        let group = solicited_node(&target);
        let mut bytes = [0; ndp::MAX_EMITTED];
        let len = ndp::emit_neighbour_solicitation(&mut bytes, &source, &group, &target, mac, nonce).unwrap();
        let mut packet = [0; HEADER_LEN];
        let fields = Fields {
            class: 0,
            next_header: ICMPV6,
            hop_limit: 255,
            source,
            destination: group,
            payload_len: len as u16,
        };
        write_header(&mut packet, &fields);
        let (header, _) = Header::parse(&packet).unwrap();
        let message = ndp::receive(header, &bytes[..len]).unwrap();
        let checked = |address| (address == NEW).then_some([1, 2, 3, 4, 5, 6]);
        decide(message, source, |address| address == US, |address| address == SHARED, checked)
    }

    #[test]
    fn a_question_for_us_is_answered_and_a_check_for_duplicates_is_refused_to_all() {
        assert_eq!(solicitation(PEER, US, Some(MAC)), Decision::Answer { target: US, mac: Some(MAC) });
        assert_eq!(solicitation(Ipv6Addr::UNSPECIFIED, US, None), Decision::Defend { target: US });
        assert_eq!(
            solicitation(PEER, SHARED, Some(MAC)),
            Decision::Answer { target: SHARED, mac: Some(MAC) }
        );
        assert_eq!(solicitation(US, PEER, Some(MAC)), Decision::Drop(DropReason::NdNotForUs));
    }
    #[test]
    fn a_question_for_an_address_that_we_check_gives_it_up_unless_it_is_our_own() {
        let nobody = Ipv6Addr::UNSPECIFIED;
        assert_eq!(solicitation(nobody, NEW, None), Decision::GiveUp { target: NEW });
        let foreign = solicitation_with(nobody, NEW, None, Some([9; 6]));
        assert_eq!(foreign, Decision::GiveUp { target: NEW });
        assert_eq!(solicitation_with(nobody, NEW, None, Some([1, 2, 3, 4, 5, 6])), Decision::LoopedBack);
        // RFC 4862 section 5.4.3: who asks for it to talk to it does not have it; nobody answers.
        assert_eq!(solicitation(PEER, NEW, Some(MAC)), Decision::Drop(DropReason::NdNotForUs));
    }
}
