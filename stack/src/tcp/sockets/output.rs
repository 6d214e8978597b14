//! What leaves (rows T2, T3): the connections that have something to send, at the end of the turn.

use super::build::{self, Data, Envelope, Fields, Sign, tos_of};
use super::input::reset_peer;
use super::{Entry, PATH_LASTS, TcpSockets, Way};
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::interface::Interfaces;
use crate::ip::originate::Exit;
use crate::ip::path::Hop;
use crate::ip::select::Wish;
use crate::port::PortId;
use crate::route::{RouteMetrics, Traits};
use crate::socket::Handle;
use crate::socket::blocks::BlockPool;
use crate::socket::error::Error;
use crate::stack::Stack;
use crate::tcp::listen::SynAck;
use crate::tcp::segment::{Outgoing, Piece};
use crate::tcp::tuple::Tuple;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::tcp::{HEADER_LEN, flag};
use crate::{ipv4, ipv6};

/// Segments that one connection may send in a turn before the others had theirs.
const SEGMENTS_A_TURN: u32 = 64;

/// Frames that are left for arriving packets when the pool runs low.
const RESERVE: usize = 64;

/// Sends what is ready, within what frames and transmit queues have room for. What does not fit stays ready.
pub(crate) fn output<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>)
where
    P: FramePool,
    M: Probe,
{
    for _ in 0..stack.tcp.ready.len() {
        let Some(place) = stack.tcp.ready.pop_front() else { return };
        let Some((handle, entry)) = stack.tcp.entries.at_mut(place as usize) else { continue };
        entry.is_ready = false;
        if let Some(reset) = entry.connection.take_farewell() {
            let port = entry.port;
            reset_peer(stack, turn, handle, port, reset);
        }
        flush(stack, turn, handle);
    }
    if stack.tcp.ready.is_empty() {
        stack.tcp.ready.clear(); // the next one stands at its front again: where the cache has it
    }
}

/// Lets one connection send, and settles what follows. What does not fit stays ready.
pub(super) fn flush<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, handle: Handle)
where
    P: FramePool,
    M: Probe,
{
    let Some(hop) = stack.tcp_hop(turn.now, handle) else {
        return stack.settle_tcp(turn.now, handle, false);
    };
    let mut left = SEGMENTS_A_TURN;
    let more = loop {
        let room = match hop {
            Some(hop) => turn.egress.room(hop.port),
            None => crate::limits::LOOPBACK.saturating_sub(stack.looped.len()),
        };
        let budget = (left as usize).min(room).min(turn.pool.available().saturating_sub(RESERVE)) as u32;
        if budget == 0 {
            break true;
        }
        let Stack { tcp, blocks, events, interfaces, .. } = &mut *stack;
        let (entries, mut cx, mut desk) = tcp.split_with_desk(turn.now, blocks);
        let Some(entry) = entries.get_mut(handle) else { return };
        let Some(out) = entry.connection.poll_transmit(&mut cx, budget) else { break false };
        let was_all = entry.connection.is_all(&mut cx);
        left = left.saturating_sub(out.count());
        if out.count() == 1 {
            // Nearly always, where it is not a stream: what the connection is looked up for once.
            let tx_checksum = has_tx_checksum(interfaces, hop);
            let frame = entry.build(turn.pool, cx.blocks, &out, &out.piece(0), tx_checksum);
            let is_settled = was_all && entry.settle(&mut desk, events, handle, false);
            let (is_ipv4, port) = (entry.tuple.is_ipv4(), entry.port);
            send_built(stack, turn, frame, hop, port, is_ipv4);
            if is_settled {
                return;
            }
        } else {
            send_train(stack, turn, handle, hop, &out);
        }
        if was_all {
            break false;
        }
    };
    stack.settle_tcp(turn.now, handle, more);
}

/// Builds the segments of a connection's train and sends them.
fn send_train<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    handle: Handle,
    hop: Option<Hop>,
    train: &Outgoing,
) where
    P: FramePool,
    M: Probe,
{
    let tx_checksum = has_tx_checksum(&stack.interfaces, hop);
    for number in 0..train.count() {
        let Some(entry) = stack.tcp.entries.get_mut(handle) else { return };
        let frame = entry.build(turn.pool, &stack.blocks, train, &train.piece(number), tx_checksum);
        let (is_ipv4, port) = (entry.tuple.is_ipv4(), entry.port);
        send_built(stack, turn, frame, hop, port, is_ipv4);
    }
}

/// True when the port that a hop leaves by finishes checksums.
#[inline]
fn has_tx_checksum(interfaces: &Interfaces, hop: Option<Hop>) -> bool {
    hop.is_some_and(|hop| interfaces.get(hop.port).is_some_and(|port| port.tx_checksum))
}

