//! What can be chosen for a socket, and the words in which it answers.

use crate::mode::Mode;
use std::io;

/// How a socket is set up. Ring sizes are powers of two, 64 to 65,536.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// Slots of the rx ring.
    pub rx_ring: u32,
    /// Slots of the tx ring.
    pub tx_ring: u32,
    /// Slots of the fill ring: chunks that wait for packets.
    pub fill_ring: u32,
    /// Slots of the completion ring; at least those of the tx ring.
    pub completion_ring: u32,
    /// Make system calls only when the kernel asks for them (XDP_USE_NEED_WAKEUP).
    pub need_wakeup: bool,
    /// Packets that one kick may send in copy mode (XDP_MAX_TX_SKB_BUDGET, Linux 6.17); taken where the kernel has
    /// it, 32 otherwise. `None` leaves the kernel's default. At least 32, at most the tx ring.
    pub tx_budget: Option<u32>,
    /// Preferred busy polling: the kernel runs the queue inside [`crate::Socket::busy_poll`].
    pub busy_poll: Option<BusyPoll>,
    /// How bursts are transmitted.
    pub transmit: Transmit,
}

/// How bursts are transmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transmit {
    /// In bulk where that is known to be faster, by the ring elsewhere.
    #[default]
    Auto,
    /// By the tx ring.
    Ring,
    /// Bursts in one call of a program ([`crate::socket::bulk`]), single packets by the ring.
    Bulk,
}

impl Transmit {
    /// As it is written in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Transmit::Auto => "auto",
            Transmit::Ring => "ring",
            Transmit::Bulk => "bulk",
        }
    }
}

/// What became of packets that were sent in bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// Packets that the interface took.
    pub sent: u32,
    /// Packets that are lost: it did not take them.
    pub lost: u32,
    /// How the call ended. After [`Kick::Busy`] with nothing sent and nothing lost all of them still wait.
    pub kick: Kick,
}

/// Preferred busy polling (SO_PREFER_BUSY_POLL, SO_BUSY_POLL, SO_BUSY_POLL_BUDGET).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one call may poll, in microseconds.
    pub microseconds: u32,
    /// Packets that one poll may process, 1 to 65,535; more than 64 needs CAP_NET_ADMIN.
    pub budget: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            rx_ring: 2048,
            tx_ring: 2048,
            fill_ring: 4096,
            completion_ring: 4096,
            need_wakeup: true,
            tx_budget: Some(2048),
            busy_poll: None,
            transmit: Transmit::Auto,
        }
    }
}

/// Why a packet was not taken for transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The tx ring has no room for all its segments.
    Full,
    /// Shorter than an Ethernet header, or with an empty segment.
    TooShort,
    /// Longer than the interface takes.
    TooLong,
    /// More segments than the kernel takes.
    TooManySegments,
    /// A chain, on a port without multi-buffer.
    ChainNotOffered,
    /// From another pool than this socket's.
    OtherPool,
    /// The checksum request points outside what the packet is now.
    BadChecksumRequest,
    /// It cannot be sent in bulk: it goes by the ring.
    NotInBulk,
}

/// What became of a kick or wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Kick {
    /// Nothing to do, no system call.
    Idle,
    /// Done.
    Sent,
    /// The kernel has no room or time now: it is tried again next turn.
    Busy,
    /// The interface is down. Packets stay in the rings until it is up again.
    LinkDown,
    /// The interface is gone: this socket will not work again.
    Gone,
}

impl Kick {
    /// What an error of sendto or recvfrom on an AF_XDP socket means.
    pub(crate) fn of(error: &io::Error) -> Kick {
        match error.raw_os_error() {
            Some(libc::ENETDOWN) => Kick::LinkDown,
            Some(libc::ENXIO | libc::ENODEV | libc::EBADF) => Kick::Gone,
            _ => Kick::Busy, // EAGAIN, EBUSY, ENOBUFS, EINTR, and EOVERFLOW for a packet that the kernel dropped
        }
    }
}

/// The interface, as the socket sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// Up and running.
    Up,
    /// Administratively down, or without a carrier.
    Down,
    /// Removed (or in another namespace): the socket is dead.
    Gone,
}

