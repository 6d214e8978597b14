//! The table: entries, what moves them from state to state, and what is handed to the caller.
//!
//! Every change of state goes through `enter`, which keeps the deadline, the eviction order, the ready link
//! header and the waiting packets in step with it. The steps in the life of an entry are in `table/states.rs`.

use super::action::{Action, Learned, Output, Solicit, SolicitTo};
use super::counters::NeighbourCounters;
use super::deadlines::Deadlines;
use super::index::Index;
use super::link::{LinkHeaders, header, is_neighbour_address};
use super::lists::{Links, List};
use super::pending::{Fate, Pending};
use super::rate::SolicitRate;
use super::rules::{Decision, Known, decide};
use super::{ConfigError, Fact, FactKind, NeighbourConfig, NeighbourId, NeighbourInfo, State};
use crate::limits::{
    MAX_PORTS, NEIGHBOUR_BACKOFF_MOST, NEIGHBOUR_BACKOFF_MULTIPLE, NEIGHBOUR_BACKOFF_PROBES, NEIGHBOUR_FACTS,
    NEIGHBOUR_SOLICITS,
};
use crate::{DropReason, Frame, Instant, MacAddr, PortId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::VecDeque;

mod states;

/// The neighbours of one worker, of all ports and both families.
pub struct NeighbourTable<F> {
    config: NeighbourConfig,
    counters: NeighbourCounters,
    /// What the packet path reads.
    link: LinkHeaders,
    index: Index,
    entries: Box<[Option<Entry>]>,
    generations: Box<[NonZeroU16]>,
    epoch: u32,
    /// Links of the three lists below; a place is in at most one of them.
    order: Links,
    free: List,
    /// NEW and FAILED entries, longest in that state first: the first to be evicted.
    idle: List,
    /// STALE entries, longest in that state first: evicted when there are no idle ones.
    stale: List,
    deadlines: Deadlines,
    pending: Pending<F>,
    rate: SolicitRate,
    /// The Ethernet address of each port that is up.
    port_macs: [Option<MacAddr>; MAX_PORTS],
    solicits: VecDeque<Solicit>,
    facts: VecDeque<Fact>,
    random: u64,
}

/// One neighbour.
struct Entry {
    id: NeighbourId,
    port: PortId,
    addr: IpAddr,
    phase: Phase,
    /// Meaningful in the states that have a link address.
    mac: MacAddr,
    router: bool,
    /// Source of the packet that began the resolution or the probing.
    source: Option<IpAddr>,
    /// Last change of state or Ethernet address.
    updated: Instant,
    /// Last confirmation that it can be reached.
    confirmed: Option<Instant>,
}

/// The state, with the data that exists only in it.
#[derive(Clone, Copy)]
enum Phase {
    New,
    Incomplete {
        probes: u8,
        queue: List,
    },
    Reachable {
        lasts: Duration,
    },
    Stale,
    Delay,
    Probe {
        probes: u8,
    },
    /// `used`: a packet went to it since it was asked for last.
    Unreachable {
        probes: u8,
        used: bool,
    },
    Failed,
    Permanent,
}

impl Phase {
    const fn state(&self) -> State {
        match self {
            Phase::New => State::New,
            Phase::Incomplete { .. } => State::Incomplete,
            Phase::Reachable { .. } => State::Reachable,
            Phase::Stale => State::Stale,
            Phase::Delay => State::Delay,
            Phase::Probe { .. } => State::Probe,
            Phase::Unreachable { .. } => State::Unreachable,
            Phase::Failed => State::Failed,
            Phase::Permanent => State::Permanent,
        }
    }
}

/// Why a new entry is wanted: decides what may give way to it in a full table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// We have a packet for it, or the configuration names it.
    Ours,
    /// Somebody spoke to us.
    Heard,
}

impl<F: Frame> NeighbourTable<F> {
    /// An empty table with all its memory. `seed`: 64 secret random bits, for the hash and for the
    /// randomisation of reachable times.
    ///
    /// # Errors
    /// The configuration asks for something impossible.
    pub fn new(config: NeighbourConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let size = config.max_entries;
        let mut random = seed;
        let secret = [split_mix(&mut random), split_mix(&mut random)];
        let mut order = Links::new(size);
        let mut free = List::EMPTY;
        for place in 0..size {
            order.push(&mut free, place);
        }
        Ok(NeighbourTable {
            counters: NeighbourCounters::default(),
            link: LinkHeaders::new(size),
            index: Index::new(size, 2 * size, secret),
            entries: (0..size).map(|_| None).collect(),
            generations: vec![NonZeroU16::MIN; size].into_boxed_slice(),
            epoch: 0,
            order,
            free,
            idle: List::EMPTY,
            stale: List::EMPTY,
            deadlines: Deadlines::new(size),
            pending: Pending::new(config.max_pending_total),
            rate: SolicitRate::new(config.solicit_rate, config.solicit_burst),
            port_macs: [None; MAX_PORTS],
            solicits: VecDeque::with_capacity(NEIGHBOUR_SOLICITS),
            facts: VecDeque::with_capacity(NEIGHBOUR_FACTS),
            random,
            config,
        })
    }

