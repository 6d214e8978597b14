//! Output of UDP and UDP-Lite (rows U1, U2): from the caller's bytes to datagrams.
//!
//! RFC 768, RFC 3828: the headers. RFC 1122 section 4.1.3.4: a checksum by default. A corked datagram waits in a ring of
//! blocks until it is complete; an error on the way gives all of it up (`udp_flush_pending_frames`).

use super::{Protocol, Socket, Target};
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::ip::originate::{Body, Check, Datagram, Way, originate};
use crate::ip::select::{Choice, Wish};
use crate::limits::UDP_SEGMENTS;
use crate::port::PortId;
use crate::route::Traits;
use crate::socket::control::{Origin, SendArgs, SendControl};
use crate::socket::endpoint::{Endpoint, Report, is_group};
use crate::socket::options::MtuDiscovery;
use crate::socket::stamps::Departure;
use crate::socket::{Error, Handle, IpOptions, Ready, SocketId};
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::wire::udp::{CHECKSUM_OFFSET, HEADER_LEN, Header};
use crate::wire::udplite;
use core::net::{IpAddr, SocketAddr};

/// The most payload that a datagram can have, over IPv4 (over IPv6 it is 20 bytes more; Linux takes this one for
/// both when it corks).
const MAX_PAYLOAD: usize = 65_507;

/// The port that a scope id (RFC 4007 section 11) names: its number and one, as interfaces of Linux count from 1.
pub(crate) fn scope_of(address: SocketAddr) -> Option<PortId> {
    match address {
        SocketAddr::V6(address) => PortId::new((address.scope_id() as usize).checked_sub(1)?),
        SocketAddr::V4(_) => None,
    }
}

/// What a socket wishes of the way of a datagram.
///
/// # Errors
/// [`Error::InvalidArgument`] when the program contradicts itself.
pub(crate) fn wish(
    end: &Endpoint,
    address: IpAddr,
    scope: Option<PortId>,
    control: &SendControl,
) -> Result<Wish, Error> {
    let options = end.options_for(address);
    let (sticky_source, sticky_port) = options.sticky;
    let named = control.port.or(scope).or(sticky_port);
    if named.zip(options.device).is_some_and(|(named, device)| named != device) {
        return Err(Error::InvalidArgument);
    }
    let group = address.is_multicast();
    let usual = if group { options.multicast_port } else { options.unicast_port };
    let port = named.or(options.device).or(usual);
    // Bound to a group one can listen, but not speak from it.
    let bound = end.local.filter(|local| !is_group(*local));
    let source = control.source.or(sticky_source).map(|source| source.to_canonical());
    let source = source.or(bound).or(options.multicast_source.filter(|_| group));
    if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
        return Err(Error::NetworkUnreachable);
    }
    let path_mtu =
        !matches!(options.mtu_discover, MtuDiscovery::Probe | MtuDiscovery::Interface | MtuDiscovery::Omit);
    let traits = Traits { tos: control.tos.unwrap_or(end.options.tos), ..Traits::default() };
    Ok(Wish { destination: address, source, port, broadcast: end.options.broadcast, path_mtu, traits })
}

/// Whether "don't fragment" is said of a datagram to `address`, and whether we may cut it.
pub(crate) fn fragmentation(end: &Endpoint, address: IpAddr) -> (bool, bool) {
    let (dont_fragment, may_cut) = match end.options_for(address).mtu_discover {
        MtuDiscovery::Dont => (false, true),
        MtuDiscovery::Want => (true, true),
        MtuDiscovery::Do | MtuDiscovery::Probe => (true, false),
        MtuDiscovery::Interface => (false, false),
        MtuDiscovery::Omit => (false, true),
    };
    (dont_fragment, may_cut && !(address.is_ipv6() && end.options.dont_fragment))
}

/// The IP options that a datagram to `address` leaves with: hardly ever any.
#[inline]
pub(crate) fn ip_options_of<F: Frame>(
    stack: &Stack<F>,
    now: Instant,
    end: &Endpoint,
    control: &SendControl,
    address: IpAddr,
    source: IpAddr,
) -> IpOptions {
    let options = control.options.as_ref().unwrap_or(&end.options_for(address).ip_options);
    if options.is_empty() { IpOptions::NONE } else { stack.departing(now, options, source) }
}

/// Where a call to send wants to send.
fn target(socket: &Socket, args: &SendArgs) -> Result<Target, Error> {
    let end = &socket.end;
    let control = args.control;
    let Some(to) = args.to else {
        let (address, port_number) = end.peer.ok_or(Error::DestinationRequired)?;
        return Ok(Target { address, port_number, scope: None, control });
    };
    if to.port() == 0 {
        return Err(Error::InvalidArgument);
    }
    let address = end.accept_address(to.ip())?;
    Ok(Target { address, port_number: to.port(), scope: scope_of(to), control })
}

