//! TIME-WAIT (RFC 9293 sections 3.6.1 and 3.10.7.4): what is left of a connection for a minute, to answer the
//! peer's last FIN again, and to keep old segments out of the next connection with the same names.
//!
//! A record is 64 bytes; its connection is gone. All records live equally long from their last event, so they
//! stand in one list in the order of their ends, and there is no timer for each:
//!
//! ```text
//!   first to end ─> [ ]──[ ]──[ ]──[ ] <─ last event          on an event: out of its place, to the end
//! ```
//! The 4-tuple table of the worker leads to a record by its place; whoever inserts or removes here does so
//! there.
//!
//! What comes in is judged as Linux does:
//!
//! | segment                                            | answer                                             |
//! |----------------------------------------------------|----------------------------------------------------|
//! | bare, exactly in order                             | none; the minute begins again                      |
//! | RST exactly in order                               | ends it, unless RFC 1337 is asked for              |
//! | SYN with a newer number or timestamp               | a new connection may begin (RFC 6191, RFC 9293)    |
//! | any other but RST (FIN again, data, old SYN)       | an ACK, at most one in 500 ms if it carries no data |
//!
//! A record of a signed session keeps the session's keys: its answers are signed, and what comes must be (RFC 5925
//! section 7).
//!
//! Invariants: a record is in the list or in the free list; there are never more than the bound: then the one
//! that has waited longest gives way. Keys belong to a record that lives.

use super::Seq;
use super::challenge::CONNECTION_INTERVAL;
use super::isn::timestamp_clock;
use super::negotiated::TimeWaitContent;
use super::options::{self, Emitted};
use super::segment::Segment;
use super::signature::ConnectionKeys;
use super::tuple::Tuple;
use crate::Instant;
use crate::limits::SIGNED_TIME_WAITS;
use crate::socket::bound::BindId;
use crate::wire::tcp::flag;
use core::time::Duration;

/// How long a record lives: Linux's `TCP_TIMEWAIT_LEN` (RFC 9293 wants two segment lifetimes of two minutes;
/// nobody waits that long).
pub const TIME_WAIT: Duration = Duration::from_secs(60);

/// How far ahead of the old connection's numbers a new one begins (RFC 9293 section 3.10.7.4: it must be
/// larger than the last one used): beyond an unscaled window, as in Linux.
const REUSE_DISTANCE: u32 = 65_535 + 2;

/// After how long an active open may take the names of a record over: the timestamp clocks of both ends have
/// moved on for certain (RFC 6191 section 2; Linux: `tcp_tw_reuse`).
const REUSE_DELAY_MS: u32 = 1000;

const NONE: u32 = u32::MAX;

const TIMESTAMPS: u8 = 1;
const ANSWERED: u8 = 1 << 1;
const FREE: u8 = 1 << 2;
const SIGNED: u8 = 1 << 3;

/// One record. Times are milliseconds of the stack's clock, wrapping.
#[derive(Debug, Clone, Copy)]
struct Record {
    tuple: Tuple,
    snd_nxt: Seq,
    rcv_nxt: Seq,
    ts_recent: u32,
    ts_offset: u32,
    /// The last event; the record ends [`TIME_WAIT`] later.
    since: u32,
    /// The last answer to a segment out of window, if `ANSWERED`.
    answered: u32,
    /// The window field of our answers.
    window: u16,
    flags: u8,
    tos: u8,
}

/// Neighbours in the list; apart from the records, so that these are one cache line each.
#[derive(Debug, Clone, Copy)]
struct Link {
    earlier: u32,
    later: u32,
}

/// How the table behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWaitSettings {
    /// Resets do not end TIME-WAIT (RFC 1337). Off in Linux.
    pub ignore_resets: bool,
    /// Active opens may take over the names of a record with timestamps.
    pub reuse: bool,
    /// Least time between two answers of one record (`tcp_invalid_ratelimit`).
    pub answer_interval: Duration,
}

impl Default for TimeWaitSettings {
    fn default() -> Self {
        TimeWaitSettings { ignore_resets: false, reuse: true, answer_interval: CONNECTION_INTERVAL }
    }
}

