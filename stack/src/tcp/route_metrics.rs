//! What a route says to the connections that take it: Linux's `advmss`, `window` and `initcwnd`.
//!
//! It is heard once, when the connection begins: a route that changes later leaves connections as they are.

use super::connection::Connection;
use crate::route::RouteMetrics;

impl Connection {
    /// Takes what the route to the peer says. Before the SYN leaves, or right after a handshake that a listener did.
    pub(super) fn obey_route(&mut self, metrics: RouteMetrics) {
        let RouteMetrics { mtu: _, advmss, window, initcwnd } = metrics; // the MTU is the path's
        if advmss > 0 {
            self.rx.advertised_mss = self.rx.advertised_mss.min(advmss);
        }
        if window > 0 {
            self.rx.set_bound(window);
        }
        if initcwnd > 0 {
            self.sender.begin_with(u16::from(initcwnd));
        }
    }
}
