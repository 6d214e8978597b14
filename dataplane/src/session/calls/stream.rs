//! The calls of TCP sockets.
//!
//! ```text
//!   open ─> bind? ─┬─> listen ──> accept ─> a new socket
//!                  └─> connect ─> (EINPROGRESS; the cell tells) ─> connected ─> shutdown, close
//! ```

use super::{Answer, Ask, DONE};
use crate::builtin::host::Host;
use crate::session::options::limits::stamping;
use crate::session::options::{self, Field, kind::Kinds};
use crate::session::program::Place;
use crate::session::socket::{Kind, Socket};
use crate::session::turn::owner_of;
use crate::session::{Errno, Sessions, datagrams::plain, errno};
use core::net::SocketAddr;
use flumen_ipc::call::{SEND_RECORD, STAMPS_AS_SET};
use flumen_stack::limits::{MAX_BACKLOG, MAX_RING};
use flumen_stack::socket::{Family, Handle, StampKinds};
use flumen_stack::tcp::sockets::{BindOptions, ConnectOptions, ListenOptions};
use flumen_stack::tcp::state::State;
use flumen_stack::tcp::user::Shutdown;
use flumen_stack::{FramePool, PortId, Probe};

impl Sessions {
    pub(super) fn bind_stream<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        at: SocketAddr,
        link: Option<PortId>,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        if socket.name.is_some() {
            return Err(Errno::INVAL);
        }
        socket.check_family(at)?;
        let (name, bind) =
            host.tcp().tcp_bind(plain(at.ip(), at.port()), &socket.bind_options(link)).map_err(errno)?;
        (socket.name, socket.bind, socket.link) = (Some(name), Some(bind), link);
        Ok(())
    }

    pub(super) fn listen<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        // Linux takes a negative backlog for a very large one.
        let backlog = (ask.args[0] as u32 as usize).min(MAX_BACKLOG);
        let kind = self.sockets.get(handle).ok_or(Errno::BADF)?.kind;
        match kind {
            Kind::Listener(listener) => {
                let mut settings = host.tcp().tcp_listen_settings(listener).ok_or(Errno::INVAL)?;
                settings.backlog = backlog;
                host.tcp().tcp_set_listen(listener, settings).map_err(errno)?;
                return DONE;
            }
            Kind::TcpClosed => {}
            Kind::Tcp(_) => return Err(Errno::INVAL),
            Kind::Udp(_) | Kind::Raw(_) | Kind::Ping(_) => return Err(Errno::OPNOTSUPP),
        }
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        if socket.name.is_none() {
            let any = socket.unnamed();
            self.bind_stream(host, handle, any, None)?;
        }
        self.bind_again(host, handle)?;
        let mut options = ListenOptions { settings: self.listen, ..ListenOptions::default() };
        options.settings.backlog = backlog;
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        let fast_opens = self.listen.fast_open.min(backlog);
        if fast_opens > 0 && socket.options.get(Field::FastOpen, Kinds::ALL) == 0 {
            socket.options.set(Field::FastOpen, fast_opens as i32);
        }
        let (Some(name), Some(bind)) = (socket.name, socket.bind.take()) else { return Err(Errno::INVAL) };
        match host.tcp().tcp_listen_bound(owner_of(handle), plain(name.ip(), name.port()), bind, &options) {
            Ok(listener) => socket.kind = Kind::Listener(listener),
            Err((bind, error)) => {
                socket.bind = Some(bind);
                return Err(errno(error));
            }
        }
        self.with_options(handle, |about, socket| options::apply(host, about, socket).map(|()| (0, 0)))
    }

    /// A socket that was named holds its port again, after a connection that held it ended.
    fn bind_again<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        let Some(name) = socket.name.filter(|_| socket.bind.is_none()) else { return Ok(()) };
        let how = socket.bind_options(socket.link);
        let (_, bind) = host.tcp().tcp_bind(plain(name.ip(), name.port()), &how).map_err(errno)?;
        socket.bind = Some(bind);
        Ok(())
    }

    pub(super) fn connect<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let Some(address) = ask.address()? else { return self.disconnect(host, handle) };
        let to = address.to_std().ok_or(Errno::INVAL)?;
        let link = self.link(&address)?;
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        match socket.kind {
            Kind::Listener(_) => return Err(Errno::ISCONN),
            Kind::Tcp(tcp) => match host.tcp().tcp_state(tcp) {
                Some(State::SynSent) if host.tcp().tcp_is_deferred(tcp) => return Err(Errno::ISCONN),
                Some(State::SynSent) => return Err(Errno::ALREADY),
                Some(State::Closed) | None => {
                    if let Some(error) = self.take_error(handle) {
                        return Err(error);
                    }
                    self.disconnect(host, handle)?;
                }
                Some(_) => return Err(Errno::ISCONN),
            },
            _ => {}
        }
        self.bind_again(host, handle)?;
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        socket.check_family(to)?;
        let with_data = ask.args[0] != 0;
        let defer = !with_data && socket.options.get(Field::FastOpenConnect, Kinds::ALL) != 0;
        let options = ConnectOptions {
            from: socket.name.map(|name| plain(name.ip(), name.port())),
            port: link.or(socket.link),
            how: socket.bind_options(link),
            fast_open: with_data || defer,
            no_cookie: socket.options.get(Field::FastOpenNoCookie, Kinds::ALL) != 0,
            defer,
            ..ConnectOptions::default()
        };
        let to = plain(self.policy.destination(to.ip()), to.port());
        let tcp =
            host.tcp().tcp_connect_bound(owner_of(handle), to, &options, &mut socket.bind).map_err(errno)?;
        socket.kind = Kind::Tcp(tcp);
        (socket.was_connected, socket.shut_read, socket.shut_write) = (false, false, false);
        socket.knows_peer = false;
        let deferred = host.tcp().tcp_is_deferred(tcp);
        socket.sends_with_syn = with_data || deferred;
        self.with_options(handle, |about, socket| options::apply(host, about, socket).map(|()| (0, 0)))?;
        if deferred { DONE } else { Err(Errno::INPROGRESS) }
    }

    /// connect(2) with AF_UNSPEC: the socket is closed, and can connect or listen anew.
    fn disconnect<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
    ) -> Answer {
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        if matches!(socket.kind, Kind::Tcp(_) | Kind::Listener(_)) {
            socket.leave_the_stack(host, true);
        }
        socket.kind = Kind::TcpClosed;
        socket.was_connected = false;
        DONE
    }

    pub(super) fn accept<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        listener: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let socket = self.sockets.get(listener).ok_or(Errno::BADF)?;
        let from = match socket.kind {
            Kind::Listener(from) => from,
            Kind::TcpClosed | Kind::Tcp(_) => return Err(Errno::INVAL),
            Kind::Udp(_) | Kind::Raw(_) | Kind::Ping(_) => return Err(Errno::OPNOTSUPP),
        };
        let home = Place { program: ask.place.program, slot: ask.args[0] as u32 };
        let new = Socket {
            options: socket.options.clone(),
            was_connected: true,
            ..Socket::new(Kind::TcpClosed, socket.family, socket.user, home, ask.args[1])
        };
        let handle = self.house(new)?;
        let accepted = host.tcp().tcp_accept(from, owner_of(handle));
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.unname(host, home)?;
                return Err(errno(error));
            }
        };
        if let Some(socket) = self.sockets.get_mut(handle) {
            socket.kind = Kind::Tcp(tcp);
        }
        self.with_options(handle, |about, socket| options::apply(host, about, socket).map(|()| (0, 0)))?;
        self.serve(host, handle, false);
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        let local = host.tcp().tcp_local(tcp).unwrap_or(socket.unnamed());
        let scopes = [peer, local].map(|address| (address, self.scope_on(host, tcp, address)));
        ask.answer(&scopes.map(|(address, scope)| socket.shown(address, scope)))
    }

    /// The number of the link that a connection's packets come by, for a link-local address.
    fn scope_on<P: FramePool, M: Probe>(
        &self,
        host: &mut Host<'_, '_, P, M>,
        tcp: Handle,
        address: SocketAddr,
    ) -> u32 {
        let is_local = matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
        let port = host.tcp().tcp_port(tcp).filter(|_| is_local);
        port.map_or(0, |port| self.links.number(port))
    }

    pub(super) fn shut_down<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let how = match ask.int(0) {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => return Err(Errno::INVAL),
        };
        let socket = self.sockets.get_mut(handle).ok_or(Errno::BADF)?;
        match socket.kind {
            Kind::Tcp(tcp) => {
                host.tcp().tcp_shutdown(tcp, how).map_err(errno)?;
                socket.shut_read |= how != Shutdown::Write;
                socket.shut_write |= how != Shutdown::Read;
                DONE
            }
            // Linux: shutting a listener's reading side ends the listening; the name stays.
            Kind::Listener(listener) if how != Shutdown::Write => {
                socket.bind = host.tcp().tcp_stop_listening(listener);
                socket.kind = Kind::TcpClosed;
                DONE
            }
            Kind::Listener(_) => DONE,
            _ => Err(Errno::NOTCONN),
        }
    }

    /// What Op::Send says of a stream: whether what was written can go anywhere.
    pub(super) fn sent<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &Ask<'_>,
    ) -> Answer {
        self.end_record(host, handle, ask)?;
        if let Some(error) = self.take_error(handle) {
            return Err(error);
        }
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        match socket.kind {
            // A write of nothing opens the connection, too.
            Kind::Tcp(tcp) if host.tcp().tcp_is_deferred(tcp) => {
                host.tcp().tcp_go_on(tcp).map_err(errno)?;
                DONE
            }
            Kind::Tcp(_) if !socket.told.intersects(flumen_ipc::Flags::WRITE_END) => DONE,
            Kind::TcpClosed | Kind::Tcp(_) | Kind::Listener(_) => Err(Errno::PIPE),
            _ => DONE,
        }
    }

    /// MSG_EOR.
    fn end_record<P: FramePool, M: Probe>(
        &self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &Ask<'_>,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        let Kind::Tcp(tcp) = socket.kind else { return Ok(()) };
        if ask.args[1] & SEND_RECORD == 0 {
            return Ok(());
        }
        host.tcp().tcp_end_record(tcp, socket.beyond(ask.args[0])?).map_err(errno)
    }

    /// SO_TIMESTAMPING: a byte that is about to be written is to be stamped.
    pub(super) fn ask_stamps<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &Ask<'_>,
    ) -> Answer {
        let tcp = self.connection(handle)?;
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        let kinds = socket.stamps(ask.args[1]);
        host.tcp().tcp_ask_stamps(tcp, kinds, socket.beyond(ask.args[0])?).map_err(errno)?;
        DONE
    }

    pub(super) fn send_urgent<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let tcp = self.connection(handle)?;
        let sent = host.tcp().tcp_send_urgent(tcp, &[ask.args[0] as u8]).map_err(errno)?;
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        host.tcp().tcp_ask_stamps(tcp, socket.stamps(ask.args[1]), 0).map_err(errno)?;
        Ok((sent as i64, 0))
    }

    pub(super) fn receive_urgent<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let tcp = self.connection(handle)?;
        let byte = host.tcp().tcp_recv_urgent(tcp, ask.args[0] != 0).map_err(errno)?;
        Ok((i64::from(byte), 0))
    }

    /// The connection of a socket.
    fn connection(&self, handle: Handle) -> Result<Handle, Errno> {
        match self.sockets.get(handle).ok_or(Errno::BADF)?.kind {
            Kind::Tcp(tcp) => Ok(tcp),
            Kind::TcpClosed | Kind::Listener(_) => Err(Errno::NOTCONN),
            Kind::Udp(_) | Kind::Raw(_) | Kind::Ping(_) => Err(Errno::OPNOTSUPP),
        }
    }
}

