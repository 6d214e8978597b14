//! Unmodified programs on the sockets of two workers, one queue of each port on each. Even ports live on the first worker, odd
//! ones on the second; the kernel at the other end of the wire chooses queues by a hash of its own.

use super::harness::{Lab, Role, noise, number, wait_until};
use super::programs_tools::let_in;

const HERE: &str = "10.0.1.1";
const THERE: &str = "10.0.1.2";

fn lab() -> Lab {
    Lab::plan().workers(2).programs("").up()
}

/// A count of each worker's.
fn of_workers(lab: &mut Lab, what: &str) -> Vec<u64> {
    let runtime = lab.flumen().json("runtime");
    runtime["cores"].as_array().expect("cores").iter().map(|core| number(&core[what])).collect()
}

/// Sockets of programs, by processor.
fn sockets(lab: &mut Lab) -> std::collections::BTreeMap<u64, usize> {
    let all = lab.flumen().json("sockets");
    let mut by_cpu = std::collections::BTreeMap::new();
    for socket in all["sockets"].as_array().expect("sockets") {
        *by_cpu.entry(number(&socket["cpu"])).or_default() += 1;
    }
    by_cpu
}

/// Both workers have received packets, and handed some to the other.
#[track_caller]
fn both_took_part(lab: &mut Lab) {
    wait_until("both workers have had packets, and handed some over", 10, || {
        let all = ["packets", "handed_over", "taken_over"].map(|what| of_workers(lab, what));
        all.iter().all(|of| of.len() == 2 && of.iter().all(|count| *count > 20))
    });
}

#[track_caller]
fn nothing_is_left(lab: &mut Lab) {
    wait_until("no program and no socket is left", 20, || {
        let programs = lab.flumen().json("programs");
        programs["programs"].as_array().expect("programs").is_empty() && sockets(lab).is_empty()
    });
}

#[track_caller]
fn fetch(lab: &Lab, url: &str, wanted: &[u8]) {
    let fetched = lab.folder().join("fetched");
    lab.client(&format!("curl -sS -m 30 -o {} {url}", fetched.display())).must();
    assert!(std::fs::read(&fetched).expect("it was fetched") == wanted, "other bytes than were served");
}

#[track_caller]
fn no_error(said: &str) {
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    assert!(said.contains("requests in"), "{said}");
}

/// nginx with two workers in front of the lab's folder, on a port of each worker.
fn nginx_config(lab: &Lab, address: &str) -> String {
    let folder = lab.folder().display().to_string();
    lab.file(
        "nginx.conf",
        format!(
            "user root;\nworker_processes 2;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n access_log off;\n\
             client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n\
             uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n\
             server {{\n listen {address}:8080;\n listen {address}:8081 reuseport;\n root {folder};\n\
             location /small {{ return 200 \"small\\n\"; }}\n }}\n}}\n"
        ),
    )
}

pub fn nginx_serves_on_both_and_leaves_nothing_behind_when_it_is_killed() {
    let mut lab = lab();
    let bytes = noise(1, 8 << 20);
    lab.file("served", &bytes);
    let config = nginx_config(&lab, HERE);
    let nginx = lab.start_on_flumen(&format!("nginx -e stderr -c {config}"));
    for port in [8080, 8081] {
        lab.wait_for_port(Role::Client, HERE, port);
        fetch(&lab, &format!("http://{HERE}:{port}/served"), &bytes);
        no_error(&lab.client(&format!("wrk -t 1 -c 50 -d 2s http://{HERE}:{port}/small")).must());
        let said = lab.client(&format!("ab -q -n 1000 -c 20 http://{HERE}:{port}/small")).must();
        assert!(said.contains("Complete requests:      1000") && said.contains("Failed requests:        0"), "{said}");
    }
    both_took_part(&mut lab);
    assert_eq!(sockets(&mut lab).len(), 2, "listeners on both");
    drop(nginx);
    nothing_is_left(&mut lab);
}

pub fn curl_wrk_and_iperf3_are_clients_on_both() {
    let mut lab = lab();
    let bytes = noise(2, 4 << 20);
    lab.file("served", &bytes);
    let config = nginx_config(&lab, THERE);
    let _nginx = lab.start_on_kernel(Role::Client, &format!("nginx -e stderr -c {config}"));
    lab.wait_for_port(Role::Client, THERE, 8080);
    let fetched = lab.folder().join("fetched");
    lab.run_on_flumen(&format!("curl -sS -m 30 -o {} http://{THERE}:8080/served", fetched.display())).must();
    assert!(std::fs::read(&fetched).expect("it was fetched") == bytes, "other bytes than were served");
    let load = lab.start_on_flumen(&format!("wrk -t 1 -c 40 -d 3s http://{THERE}:8080/small"));
    wait_until("the connections are shared out", 10, || {
        let by_cpu = sockets(&mut lab);
        by_cpu.len() == 2 && by_cpu.values().all(|count| *count >= 15)
    });
    wait_until("wrk is done", 20, || load.log().contains("Transfer/sec"));
    no_error(&load.log());
    let _server = lab.start_on_kernel(Role::Client, &format!("iperf3 -s -B {THERE}"));
    lab.wait_for_port(Role::Client, THERE, 5201);
    for options in ["-P 4", "-P 4 -R", "-u -b 20M", "-u -b 20M -R"] {
        let said = let_in(|| lab.run_on_flumen(&format!("iperf3 -c {THERE} -t 1 {options}")));
        assert!(said.contains("receiver"), "{said}");
    }
    both_took_part(&mut lab);
    drop(load);
    nothing_is_left(&mut lab);
}

