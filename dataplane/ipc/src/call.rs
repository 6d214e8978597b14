//! Calls: what a program asks of the worker and waits for, one slot for each call on its way.
//!
//! ```text
//!   FREE ── claim (program) ──> CLAIMED ── submit ──> ASKED ── take, answer (worker) ──> ANSWERED ── read, release ──> FREE
//! ```
//!
//! The slot's number is then marked in the worker's call tree. The worker copies the request out before it looks at it;
//! what the program changes afterwards changes nothing. A slot that is in another state than it should be is passed over.

use crate::limits::CALL_DATA;
use crate::wake;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::*};
use core::time::Duration;

/// What is asked. Arguments stand in `args`, in this order; addresses and options in the data. Results are non-negative, or
/// negative errno values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    /// Whose is an address? `args`: protocol (IPPROTO_*), 0 to bind or 1 to connect or send to; data: [`crate::message::Address`].
    /// Result: [`Whose`].
    Whose = 1,
    /// Makes a socket in the slot, which the program chose, on the worker that is asked: one that will name a port on that port's
    /// ([`crate::Geometry::home_of_port`]), a raw socket on the first. The worker clears the cell ([`crate::Cell::clear`]) before it answers.
    /// `args`: domain, type, protocol, cookie of the kernel's socket behind it (SO_COOKIE). EBUSY: the slot is taken, perhaps
    /// as the home of a socket that another process still has: choose another.
    Open = 2,
    /// Names it. Data: the address. Result 0; the answer's data: the name it got.
    Bind = 3,
    /// Listens. `args`: backlog.
    Listen = 4,
    /// Opens a connection, or names the peer of a datagram socket. Data: the address; none dissolves (AF_UNSPEC). Result 0, or
    /// -EINPROGRESS: the cell tells how it went. `args`: 1 for MSG_FASTOPEN with what stands in the send ring.
    Connect = 5,
    /// Takes a connection of the listener into a new slot (`args[0]`, as in [`Op::Open`]); `args[1]`: cookie of the kernel's
    /// socket that stands for it. Answer: the peer's name, and ours.
    Accept = 6,
    /// Closes directions. `args`: SHUT_RD, SHUT_WR, SHUT_RDWR.
    Shutdown = 7,
    /// Sets an option. `args`: level, name; data: the value.
    SetOption = 9,
    /// Gets an option. `args`: level, name, longest value that the caller takes; data: what the caller passed in. Answer: the value.
    GetOption = 10,
    /// Names. `args`: 0 for ours, 1 for the peer's. Answer: the address.
    Name = 11,
    /// Takes what stands in the send ring now, and says what became of the last record: its errors are this call's. `args`:
    /// position behind the record; flags ([`SEND_MORE`], [`SEND_RECORD`]).
    Send = 12,
    /// Sends one urgent byte behind what stands in the send ring. `args`: the byte; its stamps as in [`Op::Stamp`], 0 for none.
    SendUrgent = 13,
    /// Reads the urgent byte. `args`: 1 to peek. Result: the byte.
    ReceiveUrgent = 14,
    /// Takes an entry of the error queue. Answer: [`crate::message::ErrorRecord`], then the quoted payload.
    ErrorQueue = 15,
    /// Socket ioctls that need the worker. `args`: request; data and answer: its argument.
    Ioctl = 16,
    /// Keeps the socket for a process that will adopt it, for a while (exec, SCM_RIGHTS).
    Hold = 17,
    /// Asks for stamps (SO_TIMESTAMPING) of a byte of a stream, before it is written. `args`: the position behind it; which
    /// ([`STAMPS_AS_SET`], or SOF_TIMESTAMPING_TX_* bits).
    Stamp = 18,
}

/// [`Op::Ioctl`]: no request of programs', but of the library: how long ago the last bytes of a stream came, in nanoseconds (u64).
/// It stands beside them as a time where the program asked for that.
pub const AGE_OF_DATA: u32 = u32::MAX;

/// [`Op::Send`]: more of this datagram or segment follows.
pub const SEND_MORE: u64 = 1;
/// [`Op::Send`]: a record of the stream ends here (MSG_EOR).
pub const SEND_RECORD: u64 = 2;

/// [`Op::Stamp`]: those that the socket's option asks for.
pub const STAMPS_AS_SET: u64 = u64::MAX;

