//! Unmodified programs and a service that is not there, or dies.

use super::harness::{Lab, Role, wait_until};
use nix::sys::signal::Signal;
use std::path::Path;

const HERE: &str = "10.0.1.1";
const THERE: &str = "10.0.1.2";
/// At the client's link, and nobody's: its packets vanish.
const SILENT: &str = "10.0.1.77";
const SILENT6: &str = "fd00:1::77";

const DEATH: &str = include_str!("programs/service_death.py");

/// Accepts, and neither reads nor writes.
const SILENT_SERVER: &str = "import socket,time\ns=socket.create_server(('::',7000),family=socket.AF_INET6,dualstack_ipv6=True,backlog=64)\nkept=[]\n\
                             while True: kept.append(s.accept())\n";

/// What each call comes to.
const ENDS: [(&str, &str); 17] = [
    ("recv", "ECONNRESET"),
    ("recv without waiting", "ECONNRESET"),
    ("recv whole", "ECONNRESET"),
    ("send", "EPIPE"),
    ("send while it opens", "EPIPE"),
    ("connect", "ECONNRESET"),
    ("accept", "ECONNABORTED"),
    ("accept of both", "ECONNABORTED"),
    ("recv of datagrams", "ENETDOWN"),
    ("recv of datagrams of both", "ENETDOWN"),
    ("poll", "hung up"),
    ("poll without waiting", "hung up"),
    ("select", "readable"),
    ("epoll", "hung up"),
    ("epoll by edges", "hung up"),
    ("epoll without waiting", "hung up"),
    ("recv in a child", "ECONNRESET"),
];

/// Addresses of ours, of the peer, and of nobody who answers.
const FAMILIES: [[&str; 3]; 2] = [[HERE, THERE, SILENT], ["fd00:1::1", "fd00:1::2", SILENT6]];

fn dies(signal: Signal) {
    let silent = "02:00:00:00:01:02";
    let plan = Lab::plan().programs("").neighbour("lan", SILENT, silent).neighbour("lan", SILENT6, silent);
    let mut lab = plan.up();
    let script = lab.file("service_death.py", DEATH);
    let server = lab.file("silent.py", SILENT_SERVER);
    let _server = lab.start_on_kernel(Role::Client, &format!("python3 {server}"));
    lab.wait_for_port(Role::Client, THERE, 7000);
    let lines = FAMILIES
        .map(|[here, there, silent]| format!("python3 -u {script} {here} {there} 7000 {silent}"));
    let programs = lines.each_ref().map(|line| lab.start_on_flumen(line));
    // No thread of these waits for news, and finds out for the others.
    let restless = lines.each_ref().map(|line| lab.start_on_flumen(&format!("{line} waiting")));
    let all = || programs.iter().chain(&restless);
    wait_until("all calls wait", 30, || all().all(|one| one.log().contains("blocked")));
    assert!(programs.iter().all(|one| one.log() == "blocked\n"), "nothing ends before");
    let mut flumen = lab.take_flumen();
    flumen.signal(signal);
    flumen.ended();
    wait_until("all calls end", 60, || all().all(|one| one.log().contains("all ended")));
    let ends = programs.iter().map(|one| (one, "")).chain(restless.iter().map(|one| (one, "waiting")));
    for (of, last) in ends {
        let said = of.log();
        for (call, end) in ENDS.iter().filter(|(call, _)| call.ends_with(last)) {
            assert!(said.lines().any(|line| line == format!("{call}: {end}")), "{call}: {end}\n{said}");
        }
    }
    for program in &programs {
        wait_until("there is no service", 20, || program.log().contains("not yet: ENETDOWN"));
        assert_eq!(program.log().matches("flumen: ").count(), 1, "{}", program.log());
    }
    lab.start_flumen();
    for program in &programs {
        wait_until("a new socket works", 60, || program.log().ends_with("again\n"));
    }
}

pub fn every_call_that_waits_ends_when_the_service_is_killed_and_new_sockets_find_the_next_one() {
    dies(Signal::SIGKILL);
}

pub fn every_call_that_waits_ends_when_the_service_is_stopped_and_new_sockets_find_the_next_one() {
    dies(Signal::SIGTERM);
}

const OUTLIVES: &str = include_str!("programs/outlives.py");

/// Services that a program outlives, after the first.
const RESTARTS: usize = 4;

