//! The configuration: one TOML file says which ports there are, which core polls what, and where packets go.
//! `config/flumen.toml` explains every key.
//!
//! ```text
//!   file ── load ──> Config ── plan ──> Layout ──> ports, pools, workers
//!             │                 │ ▲
//!             └── Problems ─────┘ └── Host: the facts of this machine
//! ```
//!
//! Two steps, because they ask different things. [`load`] needs nothing but the file: spelling, types,
//! ranges, and everything that contradicts itself. [`plan`] holds the result against a machine: does the
//! interface have that queue, is that MTU possible, are there frames enough. Both find as much as they can in
//! one go and point at the place (`problem`).
//!
//! Reading order: `model` (the result), `load` (the story), `schema` (the keys), `read` (values with ranges),
//! then one file for each table, then `layout` and `frames`.

pub mod addresses;
pub mod assign;
pub mod bounds;
pub mod cores;
pub mod frames;
pub mod host;
pub mod layout;
pub mod load;
pub mod manners;
pub mod model;
pub mod multicast;
pub mod names;
pub mod policy;
pub mod ports;
pub mod problem;
pub mod programs;
pub mod read;
pub mod routes;
pub mod routes_file;
pub mod schema;
pub mod services;
pub mod settings;
pub mod transport;
pub mod vlans;

pub use host::Host;
pub use layout::{Layout, Missing, plan};
pub use load::{LoadError, Loaded, load, parse};
pub use model::Config;
pub use problem::{Problem, Problems, Severity, Sources};
