//! Attachments that are left: by a child, which has its own, and by a process whose service died. They are given up when no socket
//! lives by them and no call is at them ([`hold`]).

use super::{Attachment, CURRENT};
use crate::errno::Result;
use crate::hold;
use crate::home;
use crate::lock::{Chore, Undone};
use crate::mapped::Placed;
use crate::socket::State;
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::*};
use flumen_ipc::attach::{self, Hello};

/// Attachments that new sockets do not live by any more. Sockets may, and calls may still be at them.
static LEFT: AtomicPtr<Attachment> = AtomicPtr::new(null_mut());
/// Giving them up.
static GIVING_UP: Chore = Chore::new();

/// One that no socket shall live by from now on.
pub(super) fn put_aside(attachment: *mut Attachment) {
    // SAFETY: it is in no list, so nobody gives it up.
    let Some(one) = (unsafe { attachment.as_ref() }) else { return };
    let mut older = LEFT.load(Relaxed);
    loop {
        one.older.store(older, Relaxed);
        match LEFT.compare_exchange_weak(older, attachment, AcqRel, Relaxed) {
            Ok(_) => return,
            Err(now) => older = now,
        }
    }
}

/// Gives up what was left, if that is possible by now. To be called where a thread holds nothing, also in a signal handler.
#[inline]
pub fn give_up() {
    if !LEFT.load(Relaxed).is_null() {
        give_up_left();
    }
}

#[cold]
fn give_up_left() {
    if crate::sandbox::is_on() {
        return;
    }
    let work = || {
        let mut next = LEFT.swap(null_mut(), AcqRel);
        // SAFETY: made by `make`; it is in no list any more, and there is one thread at a time here.
        while let Some(one) = unsafe { next.as_ref() } {
            let this = core::mem::replace(&mut next, one.older.load(Relaxed));
            if one.is_nobodys() {
                // SAFETY: nobody can find it, and nobody is left who could before.
                drop(unsafe { Placed::from_raw(this) });
            } else {
                put_aside(this);
            }
        }
    };
    // What another cannot give up now waits for the next time.
    GIVING_UP.run(work, || false);
}

/// Before a fork: waits for who gives attachments up, and keeps others from it.
pub fn hold_for_fork() -> Undone<'static> {
    GIVING_UP.hold_for_fork()
}

/// In a child after fork: the parent's connection must end with the parent, and the child's is `now`, if it has sockets; else the
/// next one makes it. All sockets of the parent's live with the child's, or are nobody's.
///
/// What is the parent's is given up. When the fork was in a signal handler that interrupted a call, that call may still be at it. Then
/// it stays until that ends, changed so that nothing that is written there is seen by the parent and the service.
pub fn leave(now: Option<Placed<Attachment>>) {
    let before = CURRENT.load(Acquire);
    let lost = match now {
        Some(now) => {
            CURRENT.store(now.into_raw(), Release);
            // SAFETY: as of `current`.
            let (before, now) = unsafe { (before.as_ref(), CURRENT.load(Acquire).as_ref()) };
            before.zip(now).map(|(before, now)| now.take_over(before)).unwrap_or_default()
        }
        None => {
            CURRENT.store(null_mut(), Release);
            // SAFETY: as above.
            if let Some(before) = unsafe { before.as_ref() } {
                before.each_socket(|socket| socket.decide(State::Kernel));
            }
            Vec::new()
        }
    };
    // SAFETY: as above.
    if let Some(parents) = unsafe { before.as_ref() } {
        parents.close_descriptors();
        if hold::is_holding() {
            parents.home.part_from_service();
        }
        put_aside(before);
    }
    lost.into_iter().for_each(crate::adopt::adopt_again);
}