/// Sends bytes, or adds them to a datagram that is not complete.
pub(super) fn send<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    args: &SendArgs,
    data: &[u8],
) -> Result<usize, Error>
where
    P: FramePool,
    M: Probe,
{
    let socket = stack.udp.slab.get_mut(handle).ok_or(Error::BadHandle)?;
    if socket.end.no_writing {
        return Err(Error::BrokenPipe);
    }
    if let Some(error) = socket.end.take_error() {
        return Err(error);
    }
    if data.len() > usize::from(u16::MAX) {
        return Err(Error::MessageTooLong);
    }
    let more = args.more || socket.cork;
    if socket.uncork.is_none() {
        let target = target(socket, args)?;
        if args.control.ttl == Some(0) {
            return Err(Error::InvalidArgument);
        }
        if !more {
            return send_now(stack, turn, handle, &target, Body::Bytes(data)).map(|()| data.len());
        }
        socket.uncork = Some(target);
    }
    let fits = socket.corked.len() + data.len() <= MAX_PAYLOAD;
    if !fits || socket.corked.write(&mut stack.blocks, data) < data.len() {
        let error = if fits { Error::NoBuffers } else { Error::MessageTooLong };
        flush(stack, handle);
        return Err(error);
    }
    if !more {
        push(stack, turn, handle)?;
    }
    Ok(data.len())
}

/// Gives up what is corked (row U2).
pub(super) fn flush<F: Frame>(stack: &mut Stack<F>, handle: Handle) {
    let Stack { udp, blocks, .. } = stack;
    if let Some(socket) = udp.slab.get_mut(handle) {
        socket.corked.clear(blocks);
        socket.uncork = None;
    }
}

/// Sends what is corked as one datagram.
pub(super) fn push<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    let socket = stack.udp.slab.get_mut(handle).ok_or(Error::BadHandle)?;
    let Some(target) = socket.uncork.take() else { return Ok(()) };
    // The ring leaves the socket while it is sent: the stack is borrowed for sending.
    let mut ring = core::mem::take(&mut socket.corked);
    let len = ring.len();
    let sent = send_now(stack, turn, handle, &target, Body::Ring { ring: &ring, offset: 0, len });
    ring.clear(&mut stack.blocks);
    if let Some(socket) = stack.udp.slab.get_mut(handle) {
        socket.corked = ring;
    }
    sent
}

/// Sends one datagram, or what UDP_SEGMENT makes of it.
fn send_now<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    target: &Target,
    body: Body<'_>,
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    stack.udp_autobind(handle)?;
    let socket = stack.udp.slab.get(handle).ok_or(Error::BadHandle)?;
    let wish = wish(&socket.end, target.address, target.scope, &target.control)?;
    let wish = wish.of_ports(socket.protocol.number(), socket.end.local_port, target.port_number);
    let free_bind = socket.end.options.free_bind;
    if let Some(source) = target.control.source
        && !free_bind
        && stack.owner_of(source.to_canonical(), None).is_none()
    {
        return Err(Error::InvalidArgument);
    }
    let choice = stack.select(turn.now, &wish)?;
    let wanted = stack.udp.slab.get(handle).ok_or(Error::BadHandle)?.end.stamping.wanted(&target.control);
    if !wanted.is_none() {
        stack.quote.want();
    }
    let sent = send_segments(stack, turn, handle, target, &choice, body);
    if !wanted.is_none() {
        let left = Departure {
            wanted,
            control: &target.control,
            source: choice.source,
            to: SocketAddr::new(target.address, target.port_number),
            port: choice.port,
            now: turn.now,
        };
        stamp(stack, handle, &left, sent.is_ok());
    }
    if sent == Err(Error::MessageTooLong) {
        report_too_long(stack, turn, handle, target, &choice);
    }
    stack.deliver_looped(turn);
    stack.settle_neighbours(turn);
    sent
}

/// Stamps what left, if it did.
fn stamp<F: Frame>(stack: &mut Stack<F>, handle: Handle, left: &Departure<'_>, sent: bool) {
    let Stack { udp, blocks, events, quote, .. } = stack;
    if let (Some(packet), Some(socket)) = (quote.take().filter(|_| sent), udp.slab.get_mut(handle)) {
        socket.end.stamp(blocks, packet, left);
        socket.end.pending.add(events, SocketId::Udp(handle), Ready::ERROR);
    }
}

