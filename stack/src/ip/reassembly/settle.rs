//! What both families do with the table's answers: every end is counted, and what is whole goes on.

use super::table::{Fragment, Lost, Outcome};
use crate::counters::Counter;
use crate::frame::Frame;
use crate::port::PortId;
use crate::stack::Stack;
use crate::time::Instant;
use crate::verdict::DropReason;

/// Takes a fragment that passed the checks; the slot of its datagram when that is whole now.
pub(super) fn take<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    port: PortId,
    fragment: &Fragment,
    frame: &F,
    failed: Counter,
) -> Option<u32> {
    let outcome = stack.reassembly.take(now, fragment, frame);
    let evicted = stack.reassembly.take_evicted();
    stack.counters.add(Counter::ReassemblyEvicted, evicted);
    match outcome {
        Outcome::Waits => {
            stack.counters.drop(DropReason::FragmentTaken);
            None
        }
        Outcome::Ended(reason, lost) => {
            stack.drop_received(port, reason);
            if lost == Lost::Datagram {
                stack.counters.count(failed);
            }
            None
        }
        Outcome::Whole(slot) => {
            stack.counters.drop(DropReason::FragmentTaken);
            Some(slot)
        }
    }
}

/// Frees the slot of a datagram that was whole. `whole`: its frames, and whether it is for a group; or whether frames
/// were what it lacked.
pub(super) fn finish<F: Frame>(
    stack: &mut Stack<F>,
    slot: u32,
    whole: Result<(F, bool), bool>,
    reassembled: Counter,
    failed: Counter,
) -> Option<(F, bool)> {
    stack.reassembly.release(slot);
    match whole {
        Ok(whole) => {
            stack.counters.count(reassembled);
            Some(whole)
        }
        Err(no_frame) => {
            stack.counters.count(failed);
            if no_frame {
                stack.counters.drop(DropReason::NoFrame);
            }
            None
        }
    }
}
