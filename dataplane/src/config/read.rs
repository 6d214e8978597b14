//! From TOML with spans to values with ranges. Every function here that finds something wrong says so to
//! the [`Reader`] and gives `None`; the caller goes on with a default, so that one run finds all there is
//! to find. (serde would stop at the first.) A configuration with an error never leaves `config`.

use super::bounds::MAX_PROBLEMS;
use super::problem::{At, Problem, Problems};
use super::schema::Spec;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where problems go while one text is read.
#[derive(Debug, Default)]
pub struct Reader {
    /// Number of the text in `Sources`.
    pub file: usize,
    problems: RefCell<Problems>,
}

impl Reader {
    /// Notes a problem.
    pub fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Errors so far.
    pub fn errors(&self) -> usize {
        self.problems.borrow().errors()
    }

    /// True when further problems are only counted: then advice that takes long to find is not worth it.
    fn is_full(&self) -> bool {
        self.errors() >= MAX_PROBLEMS
    }

    /// The place of `span` in this text.
    pub fn at(&self, span: std::ops::Range<usize>) -> At {
        At::new(self.file, span)
    }

    /// What was found.
    pub fn into_problems(self) -> Problems {
        self.problems.into_inner()
    }
}

/// One table: its keys are known, and their values are asked for by name.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    reader: &'a Reader,
    table: &'a DeTable<'a>,
    spec: &'static Spec,
    /// Where it begins.
    pub at: At,
}

impl<'a> Section<'a> {
    /// Opens `table`; keys that `spec` does not have are errors.
    pub fn open(reader: &'a Reader, table: &'a DeTable<'a>, spec: &'static Spec, at: At) -> Section<'a> {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !spec.keys.contains(&name) {
                let at = reader.at(key.span());
                if reader.is_full() {
                    reader.report(Problem::error(at, "unknown key"));
                    continue;
                }
                reader.report(
                    Problem::error(at, format!("{} has no key `{name}`", spec.name))
                        .label("unknown key")
                        .help(suggest(name, spec.keys, "its keys are")),
                );
            }
        }
        Section { reader, table, spec, at }
    }

    /// Where problems go.
    pub fn reader(&self) -> &'a Reader {
        self.reader
    }

    /// The value of `key`, if it is there.
    pub fn value(&self, key: &str) -> Option<Value<'a>> {
        let (key, value) = self.table.iter().find(|(name, _)| **name.get_ref() == *key)?;
        Some(Value { reader: self.reader, key: key.get_ref(), key_at: self.reader.at(key.span()), value })
    }

    /// The value of `key`; an error when it is not there.
    pub fn required(&self, key: &str, example: &str) -> Option<Value<'a>> {
        let value = self.value(key);
        if value.is_none() {
            self.reader.report(
                Problem::error(self.at, format!("{} needs `{key}`", self.spec.name))
                    .label("here")
                    .help(format!("add it, as in `{key} = {example}`")),
            );
        }
        value
    }

    /// An integer in `range`, or `default`.
    pub fn integer(&self, key: &str, range: RangeInclusive<i64>, default: i64) -> i64 {
        self.value(key).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    /// A power of two in `range`, or `default`.
    pub fn power_of_two(&self, key: &str, range: RangeInclusive<i64>, default: i64) -> i64 {
        self.value(key).and_then(|value| value.power_of_two(range)).unwrap_or(default)
    }

    /// A truth value, or `default`.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        self.value(key).and_then(|value| value.boolean()).unwrap_or(default)
    }

    /// One of the words, or `default`.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&'static str, T)], default: T) -> T {
        self.value(key).and_then(|value| value.word(words)).unwrap_or(default)
    }

    /// Where the value of `key` stands, or else `fallback`.
    pub fn place(&self, key: &str, fallback: At) -> At {
        self.value(key).map_or(fallback, |value| value.at())
    }

    /// The keys that are there, with their places.
    pub fn keys(&self) -> impl Iterator<Item = (&'a str, At)> {
        self.table.keys().map(|key| (&**key.get_ref(), self.reader.at(key.span())))
    }
}

