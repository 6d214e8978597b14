//! `[[table]]`, `[[rule]]` and `[routing]`: policy routing, from their tables to types.

use super::bounds;
use super::model::policy::MAIN;
use super::model::{Route, Routing, Table};
use super::names::Names;
use super::ports::size;
use super::problem::{At, Problem, Problems};
use super::read::{Reader, Section, Value};
use flumen_stack::ip::policy::HashPolicy;
use flumen_stack::limits::{MAX_RULES, MAX_TABLES};
use flumen_stack::route::rules::{MAIN_PRIORITY, Ports, Wanted};
use flumen_stack::route::{Rule, RuleAction, RuleError, Rules};
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// Reads every `[[table]]`.
pub fn read_tables(reader: &Reader, sections: &[Section<'_>]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    if let Some(first_too_many) = sections.get(MAX_TABLES) {
        reader.report(
            Problem::error(first_too_many.at, format!("{} tables beside the main one", sections.len()))
                .help(format!("{MAX_TABLES} are the most")),
        );
    }
    for section in sections.iter().take(MAX_TABLES) {
        let value = section.required("name", "\"uplink2\"");
        let name = value.and_then(|value| Some((value, super::names::checked(&value, "a table")?)));
        let (name, at) = name.map_or(("", section.at), |(value, name)| (name, value.at()));
        if let Some(first) = tables.iter().find(|table| table.name == name && !name.is_empty()) {
            reader.report(
                Problem::error(at, format!("two tables are named `{name}`"))
                    .related(first.at, "the first")
                    .help("give one of them another name"),
            );
        }
        if name == MAIN {
            reader.report(Problem::error(at, "the main table is there without being named").help(
                "give this one another name, or take it out: routes without `table` are in the main one",
            ));
        }
        let default = Table::new(name, at);
        tables.push(Table {
            routes_ipv4: routes(section, "routes_ipv4", default.routes_ipv4),
            routes_ipv6: routes(section, "routes_ipv6", default.routes_ipv6),
            ..default
        });
    }
    tables
}

fn routes(section: &Section<'_>, key: &str, default: usize) -> usize {
    size(section.integer(key, bounds::TABLE_ROUTES, default as i64))
}

/// Reads `[routing]`.
pub fn read_routing(section: &Section<'_>) -> Routing {
    let words = [("l3", HashPolicy::L3), ("l4", HashPolicy::L4), ("inner", HashPolicy::Inner)];
    Routing { multipath_hash: section.word("multipath_hash", &words, HashPolicy::default()) }
}

/// Reads every `[[rule]]`.
pub fn read_rules(reader: &Reader, sections: &[Section<'_>], names: &Names<'_>) -> Rules {
    if let Some(first_too_many) = sections.get(MAX_RULES) {
        reader.report(
            Problem::error(first_too_many.at, format!("{} policy rules", sections.len()))
                .help(format!("{MAX_RULES} are the most")),
        );
    }
    let mut seen: Vec<(u32, At)> = Vec::new();
    let rules: Vec<Rule> =
        sections.iter().take(MAX_RULES).filter_map(|section| read_rule(section, names, &mut seen)).collect();
    Rules::new(rules).unwrap_or_else(|error| {
        let at = sections.last().map_or(reader.at(0..0), |section| section.at);
        let help = match error {
            RuleError::TooManyTraits => {
                "let rules ask for the same sets, or tell packets apart by address and port"
            }
            RuleError::TooMany(_) | RuleError::BehindMain(_) => "take rules out",
        };
        reader.report(Problem::error(at, error.to_string()).label("the last rule").help(help));
        Rules::default()
    })
}

/// What a rule does, before its table is known.
#[derive(Clone, Copy)]
enum Does {
    Table,
    Blackhole,
    Unreachable,
    Prohibit,
}

fn read_rule(section: &Section<'_>, names: &Names<'_>, seen: &mut Vec<(u32, At)>) -> Option<Rule> {
    let priority = section.required("priority", "100");
    let at = section.place("priority", section.at);
    let priority = priority.and_then(|value| value.integer(0..=i64::from(MAIN_PRIORITY) - 1));
    let priority = priority.and_then(|number| u32::try_from(number).ok());
    if let Some(priority) = priority {
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == priority) {
            section.reader().report(
                Problem::error(at, format!("a second rule with priority {priority}"))
                    .related(*first, "the first")
                    .help("give each rule a priority of its own, so that their order can be seen"),
            );
        }
        seen.push((priority, at));
    }
    let (from, to) = (prefix(section, "from"), prefix(section, "to"));
    if let (Some(from), Some(to)) = (from, to)
        && from.addr().is_ipv4() != to.addr().is_ipv4()
    {
        section.reader().report(
            Problem::error(at, format!("no packet goes from {from} to {to}"))
                .help("`from` and `to` of a rule are of one family"),
        );
    }
    let in_port = section.value("in").and_then(|value| names.resolve(&value));
    let wanted = read_wanted(section);
    let words = [
        ("table", Does::Table),
        ("blackhole", Does::Blackhole),
        ("unreachable", Does::Unreachable),
        ("prohibit", Does::Prohibit),
    ];
    let table = section.value("table");
    let does = section.word("action", &words, Does::Table);
    let action = match (does, table) {
        (Does::Table, Some(value)) => names.resolve_table(&value).map(RuleAction::Table),
        (Does::Table, None) => {
            section.reader().report(
                Problem::error(at, "the rule leads nowhere")
                    .help("name a table with `table`, or say `action = \"prohibit\"`"),
            );
            None
        }
        (refuses, table) => {
            if let Some(value) = table {
                value.wrong("a rule with this action asks no table", "take `table` or `action` out");
            }
            Some(match refuses {
                Does::Blackhole => RuleAction::Blackhole,
                Does::Unreachable => RuleAction::Unreachable,
                Does::Table | Does::Prohibit => RuleAction::Prohibit,
            })
        }
    };
    Some(Rule { priority: priority?, from, to, in_port, wanted, action: action? })
}

