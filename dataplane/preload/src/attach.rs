//! This process's connection to the service: its arena, the calls that it makes, the kicks that it gives and the news that
//! it gets.
//!
//! It is made when a socket needs it for the first time, so that programs that never open one cost nothing. When the service dies
//! it is dead, its sockets with it; a socket that is opened afterwards makes a new one. A child after fork gets its own
//! ([`Attachment::inherit`]), and leaves its parent's ([`leave`]).
//!
//! ```text
//!   CURRENT ── dead, and there is another; or a fork ──> LEFT ── no socket lives by it, and no call is at it ([`hold`]) ──> given up
//! ```

use crate::errno::{Errno, Result};
use crate::hold;
use crate::home::{self, HomeRef};
use crate::limits::MAX_TOLD;
use crate::lock::{Chore, Lock, Undone};
use crate::mapped::{Placed, Table};
use crate::own::Own;
use crate::socket::{Socket, SocketRef, State};
use arrayvec::ArrayVec;
use core::ffi::c_int;
use core::ops::Deref;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use core::time::Duration;
use flumen_ipc::attach::{self, Adopted, Hello, Welcome};
use flumen_ipc::limits::{CALL_DATA, MAX_WORKERS};
use flumen_ipc::{Arena, Op, ServicePage, tree};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, IntoBytes};

/// Where the service listens unless FLUMEN_SOCKET says otherwise.
pub const DEFAULT_PATH: &str = "/run/flumen/programs.sock";

/// How often a socket is tried to be opened when every slot is busy, and how long the caller sleeps in between: the service holds
/// on to a slot whose memory it gives back for some milliseconds at most.
const ROUNDS_OF_OPENING: u32 = 8;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(2);

/// The answer's data of a call.
pub type Answer = [u8; CALL_DATA];

/// The connection to the service.
#[derive(Debug)]
pub struct Attachment {
    home: HomeRef,
    page: ServicePage,
    connection: Own,
    bell: Own,
    workers: ArrayVec<WorkerBell, MAX_WORKERS>,
    token: [u8; 16],
    /// Tells it from all others that this process had.
    serial: u64,
    dead: AtomicBool,
    /// It is the parent's, after a fork.
    left: AtomicBool,
    /// The epoll sets were told that it is dead.
    mourned: AtomicBool,
    /// When somebody who does not wait last looked whether the service lives: seconds of the coarse clock.
    looked: AtomicU64,
    /// Where the last call found a free call slot.
    hint: AtomicU32,
    /// A bit for each slot that is taken.
    taken: Table<AtomicU64>,
    /// The socket in each slot.
    sockets: Table<AtomicPtr<Socket>>,
    /// Sockets that point to it.
    residents: AtomicU32,
    /// Since which epoch nobody can find it; 0: somebody can, as far as is known.
    unfound: AtomicU64,
    /// Another one that was left, and could not be given up then.
    older: AtomicPtr<Attachment>,
}

/// What wakes a worker.
#[derive(Debug)]
struct WorkerBell {
    bell: Own,
    /// The worker's sleep that it was rung for last ([`ServicePage::sleep`]).
    rung: AtomicU32,
}

static CURRENT: AtomicPtr<Attachment> = AtomicPtr::new(null_mut());
static MAKING: Lock<()> = Lock::new(());

/// Attachments that new sockets do not live by any more. Sockets may, and calls may still be at them.
static LEFT: AtomicPtr<Attachment> = AtomicPtr::new(null_mut());
/// Giving them up.
static GIVING_UP: Chore = Chore::new();