/// Answer of [`Op::Whose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Whose {
    /// The kernel's.
    Kernel = 0,
    /// Flumen's.
    Flumen = 1,
    /// Of both: an unspecified address to bind to.
    Both = 2,
}

impl Op {
    /// The operation with this number.
    pub const fn from_number(number: u32) -> Option<Op> {
        Some(match number {
            1 => Op::Whose,
            2 => Op::Open,
            3 => Op::Bind,
            4 => Op::Listen,
            5 => Op::Connect,
            6 => Op::Accept,
            7 => Op::Shutdown,
            9 => Op::SetOption,
            10 => Op::GetOption,
            11 => Op::Name,
            12 => Op::Send,
            13 => Op::SendUrgent,
            14 => Op::ReceiveUrgent,
            15 => Op::ErrorQueue,
            16 => Op::Ioctl,
            17 => Op::Hold,
            18 => Op::Stamp,
            _ => return None,
        })
    }
}

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const ASKED: u32 = 2;
const ANSWERED: u32 = 3;

/// How often a caller looks for the answer before it sleeps: a worker that spins answers within a microsecond or two.
const SPINS: u32 = 2000;

/// How often a caller on the worker's own processor lets it run before it sleeps: one that is awake answers the first time.
const YIELDS: u32 = 8;

/// One call on its way.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct CallSlot {
    state: AtomicU32,
    op: AtomicU32,
    slot: AtomicU32,
    len: AtomicU32,
    args: [AtomicU64; 4],
    result: AtomicI64,
    sleeping: AtomicU32,
    data: UnsafeCell<[u8; CALL_DATA]>,
}

// SAFETY: `data` is only ever copied by raw pointers, from and to memory of one side; the other process may write it at
// any time, and nothing depends on what it holds. All else is atomic.
unsafe impl Sync for CallSlot {}

/// A request, copied out of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub op: Op,
    /// Of which socket; any number.
    pub slot: u32,
    /// Arguments.
    pub args: [u64; 4],
    /// Bytes of data; at most [`CALL_DATA`].
    pub len: usize,
}

impl CallSlot {
    /// The program takes the slot for a call; false when it is not free.
    pub fn claim(&self) -> bool {
        self.state.compare_exchange(FREE, CLAIMED, Acquire, Relaxed).is_ok()
    }

    /// The program asks. The slot must be claimed; its number is to be marked in the worker's tree afterwards. Data beyond
    /// [`CALL_DATA`] are cut.
    pub fn submit(&self, op: Op, slot: u32, args: [u64; 4], data: &[u8]) {
        self.op.store(op as u32, Relaxed);
        self.slot.store(slot, Relaxed);
        for (word, arg) in self.args.iter().zip(args) {
            word.store(arg, Relaxed);
        }
        self.put(data);
        self.state.store(ASKED, SeqCst);
    }

    /// The worker takes the request, and its data into `data`.
    pub fn take(&self, data: &mut [u8; CALL_DATA]) -> Option<Request> {
        if self.state.load(Acquire) != ASKED {
            return None;
        }
        let op = Op::from_number(self.op.load(Relaxed));
        let request = op.map(|op| Request {
            op,
            slot: self.slot.load(Relaxed),
            args: [0, 1, 2, 3].map(|arg| self.args[arg].load(Relaxed)),
            len: self.get(data),
        });
        if request.is_none() {
            self.answer(-i64::from(libc::ENOSYS), &[]);
        }
        request
    }

    /// The worker answers, and wakes who waits. Data beyond [`CALL_DATA`] are cut.
    pub fn answer(&self, result: i64, data: &[u8]) {
        self.put(data);
        self.result.store(result, Relaxed);
        self.state.store(ANSWERED, SeqCst);
        if self.sleeping.load(SeqCst) != 0 {
            wake::futex_wake(&self.state, 1);
        }
    }

    /// True when the answer is here.
    pub fn is_answered(&self) -> bool {
        self.state.load(Acquire) == ANSWERED
    }

