//! libc's calls that make processes and programs.

#![allow(non_snake_case)] // _Fork is libc's name

use super::NONE;
use core::ffi::{c_char, c_int};
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

crate::real! {
    /// A child, without the handlers of pthread_atfork.
    fn _Fork() -> pid_t = NONE;
    /// Another program.
    fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = libc::SYS_execve;
    /// Another program, looked for in PATH.
    fn execvpe(file: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = NONE;
    /// The program behind a descriptor.
    fn fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int = NONE;
    /// A program in a directory.
    fn execveat(directory: c_int, path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char, flags: c_int) -> c_int = NONE;
    /// A child that is another program.
    fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: *const *mut c_char, environment: *const *mut c_char) -> c_int = NONE;
    /// A child that is another program, looked for in PATH.
    fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: *const *mut c_char, environment: *const *mut c_char) -> c_int = NONE;
}
