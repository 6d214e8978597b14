//! What owners of raw and ping sockets call; the same verbs as for UDP.

use super::{Kind, RAW, Socket, Sockets, output};
use crate::frame::{Frame, FramePool};
use crate::socket::control::SendControl;
use crate::socket::endpoint::{DatagramRow, is_group};
use crate::socket::{
    Error, ErrorReport, Family, Handle, IpOptions, Opt, Owner, Ready, Received, SendArgs, SocketId, Waiting,
};
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::udp::{scope_of, wish};
use core::net::SocketAddr;

impl<F: Frame> Stack<F> {
    /// Makes a raw socket for a protocol (SOCK_RAW). 255 only sends, with headers of its own.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for protocol 0, or on a worker where raw sockets do not live
    /// ([`crate::socket::homes::RAW_HOME`]); [`Error::TooManySockets`].
    pub fn raw_open(&mut self, family: Family, protocol: u8, owner: Owner) -> Result<Handle, Error> {
        if protocol == 0 || !self.raw.is_raw_home() {
            return Err(Error::InvalidArgument);
        }
        self.raw_insert(Sockets::new_raw(family, protocol, owner))
    }

    /// Makes a ping socket (SOCK_DGRAM with ICMP): it sends echo requests and hears their replies.
    ///
    /// # Errors
    /// [`Error::TooManySockets`].
    pub fn ping_open(&mut self, family: Family, owner: Owner) -> Result<Handle, Error> {
        self.raw_insert(Sockets::new_ping(family, owner))
    }

    fn raw_insert(&mut self, socket: Socket) -> Result<Handle, Error> {
        let handle = self.raw.slab.insert(socket).map_err(|_full| Error::TooManySockets)?;
        self.raw.rehash(handle);
        Ok(handle)
    }

    /// Binds to an address of ours (unspecified: any). For a ping socket the port number is the identifier; 0 asks
    /// for a free one.
    ///
    /// # Errors
    /// [`Error::AddressNotAvailable`], [`Error::AddressInUse`], [`Error::InvalidArgument`].
    pub fn raw_bind(&mut self, handle: Handle, name: SocketAddr) -> Result<(), Error> {
        let socket = self.raw.slab.get(handle).ok_or(Error::BadHandle)?;
        let end = &socket.end;
        let address = end.accept_address(name.ip())?;
        let scope = scope_of(name).or(end.options.device);
        let ours = address.is_unspecified()
            || is_group(address)
            || end.options.free_bind
            || self.owner_of(address, scope).is_some();
        if !ours {
            return Err(Error::AddressNotAvailable);
        }
        let ping = socket.kind == Kind::Ping;
        if ping && end.local_port != 0 {
            return Err(Error::InvalidArgument);
        }
        if ping && name.port() != 0 {
            if !self.raw.is_here(name.port()) {
                return Err(Error::AddressNotAvailable);
            }
            if !self.raw.ping_is_free(handle, end.family, name.port()) {
                return Err(Error::AddressInUse);
            }
        }
        if let Some(socket) = self.raw.slab.get_mut(handle) {
            socket.end.local = (!address.is_unspecified()).then_some(address);
            socket.end.address_is_bound = socket.end.local.is_some();
            if ping {
                socket.end.local_port = name.port();
            }
        }
        self.raw.rehash(handle);
        if ping { self.ping_autobind(handle) } else { Ok(()) }
    }

    /// Gives a ping socket an identifier if it has none.
    pub(super) fn ping_autobind(&mut self, handle: Handle) -> Result<(), Error> {
        let end = &self.raw.slab.get(handle).ok_or(Error::BadHandle)?.end;
        let family = end.family;
        if end.local_port != 0 {
            return Ok(());
        }
        let start = self.next_random_u32() as u16;
        let free = (0..=u16::MAX)
            .map(|step| start.wrapping_add(step))
            .find(|&id| id != 0 && self.raw.is_here(id) && self.raw.ping_is_free(handle, family, id));
        let identifier = free.ok_or(Error::WouldBlock)?;
        if let Some(socket) = self.raw.slab.get_mut(handle) {
            socket.end.local_port = identifier;
        }
        self.raw.rehash(handle);
        Ok(())
    }

