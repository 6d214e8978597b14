//! The words of one socket. Each has one writing side; lines of 64 bytes do not mix sides.
//!
//! Positions count bytes since the socket was made and wrap at 2^64, that is, never. What lies between `rx_head` and
//! `rx_tail` can be read; what lies between `tx_head` and `tx_tail` was written and not taken yet; up to `tx_limit` more
//! may be written. For datagrams the bytes are whole records ([`crate::message`]).
//!
//! Who waits for a socket: `readers += 1` (or `writers += 1`, who waits for room to write or a connection), read `seq`, look at the
//! condition, sleep on `seq`, `readers -= 1`. The worker changes what it changes, then `seq += 1`, then looks at those words:
//! nobody who waits for data is woken because others went.

use core::ops::{BitAnd, BitOr, Not};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// Conditions of a socket that hold now, as the worker sees them. A program reads them, and adds what it knows itself
/// (bytes that wait, room that is left).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Nothing.
    pub const NONE: Flags = Flags(0);
    /// A listener has a connection to accept.
    pub const ACCEPTABLE: Flags = Flags(1);
    /// Nothing comes after what stands in the receive ring: the peer closed, or reading was shut down.
    pub const READ_END: Flags = Flags(1 << 1);
    /// There is room to write by Linux's rule for EPOLLOUT (a third of the send buffer is free, TCP_NOTSENT_LOWAT).
    pub const WRITABLE: Flags = Flags(1 << 2);
    /// The connection stands (or stood).
    pub const CONNECTED: Flags = Flags(1 << 3);
    /// An urgent byte can be read out of band.
    pub const PRIORITY: Flags = Flags(1 << 4);
    /// The error queue has an entry (IP_RECVERR).
    pub const ERROR_QUEUE: Flags = Flags(1 << 5);
    /// Both directions are over (EPOLLHUP).
    pub const HANG_UP: Flags = Flags(1 << 6);
    /// Writing was shut down, or the connection is gone: EPIPE.
    pub const WRITE_END: Flags = Flags(1 << 7);
    /// The socket listens.
    pub const LISTENING: Flags = Flags(1 << 8);
    /// A connection is being opened.
    pub const CONNECTING: Flags = Flags(1 << 9);
    /// An error waits in `error` (EPOLLERR).
    pub const ERROR: Flags = Flags(1 << 10);
    /// The data plane has let go of the socket: it stops, or the socket was refused.
    pub const GONE: Flags = Flags(1 << 11);
    /// Urgent data were announced and have not been read past: SIOCATMARK is to be asked.
    pub const URGENT: Flags = Flags(1 << 12);
    /// A connection is to be opened by the first write, whose bytes go with the SYN (TCP_FASTOPEN_CONNECT).
    pub const DEFERRED: Flags = Flags(1 << 13);
    /// What it said last went to this node: whoever says more waits until it is heard.
    pub const NEAR: Flags = Flags(1 << 14);
    /// With `READ_END`: the peer's FIN is what ended reading, so that who reads hears of no error that came behind it.
    pub const PEER_END: Flags = Flags(1 << 15);

    /// True when any of `other` is in `self`.
    #[inline]
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// True when all of `other` is in `self`.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Flags;
    fn not(self) -> Flags {
        Flags(!self.0)
    }
}

/// A bit of [`ProgramWords::open_flags`], which the program sets when it found no room to write, and the worker clears when
/// it tells that there is some (SOCK_NOSPACE in Linux). So room that comes between the look and the sleep is not
/// missed, and room that nobody waits for is no news.
pub const WANTS_ROOM: u32 = 1 << 31;

