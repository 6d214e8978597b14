//! CUBIC (RFC 9438), with HyStart++ in slow start.
//!
//! ```text
//!   W(t) = C (t - K)³ + W_max          W_max ┄┄┄┄┄┄┄┄┄╭───────╯   concave up to the window at which the last
//!   K    = cbrt((W_max - W_0) / C)             ╭──╯              loss came, a plateau there, then convex:
//!   C    = 0.4, t in seconds            W_0 ──╯   K              growth depends on time, not on round trips
//! ```
//! Where Reno would be faster (short round trips, small windows), Reno's window is followed (section 4.3).
//! As Linux: the time is looked at one smallest round trip ahead, and a timeout forgets the past.

use super::Growth;
use super::hystart::HyStart;
use super::window::Window;
use crate::Instant;
use crate::limits::MIN_SSTHRESH;

/// RFC 9438 section 5: C, in segments per second cubed.
const C: f64 = 0.4;
/// RFC 9438 section 4.6: what is left of the window after a loss.
const BETA: f64 = 0.7;
/// RFC 9438 section 4.3: Reno's growth, when its reduction is [`BETA`] too.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Before the first loss there is no plateau to look for: grow by a segment for each 20 acknowledged at least.
const EAGER: f64 = 1.0 / 20.0;

/// The state. Windows are in segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cubic {
    /// When this climb began; `Instant::ZERO` is "it has not".
    epoch: Instant,
    /// The window before the last reduction; 0 before the first.
    w_max: f32,
    /// The plateau of this climb.
    origin: f32,
    /// Seconds from the climb's beginning to the plateau.
    k: f32,
    /// Reno's window.
    w_est: f32,
    /// Growth that is not a whole segment yet.
    fraction: f32,
    hystart: HyStart,
}

impl Cubic {
    pub(super) const fn new() -> Cubic {
        Cubic {
            epoch: Instant::ZERO,
            w_max: 0.0,
            origin: 0.0,
            k: 0.0,
            w_est: 0.0,
            fraction: 0.0,
            hystart: HyStart::new(),
        }
    }

    /// RFC 9438 sections 4.6 and 4.7 (fast convergence: a flow that lost before it came back to its last
    /// plateau makes room for others).
    pub(super) fn ssthresh(&mut self, window: &Window) -> u32 {
        let cwnd = f64::from(window.cwnd);
        self.epoch = Instant::ZERO;
        let less = if cwnd < f64::from(self.w_max) { (1.0 + BETA) / 2.0 } else { 1.0 };
        self.w_max = (cwnd * less) as f32;
        ((cwnd * BETA) as u32).max(MIN_SSTHRESH)
    }

    /// A timeout: the path may be another one (as Linux).
    pub(super) fn forget(&mut self) {
        *self = Cubic::new();
    }

    /// Sending begins again after `idle`: that time does not count (RFC 9438 section 5.8).
    pub(super) fn resume(&mut self, now: Instant, idle: core::time::Duration) {
        if self.epoch != Instant::ZERO {
            self.epoch = (self.epoch + idle).min(now);
        }
    }

    /// An ACK of new data.
    pub(super) fn grow(&mut self, window: &mut Window, growth: &Growth) {
        if !growth.cwnd_limited {
            return;
        }
        let mut acked = growth.acked;
        if window.in_slow_start() {
            let worth = self.hystart.on_ack(window, growth);
            acked = window.slow_start(worth);
            if acked == 0 {
                return;
            }
        }
        let cwnd = f64::from(window.cwnd);
        let acked = f64::from(acked);
        if self.epoch == Instant::ZERO {
            self.climb(growth.now, cwnd);
        }
        let ahead = f64::from(growth.min_rtt.unwrap_or(0)) / 1e6;
        let t = growth.now.since(self.epoch).as_secs_f64() + ahead - f64::from(self.k);
        let target = (C * t * t * t + f64::from(self.origin)).min(1.5 * cwnd); // section 4.4
        let mut step = (target - cwnd).max(0.0) / cwnd * acked;
        if self.w_max == 0.0 {
            step = step.max(acked * EAGER);
        } else {
            step = step.max(acked / (100.0 * cwnd)); // near the plateau it still creeps (as Linux)
        }
        // Section 4.3: never slower than Reno would be; above the old plateau Reno grows by one a round trip.
        let alpha = if f64::from(self.w_est) < f64::from(self.w_max) { ALPHA } else { 1.0 };
        self.w_est += (alpha * acked / cwnd) as f32;
        if f64::from(self.w_est) > cwnd + step {
            step = f64::from(self.w_est) - cwnd;
        }
        self.take(window, step.min(acked / 2.0));
    }

