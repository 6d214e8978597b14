//! Services and clients on a host made of lists.

use super::fake::Host;
use super::*;
use crate::config::model::{HttpService, SizedResponse};
use core::net::IpAddr;

const IDLE: Duration = Duration::from_secs(8);

struct Rig {
    host: Host,
    services: Services,
}

fn service(kind: ServiceKind, port: u16, connections: usize) -> model::Service {
    let listen = vec![SocketAddr::from(([192, 0, 2, 1], port))];
    let udp = !matches!(kind, ServiceKind::Http(_));
    model::Service { connections, idle_timeout: IDLE, udp, ..model::Service::new(kind, listen) }
}

/// What the workers start with.
fn plans(services: &[model::Service]) -> Vec<Plan> {
    prepare(services, &model::Tcp::default(), &model::Udp::default()).unwrap()
}

impl Rig {
    fn new(services: &[model::Service]) -> Rig {
        let mut host = Host::new();
        let mut services = Services::start(&plans(services), 7, &mut host).unwrap();
        services.set_wall(host.now, Duration::from_secs(784_111_777));
        Rig { host, services }
    }

    fn of(kind: ServiceKind) -> Rig {
        Rig::new(&[service(kind, 9, 4)])
    }

    /// Turns until there is no news.
    fn turn(&mut self) {
        if self.host.now >= self.services.next_deadline() {
            self.services.on_timer(&mut self.host);
        }
        while let Some((owner, socket, news)) = self.host.next_event() {
            self.services.on_event(&mut self.host, owner, socket, news);
        }
    }

    /// A client that connects and sends `text`, and then perhaps the end: its connection.
    fn client(&mut self, text: &str, done: bool) -> Handle {
        let before: Vec<Handle> = self.host.connections.iter().map(|(handle, _)| handle).collect();
        self.host.connect(9, text, done);
        self.turn();
        let new = self.host.connections.iter().map(|(handle, _)| handle).find(|one| !before.contains(one));
        new.unwrap_or_else(|| self.host.ended.last().unwrap().0)
    }

    fn send(&mut self, socket: Handle, text: &str, done: bool) {
        self.host.send(socket, text, done);
        self.turn();
    }

    fn read(&mut self, socket: Handle) -> String {
        let text = self.host.read(socket);
        self.turn();
        text
    }

    /// What a connection that is over had still to say, and whether it was reset.
    fn ended(&self, socket: Handle) -> Option<(String, bool)> {
        let (_, reset, connection) = self.host.ended.iter().find(|(handle, ..)| *handle == socket)?;
        Some((String::from_utf8(connection.outbox.clone()).unwrap(), *reset))
    }

    fn later(&mut self, time: Duration) {
        self.host.now = self.host.now + time;
        self.turn();
    }
}

#[test]
fn echo_sends_all_back_and_closes_when_the_client_has() {
    let mut rig = Rig::of(ServiceKind::Echo);
    let client = rig.client("hello ", false);
    rig.send(client, "world", false);
    assert_eq!(rig.read(client), "hello world");
    rig.send(client, "!", true);
    assert_eq!(rig.ended(client), Some(("!".into(), false)));
    assert_eq!(rig.services.connections().sum::<usize>(), 0);
}

#[test]
fn echo_to_a_client_that_does_not_read_stops_reading_and_loses_nothing() {
    let mut rig = Rig::of(ServiceKind::Echo);
    (rig.host.send_buffer, rig.host.piece) = (10, 7);
    let text: String = (0..200).map(|i| char::from(b'a' + i % 26)).collect();
    let client = rig.client(&text, true);
    let mut back = String::new();
    while rig.ended(client).is_none() {
        let inbox = rig.host.connections.get(client).unwrap().inbox.len();
        assert_eq!(inbox, text.len() - back.len() - 10, "what does not fit stays unread");
        back += &rig.read(client);
    }
    back += &rig.ended(client).unwrap().0;
    assert_eq!(back, text);
}

#[test]
fn discard_reads_all_and_says_nothing() {
    let mut rig = Rig::of(ServiceKind::Discard);
    let client = rig.client("to nobody", false);
    let one = rig.host.connections.get(client).unwrap();
    assert!(one.inbox.is_empty() && one.outbox.is_empty());
    rig.send(client, "more", true);
    assert_eq!(rig.ended(client), Some((String::new(), false)));
}

