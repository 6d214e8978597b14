//! Routing: from a destination to the next hop, while the table changes.
//!
//! Read RFC 1812 section 5.2.4 (how a route is chosen), RFC 4632 (longest prefix match), RFC 2992 (multipath
//! by hash) and, for the structures, "Routing Lookups in Hardware at Memory Access Speeds" (Gupta, Lin,
//! McKeown 1998: DIR-24-8) and "Tree Bitmap" (Eatherton, Varghese, Dittia 2004).
//!
//! ```text
//!   one control thread                      shared memory                       each worker
//!  ┌────────────────────────┐   stores   ┌─────────────────────────┐  loads  ┌───────────────────────┐
//!  │ Rib                    │ ─────────▶ │ fib4  2^24 + groups     │ ──────▶ │ RouteReader           │
//!  │  every route, ordered  │            │ fib6  2^20 + trie       │         │  begin_burst          │
//!  │  best of each prefix ──┼──────────▶ │ next hops, multipath    │         │  lookup4/6_burst      │
//!  │  ports up and down     │            │ epoch ──────────────────┼───────▶ │  next_hop, resolve    │
//!  │  what waits for grace  │ ◀───────── │ readers' epochs         │ ◀────── │                       │
//!  └────────────────────────┘   loads    └─────────────────────────┘  store  │ RouteCache, PathMtus  │
//!                                                                            └───────────────────────┘
//! ```
//!
//! There is one writer ([`Rib`]) and up to [`crate::limits::MAX_ROUTE_READERS`] readers ([`RouteReader`]).
//! Readers never wait, lock, allocate or free. The tables are changed in place, one atomic word at a time.
//!
//! Invariants:
//! 1. What a published word leads to (a group, a trie node, a leaf block, a next hop) is complete before the
//!    word is stored (Release; partner: the readers' Acquire load of that word).
//! 2. What was unlinked is used again only when every reader has begun a burst after the unlinking ([`publish`]).
//!    So within a burst whatever a reader reached stays what it was.
//! 3. For each destination a reader sees the answer from before or after a change, never a third one.
//! 4. A change that fails (table full, for instance) leaves everything as it was.
//! 5. The epoch changes after every change; what a reader remembers from one generation to the next it must
//!    forget ([`RouteCache`] does).

pub mod cache;
pub mod ecmp;
pub mod fib4;
pub mod fib6;
pub mod metrics;
pub mod next_hop;
pub mod path_mtu;
pub mod publish;
pub mod redirects;
pub mod rib;
pub mod rules;

mod buddy;
mod entry;
mod prefix_map;
mod table_id;
mod words;

pub use cache::{CacheKey, Flow4, Flow6, RouteCache};
pub use entry::{Path, Route, RouteError, Source, Target};
pub use metrics::RouteMetrics;
pub use next_hop::{Multipath, NextHop, NextHopId};
pub use path_mtu::{PathMtu, PathMtus};
pub use publish::RouteReader;
pub use redirects::{Redirect, Redirects};
pub use rib::{Applied, Change, PortChange, Rib, RibConfig, RibStats, RouteView, TableSize};
pub use rules::{Rule, RuleAction, RuleError, Rules, Traits};
pub use table_id::TableId;
pub use words::{Word, Words, WordsError};

#[cfg(test)]
mod model;
