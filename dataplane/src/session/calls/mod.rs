//! The calls of programs, by [`Op`]: what is the same for every kind of socket is here, the rest in [`stream`] and [`datagram`].
//!
//! Every number in a request is the program's, and may be anything: slots are looked up in the program's own table, addresses
//! and sizes are checked by who uses them.

mod datagram;
mod stream;

use super::options::{self, About};
use super::program::Place;
use super::socket::{Kind, Socket};
use super::turn::owner_of;
use super::{Errno, Sessions, datagrams, errno};
use crate::builtin::host::Host;
use core::net::SocketAddr;
use core::sync::atomic::Ordering::{AcqRel, Acquire};
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::message::{Address, ErrorRecord};
use flumen_ipc::{Flags, Op, Request};
use flumen_stack::socket::{Family, Handle, Origin};
use flumen_stack::{FramePool, PortId, Probe};
use zerocopy::{FromBytes, IntoBytes};

/// What a call gives: its result, and how many bytes of data go with it.
pub type Answer = Result<(i64, usize), Errno>;

/// Nothing but success.
const DONE: Answer = Ok((0, 0));

/// A call that is being done.
#[derive(Debug)]
struct Ask<'a> {
    place: Place,
    args: [u64; 4],
    data: &'a [u8],
    out: &'a mut [u8; CALL_DATA],
}

impl Ask<'_> {
    /// An argument as an `int`.
    fn int(&self, index: usize) -> i32 {
        self.args.get(index).map_or(0, |arg| *arg as i32)
    }

    /// The address in the data; `None`: none is named.
    fn address(&self) -> Result<Option<Address>, Errno> {
        if self.data.is_empty() {
            return Ok(None);
        }
        let (address, _) = Address::read_from_prefix(self.data).map_err(|_short| Errno::INVAL)?;
        match address.family {
            0 => Ok(None),
            4 | 6 => Ok(Some(address)),
            _ => Err(Errno::AFNOSUPPORT),
        }
    }

    /// Answers with addresses.
    fn answer(&mut self, addresses: &[SocketAddr]) -> Answer {
        const SIZE: usize = size_of::<Address>();
        for (to, address) in self.out.chunks_exact_mut(SIZE).zip(addresses) {
            to.copy_from_slice(Address::from(*address).as_bytes());
        }
        Ok((0, addresses.len() * SIZE))
    }
}

