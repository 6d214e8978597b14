//! The life of an entry: made, moved from state to state, asked about, taken away.

use super::super::link::{group_mac, solicited_node};
use super::*;

impl<F: Frame> NeighbourTable<F> {
    /// `bind` for a neighbour that has no entry.
    #[cold]
    pub(super) fn bind_new(
        &mut self,
        port: PortId,
        addr: IpAddr,
        now: Instant,
    ) -> Result<NeighbourId, DropReason> {
        if !is_neighbour_address(addr) {
            return Err(DropReason::NeighbourNotUnicast);
        }
        if self.port_macs[port.index()].is_none() {
            return Err(DropReason::PortDown);
        }
        self.create(port, addr, Need::Ours, now)
    }

    /// Makes an entry, in NEW. Costs one eviction at most.
    pub(super) fn create(
        &mut self,
        port: PortId,
        addr: IpAddr,
        need: Need,
        now: Instant,
    ) -> Result<NeighbourId, DropReason> {
        if self.free.len() == 0 {
            self.evict(need, now);
        }
        let Some(place) = self.free.front() else {
            self.counters.table_full += 1;
            return Err(DropReason::NeighbourTableFull);
        };
        let id = NeighbourId::new(place as u16, self.generations[place]);
        if !self.index.insert(port, addr, id) {
            self.counters.table_full += 1;
            return Err(DropReason::NeighbourTableFull);
        }
        self.order.unlink(&mut self.free, place);
        self.entries[place] = Some(Entry {
            id,
            port,
            addr,
            phase: Phase::New,
            mac: MacAddr::ZERO,
            router: false,
            source: None,
            updated: now,
            confirmed: None,
        });
        self.order.push(&mut self.idle, place);
        self.deadlines.set(place, now + self.config.gc_stale_time);
        self.counters.created += 1;
        Ok(id)
    }

    /// Makes room: the entry that is idle for longest, else the one that is STALE for longest. Never one that is
    /// in use or being asked about; and for somebody who merely spoke to us, none that changed just now.
    fn evict(&mut self, need: Need, now: Instant) {
        let candidates = [self.idle.front(), self.stale.front()];
        let place = candidates.into_iter().flatten().find(|&place| {
            let young = |entry: &Entry| now.since(entry.updated) < self.config.evict_min_age;
            need == Need::Ours || !self.entries[place].as_ref().is_some_and(young)
        });
        if let Some(place) = place {
            self.counters.evicted += 1;
            self.remove(place, DropReason::NeighbourUnreachable);
        }
    }

    /// Takes an entry away. Its id is stale from now on; packets that wait for it end for `reason`.
    pub(super) fn remove(&mut self, place: usize, reason: DropReason) {
        let Some(entry) = self.entries[place].take() else { return };
        if let Phase::Incomplete { mut queue, .. } = entry.phase {
            self.pending.settle(&mut queue, Fate::Drop(reason));
        }
        if let Some(list) = eviction_list(&mut self.idle, &mut self.stale, entry.phase.state()) {
            self.order.unlink(list, place);
        }
        self.deadlines.clear(place);
        self.index.remove(entry.id);
        self.link.withdraw(entry.id);
        self.generations[place] = self.generations[place].checked_add(1).unwrap_or_else(|| {
            self.epoch = self.epoch.wrapping_add(1);
            NonZeroU16::MIN
        });
        self.order.push(&mut self.free, place);
    }

