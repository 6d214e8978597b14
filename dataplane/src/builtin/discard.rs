//! Discard (RFC 863): everything is read and thrown away. Nothing is ever said.

use super::Shared;
use super::api::Sockets;
use super::server::{After, Talk};
use flumen_stack::socket::Handle;

/// The service.
#[derive(Debug, Default)]
pub struct Discard;

impl Talk for Discard {
    type State = ();

    fn begin(&mut self) {}

    fn on_news<S: Sockets>(&mut self, _: &mut Shared, sockets: &mut S, socket: Handle, (): &mut ()) -> After {
        swallow(sockets, socket)
    }
}

/// Throws away what there is to read. [`After::Close`]: the peer has said all.
pub fn swallow<S: Sockets>(sockets: &mut S, socket: Handle) -> After {
    loop {
        match sockets.tcp_recv_with(socket, <[u8]>::len) {
            Ok(0) => return After::Close,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

/// Throws datagrams away.
pub fn datagrams<S: Sockets>(shared: &mut Shared, sockets: &mut S, socket: Handle) {
    while sockets.udp_recv(socket, &mut shared.scratch).is_ok() {}
}
