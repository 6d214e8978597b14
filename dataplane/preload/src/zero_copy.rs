//! MSG_ZEROCOPY (Documentation/networking/msg_zerocopy.rst of Linux): the program may use its buffer again once the
//! error queue says so. Here the bytes are copied before send returns, as Linux does where a device cannot do better; so
//! the notice is there at once, and says that they were copied.
//!
//! Calls are numbered from 0; a notice tells of all that were made since the last one was read. Numbers are this process's:
//! processes that share a socket by fork count for themselves.

use crate::socket::{Part, Socket, open};
use core::ffi::c_int;
use core::sync::atomic::Ordering::*;
use flumen_ipc::message::ErrorRecord;

/// SO_EE_ORIGIN_ZEROCOPY.
const ORIGIN: u8 = 5;
/// SO_EE_CODE_ZEROCOPY_COPIED.
const COPIED: u8 = 1;

/// Two counts in one word: calls that were made, and calls that were told of.
fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

fn join(made: u32, told: u32) -> u64 {
    u64::from(made) << 32 | u64::from(told)
}

/// A call sent something: with MSG_ZEROCOPY it is counted, if the option is on.
#[inline]
pub fn sent(part: &Part<'_>, flags: c_int) {
    if flags & libc::MSG_ZEROCOPY != 0 && part.open_flags() & open::ZERO_COPY != 0 {
        count(part);
    }
}

fn count(part: &Part<'_>) {
    // It always changes.
    let _before = part.socket.zero_copy.fetch_update(AcqRel, Relaxed, |word| {
        let (made, told) = split(word);
        Some(join(made.wrapping_add(1), told))
    });
    part.attachment().tell_ourselves(part.slot);
}

/// Calls that were made: each brought a notice.
#[inline]
pub fn made(socket: &Socket) -> u32 {
    split(socket.zero_copy.load(Acquire)).0
}

/// True when a notice waits.
#[inline]
pub fn waits(part: &Part<'_>) -> bool {
    let (made, told) = split(part.socket.zero_copy.load(Acquire));
    made != told
}

/// Takes the notice that waits.
pub fn take(part: &Part<'_>) -> Option<ErrorRecord> {
    let all_told = |word| Some(join(split(word).0, split(word).0));
    let (made, told) = split(part.socket.zero_copy.fetch_update(AcqRel, Acquire, all_told).ok()?);
    (made != told).then(|| ErrorRecord {
        origin: ORIGIN,
        code: COPIED,
        info: told,
        data: made.wrapping_sub(1),
        ..ErrorRecord::default()
    })
}
