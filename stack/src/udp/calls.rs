//! What owners of UDP and UDP-Lite sockets call. A UDP-Lite socket is opened by a call of its own; all others are the same.
//!
//! ```text
//!   udp_open ─> udp_bind ─> udp_recv …                    a server
//!   udp_open ─> udp_connect ─> udp_send, udp_recv …       a client
//! ```
//!
//! No call blocks: what cannot be done now is [`Error::WouldBlock`], and news come through
//! [`Stack::events`](crate::Stack). A handle that was closed is [`Error::BadHandle`].

use super::input::settle;
use super::output::{self, scope_of, wish};
use super::{Protocol, Socket};
use crate::frame::{Frame, FramePool};
use crate::socket::control::SendControl;
use crate::socket::endpoint::{DatagramRow, is_group};
use crate::socket::{
    Error, ErrorReport, Family, Handle, IpOptions, Opt, Owner, Ready, Received, SendArgs, SocketId, Waiting,
};
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use core::net::SocketAddr;

impl<F: Frame> Stack<F> {
    /// Makes a socket.
    ///
    /// # Errors
    /// [`Error::TooManySockets`].
    pub fn udp_open(&mut self, family: Family, owner: Owner) -> Result<Handle, Error> {
        self.udp_open_of(Protocol::Udp, family, owner)
    }

    /// Makes a UDP-Lite socket.
    ///
    /// # Errors
    /// [`Error::TooManySockets`].
    pub fn udplite_open(&mut self, family: Family, owner: Owner) -> Result<Handle, Error> {
        self.udp_open_of(Protocol::UdpLite, family, owner)
    }

    fn udp_open_of(&mut self, protocol: Protocol, family: Family, owner: Owner) -> Result<Handle, Error> {
        let socket = Socket::new(protocol, family, owner);
        self.udp.slab.insert(socket).map_err(|_full| Error::TooManySockets)
    }

    /// Gives a socket its local name. Port number 0 asks for a free one; an unspecified address for any.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it has one, [`Error::AddressNotAvailable`] when the address is not ours (and
    /// IP_FREEBIND is off), [`Error::AddressInUse`].
    pub fn udp_bind(&mut self, handle: Handle, name: SocketAddr) -> Result<(), Error> {
        let random = self.next_random_u32();
        let end = &self.udp.slab.get(handle).ok_or(Error::BadHandle)?.end;
        if end.local_port != 0 || end.local.is_some() {
            return Err(Error::InvalidArgument);
        }
        let address = match end.accept_address(name.ip()) {
            Err(Error::NetworkUnreachable) => return Err(Error::AddressNotAvailable),
            other => other?,
        };
        let scope = scope_of(name).or(end.options.device);
        let ours = address.is_unspecified()
            || is_group(address)
            || end.options.free_bind
            || self.owner_of(address, scope).is_some()
            || self.is_broadcast_address(address);
        if !ours {
            return Err(Error::AddressNotAvailable);
        }
        let local = (!address.is_unspecified()).then_some(address);
        self.udp.claim(handle, local, name.port(), random)?;
        if let Some(socket) = self.udp.slab.get_mut(handle) {
            socket.end.address_is_bound = local.is_some();
            socket.end.port_is_bound = name.port() != 0;
        }
        Ok(())
    }

    /// Gives a socket a port number if it has none.
    pub(super) fn udp_autobind(&mut self, handle: Handle) -> Result<(), Error> {
        let end = &self.udp.slab.get(handle).ok_or(Error::BadHandle)?.end;
        if end.local_port != 0 {
            return Ok(());
        }
        let local = end.local;
        let random = self.next_random_u32();
        // Linux: EAGAIN when a sender finds no port number.
        self.udp.claim(handle, local, 0, random).map_err(|_| Error::WouldBlock)
    }

    /// Connects a socket: from now on it sends to `peer` unless told otherwise, and hears only that peer. `None`
    /// dissolves the connection (connect(2) with AF_UNSPEC).
    ///
    /// # Errors
    /// No way to the peer, or [`Error::AccessDenied`] for a broadcast address without SO_BROADCAST.
    pub fn udp_connect(
        &mut self,
        now: Instant,
        handle: Handle,
        peer: Option<SocketAddr>,
    ) -> Result<(), Error> {
        let socket = self.udp.slab.get(handle).ok_or(Error::BadHandle)?;
        let Some(peer) = peer else {
            self.udp_disconnect(handle);
            return Ok(());
        };
        let address = socket.end.accept_address(peer.ip())?;
        let wish = wish(&socket.end, address, scope_of(peer), &SendControl::default())?;
        let wish = wish.of_ports(socket.protocol.number(), socket.end.local_port, peer.port());
        let choice = self.select(now, &wish)?;
        if let Some(socket) = self.udp.slab.get_mut(handle) {
            socket.end.local = socket.end.local.or(Some(choice.source));
            socket.end.peer = Some((address, peer.port()));
        }
        self.udp_autobind(handle)?;
        self.udp.rehash(handle);
        Ok(())
    }

