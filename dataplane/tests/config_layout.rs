//! A configuration held against a machine: what does not fit is found, and what fits gives a layout.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // not every test file uses every helper
mod common;

use common::{BASE, core, lan, parse, plus};
use flumen::config::host::Interface;
use flumen::config::{self, Host, Missing, Severity};

fn machine() -> Host {
    let mut host = Host { cpus: vec![0, 1], ..Host::default() };
    for name in ["lan", "wan"] {
        let interface = Interface {
            rx_queues: 2,
            tx_queues: 2,
            mtu: 1500,
            up: true,
            driver: Some("veth".into()),
            ..Interface::default()
        };
        host.interfaces.insert(name.to_owned(), interface);
    }
    host
}

/// The messages of laying `text` over `host`, and whether a layout came out.
fn plan(text: &str, host: &Host, missing: Missing) -> (Vec<(Severity, String)>, Option<config::Layout>) {
    let mut loaded = parse(text);
    let config = loaded.config.take().expect("the file is right");
    let layout = config::plan(&config, host, missing, &mut loaded.problems);
    let _ = loaded.sources.render_all(&loaded.problems, true);
    (loaded.problems.iter().map(|problem| (problem.severity, problem.message.clone())).collect(), layout)
}

#[track_caller]
fn refused(text: &str, host: &Host, message: &str) {
    let (messages, layout) = plan(text, host, Missing::Refuse);
    assert!(layout.is_none());
    assert!(
        messages.iter().any(|(severity, said)| *severity == Severity::Error && said.contains(message)),
        "{messages:?}"
    );
}

#[test]
fn a_machine_that_fits_gives_a_layout() {
    let (messages, layout) = plan(BASE, &machine(), Missing::Refuse);
    assert!(messages.is_empty(), "{messages:?}");
    let layout = layout.unwrap();
    assert_eq!(layout.ports[0].queues, [0, 1]);
    assert_eq!(layout.ports[0].checksum, config::model::ChecksumPolicy::Repair);
    assert_eq!(layout.cores[0].queues.len(), 4);
    // 4 queues × 4 rings × 2048, 2 transmit queues × 256, a burst for each queue, 64 originated, 512 waiting, 40 for a
    // datagram put together.
    assert_eq!(layout.cores[0].frames, 4 * 4 * 2048 + 2 * 256 + 5 * 64 + 512 + 40);
    assert_eq!(layout.cores[0].frames, layout.cores[0].needed());
}

#[test]
fn an_interface_or_processor_that_is_not_there_is_a_warning_in_a_check_and_an_error_at_start() {
    for (host, message) in [
        (Host { cpus: vec![7], ..machine() }, "no cpu 0"),
        (Host { cpus: vec![0], ..Host::default() }, "no interface lan"),
    ] {
        let (messages, layout) = plan(BASE, &host, Missing::Warn);
        assert!(layout.is_some());
        assert!(messages.iter().all(|(severity, _)| *severity == Severity::Warning));
        assert!(messages.iter().any(|(_, said)| said.contains(message)), "{messages:?}");
        refused(BASE, &host, message);
    }
}

#[test]
fn a_queue_that_the_interface_lacks_is_refused() {
    refused(&lan("queues = 3"), &machine(), "interface lan has no queue 2");
    refused(
        &BASE.replace("[\"lan\", ", "[\"lan:0\", \"lan:1\", \"lan:2\", "),
        &machine(),
        "interface lan has no queue 2",
    );
    refused(&BASE.replace("[\"lan\", ", "[\"lan:1\", "), &machine(), "no core polls queue 0 of port `lan`");
    let mut host = machine();
    host.interfaces.get_mut("lan").unwrap().tx_queues = 1;
    let (messages, layout) = plan(BASE, &host, Missing::Refuse);
    assert!(messages[0].1.contains("2 receive queues and 1 transmit queues"), "{messages:?}");
    assert_eq!(layout.unwrap().ports[0].queues, [0]);
}