    /// A new climb begins (RFC 9438 section 4.2).
    fn climb(&mut self, now: Instant, cwnd: f64) {
        self.epoch = now;
        self.fraction = 0.0;
        self.w_est = cwnd as f32;
        if f64::from(self.w_max) > cwnd {
            self.k = ((f64::from(self.w_max) - cwnd) / C).cbrt() as f32;
            self.origin = self.w_max;
        } else {
            self.k = 0.0;
            self.origin = cwnd as f32;
        }
    }

    fn take(&mut self, window: &mut Window, step: f64) {
        let sum = f64::from(self.fraction) + step;
        let whole = sum as u32;
        self.fraction = (sum - f64::from(whole)) as f32;
        window.cwnd = window.cwnd.saturating_add(whole).min(window.clamp).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::Seq;

    fn growth(now: Instant, acked: u32) -> Growth {
        Growth {
            now,
            acked,
            rtt: Some(100_000),
            min_rtt: Some(100_000),
            una: Seq(0),
            nxt: Seq(0),
            cwnd_limited: true,
        }
    }

    /// Grows for some time, one window of ACKs each 100 ms.
    fn run(cubic: &mut Cubic, window: &mut Window, from_ms: u64, to_ms: u64) {
        for ms in (from_ms..to_ms).step_by(100) {
            for _ in 0..window.cwnd {
                cubic.grow(window, &growth(Instant::from_millis(ms), 1));
            }
        }
    }

    #[test]
    fn rfc9438_4_6_a_loss_leaves_seven_tenths_and_remembers_the_window() {
        let (mut cubic, window) = (Cubic::new(), Window::new(1000));
        assert_eq!(cubic.ssthresh(&window), 700);
        assert_eq!(cubic.w_max, 1000.0);
    }

    #[test]
    fn rfc9438_4_7_a_second_loss_below_the_plateau_remembers_less() {
        let mut cubic = Cubic::new();
        cubic.ssthresh(&Window::new(1000));
        assert_eq!(cubic.ssthresh(&Window::new(800)), 560);
        assert_eq!(cubic.w_max, 680.0);
    }

    #[test]
    fn rfc9438_4_2_the_plateau_is_reached_after_k_seconds_and_left_behind() {
        let (mut cubic, mut window) = (Cubic::new(), Window::new(1000));
        window.ssthresh = cubic.ssthresh(&window);
        window.cwnd = window.ssthresh;
        let k_ms = ((300.0f64 / C).cbrt() * 1000.0) as u64; // 9.1 s
        run(&mut cubic, &mut window, 1_000, 1_000 + k_ms / 2);
        assert!((930..990).contains(&window.cwnd), "steep at first: {}", window.cwnd);
        run(&mut cubic, &mut window, 1_000 + k_ms / 2, 1_000 + k_ms);
        assert!((985..1015).contains(&window.cwnd), "flat at the plateau: {}", window.cwnd);
        run(&mut cubic, &mut window, 1_000 + k_ms, 1_000 + 2 * k_ms);
        assert!((1250..1400).contains(&window.cwnd), "steep beyond it: {}", window.cwnd);
    }

    #[test]
    fn rfc9438_4_3_a_small_window_grows_as_reno_does() {
        let (mut cubic, mut window) = (Cubic::new(), Window::new(10));
        window.ssthresh = cubic.ssthresh(&window);
        window.cwnd = window.ssthresh;
        run(&mut cubic, &mut window, 1_000, 3_000);
        assert!(window.cwnd >= 7 + (20.0 * ALPHA) as u32 - 1, "{}", window.cwnd);
    }

    #[test]
    fn a_window_that_was_not_used_does_not_grow() {
        let (mut cubic, mut window) = (Cubic::new(), Window::new(10));
        cubic.grow(&mut window, &Growth { cwnd_limited: false, ..growth(Instant::from_millis(1), 10) });
        assert_eq!(window.cwnd, 10);
    }

    #[test]
    fn rfc9438_5_8_idle_time_does_not_count() {
        let mut cubic = Cubic::new();
        let mut window = Window { ssthresh: 700, cwnd: 700, ..Window::new(1000) };
        cubic.w_max = 1000.0;
        cubic.grow(&mut window, &growth(Instant::from_millis(1_000), 1));
        cubic.resume(Instant::from_millis(61_100), core::time::Duration::from_secs(60));
        run(&mut cubic, &mut window, 61_100, 61_300);
        assert!(window.cwnd < 760, "{}", window.cwnd);
    }
}
