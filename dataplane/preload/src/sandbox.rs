//! Programs that lock themselves into a sandbox (seccomp): from then on only the plainest system calls can be counted on.
//! sshd's child that speaks to the network before anybody has logged in is one: it may read, write, poll and wait on a
//! futex, and is killed for making an epoll set.
//!
//! In a sandbox poll and select sleep on the bell itself, and silence it. Threads of one process that sleep so may silence
//! each other's bell, and look again after [`ROUND`].

use core::ffi::{c_int, c_ulong};
use core::sync::atomic::{AtomicBool, Ordering::*};
use core::time::Duration;

/// How long a thread in a sandbox sleeps at most before it looks again.
pub const ROUND: Duration = Duration::from_millis(50);

static ON: AtomicBool = AtomicBool::new(false);

/// True once the program has installed a filter of system calls.
#[inline]
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

crate::real! {
    /// Controls a process.
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int = libc::SYS_prctl;
}

/// prctl(2). (Variadic in C: on this ABI four more arguments are passed the same way.)
///
/// # Safety
/// As libc's.
#[unsafe(export_name = "prctl")]
pub unsafe extern "C" fn controlled(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int {
    // SAFETY: by the caller.
    let done = unsafe { prctl(option, a, b, c, d) };
    if option == libc::PR_SET_SECCOMP && done == 0 {
        ON.store(true, Relaxed);
    }
    done
}
