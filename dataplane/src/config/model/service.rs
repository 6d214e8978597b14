//! Built-in services, as configured.

use crate::config::problem::At;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

/// One `[[service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// What it says.
    pub kind: ServiceKind,
    /// Where it listens; not empty. An IPv6 address means IPv6 only. No two listeners of one protocol overlap.
    pub listen: Vec<SocketAddr>,
    /// It speaks TCP.
    pub tcp: bool,
    /// It speaks UDP.
    pub udp: bool,
    /// Connections that may wait to be accepted, for each listener of each worker.
    pub backlog: u32,
    /// Connections at a time, per worker.
    pub connections: usize,
    /// A connection on which nothing happens for so long ends.
    pub idle_timeout: Duration,
    /// Where `kind` (or the table) stands.
    pub at: At,
    /// Where `directory` (or else `kind`) stands.
    pub directory_at: At,
}

impl Service {
    /// A service with the defaults of all that can be left out.
    pub fn new(kind: ServiceKind, listen: Vec<SocketAddr>) -> Service {
        let udp = kind.has_udp();
        Service {
            kind,
            listen,
            tcp: true,
            udp,
            backlog: 4096,
            connections: 16_384,
            idle_timeout: Duration::from_secs(120),
            at: At::new(0, 0..0),
            directory_at: At::new(0, 0..0),
        }
    }
}

/// What a service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// What it hears (RFC 862).
    Echo,
    /// Nothing (RFC 863).
    Discard,
    /// Characters without end (RFC 864).
    Chargen,
    /// The date (RFC 867).
    Daytime,
    /// Web pages.
    Http(HttpService),
}

impl ServiceKind {
    /// As the file names it.
    pub const fn name(&self) -> &'static str {
        match self {
            ServiceKind::Echo => "echo",
            ServiceKind::Discard => "discard",
            ServiceKind::Chargen => "chargen",
            ServiceKind::Daytime => "daytime",
            ServiceKind::Http(_) => "http",
        }
    }

    /// True for those that have a form over UDP.
    pub const fn has_udp(&self) -> bool {
        !matches!(self, ServiceKind::Http(_))
    }
}

/// What a web server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpService {
    /// The directory whose files are read at start; `None`: no files.
    pub directory: Option<PathBuf>,
    /// Paths that are answered with so many bytes.
    pub responses: Vec<SizedResponse>,
    /// The path where something can be left, which is counted and thrown away; `None`: nowhere.
    pub upload: Option<String>,
    /// The longest body that may be left, in bytes.
    pub max_body: u64,
}

impl Default for HttpService {
    fn default() -> Self {
        HttpService { directory: None, responses: Vec::new(), upload: None, max_body: 16 << 30 }
    }
}

/// A path that is answered with so many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizedResponse {
    /// The path: begins with a slash.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
}
