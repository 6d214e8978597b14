//! Frames for segments (rows T3, O1, O8): IP header, TCP header, options, and the data copied once from the send
//! ring, summed on the way.
//!
//! ```text
//!   Outgoing ─cut─> Outgoing ─┬─ IP header     20 or 40 bytes
//!                             ├─ TCP header    20
//!                             ├─ options       0 to 40
//!                             └─ data          from the ring: one copy, one sum
//! ```
//! The same way for first and repeated transmissions, for resets, and for what the small records (requests,
//! TIME-WAIT) answer.

use crate::checksum::{self, Sum};
use crate::frame::{Frame, FramePool};
use crate::icmp::v6;
use crate::socket::blocks::BlockPool;
use crate::socket::ring::ByteRing;
use crate::tcp::Seq;
use crate::tcp::options::{Emitted, TIMESTAMPS_LEN};
use crate::tcp::segment::{Outgoing, Piece};
use crate::tcp::tuple::Tuple;
use crate::wire::tcp::{CHECKSUM_OFFSET, HEADER_LEN};
use crate::{ipv4, ipv6};
use core::net::{IpAddr, Ipv4Addr};

/// TCP's number among the IP protocols.
pub(super) const TCP: u8 = 6;

/// ECT(0) in the type of service (RFC 3168 section 5).
const ECT_0: u8 = 0x02;

/// Where the data of a segment lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) ring: &'a ByteRing,
    pub(super) blocks: &'a BlockPool,
    /// The first byte, counted from the front of the ring.
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// What the IP header of a segment says besides addresses and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) tos: u8,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// IPv4 only: the identification.
    pub(super) id: u16,
    /// IPv4 only: routers must not fragment it.
    pub(super) dont_fragment: bool,
    /// The port finishes the checksum.
    pub(super) tx_checksum: bool,
}

/// The fields of a TCP header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) seq: Seq,
    pub(super) ack: Option<Seq>,
    pub(super) flags: u16,
    pub(super) window: u16,
    pub(super) urgent: u16,
    pub(super) options: &'a Emitted,
}