/// In a child after fork in which no call is on its way: counts its sockets and attachments anew, with where they live.
pub fn count_anew() {
    let undone = GIVING_UP.hold_for_fork();
    // SAFETY: as of `current`; and what was left is not given up now.
    let at = |place: &AtomicPtr<Attachment>| unsafe { place.load(Acquire).as_ref() };
    let left = || core::iter::successors(at(&LEFT), |one| at(&one.older));
    let all = || at(&CURRENT).into_iter().chain(left());
    all().for_each(|one| one.residents.store(0, Relaxed));
    home::count_anew(|count| {
        all().for_each(|one| count(one.home.record()));
        crate::pool::each(|socket| socket.count_anew(count));
    });
    drop(undone);
}

impl Attachment {
    /// The attachment for the child that is about to be forked: made by the parent, installed by the child.
    ///
    /// # Errors
    /// The service is gone, or has too many programs.
    pub fn inherit(&self) -> Result<Placed<Attachment>> {
        let child = Attachment::make(&Hello { token: self.token, ..Hello::new(attach::INHERIT) })?;
        for (to, from) in child.taken.iter().zip(self.taken.iter()) {
            to.store(from.load(Acquire), Relaxed);
        }
        for (place, socket) in child.sockets.iter().zip(self.sockets.iter()) {
            place.store(socket.load(Acquire), Relaxed);
        }
        Ok(child)
    }

    /// In a child after fork: the sockets of its parent are the child's, by the child's connection. The service gave it those that the
    /// parent had when it was asked, and meanwhile other threads may have opened some and closed others. Gives the descriptors of
    /// those that the service does not know the child has.
    fn take_over(&self, parent: &Attachment) -> Vec<c_int> {
        let mut lost = Vec::new();
        for (slot, (mine, theirs)) in (0..).zip(self.sockets.iter().zip(parent.sockets.iter())) {
            let (known, there) = (mine.load(Relaxed), theirs.load(Relaxed));
            let is_taken = self
                .taken
                .get(slot as usize / 64)
                .is_some_and(|word| word.load(Relaxed) >> (slot % 64) & 1 != 0);
            // SAFETY: sockets live for ever.
            match unsafe { there.as_ref() } {
                Some(socket) if known == there => {
                    socket.move_to(self);
                    if !hold::is_holding() && socket.references.load(Relaxed) == 0 {
                        // Its last name was closed, or was about to be, while a thread of the parent was in a call on it; or it was
                        // about to get its first.
                        socket.decide(State::Flumen);
                        crate::pool::finish(socket);
                    }
                    continue;
                }
                Some(socket) => {
                    socket.decide(State::Kernel);
                    crate::table::each_of(socket, |fd| lost.push(fd));
                }
                None => {}
            }
            if is_taken {
                for worker in 0..self.workers() {
                    self.let_go(worker, slot);
                }
            }
        }
        lost
    }

    /// It is a process's that forked, and this is the child.
    #[inline]
    pub fn was_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// A socket points to it from now on.
    pub(crate) fn count_resident(&self) {
        self.residents.fetch_add(1, Relaxed);
        // Who finds it through that socket may have begun after it was unfound: that is to be waited for anew.
        self.unfound.store(0, Release);
    }

    /// One does so no more.
    pub(crate) fn discount_resident(&self) {
        self.residents.fetch_sub(1, AcqRel);
    }

    /// True when no socket points to it, and every thread that may have found it before has let go of what it held. By who is at the
    /// chore of giving up.
    fn is_nobodys(&self) -> bool {
        let has_residents = || self.residents.load(Acquire) > 0;
        if !has_residents() && self.unfound.load(Relaxed) == 0 {
            self.unfound.store(hold::new_epoch(), Relaxed);
        }
        if !has_residents()
            && hold::is_nobody_left_from_before(self.unfound.load(Relaxed))
            && !has_residents()
        {
            return true;
        }
        if has_residents() {
            // One of those placed a socket here.
            self.unfound.store(0, Relaxed);
        }
        false
    }

    /// In a child after fork: the parent's connection must end with the parent.
    fn close_descriptors(&self) {
        self.left.store(true, Release);
        self.dead.store(true, Release);
        self.connection.close();
        self.bell.close();
        self.workers.iter().for_each(|worker| worker.bell.close());
    }
}
