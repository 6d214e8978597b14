//! What time brings to TCP: connections whose deadline came, requests, TIME-WAIT records that end.

use super::input::act;
use super::{TcpSockets, passive};
use crate::frame::FramePool;
use crate::limits::BURST;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use arrayvec::ArrayVec;

/// Does what is due, a burst's worth of each kind at most.
pub(crate) fn timers<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>)
where
    P: FramePool,
    M: Probe,
{
    let mut budget = BURST;
    loop {
        let mut due: ArrayVec<u32, BURST> = ArrayVec::new();
        while let Some(place) = stack.tcp.wheel.pop(turn.now, &mut budget) {
            due.push(place); // no more than the budget
        }
        if due.is_empty() {
            break;
        }
        fire(stack, turn, &due);
    }
    passive::timers(stack, turn);
    let TcpSockets { time_waits, names, waits_until, .. } = &mut stack.tcp;
    if turn.now >= *waits_until {
        time_waits.expire(turn.now, BURST, |_, tuple| names.free(tuple));
        *waits_until = time_waits.next_deadline(turn.now);
        stack.tcp.free_ports();
    }
}

/// Lets these connections do what is due.
fn fire<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>, due: &[u32])
where
    P: FramePool,
    M: Probe,
{
    if stack.tcp.is_cold() {
        stack.tcp.warm_places(due.iter().map(|place| *place as usize));
    }
    for &place in due {
        let Some(handle) = stack.tcp.entries.at(place as usize) else { continue };
        let Stack { tcp, blocks, .. } = &mut *stack;
        let (entries, mut cx) = tcp.split(turn.now, blocks);
        let Some(entry) = entries.get_mut(handle) else { continue };
        entry.filed = Instant::NEVER;
        let port = entry.port;
        let disposition = entry.connection.on_timer(&mut cx);
        if entry.connection.take_doubt() {
            // Another route may be there by now, and the neighbour has to show that it still hears us.
            entry.way.until = Instant::ZERO;
            if let Some(hop) = entry.way.hop {
                stack.neighbours.doubt(hop.neighbour, turn.now);
            }
        }
        act(stack, turn, handle, port, disposition);
    }
}

impl TcpSockets {
    /// When [`timers`] has something to do next.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Instant {
        self.wheel.next().min(self.request_wheel.next()).min(self.waits_until)
    }

    /// True when a connection has something to send.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.ready.is_empty()
    }
}
