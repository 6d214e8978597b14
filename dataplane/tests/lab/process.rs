//! The process `flumen run`: how it starts, ends, survives and idles.

use super::harness::{Flumen, Lab, wait_until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

fn ends_cleanly(signal: Signal) {
    let mut lab = Lab::up();
    lab.client("ping -n -c 5 -i 0.05 -W 2 10.0.2.2").must();
    let mut flumen = lab.take_flumen();
    flumen.signal(signal);
    let status = flumen.ended();
    assert!(status.success(), "{signal}: {status}\n{}", flumen.log());
    let log = flumen.log();
    for port in ["lan", "wan"] {
        assert!(log.lines().rev().take(30).any(|line| line.contains(port)), "no totals of {port}:\n{log}");
    }
    // The program is detached: the kernel has the interface to itself again.
    let links = lab.router("ip -d link show").must();
    assert!(!links.contains("xdp"), "{links}");
    assert!(!lab.socket().exists(), "the control socket is left behind");
}

pub fn sigterm_ends_it_cleanly_with_totals() {
    ends_cleanly(Signal::SIGTERM);
}

pub fn sigint_ends_it_cleanly_with_totals() {
    ends_cleanly(Signal::SIGINT);
}

pub fn after_sigkill_a_second_start_works_at_once() {
    let mut lab = Lab::up();
    for _ in 0..3 {
        lab.client("ping -n -c 1 -W 2 10.0.2.2").must();
        let mut flumen = lab.take_flumen();
        flumen.signal(Signal::SIGKILL);
        flumen.ended();
        lab.start_flumen();
    }
    lab.client("ping -n -c 3 -i 0.1 -W 2 10.0.2.2").must();
}

pub fn a_second_instance_on_the_same_port_is_refused_with_a_clear_message() {
    let lab = Lab::up();
    let first = std::fs::read_to_string(lab.config_path()).expect("the configuration");
    let other_socket = first.replace("control.sock", "second.sock");
    std::fs::write(lab.config_path(), other_socket).expect("the lab's folder");
    let mut second = Flumen::launch(&lab);
    let status = second.ended();
    let log = second.log();
    assert!(!status.success(), "{log}");
    assert!(log.contains("port lan: lan is in use: another XDP program is on it"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    lab.client("ping -n -c 3 -i 0.1 -W 2 10.0.2.2").must(); // the first goes on
}

pub fn an_interface_of_its_own_that_goes_down_and_comes_back_is_survived() {
    let mut lab = Lab::up();
    let pings = |lab: &Lab, to: &str| lab.client(&format!("ping -n -c 1 -W 1 {to}")).ok;
    lab.router("ip link set wan down").must();
    assert!(!pings(&lab, "10.0.2.2"));
    assert!(pings(&lab, "10.0.1.1"), "the other port goes on");
    assert!(lab.flumen().runs());
    lab.router("ip link set wan up").must();
    wait_until("the port works again", 20, || pings(&lab, "10.0.2.2") && pings(&lab, "fd00:2::2"));
}

pub fn an_interface_that_is_deleted_is_survived_and_reported() {
    let mut lab = Lab::up();
    lab.client("ping -n -c 1 -W 2 10.0.2.2").must();
    lab.router("ip link delete wan").must();
    wait_until("the log reports it", 10, || {
        lab.flumen().log().lines().any(|line| line.contains("wan") && line.contains("gone"))
    });
    lab.client("ping -n -c 5 -i 0.1 -W 2 10.0.1.1").must();
    lab.client("ping -n -c 5 -i 0.1 -W 2 fd00:1::1").must();
    assert!(lab.flumen().runs());
}

pub fn an_idle_router_uses_under_two_percent_of_a_core() {
    let mut lab = Lab::up();
    lab.client("ping -n -c 3 -i 0.1 -W 2 10.0.2.2").must();
    let flumen = lab.flumen();
    let percent = || {
        let (begin, before) = (Instant::now(), flumen.cpu_ticks());
        std::thread::sleep(Duration::from_secs(3)); // the window of the measurement
        let used = flumen.cpu_ticks() - before;
        // A ratio: processor time used (ticks of 10 ms) over the time that passed, however long that was.
        used as f64 * 10.0 / begin.elapsed().as_millis() as f64 * 100.0
    };
    // What others do to the processor can only add: the least of a few windows counts.
    let mut least = f64::INFINITY;
    for _ in 0..4 {
        least = least.min(percent());
        if least < 2.0 {
            return;
        }
    }
    panic!("{least:.1} % of a core when idle");
}

pub fn show_answers_every_question() {
    let mut lab = Lab::up();
    lab.client("ping -n -c 3 -i 0.1 -W 2 10.0.2.2").must();
    lab.client("ping -n -c 3 -i 0.1 -W 2 fd00:2::2").must();
    let flumen = lab.flumen();
    for (what, needle) in [
        ("port", "wan"),
        ("core", "lan"),
        ("route", "10.0.2.0/24"),
        ("tables", "main"),
        ("rules", "table main"),
        ("multicast", "groups are not routed"),
        ("reassembly", "memory"),
        ("neighbour", "02:00:00:00:02:02"),
        ("drops", ""),
        ("runtime", ""),
    ] {
        let table = flumen.show(what).must();
        assert!(table.contains(needle), "show {what} does not mention {needle}:\n{table}");
        let json = flumen.show(&format!("{what} --json")).must();
        serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|error| panic!("{what}: {error}\n{json}"));
    }
}
