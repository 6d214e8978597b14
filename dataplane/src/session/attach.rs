//! The attach server, on the control thread: admits processes, makes their memory, and tells the workers.
//!
//! ```text
//!   process            control thread                          each worker
//!   Hello ───────────> credentials, limits; arena, bell ─────> Order::Attach
//!   Welcome + memory <──────── when all have answered ──────── Done::Attached
//!   …
//!   end of file ──────────────────────────────────────────────> Order::Detach
//!                      memory goes, the place is free <──────── Done::Gone, the last one
//! ```
//!
//! The connection of a process is its attachment. Nothing here waits; events are edge-triggered, so that every connection
//! is read until it has no more.

use super::aside::Aside;
use super::limits::{
    MAX_ASIDE, MAX_ASIDE_OF_USER, MAX_SILENT_OF_USER, MESSAGES_AT_ONCE, ORDERS, RECLAIM_INTERVAL,
    RECLAIMED_AT_ONCE, SILENT_AT_MOST,
};
use super::order::{ControlEnds, Done, Found, Order};
use super::program::{Program, Shared};
use super::reclaim::Reclaim;
use super::socket::Credentials;
use super::wakers::Wakers;
use super::waking::Waking;
use crate::control::socket_file::{BindError, SocketFile};
use flumen_ipc::attach::{self, ADOPT, ATTACH, Adopted, Hello, INHERIT, MAGIC, VERSION, Welcome};
use flumen_ipc::bells::Bells;
use flumen_ipc::wake::Bell;
use flumen_ipc::{Arena, Geometry};
use flumen_stack::socket::Family;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::{Shutdown, SocketFlags, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// All workers.
const ALL: u64 = u64::MAX;

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
    ends: Vec<ControlEnds>,
    /// Rings when a worker answered.
    answered: Arc<Bell>,
    page: OwnedFd,
    geometry: Geometry,
    per_user: usize,
    connections: Vec<Option<Connection>>,
    aside: Aside,
    wakers: Wakers,
    places: Vec<Option<Kept>>,
    /// There was no descriptor for a connection that waits.
    is_starved: bool,
    /// When rings that nobody uses are looked for next.
    next_reclaim: Instant,
    /// The place of the program whose memory is given back next: all have their turn.
    reclaim_from: usize,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    user: Credentials,
    state: State,
    since: Instant,
}

