//! Unmodified programs on Flumen's sockets: the small tools of every day, as servers and as clients of the kernel's peers.

use super::harness::{Lab, Role, noise, wait_until};

/// The address of the router's host, where programs on Flumen serve.
const HERE: &str = "10.0.1.1";
/// The kernel's host beside it.
const THERE: &str = "10.0.1.2";

fn lab() -> Lab {
    Lab::plan().programs("").up()
}

/// The same bytes in two files.
#[track_caller]
fn same(one: &str, other: &str) {
    let read = |path: &str| std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(read(one) == read(other), "{one} and {other} differ");
}

pub fn small_programs_are_clean_under_valgrind() {
    let lab = lab();
    let bytes = noise(9, 300_000);
    lab.file("served", &bytes);
    let folder = lab.folder().display().to_string();
    let _server = lab.start_on_kernel(Role::Client, &format!("python3 -m http.server --bind {THERE} -d {folder} 8000"));
    // What the library does wrong in a program is an error of the program's for valgrind: its status says so.
    let valgrind = "valgrind -q --error-exitcode=99 --leak-check=no";
    let fetched = lab.folder().join("fetched").display().to_string();
    let served = lab.folder().join("served").display().to_string();
    lab.wait_for_port(Role::Client, THERE, 8000);
    lab.run_on_flumen(&format!("{valgrind} curl -sS -m 60 -o {fetched} http://{THERE}:8000/served")).must();
    same(&fetched, &served);
    std::fs::remove_file(&fetched).expect("it was fetched");
    lab.run_on_flumen(&format!("{valgrind} wget -q -T 60 -O {fetched} http://{THERE}:8000/served")).must();
    same(&fetched, &served);
    let answered = lab.run_on_flumen(&format!("{valgrind} nc -z -w 20 {THERE} 8000"));
    answered.must();
    // Servers: a process for each connection, and datagrams. What valgrind has to say it says between ==.
    let servers = [
        lab.start_on_flumen(&format!("{valgrind} socat TCP-LISTEN:5000,bind={HERE},fork,reuseaddr PIPE")),
        lab.start_on_flumen(&format!("{valgrind} socat UDP-LISTEN:5001,bind={HERE},fork PIPE")),
    ];
    lab.wait_for_port(Role::Client, HERE, 5000);
    let back = lab.folder().join("back").display().to_string();
    let talk = lab.file("talk", format!("exec socat -t 30 - TCP:{HERE}:5000 < {served} > {back}"));
    lab.client(&format!("sh {talk}")).must();
    same(&served, &back);
    let ask = lab.file("ask", format!("echo ping | socat -t 2 - UDP:{HERE}:5001"));
    wait_until("a datagram comes back", 30, || lab.client(&format!("sh {ask}")).text.contains("ping"));
    for server in servers {
        assert!(!server.log().contains("=="), "{}", server.log());
    }
}

pub fn nc_sends_and_receives_every_byte() {
    let lab = lab();
    let sent = lab.file("sent", noise(1, 4 << 20));
    let received = lab.folder().join("received").display().to_string();
    let serve = lab.file("serve", format!("exec nc -l {HERE} 5000 > {received}"));
    let send = lab.file("send", format!("exec nc -N -w 10 {HERE} 5000 < {sent}"));
    let server = lab.start_on_flumen(&format!("sh {serve}"));
    wait_until("nc listens", 10, || lab.router("ss -H").ok && lab.client(&format!("sh {send}")).ok);
    wait_until("all is written", 10, || std::fs::metadata(&received).is_ok_and(|file| file.len() == 4 << 20));
    same(&sent, &received);
    drop(server);
    // The other way round: the kernel listens.
    let serve = lab.file("serve", format!("exec nc -l {THERE} 5001 > {received}"));
    let send = lab.file("send", format!("exec nc -N -w 10 {THERE} 5001 < {sent}"));
    let _server = lab.start_on_kernel(Role::Client, &format!("sh {serve}"));
    wait_until("nc connects", 10, || lab.run_on_flumen(&format!("sh {send}")).ok);
    wait_until("all is written", 10, || std::fs::metadata(&received).is_ok_and(|file| file.len() == 4 << 20));
    same(&sent, &received);
}

