//! The calls that a service makes: sockets by handles, nothing that waits, nothing that sends before the turn
//! ends. The stack's sockets have this face; tests put a host made of lists behind it.
//!
//! Every call returns at once. What cannot be done now fails with [`Error::WouldBlock`], and the news
//! (`READABLE`, `WRITABLE`) say when it can. A handle of a socket that is gone fails with
//! [`Error::NotConnected`] and harms nobody.

use core::net::{IpAddr, SocketAddr};
use flumen_stack::Instant;
use flumen_stack::socket::{Handle, Owner};

/// Why a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not now; there will be news when it can be done.
    #[error("nothing can be done now; try again when there is news")]
    WouldBlock,
    /// There is no such socket, or it has no peer (any more).
    #[error("not connected")]
    NotConnected,
    /// The peer reset the connection.
    #[error("the peer reset the connection")]
    Reset,
    /// The address and port number belong to another socket.
    #[error("the address is in use")]
    AddressInUse,
    /// A table or the memory for buffers is full.
    #[error("no memory for it now")]
    NoBuffers,
}

/// What a listener is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// An IPv6 listener hears IPv6 only.
    pub v6_only: bool,
    /// Connections send small segments at once (TCP_NODELAY).
    pub nodelay: bool,
}

/// Which directions of a connection to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// What the peer still sends is thrown away.
    Read,
    /// We send what was written, and then the end.
    Write,
    /// Both.
    Both,
}

/// A datagram that was copied out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes. More than the room that was given for them: the rest is lost.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address that it was sent to.
    pub to: IpAddr,
    /// Others heard it too: it was sent to a group, or by broadcast.
    pub to_group: bool,
}

/// The sockets of this worker's host.
pub trait Sockets {
    /// The time of this turn.
    fn now(&self) -> Instant;
    /// Listens at an address and port number.
    fn tcp_listen(&mut self, owner: Owner, at: SocketAddr, options: &ListenOptions) -> Result<Handle, Error>;
    /// Takes a connection that waits.
    fn tcp_accept(&mut self, listener: Handle, owner: Owner) -> Result<(Handle, SocketAddr), Error>;
    /// Takes as many of the bytes as there is room for: at least one.
    fn tcp_send(&mut self, socket: Handle, bytes: &[u8]) -> Result<usize, Error>;
    /// Shows the longest contiguous piece of what can be read; as much as `take` says is read then, perhaps
    /// nothing. The end of what the peer sends is an empty piece, which is shown as often as it is asked for.
    fn tcp_recv_with(&mut self, socket: Handle, take: impl FnOnce(&[u8]) -> usize) -> Result<usize, Error>;
    /// Closes directions.
    fn tcp_shutdown(&mut self, socket: Handle, how: Shutdown) -> Result<(), Error>;
    /// Gives the connection up: what was written is still sent. The handle is void.
    fn tcp_close(&mut self, socket: Handle);
    /// Gives the connection up at once, with a reset. The handle is void.
    fn tcp_abort(&mut self, socket: Handle);
    /// A datagram socket at an address and port number; an IPv6 one hears IPv6 only.
    fn udp_open(&mut self, owner: Owner, at: SocketAddr) -> Result<Handle, Error>;
    /// Copies the next datagram out.
    fn udp_recv(&mut self, socket: Handle, out: &mut [u8]) -> Result<Datagram, Error>;
    /// Sends a datagram; `from` is the source address, `None` for the one that the route gives.
    fn udp_send(
        &mut self,
        socket: Handle,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<(), Error>;
}