    /// Moves an entry to a state, and with it all that depends on the state.
    pub(super) fn enter(&mut self, place: usize, phase: Phase, now: Instant) {
        let Some(entry) = self.entries[place].as_mut() else { return };
        let before = core::mem::replace(&mut entry.phase, phase);
        if before.state() != phase.state() {
            entry.updated = now;
        }
        let (port, addr, mac) = (entry.port, entry.addr, entry.mac);
        if let Some(list) = eviction_list(&mut self.idle, &mut self.stale, before.state()) {
            self.order.unlink(list, place);
        }
        if let Some(list) = eviction_list(&mut self.idle, &mut self.stale, phase.state()) {
            self.order.push(list, place);
        }
        let wait = match phase {
            Phase::New | Phase::Stale | Phase::Failed => Some(self.config.gc_stale_time),
            Phase::Incomplete { .. } | Phase::Probe { .. } => Some(self.config.retrans_time),
            Phase::Unreachable { probes, .. } => Some(self.back_off(probes)),
            Phase::Reachable { lasts } => Some(lasts),
            Phase::Delay => Some(self.config.delay_first_probe),
            Phase::Permanent => None,
        };
        match wait {
            Some(wait) => self.deadlines.set(place, now + wait),
            None => self.deadlines.clear(place),
        }
        self.publish(place);
        let Phase::Incomplete { mut queue, .. } = before else { return };
        if matches!(phase, Phase::Incomplete { .. }) {
            return; // the queue is in the new phase
        }
        let waited = queue.len() > 0;
        let fate = if !phase.state().has_link_address() {
            Fate::Unreachable { port }
        } else if let Some(port_mac) = self.port_macs[port.index()] {
            self.counters.resolved += 1;
            Fate::Release { header: header(mac, port_mac, addr), port }
        } else {
            Fate::Drop(DropReason::PortDown)
        };
        self.pending.settle(&mut queue, fate);
        // The packets that waited are now sent to a STALE neighbour, which starts the delay (RFC 4861 section
        // 7.3.3; the table in appendix C stops one step earlier). Linux does so too.
        if waited && matches!(phase, Phase::Stale) {
            self.enter(place, Phase::Delay, now);
        }
    }

    /// Puts the link header where the packet path finds it, or takes it away.
    pub(super) fn publish(&mut self, place: usize) {
        let Some(entry) = self.entries[place].as_ref() else { return };
        let ready = match entry.phase.state() {
            State::Reachable | State::Delay | State::Probe | State::Permanent => true,
            State::New | State::Incomplete | State::Stale | State::Unreachable | State::Failed => false,
        };
        match self.port_macs[entry.port.index()] {
            Some(port_mac) if ready => self.link.publish(entry.id, header(entry.mac, port_mac, entry.addr)),
            _ => self.link.withdraw(entry.id),
        }
    }

    /// It can be reached, as was just confirmed.
    pub(super) fn make_reachable(&mut self, place: usize, now: Instant) {
        let Some(entry) = self.entries[place].as_mut() else { return };
        entry.confirmed = Some(now);
        // In REACHABLE the deadline is moved when it comes, so that a confirmation a packet costs one store.
        if !matches!(entry.phase, Phase::Reachable { .. }) {
            let lasts = self.around(self.config.reachable_time); // RFC 4861 section 6.3.2
            self.enter(place, Phase::Reachable { lasts }, now);
        }
    }

