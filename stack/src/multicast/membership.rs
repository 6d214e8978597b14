//! Who listens on a link: the router's side of group membership (RFC 9776 section 6, RFC 9777 section 7).
//!
//! For each port and group there is a record: whether everybody is heard but a few (EXCLUDE) or only a few (INCLUDE),
//! and until when each of that is believed. Reports move it between states, time takes it back:
//!
//! ```text
//!   INCLUDE {a}  ── TO_EX {b} ──> EXCLUDE, a asked for, b not wanted ── group timer ends ──> INCLUDE {a}
//!        │ a's timer ends                                                                        │ a's timer ends
//!        └──> gone                                                                               └──> gone
//! ```
//!
//! A source with a running timer is wanted; in EXCLUDE mode one without is not. What somebody leaves is asked for first
//! ([`Ask`]), with the timers lowered, so that others can say that they stay.
//!
//! Everything is bounded and in place: a group that finds no room is not remembered (and its packets do not flow), a
//! source that finds no room makes the record want more, never less.

use crate::groups::RecordKind;
use crate::limits::{LISTENED_GROUPS, LISTENED_SOURCES};
use crate::port::PortId;
use crate::time::Instant;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use core::time::Duration;

/// How long what was heard is believed, and what is asked before it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Group membership interval (RFC 9776 section 8.4).
    pub membership: Duration,
    /// Last member query time: within it others answer (section 8.10).
    pub last_member: Duration,
    /// Older version host present interval (section 8.13).
    pub older_host: Duration,
    /// We ask on this link. Who does not lowers no timer on its own: the querier's questions do (section 6.6.1).
    pub asks: bool,
}

/// What is to be asked of the link after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Nothing.
    Nothing,
    /// Whether anybody wants the group.
    Group,
    /// Whether anybody wants the sources whose `asked` is set.
    Sources,
}

/// A source of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Its address.
    pub address: IpAddr,
    /// Wanted until then; in the past: not wanted (EXCLUDE mode).
    pub until: Instant,
    /// It is to be asked for.
    pub asked: bool,
}

/// What a link wants of a group.
#[derive(Debug, Clone)]
pub struct Record {
    /// The link.
    pub port: PortId,
    /// The group.
    pub group: IpAddr,
    /// EXCLUDE mode until then; in the past: INCLUDE mode.
    pub everybody_until: Instant,
    /// The sources that are told apart.
    pub sources: ArrayVec<Source, LISTENED_SOURCES>,
    /// Hosts of version 1, or of version 2 (MLD: 1), are believed to be members until then.
    v1_until: Instant,
    v2_until: Instant,
    /// Times that the last question is still to be asked, when, and about the group or its sources.
    pub questions: u8,
    /// When the next is due.
    pub question_at: Instant,
    /// What it asks.
    pub question: Ask,
}

impl Record {
    fn new(port: PortId, group: IpAddr) -> Record {
        Record {
            port,
            group,
            everybody_until: Instant::ZERO,
            sources: ArrayVec::new(),
            v1_until: Instant::ZERO,
            v2_until: Instant::ZERO,
            questions: 0,
            question_at: Instant::NEVER,
            question: Ask::Nothing,
        }
    }

    /// EXCLUDE mode.
    pub fn wants_everybody(&self, now: Instant) -> bool {
        self.everybody_until > now
    }

