//! Where a socket lives: its memory, which another process may have made (its home), and the attachment that it is called by.

use super::Socket;
use crate::attach::Attachment;
use crate::home::{Home, HomeRef};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::*};

/// Where a socket lived before, as a word that counts as a user.
#[derive(Debug)]
pub(super) struct Former {
    home: AtomicPtr<Home>,
    next: AtomicPtr<Former>,
}

impl Former {
    fn all(newest: &AtomicPtr<Former>) -> impl Iterator<Item = &Former> {
        // SAFETY: what is in the list lives as long as the socket is not begun anew, and with it whoever walks the list.
        let at = |place: &AtomicPtr<Former>| unsafe { place.load(Acquire).as_ref() };
        core::iter::successors(at(newest), move |former| at(&former.next))
    }
}

impl Socket {
    /// Gives it memory: where its cell and rings are, and what it is called in this process. The state is still as it was.
    pub fn place(&self, attachment: &Attachment, slot: u32, worker: u32, home: HomeRef, home_slot: u32) {
        self.slot.store(slot, Relaxed);
        self.worker.store(worker, Relaxed);
        self.home_slot.store(home_slot, Relaxed);
        let home = home.into_raw();
        // SAFETY: what a socket's word counts for is made into a user once: it is no socket's word any more.
        if let Some(before) = unsafe { HomeRef::from_raw(self.home.swap(home, Relaxed)) } {
            // The same, nearly always. Another, when what was Flumen's, and not any more, is opened with another service.
            if !before.is(home) {
                self.remember_home(before);
            }
        }
        self.settle(Some(attachment));
    }

    /// It lives by this attachment from now on, which stays as long as it does.
    fn settle(&self, attachment: Option<&Attachment>) {
        attachment.inspect(|attachment| attachment.count_resident());
        let now = attachment.map_or(null_mut(), |attachment| core::ptr::from_ref(attachment).cast_mut());
        // SAFETY: the one before is there as long as this socket was counted as its resident.
        if let Some(before) = unsafe { self.attachment.swap(now, AcqRel).as_ref() } {
            before.discount_resident();
        }
    }

    fn remember_home(&self, home: HomeRef) {
        let home = AtomicPtr::new(home.into_raw());
        let mut before = self.former.load(Relaxed);
        let one = Box::into_raw(Box::new(Former { home, next: AtomicPtr::new(before) }));
        while let Err(now) = self.former.compare_exchange_weak(before, one, AcqRel, Relaxed) {
            before = now;
            // SAFETY: nobody else knows it yet.
            unsafe { &*one }.next.store(before, Relaxed);
        }
    }

    /// Gives the memory back that former homes were remembered in.
    pub(super) fn forget_former_homes(&self) {
        let mut next = self.former.swap(null_mut(), AcqRel);
        while !next.is_null() {
            // SAFETY: of `remember_home`; the socket is nobody's but the caller's.
            next = unsafe { Box::from_raw(next) }.next.into_inner();
        }
    }

    /// In a child after fork in which no call is on its way: counts where it lives, anew. One that has no name here lives nowhere: it
    /// was in a call of another thread of the parent's.
    pub(crate) fn count_anew(&self, count: &mut dyn FnMut(&Home)) {
        if self.references.load(Relaxed) == 0 {
            self.home.store(null_mut(), Relaxed);
            self.attachment.store(null_mut(), Relaxed);
        }
        // SAFETY: a socket's attachment is there as long as the socket was counted, which its parent did.
        if let Some(attachment) = unsafe { self.attachment.load(Relaxed).as_ref() } {
            attachment.count_resident();
        }
        // SAFETY: records of homes live for ever.
        if let Some(home) = unsafe { self.home.load(Relaxed).as_ref() } {
            count(home);
        }
        for former in Former::all(&self.former) {
            // SAFETY: as above.
            if let Some(home) = unsafe { former.home.load(Relaxed).as_ref() } {
                count(home);
            }
        }
    }

    /// In a child after fork: the same slot, in the attachment of the child.
    pub fn move_to(&self, attachment: &Attachment) {
        self.settle(Some(attachment));
    }

    /// Nobody has it any more: it needs no memory, and no attachment.
    pub(crate) fn leave(&self) {
        self.settle(None);
        let formers = Former::all(&self.former).map(|former| &former.home);
        for word in formers.chain([&self.home]) {
            // SAFETY: as in `place`.
            drop(unsafe { HomeRef::from_raw(word.swap(null_mut(), AcqRel)) });
        }
    }
}
