//! What time does to a connection: one exhaustive match over the purposes of [`super::timers`] (row T18).
//!
//! A connection gives up (RFC 9293 section 3.8.3) when the peer has not answered for the time that `retries2`
//! timeouts take, or for the user timeout (RFC 5482) if there is one; a closed one after `orphan_retries`.

use super::connection::{Connection, Context};
use super::error::SocketError;
use super::recovery::TimerOutcome;
use super::segment::{Disposition, Output};
use super::settings::TcpSettings;
use super::state::{FinWait2, State};
use super::timers::Purpose;
use crate::Instant;
use crate::socket::Ready;
use core::num::NonZeroU32;
use core::time::Duration;

impl Connection {
    /// Does what is due. Ask for output afterwards as the disposition says.
    pub fn on_timer(&mut self, cx: &mut Context<'_>) -> Disposition {
        let mut output = Output::None;
        while let Some(purpose) = self.timers.take_due(cx.now) {
            let disposition = match purpose {
                Purpose::Recovery => self.on_recovery(cx),
                Purpose::DelayedAck => self.on_delayed_ack(cx),
                Purpose::Persist => self.on_persist(cx),
                Purpose::Pacing => Disposition::Keep(Output::Later),
                Purpose::Keepalive => self.on_keepalive(cx),
                Purpose::Memory => self.on_memory(cx),
            };
            match disposition {
                Disposition::Keep(wanted) => output = output.max(wanted),
                ended => return ended,
            }
        }
        Disposition::Keep(output)
    }

    fn on_recovery(&mut self, cx: &mut Context<'_>) -> Disposition {
        let outcome = self.sender.on_timer(cx.runs, cx.now);
        let disposition = match outcome {
            TimerOutcome::Nothing => Disposition::Keep(Output::None),
            TimerOutcome::Retransmit => Disposition::Keep(Output::Later),
            TimerOutcome::Probe { seq, len } => {
                cx.stats.loss_probes += 1;
                let room = (self.sender.una() + self.tx.wnd).since(self.sender.nxt());
                let waits = self.write_end().since(self.sender.nxt());
                if waits > 0 && room >= waits.min(u32::from(self.tx.mss)) {
                    self.tx.tail_probe = true;
                    self.tx.force = true;
                } else {
                    self.tx.repeat = NonZeroU32::new(len).map(|len| (seq, len));
                }
                Disposition::Keep(Output::Later)
            }
            TimerOutcome::TimedOut { count } => self.on_timeout(cx, count),
        };
        if let Disposition::Keep(_) = disposition {
            if self.user_timeout().is_some_and(|limit| self.stalled_for(cx) >= limit) {
                return self.give_up(cx);
            }
            self.arm_recovery();
        }
        disposition
    }

    /// Retransmission timeout number `count` in a row.
    fn on_timeout(&mut self, cx: &mut Context<'_>, count: u8) -> Disposition {
        cx.stats.timeouts += 1;
        let handshake = match self.state {
            State::SynSent => {
                let own = self.rare.as_ref().and_then(|rare| rare.syn_retries);
                // As Linux: the first timeouts, which do not double, come on top.
                let linear = cx.settings.sender.syn_linear_timeouts;
                Some(own.unwrap_or(cx.settings.syn_retries).saturating_add(linear))
            }
            State::SynReceived(_) => Some(cx.settings.synack_retries),
            _ => None,
        };
        let silent = cx.now.since(self.sender.stalled_since().unwrap_or(self.tx.progress));
        let user = self.user_timeout();
        let over = match (handshake, user) {
            (_, Some(limit)) => silent >= limit,
            (Some(retries), None) => count > retries,
            (None, None) => {
                let retries = if self.orphan {
                    // Nobody waits for it: give up earlier, at once if the path is known to be bad.
                    if self.soft_error.is_some() { 0 } else { cx.settings.orphan_retries }
                } else {
                    cx.settings.retries2
                };
                count > 1 && silent >= patience(cx.settings, retries)
            }
        };
        if over {
            return self.give_up(cx);
        }
        if count >= cx.settings.retries1 || handshake.is_some() {
            self.tx.doubt = true; // RFC 9293 MUST-20 (a), as Linux in a handshake at once
        }
        if count >= cx.settings.retries1 {
            self.suspect_black_hole(cx);
        }
        if count > 1 && self.state == State::SynSent {
            // A middlebox may drop SYNs that ask for ECN (RFC 3168 section 6.1.1.1).
            self.ecn.on = false;
        }
        Disposition::Keep(Output::Later)
    }

    /// The connection times out, with the reason that a router gave meanwhile if one did.
    fn give_up(&mut self, cx: &mut Context<'_>) -> Disposition {
        cx.stats.abort_on_timeout += 1;
        let error = self.soft_error.unwrap_or(SocketError::TimedOut);
        self.end(cx, Some(error), None)
    }

    /// Arms the sender's timer. With a user timeout it fires when that ends, not only when a retransmission is due.
    #[inline]
    pub(super) fn arm_recovery(&mut self) {
        self.timers.set(Purpose::Recovery, self.sender.deadline());
        if let Some(limit) = self.user_timeout()
            && let Some(since) = self.sender.stalled_since()
        {
            self.timers.set_earlier(Purpose::Recovery, since + limit);
        }
    }

