//! Which system calls a worker makes while packets flow, as strace sees them.

use super::harness::{Lab, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// strace on one thread; what it sees goes to a file, one line for each call.
struct Strace {
    child: Child,
    file: PathBuf,
}

impl Strace {
    /// Begins, and returns when the thread is being watched.
    fn on(lab: &mut Lab, thread: u32) -> Strace {
        let file = lab.folder().join("strace");
        let child = Command::new("strace")
            .args(["-q", "-o"])
            .arg(&file)
            .args(["-p", &thread.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("strace is installed by scripts/setup");
        let tracer = child.id().to_string();
        wait_until("strace watches the worker", 10, || {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status")).expect("it runs");
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() == tracer))
        });
        Strace { child, file }
    }

    /// Ends; returns the calls that it saw, one a line.
    fn end(mut self) -> Vec<String> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).expect("it is our child");
        self.child.wait().expect("it ends");
        let text = std::fs::read_to_string(&self.file).expect("it wrote its file");
        text.lines().map(str::to_owned).collect()
    }
}

/// The calls that the worker of a router makes while 600 packets pass it.
fn calls_while_forwarding(keys: &'static str) -> Vec<String> {
    let plan = Lab::plan().core_keys("idle = \"spin\"");
    let mut lab = plan.port_keys("lan", keys).port_keys("wan", keys).up();
    let cpu = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let thread = lab.flumen().worker_thread(cpu);
    // Neighbours are known, and a kernel thread that sends for us is awake: it sleeps after a second without work.
    lab.client("ping -n -q -c 20 -i 0.01 -W 2 10.0.2.2").says("20 received");
    let flow = lab.background(super::harness::Role::Client, "ping -n -q -i 0.01 10.0.2.2");
    let before = forwarded(&mut lab);
    wait_until("packets flow", 10, || forwarded(&mut lab) > before + 100);
    let strace = Strace::on(&mut lab, thread);
    let before = forwarded(&mut lab);
    wait_until("packets flow under strace", 60, || forwarded(&mut lab) > before + 600);
    let calls = strace.end();
    drop(flow);
    calls
}

fn forwarded(lab: &mut Lab) -> u64 {
    lab.flumen().tally("counters", "ipv4-forwarded")
}

pub fn a_worker_that_kicks_by_sqpoll_makes_no_system_call_while_it_forwards() {
    // That strace sees what there is to see: a kick is a sendto without data.
    let calls = calls_while_forwarding("kick = \"syscall\"");
    let kicks = calls.iter().filter(|call| call.starts_with("sendto(")).count();
    assert!(kicks > 100, "{kicks} kicks in {} calls: {:?}", calls.len(), calls.iter().take(20).collect::<Vec<_>>());
    let others: Vec<_> = calls.iter().filter(|call| !call.starts_with("sendto(")).collect();
    assert!(others.is_empty(), "only kicks: {:?}", &others[..others.len().min(20)]);

    let calls = calls_while_forwarding("kick = \"sqpoll\"");
    assert!(calls.is_empty(), "{} calls: {:?}", calls.len(), calls.iter().take(20).collect::<Vec<_>>());
}

/// What the port's sockets counted, all together.
fn counted(lab: &mut Lab, port: &str, name: &str) -> u64 {
    let ports = lab.flumen().json("port");
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let port = list(&ports["ports"]).into_iter().find(|one| one["name"] == port).expect("it is there");
    let counts = list(&port["queues"]).into_iter().flat_map(|queue| list(&queue["socket"]));
    counts.filter(|count| count["name"] == name).filter_map(|count| count["value"].as_u64()).sum()
}

pub fn a_burst_goes_out_in_one_system_call_and_every_packet_of_it_arrives() {
    let mut lab = Lab::plan().core_keys("idle = \"spin\"").up();
    let cpu = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let thread = lab.flumen().worker_thread(cpu);
    lab.client("ping -n -q -c 2 -i 0.2 -W 2 10.0.2.2").says("2 received");
    // Each call of the worker takes strace some time, in which the client sends more: so they come in bursts.
    let strace = Strace::on(&mut lab, thread);
    let flow = lab.background(super::harness::Role::Client, "iperf -u -c 10.0.2.2 -p 9 -b 300M -l 100 -t 60");
    let before = forwarded(&mut lab);
    wait_until("bursts are forwarded", 60, || forwarded(&mut lab) > before + 20_000);
    drop(flow);
    let calls = strace.end();
    assert!(counted(&mut lab, "wan", "bulk-sends") > 20);
    let bulk = calls.iter().filter(|call| call.starts_with("bpf(BPF_PROG_TEST_RUN")).count();
    assert!(bulk > 20, "{bulk} in {} calls: {:?}", calls.len(), calls.iter().take(20).collect::<Vec<_>>());
    let others: Vec<_> = calls.iter().filter(|call| !call.starts_with("bpf(BPF_PROG_TEST_RUN") && !call.starts_with("sendto(")).collect();
    assert!(others.is_empty(), "only what transmits: {:?}", &others[..others.len().min(20)]);
    let sent = counted(&mut lab, "wan", "tx-packets");
    assert_eq!(counted(&mut lab, "wan", "bulk-lost"), 0);
    let arrived = lab.server("cat /sys/class/net/wan0/statistics/rx_packets").must();
    assert_eq!(arrived.trim().parse(), Ok(sent), "what we sent is what the server's kernel received");
    lab.client("ping -n -q -c 2 -i 0.2 -W 2 10.0.2.2").says("2 received");
}

const BUSY: &str = include_str!("programs/busy.c");

/// Sends more than is asked for, and takes what comes.
const BUSY_PEER: &str = "import socket\ns=socket.create_server(('10.0.1.2',7000))\n\
                         while True:\n c=s.accept()[0]\n try:\n  c.sendall(bytes(1000000))\n  while c.recv(65536): pass\n \
                         except OSError: pass\n";

/// While program and worker are both awake, neither asks the kernel for anything to pass bytes on.
pub fn a_busy_program_sends_and_receives_without_system_calls() {
    let lab = Lab::plan().programs("").core_keys("idle = \"spin\"").up();
    let source = lab.file("busy.c", BUSY);
    let (binary, seen) = (lab.folder().join("busy"), lab.folder().join("seen"));
    let (binary, seen) = (binary.display(), seen.display());
    lab.client(&format!("gcc -O1 -o {binary} {source}")).must();
    let peer = lab.file("peer.py", BUSY_PEER);
    let _peer = lab.start_on_kernel(super::harness::Role::Client, &format!("python3 {peer}"));
    lab.wait_for_port(super::harness::Role::Client, "10.0.1.2", 7000);
    let strace = format!("strace -f -o {seen} {binary}");
    // On the kernel's sockets each of them is one: so strace sees what there is to see.
    let calls_between = |marks: &str| {
        let text = std::fs::read_to_string(lab.folder().join("seen")).expect("strace wrote its file");
        let lines: Vec<_> = text.lines().collect();
        let marks: Vec<_> = (0..lines.len()).filter(|line| lines[*line].contains(marks)).collect();
        let [first, last] = marks[..] else { panic!("two marks, not {marks:?}") };
        lines[first + 1..last].iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    lab.client(&format!("{strace} 10.0.1.2 7000")).says("done");
    assert!(calls_between("getppid(").len() >= 20_000);
    lab.run_on_flumen(&format!("{strace} 10.0.1.2 7000")).says("done");
    let calls = calls_between("getppid(");
    // The library looks once a second whether the service lives.
    assert!(calls.len() < 200, "{} calls: {:?}", calls.len(), &calls[..20]);
}
