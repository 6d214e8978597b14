//! The attach server, on the control thread: admits processes, makes their memory, and tells the worker.
//!
//! ```text
//!   process            control thread                          worker
//!   Hello ───────────> credentials, limits; arena, bell ─────> Order::Attach
//!   Welcome + memory <──────────────────────────────────────── Done::Attached
//!   …
//!   end of file ──────────────────────────────────────────────> Order::Detach
//!                      memory goes, the place is free <──────── Done::Gone
//! ```
//!
//! The connection of a process is its attachment. Nothing here waits; events are edge-triggered, so that every connection
//! is read until it has no more.

use super::limits::ORDERS;
use super::order::{ControlEnds, Done, Found, Order};
use super::program::Program;
use super::socket::Credentials;
use crate::control::socket_file::{BindError, SocketFile};
use flumen_ipc::attach::{self, ADOPT, ATTACH, Adopted, Hello, INHERIT, MAGIC, VERSION, Welcome};
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, Geometry};
use flumen_stack::socket::Family;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::{SocketFlags, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Connections that are accepted at one event.
const ACCEPTS_AT_ONCE: usize = 64;

/// What a server is made with.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Where the socket is.
    pub path: &'a Path,
    /// Its permission bits.
    pub mode: u32,
    /// Whose it is: user, group.
    pub owner: (Option<u32>, Option<u32>),
    /// Processes at a time.
    pub programs: usize,
    /// Of one user.
    pub programs_per_user: usize,
    /// How arenas are laid out.
    pub geometry: Geometry,
}

/// The attach socket of a service.
#[derive(Debug)]
pub struct AttachServer {
    file: SocketFile,
    listener: OwnedFd,
    registry: Registry,
    first: usize,
    ends: ControlEnds,
    page: OwnedFd,
    bells: Vec<OwnedFd>,
    geometry: Geometry,
    per_user: usize,
    connections: Vec<Option<Connection>>,
    places: Vec<Option<Kept>>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    user: Credentials,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Said nothing yet.
    New,
    /// The worker was told.
    Waiting(u16),
    /// It is attached.
    Attached(u16),
}

/// What is kept of a program as long as its memory is in use.
#[derive(Debug)]
struct Kept {
    arena: OwnedFd,
    bell: OwnedFd,
    token: [u8; 16],
    user: Credentials,
    /// Its connection; `None`: it is gone.
    connection: Option<usize>,
}

/// A program in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramRow {
    /// Its place.
    pub place: u16,
    /// Who it is.
    pub user: Credentials,
    /// The process is gone, and others use its memory.
    pub is_gone: bool,
}

impl AttachServer {
    /// Makes the socket, and registers it with the caller's poll under `first` and the tokens behind it
    /// ([`AttachServer::tokens`]). `page` and `bells` are what every process gets.
    ///
    /// # Errors
    /// Those of a socket file; the system's.
    pub fn bind(
        settings: &Settings<'_>,
        ends: ControlEnds,
        page: OwnedFd,
        bells: Vec<OwnedFd>,
        registry: &Registry,
        first: Token,
    ) -> Result<AttachServer, BindError> {
        let system = |doing| {
            move |error: io::Error| BindError::System { path: settings.path.to_owned(), doing, error }
        };
        let (file, listener) = SocketFile::bind_packets(settings.path, settings.mode, settings.owner)?;
        let registry = registry.try_clone().map_err(system("poll it"))?;
        let fd = listener.as_raw_fd();
        registry.register(&mut SourceFd(&fd), first, Interest::READABLE).map_err(system("poll it"))?;
        let bell = ends.bell.as_fd().as_raw_fd();
        let behind = Token(first.0 + 1);
        registry.register(&mut SourceFd(&bell), behind, Interest::READABLE).map_err(system("poll it"))?;
        let places = settings.programs.min(usize::from(u16::MAX)).min(ORDERS / 4);
        Ok(AttachServer {
            file,
            listener,
            registry,
            first: first.0,
            ends,
            page,
            bells,
            geometry: settings.geometry,
            per_user: settings.programs_per_user,
            connections: std::iter::repeat_with(|| None).take(places + SPARE).collect(),
            places: std::iter::repeat_with(|| None).take(places).collect(),
        })
    }

