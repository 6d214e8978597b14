//! All sets of the process, and who watches which socket: news of a socket find the sets that want to hear them without
//! looking at any other.
//!
//! Nothing here makes a system call; what has to be done to the kernel's sets is handed back as [`KernelChange`]s, and whom
//! to wake as knocks ([`Registry::take_knock`]).

use super::set::{ALWAYS, Item, Name, Set, Watched};
use super::slab::Slab;
use super::source::{Now, Source};
use libc::epoll_event;
use std::collections::HashMap;

/// What has to be done to the kernel's set that goes with one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelChange {
    /// The set.
    pub set: u32,
    /// The descriptor in it.
    pub fd: i32,
    /// `Some`: its new interest and data; `None`: take it out.
    pub to: Option<(u32, u64)>,
}

/// All sets.
#[derive(Debug)]
pub struct Registry<S> {
    /// The sets.
    pub sets: Slab<Set<S>>,
    /// Set and item, for each slot of the arena.
    by_slot: Vec<Vec<(u32, u32)>>,
    /// Those that watch undecided sockets.
    without_slot: Vec<(u32, u32)>,
    /// For each socket that is watched, by its identity, in which of these lists its watchers are.
    lists: Option<HashMap<usize, Option<u32>>>,
    knocks: Vec<u32>,
    /// News that were taken together: which of the worker's they are, and the slot.
    heard: Vec<(u64, u32)>,
}