#[test]
fn an_mtu_must_be_the_interfaces_and_fit_a_chunk_or_a_chain() {
    let mut host = machine();
    refused(&lan("mtu = 1501"), &host, "an MTU of 1501 is more than interface lan has (1500)");
    host.interfaces.get_mut("lan").unwrap().mtu = 9000;
    let (messages, layout) = plan(BASE, &host, Missing::Refuse);
    assert!(messages.is_empty(), "{messages:?}");
    let layout = layout.unwrap();
    assert_eq!(
        (layout.ports[0].mtu, layout.ports[0].multi_buffer, layout.ports[1].multi_buffer),
        (9000, true, false)
    );
    let whole = |mtu: u16, chunk: &str| {
        lan(&format!("mtu = {mtu}\nmulti_buffer = \"off\""))
            .replace("cpu = 0", &format!("cpu = 0\nchunk = {chunk}"))
    };
    for (chunk, most, bytes) in [("2048", 1646, "2048"), ("4096", 3506, "4096"), ("\"auto\"", 3506, "4096")] {
        assert!(plan(&whole(most, chunk), &host, Missing::Refuse).1.is_some());
        refused(&whole(most + 1, chunk), &host, &format!("do not fit a chunk of {bytes} bytes"));
    }
    host.interfaces.get_mut("lan").unwrap().mtu = 1279;
    refused(BASE, &host, "too small for IPv6");
    host.interfaces.get_mut("lan").unwrap().mtu = 65_535;
    assert_eq!(plan(BASE, &host, Missing::Refuse).1.unwrap().ports[0].mtu, 9216);
}

#[test]
fn a_core_has_large_chunks_where_its_ports_have_long_packets() {
    let chunks = |text: &str, host: &Host| {
        plan(text, host, Missing::Refuse).1.unwrap().cores.iter().map(|core| core.chunk).collect::<Vec<_>>()
    };
    let mut host = machine();
    assert_eq!(chunks(BASE, &host), [2048]);
    for (mtu, chunk) in [(1646, 2048), (1647, 4096), (9000, 4096)] {
        host.interfaces.get_mut("lan").unwrap().mtu = mtu;
        assert_eq!(chunks(BASE, &host), [chunk], "the interface's MTU is {mtu}");
        assert_eq!(chunks(&core("chunk = 2048"), &host), [2048], "as it is said");
    }
    assert_eq!(chunks(&lan("mtu = 1500"), &host), [2048], "the port uses less than the interface has");
}

#[test]
fn a_pool_smaller_than_its_uses_is_refused_and_the_uses_are_listed() {
    let (_, layout) = plan(BASE, &machine(), Missing::Refuse);
    let needed = layout.unwrap().cores[0].needed();
    assert!(plan(&core(&format!("frames = {needed}")), &machine(), Missing::Refuse).1.is_some());
    let few = core(&format!("frames = {}", needed - 1));
    refused(&few, &machine(), "frames are too few for cpu 0");
    let mut loaded = parse(&few);
    let config = loaded.config.take().unwrap();
    assert!(config::plan(&config, &machine(), Missing::Refuse, &mut loaded.problems).is_none());
    let shown = loaded.sources.render_all(&loaded.problems, false);
    for part in
        ["fill ring of lan:0", "completion ring of wan:1", "transmit queue of wan", "wait for neighbours"]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

#[test]
fn ssh_to_the_kernels_addresses_is_left_alone_unless_told_otherwise() {
    let mut host = machine();
    host.interfaces.get_mut("lan").unwrap().addresses = vec!["192.0.2.77/24".parse().unwrap()];
    let never = |text: &str| plan(text, &host, Missing::Refuse).1.unwrap().ports[0].never.clone();
    let rules = never(BASE);
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].destination, Some("192.0.2.77/32".parse().unwrap()));
    assert_eq!((rules[0].ports[0].first, rules[0].ports[0].last), (22, 22));
    assert!(never(&lan("never = []")).is_empty());
}

#[test]
fn a_route_through_a_port_that_is_down_is_a_warning() {
    let mut host = machine();
    host.interfaces.get_mut("wan").unwrap().up = false;
    let text = plus("[[route]]\nto = \"0.0.0.0/0\"\nvia = \"198.51.100.2\"");
    let (messages, layout) = plan(&text, &host, Missing::Refuse);
    assert!(layout.is_some());
    assert!(
        messages.iter().any(|(_, said)| said.contains("0.0.0.0/0 leads through a port that is down")),
        "{messages:?}"
    );
}
