//! The names of the ports, so that the rest of the file can speak of them.

use super::bounds::MAX_NAME;
use super::model::policy::MAIN;
use super::model::{Port, Table};
use super::problem::{At, Problem};
use super::read::{Reader, Section, Value, suggest};
use flumen_stack::route::TableId;
use flumen_stack::{PortId, limits};
use std::collections::HashMap;

/// Name to number. A port whose name is missing or wrong counts too, so that the others keep their numbers.
#[derive(Debug, Default)]
pub struct Names<'a> {
    order: Vec<&'a str>,
    by_name: HashMap<&'a str, (PortId, At)>,
    tables: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// Takes the name of every `[[port]]`.
    pub fn collect(reader: &Reader, sections: &[Section<'a>]) -> Names<'a> {
        let mut names = Names::default();
        for (index, section) in sections.iter().enumerate() {
            let value = section.required("name", "\"lan\"");
            // A name that cannot be one still tells which port is meant elsewhere: one problem, not three.
            let name = value.and_then(|value| {
                check_name(&value);
                value.text()
            });
            names.order.push(name.unwrap_or(""));
            let (Some(value), Some(name)) = (value, name) else { continue };
            let Some(id) = PortId::new(index) else {
                if index == limits::MAX_PORTS {
                    value.wrong("too many ports", format!("{} are the most", limits::MAX_PORTS));
                }
                continue;
            };
            if let Some((_, first)) = names.by_name.get(name) {
                reader.report(
                    Problem::error(value.at(), format!("two ports are named `{name}`"))
                        .related(*first, "the first")
                        .help("give one of them another name"),
                );
            } else {
                names.by_name.insert(name, (id, value.at()));
            }
        }
        names
    }

    /// The names of ports that were read already.
    pub fn of(ports: &'a [Port]) -> Names<'a> {
        let mut names = Names::default();
        for (index, port) in ports.iter().enumerate() {
            names.order.push(&port.name);
            if let Some(id) = PortId::new(index) {
                names.by_name.insert(&port.name, (id, port.at));
            }
        }
        names
    }

    /// The same, and the names of tables.
    #[must_use]
    pub fn with_tables(self, tables: &'a [Table]) -> Names<'a> {
        Names { tables: tables.iter().map(|table| table.name.as_str()).collect(), ..self }
    }

    /// The table with this name.
    pub fn find_table(&self, name: &str) -> Option<TableId> {
        if name == MAIN {
            return Some(TableId::MAIN);
        }
        self.tables.iter().position(|table| *table == name).and_then(TableId::policy)
    }

    /// The table that `value` names.
    pub fn resolve_table(&self, value: &Value<'_>) -> Option<TableId> {
        let name = value.string("uplink2")?;
        let found = self.find_table(name);
        if found.is_none() {
            value.wrong(format!("there is no table `{name}`"), self.table_advice(name));
        }
        found
    }

    /// What to say when a table is not found.
    pub fn table_advice(&self, name: &str) -> String {
        if self.tables.is_empty() {
            return "describe it with [[table]] first".to_owned();
        }
        let known: Vec<&str> = self.tables.iter().copied().chain([MAIN]).collect();
        suggest(name, &known, "the tables are")
    }

    /// The name of the `index`th port; empty when it has none.
    pub fn name(&self, index: usize) -> &'a str {
        self.order.get(index).copied().unwrap_or("")
    }

    /// The port that `value` names.
    pub fn resolve(&self, value: &Value<'_>) -> Option<PortId> {
        let name = value.string("lan")?;
        let found = self.find(name);
        if found.is_none() {
            value.wrong(format!("there is no port `{name}`"), self.advice(name));
        }
        found
    }

    /// The port with this name.
    pub fn find(&self, name: &str) -> Option<PortId> {
        self.by_name.get(name).map(|(id, _)| *id)
    }

    /// What to say when `name` is not found.
    pub fn advice(&self, name: &str) -> String {
        let known: Vec<&str> = self.order.iter().copied().filter(|name| !name.is_empty()).collect();
        if known.is_empty() {
            return "describe it with [[port]] first".to_owned();
        }
        suggest(name, &known, "the ports are")
    }
}

fn check_name(value: &Value<'_>) {
    checked(value, "a port");
}

/// The name that a value is, whether or not it can be one; of the latter the reader hears.
pub fn checked<'a>(value: &Value<'a>, of: &str) -> Option<&'a str> {
    let name = value.string("lan")?;
    let fits = (1..=MAX_NAME).contains(&name.len());
    if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        value.wrong(
            format!("this cannot be the name of {of}"),
            format!(
                "use 1 to {MAX_NAME} letters, digits, `-`, `_`, `.`: a colon separates the queue, as in \"lan:0\""
            ),
        );
    }
    Some(name)
}
