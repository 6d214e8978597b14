//! IPv4 fragmentation (row O8; RFC 791 section 3.2, RFC 1812 section 4.2.2.7): a packet that is longer than
//! the link's MTU and may be cut leaves as fragments, each in a frame of its own.

use super::HEADER_LEN;
use super::options::MAX_LEN;
use crate::checksum;
use crate::counters::Counter;
use crate::frame::{Frame, FramePool};
use crate::ip::originate::{Exit, put_on_wire};
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;

/// The longest IPv4 header in bytes.
const MAX_HEADER_LEN: usize = 60;

/// The longest datagram in bytes.
const MAX_DATAGRAM: usize = 65_535;

/// The flag "more fragments" of the fragment word.
const MORE_FRAGMENTS: u16 = 0x2000;

/// The offset bits of the fragment word; in units of 8 bytes.
const OFFSET_BITS: u16 = 0x1fff;

/// The bit of an option's kind that says: copy me into every fragment (RFC 791 section 3.1).
const COPIED: u8 = 0x80;

/// Cuts a packet that is longer than the MTU of the exit and sends the fragments in order. When the pool runs dry in
/// the middle the rest is dropped, and counted once: the receiver cannot use what left already. On a link whose
/// MTU is larger than a chunk the fragments are as long as a chunk allows.
pub(crate) fn transmit<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    frame: P::Frame,
    exit: Exit,
) where
    P: FramePool,
    M: Probe,
{
    let mut whole = [0u8; MAX_HEADER_LEN];
    let header_len = frame.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let (Some(place), Some(original)) = (whole.get_mut(..header_len), frame.get(..header_len)) else {
        return stack.counters.drop(DropReason::Ipv4BadHeader);
    };
    place.copy_from_slice(original);
    let word = u16::from_be_bytes([whole[6], whole[7]]);
    let payload = frame.packet_len() - header_len;
    // A fragment of what would be longer than any datagram (RFC 791 section 3.1): the offsets of its pieces do not
    // fit their field.
    if usize::from(word & OFFSET_BITS) * 8 + payload > MAX_DATAGRAM {
        return stack.counters.drop(DropReason::Ipv4BadHeader);
    }
    let mut sent = 0;
    while sent < payload {
        let later = if sent == 0 { header_len } else { keep_copied_options(&mut whole, header_len) };
        let Some(fragment) = turn.pool.alloc() else {
            return stack.counters.drop(DropReason::FragmentationFailed);
        };
        let most = usize::from(exit.mtu()).min(fragment.tailroom()).saturating_sub(later);
        let room = most & !7;
        if room == 0 {
            return stack.counters.drop(DropReason::PacketTooBig);
        }
        let last = payload - sent <= most;
        let len = if last { payload - sent } else { room };
        let more = if last { word & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        let offset = (word & OFFSET_BITS) + (sent / 8) as u16;
        let piece = Piece { header: &whole[..later], word: more | offset, skip: header_len + sent, len };
        let Some(fragment) = fill(fragment, &frame, &piece) else {
            return stack.counters.drop(DropReason::FragmentationFailed);
        };
        stack.counters.count(Counter::Ipv4FragmentsCreated);
        put_on_wire(stack, turn, exit, fragment, true);
        sent += len;
    }
    stack.counters.count(Counter::Ipv4Fragmented);
}

/// What goes into one fragment.
struct Piece<'a> {
    header: &'a [u8],
    /// Flags and offset.
    word: u16,
    /// Where its payload begins in the original packet.
    skip: usize,
    len: usize,
}

/// Makes one fragment in an empty frame; `None` when it is too small.
fn fill<F: Frame>(mut fragment: F, original: &F, piece: &Piece<'_>) -> Option<F> {
    let header_len = piece.header.len();
    if !fragment.append(header_len + piece.len) {
        return None;
    }
    let (header, payload) = fragment.split_at_mut(header_len);
    header.copy_from_slice(piece.header);
    header[0] = 0x40 | (header_len / 4) as u8;
    header[2..4].copy_from_slice(&((header_len + piece.len) as u16).to_be_bytes());
    header[6..8].copy_from_slice(&piece.word.to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum::sum(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    copy_out(original, piece.skip, payload).then_some(fragment)
}

/// Copies bytes from `skip` on out of a packet of any number of segments; false when it is too short.
pub(crate) fn copy_out<F: Frame>(packet: &F, mut skip: usize, mut into: &mut [u8]) -> bool {
    let mut index = 0;
    while !into.is_empty() {
        let Some(segment) = packet.segment(index) else { return false };
        let bytes = segment.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(segment.len());
        let (now, later) = into.split_at_mut(bytes.len().min(into.len()));
        now.copy_from_slice(&bytes[..now.len()]);
        into = later;
        index += 1;
    }
    true
}

/// Leaves in `header` only the options that every fragment carries; returns the new header length. Options
/// that do not parse (input refused those) end the list.
fn keep_copied_options(header: &mut [u8; MAX_HEADER_LEN], header_len: usize) -> usize {
    if header_len == HEADER_LEN {
        return HEADER_LEN;
    }
    let mut kept = [0; MAX_LEN];
    let kept = copied(&header[HEADER_LEN..header_len], &mut kept);
    header[HEADER_LEN..HEADER_LEN + kept.len()].copy_from_slice(kept);
    // The next fragment reads this again: what stood behind must not look like an option.
    header[HEADER_LEN + kept.len()..header_len].fill(0);
    HEADER_LEN + kept.len()
}

/// Those of the options of a header that every fragment carries, padded; `kept` is zero. Options that do not parse end the list.
pub(crate) fn copied<'a>(options: &[u8], kept: &'a mut [u8; MAX_LEN]) -> &'a [u8] {
    let mut kept_len = 0;
    let mut rest = &options[..options.len().min(MAX_LEN)];
    while let [kind, tail @ ..] = rest {
        let len = match (*kind, tail.first()) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(&len)) if len >= 2 && usize::from(len) <= rest.len() => usize::from(len),
            _ => break,
        };
        let (option, behind) = rest.split_at(len);
        if kind & COPIED != 0 {
            kept[kept_len..kept_len + len].copy_from_slice(option);
            kept_len += len;
        }
        rest = behind;
    }
    &kept[..kept_len.next_multiple_of(4)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_marked_as_copied_go_into_later_fragments() {
        let mut header = [0u8; MAX_HEADER_LEN];
        // Record route (7), router alert (148, copied), padding.
        header[20..32].copy_from_slice(&[7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0]);
        assert_eq!(keep_copied_options(&mut header, 32), 24);
        assert_eq!(&header[20..24], [148, 4, 0, 0]);
        assert_eq!(keep_copied_options(&mut header, 32), 24, "and again for the third fragment");
        assert_eq!(&header[20..32], [148, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(keep_copied_options(&mut header, 20), 20);
    }
}