    /// How long the peer has left unanswered what was sent again.
    fn stalled_for(&self, cx: &Context<'_>) -> Duration {
        self.sender.stalled_since().map_or(Duration::ZERO, |since| cx.now.since(since))
    }

    fn on_delayed_ack(&mut self, cx: &mut Context<'_>) -> Disposition {
        if self.acks.wanted() == super::acks::Wanted::Nothing {
            return Disposition::Keep(Output::None);
        }
        cx.stats.delayed_acks += 1;
        self.acks.on_timer(self.sender.rto_micros());
        Disposition::Keep(Output::Later)
    }

    /// The peer's window stayed too small (RFC 9293 section 3.8.6.1: MUST-35 to MUST-37): send what it takes, or
    /// ask. A peer that goes on answering is never given up, however long its window stays shut.
    fn on_persist(&mut self, cx: &mut Context<'_>) -> Disposition {
        let waits = self.write_end().after(self.sender.nxt()) || (self.tx.fin && !self.fin_sent());
        if !waits || self.sender.outstanding() > 0 || !self.state.sends() {
            return Disposition::Keep(Output::None);
        }
        let limit = if self.orphan { cx.settings.orphan_retries } else { cx.settings.retries2 };
        let too_long =
            self.user_timeout().is_some_and(|limit| self.tx.probes > 0 && cx.now.since(self.heard) >= limit);
        if self.tx.probes > limit || too_long {
            return self.give_up(cx);
        }
        if self.tx.wnd > 0 {
            self.tx.force = true;
        } else {
            self.tx.probe = true;
            cx.stats.zero_window_probes += 1;
        }
        self.tx.probes = self.tx.probes.saturating_add(1);
        self.tx.backoff = self.tx.backoff.saturating_add(1);
        self.timers.set(Purpose::Persist, cx.now + self.probe_interval(cx));
        Disposition::Keep(Output::Later)
    }

    /// Keepalive (RFC 9293 section 3.8.4: only when the owner asks, MUST-24 to MUST-26), or the end of FIN-WAIT-2.
    fn on_keepalive(&mut self, cx: &mut Context<'_>) -> Disposition {
        if let State::FinWait2(FinWait2 { until }) = self.state
            && until != Instant::NEVER
        {
            if cx.now < until {
                self.timers.set(Purpose::Keepalive, until);
                return Disposition::Keep(Output::None);
            }
            // As Linux: nobody waits for the peer's FIN any longer, and it is told nothing.
            return self.end(cx, None, None);
        }
        if !self.knobs.keepalive || !self.state.is_synchronized() {
            return Disposition::Keep(Output::None);
        }
        let idle = self.keepalive_time(cx.settings);
        let busy = self.sender.outstanding() > 0 || self.write_end().after(self.sender.nxt());
        let silent = cx.now.since(self.heard.max(self.acks.last_data()));
        if busy || silent < idle {
            let next = if busy { cx.now + idle } else { cx.now + (idle - silent) };
            self.timers.set(Purpose::Keepalive, next);
            return Disposition::Keep(Output::None);
        }
        let rare = self.rare.as_deref();
        let most = rare.and_then(|rare| rare.keepalive_probes).unwrap_or(cx.settings.keepalive_probes);
        let over = match self.user_timeout() {
            Some(limit) => self.tx.probes > 0 && silent >= limit,
            None => self.tx.probes >= most,
        };
        if over {
            cx.stats.abort_on_timeout += 1;
            let reset = self.reset(cx.now);
            let error = self.soft_error.unwrap_or(SocketError::TimedOut);
            return self.end(cx, Some(error), Some(reset));
        }
        self.tx.probes = self.tx.probes.saturating_add(1);
        self.tx.probe = true;
        cx.stats.keepalive_probes += 1;
        let interval = rare_interval(self, cx.settings);
        self.timers.set(Purpose::Keepalive, cx.now + interval);
        Disposition::Keep(Output::Later)
    }

    /// Memory was short a moment ago.
    fn on_memory(&mut self, cx: &mut Context<'_>) -> Disposition {
        if self.tx.starved {
            if cx.blocks.available() == 0 {
                self.timers.set(Purpose::Memory, cx.now + super::output::MEMORY_RETRY);
            } else {
                self.tx.starved = false;
                self.news |= Ready::WRITABLE;
            }
        }
        Disposition::Keep(Output::Later)
    }
}

fn rare_interval(connection: &Connection, settings: &TcpSettings) -> Duration {
    let rare = connection.rare.as_deref();
    rare.and_then(|rare| rare.keepalive_interval).unwrap_or(settings.keepalive_interval)
}

/// The time that `retries` timeouts take, from the smallest timeout on, doubled until the largest (as Linux models
/// `tcp_retries2`: 924.6 s for 15).
fn patience(settings: &TcpSettings, retries: u8) -> Duration {
    let mut total = Duration::ZERO;
    let mut timeout = settings.sender.rto_min;
    for _ in 0..=retries {
        total += timeout;
        timeout = (timeout * 2).min(settings.sender.rto_max);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_for_fifteen_retries_is_that_of_linux() {
        let settings = TcpSettings::default();
        assert_eq!(patience(&settings, 15), Duration::from_millis(924_600));
        assert_eq!(patience(&settings, 0), Duration::from_millis(200));
    }
}