impl Connection {
    fn is_silent(&self) -> bool {
        self.state == State::New
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Said nothing yet.
    New,
    /// The worker was told.
    Waiting(u16),
    /// It is attached.
    Attached(u16),
    /// It asked for a socket, and waits for the answer.
    Adopting(u16),
}

/// What is kept of a program as long as its memory is in use.
#[derive(Debug)]
struct Kept {
    arena: OwnedFd,
    reclaim: Reclaim,
    waking: Arc<Waking>,
    /// What it rings, for each worker.
    rings: Rings,
    token: [u8; 16],
    user: Credentials,
    /// Its connection; `None`: it is gone.
    connection: Option<usize>,
    /// The workers that have it, a bit for each.
    workers: u64,
    /// Answers that workers still owe.
    owed: usize,
    /// A worker did not take it.
    refused: bool,
    /// What workers said so far of the socket that it asks for.
    found: Result<Option<Found>, ()>,
}

/// The bells that a program rings, each with those that its worker hears. The program may keep the descriptors longer than it
/// is attached: nobody hears them then.
#[derive(Debug, Default)]
struct Rings(Vec<(Bell, Arc<Bells>)>);

impl Rings {
    fn new(ends: &[ControlEnds]) -> io::Result<Rings> {
        let one = |ends: &ControlEnds| {
            let bell = Bell::new()?;
            ends.rung.add(&bell)?;
            Ok((bell, Arc::clone(&ends.rung)))
        };
        ends.iter().map(one).collect::<io::Result<_>>().map(Rings)
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        self.0.iter().for_each(|(bell, rung)| rung.remove(bell));
    }
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
    /// ([`AttachServer::tokens`]). `ends` are of the rings to the workers, at most 64, and `answered` is what these ring; `page`
    /// is what every process gets.
    ///
    /// # Errors
    /// Those of a socket file; the system's.
    pub fn bind(
        settings: &Settings<'_>,
        (ends, answered): (Vec<ControlEnds>, Arc<Bell>),
        page: OwnedFd,
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
        let bell = answered.as_fd().as_raw_fd();
        let behind = Token(first.0 + 1);
        registry.register(&mut SourceFd(&bell), behind, Interest::READABLE).map_err(system("poll it"))?;
        let places = settings.programs.min(usize::from(u16::MAX)).min(ORDERS / 4);
        Ok(AttachServer {
            file,
            listener,
            registry,
            first: first.0,
            ends,
            answered,
            page,
            geometry: settings.geometry,
            per_user: settings.programs_per_user,
            connections: std::iter::repeat_with(|| None).take(places + SPARE).collect(),
            aside: Aside::default(),
            wakers: Wakers::default(),
            places: std::iter::repeat_with(|| None).take(places).collect(),
            is_starved: false,
            next_reclaim: Instant::now(),
            reclaim_from: 0,
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

    /// Descriptors of programs that are not closed yet.
    pub fn closing(&self) -> usize {
        self.aside.waiting()
    }

    /// Something happened. True when the workers are to be woken.
    pub fn on_event(&mut self, token: Token) -> bool {
        match token.0.checked_sub(self.first) {
            Some(0) => self.accept(),
            Some(1) => {
                self.answered.silence();
                self.collect()
            }
            Some(other) => self.read(other - 2),
            None => false,
        }
    }

    /// Takes connections. True when the workers are to be woken.
    fn accept(&mut self) -> bool {
        let (mut ordered, mut heard) = (false, None);
        for _ in 0..ACCEPTS_AT_ONCE {
            if self.aside.waiting() >= MAX_ASIDE {
                self.is_starved = true;
                return ordered;
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => return ordered,
                // There is no descriptor for it: it waits until the next look.
                Err(_) => {
                    self.is_starved = true;
                    return ordered;
                }
            };
            let user = match sockopt::socket_peercred(&socket) {
                Ok(user) => Credentials {
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                    pid: user.pid.as_raw_nonzero().get(),
                },
                // Nobody's, then: no user has this number (setuid(2) takes it for none).
                Err(_) => {
                    self.aside.close(u32::MAX, vec![socket]);
                    continue;
                }
            };
            if heard.replace(user.uid) != Some(user.uid) {
                ordered |= self.hear_silent_ones_of(user.uid);
            }
            let may_wait = self.silent_ones_of(user.uid).count() < MAX_SILENT_OF_USER;
            let free = self.connections.iter().position(Option::is_none);
            let Some(free) = free.filter(|_| may_wait) else {
                let _gone = refuse(&socket, libc::EMFILE);
                let _connected = rustix::net::shutdown(&socket, Shutdown::Both);
                self.aside.close(user.uid, vec![socket]);
                continue;
            };
            let token = Token(self.first + 2 + free);
            let fd = socket.as_raw_fd();
            match self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
                Ok(()) => {
                    let connection = Connection { socket, user, state: State::New, since: Instant::now() };
                    self.connections[free] = Some(connection);
                }
                Err(_) => self.aside.close(user.uid, vec![socket]),
            }
        }
        // More may wait.
        self.look_again();
        ordered
    }

    /// Connections of a user that have said nothing yet.
    fn silent_ones_of(&self, user: u32) -> impl Iterator<Item = usize> {
        let silent = self.connections.iter().enumerate().filter(move |(_, connection)| {
            connection.as_ref().is_some_and(|one| one.is_silent() && one.user.uid == user)
        });
        silent.map(|(index, _)| index)
    }

    /// When a user has as many silent connections as he may, some of them may have spoken meanwhile: many programs that begin at
    /// once are no attack. True when the workers are to be woken.
    fn hear_silent_ones_of(&mut self, user: u32) -> bool {
        if self.silent_ones_of(user).count() < MAX_SILENT_OF_USER {
            return false;
        }
        let silent: Vec<usize> = self.silent_ones_of(user).collect();
        let mut ordered = false;
        for index in silent {
            ordered |= self.read(index);
        }
        ordered
    }

    /// Parts with those that have said nothing for too long.
    fn part_with_silent_ones(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let is_late = |one: &Connection| one.is_silent() && now >= one.since + SILENT_AT_MOST;
            if self.connections[index].as_ref().is_some_and(is_late) {
                self.turn_away(index, libc::ETIMEDOUT);
            }
        }
    }

    /// Has the kernel tell anew that connections wait.
    fn look_again(&self) {
        let fd = self.listener.as_raw_fd();
        let _still_registered =
            self.registry.reregister(&mut SourceFd(&fd), Token(self.first), Interest::READABLE);
    }

    /// What is done now and then: to be called some times a second.
    pub fn housekeeping(&mut self, now: Instant) {
        if core::mem::take(&mut self.is_starved) {
            self.look_again();
        }
        self.aside.try_again();
        if now >= self.next_reclaim {
            self.next_reclaim = now + RECLAIM_INTERVAL;
            self.part_with_silent_ones(now);
            self.wakers.housekeeping();
            self.places.iter_mut().flatten().for_each(|kept| kept.reclaim.look());
            return;
        }
        let mut left = RECLAIMED_AT_ONCE;
        for _ in 0..self.places.len() {
            let place = self.reclaim_from % self.places.len();
            if let Some(Some(kept)) = self.places.get_mut(place) {
                left -= kept.reclaim.give_back(&kept.arena, &self.geometry, left);
            }
            self.reclaim_from = place + 1;
            if left == 0 {
                break;
            }
        }
    }

    /// Reads what a process says. True when the workers are to be woken.
    fn read(&mut self, index: usize) -> bool {
        let mut ordered = false;
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(Some(connection)) = self.connections.get(index) else { return ordered };
            let user = connection.user.uid;
            let mut buffer = [0; size_of::<Hello>()];
            match attach::receive_any(&connection.socket, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ordered,
                Ok(message) => {
                    let hello = Hello::read_from_bytes(&buffer).ok();
                    let hello = hello.filter(|_| message.is_whole && message.len == buffer.len());
                    match &hello {
                        Some(hello) => ordered |= self.hear(index, hello, &message.descriptors),
                        // The end, or something that is no message of ours.
                        None => ordered |= self.part(index),
                    }
                    // Connections are closed there, too: who only speaks is not parted with for those of others.
                    let passes = !message.descriptors.is_empty();
                    self.aside.close(user, message.descriptors);
                    if passes && self.aside.waiting_of(user) > MAX_ASIDE_OF_USER {
                        ordered |= self.part(index);
                    }
                }
                Err(_) => return self.part(index) || ordered,
            }
        }
        // It may have more to say: the kernel tells so anew, behind what others say.
        if let Some(Some(connection)) = self.connections.get(index) {
            let fd = connection.socket.as_raw_fd();
            let token = Token(self.first + 2 + index);
            let _still_registered = self.registry.reregister(&mut SourceFd(&fd), token, Interest::READABLE);
        }
        ordered
    }

