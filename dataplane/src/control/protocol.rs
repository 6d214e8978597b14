//! The protocol of the control socket: a Unix stream socket, one request and one answer a connection, each one
//! line of JSON.
//!
//! ```text
//!   client                                       service
//!     connect ─────────────────────────────────▶
//!     {"show":{"route":{"limit":100}}}\n ───────▶   at most MAX_REQUEST bytes, within REQUEST_TIME
//!     ◀─────── {"routes":{"routes":[…],"next":…}}\n   at most MAX_ANSWER bytes
//!     ◀───────────────────────────────── closed
//! ```
//!
//! Who may connect is decided by the permissions of the socket file. Large tables come in pages: the answer
//! says where the next one begins, and the client asks again; so the service keeps no state for a client
//! and never holds more than a page for it. Unknown requests and fields are errors: an option that a service
//! does not know is not ignored.

use super::snapshot::{
    Cores, Groups, Neighbours, Ports, Programs, Reassembly, Routes, Rules, Runtime, Sockets, Status, Tables,
    Tallies,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of a request, its end of line included. [`MAX_CHANGES`] long routes need most of it.
pub const MAX_REQUEST: usize = 256 << 10;

/// Bytes of an answer. The largest is a page of [`MAX_PAGE`] routes with 16 next hops each: some 3 MiB.
pub const MAX_ANSWER: usize = 16 << 20;

/// Connections at a time. A person has one, a batch has one, monitoring has a few.
pub const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send its request.
pub const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long workers may take to answer what only they know.
pub const REPORT_TIME: Duration = Duration::from_secs(2);

/// How long a client may take to read the answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Changes of routes in one request. The forwarding table takes them in a few milliseconds.
pub const MAX_CHANGES: usize = 1000;

/// Routes, or neighbours, in one answer.
pub const MAX_PAGE: usize = 4096;

/// Routes that are looked at for one answer, so that a filter that matches nothing in a table of a million does
/// not hold the control thread up for longer than a few milliseconds.
pub const MAX_SCAN: usize = 65_536;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Who are you?
    Status,
    /// A snapshot.
    Show(Show),
    /// Change routes, in this order. A change that is refused does not stop those after it.
    Routes(Vec<Change>),
}

/// Which snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Show {
    /// Ports and their queues.
    Port(PortQuery),
    /// Workers and their frames.
    Core,
    /// Routes.
    Route(RouteQuery),
    /// Route tables.
    Tables,
    /// Policy rules.
    Rules,
    /// Multicast routing.
    Multicast,
    /// Datagrams that wait for their fragments.
    Reassembly,
    /// Neighbours.
    Neighbour(NeighbourQuery),
    /// Sockets.
    Socket(SocketQuery),
    /// Programs with sockets here.
    Programs,
    /// Drops by reason.
    Drops,
    /// How the workers spend their time.
    Runtime,
    /// Events.
    Counters,
}

/// Which ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortQuery {
    /// This one only. A name that no port has is an error.
    pub name: Option<String>,
}

/// Which routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteQuery {
    /// The routes of the longest prefix with an active route that covers this address: what a packet to it
    /// follows. Nothing else is said then.
    pub lookup: Option<IpAddr>,
    /// Those inside this prefix, itself included.
    pub within: Option<IpNet>,
    /// Those from this source.
    pub source: Option<String>,
    /// Those in this table; `None`: in the main one.
    pub table: Option<String>,
    /// Those that come after this prefix in the table: the `next` of the page before.
    pub after: Option<IpNet>,
    /// At most so many, and at most [`MAX_PAGE`]; all routes of one prefix stay together, which may be a few more.
    pub limit: Option<usize>,
}

/// Which neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighbourQuery {
    /// Those behind this port.
    pub port: Option<String>,
    /// Those with an address inside this prefix.
    pub within: Option<IpNet>,
    /// At most so many, and at most [`MAX_PAGE`].
    pub limit: Option<usize>,
}

/// Which sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketQuery {
    /// Those of this protocol: `tcp`, `udp`, `udplite`, `raw`, `ping`.
    pub protocol: Option<String>,
    /// At most so many, and at most [`MAX_PAGE`].
    pub limit: Option<usize>,
}

/// One change of the routes; each text is a line of a routes file ([`crate::config::routes_file`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Add this route; refused when there is one with its prefix and metric.
    Add(String),
    /// Put this route in the place of the one with its prefix and metric, if there is one.
    Replace(String),
    /// Take out the static route with this prefix and metric: `PREFIX [metric N]`.
    Del(String),
}

impl Change {
    /// The line of a routes file.
    pub fn text(&self) -> &str {
        match self {
            Change::Add(text) | Change::Replace(text) | Change::Del(text) => text,
        }
    }
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Show::Port`].
    Ports(Ports),
    /// To [`Show::Core`].
    Cores(Cores),
    /// To [`Show::Route`].
    Routes(Routes),
    /// To [`Show::Tables`].
    Tables(Tables),
    /// To [`Show::Rules`].
    Rules(Rules),
    /// To [`Show::Multicast`].
    Groups(Groups),
    /// To [`Show::Reassembly`].
    Reassembly(Reassembly),
    /// To [`Show::Neighbour`].
    Neighbours(Neighbours),
    /// To [`Show::Socket`].
    Sockets(Sockets),
    /// To [`Show::Programs`].
    Programs(Programs),
    /// To [`Show::Drops`].
    Drops(Tallies),
    /// To [`Show::Runtime`].
    Runtime(Runtime),
    /// To [`Show::Counters`].
    Counters(Tallies),
    /// To [`Request::Routes`].
    Changed(Changed),
    /// It could not be done.
    Error(Refusal),
}

/// What became of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many were made.
    pub done: usize,
    /// Those that were not.
    pub refused: Vec<RefusedChange>,
}

/// A change that was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedChange {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Where in its text the fault is, in bytes from 0; `None` when the fault is not in the text.
    pub offset: Option<usize>,
    /// Why.
    pub why: Refusal,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Refusal {
    /// What is wrong, and no advice.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = Some(help.into());
        self
    }
}
