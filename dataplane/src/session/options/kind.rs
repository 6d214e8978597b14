//! For which kinds of sockets an option exists, and what else its answer depends on.

use crate::session::socket::{Kind, Socket};
use flumen_stack::socket::Family;
use flumen_stack::tcp::state::State as TcpState;

/// The protocol number of raw sockets that bring their own IP headers.
pub const RAW: i32 = 255;
/// ICMP.
pub const ICMP: i32 = 1;
/// ICMPv6.
pub const ICMPV6: i32 = 58;

/// A set of kinds of sockets: TCP, UDP (and UDP-Lite), raw and ping, each of AF_INET and AF_INET6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(pub u8);

impl Kinds {
    /// Every kind, with the word that the documentation has for it.
    pub const EACH: [(Kinds, &'static str); 8] = [
        (Kinds(1), "TCP4"),
        (Kinds(2), "TCP6"),
        (Kinds(4), "UDP4"),
        (Kinds(8), "UDP6"),
        (Kinds(16), "raw4"),
        (Kinds(32), "raw6"),
        (Kinds(64), "ping4"),
        (Kinds(128), "ping6"),
    ];
    /// All.
    pub const ALL: Kinds = Kinds(255);
    /// TCP.
    pub const TCP: Kinds = Kinds(1 | 2);
    /// UDP and UDP-Lite: see [`Facts::is_udp_lite`].
    pub const UDP: Kinds = Kinds(4 | 8);
    /// TCP and UDP.
    pub const PORTS: Kinds = Kinds(1 | 2 | 4 | 8);
    /// Raw sockets of AF_INET.
    pub const RAW4: Kinds = Kinds(16);
    /// Raw sockets of AF_INET6.
    pub const RAW6: Kinds = Kinds(32);
    /// Raw and ping.
    pub const RAW_AND_PING: Kinds = Kinds(16 | 32 | 64 | 128);
    /// All but TCP.
    pub const DATAGRAM: Kinds = Kinds(!3);
    /// AF_INET6.
    pub const V6: Kinds = Kinds(2 | 8 | 32 | 128);
    /// TCP of AF_INET6.
    pub const TCP6: Kinds = Kinds(2);
    /// AF_INET6, all but TCP.
    pub const V6_DATAGRAM: Kinds = Kinds(8 | 32 | 128);
    /// Sockets that have options of IPPROTO_IP: all but raw ones of AF_INET6.
    pub const IP: Kinds = Kinds(!32);
    /// Those of them that are not TCP.
    pub const IP_DATAGRAM: Kinds = Kinds(!(32 | 3));
    /// Those of them that are of AF_INET6 and not TCP.
    pub const IP_ON_V6_DATAGRAM: Kinds = Kinds(8 | 128);

    /// The members of either.
    pub const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Those of `self` that are not in `other`.
    pub const fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    /// True when they share a member.
    pub const fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }
}

/// How far a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Neither connected nor listening.
    Fresh,
    /// TCP that listens.
    Listening,
    /// TCP whose SYN is out or about to be.
    Connecting,
    /// Connected.
    Connected,
    /// TCP whose connection is over.
    Ended,
}

/// What the answer depends on, beside what was set.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Its kind and family: a set of one.
    pub kinds: Kinds,
    /// The family that it was made for.
    pub family: Family,
    /// How far it is.
    pub stage: Stage,
    /// It has a local address or port number.
    pub bound: bool,
    /// SOCK_STREAM, SOCK_DGRAM or SOCK_RAW.
    pub socket_type: i32,
    /// IPPROTO_*.
    pub protocol: i32,
    /// The program may what Linux asks CAP_NET_ADMIN and CAP_NET_RAW for.
    pub privileged: bool,
    /// Segments of this connection speak IPv4 (also those of an AF_INET6 socket to a mapped address).
    pub over_ipv4: bool,
}

impl Facts {
    /// The set of one for a socket.
    pub fn kinds_of(kind: Kind, family: Family) -> Kinds {
        let four = match kind {
            Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_) => 1,
            Kind::Udp(_) => 4,
            Kind::Raw(_) => 16,
            Kind::Ping(_) => 64,
        };
        Kinds(if family == Family::Ipv6 { four << 1 } else { four })
    }

    /// What a socket says of itself; the caller adds what the stack knows.
    pub fn of(socket: &Socket) -> Facts {
        Facts {
            kinds: Facts::kinds_of(socket.kind, socket.family),
            family: socket.family,
            stage: if matches!(socket.kind, Kind::Listener(_)) { Stage::Listening } else { Stage::Fresh },
            bound: matches!(socket.kind, Kind::Listener(_) | Kind::Tcp(_)) || socket.name.is_some(),
            socket_type: socket.socket_type,
            protocol: socket.protocol,
            privileged: socket.user.is_privileged(),
            over_ipv4: socket.family == Family::Ipv4,
        }
    }

    /// True for TCP.
    pub const fn is_tcp(&self) -> bool {
        self.kinds.meets(Kinds::TCP)
    }

    /// True for UDP-Lite.
    pub const fn is_udp_lite(&self) -> bool {
        self.kinds.meets(Kinds::UDP) && self.protocol == super::table::UDP_LITE
    }

    /// True for AF_INET6.
    pub const fn is_v6(&self) -> bool {
        self.kinds.meets(Kinds::V6)
    }
}

/// How far a connection is, as the options see it.
pub fn stage_of(state: Option<TcpState>) -> Stage {
    match state {
        None | Some(TcpState::Closed) => Stage::Ended,
        Some(TcpState::SynSent) => Stage::Connecting,
        Some(_) => Stage::Connected,
    }
}
