//! Redirects (rows I4 and P7, both families): said to neighbours that send by us what they could send elsewhere, and
//! believed, where policy allows, of the router that we really use.
//!
//! ```text
//!   host ──packet──> router ──the same packet──> better router        all three on one link
//!     <──redirect: for that destination use the better router──┘
//! ```
//!
//! **Sent** (RFC 1812 section 5.2.7.2, RFC 4861 section 8.2) when a packet leaves by the port that it came in on, its
//! source is a neighbour there, and so is the next hop; the packet itself goes its way all the same. Rates: the class
//! of redirects in [`crate::icmp::limit`].
//!
//! **Believed** (RFC 1122 section 3.2.2.2, RFC 4861 section 8.3) only by a port that accepts them (hosts do, routers do
//! not, unless configured otherwise), only of the router that we use now for that destination, only about a packet
//! of ours, and only when the better router is another neighbour on the same link. What is believed is kept in
//! [`crate::route::redirects`].

use super::{v4, v6};
use crate::counters::Counter;
use crate::frame::{Frame, FramePool};
use crate::icmp::limit::Class;
use crate::ip::path::Hop;
use crate::ipv4::HEADER_LEN as HEADER_LEN4;
use crate::ipv6::HEADER_LEN as HEADER_LEN6;
use crate::limits::MIN_MTU_IPV6;
use crate::neighbour::State;
use crate::port::PortId;
use crate::route::redirects::Redirect;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ndp;
use crate::{ipv4, ipv6};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an ICMP header.
const ICMP_HEADER_LEN: usize = 8;

/// Tells the source of an IPv4 packet that leaves by the port it came in on of the better way. The packet is still as it came.
#[cold]
#[inline(never)]
pub(crate) fn send4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &ipv4::input::Arrival<P::Frame>,
    hop: Hop,
) where
    P: FramePool,
    M: Probe,
{
    let Some(interface) = stack.interfaces.get(arrival.port).filter(|port| port.send_redirects) else {
        return;
    };
    let Some(IpAddr::V4(gateway)) = stack.neighbours.get(hop.neighbour).map(|one| one.addr) else { return };
    let on_link = |address| interface.ipv4.iter().any(|net| net.contains(&address));
    // Who is not a neighbour itself cannot follow; who is the better way itself need not be told.
    if on_link(arrival.source) && on_link(gateway) && arrival.source != gateway {
        let arrived = (arrival.port, arrival.cast);
        v4::send_error(stack, turn, &arrival.frame, arrived, v4::Error::redirect(gateway));
    }
}

/// The IPv6 twin of [`send4`] (RFC 4861 section 8.2): the better way is a router's link-local address, or the destination
/// itself.
#[cold]
#[inline(never)]
pub(crate) fn send6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &ipv6::input::Arrival<P::Frame>,
    hop: Hop,
) where
    P: FramePool,
    M: Probe,
{
    let ipv6::input::Arrival { source, destination, port, .. } = *arrival;
    let Some(interface) = stack.interfaces.get(port).filter(|port| port.send_redirects) else { return };
    let Some(next) = stack.neighbours.get(hop.neighbour) else { return };
    let (IpAddr::V6(target), Some(from)) = (next.addr, interface.link_local()) else { return };
    let neighbour = interface.ipv6.iter().any(|net| net.contains(&source));
    let better = target == destination || target.is_unicast_link_local();
    if !(neighbour && better) || source == target {
        return;
    }
    if !stack.icmp_limit_v6.allow(Class::Redirect, IpAddr::V6(source), turn.now) {
        return stack.counters.count(Counter::Icmpv6ErrorsLimited);
    }
    let Ok(back) = stack.on_link_hop(turn.now, port, IpAddr::V6(source)) else { return };
    let about = &arrival.frame[..];
    let room = usize::from(MIN_MTU_IPV6) - HEADER_LEN6;
    let built = turn.pool.alloc().and_then(|mut frame| {
        frame.append(HEADER_LEN6 + room).then_some(())?;
        let message = frame.get_mut(HEADER_LEN6..)?;
        let len = ndp::emit_redirect(message, &from, &source, &target, &destination, next.mac, about).ok()?;
        frame.truncate(HEADER_LEN6 + len);
        let fields = v6::Fields {
            class: 0,
            next_header: v6::ICMPV6,
            hop_limit: ndp::HOP_LIMIT,
            source: from,
            destination: source,
            payload_len: len as u16,
        };
        v6::write_header(&mut frame, &fields);
        Some(frame)
    });
    let Some(frame) = built else { return stack.counters.drop(DropReason::NoFrame) };
    stack.counters.count(Counter::NdRedirectsOut);
    ipv6::output::send(stack, turn, frame, back);
}

