//! A host made of lists: what services see of sockets, with buffers of a chosen size, and a client's end for tests.

use super::api::{Datagram, Error, ListenOptions, Shutdown, Sockets};
use core::net::{IpAddr, SocketAddr};
use flumen_stack::Instant;
use flumen_stack::socket::{EventQueue, Handle, Owner, Pending, Ready, Slab, SocketId};
use std::collections::VecDeque;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    pending: Pending,
    /// What the client sent and the service has not read.
    pub inbox: VecDeque<u8>,
    /// What the service sent and the client has not read.
    pub outbox: Vec<u8>,
    /// The client sends no more.
    pub client_is_done: bool,
    /// The service sends no more.
    pub service_is_done: bool,
    reset: bool,
    client: SocketAddr,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    pending: Pending,
    at: SocketAddr,
    /// What it was made with.
    pub options: ListenOptions,
    waiting: VecDeque<Connection>,
}

/// A datagram socket.
#[derive(Debug)]
pub struct Udp {
    pending: Pending,
    at: SocketAddr,
    inbox: VecDeque<(SocketAddr, IpAddr, Vec<u8>)>,
}

/// The host.
#[derive(Debug)]
pub struct Host {
    /// The time.
    pub now: Instant,
    /// Bytes of a send buffer.
    pub send_buffer: usize,
    /// Bytes that are shown at once.
    pub piece: usize,
    events: EventQueue,
    listeners: Slab<Listener>,
    /// Connections that a service has.
    pub connections: Slab<Connection>,
    udp: Slab<Udp>,
    /// What ended, and how: true for a reset.
    pub ended: Vec<(Handle, bool, Connection)>,
    /// Datagrams that services sent: source address, destination, content.
    pub datagrams: Vec<(Option<IpAddr>, SocketAddr, Vec<u8>)>,
}

impl Host {
    pub fn new() -> Host {
        Host {
            now: Instant::from_millis(1),
            send_buffer: 1 << 16,
            piece: usize::MAX,
            events: EventQueue::new(64),
            listeners: Slab::new(8),
            connections: Slab::new(64),
            udp: Slab::new(8),
            ended: Vec::new(),
            datagrams: Vec::new(),
        }
    }

    /// The next news.
    pub fn next_event(&mut self) -> Option<(Owner, SocketId, Ready)> {
        loop {
            let socket = self.events.pop()?;
            let pending = match socket {
                SocketId::Tcp(handle) => self.connections.get_mut(handle).map(|one| &mut one.pending),
                SocketId::Listener(handle) => self.listeners.get_mut(handle).map(|one| &mut one.pending),
                SocketId::Udp(handle) => self.udp.get_mut(handle).map(|one| &mut one.pending),
                SocketId::Raw(_) => None,
            };
            if let Some(pending) = pending {
                return Some((pending.owner, socket, pending.take()));
            }
        }
    }

    /// What the listener at `port` was made with.
    pub fn listens(&self, port: u16) -> Option<ListenOptions> {
        self.listeners.iter().find(|(_, one)| one.at.port() == port).map(|(_, one)| one.options.clone())
    }

    /// A client connects to `port`, sends `text` at once, and perhaps the end.
    pub fn connect(&mut self, port: u16, text: &str, done: bool) {
        let client = SocketAddr::from(([192, 0, 2, 9], 40_000));
        let connection = Connection {
            pending: Pending::default(),
            inbox: text.bytes().collect(),
            outbox: Vec::new(),
            client_is_done: done,
            service_is_done: false,
            reset: false,
            client,
        };
        let (handle, _) = self.listeners.iter().find(|(_, one)| one.at.port() == port).unwrap();
        let listener = self.listeners.get_mut(handle).unwrap();
        listener.waiting.push_back(connection);
        listener.pending.add(&mut self.events, SocketId::Listener(handle), Ready::READABLE);
    }

    /// The client sends more.
    pub fn send(&mut self, handle: Handle, text: &str, done: bool) {
        let one = self.connections.get_mut(handle).unwrap();
        one.inbox.extend(text.bytes());
        one.client_is_done |= done;
        one.pending.add(&mut self.events, SocketId::Tcp(handle), Ready::READABLE);
    }

    /// The client reads all.
    pub fn read(&mut self, handle: Handle) -> String {
        let one = self.connections.get_mut(handle).unwrap();
        let text = String::from_utf8(core::mem::take(&mut one.outbox)).unwrap();
        one.pending.add(&mut self.events, SocketId::Tcp(handle), Ready::WRITABLE);
        text
    }