/// An attachment that a call uses. As long as threads do, it lives.
#[derive(Debug)]
pub struct Using(&'static Attachment);

impl Deref for Using {
    type Target = Attachment;
    #[inline]
    fn deref(&self) -> &Attachment {
        self.0
    }
}

impl Drop for Using {
    #[inline]
    fn drop(&mut self) {
        hold::end_to_hold();
    }
}

/// The attachment, if there is one.
#[inline]
pub fn current() -> Option<Using> {
    hold::begin_to_hold();
    // SAFETY: what can be found here is not given up before all threads that may have found it let go of what they hold.
    let there = unsafe { CURRENT.load(Acquire).as_ref() };
    if there.is_none() {
        hold::end_to_hold();
    }
    there.map(Using)
}

/// From now on the bell rings when there are news; look for what is there already before you sleep.
pub fn sleep() -> Option<Sleeping> {
    let attachment = current()?;
    attachment.arena().head().lie_down();
    Some(Sleeping(attachment))
}

/// The attachment; made when there is none, or when the last one is dead.
///
/// # Errors
/// The service is not there, or lets nobody in.
pub fn ensure() -> Result<Using> {
    let usable = || current().filter(|attachment| !attachment.is_dead());
    if let Some(attachment) = usable() {
        return Ok(attachment);
    }
    let making = MAKING.lock();
    if let Some(attachment) = usable() {
        return Ok(attachment);
    }
    let attachment = Attachment::make(&Hello::new(attach::ATTACH))?;
    let before = CURRENT.swap(attachment.into_raw(), AcqRel);
    let is_another = !before.is_null();
    if is_another {
        put_aside(before);
        // Not that it could go by now; but who sleeps from now on is not waited for.
        give_up();
    }
    drop(making);
    crate::watcher::reserve();
    if is_another {
        crate::epoll::state::mourn();
    }
    current().ok_or(Errno(libc::ENETDOWN))
}

/// One that no socket shall live by from now on.
fn put_aside(attachment: *mut Attachment) {
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

/// In a child after fork: what other threads of the parent were doing is of no concern here.
pub fn free_locks_after_fork() {
    MAKING.free_after_fork(|| ());
    TOLD.free_after_fork(Vec::new);
}

/// A new connection to the service, for [`flumen_ipc::attach`] messages.
///
/// # Errors
/// The service is not there.
pub fn connect() -> Result<OwnedFd> {
    let path = std::env::var_os("FLUMEN_SOCKET").unwrap_or_else(|| DEFAULT_PATH.into());
    let address = SocketAddrUnix::new(path.as_os_str())?;
    let fd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&fd, &address)?;
    Ok(fd)
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

    /// True when sockets live here.
    pub fn has_sockets(&self) -> bool {
        self.taken.iter().any(|word| word.load(Acquire) != 0)
    }

    /// Calls `look` with each socket that lives here.
    pub fn each_socket(&self, look: impl FnMut(&Socket)) {
        // SAFETY: sockets live for ever.
        self.sockets.iter().filter_map(|place| unsafe { place.load(Acquire).as_ref() }).for_each(look);
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

    /// Tells it from all others that this process had; never 0.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// In a child after fork: the parent's connection must end with the parent.
    fn close_descriptors(&self) {
        self.left.store(true, Release);
        self.dead.store(true, Release);
        self.connection.close();
        self.bell.close();
        self.workers.iter().for_each(|worker| worker.bell.close());
    }

    /// Asks whose socket this descriptor is; what it is, and the memory that it lives in.
    ///
    /// # Errors
    /// ENOENT: none of Flumen's.
    pub fn adopt(&self, slot: u32, fd: c_int) -> Result<(Adopted, OwnedFd)> {
        let _one_at_a_time = MAKING.lock();
        let hello = Hello { slot, ..Hello::new(attach::ADOPT) };
        // SAFETY: the caller's descriptor, for one call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(fd) };
        attach::send(self.connection(), hello.as_bytes(), &[descriptor])?;
        let mut message = [0; size_of::<Adopted>()];
        let (len, memory) = attach::receive(self.connection(), &mut message)?;
        let adopted = message.get(..len).and_then(|bytes| Adopted::read_from_bytes(bytes).ok());
        let adopted = adopted.filter(|adopted| adopted.magic == attach::MAGIC).ok_or(Errno(libc::EPROTO))?;
        if adopted.status != 0 {
            return Err(Errno(adopted.status.min(4095) as c_int));
        }
        Ok((adopted, memory.into_iter().next().ok_or(Errno(libc::EPROTO))?))
    }

    fn make(hello: &Hello) -> Result<Placed<Attachment>> {
        static SERIALS: AtomicU64 = AtomicU64::new(1);
        let connection = connect()?;
        attach::send(&connection, hello.as_bytes(), &[])?;
        let mut message = [0; size_of::<Welcome>()];
        let (len, descriptors) = attach::receive(&connection, &mut message)?;
        let welcome = message.get(..len).and_then(|bytes| Welcome::read_from_bytes(bytes).ok());
        let welcome = welcome.filter(|welcome| welcome.magic == attach::MAGIC).ok_or(Errno(libc::EPROTO))?;
        match welcome.status {
            0 if welcome.version == attach::VERSION => {}
            0 => return Err(Errno(libc::EPROTO)),
            status => return Err(Errno(status.min(4095) as i32)),
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(Errno(libc::EPROTO));
        let home = HomeRef::open(welcome.token, next()?, welcome.geometry)?;
        let page = ServicePage::open(next()?)?;
        let bell = Own::new(next()?)?;
        let worker = |_| Ok(WorkerBell { bell: Own::new(next()?)?, rung: AtomicU32::new(0) });
        let workers =
            (0..welcome.geometry.workers.min(MAX_WORKERS as u32)).map(worker).collect::<Result<_>>()?;
        let slots = welcome.geometry.slots;
        let attachment = Attachment {
            home,
            page,
            connection: Own::new(connection)?,
            bell,
            workers,
            token: welcome.token,
            serial: SERIALS.fetch_add(1, Relaxed),
            dead: AtomicBool::new(false),
            left: AtomicBool::new(false),
            mourned: AtomicBool::new(false),
            looked: AtomicU64::new(0),
            hint: AtomicU32::new(0),
            taken: Table::new(slots as usize / 64)?,
            sockets: Table::new(slots as usize)?,
            residents: AtomicU32::new(0),
            unfound: AtomicU64::new(0),
            older: AtomicPtr::new(null_mut()),
        };
        Ok(Placed::new(attachment)?)
    }

    /// The memory.
    pub fn arena(&self) -> &Arena {
        &self.home
    }

    /// The memory, for a socket to live in.
    pub fn home(&self) -> HomeRef {
        self.home.clone()
    }

    /// What the service tells all programs.
    pub fn page(&self) -> &ServicePage {
        &self.page
    }

    /// Readable once there are news, if this process says that it sleeps ([`sleep`]).
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.fd()
    }

    /// Readable (hung up) when the service is dead.
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.connection.fd()
    }

    /// Names this attachment to the service.
    pub fn token(&self) -> [u8; 16] {
        self.token
    }

    /// Workers that there are.
    pub fn workers(&self) -> u32 {
        self.workers.len() as u32
    }

    /// True when the service was found dead. (Does not look: see [`Attachment::look`].)
    #[inline]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Relaxed) || self.page.words().stopping.load(Relaxed) != 0
    }

    /// Looks whether the service lives. A system call.
    pub fn look(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.connection(), PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut fds, Some(&now)) != Ok(0) {
            self.dead.store(true, Release);
        }
        !self.is_dead()
    }

    /// As [`Attachment::look`], once a second at most: for calls that find nothing and do not wait. (Reading the clock is no system
    /// call.)
    pub fn look_now_and_then(&self) {
        // By libc: rustix looks for the vdso itself, in memory that Valgrind hides from programs.
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is ours; a clock that is not there leaves it as it is.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
        let now = time.tv_sec as u64;
        if self.looked.load(Relaxed) != now {
            self.looked.store(now, Relaxed);
            self.look();
        }
    }

    /// True once, when the service was found dead.
    #[inline]
    pub fn is_first_to_mourn(&self) -> bool {
        self.is_dead() && !self.mourned.swap(true, Relaxed)
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

    /// Tells the worker that rings or cursors of a slot changed.
    #[inline]
    pub fn kick(&self, worker: u32, slot: u32) {
        self.arena().kicks(worker as usize).mark(slot);
        self.ring(worker);
    }

    /// Wakes the worker, if it sleeps; once for each of its sleeps.
    #[inline]
    fn ring(&self, worker: u32) {
        let sleep = self.page.sleep(worker as usize);
        if sleep != 0
            && let Some(WorkerBell { bell, rung }) = self.workers.get(worker as usize)
            && rung.load(Relaxed) != sleep
        {
            // One that rings already (EAGAIN) rings on.
            let _rings = rustix::io::write(bell.fd(), &1u64.to_ne_bytes());
            // Noted when it is done: a thread that is stopped before lets others ring once more, and none forget it.
            rung.store(sleep, Relaxed);
        }
    }

    /// Takes all news: `tell` is called with each slot that something happened to. Several threads may take news at the same
    /// time; each news goes to one of them.
    pub fn take_news(&self, mut tell: impl FnMut(u32)) {
        // No more rounds than there are groups: workers that go on marking must not keep us here.
        for _ in 0..=self.sockets.len() / 64 {
            let Some(group) = self.arena().news().take() else { return };
            tree::numbers(group).for_each(&mut tell);
        }
    }

    /// News that do not come from a worker: who waits for the slot looks again.
    pub fn tell_ourselves(&self, slot: u32) {
        self.arena().news().mark(slot);
        if self.arena().sleep().is_some() {
            // One that rings already (EAGAIN) rings on.
            let _rings = rustix::io::write(self.bell(), &1u64.to_ne_bytes());
        }
    }

    /// Silences the bell; to be done before news are taken.
    pub fn silence(&self) {
        let _was_silent = rustix::io::read(self.bell(), &mut [0u8; 8]);
    }

    /// Asks a worker and waits for its result: negative for an errno. A dead service is ECONNRESET.
    pub fn call(&self, worker: u32, op: Op, slot: u32, args: [u64; 4], data: &[u8]) -> i64 {
        self.ask(worker, op, slot, args, data, None).0
    }

    /// As [`Attachment::call`]; also the answer's data, and how many bytes.
    pub fn call_for(
        &self,
        worker: u32,
        op: Op,
        slot: u32,
        args: [u64; 4],
        data: &[u8],
        answer: &mut Answer,
    ) -> (i64, usize) {
        self.ask(worker, op, slot, args, data, Some(answer))
    }

    fn ask(
        &self,
        worker: u32,
        op: Op,
        slot: u32,
        args: [u64; 4],
        data: &[u8],
        answer: Option<&mut Answer>,
    ) -> (i64, usize) {
        let dead = (-i64::from(libc::ECONNRESET), 0);
        if self.is_dead() {
            return dead;
        }
        let Some(number) = self.claim() else { return dead };
        let call = self.arena().call(number);
        call.submit(op, slot, args, data);
        self.arena().call_marks(worker as usize).mark(number);
        self.ring(worker);
        let beside = self.page.is_beside(worker as usize);
        let Some(result) = call.wait(beside, || self.look()) else { return dead };
        let len = answer.map_or(0, |answer| call.answer_data(answer));
        call.release();
        (result, len)
    }

    /// A free call slot; waits when all are on their way.
    fn claim(&self) -> Option<u32> {
        let calls = self.arena().geometry().calls;
        loop {
            let hint = self.hint.load(Relaxed);
            for number in (hint..hint + calls).map(|number| number % calls) {
                if self.arena().call(number).claim() {
                    self.hint.store(number, Relaxed);
                    return Some(number);
                }
            }
            if !self.look() {
                return None;
            }
            std::thread::yield_now();
        }
    }
}

