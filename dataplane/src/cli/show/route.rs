//! `flumen show route`: the table, part of it, or the route that packets to an address follow.

use crate::cli::service::{Failed, Service, fail, out, report};
use crate::cli::table::{Table, per_cent, yes};
use crate::control::client;
use crate::control::protocol::RouteQuery;
use crate::control::snapshot::{Fill, Route, RouteKind, Routes};
use clap::builder::PossibleValuesParser;
use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;

/// Which routes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An address: the route that packets to it follow. A prefix: the routes inside it
    #[arg(value_name = "ADDRESS|PREFIX")]
    pub destination: Option<Destination>,
    /// Only those from this source
    #[arg(long, value_parser = PossibleValuesParser::new(["connected", "static", "redirect", "kernel"]))]
    pub source: Option<String>,
    /// Of this table instead of the main one
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// An address or a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// An address.
    Address(IpAddr),
    /// A prefix without host bits.
    Prefix(IpNet),
}

impl Destination {
    /// The prefix; an address is a prefix of its own.
    pub fn net(self) -> IpNet {
        match self {
            Destination::Address(address) => address.into(),
            Destination::Prefix(net) => net,
        }
    }
}

impl FromStr for Destination {
    type Err = String;
    fn from_str(text: &str) -> Result<Destination, String> {
        if let Ok(address) = text.parse() {
            return Ok(Destination::Address(address));
        }
        let net: IpNet = text.parse().map_err(|_| {
            "write an address as in 192.0.2.1, or a prefix as in 192.0.2.0/24 or 2001:db8::/32".to_owned()
        })?;
        if net.addr() == net.network() {
            Ok(Destination::Prefix(net))
        } else {
            Err(format!("{net} has bits set behind its prefix: write {}", net.trunc()))
        }
    }
}

/// Shows page by page, so that a million routes take no more memory than a page.
pub(super) fn show(args: &Args, service: &Service, json: bool) -> Result<(), Failed> {
    if let (Some(Destination::Address(_)), Some(_)) = (args.destination, &args.source) {
        let help = "leave `--source` out, or ask for a prefix";
        return Err(fail("packets to an address follow one route, whatever its source", Some(help)));
    }
    let query = match args.destination {
        Some(Destination::Address(address)) => RouteQuery { lookup: Some(address), ..RouteQuery::default() },
        Some(Destination::Prefix(within)) => RouteQuery { within: Some(within), ..RouteQuery::default() },
        None => RouteQuery::default(),
    };
    let query = RouteQuery { source: args.source.clone(), table: args.table.clone(), ..query };
    let limit = (!args.all).then_some(args.limit);
    let mut pages = Pages::new(json, query.lookup.is_some());
    // What stopped us between two pages: a reader that has seen enough, or output that cannot be written.
    let mut stopped = None;
    let path = service.path()?;
    let asked = client::routes(&path, query, limit, |page| match out(&pages.page(page)) {
        Ok(true) => true,
        Ok(false) => {
            stopped = Some(Ok(()));
            false
        }
        Err(failed) => {
            stopped = Some(Err(failed));
            false
        }
    });
    if let Some(result) = stopped {
        return result;
    }
    asked.map_err(|error| report(&error))?;
    out(&pages.end()).map(|_| ())
}

/// The text of a list that comes in pages.
#[derive(Debug)]
pub struct Pages {
    json: bool,
    is_lookup: bool,
    table: Table,
    seen: usize,
    /// The first page was written.
    begun: bool,
    more: bool,
    tables: Vec<Fill>,
}

impl Pages {
    /// Nothing yet. `is_lookup`: the question was where packets to an address go.
    pub fn new(json: bool, is_lookup: bool) -> Pages {
        let table = Table::new(["prefix", "to", "port", "weight", "source", "metric", "active"]);
        Pages { json, is_lookup, table, seen: 0, begun: false, more: false, tables: Vec::new() }
    }

    /// The text of the next page.
    pub fn page(&mut self, page: Routes) -> String {
        let Routes { routes, next, tables } = page;
        let mut text = String::new();
        self.more = next.is_some();
        if self.json {
            if !self.begun {
                text += &format!("{{\"tables\":{},\"routes\":[", json_of(&tables));
            }
            for route in &routes {
                text += if self.seen > 0 { ",\n" } else { "\n" };
                text += &json_of(route);
                self.seen += 1;
            }
        } else {
            for route in &routes {
                rows(&mut self.table, route);
            }
            self.seen += routes.len();
            if self.seen > 0 {
                text += &self.table.take_text();
            }
        }
        if !self.begun {
            self.tables = tables;
        }
        self.begun = true;
        text
    }

    /// The text behind the last page.
    pub fn end(mut self) -> String {
        if self.json {
            return format!("\n],\"more\":{}}}\n", self.more);
        }
        let mut text = String::new();
        if self.seen == 0 {
            text += if self.is_lookup { "no route\n" } else { "no routes\n" };
        }
        if self.more {
            text += "… and more: `--all` shows them, a prefix narrows them down\n";
        }
        if !self.tables.is_empty() {
            let mut fill = Table::new(["table", "used", "size", "full"]);
            for Fill { name, used, size } in self.tables.drain(..) {
                let full = size.map(|size| per_cent(used, size)).unwrap_or_default();
                fill.row([
                    name,
                    used.to_string(),
                    size.map(|size| size.to_string()).unwrap_or_default(),
                    full,
                ]);
            }
            text += &format!("\n{}", fill.take_text());
        }
        text
    }
}

fn json_of(value: &impl serde::Serialize) -> String {
    // Plain data without maps: writing it to memory does not fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// A row for each way of the route; only the first says what the route is.
fn rows(table: &mut Table, route: &Route) {
    let tail = [route.source.clone(), route.metric.to_string(), yes(route.active).to_owned()];
    let first = |cells: [String; 3]| [route.prefix.to_string()].into_iter().chain(cells).chain(tail.clone());
    let Some((hop, others)) = route.next_hops.split_first() else {
        table.row(first([route.kind.name().to_owned(), String::new(), String::new()]));
        return;
    };
    let several = !others.is_empty();
    let way = |hop: &crate::control::snapshot::NextHop| {
        let to = match (hop.via, route.kind) {
            (Some(via), _) => via.to_string(),
            (None, RouteKind::Unicast) => "on link".to_owned(),
            (None, kind) => kind.name().to_owned(),
        };
        [to, hop.port.clone(), if several { hop.weight.to_string() } else { String::new() }]
    };
    let [mut to, port, weight] = way(hop);
    for words in route.metrics.words() {
        to.extend([" ", &words]);
    }
    table.row(first([to, port, weight]));
    for hop in others {
        table.row(["·".to_owned()].into_iter().chain(way(hop)));
    }
}
