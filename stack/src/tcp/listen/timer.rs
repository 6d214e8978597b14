//! SYN-ACKs that were not answered (RFC 9293 section 3.8.1): again after 1, 2, 4, 8 and 16 seconds, then the
//! request is given up after 32 more. In a flood old requests are given up sooner, so that young ones, which
//! are likely to be real, find room.

use super::{Listener, Passive, SynAck, timeout};
use crate::Instant;
use crate::tcp::isn::timestamp_clock;

/// What the end of a deadline calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum TimerVerdict {
    /// Send the SYN-ACK again, and watch the next deadline.
    Resend(SynAck, Instant),
    /// Watch the next deadline.
    Wait(Instant),
    /// The request is gone: take its names out of the table.
    Gone,
}

impl Listener {
    /// The deadline of the request at `place` passed.
    pub fn on_timer(&mut self, passive: &mut Passive, place: u32, now: Instant) -> TimerVerdict {
        let retries = self.retries();
        let defer = self.settings.defer_timeouts();
        let cookies = passive.fast_open;
        let Some(request) = self.own(passive, place) else { return TimerVerdict::Gone };
        // While data are waited for after the ACK, nothing is sent; at the end of that time the SYN-ACK goes
        // out again, to give the peer a last chance.
        let waits_for_data = defer > 0 && request.acked;
        let is_over = request.timeouts >= retries && (!waits_for_data || request.timeouts >= defer);
        if is_over {
            passive.stats.timeouts += 1;
            self.remove(passive, place);
            return TimerVerdict::Gone;
        }
        let resend = !waits_for_data || request.timeouts >= defer - 1;
        let was_young = request.timeouts == 0;
        request.timeouts += 1;
        let deadline = now + timeout(request.timeouts);
        let verdict = if resend {
            request.retransmissions = request.retransmissions.saturating_add(1);
            let cookie = request.gives_cookie.then(|| cookies.make(&request.tuple));
            TimerVerdict::Resend(request.syn_ack(timestamp_clock(now), cookie.as_ref()), deadline)
        } else {
            TimerVerdict::Wait(deadline)
        };
        passive.stats.retransmissions += u64::from(resend);
        self.young = self.young.saturating_sub(usize::from(was_young));
        verdict
    }

    /// Retransmissions that a request gets now. When the queue is more than half full of requests and the
    /// young ones are few among them, each halving of their share takes one away, down to two.
    fn retries(&self) -> u8 {
        let mut retries = self.settings.synack_retries;
        if self.requests * 2 > self.settings.backlog().max(8) {
            let mut young = self.young * 2;
            while retries > 2 && self.requests >= young {
                retries -= 1;
                young *= 2;
            }
        }
        retries
    }
}
