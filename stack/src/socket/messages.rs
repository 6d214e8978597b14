//! Queues of datagrams for one socket, in blocks of the worker's pool.
//!
//! ```text
//!   ring:  | length, head | payload, beside | length, head | payload … |     placed, not yet committed
//!          ^ oldest                                                     ^ a datagram whose checksum is being made
//! ```
//!
//! A *head* is a fixed record about the datagram; it says how much of what is behind it came *beside* the payload (IP
//! options) and is none of it. A datagram is first *placed* behind the end, which changes
//! nothing that the reader sees, and then *committed* or forgotten: so the bytes can be copied and summed in
//! one pass, and what turns out to be damaged was never there.
//!
//! What a socket may hold is bounded as SO_RCVBUF bounds it in Linux: each datagram costs its bytes and
//! [`OVERHEAD`], and one that would bring the sum above the limit is dropped and counted, except that an empty
//! queue takes any.
//!
//! Invariant: `charged` is the sum over the queue of payload and overhead; with an empty queue it is 0.

use super::blocks::BlockPool;
use super::ring::ByteRing;
use crate::checksum::Sum;
use crate::limits::{MIN_RECEIVE_LIMIT, RECEIVE_LIMIT};
use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The record in front of a datagram.
pub trait Head: FromBytes + IntoBytes + Immutable + Copy {
    /// Bytes behind the payload that came beside it.
    fn beside(&self) -> usize {
        0
    }
}

/// What each datagram costs beside its bytes, so that limits mean what programs expect of Linux: the bookkeeping
/// of a buffer there (`SKB_TRUESIZE(0)`: 256 and 320 bytes on 64-bit machines). Ours is smaller.
pub const OVERHEAD: usize = 576;

/// Bytes of the length in front of each head.
const LENGTH: usize = 4;

/// Why a datagram was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The socket holds as much as it may.
    Limit,
    /// The worker's block pool is empty.
    Pool,
}

/// A queue of datagrams, each with a head of type `H`.
#[derive(Debug)]
pub struct Messages<H> {
    ring: ByteRing,
    charged: usize,
    limit: usize,
    count: usize,
    drops: u32,
    head: PhantomData<H>,
}

/// A datagram that is placed and not yet committed.
#[derive(Debug)]
pub struct Placed {
    payload: usize,
}

impl Placed {
    /// Bytes of payload that are placed.
    pub fn len(&self) -> usize {
        self.payload
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.payload == 0
    }

    /// Forgets what was placed beyond `len` bytes.
    pub fn cut(&mut self, len: usize) {
        self.payload = self.payload.min(len);
    }
}

impl<H: Head> Default for Messages<H> {
    fn default() -> Self {
        Messages::new()
    }
}

impl<H: Head> Messages<H> {
    const HEAD: usize = LENGTH + size_of::<H>();

    /// An empty queue, which holds no block, with Linux's default limit.
    pub fn new() -> Self {
        Messages {
            ring: ByteRing::new(),
            charged: 0,
            limit: RECEIVE_LIMIT,
            count: 0,
            drops: 0,
            head: PhantomData,
        }
    }

    /// Sets the limit in bytes, within what is allowed. What is in the queue stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.clamp(MIN_RECEIVE_LIMIT, crate::limits::MAX_RECEIVE_LIMIT);
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Datagrams in the queue.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is charged for the datagrams in the queue.
    pub fn charged(&self) -> usize {
        self.charged
    }

    /// Datagrams that found no room.
    pub fn drops(&self) -> u32 {
        self.drops
    }

    /// Counts one that found no room.
    pub fn count_drop(&mut self) {
        self.drops = self.drops.wrapping_add(1);
    }

    /// Whether a datagram of `payload` bytes fits the limit; one that does not is counted.
    pub fn admit(&mut self, payload: usize) -> Result<(), Full> {
        if self.charged > 0 && self.charged + payload + OVERHEAD > self.limit {
            self.count_drop();
            return Err(Full::Limit);
        }
        Ok(())
    }

    /// Begins to place a datagram behind the end of the queue; what was placed before is forgotten.
    pub fn begin(&mut self) -> Placed {
        Placed { payload: 0 }
    }

