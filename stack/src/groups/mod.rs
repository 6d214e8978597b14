//! Groups: which sockets want to hear which, what each port therefore tells its link, and when (rows I9, U4).
//!
//! IGMP (RFC 2236, RFC 9776, which was RFC 3376) and MLD (RFC 2710, RFC 9777, which was RFC 3810) are one machine
//! with two spellings. It is here; [`crate::igmp`] and [`crate::mld`] spell.
//!
//! ```text
//!   socket joins ─> its filter ─┐
//!   socket joins ─> its filter ─┴─ union ─> the port's filter ── changed ─> say so now, and again within a second
//!
//!   query ─> wait a random time within what it allows ─> report what the port's filter is then
//! ```
//!
//! Where a querier of an older version was heard not long ago we speak its language: whole groups, one message
//! each, silence when another host answered first, and a leave message at the end (RFC 3376 section 7.2).
//!
//! Invariants
//! 1. `filter` of a group is the union of its members' filters.
//! 2. A group without members stays only while its last change is still to be repeated.
//! 3. `deadline` is not later than any time that anything is to be said.

mod calls;
pub mod filter;

pub use calls::SourceChange;
pub use filter::{Filter, Mode};

use crate::limits::{MAX_GROUPS, MAX_QUERIED_SOURCES, MAX_SOURCES};
use crate::port::PortId;
use crate::socket::SocketId;
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::BTreeMap;

/// How often a change is told, unless a querier says otherwise (RFC 3376 section 8.1).
const ROBUSTNESS: u8 = 2;
/// Within what a change is told again (RFC 3376 section 8.11).
const UNSOLICITED: Duration = Duration::from_secs(1);
/// The same in the language of older versions (RFC 2236 section 8.10).
const UNSOLICITED_OLD: Duration = Duration::from_secs(10);
/// What a query of IGMPv1 allows (RFC 2236 section 4).
const RESPONSE_V1: Duration = Duration::from_secs(10);
/// How long an older querier is believed to be there: robustness times the query interval and a response interval,
/// with the defaults (RFC 3376 section 8.12).
const OLDER_QUERIER: Duration = Duration::from_secs(260);

/// Kinds of group records (RFC 3376 section 4.2.12, RFC 3810 section 5.2.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Only these, as before.
    ModeIsInclude = 1,
    /// All but these, as before.
    ModeIsExclude = 2,
    /// From now on only these.
    ToInclude = 3,
    /// From now on all but these.
    ToExclude = 4,
    /// These too.
    Allow = 5,
    /// These no more.
    Block = 6,
}

/// What is to be said on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say<'a> {
    /// A record of a report of the newest version.
    Record(RecordKind, IpAddr, &'a [IpAddr]),
    /// The report is complete.
    Flush,
    /// A report of an older version (1 or 2; MLD counts its first as 2 here).
    Old(u8, IpAddr),
    /// Nobody here wants the group any more, in the language of version 2.
    Leave(IpAddr),
}

/// A query, as the machine sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    /// 1, 2 or 3 as IGMP counts.
    pub(crate) version: u8,
    /// The group that is asked about; `None` for all.
    pub(crate) group: Option<IpAddr>,
    /// Within what the answers shall come.
    pub(crate) within: Duration,
    /// The querier's robustness; 0 for not said.
    pub(crate) robustness: u8,
    /// How often the querier asks; zero for not said.
    pub(crate) interval: Duration,
    /// Routers are not to lower their timers for this one.
    pub(crate) suppress: bool,
    /// The sources that are asked about, as they lie in the message.
    pub(crate) sources: &'a [u8],
}

impl Query<'_> {
    /// A query of an older version, which says nothing but the group and the time.
    pub(crate) const OLD: Query<'static> = Query {
        version: 2,
        group: None,
        within: Duration::ZERO,
        robustness: 0,
        interval: Duration::ZERO,
        suppress: false,
        sources: &[],
    };
}

#[derive(Debug)]
struct Member {
    socket: SocketId,
    filter: Filter,
}

