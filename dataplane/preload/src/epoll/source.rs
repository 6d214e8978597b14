//! What an epoll set asks of a socket.

use core::fmt::Debug;

/// A socket as it is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// EPOLL* conditions that hold.
    pub events: u32,
    /// Changes whenever something more can be read or accepted.
    pub arrivals: u64,
    /// Changes whenever a write found no room, or not enough.
    pub refusals: u32,
    /// Changes whenever something more can be read from the error queue that this library keeps itself.
    pub notices: u32,
}

impl Now {
    /// Conditions, of those in `interest`, that came to hold since `before`, or came again: what edge-triggered interest is
    /// told. As in Linux, data that arrive behind data that were not read yet are told again, and so are notices
    /// of the error queue; room is told when there was none.
    pub fn edges(&self, before: &Now, interest: u32) -> u32 {
        const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM) as u32;
        const WRITE: u32 = (libc::EPOLLOUT | libc::EPOLLWRNORM) as u32;
        let mut edges = self.events & !before.events;
        if self.arrivals != before.arrivals {
            edges |= self.events & READ;
        }
        if self.refusals != before.refusals {
            edges |= self.events & WRITE;
        }
        if self.notices != before.notices {
            edges |= self.events & libc::EPOLLERR as u32;
        }
        edges & interest
    }
}

/// A socket that a set may watch. Clones are the same socket.
pub trait Source: Clone + Debug {
    /// As it is now.
    fn now(&self) -> Now;

    /// Tells sockets apart for as long as they live.
    fn identity(&self) -> usize;

    /// Its number in the news tree; `None` while it is undecided.
    fn slot(&self) -> Option<u32>;

    /// Which of the worker's news its last ones are.
    fn told(&self) -> u64;

    /// True when the kernel's socket behind it has a say: it is undecided, or of both.
    fn has_kernel_part(&self) -> bool;

    /// True when the program has closed it.
    fn is_closed(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_what_came_to_hold_or_came_again() {
        let (read, write) = (libc::EPOLLIN as u32, libc::EPOLLOUT as u32);
        let both = read | write;
        let before = Now { events: write, arrivals: 5, ..Now::default() };
        let arrived = Now { events: both, arrivals: 9, ..Now::default() };
        assert_eq!(arrived.edges(&before, both), read);
        assert_eq!(arrived.edges(&before, write), 0);
        assert_eq!(arrived.edges(&arrived, both), 0);
        assert_eq!(Now { arrivals: 10, ..arrived }.edges(&arrived, both), read, "more behind what is unread");
        assert_eq!(Now { refusals: 1, ..arrived }.edges(&arrived, both), write, "room after there was none");
        assert_eq!(Now { events: 0, arrivals: 10, refusals: 1, notices: 1 }.edges(&arrived, both), 0);
        let error = libc::EPOLLERR as u32;
        let told = Now { events: write | error, notices: 1, ..Now::default() };
        assert_eq!(Now { notices: 2, ..told }.edges(&told, write | error), error, "another notice");
    }
}
