//! Bells between those who do not trust each other.
//!
//! An eventfd that two processes have is one open file: either can make it blocking (F_SETFL), and fill its counter. Then who
//! writes to it waits until somebody reads, and who reads an empty one waits until somebody writes. A worker must do neither.
//!
//! - What programs ring for a worker ([`Bells`]): one bell for each program, in an epoll set that only the worker has. It
//!   is told of every write (EPOLLET), and never reads the bell itself. So nobody stands in another's way, either.
//! - What a worker rings for a program that it does not trust ([`Ringer`]): the kernel adds to the counter itself, as it does for
//!   asynchronous input (`io_submit` with IOCB_FLAG_RESFD), and never waits for that. It costs the processor a microsecond more than
//!   a write, and as with a write the kernel walks all that wait at the bell, of which a program may make many: whoever rings looks how
//!   long that takes. Pipes and sockets were the alternatives: a reader can hold a pipe's lock for as long as it likes (its buffer may be
//!   memory that is slow to come), and a socket must be emptied and costs more than this.

use crate::wake::Bell;
use core::mem::{MaybeUninit, size_of};
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use rustix::event::epoll;
use rustix::fs::MemfdFlags;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The bells that are rung for one worker.
#[derive(Debug)]
pub struct Bells(OwnedFd);

/// Bells that are heard at once; the others are heard before the next sleep.
const HEARD_AT_ONCE: usize = 64;

impl Bells {
    /// None yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Bells> {
        Ok(Bells(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// One more.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&self, bell: &Bell) -> io::Result<()> {
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.0, bell, epoll::EventData::new_u64(0), edges)?)
    }

    /// One less, though its program has it still.
    pub fn remove(&self, bell: &Bell) {
        let _was_not_there = epoll::delete(&self.0, bell);
    }

    /// What rang is heard, and rings no more.
    pub fn hear(&self) {
        let mut events = [MaybeUninit::uninit(); HEARD_AT_ONCE];
        let _none = epoll::wait(&self.0, &mut events[..], Some(&rustix::time::Timespec::default()));
    }
}

/// Readable when one rang.
impl AsFd for Bells {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `struct iocb` (linux/aio_abi.h, little endian).
#[repr(C)]
#[derive(Debug, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    result_descriptor: u32,
}

const _: () = assert!(size_of::<Iocb>() == 64);

/// `struct aio_ring`, which the kernel maps: what is done stands between head and tail.
#[repr(C)]
struct Results {
    id: u32,
    count: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
}

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_FLAG_RESFD: u32 = 1;
const AIO_RING_MAGIC: u32 = 0xa10a_10a1;

/// Requests that may be on their way: each is done before it is known to be asked.
const REQUESTS: usize = 16;

/// Rings bells and never waits, whatever the other owner of a bell does.
#[derive(Debug)]
pub struct Ringer {
    context: NonNull<core::ffi::c_void>,
    /// An empty file: reading nothing from it is done at once.
    nothing: OwnedFd,
}

// SAFETY: the context belongs to the process, and any thread may use it.
unsafe impl Send for Ringer {}

impl Ringer {
    /// One that works.
    ///
    /// # Errors
    /// The system's: the kernel has no asynchronous input (ENOSYS), or not for us (EPERM, EAGAIN).
    pub fn new() -> io::Result<Ringer> {
        let nothing = rustix::fs::memfd_create("flumen-nothing", MemfdFlags::CLOEXEC)?;
        let mut context: *mut core::ffi::c_void = core::ptr::null_mut();
        // SAFETY: the context is a live pointer that holds null, which the kernel writes to.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, REQUESTS, &raw mut context) };
        let context = NonNull::new(context).filter(|_| made == 0).ok_or_else(io::Error::last_os_error)?;
        let ringer = Ringer { context, nothing };
        let bell = Bell::new()?;
        if ringer.results().magic != AIO_RING_MAGIC || !ringer.ring(&bell) || !bell.silence() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(ringer)
    }

    /// Rings; false when the kernel would not.
    pub fn ring(&self, bell: &Bell) -> bool {
        let request = Iocb {
            opcode: IOCB_CMD_PREAD,
            descriptor: self.nothing.as_raw_fd() as u32,
            flags: IOCB_FLAG_RESFD,
            result_descriptor: bell.as_fd().as_raw_fd() as u32,
            ..Iocb::default()
        };
        let list = [&raw const request];
        // SAFETY: the context is ours; the list has one live request, which reads no bytes, and is copied and done within the call.
        let asked = unsafe { libc::syscall(libc::SYS_io_submit, self.context.as_ptr(), 1, list.as_ptr()) };
        // Results are of no interest: what is done makes way for what comes.
        let Results { head, tail, .. } = self.results();
        head.store(tail.load(Acquire), Release);
        asked == 1
    }

    fn results(&self) -> &Results {
        // SAFETY: the context's number is the address where the kernel has mapped the ring of its results, until it is destroyed.
        // What the kernel writes there is atomic here, and the rest does not change.
        unsafe { self.context.cast::<Results>().as_ref() }
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        // SAFETY: nobody else has the context.
        let _done = unsafe { libc::syscall(libc::SYS_io_destroy, self.context.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::fs::OFlags;

    fn is_readable(fd: impl AsFd) -> bool {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    /// What a hostile program does: the bell blocks, and is full.
    fn spoil(bell: &Bell) {
        bell.silence();
        rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        rustix::fs::fcntl_setfl(bell, OFlags::empty()).unwrap();
    }

    #[test]
    fn a_worker_hears_all_of_them_without_reading_any() {
        let bells = Bells::new().unwrap();
        let all: Vec<Bell> = (0..HEARD_AT_ONCE + 1).map(|_| Bell::new().unwrap()).collect();
        all.iter().for_each(|bell| bells.add(bell).unwrap());
        assert!(!is_readable(&bells));
        for _ in 0..2 {
            all[0].ring();
            assert!(is_readable(&bells));
            bells.hear();
            assert!(!is_readable(&bells), "heard, though nobody read it");
        }
        all.iter().for_each(Bell::ring);
        bells.hear();
        assert!(is_readable(&bells), "one more than is heard at once");
        bells.hear();
        assert!(!is_readable(&bells));
        spoil(&all[1]);
        bells.hear();
        bells.remove(&all[2]);
        all[2].ring();
        assert!(!is_readable(&bells), "its program has it, the worker not");
    }

    #[test]
    fn a_bell_that_blocks_and_is_full_keeps_nobody() {
        let (ringer, bell) = (Ringer::new().unwrap(), Bell::new().unwrap());
        for _ in 0..1000 {
            assert!(ringer.ring(&bell));
        }
        assert!(is_readable(&bell));
        let mut count = [0; 8];
        rustix::io::read(&bell, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1000);
        spoil(&bell);
        for _ in 0..3 {
            assert!(ringer.ring(&bell));
        }
        assert!(is_readable(&bell), "it rings on");
    }
}