/// Written by the worker.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct WorkerWords {
    /// Where the receive ring's bytes end.
    pub rx_tail: AtomicU64,
    /// How far bytes were taken from the send ring.
    pub tx_head: AtomicU64,
    /// How far the program may write: what the send buffer has room for.
    pub tx_limit: AtomicU64,
    /// Where in the receive stream the urgent byte stands or stood (valid with [`Flags::URGENT`]).
    pub urgent: AtomicU64,
    /// Which news of the worker these are, counted over all its sockets: those who take many at a time hear them in this order.
    pub told: AtomicU64,
    /// [`Flags`].
    pub flags: AtomicU32,
    /// Counts changes; threads sleep on it.
    pub seq: AtomicU32,
    /// Errors, lost datagrams: how many the socket lost for want of room (SO_RXQ_OVFL, SO_MEMINFO).
    pub drops: AtomicU32,
    /// The state of a TCP connection, by Linux's number.
    pub state: AtomicU32,
    /// How often urgent data were announced; wraps.
    pub announced: AtomicU32,
}

/// Written by the program.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ProgramWords {
    /// How far the program has read.
    pub rx_head: AtomicU64,
    /// Where what it wrote ends.
    pub tx_tail: AtomicU64,
    /// Its threads that sleep on `seq` until something can be read, in all processes that share the socket.
    pub readers: AtomicU32,
    /// Its threads that sleep on `seq` until something can be written.
    pub writers: AtomicU32,
    /// Who reads: a lock of the program's own, 0 or a thread id.
    pub rx_lock: AtomicU32,
    /// Who writes.
    pub tx_lock: AtomicU32,
    /// Bits of the program's own about the open file, shared by its processes (O_NONBLOCK, what control messages to give).
    pub open_flags: AtomicU32,
    /// SO_RCVTIMEO in microseconds, 0 for none.
    pub receive_timeout: AtomicU64,
    /// SO_SNDTIMEO in microseconds, 0 for none.
    pub send_timeout: AtomicU64,
    /// More bits of the program's own.
    pub spare: AtomicU64,
}

/// The words of one socket.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Cell {
    /// Written by the worker.
    pub worker: WorkerWords,
    /// Written by the program.
    pub program: ProgramWords,
    /// The error that waits (SO_ERROR, an errno): put by the worker, taken by whoever reports it first.
    pub error: AtomicU32,
    /// The number of the thread, in one of the programs that have the socket, that sends signals for it (SIGIO, SIGURG); 0: none yet.
    pub signaller: AtomicU32,
    /// SO_PEEK_OFF, and one; 0 for none. The program's own, as all that follow.
    pub peek_offset: AtomicU32,
    /// Datagrams: behind where the last empty one begins that was peeked at; 0 for none.
    pub peeked_empty: AtomicU64,
    /// Datagrams: when the last one came that was received (SIOCGSTAMP), nanoseconds since 1970; 0 for none.
    pub stamp: AtomicU64,
}

