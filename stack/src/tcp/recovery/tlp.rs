//! Tail loss probe (RFC 8985 section 7): when the last segments of a flight are lost, nothing comes that would
//! show it. After two round trips of silence one segment is sent, new data if there is any, otherwise the last
//! segment again; its ACK shows what is missing, long before the timeout. One probe at a time.

use super::ack::TimerOutcome;
use super::acked::Progress;
use super::run::{RunPool, mark};
use super::timer::Purpose;
use super::{CaState, Sender};
use crate::Instant;
use crate::tcp::Seq;

/// The least that is waited (as Linux).
pub(super) const LEAST_MICROS: u32 = 2_000;

#[derive(Debug)]
pub(super) struct Probe {
    /// The timer asked for a probe, and it did not leave yet.
    pub(super) due: bool,
    /// `nxt` when the probe left, while it is outstanding.
    high: Seq,
    is_out: bool,
    /// The probe was a retransmission.
    repeated: bool,
}

impl Probe {
    pub(super) fn new() -> Probe {
        Probe { due: false, high: Seq(0), is_out: false, repeated: false }
    }

    pub(super) fn sent(&mut self, nxt: Seq, repeated: bool) {
        *self = Probe { due: false, high: nxt, is_out: true, repeated };
    }

    /// `nxt` when the probe left; None when no probe is outstanding.
    #[inline]
    pub(super) fn high(&self) -> Option<Seq> {
        self.is_out.then_some(self.high)
    }

    /// No probe is outstanding any more.
    pub(super) fn forget(&mut self) {
        self.is_out = false;
    }
}

impl Sender {
    /// RFC 8985 section 7.2: arms the probe when nothing is in doubt. False: it is of no use now. `advanced`:
    /// the timeout counts from now, not from the first segment's sending.
    #[inline]
    pub(super) fn arm_probe(&mut self, pool: &RunPool, now: Instant, advanced: bool) -> bool {
        let quiet = matches!(self.episode.state, CaState::Open | CaState::Cwr);
        if !self.tail_loss_probe || !self.agreed.sack || !quiet || self.flight.outstanding == 0 {
            return false;
        }
        let mut wait = match self.rtt.srtt() {
            0 => 1_000_000,
            srtt if self.flight.outstanding == 1 => (2 * srtt).saturating_add(self.rtt.rto_min()),
            srtt => 2 * srtt + LEAST_MICROS,
        };
        let left = if advanced { self.rtt.rto() } else { self.left_of_timeout(pool, now) };
        if left > 0 {
            wait = wait.min(left);
        }
        self.timer.arm(Purpose::Probe, now, wait);
        true
    }

    /// RFC 8985 section 7.3.
    pub(super) fn probe_due(&mut self, pool: &mut RunPool, now: Instant) -> TimerOutcome {
        self.rearm_timeout(pool, now);
        let tail = pool.get(self.flight.tail).copied();
        match tail {
            Some(run) if self.probe.high().is_none() && !run.is(mark::SACKED) => {
                self.probe.due = true;
                let before = (run.segments() - 1) * u32::from(run.unit);
                let last = run.len - before.min(run.len - 1);
                let len = last.min(u32::from(self.mss) + 1);
                TimerOutcome::Probe { seq: run.end() - len, len }
            }
            _ => TimerOutcome::Nothing,
        }
    }

    /// RFC 8985 section 7.4.2: what does this ACK say about the probe? A repeated segment that is acknowledged
    /// without a D-SACK repaired a loss that nothing else showed: reduce as for that loss.
    pub(super) fn judge_probe(&mut self, pool: &mut RunPool, now: Instant, ack: Seq, progress: &Progress) {
        let Some(high) = self.probe.high() else { return };
        if ack.before(high) {
            return;
        }
        if !self.probe.repeated || progress.dsack_of_probe {
            self.probe.forget();
        } else if ack.after(high) {
            self.begin_reduction(pool); // takes the probe away
            self.episode.state = CaState::Cwr;
            self.end_reduction(pool, now);
            self.keep_open(pool);
        } else if progress.is_bare_duplicate() {
            self.probe.forget(); // the original and the probe both arrived
        }
    }
}