    /// True when what `source` sends is wanted.
    pub fn wants(&self, source: IpAddr, now: Instant) -> bool {
        match self.sources.iter().find(|one| one.address == source) {
            Some(found) => found.until > now,
            None => self.wants_everybody(now),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        !self.wants_everybody(now) && self.sources.iter().all(|source| source.until <= now)
    }

    /// When it changes by itself.
    fn deadline(&self) -> Instant {
        let sources = self.sources.iter().map(|source| source.until).filter(|until| *until != Instant::ZERO);
        let everybody = Some(self.everybody_until).filter(|until| *until != Instant::ZERO);
        let question = Some(self.question_at).filter(|_| self.questions > 0);
        sources.chain(everybody).chain(question).min().unwrap_or(Instant::NEVER)
    }

    /// Takes back what time has ended.
    fn expire(&mut self, now: Instant) {
        if self.everybody_until != Instant::ZERO && self.everybody_until <= now {
            // Section 6.5: to INCLUDE of those that are still asked for.
            self.everybody_until = Instant::ZERO;
        }
        if self.wants_everybody(now) {
            // Section 6.3: asked for no more, so not wanted.
            let ended = self.sources.iter_mut().filter(|source| source.until <= now);
            ended.for_each(|source| source.until = Instant::ZERO);
        } else {
            self.sources.retain(|source| source.until > now);
        }
    }

    /// A source becomes wanted until then; without room for it everybody is.
    fn want(&mut self, address: IpAddr, until: Instant) {
        match self.sources.iter_mut().find(|one| one.address == address) {
            Some(found) => found.until = until,
            None => {
                if self.sources.try_push(Source { address, until, asked: false }).is_err() {
                    self.everybody_until = self.everybody_until.max(until);
                }
            }
        }
    }

    /// Applies one record of a report (the tables of RFC 9776 sections 6.4.1 and 6.4.2).
    fn hear(
        &mut self,
        now: Instant,
        kind: RecordKind,
        named: impl Iterator<Item = IpAddr> + Clone,
        times: &Times,
    ) -> Ask {
        let until = now + times.membership;
        let is_named = |source: &Source| named.clone().any(|one| one == source.address);
        let everybody = self.wants_everybody(now);
        let group_timer = self.everybody_until;
        self.sources.iter_mut().for_each(|source| source.asked = false);
        match kind {
            RecordKind::ModeIsInclude | RecordKind::Allow => {
                named.for_each(|source| self.want(source, until));
                Ask::Nothing
            }
            RecordKind::ToInclude => {
                // Those that are wanted and not named are asked for: INCLUDE A-B, EXCLUDE X-A and the group.
                for source in self.sources.iter_mut().filter(|source| source.until > now) {
                    source.asked = !is_named(source);
                }
                named.for_each(|source| self.want(source, until));
                if everybody { Ask::Group } else { self.ask_sources() }
            }
            RecordKind::Block => {
                if everybody {
                    // EXCLUDE: A-X-Y gets the group's timer, A-Y is asked for.
                    for address in named.clone() {
                        if self.sources.iter().all(|source| source.address != address) {
                            self.want(address, group_timer);
                        }
                    }
                }
                for source in self.sources.iter_mut().filter(|source| source.until > now) {
                    source.asked = is_named(source);
                }
                self.ask_sources()
            }
            RecordKind::ModeIsExclude | RecordKind::ToExclude => {
                let changes = kind == RecordKind::ToExclude;
                // What is not named is forgotten: INCLUDE A-B; EXCLUDE X-A, Y-A.
                self.sources.retain(|source| is_named(source));
                for address in named.clone() {
                    if self.sources.iter().any(|source| source.address == address) {
                        continue;
                    }
                    // INCLUDE: B-A is not wanted. EXCLUDE: A-X-Y is, for now. Without room more is wanted.
                    let wanted_until = match (everybody, changes) {
                        (false, _) => Instant::ZERO,
                        (true, true) => group_timer,
                        (true, false) => until,
                    };
                    let _no_room_wants_more =
                        self.sources.try_push(Source { address, until: wanted_until, asked: false });
                }
                self.everybody_until = until;
                if !changes {
                    return Ask::Nothing;
                }
                for source in self.sources.iter_mut().filter(|source| source.until > now) {
                    source.asked = true;
                }
                self.ask_sources()
            }
        }
    }

    fn ask_sources(&self) -> Ask {
        if self.sources.iter().any(|source| source.asked) { Ask::Sources } else { Ask::Nothing }
    }

    /// Lowers the timers of what is asked for, so that it ends unless somebody answers (section 6.6.3).
    fn lower(&mut self, ask: Ask, until: Instant) {
        match ask {
            Ask::Nothing => {}
            Ask::Group => self.everybody_until = self.everybody_until.min(until),
            Ask::Sources => {
                for source in self.sources.iter_mut().filter(|source| source.asked) {
                    source.until = source.until.min(until);
                }
            }
        }
        if ask == Ask::Group {
            // In INCLUDE mode and after a leave the sources are asked for with the group.
            for source in self.sources.iter_mut().filter(|source| source.asked) {
                source.until = source.until.min(until);
            }
        }
    }
}

/// A report, as the machine sees it: of a version, about a group.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// As IGMP counts: 1, 2 or 3 (MLD: 2 or 3).
    pub version: u8,
    /// What is said.
    pub kind: RecordKind,
    /// About which group.
    pub group: IpAddr,
}

