//! Socket calls, one by one, by a program of ours in C that knows nothing of Flumen: what each gives, on the kernel's sockets
//! and on Flumen's.

use super::harness::Lab;

/// What programs below import.
const PAIRS: &str = include_str!("programs/pairs.py");

const SENT_STAMPS: &str = include_str!("programs/sent_stamps.py");

/// Stamps of what goes: which there are, their keys, what stands beside them, and what is refused.
pub fn stamps_of_what_goes_are_those_of_the_kernel() {
    let lab = Lab::plan().programs("").up();
    lab.file("pairs.py", PAIRS);
    let script = lab.file("sent_stamps.py", SENT_STAMPS);
    let sixteen = |last| format!("fd0000010000000000000000000000{last}");
    for (client, ours, [of_client, of_ours]) in [
        ("10.0.1.2", "10.0.1.1", ["0a000102", "0a000101"].map(str::to_owned)),
        ("fd00:1::2", "fd00:1::1", ["02", "01"].map(sixteen)),
    ] {
        let kernels = lab.client(&format!("python3 {script} {client}")).must();
        assert!(kernels.contains("'acknowledged', 11, "), "{kernels}");
        assert!(kernels.contains("not connected 786 EINVAL"), "{kernels}");
        assert!(kernels.contains("('4=1', 12), ('5=0', 12)") && kernels.contains("('26=64', 5)"), "{kernels}");
        let flumens = lab.run_on_flumen(&format!("python3 {script} {ours}")).must();
        // Addresses stand in what is told of packets.
        assert_eq!(flumens.replace(&of_ours, &of_client), kernels);
    }
}

const IP_OPTIONS: &str = include_str!("programs/ip_options.py");

/// IP options of what comes, on UDP, raw and ping sockets: as they came, with our record in them, and for the answer. And those to
/// send, of sockets and of single datagrams.
pub fn ip_options_of_what_comes_and_goes_are_those_of_the_kernel() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file("ip_options.py", IP_OPTIONS);
    // Ping sockets want leave, in namespaces that are new.
    let leave = lab.file("leave", "echo 0 65535 > /proc/sys/net/ipv4/ping_group_range");
    lab.client(&format!("sh {leave}")).must();
    lab.router(&format!("sh {leave}")).must();
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2")).must();
    assert!(kernels.contains("times b'here' [(0, 6, '44140900 now "), "{kernels}");
    assert!(kernels.contains("\npings [0, 0]\n") && kernels.ends_with("done\n"), "{kernels}");
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1")).must();
    assert_eq!(flumens, kernels);
}

const SIGNALS: &str = include_str!("programs/signals.py");

/// Which signals come, and what they say, is the same on both: descriptors are the kernel's, and owners, too.
pub fn signals_of_sockets_are_those_of_the_kernels() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file("signals.py", SIGNALS);
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2")).must();
    assert!(kernels.contains("after exec [('chosen', 1, 65)]"), "{kernels}");
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1")).must();
    assert_eq!(flumens, kernels);
}

const FAST_OPEN: &str = include_str!("programs/fast_open.py");

/// TCP_FASTOPEN_CONNECT and TCP_NOTSENT_LOWAT, call by call and poll by poll.
pub fn fast_opens_and_bounds_of_what_waits_unsent_are_those_of_the_kernels() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file("fast_open.py", FAST_OPEN);
    lab.client("sysctl -qw net.ipv4.tcp_fastopen=3").must();
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2")).must();
    assert!(kernels.contains("read 0"), "{kernels}");
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1")).must();
    assert_eq!(flumens, kernels);
}

const STAMPS: &str = include_str!("programs/stamps.py");

/// Times of what comes, of datagrams and of streams, in each of the forms that options ask for.
pub fn times_of_what_comes_are_told_as_the_kernel_tells_them() {
    let lab = Lab::plan().programs("").up();
    lab.file("pairs.py", PAIRS);
    let script = lab.file("stamps.py", STAMPS);
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2")).must();
    assert!(kernels.contains("streams [(29, 1)] b'now' [(29, 2, True, False)]"), "{kernels}");
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1")).must();
    assert_eq!(flumens, kernels);
}

const MAPPED: &str = include_str!("programs/mapped.py");

/// Control messages of IPv4 datagrams on AF_INET6 sockets: those of IPv6's options, of IPv4's, and of both.
pub fn ipv6_sockets_are_told_of_ipv4_datagrams_what_the_kernels_are() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file("mapped.py", MAPPED);
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2")).must();
    assert!(kernels.contains("('::ffff:10.0.1.2', True)") && kernels.ends_with("done\n"), "{kernels}");
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1")).must();
    let same_address = flumens.replace("10.0.1.1", "10.0.1.2").replace("0a000101", "0a000102");
    same(&same_address, &kernels);
}

const OPTION_EFFECTS: &str = include_str!("programs/option_effects.py");

