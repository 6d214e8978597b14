//! A segment that tries how much the path carries (RFC 4821), as the sender sees it.

use super::run::RunPool;
use super::{CaState, Sender};
use crate::tcp::Seq;

/// The least window in which a probe is sent, in segments, as Linux: its loss must show.
const LEAST_WINDOW: u32 = 11;

/// What is known of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MtuProbe {
    /// None was sent.
    #[default]
    None,
    /// It is on its way.
    Sent {
        /// Its first byte.
        start: Seq,
        /// How long it is.
        len: u16,
    },
    /// It is acknowledged.
    Arrived,
    /// It was lost, and nothing before it.
    Lost,
}

impl Sender {
    /// True when a probe may be sent, as far as losses and the window are concerned.
    pub fn may_probe_mtu(&self) -> bool {
        self.episode.state == CaState::Open
            && self.window.cwnd >= LEAST_WINDOW
            && self.mtu_probe == MtuProbe::None
    }

    /// True when so many segments more fit the congestion window.
    pub fn has_room_for(&self, segments: u32) -> bool {
        self.flight.in_flight() + segments <= self.window.cwnd
    }

    /// Segments by which others may be overtaken before they count as lost.
    pub fn reordering(&self) -> u32 {
        self.reordering.into()
    }

    /// The segment that was just reported by `on_sent` is a probe. It counts as two (as Linux).
    pub fn mtu_probe_sent(&mut self, start: Seq, len: u16) {
        self.mtu_probe = MtuProbe::Sent { start, len };
        self.window.cwnd -= 1;
    }

    /// What became of the probe; told once.
    pub fn take_mtu_probe(&mut self) -> MtuProbe {
        match self.mtu_probe {
            MtuProbe::Sent { .. } => self.mtu_probe,
            _ => core::mem::take(&mut self.mtu_probe),
        }
    }

    /// Nobody wants to know any more; true when one was on its way.
    pub fn forget_mtu_probe(&mut self) -> bool {
        matches!(core::mem::take(&mut self.mtu_probe), MtuProbe::Sent { .. })
    }

    /// The window in segments of the new size is as many bytes as it was.
    pub fn rescale_window(&mut self, old: u16, new: u16) {
        let bytes = u64::from(self.window.cwnd) * u64::from(old);
        self.window.cwnd = bytes.checked_div(new.into()).map_or(1, |segments| segments.max(1) as u32);
        self.window.counted = 0;
        self.window.ssthresh = self.current_ssthresh();
    }

    /// An acknowledgement came that may be the probe's.
    pub(super) fn see_mtu_probe(&mut self) {
        if let MtuProbe::Sent { start, len } = self.mtu_probe
            && self.flight.una.at_or_after(start + u32::from(len))
        {
            self.mtu_probe = MtuProbe::Arrived;
        }
    }

    /// Something is lost. True when it is the probe and nothing before it: then it goes again, and nothing is made of
    /// it (RFC 4821 section 7.6.2; as Linux's simple retransmission).
    pub(super) fn is_mtu_probe_lost(&mut self, pool: &mut RunPool) -> bool {
        let MtuProbe::Sent { start, .. } = self.mtu_probe else { return false };
        if self.flight.una != start || self.episode.state >= CaState::Cwr {
            return false;
        }
        self.mtu_probe = MtuProbe::Lost;
        self.window.cwnd += 1;
        self.window.ssthresh = self.current_ssthresh();
        if let Some(history) = pool.known_history(&self.history) {
            (history.prior_ssthresh, history.undo_marker) = (0, None);
        }
        self.episode.high = self.flight.nxt;
        self.episode.frto = false;
        self.episode.state = CaState::Loss;
        true
    }
}
