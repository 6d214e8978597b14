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

use crate::attach::Attachment;
use crate::hold;
use crate::home::{Home, HomeRef};
use crate::lock::Lock;
use crate::signals::Asked;
use crate::spare::Behind;
use core::ffi::c_int;
use core::ops::Deref;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use flumen_ipc::cell::WANTS_ROOM;
use flumen_ipc::{Arena, Cell, Flags, Ring};

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

/// Bits of `open_flags` in the cell: what all who share the socket must know.
pub mod open {
    /// O_NONBLOCK.
    pub const NONBLOCK: u32 = 1;
    /// connect() was called and has not reported how it went (Linux's SS_CONNECTING).
    pub const OPENING: u32 = 1 << 1;
    /// SO_OOBINLINE.
    pub const OOB_INLINE: u32 = 1 << 2;
    /// SO_TIMESTAMP.
    pub const TIMESTAMP: u32 = 1 << 3;
    /// SO_TIMESTAMPNS.
    pub const TIMESTAMP_NS: u32 = 1 << 4;
    /// SO_RXQ_OVFL.
    pub const DROPS: u32 = 1 << 5;
    /// IP_PKTINFO.
    pub const PACKET_INFO: u32 = 1 << 6;
    /// IP_RECVTTL.
    pub const TTL: u32 = 1 << 7;
    /// IP_RECVTOS.
    pub const TOS: u32 = 1 << 8;
    /// IP_RECVORIGDSTADDR.
    pub const ORIGINAL: u32 = 1 << 9;
    /// IPV6_RECVPKTINFO.
    pub const PACKET_INFO6: u32 = 1 << 10;
    /// IPV6_RECVHOPLIMIT.
    pub const HOP_LIMIT: u32 = 1 << 11;
    /// IPV6_RECVTCLASS.
    pub const CLASS: u32 = 1 << 12;
    /// IPV6_RECVORIGDSTADDR.
    pub const ORIGINAL6: u32 = 1 << 13;
    /// UDP_GRO.
    pub const GRO: u32 = 1 << 14;
    /// TCP_INQ.
    pub const INQ: u32 = 1 << 15;
    /// IP_RECVERR or IPV6_RECVERR: errors come through the error queue, too.
    pub const ERROR_QUEUE: u32 = 1 << 16;
    /// UDP_CORK, or MSG_MORE began a datagram that is not finished.
    pub const CORKED: u32 = 1 << 17;
    /// SO_LINGER: close waits.
    pub const LINGER: u32 = 1 << 18;
    /// SO_ZEROCOPY.
    pub const ZERO_COPY: u32 = 1 << 19;
    /// SO_TIMESTAMPING with the stamps that the data plane makes (RX_SOFTWARE and SOFTWARE).
    pub const TIMESTAMPING: u32 = 1 << 20;
    /// What asked for stamps last was an option with 64-bit times (SO_TIMESTAMP_NEW and its kin).
    pub const TIMESTAMP_NEW: u32 = 1 << 21;
    /// SO_TIMESTAMPING asks for stamps of what is sent.
    pub const STAMPS_SENT: u32 = 1 << 22;
    /// And for the times in them (SOFTWARE alone).
    pub const STAMP_TIMES: u32 = 1 << 23;
    /// And for keys that name them (OPT_ID).
    pub const STAMP_KEYS: u32 = 1 << 24;
    /// IP_RECVOPTS.
    pub const OPTIONS: u32 = 1 << 25;
    /// IP_RETOPTS.
    pub const OPTIONS_TO_RETURN: u32 = 1 << 26;
    /// SO_SELECT_ERR_QUEUE.
    pub const SELECT_ERRORS: u32 = 1 << 27;
    /// IPV6_2292PKTINFO.
    pub const OLD_PACKET_INFO6: u32 = 1 << 28;
    /// IPV6_2292HOPLIMIT.
    pub const OLD_HOP_LIMIT: u32 = 1 << 29;
    /// All that ask for the time when something came.
    pub const STAMPS: u32 = TIMESTAMP | TIMESTAMP_NS | TIMESTAMPING;
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

/// Where a socket lived before, as a word that counts as a user.
#[derive(Debug)]
struct Former {
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
    former: AtomicPtr<Former>,
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
    fn forget_former_homes(&self) {
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

/// Flumen's part of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The socket.
    pub socket: &'a Socket,
    /// The arena that holds cell and rings.
    pub home: &'a Arena,
    /// The words.
    pub cell: &'a Cell,
    home_slot: u32,
    /// Its number in calls, kicks and news.
    pub slot: u32,
    /// The worker that it lives on.
    pub worker: u32,
}

impl<'a> Part<'a> {
    /// This process's connection to the service. (Asked for whenever it is wanted: when a signal handler forks, the call that it
    /// interrupted goes on in the child with another one.)
    #[inline]
    pub fn attachment(&self) -> &'a Attachment {
        // SAFETY: a socket that was placed has one, which lives as long as it is a socket's, and as long as a call is on its way
        // that may have asked for it.
        unsafe { &*self.socket.attachment.load(Acquire) }
    }

