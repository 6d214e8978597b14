//! What comes in and what goes out, as values: the machine never sees a frame.
//!
//! ```text
//!   frame ──glue──> Segment ──> Connection::on_segment ──> Disposition
//!                               Connection::poll_transmit ──> Outgoing ──glue──> one or more frames
//! ```
//! A [`Segment`] borrows its bytes from the frame. An [`Outgoing`] names bytes in the send ring: the glue copies
//! them from there into the frame, once. It may be a *train*: segments that differ in sequence number only, so that
//! one decision serves a burst.

use super::options::Emitted;
use super::{Seq, TimeWaitContent};
use crate::checksum::{self, Sum};
use crate::wire::tcp::flag;

/// What is known of a received segment's checksum.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// It is good, or the port is trusted.
    Verified,
    /// The sum of pseudo-header, header and options, the checksum field among them. Together with the data it must
    /// be zero: the connection adds them up while it copies.
    Pending(Sum),
}

/// A segment that came for a connection.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// Sequence number of its first byte (of the SYN, if it has one).
    pub seq: Seq,
    /// Acknowledgment number, if [`flag::ACK`] is set.
    pub ack: Seq,
    /// The flags of [`flag`].
    pub flags: u16,
    /// The window field as it came.
    pub window: u16,
    /// The urgent pointer as it came.
    pub urgent: u16,
    /// Option bytes.
    pub options: &'a [u8],
    /// Data, in the frame's first chunk.
    pub data: &'a [u8],
    /// More data, when the frame is a chain.
    pub more: &'a [&'a [u8]],
    /// The checksum.
    pub check: Check,
    /// The IP header says that a router is congested (RFC 3168: CE).
    pub congested: bool,
    /// TTL or hop limit.
    pub ttl: u8,
}

impl Segment<'_> {
    /// Bytes of data.
    #[inline]
    pub fn len(&self) -> u32 {
        let mut len = self.data.len();
        for piece in self.more {
            len += piece.len();
        }
        len as u32
    }

    /// True when it carries no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when all of `flags` are set.
    #[inline]
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// SEG.LEN: data, and one each for SYN and FIN (RFC 9293 section 3.4).
    pub fn span(&self) -> u32 {
        self.len() + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }

    /// True when the checksum is good: adds the data up unless that was done.
    pub fn is_intact(&self) -> bool {
        match self.check {
            Check::Verified => true,
            Check::Pending(header) => {
                let mut sum = checksum::Checksum::new(header);
                sum.add(self.data);
                for piece in self.more {
                    sum.add(piece);
                }
                sum.sum().is_valid()
            }
        }
    }

    /// Calls `each` with the pieces of `count` bytes of data from `skip`, and the offset of each piece.
    pub fn pieces(&self, skip: usize, count: usize, mut each: impl FnMut(usize, &[u8])) {
        let (mut at, end) = (0, skip + count);
        for piece in core::iter::once(&self.data).chain(self.more) {
            let from = skip.clamp(at, at + piece.len());
            let to = end.clamp(at, at + piece.len());
            if from < to {
                each(from - skip, &piece[from - at..to - at]);
            }
            at += piece.len();
        }
    }
}

/// A segment, or a train of them, that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Sequence number of the first one.
    pub seq: Seq,
    /// Acknowledgment number; counts when `flags` has [`flag::ACK`].
    pub ack: Seq,
    /// The flags of the last one; those before it have neither PSH nor FIN. [`flag::CWR`] belongs to the first only.
    pub flags: u16,
    /// The window field.
    pub window: u16,
    /// The urgent pointer of the first one; each later one's is smaller by the bytes in between.
    pub urgent: u16,
    /// Options, the same in each.
    pub options: Emitted,
    /// Where in the send ring the data begin, in bytes.
    pub offset: u32,
    /// Bytes of data altogether.
    pub len: u32,
    /// Bytes of data in each segment but the last, which has the rest. Never 0.
    pub mss: u16,
    /// The packets carry ECT(0) (RFC 3168 section 6.1: only new data do).
    pub ect: bool,
    /// Where in the options the bytes of a signature begin, when one is wanted.
    pub signature: Option<u8>,
    /// The IPv4 packet must not be fragmented (path MTU discovery).
    pub dont_fragment: bool,
}

impl Outgoing {
    /// Segments of the train: at least one.
    #[inline]
    pub fn count(&self) -> u32 {
        // Most trains are one segment, and need no division.
        let mss = u32::from(self.mss);
        if self.len <= mss { 1 } else { self.len.div_ceil(mss) }
    }

    /// Each segment of the train by itself.
    pub fn segments(self) -> impl Iterator<Item = Outgoing> {
        (0..self.count()).map(move |number| {
            let Piece { seq, flags, urgent, offset, len } = self.piece(number);
            Outgoing { seq, flags, urgent, offset, len, ..self }
        })
    }

    /// What segment `number` of the train has for itself.
    #[inline]
    pub fn piece(&self, number: u32) -> Piece {
        let mss = u32::from(self.mss);
        let done = number * mss;
        let left = self.len.saturating_sub(done);
        let mut one = Piece {
            seq: self.seq + done,
            flags: self.flags,
            urgent: self.urgent,
            offset: self.offset + done,
            len: left.min(mss),
        };
        if left > mss {
            one.flags &= !(flag::PSH | flag::FIN);
        }
        if number > 0 {
            one.flags &= !flag::CWR;
        }
        if one.flags & flag::URG != 0 {
            match u32::from(self.urgent).checked_sub(done) {
                Some(ahead @ 1..) => one.urgent = ahead as u16,
                _ => (one.flags, one.urgent) = (one.flags & !flag::URG, 0),
            }
        }
        one
    }
}

