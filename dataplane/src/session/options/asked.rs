//! What the rules of an option work on: the socket's state, what is known of it, and the answer's bytes.

use super::effect::{self, Effect};
use super::kind::{Facts, Kinds};
use super::state::{Field, State};
use super::table::IP;
use crate::session::Errno;
use crate::session::links::Links;
use flumen_ipc::limits::CALL_DATA;

/// An option is asked for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What was set.
    pub state: &'a mut State,
    /// What else there is to know.
    pub facts: &'a Facts,
    /// The ports under the names that programs know.
    pub links: &'a Links,
}

impl Asked<'_> {
    /// A number.
    pub fn value(&self, field: Field) -> i32 {
        self.state.get(field, self.facts.kinds)
    }

    /// Sets a number, and says what follows from it.
    pub fn store(&mut self, field: Field, value: i32) -> Effect {
        self.state.set(field, value);
        if field == Field::Device {
            self.state.set_device(self.links.by_number(value as u32));
        }
        effect::of(field, self)
    }

    /// True for a kind of socket among these.
    pub fn is(&self, kinds: Kinds) -> bool {
        self.facts.kinds.meets(kinds)
    }
}

/// A number in the first four bytes; `None` when there are fewer.
pub fn int(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

/// The number that setsockopt was given, as the levels read it.
pub fn number(level: i32, bytes: &[u8]) -> i32 {
    match (int(bytes), bytes) {
        (Some(value), _) => value,
        // IPPROTO_IP takes a byte for a number (ip(7)); other levels look at the length first.
        (None, [first, ..]) if level == IP => i32::from(*first),
        _ => 0,
    }
}

/// The answer to getsockopt, while it is written.
#[derive(Debug)]
pub struct Answer<'a> {
    out: &'a mut [u8; CALL_DATA],
    len: usize,
    /// Bytes that the caller takes.
    pub longest: usize,
    /// What the caller passed in.
    pub given: &'a [u8],
}

impl<'a> Answer<'a> {
    /// An empty answer.
    pub fn new(out: &'a mut [u8; CALL_DATA], longest: usize, given: &'a [u8]) -> Self {
        Answer { out, len: 0, longest, given }
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A value, cut to what the caller takes.
    pub fn bytes(&mut self, value: &[u8]) {
        let len = value.len().min(self.longest).min(CALL_DATA);
        self.out[..len].copy_from_slice(&value[..len]);
        self.len = len;
    }

    /// A number, as `level` answers it: IPPROTO_IP gives a byte to who takes less than a number.
    pub fn int(&mut self, level: i32, value: i32) {
        match u8::try_from(value) {
            Ok(byte) if level == IP && (1..4).contains(&self.longest) => self.bytes(&[byte]),
            _ => self.bytes(&value.to_ne_bytes()),
        }
    }

    /// A value that is not cut.
    ///
    /// # Errors
    /// EINVAL when the caller takes less.
    pub fn whole(&mut self, value: &[u8]) -> Result<(), Errno> {
        if self.longest < value.len() {
            return Err(Errno::INVAL);
        }
        self.bytes(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::SOCKET;
    use super::*;

    #[test]
    fn numbers_are_read_and_cut_as_their_level_does() {
        assert_eq!((number(IP, &[7]), number(SOCKET, &[7]), number(IP, &[])), (7, 0, 0));
        assert_eq!(number(SOCKET, &[1, 0, 0, 0, 9]), 1);
        let mut out = [0; CALL_DATA];
        let mut answer = |level, longest, value| {
            let mut answer = Answer::new(&mut out, longest, &[]);
            answer.int(level, value);
            answer.len()
        };
        assert_eq!(
            (answer(SOCKET, 2, 5), answer(IP, 2, 5), answer(IP, 2, 500), answer(IP, 0, 5)),
            (2, 1, 2, 0)
        );
    }

    #[test]
    fn a_value_that_must_be_whole_is_not_cut() {
        let mut out = [0; CALL_DATA];
        assert_eq!(Answer::new(&mut out, 7, &[]).whole(&[1; 8]), Err(Errno::INVAL));
        assert_eq!(Answer::new(&mut out, 9, &[]).whole(&[1; 8]), Ok(()));
    }
}
