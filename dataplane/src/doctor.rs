//! The doctor: what a machine allows for a configuration, what that means, and what to change.
//!
//! ```text
//!   /proc /sys ip ethtool ── gather ──▶ Facts ──┐
//!                                               ├── examine ──▶ Findings ──▶ text, JSON, exit code
//!   configuration ── plan ──▶ Layout ───────────┘   (pure)
//! ```
//!
//! `facts` says what is known, and a fact that could not be learned is `None`, never guessed. `machine` and `port`
//! judge; they are pure functions, so every finding can be tested without the machine that has it. `undo` puts
//! back what a run that crashed had changed.

pub mod drivers;
pub mod facts;
pub mod gather;
pub mod machine;
pub mod port;
pub mod undo;

use crate::config::{Config, Layout};
use facts::Facts;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or nobody knows.
    Warning,
    /// The data plane would not start, or not do what the configuration says.
    Error,
}

impl Level {
    /// As it is written before a finding.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about: `kernel`, `cpu 1`, `port lan`.
    pub about: String,
    /// What was found.
    pub found: String,
    /// What it means for this configuration; empty when it is as it should be.
    pub means: String,
    /// The command that changes it.
    pub command: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(about: impl Into<String>, found: impl Into<String>) -> Finding {
        let (about, found) = (about.into(), found.into());
        Finding { level: Level::Ok, about, found, means: String::new(), command: None }
    }

    /// Not as well as it could be.
    pub fn warning(about: impl Into<String>, found: impl Into<String>, means: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, means: means.into(), ..Finding::ok(about, found) }
    }

    /// It cannot work.
    pub fn error(about: impl Into<String>, found: impl Into<String>, means: impl Into<String>) -> Finding {
        Finding { level: Level::Error, means: means.into(), ..Finding::ok(about, found) }
    }

    /// With the command that changes it.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Finding {
        self.command = Some(command.into());
        self
    }
}

/// Everything that is to be said about `config`, laid out as `layout`, on a machine with these `facts`.
pub fn examine(config: &Config, layout: &Layout, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    machine::examine(config, layout, facts, &mut findings);
    for (port, planned) in config.ports.iter().zip(&layout.ports) {
        port::examine(port, planned, facts, &mut findings);
    }
    findings
}
