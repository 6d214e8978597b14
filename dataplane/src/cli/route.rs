//! `flumen route …`: changes of a running service's routes, one or a file of them.
//!
//! A change is written as a line of a routes file ([`crate::config::routes_file`]) with `add`, `replace` or `del`
//! before it; in a batch, a line without such a word adds, so a routes file is a batch. The service reads the lines:
//! it knows its ports.

use super::service::{Failed, Service, code, fail, out, report, unexpected};
use crate::control::protocol::{Change, MAX_CHANGES, MAX_REQUEST, RefusedChange};
use crate::control::{Answer, Request, client};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes of a line of a batch. 16 next hops with IPv6 gateways and long port names take 1,600.
const MAX_LINE: usize = 4096;

/// Refusals that are shown one by one; nobody reads more.
const MAX_SHOWN: usize = 50;

/// Arguments of `flumen route`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to change.
    #[command(subcommand)]
    pub what: What,
    /// Which service.
    #[command(flatten)]
    pub service: Service,
}

/// What to change.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Add a route; an error when there is one with its prefix and metric
    Add(Line),
    /// Add a route, or put it in the place of the one with its prefix and metric
    Replace(Line),
    /// Take out the route with this prefix and metric
    Del(Name),
    /// Make the changes in a file, one a line: `add …`, `replace …`, `del …`, or a route to add
    Batch {
        /// The file; `-` is standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

/// A route.
#[derive(Debug, clap::Args)]
pub struct Line {
    /// PREFIX [via ADDRESS [port NAME] [weight N] …|port NAME|blackhole|unreachable|prohibit|local] [metric N]
    /// [table NAME] [mtu N] [advmss N] [window N] [initcwnd N]
    #[arg(required = true, value_name = "ROUTE")]
    pub words: Vec<String>,
}

/// What names a route.
#[derive(Debug, clap::Args)]
pub struct Name {
    /// PREFIX [metric N] [table NAME]
    #[arg(required = true, value_name = "ROUTE")]
    pub words: Vec<String>,
}

/// Changes.
pub fn execute(args: &Args) -> ExitCode {
    code(match &args.what {
        What::Add(line) => one(&args.service, Change::Add(line.words.join(" "))),
        What::Replace(line) => one(&args.service, Change::Replace(line.words.join(" "))),
        What::Del(name) => one(&args.service, Change::Del(name.words.join(" "))),
        What::Batch { file } => batch(&args.service, file),
    })
}

fn one(service: &Service, change: Change) -> Result<(), Failed> {
    match service.ask(&Request::Routes(vec![change]))? {
        Answer::Changed(changed) => match changed.refused.first() {
            None => Ok(()),
            Some(refused) => Err(fail(&refused.why.message, refused.why.help.as_deref())),
        },
        _ => Err(unexpected()),
    }
}

fn batch(service: &Service, file: &Path) -> Result<(), Failed> {
    let path = service.path()?;
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let cannot = |error: std::io::Error| fail(&format!("cannot read {name}: {error}"), None);
    let reader: Box<dyn Read> = if is_stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(cannot)?)
    };
    let mut lines = Lines { reader: BufReader::new(reader), number: 0 };
    let mut outcome = Outcome { name: &name, done: 0, refused: 0 };
    let mut parcel = Parcel::default();
    while let Some(line) = lines.next_line().map_err(cannot)? {
        let line = match line {
            Ok(line) => line,
            Err(what) => {
                outcome.refuse(lines.number, None, what, None);
                continue;
            }
        };
        let Some((change, column)) = change_in(&line) else { continue };
        let bytes = serde_json::to_string(&change).map_or(0, |json| json.len()) + 1;
        if !parcel.has_room(bytes) {
            parcel.send(&path, &mut outcome)?;
        }
        parcel.bytes += bytes;
        parcel.changes.push(change);
        parcel.places.push((lines.number, column, line));
    }
    parcel.send(&path, &mut outcome)?;
    outcome.end()
}

/// The change that a line of a batch says, and at which byte its route begins; `None` when it says nothing.
fn change_in(line: &str) -> Option<(Change, usize)> {
    let start = line.len() - line.trim_ascii_start().len();
    let content = line.get(start..)?;
    if content.is_empty() || content.starts_with('#') {
        return None;
    }
    let word = content.split_ascii_whitespace().next()?;
    let make: fn(String) -> Change = match word {
        "add" => Change::Add,
        "replace" => Change::Replace,
        "del" => Change::Del,
        _ => return Some((Change::Add(content.trim_ascii_end().to_owned()), start)),
    };
    let rest = content.get(word.len()..)?;
    let route = rest.trim_ascii_start();
    let begin = line.len() - route.len();
    Some((make(route.trim_ascii_end().to_owned()), begin))
}

/// The lines of a file, none longer than [`MAX_LINE`].
struct Lines {
    reader: BufReader<Box<dyn Read>>,
    /// That of the line that was read last, from 1.
    number: usize,
}

