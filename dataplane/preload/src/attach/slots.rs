//! The slots of an attachment: which are taken, by which sockets, and opening one.

use super::Attachment;
use crate::errno::{Errno, Result};
use crate::socket::{Socket, SocketRef};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::*;
use core::time::Duration;

/// How often a socket is tried to be opened when every slot is busy, and how long the caller sleeps in between: the service holds
/// on to a slot whose memory it gives back for some milliseconds at most.
const ROUNDS_OF_OPENING: u32 = 8;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(2);

impl Attachment {
    /// True when sockets live here.
    pub fn has_sockets(&self) -> bool {
        self.taken.iter().any(|word| word.load(Acquire) != 0)
    }

    /// Calls `look` with each socket that lives here.
    pub fn each_socket(&self, look: impl FnMut(&Socket)) {
        // SAFETY: sockets live for ever.
        self.sockets.iter().filter_map(|place| unsafe { place.load(Acquire).as_ref() }).for_each(look);
    }

    /// A slot for a new socket. Its cell is not touched: it may be the home of a socket that another process has, which only the
    /// service knows; the service clears it.
    pub fn take_slot(&self) -> Option<u32> {
        self.taken.iter().enumerate().find_map(|(group, word)| {
            let mut seen = word.load(Relaxed);
            while seen != u64::MAX {
                let bit = seen.trailing_ones();
                match word.compare_exchange_weak(seen, seen | 1 << bit, Acquire, Relaxed) {
                    Ok(_) => return Some(group as u32 * 64 + bit),
                    Err(now) => seen = now,
                }
            }
            None
        })
    }

    /// Opens a socket in a free slot, whose cell is as new: `ask` opens it, and gives the result. Slots that the service still uses
    /// for another process, or is about to give back the memory of (EBUSY), are passed over; the latter are free again in a moment,
    /// and when there are no others they are asked for some times more.
    ///
    /// # Errors
    /// What `ask` says; ENOBUFS when no slot is free.
    pub fn open_in_free_slot(&self, mut ask: impl FnMut(u32) -> i64) -> Result<u32> {
        let mut used = Vec::new();
        let mut rounds = ROUNDS_OF_OPENING;
        let opened = loop {
            let Some(slot) = self.take_slot() else {
                rounds -= 1;
                if used.is_empty() || rounds == 0 || self.is_dead() {
                    break Err(Errno(libc::ENOBUFS));
                }
                std::thread::sleep(BETWEEN_ROUNDS);
                used.drain(..).for_each(|slot| self.give_slot(slot));
                continue;
            };
            match crate::errno::from_raw(ask(slot)) {
                Ok(_) => break Ok(slot),
                Err(Errno(libc::EBUSY)) => used.push(slot),
                Err(error) => {
                    used.push(slot);
                    break Err(error);
                }
            }
        };
        used.into_iter().for_each(|slot| self.give_slot(slot));
        opened
    }

    /// The slot's socket, for who gets news.
    pub fn set_socket(&self, slot: u32, socket: &Socket) {
        if let Some(place) = self.sockets.get(slot as usize) {
            place.store(core::ptr::from_ref(socket).cast_mut(), Release);
        }
    }

    /// Gives a slot back that [`Attachment::take_slot`] gave.
    pub fn give_slot(&self, slot: u32) {
        if let Some(place) = self.sockets.get(slot as usize) {
            place.store(null_mut(), Release);
        }
        if let Some(word) = self.taken.get(slot as usize / 64) {
            word.fetch_and(!(1 << (slot % 64)), Release);
        }
    }

    /// The socket in a slot.
    pub fn socket(&self, slot: u32) -> Option<SocketRef> {
        let place = self.sockets.get(slot as usize)?;
        crate::table::hold(place, place.load(Acquire))
    }

    /// This process lets go of the slot's socket. Nobody waits: the worker takes it before it does what is asked later.
    pub(crate) fn let_go(&self, worker: u32, slot: u32) {
        self.arena().closes(worker as usize).mark(slot);
        self.ring(worker);
        self.give_slot(slot);
    }
}
