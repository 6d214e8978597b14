//! Who may have sockets in Flumen, which ports they may name, and how many there may be.

use super::harness::{Lab, Program, Role, wait_until};

const HERE: &str = "10.0.1.1";
const NAMES: &str = include_str!("programs/names.py");

/// The command line of a Python program of another user. Who is not root may have no way into the folders of who builds, nor to
/// a Python of his own: the library is copied to the lab's folder.
fn python(lab: &Lab, user: &str, script: &str) -> String {
    lab.build_library();
    let library = lab.folder().join("libflumen_preload.so");
    if !library.exists() {
        let built = std::path::Path::new(super::harness::BINARY).with_file_name("libflumen_preload.so");
        std::fs::copy(built, &library).expect("it was built");
    }
    let (library, socket) = (library.display(), lab.programs_socket());
    format!(
        "env LD_PRELOAD={library} FLUMEN_FALLBACK=fail FLUMEN_SOCKET={} setpriv {user} /usr/bin/python3 -u {script}",
        socket.display()
    )
}

/// A program that names a socket, as another user; what came of it.
fn names(lab: &Lab, user: &str, name: &str) -> String {
    let script = lab.file("names.py", NAMES);
    let said = lab.router(&format!("{} {name}", python(lab, user, &script))).must();
    said.strip_prefix(name).map_or(said.clone(), |rest| rest.trim_start().to_owned())
}

const NOBODY: &str = "--reuid 65534 --regid 65534 --clear-groups";
const MEMBER: &str = "--reuid 65534 --regid 65534 --groups 4242";
const ROOT: &str = "--reuid 0";

pub fn who_may_write_to_the_socket_may_attach_and_nobody_else() {
    let lab = Lab::plan().programs("mode = \"0660\"\ngroup = 4242").up();
    assert_eq!(names(&lab, ROOT, "tcp:10.0.1.1:7000"), "Flumen\n");
    assert_eq!(names(&lab, MEMBER, "tcp:10.0.1.1:7000"), "Flumen\n");
    let refused = names(&lab, NOBODY, "tcp:10.0.1.1:7000");
    assert!(refused.starts_with("ENETDOWN\n") && refused.contains("Permission denied"), "{refused}");
}

pub fn a_socket_of_its_owner_alone_lets_nobody_else_attach_nor_ask() {
    let mut lab = Lab::plan().programs("mode = \"0600\"").control("mode = \"0600\"").up();
    for socket in [lab.programs_socket(), lab.socket()] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).expect("it is there").permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    }
    assert_eq!(names(&lab, ROOT, "tcp:10.0.1.1:7000"), "Flumen\n");
    let refused = names(&lab, NOBODY, "tcp:10.0.1.1:7000");
    assert!(refused.starts_with("ENETDOWN\n") && refused.contains("Permission denied"), "{refused}");
    assert!(lab.flumen().show("programs").ok);
    let script = lab.file(
        "ask.py",
        "import socket, sys\n\
         try:\n    socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n    print('heard')\n\
         except OSError as error:\n    print(error.strerror)\n",
    );
    for (user, wanted) in [(ROOT, "heard\n"), (NOBODY, "Permission denied\n")] {
        let line = format!("setpriv {user} /usr/bin/python3 {script} {}", lab.socket().display());
        assert_eq!(lab.router(&line).must(), wanted, "{user}");
    }
}

pub fn low_ports_are_for_root_and_for_whom_the_configuration_names() {
    let lab = Lab::plan().programs("low_ports = [4321]").up();
    for (user, low) in [(ROOT, "Flumen\n"), (NOBODY, "EACCES\n"), ("--reuid 4321", "Flumen\n")] {
        assert_eq!(names(&lab, user, "tcp:10.0.1.1:80"), low, "{user}");
        assert_eq!(names(&lab, user, "udp:10.0.1.1:1023"), low, "{user}");
        assert_eq!(names(&lab, user, "tcp:10.0.1.1:1024"), "Flumen\n", "{user}");
        assert_eq!(names(&lab, user, "tcp:fd00:1::1:80"), low, "{user}");
        assert_eq!(names(&lab, user, "udp:fd00:1::1:1024"), "Flumen\n", "{user}");
    }
}