    /// What came.
    #[inline]
    pub fn rx(&self) -> Ring<'a> {
        self.home.rx(self.home_slot)
    }

    /// What is to go.
    #[inline]
    pub fn tx(&self) -> Ring<'a> {
        self.home.tx(self.home_slot)
    }

    /// Tells the worker that rings or cursors changed.
    #[inline]
    pub fn kick(&self) {
        self.attachment().kick(self.worker, self.slot);
    }

    /// What it said last went to this node.
    #[inline]
    pub fn is_near(&self) -> bool {
        self.cell.flags().intersects(Flags::NEAR)
    }

    /// Waits until what was said to this node is heard: over a kernel's loopback it is when the call returns, and programs that talk
    /// to themselves look at once.
    #[inline]
    pub fn be_heard(&self) {
        if self.is_near() {
            self.attachment().page().await_turn(self.worker as usize);
        }
    }

    /// Bits of [`open`] that are set.
    #[inline]
    pub fn open_flags(&self) -> u32 {
        self.cell.program.open_flags.load(Relaxed)
    }

    /// Sets or clears bits of [`open`].
    pub fn set_open(&self, bits: u32, on: bool) {
        let word = &self.cell.program.open_flags;
        if on {
            word.fetch_or(bits, AcqRel)
        } else {
            word.fetch_and(!bits, AcqRel)
        };
    }

    /// An error waits to be reported. (The flag in the cell says what the worker last knew; another may have taken it since.)
    #[inline]
    pub fn has_error(&self) -> bool {
        self.cell.error.load(Acquire) != 0
    }

    /// Nothing will happen to this socket any more: the service has let go of it, or is dead.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.cell.flags().intersects(Flags::GONE) || self.attachment().is_dead()
    }

    /// Asks the worker something about this socket.
    pub fn call(&self, op: flumen_ipc::Op, args: [u64; 4], data: &[u8]) -> crate::errno::Result<i64> {
        crate::errno::from_raw(self.ask(|to| (to.call(self.worker, op, self.slot, args, data), 0)).0)
    }

    /// As [`Part::call`]; also the answer's data.
    pub fn call_for<'b>(
        &self,
        op: flumen_ipc::Op,
        args: [u64; 4],
        data: &[u8],
        answer: &'b mut crate::attach::Answer,
    ) -> crate::errno::Result<(i64, &'b [u8])> {
        let (result, len) = self.ask(|to| to.call_for(self.worker, op, self.slot, args, data, answer));
        Ok((crate::errno::from_raw(result)?, answer.get(..len).unwrap_or_default()))
    }

    /// Asks. A call that a signal handler interrupted which forked is asked once more in the child, by the child's connection.
    fn ask(&self, mut ask: impl FnMut(&Attachment) -> (i64, usize)) -> (i64, usize) {
        loop {
            let attachment = self.attachment();
            let answer = ask(attachment);
            if !attachment.was_left() || core::ptr::eq(attachment, self.attachment()) {
                return answer;
            }
        }
    }

    /// There was no room to write: the worker shall tell when there is.
    #[inline]
    pub fn want_room(&self) {
        self.cell.program.open_flags.fetch_or(WANTS_ROOM, SeqCst);
    }

    /// As [`Part::want_room`], after a write that could not be done: the room that comes is an edge.
    pub fn refuse(&self) {
        self.socket.refusals.fetch_add(1, Relaxed);
        self.want_room();
    }

    /// SO_RCVLOWAT, at least 1. (The low half of the cell's spare word.)
    #[inline]
    pub fn low_mark(&self) -> u64 {
        (self.cell.program.spare.load(Relaxed) & u64::from(u32::MAX)).max(1)
    }

    /// Sets SO_RCVLOWAT.
    pub fn set_low_mark(&self, bytes: u32) {
        self.change_spare(|spare| spare & !u64::from(u32::MAX) | u64::from(bytes));
    }

    /// SO_LINGER: the seconds that close waits. (The high half of the spare word.)
    pub fn linger(&self) -> Option<u32> {
        let seconds = (self.cell.program.spare.load(Relaxed) >> 32) as u32;
        (self.open_flags() & open::LINGER != 0).then_some(seconds)
    }

    /// Sets SO_LINGER's seconds; `None` for off.
    pub fn set_linger(&self, seconds: Option<u32>) {
        self.change_spare(|spare| spare & u64::from(u32::MAX) | u64::from(seconds.unwrap_or(0)) << 32);
        self.set_open(open::LINGER, seconds.is_some());
    }

    fn change_spare(&self, change: impl Fn(u64) -> u64) {
        // Ok or not, it was changed: the closure always gives a value.
        let _before = self.cell.program.spare.fetch_update(AcqRel, Relaxed, |spare| Some(change(spare)));
    }

    /// SO_PEEK_OFF: how far behind what is read next peeks look; less than 0: they look at what is read next.
    #[inline]
    pub fn peek_offset(&self) -> c_int {
        self.cell.peek_offset.load(Relaxed).wrapping_sub(1) as c_int
    }

    /// Sets SO_PEEK_OFF.
    pub fn set_peek_offset(&self, offset: c_int) {
        self.cell.peek_offset.store((offset as u32).wrapping_add(1), Relaxed);
    }

    /// Bytes were peeked at, or (less than 0) read: peeks go on behind the same byte as before (sk_peek_offset_fwd, _bwd of
    /// Linux).
    #[inline]
    pub fn move_peek_offset(&self, bytes: i64) {
        if self.peek_offset() < 0 {
            return;
        }
        let moved = |word: u32| {
            let offset = i64::from(word.wrapping_sub(1) as c_int);
            (offset >= 0).then(|| (offset + bytes).clamp(0, c_int::MAX.into()) as u32 + 1)
        };
        // Not when it was switched off meanwhile.
        let _before = self.cell.peek_offset.fetch_update(Relaxed, Relaxed, moved);
    }

    /// What Flumen's part is ready for: epoll's bits, of all events that Linux would report now.
    pub fn readiness(&self) -> u32 {
        let flags = self.cell.flags();
        let mut ready = if self.socket.is_stream() { self.stream(flags) } else { self.datagrams(flags) };
        let either = |flag, bits| if flags.intersects(flag) { bits } else { 0 };
        if flags.intersects(Flags::ERROR_QUEUE) || self.has_error() || crate::zero_copy::waits(self) {
            ready |= libc::EPOLLERR as u32;
            // datagram_poll() of Linux; tcp_poll() has no such thing.
            if self.open_flags() & open::SELECT_ERRORS != 0 && !self.socket.is_stream() {
                ready |= libc::EPOLLPRI as u32;
            }
        }
        ready |= either(Flags::PRIORITY, libc::EPOLLPRI as u32);
        ready |= either(Flags::HANG_UP, libc::EPOLLHUP as u32);
        if self.is_over() {
            ready |= READ | WRITE | (libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) as u32;
        }
        ready
    }

    /// tcp_poll() of Linux.
    fn stream(&self, flags: Flags) -> u32 {
        if flags.intersects(Flags::LISTENING) {
            return if flags.intersects(Flags::ACCEPTABLE) { READ } else { 0 };
        }
        if flags.intersects(Flags::DEFERRED) {
            return WRITE;
        }
        let mut ready = 0;
        if flags.intersects(Flags::READ_END) {
            ready |= READ | libc::EPOLLRDHUP as u32;
        }
        if flags.intersects(Flags::CONNECTING) {
            return ready;
        }
        if self.cell.readable() >= self.low_mark() {
            ready |= READ;
        }
        if flags.intersects(Flags::WRITE_END)
            || !flags.intersects(Flags::CONNECTED)
            || flags.intersects(Flags::WRITABLE) && self.cell.room(self.tx().size()) > 0
        {
            ready |= WRITE;
        }
        if self.cell.worker.state.load(Relaxed) == TCP_CLOSE {
            ready |= libc::EPOLLHUP as u32;
        }
        ready
    }

    /// datagram_poll() of Linux.
    fn datagrams(&self, flags: Flags) -> u32 {
        let mut ready = 0;
        if flags.intersects(Flags::READ_END) {
            ready |= READ | libc::EPOLLRDHUP as u32;
        }
        if self.cell.readable() > 0 {
            ready |= READ;
        }
        if flags.intersects(Flags::WRITABLE) && self.cell.room(self.tx().size()) > 0 {
            ready |= WRITE | libc::EPOLLWRBAND as u32;
        }
        ready
    }
}

const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM) as u32;
const WRITE: u32 = (libc::EPOLLOUT | libc::EPOLLWRNORM) as u32;

/// Linux's number of the state CLOSED.
pub const TCP_CLOSE: u32 = 7;

/// What Flumen's part of a socket is ready for (epoll's bits); nothing when there is none. For one that is undecided or of
/// both, the kernel's socket is to be asked, too.
pub fn readiness(socket: &Socket) -> u32 {
    socket.part().map_or(0, |part| part.readiness())
}

/// A socket that is held: it stays what it is until this is dropped.
#[derive(Debug)]
pub struct SocketRef(pub(crate) &'static Socket);

impl SocketRef {
    /// Holds a socket, unless nobody has it any more.
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
