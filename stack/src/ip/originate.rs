//! The one builder of IP packets for what sockets send (rows O1, O8; RFC 791 sections 2.3 and 3.2, RFC 8200
//! section 4.5): header, fragments when the path wants them, checksum.
//!
//! ```text
//!   head (transport header) ++ body (the caller's bytes, or a ring)  ──copied once──>  frame, frame, …
//! ```
//!
//! A datagram may be longer than any frame, so it never exists in one piece: fragments are filled straight from
//! the caller's bytes. The checksum is made first, over all of it, unless the port finishes it.

use crate::checksum::{self, Checksum, Sum};
use crate::counters::Counter;
use crate::ethernet::{self, LinkCast, ethertype};
use crate::frame::{Frame, FramePool};
use crate::ip::output::transmit;
use crate::ip::path::Hop;
use crate::limits::LOOPBACK;
use crate::mac::MacAddr;
use crate::port::PortId;
use crate::socket::blocks::BlockPool;
use crate::socket::error::Error;
use crate::socket::ring::ByteRing;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::IpProtocol;
use crate::wire::ipv6_extension::Fragment;
use crate::{icmp, ipv4, ipv6};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest datagram in bytes, IPv4 header included; for IPv6 the longest payload.
pub(crate) const MAX_DATAGRAM: usize = 65_535;

/// What follows the transport header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    /// The caller's bytes.
    Bytes(&'a [u8]),
    /// `len` bytes of a ring, from `offset` on.
    Ring { ring: &'a ByteRing, offset: usize, len: usize },
}

impl<'a> Body<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Body::Bytes(bytes) => bytes.len(),
            Body::Ring { len, .. } => *len,
        }
    }

    /// `len` bytes of it from `at` on, or fewer where it ends.
    pub(crate) fn part(&self, at: usize, len: usize) -> Body<'a> {
        let at = at.min(self.len());
        let len = len.min(self.len() - at);
        match *self {
            Body::Bytes(bytes) => Body::Bytes(&bytes[at..at + len]),
            Body::Ring { ring, offset, .. } => Body::Ring { ring, offset: offset + at, len },
        }
    }

    fn copy(&self, blocks: &BlockPool, at: usize, out: &mut [u8]) {
        match self {
            Body::Bytes(bytes) => {
                if let Some(bytes) = bytes.get(at..at + out.len()) {
                    out.copy_from_slice(bytes);
                }
            }
            Body::Ring { ring, offset, .. } => {
                ring.peek(blocks, offset + at, out);
            }
        }
    }

    fn add_to(&self, blocks: &BlockPool, sum: &mut Checksum) {
        match *self {
            Body::Bytes(bytes) => sum.add(bytes),
            Body::Ring { ring, offset, len } => {
                let mut done = 0;
                while done < len {
                    let piece = ring.slice(blocks, offset + done);
                    let piece = &piece[..piece.len().min(len - done)];
                    if piece.is_empty() {
                        return;
                    }
                    sum.add(piece);
                    done += piece.len();
                }
            }
        }
    }

    /// The 16-bit field at `at`; 0 beyond the end.
    fn field(&self, blocks: &BlockPool, at: usize) -> u16 {
        let mut bytes = [0; 2];
        if at + 2 <= self.len() {
            self.copy(blocks, at, &mut bytes);
        }
        u16::from_be_bytes(bytes)
    }
}

/// A checksum to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    /// Where it goes, in bytes from the start of the head; an even number.
    pub(crate) at: usize,
    /// Over the pseudo-header as well.
    pub(crate) pseudo: bool,
    /// Written as 0xffff when it comes out as zero (UDP).
    pub(crate) nonzero: bool,
    /// Over so many bytes of head and body, at least the head (UDP-Lite), and always made here. `None`: over all, and the port
    /// may finish it.
    pub(crate) covered: Option<usize>,
}

/// A datagram to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// Don't fragment on the way (IPv4), when it leaves in one piece.
    pub(crate) dont_fragment: bool,
    /// It may be cut here.
    pub(crate) may_cut: bool,
    /// IPv4: options, padded to 4 bytes; further fragments have those of them that say so. IPv6: a whole hop-by-hop header, whose
    /// first byte is filled here.
    pub(crate) options: &'a [u8],
    pub(crate) head: &'a [u8],
    pub(crate) body: Body<'a>,
    pub(crate) check: Option<Check>,
    /// What is counted when it is sent.
    pub(crate) counter: Counter,
}

/// How a packet gets on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    /// To one neighbour.
    Neighbour(Hop),
    /// To many on the link of a port: their Ethernet address follows from the group (RFC 1112 section 6.4, RFC 2464
    /// section 7), so nobody need be asked for it.
    Many { port: PortId, mtu: u16, mac: MacAddr },
}

