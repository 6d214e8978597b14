//! Whatever a configuration file holds, reading it does not panic, every problem has a place inside its text,
//! and every problem can be shown.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use flumen::config::host::Interface;
use flumen::config::{self, Host, Loaded, Missing, schema};
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;

static SAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut samples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    samples.sort();
    let mut texts: Vec<String> = samples.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    // The reference with every default and example said aloud: the most keys that one text can have.
    let all = texts.iter().find(|text| text.contains("#kind = ")).unwrap();
    texts.push(
        all.replace("\n#e.g. ", "\n")
            .replace("\n#claim", "\n# claim")
            .replace("\n#never", "\n# never")
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect(),
    );
    texts
});

const ROUTES: &str = "198.51.100.0/24 via 192.0.2.254 port lan weight 3 via 192.0.2.253 metric 7\n\
                      2001:db8:9::/48 via fe80::1 port lan # comment\n203.0.113.0/24 blackhole\n";

/// What holds for every text.
fn holds(text: String, routes: &str) -> Loaded {
    let mut loaded = config::parse("random.toml", text, Path::new("/"), &mut |_| Ok(routes.to_owned()));
    let interface = Interface { rx_queues: 1, tx_queues: 1, mtu: 1500, up: true, ..Interface::default() };
    let host = Host { cpus: vec![0, 1], interfaces: [("eth1".to_owned(), interface)].into() };
    if let Some(config) = &loaded.config {
        assert_eq!(loaded.problems.errors(), 0);
        let layout = config::plan(config, &host, Missing::Warn, &mut loaded.problems);
        assert_eq!(layout.is_some(), loaded.problems.errors() == 0);
        if let Some(layout) = layout {
            let mut queues: Vec<_> =
                layout.cores.iter().flat_map(|core| core.queues.iter().copied()).collect();
            let all = queues.len();
            queues.sort_unstable();
            queues.dedup();
            assert_eq!(queues.len(), all, "a queue on two cores");
            assert_eq!(
                all,
                layout.ports.iter().map(|port| port.queues.len()).sum::<usize>(),
                "a queue on none"
            );
            assert!(layout.cores.iter().all(|core| core.frames >= core.needed()));
            let _ = flumen::cli::check::summary(config, &layout, &loaded.sources);
        }
    } else {
        assert!(loaded.problems.errors() > 0, "refused without a word");
    }
    for problem in loaded.problems.iter() {
        for at in std::iter::once(problem.at).chain(problem.related.iter().map(|(at, _)| *at)) {
            let text = &loaded.sources.0[at.file()].text;
            assert!(text.get(at.span()).is_some(), "{at:?} is not in the text");
            assert!(loaded.sources.line_column(at).is_some());
        }
        let shown = loaded.sources.render(problem, false);
        assert!(!shown.is_empty());
        assert!(
            !shown.contains(|c: char| c.is_control() && c != '\n'),
            "the file steers the terminal: {shown:?}"
        );
        assert!(!loaded.sources.render(problem, true).is_empty());
    }
    loaded
}

#[test]
fn the_samples_as_they_are_hold() {
    for sample in SAMPLES.iter() {
        let loaded = holds(sample.clone(), "");
        assert!(loaded.config.is_some(), "{}", loaded.sources.render_all(&loaded.problems, false));
    }
}

/// A value that fits somewhere, or nowhere.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (-2i64..70).prop_map(|n| n.to_string()),
        prop::sample::select(vec![
            "true",
            "1.5",
            "[]",
            "{}",
            "[[]]",
            "\"\"",
            "\"lan\"",
            "\"left\"",
            "\"lan:0\"",
            "\"lan:99999\"",
            "\":\"",
            "\"all\"",
            "\"auto\"",
            "\"spin\"",
            "\"50us\"",
            "\"9s\"",
            "\"pcap\"",
            "\"memory\"",
            "\"192.0.2.9/24\"",
            "\"0.0.0.0/0\"",
            "\"::/0\"",
            "\"fe80::1\"",
            "\"192.0.2.254\"",
            "\"\\u0000\"",
            "\"é\\n\"",
            "1979-05-27",
            "0xff",
            "[1, \"a\"]",
            "{ port = \"lan\" }",
            "[{ via = \"192.0.2.2\" }]",
            "[0, 1]",
            "99999999999999999999",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

fn key() -> impl Strategy<Value = &'static str> {
    let keys: Vec<&'static str> = schema::ALL.iter().flat_map(|spec| spec.keys.iter().copied()).collect();
    prop::sample::select(keys)
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", routes in "\\PC*") {
        holds(text, &routes);
    }

    #[test]
    fn any_bytes_that_are_text_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        holds(text.clone(), &text);
    }

    #[test]
    fn a_sample_with_bytes_changed_is_read_or_refused(
        sample in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
    ) {
        let mut bytes = SAMPLES[sample.index(SAMPLES.len())].clone().into_bytes();
        for (place, byte, what) in changes {
            let place = place.index(bytes.len());
            match what {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => { bytes.remove(place); }
            }
        }
        holds(String::from_utf8_lossy(&bytes).into_owned(), ROUTES);
    }

    #[test]
    fn a_sample_with_values_changed_is_read_or_refused(
        sample in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), value()), 1..5),
    ) {
        let mut lines: Vec<String> =
            SAMPLES[sample.index(SAMPLES.len())].lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        for (place, value) in changes {
            let place = place.index(lines.len());
            let line = lines[place].clone();
            if let Some((key, _)) = line.split_once(" = ") {
                lines[place] = format!("{key} = {value}");
            }
        }
        holds(lines.join("\n"), ROUTES);
    }

    #[test]
    fn a_sample_with_lines_dropped_doubled_and_added_is_read_or_refused(
        sample in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), key(), value(), 0u8..3), 1..6),
    ) {
        let mut lines: Vec<String> =
            SAMPLES[sample.index(SAMPLES.len())].lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        for (place, key, value, what) in changes {
            let place = place.index(lines.len());
            match what {
                0 => { lines.remove(place); }
                1 => lines.push(lines[place].clone()),
                _ => lines.insert(place, format!("{key} = {value}")),
            }
            if lines.is_empty() { break; }
        }
        holds(lines.join("\n"), ROUTES);
    }

    #[test]
    fn a_routes_file_with_bytes_changed_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = ROUTES.as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let text = SAMPLES.iter().find(|text| text.contains("\nroutes_file = \"routes.txt\"")).unwrap();
        let loaded = holds(text.clone(), &String::from_utf8_lossy(&bytes));
        prop_assert_eq!(loaded.sources.0.len(), 2);
    }
}
