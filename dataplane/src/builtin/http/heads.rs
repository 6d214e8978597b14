//! Room for heads that come in pieces. Most come in one, are read where they lie, and need none.
//!
//! A piece is copied behind the ones before it and only the new bytes are searched for the end, so a head that comes byte
//! by byte costs no more than one that comes at once. The memory is reserved at start and touched when used. When
//! all rooms are taken, by a thousand clients that are slow or pretend to be, the next one is asked to come back.

use super::request::MAX_HEAD;

/// A room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadId(u32);

/// All rooms of one service on one worker.
#[derive(Debug)]
pub struct Heads {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    free: Vec<u32>,
}

/// The most rooms of one service on one worker: 16 MiB.
pub const MAX_HEADS: usize = 1024;

impl Heads {
    /// Rooms for heads of so many connections, and at most [`MAX_HEADS`].
    pub fn new(connections: usize) -> Heads {
        let rooms = connections.min(MAX_HEADS);
        Heads {
            bytes: vec![0; rooms * MAX_HEAD],
            lengths: vec![0; rooms],
            free: (0..rooms as u32).rev().collect(), // the lowest first: the fewest pages are touched
        }
    }

    /// Rooms that are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// An empty room.
    pub fn take(&mut self) -> Option<HeadId> {
        let room = self.free.pop()?;
        self.lengths[room as usize] = 0;
        Some(HeadId(room))
    }

    /// Gives a room back.
    pub fn release(&mut self, id: HeadId) {
        self.free.push(id.0);
    }

    /// Adds what came, up to the end of the head, or of the room. How many bytes those were, and whether that was
    /// one of the two ends.
    pub fn append(&mut self, id: HeadId, piece: &[u8]) -> (usize, bool) {
        let room = id.0 as usize;
        let before = self.lengths[room];
        let head = &mut self.bytes[room * MAX_HEAD..(room + 1) * MAX_HEAD];
        let fits = piece.len().min(MAX_HEAD - before);
        head[before..before + fits].copy_from_slice(&piece[..fits]);
        // The end may have begun before this piece: it has three bytes at most.
        let from = before.saturating_sub(2);
        let end = end_of_head(&head[from..before + fits]).map(|end| from + end);
        let after = end.unwrap_or(before + fits);
        self.lengths[room] = after;
        (after - before, end.is_some() || after == MAX_HEAD)
    }

    /// What is in a room.
    pub fn bytes(&self, id: HeadId) -> &[u8] {
        let room = id.0 as usize;
        &self.bytes[room * MAX_HEAD..][..self.lengths[room]]
    }
}

/// Where an empty line ends, if one does: behind a line's LF, with or without CR.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        at += found + 1;
        match &bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_is_found_wherever_the_pieces_are_cut() {
        for head in ["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\nA: b\n\n", "x\r\n\n"] {
            for first in 0..=head.len() {
                for second in first..=head.len() {
                    let mut heads = Heads::new(1);
                    let id = heads.take().unwrap();
                    let text = format!("{head}more");
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let mut used = 0;
                    for (number, piece) in pieces.into_iter().enumerate() {
                        let (taken, done) = heads.append(id, piece.as_bytes());
                        used += taken;
                        if done {
                            break;
                        }
                        assert!(number < 2 && taken == piece.len());
                    }
                    assert_eq!((used, heads.bytes(id)), (head.len(), head.as_bytes()), "{first} {second}");
                }
            }
        }
    }

    #[test]
    fn a_room_is_as_long_as_a_head_may_be() {
        let mut heads = Heads::new(2);
        let (first, second) = (heads.take().unwrap(), heads.take().unwrap());
        assert_eq!((heads.take(), heads.free()), (None, 0));
        assert_eq!(heads.append(first, &vec![b'a'; MAX_HEAD - 1]), (MAX_HEAD - 1, false));
        assert_eq!(heads.append(first, b"bc"), (1, true));
        assert!(heads.bytes(first).ends_with(b"ab") && heads.bytes(second).is_empty());
        heads.release(first);
        let again = heads.take().unwrap();
        assert!(again == first && heads.bytes(again).is_empty());
    }

    proptest! {
        #[test]
        fn an_end_is_where_a_line_follows_an_empty_one(text in "[ab\r\n]{0,12}") {
            let naive = (1..=text.len()).find(|end| {
                let before = &text[..*end];
                before.ends_with("\n\n") || before.ends_with("\n\r\n")
            });
            prop_assert_eq!(end_of_head(text.as_bytes()), naive);
        }
    }
}
