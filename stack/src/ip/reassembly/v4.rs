//! IPv4 fragments: what their headers must say, and the header of the whole.

use super::datagram::Place;
use super::table::{Fragment, Key};
use super::{deliver, settle};
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::ipv4::HEADER_LEN;
use crate::ipv4::input::Arrival;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use core::net::Ipv4Addr;

/// Bytes of the longest header.
const MAX_HEADER_LEN: usize = 60;

/// Bytes of the longest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// "More fragments", and the offset in units of 8 bytes, of the word at byte 6 of the header.
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_BITS: u16 = 0x1fff;

const TCP: u8 = 6;

/// The least of TCP that a first fragment must have: ports, numbers and flags (RFC 1858 section 3.2.1).
const LEAST_TCP: usize = 16;

/// Takes a fragment for us. Gives the whole datagram when it was the last one missing.
pub(crate) fn take<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
) -> Option<Arrival<P::Frame>>
where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::Ipv4FragmentsReceived);
    let fragment = match read(arrival) {
        Ok(fragment) => fragment,
        Err(reason) => {
            stack.drop_received(arrival.port, reason);
            return None;
        }
    };
    let slot = settle::take(stack, turn.now, arrival.port, &fragment, &arrival.frame, FAILED)?;
    let whole = assemble(stack, turn, slot);
    let (frame, group) = settle::finish(stack, slot, whole, Counter::Ipv4Reassembled, FAILED)?;
    let Arrival { source, destination, port, cast, .. } = *arrival;
    let cast = if group { LinkCast::Group } else { cast };
    Some(Arrival { frame, source, destination, port, cast })
}

/// A datagram that never becomes whole.
const FAILED: Counter = Counter::Ipv4ReassemblyFailed;

/// The checks, in the order of their cost.
fn read<F: Frame>(arrival: &Arrival<F>) -> Result<Fragment, DropReason> {
    let header = arrival.frame.first_chunk::<HEADER_LEN>().ok_or(DropReason::Ipv4Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let word = u16::from_be_bytes([header[6], header[7]]);
    let (offset, more) = (usize::from(word & OFFSET_BITS) * 8, word & MORE_FRAGMENTS != 0);
    let len = arrival.frame.packet_len().saturating_sub(header_len);
    if len == 0 || (more && !len.is_multiple_of(8)) || header_len + offset + len > MAX_DATAGRAM {
        return Err(DropReason::FragmentMalformed);
    }
    // No link cuts there: who does hides flags from filters that look at first fragments (RFC 1858, RFC 3128).
    if header[9] == TCP && (offset == 8 || (offset == 0 && len < LEAST_TCP)) {
        return Err(DropReason::FragmentTiny);
    }
    let (source, destination) = (pair(arrival.source), pair(arrival.destination));
    let id = u16::from_be_bytes([header[4], header[5]]);
    Ok(Fragment {
        key: Key {
            addresses: [source << 32 | destination, 0, 0, 0],
            identity: u64::from(header[9]) << 16 | u64::from(id),
            ipv6: false,
        },
        place: Place { offset, len, more },
        header_len,
        mark: header[1] & 3,
        port: arrival.port,
        cast: arrival.cast,
    })
}

fn pair(address: Ipv4Addr) -> u64 {
    u64::from(address.to_bits())
}

/// The whole datagram in frames, and whether it came by link-layer broadcast. The header is that of fragment zero
/// (RFC 791 section 3.2), its length, flags and checksum made new. An error says whether it was for want of frames.
fn assemble<P, M>(
    stack: &Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    slot: u32,
) -> Result<(P::Frame, bool), bool>
where
    P: FramePool,
    M: Probe,
{
    let table = &stack.reassembly;
    let (Some((len, marked, group)), Some(first)) = (table.whole(slot), table.first(slot)) else {
        return Err(false);
    };
    let mut room = [0u8; MAX_HEADER_LEN];
    let header = room.get_mut(..first.header_len).ok_or(false)?;
    // Fragment zero may have more options than the others.
    if table.copy_out(slot, first.header_len, header) < HEADER_LEN || header.len() + len > MAX_DATAGRAM {
        return Err(false);
    }
    header[1] |= if marked { 3 } else { 0 };
    let total_len = (header.len() + len) as u16;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[6..8].fill(0);
    header[10..12].fill(0);
    let sum = checksum::sum(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    deliver::build(table, slot, header, len, turn.pool).map(|frame| (frame, group)).ok_or(true)
}