impl Sessions {
    /// Does one call; its answer's data stand in `out`.
    pub(super) fn call<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        program: u16,
        request: &Request,
        data: &[u8],
        out: &mut [u8; CALL_DATA],
    ) -> Answer {
        let place = Place { program, slot: request.slot };
        let mut ask = Ask { place, args: request.args, data, out };
        match request.op {
            Op::Whose => return self.whose(host, &ask),
            Op::Open => return self.open(host, &ask),
            _ => {}
        }
        let handle = self.named(place).ok_or(Errno::BADF)?;
        // What the program wrote or read before it asked is done before.
        self.serve(host, handle, request.op == Op::Send && ask.args[1] & flumen_ipc::call::SEND_MORE != 0);
        let answer = self.ask_socket(host, handle, request.op, &mut ask);
        // The cell tells what came of it before the answer does.
        self.serve(host, handle, false);
        answer
    }

    fn ask_socket<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        op: Op,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let socket = self.sockets.get(handle).filter(|socket| !socket.gone).ok_or(Errno::CONNABORTED)?;
        let is_tcp = socket.kind.is_tcp();
        match op {
            Op::Bind => self.bind(host, handle, ask),
            Op::Listen => self.listen(host, handle, ask),
            Op::Connect if is_tcp => self.connect(host, handle, ask),
            Op::Connect => self.name_peer(host, handle, ask),
            Op::Accept => self.accept(host, handle, ask),
            Op::Shutdown if is_tcp => self.shut_down(host, handle, ask),
            Op::Shutdown => self.shut_datagrams(host, handle, ask),
            Op::SetOption => self.with_options(handle, |about, socket| {
                options::set(host, about, socket, ask.int(0), ask.int(1), ask.data).map(|()| (0, 0))
            }),
            Op::GetOption => self.with_options(handle, |about, socket| {
                let (option, longest) = ((ask.int(0), ask.int(1)), ask.args[2] as usize);
                let len = options::get(host, about, socket, option, longest, ask.data, ask.out)?;
                Ok((0, len))
            }),
            Op::Ioctl => self.with_options(handle, |about, socket| {
                let len = options::ioctl(host, about, socket, ask.args[0] as u32, ask.out)?;
                Ok((0, len))
            }),
            Op::Name => self.tell_name(host, handle, ask),
            Op::Send if is_tcp => self.sent(host, handle, ask),
            Op::Send => self.sent_record(handle, ask),
            Op::SendUrgent => self.send_urgent(host, handle, ask),
            Op::ReceiveUrgent => self.receive_urgent(host, handle, ask),
            Op::Stamp => self.ask_stamps(host, handle, ask),
            Op::ErrorQueue => {
                let Sessions { sockets, links, policy, wall, monotonic, scratch, .. } = self;
                let socket = sockets.get(handle).ok_or(Errno::BADF)?;
                let help = datagrams::Help { links, policy, wall: *wall, monotonic: *monotonic, scratch };
                let len = datagrams::error_queue(host, socket, &help, ask.out)?;
                // Who read of an ICMP error, the last one, knows of it: it is no error of the next call
                // (sock_dequeue_err_skb of Linux).
                let is_icmp = |origin| [Origin::Icmp as u8, Origin::Icmp6 as u8].contains(&origin);
                let record = ErrorRecord::read_from_prefix(&ask.out[..]);
                if record.is_ok_and(|(record, _)| is_icmp(record.origin)) && socket.reports(host) == 0 {
                    self.take_error(handle);
                }
                Ok((0, len))
            }
            Op::Hold => {
                self.hold(host, handle);
                DONE
            }
            Op::Whose | Op::Open => Err(Errno::INVAL),
        }
    }

    /// The socket that a program calls by a slot.
    fn named(&self, place: Place) -> Option<Handle> {
        self.programs.get(usize::from(place.program))?.as_ref()?.socket(place.slot)
    }

    fn whose<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>, ask: &Ask<'_>) -> Answer {
        let address = ask.address()?.and_then(Address::to_std).ok_or(Errno::INVAL)?;
        let whose = self.policy.whose(host, ask.int(0), (address.ip(), address.port()), ask.args[1] != 0);
        Ok((whose as i64, 0))
    }

    fn open<P: FramePool, M: Probe>(&mut self, host: &mut Host<'_, '_, P, M>, ask: &Ask<'_>) -> Answer {
        let family = match ask.int(0) {
            libc::AF_INET => Family::Ipv4,
            libc::AF_INET6 => Family::Ipv6,
            _ => return Err(Errno::AFNOSUPPORT),
        };
        let Some(Some(program)) = self.programs.get(usize::from(ask.place.program)) else {
            return Err(Errno::BADF);
        };
        let user = program.user;
        let (socket_type, protocol) = (ask.int(1) & 0xf, ask.int(2));
        let icmp = if family == Family::Ipv4 { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
        match (socket_type, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP)
            | (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE) => {}
            (libc::SOCK_DGRAM, protocol) if protocol == icmp => {}
            (libc::SOCK_RAW, 1..=255) if user.is_privileged() => {}
            (libc::SOCK_RAW, 1..=255) => return Err(Errno::PERM),
            (libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_RAW, _) => return Err(Errno::PROTONOSUPPORT),
            _ => return Err(Errno::SOCKTNOSUPPORT),
        }
        let handle = self.house(Socket::new(Kind::TcpClosed, family, user, ask.place, ask.args[3]))?;
        let owner = owner_of(handle);
        let kind = match socket_type {
            libc::SOCK_STREAM => Ok(Kind::TcpClosed),
            libc::SOCK_RAW => host.stack.raw_open(family, protocol as u8, owner).map(Kind::Raw),
            _ if protocol == icmp => host.stack.ping_open(family, owner).map(Kind::Ping),
            _ if protocol == libc::IPPROTO_UDPLITE => host.stack.udplite_open(family, owner).map(Kind::Udp),
            _ => host.stack.udp_open(family, owner).map(Kind::Udp),
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(error) => {
                self.unname(host, ask.place)?;
                return Err(errno(error));
            }
        };
        if let Some(socket) = self.sockets.get_mut(handle) {
            socket.kind = kind;
            (socket.socket_type, socket.protocol) = match (socket_type, protocol) {
                (libc::SOCK_STREAM, _) => (socket_type, libc::IPPROTO_TCP),
                (libc::SOCK_DGRAM, 0) => (socket_type, libc::IPPROTO_UDP),
                named => named,
            };
        }
        self.serve(host, handle, false);
        DONE
    }

    fn bind<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        let address = ask.address()?.ok_or(Errno::INVAL)?;
        let at = address.to_std().ok_or(Errno::INVAL)?;
        // What these name is no port.
        let port = if matches!(socket.kind, Kind::Raw(_) | Kind::Ping(_)) { 0 } else { at.port() };
        if !self.policy.may_bind(&socket.user, socket.protocol, (at.ip(), port)) {
            return Err(Errno::ACCESS);
        }
        match socket.kind {
            Kind::TcpClosed => self.bind_stream(host, handle, at, self.link(&address)?)?,
            Kind::Listener(_) | Kind::Tcp(_) => return Err(Errno::INVAL),
            Kind::Udp(_) | Kind::Raw(_) | Kind::Ping(_) => {
                self.bind_datagrams(host, handle, at, self.link(&address)?)?;
            }
        }
        if let std::net::SocketAddr::V6(six) = at
            && !six.ip().is_unspecified()
            && six.ip().to_ipv4_mapped().is_none()
            && let Some(socket) = self.sockets.get_mut(handle)
        {
            // Linux: who has an IPv6 address speaks IPv6 alone, and says so (__inet6_bind).
            socket.options.set(options::Field::V6Only, 1);
        }
        self.tell_name(host, handle, &mut Ask { args: [0; 4], place: ask.place, data: &[], out: ask.out })
    }

    /// The port that an address's scope names; `None`: it names none.
    fn link(&self, address: &Address) -> Result<Option<PortId>, Errno> {
        match address.scope {
            0 => Ok(None),
            number => self.links.by_number(number).map(Some).ok_or(Errno::NODEV),
        }
    }

    /// getsockname and getpeername.
    fn tell_name<P: FramePool, M: Probe>(
        &mut self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
        ask: &mut Ask<'_>,
    ) -> Answer {
        let socket = self.sockets.get(handle).ok_or(Errno::BADF)?;
        let peer = ask.args[0] != 0;
        let name = match (socket.kind, peer) {
            (Kind::TcpClosed | Kind::Listener(_), true) => return Err(Errno::NOTCONN),
            (Kind::TcpClosed | Kind::Listener(_), false) => socket.name.unwrap_or(socket.unnamed()),
            (Kind::Tcp(tcp), false) => host.tcp().tcp_local(tcp).map_err(errno)?,
            // Linux: only while there is a connection, or one is being made that is not refused yet.
            (Kind::Tcp(tcp), true) if socket.told.intersects(Flags::CONNECTED) => {
                if host
                    .tcp()
                    .tcp_state(tcp)
                    .is_none_or(|state| state == flumen_stack::tcp::state::State::Closed)
                {
                    return Err(Errno::NOTCONN);
                }
                host.tcp().tcp_peer(tcp).map_err(errno)?
            }
            (Kind::Tcp(_), true) => return Err(Errno::NOTCONN),
            (Kind::Udp(udp), _) => choose(host.stack.udp_names(udp).map_err(errno)?, peer)?,
            (Kind::Raw(raw) | Kind::Ping(raw), _) => choose(host.stack.raw_names(raw).map_err(errno)?, peer)?,
        };
        let scope = match name.ip() {
            ip if ip.is_loopback() => 0,
            ip => self.scope_of(host, socket, ip),
        };
        ask.answer(&[socket.shown(name, scope)])
    }

    /// The number of the link that a link-local address is on.
    fn scope_of<P: FramePool, M: Probe>(
        &self,
        host: &mut Host<'_, '_, P, M>,
        socket: &Socket,
        ip: core::net::IpAddr,
    ) -> u32 {
        if !matches!(ip, core::net::IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            return 0;
        }
        let of_connection = match socket.kind {
            Kind::Tcp(tcp) => host.tcp().tcp_port(tcp),
            _ => None,
        };
        let owner = || host.stack.interfaces.iter().find(|one| one.owns(ip)).map(|one| one.id);
        let port = of_connection.or(socket.link).or_else(owner);
        port.map_or(0, |port| self.links.number(port))
    }

    fn with_options(
        &mut self,
        handle: Handle,
        call: impl FnOnce(&About<'_>, &mut Socket) -> Answer,
    ) -> Answer {
        let Sessions { sockets, programs, links, .. } = self;
        let socket = sockets.get_mut(handle).ok_or(Errno::BADF)?;
        let Some(Some(home)) = programs.get(usize::from(socket.home.program)) else {
            return Err(Errno::BADF);
        };
        let about = About { links, cell: home.arena.cell(socket.home.slot) };
        call(&about, socket)
    }

    /// The error that waits in a socket's cell, which waits no longer.
    fn take_error(&self, handle: Handle) -> Option<Errno> {
        let socket = self.sockets.get(handle)?;
        let home = self.programs.get(usize::from(socket.home.program))?.as_ref()?;
        let error = &home.arena.cell(socket.home.slot).error;
        // Whatever the program wrote there, it is told what it wrote.
        let waits = error.load(Acquire) != 0;
        waits.then(|| Errno::from_raw_os_error((error.swap(0, AcqRel) & 0xfff).max(1) as i32))
    }
}

/// The one name or the other.
fn choose((local, peer): (SocketAddr, Option<SocketAddr>), wants_peer: bool) -> Result<SocketAddr, Errno> {
    if wants_peer { peer.ok_or(Errno::NOTCONN) } else { Ok(local) }
}
