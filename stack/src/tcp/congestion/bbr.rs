//! BBR, version 1, as Linux has it: a model of the path instead of a reaction to loss.
//!
//! ```text
//!   bandwidth: the largest delivery rate of the last ten round trips        startup ─▶ drain ─▶ probe bandwidth
//!   round trip: the smallest of the last ten seconds                              ▲                 │    ▲
//!   pacing rate = gain × bandwidth                                                └── probe RTT ◀───┘────┘
//!   window      = gain × bandwidth × round trip + room for bursts of ACKs            (4 segments, 200 ms)
//! ```
//! Startup doubles the rate each round trip until three rounds bring less than a quarter more; drain empties the
//! queue that this made; then the rate swings around the bandwidth in a cycle of eight round trips: one above,
//! one below, six at it. Linux's detector of token-bucket policers is left out: it only ever lowers the rate.
//!
//! Reads: Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016.

use super::filter::Extreme;
use super::window::Window;
use crate::Instant;
use crate::tcp::recovery::CaState;

/// One times the bandwidth, in 256ths.
const UNIT: u64 = 256;
/// 2/ln 2: the smallest gain that lets the rate double each round trip.
const HIGH_GAIN: u64 = UNIT * 2885 / 1000 + 1;
/// Empties in one round trip what startup queued.
const DRAIN_GAIN: u64 = UNIT * 1000 / 2885;
/// Window gain once the bandwidth is found: room for delayed and stretched ACKs.
const WINDOW_GAIN: u64 = 2 * UNIT;
const CYCLE: [u64; 8] = [UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT];
/// Round trips that the bandwidth is remembered.
const BANDWIDTH_ROUNDS: u32 = 10;
/// How long the smallest round trip is believed, in microseconds.
const MIN_RTT_MICROS: u64 = 10_000_000;
/// How long the window stays at [`MIN_WINDOW`] to see the bare round trip.
const PROBE_RTT_MICROS: u64 = 200_000;
/// Segments that keep the ACKs coming with delayed ACKs at the other end.
const MIN_WINDOW: u32 = 4;
/// Bandwidth is kept in segments a microsecond, times 2^24.
const SCALE: u32 = 24;
/// The pipe is full after so many rounds without a quarter more.
const FULL_ROUNDS: u8 = 3;
/// The bursts of ACKs that the window allows for: at most 100 ms at the bandwidth.
const AGGREGATION_MICROS: u64 = 100_000;
/// Rounds that each half of the filter of ACK bursts spans.
const AGGREGATION_ROUNDS: u8 = 5;
/// The measure of a burst starts anew when so many segments were counted.
const AGGREGATION_RESET: u32 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    ProbeBandwidth,
    ProbeRtt,
}

/// What an ACK says to BBR.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) now: Instant,
    /// Segments delivered in the sample and the microseconds that took; None when there is no valid sample.
    pub(crate) sample: Option<(u32, u32)>,
    pub(crate) sample_app_limited: bool,
    /// `delivered` when the sampled segment was sent.
    pub(crate) prior_delivered: u32,
    /// Segments delivered since the connection began.
    pub(crate) delivered: u32,
    /// Segments that this ACK delivered and that it showed lost.
    pub(crate) acked: u32,
    pub(crate) lost: u32,
    /// The round trip that it measured, in microseconds, and whether that may hold a delayed ACK.
    pub(crate) rtt: Option<u32>,
    pub(crate) maybe_delayed: bool,
    pub(crate) in_flight: u32,
    pub(crate) prior_in_flight: u32,
    pub(crate) srtt: u32,
    pub(crate) mss: u16,
    pub(crate) ca_state: CaState,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bbr {
    min_rtt_at: Instant,
    probe_rtt_done: Instant,
    cycle_at: Instant,
    burst_at: Instant,
    /// Bytes a second.
    rate: u64,
    bandwidth: Extreme,
    min_rtt: u32,
    rounds: u32,
    /// The round trip is over when a segment is acknowledged that was sent after so many were delivered.
    round_end: u32,
    full_bandwidth: u32,
    prior_cwnd: u32,
    burst_acked: u32,
    bursts: [u16; 2],
    burst_rounds: u8,
    burst_half: u8,
    full_rounds: u8,
    cycle: u8,
    mode: Mode,
    previous_state: CaState,
    round_start: bool,
    full: bool,
    conserve: bool,
    restarting: bool,
    probe_rtt_round_done: bool,
    has_rtt: bool,
}

fn since_micros(now: Instant, then: Instant) -> u64 {
    now.nanos().saturating_sub(then.nanos()) / 1000
}