    // The packet path

    /// The link header for packets to this neighbour, when one may be sent without any side effect: REACHABLE,
    /// DELAY, PROBE, PERMANENT. `None`: ask [`NeighbourTable::output`]. One cache line, one compare.
    #[inline]
    pub fn link_header(&self, id: NeighbourId) -> Option<&[u8; 14]> {
        self.link.get(id)
    }

    /// The entry of a neighbour, if there is one.
    #[inline]
    pub fn lookup(&self, port: PortId, addr: IpAddr) -> Option<NeighbourId> {
        self.index.find(port, addr)
    }

    /// The entry of a neighbour that packets are to be sent to; makes one, in NEW, when there is none. Keep the
    /// id in the route cache.
    ///
    /// # Errors
    /// `NeighbourTableFull`, `PortDown`, or `NeighbourNotUnicast`: the packet ends here.
    #[inline]
    pub fn bind(&mut self, port: PortId, addr: IpAddr, now: Instant) -> Result<NeighbourId, DropReason> {
        match self.index.find(port, addr) {
            Some(id) => Ok(id),
            None => self.bind_new(port, addr, now),
        }
    }

    /// What to do with a packet for which [`NeighbourTable::link_header`] has no answer. `source`: the packet's
    /// source address where it is one of ours, as a hint for the solicitation.
    pub fn output(&mut self, id: NeighbourId, frame: F, source: Option<IpAddr>, now: Instant) -> Output<F> {
        let place = id.place();
        let Some(entry) = self.entry_mut(id) else { return Output::Rebind(frame) };
        let (port, addr, mac) = (entry.port, entry.addr, entry.mac);
        let Some(port_mac) = self.port_macs[port.index()] else {
            return Output::Drop { frame, reason: DropReason::PortDown };
        };
        match self.state_at(place) {
            State::Reachable | State::Delay | State::Probe | State::Permanent => {}
            State::Unreachable => self.note_use(place),
            // RFC 4861 section 7.3.3: the first packet to a STALE neighbour goes, and starts the delay.
            State::Stale => {
                self.hint(place, source);
                self.enter(place, Phase::Delay, now);
            }
            State::Incomplete => return self.enqueue(id, frame),
            // RFC 4861 section 7.2.2, RFC 1122 section 2.3.2.2 (save at least one packet). Like Linux, a
            // packet to a FAILED neighbour asks again.
            State::New | State::Failed => {
                if !self.rate.take(port, now) {
                    self.counters.solicits_rate_limited += 1;
                    return Output::Drop { frame, reason: DropReason::NeighbourRateLimited };
                }
                self.hint(place, source);
                self.enter(place, Phase::Incomplete { probes: 1, queue: List::EMPTY }, now);
                self.solicit(place, SolicitTo::Group);
                return self.enqueue(id, frame);
            }
        }
        Output::Send { frame, header: header(mac, port_mac, addr) }
    }

    /// The next thing to do, until `None`: call it at the end of each turn, after input and `expire`.
    pub fn next_action(&mut self) -> Option<Action<F>> {
        if let Some((id, fate, frame)) = self.pending.next_done() {
            return Some(match fate {
                Fate::Release { header, port } => {
                    self.counters.released += 1;
                    Action::Release { frame, header, port, id }
                }
                Fate::Unreachable { port } => {
                    self.counters.unreachable += 1;
                    Action::Unreachable { frame, port }
                }
                Fate::Drop(reason) => {
                    self.counters.flushed += 1;
                    Action::Drop { frame, reason }
                }
            });
        }
        if let Some(solicit) = self.solicits.pop_front() {
            return Some(Action::Solicit(solicit));
        }
        self.facts.pop_front().map(Action::Learned)
    }

    // What is heard

    /// An upper layer, or a protocol above, knows that packets to this neighbour arrive (RFC 4861 section
    /// 7.3.1). True when that means something for its state: it has a link address and is not PERMANENT.
    pub fn confirm(&mut self, id: NeighbourId, now: Instant) -> bool {
        let Some(entry) = self.entry_mut(id) else { return false };
        match entry.phase {
            Phase::Reachable { .. }
            | Phase::Stale
            | Phase::Delay
            | Phase::Probe { .. }
            | Phase::Unreachable { .. } => {
                self.make_reachable(id.place(), now);
                true
            }
            Phase::New | Phase::Incomplete { .. } | Phase::Failed | Phase::Permanent => false,
        }
    }

