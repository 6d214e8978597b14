//! Random lives: whatever is done in whatever order, sizes are bounded, ids do not alias, and every frame that
//! went in comes out exactly once.

use super::*;
use crate::frame::heap::{HeapFrame, HeapPool};
use crate::{FramePool, Instant, MacAddr, PortId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const FRAMES: usize = 32;
const ENTRIES: usize = 5;
const PER_ENTRY: usize = 3;
const WAITING: usize = 7;

#[derive(Debug, Clone, Copy)]
enum Step {
    Packet { to: u8, known_id: bool },
    Arp { from: u8, mac: u8, flags: u8 },
    Nd { from: u8, mac: u8, flags: u8 },
    Confirm { to: u8 },
    Pass { millis: u16, budget: u8 },
    Drain { most: u8 },
    Static { to: u8, mac: u8, add: bool },
    Port { port: u8, up: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), any::<bool>()).prop_map(|(to, known_id)| Step::Packet { to, known_id }),
        3 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(from, mac, flags)| Step::Arp { from, mac, flags }),
        3 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(from, mac, flags)| Step::Nd { from, mac, flags }),
        1 => any::<u8>().prop_map(|to| Step::Confirm { to }),
        4 => (any::<u16>(), 0u8..6).prop_map(|(millis, budget)| Step::Pass { millis, budget }),
        3 => (0u8..20).prop_map(|most| Step::Drain { most }),
        1 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(to, mac, add)| Step::Static { to, mac, add }),
        1 => (0u8..2, prop::bool::weighted(0.8)).prop_map(|(port, up)| Step::Port { port, up }),
    ]
}

/// One of 24 neighbours: two ports, two families, six hosts.
fn who(n: u8) -> (PortId, IpAddr) {
    let port = PortId::new(usize::from(n & 1)).unwrap();
    let host = u16::from(n >> 2) % 6 + 1;
    match n & 2 {
        0 => (port, Ipv4Addr::new(10, 0, 0, host as u8).into()),
        _ => (port, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host).into()),
    }
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n % 3])
}

struct World {
    table: NeighbourTable<HeapFrame>,
    pool: HeapPool,
    now: Instant,
    next_mark: u32,
    inside: HashSet<u32>,
    named: HashMap<NeighbourId, (PortId, IpAddr)>,
}

