//! One epoll set, as far as it is ours: the sockets of Flumen in it, and which of them are ready. What else the program put
//! into the set is in the kernel's set with the same descriptor.
//!
//! The ready list holds what may be ready, as the kernel's does: news put an item on it; taking it off, one looks whether it is
//! really ready. Level-triggered items that were reported go to its end again, and leave it when they are found quiet.
//! So waiting costs what is ready, not what is watched.

use super::slab::Slab;
use super::source::{Now, Source};
use crate::watcher::Watcher;
use std::collections::{HashMap, VecDeque};

/// The conditions that are always reported.
pub const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
/// Bits of an interest that say how, not what: all that a one-shot item keeps when it was reported.
pub const MANNER: u32 =
    (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLWAKEUP | libc::EPOLLEXCLUSIVE) as u32;
/// What may go with EPOLLEXCLUSIVE.
pub const WITH_EXCLUSIVE: u32 =
    ALWAYS | MANNER & !(libc::EPOLLONESHOT as u32) | (libc::EPOLLIN | libc::EPOLLOUT) as u32;

/// What an item watches.
#[derive(Debug, Clone)]
pub enum Watched<S> {
    /// A socket.
    Socket(S),
    /// Another set, by its number.
    Set(u32),
}

/// A descriptor in a set.
#[derive(Debug)]
pub struct Item<S> {
    /// The descriptor that it was added by: part of its name, as in Linux.
    pub fd: i32,
    /// What is watched.
    pub watched: Watched<S>,
    /// Interest: EPOLL* bits.
    pub interest: u32,
    /// What the program gets back.
    pub data: u64,
    /// True when the kernel's set has the descriptor, too, with the item's number in place of the program's data.
    pub in_kernel: bool,
    /// What the kernel's set reported and was not passed on yet.
    pub from_kernel: u32,
    /// As it was when it was looked at last.
    pub seen: Now,
    queued: bool,
}

impl<S> Item<S> {
    /// True for a one-shot item that was reported.
    pub fn is_spent(&self) -> bool {
        self.interest & !MANNER == 0
    }

    fn wanted(&self) -> u32 {
        if self.is_spent() { 0 } else { self.interest | ALWAYS }
    }

    fn is_edge(&self) -> bool {
        self.interest & libc::EPOLLET as u32 != 0
    }
}

/// The name of an item: descriptor and identity of what is watched.
pub type Name = (i32, usize);

/// A set.
#[derive(Debug)]
pub struct Set<S> {
    /// Its items.
    pub items: Slab<Item<S>>,
    index: HashMap<Name, u32>,
    ready: VecDeque<u32>,
    /// Threads that sleep in it.
    pub sleepers: u32,
    /// Threads that wait in the kernel's set, because none of ours was in it when they came.
    pub strangers: u32,
    /// True when the kernel's set may hold descriptors that are none of ours.
    pub has_strangers: bool,
    /// Items that are also in the kernel's set.
    pub kernel_parts: u32,
    /// Sets that hold this one: set and item.
    pub parents: Vec<(u32, u32)>,
    /// Where its threads sleep.
    pub watcher: Option<Watcher>,
    /// Waits that found something of ours since the kernel's set was asked.
    pub waits: u32,
    /// All that happens to its items puts them on the ready list, whatever their interest.
    hears_all: bool,
}

impl<S: Source> Set<S> {
    /// An empty one.
    pub fn new(has_strangers: bool) -> Set<S> {
        Set {
            items: Slab::new(),
            index: HashMap::new(),
            ready: VecDeque::new(),
            sleepers: 0,
            strangers: 0,
            has_strangers,
            kernel_parts: 0,
            parents: Vec::new(),
            watcher: None,
            waits: 0,
            hears_all: false,
        }
    }

    /// An empty one for [`crate::signals`].
    pub fn that_hears_all() -> Set<S> {
        Set { hears_all: true, ..Set::new(false) }
    }

    /// The item of this name.
    pub fn find(&self, name: Name) -> Option<u32> {
        self.index.get(&name).copied()
    }

    /// Puts one in.
    pub fn insert(
        &mut self,
        name: Name,
        watched: Watched<S>,
        interest: u32,
        data: u64,
        in_kernel: bool,
    ) -> u32 {
        self.kernel_parts += u32::from(in_kernel);
        let item = Item {
            fd: name.0,
            watched,
            interest,
            data,
            in_kernel,
            from_kernel: 0,
            seen: Now::default(),
            queued: false,
        };
        let number = self.items.insert(item);
        self.index.insert(name, number);
        number
    }

    /// Takes one out.
    pub fn remove(&mut self, name: Name) -> Option<Item<S>> {
        let number = self.index.remove(&name)?;
        let item = self.items.remove(number)?;
        self.kernel_parts -= u32::from(item.in_kernel);
        if item.queued {
            self.ready.retain(|queued| *queued != number);
        }
        Some(item)
    }

    /// True when something may be ready.
    pub fn has_queue(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many may be ready.
    pub fn queue_len(&self) -> usize {
        self.ready.len()
    }

    /// Puts an item on the ready list because something happened to it; true when it was put there.
    pub fn tell(&mut self, number: u32, now: Now, again: bool) -> bool {
        let Some(item) = self.items.get_mut(number) else { return false };
        let wanted = item.wanted();
        let due = match item.is_edge() && !again {
            true => now.edges(&item.seen, wanted),
            false => now.events & wanted,
        };
        item.seen.events = now.events;
        if due == 0 && !self.hears_all || item.queued {
            return false;
        }
        item.queued = true;
        self.ready.push_back(number);
        true
    }

    /// What the kernel's set reported of an item: it goes to the front, for the kernel was asked just now.
    pub fn tell_from_kernel(&mut self, number: u32, events: u32) {
        let Some(item) = self.items.get_mut(number).filter(|item| item.in_kernel) else { return };
        item.from_kernel = events;
        if item.queued {
            self.ready.retain(|queued| *queued != number);
        }
        item.queued = true;
        self.ready.push_front(number);
    }

    /// Takes the first of the ready list.
    pub fn pop(&mut self) -> Option<u32> {
        let number = self.ready.pop_front()?;
        if let Some(item) = self.items.get_mut(number) {
            item.queued = false;
        }
        Some(number)
    }

    /// Decides what an item that was taken off the ready list is reported with; `None` when it is quiet. What is
    /// level-triggered goes to the end of the list again; what is one-shot is spent.
    pub fn report(&mut self, number: u32, now: Now) -> Option<libc::epoll_event> {
        let item = self.items.get_mut(number)?;
        let events = (now.events | core::mem::take(&mut item.from_kernel)) & item.wanted();
        item.seen = now;
        if events == 0 {
            return None;
        }
        if item.interest & libc::EPOLLONESHOT as u32 != 0 {
            item.interest &= MANNER;
        } else if !item.is_edge() {
            item.queued = true;
            self.ready.push_back(number);
        }
        Some(libc::epoll_event { events, u64: item.data })
    }

    /// Puts an item that was taken off the ready list back to its front.
    pub fn put_back(&mut self, number: u32) {
        if let Some(item) = self.items.get_mut(number)
            && !item.queued
        {
            item.queued = true;
            self.ready.push_front(number);
        }
    }
}
