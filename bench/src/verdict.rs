//! Who was faster, and how sure that is: runs of several peers at the same works, taken by turns, as lines of text.
//!
//! ```text
//!   work <tab> peer <tab> round <tab> unit <tab> value <tab> noise        noise: per cent of the processors that others used
//! ```
//! Peers are compared round by round, because what disturbs a round disturbs all of it. The ratio of a peer is the median
//! of its rounds' ratios, and its interval what that median is in 95 % of the cases when rounds are drawn again by lot
//! (bootstrap, Efron 1979). A machine that was not quiet gets no verdict, only the numbers.

use crate::measure::Spread;
use crate::random::Random;
use core::fmt::Write;
use std::collections::BTreeMap;

/// Draws of the bootstrap: the ends of the interval move by less than a thousandth between seeds.
const DRAWS: usize = 10_000;

/// Rounds that a verdict needs.
pub const ENOUGH: usize = 5;

/// Per cent of the processors that others may use beside a measurement.
pub const QUIET: f64 = 5.0;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// Who did it.
    pub peer: String,
    /// In which round.
    pub round: u32,
    /// `cycles`, `us` and `ns` are better when fewer, everything else when more.
    pub unit: String,
    /// How well.
    pub value: f64,
    /// What else the machine did.
    pub noise: f64,
}

/// A ratio and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median of the rounds.
    pub median: f64,
    /// The ends of the interval.
    pub interval: (f64, f64),
}