/// The value of a key, or an element of a list.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    reader: &'a Reader,
    key: &'a str,
    /// Where the key stands.
    pub key_at: At,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    /// Where the value stands.
    pub fn at(&self) -> At {
        self.reader.at(self.value.span())
    }

    /// Where problems go.
    pub fn reader(&self) -> &'a Reader {
        self.reader
    }

    /// Says that the value is wrong.
    pub fn wrong(&self, message: impl Into<String>, help: impl Into<String>) {
        self.reader.report(Problem::error(self.at(), message).help(help));
    }

    /// Says that the value is of a wrong type.
    pub fn wrong_type(&self, wanted: &str, help: &str) {
        let article = |word: &str| if word.starts_with(['a', 'i']) { "an" } else { "a" };
        let is = self.value.get_ref().type_str();
        self.reader.report(
            Problem::error(self.at(), format!("`{}` must be {wanted}", self.key))
                .label(format!("this is {} {is}", article(is)))
                .help(help),
        );
    }

    /// The text, if it is one. Says nothing.
    pub fn text(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// True for an integer.
    pub fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    /// True for a table.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// True for a list.
    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// An integer in `range`.
    pub fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let (low, high) = (range.start(), range.end());
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.wrong_type("an integer", &format!("write a number from {low} to {high}, without quotes"));
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(
                format!("`{}` is out of range: {}", self.key, integer.as_str()),
                format!("it goes from {low} to {high}"),
            );
        }
        number
    }

    /// A power of two in `range`; 0 counts as one when it is in the range.
    pub fn power_of_two(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.integer(range.clone())?;
        if number & number.wrapping_sub(1) == 0 {
            return Some(number);
        }
        let next = number.unsigned_abs().next_power_of_two();
        let below = next / 2;
        let in_range = |n: &u64| i64::try_from(*n).is_ok_and(|n| range.contains(&n));
        let near: Vec<String> = [below, next].iter().filter(|n| in_range(n)).map(u64::to_string).collect();
        self.wrong(
            format!("`{}` must be a power of two, and {number} is not", self.key),
            format!("near it {} {}", if near.len() == 1 { "is" } else { "are" }, near.join(" and ")),
        );
        None
    }

    /// A truth value.
    pub fn boolean(&self) -> Option<bool> {
        let boolean = self.value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type("true or false", "write true or false, without quotes");
        }
        boolean
    }

    /// A text.
    pub fn string(&self, example: &str) -> Option<&'a str> {
        let text = self.text();
        if text.is_none() {
            self.wrong_type("a string", &format!("write it in quotes, as in \"{example}\""));
        }
        text
    }

    /// A text that is not empty and has no control characters: names and paths.
    pub fn name(&self, example: &str) -> Option<&'a str> {
        let text = self.string(example)?;
        if text.is_empty() || text.chars().any(char::is_control) {
            self.wrong(
                format!("`{}` is empty or has control characters", self.key),
                format!("write something like \"{example}\""),
            );
            return None;
        }
        Some(text)
    }

    /// One of `words`.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&'static str> = words.iter().map(|(name, _)| *name).collect();
        let Some(text) = self.text() else {
            self.wrong_type("a word in quotes", &format!("it can be {}", list_words(&names)));
            return None;
        };
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong(format!("`{}` cannot be \"{text}\"", self.key), suggest(text, &names, "it can be"));
        }
        found
    }

    /// A text that `T` understands.
    pub fn parse<T: FromStr>(&self, what: &str, example: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.string(example)?;
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(_) => {
                self.wrong(
                    format!("\"{text}\" is not {what}"),
                    format!("write something like \"{example}\""),
                );
                None
            }
        }
    }

    /// A length of time with its unit, in `range`.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (low, high) = (show_duration(*range.start()), show_duration(*range.end()));
        let Some(text) = self.text() else {
            self.wrong_type(
                "a length of time in quotes",
                &format!("write a number and a unit (ns, us, ms, s), as in \"{low}\""),
            );
            return None;
        };
        let Some(duration) = parse_duration(text) else {
            self.wrong(
                format!("\"{text}\" is not a length of time"),
                format!("write a whole number and a unit (ns, us, ms, s), as in \"{low}\""),
            );
            return None;
        };
        if !range.contains(&duration) {
            self.wrong(
                format!("`{}` is out of range: {text}", self.key),
                format!("it goes from {low} to {high}"),
            );
            return None;
        }
        Some(duration)
    }

    /// The elements of a list of at most `most`.
    pub fn list(&self, most: usize, example: &str) -> Option<Vec<Value<'a>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            self.wrong_type("a list", &format!("write it in brackets, as in {example}"));
            return None;
        };
        if array.len() > most {
            self.wrong(
                format!("`{}` has {} elements", self.key, array.len()),
                format!("{most} are the most"),
            );
            return None;
        }
        Some(array.iter().map(|value| Value { value, ..*self }).collect())
    }

    /// A table.
    pub fn table(&self, spec: &'static Spec, example: &str) -> Option<Section<'a>> {
        let Some(table) = self.value.get_ref().as_table() else {
            self.wrong_type("a table", &format!("write it as in {example}"));
            return None;
        };
        Some(Section::open(self.reader, table, spec, self.at()))
    }
}

/// A whole number and a unit: `50us`, `1 ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit.trim_start() {
        "ns" => Some(Duration::from_nanos(number)),
        "us" | "µs" | "μs" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// A duration as the file writes it.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match () {
        () if nanos.is_multiple_of(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
        () if nanos.is_multiple_of(1_000_000) => format!("{}ms", nanos / 1_000_000),
        () if nanos.is_multiple_of(1000) => format!("{}us", nanos / 1000),
        () => format!("{nanos}ns"),
    }
}

/// "did you mean `x`?", or, when nothing is near, all that it could be.
pub fn suggest(wrong: &str, right: &[&str], all_are: &str) -> String {
    // Long text cannot be near a short word, and the distance costs the product of the lengths.
    let wrong = if wrong.len() <= 64 { wrong.to_lowercase().replace('-', "_") } else { String::new() };
    let near = right
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&wrong, &word.replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4 && !wrong.is_empty())
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("{all_are} {}", list_words(right)),
    }
}

/// `a`, `b` or `c`.
pub fn list_words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("50us"), Some(Duration::from_micros(50)));
        assert_eq!(parse_duration("50 µs"), Some(Duration::from_micros(50)));
        assert_eq!(parse_duration("7ns"), Some(Duration::from_nanos(7)));
        assert_eq!(parse_duration("2s"), Some(Duration::from_secs(2)));
        for bad in ["", "5", "us", "-5us", "1.5ms", "5 h", "99999999999999999999s", "5usus", "µs"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        for text in ["1s", "5ms", "50us", "1500us", "7ns"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_near_word_is_suggested_and_else_all_are_named() {
        assert_eq!(suggest("adresses", &["mtu", "addresses"], "they are"), "did you mean `addresses`?");
        assert_eq!(suggest("zero_copy", &["auto", "zero-copy"], "they are"), "did you mean `zero-copy`?");
        assert_eq!(suggest("frobnicate", &["a", "b"], "they are"), "they are `a`, `b`");
        assert_eq!(suggest(&"x".repeat(100_000), &["a"], "they are"), "they are `a`");
    }
}