impl<S: Source> Default for Registry<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Source> Registry<S> {
    /// Without sets.
    pub const fn new() -> Registry<S> {
        Registry {
            sets: Slab::new(),
            by_slot: Vec::new(),
            without_slot: Vec::new(),
            lists: None,
            knocks: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Lets go of a set whose last descriptor was closed, and of what others had of it.
    pub fn remove_set(&mut self, set: u32) {
        let Some(gone) = self.sets.get(set) else { return };
        let items: Vec<u32> = gone.items.numbers().collect();
        for (parent, item) in gone.parents.clone() {
            let name = self.sets.get(parent).and_then(|parent| parent.items.get(item)).map(|item| item.fd);
            if let Some(fd) = name {
                self.remove(parent, (fd, set_identity(set)));
            }
        }
        for item in items {
            self.remove_item(set, item);
        }
        self.sets.remove(set);
        self.knocks.retain(|knock| *knock != set);
    }

    /// Puts a descriptor into a set.
    pub fn add(
        &mut self,
        set: u32,
        fd: i32,
        watched: Watched<S>,
        interest: u32,
        data: u64,
        in_kernel: bool,
    ) -> Option<u32> {
        let name = (fd, identity(&watched));
        let item = self.sets.get_mut(set)?.insert(name, watched.clone(), interest, data, in_kernel);
        match &watched {
            Watched::Socket(source) => self.watchers(source).push((set, item)),
            Watched::Set(inner) => self.sets.get_mut(*inner)?.parents.push((set, item)),
        }
        self.tell(set, item, true);
        Some(item)
    }

    /// Changes an item's interest, and arms it anew.
    pub fn modify(&mut self, set: u32, item: u32, interest: u32, data: u64) {
        if let Some(item) = self.sets.get_mut(set).and_then(|set| set.items.get_mut(item)) {
            (item.interest, item.data) = (interest, data);
        }
        self.tell(set, item, true);
    }

    /// Takes a descriptor out of a set; true when it was in.
    pub fn remove(&mut self, set: u32, name: Name) -> bool {
        match self.sets.get(set).and_then(|set| set.find(name)) {
            Some(item) => self.remove_item(set, item),
            None => false,
        }
    }

    fn remove_item(&mut self, set: u32, item: u32) -> bool {
        let Some(found) = self.sets.get(set).and_then(|set| set.items.get(item)) else { return false };
        let name = (found.fd, identity(&found.watched));
        match found.watched.clone() {
            Watched::Socket(source) => self.watchers(&source).retain(|watcher| *watcher != (set, item)),
            Watched::Set(inner) => {
                if let Some(inner) = self.sets.get_mut(inner) {
                    inner.parents.retain(|parent| *parent != (set, item));
                }
            }
        }
        self.sets.get_mut(set).and_then(|set| set.remove(name)).is_some()
    }

    /// The list of a socket's watchers. (A socket gets a slot, or loses it, in [`Registry::decided`] and no other moment.)
    fn watchers(&mut self, source: &S) -> &mut Vec<(u32, u32)> {
        let lists = self.lists.get_or_insert_default();
        match *lists.entry(source.identity()).or_insert_with(|| source.slot()) {
            None => &mut self.without_slot,
            Some(slot) => {
                let slot = slot as usize;
                if self.by_slot.len() <= slot {
                    self.by_slot.resize_with(slot + 1, Vec::new);
                }
                &mut self.by_slot[slot]
            }
        }
    }

    /// Takes all that watch a socket off their list.
    fn take_watchers(&mut self, source: &S) -> Vec<(u32, u32)> {
        let all = core::mem::take(self.watchers(source));
        let (mine, others) = all.into_iter().partition(|(set, item)| self.watches(*set, *item, source));
        *self.watchers(source) = others;
        self.lists.get_or_insert_default().remove(&source.identity());
        mine
    }

    /// News of the socket in this slot were taken, in no order; all that are taken together are told by
    /// [`Registry::tell_heard`].
    pub fn hear(&mut self, slot: u32) {
        let first = self.by_slot.get(slot as usize).and_then(|watchers| watchers.first()).copied();
        let item = first.and_then(|(set, item)| self.sets.get(set)?.items.get(item));
        // One that nobody watches is no news here.
        if let Some(Watched::Socket(source)) = item.map(|item| &item.watched) {
            self.heard.push((source.told(), slot));
        }
    }

    /// Tells what was heard, in the order in which it happened: programs may count on it, as they do on the kernel's.
    pub fn tell_heard(&mut self) {
        let mut heard = core::mem::take(&mut self.heard);
        heard.sort_unstable();
        heard.drain(..).for_each(|(_, slot)| self.news(slot));
        // The memory is used again.
        self.heard = heard;
    }

    /// Something happened to the socket in this slot. Of those that watch it with EPOLLEXCLUSIVE, the one that came first and has
    /// somebody who sleeps is told (as the kernel walks its wait queues); one that was told and did not look yet is passed
    /// by for the next.
    pub fn news(&mut self, slot: u32) {
        let watchers = self.by_slot.get(slot as usize).map_or(0, Vec::len);
        let mut exclusive = 0;
        for place in (0..watchers).rev() {
            let Some((set, item)) = self.watcher_at(slot, place) else { continue };
            if self.is_exclusive(set, item) {
                exclusive += 1;
            } else {
                self.tell(set, item, false);
            }
        }
        for place in (0..watchers).filter(|_| exclusive > 0) {
            let Some((set, item)) = self.watcher_at(slot, place) else { continue };
            if self.is_exclusive(set, item) && self.tell(set, item, false) {
                return;
            }
        }
    }

    fn watcher_at(&self, slot: u32, place: usize) -> Option<(u32, u32)> {
        self.by_slot.get(slot as usize)?.get(place).copied()
    }

    fn is_exclusive(&self, set: u32, item: u32) -> bool {
        let item = self.sets.get(set).and_then(|set| set.items.get(item));
        item.is_some_and(|item| item.interest & libc::EPOLLEXCLUSIVE as u32 != 0)
    }

    /// Something may have happened to any: the data plane is gone, or this process is a child that must hear news anew.
    pub fn news_of_all(&mut self) {
        for set in self.sets.numbers() {
            let items: Vec<u32> =
                self.sets.get(set).map(|set| set.items.numbers().collect()).unwrap_or_default();
            for item in items {
                self.tell(set, item, true);
            }
        }
    }

    /// In a child after fork: nobody sleeps, and the places to sleep were the parent's. News that the parent heard are news here.
    pub fn begin_anew(&mut self) {
        for set in self.sets.numbers() {
            if let Some(set) = self.sets.get_mut(set) {
                (set.watcher, set.sleepers, set.strangers) = (None, 0, 0);
            }
        }
        self.news_of_all();
    }

    /// A socket was decided: `to_kernel` when it is the kernel's. What becomes of the kernel's sets.
    pub fn decided(&mut self, source: &S, to_kernel: bool) -> Vec<KernelChange> {
        let mine = self.take_watchers(source);
        let mut changes = Vec::new();
        for (number, place) in mine {
            let stays = source.has_kernel_part() && !to_kernel;
            let Some(set) = self.sets.get_mut(number) else { continue };
            let Some(item) = set.items.get_mut(place) else { continue };
            let (fd, interest, data) = (item.fd, item.interest, item.data);
            if to_kernel {
                changes.push(KernelChange { set: number, fd, to: Some((interest, data)) });
                set.has_strangers = true;
                set.remove((fd, source.identity()));
                continue;
            }
            if !stays && item.in_kernel {
                item.in_kernel = false;
                set.kernel_parts -= 1;
                changes.push(KernelChange { set: number, fd, to: None });
            }
            self.watchers(source).push((number, place));
            self.tell(number, place, true);
        }
        changes
    }

    fn watches(&self, set: u32, item: u32, source: &S) -> bool {
        let item = self.sets.get(set).and_then(|set| set.items.get(item));
        item.is_some_and(
            |item| matches!(&item.watched, Watched::Socket(one) if one.identity() == source.identity()),
        )
    }

    /// The last descriptor of a socket was closed in this process: it leaves all sets.
    pub fn closed(&mut self, source: &S) {
        for (set, item) in self.watchers(source).clone() {
            if self.watches(set, item, source) {
                self.remove_item(set, item);
            }
        }
        self.lists.get_or_insert_default().remove(&source.identity());
    }

    /// Looks at an item because something happened to it, or `again` because it is armed anew; tells its set and the sets
    /// around that. True when that was news to somebody who sleeps in it.
    fn tell(&mut self, set: u32, item: u32, again: bool) -> bool {
        let Some(now) = self.now(set, item) else { return false };
        let Some(told) = self.sets.get_mut(set) else { return false };
        if !told.tell(item, now, again) {
            return false;
        }
        let wakes = told.sleepers > 0;
        if wakes && !self.knocks.contains(&set) {
            self.knocks.push(set);
        }
        for (parent, item) in self.sets.get(set).map(|set| set.parents.clone()).unwrap_or_default() {
            self.tell(parent, item, true);
        }
        wakes
    }

    /// What an item watches, as it is now. The kernel refuses sets that hold themselves, so this ends.
    fn now(&mut self, set: u32, item: u32) -> Option<Now> {
        match self.sets.get(set)?.items.get(item)?.watched.clone() {
            Watched::Socket(source) if source.is_closed() => None,
            Watched::Socket(source) => Some(source.now()),
            Watched::Set(inner) => {
                let events =
                    if self.has_ready(inner) { (libc::EPOLLIN | libc::EPOLLRDNORM) as u32 } else { 0 };
                Some(Now { events, ..Now::default() })
            }
        }
    }

    /// True when a set has something to report, as far as it is ours; what is quiet leaves the ready list.
    pub fn has_ready(&mut self, set: u32) -> bool {
        loop {
            let Some(item) = self.sets.get_mut(set).and_then(Set::pop) else { return false };
            let Some(now) = self.now(set, item) else {
                self.remove_item(set, item);
                continue;
            };
            let Some(found) = self.sets.get(set).and_then(|set| set.items.get(item)) else { continue };
            if found.from_kernel != 0 || now.events & (found.interest | ALWAYS) != 0 && !found.is_spent() {
                self.sets.get_mut(set).into_iter().for_each(|set| set.put_back(item));
                return true;
            }
        }
    }

    /// Reports what is ready in a set, as far as it is ours. What remains is for the next thread that sleeps in it, which a
    /// knock wakes.
    pub fn gather(&mut self, set: u32, mut room: usize, mut out: impl FnMut(epoll_event)) -> usize {
        let before = room;
        let mut left = self.sets.get(set).map_or(0, Set::queue_len);
        while room > 0 && left > 0 {
            left -= 1;
            let Some(item) = self.sets.get_mut(set).and_then(Set::pop) else { break };
            let Some(now) = self.now(set, item) else {
                self.remove_item(set, item);
                continue;
            };
            if let Some(event) = self.sets.get_mut(set).and_then(|set| set.report(item, now)) {
                room -= 1;
                out(event);
            }
        }
        if self.sets.get(set).is_some_and(|set| set.sleepers > 0 && set.has_queue())
            && !self.knocks.contains(&set)
        {
            self.knocks.push(set);
        }
        before - room
    }

    /// Takes the next socket of a set that something happened to, whatever it was ([`Set::that_hears_all`]).
    pub fn take_told(&mut self, set: u32) -> Option<S> {
        let set = self.sets.get_mut(set)?;
        loop {
            let item = set.pop()?;
            if let Some(Item { watched: Watched::Socket(source), .. }) = set.items.get(item) {
                return Some(source.clone());
            }
        }
    }

    /// The next set whose sleepers are to be woken.
    pub fn take_knock(&mut self) -> Option<u32> {
        self.knocks.pop()
    }
}

/// Tells what is watched apart; addresses of sockets are even, so sets get the odd numbers.
pub fn identity<S: Source>(watched: &Watched<S>) -> usize {
    match watched {
        Watched::Socket(source) => source.identity(),
        Watched::Set(set) => set_identity(*set),
    }
}

fn set_identity(set: u32) -> usize {
    set as usize * 2 + 1
}

#[cfg(test)]
mod tests;
