//! The IP options of datagrams, for those who exchange them (RFC 1122 section 4.1.3.2; IP_OPTIONS, IP_RECVOPTS and IP_RETOPTS of
//! ip(7)).
//!
//! Those that a datagram came with lie behind the payload in the socket's queue, and only where a datagram has any. What is to be
//! sent with an answer is [`crate::Stack::options_to_return`]; what a program may send says [`crate::Stack::options_to_send`].

use crate::ipv4::options::MAX_LEN;
use core::ops::Deref;

/// The options of an IPv4 header: at most 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpOptions {
    len: u8,
    /// Zero behind `len`.
    bytes: [u8; MAX_LEN],
}

impl IpOptions {
    /// None.
    pub const NONE: IpOptions = IpOptions { len: 0, bytes: [0; MAX_LEN] };

    /// Those that `write` writes to the front of the room that it is given; it returns how many bytes they take.
    pub(crate) fn written(write: impl FnOnce(&mut [u8; MAX_LEN]) -> usize) -> IpOptions {
        let mut bytes = [0; MAX_LEN];
        let len = write(&mut bytes).min(MAX_LEN);
        IpOptions { len: len as u8, bytes }
    }
}

impl Default for IpOptions {
    fn default() -> IpOptions {
        IpOptions::NONE
    }
}

impl Deref for IpOptions {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