#[derive(Debug)]
struct Group {
    members: Vec<Member>,
    /// What hosts behind us want of it, for whom we report (RFC 4605).
    behind: Filter,
    /// What our own sockets want.
    own: Filter,
    filter: Filter,
    /// Times that a change between INCLUDE and EXCLUDE is still to be told.
    mode_changes: u8,
    /// Sources whose change is still to be told, and how often.
    changes: Vec<(IpAddr, u8)>,
    /// When a query about this group is to be answered (older versions: when it is reported next).
    response_at: Instant,
    /// The sources that were asked about; none for the whole group.
    queried: Vec<IpAddr>,
    /// Older versions: times that it is still to be reported without being asked.
    unsolicited: u8,
    /// Older versions: we reported last, so leaving is ours to say.
    last_reporter: bool,
    /// Older versions: leaving is to be said.
    leaving: bool,
}

impl Group {
    fn new() -> Self {
        Group {
            members: Vec::new(),
            behind: Filter::NOBODY,
            own: Filter::NOBODY,
            filter: Filter::NOBODY,
            mode_changes: 0,
            changes: Vec::new(),
            response_at: Instant::NEVER,
            queried: Vec::with_capacity(MAX_QUERIED_SOURCES),
            unsolicited: 0,
            last_reporter: false,
            leaving: false,
        }
    }

    fn is_over(&self) -> bool {
        self.members.is_empty()
            && self.behind.is_nobody()
            && self.mode_changes == 0
            && self.changes.is_empty()
            && !self.leaving
    }
}

/// What is to be said on one link in one family.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// When a general query is to be answered.
    general_at: Instant,
    /// When changes are told next.
    change_at: Instant,
    /// A querier of version 1, or of version 2, is believed to be there until then.
    v1_until: Instant,
    v2_until: Instant,
    robustness: u8,
}

impl Link {
    const NEW: Link = Link {
        general_at: Instant::NEVER,
        change_at: Instant::NEVER,
        v1_until: Instant::ZERO,
        v2_until: Instant::ZERO,
        robustness: ROBUSTNESS,
    };

    /// The version to speak.
    fn version(&self, now: Instant) -> u8 {
        match () {
            () if self.v1_until > now => 1,
            () if self.v2_until > now => 2,
            () => 3,
        }
    }
}

/// The groups of a worker.
#[derive(Debug)]
pub struct Groups {
    groups: BTreeMap<(PortId, IpAddr), Group>,
    /// By port and family.
    links: Vec<[Link; 2]>,
    deadline: Instant,
    random: u64,
}

impl Default for Groups {
    fn default() -> Self {
        Groups { groups: BTreeMap::new(), links: Vec::new(), deadline: Instant::NEVER, random: 0 }
    }
}

/// Groups that everybody is in and nobody reports: all systems, all nodes, and what never leaves the node (RFC 3376
/// section 5, RFC 3810 section 6).
fn is_reported(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group != Ipv4Addr::new(224, 0, 0, 1),
        IpAddr::V6(group) => group.octets()[1] & 0x0f > 1 && group != crate::wire::address::IPV6_ALL_NODES,
    }
}

impl Groups {
    /// No groups, on `ports` ports; `seed` is random.
    pub fn new(ports: usize, seed: u64) -> Self {
        Groups { links: vec![[Link::NEW; 2]; ports], random: seed, ..Groups::default() }
    }

    /// How many groups ports listen to, each port counted.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// When something is to be said next.
    #[inline]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True when what `source` sends to `group` on the link of `port` is wanted by some socket.
    #[inline]
    pub fn listens(&self, port: PortId, group: IpAddr, source: IpAddr) -> bool {
        !self.groups.is_empty()
            && self.groups.get(&(port, group)).is_some_and(|group| group.own.admits(source))
    }

    /// True when any socket is in the group on this port: what is said about the group itself is for us.
    pub fn joined(&self, port: PortId, group: IpAddr) -> bool {
        self.groups.get(&(port, group)).is_some_and(|group| !group.members.is_empty())
    }

    /// Whether a socket hears what `source` sends to `group`: as its filter says; when it has not joined, as its
    /// option IP_MULTICAST_ALL (`all`) says.
    pub fn admits(&self, socket: SocketId, port: PortId, group: IpAddr, source: IpAddr, all: bool) -> bool {
        let Some(group) = self.groups.get(&(port, group)) else { return all };
        match group.members.iter().find(|member| member.socket == socket) {
            Some(member) => member.filter.admits(source),
            None => all,
        }
    }

