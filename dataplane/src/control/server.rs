//! The server's end of the control socket, driven by the events of the service's control thread.
//!
//! ```text
//!            accept            whole line              answer              all written
//!   listener ──────▶ Reading ────────────┬──────────▶ Writing ──────────────▶ closed
//!                      │                 └─▶ Waiting ───▲  │
//!                      │ too slow: closed      │ complete  │ too slow: closed
//!                      │ too long: Writing(error)          │
//! ```
//!
//! Nothing here waits: a client that does not send, does not read, or goes away costs one of
//! [`MAX_CONNECTIONS`] slots until its time is over, and when all are taken the one that has kept us waiting for
//! its request the longest makes room. Time is an argument; the caller asks [`ControlServer::deadline`] how long
//! it may sleep.
//!
//! Events are edge-triggered. Whoever stops before the socket says "would block" re-registers, which has the
//! kernel look again.

use super::protocol::{
    ANSWER_TIME, Answer, MAX_ANSWER, MAX_CONNECTIONS, MAX_REQUEST, REPORT_TIME, REQUEST_TIME, Refusal,
    Request, Show,
};
use super::provider::{Provider, Reply, Ticket};
use super::routes;
use super::socket_file::{BindError, SocketFile};
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Instant;

/// Tokens that a server takes: its listener's, then one for each connection.
pub const TOKENS: usize = 1 + MAX_CONNECTIONS;

/// Connections that are accepted at one event, so that a flood of them does not keep the thread from its other
/// work.
const ACCEPTS_AT_ONCE: usize = 16;

/// Bytes that are read at one event.
const READ_AT_ONCE: usize = 64 << 10;

/// The control socket of a service.
#[derive(Debug)]
pub struct ControlServer {
    file: SocketFile,
    listener: UnixListener,
    registry: Registry,
    first: usize,
    slots: Vec<Option<Connection>>,
    /// Tells a connection from the one before it in the same slot.
    generation: u64,
    /// Connections wait that could not be accepted, for want of a file descriptor.
    accept_again: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    state: State,
    deadline: Instant,
    generation: u64,
}

#[derive(Debug)]
enum State {
    /// What came of the request so far.
    Reading(Vec<u8>),
    /// The workers were asked.
    Waiting,
    /// The answer, and how much of it was written.
    Writing(Vec<u8>, usize),
}

/// What to do about a connection next.
enum Step {
    /// Nothing until the next event.
    Stay,
    /// The state changed or work is left: have the kernel look again.
    Again,
    /// It is over.
    Close,
}

impl ControlServer {
    /// Makes the socket at `path` with permission bits `mode`, and registers it with the caller's poll under the
    /// tokens `first` to `first + TOKENS - 1`. What a dead service left at `path` is replaced; a living one is
    /// an error.
    pub fn bind(
        path: &Path,
        mode: u32,
        registry: &Registry,
        first: Token,
    ) -> Result<ControlServer, BindError> {
        let system =
            |doing| move |error: io::Error| BindError::System { path: path.to_owned(), doing, error };
        let (file, listener) = SocketFile::bind(path, mode)?;
        let mut listener = UnixListener::from_std(listener);
        let registry = registry.try_clone().map_err(system("poll it"))?;
        registry.register(&mut listener, first, Interest::READABLE).map_err(system("poll it"))?;
        let slots = std::iter::repeat_with(|| None).take(MAX_CONNECTIONS).collect();
        Ok(ControlServer {
            file,
            listener,
            registry,
            first: first.0,
            slots,
            generation: 0,
            accept_again: None,
        })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// True for the tokens of this server.
    pub fn owns(&self, token: Token) -> bool {
        (self.first..self.first + TOKENS).contains(&token.0)
    }

    /// Something happened at `token`, one of ours.
    pub fn on_event(&mut self, token: Token, now: Instant, provider: &mut dyn Provider) {
        match token.0.checked_sub(self.first) {
            Some(0) => self.accept(now),
            Some(place) => self.drive(place - 1, now, provider),
            None => {}
        }
    }

    /// When [`ControlServer::expire`] wants to be called, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let connections = self.slots.iter().flatten().map(|connection| connection.deadline);
        connections.chain(self.accept_again).min()
    }

