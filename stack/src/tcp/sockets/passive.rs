//! The glue of passive opens (rows T10, S1): listeners and requests decide ([`crate::tcp::listen`]), here it is done.
//!
//! ```text
//!   SYN ──> listener ──> request, SYN-ACK          request, ACK ──> child ──> accept queue ──> owner: READABLE
//! ```
//!
//! A child belongs to its listener until it is accepted: its own news wait until then.

use super::bind::{BindOptions, bind_error};
use super::build::Fields;
use super::input::MAX_PIECES;
use super::input::{on_connection, send_reset};
use super::names::Seat;
use super::output::{Signing, path_mss, send_bare_by};
use super::{Entry, TcpSockets, Way};
use crate::frame::{Frame, FramePool};
use crate::limits::BURST;
use crate::port::PortId;
use crate::route::RouteMetrics;
use crate::socket::api::Sockets;
use crate::socket::blocks::BlockPool;
use crate::socket::bound::{Address, Bind, BindId};
use crate::socket::error::Error;
use crate::socket::listeners::{Arrival as Heard, Place};
use crate::socket::{Handle, Owner, Pending, Ready, SocketId};
use crate::stack::Stack;
use crate::tcp::Seq;
use crate::tcp::connection::Connection;
use crate::tcp::listen::{Arrival, ListenSettings, Listener, SynAck, TimerVerdict, Verdict};
use crate::tcp::negotiated::{Accepted, Arrived, Negotiated};
use crate::tcp::segment::{Check, Segment};
use crate::tcp::signature::{AoKey, Md5Key, Prefix, RequestSignature, Signed};
use crate::tcp::time_wait::Reused;
use crate::tcp::tuple::Tuple;
use crate::tcp::user::SocketOption;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::tcp::flag;
use arrayvec::ArrayVec;
use core::net::SocketAddr;

/// How a listener is opened.
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {
    /// What the listener does with SYNs.
    pub settings: ListenSettings,
    /// SO_REUSEPORT: other listeners of the same user may share the port; the flow decides whose a connection is.
    pub reuse_port: bool,
    /// IPV6_V6ONLY: `::` does not take IPv4.
    pub v6_only: bool,
    /// Only what comes in by this port (SO_BINDTODEVICE).
    pub device: Option<PortId>,
    /// Whose it is, for `reuse_port`.
    pub user: u32,
    /// What every connection begins with. (TCP_MAXSEG is said in the SYN-ACK: [`ListenSettings::max_segment`].)
    pub options: Vec<SocketOption>,
}

/// A key that a peer and we share.
#[derive(Debug, Clone)]
pub enum PeerKey {
    /// For the MD5 option (RFC 2385).
    Md5(Md5Key),
    /// For the authentication option (RFC 5925).
    Ao(AoKey),
}

/// A listener with what surrounds it.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) pending: Pending,
    pub(super) local: SocketAddr,
    place: Place,
    bind: Option<BindId>,
    options: Vec<SocketOption>,
}

/// What came, for the functions below.
#[derive(Clone, Copy)]
pub(super) struct Came<'a> {
    pub(super) tuple: &'a Tuple,
    /// The TCP header with its options.
    pub(super) header: &'a [u8],
    pub(super) port: PortId,
    pub(super) tos: u8,
    pub(super) segment: &'a Segment<'a>,
}

/// A whole segment for names that nobody has: true when a listener took it.
pub(super) fn on_listener<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    came: &Came<'_>,
    reused: Option<Reused>,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let Some(handle) = stack.listener_for(came.tuple, came.port) else { return false };
    let (arrival, way) = match arrival_of(stack, turn.now, handle, came, None, reused) {
        Ok(arrival) => arrival,
        Err(reason) => {
            stack.drop_received(came.port, reason);
            return true;
        }
    };
    let TcpSockets { listeners, passive, .. } = &mut stack.tcp;
    let Some(listening) = listeners.get_mut(handle) else { return false };
    let verdict = listening.listener.on_segment(passive, &arrival, turn.now);
    carry_out(stack, turn, handle, came, (way, arrival.route), verdict);
    true
}