/// The records of a worker, by port and group.
#[derive(Debug, Default)]
pub struct Memberships {
    /// In order of (port, group). The vector never grows beyond its first allocation.
    #[expect(clippy::vec_box, reason = "a newcomer moves those behind it: eight bytes each, not a kilobyte")]
    records: Vec<Box<Record>>,
    /// Records that are not in use.
    #[expect(clippy::vec_box, reason = "as above")]
    spare: Vec<Box<Record>>,
}

impl Memberships {
    /// Room for [`LISTENED_GROUPS`] groups if `on`, else for none.
    pub fn new(on: bool) -> Memberships {
        let room = if on { LISTENED_GROUPS } else { 0 };
        let blank = || Box::new(Record::new(PortId::FIRST, IpAddr::from([0; 4])));
        Memberships { records: Vec::with_capacity(room), spare: (0..room).map(|_| blank()).collect() }
    }

    fn place(&self, port: PortId, group: IpAddr) -> Result<usize, usize> {
        self.records.binary_search_by_key(&(port, group), |record| (record.port, record.group))
    }

    /// What a link wants of a group.
    #[inline]
    pub fn get(&self, port: PortId, group: IpAddr) -> Option<&Record> {
        self.place(port, group).ok().and_then(|place| self.records.get(place)).map(|record| &**record)
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|record| &**record)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A host said something. `Err`: there is no room for another group.
    pub fn hear(
        &mut self,
        now: Instant,
        port: PortId,
        heard: &Heard,
        named: impl Iterator<Item = IpAddr> + Clone,
        times: &Times,
    ) -> Result<Ask, Full> {
        let place = match self.place(port, heard.group) {
            Ok(place) => place,
            Err(place) => {
                let asks = matches!(heard.kind, RecordKind::Block)
                    || heard.kind == RecordKind::ToInclude && named.clone().next().is_none();
                if asks {
                    return Ok(Ask::Nothing); // nobody wanted it in the first place
                }
                let mut record = self.spare.pop().ok_or(Full)?;
                *record = Record::new(port, heard.group);
                self.records.insert(place, record);
                place
            }
        };
        let Some(record) = self.records.get_mut(place) else { return Err(Full) };
        record.expire(now);
        let mut kind = heard.kind;
        match heard.version {
            1 => record.v1_until = now + times.older_host,
            2 if kind != RecordKind::ToInclude => record.v2_until = now + times.older_host,
            _ => {}
        }
        // Section 7.3.2: with hosts of version 1 nobody can leave; with hosts of version 2 sources mean nothing.
        let older = record.v1_until > now || record.v2_until > now;
        if record.v1_until > now && kind == RecordKind::ToInclude || older && kind == RecordKind::Block {
            return Ok(Ask::Nothing);
        }
        let without_sources = older && matches!(kind, RecordKind::ToExclude);
        if without_sources {
            kind = RecordKind::ModeIsExclude;
        }
        let named = named.filter(move |_| !without_sources);
        let ask = record.hear(now, kind, named, times);
        if !times.asks {
            self.tidy(now);
            return Ok(Ask::Nothing);
        }
        if ask != Ask::Nothing {
            record.lower(ask, now + times.last_member);
            record.question = ask;
        }
        self.tidy(now);
        Ok(ask)
    }

    /// The record of a group, to plan its questions.
    pub fn get_mut(&mut self, port: PortId, group: IpAddr) -> Option<&mut Record> {
        self.place(port, group).ok().and_then(|place| self.records.get_mut(place)).map(|record| &mut **record)
    }

