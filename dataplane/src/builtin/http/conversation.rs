//! One connection's talk: bytes in, bytes out, without a socket.
//!
//! ```text
//!            ┌───────────────────────────── reply sent, and the connection persists ─────┐
//!            ▼                                                                           │
//!   Head ── take: a request ──┬── what can be had, or cannot ───────────> sending ───────┤
//!                             └── upload ─> (100) ─> Body ── all read ──> sending ───────┤
//!                                                                                        │
//!   Over  <── the client wanted no more ─────────────────────────────────────────────────┤
//!   Linger <── it was refused: what it still sends is thrown away, or our reply would ───┘
//!              be lost to a reset (RFC 9112 section 9.6)
//! ```
//!
//! While a reply is being sent nothing is taken: requests that were sent ahead (pipelining, RFC 9112 section 9.3.2)
//! wait in the receive buffer, which in the end stops a client that does not read.

use super::body::{Body, Fault};
use super::heads::{HeadId, Heads};
use super::reply::{Fate, Progress};
use super::request::{Framing, Method, Parsed, Request, parse};
use super::site::{Answer, Fixed, ReplyId, Site};
use crate::builtin::pattern::Pattern;

/// Bytes that are thrown away after a refusal. A client that was told to go and sends more has not listened.
pub const MAX_LINGER: u64 = 16 << 20;

/// The state of a connection.
#[derive(Debug)]
pub struct Conversation {
    phase: Phase,
    sending: Option<Sending>,
    partial: Option<HeadId>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Head,
    Body(Body, Fate),
    Linger(u64),
    Over,
    Broken,
}

#[derive(Debug, Clone, Copy)]
struct Sending {
    reply: ReplyId,
    progress: Progress,
    /// What follows when it is sent and closes the connection.
    lingers: bool,
}

/// What is to be done for a conversation when there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Show it what the peer sends.
    Input,
    /// The same, after our direction was closed.
    LastInput,
    /// Close the connection.
    Close,
    /// End it without waiting for anything.
    Abort,
}

impl Default for Conversation {
    fn default() -> Self {
        Conversation { phase: Phase::Head, sending: None, partial: None }
    }
}

impl Conversation {
    /// Shows it what the peer sent: how many of the bytes it took. It takes none while there is something to send, and
    /// stops at the end of each request. `second` is the time of day, for the Date field.
    #[inline]
    pub fn take(&mut self, site: &Site, heads: &mut Heads, second: u64, input: &[u8]) -> usize {
        if self.sending.is_some() {
            return 0;
        }
        match &mut self.phase {
            Phase::Head => match self.partial {
                None => self.take_head(site, heads, second, input),
                Some(id) => self.take_piece(site, heads, second, id, input),
            },
            Phase::Body(body, fate) => match body.take(input) {
                Ok(taken) => {
                    if body.is_over() {
                        let (count, fate) = (body.received, *fate);
                        self.send(Fixed::Received.into(), fate, false, second, count);
                    }
                    taken
                }
                Err(fault) => {
                    self.refuse(of_fault(fault), second);
                    input.len()
                }
            },
            Phase::Linger(left) => {
                *left = left.saturating_sub(input.len() as u64);
                if *left == 0 {
                    self.phase = Phase::Broken;
                }
                input.len()
            }
            Phase::Over | Phase::Broken => input.len(),
        }
    }

    /// What is to be sent next; nothing when there is nothing to say.
    #[inline]
    pub fn next<'a>(&self, site: &'a mut Site, pattern: &'a Pattern) -> &'a [u8] {
        let Some(sending) = &self.sending else { return &[] };
        site.reply(sending.reply).map_or(&[], |reply| reply.next(&sending.progress, pattern))
    }

