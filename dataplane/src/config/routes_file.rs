//! A file of routes, one a line, for tables too long for TOML:
//!
//! ```text
//! # comment                                 empty lines and what follows a # are skipped
//! 198.51.100.0/24 via 192.0.2.254           the gateway's subnet names the port
//! 2001:db8:1::/48 via fe80::1 port wan      a link-local gateway needs its port
//! 203.0.113.0/24  port lan                  the destinations are on the link themselves
//! 192.0.2.0/25 via 10.0.0.2 weight 3 via 10.0.0.3 metric 10      two next hops
//! 100.64.0.0/10   blackhole                 or unreachable, prohibit, local
//! 0.0.0.0/0       via 10.0.0.9 table uplink2 mtu 1400             in another table; also advmss, window, initcwnd
//! ```
//!
//! `via` begins a next hop; `port` and `weight` belong to the `via` before them.

use super::bounds;
use super::model::{NextHop, Route, RouteAction};
use super::names::Names;
use super::problem::{At, Problem, Problems};
use super::routes::{Links, NextHops, check_destination, same_way};
use flumen_stack::PortId;
use flumen_stack::route::{RouteMetrics, TableId};
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Reads the text of a routes file, which is text number `file`, and adds its routes to `routes`.
pub fn read(
    text: &str,
    file: usize,
    names: &Names<'_>,
    links: &Links<'_>,
    shared: &mut NextHops,
    routes: &mut Vec<Route>,
    problems: &mut Problems,
) {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or("");
        if !content.trim_ascii().is_empty() {
            let mut words = Words { text: content, base: offset, next: 0, file };
            match read_line(&mut words, names, links, shared) {
                Ok(route) => routes.push(route),
                Err(Some(problem)) => problems.push(problem),
                Err(None) => {}
            }
        }
        offset += line.len();
    }
}

/// Reads one line, as `flumen route` sends it. Places in the problem are in text 0, which is `line`. `None`: there is
/// nothing in it.
pub fn read_one(
    line: &str,
    names: &Names<'_>,
    links: &Links<'_>,
    shared: &mut NextHops,
) -> Result<Route, Option<Problem>> {
    read_line(&mut Words::of(line), names, links, shared)
}

/// Reads what names a route: `PREFIX [metric N] [table NAME]`. As [`read_one`] otherwise.
pub fn read_name(line: &str, names: &Names<'_>) -> Result<(IpNet, u32, TableId), Option<Problem>> {
    let mut words = Words::of(line);
    let Some(first) = words.next() else { return Err(None) };
    let to = prefix(first)?;
    let (mut metric, mut table) = (0, TableId::MAIN);
    while let Some(word) = words.next() {
        match word.text {
            "metric" => metric = read_metric(&mut words, word)?,
            "table" => table = read_table(&mut words, word, names)?,
            _ => {
                return Err(Some(
                    Problem::error(word.at, format!("\"{}\" is not understood here", word.text)).help(
                        "a route is named by its prefix and, if it has them, `metric N` and `table NAME`",
                    ),
                ));
            }
        }
    }
    Ok((to, metric, table))
}

/// The words of one line with their places.
struct Words<'t> {
    text: &'t str,
    base: usize,
    next: usize,
    file: usize,
}

#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    at: At,
}

