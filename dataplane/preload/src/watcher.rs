//! Where threads sleep that wait for many things: a set of the kernel's, of our own, that becomes readable when the program's bell
//! rings, when the service dies, when somebody knocks, or when what else was put into it is ready.
//!
//! The bell is never silenced: it is watched for its edges, and each ring is one. To knock is to touch the registration of
//! an eventfd that is always readable: the kernel then looks at it again, and wakes who sleeps.

use crate::attach;
use crate::errno::{self, Errno, Result};
use crate::lock::Lock;
use crate::own::Own;
use crate::real;
use crate::socket::Socket;
use core::ffi::c_int;
use core::ptr::null;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use core::time::Duration;
use rustix::event::{EventfdFlags, epoll};
use std::os::fd::{AsFd, AsRawFd};

const KNOCK: u64 = 0;
const BELL: u64 = 1;
const CONNECTION: u64 = 2;
const WATCHED: u64 = 3;

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Woken {
    /// The descriptor that was put in is ready.
    pub watched: bool,
    /// The time is over.
    pub timed_out: bool,
}

/// A set to sleep in.
#[derive(Debug)]
pub struct Watcher {
    set: Own,
    /// Whose bell and connection it holds: an attachment's serial number, or 0.
    follows: u64,
    exclusive: bool,
}

/// An eventfd that is always readable.
static KNOCKER: AtomicPtr<Own> = AtomicPtr::new(core::ptr::null_mut());

/// The descriptor to knock with; `None` when no descriptor is left.
pub fn knocker() -> Option<c_int> {
    // SAFETY: it lives for ever.
    if let Some(there) = unsafe { KNOCKER.load(Acquire).as_ref() } {
        return Some(there.number());
    }
    let fd = rustix::event::eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let own = Box::into_raw(Box::new(Own::new(fd).ok()?));
    if let Err(there) = KNOCKER.compare_exchange(core::ptr::null_mut(), own, AcqRel, Acquire) {
        // SAFETY: nobody else saw it; another thread was faster, and its one lives for ever.
        let there = unsafe {
            drop(Box::from_raw(own));
            there.as_ref()
        };
        return there.map(Own::number);
    }
    // SAFETY: as above.
    unsafe { own.as_ref() }.map(Own::number)
}

/// A set for the first who wants to sleep when the program has used up all its descriptors.
static SPARE: Lock<Option<Own>> = Lock::new(None);

/// Puts a set by, as soon as the program has sockets of ours: one that later uses up all its descriptors can still wait for
/// them.
pub fn reserve() {
    let mut spare = SPARE.lock();
    // Without the knocker the set is of no use. What fails now fails once more when somebody wants to sleep, who is told.
    if spare.is_none() && knocker().is_some() {
        *spare = new_set().ok();
    }
}

/// In a child after fork: the set is the parent's.
pub fn begin_anew_after_fork() {
    SPARE.free_after_fork(|| None);
    *SPARE.lock() = None;
}

fn new_set() -> Result<Own> {
    Ok(Own::new(epoll::create(epoll::CreateFlags::CLOEXEC)?)?)
}