    /// Tokens that it takes.
    pub fn tokens(&self) -> usize {
        2 + self.connections.len()
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// True for its tokens.
    pub fn owns(&self, token: Token) -> bool {
        (self.first..self.first + self.tokens()).contains(&token.0)
    }

    /// What programs there are.
    pub fn programs(&self) -> impl Iterator<Item = ProgramRow> {
        self.places.iter().enumerate().filter_map(|(place, kept)| {
            let kept = kept.as_ref()?;
            Some(ProgramRow { place: place as u16, user: kept.user, is_gone: kept.connection.is_none() })
        })
    }

    /// Something happened. True when the worker is to be woken.
    pub fn on_event(&mut self, token: Token) -> bool {
        match token.0.checked_sub(self.first) {
            Some(0) => {
                self.accept();
                false
            }
            Some(1) => {
                self.ends.bell.silence();
                self.collect()
            }
            Some(other) => self.read(other - 2),
            None => false,
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_AT_ONCE {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(rustix::io::Errno::INTR) => continue,
                // None waits, or there is no descriptor for it: it stays until the next event.
                Err(_) => return,
            };
            let Ok(user) = sockopt::socket_peercred(&socket) else { continue };
            let user = Credentials {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                pid: user.pid.as_raw_nonzero().get(),
            };
            let Some(free) = self.connections.iter().position(Option::is_none) else {
                let _gone = refuse(&socket, libc::EMFILE);
                continue;
            };
            let token = Token(self.first + 2 + free);
            let fd = socket.as_raw_fd();
            if self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE).is_ok() {
                self.connections[free] = Some(Connection { socket, user, state: State::New });
            }
        }
        // More may wait: have the kernel look again.
        let fd = self.listener.as_raw_fd();
        let _still_registered =
            self.registry.reregister(&mut SourceFd(&fd), Token(self.first), Interest::READABLE);
    }

    /// Reads what a process says. True when the worker is to be woken.
    fn read(&mut self, index: usize) -> bool {
        let mut ordered = false;
        loop {
            let Some(Some(connection)) = self.connections.get(index) else { return ordered };
            let mut buffer = [0; size_of::<Hello>()];
            match attach::receive(&connection.socket, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ordered,
                Ok((len, descriptors)) if len == buffer.len() => {
                    let Ok(hello) = Hello::read_from_bytes(&buffer) else { return ordered };
                    ordered |= self.hear(index, &hello, &descriptors);
                }
                // The end, an error, or something that is no message of ours.
                Ok(_) | Err(_) => return self.part(index) || ordered,
            }
        }
    }

    /// A process said something. True when the worker is to be woken.
    fn hear(&mut self, index: usize, hello: &Hello, descriptors: &[OwnedFd]) -> bool {
        let Some(Some(connection)) = self.connections.get(index) else { return false };
        if hello.magic != MAGIC || hello.version != VERSION {
            return self.turn_away(index, libc::EPROTO);
        }
        match (connection.state, hello.kind) {
            (State::New, ATTACH) => self.admit(index, None),
            (State::New, INHERIT) => {
                let is_parent =
                    |kept: &Option<Kept>| kept.as_ref().is_some_and(|kept| kept.token == hello.token);
                match self.places.iter().position(is_parent) {
                    Some(parent) => self.admit(index, Some(parent as u16)),
                    None => self.turn_away(index, libc::ESRCH),
                }
            }
            (State::Attached(place), ADOPT) => {
                let cookie = descriptors.first().and_then(|socket| sockopt::socket_cookie(socket).ok());
                let Some(cookie) = cookie else {
                    self.answer_adoption(place, Ok(None));
                    return false;
                };
                self.order(Order::Adopt { program: place, slot: hello.slot, cookie })
            }
            _ => self.turn_away(index, libc::EPROTO),
        }
    }

    /// Makes the memory of a process, and has the worker take it.
    fn admit(&mut self, index: usize, parent: Option<u16>) -> bool {
        let Some(Some(connection)) = self.connections.get(index) else { return false };
        let user = connection.user;
        let of_user = self.places.iter().flatten().filter(|kept| kept.user.uid == user.uid).count();
        let Some(place) = self.places.iter().position(Option::is_none).filter(|_| of_user < self.per_user)
        else {
            return self.turn_away(index, libc::EMFILE);
        };
        match self.make(place as u16, user) {
            Ok((program, kept)) => {
                self.places[place] = Some(Kept { connection: Some(index), ..kept });
                if let Some(Some(connection)) = self.connections.get_mut(index) {
                    connection.state = State::Waiting(place as u16);
                }
                match parent {
                    None => self.order(Order::Attach(program)),
                    Some(parent) => self.order(Order::Inherit(program, parent)),
                }
            }
            Err(error) => {
                tracing::warn!(pid = user.pid, %error, "no memory for the sockets of a program");
                self.turn_away(index, error.raw_os_error().unwrap_or(libc::ENOMEM))
            }
        }
    }

