//! Names of sockets before they listen or connect (bind, row S1): a port that is held, by the rules of
//! [`crate::socket::bound`].
//!
//! ```text
//!   tcp_bind ─> BindId ─┬─> tcp_listen_bound ──> listener ──> its connections hold the port, too
//!                       ├─> tcp_connect_bound ─> connection, which holds it to its end
//!                       └─> tcp_unbind
//! ```

use crate::frame::Frame;
use crate::port::PortId;
use crate::socket::api::Sockets;
use crate::socket::bound::{Address, Bind, BindError, BindId};
use crate::socket::error::Error;
use crate::stack::Stack;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How a name is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BindOptions {
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// IPV6_V6ONLY: `::` does not take IPv4.
    pub v6_only: bool,
    /// SO_BINDTODEVICE, or the link of a link-local address.
    pub device: Option<PortId>,
    /// IP_FREEBIND: an address that is not ours.
    pub free_bind: bool,
    /// Whose it is, for `reuse_port`.
    pub user: u32,
}

impl<F: Frame> Sockets<'_, F> {
    /// Holds a port at an address of ours (or any); port 0 asks for one that nobody holds. Gives the name that was got.
    ///
    /// # Errors
    /// [`Error::AddressNotAvailable`] when the address is not ours, or the port another worker's; [`Error::AddressInUse`]; a
    /// table that is full.
    pub fn tcp_bind(&mut self, at: SocketAddr, how: &BindOptions) -> Result<(SocketAddr, BindId), Error> {
        let ip = at.ip().to_canonical();
        if !ip.is_unspecified() && !how.free_bind && self.stack.owner_of(ip, how.device).is_none() {
            return Err(Error::AddressNotAvailable);
        }
        let BindOptions { reuse_address, reuse_port, v6_only, device, user, free_bind: _ } = *how;
        let address = Address::new(ip, v6_only);
        let mut bind =
            Bind { address, port: at.port(), device, reuse_address, reuse_port, user, automatic: false };
        let Stack { tcp, .. } = &mut *self.stack;
        tcp.free_ports();
        if bind.port == 0 {
            let free = |port| tcp.bound.is_free(&Bind { port, ..bind });
            let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            bind.port = tcp.ports.choose(ip, nobody, 0, free).ok_or(Error::AddressInUse)?;
        }
        let id = tcp.bound.bind(&bind).map_err(bind_error)?;
        Ok((SocketAddr::new(at.ip(), bind.port), id))
    }

    /// Lets go of a port.
    pub fn tcp_unbind(&mut self, id: BindId) {
        self.stack.tcp.bound.release(id);
    }
}

pub(super) const fn bind_error(error: BindError) -> Error {
    match error {
        BindError::InUse => Error::AddressInUse,
        BindError::Elsewhere => Error::AddressNotAvailable,
        BindError::Full => Error::NoBuffers,
    }
}
