//! `flumen check`, the real program: what it prints and its exit codes.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

fn flumen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flumen")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn out(output: &Output) -> (String, String) {
    (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// `flumen check` of a file with `text`.
fn check(text: impl AsRef<[u8]>, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    flumen(&[&["check", file.to_str().unwrap()], more].concat())
}

/// Two ports in memory need nothing of the machine but a processor, which `cpu` is.
fn memory_pair(cpu: usize) -> String {
    format!(
        "[[port]]\nname = \"a\"\nkind = \"memory\"\npeer = \"b\"\n[[port]]\nname = \"b\"\nkind = \"memory\"\npeer = \"a\"\n\
         [[core]]\ncpu = {cpu}\nports = [\"a\", \"b\"]\n"
    )
}

fn a_cpu() -> usize {
    core_affinity::get_core_ids().unwrap()[0].id
}

#[test]
fn a_configuration_that_is_right_gives_its_layout_and_0() {
    let output = check(memory_pair(a_cpu()), &["--here"]);
    let (stdout, stderr) = out(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
    for part in ["a:0 b:0", "1024  wire from a:0 to its peer", "3304  in all", "test.toml: OK\n"] {
        assert!(stdout.contains(part), "{part} is not in\n{stdout}");
    }
}

#[test]
fn errors_go_to_standard_error_with_their_places_and_1() {
    let output =
        check(memory_pair(a_cpu()).replace("[\"a\", \"b\"]", "[\"a\"]").replacen("peer", "pear", 1), &[]);
    let (stdout, stderr) = out(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    for part in ["test.toml:4:1", "did you mean `peer`?", "[[port]] needs `peer`", "2 errors, 0 warnings"] {
        assert!(stderr.contains(part), "{part} is not in\n{stderr}");
    }
    assert!(!stderr.contains('\u{1b}'), "coloured although it is no terminal");
}

#[test]
fn what_this_machine_lacks_is_a_warning_and_with_here_an_error() {
    let text = memory_pair(4095);
    let output = check(&text, &[]);
    assert_eq!(output.status.code(), Some(0));
    let (stdout, stderr) = out(&output);
    assert!(stderr.contains("warning: this machine has no cpu 4095 for us"), "{stderr}");
    assert!(stdout.contains("OK, with 1 warning"), "{stdout}");
    let output = check(&text, &["--here"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).1.contains("error: this machine has no cpu 4095 for us"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let output = flumen(&["check", "/nonexistent/flumen.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).1.contains("cannot read /nonexistent/flumen.toml: No such file"), "{output:?}");
    let output = check(b"name = \"\xff\"", &[]);
    assert!(out(&output).1.contains("not UTF-8 text: byte 8"), "{output:?}");
    let output = check(vec![b'#'; (4 << 20) + 1], &[]);
    assert!(out(&output).1.contains("longer than 4194304 bytes"), "{output:?}");
    assert!(!out(&check(vec![b'#'; 4 << 20], &[])).1.contains("longer than"));
}

#[test]
fn the_reference_is_valid_on_every_machine() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/flumen.toml");
    let output = flumen(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output).1);
}

#[test]
fn a_wrong_command_line_gives_2() {
    for arguments in [&[][..], &["check"], &["frobnicate"], &["check", "a", "b"]] {
        assert_eq!(flumen(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = flumen(&["version"]);
    assert_eq!(
        (output.status.code(), out(&output).0),
        (Some(0), format!("flumen {}\n", env!("CARGO_PKG_VERSION")))
    );
}
