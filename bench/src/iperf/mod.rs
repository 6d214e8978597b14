//! # Other people's programs, collected
//!
//! ```text
//!   cases: iperf3, iperf, wrk, each with its words ──> run: in turn, several rounds ──> parse ──> medians, ranges
//! ```
//! What users measure with is iperf, and wrk for web servers; they run through the data plane (a server behind it) or to
//! it (its own services: `iperf` needs nothing but a port that discards). The programs say what they saw, in JSON or in
//! their own words; this module runs them by turns, so that what else the machine does hits all alike, and keeps
//! medians and ranges.

pub mod cases;
pub mod parse;
pub mod report;

use crate::measure::Spread;
use cases::Case;
use core::sync::atomic::{AtomicBool, Ordering};
use serde::Serialize;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What one run of a program came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Bits a second that arrived, or requests a second.
    pub rate: f64,
    /// Segments sent again, where the program says.
    pub retransmits: Option<u64>,
    /// Per cent of the datagrams that were lost, where there are some.
    pub lost: Option<f64>,
    /// Milliseconds between datagrams' delays, or the 99th percentile of a request.
    pub milliseconds: Option<f64>,
}

/// What all runs of a case came to.
#[derive(Debug, Clone, Serialize)]
pub struct Collected {
    /// The case.
    pub name: String,
    /// The command line.
    pub command: String,
    /// What the rate counts.
    pub unit: &'static str,
    /// Rates.
    pub rate: Spread,
    /// Every run.
    pub runs: Vec<Sample>,
}

/// How long a program may take beyond the time that it was told.
const GRACE: Duration = Duration::from_secs(20);

/// How long a server may take to listen.
const LISTEN: Duration = Duration::from_secs(5);

/// Runs all cases by turns, so many rounds; `tell` hears what is begun.
///
/// # Errors
/// The first program that fails, and what it said.
pub fn run(
    cases: &[Case],
    rounds: usize,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Collected>, String> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cases.len()];
    for round in 1..=rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            tell(&format!("round {round} of {rounds}: {}", case.name));
            samples.push(one(case, stop)?);
        }
    }
    let collected = cases.iter().zip(samples).filter_map(|(case, runs)| {
        Some(Collected {
            name: case.name.clone(),
            command: case.client.join(" "),
            unit: case.kind.unit(),
            rate: Spread::of(runs.iter().map(|run| run.rate))?,
            runs,
        })
    });
    Ok(collected.collect())
}

/// One run: the server, where the case has one, then the client.
fn one(case: &Case, stop: &AtomicBool) -> Result<Sample, String> {
    let _server = match &case.server {
        None => None,
        Some(words) => {
            let server = Server(spawn(words)?);
            // A server says nothing that can be waited for in every version; the client's own patience is short, so the
            // server gets a moment and the client a second try.
            std::thread::sleep(Duration::from_millis(300));
            Some(server)
        }
    };
    let deadline = Instant::now() + LISTEN;
    loop {
        let (ok, text, error) = finish(&case.client, case.time + GRACE, stop)?;
        match case.kind.parse(&text) {
            Ok(sample) if ok => return Ok(sample),
            _ if case.server.is_some() && refused(&text, &error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(_) => return Err(format!("{}: {}", case.name, last_line(&error))),
            Err(why) => {
                let said = if error.trim().is_empty() { why } else { last_line(&error).to_owned() };
                return Err(format!("{}: {said}", case.name));
            }
        }
    }
}

fn refused(text: &str, error: &str) -> bool {
    [text, error].iter().any(|said| said.to_lowercase().contains("refused"))
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or("it failed and said nothing")
}

fn spawn(words: &[String]) -> Result<Child, String> {
    let (program, arguments) = words.split_first().ok_or("an empty command")?;
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}; scripts/setup installs what is measured with"))
}

/// A server that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; waiting makes sure that nothing of it is left.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end: whether it succeeded, and what it said.
fn finish(words: &[String], limit: Duration, stop: &AtomicBool) -> Result<(bool, String, String), String> {
    let mut child = Server(spawn(words)?);
    let outputs = [child.0.stdout.take().map(reader), child.0.stderr.take().map(reader)];
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.0.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("`{}` does not end", words.join(" ")));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let [out, error] = outputs.map(|thread| thread.and_then(|thread| thread.join().ok()).unwrap_or_default());
    Ok((status.success(), out, error))
}

/// Reads while the program runs, so that it never waits for us.
fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is not there: the parser will say so.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::cases::Kind;
    use super::*;

    fn case(words: &[&str], kind: Kind) -> Case {
        let client = words.iter().map(|word| (*word).to_owned()).collect();
        Case { name: "case".to_owned(), kind, client, server: None, time: Duration::from_secs(1) }
    }

    #[test]
    fn rounds_of_a_program_become_a_median_and_a_range() {
        let line = "19700101000000,127.0.0.1,1,127.0.0.1,2,1,0.0-1.0,1000,8000";
        let collected = run(&[case(&["echo", line], Kind::Iperf2)], 3, &AtomicBool::new(false), &mut |_| {});
        let collected = collected.unwrap();
        assert_eq!((collected[0].rate.median, collected[0].runs.len()), (8000.0, 3));
        assert_eq!(collected[0].unit, "bit/s");
    }

    #[test]
    fn a_program_that_fails_or_is_missing_is_one_line() {
        let stop = AtomicBool::new(false);
        let failing = |words: &[&str]| run(&[case(words, Kind::Iperf2)], 1, &stop, &mut |_| {}).unwrap_err();
        assert_eq!(failing(&["sh", "-c", "echo no route >&2; exit 1"]), "case: no route");
        assert!(failing(&["no-such-program-here"]).contains("scripts/setup"));
        assert!(failing(&["echo", "nonsense"]).starts_with("case: "));
    }
}
