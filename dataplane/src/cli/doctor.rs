//! `flumen doctor`: what this machine allows for a configuration, and what to change; and `--undo`, which puts
//! back what a run that crashed had changed on interfaces.

use super::service::{Failed, code, fail, out, out_json};
use super::table::Table;
use crate::config::model::{Control, PortKind};
use crate::config::{self, Host, Missing};
use crate::doctor::undo::{self, Fate, UndoError};
use crate::doctor::{self, Finding, Level, gather};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `flumen doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML
    #[arg(value_name = "CONFIG", required_unless_present = "undo")]
    pub config: Option<PathBuf>,
    /// Put back the settings of interfaces that a crashed run recorded [default: /run/flumen/control.undo.json]
    #[arg(long, value_name = "STATE", num_args = 0..=1, conflicts_with = "config")]
    pub undo: Option<Option<PathBuf>>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Examines, or restores.
pub fn execute(args: &Args) -> ExitCode {
    code(match (&args.undo, &args.config) {
        (Some(state), _) => {
            let path = state.clone().unwrap_or_else(|| undo::path_for(&Control::default().socket));
            restore(&path, args.json)
        }
        (None, Some(config)) => examine(config, args.json),
        (None, None) => Err(fail("name a configuration", None)), // clap does not let this through
    })
}

fn examine(path: &Path, json: bool) -> Result<(), Failed> {
    let loaded = config::load(path).map_err(|error| fail(&error.to_string(), None))?;
    let host =
        Host::here().map_err(|error| fail(&format!("cannot read what this machine has: {error}"), None))?;
    let mut problems = loaded.problems;
    let layout =
        loaded.config.as_ref().and_then(|config| config::plan(config, &host, Missing::Refuse, &mut problems));
    if !problems.is_empty() {
        eprintln!("{}\n", loaded.sources.render_all(&problems, super::colour_on_stderr()));
    }
    let (Some(config), Some(layout)) = (&loaded.config, &layout) else {
        return Err(fail(
            &format!("{} does not fit this machine as it is", path.display()),
            Some("what is said above comes first; then ask the doctor again"),
        ));
    };
    let names = config.ports.iter().filter_map(|port| match &port.kind {
        PortKind::AfXdp(af_xdp) => Some(af_xdp.interface.as_str()),
        _ => None,
    });
    let findings = doctor::examine(config, layout, &gather::gather(&host, names));
    if json {
        out_json(&findings)?
    } else {
        out(&text(&findings))?
    };
    if findings.iter().any(|finding| finding.level == Level::Error) { Err(Failed) } else { Ok(()) }
}

/// Each finding with what it means and the command that changes it; then how many of each.
pub fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { level, about, found, means, command } in findings {
        text += &format!("{:7}  {about:width$}  {found}\n", level.name());
        let indent = " ".repeat(7 + 2 + width + 2);
        if !means.is_empty() {
            text += &format!("{indent}{means}\n");
        }
        if let Some(command) = command {
            text += &format!("{indent}# {command}\n");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    text + &format!("\n{errors} errors, {warnings} warnings, {} ok\n", count(Level::Ok))
}

fn restore(path: &Path, json: bool) -> Result<(), Failed> {
    let fates = match undo::restore(path) {
        Ok(fates) => fates,
        // That is what one wants to hear after a clean stop.
        Err(error @ UndoError::Nothing(_)) => {
            if json {
                out("[]\n")?
            } else {
                out(&format!("{error}\n"))?
            };
            return Ok(());
        }
        Err(error) => return Err(fail(&error.to_string(), None)),
    };
    if json {
        let list: Vec<_> = fates
            .iter()
            .map(|(changed, fate)| serde_json::json!({ "setting": changed, "fate": fate }))
            .collect();
        out_json(&list)?;
    } else {
        let mut table = Table::new(["interface", "setting", "value", "result"]);
        for (changed, fate) in &fates {
            let result = match fate {
                Fate::Restored => "restored".to_owned(),
                Fate::WasRestored => "was restored already".to_owned(),
                Fate::ChangedSince(now) => format!("left alone: somebody set it to {now} since then"),
                Fate::Gone => "the interface is gone".to_owned(),
                Fate::Failed(why) => format!("failed: {why}"),
            };
            table.row([
                changed.interface.clone(),
                changed.setting.name().to_owned(),
                changed.old.to_string(),
                result,
            ]);
        }
        out(&table.take_text())?;
    }
    if fates.iter().any(|(_, fate)| matches!(fate, Fate::Failed(_))) { Err(Failed) } else { Ok(()) }
}