impl<'a> Fields<'a> {
    /// The header of one segment of a train.
    #[inline]
    pub(super) fn of(train: &'a Outgoing, one: &Piece) -> Fields<'a> {
        let Outgoing { ack, window, ref options, .. } = *train;
        let Piece { seq, flags, urgent, .. } = *one;
        let acknowledges = flags & crate::wire::tcp::flag::ACK != 0;
        Fields { seq, ack: acknowledges.then_some(ack), flags, window, urgent, options }
    }
}

/// Signs a segment in place: its header with the options, and its data; the checksum is made afterwards. False: it
/// must not be sent.
pub(super) type Sign<'a> = &'a mut dyn FnMut(&mut [u8], &[u8]) -> bool;

/// Builds one segment; `None` when there is no frame that holds it.
#[inline]
pub(super) fn segment<P: FramePool>(
    pool: &mut P,
    tuple: &Tuple,
    envelope: Envelope,
    fields: &Fields<'_>,
    data: Option<Data<'_>>,
    sign: Option<Sign<'_>>,
) -> Option<P::Frame> {
    let options = fields.options.as_bytes();
    let tcp_len = HEADER_LEN + options.len();
    let segment_len = tcp_len + data.map_or(0, |data| data.len);
    let mut frame = pool.alloc()?;
    // Both headers are summed as the words that they are made of, before anybody reads them from memory.
    let (ip_len, pseudo, header) = match tuple.ipv4() {
        Some((source, destination)) => {
            if !frame.append(ipv4::HEADER_LEN + segment_len) {
                return None;
            }
            write_ipv4(&mut frame, &envelope, source, destination, (ipv4::HEADER_LEN + segment_len) as u16);
            let pseudo = checksum::pseudo_ipv4(source, destination, TCP, segment_len as u16);
            (ipv4::HEADER_LEN, pseudo, frame.get_mut(ipv4::HEADER_LEN..)?)
        }
        None => {
            if !frame.append(ipv6::HEADER_LEN + segment_len) {
                return None;
            }
            let pseudo = write_ipv6(&mut frame, tuple, &envelope, segment_len)?;
            (ipv6::HEADER_LEN, pseudo, frame.get_mut(ipv6::HEADER_LEN..)?)
        }
    };
    let (header, rest) = header.split_first_chunk_mut::<HEADER_LEN>()?;
    let mut sum = write_header(header, tuple, fields, tcp_len);
    let (place, payload) = rest.split_at_mut_checked(options.len())?;
    // Nearly always timestamps and nothing else: a copy of a length that is known needs no call.
    match (place.first_chunk_mut::<TIMESTAMPS_LEN>(), options.first_chunk::<TIMESTAMPS_LEN>()) {
        (Some(place), Some(stamps)) if options.len() == TIMESTAMPS_LEN => {
            *place = *stamps;
            sum = sum.plus(checksum::sum_exact(stamps));
        }
        _ => {
            place.copy_from_slice(options);
            sum = sum.plus(checksum::sum(options));
        }
    }
    if let Some(data) = data
        && data.len > 0
    {
        sum = sum.plus(data.ring.copy_out_summed(data.blocks, data.offset, payload));
    }
    if let Some(sign) = sign {
        let (header, payload) = frame.get_mut(ip_len..)?.split_at_mut_checked(tcp_len)?;
        if !sign(header, payload) {
            return None;
        }
        sum = checksum::sum(header).plus(checksum::sum(payload));
    }
    let partial = envelope.tx_checksum && {
        put_checksum(&mut frame, ip_len, !pseudo.checksum());
        frame.request_tx_checksum(ip_len as u16, CHECKSUM_OFFSET as u16)
    };
    if !partial {
        put_checksum(&mut frame, ip_len, sum.plus(pseudo).checksum());
    }
    Some(frame)
}

/// Puts the checksum of a segment into its header.
#[inline]
fn put_checksum(packet: &mut [u8], ip_len: usize, checksum: u16) {
    if let Some((header, _)) =
        packet.get_mut(ip_len..).and_then(|segment| segment.split_first_chunk_mut::<HEADER_LEN>())
    {
        header[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of a TCP header with its options: nearly always timestamps and nothing else, which needs no loop.
#[inline]
pub(super) fn sum_header(header: &[u8]) -> Sum {
    match header.first_chunk::<{ HEADER_LEN + TIMESTAMPS_LEN }>() {
        Some(stamped) if stamped.len() == header.len() => checksum::sum_exact(stamped),
        _ => checksum::sum(header),
    }
}

/// The IPv4 header (RFC 791 section 3.1).
#[inline]
fn write_ipv4(
    packet: &mut [u8],
    envelope: &Envelope,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    total_len: u16,
) {
    let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return };
    let Envelope { tos, ttl, id, dont_fragment, .. } = *envelope;
    let first = 0x45 << 56
        | u64::from(tos) << 48
        | u64::from(total_len) << 32
        | u64::from(id) << 16
        | u64::from(dont_fragment) << 14;
    let second = u64::from(ttl) << 56 | u64::from(TCP) << 48 | u64::from(source.to_bits());
    let sum = Sum::of_words(&[first, second]).plus_u32(destination.to_bits());
    let second = second | u64::from(sum.checksum()) << 32;
    header[..8].copy_from_slice(&first.to_be_bytes());
    header[8..16].copy_from_slice(&second.to_be_bytes());
    header[16..].copy_from_slice(&destination.octets());
}

/// The IPv6 header; returns the sum of the pseudo-header.
fn write_ipv6(packet: &mut [u8], tuple: &Tuple, envelope: &Envelope, segment_len: usize) -> Option<Sum> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (tuple.local_ip(), tuple.remote_ip()) else {
        return None;
    };
    let Envelope { tos: class, ttl: hop_limit, .. } = *envelope;
    let payload_len = segment_len as u16;
    v6::write_header(
        packet,
        &v6::Fields { class, next_header: TCP, hop_limit, source, destination, payload_len },
    );
    Some(checksum::pseudo_ipv6(&source, &destination, TCP, segment_len as u32))
}

/// The TCP header (RFC 9293 section 3.1) with an empty checksum; returns its sum.
#[inline]
fn write_header(header: &mut [u8; HEADER_LEN], tuple: &Tuple, fields: &Fields<'_>, tcp_len: usize) -> Sum {
    let ports = u32::from(tuple.local_port) << 16 | u32::from(tuple.remote_port);
    let numbers = u64::from(fields.seq.0) << 32 | u64::from(fields.ack.unwrap_or(Seq(0)).0);
    let offset_flags = ((tcp_len / 4) as u16) << 12 | fields.flags;
    let rest = u64::from(offset_flags) << 48 | u64::from(fields.window) << 32 | u64::from(fields.urgent);
    header[..4].copy_from_slice(&ports.to_be_bytes());
    header[4..12].copy_from_slice(&numbers.to_be_bytes());
    header[12..].copy_from_slice(&rest.to_be_bytes());
    Sum::of_words(&[numbers, rest]).plus_u32(ports)
}

/// The type of service of a segment: the connection's, with ECT(0) when the segment is marked so.
#[inline]
pub(super) const fn tos_of(tos: u8, ect: bool) -> u8 {
    if ect { tos & !3 | ECT_0 } else { tos & !3 }
}
