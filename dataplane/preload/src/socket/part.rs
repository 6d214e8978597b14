//! Flumen's part of a socket: its words and rings in shared memory, and what it is ready for.

use super::{Socket, open};
use crate::attach::Attachment;
use core::ffi::c_int;
use core::sync::atomic::Ordering::*;
use flumen_ipc::cell::WANTS_ROOM;
use flumen_ipc::{Arena, Cell, Flags, Ring};

/// Flumen's part of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The socket.
    pub socket: &'a Socket,
    /// The arena that holds cell and rings.
    pub home: &'a Arena,
    /// The words.
    pub cell: &'a Cell,
    pub(super) home_slot: u32,
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
