//! Raw and ping output (rows R1, R2; `raw_sendmsg`, `raw_send_hdrinc`, `ping_v4_sendmsg` of Linux).

use super::{ICMP, ICMPV6, Kind, Socket};
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::ip::originate::{Body, Check, Datagram, Way, originate, put_on_wire};
use crate::ip::select::Choice;
use crate::socket::control::SendArgs;
use crate::socket::stamps::Departure;
use crate::socket::{Error, Handle, Ready, SocketId};
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::udp::{fragmentation, ip_options_of, scope_of, wish};
use crate::verdict::DropReason;
use crate::{ipv4, ipv6};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Bytes of an ICMP echo header.
const ECHO_HEADER: usize = 8;

/// Sends one packet.
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
    let socket = stack.raw.slab.get_mut(handle).ok_or(Error::BadHandle)?;
    if socket.end.no_writing {
        return Err(Error::BrokenPipe);
    }
    if let Some(error) = socket.end.take_error() {
        return Err(error);
    }
    if data.len() > usize::from(u16::MAX) {
        return Err(Error::MessageTooLong);
    }
    // Several parts of one raw packet (MSG_MORE) are not joined: one call, one packet.
    if args.more {
        return Err(Error::NotSupported);
    }
    if socket.kind == Kind::Ping {
        judge_ping(socket, data)?;
        stack.ping_autobind(handle)?;
    }
    let socket = stack.raw.slab.get(handle).ok_or(Error::BadHandle)?;
    let (address, scope) = match args.to {
        Some(to) => (socket.end.accept_address(to.ip())?, scope_of(to)),
        None => (socket.end.peer.ok_or(Error::DestinationRequired)?.0, None),
    };
    if args.control.ttl == Some(0) {
        return Err(Error::InvalidArgument);
    }
    let wish = wish(&socket.end, address, scope, &args.control)?;
    let choice = stack.select(turn.now, &wish.of_protocol(socket.protocol()))?;
    let wanted = stack.raw.slab.get(handle).ok_or(Error::BadHandle)?.end.stamping.wanted(&args.control);
    if !wanted.is_none() {
        stack.quote.want();
    }
    let sent = build(stack, turn, handle, address, args, &choice, data);
    if !wanted.is_none() {
        let (control, source) = (&args.control, choice.source);
        let to = SocketAddr::new(address, 0);
        let left = Departure { wanted, control, source, to, port: choice.port, now: turn.now };
        stamp(stack, handle, &left, sent.is_ok());
    }
    stack.deliver_looped(turn);
    stack.settle_neighbours(turn);
    sent.map(|()| data.len())
}

/// Stamps what left, if it did.
fn stamp<F: Frame>(stack: &mut Stack<F>, handle: Handle, left: &Departure<'_>, sent: bool) {
    let Stack { raw, blocks, events, quote, .. } = stack;
    if let (Some(packet), Some(socket)) = (quote.take().filter(|_| sent), raw.slab.get_mut(handle)) {
        socket.end.stamp(blocks, packet, left);
        socket.end.pending.add(events, SocketId::Raw(handle), Ready::ERROR);
    }
}

/// A ping socket sends echo requests and nothing else.
fn judge_ping(socket: &Socket, data: &[u8]) -> Result<(), Error> {
    let request = if socket.end.family == crate::socket::Family::Ipv4 { 8 } else { 128 };
    match data.first_chunk::<ECHO_HEADER>() {
        Some([kind, 0, ..]) if *kind == request => Ok(()),
        _ => Err(Error::InvalidArgument),
    }
}

