//! SCM_RIGHTS: sockets of Flumen that travel to another process through a socket of the kernel's. The descriptors do so by
//! themselves; who sends them has the service hold what is behind them, who receives them takes it over.

use crate::{adopt, attach, control};
use core::ffi::c_int;
use libc::msghdr;

/// The descriptors that travel with a message.
///
/// # Safety
/// The control messages can be read.
unsafe fn descriptors(message: &msghdr) -> Vec<c_int> {
    // SAFETY: by the caller.
    let list = unsafe { control::passed(message) }.unwrap_or_default();
    let rights =
        list.into_iter().filter(|(level, kind, _)| (*level, *kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS));
    rights
        .flat_map(|(_, _, data)| data.as_chunks::<4>().0.iter().map(|bytes| c_int::from_ne_bytes(*bytes)))
        .collect()
}

/// Before a message is sent through the kernel.
///
/// # Safety
/// `message` is null, or its control messages can be read.
#[inline]
pub unsafe fn give(message: *const msghdr) {
    // SAFETY: by the caller.
    let Some(message) = (unsafe { message.as_ref() }) else { return };
    if message.msg_controllen > 0 && attach::current().is_some() {
        // SAFETY: by the caller.
        adopt::hold_all(unsafe { descriptors(message) }.into_iter());
    }
}

/// After a message was received through the kernel.
///
/// # Safety
/// `message` is null, or the kernel filled it in.
#[inline]
pub unsafe fn take(message: *const msghdr) {
    // SAFETY: by the caller.
    let Some(message) = (unsafe { message.as_ref() }) else { return };
    if message.msg_controllen == 0 {
        return;
    }
    // SAFETY: by the caller.
    for fd in unsafe { descriptors(message) } {
        if let Err(error) = adopt::adopt(fd) {
            crate::complaints::complain_of(&format!("descriptor {fd} cannot be taken over"), error);
        }
    }
}
