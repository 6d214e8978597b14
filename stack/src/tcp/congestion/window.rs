//! The congestion window, in segments, and the two ways it grows (RFC 5681 section 3.1).

/// No threshold: slow start until the first loss.
pub(crate) const NO_THRESHOLD: u32 = u32::MAX;

/// Window and threshold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Segments that may be in flight; never 0.
    pub(crate) cwnd: u32,
    /// Below it the window grows by slow start.
    pub(crate) ssthresh: u32,
    /// Segments that were acknowledged towards the next step of additive increase.
    pub(crate) counted: u32,
    /// The window grows no further than this.
    pub(crate) clamp: u32,
}

impl Window {
    pub(crate) fn new(initial: u16) -> Window {
        Window { cwnd: u32::from(initial).max(1), ssthresh: NO_THRESHOLD, counted: 0, clamp: u32::MAX >> 1 }
    }

    #[inline]
    pub(crate) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Slow start: a segment for each acknowledged one, up to the threshold (RFC 5681 section 3.1, appropriate
    /// byte counting of RFC 3465 without a bound, as Linux: receivers that acknowledge whole bursts are
    /// common). Gives what is left of `acked`.
    pub(crate) fn slow_start(&mut self, acked: u32) -> u32 {
        let room = self.ssthresh.saturating_sub(self.cwnd);
        let step = acked.min(room);
        self.cwnd = (self.cwnd + step).min(self.clamp).max(1);
        acked - step
    }

    /// Additive increase: a segment for each `per` acknowledged ones (RFC 5681 section 3.1 equation 3).
    pub(crate) fn increase(&mut self, per: u32, acked: u32) {
        let per = per.max(1);
        if self.counted >= per {
            self.counted = 0;
            self.cwnd += 1;
        }
        self.counted += acked;
        if self.counted >= per {
            self.cwnd += self.counted / per;
            self.counted %= per;
        }
        self.cwnd = self.cwnd.min(self.clamp).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5681_3_1_slow_start_ends_at_the_threshold_and_gives_back_what_is_left() {
        let mut window = Window::new(10);
        window.ssthresh = 12;
        assert_eq!((window.slow_start(5), window.cwnd), (3, 12));
        assert!(!window.in_slow_start());
    }

    #[test]
    fn rfc5681_3_1_a_window_of_acknowledgements_adds_one_segment() {
        let mut window = Window::new(10);
        (0..10).for_each(|_| window.increase(10, 1));
        assert_eq!(window.cwnd, 11);
        window.increase(10, 35);
        assert_eq!((window.cwnd, window.counted), (14, 5));
    }

    #[test]
    fn the_clamp_bounds_both() {
        let mut window = Window { clamp: 11, ..Window::new(10) };
        window.slow_start(100);
        assert_eq!(window.cwnd, 11);
        window.increase(1, 100);
        assert_eq!(window.cwnd, 11);
    }
}