impl Entry {
    /// A frame for one segment of a train; `None` when there is none.
    #[inline]
    fn build<P: FramePool>(
        &mut self,
        pool: &mut P,
        blocks: &BlockPool,
        train: &Outgoing,
        one: &Piece,
        tx_checksum: bool,
    ) -> Option<P::Frame> {
        self.ip_id = self.ip_id.wrapping_add(1);
        let envelope = Envelope {
            tos: tos_of(self.connection.tos(), train.ect),
            ttl: self.connection.ttl(),
            id: self.ip_id,
            dont_fragment: train.dont_fragment,
            tx_checksum,
        };
        let mut keys = self.keys.as_deref_mut();
        let at = HEADER_LEN + usize::from(train.signature.unwrap_or(0));
        let mut sign = |header: &mut [u8], data: &[u8]| {
            if let Some(keys) = keys.as_deref_mut() {
                keys.sign(header, at, &[data]);
            }
            true
        };
        let sign: Option<Sign<'_>> = train.signature.is_some().then_some(&mut sign);
        let data = Data {
            ring: &self.connection.tx.ring,
            blocks,
            offset: one.offset as usize,
            len: one.len as usize,
        };
        build::segment(pool, &self.tuple, envelope, &Fields::of(train, one), Some(data), sign)
    }
}

/// Sends what was built, if there was a frame for it.
#[inline]
fn send_built<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    frame: Option<P::Frame>,
    hop: Option<Hop>,
    port: PortId,
    is_ipv4: bool,
) where
    P: FramePool,
    M: Probe,
{
    match frame {
        Some(frame) => send_packet(stack, turn, frame, hop, port, is_ipv4),
        None => stack.counters.drop(DropReason::NoFrame),
    }
}

/// Sends a complete packet by a hop, or to ourselves.
#[inline]
pub(super) fn send_packet<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    frame: P::Frame,
    hop: Option<Hop>,
    port: PortId,
    is_ipv4: bool,
) where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::TcpOut);
    // A path that narrowed since the segment was cut: both cut it again.
    match hop {
        Some(hop) if is_ipv4 => ipv4::output::send(stack, turn, frame, hop),
        Some(hop) => ipv6::output::send(stack, turn, frame, hop),
        None => stack.loop_back(port, LinkCast::Unicast, frame),
    }
}

/// Whose keys sign a segment that the glue makes itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signing<'a> {
    /// Nobody's.
    Nobody,
    /// Those of a listener, where its SYN-ACK wants that.
    Listener(Handle, &'a SynAck),
    /// Those of a connection; where in the options the bytes begin.
    Connection(Handle, u8),
    /// Those of a TIME-WAIT record; where in the options the bytes begin.
    TimeWait(u32, u8),
}

/// Sends a segment without data that no connection sends: what requests and TIME-WAIT records answer, and resets; signed
/// where the session is (RFC 2385 section 3, RFC 5925 section 7.1). It goes where the peer's packets come from.
pub(super) fn send_bare<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    tuple: &Tuple,
    port: PortId,
    tos: u8,
    fields: &Fields<'_>,
    sign: Signing<'_>,
) where
    P: FramePool,
    M: Probe,
{
    match stack.way_to(turn.now, tuple, port) {
        Ok(way) => send_bare_by(stack, turn, &way, tuple, port, tos, fields, sign),
        Err(_) => stack.tcp_without_a_way(1),
    }
}

/// As [`send_bare`], by a way that is known already.
#[expect(clippy::too_many_arguments, reason = "what a segment needs that no connection stands behind")]
pub(super) fn send_bare_by<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    way: &Way,
    tuple: &Tuple,
    port: PortId,
    tos: u8,
    fields: &Fields<'_>,
    sign: Signing<'_>,
) where
    P: FramePool,
    M: Probe,
{
    let tx_checksum = has_tx_checksum(&stack.interfaces, way.hop);
    let is_ipv4 = tuple.is_ipv4();
    let envelope = Envelope {
        tos,
        ttl: crate::icmp::v4::DEFAULT_TTL,
        id: if is_ipv4 { stack.next_ipv4_id() } else { 0 },
        dont_fragment: true,
        tx_checksum,
    };
    let TcpSockets { listeners, entries, time_waits, .. } = &mut stack.tcp;
    let mut signer = |header: &mut [u8], data: &[u8]| match sign {
        Signing::Nobody => true,
        Signing::Listener(listener, syn_ack) => {
            let Some(listening) = listeners.get(listener) else { return false };
            let at = HEADER_LEN + usize::from(syn_ack.signature.unwrap_or(0));
            let isns = (syn_ack.seq, syn_ack.ack - 1);
            listening.listener.keys.sign_syn_ack(tuple, isns, syn_ack.how, header, at)
        }
        Signing::Connection(connection, at) => {
            let keys = entries.get_mut(connection).and_then(|entry| entry.keys.as_deref_mut());
            keys.map(|keys| keys.sign(header, HEADER_LEN + usize::from(at), &[data])).is_some()
        }
        Signing::TimeWait(place, at) => {
            let keys = time_waits.keys(place);
            keys.map(|keys| keys.sign(header, HEADER_LEN + usize::from(at), &[data])).is_some()
        }
    };
    let signs = match sign {
        Signing::Nobody => false,
        Signing::Listener(_, syn_ack) => syn_ack.signature.is_some(),
        Signing::Connection(..) | Signing::TimeWait(..) => true,
    };
    let signer: Option<Sign<'_>> = signs.then_some(&mut signer);
    match build::segment(turn.pool, tuple, envelope, fields, None, signer) {
        Some(frame) => {
            if fields.flags & flag::RST != 0 {
                stack.counters.count(Counter::TcpResetsOut);
            }
            send_packet(stack, turn, frame, way.hop, port, is_ipv4);
        }
        None => stack.counters.drop(DropReason::NoFrame),
    }
}

