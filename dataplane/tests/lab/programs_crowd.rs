//! Several hundred programs at a time, and a hundred thousand sockets of programs: data pass through them while all are there,
//! and when their programs have ended or were killed nothing of them is left.
//!
//! How many, the environment may say: what runs in `scripts/check` is smaller than what the product promises.
//!
//! ```text
//!   FLUMEN_LAB_PROGRAMS=600 FLUMEN_LAB_SOCKETS=100000 cargo test --release -p flumen --test lab -- programs_crowd
//! ```
//!
//! The programs are this very one, started again with other arguments, with the data plane's library in front of libc:
//!
//! ```text
//!   leader ──┬── member: server    echoes what comes over TCP and UDP
//!            ├── member: small     one connection and one UDP socket, which both have seen data
//!            └── member: holder    thousands of connections
//! ```
//!
//! The leader has no sockets. It tells its members to go on when a file appears, and writes down what they say.

use super::harness::{Lab, Program, number, wait_until};
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The first argument of this very program when it is to be one of a crowd.
pub const MEMBER: &str = "be-one-of-a-crowd";

const HERE: &str = "10.0.1.1";

/// How many small programs there are at a time.
fn small_programs() -> usize {
    from_environment("FLUMEN_LAB_PROGRAMS", 300)
}

/// How many sockets of programs there are at a time, more or less.
fn sockets() -> usize {
    from_environment("FLUMEN_LAB_SOCKETS", 10_000)
}

fn from_environment(name: &str, default: usize) -> usize {
    let text = std::env::var(name);
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
}

/// Says a figure, when somebody asked for the whole size.
fn figure(what: &str) {
    if std::env::var_os("FLUMEN_LAB_PROGRAMS").is_some() || std::env::var_os("FLUMEN_LAB_SOCKETS").is_some() {
        eprintln!("figure: {what}");
    }
}

/// A bound of time for what takes longer the more there are.
const PATIENCE: u64 = 240;

/// What the service holds: programs, sockets of theirs, connections, bytes of socket buffers, descriptors.
fn held(lab: &mut Lab) -> [u64; 5] {
    let flumen = lab.flumen();
    let programs = flumen.json("programs")["programs"].as_array().expect("programs").len() as u64;
    let cores = flumen.json("core");
    let sum = |what: &str| cores["cores"].as_array().expect("cores").iter().map(|core| number(&core[what])).sum();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", flumen.pid())).expect("it runs").count() as u64;
    [programs, sum("program_sockets"), sum("connections"), sum("socket_memory"), descriptors]
}

/// Memory of the service, in KiB: a line of /proc/PID/status.
fn memory(lab: &mut Lab, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", lab.flumen().pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_else(|| panic!("no {what}"))
}

fn figures(lab: &mut Lab, what: &str, begin: Instant) {
    let taken = begin.elapsed();
    let [all, shared] = ["VmRSS", "RssShmem"].map(|line| memory(lab, line));
    figure(&format!("{what}: {taken:.1?}; the service has {all} KiB, {shared} of them shared"));
}

/// What there was before the programs came.
pub struct Before {
    held: [u64; 5],
    shared: u64,
}

impl Before {
    pub fn of(lab: &mut Lab) -> Before {
        Before { held: held(lab), shared: memory(lab, "RssShmem") }
    }

    /// Waits until it is so again.
    #[track_caller]
    pub fn is_now(&self, lab: &mut Lab) {
        let mut last = [0; 5];
        let begin = Instant::now();
        while last != self.held || memory(lab, "RssShmem") > self.shared {
            assert!(begin.elapsed().as_secs() < PATIENCE, "programs, their sockets, connections, bytes, descriptors: {last:?}");
            last = held(lab);
        }
    }
}

fn member(lab: &Lab, words: &str) -> Program {
    let own = std::env::current_exe().expect("a path");
    lab.start_on_flumen(&format!("{} {MEMBER} {words}", own.display()))
}

/// A server on a port.
fn serve(lab: &Lab, port: u16) -> Program {
    let server = member(lab, &format!("server {HERE}:{port}"));
    wait_for(&server, "listening");
    server
}

