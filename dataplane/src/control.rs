//! The control socket: how a running service is asked and told.
//!
//! ```text
//!   flumen show, flumen route        the service's control thread                 workers
//!   ┌──────────┐  one JSON line   ┌───────────────┐         ┌──────────┐  forms  ┌────────┐
//!   │ client   │ ───────────────▶ │ ControlServer │ ──────▶ │ Provider │ ──────▶ │        │
//!   │          │ ◀─────────────── │  (mio, no     │ ◀────── │ (the     │ ◀────── │        │
//!   └──────────┘  one JSON answer │   waiting)    │  Later  │ service) │         └────────┘
//!                                 └───────────────┘
//! ```
//!
//! `protocol` says what can be asked, `snapshot` what is answered, `server` and `client` carry it, `provider` is
//! what the service implements, `routes` reads changes of routes.

pub mod client;
pub mod cpu_time;
pub mod protocol;
pub mod provider;
pub mod routes;
pub mod server;
pub mod snapshot;
pub mod socket_file;

pub use protocol::{Answer, Refusal, Request, Show};
pub use provider::{Provider, Reply, RouteChange, Ticket};
