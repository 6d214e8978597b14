//! `flumen show` and `flumen route`, the real program, against a service made of numbers.

use crate::machine::{Machine, Service};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(socket: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flumen"))
        .args(arguments)
        .arg("--socket")
        .arg(socket)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Standard output of a command that works.
#[track_caller]
fn good(service: &Service, arguments: &[&str]) -> String {
    let output = run(&service.path, arguments, b"");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that fails.
#[track_caller]
fn bad(service: &Service, arguments: &[&str], input: &str) -> String {
    let output = run(&service.path, arguments, input.as_bytes());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn json(service: &Service, arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&good(service, &[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn show_status_and_core() {
    let service = Service::start(Machine::default());
    let status = "version        0.1.0\nprocess        pid 4711\nrunning for    1d02h\nconfiguration  router.toml\n\
                  cpus           0 1\nports          lan wan\n";
    assert_eq!(good(&service, &["show", "status"]), status);
    let cores = "\
cpu  polls        idle            sleeps  handed over  taken over  neighbours  connections  program sockets  socket memory  cpu use
  0  lan:0 wan:0  adaptive 500us      12            3           4           2            3                5           8192   25.0 %
  1  lan:1 wan:1  adaptive 500us      12            3           4           2            3                5           8192   25.0 %

cpu  frames  free  in rings  held  quarantined  balanced
  0     100    60        30     9            1  yes
  1     100    60        30     9            1  no

warning: the frames of cpu 1 did not add up at some time: frames were lost or counted twice, which is a bug worth reporting
";
    assert_eq!(good(&service, &["show", "core"]), cores);
    assert_eq!(json(&service, &["show", "core"])["cores"][1]["frames"]["balanced"], false);
}

#[test]
fn show_port() {
    let service = Service::start(Machine::default());
    let text = "\
port  kind    interface  driver  mode           link  mtu   mac                forwarding  checksum  queues
lan   af_xdp  veth0      veth    native (auto)  up    1500  02:00:00:00:00:01  yes         verify    0@cpu1

port  address
lan   192.0.2.1/24

port  rx packets  rx bytes  tx packets  tx bytes  drops  tx drops
lan         1000     64000         900     57600    100         2

queue  cpu  mode    multi-buffer  tx checksum offload  tx budget  busy poll  transmit
lan:0    1  native  yes           yes                         64  no         bulk

queue  rx_dropped  rx_invalid_descs  tx_invalid_descs  rx_ring_full  rx_fill_ring_empty  tx_ring_empty
lan:0           0                 0                 0            17                   0              0

queue  kicks  kick-errors
lan:0     99            0

lan: zero-copy was refused: the driver has none

warning: 5 packets came with checksums that a local kernel had left unfinished, on a port that does not repair them: who receives them drops them
  = help: run `ethtool -K PEER tx off`, where PEER is the interface at the other end of the link, or set `checksum = \"repair\"` at the port
";
    assert_eq!(good(&service, &["show", "port"]), text);
    assert_eq!(
        json(&service, &["show", "port", "lan"])["ports"][0]["queues"][0]["kernel"]["rx_ring_full"],
        17
    );
    assert!(bad(&service, &["show", "port", "x"], "").contains("error: there is no port `x`"));
}

#[test]
fn show_drops_and_counters() {
    let service = Service::start(Machine::default());
    let text = "reason    count  meaning\nno-route     42  No route leads to the destination.\n";
    assert_eq!(good(&service, &["show", "drops"]), text);
    let text = "reason     count  cpu 0  cpu 1  meaning\n\
                no-route      42      2     40  No route leads to the destination.\n\
                port-down      0      0      0  The port is down.\n";
    assert_eq!(good(&service, &["show", "drops", "--cores", "--all"]), text);
    assert_eq!(good(&service, &["show", "counters"]), "event          count\nipv4-received      7\n");
    assert_eq!(json(&service, &["show", "drops"])["tallies"][0]["per_core"][1], 40);
}

#[test]
fn show_runtime_since_the_start_and_over_an_interval() {
    let service = Service::start(Machine::default());
    let text = "\
workers over 1.0 s
cpu  packets  transmitted  bursts  packets/burst  cycles/packet  turns  busy    sleeps  handed over  taken over  cpu use
  0     5000         4900     100           50.0          120.0   1000  40.0 %       0            0           0   50.0 %

cycles for each packet, by stage
cpu  receive  route
  0     40.0   80.0

2000 MHz: a cycle is 0.50 ns
";
    assert_eq!(good(&service, &["show", "runtime"]), text);
    // The machine's seconds are its own, so both texts say the same numbers.
    let text = text.replace("1.0 s", "1.0 s, each second");
    assert_eq!(good(&service, &["show", "runtime", "--interval", "1"]), text);
    assert_eq!(json(&service, &["show", "runtime", "--interval", "1"])["cores"][0]["packets"], 5000);
    assert_eq!(run(&service.path, &["show", "runtime", "--interval", "0"], b"").status.code(), Some(2));
}

#[test]
fn show_neighbour() {
    let service = Service::start(Machine::default());
    let text = "\
port  address      mac                state      age   confirmed  router  probes  waiting  cpu
lan   192.0.2.254  02:00:00:00:00:fe  REACHABLE  4.2s  1.5s       no           0        0    0
wan   fe80::9      -                  FAILED     4.2s  -          no           0        0    0
";
    assert_eq!(good(&service, &["show", "neighbour"]), text);
    assert!(good(&service, &["show", "neighbour", "--port", "none"]).contains("no neighbours"));
    assert!(!good(&service, &["show", "neighbour", "fe80::9"]).contains("192.0.2.254"));
    assert!(good(&service, &["show", "neighbour", "--limit", "1"]).contains("… and more"));
}

#[test]
fn show_sockets_and_programs() {
    let service = Service::start(Machine::default());
    let text = "\
protocol  state        recv-q  send-q  local         remote           pid      user  cpu
tcp       listen            1     128  192.0.2.1:80  -                service  -       0
tcp       established       1     128  192.0.2.1:80  192.0.2.9:40000     4711    33    0
";
    assert_eq!(good(&service, &["show", "tcp"]), text);
    let all = good(&service, &["show", "sockets"]);
    assert!(all.contains("udp") && all.starts_with("protocol"), "{all}");
    assert!(!good(&service, &["show", "sockets", "--protocol", "udp"]).contains("tcp"));
    assert!(good(&service, &["show", "tcp", "--limit", "1"]).contains("… and more"));
    assert_eq!(json(&service, &["show", "sockets"])["sockets"][1]["pid"], 4711);
    let programs = "\
pid   user  sockets  memory of  gone  woken aside  cpus
4711    33        2          3  no    yes          0 1
";
    assert_eq!(good(&service, &["show", "programs"]), programs);
}

#[test]
fn routes_are_added_replaced_shown_looked_up_and_deleted() {
    let service = Service::start(Machine::default());
    good(&service, &["route", "add", "10.0.0.0/8", "via", "192.0.2.254", "metric", "5"]);
    good(
        &service,
        &[
            "route",
            "add",
            "10.1.0.0/16",
            "via",
            "192.0.2.2",
            "weight",
            "3",
            "via",
            "198.51.100.7",
            "port",
            "wan",
        ],
    );
    good(&service, &["route", "add", "2001:db8:5::/48", "port", "wan"]);
    good(&service, &["route", "replace", "203.0.113.0/24", "prohibit"]);
    let text = "\
prefix           to            port  weight  source  metric  active
10.0.0.0/8       192.0.2.254   lan   -       static       5  yes
10.1.0.0/16      192.0.2.2     lan        3  static       0  yes
·                198.51.100.7  wan        1
203.0.113.0/24   prohibit      -     -       static       0  yes
2001:db8:5::/48  on link       wan   -       static       0  yes

table      used  size     full
routes        4  1000000  0.0 %
next-hops     1  -        -
";
    assert_eq!(good(&service, &["show", "route"]), text);
    let text = good(&service, &["show", "route", "10.1.2.3"]);
    assert!(text.contains("10.1.0.0/16") && !text.contains("10.0.0.0/8"), "{text}");
    assert!(good(&service, &["show", "route", "10.2.2.3"]).contains("10.0.0.0/8"));
    assert_eq!(good(&service, &["show", "route", "11.0.0.1"]), "no route\n");
    let text = good(&service, &["show", "route", "10.0.0.0/8"]);
    assert!(text.contains("10.1.0.0/16") && !text.contains("203.0.113.0/24"), "{text}");
    assert!(good(&service, &["show", "route", "--source", "kernel"]).starts_with("no routes\n"));
    assert!(good(&service, &["show", "route", "--limit", "1"]).contains("… and more: `--all`"));
    let error = bad(&service, &["route", "add", "203.0.113.0/24", "blackhole"], "");
    assert_eq!(error, "error: there is such a route already\n  = help: use `replace`\n");
    let error = bad(&service, &["route", "add", "10.9.0.0/16", "via", "10.9.9.9"], "");
    assert!(error.contains("the gateway 10.9.9.9 is not on-link at any port"), "{error}");
    assert!(
        bad(&service, &["route", "del", "10.0.0.0/8"], "").contains("there is no route"),
        "its metric is 5"
    );
    good(&service, &["route", "del", "10.0.0.0/8", "metric", "5"]);
    let shown = json(&service, &["show", "route"]);
    assert_eq!((shown["routes"].as_array().unwrap().len(), &shown["more"]), (3, &serde_json::json!(false)));
    assert_eq!(shown["routes"][0]["next_hops"][0]["weight"], 3);
    let machine = service.stop();
    assert_eq!(machine.table.len(), 3);
}

#[test]
fn a_wrong_question_about_routes_is_not_asked() {
    let service = Service::start(Machine::default());
    for arguments in [
        &["show", "route", "10.0.0.1/8"][..],
        &["show", "route", "x"],
        &["show", "route", "--all", "--limit", "2"],
        &["route", "add"],
        &["show"],
    ] {
        assert_eq!(run(&service.path, arguments, b"").status.code(), Some(2), "{arguments:?}");
    }
    assert!(
        bad(&service, &["show", "route", "10.0.0.1", "--source", "static"], "")
            .contains("whatever its source")
    );
}

#[test]
fn a_batch_of_thousands_is_made_and_its_bad_lines_are_named() {
    let service = Service::start(Machine::default());
    let mut text = String::from(
        "# routes of a file\n10.255.0.0/16 via 192.0.2.254\n  add 10.254.0.0/16 via 192.0.2.254 port lna\n\n",
    );
    for n in 0..5000u32 {
        text += &format!("add 10.{}.{}.0/24 blackhole\n", n >> 8, n & 255);
    }
    text += "del 10.0.0.0/24\ndel 10.250.0.0/24\nnonsense";
    let error = bad(&service, &["route", "batch"], &text);
    let wanted = "\
error: standard input:3:42: there is no port `lna`
  = help: did you mean `lan`?
error: standard input:5006: there is no route to 10.250.0.0/24
error: standard input:5007:1: \"nonsense\" is not a prefix
  = help: a line begins with a prefix, as in \"198.51.100.0/24 via 192.0.2.254\"
standard input: 5002 changes made, 3 refused
";
    assert_eq!(error, wanted);
    let machine = service.stop();
    assert_eq!(machine.table.len(), 5000);
}

#[test]
fn a_batch_comes_from_a_file_and_shows_no_more_than_fifty_refusals() {
    let service = Service::start(Machine::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.txt");
    std::fs::write(&file, "10.0.0.0/8 blackhole\n2001:db8:1::/48 unreachable\n").unwrap();
    let name = file.to_str().unwrap();
    assert_eq!(good(&service, &["route", "batch", name]), format!("{name}: 2 changes made\n"));
    std::fs::write(&file, "del 10.9.0.0/16\n".repeat(51)).unwrap();
    let error = bad(&service, &["route", "batch", name], "");
    assert_eq!(error.matches("there is no route").count(), 50);
    assert!(error.contains("… and 1 more") && error.contains("0 changes made, 51 refused"), "{error}");
    assert!(bad(&service, &["route", "batch", "/nonexistent"], "").contains("cannot read /nonexistent"));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let nets =
        (0..20_000u32).map(|n| ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(n << 8), 24).unwrap().into());
    let service = Service::start(Machine::with_routes(nets));
    for more in [&[][..], &["--json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flumen"))
            .args(["show", "route", "--all", "--socket"])
            .arg(&service.path)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    }
    let shown = json(&service, &["show", "route", "--all"]);
    assert_eq!(shown["routes"].as_array().unwrap().len(), 20_000);
}

#[test]
fn without_a_service_the_message_says_where_it_was_looked_for_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("c.sock");
    let said = |arguments: &[&str]| {
        let output = run(&socket, arguments, b"10.0.0.0/8 blackhole\n");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    for arguments in [
        &["show", "core"][..],
        &["show", "route"],
        &["route", "add", "10.0.0.0/8", "blackhole"],
        &["route", "batch"],
    ] {
        let error = said(arguments);
        assert!(error.contains(&format!("there is no control socket {}", socket.display())), "{error}");
        assert!(error.contains("flumen run CONFIG"), "{error}");
    }
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(said(&["show", "core"]).contains("the service that made it is dead"));
}

#[test]
fn the_socket_is_found_by_the_configuration() {
    let service = Service::start(Machine::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    let with = |socket: &str| {
        format!(
            "[[port]]\nname = \"a\"\nkind = \"memory\"\npeer = \"b\"\n[[port]]\nname = \"b\"\nkind = \"memory\"\npeer = \"a\"\n\
             [[core]]\ncpu = 0\nports = [\"a\", \"b\"]\n[control]\nsocket = \"{socket}\"\n"
        )
    };
    let show = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flumen"));
        command.args(["show", "status", "--config"]).arg(&file).env("NO_COLOR", "1").output().unwrap()
    };
    std::fs::write(&file, with(service.path.to_str().unwrap())).unwrap();
    assert_eq!(show().status.code(), Some(0));
    std::fs::write(&file, with("relative")).unwrap();
    let output = show();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be absolute"));
}

#[test]
fn workers_that_hang_are_reported() {
    let service = Service::start(Machine { hung: true, ..Machine::default() });
    let error = bad(&service, &["show", "port"], "");
    assert!(error.contains("the workers did not answer in time"), "{error}");
}

#[test]
fn show_tables_and_rules_and_routes_of_one_table() {
    let service = Service::start(Machine::default());
    let tables = "table    IPv4 routes  of       IPv6 routes  of\n\
                  main               0  1000000            0      9\n\
                  uplink2            0    10000            0  10000\n";
    assert_eq!(good(&service, &["show", "tables"]), tables);
    let rules = "priority  packets                                                                                 what\n\
                 100       from 10.0.1.0/24 in lan protocol 17 source ports 1000-1999 ports 53 tos 0x10  table uplink2\n\
                 200       all                                                                           prohibit\n\
                 32766     all                                                                           table main\n";
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&good(&service, &["show", "rules"])), words(rules));
    assert_eq!(json(&service, &["show", "rules"])["rules"][0]["in"], "lan");
    good(&service, &["route", "add", "10.0.0.0/8", "port", "lan", "table", "uplink2", "mtu", "1400"]);
    assert!(
        bad(&service, &["route", "add", "10.0.0.0/8", "port", "lan", "table", "uplink3"], "")
            .contains("uplink2")
    );
    assert!(good(&service, &["show", "route", "--table", "uplink2"]).contains("on link mtu 1400"));
    assert!(bad(&service, &["show", "route", "--table", "x"], "").contains("no table `x`"));
}

#[test]
fn show_reassembly() {
    let service = Service::start(Machine::default());
    let text = good(&service, &["show", "reassembly"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for wanted in [
        &["1", "2", "4096", "4194304"][..],
        &["1", "10.0.0.9", "192.0.2.1", "-", "17", "4711", "2", "2960", "3008", "28.5s", "waits"],
        &["1", "fe80::9", "fe80::1", "lan", "-", "4711", "2", "2960", "-", "28.5s", "given", "up"],
        &["…", "and", "more"],
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted:?} is not in\n{text}");
    }
    assert_eq!(json(&service, &["show", "reassembly"])["datagrams"][0]["total"], 3008);
}

#[test]
fn show_multicast() {
    let service = Service::start(Machine::default());
    let text = good(&service, &["show", "multicast"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for wanted in [
        &["lan", "IPv4", "us"][..],
        &["lan", "IPv6", "fe80::9"],
        &["lan", "239.1.1.1", "from", "all", "4.2s"],
        &["lan", "239.1.1.2", "not", "from", "10.0.0.9", "4.2s"],
        &["lan", "239.1.1.3", "from", "10.0.0.9", "10.0.0.8", "-"],
        &["239.0.0.0/8", "0.0.0.0/0", "wan", "lan,", "dmz", "above", "16", "7"],
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted:?} is not in\n{text}");
    }
    assert_eq!(json(&service, &["show", "multicast"])["routes"][0]["packets"], 7);
}
