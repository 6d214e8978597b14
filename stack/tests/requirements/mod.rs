//! What the tables of requirements in `docs` share: their rows, and which tests there are.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One requirement: its label, what it asks, the tests that show it, and a note.
pub struct Row {
    pub label: String,
    pub tests: Vec<String>,
    pub note: String,
}

/// The rows of a table in `docs` whose label is one.
pub fn rows(document: &str, is_label: impl Fn(&str) -> bool) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .filter(|line| is_label(line))
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
pub fn tests_of_the_crate() -> HashSet<String> {
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
