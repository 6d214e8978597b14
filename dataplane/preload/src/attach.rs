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

mod leaving;
mod slots;
mod talk;

pub use leaving::{count_anew, give_up, hold_for_fork, leave};

use crate::errno::{Errno, Result};
use crate::hold;
use crate::home::HomeRef;
use crate::lock::Lock;
use crate::mapped::{Placed, Table};
use crate::own::Own;
use crate::socket::Socket;
use arrayvec::ArrayVec;
use core::ffi::c_int;
use core::ops::Deref;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use flumen_ipc::attach::{self, Adopted, Hello, Welcome};
use flumen_ipc::limits::{CALL_DATA, MAX_WORKERS};
use flumen_ipc::{Arena, ServicePage};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, IntoBytes};

/// Where the service listens unless FLUMEN_SOCKET says otherwise.
pub const DEFAULT_PATH: &str = "/run/flumen/programs.sock";

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
        leaving::put_aside(before);
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

/// In a child after fork: what other threads of the parent were doing is of no concern here.
pub fn free_locks_after_fork() {
    MAKING.free_after_fork(|| ());
    crate::complaints::free_lock_after_fork();
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
    /// Tells it from all others that this process had; never 0.
    pub fn serial(&self) -> u64 {
        self.serial
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
}

/// While it lives, the bell rings for news.
#[derive(Debug)]
pub struct Sleeping(Using);

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.0.arena().head().get_up();
    }
}