    /// The filter of a socket for a group.
    fn filter_of(&self, socket: SocketId, port: PortId, group: IpAddr) -> Option<&Filter> {
        let members = &self.groups.get(&(port, group))?.members;
        members.iter().find(|member| member.socket == socket).map(|member| &member.filter)
    }

    /// Groups that a socket is in.
    fn memberships(&self, socket: SocketId) -> impl Iterator<Item = (PortId, IpAddr)> + '_ {
        let its = move |group: &Group| group.members.iter().any(|member| member.socket == socket);
        self.groups.iter().filter(move |(_, group)| its(group)).map(|(key, _)| *key)
    }

    /// Sets (or, with `None`, takes away) a socket's filter for a group, and plans what the link must hear.
    fn update(
        &mut self,
        now: Instant,
        socket: SocketId,
        port: PortId,
        address: IpAddr,
        filter: Option<Filter>,
    ) {
        self.change(now, port, address, |group| {
            group.members.retain(|member| member.socket != socket);
            if let Some(filter) = filter {
                group.members.push(Member { socket, filter });
            }
        });
    }

    /// Sets what hosts behind us want of a group. False: there is no room for one more group, and nobody upstream hears
    /// of it. The bound is that of sockets; of the hosts behind us those that came first are spoken for.
    #[must_use]
    pub(crate) fn update_behind(
        &mut self,
        now: Instant,
        port: PortId,
        address: IpAddr,
        filter: Filter,
    ) -> bool {
        let known = self.groups.get(&(port, address));
        if known.map_or(&Filter::NOBODY, |group| &group.behind) == &filter {
            return true;
        }
        if known.is_none() && self.groups.len() >= MAX_GROUPS {
            return false;
        }
        self.change(now, port, address, |group| group.behind = filter);
        true
    }

    /// The groups that hosts behind us want on a port.
    pub(crate) fn wanted_behind_on(&self, port: PortId) -> Vec<IpAddr> {
        let wanted = self.groups.iter().filter(|(key, group)| key.0 == port && !group.behind.is_nobody());
        wanted.map(|(key, _)| key.1).collect()
    }

    /// Changes what is wanted of a group, and plans what the link must hear.
    fn change(&mut self, now: Instant, port: PortId, address: IpAddr, change: impl FnOnce(&mut Group)) {
        let Some(link) =
            self.links.get_mut(port.index()).map(|both| &mut both[usize::from(address.is_ipv6())])
        else {
            return;
        };
        let group = self.groups.entry((port, address)).or_insert_with(Group::new);
        change(group);
        group.own = Filter::union(group.members.iter().map(|member| &member.filter));
        let new = Filter::union([&group.own, &group.behind].into_iter());
        let old = core::mem::replace(&mut group.filter, new);
        if group.filter != old && is_reported(address) {
            if link.version(now) == 3 {
                plan_changes(group, &old, link.robustness);
                link.change_at = now;
            } else if old.is_nobody() {
                (group.response_at, group.unsolicited, group.leaving) = (now, link.robustness, false);
            } else if group.filter.is_nobody() {
                group.leaving = group.last_reporter && link.version(now) == 2;
                (group.response_at, group.unsolicited) = (Instant::NEVER, 0);
            }
        }
        if group.is_over() {
            self.groups.remove(&(port, address));
        }
        // Leaves are said at once.
        self.deadline = self.deadline.min(now);
    }

    /// A query came in on a link.
    pub(crate) fn on_query(&mut self, now: Instant, port: PortId, v6: bool, query: &Query<'_>) {
        let Some(link) = self.links.get_mut(port.index()).map(|both| &mut both[usize::from(v6)]) else {
            return;
        };
        let before = link.version(now);
        match query.version {
            1 => link.v1_until = now + OLDER_QUERIER,
            2 => link.v2_until = now + OLDER_QUERIER,
            _ if query.robustness > 0 => link.robustness = query.robustness,
            _ => link.robustness = ROBUSTNESS,
        }
        let version = link.version(now);
        if version != before {
            // RFC 3376 section 7.2.1: what was planned in the other language is forgotten.
            (link.general_at, link.change_at) = (Instant::NEVER, Instant::NEVER);
            for (key, group) in &mut self.groups {
                if key.0 == port && key.1.is_ipv6() == v6 {
                    (group.mode_changes, group.response_at) = (0, Instant::NEVER);
                    group.changes.clear();
                }
            }
            self.groups.retain(|_, group| !group.is_over());
        }
        let within = if version == 1 { RESPONSE_V1 } else { query.within };
        let general = query.group.is_none();
        let random = &mut self.random;
        if version == 3 && general {
            // RFC 3376 section 5.2 rules 1 and 2.
            link.general_at = link.general_at.min(now + pick(random, within));
        } else {
            for (key, group) in &mut self.groups {
                if key.0 != port
                    || key.1.is_ipv6() != v6
                    || query.group.is_some_and(|asked| asked != key.1)
                    || !is_reported(key.1)
                    || group.filter.is_nobody()
                {
                    continue;
                }
                let at = now + pick(random, within);
                // Rule 1: an answer to everything that comes sooner will do.
                if version == 3 && link.general_at <= at {
                    continue;
                }
                let pending = group.response_at != Instant::NEVER;
                if version == 3 {
                    note_sources(group, pending, query.sources, v6);
                }
                group.response_at = group.response_at.min(at);
            }
        }
        self.find_deadline();
    }

    /// Another host reported a group in the language of an older version: ours need not (RFC 2236 section 3).
    pub(crate) fn on_report(&mut self, now: Instant, port: PortId, address: IpAddr) {
        let Some(link) = self.links.get(port.index()).map(|both| both[usize::from(address.is_ipv6())]) else {
            return;
        };
        if link.version(now) == 3 {
            return;
        }
        if let Some(group) = self.groups.get_mut(&(port, address)) {
            (group.response_at, group.unsolicited, group.last_reporter) = (Instant::NEVER, 0, false);
        }
        self.find_deadline();
    }

    /// Says what is due on the links, one link and family after another.
    pub(crate) fn say_what_is_due(&mut self, now: Instant, mut say: impl FnMut(PortId, bool, Say<'_>)) {
        let Groups { groups, links, random, .. } = self;
        for (index, both) in links.iter_mut().enumerate() {
            let Some(port) = PortId::new(index) else { continue };
            for (v6, link) in both.iter_mut().enumerate().map(|(family, link)| (family == 1, link)) {
                let mine = |key: &(PortId, IpAddr)| key.0 == port && key.1.is_ipv6() == v6;
                let version = link.version(now);
                let mut said = false;
                let mut again = false;
                for (key, group) in groups.iter_mut().filter(|(key, _)| mine(key)) {
                    let mut record = |kind, sources: &[IpAddr]| {
                        said = true;
                        say(port, v6, Say::Record(kind, key.1, sources));
                    };
                    if version == 3 {
                        if link.general_at <= now && !group.filter.is_nobody() && is_reported(key.1) {
                            record(state_of(&group.filter), group.filter.sources());
                        }
                        if group.response_at <= now {
                            answer(group, &mut record);
                        }
                        if link.change_at <= now {
                            tell_changes(group, &mut record);
                            again |= group.mode_changes > 0 || !group.changes.is_empty();
                        }
                    } else if group.leaving {
                        group.leaving = false;
                        say(port, v6, Say::Leave(key.1));
                    } else if group.response_at <= now {
                        say(port, v6, Say::Old(version, key.1));
                        group.last_reporter = true;
                        group.unsolicited = group.unsolicited.saturating_sub(1);
                        let repeat = group.unsolicited > 0;
                        group.response_at =
                            if repeat { now + pick(random, UNSOLICITED_OLD) } else { Instant::NEVER };
                    }
                }
                if said {
                    say(port, v6, Say::Flush);
                }
                if link.general_at <= now {
                    link.general_at = Instant::NEVER;
                }
                if link.change_at <= now {
                    link.change_at = if again { now + pick(random, UNSOLICITED) } else { Instant::NEVER };
                }
            }
        }
        groups.retain(|_, group| !group.is_over());
        self.find_deadline();
    }

    fn find_deadline(&mut self) {
        let links = self.links.iter().flatten().map(|link| link.general_at.min(link.change_at));
        let groups = self.groups.values().map(|group| group.response_at);
        self.deadline = links.chain(groups).min().unwrap_or(Instant::NEVER);
    }
}

