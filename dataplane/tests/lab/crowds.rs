//! Networks that are swept: more addresses than any table holds, and nobody at them.

use super::harness::{Lab, Packet, Role, wait_until};

/// Who is there, and is to stay known.
const GOOD: [&str; 2] = ["10.0.2.2", "fd00:2::2"];

pub fn a_sweep_of_empty_networks_is_bounded_and_harms_no_neighbour() {
    let mut lab = Lab::plan()
        .port_keys("wan", "addresses = [\"10.0.2.1/24\", \"10.5.0.1/16\", \"fd00:2::1/64\"]")
        .up();
    let ping = |lab: &Lab| {
        for to in GOOD {
            lab.client(&format!("ping -n -q -c 5 -i 0.01 -W 2 {to}")).says("5 received");
        }
    };
    ping(&lab);
    let wire = lab.wire(Role::Client);
    for part in 0..16u16 {
        for low in 0..4096u16 {
            let host = (part * 4096 + low).clamp(2, 65_534);
            wire.send(&Packet::udp(Role::Client, &format!("10.5.{}.{}", host >> 8, host & 255)).frame());
            wire.send(&Packet::udp(Role::Client, &format!("fd00:2::1:{host:x}")).frame());
        }
        ping(&lab);
    }
    let drops = |lab: &mut Lab, name| lab.flumen().tally("drops", name);
    wait_until("the rate of questions was held", 10, || drops(&mut lab, "neighbour-rate-limited") > 50_000);
    let shown = lab.flumen().json("neighbour --limit 4096");
    let neighbours = shown["neighbours"].as_array().expect("a list");
    assert!(neighbours.len() <= 4096 && neighbours.len() > 100, "{}", neighbours.len());
    for good in GOOD {
        let one = neighbours.iter().find(|one| one["address"] == good).expect("it is still known");
        let state = one["state"].as_str().expect("a word");
        assert!(["REACHABLE", "STALE", "DELAY", "PROBE"].contains(&state), "{good} is {state}");
    }
    // Those that never answered go, and what they held with them.
    wait_until("nothing waits any more", 60, || {
        let shown = lab.flumen().json("neighbour --limit 4096");
        let neighbours = shown["neighbours"].as_array().expect("a list").clone();
        neighbours.iter().all(|one| one["waiting"] == 0)
    });
    ping(&lab);
}
