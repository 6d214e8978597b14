//! Echo (RFC 862): everything comes back, until the peer has said all.
//!
//! Bytes stay in the receive buffer until they are in the send buffer: a peer that does not read stops being
//! read.

use super::Shared;
use super::api::Sockets;
use super::server::{After, Talk};
use super::udp;
use flumen_stack::socket::Handle;

/// The service. A connection has no state of its own: it is all in its two buffers.
#[derive(Debug, Default)]
pub struct Echo;

impl Talk for Echo {
    type State = ();

    fn begin(&mut self) {}

    fn on_news<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        socket: Handle,
        (): &mut (),
    ) -> After {
        loop {
            let scratch = &mut shared.scratch;
            let mut shown = 0;
            let looked = sockets.tcp_recv_with(socket, |piece| {
                shown = piece.len().min(scratch.len());
                scratch[..shown].copy_from_slice(&piece[..shown]);
                0
            });
            match looked {
                Err(error) => return error.into(),
                Ok(_) if shown == 0 => return After::Close,
                Ok(_) => {}
            }
            let sent = match sockets.tcp_send(socket, &scratch[..shown]) {
                Ok(sent) => sent,
                Err(error) => return error.into(),
            };
            if let Err(error) = sockets.tcp_recv_with(socket, |piece| sent.min(piece.len())) {
                return error.into();
            }
        }
    }
}

/// Sends each datagram back to where it came from.
pub fn datagrams<S: Sockets>(shared: &mut Shared, sockets: &mut S, socket: Handle) {
    udp::answer_each(shared, sockets, socket, |_, _, received| received);
}
