//! IPv6 fragments (RFC 8200 section 4.5): what their headers must say, and the header of the whole.

use super::datagram::Place;
use super::store::HEAD;
use super::table::{Fragment, Key};
use super::{deliver, settle};
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::icmp::v6::{Error, send_error};
use crate::ipv6::HEADER_LEN;
use crate::ipv6::extension::Piece;
use crate::ipv6::input::Arrival;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ipv6_extension;
use core::net::Ipv6Addr;

/// The largest payload length, in bytes: what follows the fixed header.
const MAX_PAYLOAD: usize = 65_535;

/// Where the payload length field of the fixed header is.
const PAYLOAD_LENGTH_OFFSET: u32 = 4;

/// Bytes of a fragment header.
const FRAGMENT_HEADER_LEN: usize = ipv6_extension::Fragment::HEADER_LEN;

/// The next-header number of fragment headers.
const FRAGMENT: u8 = 44;

/// Why a fragment ends here, and what its sender is owed for it.
type Refused = (DropReason, Option<Error>);

/// Takes a fragment for us, whose chain of headers was walked as far as it goes. Gives the whole datagram when it
/// was the last one missing.
pub(crate) fn take<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
    piece: &Piece,
) -> Option<Arrival<P::Frame>>
where
    P: FramePool,
    M: Probe,
{
    stack.counters.count(Counter::Ipv6FragmentsReceived);
    let fragment = match read(arrival, piece) {
        Ok(fragment) => fragment,
        Err((reason, error)) => {
            stack.drop_received(arrival.port, reason);
            if let Some(error) = error {
                send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
            }
            return None;
        }
    };
    let slot = settle::take(stack, turn.now, arrival.port, &fragment, &arrival.frame, FAILED)?;
    let whole = assemble(stack, turn, slot);
    let (frame, group) = settle::finish(stack, slot, whole, Counter::Ipv6Reassembled, FAILED)?;
    let Arrival { source, destination, port, cast, .. } = *arrival;
    let cast = if group { LinkCast::Group } else { cast };
    Some(Arrival { frame, source, destination, port, cast })
}

/// A datagram that never becomes whole.
const FAILED: Counter = Counter::Ipv6ReassemblyFailed;

fn read<F: Frame>(arrival: &Arrival<F>, piece: &Piece) -> Result<Fragment, Refused> {
    let Piece { fragment, upper } = *piece;
    let header_len = fragment.header_offset + FRAGMENT_HEADER_LEN;
    let packet_len = arrival.frame.packet_len();
    let len = packet_len.saturating_sub(header_len);
    if fragment.more && !len.is_multiple_of(8) {
        return Err((DropReason::FragmentMalformed, Some(Error::erroneous_field(PAYLOAD_LENGTH_OFFSET))));
    }
    let unfragmentable = fragment.header_offset.saturating_sub(HEADER_LEN);
    if unfragmentable + fragment.offset + len > MAX_PAYLOAD {
        let pointer = (fragment.header_offset + 2) as u32;
        return Err((DropReason::FragmentMalformed, Some(Error::erroneous_field(pointer))));
    }
    if len == 0 {
        return Err((DropReason::FragmentMalformed, None));
    }
    // A fragment of fragments: no sender makes it, and putting one together must not ask for putting more together.
    if fragment.offset == 0 && upper.protocol == FRAGMENT {
        return Err((DropReason::FragmentMalformed, None));
    }
    // RFC 7112, RFC 8200 section 4.5: the whole chain, the upper-layer header with it, is in the first fragment.
    if fragment.offset == 0 && upper.offset + least_of(upper.protocol) > packet_len {
        return Err((DropReason::FragmentTiny, Some(Error::INCOMPLETE_HEADER_CHAIN)));
    }
    let header = arrival.frame.first_chunk::<HEADER_LEN>().ok_or((DropReason::Ipv6Truncated, None))?;
    let link_local = arrival.source.is_unicast_link_local() || arrival.destination.is_unicast_link_local();
    let link = if link_local { 1 + arrival.port.index() as u64 } else { 0 };
    let ([a, b], [c, d]) = (words(arrival.source), words(arrival.destination));
    Ok(Fragment {
        key: Key {
            addresses: [a, b, c, d],
            identity: link << 32 | u64::from(fragment.identification),
            ipv6: true,
        },
        place: Place { offset: fragment.offset, len, more: fragment.more },
        header_len,
        mark: header[1] >> 4 & 3,
        port: arrival.port,
        cast: arrival.cast,
    })
}

/// Bytes of an upper-layer header, at least.
const fn least_of(protocol: u8) -> usize {
    match protocol {
        6 => 20,
        17 | 58 => 8,
        _ => 1,
    }
}

fn words(address: Ipv6Addr) -> [u64; 2] {
    [(address.to_bits() >> 64) as u64, address.to_bits() as u64]
}

/// The whole packet in frames, and whether it came by link-layer broadcast: the headers of fragment zero up to its
/// fragment header, which goes. An error says whether it was for want of frames.
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
    let mut room = [0u8; HEAD];
    let header = room.get_mut(..first.header_len).ok_or(false)?;
    let got = table.copy_out(slot, first.header_len, header);
    let Some(kept) = first.header_len.checked_sub(FRAGMENT_HEADER_LEN).filter(|kept| *kept >= HEADER_LEN)
    else {
        return Err(false);
    };
    if got < header.len() || kept - HEADER_LEN + len > MAX_PAYLOAD {
        return Err(false);
    }
    let next_header = header[kept];
    let header = &mut header[..kept];
    let named_at = last_named_at(header).ok_or(false)?;
    header[named_at] = next_header;
    header[1] |= if marked { 3 << 4 } else { 0 };
    header[4..6].copy_from_slice(&((kept - HEADER_LEN + len) as u16).to_be_bytes());
    deliver::build(table, slot, header, len, turn.pool).map(|frame| (frame, group)).ok_or(true)
}

/// Where the last header of an unfragmentable part names what follows it.
fn last_named_at(header: &[u8]) -> Option<usize> {
    let (mut named_at, mut at) = (6, HEADER_LEN);
    while at < header.len() {
        named_at = at;
        at += 8 + usize::from(*header.get(at + 1)?) * 8;
    }
    (at == header.len()).then_some(named_at)
}
