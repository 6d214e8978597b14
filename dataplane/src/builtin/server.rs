//! What all services over TCP have in common: listening, accepting, remembering, and ending what is idle. What
//! they say to their peers is their own: [`Talk`].
//!
//! ```text
//!   READABLE of a listener ──> accept all that wait ──> a place in the table ──> Talk::begin
//!   news of a connection   ──> its place ──> Talk::on_news ──> stay, or close and give the place back
//!   nothing for too long   ──> Talk::on_idle ──> the same
//! ```
//!
//! When the table is full, connections wait in the accept queue, which makes the stack refuse more when its
//! backlog is full; the next place that is given back takes the first of them.
//!
//! A call works until the socket has nothing to read and no room to write. That is bounded by the buffers of one
//! connection: they only change between turns.

use super::Shared;
use super::api::{Error, ListenOptions, Sockets};
use super::connections::Connections;
use core::net::SocketAddr;
use core::time::Duration;
use flumen_stack::Instant;
use flumen_stack::socket::{Handle, Owner, Ready};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Stay,
    /// It is over: what was written is still sent.
    Close,
    /// It is over, and nothing of it is worth sending.
    Abort,
}

impl From<Error> for After {
    /// What an error of a call means for a connection.
    fn from(error: Error) -> After {
        match error {
            Error::WouldBlock => After::Stay,
            _ => After::Abort,
        }
    }
}

/// What a service says to its peers.
pub trait Talk {
    /// What it remembers of each connection.
    type State;

    /// The state of a new connection.
    fn begin(&mut self) -> Self::State;

    /// Something happened to a connection, or it is new: reads and writes until there is nothing to do.
    fn on_news<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        socket: Handle,
        state: &mut Self::State,
    ) -> After;

    /// Nothing happened for the idle time.
    fn on_idle<S: Sockets>(
        &mut self,
        _shared: &mut Shared,
        _sockets: &mut S,
        _socket: Handle,
        _state: &mut Self::State,
    ) -> After {
        After::Abort
    }

    /// A connection is over.
    fn end(&mut self, _state: Self::State) {}
}

/// A service over TCP.
#[derive(Debug)]
pub struct Server<T: Talk> {
    /// What it says.
    pub talk: T,
    owner: Owner,
    listeners: Vec<Handle>,
    connections: Connections<T::State>,
    starving: bool,
}

impl<T: Talk> Server<T> {
    /// A service with room for `capacity` connections, whose sockets are told apart by what it adds to `owner`:
    /// its low 32 bits are zero.
    pub fn new(talk: T, owner: Owner, capacity: usize, idle: Duration) -> Self {
        let connections = Connections::new(capacity, idle);
        Server { talk, owner, listeners: Vec::new(), connections, starving: false }
    }

    /// Listens at one more address.
    ///
    /// # Errors
    /// Those of [`Sockets::tcp_listen`].
    pub fn listen<S: Sockets>(
        &mut self,
        sockets: &mut S,
        at: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(), Error> {
        self.listeners.push(sockets.tcp_listen(self.owner, at, options)?);
        Ok(())
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Connections wait at a listener.
    pub fn on_listener<S: Sockets>(&mut self, shared: &mut Shared, sockets: &mut S, listener: Handle) {
        loop {
            let Some(place) = self.connections.insert(sockets.now(), self.talk.begin()) else {
                self.starving = true;
                return;
            };
            let Ok((socket, _)) = sockets.tcp_accept(listener, self.owner_of(place)) else {
                self.forget(place);
                return;
            };
            self.connections.set_socket(place, socket);
            self.on_connection(shared, sockets, place, socket, Ready::NONE);
        }
    }

    /// Something happened to the connection at `place`.
    #[inline]
    pub fn on_connection<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        place: u32,
        socket: Handle,
        news: Ready,
    ) {
        // News of a connection that is over, which were on their way: nobody's.
        let Some(state) = self.connections.active(place, socket, sockets.now()) else { return };
        let after = match self.talk.on_news(shared, sockets, socket, state) {
            After::Stay if news.contains(Ready::CLOSED) => After::Close,
            after => after,
        };
        self.settle(sockets, place, socket, after);
        self.feed(shared, sockets);
    }

    /// Ends what was idle for too long: at most `most` connections.
    pub fn on_timer<S: Sockets>(&mut self, shared: &mut Shared, sockets: &mut S, most: usize) {
        for _ in 0..most {
            let Some((place, socket, state)) = self.connections.expire(sockets.now()) else { break };
            let Some(socket) = socket else { continue };
            let after = self.talk.on_idle(shared, sockets, socket, state);
            self.settle(sockets, place, socket, after);
        }
        self.feed(shared, sockets);
    }

    /// When [`Server::on_timer`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        self.connections.next_deadline()
    }

    fn settle<S: Sockets>(&mut self, sockets: &mut S, place: u32, socket: Handle, after: After) {
        match after {
            After::Stay => return,
            After::Close => sockets.tcp_close(socket),
            After::Abort => sockets.tcp_abort(socket),
        }
        self.forget(place);
    }

    fn forget(&mut self, place: u32) {
        if let Some(state) = self.connections.remove(place) {
            self.talk.end(state);
        }
    }

    /// Takes connections that found no place before. The flag is taken down first, so that a service whose talk is
    /// over at once does not come back here for each.
    fn feed<S: Sockets>(&mut self, shared: &mut Shared, sockets: &mut S) {
        if self.starving && !self.connections.is_full() {
            self.starving = false;
            for index in 0..self.listeners.len() {
                self.on_listener(shared, sockets, self.listeners[index]);
            }
        }
    }

    /// The word that the news of the connection at `place` come with.
    fn owner_of(&self, place: u32) -> Owner {
        Owner(self.owner.0 | u64::from(place))
    }
}