/// A whole segment for a request.
pub(super) fn on_request<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    place: u32,
    came: &Came<'_>,
) where
    P: FramePool,
    M: Probe,
{
    let Came { tuple, port, segment, .. } = *came;
    let listener = stack.tcp.passive.request(place).map(|request| request.listener());
    let Some(handle) = listener.filter(|handle| stack.tcp.listeners.get(*handle).is_some()) else {
        // Its listener closed: nobody waits for this connection any more.
        stack.tcp.forget_request(place, tuple);
        stack.drop_received(port, DropReason::TcpClosed);
        if let Some(reset) = crate::tcp::segment::Reset::answer_to(segment) {
            send_reset(stack, turn, tuple, port, reset);
        }
        return;
    };
    let isns = stack.tcp.passive.request(place).map(|request| request.isns());
    let (arrival, way) = match arrival_of(stack, turn.now, handle, came, isns, None) {
        Ok(arrival) => arrival,
        Err(reason) => return stack.drop_received(port, reason),
    };
    let TcpSockets { listeners, passive, .. } = &mut stack.tcp;
    let Some(listening) = listeners.get_mut(handle) else { return };
    let verdict = listening.listener.on_request(passive, place, &arrival, turn.now);
    carry_out(stack, turn, handle, came, (way, arrival.route), verdict);
}

/// What the listener is told of a segment, with the way back, or why it is told nothing: there is no such way, or the
/// signature is not what the listener's keys ask for. `isns`: ours and the peer's, once they are known.
fn arrival_of<'a, F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    listener: Handle,
    came: &Came<'a>,
    isns: Option<(Seq, Seq)>,
    reused: Option<Reused>,
) -> Result<(Arrival<'a>, Way), DropReason> {
    let (way, route) =
        stack.way_and_metrics(now, came.tuple, came.port).map_err(|_error| DropReason::NoRoute)?;
    let room = stack.frame_room;
    let mtu = way.hop.map_or(room, |hop| hop.mtu.min(room));
    let listening = stack.tcp.listeners.get(listener).ok_or(DropReason::TcpClosed)?;
    let mut data: ArrayVec<&[u8], { MAX_PIECES + 1 }> = ArrayVec::new();
    data.push(came.segment.data);
    data.extend(came.segment.more.iter().copied().take(MAX_PIECES));
    let (source, destination) = (came.tuple.remote_ip(), came.tuple.local_ip());
    let signed = Signed { source, destination, header: came.header, data: &data };
    let keys = &listening.listener.keys;
    let segment = came.segment;
    let cookie = || (segment.ack - 1, segment.seq - 1);
    let isns = isns.or_else(|| (!segment.has(flag::SYN)).then(cookie));
    let signature = match isns {
        Some(isns) => keys.verify_request(came.tuple, isns, &signed),
        None => keys.verify_syn(came.tuple, &signed),
    };
    let arrival = Arrival {
        tuple: *came.tuple,
        segment,
        path_mss: path_mss(mtu, came.tuple.is_ipv4()),
        route,
        ect: came.tos & 3 != 0,
        tos: 0,
        signature: signature.map_err(|_refused| DropReason::TcpBadSignature)?,
        reused,
    };
    Ok((arrival, way))
}