impl Bbr {
    pub(super) const fn new() -> Bbr {
        Bbr {
            min_rtt_at: Instant::ZERO,
            probe_rtt_done: Instant::NEVER,
            cycle_at: Instant::ZERO,
            burst_at: Instant::ZERO,
            rate: 0,
            bandwidth: Extreme { best: [(0, 0); 3] },
            min_rtt: u32::MAX,
            rounds: 0,
            round_end: 0,
            full_bandwidth: 0,
            prior_cwnd: 0,
            burst_acked: 0,
            bursts: [0; 2],
            burst_rounds: 0,
            burst_half: 0,
            full_rounds: 0,
            cycle: 0,
            mode: Mode::Startup,
            previous_state: CaState::Open,
            round_start: false,
            full: false,
            conserve: false,
            restarting: false,
            probe_rtt_round_done: false,
            has_rtt: false,
        }
    }

    /// Remembers the window before loss or probe RTT takes it away.
    pub(super) fn save(&mut self, window: &Window, recovering: bool) {
        let fresh = !recovering && self.previous_state < CaState::Recovery && self.mode != Mode::ProbeRtt;
        self.prior_cwnd = if fresh { window.cwnd } else { self.prior_cwnd.max(window.cwnd) };
    }

    /// The loss was none: a full pipe must be shown anew.
    pub(super) fn undone(&mut self) {
        self.full_bandwidth = 0;
        self.full_rounds = 0;
    }

    /// A timeout: a round trip of its own, and the full pipe must be shown anew.
    pub(super) fn timed_out(&mut self, delivered: u32) {
        self.previous_state = CaState::Loss;
        self.full_bandwidth = 0;
        self.round_start = true;
        self.round_end = delivered;
    }

    /// Sending begins again after idleness: at the bandwidth, without a gain.
    pub(super) fn resume(&mut self, app_limited: bool) {
        if app_limited {
            self.restarting = true;
        }
    }

    /// An ACK: updates the model, then the window; gives the pacing rate.
    pub(super) fn on_ack(&mut self, window: &mut Window, model: &Model) -> u64 {
        self.update_bandwidth(model);
        self.update_bursts(window, model);
        self.update_cycle(model);
        self.check_full(model);
        self.check_drain(model);
        self.update_min_rtt(window, model);
        let (pacing_gain, window_gain) = self.gains();
        self.set_rate(window, model, pacing_gain);
        self.set_window(window, model, window_gain);
        self.rate
    }

    /// What the path is believed to carry in bytes a second, and the gains, for who asks (TCP_CC_INFO).
    pub(super) fn model(&self, mss: u64) -> (u64, u32, u32) {
        let bandwidth = (u128::from(self.bandwidth.value()) * u128::from(mss) * 1_000_000) >> SCALE;
        let (pacing, window) = self.gains();
        (u64::try_from(bandwidth).unwrap_or(u64::MAX), pacing as u32, window as u32)
    }

