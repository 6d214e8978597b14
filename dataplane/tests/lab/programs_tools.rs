//! Unmodified programs on Flumen's sockets: the small tools of every day, as servers and as clients of the kernel's peers.

use super::harness::{Ends, Host, IPV4, Lab, Outcome, Role, noise, over_each_family, wait_until};
use super::programs_calls::{CALLS, compiled};
use std::fs;

/// The same bytes in two files, of which the second is gone afterwards.
#[track_caller]
fn same(one: &str, other: &str) {
    let read = |path: &str| fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(read(one) == read(other), "{one} and {other} differ");
    fs::remove_file(other).expect("it was read");
}

/// A file of this run that is not there yet.
fn path(lab: &Lab, name: &str) -> String {
    lab.folder().join(name).display().to_string()
}

pub fn small_programs_are_clean_under_valgrind() {
    let lab = Lab::plan().programs("").up();
    let Ends { here, there, .. } = IPV4;
    let bytes = noise(9, 300_000);
    lab.file("served", &bytes);
    let folder = lab.folder().display().to_string();
    let _server = lab.start_on_kernel(Role::Client, &format!("python3 -m http.server --bind {there} -d {folder} 8000"));
    // What the library does wrong in a program, or gives to nobody and does not free, is an error of the program's for valgrind: its
    // status says so.
    let valgrind = format!("valgrind -q --error-exitcode=99 {DEFINITE_LEAKS}");
    let fetched = path(&lab, "fetched");
    let served = path(&lab, "served");
    lab.wait_for_port(Role::Client, there, 8000);
    lab.run_on_flumen(&format!("{valgrind} curl -sS -m 60 -o {fetched} http://{there}:8000/served")).must();
    same(&served, &fetched);
    lab.run_on_flumen(&format!("{valgrind} wget -q -T 60 -O {fetched} http://{there}:8000/served")).must();
    same(&served, &fetched);
    let answered = lab.run_on_flumen(&format!("{valgrind} nc -z -w 20 {there} 8000"));
    answered.must();
    // Servers: a process for each connection, and datagrams. What valgrind has to say it says between ==. (socat loses memory of its
    // own.)
    let valgrind = "valgrind -q --leak-check=no";
    let servers = [
        lab.start_on_flumen(&format!("{valgrind} socat TCP-LISTEN:5000,bind={here},fork,reuseaddr PIPE")),
        lab.start_on_flumen(&format!("{valgrind} socat UDP-LISTEN:5001,bind={here},fork PIPE")),
    ];
    lab.wait_for_port(Role::Client, here, 5000);
    let back = path(&lab, "back");
    let talk = lab.file("talk", format!("exec socat -t 30 - TCP:{here}:5000 < {served} > {back}"));
    lab.client(&format!("sh {talk}")).must();
    same(&served, &back);
    let ask = lab.file("ask", format!("echo ping | socat -t 2 - UDP:{here}:5001"));
    wait_until("a datagram comes back", 30, || lab.client(&format!("sh {ask}")).text.contains("ping"));
    for server in servers {
        assert!(!server.log().contains("=="), "{}", server.log());
    }
}

/// What valgrind shall call an error beside those of memory that is used: memory that nothing points to any more. (What is kept for the
/// life of the process, as tables are, is pointed to.)
const DEFINITE_LEAKS: &str = "--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite";

/// The socket calls of [`programs_calls`], children included. What the calls give is not the question here, and waits do not go on
/// after a signal: Valgrind knows no futex_waitv.
///
/// [`programs_calls`]: super::programs_calls
pub fn socket_calls_are_clean_under_valgrind() {
    let lab = Lab::plan().programs("").up();
    let program = compiled(&lab, "calls", CALLS, "-O1 -g");
    let logs = lab.folder().join("valgrind");
    fs::create_dir(&logs).expect("the lab's folder");
    let line = format!("valgrind -q {DEFINITE_LEAKS} --log-file={}/%p {program} 10.0.1.1", logs.display());
    let said = lab.run_on_flumen(&line).text;
    assert!(said.contains(" held, "), "it came to its end: {said}");
    let logs: Vec<_> = fs::read_dir(&logs).expect("valgrind wrote").map(|log| log.expect("a log").path()).collect();
    assert!(!logs.is_empty());
    for log in logs {
        let log = fs::read_to_string(log).expect("text");
        // (What it tells of system calls that it does not know begins with --.)
        assert!(!log.lines().any(|line| line.starts_with("==")), "{log}");
    }
}

