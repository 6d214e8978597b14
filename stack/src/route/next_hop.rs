//! Next hops: what the leaves of the forwarding tables stand for.
//!
//! A leaf holds a [`NextHopId`]; routes that lead the same way share one. The table behind it is atomic words
//! in place, not a snapshot: a place is written before any leaf names it, and written again only after a grace
//! period, so within a burst what an id stands for cannot change and a new id can always be resolved. (A copied
//! snapshot would cost the writer the whole table for each new next hop, and the readers a way to refresh.)
//!
//! ```text
//!   leaf ── id ──▶ place  [ kind, port, group │ router's address, 128 bits │ metrics ]    32 bytes
//!                              │ kind = multipath
//!                              ▼
//!                          buckets[group][flow hash] ── id ──▶ place of the member
//! ```
//!
//! Buckets are the exception: they are changed in place when a member's port goes down or up, so a flow may see
//! the member from before or after.

use crate::PortId;
use crate::limits::{MAX_PATHS, MAX_PORTS, MULTIPATH_BUCKETS};
use crate::route::ecmp::{NOBODY, Owners, quotas, rebalance};
use crate::route::entry::{Path, RouteError, Target};
use crate::route::metrics::RouteMetrics;
use crate::route::publish::{Dead, Graveyard};
use crate::route::words::{Words, WordsError};
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::collections::HashMap;

/// The name of a next hop in the forwarding tables. It means something until the reader's next
/// [`crate::route::RouteReader::begin_burst`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct NextHopId(u32);

impl NextHopId {
    /// No route.
    pub const NONE: NextHopId = NextHopId(0);

    /// The id with number `index`, below 2^24.
    pub(crate) const fn from_index(index: u32) -> Self {
        NextHopId(index)
    }

    /// Its number, below 2^24; 0 is [`NextHopId::NONE`].
    pub const fn index(self) -> u32 {
        self.0
    }

    /// True when there is no route.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What to do with a packet, as far as routing knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// It is for us: the destination is an address of ours.
    Local,
    /// It is for us and all others on the link: an IPv4 broadcast address (RFC 919, RFC 922).
    Broadcast {
        /// The link.
        port: PortId,
    },
    /// The destination is on this link: it is the neighbour itself.
    Connected {
        /// The link.
        port: PortId,
    },
    /// The neighbour is a router.
    Gateway {
        /// The link.
        port: PortId,
        /// The router's address.
        via: IpAddr,
    },
    /// One of several, by flow: see [`crate::route::RouteReader::select`].
    Multipath(Multipath),
    /// Drop it silently.
    Blackhole,
    /// Drop it and tell the sender: host unreachable.
    Unreachable,
    /// Drop it and tell the sender: administratively prohibited.
    Prohibit,
}

impl NextHop {
    /// The port it leaves by, if that is one and the same for all flows.
    pub const fn port(self) -> Option<PortId> {
        match self {
            NextHop::Broadcast { port } | NextHop::Connected { port } | NextHop::Gateway { port, .. } => {
                Some(port)
            }
            NextHop::Local
            | NextHop::Multipath(_)
            | NextHop::Blackhole
            | NextHop::Unreachable
            | NextHop::Prohibit => None,
        }
    }
}

/// A multipath group; a handle like [`NextHopId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Multipath {
    group: u32,
}

const PLACE: usize = 4;

/// What readers read.
#[derive(Debug)]
pub(crate) struct NextHops {
    places: Words<AtomicU64>,
    buckets: Words<AtomicU32>,
}

impl NextHops {
    pub(crate) fn new(hops: usize, groups: usize) -> Result<Self, WordsError> {
        let places = Words::zeroed((hops + 1) * PLACE)?;
        Ok(NextHops { places, buckets: Words::zeroed(groups * MULTIPATH_BUCKETS)? })
    }

    // Relaxed in get and put: the id came from an Acquire load of a leaf or bucket whose Release store came after
    // put, and the place is not written again while the id can be in use.

    #[inline]
    pub(crate) fn get(&self, id: NextHopId) -> Option<NextHop> {
        let place = self.places.get().get(id.0 as usize * PLACE..)?.first_chunk::<PLACE>()?;
        let [head, high, low] = [0, 1, 2].map(|word: usize| place[word].load(Ordering::Relaxed));
        let port = PortId::new((head >> 16 & 0xffff) as usize);
        Some(match (head & 0xff, port) {
            (1, _) => NextHop::Local,
            (2, Some(port)) => NextHop::Broadcast { port },
            (3, Some(port)) => NextHop::Connected { port },
            (4, Some(port)) => NextHop::Gateway { port, via: Ipv4Addr::from_bits(low as u32).into() },
            (5, Some(port)) => {
                let via = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
                NextHop::Gateway { port, via: via.into() }
            }
            (6, _) => NextHop::Multipath(Multipath { group: (head >> 32) as u32 }),
            (7, _) => NextHop::Blackhole,
            (8, _) => NextHop::Unreachable,
            (9, _) => NextHop::Prohibit,
            _ => return None, // 0: no route
        })
    }