    fn make(&self, place: u16, user: Credentials) -> io::Result<(Box<Program>, Kept)> {
        let (arena, fd) = Arena::create(self.geometry)?;
        let bell = Bell::new()?;
        let its_bell = bell.as_fd().try_clone_to_owned()?;
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|error| io::Error::other(error.to_string()))?;
        let kept = Kept { arena: fd, bell: its_bell, token, user, connection: None };
        Ok((Box::new(Program::new(place, arena, bell, user)), kept))
    }

    /// Tells the worker. The ring has room for more orders than there can be processes and adoptions on their way.
    fn order(&mut self, order: Order) -> bool {
        match self.ends.orders.push(order) {
            Ok(()) => true,
            Err(rtrb::PushError::Full(order)) => {
                if let Order::Attach(program) | Order::Inherit(program, _) = order {
                    self.refuse_place(program.place);
                }
                false
            }
        }
    }

    /// Takes what the worker answered. True when it is to be woken for more.
    fn collect(&mut self) -> bool {
        let mut ordered = false;
        while let Ok(done) = self.ends.done.pop() {
            match done {
                Done::Attached(place) => ordered |= self.welcome(place),
                Done::Refused(program) => self.refuse_place(program.place),
                Done::Adopted(place, found) => self.answer_adoption(place, found),
                Done::Gone(program) => {
                    if let Some(kept) = self.places.get_mut(usize::from(program.place)) {
                        *kept = None;
                    }
                }
            }
        }
        ordered
    }

    fn welcome(&mut self, place: u16) -> bool {
        let Some(Some(kept)) = self.places.get(usize::from(place)) else { return false };
        let index = kept.connection;
        let Some(Some(connection)) = index.and_then(|index| self.connections.get_mut(index)) else {
            // It went while it waited.
            return self.order(Order::Detach(place));
        };
        connection.state = State::Attached(place);
        let welcome = Welcome { geometry: self.geometry, token: kept.token, ..Welcome::plain(0) };
        let mut descriptors: Vec<BorrowedFd<'_>> =
            vec![kept.arena.as_fd(), self.page.as_fd(), kept.bell.as_fd()];
        descriptors.extend(self.bells.iter().map(AsFd::as_fd));
        if attach::send(&connection.socket, welcome.as_bytes(), &descriptors).is_err() {
            return index.is_some_and(|index| self.part(index));
        }
        tracing::debug!(pid = connection.user.pid, uid = connection.user.uid, place, "a program is attached");
        false
    }

    fn refuse_place(&mut self, place: u16) {
        let kept = self.places.get_mut(usize::from(place)).and_then(Option::take);
        if let Some(index) = kept.and_then(|kept| kept.connection) {
            if let Some(Some(connection)) = self.connections.get_mut(index) {
                connection.state = State::New;
            }
            self.turn_away(index, libc::ESRCH);
        }
    }

    fn answer_adoption(&mut self, place: u16, found: Result<Option<Found>, ()>) {
        let socket = |place: u16| {
            let kept = self.places.get(usize::from(place))?.as_ref()?;
            self.connections.get(kept.connection?)?.as_ref()
        };
        let Some(connection) = socket(place) else { return };
        let home = |found: Found| Some((found, self.places.get(usize::from(found.home))?.as_ref()?));
        let plain = Adopted { magic: MAGIC, ..Adopted::new_zeroed() };
        let sent = match found.map(|found| found.and_then(home)) {
            Err(()) => attach::send(
                &connection.socket,
                Adopted { status: libc::EBUSY as u32, ..plain }.as_bytes(),
                &[],
            ),
            Ok(None) => attach::send(
                &connection.socket,
                Adopted { status: libc::ENOENT as u32, ..plain }.as_bytes(),
                &[],
            ),
            Ok(Some((found, kept))) => {
                let domain = match found.family {
                    Family::Ipv4 => libc::AF_INET,
                    Family::Ipv6 => libc::AF_INET6,
                };
                let answer = Adopted {
                    slot: found.slot,
                    domain: domain as u32,
                    kind: found.socket_type as u32,
                    protocol: found.protocol as u32,
                    geometry: self.geometry,
                    home: kept.token,
                    ..plain
                };
                attach::send(&connection.socket, answer.as_bytes(), &[kept.arena.as_fd()])
            }
        };
        if let Err(error) = sent {
            // It hears nothing, and will notice that by its end of file when it is over.
            tracing::debug!(%error, pid = connection.user.pid, "a program did not take an answer");
        }
    }

    /// Says why not, and closes.
    fn turn_away(&mut self, index: usize, status: i32) -> bool {
        if let Some(Some(connection)) = self.connections.get(index) {
            let _gone = refuse(&connection.socket, status);
        }
        self.part(index)
    }

    /// A connection is over. True when the worker is to be woken.
    fn part(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else { return false };
        let fd = connection.socket.as_raw_fd();
        // The kernel forgets it anyway when it is closed.
        let _ = self.registry.deregister(&mut SourceFd(&fd));
        let (State::Waiting(place) | State::Attached(place)) = connection.state else { return false };
        if let Some(Some(kept)) = self.places.get_mut(usize::from(place)) {
            kept.connection = None;
        }
        // One that still waits is detached when the worker has it.
        matches!(connection.state, State::Attached(_)) && self.order(Order::Detach(place))
    }
}

/// Connections beyond the programs: of processes that have not said yet what they want.
const SPARE: usize = 16;

fn refuse(socket: &OwnedFd, status: i32) -> io::Result<()> {
    attach::send(socket, Welcome::plain(status as u32).as_bytes(), &[])
}

/// The beginning of every answer.
trait Plain {
    fn plain(status: u32) -> Self;
}

impl Plain for Welcome {
    fn plain(status: u32) -> Welcome {
        Welcome { magic: MAGIC, version: VERSION, status, ..Welcome::new_zeroed() }
    }
}
