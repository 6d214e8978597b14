//! Built-in services: what talks to clients over the sockets of the data plane, by configuration.
//!
//! ```text
//!   worker's turn:  packets in, timers ──> news of sockets ──> Services::on_event ──> the turn's output
//!                                             │ owner: which service, which connection
//!                                             ▼
//!                     echo  discard  chargen  daytime  http          (TCP: Talk, UDP: datagrams)
//! ```
//!
//! Every worker has all services, with listeners of its own: a connection lives where its packets arrive. A
//! service runs to completion in the turn in which something happened to its socket, and never waits. The
//! word that names the owner of a socket says which service, and which connection of it:
//!
//! ```text
//!   63 ………… 32 │ 31 ………… 0
//!     service   │ place in the service's table of connections; 0 for listeners and UDP
//!   bit 63: a session's, see `session`
//! ```

pub mod api;
pub mod chargen;
pub mod connections;
pub mod daytime;
pub mod discard;
pub mod echo;
pub mod host;
pub mod http;
pub mod pattern;
pub mod server;
pub mod udp;
pub mod wall;

#[cfg(test)]
mod fake;

use crate::config::model::{self, ServiceKind};
use crate::service::transport;
use crate::session::{self, Sessions};
use api::{Error, ListenOptions, Sockets};
use chargen::Chargen;
use core::net::SocketAddr;
use core::time::Duration;
use daytime::Daytime;
use discard::Discard;
use echo::Echo;
use flumen_stack::socket::{Handle, Owner, Ready, SocketId};
use flumen_stack::tcp::user::SocketOption;
use flumen_stack::{FramePool, Instant, Probe, Stack, Turn};
use host::Host;
use http::files::{File, FilesError};
use http::{Http, site::Site};
use pattern::Pattern;
use server::{Server, Talk};
use wall::{Date, Wall};

/// Bytes of the scratch buffer: the longest datagram.
const SCRATCH: usize = 65_535;

/// Connections that are ended for being idle, by one service in one turn: as a burst of packets, no more than
/// other connections can wait for.
const EXPIRED_IN_A_TURN: usize = flumen_stack::limits::BURST;

/// What the services of a worker share.
#[derive(Debug)]
pub struct Shared {
    /// The time of day.
    pub wall: Wall,
    /// Room for what is neither in a receive buffer nor in a send buffer; only within one call.
    pub scratch: Box<[u8]>,
    /// The endless stream.
    pub pattern: Pattern,
    random: u64,
}

impl Shared {
    fn new(seed: u64) -> Shared {
        let scratch = vec![0; SCRATCH].into_boxed_slice();
        Shared { wall: Wall::default(), scratch, pattern: Pattern::default(), random: seed }
    }

    /// A number that looks random (splitmix64); nothing secret depends on it.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The line of the daytime service.
    pub fn daytime(&self, now: Instant) -> arrayvec::ArrayString<64> {
        Date::of(self.wall.seconds(now)).daytime()
    }
}

/// A service's configuration, with what was read from disk for it; the same for all workers.
#[derive(Debug, Clone)]
pub struct Plan {
    service: model::Service,
    files: Vec<File>,
    listen: ListenOptions,
    receive_buffer: usize,
}

/// Reads what the services need from disk: once, before the workers start.
///
/// # Errors
/// A directory that cannot be served, and the service that it is for, counted from 0.
pub fn prepare(
    services: &[model::Service],
    tcp: &model::Tcp,
    udp: &model::Udp,
) -> Result<Vec<Plan>, (usize, FilesError)> {
    let plan = |(number, service): (usize, &model::Service)| {
        let directory = match &service.kind {
            ServiceKind::Http(http) => http.directory.as_deref(),
            _ => None,
        };
        let files = directory.map_or(Ok(Vec::new()), http::files::load).map_err(|error| (number, error))?;
        // Small answers go at once: whoever asks waits for them.
        let listen = ListenOptions {
            settings: transport::listen_settings(tcp, service.backlog),
            v6_only: true,
            options: vec![SocketOption::NoDelay(true)],
            ..ListenOptions::default()
        };
        Ok(Plan { service: service.clone(), files, listen, receive_buffer: udp.receive_buffer })
    };
    services.iter().enumerate().map(plan).collect()
}

/// A socket of a service that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{service} cannot listen at {at}: {error}")]
pub struct StartError {
    /// What kind of service.
    pub service: &'static str,
    /// Where.
    pub at: SocketAddr,
    /// Why.
    pub error: Error,
}

/// One service: what it says over TCP, and over UDP.
#[derive(Debug)]
enum Service {
    Echo(Server<Echo>),
    Discard(Server<Discard>),
    Chargen(Server<Chargen>),
    Daytime(Server<Daytime>),
    Http(Box<Server<Http>>),
}

/// `$body` with `$server` as the server of `$service`, whatever it says.
macro_rules! with_server {
    ($service:expr, $server:ident => $body:expr) => {
        match $service {
            Service::Echo($server) => $body,
            Service::Discard($server) => $body,
            Service::Chargen($server) => $body,
            Service::Daytime($server) => $body,
            Service::Http($server) => $body,
        }
    };
}

/// The services of a worker.
#[derive(Debug)]
pub struct Services {
    services: Vec<Service>,
    shared: Shared,
}

impl Default for Services {
    /// None.
    fn default() -> Self {
        Services { services: Vec::new(), shared: Shared::new(0) }
    }
}

