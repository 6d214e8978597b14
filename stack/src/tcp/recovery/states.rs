//! The five states of congestion control and what an ACK in doubt does in each (the diagram is at the top of
//! [`super`]).

use super::Sender;
use super::acked::Progress;
use super::info::CaState;
use super::run::{NONE, Run, RunPool, mark};
use crate::Instant;
use crate::tcp::Seq;

/// The present reduction, or the last one, as far as a sender without losses has to know: the rest is in
/// [`super::history`].
#[derive(Debug)]
pub(super) struct Episode {
    /// When something outstanding was first sent again; `NEVER` when nothing was.
    pub(super) first_retransmission: Instant,
    pub(super) state: CaState,
    /// `nxt` at the entry: recovery is over when it is acknowledged.
    pub(super) high: Seq,
    /// One beyond the highest selectively acknowledged byte, while there is one.
    pub(super) highest: Seq,
    /// How often a reduction was taken back; wraps.
    pub(super) undone: u8,
    /// F-RTO (RFC 5682) is looking whether the timeout was spurious.
    pub(super) frto: bool,
    /// F-RTO sends new data first: no retransmission until the next ACK.
    pub(super) hold: bool,
}

impl Episode {
    pub(super) fn new(first: Seq) -> Episode {
        Episode {
            first_retransmission: Instant::NEVER,
            state: CaState::Open,
            high: first,
            highest: first,
            undone: 0,
            frto: false,
            hold: false,
        }
    }

    /// The handshake is over, and with it what happened to the SYN.
    pub(super) fn reopen(&mut self, nxt: Seq) {
        *self = Episode::new(nxt);
    }
}

impl Sender {
    /// An ACK that says that something may be wrong.
    pub(super) fn judge(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        progress: &mut Progress,
        duplicate: bool,
    ) {
        if self.flight.outstanding == 0 {
            self.flight.sacked = 0;
        }
        if progress.ece {
            self.keep_no_threshold(pool); // a mark is no mistake: nothing to restore
        }
        if progress.advanced && self.reneged(pool, now) {
            progress.rearm = false;
            return;
        }
        if self.episode.state == CaState::Open {
            self.episode.first_retransmission = match self.flight.retransmitted {
                0 => Instant::NEVER,
                _ => self.episode.first_retransmission,
            };
        } else if self.flight.una.at_or_after(self.episode.high) && self.leave(pool, now, progress) {
            return;
        }
        match self.episode.state {
            CaState::Recovery => self.in_recovery(pool, now, progress, duplicate),
            CaState::Loss => self.in_loss(pool, now, progress, duplicate),
            CaState::Open | CaState::Disorder | CaState::Cwr => {
                self.before_recovery(pool, now, progress, duplicate);
            }
        }
    }

    /// All that was outstanding at the entry is acknowledged. True: nothing more to do with this ACK.
    fn leave(&mut self, pool: &mut RunPool, now: Instant, progress: &Progress) -> bool {
        match self.episode.state {
            CaState::Cwr if self.flight.una != self.episode.high => {
                // Something beyond the entry, so that the CWR was seen (as Linux).
                self.end_reduction(pool, now);
                self.episode.state = CaState::Open;
            }
            CaState::Recovery => {
                if !self.agreed.sack {
                    self.flight.sacked = 0;
                }
                if self.leave_recovery(pool, now, progress) {
                    return true;
                }
                self.end_reduction(pool, now);
            }
            _ => {}
        }
        false
    }

    fn in_recovery(&mut self, pool: &mut RunPool, now: Instant, progress: &mut Progress, duplicate: bool) {
        if !progress.advanced {
            if !self.agreed.sack && duplicate {
                self.add_duplicate(progress.ece);
            }
        } else if self.undo_partial(pool, now, progress) {
            return;
        }
        if self.undo_by_dsack(pool, now) {
            self.try_to_open(pool, progress);
        }
        self.find_losses(pool, now, progress);
        if self.episode.state != CaState::Recovery && self.flight.lost > 0 {
            self.enter_recovery(pool, progress.ece);
        }
    }

    /// Open, Disorder or CWR.
    fn before_recovery(
        &mut self,
        pool: &mut RunPool,
        now: Instant,
        progress: &mut Progress,
        duplicate: bool,
    ) {
        if !self.agreed.sack {
            if progress.advanced {
                self.flight.sacked = 0;
            }
            if duplicate {
                self.add_duplicate(progress.ece);
            }
        }
        if self.episode.state <= CaState::Disorder {
            self.undo_by_dsack(pool, now);
        }
        self.find_losses(pool, now, progress);
        if self.flight.lost == 0 {
            self.try_to_open(pool, progress);
        } else if !self.is_mtu_probe_lost(pool) {
            self.enter_recovery(pool, progress.ece);
        }
    }

    /// After a timeout, with F-RTO (RFC 5682 section 3.1, the SACK-enhanced version's questions as Linux asks
    /// them): does the flight of before still arrive?
    fn in_loss(&mut self, pool: &mut RunPool, now: Instant, progress: &mut Progress, duplicate: bool) {
        self.frto(pool, now, progress, duplicate);
        if self.episode.hold {
            return;
        }
        self.find_losses(pool, now, progress);
        // The reduction was taken back, or a retransmission was lost too: look at it as at a new loss.
        if self.episode.state == CaState::Open || progress.lost_again {
            self.before_recovery(pool, now, progress, duplicate);
        }
    }

