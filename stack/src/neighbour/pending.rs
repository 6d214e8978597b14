//! Packets that wait: a slab with a place for each, lists through it, and nothing that allocates.
//!
//! ```text
//!   free --push--> waiting: in its neighbour's queue, and in the order of age of all that wait
//!                     |  pop_oldest: gives way to a newer one -> free
//!                     `- settle: done, with its fate, in order --next_done--> free
//! ```
//! A place is in exactly one of free, a neighbour's queue, done. `max_pending_total` bounds waiting and done
//! together: frames that the caller has not fetched yet still count.

use super::NeighbourId;
use super::lists::{Links, List};
use crate::{DropReason, PortId};

/// What is to be done with a packet that waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Release { header: [u8; 14], port: PortId },
    Unreachable { port: PortId },
    Drop(DropReason),
}

struct Waiting<F> {
    frame: F,
    owner: NeighbourId,
    /// `None` while it waits.
    fate: Option<Fate>,
}

pub(super) struct Pending<F> {
    places: Box<[Option<Waiting<F>>]>,
    /// Links of free, of each neighbour's queue, and of done.
    links: Links,
    free: List,
    done: List,
    /// Links of all that wait, oldest first.
    ages: Links,
    waiting: List,
}

impl<F> Pending<F> {
    pub(super) fn new(places: usize) -> Self {
        let mut links = Links::new(places);
        let mut free = List::EMPTY;
        for place in 0..places {
            links.push(&mut free, place);
        }
        Pending {
            places: (0..places).map(|_| None).collect(),
            links,
            free,
            done: List::EMPTY,
            ages: Links::new(places),
            waiting: List::EMPTY,
        }
    }

    /// Packets here: those that wait and those that the caller has not fetched yet.
    pub(super) fn held(&self) -> usize {
        self.waiting.len() + self.done.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.len() == 0
    }

    /// Whose packet waits for longest.
    pub(super) fn oldest_owner(&self) -> Option<NeighbourId> {
        let place = self.waiting.front()?;
        self.places[place].as_ref().map(|waiting| waiting.owner)
    }

    /// Appends a packet to the queue of `owner`. Gives it back when there is no free place.
    pub(super) fn push(&mut self, queue: &mut List, owner: NeighbourId, frame: F) -> Result<(), F> {
        let Some(place) = self.links.pop(&mut self.free) else { return Err(frame) };
        self.places[place] = Some(Waiting { frame, owner, fate: None });
        self.links.push(queue, place);
        self.ages.push(&mut self.waiting, place);
        Ok(())
    }

    /// Takes the packet at the head of a queue, which is the oldest one of that queue.
    pub(super) fn pop_oldest(&mut self, queue: &mut List) -> Option<F> {
        let place = self.links.pop(queue)?;
        self.ages.unlink(&mut self.waiting, place);
        self.links.push(&mut self.free, place);
        self.places[place].take().map(|waiting| waiting.frame)
    }

    /// Ends the wait of a whole queue, in order. Costs one step a packet, at most `max_pending_per_entry`.
    pub(super) fn settle(&mut self, queue: &mut List, fate: Fate) {
        while let Some(place) = self.links.pop(queue) {
            self.ages.unlink(&mut self.waiting, place);
            self.links.push(&mut self.done, place);
            if let Some(waiting) = &mut self.places[place] {
                waiting.fate = Some(fate);
            }
        }
    }

    /// The next packet that waits no longer.
    pub(super) fn next_done(&mut self) -> Option<(NeighbourId, Fate, F)> {
        let place = self.links.pop(&mut self.done)?;
        self.links.push(&mut self.free, place);
        let Waiting { frame, owner, fate } = self.places[place].take()?;
        Some((owner, fate?, frame))
    }
}