#[track_caller]
fn wait_for(program: &Program, line: &str) {
    wait_until(line, PATIENCE, || {
        let log = program.log();
        assert!(!log.contains("panicked"), "a member failed:\n{log}");
        log.lines().any(|said| said == line)
    });
}

pub fn hundreds_of_programs_have_sockets_at_a_time_and_leave_nothing_behind() {
    let count = small_programs();
    let mut lab = Lab::plan().programs("").up();
    let before = Before::of(&mut lab);
    let server = serve(&lab, 7000);
    let begin = Instant::now();
    let crowd = member(&lab, &format!("leader {} {count} small {HERE}:7000", lab.folder().display()));
    wait_for(&crowd, "all are here");
    figures(&mut lab, &format!("{count} programs began"), begin);
    // Each has two sockets; the server has two, and one for each connection.
    let of = |count: usize| [count + 1, 3 * count + 2, 2 * count].map(|number| number as u64);
    assert_eq!(held(&mut lab)[..3], of(count), "programs, their sockets, connections");
    let begin = Instant::now();
    go_on(&lab, "speak");
    wait_for(&crowd, "all have spoken");
    figures(&mut lab, "all sent and received", begin);
    let begin = Instant::now();
    go_on(&lab, "go");
    wait_for(&crowd, "half are gone");
    wait_until("the sockets of half of them are gone", PATIENCE, || held(&mut lab)[..3] == of(count - count / 2));
    figures(&mut lab, "half of them ended", begin);
    let begin = Instant::now();
    crowd.kill();
    drop(server);
    before.is_now(&mut lab);
    figures(&mut lab, "the others were killed", begin);
}

/// Connections of one program: well below what it may have descriptors for nearly everywhere.
const CONNECTIONS_EACH: usize = 5_000;

pub fn a_hundred_thousand_sockets_of_programs_are_open_at_a_time_and_all_are_freed() {
    let connections = sockets() / 2;
    let pairs = connections.div_ceil(CONNECTIONS_EACH).max(4);
    let each = connections / pairs;
    let tables = "[sockets]\nconnections = 262144\nudp = 65536\n";
    let mut lab = Lab::plan().tables(tables).programs("sockets = 8192").up();
    let before = Before::of(&mut lab);
    let servers: Vec<_> = (0..pairs).map(|pair| serve(&lab, 7000 + pair as u16)).collect();
    let begin = Instant::now();
    let crowd =
        member(&lab, &format!("leader {} {pairs} holder {HERE}:7000 {each}", lab.folder().display()));
    wait_for(&crowd, "all are here");
    // Each pair has both ends of its connections, the holder's UDP sockets, and the server's two.
    let of = |pairs: usize, servers: usize| {
        [pairs + servers, pairs * (2 * each + udp_of(each)) + 2 * servers, 2 * pairs * each].map(|number| number as u64)
    };
    let open = held(&mut lab);
    assert_eq!(open[..3], of(pairs, pairs), "programs, their sockets, connections");
    figures(&mut lab, &format!("{} sockets were opened by {} programs", open[1], open[0]), begin);
    let begin = Instant::now();
    go_on(&lab, "speak");
    wait_for(&crowd, "all have spoken");
    figures(&mut lab, "a sample of them sent and received", begin);
    let begin = Instant::now();
    go_on(&lab, "go");
    wait_for(&crowd, "half are gone");
    wait_until("the sockets of half of them are gone", PATIENCE, || held(&mut lab)[..3] == of(pairs - pairs / 2, pairs));
    figures(&mut lab, "half of the programs ended", begin);
    let begin = Instant::now();
    crowd.kill();
    servers.iter().for_each(Program::kill);
    before.is_now(&mut lab);
    figures(&mut lab, "the others were killed", begin);
}

