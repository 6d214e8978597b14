//! The bounds of sessions, each with its reason.

use core::time::Duration;

/// Programs at a time: each has descriptors of the service ([`descriptors_a_program`]) and tables of its workers.
pub const MAX_PROGRAMS: usize = 1024;

/// Descriptors of the service for each program: its connection, its memory, its bell, and what it rings for each worker.
pub const fn descriptors_a_program(workers: usize) -> usize {
    3 + workers
}

/// Looks at a program that found nothing, in a row, after which it is quiet: a program that calls once a millisecond stays
/// awake on a worker that spins.
pub const LOOKS_BEFORE_QUIET: u32 = 1024;

/// Quiet programs that are looked at in one turn: each costs a few lines of memory that nobody else has touched. A thousand of
/// them have been looked at within 32 turns, some tens of microseconds.
pub const QUIET_A_TURN: usize = 32;

/// Calls of one program that are done in one turn: the rest waits for the next, so that packets and other programs are not
/// kept waiting for a program that calls without end. Fewer, when they move [`BYTES_A_TURN`].
pub const CALLS_A_TURN: usize = 64;

/// Marks of slots to be closed in which nothing is: who makes so many in a turn has no more taken in it. Programs make none, but one
/// that writes anything into its memory could make thousands for each of its calls.
pub const EMPTY_CLOSES_A_TURN: usize = 4096;

/// Groups of kicks (64 sockets each) of one program that are taken in one turn.
pub const KICK_GROUPS_A_TURN: usize = 64;

/// Bytes that are copied between rings and buffers in one turn, more or less: a quarter of a millisecond of copying. The calls of
/// each program may copy as many.
pub const BYTES_A_TURN: usize = 1 << 20;

/// What a datagram that is sent costs beside the copy of its bytes, as bytes that could be copied in that time.
pub const DATAGRAM_COST: usize = 512;

/// Sockets that are looked at in one turn.
pub const SOCKETS_A_TURN: usize = 256;

/// Groups of closes (64 sockets each) of one program that are taken in one turn, unless somebody asks for something that may
/// depend on them.
pub const CLOSE_GROUPS_A_TURN: usize = 4;

/// Sockets of programs that ended which are closed in one turn, over all of these programs: packets and other programs wait for no
/// more, whoever ends.
pub const CLOSINGS_A_TURN: usize = 64;

/// How long a socket waits for a process that adopts it: longer than any exec takes.
pub const HOLD: Duration = Duration::from_secs(10);

/// Sockets that wait to be adopted; the one that has waited longest gives way.
pub const MAX_HELD: usize = 1024;

/// Sockets that are looked at for one that was passed on: more have the same place in the table only when their program says so.
pub const COOKIES_LOOKED_AT: usize = 64;

/// Orders of the control thread, and answers to it, that may be on their way: for each program its begin, a socket that it asks
/// for, that it takes too long to wake, and its end.
pub const ORDERS: usize = 4 * MAX_PROGRAMS;

/// Ports below this are for privileged users (Linux: `ip_unprivileged_port_start`).
pub const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Datagrams that are moved for one socket in one turn before others have theirs.
pub const DATAGRAMS_A_TURN: usize = 256;

/// Descriptors of one user that wait to be closed ([`super::aside`]): who passes more is parted with.
pub const MAX_ASIDE_OF_USER: usize = 64;

/// Those of all users: while there are so many, no connection is accepted.
pub const MAX_ASIDE: usize = 256;

/// Connections of one user that have said nothing yet: as many as are accepted at once, so that programs may begin in great
/// numbers. One more is refused (EMFILE).
pub const MAX_SILENT_OF_USER: usize = 64;

/// How long a connection may be silent: programs say what they want when they have connected.
pub const SILENT_AT_MOST: Duration = Duration::from_secs(10);

/// Messages of one connection that are read before others have their turn.
pub const MESSAGES_AT_ONCE: usize = 64;

/// How often the control thread looks for rings that nobody uses: what is free for that long is given back.
pub const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// Groups of 64 slots whose memory is given back at once, of all programs together: each is a system call that interrupts the
/// worker's processor for a microsecond or two, and takes as long as there is memory to free (32 MiB at most, with the usual
/// rings; some milliseconds).
pub const RECLAIMED_AT_ONCE: usize = 16;

/// How long a worker may work to wake a program: some thirty times what it takes when one thread waits, and as much as a burst of
/// packets takes. A thousand epoll sets at one bell take as long.
pub const LONG_WAKE: Duration = Duration::from_micros(50);

/// Cycles (nanoseconds where there is no cycle counter) after which it is suspected to have been so long: no more than [`LONG_WAKE`]
/// on a processor of 2 GHz and more.
pub const LONG_WAKE_CYCLES: u64 = 100_000;

/// Of the last 64 times that a program was woken, those that may be long before it is woken aside. What interrupts the worker may
/// make one of them long, or two.
pub const LONG_WAKES: u32 = 8;
