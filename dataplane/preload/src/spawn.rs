//! posix_spawn: a child that is another program at once. What it inherits is held for it and named in its environment, also
//! what its file actions copy to another number.

use crate::exec::Environment;
use crate::real::processes;
use crate::table;
use core::ffi::{c_char, c_int, c_void};
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

/// glibc's file actions, as far as they are read here: the same since they exist.
#[repr(C)]
struct Actions {
    allocated: c_int,
    used: c_int,
    first: *const Action,
}

/// One of them: what it is, and its first two numbers.
#[repr(C)]
struct Action {
    kind: c_int,
    _room: c_int,
    numbers: [c_int; 2],
    _more: [*const c_void; 2],
}

/// To copy a descriptor.
const DUP2: c_int = 1;

/// Copies of sockets of ours that the child makes: from, to.
///
/// # Safety
/// `actions` is null, or was made by libc.
unsafe fn copies(actions: *const posix_spawn_file_actions_t) -> Vec<(c_int, c_int)> {
    // SAFETY: by the caller.
    let Some(actions) = (unsafe { actions.cast::<Actions>().as_ref() }) else { return Vec::new() };
    let used = usize::try_from(actions.used).unwrap_or(0);
    let each = (0..used).filter(|_| !actions.first.is_null()).map(|place| {
        // SAFETY: there are as many.
        unsafe { &*actions.first.add(place) }
    });
    each.filter(|action| action.kind == DUP2 && table::get(action.numbers[0]).is_some())
        .map(|action| (action.numbers[0], action.numbers[1]))
        .collect()
}

/// posix_spawn(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let environment = Environment::new(environment.cast(), &copies(actions));
        processes::posix_spawn(pid, path, actions, attributes, arguments, environment.as_ptr().cast())
    }
}

/// posix_spawnp(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let environment = Environment::new(environment.cast(), &copies(actions));
        processes::posix_spawnp(pid, file, actions, attributes, arguments, environment.as_ptr().cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;
    use core::mem::MaybeUninit;

    #[test]
    fn copies_that_file_actions_make_are_seen() {
        let socket = pool::take(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP).unwrap();
        table::set(710, &socket);
        let mut actions = MaybeUninit::<posix_spawn_file_actions_t>::uninit();
        // SAFETY: made by the first call, used by the others.
        let copied = unsafe {
            let actions = actions.as_mut_ptr();
            libc::posix_spawn_file_actions_init(actions);
            libc::posix_spawn_file_actions_addclose(actions, 5);
            libc::posix_spawn_file_actions_addopen(actions, 6, c"/dev/null".as_ptr(), 0, 0);
            libc::posix_spawn_file_actions_adddup2(actions, 710, 1);
            libc::posix_spawn_file_actions_adddup2(actions, 711, 2);
            let copied = copies(actions);
            libc::posix_spawn_file_actions_destroy(actions);
            copied
        };
        assert_eq!(copied, [(710, 1)]);
        table::remove(710);
        // SAFETY: nothing is read.
        assert!(unsafe { copies(core::ptr::null()) }.is_empty());
    }
}
