//! The bounds of this library, each with its reason.

/// Descriptors that the table covers: the kernel's own bound (fs.nr_open) unless an administrator raised it. Sockets with
/// larger numbers are the kernel's.
pub const MAX_DESCRIPTORS: usize = 1 << 20;

/// Options that an undecided socket remembers: more than there are options that a program would set.
pub const MAX_JOURNAL: usize = 128;

/// Bytes of the options that an undecided socket remembers.
pub const MAX_JOURNAL_BYTES: usize = 16 << 10;

/// Options without effect that a program is told of: more than there are that it would set.
pub const MAX_TOLD: usize = 64;

/// Descriptors of our own are moved to this number or above, out of the way of programs that count theirs from 3.
pub const OWN_DESCRIPTORS_FROM: u64 = 900;

/// Descriptors of closed connections that are kept for the next ones: as many as a busy server closes at a time.
pub const MAX_SPARES: usize = 32;

/// At most this part of the numbers that a program may have (RLIMIT_NOFILE) is kept so: one in 32.
pub const SPARE_SHARE: u64 = 32;

/// Descriptors of our own: connection, bell, and a bell for each worker; twice, because a fork makes a second attachment
/// before the first is let go. And a place to sleep for each epoll set with sockets of ours and each thread in poll.
pub const MAX_OWN: usize = 2 * (2 + flumen_ipc::limits::MAX_WORKERS) + MAX_SLEEPING_PLACES + MAX_SPARES;

/// Sets and threads that can sleep at a time: more than programs have event loops and threads in poll. A set beyond them
/// takes no socket of ours (ENOSPC).
pub const MAX_SLEEPING_PLACES: usize = 1024;