    /// The records of which a question is due.
    pub fn due(&mut self, now: Instant) -> impl Iterator<Item = &mut Record> {
        let due = move |record: &&mut Box<Record>| record.questions > 0 && record.question_at <= now;
        self.records.iter_mut().filter(due).map(|record| &mut **record)
    }

    /// The querier asked the link about a group, or about sources of it: what is not said again ends then.
    pub fn on_query(
        &mut self,
        port: PortId,
        group: IpAddr,
        named: impl Iterator<Item = IpAddr> + Clone,
        until: Instant,
    ) {
        let Some(record) = self.get_mut(port, group) else { return };
        let about_sources = named.clone().next().is_some();
        for source in &mut record.sources {
            source.asked = about_sources && named.clone().any(|one| one == source.address);
        }
        record.lower(if about_sources { Ask::Sources } else { Ask::Group }, until);
    }

    /// Forgets what time has ended.
    pub fn tidy(&mut self, now: Instant) {
        let Memberships { records, spare } = self;
        let mut place = 0;
        while let Some(record) = records.get_mut(place) {
            record.expire(now);
            if record.is_over(now) {
                spare.push(records.remove(place));
            } else {
                place += 1;
            }
        }
    }

    /// When something changes by itself.
    pub fn deadline(&self) -> Instant {
        self.records.iter().map(|record| record.deadline()).min().unwrap_or(Instant::NEVER)
    }
}

