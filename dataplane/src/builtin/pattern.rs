//! The bytes that services make up: the ring of printable characters of RFC 864.
//!
//! ```text
//!    !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
//!   !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
//!   …   72 characters a line, each line begins one character later, 95 lines, and over again
//! ```
//!
//! The stream repeats after 95 lines, so a few periods in a row hold a long contiguous piece for any place.

/// Characters of a line, without its end.
pub const LINE: usize = 72;
/// Printable characters of ASCII, from the space on: as many different lines.
const PRINTABLE: usize = 95;
/// Bytes of a line with its end.
const LINE_WITH_END: usize = LINE + 2;
/// Bytes after which everything repeats.
pub const PERIOD: usize = PRINTABLE * LINE_WITH_END;
/// Periods that are kept: pieces are then at least 48 KiB, and a copy of one costs far more than asking for it.
const PERIODS: usize = 8;

/// The endless stream.
#[derive(Debug)]
pub struct Pattern {
    bytes: Box<[u8]>,
}

impl Default for Pattern {
    fn default() -> Self {
        let character = |index: usize| b' ' + (index % PRINTABLE) as u8;
        let line = |number: usize| (0..LINE).map(move |column| character(number + column)).chain(*b"\r\n");
        Pattern { bytes: (0..PERIODS * PRINTABLE).flat_map(line).collect() }
    }
}

impl Pattern {
    /// A long piece of the stream from `at` on; never empty.
    #[inline]
    pub fn from(&self, at: u64) -> &[u8] {
        &self.bytes[(at % PERIOD as u64) as usize..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_rfc_864_and_each_begins_one_character_later() {
        let pattern = Pattern::default();
        let text = core::str::from_utf8(pattern.from(0)).unwrap();
        let lines: Vec<&str> = text.split("\r\n").take(96).collect();
        assert_eq!(lines[0], (' '..='g').collect::<String>());
        assert_eq!(lines[1], ('!'..='h').collect::<String>());
        assert!(lines[94].starts_with("~ !\"#"));
        assert_eq!(lines[95], lines[0]);
        assert!(lines.iter().all(|line| line.len() == LINE));
    }

    #[test]
    fn every_place_gives_what_the_stream_has_there() {
        let pattern = Pattern::default();
        let period = &pattern.from(0)[..PERIOD];
        for at in [0, 1, 73, PERIOD - 1, PERIOD, 10 * PERIOD + 5] {
            let piece = pattern.from(at as u64);
            assert!(piece.len() > 48 << 10);
            assert!(piece.iter().enumerate().all(|(i, byte)| *byte == period[(at + i) % PERIOD]), "{at}");
        }
    }
}