    /// What the routes with this next hop say about the way.
    #[inline]
    pub(crate) fn metrics(&self, id: NextHopId) -> RouteMetrics {
        let word = self.places.get().get(id.0 as usize * PLACE + 3);
        RouteMetrics::from_word(word.map_or(0, |word| word.load(Ordering::Relaxed)))
    }

    fn put(&self, id: u32, hop: NextHop, metrics: RouteMetrics) {
        let port = |port: PortId| (port.index() as u64) << 16;
        let (head, address) = match hop {
            NextHop::Local => (1, 0),
            NextHop::Broadcast { port: p } => (2 | port(p), 0),
            NextHop::Connected { port: p } => (3 | port(p), 0),
            NextHop::Gateway { port: p, via: IpAddr::V4(via) } => (4 | port(p), u128::from(via.to_bits())),
            NextHop::Gateway { port: p, via: IpAddr::V6(via) } => (5 | port(p), via.to_bits()),
            NextHop::Multipath(multipath) => (6 | u64::from(multipath.group) << 32, 0),
            NextHop::Blackhole => (7, 0),
            NextHop::Unreachable => (8, 0),
            NextHop::Prohibit => (9, 0),
        };
        let place = &self.places.get()[id as usize * PLACE..][..PLACE];
        let words = [head, (address >> 64) as u64, address as u64, metrics.to_word()];
        for (word, value) in place.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// The member for a flow. Acquire: partner of [`HopPool::deal`]'s Release.
    #[inline]
    pub(crate) fn select(&self, multipath: Multipath, flow_hash: u32) -> Option<NextHopId> {
        let at = multipath.group as usize * MULTIPATH_BUCKETS + flow_hash as usize % MULTIPATH_BUCKETS;
        self.buckets.get().get(at).map(|bucket| NextHopId(bucket.load(Ordering::Acquire)))
    }
}

/// What makes two next hops the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Single(NextHop, RouteMetrics),
    /// Members and weights, in order of members' ids.
    Group(ArrayVec<(u32, u16), MAX_PATHS>, RouteMetrics),
}

#[derive(Debug)]
struct Record {
    key: Key,
    /// Routes, alternatives that wait, and groups that use it.
    uses: u32,
    /// Whether a packet can leave this way: its port, or one of its members', is up.
    live: bool,
    group: Option<(u32, Box<Owners>)>,
}

/// The writer's side: which next hops there are, who uses them, and which are alive.
#[derive(Debug)]
pub(crate) struct HopPool {
    records: Vec<Option<Record>>,
    ids: HashMap<Key, u32>,
    free: Vec<u32>,
    free_groups: Vec<u32>,
    capacity: (usize, usize),
    port_up: [bool; MAX_PORTS],
}

impl HopPool {
    /// For `hops` next hops and `groups` multipath groups; all ports are up.
    pub(crate) fn new(hops: usize, groups: usize) -> Self {
        HopPool {
            records: vec![None], // id 0 is no route
            ids: HashMap::new(),
            free: Vec::new(),
            free_groups: (0..groups as u32).rev().collect(),
            capacity: (hops, groups),
            port_up: [true; MAX_PORTS],
        }
    }

    /// The id for `target`, with one more use.
    pub(crate) fn acquire(
        &mut self,
        shared: &NextHops,
        target: &Target,
        metrics: RouteMetrics,
    ) -> Result<NextHopId, RouteError> {
        let hop = match target {
            Target::Local => NextHop::Local,
            Target::Broadcast { port } => NextHop::Broadcast { port: *port },
            Target::Connected { port } => NextHop::Connected { port: *port },
            Target::Gateway { port, via } => NextHop::Gateway { port: *port, via: *via },
            Target::Blackhole => NextHop::Blackhole,
            Target::Unreachable => NextHop::Unreachable,
            Target::Prohibit => NextHop::Prohibit,
            Target::Multipath(paths) => return self.acquire_group(shared, paths, metrics),
        };
        self.acquire_single(shared, hop, metrics)
    }

    fn acquire_single(
        &mut self,
        shared: &NextHops,
        hop: NextHop,
        metrics: RouteMetrics,
    ) -> Result<NextHopId, RouteError> {
        let key = Key::Single(hop, metrics);
        if let Some(&id) = self.ids.get(&key) {
            self.hold(id);
            return Ok(NextHopId(id));
        }
        let live = hop.port().is_none_or(|port| self.port_up[port.index()]);
        let id = self.place()?;
        shared.put(id, hop, metrics);
        self.settle(id, Record { key, uses: 1, live, group: None });
        Ok(NextHopId(id))
    }