/// An ACK that is sent for a connection which is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWaitAck {
    /// Its sequence number.
    pub seq: Seq,
    /// Its acknowledgment number.
    pub ack: Seq,
    /// The window field.
    pub window: u16,
    /// Timestamps, if they were agreed, and room for the signature.
    pub options: Emitted,
    /// Type of service.
    pub tos: u8,
    /// Where in the options the bytes of the signature begin ([`TimeWaits::keys`] makes it); `None`: it has none.
    pub signature: Option<u8>,
}

/// Where a new connection begins that takes over the names of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reused {
    /// The number to begin with.
    pub iss: Seq,
    /// The peer's latest timestamp in the old connection (an active open takes it as TS.Recent).
    pub ts_recent: Option<u32>,
    /// The offset of our timestamps, which must go on growing.
    pub ts_offset: u32,
}

/// What a segment for a record calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum TimeWaitVerdict {
    /// Nothing: the segment is dropped.
    Drop,
    /// The record is gone: drop the segment, and take the place out of the 4-tuple table.
    Ended,
    /// Send this.
    Ack(TimeWaitAck),
    /// A new SYN. If somebody listens: [`TimeWaits::remove`] this record and give the SYN to the listener
    /// with this number; else leave the record and answer with a reset.
    New(Reused),
}

/// A record that had to give way: take it out of the 4-tuple table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// Its place, which is now another's.
    pub place: u32,
    /// Its names.
    pub tuple: Tuple,
}

/// The records of one worker.
#[derive(Debug)]
pub struct TimeWaits {
    records: Vec<Record>,
    links: Vec<Link>,
    /// The keys of signed records, the earliest first.
    keys: Vec<(u32, Box<ConnectionKeys>)>,
    /// By place: the hold on the local port that the connection had.
    holds: Vec<Option<BindId>>,
    /// Holds of records that ended, until somebody takes them: no more than there are records, for each insertion takes them all.
    freed: Vec<BindId>,
    capacity: usize,
    first: u32,
    last: u32,
    free: u32,
    len: usize,
    overflows: u64,
    settings: TimeWaitSettings,
}

impl TimeWaits {
    /// Room for `capacity` records (at least 1), 84 bytes each; memory is touched when it is first used.
    pub fn new(capacity: usize, settings: TimeWaitSettings) -> TimeWaits {
        let capacity = capacity.clamp(1, NONE as usize);
        TimeWaits {
            records: Vec::with_capacity(capacity),
            links: Vec::with_capacity(capacity),
            keys: Vec::with_capacity(SIGNED_TIME_WAITS),
            holds: Vec::with_capacity(capacity),
            freed: Vec::with_capacity(capacity),
            capacity,
            first: NONE,
            last: NONE,
            free: NONE,
            len: 0,
            overflows: 0,
            settings,
        }
    }

    /// Records that live.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How often a record gave way to another one before its time.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// A connection enters TIME-WAIT. Gives its place, and who had to go for it.
    pub fn insert(
        &mut self,
        tuple: Tuple,
        content: &TimeWaitContent,
        now: Instant,
    ) -> (u32, Option<Evicted>) {
        let evicted = if self.len == self.capacity { self.evict() } else { None };
        let record = Record {
            tuple,
            snd_nxt: content.snd_nxt,
            rcv_nxt: content.rcv_nxt,
            ts_recent: content.ts_recent.unwrap_or(0),
            ts_offset: content.ts_offset,
            since: timestamp_clock(now),
            answered: 0,
            window: (content.rcv_wnd >> content.scale.min(14)).min(0xffff) as u16,
            flags: if content.ts_recent.is_some() { TIMESTAMPS } else { 0 },
            tos: content.tos,
        };
        let place = self.free;
        let place = match self.links.get(place as usize) {
            Some(link) => {
                self.free = link.later;
                self.records[place as usize] = record;
                place
            }
            None => {
                self.records.push(record);
                self.holds.push(None);
                self.links.push(Link { earlier: NONE, later: NONE });
                self.records.len() as u32 - 1
            }
        };
        self.append(place);
        self.len += 1;
        (place, evicted)
    }

