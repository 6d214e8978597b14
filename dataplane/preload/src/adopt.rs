//! Sockets that come from another process: after exec, and through SCM_RIGHTS.
//!
//! ```text
//!   who gives:   Op::Hold for each socket ── exec (the list goes along in the environment), sendmsg ──┐
//!   who takes:   the kernel's socket behind the descriptor ── ADOPT ──> service, which knows it by its cookie
//! ```
//!
//! The service keeps what is held for ten seconds. A program that is executed takes all that it inherits when this library
//! is loaded: so a socket that it never touches stays open as long as it has the descriptor, as in Linux.

use crate::attach::{self, Attachment};
use crate::errno::{Errno, Result, from_libc};
use crate::home::HomeRef;
use crate::socket::{SocketRef, State};
use crate::{pool, real, table};
use core::ffi::{CStr, c_int};
use flumen_ipc::Op;
use std::collections::BTreeSet;

/// The environment variable with the descriptors that a program inherits: numbers, with commas between them.
pub const INHERITED: &CStr = c"FLUMEN_INHERITED";

/// Keeps a socket for who will adopt it.
pub fn hold(socket: &SocketRef) {
    socket.spend();
    if let Some(part) = socket.part() {
        // One that is gone is nothing to be adopted.
        let _gone = part.call(Op::Hold, [0; 4], &[]);
    }
}

/// Keeps the sockets of these descriptors, each once.
pub fn hold_all(fds: impl Iterator<Item = c_int>) {
    let mut held = BTreeSet::new();
    for socket in fds.filter_map(table::get) {
        if held.insert(core::ptr::from_ref(socket.0) as usize) {
            hold(&socket);
        }
    }
}

/// Takes over a descriptor that came from another process, if it is a socket of Flumen's. True when it was one.
///
/// # Errors
/// The service refuses: its tables or ours are full.
pub fn adopt(fd: c_int) -> Result<bool> {
    if table::get(fd).is_some() || !is_inet(fd) {
        return Ok(false);
    }
    let Ok(attachment) = attach::ensure() else { return Ok(false) };
    let slot = attachment.take_slot().ok_or(Errno(libc::ENOBUFS))?;
    match adopt_into(&attachment, slot, fd) {
        Ok(()) => Ok(true),
        Err(error) => {
            attachment.give_slot(slot);
            if error == Errno(libc::ENOENT) { Ok(false) } else { Err(error) }
        }
    }
}

/// In a child after fork: a descriptor of a socket that its parent opened while the service made the child's attachment.
pub fn adopt_again(fd: c_int) {
    drop(table::remove(fd));
    if let Err(error) = adopt(fd) {
        crate::complaints::complain_of(&format!("descriptor {fd} cannot be taken over"), error);
    }
}

fn adopt_into(attachment: &Attachment, slot: u32, fd: c_int) -> Result<()> {
    let (found, memory) = attachment.adopt(slot, fd)?;
    let home = HomeRef::open(found.home, memory, found.geometry)?;
    let socket = pool::take(found.domain as c_int, found.kind as c_int, found.protocol as c_int)
        .ok_or(Errno(libc::ENOMEM))?;
    socket.place(attachment, slot, found.worker, home, found.slot);
    attachment.set_socket(slot, &socket);
    socket.decide(if is_bound(fd) { State::Both } else { State::Flumen });
    if !table::set(fd, &socket) {
        return Err(Errno(libc::ENFILE));
    }
    crate::signals::adopted(fd, &socket);
    Ok(())
}

fn is_inet(fd: c_int) -> bool {
    let mut domain: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    let value = (&raw mut domain).cast();
    // SAFETY: value and length are live.
    let got = unsafe { real::getsockopt(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, value, &raw mut len) };
    got == 0 && matches!(domain, libc::AF_INET | libc::AF_INET6)
}

/// The kernel's socket has a port: it serves as well.
fn is_bound(fd: c_int) -> bool {
    let mut name = [0u8; 128];
    let mut len = name.len() as libc::socklen_t;
    // SAFETY: buffer and length are live.
    let got = from_libc(unsafe { real::getsockname(fd, name.as_mut_ptr().cast(), &raw mut len) });
    // The port stands in the same place in both families.
    got.is_ok() && name[2..4] != [0, 0]
}

/// At load: what the program that was here before left us.
pub fn adopt_inherited() {
    // SAFETY: the name is a C string; nobody changes the environment while libraries are loaded.
    let list = unsafe { libc::getenv(INHERITED.as_ptr()) };
    if list.is_null() {
        return;
    }
    // SAFETY: getenv gives a C string.
    let list = unsafe { CStr::from_ptr(list) }.to_string_lossy().into_owned();
    // SAFETY: as above. It is meant for this program alone.
    unsafe { libc::unsetenv(INHERITED.as_ptr()) };
    let mut taken: Vec<(u64, c_int)> = Vec::new();
    for fd in list.split(',').filter_map(|number| number.parse().ok()) {
        // Several descriptors may be the same socket.
        let cookie = crate::options::cookie(fd).unwrap_or(0);
        let same =
            taken.iter().find(|(before, _)| *before == cookie).and_then(|(_, before)| table::get(*before));
        if let Some(socket) = same {
            table::set(fd, &socket);
            continue;
        }
        match adopt(fd) {
            Ok(true) => taken.push((cookie, fd)),
            Ok(false) => {}
            Err(error) => {
                crate::complaints::complain_of(&format!("descriptor {fd} cannot be taken over"), error)
            }
        }
    }
}