impl Watcher {
    /// A new one. `exclusive`: of those that sleep until the bell rings, only one need wake up.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(exclusive: bool) -> Result<Watcher> {
        let set = new_set().or_else(|error| SPARE.lock().take().ok_or(error))?;
        let watcher = Watcher { set, follows: 0, exclusive };
        let knock = knocker().ok_or(Errno(libc::EMFILE))?;
        watcher.control(libc::EPOLL_CTL_ADD, knock, libc::EPOLLIN | libc::EPOLLET, KNOCK)?;
        Ok(watcher)
    }

    fn control(&self, op: c_int, fd: c_int, events: c_int, data: u64) -> Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: the event is live.
        errno::from_libc(unsafe { real::waits::epoll_ctl(self.number(), op, fd, &raw mut event) }).map(|_| ())
    }

    /// Its descriptor.
    pub fn number(&self) -> c_int {
        self.set.number()
    }

    /// Wakes up as well when this descriptor is readable.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn watch(&self, fd: c_int) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, WATCHED)
    }

    /// Hears the bell of the attachment that is the process's now.
    pub fn follow(&mut self) {
        let now = attach::current().filter(|now| now.serial() != self.follows);
        let Some(attachment) = now else { return };
        self.follows = attachment.serial();
        let edge = libc::EPOLLIN | libc::EPOLLET;
        let manner = if self.exclusive { edge | libc::EPOLLEXCLUSIVE } else { edge };
        // What fails for want of kernel memory leaves a thread that wakes up late, by its timeout or by other news.
        let _late = self.control(libc::EPOLL_CTL_ADD, attachment.bell().as_raw_fd(), manner, BELL);
        let connection = attachment.connection().as_fd().as_raw_fd();
        let _late = self.control(libc::EPOLL_CTL_ADD, connection, edge | libc::EPOLLRDHUP, CONNECTION);
    }

    /// In a child after fork: it is the parent's.
    pub fn close(&self) {
        self.set.close();
    }

    /// Wakes who sleeps in it.
    pub fn knock(&self) {
        if let Some(knock) = knocker() {
            let _there = self.control(libc::EPOLL_CTL_MOD, knock, libc::EPOLLIN | libc::EPOLLET, KNOCK);
        }
    }
}

/// Sleeps in the watcher with this number.
///
/// # Errors
/// EINTR: a signal handler ran.
pub fn sleep(watcher: c_int, timeout: Option<Duration>, mask: Option<&libc::sigset_t>) -> Result<Woken> {
    static IS_COARSE: AtomicBool = AtomicBool::new(false);
    let mut events: Events = [libc::epoll_event { events: 0, u64: 0 }; 4];
    let count = if IS_COARSE.load(Relaxed) {
        sleep_for_milliseconds(watcher, timeout, mask, &mut events)
    } else {
        match sleep_for_nanoseconds(watcher, timeout, mask, &mut events) {
            // Valgrind does not know the call, nor do the filters of some sandboxes.
            Err(Errno(libc::ENOSYS | libc::EPERM)) => {
                IS_COARSE.store(true, Relaxed);
                sleep_for_milliseconds(watcher, timeout, mask, &mut events)
            }
            other => other,
        }
    };
    let count = count?;
    let seen = events.get(..count).unwrap_or_default();
    let saw = |data: u64| seen.iter().any(|event| { event.u64 } == data);
    if saw(CONNECTION) {
        attach::current().map(|attachment| attachment.look());
    }
    Ok(Woken { watched: saw(WATCHED), timed_out: count == 0 })
}

type Events = [libc::epoll_event; 4];

/// As epoll_pwait2(2).
fn sleep_for_nanoseconds(
    watcher: c_int,
    timeout: Option<Duration>,
    mask: Option<&libc::sigset_t>,
    events: &mut Events,
) -> Result<usize> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(null(), core::ptr::from_ref);
    wait_in(libc::SYS_epoll_pwait2, watcher, time as usize, mask, events)
}

/// As epoll_pwait(2): it wakes up late rather than early.
fn sleep_for_milliseconds(
    watcher: c_int,
    timeout: Option<Duration>,
    mask: Option<&libc::sigset_t>,
    events: &mut Events,
) -> Result<usize> {
    let up = |time: Duration| c_int::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
    let time = timeout.map_or(-1, up);
    wait_in(libc::SYS_epoll_pwait, watcher, time as usize, mask, events)
}

fn wait_in(
    call: libc::c_long,
    watcher: c_int,
    time: usize,
    mask: Option<&libc::sigset_t>,
    events: &mut Events,
) -> Result<usize> {
    let mask = mask.map_or(null(), core::ptr::from_ref);
    let arguments =
        [watcher as usize, events.as_mut_ptr() as usize, events.len(), time, mask as usize, KERNEL_SIGSET];
    // SAFETY: the events are live, and the time is where it is a pointer; the mask is at least as long as the kernel's.
    let count = unsafe { real::system_call(call, arguments) };
    errno::from_libc(count).map(|count| count as usize)
}

/// A socket was decided, or is the kernel's now: threads that wait for it wait for the wrong one of its halves.
#[cold]
pub fn decided(socket: &Socket, to_kernel: bool) {
    if socket.watched.load(Relaxed) {
        // SAFETY: sockets live for ever (see `pool`).
        let socket = unsafe { &*core::ptr::from_ref(socket) };
        crate::epoll::control::decided(socket, to_kernel);
    }
    crate::poll::disturb();
}

