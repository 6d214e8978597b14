//! What owners call: the in-process socket calls of TCP (rows S1, S5, S7, T1, T14).
//!
//! No call sends: what became ready leaves at the end of the turn, so that an answer, the acknowledgment of the
//! question and a close share segments.

use super::bind::BindOptions;
use super::names::Seat;
use super::passive::PeerKey;
use super::{Entry, TcpSockets, Way};
use crate::frame::Frame;
use crate::ip::select::Wish;
use crate::port::PortId;
use crate::socket::api::Sockets;
use crate::socket::bound::{Address, Bind, BindId};
use crate::socket::error::Error;
use crate::socket::{Handle, Owner, Ready, SocketId, Stamp, StampKinds};
use crate::stack::Stack;
use crate::tcp::connection::{ConnectArgs, Connection, Context};
use crate::tcp::error::SocketError;
use crate::tcp::fast_open::ClientFastOpen;
use crate::tcp::info::TcpInfo;
use crate::tcp::segment::{Disposition, Output};
use crate::tcp::signature::{KeyTable, Prefix};
use crate::tcp::state::State;
use crate::tcp::time_wait::Reused;
use crate::tcp::tuple::Tuple;
use crate::tcp::user::{Shutdown, SocketOption};
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::net::{IpAddr, SocketAddr};

/// How an active open begins.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// Our address and port; an unspecified address or port 0 is chosen. `None`: both are chosen.
    pub from: Option<SocketAddr>,
    /// By this port: needed for link-local destinations.
    pub port: Option<PortId>,
    /// Set before the SYN leaves.
    pub options: Vec<SocketOption>,
    /// TCP fast open (RFC 7413): what is written before the end of the turn leaves with the SYN, if the server gave a
    /// cookie before; else the SYN asks for one.
    pub fast_open: bool,
    /// Fast open needs no cookie, in this network: what is written goes with the SYN in any case (TCP_FASTOPEN_NO_COOKIE).
    pub no_cookie: bool,
    /// With fast open, when data can go with the SYN: it waits for the first bytes, however late they are written
    /// (TCP_FASTOPEN_CONNECT; [`Sockets::tcp_is_deferred`]).
    pub defer: bool,
    /// How others may share the port that is chosen: SO_REUSEADDR, SO_REUSEPORT and whose it is.
    pub how: BindOptions,
    /// What the segments of both ends are signed with: one MD5 key, or AO keys, the first of which signs.
    pub keys: Vec<PeerKey>,
}

/// A connection or listener in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpRow {
    /// Its handle.
    pub socket: SocketId,
    /// Our end.
    pub local: SocketAddr,
    /// The peer; `None` for a listener.
    pub remote: Option<SocketAddr>,
    /// The state, as RFC 9293 names it, in lower case.
    pub state: &'static str,
    /// Bytes that wait to be read; for a listener connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes that are not acknowledged; for a listener the most that may wait.
    pub send_queue: u32,
    /// Its owner.
    pub owner: Owner,
}

