//! One socket of the program: what it is, whose it is, and what it is ready for.
//!
//! ```text
//!                   ┌─ bind, connect, send: the kernel's ──> KERNEL (left alone from then on; datagram sockets without a
//!                   │                                         name stay undecided, for their next peer may be Flumen's)
//!   UNDECIDED ──────┼─ … Flumen's ─────────────────────────> FLUMEN
//!                   └─ bind to 0.0.0.0 or :: ──────────────> BOTH ── connect decides ──> FLUMEN or KERNEL (datagram
//!                                                                     sockets: undecided, and of both when disconnected)
//! ```
//!
//! All words are atomic: calls of other threads may hold the socket while it changes state. What stands in shared memory
//! (cell, rings) belongs to the *home arena*, that of the process that made the socket; the slot in *this* process's arena
//! names it in calls, kicks and news.

pub mod open;
mod part;
mod residence;

pub use part::{Part, TCP_CLOSE, readiness};

use crate::attach::Attachment;
use crate::hold;
use crate::home::Home;
use crate::lock::Lock;
use crate::signals::Asked;
use crate::spare::Behind;
use core::ffi::c_int;
use core::ops::Deref;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Nobody knows yet; the kernel's socket stands for it.
    Undecided = 0,
    /// Flumen's.
    Flumen = 1,
    /// Bound to an unspecified address: both serve it.
    Both = 2,
    /// The kernel's: we have nothing to do with it any more.
    Kernel = 3,
}

/// An option that was set while nobody knew whose the socket is.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Level.
    pub level: c_int,
    /// Name.
    pub name: c_int,
    /// Value.
    pub value: Vec<u8>,
}

/// What only the slow paths touch.
#[derive(Debug, Default)]
pub struct Slow {
    /// Options that were set, in this order.
    pub journal: Vec<Remembered>,
    /// What was asked for about signals.
    pub signals: Option<Asked>,
}

/// One socket.
#[derive(Debug)]
pub struct Socket {
    /// Descriptors that name it in this process, and calls on their way. 0: free.
    pub(crate) references: AtomicU32,
    pub(crate) next_free: AtomicPtr<Socket>,
    state: AtomicU32,
    domain: AtomicI32,
    kind: AtomicI32,
    protocol: AtomicI32,
    slot: AtomicU32,
    home_slot: AtomicU32,
    worker: AtomicU32,
    attachment: AtomicPtr<Attachment>,
    home: AtomicPtr<Home>,
    /// Datagrams: where the last one went that was waited for, as a hash; 0 when the next is to be waited for.
    sent_to: AtomicU64,
    /// True once it was put into an epoll set.
    pub(crate) watched: AtomicBool,
    /// Writes that found no room, or not enough: each makes the next room an edge for epoll.
    pub(crate) refusals: AtomicU32,
    /// Calls with MSG_ZEROCOPY, see [`crate::zero_copy`].
    pub(crate) zero_copy: AtomicU64,
    /// The generation of the descriptor that accept made for it; 0: the program made it, or it is the last one's.
    spare: AtomicU32,
    /// The kernel's name for what stands behind that descriptor.
    cookie: AtomicU64,
    /// True once something stands in the journal.
    pub(crate) remembers: AtomicBool,
    /// True once it had an owner, or O_ASYNC, in this process: see [`crate::signals`].
    pub(crate) signals: AtomicBool,
    /// Where it lived before: calls that began then may still be there. (Not with what the slow paths touch: a child may find that in the
    /// midst of a change.)
    former: AtomicPtr<residence::Former>,
    /// What only the slow paths touch.
    pub slow: Lock<Slow>,
}