fn send_segments<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    target: &Target,
    choice: &Choice,
    body: Body<'_>,
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    let socket = stack.udp.slab.get(handle).ok_or(Error::BadHandle)?;
    let v6 = target.address.is_ipv6();
    let segment = usize::from(target.control.segment.unwrap_or(socket.segment));
    let (protocol, send_coverage) = (socket.protocol, socket.send_coverage);
    // RFC 3828 section 3.1: there is no UDP-Lite without a checksum.
    let unchecked = protocol == Protocol::Udp && if v6 { socket.no_checksum6_tx } else { socket.no_checksum };
    let end = &socket.end;
    let (dont_fragment, may_cut) = fragmentation(end, target.address);
    let options = end.options_for(target.address);
    let group = target.address.is_multicast();
    let ttl = target.control.ttl.unwrap_or(options.ttl_for(group));
    let tos = target.control.tos.unwrap_or(options.tos);
    let (number, loops) = (end.local_port, options.multicast_loop);
    let ip_options = ip_options_of(stack, turn.now, end, &target.control, target.address, choice.source);
    let pieces = if segment == 0 { 1 } else { body.len().div_ceil(segment).max(1) };
    // Linux looks at the segments of UDP-Lite, and then does not cut it, also where there is one.
    let uncut = segment > 0 && protocol == Protocol::UdpLite;
    if pieces > 1 || uncut {
        let header = if v6 { crate::ipv6::HEADER_LEN } else { crate::ipv4::HEADER_LEN }
            + ip_options.len()
            + HEADER_LEN;
        let mtu = choice.exit.map_or(usize::from(u16::MAX), |exit| usize::from(exit.mtu()));
        // udp(7): segments must fit the path, and each needs its checksum.
        if header + segment.min(body.len()) > mtu {
            return Err(Error::MessageTooLong);
        }
        if pieces > UDP_SEGMENTS || unchecked {
            return Err(Error::InvalidArgument);
        }
        if uncut {
            return Err(Error::InputOutput);
        }
    }
    // To ourselves and to others: a group's datagram is heard here as well when we listen to it.
    let heard_here = match choice.cast {
        LinkCast::Unicast => choice.exit.is_none(),
        LinkCast::Group if group => loops && stack.hears_group(choice.port, target.address, choice.source),
        LinkCast::Group => true,
    };
    for piece in 0..pieces {
        let body = if pieces == 1 { body } else { body.part(piece * segment, segment) };
        let (head, covered) = match protocol {
            Protocol::Udp => (udp_head(number, target.port_number, body.len())?, None),
            Protocol::UdpLite => {
                let (head, covered) = lite_head(number, target.port_number, body.len(), send_coverage)?;
                (head, Some(covered))
            }
        };
        let check = Check { at: CHECKSUM_OFFSET, pseudo: true, nonzero: true, covered };
        let datagram = Datagram {
            source: choice.source,
            destination: target.address,
            protocol: protocol.number(),
            tos,
            ttl,
            dont_fragment,
            may_cut,
            options: &ip_options,
            head: &head,
            body,
            check: (!unchecked).then_some(check),
            counter: match protocol {
                Protocol::Udp => Counter::UdpOut,
                Protocol::UdpLite => Counter::UdpLiteOut,
            },
        };
        // RFC 1112 section 6.1: with a TTL of 0 it does not leave the host.
        if let Some(exit) = choice.exit.filter(|_| ttl > 0) {
            originate(stack, turn, Way::Link(exit), &datagram)?;
        }
        if heard_here {
            originate(stack, turn, Way::Loop(choice.port, choice.cast), &datagram)?;
        }
    }
    Ok(())
}

/// The header of a UDP datagram, whose checksum is made later.
fn udp_head(from: u16, to: u16, payload_len: usize) -> Result<[u8; HEADER_LEN], Error> {
    let mut head = [0; HEADER_LEN];
    let header = Header::new(from, to, payload_len).ok_or(Error::MessageTooLong)?;
    header.emit(&mut head).map_err(|_| Error::MessageTooLong)?;
    Ok(head)
}

/// The same of a UDP-Lite datagram, and how many bytes of header and payload the checksum covers (`udplite_csum` of Linux).
fn lite_head(
    from: u16,
    to: u16,
    payload_len: usize,
    send_coverage: Option<u16>,
) -> Result<([u8; HEADER_LEN], usize), Error> {
    let len = udplite::HEADER_LEN + payload_len;
    let whole = u16::try_from(len).map_err(|_| Error::MessageTooLong)?;
    let coverage = send_coverage.filter(|wanted| *wanted < whole).unwrap_or(whole);
    let mut head = [0; HEADER_LEN];
    udplite::Header::new(from, to, coverage).emit(&mut head).map_err(|_| Error::MessageTooLong)?;
    Ok((head, if coverage == 0 { len } else { usize::from(coverage) }))
}

/// A datagram was too long for its path: who asked for reports gets one, with the MTU (`ip_local_error`).
fn report_too_long<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &Turn<'_, P, M>,
    handle: Handle,
    target: &Target,
    choice: &Choice,
) where
    P: FramePool,
    M: Probe,
{
    let Stack { udp, blocks, .. } = stack;
    let Some(socket) = udp.slab.get_mut(handle).filter(|socket| socket.end.options.receive_errors) else {
        return;
    };
    let report = Report {
        error: Error::MessageTooLong,
        origin: Origin::Local,
        icmp: (0, 0),
        info: choice.exit.map_or(0, |exit| u32::from(exit.mtu())),
        data: 0,
        offender: None,
        to: SocketAddr::new(target.address, target.port_number),
        port: choice.port,
        now: turn.now,
    };
    socket.end.report(blocks, &report, &[]);
}
