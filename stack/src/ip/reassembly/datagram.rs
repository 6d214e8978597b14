//! What is known of one datagram that arrives in pieces, and the judgement over one more piece.
//!
//! A bit for each eight bytes says what is here: offsets are multiples of eight, and so is the length of every
//! fragment but the last. Whether a piece is new, a repetition or an overlap is then a count over its bits:
//! constant work in whatever order pieces come, which is what floods of fragments aimed at lists could not be
//! said to cost.
//!
//! Overlaps are refused in both families (RFC 5722, RFC 8200 section 4.5): nobody sends them but to have two
//! machines read one datagram in two ways. A piece that repeats what is here, byte for byte, is what networks
//! do, and is passed over.

use crate::limits::REASSEMBLY_FRAGMENTS;

/// Bits for the units of eight bytes of the longest datagram.
pub(super) type Units = [u64; 128];

/// Where a fragment's payload belongs in its datagram. `offset` is a multiple of 8 below 65,536; `len` is above 0,
/// a multiple of 8 when `more`, and offset + len at most 65,535: the readers of headers see to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) len: usize,
    /// True when more follows behind it.
    pub(super) more: bool,
}

impl Place {
    const fn end(&self) -> usize {
        self.offset + self.len
    }
}

/// What becomes of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is new.
    Take,
    /// All of it is here already: a repetition if the bytes are the same, an overlap if not.
    Compare,
    /// It overlaps, or says something else about the end than another did: the datagram is given up.
    Contradicts,
    /// One fragment too many: the datagram is given up.
    TooMany,
}

/// The pieces that came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pieces {
    /// Length of the whole, once the last fragment came.
    total: Option<u32>,
    /// The highest end of a piece.
    end: u32,
    /// Units that are here.
    units: u32,
    /// Fragments that were taken.
    fragments: u32,
    /// Their congestion marks: a bit for each of the four values (RFC 3168 section 5).
    marks: u8,
}

impl Pieces {
    /// Judges one more piece.
    pub(super) fn judge(&self, units: &Units, place: &Place) -> Judgement {
        let (end, total) = (place.end() as u32, self.total);
        let other_end = if place.more {
            total.is_some_and(|total| end > total)
        } else {
            total.is_some_and(|total| end != total) || end < self.end
        };
        if other_end {
            return Judgement::Contradicts;
        }
        let wanted = span(place);
        match masks(place).map(|(word, mask)| (units[word] & mask).count_ones()).sum::<u32>() {
            0 if self.fragments as usize == REASSEMBLY_FRAGMENTS => Judgement::TooMany,
            0 => Judgement::Take,
            here if here == wanted => Judgement::Compare,
            _ => Judgement::Contradicts,
        }
    }

    /// Notes a piece that was judged to be new; `mark` is its congestion field, 0 to 3.
    pub(super) fn take(&mut self, units: &mut Units, place: &Place, mark: u8) {
        for (word, bits) in masks(place) {
            units[word] |= bits;
        }
        self.units += span(place);
        self.fragments += 1;
        self.end = self.end.max(place.end() as u32);
        self.marks |= 1 << (mark & 3);
        if !place.more {
            self.total = Some(place.end() as u32);
        }
    }

    /// The length of the whole, when nothing is missing.
    pub(super) fn complete(&self) -> Option<usize> {
        self.total.filter(|total| self.units == total.div_ceil(8)).map(|total| total as usize)
    }

    /// Fragments that were taken.
    pub(super) const fn fragments(&self) -> u32 {
        self.fragments
    }

    /// Bytes that are here.
    pub(super) const fn bytes(&self) -> u32 {
        // Of the last unit the last fragment may have less than eight.
        let padding = match self.total {
            Some(total) => total.next_multiple_of(8) - total,
            None => 0,
        };
        self.units * 8 - padding
    }

    /// The length of the whole, once the last fragment came.
    pub(super) const fn total(&self) -> Option<u32> {
        self.total
    }

    /// The congestion field of the whole (RFC 3168 section 5.3): `Ok(true)` when it was marked on the way and the
    /// whole must say so, an error when packets of senders that do and do not speak ECN were mixed.
    pub(super) const fn congestion(&self) -> Result<bool, ()> {
        const NOT_ECT: u8 = 1;
        const CE: u8 = 1 << 3;
        if self.marks & NOT_ECT != 0 && self.marks != NOT_ECT {
            return Err(());
        }
        Ok(self.marks & CE != 0)
    }
}

/// Units of a piece.
fn span(place: &Place) -> u32 {
    (place.end().div_ceil(8) - place.offset / 8) as u32
}