#[test]
fn chargen_fills_what_room_there_is_until_the_client_is_gone() {
    let mut rig = Rig::of(ServiceKind::Chargen);
    rig.host.send_buffer = 1000;
    let client = rig.client("thrown away", true);
    let mut text = String::new();
    for _ in 0..100 {
        text += &rig.read(client);
    }
    assert_eq!(text.len(), 100_000);
    let pattern = Pattern::default();
    assert!(text.bytes().enumerate().all(|(at, byte)| byte == pattern.from(at as u64)[0]));
    rig.host.reset(client);
    rig.turn();
    assert!(rig.ended(client).is_some());
}

#[test]
fn daytime_says_the_date_and_closes() {
    let mut rig = Rig::of(ServiceKind::Daytime);
    let client = rig.client("", false);
    assert_eq!(rig.ended(client), Some(("Sunday, November 6, 1994 08:49:37-UTC\r\n".into(), false)));
}

fn http() -> ServiceKind {
    ServiceKind::Http(HttpService {
        responses: vec![SizedResponse { path: "/big".into(), bytes: 300_000 }],
        upload: Some("/up".into()),
        ..HttpService::default()
    })
}

#[test]
fn http_answers_in_order_through_a_small_buffer_and_in_pieces() {
    let mut rig = Rig::of(http());
    (rig.host.send_buffer, rig.host.piece) = (4096, 11);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let client = rig.client(&(get("/big") + &get("/nothing")), false);
    let mut text = String::new();
    for _ in 0..80 {
        text += &rig.read(client);
    }
    let (first, second) = text.split_once("HTTP/1.1 404").unwrap();
    let (head, body) = first.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
    assert_eq!(body.len(), 300_000);
    assert!(second.ends_with("404 Not Found\n"));
    rig.send(client, "", true);
    assert_eq!(rig.ended(client), Some((String::new(), false)));
}

#[test]
fn http_closes_after_the_reply_when_asked_and_lingers_after_a_refusal() {
    let mut rig = Rig::of(http());
    let client = rig.client("GET / HTTP/1.0\r\n\r\n", false);
    assert!(rig.ended(client).unwrap().0.ends_with("This is Flumen.\n"));
    let client = rig.client("nonsense\r\n", false);
    assert!(rig.host.connections.get(client).unwrap().service_is_done);
    assert!(rig.read(client).starts_with("HTTP/1.1 400"));
    rig.send(client, "still talking", false);
    assert!(rig.host.connections.get(client).unwrap().inbox.is_empty() && rig.ended(client).is_none());
    rig.send(client, "", true);
    assert_eq!(rig.ended(client), Some((String::new(), false)));
}

#[test]
fn an_upload_is_read_as_it_comes_and_counted() {
    let mut rig = Rig::of(http());
    let client = rig.client(
        "PUT /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 500000\r\n\r\n",
        false,
    );
    assert!(rig.read(client).starts_with("HTTP/1.1 100"));
    for _ in 0..50 {
        rig.send(client, &"x".repeat(10_000), false);
        assert!(rig.host.connections.get(client).unwrap().inbox.is_empty());
    }
    assert!(rig.read(client).ends_with("00000000000000500000\n"));
}

#[test]
fn idle_connections_end_and_busy_ones_do_not() {
    let mut rig = Rig::new(&[service(ServiceKind::Echo, 9, 4), service(http(), 80, 4)]);
    let (idle, busy) = (rig.client("a", false), rig.client("b", false));
    for _ in 0..3 {
        rig.later(IDLE / 2);
        rig.send(busy, "c", false);
    }
    assert_eq!((rig.ended(idle), rig.ended(busy)), (Some(("a".into(), true)), None));
    rig.host.connect(80, "GET / HT", false);
    rig.turn();
    let slow = rig.host.connections.iter().map(|(handle, _)| handle).find(|one| *one != busy).unwrap();
    rig.later(IDLE);
    assert!(rig.read(slow).starts_with("HTTP/1.1 408"));
    rig.later(IDLE * 2);
    assert_eq!(rig.ended(slow), Some((String::new(), true)));
    assert_eq!(rig.services.next_deadline(), Instant::NEVER);
}

