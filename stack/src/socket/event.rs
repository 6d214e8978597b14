//! What happens to sockets, for their owners.
//!
//! Each socket remembers which news its owner has not heard yet ([`Pending`]), and stands in the worker's
//! [`EventQueue`] at most once. So the queue needs one place for each socket and cannot overflow, news of
//! one socket merge while its owner is busy, and none is lost.
//!
//! News are edges: `READABLE` says that there is more to read than there was, not that there still is.

use super::slab::Handle;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};
use std::collections::VecDeque;

/// A set of conditions of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Ready(pub u16);

impl Ready {
    /// Nothing.
    pub const NONE: Ready = Ready(0);
    /// There is data to read, a connection to accept, or the end of what the peer sends.
    pub const READABLE: Ready = Ready(1);
    /// There is room to write.
    pub const WRITABLE: Ready = Ready(1 << 1);
    /// Urgent data (RFC 9293 section 3.8.5).
    pub const PRIORITY: Ready = Ready(1 << 2);
    /// An error waits: for the next call, or in the error queue.
    pub const ERROR: Ready = Ready(1 << 3);
    /// The peer sends no more.
    pub const READ_CLOSED: Ready = Ready(1 << 4);
    /// Both directions are closed: nothing will ever happen to this socket again.
    pub const CLOSED: Ready = Ready(1 << 5);
    /// A connection that was asked for stands.
    pub const CONNECTED: Ready = Ready(1 << 6);
    /// A stamp of what a stream sent waits.
    pub const STAMPS: Ready = Ready(1 << 7);

    /// True when all of `other` is in `self`.
    #[inline]
    pub const fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when any of `other` is in `self`.
    #[inline]
    pub const fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// True for nothing.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Ready;
    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Ready) {
        self.0 |= other.0;
    }
}

impl BitAnd for Ready {
    type Output = Ready;
    fn bitand(self, other: Ready) -> Ready {
        Ready(self.0 & other.0)
    }
}

impl Not for Ready {
    type Output = Ready;
    fn not(self) -> Ready {
        Ready(!self.0)
    }
}

/// A socket of any protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketId {
    /// A TCP connection.
    Tcp(Handle),
    /// A TCP listener.
    Listener(Handle),
    /// A UDP socket.
    Udp(Handle),
    /// A raw or ping socket.
    Raw(Handle),
}

/// Who owns a socket: a word that the owner chose, given back with every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Owner(pub u64);

/// The part of each socket that its owner's news wait in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pending {
    /// Who is told.
    pub owner: Owner,
    news: Ready,
    queued: bool,
}

impl Pending {
    /// Nothing new, for this owner.
    pub const fn new(owner: Owner) -> Self {
        Pending { owner, news: Ready::NONE, queued: false }
    }

    /// Something happened to `socket`, of which this is the part.
    #[inline]
    pub fn add(&mut self, queue: &mut EventQueue, socket: SocketId, news: Ready) {
        if news.is_empty() {
            return;
        }
        self.news |= news;
        if !self.queued {
            self.queued = true;
            queue.sockets.push_back(socket);
        }
    }

    /// The owner hears the news now.
    #[inline]
    pub fn take(&mut self) -> Ready {
        self.queued = false;
        core::mem::take(&mut self.news)
    }
}

/// The sockets with news, in the order in which their first news came.
#[derive(Debug, Default)]
pub struct EventQueue {
    sockets: VecDeque<SocketId>,
}

impl EventQueue {
    /// A queue for as many as `sockets` sockets of all kinds.
    pub fn new(sockets: usize) -> Self {
        EventQueue { sockets: VecDeque::with_capacity(sockets) }
    }

    /// The next socket with news; ask it with [`Pending::take`]. It may be gone by now.
    #[inline]
    pub fn pop(&mut self) -> Option<SocketId> {
        let next = self.sockets.pop_front();
        if next.is_none() {
            self.sockets.clear(); // the next news stand at the front again: where the cache has it
        }
        next
    }

    /// Sockets with news.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// True when there is no news.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::slab::Slab;

    #[test]
    fn news_of_one_socket_merge_until_its_owner_hears_them() {
        let mut slab = Slab::new(1);
        let socket = SocketId::Udp(slab.insert(Pending::new(Owner(7))).unwrap());
        let SocketId::Udp(handle) = socket else { unreachable!() };
        let mut queue = EventQueue::new(1);
        let pending = slab.get_mut(handle).unwrap();
        pending.add(&mut queue, socket, Ready::NONE);
        assert!(queue.is_empty());
        pending.add(&mut queue, socket, Ready::READABLE);
        pending.add(&mut queue, socket, Ready::ERROR);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.pop(), Some(socket));
        assert_eq!(pending.take(), Ready::READABLE | Ready::ERROR);
        pending.add(&mut queue, socket, Ready::WRITABLE);
        assert_eq!((queue.len(), pending.take()), (1, Ready::WRITABLE));
    }

    #[test]
    fn a_set_knows_what_is_in_it() {
        let both = Ready::READABLE | Ready::READ_CLOSED;
        assert!(both.contains(Ready::READABLE) && !both.contains(Ready::READABLE | Ready::ERROR));
        assert!(both.intersects(Ready::READABLE | Ready::ERROR));
        assert_eq!(both & !Ready::READABLE, Ready::READ_CLOSED);
    }
}