impl Exit {
    /// The port.
    pub(crate) fn port(&self) -> PortId {
        match self {
            Exit::Neighbour(hop) => hop.port,
            Exit::Many { port, .. } => *port,
        }
    }

    /// The longest packet that gets through, in bytes.
    pub(crate) fn mtu(&self) -> u16 {
        match self {
            Exit::Neighbour(hop) => hop.mtu,
            Exit::Many { mtu, .. } => *mtu,
        }
    }
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Onto the wire.
    Link(Exit),
    /// To ourselves, as if it had come in by this port.
    Loop(PortId, LinkCast),
}

impl Datagram<'_> {
    fn header_len(&self) -> usize {
        let fixed = if self.source.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        fixed + self.options.len()
    }

    fn payload_len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    fn pseudo(&self, len: usize) -> Sum {
        match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => checksum::pseudo_ipv4(from, to, self.protocol, len as u16),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                checksum::pseudo_ipv6(&from, &to, self.protocol, len as u32)
            }
            _ => Sum::ZERO,
        }
    }

    /// The value of the checksum field.
    fn checksum(&self, blocks: &BlockPool, check: Check) -> u16 {
        let pseudo = if check.pseudo { self.pseudo(self.payload_len()) } else { Sum::ZERO };
        let mut sum = Checksum::new(pseudo);
        sum.add(self.head);
        match check.covered {
            None => self.body.add_to(blocks, &mut sum),
            Some(covered) => {
                self.body.part(0, covered.saturating_sub(self.head.len())).add_to(blocks, &mut sum);
            }
        }
        // What stands in the field does not count.
        let old = match self.head.get(check.at..check.at + 2) {
            Some(field) => u16::from_be_bytes([field[0], field[1]]),
            None => self.body.field(blocks, check.at.saturating_sub(self.head.len())),
        };
        let sum = if old == 0 { sum.sum() } else { sum.sum().plus_u16(!old) };
        if check.nonzero { sum.checksum_nonzero() } else { sum.checksum() }
    }

    /// Writes `out.len()` bytes of head and body, from `at` on, with `field` at its place.
    fn fill(&self, blocks: &BlockPool, at: usize, out: &mut [u8], field: Option<(usize, [u8; 2])>) {
        let head = self.head.get(at..).unwrap_or_default();
        let head = &head[..head.len().min(out.len())];
        let (front, back) = out.split_at_mut(head.len());
        front.copy_from_slice(head);
        if !back.is_empty() {
            self.body.copy(blocks, (at + head.len()).saturating_sub(self.head.len()), back);
        }
        if let Some((place, bytes)) = field {
            for (index, byte) in bytes.into_iter().enumerate() {
                let target = (place + index).checked_sub(at).and_then(|target| out.get_mut(target));
                if let Some(target) = target {
                    *target = byte;
                }
            }
        }
    }
}

/// Builds and sends a datagram, in one packet or in fragments.
///
/// # Errors
/// [`Error::MessageTooLong`] for one that does not fit any datagram, or the path and may not be cut;
/// [`Error::NoBuffers`] when the pool has no frame.
pub(crate) fn originate<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    way: Way,
    datagram: &Datagram<'_>,
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    let header_len = datagram.header_len();
    let total = header_len + datagram.payload_len();
    let v4 = datagram.source.is_ipv4();
    let longest = if v4 { MAX_DATAGRAM } else { MAX_DATAGRAM + ipv6::HEADER_LEN };
    if total > longest {
        return Err(Error::MessageTooLong);
    }
    let Some(mut frame) = turn.pool.alloc() else {
        stack.counters.drop(DropReason::NoFrame);
        return Err(Error::NoBuffers);
    };
    let mtu = match way {
        Way::Link(exit) => usize::from(exit.mtu()),
        Way::Loop(..) => longest,
    };
    let limit = mtu.min(frame.tailroom());
    if total > limit {
        drop(frame);
        if !datagram.may_cut {
            return Err(Error::MessageTooLong);
        }
        return send_fragments(stack, turn, way, datagram, mtu);
    }
    if !frame.append(total) {
        stack.counters.drop(DropReason::NoFrame);
        return Err(Error::NoBuffers);
    }
    let offload = match way {
        Way::Link(exit) => stack.interfaces.get(exit.port()).is_some_and(|port| port.tx_checksum),
        Way::Loop(..) => false,
    };
    let field = datagram.check.map(|check| {
        let finished_by_port = offload
            && check.pseudo
            && check.covered.is_none()
            && frame.request_tx_checksum(header_len as u16, check.at as u16);
        let value = if finished_by_port {
            datagram.pseudo(datagram.payload_len()).fold()
        } else {
            datagram.checksum(&stack.blocks, check)
        };
        (check.at, value.to_be_bytes())
    });
    let (header, payload) = frame.split_at_mut(header_len);
    datagram.fill(&stack.blocks, 0, payload, field);
    let id = if v4 { u32::from(stack.next_ipv4_id()) } else { 0 };
    write_header(header, datagram, &Part { id, offset: 0, more: false, fragment: false, len: payload.len() });
    count_originated(stack, way, datagram.counter, v4);
    emit(stack, turn, way, frame, v4);
    Ok(())
}