pub fn memory_of_closed_connections_goes_back_to_the_system() {
    const CONNECTIONS: u64 = 200;
    let mut lab = Lab::plan().programs("").up();
    let before = Before::of(&mut lab);
    let _server = serve(&lab, 7000);
    let spender = member(&lab, &format!("leader {} 1 spender {HERE}:7000 {CONNECTIONS}", lab.folder().display()));
    wait_for(&spender, "all are here");
    // Two rings at each end.
    let spent = memory(&mut lab, "RssShmem") - before.shared;
    assert!(spent * 1024 >= 4 * CONNECTIONS * SPENT as u64, "{spent} KiB");
    go_on(&lab, "speak");
    wait_for(&spender, "all have spoken");
    wait_until("it is given back while both programs go on", PATIENCE, || {
        memory(&mut lab, "RssShmem") - before.shared < spent / 10
    });
    assert_eq!(held(&mut lab)[..2], [2, 4], "programs; their listener, UDP socket and connection");
}

/// UDP sockets of a holder with so many connections.
fn udp_of(connections: usize) -> usize {
    connections / 20
}

// ---- What members do. They are told by their standard input: a line to go on, its end to end.

/// Tells the leader.
fn go_on(lab: &Lab, word: &str) {
    lab.file(word, "");
}

/// Is one of a crowd; the words behind [`MEMBER`] say which.
pub fn be(words: &[String]) {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["leader", folder, count, ref role @ ..] => leader(Path::new(folder), number_in(count), role),
        ["server", address] => server(address_in(address)),
        ["small", _, address] => small(address_in(address)),
        ["holder", number, address, connections] => {
            let mut address = address_in(address);
            address.set_port(address.port() + number_in(number) as u16);
            holder(address, number_in(connections));
        }
        ["spender", _, address, connections] => spender(address_in(address), number_in(connections)),
        _ => panic!("{words:?}"),
    }
}

fn number_in(text: &str) -> usize {
    text.parse().expect("a number")
}

fn address_in(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A member, as its leader has it.
struct Led {
    child: Child,
    told: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Led {
    fn start(number: usize, role: &[&str]) -> Led {
        let mut command = Command::new("/proc/self/exe");
        let (name, rest) = role.split_first().expect("a role");
        command.args([MEMBER, name, &number.to_string()]).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a member");
        let (told, said) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Led { child, told, said: said.expect("a pipe") }
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a pipe");
        assert_eq!(line.trim_end(), expected);
    }
}

fn leader(folder: &Path, count: usize, role: &[&str]) {
    may_have_descriptors();
    let mut members: Vec<_> = (0..count).map(|number| Led::start(number, role)).collect();
    members.iter_mut().for_each(|member| member.says("here"));
    println!("all are here");
    wait_until("told to speak", PATIENCE, || folder.join("speak").exists());
    for member in &mut members {
        member.told.as_mut().expect("a pipe").write_all(b"\n").expect("a pipe");
    }
    members.iter_mut().for_each(|member| member.says("spoken"));
    println!("all have spoken");
    wait_until("told to go", PATIENCE, || folder.join("go").exists());
    for member in members.iter_mut().skip(1).step_by(2) {
        member.told = None;
        assert!(member.child.wait().expect("a child").success());
    }
    println!("half are gone");
    let _killed: Vec<_> = members.iter_mut().map(|member| member.child.wait()).collect();
}

/// Waits until the leader says something; false: its member is to end.
fn is_told() -> bool {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a pipe") > 0
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("a pipe");
}

/// As many descriptors as it may have.
fn may_have_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit is ours");
}

/// Sends, and expects the same back.
fn ask(mut stream: &TcpStream, text: &[u8]) {
    let mut back = vec![0; text.len()];
    stream.write_all(text).expect("it is connected");
    stream.read_exact(&mut back).expect("an echo");
    assert!(back == text, "other bytes came back");
}

/// As [`ask`]; datagrams may be lost, and are sent again.
fn ask_by_datagram(socket: &UdpSocket, text: &[u8]) {
    let mut back = vec![0; text.len() + 1];
    for _ in 0..PATIENCE * 4 {
        socket.send(text).expect("a way");
        if socket.recv(&mut back).is_ok_and(|len| back[..len] == *text) {
            return;
        }
    }
    panic!("no echo of a datagram");
}

fn datagram_socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((server.ip(), 0)).expect("a UDP socket");
    socket.connect(server).expect("a way");
    socket.set_read_timeout(Some(Duration::from_millis(250))).expect("a socket");
    socket
}

