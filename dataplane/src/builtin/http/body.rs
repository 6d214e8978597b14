//! What a client sends behind the head of a request: so many bytes (RFC 9112 section 6.2), or chunks (section 7.1).
//! It is counted and thrown away.
//!
//! ```text
//!   4;name=value CRLF     size in hexadecimal, perhaps extensions, which mean nothing to us
//!   Wiki CRLF             that many bytes
//!   0 CRLF                the last chunk
//!   Field: value CRLF     trailer fields, which mean nothing to us
//!   CRLF                  the end
//! ```
//!
//! A line ends with CRLF and with nothing else: whoever takes a bare LF for an end can be told another story than
//! the proxy in front of him.

/// Bytes of framing (sizes, extensions, trailers) that one body may have besides the chunks' sizes and line ends.
/// Nothing in them means anything to us: a client that sends more of it wants to keep us busy.
pub const MAX_FRAMING: u32 = 16 << 10;

/// Digits of a chunk's size: 2^60 bytes.
const MAX_DIGITS: u8 = 15;

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not what RFC 9112 says.
    Malformed,
    /// It is longer than it may be.
    TooLong,
}

/// A body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Bytes of content that came.
    pub received: u64,
    most: u64,
    framing: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are to come.
    Length(u64),
    /// A chunk's size, so far; and its digits.
    Size(u64, u8),
    /// Behind the size, until the end of the line.
    Extension(u64),
    /// The LF behind a size.
    SizeEnd(u64),
    /// Bytes of a chunk.
    Data(u64),
    /// The CR behind a chunk.
    DataCr,
    /// The LF behind a chunk.
    DataLf,
    /// The start of a trailer's line.
    Trailer,
    /// Inside of it.
    InTrailer,
    /// The LF behind it.
    TrailerLf,
    /// The LF of the empty line.
    LastLf,
    /// All is read.
    Over,
}

impl Body {
    /// So many bytes.
    pub fn of_length(length: u64, most: u64) -> Result<Body, Fault> {
        if length > most {
            return Err(Fault::TooLong);
        }
        let state = if length == 0 { State::Over } else { State::Length(length) };
        Ok(Body { received: 0, most, framing: MAX_FRAMING, state })
    }

    /// Chunks, with at most `most` bytes of content.
    pub fn chunked(most: u64) -> Body {
        Body { received: 0, most, framing: MAX_FRAMING, state: State::Size(0, 0) }
    }

