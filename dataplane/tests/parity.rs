//! docs/parity.md says what is done. This keeps it honest: complete, and naming only what exists.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Letter and last number of each group of systems.
const GROUPS: [(char, u8); 8] =
    [('S', 8), ('T', 18), ('U', 6), ('R', 5), ('I', 9), ('O', 10), ('P', 10), ('L', 7)];

/// Whether a system has a twin for IPv6. Timestamp, address mask and the header checksum are IPv4's alone;
/// the socket and link layers carry both families mostly without noticing.
fn has_twin(group: char, number: u8) -> bool {
    match group {
        'S' => matches!(number, 1 | 3 | 7 | 8),
        'I' => !matches!(number, 6 | 7),
        'P' => number != 8,
        'L' => number == 2,
        _ => true,
    }
}

struct Row {
    id: String,
    modules: Vec<String>,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/parity.md")).expect("docs/parity.md");
    let list = |cell: &str| {
        let names = cell.split(',').map(|name| name.trim().trim_matches('`').to_owned());
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
            let id = cells[0].trim();
            let group = id.chars().next()?;
            let number: String = id.chars().skip(1).take_while(char::is_ascii_digit).collect();
            if !group.is_ascii_uppercase() || number.is_empty() {
                return None;
            }
            assert_eq!(cells.len(), 4, "{id} has {} columns; a `|` inside a cell?", cells.len());
            Some(Row { id: id.to_owned(), modules: list(cells[2]), tests: list(cells[3]) })
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all test functions: those with `#[test]` that are not ignored, and those in the list of the
/// lab tests.
fn tests_of_the_tree() -> HashSet<String> {
    let mut names = HashSet::new();
    for folder in ["stack", "dataplane", "bench"] {
        for file in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            if file.ends_with("dataplane/tests/lab/main.rs") {
                // Lines such as `            a_blackhole_route_is_silent,`
                names.extend(
                    text.lines()
                        .filter_map(|line| line.strip_prefix("            ")?.strip_suffix(','))
                        .map(str::to_owned),
                );
            }
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (index, line) in lines.iter().enumerate() {
                let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) else {
                    continue;
                };
                let above = lines[..index].iter().rev();
                let attributes: Vec<_> =
                    above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
                if attributes.iter().any(|line| **line == "#[test]")
                    && !attributes.iter().any(|line| line.starts_with("#[ignore"))
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_system_has_its_line_once_and_nothing_else_has_one() {
    let mut expected = BTreeSet::new();
    for (group, last) in GROUPS {
        for number in 1..=last {
            expected.insert(format!("{group}{number}"));
            if has_twin(group, number) {
                expected.insert(format!("{group}{number} (IPv6)"));
            }
        }
    }
    let rows = rows();
    let present: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    assert_eq!(present.len(), rows.len(), "an id has two lines");
    assert_eq!(present, expected);
}

#[test]
fn a_line_names_a_module_and_a_test_or_neither() {
    for row in rows() {
        assert_eq!(row.modules.is_empty(), row.tests.is_empty(), "{}: half done is not done", row.id);
    }
}

#[test]
fn every_module_that_is_named_exists() {
    for row in rows() {
        for module in row.modules {
            assert!(!module.starts_with('/') && !module.contains(".."), "{}: {module}", row.id);
            assert!(root().join(&module).exists(), "{} names {module}, which does not exist", row.id);
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let known = tests_of_the_tree();
    assert!(known.contains("every_test_that_is_named_exists"), "the search finds this very test");
    assert!(known.contains("a_blackhole_route_is_silent"), "the search finds the lab tests");
    assert!(!known.contains("tests_of_the_tree"), "the search finds tests only");
    for row in rows() {
        for test in row.tests {
            assert!(known.contains(&test), "{} names the test {test}, which does not exist", row.id);
        }
    }
}