pub fn nc_sends_and_receives_every_byte() {
    over_each_family(|lab, Ends { here, there, .. }| {
        let sent = lab.file("sent", noise(1, 4 << 20));
        let received = path(lab, "received");
        let all_is_written = || fs::metadata(&received).is_ok_and(|file| file.len() == 4 << 20);
        let serve = |address: Host| lab.file("serve", format!("exec nc -l {address} 5000 > {received}"));
        let send = |address: Host| lab.file("send", format!("exec nc -N -w 10 {address} 5000 < {sent}"));
        let (server, client) = (serve(here), send(here));
        let server = lab.start_on_flumen(&format!("sh {server}"));
        wait_until("nc listens", 10, || lab.router("ss -H").ok && lab.client(&format!("sh {client}")).ok);
        wait_until("all is written", 10, all_is_written);
        same(&sent, &received);
        drop(server);
        // The other way round: the kernel listens.
        let (server, client) = (serve(there), send(there));
        let _server = lab.start_on_kernel(Role::Client, &format!("sh {server}"));
        wait_until("nc connects", 10, || lab.run_on_flumen(&format!("sh {client}")).ok);
        wait_until("all is written", 10, all_is_written);
        same(&sent, &received);
    });
}

pub fn nc_carries_datagrams() {
    over_each_family(|lab, Ends { here, there, .. }| {
        for address in [here, there] {
            let received = path(lab, &format!("received-{address}"));
            let serve = lab.file("serve", format!("echo and back | nc -u -l {address} 5000 > {received}"));
            let send = lab.file("send", format!("(echo over the wire; sleep 1) | nc -u -w 1 {address} 5000"));
            let (on_flumen, on_kernel) = (address == here, |line: &str| lab.start_on_kernel(Role::Client, line));
            let serve = format!("sh {serve}");
            let _server = if on_flumen { lab.start_on_flumen(&serve) } else { on_kernel(&serve) };
            wait_until("a datagram is answered", 10, || {
                let send = format!("sh {send}");
                let said = if on_flumen { lab.client(&send) } else { lab.run_on_flumen(&send) };
                said.text.contains("and back")
            });
            assert!(fs::read_to_string(&received).expect("it is written").starts_with("over the wire\n"));
        }
    });
}

pub fn curl_and_wget_fetch_every_byte() {
    over_each_family(|lab, Ends { there, .. }| {
        let served = lab.file("served", noise(2, 8 << 20));
        let fetched = path(lab, "fetched");
        let folder = lab.folder().display().to_string();
        let _server = lab.start_on_kernel(Role::Client, &format!("python3 -m http.server -b {there} -d {folder} 8000"));
        lab.wait_for_port(Role::Client, there, 8000);
        lab.run_on_flumen(&format!("curl -sS -m 30 -o {fetched} http://{there:#}:8000/served")).must();
        same(&served, &fetched);
        lab.run_on_flumen(&format!("wget -q -T 30 -O {fetched} http://{there:#}:8000/served")).must();
        same(&served, &fetched);
    });
}

pub fn socat_serves_many_with_a_process_for_each() {
    over_each_family(|lab, ends @ Ends { here, .. }| {
        let listen = ends.word("TCP4-LISTEN", "TCP6-LISTEN");
        let _server = lab.start_on_flumen(&format!("socat {listen}:5000,bind={here:#},fork,reuseaddr EXEC:cat"));
        lab.wait_for_port(Role::Client, here, 5000);
        let sent = lab.file("sent", noise(3, 1 << 20));
        let back = path(lab, "back");
        let talk = lab.file("talk", format!("exec socat -t 10 - TCP:{here:#}:5000 < {sent} > {back}"));
        for _round in 0..3 {
            lab.client(&format!("sh {talk}")).must();
            same(&sent, &back);
        }
    });
}

pub fn socat_relays_between_the_kernel_and_flumen_and_over_udp() {
    // socat gives up half a second after one side ended, however much is on its way, unless told otherwise.
    over_each_family(|lab, ends @ Ends { here, far, .. }| {
        let (tcp, udp) = (ends.word("TCP4-LISTEN", "TCP6-LISTEN"), ends.word("UDP4-LISTEN", "UDP6-LISTEN"));
        let _echo = lab.start_on_kernel(Role::Server, &format!("socat -t 10 {tcp}:7000,fork,reuseaddr PIPE"));
        let _relay = lab.start_on_flumen(&format!(
            "socat -t 10 {tcp}:5000,bind={here:#},fork,reuseaddr TCP:{far:#}:7000"
        ));
        lab.wait_for_port(Role::Client, here, 5000);
        let sent = lab.file("sent", noise(4, 1 << 20));
        let back = path(lab, "back");
        let talk = lab.file("talk", format!("exec socat -t 10 - TCP:{here:#}:5000 < {sent} > {back}"));
        lab.client(&format!("sh {talk}")).must();
        same(&sent, &back);
        let _udp = lab.start_on_flumen(&format!("socat {udp}:5001,bind={here:#},fork PIPE"));
        let ask = lab.file("ask", format!("echo ping | socat -t 1 - UDP:{here:#}:5001"));
        wait_until("a datagram comes back", 10, || lab.client(&format!("sh {ask}")).text.contains("ping"));
    });
}

