//! The states of a connection (RFC 9293 section 3.3.2), each with what only it knows.
//!
//! LISTEN is the listener's, and TIME-WAIT a small record of its own: a [`super::connection::Connection`] is in
//! neither.

use crate::time::Instant;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A SYN is out.
    SynSent,
    /// Both SYNs are seen, ours is not acknowledged.
    SynReceived(SynReceived),
    /// Data flow both ways.
    Established,
    /// We closed; our FIN is not acknowledged.
    FinWait1,
    /// We closed, and that is acknowledged; the peer may go on.
    FinWait2(FinWait2),
    /// The peer closed; we may go on.
    CloseWait,
    /// Both closed at once; our FIN is not acknowledged.
    Closing,
    /// The peer closed, then we; our FIN is not acknowledged.
    LastAck,
    /// Nothing more goes in or out. What came before may still be read.
    Closed,
}

/// What SYN-RECEIVED knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynReceived {
    /// By fast open: the owner may read and write already, and data may be sent before the handshake is over.
    pub fast_open: bool,
    /// The SYN-ACK waits to be sent.
    pub answer: bool,
}

/// What FIN-WAIT-2 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinWait2 {
    /// When it is given up, once the owner closed both directions; [`Instant::NEVER`] before.
    pub until: Instant,
}

impl State {
    /// The name in RFC 9293, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            State::SynSent => "syn-sent",
            State::SynReceived(_) => "syn-received",
            State::Established => "established",
            State::FinWait1 => "fin-wait-1",
            State::FinWait2(_) => "fin-wait-2",
            State::CloseWait => "close-wait",
            State::Closing => "closing",
            State::LastAck => "last-ack",
            State::Closed => "closed",
        }
    }

    /// Linux's number (TCP_INFO).
    pub const fn number(self) -> u8 {
        match self {
            State::Established => 1,
            State::SynSent => 2,
            State::SynReceived(_) => 3,
            State::FinWait1 => 4,
            State::FinWait2(_) => 5,
            State::Closed => 7,
            State::CloseWait => 8,
            State::LastAck => 9,
            State::Closing => 11,
        }
    }

    /// Both ends know each other's sequence numbers (RFC 9293 section 3.5.3: synchronized).
    #[inline]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, State::SynSent | State::SynReceived(_) | State::Closed)
    }

    /// Data from the peer are taken.
    #[inline]
    pub const fn receives(self) -> bool {
        matches!(
            self,
            State::Established
                | State::FinWait1
                | State::FinWait2(_)
                | State::SynReceived(SynReceived { fast_open: true, .. })
        )
    }

    /// Data may be sent, for the first time or again, and so may the FIN once the owner asked for it.
    #[inline]
    pub const fn sends(self) -> bool {
        matches!(
            self,
            State::Established
                | State::CloseWait
                | State::FinWait1
                | State::Closing
                | State::LastAck
                | State::SynReceived(SynReceived { fast_open: true, .. })
        )
    }
}