    /// So many bytes of that are on their way.
    #[inline]
    pub fn sent(&mut self, site: &mut Site, count: usize) {
        let Some(sending) = &mut self.sending else { return };
        let total = site.reply(sending.reply).map_or(0, |reply| reply.total(&sending.progress));
        sending.progress.at += count as u64;
        if sending.progress.at < total {
            return;
        }
        let Sending { reply, progress, lingers } = *sending;
        self.sending = None;
        if reply == Fixed::Continue.into() {
            return;
        }
        self.phase = match progress.fate {
            Fate::Persists | Fate::KeepAlive => Phase::Head,
            Fate::Closes if lingers => Phase::Linger(MAX_LINGER),
            Fate::Closes => Phase::Over,
        };
    }

    /// What it waits for, when there is nothing to send.
    #[inline]
    pub fn wants(&self) -> Wants {
        match self.phase {
            Phase::Head | Phase::Body(..) => Wants::Input,
            Phase::Linger(_) => Wants::LastInput,
            Phase::Over => Wants::Close,
            Phase::Broken => Wants::Abort,
        }
    }

    /// Nothing happened for too long. A client in the middle of a request is told so (RFC 9110 section 15.5.9); one
    /// that does not read what it asked for cannot be told anything.
    pub fn is_idle(&mut self, second: u64) {
        self.phase = match self.phase {
            _ if self.sending.is_some() => Phase::Broken,
            Phase::Head if self.partial.is_none() => Phase::Over,
            Phase::Head | Phase::Body(..) => return self.refuse(Fixed::TooSlow, second),
            Phase::Linger(_) | Phase::Over | Phase::Broken => Phase::Broken,
        };
        self.sending = None;
    }

    /// Gives back what it held.
    pub fn end(self, heads: &mut Heads) {
        if let Some(id) = self.partial {
            heads.release(id);
        }
    }

    /// A head that lies in one piece, in most cases.
    #[inline]
    fn take_head(&mut self, site: &Site, heads: &mut Heads, second: u64, input: &[u8]) -> usize {
        // RFC 9112 section 2.2: empty lines before a request mean nothing.
        if let Some(b'\r' | b'\n') = input.first() {
            return input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        }
        match parse(input) {
            Parsed::Whole(request, length) => {
                self.answer(site, second, &request);
                length
            }
            Parsed::Refused(refusal) => {
                self.refuse(refusal.into(), second);
                input.len()
            }
            Parsed::Partial => match heads.take() {
                Some(id) => {
                    self.partial = Some(id);
                    heads.append(id, input).0
                }
                None => {
                    self.refuse(Fixed::Busy, second);
                    input.len()
                }
            },
        }
    }

    /// A further piece of a head.
    fn take_piece(&mut self, site: &Site, heads: &mut Heads, second: u64, id: HeadId, input: &[u8]) -> usize {
        let (taken, done) = heads.append(id, input);
        if !done {
            return taken;
        }
        match parse(heads.bytes(id)) {
            Parsed::Partial => return taken,
            Parsed::Whole(request, _) => self.answer(site, second, &request),
            Parsed::Refused(refusal) => self.refuse(refusal.into(), second),
        }
        self.partial = None;
        heads.release(id);
        taken
    }

    #[inline]
    fn answer(&mut self, site: &Site, second: u64, request: &Request<'_>) {
        let fate = match (request.persists, request.is_1_1) {
            (true, true) => Fate::Persists,
            (true, false) => Fate::KeepAlive,
            (false, _) => Fate::Closes,
        };
        match site.answer(request) {
            Answer::Reply(reply) if request.framing == Framing::None => {
                self.send(reply, fate, request.method == Method::Head, second, 0);
            }
            // What follows is a body that nobody wants.
            Answer::Reply(reply) => {
                self.send(reply, Fate::Closes, request.method == Method::Head, second, 0);
                self.linger();
            }
            Answer::Upload => self.upload(site, second, request, fate),
        }
    }

    fn upload(&mut self, site: &Site, second: u64, request: &Request<'_>, fate: Fate) {
        let body = match request.framing {
            Framing::None => Body::of_length(0, site.max_body),
            Framing::Length(length) => Body::of_length(length, site.max_body),
            Framing::Chunked => Ok(Body::chunked(site.max_body)),
        };
        match body {
            Err(fault) => self.refuse(of_fault(fault), second),
            Ok(body) if body.is_over() => self.send(Fixed::Received.into(), fate, false, second, 0),
            Ok(body) => {
                self.phase = Phase::Body(body, fate);
                if request.expects_continue {
                    self.send(Fixed::Continue.into(), fate, false, second, 0);
                }
            }
        }
    }

