//! The report of a measurement: Markdown to read, JSON to compute with, plots to look at, each stamped with the machine.

use super::procedures::{OfSize, Settings};
use super::svg::{Line, plot};
use crate::machine::Machine;
use crate::pktgen::report::{packets, time};
use core::fmt::Write;
use serde::Serialize;
use std::path::Path;

/// All of a measurement.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where, with what kernel, of which commit.
    pub machine: Machine,
    /// Between which ports.
    pub ports: [String; 2],
    /// What each socket of the generator got.
    pub sockets: Vec<String>,
    /// What the device is, in the words of whoever measures.
    pub device: String,
    /// How it was measured.
    pub settings: Settings,
    /// What came of it.
    pub results: Vec<OfSize>,
}

impl Report {
    /// For reading.
    pub fn markdown(&self) -> String {
        let Report { machine, ports, sockets, device, settings, results } = self;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "# RFC 2544: {device}\n\nFrom {} to {}; trials of {} s, searched to {} %. {machine}.\n\n",
            ports[0],
            ports[1],
            settings.trial.as_secs_f64(),
            settings.resolution * 100.0
        );
        for socket in sockets {
            let _ = writeln!(text, "- {socket}");
        }
        let _ = write!(
            text,
            "\n## Throughput\n\nNDR: the highest rate without loss. PDR: with at most {} %. `>=`: the generator sent no faster.\n\n\
             | frame | NDR | of the line | PDR | back-to-back |\n|---|---|---|---|---|\n",
            settings.partial * 100.0
        );
        for one in results {
            let more = |limited: bool| if limited { ">= " } else { "" };
            let wire = one.ndr.rate * (f64::from(one.size) + 20.0) * 8.0;
            let _ = writeln!(
                text,
                "| {} | {}{} | {:.3} Gbit/s | {}{} | {}{} frames |",
                one.size,
                more(one.ndr.limited_by_generator),
                packets(one.ndr.rate),
                wire / 1e9,
                more(one.pdr.limited_by_generator),
                packets(one.pdr.rate),
                more(one.back_to_back.or_more),
                one.back_to_back.frames
            );
        }
        let _ = write!(
            text,
            "\n## Latency\n\nAt parts of the throughput, by software clocks.\n\n\
             | frame | load | p50 | p90 | p99 | p99.9 | p99.99 | most | jitter | lost |\n|---|---|---|---|---|---|---|---|---|---|\n"
        );
        for (one, at) in results.iter().flat_map(|one| one.latency.iter().map(move |at| (one, at))) {
            let _ = write!(text, "| {} | {} % |", one.size, at.percent);
            match &at.trial.latency {
                Some(latency) => {
                    for (_, value) in &latency.quantiles {
                        let _ = write!(text, " {} |", time(*value as f64));
                    }
                    let _ = write!(text, " {} |", time(latency.jitter));
                }
                None => text.push_str(" - | - | - | - | - | - | - |"),
            }
            let _ = writeln!(text, " {:.4} % |", at.trial.loss() * 100.0);
        }
        text.push_str("\n## Loss\n\n| frame | offered | lost | in the receiver |\n|---|---|---|---|\n");
        for (one, trial) in results.iter().flat_map(|one| one.loss.iter().map(move |trial| (one, trial))) {
            let _ = writeln!(
                text,
                "| {} | {} | {:.4} % | {} frames |",
                one.size,
                packets(trial.offered),
                trial.loss() * 100.0,
                trial.overrun
            );
        }
        text.push_str("\n![loss](loss.svg)\n\n![latency](latency.svg)\n");
        text
    }

    /// Loss by offered rate, a line for each size.
    pub fn loss_plot(&self) -> String {
        let lines: Vec<Line> =
            self.lines(|one| one.loss.iter().map(|trial| (trial.offered, trial.loss() * 100.0)).collect());
        plot("Loss by offered rate", "frames a second", "per cent lost", &lines)
    }

    /// The median latency by load, a line for each size.
    pub fn latency_plot(&self) -> String {
        let lines: Vec<Line> = self.lines(|one| {
            let point = |at: &super::procedures::AtLoad| {
                let latency = at.trial.latency.as_ref()?;
                Some((f64::from(at.percent), latency.quantile(50.0) as f64 / 1000.0))
            };
            one.latency.iter().filter_map(point).collect()
        });
        plot("Median latency by load", "per cent of the throughput", "microseconds", &lines)
    }

    fn lines(&self, points: impl Fn(&OfSize) -> Vec<(f64, f64)>) -> Vec<Line> {
        let line = |one: &OfSize| {
            let mut points = points(one);
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { name: format!("{} bytes", one.size), points }
        };
        self.results.iter().map(line).collect()
    }

    /// Writes report.md, report.json, loss.svg and latency.svg into a folder, which is made.
    ///
    /// # Errors
    /// The file, and what the kernel says.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (name, text) in [
            ("report.md", self.markdown()),
            ("report.json", json),
            ("loss.svg", self.loss_plot()),
            ("latency.svg", self.latency_plot()),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_measurement_becomes_four_files() {
        let settings = Settings {
            sizes: vec![64, 1518],
            trial: Duration::from_secs(1),
            partial: 0.005,
            resolution: 0.01,
            bursts: 1,
        };
        let mut model = Model { capacity: 100_000.0, buffer: 10, generator: 1e6, trials: Vec::new() };
        let results: Vec<OfSize> = settings
            .sizes
            .iter()
            .map(|size| settings.measure(&mut model, *size, &mut |_| {}).unwrap())
            .collect();
        let report = Report {
            machine: Machine::here(None),
            ports: ["a".to_owned(), "b".to_owned()],
            sockets: vec!["queue 0: native".to_owned()],
            device: "a model".to_owned(),
            settings,
            results,
        };
        let folder = tempfile::tempdir().unwrap();
        report.write(&folder.path().join("new")).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join("new").join(name)).unwrap();
        let markdown = read("report.md");
        assert!(markdown.contains("| 64 | ") && markdown.contains("| 1518 | "), "{markdown}");
        assert!(markdown.contains("- queue 0: native"));
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(json["results"][0]["size"], 64);
        assert!(json["machine"]["kernel"].is_string());
        assert!(read("loss.svg").contains("64 bytes") && read("latency.svg").contains("</svg>"));
    }
}
