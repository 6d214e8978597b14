//! Executing programs: the sockets that they inherit are held for them, and named in their environment.
//!
//! exec closes our connection to the service, and every socket of this process has one owner less. Those whose descriptors
//! stay open must not end in that moment.

use crate::adopt::{self, INHERITED};
use crate::real::{self, processes};
use crate::socket::State;
use crate::table;
use core::ffi::{CStr, c_char, c_int};
use core::fmt::Write;
use std::collections::BTreeSet;
use std::ffi::CString;

type Strings = *const *const c_char;

/// The environment of a program to be executed, with the list of what it inherits. (It is made of the caller's strings.)
pub struct Environment {
    list: Option<CString>,
    pointers: Vec<*const c_char>,
    given: Strings,
}

impl Environment {
    /// Holds the sockets that stay open, and those of `more`, and names them.
    ///
    /// # Safety
    /// `given` is a list of C strings that ends with a null pointer, or null.
    pub unsafe fn new(given: Strings, more: &[(c_int, c_int)]) -> Environment {
        let mut fds: BTreeSet<c_int> = more.iter().map(|(_, to)| *to).collect();
        let mut held: Vec<c_int> = more.iter().map(|(from, _)| *from).collect();
        table::each(0, u32::MAX, |fd, socket| {
            if matches!(socket.state(), State::Flumen | State::Both) && stays_open(fd) {
                fds.insert(fd);
                held.push(fd);
            }
        });
        // SAFETY: by the caller.
        if fds.is_empty() && !unsafe { names_a_list(given) } {
            return Environment { list: None, pointers: Vec::new(), given };
        }
        adopt::hold_all(held.into_iter());
        let mut text = String::new();
        for (place, fd) in fds.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let _never_fails = write!(text, "{comma}{fd}");
        }
        let list =
            CString::new(format!("{}={text}", INHERITED.to_string_lossy())).ok().filter(|_| !fds.is_empty());
        // SAFETY: by the caller.
        let others = unsafe { strings(given) }.filter(|one| !is_list(*one));
        let pointers =
            others.chain(list.as_ref().map(|list| list.as_ptr())).chain([core::ptr::null()]).collect();
        Environment { list, pointers, given }
    }

    /// As exec takes it.
    pub fn as_ptr(&self) -> Strings {
        if self.list.is_none() && self.pointers.is_empty() { self.given } else { self.pointers.as_ptr() }
    }
}

/// # Safety
/// A list of C strings that ends with a null pointer, or null.
unsafe fn strings(list: Strings) -> impl Iterator<Item = *const c_char> {
    let mut place = 0;
    core::iter::from_fn(move || {
        if list.is_null() {
            return None;
        }
        // SAFETY: by the caller; the null pointer is not passed.
        let one = unsafe { *list.add(place) };
        place += 1;
        (!one.is_null()).then_some(one)
    })
}

fn is_list(one: *const c_char) -> bool {
    // SAFETY: from `strings`: a C string.
    let one = unsafe { CStr::from_ptr(one) }.to_bytes();
    one.strip_prefix(INHERITED.to_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

/// # Safety
/// As [`strings`].
unsafe fn names_a_list(given: Strings) -> bool {
    // SAFETY: by the caller.
    unsafe { strings(given) }.any(is_list)
}

fn stays_open(fd: c_int) -> bool {
    // SAFETY: asks for the descriptor's flags.
    let flags = unsafe { real::fcntl(fd, libc::F_GETFD, 0) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

fn own_environment() -> Strings {
    unsafe extern "C" {
        static environ: Strings;
    }
    // SAFETY: libc's variable; whoever changes it while another thread executes a program has no good program anyway.
    unsafe { environ }
}

/// execve(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let environment = Environment::new(environment, &[]);
        processes::execve(path, arguments, environment.as_ptr())
    }
}

/// execv(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: by the caller.
    unsafe { execve(path, arguments, own_environment()) }
}

/// execvpe(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let environment = Environment::new(environment, &[]);
        processes::execvpe(file, arguments, environment.as_ptr())
    }
}

/// execvp(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: by the caller.
    unsafe { execvpe(file, arguments, own_environment()) }
}

/// fexecve(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let environment = Environment::new(environment, &[]);
        processes::fexecve(fd, arguments, environment.as_ptr())
    }
}

/// execveat(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(
    directory: c_int,
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
    flags: c_int,
) -> c_int {
    // SAFETY: by the caller.
    unsafe {
        let environment = Environment::new(environment, &[]);
        processes::execveat(directory, path, arguments, environment.as_ptr(), flags)
    }
}

#[cfg(target_arch = "x86_64")]
mod lists {
    //! execl and its kin: the arguments are the call's own, up to a null pointer. C passes them in registers, five of them
    //! behind the first, and on the stack from there on; what is called here gets both places.

    use super::{Strings, execve, execvp, own_environment};
    use core::ffi::{c_char, c_int};

    /// Arguments that came in registers.
    const IN_REGISTERS: usize = 5;

    /// The arguments up to the null pointer, with it; and what stands behind it.
    ///
    /// # Safety
    /// Both places are those of a call of execl or its kin.
    unsafe fn gather(registers: Strings, stack: Strings) -> (Vec<*const c_char>, Strings) {
        let mut all = Vec::new();
        // SAFETY: by the caller; the null pointer is passed by one place only.
        let at = |place: usize| unsafe {
            if place < IN_REGISTERS { *registers.add(place) } else { *stack.add(place - IN_REGISTERS) }
        };
        loop {
            let one = at(all.len());
            all.push(one);
            if one.is_null() {
                break;
            }
        }
        // execle has it there; the others' callers need not have anything.
        let behind = all.len();
        (
            all,
            if behind < IN_REGISTERS {
                registers.wrapping_add(behind)
            } else {
                stack.wrapping_add(behind - IN_REGISTERS)
            },
        )
    }

    unsafe extern "C" fn by_path(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
        // SAFETY: by the caller.
        unsafe { execve(path, gather(registers, stack).0.as_ptr(), own_environment()) }
    }

    unsafe extern "C" fn by_name(file: *const c_char, registers: Strings, stack: Strings) -> c_int {
        // SAFETY: by the caller.
        unsafe { execvp(file, gather(registers, stack).0.as_ptr()) }
    }

    unsafe extern "C" fn with_environment(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
        // SAFETY: by the caller.
        unsafe {
            let (arguments, behind) = gather(registers, stack);
            execve(path, arguments.as_ptr(), (*behind).cast())
        }
    }

    macro_rules! list {
        ($($(#[$doc:meta])* $name:ident => $target:ident;)*) => {
            $(
                $(#[$doc])*
                ///
                /// # Safety
                /// As libc's.
                #[unsafe(no_mangle)]
                #[unsafe(naked)]
                pub unsafe extern "C" fn $name() -> c_int {
                    core::arch::naked_asm!(
                        // What is on the stack begins above the return address.
                        "lea rax, [rsp + 8]",
                        "sub rsp, 40",
                        "mov [rsp], rsi",
                        "mov [rsp + 8], rdx",
                        "mov [rsp + 16], rcx",
                        "mov [rsp + 24], r8",
                        "mov [rsp + 32], r9",
                        "mov rsi, rsp",
                        "mov rdx, rax",
                        "call {target}",
                        "add rsp, 40",
                        "ret",
                        target = sym $target,
                    )
                }
            )*
        };
    }

    list! {
        /// execl(3).
        execl => by_path;
        /// execlp(3).
        execlp => by_name;
        /// execle(3).
        execle => with_environment;
    }
}
