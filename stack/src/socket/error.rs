//! What goes wrong at a socket, under the names and numbers that Linux gives it.
//!
//! Each value says whose fault it is by what it is about: the caller (a wrong argument), this node (no memory),
//! the peer or the network (a report that came back). The numbers are those of Linux on every architecture that
//! this data plane runs on, so that a socket layer above needs no table of its own.

macro_rules! errors {
    ($($(#[doc = $doc:literal])+ $variant:ident => $number:literal $name:literal,)+) => {
        /// Why a call failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        #[repr(u8)]
        pub enum Error { $($(#[doc = $doc])+ #[error($name)] $variant = $number,)+ }

        impl Error {
            /// Every error.
            pub const ALL: &'static [Error] = &[$(Error::$variant,)+];

            /// Linux's number for it.
            pub const fn errno(self) -> i32 {
                self as i32
            }

            /// The error with this number, if there is one here.
            pub const fn from_errno(number: u8) -> Option<Error> {
                match number { $($number => Some(Error::$variant),)+ _ => None }
            }
        }
    };
}

errors! {
    /// It cannot be done on the way out (UDP_SEGMENT of UDP-Lite, as in Linux).
    InputOutput => 5 "EIO",
    /// No such handle: the socket was closed.
    BadHandle => 9 "EBADF",
    /// Nothing to read, or no room to write, now.
    WouldBlock => 11 "EAGAIN",
    /// No memory for another socket.
    NoMemory => 12 "ENOMEM",
    /// A broadcast without leave to send one, or a route that prohibits.
    AccessDenied => 13 "EACCES",
    /// No such port.
    NoDevice => 19 "ENODEV",
    /// An argument makes no sense here.
    InvalidArgument => 22 "EINVAL",
    /// Too many sockets.
    TooManySockets => 23 "ENFILE",
    /// This side of the socket was shut down for writing.
    BrokenPipe => 32 "EPIPE",
    /// No error: a stamp of what was sent.
    NoMessage => 42 "ENOMSG",
    /// An unconnected socket, and no destination given.
    DestinationRequired => 89 "EDESTADDRREQ",
    /// The datagram is longer than the protocol or the path allows.
    MessageTooLong => 90 "EMSGSIZE",
    /// The option does not exist for this kind of socket.
    NoSuchOption => 92 "ENOPROTOOPT",
    /// The far end does not speak the protocol.
    ProtocolUnreachable => 93 "EPROTONOSUPPORT",
    /// Not for this kind of socket.
    NotSupported => 95 "EOPNOTSUPP",
    /// An address of the wrong family.
    WrongFamily => 97 "EAFNOSUPPORT",
    /// The address and port are taken, or the group is joined already.
    AddressInUse => 98 "EADDRINUSE",
    /// The address is not ours, or the group not joined.
    AddressNotAvailable => 99 "EADDRNOTAVAIL",
    /// No route, or the network says so.
    NetworkUnreachable => 101 "ENETUNREACH",
    /// The connection was ended by the peer.
    ConnectionReset => 104 "ECONNRESET",
    /// The connection was given up here.
    Aborted => 103 "ECONNABORTED",
    /// The peer did not answer in time.
    TimedOut => 110 "ETIMEDOUT",
    /// The connection is still being made.
    InProgress => 115 "EINPROGRESS",
    /// No frame, no block, or a table is full.
    NoBuffers => 105 "ENOBUFS",
    /// The socket is connected already.
    AlreadyConnected => 106 "EISCONN",
    /// The socket is not connected.
    NotConnected => 107 "ENOTCONN",
    /// Nobody listens there.
    ConnectionRefused => 111 "ECONNREFUSED",
    /// The host is said to be down.
    HostDown => 112 "EHOSTDOWN",
    /// The host cannot be reached.
    HostUnreachable => 113 "EHOSTUNREACH",
    /// A filter on the way, or a header field that somebody there did not understand.
    ProtocolError => 71 "EPROTO",
    /// The host is no longer on the network.
    NotOnNetwork => 64 "ENONET",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_errors() {
        for error in Error::ALL {
            assert_eq!(Error::from_errno(error.errno() as u8), Some(*error));
        }
        assert_eq!(Error::from_errno(0), None);
        assert_eq!(Error::ConnectionRefused.to_string(), "ECONNREFUSED");
    }
}