/// Python that echoes datagrams and says which ports of others it heard of.
const ECHO: &str = "
import socket, sys
at = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
at.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, peer = at.recvfrom(65536)
    at.sendto(data, peer)
";

/// Python that sends datagrams from many ports and wants each back.
const ASK: &str = "
import socket, sys
for number in range(60):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((sys.argv[1], int(sys.argv[2])))
    for size in (1, 1000, 20000):
        data = bytes([number]) * size
        s.send(data)
        assert s.recv(65536) == data
    s.close()
print('all came back')
";

pub fn datagrams_come_and_go_whatever_worker_they_come_in_at() {
    let mut lab = lab();
    let (echo, ask) = (lab.file("echo.py", ECHO), lab.file("ask.py", ASK));
    for port in [5000, 5001] {
        let server = lab.start_on_flumen(&format!("python3 {echo} {HERE} {port}"));
        wait_until("it is bound", 10, || sockets(&mut lab).values().sum::<usize>() == 1);
        lab.client(&format!("python3 {ask} {HERE} {port}")).says("all came back");
        drop(server);
        nothing_is_left(&mut lab);
    }
    let _server = lab.start_on_kernel(Role::Client, &format!("python3 {echo} {THERE} 5000"));
    wait_until("it is bound", 10, || lab.client("ss -Hlun sport = 5000").text.contains("5000"));
    lab.run_on_flumen(&format!("python3 {ask} {THERE} 5000")).says("all came back");
    both_took_part(&mut lab);
}

pub fn a_port_that_one_program_has_another_cannot_bind() {
    let mut lab = lab();
    let bind = lab.file(
        "bind.py",
        "
import socket, sys, time
kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
held = []
for kind in kinds:
    for port in (8080, 8081):
        s = socket.socket(socket.AF_INET, kind)
        if sys.argv[2] == 'share':
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            s.bind((sys.argv[1], port))
            print('bound')
        except OSError as error:
            print(error.strerror)
        held.append(s)
sys.stdout.flush()
if len(sys.argv) > 3:
    time.sleep(60)
",
    );
    for (how, said) in [("alone", "Address already in use"), ("share", "bound")] {
        let holder = lab.start_on_flumen(&format!("python3 {bind} {HERE} {how} stay"));
        wait_until("it has its ports", 10, || holder.log().matches("bound").count() == 4);
        // All of that address overlap it.
        for at in [HERE, "0.0.0.0"] {
            let other = lab.run_on_flumen(&format!("python3 {bind} {at} {how}")).must();
            assert_eq!(other.matches(said).count(), 4, "{how} at {at}: {other}");
        }
        drop(holder);
        nothing_is_left(&mut lab);
        assert_eq!(lab.run_on_flumen(&format!("python3 {bind} {HERE} {how}")).must().matches("bound").count(), 4);
        nothing_is_left(&mut lab);
    }
}

pub fn programs_on_different_workers_talk_over_loopback() {
    let mut lab = Lab::plan().workers(2).programs("claim = \"all\"").up();
    let bytes = noise(3, 4 << 20);
    lab.file("served", &bytes);
    let folder = lab.folder().display().to_string();
    let fetched = lab.folder().join("fetched");
    for port in [8080, 8081] {
        let server = lab.start_on_flumen(&format!("python3 -m http.server -b 127.0.0.1 -d {folder} {port}"));
        wait_until("it listens", 10, || sockets(&mut lab).values().sum::<usize>() == 1);
        let listens_on = *sockets(&mut lab).keys().next().expect("a worker");
        let before = of_workers(&mut lab, "taken_over");
        let url = format!("http://127.0.0.1:{port}/served");
        lab.run_on_flumen(&format!("curl -sS -m 30 -o {} {url}", fetched.display())).must();
        assert!(std::fs::read(&fetched).expect("it was fetched") == bytes, "other bytes than were served");
        wait_until("each handed the other what was for it", 10, || {
            let after = of_workers(&mut lab, "taken_over");
            after.iter().zip(&before).all(|(after, before)| *after > before + 20)
        });
        assert_eq!(sockets(&mut lab).keys().copied().collect::<Vec<_>>(), [listens_on]);
        drop(server);
        nothing_is_left(&mut lab);
    }
}

