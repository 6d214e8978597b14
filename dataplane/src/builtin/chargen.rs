//! Character generator (RFC 864): an endless stream of lines, as fast as the peer reads; what the peer says is thrown
//! away. Over UDP each datagram is answered with up to 512 characters.

use super::api::Sockets;
use super::discard;
use super::server::{After, Talk};
use super::{Shared, udp};
use flumen_stack::socket::Handle;

/// The most characters in an answer over UDP (RFC 864).
const MOST_IN_A_DATAGRAM: u64 = 512;

/// The service.
#[derive(Debug, Default)]
pub struct Chargen;

impl Talk for Chargen {
    /// The place in the stream.
    type State = u64;

    fn begin(&mut self) -> u64 {
        0
    }

    fn on_news<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        socket: Handle,
        at: &mut u64,
    ) -> After {
        // A peer that says no more goes on reading.
        if discard::swallow(sockets, socket) == After::Abort {
            return After::Abort;
        }
        loop {
            match sockets.tcp_send(socket, shared.pattern.from(*at)) {
                Ok(sent) => *at += sent as u64,
                Err(error) => return error.into(),
            }
        }
    }
}

/// Answers each datagram with some characters: a random number of them, as RFC 864 wants it.
pub fn datagrams<S: Sockets>(shared: &mut Shared, sockets: &mut S, socket: Handle) {
    udp::answer_each(shared, sockets, socket, |shared, _, _| {
        let random = shared.random();
        let len = (random % (MOST_IN_A_DATAGRAM + 1)) as usize;
        shared.scratch[..len].copy_from_slice(&shared.pattern.from(random >> 32)[..len]);
        len
    });
}