pub fn what_is_reserved_is_bound_by_root_and_by_whom_the_configuration_names() {
    let reserve = "reserve = [{ address = \"10.0.1.1\", protocol = \"tcp\", ports = [8080], users = [4321] },
        { address = \"fd00:1::1\", users = [] }]";
    let lab = Lab::plan().programs(reserve).up();
    for (user, named, root_alone) in [
        (ROOT, "Flumen\n", "Flumen\n"),
        (NOBODY, "EACCES\n", "EACCES\n"),
        ("--reuid 4321", "Flumen\n", "EACCES\n"),
    ] {
        assert_eq!(names(&lab, user, "tcp:10.0.1.1:8080"), named, "{user}");
        assert_eq!(names(&lab, user, "udp:10.0.1.1:8080"), "Flumen\n", "{user}");
        assert_eq!(names(&lab, user, "tcp:10.0.1.1:8081"), "Flumen\n", "{user}");
        assert_eq!(names(&lab, user, "udp:fd00:1::1:8081"), root_alone, "{user}");
    }
}

/// Takes all sockets that it may have, frees one and takes it again; then stays.
const GREEDY: &str = r#"
import errno, socket, sys, time
kept = []
def more():
    one = socket.socket()
    one.bind((sys.argv[1], 0))
    kept.append(one)
try:
    while True: more()
except OSError as error:
    print(len(kept), errno.errorcode[error.errno], flush=True)
if kept:
    kept.pop().close()
    more()
    print(len(kept), "again", flush=True)
time.sleep(600)
"#;

fn greedy(lab: &Lab, user: &str) -> Program {
    let script = lab.file("greedy.py", GREEDY);
    lab.start_on_kernel(Role::Router, &format!("{} {HERE}", python(lab, user, &script)))
}

#[track_caller]
fn says(program: &Program, words: &str) {
    wait_until(words, 20, || program.log().contains(words));
}

pub fn who_has_all_sockets_that_a_program_may_have_harms_no_other() {
    let lab = Lab::plan().programs("sockets = 64\nprograms = 4\nprograms_per_user = 2").up();
    let first = greedy(&lab, ROOT);
    says(&first, "64 ENOBUFS\n64 again\n");
    let served = lab.file("served", "all is well");
    let _server = lab.start_on_flumen(&format!("python3 -m http.server -b {HERE} -d {} 8000", lab.folder().display()));
    lab.wait_for_port(Role::Client, HERE, 8000);
    let name = std::path::Path::new(&served).file_name().expect("a file").to_string_lossy().into_owned();
    lab.client(&format!("curl -sS -m 10 http://{HERE}:8000/{name}")).says("all is well");

    // Root has two programs: a third is one too many, of another user it is not.
    let refused = names(&lab, ROOT, "tcp:10.0.1.1:7000");
    assert!(refused.starts_with("ENETDOWN\n") && refused.contains("Too many open files"), "{refused}");
    let second = greedy(&lab, NOBODY);
    says(&second, "64 ENOBUFS\n64 again\n");
    let third = greedy(&lab, "--reuid 4321");
    says(&third, "64 ENOBUFS\n64 again\n");
    // Now there are four.
    let refused = names(&lab, "--reuid 4322", "tcp:10.0.1.1:7000");
    assert!(refused.starts_with("ENETDOWN\n") && refused.contains("Too many open files"), "{refused}");
    lab.client(&format!("curl -sS -m 10 http://{HERE}:8000/{name}")).says("all is well");

    // A place is free again when its program is gone.
    second.kill();
    wait_until("a program takes the place", 20, || names(&lab, "--reuid 4322", "tcp:10.0.1.1:7000") == "Flumen\n");
}