    /// The record at `place` holds the local port of its connection, as long as it lives.
    pub fn hold(&mut self, place: u32, bind: BindId) {
        match self.holds.get_mut(place as usize) {
            Some(hold) if hold.is_none() => *hold = Some(bind),
            _ => self.freed.push(bind),
        }
    }

    /// A hold of a record that ended, to be given back.
    pub fn take_freed(&mut self) -> Option<BindId> {
        self.freed.pop()
    }

    /// The record at `place` was a signed session's: these are its keys. Gives who had to go for it: of signed records
    /// there are [`SIGNED_TIME_WAITS`] at most.
    pub fn sign(&mut self, place: u32, keys: Box<ConnectionKeys>) -> Option<Evicted> {
        let record = self.live_mut(place)?;
        record.flags |= SIGNED;
        let evicted = match self.keys.first() {
            Some(&(first, _)) if self.keys.len() == SIGNED_TIME_WAITS => {
                let tuple = self.live(first).map(|record| record.tuple);
                self.remove(first);
                self.overflows += 1;
                tuple.map(|tuple| Evicted { place: first, tuple })
            }
            _ => None,
        };
        self.keys.push((place, keys));
        evicted
    }

    /// The keys of the record at a place; `None`: its session was not signed.
    pub fn keys(&mut self, place: u32) -> Option<&mut ConnectionKeys> {
        let is_signed = self.live(place)?.flags & SIGNED != 0;
        is_signed.then(|| self.keys.iter_mut().find(|(of, _)| *of == place))?.map(|(_, keys)| &mut **keys)
    }

    /// The names of the record at a place.
    pub fn tuple(&self, place: u32) -> Option<&Tuple> {
        self.live(place).map(|record| &record.tuple)
    }

    /// Ends a record before its time. False when there was none.
    pub fn remove(&mut self, place: u32) -> bool {
        let Some(record) = self.records.get_mut(place as usize).filter(|record| record.flags & FREE == 0)
        else {
            return false;
        };
        let was_signed = record.flags & SIGNED != 0;
        record.flags = FREE;
        self.freed.extend(self.holds.get_mut(place as usize).and_then(Option::take));
        if was_signed {
            self.keys.retain(|(of, _)| *of != place);
        }
        self.unlink(place);
        self.links[place as usize].later = self.free;
        self.free = place;
        self.len -= 1;
        true
    }

    /// The acknowledgment of the FIN that brought the connection here.
    pub fn final_ack(&self, place: u32, now: Instant) -> Option<TimeWaitAck> {
        self.live(place).map(|record| self.ack_of(place, record, now))
    }

    /// The acknowledgment of a record, with room for its signature.
    fn ack_of(&self, place: u32, record: &Record, now: Instant) -> TimeWaitAck {
        let mut ack = record.ack(now);
        if record.flags & SIGNED != 0
            && let Some((_, keys)) = self.keys.iter().find(|(of, _)| *of == place)
        {
            let (kind, len) = keys.option();
            ack.signature = Some(ack.options.push_signature(kind, len));
        }
        ack
    }