/// Bytes of a signal mask, as the kernel counts them.
pub const KERNEL_SIGSET: usize = 8;

/// A time as C has it.
pub fn timespec(time: Duration) -> libc::timespec {
    let tv_sec = time.as_secs().try_into().unwrap_or(libc::time_t::MAX);
    libc::timespec { tv_sec, tv_nsec: time.subsec_nanos().into() }
}

/// As Rust has it.
///
/// # Errors
/// EINVAL, as the kernel says of times that are none.
pub fn duration(time: libc::timespec) -> Result<Duration> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) else {
        return Err(Errno(libc::EINVAL));
    };
    if nanos >= 1_000_000_000 { Err(Errno(libc::EINVAL)) } else { Ok(Duration::new(seconds, nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_OWN, MAX_SLEEPING_PLACES, OWN_DESCRIPTORS_FROM};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn a_knock_wakes_once() {
        let watcher = Watcher::new(true).unwrap();
        let sleep = || sleep(watcher.number(), NOW, None).unwrap();
        assert!(!sleep().timed_out, "the first look finds the knocker");
        assert!(sleep().timed_out);
        watcher.knock();
        assert!(!sleep().timed_out);
        assert!(sleep().timed_out);
    }

    #[test]
    fn so_many_sleep_at_a_time_and_one_more_is_refused() {
        const NAME: &str = "watcher::tests::so_many_sleep_at_a_time_and_one_more_is_refused";
        const ALONE: &str = "FLUMEN_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            // All places are taken for a moment: in a process of its own, where no other test wants one.
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            let ended = alone.args(["--exact", NAME]).env(ALONE, "").output().unwrap();
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            assert!(ended.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        assert!(
            crate::own::limit() as usize > OWN_DESCRIPTORS_FROM as usize + MAX_OWN,
            "too few for this test"
        );
        let mut asleep = Vec::new();
        let refused = loop {
            match Watcher::new(true) {
                Ok(watcher) => asleep.push(watcher),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, Errno(libc::EMFILE));
        // Beside them, the knocker is our own.
        assert_eq!(asleep.len(), MAX_OWN - 1);
        assert!(asleep.len() > MAX_SLEEPING_PLACES, "with room for connections and bells");
        assert!(asleep.iter().all(|watcher| watcher.number() >= OWN_DESCRIPTORS_FROM as c_int));
        asleep.pop();
        assert!(Watcher::new(true).is_ok(), "for one that wakes another may sleep");
    }

    #[test]
    fn what_is_watched_wakes_as_long_as_it_is_readable() {
        let watcher = Watcher::new(false).unwrap();
        let sleep = || sleep(watcher.number(), NOW, None).unwrap();
        let bell = flumen_ipc::wake::Bell::new().unwrap();
        watcher.watch(bell.as_fd().as_raw_fd()).unwrap();
        sleep();
        assert!(sleep().timed_out);
        bell.ring();
        assert!(sleep().watched && sleep().watched);
        bell.silence();
        assert!(sleep().timed_out);
    }

    #[test]
    fn both_calls_sleep_in_the_same_way() {
        let watcher = Watcher::new(true).unwrap();
        let mut events: Events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        let little = Some(Duration::from_nanos(1));
        for sleep in [sleep_for_nanoseconds, sleep_for_milliseconds] {
            watcher.knock();
            assert_eq!(sleep(watcher.number(), None, None, &mut events), Ok(1));
            assert_eq!({ events[0].u64 }, KNOCK);
            assert_eq!(sleep(watcher.number(), little, None, &mut events), Ok(0));
            assert_eq!(sleep(-1, little, None, &mut events), Err(Errno(libc::EBADF)));
        }
    }

    #[test]
    fn times_go_there_and_back() {
        let time = Duration::new(5, 7);
        assert_eq!(duration(timespec(time)), Ok(time));
        assert!(duration(libc::timespec { tv_sec: -1, tv_nsec: 0 }).is_err());
        assert!(duration(libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }).is_err());
    }
}
