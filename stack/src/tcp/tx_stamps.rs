//! Stamps of what a stream sends (SO_TIMESTAMPING): of the last byte of each write that asks for them.
//!
//! ```text
//!   ask_stamps ─> asked: │ byte, kinds │ … in the order of the stream
//!                          ├─ each segment that carries the byte: scheduled, sent (again when it is sent again, as in Linux)
//!                          └─ the acknowledgment that covers it: acknowledged, and no longer asked for
//!                 made:  │ stamp │ … until the owner takes them, and the connection's figures beside those that ask for them
//! ```
//!
//! They stand among what few connections have, and room is made for them when they are asked for: nothing is allocated when
//! packets come and go, and a connection without them looks at nothing but whether it has something rare.

use super::Seq;
use super::connection::{Connection, Context};
use super::figures::Figures;
use crate::limits::{MAX_STAMPS, MAX_STAMPS_ASKED};
use crate::socket::Ready;
use crate::socket::stamps::{Stamp, StampKind, StampKinds};
use crate::time::Instant;
use std::collections::VecDeque;

/// Where the keys of stamps begin to count (SOF_TIMESTAMPING_OPT_ID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampKeys {
    /// There are none.
    None,
    /// At the first byte that is not acknowledged now.
    Unacknowledged,
    /// At the first byte that is written from now on (SOF_TIMESTAMPING_OPT_ID_TCP).
    Written,
}

/// A write that asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Its last byte.
    byte: Seq,
    kinds: StampKinds,
    /// Bytes of the segment that carried it.
    len: u32,
    /// When that left.
    left: Instant,
}

/// A stamp that waits to be taken.
#[derive(Debug, Clone, Copy)]
struct Made {
    kind: StampKind,
    key: u32,
    at: Instant,
    len: u32,
    /// The next figures are beside it.
    has_figures: bool,
}

/// The stamps of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct TxStamps {
    base: Option<Seq>,
    asked: VecDeque<Asked>,
    made: VecDeque<Made>,
    figures: VecDeque<Figures>,
}

impl TxStamps {
    fn make(&mut self, kind: StampKind, asked: Asked, at: Instant, figures: Option<Figures>) {
        if self.made.len() < MAX_STAMPS {
            let key = self.base.map_or(0, |base| asked.byte.since(base));
            let figures = figures.filter(|_| asked.kinds.figures);
            self.made.push_back(Made { kind, key, at, len: asked.len, has_figures: figures.is_some() });
            self.figures.extend(figures);
        }
    }

    /// Those of the bytes that a train carries, from the first on, by their places.
    fn carried(&self, seq: Seq, len: u32) -> core::ops::Range<usize> {
        let first = self.asked.partition_point(|asked| asked.byte.before(seq));
        let behind = self.asked.partition_point(|asked| asked.byte.before(seq + len));
        first..behind
    }
}

impl Connection {
    /// Asks for stamps of the last byte that was written, or of the one `beyond` bytes behind it, or in front of it. One that
    /// left has none, as in Linux.
    pub fn ask_stamps(&mut self, kinds: StampKinds, beyond: i32) {
        let end = self.write_end() + beyond as u32;
        if kinds.is_none() || !end.after(self.sender.nxt().max(self.tx.start)) {
            return;
        }
        let stamps = &mut self.rare().tx_stamps;
        if stamps.made.capacity() == 0 {
            stamps.made.reserve(MAX_STAMPS);
        }
        if kinds.figures && stamps.figures.capacity() == 0 {
            stamps.figures.reserve(MAX_STAMPS);
        }
        if stamps.asked.len() == MAX_STAMPS_ASKED {
            stamps.asked.pop_front();
        }
        let byte = end - 1;
        // Threads that write at the same time may ask in another order than they wrote in.
        let place = stamps.asked.partition_point(|asked| !asked.byte.after(byte));
        stamps.asked.insert(place, Asked { byte, kinds, len: 0, left: Instant::ZERO });
    }

    /// Where keys count from.
    pub(super) fn set_stamp_keys(&mut self, keys: StampKeys) {
        let base = match keys {
            StampKeys::None if self.rare.is_none() => return,
            StampKeys::None => None,
            StampKeys::Unacknowledged => Some(self.sender.una()),
            StampKeys::Written => Some(self.write_end()),
        };
        self.rare().tx_stamps.base = base;
    }

    /// The oldest stamp, which is taken.
    pub fn take_stamp(&mut self) -> Option<Stamp> {
        let stamps = &mut self.rare.as_mut()?.tx_stamps;
        let Made { kind, key, at, len, has_figures } = stamps.made.pop_front()?;
        let figures = if has_figures { stamps.figures.pop_front() } else { None };
        Some(Stamp { kind, key, at, len, figures })
    }

    /// True when a stamp waits to be taken.
    #[inline]
    pub(super) fn has_stamps(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.tx_stamps.made.is_empty())
    }

    /// Segments of `mss` bytes, `len` in all, leave.
    #[inline]
    pub(super) fn stamp_sent(&mut self, cx: &Context<'_>, seq: Seq, len: u32, mss: u32) {
        if self.rare.as_ref().is_some_and(|rare| !rare.tx_stamps.asked.is_empty()) {
            self.stamp_each_sent(cx, seq, len, mss);
        }
    }

    #[cold]
    fn stamp_each_sent(&mut self, cx: &Context<'_>, seq: Seq, len: u32, mss: u32) {
        let Some(rare) = &self.rare else { return };
        let carried = rare.tx_stamps.carried(seq, len);
        let figures = rare.tx_stamps.asked.range(carried.clone()).any(|asked| asked.kinds.figures);
        let figures = figures.then(|| self.figures(cx));
        let Some(rare) = &mut self.rare else { return };
        let stamps = &mut rare.tx_stamps;
        let mut made = false;
        for place in carried {
            let Some(asked) = stamps.asked.get_mut(place) else { break };
            let ahead = asked.byte.since(seq);
            // The last segment may be shorter than the others.
            asked.len = mss.min(len - ahead / mss.max(1) * mss);
            asked.left = cx.now;
            let asked = *asked;
            for kind in asked.kinds.on_leaving() {
                stamps.make(kind, asked, cx.now, figures);
                made = true;
            }
        }
        if made {
            self.news |= Ready::STAMPS;
        }
    }

    /// More of what was sent is acknowledged, by a segment with this TTL or hop limit.
    #[inline]
    pub(super) fn stamp_acknowledged(&mut self, cx: &Context<'_>, ttl: u8) {
        if self.rare.as_ref().is_some_and(|rare| !rare.tx_stamps.asked.is_empty()) {
            self.stamp_each_acknowledged(cx, ttl);
        }
    }

    #[cold]
    fn stamp_each_acknowledged(&mut self, cx: &Context<'_>, ttl: u8) {
        let una = self.sender.una();
        let first = self.rare.as_ref().and_then(|rare| rare.tx_stamps.asked.front());
        let now = first.is_some_and(|asked| asked.byte.before(una)).then(|| self.figures(cx));
        let Some(rare) = &mut self.rare else { return };
        let stamps = &mut rare.tx_stamps;
        while let Some(asked) = stamps.asked.pop_front_if(|asked| asked.byte.before(una)) {
            if asked.kinds.acknowledged {
                let figures = now.map(|now| Figures { left: asked.left, ttl: Some(ttl), ..now });
                stamps.make(StampKind::Acknowledged, asked, cx.now, figures);
                self.news |= Ready::STAMPS;
            }
        }
    }
}