    /// Ends what has taken too long at `now`.
    pub fn expire(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept(now);
        }
        for slot in 0..self.slots.len() {
            let Some(connection) = &self.slots[slot] else { continue };
            if connection.deadline > now {
                continue;
            }
            match connection.state {
                State::Waiting => {
                    let why = Refusal::new("the workers did not answer in time")
                        .help("`flumen show core` says whether they run");
                    self.answer(slot, &Answer::Error(why), now);
                }
                State::Reading(_) | State::Writing(..) => self.close(slot),
            }
        }
    }

    /// Answers a client that was put off with [`Reply::Later`]. A ticket whose client is gone is void.
    pub fn complete(&mut self, ticket: Ticket, answer: &Answer, now: Instant) {
        let waits = self.slots.get(ticket.slot).and_then(Option::as_ref).is_some_and(|connection| {
            connection.generation == ticket.generation && matches!(connection.state, State::Waiting)
        });
        if waits {
            self.answer(ticket.slot, answer, now);
        }
    }

    /// Connections at the moment.
    pub fn connections(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn accept(&mut self, now: Instant) {
        self.accept_again = None;
        for _ in 0..ACCEPTS_AT_ONCE {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // No file descriptor is left, or no memory: some connection will end and leave one.
                Err(_) => {
                    self.accept_again = Some(now + REQUEST_TIME / 10);
                    return;
                }
            }
        }
        let token = Token(self.first);
        if self.registry.reregister(&mut self.listener, token, Interest::READABLE).is_err() {
            self.accept_again = Some(now + REQUEST_TIME / 10);
        }
    }

    fn admit(&mut self, mut stream: UnixStream, now: Instant) {
        let Some(slot) = self.free_slot() else {
            let why =
                Refusal::new("too many connections to the control socket").help("try again in a moment");
            // Into an empty socket buffer; if even that does not fit, the end of the connection must do.
            let _ = stream.write(&line_of(&Answer::Error(why)));
            return;
        };
        let token = Token(self.first + 1 + slot);
        if self.registry.register(&mut stream, token, Interest::READABLE).is_ok() {
            self.generation += 1;
            let (state, deadline) = (State::Reading(Vec::new()), now + REQUEST_TIME);
            self.slots[slot] = Some(Connection { stream, state, deadline, generation: self.generation });
        }
    }

    /// An empty slot, or that of the connection which has kept us waiting for its request the longest.
    fn free_slot(&mut self) -> Option<usize> {
        if let Some(slot) = self.slots.iter().position(Option::is_none) {
            return Some(slot);
        }
        let slow = self.slots.iter().enumerate().filter_map(|(slot, connection)| match connection {
            Some(Connection { state: State::Reading(_), generation, .. }) => Some((*generation, slot)),
            _ => None,
        });
        let (_, slot) = slow.min()?;
        self.close(slot);
        Some(slot)
    }

    fn drive(&mut self, slot: usize, now: Instant, provider: &mut dyn Provider) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else { return };
        let step = match &mut connection.state {
            State::Reading(request) => match read(&mut connection.stream, request) {
                Some(Ok(line)) => return self.serve(slot, &line, now, provider),
                Some(Err(step)) => step,
                None => {
                    let why = Refusal::new(format!("the request is longer than {MAX_REQUEST} bytes"))
                        .help("send it in parts");
                    return self.answer(slot, &Answer::Error(why), now);
                }
            },
            State::Waiting => Step::Stay,
            State::Writing(answer, written) => write(&mut connection.stream, answer, written),
        };
        self.follow(slot, step);
    }

    fn serve(&mut self, slot: usize, line: &[u8], now: Instant, provider: &mut dyn Provider) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else { return };
        let ticket = Ticket { slot, generation: connection.generation };
        match dispatch(line, ticket, provider) {
            Reply::Now(answer) => self.answer(slot, &answer, now),
            Reply::Later => {
                connection.state = State::Waiting;
                connection.deadline = now + REPORT_TIME;
            }
        }
    }

    /// Begins to write `answer`.
    fn answer(&mut self, slot: usize, answer: &Answer, now: Instant) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else { return };
        let line = line_of(answer);
        let mut written = 0;
        let step = write(&mut connection.stream, &line, &mut written);
        connection.state = State::Writing(line, written);
        connection.deadline = now + ANSWER_TIME;
        // From reading to writing: the kernel must be told even if it is the kernel that we wait for.
        self.follow(slot, if matches!(step, Step::Stay) { Step::Again } else { step });
    }

    fn follow(&mut self, slot: usize, step: Step) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else { return };
        let interest = match connection.state {
            State::Writing(..) => Interest::WRITABLE,
            State::Reading(_) | State::Waiting => Interest::READABLE,
        };
        let token = Token(self.first + 1 + slot);
        let close = match step {
            Step::Stay => false,
            Step::Again => self.registry.reregister(&mut connection.stream, token, interest).is_err(),
            Step::Close => true,
        };
        if close {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some(mut connection) = self.slots.get_mut(slot).and_then(Option::take) {
            // The kernel forgets it anyway when it is closed.
            let _ = self.registry.deregister(&mut connection.stream);
        }
    }
}

