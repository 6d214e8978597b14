//! `flumen doctor`: findings from made-up facts, and the real program on this machine.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use flumen::config::host::{Host, Interface};
use flumen::config::{self, Config, Layout, Missing, Problems};
use flumen::doctor::facts::{Cpu, Facts, Nic, Xdp};
use flumen::doctor::{Finding, Level, examine};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const TEXT: &str = "[[port]]\nname = \"lan\"\ninterface = \"eth1\"\naddresses = [\"192.0.2.1/24\"]\n\
                    [[core]]\ncpu = 1\nports = [\"lan\"]\n";

/// A machine on which nothing is to be said against [`TEXT`].
fn healthy() -> Facts {
    let basics = Interface {
        driver: Some("ice".into()),
        rx_queues: 2,
        tx_queues: 2,
        mtu: 1500,
        mac: "02:00:00:00:00:01".parse().ok(),
        up: true,
        addresses: Vec::new(),
    };
    let offloads = ["large-receive-offload", "rx-gro-hw", "rx-vlan-offload", "generic-receive-offload"];
    let nic = Nic {
        basics,
        napi_defer_hard_irqs: Some(0),
        gro_flush_timeout: Some(0),
        xdp: Some(Xdp::Free),
        offloads: Some(offloads.map(|name| (name.to_owned(), false)).into()),
    };
    let cpu = |id: usize| Cpu {
        allowed: true,
        isolated: id == 1,
        siblings: vec![id],
        governor: Some("performance".into()),
    };
    Facts {
        release: "6.18.1".into(),
        has_af_xdp: Some(true),
        bpf_jit: Some(1),
        capabilities: Some(u64::MAX),
        memlock: Some(65_536),
        cpus: BTreeMap::from([(0, cpu(0)), (1, cpu(1))]),
        clock_source: Some("tsc".into()),
        cpu_flags: Some(["constant_tsc", "nonstop_tsc"].map(str::to_owned).into()),
        memory_available: Some(1 << 33),
        huge_pages_free: Some(0),
        huge_pages: Some(0),
        interfaces: BTreeMap::from([("eth1".to_owned(), nic)]),
    }
}

fn laid_out(text: &str, facts: &Facts) -> (Config, Layout) {
    let loaded = config::parse("test", text.to_owned(), Path::new("/"), &mut |_| unreachable!());
    assert_eq!(loaded.problems.errors(), 0, "{}", loaded.sources.render_all(&loaded.problems, false));
    let config = loaded.config.unwrap();
    let interfaces = facts.interfaces.iter().map(|(name, nic)| (name.clone(), nic.basics.clone())).collect();
    let host = Host { cpus: facts.cpus.keys().copied().collect(), interfaces };
    let layout = config::plan(&config, &host, Missing::Warn, &mut Problems::default()).unwrap();
    (config, layout)
}

/// What is not as it should be.
fn ill(text: &str, facts: &Facts) -> Vec<Finding> {
    let (config, layout) = laid_out(text, facts);
    examine(&config, &layout, facts).into_iter().filter(|finding| finding.level != Level::Ok).collect()
}

/// With `change` there is exactly one finding, of this level, which contains these words and this command.
#[track_caller]
fn finds(text: &str, change: impl FnOnce(&mut Facts), level: Level, words: &str, command: &str) {
    let mut facts = healthy();
    change(&mut facts);
    let found = ill(text, &facts);
    let [finding] = found.as_slice() else { panic!("not one finding: {found:#?}") };
    assert_eq!(finding.level, level, "{finding:#?}");
    assert!(format!("{} {}", finding.found, finding.means).contains(words), "{finding:#?}");
    assert!(!finding.means.is_empty());
    assert!(finding.command.as_deref().unwrap_or("").contains(command), "{finding:#?}");
}

fn nic(facts: &mut Facts) -> &mut Nic {
    facts.interfaces.get_mut("eth1").unwrap()
}

fn offload(facts: &mut Facts, name: &str) {
    nic(facts).offloads.as_mut().unwrap().insert(name.to_owned(), true);
}

fn port(lines: &str) -> String {
    TEXT.replace("interface", &format!("{lines}\ninterface"))
}

fn core(lines: &str) -> String {
    TEXT.replace("cpu = 1", &format!("cpu = 1\n{lines}"))
}

use Level::{Error, Warning};

#[test]
fn a_healthy_machine_is_ok() {
    let (config, layout) = laid_out(TEXT, &healthy());
    let findings = examine(&config, &layout, &healthy());
    assert!(findings.len() > 10);
    for finding in findings {
        assert_eq!(
            (finding.level, finding.command),
            (Level::Ok, None),
            "{} {}",
            finding.found,
            finding.means
        );
    }
}