fn carry_out<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    listener: Handle,
    came: &Came<'_>,
    back: (Way, RouteMetrics),
    verdict: Verdict,
) where
    P: FramePool,
    M: Probe,
{
    match verdict {
        Verdict::Drop(_) => stack.drop_received(came.port, DropReason::TcpListenRefused),
        Verdict::Reset(reset) => {
            stack.drop_received(came.port, DropReason::TcpListenRefused);
            send_reset(stack, turn, came.tuple, came.port, reset);
        }
        Verdict::Reply { reply, deadline } => {
            stack.counters.drop(DropReason::Consumed);
            if let Some((place, deadline)) = deadline {
                stack.tcp.request_wheel.schedule(place, deadline);
            }
            send_syn_ack(stack, turn, listener, came.port, &back.0, &reply);
        }
        Verdict::Request { reply, place, deadline } => {
            if !stack.tcp.names.take(came.tuple, Seat::Request(place)) {
                stack.tcp.passive.forget(place);
                return stack.drop_received(came.port, DropReason::TcpListenRefused);
            }
            stack.counters.drop(DropReason::Consumed);
            stack.tcp.request_wheel.schedule(place, deadline);
            stack.tcp.set_request_port(place, came.port);
            send_syn_ack(stack, turn, listener, came.port, &back.0, &reply);
        }
        Verdict::Child { accepted, request, signature } => {
            let child = make_child(stack, turn.now, listener, came, back, &accepted, signature);
            let TcpSockets { listeners, passive, request_wheel, .. } = &mut stack.tcp;
            let Some(listening) = listeners.get_mut(listener) else { return };
            let Some(child) = child else {
                listening.listener.refused(passive, request);
                return stack.drop_received(came.port, DropReason::TcpNoMemory);
            };
            listening.listener.established(passive, request, child);
            if let Some(place) = request {
                request_wheel.cancel(place);
            }
            listening.pending.add(&mut stack.events, SocketId::Listener(listener), Ready::READABLE);
            on_connection(stack, turn, child, came.port, came.segment);
        }
        Verdict::FastOpen { accepted, mut reply, signature } => {
            let Some(child) = make_child(stack, turn.now, listener, came, back, &accepted, signature) else {
                return stack.drop_received(came.port, DropReason::TcpNoMemory);
            };
            let Some(listening) = stack.tcp.listeners.get_mut(listener) else { return };
            listening.listener.fast_opened(child);
            listening.pending.add(&mut stack.events, SocketId::Listener(listener), Ready::READABLE);
            if let Some(entry) = stack.tcp.entries.get_mut(child) {
                (entry.is_fast_open, entry.listener) = (true, listener);
                entry.is_opening = true;
            }
            let data = Segment {
                seq: accepted.irs + 1,
                ack: accepted.iss,
                flags: flag::ACK | came.segment.flags & (flag::PSH | flag::FIN),
                check: Check::Verified,
                ..came.segment.clone()
            };
            on_connection(stack, turn, child, came.port, &data);
            if let Some(entry) = stack.tcp.entries.get_mut(child) {
                reply.ack = entry.connection.acknowledge_in_syn_ack();
            }
            send_syn_ack(stack, turn, listener, came.port, &back.0, &reply);
        }
        Verdict::Gone { place, reset } => {
            stack.tcp.names.free(came.tuple);
            stack.tcp.request_wheel.cancel(place);
            stack.drop_received(came.port, DropReason::TcpListenRefused);
            if let Some(reset) = reset {
                send_reset(stack, turn, came.tuple, came.port, reset);
            }
        }
    }
}

/// The connection of a handshake that is complete, whose packets leave by `way`; `None` when there is no room.
fn make_child<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    listener: Handle,
    came: &Came<'_>,
    (way, route): (Way, RouteMetrics),
    accepted: &Accepted,
    signature: RequestSignature,
) -> Option<Handle> {
    let ip_id = stack.next_ipv4_id();
    let Stack { tcp, blocks, .. } = stack;
    if tcp.entries.is_full() {
        return None;
    }
    let metrics = tcp.metrics.get(came.tuple.remote_ip(), now);
    let TcpSockets { settings, stats, listeners, bound, runs, ranges, challenge, .. } = &mut *tcp;
    let mut cx = crate::tcp::connection::Context { now, blocks, runs, ranges, settings, stats, challenge };
    let mut connection = Connection::accepted(&mut cx, accepted, metrics.as_ref());
    connection.obey_route(route);
    for option in listeners.get(listener).map_or(&[][..], |listening| &listening.options) {
        // They were tried when the listener opened.
        let _ = connection.set_option(&mut cx, *option);
    }
    let keys = match signature {
        RequestSignature::None => None,
        how => {
            let keys = &listeners.get(listener)?.listener.keys;
            let keys = keys.for_connection(came.tuple, accepted.iss, Some(accepted.irs), Some(how))?;
            connection.set_option(&mut cx, SocketOption::Signature(Some(keys.option()))).ok()?;
            Some(Box::new(keys))
        }
    };
    // Without room in the table of holders, the connection goes on without a hold of its own.
    let listening = listeners.get(listener).and_then(|listening| listening.bind.as_ref());
    let local = Address::new(came.tuple.local_ip(), false);
    let bind = listening.and_then(|bind| bound.inherit(bind, local).ok());
    let entry = Entry::new(connection, *came.tuple, way, came.port, Owner::default(), ip_id);
    tcp.add(Entry { is_accepted: false, keys, bind, ..entry }).ok()
}

