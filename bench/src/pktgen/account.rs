//! The receiver's books: what of each stream arrived, in which order, how often, and how late.
//!
//! ```text
//!   a sequence number is   newer than all      in order; the numbers skipped are missing for now
//!                          missing so far      reordered (RFC 4737): it is not missing any more
//!                          here already        a duplicate
//!                          behind the window   too old to tell which of the two
//! ```
//! A window of [`WINDOW`] bits a stream remembers which of the last numbers came. Lost is what is still missing at the
//! end; where the sender is the same process, what it sent says also what is missing behind the newest.

use super::latency::Latency;
use super::limits::{MAX_STREAMS, WINDOW};
use super::mark::Mark;

const WORDS: usize = (WINDOW / 64) as usize;

/// What a number was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The newest.
    InOrder,
    /// Late, by so many numbers.
    Reordered(u64),
    /// A second copy.
    Duplicate,
    /// Too far behind to tell.
    TooOld,
}

/// What arrived of one stream.
#[derive(Debug, Clone)]
struct Stream {
    /// The newest number; 32 bits on the wire are continued to 64 here.
    newest: u64,
    /// The least number that was seen.
    oldest: u64,
    seen: bool,
    window: [u64; WORDS],
}

impl Stream {
    const NEW: Stream = Stream { newest: 0, oldest: 0, seen: false, window: [0; WORDS] };

    fn place(&mut self, sequence: u32) -> Place {
        if !self.seen {
            self.seen = true;
            self.newest = u64::from(sequence);
            self.oldest = self.newest;
            self.set(self.newest);
            return Place::InOrder;
        }
        // Serial number arithmetic (RFC 1982): the nearest number to the newest whose low half this is.
        let ahead = sequence.wrapping_sub(self.newest as u32) as i32;
        let Some(number) = self.newest.checked_add_signed(i64::from(ahead)) else { return Place::TooOld };
        if number > self.newest {
            for skipped in self.newest + 1..=number.min(self.newest + WINDOW) {
                self.clear(skipped);
            }
            self.newest = number;
            self.set(number);
            return Place::InOrder;
        }
        let behind = self.newest - number;
        if behind >= WINDOW {
            return Place::TooOld;
        }
        if self.has(number) {
            return Place::Duplicate;
        }
        self.set(number);
        self.oldest = self.oldest.min(number);
        Place::Reordered(behind)
    }

    fn set(&mut self, number: u64) {
        self.window[(number / 64) as usize % WORDS] |= 1 << (number % 64);
    }

    fn clear(&mut self, number: u64) {
        self.window[(number / 64) as usize % WORDS] &= !(1 << (number % 64));
    }

    fn has(&self, number: u64) -> bool {
        self.window[(number / 64) as usize % WORDS] & 1 << (number % 64) != 0
    }
}

/// What one receiving worker saw.
#[derive(Debug)]
pub struct Account {
    streams: Box<[Stream]>,
    /// Marked frames, each once.
    pub unique: u64,
    /// Of those, how many came behind a newer one.
    pub reordered: u64,
    /// The most numbers that one was behind.
    pub farthest: u64,
    /// Further copies.
    pub duplicates: u64,
    /// Behind the window: late or doubled.
    pub too_old: u64,
    /// Marked frames of a stream that is beyond [`MAX_STREAMS`].
    pub strange: u64,
    /// How long they took.
    pub latency: Latency,
}

impl Default for Account {
    fn default() -> Account {
        Account {
            streams: vec![Stream::NEW; MAX_STREAMS].into_boxed_slice(),
            unique: 0,
            reordered: 0,
            farthest: 0,
            duplicates: 0,
            too_old: 0,
            strange: 0,
            latency: Latency::default(),
        }
    }
}

impl Account {
    /// Enters a frame that arrived at `now`.
    #[inline]
    pub fn enter(&mut self, mark: Mark, now: u64) {
        let Some(stream) = self.streams.get_mut(usize::from(mark.stream)) else {
            self.strange += 1;
            return;
        };
        match stream.place(mark.sequence) {
            Place::InOrder => self.unique += 1,
            Place::Reordered(behind) => {
                self.unique += 1;
                self.reordered += 1;
                self.farthest = self.farthest.max(behind);
            }
            Place::Duplicate => {
                self.duplicates += 1;
                return;
            }
            Place::TooOld => {
                self.too_old += 1;
                return;
            }
        }
        self.latency.enter(mark.nanos, now);
    }

    /// Frames that the numbers of the streams say were sent: from the oldest to the newest of each. With several
    /// receivers each knows a part, so their spans are joined: see [`Account::join_spans`].
    pub fn spans(&self) -> impl Iterator<Item = (usize, u64, u64)> {
        let seen = self.streams.iter().enumerate().filter(|(_, stream)| stream.seen);
        seen.map(|(index, stream)| (index, stream.oldest, stream.newest))
    }