pub fn nc_carries_datagrams() {
    let lab = lab();
    let received = lab.folder().join("received").display().to_string();
    let serve = lab.file("serve", format!("exec nc -u -l {HERE} 5000 > {received}"));
    let _server = lab.start_on_flumen(&format!("sh {serve}"));
    let send = lab.file("send", format!("echo over the wire | nc -u -q 0 -w 1 {HERE} 5000"));
    wait_until("a datagram arrives", 10, || {
        lab.client(&format!("sh {send}")).must();
        std::fs::read_to_string(&received).is_ok_and(|text| text.starts_with("over the wire\n"))
    });
}

pub fn curl_and_wget_fetch_every_byte() {
    let lab = lab();
    let bytes = noise(2, 8 << 20);
    let served = lab.file("served", &bytes);
    let fetched = lab.folder().join("fetched").display().to_string();
    let folder = lab.folder().display().to_string();
    let _server =
        lab.start_on_kernel(Role::Client, &format!("python3 -m http.server -b {THERE} -d {folder} 8000"));
    lab.wait_for_port(Role::Client, THERE, 8000);
    lab.run_on_flumen(&format!("curl -sS -m 30 -o {fetched} http://{THERE}:8000/served")).must();
    same(&served, &fetched);
    std::fs::remove_file(&fetched).expect("it was fetched");
    lab.run_on_flumen(&format!("wget -q -T 30 -O {fetched} http://{THERE}:8000/served")).must();
    same(&served, &fetched);
}

pub fn socat_serves_many_with_a_process_for_each() {
    let lab = lab();
    let _server = lab.start_on_flumen(&format!("socat TCP-LISTEN:5000,bind={HERE},fork,reuseaddr EXEC:cat"));
    lab.wait_for_port(Role::Client, HERE, 5000);
    let sent = lab.file("sent", noise(3, 1 << 20));
    for round in 0..3 {
        let back = lab.folder().join(format!("back{round}")).display().to_string();
        let talk = lab.file("talk", format!("exec socat -t 10 - TCP:{HERE}:5000 < {sent} > {back}"));
        lab.client(&format!("sh {talk}")).must();
        same(&sent, &back);
    }
}

pub fn socat_relays_between_the_kernel_and_flumen_and_over_udp() {
    // socat gives up half a second after one side ended, however much is on its way, unless told otherwise.
    let lab = lab();
    let _echo = lab.start_on_kernel(Role::Server, "socat -t 10 TCP-LISTEN:7000,fork,reuseaddr PIPE");
    let _relay =
        lab.start_on_flumen(&format!("socat -t 10 TCP-LISTEN:5000,bind={HERE},fork,reuseaddr TCP:10.0.2.2:7000"));
    lab.wait_for_port(Role::Client, HERE, 5000);
    let sent = lab.file("sent", noise(4, 1 << 20));
    let back = lab.folder().join("back").display().to_string();
    let talk = lab.file("talk", format!("exec socat -t 10 - TCP:{HERE}:5000 < {sent} > {back}"));
    lab.client(&format!("sh {talk}")).must();
    same(&sent, &back);
    let _udp = lab.start_on_flumen(&format!("socat UDP-LISTEN:5001,bind={HERE},fork PIPE"));
    let ask = lab.file("ask", format!("echo ping | socat -t 1 - UDP:{HERE}:5001"));
    wait_until("a datagram comes back", 10, || lab.client(&format!("sh {ask}")).text.contains("ping"));
}

pub fn iperf_runs_both_ways() {
    let lab = lab();
    let _server = lab.start_on_flumen(&format!("iperf -s -B {HERE}"));
    lab.wait_for_port(Role::Client, HERE, 5001);
    lab.client(&format!("iperf -c {HERE} -t 1 -P 2")).says("SUM");
    let _kernel = lab.start_on_kernel(Role::Client, &format!("iperf -s -B {THERE}"));
    lab.wait_for_port(Role::Client, THERE, 5001);
    lab.run_on_flumen(&format!("iperf -c {THERE} -t 1")).says("bits/sec");
}