impl Socket {
    pub(crate) const fn free() -> Socket {
        Socket {
            references: AtomicU32::new(0),
            next_free: AtomicPtr::new(null_mut()),
            state: AtomicU32::new(State::Kernel as u32),
            domain: AtomicI32::new(0),
            kind: AtomicI32::new(0),
            protocol: AtomicI32::new(0),
            slot: AtomicU32::new(0),
            home_slot: AtomicU32::new(0),
            worker: AtomicU32::new(0),
            attachment: AtomicPtr::new(null_mut()),
            home: AtomicPtr::new(null_mut()),
            sent_to: AtomicU64::new(0),
            zero_copy: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
            spare: AtomicU32::new(0),
            cookie: AtomicU64::new(0),
            remembers: AtomicBool::new(false),
            signals: AtomicBool::new(false),
            former: AtomicPtr::new(null_mut()),
            slow: Lock::new(Slow { journal: Vec::new(), signals: None }),
        }
    }

    /// As new and undecided. By whoever took it from the pool, before anybody else can see it.
    pub(crate) fn begin(&self, domain: c_int, kind: c_int, protocol: c_int) {
        self.domain.store(domain, Relaxed);
        self.kind.store(kind, Relaxed);
        self.protocol.store(protocol, Relaxed);
        self.sent_to.store(0, Relaxed);
        self.zero_copy.store(0, Relaxed);
        self.watched.store(false, Relaxed);
        self.refusals.store(0, Relaxed);
        self.spare.store(0, Relaxed);
        if self.remembers.swap(false, Relaxed) {
            self.slow.lock().journal.clear();
        }
        if self.signals.swap(false, Relaxed) {
            self.slow.lock().signals = None;
        }
        if !self.former.load(Relaxed).is_null() {
            self.forget_former_homes();
        }
        self.state.store(State::Undecided as u32, Release);
    }

    /// Accept made the descriptor behind it, which may serve again ([`crate::spare`]).
    pub(crate) fn stands_on(&self, behind: &Behind) {
        self.cookie.store(behind.cookie, Relaxed);
        self.spare.store(behind.generation, Release);
    }

    /// What stands behind it must not serve again: somebody else may have it, or it is not as it was made.
    pub(crate) fn spend(&self) {
        self.spare.store(0, Release);
    }

    /// Generation and cookie of a descriptor that may serve again.
    pub(crate) fn may_spare(&self) -> Option<(u32, u64)> {
        let generation = self.spare.load(Acquire);
        (generation != 0).then(|| (generation, self.cookie.load(Relaxed)))
    }

    /// Decides whose it is. Who waits for it in another thread learns of it.
    pub fn decide(&self, state: State) {
        let before = self.state.swap(state as u32, SeqCst);
        if before != state as u32 && self.references.load(Relaxed) > 0 {
            crate::watcher::decided(self, state == State::Kernel);
        }
        if matches!(state, State::Flumen | State::Both) && self.signals.load(Acquire) {
            // SAFETY: sockets live for ever (see `pool`).
            crate::signals::decided(unsafe { &*core::ptr::from_ref(self) });
        }
    }

    /// The peer that made it Flumen's was not reached, and the next one may be the kernel's: true when it is undecided (again).
    /// One that has other names, is used by other calls or is watched stays Flumen's.
    pub(crate) fn undecide(&self) -> bool {
        // The descriptor's reference, and that of the call.
        let alone = self.references.load(Relaxed) <= 2 && !self.watched.load(Relaxed);
        if alone && self.state() == State::Flumen {
            self.decide(State::Undecided);
        }
        self.state() == State::Undecided
    }

    /// Whose it is.
    #[inline]
    pub fn state(&self) -> State {
        match self.state.load(Acquire) {
            0 => State::Undecided,
            1 => State::Flumen,
            2 => State::Both,
            _ => State::Kernel,
        }
    }