    fn acquire_group(
        &mut self,
        shared: &NextHops,
        paths: &[Path],
        metrics: RouteMetrics,
    ) -> Result<NextHopId, RouteError> {
        let mut members = ArrayVec::<(u32, u16), MAX_PATHS>::new();
        let mut result = Ok(());
        for path in paths.iter().take(MAX_PATHS) {
            let hop = match path.via {
                Some(via) => NextHop::Gateway { port: path.port, via },
                None => NextHop::Connected { port: path.port },
            };
            match self.acquire_single(shared, hop, RouteMetrics::NONE) {
                Ok(id) => members.push((id.0, path.weight)),
                Err(error) => result = Err(error),
            }
        }
        members.sort_unstable();
        let made = result.and_then(|()| self.group_of(shared, &members, metrics));
        if !matches!(made, Ok((_, true))) {
            // The group existed and holds its members already, or it could not be made.
            members.iter().for_each(|&(id, _)| self.abandon(NextHopId(id)));
        }
        made.map(|(id, _)| id)
    }

    /// The group with these members, and whether it is new.
    fn group_of(
        &mut self,
        shared: &NextHops,
        members: &ArrayVec<(u32, u16), MAX_PATHS>,
        metrics: RouteMetrics,
    ) -> Result<(NextHopId, bool), RouteError> {
        let key = Key::Group(members.clone(), metrics);
        if let Some(&id) = self.ids.get(&key) {
            self.hold(id);
            return Ok((NextHopId(id), false));
        }
        let id = self.place()?;
        let Some(group) = self.free_groups.pop() else {
            self.free.push(id);
            return Err(RouteError::TooManyMultipath(self.capacity.1));
        };
        shared.put(id, NextHop::Multipath(Multipath { group }), metrics);
        let owners = Box::new([NOBODY; MULTIPATH_BUCKETS]);
        self.settle(id, Record { key, uses: 1, live: false, group: Some((group, owners)) });
        self.deal(shared, id);
        Ok((NextHopId(id), true))
    }

    /// One use less; at none its place waits for the grace period.
    pub(crate) fn release(&mut self, id: NextHopId, dead: &mut Graveyard) {
        self.drop_use(id, &mut |unlinked| dead.push(unlinked));
    }

    /// Takes back an [`HopPool::acquire`] of which no reader has heard: what it made is free at once.
    pub(crate) fn abandon(&mut self, id: NextHopId) {
        let mut unlinked = ArrayVec::<Dead, { MAX_PATHS + 2 }>::new();
        self.drop_use(id, &mut |dead| unlinked.push(dead));
        for dead in unlinked {
            match dead {
                Dead::Hop(id) => self.reuse(id),
                Dead::Buckets(group) => self.reuse_buckets(group),
                Dead::Group4(_) | Dead::Nodes6(..) | Dead::Leaves6(..) => {}
            }
        }
    }

    fn drop_use(&mut self, id: NextHopId, unlinked: &mut dyn FnMut(Dead)) {
        let Some(place @ Some(_)) = self.records.get_mut(id.0 as usize) else { return };
        if let Some(record) = place {
            record.uses -= 1;
            if record.uses > 0 {
                return;
            }
        }
        let Some(record) = place.take() else { return };
        self.ids.remove(&record.key);
        unlinked(Dead::Hop(id.0));
        if let Some((group, _)) = record.group {
            unlinked(Dead::Buckets(group));
        }
        if let Key::Group(members, _) = record.key {
            members.iter().for_each(|&(id, _)| self.drop_use(NextHopId(id), unlinked));
        }
    }

    /// A place whose grace period has passed.
    pub(crate) fn reuse(&mut self, id: u32) {
        self.free.push(id);
    }

    /// Buckets whose grace period has passed.
    pub(crate) fn reuse_buckets(&mut self, group: u32) {
        self.free_groups.push(group);
    }

    /// Whether a packet can leave this way.
    pub(crate) fn is_live(&self, id: u32) -> bool {
        self.record(id).is_some_and(|record| record.live)
    }

    pub(crate) fn in_use(&self) -> usize {
        self.ids.len()
    }

