//! The generator with real packets: through `flumen run`, over veth, with counts that must agree. As root; without, the
//! tests are ignored, and `scripts/check` says so.
#![allow(clippy::panic)] // a test fails by panicking

mod harness;

use harness::{BENCH, Lab, PKTGEN};
use libtest_mimic::{Arguments, Trial};
use std::process::Output;
use std::time::{Duration, Instant};

/// From the client's end of `lan` through the router to its end of `wan`.
const THROUGH: [&str; 12] = [
    "--tx",
    "lan0",
    "--rx",
    "wan0",
    "--tx-address",
    "10.0.1.2/32",
    "--rx-address",
    "10.0.2.0/24",
    "--next-hop",
    "10.0.1.1",
    "--destination",
    "10.0.2.2",
];

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a count, not {value}"))
}

fn counts_agree_from_the_sender_through_the_router_to_the_receiver() {
    let lab = Lab::up();
    let options =
        ["--rate", "2 kpps", "--count", "6000", "--size", "imix", "--flows", "100", "--sequence", "flow"];
    let fields = ["--source-port", "1024..2047", "--destination-port", "random 1..65535"];
    let report = lab.report(&[&THROUGH[..], &options, &fields].concat());
    let (tx, rx) = (&report["tx"], &report["rx"]);
    assert_eq!(number(&tx["frames"]), 6000);
    assert_eq!((number(&rx["marked"]), number(&rx["lost"])), (6000, 0), "{report}");
    assert_eq!((number(&rx["duplicates"]), number(&rx["reordered"]), number(&rx["streams"])), (0, 0, 100));
    assert!(number(&rx["latency"]["count"]) == 6000 && number(&rx["latency"]["least"]) > 0, "{report}");
    // 6000 = 500 rounds of 7 x 64, 4 x 594, 1 x 1518.
    assert_eq!(number(&tx["bytes"]), 500 * (7 * 64 + 4 * 594 + 1518));
    assert_eq!(number(&rx["other"]), 0, "{report}");
    // What the router counted: ours, and its own talk with neighbours.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let (lan, wan) = (lab.port("lan"), lab.port("wan"));
        let (came, left) = (number(&lan["traffic"]["rx_packets"]), number(&wan["traffic"]["tx_packets"]));
        if (6000..6020).contains(&came) && (6000..6020).contains(&left) {
            break;
        }
        assert!(Instant::now() < deadline, "the router counts {came} in and {left} out");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ipv6_is_carried_too_and_the_next_hop_is_found_by_neighbour_discovery() {
    let lab = Lab::up();
    let report = lab.report(&[
        "--tx",
        "lan0",
        "--rx",
        "wan0",
        "--tx-address",
        "fd00:1::2/128",
        "--rx-address",
        "fd00:2::/64",
        "--next-hop",
        "fd00:1::1",
        "--destination",
        "fd00:2::2..fd00:2::9",
        "--size",
        "90",
        "--rate",
        "1 kpps",
        "--count",
        "1000",
    ]);
    assert_eq!((number(&report["tx"]["frames"]), number(&report["rx"]["marked"])), (1000, 1000), "{report}");
}

fn echoes_of_the_router_come_back_with_their_marks() {
    let lab = Lab::up();
    let report = lab.report(&[
        "--tx",
        "lan0",
        "--rx",
        "lan0",
        "--tx-address",
        "10.0.1.2/32",
        "--protocol",
        "icmp",
        "--destination",
        "10.0.1.1",
        "--rate",
        "200 pps",
        "--count",
        "200",
    ]);
    assert_eq!((number(&report["tx"]["frames"]), number(&report["rx"]["marked"])), (200, 200), "{report}");
}

fn sender_and_receiver_may_be_two_processes() {
    let lab = Lab::up();
    let receiver = lab.client(
        PKTGEN,
        &[
            "--json",
            "--quiet",
            "--rx",
            "wan0",
            "--rx-address",
            "10.0.2.0/24",
            "--count",
            "500",
            "--duration",
            "30s",
        ],
    );
    let receiver = { receiver }.spawn().expect("ip runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !lab.has_program("wan0") {
        assert!(Instant::now() < deadline, "the receiver does not open its port");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent = lab.report(&[
        "--tx",
        "lan0",
        "--tx-address",
        "10.0.1.2/32",
        "--next-hop",
        "10.0.1.1",
        "--destination",
        "10.0.2.2",
        "--rate",
        "500 pps",
        "--count",
        "700",
    ]);
    assert_eq!(number(&sent["tx"]["frames"]), 700);
    assert!(sent["rx"].is_null());
    let output = receiver.wait_with_output().expect("it ends at its count");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(number(&report["rx"]["marked"]) >= 500, "{report}");
    assert_eq!(number(&report["rx"]["lost"]), 0, "{report}");
    assert!(number(&report["rx"]["latency"]["count"]) >= 500, "one clock for all processes: {report}");
}

/// The router finds the receiver's address. Until it has, it keeps but a few packets, and a sender that a pause of the machine
/// held up sends more than those at once.
fn know_each_other(lab: &Lab) {
    lab.report(&[&THROUGH[..], &["--rate", "100 pps", "--count", "20"]].concat());
}

fn several_queues_and_processors_share_a_count_and_lose_nothing() {
    let lab = Lab::up();
    know_each_other(&lab);
    let options = ["--rate", "2 kpps", "--count", "4001", "--flows", "64", "--sequence", "flow"];
    let queues = [
        "--tx-queues",
        "2",
        "--tx-cpus",
        "0,1",
        "--rx-queues",
        "2",
        "--rx-cpus",
        "1,0",
        "--source-port",
        "1024..1087",
    ];
    let report = lab.report(&[&THROUGH[..], &options, &queues].concat());
    let (tx, rx) = (&report["tx"], &report["rx"]);
    assert_eq!(
        (number(&tx["frames"]), number(&rx["marked"]), number(&rx["lost"])),
        (4001, 4001, 0),
        "{report}"
    );
    assert_eq!(number(&rx["duplicates"]), 0, "{report}");
}

/// A VLAN beside the untagged network of `lan`.
const OFFICE: &str = r#"
[[port]]
name = "office"
kind = "vlan"
parent = "lan"
vlan = 100
addresses = ["10.0.100.1/24"]
forwarding = true
"#;

fn a_vlan_is_sent_with_its_tag_and_received_with_it() {
    let lab = Lab::up_with(&["--offloads", "off"], OFFICE);
    let tagged =
        ["--size", "100", "--vlan", "100", "--vlan-priority", "5", "--rate", "1 kpps", "--count", "300"];
    // From the VLAN to the untagged network, and an echo that stays in the VLAN. Neighbours are asked with the tag.
    let through = lab.report(
        &[
            &["--tx", "lan0", "--rx", "wan0", "--tx-address", "10.0.100.2/32", "--rx-address", "10.0.2.0/24"]
                [..],
            &["--next-hop", "10.0.100.1", "--destination", "10.0.2.2"],
            &tagged,
        ]
        .concat(),
    );
    assert_eq!((number(&through["tx"]["frames"]), number(&through["rx"]["marked"])), (300, 300), "{through}");
    let echoed = lab.report(
        &[
            &["--tx", "lan0", "--rx", "lan0", "--tx-address", "10.0.100.2/32", "--protocol", "icmp"][..],
            &["--destination", "10.0.100.1"],
            &tagged,
        ]
        .concat(),
    );
    assert_eq!((number(&echoed["tx"]["frames"]), number(&echoed["rx"]["marked"])), (300, 300), "{echoed}");
    assert!(number(&lab.port("office")["traffic"]["rx_packets"]) >= 600);
}

fn jumbo_frames_pass_whole_and_no_longer_ones_are_made() {
    let lab = Lab::up_with(&["--mtu", "9000"], "");
    let options = ["--size", "64,1518,9018", "--rate", "1 kpps", "--count", "900"];
    let report = lab.report(&[&THROUGH[..], &options].concat());
    let (tx, rx) = (&report["tx"], &report["rx"]);
    assert_eq!(
        (number(&tx["frames"]), number(&rx["marked"]), number(&rx["lost"])),
        (900, 900, 0),
        "{report}"
    );
    assert_eq!(number(&tx["bytes"]), 300 * (64 + 1518 + 9018), "{report}");
    fails(
        &lab.run(PKTGEN, &[&THROUGH[..], &["--size", "9019", "--count", "1"]].concat()),
        &["9019 bytes are too long", "MTU of 9000"],
    );
}

fn iperf3_through_the_router_is_measured_and_reported() {
    let lab = Lab::up_for_programs();
    let out = lab.folder().join("iperf");
    let out = out.to_str().expect("ASCII");
    let (client, server) = (lab.namespace("client"), lab.namespace("server"));
    let output = std::process::Command::new(BENCH)
        .args(["iperf", "--server", "10.0.2.2", "--server", "fd00:2::2", "--rounds", "1", "--seconds", "1"])
        .args(["--programs", "iperf3"])
        .args(["--client-netns", &client, "--server-netns", &server, "--udp-rate", "10M", "--out", out])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(format!("{out}/report.json")).expect("it is written");
    for word in ["iperf3", "10.0.2.2", "fd00:2::2"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let _: serde_json::Value = serde_json::from_str(&text).expect("JSON");
}

/// Failed with one line that contains all of this.
fn fails(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = error.lines().filter(|line| !line.starts_with("queue ")).collect();
    assert!(!output.status.success(), "it succeeded: {error}");
    assert_eq!(lines.len(), 1, "{error}");
    assert!(words.iter().all(|word| lines[0].contains(word)), "{words:?}: {error}");
}

fn what_cannot_be_is_one_line_and_nothing_is_left_attached() {
    let lab = Lab::up();
    let to = ["--source", "10.0.1.2", "--destination", "10.0.1.77", "--count", "1"];
    let run = |arguments: &[&str]| lab.run(PKTGEN, &[arguments, &to].concat());
    fails(&run(&["--tx", "nosuch0"]), &["no interface `nosuch0`"]);
    fails(&run(&["--tx", "lan0", "--tx-queues", "9"]), &["lan0 has 2 queues", "9"]);
    fails(&run(&["--tx", "lan0", "--mode", "zero-copy"]), &["lan0", "zero-copy"]);
    fails(&run(&["--tx", "lan0", "--size", "1519"]), &["1519 bytes are too long", "MTU of 1500"]);
    fails(&run(&["--tx", "lan0", "--line-rate", "1 Gbit/s", "--rate", "2 Mpps"]), &["is impossible"]);
    fails(&run(&["--tx", "lan0", "--rate", "slow"]), &["--rate", "is not a rate"]);
    fails(&run(&["--tx", "lan0"]), &["10.0.1.77 is silent"]);
    fails(
        &lab.run(PKTGEN, &["--tx", "lan0", "--replay", "/proc/version"]),
        &["/proc/version", "not a readable capture"],
    );
    for interface in ["lan0", "wan0"] {
        assert!(!lab.has_program(interface), "a program is left on {interface}");
    }
}

fn ctrl_c_ends_a_run_with_its_report_and_takes_the_program_off() {
    let lab = Lab::up();
    let endless = [&["--json", "--quiet"], &THROUGH[..], &["--rate", "100 pps"]].concat();
    let child = lab.client(PKTGEN, &endless).spawn().expect("ip runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    // The router's own packets (ARP, neighbour discovery, announcements) are among these, a dozen of them.
    while number(&lab.port("wan")["traffic"]["tx_packets"]) < 60 {
        assert!(Instant::now() < deadline, "nothing comes through");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(lab.has_program("lan0") && lab.has_program("wan0"));
    // `ip netns exec` became the program.
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["interrupted"], true);
    assert!(number(&report["tx"]["frames"]) >= 20, "{report}");
    assert!(!lab.has_program("lan0") && !lab.has_program("wan0"));
}

fn an_rfc_2544_measurement_of_the_router_is_written_in_four_files() {
    let lab = Lab::up();
    let out = lab.folder().join("report");
    let out = out.to_str().expect("ASCII");
    let settings = [
        "rfc2544",
        "--sizes",
        "64,512",
        "--trial",
        "100ms",
        "--resolution",
        "10",
        "--bursts",
        "1",
        "--wait",
        "200ms",
        "--out",
        out,
    ];
    let output = lab.run(BENCH, &[&settings[..], &THROUGH].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(format!("{out}/report.json")).expect("it is written");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["results"].as_array().map(Vec::len), Some(2));
    for result in report["results"].as_array().expect("a list") {
        assert!(number(&result["ndr"]["trials"][0]["sent"]) > 0, "{result}");
        assert!(result["pdr"]["rate"].as_f64() >= Some(0.0), "{result}");
    }
    for name in ["report.md", "loss.svg", "latency.svg"] {
        assert!(std::fs::metadata(format!("{out}/{name}")).expect("it is written").len() > 100);
    }
}

fn a_wire_delays_and_loses_what_it_was_told_to_and_its_books_agree_with_both_ends() {
    let mut lab = Lab::wire(&["--delay", "20ms", "--loss", "10%", "--seed", "3"]);
    let fields =
        ["--source", "10.0.1.2", "--destination", "10.0.2.2", "--destination-mac", "02:00:00:00:02:02"];
    let ports = ["--tx", "lan0", "--rx", "wan0", "--rate", "2 kpps", "--count", "4000", "--size", "imix"];
    let report = lab.report(&[&ports[..], &fields].concat());
    let rx = &report["rx"];
    assert_eq!(number(&report["tx"]["frames"]), 4000);
    let (marked, lost) = (number(&rx["marked"]), 4000 - number(&rx["marked"]));
    assert!((300..500).contains(&lost), "{report}");
    assert_eq!(number(&rx["reordered"]), 0, "{report}");
    assert!(number(&rx["latency"]["least"]) >= 20_000_000, "{report}");
    let said: serde_json::Value = serde_json::from_str(&lab.interrupt()).expect("JSON");
    let [left, right] = [&said["ends"][0], &said["ends"][1]];
    assert_eq!(number(&left["frames"]), number(&left["lost"]) + number(&left["delivered"]), "{said}");
    // The kernels at the ends say a word now and then, too.
    assert!((lost..lost + 20).contains(&number(&left["lost"])), "{lost}: {said}");
    assert!((marked..marked + 50).contains(&number(&left["delivered"])), "{marked}: {said}");
    for end in [left, right] {
        assert_eq!(
            (number(&end["overrun"]), number(&end["unsent"]), number(&end["crowded"])),
            (0, 0, 0),
            "{said}"
        );
    }
}

fn a_wire_that_cannot_be_is_one_line() {
    let lab = Lab::wire(&["--duration", "1h"]);
    let wire = |left: &str, right: &str| lab.run(BENCH, &["wire", "--left", left, "--right", right]);
    fails(&wire("lan0", "lan0"), &["two ends", "lan0"]);
    fails(&wire("lan0", "nosuch0"), &["no interface `nosuch0`"]);
    assert!(!lab.has_program("lan0"), "a program is left on lan0");
}

macro_rules! all {
    ($root:expr, $($name:ident,)*) => {
        vec![$(Trial::test(stringify!($name), || { $name(); Ok(()) }).with_ignored_flag(!$root),)*]
    };
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // labs pin workers to processors: one at a time
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!(
            "lab tests need root (network namespaces, AF_XDP): all are ignored. scripts/check runs them."
        );
    }
    let tests = all! {
        root,
        counts_agree_from_the_sender_through_the_router_to_the_receiver,
        ipv6_is_carried_too_and_the_next_hop_is_found_by_neighbour_discovery,
        echoes_of_the_router_come_back_with_their_marks,
        sender_and_receiver_may_be_two_processes,
        several_queues_and_processors_share_a_count_and_lose_nothing,
        a_vlan_is_sent_with_its_tag_and_received_with_it,
        jumbo_frames_pass_whole_and_no_longer_ones_are_made,
        iperf3_through_the_router_is_measured_and_reported,
        what_cannot_be_is_one_line_and_nothing_is_left_attached,
        ctrl_c_ends_a_run_with_its_report_and_takes_the_program_off,
        an_rfc_2544_measurement_of_the_router_is_written_in_four_files,
        a_wire_delays_and_loses_what_it_was_told_to_and_its_books_agree_with_both_ends,
        a_wire_that_cannot_be_is_one_line,
    };
    libtest_mimic::run(&arguments, tests).exit();
}
