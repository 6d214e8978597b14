//! Links that fail and come back.

use super::harness::{Lab, wait_until};

pub fn a_link_that_goes_down_and_comes_back_carries_traffic_again() {
    let lab = Lab::up();
    let pings = |to: &str| lab.client(&format!("ping -n -c 1 -W 1 {to}")).ok;
    assert!(pings("10.0.2.2") && pings("fd00:2::2"));
    lab.server("ip link set wan0 down").must(); // the router loses its carrier
    assert!(!pings("10.0.2.2"));
    assert!(pings("10.0.1.1"), "the other port goes on");
    lab.server("ip link set wan0 up").must();
    // What Linux forgets about an interface that was down.
    lab.server("ip route replace default via 10.0.2.1").must();
    lab.server("ip address replace fd00:2::2/64 dev wan0 nodad").must();
    lab.server("ip route replace default via fd00:2::1").must();
    for to in ["10.0.2.2", "fd00:2::2"] {
        wait_until("the link carries traffic again", 20, || pings(to));
    }
}
