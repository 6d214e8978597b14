//! Options: getsockopt, setsockopt and the ioctls of sockets, from the bytes that programs pass to what the stack calls them.

use super::Errno;
use super::links::Links;
use super::socket::Socket;
use crate::builtin::host::Host;
use flumen_ipc::Cell;
use flumen_ipc::limits::CALL_DATA;
use flumen_stack::{FramePool, Probe};

/// What the options of a socket say, as far as the stack does not keep it: all of them while a TCP socket is closed.
#[derive(Debug, Clone, Default)]
pub struct State {}

impl State {
    /// SO_REUSEADDR and SO_REUSEPORT of a TCP socket.
    pub fn reuse(&self) -> (bool, bool) {
        (false, false)
    }

    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        false
    }

    /// SO_BINDTODEVICE.
    pub fn device(&self) -> Option<flumen_stack::PortId> {
        None
    }

    /// IP_FREEBIND.
    pub fn free_bind(&self) -> bool {
        false
    }
}

/// What an option may need to know beside the socket.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The ports under the names that programs know.
    pub links: &'a Links,
    /// The socket's words: conditions that an option changes (SO_RCVLOWAT) are told there by whoever called.
    pub cell: &'a Cell,
}

/// setsockopt.
///
/// # Errors
/// Linux's.
pub fn set<P: FramePool, M: Probe>(
    _host: &mut Host<'_, '_, P, M>,
    _about: &About<'_>,
    _socket: &mut Socket,
    _level: i32,
    _name: i32,
    _value: &[u8],
) -> Result<(), Errno> {
    Err(Errno::NOPROTOOPT)
}

/// getsockopt: bytes of the value in `out`. `longest`: what the caller takes; `given`: what it passed in.
///
/// # Errors
/// Linux's.
pub fn get<P: FramePool, M: Probe>(
    _host: &mut Host<'_, '_, P, M>,
    _about: &About<'_>,
    _socket: &mut Socket,
    (_level, _name): (i32, i32),
    _longest: usize,
    _given: &[u8],
    _out: &mut [u8; CALL_DATA],
) -> Result<usize, Errno> {
    Err(Errno::NOPROTOOPT)
}

/// ioctl: bytes of the answer in `out`.
///
/// # Errors
/// Linux's; ENOTTY for a request that sockets do not have.
pub fn ioctl<P: FramePool, M: Probe>(
    _host: &mut Host<'_, '_, P, M>,
    _about: &About<'_>,
    _socket: &mut Socket,
    _request: u32,
    _argument: &[u8],
    _out: &mut [u8; CALL_DATA],
) -> Result<usize, Errno> {
    Err(Errno::NOTTY)
}

/// A socket that was [`Kind::TcpClosed`](super::socket::Kind::TcpClosed) has its handle in the stack, as connection or listener,
/// since a moment, and nothing was sent yet: everything that was set before is told to the stack now. Also for an accepted
/// connection, whose options are a copy of its listener's (what Linux inherits; what it does not, begins anew).
///
/// # Errors
/// Linux's.
pub fn apply<P: FramePool, M: Probe>(
    _host: &mut Host<'_, '_, P, M>,
    _about: &About<'_>,
    _socket: &mut Socket,
) -> Result<(), Errno> {
    Ok(())
}