    /// A time between half and one and a half times `mean`, all alike.
    fn around(&mut self, mean: Duration) -> Duration {
        let factor = 0x8000 + (split_mix(&mut self.random) >> 48); // in 1/65,536ths
        let nanos = mean.as_nanos().saturating_mul(u128::from(factor)) >> 16;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long the answer to the solicitation with this number, from 1, is waited for in UNREACHABLE (RFC 7048 section
    /// 3): each time three times as long, up to a minute, and never in step with others.
    fn back_off(&mut self, probes: u8) -> Duration {
        let factor = NEIGHBOUR_BACKOFF_MULTIPLE.saturating_pow(u32::from(probes.saturating_sub(1)));
        let mean = self.config.retrans_time.saturating_mul(factor);
        self.around(mean.min(NEIGHBOUR_BACKOFF_MOST))
    }

    /// A packet went to an UNREACHABLE neighbour: it is worth being asked for again.
    pub(super) fn note_use(&mut self, place: usize) {
        if let Some(Phase::Unreachable { used, .. }) =
            self.entries[place].as_mut().map(|entry| &mut entry.phase)
        {
            *used = true;
        }
    }

    /// What happens to an entry when its deadline has come.
    pub(super) fn fire(&mut self, place: usize, now: Instant) {
        let Some(entry) = self.entries[place].as_mut() else { return };
        let port = entry.port;
        match entry.phase {
            Phase::New | Phase::Failed => {
                self.counters.expired += 1;
                self.remove(place, DropReason::NeighbourUnreachable);
            }
            Phase::Incomplete { probes, queue } if probes < self.config.max_multicast_probes => {
                // One that the rate limit holds back counts, so that the time in INCOMPLETE stays bounded.
                self.enter(place, Phase::Incomplete { probes: probes + 1, queue }, now);
                if self.rate.take(port, now) {
                    self.solicit(place, SolicitTo::Group);
                } else {
                    self.counters.solicits_rate_limited += 1;
                }
            }
            Phase::Probe { probes } if probes < self.config.max_unicast_probes => {
                self.enter(place, Phase::Probe { probes: probes + 1 }, now);
                self.solicit(place, SolicitTo::Station);
            }
            // RFC 7048 section 3: where RFC 4861 deletes the entry, it keeps its address, packets go on, and everybody is
            // asked: it may have another address now. ARP has no such state.
            Phase::Probe { .. } if entry.addr.is_ipv6() => self.ask_everybody(place, 1, now),
            Phase::Unreachable { probes, used } if used && probes < NEIGHBOUR_BACKOFF_PROBES => {
                self.ask_everybody(place, probes + 1, now);
            }
            Phase::Incomplete { .. } | Phase::Probe { .. } | Phase::Unreachable { .. } => {
                self.counters.failed += 1;
                self.enter(place, Phase::Failed, now);
            }
            Phase::Reachable { lasts } => {
                let until = entry.confirmed.map_or(now, |confirmed| confirmed + lasts);
                if until > now {
                    self.deadlines.set(place, until);
                } else {
                    self.enter(place, Phase::Stale, now);
                }
            }
            Phase::Delay => {
                self.enter(place, Phase::Probe { probes: 1 }, now);
                self.solicit(place, SolicitTo::Station);
            }
            Phase::Stale => {
                if self.len() > self.config.gc_threshold {
                    self.counters.expired += 1;
                    self.remove(place, DropReason::NeighbourUnreachable);
                } else {
                    self.deadlines.set(place, now + self.config.gc_stale_time);
                }
            }
            Phase::Permanent => self.deadlines.clear(place),
        }
    }

    /// The solicitation with this number, from 1, for an UNREACHABLE neighbour. The packets before the first one count as
    /// use.
    fn ask_everybody(&mut self, place: usize, probes: u8, now: Instant) {
        let Some(port) = self.port_at(place) else { return };
        self.enter(place, Phase::Unreachable { probes, used: probes == 1 }, now);
        if self.rate.take(port, now) {
            self.solicit(place, SolicitTo::Group);
        } else {
            self.counters.solicits_rate_limited += 1;
        }
    }

    /// Queues a packet behind the others of its neighbour, which is INCOMPLETE. When there is no place, the
    /// packet that waits for longest gives way: of this neighbour, or of any when all places are taken.
    pub(super) fn enqueue(&mut self, id: NeighbourId, frame: F) -> Output<F> {
        let own = match self.entries[id.place()].as_ref().map(|entry| &entry.phase) {
            Some(Phase::Incomplete { queue, .. }) => queue.len(),
            _ => return Output::Rebind(frame),
        };
        let from = if own >= self.config.max_pending_per_entry {
            Some(id)
        } else if self.pending.is_full() {
            self.pending.oldest_owner()
        } else {
            None
        };
        let gave_way = from.and_then(|from| {
            let queue = queue_of(&mut self.entries[from.place()])?;
            self.pending.pop_oldest(queue)
        });
        self.counters.gave_way += u64::from(gave_way.is_some());
        let Some(queue) = queue_of(&mut self.entries[id.place()]) else { return Output::Rebind(frame) };
        match self.pending.push(queue, id, frame) {
            Ok(()) => {
                self.counters.queued += 1;
                Output::Queued { gave_way }
            }
            // Every place holds a packet that the caller has still to fetch.
            Err(frame) => Output::Drop { frame, reason: DropReason::NeighbourQueueFull },
        }
    }

    /// Hands a solicitation to the caller.
    pub(super) fn solicit(&mut self, place: usize, to: SolicitTo) {
        let Some(entry) = self.entries[place].as_ref() else { return };
        let link_destination = match (to, entry.addr) {
            (SolicitTo::Station, _) => entry.mac,
            (SolicitTo::Group, IpAddr::V4(_)) => MacAddr::BROADCAST,
            (SolicitTo::Group, IpAddr::V6(target)) => {
                group_mac(solicited_node(target).into()).unwrap_or(MacAddr::BROADCAST)
            }
        };
        let Entry { port, addr: target, source: source_hint, .. } = *entry;
        if self.solicits.len() >= NEIGHBOUR_SOLICITS {
            self.counters.solicits_lost += 1;
            return;
        }
        match to {
            SolicitTo::Group => self.counters.solicits_group += 1,
            SolicitTo::Station => self.counters.solicits_station += 1,
        }
        self.solicits.push_back(Solicit { port, target, link_destination, to, source_hint });
    }

    /// Learns what this worker heard, and tells the others: what was news here, and every answer, because the
    /// one who asked may be another worker.
    pub(super) fn hear(&mut self, fact: Fact, now: Instant) -> Learned {
        let learned = self.learn(fact, now);
        let answer = matches!(fact.kind, FactKind::ArpReply { .. } | FactKind::Advertisement { .. });
        let news = match learned {
            Learned::Created(_) | Learned::Changed { .. } => true,
            Learned::Unchanged(_) | Learned::Ignored => answer && self.may_be_believed(&fact),
        };
        if news && self.config.share_facts {
            if self.facts.len() < NEIGHBOUR_FACTS {
                self.facts.push_back(fact);
            } else {
                self.counters.facts_lost += 1;
            }
        }
        learned
    }

    fn may_be_believed(&self, fact: &Fact) -> bool {
        self.port_macs[fact.port.index()].is_some()
            && is_neighbour_address(fact.addr)
            && fact.mac.is_none_or(MacAddr::is_station)
    }

    /// Applies the rules to this table.
    pub(super) fn apply(&mut self, fact: &Fact, now: Instant) -> Learned {
        if !self.may_be_believed(fact) {
            return Learned::Ignored;
        }
        let found = self.lookup(fact.port, fact.addr);
        let lock = self.config.arp_lock_time;
        let known = found.and_then(|id| self.entry_mut(id)).map(|entry| Known {
            state: entry.phase.state(),
            mac: entry.mac,
            router: entry.router,
            locked: now.since(entry.updated) < lock,
        });
        match (decide(known, fact), found) {
            (Decision::Create { mac, router }, None) => {
                let Ok(id) = self.create(fact.port, fact.addr, Need::Heard, now) else {
                    return Learned::Ignored;
                };
                if let Some(entry) = self.entry_mut(id) {
                    entry.mac = mac;
                    entry.router = router;
                }
                self.enter(id.place(), Phase::Stale, now);
                Learned::Created(id)
            }
            (Decision::Update { mac, next, router }, Some(id)) => self.update(id, mac, next, router, now),
            _ => Learned::Ignored,
        }
    }

    fn update(
        &mut self,
        id: NeighbourId,
        mac: Option<MacAddr>,
        next: Option<State>,
        router: bool,
        now: Instant,
    ) -> Learned {
        let Some(entry) = self.entry_mut(id) else { return Learned::Ignored };
        let before = entry.phase.state();
        let ceased_to_be_router = entry.router && !router;
        let changed = entry.router != router || mac.is_some() || next.is_some_and(|next| next != before);
        entry.router = router;
        if let Some(mac) = mac {
            entry.mac = mac;
            entry.updated = now;
            self.counters.mac_changed += u64::from(before.has_link_address());
        }
        match next {
            Some(State::Reachable) => self.make_reachable(id.place(), now),
            Some(_) => self.enter(id.place(), Phase::Stale, now),
            None => {}
        }
        self.publish(id.place());
        if changed { Learned::Changed { id, ceased_to_be_router } } else { Learned::Unchanged(id) }
    }

    pub(super) fn hint(&mut self, place: usize, source: Option<IpAddr>) {
        if let Some(entry) = self.entries[place].as_mut() {
            entry.source = source;
        }
    }

    pub(super) fn entry_mut(&mut self, id: NeighbourId) -> Option<&mut Entry> {
        self.entries.get_mut(id.place())?.as_mut().filter(|entry| entry.id == id)
    }

    pub(super) fn state_at(&self, place: usize) -> State {
        self.entries[place].as_ref().map_or(State::New, |entry| entry.phase.state())
    }

    pub(super) fn port_at(&self, place: usize) -> Option<PortId> {
        self.entries[place].as_ref().map(|entry| entry.port)
    }
}

fn eviction_list<'a>(idle: &'a mut List, stale: &'a mut List, state: State) -> Option<&'a mut List> {
    match state {
        State::New | State::Failed => Some(idle),
        State::Stale | State::Unreachable => Some(stale),
        State::Incomplete | State::Reachable | State::Delay | State::Probe | State::Permanent => None,
    }
}

fn queue_of(entry: &mut Option<Entry>) -> Option<&mut List> {
    match entry.as_mut().map(|entry| &mut entry.phase) {
        Some(Phase::Incomplete { queue, .. }) => Some(queue),
        _ => None,
    }
}
