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
//! A child for which the service has no place keeps the kernel's sockets behind the descriptors, which are connected to nobody;
//! standard error says so.

use crate::attach::{self, Attachment};
use crate::epoll::state::{self, Held};
use crate::lock::{self, Lock};
use crate::poll::{self, Asleep};
use crate::socket::State;
use crate::{real, table};
use libc::pid_t;

/// What lives from before a fork to after it.
#[derive(Default)]
struct Forking {
    child: Option<Attachment>,
    registry: Option<Held>,
    asleep: Option<Asleep>,
}

/// (Whoever forks holds the registry, so there is one at a time.)
static FORKING: Lock<Option<Forking>> = Lock::new(None);

// SAFETY: guards and attachments in it are made and dropped by the one thread that forks.
unsafe impl Send for Forking {}

extern "C" fn prepare() {
    let mut forking = Forking { registry: state::hold(), ..Forking::default() };
    if let Some(attachment) =
        attach::current().filter(|attachment| attachment.has_sockets() && !attachment.is_dead())
    {
        match attachment.inherit() {
            Ok(child) => forking.child = Some(child),
            Err(error) if attachment.look() => {
                attach::complain_of("a child has none of its parent's sockets", error)
            }
            Err(_dead) => {}
        }
    }
    crate::spare::before_fork();
    forking.asleep = Some(poll::hold_for_fork());
    *FORKING.lock() = Some(forking);
}

extern "C" fn parent() {
    let forking = FORKING.lock().take();
    if let Some(Forking { child, registry, asleep }) = forking {
        drop(asleep);
        drop(registry);
        drop(child);
    }
}

extern "C" fn child() {
    lock::forget_thread();
    // Asked for now: a child that goes into a sandbox may not ask later.
    lock::thread();
    attach::free_locks_after_fork();
    let forking = FORKING.lock().take();
    let Some(Forking { child, registry, asleep }) = forking else { return };
    crate::adopt::free_lock_after_fork();
    crate::spare::free_lock_after_fork();
    poll::begin_anew_after_fork(asleep);
    crate::watcher::begin_anew_after_fork();
    state::free_after_fork(registry);
    table::count_anew();
    // Another thread of the parent, ours for signals among them, may have had one.
    table::each(0, u32::MAX, |_, socket| socket.slow.free_after_fork());
    let before = attach::current();
    let now = child.map(attach::install);
    if let Some(before) = before {
        before.each_socket(|socket| match now {
            Some(now) => socket.move_to(now),
            None => socket.decide(State::Kernel),
        });
        before.close_descriptors();
        match now {
            Some(_) => crate::watcher::reserve(),
            None => attach::forget(),
        }
    }
    if let Some(mut registry) = state::hold() {
        registry.begin_anew();
    }
    crate::signals::begin_anew_after_fork();
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