/// A random time up to `within`.
fn pick(random: &mut u64, within: Duration) -> Duration {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let nanos = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(mixed ^ (mixed >> 31)) * u128::from(nanos)) >> 64) as u64)
}

fn state_of(filter: &Filter) -> RecordKind {
    match filter.mode() {
        Mode::Include => RecordKind::ModeIsInclude,
        Mode::Exclude => RecordKind::ModeIsExclude,
    }
}

/// RFC 3376 section 5.1: what changed, to be told `times` times.
fn plan_changes(group: &mut Group, old: &Filter, times: u8) {
    if group.filter.mode() != old.mode() {
        // The new mode with its sources says everything.
        group.mode_changes = times;
        group.changes.clear();
        return;
    }
    let new = group.filter.sources();
    let differing = |a: &[IpAddr], b: &[IpAddr]| -> Vec<IpAddr> {
        a.iter().copied().filter(|source| b.binary_search(source).is_err()).collect()
    };
    for source in differing(new, old.sources()).into_iter().chain(differing(old.sources(), new)) {
        group.changes.retain(|(one, _)| *one != source);
        group.changes.push((source, times));
    }
}

/// Tells the changes of a group once more.
fn tell_changes(group: &mut Group, record: &mut impl FnMut(RecordKind, &[IpAddr])) {
    if group.mode_changes > 0 {
        let kind = match group.filter.mode() {
            Mode::Include => RecordKind::ToInclude,
            Mode::Exclude => RecordKind::ToExclude,
        };
        record(kind, group.filter.sources());
        group.mode_changes -= 1;
    } else {
        for (kind, admitted) in [(RecordKind::Allow, true), (RecordKind::Block, false)] {
            let mut sources: arrayvec::ArrayVec<IpAddr, MAX_SOURCES> = arrayvec::ArrayVec::new();
            for &(source, _) in &group.changes {
                if group.filter.admits(source) != admitted {
                    continue;
                }
                if sources.is_full() {
                    record(kind, &sources);
                    sources.clear();
                }
                sources.push(source);
            }
            if !sources.is_empty() {
                record(kind, &sources);
            }
        }
    }
    for (_, times) in &mut group.changes {
        *times = times.saturating_sub(1);
    }
    group.changes.retain(|(_, times)| *times > 0);
}

