//! The in-process socket calls: how a service in this process uses the stack of its worker.
//!
//! ```text
//!   worker's turn:  packets in ─> stack ─> news ──> Service::on_event ──┐
//!                                                     │ Sockets: accept, recv, send, close …
//!                   packets out <─ Stack::output <────┘
//! ```
//!
//! Everything runs on the worker's thread, to completion: no lock, no queue between threads, no copy but the one
//! out of the receive buffer (or none, with [`Sockets::tcp_recv_with`]). Calls never wait and never send by
//! themselves: what they cause leaves at the end of the turn. A call that cannot go on now says
//! [`Error::WouldBlock`](super::Error::WouldBlock); news come when it can.
//!
//! News are edges, so a service reads until it is told to wait, and writes until it is told to wait:
//!
//! ```
//! use flumen_stack::frame::Frame;
//! use flumen_stack::socket::{Owner, Ready, SocketId};
//! use flumen_stack::socket::api::{Service, Sockets};
//!
//! /// Sends back what comes.
//! struct Echo;
//!
//! impl<F: Frame> Service<F> for Echo {
//!     fn on_event(&mut self, sockets: &mut Sockets<'_, F>, socket: SocketId, news: Ready) {
//!         match socket {
//!             SocketId::Listener(listener) => {
//!                 while sockets.tcp_accept(listener, Owner(0)).is_ok() {}
//!             }
//!             SocketId::Tcp(socket) => {
//!                 let mut buffer = [0; 2048];
//!                 loop {
//!                     // What was not sent stays in the receive buffer, and the peer's window closes by itself.
//!                     let room = sockets.tcp_room(socket).min(buffer.len());
//!                     match sockets.tcp_recv(socket, &mut buffer[..room]) {
//!                         Ok(0) if room > 0 => return sockets.tcp_close(socket),
//!                         Ok(count) if count > 0 => {
//!                             let _ = sockets.tcp_send(socket, &buffer[..count]);
//!                         }
//!                         _ => break,
//!                     }
//!                 }
//!                 if news.contains(Ready::CLOSED) {
//!                     sockets.tcp_close(socket);
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! The calls themselves stand with their protocols: [`crate::tcp::sockets`], [`crate::udp`].

use super::event::{Owner, Ready, SocketId};
use crate::frame::Frame;
use crate::stack::Stack;
use crate::time::Instant;

/// The sockets of a worker, as its services see them, at a moment.
#[derive(Debug)]
pub struct Sockets<'a, F: Frame> {
    pub(crate) stack: &'a mut Stack<F>,
    pub(crate) now: Instant,
}

impl<'a, F: Frame> Sockets<'a, F> {
    /// The sockets of `stack`, now.
    pub fn new(stack: &'a mut Stack<F>, now: Instant) -> Self {
        Sockets { stack, now }
    }

    /// The moment of this turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The next socket with news: its owner, and what it hears. `None`: there is no more.
    pub fn next_news(&mut self) -> Option<(SocketId, Owner, Ready)> {
        let stack = &mut *self.stack;
        loop {
            let socket = stack.events.pop()?;
            let news = match socket {
                SocketId::Tcp(_) | SocketId::Listener(_) => stack.tcp.news(socket),
                SocketId::Udp(handle) => stack.udp_news(handle),
                SocketId::Raw(handle) => stack.raw_news(handle),
            };
            // A socket may be gone by now, or its owner may have changed.
            if let Some((owner, ready)) = news.filter(|(_, ready)| !ready.is_empty()) {
                return Some((socket, owner, ready));
            }
        }
    }
}

/// Somebody who owns sockets.
pub trait Service<F: Frame> {
    /// Something happened to a socket of this service.
    fn on_event(&mut self, sockets: &mut Sockets<'_, F>, socket: SocketId, news: Ready);
}
