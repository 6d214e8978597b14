//! The calls that a service makes: sockets by handles, nothing that waits. Behind them are the stack's own calls
//! ([`flumen_stack::socket::api`], [`super::host`]); tests put a host made of lists there.
//!
//! Every call returns at once. What cannot be done now fails with [`Error::WouldBlock`], and the news
//! (`READABLE`, `WRITABLE`) say when it can. A handle of a socket that is gone fails with
//! [`Error::BadHandle`] and harms nobody.

use core::net::{IpAddr, SocketAddr};
use flumen_stack::Instant;
pub use flumen_stack::socket::Error;
use flumen_stack::socket::{Handle, Owner};
pub use flumen_stack::tcp::sockets::ListenOptions;
pub use flumen_stack::tcp::user::Shutdown;

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
    /// A datagram socket at an address and port number, which may hold so many bytes, overhead included, of what it
    /// received; an IPv6 one hears IPv6 only.
    fn udp_open(&mut self, owner: Owner, at: SocketAddr, receive_buffer: usize) -> Result<Handle, Error>;
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
