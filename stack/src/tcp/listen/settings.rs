//! What the owner of a listener may choose, with Linux's defaults.

use crate::limits::MAX_BACKLOG;
use crate::tcp::challenge::CONNECTION_INTERVAL;
use core::time::Duration;

/// When SYN cookies take the place of requests (Linux: `tcp_syncookies`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CookiePolicy {
    /// Never: beyond the queue SYNs are dropped.
    Never,
    /// While the queue of requests is full.
    #[default]
    UnderPressure,
    /// For every SYN.
    Always,
}

/// A listener's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenSettings {
    /// What `listen` was called with: requests, and connections in the accept queue, may each be one more. At
    /// most [`MAX_BACKLOG`] counts.
    pub backlog: usize,
    /// SYN cookies.
    pub cookies: CookiePolicy,
    /// Retransmissions of a SYN-ACK (`tcp_synack_retries`).
    pub synack_retries: u8,
    /// A full accept queue resets connections instead of making them wait (`tcp_abort_on_overflow`).
    pub abort_on_overflow: bool,
    /// Connections are accepted when data came, or after this time (TCP_DEFER_ACCEPT); zero turns it off.
    pub defer_accept: Duration,
    /// Connections that may be open before their handshake is complete (TCP_FASTOPEN), at most the backlog; 0 turns fast
    /// open off.
    pub fast_open: usize,
    /// Fast open without cookies (TCP_FASTOPEN_NO_COOKIE): for networks in which sources cannot be forged.
    pub fast_open_without_cookie: bool,
    /// The largest segment that we announce, and that we send (TCP_MAXSEG).
    pub max_segment: Option<u16>,
    /// Window scaling is offered (RFC 7323).
    pub window_scaling: bool,
    /// Timestamps are offered (RFC 7323).
    pub timestamps: bool,
    /// SACK is permitted (RFC 2018).
    pub sack: bool,
    /// ECN is granted to who asks for it (RFC 3168).
    pub ecn: bool,
    /// Least time between two answers of one request to segments out of window (`tcp_invalid_ratelimit`).
    pub invalid_ratelimit: Duration,
    /// Bytes up to which the receive window may grow: decides its shift.
    pub max_window: u32,
    /// The receive buffer in bytes of data: the SYN-ACK offers as many whole segments of it as its field can say.
    pub receive_buffer: u32,
}

impl Default for ListenSettings {
    fn default() -> Self {
        ListenSettings {
            backlog: 128,
            cookies: CookiePolicy::UnderPressure,
            synack_retries: 5,
            abort_on_overflow: false,
            defer_accept: Duration::ZERO,
            fast_open: 0,
            fast_open_without_cookie: false,
            max_segment: None,
            window_scaling: true,
            timestamps: true,
            sack: true,
            ecn: true,
            invalid_ratelimit: CONNECTION_INTERVAL,
            max_window: 6 << 20,
            receive_buffer: 65_536,
        }
    }
}

impl ListenSettings {
    /// What counts of the backlog.
    pub fn backlog(&self) -> usize {
        self.backlog.min(MAX_BACKLOG)
    }

    /// The shift that lets the field say `max_window` (RFC 7323 section 2.3: 14 at most).
    pub(super) fn shift(&self) -> u8 {
        (0..14).find(|&shift| self.max_window >> shift <= 65_535).unwrap_or(14)
    }

    /// How many timeouts of a SYN-ACK fit into the time of deferred accepting: 1, 1+2, 1+2+4 ... seconds.
    pub(super) fn defer_timeouts(&self) -> u8 {
        if self.defer_accept.is_zero() {
            return 0;
        }
        let (mut count, mut period) = (1u8, super::timeout(0));
        while self.defer_accept > period && count < u8::MAX {
            period += super::timeout(count);
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_is_the_smallest_that_says_the_window() {
        let shift = |max_window| ListenSettings { max_window, ..ListenSettings::default() }.shift();
        assert_eq!(
            [shift(0), shift(65_535), shift(65_536), shift(6 << 20), shift(u32::MAX)],
            [0, 0, 1, 7, 14]
        );
    }

    #[test]
    fn seconds_of_deferring_become_timeouts_as_in_linux() {
        let timeouts = |seconds| {
            let defer_accept = Duration::from_secs(seconds);
            ListenSettings { defer_accept, ..ListenSettings::default() }.defer_timeouts()
        };
        assert_eq!([0, 1, 2, 3, 4, 7, 8].map(timeouts), [0, 1, 2, 2, 3, 3, 4]);
        assert_eq!(timeouts(u64::MAX), u8::MAX);
    }
}