    fn udp_disconnect(&mut self, handle: Handle) {
        if let Some(socket) = self.udp.slab.get_mut(handle) {
            let end = &mut socket.end;
            end.peer = None;
            if !end.address_is_bound {
                end.local = None;
            }
            if !end.port_is_bound {
                return self.udp.unname(handle);
            }
        }
        self.udp.rehash(handle);
    }

    /// Sends a datagram, or a part of one. Returns how many bytes were taken: all.
    ///
    /// # Errors
    /// The error that waits; what is wrong with the arguments, the way or the length.
    pub fn udp_send<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        handle: Handle,
        args: &SendArgs,
        data: &[u8],
    ) -> Result<usize, Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        output::send(self, turn, handle, args, data)
    }

    /// Takes the oldest datagram.
    ///
    /// # Errors
    /// The error that waits; [`Error::WouldBlock`].
    pub fn udp_recv(&mut self, handle: Handle, out: &mut [u8]) -> Result<Received, Error> {
        self.udp_receive(handle, out, false)
    }

    /// Looks at the oldest datagram, which stays (MSG_PEEK).
    ///
    /// # Errors
    /// As [`Stack::udp_recv`].
    pub fn udp_peek(&mut self, handle: Handle, out: &mut [u8]) -> Result<Received, Error> {
        self.udp_receive(handle, out, true)
    }

    fn udp_receive(&mut self, handle: Handle, out: &mut [u8], peek: bool) -> Result<Received, Error> {
        let Stack { udp, blocks, .. } = self;
        let socket = udp.slab.get_mut(handle).ok_or(Error::BadHandle)?;
        settle(socket, blocks);
        socket.end.receive(blocks, out, peek)
    }

    /// Takes the oldest entry of the error queue (MSG_ERRQUEUE).
    ///
    /// # Errors
    /// [`Error::WouldBlock`].
    pub fn udp_recv_error(&mut self, handle: Handle, out: &mut [u8]) -> Result<ErrorReport, Error> {
        let Stack { udp, blocks, .. } = self;
        udp.slab.get_mut(handle).ok_or(Error::BadHandle)?.end.receive_report(blocks, out)
    }

    /// Sets an option. Switching UDP_CORK off sends what is corked.
    ///
    /// # Errors
    /// [`Error::NoSuchOption`], or what is wrong with the value.
    pub fn udp_set<P, M>(
        &mut self,
        turn: &mut Turn<'_, P, M>,
        handle: Handle,
        option: Opt,
    ) -> Result<(), Error>
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let Stack { udp, blocks, interfaces, .. } = self;
        let socket = udp.slab.get_mut(handle).ok_or(Error::BadHandle)?;
        match option {
            Opt::Cork(on) => {
                socket.cork = on;
                if !on {
                    return output::push(self, turn, handle);
                }
            }
            Opt::Segment(bytes) => socket.segment = bytes,
            // Linux joins no datagrams of UDP-Lite, whatever the socket asks for.
            Opt::Gro(_) if socket.protocol == Protocol::UdpLite => {}
            Opt::Gro(on) => {
                settle(socket, blocks);
                socket.gro = on;
            }
            Opt::NoChecksum(on) => socket.no_checksum = on,
            Opt::NoChecksum6Tx(on) => socket.no_checksum6_tx = on,
            Opt::NoChecksum6Rx(on) => socket.no_checksum6_rx = on,
            Opt::SendCoverage(_) | Opt::ReceiveCoverage(_) if socket.protocol != Protocol::UdpLite => {
                return Err(Error::NoSuchOption);
            }
            Opt::SendCoverage(bytes) => socket.send_coverage = Some(bytes),
            Opt::ReceiveCoverage(bytes) => socket.receive_coverage = Some(bytes),
            option => socket.end.set(option, |port| interfaces.get(port).is_some())?,
        }
        Ok(())
    }

    /// Sets an option of a socket of family IPv6 for what it exchanges over IPv4.
    ///
    /// # Errors
    /// As [`crate::socket::Options::set`]; [`Error::NoSuchOption`] on a socket of family IPv4.
    pub fn udp_set_mapped(&mut self, handle: Handle, option: Opt) -> Result<(), Error> {
        let Stack { udp, interfaces, .. } = self;
        let end = &mut udp.slab.get_mut(handle).ok_or(Error::BadHandle)?.end;
        end.set_mapped(option, |port| interfaces.get(port).is_some())
    }

    /// The MTU of the way to the peer (IP_MTU).
    ///
    /// # Errors
    /// [`Error::NotConnected`]; no way there.
    pub fn udp_path_mtu(&mut self, now: Instant, handle: Handle) -> Result<u16, Error> {
        let end = &self.udp.slab.get(handle).ok_or(Error::BadHandle)?.end;
        let (address, _) = end.peer.ok_or(Error::NotConnected)?;
        let wish = wish(end, address, None, &SendControl::default())?;
        self.path_mtu_of(now, &wish)
    }

    /// Shuts one side down, or both (shutdown(2)).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn udp_shutdown(&mut self, handle: Handle, reading: bool, writing: bool) -> Result<(), Error> {
        let Stack { udp, events, .. } = self;
        let end = &mut udp.slab.get_mut(handle).ok_or(Error::BadHandle)?.end;
        end.shut_down(events, SocketId::Udp(handle), reading, writing)
    }

    /// What a socket is ready for.
    pub fn udp_readiness(&self, handle: Handle) -> Ready {
        let Some(socket) = self.udp.slab.get(handle) else { return Ready::CLOSED };
        let joining = if socket.joining.is_some() { Ready::READABLE } else { Ready::NONE };
        socket.end.readiness() | joining
    }

    /// The local name, and the peer's when the socket is connected (getsockname, getpeername).
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn udp_names(&self, handle: Handle) -> Result<(SocketAddr, Option<SocketAddr>), Error> {
        self.udp.slab.get(handle).map(|socket| socket.end.names()).ok_or(Error::BadHandle)
    }

    /// Every UDP and UDP-Lite socket.
    pub fn udp_rows(&self) -> impl Iterator<Item = DatagramRow> {
        self.udp.slab.iter().map(|(_, socket)| socket.end.row(socket.protocol.name()))
    }

    /// The error that waits, which waits no longer (SO_ERROR).
    pub fn udp_take_error(&mut self, handle: Handle) -> Option<Error> {
        self.udp.slab.get_mut(handle)?.end.take_error()
    }

    /// What is known of the oldest datagram; `None`: none waits.
    pub fn udp_waiting(&mut self, handle: Handle) -> Option<Waiting> {
        let Stack { udp, blocks, .. } = self;
        let socket = udp.slab.get_mut(handle)?;
        settle(socket, blocks);
        socket.end.waiting(blocks)
    }

    /// The IP options of the oldest datagram, which are gone when it is taken (IP_RECVOPTS).
    pub fn udp_options(&self, handle: Handle) -> IpOptions {
        self.udp.slab.get(handle).map_or(IpOptions::NONE, |socket| socket.end.waiting_options(&self.blocks))
    }

    /// Entries in the error queue.
    pub fn udp_reports(&self, handle: Handle) -> usize {
        self.udp.slab.get(handle).map_or(0, |socket| socket.end.reports.len())
    }

    /// The owner hears a socket's news now.
    pub fn udp_news(&mut self, handle: Handle) -> Option<(Owner, Ready)> {
        let pending = &mut self.udp.slab.get_mut(handle)?.end.pending;
        Some((pending.owner, pending.take()))
    }

    /// Bytes of the next datagram (FIONREAD).
    pub fn udp_next_len(&mut self, handle: Handle) -> usize {
        let Stack { udp, blocks, .. } = self;
        let Some(socket) = udp.slab.get_mut(handle) else { return 0 };
        settle(socket, blocks);
        socket.end.received.next_len(blocks)
    }

    /// Closes a socket: what it holds is given back, its groups are left, a corked datagram is lost.
    pub fn udp_close<P, M>(&mut self, turn: &mut Turn<'_, P, M>, handle: Handle)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.leave_all_groups(turn, SocketId::Udp(handle));
        if let Some(socket) = self.udp.slab.get_mut(handle) {
            socket.joining = None;
        }
        self.udp.unname(handle);
        output::flush(self, handle);
        if let Some(mut socket) = self.udp.slab.remove(handle) {
            socket.end.clear(&mut self.blocks);
        }
    }
}