    /// Connects: sends there, hears from there. `None` dissolves it.
    ///
    /// # Errors
    /// No way there.
    pub fn raw_connect(
        &mut self,
        now: Instant,
        handle: Handle,
        peer: Option<SocketAddr>,
    ) -> Result<(), Error> {
        let socket = self.raw.slab.get(handle).ok_or(Error::BadHandle)?;
        let Some(peer) = peer else {
            if let Some(Socket { end, .. }) = self.raw.slab.get_mut(handle) {
                end.peer = None;
                end.local = end.local.filter(|_| end.address_is_bound);
            }
            return Ok(());
        };
        let address = socket.end.accept_address(peer.ip())?;
        let wish = wish(&socket.end, address, scope_of(peer), &SendControl::default())?;
        let choice = self.select(now, &wish.of_protocol(socket.protocol()))?;
        if let Some(Socket { end, kind }) = self.raw.slab.get_mut(handle) {
            end.peer = Some((address, 0));
            end.local = end.local.or(Some(choice.source));
            if *kind == Kind::Ping {
                return self.ping_autobind(handle);
            }
        }
        Ok(())
    }

    /// Sends a packet. Returns how many bytes were taken: all.
    ///
    /// # Errors
    /// The error that waits; what is wrong with the arguments, the way or the length.
    pub fn raw_send<P, M>(
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

    /// Takes the oldest packet: over IPv4 a raw socket's with its IP header.
    ///
    /// # Errors
    /// The error that waits; [`Error::WouldBlock`].
    pub fn raw_recv(&mut self, handle: Handle, out: &mut [u8]) -> Result<Received, Error> {
        let Stack { raw, blocks, .. } = self;
        raw.slab.get_mut(handle).ok_or(Error::BadHandle)?.end.receive(blocks, out, false)
    }

    /// Looks at the oldest packet, which stays (MSG_PEEK).
    ///
    /// # Errors
    /// As [`Stack::raw_recv`].
    pub fn raw_peek(&mut self, handle: Handle, out: &mut [u8]) -> Result<Received, Error> {
        let Stack { raw, blocks, .. } = self;
        raw.slab.get_mut(handle).ok_or(Error::BadHandle)?.end.receive(blocks, out, true)
    }

    /// Takes the oldest entry of the error queue.
    ///
    /// # Errors
    /// [`Error::WouldBlock`].
    pub fn raw_recv_error(&mut self, handle: Handle, out: &mut [u8]) -> Result<ErrorReport, Error> {
        let Stack { raw, blocks, .. } = self;
        raw.slab.get_mut(handle).ok_or(Error::BadHandle)?.end.receive_report(blocks, out)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// [`Error::NoSuchOption`] for one that this kind of socket does not have, or what is wrong with the value.
    pub fn raw_set(&mut self, handle: Handle, option: Opt) -> Result<(), Error> {
        let Stack { raw, interfaces, .. } = self;
        let Socket { end, kind } = raw.slab.get_mut(handle).ok_or(Error::BadHandle)?;
        let v6 = end.family == Family::Ipv6;
        let Kind::Raw { protocol, header_included, filter, checksum, router_alert } = kind else {
            return end.set(option, |port| interfaces.get(port).is_some());
        };
        match option {
            Opt::HeaderIncluded(on) => *header_included = on,
            Opt::IcmpFilter(types) if !v6 && *protocol == super::ICMP => filter[0] = types,
            Opt::Icmp6Filter(types) if v6 && *protocol == super::ICMPV6 => *filter = types,
            Opt::IcmpFilter(_) | Opt::Icmp6Filter(_) => return Err(Error::NotSupported),
            Opt::Checksum(_) if !v6 => return Err(Error::NoSuchOption),
            // RFC 3542 section 3.1: ICMPv6 has its checksum where it has it.
            Opt::Checksum(at) if *protocol == super::ICMPV6 && at != Some(2) => {
                return Err(Error::InvalidArgument);
            }
            Opt::Checksum(Some(at)) if at % 2 == 1 => return Err(Error::InvalidArgument),
            Opt::Checksum(at) => *checksum = at,
            // IPv6: only sockets of IPPROTO_RAW (ipv6(7)); IPv4: any but those.
            Opt::RouterAlert(_) if v6 != (*protocol == RAW) => return Err(Error::InvalidArgument),
            Opt::RouterAlert(value) => {
                let (had, has) = (router_alert.is_some(), value.is_some());
                *router_alert = value;
                raw.alerts = (raw.alerts + usize::from(has)).saturating_sub(usize::from(had));
            }
            option => end.set(option, |port| interfaces.get(port).is_some())?,
        }
        Ok(())
    }

    /// Sets an option of a socket of family IPv6 for what it exchanges over IPv4.
    ///
    /// # Errors
    /// As [`crate::socket::Options::set`]; [`Error::NoSuchOption`] on a socket of family IPv4.
    pub fn raw_set_mapped(&mut self, handle: Handle, option: Opt) -> Result<(), Error> {
        let Stack { raw, interfaces, .. } = self;
        let end = &mut raw.slab.get_mut(handle).ok_or(Error::BadHandle)?.end;
        end.set_mapped(option, |port| interfaces.get(port).is_some())
    }

    /// The MTU of the way to the peer (IP_MTU).
    ///
    /// # Errors
    /// [`Error::NotConnected`]; no way there.
    pub fn raw_path_mtu(&mut self, now: Instant, handle: Handle) -> Result<u16, Error> {
        let end = &self.raw.slab.get(handle).ok_or(Error::BadHandle)?.end;
        let (address, _) = end.peer.ok_or(Error::NotConnected)?;
        let wish = wish(end, address, None, &SendControl::default())?;
        self.path_mtu_of(now, &wish)
    }

    /// What a socket is ready for.
    pub fn raw_readiness(&self, handle: Handle) -> Ready {
        self.raw.slab.get(handle).map_or(Ready::CLOSED, |socket| socket.end.readiness())
    }

    /// The local name, and the peer's when the socket is connected (getsockname, getpeername).
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn raw_names(&self, handle: Handle) -> Result<(SocketAddr, Option<SocketAddr>), Error> {
        self.raw.slab.get(handle).map(|socket| socket.end.names()).ok_or(Error::BadHandle)
    }

    /// Every raw and ping socket.
    pub fn raw_rows(&self) -> impl Iterator<Item = DatagramRow> {
        let protocol = |kind: &Kind| if *kind == Kind::Ping { "ping" } else { "raw" };
        self.raw.slab.iter().map(move |(_, socket)| socket.end.row(protocol(&socket.kind)))
    }

    /// The error that waits, which waits no longer (SO_ERROR).
    pub fn raw_take_error(&mut self, handle: Handle) -> Option<Error> {
        self.raw.slab.get_mut(handle)?.end.take_error()
    }

    /// What is known of the oldest packet; `None`: none waits.
    pub fn raw_waiting(&self, handle: Handle) -> Option<Waiting> {
        self.raw.slab.get(handle)?.end.waiting(&self.blocks)
    }

    /// The IP options of the oldest packet, which are gone when it is taken (IP_RECVOPTS).
    pub fn raw_options(&self, handle: Handle) -> IpOptions {
        self.raw.slab.get(handle).map_or(IpOptions::NONE, |socket| socket.end.waiting_options(&self.blocks))
    }

    /// Entries in the error queue.
    pub fn raw_reports(&self, handle: Handle) -> usize {
        self.raw.slab.get(handle).map_or(0, |socket| socket.end.reports.len())
    }

    /// Shuts one side down, or both (shutdown(2)).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn raw_shutdown(&mut self, handle: Handle, reading: bool, writing: bool) -> Result<(), Error> {
        let Stack { raw, events, .. } = self;
        let end = &mut raw.slab.get_mut(handle).ok_or(Error::BadHandle)?.end;
        end.shut_down(events, SocketId::Raw(handle), reading, writing)
    }

    /// The owner hears a socket's news now.
    pub fn raw_news(&mut self, handle: Handle) -> Option<(Owner, Ready)> {
        let pending = &mut self.raw.slab.get_mut(handle)?.end.pending;
        Some((pending.owner, pending.take()))
    }

    /// Closes a socket.
    pub fn raw_close<P, M>(&mut self, turn: &mut Turn<'_, P, M>, handle: Handle)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        self.leave_all_groups(turn, SocketId::Raw(handle));
        self.raw.chains.remove(if self.raw.slab.get(handle).is_some() { handle.index() } else { usize::MAX });
        let Some(mut socket) = self.raw.slab.remove(handle) else { return };
        if matches!(socket.kind, Kind::Raw { router_alert: Some(_), .. }) {
            self.raw.alerts = self.raw.alerts.saturating_sub(1);
        }
        if let Kind::Raw { protocol, .. } = socket.kind {
            self.raw.unsettle(protocol);
        }
        socket.end.clear(&mut self.blocks);
    }
}
