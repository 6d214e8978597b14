//! Unmodified programs on Flumen's sockets: stores, latency and names.

use super::harness::{Ends, Host, IPV4, Lab, Role, over_each_family, wait_until};

fn redis(address: Host) -> String {
    format!("redis-server --bind {address} --port 6379 --save  --appendonly no --protected-mode no --daemonize no")
}

#[track_caller]
fn measured(said: &str) {
    for test in ["PING_INLINE", "SET", "GET", "LPUSH"] {
        assert!(said.contains(&format!("{test}: ")), "{said}");
    }
    assert!(!said.contains("Error") && !said.contains("WARNING: Could not"), "{said}");
}

const BENCHMARK: &str = "-p 6379 -q -n 5000 -c 50 -t ping_inline,set,get,lpush -r 1000";

pub fn redis_serves() {
    over_each_family(|lab, Ends { here, .. }| {
        let line = redis(here).replace("--save ", "--save \"\"");
        let start = lab.file("start", format!("exec {line}\n"));
        let _server = lab.start_on_flumen(&format!("sh {start}"));
        lab.wait_for_port(Role::Client, here, 6379);
        measured(&lab.client(&format!("redis-benchmark -h {here} {BENCHMARK}")).must());
        measured(&lab.client(&format!("redis-benchmark -h {here} {BENCHMARK} -P 16")).must());
        lab.client(&format!("redis-cli -h {here} set name flumen")).says("OK");
        lab.client(&format!("redis-cli -h {here} get name")).says("flumen");
    });
}

pub fn redis_benchmark_is_a_client() {
    over_each_family(|lab, Ends { there, .. }| {
        let line = redis(there).replace("--save ", "--save \"\"");
        let start = lab.file("start", format!("exec {line}\n"));
        let _server = lab.start_on_kernel(Role::Client, &format!("sh {start}"));
        lab.wait_for_port(Role::Client, there, 6379);
        measured(&lab.run_on_flumen(&format!("redis-benchmark -h {there} {BENCHMARK}")).must());
        lab.run_on_flumen(&format!("redis-cli -h {there} set name flumen")).says("OK");
        lab.client(&format!("redis-cli -h {there} get name")).says("flumen");
    });
}

const MEMCACHED: &str = r#"
import socket, sys
def ask(numbers):
    one = socket.create_connection((sys.argv[1], 11211), 10)
    file = one.makefile("rwb")
    for number in numbers:
        value = b"%d" % number * (number % 500 + 1)
        file.write(b"set k%d 0 0 %d\r\n%s\r\n" % (number, len(value), value)); file.flush()
        assert file.readline() == b"STORED\r\n"
    for number in numbers:
        value = b"%d" % number * (number % 500 + 1)
        file.write(b"get k%d\r\n" % number); file.flush()
        assert file.readline() == b"VALUE k%d 0 %d\r\n" % (number, len(value))
        assert file.read(len(value) + 7) == value + b"\r\nEND\r\n"
import threading
asking = [threading.Thread(target=ask, args=(range(at, at + 200),)) for at in range(0, 1600, 200)]
for one in asking: one.start()
for one in asking: one.join()
one = socket.create_connection((sys.argv[1], 11211), 10)
one.sendall(b"stats\r\n")
print("all kept" if b"STAT curr_items 1600" in one.recv(65536) else "some are lost")
"#;

pub fn memcached_keeps_what_it_is_given() {
    over_each_family(|lab, Ends { here, .. }| {
        let _server = lab.start_on_flumen(&format!("memcached -u root -l {here:#} -p 11211 -t 4"));
        lab.wait_for_port(Role::Client, here, 11211);
        let script = lab.file("ask.py", MEMCACHED);
        lab.client(&format!("python3 {script} {here}")).says("all kept");
    });
}

fn ping_pong(said: &str) {
    let messages = said.lines().find(|line| line.contains("[Valid Duration]")).unwrap_or_else(|| panic!("{said}"));
    let received = messages.split("ReceivedMessages=").nth(1).expect("a count");
    let received: u64 = received.split(|sign: char| !sign.is_ascii_digit()).next().expect("digits").parse().expect("a count");
    assert!(received > 20, "{said}"); // however busy the machine is
    assert!(said.contains("# dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0"), "{said}");
}

