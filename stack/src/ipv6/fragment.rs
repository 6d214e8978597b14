//! IPv6 fragmentation (twin of row O8; RFC 8200 section 4.5): only the source of a packet cuts it.
//!
//! ```text
//!   | header | payload ...                      |
//!   | header | fragment | payload 0 |   | header | fragment | payload 1 |   ...
//! ```
//!
//! What we originate has no extension headers that every hop must see, so the part that is not cut is the fixed
//! header. An atomic fragment is never made (RFC 8021).

use super::HEADER_LEN;
use crate::counters::Counter;
use crate::ethernet::ethertype;
use crate::frame::{Frame, FramePool};
use crate::ip::path::Hop;
use crate::ipv4::fragment::copy_out;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::IpProtocol;
use crate::wire::ipv6_extension::Fragment;
use core::net::Ipv6Addr;

/// Hop-by-hop options and routing headers would belong to every fragment.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;

/// Cuts a packet of ours that is longer than `hop.mtu` and sends the fragments in order. When the pool runs dry in
/// the middle the rest is dropped, and counted once.
pub fn transmit<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, frame: P::Frame, hop: Hop)
where
    P: FramePool,
    M: Probe,
{
    let Some(original) = frame.first_chunk::<HEADER_LEN>() else {
        return stack.counters.drop(DropReason::Ipv6Truncated);
    };
    let mut header = *original;
    let next_header = header[6];
    if matches!(next_header, HOP_BY_HOP | ROUTING) {
        return stack.counters.drop(DropReason::PacketTooBig);
    }
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    source.copy_from_slice(&header[8..24]);
    destination.copy_from_slice(&header[24..40]);
    let identification =
        stack.identifications.next6(Ipv6Addr::from_octets(source), Ipv6Addr::from_octets(destination));
    header[6] = IpProtocol::FRAGMENT.0;
    let payload = frame.packet_len() - HEADER_LEN;
    let before = HEADER_LEN + Fragment::HEADER_LEN;
    let mut sent = 0;
    while sent < payload {
        let Some(mut fragment) = turn.pool.alloc() else {
            return stack.counters.drop(DropReason::FragmentationFailed);
        };
        let most = usize::from(hop.mtu).min(fragment.tailroom()).saturating_sub(before);
        let left = payload - sent;
        let len = if left <= most { left } else { most & !7 };
        if len == 0 {
            return stack.counters.drop(DropReason::PacketTooBig);
        }
        let fields = Fragment {
            header_offset: HEADER_LEN,
            next_header: IpProtocol(next_header),
            offset: sent,
            more: len < left,
            identification,
        };
        header[4..6].copy_from_slice(&((Fragment::HEADER_LEN + len) as u16).to_be_bytes());
        if !fragment.append(before + len) {
            return stack.counters.drop(DropReason::FragmentationFailed);
        }
        let (front, piece) = fragment.split_at_mut(before);
        front[..HEADER_LEN].copy_from_slice(&header);
        front[HEADER_LEN..].copy_from_slice(&fields.to_bytes());
        if !copy_out(&frame, HEADER_LEN + sent, piece) {
            return stack.counters.drop(DropReason::Ipv6Truncated);
        }
        stack.counters.count(Counter::Ipv6FragmentsCreated);
        crate::ip::output::transmit(stack, turn, fragment, hop, ethertype::IPV6);
        sent += len;
    }
    stack.counters.count(Counter::Ipv6Fragmented);
}