fn send_syn_ack<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    listener: Handle,
    port: PortId,
    way: &Way,
    reply: &SynAck,
) where
    P: FramePool,
    M: Probe,
{
    let SynAck { ref tuple, seq, ack, flags, window, ref options, tos, .. } = *reply;
    let fields = Fields { seq, ack: Some(ack), flags, window, urgent: 0, options };
    send_bare_by(stack, turn, way, tuple, port, tos, &fields, Signing::Listener(listener, reply));
}

/// SYN-ACKs that are due again, a burst of them at most.
pub(super) fn timers<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>)
where
    P: FramePool,
    M: Probe,
{
    let mut budget = BURST;
    while let Some(place) = stack.tcp.request_wheel.pop(turn.now, &mut budget) {
        let Some(request) = stack.tcp.passive.request(place) else { continue };
        let (tuple, handle) = (*request.tuple(), request.listener());
        let port = stack.tcp.request_port(place);
        let TcpSockets { listeners, passive, .. } = &mut stack.tcp;
        let Some(listening) = listeners.get_mut(handle) else {
            stack.tcp.forget_request(place, &tuple);
            continue;
        };
        match listening.listener.on_timer(passive, place, turn.now) {
            TimerVerdict::Resend(reply, deadline) => {
                stack.tcp.request_wheel.schedule(place, deadline);
                match stack.way_to(turn.now, &tuple, port) {
                    Ok(way) => send_syn_ack(stack, turn, handle, port, &way, &reply),
                    Err(_) => stack.tcp_without_a_way(1),
                }
            }
            TimerVerdict::Wait(deadline) => stack.tcp.request_wheel.schedule(place, deadline),
            TimerVerdict::Gone => stack.tcp.names.free(&tuple),
        }
    }
}

impl TcpSockets {
    /// A request whose listener is gone ends without a word.
    fn forget_request(&mut self, place: u32, tuple: &Tuple) {
        self.passive.forget(place);
        self.names.free(tuple);
        self.request_wheel.cancel(place);
    }

    fn set_request_port(&mut self, place: u32, port: PortId) {
        let place = place as usize;
        if self.request_ports.len() <= place {
            self.request_ports.resize(place + 1, PortId::FIRST); // within the capacity that was reserved
        }
        self.request_ports[place] = port;
    }

    fn request_port(&self, place: u32) -> PortId {
        self.request_ports.get(place as usize).copied().unwrap_or(PortId::FIRST)
    }
}

impl<F: Frame> Stack<F> {
    /// The listener that takes connections to the local names of `tuple`.
    pub(super) fn listener_for(&self, tuple: &Tuple, port: PortId) -> Option<Handle> {
        let [a, b, c, d, ports] = tuple.words();
        let flow = crate::hash::hash4([a ^ b.rotate_left(32), c, d, ports], self.flow_key) as u32;
        let heard = Heard { destination: tuple.local_ip(), port: tuple.local_port, device: port, flow };
        let place = self.tcp.hearing.lookup(&heard)?;
        self.tcp.listeners.at(place as usize)
    }
}

