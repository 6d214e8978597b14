//! A web server for HTTP/1.0 and 1.1 (RFC 9110, RFC 9112) whose every reply was written when it started.
//!
//! ```text
//!   request.rs   bytes ─> what is asked for        body.rs      what comes behind it
//!   site.rs      path ─> reply                     heads.rs     room for heads that come in pieces
//!   reply.rs     bytes that go out                 files.rs     the directory, read at start
//!   conversation.rs   one connection's talk, without a socket; this file gives it one
//! ```
//!
//! A request in one piece is read where it lies in the receive buffer, and its reply is copied once, into the send
//! buffer: nothing is allocated, and nothing but the date changes from one request to the next.

pub mod body;
pub mod conversation;
pub mod files;
pub mod heads;
pub mod reply;
pub mod request;
pub mod site;

use super::Shared;
use super::api::{Shutdown, Sockets};
use super::server::{After, Talk};
use conversation::{Conversation, Wants};
use flumen_stack::socket::Handle;
use heads::Heads;
use site::Site;

/// The service.
#[derive(Debug)]
pub struct Http {
    site: Site,
    heads: Heads,
}

impl Http {
    /// A server of `site` for at most `connections` clients at a time.
    pub fn new(site: Site, connections: usize) -> Http {
        Http { site, heads: Heads::new(connections) }
    }
}

impl Talk for Http {
    type State = Conversation;

    fn begin(&mut self) -> Conversation {
        Conversation::default()
    }

    #[inline]
    fn on_news<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        socket: Handle,
        talk: &mut Conversation,
    ) -> After {
        let second = shared.wall.seconds(sockets.now());
        loop {
            loop {
                let bytes = talk.next(&mut self.site, &shared.pattern);
                if bytes.is_empty() {
                    break;
                }
                match sockets.tcp_send(socket, bytes) {
                    Ok(sent) => talk.sent(&mut self.site, sent),
                    Err(error) => return error.into(),
                }
            }
            match talk.wants() {
                Wants::Input => {}
                Wants::LastInput => {
                    // Again and again: closing what is closed changes nothing.
                    if let Err(error) = sockets.tcp_shutdown(socket, Shutdown::Write) {
                        return error.into();
                    }
                }
                Wants::Close => return After::Close,
                Wants::Abort => return After::Abort,
            }
            let mut shown = 0;
            let taken = sockets.tcp_recv_with(socket, |piece| {
                shown = piece.len();
                talk.take(&self.site, &mut self.heads, second, piece)
            });
            match taken {
                Ok(_) if shown == 0 => return After::Close,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
    }

    fn on_idle<S: Sockets>(
        &mut self,
        shared: &mut Shared,
        sockets: &mut S,
        socket: Handle,
        talk: &mut Conversation,
    ) -> After {
        talk.is_idle(shared.wall.seconds(sockets.now()));
        self.on_news(shared, sockets, socket, talk)
    }

    fn end(&mut self, talk: Conversation) {
        talk.end(&mut self.heads);
    }
}