    /// Places more payload, and gives its sum. `Err`: the pool is empty; the datagram is to be forgotten.
    pub fn place(&mut self, pool: &mut BlockPool, placed: &mut Placed, bytes: &[u8]) -> Result<Sum, Full> {
        let offset = Self::HEAD + placed.payload;
        let (count, sum) = self.ring.write_at_summed(pool, offset, bytes);
        if count < bytes.len() {
            return Err(Full::Pool);
        }
        // The piece begins where it begins: an odd number of bytes in front turns its words around.
        let sum = if placed.payload.is_multiple_of(2) { sum } else { sum.swapped() };
        placed.payload += count;
        Ok(sum)
    }

    /// The datagram that was placed is good: it is now the last of the queue.
    pub fn commit(&mut self, pool: &mut BlockPool, placed: Placed, head: &H) -> Result<(), Full> {
        let length = (placed.payload as u32).to_ne_bytes();
        let bytes = head.as_bytes();
        let fits = self.ring.write_at(pool, 0, &length) == LENGTH
            && self.ring.write_at(pool, LENGTH, bytes) == bytes.len();
        if !fits {
            self.count_drop();
            return Err(Full::Pool);
        }
        self.ring.advance(Self::HEAD + placed.payload);
        self.charged += placed.payload + OVERHEAD;
        self.count += 1;
        Ok(())
    }

    /// Forgets what was placed beyond `payload` bytes of a datagram, so that its blocks go back to the pool.
    pub fn forget(&mut self, pool: &mut BlockPool, payload: usize) {
        self.ring.trim(pool, if payload == 0 { 0 } else { Self::HEAD + payload });
    }

    /// Places and commits a datagram whose bytes are known to be good.
    pub fn push<'a>(
        &mut self,
        pool: &mut BlockPool,
        head: &H,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<(), Full> {
        self.admit(pieces.clone().map(<[u8]>::len).sum())?;
        let mut placed = self.begin();
        for piece in pieces {
            if let Err(full) = self.place(pool, &mut placed, piece) {
                self.forget(pool, 0);
                self.count_drop();
                return Err(full);
            }
        }
        self.commit(pool, placed, head)
    }

    /// The oldest datagram: its head, how many bytes were copied to `out`, and how many it has. It stays.
    pub fn peek(&self, pool: &BlockPool, out: &mut [u8]) -> Option<(H, usize, usize)> {
        let mut length = [0; LENGTH];
        if self.count == 0 || self.ring.peek(pool, 0, &mut length) < LENGTH {
            return None;
        }
        let mut head = H::new_zeroed();
        if self.ring.peek(pool, LENGTH, head.as_mut_bytes()) < size_of::<H>() {
            return None;
        }
        let full = (u32::from_ne_bytes(length) as usize).saturating_sub(head.beside());
        let wanted = out.len().min(full);
        let copied = self.ring.peek(pool, Self::HEAD, &mut out[..wanted]);
        Some((head, copied, full))
    }

    /// Takes the oldest datagram; what does not fit `out` is lost.
    pub fn pop(&mut self, pool: &mut BlockPool, out: &mut [u8]) -> Option<(H, usize, usize)> {
        let found = self.peek(pool, out)?;
        let whole = found.2 + found.0.beside();
        self.ring.consume(pool, Self::HEAD + whole);
        self.charged -= whole + OVERHEAD;
        self.count -= 1;
        if self.count == 0 {
            self.ring.clear(pool);
        }
        Some(found)
    }

    /// What came beside the oldest datagram, whose payload has `full` bytes: how many bytes of it were copied to `out`.
    pub fn peek_beside(&self, pool: &BlockPool, full: usize, out: &mut [u8]) -> usize {
        self.ring.peek(pool, Self::HEAD + full, out)
    }

    /// Bytes of the oldest datagram (FIONREAD); 0 when there is none.
    pub fn next_len(&self, pool: &BlockPool) -> usize {
        self.peek(pool, &mut []).map_or(0, |(_, _, full)| full)
    }

    /// Drops everything and gives the blocks back.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        self.ring.clear(pool);
        (self.charged, self.count) = (0, 0);
    }
}
