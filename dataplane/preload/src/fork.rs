//! fork: a child has the same sockets, as in Linux, through a connection of its own.
//!
//! ```text
//!   parent:  prepare: nobody is in our tables; the service makes the child's attachment (every socket has one owner more)
//!            ── fork ──>  child:  the parent's connection is closed, the new one installed; sockets move to it
//!            parent: lets go of its copies of the child's descriptors
//! ```
//!
//! libc calls the three handlers of pthread_atfork whoever forks: fork, daemon, forkpty. vfork runs none and shares memory;
//! a program with sockets of ours gets a fork instead. _Fork runs none either, and gets them from us. What libc does by
//! itself with clone (system, popen, posix_spawn) executes a program at once, and has no use for sockets of ours before.
//!
//! A fork may be in a signal handler that interrupted one of our own calls, which then goes on in both. What it held is held on
//! ([`hold::is_holding`]); the parent's connection, which it may be about to use, is dead for the child and out of its reach
//! ([`attach::leave`]): what was asked and not answered is asked once more by the child's own; and what the handler interrupted in the
//! tables of the epoll sets is finished before they begin anew ([`state`]).
//!
//! A child for which the service has no place keeps the kernel's sockets behind the descriptors, which are connected to nobody;
//! standard error says so.

use crate::attach::{self, Attachment};
use crate::calls::stdio;
use crate::epoll::state::{self, Held};
use crate::lock::{self, Lock};
use crate::mapped::Placed;
use crate::poll::{self, Asleep};
use crate::socket::Slow;
use crate::{hold, home};
use crate::{real, table};
use libc::{pid_t, sigset_t};

/// What lives from before a fork to after it. (It is let go in this order.)
struct Forking {
    child: Option<Placed<Attachment>>,
    asleep: Asleep,
    streams: stdio::Quiet,
    homes: home::Quiet,
    left: lock::Undone<'static>,
    /// `None`: the fork is in a signal handler that interrupted this thread there.
    registry: Option<Held>,
    /// No handler runs while there is this: it might fork itself.
    mask: sigset_t,
}

/// (Whoever forks holds the registry, or interrupted a thread that does; so there is one at a time.)
static FORKING: Lock<Option<Forking>> = Lock::new(None);

// SAFETY: guards and attachments in it are made and dropped by the one thread that forks.
unsafe impl Send for Forking {}

extern "C" fn prepare() {
    let mask = lock::block_signals();
    let registry = state::hold();
    let parent = attach::current().filter(|attachment| attachment.has_sockets() && !attachment.is_dead());
    let child = parent.and_then(|parent| match parent.inherit() {
        Ok(child) => Some(child),
        Err(error) => {
            if parent.look() {
                crate::complaints::complain_of("a child has none of its parent's sockets", error);
            }
            None
        }
    });
    crate::spare::before_fork();
    let asleep = poll::hold_for_fork();
    let (streams, left, homes) = (stdio::hold_for_fork(), attach::hold_for_fork(), home::hold_for_fork());
    *FORKING.lock() = Some(Forking { child, asleep, streams, homes, left, registry, mask });
}

extern "C" fn parent() {
    let forking = FORKING.lock().take();
    if let Some(Forking { child, asleep, streams, homes, left, registry, mask }) = forking {
        drop((asleep, streams, homes, left, registry));
        drop(child);
        lock::restore_signals(&mask);
    }
}

extern "C" fn child() {
    lock::begin_anew_after_fork();
    hold::begin_anew_after_fork();
    attach::free_locks_after_fork();
    let forking = FORKING.lock().take();
    let Some(Forking { child, asleep, streams, homes, left, registry, mask }) = forking else { return };
    // What a handler interrupted in the registry goes on with sockets and attachments that it holds no reference to.
    let is_interrupted = registry.is_none();
    if is_interrupted {
        hold::begin_to_hold();
    }
    drop((streams, homes, left));
    crate::spare::free_lock_after_fork();
    poll::begin_anew_after_fork(asleep);
    crate::watcher::begin_anew_after_fork();
    state::free_after_fork(registry);
    table::count_anew();
    // Another thread of the parent, ours for signals among them, may have had one.
    table::each(0, u32::MAX, |_, socket| socket.slow.free_after_fork(Slow::default));
    let has_sockets = child.is_some();
    attach::leave(child);
    if !hold::is_holding() {
        attach::count_anew();
    }
    attach::give_up();
    if has_sockets {
        crate::watcher::reserve();
    }
    crate::signals::begin_anew_after_fork();
    if is_interrupted {
        hold::end_to_hold();
    }
    lock::restore_signals(&mask);
}

/// At load: from now on forks are noticed.
pub fn begin() {
    // SAFETY: the handlers live as long as the process: a preloaded library is never unloaded. What fails for want of
    // memory at the start of a program leaves it without forks that know of sockets; nothing can be said of it here.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}

/// fork without handlers: with ours.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _Fork() -> pid_t {
    prepare();
    // SAFETY: by the caller.
    let pid = unsafe { real::processes::_Fork() };
    let errno = crate::errno::get();
    if pid == 0 {
        child()
    } else {
        parent()
    }
    crate::errno::set(errno);
    pid
}

static VFORK: real::Function = real::Function::new();

/// Where vfork goes: to libc's own as long as there is nothing that a child could disturb in its parent's memory.
extern "C" fn where_vfork_goes() -> usize {
    if table::was_never_used()
        && let Some(address) = VFORK.address(c"vfork")
    {
        return address;
    }
    libc::fork as *const () as usize
}

/// vfork. (It returns twice on one stack: there must be no frame of ours below it.)
///
/// # Safety
/// As libc's.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn vfork() -> pid_t {
    core::arch::naked_asm!(
        "sub rsp, 8",
        "call {target}",
        "add rsp, 8",
        "jmp rax",
        target = sym where_vfork_goes,
    )
}

/// vfork, as a fork.
///
/// # Safety
/// As libc's.
#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfork() -> pid_t {
    // SAFETY: by the caller.
    unsafe { libc::fork() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_run_and_are_waited_for() {
        type Fork = unsafe extern "C" fn() -> pid_t;
        for fork in [libc::fork as Fork, _Fork as Fork] {
            // SAFETY: the child only ends.
            let pid = unsafe {
                let pid = fork();
                if pid == 0 {
                    libc::_exit(if state::hold().is_some() { 7 } else { 1 });
                }
                pid
            };
            let mut status = 0;
            // SAFETY: our child.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(libc::WEXITSTATUS(status), 7);
        }
    }
}