impl<F: Frame> Sockets<'_, F> {
    /// Opens a connection. News say how it went: CONNECTED and WRITABLE, or ERROR and CLOSED.
    ///
    /// # Errors
    /// No route, no free port, a table that is full.
    pub fn tcp_connect(
        &mut self,
        owner: Owner,
        to: SocketAddr,
        options: &ConnectOptions,
    ) -> Result<Handle, Error> {
        self.tcp_connect_bound(owner, to, options, &mut None)
    }

    /// As [`Sockets::tcp_connect`], from a name that is held already ([`Sockets::tcp_bind`]) and that
    /// [`ConnectOptions::from`] says: the connection holds it from now on, and `bind` is empty. An address that is not ours
    /// was allowed there, or not.
    ///
    /// # Errors
    /// As there; the name is still held.
    pub fn tcp_connect_bound(
        &mut self,
        owner: Owner,
        to: SocketAddr,
        options: &ConnectOptions,
        bind: &mut Option<BindId>,
    ) -> Result<Handle, Error> {
        let now = self.now;
        let stack = &mut *self.stack;
        let from = options.from.filter(|from| !from.ip().is_unspecified());
        let wish = Wish {
            destination: to.ip(),
            source: from.map(|from| from.ip()),
            port: options.port,
            broadcast: false,
            path_mtu: true,
            traits: super::output::traits(from.map_or(0, |from| from.port()), to.port()),
        };
        if to.port() == 0 || to.ip().is_multicast() {
            return Err(Error::NetworkUnreachable);
        }
        if let Some(from) = from
            && bind.is_none()
            && stack.interfaces.iter().all(|interface| !interface.owns(from.ip()))
        {
            return Err(Error::AddressNotAvailable);
        }
        let choice = stack.select(now, &wish)?;
        let hop = super::output::hop_of(choice.exit)?;
        let room = stack.frame_room;
        let ipv4 = to.is_ipv4();
        let mtu = hop.map_or(room, |hop| hop.mtu.min(room));
        let way = Way { hop, generation: stack.generation as u32, until: now + super::PATH_LASTS };
        let fixed_port = options.from.map_or(0, |from| from.port());
        let (tuple, reused) = stack.tcp.choose_names(choice.source, fixed_port, to, choice.port, now)?;
        let ip_id = stack.next_ipv4_id();
        let Stack { tcp, blocks, events, .. } = stack;
        let iss = reused.map_or_else(|| tcp.isn.isn(&tuple, now), |reused| reused.iss);
        let ts_offset = reused.map_or_else(|| tcp.isn.timestamp_offset(&tuple), |reused| reused.ts_offset);
        let mut default_mss = if ipv4 { 536 } else { 1220 };
        let mut no_cookie = false;
        let fast_open = match options.fast_open.then(|| tcp.fast_opens.on_connect(to.ip(), now)) {
            None | Some(ClientFastOpen::Avoid) => None,
            Some(_) if options.no_cookie => {
                no_cookie = true;
                None
            }
            Some(ClientFastOpen::Ask) => Some(ArrayVec::new()),
            Some(ClientFastOpen::Use(cookie, mss)) => {
                default_mss = mss.max(default_mss);
                Some(cookie.as_bytes().iter().copied().collect())
            }
        };
        let asked_fast_open = fast_open.is_some() || no_cookie;
        let args = ConnectArgs {
            iss,
            ts_offset,
            path_mss: super::output::path_mss(mtu, ipv4),
            default_mss,
            fast_open,
            no_cookie,
            defer: options.defer,
        };
        let (_, mut cx) = tcp.split(now, blocks);
        let mut connection = Connection::connect(&mut cx, &args);
        connection.obey_route(choice.metrics);
        for option in &options.options {
            if let Err(error) = connection.set_option(&mut cx, *option) {
                let _ = connection.abort(&mut cx);
                return Err(error.into());
            }
        }
        let keys = match key_table(to.ip(), &options.keys)?.for_connection(&tuple, iss, None, None) {
            None => None,
            Some(keys) => {
                connection.set_option(&mut cx, SocketOption::Signature(Some(keys.option())))?;
                Some(Box::new(keys))
            }
        };
        // A port that was chosen is held, too: nobody else can bind it by name while it is in use.
        let hold = (fixed_port == 0).then(|| {
            tcp.bound.bind(&Bind {
                address: Address::new(choice.source, false),
                port: tuple.local_port,
                device: options.how.device,
                reuse_address: options.how.reuse_address,
                reuse_port: options.how.reuse_port,
                user: options.how.user,
                automatic: true,
            })
        });
        let entry = Entry {
            keys,
            asked_fast_open,
            is_opening: true,
            bind: hold.transpose().map_err(super::bind::bind_error)?,
            ..Entry::new(connection, tuple, way, choice.port, owner, ip_id)
        };
        let handle = tcp.add(entry)?;
        if let Some(entry) = tcp.entries.get_mut(handle)
            && bind.is_some()
        {
            entry.bind = bind.take();
        }
        tcp.settle(now, events, handle, true);
        Ok(handle)
    }

    /// True while the SYN of a connection waits for the first bytes ([`ConnectOptions::defer`]).
    pub fn tcp_is_deferred(&self, socket: Handle) -> bool {
        self.stack.tcp.entries.get(socket).is_some_and(|entry| entry.connection.is_deferred())
    }

    /// The SYN leaves though nothing was written.
    ///
    /// # Errors
    /// There is no such connection.
    pub fn tcp_go_on(&mut self, socket: Handle) -> Result<(), Error> {
        self.tcp_call(socket, |connection, _| {
            connection.go_on();
            Ok(())
        })
    }

    /// Queues bytes for the peer; says how many found room.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] without any room: WRITABLE will be news. [`Error::BrokenPipe`] when this direction is
    /// closed; the error that ended the connection, once.
    pub fn tcp_send(&mut self, socket: Handle, bytes: &[u8]) -> Result<usize, Error> {
        self.tcp_send_more(socket, bytes, false)
    }

    /// As [`Sockets::tcp_send`]; `more`: more comes soon, so that a segment that is not full may wait (MSG_MORE).
    ///
    /// # Errors
    /// As there.
    pub fn tcp_send_more(&mut self, socket: Handle, bytes: &[u8], more: bool) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| connection.send(cx, bytes, more))
    }

    /// Reads; 0: the peer sends no more.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing waits: READABLE will be news. The error that ended the connection, once.
    pub fn tcp_recv(&mut self, socket: Handle, out: &mut [u8]) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| connection.recv(cx, out))
    }

    /// Lets `take` look at the longest piece of what waits that lies in one place, without a copy; it says how many
    /// bytes it took. 0 bytes are shown only when the peer sends no more.
    ///
    /// # Errors
    /// As [`Sockets::tcp_recv`].
    pub fn tcp_recv_with(
        &mut self,
        socket: Handle,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| {
            let shown = connection.read_slice(cx);
            if shown.is_empty() {
                return connection.recv(cx, &mut [0]).map(|_| 0);
            }
            let taken = take(shown).min(shown.len());
            connection.consume(cx, taken);
            Ok(taken)
        })
    }

    /// Looks at what waits from `offset` on, and leaves it there (MSG_PEEK).
    ///
    /// # Errors
    /// As [`Sockets::tcp_recv`].
    pub fn tcp_peek(&mut self, socket: Handle, offset: usize, out: &mut [u8]) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| connection.peek(cx, offset, out))
    }

    /// As [`Sockets::tcp_peek`], without a copy: `show` gets at most `most` bytes, piece by piece. The end of what the peer
    /// sends is no error here, but 0 bytes.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_peek_with(
        &mut self,
        socket: Handle,
        offset: usize,
        most: usize,
        show: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| Ok(connection.peek_with(cx, offset, most, show)))
    }

    /// What was looked at was read: `count` bytes, or as many as there are.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_consume(&mut self, socket: Handle, count: usize) -> Result<(), Error> {
        self.tcp_call(socket, |connection, cx| {
            connection.consume(cx, count);
            Ok(())
        })
    }

    /// As [`Sockets::tcp_send_more`], for bytes that are not in one slice: `fill` writes them, at most `len`, piece by piece,
    /// and is told where among them each piece begins. No room is 0 bytes; WRITABLE is news when a third of the buffer is free
    /// that was not.
    ///
    /// # Errors
    /// As there.
    pub fn tcp_send_with(
        &mut self,
        socket: Handle,
        len: usize,
        more: bool,
        fill: impl FnMut(&mut [u8], usize),
    ) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| connection.send_with(cx, len, more, fill))
    }

    /// A record ends `beyond` bytes behind what was written; negative: in front of its end (MSG_EOR). What follows begins
    /// another segment.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_end_record(&mut self, socket: Handle, beyond: i32) -> Result<(), Error> {
        self.tcp_call(socket, |connection, _| {
            connection.end_record(beyond);
            Ok(())
        })
    }

    /// Asks for stamps of the last byte that was written, or of one `beyond` bytes behind it, or in front of it. STAMPS is the news
    /// of those that are there.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_ask_stamps(&mut self, socket: Handle, kinds: StampKinds, beyond: i32) -> Result<(), Error> {
        self.tcp_call(socket, |connection, _| {
            connection.ask_stamps(kinds, beyond);
            Ok(())
        })
    }

    /// The oldest stamp, which is taken (MSG_ERRQUEUE).
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is none.
    pub fn tcp_take_stamp(&mut self, socket: Handle) -> Result<Stamp, Error> {
        let entry = self.stack.tcp.entries.get_mut(socket).ok_or(Error::BadHandle)?;
        entry.connection.take_stamp().ok_or(Error::WouldBlock)
    }

    /// As [`Sockets::tcp_send`]; the last byte, if all of them find room, is urgent (MSG_OOB, RFC 9293 section 3.8.5).
    ///
    /// # Errors
    /// As there.
    pub fn tcp_send_urgent(&mut self, socket: Handle, bytes: &[u8]) -> Result<usize, Error> {
        self.tcp_call(socket, |connection, cx| connection.send_urgent(cx, bytes))
    }

    /// The urgent byte, out of band; PRIORITY was its news. `peek`: it can be read again.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is none, or when urgent data come in line; [`Error::WouldBlock`] when it was
    /// announced and is not here.
    pub fn tcp_recv_urgent(&mut self, socket: Handle, peek: bool) -> Result<u8, Error> {
        self.tcp_call(socket, |connection, _| connection.recv_urgent(peek))
    }

    /// True when the next byte to read stands at the urgent mark (SIOCATMARK).
    pub fn tcp_at_mark(&self, socket: Handle) -> bool {
        self.stack.tcp.entries.get(socket).is_some_and(|entry| entry.connection.at_mark())
    }

    /// How many bytes are to be read before the urgent byte, while there is one ahead or here.
    pub fn tcp_urgent_ahead(&self, socket: Handle) -> Option<usize> {
        self.stack.tcp.entries.get(socket)?.connection.urgent_ahead()
    }

    /// How often the peer announced urgent data; wraps.
    pub fn tcp_urgent_announced(&self, socket: Handle) -> u32 {
        self.stack.tcp.entries.get(socket).map_or(0, |entry| entry.connection.urgent_announced())
    }

    /// Bytes that came and were not consumed, an urgent byte out of band left out.
    pub fn tcp_readable(&self, socket: Handle) -> usize {
        self.stack.tcp.entries.get(socket).map_or(0, |entry| entry.connection.readable())
    }

    /// True when this end sends no more: it was shut down, or the connection is over.
    pub fn tcp_is_write_closed(&self, socket: Handle) -> bool {
        self.stack.tcp.entries.get(socket).is_none_or(|entry| entry.connection.is_write_closed())
    }

    /// True when the peer sends no more: its FIN came, and all that is in front of it.
    pub fn tcp_has_peer_ended(&self, socket: Handle) -> bool {
        self.stack.tcp.entries.get(socket).is_some_and(|entry| entry.connection.has_peer_ended())
    }

    /// The peer is this node: what is written waits in as large a buffer as on Linux's loopback interface.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_set_near(&mut self, socket: Handle) -> Result<(), Error> {
        self.tcp_call(socket, |connection, cx| {
            connection.set_near(cx);
            Ok(())
        })
    }

    /// True when [`Sockets::tcp_close`] would reset the connection: data are unread, or SO_LINGER is on with no time.
    pub fn tcp_resets_on_close(&self, socket: Handle) -> bool {
        self.stack.tcp.entries.get(socket).is_some_and(|entry| entry.connection.resets_on_close())
    }

    /// Closes a direction (shutdown).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn tcp_shutdown(&mut self, socket: Handle, how: Shutdown) -> Result<(), Error> {
        self.tcp_decide(socket, |connection, cx| connection.shutdown(cx, how))
    }

    /// Lets go of a connection: what was written is still sent, then the FIN; data that come are refused. The handle
    /// finds nothing for its owner any more; one that is gone already is no error.
    pub fn tcp_close(&mut self, socket: Handle) {
        let _gone_already = self.tcp_decide(socket, |connection, cx| Ok(connection.close(cx)));
    }

    /// Ends a connection with a reset.
    pub fn tcp_abort(&mut self, socket: Handle) {
        let _gone_already = self.tcp_decide(socket, |connection, cx| {
            let disposition = connection.abort(cx);
            let _closed = connection.close(cx);
            Ok(disposition)
        });
    }

    /// The peer's address.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_peer(&self, socket: Handle) -> Result<SocketAddr, Error> {
        let entry = self.stack.tcp.entries.get(socket).ok_or(Error::BadHandle)?;
        Ok(SocketAddr::new(entry.tuple.remote_ip(), entry.tuple.remote_port))
    }

    /// Our address.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_local(&self, socket: Handle) -> Result<SocketAddr, Error> {
        let entry = self.stack.tcp.entries.get(socket).ok_or(Error::BadHandle)?;
        Ok(SocketAddr::new(entry.tuple.local_ip(), entry.tuple.local_port))
    }

    /// The port that its packets come in by.
    pub fn tcp_port(&self, socket: Handle) -> Option<PortId> {
        self.stack.tcp.entries.get(socket).map(|entry| entry.port)
    }

    /// Bytes that [`Sockets::tcp_send`] would take now.
    pub fn tcp_room(&self, socket: Handle) -> usize {
        self.stack.tcp.entries.get(socket).map_or(0, |entry| entry.connection.writable())
    }

    /// What can be done now.
    pub fn tcp_ready(&self, socket: Handle) -> Ready {
        self.stack.tcp.entries.get(socket).map_or(Ready::CLOSED, |entry| entry.connection.readiness())
    }

    /// The state; `None` when there is no such connection.
    pub fn tcp_state(&self, socket: Handle) -> Option<State> {
        self.stack.tcp.entries.get(socket).map(|entry| entry.connection.state())
    }

    /// Sets an option.
    ///
    /// # Errors
    /// Those of Linux's setsockopt.
    pub fn tcp_set_option(&mut self, socket: Handle, option: SocketOption) -> Result<(), Error> {
        self.tcp_call(socket, |connection, cx| connection.set_option(cx, option))
    }

    /// Signs the segments of a connection whose SYN did not leave yet.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::NoBuffers`] for too many keys, [`Error::InvalidArgument`] when it is too late.
    pub fn tcp_sign(&mut self, socket: Handle, keys: KeyTable) -> Result<(), Error> {
        let entry = self.stack.tcp.entries.get(socket).ok_or(Error::BadHandle)?;
        let Some(keys) = keys.for_connection(&entry.tuple, entry.connection.iss, None, None) else {
            return Ok(());
        };
        self.tcp_set_option(socket, SocketOption::Signature(Some(keys.option())))?;
        if let Some(entry) = self.stack.tcp.entries.get_mut(socket) {
            entry.keys = Some(Box::new(keys));
        }
        Ok(())
    }

    /// What may be looked at beside [`Sockets::tcp_info`].
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_look(&self, socket: Handle) -> Result<&Connection, Error> {
        self.stack.tcp.entries.get(socket).map(|entry| &entry.connection).ok_or(Error::BadHandle)
    }

    /// Connections that wait to be accepted, and how many may.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_backlog(&self, listener: Handle) -> Result<(usize, usize), Error> {
        let listening = self.stack.tcp.listeners.get(listener).ok_or(Error::BadHandle)?;
        Ok((listening.listener.waiting(), listening.listener.settings().backlog()))
    }

    /// Everything about a connection (TCP_INFO).
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn tcp_info(&mut self, socket: Handle) -> Result<TcpInfo, Error> {
        let Stack { tcp, blocks, .. } = &mut *self.stack;
        let (entries, cx) = tcp.split(self.now, blocks);
        Ok(entries.get(socket).ok_or(Error::BadHandle)?.connection.info(&cx))
    }

    /// The error that ended the connection, once (SO_ERROR).
    pub fn tcp_take_error(&mut self, socket: Handle) -> Option<Error> {
        let entry = self.stack.tcp.entries.get_mut(socket)?;
        entry.connection.take_error().map(Error::from)
    }

    /// One call on a connection that decides about its end.
    fn tcp_decide(
        &mut self,
        socket: Handle,
        call: impl FnOnce(&mut Connection, &mut Context<'_>) -> Result<Disposition, SocketError>,
    ) -> Result<(), Error> {
        let Stack { tcp, blocks, .. } = &mut *self.stack;
        let (entries, mut cx) = tcp.split(self.now, blocks);
        let entry = entries.get_mut(socket).ok_or(Error::BadHandle)?;
        let disposition = call(&mut entry.connection, &mut cx)?;
        self.stack.tcp_decided(self.now, socket, disposition);
        Ok(())
    }

    /// One call on a connection, and what follows from it.
    #[inline]
    fn tcp_call<T>(
        &mut self,
        socket: Handle,
        call: impl FnOnce(&mut Connection, &mut Context<'_>) -> Result<T, SocketError>,
    ) -> Result<T, Error> {
        let Stack { tcp, blocks, events, .. } = &mut *self.stack;
        let (entries, mut cx, mut desk) = tcp.split_with_desk(self.now, blocks);
        let entry = entries.get_mut(socket).ok_or(Error::BadHandle)?;
        let result = call(&mut entry.connection, &mut cx);
        let more = entry.connection.wants_output();
        if !entry.settle(&mut desk, events, socket, more) {
            tcp.settle_unusual(self.now, events, socket);
        }
        result.map_err(Error::from)
    }
}

impl<F: Frame> Stack<F> {
    /// Does what was decided outside of a segment's arrival: a reset waits for the end of the turn.
    pub(super) fn tcp_decided(&mut self, now: Instant, socket: Handle, disposition: Disposition) {
        match disposition {
            Disposition::Keep(Output::None) => {}
            Disposition::Keep(_) | Disposition::Refused(..) => self.tcp.mark_ready(socket),
            Disposition::Closed(reset) => {
                if reset.is_some()
                    && let Some(entry) = self.tcp.entries.get_mut(socket)
                {
                    entry.connection.rare().farewell = reset;
                }
                self.tcp.mark_ready(socket);
            }
            Disposition::TimeWait(content) => {
                self.tcp.wait(socket, &content, now);
            }
        }
        let Stack { tcp, events, .. } = self;
        tcp.called(now, events, socket);
    }
}

/// The keys for one peer.
fn key_table(peer: IpAddr, keys: &[PeerKey]) -> Result<KeyTable, Error> {
    let mut table = KeyTable::new();
    let all = if peer.is_ipv4() { 32 } else { 128 };
    let prefix = Prefix::new(peer, all).ok_or(Error::InvalidArgument)?;
    for key in keys {
        let added = match key {
            PeerKey::Md5(key) => table.set_md5(prefix, key.clone()),
            PeerKey::Ao(key) => table.add_ao(prefix, key.clone()),
        };
        added.map_err(|_full| Error::NoBuffers)?;
    }
    Ok(table)
}

impl TcpSockets {
    /// Names for an active open: a local port that was named, or one that is free and that packets come back to this
    /// worker by. Names of a TIME-WAIT record may be taken over when its timestamps make that safe (RFC 6191).
    fn choose_names(
        &mut self,
        local: IpAddr,
        local_port: u16,
        to: SocketAddr,
        port: PortId,
        now: Instant,
    ) -> Result<(Tuple, Option<Reused>), Error> {
        let tuple = |number| Tuple::new((local, number), (to.ip(), to.port())).scoped(port);
        self.free_ports();
        let TcpSockets { names, ports, bound, time_waits, .. } = self;
        if local_port == 0 {
            let free = |number| bound.is_free_to_connect(number) && names.get(&tuple(number)).is_none();
            let chosen = ports.choose(local, to.ip(), to.port(), free).ok_or(Error::AddressNotAvailable)?;
            bound.settle(chosen);
            return Ok((tuple(chosen), None));
        }
        if !bound.is_here(local_port) {
            return Err(Error::AddressNotAvailable);
        }
        let tuple = tuple(local_port);
        bound.settle(local_port);
        match names.get(&tuple) {
            None => Ok((tuple, None)),
            Some(Seat::TimeWait(place)) => {
                let reused = time_waits.reuse_for_connect(place, now).ok_or(Error::AddressInUse)?;
                time_waits.remove(place);
                names.free(&tuple);
                Ok((tuple, Some(reused)))
            }
            Some(_) => Err(Error::AddressInUse),
        }
    }
}

impl From<SocketError> for Error {
    fn from(error: SocketError) -> Error {
        match error {
            SocketError::WouldBlock => Error::WouldBlock,
            SocketError::InProgress => Error::InProgress,
            SocketError::NotConnected => Error::NotConnected,
            SocketError::BrokenPipe => Error::BrokenPipe,
            SocketError::Invalid => Error::InvalidArgument,
            SocketError::NoSuchOption => Error::NoSuchOption,
            SocketError::NoBuffers => Error::NoBuffers,
            SocketError::Refused => Error::ConnectionRefused,
            SocketError::Reset => Error::ConnectionReset,
            SocketError::Aborted => Error::Aborted,
            SocketError::TimedOut => Error::TimedOut,
            SocketError::HostUnreachable => Error::HostUnreachable,
            SocketError::NetworkUnreachable => Error::NetworkUnreachable,
            SocketError::ProtocolUnreachable => Error::ProtocolUnreachable,
            SocketError::MessageSize => Error::MessageTooLong,
            SocketError::Forbidden => Error::AccessDenied,
        }
    }
}
