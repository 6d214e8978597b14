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
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl std::fmt::Debug for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "At({}:{}..{})", self.file, self.start, self.end)
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
            let mut marks: Vec<(At, AnnotationKind, &str)> =
                here.then_some((problem.at, AnnotationKind::Primary, label.as_str())).into_iter().collect();
            marks.extend(others.iter().map(|(at, text)| (*at, AnnotationKind::Context, text.as_str())));
            // Places far apart are shown one by one: the renderer walks all the lines between those of one snippet.
            let whole = window(&source.text, &marks.iter().map(|(at, ..)| *at).collect::<Vec<_>>());
            let apart = if whole.bytes.len() > MAX_SNIPPET { 1 } else { marks.len() };
            for marks in marks.chunks(apart.max(1)) {
                let window = window(&source.text, &marks.iter().map(|(at, ..)| *at).collect::<Vec<_>>());
                let inside = |offset: usize| {
                    floor(&source.text, offset).clamp(window.bytes.start, window.bytes.end)
                        - window.bytes.start
                };
                let annotations = marks.iter().map(|(at, kind, text)| {
                    let start = inside(at.span().start);
                    kind.span(start..inside(at.span().end).max(start)).label(*text)
                });
                group = group.element(
                    Snippet::source(without_c1(&source.text[window.bytes.clone()]))
                        .path(printable(&source.name))
                        .line_start(window.first_line)
                        .annotations(annotations),
                );
            }
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

/// Bytes of text that one snippet may span: some hundred lines.
const MAX_SNIPPET: usize = 16 << 10;

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

/// `text` with the C1 control characters (U+009B begins a terminal command as ESC [ does) made visible, each
/// by a character of the same length, so that places stay right. The renderer does it for the others.
fn without_c1(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\u{80}'..='\u{9f}') { '¿' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_kept_even_when_warnings_came_first() {
        let at = At::new(0, 0..0);
        let mut problems = Problems::default();
        for _ in 0..MAX_PROBLEMS {
            problems.push(Problem::warning(at, "warning"));
        }
        problems.push(Problem::error(at, "error"));
        problems.push(Problem::warning(at, "one too many"));
        assert_eq!(problems.iter().count(), MAX_PROBLEMS);
        assert_eq!(problems.iter().filter(|problem| problem.severity == Severity::Error).count(), 1);
        assert_eq!((problems.errors(), problems.warnings()), (1, MAX_PROBLEMS + 1));
    }

    #[test]
    fn places_far_apart_and_in_two_files_are_all_shown() {
        let text = format!("first\n{}last\n", "between\n".repeat(10_000));
        let end = text.len();
        let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
        let sources = Sources(vec![source("a", &text), source("b", "other\n")]);
        let problem = Problem::error(At::new(0, end - 5..end - 1), "it")
            .related(At::new(0, 0..5), "this")
            .related(At::new(1, 0..5), "that");
        let shown = sources.render(&problem, false);
        for part in ["a:10002:1", "| last", "| first", "| other", "this", "that"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        assert!(!shown.contains("between"));
    }

    #[test]
    fn a_place_beyond_the_text_is_shown_at_its_end() {
        let sources = Sources(vec![Source { name: "a".to_owned(), text: "é".to_owned() }]);
        for span in [0..99, 1..1, 99..99, 1..2] {
            let problem = Problem::error(At::new(0, span), "it").label("here");
            assert!(sources.render(&problem, true).contains("here"));
        }
        assert_eq!(sources.line_column(At::new(1, 0..0)), None);
    }
}