/// Our own counters. Plain: one thread owns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets put into the tx ring, or sent in bulk.
    pub tx_packets: u64,
    /// System calls to transmit.
    pub kicks: u64,
    /// System calls to receive.
    pub rx_wakeups: u64,
    /// Calls that the kernel answered with "not now".
    pub busy: u64,
    /// Calls that found the interface down or gone.
    pub link_down: u64,
    /// Times that the pool ran out while the fill ring was topped up.
    pub refill_short: u64,
    /// Chains dropped because they had too many segments.
    pub rx_broken_chains: u64,
    /// Descriptors outside the region: a defect of the kernel.
    pub rx_bad_descriptors: u64,
    /// Completions outside the region: a defect of the kernel.
    pub tx_bad_completions: u64,
    /// Kicks handed to the io_uring thread.
    pub sqpoll_kicks: u64,
    /// System calls to wake the io_uring thread, which had gone to sleep.
    pub sqpoll_wakeups: u64,
    /// System calls that sent packets in bulk.
    pub bulk_sends: u64,
    /// Packets that the interface did not take when they were sent in bulk.
    pub bulk_lost: u64,
    /// 1 when the kernel refused to run the program: since then bursts go by the ring.
    pub bulk_given_up: u64,
}

/// The kernel's counters of a socket (`struct xdp_statistics`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Dropped for reasons other than those below, for instance longer than a chunk without multi-buffer.
    pub rx_dropped: u64,
    /// Descriptors in the fill ring that the kernel refused.
    pub rx_invalid_descs: u64,
    /// Descriptors in the tx ring that the kernel refused: a defect of this crate.
    pub tx_invalid_descs: u64,
    /// Dropped because the rx ring was full: we were too slow.
    pub rx_ring_full: u64,
    /// Times that the fill ring was found empty.
    pub rx_fill_ring_empty_descs: u64,
    /// Times that the tx ring was found empty.
    pub tx_ring_empty_descs: u64,
}

/// Why a socket could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel has no AF_XDP.
    #[error("this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)")]
    NoAfXdp,
    /// A capability is missing.
    #[error("not permitted to {doing}: run as root, or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF")]
    Permission {
        /// What was tried.
        doing: &'static str,
    },
    /// The limit on locked memory is too small for the pool.
    #[error(
        "the kernel will not pin {bytes} bytes of packet memory: raise the limit on locked memory (`ulimit -l`, \
         LimitMEMLOCK= in a systemd unit), add CAP_IPC_LOCK, or use fewer frames"
    )]
    LockedMemory {
        /// Bytes of the region.
        bytes: usize,
    },
    /// A ring size is impossible.
    #[error("the {ring} ring cannot have {size} slots: a power of two from 64 to 65536 is needed")]
    RingSize {
        /// Which ring.
        ring: &'static str,
        /// What was asked for.
        size: u32,
    },
    /// The completion ring could overflow.
    #[error("the completion ring ({completion} slots) must not be smaller than the tx ring ({tx} slots)")]
    CompletionSmallerThanTx {
        /// Slots of the completion ring.
        completion: u32,
        /// Slots of the tx ring.
        tx: u32,
    },
    /// The socket's queue is taken.
    #[error(
        "queue {queue} of {interface} has another AF_XDP socket: end that program (`ss --xdp -p` lists them), or use \
         another queue"
    )]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// There is no such queue.
    #[error(
        "{interface} has no queue {queue}: see `ethtool -l {interface}`, or add channels with `ethtool -L`"
    )]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The demanded mode is not to be had.
    #[error("{interface} (driver {driver}) does not offer {mode}: {why}")]
    ModeRefused {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
        /// What was demanded.
        mode: Mode,
        /// What the kernel said.
        why: String,
    },
    /// The interface went away.
    #[error("interface {interface} has disappeared")]
    Gone {
        /// The interface.
        interface: String,
    },
    /// Busy polling was refused.
    #[error(
        "busy polling of {microseconds} us with a budget of {budget} was refused: {source}; CAP_NET_ADMIN is needed"
    )]
    BusyPoll {
        /// Microseconds asked for.
        microseconds: u32,
        /// Budget asked for.
        budget: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Sending in bulk was demanded and is not to be had.
    #[error("{interface} cannot be sent to in bulk: {why}; with `transmit = \"ring\"` bursts go by the ring")]
    BulkRefused {
        /// The interface.
        interface: String,
        /// What is in its way.
        why: String,
    },
    /// The transmit budget is out of range.
    #[error("a transmit budget of {budget} is not between 32 and the tx ring's {tx} slots")]
    TxBudget {
        /// What was asked for.
        budget: u32,
        /// Slots of the tx ring.
        tx: u32,
    },
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
