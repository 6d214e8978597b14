//! A socket of a program: what it is in the stack, and what POSIX knows about it beside that.

use super::program::Place;
use super::{cookies, options};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use flumen_ipc::Flags;
use flumen_stack::PortId;
use flumen_stack::socket::{BindId, Error, Family, Handle, SocketId};

/// What a socket is in the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP that neither listens nor ever connected: there is nothing in the stack but perhaps a port that is held.
    /// Options are kept in [`Socket::options`] alone.
    TcpClosed,
    /// TCP that listens.
    Listener(Handle),
    /// TCP that connects, is connected, or was.
    Tcp(Handle),
    /// UDP, or UDP-Lite.
    Udp(Handle),
    /// Raw (SOCK_RAW).
    Raw(Handle),
    /// Ping (SOCK_DGRAM with ICMP).
    Ping(Handle),
}

impl Kind {
    /// Its name in the stack.
    pub fn id(self) -> Option<SocketId> {
        match self {
            Kind::TcpClosed => None,
            Kind::Listener(handle) => Some(SocketId::Listener(handle)),
            Kind::Tcp(handle) => Some(SocketId::Tcp(handle)),
            Kind::Udp(handle) => Some(SocketId::Udp(handle)),
            Kind::Raw(handle) | Kind::Ping(handle) => Some(SocketId::Raw(handle)),
        }
    }

    /// True for TCP.
    pub fn is_tcp(self) -> bool {
        matches!(self, Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_))
    }
}

/// Who made a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process.
    pub pid: i32,
}

impl Credentials {
    /// True for root, who may what the kernel asks CAP_NET_ADMIN and CAP_NET_RAW for.
    pub fn is_privileged(&self) -> bool {
        self.uid == 0
    }
}

/// How far the bytes of both rings are, as the worker knows it: what it wrote to the cell is never read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursors {
    /// What the program has read, as far as the stack was told.
    pub rx_head: u64,
    /// The end of what was put into the receive ring.
    pub rx_tail: u64,
    /// How far the send ring was taken.
    pub tx_head: u64,
    /// How far the program may write.
    pub tx_limit: u64,
}

/// A socket of a program.
#[derive(Debug)]
pub struct Socket {
    /// What it is in the stack.
    pub kind: Kind,
    /// AF_INET or AF_INET6.
    pub family: Family,
    /// SOCK_STREAM, SOCK_DGRAM or SOCK_RAW.
    pub socket_type: i32,
    /// IPPROTO_*, as socket(2) was given it, or what 0 stands for.
    pub protocol: i32,
    /// Who made it.
    pub user: Credentials,
    /// What setsockopt said, as far as the stack does not keep it.
    pub options: options::State,
    /// Names the kernel's socket that stands for it (SO_COOKIE).
    pub cookie: u64,
    /// Its place among those with like cookies.
    pub by_cookie: cookies::Links,
    /// Where its cell and rings are.
    pub home: Place,
    /// The first of the slots that name it.
    pub first: Option<Place>,
    /// How many slots name it, and one more while it waits to be adopted.
    pub owners: u32,
    /// TCP: the port that bind chose or was given, while there is no connection that holds it.
    pub bind: Option<BindId>,
    /// TCP: what bind was given, with the port that it got.
    pub name: Option<SocketAddr>,
    /// The link of a link-local name.
    pub link: Option<PortId>,
    /// The rings.
    pub cursors: Cursors,
    /// Datagrams: what became of the last record that somebody waits for, and where it ended.
    pub sent: Option<(u64, Option<Error>)>,
    /// What the cell said last.
    pub told: Flags,
    /// TCP: how often urgent data were announced, as the cell said last.
    pub announced: u32,
    /// TCP: the connection stood once.
    pub was_connected: bool,
    /// What it said last went to this node.
    pub near: bool,
    /// TCP: it was looked whether the peer is this node.
    pub knows_peer: bool,
    /// TCP fast open was asked for: what stands in the send ring goes with the SYN.
    pub sends_with_syn: bool,
    /// Reading was shut down.
    pub shut_read: bool,
    /// Writing was shut down.
    pub shut_write: bool,
    /// Nobody names it any more, but bytes in the send ring wait for room.
    pub closing: bool,
    /// It stands in the queue of sockets to be looked at.
    pub queued: bool,
    /// The turn in which bytes came into the send buffer last; 0: none yet.
    pub wrote_in: u64,
    /// Threads that wait for it are woken at the end of the turn.
    pub to_wake: bool,
    /// The program said of its rings what cannot be: there is nothing behind the slot any more.
    pub gone: bool,
}

impl Socket {
    /// A new one.
    pub fn new(kind: Kind, family: Family, user: Credentials, home: Place, cookie: u64) -> Socket {
        let (socket_type, protocol) = match kind {
            Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_) => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            Kind::Udp(_) => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            Kind::Raw(_) => (libc::SOCK_RAW, 0),
            Kind::Ping(_) => (libc::SOCK_DGRAM, 0),
        };
        Socket {
            kind,
            family,
            socket_type,
            protocol,
            user,
            options: options::State::default(),
            cookie,
            by_cookie: cookies::Links::default(),
            home,
            first: None,
            owners: 0,
            bind: None,
            name: None,
            link: None,
            cursors: Cursors::default(),
            sent: None,
            told: Flags::NONE,
            announced: 0,
            was_connected: false,
            near: false,
            knows_peer: false,
            sends_with_syn: false,
            shut_read: false,
            shut_write: false,
            closing: false,
            queued: false,
            wrote_in: 0,
            to_wake: false,
            gone: false,
        }
    }

    /// An address as the program sees it: on an IPv6 socket IPv4 addresses are mapped (RFC 4291 section 2.5.5.2), and a
    /// link-local one says its link.
    pub fn shown(&self, address: SocketAddr, scope: u32) -> SocketAddr {
        match (self.family, address.ip()) {
            (Family::Ipv6, IpAddr::V4(ip)) if ip.is_unspecified() => {
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port())
            }
            (Family::Ipv6, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            (Family::Ipv6, IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(ip, address.port(), 0, scope))
            }
            _ => address,
        }
    }

    /// The name of a socket that has none.
    pub fn unnamed(&self) -> SocketAddr {
        match self.family {
            Family::Ipv4 => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            Family::Ipv6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        }
    }
}