/// What one segment of a train ([`Outgoing`]) does not share with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Sequence number.
    pub seq: Seq,
    /// Its flags.
    pub flags: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// Where in the send ring its data begin, in bytes.
    pub offset: u32,
    /// Bytes of data.
    pub len: u32,
}

/// A segment without data that is sent for no connection, or for one that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Its sequence number.
    pub seq: Seq,
    /// Its acknowledgment number; without one the ACK flag is clear.
    pub ack: Option<Seq>,
    /// The window field: what a connection that ends offered; nothing when it answers for nobody.
    pub window: u16,
    /// Timestamps of a connection that agreed on them (RFC 7323 section 3.2: SHOULD be in a reset as well).
    pub stamps: Option<(u32, u32)>,
}

impl Reset {
    /// A reset that answers for nobody.
    pub const fn bare(seq: Seq, ack: Option<Seq>) -> Reset {
        Reset { seq, ack, window: 0, stamps: None }
    }

    /// The reset that answers a segment which belongs to no connection (RFC 9293 section 3.10.7.1); a reset is
    /// never answered.
    pub fn answer_to(segment: &Segment<'_>) -> Option<Reset> {
        if segment.has(flag::RST) {
            None
        } else if segment.has(flag::ACK) {
            Some(Reset::bare(segment.ack, None))
        } else {
            Some(Reset::bare(Seq(0), Some(segment.seq + segment.span())))
        }
    }
}

/// When the caller should ask for output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Output {
    /// There is none.
    #[default]
    None,
    /// At the end of the burst.
    Later,
    /// Before the next segment of this connection: each such ACK carries news for the peer by itself
    /// (RFC 5681 section 4.2: out of order data are acknowledged at once).
    Now,
}

/// Why a segment changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The checksum is wrong.
    Checksum,
    /// Beyond the window, or before it (RFC 9293 section 3.10.7.4, first check).
    OutOfWindow,
    /// Its timestamp is older than one that came before (RFC 7323 section 5.3).
    OldTimestamp,
    /// A reset or SYN that was challenged instead of believed (RFC 5961).
    Challenged,
    /// It acknowledges what was never sent, or what was long ago (RFC 5961 section 5).
    BadAck,
    /// Neither SYN, ACK nor RST, where one is needed.
    NoFlags,
    /// No memory for its data.
    NoMemory,
    /// The connection is closed.
    Closed,
}

/// What became of a segment and of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Disposition {
    /// The connection goes on.
    Keep(Output),
    /// The segment was refused, the connection goes on; perhaps with a reset for the sender of the segment.
    Refused(Refusal, Output, Option<Reset>),
    /// The connection is CLOSED. The owner may still read what it has; remove it from the 4-tuple table.
    Closed(Option<Reset>),
    /// The connection is CLOSED and this stands in TIME-WAIT for it. Acknowledge the FIN from there, at once.
    TimeWait(TimeWaitContent),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(len: u32) -> Outgoing {
        Outgoing {
            seq: Seq(u32::MAX),
            ack: Seq(9),
            flags: flag::ACK | flag::PSH | flag::CWR,
            window: 5,
            urgent: 0,
            options: Emitted::NONE,
            offset: 7,
            len,
            mss: 100,
            ect: true,
            signature: None,
            dont_fragment: true,
        }
    }

    #[test]
    fn a_train_is_cut_into_segments_with_push_on_the_last() {
        let cut: Vec<_> =
            train(250).segments().map(|one| (one.seq.0, one.offset, one.len, one.flags)).collect();
        assert_eq!(
            cut,
            [
                (u32::MAX, 7, 100, flag::ACK | flag::CWR),
                (99, 107, 100, flag::ACK),
                (199, 207, 50, flag::ACK | flag::PSH)
            ]
        );
        assert_eq!((train(0).count(), train(0).segments().count()), (1, 1));
        assert_eq!((train(200).count(), train(201).count()), (2, 3));
    }

    #[test]
    fn the_urgent_pointer_shrinks_along_a_train_and_ends_with_it() {
        let urgent = Outgoing { urgent: 150, flags: flag::ACK | flag::URG, ..train(250) };
        let cut: Vec<_> = urgent.segments().map(|one| (one.flags & flag::URG != 0, one.urgent)).collect();
        assert_eq!(cut, [(true, 150), (true, 50), (false, 0)]);
    }

    #[test]
    fn pieces_of_a_chain_are_cut_at_both_ends() {
        let segment = Segment {
            seq: Seq(0),
            ack: Seq(0),
            flags: 0,
            window: 0,
            urgent: 0,
            options: &[],
            data: &[0, 1, 2],
            more: &[&[3, 4], &[], &[5, 6, 7]],
            check: Check::Verified,
            congested: false,
            ttl: 64,
        };
        for skip in 0..8 {
            for count in 0..=8 - skip {
                let mut seen = Vec::new();
                segment.pieces(skip, count, |offset, piece| {
                    assert_eq!(offset, seen.len());
                    seen.extend_from_slice(piece);
                });
                let expected: Vec<u8> = (skip as u8..(skip + count) as u8).collect();
                assert_eq!(seen, expected);
            }
        }
    }
}
