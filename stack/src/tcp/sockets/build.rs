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
use crate::icmp::{v4, v6};
use crate::socket::blocks::BlockPool;
use crate::socket::ring::ByteRing;
use crate::tcp::Seq;
use crate::tcp::options::{Emitted, TIMESTAMPS_LEN};
use crate::tcp::segment::{Outgoing, Piece};
use crate::tcp::tuple::Tuple;
use crate::wire::tcp::HEADER_LEN;
use crate::{ipv4, ipv6};
use core::net::IpAddr;

/// TCP's number among the IP protocols.
pub(super) const TCP: u8 = 6;

/// Don't fragment, in byte 6 of the IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

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
    let len = data.map_or(0, |data| data.len);
    let mut frame = pool.alloc()?;
    let ip_len = if tuple.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    if !frame.append(ip_len + tcp_len + len) {
        return None;
    }
    let segment_len = tcp_len + len;
    let pseudo = match (tuple.local.to_ipv4_mapped(), tuple.remote.to_ipv4_mapped()) {
        (Some(source), Some(destination)) => {
            let total_len = (ip_len + segment_len) as u16;
            let Envelope { tos, id, .. } = envelope;
            let header = v4::Fields { tos, id, protocol: TCP, source, destination, total_len };
            write_ipv4(&mut frame, &header, &envelope);
            checksum::pseudo_ipv4(source, destination, TCP, segment_len as u16)
        }
        _ => {
            let (IpAddr::V6(source), IpAddr::V6(destination)) = (tuple.local_ip(), tuple.remote_ip()) else {
                return None;
            };
            let Envelope { tos: class, ttl: hop_limit, .. } = envelope;
            let payload_len = segment_len as u16;
            v6::write_header(
                &mut frame,
                &v6::Fields { class, next_header: TCP, hop_limit, source, destination, payload_len },
            );
            checksum::pseudo_ipv6(&source, &destination, TCP, segment_len as u32)
        }
    };
    let (header, rest) = frame.get_mut(ip_len..)?.split_first_chunk_mut::<HEADER_LEN>()?;
    write_header(header, tuple, fields, tcp_len);
    let (place, payload) = rest.split_at_mut_checked(options.len())?;
    // Nearly always timestamps and nothing else: a copy of a length that is known needs no call.
    match (place.first_chunk_mut::<TIMESTAMPS_LEN>(), options.first_chunk::<TIMESTAMPS_LEN>()) {
        (Some(place), Some(stamps)) if options.len() == TIMESTAMPS_LEN => *place = *stamps,
        _ => place.copy_from_slice(options),
    }
    let mut sum = match data {
        Some(data) if len > 0 => data.ring.copy_out_summed(data.blocks, data.offset, payload),
        _ => Sum::ZERO,
    };
    if let Some(sign) = sign {
        let (header, payload) = frame.get_mut(ip_len..)?.split_at_mut_checked(tcp_len)?;
        if !sign(header, payload) {
            return None;
        }
    }
    let (header, _) = frame.get_mut(ip_len..)?.split_first_chunk_mut::<HEADER_LEN>()?;
    let partial = envelope.tx_checksum && {
        header[16..18].copy_from_slice(&(!pseudo.checksum()).to_be_bytes());
        frame.request_tx_checksum(ip_len as u16, 16)
    };
    if !partial {
        let header = frame.get_mut(ip_len..ip_len + tcp_len)?;
        header[16..18].fill(0);
        sum = sum.plus(pseudo).plus(sum_header(header));
        header[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    }
    Some(frame)
}

/// The sum of a TCP header with its options: nearly always timestamps and nothing else, which needs no loop.
#[inline]
pub(super) fn sum_header(header: &[u8]) -> Sum {
    match header.first_chunk::<{ HEADER_LEN + TIMESTAMPS_LEN }>() {
        Some(stamped) if stamped.len() == header.len() => checksum::sum_exact(stamped),
        _ => checksum::sum(header),
    }
}

/// The IPv4 header; its checksum is made last.
#[inline]
fn write_ipv4(packet: &mut [u8], fields: &v4::Fields, envelope: &Envelope) {
    let v4::Fields { tos, id, protocol, source, destination, total_len } = *fields;
    let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return };
    header[0] = 0x45;
    header[1] = tos;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6] = if envelope.dont_fragment { DONT_FRAGMENT } else { 0 };
    header[7] = 0;
    header[8] = envelope.ttl;
    header[9] = protocol;
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum::sum_ipv4_header(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[inline]
fn write_header(header: &mut [u8; HEADER_LEN], tuple: &Tuple, fields: &Fields<'_>, tcp_len: usize) {
    header[0..2].copy_from_slice(&tuple.local_port.to_be_bytes());
    header[2..4].copy_from_slice(&tuple.remote_port.to_be_bytes());
    header[4..8].copy_from_slice(&fields.seq.0.to_be_bytes());
    header[8..12].copy_from_slice(&fields.ack.unwrap_or(Seq(0)).0.to_be_bytes());
    let offset_flags = ((tcp_len / 4) as u16) << 12 | fields.flags;
    header[12..14].copy_from_slice(&offset_flags.to_be_bytes());
    header[14..16].copy_from_slice(&fields.window.to_be_bytes());
    header[16..18].fill(0);
    header[18..20].copy_from_slice(&fields.urgent.to_be_bytes());
}

/// The type of service of a segment: the connection's, with ECT(0) when the segment is marked so.
#[inline]
pub(super) const fn tos_of(tos: u8, ect: bool) -> u8 {
    if ect { tos & !3 | ECT_0 } else { tos & !3 }
}