impl World {
    fn out(&mut self, frame: HeapFrame) {
        let mark = u32::from_be_bytes(*frame.first_chunk().unwrap());
        assert!(self.inside.remove(&mark), "frame {mark} came out twice");
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Packet { to, known_id } => {
                let (port, addr) = who(to);
                let known = self.named.iter().find(|(_, who)| **who == (port, addr)).map(|(id, _)| *id);
                let id = match known {
                    Some(id) if known_id => id, // perhaps stale
                    _ => match self.table.bind(port, addr, self.now) {
                        Ok(id) => id,
                        Err(_) => return,
                    },
                };
                self.name(id, (port, addr));
                let Some(frame) = self.pool.frame(&self.next_mark.to_be_bytes()) else { return };
                self.inside.insert(self.next_mark);
                self.next_mark += 1;
                let ready = self.table.link_header(id).copied();
                match self.table.output(id, frame, None, self.now) {
                    Output::Send { frame, header } => {
                        assert!(ready.is_none_or(|ready| ready == header));
                        self.out(frame);
                    }
                    Output::Queued { gave_way } => {
                        assert_eq!(ready, None);
                        if let Some(frame) = gave_way {
                            self.out(frame);
                        }
                    }
                    Output::Drop { frame, .. } => self.out(frame),
                    Output::Rebind(frame) => {
                        assert_eq!(self.table.get(id), None);
                        self.out(frame);
                    }
                }
            }
            Step::Arp { from, mac: at, flags } => {
                let (port, addr) = who(from);
                let IpAddr::V4(addr) = addr else { return };
                let (one, two) = (flags & 1 != 0, flags & 2 != 0);
                if flags & 4 != 0 {
                    self.table.arp_request(port, addr, mac(at), one, two, self.now);
                } else {
                    self.table.arp_reply(port, addr, mac(at), one, two, self.now);
                }
            }
            Step::Nd { from, mac: at, flags } => {
                let (port, addr) = who(from);
                let IpAddr::V6(addr) = addr else { return };
                let has = |bit: u8| flags & bit != 0;
                if has(8) {
                    self.table.ns(port, addr, mac(at), self.now);
                } else {
                    let option = has(16).then_some(mac(at));
                    self.table.na(port, addr, option, has(1), has(2), has(4), self.now);
                }
            }
            Step::Confirm { to } => {
                let (port, addr) = who(to);
                self.table.confirm_address(port, addr, self.now);
            }
            Step::Pass { millis, budget } => {
                self.now = self.now + Duration::from_millis(millis.into());
                let done = self.table.expire(self.now, budget.into());
                assert!(done <= usize::from(budget));
                assert!(done == usize::from(budget) || self.table.next_deadline() > self.now);
            }
            Step::Drain { most } => {
                for _ in 0..most {
                    match self.table.next_action() {
                        Some(
                            Action::Release { frame, .. }
                            | Action::Unreachable { frame, .. }
                            | Action::Drop { frame, .. },
                        ) => self.out(frame),
                        Some(Action::Solicit(_) | Action::Learned(_)) => {}
                        None => break,
                    }
                }
            }
            Step::Static { to, mac: at, add } => {
                let (port, addr) = who(to);
                if !add {
                    self.table.remove_static(port, addr);
                } else if let Ok(id) = self.table.add_static(port, addr, mac(at), self.now) {
                    self.name(id, (port, addr));
                }
            }
            Step::Port { port, up } => {
                let port = PortId::new(port.into()).unwrap();
                if up {
                    self.table.set_port_mac(port, MacAddr([2, 1, 0, 0, 0, 1]));
                } else {
                    self.table.port_down(port);
                }
            }
        }
    }

    fn name(&mut self, id: NeighbourId, who: (PortId, IpAddr)) {
        let before = self.named.insert(id, who);
        assert!(before.is_none_or(|before| before == who), "{id:?} named two neighbours");
    }

    fn check(&self) {
        let infos: Vec<_> = self.table.iter().collect();
        assert_eq!(infos.len(), self.table.len());
        assert!(infos.len() <= ENTRIES && self.table.frames_held() <= WAITING);
        assert_eq!(self.inside.len(), self.table.frames_held(), "frames are conserved");
        assert_eq!(self.pool.available() + self.inside.len(), FRAMES, "none leaks, none is freed inside");
        let addresses: HashSet<_> = infos.iter().map(|info| (info.port, info.addr)).collect();
        assert_eq!(addresses.len(), infos.len(), "one entry a neighbour");
        for info in &infos {
            assert_eq!(self.table.lookup(info.port, info.addr), Some(info.id));
            assert!(info.waiting <= PER_ENTRY);
            assert!(info.waiting == 0 || info.state == State::Incomplete);
            assert_eq!(info.mac.is_some(), info.state.has_link_address());
            assert!(info.mac.is_none_or(MacAddr::is_station));
            if let Some(header) = self.table.link_header(info.id) {
                assert_eq!(Some(MacAddr(*header.first_chunk().unwrap())), info.mac);
                assert_ne!(info.state, State::Stale);
            }
        }
        let live: HashSet<_> = infos.iter().map(|info| info.id).collect();
        for (id, who) in &self.named {
            match self.table.get(*id) {
                Some(info) => assert_eq!((info.port, info.addr), *who, "{id:?} names another neighbour"),
                None => assert!(!live.contains(id) && self.table.link_header(*id).is_none()),
            }
        }
        let timed = infos.iter().any(|info| info.state != State::Permanent);
        assert_eq!(self.table.next_deadline() != Instant::NEVER, timed, "who may change has a deadline");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_invariants_hold(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..200)) {
        let config = NeighbourConfig {
            max_entries: ENTRIES,
            max_pending_per_entry: PER_ENTRY,
            max_pending_total: WAITING,
            gc_threshold: 3,
            solicit_rate: 2,
            solicit_burst: 6,
            ..NeighbourConfig::default()
        };
        let mut world = World {
            table: NeighbourTable::new(config, seed).unwrap(),
            pool: HeapPool::new(FRAMES, 160),
            now: Instant::from_millis(1),
            next_mark: 0,
            inside: HashSet::new(),
            named: HashMap::new(),
        };
        for port in 0..2 {
            world.table.set_port_mac(PortId::new(port).unwrap(), MacAddr([2, 1, 0, 0, 0, 1]));
        }
        for step in steps {
            world.take(step);
            world.check();
        }
        // In the end everybody answers or fails, and everything comes out.
        for _ in 0..20 {
            world.take(Step::Pass { millis: 1000, budget: 255 });
            world.take(Step::Drain { most: 255 });
        }
        prop_assert_eq!((world.inside.len(), world.pool.available()), (0, FRAMES));
        let counters = *world.table.counters();
        prop_assert_eq!(counters.queued, counters.gave_way + counters.released + counters.unreachable + counters.flushed);
    }
}
