//! What a call on a connection, or the connection itself, can fail with: the meanings of Linux's errno values, so
//! that a POSIX face can translate one to one and nothing gets lost on the way.

/// Why a call failed, or why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum SocketError {
    /// EAGAIN: nothing to read, or no room to write, now. The caller may try again after the next news.
    #[error("nothing can be done now; try again when there is news")]
    WouldBlock,
    /// EINPROGRESS: the handshake is not finished.
    #[error("the connection is being made")]
    InProgress,
    /// ENOTCONN: there is no connection.
    #[error("not connected")]
    NotConnected,
    /// EPIPE: the caller closed its direction, or the connection is gone.
    #[error("this direction is closed")]
    BrokenPipe,
    /// EINVAL: the argument is out of range.
    #[error("the argument is out of range")]
    Invalid,
    /// ENOPROTOOPT: no such option here.
    #[error("no such option")]
    NoSuchOption,
    /// ENOBUFS: memory for it is used up. The caller may try again later.
    #[error("no memory for it now")]
    NoBuffers,
    /// ECONNREFUSED: the peer answered the SYN with a reset, or a router said that nobody listens.
    #[error("the peer refused the connection")]
    Refused,
    /// ECONNRESET: the peer reset the connection.
    #[error("the peer reset the connection")]
    Reset,
    /// ECONNABORTED: this end gave the connection up.
    #[error("the connection was aborted")]
    Aborted,
    /// ETIMEDOUT: the peer did not answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// EHOSTUNREACH: a router said that the host cannot be reached.
    #[error("the host cannot be reached")]
    HostUnreachable,
    /// ENETUNREACH: a router said that the network cannot be reached.
    #[error("the network cannot be reached")]
    NetworkUnreachable,
    /// ENOPROTOOPT of ICMP: the peer does not speak TCP.
    #[error("the peer does not speak this protocol")]
    ProtocolUnreachable,
    /// EMSGSIZE: the packet was too large for the path.
    #[error("the packet is too large for the path")]
    MessageSize,
    /// EACCES: a router forbids it.
    #[error("it is forbidden on the way")]
    Forbidden,
}

impl SocketError {
    /// The errno value of Linux that means the same.
    pub const fn errno(self) -> i32 {
        match self {
            SocketError::WouldBlock => 11,
            SocketError::Forbidden => 13,
            SocketError::Invalid => 22,
            SocketError::BrokenPipe => 32,
            SocketError::MessageSize => 90,
            SocketError::NoSuchOption | SocketError::ProtocolUnreachable => 92,
            SocketError::NetworkUnreachable => 101,
            SocketError::Aborted => 103,
            SocketError::Reset => 104,
            SocketError::NoBuffers => 105,
            SocketError::NotConnected => 107,
            SocketError::TimedOut => 110,
            SocketError::Refused => 111,
            SocketError::HostUnreachable => 113,
            SocketError::InProgress => 115,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_translate_to_the_numbers_of_linux() {
        for (error, number) in [
            (SocketError::WouldBlock, 11),
            (SocketError::Reset, 104),
            (SocketError::TimedOut, 110),
            (SocketError::Refused, 111),
            (SocketError::InProgress, 115),
        ] {
            assert_eq!(error.errno(), number, "{error}");
        }
    }
}
