//! docs/rfc9293.md says which requirement of RFC 9293 which test shows. This keeps it honest.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking; helpers here are outside #[test] functions

mod requirements;

use requirements::{Row, tests_of_the_crate};

fn rows() -> Vec<Row> {
    requirements::rows("rfc9293.md", |line| line.starts_with("MUST-") || line.starts_with("SHLD-"))
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
