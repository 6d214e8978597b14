//! The samples in `config/` are valid, and `config/flumen.toml` tells the truth about every key.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use flumen::config::model::{Claim, Config, Idle, PortKind, Queues, RouteAction};
use flumen::config::{self, Host, Loaded, Missing, Problems, host::Interface, schema};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// Reads `text`; whatever routes file it names has two routes.
fn parse(text: &str) -> Loaded {
    config::parse("test.toml", text.to_owned(), Path::new(""), &mut |_| {
        Ok("198.51.100.0/24 via 192.0.2.254\n2001:db8:9::/48 via 2001:db8:1::2\n".to_owned())
    })
}

fn good(text: &str) -> Config {
    let loaded = parse(text);
    assert!(loaded.problems.is_empty(), "{}", loaded.sources.render_all(&loaded.problems, false));
    loaded.config.unwrap()
}

/// What a configuration means, without the places where it is said.
fn meaning(config: &Config) -> String {
    let text = format!("{config:#?}");
    let mut places = 0;
    let mut out = String::new();
    for line in text.lines() {
        if line.contains("At(") {
            places += 1;
        } else {
            out.push_str(line.trim());
        }
    }
    assert!(places > 0, "no place was found to leave out");
    out
}

/// A machine with interfaces `names`, each with two queues and room for jumbo packets.
fn machine(names: &[&str]) -> Host {
    let interface = Interface { rx_queues: 2, tx_queues: 2, mtu: 9000, up: true, ..Interface::default() };
    Host {
        cpus: vec![0, 1],
        interfaces: names.iter().map(|name| ((*name).to_owned(), interface.clone())).collect(),
    }
}

#[test]
fn every_sample_but_the_benchmark_is_valid_and_fits_a_machine_with_its_interfaces() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") || path.ends_with("bench.toml") {
            continue;
        }
        seen += 1;
        let loaded = config::load(&path).unwrap();
        let mut problems = loaded.problems.clone();
        let config =
            loaded.config.unwrap_or_else(|| panic!("{}", loaded.sources.render_all(&problems, false)));
        let layout = config::plan(&config, &machine(&["lan", "wan", "eth1"]), Missing::Refuse, &mut problems);
        assert!(problems.is_empty(), "{}", loaded.sources.render_all(&problems, false));
        assert_eq!(layout.unwrap().cores.len(), config.cores.len());
    }
    assert!(seen >= 5, "only {seen} samples");
}

#[test]
fn the_benchmark_is_valid_with_a_file_of_a_million_routes() {
    let folder_of_run = tempfile::tempdir().unwrap();
    let mut routes = String::new();
    for number in 0..1_000_000u32 {
        let [a, b, c, _] = (number << 8).to_be_bytes();
        routes.push_str(&format!("{}.{b}.{c}.0/24 via 10.0.2.2 port out\n", a + 20));
    }
    std::fs::write(folder_of_run.path().join("bench-routes.txt"), routes).unwrap();
    let file = folder_of_run.path().join("bench.toml");
    std::fs::write(&file, text_of("bench.toml")).unwrap();
    let loaded = config::load(&file).unwrap();
    assert!(loaded.problems.is_empty(), "{}", loaded.sources.render_all(&loaded.problems, false));
    let config = loaded.config.unwrap();
    assert_eq!(config.routes.len(), 1_000_000);
    // Every route has the same next hop: it is kept once.
    let RouteAction::Unicast(first) = &config.routes[0].action else { panic!("not unicast") };
    for route in &config.routes {
        let RouteAction::Unicast(hops) = &route.action else { panic!("not unicast") };
        assert!(std::sync::Arc::ptr_eq(first, hops));
    }
    let PortKind::Pcap(pcap) = &config.ports[0].kind else { panic!("not a pcap port") };
    assert_eq!(pcap.read, Some(folder_of_run.path().join("bench-traffic.pcap")));
    assert!(pcap.repeat && matches!(config.cores[0].idle, Idle::Spin));
}

#[test]
fn two_cores_shares_the_queues_out() {
    let config = good(&text_of("two-cores.toml"));
    let mut problems = Problems::default();
    let layout = config::plan(&config, &machine(&["lan", "wan"]), Missing::Refuse, &mut problems).unwrap();
    for (core, queue) in layout.cores.iter().zip([0, 1]) {
        assert_eq!(
            core.queues.iter().map(|q| (q.port.index(), q.queue)).collect::<Vec<_>>(),
            [(0, queue), (1, queue)]
        );
    }
}

#[test]
fn pinhole_claims_only_its_addresses() {
    let config = good(&text_of("pinhole.toml"));
    let PortKind::AfXdp(port) = &config.ports[0].kind else { panic!("not af_xdp") };
    let Claim::Rules(rules) = &port.claim else { panic!("claims the whole port") };
    let addresses: Vec<_> =
        config.ports[0].addresses.iter().map(|net| ipnet::IpNet::from(net.addr())).collect();
    assert_eq!(rules.iter().filter_map(|rule| rule.destination).collect::<Vec<_>>(), addresses);
    assert_eq!(port.queues, Queues::All);
}

#[test]
fn flumen_toml_explains_every_key() {
    let text = text_of("flumen.toml");
    for key in schema::ALL.iter().flat_map(|spec| spec.keys) {
        let explained = text.lines().any(|line| {
            line.split(['#', '{', ',', '[', ']', ' ']).any(|word| word == *key)
                && (line.contains(&format!("{key} = ")) || line.contains(&format!("[{key}]")))
        });
        assert!(explained, "{key} is not in flumen.toml");
    }
}

#[test]
fn flumen_toml_gives_the_defaults_that_the_code_has() {
    let text = text_of("flumen.toml");
    let as_it_stands = good(&text);
    let mut defaults = 0;
    let said: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest)
                if rest.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.starts_with("e.g. ") =>
            {
                defaults += 1;
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(defaults >= 35, "only {defaults} defaults found");
    assert_eq!(meaning(&as_it_stands), meaning(&good(&said)));
}

#[test]
fn every_example_in_flumen_toml_is_valid_and_changes_something() {
    let text = text_of("flumen.toml");
    let plain = meaning(&good(&text));
    let examples: Vec<&str> = text.lines().filter(|line| line.starts_with("#e.g. ")).collect();
    assert!(examples.len() >= 8, "only {examples:?}");
    for example in examples {
        let with = text.replace(example, example.trim_start_matches("#e.g. "));
        let config = good(&with);
        // The port of the route's gateway is already the one that its example names.
        if !example.contains("port = \"lan\"") {
            assert_ne!(meaning(&config), plain, "{example}");
        }
    }
}
