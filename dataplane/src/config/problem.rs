//! What is wrong with a configuration, where, and what to do about it.
//!
//! A [`Problem`] points into a text by an [`At`]; [`Sources`] keeps the texts and turns a problem into what
//! a person reads:
//!
//! ```text
//! error: queue 0 of port `lan` is polled by two cores
//!   --> router.toml:14:10
//!    |
//!  9 | ports = ["lan"]
//!    |          ----- cpu 1 polls it
//! 14 | ports = ["lan:0"]
//!    |          ^^^^^^^ cpu 2 polls it as well
//!    |
//!   = help: take it away from one of them
//! ```
//!
//! Reading goes on after a problem, so that one run shows them all; [`Problems`] keeps the first
//! [`MAX_PROBLEMS`] and counts the rest.

use super::bounds::MAX_PROBLEMS;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;

/// A place in one of the texts of a configuration: bytes `start..end` of file `file` in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    file: u16,
    start: u32,
    end: u32,
}

impl At {
    /// The bytes `span` of text number `file`. What does not fit in 32 bits ends there: no text is that long
    /// (`bounds`).
    pub fn new(file: usize, span: Range<usize>) -> At {
        let cut = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        At { file: u16::try_from(file).unwrap_or(u16::MAX), start: cut(span.start), end: cut(span.end) }
    }

    /// Number of the text.
    pub const fn file(self) -> usize {
        self.file as usize
    }

    /// Bytes of the text.
    pub const fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Whether the data plane can start with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but something is probably not as meant, or could not be checked here.
    Warning,
}

/// One thing that is wrong. Built in the order in which it is read: what, where, help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the data plane can start.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub at: At,
    /// What stands there, said under the caret. May be empty.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<(At, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// An error: the data plane cannot start.
    pub fn error(at: At, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            message: message.into(),
            at,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning: the data plane can start.
    pub fn warning(at: At, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(at, message) }
    }

    /// Says `label` under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    /// Shows another place.
    #[must_use]
    pub fn related(mut self, at: At, label: impl Into<String>) -> Problem {
        self.related.push((at, label.into()));
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

/// The problems of one configuration, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        match problem.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(problem);
        } else if problem.severity == Severity::Error
            && let Some(place) = self.kept.iter().rposition(|kept| kept.severity == Severity::Warning)
        {
            // An error is never crowded out by warnings.
            self.kept.remove(place);
            self.kept.push(problem);
        }
    }

    /// Adds those of `other`.
    pub fn append(&mut self, other: Problems) {
        let (errors, warnings) = (self.errors + other.errors, self.warnings + other.warnings);
        for problem in other.kept {
            self.push(problem);
        }
        (self.errors, self.warnings) = (errors, warnings);
    }

    /// How many errors there are, shown or not.
    pub const fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings there are, shown or not.
    pub const fn warnings(&self) -> usize {
        self.warnings
    }

    /// True when there is nothing, not even a warning.
    pub const fn is_empty(&self) -> bool {
        self.errors == 0 && self.warnings == 0
    }

    /// Those that are kept, in the order of their places in the files.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        let mut sorted: Vec<&Problem> = self.kept.iter().collect();
        sorted.sort_by_key(|problem| problem.at);
        sorted.into_iter()
    }
}

/// One text of a configuration.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name of the file, as messages show it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The texts of a configuration: the file itself first, then its `routes_file`s.
#[derive(Debug, Clone, Default)]
pub struct Sources(pub Vec<Source>);

impl Sources {
    /// Line and column, both from 1, where `at` starts; a column is a character. `None` when there is no such
    /// text.
    pub fn line_column(&self, at: At) -> Option<(usize, usize)> {
        let text = &self.0.get(at.file())?.text;
        let before = &text[..floor(text, at.span().start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// What a person reads about `problem`; several lines without a newline at the end.
    pub fn render(&self, problem: &Problem, colour: bool) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = printable(&problem.message);
        let label = printable(&problem.label);
        let related: Vec<(At, String)> =
            problem.related.iter().map(|(at, text)| (*at, printable(text))).collect();
        let help = problem.help.as_deref().map(printable);
        let mut group = Group::with_title(level.primary_title(title.as_str()));
        for (file, source) in self.0.iter().enumerate() {
            let here = problem.at.file() == file;
            let others: Vec<_> = related.iter().filter(|(at, _)| at.file() == file).collect();
            if !here && others.is_empty() {
                continue;
            }
            let places = here
                .then_some(problem.at)
                .into_iter()
                .chain(others.iter().map(|(at, _)| *at))
                .collect::<Vec<_>>();
            let window = window(&source.text, &places);
            let shift = |at: At| -> Range<usize> {
                let start = floor(&source.text, at.span().start).clamp(window.bytes.start, window.bytes.end);
                let end = floor(&source.text, at.span().end).clamp(start, window.bytes.end);
                start - window.bytes.start..end - window.bytes.start
            };
            let mut snippet = Snippet::source(&source.text[window.bytes.clone()])
                .path(source.name.as_str())
                .line_start(window.first_line);
            if here {
                snippet =
                    snippet.annotation(AnnotationKind::Primary.span(shift(problem.at)).label(label.as_str()));
            }
            for (at, text) in others {
                snippet = snippet.annotation(AnnotationKind::Context.span(shift(*at)).label(text.as_str()));
            }
            group = group.element(snippet);
        }
        if let Some(help) = &help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }

    /// What a person reads about all of them: each as [`Sources::render`], an empty line between.
    pub fn render_all(&self, problems: &Problems, colour: bool) -> String {
        let mut shown: Vec<String> = problems.iter().map(|problem| self.render(problem, colour)).collect();
        let hidden = (problems.errors + problems.warnings).saturating_sub(shown.len());
        if hidden > 0 {
            shown.push(format!("… and {hidden} more that are not shown"));
        }
        shown.join("\n\n")
    }
}

/// The lines of a text that a problem shows, so that the renderer need not walk a file of a million lines.
struct Window {
    bytes: Range<usize>,
    first_line: usize,
}

/// The lines from the first of `places` to the last.
fn window(text: &str, places: &[At]) -> Window {
    let first = floor(text, places.iter().map(|at| at.span().start).min().unwrap_or(0));
    let last = floor(text, places.iter().map(|at| at.span().end).max().unwrap_or(0)).max(first);
    let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[last..].find('\n').map_or(text.len(), |newline| last + newline);
    Window { bytes: start..end, first_line: text[..start].matches('\n').count() + 1 }
}

/// `offset`, or the nearest place before it that is inside `text` and not inside a character.
fn floor(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset)
}

/// `text` with control characters made visible: what a file says must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