/// Options that the library honours, ioctls, and names and numbers of calls that few programs use.
pub fn options_show_in_calls_as_they_do_on_the_kernel() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file("option_effects.py", OPTION_EFFECTS);
    for (client, ours) in [("10.0.1.2", "10.0.1.1"), ("fd00:1::2", "fd00:1::1")] {
        let kernels = lab.client(&format!("python3 {script} {client}")).must();
        assert!(kernels.contains("\ndone"), "{kernels}");
        same(&lab.run_on_flumen(&format!("python3 {script} {ours}")).must(), &kernels);
    }
}

/// An option that is set before bind is the kernel's to grant; that Flumen does not have it is said, and once.
pub fn an_option_that_comes_to_nothing_is_told_of_once() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file(
        "early.py",
        "import socket\n\
         for port in 7001, 7002:\n \
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n \
            one.setsockopt(0, 23, 1)\n \
            one.setsockopt(0, 12, 1)\n \
            one.bind(('10.0.1.1', port))\n \
            print(one.getsockopt(0, 23), one.getsockopt(0, 12))\n",
    );
    let said = lab.run_on_flumen(&format!("python3 {script}")).must();
    let told = "flumen: option 23 of IPPROTO_IP, set before bind or connect, is without effect on Flumen's sockets: \
                Protocol not available (os error 92)";
    assert_eq!(said.trim(), format!("0 1\n0 1\n{told}"));
}

/// Both said the same, line by line: shows the lines that differ.
#[track_caller]
pub fn same(flumens: &str, kernels: &str) {
    let pairs = flumens.lines().zip(kernels.lines()).filter(|(flumen, kernel)| flumen != kernel);
    let differ: String =
        pairs.map(|(flumen, kernel)| format!("Flumen: {flumen}\nkernel: {kernel}\n")).collect();
    assert!(differ.is_empty() && flumens.lines().count() == kernels.lines().count(), "{differ}");
}

const TO_ITSELF: &str = include_str!("programs/to_itself.py");

/// What a program says to itself is there when it looks, without waiting: connections, bytes, ends, datagrams, errors.
pub fn what_a_program_says_to_itself_is_there_at_once() {
    let lab = Lab::plan().programs("").up();
    let script = lab.file("to_itself.py", TO_ITSELF);
    let kernels = lab.client(&format!("python3 {script} 10.0.1.2")).must();
    assert!(kernels.contains("connection: as a rule, bytes: as a rule"), "{kernels}");
    let flumens = lab.run_on_flumen(&format!("python3 {script} 10.0.1.1")).must();
    assert_eq!(flumens, kernels);
}

const COMMON: &str = include_str!("programs/calls.h");
pub const CALLS: &str = include_str!("programs/calls.c");
const PROCESSES: &str = include_str!("programs/processes.c");
const WAITING: &str = include_str!("programs/waiting.c");

/// As most programs of a distribution are compiled.
const FORTIFIED: &str = "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -D_FILE_OFFSET_BITS=64";

/// Compiles a program of ours: where it stands.
#[track_caller]
pub fn compiled(lab: &Lab, name: &str, source: &str, how: &str) -> String {
    lab.file("calls.h", COMMON);
    let source = lab.file(&format!("{name}.c"), source);
    let binary = lab.folder().join(name).display().to_string();
    lab.client(&format!("gcc {how} -o {binary} {source} -lpthread")).must();
    binary
}

/// Compiles a program and runs it on addresses of the client with the kernel's sockets, and on some of the router's host
/// with Flumen's: all its checks, more than `least`, hold on both. `calls`: functions of libc that it must call for it to mean anything.
fn both(source: &str, how: &str, least: u32, calls: &[&str]) {
    let lab = Lab::plan().programs("").up();
    let binary = compiled(&lab, "program", source, how);
    let called = lab.client(&format!("nm -D --undefined-only {binary}")).must();
    for call in calls {
        assert!(called.contains(&format!(" {call}@")), "no {call} in {called}");
    }
    for (kernels, flumens) in [("10.0.1.2", "10.0.1.1"), ("fd00:1::2", "fd00:1::1")] {
        let said = lab.client(&format!("{binary} {kernels}")).must();
        let (held, _) = said.trim().split_once(" held").expect("a count");
        assert!(held.parse::<u32>().expect("a number") > least, "{said}");
        lab.run_on_flumen(&format!("{binary} {flumens}")).must();
    }
}

pub fn socket_calls_do_on_flumen_what_they_do_on_the_kernel() {
    both(CALLS, "-O1", 200, &["recv", "read", "poll", "sendfile", "fcntl"]);
}

pub fn calls_of_a_fortified_program_with_large_files_do_what_they_do_on_the_kernel() {
    let calls = ["__recv_chk", "__recvfrom_chk", "__read_chk", "__poll_chk", "__ppoll_chk", "fcntl64", "sendfile64"];
    both(CALLS, FORTIFIED, 200, &calls);
}

pub fn sockets_go_to_executed_and_spawned_programs_and_in_messages_as_on_the_kernel() {
    both(PROCESSES, "-O1", 200, &["execl", "execle", "execlp", "execvpe", "fexecve", "execveat", "vfork", "posix_spawnp"]);
}

pub fn waits_end_by_signals_and_flags_of_sends_are_kept_as_on_the_kernel() {
    both(WAITING, "-O1", 140, &["pselect", "epoll_pwait2", "ppoll", "accept", "connect"]);
}
