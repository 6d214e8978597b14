//! From memory back to frames: a whole datagram as a chain of them, headers in the first.

use super::Reassembly;
use crate::frame::{Frame, FramePool};

/// A frame, or a chain of them, with `header` and then the `len` bytes of payload of the datagram in `slot`. `None`
/// when the pool is short, or when its first frame cannot hold the header.
pub(super) fn build<P: FramePool>(
    table: &Reassembly,
    slot: u32,
    header: &[u8],
    len: usize,
    pool: &mut P,
) -> Option<P::Frame> {
    let mut head = pool.alloc()?;
    if !head.append(header.len()) {
        return None;
    }
    head.copy_from_slice(header);
    let mut done = fill(table, slot, &mut head, 0, len)?;
    while done < len {
        let mut next = pool.alloc()?;
        done += fill(table, slot, &mut next, done, len - done)?;
        head.chain(next).ok()?;
    }
    Some(head)
}

/// Fills what is free of a frame with payload from `offset` on, at most `len` bytes; returns how many. `None` when
/// nothing fits where something is wanted, or something is missing.
fn fill<F: Frame>(table: &Reassembly, slot: u32, frame: &mut F, offset: usize, len: usize) -> Option<usize> {
    let take = frame.tailroom().min(len);
    let start = frame.len();
    if (take == 0 && len > 0 && start == 0) || !frame.append(take) {
        return None;
    }
    let mut done = 0;
    while done < take {
        let bytes = table.payload(slot, offset + done, take - done);
        if bytes.is_empty() {
            return None;
        }
        frame.get_mut(start + done..start + done + bytes.len())?.copy_from_slice(bytes);
        done += bytes.len();
    }
    Some(take)
}