#[test]
fn connections_beyond_the_table_wait_and_are_taken_when_there_is_room() {
    let mut rig = Rig::new(&[service(ServiceKind::Echo, 9, 2)]);
    let first = rig.client("1", false);
    rig.client("2", false);
    for text in ["3", "4"] {
        rig.host.connect(9, text, false);
        rig.turn();
    }
    assert_eq!(rig.services.connections().collect::<Vec<_>>(), [2]);
    rig.send(first, "", true);
    let said: Vec<String> =
        rig.host.connections.iter().map(|(_, one)| String::from_utf8(one.outbox.clone()).unwrap()).collect();
    assert!(said.contains(&"3".to_owned()) && said.contains(&"2".to_owned()) && said.len() == 2, "{said:?}");
    rig.later(IDLE);
    rig.turn();
    assert_eq!(rig.services.connections().collect::<Vec<_>>(), [1], "the fourth, after the idle ones");
}

#[test]
fn connections_that_end_at_once_leave_room_for_all_that_wait() {
    let mut rig = Rig::new(&[service(ServiceKind::Daytime, 9, 1)]);
    for _ in 0..5 {
        rig.host.connect(9, "", false);
    }
    rig.turn();
    assert_eq!(rig.host.ended.len(), 5);
}

#[test]
fn news_for_nobody_change_nothing() {
    let mut rig = Rig::of(ServiceKind::Echo);
    let client = rig.client("a", false);
    let stale = Handle::from_bits(client.to_bits() + (1 << 32));
    for (owner, socket) in [
        (Owner(0), SocketId::Tcp(stale)),
        (Owner(3), SocketId::Tcp(client)),
        (Owner(u64::MAX), SocketId::Tcp(client)),
        (Owner(0), SocketId::Raw(client)),
        (Owner(0), SocketId::Udp(stale)),
        (Owner(0), SocketId::Listener(stale)),
    ] {
        rig.services.on_event(&mut rig.host, owner, socket, Ready::CLOSED);
    }
    assert_eq!((rig.ended(client), rig.services.connections().sum()), (None, 1));
}

#[test]
fn datagrams_are_answered_from_where_they_were_sent_to() {
    let client: SocketAddr = "192.0.2.9:4000".parse().unwrap();
    let ours: IpAddr = "192.0.2.1".parse().unwrap();
    let ask = |kind: ServiceKind, from: SocketAddr, to: IpAddr| {
        let mut rig = Rig::of(kind);
        rig.host.datagram(9, from, to, "question");
        rig.turn();
        rig.host.datagrams.pop().map(|(from, to, bytes)| {
            assert_eq!(to, client);
            (from, String::from_utf8(bytes).unwrap())
        })
    };
    assert_eq!(ask(ServiceKind::Echo, client, ours), Some((Some(ours), "question".into())));
    assert_eq!(ask(ServiceKind::Discard, client, ours), None);
    let (_, text) = ask(ServiceKind::Daytime, client, ours).unwrap();
    assert_eq!(text, "Sunday, November 6, 1994 08:49:37-UTC\r\n");
    assert!(ask(ServiceKind::Chargen, client, ours).unwrap().1.len() <= 512);
    assert_eq!(ask(ServiceKind::Echo, client, "224.0.0.1".parse().unwrap()), None, "others heard it too");
    for port in [0, 7, 13, 19] {
        let other = SocketAddr::new(client.ip(), port);
        assert_eq!(ask(ServiceKind::Echo, other, ours), None, "another such service");
    }
}

#[test]
fn a_listener_that_cannot_be_is_named() {
    let mut host = Host::new();
    let twice = [service(ServiceKind::Echo, 9, 1), service(http(), 9, 1)];
    let error = Services::start(&plans(&twice), 7, &mut host).unwrap_err();
    assert_eq!(error.to_string(), "http cannot listen at 192.0.2.1:9: EADDRINUSE");
    assert_eq!(
        host.listens(9).map(|options| (options.settings.backlog, options.v6_only)),
        Some((4096, true))
    );
}