    fn frto(&mut self, pool: &mut RunPool, now: Instant, progress: &mut Progress, duplicate: bool) {
        let recovered = self.flight.una.at_or_after(self.episode.high);
        if progress.advanced && self.undo_loss(pool, now, progress, false) {
            return;
        }
        if self.episode.frto {
            // Step 3.b: something that was sent once, before the timeout, is delivered.
            if progress.original && self.undo_loss(pool, now, progress, true) {
                return;
            }
            if self.flight.nxt.after(self.episode.high) {
                // Step 3.a: duplicates after the new data: the timeout was right.
                if progress.sacked || duplicate {
                    self.episode.frto = false;
                }
            } else if progress.advanced && !recovered {
                // Step 2.b: send new data and see what it brings.
                self.episode.high = self.flight.nxt;
                if progress.new_data {
                    self.episode.hold = true;
                    return;
                }
                self.episode.frto = false;
            }
        }
        if recovered {
            self.leave_recovery(pool, now, progress);
            return;
        }
        if !self.agreed.sack {
            if progress.advanced {
                self.flight.sacked = 0;
            } else if self.flight.nxt.after(self.episode.high) && duplicate {
                self.add_duplicate(progress.ece);
            }
        }
    }

    /// What is lost? RACK with SACK (RFC 8985), the third duplicate without (RFC 6582).
    fn find_losses(&mut self, pool: &mut RunPool, now: Instant, progress: &mut Progress) {
        if self.flight.outstanding == 0 {
            return;
        }
        if !self.agreed.sack {
            return self.mark_first_lost(pool, progress.advanced);
        }
        let before = self.flight.retransmitted;
        if self.rack_mark_lost(pool, now) {
            progress.rearm = false; // the timer waits for reordering to end
        }
        progress.lost_again |= self.flight.retransmitted < before;
    }

    /// Fast recovery begins (RFC 6675 section 5, RFC 6937).
    pub(super) fn enter_recovery(&mut self, pool: &mut RunPool, ece: bool) {
        let restored = if ece || self.is_reducing() { 0 } else { self.current_ssthresh() };
        pool.write_history(&mut self.history).prior_ssthresh = restored;
        self.begin_doubt(pool);
        if !self.is_reducing() {
            self.begin_reduction(pool);
        }
        self.episode.state = CaState::Recovery;
    }

    /// An ECN echo (RFC 3168 section 6.1.2): the window shrinks as for a loss, once a window of data.
    fn enter_cwr(&mut self, pool: &mut RunPool) {
        self.keep_no_threshold(pool);
        if self.episode.state < CaState::Cwr {
            pool.write_history(&mut self.history).undo_marker = None;
            self.begin_reduction(pool);
            self.episode.state = CaState::Cwr;
        }
    }

    /// No loss is sure.
    fn try_to_open(&mut self, pool: &mut RunPool, progress: &Progress) {
        if !self.any_retransmitted(pool) {
            self.episode.first_retransmission = Instant::NEVER;
        }
        if progress.ece {
            self.enter_cwr(pool);
        }
        if self.episode.state != CaState::Cwr {
            self.keep_open(pool);
        }
    }

    /// Open, or Disorder when something is out of order.
    pub(super) fn keep_open(&mut self, pool: &RunPool) {
        let disorder = self.flight.sacked + self.flight.lost > 0 || self.any_retransmitted(pool);
        let state = if disorder { CaState::Disorder } else { CaState::Open };
        if state != self.episode.state {
            self.episode.state = state;
            self.episode.high = self.flight.nxt;
        }
    }

    /// The retransmission timer went off (RFC 5681 section 3.1, RFC 6298 section 5, RFC 5682).
    pub(super) fn enter_loss(&mut self, pool: &mut RunPool, now: Instant) {
        let new = self.episode.state < CaState::Recovery;
        self.mark_all_lost(pool, now);
        let reduce = self.episode.state <= CaState::Disorder
            || self.flight.una.at_or_after(self.episode.high)
            || self.episode.state == CaState::Loss && self.timeouts == 0;
        if reduce {
            let (cwnd, ssthresh) = (self.window.cwnd, self.current_ssthresh());
            let history = pool.write_history(&mut self.history);
            (history.prior_cwnd, history.prior_ssthresh) = (cwnd, ssthresh);
            let recovering = self.episode.state >= CaState::Recovery;
            self.window.ssthresh = self.congestion.ssthresh(&self.window, recovering);
            self.begin_doubt(pool);
        }
        self.window.cwnd = self.flight.in_flight() + 1;
        self.window.counted = 0;
        self.usage.stamp(now);
        if self.episode.state <= CaState::Disorder && self.flight.sacked >= u32::from(self.reordering) {
            self.reordering = self.reordering.min(self.first_reordering);
        }
        self.episode.state = CaState::Loss;
        self.episode.high = self.flight.nxt;
        self.probe.forget();
        self.congestion.timed_out(self.rate.delivered);
        self.queue_cwr();
        self.episode.frto = self.frto && (new || self.timeouts > 0);
    }

    /// After a timeout all that is old enough is lost (RFC 6298 section 5.4, RFC 8985 section 6.3). A receiver
    /// that does not acknowledge what it reported first has reneged: nothing it reported counts.
    fn mark_all_lost(&mut self, pool: &mut RunPool, now: Instant) {
        let head = self.flight.head;
        let reneged = pool.get(head).is_some_and(|run| run.is(mark::SACKED));
        if reneged {
            let mut place = head;
            while let Some(&Run { next, .. }) = pool.get(place) {
                self.flight.renege(pool, place, self.mss, self.rate.delivered);
                place = next;
            }
        } else if !self.agreed.sack {
            self.flight.sacked = 0;
        }
        self.mark_lost(pool, head);
        let mut place = self.flight.timed.first;
        while place != NONE {
            let Some(&run) = pool.get(place) else { break };
            if self.agreed.sack && self.is_young(now, run.sent) {
                break; // those behind it are younger still
            }
            self.mark_lost(pool, place);
            place = run.behind;
        }
        self.flight.order_waiting(pool);
    }
}