/// Reads rows.
///
/// # Errors
/// The first line that is none.
pub fn read(text: &str) -> Result<Vec<Row>, String> {
    let row = |(number, line): (usize, &str)| {
        let wrong = || format!("line {}: not work, peer, round, unit, value and noise: `{line}`", number + 1);
        let fields: Vec<&str> = line.split('\t').collect();
        let &[work, peer, round, unit, value, noise] = fields.as_slice() else { return Err(wrong()) };
        let number =
            |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(wrong);
        Ok(Row {
            work: work.to_owned(),
            peer: peer.to_owned(),
            round: round.parse().map_err(|_| wrong())?,
            unit: unit.to_owned(),
            value: number(value)?,
            noise: number(noise)?,
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(row).collect()
}

/// How much better `ours` is than `theirs`, from the rounds that both have: above 1 is better.
pub fn ratio(ours: &BTreeMap<u32, f64>, theirs: &BTreeMap<u32, f64>, fewer_is_better: bool) -> Option<Ratio> {
    let ratios: Vec<f64> = ours
        .iter()
        .filter_map(|(round, our)| {
            let their = theirs.get(round)?;
            let (above, below) = if fewer_is_better { (their, our) } else { (our, their) };
            (*below > 0.0).then(|| above / below)
        })
        .collect();
    let median = Spread::of(ratios.iter().copied())?.median;
    let mut random = Random::new(2026);
    let mut medians: Vec<f64> = (0..DRAWS)
        .filter_map(|_| Spread::of(ratios.iter().map(|_| ratios[random.below(ratios.len())])))
        .map(|spread| spread.median)
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |part: f64| medians[((medians.len() - 1) as f64 * part).round() as usize];
    Some(Ratio { median, interval: (at(0.025), at(0.975)) })
}

/// Costs and times: the fewer the better.
fn fewer_is_better(unit: &str) -> bool {
    matches!(unit, "cycles" | "us" | "ns")
}

/// Tables of all works in Markdown, each peer compared with `base`; and whether a verdict could be given.
pub fn markdown(rows: &[Row], base: &str) -> (String, bool) {
    let mut text = String::new();
    let mut works: Vec<&str> = Vec::new();
    for row in rows {
        if !works.contains(&row.work.as_str()) {
            works.push(&row.work);
        }
    }
    let noise = rows.iter().map(|row| row.noise).fold(0.0, f64::max);
    let mut fewest = usize::MAX;
    let mut verdicts = String::new();
    for work in works {
        let of_work: Vec<&Row> = rows.iter().filter(|row| row.work == work).collect();
        let unit = of_work.first().map_or("", |row| row.unit.as_str());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n### {work}\n\n| peer | {unit}, median (range) | rounds | {base} is better by, 95 % interval |\n|---|---|---|---|\n"
        );
        let mut peers: Vec<&str> = Vec::new();
        for row in &of_work {
            if !peers.contains(&row.peer.as_str()) {
                peers.push(&row.peer);
            }
        }
        let rounds = |peer: &str| -> BTreeMap<u32, f64> {
            of_work.iter().filter(|row| row.peer == peer).map(|row| (row.round, row.value)).collect()
        };
        let ours = rounds(base);
        for peer in peers {
            let theirs = rounds(peer);
            fewest = fewest.min(theirs.len());
            let Some(Spread { least, median, most }) = Spread::of(theirs.values().copied()) else { continue };
            let _ = write!(text, "| {peer} | {median:.1} ({least:.1} - {most:.1}) | {} |", theirs.len());
            let ratio = if peer == base { None } else { ratio(&ours, &theirs, fewer_is_better(unit)) };
            match ratio {
                Some(Ratio { median, interval: (low, high) }) => {
                    let _ = writeln!(text, " {median:.3} ({low:.3} - {high:.3}) |");
                    let word = match () {
                        () if low > 1.0 => "is ahead of",
                        () if high < 1.0 => "is behind",
                        () => "cannot be told from",
                    };
                    let _ = writeln!(
                        verdicts,
                        "- {work}: {base} {word} {peer}: {median:.3} ({low:.3} - {high:.3})."
                    );
                }
                None => text.push_str(" |\n"),
            }
        }
    }
    let quiet = noise <= QUIET && fewest >= ENOUGH && fewest != usize::MAX;
    if quiet {
        let _ = write!(text, "\n{verdicts}");
    } else if noise > QUIET {
        let _ = write!(
            text,
            "\nNo verdict: the machine was not quiet. Others used up to {noise:.0} % of its processors beside a run, and \
             {QUIET:.0} % are allowed.\n"
        );
    } else {
        let _ = write!(text, "\nNo verdict: it takes {ENOUGH} rounds of every peer.\n");
    }
    (text, quiet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(noise: f64, rounds: u32) -> Vec<Row> {
        let row = |peer: &str, round, value| Row {
            work: "forward".to_owned(),
            peer: peer.to_owned(),
            round,
            unit: "kpps".to_owned(),
            value,
            noise,
        };
        // The machine is slower in each round; the ratio stays within 10 %.
        (1..=rounds)
            .flat_map(|round| {
                let pace = 100.0 / f64::from(round);
                [row("flumen", round, pace * (1.5 + f64::from(round % 3) * 0.05)), row("kernel", round, pace)]
            })
            .collect()
    }

    #[test]
    fn a_quiet_machine_gets_a_verdict_even_when_rounds_differ_more_than_peers() {
        let (text, quiet) = markdown(&rows(1.0, 7), "flumen");
        assert!(quiet, "{text}");
        assert!(text.contains("flumen is ahead of kernel: 1.550 (1.500 - 1.600)"), "{text}");
    }

    #[test]
    fn a_machine_that_was_not_quiet_or_too_few_rounds_get_none() {
        for (rows, word) in [(rows(5.1, 7), "not quiet"), (rows(1.0, 4), "takes 5 rounds")] {
            let (text, quiet) = markdown(&rows, "flumen");
            assert!(!quiet && text.contains(word) && !text.contains("is ahead"), "{text}");
        }
        assert!(markdown(&rows(QUIET, 5), "flumen").1, "at the edge of both");
    }

    #[test]
    fn fewer_cycles_are_better_and_what_overlaps_one_cannot_be_told() {
        let of =
            |values: &[f64]| values.iter().enumerate().map(|(round, value)| (round as u32, *value)).collect();
        let (ours, theirs): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (of(&[100.0, 110.0, 90.0]), of(&[200.0, 220.0, 180.0]));
        assert_eq!(ratio(&ours, &theirs, true).unwrap().median, 2.0);
        assert_eq!(ratio(&ours, &theirs, false).unwrap().median, 0.5);
        let same = ratio(&of(&[1.0, 1.1, 0.9]), &of(&[1.1, 1.0, 1.0]), false).unwrap();
        assert!(same.interval.0 < 1.0 && same.interval.1 > 1.0, "{same:?}");
        assert_eq!(ratio(&ours, &BTreeMap::new(), true), None);
    }

    #[test]
    fn lines_are_read_and_others_are_named() {
        let good = "forward\tflumen\t1\tkpps\t800.5\t0.3\n";
        assert_eq!(read(good).unwrap()[0].value, 800.5);
        assert!(read("forward\tflumen\n").unwrap_err().starts_with("line 1: "));
        assert!(
            read(&format!("{good}{}", good.replace("800.5", "NaN"))).unwrap_err().starts_with("line 2: ")
        );
    }
}