/// A part of a datagram, or all of it.
struct Part {
    id: u32,
    /// In bytes.
    offset: usize,
    more: bool,
    fragment: bool,
    /// Bytes of payload in it.
    len: usize,
}

fn send_fragments<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    way: Way,
    datagram: &Datagram<'_>,
    mtu: usize,
) -> Result<(), Error>
where
    P: FramePool,
    M: Probe,
{
    let v4 = datagram.source.is_ipv4();
    let mut copied = [0; ipv4::options::MAX_LEN];
    let copied = if v4 { ipv4::fragment::copied(datagram.options, &mut copied) } else { datagram.options };
    let further = Datagram { options: copied, ..*datagram };
    let payload = datagram.payload_len();
    let field = datagram.check.map(|check| (check.at, datagram.checksum(&stack.blocks, check).to_be_bytes()));
    let id = stack.next_random_u32();
    count_originated(stack, way, datagram.counter, v4);
    let mut sent = 0;
    while sent < payload {
        let datagram = if sent == 0 { datagram } else { &further };
        let header_len = datagram.header_len() + if v4 { 0 } else { Fragment::HEADER_LEN };
        let frame = turn.pool.alloc();
        let most = frame.as_ref().map_or(0, |frame| mtu.min(frame.tailroom())).saturating_sub(header_len);
        let last = payload - sent <= most;
        let len = if last { payload - sent } else { most & !7 };
        let frame =
            frame.filter(|_| len > 0).and_then(|mut frame| frame.append(header_len + len).then_some(frame));
        let Some(mut frame) = frame else {
            stack.counters.drop(DropReason::FragmentationFailed);
            return Err(Error::NoBuffers);
        };
        let (header, out) = frame.split_at_mut(header_len);
        datagram.fill(&stack.blocks, sent, out, field);
        write_header(header, datagram, &Part { id, offset: sent, more: !last, fragment: true, len });
        if matches!(way, Way::Link(_)) {
            let created = if v4 { Counter::Ipv4FragmentsCreated } else { Counter::Ipv6FragmentsCreated };
            stack.counters.count(created);
        }
        emit(stack, turn, way, frame, v4);
        sent += len;
    }
    if matches!(way, Way::Link(_)) {
        stack.counters.count(if v4 { Counter::Ipv4Fragmented } else { Counter::Ipv6Fragmented });
    }
    Ok(())
}

/// Counts the beginning of a packet. One to ourselves is counted when it is looped, frame by frame.
fn count_originated<F: Frame>(stack: &mut Stack<F>, way: Way, counter: Counter, v4: bool) {
    if matches!(way, Way::Link(_)) {
        stack.counters.count(counter);
        stack.counters.count(if v4 { Counter::Ipv4Originated } else { Counter::Ipv6Originated });
    }
}

fn write_header(header: &mut [u8], datagram: &Datagram<'_>, part: &Part) {
    match (datagram.source, datagram.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            write_ipv4(header, datagram, part, source, destination);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            write_ipv6(header, datagram, part, source, destination);
        }
        _ => {}
    }
}