pub fn a_program_that_outlives_services_has_what_it_had_with_the_first() {
    let mut lab = Lab::plan().programs("").up();
    let script = lab.file("outlives.py", OUTLIVES);
    let programs = [HERE, "fd00:1::1"].map(|here| lab.start_on_flumen(&format!("python3 -u {script} {here}")));
    let rounds = |log: &str| -> Vec<String> {
        log.lines().filter_map(|line| Some(line.strip_prefix("round ")?.split_once(" has ")?.1.to_owned())).collect()
    };
    for number in 0..=RESTARTS {
        let said = || programs.iter().all(|program| rounds(&program.log()).len() > number);
        wait_until("sockets are opened at the service", 60, said);
        if number < RESTARTS {
            let mut flumen = lab.take_flumen();
            flumen.signal(if number % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM });
            flumen.ended();
            lab.start_flumen();
        }
    }
    for program in &programs {
        let log = program.log();
        let rounds = rounds(&log);
        assert!(rounds[0].starts_with("1 1 "), "{log}");
        assert!(rounds.iter().all(|round| *round == rounds[0]), "{log}");
    }
}

const NOBODY: &str = r#"
import errno, os, socket, sys
def tries(do):
    try:
        do()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
server = socket.socket()
print("bind", tries(lambda: server.bind(("127.0.0.1", 0))))
if os.fork() == 0:
    one = socket.socket()
    print("child", tries(lambda: one.bind(("127.0.0.1", 0))), flush=True)
    os._exit(0)
os.wait()
print("listen", tries(server.listen))
client = socket.socket()
print("connect", tries(lambda: client.connect(("127.0.0.1", int(sys.argv[1])))))
print("send", tries(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))))
print("pair", tries(socket.socketpair), flush=True)
"#;

/// Runs a program with the library in front of it, as `env LD_PRELOAD` does it.
fn preloaded(lab: &Lab, variables: &str, line: &str) -> String {
    let library = Path::new(super::harness::BINARY).with_file_name("libflumen_preload.so");
    let library = library.display();
    lab.router(&format!("env LD_PRELOAD={library} {variables} {line}")).text
}

pub fn without_a_service_sockets_are_the_kernels_or_fail_and_one_line_tells() {
    let lab = Lab::plan().programs("").up();
    lab.build_library();
    let script = lab.file("nobody.py", NOBODY);
    let line = format!("python3 -u {script} 7000");
    let _server = lab.start_on_kernel(Role::Router, "python3 -m http.server -b 127.0.0.1 7000");
    lab.wait_for_port(Role::Router, "127.0.0.1", 7000);
    let nowhere = lab.folder().join("nowhere.sock").display().to_string();

    // Plain LD_PRELOAD goes on with the kernel's.
    let said = preloaded(&lab, &format!("FLUMEN_SOCKET={nowhere}"), &line);
    let works = "bind done\nchild done\nlisten done\nconnect done\nsend done\npair done\n";
    let lines = |said: &str| said.lines().filter(|line| line.starts_with("flumen:")).count();
    assert_eq!(lines(&said), 1, "parent and child say it once: {said}");
    assert!(said.contains(&nowhere) && said.contains("kernel's sockets are used"), "{said}");
    let others = |said: &str| -> String {
        said.lines().filter(|line| !line.starts_with("flumen:")).map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(others(&said), works);
    assert_eq!(preloaded(&lab, &format!("FLUMEN_QUIET=1 FLUMEN_SOCKET={nowhere}"), &line), works);

    // By policy it fails.
    let fails = "bind ENETDOWN\nchild ENETDOWN\nlisten ENETDOWN\nconnect ENETDOWN\nsend ENETDOWN\npair done\n";
    let said = preloaded(&lab, &format!("FLUMEN_FALLBACK=fail FLUMEN_SOCKET={nowhere}"), &line);
    assert_eq!((lines(&said), others(&said).as_str()), (1, fails), "{said}");
    assert!(said.contains(&nowhere) && said.contains("sockets fail"), "{said}");

    // With the service there plain LD_PRELOAD is as good as `flumen exec`, and silent.
    let there = lab.programs_socket().display().to_string();
    let _server = lab.start_on_kernel(Role::Client, "python3 -m http.server -b 10.0.1.2 7001");
    lab.wait_for_port(Role::Client, THERE, 7001);
    let line = format!("curl -s -m 10 -o /dev/null -w %{{local_ip}} http://{THERE}:7001/");
    // (The kernel of that namespace has no address there.)
    assert_eq!(preloaded(&lab, &format!("FLUMEN_SOCKET={there}"), &line), HERE);
}
