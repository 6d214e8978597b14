//! What the programs said, in the report of a measurement: a section of report.md and a key of report.json, beside what
//! `rfc2544` wrote there, or alone.

use super::Collected;
use crate::machine::Machine;
use crate::pktgen::report::bits;
use core::fmt::Write;
use serde_json::{Value, json};
use std::path::Path;

/// The line before our section in report.md: what is behind it is ours and written anew.
const SECTION: &str = "\n## Programs\n";

/// For reading.
pub fn markdown(machine: &Machine, rounds: usize, all: &[Collected]) -> String {
    let mut text = format!(
        "{SECTION}\nMedian (range) of {rounds} rounds, by turns. {machine}.\n\n\
         | case | rate | sent again | lost | jitter or p99 | command |\n|---|---|---|---|---|---|\n"
    );
    for one in all {
        let Collected { name, command, unit, rate, runs } = one;
        let show = |rate: f64| if *unit == "bit/s" { bits(rate) } else { format!("{rate:.0} {unit}") };
        let dash = || "-".to_owned();
        let resent: Option<u64> = runs.iter().map(|run| run.retransmits).sum();
        let lost: Vec<f64> = runs.iter().filter_map(|run| run.lost).collect();
        let late: Vec<f64> = runs.iter().filter_map(|run| run.milliseconds).collect();
        let most = |all: &[f64]| all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {} ({} - {}) | {} | {} | {} | `{command}` |",
            show(rate.median),
            show(rate.least),
            show(rate.most),
            resent.map_or_else(dash, |count| count.to_string()),
            if lost.is_empty() { dash() } else { format!("at most {:.2} %", most(&lost)) },
            if late.is_empty() { dash() } else { format!("at most {:.2} ms", most(&late)) },
        );
    }
    text
}

/// Adds the section to what is in the folder.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn write(folder: &Path, machine: &Machine, rounds: usize, all: &[Collected]) -> Result<(), String> {
    let said = |path: &Path, error: &dyn core::fmt::Display| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| said(folder, &error))?;
    let path = folder.join("report.json");
    let mut document: Value = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| said(&path, &error))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(said(&path, &error)),
    };
    let Some(keys) = document.as_object_mut() else { return Err(said(&path, &"no report of ours")) };
    keys.insert("programs".to_owned(), json!({ "machine": machine, "rounds": rounds, "cases": all }));
    let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| said(&path, &error))?;
    let path = folder.join("report.md");
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text.split(SECTION).next().unwrap_or_default().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "# Programs\n".to_owned(),
        Err(error) => return Err(said(&path, &error)),
    };
    std::fs::write(&path, before + &markdown(machine, rounds, all)).map_err(|error| said(&path, &error))
}

#[cfg(test)]
mod tests {
    use super::super::Sample;
    use super::*;
    use crate::measure::Spread;

    fn collected() -> Vec<Collected> {
        let sample = |rate| Sample { rate, retransmits: Some(2), lost: None, milliseconds: Some(0.5) };
        let runs = vec![sample(1e9), sample(2e9), sample(3e9)];
        let rate = Spread::of(runs.iter().map(|run| run.rate)).unwrap();
        vec![Collected {
            name: "iperf3 TCP".to_owned(),
            command: "iperf3 -J".to_owned(),
            unit: "bit/s",
            rate,
            runs,
        }]
    }

    #[test]
    fn the_section_joins_a_report_and_is_written_anew_the_second_time() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("report.md"), "# RFC 2544: x\n\ntext\n").unwrap();
        std::fs::write(folder.path().join("report.json"), r#"{"device":"x"}"#).unwrap();
        let machine = Machine::here(None);
        for _ in 0..2 {
            write(folder.path(), &machine, 3, &collected()).unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
        assert!(text.starts_with("# RFC 2544: x") && text.matches("## Programs").count() == 1, "{text}");
        assert!(
            text.contains("2.000 Gbit/s (1.000 Gbit/s - 3.000 Gbit/s) | 6 | - | at most 0.50 ms"),
            "{text}"
        );
        let json = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (json["device"].as_str(), json["programs"]["cases"][0]["unit"].as_str()),
            (Some("x"), Some("bit/s"))
        );
    }

    #[test]
    fn a_file_that_is_no_report_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("report.json"), "[1]").unwrap();
        assert!(
            write(folder.path(), &Machine::here(None), 1, &collected())
                .unwrap_err()
                .contains("no report of ours")
        );
    }
}
