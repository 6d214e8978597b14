//! News for owners, of sockets of every protocol: what the worker asks for between the packets that came in and
//! those that go out.

use crate::frame::Frame;
use crate::socket::{Owner, Ready, SocketId};
use crate::stack::Stack;

impl<F: Frame> Stack<F> {
    /// The next socket with news, its owner, and the news, which are heard now. Sockets that are gone have none.
    pub fn next_event(&mut self) -> Option<(Owner, SocketId, Ready)> {
        loop {
            let socket = self.events.pop()?;
            let pending = match socket {
                SocketId::Tcp(handle) => self.tcp.entries.get_mut(handle).map(|entry| &mut entry.pending),
                SocketId::Listener(handle) => {
                    self.tcp.listeners.get_mut(handle).map(|listening| &mut listening.pending)
                }
                SocketId::Udp(handle) => self.udp.get_mut(handle).map(|socket| &mut socket.end.pending),
                SocketId::Raw(handle) => {
                    if let Some((owner, news)) = self.raw_news(handle) {
                        return Some((owner, socket, news));
                    }
                    None
                }
            };
            if let Some(pending) = pending {
                return Some((pending.owner, socket, pending.take()));
            }
        }
    }
}