impl Lines {
    /// The next line, or what is wrong with it.
    fn next_line(&mut self) -> std::io::Result<Option<Result<String, &'static str>>> {
        let mut bytes = Vec::new();
        (&mut self.reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() > MAX_LINE {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Err("the line is longer than 4096 bytes")));
        }
        Ok(Some(String::from_utf8(bytes).map_err(|_| "the line is not UTF-8 text")))
    }
}

/// Changes that go into one request.
#[derive(Default)]
struct Parcel {
    changes: Vec<Change>,
    /// Of each change: its line, the byte in it where the route begins, and the line's text.
    places: Vec<(usize, usize, String)>,
    bytes: usize,
}

/// What a request is besides its changes: `{"routes":[]}` and the end of its line.
const AROUND: usize = 32;

impl Parcel {
    fn has_room(&self, bytes: usize) -> bool {
        self.changes.len() < MAX_CHANGES && AROUND + self.bytes + bytes <= MAX_REQUEST
    }

    fn send(&mut self, path: &Path, outcome: &mut Outcome<'_>) -> Result<(), Failed> {
        let Parcel { changes, places, .. } = std::mem::take(self);
        if changes.is_empty() {
            return Ok(());
        }
        let answer = client::ask(path, &Request::Routes(changes)).map_err(|error| {
            let failed = report(&error);
            outcome.tell();
            failed
        })?;
        let Answer::Changed(changed) = answer else { return Err(unexpected()) };
        outcome.done += changed.done;
        for RefusedChange { index, offset, why } in changed.refused {
            let Some((line, begin, text)) = places.get(index) else { return Err(unexpected()) };
            let place = offset.map(|offset| (text.as_str(), begin + offset));
            outcome.refuse(*line, place, &why.message, why.help.as_deref());
        }
        Ok(())
    }
}

/// What became of a batch so far.
struct Outcome<'n> {
    name: &'n str,
    done: usize,
    refused: usize,
}

impl Outcome<'_> {
    /// Says why the change in a line was not made; `place` is the line's text and the byte where it is wrong.
    fn refuse(&mut self, line: usize, place: Option<(&str, usize)>, why: &str, help: Option<&str>) {
        self.refused += 1;
        if self.refused > MAX_SHOWN {
            return;
        }
        let column =
            place.and_then(|(text, byte)| Some(format!(":{}", text.get(..byte)?.chars().count() + 1)));
        fail(&format!("{}:{line}{}: {why}", self.name, column.unwrap_or_default()), help);
    }

    fn tell(&self) {
        if self.refused > MAX_SHOWN {
            eprintln!("… and {} more that are not shown", self.refused - MAX_SHOWN);
        }
        if self.done + self.refused > 0 {
            eprintln!("{}: {} changes made, {} refused", self.name, self.done, self.refused);
        }
    }

    fn end(self) -> Result<(), Failed> {
        if self.refused > 0 {
            self.tell();
            return Err(Failed);
        }
        out(&format!("{}: {} changes made\n", self.name, self.done)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_batch_is_a_change_and_without_a_word_it_adds() {
        let add = |text: &str| Change::Add(text.to_owned());
        for (line, wanted) in [
            ("add 10.0.0.0/8 blackhole", Some((add("10.0.0.0/8 blackhole"), 4))),
            ("  10.0.0.0/8  port lan \r", Some((add("10.0.0.0/8  port lan"), 2))),
            ("\tdel  10.0.0.0/8", Some((Change::Del("10.0.0.0/8".to_owned()), 6))),
            ("replace", Some((Change::Replace(String::new()), 7))),
            ("address", Some((add("address"), 0))),
            ("", None),
            ("   # comment", None),
        ] {
            assert_eq!(change_in(line), wanted, "{line:?}");
        }
    }

    #[test]
    fn lines_end_at_their_bound() {
        let text =
            [vec![b'a'; MAX_LINE], vec![b'\n'], vec![b'b'; MAX_LINE + 1], b"\n\xff\nlast".to_vec()].concat();
        let reader: Box<dyn Read> = Box::new(std::io::Cursor::new(text));
        let mut lines = Lines { reader: BufReader::new(reader), number: 0 };
        let mut next = || lines.next_line().unwrap().map(|line| line.map(|text| text.len()));
        assert_eq!(next(), Some(Ok(MAX_LINE)));
        assert!(matches!(next(), Some(Err(what)) if what.contains("4096")));
        assert!(matches!(next(), Some(Err(what)) if what.contains("UTF-8")));
        assert_eq!((next(), next()), (Some(Ok(4)), None));
    }

    #[test]
    fn a_parcel_is_full_by_number_and_by_bytes() {
        let mut parcel = Parcel::default();
        assert!(parcel.has_room(MAX_REQUEST - AROUND) && !parcel.has_room(MAX_REQUEST - AROUND + 1));
        parcel.changes = vec![Change::Del(String::new()); MAX_CHANGES - 1];
        assert!(parcel.has_room(1));
        parcel.changes.push(Change::Del(String::new()));
        assert!(!parcel.has_room(1));
    }
}