    /// An upper layer gets no answers by this neighbour: what was known of it is not believed any more, and the next
    /// packet begins to find out (RFC 1122 section 3.3.1.4: advice).
    pub fn doubt(&mut self, id: NeighbourId, now: Instant) {
        let Some(entry) = self.entry_mut(id) else { return };
        if matches!(entry.phase, Phase::Reachable { .. }) {
            self.enter(id.place(), Phase::Stale, now);
        }
    }

    /// As [`NeighbourTable::confirm`], for callers that kept no id.
    pub fn confirm_address(&mut self, port: PortId, addr: IpAddr, now: Instant) -> bool {
        self.lookup(port, addr).is_some_and(|id| self.confirm(id, now))
    }

    /// An ARP request from `sender` was heard. `for_us`: its target is an address of ours, so that an entry is
    /// made (RFC 826); `gratuitous`: sender and target are the same address. An all-zeros sender (a probe, RFC
    /// 5227) teaches nothing.
    pub fn arp_request(
        &mut self,
        port: PortId,
        sender: Ipv4Addr,
        mac: MacAddr,
        for_us: bool,
        gratuitous: bool,
        now: Instant,
    ) -> Learned {
        let kind = FactKind::ArpRequest { for_us, gratuitous };
        self.hear(Fact { port, addr: sender.into(), mac: Some(mac), kind }, now)
    }

    /// An ARP reply from `sender` was heard. `to_us`: the link destination was our own address, not a group.
    pub fn arp_reply(
        &mut self,
        port: PortId,
        sender: Ipv4Addr,
        mac: MacAddr,
        to_us: bool,
        gratuitous: bool,
        now: Instant,
    ) -> Learned {
        let kind = FactKind::ArpReply { to_us, gratuitous };
        self.hear(Fact { port, addr: sender.into(), mac: Some(mac), kind }, now)
    }

    /// A valid neighbour solicitation for an address of ours, with the source link-layer address option, came
    /// from `source` (RFC 4861 section 7.2.3).
    pub fn ns(&mut self, port: PortId, source: Ipv6Addr, mac: MacAddr, now: Instant) -> Learned {
        let kind = FactKind::LinkAddressOption { router: None };
        self.hear(Fact { port, addr: source.into(), mac: Some(mac), kind }, now)
    }

    /// A valid neighbour advertisement about `target` (RFC 4861 section 7.2.5). `mac`: its target link-layer
    /// address option; then the flags S, O and R.
    #[allow(clippy::too_many_arguments)] // the message has that many fields; a struct would only be Fact again
    pub fn na(
        &mut self,
        port: PortId,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
        solicited: bool,
        overrides: bool,
        router: bool,
        now: Instant,
    ) -> Learned {
        let kind = FactKind::Advertisement { solicited, overrides, router };
        self.hear(Fact { port, addr: target.into(), mac, kind }, now)
    }

    /// A router solicitation (`router` false, RFC 4861 section 6.2.6) or advertisement (true, section 6.3.4)
    /// with the source link-layer address option came from `source`.
    pub fn router_message(
        &mut self,
        port: PortId,
        source: Ipv6Addr,
        mac: MacAddr,
        router: bool,
        now: Instant,
    ) -> Learned {
        let kind = FactKind::LinkAddressOption { router: Some(router) };
        self.hear(Fact { port, addr: source.into(), mac: Some(mac), kind }, now)
    }

    /// A valid redirect to `target` with the target link-layer address option (RFC 4861 section 8.3).
    /// `to_router`: target and destination differ, so that the target is a router.
    pub fn redirect(
        &mut self,
        port: PortId,
        target: Ipv6Addr,
        mac: MacAddr,
        to_router: bool,
        now: Instant,
    ) -> Learned {
        let kind = FactKind::LinkAddressOption { router: to_router.then_some(true) };
        self.hear(Fact { port, addr: target.into(), mac: Some(mac), kind }, now)
    }

    /// Another worker heard this: the same rules, and it is not told on.
    pub fn learn(&mut self, fact: Fact, now: Instant) -> Learned {
        let learned = self.apply(&fact, now);
        match learned {
            Learned::Ignored => self.counters.ignored += 1,
            Learned::Unchanged(_) => {}
            Learned::Created(_) | Learned::Changed { .. } => self.counters.learned += 1,
        }
        learned
    }

    // Time

    /// When [`NeighbourTable::expire`] has to be called next; [`Instant::NEVER`] when nothing is due ever.
    pub fn next_deadline(&self) -> Instant {
        self.deadlines.first().map_or(Instant::NEVER, |(at, _)| at)
    }