    /// A segment came for the record at `place`. Its checksum is good.
    pub fn on_segment(&mut self, place: u32, segment: &Segment<'_>, now: Instant) -> TimeWaitVerdict {
        let interval = self.settings.answer_interval;
        let Some(record) = self.live_mut(place) else { return TimeWaitVerdict::Drop };
        let clock = timestamp_clock(now);
        let stamp = if record.flags & TIMESTAMPS != 0 { timestamp_of(segment) } else { None };
        // PAWS (RFC 7323 section 5.3). A reset is believed in spite of its age after a segment's lifetime,
        // which is as long as the record lives: so here it never is.
        let is_old = stamp.is_some_and(|stamp| (record.ts_recent.wrapping_sub(stamp) as i32) > 0);
        let is_reset = segment.has(flag::RST);

        if !is_old && segment.seq == record.rcv_nxt && (segment.span() == 0 || is_reset) {
            if is_reset && !self.settings.ignore_resets {
                self.remove(place);
                return TimeWaitVerdict::Ended;
            }
            if let (Some(stamp), Some(record)) = (stamp, self.live_mut(place)) {
                record.ts_recent = stamp;
            }
            if !is_reset {
                self.begin_again(place, clock);
            }
            return TimeWaitVerdict::Drop;
        }

        // RFC 9293 section 3.10.7.4 and RFC 6191: a SYN that cannot be an old duplicate. It is newer by its
        // timestamp, or, in the old way, by its number.
        let is_newer = segment.seq.after(record.rcv_nxt)
            || stamp.is_some_and(|stamp| (record.ts_recent.wrapping_sub(stamp) as i32) < 0);
        let is_plain_syn = segment.has(flag::SYN) && segment.flags & (flag::RST | flag::ACK) == 0;
        if is_plain_syn && !is_old && is_newer {
            return TimeWaitVerdict::New(record.reused());
        }
        if is_reset {
            return TimeWaitVerdict::Drop; // out of window
        }
        // Not for a SYN that may be a new one with a smaller number: its sender must not be kept out for
        // ever.
        let prolong = is_old || segment.has(flag::ACK);
        let limited = segment.is_empty() || segment.has(flag::SYN);
        let since_answer = Duration::from_millis(u64::from(clock.wrapping_sub(record.answered)));
        let answer = if limited && record.flags & ANSWERED != 0 && since_answer < interval {
            TimeWaitVerdict::Drop
        } else {
            if limited {
                (record.answered, record.flags) = (clock, record.flags | ANSWERED);
            }
            let record = *record;
            TimeWaitVerdict::Ack(self.ack_of(place, &record, now))
        };
        if prolong {
            self.begin_again(place, clock);
        }
        answer
    }

    /// Whether an active open may take over the names of the record at `place`; the record is then gone. Only
    /// with timestamps, by which the peer tells the connections apart, and a second after the last event.
    pub fn reuse_for_connect(&mut self, place: u32, now: Instant) -> Option<Reused> {
        let record = self.live(place)?;
        let waited = timestamp_clock(now).wrapping_sub(record.since);
        if !self.settings.reuse || record.flags & TIMESTAMPS == 0 || waited <= REUSE_DELAY_MS {
            return None;
        }
        let reused = record.reused();
        self.remove(place);
        Some(reused)
    }

    /// Ends the records whose time has come, at most `max` of them; tells place and names of each. How many
    /// they were.
    pub fn expire(&mut self, now: Instant, max: usize, mut ended: impl FnMut(u32, &Tuple)) -> usize {
        let clock = timestamp_clock(now);
        for count in 0..max {
            match self.records.get(self.first as usize) {
                Some(record) if clock.wrapping_sub(record.since) >= TIME_WAIT.as_millis() as u32 => {
                    let (place, tuple) = (self.first, record.tuple);
                    self.remove(place);
                    ended(place, &tuple);
                }
                _ => return count,
            }
        }
        max
    }

    /// When the next record ends; [`Instant::NEVER`] when there is none.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        match self.records.get(self.first as usize) {
            None => Instant::NEVER,
            Some(record) => {
                let waited = timestamp_clock(now).wrapping_sub(record.since);
                let left = (TIME_WAIT.as_millis() as u32).saturating_sub(waited);
                // The clock counts whole milliseconds: those of `now` are taken off, or the end would slip.
                Instant::from_millis(now.nanos() / 1_000_000) + Duration::from_millis(u64::from(left))
            }
        }
    }

    fn live(&self, place: u32) -> Option<&Record> {
        self.records.get(place as usize).filter(|record| record.flags & FREE == 0)
    }

    fn live_mut(&mut self, place: u32) -> Option<&mut Record> {
        self.records.get_mut(place as usize).filter(|record| record.flags & FREE == 0)
    }

    fn evict(&mut self) -> Option<Evicted> {
        let place = self.first;
        let tuple = self.live(place)?.tuple;
        self.remove(place);
        self.overflows += 1;
        Some(Evicted { place, tuple })
    }

    fn begin_again(&mut self, place: u32, clock: u32) {
        self.unlink(place);
        self.append(place);
        self.records[place as usize].since = clock;
    }

    fn append(&mut self, place: u32) {
        let earlier = self.last;
        self.links[place as usize] = Link { earlier, later: NONE };
        match self.links.get_mut(earlier as usize) {
            Some(link) => link.later = place,
            None => self.first = place,
        }
        self.last = place;
    }

    fn unlink(&mut self, place: u32) {
        let Link { earlier, later } = self.links[place as usize];
        match self.links.get_mut(earlier as usize) {
            Some(link) => link.later = later,
            None => self.first = later,
        }
        match self.links.get_mut(later as usize) {
            Some(link) => link.earlier = earlier,
            None => self.last = earlier,
        }
    }
}

