//! A socket of a program: what it is in the stack, and what POSIX knows about it beside that.

use super::options;
use flumen_stack::socket::{Family, Handle};

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
    /// UDP.
    Udp(Handle),
    /// Raw (SOCK_RAW).
    Raw(Handle),
    /// Ping (SOCK_DGRAM with ICMP).
    Ping(Handle),
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
}