impl<F: Frame> Sockets<'_, F> {
    /// Listens at an address (or any) and port.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::AddressNotAvailable`] when the address is not ours, a table that is full;
    /// [`Error::InvalidArgument`] for port 0 and for an option that a connection does not take once it stands.
    pub fn tcp_listen(
        &mut self,
        owner: Owner,
        at: SocketAddr,
        options: &ListenOptions,
    ) -> Result<Handle, Error> {
        if at.port() == 0 {
            return Err(Error::InvalidArgument);
        }
        let how = BindOptions {
            // A server that starts again may take its port while old connections wait (as every server on Linux asks).
            reuse_address: true,
            reuse_port: options.reuse_port,
            v6_only: options.v6_only,
            device: options.device,
            free_bind: false,
            user: options.user,
        };
        let (at, bound) = self.tcp_bind(at, &how)?;
        self.tcp_listen_bound(owner, at, bound, options).map_err(|(bound, error)| {
            self.tcp_unbind(bound);
            error
        })
    }

    /// Listens at a name that is held already, as the options of that hold say.
    ///
    /// # Errors
    /// As [`Sockets::tcp_listen`]; the name is still held.
    pub fn tcp_listen_bound(
        &mut self,
        owner: Owner,
        at: SocketAddr,
        bound: BindId,
        options: &ListenOptions,
    ) -> Result<Handle, (BindId, Error)> {
        let now = self.now;
        let Stack { tcp, blocks, .. } = &mut *self.stack;
        if let Err(error) = try_options(tcp, blocks, now, &options.options) {
            return Err((bound, error));
        }
        if tcp.listeners.is_full() {
            return Err((bound, Error::TooManySockets));
        }
        let Some(bind) = tcp.bound.get(&bound) else { return Err((bound, Error::InvalidArgument)) };
        let Bind { address, port, device, reuse_port, .. } = bind;
        let bound = tcp.bound.listen(bound).map_err(|(bound, error)| (bound, bind_error(error)))?;
        let place = Place { address, port, device, reuse_port };
        let listener = tcp.listeners.insert_with(|handle| Listening {
            listener: Listener::new(handle, options.settings),
            pending: Pending::new(owner),
            local: at,
            place,
            bind: None,
            options: options.options.clone(),
        });
        let Some(handle) = listener else { return Err((bound, Error::TooManySockets)) };
        if tcp.hearing.insert(place, handle.index() as u32).is_err() {
            tcp.listeners.remove(handle);
            return Err((bound, Error::TooManySockets));
        }
        if let Some(listening) = tcp.listeners.get_mut(handle) {
            listening.bind = Some(bound);
        }
        Ok(handle)
    }

    /// What the listener does with SYNs.
    pub fn tcp_listen_settings(&self, listener: Handle) -> Option<ListenSettings> {
        self.stack.tcp.listeners.get(listener).map(|listening| *listening.listener.settings())
    }

    /// Changes what the listener does with SYNs, the backlog too (listen called again). What stands in its queues stays.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_set_listen(&mut self, listener: Handle, settings: ListenSettings) -> Result<(), Error> {
        self.stack.tcp.listeners.get_mut(listener).ok_or(Error::BadHandle)?.listener.set(settings);
        Ok(())
    }

    /// What can be done with a listener now: READABLE when a connection waits.
    pub fn tcp_listen_ready(&self, listener: Handle) -> Ready {
        let waiting = self.stack.tcp.listeners.get(listener).map(|listening| listening.listener.waiting());
        match waiting {
            None => Ready::CLOSED,
            Some(0) => Ready::NONE,
            Some(_) => Ready::READABLE,
        }
    }

    /// Peers of a prefix must sign their segments to this listener with this key, and we sign ours to them (RFC 2385,
    /// RFC 5925); `None` takes the prefix's keys away. Connections that stand keep theirs.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::NoBuffers`] when there are too many keys.
    pub fn tcp_listen_key(
        &mut self,
        listener: Handle,
        prefix: Prefix,
        key: Option<PeerKey>,
    ) -> Result<(), Error> {
        let listening = self.stack.tcp.listeners.get_mut(listener).ok_or(Error::BadHandle)?;
        let keys = &mut listening.listener.keys;
        let set = match key {
            None => {
                keys.remove(prefix);
                Ok(())
            }
            Some(PeerKey::Md5(key)) => keys.set_md5(prefix, key),
            Some(PeerKey::Ao(key)) => keys.add_ao(prefix, key),
        };
        set.map_err(|_full| Error::NoBuffers)
    }

    /// Changes what a listener does with SYNs, and what every connection begins with from now on.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::InvalidArgument`] for an option that a connection does not take once it stands.
    pub fn tcp_listen_change(
        &mut self,
        listener: Handle,
        options: Vec<SocketOption>,
        change: impl FnOnce(&mut ListenSettings),
    ) -> Result<(), Error> {
        let now = self.now;
        let Stack { tcp, blocks, .. } = &mut *self.stack;
        try_options(tcp, blocks, now, &options)?;
        let listening = tcp.listeners.get_mut(listener).ok_or(Error::BadHandle)?;
        let mut settings = *listening.listener.settings();
        change(&mut settings);
        listening.listener.set(settings);
        listening.options = options;
        Ok(())
    }

    /// Takes the connection that has waited longest; its news go to `owner` from now on.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when none waits; [`Error::BadHandle`].
    pub fn tcp_accept(&mut self, listener: Handle, owner: Owner) -> Result<(Handle, SocketAddr), Error> {
        let Stack { tcp, events, .. } = &mut *self.stack;
        let listening = tcp.listeners.get_mut(listener).ok_or(Error::BadHandle)?;
        loop {
            let handle = listening.listener.accept().ok_or(Error::WouldBlock)?;
            let Some(entry) = tcp.entries.get_mut(handle) else { continue };
            entry.is_accepted = true;
            entry.pending = Pending::new(owner);
            // What happened while it waited.
            let _old = entry.connection.take_news();
            entry.pending.add(events, SocketId::Tcp(handle), entry.connection.readiness());
            let peer = SocketAddr::new(entry.tuple.remote_ip(), entry.tuple.remote_port);
            tcp.settle(self.now, events, handle, false);
            return Ok((handle, peer));
        }
    }

    /// Stops listening: connections that wait to be accepted are reset.
    pub fn tcp_unlisten(&mut self, listener: Handle) {
        if let Some(bind) = self.tcp_stop_listening(listener) {
            self.tcp_unbind(bind);
        }
    }

    /// As [`Sockets::tcp_unlisten`], but the port stays held (shutdown of a listener).
    pub fn tcp_stop_listening(&mut self, listener: Handle) -> Option<BindId> {
        let listening = self.stack.tcp.listeners.remove(listener)?;
        self.stack.tcp.hearing.remove(listening.place, listener.index() as u32);
        let bound = listening.bind.map(|bind| self.stack.tcp.bound.unlisten(bind));
        for waiting in listening.listener.close() {
            self.tcp_abort(waiting);
        }
        bound
    }
}

/// Tries options of a listener on a connection that nobody sees, so that none is taken and then ignored.
fn try_options(
    tcp: &mut TcpSockets,
    blocks: &mut BlockPool,
    now: Instant,
    options: &[SocketOption],
) -> Result<(), Error> {
    let stats = tcp.stats.clone();
    let (_, mut cx) = tcp.split(now, blocks);
    let mut trial = Connection::accepted(&mut cx, &TRIAL, None);
    let tried = options.iter().try_for_each(|option| trial.set_option(&mut cx, *option));
    let _closed = trial.abort(&mut cx);
    tcp.stats = stats;
    tried.map_err(Error::from)
}

/// A handshake that never was.
const TRIAL: Accepted = Accepted {
    arrived: Arrived::Established,
    irs: Seq(0),
    iss: Seq(0),
    negotiated: Negotiated { mss: 1460, scales: None, sack: true, timestamps: true, ecn: false },
    path_mss: 1460,
    advertised_mss: 1460,
    window: 65_535,
    offered: 65_535,
    rtt: None,
    retransmissions: 0,
    ts_recent: 0,
    ts_offset: 0,
};