    /// Flumen's part of it: there is one once the state is Flumen or Both.
    #[inline]
    pub fn part(&self) -> Option<Part<'_>> {
        if !matches!(self.state(), State::Flumen | State::Both) {
            return None;
        }
        self.placed()
    }

    /// As [`Socket::part`], also before it was decided: for who decides.
    #[inline]
    pub fn placed(&self) -> Option<Part<'_>> {
        if self.attachment.load(Acquire).is_null() {
            return None;
        }
        // SAFETY: records of homes live for ever; this one has a user, the socket, which whoever asks holds.
        let home = unsafe { self.home.load(Relaxed).as_ref()? }.arena();
        let home_slot = self.home_slot.load(Relaxed);
        Some(Part {
            socket: self,
            home,
            cell: home.cell(home_slot),
            home_slot,
            slot: self.slot.load(Relaxed),
            worker: self.worker.load(Relaxed),
        })
    }

    /// AF_INET or AF_INET6.
    #[inline]
    pub fn domain(&self) -> c_int {
        self.domain.load(Relaxed)
    }

    /// SOCK_STREAM, SOCK_DGRAM or SOCK_RAW.
    #[inline]
    pub fn kind(&self) -> c_int {
        self.kind.load(Relaxed)
    }

    /// IPPROTO_*, never 0 but for raw sockets that say so.
    #[inline]
    pub fn protocol(&self) -> c_int {
        self.protocol.load(Relaxed)
    }

    /// Datagrams: where the last one went that was waited for (a hash, or 0).
    #[inline]
    pub fn sent_to(&self) -> u64 {
        self.sent_to.load(Relaxed)
    }

    /// Datagrams to where the hash says need not be waited for from now on; 0: every one is waited for.
    #[inline]
    pub fn set_sent_to(&self, hash: u64) {
        self.sent_to.store(hash, Relaxed);
    }

    /// True for TCP.
    #[inline]
    pub fn is_stream(&self) -> bool {
        self.kind() == libc::SOCK_STREAM
    }
}

/// A socket that is held: it stays what it is until this is dropped.
#[derive(Debug)]
pub struct SocketRef(pub(crate) &'static Socket);

impl SocketRef {
    /// Holds a socket, unless nobody has it any more.
    #[inline]
    pub(crate) fn hold(socket: &'static Socket) -> Option<SocketRef> {
        hold::begin_to_hold();
        let mut count = socket.references.load(Relaxed);
        while count > 0 {
            match socket.references.compare_exchange_weak(count, count + 1, Acquire, Relaxed) {
                Ok(_) => return Some(SocketRef(socket)),
                Err(now) => count = now,
            }
        }
        hold::end_to_hold();
        None
    }

    /// As a word that counts as a reference, for [`SocketRef::from_raw`]: in a table, not in a call.
    pub(crate) fn into_raw(self) -> *mut Socket {
        hold::end_to_hold();
        core::ptr::from_ref(core::mem::ManuallyDrop::new(self).0).cast_mut()
    }

    /// The reference that a word counts as; `None` for null.
    ///
    /// # Safety
    /// It is a socket with a reference that was counted, and no other is made of it.
    pub(crate) unsafe fn from_raw(word: *mut Socket) -> Option<SocketRef> {
        // SAFETY: sockets live for ever.
        let socket = unsafe { word.as_ref() }?;
        hold::begin_to_hold();
        Some(SocketRef(socket))
    }

    /// True when nobody else holds it.
    pub fn is_last(&self) -> bool {
        self.0.references.load(Acquire) == 1
    }
}

impl Clone for SocketRef {
    fn clone(&self) -> SocketRef {
        hold::begin_to_hold();
        self.0.references.fetch_add(1, Relaxed);
        SocketRef(self.0)
    }
}

impl Deref for SocketRef {
    type Target = Socket;
    #[inline]
    fn deref(&self) -> &Socket {
        self.0
    }
}

impl Drop for SocketRef {
    #[inline]
    fn drop(&mut self) {
        if self.0.references.fetch_sub(1, AcqRel) == 1 {
            crate::pool::finish(self.0);
        }
        hold::end_to_hold();
    }
}
