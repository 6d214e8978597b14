//! The server, driven by hand where time matters, by a thread where many talk at once.

use crate::machine::{Machine, Service, ports};
use flumen::control::client::{ClientError, ask};
use flumen::control::protocol::*;
use flumen::control::provider::{Provider, Ticket};
use flumen::control::server::{ControlServer, TOKENS};
use flumen::control::socket_file::BindError;
use mio::{Events, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A server whose clock is ours.
struct Bench {
    server: ControlServer,
    poll: Poll,
    machine: Machine,
    now: Instant,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let poll = Poll::new().unwrap();
        let server = ControlServer::bind(&path, 0o600, poll.registry(), Token(7)).unwrap();
        Bench { server, poll, machine: Machine::default(), now: Instant::now(), path, _folder: folder }
    }

    /// Handles events until there are none.
    fn settle(&mut self) {
        let mut events = Events::with_capacity(8);
        loop {
            self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                assert!(self.server.owns(event.token()));
                self.server.on_event(event.token(), self.now, &mut self.machine);
            }
        }
    }

    fn connect(&mut self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        self.settle();
        stream
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.expire(self.now);
    }
}

/// What `stream` says until it ends. A reset after the answer is an end, too: we had sent more than was wanted.
fn hear(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(bytes).unwrap(),
    }
}

#[test]
fn a_request_in_pieces_is_answered_once_it_is_whole() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    for piece in ["{\"sh", "ow\":\"", "drops\"}"] {
        client.write_all(piece.as_bytes()).unwrap();
        bench.settle();
        assert_eq!(bench.server.connections(), 1);
    }
    client.write_all(b"\n").unwrap();
    bench.settle();
    assert!(hear(&mut client).starts_with("{\"drops\":{\"cpus\":[0,1],"));
    assert_eq!(bench.server.connections(), 0);
}

#[test]
fn closing_the_writing_side_ends_a_line_and_closing_without_a_word_ends_the_connection() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(b"\"status\"").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    bench.settle();
    assert!(hear(&mut client).contains("\"pid\":4711"));
    drop(bench.connect());
    bench.settle();
    assert_eq!(bench.server.connections(), 0);
}

#[test]
fn what_is_no_request_is_refused_with_a_reason() {
    let deep = "[".repeat(100_000);
    let hostile: [&[u8]; 9] = [
        b"",
        b"null",
        b"{\"show\":\"everything\"}",
        b"{\"show\":{\"route\":{\"limit\":-1}}}",
        b"{\"show\":{\"route\":{\"limitt\":1}}}",
        b"{\"show\":{\"port\":{\"name\":1}}}",
        b"\xff\xfe\x00",
        b"{\"show\":\"drops\"} trailing",
        deep.as_bytes(),
    ];
    let mut bench = Bench::new();
    for request in hostile {
        let mut client = bench.connect();
        client.write_all(&[request, b"\n"].concat()).unwrap();
        bench.settle();
        let answer = hear(&mut client);
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]).into_owned();
        assert!(answer.starts_with("{\"error\":{\"message\":\"this is no request"), "{shown}: {answer}");
    }
}

#[test]
fn the_longest_request_is_read_and_a_longer_one_is_refused() {
    let mut bench = Bench::new();
    for (length, refused) in [(MAX_REQUEST - 1, false), (MAX_REQUEST, true), (MAX_REQUEST * 2, true)] {
        let mut request = b"\"status\"".to_vec();
        request.resize(length, b' ');
        request.push(b'\n');
        let mut client = bench.connect();
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < request.len() {
            match client.write(&request[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => bench.settle(),
                Err(error) => {
                    assert!(refused && error.kind() == ErrorKind::BrokenPipe, "{error}");
                    break;
                }
            }
        }
        bench.settle();
        client.set_nonblocking(false).unwrap();
        assert_eq!(hear(&mut client).contains("the request is longer than"), refused, "{length}");
    }
}

#[test]
fn a_client_that_does_not_send_is_ended_in_time_and_not_before() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(b"{").unwrap();
    bench.settle();
    assert_eq!(bench.server.deadline(), Some(bench.now + REQUEST_TIME));
    bench.pass(REQUEST_TIME - Duration::from_millis(1));
    assert_eq!(bench.server.connections(), 1);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.server.connections(), 0);
    assert_eq!(hear(&mut client), "");
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn a_client_that_does_not_read_costs_a_slot_until_its_time_is_over() {
    let mut bench = Bench::new();
    bench.machine =
        Machine::with_routes((0..5000u32).map(|n| {
            ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(0x0a00_0000 + (n << 8)), 24).unwrap().into()
        }));
    let mut client = bench.connect();
    client.write_all(b"{\"show\":{\"route\":{}}}\n").unwrap();
    bench.settle();
    assert_eq!(bench.server.connections(), 1, "the answer is larger than what the kernel keeps");
    // Others are served meanwhile.
    let mut other = bench.connect();
    other.write_all(b"\"status\"\n").unwrap();
    bench.settle();
    assert!(hear(&mut other).contains("4711"));
    bench.pass(ANSWER_TIME);
    assert_eq!(bench.server.connections(), 0);
    let answer = hear(&mut client);
    assert!(answer.starts_with("{\"routes\"") && !answer.ends_with('\n'), "it was cut");
}

