//! docs/rfc1122.md says which requirement of RFC 1122 on IP and UDP which test shows. This keeps it honest.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

mod requirements;

use requirements::{Row, rows, tests_of_the_crate};
use std::collections::HashSet;

/// Sections of RFC 1122 that ask something of IP or UDP (the summaries in sections 3.5 and 4.1.5).
const SECTIONS: [&str; 31] = [
    "3.1", "3.2.1.1", "3.2.1.2", "3.2.1.3", "3.2.1.4", "3.2.1.5", "3.2.1.6", "3.2.1.7", "3.2.1.8", "3.3.1.1",
    "3.3.1.2", "3.3.1.3", "3.3.1.4", "3.3.1.5", "3.3.1.6", "3.3.2", "3.3.3", "3.3.4.2", "3.3.4.3", "3.3.5",
    "3.3.6", "3.3.7", "3.3.8", "3.4", "4.1.3.1", "4.1.3.2", "4.1.3.3", "4.1.3.4", "4.1.3.5", "4.1.3.6",
    "4.1.4",
];

fn table() -> Vec<Row> {
    rows("rfc1122.md", |line| line.starts_with("3.") || line.starts_with("4."))
}

fn section(label: &str) -> &str {
    label.split(' ').next().unwrap_or_default()
}

#[test]
fn every_section_is_there_in_order_and_every_requirement_has_a_test_or_a_note() {
    let table = table();
    let mut sections: Vec<&str> = table.iter().map(|row| section(&row.label)).collect();
    sections.dedup();
    assert_eq!(sections, SECTIONS);
    let labels: HashSet<&str> = table.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels.len(), table.len(), "a label stands twice");
    for row in &table {
        assert!(!row.tests.is_empty() || !row.note.is_empty(), "{}: neither test nor note", row.label);
        assert!(row.label.contains("MUST") || row.label.contains("SHOULD"), "{}: MUST or SHOULD?", row.label);
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let known = tests_of_the_crate();
    for row in table() {
        for test in row.tests {
            assert!(known.contains(&test), "{}: {test} does not exist", row.label);
        }
    }
}
