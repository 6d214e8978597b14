//! Unmodified programs on Flumen's sockets: stores, latency and names.

use super::harness::{Lab, Role, wait_until};

const HERE: &str = "10.0.1.1";
const THERE: &str = "10.0.1.2";

fn lab() -> Lab {
    Lab::plan().programs("").up()
}

fn redis(address: &str) -> String {
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
    let lab = lab();
    let line = redis(HERE).replace("--save ", "--save \"\"");
    let start = lab.file("start", format!("exec {line}\n"));
    let _server = lab.start_on_flumen(&format!("sh {start}"));
    lab.wait_for_port(Role::Client, HERE, 6379);
    measured(&lab.client(&format!("redis-benchmark -h {HERE} {BENCHMARK}")).must());
    measured(&lab.client(&format!("redis-benchmark -h {HERE} {BENCHMARK} -P 16")).must());
    lab.client(&format!("redis-cli -h {HERE} set name flumen")).says("OK");
    lab.client(&format!("redis-cli -h {HERE} get name")).says("flumen");
}

pub fn redis_benchmark_is_a_client() {
    let lab = lab();
    let line = redis(THERE).replace("--save ", "--save \"\"");
    let start = lab.file("start", format!("exec {line}\n"));
    let _server = lab.start_on_kernel(Role::Client, &format!("sh {start}"));
    lab.wait_for_port(Role::Client, THERE, 6379);
    measured(&lab.run_on_flumen(&format!("redis-benchmark -h {THERE} {BENCHMARK}")).must());
    lab.run_on_flumen(&format!("redis-cli -h {THERE} set name flumen")).says("OK");
    lab.client(&format!("redis-cli -h {THERE} get name")).says("flumen");
}

pub fn memcached_keeps_what_it_is_given() {
    let lab = lab();
    let _server = lab.start_on_flumen(&format!("memcached -u root -l {HERE} -p 11211 -t 4"));
    lab.wait_for_port(Role::Client, HERE, 11211);
    let script = lab.file(
        "ask.py",
        format!(
            r#"
import socket
def ask(numbers):
    one = socket.create_connection(("{HERE}", 11211), 10)
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
one = socket.create_connection(("{HERE}", 11211), 10)
one.sendall(b"stats\r\n")
print("all kept" if b"STAT curr_items 1600" in one.recv(65536) else "some are lost")
"#
        ),
    );
    lab.client(&format!("python3 {script}")).says("all kept");
}

fn ping_pong(said: &str) {
    let messages = said.lines().find(|line| line.contains("[Valid Duration]")).unwrap_or_else(|| panic!("{said}"));
    let received = messages.split("ReceivedMessages=").nth(1).expect("a count");
    let received: u64 = received.split(|sign: char| !sign.is_ascii_digit()).next().expect("digits").parse().expect("a count");
    assert!(received > 1000, "{said}");
    assert!(said.contains("# dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0"), "{said}");
}

pub fn sockperf_plays_ping_pong() {
    let lab = lab();
    for (port, tcp) in [(11111, ""), (11112, "--tcp")] {
        let _server = lab.start_on_flumen(&format!("sockperf sr -i {HERE} -p {port} {tcp}"));
        let play = format!("sockperf pp -i {HERE} -p {port} {tcp} -t 1 -m 64");
        let mut said = String::new();
        wait_until("sockperf listens", 15, || {
            said = lab.client(&play).text;
            said.contains("[Valid Duration]")
        });
        ping_pong(&said);
    }
    for (port, tcp) in [(11113, ""), (11114, "--tcp")] {
        let _server = lab.start_on_kernel(Role::Client, &format!("sockperf sr -i {THERE} -p {port} {tcp}"));
        let play = format!("sockperf pp -i {THERE} -p {port} {tcp} -t 1 -m 64");
        let mut said = String::new();
        wait_until("sockperf listens", 15, || {
            said = lab.run_on_flumen(&play).text;
            said.contains("[Valid Duration]")
        });
        ping_pong(&said);
    }
}

fn dnsmasq(address: &str) -> String {
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

pub fn dnsmasq_and_unbound_answer_dig() {
    let lab = lab();
    {
        let _server = lab.start_on_flumen(&dnsmasq(HERE));
        answers(|what| lab.client(&format!("dig @{HERE} -p 5353 {what}")).text);
    }
    let texts = ["x".repeat(250).as_str(); 8].map(|text| format!("\\\"{text}\\\"")).join(" ");
    let folder = lab.folder().display().to_string();
    let config = lab.file(
        "unbound.conf",
        format!(
            "server:\n directory: \"{folder}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n\
             interface: {HERE}@5353\n access-control: 0.0.0.0/0 allow\n local-zone: \"lab.\" static\n\
             local-data: \"here.lab. A 192.0.2.7\"\n local-data: 'long.lab. TXT {}'\nremote-control:\n control-enable: no\n",
            texts.replace("\\\"", "\"")
        ),
    );
    let _server = lab.start_on_flumen(&format!("unbound -d -c {config}"));
    answers(|what| lab.client(&format!("dig @{HERE} -p 5353 {what}")).text);
}

pub fn dig_is_a_client() {
    let lab = lab();
    let _server = lab.start_on_kernel(Role::Client, &dnsmasq(THERE));
    answers(|what| lab.run_on_flumen(&format!("dig @{THERE} -p 5353 {what}")).text);
}
