//! What we changed on interfaces, so that it can be put back, even after a crash.
//!
//! ```text
//!   service:  record(path, settings) ── change them ── … ── put back ── forget(path)
//!                    │                              ╲ crash
//!                    ▼                               ╲
//!   /run/flumen/control.undo.json ────────────────────▶ flumen doctor --undo:  restore(path)
//! ```
//!
//! The file is JSON:
//!
//! ```json
//! {"version":1,"pid":4711,"started":123456,
//!  "settings":[{"interface":"eth1","setting":"gro_flush_timeout","old":0,"new":50000}]}
//! ```
//!
//! Invariants
//! 1. The file is on disk, whole, before the first setting is changed.
//! 2. A setting is put back only while it still has the value that we gave it: what somebody changed since then is
//!    theirs.
//! 3. Nothing is put back under a service that lives (`pid` and `started` name a process beyond doubt).
//! 4. The file can name only the settings of [`Setting`]: it cannot make us write anywhere else.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The format of the file.
const VERSION: u32 = 1;

/// Bytes of a state file: two settings on each of 64 ports take 12 KiB.
const MAX_STATE: u64 = 256 << 10;

/// A setting of an interface that we may change: a file in `/sys/class/net/INTERFACE/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Empty polls before the interrupt is enabled again.
    NapiDeferHardIrqs,
    /// Nanoseconds that packets gather.
    GroFlushTimeout,
}

impl Setting {
    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Setting::NapiDeferHardIrqs => "napi_defer_hard_irqs",
            Setting::GroFlushTimeout => "gro_flush_timeout",
        }
    }
}

/// A setting that is about to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The interface.
    pub interface: String,
    /// What.
    pub setting: Setting,
    /// What it was.
    pub old: u64,
    /// What it will be.
    pub new: u64,
}

/// What became of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is what it was.
    Restored,
    /// It was that already.
    WasRestored,
    /// Somebody gave it another value since then, which stays.
    ChangedSince(u64),
    /// The interface is gone, and the setting with it.
    Gone,
    /// It could not be done.
    Failed(String),
}

/// The file could not be read or written, or must not be touched.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// No state: nothing to put back.
    #[error("there is nothing to undo: no state file {}", .0.display())]
    Nothing(PathBuf),
    /// It is of a service that runs.
    #[error("{} belongs to the flumen that runs as pid {pid}, which puts its settings back itself when it stops", .path.display())]
    Running {
        /// The file.
        path: PathBuf,
        /// The process.
        pid: u32,
    },
    /// Its owner is dead, and what it changed must be put back first.
    #[error("{} was left by a flumen that crashed: its settings must be restored first", .0.display())]
    Crashed(PathBuf),
    /// It is not a state file.
    #[error("{} is not a state file of this version: {what}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system.
    #[error("{}: {error}", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    pid: u32,
    /// When the process started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    started: u64,
    settings: Vec<Changed>,
}

/// The state file that belongs to a control socket: `control.sock` has `control.undo.json`.
pub fn path_for(socket: &Path) -> PathBuf {
    socket.with_extension("undo.json")
}

/// Writes down what is about to be changed, in addition to what this process wrote down before. A setting that is
/// recorded already keeps its first old value.
pub fn record(path: &Path, settings: &[Changed]) -> Result<(), UndoError> {
    let pid = std::process::id();
    let started = start_of(pid).unwrap_or(0);
    let mut state = match read(path) {
        Ok(state) if (state.pid, state.started) == (pid, started) => state,
        Ok(state) => return Err(owned(path, &state)),
        Err(UndoError::Nothing(_)) => State { version: VERSION, pid, started, settings: Vec::new() },
        Err(error) => return Err(error),
    };
    for new in settings {
        let same = |old: &&mut Changed| old.interface == new.interface && old.setting == new.setting;
        match state.settings.iter_mut().find(same) {
            Some(known) => known.new = new.new,
            None => state.settings.push(new.clone()),
        }
    }
    write(path, &state)
}

/// Puts back what a dead process recorded, last change first, and removes the file unless something failed. Says
/// what became of each setting.
pub fn restore(path: &Path) -> Result<Vec<(Changed, Fate)>, UndoError> {
    restore_in(path, Path::new("/sys/class/net"))
}