/// A small program: a connection and a UDP socket.
fn small(server: SocketAddr) {
    let stream = TcpStream::connect(server).expect("a connection");
    let socket = datagram_socket(server);
    let speak = |word: &str| {
        let text = format!("{word} {}", std::process::id());
        ask(&stream, text.as_bytes());
        ask_by_datagram(&socket, text.as_bytes());
    };
    speak("here");
    say("here");
    while is_told() {
        speak("spoken");
        say("spoken");
    }
    speak("gone");
}

/// Of so many sockets one sends and receives.
const SAMPLE: usize = 50;

/// A program with many sockets.
fn holder(server: SocketAddr, connections: usize) {
    may_have_descriptors();
    let streams: Vec<_> = (0..connections).map(|_| TcpStream::connect(server).expect("a connection")).collect();
    let sockets: Vec<_> = (0..udp_of(connections)).map(|_| datagram_socket(server)).collect();
    // The last connection is the server's, too, when this is back.
    ask(streams.last().expect("connections"), b"all of them");
    say("here");
    while is_told() {
        let text = [b'.'; 3000];
        streams.iter().step_by(SAMPLE).for_each(|stream| ask(stream, &text));
        sockets.iter().step_by(SAMPLE).for_each(|socket| ask_by_datagram(socket, &text[..1000]));
        say("spoken");
    }
}

/// Bytes that a spender sends and receives on each connection.
const SPENT: usize = 64_000;

/// A program that once had many connections, and has one.
fn spender(server: SocketAddr, connections: usize) {
    let streams: Vec<_> = (0..connections).map(|_| TcpStream::connect(server).expect("a connection")).collect();
    let text = vec![b'.'; 8000];
    streams.iter().for_each(|stream| (0..SPENT / text.len()).for_each(|_| ask(stream, &text)));
    say("here");
    let [first, ..] = &streams[..] else { panic!("no connection") };
    let kept = first.try_clone().expect("a descriptor");
    assert!(is_told());
    drop(streams);
    ask(&kept, b"still here");
    say("spoken");
    while is_told() {}
}

/// Echoes what comes over TCP and UDP.
fn server(address: SocketAddr) {
    may_have_descriptors();
    let mut poll = Poll::new().expect("a poll");
    let mut listener = mio::net::TcpListener::from_std(listener(address));
    let mut socket = mio::net::UdpSocket::bind(address).expect("a UDP socket");
    poll.registry().register(&mut listener, Token(0), Interest::READABLE).expect("a poll");
    poll.registry().register(&mut socket, Token(1), Interest::READABLE).expect("a poll");
    let mut streams: HashMap<Token, mio::net::TcpStream> = HashMap::new();
    let (mut next, mut buffer) = (2, vec![0; 1 << 16]);
    let mut events = Events::with_capacity(1024);
    say("listening");
    loop {
        poll.poll(&mut events, None).expect("a poll");
        for event in &events {
            match event.token() {
                Token(0) => {
                    while let Some((mut stream, _)) = unless_it_would_wait(listener.accept()) {
                        let token = Token(next);
                        next += 1;
                        poll.registry().register(&mut stream, token, Interest::READABLE).expect("a poll");
                        streams.insert(token, stream);
                    }
                }
                Token(1) => {
                    while let Some((len, from)) = unless_it_would_wait(socket.recv_from(&mut buffer)) {
                        // One that finds no room is lost, and asked for again.
                        let _lost = socket.send_to(&buffer[..len], from);
                    }
                }
                token => {
                    let stream = streams.get_mut(&token).expect("one of ours");
                    if !echo(stream, &mut buffer) {
                        streams.remove(&token);
                    }
                }
            }
        }
    }
}

fn listener(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).expect("a listener");
    listener.set_nonblocking(true).expect("a listener");
    listener
}

fn unless_it_would_wait<T>(result: std::io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        other => Some(other.expect("a socket that works")),
    }
}

/// False: the peer is gone. What is asked here fits the buffers of a connection.
fn echo(stream: &mut mio::net::TcpStream, buffer: &mut [u8]) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return false,
            Ok(len) => stream.write_all(&buffer[..len]).expect("there is room"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            // It was killed.
            Err(_) => return false,
        }
    }
}
