//! The bounds of shared memory, each with its reason.

/// Sockets of one program: three levels of 64 bits.
pub const MAX_SLOTS: u32 = 64 * 64 * 64;

/// Calls of one program that may be on their way at a time; one for each thread that makes a call. Threads beyond them wait.
pub const MAX_CALLS: u32 = 64 * 64;

/// Bytes that go with a call: the largest option is a source filter (GROUP_FILTER), the largest answer TCP_INFO and lists of
/// interfaces.
pub const CALL_DATA: usize = 2048 - 96;

/// Smallest ring: a page.
pub const MIN_RING: u32 = 4096;

/// Largest ring: what a window without scaling could never fill, and one socket should not take more.
pub const MAX_RING: u32 = 16 << 20;

/// Workers that one program can talk to.
pub const MAX_WORKERS: usize = 64;

/// Bytes of the longest datagram.
pub const MAX_DATAGRAM: usize = u16::MAX as usize;

/// The most bytes of options that an IPv4 header has.
pub const MAX_IP_OPTIONS: usize = 40;

/// Rounds in which [`crate::DirtyTree::take`] looks for a bit before it gives up: a hostile writer must not keep it busy.
pub const TREE_ROUNDS: usize = 130;

/// The most descriptors that the kernel passes beside one message (SCM_MAX_FD).
pub const MAX_PASSED: usize = 253;

/// Descriptors that one message of the attach protocol carries: arena, page, bell of the program, and a bell for each worker.
pub const MAX_DESCRIPTORS: usize = 3 + MAX_WORKERS;
