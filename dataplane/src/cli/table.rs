//! Tables for people: columns as wide as their longest cell, numbers to the right, two spaces between.

use std::fmt::Write;

/// A table under construction.
#[derive(Debug, Clone)]
pub struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first row is `heads`.
    pub fn new<H: Into<String>>(heads: impl IntoIterator<Item = H>) -> Table {
        let mut table = Table { widths: Vec::new(), rows: Vec::new() };
        table.row(heads);
        table
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell.into())).collect();
        self.widths.resize(self.widths.len().max(cells.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// True when there are rows besides the first.
    pub fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }

    /// The rows as text, which are then gone; the columns stay at least as wide, for the rows that follow.
    pub fn take_text(&mut self) -> String {
        let mut text = String::new();
        for row in self.rows.drain(..) {
            let mut line = String::new();
            for (width, cell) in self.widths.iter().zip(&row) {
                let is_number = cell.starts_with(|c: char| c.is_ascii_digit()) && is_number(cell);
                let _ = if is_number {
                    write!(line, "{cell:>width$}  ")
                } else {
                    write!(line, "{cell:<width$}  ")
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A figure, perhaps with a fraction and a per cent sign: not an address or a list.
fn is_number(cell: &str) -> bool {
    cell.trim_end_matches(" %").parse::<f64>().is_ok()
}

/// `-` for nothing; and no control characters, which could steer the terminal.
fn printable(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// `part` of `whole` in per cent; nothing of nothing is nothing.
pub fn per_cent(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        _ => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

/// `sum` divided by `count`, with one digit behind the point; empty when there is nothing to divide by.
pub fn ratio(sum: u64, count: u64) -> String {
    match count {
        0 => String::new(),
        _ => format!("{:.1}", sum as f64 / count as f64),
    }
}

/// A length of time for people: `850ms`, `4.2s`, `3m05s`, `2h07m`, `5d01h`.
pub fn time(ms: u64) -> String {
    let (s, m, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{s}.{}s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{m}m{:02}s", s % 60),
        3_600_000..86_400_000 => format!("{h}h{:02}m", m % 60),
        _ => format!("{}d{:02}h", h / 24, h % 24),
    }
}

/// `yes` or `no`.
pub const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let mut table = Table::new(["name", "count", "share"]);
        assert!(!table.has_rows());
        table.row(["a-long-name", "7", "1.5 %"]);
        table.row(["b", "1234567", ""]);
        assert!(table.has_rows());
        let wanted = "name         count    share\n\
                      a-long-name        7  1.5 %\n\
                      b            1234567  -\n";
        assert_eq!(table.take_text(), wanted);
        table.row(["10.0.0.0/8", "1", "2"]);
        assert_eq!(table.take_text(), "10.0.0.0/8         1      2\n", "as wide as before");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(["\u{1b}[31m"]);
        assert!(!table.take_text().contains('\u{1b}'));
    }

    #[test]
    fn times_change_their_unit_at_its_edge() {
        let times = [0, 999, 1000, 59_999, 60_000, 3_599_999, 3_600_000, 86_399_999, 86_400_000];
        let shown: Vec<String> = times.map(time).to_vec();
        assert_eq!(shown, ["0ms", "999ms", "1.0s", "59.9s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h"]);
    }

    #[test]
    fn nothing_divided_by_nothing_is_no_number() {
        assert_eq!(
            (ratio(1, 0), ratio(5, 2), per_cent(1, 0), per_cent(1, 8)),
            (String::new(), "2.5".into(), String::new(), "12.5 %".into())
        );
    }
}
