//! How large a segment the path carries, found out by trying (packetization layer path MTU discovery, RFC 4821), for
//! paths whose routers drop what is too large without a word.
//!
//! ```text
//!        low ............ probe ............ high          the next probe is half way between; in the end low is what
//!     is carried      is it carried?      is too much      segments have, and the search ends when little is left
//! ```
//! A probe is data: one segment that is larger than those around it, sent in order, with enough behind it that its loss
//! shows at once. When it arrives, segments are of its size from then on. When it alone is lost, that says nothing about
//! congestion: it is sent again in pieces, and the window does not shrink (section 7.6).
//!
//! Begins with each connection ([`MtuProbing::On`]), or when large segments seem to vanish ([`MtuProbing::BlackHole`]);
//! numbers and conditions are those of Linux (`tcp_mtu_probe`).
//!
//! Invariants: low <= high <= the MSS of path and peer; at most one probe is on its way, and it is larger than low.

use super::connection::{Connection, Context};
use super::options::Emitted;
use super::recovery::MtuProbe;
use super::segment::Outgoing;
use super::settings::MtuProbing;
use crate::time::Instant;
use crate::wire::tcp::flag;
use core::time::Duration;

/// The search is over when low and high are no further apart (`tcp_probe_threshold`).
const NEAR: u16 = 8;

/// After so long the path may be another one, and is tried again (`tcp_probe_interval`; RFC 4821 section 7.3 says ten
/// minutes, as RFC 1981 does).
const AGAIN: Duration = Duration::from_secs(600);

/// Where the search stands, in sizes as `path_mss` has them: segments with the options of every segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// This is carried.
    low: u16,
    /// More is not carried, as far as we know.
    high: u16,
    /// The probe on its way; 0: none.
    probe: u16,
    /// When the search began, or began again.
    since: Instant,
}

/// What becomes of a chance to send new data.
pub(super) enum Probing {
    /// Send as always.
    No,
    /// Hold new data back: with what comes the probe has room.
    Wait,
    /// This is the probe.
    Send(Outgoing),
}

impl Connection {
    /// Where the search allows segments to be.
    pub(super) fn searched_mss(&self) -> Option<u16> {
        if !self.knobs.searching {
            return None;
        }
        self.rare.as_ref().and_then(|rare| rare.search).map(|search| search.low)
    }

    /// Begins the search, with segments of `base_mss` (as Linux, of data).
    pub(super) fn begin_search(&mut self, cx: &Context<'_>) {
        let base = cx.settings.base_mss.max(cx.settings.min_snd_mss);
        let high = self.tx.path_mss.min(self.tx.peer_mss);
        let low = base.saturating_add(self.fixed_options_len()).min(high);
        self.knobs.searching = true;
        self.rare().search = Some(Search { low, high, probe: 0, since: cx.now });
    }

    /// To ESTABLISHED: the search begins where it is wanted always.
    pub(super) fn search_from_the_start(&mut self, cx: &Context<'_>) {
        if self.knobs.mtu_probing == MtuProbing::On && self.knobs.pmtud {
            self.begin_search(cx);
            self.tx.mss = self.effective_mss();
        }
    }

    /// Large segments vanish without a word (RFC 4821 section 7.7, RFC 2923): try with small ones, then half of that
    /// each time, as Linux does; and from there the search goes up again.
    pub(super) fn suspect_black_hole(&mut self, cx: &mut Context<'_>) {
        if self.knobs.mtu_probing == MtuProbing::Off || !self.state.is_synchronized() {
            return;
        }
        let before = self.tx.mss;
        let options = self.fixed_options_len();
        if let Some(search) = self.rare.as_mut().and_then(|rare| rare.search.as_mut()) {
            let data = (search.low.saturating_sub(options) / 2).min(cx.settings.base_mss);
            let data = data.max(cx.settings.min_snd_mss);
            search.low = data.saturating_add(options).min(search.high);
        } else {
            self.begin_search(cx);
        }
        self.sync_mss();
        if self.tx.mss < before {
            cx.stats.mtu_probe_black_holes += 1;
        }
    }