fn build<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    address: IpAddr,
    args: &SendArgs,
    choice: &Choice,
    data: &[u8],
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    let socket = stack.raw.slab.get(handle).ok_or(Error::BadHandle)?;
    let end = &socket.end;
    let v6 = address.is_ipv6();
    let group = address.is_multicast();
    let options = end.options_for(address);
    let loops = options.multicast_loop;
    let ip_options = ip_options_of(stack, turn.now, end, &args.control, address, choice.source);
    let (dont_fragment, may_cut) = fragmentation(end, address);
    let ttl = args.control.ttl.unwrap_or(options.ttl_for(group));
    let tos = args.control.tos.unwrap_or(options.tos);
    let heard_here = match choice.cast {
        LinkCast::Unicast => choice.exit.is_none(),
        LinkCast::Group if group => loops && stack.hears_group(choice.port, address, choice.source),
        LinkCast::Group => true,
    };
    let socket = stack.raw.slab.get(handle).ok_or(Error::BadHandle)?;
    let mut head = [0; ECHO_HEADER];
    let (protocol, head, body, check) = match &socket.kind {
        // Linux: a header that the caller made, and options beside it, make no sense.
        Kind::Raw { header_included: true, .. } if !ip_options.is_empty() => {
            return Err(Error::InvalidArgument);
        }
        Kind::Raw { header_included: true, .. } => {
            return send_with_header(stack, turn, choice, heard_here, data);
        }
        Kind::Raw { protocol, checksum, .. } => {
            let check = checksum.filter(|_| v6).map(usize::from);
            // RFC 3542 section 3.1: a checksum that lies outside is an error of the caller.
            if check.is_some_and(|at| at + 2 > data.len()) {
                return Err(Error::InvalidArgument);
            }
            let check = check.map(|at| Check { at, pseudo: true, nonzero: false, covered: None });
            (*protocol, &head[..0], data, check)
        }
        Kind::Ping => {
            let (front, body) = data.split_at(ECHO_HEADER.min(data.len()));
            head[..front.len()].copy_from_slice(front);
            head[2..4].fill(0);
            head[4..6].copy_from_slice(&socket.end.local_port.to_be_bytes());
            let protocol = if v6 { ICMPV6 } else { ICMP };
            (protocol, &head[..], body, Some(Check { at: 2, pseudo: v6, nonzero: false, covered: None }))
        }
    };
    let datagram = Datagram {
        source: choice.source,
        destination: address,
        protocol,
        tos,
        ttl,
        dont_fragment,
        may_cut,
        options: &ip_options,
        head,
        body: Body::Bytes(body),
        check,
        counter: Counter::RawOut,
    };
    if let Some(exit) = choice.exit.filter(|_| ttl > 0) {
        originate(stack, turn, Way::Link(exit), &datagram)?;
    }
    if heard_here {
        originate(stack, turn, Way::Loop(choice.port, choice.cast), &datagram)?;
    }
    Ok(())
}

/// Sends a packet whose IP header the caller made (row R2). Over IPv4 the total length and the checksum are always
/// ours, the identification and the source where the caller left them zero; over IPv6 nothing is touched.
fn send_with_header<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    choice: &Choice,
    heard_here: bool,
    data: &[u8],
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    if let Some(exit) = choice.exit {
        let frame = fill_in(stack, turn, choice, usize::from(exit.mtu()), data)?;
        stack.counters.count(Counter::RawOut);
        if stack.quote.is_wanted() {
            stack.quote(Way::Link(exit), &frame, choice.source.is_ipv4());
        }
        put_on_wire(stack, turn, exit, frame, choice.source.is_ipv4());
    }
    if heard_here {
        let frame = fill_in(stack, turn, choice, usize::from(u16::MAX), data)?;
        if stack.quote.is_wanted() {
            stack.quote(Way::Loop(choice.port, choice.cast), &frame, choice.source.is_ipv4());
        }
        stack.counters.count(Counter::LoopedBack);
        stack.loop_back(choice.port, choice.cast, frame);
    }
    Ok(())
}

fn fill_in<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    choice: &Choice,
    mtu: usize,
    data: &[u8],
) -> Result<P::Frame, Error>
where
    P: FramePool,
    M: Probe,
{
    let v4 = choice.source.is_ipv4();
    let first = data.first().copied().unwrap_or(0);
    let header_len = if v4 { usize::from(first & 0x0f) * 4 } else { ipv6::HEADER_LEN };
    let least = if v4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    if first >> 4 != if v4 { 4 } else { 6 } || header_len < least || header_len > data.len() {
        return Err(Error::InvalidArgument);
    }
    let Some(mut frame) = turn.pool.alloc() else {
        stack.counters.drop(DropReason::NoFrame);
        return Err(Error::NoBuffers);
    };
    // What brings its own header is never cut here.
    if data.len() > mtu.min(frame.tailroom()) || !frame.append(data.len()) {
        return Err(Error::MessageTooLong);
    }
    frame.copy_from_slice(data);
    if let (IpAddr::V4(source), Some(header)) = (choice.source, frame.get_mut(..header_len)) {
        let id = stack.next_ipv4_id();
        fill_ipv4(header, data.len() as u16, id, source);
    }
    Ok(frame)
}

/// The fields that Linux fills in for IP_HDRINCL (raw(7)).
fn fill_ipv4(header: &mut [u8], total: u16, id: u16, source: Ipv4Addr) {
    header[2..4].copy_from_slice(&total.to_be_bytes());
    if header[4..6] == [0, 0] {
        header[4..6].copy_from_slice(&id.to_be_bytes());
    }
    if header[12..16] == [0; 4] {
        header[12..16].copy_from_slice(&source.octets());
    }
    header[10..12].fill(0);
    let sum = checksum::sum(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