    /// True when all is read.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Reads on: how many bytes of `input` belong to the body.
    ///
    /// # Errors
    /// The peer's fault: nothing that follows makes sense any more.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(rest) = input.get(at..)
            && let Some(&byte) = rest.first()
        {
            at += match self.state {
                State::Over => break,
                State::Length(left) => {
                    let (taken, left) = self.content(rest, left);
                    self.state = if left == 0 { State::Over } else { State::Length(left) };
                    taken
                }
                State::Data(left) => {
                    let (taken, left) = self.content(rest, left);
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                    taken
                }
                state => {
                    self.state = self.frame(state, byte)?;
                    1
                }
            };
        }
        Ok(at)
    }

    fn content(&mut self, rest: &[u8], left: u64) -> (usize, u64) {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        self.received += taken as u64;
        (taken, left - taken as u64)
    }

    /// The state after one byte of framing.
    fn frame(&mut self, state: State, byte: u8) -> Result<State, Fault> {
        let next = match (state, byte) {
            (State::Size(size, digits), _) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                return Ok(State::Size(size << 4 | u64::from(digit), digits + 1));
            }
            (State::Size(_, 0), _) => return Err(Fault::Malformed),
            (State::Size(size, _) | State::Extension(size), b'\r') => return self.chunk(size),
            (State::Size(size, _), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Extension(size), _) if byte != b'\n' => State::Extension(size),
            (State::SizeEnd(0), b'\n') => return Ok(State::Trailer),
            (State::SizeEnd(size), b'\n') => return Ok(State::Data(size)),
            (State::DataCr, b'\r') => return Ok(State::DataLf),
            (State::DataLf, b'\n') => return Ok(State::Size(0, 0)),
            (State::Trailer, b'\r') => return Ok(State::LastLf),
            (State::InTrailer, b'\r') => State::TrailerLf,
            (State::Trailer | State::InTrailer, _) if byte != b'\n' => State::InTrailer,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::LastLf, b'\n') => return Ok(State::Over),
            _ => return Err(Fault::Malformed),
        };
        self.framing = self.framing.checked_sub(1).ok_or(Fault::TooLong)?;
        Ok(next)
    }

    /// The size of a chunk is known.
    fn chunk(&self, size: u64) -> Result<State, Fault> {
        match self.received.checked_add(size) {
            Some(sum) if sum <= self.most => Ok(State::SizeEnd(size)),
            _ => Err(Fault::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `input` in pieces of `step`: content received, bytes used.
    fn read(mut body: Body, input: &[u8], step: usize) -> Result<(u64, usize), Fault> {
        let mut used = 0;
        while !body.is_over() && used < input.len() {
            used += body.take(&input[used..input.len().min(used + step)])?;
        }
        assert!(body.is_over() || used == input.len());
        Ok((body.received, used))
    }

    fn chunks(input: &[u8]) -> Result<(u64, usize), Fault> {
        let whole = read(Body::chunked(100), input, usize::MAX / 2);
        assert_eq!(read(Body::chunked(100), input, 1), whole, "byte by byte");
        whole
    }

    #[test]
    fn a_length_is_read_to_its_last_byte_and_no_further() {
        let body = |length| Body::of_length(length, 10);
        assert_eq!(read(body(4).unwrap(), b"Wikipedia", 3), Ok((4, 4)));
        assert!(body(0).unwrap().is_over());
        assert_eq!((body(10).map(|_| ()), body(11)), (Ok(()), Err(Fault::TooLong)));
    }

    #[test]
    fn chunks_are_read_to_the_empty_line() {
        assert_eq!(chunks(b"4\r\nWiki\r\n0\r\n\r\nGET"), Ok((4, 14)));
        assert_eq!(chunks(b"4;a=b\r\nWiki\r\nA \r\n0123456789\r\n000\r\nX: y\r\nZ:\r\n\r\n"), Ok((14, 46)));
        assert_eq!(chunks(b"4\r\nWi").map(|(received, _)| received), Ok(2));
    }

    #[test]
    fn chunks_that_are_not_framed_by_the_book_are_refused() {
        for bad in [
            &b"\r\n"[..],
            b"g\r\n",
            b";a\r\n",
            b"4\nWiki",
            b"4;a\nWiki",
            b"4\r\nWikip",
            b"4\r\nWiki\n",
            b"4\rX",
            b"-1\r\n",
            b"0x4\r\n",
            b"0\r\n\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n\rX",
            b"0000000000000004\r\nWiki",
        ] {
            assert_eq!(chunks(bad), Err(Fault::Malformed), "{:?}", core::str::from_utf8(bad));
        }
    }

    #[test]
    fn content_ends_at_its_limit_and_so_does_framing() {
        let sized = |size: usize| format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size));
        assert!(chunks(sized(100).as_bytes()).is_ok());
        assert_eq!(chunks(sized(101).as_bytes()), Err(Fault::TooLong));
        assert_eq!(chunks(b"fffffffffffffff\r\n"), Err(Fault::TooLong));
        let extension = |len: usize| format!("4;{}\r\nWiki\r\n0\r\n\r\n", "x".repeat(len));
        assert!(chunks(extension(MAX_FRAMING as usize - 1).as_bytes()).is_ok());
        assert_eq!(chunks(extension(MAX_FRAMING as usize).as_bytes()), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_pieces_is_read_alike(
            input in proptest::collection::vec(
                proptest::sample::select(b"0123;\r\n\r\nx".to_vec()), 0..64,
            ),
            step in 1usize..9,
        ) {
            prop_assert_eq!(read(Body::chunked(100), &input, step), read(Body::chunked(100), &input, 1));
        }
    }
}
