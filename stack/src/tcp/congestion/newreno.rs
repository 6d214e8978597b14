//! NewReno (RFC 5681, RFC 6582): half the window at a loss, one segment more each round trip.

use super::Growth;
use super::window::Window;
use crate::limits::MIN_SSTHRESH;

/// RFC 5681 section 3.1 equation 4.
pub(super) fn ssthresh(window: &Window) -> u32 {
    (window.cwnd / 2).max(MIN_SSTHRESH)
}

/// An ACK of new data.
pub(super) fn grow(window: &mut Window, growth: &Growth) {
    if !growth.cwnd_limited {
        return; // RFC 7661 section 4.2: a window that was not used says nothing about the path
    }
    let mut acked = growth.acked;
    if window.in_slow_start() {
        acked = window.slow_start(acked);
    }
    if acked > 0 {
        window.increase(window.cwnd, acked);
    }
}