/// While it lives, the bell rings for news.
#[derive(Debug)]
pub struct Sleeping(Using);

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.0.arena().head().get_up();
    }
}

/// Whether a program whose service is not there goes on with the kernel's sockets.
pub fn falls_back() -> bool {
    std::env::var_os("FLUMEN_FALLBACK").is_none_or(|value| value != "fail")
}

/// Says on standard error, once, that the service cannot be reached, and what becomes of sockets. Children after fork say it
/// no more; with FLUMEN_QUIET nobody does.
pub fn complain(error: Errno) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Relaxed) || std::env::var_os("FLUMEN_QUIET").is_some() {
        return;
    }
    let path = std::env::var_os("FLUMEN_SOCKET").unwrap_or_else(|| DEFAULT_PATH.into());
    let what = io::Error::from_raw_os_error(error.0);
    let then = if falls_back() {
        "the kernel's sockets are used (FLUMEN_FALLBACK=fail forbids that, FLUMEN_QUIET=1 says nothing)"
    } else {
        "sockets fail (FLUMEN_FALLBACK=kernel allows the kernel's)"
    };
    say(&format!("flumen: no data plane at {} (FLUMEN_SOCKET): {what}; {then}\n", path.display()));
}

/// Options that were told of: each is once for a program.
static TOLD: Lock<Vec<(i32, i32)>> = Lock::new(Vec::new());

