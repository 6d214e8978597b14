//! TCP's header (RFC 9293 section 3.1), for looking at: classifiers, filters, checksums.
//!
//! ```text
//!    0               1               2               3
//!   | source port                   | destination port              |  0
//!   | sequence number                                               |  4
//!   | acknowledgment number                                         |  8
//!   | offset| 0 0 0 |A C E U A P R S F| window                      | 12
//!   | checksum                      | urgent pointer                | 16
//!   | options, to 4 × offset bytes (at most 40) ...                 | 20
//! ```

use crate::DropReason;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Where the checksum field is, in bytes from the start of the header.
pub const CHECKSUM_OFFSET: usize = 16;

/// The flags, in the low nine bits of [`Header::offset_flags`].
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u16 = 0x001;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x002;
    /// Reset the connection.
    pub const RST: u16 = 0x004;
    /// Push.
    pub const PSH: u16 = 0x008;
    /// The acknowledgment number counts.
    pub const ACK: u16 = 0x010;
    /// The urgent pointer counts.
    pub const URG: u16 = 0x020;
    /// Congestion was notified (RFC 3168).
    pub const ECE: u16 = 0x040;
    /// The window was reduced (RFC 3168).
    pub const CWR: u16 = 0x080;
    /// Accurate ECN (RFC 9768).
    pub const AE: u16 = 0x100;
    /// All of them.
    pub const ALL: u16 = 0x1ff;
}

/// What is wrong with a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header.
    Truncated,
    /// The data offset is below 20 bytes.
    BadDataOffset,
}

impl From<Error> for DropReason {
    fn from(_: Error) -> DropReason {
        DropReason::TransportMalformed
    }
}

/// The TCP header without its options, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The sender's port.
    pub source_port: U16,
    /// The receiver's port.
    pub destination_port: U16,
    /// Of the first byte of data, or of the SYN.
    pub sequence: U32,
    /// The next byte that the sender waits for, if [`flag::ACK`] is set.
    pub acknowledgment: U32,
    /// Data offset in 4-byte words in the high four bits, [`flag`]s in the low nine.
    pub offset_flags: U16,
    /// Bytes that the sender will take, not scaled.
    pub window: U16,
    /// Over pseudo-header, header and data.
    pub checksum: U16,
    /// Where urgent data end, if [`flag::URG`] is set.
    pub urgent_pointer: U16,
}

impl Header {
    /// Checks a received segment: `bytes` begin at the header and must hold all of it, options included.
    #[inline]
    pub fn receive(bytes: &[u8]) -> Result<&Header, Error> {
        let (header, _) = Header::parse(bytes)?;
        if header.header_len() < HEADER_LEN {
            return Err(Error::BadDataOffset);
        }
        if header.header_len() > bytes.len() {
            return Err(Error::Truncated);
        }
        Ok(header)
    }

    /// The fixed header at the front of `bytes`, and the bytes behind it. Only the length is checked.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(&Header, &[u8]), Error> {
        Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// As [`Header::parse`], for changing it in place.
    #[inline]
    pub fn parse_mut(bytes: &mut [u8]) -> Result<(&mut Header, &mut [u8]), Error> {
        Header::mut_from_prefix(bytes).map_err(|_| Error::Truncated)
    }

    /// Bytes of the header with its options (the data offset): 20 to 60 once checked.
    #[inline]
    pub const fn header_len(&self) -> usize {
        (self.offset_flags.get() >> 12) as usize * 4
    }

    /// The flags alone.
    #[inline]
    pub const fn flags(&self) -> u16 {
        self.offset_flags.get() & flag::ALL
    }

    /// The options of the segment that begins with this header in `bytes`; none when it is cut short.
    #[inline]
    pub fn options<'a>(&self, bytes: &'a [u8]) -> Options<'a> {
        Options { bytes: bytes.get(HEADER_LEN..self.header_len()).unwrap_or(&[]) }
    }
}

/// Kinds of options (RFC 9293 section 3.2 and the RFCs named).
pub mod option {
    /// Ends the list.
    pub const END: u8 = 0;
    /// One byte of padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale (RFC 7323).
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgment permitted (RFC 2018).
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgment (RFC 2018).
    pub const SACK: u8 = 5;
    /// Timestamps (RFC 7323).
    pub const TIMESTAMPS: u8 = 8;
}

/// One option, other than padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// See [`option`].
    pub kind: u8,
    /// What follows kind and length.
    pub data: &'a [u8],
}

/// The option list is malformed: a length is missing, below 2, or beyond the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOption;

/// Walks the options; padding is passed over, and the walk ends at the end-of-list option or after an error.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    bytes: &'a [u8],
}

impl<'a> Options<'a> {
    /// Walks bare option bytes, as they stand between the fixed header and the data.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Options { bytes }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<TcpOption<'a>, BadOption>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.bytes {
                [] | [option::END, ..] => {
                    self.bytes = &[];
                    return None;
                }
                [option::NOP, ref rest @ ..] => self.bytes = rest,
                [kind, length, ..] if length >= 2 && usize::from(length) <= self.bytes.len() => {
                    let (this, rest) = self.bytes.split_at(usize::from(length));
                    self.bytes = rest;
                    return Some(Ok(TcpOption { kind, data: &this[2..] }));
                }
                _ => {
                    self.bytes = &[];
                    return Some(Err(BadOption));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN of Linux: MSS 1460, SACK permitted, timestamps, window scale 7.
    #[rustfmt::skip]
    const CAPTURE: [u8; 40] = [
        0xc3, 0x5e, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0xab, 0xcd, 0, 0,
        2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
    ];

    #[test]
    fn a_captured_syn_is_read_field_by_field() {
        let header = Header::receive(&CAPTURE).unwrap();
        assert_eq!((header.source_port.get(), header.destination_port.get()), (50014, 80));
        assert_eq!((header.sequence.get(), header.acknowledgment.get()), (0x12345678, 0));
        assert_eq!((header.header_len(), header.flags()), (40, flag::SYN));
        assert_eq!((header.window.get(), header.checksum.get()), (64240, 0xabcd));
        assert_eq!(header.urgent_pointer.get(), 0);
        let found: Vec<_> = header.options(&CAPTURE).map(|option| option.unwrap()).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], TcpOption { kind: option::MSS, data: &[5, 0xb4] });
        assert_eq!(found[1], TcpOption { kind: option::SACK_PERMITTED, data: &[] });
        assert_eq!(found[2], TcpOption { kind: option::TIMESTAMPS, data: &[1, 2, 3, 4, 0, 0, 0, 0] });
        assert_eq!(found[3], TcpOption { kind: option::WINDOW_SCALE, data: &[7] });
    }

    #[test]
    fn truncations_and_a_bad_data_offset_are_found() {
        for length in 0..CAPTURE.len() {
            assert_eq!(Header::receive(&CAPTURE[..length]), Err(Error::Truncated));
        }
        let mut bytes = CAPTURE;
        bytes[12] = 0x40;
        assert_eq!(Header::receive(&bytes), Err(Error::BadDataOffset));
    }

    #[test]
    fn malformed_options_end_the_walk() {
        for list in [[2, 0, 0, 0], [2, 1, 0, 0], [2, 21, 0, 0]] {
            let mut bytes = CAPTURE;
            bytes[20..24].copy_from_slice(&list);
            let mut walk = Header::receive(&bytes).unwrap().options(&bytes);
            assert_eq!(walk.next(), Some(Err(BadOption)), "{list:?}");
            assert_eq!(walk.next(), None);
        }
    }
}