    /// The path said what it carries: the search stays below.
    pub(super) fn bound_search(&mut self) {
        let most = self.tx.path_mss.min(self.tx.peer_mss);
        if let Some(search) = self.rare.as_mut().and_then(|rare| rare.search.as_mut()) {
            search.high = search.high.min(most);
            search.low = search.low.min(search.high);
        }
    }

    /// Whether the next new data are a probe. `waiting` bytes wait, the peer has room for `room`, segments have `mss`.
    #[cold]
    #[inline(never)]
    pub(super) fn probe_path(&mut self, cx: &mut Context<'_>, waiting: u32, room: u32, mss: u32) -> Probing {
        let options = self.fixed_options_len();
        let most = self.tx.path_mss.min(self.tx.peer_mss);
        let user = self.tx.user_mss;
        let Some(search) = self.rare.as_mut().and_then(|rare| rare.search.as_mut()) else {
            return Probing::No;
        };
        // What is reported with SACK takes its room from data: then no segment is as large as it seems.
        if search.probe != 0 || !self.sender.may_probe_mtu() || !self.ahead.is_empty() || self.dsack.is_some()
        {
            return Probing::No;
        }
        if search.high - search.low < NEAR {
            if cx.now.since(search.since) >= AGAIN {
                (search.high, search.since) = (most.max(search.low), cx.now);
            }
            return Probing::No;
        }
        let size = search.low.midpoint(search.high);
        let data = size.saturating_sub(options);
        // RFC 4821 section 7.4: enough behind it that its loss shows without a timeout.
        let needed = u32::from(data) + (self.sender.reordering() + 1) * mss;
        if (user > 0 && size > user) || u32::from(data) <= mss || waiting < needed || self.tx.wnd < needed {
            return Probing::No;
        }
        if room < needed || !self.sender.has_room_for(2) {
            return if self.sender.outstanding() > 0 { Probing::Wait } else { Probing::No };
        }
        let nxt = self.sender.nxt();
        if self.sender.on_sent(cx.runs, cx.now, nxt, data.into(), false).is_err() {
            return Probing::No; // nothing else leaves either, and that is counted
        }
        self.sender.mtu_probe_sent(nxt, data);
        search.probe = size;
        cx.stats.mtu_probes += 1;
        let mut emitted = Emitted::NONE;
        self.common_options(cx, &mut emitted);
        let mut out = self.header(cx, nxt, flag::ACK | flag::PSH, emitted, 1);
        out.offset = nxt.since(self.tx.start);
        out.len = data.into();
        out.mss = data;
        out.ect = self.ecn.on;
        self.mark_urgent(&mut out);
        self.acks.on_data_sent(cx.now);
        cx.stats.out_segs += 1;
        Probing::Send(out)
    }

    /// What an acknowledgment said about the probe.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_path(&mut self, cx: &mut Context<'_>) {
        let outcome = self.sender.take_mtu_probe();
        let Some(search) = self.rare.as_mut().and_then(|rare| rare.search.as_mut()) else { return };
        match outcome {
            MtuProbe::None | MtuProbe::Sent { .. } => {}
            MtuProbe::Arrived => {
                cx.stats.mtu_probes_arrived += 1;
                search.low = core::mem::take(&mut search.probe).min(search.high);
                let old = self.tx.mss;
                self.sync_mss();
                self.sender.rescale_window(old, self.tx.mss);
            }
            MtuProbe::Lost => {
                cx.stats.mtu_probes_lost += 1;
                search.high = core::mem::take(&mut search.probe).saturating_sub(1).max(search.low);
            }
        }
    }

    /// Something is sent again for another reason: what becomes of the probe then says nothing (as Linux).
    pub(super) fn forget_probe(&mut self, cx: &mut Context<'_>) {
        self.judge_path(cx);
        if self.sender.forget_mtu_probe()
            && let Some(search) = self.rare.as_mut().and_then(|rare| rare.search.as_mut())
        {
            search.probe = 0;
        }
    }
}