/// True the first time that an option is told of, unless too many were.
fn is_news(told: &mut Vec<(i32, i32)>, option: (i32, i32)) -> bool {
    let news = told.len() < MAX_TOLD && !told.contains(&option);
    if news {
        told.push(option);
    }
    news
}

/// Says on standard error, once, that an option that the kernel had granted has no effect on a socket that became Flumen's.
pub fn tell_refused(level: i32, name: i32, error: Errno) {
    if !is_news(&mut TOLD.lock(), (level, name)) {
        return;
    }
    let of = match level {
        libc::SOL_SOCKET => "SOL_SOCKET",
        libc::SOL_IP => "IPPROTO_IP",
        libc::SOL_TCP => "IPPROTO_TCP",
        libc::SOL_UDP => "IPPROTO_UDP",
        libc::SOL_IPV6 => "IPPROTO_IPV6",
        _ => "another level",
    };
    let what = io::Error::from_raw_os_error(error.0);
    say(&format!(
        "flumen: option {name} of {of}, set before bind or connect, is without effect on Flumen's sockets: {what}\n"
    ));
}

/// Writes to standard error, unless that is a connection: a server that inetd starts has its peer there, and a daemon that closed its
/// standard error whatever it opened next. (journald listens at a socket of another family.)
fn say(text: &str) {
    // SAFETY: the descriptor is only asked what it is.
    let domain = rustix::net::sockopt::socket_domain(unsafe { BorrowedFd::borrow_raw(2) });
    if !matches!(domain, Ok(AddressFamily::INET | AddressFamily::INET6)) {
        // SAFETY: the text is live; the result does not matter.
        unsafe { crate::real::write(2, text.as_ptr().cast(), text.len()) };
    }
}

/// Says on standard error what could not be done with sockets of Flumen.
pub fn complain_of(what: &str, error: Errno) {
    say(&format!("flumen: {what}: {}\n", io::Error::from_raw_os_error(error.0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_told_of_once_and_only_so_many_are() {
        let mut told = Vec::new();
        for name in 0..MAX_TOLD as i32 {
            assert!(is_news(&mut told, (libc::SOL_IP, name)), "option {name}");
            assert!(!is_news(&mut told, (libc::SOL_IP, name)), "once");
        }
        assert!(!is_news(&mut told, (libc::SOL_TCP, 0)), "one too many");
    }
}
