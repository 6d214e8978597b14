//! docs/rfc9293.md says which requirement of RFC 9293 which test shows. This keeps it honest.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

use std::collections::HashSet;
use std::path::{Path, PathBuf};

struct Row {
    label: String,
    tests: Vec<String>,
    note: String,
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rfc9293.md");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .filter(|line| line.starts_with("MUST-") || line.starts_with("SHLD-"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{line}");
            let tests = cells[2].split(',').map(|name| name.trim().to_owned());
            Row {
                label: cells[0].to_owned(),
                tests: tests.filter(|name| !name.is_empty()).collect(),
                note: cells[3].to_owned(),
            }
        })
        .collect()
}

/// The names of all functions under `#[test]` in this crate.
fn tests_of_the_crate() -> HashSet<String> {
    let mut names = HashSet::new();
    let mut folders = vec![
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut marked = false;
                for line in text.lines().map(str::trim) {
                    if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
                        names.insert(rest.split('(').next().unwrap_or_default().to_owned());
                    }
                    marked = line == "#[test]" || marked && line.starts_with('#');
                }
            }
        }
    }
    names
}

#[test]
fn every_must_and_should_has_its_line_in_order_with_a_test_or_a_note() {
    let wanted = (1..=69).map(|number| format!("MUST-{number}"));
    let wanted: Vec<String> = wanted.chain((1..=31).map(|number| format!("SHLD-{number}"))).collect();
    let rows = rows();
    assert_eq!(rows.iter().map(|row| row.label.clone()).collect::<Vec<_>>(), wanted);
    for row in rows {
        assert!(!row.tests.is_empty() || !row.note.is_empty(), "{}: neither test nor note", row.label);
    }
}

#[test]
fn every_test_that_is_named_exists_and_holds_the_label_in_its_name() {
    let known = tests_of_the_crate();
    assert!(known.contains("every_test_that_is_named_exists_and_holds_the_label_in_its_name"));
    for row in rows() {
        let label = format!("{}_", row.label.to_lowercase().replace('-', "_"));
        for test in row.tests {
            assert!(known.contains(&test), "{}: {test} does not exist", row.label);
            assert!(test.contains(&label), "{}: {test} does not hold the label", row.label);
        }
    }
}