impl Record {
    fn ack(&self, now: Instant) -> TimeWaitAck {
        let mut emitted = Emitted::NONE;
        if self.flags & TIMESTAMPS != 0 {
            emitted.push_timestamps((timestamp_clock(now).wrapping_add(self.ts_offset), self.ts_recent));
        }
        TimeWaitAck {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            window: self.window,
            options: emitted,
            tos: self.tos,
            signature: None,
        }
    }

    fn reused(&self) -> Reused {
        Reused {
            iss: self.snd_nxt + REUSE_DISTANCE,
            ts_recent: (self.flags & TIMESTAMPS != 0).then_some(self.ts_recent),
            ts_offset: self.ts_offset,
        }
    }
}

fn timestamp_of(segment: &Segment<'_>) -> Option<u32> {
    let stamps = options::timestamps_only(segment.options)
        .or_else(|| options::parse(segment.options, segment.has(flag::SYN)).timestamps);
    stamps.map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::super::segment::Check;
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn tuple(port: u16) -> Tuple {
        Tuple::new((Ipv4Addr::LOCALHOST.into(), 80), (Ipv4Addr::LOCALHOST.into(), port))
    }

    fn content(ts_recent: Option<u32>) -> TimeWaitContent {
        TimeWaitContent {
            snd_nxt: Seq(5000),
            rcv_nxt: Seq(9000),
            rcv_wnd: 65_535 << 3,
            scale: 3,
            ts_recent,
            ts_offset: 77,
            tos: 0x10,
        }
    }

    fn table(capacity: usize) -> TimeWaits {
        TimeWaits::new(capacity, TimeWaitSettings::default())
    }

    fn entered(ts_recent: Option<u32>) -> (TimeWaits, u32) {
        let mut waits = table(4);
        let (place, evicted) = waits.insert(tuple(1), &content(ts_recent), at(0));
        assert_eq!(evicted, None);
        (waits, place)
    }

    #[test]
    fn a_record_gives_back_the_port_that_it_held_however_it_ends() {
        use crate::socket::bound::{Address, Bind, Bound, Rules};
        let bind = |port| Bind {
            address: Address::V4(Ipv4Addr::LOCALHOST),
            port,
            device: None,
            reuse_address: false,
            reuse_port: false,
            user: 0,
            automatic: true,
        };
        let mut bound = Bound::new(Rules::Tcp, 8);
        let mut waits = table(2);
        for port in 1..4 {
            // The third makes the first give way.
            let (place, _) = waits.insert(tuple(port), &content(None), at(0));
            let hold = bound.bind(&bind(port)).unwrap();
            waits.hold(place, bound.time_wait(hold));
        }
        let mut freed = |waits: &mut TimeWaits| {
            while let Some(hold) = waits.take_freed() {
                bound.release(hold);
            }
            [1, 2, 3].map(|port| bound.is_free(&bind(port)))
        };
        assert_eq!(freed(&mut waits), [true, false, false]);
        assert!(waits.remove(1));
        assert_eq!(freed(&mut waits), [true, true, false]);
        waits.expire(at(60_000), 10, |_, _| {});
        assert_eq!(freed(&mut waits), [true; 3]);
    }

    fn segment(seq: u32, flags: u16) -> Segment<'static> {
        Segment {
            seq: Seq(seq),
            ack: Seq(5000),
            flags,
            window: 1000,
            urgent: 0,
            options: &[],
            data: &[],
            more: &[],
            check: Check::Verified,
            congested: false,
            ttl: 64,
        }
    }

    fn stamped(value: u32) -> Emitted {
        let mut options = Emitted::NONE;
        options.push_timestamps((value, 1));
        options
    }

    #[test]
    fn one_signed_record_too_many_and_the_first_gives_way() {
        use super::super::signature::Md5Key;
        let mut waits = table(2 * SIGNED_TIME_WAITS);
        let keys = |port| Box::new(ConnectionKeys::md5(tuple(port), Md5Key::new(b"secret").unwrap()));
        let mut sign = |port: u16| {
            let (place, _) = waits.insert(tuple(port), &content(None), at(0));
            let evicted = waits.sign(place, keys(port));
            assert!(waits.keys(place).is_some());
            (waits.final_ack(place, at(0)).unwrap(), evicted)
        };
        for port in 0..SIGNED_TIME_WAITS as u16 {
            let (ack, evicted) = sign(port);
            assert_eq!((ack.signature, ack.options.len(), evicted), (Some(4), 20, None));
        }
        let (_, evicted) = sign(9999);
        assert_eq!(evicted, Some(Evicted { place: 0, tuple: tuple(0) }));
        assert!(waits.keys(0).is_none() && waits.keys(1).is_some());
        assert_eq!((waits.len(), waits.overflows()), (SIGNED_TIME_WAITS, 1));
        // Keys go with their record, and whoever has the place next is not signed.
        assert!(waits.remove(1) && waits.keys(1).is_none());
        let (place, _) = waits.insert(tuple(7), &content(None), at(0));
        assert!(place == 1 && waits.keys(place).is_none());
        assert_eq!(waits.final_ack(place, at(0)).unwrap().signature, None);
    }

    #[test]
    fn a_record_is_one_cache_line() {
        assert_eq!(size_of::<Record>(), 64);
    }

    #[test]
    fn must_13_time_wait_fin_comes_again_and_is_acknowledged_and_the_minute_begins_again() {
        let (mut waits, place) = entered(None);
        let fin = segment(8999, flag::FIN | flag::ACK);
        let TimeWaitVerdict::Ack(ack) = waits.on_segment(place, &fin, at(30_000)) else { panic!("no ACK") };
        assert_eq!((ack.seq, ack.ack, ack.window, ack.tos), (Seq(5000), Seq(9000), 65_535, 0x10));
        assert!(ack.options.is_empty());
        let mut ended = Vec::new();
        waits.expire(at(89_999), 8, |place, tuple| ended.push((place, *tuple)));
        assert_eq!((ended.len(), waits.next_deadline(at(89_999))), (0, at(90_000)));
        waits.expire(at(90_000), 8, |place, tuple| ended.push((place, *tuple)));
        assert_eq!((&ended[..], waits.len()), (&[(place, tuple(1))][..], 0));
        assert_eq!(waits.next_deadline(at(90_000)), Instant::NEVER);
        assert_eq!(waits.on_segment(place, &fin, at(90_001)), TimeWaitVerdict::Drop);
    }

    #[test]
    fn time_wait_bare_ack_in_order_is_dropped_and_prolongs() {
        let (mut waits, place) = entered(None);
        assert_eq!(waits.on_segment(place, &segment(9000, flag::ACK), at(10_000)), TimeWaitVerdict::Drop);
        assert_eq!(waits.next_deadline(at(10_000)), at(70_000));
    }

    #[test]
    fn time_wait_reset_ends_it_only_when_exact_and_only_without_rfc_1337() {
        let (mut waits, place) = entered(None);
        assert_eq!(waits.on_segment(place, &segment(9001, flag::RST), at(1)), TimeWaitVerdict::Drop);
        assert_eq!(waits.on_segment(place, &segment(8999, flag::RST), at(1)), TimeWaitVerdict::Drop);
        assert_eq!(waits.on_segment(place, &segment(9000, flag::RST), at(1)), TimeWaitVerdict::Ended);
        assert!(waits.is_empty());
        let mut waits =
            TimeWaits::new(4, TimeWaitSettings { ignore_resets: true, ..TimeWaitSettings::default() });
        let (place, _) = waits.insert(tuple(1), &content(None), at(0));
        assert_eq!(waits.on_segment(place, &segment(9000, flag::RST), at(1)), TimeWaitVerdict::Drop);
        assert_eq!((waits.len(), waits.next_deadline(at(1))), (1, at(60_000)));
    }

    #[test]
    fn time_wait_syn_with_a_newer_number_begins_anew_beyond_the_old_numbers() {
        let (mut waits, place) = entered(None);
        let expected = Reused { iss: Seq(5000 + 65_537), ts_recent: None, ts_offset: 77 };
        assert_eq!(waits.on_segment(place, &segment(9001, flag::SYN), at(5)), TimeWaitVerdict::New(expected));
        assert!(waits.remove(place) && !waits.remove(place));
    }

    #[test]
    fn time_wait_syn_with_an_old_number_is_acknowledged_and_does_not_prolong() {
        let (mut waits, place) = entered(None);
        let verdict = waits.on_segment(place, &segment(8000, flag::SYN), at(10_000));
        assert!(matches!(verdict, TimeWaitVerdict::Ack(ack) if ack.ack == Seq(9000)));
        assert_eq!(waits.next_deadline(at(10_000)), at(60_000));
        let with_ack = waits.on_segment(place, &segment(9001, flag::SYN | flag::ACK), at(20_000));
        assert!(matches!(with_ack, TimeWaitVerdict::Ack(_)), "a SYN-ACK opens nothing");
    }

    #[test]
    fn shld_4_rfc_6191_syn_with_a_newer_timestamp_begins_anew_and_with_an_older_one_never() {
        let (mut waits, place) = entered(Some(1000));
        let (newer, same, older) = (stamped(1001), stamped(1000), stamped(999));
        let syn = |seq, options| Segment { options, ..segment(seq, flag::SYN) };
        let verdict = waits.on_segment(place, &syn(8000, newer.as_bytes()), at(5));
        assert!(matches!(verdict, TimeWaitVerdict::New(reused) if reused.ts_recent == Some(1000)));
        let verdict = waits.on_segment(place, &syn(8000, same.as_bytes()), at(5));
        assert!(matches!(verdict, TimeWaitVerdict::Ack(_)), "the same timestamp decides nothing");
        let verdict = waits.on_segment(place, &syn(9500, same.as_bytes()), at(5));
        assert!(matches!(verdict, TimeWaitVerdict::New(_)), "then the number does");
        let verdict = waits.on_segment(place, &syn(9500, older.as_bytes()), at(1005));
        assert!(matches!(verdict, TimeWaitVerdict::Ack(_)), "an old duplicate");
        assert_eq!(waits.next_deadline(at(1005)), at(61_005));
    }

    #[test]
    fn time_wait_answers_with_timestamps_that_go_on_and_remembers_the_latest() {
        let (mut waits, place) = entered(Some(1000));
        let stamps = stamped(1500);
        let ack = Segment { options: stamps.as_bytes(), ..segment(9000, flag::ACK) };
        assert_eq!(waits.on_segment(place, &ack, at(100)), TimeWaitVerdict::Drop);
        let answer = waits.final_ack(place, at(200)).unwrap();
        assert_eq!(options::timestamps_only(answer.options.as_bytes()), Some((277, 1500)));
    }

    #[test]
    fn time_wait_answers_bare_segments_twice_a_second_and_data_each_time() {
        let (mut waits, place) = entered(None);
        let fin = segment(8999, flag::FIN | flag::ACK);
        let answered: Vec<u64> = (0..1000)
            .step_by(100)
            .filter(|&millis| matches!(waits.on_segment(place, &fin, at(millis)), TimeWaitVerdict::Ack(_)))
            .collect();
        assert_eq!(answered, [0, 500]);
        let data = Segment { data: b"late", ..segment(8000, flag::ACK) };
        for _ in 0..3 {
            assert!(matches!(waits.on_segment(place, &data, at(1000)), TimeWaitVerdict::Ack(_)));
        }
    }

    #[test]
    fn an_active_open_reuses_names_after_a_second_and_only_with_timestamps() {
        let (mut waits, place) = entered(Some(7));
        assert_eq!(waits.reuse_for_connect(place, at(1000)), None);
        let reused = waits.reuse_for_connect(place, at(1001)).unwrap();
        assert_eq!((reused.iss, reused.ts_recent, waits.len()), (Seq(70_537), Some(7), 0));
        let (mut waits, place) = entered(None);
        assert_eq!(waits.reuse_for_connect(place, at(30_000)), None);
        let mut waits = TimeWaits::new(4, TimeWaitSettings { reuse: false, ..TimeWaitSettings::default() });
        let (place, _) = waits.insert(tuple(1), &content(Some(7)), at(0));
        assert_eq!(waits.reuse_for_connect(place, at(30_000)), None);
    }

    #[test]
    fn one_beyond_the_bound_ends_the_record_that_waited_longest() {
        let mut waits = table(2);
        let (first, _) = waits.insert(tuple(1), &content(None), at(0));
        let (second, _) = waits.insert(tuple(2), &content(None), at(1));
        // The first one is prolonged: now the second has waited longest.
        let _ = waits.on_segment(first, &segment(9000, flag::ACK), at(2));
        let (third, evicted) = waits.insert(tuple(3), &content(None), at(3));
        assert_eq!(evicted, Some(Evicted { place: second, tuple: tuple(2) }));
        assert_eq!((third, waits.len(), waits.overflows()), (second, 2, 1));
        assert_eq!((waits.tuple(first), waits.tuple(third)), (Some(&tuple(1)), Some(&tuple(3))));
    }

    #[test]
    fn the_clock_of_milliseconds_may_wrap() {
        let start = (1u64 << 32) - 30_000;
        let mut waits = table(2);
        waits.insert(tuple(1), &content(None), at(start));
        assert_eq!(waits.next_deadline(at(start + 100)), at(start + 60_000));
        assert_eq!(waits.expire(at(start + 59_999), 8, |_, _| ()), 0);
        assert_eq!(waits.expire(at(start + 60_000), 8, |_, _| ()), 1);
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_of_deadlines_does(steps in prop::collection::vec((0u8..4, any::<u16>()), 1..200)) {
            let mut waits = table(8);
            let mut model: Vec<(u32, Tuple, u64)> = Vec::new();
            let mut clock = 0u64;
            for (kind, value) in steps {
                match kind {
                    0 => {
                        let (place, evicted) = waits.insert(tuple(value), &content(None), at(clock));
                        if let Some(evicted) = evicted {
                            let oldest = model.remove(0);
                            prop_assert_eq!((evicted.place, evicted.tuple), (oldest.0, oldest.1));
                        }
                        model.push((place, tuple(value), clock + 60_000));
                    }
                    1 if !model.is_empty() => {
                        let mut one = model.remove(usize::from(value) % model.len());
                        let _ = waits.on_segment(one.0, &segment(9000, flag::ACK), at(clock));
                        one.2 = clock + 60_000;
                        model.push(one);
                    }
                    2 if !model.is_empty() => {
                        let one = model.remove(usize::from(value) % model.len());
                        prop_assert!(waits.remove(one.0));
                    }
                    _ => clock += u64::from(value),
                }
                let mut ended = Vec::new();
                waits.expire(at(clock), 100, |place, tuple| ended.push((place, *tuple)));
                let due: Vec<_> =
                    model.iter().filter(|one| one.2 <= clock).map(|one| (one.0, one.1)).collect();
                prop_assert_eq!(ended, due);
                model.retain(|one| one.2 > clock);
                prop_assert_eq!(waits.len(), model.len());
                let next = model.first().map_or(Instant::NEVER, |one| at(one.2));
                prop_assert_eq!(waits.next_deadline(at(clock)), next);
            }
        }
    }
}