#[test]
fn old_kernels_lack_what_is_named() {
    let release = |release: &'static str| move |facts: &mut Facts| facts.release = release.into();
    finds(TEXT, release("6.16.9"), Warning, "XDP_MAX_TX_SKB_BUDGET", "");
    let levels = |text: &str, version: &str| {
        let mut facts = healthy();
        facts.release = version.into();
        ill(text, &facts).iter().map(|finding| finding.level).collect::<Vec<_>>()
    };
    assert_eq!(levels(TEXT, "6.7.0"), [Warning, Warning]);
    assert!(levels(TEXT, "5.10.0").iter().all(|level| *level == Warning));
    assert!(levels(TEXT, "5.9.0").contains(&Error));
    let busy = port(
        "busy_poll = { prefer = true, budget = 64, duration = \"20us\" }\nnapi_defer = { hard_irqs = 2, gro_flush_timeout = \"50us\" }",
    );
    assert!(!levels(&busy, "5.11.0").contains(&Error) && levels(&busy, "5.10.0").contains(&Error));
    let mut jumbo = healthy();
    nic(&mut jumbo).basics.mtu = 9000;
    jumbo.release = "6.5.0".into();
    assert!(ill(TEXT, &jumbo).iter().any(|f| f.level == Error && f.found.contains("XDP_USE_SG")));
    finds(TEXT, |facts| facts.has_af_xdp = Some(false), Error, "CONFIG_XDP_SOCKETS", "");
    finds(
        TEXT,
        |facts| facts.bpf_jit = Some(0),
        Warning,
        "interpreted",
        "sysctl -w net.core.bpf_jit_enable=1",
    );
}

#[test]
fn missing_rights_are_errors() {
    let without = |bits: &[u32]| {
        let mask = bits.iter().fold(u64::MAX, |mask, bit| mask & !(1 << bit));
        move |facts: &mut Facts| facts.capabilities = Some(mask)
    };
    finds(TEXT, without(&[12]), Error, "no CAP_NET_ADMIN", "setcap");
    finds(TEXT, without(&[13]), Error, "no CAP_NET_RAW", "setcap");
    finds(TEXT, without(&[39, 21]), Error, "no CAP_BPF", "setcap");
    finds(TEXT, without(&[14]), Error, "only 0.1 MiB may be locked", "ulimit -l unlimited");
    // Either right loads programs; a high limit needs no right.
    let mut facts = healthy();
    without(&[39, 14])(&mut facts);
    facts.memlock = Some(u64::MAX);
    assert_eq!(ill(TEXT, &facts), []);
}

#[test]
fn locked_memory_is_enough_or_not_at_its_edge() {
    let (_, layout) = laid_out(TEXT, &healthy());
    let needed = (layout.cores[0].frames * layout.cores[0].chunk) as u64;
    for (limit, findings) in [(needed, 0), (needed - 1, 1)] {
        let facts = Facts { capabilities: Some(!(1 << 14)), memlock: Some(limit), ..healthy() };
        assert_eq!(ill(TEXT, &facts).len(), findings);
    }
    for (available, findings) in [(needed, 0), (needed - 1, 1)] {
        assert_eq!(ill(TEXT, &Facts { memory_available: Some(available), ..healthy() }).len(), findings);
    }
}

#[test]
fn processors_are_judged_by_what_runs_on_them() {
    let cpu = |change: fn(&mut Cpu)| move |facts: &mut Facts| change(facts.cpus.get_mut(&1).unwrap());
    finds(&core("idle = \"spin\""), cpu(|cpu| cpu.isolated = false), Warning, "not isolated", "isolcpus=1");
    let mut facts = healthy();
    cpu(|cpu| cpu.isolated = false)(&mut facts);
    assert_eq!(ill(TEXT, &facts), [], "adaptive idling shares");
    finds(
        TEXT,
        cpu(|cpu| cpu.governor = Some("powersave".into())),
        Warning,
        "powersave",
        "cpu1/cpufreq/scaling_governor",
    );
    finds(TEXT, cpu(|cpu| cpu.allowed = false), Error, "cannot be pinned", "");
    finds(&core("idle = \"spin\""), |facts| drop(facts.cpus.remove(&0)), Warning, "leave one free", "");
    finds(&port("kick = \"sqpoll\""), |facts| drop(facts.cpus.remove(&0)), Warning, "sqpoll", "");
    let two =
        TEXT.to_owned().replace("[\"lan\"]", "[\"lan:0\"]") + "[[core]]\ncpu = 0\nports = [\"lan:1\"]\n";
    let mut facts = healthy();
    facts.cpus.values_mut().for_each(|cpu| cpu.siblings = vec![0, 1]);
    let found = ill(&two, &facts);
    assert_eq!(found.iter().filter(|finding| finding.found.contains("shares its core")).count(), 2);
}