/// The words that a piece has bits in, and those bits.
fn masks(place: &Place) -> impl Iterator<Item = (usize, u64)> + use<> {
    let (from, to) = (place.offset / 8, place.end().div_ceil(8));
    (from / 64..to.div_ceil(64).min(128)).map(move |word| {
        let low = from.saturating_sub(word * 64).min(63);
        let high = (to - word * 64).min(64);
        let below = if high == 64 { u64::MAX } else { (1 << high) - 1 };
        (word, below & (u64::MAX << low))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_allowed_fragment_is_taken_and_one_more_gives_the_datagram_up() {
        let (mut pieces, mut units) = (Pieces::default(), [0; 128]);
        for number in 0..REASSEMBLY_FRAGMENTS {
            let place = Place { offset: number * 8, len: 8, more: true };
            assert_eq!(pieces.judge(&units, &place), Judgement::Take);
            pieces.take(&mut units, &place, 0);
        }
        let next = Place { offset: REASSEMBLY_FRAGMENTS * 8, len: 8, more: true };
        assert_eq!(pieces.judge(&units, &next), Judgement::TooMany);
        let again = Place { offset: 0, len: 8, more: true };
        assert_eq!(pieces.judge(&units, &again), Judgement::Compare, "a repetition costs nothing");
    }

    #[test]
    fn congestion_marks_survive_and_mixed_ones_are_refused() {
        let whole = |marks: &[u8]| {
            let (mut pieces, mut units) = (Pieces::default(), [0; 128]);
            for (number, mark) in marks.iter().enumerate() {
                pieces.take(&mut units, &Place { offset: number * 8, len: 8, more: true }, *mark);
            }
            pieces.congestion()
        };
        assert_eq!(whole(&[0, 0]), Ok(false));
        assert_eq!(whole(&[2, 1]), Ok(false));
        assert_eq!(whole(&[2, 3, 1]), Ok(true));
        assert_eq!(whole(&[0, 3]), Err(()));
        assert_eq!(whole(&[0, 2]), Err(()));
    }

    /// A byte for each byte, and nothing clever.
    #[derive(Default)]
    struct Naive {
        here: Vec<bool>,
        total: Option<usize>,
    }

    impl Naive {
        fn judge(&self, place: &Place) -> Judgement {
            // What the last unit is filled up with belongs to it.
            let end = place.end().next_multiple_of(8);
            let highest = self.here.iter().rposition(|here| *here).map_or(0, |last| last + 1);
            let disagrees = match (self.total, place.more) {
                (Some(total), true) => place.end() > total,
                (Some(total), false) => place.end() != total,
                (None, true) => false,
                (None, false) => place.end() < highest,
            };
            let here = (place.offset..end).filter(|at| self.here.get(*at) == Some(&true)).count();
            match here {
                _ if disagrees => Judgement::Contradicts,
                0 => Judgement::Take,
                _ if here == end - place.offset => Judgement::Compare,
                _ => Judgement::Contradicts,
            }
        }

        fn take(&mut self, place: &Place) {
            self.here.resize(self.here.len().max(place.end().next_multiple_of(8)), false);
            self.here[place.offset..place.end().next_multiple_of(8)].fill(true);
            self.total = if place.more { self.total } else { Some(place.end()) };
        }

        fn complete(&self) -> Option<usize> {
            self.total.filter(|_| self.here.iter().all(|here| *here))
        }
    }

    fn place() -> impl Strategy<Value = Place> {
        let small = (0usize..40, 1usize..200, any::<bool>());
        let large = (0usize..8192, 1usize..9000, any::<bool>());
        prop_oneof![4 => small, 1 => large].prop_filter_map("within a datagram", |(unit, len, more)| {
            let len = if more { len.next_multiple_of(8) } else { len };
            (unit * 8 + len <= 65_535).then_some(Place { offset: unit * 8, len, more })
        })
    }

    proptest! {
        #[test]
        fn the_bits_say_what_a_byte_for_each_byte_says(places in prop::collection::vec(place(), 1..40)) {
            let (mut pieces, mut units, mut naive) = (Pieces::default(), [0; 128], Naive::default());
            for place in places {
                let judgement = pieces.judge(&units, &place);
                prop_assert_eq!(judgement, naive.judge(&place), "{:?}", place);
                if judgement == Judgement::Take {
                    pieces.take(&mut units, &place, 0);
                    naive.take(&place);
                }
                prop_assert_eq!(pieces.complete(), naive.complete());
            }
        }
    }
}