    fn gains(&self) -> (u64, u64) {
        match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (DRAIN_GAIN, HIGH_GAIN),
            Mode::ProbeBandwidth => (CYCLE[usize::from(self.cycle & 7)], WINDOW_GAIN),
            Mode::ProbeRtt => (UNIT, UNIT),
        }
    }

    fn update_bandwidth(&mut self, model: &Model) {
        self.round_start = false;
        let Some((delivered, interval)) = model.sample.filter(|sample| sample.1 > 0) else { return };
        if (model.prior_delivered.wrapping_sub(self.round_end) as i32) >= 0 {
            self.round_end = model.delivered;
            self.rounds = self.rounds.wrapping_add(1);
            self.round_start = true;
            self.conserve = false;
        }
        let rate = (u64::from(delivered) << SCALE) / u64::from(interval);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX).max(1);
        if !model.sample_app_limited || rate >= self.bandwidth.value() {
            self.bandwidth.raise(BANDWIDTH_ROUNDS, self.rounds, rate);
        }
    }

    /// How many segments more than the bandwidth explains are acknowledged at a time.
    fn update_bursts(&mut self, window: &Window, model: &Model) {
        if model.acked == 0 || model.sample.is_none() {
            return;
        }
        if self.round_start {
            self.burst_rounds = self.burst_rounds.saturating_add(1);
            if self.burst_rounds >= AGGREGATION_ROUNDS {
                self.burst_rounds = 0;
                self.burst_half ^= 1;
                self.bursts[usize::from(self.burst_half & 1)] = 0;
            }
        }
        let expected = |micros: u64| (u64::from(self.bandwidth.value()) * micros.min(1 << 30)) >> SCALE;
        let mut explained = expected(since_micros(model.now, self.burst_at));
        if u64::from(self.burst_acked) <= explained || self.burst_acked + model.acked >= AGGREGATION_RESET {
            self.burst_acked = 0;
            self.burst_at = model.now;
            explained = 0;
        }
        self.burst_acked += model.acked;
        let extra = u64::from(self.burst_acked).saturating_sub(explained).min(u64::from(window.cwnd));
        let slot = &mut self.bursts[usize::from(self.burst_half & 1)];
        *slot = (*slot).max(u16::try_from(extra).unwrap_or(u16::MAX));
    }

    fn room_for_bursts(&self) -> u64 {
        if !self.full {
            return 0;
        }
        let most = (u64::from(self.bandwidth.value()) * AGGREGATION_MICROS) >> SCALE;
        u64::from(self.bursts[0].max(self.bursts[1])).min(most)
    }

    /// Bandwidth times round trip times `gain`, in segments.
    fn pipe(&self, window: &Window, gain: u64) -> u64 {
        if self.min_rtt == u32::MAX {
            return u64::from(window.cwnd.max(10)); // nothing measured: the initial window
        }
        let product = u128::from(self.bandwidth.value()) * u128::from(self.min_rtt) * u128::from(gain);
        u64::try_from((product >> 8).div_ceil(1 << SCALE)).unwrap_or(u64::MAX)
    }

    /// The pipe and what sending in small bursts and delayed ACKs need beyond it.
    fn quantised(&self, window: &Window, gain: u64, mss: u16) -> u64 {
        let burst = (self.rate / 1024 / u64::from(mss.max(1))).clamp(1, 44);
        let pipe = self.pipe(window, gain) + 3 * burst;
        let even = (pipe + 1) & !1;
        even + if self.mode == Mode::ProbeBandwidth && self.cycle == 0 { 2 } else { 0 }
    }

    fn update_cycle(&mut self, model: &Model) {
        if self.mode != Mode::ProbeBandwidth {
            return;
        }
        let full_length = since_micros(model.now, self.cycle_at) > u64::from(self.min_rtt);
        let window = Window::new(10);
        let over = match CYCLE[usize::from(self.cycle & 7)] {
            UNIT => full_length,
            gain if gain > UNIT => {
                let target = self.quantised(&window, gain, model.mss);
                full_length && (model.lost > 0 || u64::from(model.prior_in_flight) >= target)
            }
            _ => full_length || u64::from(model.prior_in_flight) <= self.quantised(&window, UNIT, model.mss),
        };
        if over {
            self.cycle = (self.cycle + 1) & 7;
            self.cycle_at = model.now;
        }
    }

    fn check_full(&mut self, model: &Model) {
        if self.full || !self.round_start || model.sample_app_limited {
            return;
        }
        let enough = u64::from(self.full_bandwidth) * 5 / 4;
        if u64::from(self.bandwidth.value()) >= enough {
            self.full_bandwidth = self.bandwidth.value();
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        self.full = self.full_rounds >= FULL_ROUNDS;
    }

    fn check_drain(&mut self, model: &Model) {
        let window = Window::new(10);
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && u64::from(model.in_flight) <= self.quantised(&window, UNIT, model.mss)
        {
            self.probe_bandwidth(model.now);
        }
    }

    /// Flows start their cycles at different places, chosen by what differs between them: the time. Never in
    /// the phase that drains, which would follow no probe.
    fn probe_bandwidth(&mut self, now: Instant) {
        self.mode = Mode::ProbeBandwidth;
        let phase = (now.nanos() / 1000 % 7) as u8;
        self.cycle = if phase == 0 { 0 } else { phase + 1 };
        self.cycle_at = now;
    }

    fn update_min_rtt(&mut self, window: &mut Window, model: &Model) {
        let expired = since_micros(model.now, self.min_rtt_at) > MIN_RTT_MICROS;
        if let Some(rtt) = model.rtt
            && (rtt <= self.min_rtt || (expired && !model.maybe_delayed))
        {
            self.min_rtt = rtt.max(1);
            self.min_rtt_at = model.now;
        }
        if expired && !self.restarting && self.mode != Mode::ProbeRtt && self.min_rtt != u32::MAX {
            self.save(window, false);
            self.mode = Mode::ProbeRtt;
            self.probe_rtt_done = Instant::NEVER;
        }
        if self.mode == Mode::ProbeRtt {
            if self.probe_rtt_done == Instant::NEVER {
                if model.in_flight <= MIN_WINDOW {
                    self.probe_rtt_done = model.now + core::time::Duration::from_micros(PROBE_RTT_MICROS);
                    self.probe_rtt_round_done = false;
                    self.round_end = model.delivered;
                }
            } else {
                self.probe_rtt_round_done |= self.round_start;
                if self.probe_rtt_round_done && model.now > self.probe_rtt_done {
                    self.min_rtt_at = model.now;
                    window.cwnd = window.cwnd.max(self.prior_cwnd);
                    match self.full {
                        true => self.probe_bandwidth(model.now),
                        false => self.mode = Mode::Startup,
                    }
                }
            }
        }
        if model.acked > 0 {
            self.restarting = false;
        }
    }

    /// Pacing rate: one percent below the bandwidth, so that queues drain.
    fn set_rate(&mut self, window: &Window, model: &Model, gain: u64) {
        let mss = u128::from(model.mss);
        if !self.has_rtt && model.srtt > 0 || self.rate == 0 {
            self.has_rtt |= model.srtt > 0;
            let rtt = if model.srtt > 0 { model.srtt } else { 1000 };
            let first = u128::from(window.cwnd) * mss * 1_000_000 * u128::from(HIGH_GAIN)
                / u128::from(UNIT)
                / u128::from(rtt);
            self.rate = u64::try_from(first).unwrap_or(u64::MAX);
        }
        let bytes = (u128::from(self.bandwidth.value()) * mss * 1_000_000 * u128::from(gain)) >> (SCALE + 8);
        let rate = u64::try_from(bytes * 99 / 100).unwrap_or(u64::MAX);
        // A segment each round trip is the least: samples across timeouts would otherwise stop the flow.
        let least = (u64::from(model.mss) * 1_000_000).checked_div(u64::from(model.srtt)).unwrap_or(1).max(1);
        if self.full || rate > self.rate {
            self.rate = rate.max(least);
        }
    }

    fn set_window(&mut self, window: &mut Window, model: &Model, gain: u64) {
        if model.acked > 0 && !self.recover(window, model) {
            let target = self.quantised(window, gain, model.mss) + self.room_for_bursts();
            let target = u32::try_from(target).unwrap_or(u32::MAX >> 1).min(u32::MAX >> 1);
            if self.full {
                window.cwnd = (window.cwnd + model.acked).min(target);
            } else if window.cwnd < target || model.delivered < 10 {
                window.cwnd += model.acked;
            }
            window.cwnd = window.cwnd.max(MIN_WINDOW);
        }
        window.cwnd = window.cwnd.min(window.clamp).max(1);
        if self.mode == Mode::ProbeRtt {
            window.cwnd = window.cwnd.min(MIN_WINDOW);
        }
    }

    /// A loss: the first round trip conserves packets (what was delivered may be sent), then the window comes
    /// back. True when conservation set the window.
    fn recover(&mut self, window: &mut Window, model: &Model) -> bool {
        if model.lost > 0 {
            window.cwnd = window.cwnd.saturating_sub(model.lost).max(1);
        }
        let (before, state) = (self.previous_state, model.ca_state);
        self.previous_state = state;
        if state == CaState::Recovery && before != CaState::Recovery {
            self.conserve = true;
            self.round_end = model.delivered;
            window.cwnd = model.in_flight + model.acked;
        } else if before >= CaState::Recovery && state < CaState::Recovery {
            window.cwnd = window.cwnd.max(self.prior_cwnd);
            self.conserve = false;
        }
        if self.conserve {
            window.cwnd = window.cwnd.max(model.in_flight + model.acked);
        }
        self.conserve
    }

    /// Where it stands, for tests.
    #[cfg(test)]
    pub(super) fn steady(&self) -> bool {
        self.mode == Mode::ProbeBandwidth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of `rate` segments a millisecond and 40 ms, fed by ACKs of a model pipe: each millisecond the
    /// bottleneck delivers what lies in its queue, at most `rate`.
    fn run(
        bbr: &mut Bbr,
        window: &mut Window,
        rate: u32,
        from_ms: u64,
        to_ms: u64,
        delivered: &mut u32,
    ) -> u32 {
        let mut flights: std::collections::VecDeque<(u64, u32)> = std::collections::VecDeque::new();
        let (mut in_flight, mut most, mut credit, mut free_at) = (0u32, 0u32, 0f64, from_ms as f64);
        for ms in from_ms..to_ms {
            let mut acked = 0;
            let mut prior = *delivered;
            let mut sent_at = ms;
            while let Some(&(due, at)) = flights.front() {
                if due > ms {
                    break;
                }
                (prior, sent_at) = (at, due);
                flights.pop_front();
                acked += 1;
            }
            *delivered += acked;
            let before = in_flight;
            in_flight -= acked;
            if acked > 0 {
                let model = Model {
                    now: Instant::from_millis(ms),
                    sample: Some((*delivered - prior, 40_000.max(((*delivered - prior) / rate) * 1000))),
                    sample_app_limited: false,
                    prior_delivered: prior,
                    delivered: *delivered,
                    acked,
                    lost: 0,
                    rtt: Some(40_000 + (ms - sent_at) as u32 * 1000),
                    maybe_delayed: false,
                    in_flight,
                    prior_in_flight: before,
                    srtt: 40_000,
                    mss: 1000,
                    ca_state: CaState::Open,
                };
                bbr.on_ack(window, &model);
            }
            credit += if bbr.rate == 0 { 10.0 } else { bbr.rate as f64 / 1e6 };
            while in_flight < window.cwnd && credit >= 1.0 {
                credit -= 1.0;
                free_at = free_at.max(ms as f64) + 1.0 / f64::from(rate);
                flights.push_back((free_at as u64 + 40, *delivered));
                in_flight += 1;
            }
            credit = credit.min(50.0);
            most = most.max(in_flight);
        }
        most
    }

    #[test]
    fn startup_finds_the_bandwidth_and_drain_leads_to_the_cycle() {
        let (mut bbr, mut window, mut delivered) = (Bbr::new(), Window::new(10), 0);
        bbr.min_rtt_at = Instant::from_millis(1000);
        run(&mut bbr, &mut window, 10, 1000, 3000, &mut delivered);
        assert!(bbr.full && bbr.steady(), "{bbr:?}");
        let bandwidth = f64::from(bbr.bandwidth.value()) * 1000.0 / f64::from(1u32 << SCALE);
        assert!((8.0..12.5).contains(&bandwidth), "{bandwidth} of 10 segments a millisecond");
        assert!((300..1300).contains(&window.cwnd), "{}", window.cwnd);
    }

    #[test]
    fn after_ten_seconds_without_a_smaller_round_trip_it_probes_for_one() {
        let (mut bbr, mut window, mut delivered) = (Bbr::new(), Window::new(10), 0);
        bbr.min_rtt_at = Instant::from_millis(1000);
        run(&mut bbr, &mut window, 10, 1000, 3000, &mut delivered);
        bbr.min_rtt = 1; // nothing will be smaller
        bbr.min_rtt_at = Instant::from_millis(3000);
        let sample = |ms: u64, in_flight, delivered| Model {
            now: Instant::from_millis(ms),
            sample: Some((10, 40_000)),
            sample_app_limited: false,
            prior_delivered: delivered,
            delivered,
            acked: 1,
            lost: 0,
            rtt: Some(41_000),
            maybe_delayed: false,
            in_flight,
            prior_in_flight: in_flight,
            srtt: 40_000,
            mss: 1000,
            ca_state: CaState::Open,
        };
        bbr.on_ack(&mut window, &sample(13_001, 100, delivered));
        assert_eq!((bbr.mode, window.cwnd), (Mode::ProbeRtt, MIN_WINDOW));
        bbr.on_ack(&mut window, &sample(13_050, 4, delivered + 1));
        bbr.on_ack(&mut window, &sample(13_100, 4, delivered + 20));
        assert_eq!(bbr.mode, Mode::ProbeRtt, "200 ms are not over");
        bbr.on_ack(&mut window, &sample(13_251, 4, delivered + 40));
        assert!(bbr.steady() && window.cwnd > MIN_WINDOW);
    }

    #[test]
    fn a_loss_conserves_packets_for_a_round_and_then_gives_the_window_back() {
        let (mut bbr, mut window, mut delivered) = (Bbr::new(), Window::new(10), 0);
        bbr.min_rtt_at = Instant::from_millis(1000);
        run(&mut bbr, &mut window, 10, 1000, 3000, &mut delivered);
        let before = window.cwnd;
        bbr.save(&window, false);
        let mut model = Model {
            now: Instant::from_millis(3001),
            sample: None,
            sample_app_limited: false,
            prior_delivered: 0,
            delivered,
            acked: 2,
            lost: 1,
            rtt: None,
            maybe_delayed: false,
            in_flight: 50,
            prior_in_flight: 53,
            srtt: 40_000,
            mss: 1000,
            ca_state: CaState::Recovery,
        };
        bbr.on_ack(&mut window, &model);
        assert_eq!(window.cwnd, 52);
        model.ca_state = CaState::Open;
        model.lost = 0;
        bbr.on_ack(&mut window, &model);
        assert!(window.cwnd >= before.min(600), "{} {before}", window.cwnd);
    }
}