/// Everything was put back by whoever changed it: removes the file. It is no error if there is none.
pub fn forget(path: &Path) -> Result<(), UndoError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(UndoError::System { path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

fn restore_in(path: &Path, interfaces: &Path) -> Result<Vec<(Changed, Fate)>, UndoError> {
    let mut state = read(path)?;
    if is_alive(&state) {
        return Err(owned(path, &state));
    }
    let mut fates = Vec::new();
    while let Some(changed) = state.settings.pop() {
        let fate = put_back(&changed, interfaces);
        fates.push((changed, fate));
    }
    let failed = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Failed(_)));
    state.settings = failed.map(|(changed, _)| changed.clone()).rev().collect();
    if state.settings.is_empty() {
        forget(path)?
    } else {
        write(path, &state)?
    }
    Ok(fates)
}

fn put_back(changed: &Changed, interfaces: &Path) -> Fate {
    let Changed { interface, setting, old, new } = changed;
    // The name of a folder beside the others, and nothing that leads elsewhere.
    if interface.is_empty() || interface.contains('/') || interface.starts_with('.') {
        return Fate::Failed(format!("\"{interface}\" is not the name of an interface"));
    }
    let file = interfaces.join(interface).join(setting.name());
    let now = match fs::read_to_string(&file).map(|text| text.trim().parse::<u64>()) {
        Ok(Ok(now)) => now,
        Ok(Err(error)) => return Fate::Failed(error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Fate::Gone,
        Err(error) => return Fate::Failed(error.to_string()),
    };
    if now == *old {
        return Fate::WasRestored;
    }
    if now != *new {
        return Fate::ChangedSince(now);
    }
    match fs::write(&file, format!("{old}\n")) {
        Ok(()) => Fate::Restored,
        Err(error) => Fate::Failed(error.to_string()),
    }
}

fn owned(path: &Path, state: &State) -> UndoError {
    match is_alive(state) {
        true => UndoError::Running { path: path.to_owned(), pid: state.pid },
        false => UndoError::Crashed(path.to_owned()),
    }
}

fn is_alive(state: &State) -> bool {
    start_of(state.pid) == Some(state.started)
}

/// When the process started; `None` when there is none.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

fn read(path: &Path) -> Result<State, UndoError> {
    use std::io::Read;
    let format = |what: String| UndoError::Format { path: path.to_owned(), what };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => UndoError::Nothing(path.to_owned()),
        _ => UndoError::System { path: path.to_owned(), error },
    })?;
    file.take(MAX_STATE)
        .read_to_string(&mut text)
        .map_err(|error| UndoError::System { path: path.to_owned(), error })?;
    let state: State = serde_json::from_str(&text).map_err(|error| format(error.to_string()))?;
    if state.version == VERSION { Ok(state) } else { Err(format(format!("version {}", state.version))) }
}

