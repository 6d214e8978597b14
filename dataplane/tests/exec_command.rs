//! `flumen exec`, the real program: what it says when a program cannot have the data plane's sockets, and its exit codes.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with the binary in it, and a file in the library's place when `installed`.
fn folder(installed: bool) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let binary = bin.join("flumen");
    // (Behind a symbolic link the binary would be where it is.)
    std::fs::hard_link(env!("CARGO_BIN_EXE_flumen"), &binary)
        .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_flumen"), &binary).map(drop))
        .unwrap();
    if installed {
        let library = folder.path().join("lib/flumen/libflumen_preload.so");
        std::fs::create_dir_all(library.parent().unwrap()).unwrap();
        // The dynamic linker says on standard error that it is none, and goes on.
        std::fs::write(library, "").unwrap();
    }
    (folder, binary)
}

fn exec(binary: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(binary).arg("exec").args(arguments).env_remove("FLUMEN_SOCKET").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_library_that_is_not_there_is_told_with_the_places_that_were_looked_at() {
    let (folder, binary) = folder(false);
    let (code, _, said) = exec(&binary, &["--", "true"]);
    assert_eq!(code, Some(1));
    let place = folder.path().join("lib/flumen/libflumen_preload.so");
    assert!(said.contains(&format!("{}", place.display())), "{said}");
}

#[test]
fn a_data_plane_that_is_not_there_is_told_before_the_program_starts() {
    let (folder, binary) = folder(true);
    let socket = folder.path().join("nobody.sock");
    let socket = socket.to_str().unwrap();
    let (code, out, said) = exec(&binary, &["--socket", socket, "--", "echo", "started"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(said.contains(socket) && said.contains("[programs]"), "{said}");
    let (code, out, _) =
        exec(&binary, &["--socket", socket, "--fallback", "kernel", "--", "echo", "started"]);
    assert_eq!((code, out.as_str()), (Some(0), "started\n"), "unless the kernel's sockets will do");
}

#[test]
fn the_program_gets_its_arguments_and_surroundings() {
    let (_folder, binary) = folder(true);
    let line = "echo $1 $FLUMEN_SOCKET $FLUMEN_FALLBACK; exit 7";
    let (code, out, _) =
        exec(&binary, &["--socket", "/there", "--fallback", "kernel", "--", "sh", "-c", line, "sh", "--one"]);
    assert_eq!((code, out.as_str()), (Some(7), "--one /there kernel\n"));
}

#[test]
fn a_program_that_is_not_there_is_127() {
    let (_folder, binary) = folder(true);
    let (code, _, said) = exec(&binary, &["--", "no-such-program-anywhere"]);
    assert_eq!(code, Some(127));
    assert!(said.contains("no such program"), "{said}");
}
