//! What the commands that talk to a running service share: where its socket is, and how errors and output are
//! written.

use crate::config::{self, model};
use crate::control::client::{self, ClientError};
use crate::control::{Answer, Request};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Which service.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Service {
    /// The control socket of the service [default: /run/flumen/control.sock]
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "config")]
    pub socket: Option<PathBuf>,
    /// Take the control socket from this configuration
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// It did not work, and standard error knows why.
#[derive(Debug)]
pub struct Failed;

impl Service {
    /// The path of the socket.
    pub fn path(&self) -> Result<PathBuf, Failed> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let Some(file) = &self.config else { return Ok(model::Control::default().socket) };
        let loaded = config::load(file).map_err(|error| fail(&error.to_string(), None))?;
        match loaded.config {
            Some(config) => Ok(config.control.socket),
            None => {
                eprintln!("{}", loaded.sources.render_all(&loaded.problems, super::colour_on_stderr()));
                Err(Failed)
            }
        }
    }

    /// Asks it.
    pub fn ask(&self, request: &Request) -> Result<Answer, Failed> {
        client::ask(&self.path()?, request).map_err(|error| report(&error))
    }
}

/// Writes an error to standard error.
pub fn fail(message: &str, help: Option<&str>) -> Failed {
    eprintln!("error: {message}");
    if let Some(help) = help {
        eprintln!("  = help: {help}");
    }
    Failed
}

/// Writes why there is no answer.
pub fn report(error: &ClientError) -> Failed {
    fail(&error.to_string(), error.help().as_deref())
}

/// An answer to another question than the one that was asked.
pub fn unexpected() -> Failed {
    fail(
        "the service answered something else than was asked",
        Some("are the command and the service of the same version? `flumen version`, `flumen show status`"),
    )
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error: `false` says that nobody
/// reads on.
pub fn out(text: &str) -> Result<bool, Failed> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(fail(&format!("cannot write to standard output: {error}"), None)),
    }
}

/// A snapshot as JSON, for scripts.
pub fn out_json(snapshot: &impl serde::Serialize) -> Result<bool, Failed> {
    let text = serde_json::to_string_pretty(snapshot).map_err(|error| fail(&error.to_string(), None))?;
    out(&format!("{text}\n"))
}

/// The exit code of a command.
pub fn code(result: Result<(), Failed>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}