    /// Frames that all these receivers together can know to have been sent.
    pub fn join_spans<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> u64 {
        let mut spans: Vec<Option<(u64, u64)>> = vec![None; MAX_STREAMS];
        for account in accounts {
            for (index, oldest, newest) in account.spans() {
                let span = spans[index].get_or_insert((oldest, newest));
                *span = (span.0.min(oldest), span.1.max(newest));
            }
        }
        spans.into_iter().flatten().map(|(oldest, newest)| newest - oldest + 1).sum()
    }

    /// Streams of which anything arrived.
    pub fn streams(&self) -> usize {
        self.spans().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(sequences: &[u32]) -> Account {
        let mut account = Account::default();
        for (at, sequence) in sequences.iter().enumerate() {
            account.enter(Mark { stream: 0, sequence: *sequence, nanos: at as u64 }, at as u64 + 100);
        }
        account
    }

    fn missing(account: &Account) -> u64 {
        Account::join_spans([account]) - account.unique
    }

    #[test]
    fn in_order_nothing_is_missing() {
        let account = account(&[0, 1, 2, 3]);
        assert_eq!((account.unique, account.reordered, account.duplicates, missing(&account)), (4, 0, 0, 0));
    }

    #[test]
    fn a_gap_is_missing_until_it_is_filled_and_filling_it_is_reordering() {
        let early = account(&[0, 1, 4]);
        assert_eq!((early.unique, early.reordered, missing(&early)), (3, 0, 2));
        let late = account(&[0, 1, 4, 2, 3]);
        assert_eq!((late.unique, late.reordered, late.farthest, missing(&late)), (5, 2, 2, 0));
    }

    #[test]
    fn a_second_copy_is_a_duplicate_whether_it_is_the_newest_or_older() {
        let account = account(&[0, 1, 1, 2, 0]);
        assert_eq!((account.unique, account.duplicates, account.reordered), (3, 2, 0));
        assert_eq!(account.latency.count(), 3, "copies have no latency of their own");
    }

    #[test]
    fn the_first_to_arrive_need_not_be_the_first_sent() {
        let account = account(&[5, 3, 6]);
        assert_eq!((account.unique, account.reordered, missing(&account)), (3, 1, 1), "4 is missing");
    }

    #[test]
    fn within_the_window_a_late_one_is_known_and_behind_it_nobody_can_tell() {
        let window = WINDOW as u32;
        let within = account(&[0, window, 1]);
        assert_eq!((within.unique, within.reordered, within.too_old), (3, 1, 0));
        let behind = account(&[1, window + 1, 1]);
        assert_eq!((behind.unique, behind.duplicates, behind.too_old), (2, 0, 1));
        assert_eq!(account(&[1, window, 1]).duplicates, 1, "the last that is known");
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_all_that_was_seen() {
        let jump = 3 * WINDOW as u32;
        let account = account(&[0, 1, jump, jump - 1]);
        assert_eq!((account.unique, account.reordered, account.duplicates), (4, 1, 0));
    }

    #[test]
    fn numbers_go_on_past_thirty_two_bits() {
        let account = account(&[u32::MAX - 1, u32::MAX, 1, 0, 2]);
        assert_eq!((account.unique, account.reordered, missing(&account)), (5, 1, 0));
    }

    #[test]
    fn streams_are_counted_apart_and_one_beyond_the_limit_is_strange() {
        let mut account = Account::default();
        for stream in [0, 1, MAX_STREAMS as u16 - 1, MAX_STREAMS as u16] {
            account.enter(Mark { stream, sequence: 9, nanos: 0 }, 1);
        }
        assert_eq!((account.unique, account.streams(), account.strange), (3, 3, 1));
    }

    #[test]
    fn two_receivers_of_one_stream_know_together_what_was_sent() {
        let (even, odd) = (account(&[0, 2, 4]), account(&[1, 3, 7]));
        assert_eq!(Account::join_spans([&even, &odd]), 8);
        assert_eq!(Account::join_spans([&even, &odd]) - even.unique - odd.unique, 2, "5 and 6");
    }

    #[test]
    fn random_losses_copies_and_swaps_are_counted_as_a_naive_reader_counts_them() {
        let mut random = crate::random::Random::new(11);
        let mut arrivals: Vec<u32> = Vec::new();
        for sequence in 0..20_000 {
            match random.below(100) {
                0..5 => {}
                5..8 => arrivals.extend([sequence, sequence]),
                _ => arrivals.push(sequence),
            }
            if random.below(10) == 0 && arrivals.len() > 50 {
                let (last, back) = (arrivals.len() - 1, random.below(40));
                arrivals.swap(last, last - back);
            }
        }
        let account = account(&arrivals);
        let mut seen = std::collections::HashSet::new();
        let (mut newest, mut reordered) = (None, 0);
        for sequence in &arrivals {
            if seen.insert(*sequence) {
                reordered += u64::from(newest.is_some_and(|newest| sequence < &newest));
                newest = newest.max(Some(*sequence));
            }
        }
        assert_eq!(account.unique, seen.len() as u64);
        assert_eq!(account.duplicates, (arrivals.len() - seen.len()) as u64);
        assert_eq!(account.reordered, reordered);
        assert_eq!(account.too_old, 0);
    }
}
