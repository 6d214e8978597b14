//! `flumen exec -- PROGRAM ARGUMENTS`: runs a program, unchanged, with the sockets of the data plane.
//!
//! The program gets `libflumen_preload.so` in front of its libc and the path of the service's socket, and takes this
//! process's place. What it asks of sockets decides, address by address, which of them are Flumen's.
//!
//! Nothing falls back without a word: unless the caller says `--fallback kernel`, a service that is not there and a program
//! that cannot be preloaded (statically linked, or running as another user) are errors before it starts.
//!
//! Exit codes, as those of env(1): the program's own; 1 the data plane cannot be used; 126 the program cannot be run so;
//! 127 there is no such program.

use crate::cli::exec::program::Unusable;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod program;

/// The library's file.
pub const LIBRARY: &str = "libflumen_preload.so";

/// Where the service listens for programs unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/flumen/programs.sock";

/// Arguments of `flumen exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service's socket for programs [default: $FLUMEN_SOCKET, or /run/flumen/programs.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What the program does when the data plane is not there
    #[arg(long, value_enum, default_value_t = Fallback::Fail)]
    pub fallback: Fallback,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    pub command: Vec<OsString>,
}

/// What a program does when the data plane is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fallback {
    /// It uses the kernel's sockets
    Kernel,
    /// Its sockets fail
    Fail,
}

impl Fallback {
    /// The value of FLUMEN_FALLBACK.
    fn name(self) -> &'static str {
        match self {
            Fallback::Kernel => "kernel",
            Fallback::Fail => "fail",
        }
    }
}

/// Becomes the program; comes back only when that cannot be.
pub fn execute(args: &Args) -> ExitCode {
    let fail = |code: u8, message: String| {
        eprintln!("error: {message}");
        ExitCode::from(code)
    };
    let Some((name, arguments)) = args.command.split_first() else {
        return fail(2, "no program was named".to_owned());
    };
    let library = match library() {
        Ok(library) => library,
        Err(places) => return fail(1, format!("{LIBRARY} is not here; looked at {}", listed(&places))),
    };
    let Some(found) = program::find(name, std::env::var_os("PATH").as_deref()) else {
        return fail(127, format!("{}: no such program", name.to_string_lossy()));
    };
    let socket = args.socket.clone().or_else(|| std::env::var_os("FLUMEN_SOCKET").map(PathBuf::from));
    let socket = socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    if args.fallback == Fallback::Fail {
        if let Err(Unusable { path, why }) = program::check(&found) {
            return fail(
                126,
                format!(
                    "{}: {why}; it would use the kernel's sockets (--fallback kernel allows that)",
                    path.display()
                ),
            );
        }
        if let Err(error) = reach(&socket) {
            return fail(
                1,
                format!(
                    "no data plane answers at {}: {error}; is `flumen run` there, with [programs] in its configuration? \
                     (--fallback kernel goes on without)",
                    socket.display()
                ),
            );
        }
    }
    let error = Command::new(&found)
        .arg0(name)
        .args(arguments)
        .env("LD_PRELOAD", preload(&library, std::env::var_os("LD_PRELOAD").as_deref()))
        .env("FLUMEN_SOCKET", absolute(&socket))
        .env("FLUMEN_FALLBACK", args.fallback.name())
        .exec();
    fail(126, format!("{}: {error}", found.display()))
}

/// Ours first: what else is preloaded calls us as it would call libc.
fn preload(library: &Path, before: Option<&OsStr>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        value.push(":");
        value.push(before);
    }
    value
}

/// The program may change its directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The library: beside this binary, or where it is installed to with the binary in `bin`. On failure, where it was looked for.
fn library() -> Result<PathBuf, Vec<PathBuf>> {
    let here = std::env::current_exe().ok().and_then(|binary| Some(binary.parent()?.to_owned()));
    let places = places(&here.unwrap_or_default());
    places.iter().find(|place| place.is_file()).cloned().ok_or(places)
}

fn places(beside: &Path) -> Vec<PathBuf> {
    let mut places = vec![beside.join(LIBRARY)];
    if let Some(prefix) = beside.parent() {
        places.push(prefix.join("lib/flumen").join(LIBRARY));
        places.push(prefix.join("lib").join(LIBRARY));
    }
    places
}

fn listed(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Looks whether somebody listens there.
fn reach(socket: &Path) -> Result<(), rustix::io::Errno> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(socket)?;
    let fd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(fd, &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_looked_for_beside_the_binary_and_where_it_is_installed() {
        assert_eq!(
            listed(&places(Path::new("/usr/local/bin"))),
            "/usr/local/bin/libflumen_preload.so, /usr/local/lib/flumen/libflumen_preload.so, \
             /usr/local/lib/libflumen_preload.so"
        );
    }

    #[test]
    fn what_was_preloaded_before_stays() {
        let library = Path::new("/lib/a.so");
        assert_eq!(preload(library, None), "/lib/a.so");
        assert_eq!(preload(library, Some(OsStr::new(""))), "/lib/a.so");
        assert_eq!(preload(library, Some(OsStr::new("b.so"))), "/lib/a.so:b.so");
    }
}