/// Debian's sockperf knows IPv4 alone.
pub fn sockperf_plays_ping_pong() {
    let lab = Lab::plan().programs("").up();
    let Ends { here, there, .. } = IPV4;
    for (port, tcp) in [(11111, ""), (11112, "--tcp")] {
        let _server = lab.start_on_flumen(&format!("sockperf sr -i {here} -p {port} {tcp}"));
        let play = format!("sockperf pp -i {here} -p {port} {tcp} -t 1 -m 64");
        let mut said = String::new();
        wait_until("sockperf listens", 15, || {
            said = lab.client(&play).text;
            said.contains("[Valid Duration]")
        });
        ping_pong(&said);
    }
    for (port, tcp) in [(11113, ""), (11114, "--tcp")] {
        let _server = lab.start_on_kernel(Role::Client, &format!("sockperf sr -i {there} -p {port} {tcp}"));
        let play = format!("sockperf pp -i {there} -p {port} {tcp} -t 1 -m 64");
        let mut said = String::new();
        wait_until("sockperf listens", 15, || {
            said = lab.run_on_flumen(&play).text;
            said.contains("[Valid Duration]")
        });
        ping_pong(&said);
    }
}

fn dnsmasq(address: Host) -> String {
    format!(
        "dnsmasq -k -C /dev/null -u root -p 5353 --listen-address={address} --bind-interfaces --no-resolv --no-hosts \
         --host-record=here.lab,192.0.2.7 --txt-record=long.lab,{}",
        ["x".repeat(250).as_str(); 8].join(",")
    )
}

#[track_caller]
fn answers(ask: impl Fn(&str) -> String) {
    wait_until("names are answered", 10, || ask("+short +time=1 +tries=1 here.lab").contains("192.0.2.7"));
    assert!(ask("+short +tcp here.lab").contains("192.0.2.7"));
    // Too long for a datagram: dig asks again over TCP.
    assert_eq!(ask("+short +bufsize=512 TXT long.lab").matches('x').count(), 2000);
}

/// A configuration of unbound, with these lines in the part of its server.
fn unbound(lab: &Lab, address: Host, names: &str) -> String {
    let folder = lab.folder().display().to_string();
    lab.file(
        "unbound.conf",
        format!(
            "remote-control:\n control-enable: no\n\
             server:\n directory: \"{folder}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n\
             interface: {address}@5353\n access-control: 0.0.0.0/0 allow\n access-control: ::/0 allow\n module-config: iterator\n\
             {names}"
        ),
    )
}

pub fn dnsmasq_and_unbound_answer_dig() {
    over_each_family(|lab, Ends { here, .. }| {
        {
            let _server = lab.start_on_flumen(&dnsmasq(here));
            answers(|what| lab.client(&format!("dig @{here} -p 5353 {what}")).text);
        }
        let texts = ["x".repeat(250).as_str(); 8].map(|text| format!("\"{text}\"")).join(" ");
        let names = format!(
            "local-zone: \"lab.\" static\n\
             local-data: \"here.lab. A 192.0.2.7\"\n local-data: 'long.lab. TXT {texts}'\n"
        );
        let config = unbound(lab, here, &names);
        let _server = lab.start_on_flumen(&format!("unbound -d -c {config}"));
        answers(|what| lab.client(&format!("dig @{here} -p 5353 {what}")).text);
    });
}

pub fn dig_is_a_client() {
    over_each_family(|lab, Ends { there, .. }| {
        let _server = lab.start_on_kernel(Role::Client, &dnsmasq(there));
        answers(|what| lab.run_on_flumen(&format!("dig @{there} -p 5353 {what}")).text);
    });
}

/// A resolver asks others: unbound, for whoever asks it, the kernel's dnsmasq.
pub fn unbound_is_a_client_of_dnsmasq() {
    over_each_family(|lab, Ends { here, far, .. }| {
        let _server = lab.start_on_kernel(Role::Server, &dnsmasq(far));
        let zone = format!("local-zone: \"lab.\" transparent\nforward-zone:\n name: \"lab.\"\n forward-addr: {far}@5353\n");
        let config = unbound(lab, here, &zone);
        let _resolver = lab.start_on_flumen(&format!("unbound -d -c {config}"));
        answers(|what| lab.client(&format!("dig @{here} -p 5353 {what}")).text);
    });
}