impl Cell {
    /// The conditions.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.worker.flags.load(Acquire))
    }

    /// Bytes that wait to be read, as the program sees it.
    #[inline]
    pub fn readable(&self) -> u64 {
        self.worker.rx_tail.load(Acquire).wrapping_sub(self.program.rx_head.load(Relaxed))
    }

    /// Bytes that may be written now into a ring of `size` bytes, as the program sees it.
    #[inline]
    pub fn room(&self, size: usize) -> u64 {
        let tail = self.program.tx_tail.load(Relaxed);
        let free = (size as u64).saturating_sub(tail.wrapping_sub(self.worker.tx_head.load(Acquire)));
        let allowed = self.worker.tx_limit.load(Acquire).wrapping_sub(tail);
        // The limit moves back when a buffer shrinks; then nothing may be written, and not 2^64 bytes.
        if allowed > i64::MAX as u64 { 0 } else { free.min(allowed) }
    }

    /// Takes the error that waits; 0 for none. (RMW: worker and program both change it.)
    #[inline]
    pub fn take_error(&self) -> u32 {
        if self.error.load(Acquire) == 0 { 0 } else { self.error.swap(0, AcqRel) }
    }

    /// As new, for another socket in the same slot. By the worker, when the program asks for the socket: a slot may still be the home
    /// of a socket that another process has, and only the worker knows.
    pub fn clear(&self) {
        let WorkerWords { rx_tail, tx_head, tx_limit, urgent, told, flags, seq: _, drops, state, announced } =
            &self.worker;
        let ProgramWords {
            rx_head,
            tx_tail,
            readers,
            writers,
            rx_lock,
            tx_lock,
            open_flags,
            receive_timeout,
            send_timeout,
            spare,
        } = &self.program;
        for word in
            [rx_tail, tx_head, tx_limit, urgent, told, rx_head, tx_tail, receive_timeout, send_timeout, spare]
        {
            word.store(0, Relaxed);
        }
        for word in [&self.peeked_empty, &self.stamp] {
            word.store(0, Relaxed);
        }
        for word in [
            flags,
            drops,
            state,
            announced,
            readers,
            writers,
            rx_lock,
            tx_lock,
            open_flags,
            &self.error,
            &self.signaller,
            &self.peek_offset,
        ] {
            word.store(0, Relaxed);
        }
    }

    /// Tells that something changed: no more than that bytes were taken from the send ring, unless there are `news`. True when
    /// threads sleep that are to be woken for it ([`Cell::wake`]). By the worker.
    #[inline]
    #[must_use]
    pub fn changed(&self, news: bool) -> bool {
        self.worker.seq.fetch_add(1, SeqCst);
        self.program.writers.load(SeqCst) > 0 || news && self.program.readers.load(SeqCst) > 0
    }

    /// Wakes the threads that sleep on this socket. By the worker.
    pub fn wake(&self) {
        crate::wake::futex_wake(&self.worker.seq, u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> Cell {
        // All zero is a cell without anything.
        let worker = WorkerWords {
            rx_tail: AtomicU64::new(0),
            tx_head: AtomicU64::new(0),
            tx_limit: AtomicU64::new(0),
            urgent: AtomicU64::new(0),
            told: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            seq: AtomicU32::new(0),
            drops: AtomicU32::new(0),
            state: AtomicU32::new(0),
            announced: AtomicU32::new(0),
        };
        let program = ProgramWords {
            rx_head: AtomicU64::new(0),
            tx_tail: AtomicU64::new(0),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            rx_lock: AtomicU32::new(0),
            tx_lock: AtomicU32::new(0),
            open_flags: AtomicU32::new(0),
            receive_timeout: AtomicU64::new(0),
            send_timeout: AtomicU64::new(0),
            spare: AtomicU64::new(0),
        };
        Cell {
            worker,
            program,
            error: AtomicU32::new(0),
            signaller: AtomicU32::new(0),
            peek_offset: AtomicU32::new(0),
            peeked_empty: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
        }
    }

    #[test]
    fn room_is_what_both_the_ring_and_the_send_buffer_have() {
        let cell = cell();
        assert_eq!(cell.room(4096), 0);
        cell.worker.tx_limit.store(10_000, SeqCst);
        assert_eq!(cell.room(4096), 4096);
        cell.program.tx_tail.store(4096, SeqCst);
        assert_eq!(cell.room(4096), 0);
        cell.worker.tx_head.store(4096, SeqCst);
        assert_eq!(cell.room(4096), 4096);
        cell.worker.tx_limit.store(4000, SeqCst);
        assert_eq!(cell.room(4096), 0, "a limit that moved back");
        cell.worker.tx_head.store(0, SeqCst);
        cell.program.tx_tail.store(5000, SeqCst);
        cell.worker.tx_limit.store(u64::MAX, SeqCst);
        assert_eq!(cell.room(4096), 0, "a tail beyond the ring");
    }

    #[test]
    fn who_waits_for_data_is_not_woken_because_others_went() {
        let cell = cell();
        assert!(!cell.changed(true), "nobody waits");
        cell.program.readers.store(1, SeqCst);
        assert!(!cell.changed(false) && cell.changed(true));
        cell.program.writers.store(1, SeqCst);
        assert!(cell.changed(false) && cell.changed(true));
        assert_eq!(cell.worker.seq.load(SeqCst), 5, "who has not slept yet sees it anyway");
    }

    #[test]
    fn sides_do_not_share_lines() {
        assert_eq!(core::mem::offset_of!(Cell, program) % 64, 0);
        assert!(core::mem::size_of::<Cell>() <= 256 && core::mem::align_of::<Cell>() == 64);
    }
}