pub fn iperf_runs_both_ways() {
    over_each_family(|lab, ends @ Ends { here, there, .. }| {
        let six = ends.word("", "-V");
        let _server = lab.start_on_flumen(&format!("iperf -s {six} -B {here}"));
        lab.wait_for_port(Role::Client, here, 5001);
        lab.client(&format!("iperf {six} -c {here} -n 64M -P 2")).says("SUM");
        let _kernel = lab.start_on_kernel(Role::Client, &format!("iperf -s {six} -B {there}"));
        lab.wait_for_port(Role::Client, there, 5001);
        lab.run_on_flumen(&format!("iperf {six} -c {there} -n 64M")).says("bits/sec");
    });
}

/// What an iperf3 run with these options moved, in bytes, as the receiver says.
fn moved(said: &str) -> f64 {
    let said: serde_json::Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let end = &said["end"];
    let sum = if end["sum_received"].is_null() { &end["sum"] } else { &end["sum_received"] };
    sum["bytes"].as_f64().unwrap_or_else(|| panic!("no sum in {said}"))
}

/// Runs an iperf3 client until it is let in: its server closes the listener after each client, and opens it anew when it is ready for
/// the next (who asked whether it listens was one, too).
pub fn let_in(run: impl Fn() -> Outcome) -> String {
    let mut outcome = None;
    wait_until("iperf3 lets a client in", 20, || {
        // With -J it ends well when it was not let in.
        !outcome.insert(run()).text.contains("unable to connect")
    });
    outcome.expect("it ran").must()
}

/// Runs of a few megabytes each: both ways, in parallel, and of datagrams.
const IPERF3: [&str; 5] = ["-n 64M", "-n 64M -R", "-n 64M -P 4", "-u -b 50M -n 2M", "-u -b 50M -n 2M -R"];

pub fn iperf3_serves_tcp_and_udp_both_ways_and_in_parallel() {
    over_each_family(|lab, Ends { here, .. }| {
        let _server = lab.start_on_flumen(&format!("iperf3 -s -B {here}"));
        lab.wait_for_port(Role::Client, here, 5201);
        for options in IPERF3 {
            let said = let_in(|| lab.client(&format!("iperf3 -J -c {here} {options}")));
            assert!(moved(&said) > 1e6, "{options}: {said}");
        }
    });
}

pub fn iperf3_is_a_client_over_tcp_and_udp_both_ways_and_in_parallel() {
    over_each_family(|lab, Ends { there, .. }| {
        let _server = lab.start_on_kernel(Role::Client, &format!("iperf3 -s -B {there}"));
        lab.wait_for_port(Role::Client, there, 5201);
        for options in IPERF3 {
            let said = let_in(|| lab.run_on_flumen(&format!("iperf3 -J -c {there} {options}")));
            assert!(moved(&said) > 1e6, "{options}: {said}");
        }
    });
}

/// Keys and configurations for sshd on this address and port; the client's options.
fn ssh(lab: &Lab, address: Host, port: u16) -> (String, String) {
    let folder = lab.folder().display().to_string();
    for key in ["host", "user"] {
        let make = lab.file("make-key", format!("rm -f {folder}/{key}{port}; exec ssh-keygen -q -t ed25519 -N '' -C lab -f {folder}/{key}{port}"));
        lab.client(&format!("sh {make}")).must();
    }
    let config = lab.file(
        &format!("sshd{port}"),
        format!(
            "ListenAddress {address:#}:{port}\nHostKey {folder}/host{port}\nAuthorizedKeysFile {folder}/user{port}.pub\n\
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
    fs::create_dir_all("/run/sshd").expect("sshd's folder");
    over_each_family(|lab, Ends { here, .. }| {
        let (config, options) = ssh(lab, here, 2222);
        let _server = lab.start_on_flumen(&format!("/usr/sbin/sshd -D -e -f {config}"));
        lab.wait_for_port(Role::Client, here, 2222);
        lab.client(&format!("ssh -p 2222 {options} root@{here} echo well-met")).says("well-met");
        let sent = lab.file("sent", noise(5, 2 << 20));
        lab.client(&format!("scp -q -P 2222 {options} {sent} root@{here:#}:{sent}.copy")).must();
        same(&sent, &format!("{sent}.copy"));
    });
}

pub fn ssh_and_scp_are_clients() {
    fs::create_dir_all("/run/sshd").expect("sshd's folder");
    over_each_family(|lab, Ends { there, .. }| {
        let (config, options) = ssh(lab, there, 2223);
        let _server = lab.start_on_kernel(Role::Client, &format!("/usr/sbin/sshd -D -e -f {config}"));
        lab.wait_for_port(Role::Client, there, 2223);
        lab.run_on_flumen(&format!("ssh -p 2223 {options} root@{there} echo well-met")).says("well-met");
        let sent = lab.file("sent", noise(6, 2 << 20));
        lab.run_on_flumen(&format!("scp -q -P 2223 {options} root@{there:#}:{sent} {sent}.copy")).must();
        same(&sent, &format!("{sent}.copy"));
    });
}
