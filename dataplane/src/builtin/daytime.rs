//! Daytime (RFC 867): who connects, or sends a datagram, is told the date and time in one line, in UTC.

use super::api::Sockets;
use super::server::{After, Talk};
use super::{Shared, udp};
use flumen_stack::Instant;
use flumen_stack::socket::Handle;

/// The service.
#[derive(Debug, Default)]
pub struct Daytime;

impl Talk for Daytime {
    type State = ();

    fn begin(&mut self) {}

    fn on_news<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        socket: Handle,
        (): &mut (),
    ) -> After {
        let line = shared.daytime(sockets.now());
        // A new connection has room for a line: its buffer is empty.
        match sockets.tcp_send(socket, line.as_bytes()) {
            Ok(_) => After::Close,
            Err(error) => error.into(),
        }
    }
}

/// Answers each datagram with a line.
pub fn datagrams<S: Sockets>(shared: &mut Shared, sockets: &mut S, socket: Handle) {
    udp::answer_each(shared, sockets, socket, |shared: &mut Shared, now: Instant, _| {
        let line = shared.daytime(now);
        shared.scratch[..line.len()].copy_from_slice(line.as_bytes());
        line.len()
    });
}