    /// Records the state of `port`, deals the buckets of its groups out again, and tells for each id whether it
    /// came to life or died by it. `None` when the port was in that state already.
    pub(crate) fn set_port_up(&mut self, shared: &NextHops, port: PortId, up: bool) -> Option<Vec<bool>> {
        if core::mem::replace(&mut self.port_up[port.index()], up) == up {
            return None;
        }
        let mut changed = vec![false; self.records.len()];
        for (id, record) in self.records.iter_mut().enumerate() {
            if let Some(record) = record
                && let Key::Single(hop, _) = record.key
                && hop.port() == Some(port)
            {
                record.live = up;
                changed[id] = true;
            }
        }
        for id in 0..self.records.len() {
            let Some(Record { key: Key::Group(members, _), live, .. }) = self.record(id as u32) else {
                continue;
            };
            if members.iter().any(|&(member, _)| changed[member as usize]) {
                let before = *live;
                changed[id] = self.deal(shared, id as u32) != before;
            }
        }
        Some(changed)
    }

    /// What `id` stands for, as the control side says it.
    pub(crate) fn target(&self, id: u32) -> Option<(Target, RouteMetrics)> {
        let (members, metrics) = match &self.record(id)?.key {
            Key::Single(hop, metrics) => {
                let target = match *hop {
                    NextHop::Local => Target::Local,
                    NextHop::Broadcast { port } => Target::Broadcast { port },
                    NextHop::Connected { port } => Target::Connected { port },
                    NextHop::Gateway { port, via } => Target::Gateway { port, via },
                    NextHop::Multipath(_) => return None, // groups have keys of their own
                    NextHop::Blackhole => Target::Blackhole,
                    NextHop::Unreachable => Target::Unreachable,
                    NextHop::Prohibit => Target::Prohibit,
                };
                return Some((target, *metrics));
            }
            Key::Group(members, metrics) => (members, *metrics),
        };
        let path = |&(id, weight): &(u32, u16)| match self.single(id)? {
            NextHop::Gateway { port, via } => Some(Path { port, via: Some(via), weight }),
            hop => Some(Path { port: hop.port()?, via: None, weight }),
        };
        let mut paths: Vec<Path> = members.iter().filter_map(path).collect();
        paths.sort_unstable();
        Some((Target::Multipath(paths), metrics))
    }

    /// Deals the buckets of group `id` to its living members and says whether it has any. Each is one store;
    /// Release, partner [`NextHops::select`].
    fn deal(&mut self, shared: &NextHops, id: u32) -> bool {
        let Some(Record { key: Key::Group(members, _), .. }) = self.record(id) else { return false };
        let members = members.clone();
        let alive = |&(id, weight): &(u32, u16)| if self.is_live(id) { weight } else { 0 };
        let weights: ArrayVec<u16, MAX_PATHS> = members.iter().map(alive).collect();
        let names: ArrayVec<u64, MAX_PATHS> = members.iter().map(|&(id, _)| self.name(id)).collect();
        let live = weights.iter().any(|&weight| weight != 0);
        let Some(Some(record)) = self.records.get_mut(id as usize) else { return false };
        record.live = live;
        if let Some((group, owners)) = &mut record.group
            && live
        {
            rebalance(owners, &quotas(&weights), &names);
            let buckets = &shared.buckets.get()[*group as usize * MULTIPATH_BUCKETS..][..MULTIPATH_BUCKETS];
            for (bucket, &owner) in buckets.iter().zip(owners.iter()) {
                bucket.store(members[usize::from(owner)].0, Ordering::Release);
            }
        }
        live
    }

    /// A number for rendezvous hashing that follows the way, not the id.
    fn name(&self, id: u32) -> u64 {
        let spread = |x: u64| (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31);
        let (port, address) = match self.single(id) {
            Some(NextHop::Gateway { port, via: IpAddr::V4(via) }) => {
                (port.index(), via.to_ipv6_mapped().to_bits())
            }
            Some(NextHop::Gateway { port, via: IpAddr::V6(via) }) => (port.index(), via.to_bits()),
            other => (other.and_then(NextHop::port).map_or(0, PortId::index), 0),
        };
        spread(spread(spread(port as u64 + 1) ^ (address >> 64) as u64) ^ address as u64)
    }

    fn single(&self, id: u32) -> Option<NextHop> {
        match self.record(id)?.key {
            Key::Single(hop, _) => Some(hop),
            Key::Group(..) => None,
        }
    }

    fn record(&self, id: u32) -> Option<&Record> {
        self.records.get(id as usize)?.as_ref()
    }

    fn hold(&mut self, id: u32) {
        if let Some(Some(record)) = self.records.get_mut(id as usize) {
            record.uses += 1;
        }
    }

    fn place(&mut self) -> Result<u32, RouteError> {
        if let Some(id) = self.free.pop() {
            return Ok(id);
        }
        if self.records.len() > self.capacity.0 {
            return Err(RouteError::TooManyNextHops(self.capacity.0));
        }
        self.records.push(None);
        Ok(self.records.len() as u32 - 1)
    }

    fn settle(&mut self, id: u32, record: Record) {
        self.ids.insert(record.key.clone(), id);
        self.records[id as usize] = Some(record);
    }
}