/// Takes an IPv4 redirect. What it quotes begins behind its 8 bytes.
pub(super) fn input4<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    arrival: &ipv4::input::Arrival<F>,
    header_len: usize,
) -> DropReason {
    let Some((head, quoted)) =
        arrival.frame.get(header_len..).and_then(<[u8]>::split_first_chunk::<ICMP_HEADER_LEN>)
    else {
        return DropReason::IcmpTruncated;
    };
    let &[_, code, _, _, a, b, c, d] = head;
    let gateway = Ipv4Addr::new(a, b, c, d);
    let Some(header) = quoted.first_chunk::<HEADER_LEN4>() else { return DropReason::IcmpTruncated };
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let sound = code <= 3 && header[0] >> 4 == 4 && stack.is_local4(source);
    let Some(interface) = stack.interfaces.get(arrival.port).filter(|port| port.accept_redirects) else {
        return DropReason::IcmpRedirectRefused;
    };
    // Codes 0 and 2 (a network) are taken for the host as well (RFC 1122 section 3.2.2.2).
    let on_link = interface.ipv4.iter().any(|net| {
        net.contains(&gateway)
            && !(net.prefix_len() < 31 && (gateway == net.network() || gateway == net.broadcast()))
    });
    if !(sound && on_link) || stack.is_local4(gateway) {
        return DropReason::IcmpRedirectRefused;
    }
    let from = IpAddr::V4(arrival.source);
    learn(stack, now, arrival.port, from, IpAddr::V4(destination), IpAddr::V4(gateway))
}

/// Takes an IPv6 redirect that passed the checks of RFC 4861 section 8.1.
pub(crate) fn input6<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    (port, from): (PortId, Ipv6Addr),
    target: Ipv6Addr,
    destination: Ipv6Addr,
    mac: Option<crate::MacAddr>,
) -> DropReason {
    let accepts = stack.interfaces.get(port).is_some_and(|one| one.accept_redirects);
    if !accepts || stack.is_local6(target, port) {
        return DropReason::IcmpRedirectRefused;
    }
    let reason = learn(stack, now, port, IpAddr::V6(from), IpAddr::V6(destination), IpAddr::V6(target));
    if let (DropReason::Consumed, Some(mac)) = (reason, mac) {
        let _changed_or_not = stack.neighbours.redirect(port, target, mac, target != destination, now);
    }
    reason
}

/// Follows a redirect of the router that we use now for its destination.
fn learn<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    port: PortId,
    from: IpAddr,
    destination: IpAddr,
    gateway: IpAddr,
) -> DropReason {
    let Some(by_route) = stack.route_by_table(now, destination, port).ok().filter(|hop| hop.port == port)
    else {
        return DropReason::IcmpRedirectRefused;
    };
    let current = stack.redirected(now, destination, by_route);
    let address = |hop: Hop| stack.neighbours.get(hop.neighbour).map(|one| one.addr);
    let (Some(route), true) = (address(by_route), address(current) == Some(from) && gateway != from) else {
        return DropReason::IcmpRedirectRefused;
    };
    stack.redirects.learn(destination, Redirect { port, route, gateway }, now);
    // What remembers ways asks again.
    stack.cache_epoch += 1;
    stack.generation += 1;
    stack.counters.count(Counter::RedirectsLearned);
    DropReason::Consumed
}

impl<F: Frame> Stack<F> {
    /// The way to `destination` that a redirect names in place of `hop`, the route's.
    #[inline]
    pub(crate) fn redirected(&mut self, now: Instant, destination: IpAddr, hop: Hop) -> Hop {
        if self.redirects.is_empty() {
            return hop;
        }
        self.follow(now, destination, hop)
    }

    #[cold]
    fn follow(&mut self, now: Instant, destination: IpAddr, hop: Hop) -> Hop {
        let Some(Redirect { port, route, gateway }) = self.redirects.get(destination, now) else {
            return hop;
        };
        let by_route = self.neighbours.get(hop.neighbour).map(|one| one.addr);
        if port != hop.port || by_route != Some(route) {
            return hop; // the route leads elsewhere now
        }
        let Ok(better) = self.on_link_hop(now, port, gateway) else { return hop };
        // RFC 1122 section 3.3.1.4: who does not answer is not a way.
        if self
            .neighbours
            .get(better.neighbour)
            .is_some_and(|one| matches!(one.state, State::Failed | State::Unreachable))
        {
            self.redirects.forget(destination);
            return hop;
        }
        better
    }
}