impl<'t> Words<'t> {
    /// Those of the one line of text 0.
    fn of(line: &'t str) -> Words<'t> {
        Words { text: line.split('#').next().unwrap_or(""), base: 0, next: 0, file: 0 }
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = Word<'t>;
    fn next(&mut self) -> Option<Word<'t>> {
        let rest = self.text.get(self.next..)?;
        let start = self.next + (rest.len() - rest.trim_ascii_start().len());
        let rest = self.text.get(start..)?;
        let length = rest.bytes().take_while(|b| !b.is_ascii_whitespace()).count();
        if length == 0 {
            return None;
        }
        self.next = start + length;
        let at = At::new(self.file, self.base + start..self.base + self.next);
        Some(Word { text: self.text.get(start..self.next)?, at })
    }
}

/// A next hop as it is read, before it is checked.
struct Hop {
    via: Option<IpAddr>,
    port: Option<PortId>,
    weight: u16,
    at: At,
}

/// `Err(None)`: it follows from an error that is reported already.
fn read_line(
    words: &mut Words<'_>,
    names: &Names<'_>,
    links: &Links<'_>,
    shared: &mut NextHops,
) -> Result<Route, Option<Problem>> {
    let Some(first) = words.next() else { return Err(None) };
    let to = prefix(first)?;
    let (mut metric, mut table, mut metrics) = (0, TableId::MAIN, RouteMetrics::NONE);
    let mut hops: Vec<Hop> = Vec::new();
    let mut refusal = None;
    while let Some(word) = words.next() {
        match word.text {
            "blackhole" => refusal = Some((RouteAction::Blackhole, word)),
            "unreachable" => refusal = Some((RouteAction::Unreachable, word)),
            "prohibit" => refusal = Some((RouteAction::Prohibit, word)),
            "local" | "anycast" => refusal = Some((RouteAction::Local, word)),
            "table" => table = read_table(words, word, names)?,
            "mtu" => metrics.mtu = read_bounded(words, word, bounds::ROUTE_MTU)? as u16,
            "advmss" => metrics.advmss = read_bounded(words, word, bounds::ROUTE_ADVMSS)? as u16,
            "window" => metrics.window = read_bounded(words, word, bounds::ROUTE_WINDOW)? as u32,
            "initcwnd" => metrics.initcwnd = read_bounded(words, word, bounds::ROUTE_INITCWND)? as u8,
            "metric" => metric = read_metric(words, word)?,
            "via" => {
                let via =
                    argument(words, word, "an IP address", "192.0.2.1", |text| text.parse::<IpAddr>().ok())?;
                hops.push(Hop { via: Some(via), port: None, weight: 1, at: word.at });
            }
            "port" => {
                let Some(name) = words.next() else { return Err(Some(lacks(word, "lan"))) };
                let port = names.find(name.text).ok_or_else(|| {
                    Problem::error(name.at, format!("there is no port `{}`", name.text))
                        .help(names.advice(name.text))
                })?;
                match hops.last_mut() {
                    Some(hop) if hop.port.is_none() => hop.port = Some(port),
                    Some(_) => {
                        return Err(Some(
                            Problem::error(word.at, "a second `port` for one next hop")
                                .help("begin another next hop with `via`"),
                        ));
                    }
                    None => hops.push(Hop { via: None, port: Some(port), weight: 1, at: word.at }),
                }
            }
            "weight" => {
                let weight = argument(words, word, "a weight from 1 to 256", "2", |text| {
                    text.parse::<u16>().ok().filter(|weight| bounds::WEIGHT.contains(&i64::from(*weight)))
                })?;
                let Some(hop) = hops.last_mut() else {
                    return Err(Some(
                        Problem::error(word.at, "`weight` before its next hop")
                            .help("write it behind `via ADDRESS`"),
                    ));
                };
                hop.weight = weight;
            }
            other => {
                return Err(Some(
                    Problem::error(word.at, format!("\"{other}\" is not understood here")).help(
                        "behind the prefix come `via ADDRESS`, `port NAME`, `weight N`, `metric N`, `table NAME`, \
                     `mtu N`, `advmss N`, `window N`, `initcwnd N`, or `blackhole`, `unreachable`, `prohibit`, `local`",
                    ),
                ));
            }
        }
    }
    let action = match refusal {
        Some((action, _)) if hops.is_empty() => action,
        Some((_, word)) => {
            return Err(Some(
                Problem::error(word.at, "a route of this type leads nowhere")
                    .help("take `via` and `port` out, or this word"),
            ));
        }
        None => RouteAction::Unicast(shared.share(&check_hops(to, first, &hops, links)?)),
    };
    Ok(Route { to, metric, action, table, metrics, at: first.at })
}

/// The prefix that a line begins with: one that packets can be sent to.
fn prefix(first: Word<'_>) -> Result<IpNet, Option<Problem>> {
    let to: IpNet = first.text.parse().map_err(|_| {
        Problem::error(first.at, format!("\"{}\" is not a prefix", first.text))
            .help("a line begins with a prefix, as in \"198.51.100.0/24 via 192.0.2.254\"")
    })?;
    if to.addr() != to.network() {
        return Err(Some(
            Problem::error(first.at, format!("{to} has bits set behind its prefix"))
                .help(format!("write \"{}\"", to.trunc())),
        ));
    }
    if let Some((message, help)) = check_destination(to) {
        return Err(Some(Problem::error(first.at, message).help(help)));
    }
    Ok(to)
}

fn read_metric(words: &mut Words<'_>, keyword: Word<'_>) -> Result<u32, Option<Problem>> {
    argument(words, keyword, "a number", "10", |text| text.parse::<u32>().ok())
}

fn read_bounded(
    words: &mut Words<'_>,
    keyword: Word<'_>,
    range: RangeInclusive<i64>,
) -> Result<i64, Option<Problem>> {
    let what = format!("a number from {} to {}", range.start(), range.end());
    let example = range.end().min(&1400).to_string();
    argument(words, keyword, &what, &example, |text| {
        text.parse().ok().filter(|number| range.contains(number))
    })
}

fn read_table(
    words: &mut Words<'_>,
    keyword: Word<'_>,
    names: &Names<'_>,
) -> Result<TableId, Option<Problem>> {
    let name = words.next().ok_or_else(|| lacks(keyword, "uplink2"))?;
    names.find_table(name.text).ok_or_else(|| {
        Some(
            Problem::error(name.at, format!("there is no table `{}`", name.text))
                .help(names.table_advice(name.text)),
        )
    })
}

fn check_hops(
    to: IpNet,
    first: Word<'_>,
    hops: &[Hop],
    links: &Links<'_>,
) -> Result<Vec<NextHop>, Option<Problem>> {
    if hops.is_empty() {
        return Err(Some(
            Problem::error(first.at, "the route leads nowhere").help("add `via ADDRESS` or `port NAME`"),
        ));
    }
    if hops.len() > bounds::MAX_NEXT_HOPS {
        return Err(Some(
            Problem::error(first.at, format!("{} next hops", hops.len()))
                .help(format!("{} are the most", bounds::MAX_NEXT_HOPS)),
        ));
    }
    let mut checked: Vec<NextHop> = Vec::with_capacity(hops.len());
    for hop in hops {
        let next_hop = match (hop.via, hop.port) {
            (Some(via), port) => links.next_hop(to, via, port, hop.weight),
            (None, Some(port)) => links.direct(to, port, hop.weight),
            (None, None) => Err(None),
        };
        match next_hop {
            Ok(next_hop) if checked.iter().any(|other| same_way(other, &next_hop)) => {
                return Err(Some(
                    Problem::error(hop.at, "this next hop is in the line twice")
                        .help("take one out; `weight` gives it a larger share"),
                ));
            }
            Ok(next_hop) => checked.push(next_hop),
            Err(Some((message, help))) => return Err(Some(Problem::error(hop.at, message).help(help))),
            Err(None) => return Err(None),
        }
    }
    Ok(checked)
}

fn lacks(word: Word<'_>, example: &str) -> Problem {
    Problem::error(word.at, format!("`{}` has nothing behind it", word.text))
        .help(format!("write it as in `{} {example}`", word.text))
}

fn argument<T>(
    words: &mut Words<'_>,
    keyword: Word<'_>,
    what: &str,
    example: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Option<Problem>> {
    let word = words.next().ok_or_else(|| lacks(keyword, example))?;
    parse(word.text).ok_or_else(|| {
        Some(
            Problem::error(word.at, format!("\"{}\" is not {what}", word.text))
                .help(format!("write it as in `{} {example}`", keyword.text)),
        )
    })
}