impl Socket {
    /// How far a position in the send ring lies behind what was taken from it: nearly always all was, then nothing lies between.
    fn beyond(&self, position: u64) -> Result<i32, Errno> {
        let beyond = position.wrapping_sub(self.cursors.tx_head) as i64;
        let bound = MAX_RING as i64;
        i32::try_from(beyond).ok().filter(|_| beyond.abs() <= bound).ok_or(Errno::INVAL)
    }

    /// The stamps that a call asks for.
    fn stamps(&self, asked: u64) -> StampKinds {
        let set = self.options.get(Field::Timestamping, Kinds::ALL);
        let kinds = options::effect::stamp_kinds(if asked == STAMPS_AS_SET { set } else { asked as i32 });
        StampKinds { figures: set & stamping::OPT_STATS != 0, ..kinds }
    }

    /// An address that the socket can use.
    pub(super) fn check_family(&self, address: SocketAddr) -> Result<(), Errno> {
        let mapped = address.ip().to_canonical().is_ipv4();
        match (self.family, address) {
            (Family::Ipv4, SocketAddr::V6(_)) => Err(Errno::AFNOSUPPORT),
            (Family::Ipv6, SocketAddr::V4(_)) => Err(Errno::AFNOSUPPORT),
            (Family::Ipv6, SocketAddr::V6(_)) if mapped && self.options.v6_only() => Err(Errno::NETUNREACH),
            _ => Ok(()),
        }
    }

    fn bind_options(&self, link: Option<PortId>) -> BindOptions {
        let (reuse_address, reuse_port) = self.options.reuse();
        BindOptions {
            reuse_address,
            reuse_port,
            v6_only: self.options.v6_only(),
            device: link.or(self.options.device()),
            free_bind: self.options.free_bind(),
            user: self.user.uid,
        }
    }
}