/// Reads on. `None`: too long. `Ok`: a whole request; a client that closes its side has ended its line.
fn read(stream: &mut UnixStream, request: &mut Vec<u8>) -> Option<Result<Vec<u8>, Step>> {
    let mut chunk = [0; 4096];
    for _ in 0..READ_AT_ONCE / chunk.len() {
        match stream.read(&mut chunk) {
            Ok(0) if request.is_empty() => return Some(Err(Step::Close)),
            Ok(0) => return Some(Ok(std::mem::take(request))),
            Ok(length) => {
                let new = &chunk[..length];
                let end = new.iter().position(|byte| *byte == b'\n');
                let taken = end.unwrap_or(length);
                if request.len() + taken + usize::from(end.is_some()) > MAX_REQUEST {
                    return None;
                }
                request.extend_from_slice(&new[..taken]);
                if end.is_some() {
                    return Some(Ok(std::mem::take(request)));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(Err(Step::Stay)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Some(Err(Step::Close)),
        }
    }
    Some(Err(Step::Again))
}

fn write(stream: &mut UnixStream, answer: &[u8], written: &mut usize) -> Step {
    while let Some(rest) = answer.get(*written..)
        && !rest.is_empty()
    {
        match stream.write(rest) {
            Ok(0) => return Step::Close,
            Ok(length) => *written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Stay,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Step::Close,
        }
    }
    Step::Close
}

fn dispatch(line: &[u8], ticket: Ticket, provider: &mut dyn Provider) -> Reply {
    let request = match serde_json::from_slice::<Request>(line) {
        Ok(request) => request,
        Err(error) => {
            return Reply::refuse(
                Refusal::new(format!("this is no request that flumen {} knows: {error}", env!("CARGO_PKG_VERSION")))
                    .help("the command and the service should be of the same version: `flumen version`, `flumen show status`"),
            );
        }
    };
    let result = |result: Result<Answer, Refusal>| Reply::Now(result.unwrap_or_else(Answer::Error));
    match request {
        Request::Status => Reply::Now(Answer::Status(provider.status())),
        Request::Show(Show::Port(query)) => provider.ports(ticket, &query),
        Request::Show(Show::Core) => Reply::Now(Answer::Cores(provider.cores())),
        Request::Show(Show::Route(query)) => result(provider.routes(&query).map(Answer::Routes)),
        Request::Show(Show::Tables) => Reply::Now(Answer::Tables(provider.tables())),
        Request::Show(Show::Rules) => Reply::Now(Answer::Rules(provider.rules())),
        Request::Show(Show::Multicast) => provider.groups(ticket),
        Request::Show(Show::Reassembly) => provider.reassembly(ticket),
        Request::Show(Show::Neighbour(query)) => provider.neighbours(ticket, &query),
        Request::Show(Show::Socket(query)) => provider.sockets(ticket, &query),
        Request::Show(Show::Programs) => provider.programs(ticket),
        Request::Show(Show::Drops) => Reply::Now(Answer::Drops(provider.drops())),
        Request::Show(Show::Runtime) => Reply::Now(Answer::Runtime(provider.runtime())),
        Request::Show(Show::Counters) => Reply::Now(Answer::Counters(provider.counters())),
        Request::Routes(changes) => result(routes::change(&changes, provider).map(Answer::Changed)),
    }
}

/// The answer's line.
fn line_of(answer: &Answer) -> Vec<u8> {
    let encode = |answer: &Answer| serde_json::to_vec(answer).ok().filter(|line| line.len() < MAX_ANSWER);
    let too_long = || {
        let why = Refusal::new(format!("the answer is longer than {MAX_ANSWER} bytes"));
        encode(&Answer::Error(why.help("ask for less: a filter, a limit"))).unwrap_or_default()
    };
    let mut line = encode(answer).unwrap_or_else(too_long);
    line.push(b'\n');
    line
}
