//! Policy routing in types: tables beside the main one, and what else decides between routes. Rules are the stack's
//! own ([`flumen_stack::route::Rule`]).

use crate::config::problem::At;
use flumen_stack::ip::policy::HashPolicy;
use flumen_stack::limits;

/// The name of the main table, which no other may have.
pub const MAIN: &str = "main";

/// One `[[table]]`; its place in the list is its [`flumen_stack::route::TableId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name in this configuration.
    pub name: String,
    /// IPv4 routes that it holds.
    pub routes_ipv4: usize,
    /// IPv6 routes that it holds.
    pub routes_ipv6: usize,
    /// Where it is said.
    pub at: At,
}

impl Table {
    /// A table of the usual size.
    pub fn new(name: &str, at: At) -> Table {
        let routes = limits::TABLE_ROUTES;
        Table { name: name.to_owned(), routes_ipv4: routes, routes_ipv6: routes, at }
    }
}

/// `[routing]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// What multipath routes share flows out by.
    pub multipath_hash: HashPolicy,
}
