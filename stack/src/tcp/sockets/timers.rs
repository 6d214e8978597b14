//! What time brings to TCP: connections whose deadline came, requests, TIME-WAIT records that end.

use super::input::act;
use super::{TcpSockets, passive};
use crate::frame::{Frame, FramePool};
use crate::limits::BURST;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};

/// Does what is due, a burst's worth of each kind at most.
pub(crate) fn timers<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>)
where
    P: FramePool,
    M: Probe,
{
    for _ in 0..BURST {
        let Some(place) = stack.tcp.wheel.pop(turn.now) else { break };
        let Some(handle) = stack.tcp.entries.at(place as usize) else { continue };
        let Stack { tcp, blocks, .. } = &mut *stack;
        let (entries, mut cx) = tcp.split(turn.now, blocks);
        let Some(entry) = entries.get_mut(handle) else { continue };
        let port = entry.port;
        let disposition = entry.connection.on_timer(&mut cx);
        act(stack, turn, handle, port, disposition);
    }
    passive::timers(stack, turn);
    let TcpSockets { time_waits, names, .. } = &mut stack.tcp;
    time_waits.expire(turn.now, BURST, |_, tuple| names.free(tuple));
}

impl<F: Frame> Stack<F> {
    /// When [`timers`] has something to do next.
    pub(crate) fn tcp_deadline(&self, now: Instant) -> Instant {
        self.tcp.wheel.next().min(self.tcp.time_waits.next_deadline(now)).min(self.tcp.requests_deadline())
    }
}