fn write_ipv4(
    header: &mut [u8],
    datagram: &Datagram<'_>,
    part: &Part,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) {
    let fields = icmp::v4::Fields {
        tos: datagram.tos,
        id: part.id as u16,
        protocol: datagram.protocol,
        source,
        destination,
        total_len: (header.len() + part.len) as u16,
    };
    icmp::v4::write_header(header, &fields);
    header[0] = 0x40 | (header.len() / 4) as u8;
    let word = if part.fragment {
        (part.offset / 8) as u16 | u16::from(part.more) << 13
    } else {
        u16::from(datagram.dont_fragment) << 14
    };
    header[6..8].copy_from_slice(&word.to_be_bytes());
    header[8] = datagram.ttl;
    header[ipv4::HEADER_LEN..].copy_from_slice(datagram.options);
    header[10..12].fill(0);
    let sum = checksum::sum(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn write_ipv6(
    header: &mut [u8],
    datagram: &Datagram<'_>,
    part: &Part,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) {
    let behind_options = if part.fragment { IpProtocol::FRAGMENT.0 } else { datagram.protocol };
    let first = if datagram.options.is_empty() { behind_options } else { IpProtocol::HOP_BY_HOP.0 };
    let payload_len = header.len() - ipv6::HEADER_LEN + part.len;
    let fields = icmp::v6::Fields {
        class: datagram.tos,
        next_header: first,
        hop_limit: datagram.ttl,
        source,
        destination,
        payload_len: payload_len as u16,
    };
    icmp::v6::write_header(header, &fields);
    let (options, fragment) = header[ipv6::HEADER_LEN..].split_at_mut(datagram.options.len());
    options.copy_from_slice(datagram.options);
    if let Some(next) = options.first_mut() {
        *next = behind_options;
    }
    if part.fragment {
        let bytes = Fragment {
            header_offset: 0,
            next_header: IpProtocol(datagram.protocol),
            offset: part.offset,
            more: part.more,
            identification: part.id,
        }
        .to_bytes();
        fragment.copy_from_slice(&bytes);
    }
}

fn emit<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, way: Way, frame: P::Frame, v4: bool)
where
    P: FramePool,
    M: Probe,
{
    if stack.quote.is_wanted() {
        stack.quote(way, &frame, v4);
    }
    match way {
        Way::Link(exit) => put_on_wire(stack, turn, exit, frame, v4),
        Way::Loop(port, cast) => {
            stack.counters.count(Counter::LoopedBack);
            stack.loop_back(port, cast, frame);
        }
    }
}

/// Puts a link header in front of a packet and queues it for its port.
pub(crate) fn put_on_wire<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    exit: Exit,
    mut frame: P::Frame,
    v4: bool,
) where
    P: FramePool,
    M: Probe,
{
    let ethertype = if v4 { ethertype::IPV4 } else { ethertype::IPV6 };
    let (port, mac) = match exit {
        Exit::Neighbour(hop) => return transmit(stack, turn, frame, hop, ethertype),
        Exit::Many { port, mac, .. } => (port, mac),
    };
    let Some(interface) = stack.interfaces.get(port).filter(|port| port.up) else {
        return stack.counters.drop(DropReason::PortDown);
    };
    let header = ethernet::header(mac, interface.mac, ethertype);
    if ethernet::push_header_for(&mut frame, &header, ethertype) {
        turn.egress.send(port, frame, &mut stack.counters);
    } else {
        stack.counters.drop(DropReason::NoHeadroom);
    }
}

/// The header that a packet has on a link; `None` while its neighbour is being asked for.
pub(crate) fn link_header_of<F: Frame>(
    stack: &Stack<F>,
    exit: Exit,
    v4: bool,
) -> Option<[u8; ethernet::HEADER_LEN]> {
    let ethertype = if v4 { ethertype::IPV4 } else { ethertype::IPV6 };
    match exit {
        Exit::Neighbour(hop) => {
            let mut header = *stack.neighbours.link_header(hop.neighbour)?;
            header[12..].copy_from_slice(&ethertype);
            Some(header)
        }
        Exit::Many { port, mac, .. } => {
            Some(ethernet::header(mac, stack.interfaces.get(port)?.mac, ethertype))
        }
    }
}

/// A packet of ours on its way to ourselves.
pub(crate) struct Looped<F> {
    port: PortId,
    cast: LinkCast,
    frame: F,
}

impl<F: Frame> Stack<F> {
    /// A packet (from its IP header on) waits to be delivered here.
    pub(crate) fn loop_back(&mut self, port: PortId, cast: LinkCast, frame: F) {
        if self.looped.len() < LOOPBACK {
            self.looped.push_back(Looped { port, cast, frame });
        } else {
            self.counters.drop(DropReason::LoopbackFull);
        }
    }

    /// Delivers what waits now; what that causes waits for the next time.
    pub(crate) fn deliver_looped<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        for _ in 0..self.looped.len() {
            let Some(Looped { port, cast, frame }) = self.looped.pop_front() else { return };
            self.heard += 1;
            match frame.first().map(|first| first >> 4) {
                Some(4) => {
                    let source = crate::ip::flow::source4(&frame);
                    let destination = crate::ip::flow::destination4(&frame);
                    let arrival = ipv4::input::Arrival { frame, source, destination, port, cast };
                    ipv4::local::deliver(self, turn, arrival);
                }
                _ => {
                    let source = crate::ip::flow::source6(&frame);
                    let destination = crate::ip::flow::destination6(&frame);
                    let arrival = ipv6::input::Arrival { frame, source, destination, port, cast };
                    ipv6::local::deliver(self, turn, arrival);
                }
            }
        }
    }
}
