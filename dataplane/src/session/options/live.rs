//! Options whose answer the stack knows: it changes by itself.

use super::About;
use super::asked::Answer;
use super::groups::{FILTER_HEAD, FILTER4_HEAD, Place, STORAGE, by_address, ipv4, mode_number, storage};
use super::kind::{Facts, Kinds, Stage};
use super::state::Field;
use super::table::IP;
use super::{info, table};
use crate::builtin::host::Host;
use crate::session::socket::{Kind, Socket};
use crate::session::{Errno, errno};
use flumen_stack::groups::Filter;
use flumen_stack::socket::SocketId;
use flumen_stack::socket::endpoint::Endpoint;
use flumen_stack::tcp::congestion::Algorithm;
use flumen_stack::{FramePool, PortId, Probe};
use std::net::{IpAddr, SocketAddr};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// SO_ERROR.
    Error,
    /// SO_SNDBUF.
    SendBuffer,
    /// SO_RCVBUF.
    ReceiveBuffer,
    /// SO_ACCEPTCONN.
    Listens,
    /// SO_PEERNAME.
    PeerName,
    /// SO_MEMINFO.
    Memory,
    /// TCP_MAXSEG.
    MaxSegment,
    /// TCP_WINDOW_CLAMP.
    WindowClamp,
    /// TCP_QUICKACK.
    QuickAck,
    /// TCP_INFO.
    Info,
    /// TCP_CC_INFO.
    CongestionInfo,
    /// IP_MTU, IPV6_MTU.
    Mtu,
    /// IPV6_PATHMTU.
    PathMtu,
    /// The local port number.
    LocalPort,
    /// IP_MSFILTER.
    Filter4,
    /// MCAST_MSFILTER of a level.
    Filter(i32),
}

/// The part that datagram sockets share.
pub fn endpoint<'h, P: FramePool, M: Probe>(
    host: &'h Host<'_, '_, P, M>,
    socket: &Socket,
) -> Option<&'h Endpoint> {
    match socket.kind {
        Kind::Udp(handle) => host.stack.udp.get(handle).map(|socket| &socket.end),
        Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw.get(handle).map(|socket| &socket.end),
        Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_) => None,
    }
}

/// Answers.
///
/// # Errors
/// Linux's.
pub fn answer<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
    facts: &Facts,
    level: i32,
    live: Live,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    let value = |field| socket.options.get(field, facts.kinds);
    let number = match live {
        Live::Error => take_error(host, socket),
        Live::Listens => i32::from(matches!(socket.kind, Kind::Listener(_))),
        Live::SendBuffer => send_buffer(host, socket, facts),
        Live::ReceiveBuffer => receive_buffer(host, socket, facts),
        Live::MaxSegment => match socket.kind {
            Kind::Tcp(handle) => host.tcp().tcp_info(handle).map_err(errno)?.snd_mss as i32,
            _ if value(Field::MaxSegment) != 0 => value(Field::MaxSegment),
            _ => 536,
        },
        Live::WindowClamp => match socket.kind {
            Kind::Tcp(handle) => host.tcp().tcp_look(handle).map_err(errno)?.window_clamp() as i32,
            _ => value(Field::WindowClamp),
        },
        Live::QuickAck => match socket.kind {
            Kind::Tcp(handle) => i32::from(host.tcp().tcp_look(handle).map_err(errno)?.is_quick()),
            _ => value(Field::QuickAck),
        },
        Live::Mtu => i32::from(path_mtu(host, socket, facts)?),
        Live::LocalPort => local_port(host, socket),
        Live::PeerName => return peer_name(host, socket, facts, out),
        Live::Memory => return memory(host, about, socket, facts, out),
        Live::Info => return tcp_info(host, socket, facts, out),
        Live::CongestionInfo => return congestion_info(host, socket, out),
        Live::PathMtu => {
            let mut mtu_info = [0; 32];
            if out.longest < mtu_info.len() {
                return Err(Errno::INVAL);
            }
            mtu_info[28..].copy_from_slice(&u32::from(path_mtu(host, socket, facts)?).to_ne_bytes());
            mtu_info[..2].copy_from_slice(&10u16.to_ne_bytes());
            out.bytes(&mtu_info);
            return Ok(());
        }
        Live::Filter4 => return filter4(host, socket, out),
        Live::Filter(level) => return filter(host, about, socket, level, out),
    };
    out.int(level, number);
    Ok(())
}

fn take_error<P: FramePool, M: Probe>(host: &mut Host<'_, '_, P, M>, socket: &Socket) -> i32 {
    let error = match socket.kind {
        Kind::TcpClosed | Kind::Listener(_) => None,
        Kind::Tcp(handle) => host.tcp().tcp_take_error(handle),
        Kind::Udp(handle) => host.stack.udp.get_mut(handle).and_then(|socket| socket.end.take_error()),
        Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_take_error(handle),
    };
    error.map_or(0, |error| error.errno())
}