/// A server that accepts and passes each connection on to another program over a unix socket; who gets it answers. Or, with
/// `spawn`, has a program that it spawns answer on the descriptor that it inherits.
const PASS: &str = "
import os, socket, sys
how, address, path = sys.argv[1:4]
def answer(connection):
    while True:
        data = connection.recv(65536)
        if not data:
            return
        connection.sendall(data)
if how == 'take':
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(path)
    door.listen()
    giver, _ = door.accept()
    while True:
        message, fds, _, _ = socket.recv_fds(giver, 16, 4)
        if not message:
            break
        for fd in fds:
            answer(socket.socket(fileno=fd))
elif how == 'inherited':
    answer(socket.socket(fileno=int(path)))
else:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, int(sys.argv[4])))
    listener.listen()
    if how == 'give':
        giver = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        giver.connect(path)
    while True:
        connection, _ = listener.accept()
        first = connection.recv(4, socket.MSG_WAITALL)
        connection.sendall(first)
        if how == 'give':
            socket.send_fds(giver, [b'take'], [connection.fileno()])
        else:
            fd = connection.fileno()
            os.set_inheritable(fd, True)
            child = os.posix_spawn(sys.executable, [sys.executable, __file__, 'inherited', '-', str(fd)], os.environ)
            connection.close()
            os.waitpid(child, 0)
            continue
        connection.close()
";

/// A client whose connection goes on after its server gave it away.
const TALK: &str = "
import socket, sys
for number in range(3):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
    for size in (4, 100, 300000, 7):
        data = bytes([number + 1]) * size
        s.sendall(data)
        left = size
        while left:
            got = s.recv(left)
            assert got and set(got) == {number + 1}, 'other bytes'
            left -= len(got)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b''
    s.close()
print('all came back')
";

fn connections_go_on_after_they_were(how: &str, workers: usize) {
    let mut lab = Lab::plan().workers(workers).programs("").up();
    let (pass, talk) = (lab.file("pass.py", PASS), lab.file("talk.py", TALK));
    let door = lab.folder().join("door").display().to_string();
    for port in [8080, 8081] {
        let taker = (how == "give").then(|| lab.start_on_flumen(&format!("python3 {pass} take - {door}")));
        wait_until("the taker is there", 10, || taker.is_none() || std::path::Path::new(&door).exists());
        let giver = lab.start_on_flumen(&format!("python3 {pass} {how} {HERE} {door} {port}"));
        wait_until("it listens", 10, || sockets(&mut lab).values().sum::<usize>() == 1);
        lab.client(&format!("python3 {talk} {HERE} {port}")).says("all came back");
        drop((giver, taker));
        let _gone_with_its_maker = std::fs::remove_file(&door);
        nothing_is_left(&mut lab);
    }
}

pub fn connections_that_are_passed_on_go_on_with_who_takes_them() {
    connections_go_on_after_they_were("give", 1);
}

pub fn connections_of_both_workers_that_are_passed_on_go_on() {
    connections_go_on_after_they_were("give", 2);
}

pub fn connections_that_a_spawned_program_inherits_go_on() {
    connections_go_on_after_they_were("spawn", 1);
}

pub fn connections_of_both_workers_that_a_spawned_program_inherits_go_on() {
    connections_go_on_after_they_were("spawn", 2);
}

pub fn pings_are_answered_to_raw_and_ping_sockets_whatever_worker_hears_the_answer() {
    let mut lab = lab();
    // The kernel's socket behind a ping socket wants leave, in a namespace that is new.
    let leave = lab.file("leave", "echo 0 65535 > /proc/sys/net/ipv4/ping_group_range");
    lab.router(&format!("sh {leave}")).must();
    // As root, ping has a raw socket unless told otherwise; both kinds, many identifiers.
    let ping = lab.file(
        "ping.py",
        "
import os, socket, struct, sys
for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
    for number in range(20):
        s = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
        s.settimeout(5)
        body = struct.pack('!BBHHH', 8, 0, 0, 4000 + number, 1) + b'a question'
        total = sum(struct.unpack('!9H', body))
        total = (total & 0xffff) + (total >> 16)
        body = body[:2] + struct.pack('!H', ~total & 0xffff) + body[4:]
        s.sendto(body, (sys.argv[1], 0))
        while True:
            data = s.recv(1000)
            if kind == socket.SOCK_RAW:
                data = data[20:]
                if data[:1] != b'\\0' or data[4:6] != body[4:6]:
                    continue
            assert data[8:] == b'a question', data
            break
        s.close()
print('all were answered')
",
    );
    lab.run_on_flumen(&format!("python3 {ping} {THERE}")).says("all were answered");
    nothing_is_left(&mut lab);
}