/// Writes beside and renames: the file is whole or not there.
fn write(path: &Path, state: &State) -> Result<(), UndoError> {
    let system = |error| UndoError::System { path: path.to_owned(), error };
    let text = serde_json::to_string(state).map_err(|error| system(error.into()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(system)?;
    }
    let beside = path.with_extension("tmp");
    let options = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
    };
    // One that a crash left. `create_new` does not follow links.
    let _ = fs::remove_file(&beside);
    let mut file = options().open(&beside).map_err(system)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(system)?;
    fs::rename(&beside, path).map_err(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new(settings: &[(&str, Setting, u64)]) -> Place {
            let place = Place { folder: tempfile::tempdir().unwrap() };
            for (interface, setting, value) in settings {
                let folder = place.sys().join(interface);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(setting.name()), format!("{value}\n")).unwrap();
            }
            place
        }
        fn sys(&self) -> PathBuf {
            self.folder.path().join("net")
        }
        fn state(&self) -> PathBuf {
            self.folder.path().join("run/control.undo.json")
        }
        fn value(&self, interface: &str, setting: Setting) -> u64 {
            let text = fs::read_to_string(self.sys().join(interface).join(setting.name())).unwrap();
            text.trim().parse().unwrap()
        }
        /// As if the process that recorded were dead.
        fn crash(&self) {
            let mut state = read(&self.state()).unwrap();
            state.started += 1;
            write(&self.state(), &state).unwrap();
        }
    }

    fn changed(interface: &str, setting: Setting, old: u64, new: u64) -> Changed {
        Changed { interface: interface.to_owned(), setting, old, new }
    }

    use Setting::{GroFlushTimeout as Flush, NapiDeferHardIrqs as Irqs};

    #[test]
    fn after_a_crash_settings_are_what_they_were() {
        let place = Place::new(&[("a", Irqs, 2), ("a", Flush, 50_000), ("b", Flush, 7), ("c", Irqs, 1)]);
        record(&place.state(), &[changed("a", Irqs, 0, 2), changed("a", Flush, 10, 50_000)]).unwrap();
        record(
            &place.state(),
            &[changed("b", Flush, 3, 9), changed("c", Irqs, 1, 4), changed("d", Irqs, 0, 1)],
        )
        .unwrap();
        place.crash();
        let fates: Vec<Fate> =
            restore_in(&place.state(), &place.sys()).unwrap().into_iter().map(|(_, f)| f).collect();
        // Last change first: d is gone, c was never changed, b was changed by somebody else.
        assert_eq!(
            fates,
            [Fate::Gone, Fate::WasRestored, Fate::ChangedSince(7), Fate::Restored, Fate::Restored]
        );
        assert_eq!((place.value("a", Irqs), place.value("a", Flush), place.value("b", Flush)), (0, 10, 7));
        assert!(matches!(restore_in(&place.state(), &place.sys()), Err(UndoError::Nothing(_))));
    }

    #[test]
    fn nothing_is_put_back_under_a_service_that_lives_and_nothing_is_forgotten_of_one_that_crashed() {
        let place = Place::new(&[("a", Irqs, 2)]);
        record(&place.state(), &[changed("a", Irqs, 0, 2)]).unwrap();
        let error = restore_in(&place.state(), &place.sys()).unwrap_err();
        assert!(matches!(error, UndoError::Running { pid, .. } if pid == std::process::id()), "{error}");
        assert_eq!(place.value("a", Irqs), 2);
        place.crash();
        assert!(matches!(record(&place.state(), &[]), Err(UndoError::Crashed(_))));
        assert_eq!(read(&place.state()).unwrap().settings.len(), 1);
    }

    #[test]
    fn the_first_old_value_counts() {
        let place = Place::new(&[("a", Irqs, 5)]);
        record(&place.state(), &[changed("a", Irqs, 0, 2)]).unwrap();
        record(&place.state(), &[changed("a", Irqs, 2, 5)]).unwrap();
        assert_eq!(read(&place.state()).unwrap().settings, [changed("a", Irqs, 0, 5)]);
        forget(&place.state()).unwrap();
        forget(&place.state()).unwrap();
        assert!(!place.state().exists());
    }

    #[test]
    fn a_state_file_cannot_lead_elsewhere() {
        let place = Place::new(&[("a", Irqs, 5)]);
        fs::create_dir_all(place.state().parent().unwrap()).unwrap();
        for name in ["../net/a", "", ".", "..", "/etc"] {
            let state = State {
                version: VERSION,
                pid: 1,
                started: u64::MAX,
                settings: vec![changed(name, Irqs, 0, 5)],
            };
            write(&place.state(), &state).unwrap();
            let fates = restore_in(&place.state(), &place.sys()).unwrap();
            assert!(matches!(fates.as_slice(), [(_, Fate::Failed(_))]), "{name}");
            assert!(place.state().exists(), "what failed can be tried again");
        }
        assert_eq!(place.value("a", Irqs), 5);
        for text in [
            "",
            "{}",
            "{\"version\":2,\"pid\":1,\"started\":1,\"settings\":[]}",
            "[1]",
            "{\"version\":1,\"pid\":1,\"started\":1,\"settings\":[{\"interface\":\"a\",\"setting\":\"mtu\",\"old\":1,\"new\":2}]}",
        ] {
            fs::write(place.state(), text).unwrap();
            assert!(
                matches!(restore_in(&place.state(), &place.sys()), Err(UndoError::Format { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn the_state_file_is_beside_the_socket() {
        assert_eq!(
            path_for(Path::new("/run/flumen/control.sock")),
            Path::new("/run/flumen/control.undo.json")
        );
        assert!(start_of(std::process::id()).is_some());
        assert_eq!(start_of(u32::MAX), None);
    }
}