#[test]
fn workers_that_do_not_answer_are_reported_and_a_late_answer_is_void() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(b"{\"show\":{\"port\":{}}}\n").unwrap();
    bench.settle();
    let [ticket]: [Ticket; 1] = bench.machine.waiting.as_slice().try_into().unwrap();
    bench.pass(REPORT_TIME);
    assert!(hear(&mut client).contains("the workers did not answer in time"));
    // Another client in the same slot does not get the late answer.
    let mut next = bench.connect();
    next.write_all(b"{\"show\":{\"port\":{}}}\n").unwrap();
    bench.settle();
    bench.server.complete(ticket, &Answer::Status(bench.machine.status()), bench.now);
    assert_eq!(bench.server.connections(), 1);
    let ticket = bench.machine.waiting[1];
    bench.server.complete(ticket, &Answer::Ports(ports()), bench.now);
    bench.settle();
    assert!(hear(&mut next).starts_with("{\"ports\""));
}

#[test]
fn when_all_slots_are_taken_the_slowest_request_makes_room() {
    let mut bench = Bench::new();
    let mut clients: Vec<_> = (0..MAX_CONNECTIONS).map(|_| bench.connect()).collect();
    assert_eq!(bench.server.connections(), MAX_CONNECTIONS);
    let mut newcomer = bench.connect();
    assert_eq!(bench.server.connections(), MAX_CONNECTIONS);
    assert_eq!(hear(&mut clients[0]), "", "the first one was ended");
    newcomer.write_all(b"\"status\"\n").unwrap();
    bench.settle();
    assert!(hear(&mut newcomer).contains("4711"));
    clients[1].write_all(b"\"status\"\n").unwrap();
    bench.settle();
    assert!(hear(&mut clients[1]).contains("4711"), "the second one was not");
}

#[test]
fn when_all_slots_wait_for_workers_a_newcomer_is_told() {
    let mut bench = Bench::new();
    let mut clients: Vec<_> = (0..MAX_CONNECTIONS).map(|_| bench.connect()).collect();
    for client in &mut clients {
        client.write_all(b"{\"show\":{\"port\":{}}}\n").unwrap();
    }
    bench.settle();
    assert_eq!(bench.machine.waiting.len(), MAX_CONNECTIONS);
    assert!(hear(&mut bench.connect()).contains("too many connections"));
}

#[test]
fn tokens_of_others_are_not_ours() {
    let bench = Bench::new();
    let owned: Vec<usize> = (0..200).filter(|n| bench.server.owns(Token(*n))).collect();
    assert_eq!(owned, (7..7 + TOKENS).collect::<Vec<_>>());
}

#[test]
fn two_hundred_clients_at_once_are_all_answered_or_told_to_come_again() {
    let service = Service::start(Machine::default());
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..200).map(|_| scope.spawn(|| ask(&service.path, &Request::Status))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let answered = answers.iter().filter(|answer| matches!(answer, Ok(Answer::Status(_)))).count();
    assert!(answered >= MAX_CONNECTIONS, "{answered} of 200");
    for answer in &answers {
        if let Err(error) = answer {
            // Evicted while it was slow, or refused.
            let evicted = matches!(error, ClientError::Garbled { .. } | ClientError::System { .. });
            assert!(evicted || error.to_string().contains("too many"), "{error}");
        }
    }
    assert!(matches!(ask(&service.path, &Request::Status), Ok(Answer::Status(_))), "it serves on");
}

#[test]
fn each_request_has_its_answer() {
    let service = Service::start(Machine::default());
    let ask = |request| ask(&service.path, &request).unwrap();
    assert!(matches!(ask(Request::Status), Answer::Status(status) if status.ports == ["lan", "wan"]));
    assert_eq!(ask(Request::Show(Show::Port(PortQuery::default()))), Answer::Ports(ports()));
    assert!(matches!(ask(Request::Show(Show::Core)), Answer::Cores(cores) if cores.cores.len() == 2));
    assert!(
        matches!(ask(Request::Show(Show::Drops)), Answer::Drops(drops) if drops.tallies[0].total() == 42)
    );
    assert!(matches!(ask(Request::Show(Show::Counters)), Answer::Counters(c) if c.tallies[0].total() == 7));
    assert!(matches!(ask(Request::Show(Show::Runtime)), Answer::Runtime(r) if r.cores[0].packets == 5000));
    let query = NeighbourQuery { within: Some("fe80::/10".parse().unwrap()), ..NeighbourQuery::default() };
    assert!(
        matches!(ask(Request::Show(Show::Neighbour(query))), Answer::Neighbours(n) if n.neighbours.len() == 1)
    );
    let changes = vec![Change::Add("10.0.0.0/8 blackhole".into()), Change::Del("11.0.0.0/8".into())];
    assert!(
        matches!(ask(Request::Routes(changes)), Answer::Changed(c) if (c.done, c.refused.len()) == (1, 1))
    );
    let query = RouteQuery { lookup: Some("10.1.2.3".parse().unwrap()), ..RouteQuery::default() };
    assert!(matches!(ask(Request::Show(Show::Route(query))), Answer::Routes(r) if r.routes.len() == 1));
    let wrong = Request::Show(Show::Port(PortQuery { name: Some("x".into()) }));
    let error = flumen::control::client::ask(&service.path, &wrong).unwrap_err();
    assert_eq!(error.to_string(), "there is no port `x`");
}

#[test]
fn a_second_server_on_the_same_path_is_refused_and_a_third_after_the_first_is_not() {
    let mut bench = Bench::new();
    let again = ControlServer::bind(&bench.path, 0o600, bench.poll.registry(), Token(500));
    assert!(matches!(again, Err(BindError::Running { .. })));
    let mut client = bench.connect();
    client.write_all(b"\"status\"\n").unwrap();
    bench.settle();
    assert!(hear(&mut client).contains("4711"));
    drop(bench.server);
    assert!(!bench.path.exists());
    ControlServer::bind(&bench.path, 0o600, bench.poll.registry(), Token(500)).unwrap();
}
