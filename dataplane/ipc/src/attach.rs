//! How a process attaches: messages over a SOCK_SEQPACKET unix socket, on which descriptors travel beside.
//!
//! ```text
//!   process                                      service (control thread)
//!   Hello { attach }                        ──>
//!                                           <──  Welcome { geometry, token } + arena, page, bell, bells of workers
//!   before fork, on a new connection:
//!   Hello { inherit, token of the parent }  ──>  all sockets of the parent get this attachment as another owner
//!                                           <──  Welcome …                    (the same slot numbers as in the parent)
//!   after exec or SCM_RIGHTS, for a descriptor that nobody knows here:
//!   Hello { adopt } + the kernel's socket   ──>  found by its cookie
//!                                           <──  Adopted { slot here, slot and geometry of its home arena, home token } + that arena
//! ```
//!
//! The connection is the attachment: when the kernel closes it, because the process ended in whatever way or
//! executed another program, its sockets have one owner less.

use crate::arena::Geometry;
use crate::limits::{MAX_DESCRIPTORS, MAX_PASSED};
use core::mem::MaybeUninit;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of each message.
pub const MAGIC: u32 = 0x464c_554d;
/// Changes with the layout of anything in this crate.
pub const VERSION: u32 = 11;

/// [`Hello::kind`]: a process begins.
pub const ATTACH: u32 = 1;
/// [`Hello::kind`]: for the child that is about to be forked.
pub const INHERIT: u32 = 2;
/// [`Hello::kind`]: which socket is this descriptor?
pub const ADOPT: u32 = 3;

/// What a process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// [`ATTACH`], [`INHERIT`] or [`ADOPT`].
    pub kind: u32,
    /// [`ADOPT`]: the slot that is free in this process and that the socket shall have here.
    pub slot: u32,
    /// [`INHERIT`]: the token of the parent.
    pub token: [u8; 16],
}

impl Hello {
    /// A message of this version.
    pub fn new(kind: u32) -> Hello {
        Hello { magic: MAGIC, version: VERSION, kind, slot: 0, token: [0; 16] }
    }
}

/// What the service answers to [`ATTACH`] and [`INHERIT`]. Beside it, when `status` is 0: arena, page, bell, bells of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Welcome {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`] of the service.
    pub version: u32,
    /// 0, or a positive errno: EACCES (not allowed), EMFILE (too many programs), EPROTO (another version), ESRCH (no such parent).
    pub status: u32,
    /// Layout of the arena.
    pub geometry: Geometry,
    /// Names this attachment, for [`INHERIT`] and [`Adopted::home`]: secret.
    pub token: [u8; 16],
}

/// What the service answers to [`ADOPT`]. Beside it, when `status` is 0: the arena that the socket's memory lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Adopted {
    /// [`MAGIC`].
    pub magic: u32,
    /// 0, or a positive errno: ENOENT (not one of ours), EBUSY (the slot is taken).
    pub status: u32,
    /// Its slot in its home arena.
    pub slot: u32,
    /// Its domain (AF_INET, AF_INET6).
    pub domain: u32,
    /// Its type (SOCK_STREAM …).
    pub kind: u32,
    /// Its protocol.
    pub protocol: u32,
    /// The worker that it lives on.
    pub worker: u32,
    /// Layout of its home arena.
    pub geometry: Geometry,
    /// Names its home arena: sockets with the same share the mapping.
    pub home: [u8; 16],
}

/// Sends one message with descriptors beside it.
///
/// # Errors
/// The system's.
pub fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What came in one message.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the message; 0: the other end is gone.
    pub len: usize,
    /// What came beside it.
    pub descriptors: Vec<OwnedFd>,
    /// False: there was no room for all of it.
    pub is_whole: bool,
}

/// Receives one message and what came beside it: bytes of the message (0: the other end is gone), descriptors.
///
/// # Errors
/// The system's; a message longer than `message`.
pub fn receive(socket: impl AsFd, message: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let received = receive_any(socket, message)?;
    if !received.is_whole {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    Ok((received.len, received.descriptors))
}

/// Receives one message, as long as it may be, and all descriptors beside it: whoever closes these may have to wait.
///
/// # Errors
/// The system's.
pub fn receive_any(socket: impl AsFd, message: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PASSED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(message)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for one in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = one {
            descriptors.extend(rights);
        }
    }
    let is_whole =
        !received.flags.intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC);
    Ok(Received { len: received.bytes, descriptors, is_whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn messages_and_descriptors_arrive_together() {
        let (one, other) = pair();
        let hello = Hello::new(ATTACH);
        send(&one, hello.as_bytes(), &[one.as_fd(), other.as_fd()]).unwrap();
        let mut buffer = [0; 256];
        let (len, descriptors) = receive(&other, &mut buffer).unwrap();
        assert_eq!(Hello::read_from_bytes(&buffer[..len]).unwrap(), hello);
        assert_eq!(descriptors.len(), 2);
        drop(one);
        drop(descriptors);
        assert_eq!(receive(&other, &mut buffer).unwrap().0, 0, "the other end is gone");
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_passes_are_taken() {
        let pass = |to: &OwnedFd, count: usize| {
            let one = to.as_fd();
            let all = vec![one; count];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PASSED + 1))];
            let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
            assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&all)));
            let bytes = [std::io::IoSlice::new(b"many")];
            rustix::net::sendmsg(to, &bytes, &mut control, rustix::net::SendFlags::empty())
        };
        let (one, other) = pair();
        assert_eq!(pass(&one, MAX_PASSED), Ok(4));
        let received = receive_any(&other, &mut [0; 8]).unwrap();
        assert_eq!((received.len, received.descriptors.len(), received.is_whole), (4, MAX_PASSED, true));
        assert_eq!(pass(&one, MAX_PASSED + 1), Err(rustix::io::Errno::INVAL), "the kernel passes no more");
    }

    #[test]
    fn a_message_that_is_too_long_is_an_error() {
        let (one, other) = pair();
        send(&one, &[0; 100], &[]).unwrap();
        assert!(receive(&other, &mut [0; 50]).is_err());
    }
}