#[test]
fn huge_pages_and_clocks() {
    let huge = core("hugepages = true\nframes = 32768");
    finds(&huge, |_| {}, Error, "0 free huge pages of 2 MiB, 32 are needed", "vm.nr_hugepages=32");
    let mut facts = healthy();
    facts.huge_pages_free = Some(32);
    assert_eq!(ill(&huge, &facts), []);
    finds(
        &huge,
        |facts| (facts.huge_pages_free, facts.huge_pages) = (Some(31), Some(40)),
        Error,
        "31 free",
        "vm.nr_hugepages=41",
    );
    finds(&huge, |facts| facts.huge_pages_free = None, Error, "leave the key out", "");
    finds(TEXT, |facts| facts.clock_source = Some("acpi_pm".into()), Warning, "acpi_pm", "echo tsc");
    finds(
        TEXT,
        |facts| facts.cpu_flags.as_mut().unwrap().retain(|flag| flag != "nonstop_tsc"),
        Warning,
        "cannot be compared",
        "",
    );
}

#[test]
fn modes_are_what_the_driver_can_do() {
    let driver = |name: &'static str| move |facts: &mut Facts| nic(facts).basics.driver = Some(name.into());
    finds(TEXT, driver("r8169"), Warning, "which modes r8169 has is unknown", "");
    finds(&port("mode = \"zero-copy\""), driver("ena"), Error, "will be refused", "");
    finds(&port("mode = \"native\""), |_| {}, Warning, "say \"auto\"", "");
    finds(&port("mode = \"generic\""), |_| {}, Warning, "ice can do better", "");
    let mut facts = healthy();
    driver("r8169")(&mut facts);
    assert_eq!(ill(&port("mode = \"generic\""), &facts), []);
    driver("ena")(&mut facts);
    assert_eq!(ill(TEXT, &facts), []);
    // Zero-copy of igb came with 6.14.
    driver("igb")(&mut facts);
    let zero_copy = port("mode = \"zero-copy\"");
    facts.release = "6.14.0".into();
    assert!(ill(&zero_copy, &facts).iter().all(|finding| finding.level == Warning));
    facts.release = "6.13.0".into();
    assert!(ill(&zero_copy, &facts).iter().any(|finding| finding.level == Error));
}

#[test]
fn interfaces_are_judged_with_the_command_that_helps() {
    finds(TEXT, |facts| nic(facts).basics.up = false, Warning, "down", "ip link set dev eth1 up");
    finds(
        &port("mtu = 1400"),
        |_| {},
        Warning,
        "1500 on the interface, 1400 here",
        "ip link set dev eth1 mtu 1400",
    );
    finds(
        TEXT,
        |facts| nic(facts).xdp = Some(Xdp::Program(9)),
        Error,
        "XDP program 9",
        "ip link set dev eth1 xdp off",
    );
    finds(TEXT, |facts| nic(facts).xdp = None, Warning, "unknown", "");
    finds(&port("queues = 1"), |_| {}, Warning, "1 of its 2 receive queues", "ethtool -L eth1 combined 1");
    finds(&port("queues = [1]"), |_| {}, Warning, "1 of its 2 receive queues", "ethtool -X eth1");
    finds(
        TEXT,
        |facts| offload(facts, "large-receive-offload"),
        Warning,
        "lro is on",
        "ethtool -K eth1 lro off",
    );
    finds(
        TEXT,
        |facts| offload(facts, "rx-gro-hw"),
        Warning,
        "rx-gro-hw is on",
        "ethtool -K eth1 rx-gro-hw off",
    );
    finds(TEXT, |facts| offload(facts, "rx-vlan-offload"), Warning, "untagged", "ethtool -K eth1 rxvlan off");
    finds(TEXT, |facts| nic(facts).offloads = None, Warning, "no `ethtool`", "");
    let mut facts = healthy();
    offload(&mut facts, "generic-receive-offload");
    assert_eq!(ill(TEXT, &facts), [], "GRO comes after XDP in native mode");
    nic(&mut facts).basics.driver = Some("r8169".into());
    let found = ill(&port("mode = \"generic\""), &facts);
    assert_eq!(found[0].command.as_deref(), Some("ethtool -K eth1 gro off"), "and before it in generic mode");
}