/// What was asked for; else what the connection has grown to.
fn send_buffer<P: FramePool, M: Probe>(host: &mut Host<'_, '_, P, M>, socket: &Socket, facts: &Facts) -> i32 {
    let set = socket.options.get(Field::SendBuffer, facts.kinds);
    match socket.kind {
        Kind::Tcp(handle) if !socket.options.is_touched(Field::SendBuffer) => {
            host.tcp().tcp_look(handle).map_or(set, |connection| connection.buffers().0 as i32)
        }
        _ => set,
    }
}

fn receive_buffer<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    facts: &Facts,
) -> i32 {
    let set = socket.options.get(Field::ReceiveBuffer, facts.kinds);
    match socket.kind {
        // The stack counts data, Linux its overhead too.
        Kind::Tcp(handle) if !socket.options.is_touched(Field::ReceiveBuffer) => {
            host.tcp().tcp_look(handle).map_or(set, |connection| (connection.buffers().1 * 2) as i32)
        }
        _ => set,
    }
}

fn local_port<P: FramePool, M: Probe>(host: &mut Host<'_, '_, P, M>, socket: &Socket) -> i32 {
    match socket.kind {
        Kind::Tcp(handle) => host.tcp().tcp_local(handle).map_or(0, |name| i32::from(name.port())),
        _ => endpoint(host, socket).map_or(0, |end| i32::from(end.local_port)),
    }
}

/// The MTU of the way to the peer.
fn path_mtu<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    facts: &Facts,
) -> Result<u16, Errno> {
    if facts.stage != Stage::Connected {
        return Err(Errno::NOTCONN);
    }
    match socket.kind {
        Kind::Tcp(handle) => {
            let info = host.tcp().tcp_info(handle).map_err(errno)?;
            Ok((info.path_mss + headers(facts)) as u16)
        }
        Kind::Udp(handle) => host.stack.udp_path_mtu(host.turn.now, handle).map_err(errno),
        Kind::Raw(handle) | Kind::Ping(handle) => {
            host.stack.raw_path_mtu(host.turn.now, handle).map_err(errno)
        }
        Kind::TcpClosed | Kind::Listener(_) => Err(Errno::NOTCONN),
    }
}

/// Bytes of a connection's IP and TCP headers, without options.
fn headers(facts: &Facts) -> u32 {
    if facts.over_ipv4 { 40 } else { 60 }
}

/// An address as `sockaddr_in` or `sockaddr_in6`: IPv4's is mapped for a socket of AF_INET6.
pub fn sockaddr(name: SocketAddr, v6: bool) -> ([u8; 28], usize) {
    let mut bytes = [0; 28];
    let family: u16 = if v6 { 10 } else { 2 };
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&name.port().to_be_bytes());
    match name.ip() {
        IpAddr::V4(address) if !v6 => bytes[4..8].copy_from_slice(&address.octets()),
        IpAddr::V4(address) => bytes[8..24].copy_from_slice(&address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => bytes[8..24].copy_from_slice(&address.octets()),
    }
    (bytes, if v6 { 28 } else { 16 })
}

fn peer_name<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    facts: &Facts,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    if facts.stage != Stage::Connected {
        return Err(Errno::NOTCONN);
    }
    let peer = match socket.kind {
        Kind::Tcp(handle) => host.tcp().tcp_peer(handle).map_err(errno)?,
        _ => endpoint(host, socket).and_then(|end| end.peer).ok_or(Errno::NOTCONN)?.into(),
    };
    let (bytes, len) = sockaddr(peer, facts.is_v6());
    // Linux: who asks for more than there is asks for something else.
    if out.longest > len {
        return Err(Errno::INVAL);
    }
    out.bytes(&bytes[..len]);
    Ok(())
}

fn memory<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &Socket,
    facts: &Facts,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    let (send, receive) = (send_buffer(host, socket, facts), receive_buffer(host, socket, facts));
    let (waiting, unsent, drops) = match socket.kind {
        Kind::Tcp(handle) => {
            let connection = host.tcp();
            let connection = connection.tcp_look(handle).map_err(errno)?;
            (connection.readable(), connection.unacknowledged(), 0)
        }
        _ => match endpoint(host, socket) {
            Some(end) => (end.received.charged(), 0, end.received.drops()),
            None => (0, 0, 0),
        },
    };
    let queued = unsent as u32 + super::ioctl::unsent_in_ring(about);
    let words = [waiting as u32, receive as u32, queued, send as u32, 0, queued, 0, 0, drops];
    out.bytes(words.map(u32::to_ne_bytes).as_flattened());
    Ok(())
}

fn tcp_info<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    facts: &Facts,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    let bytes = match socket.kind {
        Kind::Tcp(handle) => {
            let info = host.tcp().tcp_info(handle).map_err(errno)?;
            info::of_connection(&info, headers(facts))
        }
        Kind::Listener(handle) => {
            let (waiting, backlog) = host.tcp().tcp_backlog(handle).map_err(errno)?;
            info::of_listener(waiting as u32, backlog as u32)
        }
        _ => info::of_closed(),
    };
    out.bytes(&bytes);
    Ok(())
}

