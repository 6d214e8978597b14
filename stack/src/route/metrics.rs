//! Metrics of a route: what an operator says about the way behind it (Linux's RTAX_MTU, RTAX_ADVMSS, RTAX_WINDOW
//! and RTAX_INITCWND).
//!
//! The MTU bounds what is forwarded by the route and what we send by it; the rest is for TCP connections of our
//! own. Zero means that the route says nothing. They belong to the next hop in the table that readers read, in one
//! word, so that a lookup finds them beside the way itself:
//!
//! ```text
//!   | initcwnd (8) | window (24) | advmss (16) | mtu (16) |
//! ```

/// What a route says about its way; zero: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RouteMetrics {
    /// The largest packet, in bytes, where the link would take a longer one.
    pub mtu: u16,
    /// The largest segment that peers of our TCP connections are asked to send (RFC 9293 section 3.7.1).
    pub advmss: u16,
    /// The largest window, in bytes, that our TCP connections offer; below [`RouteMetrics::MAX_WINDOW`].
    pub window: u32,
    /// Segments that our TCP connections begin with (RFC 6928).
    pub initcwnd: u8,
}

impl RouteMetrics {
    /// A route that says nothing.
    pub const NONE: RouteMetrics = RouteMetrics { mtu: 0, advmss: 0, window: 0, initcwnd: 0 };

    /// The largest window that the word has room for, 16 MiB less one byte.
    pub const MAX_WINDOW: u32 = (1 << 24) - 1;

    /// The word; a window beyond the most is the most.
    pub(crate) fn to_word(self) -> u64 {
        let window = self.window.min(Self::MAX_WINDOW);
        u64::from(self.initcwnd) << 56
            | u64::from(window) << 32
            | u64::from(self.advmss) << 16
            | u64::from(self.mtu)
    }

    /// What a word says.
    pub(crate) const fn from_word(word: u64) -> Self {
        RouteMetrics {
            mtu: word as u16,
            advmss: (word >> 16) as u16,
            window: (word >> 32) as u32 & Self::MAX_WINDOW,
            initcwnd: (word >> 56) as u8,
        }
    }

    /// The MTU of a link or a path, as far as the route lets it be used.
    #[inline]
    pub const fn bound_mtu(self, mtu: u16) -> u16 {
        if self.mtu != 0 && self.mtu < mtu { self.mtu } else { mtu }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_holds_them_all(mtu: u16, advmss: u16, window in 0u32..1 << 24, initcwnd: u8) {
            let metrics = RouteMetrics { mtu, advmss, window, initcwnd };
            prop_assert_eq!(RouteMetrics::from_word(metrics.to_word()), metrics);
        }
    }

    #[test]
    fn a_window_beyond_the_word_is_the_largest_that_it_holds() {
        let metrics = RouteMetrics { window: RouteMetrics::MAX_WINDOW + 1, ..RouteMetrics::NONE };
        assert_eq!(RouteMetrics::from_word(metrics.to_word()).window, RouteMetrics::MAX_WINDOW);
    }

    #[test]
    fn the_smaller_of_route_and_link_is_what_fits() {
        let says = |mtu| RouteMetrics { mtu, ..RouteMetrics::NONE };
        assert_eq!(says(0).bound_mtu(1500), 1500);
        assert_eq!(says(1400).bound_mtu(1500), 1400);
        assert_eq!(says(9000).bound_mtu(1500), 1500);
    }
}