    #[inline]
    fn send(&mut self, reply: ReplyId, fate: Fate, head_only: bool, second: u64, count: u64) {
        let progress = Progress { fate, head_only, at: 0, second, count };
        self.sending = Some(Sending { reply, progress, lingers: false });
    }

    fn refuse(&mut self, fixed: Fixed, second: u64) {
        self.send(fixed.into(), Fate::Closes, false, second, 0);
        self.linger();
    }

    fn linger(&mut self) {
        if let Some(sending) = &mut self.sending {
            sending.lingers = true;
        }
    }
}

const fn of_fault(fault: Fault) -> Fixed {
    match fault {
        Fault::Malformed => Fixed::Malformed,
        Fault::TooLong => Fixed::BodyTooLong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{HttpService, SizedResponse};
    use proptest::prelude::*;

    struct Rig {
        site: Site,
        heads: Heads,
        pattern: Pattern,
        talk: Conversation,
        said: String,
    }

    impl Rig {
        fn new() -> Rig {
            let config = HttpService {
                responses: vec![
                    SizedResponse { path: "/8".into(), bytes: 8 },
                    SizedResponse { path: "/10k".into(), bytes: 10_000 },
                ],
                upload: Some("/up".into()),
                max_body: 1000,
                ..HttpService::default()
            };
            Rig {
                site: Site::new(&config, &[]),
                heads: Heads::new(1),
                pattern: Pattern::default(),
                talk: Conversation::default(),
                said: String::new(),
            }
        }

        /// Says what it has to say, at most `step` bytes at a time.
        fn drain(&mut self, step: usize) {
            loop {
                let piece = self.talk.next(&mut self.site, &self.pattern);
                let piece = &piece[..piece.len().min(step)];
                if piece.is_empty() {
                    return;
                }
                self.said.push_str(core::str::from_utf8(piece).unwrap());
                let count = piece.len();
                self.talk.sent(&mut self.site, count);
            }
        }

        /// The peer sends `text` in pieces of `step`.
        fn hear(&mut self, text: &str, step: usize) -> &mut Rig {
            for piece in text.as_bytes().chunks(step) {
                let mut at = 0;
                while at < piece.len() && !matches!(self.talk.wants(), Wants::Close | Wants::Abort) {
                    let taken = self.talk.take(&self.site, &mut self.heads, 784_111_777, &piece[at..]);
                    assert!(taken > 0, "stuck");
                    at += taken;
                    self.drain(step);
                }
            }
            self
        }

        /// What was said since, with a line for each reply: status, length of the body.
        fn replies(&mut self) -> Vec<String> {
            let said = core::mem::take(&mut self.said);
            let mut rest = said.as_str();
            let mut replies = Vec::new();
            while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
                let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
                let status = head.lines().next().unwrap().strip_prefix("HTTP/1.1 ").unwrap();
                let length: usize = field("Content-Length: ").parse().unwrap_or(0);
                let connection = field("Connection: ");
                let body = &behind[..length.min(behind.len())];
                replies.push(format!("{status}|{connection}|{}", body.len()));
                rest = &behind[body.len()..];
            }
            assert!(rest.is_empty(), "{rest:?}");
            replies
        }
    }

    fn after(text: &str) -> (Vec<String>, Wants) {
        let mut rig = Rig::new();
        let replies = rig.hear(text, usize::MAX).replies();
        (replies, rig.talk.wants())
    }

    fn told(text: &str) -> (Vec<String>, Wants) {
        let whole = after(text);
        let mut rig = Rig::new();
        let bytewise = rig.hear(text, 1).replies();
        assert_eq!((bytewise, rig.talk.wants()), whole, "byte by byte");
        whole
    }

    #[test]
    fn requests_sent_ahead_are_answered_in_their_order() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let text = [get("/8"), get("/10k"), get("/none"), get("/8")].concat();
        let (replies, wants) = told(&text);
        assert_eq!(replies, ["200 OK||8", "200 OK||10000", "404 Not Found||14", "200 OK||8"]);
        assert_eq!(wants, Wants::Input);
    }

    #[test]
    fn a_head_is_sent_without_its_body() {
        let mut rig = Rig::new();
        rig.hear("HEAD /10k HTTP/1.1\r\nHost: x\r\n\r\n", 5);
        assert!(rig.said.contains("Content-Length: 10000\r\n") && rig.said.ends_with("\r\n\r\n"));
    }

    #[test]
    fn the_connection_ends_when_the_client_wants_that() {
        assert_eq!(told("GET /8 HTTP/1.0\r\n\r\n"), (vec!["200 OK|close|8".into()], Wants::Close));
        let (replies, wants) = told("GET /8 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((replies[0].as_str(), wants), ("200 OK|keep-alive|8", Wants::Input));
        let (_, wants) = told("GET /8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /8");
        assert_eq!(wants, Wants::Close);
    }

    #[test]
    fn empty_lines_before_a_request_mean_nothing() {
        let (replies, _) = told("\r\n\n\r\nGET /8 HTTP/1.1\r\nHost: x\r\n\r\n\r\n");
        assert_eq!(replies.len(), 1);
    }

    #[test]
    fn uploads_are_counted_and_the_connection_goes_on() {
        let head = "HTTP/1.1\r\nHost: x\r\n";
        let text = format!(
            "PUT /up/f {head}Content-Length: 5\r\n\r\nhelloPOST /up {head}Transfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\n\r\nPUT /up {head}\r\nGET /8 {head}\r\n"
        );
        let mut rig = Rig::new();
        rig.hear(&text, 3);
        for count in ["00000000000000000005\n", "00000000000000000003\n", "00000000000000000000\n"] {
            assert!(rig.said.contains(count), "{count}");
        }
        assert_eq!(rig.replies(), ["200 OK||21", "200 OK||21", "200 OK||21", "200 OK||8"]);
    }

    #[test]
    fn a_client_that_asks_first_is_told_to_go_on() {
        let mut rig = Rig::new();
        let head = "PUT /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ";
        assert_eq!(rig.hear(&format!("{head}3\r\n\r\n"), 9).replies(), ["100 Continue||0"]);
        assert_eq!(rig.hear("abc", 9).replies(), ["200 OK||21"]);
        // Or not: then it need not send the body, and we do not believe what follows.
        assert_eq!(rig.hear(&format!("{head}1001\r\n\r\n"), 9).replies(), ["413 Content Too Large|close|22"]);
        assert_eq!(rig.talk.wants(), Wants::LastInput);
    }

    #[test]
    fn refusals_close_and_throw_away_what_follows_up_to_a_limit() {
        for (request, reply) in [
            ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request|close|16"),
            ("FROB / HTTP/1.1\r\nHost: x\r\n\r\n", "501 Not Implemented|close|20"),
            ("GET / HTTP/3.0\r\nHost: x\r\n\r\n", "505 HTTP Version Not Supported|close|31"),
            ("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "405 Method Not Allowed|close|23"),
            ("PUT /up HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", "417 Expectation Failed|close|23"),
            (
                "PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx",
                "400 Bad Request|close|16",
            ),
        ] {
            let (replies, wants) = told(request);
            assert_eq!((replies, wants), (vec![reply.to_owned()], Wants::LastInput), "{request}");
        }
        let mut rig = Rig::new();
        rig.hear("GET / HTTP/1.1\r\n\r\n", 100).replies();
        let mut left = MAX_LINGER;
        let block = [b'x'; 1 << 16];
        while left > 0 {
            assert_eq!(rig.talk.wants(), Wants::LastInput);
            let count = block.len().min(left as usize);
            assert_eq!(rig.talk.take(&rig.site, &mut rig.heads, 0, &block[..count]), count);
            left -= count as u64;
        }
        assert_eq!(rig.talk.wants(), Wants::Abort);
    }

    #[test]
    fn a_head_in_pieces_needs_a_room_and_gives_it_back() {
        let mut rig = Rig::new();
        rig.hear("GET /8 HT", 100);
        assert_eq!(rig.heads.free(), 0);
        let mut other = Conversation::default();
        other.take(&rig.site, &mut rig.heads, 0, b"GET");
        assert!(other.next(&mut rig.site, &rig.pattern).starts_with(b"HTTP/1.1 503"));
        rig.hear("TP/1.1\r\nHost: x\r\n\r\n", 100);
        assert_eq!((rig.heads.free(), rig.replies()), (1, vec!["200 OK||8".to_owned()]));
        rig.hear("GET", 100);
        let talk = core::mem::take(&mut rig.talk);
        talk.end(&mut rig.heads);
        assert_eq!(rig.heads.free(), 1);
    }

    #[test]
    fn heads_that_are_too_long_are_refused_in_one_piece_and_in_many() {
        let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
        assert_eq!(told(&long_target).0, ["414 URI Too Long|close|17"]);
        let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(17_000));
        assert_eq!(told(&long_head).0, ["431 Request Header Fields Too Large|close|36"]);
        assert_eq!(told(&"G".repeat(20_000)).0, ["414 URI Too Long|close|17"]);
    }

    #[test]
    fn an_idle_client_is_told_when_it_was_saying_something() {
        let idle_after = |text: &str| {
            let mut rig = Rig::new();
            rig.hear(text, 100).replies();
            rig.talk.is_idle(0);
            rig.drain(100);
            (rig.replies(), rig.talk.wants())
        };
        assert_eq!(idle_after(""), (vec![], Wants::Close));
        let too_slow = (vec!["408 Request Timeout|close|20".to_owned()], Wants::LastInput);
        assert_eq!(idle_after("GET /"), too_slow);
        assert_eq!(idle_after("PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"), too_slow);
        assert_eq!(idle_after("x\r\n"), (vec![], Wants::Abort));
        let mut rig = Rig::new();
        rig.talk.take(&rig.site, &mut rig.heads, 0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        rig.talk.is_idle(0);
        assert!(rig.talk.next(&mut rig.site, &rig.pattern).is_empty());
        assert_eq!(rig.talk.wants(), Wants::Abort, "it does not read");
    }

    #[test]
    fn nothing_is_taken_while_a_reply_is_on_its_way() {
        let mut rig = Rig::new();
        let get = b"GET /8 HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(rig.talk.take(&rig.site, &mut rig.heads, 0, get), get.len());
        assert_eq!(rig.talk.take(&rig.site, &mut rig.heads, 0, get), 0);
        rig.drain(usize::MAX);
        assert_eq!(rig.talk.take(&rig.site, &mut rig.heads, 0, get), get.len());
    }

    /// Texts that have something to do with HTTP. They end with an empty line: a head that is wrong is refused at
    /// once when it is seen whole, and at its end when it comes in pieces.
    fn text() -> impl Strategy<Value = String> {
        let part = proptest::sample::select(vec![
            "GET /8 HTTP/1.1\r\nHost: x\r\n",
            "HEAD / HTTP/1.0\r\n",
            "PUT /up HTTP/1.1\r\nHost: x\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\n",
            "Expect: 100-continue\r\n",
            "Connection: close\r\n",
            "\r\n",
            "\r\n\r\n",
            "3\r\nabc\r\n",
            "0\r\n\r\n",
            "abc",
            "\n",
        ]);
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat() + "\r\n\r\n")
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_changes_nothing(text in text(), step in 1usize..40) {
            let (mut whole, mut cut) = (Rig::new(), Rig::new());
            whole.hear(&text, usize::MAX);
            cut.hear(&text, step);
            prop_assert_eq!(&whole.said, &cut.said);
            prop_assert_eq!(whole.talk.wants(), cut.talk.wants());
            core::mem::take(&mut cut.talk).end(&mut cut.heads);
            prop_assert_eq!(cut.heads.free(), 1);
        }
    }
}