#[test]
fn checksums_of_local_peers_are_repaired_or_warned_about() {
    let veth = |facts: &mut Facts| nic(facts).basics.driver = Some("veth".into());
    let mut facts = healthy();
    veth(&mut facts);
    assert_eq!(ill(TEXT, &facts), []);
    assert_eq!(ill(&port("checksum = \"repair\""), &facts), []);
    finds(&port("checksum = \"verify\""), veth, Warning, "checksum = \"repair\"", "ethtool -K PEER tx off");
    finds(&port("checksum = \"trust\""), veth, Warning, "checksum = \"repair\"", "ethtool -K PEER tx off");
    finds(&port("checksum = \"trust\""), |_| {}, Warning, "damaged packets", "");
}

#[test]
fn napi_settings_are_there_and_fit_together() {
    let defer = "napi_defer = { hard_irqs = 2, gro_flush_timeout = \"50us\" }";
    let busy = "busy_poll = { prefer = true, budget = 64, duration = \"20us\" }";
    assert_eq!(ill(&port(defer), &healthy()), []);
    assert_eq!(ill(&port(&format!("{defer}\n{busy}")), &healthy()), []);
    finds(&port(defer), |facts| nic(facts).gro_flush_timeout = None, Error, "take it out", "");
    finds(&port(busy), |_| {}, Warning, "set `napi_defer`", "");
}

#[test]
fn ports_without_an_interface_need_nothing() {
    let text = "[[port]]\nname = \"a\"\nkind = \"memory\"\npeer = \"b\"\n[[port]]\nname = \"b\"\nkind = \"memory\"\n\
                peer = \"a\"\n[[core]]\ncpu = 1\nports = [\"a\", \"b\"]\n";
    let facts = Facts { release: "4.0".into(), capabilities: Some(0), has_af_xdp: Some(false), ..healthy() };
    assert_eq!(ill(text, &facts), []);
}

// ---- the real program

fn doctor(text: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flumen"));
    let output = command.arg("doctor").arg(&file).args(more).env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn this_machine_is_examined_for_its_loopback_interface() {
    let cpu = core_affinity::get_core_ids().unwrap()[0].id;
    let text = format!("[[port]]\nname = \"lo\"\n[[core]]\ncpu = {cpu}\nports = [\"lo\"]\n");
    let (code, stdout, stderr) = doctor(&text, &["--json"]);
    let findings: serde_json::Value =
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
    let findings = findings.as_array().unwrap();
    let errors = findings.iter().filter(|finding| finding["level"] == "error").count();
    assert_eq!(code, Some(i32::from(errors > 0)), "{stdout}");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let about = |name: &str| {
        findings
            .iter()
            .filter(|f| f["about"] == name)
            .map(|f| f["found"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(about("kernel")[0].contains(release.trim()), "{stdout}");
    assert!(about("port lo")[0].starts_with("lo: driver"), "{stdout}");
    assert!(!about(&format!("cpu {cpu}")).is_empty());
    let (again, text, _) = doctor(&text, &[]);
    assert_eq!(again, code);
    assert!(text.contains(&format!("{errors} errors, ")), "{text}");
}

#[test]
fn what_does_not_fit_the_machine_at_all_is_said_first() {
    let (code, stdout, stderr) = doctor(TEXT.replace("eth1", "nonexistent0").as_str(), &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("nonexistent0") && stderr.contains("does not fit this machine"), "{stderr}");
}

#[test]
fn undo_says_when_there_is_nothing_and_what_it_could_not_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.undo.json");
    let undo = || {
        let output = Command::new(env!("CARGO_BIN_EXE_flumen"))
            .arg("doctor")
            .arg("--undo")
            .arg(&file)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, _) = undo();
    assert_eq!((code, stdout.contains("there is nothing to undo")), (Some(0), true));
    let state = |interface: &str| {
        format!(
            "{{\"version\":1,\"pid\":1,\"started\":18446744073709551615,\"settings\":[{{\"interface\":\"{interface}\",\"setting\":\"gro_flush_timeout\",\"old\":0,\"new\":1}}]}}"
        )
    };
    std::fs::write(&file, state("nonexistent0")).unwrap();
    let (code, stdout, _) = undo();
    assert_eq!((code, stdout.contains("the interface is gone"), file.exists()), (Some(0), true, false));
    std::fs::write(&file, state("../x")).unwrap();
    let (code, stdout, _) = undo();
    assert_eq!((code, stdout.contains("failed"), file.exists()), (Some(1), true, true));
    std::fs::write(&file, "garbage").unwrap();
    let (code, _, stderr) = undo();
    assert_eq!((code, stderr.contains("is not a state file")), (Some(1), true));
    let none = Command::new(env!("CARGO_BIN_EXE_flumen")).arg("doctor").output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}