fn congestion_info<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    let sender = match socket.kind {
        Kind::Tcp(handle) => host.tcp().tcp_info(handle).map_err(errno)?.sender,
        // BBR has its 20 bytes from the beginning.
        _ if socket.options.more().and_then(|more| more.congestion) == Some(Algorithm::Bbr) => {
            out.bytes(&[0; 20]);
            return Ok(());
        }
        _ => return Ok(()),
    };
    if let Some(bytes) = info::of_congestion(&sender) {
        out.bytes(&bytes);
    }
    Ok(())
}

fn id(socket: &Socket) -> Result<SocketId, Errno> {
    match socket.kind {
        Kind::Udp(handle) => Ok(SocketId::Udp(handle)),
        Kind::Raw(handle) | Kind::Ping(handle) => Ok(SocketId::Raw(handle)),
        Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_) => Err(Errno::INVAL),
    }
}

/// The filter of a group, if the socket is a member.
fn filter_of<'h, P: FramePool, M: Probe>(
    host: &'h Host<'_, '_, P, M>,
    socket: &Socket,
    port: Option<PortId>,
    group: IpAddr,
) -> Result<&'h Filter, Errno> {
    let found = host.stack.group_filter_of(id(socket)?, port, group).map_err(errno)?;
    found.ok_or(Errno::ADDRNOTAVAIL)
}

fn filter4<P: FramePool, M: Probe>(
    host: &Host<'_, '_, P, M>,
    socket: &Socket,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    let given = out.given;
    let (Some(group), Some(most)) = (ipv4(given), given.get(12..16).and_then(super::asked::int)) else {
        return Err(Errno::INVAL);
    };
    if !group.is_multicast() {
        return Err(Errno::INVAL);
    }
    let owns = |address: std::net::Ipv4Addr| {
        let mut all = host.stack.interfaces.iter();
        all.find(|one| one.owns(address.into())).map(|one| one.id)
    };
    let port = match by_address(given.get(4..).and_then(ipv4)) {
        Place::Address(address) => Some(owns(address).ok_or(Errno::NODEV)?),
        _ => None,
    };
    let filter = filter_of(host, socket, port, group.into())?;
    let mut bytes = Vec::with_capacity(FILTER4_HEAD + 4 * filter.sources().len());
    bytes.extend_from_slice(&given[..8]);
    bytes.extend_from_slice(&mode_number(filter.mode()).to_ne_bytes());
    bytes.extend_from_slice(&(filter.sources().len() as u32).to_ne_bytes());
    for source in filter.sources().iter().take(usize::try_from(most).unwrap_or(0)) {
        if let IpAddr::V4(source) = source {
            bytes.extend_from_slice(&source.octets());
        }
    }
    out.bytes(&bytes);
    Ok(())
}

fn filter<P: FramePool, M: Probe>(
    host: &Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &Socket,
    level: i32,
    out: &mut Answer<'_>,
) -> Result<(), Errno> {
    let given = out.given;
    let word = |at: usize| given.get(at..).and_then(super::asked::int);
    let (Some(index), Some(most)) = (word(0), word(140)) else { return Err(Errno::INVAL) };
    let wrong = if level == IP { Errno::INVAL } else { Errno::ADDRNOTAVAIL };
    let group = storage(&given[8..], level).filter(IpAddr::is_multicast).ok_or(wrong)?;
    let port = match index {
        0 => None,
        _ => Some(about.links.by_number(index as u32).ok_or(Errno::NODEV)?),
    };
    let filter = filter_of(host, socket, port, group)?;
    let mut bytes = Vec::with_capacity(FILTER_HEAD + STORAGE * filter.sources().len());
    bytes.extend_from_slice(&given[..136]);
    bytes.extend_from_slice(&mode_number(filter.mode()).to_ne_bytes());
    bytes.extend_from_slice(&(filter.sources().len() as u32).to_ne_bytes());
    for source in filter.sources().iter().take(usize::try_from(most).unwrap_or(0)) {
        let mut one = [0; STORAGE];
        let (name, len) = sockaddr(SocketAddr::new(*source, 0), level != table::IP);
        one[..len].copy_from_slice(&name[..len]);
        bytes.extend_from_slice(&one);
    }
    out.bytes(&bytes);
    Ok(())
}

/// What there is to know of a socket: what it says of itself, and what the stack says.
pub fn facts<P: FramePool, M: Probe>(host: &mut Host<'_, '_, P, M>, socket: &Socket) -> Facts {
    let mut facts = Facts::of(socket);
    match socket.kind {
        Kind::Tcp(handle) => {
            facts.stage = super::kind::stage_of(host.tcp().tcp_state(handle));
            facts.over_ipv4 = host.tcp().tcp_local(handle).map_or(facts.over_ipv4, |name| name.is_ipv4());
        }
        _ => {
            if let Some(end) = endpoint(host, socket) {
                facts.bound = end.local.is_some() || end.local_port != 0;
                if end.peer.is_some() {
                    facts.stage = Stage::Connected;
                }
            }
        }
    }
    debug_assert!(facts.kinds.meets(Kinds::ALL));
    facts
}