    /// The client resets the connection.
    pub fn reset(&mut self, handle: Handle) {
        let one = self.connections.get_mut(handle).unwrap();
        one.reset = true;
        one.pending.add(&mut self.events, SocketId::Tcp(handle), Ready::ERROR | Ready::CLOSED);
    }

    /// A datagram arrives at `port`.
    pub fn datagram(&mut self, port: u16, from: SocketAddr, to: IpAddr, text: &str) {
        let (handle, _) = self.udp.iter().find(|(_, one)| one.at.port() == port).unwrap();
        let one = self.udp.get_mut(handle).unwrap();
        one.inbox.push_back((from, to, text.as_bytes().to_vec()));
        one.pending.add(&mut self.events, SocketId::Udp(handle), Ready::READABLE);
    }

    fn end(&mut self, handle: Handle, reset: bool) {
        if let Some(connection) = self.connections.remove(handle) {
            self.ended.push((handle, reset, connection));
        }
    }
}

impl Sockets for Host {
    fn now(&self) -> Instant {
        self.now
    }

    fn tcp_listen(&mut self, owner: Owner, at: SocketAddr, options: &ListenOptions) -> Result<Handle, Error> {
        if self.listeners.iter().any(|(_, one)| one.at == at) {
            return Err(Error::AddressInUse);
        }
        let pending = Pending::new(owner);
        let listener = Listener { pending, at, options: options.clone(), waiting: VecDeque::new() };
        self.listeners.insert(listener).map_err(|_| Error::NoBuffers)
    }

    fn tcp_accept(&mut self, listener: Handle, owner: Owner) -> Result<(Handle, SocketAddr), Error> {
        let listener = self.listeners.get_mut(listener).ok_or(Error::BadHandle)?;
        let mut connection = listener.waiting.pop_front().ok_or(Error::WouldBlock)?;
        connection.pending = Pending::new(owner);
        let client = connection.client;
        Ok((self.connections.insert(connection).map_err(|_| Error::NoBuffers)?, client))
    }

    fn tcp_send(&mut self, socket: Handle, bytes: &[u8]) -> Result<usize, Error> {
        let room = self.send_buffer;
        let one = self.connections.get_mut(socket).ok_or(Error::BadHandle)?;
        if one.reset {
            return Err(Error::ConnectionReset);
        }
        assert!(!one.service_is_done, "said something after its end");
        match room.saturating_sub(one.outbox.len()).min(bytes.len()) {
            0 => Err(Error::WouldBlock),
            count => {
                one.outbox.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
        }
    }

    fn tcp_recv_with(&mut self, socket: Handle, take: impl FnOnce(&[u8]) -> usize) -> Result<usize, Error> {
        let piece = self.piece;
        let one = self.connections.get_mut(socket).ok_or(Error::BadHandle)?;
        if one.reset {
            return Err(Error::ConnectionReset);
        }
        if one.inbox.is_empty() && !one.client_is_done {
            return Err(Error::WouldBlock);
        }
        let shown = one.inbox.make_contiguous();
        let shown = &shown[..shown.len().min(piece)];
        let taken = take(shown);
        assert!(taken <= shown.len());
        one.inbox.drain(..taken);
        Ok(taken)
    }

    fn tcp_shutdown(&mut self, socket: Handle, how: Shutdown) -> Result<(), Error> {
        let one = self.connections.get_mut(socket).ok_or(Error::BadHandle)?;
        one.service_is_done |= how != Shutdown::Read;
        Ok(())
    }

    fn tcp_close(&mut self, socket: Handle) {
        self.end(socket, false);
    }

    fn tcp_abort(&mut self, socket: Handle) {
        self.end(socket, true);
    }

    fn udp_open(&mut self, owner: Owner, at: SocketAddr, _receive_buffer: usize) -> Result<Handle, Error> {
        let udp = Udp { pending: Pending::new(owner), at, inbox: VecDeque::new() };
        self.udp.insert(udp).map_err(|_| Error::NoBuffers)
    }

    fn udp_recv(&mut self, socket: Handle, out: &mut [u8]) -> Result<Datagram, Error> {
        let one = self.udp.get_mut(socket).ok_or(Error::BadHandle)?;
        let (from, to, bytes) = one.inbox.pop_front().ok_or(Error::WouldBlock)?;
        out[..bytes.len()].copy_from_slice(&bytes);
        Ok(Datagram { len: bytes.len(), from, to, to_group: to.is_multicast() })
    }

    fn udp_send(
        &mut self,
        socket: Handle,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        self.udp.get(socket).ok_or(Error::BadHandle)?;
        self.datagrams.push((from, to, bytes.to_vec()));
        Ok(())
    }
}