impl Services {
    /// The part of the services in a turn: who has news hears them, and who was idle for too long goes. What they say
    /// leaves with [`Stack::output`]. News of the sockets of programs go to their `sessions`.
    #[inline]
    pub fn turn<P: FramePool, M: Probe>(
        &mut self,
        stack: &mut Stack<P::Frame>,
        turn: &mut Turn<'_, P, M>,
        mut sessions: Option<&mut Sessions>,
    ) {
        let idle = turn.now >= self.next_deadline();
        if stack.events.is_empty() && !idle {
            return;
        }
        let mut host = Host { stack, turn };
        // News that come up meanwhile are heard in the next turn, so that packets do not wait for ever.
        for _ in 0..host.stack.events.len() {
            let Some((owner, socket, news)) = host.stack.next_event() else { break };
            match &mut sessions {
                Some(sessions) if session::is_owner(owner) => sessions.on_event(owner, socket, news),
                _ => self.on_event(&mut host, owner, socket, news),
            }
        }
        if idle {
            self.on_timer(&mut host);
        }
    }

    /// Makes the services and opens their sockets.
    ///
    /// # Errors
    /// The first socket that cannot be opened.
    pub fn start<S: Sockets>(plans: &[Plan], seed: u64, sockets: &mut S) -> Result<Services, StartError> {
        let mut services = Vec::with_capacity(plans.len());
        for (number, plan) in plans.iter().enumerate() {
            let owner = Owner((number as u64) << 32);
            let mut service = make(plan, owner);
            open(&mut service, plan, owner, sockets)?;
            services.push(service);
        }
        Ok(Services { services, shared: Shared::new(seed) })
    }

    /// Something happened to a socket.
    #[inline]
    pub fn on_event<S: Sockets>(&mut self, sockets: &mut S, owner: Owner, socket: SocketId, news: Ready) {
        let shared = &mut self.shared;
        let Some(service) = self.services.get_mut((owner.0 >> 32) as usize) else { return };
        match socket {
            SocketId::Tcp(handle) => {
                let place = owner.0 as u32;
                with_server!(service, server => server.on_connection(shared, sockets, place, handle, news));
            }
            SocketId::Listener(handle) => {
                with_server!(service, server => server.on_listener(shared, sockets, handle));
            }
            SocketId::Udp(handle) => on_datagrams(service, shared, sockets, handle),
            SocketId::Raw(_) => {} // services have none
        }
    }

    /// Ends connections that were idle for too long.
    pub fn on_timer<S: Sockets>(&mut self, sockets: &mut S) {
        let shared = &mut self.shared;
        for service in &mut self.services {
            with_server!(service, server => server.on_timer(shared, sockets, EXPIRED_IN_A_TURN));
        }
    }

    /// When [`Services::on_timer`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        let deadline = |service: &Service| with_server!(service, server => server.next_deadline());
        self.services.iter().map(deadline).min().unwrap_or(Instant::NEVER)
    }

    /// Corrects the time of day: at `now` it is `unix` after 1970.
    pub fn set_wall(&mut self, now: Instant, unix: Duration) {
        self.shared.wall = Wall::at(now, unix);
    }

    /// Connections of each service, in the order of the configuration.
    pub fn connections(&self) -> impl Iterator<Item = usize> {
        self.services.iter().map(|service| with_server!(service, server => server.connections()))
    }
}

fn make(plan: &Plan, owner: Owner) -> Service {
    let model::Service { kind, connections, idle_timeout, .. } = &plan.service;
    fn server<T: Talk>(talk: T, owner: Owner, connections: usize, idle: Duration) -> Server<T> {
        Server::new(talk, owner, connections, idle)
    }
    let (connections, idle) = (*connections, *idle_timeout);
    match kind {
        ServiceKind::Echo => Service::Echo(server(Echo, owner, connections, idle)),
        ServiceKind::Discard => Service::Discard(server(Discard, owner, connections, idle)),
        ServiceKind::Chargen => Service::Chargen(server(Chargen, owner, connections, idle)),
        ServiceKind::Daytime => Service::Daytime(server(Daytime, owner, connections, idle)),
        ServiceKind::Http(http) => {
            let talk = Http::new(Site::new(http, &plan.files), connections);
            Service::Http(Box::new(server(talk, owner, connections, idle)))
        }
    }
}

fn open<S: Sockets>(
    service: &mut Service,
    plan: &Plan,
    owner: Owner,
    sockets: &mut S,
) -> Result<(), StartError> {
    let config = &plan.service;
    for &at in &config.listen {
        let failed = |error| StartError { service: config.kind.name(), at, error };
        if config.tcp {
            with_server!(service, server => server.listen(sockets, at, &plan.listen)).map_err(failed)?;
        }
        if config.udp {
            sockets.udp_open(owner, at, plan.receive_buffer).map_err(failed)?;
        }
    }
    Ok(())
}

fn on_datagrams<S: Sockets>(service: &Service, shared: &mut Shared, sockets: &mut S, socket: Handle) {
    match service {
        Service::Echo(_) => echo::datagrams(shared, sockets, socket),
        Service::Discard(_) => discard::datagrams(shared, sockets, socket),
        Service::Chargen(_) => chargen::datagrams(shared, sockets, socket),
        Service::Daytime(_) => daytime::datagrams(shared, sockets, socket),
        Service::Http(_) => {} // only over TCP: the configuration has seen to that
    }
}

#[cfg(test)]
mod tests;