    /// The program waits for the answer; `alive` is asked every now and then, and false ends the waiting with `None`. Signal
    /// handlers run meanwhile and end nothing: a call that was asked is always done. `beside`: the worker runs on this very
    /// processor.
    pub fn wait(&self, beside: bool, alive: impl Fn() -> bool) -> Option<i64> {
        for _ in 0..if beside { YIELDS } else { SPINS } {
            if self.is_answered() {
                return Some(self.result.load(Relaxed));
            }
            if beside {
                rustix::thread::sched_yield();
            } else {
                core::hint::spin_loop();
            }
        }
        self.sleeping.store(1, SeqCst);
        loop {
            let state = self.state.load(SeqCst);
            if state == ANSWERED {
                self.sleeping.store(0, Relaxed);
                return Some(self.result.load(Relaxed));
            }
            if state == FREE {
                // It was asked before a fork, by the parent ([`crate::Arena::part_from_service`]).
                return None;
            }
            let slept = wake::futex_wait(&self.state, state, Duration::from_millis(500));
            if slept == wake::Slept::TimedOut && !alive() {
                return None;
            }
        }
    }

    /// The data of the answer, into `out`; says how many bytes.
    pub fn answer_data(&self, out: &mut [u8; CALL_DATA]) -> usize {
        self.get(out)
    }

    /// The program is done with the answer.
    pub fn release(&self) {
        self.sleeping.store(0, Relaxed);
        self.state.store(FREE, Release);
    }

    fn put(&self, data: &[u8]) {
        let len = data.len().min(CALL_DATA);
        // SAFETY: `len` bytes fit in the slot's data, which is mapped and of which no references exist; `data` is private.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), self.data.get().cast::<u8>(), len) };
        self.len.store(len as u32, Relaxed);
    }

    fn get(&self, out: &mut [u8; CALL_DATA]) -> usize {
        let len = (self.len.load(Relaxed) as usize).min(CALL_DATA);
        // SAFETY: as in `put`, the other way round.
        unsafe { core::ptr::copy_nonoverlapping(self.data.get().cast::<u8>(), out.as_mut_ptr(), len) };
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> CallSlot {
        CallSlot {
            state: AtomicU32::new(0),
            op: AtomicU32::new(0),
            slot: AtomicU32::new(0),
            len: AtomicU32::new(0),
            args: [0; 4].map(AtomicU64::new),
            result: AtomicI64::new(0),
            sleeping: AtomicU32::new(0),
            data: UnsafeCell::new([0; CALL_DATA]),
        }
    }

    #[test]
    fn a_call_is_asked_taken_answered_and_read() {
        let call = slot();
        let mut data = [0; CALL_DATA];
        assert!(call.claim() && !call.claim());
        assert_eq!(call.take(&mut data), None, "not asked yet");
        call.submit(Op::Bind, 5, [1, 2, 3, 4], b"where");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut data = [0; CALL_DATA];
                let request = call.take(&mut data).unwrap();
                assert_eq!(request, Request { op: Op::Bind, slot: 5, args: [1, 2, 3, 4], len: 5 });
                assert_eq!(&data[..5], b"where");
                call.answer(-98, b"taken");
            });
            assert_eq!(call.wait(false, || true), Some(-98));
        });
        assert_eq!((call.answer_data(&mut data), &data[..5]), (5, &b"taken"[..]));
        call.release();
        assert!(call.claim());
    }

    #[test]
    fn an_unknown_operation_is_answered_and_an_impossible_length_is_cut() {
        let call = slot();
        let mut data = [0; CALL_DATA];
        call.claim();
        call.submit(Op::Hold, 0, [0; 4], &[]);
        call.op.store(999, Relaxed);
        call.len.store(u32::MAX, Relaxed);
        assert_eq!(call.take(&mut data), None);
        assert_eq!(call.wait(false, || true), Some(-i64::from(libc::ENOSYS)));
        call.submit(Op::Hold, 0, [0; 4], &[]);
        call.len.store(u32::MAX, Relaxed);
        assert_eq!(call.take(&mut data).unwrap().len, CALL_DATA);
    }

    #[test]
    fn nobody_waits_for_a_data_plane_that_died() {
        let call = slot();
        call.claim();
        call.submit(Op::Hold, 0, [0; 4], &[]);
        assert_eq!(call.wait(true, || false), None);
    }

    #[test]
    fn a_slot_has_the_size_that_the_layout_counts_on() {
        assert_eq!(core::mem::size_of::<CallSlot>(), 2048);
    }

    #[test]
    fn numbers_lead_back_to_operations() {
        for number in 0..64 {
            assert!(Op::from_number(number).is_none_or(|op| op as u32 == number));
        }
    }
}