impl<F: Frame> Stack<F> {
    /// How a connection's packets leave; asked for again when routes changed. `None`: there is no connection, or no
    /// way; it tries again when its timer says so.
    #[inline]
    fn tcp_hop(&mut self, now: Instant, handle: Handle) -> Option<Option<Hop>> {
        let generation = self.generation as u32;
        let entry = self.tcp.entries.get(handle)?;
        if entry.way.generation == generation && now < entry.way.until {
            return Some(entry.way.hop);
        }
        let (tuple, port) = (entry.tuple, entry.port);
        let way = self.way_to(now, &tuple, port);
        self.tcp_rerouted(now, handle, way).map(|way| way.hop)
    }

    /// The way to the peer of a connection, from its local address.
    pub(super) fn way_to(&mut self, now: Instant, tuple: &Tuple, port: PortId) -> Result<Way, Error> {
        self.way_and_metrics(now, tuple, port).map(|(way, _)| way)
    }

    /// The same, and what the route says to the connection.
    pub(super) fn way_and_metrics(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        port: PortId,
    ) -> Result<(Way, RouteMetrics), Error> {
        let destination = tuple.remote_ip();
        let source = tuple.local_ip();
        let scoped = matches!(destination, core::net::IpAddr::V6(to) if to.is_unicast_link_local());
        let wish = Wish {
            destination,
            source: Some(source),
            port: scoped.then_some(port),
            broadcast: false,
            path_mtu: true,
            traits: traits(tuple.local_port, tuple.remote_port),
        };
        let choice = self.select(now, &wish)?;
        let way =
            Way { hop: hop_of(choice.exit)?, generation: self.generation as u32, until: now + PATH_LASTS };
        Ok((way, choice.metrics))
    }

    /// Segments end before they are made: there is no way to their peer.
    #[cold]
    pub(super) fn tcp_without_a_way(&mut self, segments: u32) {
        for _ in 0..segments {
            self.counters.count(Counter::TcpOut);
            self.counters.drop(DropReason::NoRoute);
        }
    }

    #[cold]
    fn tcp_rerouted(&mut self, now: Instant, handle: Handle, way: Result<Way, Error>) -> Option<Way> {
        let room = self.frame_room;
        let Stack { tcp, blocks, .. } = self;
        let (entries, mut cx) = tcp.split(now, blocks);
        let entry = entries.get_mut(handle)?;
        match way {
            Ok(way) => {
                entry.way = way;
                let mtu = way.hop.map_or(room, |hop| hop.mtu.min(room));
                // Whatever it wants sent is sent next: this is asked for before sending.
                let _ = entry.connection.on_mtu(&mut cx, path_mss(mtu, entry.tuple.is_ipv4()));
                Some(way)
            }
            Err(_) => {
                // As Linux: what cannot be routed counts as sent and lost; the retransmission asks again.
                entry.way.until = Instant::ZERO;
                let mut lost = 0;
                while let Some(train) = entry.connection.poll_transmit(&mut cx, SEGMENTS_A_TURN) {
                    lost += train.count();
                }
                self.tcp_without_a_way(lost);
                None
            }
        }
    }
}

/// The neighbour that a choice leads to; `None`: ourselves. A connection has one peer, so never many.
pub(super) const fn hop_of(exit: Option<Exit>) -> Result<Option<Hop>, Error> {
    match exit {
        None => Ok(None),
        Some(Exit::Neighbour(hop)) => Ok(Some(hop)),
        Some(_) => Err(Error::NetworkUnreachable),
    }
}

/// What policy rules may ask of a segment; its type of service is not known when the way is chosen.
pub(super) const fn traits(from: u16, to: u16) -> Traits {
    Traits { tos: 0, protocol: 6, ports: Some((from, to)) }
}

/// The largest segment without options that fits an MTU.
pub(super) const fn path_mss(mtu: u16, ipv4: bool) -> u16 {
    mtu.saturating_sub(if ipv4 { 40 } else { 60 })
}