/// What an iperf3 run with these options moved, in bytes, as the receiver says.
fn moved(said: &str) -> f64 {
    let said: serde_json::Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let end = &said["end"];
    let sum = if end["sum_received"].is_null() { &end["sum"] } else { &end["sum_received"] };
    sum["bytes"].as_f64().unwrap_or_else(|| panic!("no sum in {said}"))
}

const IPERF3: [&str; 5] = ["", "-R", "-P 4", "-u -b 50M", "-u -b 50M -R"];

pub fn iperf3_serves_tcp_and_udp_both_ways_and_in_parallel() {
    let lab = lab();
    let _server = lab.start_on_flumen(&format!("iperf3 -s -B {HERE}"));
    lab.wait_for_port(Role::Client, HERE, 5201);
    for options in IPERF3 {
        let said = lab.client(&format!("iperf3 -J -c {HERE} -t 1 {options}")).must();
        assert!(moved(&said) > 1e6, "{options}: {said}");
    }
}

pub fn iperf3_is_a_client_over_tcp_and_udp_both_ways_and_in_parallel() {
    let lab = lab();
    let _server = lab.start_on_kernel(Role::Client, &format!("iperf3 -s -B {THERE}"));
    lab.wait_for_port(Role::Client, THERE, 5201);
    for options in IPERF3 {
        let said = lab.run_on_flumen(&format!("iperf3 -J -c {THERE} -t 1 {options}")).must();
        assert!(moved(&said) > 1e6, "{options}: {said}");
    }
}

/// Keys and configurations for sshd on this address and port; the client's options.
fn ssh(lab: &Lab, address: &str, port: u16) -> (String, String) {
    let folder = lab.folder().display().to_string();
    for key in ["host", "user"] {
        let make = lab.file("make-key", format!("exec ssh-keygen -q -t ed25519 -N '' -C lab -f {folder}/{key}{port}"));
        lab.client(&format!("sh {make}")).must();
    }
    let config = lab.file(
        &format!("sshd{port}"),
        format!(
            "ListenAddress {address}:{port}\nHostKey {folder}/host{port}\nAuthorizedKeysFile {folder}/user{port}.pub\n\
             PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             Subsystem sftp internal-sftp\n"
        ),
    );
    let options = format!(
        "-i {folder}/user{port} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o BatchMode=yes \
         -o ConnectTimeout=10 -o LogLevel=ERROR -F /dev/null"
    );
    (config, options)
}

pub fn sshd_logs_in_runs_commands_and_takes_files() {
    let lab = lab();
    std::fs::create_dir_all("/run/sshd").expect("sshd's folder");
    let (config, options) = ssh(&lab, HERE, 2222);
    let _server = lab.start_on_flumen(&format!("/usr/sbin/sshd -D -e -f {config}"));
    lab.wait_for_port(Role::Client, HERE, 2222);
    lab.client(&format!("ssh -p 2222 {options} root@{HERE} echo well-met")).says("well-met");
    let sent = lab.file("sent", noise(5, 2 << 20));
    lab.client(&format!("scp -q -P 2222 {options} {sent} root@{HERE}:{sent}.copy")).must();
    same(&sent, &format!("{sent}.copy"));
}

pub fn ssh_and_scp_are_clients() {
    let lab = lab();
    std::fs::create_dir_all("/run/sshd").expect("sshd's folder");
    let (config, options) = ssh(&lab, THERE, 2223);
    let _server = lab.start_on_kernel(Role::Client, &format!("/usr/sbin/sshd -D -e -f {config}"));
    lab.wait_for_port(Role::Client, THERE, 2223);
    lab.run_on_flumen(&format!("ssh -p 2223 {options} root@{THERE} echo well-met")).says("well-met");
    let sent = lab.file("sent", noise(6, 2 << 20));
    lab.run_on_flumen(&format!("scp -q -P 2223 {options} root@{THERE}:{sent} {sent}.copy")).must();
    same(&sent, &format!("{sent}.copy"));
}