    /// A process said something. True when the workers are to be woken.
    fn hear(&mut self, index: usize, hello: &Hello, descriptors: &[OwnedFd]) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return false };
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
                let named = descriptors.first().and_then(|socket| {
                    // The kernel says who made it: of a socket's inode, the user is that one.
                    Some((sockopt::socket_cookie(socket).ok()?, rustix::fs::fstat(socket).ok()?.st_uid))
                });
                let Some((cookie, maker)) = named else {
                    self.answer_adoption(place, Ok(None));
                    return false;
                };
                // One at a time: so there is room for what all ask. Whose socket it is, one of the workers knows.
                connection.state = State::Adopting(place);
                let owed =
                    self.order(ALL, || Order::Adopt { program: place, slot: hello.slot, cookie, maker });
                if let Some(Some(kept)) = self.places.get_mut(usize::from(place)) {
                    kept.owed = owed;
                }
                owed > 0 || self.settle(place)
            }
            _ => self.turn_away(index, libc::EPROTO),
        }
    }

    /// Makes the memory of a process, and has the workers take it.
    fn admit(&mut self, index: usize, parent: Option<u16>) -> bool {
        let Some(Some(connection)) = self.connections.get(index) else { return false };
        let user = connection.user;
        let of_user = self.places.iter().flatten().filter(|kept| kept.user.uid == user.uid).count();
        let Some(place) = self.places.iter().position(Option::is_none).filter(|_| of_user < self.per_user)
        else {
            return self.turn_away(index, libc::EMFILE);
        };
        match self.make(user) {
            Ok((shared, kept)) => {
                if let Some(Some(connection)) = self.connections.get_mut(index) {
                    connection.state = State::Waiting(place as u16);
                }
                let owed = self.order(ALL, || {
                    let program = Box::new(Program::new(place as u16, &shared));
                    match parent {
                        None => Order::Attach(program),
                        Some(parent) => Order::Inherit(program, parent),
                    }
                });
                let refused = owed < self.ends.len();
                self.places[place] = Some(Kept { connection: Some(index), owed, refused, ..kept });
                owed > 0 || self.settle(place as u16)
            }
            Err(error) => {
                tracing::warn!(pid = user.pid, %error, "no memory for the sockets of a program");
                self.turn_away(index, error.raw_os_error().unwrap_or(libc::ENOMEM))
            }
        }
    }

    fn make(&self, user: Credentials) -> io::Result<(Shared, Kept)> {
        let (arena, fd) = Arena::create(self.geometry)?;
        let shared = Shared::new(arena, Bell::new()?, user);
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|error| io::Error::other(error.to_string()))?;
        let kept = Kept {
            arena: fd,
            reclaim: Reclaim::new(shared.homes().clone()),
            waking: Arc::clone(&shared.waking),
            rings: Rings::new(&self.ends)?,
            token,
            user,
            connection: None,
            workers: 0,
            owed: 0,
            refused: false,
            found: Ok(None),
        };
        Ok((shared, kept))
    }

    /// Tells these workers (a bit for each) what `order` makes, and says how many were told. (A ring has room for more orders than
    /// there can be processes that begin, ask for a socket, and end.)
    fn order(&mut self, workers: u64, mut order: impl FnMut() -> Order) -> usize {
        let ends = self.ends.iter_mut().enumerate().filter(|(worker, _)| workers & 1 << worker != 0);
        ends.filter_map(|(_, ends)| ends.orders.push(order()).ok()).count()
    }

    /// Takes what the workers answered. True when they are to be woken for more.
    fn collect(&mut self) -> bool {
        let mut ordered = false;
        for worker in 0..self.ends.len() {
            while let Some(Ok(done)) = self.ends.get_mut(worker).map(|ends| ends.done.pop()) {
                ordered |= self.hear_of(worker, done);
            }
        }
        ordered
    }

    /// A worker answered. True when the workers are to be woken.
    fn hear_of(&mut self, worker: usize, done: Done) -> bool {
        let place = match &done {
            Done::Attached(place) | Done::Adopted(place, _) | Done::Aside(place) => *place,
            Done::Refused(program) | Done::Gone(program) => program.place,
        };
        let Some(Some(kept)) = self.places.get_mut(usize::from(place)) else { return false };
        match done {
            Done::Attached(_) => kept.workers |= 1 << worker,
            Done::Refused(_) => kept.refused = true,
            Done::Adopted(_, Ok(None)) => {}
            Done::Adopted(_, found) => kept.found = found,
            Done::Aside(_) => {
                let user = kept.user;
                tracing::warn!(
                    pid = user.pid,
                    uid = user.uid,
                    "a program takes long to wake: it is woken aside"
                );
                self.wakers.take(&kept.waking);
                return false;
            }
            Done::Gone(_) => {
                kept.workers &= !(1 << worker);
                self.forget(place);
                return false;
            }
        }
        kept.owed = kept.owed.saturating_sub(1);
        kept.owed == 0 && self.settle(place)
    }

    /// All workers have answered. True when they are to be woken.
    fn settle(&mut self, place: u16) -> bool {
        let Some(Some(kept)) = self.places.get_mut(usize::from(place)) else { return false };
        let (index, refused) = (kept.connection, kept.refused);
        let found = core::mem::replace(&mut kept.found, Ok(None));
        let connection = index.and_then(|index| self.connections.get_mut(index)?.as_mut());
        match connection.map(|connection| connection.state) {
            Some(State::Adopting(_)) => {
                self.answer_adoption(place, found);
                false
            }
            Some(_) if !refused => self.welcome(place),
            Some(_) => {
                if let Some(index) = index {
                    self.turn_away(index, libc::ESRCH);
                }
                self.detach(place)
            }
            // It went while it waited.
            None => self.detach(place),
        }
    }

    /// Has the workers let go of a process, as far as they have it. True when they are to be woken.
    fn detach(&mut self, place: u16) -> bool {
        let Some(Some(kept)) = self.places.get(usize::from(place)) else { return false };
        let told = self.order(kept.workers, || Order::Detach(place));
        self.forget(place);
        told > 0
    }

    /// A place is free once no worker has the process any more, and it is gone itself.
    fn forget(&mut self, place: u16) {
        if let Some(slot) = self.places.get_mut(usize::from(place)) {
            slot.take_if(|kept| kept.workers == 0 && kept.owed == 0 && kept.connection.is_none());
        }
    }

    fn welcome(&mut self, place: u16) -> bool {
        let Some(Some(kept)) = self.places.get(usize::from(place)) else { return false };
        let index = kept.connection;
        let Some(Some(connection)) = index.and_then(|index| self.connections.get_mut(index)) else {
            return false;
        };
        connection.state = State::Attached(place);
        let welcome = Welcome { geometry: self.geometry, token: kept.token, ..Welcome::plain(0) };
        let mut descriptors: Vec<BorrowedFd<'_>> =
            vec![kept.arena.as_fd(), self.page.as_fd(), kept.waking.bell().as_fd()];
        descriptors.extend(kept.rings.0.iter().map(|(bell, _)| bell.as_fd()));
        if attach::send(&connection.socket, welcome.as_bytes(), &descriptors).is_err() {
            return index.is_some_and(|index| self.part(index));
        }
        tracing::debug!(pid = connection.user.pid, uid = connection.user.uid, place, "a program is attached");
        false
    }

    fn answer_adoption(&mut self, place: u16, found: Result<Option<Found>, ()>) {
        let index = self.places.get(usize::from(place)).and_then(|kept| kept.as_ref()?.connection);
        let Some(Some(connection)) = index.and_then(|index| self.connections.get_mut(index)) else { return };
        connection.state = State::Attached(place);
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
                    worker: found.worker,
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

    /// A connection is over. True when the workers are to be woken.
    fn part(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else { return false };
        let fd = connection.socket.as_raw_fd();
        // The kernel forgets it anyway when it is closed.
        let _ = self.registry.deregister(&mut SourceFd(&fd));
        // Its end is told now, and it is closed aside, with what nobody took of its queue.
        let _connected = rustix::net::shutdown(&connection.socket, Shutdown::Both);
        self.aside.close(connection.user.uid, vec![connection.socket]);
        let place = match connection.state {
            State::New => return false,
            State::Waiting(place) | State::Attached(place) | State::Adopting(place) => place,
        };
        let Some(Some(kept)) = self.places.get_mut(usize::from(place)) else { return false };
        kept.connection = None;
        kept.rings = Rings::default();
        // One that still waits is detached when all workers have answered.
        kept.owed == 0 && !kept.refused && self.detach(place)
    }
}

/// Connections beyond the programs, of processes that have not said yet what they want: two users may have as many as they may.
const SPARE: usize = 2 * MAX_SILENT_OF_USER;

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