fn prefix(section: &Section<'_>, key: &str) -> Option<IpNet> {
    section.value(key).and_then(|value| super::addresses::read_prefix(&value))
}

fn read_wanted(section: &Section<'_>) -> Wanted {
    let tos = section.value("tos").and_then(|value| {
        let tos = value.integer(0..=255).and_then(|tos| u8::try_from(tos).ok())?;
        if tos & 3 != 0 {
            value.wrong(
                "the two lowest bits are congestion notification, which rules do not look at",
                format!("write {}", tos & !3),
            );
        }
        Some(tos)
    });
    let protocol = section.value("protocol").and_then(|value| super::ports::read_protocol(&value));
    let source_ports = section.value("source_ports").and_then(|value| read_range(&value));
    let ports = section.value("ports").and_then(|value| read_range(&value));
    if (ports.is_some() || source_ports.is_some()) && protocol.is_some_and(|protocol| !protocol.has_ports()) {
        let key = if ports.is_some() { "ports" } else { "source_ports" };
        section.reader().report(
            Problem::error(section.place(key, section.at), "this protocol has no ports")
                .help("TCP, UDP, UDP-Lite and SCTP have; leave `protocol` out for all of them"),
        );
    }
    Wanted { tos, protocol: protocol.map(|protocol| protocol.0), source_ports, ports }
}

/// A port number, or the first and the last of several as "1000-1999".
fn read_range(value: &Value<'_>) -> Option<Ports> {
    const ALL: RangeInclusive<i64> = 0..=65_535;
    if value.is_integer() {
        let port = u16::try_from(value.integer(ALL)?).ok()?;
        return Some((port, port));
    }
    let text = value.string("53")?;
    let parsed = text.split_once('-').and_then(|(first, last)| {
        let number = |text: &str| text.trim().parse::<u16>().ok();
        Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
    });
    if parsed.is_none() {
        value.wrong(
            format!("\"{text}\" is no range of ports"),
            "write a number, or the first and the last: \"5000-5999\"",
        );
    }
    parsed
}

/// More routes than a table beside the main one holds.
pub fn check_counts(routes: &[Route], tables: &[Table], problems: &mut Problems) {
    for (index, table) in tables.iter().enumerate() {
        let of_table = || routes.iter().filter(|route| route.table.index() == Some(index));
        for (family, v4, limit) in [("ipv4", true, table.routes_ipv4), ("ipv6", false, table.routes_ipv6)] {
            let mut of_family = of_table().filter(|route| route.to.addr().is_ipv4() == v4);
            let count = of_family.clone().count();
            if count > limit
                && let Some(last) = of_family.next_back()
            {
                let message =
                    format!("{count} routes of this family in table `{}`, which holds {limit}", table.name);
                problems.push(
                    Problem::error(last.at, message)
                        .label("the last of them")
                        .related(table.at, "the table")
                        .help(format!("raise its `routes_{family}`")),
                );
            }
        }
    }
}