/// Remembers the sources that a query asks about (RFC 3376 section 5.2 rules 3 to 5).
fn note_sources(group: &mut Group, pending: bool, sources: &[u8], v6: bool) {
    let size = if v6 { 16 } else { 4 };
    let whole_group_asked = pending && group.queried.is_empty();
    if sources.is_empty() || whole_group_asked {
        return group.queried.clear();
    }
    for bytes in sources.chunks_exact(size) {
        let source = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(four), _) => IpAddr::from(four),
            (_, Ok(sixteen)) => IpAddr::from(sixteen),
            _ => continue,
        };
        if group.queried.contains(&source) {
            continue;
        }
        if group.queried.len() == MAX_QUERIED_SOURCES {
            return group.queried.clear(); // too many to tell apart: the whole group is answered for
        }
        group.queried.push(source);
    }
}

/// Answers a query about one group (RFC 3376 section 5.2, the table of group-and-source-specific answers).
fn answer(group: &mut Group, record: &mut impl FnMut(RecordKind, &[IpAddr])) {
    group.response_at = Instant::NEVER;
    if group.filter.is_nobody() {
        return group.queried.clear();
    }
    if group.queried.is_empty() {
        return record(state_of(&group.filter), group.filter.sources());
    }
    let filter = &group.filter;
    group.queried.retain(|source| filter.admits(*source));
    if !group.queried.is_empty() {
        record(RecordKind::ModeIsInclude, &group.queried);
    }
    group.queried.clear();
}