    /// Does what is due at `now`, at most `budget` entries; returns how many it did. Each costs a few dozen
    /// steps, or one for each packet that waits for a neighbour that has failed.
    pub fn expire(&mut self, now: Instant, budget: usize) -> usize {
        let mut done = 0;
        while done < budget {
            match self.deadlines.first() {
                Some((at, place)) if at <= now => self.fire(place, now),
                _ => break,
            }
            done += 1;
        }
        done
    }

    // Control

    /// The port is up with this Ethernet address, or its address changed: every link header of the port follows.
    pub fn set_port_mac(&mut self, port: PortId, mac: MacAddr) {
        self.port_macs[port.index()] = Some(mac);
        for place in 0..self.entries.len() {
            if self.port_at(place) == Some(port) {
                self.publish(place);
            }
        }
    }

    /// The port went down: its dynamic neighbours go, packets that wait for them come back as
    /// [`Action::Drop`], and PERMANENT ones are not used until `set_port_mac`.
    pub fn port_down(&mut self, port: PortId) {
        self.port_macs[port.index()] = None;
        for place in 0..self.entries.len() {
            if self.port_at(place) != Some(port) {
                continue;
            }
            if self.state_at(place) == State::Permanent {
                self.publish(place);
            } else {
                self.remove(place, DropReason::PortDown);
            }
        }
    }

    /// The end: neighbours that are still asked for go, and packets that wait for them come back as
    /// [`Action::Drop`].
    pub fn stop_waiting(&mut self) {
        for place in 0..self.entries.len() {
            if self.port_at(place).is_some() && self.state_at(place) == State::Incomplete {
                self.remove(place, DropReason::Stopping);
            }
        }
    }

    /// Makes the neighbour PERMANENT with this Ethernet address, whatever it was; packets that wait are released.
    ///
    /// # Errors
    /// `NeighbourNotUnicast`: one of the addresses is not a station's. `NeighbourTableFull`.
    pub fn add_static(
        &mut self,
        port: PortId,
        addr: IpAddr,
        mac: MacAddr,
        now: Instant,
    ) -> Result<NeighbourId, DropReason> {
        if !is_neighbour_address(addr) || !mac.is_station() {
            return Err(DropReason::NeighbourNotUnicast);
        }
        let id = match self.lookup(port, addr) {
            Some(id) => id,
            None => self.create(port, addr, Need::Ours, now)?,
        };
        if let Some(entry) = self.entry_mut(id) {
            entry.mac = mac;
            entry.router = false;
        }
        self.enter(id.place(), Phase::Permanent, now);
        Ok(id)
    }

    /// Takes a PERMANENT neighbour away; its id is stale afterwards. False when there is no such one.
    pub fn remove_static(&mut self, port: PortId, addr: IpAddr) -> bool {
        match self.lookup(port, addr) {
            Some(id) if self.state_at(id.place()) == State::Permanent => {
                self.remove(id.place(), DropReason::NeighbourUnreachable);
                true
            }
            _ => false,
        }
    }

    // For people

    /// Every neighbour, in no order.
    pub fn iter(&self) -> impl Iterator<Item = NeighbourInfo> + '_ {
        self.entries.iter().flatten().map(Entry::info)
    }

    /// One neighbour; `None` when the id is stale.
    pub fn get(&self, id: NeighbourId) -> Option<NeighbourInfo> {
        self.entries.get(id.place())?.as_ref().filter(|entry| entry.id == id).map(Entry::info)
    }

    /// Entries in the table.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames held: packets that wait, and packets that `next_action` has still to give back.
    pub fn frames_held(&self) -> usize {
        self.pending.held()
    }

    /// Changes when the generation of a place has come round, after 65,535 neighbours in it: ids from an earlier
    /// epoch must be thrown away. A route cache compares it once a burst.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What happened so far.
    pub fn counters(&self) -> &NeighbourCounters {
        &self.counters
    }
}

impl Entry {
    fn info(&self) -> NeighbourInfo {
        let state = self.phase.state();
        let (probes, waiting) = match self.phase {
            Phase::Incomplete { probes, queue } => (probes, queue.len()),
            Phase::Probe { probes } | Phase::Unreachable { probes, .. } => (probes, 0),
            _ => (0, 0),
        };
        let Entry { id, port, addr, router, updated, confirmed, .. } = *self;
        let mac = state.has_link_address().then_some(self.mac);
        NeighbourInfo { id, port, addr, mac, state, router, probes, waiting, updated, confirmed }
    }
}

/// The next number of a sequence (SplitMix64; Steele, Lea and Flood, 2014): spreads a seed, draws the
/// randomised times. Not for secrets that an attacker sees outputs of.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