/// There is no room for another group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use super::*;
    use RecordKind::{Allow, Block, ModeIsExclude, ModeIsInclude, ToExclude, ToInclude};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TIMES: Times = Times {
        membership: Duration::from_secs(260),
        last_member: Duration::from_secs(2),
        older_host: Duration::from_secs(260),
        asks: true,
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000 + seconds * 1000)
    }

    fn host(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn group() -> IpAddr {
        IpAddr::from([239, 1, 1, 1])
    }

    struct Link(Memberships);

    impl Link {
        fn new() -> Link {
            Link(Memberships::new(true))
        }

        fn hear(&mut self, now: u64, version: u8, kind: RecordKind, named: &[u8]) -> Ask {
            let heard = Heard { version, kind, group: group() };
            let named: Vec<IpAddr> = named.iter().map(|number| host(*number)).collect();
            self.0.hear(at(now), PortId::FIRST, &heard, named.iter().copied(), &TIMES).unwrap()
        }

        fn wants(&mut self, now: u64) -> Vec<u8> {
            self.0.tidy(at(now));
            let Some(record) = self.0.get(PortId::FIRST, group()) else { return Vec::new() };
            (0..6).filter(|number| record.wants(host(*number), at(now))).collect()
        }
    }

    #[test]
    fn a_join_is_believed_for_the_membership_interval_and_reports_renew_it() {
        let mut link = Link::new();
        assert_eq!(link.hear(0, 2, ModeIsExclude, &[]), Ask::Nothing);
        assert_eq!(link.wants(259), [0, 1, 2, 3, 4, 5]);
        link.hear(259, 2, ModeIsExclude, &[]);
        assert_eq!(link.wants(518).len(), 6);
        assert_eq!(link.wants(519), []);
        assert!(link.0.is_empty());
    }

    #[test]
    fn who_leaves_is_asked_about_and_the_group_ends_unless_somebody_stays() {
        let mut link = Link::new();
        link.hear(0, 2, ModeIsExclude, &[]);
        assert_eq!(link.hear(10, 2, ToInclude, &[]), Ask::Group);
        assert_eq!(link.wants(11).len(), 6);
        assert_eq!(link.wants(12), []);
        link.hear(20, 2, ModeIsExclude, &[]);
        link.hear(21, 2, ToInclude, &[]);
        link.hear(22, 2, ModeIsExclude, &[]); // another one answers
        assert_eq!(link.wants(100).len(), 6);
    }

    #[test]
    fn sources_come_and_go_as_the_tables_of_the_rfc_say() {
        let mut link = Link::new();
        link.hear(0, 3, Allow, &[1, 2]);
        assert_eq!(link.wants(0), [1, 2]);
        assert_eq!(link.hear(1, 3, Block, &[1, 5]), Ask::Sources);
        assert_eq!(link.wants(4), [2]);
        assert_eq!(link.hear(5, 3, ToExclude, &[2, 3]), Ask::Sources);
        assert_eq!(link.wants(5), [0, 1, 2, 4, 5], "3 is not wanted, 2 still is");
        assert_eq!(link.wants(8), [0, 1, 4, 5], "nobody else wanted 2");
        link.hear(9, 3, Allow, &[3]);
        assert_eq!(link.wants(9), [0, 1, 3, 4, 5]);
        assert_eq!(link.hear(10, 3, ToInclude, &[4]), Ask::Group);
        assert_eq!(link.wants(20), [4], "the group's timer ended; of 3 nobody spoke again");
        assert_eq!(link.wants(271), []);
    }

    #[test]
    fn a_host_of_an_older_version_keeps_the_group_whole() {
        let mut link = Link::new();
        link.hear(0, 1, ModeIsExclude, &[]);
        assert_eq!(
            link.hear(1, 2, ToInclude, &[]),
            Ask::Nothing,
            "a host of version 1 cannot say that it stays"
        );
        assert_eq!(link.hear(1, 3, Block, &[1]), Ask::Nothing);
        link.hear(2, 3, ToExclude, &[1]);
        assert_eq!(link.wants(3).len(), 6, "sources mean nothing to it");
    }

    #[test]
    fn groups_and_sources_are_bounded_and_without_room_more_is_wanted() {
        let mut all = Memberships::new(true);
        let join = |all: &mut Memberships, number: usize| {
            let group = IpAddr::from([239, 2, (number >> 8) as u8, number as u8]);
            let heard = Heard { version: 3, kind: ToExclude, group };
            all.hear(at(0), PortId::FIRST, &heard, core::iter::empty(), &TIMES)
        };
        (0..LISTENED_GROUPS).for_each(|number| assert_eq!(join(&mut all, number), Ok(Ask::Nothing)));
        assert_eq!(join(&mut all, LISTENED_GROUPS), Err(Full));
        all.tidy(at(1000));
        assert_eq!(join(&mut all, LISTENED_GROUPS), Ok(Ask::Nothing));

        let mut link = Link::new();
        let many: Vec<u8> = (100..100 + LISTENED_SOURCES as u8).collect();
        link.hear(0, 3, Allow, &many);
        assert_eq!(link.wants(0), []);
        link.hear(0, 3, Allow, &[1]);
        assert_eq!(link.wants(0).len(), 6, "no room for 1: everybody is let through");
    }

    proptest! {
        /// Against sets, without time: what the tables say about who is wanted right after each report, when what is
        /// asked for has not ended yet.
        #[test]
        fn what_is_wanted_follows_the_tables(
            steps in proptest::collection::vec((0u8..6, proptest::collection::btree_set(0u8..5, 0..4)), 1..20)
        ) {
            let mut link = Link::new();
            // EXCLUDE: true when wanted. INCLUDE: only wanted ones.
            let (mut everybody, mut known) = (false, BTreeMap::<u8, bool>::new());
            for (kind, named) in steps {
                let kind = [ModeIsInclude, ModeIsExclude, ToInclude, ToExclude, Allow, Block][usize::from(kind)];
                let list: Vec<u8> = named.iter().copied().collect();
                link.hear(0, 3, kind, &list);
                match kind {
                    ModeIsInclude | Allow | ToInclude => known.extend(named.iter().map(|one| (*one, true))),
                    Block if everybody => named.iter().for_each(|one| { known.entry(*one).or_insert(true); }),
                    Block => {}
                    ModeIsExclude | ToExclude => {
                        known.retain(|one, _| named.contains(one));
                        named.iter().for_each(|one| { known.entry(*one).or_insert(everybody); });
                        everybody = true;
                    }
                }
                let expected: Vec<u8> =
                    (0..6).filter(|one| known.get(one).copied().unwrap_or(everybody)).collect();
                prop_assert_eq!(link.wants(0), expected);
            }
        }
    }
}
